"""A poller whose instructions become tasks. It is a task itself, one that never ends: a poll is an attempt, and how many polls
in a row produced nothing is its payload. So it runs once in the fleet, and goes on wherever it was."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar, cast

import msgspec

from howdah import calls
from howdah.caller import Caller
from howdah.context import ClaimedTask, Context
from howdah.enqueue import new_task, newborn
from howdah.errors import HowdahError, InvalidOption, InvalidPayload, shown
from howdah.kinds import ending
from howdah.kinds.machine import MachineKind
from howdah.kinds.registry import Beginning, Kind
from howdah.kinds.standing import StandingKind
from howdah.options import check_name, options
from howdah.outcomes import Transition
from howdah.poller import Asked, Asking, DuplicateInstruction, ErrorEvent, Poller, TaskEvent, instruction_key
from howdah.poller.listeners import Listeners, Listening
from howdah.templates import Exactly

R = TypeVar("R")
log = logging.getLogger("howdah.poller")
_NO_DELAY = timedelta(seconds=1)


class _Memory(msgspec.Struct):
    """What a poller remembers from poll to poll."""

    attempt: int = 0


class Instructions:
    """The tasks that a poller makes: of one kind, with keys of its own."""

    def __init__(self, name: str, into: Kind, step: str | None, caller: Caller) -> None:
        if isinstance(into, MachineKind) and step is None:
            raise InvalidOption(
                f"into must be the step that the tasks of poller {name!r} begin at, not the machine {into.name}",
                hint="Write the class of the step: into=Ship",
            )
        self.name = name
        self.into = into
        self.step = step
        self.source = f"poller:{name}"
        self._caller = caller

    async def live(self) -> tuple[list[Any], dict[str, str]]:
        """The instructions whose tasks are live, and where each key stands, those of parked tasks as well."""
        rows = await self._caller.run(calls.instructions(self.source))
        active = [self._instruction(found) for found in rows if found["status"] != "failed"]
        return active, {found["key"]: found["status"] for found in rows}

    async def active(self) -> list[Any]:
        return (await self.live())[0]

    def key(self, instruction: Any) -> str:
        return f"{self.name}:{instruction_key(instruction)}"

    def row(self, instruction: Any) -> dict[str, Any]:
        """Its task, as `howdah.spawn` takes it, all but its id. Raises InvalidPayload if the task does not take it."""
        chosen = options(key=Exactly(self.key(instruction)), on_conflict="skip")
        row = newborn(self.into, self._beginning(instruction), chosen, child=False) | {"source": self.source}
        row.pop("unique_for", None)  # an instruction may come again when its task has ended
        return row

    async def enqueue(self, instruction: Any) -> None:
        """Make its task now, by itself. Raises DuplicateInstruction if there is one, be it that another worker was faster."""
        chosen = options(key=Exactly(self.key(instruction)), on_conflict="skip")
        new = replace(
            new_task(self.into.name, self._beginning(instruction), chosen), source=self.source, unique_for=None
        )
        if await self._caller.run(calls.enqueue(new, defaults_known=True)) is None:
            raise self.duplicate(instruction, "has a task already")

    def duplicate(self, instruction: Any, what: str) -> DuplicateInstruction:
        return DuplicateInstruction(
            f"instruction {shown(instruction)} of poller {self.name!r} {what}: it was not taken again",
            hint="Leave out what poll.active has; mend the cause of what is parked and retry it, or cancel it: howdah ls -s failed",
            instruction=instruction,
        )

    def _beginning(self, instruction: Any) -> Beginning:
        # An object gives the arguments, or the fields of a step, by name; everything else is the first of them.
        if isinstance(instruction, Mapping):
            return self.into.named(self.step, cast("Mapping[str, Any]", instruction))
        if isinstance(self.into, MachineKind):
            step = self.into.steps[self.step or ""]
            payload = step.fields.encode_arguments((instruction,), {}, max_bytes=self.into.max_payload)
            return Beginning(payload, step.defaults, step.step)
        return self.into.begin((instruction,), {})

    def _instruction(self, found: Mapping[str, Any]) -> Any:
        """What was returned for this task."""
        payload: dict[str, Any] = found["payload"]
        # The key alone does not tell 7 from "7". But a machine or an actor that has begun has another payload.
        text = found["key"].removeprefix(f"{self.name}:")
        for instruction in (*payload.values(), payload, _read(text), text):
            if self._is(instruction, found["key"]):
                return instruction
        return payload  # of the key there is only a digest

    def _is(self, instruction: Any, key: str) -> bool:
        try:
            return self.key(instruction) == key
        except HowdahError:
            return False


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


class PollerKind(StandingKind):
    """A poller, as workers see it."""

    def __init__(
        self,
        asking: Asking[Any],
        poll: Callable[..., Any],
        instructions: Instructions,
        *,
        queue: str,
        limit: timedelta | None,
        each_worker: bool,
    ) -> None:
        own = check_name(f"poller:{asking.name}", "the kind of a poller, poller:NAME,")
        super().__init__(own, queue=queue, key=own, limit=limit)
        self.asking = asking
        self.poll = poll
        self.instructions = instructions
        self.in_each_worker = each_worker
        self.listeners = Listeners[Any](asking.name)

    # ── polling ──

    async def look(self, task: ClaimedTask, ctx: Context) -> Transition:
        """Poll once. The instructions are written with the end of the attempt; what is wrong does not stop it."""
        if self.in_each_worker:
            return Transition("cancelled", reason="each worker polls for itself now", event="cancel")
        try:
            memory = msgspec.json.decode(task.payload, type=_Memory)
        except msgspec.DecodeError as error:
            return ending.parked(InvalidPayload(f"the state of {self.name} cannot be read: {error}"))
        active, live = await self.instructions.live()
        taken: list[Any] = []
        errors: list[Exception] = []
        if self.asking.room(len(active)):
            taken, errors = await self._ask(ctx, active, live, memory.attempt)
            memory.attempt = 0 if taken else memory.attempt + 1
        try:
            delay = await self.asking.delay_after(memory.attempt)
        except Exception as error:
            errors.append(error)
            delay = _NO_DELAY
        ctx.afterwards = lambda: self.tell(taken, errors)
        return Transition(
            "queued",
            payload=msgspec.json.encode(memory).decode(),
            delay=delay,
            attempts="reset",
            event=_event(errors),
            error=ending.in_a_line(errors[0]) if errors else None,
            effects=ctx.effects,  # what is good of the result counts, whatever is wrong with the rest
        )

    async def _ask(
        self, ctx: Context, active: Sequence[Any], live: Mapping[str, str], attempt: int
    ) -> tuple[list[Any], list[Exception]]:
        asked = await self._asked(active, attempt)
        taken: list[Any] = []
        errors = list(asked.errors)
        for instruction in asked.instructions:
            try:
                # By the key of the task itself: what is active may be all that is known of the instruction.
                if status := live.get(self.instructions.key(instruction)):
                    what = "has a task that is parked" if status == "failed" else "is active already"
                    raise self.instructions.duplicate(instruction, what)
                await ctx.effect(self.instructions.row(instruction))
                taken.append(instruction)
            except HowdahError as error:  # it does not fit the task, or its key cannot be stored
                errors.append(error)
        return taken, errors

    async def _asked(self, active: Sequence[Any], attempt: int) -> Asked[Any]:
        try:
            return await self.within_limit(self.asking.ask(self.poll, active, attempt))
        except ending.TimedOut as error:
            return Asked(errors=[error])

    def tell(self, taken: Sequence[Any], errors: Sequence[Exception]) -> None:
        """Tell the listeners, when it is committed."""
        for error in errors:
            self.listeners.tell(ErrorEvent(self.asking.name, error))  # the worker has logged it
        for instruction in taken:
            self.listeners.tell(TaskEvent(self.asking.name, instruction))

    def each_worker(self) -> Poller[Any]:
        """The same as a poller of one process: each worker asks for itself."""
        writing = asyncio.Lock()

        async def active() -> list[Any]:
            async with writing:  # what the last poll returned counts
                return await self.instructions.active()

        async def task(event: TaskEvent[Any]) -> None:
            async with writing:
                await self.instructions.enqueue(event.instruction)
            self.tell([event.instruction], [])

        poller: Poller[Any] = Poller(self.asking.name, self.poll, active=active)
        poller.asking = self.asking

        poller.on("task", task)
        poller.on("error", lambda event: self.tell([], [event.error]))
        return poller

    # ── as a kind ──

    def named(self, step: str | None, fields: Mapping[str, Any]) -> Beginning:
        """For edit: how many polls in a row produced nothing."""
        try:
            memory = msgspec.convert(fields, _Memory)
        except msgspec.ValidationError as error:
            raise InvalidPayload(f"{self.name}: {error}", hint='Its payload is {"attempt": 0}') from error
        return Beginning(msgspec.json.encode(memory).decode(), self.defaults)

    def row(self) -> dict[str, Any]:
        return super().row() | {"description": inspect.getdoc(self.poll)}


def _event(errors: Sequence[Exception]) -> str | None:
    return None if not errors else "timeout" if isinstance(errors[0], ending.TimedOut) else "error"


class AppPoller(Listening[Any]):
    """What `@app.poller` makes of a function: call it as before, listen to its events."""

    def __init__(self, kind: PollerKind) -> None:
        self.kind = kind
        self.name = kind.asking.name
        self.__wrapped__ = kind.poll
        self.__name__ = getattr(kind.poll, "__name__", self.name)
        self.__doc__ = kind.poll.__doc__

    def __call__(self, poll: Any) -> Any:
        """Call the function itself, here and now."""
        return self.kind.poll(poll)

    def _listen(self, event: str, listener: Callable[[Any], Any]) -> None:
        """In the worker that polled: "task" when the task of an instruction is committed."""
        self.kind.listeners.add(event, listener)

    def __repr__(self) -> str:
        return f"<poller {self.name}>"
