"""collect: make one event of many."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Annotated

from msgspec import Meta

from howdah.context import Context
from howdah.errors import HowdahError
from howdah.pipeline import stage
from howdah.pipeline.stage import Event, InvalidField, More
from howdah.pipeline.stages import fields, templating


class Collect(stage.Stage):
    """Says which events belong together and what becomes of them. That they are kept until then is the engine's work."""

    class Config(stage.Config, frozen=True):
        size: Annotated[int, Meta(description="How many events are enough.", ge=1, le=1_000)] = 100
        window: Annotated[
            str | float,
            Meta(description='How long after the first event the others are waited for: "10s", or seconds.'),
        ] = "10s"
        by: Annotated[
            str | None,
            Meta(description="A template of the name of a group: events of one name are collected together."),
        ] = None
        into: Annotated[str, Meta(description="The field that gets the events.", min_length=1)] = "events"

    config: Config

    @cached_property
    def _by(self) -> templating.Text | None:
        return None if self.config.by is None else templating.text(self.config.by, "by")

    def check(self) -> None:
        _ = self._by
        if not fields.length(self.config.window, "window"):
            raise InvalidField("window", "window must be longer than nothing", hint='Write "10s"')
        if self.config.into in ("count", "group"):
            raise InvalidField("into", f"into cannot be {self.config.into!r}, which is a field of its own")

    def group(self, event: Event) -> str:
        """The name of the group an event belongs to; "" if there is only one. Raises Fail."""
        return "" if self._by is None else self._by.render(event)

    def emit(self, events: list[Event], group: str) -> Event:
        """The one event that those of a group become."""
        return {self.config.into: events, "count": len(events), "group": group}

    async def run(self, event: Event, ctx: Context) -> Iterable[Event] | More:
        raise HowdahError("the engine collects; this stage is not run")
