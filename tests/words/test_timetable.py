"""When schedules fire: across changes of the clocks, against a second implementation, and what they say to mistakes.

HOWDAH_EXAMPLES makes the comparison longer: HOWDAH_EXAMPLES=10000 pytest tests/words/test_timetable.py
"""

from __future__ import annotations

import doctest
import os
import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from howdah import timetable
from howdah.errors import InvalidOption
from howdah.timetable import Timetable

SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=n) for n in (1, 60, 3600, 86400))
RIGA, NEW_YORK, LORD_HOWE, BEIRUT = "Europe/Riga", "America/New_York", "Australia/Lord_Howe", "Asia/Beirut"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


# Each: the expression, the time zone, a moment, and the ticks that follow it.
CASES = {
    # Riga: 2027-03-28 03:00+02 becomes 04:00+03; 2027-10-31 04:00+03 becomes 03:00+02.
    "a fixed time in the gap comes right after it": (
        "30 3 * * *", RIGA, "2027-03-27T03:30+02:00",
        ["2027-03-28T04:00+03:00", "2027-03-29T03:30+03:00"],
    ),
    "so it does with six fields": (
        "10 30 3 * * *", RIGA, "2027-03-27T12:00+02:00",
        ["2027-03-28T04:00+03:00", "2027-03-29T03:30:10+03:00"],
    ),
    "two fixed times in one gap are one tick": (
        "15,45 3,4 * * *", RIGA, "2027-03-28T02:59:59+02:00",
        ["2027-03-28T04:00+03:00", "2027-03-28T04:15+03:00", "2027-03-28T04:45+03:00", "2027-03-29T03:15+03:00"],
    ),
    "a gap that ends in another tick is one tick": (
        "0 3,4 * * *", RIGA, "2027-03-28T00:00+02:00",
        ["2027-03-28T04:00+03:00", "2027-03-29T03:00+03:00"],
    ),
    "every minute of a fixed hour in the gap is one tick": (
        "0-59 3 * * *", RIGA, "2027-03-28T00:00+02:00",
        ["2027-03-28T04:00+03:00", "2027-03-29T03:00+03:00"],
    ),
    "a fixed time in the fold comes once, the first time": (
        "30 3 * * *", RIGA, "2027-10-30T12:00+03:00",
        ["2027-10-31T03:30+03:00", "2027-11-01T03:30+02:00"],
    ),
    "nor again for who asks between the two": (
        "45 3 * * *", RIGA, "2027-10-31T03:30+02:00",
        ["2027-11-01T03:45+02:00"],
    ),
    "the first pass asked from its middle": (
        "45 3 * * *", RIGA, "2027-10-31T03:30+03:00",
        ["2027-10-31T03:45+03:00", "2027-11-01T03:45+02:00"],
    ),
    "so it does with six fields in the fold": (
        "*/20 30 3 * * *", RIGA, "2027-10-31T03:00+03:00",
        ["2027-10-31T03:30+03:00", "2027-10-31T03:30:20+03:00", "2027-10-31T03:30:40+03:00", "2027-11-01T03:30+02:00"],
    ),
    "the end of the fold comes once": (
        "0 4 * * *", RIGA, "2027-10-31T03:59:59+03:00",
        ["2027-10-31T04:00+02:00", "2027-11-01T04:00+02:00"],
    ),
    "half hours go on through the gap": (
        "*/30 * * * *", RIGA, "2027-03-28T02:29+02:00",
        ["2027-03-28T02:30+02:00", "2027-03-28T04:00+03:00", "2027-03-28T04:30+03:00"],
    ),
    "half hours go on through the fold": (
        "*/30 * * * *", RIGA, "2027-10-31T03:29+03:00",
        ["2027-10-31T03:30+03:00", "2027-10-31T03:00+02:00", "2027-10-31T03:30+02:00", "2027-10-31T04:00+02:00"],
    ),
    "hourly is every real hour": (
        "@hourly", RIGA, "2027-10-31T02:30+03:00",
        ["2027-10-31T03:00+03:00", "2027-10-31T03:00+02:00", "2027-10-31T04:00+02:00"],
    ),
    "wild minutes of a fixed hour are real: none in the gap": (
        "*/20 3 * * *", RIGA, "2027-03-28T00:00+02:00",
        ["2027-03-29T03:00+03:00", "2027-03-29T03:20+03:00"],
    ),
    "and twice in the fold": (
        "*/30 3 * * *", RIGA, "2027-10-31T00:00+03:00",
        ["2027-10-31T03:00+03:00", "2027-10-31T03:30+03:00", "2027-10-31T03:00+02:00", "2027-10-31T03:30+02:00",
         "2027-11-01T03:00+02:00"],
    ),
    "seconds through the gap": (
        "*/33 * * * * *", RIGA, "2027-03-28T02:59:30+02:00",
        ["2027-03-28T02:59:33+02:00", "2027-03-28T04:00+03:00", "2027-03-28T04:00:33+03:00"],
    ),
    "seconds through the fold": (
        "*/33 * * * * *", RIGA, "2027-10-31T03:59:30+03:00",
        ["2027-10-31T03:59:33+03:00", "2027-10-31T03:00+02:00", "2027-10-31T03:00:33+02:00"],
    ),
    "seconds out of the fold": (
        "59 59 * * * *", RIGA, "2027-10-31T03:59:59+03:00",
        ["2027-10-31T03:59:59+02:00", "2027-10-31T04:59:59+02:00"],
    ),
    # New York: 2027-03-14 02:00-05 becomes 03:00-04; 2027-11-07 02:00-04 becomes 01:00-05.
    "New York in spring": (
        "30 2 * * *", NEW_YORK, "2027-03-13T12:00-05:00",
        ["2027-03-14T03:00-04:00", "2027-03-15T02:30-04:00"],
    ),
    "New York in autumn": (
        "30 1 * * *", NEW_YORK, "2027-11-07T00:00-04:00",
        ["2027-11-07T01:30-04:00", "2027-11-08T01:30-05:00"],
    ),
    "New York by the quarter of an hour": (
        "*/45 1 7 11 *", NEW_YORK, "2027-11-07T00:00-04:00",
        ["2027-11-07T01:00-04:00", "2027-11-07T01:45-04:00", "2027-11-07T01:00-05:00", "2027-11-07T01:45-05:00",
         "2028-11-07T01:00-05:00"],
    ),
    # Lord Howe moves by half an hour: 2027-10-03 02:00+10:30 becomes 02:30+11; 2027-04-04 02:00+11 becomes 01:30+10:30.
    "a gap of half an hour": (
        "15 2 * * *", LORD_HOWE, "2027-10-02T12:00+10:30",
        ["2027-10-03T02:30+11:00", "2027-10-04T02:15+11:00"],
    ),
    "a fold of half an hour": (
        "45 1 * * *", LORD_HOWE, "2027-04-03T12:00+11:00",
        ["2027-04-04T01:45+11:00", "2027-04-05T01:45+10:30"],
    ),
    "a fold of half an hour, every quarter of one": (
        "*/15 * * * *", LORD_HOWE, "2027-04-04T01:40+11:00",
        ["2027-04-04T01:45+11:00", "2027-04-04T01:30+10:30", "2027-04-04T01:45+10:30", "2027-04-04T02:00+10:30"],
    ),
    # Beirut: 2027-03-28 has no midnight; 2027-10-30 has two times 23:00 to 24:00. Cairo likewise, on other days.
    "no midnight": (
        "@daily", BEIRUT, "2027-03-27T12:00+02:00",
        ["2027-03-28T01:00+03:00", "2027-03-29T00:00+03:00"],
    ),
    "no midnight, on a day that is named": (
        "0 0 28 3 *", BEIRUT, "2027-03-27T12:00+02:00",
        ["2027-03-28T01:00+03:00", "2028-03-28T00:00+03:00"],
    ),
    "the evening twice": (
        "30 23 * * *", BEIRUT, "2027-10-30T12:00+03:00",
        ["2027-10-30T23:30+03:00", "2027-10-31T23:30+02:00"],
    ),
    "the evening twice, hourly, over the end of the day": (
        "0 * * * *", BEIRUT, "2027-10-30T22:30+03:00",
        ["2027-10-30T23:00+03:00", "2027-10-30T23:00+02:00", "2027-10-31T00:00+02:00"],
    ),
    "no midnight in Cairo": (
        "0 0 * * 5", "Africa/Cairo", "2027-04-29T12:00+02:00",
        ["2027-04-30T01:00+03:00", "2027-05-07T00:00+03:00"],
    ),
    "no midnight in Asunción": (
        "0 0 * * *", "America/Asuncion", "2023-09-30T12:00-04:00",
        ["2023-10-01T01:00-03:00", "2023-10-02T00:00-03:00"],
    ),
    "Samoa left out a day": (
        "0 12 * * *", "Pacific/Apia", "2011-12-29T12:00-10:00",
        ["2011-12-31T00:00+14:00", "2011-12-31T12:00+14:00"],
    ),
    "a real second before and after the day Samoa left out": (
        "* * * * * *", "Pacific/Apia", "2011-12-29T23:59:58-10:00",
        ["2011-12-29T23:59:59-10:00", "2011-12-31T00:00+14:00"],
    ),
    "offsets with seconds": (
        "0 12 * * *", "Africa/Monrovia", "1971-12-31T12:00-00:44:30",
        ["1972-01-01T12:00-00:44:30", "1972-01-02T12:00-00:44:30"],
    ),
    "45 minutes": (
        "0 0 * * *", "Asia/Kathmandu", "2027-01-01T00:00+05:45",
        ["2027-01-02T00:00+05:45"],
    ),
    "no changes": (
        "30 3 * * *", "Asia/Tokyo", "2027-03-28T00:00+09:00",
        ["2027-03-28T03:30+09:00", "2027-03-29T03:30+09:00"],
    ),
    "UTC": ("30 3 * * *", "UTC", "2027-03-28T00:00Z", ["2027-03-28T03:30Z", "2027-03-29T03:30Z"]),
    "a leap day": ("0 0 29 2 *", "UTC", "2027-01-01T00:00Z", ["2028-02-29T00:00Z", "2032-02-29T00:00Z"]),
    "a leap day over 2100": ("0 0 29 2 *", "UTC", "2096-03-01T00:00Z", ["2104-02-29T00:00Z"]),
    "the end of a year": (
        "59 59 23 31 12 *", RIGA, "2027-12-31T23:59:58+02:00",
        ["2027-12-31T23:59:59+02:00", "2028-12-31T23:59:59+02:00"],
    ),
    "@yearly": ("@yearly", RIGA, "2027-06-01T00:00Z", ["2028-01-01T00:00+02:00"]),
    "@annually": ("@annually", RIGA, "2027-06-01T00:00Z", ["2028-01-01T00:00+02:00"]),
    "@monthly": ("@Monthly", RIGA, "2027-06-01T00:00Z", ["2027-07-01T00:00+03:00"]),
    "@weekly": ("@WEEKLY", RIGA, "2027-06-01T00:00Z", ["2027-06-06T00:00+03:00"]),
    "@midnight": (" @midnight ", RIGA, "2027-06-01T00:00Z", ["2027-06-02T00:00+03:00"]),
    "the last day": ("0 0 L * *", "UTC", "2027-01-31T00:00Z", ["2027-02-28T00:00Z", "2027-03-31T00:00Z"]),
    "the last weekday": ("0 0 LW * *", "UTC", "2027-01-30T00:00Z", ["2027-02-26T00:00Z", "2027-03-31T00:00Z"]),
    "the third Friday": ("0 0 * * 5#3", "UTC", "2027-01-01T00:00Z", ["2027-01-15T00:00Z", "2027-02-19T00:00Z"]),
    "the third Tuesday, by name": ("0 0 * * tue#3", "UTC", "2027-01-01T00:00Z", ["2027-01-19T00:00Z"]),
    "the last Friday": ("0 0 * * 5L", "UTC", "2027-01-01T00:00Z", ["2027-01-29T00:00Z", "2027-02-26T00:00Z"]),
    "Sunday is 0, 7 and sun": (
        "0 0 * * 0,7,sun", "UTC", "2027-01-01T00:00Z",
        ["2027-01-03T00:00Z", "2027-01-10T00:00Z"],
    ),
    "Friday to Sunday": ("0 0 * * 5-7", "UTC", "2027-01-02T00:00Z", ["2027-01-03T00:00Z", "2027-01-08T00:00Z"]),
    "names of months": ("0 0 1 jan,JUL *", "UTC", "2027-01-02T00:00Z", ["2027-07-01T00:00Z", "2028-01-01T00:00Z"]),
    "the day or the weekday": (
        "0 0 1 * 1", "UTC", "2027-05-25T00:00Z",
        ["2027-05-31T00:00Z", "2027-06-01T00:00Z", "2027-06-07T00:00Z"],
    ),
    "both, if one begins with a star": (
        "0 0 */2 * 1", "UTC", "2027-05-25T00:00Z",
        ["2027-05-31T00:00Z", "2027-06-07T00:00Z", "2027-06-21T00:00Z"],
    ),
    "from a minute on": ("50/3 0 * * *", "UTC", "2027-01-01T00:52Z", ["2027-01-01T00:53Z", "2027-01-01T00:56Z"]),
    "a range of one has no further steps": ("5-5/10 * * * *", "UTC", "2027-01-01T00:06Z", ["2027-01-01T01:05Z"]),
    "fractions of seconds": ("* * * * * *", "UTC", "2027-01-01T00:00:00.999999Z", ["2027-01-01T00:00:01Z"]),
    "any zone may ask": ("0 0 * * *", RIGA, "2027-01-01T07:30+05:45", ["2027-01-02T00:00+02:00"]),
}  # fmt: skip


@pytest.mark.parametrize(("cron", "zone", "since", "ticks"), CASES.values(), ids=CASES)
def test_the_table(cron, zone, since, ticks):
    expected = [at(tick) for tick in ticks]

    found = Timetable(cron, timezone=zone).upcoming(at(since), len(expected))

    assert [tick.astimezone(ZoneInfo(zone)).isoformat() for tick in found] == [
        tick.astimezone(ZoneInfo(zone)).isoformat() for tick in expected
    ]
    assert all(tick.tzinfo is UTC for tick in found)


@pytest.mark.parametrize(("cron", "zone", "since", "ticks"), CASES.values(), ids=CASES)
def test_the_latest_of_the_table(cron, zone, since, ticks):
    table, first, last = Timetable(cron, timezone=zone), at(since), at(ticks[-1])

    assert table.latest(first, last) == last
    assert table.latest(first, table.after(last) - SECOND) == last
    assert table.between(first, last, 100) == [at(tick) for tick in ticks]
    assert table.between(first, last, 1) == [at(ticks[0])]
    assert table.latest(last, last) is None


# The second implementation: walk real time in small steps, look at the clock on the wall, compare.

ZONES = [
    "UTC", RIGA, NEW_YORK, LORD_HOWE, BEIRUT, "Africa/Cairo", "America/Asuncion", "Asia/Kathmandu", "Asia/Tokyo",
    "America/Havana", "America/St_Johns", "America/Scoresbysund", "America/Caracas", "America/Sao_Paulo",
    "Antarctica/Troll", "Antarctica/Casey", "Asia/Tehran", "Asia/Gaza", "Asia/Pyongyang", "Africa/Casablanca",
    "Africa/Monrovia", "Europe/Amsterdam", "Europe/Dublin", "Europe/Lisbon", "Europe/Moscow", "Pacific/Apia",
    "Pacific/Kwajalein", "Pacific/Chatham", "Pacific/Norfolk",
]  # fmt: skip
BEGIN, END = datetime(1915, 1, 1, tzinfo=UTC), datetime(2036, 1, 1, tzinfo=UTC)
FIELDS = [(0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 7)]


@lru_cache
def changes(zone: str) -> list[datetime]:
    """Moments at most six hours after the offset changed; what changed back meanwhile is no loss."""
    there, found, moment = ZoneInfo(zone), [], BEGIN
    offset = moment.astimezone(there).utcoffset()
    while (moment := moment + 6 * HOUR) < END:
        if (now := moment.astimezone(there).utcoffset()) != offset:
            found.append(moment)
            offset = now
    return found or [datetime(2027, 1, 1, tzinfo=UTC)]


def values(field: str, low: int, high: int) -> set[int]:
    found: set[int] = set()
    for term in field.split(","):
        span, _, step = term.partition("/")
        first, _, last = (f"{low}-{high}" if span == "*" else span).partition("-")
        found.update(range(int(first), int(last or (high if step else first)) + 1, int(step or 1)))
    return found


class Walk:
    def __init__(self, cron: str, zone: str) -> None:
        parts = cron.split()
        self.step = SECOND if len(parts) == 6 else MINUTE
        parts = ["0", *parts][-6:]
        self.zone = ZoneInfo(zone)
        self.sets = [values(part, low, high) for part, (low, high) in zip(parts, FIELDS, strict=True)]
        self.both = parts[3].startswith("*") or parts[5].startswith("*")
        self.by_the_clock = not (parts[1].startswith("*") or parts[2].startswith("*"))

    def wall(self, moment: datetime) -> datetime:
        return moment.astimezone(self.zone).replace(tzinfo=None)

    def matches(self, wall: datetime) -> bool:
        second, minute, hour, day, month, weekday = self.sets
        if wall.second not in second or wall.minute not in minute or wall.hour not in hour or wall.month not in month:
            return False
        days = wall.day in day, wall.isoweekday() in weekday or wall.isoweekday() % 7 in weekday
        return all(days) if self.both else any(days)

    def ticks(self, since: datetime, until: datetime) -> list[datetime]:
        moment = since - (since - BEGIN) % self.step
        highest = self.highest(moment)
        found = []
        while (moment := moment + self.step) <= until:
            wall = self.wall(moment)
            if self.by_the_clock:
                passed = []
                while highest < wall:
                    highest += self.step
                    passed.append(highest)
            else:
                passed = [wall]
            if any(map(self.matches, passed)):
                found.append(moment)
        return found

    def highest(self, moment: datetime) -> datetime:
        """The most the clock on the wall has shown until then: now, or just before it was set back."""
        most = self.wall(moment)
        for hour in (moment - n * HOUR for n in range(26)):
            if (hour - HOUR).astimezone(self.zone).utcoffset() != hour.astimezone(self.zone).utcoffset():
                most = max(most, *(self.wall(hour - n * self.step) for n in range(HOUR // self.step + 1)))
        return most


@st.composite
def field(draw: st.DrawFn, low: int, high: int, wild: int) -> str:
    """`wild` times out of ten it begins with a star."""
    if draw(st.integers(0, 9)) < wild:
        return draw(st.sampled_from(["*", "*", f"*/{draw(st.integers(1, high))}"]))

    def term() -> str:
        first, last = sorted((draw(st.integers(low, high)), draw(st.integers(low, high))))
        step = draw(st.integers(1, high))
        return draw(
            st.sampled_from([f"{first}", f"{last}", f"{first}-{last}", f"{first}-{last}/{step}", f"{first}/{step}"])
        )

    return ",".join(term() for _ in range(draw(st.integers(1, 3))))


@st.composite
def scenes(draw: st.DrawFn) -> tuple[str, str, datetime, datetime]:
    """An expression, a zone, and a stretch of time, mostly around a change."""
    zone = draw(st.sampled_from(ZONES))
    near = draw(st.sampled_from(changes(zone)))
    seconds = draw(st.booleans())
    # Walking by minutes needs offsets of whole minutes.
    odd = any(moment.astimezone(ZoneInfo(zone)).utcoffset() % MINUTE for moment in (near - 3 * DAY, near + 3 * DAY))
    seconds = seconds or odd
    since = (
        near
        + draw(st.integers(-10 * 3600, 4 * 3600)) * SECOND
        + draw(st.sampled_from([0, 0, 250_000])) * timedelta.resolution
    )
    until = since + (2 * HOUR if seconds else 40 * HOUR) * draw(st.floats(0.1, 1))
    hours = draw(st.one_of(field(0, 23, 5), st.sampled_from(["0", "1", "2", "3", "23", "0-4", "1,3", "22-23", "2/3"])))
    parts = [field(0, 59, 5), st.just(hours), field(1, 31, 9), field(1, 12, 10), field(0, 7, 8)]
    cron = " ".join(map(draw, parts))
    return (f"{draw(field(0, 59, 4))} {cron}" if seconds else cron), zone, since, until.replace(microsecond=0)


@settings(
    max_examples=int(os.environ.get("HOWDAH_EXAMPLES", 300)),
    derandomize="HOWDAH_EXAMPLES" not in os.environ,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
)
@example(("0 3 * * *", RIGA, at("2027-10-30T22:00Z"), at("2027-11-02T00:00Z")), [0.5])
@example(("0-59 1-2 * * *", LORD_HOWE, at("2027-04-03T14:45Z"), at("2027-04-05T00:00Z")), [0.1, 0.9])
@example(("* * * * *", "Antarctica/Troll", at("2027-10-30T00:00Z"), at("2027-11-01T00:00Z")), [0.6])
@given(scenes(), st.lists(st.floats(0, 1), max_size=5))
def test_every_tick_is_one_that_a_walk_finds(scene, probes):
    cron, zone, since, until = scene
    table, walked = Timetable(cron, timezone=zone), Walk(cron, zone).ticks(since, until)

    assert table.between(since, until, 1_000_000) == walked
    assert table.latest(since, until) == (walked[-1] if walked else None)
    for probe in probes:
        moment = since + (until - since) * probe
        left = [tick for tick in walked if tick > moment]
        assert table.between(moment, until, 1) == left[:1]
        assert table.latest(since, moment) == (walked[-1 - len(left)] if len(left) < len(walked) else None)


@given(
    st.sampled_from([case[:2] for case in CASES.values()]),
    st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1), timezones=st.sampled_from([UTC, ZoneInfo(RIGA)])),
)
def test_ticks_only_go_forward(of, moment):
    cron, zone = of
    ticks = [moment, *Timetable(cron, timezone=zone).upcoming(moment, 20)]

    assert all(tick > before for before, tick in pairwise(ticks))
    assert len(ticks) == 21


# Bounds


def test_start_is_in_and_end_is_out():
    table = Timetable("0 * * * *", start=at("2027-01-01T05:00+02:00"), end=at("2027-01-01T05:00Z"))
    hours = [at(f"2027-01-01T0{n}:00Z") for n in (3, 4)]

    assert table.upcoming(at("2026-01-01T00:00Z")) == hours
    assert table.latest(at("2026-01-01T00:00Z"), at("2028-01-01T00:00Z")) == hours[-1]
    assert table.after(hours[-1]) is None
    assert table.between(hours[-1], at("2028-01-01T00:00Z"), 5) == []


def test_intervals_have_the_same_bounds():
    start, end = at("2027-01-01T05:00+02:00"), at("2027-01-01T05:00Z")
    table = Timetable(every="1h", start=start, end=end)

    assert table.upcoming(at("2026-01-01T00:00Z")) == [start, start + HOUR]
    assert table.latest(at("2026-01-01T00:00Z"), at("2028-01-01T00:00Z")) == start + HOUR
    assert table.latest(start + HOUR, at("2028-01-01T00:00Z")) is None


def test_nothing_lies_between_a_moment_and_an_earlier_one():
    table, moment = Timetable("* * * * *"), at("2027-01-01T00:00Z")

    assert table.between(moment, moment - DAY, 10) == []
    assert table.latest(moment, moment - DAY) is None


def test_the_edges_of_what_a_datetime_holds():
    table = Timetable("@yearly", timezone="Pacific/Kiritimati")

    assert table.after(datetime(9996, 6, 1, tzinfo=UTC)) == at("9996-12-31T10:00Z")
    assert table.after(datetime(9997, 6, 1, tzinfo=UTC)) is None
    assert Timetable(every="36500d").after(datetime(9990, 1, 1, tzinfo=UTC)) is None
    assert table.after(datetime(2, 1, 1, tzinfo=UTC)).year == 2


# Intervals


def test_intervals_keep_their_phase_over_a_year_of_ticks():
    anchor = at("2027-01-01T00:00:00.123457Z")
    table = Timetable(every="90s", timezone=RIGA, anchor=anchor)
    a_year = anchor + 365 * DAY

    assert table.latest(anchor, a_year) == a_year
    assert table.upcoming(a_year, 2) == [a_year + timedelta(seconds=90), a_year + timedelta(seconds=180)]
    assert table.after(anchor - 400 * DAY) == anchor - 400 * DAY + timedelta(seconds=90)


def test_intervals_shorter_than_a_second():
    anchor = at("2027-01-01T00:00:00.05Z")
    table = Timetable(every="100ms", anchor=anchor)

    assert table.upcoming(anchor, 3) == [anchor + n * timedelta(milliseconds=100) for n in (1, 2, 3)]
    assert table.latest(anchor, anchor + HOUR + timedelta(milliseconds=99)) == anchor + HOUR


def test_an_interval_counts_from_its_anchor_then_its_start_then_1970():
    start, moment = at("2027-01-01T00:00:07Z"), at("2027-06-01T00:00:00Z")

    assert Timetable(every="10s", anchor=at("2020-01-01T00:00:03Z"), start=start).after(moment).second == 3
    assert Timetable(every="10s", start=start).after(moment).second == 7
    assert Timetable(every="10s").after(moment).second == 10


def test_intervals_do_not_see_the_clocks_change():
    table = Timetable(every="1d", timezone=RIGA, anchor=at("2027-03-27T12:00+02:00"))

    assert table.after(at("2027-03-27T12:00+02:00")) == at("2027-03-28T13:00+03:00")


@given(
    st.integers(100_000, 10**15),
    st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
    st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
)
def test_the_next_tick_of_an_interval_is_at_most_one_interval_away(micros, anchor, moment):
    every = timedelta(microseconds=micros)
    table = Timetable(every=every, anchor=anchor)
    tick = table.after(moment)

    assert timedelta(0) < tick - moment <= every
    assert (tick - anchor) % every == timedelta(0)
    assert table.latest(moment, tick) == tick
    assert table.latest(moment, tick - timedelta.resolution) is None


# As a value


@pytest.mark.parametrize(
    ("table", "text"),
    [
        (Timetable("*/33 * * * * *", timezone=RIGA), "*/33 * * * * * Europe/Riga"),
        (Timetable("  0   3 * * mon "), "0 3 * * mon UTC"),
        (Timetable("@daily"), "@daily UTC"),
        (Timetable(every=10), "every 10s"),
        (Timetable(every="250ms"), "every 250ms"),
        (Timetable(every="100.5ms"), "every 100.5ms"),
        (Timetable(every=1.25), "every 1.25s"),
        (Timetable(every="1d2h3m4.5s"), "every 1d2h3m4.5s"),
        (Timetable(every="2h"), "every 2h"),
    ],
)
def test_it_says_when_it_fires(table, text):
    assert str(table) == text


@given(st.integers(100_000, 10**15))
def test_what_it_says_of_an_interval_is_exact(micros):
    every = timedelta(microseconds=micros)

    assert Timetable(every=str(Timetable(every=every)).removeprefix("every ")).every == every


def test_equal_timetables_are_one():
    one = Timetable("0 3 * * *", timezone=RIGA, start=at("2027-01-01T02:00+02:00"))
    other = Timetable("0  3 * * *", timezone=RIGA, start=at("2027-01-01T00:00Z"))

    assert one == other
    assert hash(one) == hash(other)
    with pytest.raises(AttributeError):
        one.cron = "* * * * *"


def test_a_row_of_the_database_is_a_timetable():
    row = {
        "name": "x", "cron": None, "every": timedelta(seconds=10), "timezone": "UTC",
        "starts_at": None, "ends_at": at("2027-01-01T00:00Z"), "anchor": at("2026-01-01T00:00:03Z"),
    }  # fmt: skip

    assert Timetable.of(row) == Timetable(every="10s", end=row["ends_at"], anchor=row["anchor"])


def test_its_own_examples_are_true():
    assert doctest.testmod(timetable).failed == 0


# Mistakes

FIELD = 'Write "30 3 * * 1-5" for 03:30 from Monday to Friday; with six fields the seconds come first'
L = "L is the last day of the month, LW its last weekday; nothing else is known of L and W"
MISTAKES = {
    "61 * * * *": ("the minute must be 0-59, not 61", FIELD),
    "60 * * * * *": ("the second must be 0-59, not 60", FIELD),
    "0 24 * * *": ("the hour must be 0-23, not 24", FIELD),
    "0 0 0 * *": ("the day of the month must be 1-31, not 0", FIELD),
    "0 0 1 13 *": ("the month must be 1-12 or JAN-DEC, not 13", FIELD),
    "0 0 * * 8": ("the day of the week must be 0-7 or SUN-SAT, not 8", FIELD),
    "0 0 * * 8#1": ("the day of the week must be 0-7 or SUN-SAT, not 8", FIELD),
    "0 0 * * 9L": ("the day of the week must be 0-7 or SUN-SAT, not 9", FIELD),
    "5-61 * * * *": ("the minute must be 0-59, not 61", FIELD),
    "soon * * * *": ("the minute cannot be read: SOON", "It is 0-59"),
    "0 0 * * MONDAY": ("the day of the week cannot be read: MONDAY", "It is 0-7 or SUN-SAT"),
    "0 0 1 FOO *": ("the month cannot be read: FOO", "It is 1-12 or JAN-DEC"),
    "-5 * * * *": ("the minute cannot be read: -5", "It is 0-59"),
    "1,,2 * * * *": ("the minute cannot be read: 1,,2", "It is 0-59"),
    "*/2/3 * * * *": ("the minute cannot be read: */2/3", "It is 0-59"),
    "*-5 * * * *": ("the minute cannot be read: *-5", "It is 0-59"),
    "1,x,2 * * * *": ("the minute cannot be read: X", "It is 0-59"),
    "1.5 * * * *": ("the minute cannot be read: 1.5", "It is 0-59"),
    "٣ * * * *": ("the minute cannot be read: ٣", "It is 0-59"),
    "0 22-6 * * *": ("the hour goes backwards: 22-6", "Write 22-23,0-6"),
    "0 0 * * FRI-SUN": ("the day of the week goes backwards: FRI-SUN", "Write FRI-7,0-SUN"),
    "*/0 * * * *": ("the step of the minute must be 1-59, not 0", FIELD),
    "*/90 * * * *": (
        "the step of the minute must be 1-59, not 90",
        'Steps begin anew with each turn of the field; write every="90m" instead of cron',
    ),
    "0 0 */40 * *": ("the step of the day of the month must be 1-31, not 40", FIELD),
    "0 0 * * 2#6": ("what follows # must be 1-5, not 6", "TUE#3 is the third Tuesday of a month"),
    "0 0 ? * *": ("the day of the month cannot be read: ?", "Write * instead of ?"),
    "0 0 15W * *": ("the day of the month cannot be read: 15W", L),
    "0 0 L-3 * *": ("the day of the month cannot be read: L-3", L),
    "0 0 * * L": ("the day of the week cannot be read: L", "5L is the last Friday of the month"),
    "0 0 * * FRI-L5": ("the day of the week cannot be read: FRI-L5", "5L is the last Friday of the month"),
    "* * * *": ("it has 4 fields, not 5, or 6 with the seconds first", FIELD),
    "soon": ("it has 1 field, not 5, or 6 with the seconds first", FIELD),
    "": ("it has 0 fields, not 5, or 6 with the seconds first", FIELD),
    "0 0 12 * * ? 2027": (
        "it has 7 fields, not 5, or 6 with the seconds first",
        "There is no field for the year: give start and end",
    ),
}  # fmt: skip


def refusal(*given, **options) -> tuple[str, str | None]:
    with pytest.raises(InvalidOption) as refused:
        Timetable(*given, **options)
    return refused.value.message, refused.value.hint


@pytest.mark.parametrize(("cron", "said"), MISTAKES.items(), ids=MISTAKES)
def test_a_mistake_in_a_cron_is_named(cron, said):
    assert refusal(cron) == (f'cron "{cron}": {said[0]}', said[1])


@pytest.mark.parametrize("cron", ["0 0 30 2 *", "0 0 31 4,6 *", "0 0 0 30-31 FEB *"])
def test_a_date_that_never_comes_is_refused(cron):
    message, hint = refusal(cron)

    assert message == f'cron "{cron}" never fires: none of its months has such a day'
    assert hint == "L is the last day"


@pytest.mark.parametrize(
    ("cron", "message", "hint"),
    [
        ("@dayly", 'cron "@dayly" is not known', "Did you mean @daily?"),
        ("@zzz", 'cron "@zzz" is not known', re.compile("There are @hourly, @daily, .*@annually$")),
        ("@every 10s", 'cron "@every 10s" is not known', 'Write every="10s" instead of cron'),
        ("@Reboot", 'cron "@Reboot" is not known', re.compile("enqueue the task where the program starts")),
        ("@daily UTC", 'cron "@daily UTC" is not known', "Did you mean @daily?"),
        ("@", 'cron "@" is not known', re.compile("There are")),
        (5, "cron must be text, not 5", FIELD),
        ("*" * 201, re.compile("cron is longer than 200 characters: '\\*+…$"), FIELD),
        ("\x1b[2J * * * *", re.compile(r'cron "\\x1b\[2J \* \* \* \*": the minute'), "It is 0-59"),
    ],
)
def test_other_mistakes_in_a_cron(cron, message, hint):
    for said, expected in zip(refusal(cron), (message, hint), strict=True):
        assert expected.search(said) if isinstance(expected, re.Pattern) else said == expected


def test_the_longest_cron_is_read():
    minutes = ",".join(map(str, range(60)))
    cron = (minutes + " * * * *").ljust(200, " ")

    assert Timetable(cron).cron == cron.strip()


@pytest.mark.parametrize(
    ("timezone", "hint"),
    [
        ("Europe/Rigga", 'Did you mean "Europe/Riga"?'),
        ("europe/riga", 'Did you mean "Europe/Riga"?'),
        ("Riga", 'Did you mean "Europe/Riga"?'),
        ("America/New York", 'Did you mean "America/New_York"?'),
        ("+02:00", 'Write the name of a place, "Europe/Riga", or "UTC"'),
        ("", 'Write the name of a place, "Europe/Riga", or "UTC"'),
    ],
)
def test_an_unknown_timezone_is_refused(timezone, hint):
    assert refusal("@daily", timezone=timezone) == (f"there is no timezone {timezone!r}", hint)
    assert refusal(every="1s", timezone=timezone) == (f"there is no timezone {timezone!r}", hint)


@pytest.mark.parametrize(
    "timezone",
    [
        "Europe",
        "../Riga",
        "/etc/passwd",
        "a\0b",
        "x" * 5000,
        "localtime",
        "posixrules",
        "right/UTC",
        "Factory",
        None,
        5,
    ],
)
def test_what_is_no_timezone_is_refused(timezone):
    assert "there is no timezone" in refusal("@daily", timezone=timezone)[0]


def test_every_zone_of_the_database_can_be_used():
    for zone in ("CET", "Etc/GMT+5", "US/Eastern", "Asia/Kolkata"):
        assert Timetable("@daily", timezone=zone).timezone == zone


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        ({}, "neither cron nor every was given", 'Give one of them: cron="30 3 * * *" or every="10s"'),
        (
            {"cron": "@daily", "every": 1},
            "cron and every were both given",
            'Give one of them: cron="30 3 * * *" or every="10s"',
        ),
        ({"every": "99ms"}, "every must be at least 100ms, not '99ms'", "For what never rests, write a poller"),
        ({"every": 0}, "every must be at least 100ms, not 0", "For what never rests, write a poller"),
        (
            {"every": "soon"},
            "every cannot be read as a length of time: 'soon'",
            'Write "250ms", "2s", "1h30m" or a number of seconds',
        ),
        (
            {"cron": "@daily", "start": datetime(2027, 1, 1)},
            "start must be a datetime with a time zone, not the naive 2027-01-01 00:00:00",
            "Write datetime.now(UTC) + …, or use delay=",
        ),
        (
            {"cron": "@daily", "start": at("2027-01-01T00:00Z"), "end": at("2027-01-01T01:00+01:00")},
            "end (2027-01-01T00:00:00+00:00) must be after start (2027-01-01T00:00:00+00:00)",
            "Leave one of them out, or move it",
        ),
        (
            {"cron": "@daily", "end": datetime.max.replace(tzinfo=UTC)},
            "end must be in the years 2 to 9997, not 9999-12-31T23:59:59.999999+00:00",
            None,
        ),
    ],
)
def test_mistakes_in_the_other_options(options, message, hint):
    assert refusal(**options) == (message, hint)


def test_a_naive_moment_is_refused():
    with pytest.raises(InvalidOption, match="moment must be a datetime with a time zone"):
        Timetable("@daily").after(datetime(2027, 1, 1))
