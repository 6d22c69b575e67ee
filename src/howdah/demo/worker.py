"""A worker of the demo, as a process: `python -m howdah.demo.worker`. Usually that is `howdah worker my.module:app`."""

from __future__ import annotations

import asyncio
import sys
import threading

from howdah import Worker
from howdah.demo.app import app

LEASE = 3  # seconds; short, so that one can watch how the tasks of a killed worker are taken back
CONCURRENCY = 8


async def main() -> None:
    async with app:
        worker = app.worker(queues=["demo"], concurrency=CONCURRENCY, lease=LEASE, poll="1s", grace="5s")
        threading.Thread(target=_follow_driver, args=(worker, asyncio.get_running_loop()), daemon=True).start()
        await worker.run(signals=True)


def _follow_driver(worker: Worker, loop: asyncio.AbstractEventLoop) -> None:
    """Stop when the driver's end of the pipe closes: even a driver that was killed leaves no workers behind."""
    sys.stdin.buffer.read()
    loop.call_soon_threadsafe(worker.stop)


if __name__ == "__main__":
    asyncio.run(main())
