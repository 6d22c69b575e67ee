"""Every SQL function as a value: what to ask, and how to read the answer.

A client verb is a Call; a driver (`howdah.db`) runs it, async or sync, on howdah's own connection or on the caller's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID

R = TypeVar("R")
Row = dict[str, Any]
Rows = Sequence[Row]


@dataclass(frozen=True, slots=True)
class Call(Generic[R]):
    """One call of one SQL function, or one look at one view (`types` is None).

    `types` gives the SQL type of each argument, by its name.
    """

    function: str
    types: Mapping[str, str] | None
    args: Mapping[str, Any]
    read: Callable[[Rows], R]


def _first(rows: Rows) -> Any:
    return next(iter(rows[0].values())) if rows else None


def _rows(rows: Rows) -> list[Row]:
    return list(rows)


def _nothing(_: Rows) -> None:
    return None


# ── for everybody ────────────────────────────────────────────────────────────────────────────────────────────────────

_ENQUEUE = {
    "kind": "text",
    "payload": "jsonb",
    "queue": "text",
    "priority": "int",
    "delay": "interval",
    "run_at": "timestamptz",
    "key": "text",
    "on_conflict": "text",
    "step": "text",
}
_MANY = {
    "kind": "text",
    "payloads": "jsonb",
    "queue": "text",
    "priority": "int",
    "delay": "interval",
    "run_at": "timestamptz",
    "step": "text",
}
_ID = {"id": "bigint"}


@dataclass(frozen=True, slots=True)
class NewTask:
    """A task as it will be written. None means: what the kind says."""

    kind: str
    payload: str
    queue: str | None = None
    priority: int | None = None
    delay: timedelta | None = None
    run_at: datetime | None = None
    key: str | None = None
    on_conflict: str = "return"
    step: str | None = None


def enqueue(task: NewTask, *, defaults_known: bool) -> Call[int | None]:
    """`defaults_known`: queue and priority come from the handler's code, so the kind's row is not asked."""
    args = {name: getattr(task, name) for name in _ENQUEUE}
    return Call("put" if defaults_known else "enqueue", _ENQUEUE, args, _first)


def enqueue_many(task: NewTask, payloads: str) -> Call[list[int]]:
    args = {"payloads": payloads} | {name: getattr(task, name) for name in _MANY if name != "payloads"}
    return Call("enqueue_many", _MANY, args, lambda rows: [row["enqueue_many"] for row in rows])


def cancel(task_id: int, reason: str | None, *, cascade: bool = True) -> Call[str]:
    types = _ID | {"reason": "text", "cascade": "boolean"}
    return Call("cancel", types, {"id": task_id, "reason": reason, "cascade": cascade}, _first)


def send(task_id: int, message: str) -> Call[int]:
    return Call("send", _ID | {"message": "jsonb"}, {"id": task_id, "message": message}, _first)


def edit(task_id: int, payload: str | None, step: str | None) -> Call[None]:
    types = _ID | {"payload": "jsonb", "step": "text"}
    return Call("edit", types, {"id": task_id, "payload": payload, "step": step}, _nothing)


def retry(task_id: int) -> Call[str]:
    return Call("retry", _ID, {"id": task_id}, _first)


def why(task_id: int) -> Call[list[Row]]:
    return Call("why", _ID, {"id": task_id}, _rows)


def history(task_id: int) -> Call[list[Row]]:
    return Call("history", _ID, {"id": task_id}, _rows)


def find(
    *,
    ids: Sequence[int] | None = None,
    status: Sequence[str] | None = None,
    kind: str | None = None,
    queue: str | None = None,
    key: str | None = None,
    before: int | None = None,
    at_most: int = 50,
    parent: int | None = None,
) -> Call[list[Row]]:
    types = {
        "ids": "bigint[]",
        "status": "text[]",
        "kind": "text",
        "queue": "text",
        "key": "text",
        "before": "bigint",
        "at_most": "int",
        "parent": "bigint",
    }
    args = {
        "ids": None if ids is None else list(ids),
        "status": None if status is None else list(status),
        "kind": kind,
        "queue": queue,
        "key": key,
        "before": before,
        "at_most": at_most,
        "parent": parent,
    }
    return Call("find", types, args, _rows)


def inbox(task_id: int, at_most: int) -> Call[list[Row]]:
    return Call("inbox", _ID | {"at_most": "int"}, {"id": task_id, "at_most": at_most}, _rows)


def outcomes(ids: Sequence[int]) -> Call[list[Row]]:
    return Call("outcomes", {"ids": "bigint[]"}, {"ids": list(ids)}, _rows)


def pause(queue: str, reason: str | None) -> Call[None]:
    return Call("pause", {"queue": "text", "reason": "text"}, {"queue": queue, "reason": reason}, _nothing)


def resume(queue: str) -> Call[bool]:
    return Call("resume", {"queue": "text"}, {"queue": queue}, _first)


def stop_workers(worker: UUID | None) -> Call[int]:
    return Call("stop_workers", {"worker": "uuid"}, {"worker": worker}, _first)


def queues() -> Call[list[Row]]:
    return Call("queues", None, {}, _rows)


def workers() -> Call[list[Row]]:
    return Call("workers", None, {}, _rows)


def kinds() -> Call[list[Row]]:
    return Call("kind", None, {}, _rows)


def declare(kinds: str, *, overwrite: bool) -> Call[None]:
    types = {"kinds": "jsonb", "overwrite": "boolean"}
    return Call("declare", types, {"kinds": kinds, "overwrite": overwrite}, _nothing)


# ── the worker protocol ──────────────────────────────────────────────────────────────────────────────────────────────


def register(
    worker: UUID,
    *,
    ttl: timedelta,
    host: str,
    pid: int,
    version: str,
    queues: str | None,
    kinds: Sequence[str],
    concurrency: int,
) -> Call[None]:
    types = {
        "worker": "uuid",
        "ttl": "interval",
        "host": "text",
        "pid": "int",
        "version": "text",
        "queues": "jsonb",
        "kinds": "text[]",
        "concurrency": "int",
    }
    args = {
        "worker": worker,
        "ttl": ttl,
        "host": host,
        "pid": pid,
        "version": version,
        "queues": queues,
        "kinds": list(kinds),
        "concurrency": concurrency,
    }
    return Call("register", types, args, _nothing)


class Beat(NamedTuple):
    """What a heartbeat was answered."""

    alive: bool
    stop: bool
    cancelled: list[int]
    freed: list[int]


def heartbeat(worker: UUID, held: Sequence[tuple[int, int]], settled: int) -> Call[Beat]:
    types = {"worker": "uuid", "held_ids": "bigint[]", "held_epochs": "bigint[]", "settled": "bigint"}
    args = {
        "worker": worker,
        "held_ids": [task_id for task_id, _ in held],
        "held_epochs": [epoch for _, epoch in held],
        "settled": settled,
    }
    return Call("heartbeat", types, args, lambda rows: Beat(**rows[0]))


class Pumped(NamedTuple):
    """What one round trip brought. `cursors`, `claimed` and `inboxes` are JSON."""

    settled: list[int]
    kept: list[int] | None
    claimed: str | None
    inboxes: str | None
    cursors: dict[str, Any] | None
    next_due: float | None


_PUMP = {
    "worker": "uuid",
    "seq": "bigint",
    "done_ids": "bigint[]",
    "done_epochs": "bigint[]",
    "results": "jsonb",
    "gone_ids": "bigint[]",
    "gone_epochs": "bigint[]",
    "transitions": "jsonb",
    "lanes": "jsonb",
    "room": "int",
    "asleep": "boolean",
    "look": "boolean",
    "eager": "jsonb",
}


def _pumped(rows: Rows) -> Pumped:
    return Pumped(**rows[0])


def pump(
    worker: UUID,
    seq: int,
    *,
    done: tuple[str, str] | None = None,
    results: str | None = None,
    gone: tuple[str, str] | None = None,
    transitions: str | None = None,
    lanes: str = "[]",
    room: int = 0,
    asleep: bool | None = None,
    look: bool = True,
    eager: str | None = None,
) -> Call[Pumped]:
    """`done` and `gone` are (ids, epochs) as array literals: text is cheaper to make than to adapt element by element."""
    args = {
        "worker": worker,
        "seq": seq,
        "done_ids": done and done[0],
        "done_epochs": done and done[1],
        "results": results,
        "gone_ids": gone and gone[0],
        "gone_epochs": gone and gone[1],
        "transitions": transitions,
        "lanes": lanes,
        "room": room,
        "asleep": asleep,
        "look": look,
        "eager": eager,
    }
    return Call("pump", _PUMP, args, _pumped)


def settle_rest(worker: UUID, transitions: str) -> Call[list[int]]:
    types = {"worker": "uuid", "transitions": "jsonb"}
    return Call(
        "settle_rest", types, {"worker": worker, "transitions": transitions}, lambda rows: rows[0]["settled"] or []
    )


def inboxes(ids: Sequence[int], after: int = 0) -> Call[str | None]:
    return Call("inboxes", {"ids": "bigint[]", "after": "bigint"}, {"ids": list(ids), "after": after}, _first)


def reserve_ids(how_many: int) -> Call[list[int]]:
    return Call("reserve_ids", {"how_many": "int"}, {"how_many": how_many}, _first)


def report(worker: UUID, progress: Sequence[tuple[int, int, str]]) -> Call[None]:
    types = {"worker": "uuid", "ids": "bigint[]", "epochs": "bigint[]", "progress": "jsonb[]"}
    args = {
        "worker": worker,
        "ids": [task_id for task_id, _, _ in progress],
        "epochs": [epoch for _, epoch, _ in progress],
        "progress": [text for _, _, text in progress],
    }
    return Call("report", types, args, _nothing)


def leave(worker: UUID) -> Call[int]:
    return Call("leave", {"worker": "uuid"}, {"worker": worker}, _first)


class Rescued(NamedTuple):
    dead: int
    rescued: int
    overdue: int


def rescue() -> Call[Rescued]:
    return Call("rescue", {}, {}, lambda rows: Rescued(**rows[0]))


class Woken(NamedTuple):
    woken: int
    next_in: float | None


def wake_suspended() -> Call[Woken]:
    return Call("wake_suspended", {}, {}, lambda rows: Woken(**rows[0]))


def make_partitions() -> Call[int]:
    return Call("make_partitions", {}, {}, _first)


def retain() -> Call[Row]:
    return Call("retain", {}, {}, lambda rows: rows[0])


def waiting_queues() -> Call[list[str]]:
    return Call("waiting_queues", {}, {}, lambda rows: [row["waiting_queues"] for row in rows])
