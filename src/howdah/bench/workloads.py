"""The workloads. Each measures howdah and its bare reference once, one right after the other."""

from __future__ import annotations

import asyncio
import resource
import statistics
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from howdah.app import App
from howdah.bench import loop
from howdah.db.line import Line


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of one round."""

    name: str
    value: float
    unit: str


Workload = Callable[[App, int, int], Awaitable[list[Figure]]]


async def drain(app: App, tasks: int, concurrency: int) -> list[Figure]:
    """How fast one worker process runs a backlog of empty tasks."""
    database = await app.database()
    async with database.connection() as conn:
        await conn.execute(loop.sql("tables").encode())
        await loop.fill(conn, tasks)
        await conn.execute("analyze howdah_bench.task")
    bare_cpu, bare = _cpu(), time.perf_counter()
    await loop.drain(database, room=concurrency)
    bare, bare_cpu = time.perf_counter() - bare, _cpu() - bare_cpu

    await _noop(app).enqueue_many([(1,)] * tasks)
    trips = _count_pumps()
    ours_cpu, ours = _cpu(), time.perf_counter()
    await app.worker(queues=["bench"], concurrency=concurrency, until_idle=True, poll="1h").run()
    ours, ours_cpu = time.perf_counter() - ours, _cpu() - ours_cpu
    return [
        Figure("drain", tasks / ours, "tasks/s"),
        Figure("drain, bare loop", tasks / bare, "tasks/s"),
        Figure("drain ÷ bare loop", bare / ours, "ratio"),
        Figure("round trips a task", trips() / tasks, "trips"),
        Figure("client CPU a task", ours_cpu / tasks * 1e6, "µs"),
        Figure("client CPU a task, bare loop", bare_cpu / tasks * 1e6, "µs"),
    ]


async def enqueue(app: App, tasks: int, concurrency: int) -> list[Figure]:
    """How fast tasks are written: one by one, and many at once."""
    database = await app.database()
    async with database.connection() as conn:
        await conn.execute(loop.sql("tables").encode())
    singles = max(tasks // 10, 100)
    conn = await database.connect(prepare_threshold=1)
    async with conn:
        bare_one = await _timed(lambda: conn.execute(loop.INSERT, ["noop", "default", 0, '{"n": 1}']), singles)
        kind = _noop(app)
        await kind.enqueue(1)
        ours_one = await _timed(lambda: kind.enqueue(1), singles)
        bare_many = await _timed(lambda: loop.fill(conn, tasks), 1)
    items = [(1,)] * tasks
    ours_many = await _timed(lambda: kind.enqueue_many(items), 1)
    return [
        Figure("enqueue one by one", singles / ours_one, "tasks/s"),
        Figure("prepared INSERT", singles / bare_one, "tasks/s"),
        Figure("enqueue ÷ INSERT", bare_one / ours_one, "ratio"),
        Figure("enqueue many", tasks / ours_many, "tasks/s"),
        Figure("bare COPY", tasks / bare_many, "tasks/s"),
        Figure("enqueue many ÷ COPY", bare_many / ours_many, "ratio"),
    ]


async def latency(app: App, tasks: int, concurrency: int) -> list[Figure]:
    """How long after the enqueue is committed an idle worker starts the handler."""
    samples = 200
    started: asyncio.Queue[float] = asyncio.Queue()
    client = App(app.dsn)

    @client.task(name="bench.mark", queue="bench")
    async def mark() -> None:
        started.put_nowait(time.perf_counter())

    picked_up: list[float] = []
    async with client.worker(queues=["bench"], poll="1h"):
        for _ in range(samples):
            await asyncio.sleep(0.01)  # idle again
            committed = await _in_thread(mark.enqueue_sync)
            picked_up.append((await started.get() - committed) * 1000)
    await client.close()
    picked_up.sort()
    return [
        Figure("idle pick-up p50", statistics.median(picked_up), "ms"),
        Figure("idle pick-up p99", picked_up[int(samples * 0.99) - 1], "ms"),
    ]


async def drain_rate(app: App, tasks: int, concurrency: int) -> float:
    """Empty function tasks a second, in one worker: what the steps and messages of the others are compared with."""
    await _noop(app).enqueue_many([(1,)] * tasks)
    return tasks / await run_empty(app, concurrency)


async def run_empty(app: App, concurrency: int) -> float:
    """Seconds until a worker has nothing left to do."""
    begin = time.perf_counter()
    await app.worker(queues=["bench"], concurrency=concurrency, until_idle=True, poll="1h").run()
    return time.perf_counter() - begin


def _noop(app: App) -> Any:
    """The handler that does nothing, once per app."""
    known = getattr(app, "_bench_noop", None)
    if known is None:

        @app.task(name="bench.noop", queue="bench")
        async def noop(n: int) -> None:
            return None

        known = noop
        setattr(app, "_bench_noop", known)  # noqa: B010
    return known


async def _timed(call: Callable[[], Awaitable[Any]], times: int) -> float:
    begin = time.perf_counter()
    for _ in range(times):
        await call()
    return time.perf_counter() - begin


async def _in_thread(call: Callable[[], Any]) -> float:
    """Call it in a thread; when it returned."""
    loop_ = asyncio.get_running_loop()
    done: asyncio.Future[float] = loop_.create_future()

    def work() -> None:
        call()
        loop_.call_soon_threadsafe(done.set_result, time.perf_counter())

    threading.Thread(target=work).start()
    return await done


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _count_pumps() -> Callable[[], int]:
    before = Line.calls
    return lambda: Line.calls - before
