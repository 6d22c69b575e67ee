"""What grows: the backlog, a transaction that stays open, the payload, the concurrency, the workers, a million tasks."""

from __future__ import annotations

from contextlib import AsyncExitStack

from howdah.app import App
from howdah.bench import fleet
from howdah.bench.figures import Figure, Meter, memory
from howdah.bench.running import QUEUE, Milestones, drain_rate, fill, forget, noop, run_empty


async def pinned(app: App, tasks: int, concurrency: int) -> list[Figure]:
    """Ten times as many tasks, while a long transaction elsewhere keeps every dead row alive."""
    tasks *= 10
    free = await drain_rate(app, tasks, concurrency)
    async with AsyncExitStack() as stack:
        await _pin(app, stack)
        held = await drain_rate(app, tasks, concurrency)
    return [
        Figure("drain under a pinned horizon", held, "tasks/s"),
        Figure("pinned ÷ not pinned", held / free, "ratio"),
    ]


async def backlog(app: App, tasks: int, concurrency: int) -> list[Figure]:
    """The same number of tasks out of a small backlog, and out of one that is a hundred times as long."""
    some = max(tasks // 2, 1000)
    rates: list[float] = []
    served: list[float | None] = []
    for waiting in (some, some * 100):
        client = App(app.dsn, config=False)
        counted = Milestones(client, every=some)
        await fill(counted.kind, waiting)
        async with Meter(await app.database()) as meter:
            rates += await counted.run(some, concurrency)
        served.append(meter.server)
        await client.close()
        await forget(app)
    figures = [Figure("a hundred times the backlog: rate ÷ before", rates[1] / rates[0], "ratio")]
    if served[0] and served[1]:
        figures.append(Figure("a hundred times the backlog: server CPU ÷ before", served[1] / served[0], "ratio"))
    return figures


async def million(app: App, tasks: int, concurrency: int) -> list[Figure]:
    """Fifty times as many tasks through one worker, with and without a pinned horizon: by tenths."""
    figures: list[Figure] = []
    for name in ("million", "million, pinned"):
        client = App(app.dsn, config=False)
        held: list[float] = []
        counted = Milestones(client, every=tasks * 5)
        counted.reached = lambda held=held: held.append(memory())
        await fill(counted.kind, tasks * 50)
        async with AsyncExitStack() as stack:
            if "pinned" in name:
                await _pin(app, stack)
            rates = await counted.run(tasks * 50, concurrency)
        await client.close()
        await forget(app)
        figures += [
            Figure(f"{name}: rate", len(rates) / sum(1 / rate for rate in rates), "tasks/s"),
            Figure(f"{name}: last tenth ÷ first", rates[-1] / rates[0], "ratio"),
            Figure(f"{name}: memory grown after the first tenth", held[-1] - held[0], "MB"),
        ]
    return figures


async def sizes(app: App, tasks: int, concurrency: int) -> list[Figure]:
    """How the drain changes with the payload and with the concurrency."""
    client = App(app.dsn, config=False)

    @client.task(name="bench.payload", queue=QUEUE)
    async def take(text: str) -> None:
        return None

    figures: list[Figure] = []
    for size in (10, 1_000, 10_000):
        some = max(tasks // (10 if size > 1000 else 1), 100)
        await take.enqueue_many([("x" * size,)] * some)
        figures.append(Figure(f"payload of {size:,} bytes", some / await run_empty(client, concurrency), "tasks/s"))
    for most in (1, 10, 100, 1000):
        some = max(tasks // (10 if most < 10 else 1), 100)
        await fill(noop(client), some)
        figures.append(Figure(f"concurrency {most:,}", some / await run_empty(client, most), "tasks/s"))
    await client.close()
    return figures


async def workers(app: App, tasks: int, concurrency: int) -> list[Figure]:
    """Several worker processes on one backlog."""
    figures: list[Figure] = []
    for many in (1, 2, 4):
        await fill(noop(app), tasks * many)
        name = f"{many} worker process{'es' if many > 1 else ''}"
        figures.append(Figure(name, await fleet.rate(app, many, concurrency), "tasks/s"))
        await forget(app)
    return figures


async def _pin(app: App, stack: AsyncExitStack) -> None:
    """Until the stack is closed, a transaction with a snapshot: nothing that dies from now on can be vacuumed."""
    conn = await stack.enter_async_context(await (await app.database()).connect())
    await stack.enter_async_context(conn.transaction())
    await conn.execute("set transaction isolation level repeatable read")
    await conn.execute("select count(*) from howdah.worker")
