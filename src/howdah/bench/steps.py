"""The workloads of machines, actors and families, each beside the drain of plain functions in the same round."""

from __future__ import annotations

import time
from dataclasses import dataclass

from howdah.actor import Action
from howdah.app import App
from howdah.bench.figures import Figure, most_memory
from howdah.bench.running import drain_rate, run_empty
from howdah.context import Context
from howdah.inbox import Inbox
from howdah.outcomes import Done, Join, Suspend

MACHINES, STEPS = 50, 1000
PAIRS = 50
# A worker's default, with which the plain functions come in batches of fifty too: like is compared with like.
CONCURRENCY = 100


async def machine(app: App, tasks: int, concurrency: int) -> list[Figure]:
    """A machine of 1,000 steps, fifty of them at once."""
    bench = App(app.dsn, config=False)
    machine = bench.machine("bench.machine", queue="bench")

    @machine.step
    @dataclass
    class Count:
        n: int

        async def run(self) -> Count | None:
            return Count(self.n - 1) if self.n > 1 else None

    drained = await drain_rate(app, tasks, CONCURRENCY)
    await machine.enqueue_many([Count(STEPS)] * MACHINES)
    rate = MACHINES * STEPS / await run_empty(bench, CONCURRENCY)
    await bench.close()
    return [
        Figure("steps of machines", rate, "steps/s"),
        Figure("steps ÷ drain", rate / drained, "ratio"),
    ]


async def actors(app: App, tasks: int, concurrency: int) -> list[Figure]:
    """Fifty pairs of actors that send a number to and fro until it is 0."""
    bench = App(app.dsn, config=False)
    rounds = max(tasks // PAIRS, 10)

    @bench.actor("bench.player", inbox=int, queue="bench")
    @dataclass
    class Player:
        other: int = 0

        async def poll(self, ctx: Context, inbox: Inbox[int]) -> Action:
            for left in inbox:
                if not self.other:  # the first one has the other's id
                    self.other = left
                elif left == 0:
                    return Done()
                else:
                    ctx.send(self.other, left - 1)
                    if left == 1:
                        return Done()
            return Suspend()

    drained = await drain_rate(app, tasks, CONCURRENCY)
    for _ in range(PAIRS):
        one, two = await Player.enqueue(), await Player.enqueue()
        await one.send(two.id)
        await two.send(one.id)
        await one.send(rounds)
    rate = PAIRS * rounds / await run_empty(bench, CONCURRENCY)
    await bench.close()
    return [
        Figure("messages of actors", rate, "messages/s"),
        Figure("messages ÷ drain", rate / drained, "ratio"),
    ]


async def inbox(app: App, tasks: int, concurrency: int) -> list[Figure]:
    """One actor, a hundred thousand messages: the first half beside the second, and what memory it took."""
    bench = App(app.dsn, config=False)
    sent = tasks * 5
    marks: list[float] = []

    @bench.actor("bench.reader", inbox=int, queue="bench")
    @dataclass
    class Reader:
        read: int = 0

        async def poll(self, ctx: Context, inbox: Inbox[int]) -> Action:
            before = self.read
            for _ in inbox:
                self.read += 1
            if before < sent // 2 <= self.read:
                marks.append(time.perf_counter())
            if self.read == sent:
                marks.append(time.perf_counter())
            return Done(self.read) if self.read == sent else Suspend()

    reader = await Reader.enqueue()
    database = await bench.database()
    async with database.connection() as conn:
        letters = "select jsonb_agg(jsonb_build_object('to', %s::bigint, 'body', n)) from generate_series(1, %s) n"
        await conn.execute(f"select * from howdah.deliver(({letters}))".encode(), [reader.id, sent])
    memory = most_memory()
    begin = time.perf_counter()
    await run_empty(bench, concurrency)
    grown = most_memory() - memory
    await bench.close()
    first, second = marks[0] - begin, marks[1] - marks[0]
    return [
        Figure("inbox read", sent / (first + second), "messages/s"),
        Figure("inbox, second half ÷ first", second / first, "ratio"),
        Figure("inbox, memory grown", grown, "MB"),
    ]


async def family(app: App, tasks: int, concurrency: int) -> list[Figure]:
    """A function that spawns half as many children as there are tasks, and joins them."""
    bench = App(app.dsn, config=False)

    @bench.task(name="bench.child", queue="bench")
    async def child(n: int) -> int:
        return n

    @bench.task(name="bench.parent", queue="bench")
    async def parent(ctx: Context, children: int) -> int | Join:
        if not ctx.children:
            for n in range(children):
                await ctx.spawn(child, n)
            return Join()
        return len(ctx.children)

    rates: list[float] = []
    for children in (tasks // 20, tasks // 2):
        await parent.enqueue(children)
        rates.append(children / await run_empty(bench, concurrency))
    await bench.close()
    return [
        Figure("children joined", rates[1], "tasks/s"),
        Figure("ten times as many ÷ before", rates[1] / rates[0], "ratio"),
    ]
