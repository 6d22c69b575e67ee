"""PgQueuer, as its guide to performance says: a pool for producers, one connection for the worker, on uvloop."""

from __future__ import annotations

import asyncio

import asyncpg
import uvloop
from _common import Contender, io, main, mark, noop
from pgqueuer import AsyncpgDriver, AsyncpgPoolDriver, Job, PgQueuer, Queries


class Pgqueuer(Contender):
    name = "PgQueuer"
    package = "pgqueuer[asyncpg]>=1.6,<2"
    settings = "asyncpg on uvloop, batches of half the concurrency, pgq autovac, array insert"

    async def prepare(self) -> None:
        connection = await asyncpg.connect(self.url)
        queries = Queries(AsyncpgDriver(connection))
        await queries.install()
        await queries.optimize_autovacuum()
        await connection.close()

    async def open(self) -> None:
        self.pool = await asyncpg.create_pool(self.url, min_size=5, max_size=20)
        self.queries = Queries(AsyncpgPoolDriver(self.pool))

    async def close(self) -> None:
        await self.pool.close()

    async def enqueue(self, kind: str, n: int) -> None:
        await self.queries.enqueue(kind, b"%d" % n)

    async def enqueue_many(self, kind: str, numbers: list[int]) -> None:
        count = len(numbers)
        await self.queries.enqueue([kind] * count, [b"%d" % n for n in numbers], [0] * count)

    async def settle(self) -> None:
        await self.pool.execute("ANALYZE")

    async def start(self, concurrency: int) -> None:
        self.connection = await asyncpg.connect(self.url)
        self.worker = PgQueuer.from_asyncpg_connection(self.connection)
        for function in (noop, io, mark, self.link):

            @self.worker.entrypoint(function.__name__)
            async def entrypoint(job: Job, function=function) -> None:
                assert job.payload is not None
                await function(int(job.payload))

        run = self.worker.run(batch_size=concurrency // 2, max_concurrent_tasks=concurrency)
        self.running = asyncio.create_task(run)

    async def stop(self) -> None:
        self.worker.shutdown.set()
        await self.running
        await self.connection.close()


if __name__ == "__main__":
    uvloop.install()
    main(Pgqueuer)
