"""What anybody may ask about tasks, queues, kinds and workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from howdah.calls.call import Call, Row, Rows, all_rows, first, nothing

LIVE = ("queued", "running", "suspended", "failed")
STATUSES = (*LIVE, "succeeded", "cancelled")
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
_PUT = _ENQUEUE | {"source": "text", "timed": "boolean"}
# What put takes an argument for that is left out.
_USUAL = {"delay": timedelta(), "on_conflict": "return", "groups": list[str]()}
_PUT_MANY = {name: kind for name, kind in _PUT.items() if name not in ("payload", "key", "groups", "source")}
MANY = {"payloads": "jsonb"} | {name: kind for name, kind in _ENQUEUE.items() if name != "payload"}
_ID = {"id": "bigint"}
_KEY = {"key": "text"}


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
    timed: bool = True  # delay or run_at was asked for, and is not what the kind says


def enqueue(task: NewTask, *, defaults_known: bool) -> Call[int | None]:
    """`defaults_known`: queue and priority come from the handler's code, so the kind's row is not asked."""
    types, usual = (_PUT, _USUAL) if defaults_known else (_ENQUEUE, {})
    # Only what is said: each argument costs time on both sides of the wire, and most tasks have few of them.
    args = {name: value for name in types if (value := getattr(task, name)) is not None and value != usual.get(name)}
    if defaults_known and task.on_conflict != "merge":
        del args["timed"]  # nobody else wants to know
    return Call("put" if defaults_known else "enqueue", {name: types[name] for name in args}, args, first)


def enqueue_many(task: NewTask, payloads: str) -> Call[list[int]]:
    args = {"payloads": payloads} | {name: getattr(task, name) for name in MANY if name != "payloads"}
    return Call("enqueue_many", MANY, args, lambda rows: [row["enqueue_many"] for row in rows])


def put_many(task: NewTask, rows: str) -> Call[list[tuple[int, bool]]]:
    """`rows` is a JSON array of {payload, key, groups}; for each the task that has its key, and whether it is a new one."""
    args = {"rows": rows} | {name: getattr(task, name) for name in _PUT_MANY}

    def read(answer: Rows) -> list[tuple[int, bool]]:
        return [(row["id"], row["written"]) for row in sorted(answer, key=lambda row: row["position"])]

    return Call("put_many", {"rows": "jsonb"} | _PUT_MANY, args, read)


def cancel(task_id: int, reason: str | None, *, cascade: bool = True) -> Call[str]:
    types = _ID | {"reason": "text", "cascade": "boolean"}
    return Call("cancel", types, {"id": task_id, "reason": reason, "cascade": cascade}, first)


def send(task_id: int, message: str) -> Call[int]:
    return Call("send", _ID | {"message": "jsonb"}, {"id": task_id, "message": message}, first)


def retry(task_id: int) -> Call[str]:
    return Call("retry", _ID, {"id": task_id}, first)


def why(task_id: int) -> Call[list[Row]]:
    return Call("why", _ID, {"id": task_id}, all_rows)


def held(key: str) -> Call[list[Row]]:
    return Call("held", _KEY, {"key": key}, all_rows)


def why_key(key: str) -> Call[list[Row]]:
    return Call("why_key", _KEY, {"key": key}, all_rows)


def history(task_id: int) -> Call[list[Row]]:
    return Call("history", _ID, {"id": task_id}, all_rows)


_FIND = {
    "ids": "bigint[]",
    "status": "text[]",
    "kind": "text",
    "queue": "text",
    "key": "text",
    "before": "bigint",
    "at_most": "int",
    "parent": "bigint",
    "step": "text",
    "in_group": "text",
    "error": "text",
    "created_after": "timestamptz",
    "created_before": "timestamptz",
    "finished_after": "timestamptz",
    "finished_before": "timestamptz",
}


def find(chosen: Mapping[str, Any], *, before: int | None = None, at_most: int = 50) -> Call[list[Row]]:
    """`chosen` is a filter, as `howdah.condition` reads it."""
    wanted = {"in_group" if name == "group" else name: value for name, value in chosen.items()}
    return Call("find", _FIND, dict.fromkeys(_FIND) | wanted | {"before": before, "at_most": at_most}, all_rows)


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
