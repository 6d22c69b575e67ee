"""Limits of groups and rules of queues, as the code of a program says them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from howdah.durations import Duration, optional_duration
from howdah.errors import InvalidOption, shown
from howdah.options import check_name

_RATE = re.compile(
    r"\s*\d{1,15}(\.\d{1,9})?\s*/\s*\d{0,9}(\.\d{1,9})?\s*(ms|s|sec|second|m|min|minute|h|hour|d|day)s?\s*"
)


@dataclass(frozen=True, slots=True)
class Limit:
    """How much of a group may run and start. `name` with a * is the rule for every group that matches."""

    name: str
    running: int | None = None
    rate: str | None = None
    burst: float | None = None

    @classmethod
    def checked(cls, name: str, running: int | None, rate: str | None, burst: float | None) -> Limit:
        """Raises InvalidOption that names the option."""
        check_name(name, "the name of a limit")
        if running is not None:
            check_running(running)
        if rate is not None:
            check_rate(rate)
        return cls(name, running, rate, None if burst is None else check_burst(burst))

    def row(self) -> dict[str, Any]:
        """For `howdah.declare_limits`."""
        return _said(name=self.name, running=self.running, rate=self.rate, burst=self.burst)


@dataclass(frozen=True, slots=True)
class QueueRules:
    """How a queue is worked, in the whole fleet."""

    name: str
    running: int | None = None
    fair: bool = False
    ageing: timedelta | None = None

    @classmethod
    def checked(cls, name: str, running: int | None, fair: bool, ageing: Duration | None) -> QueueRules:
        """Raises InvalidOption that names the option."""
        check_name(name, "queue")
        if running is not None:
            check_running(running)
        if not isinstance(fair, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidOption(f"fair must be True or False, not {shown(fair)}")
        length = optional_duration(ageing, "ageing")
        if length is not None and not length:
            raise InvalidOption("ageing must be longer than nothing", hint="Leave it out for priorities as they are")
        return cls(name, running, fair, length)

    def row(self) -> dict[str, Any]:
        """For `howdah.declare_limits`."""
        ageing = None if self.ageing is None else self.ageing.total_seconds()
        return _said(name=self.name, running=self.running, fair=self.fair or None, ageing=ageing)


def _said(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def check_burst(value: Any) -> float:
    """Raises InvalidOption."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
        raise InvalidOption(f"burst must be a number above 0, not {shown(value)}")
    return float(value)


def check_running(value: Any) -> int:
    """How many may run at once. Raises InvalidOption."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 2_000_000_000:
        hint = "To let nothing run, pause the queue or close the group" if value == 0 else "Leave it out for no limit"
        raise InvalidOption(f"running must be a whole number from 1, not {shown(value)}", hint=hint)
    return value


def check_rate(rate: Any) -> str:
    """A rate as people write it. Raises InvalidOption."""
    fits = isinstance(rate, str) and _RATE.fullmatch(rate)
    if not fits or not all(float(number) for number in re.findall(r"\d+(?:\.\d+)?", rate)):
        raise InvalidOption(
            f"rate cannot be read: {shown(rate)}", hint="Write it like 100/min, 5/s, 1000/hour or 20/30s"
        )
    return rate
