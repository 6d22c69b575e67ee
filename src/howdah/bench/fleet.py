"""Workers as processes of their own: python -m howdah.bench.fleet CONCURRENCY, with HOWDAH_BENCH_DSN in the environment."""

from __future__ import annotations

import asyncio
import os
import sys

from howdah.app import App
from howdah.bench.running import QUEUE, recorded_rate

app = App(os.environ.get("HOWDAH_BENCH_DSN"), config=False)


@app.task(name="bench.noop", queue=QUEUE)
async def noop(n: int) -> None:
    """Does nothing, on the event loop."""


@app.task(name="bench.thread", queue=QUEUE)
def in_thread(n: int) -> None:
    """Does nothing, in a thread."""


@app.task(name="bench.process", queue=QUEUE, executor="process")
def in_process(n: int) -> None:
    """Does nothing, in a process of its own."""


async def rate(bench: App, workers: int, concurrency: int) -> float:
    """Tasks a second of what waits, with so many worker processes: from the first claim to the last end, as recorded."""
    command = [sys.executable, "-m", "howdah.bench.fleet", str(concurrency)]
    environment = os.environ | {"HOWDAH_BENCH_DSN": bench.dsn}
    fleet = [await asyncio.create_subprocess_exec(*command, env=environment) for _ in range(workers)]
    for worker in fleet:
        await worker.wait()
    return await recorded_rate(bench)


async def main(concurrency: int) -> None:
    async with app:
        await app.worker(queues=[QUEUE], concurrency=concurrency, until_idle=True, poll="1h").run()


if __name__ == "__main__":
    from howdah.bench import fleet  # as its children see it

    asyncio.run(fleet.main(int(sys.argv[1])))
