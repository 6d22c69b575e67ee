"""arq, as its documentation says."""

from __future__ import annotations

import asyncio
from signal import SIGUSR1
from typing import Any

from _common import Contender, io, main, mark, noop, recorder
from arq import Worker, create_pool, func
from arq.connections import RedisSettings

HANDLERS = {"noop": noop, "io": io, "mark": mark}


class Arq(Contender):
    name = "arq"
    package = "arq>=0.28,<0.29"
    needs = "redis"
    settings = "polls every 10 ms, not every 500; job results not kept; enqueues 32 at once"

    async def open(self) -> None:
        self.redis_settings = RedisSettings.from_dsn(self.url)
        self.pool = await create_pool(self.redis_settings)

    async def close(self) -> None:
        await self.pool.aclose()

    async def enqueue(self, kind: str, n: int) -> None:
        await self.pool.enqueue_job(kind, n)

    async def enqueue_many(self, kind: str, numbers: list[int]) -> None:
        left = iter(numbers)

        async def some() -> None:
            for n in left:
                await self.enqueue(kind, n)

        await asyncio.gather(*(some() for _ in range(32)))

    async def start(self, concurrency: int) -> None:
        async def link(ctx: dict[str, Any], n: int) -> None:
            recorder.begin()
            if n:
                await ctx["redis"].enqueue_job("link", n - 1)
            else:
                recorder.end()

        def job(handler: Any) -> Any:
            async def run(_: dict[str, Any], n: int) -> None:
                await handler(n)

            return run

        self.worker = Worker(
            [func(link, name="link"), *(func(job(handler), name=kind) for kind, handler in HANDLERS.items())],
            redis_settings=self.redis_settings,
            max_jobs=concurrency,
            poll_delay=0.01,
            keep_result=0,
            log_results=False,
            handle_signals=False,
            job_completion_wait=10,
        )
        self.running = asyncio.create_task(self.worker.async_run())

    async def stop(self) -> None:
        self.worker.handle_sig_wait_for_completion(SIGUSR1)
        await asyncio.gather(self.running, return_exceptions=True)
        await self.worker.close()


if __name__ == "__main__":
    main(Arq)
