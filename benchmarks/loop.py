"""The bare loop of `howdah.bench.loop` alone, to profile it: python benchmarks/loop.py [TASKS] [ROOM]."""

import asyncio
import sys
import time

from howdah import App
from howdah.bench import loop


async def main(tasks: int = 20_000, room: int = 500) -> None:
    async with App() as app:
        database = await app.database()
        async with database.connection() as conn:
            await conn.execute(loop.sql("tables").encode())
            await loop.fill(conn, tasks)
        begin = time.perf_counter()
        trips = await loop.drain(database, room=room)
        seconds = time.perf_counter() - begin
        print(f"{tasks / seconds:,.0f} tasks/s, {trips} round trips")
        async with database.connection() as conn:
            await conn.execute("drop schema howdah_bench cascade")


if __name__ == "__main__":
    asyncio.run(main(*map(int, sys.argv[1:])))
