"""Handlers of batches for child processes and for workers of their own: `python batch_tasks.py DSN`."""

import asyncio
import os
import sys
import time
from pathlib import Path

from howdah import App, Context, Fail, Retry

app = App("dbname=never_opened")


@app.task(executor="process", batch=5, wait="10s")
def squares(n: list[int], gate: list[str], contexts: list[Context]) -> list[object]:
    """Says how far it is, and ends when the gate is there."""
    ends: list[object] = []
    for value, ctx in zip(n, contexts, strict=True):
        ctx.progress(value, 10)
        ends.append(Fail("unlucky") if value == 3 else value * value)
    while not Path(gate[0]).exists():
        time.sleep(0.01)
    return [*ends[:-1], [ends[-1], os.getpid()]]


@app.task(executor="process", batch=3, wait="10s", retry=Retry(1, delay="1ms"), timeout="300ms")
def spin(marker: list[str]) -> None:
    with open(marker[0], "a") as file:
        file.write(f"{os.getpid()}\n")
    while True:
        pass


@app.task(batch=20, wait="100ms", retry=Retry(5, delay="1ms"))
async def hold(n: list[int], gate: list[str]) -> list[int]:
    """The first process that gets here never gets any further."""
    first = Path(gate[0])
    try:
        with first.open("x") as file:  # noqa: ASYNC230
            file.write(str(len(n)))
    except FileExistsError:
        return [value * 2 for value in n]
    return await asyncio.Event().wait() or []


def serve(other: App) -> App:
    """The same handlers in another app."""
    for kind in app.registry:
        other.registry.add(kind)
    return other


async def main() -> None:
    async with serve(App(sys.argv[1])) as served:
        await served.worker(lease="2s", poll="200ms").run(signals=True)


if __name__ == "__main__":
    asyncio.run(main())
