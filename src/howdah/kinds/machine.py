"""A state machine as a kind of task: every step is an object, and `run` returns the next one."""

from __future__ import annotations

import inspect
import logging
import sys
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, cast

from howdah.context import ClaimedTask, Context
from howdah.errors import HowdahError, InvalidOption, InvalidPayload, shown
from howdah.graph import Edge, Graph, Node
from howdah.kinds import ending
from howdah.kinds.registry import Beginning, Defaults, Executor, executor_of, row, rules
from howdah.outcomes import Again, Done, Join, Move, Outcome, Transition
from howdah.payload import DEFAULT_MAX_BYTES, Fields, plain_json
from howdah.templates import check_fields

log = logging.getLogger("howdah")


class Step:
    """One step: the class of its objects, how they run, and where they may go."""

    reads_all = True  # for ctx.children

    def __init__(
        self,
        machine: MachineKind,
        cls: type[Any],
        *,
        step: str,
        defaults: Defaults,
        own_queue: bool,
        executor: Executor | None,
        transactional: bool,
        start: bool,
    ) -> None:
        self.machine = machine
        self.name = machine.name
        self.step = step
        self.cls = cls
        self.defaults = defaults
        self.own_queue = own_queue
        self.start = start
        self.transactional = transactional
        self.fields: Fields[Any] = Fields[Any].of(cls, name=step)
        if "run" in getattr(cls, "__annotations__", {}):
            raise InvalidOption(
                f"{machine.name}.{step} has a field called run", hint="That is the method's name: call it otherwise"
            )
        run = getattr(cls, "run", None)
        if run is None:
            raise InvalidOption(
                f"{machine.name}.{step} has no method run", hint="Write: async def run(self) -> NextStep | None"
            )
        self.executor: Executor = executor_of(f"{machine.name}.{step}.run", run, executor)
        if transactional and self.executor != "loop":
            raise InvalidOption(f"{machine.name}.{step}: transactional=True needs async def run")
        extra = list(inspect.signature(run).parameters.values())[1:]
        if len(extra) > 1:
            raise InvalidOption(
                f"{machine.name}.{step}.run takes {', '.join(p.name for p in extra)}",
                hint="It takes self and, if it likes, the Context; what it needs are fields of the step",
            )
        self._context = [p.name for p in extra]
        self._moves: Moves | None = None

    @property
    def source(self) -> tuple[str, str]:
        return self.cls.__module__, self.cls.__qualname__

    @property
    def moves(self) -> Moves:
        """Where it may go, as its return annotation says. Raises InvalidOption."""
        if self._moves is None:
            self._moves = Moves.of(self)
        return self._moves

    def encode_result(self, value: Any) -> str | None:
        """What Done was given, as JSON. Raises InvalidPayload."""
        return None if value is None else plain_json(value, f"{self.name}: result", max_bytes=self.machine.max_payload)

    def encode(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        raise InvalidPayload(
            f"{self.name}.{self.step}: Again and Join are for functions", hint="Return the step itself"
        )

    async def attempt(self, task: ClaimedTask, ctx: Context) -> Transition:
        """Run the step once. Its exceptions pass; what it returns becomes a transition."""
        try:
            here = self.fields.decode(task.payload)
        except InvalidPayload as error:
            return ending.parked(error)
        try:
            value = await ctx.call(here.run, dict.fromkeys(self._context, ctx))
        except Outcome as outcome:
            value = outcome
        try:
            transition = self._transition(task, value)
        except HowdahError as error:
            return ending.parked(error)
        if transition.attempts == "reset":
            transition.consumed = ctx.consumed
        return transition

    def _transition(self, task: ClaimedTask, value: Any) -> Transition:
        if value is None or isinstance(value, Done):
            self._check_legal(value, self.moves.ends)
            result = value.result if value is not None else None
            return ending.succeeded(self, result, event="end", details={"from": self.step, "attempts": task.attempt})
        move = value if isinstance(value, Move) else Move(value)
        if isinstance(value, Outcome) and not isinstance(value, Move):
            if isinstance(value, (Again, Join)):
                self.encode((), {})
            return ending.of_outcome(self, task, self.defaults.retry, value)
        to = self.machine.step_of(move.step)
        self._check_legal(move.step, to is not None and to.step in self.moves.steps)
        assert to is not None
        return Transition(
            "suspended" if move.joining else "queued",
            payload=to.fields.encode(move.step, max_bytes=self.machine.max_payload),
            step=to.step,
            queue=self._queue_of(to, task.queue),
            delay=move.delay,
            run_at=move.at,
            joining=move.joining,
            attempts="reset",
            event="step",
            details={"from": self.step, "attempts": task.attempt},
        )

    def _check_legal(self, value: Any, legal: bool) -> None:
        if not legal:
            went = "None" if value is None else type(value).__name__
            raise IllegalMove(
                f"{self.name}.{self.step} returned {went}, and its return annotation allows {self.moves}",
                hint="Mend the annotation or the code, then retry",
            )

    def _queue_of(self, to: Step, queue: str) -> str | None:
        """The queue to move to, if any: a task that was enqueued elsewhere stays there unless the step has its own."""
        wanted = to.defaults.queue if to.own_queue or queue == self.defaults.queue else queue
        return None if wanted == queue else wanted


class IllegalMove(HowdahError):
    """A step returned what its annotation does not allow."""


class Moves:
    """Where a step may go: the names of steps, and whether the task may end there."""

    def __init__(self, steps: list[str], *, ends: bool) -> None:
        self.steps = steps
        self.ends = ends

    def __str__(self) -> str:
        return " | ".join([*self.steps, *(["None"] if self.ends else [])]) or "nothing"

    @classmethod
    def of(cls, step: Step) -> Moves:
        """Read the return annotation of `run`, when all steps are known. Raises InvalidOption."""
        where, machine = f"{step.name}.{step.step}.run", step.machine
        steps: list[str] = []
        ends = False
        hint: Any
        for hint in _members(_return_hint(step, where)):
            to = machine.by_class.get(hint)
            if to is not None:
                steps += [to.step] if to.step not in steps else []
            elif hint in (None, type(None)) or hint is Done:
                ends = True
            elif hint in (typing.Never, typing.NoReturn) or _is_outcome(hint):
                continue
            else:
                other: Any = getattr(hint, "__howdah_step__", None)
                what = f"a step of {other.name}" if isinstance(other, Step) else f"no step of {machine.name}"
                name: str = getattr(hint, "__name__", str(hint))
                raise InvalidOption(
                    f"{where} may return {name:.80}, which is {what}",
                    hint=f"The steps of {machine.name}: {', '.join(machine.steps)}",
                )
        return cls(steps, ends=ends)


def _return_hint(step: Step, where: str) -> Any:
    run = inspect.unwrap(step.cls.run)
    names: dict[str, Any] = {cls.__name__: cls for cls in step.machine.by_class}
    try:
        annotation = inspect.signature(run).return_annotation
        if annotation is inspect.Signature.empty:
            raise InvalidOption(
                f"{where} has no return annotation",
                hint="Write where it may go: async def run(self) -> NextStep | None",
            )

        def holder() -> None: ...

        holder.__annotations__ = {"return": annotation}
        scope = vars(sys.modules[step.cls.__module__]) | getattr(run, "__globals__", {})
        # What is nearer wins: steps made inside of a function are not in the module.
        return typing.get_type_hints(holder, globalns=scope, localns=names)["return"]
    except NameError as error:
        raise InvalidOption(
            f"{where}: its return annotation cannot be resolved: {error}",
            hint="Steps are known by their classes' names; import other names at the top level of the module",
        ) from error


def _is_outcome(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, Outcome)


def _members(hint: Any) -> list[Any]:
    if isinstance(hint, typing.TypeVar):
        return _members(hint.__bound__)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return [member for arg in typing.get_args(hint) for member in _members(arg)]
    if typing.get_origin(hint) is typing.Annotated:
        return _members(typing.get_args(hint)[0])
    value = getattr(hint, "__value__", None)  # type X = A | B
    return [hint] if value is None or isinstance(hint, type) else _members(value)


class Nowhere:
    """What runs at a step that the code does not have: nothing; the task is parked, with what was stored."""

    executor: Executor = "loop"
    transactional = False
    reads_all = False
    source = ("", "")

    def __init__(self, name: str, defaults: Defaults, step: str | None, *, expected: str) -> None:
        self.name = name
        self.defaults = defaults
        self._step = step
        self._expected = expected

    async def attempt(self, task: ClaimedTask, ctx: Context) -> Transition:
        what = "is at no step" if self._step is None else f"is at step {self._step!r}, which {self.name} does not have"
        stored = bytes(task.payload).decode(errors="replace")
        error = HowdahError(
            f"the task {what}: stored {stored:.300}, expected one of {self._expected}",
            hint=f"howdah edit {task.id} --step …",
        )
        return ending.parked(error)


class MachineKind:
    """A state machine, as client and worker see it."""

    def __init__(self, name: str, *, defaults: Defaults, max_payload: int = DEFAULT_MAX_BYTES) -> None:
        self.name = name
        self.defaults = defaults
        self.max_payload = max_payload
        self.steps: dict[str, Step] = {}
        self.by_class: dict[type[Any], Step] = {}

    def add(self, step: Step) -> None:
        """Raises InvalidOption if the name is taken, or the class a step already."""
        if step.step in self.steps:
            raise InvalidOption(
                f"{self.name} has two steps called {step.step!r}", hint="Give one another name: step(name=…)"
            )
        known = step.cls.__dict__.get("__howdah_step__")
        if known is not None:
            raise InvalidOption(f"{step.cls.__name__} is a step of {known.name} already", hint="Derive a class from it")
        step.cls.__howdah_step__ = step
        self.steps[step.step] = self.by_class[step.cls] = step

    def step_of(self, value: Any) -> Step | None:
        """The step that this object is."""
        return self.by_class.get(cast("Any", type(value)))

    @property
    def executor(self) -> Executor:
        """In processes if all steps do: then they are claimed only when a process is free."""
        return "process" if self.steps and all(step.executor == "process" for step in self.steps.values()) else "loop"

    def at(self, step: str | None) -> Step | Nowhere:
        return self.steps.get(step or "") or Nowhere(
            self.name, self.defaults, step, expected="; ".join(self._expected())
        )

    def handlers(self) -> Iterable[Step]:
        return self.steps.values()

    def begin(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Beginning:
        """One step. Raises InvalidPayload."""
        if len(args) != 1 or kwargs:
            given = ", ".join([*map(shown, args), *kwargs]) or "nothing"
            raise InvalidPayload(
                f"{self.name}: a machine begins with one step, not with {given:.200}",
                hint=f"Write enqueue({next(iter(self.steps), 'Step')}(…))",
            )
        step = self.step_of(args[0])
        if step is None:
            raise InvalidPayload(
                f"{self.name}: {shown(args[0])} is no step of this machine",
                hint=f"Its steps: {', '.join(map(str, self._expected()))}",
            )
        return Beginning(step.fields.encode(args[0], max_bytes=self.max_payload), step.defaults, step.step)

    born = begin

    def named(self, step: str | None, fields: Mapping[str, Any]) -> Beginning:
        """A step and its fields, by name. Raises InvalidOption, InvalidPayload."""
        found = self.steps.get(step or "")
        if found is None:
            what = "a machine begins with a step" if step is None else f"there is no step {step!r:.80}"
            raise InvalidOption(f"{self.name}: {what}", hint=f"Its steps: {', '.join(map(str, self._expected()))}")
        return Beginning(found.fields.check(fields, max_bytes=self.max_payload), found.defaults, found.step)

    def _expected(self) -> list[str]:
        return [str(step.fields) for step in self.steps.values()]

    def read_result(self, value: Any) -> Any:
        return value

    def starts(self) -> list[Step]:
        """Where tasks begin: the steps that say so, or else the first."""
        steps = list(self.steps.values())
        return [step for step in steps if step.start] or steps[:1]

    def graph(self) -> Graph:
        """The machine as a graph. Raises InvalidOption."""
        return graph_of(self.name, self.described())

    def check(self) -> None:
        """Every move leads to a step of this machine, and what keys and groups are made of is where tasks begin, or it is an
        error; a step nobody reaches is said."""
        if not self.steps:
            raise InvalidOption(
                f"machine {self.name} has no steps", hint=f"Write @{self.name}.step above a dataclass with a method run"
            )
        for step in self.starts():
            known = None if step.fields.takes_any else step.fields.keys
            check_fields(f"{self.name}.{step.step}", step.defaults.key, step.defaults.groups, known)
        for lost in self.graph().unreachable():
            log.warning(
                "machine %s: no step leads to %s; if tasks begin there, say so: step(start=True)", self.name, lost
            )

    def described(self) -> dict[str, Any]:
        """The steps, as the column `steps` of `howdah.kind`."""
        return {
            step.step: {
                "position": position,
                "start": step in self.starts(),
                "next": step.moves.steps,
                "ends": step.moves.ends,
                "executor": step.executor,
                "signature": step.fields.schema(),
                "description": inspect.getdoc(step.cls.run),
                **rules(step.defaults, beside=self.defaults),
            }
            for position, step in enumerate(self.steps.values())
        }

    def row(self) -> dict[str, Any]:
        return row(self.name, self.defaults, executor=self.executor, steps=self.described())


def graph_of(name: str, steps: Mapping[str, Any], notes: Mapping[str, str] | None = None) -> Graph:
    """A machine as a graph, from the column `steps` of `howdah.kind`; `notes` are small second lines, by step."""
    ordered = sorted(steps.items(), key=lambda item: item[1]["position"])
    nodes = tuple(Node(step, start=said["start"], note=(notes or {}).get(step, "")) for step, said in ordered)
    edges = tuple(
        Edge(step, target) for step, said in ordered for target in [*said["next"], *([None] if said["ends"] else [])]
    )
    return Graph(name, nodes, edges)
