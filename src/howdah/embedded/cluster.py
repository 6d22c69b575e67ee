"""Making a new cluster."""

from __future__ import annotations

import re
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

from howdah.embedded.accounts import give, give_tree, named_uid
from howdah.embedded.place import Place
from howdah.embedded.wheel import program
from howdah.errors import EmbeddedServerError

SETTINGS = {
    "max_connections": "100",
    "shared_buffers": "128MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "jit": "off",
    # The user is called howdah, and "$user" would put every table without a schema among ours.
    "search_path": "public",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] %d ",
}


def make_cluster(place: Place, binaries: Path, uid: int | None) -> None:
    """Make the cluster aside, complete with its database, and move it to its place in one step."""
    for half_made in place.directory.glob("new-*"):
        shutil.rmtree(half_made, ignore_errors=True)
    staging = Path(tempfile.mkdtemp(prefix="new-", dir=place.directory))
    # initdb insists on a user with a name; the server does not.
    builder = None if uid is None else named_uid(uid)
    give(staging, builder)
    initdb: list[str | Path] = [program(binaries, "initdb"), "-D", staging.name]
    access = ["--auth=reject"]
    if sys.platform == "win32":
        place.password.write_text(secrets.token_urlsafe(24))
        access = ["--auth=scram-sha-256", f"--pwfile={place.password}"]
    settings = [f"--set={name}={value}" for name, value in SETTINGS.items()]
    locale = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    try:
        place.run([*initdb, "--username=howdah", "--no-sync", *access, *locale, *settings], builder)
        single = [program(binaries, "postgres"), "--single", "-F", "-D", staging.name, "postgres"]
        said = place.run(single, builder, stdin="CREATE DATABASE howdah\n")
        if re.search("ERROR|FATAL|PANIC", said):  # which single-user mode does not tell by its exit code
            raise EmbeddedServerError(f"the database could not be created in {staging}", hint=said)
        place.run([*initdb, "--sync-only"], builder)
        if uid is not None:
            give_tree(staging, uid)
        staging.rename(place.data)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
