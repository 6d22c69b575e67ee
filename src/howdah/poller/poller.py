"""Poller: one loop that asks, tells and rests."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar, cast
from weakref import WeakSet

from howdah.backoff import Backoff
from howdah.durations import Duration, duration
from howdah.errors import shown
from howdah.poller.asking import DELAY, Asking, DelayFunction, LimitFunction, PollFunction
from howdah.poller.calling import called_aside, check_function
from howdah.poller.errors import InvalidResult, PollerRunning
from howdah.poller.events import TaskEvent
from howdah.poller.instructions import instruction_key
from howdah.poller.listeners import Listeners, Listening

log = logging.getLogger("howdah.poller")

T = TypeVar("T")
R = TypeVar("R")
ActiveFunction = Callable[[], Sequence[T] | Awaitable[Sequence[T]]]

# A delay of nothing must not take a core.
_SHORTEST_REST = 0.001
_REST_WITHOUT_DELAY = 1.0

# Loops and listeners may stop their poller. Those who do must not wait for each other; everyone else waits for them too.
_inner: WeakSet[asyncio.Task[Any]] = WeakSet()
_inner_stoppers: WeakSet[asyncio.Task[Any]] = WeakSet()


class Poller(Listening[T]):
    """Asks `poll` for instructions while fewer than `concurrency` are live, and tells each one to its listeners.

    name         names it in events and logs
    poll         a function of a Poll; returns a list of at most `poll.limit` instructions, anything JSON can hold
    active       a function; returns the live instructions of your store. Without it, those whose async listeners run
    concurrency  how many instructions may be live at once
    delay        the rest between two polls: a duration ("100ms", seconds, timedelta), a Backoff, or a function of the
                 attempt. The attempt is how many polls in a row produced nothing; a failed one produced nothing
    limit        the most one poll may return: a number, or a function of (concurrency, how many are active); never more
                 than there is room for, at least 1

    Functions are sync or async. `poll` and `active` run in a thread if they are sync; `limit`, `delay` and listeners are
    called on the loop. What goes wrong is an error event and never stops the loop: what they raise, as it is; a result that
    cannot be meant, as InvalidResult, InvalidInstruction or DuplicateInstruction. When the delay cannot be told it is 1 s.
    Raises InvalidOption, naming the option.

    >>> async def main() -> None:
    ...     todo = ["a", "b", "c"]
    ...     done = asyncio.Event()
    ...     poller = Poller("letters", lambda poll: [todo.pop(0) for _ in todo[: poll.limit]], concurrency=2, delay="1ms")
    ...     @poller.on("task")
    ...     async def write(event: TaskEvent[str]) -> None:
    ...         print(event)
    ...         if event.instruction == "c":
    ...             done.set()
    ...     async with poller:
    ...         await done.wait()
    >>> asyncio.run(main())
    TaskEvent(poller='letters', instruction='a')
    TaskEvent(poller='letters', instruction='b')
    TaskEvent(poller='letters', instruction='c')
    """

    def __init__(
        self,
        name: str,
        poll: PollFunction[T],
        *,
        active: ActiveFunction[T] | None = None,
        concurrency: int = 1,
        delay: Duration | Backoff | DelayFunction = DELAY,
        limit: int | LimitFunction | None = None,
    ) -> None:
        self.asking = Asking[T](name, concurrency=concurrency, delay=delay, limit=limit)
        self.attempt = 0
        self._poll: PollFunction[T] = check_function(poll, "poll", ("poll",))
        self._active: ActiveFunction[T] | None = None if active is None else check_function(active, "active")
        self._listeners = Listeners[T](name, began=_inner.add, ended=self._listener_ended)
        self._loop: asyncio.Task[None] | None = None
        self._stopping = False
        self._is_full = False
        self._bell = asyncio.Event()

    @property
    def name(self) -> str:
        return self.asking.name

    @property
    def running(self) -> bool:
        return self._loop is not None and not self._loop.done()

    def _listen(self, event: str, listener: Callable[[Any], Any]) -> None:
        self._listeners.add(event, listener)

    # ── running ──

    async def start(self) -> None:
        """Begin to poll, with attempt 0. Raises PollerRunning if it does already."""
        if self.running:
            raise PollerRunning(
                f"poller {self.name!r} is running already",
                hint="Stop it first; another Poller, with its own name, can run beside it",
            )
        self.attempt, self._stopping = 0, False
        self._loop = asyncio.create_task(self._run(), name=f"poller {self.name}")
        _inner.add(self._loop)

    async def stop(self, *, timeout: Duration | None = None) -> None:
        """Poll no more. Waits for the poll in flight, tells its instructions, and waits for the async listeners.

        What is not over after `timeout` is cancelled, and all of it when the caller is cancelled; a sync function in a
        thread cannot be, its result is dropped. A listener may call this: it does not wait for itself.
        """
        seconds = None if timeout is None else duration(timeout, "timeout").total_seconds()
        self.wind_down()
        me = cast("asyncio.Task[Any]", asyncio.current_task())
        if me in _inner:
            _inner_stoppers.add(me)
        try:
            async with asyncio.timeout(seconds):
                while tasks := self._waited_for(me):
                    await asyncio.wait(tasks)
        except TimeoutError:
            pass
        finally:
            while tasks := self._waited_for(me):
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
            _inner_stoppers.discard(me)

    def wind_down(self) -> None:
        """Poll no more, without waiting for what is under way; `stop` waits."""
        self._stopping = True
        self._bell.set()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        interrupted = error is not None and not isinstance(error, Exception)
        await self.stop(timeout=0 if interrupted else None)

    async def turn(self) -> float:
        """One look, one poll if there is room, and its events; returns how many seconds to rest. For tests and own loops."""
        self._bell = asyncio.Event()
        self._is_full = False
        try:
            active = await self._live()
            self._is_full = not self.asking.room(len(active))
            if not self._is_full:
                await self._ask(active)
        except Exception as error:
            self.attempt += 1
            self._listeners.tell_error(error)
        try:
            return (await self.asking.delay_after(self.attempt)).total_seconds()
        except Exception as error:
            self._listeners.tell_error(error)
            return _REST_WITHOUT_DELAY

    async def _run(self) -> None:
        try:
            while not self._stopping:
                await self._rest(await self.turn())
        finally:
            if not self._stopping:  # Cancelled from outside, as at the end of asyncio.run: nothing stays behind.
                for listener in self._listeners.at_work:
                    listener.cancel()

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(max(seconds, _SHORTEST_REST)):
                await self._bell.wait()
        except TimeoutError:
            pass

    async def _live(self) -> Sequence[T]:
        if self._active is None:
            doing = [event.instruction for event in self._listeners.at_work.values() if isinstance(event, TaskEvent)]
            return list({instruction_key(instruction): instruction for instruction in doing}.values())
        active: Any = await called_aside(f"the active function of poller {self.name!r}", self._active)
        if not isinstance(active, (list, tuple)):
            raise InvalidResult(
                f"the active function of poller {self.name!r} returned {shown(active)}, not a list",
                hint="Return a list of the live instructions",
            )
        return cast("Sequence[T]", active)

    async def _ask(self, active: Sequence[T]) -> None:
        asked = await self.asking.ask(self._poll, active, self.attempt)
        self.attempt = 0 if asked.instructions else self.attempt + 1
        for error in asked.errors:
            self._listeners.tell_error(error)
        for instruction in asked.instructions:
            self._listeners.tell(TaskEvent(self.name, instruction))

    def _listener_ended(self) -> None:
        if self._is_full and self._active is None:
            self._bell.set()

    def _waited_for(self, me: asyncio.Task[Any]) -> set[asyncio.Task[Any]]:
        """What still runs, as far as this stopper waits for it."""
        tasks = {task for task in (self._loop, *self._listeners.at_work) if task is not None and not task.done()}
        return tasks - set(_inner_stoppers) if me in _inner else tasks

    def __repr__(self) -> str:
        return f"Poller({self.name!r}, concurrency={self.asking.concurrency})"
