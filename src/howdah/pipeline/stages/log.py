"""log: write a line per event to the log of the process."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import cached_property
from typing import Annotated, Literal

from msgspec import Meta

from howdah.context import Context
from howdah.payload import plain_json
from howdah.pipeline import stage
from howdah.pipeline.stage import Event, More
from howdah.pipeline.stages import templating

LONGEST = 2_000


class Log(stage.Stage):
    """Writes to the logger howdah.pipeline.<pipeline>.<stage> and passes the event on."""

    class Config(stage.Config, frozen=True):
        message: Annotated[
            str | None,
            Meta(description="A template of the line. Without it: the event as JSON, cut at 2,000 characters."),
        ] = None
        level: Annotated[
            Literal["debug", "info", "warning", "error", "critical"], Meta(description="The level of the line.")
        ] = "info"

    config: Config

    @cached_property
    def _message(self) -> templating.Text | None:
        return None if self.config.message is None else templating.text(self.config.message, "message")

    def check(self) -> None:
        _ = self._message

    async def run(self, event: Event, ctx: Context) -> Iterable[Event] | More:
        line = plain_json(event, "event") if self._message is None else self._message.render(event)
        # As an argument: a message with a % in it is no format.
        self._logger.log(logging.getLevelNamesMapping()[self.config.level.upper()], "%s", one_line(line))
        return [event]

    @cached_property
    def _logger(self) -> logging.Logger:
        return logging.getLogger(f"howdah.pipeline.{self.setting.pipeline}.{self.setting.stage}")


def one_line(text: str) -> str:
    """A text that cannot pretend to be two lines, move the cursor or turn what follows around; cut."""
    cut = text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in cut.rstrip("\n")
    )
