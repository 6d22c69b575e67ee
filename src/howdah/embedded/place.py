"""Where the cluster of a home is, the files and locks around it, and who uses it."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Generator
from pathlib import Path

from howdah.embedded.accounts import ROOTS_PLACES, is_reachable, run_as, unused_uid
from howdah.embedded.locks import is_locked, open_private, try_lock, unlock
from howdah.errors import EmbeddedServerError

log = logging.getLogger("howdah.embedded")

LOCK_TIMEOUT = 180.0  # whoever has it may be stopping one server and starting the next


class Place:
    """The directory that holds one cluster, its locks, its users and its log."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.log = directory / "postgresql.log"
        self.users = directory / "users"
        self.lock = directory / "lock"
        self.server_lock = directory / "server.lock"
        self.watcher_lock = directory / "watcher.lock"
        self.password = directory / "password"  # on Windows only

    def owner(self) -> int:
        return self.directory.stat().st_uid

    def server_uid(self) -> int | None:
        """The user the server runs as: ours, unless we are root."""
        if sys.platform == "win32" or os.geteuid() != 0:
            return None
        owner = (self.data if self.data.exists() else self.directory).stat().st_uid
        return owner or unused_uid()

    @contextlib.contextmanager
    def locked(self) -> Generator[None]:
        """Alone with every decision about this place."""
        descriptor = open_private(self.lock, self.owner())
        try:
            deadline = time.monotonic() + LOCK_TIMEOUT
            while not try_lock(descriptor):
                if time.monotonic() > deadline:
                    raise EmbeddedServerError(
                        f"another process has been starting or stopping the server in {self.directory} for too long",
                        hint=f"See {self.log}, and who it is: `fuser {shlex.quote(str(self.lock))}`",
                    )
                time.sleep(0.01)
            try:
                yield
            finally:
                unlock(descriptor)  # not only close: a forked child may still hold the descriptor
        finally:
            os.close(descriptor)

    def living_users(self) -> list[int]:
        """The pids of the users that live; the files of the dead are removed."""
        living: list[int] = []
        for file in sorted(self.users.glob("[0-9]*-*")):
            if is_locked(file):
                living.append(int(file.name.partition("-")[0]))
            else:
                file.unlink(missing_ok=True)
        return living

    def run(self, command: list[str | Path], uid: int | None, stdin: str = "") -> str:
        """Run a program of PostgreSQL here as this user, holding the lock that says that the server lives."""
        descriptor = open_private(self.server_lock, self.owner())
        try:
            if not try_lock(descriptor):
                raise EmbeddedServerError(
                    f"a program that a killed start left behind still works in {self.directory}",
                    hint="It ends by itself: try again in a moment",
                )
            done = run_as(uid, command, stdin=stdin, keep=descriptor, directory=self.directory)
        finally:
            os.close(descriptor)  # only ours: the lock lives on in what the program started
        if done.returncode:
            raise EmbeddedServerError(
                f"{Path(command[0]).name} failed in {self.directory}",
                hint=f"It said:\n{done.stdout.strip()[-2000:]}",
            )
        return done.stdout


def find_place(home: Path) -> Place:
    """Where the cluster of this home is, or would be. Makes nothing."""
    elsewhere = home / "elsewhere"
    if not elsewhere.is_symlink():
        return Place(home)
    target = elsewhere.readlink()
    if target.parent != ROOTS_PLACES or not target.exists():
        raise EmbeddedServerError(
            f"the data of {home} should be in {target}, and is not there",
            hint=f"Bring it back; or delete {elsewhere} to start with an empty database",
        )
    return Place(target)


def settle(home: Path) -> Place:
    """The place of this home's cluster, with the directories made that the server needs."""
    if not home.exists():
        home.mkdir(parents=True, exist_ok=True)  # another process may be as far
        # The server's user has to pass; what is inside is closed.
        home.chmod(0o711 if sys.platform != "win32" and os.geteuid() == 0 else 0o700)
        (home / ".gitignore").write_text("*\n")
    place = find_place(home)
    uid = place.server_uid()
    if uid is None or is_reachable(place.directory, uid):
        return place
    if place.data.exists() or place.directory != home:
        raise EmbeddedServerError(
            f"user {uid}, who runs the PostgreSQL of root, cannot reach {place.directory}",
            hint="Let others pass (chmod o+x) every directory on the way, or move the home to one that lets them",
        )
    _move_elsewhere(home)
    return find_place(home)


def _move_elsewhere(home: Path) -> None:
    """Decide that the data of this home is where the server's user can reach it."""
    ROOTS_PLACES.mkdir(parents=True, exist_ok=True)
    readable = re.sub(r"\W+", "-", home.parent.name) or "home"
    directory = Path(tempfile.mkdtemp(prefix=f"{readable}-", dir=ROOTS_PLACES))
    directory.chmod(0o711)
    (directory / "belongs-to").write_text(f"{home}\n")
    try:
        (home / "elsewhere").symlink_to(directory)
        log.info("PostgreSQL does not run as root, and others cannot reach %s: its data is in %s", home, directory)
    except FileExistsError:  # another process was first
        shutil.rmtree(directory)
