"""Collecting: events that wait for others in the inbox of a task of its own, until their window closes."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from copy import copy
from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
from psycopg import AsyncConnection

from howdah import calls
from howdah.app import App
from howdah.backoff import Retry
from howdah.context import ClaimedTask, Context
from howdah.db.pool import run_on
from howdah.durations import duration
from howdah.errors import InvalidOption, InvalidPayload, TaskNotFound
from howdah.kinds import ending
from howdah.kinds.registry import Beginning
from howdah.kinds.standing import StandingKind
from howdah.outcomes import Transition
from howdah.payload import plain_json
from howdah.pipeline.kind import PipelineKind, StageStep
from howdah.pipeline.stage import Event
from howdah.pipeline.stages.collect import Collect
from howdah.templates import Exactly

# A window without events keeps its task for so long: groups come and go.
_IDLE = timedelta(hours=1)
# What the names of the fields and the rest of a group take of the size an event may have.
_FRAME = 1000


class _Window(msgspec.Struct):
    """What a collector has so far: `until` is when the window closes, by the clock of whoever looks."""

    group: str = ""
    events: list[Event] = []
    until: float | None = None


class CollectorKind(StandingKind):
    """Collects the events of one stage, a task for each group."""

    def __init__(self, pipeline: PipelineKind, stage: Collect, name: str, app: App) -> None:
        self.place = pipeline.places[name]
        super().__init__(f"{pipeline.name}.{name}", queue=self.place.queue)
        self.pipeline = pipeline
        self.stage = stage
        self._app = app
        self._ids: dict[str, int] = {}
        self._length = duration(stage.config.window, "window").total_seconds()

    async def id_of(self, group: str) -> int:
        """The task that collects this group, made if need be."""
        known = self._ids.get(group)
        if known is None:
            task = await self._app.using(key=Exactly(self._key(group))).enqueue(self.name, group=group)
            known = self._ids[group] = task.id
            if len(self._ids) > 10_000:
                self._ids = {group: known}
        return known

    def _key(self, group: str) -> str:
        named = f"collect:{self.name}:{group}"
        return named if len(named) <= 500 else f"collect:{self.name}#{hashlib.sha256(group.encode()).hexdigest()}"

    def forget(self, group: str) -> None:
        """Its task has ended."""
        self._ids.pop(group, None)

    async def look(self, task: ClaimedTask, ctx: Context) -> Transition:
        """Read what came, and pass on what is full or over."""
        try:
            window = msgspec.json.decode(task.payload, type=_Window)
        except msgspec.DecodeError as error:
            return ending.parked(InvalidPayload(f"what {self.name} has collected cannot be read: {error}"))
        mail = ctx.mail
        letters = mail.letters if mail is not None else []
        idle = not letters and not window.events
        size, length = self.stage.config.size, self._length
        most = self.pipeline.max_payload - len(window.group.encode()) - _FRAME
        held = len(task.payload) if window.events else 0
        try:
            for letter in letters:
                # What would be too big for an event goes on before it is.
                if window.events and held + len(letter.body) > most:
                    await self._pass_on(ctx, window)
                held = len(letter.body) + (held if window.events else 0)
                if not window.events:
                    window.until = time.time() + length
                window.events.append(msgspec.json.decode(letter.body, type=dict[str, Any]))
                if len(window.events) >= size:
                    await self._pass_on(ctx, window)
            left = 0.0
            if window.until is not None:
                # Neither a clock that was set nor an older file keeps a window open for longer than it may be.
                window.until = min(window.until, time.time() + length)
                left = window.until - time.time()
            if window.events and left <= 0:
                await self._pass_on(ctx, window)
            payload = plain_json(
                {"group": window.group, "events": window.events, "until": window.until},
                f"what {self.name} has collected",
                max_bytes=self.pipeline.max_payload + _FRAME,
            )
        except (InvalidPayload, msgspec.DecodeError) as error:
            ctx.forget_effects()
            return ending.parked(error)
        read = [letter.id for letter in letters]
        more = mail is not None and mail.more
        if idle and not more and window.group and task.step_no > 0:
            self.forget(window.group)
            return self._end(task, ctx, inbox_seq=mail.inbox_seq if mail is not None else 0)
        return Transition(
            "queued" if more else "suspended",
            payload=payload,
            delay=None if more else self._until(window, left),
            attempts="reset",
            consumed=read,
            inbox_seq=mail.inbox_seq if mail is not None else 0,
        )

    def _until(self, window: _Window, left: float) -> timedelta | None:
        """When to look again if nothing comes."""
        if window.events:
            return timedelta(seconds=max(left, 0.001))
        return _IDLE if window.group else None

    def _end(self, task: ClaimedTask, ctx: Context, *, inbox_seq: int) -> Transition:
        """The end, unless an event comes before it is committed."""
        end = Transition("succeeded")

        async def look_again(connection: AsyncConnection[Any]) -> None:
            # Locked: whoever sends now waits for us, and is told then that there is nobody.
            await connection.execute("select howdah.lock_tasks(%s)", [[task.id]])
            (now,) = await run_on(connection, calls.find({"ids": [task.id]}))
            if now["inbox_seq"] != inbox_seq:
                end.to, end.attempts = "queued", "reset"

        ctx.on_commit(look_again)
        return end

    async def _pass_on(self, ctx: Context, window: _Window) -> None:
        body = self.pipeline.encode_event(self.stage.emit(window.events, window.group))
        for to in self.place.consumers:
            await ctx.effect(self.pipeline.task_at(to, body, source=f"task:{ctx.id}"))
        window.events = []
        window.until = None

    # ── as a kind ──

    def begin(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Beginning:
        if args:
            raise InvalidOption(f"{self.name} collects for its pipeline", hint="Enqueue events of the pipeline")
        return self.named(None, kwargs)

    def row(self) -> dict[str, Any]:
        return super().row() | {"inbox": {}}


class CollectStep(StageStep):
    """The step of an event that is to be collected: into the inbox of its group, and the event has ended."""

    def __init__(self, step: StageStep, collector: CollectorKind) -> None:
        super().__init__(step.pipeline, step.place, step.stage)
        self.collector = collector
        # A group whose task has just ended gets another one: that is no failure of the event.
        again = copy(self.defaults.retry)
        again.rules = again.rules | {TaskNotFound: Retry(20, delay="10ms")}
        self.defaults = replace(self.defaults, retry=again)

    async def work(self, task: ClaimedTask, event: Event, ctx: Context) -> Transition:
        group = self.collector.stage.group(event)
        # One that alone is too big would keep its group from ever passing on.
        self.pipeline.encode_event(self.collector.stage.emit([event], group))
        if task.last_error is not None:
            self.collector.forget(group)  # perhaps because its task has ended meanwhile
        to = await self.collector.id_of(group)
        ctx.send(to, event)
        return Transition(
            "succeeded", event="end", details={"from": self.place.name, "attempts": task.attempt, "into": to}
        )
