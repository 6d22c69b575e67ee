"""Chancy, jobs on the worker's own loop, polled for as soon as one has ended."""

from __future__ import annotations

import logging
from typing import ClassVar

from _common import Contender, io, main, mark, noop, recorder
from chancy import Chancy, Job, Queue, Worker


async def link(n: int) -> None:
    recorder.begin()
    if n:
        await ChancyContender.running.enqueue("link", n - 1)
    else:
        recorder.end()


class ChancyContender(Contender):
    name = "Chancy"
    package = "chancy>=0.26,<0.27 psycopg[binary]>=3.2,<4"
    settings = "psycopg in C, async executor, eager polling, LISTEN/NOTIFY, push_many"
    running: ClassVar[ChancyContender]

    def __init__(self, url: str) -> None:
        super().__init__(url)
        ChancyContender.running = self
        log = logging.getLogger("chancy")
        log.setLevel(logging.ERROR)
        self.app = Chancy(url, log=log)
        self.jobs = {f.__name__: Job.from_func(f) for f in (noop, io, mark, link)}

    async def prepare(self) -> None:
        async with self.app:
            await self.app.migrate()

    async def open(self) -> None:
        await self.app.__aenter__()

    async def close(self) -> None:
        await self.app.__aexit__(None, None, None)

    async def enqueue(self, kind: str, n: int) -> None:
        await self.app.push(self.jobs[kind].with_kwargs(n=n))

    async def enqueue_many(self, kind: str, numbers: list[int]) -> None:
        async for _ in self.app.push_many([self.jobs[kind].with_kwargs(n=n) for n in numbers]):
            pass

    async def settle(self) -> None:
        async with self.app.pool.connection() as connection:
            await connection.execute("ANALYZE")

    async def start(self, concurrency: int) -> None:
        executor = Chancy.Executor.Async
        queue = Queue("default", concurrency=concurrency, executor=executor, eager_polling=True, polling_interval=1)
        await self.app.declare(queue, upsert=True)
        self.worker = Worker(self.app, register_signal_handlers=False)
        await self.worker.start()

    async def stop(self) -> None:
        await self.worker.stop()


if __name__ == "__main__":
    main(ChancyContender)
