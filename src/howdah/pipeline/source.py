"""A source that is asked again and again, as a task that never ends: one poll is one attempt, and its state is the payload."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec

from howdah.calls import NewTask
from howdah.context import ClaimedTask, Context
from howdah.durations import duration
from howdah.errors import InvalidOption, InvalidPayload
from howdah.kinds import ending
from howdah.kinds.registry import Beginning, Defaults, Executor, row
from howdah.kinds.standing import PRIORITY, STANDING_LOST
from howdah.outcomes import Transition
from howdah.payload import plain_json
from howdah.pipeline.kind import PipelineKind
from howdah.pipeline.stage import Polled, Polling

_LONGEST = 60.0


class _Memory(msgspec.Struct):
    """What a source remembers from poll to poll."""

    state: Any = None
    failures: int = 0


class SourceKind:
    """A polled source of a pipeline: what it finds begins at the stages that take it, in the transaction of the poll."""

    executor: Executor = "loop"
    transactional = False
    reads_all = False
    source = ("", "")

    def __init__(self, pipeline: PipelineKind, stage: Polling, name: str) -> None:
        self.pipeline = pipeline
        self.stage = stage
        self.name = f"{pipeline.name}.{name}"
        self.place = pipeline.places[name]
        self.limit = self.place.defaults.timeout
        # Its time limit is kept here: a poll that is too slow is one that failed, not an attempt of so many.
        self.defaults = Defaults(queue=self.place.queue, priority=PRIORITY, max_lost=STANDING_LOST)

    def standing(self) -> NewTask:
        """The one task of it."""
        return NewTask(self.name, "{}", queue=self.place.queue, priority=PRIORITY, key=f"source:{self.name}")

    async def attempt(self, task: ClaimedTask, ctx: Context) -> Transition:
        """Poll once. A failed poll is an event of its history, and the next one comes later and later."""
        try:
            memory = msgspec.json.decode(task.payload, type=_Memory)
        except msgspec.DecodeError as error:
            return ending.parked(InvalidPayload(f"the state of source {self.name} cannot be read: {error}"))
        try:
            polled = await self._poll(memory.state)
            delay = duration(polled.delay, "delay")
            payload = self._remember(_Memory(polled.state))
            for event in polled.events:
                body = self.pipeline.encode_event(event)
                for to in self.place.consumers:
                    await ctx.effect(self.pipeline.task_at(to, body, source=f"source:{self.name}"))
        except Exception as error:
            ctx.forget_effects()
            memory.failures += 1
            delay = timedelta(seconds=min(2.0 ** min(memory.failures, 10) / 2, _LONGEST))
            return Transition(
                "queued",
                payload=self._remember(memory),
                delay=delay,
                attempts="unspent",
                error=ending.in_a_line(error),
                event="error",
                details={"delay": delay.total_seconds()},
            )
        return Transition("queued", payload=payload, delay=delay, attempts="reset")

    async def _poll(self, state: Any) -> Polled:
        clock = asyncio.timeout(None if self.limit is None else self.limit.total_seconds())
        try:
            async with clock:
                return await self.stage.poll(state)
        except TimeoutError:
            if self.limit is None or not clock.expired():
                raise  # the stage's own
            raise ending.TimedOut(self.limit) from None

    def _remember(self, memory: _Memory) -> str:
        return plain_json(
            {"state": memory.state, "failures": memory.failures},
            f"the state of source {self.name}",
            max_bytes=self.pipeline.max_payload,
        )

    # ── as a kind ──

    def at(self, step: str | None) -> SourceKind:
        return self

    def handlers(self) -> tuple[SourceKind]:
        return (self,)

    def check(self) -> None:
        pass

    def begin(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Beginning:
        raise InvalidOption(f"{self.name} is a source: it has one task, which its workers make", hint="Start a worker")

    born = begin

    def named(self, step: str | None, fields: Mapping[str, Any]) -> Beginning:
        """For edit: its state."""
        return Beginning(plain_json(dict(fields), self.name), self.defaults)

    def read_result(self, value: Any) -> Any:
        return value

    def row(self) -> dict[str, Any]:
        # A worker that does not stop a poll in time is known by the limit.
        return row(self.name, replace(self.defaults, timeout=self.limit), executor=self.executor)
