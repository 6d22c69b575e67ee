"""The work itself: plain functions of an event."""

from __future__ import annotations

from typing import Any


async def foo(task: dict[str, Any]) -> dict[str, Any]:
    """Squares a number. What goes wrong is for the table, not for howdah: it becomes a field of the event."""
    payload = task["payload"]
    if payload.get("fails", 0) >= task["attempt"]:
        return task | {"result": None, "error": f"attempt {task['attempt']} failed on purpose"}
    return task | {"result": {"square": payload["n"] ** 2}, "error": None}
