"""Plain functions: drain, enqueue, pick-up, waiting for others, handlers in threads and processes."""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

from psycopg import AsyncConnection

from howdah.app import App
from howdah.bench import fleet, loop
from howdah.bench.figures import Figure, Meter, most_memory
from howdah.bench.running import QUEUE, fill, forget, noop, recorded_rate, run_empty

_TRANSACTION = 10  # tasks written in each transaction of the caller's
WAIT = 0.05  # seconds of the I/O task


async def drain(app: App, tasks: int, concurrency: int) -> list[Figure]:
    """How fast one worker process runs a backlog of empty tasks."""
    database = await app.database()
    async with database.connection() as conn:
        await conn.execute(loop.sql("tables").encode())
        await loop.fill(conn, tasks)
        await conn.execute("analyze howdah_bench.task")
    async with Meter(database) as bare:
        await loop.drain(database, room=concurrency)
    await fill(noop(app), tasks)
    async with Meter(database) as ours:
        await run_empty(app, concurrency)
    rate = await recorded_rate(app)
    return [
        Figure("drain", rate, "tasks/s"),
        Figure("drain, bare loop", tasks / bare.seconds, "tasks/s"),
        Figure("drain ÷ bare loop", rate * bare.seconds / tasks, "ratio"),
        *ours.costs(tasks),
        *[Figure(f"{cost.name}, bare loop", cost.value, cost.unit) for cost in bare.costs(tasks)[1:]],
        Figure("memory of the worker", most_memory(), "MB"),
    ]


async def enqueue(app: App, tasks: int, concurrency: int) -> list[Figure]:
    """How fast tasks are written: one by one, in a transaction of the caller's, and many at once."""
    database = await app.database()
    async with database.connection() as conn:
        await conn.execute(loop.sql("tables").encode())
    turns = 20
    singles = max(tasks // 10 // turns, 10)
    together = max(singles // _TRANSACTION, 1)
    kind = noop(app)
    row = ["noop", "default", 0, '{"n": 1}']
    bare_one = ours_one = bare_together = ours_together = 0.0
    # In turns, because the disk is not as fast now as it was a second ago; and on the same connection of the pool, because a
    # server process that has slept is slow for a while.
    for _ in range(turns):
        async with database.connection() as conn:
            bare_one += await _timed(lambda conn=conn: conn.execute(loop.INSERT, row), singles)
        ours_one += await _timed(lambda: kind.enqueue(1), singles)
        async with database.connection() as conn:
            bare_together += await _timed(lambda conn=conn: _insert_together(conn, row), together)
            ours_together += await _timed(lambda conn=conn: _enqueue_together(conn, kind), together)
    async with database.connection() as conn:
        bare_many = await _timed(lambda: loop.fill(conn, tasks), 1)
    items = [(1,)] * tasks
    ours_many = await _timed(lambda: kind.enqueue_many(items), 1)
    return [
        Figure("enqueue one by one", turns * singles / ours_one, "tasks/s"),
        Figure("prepared INSERT", turns * singles / bare_one, "rows/s"),
        Figure("enqueue ÷ INSERT", bare_one / ours_one, "ratio"),
        Figure("enqueue, ten in a transaction", turns * together * _TRANSACTION / ours_together, "tasks/s"),
        Figure("ten in a transaction ÷ INSERT", bare_together / ours_together, "ratio"),
        Figure("enqueue many", tasks / ours_many, "tasks/s"),
        Figure("bare COPY", tasks / bare_many, "rows/s"),
        Figure("enqueue many ÷ COPY", bare_many / ours_many, "ratio"),
    ]


async def _insert_together(conn: AsyncConnection[Any], row: list[Any]) -> None:
    async with conn.transaction():
        for _ in range(_TRANSACTION):
            await conn.execute(loop.INSERT, row)


async def _enqueue_together(conn: AsyncConnection[Any], kind: Any) -> None:
    async with conn.transaction():
        bound = kind.using(connection=conn)
        for _ in range(_TRANSACTION):
            await bound.enqueue(1)


async def latency(app: App, tasks: int, concurrency: int) -> list[Figure]:
    """How long after the enqueue is committed an idle worker starts the handler."""
    samples = 200
    started: asyncio.Queue[float] = asyncio.Queue()
    client = App(app.dsn, config=False)

    @client.task(name="bench.mark", queue=QUEUE)
    async def mark() -> None:
        started.put_nowait(time.perf_counter())

    picked_up: list[float] = []
    async with client.worker(queues=[QUEUE], poll="1h"):
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


async def waiting(app: App, tasks: int, concurrency: int) -> list[Figure]:
    """Handlers that wait 50 ms for somebody else, a hundred and a thousand at once."""
    client = App(app.dsn, config=False)

    @client.task(name="bench.wait", queue=QUEUE)
    async def wait(n: int) -> None:
        await asyncio.sleep(WAIT)

    figures: list[Figure] = []
    for most in (100, 1000):
        await fill(wait, 20 * most)
        await run_empty(client, most)
        rate = await recorded_rate(app)
        await forget(app)
        figures += [
            Figure(f"50 ms of I/O, {most:,} at once", rate, "tasks/s"),
            Figure(f"50 ms of I/O, {most:,} at once ÷ ideal", rate * WAIT / most, "ratio"),
        ]
    await client.close()
    return figures


async def plain(app: App, tasks: int, concurrency: int) -> list[Figure]:
    """Functions that are not async: in threads, and in a pool of processes."""
    figures: list[Figure] = []
    client = App(app.dsn, config=False)
    for name, kind, some in (("threads", fleet.in_thread, tasks // 2), ("processes", fleet.in_process, tasks // 10)):
        await fill(client.task(name=kind.name, queue=QUEUE)(kind.function), some)
        figures.append(Figure(f"plain functions in {name}", await fleet.rate(app, 1, concurrency), "tasks/s"))
        await forget(app)
    await client.close()
    return figures


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
