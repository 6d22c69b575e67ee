"""A state machine, after the tutorial of pg_task: python examples/greeter.py

It reads a name from a file that is not there. After six attempts the task is parked, at its step and with its payload. You
mend the world (the file), clear the error in SQL, and it goes on from there.
"""

import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path

from howdah import App, Retry
from howdah.errors import TaskFailed

app = App()  # or App("postgresql://…"), or $HOWDAH_DSN; without either, an embedded PostgreSQL in .howdah/
greeter = app.machine("greeter")


@greeter.step(retry=Retry(5, delay="50ms", factor=1))
@dataclass
class ReadName:
    filename: str

    async def run(self) -> "SayHello":
        return SayHello(await asyncio.to_thread(Path(self.filename).read_text))


@greeter.step
@dataclass
class SayHello:
    name: str

    async def run(self) -> None:
        print(f"Hello, {self.name.strip()}")


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        name = Path(folder) / "name.txt"
        async with app, app.worker():
            task = await greeter.enqueue(ReadName(str(name)))
            try:
                await task.result(timeout="30s")
            except TaskFailed as failed:
                row = await task.info()
                print(f"{row.status} at {row.step} after {row.attempt} attempts: {(failed.error or '').split(':')[0]}")

            name.write_text("Fred")  # mend the world, …
            async with app.transaction() as conn:  # … and clear the error, as you would in psql
                await conn.execute("UPDATE howdah.task SET error = NULL WHERE kind = 'greeter' AND status = 'failed'")
            await task.result(timeout="30s")

            for event in await app.history(task.id):
                print(f"  {event['type']:8} {event['step']}")


if __name__ == "__main__":
    asyncio.run(main())
