"""Which kinds of task this program knows, and what each says of itself."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, Protocol

import msgspec

from howdah.backoff import Retry
from howdah.calls import NewTask
from howdah.context import ClaimedTask, Context
from howdah.errors import InvalidOption, UnknownKind
from howdah.outcomes import Transition

Executor = Literal["loop", "thread", "process"]
OnConflict = Literal["return", "raise", "skip", "replace", "merge"]
Late = Literal["drop", "park", "run"]
FOREVER = timedelta(days=365 * 1000)  # how long a key is unique "for good"


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a kind says of its tasks; a task may be enqueued with another queue, priority or time."""

    queue: str = "default"
    priority: int = 0
    delay: timedelta = timedelta(0)
    retry: Retry = Retry()  # noqa: RUF009  (it is never changed)
    max_lost: int = 3
    timeout: timedelta | None = None
    keep: timedelta | None = timedelta(days=7)
    key: str | None = None
    unique_for: timedelta | None = None
    on_conflict: OnConflict = "return"
    groups: tuple[str, ...] = ()
    cost: float | None = None
    start_before: timedelta | None = None
    finish_before: timedelta | None = None
    late: Late = "drop"
    warn: Mapping[str, float] | None = None
    alarm: Mapping[str, float] | None = None


@dataclass(slots=True)
class Beginning:
    """A task of a kind before it is written: `defaults` are those of the step it begins at.

    `message` is the first in its inbox, as JSON text.
    """

    payload: str
    defaults: Defaults
    step: str | None = None
    message: str | None = None


class Handler(Protocol):
    """What the worker runs for a task where it stands. Everything typed is inside.

    `source` is the module and the qualified name under which a child process finds it again.
    `reads_all`: it needs all of its inbox at once, not the oldest part.
    """

    @property
    def name(self) -> str: ...
    @property
    def defaults(self) -> Defaults: ...
    @property
    def executor(self) -> Executor: ...
    @property
    def transactional(self) -> bool: ...
    @property
    def source(self) -> tuple[str, str]: ...
    @property
    def reads_all(self) -> bool: ...
    async def attempt(self, task: ClaimedTask, ctx: Context) -> Transition: ...


class Kind(Protocol):
    """A way to write a task, as client and worker see it."""

    @property
    def name(self) -> str: ...
    @property
    def defaults(self) -> Defaults: ...
    @property
    def executor(self) -> Executor:
        """Where all of it runs: "process" means that it is claimed only when a process is free."""
        ...

    def begin(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Beginning:
        """What enqueue was given, checked. Raises InvalidPayload."""
        ...

    def born(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Beginning:
        """What spawn was given, checked. Raises InvalidPayload."""
        ...

    def named(self, step: str | None, fields: Mapping[str, Any]) -> Beginning:
        """A step and its fields, or the arguments, by name, checked. Raises InvalidPayload, InvalidOption."""
        ...

    def read_result(self, value: Any) -> Any: ...
    def at(self, step: str | None) -> Handler:
        """What runs at this step."""
        ...

    def handlers(self) -> Iterable[Handler]:
        """All that may run."""
        ...

    def check(self) -> None:
        """Look at the whole, before the first task runs. Raises InvalidOption."""
        ...

    def row(self) -> dict[str, Any]:
        """What the database is told of it: the columns of `howdah.kind`."""
        ...


class Declared(Protocol):
    """A schedule that the code declares."""

    @property
    def name(self) -> str: ...
    def row(self) -> dict[str, Any]:
        """What the database is told of it: the columns of `howdah.schedule`."""
        ...


class Told(Protocol):
    """A task that is told when a colour of health changes."""

    @property
    def kind(self) -> str: ...
    @property
    def each(self) -> bool: ...
    @property
    def hold(self) -> timedelta: ...
    @property
    def every(self) -> timedelta: ...


class Rule(Protocol):
    """A limit of a group, or how a queue is worked."""

    @property
    def name(self) -> str: ...
    def row(self) -> dict[str, Any]:
        """What the database is told of it."""
        ...


class Registry:
    """The kinds of one App, by name, and what its workers see to beside them.

    `standing` are tasks that must be there while a worker is, `beside` runs in each worker, `limits` and `queues` say how much
    of a group and of a queue may run in the fleet, `alerts` are told when a colour of health changes, `closing` is called
    when the worker ends.
    """

    def __init__(self) -> None:
        self._kinds: dict[str, Kind] = {}
        self.schedules: dict[str, Declared] = {}
        self.standing: list[NewTask] = []
        self.beside: list[Callable[[], AbstractAsyncContextManager[Any]]] = []
        self.limits: dict[str, Rule] = {}
        self.queues: dict[str, Rule] = {}
        self.alerts: list[Told] = []
        self.closing: list[Callable[[], Coroutine[Any, Any, None]]] = []

    def add(self, kind: Kind) -> None:
        """Raises InvalidOption if the name is taken."""
        if kind.name in self._kinds:
            raise InvalidOption(
                f"two handlers are called {kind.name!r}", hint="Give one of them another name: @app.task(name=…)"
            )
        self._kinds[kind.name] = kind

    def add_schedule(self, schedule: Declared) -> None:
        """Raises InvalidOption if the name is taken."""
        if schedule.name in self.schedules:
            raise InvalidOption(
                f"two schedules are called {schedule.name!r}", hint="Give one of them another name: name=…"
            )
        self.schedules[schedule.name] = schedule

    def add_rule(self, rules: dict[str, Rule], rule: Rule) -> None:
        """A limit of a group, or how a queue is worked. Raises InvalidOption if it is said twice, and otherwise."""
        if rules.get(rule.name, rule) != rule:
            raise InvalidOption(f"two limits of {rule.name!r} are declared", hint="Declare it once")
        rules[rule.name] = rule

    def rules(self) -> tuple[str, str]:
        """The limits of groups and the rules of queues as JSON, for `howdah.declare_limits`."""
        said = [[rule.row() for rule in rules.values()] for rules in (self.limits, self.queues)]
        return msgspec.json.encode(said[0]).decode(), msgspec.json.encode(said[1]).decode()

    def take_all(self, other: Registry) -> None:
        """Everything of another. Raises InvalidOption if a name is taken."""
        for kind in other:
            self.add(kind)
        for schedule in other.schedules.values():
            self.add_schedule(schedule)
        self.standing += other.standing
        self.beside += other.beside
        self.alerts += other.alerts
        for limit in other.limits.values():
            self.add_rule(self.limits, limit)
        for queue in other.queues.values():
            self.add_rule(self.queues, queue)
        self.closing += other.closing

    def get(self, name: str) -> Kind:
        """Raises UnknownKind."""
        kind = self._kinds.get(name)
        if kind is None:
            known = ", ".join(sorted(self._kinds)) or "none"
            raise UnknownKind(
                f"no handler for kind {name!r}; known here: {known}",
                hint="Import its module before starting the worker",
            )
        return kind

    def find(self, name: str) -> Kind | None:
        return self._kinds.get(name)

    def __iter__(self) -> Iterator[Kind]:
        return iter(self._kinds.values())

    def __len__(self) -> int:
        return len(self._kinds)

    def names(self) -> list[str]:
        return sorted(self._kinds)

    def declaration(self) -> str:
        """All kinds as JSON, for `howdah.declare`."""
        return msgspec.json.encode([kind.row() for kind in self]).decode()

    def timetables(self) -> str:
        """All schedules as JSON, for `howdah.declare_schedules`."""
        return msgspec.json.encode([schedule.row() for schedule in self.schedules.values()]).decode()


def row(name: str, defaults: Defaults, **more: Any) -> dict[str, Any]:
    """The columns of `howdah.kind` that Defaults fill."""
    return {"name": name, **rules(defaults), **more, "keep": _seconds(defaults.keep)}


def rules(defaults: Defaults, beside: Defaults | None = None) -> dict[str, Any]:
    """What a kind, or a step beside its kind, says of attempts, as columns of `howdah.kind`."""
    retry = defaults.retry
    found = {
        "queue": defaults.queue,
        "priority": defaults.priority,
        "delay": _seconds(defaults.delay),
        "max_attempts": retry.max_attempts,
        "max_lost": defaults.max_lost,
        "retry_delay": _seconds(retry.delay),
        "retry_factor": retry.factor,
        "retry_max": _seconds(retry.max),
        "strategy": retry.strategy,
        "timeout": _seconds(defaults.timeout),
        "key": defaults.key,
        "unique_for": _seconds(defaults.unique_for),
        "on_conflict": defaults.on_conflict,
        "groups": list(defaults.groups) or None,
        "cost": defaults.cost,
        "start_within": _seconds(defaults.start_before),
        "finish_within": _seconds(defaults.finish_before),
        "late": defaults.late,
        "warn": defaults.warn and dict(defaults.warn),
        "alarm": defaults.alarm and dict(defaults.alarm),
    }
    known = {} if beside is None else rules(beside)
    return {name: value for name, value in found.items() if name not in known or known[name] != value}


def _seconds(length: timedelta | None) -> str | None:
    return None if length is None else f"{length.total_seconds()} seconds"


def executor_of(name: str, function: Any, asked: Executor | None) -> Executor:
    """Where a handler runs. Raises InvalidOption if it cannot run where it was asked to."""
    is_async = inspect.iscoroutinefunction(function)
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise InvalidOption(f"{name} is a generator; a task is a function or an async function")
    if asked not in (None, "loop", "thread", "process"):
        raise InvalidOption(f"{name}: executor must be loop, thread or process, not {asked!r}")
    if asked is None:
        return "loop" if is_async else "thread"
    if asked == "loop" and not is_async:
        raise InvalidOption(
            f"{name}: executor='loop' needs an async function; a plain one would stop the loop for all others"
        )
    if asked != "loop" and is_async:
        raise InvalidOption(f"{name}: executor={asked!r} needs a plain function; an async one runs on the loop")
    return asked
