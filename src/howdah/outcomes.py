"""How an attempt can end.

Outcomes are values or exceptions, whichever reads better: `return Snooze("1m")` or `raise Snooze("1m")`.
They are not frozen: an exception that passes through a context manager gets its traceback set.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

from howdah.durations import Duration, duration, in_words

CommitHook = Callable[[Any], Coroutine[Any, Any, None]]


class Outcome(Exception):
    """What a handler says about its attempt, other than returning a result or failing."""


class Again(Outcome):
    """Run this task again with a new payload, as a new step: the attempt counter starts at 0.

    Arguments are the handler's own; `delay` is how long to wait first.
    Returned with no arguments at all, the payload stays as it is.

    >>> Again(page=2, delay="5s")
    Again(page=2, delay=5s)
    """

    def __init__(self, *args: Any, delay: Duration = 0, **kwargs: Any) -> None:
        super().__init__(*args)
        self.arguments: tuple[tuple[Any, ...], dict[str, Any]] = (args, kwargs)
        self.delay = duration(delay, "delay")

    def __repr__(self) -> str:
        args, kwargs = self.arguments
        parts = [repr(a) for a in args] + [f"{k}={v!r}" for k, v in kwargs.items()]
        return f"Again({', '.join([*parts, f'delay={self.delay.total_seconds():g}s'])})"


class Snooze(Outcome):
    """Not now: run the same step again after `delay`. Spends no attempt."""

    def __init__(self, delay: Duration) -> None:
        super().__init__(delay)
        self.delay = duration(delay, "delay")


class RetryAfter(Outcome):
    """This attempt failed; try again after exactly `delay`, if the retry policy has attempts left.

    Write it as `raise Retry.after("10s")`, with a reason if there is one.
    """

    def __init__(self, delay: Duration, reason: str | None = None) -> None:
        super().__init__(delay, reason)
        self.delay = duration(delay, "delay")
        self.reason = reason

    def __str__(self) -> str:
        return self.reason or f"retry after {in_words(self.delay)}"


class Fail(Outcome):
    """This task cannot succeed as it is: park it as failed now, whatever retries are left."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = str(reason)


class Cancel(Outcome):
    """This task is no longer wanted: end it as cancelled."""

    def __init__(self, reason: str | None = None) -> None:
        super().__init__(*([] if reason is None else [reason]))
        self.reason = reason


Target = Literal["succeeded", "queued", "failed", "cancelled"]
Attempts = Literal["keep", "unspent", "reset"]


@dataclass(slots=True)
class Transition:
    """What one attempt commits, in the words of the table. Made by a kind, applied by the worker.

    `payload` and `result` are JSON text or None for "as it was" / "no result".
    `attempts` says what becomes of the counter: kept (spent), given back, or back to 0 for a new step.
    `event` and `details` go to `howdah.event`.
    """

    to: Target
    result: str | None = None
    payload: str | None = None
    delay: timedelta = timedelta(0)
    attempts: Attempts = "keep"
    error: str | None = None
    reason: str | None = None
    event: str | None = None
    details: dict[str, Any] | None = None
    hooks: list[CommitHook] = field(default_factory=list[CommitHook])
