"""Pollers: several that run together."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self, TypeVar

from howdah.durations import Duration, optional_duration
from howdah.errors import InvalidOption, shown
from howdah.poller.errors import PollerRunning
from howdah.poller.listeners import Listening
from howdah.poller.poller import Poller

R = TypeVar("R")


class Pollers(Listening[Any]):
    """Pollers that start and stop together. Raises InvalidOption for two of one name.

    >>> nothing = lambda poll: []
    >>> Pollers(Poller("mails", nothing), Poller("letters", nothing))
    Pollers('mails', 'letters')
    """

    def __init__(self, *pollers: Poller[Any]) -> None:
        self._pollers: dict[str, Poller[Any]] = {}
        self._listeners: list[tuple[Any, Callable[[Any], Any]]] = []
        for poller in pollers:
            self.add(poller)

    def add(self, poller: Poller[Any]) -> None:
        """One more, with the listeners of all. Raises InvalidOption if its name is taken, PollerRunning once they run."""
        if not isinstance(poller, Poller):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidOption(f"poller must be a Poller, not {shown(poller)}")
        if poller.name in self._pollers:
            raise InvalidOption(
                f"two pollers have the name {poller.name!r}", hint="Events tell them apart by their names"
            )
        if any(other.running for other in self._pollers.values()):
            raise PollerRunning(
                f"poller {poller.name!r} comes too late, the others run", hint="Add it before the start"
            )
        self._pollers[poller.name] = poller
        for event, listener in self._listeners:
            poller.on(event, listener)

    def _listen(self, event: str, listener: Callable[[Any], Any]) -> None:
        """To all of them, also those added later."""
        self._listeners.append((event, listener))
        for poller in self._pollers.values():
            poller.on(event, listener)  # pyright: ignore[reportCallIssue, reportArgumentType]

    async def start(self) -> None:
        """Start all. Raises PollerRunning, with none started, if one of them runs already."""
        started: list[Poller[Any]] = []
        try:
            for poller in self._pollers.values():
                await poller.start()
                started.append(poller)
        except PollerRunning:
            await self._stop(started, None)
            raise

    async def stop(self, *, timeout: Duration | None = None) -> None:
        """Stop all at the same time, as `Poller.stop`; they share the `timeout`."""
        limit = optional_duration(timeout, "timeout")
        deadline = None if limit is None else time.monotonic() + limit.total_seconds()
        for poller in self._pollers.values():
            poller.wind_down()
        # One after the other in the task of the caller, which may be a listener: it must not wait for itself.
        await self._stop(list(self._pollers.values()), deadline)

    async def _stop(self, pollers: list[Poller[Any]], deadline: float | None) -> None:
        if not pollers:
            return
        try:
            await pollers[0].stop(timeout=None if deadline is None else max(0, deadline - time.monotonic()))
        except BaseException:
            deadline = 0  # The caller is cancelled: the others are too.
            raise
        finally:
            await self._stop(pollers[1:], deadline)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        interrupted = error is not None and not isinstance(error, Exception)
        await self.stop(timeout=0 if interrupted else None)

    def __repr__(self) -> str:
        return f"Pollers({', '.join(map(repr, self._pollers))})"
