"""Schedules through the shell: made, seen, paused, fired by hand, forgotten."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import psycopg
import pytest

from cli.shells import Ended, Shell
from howdah import App

TASKS = """
from howdah import App

app = App()


@app.cron("0 0 1 1 *", name="yearly", payload={"user_id": 1})
@app.task(queue="mail", retry=0)
async def welcome(user_id: int) -> str:
    return f"sent to {user_id}"
"""
NIGHTLY = ("nightly", "welcome", "--cron", "0 3 * * *", "--timezone", "Europe/Riga", "--payload", '{"user_id": 7}')


@pytest.fixture
def howdah(tmp_path: Path, dsn: str) -> Shell:
    """In a folder with a tasks.py whose kinds and schedules the database knows."""
    (tmp_path / "tasks.py").write_text(TASKS)
    shell = Shell(tmp_path, {"HOWDAH_DSN": dsn})
    done = shell("worker", "--until-idle", "--poll", "50ms")
    assert done.code == 0, done.err
    return shell


@pytest.fixture
def client(dsn: str) -> Iterator[App]:
    opened = App(dsn)
    yield opened
    opened.close_sync()


def failed(done: Ended, code: int) -> str:
    """What it says on stderr, without the line that names the target."""
    assert (done.code, done.out) == (code, ""), done.err
    return "".join(line for line in done.err.splitlines(keepends=True) if not line.startswith("→ "))


def said(done: Ended) -> str:
    """The last line on stderr of what went well; the first one names the target."""
    assert done.code == 0, done.err
    target, *rest = done.err.splitlines()
    assert target.startswith("→ ")
    return "\n".join(rest)


def nights(count: int) -> list[str]:
    """The next times that it is 03:00 in Riga, in UTC."""
    zone, now = ZoneInfo("Europe/Riga"), datetime.now(UTC)
    days = (now.astimezone(zone).date() + timedelta(days=n) for n in range(count + 1))
    ticks = [datetime(day.year, day.month, day.day, 3, tzinfo=zone).astimezone(UTC) for day in days]
    return [tick.isoformat() for tick in ticks if tick > now][:count]


# ── schedule ──


def test_schedule_says_when_it_fires_next(howdah: Shell, client: App) -> None:
    line = said(howdah("schedule", *NIGHTLY))
    assert line == f"nightly: 0 3 * * * Europe/Riga, next {nights(1)[0].replace('T', ' ')}"
    rows = {row["name"]: row for row in client.schedules_sync()}
    assert (rows["nightly"]["payload"], rows["nightly"]["declared"]) == ({"user_id": 7}, False)
    assert rows["yearly"]["declared"]


def test_all_that_a_schedule_may_be_told(howdah: Shell, client: App) -> None:
    line = said(
        howdah(
            "schedule", "often", "welcome", "--every", "1h30m", "--payload", '{"user_id": 7}', "--jitter", "10s",
            "--overlap", "skip", "--missed", "all", "--start", "2127-01-01T00:00+02:00", "--end", "2128-01-01T00:00+02:00",
            "-q", "bulk", "--priority", "3",
        )
    )  # fmt: skip
    assert line == "often: every 1h 30m, next 2126-12-31 22:00:00+00:00"
    row = {row["name"]: row for row in client.schedules_sync()}["often"]
    assert [row[name] for name in ("every", "jitter", "overlap", "missed", "queue", "priority")] == [
        timedelta(minutes=90), timedelta(seconds=10), "skip", "all", "bulk", 3,
    ]  # fmt: skip
    assert row["anchor"] == row["starts_at"] == datetime(2126, 12, 31, 22, tzinfo=UTC)


def test_a_schedule_that_is_over_before_it_begins_says_never(howdah: Shell) -> None:
    line = said(howdah("schedule", *NIGHTLY, "--end", "2020-01-01T00:00Z"))
    assert line == "nightly: 0 3 * * * Europe/Riga, next never"


MISTAKES: dict[str, tuple[tuple[str, ...], int, str, str]] = {
    "kind": (("x", "welcom", "--every", "1s"), 3, "no handler for kind 'welcom'; known kinds: welcome", "Start a worker"),
    "payload": (("x", "welcome", "--every", "1s"), 2, "schedule x: welcome: missing argument user_id", "Give payload="),
    "neither": (("x", "welcome"), 2, "neither cron nor every was given", "Give one of them"),
    "both": (("x", "welcome", "--every", "1s", "--cron", "@daily"), 2, "cron and every were both given", "Give one"),
    "cron": (("x", "welcome", "--cron", "* * *"), 2, 'cron "* * *": it has 3 fields', 'Write "30 3 * * 1-5"'),
    "every": (("x", "welcome", "--every", "1ms"), 2, "every must be at least 100ms", "write a poller"),
    "timezone": (("x", "welcome", "--cron", "@daily", "--timezone", "Riga"), 2, "there is no timezone 'Riga'", "Europe/Riga"),
    "missed": (("x", "welcome", "--every", "1s", "--missed", "some"), 2, 'Invalid value "some" for --missed', "--help"),
    "times": (
        ("x", "welcome", "--every", "1s", "--start", "2027-01-01T00:00Z", "--end", "2026-01-01T00:00Z"),
        2, "end (2026-01-01T00:00:00+00:00) must be after start", "move it",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "code", "words", "hint"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_named_and_nothing_is_made(
    howdah: Shell, client: App, arguments: tuple[str, ...], code: int, words: str, hint: str
) -> None:
    error, tip = failed(howdah("schedule", *arguments), code).splitlines()
    assert error.startswith("error: ")
    assert words in error
    assert tip.startswith(("hint: ", "See: "))
    assert hint in tip
    assert [row["name"] for row in client.schedules_sync()] == ["yearly"]


# ── schedules ──


NOBODY = "no live worker knows welcome"


def test_schedules_lists_them_by_name(howdah: Shell) -> None:
    howdah("schedule", *NIGHTLY)
    howdah("pause-schedule", "yearly", "--reason", "holidays")
    done = howdah("schedules")
    assert done.code == 0
    assert done.out.splitlines()[0].split("\t") == ["name", "state", "kind", "when", "next", "last", "fired", "note"]
    nightly, yearly = done.lines
    assert nightly == ["nightly", "active", "welcome", "0 3 * * * Europe/Riga", "", "", "0", NOBODY]
    assert yearly[:3] == ["yearly", "paused", "welcome"]
    assert yearly[4] == "", "a paused one has no next tick"
    assert re.fullmatch(r"by \w+: holidays", yearly[-1])
    assert howdah("schedules", "-o", "ids").out == "nightly\nyearly\n"
    assert [row["name"] for row in json.loads(howdah("schedules", "-o", "json").out)] == ["nightly", "yearly"]
    lines = howdah("schedules", "-o", "jsonl").out.splitlines()
    assert [json.loads(line)["state"] for line in lines] == ["active", "paused"]


def test_what_fails_is_said_in_the_list(howdah: Shell, conn: psycopg.Connection) -> None:
    conn.execute("update howdah.schedule set cron = '61 * * * *', next_at = null")
    assert howdah("worker", "--until-idle", "--poll", "50ms").code == 0
    # A start declares it anew, and so mends it.
    assert howdah("schedules").lines[0][1] == "active"
    conn.execute("update howdah.schedule set cron = '61 * * * *', error = 'the minute must be 0-59'")
    ((name, state, *_, note),) = howdah("schedules").lines
    assert (name, state, note) == ("yearly", "failing", "the minute must be 0-59")
    shown = howdah("schedules", "yearly", "-o", "json")
    assert json.loads(shown.out)["ticks"] == []


def test_with_none_it_says_how_to_make_one(howdah: Shell, client: App) -> None:
    client.unschedule_sync("yearly")
    done = howdah.on_a_terminal("schedules")
    assert done.code == 0
    assert "no schedules; declare one with @app.cron, or: howdah schedule nightly KIND --cron" in done.out
    assert howdah("schedules", "-o", "json").out.strip() == "[]"


def test_one_is_shown_with_its_next_ten_ticks(howdah: Shell) -> None:
    howdah("schedule", *NIGHTLY)
    found = json.loads(howdah("schedules", "nightly", "-o", "json").out)
    assert found["ticks"] == nights(10)
    assert (found["name"], found["payload"], found["timezone"]) == ("nightly", {"user_id": 7}, "Europe/Riga")
    fields, ticks = howdah("schedules", "nightly").out.split("\n\n")
    assert ticks.splitlines() == ["tick", *nights(10)]
    assert "cron\t0 3 * * *" in fields
    assert howdah("schedules", "nightly", "-o", "ids").out == "nightly\n"


def test_people_see_the_ticks_on_the_clock_of_the_schedule(howdah: Shell) -> None:
    # No summer time there: all ten are at three.
    howdah("schedule", *("Asia/Tokyo" if word == "Europe/Riga" else word for word in NIGHTLY))
    done = howdah.on_a_terminal("schedules", "nightly", env={"NO_COLOR": "1"})
    assert done.code == 0
    assert "the next 10" in done.out
    shown = re.findall(r"^\w{3} (\d{4}-\d\d-\d\d) 03:00:00 (JST)  in ", done.out, re.MULTILINE)
    assert len(shown) == 10
    assert re.search(r"when .*0 3 \* \* \* Asia/Tokyo", done.out)


def test_one_that_is_not_there_is_named_beside_those_that_are(howdah: Shell) -> None:
    assert failed(howdah("schedules", "yearl"), 3) == "error: there is no schedule 'yearl'\nhint: There are: yearly\n"


# ── pause, resume, trigger, unschedule ──


def test_a_pause_outlives_restarts_and_changes(howdah: Shell, client: App) -> None:
    howdah("schedule", *NIGHTLY)
    assert said(howdah("pause-schedule", "nightly", "--reason", "night")) == "schedule nightly is paused"
    assert said(howdah("pause-schedule", "yearly")) == "schedule yearly is paused"
    assert said(howdah("schedule", *NIGHTLY)).endswith("; it is paused: howdah resume-schedule nightly")
    assert howdah("worker", "--until-idle", "--poll", "50ms").code == 0
    assert {row["name"]: row["state"] for row in client.schedules_sync()} == {"nightly": "paused", "yearly": "paused"}
    assert said(howdah("resume-schedule", "nightly")) == "schedule nightly goes on"
    assert said(howdah("resume-schedule", "nightly")) == "schedule nightly was not paused"


def test_trigger_prints_the_id_of_a_task_that_runs(howdah: Shell, client: App) -> None:
    howdah("pause-schedule", "yearly")
    done = howdah("trigger", "yearly")
    assert done.code == 0
    task_id = int(done.out)
    answer = json.loads(howdah("trigger", "yearly", "-o", "json").out)
    assert answer == {"id": answer["id"], "schedule": "yearly"}
    assert answer["id"] != task_id
    assert howdah("worker", "--until-idle", "--poll", "50ms").code == 0
    assert [client.result_sync(found, timeout="10s") for found in (task_id, answer["id"])] == ["sent to 1"] * 2


def test_unschedule_forgets_it_and_leaves_its_tasks(howdah: Shell, client: App) -> None:
    task_id = int(howdah("trigger", "yearly").out)
    assert said(howdah("unschedule", "yearly")) == "schedule yearly is forgotten"
    assert client.show_sync(task_id).status == "queued"
    assert failed(howdah("unschedule", "yearly"), 3).startswith("error: there is no schedule 'yearly'\n")
    howdah("worker", "--until-idle", "--poll", "50ms")
    assert [row["name"] for row in client.schedules_sync()] == ["yearly"], "the code still declares it"


@pytest.mark.parametrize("command", ["pause-schedule", "resume-schedule", "trigger"])
def test_what_is_not_there_cannot_be_steered(howdah: Shell, command: str) -> None:
    words = failed(howdah(command, "yearl"), 3)
    assert words == "error: there is no schedule 'yearl'\nhint: There are: yearly\n"
