"""How an attempt can end.

Outcomes are values or exceptions, whichever reads better: `return Snooze("1m")` or `raise Snooze("1m")`.
They are not frozen: an exception that passes through a context manager gets its traceback set.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Literal, TypeVar, cast

from howdah.durations import Duration, duration, in_words, moment, optional_duration

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


class RateLimited(Outcome):
    """The other side wants no more for now: close the group for everybody until `retry_after` has passed. Spends no attempt.

    `retry_after` is a length of time, a datetime, or what stands in the header of this name: seconds or a date; without it,
    a minute. The task keeps its place in line. `group` names the group; without it those of its groups that have a rate
    are meant, and if none has, all of them. A task that is not in that group, or in none, is run again after `retry_after`.

    >>> raise RateLimited(retry_after="30s", reason="429")             # doctest: +SKIP
    >>> RateLimited("Wed, 21 Oct 2015 07:28:00 GMT").retry_after
    datetime.datetime(2015, 10, 21, 7, 28, tzinfo=datetime.timezone.utc)
    """

    def __init__(
        self,
        retry_after: Duration | datetime | None = None,
        *,
        group: str | None = None,
        reason: str | None = None,
    ) -> None:
        super().__init__(retry_after)
        self.retry_after = _wait(retry_after)
        self.group = group
        self.reason = reason


def _wait(retry_after: Duration | datetime | None) -> timedelta | datetime:
    if retry_after is None:
        return timedelta(minutes=1)
    if isinstance(retry_after, datetime):
        return moment(retry_after, "retry_after")
    if isinstance(retry_after, str) and retry_after.endswith(" GMT"):
        with contextlib.suppress(ValueError):
            return parsedate_to_datetime(retry_after)
    return duration(retry_after, "retry_after")


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


class Done(Outcome):
    """The task has ended, with this result: what an actor or the last step of a machine says."""

    def __init__(self, result: Any = None) -> None:
        super().__init__(result)
        self.result = result


class Sleep(Outcome):
    """An actor is polled again after `delay`, and not before: messages that come meanwhile wait.

    Raises InvalidOption if `delay` is not a length of time.
    """

    def __init__(self, delay: Duration) -> None:
        super().__init__(delay)
        self.delay = duration(delay, "delay")


class Suspend(Outcome):
    """An actor is polled again when a message comes, or at the latest `until` a time or for a length of time.

    With messages left in its inbox, or new ones there, it is polled again at once. Raises InvalidOption if `until` is
    neither a length of time nor a datetime with a time zone.

    >>> Suspend(until="10m")
    Suspend(until=10m)
    """

    def __init__(self, until: Duration | datetime | None = None) -> None:
        super().__init__(until)
        self.until = moment(until, "until") if isinstance(until, datetime) else optional_duration(until, "until")

    def __repr__(self) -> str:
        if isinstance(self.until, timedelta):
            return f"Suspend(until={in_words(self.until)})"
        return f"Suspend(until={self.until})" if self.until else "Suspend()"


class Join(Outcome):
    """Run this task again when all the children that it spawned have ended or are parked; no worker is held.

    Then `ctx.children` has how each of them ended, in the order in which they were spawned. Arguments are the
    handler's own, as in Again; without any, the payload stays as it is. The attempt counter starts at 0.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args)
        self.arguments: tuple[tuple[Any, ...], dict[str, Any]] = (args, kwargs)


class Move(Outcome):
    """A step of a machine, reached later than now. Made by `after`, `at` and `join`."""

    def __init__(
        self, step: Any, *, delay: timedelta | None = None, at: datetime | None = None, joining: bool = False
    ) -> None:
        super().__init__(step)
        self.step, self.delay, self.at, self.joining = step, delay, at, joining


S = TypeVar("S")


def after(delay: Duration, step: S) -> S:
    """A step to return from a step: move there after `delay`, and leave the worker free meanwhile.

    To a type checker it is the step itself, so that the return annotation says which moves are legal.
    Raises InvalidOption if `delay` is not a length of time.

    >>> return after("5s", SayHello(name))                 # doctest: +SKIP
    """
    return cast("S", Move(step, delay=duration(delay, "delay")))


def at(time: datetime, step: S) -> S:
    """As `after`, at a time. Raises InvalidOption if it is not a datetime with a time zone."""
    return cast("S", Move(step, at=moment(time, "time")))


def join(step: S) -> S:
    """As `after`, when all the children spawned so far have ended: `ctx.children` has them there."""
    return cast("S", Move(step, joining=True))


Target = Literal["succeeded", "queued", "suspended", "failed", "cancelled"]
Attempts = Literal["keep", "unspent", "reset"]


@dataclass(slots=True)
class Effects:
    """What a step asked for beside its own end: children, other tasks and messages, as `howdah.settle_rest` takes them."""

    spawned: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    enqueued: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    sent: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def __bool__(self) -> bool:
        return bool(self.spawned or self.enqueued or self.sent)


@dataclass(slots=True)
class Transition:
    """What one attempt commits, in the words of the table. Made by a kind, applied by the worker.

    `payload` and `result` are JSON text or None for "as it was" / "no result"; `step`, `queue` and `priority` likewise.
    It is due after `delay`, or at `run_at`. Suspended, it is woken by a message, or with `joining` by the end of its
    last child, or after `delay` or at `run_at` if one is given. `consumed` are the messages that were read for good,
    `inbox_seq` what the row's was when they were read.
    `attempts` says what becomes of the counter: kept (spent), given back, or back to 0 for a new step.
    `event` and `details` go to `howdah.event`. `effects` commit with it. `close` says which group starts nothing for how long.
    """

    to: Target
    result: str | None = None
    payload: str | None = None
    step: str | None = None
    queue: str | None = None
    priority: int | None = None
    delay: timedelta | None = None
    run_at: datetime | None = None
    joining: bool = False
    consumed: list[int] = field(default_factory=list[int])
    inbox_seq: int = 0
    attempts: Attempts = "keep"
    error: str | None = None
    reason: str | None = None
    event: str | None = None
    details: dict[str, Any] | None = None
    effects: Effects | None = None
    close: dict[str, Any] | None = None

    @property
    def at_once(self) -> bool:
        """Whether it goes on with a new step here and now."""
        return (
            self.to == "queued"
            and self.attempts == "reset"
            and not self.delay
            and self.run_at is None
            and self.queue is None
        )
