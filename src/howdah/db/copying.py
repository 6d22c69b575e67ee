"""Many tasks at once. The client knows the defaults, and for COPY takes the ids first, so nothing is asked per row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from psycopg import AsyncConnection, AsyncCursor, Connection, Cursor
from psycopg.rows import tuple_row

from howdah.calls import MANY, NewTask, Rows
from howdah.db.failures import readable
from howdah.db.statement import Placeholder, Statement, parameter

# The time as text, so that no setting or adapter of a caller's connection changes how it reads.
_RESERVE = b"""
select (select array_agg(nextval(s.name)) from generate_series(1, %(count)s::int),
               (select pg_get_serial_sequence('howdah.task', 'id')::regclass as name offset 0) s) as ids,
       to_char(coalesce(%(run_at)s::timestamptz, howdah.now() + coalesce(%(delay)s::interval, '0')) at time zone 'UTC',
               'YYYY-MM-DD HH24:MI:SS.US') || '+00' as due,
       %(groups)s::text[]::text as groups,
       to_char(coalesce(%(start_before)s::timestamptz, howdah.now() + %(start_within)s::interval) at time zone 'UTC',
               'YYYY-MM-DD HH24:MI:SS.US') || '+00' as start_before,
       to_char(coalesce(%(finish_before)s::timestamptz, howdah.now() + %(finish_within)s::interval) at time zone 'UTC',
               'YYYY-MM-DD HH24:MI:SS.US') || '+00' as finish_before
"""
_INSERT = """
insert into howdah.task (kind, queue, priority, run_at, payload, step, groups, cost, start_before, finish_before, late)
select {kind}, {queue}, {priority}, coalesce({run_at}, howdah.now() + coalesce({delay}, interval '0')),
       cast(x.p as jsonb), {step}, {groups}, {cost},
       coalesce({start_before}, howdah.now() + {start_within}), coalesce({finish_before}, howdah.now() + {finish_within}),
       {late}
  from unnest({payloads}) with ordinality x (p, n)
 order by x.n
returning id
"""
_NO_KEY = {name: kind for name, kind in MANY.items() if name not in ("key", "on_conflict", "unique_for")}
_INSERTED = _NO_KEY | {"payloads": "text[]"}


# The caller's connection may make rows and cursors of another kind: these are ours.
async def copy(conn: AsyncConnection[Any], task: NewTask, payloads: Sequence[str]) -> list[int]:
    """Write many tasks of one kind with psycopg. Returns their ids in order."""
    with readable():
        cursor = AsyncCursor(conn, row_factory=tuple_row)
        await cursor.execute(_RESERVE, _wanted(task, payloads))
        reserved = _Reserved(*(await cursor.fetchone() or ()))
        async with cursor.copy(reserved.statement(task)) as stream:
            for block in reserved.blocks(task, payloads):
                await stream.write(block)
    return reserved.ids


def copy_sync(conn: Connection[Any], task: NewTask, payloads: Sequence[str]) -> list[int]:
    """As `copy`, blocking."""
    with readable():
        cursor = Cursor(conn, row_factory=tuple_row)
        cursor.execute(_RESERVE, _wanted(task, payloads))
        reserved = _Reserved(*(cursor.fetchone() or ()))
        with cursor.copy(reserved.statement(task)) as stream:
            for block in reserved.blocks(task, payloads):
                stream.write(block)
    return reserved.ids


def _wanted(task: NewTask, payloads: Sequence[str]) -> dict[str, Any]:
    wanted = ("run_at", "delay", "start_before", "finish_before", "start_within", "finish_within")
    return {name: getattr(task, name) for name in wanted} | {"groups": task.groups or None, "count": len(payloads)}


def insert(task: NewTask, payloads: Sequence[str]) -> Statement:
    """The same as one statement, for the other drivers: half as fast, and just as whole."""
    args = {name: getattr(task, name, None) for name in _INSERTED}
    args |= {"payloads": list(payloads), "groups": task.groups or None}
    return Statement(_insert, _INSERTED, args)


def _insert(placeholder: Placeholder) -> str:
    numbered = enumerate(_INSERTED.items(), start=1)
    names = {name: parameter(placeholder, n, name, sql_type) for n, (name, sql_type) in numbered}
    return _INSERT.format_map(names)


def ids(rows: Rows) -> list[int]:
    """The ids that the INSERT returned, in order."""
    return [row["id"] for row in rows]


def _escaped(text: str) -> str:
    # Six times as fast as str.translate.
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")


@dataclass(slots=True)
class _Reserved:
    """What the database said first: ids, and as text what it reads back in the same way."""

    ids: list[int] = field(default_factory=list[int])
    due: str = ""
    groups: str | None = None
    start_before: str | None = None
    finish_before: str | None = None

    def _rest(self, task: NewTask) -> dict[str, str]:
        """The columns that most tasks leave empty: to read six times nothing takes a tenth of the whole."""
        columns = {
            "step": task.step,
            "groups": self.groups,
            "cost": None if task.cost is None else repr(task.cost),
            "start_before": self.start_before,
            "finish_before": self.finish_before,
            "late": task.late,
        }
        return {name: _escaped(value) for name, value in columns.items() if value is not None}

    def statement(self, task: NewTask) -> bytes:
        columns = ["id", "kind", "queue", "priority", "run_at", "payload", *self._rest(task)]
        return f"copy howdah.task ({', '.join(columns)}) from stdin".encode()

    def blocks(self, task: NewTask, payloads: Sequence[str]) -> Iterator[str]:
        """Text of the COPY format, a few thousand rows a block."""
        middle = f"\t{_escaped(task.kind)}\t{_escaped(task.queue or '')}\t{task.priority or 0}\t{self.due}\t"
        end = "".join(f"\t{value}" for value in self._rest(task).values()) + "\n"
        for first in range(0, len(self.ids), 2000):
            part = zip(self.ids[first : first + 2000], payloads[first : first + 2000], strict=True)
            yield "".join([f"{task_id}{middle}{_escaped(payload)}{end}" for task_id, payload in part])
