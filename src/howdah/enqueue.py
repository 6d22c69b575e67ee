"""Options of an enqueue, and the verbs bound to them: `welcome.using(delay="1h").enqueue(42)`."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    Literal,
    Never,
    ParamSpec,
    Protocol,
    TypedDict,
    TypeVarTuple,
    Unpack,
    cast,
    overload,
)

from howdah import calls
from howdah.calls import Call, NewTask
from howdah.db import borrowed
from howdah.durations import Duration, optional_duration
from howdah.errors import InvalidOption, InvalidPayload, UnknownKind, shown
from howdah.kinds.registry import Defaults
from howdah.payload import plain_json
from howdah.task import Task

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
OnConflict = Literal["return", "raise", "skip", "replace"]
Item = tuple[Any, ...] | Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Options:
    """How a task is enqueued, checked. None means: what the kind says."""

    delay: timedelta | None = None
    at: datetime | None = None
    queue: str | None = None
    priority: int | None = None
    key: str | None = None
    on_conflict: OnConflict = "return"
    connection: Any = None


_OPTIONS = tuple(field.name for field in fields(Options))


class Given(TypedDict, total=False):
    """What `using` takes, other than on_conflict."""

    delay: Duration | None
    at: datetime | None
    queue: str | None
    priority: int | None
    key: str | None
    connection: Any


def options(**given: Any) -> Options:
    """Check what was given to `using`. Raises InvalidOption that names the option."""
    for name in given:
        if name not in _OPTIONS:
            close = difflib.get_close_matches(name, _OPTIONS, n=1)
            raise InvalidOption(
                f"using() has no option {name!r}",
                hint=f"Did you mean {close[0]}?" if close else f"It takes {', '.join(_OPTIONS)}",
            )
    delay, at, queue, priority, key = map(given.get, ("delay", "at", "queue", "priority", "key"))
    on_conflict, connection = given.get("on_conflict", "return"), given.get("connection")
    if delay is not None and at is not None:
        raise InvalidOption("delay and at were both given", hint="Give one of them")
    if at is not None and (not isinstance(at, datetime) or at.utcoffset() is None):
        what = f"the naive {at.isoformat(' ')}" if isinstance(at, datetime) else shown(at)
        raise InvalidOption(
            f"at must be a datetime with a time zone, not {what}", hint="Write datetime.now(UTC) + …, or use delay="
        )
    if on_conflict not in ("return", "raise", "skip", "replace"):
        raise InvalidOption(f'on_conflict must be "return", "raise", "skip" or "replace", not {shown(on_conflict)}')
    if connection is not None:
        borrowed.family(connection)
    return Options(
        delay=optional_duration(delay, "delay"),
        at=at,
        queue=None if queue is None else check_name(queue, "queue"),
        priority=None if priority is None else check_priority(priority),
        key=None if key is None else check_name(key, "key", 500),
        on_conflict=on_conflict,
        connection=connection,
    )


def check_name(value: Any, what: str, longest: int = 200) -> str:
    """A name of a queue, kind or key. Raises InvalidOption."""
    if not isinstance(value, str) or not 1 <= len(value) <= longest:
        raise InvalidOption(f"{what} must be text of 1 to {longest} characters, not {shown(value)}")
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise InvalidOption(f"{what} holds a character that PostgreSQL cannot store: {shown(value)}")
    return value


def check_priority(value: Any) -> int:
    """A priority. Raises InvalidOption."""
    if isinstance(value, bool) or not isinstance(value, int) or not -(2**31) <= value < 2**31:
        raise InvalidOption(f"priority must be a whole number of 32 bits, not {shown(value)}")
    return value


def _new_task(kind: str, payload: str, chosen: Options, defaults: Defaults | None) -> NewTask:
    if defaults is None:
        return NewTask(
            kind,
            payload,
            queue=chosen.queue,
            priority=chosen.priority,
            delay=chosen.delay,
            run_at=chosen.at,
            key=chosen.key,
            on_conflict=chosen.on_conflict,
        )
    delay = chosen.delay if chosen.delay is not None or chosen.at is not None else defaults.delay
    return NewTask(
        kind,
        payload,
        queue=chosen.queue if chosen.queue is not None else defaults.queue,
        priority=chosen.priority if chosen.priority is not None else defaults.priority,
        delay=delay,
        run_at=chosen.at,
        key=chosen.key,
        on_conflict=chosen.on_conflict,
    )


class Bound(Generic[P, R, E]):
    """A kind with options, ready to enqueue."""

    def __init__(self, client: Client, kind: FunctionKind[P, R], chosen: Options) -> None:
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
        ids = await self._client.copy(new, payloads, self._chosen.connection) if payloads else []
        return [Task(self._client, task_id, self._kind.name) for task_id in ids]

    def enqueue_many_sync(self, items: Iterable[Item]) -> list[Task[R]]:
        """As `enqueue_many`, blocking."""
        new, payloads = self._many(items)
        ids = self._client.copy_sync(new, payloads, self._chosen.connection) if payloads else []
        return [Task(self._client, task_id, self._kind.name) for task_id in ids]

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call[int | None]:
        payload = self._kind.encode(args, kwargs)
        new = _new_task(self._kind.name, payload, self._chosen, self._kind.defaults)
        return calls.enqueue(new, defaults_known=True)

    def _many(self, items: Iterable[Item]) -> tuple[NewTask, list[str]]:
        if self._chosen.key is not None:
            raise InvalidOption(
                "key cannot be given to enqueue_many: a key is for one task", hint="Enqueue them one by one"
            )
        if not isinstance(items, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidPayload(
                f"{self._kind.name}: enqueue_many takes many tuples or mappings of arguments, not {shown(items)}"
            )
        return _new_task(self._kind.name, "", self._chosen, self._kind.defaults), self._kind.encode_many(items)

    def _task(self, task_id: int | None) -> E:
        task: Task[R] | None = None if task_id is None else Task(self._client, task_id, self._kind.name)
        return cast("E", task)  # None only with on_conflict="skip", and then E says so


class TaskFunction(Bound[P, R, Task[R]], Generic[P, R, F]):
    """What `@app.task()` makes of a function: call it as before, or enqueue it."""

    def __init__(self, client: Client, kind: FunctionKind[P, R]) -> None:
        super().__init__(client, kind, Options())
        self.name = kind.name
        self.function = kind.function
        self.kind = kind
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
        self, *, on_conflict: Literal["return", "raise", "replace"] = "return", **given: Unpack[Given]
    ) -> Bound[P, R, Task[R]]: ...
    @overload
    def using(self, *, on_conflict: OnConflict, **given: Unpack[Given]) -> Bound[P, R, Task[R] | None]: ...
    def using(self, **given: Any) -> Any:
        """The same kind with other options, for the next enqueue.

        delay        how long to wait first: "1h", seconds, timedelta
        at           when to run: a datetime with a time zone
        queue        another queue
        priority     higher first
        key          unique among live tasks; a second enqueue with the same key …
        on_conflict  … returns that task ("return"), raises KeyConflict ("raise"), returns None ("skip"), or gives that
                     task the new payload and time ("replace")
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
            self, *, on_conflict: Literal["return", "raise", "replace"] = "return", **given: Unpack[Given]
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
            return calls.enqueue(_new_task(kind, payload, self._chosen, None), defaults_known=False)
        payload = handler.encode((), arguments)
        return calls.enqueue(_new_task(kind, payload, self._chosen, handler.defaults), defaults_known=True)

    def _task(self, kind: str, task_id: int | None) -> E:
        task: Task[Any] | None = None if task_id is None else Task(self._client, task_id, kind)
        return cast("E", task)
