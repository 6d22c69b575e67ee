"""procrastinate, on a pool of psycopg connections that commit each statement."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from _common import Contender, io, main, mark, noop
from procrastinate import App, PsycopgConnector
from psycopg import AsyncConnection


async def autocommit(connection: AsyncConnection) -> None:
    """Each of its queries is one statement: no BEGIN and COMMIT around it."""
    await connection.set_autocommit(True)


class Procrastinate(Contender):
    name = "procrastinate"
    package = "procrastinate>=3.10,<4 psycopg[binary]>=3.2,<4"
    settings = "psycopg in C, pool of 10, autocommit, LISTEN/NOTIFY, batch_defer"

    def __init__(self, url: str) -> None:
        super().__init__(url)
        logging.getLogger("procrastinate").setLevel(logging.ERROR)  # it warns of apps in a main module
        self.app = App(connector=PsycopgConnector(conninfo=url, min_size=10, max_size=10, configure=autocommit))
        self.kinds = {f.__name__: self.app.task(name=f.__name__)(f) for f in (noop, io, mark, self.link)}
        self.worker: asyncio.Task[None] | None = None

    async def prepare(self) -> None:
        async with self.app.open_async():
            await self.app.schema_manager.apply_schema_async()

    async def open(self) -> None:
        await self.app.open_async()

    async def close(self) -> None:
        await self.app.close_async()

    async def enqueue(self, kind: str, n: int) -> None:
        await self.kinds[kind].defer_async(n=n)

    async def enqueue_many(self, kind: str, numbers: list[int]) -> None:
        await self.kinds[kind].batch_defer_async(*({"n": n} for n in numbers))

    async def settle(self) -> None:
        await self.app.connector.execute_query_async("ANALYZE")

    async def start(self, concurrency: int) -> None:
        run = self.app.run_worker_async(concurrency=concurrency, install_signal_handlers=False)
        self.worker = asyncio.create_task(run)

    async def stop(self) -> None:
        assert self.worker is not None
        self.worker.cancel()
        with suppress(asyncio.CancelledError):
            await self.worker


if __name__ == "__main__":
    main(Procrastinate)
