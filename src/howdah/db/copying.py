"""Many tasks at COPY speed. The client knows the defaults and takes the ids first, so nothing is asked per row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from psycopg import AsyncConnection, Connection

from howdah.calls import NewTask
from howdah.db.failures import readable

_RESERVE = (
    "select array_agg(nextval(pg_get_serial_sequence('howdah.task', 'id'))) as ids, howdah.now() as now"
    " from generate_series(1, %s::int)"
)
_COPY = "copy howdah.task (id, kind, queue, priority, run_at, payload) from stdin"


async def copy(conn: AsyncConnection[Any], task: NewTask, payloads: Sequence[str]) -> list[int]:
    with readable():
        row = await (await conn.execute(_RESERVE, [len(payloads)])).fetchone()
        ids, due = _reserved(row, task)
        async with conn.cursor() as cursor, cursor.copy(_COPY) as stream:
            for block in _blocks(task, payloads, ids, due):
                await stream.write(block)
    return ids


def copy_sync(conn: Connection[Any], task: NewTask, payloads: Sequence[str]) -> list[int]:
    with readable():
        ids, due = _reserved(conn.execute(_RESERVE, [len(payloads)]).fetchone(), task)
        with conn.cursor() as cursor, cursor.copy(_COPY) as stream:
            for block in _blocks(task, payloads, ids, due):
                stream.write(block)
    return ids


def _reserved(row: Any, task: NewTask) -> tuple[list[int], str]:
    """The ids, and the due time, whatever row factory the connection has."""
    ids, now = row.values() if isinstance(row, dict) else row
    due: datetime = task.run_at or now + (task.delay or timedelta(0))
    return ids, due.isoformat()


_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def _blocks(task: NewTask, payloads: Sequence[str], ids: Sequence[int], due: str) -> Iterator[str]:
    """Text of the COPY format, a few thousand rows a block."""
    kind, queue = task.kind.translate(_ESCAPES), (task.queue or "").translate(_ESCAPES)
    middle = f"\t{kind}\t{queue}\t{task.priority or 0}\t{due}\t"
    for start in range(0, len(ids), 2000):
        part = zip(ids[start : start + 2000], payloads[start : start + 2000], strict=True)
        yield "".join([f"{task_id}{middle}{payload.translate(_ESCAPES)}\n" for task_id, payload in part])
