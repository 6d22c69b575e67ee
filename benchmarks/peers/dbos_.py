"""DBOS, a queue with a workflow for each task; enqueued by a client, as in its own benchmark."""

from __future__ import annotations

import asyncio

from _common import Contender, io, main, mark, noop, recorder
from dbos import DBOS, DBOSClient, DBOSConfig
from sqlalchemy import create_engine

APP, QUEUE = "bench", "bench_queue"


@DBOS.workflow(name="link")
async def link(n: int) -> None:
    recorder.begin()
    if n:
        await DBOS.enqueue_workflow_async(QUEUE, link, n - 1)
    else:
        recorder.end()


for function in (noop, io, mark):
    DBOS.workflow(name=function.__name__)(function)


class Dbos(Contender):
    name = "DBOS"
    package = "dbos>=3.4,<4"
    settings = "polls every 10 ms, pools of 20; many in one transaction"

    def runtime(self) -> None:
        config: DBOSConfig = {
            "name": APP,
            "system_database_url": self.url,
            "sys_db_pool_size": 20,
            "log_level": "ERROR",
        }
        DBOS(config=config)
        DBOS.launch()

    async def prepare(self) -> None:
        self.runtime()
        await asyncio.to_thread(DBOS.destroy)

    async def open(self) -> None:
        self.client = DBOSClient(system_database_url=self.url, system_database_pool_size=20, application_name=APP)
        self.engine = create_engine(self.url.replace("postgresql:", "postgresql+psycopg:", 1))

    async def close(self) -> None:
        self.client.destroy()
        self.engine.dispose()

    async def enqueue(self, kind: str, n: int) -> None:
        await self.client.enqueue_async({"queue_name": QUEUE, "workflow_name": kind}, n)

    async def enqueue_many(self, kind: str, numbers: list[int]) -> None:
        def enqueue() -> None:
            with self.engine.begin() as connection:
                for n in numbers:
                    self.client.enqueue_in_transaction(connection, {"queue_name": QUEUE, "workflow_name": kind}, n)

        await asyncio.to_thread(enqueue)

    async def settle(self) -> None:
        with self.engine.begin() as connection:
            connection.exec_driver_sql("ANALYZE")

    async def start(self, concurrency: int) -> None:
        await self.client.register_queue_async(QUEUE, worker_concurrency=concurrency, polling_interval_sec=0.01)
        self.runtime()

    async def stop(self) -> None:
        await asyncio.to_thread(DBOS.destroy, workflow_completion_timeout_sec=5)


if __name__ == "__main__":
    main(Dbos)
