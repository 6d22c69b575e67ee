"""Schedules: what anybody may ask, and how workers fire them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from howdah.calls.call import Call, Row, Rows, all_rows, first, nothing
from howdah.calls.tasks import NewTask

_NAME = {"name": "text"}
_SCHEDULE = {
    "name": "text",
    "kind": "text",
    "cron": "text",
    "every": "interval",
    "payload": "jsonb",
    "step": "text",
    "queue": "text",
    "priority": "int",
    "timezone": "text",
    "missed": "text",
    "overlap": "text",
    "jitter": "interval",
    "starts_at": "timestamptz",
    "ends_at": "timestamptz",
}


def schedule(given: Mapping[str, Any]) -> Call[None]:
    """`given` has a value for each argument of `howdah.schedule`."""
    return Call("schedule", _SCHEDULE, {name: given[name] for name in _SCHEDULE}, nothing)


def unschedule(name: str) -> Call[bool]:
    return Call("unschedule", _NAME, {"name": name}, first)


def pause_schedule(name: str, reason: str | None) -> Call[None]:
    return Call("pause_schedule", _NAME | {"reason": "text"}, {"name": name, "reason": reason}, nothing)


def resume_schedule(name: str) -> Call[bool]:
    return Call("resume_schedule", _NAME, {"name": name}, first)


def trigger(name: str) -> Call[int]:
    return Call("trigger", _NAME, {"name": name}, first)


def schedules() -> Call[list[Row]]:
    return Call("schedules", None, {}, all_rows)


# ── for workers ──────────────────────────────────────────────────────────────────────────────────────────────────────


def declare_schedules(kinds: Sequence[str], schedules: str) -> Call[None]:
    types = {"kinds": "text[]", "schedules": "jsonb"}
    return Call("declare_schedules", types, {"kinds": list(kinds), "schedules": schedules}, nothing)


class Due(NamedTuple):
    """What `howdah.due_schedules` answers."""

    due: list[Row] | None
    now: datetime
    next_in: float | None
    waiting: bool
    woken: int


def due_schedules() -> Call[Due]:
    return Call("due_schedules", {}, {}, lambda rows: Due(**rows[0]))


def fire(
    schedule: str,
    *,
    seen: datetime,
    ticks: Sequence[datetime],
    through: datetime,
    next_at: datetime | None,
    missed: int = 0,
) -> Call[int | None]:
    """How many tasks it made; None if somebody else was first."""
    types = {
        "schedule": "text",
        "seen": "timestamptz",
        "ticks": "timestamptz[]",
        "through": "timestamptz",
        "next_at": "timestamptz",
        "missed": "bigint",
    }
    args = {
        "schedule": schedule,
        "seen": seen,
        "ticks": list(ticks),
        "through": through,
        "next_at": next_at,
        "missed": missed,
    }
    return Call("fire", types, args, _fired)


def _fired(rows: Rows) -> int | None:
    return rows[0]["fired"]


def schedule_failed(schedule: str, seen: datetime, error: str) -> Call[None]:
    types = {"schedule": "text", "seen": "timestamptz", "error": "text"}
    return Call("schedule_failed", types, {"schedule": schedule, "seen": seen, "error": error}, nothing)


# ── pollers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def instructions(source: str) -> Call[list[Row]]:
    """The live tasks of a poller: rows of key, status and payload."""
    return Call("instructions", {"source": "text"}, {"source": source}, all_rows)


def stand(task: NewTask) -> Call[None]:
    """Have the one task of a kind whose tasks never end."""
    types = {"kind": "text", "queue": "text", "priority": "int", "key": "text"}
    return Call("stand", types, {name: getattr(task, name) for name in types}, nothing)
