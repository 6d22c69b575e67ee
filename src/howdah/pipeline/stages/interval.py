"""interval: fire every so much time, whatever the clock on the wall shows."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from howdah.pipeline.stages.cron import Timed


class Interval(Timed):
    class Config(Timed.Config, frozen=True, kw_only=True):
        every: Annotated[
            str | float,
            Meta(
                description='The time from one tick to the next, at least 100ms: "10s", or seconds. It counts from start,'
                " or from a moment of its own, so that not all intervals fire together."
            ),
        ]

    timetable = ("every", "start", "end")
