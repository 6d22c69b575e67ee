"""Absurd, its schema as absurdctl brings it along."""

from __future__ import annotations

import asyncio
from typing import Any

from _common import Contender, io, main, mark, noop
from absurd_sdk import AsyncAbsurd
from absurdctl import BUNDLED_SCHEMA_SQL
from psycopg import AsyncConnection


class Absurd(Contender):
    name = "Absurd"
    package = "absurd-sdk>=0.5.1,<0.6 absurdctl>=0.5.1,<0.6"
    settings = "polls every 10 ms, claims as many as it runs; many by one SELECT of spawn_task"

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.client = AsyncAbsurd(url, queue_name="bench")
        self.worker = AsyncAbsurd(url, queue_name="bench")
        for function in (noop, io, mark, self.link):
            self.register(function.__name__, function)

    def register(self, name: str, function: Any) -> None:
        async def handler(params: Any, context: Any) -> None:
            await function(params["n"])

        for app in (self.client, self.worker):
            app.register_task(name)(handler)

    async def prepare(self) -> None:
        async with await AsyncConnection.connect(self.url, autocommit=True) as connection:
            await connection.execute(BUNDLED_SCHEMA_SQL)
        await self.client.create_queue()
        await self.client.close()

    async def open(self) -> None:
        self.connection = await AsyncConnection.connect(self.url, autocommit=True)

    async def close(self) -> None:
        await self.connection.close()
        await self.client.close()
        await self.worker.close()

    async def enqueue(self, kind: str, n: int) -> None:
        await self.client.spawn(kind, {"n": n})

    async def enqueue_many(self, kind: str, numbers: list[int]) -> None:
        spawn = "SELECT absurd.spawn_task('bench', %s, jsonb_build_object('n', n), %s) FROM unnest(%s::int[]) n"
        await self.connection.execute(spawn, (kind, '{"max_attempts": 5}', numbers))

    async def settle(self) -> None:
        await self.connection.execute("ANALYZE")

    async def start(self, concurrency: int) -> None:
        self.running = asyncio.create_task(self.worker.start_worker(concurrency=concurrency, poll_interval=0.01))

    async def stop(self) -> None:
        self.worker.stop_worker()
        await self.running


if __name__ == "__main__":
    main(Absurd)
