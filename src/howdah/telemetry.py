"""What happened, for whoever listens: metrics, traces, logs of one's own.

A listener is a function of one argument. It runs on the worker's loop between two tasks: keep it short. If it raises,
the error is logged and the task is not touched.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

log = logging.getLogger("howdah")


@dataclass(frozen=True, slots=True)
class AttemptEnded:
    """One attempt is over and its transition is committed, or was found stale.

    `outcome` is the status the task went to, or "stale": another worker owns it now and nothing was written.
    `seconds` is how long the handler ran.
    """

    task_id: int
    kind: str
    queue: str
    attempt: int
    outcome: Literal["succeeded", "queued", "suspended", "failed", "cancelled", "stale"]
    seconds: float
    error: str | None = None


@dataclass(frozen=True, slots=True)
class WorkerChanged:
    """A worker started, lost its lease, or stopped."""

    worker: str
    change: Literal["started", "lost", "stopped"]


Event = AttemptEnded | WorkerChanged
Listener = Callable[[Event], None]


def tell(listeners: list[Listener], event: Event) -> None:
    """Call every listener; none of them can do harm."""
    for listener in listeners:
        try:
            listener(event)
        except Exception:
            log.exception("listener %r failed", listener)
