"""Who the server runs as: the user who starts it, unless that is root, for whom PostgreSQL refuses to run.

A uid of None means ourselves.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from howdah.errors import EmbeddedServerError

if sys.platform != "win32":
    import pwd

# 60706-61183 is a range nobody hands out (systemd's UIDS-GIDS); a number of its own keeps the data from everything that
# runs as `nobody`, and needs no new line in /etc/passwd.
FIRST_SERVER_UID = 60743
ROOTS_PLACES = Path("/var/lib/howdah")  # for what root has where the server's user cannot reach


def unused_uid() -> int:
    uid = FIRST_SERVER_UID
    if sys.platform != "win32":
        with contextlib.suppress(KeyError):
            while pwd.getpwuid(uid):
                uid += 1
    return uid


def named_uid(preferred: int) -> int:
    """An unprivileged user that the system has a name for."""
    if sys.platform == "win32":
        return preferred
    people = {entry.pw_uid: entry.pw_name for entry in pwd.getpwall()}
    nobody = [uid for uid, name in people.items() if name == "nobody"]
    for uid in (preferred, *nobody, *people):
        if uid and uid in people:
            return uid
    raise EmbeddedServerError(
        "this system knows no user but root", hint="Add one, or set HOWDAH_DSN to a PostgreSQL you have"
    )


def give(path: Path, uid: int | None) -> None:
    if sys.platform != "win32" and uid is not None and os.geteuid() == 0:
        os.chown(path, uid, uid, follow_symlinks=False)


def give_tree(root: Path, uid: int) -> None:
    give(root, uid)
    for path in root.rglob("*"):
        give(path, uid)


def is_reachable(directory: Path, uid: int) -> bool:
    return run_as(uid, ["/bin/sh", "-c", 'cd "$1"', "sh", directory]).returncode == 0


def run_as(
    uid: int | None,
    command: list[str | Path],
    *,
    stdin: str = "",
    keep: int | None = None,
    directory: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; `keep` stays open in it and in whatever it starts."""
    # Files, not pipes: a server that pg_ctl started would keep the pipe open.
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as asked:
        asked.write(stdin)
        asked.seek(0)
        done = subprocess.run(
            command,
            stdin=asked,
            stdout=said,
            stderr=subprocess.STDOUT,
            cwd=directory or Path(command[0]).anchor,  # not ours: the server's user may not be allowed to enter it
            start_new_session=True,  # Ctrl-C in the starter's terminal is not for the server
            pass_fds=() if keep is None or sys.platform == "win32" else (keep,),
            umask=-1 if sys.platform == "win32" else 0o077,
            user=uid,
            group=uid,
            extra_groups=None if uid is None else [],
        )
        said.seek(0)
        return subprocess.CompletedProcess(command, done.returncode, said.read())
