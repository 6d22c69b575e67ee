"""Schedules in SQL alone: what is refused, what a change keeps, and that each tick makes one task."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from howdah.errors import InvalidOption
from howdah.timetable import Timetable
from schedules.clock import START, Clock, at
from sql.protocol import Worker, ask, declare, heard, put, refused, task, until_blocked
from words.test_timetable import CASES

Connect = Callable[[], psycopg.Connection]
SECOND = timedelta(seconds=1)


@pytest.fixture(autouse=True)
def kinds(conn: psycopg.Connection) -> None:
    declare(conn, {"name": "job", "queue": "jobs", "priority": 5}, {"name": "other"})
    steps = {"first": {"position": 1}, "second": {"position": 2, "queue": "later"}}
    declare(conn, {"name": "machine", "steps": steps})


def schedule(conn: psycopg.Connection, name: str = "s", kind: str = "job", **options: Any) -> None:
    """`howdah.schedule`, every ten seconds from the start if nothing else is said."""
    if not options.keys() & {"cron", "every"}:
        options |= {"every": "10 s", "starts_at": START}
    arguments = "".join(f", {option} => %s" for option in options)
    conn.execute(f"select howdah.schedule(%s, %s{arguments})".encode(), [name, kind, *options.values()])


def row(conn: psycopg.Connection, *columns: str, name: str = "s") -> Any:
    """These columns of a schedule; the value itself if there is one."""
    found = conn.execute(f"select {', '.join(columns)} from howdah.schedules where name = %s".encode(), [name])
    values = found.fetchone()
    assert values is not None
    return values if len(columns) > 1 else values[0]


def fire(
    conn: psycopg.Connection,
    seen: datetime,
    *ticks: datetime,
    through: datetime | None = None,
    next_at: datetime | None = None,
    missed: int = 0,
    name: str = "s",
) -> Any:
    """(how many fired, how many were skipped); (None, None) if nothing was done."""
    through = through or ticks[-1]
    next_at = next_at or through + 10 * SECOND
    given = [name, seen, list(ticks), through, next_at, missed]
    return conn.execute("select fired, skipped from howdah.fire(%s, %s, %s, %s, %s, %s)", given).fetchone()


def tasks(conn: psycopg.Connection) -> list[tuple[Any, ...]]:
    """(tick, status) of what schedules made, oldest tick first."""
    return conn.execute("select tick, status from howdah.tasks where tick is not null order by tick, id").fetchall()


def names(conn: psycopg.Connection) -> list[str]:
    return [name for (name,) in conn.execute("select name from howdah.schedules order by name")]


# ── what cannot be meant ──

REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "no name": ({"name": ""}, "name must be a name of 1 to 200 characters", "how the schedule is known"),
    "a long name": ({"name": "x" * 201}, "name must be a name of 1 to 200 characters", "known"),
    "NULL for a name": ({"name": None}, "name must be a name of 1 to 200 characters", "known"),
    "no time": ({"cron": None}, "neither of cron and every was given", "Give one of them"),
    "two times": ({"cron": "@daily", "every": "1 s"}, "both of cron and every was given", "Give one of them"),
    "a loop": ({"every": "0.09 s"}, "every must be at least 100 milliseconds, not 00:00:00.09", "10 seconds"),
    "back in time": ({"every": "-1 s"}, "every must be at least 100 milliseconds, not -00:00:01", "10 seconds"),
    "every month": ({"every": "1 month"}, "every must be of one length, not 1 mon", "cron: @monthly"),
    "every year": ({"every": "1 year"}, "every must be of one length, not 1 year", "cron: @monthly"),
    "jitter back": ({"jitter": "-1 s"}, "jitter must not be negative: -00:00:01", "Leave it out for none"),
    "missed": ({"missed": "some"}, "missed must be skip, latest or all, not 'some'", "Leave it out for latest"),
    "overlap": ({"overlap": "x'y"}, "overlap must be allow, skip or queue, not 'x''y'", "Leave it out for allow"),
    "a list": ({"payload": "[1]"}, "payload must be a JSON object of the arguments by name, not array", '{"user_id"'),
    "no queue": ({"queue": ""}, "queue must be a name of 1 to 200 characters", "the queue of the kind"),
    "for ever": ({"starts_at": "-infinity"}, "starts_at and ends_at must be points in time", "without bounds"),
    "endless": ({"ends_at": "infinity"}, "starts_at and ends_at must be points in time", "without bounds"),
    "ends first": ({"starts_at": START, "ends_at": START}, "is not after starts_at (2027-06-07 12:00:00+00)", "move it"),
    "no zone": ({"timezone": "Europe/Rga"}, "there is no time zone 'Europe/Rga'", "Write it like Europe/Riga"),
    "an abbreviation": ({"timezone": "XYZ5"}, "there is no time zone 'XYZ5'", "pg_timezone_names"),
    "a long cron": ({"cron": "1" * 201}, "cron is longer than 200 characters", "five fields"),
    "four fields": ({"cron": "* * * *"}, "cron '* * * *' has 4 fields, not 5 or 6", "five fields, or six"),
    "no field": ({"cron": " \t"}, "has 0 fields, not 5 or 6", "five fields, or six"),
    "seven fields": ({"cron": "* * * * * * *"}, "has 7 fields, not 5 or 6", "five fields, or six"),
    "an alias": ({"cron": "@dayly"}, "cron '@dayly' has 1 fields, not 5 or 6", "five fields, or six"),
    "a strange sign": ({"cron": "? * * * *"}, "cron '? * * * *': '?' cannot be the minute", "*/5 * * * *"),
    "a word": ({"cron": "* * * * MONDAY"}, "'MONDAY' cannot be the day of the week", "*/5 * * * *"),
    "a step of a step": ({"cron": "*/2/3 * * * *"}, "'*/2/3' cannot be the minute", "*/5 * * * *"),
    "nothing between": ({"cron": "* 1,,2 * * *"}, "'' cannot be the hour", "*/5 * * * *"),
    "second 60": ({"cron": "60 * * * * *"}, "the second must be 0 to 59, not 60", "*/5 * * * *"),
    "minute 60": ({"cron": "60 * * * *"}, "the minute must be 0 to 59, not 60", "*/5 * * * *"),
    "hour 24": ({"cron": "0 1,24 * * *"}, "the hour must be 0 to 23, not 24", "*/5 * * * *"),
    "day 0": ({"cron": "0 0 0 * *"}, "the day of the month must be 1 to 31, not 0", "*/5 * * * *"),
    "month 13": ({"cron": "0 0 1 1-13 *"}, "the month must be 1 to 12, not 13", "*/5 * * * *"),
    "weekday 8": ({"cron": "0 0 * * 8#1"}, "the day of the week must be 0 to 7, not 8", "*/5 * * * *"),
    "a huge number": ({"cron": "99999999999999999999 * * * *"}, "the minute must be 0 to 59, not 9999", "*/5"),
}  # fmt: skip


@pytest.mark.parametrize(("given", "words", "hint"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_meant_is_refused(
    conn: psycopg.Connection, given: dict[str, Any], words: str, hint: str
) -> None:
    given = dict(given)
    if not given.keys() & {"cron", "every"}:
        given["cron"] = "@daily"
    with refused("HW002", words, hint):
        schedule(conn, given.pop("name", "s"), **given)
    assert names(conn) == []


def test_an_unknown_kind_or_step_is_refused(conn: psycopg.Connection) -> None:
    with refused("HW001", "no handler for kind 'jub'; known kinds: job, machine, other", "Start a worker"):
        schedule(conn, kind="jub")
    with refused(
        "HW002", "kind machine is a state machine, and step is missing", "Give one of its steps: first, second"
    ):
        schedule(conn, kind="machine")
    with refused("HW002", "kind machine has no step 'third'", "Give one of its steps: first, second"):
        schedule(conn, kind="machine", step="third")
    with refused("HW002", "kind job has no steps, so it has no step 'first'", "Leave step out"):
        schedule(conn, step="first")
    assert names(conn) == []


@pytest.mark.parametrize("function", ["pause_schedule", "resume_schedule", "trigger"])
def test_a_schedule_that_is_not_there_is_named_beside_those_that_are(conn: psycopg.Connection, function: str) -> None:
    with refused("HW009", "there is no schedule 'nightli'", "There is none yet: SELECT howdah.schedule"):
        conn.execute(f"select howdah.{function}('nightli')".encode())
    schedule(conn, "nightly")
    schedule(conn, "hourly")
    with refused("HW009", "there is no schedule 'nightli'", "There are: hourly, nightly"):
        conn.execute(f"select howdah.{function}('nightli')".encode())


def test_what_is_left_out_has_a_meaning(conn: psycopg.Connection, clock: Clock) -> None:
    schedule(conn, cron="@daily", payload=None, missed=None, overlap=None, jitter=None, timezone=None)
    assert row(conn, "payload", "missed", "overlap", "jitter", "timezone", "queue", "priority", "declared", "state") == (
        {}, "latest", "allow", timedelta(0), "UTC", None, None, False, "active",
    )  # fmt: skip
    assert row(conn, "after", "next_at", "created_at") == (clock.now, None, clock.now)


# ── what workers take, the database takes ──


def takes(cron: str) -> bool:
    try:
        Timetable(cron)
    except InvalidOption:
        return False
    return True


NUMBERS = st.integers(0, 60).map(str) | st.sampled_from(
    ["00", "007", "00005", "31", "12", "7", "JAN", "dec", "Sun", "fri"]
)
TERMS = st.one_of(
    st.just("*"),
    NUMBERS,
    st.builds("{}-{}".format, NUMBERS, NUMBERS),
    st.builds("{}/{}".format, st.one_of(st.just("*"), NUMBERS), NUMBERS),
    st.builds("{}-{}/{}".format, NUMBERS, NUMBERS, NUMBERS),
    st.builds("{}#{}".format, NUMBERS, st.sampled_from(["1", "3", "5", "05"])),
    st.sampled_from(["L", "l", "LW", "lw", "5L", "05L", "0l", "7L", "L5", "1W"]),
)
FIELDS = st.lists(TERMS, min_size=1, max_size=3).map(",".join)
SPACES = st.sampled_from([" ", "  ", "\t", "\n"])


@st.composite
def crons(draw: st.DrawFn) -> str:
    """Expressions of which many can be read."""
    lowest, highest = [0, 0, 0, 1, 1, 0], [59, 59, 23, 31, 12, 7]
    count = draw(st.sampled_from([5, 6]))
    fields: list[str] = []
    for place in range(6 - count, 6):
        fit = st.integers(lowest[place], highest[place]).map(str)
        fields.append(draw(st.one_of(st.just("*"), fit, fit.map("*/{}".format), FIELDS)))
    return draw(SPACES).join(fields) + draw(st.sampled_from(["", " ", "\n"]))


@given(crons())
@example("0 0 * * 05#01")
@example("0 0 * * FRI#3,5L")
@example("00000030 3 L,LW jan-dec/2 sun-SAT")
@example("\t@Daily\n")
@example(" 0\t3 * * mon\n")
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much])
def test_the_database_refuses_no_cron_that_workers_take(conn: psycopg.Connection, cron: str) -> None:
    assume(takes(cron))
    assert ask(conn, "select howdah.cron_fault(%s)", [cron]) is None


def test_nor_any_of_those_whose_ticks_are_known(conn: psycopg.Connection) -> None:
    known = [case[0] for case in CASES.values()]
    faults = conn.execute("select c, howdah.cron_fault(c) from unnest(%s::text[]) c", [known]).fetchall()
    assert [fault for fault in faults if fault[1] is not None] == []


# ── a change ──


def past(conn: psycopg.Connection, clock: Clock) -> tuple[Any, ...]:
    """A schedule that has fired, skipped, and is paused; what its row remembers."""
    schedule(conn)
    seen = row(conn, "after")
    assert fire(conn, seen, clock.move(seconds=10), missed=3) == (1, 0)
    conn.execute("select howdah.pause_schedule('s', 'enough')")
    return remembered(conn)


def remembered(conn: psycopg.Connection) -> tuple[Any, ...]:
    return row(
        conn, "paused_at", "paused_by", "reason", "fired", "skipped", "last_tick", "last_task", "created_at", "anchor"
    )


def test_a_change_of_its_task_keeps_its_past_and_its_place(conn: psycopg.Connection, clock: Clock) -> None:
    before, place = past(conn, clock), row(conn, "after", "next_at")
    assert place == (clock.now, clock.now + 10 * SECOND)
    clock.move(seconds=3)
    schedule(
        conn, kind="other", payload='{"a": 1}', queue="q", priority=3, missed="all", overlap="skip", jitter="1 s",
        every="10 s", starts_at=START,
    )  # fmt: skip
    assert remembered(conn) == before
    assert row(conn, "after", "next_at") == place
    assert row(conn, "kind", "payload", "queue", "priority", "missed", "overlap", "jitter", "updated_at") == (
        "other", {"a": 1}, "q", 3, "all", "skip", SECOND, clock.now,
    )  # fmt: skip


@pytest.mark.parametrize(
    "times",
    [
        {"cron": "@daily", "starts_at": START},
        {"every": "11 s", "starts_at": START},
        {"every": "10 s", "starts_at": START, "timezone": "Europe/Riga"},
        {"every": "10 s", "starts_at": "2027-06-07T12:00:01+00:00"},
        {"every": "10 s", "starts_at": START, "ends_at": "2027-07-01T00:00+00:00"},
    ],
    ids=["cron", "every", "timezone", "starts_at", "ends_at"],
)
def test_other_times_count_from_now(conn: psycopg.Connection, clock: Clock, times: dict[str, Any]) -> None:
    before = past(conn, clock)
    clock.move(hours=5)
    schedule(conn, **times)
    assert row(conn, "after", "next_at") == (clock.now, None), "what came before the change is not made up for"
    assert remembered(conn)[:-1] == before[:-1]
    assert row(conn, "anchor") == at(times["starts_at"])


def test_other_times_do_not_lead_back_behind_a_tick_that_fired(conn: psycopg.Connection, clock: Clock) -> None:
    past(conn, clock)
    fired = clock.now
    clock.set(START)  # the clock is set back
    schedule(conn, every="5 s", starts_at=START)
    assert row(conn, "after") == fired


def test_workers_hear_of_a_change_and_of_nothing_else(conn: psycopg.Connection, connect: Connect) -> None:
    listener = connect()
    assert heard(listener, lambda: schedule(conn)) == ["schedules"]
    assert heard(listener, lambda: schedule(conn)) == []
    assert heard(listener, lambda: schedule(conn, payload='{"a": 1}', every="10 s", starts_at=START)) == ["schedules"]
    assert heard(listener, lambda: schedule(conn, "other", every="1 day")) == ["schedules"]
    assert heard(listener, lambda: schedule(conn, "other", every="1 day")) == [], "its random phase is no change"
    conn.execute("select howdah.pause_schedule('s')")
    assert heard(listener, lambda: conn.execute("select howdah.resume_schedule('s')")) == ["schedules"]
    assert heard(listener, lambda: conn.execute("select howdah.resume_schedule('s')")) == []


def test_two_programs_that_make_it_at_once_make_one(conn: psycopg.Connection, connect: Connect) -> None:
    one, two = connect(), connect()
    with ThreadPoolExecutor(1) as thread:
        with one.transaction():
            schedule(one, payload='{"by": 1}')
            under_way = thread.submit(schedule, two, payload='{"by": 2}')
            until_blocked(conn, two)
        under_way.result(30)
    assert names(conn) == ["s"]
    assert row(conn, "payload") == {"by": 2}


# ── where intervals count from ──


def test_intervals_begin_at_random_so_that_a_fleet_does_not_fire_at_once(
    conn: psycopg.Connection, clock: Clock
) -> None:
    for n in range(10):
        schedule(conn, f"s{n}", every="1 day")
    anchors = {row(conn, "anchor", name=f"s{n}") for n in range(10)}
    assert len(anchors) == 10
    assert all(clock.now <= anchor <= clock.now + timedelta(days=1) for anchor in anchors)


def test_the_phase_stays_with_the_interval(conn: psycopg.Connection, clock: Clock) -> None:
    schedule(conn, every="1 day")
    anchor = row(conn, "anchor")
    clock.move(hours=7)
    schedule(conn, every="1 day", payload='{"a": 1}')
    assert row(conn, "anchor") == anchor
    conn.execute("select howdah.pause_schedule('s'), howdah.resume_schedule('s')")
    assert row(conn, "anchor") == anchor
    schedule(conn, every="1 day", starts_at=START)
    assert row(conn, "anchor") == at(START), "starts_at pins it"
    schedule(conn, every="2 days", starts_at=START)
    assert row(conn, "anchor") == at(START)


# ── pause, resume, trigger, unschedule ──


def test_ticks_while_it_is_paused_are_not_made_up_for(conn: psycopg.Connection, clock: Clock) -> None:
    schedule(conn, missed="all")
    seen = row(conn, "after")
    clock.move(seconds=5)
    conn.execute("select howdah.pause_schedule('s', 'night')")
    assert row(conn, "state", "paused_at", "reason") == ("paused", clock.now, "night")
    assert row(conn, "paused_by") == ask(conn, "select session_user::text")
    paused_at = clock.now
    tick = clock.move(seconds=5)
    assert fire(conn, seen, tick) == (None, None)
    assert ask(conn, "select due from howdah.due_schedules()") is None
    conn.execute("select howdah.pause_schedule('s', 'day')")
    assert row(conn, "paused_at", "reason") == (paused_at, "day")
    clock.move(hours=1)
    assert ask(conn, "select howdah.resume_schedule('s')")
    assert row(conn, "state", "paused_at", "paused_by", "reason", "after", "next_at") == (
        "active", None, None, None, clock.now, None,
    )  # fmt: skip
    assert fire(conn, seen, tick) == (None, None), "whoever saw it before the pause comes too late"
    assert not ask(conn, "select howdah.resume_schedule('s')")
    assert tasks(conn) == []


def test_a_trigger_fires_now_also_while_it_is_paused_or_busy(conn: psycopg.Connection, clock: Clock) -> None:
    schedule(conn, overlap="skip", jitter="1 day", payload='{"a": 1}')
    place = row(conn, "after", "next_at")
    conn.execute("select howdah.pause_schedule('s')")
    clock.move(seconds=3)
    first = ask(conn, "select howdah.trigger('s')")
    assert task(conn, first, "status", "tick", "run_at", "source", "payload", "queue", "priority") == (
        "queued", clock.now, clock.now, "schedule:s", {"a": 1}, "jobs", 5,
    )  # fmt: skip
    again = ask(conn, "select howdah.trigger('s')")
    assert again > first, "two in one moment are two"
    assert row(conn, "state", "fired", "last_task", "last_tick", "skipped") == ("paused", 2, again, None, 0)
    assert row(conn, "after", "next_at") == place


def test_a_forgotten_schedule_leaves_its_tasks(conn: psycopg.Connection, clock: Clock) -> None:
    schedule(conn)
    made = ask(conn, "select howdah.trigger('s')")
    seen = row(conn, "after")
    assert ask(conn, "select howdah.unschedule('s')")
    assert not ask(conn, "select howdah.unschedule('s')")
    assert task(conn, made, "status") == "queued"
    assert fire(conn, seen, clock.move(seconds=10)) == (None, None)


# ── each tick makes one task ──


def test_a_tick_makes_a_task_of_what_the_schedule_says(conn: psycopg.Connection, clock: Clock) -> None:
    schedule(conn, kind="machine", step="second", payload='{"a": 1}', priority=9)
    tick = clock.move(seconds=10)
    assert fire(conn, at(START), tick, next_at=tick + 10 * SECOND, missed=2) == (1, 0)
    (made,) = conn.execute("select kind, step, payload, queue, priority, status, run_at, source, tick from howdah.task")
    assert made == ("machine", "second", {"a": 1}, "later", 9, "queued", tick, "schedule:s", tick)
    assert row(conn, "after", "next_at", "fired", "skipped", "last_tick", "state") == (
        tick, tick + 10 * SECOND, 1, 2, tick, "active",
    )  # fmt: skip
    assert row(conn, "last_task") == ask(conn, "select id from howdah.task")


def test_with_no_further_tick_it_is_over(conn: psycopg.Connection, clock: Clock) -> None:
    schedule(conn)
    tick = clock.move(seconds=10)
    given = ["s", at(START), [tick], tick]
    conn.execute("select howdah.fire(%s, %s, %s, %s, null)", given)
    assert row(conn, "state", "next_at") == ("over", None)
    assert ask(conn, "select due from howdah.due_schedules()") is None
    schedule(conn, every="20 s", starts_at=START)
    assert row(conn, "state") == "active"


def test_who_comes_second_fires_nothing(conn: psycopg.Connection, clock: Clock) -> None:
    schedule(conn)
    tick = clock.move(seconds=10)
    assert fire(conn, at(START), tick) == (1, 0)
    assert fire(conn, at(START), tick) == (None, None)
    assert row(conn, "fired") == 1
    assert len(tasks(conn)) == 1


def test_two_sessions_that_saw_the_same_fire_once(conn: psycopg.Connection, clock: Clock, connect: Connect) -> None:
    schedule(conn)
    tick = clock.move(seconds=10)
    one, two = connect(), connect()
    with one.transaction():
        assert fire(one, at(START), tick) == (1, 0)
        assert fire(two, at(START), tick) == (None, None), "it does not wait for the first either"
    assert fire(two, at(START), tick) == (None, None)
    assert tasks(conn) == [(tick, "queued")]


def test_what_was_rolled_back_fires_later(conn: psycopg.Connection, clock: Clock, connect: Connect) -> None:
    schedule(conn)
    tick = clock.move(seconds=10)
    one = connect()
    with one.transaction(force_rollback=True):
        assert fire(one, at(START), tick) == (1, 0)
    assert row(conn, "fired", "after") == (0, at(START))
    assert fire(conn, at(START), tick) == (1, 0)


def test_the_clock_of_the_database_says_whether_a_tick_has_come(conn: psycopg.Connection, clock: Clock) -> None:
    schedule(conn)
    early = clock.move(seconds=10) + timedelta.resolution
    assert fire(conn, at(START), early) == (None, None)
    assert fire(conn, at(START), clock.now, early, through=clock.now) == (None, None), "nor hidden among others"
    assert fire(conn, at(START), at(START), through=clock.now) == (None, None), "nor one that was dealt with"
    assert fire(conn, at(START), at(START) - SECOND, through=at(START) - SECOND) == (None, None)
    assert tasks(conn) == []
    assert fire(conn, at(START), clock.now) == (1, 0)


def test_a_clock_that_is_set_back_fires_nothing_twice(conn: psycopg.Connection, clock: Clock) -> None:
    schedule(conn)
    tick = clock.move(seconds=10)
    assert fire(conn, at(START), tick) == (1, 0)
    clock.set(START)
    assert ask(conn, "select due from howdah.due_schedules()") is None
    assert fire(conn, tick, tick) == (None, None)
    assert fire(conn, tick, tick - SECOND, through=tick) == (None, None)
    conn.execute("select howdah.pause_schedule('s'), howdah.resume_schedule('s')")
    assert row(conn, "after") == tick, "nor after a pause"
    # The next tick is worked out while the clock stands before the last one.
    assert fire(conn, tick, through=tick, next_at=tick + 10 * SECOND) == (0, 0)
    assert row(conn, "next_at") == tick + 10 * SECOND
    assert tasks(conn) == [(tick, "queued")]


def test_a_tick_that_has_its_task_gets_no_second(conn: psycopg.Connection, clock: Clock) -> None:
    schedule(conn)
    tick = clock.move(seconds=10)
    assert fire(conn, at(START), tick) == (1, 0)
    conn.execute("update howdah.schedule set after = %s", [at(START)])  # by hand, or from a backup
    assert fire(conn, at(START), tick) == (0, 0)
    assert row(conn, "fired", "last_tick") == (1, tick)
    with pytest.raises(psycopg.errors.UniqueViolation, match="task_source"):
        conn.execute(
            "insert into howdah.task (kind, payload, source, tick) select kind, payload, source, tick from howdah.task"
        )


def test_jitter_is_added_to_each_task(conn: psycopg.Connection, clock: Clock) -> None:
    schedule(conn, jitter="10 s")
    ticks = [clock.move(seconds=10) for _ in range(20)]
    assert fire(conn, at(START), *ticks) == (20, 0)
    late = [found for (found,) in conn.execute("select run_at - tick from howdah.task")]
    assert all(timedelta(0) <= by <= 10 * SECOND for by in late)
    assert len(set(late)) == 20


# ── overlap ──


def ticks(clock: Clock, count: int) -> Sequence[datetime]:
    return [clock.move(seconds=10) for _ in range(count)]


def test_allow_makes_all(conn: psycopg.Connection, clock: Clock) -> None:
    schedule(conn)
    assert fire(conn, at(START), *ticks(clock, 3)) == (3, 0)
    assert [status for _, status in tasks(conn)] == ["queued"] * 3


def test_skip_makes_none_while_one_is_live(conn: psycopg.Connection, clock: Clock) -> None:
    schedule(conn, overlap="skip")
    first, second, third, fourth = ticks(clock, 4)
    worker = Worker(conn, ["job"])
    assert fire(conn, at(START), first, second) == (1, 1)
    assert row(conn, "fired", "skipped", "last_tick", "after") == (1, 1, first, second)
    (held,) = worker.claim(queue="jobs")
    assert fire(conn, second, third) == (0, 1), "a running one is live"
    worker.done(held)
    assert fire(conn, third, fourth) == (1, 0)
    assert [tick for tick, _ in tasks(conn)] == [first, fourth]


@pytest.mark.parametrize("overlap", ["skip", "queue"])
def test_a_parked_task_stops_nothing(conn: psycopg.Connection, clock: Clock, overlap: str) -> None:
    schedule(conn, overlap=overlap)
    first, second = ticks(clock, 2)
    worker = Worker(conn, ["job"])
    fire(conn, at(START), first)
    worker.end(*worker.claim(queue="jobs"), to="failed", error="broken")
    assert fire(conn, first, second) == (1, 0)
    assert tasks(conn) == [(first, "failed"), (second, "queued")]


def in_line(conn: psycopg.Connection) -> tuple[int, bool]:
    """(woken, whether some stood in line)."""
    found = conn.execute("select woken, waiting from howdah.next_in_line()").fetchone()
    assert found is not None
    return found


def test_queue_runs_one_after_the_other_in_the_order_of_ticks(conn: psycopg.Connection, clock: Clock) -> None:
    schedule(conn, overlap="queue")
    first, second, third, fourth = ticks(clock, 4)
    worker = Worker(conn, ["job"])
    assert in_line(conn) == (0, False)
    assert fire(conn, at(START), first, second, third) == (3, 0)
    assert [status for _, status in tasks(conn)] == ["queued", "suspended", "suspended"]
    assert in_line(conn) == (0, True)
    done: list[datetime] = []
    for n in range(4):
        (held,) = worker.claim(queue="jobs")
        assert held.tick is not None
        done.append(at(held.tick))
        assert in_line(conn) == (0, n < 3), "none starts beside it"
        worker.done(held)
        if n == 1:  # between two: those in line go first
            assert fire(conn, third, fourth) == (1, 0)
        assert in_line(conn)[0] == (n < 3)
    assert done == [first, second, third, fourth]
    assert ask(conn, "select count(*) from howdah.archive where status = 'succeeded'") == 4


def test_lines_of_two_schedules_do_not_wait_for_each_other(conn: psycopg.Connection, clock: Clock) -> None:
    for name in ("s", "t"):
        schedule(conn, name, overlap="queue", every="10 s", starts_at=START)
    first, second = ticks(clock, 2)
    for name in ("s", "t"):
        assert fire(conn, at(START), first, second, name=name) == (2, 0)
    worker = Worker(conn, ["job"])
    worker.done(
        *[held for held in worker.claim(queue="jobs") if held.id == min(t for (t,) in live(conn, "schedule:s"))]
    )
    assert in_line(conn) == (1, True)
    assert [status for _, status in live_status(conn, "schedule:s")] == ["queued"]
    assert [status for _, status in live_status(conn, "schedule:t")] == ["running", "suspended"]


def live(conn: psycopg.Connection, source: str) -> list[tuple[int]]:
    return conn.execute("select id from howdah.task where source = %s order by tick", [source]).fetchall()


def live_status(conn: psycopg.Connection, source: str) -> list[tuple[Any, ...]]:
    return conn.execute("select tick, status from howdah.task where source = %s order by tick", [source]).fetchall()


def test_two_sessions_wake_one(conn: psycopg.Connection, clock: Clock, connect: Connect) -> None:
    schedule(conn, overlap="queue")
    first, second, third = ticks(clock, 3)
    fire(conn, at(START), first, second, third)
    worker = Worker(conn, ["job"])
    worker.done(*worker.claim(queue="jobs"))
    one, two = connect(), connect()
    with ThreadPoolExecutor(1) as thread, one.transaction():
        assert in_line(one) == (1, True)
        under_way = thread.submit(in_line, two)
        until_blocked(conn, two)
        one.execute("commit")
        assert under_way.result(30)[0] == 0
        one.execute("begin")
    assert tasks(conn)[1:] == [(second, "queued"), (third, "suspended")]


def test_the_next_in_line_wakes_a_sleeping_worker(conn: psycopg.Connection, clock: Clock, connect: Connect) -> None:
    schedule(conn, overlap="queue")
    fire(conn, at(START), *ticks(clock, 2))
    worker, listener = Worker(conn, ["job"]), connect()
    worker.done(*worker.claim(queue="jobs"))
    worker.fall_asleep()
    assert heard(listener, lambda: in_line(conn)) == ["wake jobs"]


def test_one_in_line_can_be_let_go_or_cancelled(conn: psycopg.Connection, clock: Clock) -> None:
    schedule(conn, overlap="queue")
    fire(conn, at(START), *ticks(clock, 3))
    _, second, third = [task_id for (task_id,) in live(conn, "schedule:s")]
    assert ask(conn, "select howdah.retry(%s)", [third]) == "due now"
    assert task(conn, third, "status", "run_at") == ("queued", clock.now)
    assert ask(conn, "select howdah.cancel(%s)", [second]) == "cancelled"
    assert in_line(conn) == (0, False)


def test_a_message_does_not_let_an_actor_jump_the_line(conn: psycopg.Connection, clock: Clock) -> None:
    declare(conn, {"name": "actor", "inbox": {}})
    schedule(conn, kind="actor", overlap="queue")
    fire(conn, at(START), *ticks(clock, 2))
    (second,) = live(conn, "schedule:s")[1]
    conn.execute("select howdah.send(%s, '1')", [second])
    assert task(conn, second, "status", "inbox_seq") == ("suspended", 1)


# ── why a task is not running ──


def why(conn: psycopg.Connection, task_id: int) -> list[tuple[Any, ...]]:
    return conn.execute("select code, reason, advice from howdah.why(%s)", [task_id]).fetchall()


def test_a_task_in_line_says_which_it_waits_for(conn: psycopg.Connection, clock: Clock) -> None:
    schedule(conn, overlap="queue")
    fire(conn, at(START), *ticks(clock, 3))
    (first,), (second,), _ = live(conn, "schedule:s")
    assert why(conn, second) == [
        (
            "in line",
            f"It waits for task {first} of the same schedule to end",
            f"See it: howdah show {first}; or run this one now: howdah retry {second}",
        )
    ]
    worker = Worker(conn, ["job"])
    worker.done(*worker.claim(queue="jobs"))
    ((code, reason, _),) = why(conn, second)
    assert (code, reason) == ("in line", "It is the next of its schedule, and goes on as soon as a worker looks")


def test_a_task_of_a_full_queue_says_so(conn: psycopg.Connection, clock: Clock) -> None:
    worker = Worker(conn, ["job"])
    conn.execute("select howdah.set_queue('jobs', 1)")
    put(conn, queue="jobs")
    assert len(worker.claim(queue="jobs")) == 1
    waiting = put(conn, queue="jobs")
    assert worker.claim(queue="jobs") == []
    assert why(conn, waiting) == [
        (
            "queue full",
            "Queue jobs may run 1 at once, and 1 run",
            "Wait, or raise it: SELECT howdah.set_queue('jobs', running => 2)",
        )
    ]


# ── declared by code ──


def says(conn: psycopg.Connection, *rows: dict[str, Any], kinds: Sequence[str] = ("job",)) -> None:
    """A worker starts whose code declares these."""
    conn.execute("select howdah.declare_schedules(%s, %s)", [list(kinds), json.dumps(rows)])


NIGHTLY = {"name": "nightly", "kind": "job", "cron": "0 3 * * *"}
HOURLY = {"name": "hourly", "kind": "job", "cron": "@hourly"}


def test_what_the_code_declares_no_more_retires_and_comes_back(conn: psycopg.Connection, clock: Clock) -> None:
    says(conn, NIGHTLY, HOURLY)
    conn.execute("update howdah.schedule set fired = 7")
    clock.move(minutes=30)
    says(conn, HOURLY)
    assert row(conn, "state", "retired_at", "fired", name="nightly") == ("retired", clock.now, 7)
    assert row(conn, "state", name="hourly") == "active"
    names_due = [due["name"] for due in ask(conn, "select due from howdah.due_schedules()")]
    assert names_due == ["hourly"]
    assert fire(conn, at(START), clock.now, name="nightly") == (None, None)
    clock.move(days=3)
    says(conn, NIGHTLY, HOURLY)
    assert row(conn, "state", "retired_at", "fired", "after", "next_at", name="nightly") == (
        "active", None, 7, clock.now, None,
    )  # fmt: skip
    assert row(conn, "after", name="hourly") == at(START), "the other missed nothing of its own"


def test_code_that_declares_nothing_retires_all_of_its_kinds(conn: psycopg.Connection) -> None:
    says(conn, NIGHTLY)
    says(conn, {"name": "theirs", "kind": "other", "cron": "@daily"}, kinds=["other"])
    schedule(conn, "by hand")
    says(conn)
    assert [row(conn, "state", name=name) for name in ("nightly", "theirs", "by hand")] == [
        "retired",
        "active",
        "active",
    ]


def test_a_pause_survives_a_restart(conn: psycopg.Connection, clock: Clock) -> None:
    says(conn, NIGHTLY)
    conn.execute("select howdah.pause_schedule('nightly', 'holidays')")
    says(conn, NIGHTLY)
    says(conn, NIGHTLY | {"cron": "0 4 * * *"})
    assert row(conn, "state", "reason", "cron", name="nightly") == ("paused", "holidays", "0 4 * * *")


def test_a_restart_that_says_the_same_changes_and_tells_nothing(conn: psycopg.Connection, connect: Connect) -> None:
    says(conn, NIGHTLY, {"name": "often", "kind": "job", "every": "10 s"})
    before = conn.execute("select s::text from howdah.schedule s order by name").fetchall()
    assert heard(connect(), lambda: says(conn, {"name": "often", "kind": "job", "every": "10 s"}, NIGHTLY)) == []
    assert conn.execute("select s::text from howdah.schedule s order by name").fetchall() == before


def test_code_takes_over_what_was_made_by_hand(conn: psycopg.Connection, clock: Clock) -> None:
    schedule(conn, "nightly", cron="0 3 * * *", payload='{"a": 1}')
    place = row(conn, "after", name="nightly")
    clock.move(hours=1)
    says(conn, NIGHTLY)
    assert row(conn, "declared", "payload", "after", name="nightly") == (True, {}, place)
    says(conn)
    assert row(conn, "state", name="nightly") == "retired"
    schedule(conn, "nightly", cron="0 3 * * *")
    assert row(conn, "declared", "state", name="nightly") == (False, "active")


def test_code_is_held_to_the_same(conn: psycopg.Connection) -> None:
    with refused("HW002", "the hour must be 0 to 23, not 25", "Write five fields"):
        says(conn, HOURLY, NIGHTLY | {"cron": "0 25 * * *"})
    assert names(conn) == []


# ── what workers ask ──


def test_workers_are_told_what_is_due_and_when_the_next_is(conn: psycopg.Connection, clock: Clock) -> None:
    schedule(conn, "new")
    for name, seconds in (("due", 0), ("soon", 7), ("later", 20)):
        schedule(conn, name)
        conn.execute("update howdah.schedule set next_at = %s where name = %s", [clock.now + seconds * SECOND, name])
    found = conn.execute("select due, now, next_in, waiting, woken from howdah.due_schedules()").fetchone()
    assert found is not None
    due, now, next_in, waiting, woken = found
    assert sorted(one["name"] for one in due) == ["due", "new"]
    assert (now, next_in, waiting, woken) == (clock.now, 7.0, False, 0)
    assert (due[0]["every"], due[0]["cron"], at(due[0]["anchor"])) == (10, None, at(START))


def test_why_it_cannot_fire_stands_in_its_row_until_it_is_changed(conn: psycopg.Connection, clock: Clock) -> None:
    schedule(conn)
    conn.execute("select howdah.schedule_failed('s', %s, %s)", [at(START) - SECOND, "an older one"])
    assert row(conn, "state", "error") == ("active", None), "that was of another time"
    conn.execute("select howdah.schedule_failed('s', %s, %s)", [at(START), "broken" * 1000])
    assert row(conn, "state") == "failing"
    assert len(row(conn, "error")) == 1000
    schedule(conn)
    assert row(conn, "state", "error") == ("active", None)
    conn.execute("select howdah.schedule_failed('s', %s, 'broken')", [at(START)])
    fire(conn, at(START), clock.move(seconds=10))
    assert row(conn, "state", "error") == ("active", None)
