"""How a task is enqueued: the options of `using`, checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any, Literal, TypedDict, cast, get_args

from howdah.backoff import Retry
from howdah.db import borrowed
from howdah.durations import Duration, duration, moment, optional_duration
from howdah.errors import InvalidOption, did_you_mean, shown
from howdah.kinds.registry import FOREVER, Defaults, Late, OnConflict
from howdah.templates import Template


@dataclass(frozen=True, slots=True)
class Options:
    """How a task is enqueued, checked. None means: what the kind says."""

    delay: timedelta | None = None
    at: datetime | None = None
    queue: str | None = None
    priority: int | None = None
    key: str | None = None
    on_conflict: OnConflict | None = None
    step: str | None = None
    connection: Any = None
    group: tuple[str, ...] | None = None
    cost: float | None = None
    unique_for: timedelta | None = None
    start_before: timedelta | datetime | None = None
    finish_before: timedelta | datetime | None = None
    late: Late | None = None


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
    group: str | Sequence[str] | None
    cost: float | None
    unique_for: Duration | Literal["forever"] | None
    start_before: Duration | datetime | None
    finish_before: Duration | datetime | None
    late: Late | None


class KindOptions(TypedDict, total=False):
    """What a kind says of its tasks; see App.task."""

    queue: str
    priority: int
    delay: Duration
    retry: Retry | int | None
    timeout: Duration | None
    max_lost: int
    keep: Duration | None
    key: str | None
    unique_for: Duration | Literal["forever"] | None
    on_conflict: OnConflict
    group: str | Sequence[str] | None
    cost: float | None
    start_before: Duration | None
    finish_before: Duration | None
    late: Late
    warn: Mapping[str, Duration | int] | None
    alarm: Mapping[str, Duration | int] | None


def options(**given: Any) -> Options:
    """Check what was given to `using`. Raises InvalidOption that names the option."""
    for name in given:
        if name not in _OPTIONS:
            raise InvalidOption(f"using() has no option {name!r}", hint=did_you_mean(name, _OPTIONS))
    delay, at, queue, priority, key, step = map(given.get, ("delay", "at", "queue", "priority", "key", "step"))
    on_conflict, connection = given.get("on_conflict"), given.get("connection")
    if delay is not None and at is not None:
        raise InvalidOption("delay and at were both given", hint="Give one of them")
    if connection is not None:
        borrowed.family(connection)
    return Options(
        delay=optional_duration(delay, "delay"),
        at=None if at is None else moment(at, "at"),
        queue=None if queue is None else check_name(queue, "queue"),
        priority=None if priority is None else check_priority(priority),
        key=None if key is None else check_name(key, "key", 500),
        on_conflict=None if on_conflict is None else check_on_conflict(on_conflict),
        step=None if step is None else check_name(step, "step"),
        connection=connection,
        group=None if given.get("group") is None else _groups(given["group"]),
        cost=_cost(given.get("cost")),
        unique_for=_unique_for(given.get("unique_for")),
        start_before=_deadline(given.get("start_before"), "start_before"),
        finish_before=_deadline(given.get("finish_before"), "finish_before"),
        late=None if given.get("late") is None else _late(given["late"]),
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


def check_on_conflict(value: Any) -> OnConflict:
    """Raises InvalidOption."""
    if value not in get_args(OnConflict):
        raise InvalidOption(f'on_conflict must be "return", "raise", "skip", "replace" or "merge", not {shown(value)}')
    return value


def defaults(base: Defaults, **given: Any) -> Defaults:
    """What a kind or a step says of its tasks, checked; what is not given is as in `base`.

    Raises InvalidOption that names the option.
    """
    for name in given:
        if name not in _CHECKS:
            raise InvalidOption(
                f"there is no option {name!r}",
                hint=did_you_mean(name, _CHECKS),
            )
    checked = {name: _CHECKS[name](value) for name, value in given.items()}
    if "group" in checked:
        checked["groups"] = checked.pop("group")
    return replace(base, **checked)


def thresholds(value: Any, name: str) -> dict[str, float] | None:
    """From where on a kind is yellow or red: {"wait": length of time, "retries": number, "failed": number}.

    Raises InvalidOption.
    """
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise InvalidOption(
            f"{name} must be a mapping, not {shown(value)}", hint='Write {"wait": "5m", "retries": 3, "failed": 1}'
        )
    found: dict[str, float] = {}
    for what, most in cast("Mapping[Any, Any]", value).items():
        if what == "wait":
            found[what] = duration(most, f"{name}.wait").total_seconds()
        elif what in ("retries", "failed"):
            if isinstance(most, bool) or not isinstance(most, int) or most < 1:
                raise InvalidOption(f"{name}.{what} must be a whole number from 1, not {shown(most)}")
            found[what] = most
        else:
            raise InvalidOption(f"{name} has no threshold {shown(what)}", hint="There are wait, retries and failed")
    return found


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


def _key(value: Any) -> str | None:
    if value is None:
        return None
    Template(check_name(value, "key", 500), "key")
    return value


def _unique_for(value: Any) -> timedelta | None:
    length = FOREVER if value == "forever" else optional_duration(value, "unique_for")
    if length is not None and not length:
        raise InvalidOption(
            "unique_for must be longer than nothing",
            hint='Leave it out for as long as the task is live; "forever" is for good',
        )
    return length


def _groups(value: Any) -> tuple[str, ...]:
    given = (
        (value,) if isinstance(value, str) or not isinstance(value, Iterable) else tuple(cast("Iterable[Any]", value))
    )
    if len(given) > 20:
        raise InvalidOption(f"group must be at most 20 names, not {len(given)}")
    for name in given:
        Template(check_name(name, "group"), "group")
        if "*" in name:
            raise InvalidOption(
                f"group {shown(name)} has a * in it: that is for limits",
                hint="Write {name} for a field of the payload: tenant:{tenant_id}",
            )
    return tuple(sorted(set(given)))


def _cost(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
        raise InvalidOption(f"cost must be a number from 0, not {shown(value)}", hint="Leave it out for 1")
    return float(value)


def _length(value: Any, name: str) -> timedelta | None:
    length = optional_duration(value, name)
    if length is not None and not length:
        raise InvalidOption(f"{name} must be longer than nothing", hint="Leave it out for no deadline")
    return length


def _deadline(value: Any, name: str) -> timedelta | datetime | None:
    return moment(value, name) if isinstance(value, datetime) else _length(value, name)


def _late(value: Any) -> Late:
    if value not in get_args(Late):
        raise InvalidOption(f'late must be "drop", "park" or "run", not {shown(value)}')
    return value


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "queue": lambda value: check_name(value, "queue"),
    "priority": check_priority,
    "delay": lambda value: duration(value, "delay"),
    "retry": _retry,
    "max_lost": _max_lost,
    "timeout": _timeout,
    "keep": lambda value: optional_duration(value, "keep"),
    "key": _key,
    "unique_for": _unique_for,
    "on_conflict": check_on_conflict,
    "group": lambda value: () if value is None else _groups(value),
    "cost": _cost,
    "start_before": lambda value: _length(value, "start_before"),
    "finish_before": lambda value: _length(value, "finish_before"),
    "late": _late,
    "warn": lambda value: thresholds(value, "warn"),
    "alarm": lambda value: thresholds(value, "alarm"),
}

# What a kind says of its tasks, and the configuration too.
KIND_OPTIONS = tuple(_CHECKS)
