"""Options that many commands have, and the client they lead to."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Group, Parameter

from howdah.cli.errors import say
from howdah.cli.output import Format
from howdah.errors import CannotConnect, InvalidOption

if TYPE_CHECKING:
    from howdah.client import Client

STATUSES = ("queued", "running", "suspended", "failed", "succeeded", "cancelled")
EVERYWHERE = Group("Everywhere", sort_key=99)

Output = Annotated[
    Format | None,
    Parameter(
        name=["--output", "-o"],
        env_var="HOWDAH_OUTPUT",
        group=EVERYWHERE,
        help="table, json, jsonl or ids; without it a table on a terminal and tab-separated text in a pipe",
    ),
]
Status = Annotated[
    list[str] | None,
    Parameter(
        name=["--status", "-s"], negative="", help=f"Only these: {', '.join(STATUSES)}. Repeat it, or use commas"
    ),
]
Kind = Annotated[str | None, Parameter(name=["--kind", "-k"], help="Only this kind")]
Queue = Annotated[str | None, Parameter(name=["--queue", "-q"], help="Only this queue")]
Ids = Annotated[str, Parameter(name="ID", allow_leading_hyphen=True, help="Ids of tasks; - reads them from stdin")]


@Parameter(name="*", group=EVERYWHERE)
@dataclass(frozen=True, slots=True)
class Where:
    """Which database."""

    dsn: Annotated[
        str | None,
        Parameter(help="The database: a PostgreSQL URL or conninfo [default: $HOWDAH_DSN, configured, else embedded]"),
    ] = None
    debug: Annotated[bool, Parameter(negative="", show_default=False, help="Show the traceback of an error")] = False

    @contextmanager
    def client(self, *, writes: bool = False, creates: bool = False) -> Generator[Client]:
        """A client, closed at the end. `writes` names the target on stderr first.

        Only with `creates` may this be the first that happens in the embedded database: who looks for tasks where there
        never was a database is in the wrong folder.
        """
        from howdah.client import Client

        client = Client(self.dsn)
        if not creates and client.installation.dsn is None and not home().exists():
            raise CannotConnect(
                f"there is no database: {home()} does not exist, and HOWDAH_DSN is not set",
                hint="Go to the folder of your program, give --dsn, or begin with: howdah demo",
            )
        if writes:
            say(f"→ {target(client.installation.dsn)}")
        try:
            yield client
        finally:
            client.close_sync()


ANYWHERE = Where()


def home() -> Path:
    """Where the embedded server lives."""
    from howdah.config import Config

    return Path(Config.read().home or ".howdah").expanduser().resolve()


def target(dsn: str | None) -> str:
    """The database as a person names it, without password."""
    if dsn is None:
        return f"embedded PostgreSQL in {home()}"
    from psycopg.conninfo import conninfo_to_dict

    given = {name: str(value) for name, value in conninfo_to_dict(dsn).items()}
    host = given.get("host") or given.get("hostaddr") or os.environ.get("PGHOST") or "local socket"
    port = given.get("port") or os.environ.get("PGPORT") or "5432"
    user = given.get("user") or os.environ.get("PGUSER") or ""
    database = given.get("dbname") or os.environ.get("PGDATABASE") or user or "?"
    if given.get("service"):
        return f"service {given['service']}"
    hosts, ports = host.split(","), port.split(",")
    if len(ports) == 1:
        ports *= len(hosts)
    return (
        ",".join(f"{each}:{number}" for each, number in zip(hosts, (each or "5432" for each in ports), strict=False))
        + f"/{database}"
    )


def statuses(given: Sequence[str] | None) -> list[str] | None:
    """What -s was given. Raises InvalidOption."""
    if not given:
        return None
    names = [name.strip() for each in given for name in each.split(",") if name.strip()]
    for name in names:
        if name not in STATUSES:
            raise InvalidOption(f"there is no status {name!r}", hint=f"One of: {', '.join(STATUSES)}")
    return names


def task_ids(given: Sequence[str]) -> list[int]:
    """The ids that were given, those on stdin included; each once. Raises InvalidOption."""
    words = [word for each in given for word in (sys.stdin.read().split() if each == "-" else [each])]
    for word in words:
        if not (word.isascii() and word.isdecimal()) or len(word) > 19:
            raise InvalidOption(f"a task id is a whole number, not {word[:80]!r}")
    return list(dict.fromkeys(int(word) for word in words))


def task_id(word: str) -> int:
    """The one id that was given, perhaps on stdin. Raises InvalidOption."""
    ids = task_ids([word])
    if len(ids) != 1:
        raise InvalidOption(f"one id is needed here, not {len(ids)}")
    return ids[0]
