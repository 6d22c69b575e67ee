"""Asking: when a poller may ask, for how much, and what of the answer counts. No loop and no store of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Generic, TypeVar

from howdah.backoff import Backoff
from howdah.durations import Duration, duration
from howdah.errors import InvalidOption, shown
from howdah.poller.calling import called, called_aside, check_function
from howdah.poller.errors import DuplicateInstruction, InvalidInstruction, InvalidResult
from howdah.poller.instructions import instruction_key

T = TypeVar("T")

# Soon while there is work, and never longer than a person would wait for the first of it; jitter parts the processes.
DELAY = Backoff("100ms", factor=2, max="10s", jitter=0.1)


@dataclass(frozen=True)
class Poll(Generic[T]):
    """What a poll function is told.

    `active` are the instructions that are live now, `limit` the most it may return, `attempt` how many polls in a row
    have produced nothing before this one.
    """

    name: str
    active: list[T]
    concurrency: int
    limit: int
    attempt: int


@dataclass(frozen=True)
class Asked(Generic[T]):
    """What came of a poll: the instructions to do, and what was wrong. A poll can have both."""

    instructions: list[T] = field(default_factory=list[T])
    errors: list[Exception] = field(default_factory=list[Exception])


PollFunction = Callable[[Poll[T]], Sequence[T] | Awaitable[Sequence[T]]]
DelayFunction = Callable[[int], Duration | Awaitable[Duration]]
LimitFunction = Callable[[int, int], int | Awaitable[int]]


class Asking(Generic[T]):
    """The rules of one poller, checked; whoever has a loop, or one attempt of a task, asks with them.

    name         1 to 200 characters
    concurrency  how many of its instructions may be live at once
    delay        the rest between two polls: a duration, a Backoff, or a function (sync or async) of the attempt
    limit        the most one poll may return: a number, or a function (sync or async) of (concurrency, how many are
                 active). Never more than there is room for, at least 1; without it, all there is room for

    Raises InvalidOption, naming the option.

    >>> asking = Asking("send_user_email", concurrency=3, delay=Backoff("1s"), limit=2)
    >>> asking.room(1), asking.room(3)
    (2, 0)
    """

    def __init__(
        self,
        name: str,
        *,
        concurrency: int = 1,
        delay: Duration | Backoff | DelayFunction = DELAY,
        limit: int | LimitFunction | None = None,
    ) -> None:
        if not isinstance(name, str) or not 1 <= len(name) <= 200:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidOption(f"name must be text of 1 to 200 characters, not {shown(name)}")
        if not _whole(concurrency) or concurrency < 1:
            raise InvalidOption(f"concurrency must be a whole number from 1, not {shown(concurrency)}")
        self.name = name
        self.concurrency = concurrency
        self._delay = _check_delay(delay)
        self._limit = _check_limit(limit)

    def room(self, active_count: int) -> int:
        """How many more instructions may be live; with none, do not ask."""
        return max(0, self.concurrency - active_count)

    async def delay_after(self, attempt: int) -> timedelta:
        """How long to rest when the last `attempt` polls produced nothing. Raises what the delay function raises, or InvalidResult."""
        if isinstance(self._delay, timedelta):
            return self._delay
        given = await called(f"the delay function of poller {self.name!r}", self._delay, attempt)
        try:
            return duration(given, "it")
        except InvalidOption as error:
            raise InvalidResult(
                f"the delay function of poller {self.name!r} returned no length of time: {error}"
            ) from error

    async def ask(self, poll: PollFunction[T], active: Sequence[T], attempt: int) -> Asked[T]:
        """Call the poll function once; everything that goes wrong is in the answer. Without room it is not called."""
        room = self.room(len(active))
        if room == 0:
            return Asked()
        try:
            live = self._keys_of_active(active)
            limit = await self._limit_within(room, len(active))
            asked = Poll(self.name, list(active), self.concurrency, limit, attempt)
            result = await called_aside(f"the poll function of poller {self.name!r}", poll, asked)
            return self._sorted_out(result, limit, live)
        except Exception as error:
            return Asked(errors=[error])

    def _keys_of_active(self, active: Sequence[Any]) -> set[str]:
        try:
            return {instruction_key(instruction) for instruction in active}
        except InvalidInstruction as error:
            raise InvalidResult(f"among what is active for poller {self.name!r}: {error}") from error

    async def _limit_within(self, room: int, active_count: int) -> int:
        if self._limit is None:
            return room
        limit = self._limit
        if not isinstance(limit, int):
            what = f"the limit function of poller {self.name!r}"
            limit = await called(what, limit, self.concurrency, active_count)
            if not _whole(limit):
                raise InvalidResult(f"{what} returned {shown(limit)}, not a whole number")
        return min(max(1, limit), room)

    def _sorted_out(self, result: Any, limit: int, live: set[str]) -> Asked[T]:
        if not isinstance(result, (list, tuple)):
            raise InvalidResult(
                f"the poll function of poller {self.name!r} returned {shown(result)}, not a list",
                hint="Return a list of instructions, an empty one when there is nothing to do",
            )
        given: list[T] = list(result)  # pyright: ignore[reportUnknownArgumentType]
        if len(given) > limit:
            raise InvalidResult(
                f"the poll function of poller {self.name!r} returned {len(given):,} instructions with a limit of "
                f"{limit:,}: none was taken",
                hint="Return at most poll.limit",
            )
        asked, seen = Asked[T](), set[str]()
        for instruction in given:
            try:
                key = instruction_key(instruction)
                self._check_new(instruction, key, live, seen)
            except (InvalidInstruction, DuplicateInstruction) as error:
                asked.errors.append(error)
            else:
                seen.add(key)
                asked.instructions.append(instruction)
        return asked

    def _check_new(self, instruction: T, key: str, live: set[str], seen: set[str]) -> None:
        if key in live or key in seen:
            where = "is active already" if key in live else "is twice in one result"
            raise DuplicateInstruction(
                f"instruction {shown(instruction)} of poller {self.name!r} {where}: it was not taken again",
                hint="Leave out what poll.active has, or mark in your store what a poll returns",
                instruction=instruction,
            )


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_delay(delay: Any) -> timedelta | DelayFunction:
    return check_function(delay, "delay", ("attempt",)) if callable(delay) else duration(delay, "delay")


def _check_limit(limit: Any) -> int | LimitFunction | None:
    if limit is None or callable(limit):
        return limit and check_function(limit, "limit", ("concurrency", "active"))
    if not _whole(limit) or limit < 1:
        raise InvalidOption(f"limit must be a whole number from 1, or a function, not {shown(limit)}")
    return limit
