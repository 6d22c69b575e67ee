"""Figures: what a workload measured, and what it cost on both sides of the wire."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from howdah.app import App
from howdah.db.line import Line
from howdah.db.pool import Database


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of one round."""

    name: str
    value: float
    unit: str
    workload: str = ""


Workload = Callable[[App, int, int], Awaitable[list[Figure]]]


class Meter(AbstractAsyncContextManager["Meter"]):
    """What passes between entering and leaving: time, CPU of this process and of the server, WAL, round trips.

    The server's CPU is known where it runs on this machine, else `server` is None.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._backend: int | None = None
        self.seconds = self.client = 0.0
        self.server: float | None = None
        self.wal = 0
        self.trips = 0

    async def __aenter__(self) -> Meter:
        row = await self._ask("select pg_backend_pid() as pid, inet_server_addr() is null as near")
        self._backend = row["pid"] if row["near"] or _is_postgres(row["pid"]) else None
        self._wal = (await self._ask("select pg_current_wal_insert_lsn() - '0/0' as wal"))["wal"]
        self._trips = Line.calls
        self._server = server_cpu(self._backend)
        self._client, self._began = client_cpu(), time.perf_counter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds = time.perf_counter() - self._began
        self.client = client_cpu() - self._client
        now = server_cpu(self._backend)
        self.server = None if now is None or self._server is None else now - self._server
        self.trips = Line.calls - self._trips
        self.wal = int((await self._ask("select pg_current_wal_insert_lsn() - '0/0' as wal"))["wal"] - self._wal)

    async def _ask(self, sql: str) -> dict[str, Any]:
        async with self._database.connection() as conn:
            row = await (await conn.execute(sql.encode())).fetchone()
        assert row is not None
        return row

    def costs(self, tasks: int) -> list[Figure]:
        """What each task cost."""
        found = [
            Figure("round trips a task", self.trips / tasks, "trips"),
            Figure("client CPU a task", self.client / tasks * 1e6, "µs"),
        ]
        if self.server is not None:
            found.append(Figure("server CPU a task", self.server / tasks * 1e6, "µs"))
        return [*found, Figure("WAL a task", self.wal / tasks, "bytes")]


def client_cpu() -> float:
    """CPU seconds of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def server_cpu(backend: int | None) -> float | None:
    """CPU seconds of the server of this backend so far, with its processes that have ended; None if it is not here."""
    if backend is None:
        return None
    ticks = 0
    try:
        postmaster = int(_stat(backend)[1])
        for process in Path("/proc").glob("[0-9]*"):
            pid = int(process.name)
            try:
                fields = _stat(pid)
            except OSError:  # it has just ended
                continue
            if pid == postmaster:
                ticks += sum(int(field) for field in fields[11:15])
            elif int(fields[1]) == postmaster:
                ticks += int(fields[11]) + int(fields[12])
    except OSError:
        return None
    return ticks / os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _is_postgres(pid: int) -> bool:
    try:
        return "postgres" in Path(f"/proc/{pid}/comm").read_text()
    except OSError:
        return False


def most_memory() -> float:
    """The most this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def memory() -> float:
    """What this process has now, in MB; the most it has had where that is not known."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return most_memory()
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
