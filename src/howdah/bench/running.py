"""What the workloads share: the task that does nothing, a backlog of it, and a worker that runs it empty."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from howdah.app import App
from howdah.bench import loop

QUEUE = "bench"
_AT_ONCE = 20_000  # tasks written in one piece


def noop(app: App) -> Any:
    """The handler that does nothing, once per app."""
    known = getattr(app, "_bench_noop", None)
    if known is None:

        @app.task(name="bench.noop", queue=QUEUE)
        async def nothing(n: int) -> None:
            return None

        known = nothing
        setattr(app, "_bench_noop", known)  # noqa: B010
    return known


async def fill(kind: Any, tasks: int) -> None:
    """Put so many tasks of a kind that takes one number into its queue."""
    for start in range(0, tasks, _AT_ONCE):
        await kind.enqueue_many([(1,)] * min(_AT_ONCE, tasks - start))


async def run_empty(app: App, concurrency: int) -> float:
    """Seconds until a worker has nothing left to do."""
    begin = time.perf_counter()
    await app.worker(queues=[QUEUE], concurrency=concurrency, until_idle=True, poll="1h").run()
    return time.perf_counter() - begin


async def recorded_rate(app: App) -> float:
    """Tasks a second from the first claim to the last end, as the archive has them: without the start of the worker."""
    database = await app.database()
    async with database.connection() as conn:
        row = await (await conn.execute(loop.sql("recorded").encode())).fetchone()
    assert row is not None
    return row["ended"] / row["seconds"]


async def drain_rate(app: App, tasks: int, concurrency: int) -> float:
    """Empty function tasks a second, in one worker: what the others are compared with."""
    await fill(noop(app), tasks)
    return tasks / await run_empty(app, concurrency)


class Milestones:
    """Runs a backlog whose handlers count, and says when each so many of them had ended."""

    def __init__(self, app: App, every: int) -> None:
        self.every = every
        self.times: list[float] = []
        self._count = 0
        self._wanted = 0
        self._over = asyncio.Event()

        @app.task(name="bench.counted", queue=QUEUE)
        async def counted(n: int) -> None:
            if not self.times:
                self.times.append(time.perf_counter())
            self._count += 1
            if self._count % self.every == 0:
                self.times.append(time.perf_counter())
                self.reached()
            if self._count == self._wanted:
                self._over.set()

        self.kind = counted
        self.app = app

    def reached(self) -> None:
        """Called at each milestone."""

    async def run(self, tasks: int, concurrency: int) -> list[float]:
        """Run the first so many of those that wait. Returns the rate from each milestone to the next."""
        self.times, self._count, self._wanted = [], 0, tasks
        self._over.clear()
        async with self.app.worker(queues=[QUEUE], concurrency=concurrency, poll="1h"):
            await self._over.wait()
        return [self.every / (after - before) for before, after in zip(self.times, self.times[1:], strict=False)]


async def forget(app: App) -> None:
    """Delete what a workload left behind."""
    database = await app.database()
    async with database.connection() as conn:
        await conn.execute(loop.sql("forget").encode())
