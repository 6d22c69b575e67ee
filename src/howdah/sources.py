"""What makes tasks by itself: schedules, pollers, and alerts of health."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, Unpack

from howdah.backoff import Backoff
from howdah.client import Client
from howdah.durations import Duration
from howdah.errors import InvalidOption
from howdah.kinds.alert import Alert
from howdah.kinds.instructions import AppPoller, Instructions, PollerKind
from howdah.kinds.registry import Defaults
from howdah.kinds.schedule import Schedule, When, kind_of
from howdah.options import check_name, defaults
from howdah.poller.asking import DELAY, Asking, DelayFunction, LimitFunction, PollFunction
from howdah.poller.calling import check_function

T = TypeVar("T")


class Sources(Client):
    """Part of App: the decorators that go above a task, or make tasks of what a function returns."""

    def cron(self, expression: str, *, name: str | None = None, **when: Unpack[When]) -> Callable[[T], T]:
        """Have a task enqueued at each tick of a cron expression, once in the whole fleet. Goes above @app.task().

        expression  five fields, or six with the seconds first, or "@daily" and the like
        name        the schedule's; without it the name of the kind

        The other options are those of `schedule`. What operators did to it (pause) stays over restarts; what the code does
        not declare any more retires. Raises InvalidOption that names the option, InvalidPayload.

        >>> @app.cron("*/33 * * * * *", timezone="Europe/Riga", overlap="skip")     # doctest: +SKIP
        ... @app.task()
        ... async def check(): ...
        """
        return self._declared(name, {**when, "cron": expression})

    def every(self, interval: Duration, *, name: str | None = None, **when: Unpack[When]) -> Callable[[T], T]:
        """As `cron`, every so much time: "10s", seconds, timedelta. Counted from `start`, or from a random moment."""
        return self._declared(name, {**when, "every": interval})

    def _declared(self, name: str | None, when: When) -> Callable[[T], T]:
        def declare(task: T) -> T:
            if isinstance(task, str):
                raise InvalidOption(
                    f"@app.cron goes above a task, not above the text {task!r}", hint="Use app.schedule"
                )
            self.registry.add_schedule(Schedule.of(name, task, when))
            return task

        return declare

    def poller(
        self,
        name: str,
        *,
        into: Any,
        concurrency: int = 1,
        delay: Duration | Backoff | DelayFunction = DELAY,
        limit: int | LimitFunction | None = None,
        queue: str | None = None,
        timeout: Duration | None = None,
        each_worker: bool = False,
    ) -> Callable[[PollFunction[Any]], AppPoller]:
        """Have a function asked again and again for instructions, each of which becomes a task.

        It is called with a Poll (`active`, `limit`, `attempt`) and returns a list, while fewer than `concurrency` of its
        instructions are live: queued, running or suspended. Each becomes one task with the key `name:instruction`, in the
        transaction that ends the poll; an object gives the task its arguments by name, anything else is the first of them.

        name         of the poller; its own task is of kind `poller:name`
        into         the task or actor, or the step of a machine that its tasks begin at
        concurrency  how many of its instructions may be live at once
        delay        the rest between two polls: "100ms", seconds, timedelta, a Backoff, or a function of the attempt, which
                     is how many polls in a row produced nothing
        limit        the most one poll may return: a number, or a function of (concurrency, how many are active)
        queue        where the poller itself waits for a worker; without it where its tasks do
        timeout      the time limit of one poll
        each_worker  every worker asks for itself, and forgets the attempt when it ends; else one in the fleet does

        What is wrong with a result is an error event, in its history too, and does not stop it. Raises InvalidOption.

        >>> @app.poller("send_user_email", into=send_email, concurrency=2)      # doctest: +SKIP
        ... async def due_emails(poll: Poll[int]) -> list[int]: ...
        """
        kind, step = kind_of(into)
        if isinstance(kind, str):
            raise InvalidOption(f"into must be a task, actor or machine, not its name {kind!r}", hint="Import it")
        asking: Asking[Any] = Asking(check_name(name, "name"), concurrency=concurrency, delay=delay, limit=limit)
        said = defaults(Defaults(), queue=kind.defaults.queue if queue is None else queue, timeout=timeout)

        def register(poll: PollFunction[Any]) -> AppPoller:
            check_function(poll, "poll", ("poll",))
            found = PollerKind(
                asking,
                poll,
                Instructions(name, kind, step, self),
                queue=said.queue,
                limit=said.timeout,
                each_worker=each_worker,
            )
            self.registry.add(found)
            if each_worker:
                self.registry.beside.append(found.each_worker)
            else:
                self.registry.standing.append(found.standing())
            return AppPoller(found)

        return register

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
