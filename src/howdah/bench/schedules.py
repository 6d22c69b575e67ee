"""Many schedules that tick each second."""

from __future__ import annotations

import asyncio
import statistics
from datetime import UTC, datetime, timedelta

from howdah.app import App
from howdah.bench.figures import Figure
from howdah.bench.running import QUEUE
from howdah.context import Context

TICKS = 5


async def schedules(app: App, tasks: int, concurrency: int) -> list[Figure]:
    """A twentieth as many schedules as tasks, all due at the same moments: how late their handlers start."""
    client = App(app.dsn, config=False)
    late: list[float] = []
    many = max(tasks // 20, 10)
    over = asyncio.Event()

    @client.task(name="bench.tick", queue=QUEUE)
    async def ticked(ctx: Context) -> None:
        assert ctx.tick is not None
        late.append((datetime.now(UTC) - ctx.tick).total_seconds() * 1000)
        if len(late) >= many * TICKS:
            over.set()

    names = [f"bench.{n}" for n in range(many)]
    async with client.worker(queues=[QUEUE], concurrency=concurrency, poll="1h"):
        start = datetime.now(UTC) + timedelta(seconds=2 + many / 500)
        for name in names:
            await client.schedule(name, ticked, every="1s", start=start)
        await over.wait()
        for name in names:
            await client.unschedule(name)
    await client.close()
    late.sort()
    return [
        Figure(f"{many:,} schedules a second: late p50", statistics.median(late), "ms"),
        Figure(f"{many:,} schedules a second: late p99", late[int(len(late) * 0.99) - 1], "ms"),
    ]
