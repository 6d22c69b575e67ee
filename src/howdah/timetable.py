"""Timetable: when a schedule fires. Ticks are points in time, in UTC; only the wording of cron is local.

cronsim reads the expressions and walks wall clock time, which has no gaps. How wall clock time lies on real time is decided
here, as cronsim 2.8 answers from within the second pass of a fold with a time of the first, which is past; leaves out jobs of
six fields in a gap and repeats them in a fold; and where clocks move by half an hour, loses ticks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice, takewhile
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from howdah.cron import Expression, expression
from howdah.cron import checked as checked_cron
from howdah.durations import Duration, duration, moment
from howdah.errors import InvalidOption, nearest, shown

SHORTEST = timedelta(milliseconds=100)  # Below this it is a loop, and the row of the schedule is its brake.
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = timedelta(seconds=1)  # what cron counts in
_INSTANT = timedelta(microseconds=1)  # what a datetime counts in
# Between them any time zone can be applied without leaving what a datetime holds.
_FIRST, _LAST = datetime(2, 1, 1, tzinfo=UTC), datetime(9998, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, init=False)
class Timetable:
    """When to fire: by cron in a time zone, or every so much elapsed time.

    `cron` has five fields, or six with the seconds first, or is @hourly, @daily, @midnight, @weekly, @monthly, @yearly or
    @annually. Day of the month and day of the week: either is enough, but both must match if one begins with *.

    Where the clocks change, a cron whose minute and hour both are fixed (neither begins with *) fires once per
    wall clock time: at the first moment after a gap that swallowed it, and in the first pass of an hour that comes twice.
    Any other cron goes by real time: nothing fires in a gap, and an hour that comes twice counts twice.

    `every`, at least 100 ms, counts from `anchor`, else from `start`, else from 1970; the calendar does not touch it.
    Ticks are at or after `start` and before `end`.

    Raises InvalidOption that names the option.

    >>> print(Timetable("*/33 * * * * *", timezone="Europe/Riga"))
    */33 * * * * * Europe/Riga
    >>> Timetable("@daily").after(datetime(2027, 1, 1, tzinfo=UTC)).isoformat()
    '2027-01-02T00:00:00+00:00'
    """

    cron: str | None
    every: timedelta | None
    timezone: str
    start: datetime | None
    end: datetime | None
    anchor: datetime | None

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
        if (cron is None) == (every is None):
            raise InvalidOption(
                "neither cron nor every was given" if cron is None else "cron and every were both given",
                hint='Give one of them: cron="30 3 * * *" or every="10s"',
            )
        checked: dict[str, Any] = {
            "cron": None if cron is None else checked_cron(cron),
            "every": None if every is None else _every(every),
            "timezone": _timezone(timezone),
            "start": None if start is None else _utc(start, "start"),
            "end": None if end is None else _utc(end, "end"),
            "anchor": None if anchor is None else _utc(anchor, "anchor"),
        }
        first, last = checked["start"], checked["end"]
        if first is not None and last is not None and last <= first:
            raise InvalidOption(
                f"end ({last.isoformat()}) must be after start ({first.isoformat()})",
                hint="Leave one of them out, or move it",
            )
        vars(self).update(checked)

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Timetable:
        """That of a row of `howdah.schedule`. Raises InvalidOption, as what stands in a table can be anything."""
        return cls(
            row["cron"],
            every=row["every"],
            timezone=row["timezone"],
            start=row["starts_at"],
            end=row["ends_at"],
            anchor=row["anchor"],
        )

    def after(self, moment: datetime) -> datetime | None:
        """The first tick later than `moment`, in UTC; None when there is none any more."""
        since = _utc(moment, "moment")
        if self.start is not None and since < self.start:
            since = self.start - _INSTANT
        tick = self._after(since)
        return None if tick is None or (self.end is not None and tick >= self.end) else tick

    def between(self, after: datetime, until: datetime, at_most: int) -> list[datetime]:
        """The ticks later than `after` and not later than `until`, oldest first, at most so many."""
        until = _utc(until, "until")
        return list(islice(takewhile(lambda tick: tick <= until, self._ticks(after)), at_most))

    def latest(self, after: datetime, until: datetime) -> datetime | None:
        """The last tick later than `after` and not later than `until`. A year of seconds takes it no longer than a day."""
        until = _utc(until, "until")
        found = self.after(after)
        if found is None or found > until:
            return None
        if self.every is not None:
            last = until if self.end is None else min(until, self.end - _INSTANT)
            return found + (last - found) // self.every * self.every
        # Halve what may hold a later one. Walking back would be a second implementation of the rule for gap and fold.
        none_after = until
        while none_after - found >= _TICK:
            middle = found + (none_after - found) / 2
            tick = self.after(middle)
            if tick is None or tick > until:
                none_after = middle
            else:
                found = tick
        return found

    def upcoming(self, moment: datetime, count: int = 10) -> list[datetime]:
        """The first `count` ticks later than `moment`; fewer when it is over."""
        return list(islice(self._ticks(moment), count))

    def __str__(self) -> str:
        return f"every {_exactly(self.every)}" if self.every is not None else f"{self.cron} {self.timezone}"

    def _ticks(self, after: datetime) -> Iterator[datetime]:
        tick = self.after(after)
        while tick is not None:
            yield tick
            tick = self.after(tick)

    def _after(self, since: datetime) -> datetime | None:
        if self.every is not None:
            origin = self.anchor or self.start or _EPOCH
            try:
                return origin + ((since - origin) // self.every + 1) * self.every
            except OverflowError:
                return None
        read, zone = expression(self.cron or ""), _zone(self.timezone)
        if read.by_the_clock:
            return _by_the_clock(read, zone, since)
        return _by_real_time(read, zone, since)


# Gap and fold


def _by_the_clock(expression: Expression, zone: ZoneInfo, since: datetime) -> datetime | None:
    """As if the clock on the wall never went back: it stands still in a fold, and a gap is one jump."""
    wall = _on_the_wall(since, zone)
    while (wall := expression.next(wall)) is not None:
        tick = _comes(wall, zone)
        if tick > since:
            return tick
        # The second pass of a fold: this one was in the first.
    return None


def _by_real_time(expression: Expression, zone: ZoneInfo, since: datetime) -> datetime | None:
    """Whenever the clock on the wall shows a time of the expression."""
    wall = _on_the_wall(since, zone)
    if (again := since.astimezone(zone).replace(fold=1).astimezone(UTC)) > since:
        # In the first pass of a fold. What comes next may have come before, on the wall.
        change = _change(zone, since, again)
        following = expression.next(wall)
        if following is not None and (tick := since.replace(microsecond=0) + (following - wall)) < change:
            return tick
        since, wall = change - _TICK, _on_the_wall(change, zone) - _TICK
    while (wall := expression.next(wall)) is not None:
        for fold in (0, 1):
            tick = wall.replace(tzinfo=zone, fold=fold).astimezone(UTC)
            if tick > since and _on_the_wall(tick, zone) == wall:
                return tick
        wall = max(wall, _on_the_wall(_comes(wall, zone), zone) - _TICK)  # In a gap, its end may be the next.
    return None


def _on_the_wall(instant: datetime, zone: ZoneInfo) -> datetime:
    """What a clock on the wall shows, without hands for fractions of a second."""
    return instant.astimezone(zone).replace(tzinfo=None, fold=0, microsecond=0)


def _comes(wall: datetime, zone: ZoneInfo) -> datetime:
    """When the clock on the wall first shows this or more: in a gap, its end."""
    tick = wall.replace(tzinfo=zone).astimezone(UTC)
    if _on_the_wall(tick, zone) == wall:
        return tick
    return _change(zone, wall.replace(tzinfo=zone, fold=1).astimezone(UTC), tick)


def _change(zone: ZoneInfo, before: datetime, by: datetime) -> datetime:
    """The first whole second, later than `before` and not later than `by`, of another offset than that of `before`."""
    before = before.replace(microsecond=0)
    low, high = 0, -((before - by) // _TICK)
    offset = before.astimezone(zone).utcoffset()
    while high - low > 1:
        middle = (low + high) // 2
        if (before + middle * _TICK).astimezone(zone).utcoffset() == offset:
            low = middle
        else:
            high = middle
    return before + high * _TICK


# What is given


def _every(every: Duration) -> timedelta:
    length = duration(every, "every")
    if length < SHORTEST:
        raise InvalidOption(
            f"every must be at least {_exactly(SHORTEST)}, not {shown(every)}",
            hint="For what never rests, write a poller",
        )
    return length


def _timezone(name: Any) -> str:
    # Files that are there, but whose meaning is the machine's own, that count leap seconds, or that are no place.
    if isinstance(name, str) and not name.startswith(("localtime", "posix", "right/", "Factory")):
        try:
            return _zone(name).key
        except (ZoneInfoNotFoundError, ValueError, OSError):  # ValueError: no path; OSError: a folder, too long.
            pass
    known = {zone.lower(): zone for zone in available_timezones()}
    wanted = str(name)[:100].lower().replace(" ", "_")
    places = [zone for zone in known if zone.endswith("/" + wanted)]
    close = places[0] if places else nearest(wanted, known)
    raise InvalidOption(
        f"there is no timezone {shown(name)}",
        hint=f'Did you mean "{known[close]}"?' if close else 'Write the name of a place, "Europe/Riga", or "UTC"',
    )


# ZoneInfo keeps the last eight; a fleet may have more, and each would be read from its file at each tick.
_zone = lru_cache(maxsize=1024)(ZoneInfo)


def _utc(value: Any, name: str) -> datetime:
    # In UTC at once: two datetimes of the same zone are subtracted and compared by their walls.
    value = moment(value, name)
    if not _FIRST <= value <= _LAST:
        raise InvalidOption(f"{name} must be in the years {_FIRST.year} to {_LAST.year - 1}, not {value.isoformat()}")
    return value.astimezone(UTC)


def _exactly(length: timedelta) -> str:
    """As `duration` reads it back: in_words rounds."""
    micros, text = length // _INSTANT, ""
    for unit, size in (("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000)):
        count, micros = divmod(micros, size)
        text += f"{count}{unit}" if count else ""
    if not text and micros < 1_000_000:
        return f"{micros / 1000:.15g}ms"
    return text + (f"{micros / 1_000_000:.15g}s" if micros else "")
