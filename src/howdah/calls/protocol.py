"""The worker protocol."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

from howdah.calls.call import Call, Row, Rows, first, nothing


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
    return Call("register", types, args, nothing)


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
    gated: bool
    crowded: bool
    more: bool


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
    return Call("inboxes", {"ids": "bigint[]", "after": "bigint"}, {"ids": list(ids), "after": after}, first)


def reserve_ids(how_many: int) -> Call[list[int]]:
    return Call("reserve_ids", {"how_many": "int"}, {"how_many": how_many}, first)


def report(worker: UUID, progress: Sequence[tuple[int, int, str]]) -> Call[None]:
    types = {"worker": "uuid", "ids": "bigint[]", "epochs": "bigint[]", "progress": "jsonb[]"}
    args = {
        "worker": worker,
        "ids": [task_id for task_id, _, _ in progress],
        "epochs": [epoch for _, epoch, _ in progress],
        "progress": [text for _, _, text in progress],
    }
    return Call("report", types, args, nothing)


def leave(worker: UUID) -> Call[int]:
    return Call("leave", {"worker": "uuid"}, {"worker": worker}, first)


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


class Expired(NamedTuple):
    dropped: int
    parked: int
    next_in: float | None


def expire() -> Call[Expired]:
    return Call("expire", {}, {}, lambda rows: Expired(**rows[0]))


def make_partitions() -> Call[int]:
    return Call("make_partitions", {}, {}, first)


def retain() -> Call[Row]:
    return Call("retain", {}, {}, lambda rows: rows[0])


def waiting_queues() -> Call[list[str]]:
    return Call("waiting_queues", {}, {}, lambda rows: [row["waiting_queues"] for row in rows])
