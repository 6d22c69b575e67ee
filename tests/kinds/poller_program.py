"""A worker with a poller, as a real process: `python poller_program.py DSN`. It says each poll, and never ends its fourth."""

import asyncio
import sys
from typing import Any

from howdah import App, Poll

app = App(sys.argv[1] if len(sys.argv) > 1 else None)


@app.task()
async def send(n: str) -> None: ...


@app.poller("mail", into=send, delay="1ms")
async def due(poll: Poll[Any]) -> list[str]:
    print(poll.attempt, flush=True)
    if poll.attempt == 3:
        await asyncio.Event().wait()
    return []


async def main() -> None:
    await app.worker(lease="2s", poll="200ms").run(signals=True)


if __name__ == "__main__":
    asyncio.run(main())
