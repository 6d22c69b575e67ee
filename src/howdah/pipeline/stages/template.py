"""template: make new fields of those an event has."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Annotated, Any

from msgspec import Meta

from howdah.context import Context
from howdah.pipeline import stage
from howdah.pipeline.stage import Event, More
from howdah.pipeline.stages import templating


class Template(stage.Stage):
    """Sets fields, and keeps the others or not."""

    class Config(stage.Config, frozen=True):
        set: Annotated[
            dict[str, Any],
            Meta(
                description="Field: template. A text that is nothing but one {{ expression }} keeps the type of its value; "
                "lists and mappings may hold templates."
            ),
        ]
        keep: Annotated[bool, Meta(description="Whether the other fields of the event stay.")] = True

    config: Config

    @cached_property
    def _set(self) -> templating.Structure:
        return templating.structure(self.config.set, "set")

    def check(self) -> None:
        _ = self._set

    async def run(self, event: Event, ctx: Context) -> Iterable[Event] | More:
        made = self._set.render(event)
        return [event | made if self.config.keep else made]
