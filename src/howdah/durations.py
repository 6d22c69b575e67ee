"""Lengths of time as people write them: "2s", "1h30m", 2.5 (seconds), timedelta."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from howdah.errors import InvalidOption, shown

Duration = timedelta | str | int | float

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)")
# A century: longer is a mistake, and far below what a timestamp can hold.
LONGEST = timedelta(days=36525)


def duration(value: Duration, name: str = "duration") -> timedelta:
    """Read a length of time; `name` is the option it was given for.

    Numbers are seconds. Text is one or more of `ms s m h d w`: "250ms", "2s", "1h30m", "1d 12h".
    Raises InvalidOption if it is negative, not finite, longer than a century or cannot be read.

    >>> duration("1h30m")
    datetime.timedelta(seconds=5400)
    """
    if isinstance(value, timedelta):
        length = value
    elif isinstance(value, bool):
        raise InvalidOption(f"{name} must be a length of time, not {value!r}", hint='Write "2s", 2 or timedelta')
    elif isinstance(value, (int, float)):
        if isinstance(value, float) and not math.isfinite(value):
            raise InvalidOption(f"{name} must be a finite number of seconds, not {value!r}")
        length = timedelta(seconds=value) if abs(value) <= LONGEST.total_seconds() else LONGEST * 2
    else:
        length = _parse(value, name)
    if length < timedelta(0):
        raise InvalidOption(f"{name} must not be negative: {shown(value)}")
    if length > LONGEST:
        raise InvalidOption(f"{name} is longer than a century: {shown(value)}")
    return length


def optional_duration(value: Duration | None, name: str) -> timedelta | None:
    """As `duration`, and None stays None."""
    return None if value is None else duration(value, name)


def moment(value: Any, name: str) -> datetime:
    """A point in time: a datetime with a time zone. Raises InvalidOption that names the option."""
    if not isinstance(value, datetime) or value.utcoffset() is None:
        what = f"the naive {value.isoformat(' ')}" if isinstance(value, datetime) else shown(value)
        raise InvalidOption(
            f"{name} must be a datetime with a time zone, not {what}", hint="Write datetime.now(UTC) + …, or use delay="
        )
    return value


def moment_in(seconds: float) -> datetime:
    """The time so many seconds from now, by the clock of this machine; the last there is if it is beyond."""
    try:
        return datetime.now(UTC) + timedelta(seconds=seconds)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)


def _parse(text: str, name: str) -> timedelta:
    hint = 'Write "250ms", "2s", "1h30m" or a number of seconds'
    if not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance]: callers without a type checker
        raise InvalidOption(f"{name} must be a length of time, not {type(text).__name__}", hint=hint)
    rest = text.strip()
    try:
        return timedelta(seconds=float(rest)) if math.isfinite(float(rest)) else LONGEST * 2
    except OverflowError:
        return LONGEST * 2
    except ValueError:
        pass
    sign = -1 if rest.startswith("-") else 1
    rest = rest.removeprefix("-")
    total, position = 0.0, 0
    while position < len(rest):
        part = _PART.match(rest, position)
        if part is None:
            raise InvalidOption(f"{name} cannot be read as a length of time: {shown(text)}", hint=hint)
        total += float(part[1]) * _SECONDS[part[2]]
        position = part.end()
        while position < len(rest) and rest[position] == " ":
            position += 1
    if not rest:
        raise InvalidOption(f"{name} is empty", hint=hint)
    return timedelta(seconds=sign * total) if total <= LONGEST.total_seconds() else LONGEST * 2


def in_words(length: timedelta | float) -> str:
    """A length of time as a person would say it, in at most two units: "1h 30m", "2.5s", "40ms"."""
    seconds = length.total_seconds() if isinstance(length, timedelta) else length
    if seconds < 0:
        return "-" + in_words(-seconds)
    if round(seconds, 3) < 1:
        return f"{seconds * 1000:.0f}ms"
    if round(seconds, 1) < 60:
        return f"{seconds:.1f}".rstrip("0").rstrip(".") + "s"
    whole = round(seconds)
    units = [(whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "m"), (whole % 60, "s")]
    first = next(i for i, (count, _) in enumerate(units) if count)
    return " ".join(f"{count}{unit}" for count, unit in units[first : first + 2] if count)
