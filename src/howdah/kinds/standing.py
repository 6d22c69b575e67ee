"""Tasks that never end: pollers, and the sources and collectors of pipelines."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, Self, TypeVar

from howdah.backoff import Retry
from howdah.calls import NewTask
from howdah.context import ClaimedTask, Context
from howdah.errors import HowdahError, InvalidOption
from howdah.kinds import ending
from howdah.kinds.registry import Beginning, Defaults, Executor, row
from howdah.outcomes import Transition
from howdah.payload import plain_json

R = TypeVar("R")

# Before what they bring: a long line must not keep them from looking.
_PRIORITY = 1000
# More than for a task that ends: workers are killed again and again while it lives. One that kills its worker is parked still.
_LOST = 10
# A database that has no connection left ends none of them.
_RETRY = Retry(1_000_000, delay="1s", max="1m")


class StandingKind:
    """A kind of one task under one key, which each worker makes sure is there. Handler and kind in one: it has no steps.

    `limit` is the time that one look may take. It is kept here, and not by the attempt: a look that is too slow is one that
    found nothing, and not a failed attempt of so many.
    """

    executor: Executor = "loop"
    transactional = False
    reads_all = False
    source = ("", "")

    def __init__(self, name: str, *, queue: str, key: str = "", limit: timedelta | None = None) -> None:
        self.name = name
        self.key = key
        self.limit = limit
        self.defaults = Defaults(queue=queue, priority=_PRIORITY, retry=_RETRY, max_lost=_LOST)

    def standing(self) -> NewTask:
        """The one task of it."""
        return NewTask(self.name, "{}", queue=self.defaults.queue, priority=self.defaults.priority, key=self.key)

    async def attempt(self, task: ClaimedTask, ctx: Context) -> Transition:
        """Look, and go on. A second task of the kind is parked: two would look at the same time."""
        if self.key and task.key != self.key:
            return ending.parked(
                HowdahError(f"{self.name} has one task, which its workers make", hint="Cancel this one")
            )
        return await self.look(task, ctx)

    async def look(self, task: ClaimedTask, ctx: Context) -> Transition:
        raise NotImplementedError

    async def within_limit(self, work: Awaitable[R]) -> R:
        """Raises TimedOut."""
        return await ending.within(self.limit, work)

    # ── as a kind ──

    def at(self, step: str | None) -> Self:
        return self

    def handlers(self) -> tuple[Self]:
        return (self,)

    def check(self) -> None:
        pass

    def begin(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Beginning:
        raise InvalidOption(f"{self.name} has one task, which its workers make", hint="Start a worker")

    def born(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Beginning:
        return self.begin(args, kwargs)

    def named(self, step: str | None, fields: Mapping[str, Any]) -> Beginning:
        """For edit: what it remembers."""
        return Beginning(plain_json(dict(fields), self.name), self.defaults)

    def read_result(self, value: Any) -> Any:
        return value

    def row(self) -> dict[str, Any]:
        # The limit is for rescue, where a worker does not stop in time.
        return row(self.name, replace(self.defaults, timeout=self.limit), executor=self.executor)
