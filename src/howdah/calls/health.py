"""How everything is, and who is told when that changes."""

from __future__ import annotations

from datetime import timedelta

from howdah.calls.call import Call, Row, all_rows, first


def health() -> Call[list[Row]]:
    return Call("health", {}, {}, all_rows)


def tell_health(task: str, *, each: bool, hold: timedelta, every: timedelta) -> Call[int]:
    """How many alerts it enqueued."""
    types = {"task": "text", "each": "boolean", "hold": "interval", "every": "interval"}
    return Call("tell_health", types, {"task": task, "each": each, "hold": hold, "every": every}, first)
