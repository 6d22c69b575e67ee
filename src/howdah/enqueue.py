"""Options of an enqueue, and the verbs bound to them: `welcome.using(delay="1h").enqueue(42)`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import replace
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
from howdah.errors import InvalidOption, InvalidPayload, UnknownKind, nearest, shown
from howdah.kinds.registry import Beginning, Defaults, Kind, OnConflict
from howdah.many import Batch, begun_many
from howdah.options import Given, Options, check_name, options
from howdah.payload import plain_json
from howdah.task import Task
from howdah.templates import filled, filled_groups, has_fields

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


def new_task(kind: str, beginning: Beginning, chosen: Options, *, many: bool = False) -> NewTask:
    """The task as its handler's code begins it; of many without the names that differ. Raises InvalidOption, InvalidPayload."""
    if chosen.step not in (None, beginning.step):
        begins = "has no steps" if beginning.step is None else f"begins at {beginning.step}"
        raise InvalidOption(f"{kind}: step={chosen.step!r:.80} was given, and it {begins}", hint="Leave step out")
    defaults = beginning.defaults
    if chosen.unique_for is not None and chosen.key is None and defaults.key is None:
        raise InvalidOption(
            f"{kind}: unique_for was given, and there is no key", hint='Give one: key="welcome:{user_id}"'
        )
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
    if many:
        each = any(map(has_fields, filled_in.group or ()))
        filled_in = replace(filled_in, key=None, group=() if each else filled_in.group)
    timed = chosen.delay is not None or chosen.at is not None
    return _written(kind, beginning.payload, filled_in, timed=timed)


def unknown_task(kind: str, payload: str, chosen: Options) -> NewTask:
    """The task of a kind whose code is not here: what is not chosen is left to the database."""
    return _written(kind, payload, chosen)


def templates_of(chosen: Options, defaults: Defaults) -> tuple[str | None, tuple[str, ...]]:
    """Of what the keys and the groups of many tasks are made. Raises InvalidOption for a key that is for one task."""
    if chosen.key is not None and not has_fields(chosen.key):
        raise InvalidOption(
            f"key cannot be given to enqueue_many without a field in it: {shown(chosen.key)} is for one task",
            hint='Name a field: key="welcome:{user_id}"',
        )
    return _first(chosen.key, defaults.key), _first(chosen.group, defaults.groups)


def _first(chosen: Any, default: Any) -> Any:
    return default if chosen is None else chosen


def _written(kind: str, payload: str, chosen: Options, *, timed: bool = True) -> NewTask:
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
        timed=timed,
    )


class Bound(Generic[P, R, E]):
    """A kind with options, ready to enqueue."""

    def __init__(self, client: Client, kind: Kind, chosen: Options) -> None:
        self._client = client
        self._kind = kind
        self._chosen = chosen
        self._like: tuple[Defaults, str | None, Call[int | None]] | None = None

    async def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> E:
        """Put a task in its queue; the arguments are the handler's. Part of the caller's transaction with `connection=`.

        Raises InvalidPayload if the arguments do not fit, KeyConflict with on_conflict="raise".
        """
        return self._task(await self._client.run(self._call(args, kwargs), self._chosen.connection))

    def enqueue_sync(self, *args: P.args, **kwargs: P.kwargs) -> E:
        """As `enqueue`, blocking."""
        return self._task(self._client.run_sync(self._call(args, kwargs), self._chosen.connection))

    async def enqueue_many(self, items: Iterable[Item]) -> list[Task[R]]:
        """Put many tasks in their queue: all of them or, if one does not fit, none. With COPY, unless they have keys.

        Each item is a tuple of positional arguments or a mapping of named ones. `key` names fields of them:
        using(key="welcome:{user_id}"). The list has a task for each item, in order; where a key is taken, be it by another
        item, that is the task which holds it. With on_conflict="skip" such items are left out; with "raise" none is written.
        Raises InvalidPayload that names the item, InvalidOption for a key without a field, KeyConflict.
        """
        batch = self._batch(items)
        if batch is None:
            return []
        if (call := batch.call()) is not None:
            ids = batch.ids(await self._client.run(call, self._chosen.connection))
        else:
            ids = await self._client.copy(batch.new, batch.payloads, self._chosen.connection)
        return [Task(self._client, task_id, self._kind.name) for task_id in ids]

    def enqueue_many_sync(self, items: Iterable[Item]) -> list[Task[R]]:
        """As `enqueue_many`, blocking."""
        batch = self._batch(items)
        if batch is None:
            return []
        if (call := batch.call()) is not None:
            ids = batch.ids(self._client.run_sync(call, self._chosen.connection))
        else:
            ids = self._client.copy_sync(batch.new, batch.payloads, self._chosen.connection)
        return [Task(self._client, task_id, self._kind.name) for task_id in ids]

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call[int | None]:
        beginning = self._kind.begin(args, kwargs)
        like = self._like
        # Where nothing is made of the payload, it is all that differs from the task before.
        if like is not None and like[0] is beginning.defaults and like[1] == beginning.step:
            call = like[2]
            return Call(call.function, call.types, {**call.args, "payload": beginning.payload}, call.read)
        call = calls.enqueue(new_task(self._kind.name, beginning, self._chosen), defaults_known=True)
        key, groups = (
            _first(self._chosen.key, beginning.defaults.key),
            _first(self._chosen.group, beginning.defaults.groups),
        )
        if not any(map(has_fields, (*([] if key is None else [key]), *(groups or ())))):
            self._like = beginning.defaults, beginning.step, call
        return call

    def _batch(self, items: Iterable[Any]) -> Batch | None:
        first, payloads = begun_many(self._kind, items)
        if first is None:
            return None
        new = new_task(self._kind.name, first, self._chosen, many=True)
        return Batch(new, payloads, *templates_of(self._chosen, first.defaults))

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
    # What the kind says counts here as well, if its code is known.
    wanted = task.on_conflict if known and not child else chosen.on_conflict
    if wanted in ("replace", "merge") and task.key is not None:
        raise InvalidOption(
            f"ctx.enqueue does not {wanted} a task",
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
        ("on_conflict", None if child or wanted == "raise" else "skip"),
        ("unique_for", None if task.unique_for is None else task.unique_for.total_seconds()),
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
        return f"<task {self.kind.signature}>"

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
        key          of one task at a time; {name} stands for an argument. A second enqueue with the same key …
        on_conflict  … returns that task ("return"), raises KeyConflict ("raise"), returns None ("skip"), gives that task
                     the new payload, time and options if it does not run ("replace"), or adds the new fields to its
                     payload, and lists to its lists ("merge"), which keeps its time unless delay or at is given
        unique_for   how long the key stays taken, also when its task has ended: "1h", or "forever"; without it as long as
                     the task is live
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
        close = nearest(kind, self._client.registry.names())
        return UnknownKind(error.message, hint=f"Did you mean {close!r}?" if close else error.hint)

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
