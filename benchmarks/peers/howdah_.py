"""howdah, as its README says."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass

import uvloop
from _common import Contender, io, main, mark, noop, recorder

from howdah import App
from howdah.db.pool import Database
from howdah.migrate import migrate


class Howdah(Contender):
    name = "howdah"
    settings = "as `howdah worker` runs it; chains are state machines"

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.app = App(url, config=False)
        self.kinds = {
            "noop": self.app.task(name="noop")(noop),
            "io": self.app.task(name="io")(io),
            "mark": self.app.task(name="mark")(mark),
        }
        link = self.app.machine("link")

        @link.step
        @dataclass
        class Link:
            n: int

            async def run(self) -> Link | None:
                recorder.begin()
                if self.n:
                    return Link(self.n - 1)
                recorder.end()
                return None

        self.link, self.step = link, Link
        self.running = AsyncExitStack()

    async def prepare(self) -> None:
        migrate(Database(self.url))

    async def open(self) -> None:
        await self.app.__aenter__()

    async def close(self) -> None:
        await self.app.__aexit__(None, None, None)

    async def enqueue(self, kind: str, n: int) -> None:
        await self.kinds[kind].enqueue(n)

    async def enqueue_many(self, kind: str, numbers: list[int]) -> None:
        if kind == "link":
            await self.link.enqueue_many([self.step(n) for n in numbers])
        else:
            await self.kinds[kind].enqueue_many([(n,) for n in numbers])

    async def settle(self) -> None:
        database = await self.app.database()
        async with database.connection() as conn:
            await conn.execute("ANALYZE")

    async def start(self, concurrency: int) -> None:
        await self.running.enter_async_context(self.app.worker(concurrency=concurrency))

    async def stop(self) -> None:
        await self.running.aclose()


if __name__ == "__main__":
    uvloop.install()  # as `howdah worker` does
    main(Howdah)
