"""A job that goes on with new state, after RunQueue's sample service: python examples/runqueue.py

The job is known by a key: while it is live, a second one of this name is refused. Its counter is its state: each run puts the
next number in the place of the last. At 101 it fails hard, once, and is tried again with the same number; at 103 it is done.
"""

import asyncio

from howdah import Again, App, Context, Retry
from howdah.errors import KeyConflict

app = App()  # or App("postgresql://…"), or $HOWDAH_DSN; without either, an embedded PostgreSQL in .howdah/
app.limit("sample", running=1)  # one at a time, in the whole fleet


@app.task(
    key="sample:{name}",
    on_conflict="raise",
    group="sample",
    retry=Retry(3, delay="100ms", factor=1),
    warn={"retries": 2},
    alarm={"wait": "10m", "failed": 1},
)
async def sample(name: str, counter: int, ctx: Context) -> str | Again:
    print(f"{name}: {counter}" + (f", attempt {ctx.attempt} after: {ctx.last_error}" if ctx.last_error else ""))
    if counter == 101 and ctx.attempt == 1:
        raise RuntimeError("101 is a hard number")
    if counter < 103:
        return Again(name=name, counter=counter + 1, delay="50ms")
    return f"{name} is done at {counter}"


async def main() -> None:
    async with app:
        task = await sample.enqueue("demo", 100)
        try:
            await sample.enqueue("demo", 1)
        except KeyConflict as error:
            print(f"refused: {error.message}".replace(str(task.id), "ID"))
        async with app.worker():
            print(await task.result(timeout="30s"))
        for event in await app.history(task.id):
            print(f"  {event['type']}: {event['message']}")
        again = await sample.enqueue("demo", 103)  # the key is free again
        await again.cancel("the example is over")


if __name__ == "__main__":
    asyncio.run(main())
