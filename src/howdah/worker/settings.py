"""How a worker works, checked."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import msgspec

from howdah.durations import Duration, duration
from howdah.serving import Queues, Weight, check_count, check_flag, check_lease, check_poll, check_queues
from howdah.worker.address import Address


@dataclass(frozen=True, slots=True)
class Settings:
    """What App.worker was given. `queues` None: all."""

    queues: Mapping[str, int | Weight] | None
    concurrency: int
    processes: int
    lease: timedelta
    poll: timedelta
    listen: bool
    synchronous_commit: bool
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
        synchronous_commit: bool = True,
        grace: Duration = "30s",
        until_idle: bool = False,
        health: str | None = None,
    ) -> Settings:
        """Raises InvalidOption that names the option."""
        return cls(
            queues=check_queues(queues),
            concurrency=check_count(concurrency, "concurrency"),
            processes=check_count(os.cpu_count() or 1 if processes is None else processes, "processes"),
            lease=check_lease(lease),
            poll=check_poll(poll),
            listen=check_flag(listen, "listen"),
            synchronous_commit=check_flag(synchronous_commit, "synchronous_commit"),
            grace=duration(grace, "grace"),
            until_idle=until_idle,
            health=None if health is None else Address.read(health),
        )

    @property
    def margin(self) -> float:
        """Seconds before the end of the lease at which the worker stops trusting it.

        At 30 s it is 8 s: 200 ppm of drift on both clocks, a second's step at a fail-over, and five to stop handlers.
        """
        return self.lease.total_seconds() * 8 / 30

    def most_of(self, queue: str) -> int:
        """How many tasks of this queue may run at once here."""
        limit = (self.queues or {}).get(queue)
        return min(limit, self.concurrency) if isinstance(limit, int) else self.concurrency

    def describe_queues(self) -> str | None:
        """The queues as JSON, for the worker's row."""
        if self.queues is None:
            return None
        shown = {
            name: limit if isinstance(limit, int) else {"weight": limit.weight} for name, limit in self.queues.items()
        }
        return msgspec.json.encode(shown).decode()
