"""filter: let those events pass for which an expression is true."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Annotated

from msgspec import Meta

from howdah.context import Context
from howdah.pipeline import stage
from howdah.pipeline.stage import Event, More
from howdah.pipeline.stages import templating


class Filter(stage.Stage):
    """Passes an event on, or drops it."""

    class Config(stage.Config, frozen=True):
        when: Annotated[
            str,
            Meta(
                description="A Jinja2 expression without braces over the event's fields, such as: amount > 100 and currency == 'EUR'",
                min_length=1,
            ),
        ]

    config: Config

    @cached_property
    def _when(self) -> templating.Expression:
        return templating.expression(self.config.when, "when")

    def check(self) -> None:
        _ = self._when

    async def run(self, event: Event, ctx: Context) -> Iterable[Event] | More:
        return [event] if self._when.is_true(event) else []
