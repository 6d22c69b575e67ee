"""Alerts: a task of the user's that is told when a colour of health changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from howdah.client import Client
from howdah.durations import Duration
from howdah.kinds.alert import Alert

T = TypeVar("T")


class Alerts(Client):
    """Part of App."""

    def on_health(self, *, each: bool = False, hold: Duration = "30s", every: Duration = "15s") -> Callable[[T], T]:
        """Have a task enqueued when the colour of `health()` changes, once in the whole fleet. Goes above @app.task().

        each   also for the colour of each kind, queue, schedule and so on; without it only for the overall one
        hold   a colour that does not last so long is not told
        every  how often some worker looks

        It is given scope, name, colour, before and reason; of the overall colour scope and name are "all". Raises InvalidOption.

        >>> @app.on_health(each=True)                      # doctest: +SKIP
        ... @app.task(queue="alerts")
        ... async def tell(scope: str, name: str, colour: str, before: str, reason: str) -> None: ...
        """

        def declare(task: T) -> T:
            self.registry.alerts.append(Alert.of(task, each=each, hold=hold, every=every))
            return task

        return declare
