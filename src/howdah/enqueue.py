"""Options of an enqueue, and the verbs bound to them: `welcome.using(delay="1h").enqueue(42)`."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping
from datetime import datetime, timedelta
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    Literal,
    Never,
    ParamSpec,
    Protocol,
    TypeVarTuple,
    Unpack,
    cast,
    overload,
)

import msgspec

from howdah import calls
from howdah.calls import Call, NewTask
from howdah.errors import InvalidOption, InvalidPayload, UnknownKind, shown
from howdah.kinds.registry import Beginning, Kind, OnConflict
from howdah.options import Given, Options, check_name, options
from howdah.payload import plain_json
from howdah.task import Task
from howdah.templates import filled, filled_groups

if sys.version_info >= (3, 13):
    from typing import TypeVar
else:
    from typing_extensions import TypeVar  # psycopg brings it

if TYPE_CHECKING:
    from howdah.client import Client
    from howdah.kinds.function import FunctionKind

P = ParamSpec("P")
Ts = TypeVarTuple("Ts")
R = TypeVar("R")
E = TypeVar("E", covariant=True)  # what enqueue returns: Task[R], or with on_conflict="skip" Task[R] | None
F = TypeVar("F", default=Callable[..., Any])  # the function itself
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
Item = tuple[Any, ...] | Mapping[str, Any]


def new_task(kind: str, beginning: Beginning, chosen: Options) -> NewTask:
    """The task as its handler's code begins it. Raises InvalidOption, InvalidPayload."""
    if chosen.step not in (None, beginning.step):
        begins = "has no steps" if beginning.step is None else f"begins at {beginning.step}"
        raise InvalidOption(f"{kind}: step={chosen.step!r:.80} was given, and it {begins}", hint="Leave step out")
    defaults = beginning.defaults
    start_before = _first(chosen.start_before, defaults.start_before)
    finish_before = _first(chosen.finish_before, defaults.finish_before)
    in_a_hurry = (start_before, finish_before) != (None, None)
    if chosen.late is not None and not in_a_hurry:
        raise InvalidOption(
            f"{kind}: late was given, and no deadline", hint="Give start_before or finish_before as well"
        )
    filled_in = Options(
        delay=chosen.delay if chosen.delay is not None or chosen.at is not None else defaults.delay,
        at=chosen.at,
        queue=_first(chosen.queue, defaults.queue),
        priority=_first(chosen.priority, defaults.priority),
        key=_first(chosen.key, defaults.key),
        on_conflict=_first(chosen.on_conflict, defaults.on_conflict),
        step=beginning.step,
        group=_first(chosen.group, defaults.groups),
        cost=_first(chosen.cost, defaults.cost),
        unique_for=_first(chosen.unique_for, defaults.unique_for),
        start_before=start_before,
        finish_before=finish_before,
        late=_first(chosen.late, defaults.late) if in_a_hurry else None,
    )
    return _written(kind, beginning.payload, filled_in)


def unknown_task(kind: str, payload: str, chosen: Options) -> NewTask:
    """The task of a kind whose code is not here: what is not chosen is left to the database."""
    return _written(kind, payload, chosen)


def _first(chosen: Any, default: Any) -> Any:
    return default if chosen is None else chosen


def _written(kind: str, payload: str, chosen: Options) -> NewTask:
    ends = chosen.start_before, chosen.finish_before
    moments = [each if isinstance(each, datetime) else None for each in ends]
    lengths = [each if isinstance(each, timedelta) else None for each in ends]
    return NewTask(
        kind,
        payload,
        queue=chosen.queue,
        priority=chosen.priority,
        delay=chosen.delay,
        run_at=chosen.at,
        key=filled(chosen.key, payload, "key"),
        on_conflict=chosen.on_conflict,
        step=chosen.step,
        groups=filled_groups(chosen.group, payload) if chosen.group else None if chosen.group is None else [],
        cost=chosen.cost,
        start_before=moments[0],
        finish_before=moments[1],
        start_within=lengths[0],
        finish_within=lengths[1],
        late=chosen.late,
        unique_for=chosen.unique_for,
    )


def begun_many(kind: Kind, items: Iterable[Any]) -> tuple[Beginning | None, list[str]]:
    """What enqueue_many was given, checked: how all of them begin, and their payloads.

    Raises InvalidPayload that says which item.
    """
    first: Beginning | None = None
    payloads: list[str] = []
    for number, item in enumerate(items):
        try:
            if isinstance(item, Mapping):
                beginning = kind.begin((), cast("Mapping[str, Any]", item))
            elif isinstance(item, tuple):
                beginning = kind.begin(cast("tuple[Any, ...]", item), {})
            else:
                raise InvalidPayload(f"{kind.name}: an item is a tuple or a mapping of arguments, not {item!r:.80}")
            first = first or beginning
            if beginning.step != first.step:
                fault = f"{beginning.step} after {first.step}: many are enqueued at one step"
                raise InvalidPayload(f"{kind.name}: {fault}", hint="Enqueue those of each step by themselves")
        except InvalidPayload as error:
            raise InvalidPayload(f"item {number}: {error.message}", hint=error.hint) from error
        payloads.append(beginning.payload)
    return first, payloads


class Bound(Generic[P, R, E]):
    """A kind with options, ready to enqueue."""

    def __init__(self, client: Client, kind: Kind, chosen: Options) -> None:
        self._client = client
        self._kind = kind
        self._chosen = chosen

    async def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> E:
        """Put a task in its queue; the arguments are the handler's. Part of the caller's transaction with `connection=`.

        Raises InvalidPayload if the arguments do not fit, KeyConflict with on_conflict="raise".
        """
        return self._task(await self._client.run(self._call(args, kwargs), self._chosen.connection))

    def enqueue_sync(self, *args: P.args, **kwargs: P.kwargs) -> E:
        """As `enqueue`, blocking."""
        return self._task(self._client.run_sync(self._call(args, kwargs), self._chosen.connection))

    async def enqueue_many(self, items: Iterable[Item]) -> list[Task[R]]:
        """Put many tasks in their queue, with COPY: all of them or, if one does not fit, none.

        Each item is a tuple of positional arguments or a mapping of named ones. Raises InvalidPayload that names the
        item, InvalidOption with `key`.
        """
        new, payloads = self._many(items)
        ids = [] if new is None else await self._client.copy(new, payloads, self._chosen.connection)
        return [Task(self._client, task_id, self._kind.name) for task_id in ids]

    def enqueue_many_sync(self, items: Iterable[Item]) -> list[Task[R]]:
        """As `enqueue_many`, blocking."""
        new, payloads = self._many(items)
        ids = [] if new is None else self._client.copy_sync(new, payloads, self._chosen.connection)
        return [Task(self._client, task_id, self._kind.name) for task_id in ids]

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call[int | None]:
        return calls.enqueue(
            new_task(self._kind.name, self._kind.begin(args, kwargs), self._chosen), defaults_known=True
        )

    def _many(self, items: Iterable[Any]) -> tuple[NewTask | None, list[str]]:
        if self._chosen.key is not None:
            raise InvalidOption(
                "key cannot be given to enqueue_many: a key is for one task", hint="Enqueue them one by one"
            )
        if not isinstance(items, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidPayload(
                f"{self._kind.name}: enqueue_many takes many tuples or mappings of arguments, not {shown(items)}"
            )
        first, payloads = begun_many(self._kind, items)
        return None if first is None else new_task(self._kind.name, first, self._chosen), payloads

    def newborn(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, child: bool = True) -> dict[str, Any]:
        """A task as `howdah.spawn` takes it, all but its id. Raises InvalidPayload."""
        return newborn(self._kind, self._kind.born(args, kwargs), self._chosen, child=child)

    def _task(self, task_id: int | None) -> E:
        task: Task[R] | None = None if task_id is None else Task(self._client, task_id, self._kind.name)
        return cast("E", task)  # None only with on_conflict="skip", and then E says so


def newborn(kind: Kind, beginning: Beginning, chosen: Options, *, child: bool = True) -> dict[str, Any]:
    """A task as `howdah.spawn` takes it, all but its id. Raises InvalidOption for options that do not go with it."""
    return spawned(new_task(kind.name, beginning, chosen), chosen, message=beginning.message, child=child, known=True)


def spawned(
    task: NewTask, chosen: Options, *, message: str | None = None, child: bool, known: bool = False
) -> dict[str, Any]:
    """A new task, with the options it was made of, as `howdah.spawn` takes it. Raises InvalidOption."""
    if child and (chosen.connection is not None or chosen.on_conflict not in (None, "return", "raise")):
        raise InvalidOption(
            "a child is written in the transaction of its parent, and its key must be free",
            hint="Leave connection= and on_conflict= out",
        )
    if chosen.connection is not None:
        raise InvalidOption("ctx.enqueue writes in the transaction of the attempt", hint="Leave connection= out")
    if chosen.on_conflict in ("replace", "merge"):
        raise InvalidOption(
            f"ctx.enqueue does not {chosen.on_conflict} a task",
            hint='Write on_conflict="skip" or "raise", or use app.enqueue',
        )
    row: dict[str, Any] = {"kind": task.kind, "payload": msgspec.Raw(task.payload.encode())}
    for name, value in (
        ("queue", task.queue),
        ("priority", task.priority),
        ("step", task.step),
        ("key", task.key),
        ("delay", None if task.delay is None else task.delay.total_seconds()),
        ("run_at", task.run_at),
        ("message", message and msgspec.Raw(message.encode())),
        ("on_conflict", None if child or chosen.on_conflict == "raise" else "skip"),
        ("known", known or None),
        ("groups", task.groups),
        ("cost", task.cost),
        ("start_before", task.start_before),
        ("finish_before", task.finish_before),
        ("start_within", None if task.start_within is None else task.start_within.total_seconds()),
        ("finish_within", None if task.finish_within is None else task.finish_within.total_seconds()),
        ("late", task.late),
    ):
        if value is not None:
            row[name] = value
    return row


class TaskFunction(Bound[P, R, Task[R]], Generic[P, R, F]):
    """What `@app.task()` makes of a function: call it as before, or enqueue it."""

    def __init__(self, client: Client, kind: FunctionKind[P, R]) -> None:
        super().__init__(client, kind, Options())
        self.name = kind.name
        self.function = kind.function
        self.kind: FunctionKind[P, R] = kind
        self.__doc__ = kind.function.__doc__
        self.__name__ = getattr(kind.function, "__name__", kind.name)
        self.__module__ = kind.function.__module__
        self.__qualname__ = getattr(kind.function, "__qualname__", kind.name)
        self.__wrapped__ = kind.function

    if TYPE_CHECKING:
        __call__: F
    else:

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            """Call the function itself, here and now: no task."""
            return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<task {self.name}{self.kind.signature}>"

    @overload
    def using(
        self, *, on_conflict: Literal["return", "raise", "replace", "merge"] | None = None, **given: Unpack[Given]
    ) -> Bound[P, R, Task[R]]: ...
    @overload
    def using(self, *, on_conflict: OnConflict, **given: Unpack[Given]) -> Bound[P, R, Task[R] | None]: ...
    def using(self, **given: Any) -> Any:
        """The same kind with other options, for the next enqueue.

        delay        how long to wait first: "1h", seconds, timedelta
        at           when to run: a datetime with a time zone
        queue        another queue
        priority     higher first
        step         by name, where a state machine begins
        key          unique among live tasks; a second enqueue with the same key …
        on_conflict  … returns that task ("return"), raises KeyConflict ("raise"), returns None ("skip"), or gives that
                     task the new payload and time ("replace")
        start_before   when it must have begun, and …
        finish_before  … ended: a length of time from now, or a datetime with a time zone
        late         what becomes of it otherwise: "drop" it, "park" it, "run" it all the same
        connection   your own connection, of psycopg, asyncpg, SQLAlchemy or Django: the task is part of your transaction,
                     which an error here leaves to be rolled back, as any error of SQL does

        Raises InvalidOption. Returns an object with `enqueue`, `enqueue_many` and their `_sync` twins.

        >>> await welcome.using(delay="1h", key="welcome:42").enqueue(42)     # doctest: +SKIP
        """
        return Bound[P, R, Any](self._client, self._kind, options(**given))


if TYPE_CHECKING:
    # For type checkers alone: a handler whose last positional parameter is the Context. A ParamSpec can lose its first
    # parameter but not its last, so callers get positions without names: positional arguments are checked, keywords are
    # let through.

    class Positional(Protocol[E, *Ts]):
        """The arguments of the handler, without its Context."""

        @overload
        def __call__(self, *args: *Ts) -> E: ...
        @overload
        def __call__(self, **kwargs: Any) -> E: ...
        @overload
        def __call__(self: Positional[E, A, B, *tuple[Any, ...]], a: A, /, **kwargs: Any) -> E: ...
        @overload
        def __call__(self: Positional[E, A, B, C, *tuple[Any, ...]], a: A, b: B, /, **kwargs: Any) -> E: ...

    class ContextLastBound(Bound[..., R, E], Generic[R, E, *Ts]):
        enqueue: Positional[Coroutine[Any, Any, E], *Ts]  # pyright: ignore[reportIncompatibleMethodOverride]
        enqueue_sync: Positional[E, *Ts]  # pyright: ignore[reportIncompatibleMethodOverride]

    G = TypeVar("G")

    class ContextLast(TaskFunction[..., R, G], Generic[R, G, *Ts]):
        enqueue: Positional[Coroutine[Any, Any, Task[R]], *Ts]  # pyright: ignore[reportIncompatibleMethodOverride]
        enqueue_sync: Positional[Task[R], *Ts]  # pyright: ignore[reportIncompatibleMethodOverride]

        @overload
        def using(
            self, *, on_conflict: Literal["return", "raise", "replace", "merge"] | None = None, **given: Unpack[Given]
        ) -> ContextLastBound[R, Task[R], *Ts]: ...
        @overload
        def using(
            self, *, on_conflict: OnConflict, **given: Unpack[Given]
        ) -> ContextLastBound[R, Task[R] | None, *Ts]: ...
        def using(self, **given: Any) -> Any: ...


class ByName(Generic[E]):
    """Options for kinds by name, with or without their code: `app.using(delay="1h").enqueue("welcome", user_id=42)`."""

    def __init__(self, client: Client, chosen: Options) -> None:
        self._client = client
        self._chosen = chosen

    async def enqueue(self, kind: str, /, *unnamed: Never, **arguments: Any) -> E:
        """Put a task in its queue by the name of its kind.

        If the handler is known here, the arguments are checked against it; else the kind must be known to the database,
        and the worker checks them. Raises UnknownKind, InvalidPayload.
        """
        call = self._call(kind, unnamed, arguments)
        try:
            return self._task(kind, await self._client.run(call, self._chosen.connection))
        except UnknownKind as error:
            raise self._nearly(kind, error) from error

    def enqueue_sync(self, kind: str, /, *unnamed: Never, **arguments: Any) -> E:
        """As `enqueue`, blocking."""
        call = self._call(kind, unnamed, arguments)
        try:
            return self._task(kind, self._client.run_sync(call, self._chosen.connection))
        except UnknownKind as error:
            raise self._nearly(kind, error) from error

    def _nearly(self, kind: str, error: UnknownKind) -> UnknownKind:
        close = difflib.get_close_matches(kind, self._client.registry.names(), n=1)
        return UnknownKind(error.message, hint=f"Did you mean {close[0]!r}?" if close else error.hint)

    def _call(self, kind: str, unnamed: tuple[Any, ...], arguments: dict[str, Any]) -> Call[int | None]:
        check_name(kind, "kind")
        if unnamed:
            raise InvalidPayload(
                f"{kind}: enqueued by name, a task takes its arguments by name, not {shown(unnamed[0])}",
                hint=f'Write enqueue("{kind}", user_id=42)',
            )
        handler = self._client.registry.find(kind)
        if handler is None:
            try:
                payload = plain_json(arguments, "payload", max_bytes=self._client.max_payload)
            except InvalidPayload as error:
                raise InvalidPayload(f"{kind}: {error.message}", hint=error.hint) from error
            return calls.enqueue(unknown_task(kind, payload, self._chosen), defaults_known=False)
        beginning = handler.named(self._chosen.step, arguments)
        return calls.enqueue(new_task(kind, beginning, self._chosen), defaults_known=True)

    def _task(self, kind: str, task_id: int | None) -> E:
        task: Task[Any] | None = None if task_id is None else Task(self._client, task_id, kind)
        return cast("E", task)
