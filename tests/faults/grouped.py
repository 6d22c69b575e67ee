"""A worker of tasks with groups, as a real process: `python grouped.py DSN FILE`. What its handlers do it writes to the file."""

import asyncio
import logging
import os
import sys
import time

from howdah import App

app = App(sys.argv[1])
log = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND)


@app.task(retry=5, group="tenant:{tenant}")
async def work(tenant: int, n: int) -> None:
    os.write(log, f"{time.monotonic()} 1 tenant:{tenant}\n".encode())
    try:
        await asyncio.sleep(0.02)
    finally:
        os.write(log, f"{time.monotonic()} -1 tenant:{tenant}\n".encode())


@app.task(retry=5, group=["api", "tenant:{tenant}"])
async def call(tenant: int, n: int) -> None:
    pass


async def main() -> None:
    # Whoever misses a place that comes free would find it a minute later.
    await app.worker(lease="2s", poll="60s", concurrency=100).run(signals=True)
    await app.close()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(message)s")
    asyncio.run(main())
