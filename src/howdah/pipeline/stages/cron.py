"""cron: fire by the calendar and the clock on the wall."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, ClassVar

from msgspec import Meta, field

from howdah.errors import InvalidOption
from howdah.kinds.schedule import Missed, Overlap
from howdah.pipeline import stage
from howdah.pipeline.stage import Event, InvalidField
from howdah.pipeline.stages import fields
from howdah.timetable import Timetable

Moment = Annotated[datetime, Meta(tz=True)]


class Timed(stage.Scheduled):
    """What cron and interval share: all but which ticks there are."""

    class Config(stage.Config, frozen=True):
        payload: Annotated[dict[str, Any], Meta(description="The event of each tick.")] = field(
            default_factory=dict[str, Any]
        )
        missed: Annotated[
            Missed,
            Meta(description="Ticks that no worker fired in time: skip them, fire the latest of them, or all."),
        ] = "latest"
        overlap: Annotated[
            Overlap,
            Meta(
                description="With the event of an earlier tick still under way: allow another, skip the tick, or queue it"
                " behind."
            ),
        ] = "allow"
        jitter: Annotated[
            str | float | None,
            Meta(
                description='Each event starts up to so much later, at random: "30s", or seconds. Without it: on time.'
            ),
        ] = None
        start: Annotated[
            Moment | None,
            Meta(description="No tick before this, a time with its zone: 2027-01-31T12:00:00+02:00."),
        ] = None
        end: Annotated[
            Moment | None,
            Meta(description="No tick at or after this, a time with its zone: 2027-01-31T12:00:00+02:00."),
        ] = None

    config: Config
    # The fields of the config that make the timetable. Each is checked with those before it, and so is the one to blame.
    timetable: ClassVar[tuple[str, ...]]

    def check(self) -> None:
        given: dict[str, Any] = {}
        for name in self.timetable:
            given[name] = getattr(self.config, name)
            try:
                Timetable(**given)
            except InvalidOption as error:
                raise InvalidField(name, error.message, hint=error.hint) from None
        if self.config.jitter is not None:
            fields.length(self.config.jitter, "jitter")

    def schedule(self) -> Mapping[str, Any]:
        names = (*self.timetable, "missed", "overlap", "jitter")
        return {name: getattr(self.config, name) for name in names}

    def event(self) -> Event:
        return dict(self.config.payload)


class Cron(Timed):
    class Config(Timed.Config, frozen=True, kw_only=True):
        cron: Annotated[
            str,
            Meta(
                description="When: minute, hour, day of the month, month, day of the week, such as 30 3 * * 1-5; six fields"
                " begin with the second. Or @hourly, @daily, @weekly, @monthly, @yearly. In quotes."
            ),
        ]
        timezone: Annotated[str, Meta(description="Whose clock cron means, by the name of a place: Europe/Riga.")] = (
            "UTC"
        )

    timetable = ("cron", "timezone", "start", "end")
