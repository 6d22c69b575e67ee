"""The verbs of groups and queues: limits that are changed while the fleet works."""

from __future__ import annotations

from typing import Any

from howdah import calls
from howdah.caller import Caller
from howdah.durations import Duration, optional_duration
from howdah.errors import InvalidOption
from howdah.limits import Limit, QueueRules
from howdah.options import check_name


class Groups(Caller):
    """Part of Client. What is set here stays over restarts, until the code of a worker declares something else than before."""

    async def set_limit(
        self, name: str, *, running: int | None = None, rate: str | None = None, burst: float | None = None
    ) -> None:
        """Limit a group in the whole fleet, from now on. What is None stays as it is; what runs goes on.

        name     the group, or with a * the rule for every group that matches and has no limit of its own: "tenant:*"
        running  at most so many of its tasks run at once; 0: no limit
        rate     at most so much starts per time: "100/min", "5/s", "20/30s"; a task counts its `cost`; "none": no limit
        burst    so much of it at once, after a rest; without it what the rate gives in a second, at least 1

        Raises InvalidOption that names the option.

        >>> await app.set_limit("SES", running=10, rate="100/min", burst=20)     # doctest: +SKIP
        """
        await self.run(_set_limit(name, running, rate, burst))

    def set_limit_sync(
        self, name: str, *, running: int | None = None, rate: str | None = None, burst: float | None = None
    ) -> None:
        """As `set_limit`, blocking."""
        self.run_sync(_set_limit(name, running, rate, burst))

    async def unset_limit(self, name: str) -> bool:
        """Take a limit away; False if there was none. A group falls back to the rule with a * that matches it."""
        return await self.run(calls.unset_limit(check_name(name, "the name of a limit")))

    def unset_limit_sync(self, name: str) -> bool:
        """As `unset_limit`, blocking."""
        return self.run_sync(calls.unset_limit(check_name(name, "the name of a limit")))

    async def close_group(self, name: str, length: Duration | None = None, *, reason: str | None = None) -> None:
        """Start no more tasks of a group, in the whole fleet: for a length of time, or until `open_group`. Running ones go on."""
        await self.run(_close(name, length, reason))

    def close_group_sync(self, name: str, length: Duration | None = None, *, reason: str | None = None) -> None:
        """As `close_group`, blocking."""
        self.run_sync(_close(name, length, reason))

    async def open_group(self, name: str) -> bool:
        """Undo `close_group`, or what a handler's RateLimited has closed. False if it was not closed."""
        return await self.run(calls.open_group(check_name(name, "group")))

    def open_group_sync(self, name: str) -> bool:
        """As `open_group`, blocking."""
        return self.run_sync(calls.open_group(check_name(name, "group")))

    async def groups(self) -> list[dict[str, Any]]:
        """Every limit and every group whose tasks were claimed: rows of `howdah.groups`."""
        return await self.run(calls.groups())

    def groups_sync(self) -> list[dict[str, Any]]:
        """As `groups`, blocking."""
        return self.run_sync(calls.groups())

    async def set_queue(
        self, queue: str, *, running: int | None = None, fair: bool | None = None, ageing: Duration | None = None
    ) -> None:
        """How a queue is worked in the whole fleet, from now on. What is None stays as it is.

        running  at most so many of its tasks run at once; 0: no limit
        fair     its groups take turns within a priority; else the oldest task is first
        ageing   a task counts one priority higher for each such time that it has waited; 0: never

        Raises InvalidOption that names the option.
        """
        await self.run(_set_queue(queue, running, fair, ageing))

    def set_queue_sync(
        self, queue: str, *, running: int | None = None, fair: bool | None = None, ageing: Duration | None = None
    ) -> None:
        """As `set_queue`, blocking."""
        self.run_sync(_set_queue(queue, running, fair, ageing))


def _set_limit(name: str, running: int | None, rate: str | None, burst: float | None) -> calls.Call[None]:
    Limit.checked(name, None if _is_none(running) else running, None if rate == "none" else rate, burst)
    return calls.set_limit(name, running, rate, burst)


def _is_none(running: int | None) -> bool:
    """0, and not False: the limit is to be taken away."""
    return running == 0 and type(running) is int


def _close(name: str, length: Duration | None, reason: str | None) -> calls.Call[None]:
    known = optional_duration(length, "length")
    if known is not None and not known:
        raise InvalidOption("length must be longer than nothing", hint="Leave it out for until it is opened")
    return calls.close_group(check_name(name, "group"), known, reason)


def _set_queue(queue: str, running: int | None, fair: bool | None, ageing: Duration | None) -> calls.Call[None]:
    length = optional_duration(ageing, "ageing")
    QueueRules.checked(queue, None if _is_none(running) else running, False if fair is None else fair, length or None)
    return calls.set_queue(queue, running, fair, length)
