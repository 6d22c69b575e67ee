"""The bare loop of `howdah bench`: claim, an asyncio task for each row, archive. What speed costs at least."""

from __future__ import annotations

import asyncio

import uvloop
from _common import Contender, io, main, noop

from howdah.bench import loop
from howdah.db.pool import Database


class Bare(Contender):
    name = "bare"
    settings = "no lease, no retry, no wake-up: INSERT, COPY, and one statement that archives and claims"

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.database = Database(url)
        self.running: asyncio.Task[int] | None = None
        self.handler = noop

    async def prepare(self) -> None:
        async with self.database.connection() as conn:
            await conn.execute(loop.sql("tables").encode())
        await self.database.close()

    async def close(self) -> None:
        await self.database.close()

    async def enqueue(self, kind: str, n: int) -> None:
        async with self.database.connection() as conn:
            await conn.execute(loop.INSERT, [kind, "default", 0, f'{{"n": {n}}}'])

    async def enqueue_many(self, kind: str, numbers: list[int]) -> None:
        self.handler = {"noop": noop, "io": io}[kind]
        async with self.database.connection() as conn:
            await loop.fill(conn, len(numbers))

    async def settle(self) -> None:
        async with self.database.connection() as conn:
            await conn.execute("ANALYZE")

    async def start(self, concurrency: int) -> None:
        self.running = asyncio.create_task(loop.drain(self.database, room=concurrency, handler=self.handler))

    async def stop(self) -> None:
        assert self.running is not None
        await self.running

    async def chain(self, tasks: int, concurrency: int, **_: object) -> dict[str, float]:
        raise SystemExit("it has no steps")

    async def latency(self, tasks: int, concurrency: int, **_: object) -> dict[str, float]:
        raise SystemExit("it does not wait for tasks")


if __name__ == "__main__":
    uvloop.install()
    main(Bare)
