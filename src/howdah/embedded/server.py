"""Start the server of a home, or join it, and give the share back."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import secrets
import threading
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path

from howdah.embedded.accounts import give
from howdah.embedded.locks import open_private, try_lock, unlock
from howdah.embedded.place import Place, find_place, settle
from howdah.embedded.postgres import Postgres
from howdah.embedded.watcher import ensure_watcher, watcher_pid
from howdah.embedded.wheel import installed_binaries, program
from howdah.errors import EmbeddedServerError

log = logging.getLogger("howdah.embedded")


@dataclass(frozen=True)
class Status:
    """What lives in a home right now. The pids are for people to read; nothing is decided by them."""

    running: bool
    pid: int | None
    users: list[int]
    watcher: int | None
    data: Path
    log: Path


class EmbeddedServer:
    """A share in the running server. It stops when the last living share of any process is released."""

    def __init__(self, home: Path, membership: _Membership, *, started: bool, seconds: float) -> None:
        self.home = home
        self.data = membership.place.data
        self.dsn = membership.postgres.dsn()
        self.started = started
        self.seconds = seconds
        self._membership: _Membership | None = membership

    def bin(self, name: str) -> Path:
        """The path of one of PostgreSQL's own programs, such as `psql` or `pg_dump`."""
        return program(installed_binaries(), name)

    def release(self) -> None:
        """Give this share back; the last one stops the server. Doing it twice is fine."""
        membership, self._membership = self._membership, None
        with _mutex:
            # After a fork the shares are the parent's to give back.
            if membership is None or membership.pid != os.getpid():
                return
            membership.shares -= 1
            if membership.shares == 0:
                if _memberships.get(membership.place.directory) is membership:
                    del _memberships[membership.place.directory]
                membership.leave()


def start(home: Path | str | None = None) -> EmbeddedServer:
    """Start the server of this home, or join it. Blocks: well under a second, a few the first time.

    `home` is `$HOWDAH_HOME` or else `.howdah` in the current directory.
    """
    began = time.perf_counter()
    home = _home(home)
    with _mutex, _explained(home):
        binaries = installed_binaries()
        postgres = Postgres(settle(home), binaries)
        place = postgres.place
        with place.locked():
            membership = _memberships.get(place.directory)
            if membership is None or not membership.file.exists():
                membership = _Membership.join(postgres)
            try:
                ensure_watcher(postgres)
                started = postgres.ensure_running()
            except BaseException:
                if membership.shares == 0:
                    membership.forget()
                raise
        membership.shares += 1
        _memberships[place.directory] = membership
        return EmbeddedServer(home, membership, started=started, seconds=time.perf_counter() - began)


def status(home: Path | str | None = None) -> Status:
    """Who and what lives in this home. Starts and creates nothing."""
    home = _home(home)
    with _explained(home):
        place = find_place(home)
        postgres = Postgres(place, installed_binaries())
        if not place.lock.exists():
            return Status(False, None, [], None, place.data, place.log)
        with place.locked():
            running = postgres.alive()
            return Status(
                running=running,
                pid=postgres.postmaster() if running else None,
                users=place.living_users(),
                watcher=watcher_pid(place),
                data=place.data,
                log=place.log,
            )


@dataclass
class _Membership:
    """This process among the users of a place: one locked file, for any number of shares."""

    postgres: Postgres
    file: Path
    descriptor: int
    shares: int = 0
    pid: int = field(default_factory=os.getpid)

    @classmethod
    def join(cls, postgres: Postgres) -> _Membership:
        """Count as a user from now on. The place is locked by the caller."""
        place = postgres.place
        if not place.users.exists():
            place.users.mkdir(mode=0o700)
            give(place.users, place.owner())
        file = place.users / f"{os.getpid()}-{secrets.token_hex(4)}"
        descriptor = open_private(file, place.owner())
        try_lock(descriptor)
        return cls(postgres, file, descriptor)

    @property
    def place(self) -> Place:
        return self.postgres.place

    def forget(self) -> None:
        """No longer count as a user. The place is locked by the caller."""
        unlock(self.descriptor)
        os.close(self.descriptor)
        self.file.unlink(missing_ok=True)

    def leave(self) -> None:
        try:
            with self.place.locked():
                self.forget()
                if not self.place.living_users():
                    self.postgres.stop()
        except (OSError, EmbeddedServerError) as error:
            # Too late for the caller to do anything about it, and the watcher looks after it.
            log.warning("the embedded PostgreSQL in %s was left to its watcher: %s", self.place.directory, error)


_mutex = threading.RLock()
_memberships: dict[Path, _Membership] = {}


@atexit.register
def _release_all() -> None:
    with _mutex:
        for membership in list(_memberships.values()):
            membership.leave()
        _memberships.clear()


def _after_fork() -> None:
    # A child joins under its own name; until then its copy of the parent's lock keeps the server for it.
    global _mutex
    _mutex = threading.RLock()
    _memberships.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _home(home: Path | str | None) -> Path:
    return Path(home or os.environ.get("HOWDAH_HOME") or ".howdah").expanduser().resolve()


@contextlib.contextmanager
def _explained(home: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise EmbeddedServerError(
            f"the embedded PostgreSQL cannot run in {home}: {error.strerror or error}{where}",
            hint="Set HOWDAH_HOME to a directory that you may write and that has room, or HOWDAH_DSN to a PostgreSQL",
        ) from error
