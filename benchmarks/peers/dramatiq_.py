"""dramatiq on Redis, as its documentation says."""

from __future__ import annotations

import dramatiq
from _common import Contender, io_sync, main, mark_sync, noop_sync, recorder
from dramatiq.brokers.redis import RedisBroker
from redis import Redis


class Dramatiq(Contender):
    name = "dramatiq"
    package = "dramatiq[redis]>=2.2,<3 hiredis>=3,<4"
    needs = "redis"
    settings = "hiredis; a thread for each task at once, prefetches 10 for each"

    async def open(self) -> None:
        self.broker = RedisBroker(client=Redis.from_url(self.url, max_connections=1000))
        dramatiq.set_broker(self.broker)

        def link(n: int) -> None:
            recorder.begin()
            if n:
                self.actors["link"].send(n - 1)
            else:
                recorder.end()

        handlers = {"noop": noop_sync, "io": io_sync, "mark": mark_sync, "link": link}
        self.actors = {kind: dramatiq.actor(run, actor_name=kind) for kind, run in handlers.items()}

    async def close(self) -> None:
        self.broker.close()

    async def enqueue(self, kind: str, n: int) -> None:
        self.actors[kind].send(n)

    async def enqueue_many(self, kind: str, numbers: list[int]) -> None:
        dramatiq.group(self.actors[kind].message(n) for n in numbers).run()

    async def start(self, concurrency: int) -> None:
        self.worker = dramatiq.Worker(self.broker, worker_threads=concurrency)
        self.worker.queue_prefetch = 10 * concurrency
        self.worker.start()

    async def stop(self) -> None:
        self.worker.stop()


if __name__ == "__main__":
    main(Dramatiq)
