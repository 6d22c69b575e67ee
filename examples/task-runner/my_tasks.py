"""The work itself: a plain function of an event."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

log = logging.getLogger("my_tasks")


async def foo(task: dict[str, Any]) -> dict[str, Any]:
    """Squares a number. What goes wrong as one can foresee is for the table: a field of the event, no exception."""
    payload, attempt = task["payload"], task["attempt"]
    await asyncio.sleep(0.1)
    if attempt <= payload.get("raises", 0):
        raise RuntimeError(f"{task['key']} raises at attempt {attempt}, as its payload says")
    if attempt <= payload.get("fails", 0):
        return task | {"result": None, "error": f"<{task['key']}> fails at attempt {attempt}, as its payload says"}
    square = payload["n"] ** 2
    log.info("%s: the square of %d is %d", task["key"], payload["n"], square)
    return task | {"result": {"square": square}, "error": None}
