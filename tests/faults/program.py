"""A worker as a real process: `python program.py DSN [synchronous_commit]`. Its handler is short, and long enough to be killed in."""

import asyncio
import logging
import os
import sys
from pathlib import Path

from howdah import App, Context

app = App(sys.argv[1] if len(sys.argv) > 1 else None)


@app.task(retry=5)
async def double(ctx: Context, n: int) -> int:
    if n % 10 == 0:
        await asyncio.sleep(0.02)
    return n * 2


@app.task(retry=5)
async def hold(ctx: Context, gate: str) -> int:
    """Runs until the gate is opened; returns which worker process did it."""
    while not Path(gate).exists():  # noqa: ASYNC110, ASYNC240  (another process opens it)
        await asyncio.sleep(0.02)
    return os.getpid()


async def main() -> None:
    print("started", flush=True)
    waits = sys.argv[2:] != ["off"]
    await app.worker(lease="3s", poll="200ms", concurrency=50, synchronous_commit=waits).run(signals=True)
    await app.close()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(message)s")
    asyncio.run(main())
