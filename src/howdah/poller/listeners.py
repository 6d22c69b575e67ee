"""Listeners: who is told what a poller did."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Generic, Literal, TypeVar, overload

from howdah.poller.calling import check_function, finished
from howdah.poller.events import ErrorEvent, TaskEvent, check_event

log = logging.getLogger("howdah.poller")

T = TypeVar("T")
R = TypeVar("R")


class Listening(Generic[T]):
    """What can be listened to: one poller, or several."""

    @overload
    def on(self, event: Literal["task"], listener: Callable[[TaskEvent[T]], R]) -> Callable[[TaskEvent[T]], R]: ...
    @overload
    def on(self, event: Literal["error"], listener: Callable[[ErrorEvent], R]) -> Callable[[ErrorEvent], R]: ...
    @overload
    def on(self, event: Literal["task"]) -> Callable[[Callable[[TaskEvent[T]], R]], Callable[[TaskEvent[T]], R]]: ...
    @overload
    def on(self, event: Literal["error"]) -> Callable[[Callable[[ErrorEvent], R]], Callable[[ErrorEvent], R]]: ...
    def on(self, event: str, listener: Callable[[Any], Any] | None = None) -> Any:
        """Call `listener` for every event of this name, in the order they were given; returns it. Also a decorator.

        "task" brings a TaskEvent for each instruction, "error" an ErrorEvent for what went wrong. A sync listener runs on
        the loop: keep it short. An async one runs as a task. One that raises is an error event, one for errors that raises
        is logged as `howdah.poller`. Raises InvalidOption for another name, and for what cannot be called with one event.
        """
        check_event(event)

        def add(listener: Callable[[Any], Any]) -> Callable[[Any], Any]:
            self._listen(event, check_function(listener, "listener", ("event",)))
            return listener

        return add if listener is None else add(listener)

    def _listen(self, event: str, listener: Callable[[Any], Any]) -> None:
        raise NotImplementedError


class Listeners(Generic[T]):
    """The listeners of one poller. `at_work` are the async ones that run, with what they were told.

    `began` is called with the task of each that begins, `ended` when one has ended.
    """

    def __init__(
        self,
        poller: str,
        *,
        began: Callable[[asyncio.Task[None]], None] = lambda task: None,
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        self._poller = poller
        self._began = began
        self._ended = ended
        self._by_event: dict[str, list[Callable[[Any], Any]]] = {"task": [], "error": []}
        self.at_work: dict[asyncio.Task[None], TaskEvent[T] | ErrorEvent] = {}

    def add(self, event: str, listener: Callable[[Any], Any]) -> None:
        self._by_event[event].append(listener)

    def tell_error(self, error: Exception) -> None:
        """As an event; without a listener for errors, in the log."""
        if not self._by_event["error"]:
            log.error("poller %s: %s", self._poller, error, exc_info=error)
        self.tell(ErrorEvent(self._poller, error))

    def tell(self, event: TaskEvent[T] | ErrorEvent) -> None:
        for listener in self._by_event["task" if isinstance(event, TaskEvent) else "error"]:
            try:
                result = listener(event)
            except Exception as error:
                self._failed(event, error)
            else:
                if inspect.isawaitable(result):
                    task = asyncio.create_task(self._finish(result, event))
                    self.at_work[task] = event
                    self._began(task)
                    task.add_done_callback(self._done)

    async def _finish(self, result: Awaitable[Any], event: TaskEvent[T] | ErrorEvent) -> None:
        try:
            await finished(f"a listener of poller {self._poller!r}", result)
        except Exception as error:
            self._failed(event, error)

    def _done(self, task: asyncio.Task[None]) -> None:
        del self.at_work[task]
        self._ended()

    def _failed(self, event: TaskEvent[T] | ErrorEvent, error: Exception) -> None:
        if isinstance(event, TaskEvent):
            self.tell_error(error)
        else:  # Telling it as an error again would never end.
            log.error("a listener for errors of poller %s failed: %s", self._poller, error, exc_info=error)
