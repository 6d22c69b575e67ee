"""Awa, its Rust core behind the Python bindings, many by COPY."""

from __future__ import annotations

from dataclasses import dataclass

from _common import Contender, io, main, mark, noop
from awa import AsyncClient, Job

QUEUE = "bench"


@dataclass
class Task:
    n: int


class Awa(Contender):
    name = "Awa"
    package = "awa-pg>=0.6.9,<0.7"
    settings = "pool of 20, LISTEN/NOTIFY, COPY"

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.client = AsyncClient(url, max_connections=20)
        for function in (noop, io, mark, self.link):

            @self.client.task(Task, kind=function.__name__, queue=QUEUE)
            async def handler(job: Job[Task], function=function) -> None:
                await function(job.args.n)

    async def prepare(self) -> None:
        await self.client.migrate()
        await self.client.install_queue_storage()

    async def close(self) -> None:
        await self.client.close()

    async def enqueue(self, kind: str, n: int) -> None:
        await self.client.insert(Task(n), kind=kind, queue=QUEUE)

    async def enqueue_many(self, kind: str, numbers: list[int]) -> None:
        await self.client.enqueue_many_copy([Task(n) for n in numbers], kind=kind, queue=QUEUE)

    async def settle(self) -> None:
        async with await self.client.transaction() as transaction:
            await transaction.execute("ANALYZE")
            await transaction.commit()

    async def start(self, concurrency: int) -> None:
        await self.client.start([(QUEUE, concurrency)])

    async def stop(self) -> None:
        await self.client.shutdown()


if __name__ == "__main__":
    main(Awa)
