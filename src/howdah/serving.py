"""What a worker is told: which queues it serves, how many tasks at once, how long its lease is. Each option, checked."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

from howdah.durations import Duration, duration
from howdah.errors import InvalidOption, shown
from howdah.options import check_name

_LIMIT = re.compile(r"(?P<name>.+)(?P<sign>[=*])(?P<number>[^=*]*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Weight:
    """A queue's share of the worker's concurrency, beside the weights of the others."""

    weight: float = 1

    def __post_init__(self) -> None:
        if not 0 < self.weight <= 1_000_000:
            raise InvalidOption(f"a weight is a number above 0, not {self.weight!r}")


Queues = None | str | Iterable[str] | Mapping[str, int | Weight]


def check_queues(queues: Queues) -> Mapping[str, int | Weight] | None:
    """The queues and their limits; None for all. Raises InvalidOption."""
    if queues is None:
        return None
    limits: dict[str, int | Weight] = {}
    if isinstance(queues, str):
        limits[queues] = Weight()
    elif isinstance(queues, Mapping):
        limits.update(cast("Mapping[str, int | Weight]", queues))
    else:
        limits.update((name, Weight()) for name in queues)
    if not limits:
        raise InvalidOption("queues is empty", hint="Leave it out to serve every queue")
    for name, limit in limits.items():
        check_name(name, "queue")
        if not isinstance(limit, Weight):
            check_count(limit, f"the limit of queue {name!r}")
    return limits


def queues_in_words(given: Sequence[str], what: str = "-q") -> dict[str, int | Weight]:
    """Queues as they are written in the shell: NAME, NAME=10 (at most 10 at once), NAME*3 (three shares).

    Raises InvalidOption, which says `what`.
    """
    queues: dict[str, int | Weight] = {}
    for text in given:
        name, limit = _queue_in_words(text, what)
        if name in queues:
            raise InvalidOption(f"queue {name!r} was given twice")
        queues[name] = limit
    return queues


def _queue_in_words(text: str, what: str) -> tuple[str, int | Weight]:
    match = _LIMIT.fullmatch(text)
    if match is None:
        return text, Weight()
    try:
        number = match["number"].strip()
        return match["name"], int(number) if match["sign"] == "=" else Weight(float(number))
    except ValueError as error:
        raise InvalidOption(
            f"{what} {text!r}: {match['number']!r} is not a {'whole ' * (match['sign'] == '=')}number",
            hint="Write NAME, NAME=10 (at most 10 at once) or NAME*3 (three shares)",
        ) from error


def described_queues(queues: Mapping[str, int | Weight]) -> list[str]:
    """The same the other way round."""

    def one(name: str, limit: int | Weight) -> str:
        if isinstance(limit, int):
            return f"{name}={limit}"
        return name if limit.weight == 1 else f"{name}*{limit.weight:g}"

    return [one(name, limit) for name, limit in queues.items()]


def check_count(value: Any, name: str) -> int:
    """Raises InvalidOption."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 100_000:
        raise InvalidOption(f"{name} must be a whole number from 1 to 100,000, not {shown(value)}")
    return value


def check_lease(value: Duration) -> timedelta:
    """Raises InvalidOption."""
    lease = duration(value, "lease")
    if lease < timedelta(seconds=1):
        raise InvalidOption(f"lease must be at least 1s, not {value!r}")
    return lease


def check_poll(value: Duration) -> timedelta:
    """Raises InvalidOption."""
    poll = duration(value, "poll")
    if poll < timedelta(milliseconds=10):
        raise InvalidOption(f"poll must be at least 10ms, not {value!r}")
    return poll


def check_flag(value: Any, name: str) -> bool:
    """Raises InvalidOption."""
    if not isinstance(value, bool):
        raise InvalidOption(f"{name} must be true or false, not {shown(value)}")
    return value


CHECKS: dict[str, Callable[[Any], Any]] = {
    "queues": check_queues,
    "concurrency": lambda value: check_count(value, "concurrency"),
    "processes": lambda value: check_count(value, "processes"),
    "process_slots": lambda value: check_count(value, "process_slots"),
    "lease": check_lease,
    "poll": check_poll,
    "listen": lambda value: check_flag(value, "listen"),
    "synchronous_commit": lambda value: check_flag(value, "synchronous_commit"),
    "grace": lambda value: duration(value, "grace"),
}
