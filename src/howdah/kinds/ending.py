"""How what a handler returned or raised becomes a transition. The one place that decides whether attempts are left."""

from __future__ import annotations

import asyncio
import os
import traceback
from collections.abc import Awaitable
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar

from howdah.backoff import Retry
from howdah.context import ClaimedTask
from howdah.durations import in_words
from howdah.errors import InvalidPayload
from howdah.outcomes import (
    Again,
    Cancel,
    Done,
    Fail,
    Join,
    Move,
    Outcome,
    RateLimited,
    RetryAfter,
    Sleep,
    Snooze,
    Suspend,
    Transition,
)

T = TypeVar("T")
ERROR_LENGTH = 10_000
TRACEBACK_LENGTH = 30_000


class TimedOut(TimeoutError):
    """The attempt ran longer than the kind's timeout."""

    def __init__(self, limit: timedelta) -> None:
        super().__init__(f"the attempt ran longer than {in_words(limit)}")


async def within(limit: timedelta | None, work: Awaitable[T]) -> T:
    """What the work returns. Raises TimedOut when it has not ended by then."""
    clock = asyncio.timeout(None if limit is None else limit.total_seconds())
    try:
        async with clock:
            return await work
    except TimeoutError:
        if limit is None or not clock.expired():
            raise  # of the work itself
        raise TimedOut(limit) from None


class ProcessDied(Exception):
    """The process that ran the handler ended without a word."""


class Codec(Protocol):
    """What ending needs of a signature."""

    def encode(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str: ...
    def encode_result(self, value: Any) -> str | None: ...


def of_value(codec: Codec, task: ClaimedTask, retry: Retry, value: Any) -> Transition:
    """The transition for what a handler returned."""
    if isinstance(value, Outcome):
        return of_outcome(codec, task, retry, value)
    return succeeded(codec, value)


def succeeded(codec: Codec, value: Any, **more: Any) -> Transition:
    """The transition for a result."""
    try:
        return Transition("succeeded", result=codec.encode_result(value), **more)
    except InvalidPayload as error:
        return parked(error)


def of_outcome(codec: Codec, task: ClaimedTask, retry: Retry, outcome: Outcome) -> Transition:
    """The transition for an outcome, returned or raised."""
    match outcome:
        case Again() | Join():
            args, kwargs = outcome.arguments
            try:
                payload = codec.encode(args, kwargs) if args or kwargs else None
            except InvalidPayload as error:
                return parked(error)
            if isinstance(outcome, Join):
                return Transition("suspended", payload=payload, attempts="reset", joining=True)
            return Transition("queued", payload=payload, delay=outcome.delay, attempts="reset")
        case Done():
            return succeeded(codec, outcome.result)
        case Snooze():
            return Transition("queued", delay=outcome.delay, attempts="unspent")
        case RateLimited():
            when = outcome.retry_after
            at = when if isinstance(when, datetime) else None
            delay = when if isinstance(when, timedelta) else None
            said = {
                "until": at,
                "seconds": None if delay is None else delay.total_seconds(),
                "group": outcome.group,
                "reason": outcome.reason,
            }
            close = {name: value for name, value in said.items() if value is not None}
            return Transition("queued", delay=delay, run_at=at, attempts="unspent", close=close)
        case Fail():
            return Transition("failed", error=_clean(outcome.reason, ERROR_LENGTH), event="failure")
        case Cancel():
            return Transition(
                "cancelled", reason=outcome.reason and _clean(outcome.reason, ERROR_LENGTH), event="cancel"
            )
        case Suspend() | Sleep() | Move():
            name = "after, at and join" if isinstance(outcome, Move) else type(outcome).__name__
            whose = "the steps of a machine" if isinstance(outcome, Move) else "actors"
            return parked(TypeError(f"{task.kind} ended with {outcome!r:.80}: {name} is for {whose}"))
        case _:
            return of_error(task, retry, outcome)


def of_error(task: ClaimedTask, retry: Retry, error: BaseException) -> Transition:
    """The transition for a failed attempt: once more after a delay, or parked."""
    details: dict[str, Any] = {}
    if not isinstance(error, (RetryAfter, TimedOut)):
        details["traceback"] = _clean(_traceback(error), TRACEBACK_LENGTH)
    delay = retry.delay_after(task.attempt, error)
    timed_out = isinstance(error, TimedOut)
    if delay is None:
        return Transition(
            "failed",
            error=in_a_line(error),
            event="timeout" if timed_out else "failure",
            details=details | {"parked": True},
        )
    return Transition(
        "queued",
        delay=delay,
        error=in_a_line(error),
        event="timeout" if timed_out else "retry",
        details=details | {"delay": delay.total_seconds()},
    )


def late(policy: str, said: str, details: dict[str, Any] | None = None) -> Transition:
    """The transition for a task that cannot end in time any more: parked, or dropped. No retries: there is no time for them."""
    details = (details or {}) | {"parked": policy == "park"}
    details.pop("delay", None)
    if policy == "park":
        return Transition(
            "failed", error=_clean(f"DeadlinePassed: {said}", ERROR_LENGTH), event="late", details=details
        )
    return Transition(
        "cancelled", reason=_clean(f"deadline passed: {said}", ERROR_LENGTH), event="late", details=details
    )


def parked(error: Exception) -> Transition:
    """The transition for what no retry can mend: a payload that does not fit, a result JSON cannot hold."""
    return Transition("failed", error=in_a_line(error), event="failure", details={"parked": True})


def in_a_line(error: BaseException) -> str:
    """What an exception says, as the row's error."""
    if isinstance(error, RetryAfter):
        return _clean(str(error), ERROR_LENGTH)
    try:
        said = str(error)
    except Exception:  # an exception whose __str__ fails must still be stored
        said = "(its message cannot be shown)"
    return _clean(f"{type(error).__name__}: {said}" if said else type(error).__name__, ERROR_LENGTH)


_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def _traceback(error: BaseException) -> str:
    """The traceback from the handler on: how we got there is the same every time."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(_OURS):
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, frames or error.__traceback__))


def _clean(text: str, longest: int) -> str:
    """Text that PostgreSQL can hold: no NUL, no lone surrogates, not endless. Head and tail of it are kept."""
    text = str(text).replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()
    if len(text) > longest:
        text = f"{text[: longest // 2]}\n… {len(text) - longest:,} characters left out …\n{text[-longest // 2 :]}"
    return text
