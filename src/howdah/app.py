"""App: the handlers of a program, the client to enqueue them, and the worker to run them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar, overload

from howdah.backoff import Retry
from howdah.client import Client
from howdah.context import Context
from howdah.durations import Duration, duration, optional_duration
from howdah.enqueue import ByName, OnConflict, Options, TaskFunction, check_name, check_priority, options
from howdah.errors import InvalidOption
from howdah.kinds.function import FunctionKind
from howdah.kinds.registry import Defaults, Executor
from howdah.payload import DEFAULT_MAX_BYTES
from howdah.task import Task
from howdah.telemetry import Listener
from howdah.worker.settings import Queues, Settings
from howdah.worker.worker import Worker

P = ParamSpec("P")
R = TypeVar("R")


class Decorator:
    """What `@app.task(...)` returns; its overloads give a handler its type.

    A Context as the first parameter is taken out of what callers pass. Elsewhere in the signature a type checker cannot
    take it out: give it a default there (`ctx: Context = ...`), or put it first.
    """

    def __init__(self, register: Callable[[Callable[..., Any]], Any]) -> None:
        self._register = register

    @overload
    def __call__(self, function: Callable[Concatenate[Context, P], Coroutine[Any, Any, R]]) -> TaskFunction[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]]) -> TaskFunction[P, R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[Context, P], R]) -> TaskFunction[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R]) -> TaskFunction[P, R]: ...
    def __call__(self, function: Callable[..., Any]) -> Any:
        return self._register(function)


class App(Client):
    """The tasks of one program. No global state: several apps may live in one process.

    dsn          where the database is: a PostgreSQL URL or conninfo. Without it $HOWDAH_DSN; without that an embedded
                 PostgreSQL, which keeps its data in `home`
    home         where the embedded server lives; without it $HOWDAH_HOME, without that `.howdah` in the working folder
    max_payload  the most bytes a payload or a result may have

    >>> app = App()
    >>> @app.task(queue="mail", retry=Retry(5, delay="2s"))
    ... async def welcome(user_id: int) -> str:
    ...     return f"sent to {user_id}"
    >>> task = await welcome.enqueue(42)               # doctest: +SKIP
    """

    def __init__(
        self, dsn: str | None = None, *, home: Path | str | None = None, max_payload: int = DEFAULT_MAX_BYTES
    ) -> None:
        super().__init__(dsn, home=home, max_payload=max_payload)
        self.listeners: list[Listener] = []

    async def __aenter__(self) -> App:
        await self.database()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __enter__(self) -> App:
        self.installation.open_sync()
        return self

    def __exit__(self, *_: object) -> None:
        self.close_sync()

    def task(
        self,
        *,
        name: str | None = None,
        queue: str = "default",
        priority: int = 0,
        delay: Duration = 0,
        retry: Retry | int | None = None,
        timeout: Duration | None = None,
        max_lost: int = 3,
        keep: Duration | None = timedelta(days=7),
        executor: Executor | None = None,
        transactional: bool = False,
    ) -> Decorator:
        """Register a function as a kind of task.

        name           its kind; without it the name of the function
        queue          the lane its tasks wait in
        priority       higher first
        delay          how long a new task waits
        retry          a Retry, or how many retries; without it Retry(5)
        timeout        the time limit of one attempt
        max_lost       how many attempts may end with their worker's death before the task is parked
        keep           how long an ended task stays in the archive; None: nothing of it is kept, not even its result
        executor       "loop" (async functions), "thread" (plain ones), "process" (CPU work, killed on timeout)
        transactional  run the handler inside the transaction that ends it, as ctx.connection

        Raises InvalidOption that names the option.
        """
        if retry is not None and not isinstance(retry, Retry):
            retry = Retry(retry)
        limit = optional_duration(timeout, "timeout")
        if limit is not None and not limit:
            raise InvalidOption("timeout must be longer than nothing", hint="Leave it out for no time limit")
        if isinstance(max_lost, bool) or not isinstance(max_lost, int) or max_lost < 0:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidOption(f"max_lost must be a whole number from 0, not {max_lost!r}")
        defaults = Defaults(
            queue=check_name(queue, "queue"),
            priority=check_priority(priority),
            delay=duration(delay, "delay"),
            retry=retry or Retry(),
            max_lost=max_lost,
            timeout=limit,
            keep=optional_duration(keep, "keep"),
        )
        chosen = None if name is None else check_name(name, "name")

        def register(function: Callable[..., Any]) -> TaskFunction[..., Any]:
            kind: FunctionKind[..., Any] = FunctionKind(
                function,
                name=chosen or check_name(getattr(function, "__name__", None), "name"),
                defaults=defaults,
                executor=executor,
                transactional=transactional,
                max_payload=self.max_payload,
            )
            self.registry.add(kind)
            return TaskFunction(self, kind)

        return Decorator(register)

    # ── by name ──

    def using(
        self,
        *,
        delay: Duration | None = None,
        at: datetime | None = None,
        queue: str | None = None,
        priority: int | None = None,
        key: str | None = None,
        on_conflict: OnConflict = "return",
        connection: Any = None,
    ) -> ByName:
        """Options for the next `enqueue` by name; see TaskFunction.using for what they mean."""
        return ByName(
            self,
            options(
                delay=delay,
                at=at,
                queue=queue,
                priority=priority,
                key=key,
                on_conflict=on_conflict,
                connection=connection,
            ),
        )

    async def enqueue(self, kind: str, /, **arguments: Any) -> Task[Any]:
        """Put a task in its queue by the name of its kind, without importing the handler.

        Raises UnknownKind if neither this program nor the database knows the kind, InvalidPayload.
        """
        return await ByName(self, Options()).enqueue(kind, **arguments)

    def enqueue_sync(self, kind: str, /, **arguments: Any) -> Task[Any]:
        """As `enqueue`, blocking."""
        return ByName(self, Options()).enqueue_sync(kind, **arguments)

    # ── running ──

    def listen(self, listener: Listener) -> Listener:
        """Call `listener(event)` for what happens in this app's workers; see howdah.telemetry. Usable as a decorator."""
        self.listeners.append(listener)
        return listener

    def worker(
        self,
        *,
        queues: Queues = None,
        concurrency: int = 100,
        processes: int | None = None,
        lease: Duration = "30s",
        poll: Duration = "5s",
        listen: bool = True,
        grace: Duration = "30s",
        until_idle: bool = False,
    ) -> Worker:
        """A worker for the handlers of this app. `async with app.worker():` runs it beside your own code.

        queues       None: every queue. A list: these, sharing `concurrency`. A mapping: {"mail": 10} is at most 10 at
                     once; {"mail": Weight(3), "default": Weight(1)} shares `concurrency` three to one
        concurrency  the most tasks at once, over all queues
        processes    processes for handlers with executor="process"; without it one per core
        lease        how long the worker's tasks stay its own without a heartbeat; it renews every third of it
        poll         how long it sleeps at most between two looks
        listen       wake by LISTEN; without it only by polling
        grace        how long running tasks may go on when the worker is told to stop; then they are handed back
        until_idle   end when nothing is due and nothing runs

        Embedded in another program it installs no signal handlers. Raises InvalidOption that names the option.
        """
        settings = Settings.checked(
            queues=queues,
            concurrency=concurrency,
            processes=processes,
            lease=lease,
            poll=poll,
            listen=listen,
            grace=grace,
            until_idle=until_idle,
        )
        return Worker(self.installation, self.registry, settings, self.listeners)
