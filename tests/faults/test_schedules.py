"""Each tick makes one task: while workers are killed and started, and while one of them has a wrong clock.

HOWDAH_SECONDS makes the first longer: HOWDAH_SECONDS=120 pytest tests/faults/test_schedules.py
"""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from waiting import until_sync

PROGRAM = Path(__file__).with_name("ticking.py")
SECONDS = float(os.environ.get("HOWDAH_SECONDS", "20"))
SECOND = timedelta(seconds=1)


class Fleet:
    """Processes of ticking.py, all of which say what they do in one file."""

    def __init__(self, dsn: str, log: Path) -> None:
        self.dsn = dsn
        self.log = log
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self, **variables: str) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as said:
            process = subprocess.Popen(
                [sys.executable, str(PROGRAM), self.dsn],
                stdout=subprocess.DEVNULL, stderr=said, env=os.environ | variables,
            )  # fmt: skip
        self.running.append(process)
        return process

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()
        self.running.remove(process)


@pytest.fixture
def fleet(dsn: str, tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(dsn, tmp_path / "log")
    yield fleet
    for process in fleet.running:
        process.kill()
        process.wait()


def ticks(conn: psycopg.Connection) -> list[datetime]:
    """Of all tasks, live or ended, in order: one that was made twice is there twice."""
    return [tick for (tick,) in conn.execute("select tick from howdah.tasks where kind = 'tick' order by tick")]


def assert_each_once(conn: psycopg.Connection) -> None:
    """No gap, no double, none early."""
    found = ticks(conn)
    assert found == [found[0] + n * SECOND for n in range(len(found))]
    assert conn.execute("select count(*) from howdah.tasks where created_at < tick").fetchone() == (0,)
    row = conn.execute("select fired, skipped, last_tick from howdah.schedules").fetchone()
    assert row == (len(found), 0, found[-1])


def pass_by(conn: psycopg.Connection, seconds: float) -> None:
    """Wait until so much time has gone by on the clock of the database."""
    end = now(conn) + timedelta(seconds=seconds)
    until_sync(lambda: now(conn) > end, f"{seconds} s to go by")


def go_on(conn: psycopg.Connection, more: int) -> None:
    """Wait for so many further ticks."""
    seen = len(ticks(conn))
    until_sync(lambda: len(ticks(conn)) >= seen + more, "ticks to go on")


def wrong_clock(by: str) -> dict[str, str]:
    """The variables under which a process has it. The program faketime itself would keep our signals."""
    said = subprocess.run(["faketime", "-f", by, "env", "-0"], capture_output=True, text=True, check=True).stdout
    variables = dict(line.split("=", 1) for line in said.split("\0") if "=" in line)
    # As where clocks are wrong: what counts the seconds since the start of the machine is not.
    return {name: variables[name] for name in ("LD_PRELOAD", "FAKETIME")} | {"FAKETIME_DONT_FAKE_MONOTONIC": "1"}


def now(conn: psycopg.Connection) -> datetime:
    row = conn.execute("select howdah.now()").fetchone()
    assert row is not None
    return row[0]


def stop(conn: psycopg.Connection, fleet: Fleet) -> None:
    """No further tick, and all that were fired end; then the workers do."""
    conn.execute("select howdah.pause_schedule('tick')")
    waits = "select count(*) from howdah.task"
    until_sync(lambda: conn.execute(waits).fetchone() == (0,), "all to end", timeout=60)
    for process in fleet.running:
        process.terminate()
    with contextlib.ExitStack() as said:
        said.callback(lambda: print(fleet.log.read_text()[-5000:]))
        assert [process.wait(30) for process in fleet.running] == [0] * len(fleet.running)
        said.pop_all()


def test_each_tick_fires_once_while_workers_die(conn: psycopg.Connection, fleet: Fleet) -> None:
    for _ in range(3):
        fleet.start()
    until_sync(lambda: ticks(conn), "the first tick")
    started, killed = now(conn), 0
    alive = "select count(*) from howdah.worker where pid = %s"
    while now(conn) < started + timedelta(seconds=SECONDS):
        pass_by(conn, 2 + 2 * random.random())
        fleet.kill(random.choice(fleet.running))
        killed += 1
        newest = fleet.start().pid
        until_sync(lambda: conn.execute(alive, [newest]).fetchone() != (0,), "the new worker to live")  # noqa: B023
        go_on(conn, 1)
    stop(conn, fleet)
    print(f"{len(ticks(conn))} ticks, {killed} workers killed")
    assert killed >= SECONDS // 10
    assert len(ticks(conn)) >= SECONDS - 2, "and none is missing at the end"
    assert_each_once(conn)
    ended = "select count(*), count(distinct id) from howdah.archive where status = 'succeeded'"
    assert conn.execute(ended).fetchone() == (len(ticks(conn)),) * 2


@pytest.mark.parametrize("wrong", ["+1h", "-1h"])
def test_a_worker_with_a_wrong_clock_fires_by_the_clock_of_the_database(
    conn: psycopg.Connection, fleet: Fleet, wrong: str
) -> None:
    fleet.start(**wrong_clock(wrong))
    go_on(conn, 3)  # by it alone
    fleet.start()
    lives = "select count(*) from howdah.worker where status = 'live'"
    until_sync(lambda: conn.execute(lives).fetchone() == (2,), "the right one beside it")
    go_on(conn, 5)
    stop(conn, fleet)
    assert_each_once(conn)
    assert ticks(conn)[-1] <= now(conn) < ticks(conn)[-1] + timedelta(minutes=1)
    # It believed in the wrong time all along.
    (off,) = conn.execute(
        "select extract(epoch from tick) - (result #>> '{}')::float from howdah.archive order by tick limit 1"
    ).fetchone() or (None,)
    assert off is not None
    assert abs(off + {"+1h": 3600, "-1h": -3600}[wrong]) < 60
