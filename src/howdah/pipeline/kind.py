"""A pipeline as a kind of task: an event is a task, a stage is a step, and what comes out of a stage goes on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from howdah.context import ClaimedTask, Context
from howdah.errors import InvalidOption, InvalidPayload, shown
from howdah.kinds import ending
from howdah.kinds.machine import Nowhere
from howdah.kinds.registry import Beginning, Executor, row, rules
from howdah.outcomes import Again, Join, Outcome, Transition
from howdah.payload import DEFAULT_MAX_BYTES, plain_json
from howdah.pipeline.stage import Event, More, Stage

if TYPE_CHECKING:
    from howdah.pipeline.model import Document, StageSpec

_event = msgspec.json.Decoder(dict[str, Any])


class Place:
    """Where events go: a step of a pipeline, in the queue of that stage."""

    def __init__(self, spec: StageSpec, queue: str) -> None:
        self.name = spec.name
        self.defaults = replace(spec.defaults, queue=queue)
        self.queue = queue
        self.consumers: list[Place] = []


class StageStep:
    """What runs at one step: the stage, and the way of its events to those that take them."""

    executor: Executor = "loop"
    transactional = False
    reads_all = False
    source = ("", "")

    def __init__(self, pipeline: PipelineKind, place: Place, stage: Stage) -> None:
        self.pipeline = pipeline
        self.name = pipeline.name
        self.place = place
        self.stage = stage
        self.defaults = place.defaults

    def encode(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        raise InvalidPayload(f"{self.name}: Again and Join are for functions", hint="A stage returns events")

    def encode_result(self, value: Any) -> str | None:
        return None if value is None else plain_json(value, f"{self.name}: result")

    async def attempt(self, task: ClaimedTask, ctx: Context) -> Transition:
        """Run the stage on one event. Its exceptions pass; its events become the transition and what is enqueued with it."""
        try:
            event = _event.decode(task.payload)
        except msgspec.DecodeError as error:
            return ending.parked(InvalidPayload(f"an event is a JSON object: {error}"))
        try:
            return await self.work(task, event, ctx)
        except Outcome as outcome:
            ctx.forget_effects()
            if isinstance(outcome, (Again, Join)):
                return ending.parked(InvalidPayload(f"{self.name}: Again and Join are for functions"))
            return ending.of_outcome(self, task, self.defaults.retry, outcome)
        except InvalidPayload as error:
            ctx.forget_effects()
            return ending.parked(error)

    async def work(self, task: ClaimedTask, event: Event, ctx: Context) -> Transition:
        """What the stage does with one event. May raise outcomes, and InvalidPayload for what JSON cannot hold."""
        return await self._on(task, ctx, await self.stage.run(event, ctx))

    async def _on(self, task: ClaimedTask, ctx: Context, found: Iterable[Event] | More) -> Transition:
        """The task goes on as the first of what follows; the others are tasks of their own."""
        then, events = (found.then, found.events) if isinstance(found, More) else (None, found)
        follows = [(self.place, self.pipeline.encode_event(then))] if then is not None else []
        for event in events:
            follows += [(to, self.pipeline.encode_event(event)) for to in self.place.consumers]
        for to, payload in follows[1:]:
            await ctx.effect(self.pipeline.task_at(to, payload, source=f"task:{task.id}"))
        details = {"from": self.place.name, "attempts": task.attempt}
        if not follows:
            return Transition("succeeded", event="end", details=details)
        to, payload = follows[0]
        return Transition(
            "queued",
            payload=payload,
            step=to.name,
            queue=None if to.queue == task.queue else to.queue,
            priority=to.defaults.priority,
            delay=to.defaults.delay if to.defaults.delay and to is not self.place else None,
            attempts="reset",
            event="step",
            details=details | ({"others": len(follows) - 1} if len(follows) > 1 else {}),
        )


class PipelineKind:
    """A pipeline, as client and worker see it."""

    executor: Executor = "loop"

    def __init__(self, document: Document, *, max_payload: int = DEFAULT_MAX_BYTES) -> None:
        self.name = document.name
        self.description = document.description
        self.defaults = document.defaults
        self.max_payload = max_payload
        self.limits = {
            own_queue(document, spec): spec.concurrency for spec in document.stages.values() if spec.concurrency
        }
        self.places = {name: Place(spec, own_queue(document, spec)) for name, spec in document.stages.items()}
        for name, spec in document.stages.items():
            self.places[name].consumers = [self.places[consumer] for consumer in spec.consumers]
        self.inputs = {name: spec.inputs for name, spec in document.stages.items()}
        self.steps = {name: StageStep(self, self.places[name], spec.stage) for name, spec in document.stages.items()}

    # ── enqueueing ──

    def encode_event(self, event: Any) -> str:
        """An event as JSON. Raises InvalidPayload."""
        if not isinstance(event, Mapping):
            raise InvalidPayload(f"{self.name}: an event is a mapping, not {shown(event)}")
        return plain_json(event, f"{self.name}: event", max_bytes=self.max_payload)

    def task_at(self, to: Place, payload: str, *, source: str) -> dict[str, Any]:
        """A new task at this stage, as `howdah.spawn` takes it, all but its id."""
        return {
            "kind": self.name,
            "step": to.name,
            "queue": to.queue,
            "priority": to.defaults.priority,
            "delay": to.defaults.delay.total_seconds(),
            "payload": msgspec.Raw(payload.encode()),
            "source": source,
        }

    def named(self, step: str | None, fields: Mapping[str, Any]) -> Beginning:
        """An event, and the stage it begins at: without a step at the only source. Raises InvalidOption, InvalidPayload."""
        if step is None:
            sources = [name for name, inputs in self.inputs.items() if not inputs]
            step = sources[0] if len(sources) == 1 else None
        if step not in self.places:
            what = "an event begins at a stage" if step is None else f"there is no stage {shown(step)}"
            raise InvalidOption(f"{self.name}: {what}", hint=f"Give step, one of: {', '.join(self.places)}")
        place = self.places[step]
        return Beginning(self.encode_event(fields), place.defaults, step)

    def begin(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Beginning:
        """An event by name. Raises InvalidOption, InvalidPayload."""
        if args:
            raise InvalidPayload(f"{self.name}: an event is given by name, not as {shown(args[0])}")
        return self.named(None, kwargs)

    born = begin

    def read_result(self, value: Any) -> Any:
        return value

    # ── for workers ──

    def at(self, step: str | None) -> StageStep | Nowhere:
        return self.steps.get(step or "") or Nowhere(self.name, self.defaults, step, expected=", ".join(self.places))

    def handlers(self) -> Iterable[StageStep]:
        return self.steps.values()

    def check(self) -> None:
        """The file was checked when it was read."""

    async def close(self) -> None:
        """Let go of what the stages hold."""
        async with AsyncExitStack() as stack:  # of all of them, whichever fails
            for step in self.steps.values():
                stack.push_async_callback(step.stage.close)

    def row(self) -> dict[str, Any]:
        return row(
            self.name,
            self.defaults,
            executor=self.executor,
            steps=self.described(),
            description=self.description,
        )

    def described(self) -> dict[str, Any]:
        """The stages, as the column `steps` of `howdah.kind`."""
        base = rules(self.defaults)
        return {
            name: {
                "position": position,
                "start": not self.inputs[name],
                "next": [consumer.name for consumer in place.consumers],
                "ends": not place.consumers,
                **{key: value for key, value in rules(place.defaults).items() if base[key] != value},
                "queue": place.queue,
            }
            for position, (name, place) in enumerate(self.places.items())
        }


def own_queue(document: Document, spec: StageSpec) -> str:
    """A stage with a limit has a queue to itself: the limit is on that."""
    return f"{document.name}.{spec.name}" if spec.concurrency else spec.defaults.queue
