"""streaq, as its documentation says."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

from _common import Contender, io, main, mark, noop, recorder
from streaq import Worker


class Streaq(Contender):
    name = "streaq"
    package = "streaq>=7.2,<8"
    needs = "redis"
    settings = "job results and logs not kept; enqueue_many"

    def made(self, **options: Any) -> tuple[Worker[None], dict[str, Any]]:
        async def link(n: int) -> None:
            recorder.begin()
            if n:
                await kinds["link"].enqueue(n - 1)
            else:
                recorder.end()

        worker: Worker[None] = Worker(self.url, **options)
        handlers: dict[str, Any] = {"noop": noop, "io": io, "mark": mark, "link": link}
        kinds = {kind: worker.task(name=kind, silent=True, ttl=0)(handler) for kind, handler in handlers.items()}
        return worker, kinds

    async def open(self) -> None:
        self.opened = AsyncExitStack()
        self.sender, self.kinds = self.made()
        await self.opened.enter_async_context(self.sender)

    async def close(self) -> None:
        await self.opened.aclose()

    async def enqueue(self, kind: str, n: int) -> None:
        await self.kinds[kind].enqueue(n)

    async def enqueue_many(self, kind: str, numbers: list[int]) -> None:
        await self.sender.enqueue_many([self.kinds[kind].enqueue(n) for n in numbers])

    async def start(self, concurrency: int) -> None:
        worker, _ = self.made(concurrency=concurrency)
        self.running = asyncio.create_task(worker.run_async())

    async def stop(self) -> None:
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)


if __name__ == "__main__":
    main(Streaq)
