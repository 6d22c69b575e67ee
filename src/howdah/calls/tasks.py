"""What anybody may ask about tasks, queues, kinds and workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from howdah.calls.call import Call, Row, all_rows, first, nothing

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
    "groups": "text[]",
    "cost": "double precision",
    "start_before": "timestamptz",
    "finish_before": "timestamptz",
    "start_within": "interval",
    "finish_within": "interval",
    "late": "text",
    "unique_for": "interval",
}
_PUT = _ENQUEUE | {"source": "text"}
_MANY = {
    "kind": "text",
    "payloads": "jsonb",
    "queue": "text",
    "priority": "int",
    "delay": "interval",
    "run_at": "timestamptz",
    "step": "text",
    "groups": "text[]",
    "cost": "double precision",
    "start_before": "timestamptz",
    "finish_before": "timestamptz",
    "start_within": "interval",
    "finish_within": "interval",
    "late": "text",
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
    on_conflict: str | None = "return"
    step: str | None = None
    source: str | None = None
    groups: list[str] | None = None
    cost: float | None = None
    start_before: datetime | None = None
    finish_before: datetime | None = None
    start_within: timedelta | None = None
    finish_within: timedelta | None = None
    late: str | None = None
    unique_for: timedelta | None = None


def enqueue(task: NewTask, *, defaults_known: bool) -> Call[int | None]:
    """`defaults_known`: queue and priority come from the handler's code, so the kind's row is not asked."""
    types = _PUT if defaults_known else _ENQUEUE
    return Call("put" if defaults_known else "enqueue", types, {name: getattr(task, name) for name in types}, first)


def enqueue_many(task: NewTask, payloads: str) -> Call[list[int]]:
    args = {"payloads": payloads} | {name: getattr(task, name) for name in _MANY if name != "payloads"}
    return Call("enqueue_many", _MANY, args, lambda rows: [row["enqueue_many"] for row in rows])


def cancel(task_id: int, reason: str | None, *, cascade: bool = True) -> Call[str]:
    types = _ID | {"reason": "text", "cascade": "boolean"}
    return Call("cancel", types, {"id": task_id, "reason": reason, "cascade": cascade}, first)


def send(task_id: int, message: str) -> Call[int]:
    return Call("send", _ID | {"message": "jsonb"}, {"id": task_id, "message": message}, first)


def edit(task_id: int, payload: str | None, step: str | None) -> Call[None]:
    types = _ID | {"payload": "jsonb", "step": "text"}
    return Call("edit", types, {"id": task_id, "payload": payload, "step": step}, nothing)


def retry(task_id: int) -> Call[str]:
    return Call("retry", _ID, {"id": task_id}, first)


def why(task_id: int) -> Call[list[Row]]:
    return Call("why", _ID, {"id": task_id}, all_rows)


def history(task_id: int) -> Call[list[Row]]:
    return Call("history", _ID, {"id": task_id}, all_rows)


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
    return Call("find", types, args, all_rows)


def step_counts(kind: str) -> Call[list[Row]]:
    return Call("step_counts", {"kind": "text"}, {"kind": kind}, all_rows)


def inbox(task_id: int, at_most: int) -> Call[list[Row]]:
    return Call("inbox", _ID | {"at_most": "int"}, {"id": task_id, "at_most": at_most}, all_rows)


def outcomes(ids: Sequence[int]) -> Call[list[Row]]:
    return Call("outcomes", {"ids": "bigint[]"}, {"ids": list(ids)}, all_rows)


def pause(queue: str, reason: str | None) -> Call[None]:
    return Call("pause", {"queue": "text", "reason": "text"}, {"queue": queue, "reason": reason}, nothing)


def resume(queue: str) -> Call[bool]:
    return Call("resume", {"queue": "text"}, {"queue": queue}, first)


def stop_workers(worker: UUID | None) -> Call[int]:
    return Call("stop_workers", {"worker": "uuid"}, {"worker": worker}, first)


def queues() -> Call[list[Row]]:
    return Call("queues", None, {}, all_rows)


def workers() -> Call[list[Row]]:
    return Call("workers", None, {}, all_rows)


def kinds() -> Call[list[Row]]:
    return Call("kind", None, {}, all_rows)


def declare(kinds: str, *, overwrite: bool) -> Call[None]:
    types = {"kinds": "jsonb", "overwrite": "boolean"}
    return Call("declare", types, {"kinds": kinds, "overwrite": overwrite}, nothing)


def doctor(patience: timedelta) -> Call[list[Row]]:
    return Call("doctor", {"patience": "interval"}, {"patience": patience}, all_rows)
