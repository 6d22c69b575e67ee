"""Schedules as workers fire them: what is missed, what is broken, and what code declares."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest

from howdah import App, Context, Done, Inbox
from howdah.db.line import Line
from howdah.db.pool import Database
from howdah.errors import InvalidOption, InvalidPayload, ScheduleNotFound, UnknownKind
from howdah.timetable import Timetable
from howdah.worker import schedules
from howdah.worker.schedules import Schedules, due
from schedules.clock import START, Clock, at
from sql.protocol import ask, declare
from waiting import until

SECOND, MINUTE, HOUR = (timedelta(seconds=n) for n in (1, 60, 3600))
NOON = at(START)


class Turns:
    """The loop of a worker that fires schedules, turn by turn."""

    def __init__(self, dsn: str) -> None:
        self.line = Line(Database(dsn), timeout=20)
        self.woken = 0
        self.loop = Schedules(self.line, self._wake)

    def _wake(self) -> None:
        self.woken += 1

    async def turn(self) -> float:
        return await self.loop.turn()

    async def until_rest(self) -> float:
        """Turns until it wants to rest: for how long."""
        while not (rest := await self.turn()):
            pass
        return rest


@pytest.fixture
async def turns(dsn: str) -> AsyncIterator[Turns]:
    opened = Turns(dsn)
    yield opened
    await opened.line.close()


@pytest.fixture
async def others(dsn: str) -> AsyncIterator[Turns]:
    """The same of a second worker."""
    opened = Turns(dsn)
    yield opened
    await opened.line.close()


@pytest.fixture
def job(conn: psycopg.Connection, clock: Clock) -> Callable[..., None]:
    """Makes a schedule of kind `job`; the kind is declared, the clock stands still."""
    declare(conn, {"name": "job"})

    def schedule(name: str = "s", **options: Any) -> None:
        arguments = "".join(f", {option} => %s" for option in options)
        conn.execute(f"select howdah.schedule(%s, 'job'{arguments})".encode(), [name, *options.values()])

    return schedule


def ticks(conn: psycopg.Connection, name: str = "s") -> list[datetime]:
    query = "select tick from howdah.tasks where source = %s order by tick, id"
    return [tick for (tick,) in conn.execute(query, [f"schedule:{name}"])]


def state(conn: psycopg.Connection, name: str = "s") -> tuple[str, str | None]:
    found = conn.execute("select state, error from howdah.schedules where name = %s", [name]).fetchone()
    assert found is not None
    return found


# ── what is missed ──

TEN = Timetable(every="10s", anchor=NOON)
HOURLY = Timetable("@hourly")


@pytest.mark.parametrize("missed", ["skip", "latest", "all"])
def test_before_the_first_tick_nothing_is_due(missed: str) -> None:
    assert due(TEN, missed, NOON, NOON + 9 * SECOND) == ([], NOON, 0)
    assert due(TEN, missed, NOON + HOUR, NOON) == ([], NOON + HOUR, 0)  # the clock was set back


@pytest.mark.parametrize("missed", ["skip", "latest", "all"])
def test_a_tick_in_time_fires(missed: str) -> None:
    tick = NOON + 10 * SECOND
    assert due(TEN, missed, NOON, tick) == ([tick], tick, 0)


def test_of_several_ticks_the_latest_fires_or_all() -> None:
    three = [NOON + n * SECOND for n in (10, 20, 30)]
    now = NOON + 39 * SECOND
    assert due(TEN, "latest", NOON, now) == (three[2:], three[2], 2)
    assert due(TEN, "skip", NOON, now) == (three[2:], three[2], 2)
    assert due(TEN, "all", NOON, now) == (three, three[2], 0)


def test_what_is_more_than_a_minute_late_is_skipped_if_it_may() -> None:
    tick = NOON + HOUR
    assert due(HOURLY, "skip", NOON, tick + MINUTE) == ([tick], tick, 0)
    late = tick + MINUTE + timedelta.resolution
    assert due(HOURLY, "skip", NOON, late) == ([], tick, 1)
    assert due(HOURLY, "latest", NOON, late) == ([tick], tick, 0)
    assert due(HOURLY, "all", NOON, late) == ([tick], tick, 0)
    assert due(HOURLY, "skip", NOON, late + 2 * HOUR) == ([], tick + 2 * HOUR, 3)


def test_a_year_of_seconds_is_dealt_with_by_the_thousand() -> None:
    every_second, now = Timetable("* * * * * *"), NOON + timedelta(days=365)
    found, through, passed_over = due(every_second, "all", NOON, now)
    assert (len(found), found[0], through, passed_over) == (1000, NOON + SECOND, NOON + 1000 * SECOND, 0)
    assert due(every_second, "latest", NOON, now) == ([now], now, 999), "counted up to a point"


# ── turn by turn ──


async def test_a_new_schedule_fires_at_its_first_tick(
    conn: psycopg.Connection, clock: Clock, job: Callable[..., None], turns: Turns
) -> None:
    job(every="10 s", starts_at=NOON + 3 * SECOND)
    assert 2.9 < await turns.until_rest() < 3.1
    assert (ticks(conn), turns.woken) == ([], 0)
    clock.move(seconds=3)
    assert await turns.turn() == 0
    assert (ticks(conn), turns.woken) == ([clock.now], 1)
    assert await turns.turn() == schedules._LOOK_EVERY  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize(("missed", "made"), [("skip", 0), ("latest", 1), ("all", 2500)])
async def test_ticks_that_nobody_fired(
    conn: psycopg.Connection, clock: Clock, job: Callable[..., None], turns: Turns, missed: str, made: int
) -> None:
    job(every="100 s", starts_at=NOON, missed=missed)
    await turns.until_rest()
    clock.move(seconds=2500 * 100 + 61)
    await turns.until_rest()
    expected = [NOON + 100 * n * SECOND for n in range(1, 2501)]
    assert ticks(conn) == expected[2500 - made :]
    assert ask(conn, "select fired from howdah.schedules") == made
    assert ask(conn, "select after from howdah.schedules") == expected[-1]


async def test_two_workers_make_one_task_of_each_tick(
    conn: psycopg.Connection, clock: Clock, job: Callable[..., None], turns: Turns, others: Turns
) -> None:
    for name in ("s", "t", "u"):
        job(name, every="1 s", starts_at=NOON, missed="all")
    for _ in range(20):
        clock.move(seconds=1)
        await asyncio.gather(turns.turn(), others.turn())
    await asyncio.gather(turns.until_rest(), others.until_rest())
    for name in ("s", "t", "u"):
        assert ticks(conn, name) == [NOON + n * SECOND for n in range(1, 21)]
    assert ask(conn, "select sum(fired) from howdah.schedules") == 60
    assert turns.woken
    assert others.woken


async def test_it_rests_while_another_holds_what_is_due(
    conn: psycopg.Connection, clock: Clock, job: Callable[..., None], turns: Turns, dsn: str
) -> None:
    job(every="1 s", starts_at=NOON)
    await turns.until_rest()
    clock.move(seconds=1)
    with psycopg.connect(dsn) as another:
        another.execute("select howdah.trigger('s')")  # in a transaction that goes on
        assert await turns.turn() > 0
        another.rollback()
    await turns.until_rest()
    assert ticks(conn) == [clock.now]


async def test_what_is_changed_after_the_clock_was_set_back_finds_its_next_tick(
    conn: psycopg.Connection, clock: Clock, job: Callable[..., None], turns: Turns
) -> None:
    job(every="10 s", starts_at=NOON)
    clock.move(seconds=10)
    await turns.until_rest()
    clock.move(seconds=-5)
    job(every="5 s", starts_at=NOON)
    assert await turns.until_rest() > 0
    assert ask(conn, "select next_at from howdah.schedules") == NOON + 15 * SECOND
    assert ticks(conn) == [NOON + 10 * SECOND]


async def test_after_its_end_a_schedule_is_over(
    conn: psycopg.Connection, clock: Clock, job: Callable[..., None], turns: Turns
) -> None:
    job(every="10 s", starts_at=NOON, ends_at=NOON + 30 * SECOND, missed="all")
    clock.move(hours=1)
    await turns.until_rest()
    assert ticks(conn) == [NOON + 10 * SECOND, NOON + 20 * SECOND]
    assert state(conn) == ("over", None)


# ── what is broken ──


async def test_a_broken_cron_is_shown_and_tried_again_when_it_is_changed(
    conn: psycopg.Connection,
    clock: Clock,
    job: Callable[..., None],
    turns: Turns,
    caplog: pytest.LogCaptureFixture,
) -> None:
    job(cron="* * * * *")
    job("fine", cron="* * * * *")
    conn.execute("update howdah.schedule set cron = '61 * * * *' where name = 's'")
    clock.move(minutes=1)
    await turns.until_rest()
    said = 'cron "61 * * * *": the minute must be 0-59, not 61'
    assert state(conn) == ("failing", said)
    assert state(conn, "fine") == ("active", None)
    assert ticks(conn, "fine") == [clock.now], "the others go on"
    await turns.until_rest()
    assert [record.message for record in caplog.records if record.levelno == logging.ERROR] == [
        f"schedule s cannot fire: {said}"
    ]
    job(cron="*/2 * * * *")
    await turns.until_rest()
    assert state(conn) == ("active", None)
    clock.move(minutes=1)
    await turns.until_rest()
    assert ticks(conn) == [clock.now]


async def test_a_kind_that_is_gone_stops_only_its_schedule(
    conn: psycopg.Connection, clock: Clock, job: Callable[..., None], turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    job(every="10 s", starts_at=NOON)
    conn.execute("delete from howdah.kind")
    clock.move(seconds=10)
    await turns.until_rest()
    assert state(conn) == ("failing", "no handler for kind 'job'; known kinds: none yet")
    assert ticks(conn) == []
    declare(conn, {"name": "job"})
    await turns.until_rest()
    assert state(conn)[0] == "failing", "it is not tried at each turn"
    monkeypatch.setattr(schedules, "_TRY_AGAIN", 0.0)
    turns.loop._failing.clear()  # pyright: ignore[reportPrivateUsage]  # as when half a minute has gone by
    await turns.until_rest()
    assert state(conn) == ("active", None)
    assert ticks(conn) == [clock.now]


async def test_another_kind_is_tried_at_once(
    conn: psycopg.Connection, clock: Clock, job: Callable[..., None], turns: Turns
) -> None:
    job(every="10 s", starts_at=NOON)
    conn.execute("update howdah.kind set name = 'work'")
    clock.move(seconds=10)
    await turns.until_rest()
    assert state(conn)[0] == "failing"
    clock.move(seconds=1)
    conn.execute("select howdah.schedule('s', 'work', every => '10 s', starts_at => %s)", [NOON])
    await turns.until_rest()
    assert (state(conn), ticks(conn)) == (("active", None), [NOON + 10 * SECOND])


# ── what code declares ──


async def declared(app: App) -> dict[str, dict[str, Any]]:
    """What a worker has told the database."""
    async with app.worker():
        return {row["name"]: row for row in await app.schedules()}


async def test_one_task_may_have_several_schedules(app: App) -> None:
    @app.cron("0 3 * * *", name="nightly", timezone="Europe/Riga", payload={"user_id": 1})
    @app.every(
        "10s", name="often", payload={"user_id": 2}, overlap="skip", jitter="1s", missed="all", queue="q", priority=3
    )
    @app.task(queue="mail")
    async def welcome(user_id: int) -> None: ...

    @app.cron("@hourly")
    @app.task()
    async def clean() -> None: ...

    rows = await declared(app)
    assert {name: (row["kind"], row["cron"], row["every"], row["timezone"]) for name, row in rows.items()} == {
        "nightly": ("welcome", "0 3 * * *", None, "Europe/Riga"),
        "often": ("welcome", None, 10 * SECOND, "UTC"),
        "clean": ("clean", "@hourly", None, "UTC"),
    }
    often = rows["often"]
    assert [often[name] for name in ("payload", "overlap", "jitter", "missed", "queue", "priority", "declared")] == [
        {"user_id": 2}, "skip", SECOND, "all", "q", 3, True,
    ]  # fmt: skip
    assert rows["nightly"]["payload"] == {"user_id": 1}


async def test_a_pause_survives_the_restart_of_workers(app: App, dsn: str) -> None:
    @app.cron("@hourly")
    @app.task()
    async def clean() -> None: ...

    await declared(app)
    await app.pause_schedule("clean", "enough")
    assert (await declared(app))["clean"]["state"] == "paused"
    assert await app.resume_schedule("clean")
    assert (await declared(app))["clean"]["state"] == "active"


async def test_what_the_code_does_not_declare_any_more_retires(app: App, dsn: str) -> None:
    @app.task()
    async def clean() -> None: ...

    app.cron("@hourly")(clean)
    await declared(app)
    async with App(dsn) as later:

        @later.task(name="clean")
        async def without() -> None: ...

        assert (await declared(later))["clean"]["state"] == "retired"
        later.cron("@hourly")(without)
        assert (await declared(later))["clean"]["state"] == "active"


async def test_two_schedules_of_one_name_are_refused(app: App) -> None:
    @app.cron("@daily")
    @app.task()
    async def clean() -> None: ...

    with pytest.raises(InvalidOption, match="two schedules are called 'clean'") as refused:
        app.every("1h")(clean)
    assert refused.value.hint == "Give one of them another name: name=…"
    app.every("1h", name="clean often")(clean)


async def test_the_order_of_decorators_is_told(app: App) -> None:
    with pytest.raises(InvalidOption, match="is no task, actor, machine or step") as refused:

        @app.task()
        @app.cron("@daily")
        async def clean() -> None: ...

    assert refused.value.hint == "Write it above @app.task(), not below"
    with pytest.raises(InvalidOption, match="goes above a task, not above the text 'clean'"):
        app.cron("@daily")("clean")


async def test_mistakes_are_told_where_they_are_made(app: App) -> None:
    @app.task()
    async def welcome(user_id: int) -> None: ...

    wrong: dict[str, tuple[Any, type[Exception]]] = {
        "schedule welcome: .*user_id": (app.cron("@daily"), InvalidPayload),
        "schedule x: .*expected int, got str": (app.cron("@daily", name="x", payload={"user_id": "1"}), InvalidPayload),
        "schedule welcome: .*other": (app.cron("@daily", payload={"user_id": 1, "other": 2}), InvalidPayload),
        "payload must be a mapping of the arguments by name, not 7": (app.cron("@daily", payload=7), InvalidOption),  # type: ignore
        'cron "@dayly" is not known': (app.cron("@dayly", payload={"user_id": 1}), InvalidOption),
        "every must be at least 100ms": (app.every("10ms", payload={"user_id": 1}), InvalidOption),
        "there is no timezone 'Riga'": (app.cron("@daily", timezone="Riga", payload={"user_id": 1}), InvalidOption),
        "missed must be skip, latest or all": (app.every(1, missed="some", payload={"user_id": 1}), InvalidOption),  # type: ignore
        "overlap must be allow, skip or queue": (app.every(1, overlap="no", payload={"user_id": 1}), InvalidOption),  # type: ignore
        "cron and every were both given": (app.every(1, cron="@daily", payload={"user_id": 1}), InvalidOption),
        "jitter": (app.every(1, jitter="soon", payload={"user_id": 1}), InvalidOption),
        "has no steps": (app.every(1, step="first", payload={"user_id": 1}), InvalidOption),
    }
    for words, (decorate, error) in wrong.items():
        with pytest.raises(error, match=words):
            decorate(welcome)
    assert not app.registry.schedules


async def test_machines_and_actors_have_schedules(app: App, clock: Clock) -> None:
    seen: list[Any] = []
    trip = app.machine("trip")

    @app.every("10s", name="by step", start=NOON, payload={"bags": 2})
    @trip.step
    @dataclass
    class Pack:
        bags: int

        async def run(self, ctx: Context) -> Done:
            seen.append(("pack", self.bags, ctx.tick))
            return Done(None)

    @app.every("10s", start=NOON, payload={"owner": "Anna"})
    @app.actor()
    @dataclass
    class Account:
        owner: str

        async def poll(self, ctx: Context, inbox: Inbox[Any]) -> Done:
            seen.append(("account", self.owner, ctx.tick))
            return Done(None)

    rows = await declared(app)
    assert (rows["by step"]["kind"], rows["by step"]["step"]) == ("trip", "Pack")
    assert rows["Account"]["payload"] == {"owner": "Anna"}
    tick = clock.move(seconds=10)
    async with app.worker():
        await until(lambda: len(seen) == 2, "both to run")
    assert sorted(seen) == [("account", "Anna", tick), ("pack", 2, tick)]


async def test_a_handler_knows_its_tick(app: App, clock: Clock) -> None:
    seen: list[datetime | None] = []

    @app.every("10s", start=NOON)
    @app.task()
    async def look(ctx: Context) -> None:
        seen.append(ctx.tick)

    await declared(app)
    tick = clock.move(seconds=10)
    async with app.worker():
        await until(lambda: seen == [tick], "the tick")
        await (await look.enqueue()).result("20s")
        assert seen == [tick, None]
        triggered = await app.trigger("look")
        await app.result(triggered, timeout="20s")
    assert [moment and moment.utcoffset() for moment in seen] == [timedelta(0), None, timedelta(0)]
    assert seen[2] is not None
    assert tick <= seen[2] < tick + SECOND


# ── a worker alone ──


@pytest.fixture
def looks_only_when_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_LOOK_EVERY", "_LINE_EVERY"):
        monkeypatch.setattr(schedules, name, 3600.0)


@pytest.mark.usefixtures("looks_only_when_told")
async def test_with_queue_one_begins_where_another_ends(app: App, clock: Clock) -> None:
    seen: list[datetime | None] = []
    running = 0

    @app.every("10s", start=NOON, missed="all", overlap="queue")
    @app.task(retry=0)
    async def one_by_one(ctx: Context) -> None:
        nonlocal running
        running += 1
        assert running == 1
        await asyncio.sleep(0)
        running -= 1
        seen.append(ctx.tick)
        if len(seen) == 2:
            raise ValueError("broken")  # parked: it stops nothing

    await declared(app)
    clock.move(seconds=50)
    async with app.worker():
        await until(lambda: len(seen) == 5, "all five")
    assert seen == [NOON + n * SECOND for n in (10, 20, 30, 40, 50)]
    assert [task.status for task in await app.tasks() if task.status != "succeeded"] == ["failed"]


@pytest.mark.usefixtures("looks_only_when_told")
async def test_a_schedule_of_another_program_wakes_a_worker(app: App, dsn: str) -> None:
    seen: list[str] = []

    @app.task()
    async def greet(name: str) -> None:
        seen.append(name)

    async with app.worker(), App(dsn) as other:
        await other.schedule("greetings", "greet", every="100ms", payload={"name": "Anna"})
        await until(lambda: len(seen) >= 2, "two greetings")
        await other.pause_schedule("greetings")
        with pytest.raises(UnknownKind, match="no handler for kind 'great'"):
            await other.schedule("x", "great", every=1)
        with pytest.raises(ScheduleNotFound, match="there is no schedule 'x'"):
            await other.trigger("x")
        assert await other.unschedule("greetings")
        assert not await other.unschedule("greetings")
    assert set(seen) == {"Anna"}


async def test_a_schedule_is_part_of_the_transaction_it_is_made_in(app: App) -> None:
    @app.task()
    async def greet() -> None: ...

    async with app.worker():
        pass
    async with app.transaction() as mine:
        await app.schedule("s", greet, cron="@daily", connection=mine)
        assert await app.schedules() == [], "not before it is committed"
        raise psycopg.Rollback
    assert await app.schedules() == []


# ── where clocks change ──


@pytest.mark.parametrize(
    ("begin", "end", "expected"),
    [
        (
            "2027-10-30T22:00Z",
            "2027-10-31T03:00Z",
            {
                "fixed": ["00:30"],  # 03:30 comes twice: the first of them
                "wild": ["00:00", "00:30", "01:00", "01:30"],
                "hourly": ["23:00", "00:00", "01:00", "02:00", "03:00"],
                "often": ["22:45", "23:30", "00:15", "01:00", "01:45", "02:30"],
            },
        ),
        (
            "2027-03-27T22:00Z",
            "2027-03-28T03:00Z",
            {
                "fixed": ["01:00"],  # there is no 03:30: the first moment after
                "wild": [],
                "hourly": ["23:00", "00:00", "01:00", "02:00", "03:00"],
                "often": ["22:45", "23:30", "00:15", "01:00", "01:45", "02:30"],
            },
        ),
    ],
    ids=["autumn", "spring"],
)
async def test_summer_time_from_the_clock_to_the_handler(
    app: App, clock: Clock, turns: Turns, others: Turns, begin: str, end: str, expected: dict[str, list[str]]
) -> None:
    seen: dict[str, list[datetime]] = {name: [] for name in expected}

    @app.cron("30 3 * * *", timezone="Europe/Riga", name="fixed", payload={"name": "fixed"})
    @app.cron("*/30 3 * * *", timezone="Europe/Riga", name="wild", payload={"name": "wild"})
    @app.cron("@hourly", timezone="Europe/Riga", name="hourly", payload={"name": "hourly"})
    @app.every("45m", start=at(begin), name="often", payload={"name": "often"})
    @app.task()
    async def look(ctx: Context, name: str) -> None:
        assert ctx.tick is not None
        seen[name].append(ctx.tick)

    clock.set(begin)
    await declared(app)
    while clock.now < at(end):
        clock.move(minutes=5)
        await asyncio.gather(turns.until_rest(), others.until_rest())
    count = sum(len(times) for times in expected.values())
    async with app.worker():
        await until(lambda: sum(len(found) for found in seen.values()) >= count, "all to run")
    assert {name: [f"{tick:%H:%M}" for tick in sorted(found)] for name, found in seen.items()} == expected


async def test_it_is_said_whether_anybody_would_run_its_tasks(app: App) -> None:
    @app.cron("@yearly")
    @app.task(name="rare")
    async def rare() -> None: ...

    async with app.worker():
        assert [row["served"] for row in await app.schedules()] == [True]
    assert [row["served"] for row in await app.schedules()] == [False]
