"""Machine: what `app.machine` returns. Its steps are classes of yours; a task of it is enqueued with the first of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, Generic, Literal, Protocol, TypeVar, Unpack, cast, overload

from howdah.backoff import Retry
from howdah.client import Client
from howdah.durations import Duration
from howdah.enqueue import Bound
from howdah.errors import InvalidOption, InvalidPayload, shown
from howdah.graph import Graph
from howdah.kinds.machine import MachineKind, Step
from howdah.kinds.registry import Executor, OnConflict
from howdah.options import Given, Options, check_name, defaults, options
from howdah.task import Task


class Runs(Protocol):
    """A class whose objects are steps."""

    @property
    def run(self) -> Callable[..., Any]: ...


S = TypeVar("S", bound=type[Runs])
E = TypeVar("E", covariant=True)  # what enqueue returns


def _each(items: Any) -> list[tuple[Any]]:
    if not isinstance(items, Iterable):
        raise InvalidPayload(f"enqueue_many takes many steps, not {shown(items)}")
    return [(step,) for step in cast("Iterable[Any]", items)]


class BoundMachine(Bound[[Runs], Any, E], Generic[E]):
    """A machine with options, ready to enqueue."""

    async def enqueue_many(self, items: Iterable[Runs]) -> list[Task[Any]]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Put many tasks in their queue: all or none. The items are steps of one class; see TaskFunction.enqueue_many.

        Raises InvalidPayload that names the item, InvalidOption, KeyConflict.
        """
        return await super().enqueue_many(_each(items))

    def enqueue_many_sync(self, items: Iterable[Runs]) -> list[Task[Any]]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """As `enqueue_many`, blocking."""
        return super().enqueue_many_sync(_each(items))


class Machine(BoundMachine[Task[Any]]):
    """A state machine: a task that goes from step to step, and commits each of them."""

    def __init__(self, client: Client, kind: MachineKind) -> None:
        super().__init__(client, kind, Options())
        self.name = kind.name
        self.kind = kind

    def __repr__(self) -> str:
        return f"<machine {self.name}: {', '.join(self.kind.steps)}>"

    @overload
    def step(self, cls: S, /) -> S: ...
    @overload
    def step(
        self,
        *,
        name: str | None = None,
        queue: str | None = None,
        retry: Retry | int | None = None,
        timeout: Duration | timedelta | None = None,
        max_lost: int | None = None,
        executor: Executor | None = None,
        transactional: bool = False,
        start: bool = False,
    ) -> Callable[[S], S]: ...
    def step(
        self,
        *classes: Any,
        name: str | None = None,
        executor: Executor | None = None,
        transactional: bool = False,
        start: bool = False,
        **given: Any,
    ) -> Any:
        """Make a class a step of this machine: a dataclass, msgspec struct or pydantic model with a method `run`.

        `run(self)`, or `run(self, ctx)` with the Context, returns the next step, `after(…)`, `at(…)` or `join(…)` a step,
        None to end, or Done(result); its return annotation says which, and nothing else is let through. A plain `run`
        runs in a thread, an async one on the loop.

        name           the step's name in the database; without it the name of the class
        queue          the lane this step waits in; without it the machine's, or the one the task was enqueued in
        retry          how often this step is tried again; the attempt counter starts at 0 at each step
        timeout        the time limit of one attempt
        max_lost       how many attempts may end with their worker's death before the task is parked
        executor       "loop", "thread" or "process"
        transactional  run inside the transaction that ends the step, as ctx.connection
        start          tasks may begin here: without it, at the first step; for the graph, and its warning of lost steps

        Without options it goes above the class as it is: `@greeter.step`. Raises InvalidOption that names the option.
        """

        if len(classes) > 1:
            raise InvalidOption(
                f"@{self.name}.step takes one class, not {len(classes)}", hint="Write it above each class"
            )
        said = {option: value for option, value in given.items() if value is not None}
        for option in said:
            if option not in ("queue", "retry", "timeout", "max_lost"):
                raise InvalidOption(
                    f"a step has no option {option!r}",
                    hint="It has name, queue, retry, timeout, max_lost, executor, transactional and start",
                )

        def register(cls: Any) -> Any:
            if not isinstance(cls, type):
                raise InvalidOption(
                    f"@{self.name}.step is for classes, not {shown(cls)}",
                    hint=f"Write @{self.name}.step above the class",
                )
            step = Step(
                self.kind,
                cls,
                step=check_name(name if name is not None else cls.__name__, "name"),
                defaults=defaults(self.kind.defaults, **said),
                own_queue="queue" in said,
                executor=executor,
                transactional=transactional,
                start=start,
            )
            self.kind.add(step)
            return cls

        return register(*classes) if classes else register

    @overload
    def using(
        self, *, on_conflict: Literal["return", "raise", "replace", "merge"] | None = None, **given: Unpack[Given]
    ) -> BoundMachine[Task[Any]]: ...
    @overload
    def using(self, *, on_conflict: OnConflict, **given: Unpack[Given]) -> BoundMachine[Task[Any] | None]: ...
    def using(self, **given: Any) -> Any:
        """The same machine with other options, for the next enqueue; see TaskFunction.using.

        >>> await greeter.using(delay="1h", key="greet").enqueue(ReadName("name.txt"))     # doctest: +SKIP
        """
        return BoundMachine[Any](self._client, self.kind, options(**given))

    def graph(self) -> Graph:
        """The machine as a graph, read from the return annotations: `.text()`, `.mermaid()`, `.svg()`.

        Raises InvalidOption for a move that leads out of the machine.
        """
        return self.kind.graph()
