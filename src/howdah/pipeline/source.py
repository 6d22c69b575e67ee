"""A source that is asked again and again, as a task that never ends: one poll is one attempt, and its state is the payload."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec

from howdah.context import ClaimedTask, Context
from howdah.durations import duration
from howdah.errors import InvalidPayload
from howdah.kinds import ending
from howdah.kinds.standing import StandingKind
from howdah.outcomes import Transition
from howdah.payload import plain_json
from howdah.pipeline.kind import PipelineKind
from howdah.pipeline.stage import Polling

_LONGEST = 60.0


class _Memory(msgspec.Struct):
    """What a source remembers from poll to poll."""

    state: Any = None
    failures: int = 0


class SourceKind(StandingKind):
    """A polled source of a pipeline: what it finds begins at the stages that take it, in the transaction of the poll."""

    def __init__(self, pipeline: PipelineKind, stage: Polling, name: str) -> None:
        place = pipeline.places[name]
        own = f"{pipeline.name}.{name}"
        super().__init__(own, queue=place.queue, key=f"source:{own}", limit=place.defaults.timeout)
        self.pipeline = pipeline
        self.stage = stage
        self.place = place

    async def look(self, task: ClaimedTask, ctx: Context) -> Transition:
        """Poll once. A failed poll is an event of its history, and the next one comes later and later."""
        try:
            memory = msgspec.json.decode(task.payload, type=_Memory)
        except msgspec.DecodeError as error:
            return ending.parked(InvalidPayload(f"the state of source {self.name} cannot be read: {error}"))
        try:
            polled = await self.within_limit(self.stage.poll(memory.state))
            delay = duration(polled.delay, "delay")
            # Most looks find nothing new, and the state may be long.
            same = polled.state == memory.state and not memory.failures
            payload = None if same else self._remember(_Memory(polled.state))
            for event in polled.events:
                body = self.pipeline.encode_event(event)
                for to in self.place.consumers:
                    await ctx.effect(self.pipeline.task_at(to, body, source=self.key))
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

    def _remember(self, memory: _Memory) -> str:
        return plain_json(
            {"state": memory.state, "failures": memory.failures},
            f"the state of source {self.name}",
            max_bytes=self.pipeline.max_payload,
        )
