"""Timetable: when a schedule fires. (A stand-in until the real one is written over it.)"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cronsim import CronSim

from howdah.durations import Duration, duration


@dataclass(frozen=True)
class Timetable:
    cron: str | None = None
    every: Any = None
    timezone: str = "UTC"
    start: datetime | None = None
    end: datetime | None = None
    anchor: datetime | None = None

    def __init__(
        self,
        cron: str | None = None,
        *,
        every: Duration | None = None,
        timezone: str = "UTC",
        start: datetime | None = None,
        end: datetime | None = None,
        anchor: datetime | None = None,
    ) -> None:
        for name, value in (
            ("cron", cron),
            ("every", None if every is None else duration(every)),
            ("timezone", timezone),
            ("start", start),
            ("end", end),
            ("anchor", anchor),
        ):
            object.__setattr__(self, name, value)

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Timetable:
        return cls(
            row["cron"],
            every=row["every"],
            timezone=row["timezone"],
            start=row["starts_at"],
            end=row["ends_at"],
            anchor=row["anchor"],
        )

    def after(self, moment: datetime) -> datetime | None:
        if self.every is not None:
            base = self.anchor or self.start or datetime(1970, 1, 1, tzinfo=UTC)
            n = (moment - base) // self.every
            return base + (n + 1) * self.every
        return next(CronSim(self.cron or "", moment.astimezone(UTC)))

    def between(self, after: datetime, until: datetime, at_most: int) -> list[datetime]:
        found: list[datetime] = []
        tick = self.after(after)
        while tick is not None and tick <= until and len(found) < at_most:
            found.append(tick)
            tick = self.after(tick)
        return found

    def latest(self, after: datetime, until: datetime) -> datetime | None:
        found = self.between(after, until, 100000)
        return found[-1] if found else None

    def upcoming(self, moment: datetime, count: int = 10) -> list[datetime]:
        return self.between(moment, moment + timedelta(days=3650), count)
