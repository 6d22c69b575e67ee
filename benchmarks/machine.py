"""The servers that are measured, and what is said of the machine beside the figures."""

from __future__ import annotations

import contextlib
import itertools
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import psycopg

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
import servers

# All that differs from what PostgreSQL comes with. Commits are safe: fsync is on.
SETTINGS = {"fsync": "on", "max_connections": "200", "shared_buffers": "1GB", "max_wal_size": "4GB"}


class Place(Protocol):
    """A server that gives empty databases."""

    pid: int
    version: str

    def database(self) -> AbstractContextManager[str]:
        """The URL of a database of its own, which is gone afterwards."""
        ...


@dataclass
class _PostgreSQL:
    server: servers.Server
    pid: int
    version: str
    numbers = itertools.count(1)

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        name = f"bench_{next(self.numbers)}"
        self.server.create_database(name)
        try:
            yield self.server.tcp_dsn(name)
        finally:
            self.server.drop_database(name)
            with psycopg.connect(self.server.dsn(), autocommit=True) as conn:
                conn.execute("checkpoint")  # not in somebody else's time


@contextlib.contextmanager
def postgresql() -> Iterator[_PostgreSQL]:
    """The system's PostgreSQL, else the embedded one's programs; on loopback, with a cluster of its own."""
    server = servers.system(SETTINGS)
    try:
        with psycopg.connect(server.dsn()) as conn:
            row = conn.execute("select current_setting('data_directory'), current_setting('server_version')").fetchone()
        assert row is not None
        pid = int((Path(row[0]) / "postmaster.pid").read_text().split()[0])
        yield _PostgreSQL(server, pid, f"PostgreSQL {row[1].split()[0]}")
    finally:
        server.stop()


@dataclass
class _Redis:
    port: int
    pid: int
    version: str

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        self._ask("flushall")
        yield f"redis://127.0.0.1:{self.port}/0"

    def _ask(self, *command: str) -> str:
        return subprocess.run(
            ["redis-cli", "-p", str(self.port), *command], capture_output=True, text=True, check=True
        ).stdout


@contextlib.contextmanager
def redis() -> Iterator[_Redis]:
    """Redis as it comes, which keeps its data in memory; on loopback."""
    port = servers.free_port()
    with tempfile.TemporaryDirectory() as home:
        command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", home, "--save", ""]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            found = _Redis(port, process.pid, "")
            deadline = time.monotonic() + 10
            while not (said := _version(found)):
                assert time.monotonic() < deadline, "redis-server does not answer"
                time.sleep(0.05)
            found.version = f"Redis {said}"
            yield found
        finally:
            process.terminate()
            process.wait()


def _version(place: _Redis) -> str:
    with contextlib.suppress(subprocess.CalledProcessError):
        match = re.search(r"redis_version:(\S+)", place._ask("info", "server"))
        return match[1] if match else ""
    return ""


def describe() -> dict[str, Any]:
    """What figures depend on beside the code."""
    info = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.*)", info.read_text()) if info.exists() else None
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": model[1] if model else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "memory_gb": round(pages / 2**30),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "settings": SETTINGS,
    }
