"""What limits cost: a limit of 1 on each of very many groups, and tasks without groups beside limited ones."""

from __future__ import annotations

from howdah.app import App
from howdah.bench import loop
from howdah.bench.figures import Figure
from howdah.bench.running import drain_rate, run_empty

_BESIDE = "bench.beside"


async def groups(app: App, tasks: int, concurrency: int) -> list[Figure]:
    """A tenth as many groups as tasks, each with a limit of 1; then tasks without groups while limited ones wait in another queue."""
    plain = await drain_rate(app, tasks, concurrency)
    await app.set_limit("bench:*", running=1)
    rates: dict[bool, float] = {}
    for fair in (False, True):
        await app.set_queue("bench", fair=fair)
        await _fill(app, "bench", tasks)
        rates[fair] = tasks / await run_empty(app, concurrency)
    await app.set_queue("bench", fair=False)

    again = await drain_rate(app, tasks, concurrency)
    await _fill(app, _BESIDE, tasks)
    beside = await drain_rate(app, tasks, concurrency)
    return [
        Figure("groups", rates[False], "tasks/s"),
        Figure("groups in turns", rates[True], "tasks/s"),
        Figure("groups ÷ drain", rates[False] / plain, "ratio"),
        Figure("groups in turns ÷ drain", rates[True] / plain, "ratio"),
        Figure("drain beside limited ÷ drain", beside / again, "ratio"),
    ]


async def _fill(app: App, queue: str, tasks: int) -> None:
    async with app.transaction() as conn:
        sql = loop.sql("fill_groups").encode()
        await conn.execute(sql, {"queue": queue, "groups": max(tasks // 10, 1), "tasks": tasks})
