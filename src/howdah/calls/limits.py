"""Limits of groups and queues."""

from __future__ import annotations

from datetime import timedelta

from howdah.calls.call import Call, Row, all_rows, first, nothing

_NAME = {"name": "text"}


def set_limit(name: str, running: int | None, rate: str | None, burst: float | None) -> Call[None]:
    types = _NAME | {"running": "int", "rate": "text", "burst": "double precision"}
    return Call("set_limit", types, {"name": name, "running": running, "rate": rate, "burst": burst}, nothing)


def unset_limit(name: str) -> Call[bool]:
    return Call("unset_limit", _NAME, {"name": name}, first)


def close_group(name: str, length: timedelta | None, reason: str | None) -> Call[None]:
    types: dict[str, str] = _NAME | {"reason": "text"}
    args: dict[str, object] = {"name": name, "reason": reason}
    if length is not None:
        types, args = types | {"length": "interval"}, args | {"length": length}
    return Call("close_group", types, args, nothing)


def open_group(name: str) -> Call[bool]:
    return Call("open_group", _NAME, {"name": name}, first)


def groups() -> Call[list[Row]]:
    return Call("groups", None, {}, all_rows)


def set_queue(queue: str, running: int | None, fair: bool | None, ageing: timedelta | None) -> Call[None]:
    types = {"queue": "text", "running": "int", "fair": "boolean", "ageing": "interval"}
    return Call("set_queue", types, {"queue": queue, "running": running, "fair": fair, "ageing": ageing}, nothing)


def declare_limits(limits: str, queues: str) -> Call[None]:
    types = {"limits": "jsonb", "queues": "jsonb"}
    return Call("declare_limits", types, {"limits": limits, "queues": queues}, nothing)
