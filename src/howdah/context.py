"""What a running step may see and do."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime
from typing import Any, Protocol

import msgspec
from psycopg import AsyncConnection

from howdah.durations import moment_in
from howdah.errors import HowdahError, InvalidOption, shown
from howdah.inbox import EOF, Mail
from howdah.outcomes import CommitHook, Effects
from howdah.payload import DEFAULT_MAX_BYTES, encode_message


class ClaimedTask(msgspec.Struct, array_like=True, frozen=True):
    """A task as the claim brings it, in the order of the SQL function's array.

    `time_left`: seconds until it is to have ended; `late`: what becomes of it then.
    """

    id: int
    epoch: int
    kind: str
    queue: str
    step: str | None
    step_no: int
    attempt: int
    key: str | None
    last_error: str | None
    payload: msgspec.Raw
    parent: int | None = None
    tick: datetime | None = None
    time_left: float | None = None
    late: str | None = None


class Progress(msgspec.Struct, omit_defaults=True):
    """How far a task says it is."""

    done: float
    total: float | None = None
    note: str | None = None


CallHandler = Callable[[Callable[..., Any], dict[str, Any]], Coroutine[Any, Any, Any]]
ReportProgress = Callable[[ClaimedTask, Progress], None]


class Offspring(Protocol):
    """Whoever can make children: their ids before they are written, and their rows."""

    def next_id(self) -> Coroutine[Any, Any, int]: ...
    def born(self, kind: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]: ...
    def beside(self, kind: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]: ...
    def named(self, kind: str, payload: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]: ...


class Context:
    """The task that is running, as its handler sees it.

    It is passed to whatever parameter is annotated `Context`. Every attempt has a new one. `call` is where a handler
    runs that is no coroutine.

    >>> @app.task()                                     # doctest: +SKIP
    ... async def import_file(path: str, ctx: Context) -> None:
    ...     for n, line in enumerate(lines, 1):
    ...         ctx.progress(n, len(lines))
    """

    def __init__(
        self,
        task: ClaimedTask,
        call: CallHandler | None,
        report: ReportProgress,
        *,
        mail: Mail | None = None,
        offspring: Offspring | None = None,
    ) -> None:
        self._task = task
        self._until: float | None = None
        self._deadline: datetime | None = None
        if task.time_left is not None:
            self._until = time.monotonic() + task.time_left
            self._deadline = moment_in(task.time_left)
        self.mail = mail
        self._offspring = offspring
        self._children: list[EOF] | None = None
        self._loop = asyncio.get_running_loop()
        self.effects: Effects | None = None
        self._call = call
        self._report = report
        self._cancelled = False
        self.saw_cancel = False
        self._connection: AsyncConnection[Any] | None = None
        self.hooks: list[CommitHook] = []
        self.afterwards: Callable[[], None] | None = None  # called when the attempt is committed

    @property
    def id(self) -> int:
        """The id of the task."""
        return self._task.id

    @property
    def kind(self) -> str:
        """The name its handler is registered under."""
        return self._task.kind

    @property
    def queue(self) -> str:
        """The queue it was claimed from."""
        return self._task.queue

    @property
    def step(self) -> str | None:
        """Where the task stands; None for a kind of one step."""
        return self._task.step

    @property
    def attempt(self) -> int:
        """The number of this attempt at the current step, from 1."""
        return self._task.attempt

    @property
    def epoch(self) -> int:
        """A number that grows with every claim of this task: a fencing token for systems that take one."""
        return self._task.epoch

    @property
    def key(self) -> str | None:
        """The key the task was enqueued under."""
        return self._task.key

    @property
    def last_error(self) -> str | None:
        """What the attempt before this one failed with."""
        return self._task.last_error

    @property
    def tick(self) -> datetime | None:
        """The time of its schedule that it was fired for; None for a task that no schedule fired."""
        return self._task.tick

    @property
    def deadline(self) -> datetime | None:
        """When the task is to have ended (finish_before), by the clock of this machine; None if it has no such time.

        This attempt is stopped then, unless late="run".
        """
        return self._deadline

    @property
    def idempotency_key(self) -> str:
        """The same text for every attempt of one step, another for every other: pass it to systems that take one."""
        return f"{self.kind}:{self.id}:{self._task.step_no}"

    @property
    def cancelled(self) -> bool:
        """Whether this attempt should stop: it was cancelled, timed out, or its worker is stopping.

        A coroutine gets asyncio.CancelledError as well. A handler in a thread cannot be stopped from outside: look
        here in long loops, and return: what has looked and returns was cancelled.
        """
        self.saw_cancel = self._cancelled
        return self._cancelled

    @property
    def connection(self) -> AsyncConnection[Any]:
        """The transaction this handler runs in; only with `@app.task(transactional=True)`."""
        if self._connection is None:
            raise HowdahError(
                f"{self.kind} has no connection of the transition",
                hint="Declare it with @app.task(transactional=True), or use ctx.on_commit(function)",
            )
        return self._connection

    def progress(self, done: float, total: float | None = None, note: str | None = None) -> None:
        """Say how far the task is. Cheap: the last word is written about twice a second. Works in threads too."""
        self._report(self._task, Progress(done, total, note))

    def on_commit(self, function: CommitHook) -> CommitHook:
        """Have `await function(connection)` run inside the transaction that ends this attempt.

        `connection` is a psycopg AsyncConnection. What it writes commits with the transition or not at all: not when
        the attempt fails, and not when the lease was lost. If it raises, the attempt counts as failed. Usable as a
        decorator. Raises InvalidOption if `function` is not a coroutine function.
        """
        if not inspect.iscoroutinefunction(function):
            raise InvalidOption(f"on_commit takes an async function of one argument, not {function!r}")
        self.hooks.append(function)
        return function

    # ── children and messages: effects, which commit with the transition of this attempt or not at all ──

    @property
    def parent(self) -> int | None:
        """The id of the task that spawned this one."""
        return self._task.parent

    @property
    def children(self) -> list[EOF]:
        """After `Join`: how the children that were spawned before ended, in the order of their ids.

        Those that one attempt spawned have ids in the order in which it spawned them. Who looks here has read it: at the next
        step, after Again or Join, only what came since is here.
        """
        if self._children is None:
            letters = self.mail.letters if self.mail else []
            # Of a child that was parked, resumed and ended there are two: the last word counts.
            ends = {letter.sender: letter.eof() for letter in letters if letter.type == "eof"}
            self._children = sorted(ends.values(), key=lambda end: end.task_id)
        return self._children

    async def spawn(self, kind: Any, /, *args: Any, **kwargs: Any) -> int:
        """Make a child, and have its id at once; it is written, and begins, when this attempt commits.

        `kind` is what `@app.task`, `@app.actor` or `app.machine` made, perhaps with options (`welcome.using(delay="1h")`),
        or a name. What follows is what the child is given: a function its arguments, a machine its first step, an actor
        its first message (and its state by name). Its end is told to this task: as EOF to an actor, in `ctx.children`
        after a Join. Raises InvalidPayload, UnknownKind, and InvalidOption with executor="process".
        """
        offspring = self._may_have_effects("spawn")
        row = offspring.born(kind, args, kwargs)
        return self._born(row, await offspring.next_id())

    def spawn_sync(self, kind: Any, /, *args: Any, **kwargs: Any) -> int:
        """As `spawn`, for plain functions, which run in a thread. Raises HowdahError on a running event loop as well."""
        offspring = self._may_have_effects("spawn")
        row = offspring.born(kind, args, kwargs)
        return self._born(row, self._next_id_sync(offspring, "spawn"))

    def _born(self, row: dict[str, Any], task_id: int) -> int:
        row["id"] = task_id
        self._effects().spawned.append(row)
        return task_id

    async def enqueue(self, kind: Any, /, *args: Any, **kwargs: Any) -> int:
        """Put a task in its queue when this attempt commits, or not at all; returns its id.

        As `spawn`, but it is nobody's child: its end is told to nobody. With `using(key=…, on_conflict="skip")` it is not
        written if the key is taken then; its id is that of no task in this case. Nor can it replace or merge one.
        """
        offspring = self._may_have_effects("enqueue")
        return await self.effect(offspring.beside(kind, args, kwargs))

    def enqueue_sync(self, kind: Any, /, *args: Any, **kwargs: Any) -> int:
        """As `enqueue`, for plain functions, which run in a thread. Raises HowdahError on a running event loop as well."""
        offspring = self._may_have_effects("enqueue")
        row = offspring.beside(kind, args, kwargs)
        return self._beside(row, self._next_id_sync(offspring, "enqueue"))

    async def enqueue_named(self, kind: str, payload: Mapping[str, Any], **given: Any) -> int:
        """As `enqueue`, with the payload as it is stored and the options of `using`: for programs that read both from somewhere.

        Raises InvalidPayload, InvalidOption; UnknownKind when the attempt commits, if nobody knows the kind.
        """
        return await self.effect(self._may_have_effects("enqueue").named(kind, payload, given))

    async def effect(self, row: dict[str, Any]) -> int:
        """Have this row written with the transition, as `howdah.spawn` takes it, as nobody's child; returns its id."""
        return self._beside(row, await self._may_have_effects("enqueue").next_id())

    def _beside(self, row: dict[str, Any], task_id: int) -> int:
        row["id"] = task_id
        self._effects().enqueued.append(row)
        return task_id

    def _next_id_sync(self, offspring: Offspring, verb: str) -> int:
        if asyncio._get_running_loop() is not None:  # pyright: ignore[reportPrivateUsage]
            raise HowdahError(f"ctx.{verb}_sync would block the running event loop", hint=f"Write: await ctx.{verb}(…)")
        return asyncio.run_coroutine_threadsafe(offspring.next_id(), self._loop).result()

    def send(self, task: Any, message: Any) -> None:
        """Send a message to a task, by its id or Task, when this attempt commits.

        Raises InvalidPayload if JSON cannot hold it. If there is no such task then, or it has ended, or takes no messages,
        the attempt fails with TaskNotFound or WrongStatus, and nothing of it commits.
        """
        self._may_have_effects("send")
        to = getattr(task, "id", task)
        if isinstance(to, bool) or not isinstance(to, int) or not -(2**63) <= to < 2**63:
            raise InvalidOption(f"ctx.send takes the id of a task, a whole number of 64 bits, not {shown(task)}")
        body = encode_message(message, max_bytes=DEFAULT_MAX_BYTES)
        self._effects().sent.append({"to": to, "sender": self.id, "body": msgspec.Raw(body.encode())})

    def reply(self, message: Any) -> None:
        """As `send`, to the parent: the task that spawned this one. Raises HowdahError if there is none."""
        if self._task.parent is None:
            raise HowdahError(f"task {self.id} ({self.kind}) has no parent", hint="Only what was spawned can reply")
        self.send(self._task.parent, message)

    def _may_have_effects(self, verb: str) -> Offspring:
        if self._offspring is None:
            raise InvalidOption(f"ctx.{verb} does not work with executor='process': the transaction is elsewhere")
        return self._offspring

    def _effects(self) -> Effects:
        if self.effects is None:
            self.effects = Effects()
        return self.effects

    @property
    def consumed(self) -> list[int]:
        """The messages that are consumed when this attempt commits: the ends of children, once somebody has looked at them."""
        return (
            [letter.id for letter in self.mail.letters] if self.mail is not None and self._children is not None else []
        )

    # ── for kinds and workers ──

    async def call(self, function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        """Run a handler where its kind wants it: on the loop, in a thread, in a process."""
        if self._call is None:
            return await function(**arguments)
        return await self._call(function, arguments)

    @property
    def time_left(self) -> float | None:
        """Seconds until the deadline, or since: then it is below 0."""
        return None if self._until is None else self._until - time.monotonic()

    def as_it_is_now(self) -> ClaimedTask:
        """The task for who goes on with it: with the time that is left."""
        return self._task if self._until is None else msgspec.structs.replace(self._task, time_left=self.time_left)

    def forget_effects(self) -> None:
        """Neither children nor messages nor hooks."""
        self.effects = None
        self.hooks.clear()
        self.afterwards = None

    def cancel(self) -> None:
        """Make `cancelled` true."""
        self._cancelled = True

    def join(self, connection: AsyncConnection[Any]) -> None:
        """Make `connection` the transaction of this attempt."""
        self._connection = connection
