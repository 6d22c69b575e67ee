"""saq on Redis, as its documentation says."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from _common import Contender, io, main, mark, noop, recorder
from saq import Queue, Worker
from saq.types import Context

HANDLERS = {"noop": noop, "io": io, "mark": mark}


class Saq(Contender):
    name = "saq"
    package = "saq[redis,hiredis]>=0.26,<0.27 typing_extensions"
    needs = "redis"
    settings = "hiredis; job results not kept; 100 Redis operations at once"

    async def open(self) -> None:
        logging.getLogger("saq").setLevel(logging.ERROR)
        self.queue = Queue.from_url(self.url, max_concurrent_ops=100)
        await self.queue.connect()

    async def close(self) -> None:
        await self.queue.disconnect()

    async def enqueue(self, kind: str, n: int) -> None:
        await self.queue.enqueue(kind, n=n, ttl=-1)

    async def enqueue_many(self, kind: str, numbers: list[int]) -> None:
        await asyncio.gather(*(self.enqueue(kind, n) for n in numbers))

    async def start(self, concurrency: int) -> None:
        async def link(_: Context, *, n: int) -> None:
            recorder.begin()
            if n:
                await self.enqueue("link", n - 1)
            else:
                recorder.end()

        def job(handler: Any) -> Any:
            async def run(_: Context, *, n: int) -> None:
                await handler(n)

            return run

        functions = [("link", link), *((kind, job(handler)) for kind, handler in HANDLERS.items())]
        self.worker = Worker(self.queue, functions, concurrency=concurrency)
        self.running = asyncio.create_task(self.worker.start())

    async def stop(self) -> None:
        await self.worker.stop()
        await self.running


if __name__ == "__main__":
    main(Saq)
