"""App: the handlers of a program, the client to enqueue them, and the worker to run them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Never, TypeVar, Unpack, overload

from howdah.actor import Actor, RegisterActor
from howdah.config import Config
from howdah.decorator import BatchDecorator, Decorator
from howdah.durations import Duration
from howdah.enqueue import ByName, TaskFunction
from howdah.errors import InvalidOption, shown
from howdah.kinds.actor import ActorKind
from howdah.kinds.batch import WAIT, BatchKind, batches
from howdah.kinds.function import FunctionKind
from howdah.kinds.machine import MachineKind
from howdah.kinds.registry import Executor, OnConflict
from howdah.limits import Limit, QueueRules
from howdah.machine import Machine
from howdah.options import Given, KindOptions, Options, check_name, defaults, options
from howdah.payload import DEFAULT_MAX_BYTES
from howdah.serving import Queues
from howdah.sources import Sources
from howdah.task import Task
from howdah.telemetry import Listener
from howdah.worker.settings import Settings
from howdah.worker.worker import Worker

T = TypeVar("T")


class App(Sources):
    """The tasks of one program. No global state: several apps may live in one process.

    dsn          where the database is: a PostgreSQL URL or conninfo. Without it $HOWDAH_DSN; without that `dsn` of the
                 configuration; without that an embedded PostgreSQL, which keeps its data in `home`
    home         where the embedded server lives; without it as for dsn, and in the end `.howdah` in the working folder
    max_payload  the most bytes a payload or a result may have
    config       False: heed no configuration but HOWDAH_DSN and HOWDAH_HOME. Else howdah.toml, or [tool.howdah] in
                 pyproject.toml, and the variables of the environment set what is not given here; see Config

    Raises InvalidOption, also for what is wrong in the configuration.

    >>> app = App()
    >>> @app.task(queue="mail", retry=Retry(5, delay="2s"))
    ... async def welcome(user_id: int) -> str:
    ...     return f"sent to {user_id}"
    >>> task = await welcome.enqueue(42)               # doctest: +SKIP
    """

    def __init__(
        self,
        dsn: str | None = None,
        *,
        home: Path | str | None = None,
        max_payload: int = DEFAULT_MAX_BYTES,
        config: bool | Config = True,
    ) -> None:
        super().__init__(dsn, home=home, max_payload=max_payload, config=config)
        self.listeners: list[Listener] = []
        self.base = self.config.base()  # what kinds have that say nothing else
        for name, each in self.config.limits.items():
            limit = Limit.checked(name, each.get("running"), each.get("rate"), each.get("burst"))
            self.registry.add_rule(self.registry.limits, limit)

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

    @overload
    def task(
        self,
        *misplaced: Never,
        batch: int,
        wait: Duration = WAIT,
        name: str | None = None,
        executor: Executor | None = None,
        **said: Unpack[KindOptions],
    ) -> BatchDecorator: ...
    @overload
    def task(
        self,
        *misplaced: Never,
        name: str | None = None,
        executor: Executor | None = None,
        transactional: bool = False,
        **said: Unpack[KindOptions],
    ) -> Decorator: ...
    def task(
        self,
        *misplaced: Never,
        batch: int | None = None,
        wait: Duration | None = None,
        name: str | None = None,
        executor: Executor | None = None,
        transactional: bool = False,
        **said: Unpack[KindOptions],
    ) -> Decorator | BatchDecorator:
        """Register a function as a kind of task.

        name           its kind; without it the name of the function
        queue          the lane its tasks wait in; "default"
        priority       higher first; 0
        delay          how long a new task waits
        retry          a Retry, or how many retries; without it Retry(5)
        timeout        the time limit of one attempt
        max_lost       how many attempts may end with their worker's death before the task is parked; 3
        keep           how long an ended task stays in the archive; None: nothing of it is kept, not even its result; "7d"
        group          the groups its tasks belong to, whose limits hold for them (see `limit`): "SES", ["SES",
                       "tenant:{tenant_id}"]; {name} stands for a field of the payload
        cost           how much one start counts against the rates of its groups; 1
        key            template of its tasks' key, of one task at a time: "welcome:{user_id}"
        unique_for     how long a key stays taken, also when its task has ended: "1h", or "forever"
        on_conflict    what an enqueue does whose key is taken: "return", "raise", "skip", "replace", "merge"
        start_before   how long after its enqueue a task may begin at the latest
        finish_before  … and end at the latest
        late           what becomes of one that is late: "drop" it as cancelled, "park" it as failed, "run" it all the same
        warn, alarm    from where on its health is yellow, and red: {"wait": "5m", "retries": 3, "failed": 1}
        executor       "loop" (async functions), "thread" (plain ones), "process" (CPU work, killed on
                       timeout and on cancellation; no ctx.on_commit there)
        transactional  run the handler inside the transaction that ends it, as ctx.connection
        batch          call the handler once for up to so many tasks: each parameter is a list with a value for each of them,
                       `list[Context]` has their contexts; it returns a list with a result, outcome or exception for each
        wait           how long the first of a batch waits for others; "50ms"

        Raises InvalidOption that names the option.
        """
        if misplaced:
            raise InvalidOption(
                f"@app.task takes options by name, not {shown(misplaced[0])}",
                hint="Write @app.task() above the function",
            )
        if not isinstance(transactional, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidOption(f"transactional must be True or False, not {shown(transactional)}")
        chosen = defaults(self.base, **said)
        called = None if name is None else check_name(name, "name")
        together = batches(batch, wait, transactional=transactional)

        def register(function: Callable[..., Any]) -> TaskFunction[..., Any]:
            own = getattr(function, "__name__", "<nameless>")
            if not callable(function):  # pyright: ignore[reportUnnecessaryComparison]
                raise InvalidOption(f"@app.task() is for functions, not {shown(function)}")
            if called is None and not own.isidentifier():
                raise InvalidOption(f"{shown(function)} has no name to be known by", hint="Write @app.task(name=…)")
            known_as = called or check_name(own, "name")
            of_kind = self.config.of_kind(known_as, chosen)
            kind: FunctionKind[..., Any] = (
                FunctionKind(
                    function,
                    name=known_as,
                    defaults=of_kind,
                    executor=executor,
                    transactional=transactional,
                    max_payload=self.max_payload,
                )
                if together is None
                else BatchKind(
                    function,
                    name=known_as,
                    defaults=of_kind,
                    together=together,
                    executor=executor,
                    max_payload=self.max_payload,
                )
            )
            self.registry.add(kind)
            return TaskFunction(self, kind)

        return Decorator(register) if together is None else BatchDecorator(register)

    def machine(
        self,
        name: str,
        **said: Unpack[KindOptions],
    ) -> Machine:
        """Register a state machine: a kind whose tasks go from step to step. `@machine.step` adds the steps.

        name  its kind; the options are those of `task`, and hold for every step that does not say otherwise

        Raises InvalidOption that names the option.

        >>> greeter = app.machine("greeter")               # doctest: +SKIP
        >>> @greeter.step                                  # doctest: +SKIP
        ... @dataclass
        ... class SayHello:
        ...     name: str
        ...     async def run(self) -> None:
        ...         print("Hello,", self.name)
        >>> await greeter.enqueue(SayHello("you"))         # doctest: +SKIP
        """
        chosen = self.config.of_kind(check_name(name, "name"), defaults(self.base, **said))
        kind = MachineKind(name, defaults=chosen, max_payload=self.max_payload)
        self.registry.add(kind)
        return Machine(self, kind)

    def actor(
        self,
        name: str | None = None,
        *,
        inbox: Any = None,
        executor: Executor | None = None,
        **said: Unpack[KindOptions],
    ) -> RegisterActor:
        """Register a dataclass, msgspec struct or pydantic model as an actor: its fields are the state.

        name   its kind; without it the name of the class
        inbox  the type of its messages, with `| EOF` if it wants to know how its children end; without it it takes none

        The other options are those of `task`. The class has `async def poll(self, ctx, inbox) -> Action`, which returns
        Suspend(), Sleep(delay) or Done(result); state, consumed messages, children and sent messages commit together.
        A message that is not of the type parks the actor, unless it has `async def misfit(self, ctx, message: Misfit)`.
        Raises InvalidOption that names the option.

        >>> @app.actor("tally", inbox=int)                 # doctest: +SKIP
        ... @dataclass
        ... class Tally:
        ...     total: int = 0
        ...     async def poll(self, ctx: Context, inbox: Inbox[int]) -> Action:
        ...         self.total += sum(inbox)
        ...         return Suspend()
        """
        if isinstance(name, type):
            raise InvalidOption("@app.actor takes options", hint="Write @app.actor() above the class")
        chosen = defaults(self.base, **said)

        def register(cls: Any) -> Actor[Any]:
            if not isinstance(cls, type):
                raise InvalidOption(f"@app.actor() is for classes, not {shown(cls)}")
            kind_name = check_name(cls.__name__ if name is None else name, "name")
            kind = ActorKind(
                cls,
                name=kind_name,
                defaults=self.config.of_kind(kind_name, chosen),
                inbox=inbox,
                executor=executor,
                max_payload=self.max_payload,
            )
            self.registry.add(kind)
            return Actor(self, kind)

        return RegisterActor(register)

    # ── limits ──

    def limit(
        self, name: str, *, running: int | None = None, rate: str | None = None, burst: float | None = None
    ) -> None:
        """Declare the limit of a group: workers say it at their start, and it holds in the whole fleet.

        name     the group, or with a * the rule for every group that matches and has no limit of its own: "tenant:*"
        running  at most so many of its tasks run at once; 1: one after the other, in order
        rate     at most so much starts per time: "100/min", "5/s", "20/30s"; a task counts its `cost`
        burst    so much of it at once, after a rest; without it what the rate gives in a second, at least 1

        What operators set with `set_limit` stays until this says something else than before. Raises InvalidOption.

        >>> app.limit("SES", running=10, rate="100/min")         # doctest: +SKIP
        """
        said = Limit.checked(name, running, rate, burst)
        if name not in self.config.limits:  # which are the operator's
            self.registry.add_rule(self.registry.limits, said)

    def queue(
        self, name: str, *, running: int | None = None, fair: bool = False, ageing: Duration | None = None
    ) -> None:
        """Declare how a queue is worked, as `limit` does of groups.

        running  at most so many of its tasks run at once, in the whole fleet
        fair     its groups take turns within a priority; else the oldest task is first
        ageing   a task counts one priority higher for each such time that it has waited, so that none waits for ever

        Raises InvalidOption.
        """
        self.registry.add_rule(self.registry.queues, QueueRules.checked(name, running, fair, ageing))

    # ── by name ──

    @overload
    def using(
        self, *, on_conflict: Literal["return", "raise", "replace", "merge"] | None = None, **given: Unpack[Given]
    ) -> ByName[Task[Any]]: ...
    @overload
    def using(self, *, on_conflict: OnConflict, **given: Unpack[Given]) -> ByName[Task[Any] | None]: ...
    def using(self, **given: Any) -> Any:
        """Options for the next `enqueue` by name; see TaskFunction.using for what they mean."""
        return ByName[Any](self, options(**given))

    async def enqueue(self, kind: str, /, *unnamed: Never, **arguments: Any) -> Task[Any]:
        """Put a task in its queue by the name of its kind, without importing the handler.

        Raises UnknownKind if neither this program nor the database knows the kind, InvalidPayload.
        """
        return await ByName[Task[Any]](self, Options()).enqueue(kind, *unnamed, **arguments)

    def enqueue_sync(self, kind: str, /, *unnamed: Never, **arguments: Any) -> Task[Any]:
        """As `enqueue`, blocking."""
        return ByName[Task[Any]](self, Options()).enqueue_sync(kind, *unnamed, **arguments)

    # ── running ──

    def listen(self, listener: Listener) -> Listener:
        """Call `listener(event)` for what happens in this app's workers; see howdah.telemetry. Usable as a decorator."""
        self.listeners.append(listener)
        return listener

    def worker(
        self,
        *,
        queues: Queues = None,
        concurrency: int | None = None,
        processes: int | None = None,
        lease: Duration | None = None,
        poll: Duration | None = None,
        listen: bool | None = None,
        synchronous_commit: bool | None = None,
        grace: Duration | None = None,
        until_idle: bool = False,
        health: str | None = None,
    ) -> Worker:
        """A worker for the handlers of this app. `async with app.worker():` runs it beside your own code.

        queues       a list: these, sharing `concurrency`. A mapping: {"mail": 10} is at most 10 at once;
                     {"mail": Weight(3), "default": Weight(1)} shares `concurrency` three to one. Without it every queue
        concurrency  the most tasks at once, over all queues; 100
        processes    processes for handlers with executor="process"; one per core
        lease        how long the worker's tasks stay its own without a heartbeat; it renews every third of it; "30s"
        poll         how long it sleeps at most between two looks; "5s"
        listen       wake by LISTEN; without it only by polling
        synchronous_commit  False: what the worker recorded in the last half second may be undone by a crash of the server.
                     These tasks run again, and may do so while this worker, which has not noticed yet, still runs them.
                     None is lost, because enqueueing is not affected. After a loss of its connection such a worker
                     starts over
        grace        how long running tasks may go on when the worker is told to stop; then they are handed back; "30s"
        until_idle   end when nothing is due and nothing runs
        health       HOST:PORT to answer /livez, /readyz and /health on, by HTTP; ":8321" is on this machine only

        What is not given is as configured. Embedded in another program it installs no signal handlers. Raises
        InvalidOption that names the option.
        """
        config = self.config
        settings = Settings.checked(
            queues=config.queues if queues is None else queues,
            concurrency=config.concurrency if concurrency is None else concurrency,
            processes=config.process_slots if processes is None else processes,
            lease=config.lease if lease is None else lease,
            poll=config.poll if poll is None else poll,
            listen=config.listen if listen is None else listen,
            synchronous_commit=config.synchronous_commit if synchronous_commit is None else synchronous_commit,
            grace=config.grace if grace is None else grace,
            until_idle=until_idle,
            health=health,
        )
        return Worker(self.installation, self.registry, settings, self.listeners)
