"""How a worker works, checked."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import cast

import msgspec

from howdah.durations import Duration, duration
from howdah.errors import InvalidOption
from howdah.options import check_name
from howdah.worker.address import Address


@dataclass(frozen=True, slots=True)
class Weight:
    """A queue's share of the worker's concurrency, beside the weights of the others."""

    weight: float = 1

    def __post_init__(self) -> None:
        if not 0 < self.weight <= 1_000_000:
            raise InvalidOption(f"a weight is a number above 0, not {self.weight!r}")


Queues = None | str | Iterable[str] | Mapping[str, int | Weight]


@dataclass(frozen=True, slots=True)
class Settings:
    """What App.worker was given. `queues` None: all."""

    queues: Mapping[str, int | Weight] | None
    concurrency: int
    processes: int
    lease: timedelta
    poll: timedelta
    listen: bool
    grace: timedelta
    until_idle: bool
    health: Address | None

    @classmethod
    def checked(
        cls,
        *,
        queues: Queues = None,
        concurrency: int = 100,
        processes: int | None = None,
        lease: Duration = "30s",
        poll: Duration = "5s",
        listen: bool = True,
        grace: Duration = "30s",
        until_idle: bool = False,
        health: str | None = None,
    ) -> Settings:
        """Raises InvalidOption that names the option."""
        settings = cls(
            queues=_queues(queues),
            concurrency=_count(concurrency, "concurrency"),
            processes=_count(os.cpu_count() or 1 if processes is None else processes, "processes"),
            lease=duration(lease, "lease"),
            poll=duration(poll, "poll"),
            listen=listen,
            grace=duration(grace, "grace"),
            until_idle=until_idle,
            health=None if health is None else Address.read(health),
        )
        if settings.lease < timedelta(seconds=1):
            raise InvalidOption(f"lease must be at least 1s, not {lease!r}")
        if settings.poll < timedelta(milliseconds=10):
            raise InvalidOption(f"poll must be at least 10ms, not {poll!r}")
        return settings

    @property
    def margin(self) -> float:
        """Seconds before the end of the lease at which the worker stops trusting it.

        At 30 s it is 8 s: 200 ppm of drift on both clocks, a second's step at a fail-over, and five to stop handlers.
        """
        return self.lease.total_seconds() * 8 / 30

    def describe_queues(self) -> str | None:
        """The queues as JSON, for the worker's row."""
        if self.queues is None:
            return None
        shown = {
            name: limit if isinstance(limit, int) else {"weight": limit.weight} for name, limit in self.queues.items()
        }
        return msgspec.json.encode(shown).decode()


def _queues(queues: Queues) -> Mapping[str, int | Weight] | None:
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
            _count(limit, f"the limit of queue {name!r}")
    return limits


def _count(value: int, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 100_000:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidOption(f"{name} must be a whole number from 1 to 100,000, not {value!r}")
    return value
