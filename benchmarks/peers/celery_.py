"""celery on Redis, as its guide to optimizing says."""

from __future__ import annotations

import asyncio
import threading

from _common import Contender, io_sync, main, mark_sync, noop_sync, recorder
from celery import Celery
from celery.worker import state


class CeleryThreads(Contender):
    name = "celery"
    package = "celery[redis]>=5.7,<6 hiredis>=3,<4"
    needs = "redis"
    settings = "hiredis; a pool of threads, prefetches 64 for each; no results, no rate limits, no gossip"

    async def open(self) -> None:
        self.app = Celery("peers", broker=self.url)
        self.app.conf.update(
            broker_connection_retry_on_startup=True,
            broker_pool_limit=100,
            task_ignore_result=True,
            worker_disable_rate_limits=True,
            worker_enable_remote_control=False,
            worker_prefetch_multiplier=64,
            worker_redirect_stdouts=False,
        )

        def link(n: int) -> None:
            recorder.begin()
            if n:
                self.tasks["link"].delay(n - 1)
            else:
                recorder.end()

        handlers = {"noop": noop_sync, "io": io_sync, "mark": mark_sync, "link": link}
        self.tasks = {kind: self.app.task(run, name=kind) for kind, run in handlers.items()}

    async def close(self) -> None:
        self.app.close()

    async def enqueue(self, kind: str, n: int) -> None:
        self.tasks[kind].delay(n)

    async def enqueue_many(self, kind: str, numbers: list[int]) -> None:
        with self.app.producer_or_acquire() as producer:
            for n in numbers:
                self.tasks[kind].apply_async((n,), producer=producer)

    async def start(self, concurrency: int) -> None:
        worker = self.app.Worker(
            pool="threads",
            concurrency=concurrency,
            quiet=True,
            loglevel="WARNING",
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
        )
        self.running = threading.Thread(target=worker.start, daemon=True)
        self.running.start()

    async def stop(self) -> None:
        state.should_stop = 0
        await asyncio.to_thread(self.running.join)


if __name__ == "__main__":
    main(CeleryThreads)
