"""cron and interval: when they fire, and which field is to blame if they cannot."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from howdah.kinds.schedule import Schedule
from howdah.pipeline.stage import InvalidField, Stage
from howdah.pipeline.stages.cron import Cron
from howdah.pipeline.stages.interval import Interval
from howdah.timetable import Timetable
from pipeline.standing import events, stage

START, END = datetime(2027, 1, 1, tzinfo=UTC), datetime(2028, 1, 1, tzinfo=UTC)


def test_what_is_not_said_of_a_cron(tmp_path: Path) -> None:
    made = stage(Cron, tmp_path, cron="30 3 * * *")

    assert made.schedule() == {
        "cron": "30 3 * * *", "timezone": "UTC", "start": None, "end": None,
        "missed": "latest", "overlap": "allow", "jitter": None,
    }  # fmt: skip
    assert made.event() == {}


def test_all_that_can_be_said_of_an_interval(tmp_path: Path) -> None:
    made = stage(
        Interval, tmp_path, every="10s", payload={"user_id": 42}, missed="all", overlap="queue", jitter="2s",
        start="2027-01-01T00:00:00Z", end="2028-01-01T02:00:00+02:00",
    )  # fmt: skip

    assert made.schedule() == {
        "every": "10s", "start": START, "end": END, "missed": "all", "overlap": "queue", "jitter": "2s",
    }  # fmt: skip
    assert made.event() == {"user_id": 42}


@pytest.mark.parametrize(
    ("of", "config", "timetable"),
    [
        (Cron, {"cron": "@daily", "timezone": "Europe/Riga"}, Timetable("@daily", timezone="Europe/Riga")),
        (Interval, {"every": 2.5, "end": "2028-01-01T00:00:00Z"}, Timetable(every="2.5s", end=END)),
    ],
)
def test_what_a_stage_says_is_what_a_schedule_takes(
    tmp_path: Path, of: type[Stage], config: dict[str, Any], timetable: Timetable
) -> None:
    made = stage(of, tmp_path, jitter=1, **config)

    schedule = Schedule.checked("orders.nightly", "orders", payload=made.event(), **made.schedule())

    assert schedule.timetable == timetable
    assert schedule.jitter == timedelta(seconds=1)


async def test_a_tick_is_an_event(tmp_path: Path) -> None:
    made = stage(Cron, tmp_path, cron="@daily", payload={"user_id": 42})

    assert await events(made, made.event()) == [{"user_id": 42}]


def test_an_event_does_not_share_what_the_next_one_begins_with(tmp_path: Path) -> None:
    made = stage(Cron, tmp_path, cron="@daily")
    made.event()["seen"] = True

    assert made.event() == {}


@pytest.mark.parametrize(
    ("of", "config", "field", "message"),
    [
        (Cron, {"cron": "61 * * * *"}, "cron", "the minute must be 0-59, not 61"),
        (Cron, {"cron": "0 0 30 2 *", "timezone": "Riga"}, "cron", "never fires"),
        (Cron, {"cron": "@daily", "timezone": "Riga"}, "timezone", 'Did you mean "Europe/Riga"'),
        (Cron, {"cron": "@daily", "start": "9999-01-01T00:00:00Z"}, "start", "in the years"),
        (
            Cron,
            {"cron": "@daily", "start": "2027-01-01T00:00:00Z", "end": "2027-01-01T00:00:00Z"},
            "end",
            "end .* must be after start",
        ),
        (Cron, {"cron": "@daily", "jitter": "soon"}, "jitter", "cannot be read"),
        (Interval, {"every": "50ms"}, "every", "at least 100ms"),
        (Interval, {"every": -1}, "every", "negative"),
        (
            Interval,
            {"every": 1, "start": "2027-01-01T00:00:00Z", "end": "2026-01-01T00:00:00Z"},
            "end",
            "end .* must be after start",
        ),
        (Interval, {"every": 1, "jitter": -1}, "jitter", "negative"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_field(
    tmp_path: Path, of: type[Stage], config: dict[str, Any], field: str, message: str
) -> None:
    with pytest.raises(InvalidField, match=message) as refused:
        stage(of, tmp_path, **config)

    assert refused.value.field == (field,)


@pytest.mark.parametrize(
    ("of", "config", "message"),
    [
        (Cron, {}, "missing required field `cron`"),
        (Interval, {}, "missing required field `every`"),
        (Interval, {"every": 1, "timezone": "UTC"}, "unknown field `timezone`"),
        (Cron, {"cron": "@daily", "missed": "some"}, "missed"),
        (Cron, {"cron": "@daily", "overlap": "never"}, "overlap"),
        (Cron, {"cron": "@daily", "start": "2027-01-01T00:00:00"}, "timezone component.*start"),
        (Cron, {"cron": "@daily", "payload": [1]}, "payload"),
    ],
)
def test_what_a_type_can_say_is_said_by_it(
    tmp_path: Path, of: type[Stage], config: dict[str, Any], message: str
) -> None:
    with pytest.raises(msgspec.ValidationError, match=message):
        stage(of, tmp_path, **config)


@pytest.mark.parametrize("of", [Cron, Interval])
def test_every_field_is_described(of: type[Stage]) -> None:
    ref = msgspec.json.schema(of.Config)
    properties = ref["$defs"]["Config"]["properties"]

    assert [name for name, field in properties.items() if not field.get("description")] == []
