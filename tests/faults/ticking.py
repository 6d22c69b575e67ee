"""A worker with a schedule of one tick per second: `python ticking.py DSN`."""

import asyncio
import logging
import sys
import time

from howdah import App, Context

app = App(sys.argv[1] if len(sys.argv) > 1 else None)


@app.cron("* * * * * *", missed="all", jitter=None)
@app.task(retry=5)
async def tick(ctx: Context) -> float:
    assert ctx.tick is not None
    return time.time()  # what this process believes


async def main() -> None:
    print("started", flush=True)
    await app.worker(lease="3s", poll="200ms", concurrency=50).run(signals=True)
    await app.close()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(message)s")
    asyncio.run(main())
