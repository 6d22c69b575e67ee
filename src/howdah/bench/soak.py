"""The soak: a producer at a fixed rate, a mix of tasks, minutes long. What is flat stays flat?"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from dataclasses import asdict, dataclass

from howdah.app import App
from howdah.backoff import Retry
from howdah.bench import loop
from howdah.bench.figures import Figure, memory
from howdah.bench.running import QUEUE, forget
from howdah.context import Context
from howdah.db.pool import Database
from howdah.machine import Machine

BATCH = 10  # tasks written at once
_SAMPLES = 60


@dataclass(slots=True)
class Sample:
    """What was seen at one moment of a soak, or since the one before."""

    second: float
    ended: int
    waiting: int
    p50_ms: float
    p99_ms: float
    memory_mb: float
    dead_rows: int
    table_mb: float
    wal_mb: float


class Soak:
    """Half plain functions, a quarter machines of three steps, the rest retries, delays, keys and groups."""

    def __init__(self, app: App, rate: int) -> None:
        self.app = App(app.dsn, config=False)
        self.rate = rate
        self.samples: list[Sample] = []
        self._late: list[float] = []
        self._ended = 0
        self._random = random.Random(7)
        self.app.limit("bench:*", running=2)

        @self.app.task(name="bench.plain", queue=QUEUE)
        async def plain(at: float) -> None:
            self._began(at)

        @self.app.task(name="bench.flaky", queue=QUEUE, retry=Retry(5, delay="100ms"))
        async def flaky(ctx: Context, at: float) -> None:
            if ctx.attempt == 1:
                raise RuntimeError("the first attempt fails")
            self._ended += 1

        @self.app.task(name="bench.grouped", queue=QUEUE, group="bench:{tenant}")
        async def grouped(tenant: int, at: float) -> None:
            self._ended += 1

        self._plain, self._flaky, self._grouped = plain, flaky, grouped
        self._machine = self._chain()

    def _chain(self) -> type:
        machine: Machine = self.app.machine("bench.chain", queue=QUEUE)
        soak = self

        @machine.step
        @dataclass
        class Link:
            left: int
            at: float

            async def run(self) -> Link | None:
                if self.left == 2:
                    soak._began(self.at)
                return Link(self.left - 1, self.at) if self.left else None

        self._chains = machine
        return Link

    def _began(self, at: float) -> None:
        self._ended += 1
        self._late.append((time.time() - at) * 1000)

    async def run(self, seconds: float, concurrency: int) -> None:
        """Produce and work for so long, then until nothing waits."""
        database = await self.app.database()
        async with self.app.worker(queues=[QUEUE], concurrency=concurrency):
            sampler = asyncio.create_task(self._sample(database, seconds / _SAMPLES))
            await self._produce(seconds)
            sampler.cancel()
        await self.app.close()

    async def _produce(self, seconds: float) -> None:
        began, written = time.perf_counter(), 0
        while (passed := time.perf_counter() - began) < seconds:
            if written >= passed * self.rate:
                await asyncio.sleep(BATCH / self.rate)
                continue
            await self._write()
            written += BATCH

    async def _write(self) -> None:
        at, chance = time.time(), self._random.random()
        if chance < 0.5:
            await self._plain.enqueue_many([(at,)] * BATCH)
        elif chance < 0.75:
            await self._chains.enqueue_many([self._machine(2, at)] * BATCH)
        elif chance < 0.8:
            await self._flaky.enqueue_many([(at,)] * BATCH)
        elif chance < 0.85:
            await self._plain.using(delay="1s").enqueue_many([(at + 1,)] * BATCH)
        elif chance < 0.9:
            for n in range(BATCH):
                await self._plain.using(key=f"bench:{n}").enqueue(at)
        else:
            await self._grouped.enqueue_many([(n, at) for n in range(BATCH)])

    async def _sample(self, database: Database, every: float) -> None:
        began = time.perf_counter()
        while True:
            await asyncio.sleep(every)
            late, self._late = sorted(self._late), []
            ended, self._ended = self._ended, 0
            async with database.connection() as conn:
                row = await (await conn.execute(loop.sql("sample").encode())).fetchone()
            assert row is not None
            self.samples.append(
                Sample(
                    round(time.perf_counter() - began, 1),
                    ended,
                    row["waiting"],
                    round(statistics.median(late), 2) if late else 0.0,
                    round(late[int(len(late) * 0.99) - 1], 2) if late else 0.0,
                    round(memory(), 1),
                    row["dead"],
                    round(row["size"] / 2**20, 2),
                    round(float(row["wal"]) / 2**20, 1),
                )
            )


async def soak(app: App, seconds: float, rate: int, concurrency: int) -> tuple[list[Figure], list[dict[str, float]]]:
    """So many tasks a second for so long: figures of the last third beside the first, and the samples."""
    one = Soak(app, rate)
    try:
        await one.run(seconds, concurrency)
    finally:
        await forget(app)
    third = len(one.samples) // 3
    first, last = one.samples[third : 2 * third], one.samples[-third:]

    def ratio(name: str) -> float:
        before = statistics.median(getattr(sample, name) for sample in first)
        return statistics.median(getattr(sample, name) for sample in last) / max(before, 0.001)

    return [
        Figure("soak: tasks ended", sum(sample.ended for sample in one.samples) / one.samples[-1].second, "tasks/s"),
        Figure("soak: enqueue → start p50", statistics.median(sample.p50_ms for sample in one.samples), "ms"),
        Figure("soak: enqueue → start p99", statistics.median(sample.p99_ms for sample in one.samples), "ms"),
        Figure("soak: p99, last third ÷ second", ratio("p99_ms"), "ratio"),
        Figure("soak: dead rows at most", max(sample.dead_rows for sample in one.samples), "rows"),
        Figure("soak: table, last third ÷ second", ratio("table_mb"), "ratio"),
        Figure("soak: memory, last third ÷ second", ratio("memory_mb"), "ratio"),
    ], [asdict(sample) for sample in one.samples]
