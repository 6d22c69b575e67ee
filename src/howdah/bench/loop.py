"""The bare loop: claim, an asyncio task per row, archive. No lease, no retry, no cancellation: what speed costs at least."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Any
from uuid import uuid4

import msgspec
from psycopg import AsyncConnection

from howdah.db.pool import Database


def sql(name: str) -> str:
    """One SQL file of this package."""
    return (files("howdah.bench") / "sql" / f"{name}.sql").read_text(encoding="utf-8")


# What the hot functions of howdah set for themselves; the bare statement needs it as much.
_PLANS = (
    "set enable_seqscan = off; set enable_hashjoin = off; set enable_mergejoin = off; set enable_bitmapscan = off;"
    " set plan_cache_mode = force_generic_plan"
)
FILL = "copy howdah_bench.task (kind, queue, priority, run_at, payload) from stdin"
INSERT = (
    "insert into howdah_bench.task (kind, queue, priority, run_at, payload)"
    " values (%s, %s, %s, now(), %s::jsonb) returning id"
)


async def fill(conn: AsyncConnection[Any], tasks: int) -> None:
    """Put so many rows into the bare table, with COPY."""
    async with conn.cursor() as cursor, cursor.copy(FILL) as stream:
        for start in range(0, tasks, 2000):
            await stream.write('noop\tdefault\t0\tnow\t{"n": 1}\n' * min(2000, tasks - start))


async def _nothing(n: int) -> None:
    return None


async def drain(database: Database, *, room: int, handler: Callable[[int], Awaitable[None]] = _nothing) -> int:
    """Run the bare table empty, with this handler of one argument n. Returns the number of round trips."""
    statement = sql("pump").encode()
    worker = uuid4()
    ended: list[int] = []
    bell = asyncio.Event()
    running: set[asyncio.Task[None]] = set()

    async def attempt(task_id: int, payload: dict[str, Any]) -> None:
        await handler(payload["n"])
        ended.append(task_id)
        bell.set()

    trips = 0
    conn = await database.connect(prepare_threshold=1)
    async with conn:
        await conn.execute(_PLANS.encode())
        while True:
            ids, ended = "{" + ",".join(map(str, ended)) + "}", []
            cursor = await conn.execute(statement, {"ids": ids, "room": room - len(running), "worker": worker})
            trips += 1
            row = await cursor.fetchone()
            claimed = row["claimed"] if row else None
            if claimed is None and not running and not ended:
                return trips
            for task_id, payload in msgspec.json.decode(claimed) if claimed else ():
                task = asyncio.create_task(attempt(task_id, payload))
                running.add(task)
                task.add_done_callback(running.discard)
            bell.clear()
            if not ended:
                await bell.wait()
            await asyncio.sleep(0)
