"""A running PostgreSQL for the test suite: the embedded one, and the one this machine has.

`available()` says which can be had here. Each server lives in a directory of its own below the temporary directory and
ends with the process that started it; what a killed test run left behind is ended and removed by the next one.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import psycopg
from psycopg import sql

from howdah import embedded as howdah_embedded
from howdah.errors import MissingExtra

SUPPORTED = range(14, 18)
PREFIX = "howdah-tests-"
SETTINGS = {"fsync": "off", "max_connections": "200", "log_min_messages": "info"}

ShutdownMode = Literal["fast", "immediate"]


class Server:
    """What every test server can do. `log` is the file it writes to."""

    name: str
    version: int
    log: Path

    def dsn(self, dbname: str = "postgres") -> str:
        """The address of a database of this server, over its unix socket."""
        raise NotImplementedError

    def restart(self, mode: ShutdownMode = "fast") -> None:
        """Down and up again at the same addresses; "immediate" is a crash, followed by recovery."""
        raise NotImplementedError

    def stop(self) -> None:
        """Stop it and remove its data. Doing it twice is fine."""
        raise NotImplementedError

    def create_database(self, name: str, template: str | None = None) -> None:
        copied = sql.SQL(" TEMPLATE {}").format(sql.Identifier(template)) if template else sql.SQL("")
        self._execute(sql.SQL("CREATE DATABASE {}{}").format(sql.Identifier(name), copied))

    def drop_database(self, name: str) -> None:
        """Gone, with whoever is still connected to it."""
        self._execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def _execute(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            connection.execute(statement)


class _Embedded(Server):
    def __init__(self) -> None:
        self._directory, self._alive = _directory()
        self._home = self._directory / "home"
        self._shared = howdah_embedded.start(self._home)
        self.version = int((self._shared.data / "PG_VERSION").read_text())
        self.name = f"embedded {self.version}"
        self.log = howdah_embedded.status(self._home).log
        atexit.register(self.stop)
        for setting, value in SETTINGS.items():
            self._execute(sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(setting), value))
        self.restart()

    def dsn(self, dbname: str = "postgres") -> str:
        return self._shared.dsn.replace("/howdah?", f"/{quote(dbname, safe='')}?", 1)

    def restart(self, mode: ShutdownMode = "fast") -> None:
        pid = howdah_embedded.status(self._home).pid
        assert pid is not None, f"{self.name} is not running"
        os.kill(pid, signal.SIGINT if mode == "fast" else signal.SIGQUIT)
        _wait_until(lambda: not howdah_embedded.status(self._home).running, f"{self.name} to stop")
        before, self._shared = self._shared, howdah_embedded.start(self._home)
        before.release()

    def stop(self) -> None:
        self._shared.release()
        shutil.rmtree(self._directory, ignore_errors=True)
        atexit.unregister(self.stop)


class _System(Server):
    def __init__(self, binaries: Path, settings: Mapping[str, str]) -> None:
        self._binaries = binaries
        self.version = _major(binaries)
        self.name = f"system {self.version}"
        self._directory, self._alive = _directory()
        self._data = self._directory / "data"
        self.log = self._directory / "postgresql.log"
        self._sockets = self._directory / "sockets"
        self._password = secrets.token_urlsafe(16)
        self.port = free_port()
        self._uid = _unprivileged_uid()
        atexit.register(self.stop)

        for private in (self._data, self._sockets):
            private.mkdir(mode=0o700)
        password_file = self._directory / "password"
        password_file.write_text(self._password)
        for owned in (self._directory, self._data, self._sockets, password_file):
            os.chown(owned, self._uid, -1)
        self._run(
            "initdb", "--username=howdah", "--no-sync", "--encoding=UTF8", "--locale=C",
            "--auth-local=trust", "--auth-host=scram-sha-256", f"--pwfile={password_file}",
        )  # fmt: skip
        settings = {
            **settings,
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self._sockets),
            "unix_socket_permissions": "0700",
        }
        with (self._data / "postgresql.conf").open("a") as configuration:
            configuration.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
        self._run("pg_ctl", "start", "-w", "-l", str(self.log))

    def dsn(self, dbname: str = "postgres") -> str:
        return (
            f"postgresql://howdah@/{quote(dbname, safe='')}?host={quote(str(self._sockets), safe='')}&port={self.port}"
        )

    def tcp_dsn(self, dbname: str = "postgres") -> str:
        """The same over loopback TCP, with a password."""
        return f"postgresql://howdah:{self._password}@127.0.0.1:{self.port}/{quote(dbname, safe='')}"

    def restart(self, mode: ShutdownMode = "fast") -> None:
        self._run("pg_ctl", "restart", "-w", "-m", mode, "-l", str(self.log))

    def stop(self) -> None:
        if (self._data / "postmaster.pid").exists():
            self._run("pg_ctl", "stop", "-w", "-m", "immediate")
        shutil.rmtree(self._directory, ignore_errors=True)
        atexit.unregister(self.stop)

    def _run(self, program: str, *arguments: str) -> None:
        _run_as(
            self._uid, [self._binaries / program, "-D", self._data, *arguments], said=self._directory / "commands.log"
        )


def embedded() -> Server:
    """The embedded server, in a home of its own."""
    _remove_what_killed_runs_left()
    return _Embedded()


def system(settings: Mapping[str, str] = SETTINGS) -> _System:
    """The newest supported PostgreSQL that is installed on this machine, with a cluster of its own."""
    binaries = _system_binaries()
    assert binaries is not None, "no PostgreSQL 14 to 17 on this machine"
    _remove_what_killed_runs_left()
    return _System(binaries, settings)


def free_port() -> int:
    """A port of loopback that nobody uses."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def available() -> dict[str, Callable[[], Server]]:
    """Name → how to start it, for every server that can be had here."""
    found: dict[str, Callable[[], Server]] = {}
    with contextlib.suppress(MissingExtra):
        howdah_embedded.status(tempfile.gettempdir())
        found["embedded"] = embedded
    if _system_binaries() is not None:
        found["system"] = system
    return found


def _system_binaries() -> Path | None:
    on_path = [Path(directory) for directory in os.environ.get("PATH", "").split(os.pathsep)]
    debian = Path("/usr/lib/postgresql").glob("*/bin")
    # A bare link in /usr/local/bin is not enough: initdb and postgres have to come from one place.
    complete = {
        (directory / "initdb").resolve().parent
        for directory in (*on_path, *debian)
        if all((directory / program).exists() for program in ("initdb", "pg_ctl"))
    }
    supported = [binaries for binaries in complete if _major(binaries) in SUPPORTED]
    return max(supported, key=_major, default=None)


def _major(binaries: Path) -> int:
    said = subprocess.run([binaries / "initdb", "--version"], capture_output=True, text=True, check=False).stdout
    version = re.search(r"\(PostgreSQL\) (\d+)", said)
    return int(version[1]) if version else 0


def _unprivileged_uid() -> int:
    if os.geteuid() != 0:
        return os.geteuid()
    names = {entry.pw_name: entry.pw_uid for entry in pwd.getpwall()}
    return names.get("postgres") or names["nobody"]


def _run_as(uid: int, command: list[str | Path], said: Path | None = None) -> None:
    # To a file: a server started by pg_ctl would keep a pipe open.
    with open(said or os.devnull, "a+") as output:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/",
            check=False,
            start_new_session=True,  # Ctrl-C is for the tests, which then stop the server themselves
            **({"user": uid, "group": pwd.getpwuid(uid).pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}),
        )
        output.seek(0)
        assert done.returncode == 0, f"{command}: {output.read()}"


def _directory() -> tuple[Path, int]:
    """A directory that the server's user can reach, and a lock in it that says that its owner lives."""
    while True:
        directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir="/tmp"))
        directory.chmod(0o711)
        lock = os.open(directory / "alive", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (directory / "alive").exists():  # another run's cleaning may have taken it for a dead one's
            return directory, lock
        os.close(lock)


def _remove_what_killed_runs_left() -> None:
    for directory in Path("/tmp").glob(f"{PREFIX}*"):
        try:
            lock = os.open(directory / "alive", os.O_RDWR)
        except OSError:  # being made, being removed, or somebody else's
            continue
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # An embedded server is stopped by its watcher.
            data, binaries = directory / "data", _system_binaries()
            if (data / "postmaster.pid").exists() and binaries is not None:
                with contextlib.suppress(AssertionError):  # it ended before us
                    _run_as(data.stat().st_uid, [binaries / "pg_ctl", "stop", "-w", "-m", "immediate", "-D", data])
            shutil.rmtree(directory, ignore_errors=True)
        os.close(lock)


def _wait_until(condition: Callable[[], bool], what: str, timeout: float = 30) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout} s for {what}"
        time.sleep(0.02)
