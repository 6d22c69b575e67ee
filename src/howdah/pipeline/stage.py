"""Stage: what a module is to a pipeline. Modules of one's own are subclasses, known by the entry point `howdah.stages`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import msgspec

from howdah.context import Context
from howdah.durations import Duration
from howdah.errors import InvalidOption

Event = dict[str, Any]


class Config(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, frozen=True):
    """What stands under `config:`. Subclasses give the fields, their types, defaults and descriptions.

    The check of a file and the JSON Schema for editors are made from them: Annotated[str, msgspec.Meta(description="…")].
    """


@dataclass(frozen=True, slots=True)
class Setting:
    """Where a stage stands: its pipeline, its own name, the folder that paths in its file begin at, whether others feed it."""

    pipeline: str
    stage: str
    folder: Path
    fed: bool | None = None


class InvalidField(InvalidOption):
    """A field of a config that cannot be meant. `field` is its path under `config`, such as ("headers", "Accept")."""

    def __init__(self, field: str | tuple[str | int, ...], message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.field = (field,) if isinstance(field, str) else field


@dataclass(frozen=True, slots=True)
class More:
    """What `run` may return instead of events: these, and the stage is asked once more, with `then` as its event.

    For what would be too much at once: the events are committed, and a crash goes on from there.
    """

    events: Iterable[Event]
    then: Event


@dataclass(frozen=True, slots=True)
class Polled:
    """What a polled source answers: events, what it wants to remember, and how long to wait before the next poll."""

    events: list[Event] = field(default_factory=list[Event])
    state: Any = None
    delay: Duration = 0


class Stage:
    """One stage of one pipeline, made from its checked config.

    `inputs`: whether it needs events from other stages ("required"), makes them itself ("none"), or may do either.
    Attempts of one stage run at the same time: what `run` keeps in `self` must bear it.
    """

    Config: ClassVar[type[Config]] = Config
    inputs: ClassVar[Literal["required", "none", "optional"]] = "required"

    def __init__(self, config: Any, setting: Setting) -> None:
        self.config = config
        self.setting = setting

    def check(self) -> None:
        """What a type cannot say: a cron expression, a template, a function that must be there. Opens and starts nothing.

        Raises InvalidField.
        """

    async def run(self, event: Event, ctx: Context) -> Iterable[Event] | More:
        """The events that one event becomes: none, one or many, committed together with the end of this step.

        What it raises fails the attempt, which is tried again as the stage's `retry` says; `Fail`, `Snooze` and
        `Retry.after(…)` mean what they mean everywhere.
        """
        raise NotImplementedError

    async def close(self) -> None:
        """Let go of connections. Called once, when the worker ends."""


class Scheduled(Stage):
    """A source that fires by the clock. `run` gets the event of each tick."""

    inputs = "none"

    def schedule(self) -> Mapping[str, Any]:
        """When: the arguments of `App.schedule` but name and task: cron or every, timezone, missed, overlap, …"""
        raise NotImplementedError

    def event(self) -> Event:
        """What each tick starts with."""
        return {}

    async def run(self, event: Event, ctx: Context) -> Iterable[Event] | More:
        return [event]


class Polling(Stage):
    """A source that is asked again and again, by one worker at a time; its state survives restarts."""

    inputs = "none"

    async def poll(self, state: Any) -> Polled:
        """Look, with the state the last poll returned (None at first). Events and state are committed together."""
        raise NotImplementedError

    async def run(self, event: Event, ctx: Context) -> Iterable[Event] | More:
        return [event]
