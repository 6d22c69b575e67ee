"""How a task is enqueued: the options of `using`, checked."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any, Literal, TypedDict

from howdah.backoff import Retry
from howdah.db import borrowed
from howdah.durations import Duration, duration, moment, optional_duration
from howdah.errors import InvalidOption, shown
from howdah.kinds.registry import Defaults

OnConflict = Literal["return", "raise", "skip", "replace"]


@dataclass(frozen=True, slots=True)
class Options:
    """How a task is enqueued, checked. None means: what the kind says."""

    delay: timedelta | None = None
    at: datetime | None = None
    queue: str | None = None
    priority: int | None = None
    key: str | None = None
    on_conflict: OnConflict = "return"
    step: str | None = None
    connection: Any = None


_OPTIONS = tuple(field.name for field in fields(Options))


class Given(TypedDict, total=False):
    """What `using` takes, other than on_conflict."""

    delay: Duration | None
    at: datetime | None
    queue: str | None
    priority: int | None
    key: str | None
    step: str | None
    connection: Any


def options(**given: Any) -> Options:
    """Check what was given to `using`. Raises InvalidOption that names the option."""
    for name in given:
        if name not in _OPTIONS:
            close = difflib.get_close_matches(name, _OPTIONS, n=1)
            raise InvalidOption(
                f"using() has no option {name!r}",
                hint=f"Did you mean {close[0]}?" if close else f"It takes {', '.join(_OPTIONS)}",
            )
    delay, at, queue, priority, key, step = map(given.get, ("delay", "at", "queue", "priority", "key", "step"))
    on_conflict, connection = given.get("on_conflict", "return"), given.get("connection")
    if delay is not None and at is not None:
        raise InvalidOption("delay and at were both given", hint="Give one of them")
    if on_conflict not in ("return", "raise", "skip", "replace"):
        raise InvalidOption(f'on_conflict must be "return", "raise", "skip" or "replace", not {shown(on_conflict)}')
    if connection is not None:
        borrowed.family(connection)
    return Options(
        delay=optional_duration(delay, "delay"),
        at=None if at is None else moment(at, "at"),
        queue=None if queue is None else check_name(queue, "queue"),
        priority=None if priority is None else check_priority(priority),
        key=None if key is None else check_name(key, "key", 500),
        on_conflict=on_conflict,
        step=None if step is None else check_name(step, "step"),
        connection=connection,
    )


def check_name(value: Any, what: str, longest: int = 200) -> str:
    """A name of a queue, kind or key. Raises InvalidOption."""
    if not isinstance(value, str) or not 1 <= len(value) <= longest:
        raise InvalidOption(f"{what} must be text of 1 to {longest} characters, not {shown(value)}")
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise InvalidOption(f"{what} holds a character that PostgreSQL cannot store: {shown(value)}")
    return value


def check_priority(value: Any) -> int:
    """A priority. Raises InvalidOption."""
    if isinstance(value, bool) or not isinstance(value, int) or not -(2**31) <= value < 2**31:
        raise InvalidOption(f"priority must be a whole number of 32 bits, not {shown(value)}")
    return value


def defaults(base: Defaults, **given: Any) -> Defaults:
    """What a kind or a step says of its tasks, checked; what is not given is as in `base`.

    Raises InvalidOption that names the option.
    """
    for name in given:
        if name not in _CHECKS:
            close = difflib.get_close_matches(name, _CHECKS, n=1)
            raise InvalidOption(
                f"there is no option {name!r}",
                hint=f"Did you mean {close[0]}?" if close else f"There are {', '.join(_CHECKS)}",
            )
    return replace(base, **{name: _CHECKS[name](value) for name, value in given.items()})


def _retry(value: Any) -> Retry:
    if value is None or isinstance(value, Retry):
        return value or Retry()
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidOption(f"retry must be a Retry or how many retries, not {shown(value)}")
    return Retry(value)


def _timeout(value: Any) -> timedelta | None:
    limit = optional_duration(value, "timeout")
    if limit is not None and not limit:
        raise InvalidOption("timeout must be longer than nothing", hint="Leave it out for no time limit")
    return limit


def _max_lost(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 1_000_000:
        raise InvalidOption(f"max_lost must be a whole number from 0 to 1,000,000, not {shown(value)}")
    return value


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "queue": lambda value: check_name(value, "queue"),
    "priority": check_priority,
    "delay": lambda value: duration(value, "delay"),
    "retry": _retry,
    "max_lost": _max_lost,
    "timeout": _timeout,
    "keep": lambda value: optional_duration(value, "keep"),
}
