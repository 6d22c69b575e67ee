"""Worker, then tasks with ids ascending, then the rest: stories in which another order ends in a deadlock or a jam."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from howdah import calls
from howdah.db.pool import run_on_sync
from howdah.errors import WrongStatus
from model.scene import Scene, done, pairs, transition, until_blocked_or_done

Start = Callable[[str, Callable[[psycopg.Connection[Any]], Any]], Future[Any]]


@pytest.fixture
def scene(dsn: str) -> Iterator[Scene]:
    opened = Scene(dsn)
    yield opened
    opened.close()


@pytest.fixture
def start(scene: Scene) -> Iterator[Start]:
    """Do this on a connection of its own; go on once it is done or blocked."""
    with ThreadPoolExecutor() as threads:

        def started(actor: str, act: Callable[[psycopg.Connection[Any]], Any]) -> Future[Any]:
            conn = scene.conn(actor)
            under_way = threads.submit(act, conn)
            until_blocked_or_done(scene.conn(), conn.info.backend_pid, under_way)
            return under_way

        yield started


def ends(under_way: Future[Any]) -> bool:
    """Whether it ends without further help: a chore may hold others up for a moment."""
    try:
        under_way.result(10)
    except TimeoutError:
        return False
    return True


def test_a_worker_leaves_while_a_pump_it_gave_up_is_still_under_way(scene: Scene, start: Start) -> None:
    """The pump's client hung up; the server goes on with it, behind somebody who holds a lock on its second task."""
    worker = scene.register()
    first, second = scene.put(), scene.put()
    assert first is not None
    assert second is not None
    held = scene.claim(worker)
    scene.conn("somebody else").execute("begin")
    scene.run(calls.cancel(second, None), "somebody else")
    pump = calls.pump(
        worker,
        2,
        done=pairs(held[:1]),
        transitions=json.dumps([transition(held[1], "queued", error="oops")]),
        asleep=True,
    )
    pumping = start("pump", lambda conn: run_on_sync(conn, pump))
    leaving = start("leave", lambda conn: run_on_sync(conn, calls.leave(worker)))
    scene.conn("somebody else").execute("commit")
    assert pumping.result(30).settled == [first, second]
    assert leaving.result(30) == 0


def test_a_pump_meets_somebody_who_cancels_in_ascending_order(scene: Scene, start: Start) -> None:
    """The pump settles a success of a higher id before a retry of a lower one."""
    worker = scene.register()
    low, high = scene.put(), scene.put()
    assert low is not None
    assert high is not None
    held = scene.claim(worker)
    blocker = scene.put()
    assert blocker is not None
    held += scene.claim(worker, seq=2)
    # low is retried, high and the blocker succeeded; the blocker is locked, so that the pump waits between its two halves.
    scene.conn("somebody else").execute("begin")
    scene.run(calls.cancel(blocker, None), "somebody else")
    pump = calls.pump(
        worker, 3, done=pairs(held[1:]), transitions=json.dumps([transition(held[0], "queued", error="oops")])
    )
    pumping = start("pump", lambda conn: run_on_sync(conn, pump))

    def cancel_both(conn: psycopg.Connection[Any]) -> str:
        with conn.transaction():
            run_on_sync(conn, calls.cancel(low, None))
            try:
                return run_on_sync(conn, calls.cancel(high, None))
            except WrongStatus:
                return "ended"

    cancelling = start("operator", cancel_both)
    scene.conn("somebody else").execute("commit")
    assert sorted(pumping.result(30).settled) == [low, high, blocker]
    assert cancelling.result(30) in ("running", "ended")


def test_a_long_reader_of_the_archive_keeps_retention_waiting_and_nobody_else(scene: Scene, start: Start) -> None:
    """pg_dump, a report: a SELECT in a transaction that stays open while a day's retention is over."""
    old = "partition of howdah.archive for values from ('2020-01-01+00') to ('2020-01-02+00')"
    scene.conn().execute(f"create table howdah.archive_20200101 {old}".encode())
    worker, task = scene.register(), scene.put()
    held = scene.claim(worker)
    scene.conn("reader").execute("begin; select * from howdah.archive")
    retaining = start("chores", lambda conn: run_on_sync(conn, calls.retain()))
    settling = start("pump", lambda conn: run_on_sync(conn, done(worker, *held)))
    jammed = not ends(settling)
    scene.conn("reader").execute("commit")
    retaining.exception(30)
    assert settling.result(30).settled == [task]
    assert not jammed, "no worker can settle anything until the reader ends"


def test_a_long_reader_of_the_archive_keeps_new_partitions_waiting_and_nobody_else(scene: Scene, start: Start) -> None:
    scene.put()
    scene.conn("reader").execute("begin; select * from howdah.archive")
    making = start("chores", lambda conn: run_on_sync(conn, calls.make_partitions()))
    looking = start("client", lambda conn: run_on_sync(conn, calls.outcomes([1])))
    jammed = not ends(looking)
    scene.conn("reader").execute("commit")
    making.exception(30)
    looking.result(30)
    assert not jammed, "nobody can ask for an outcome until the reader ends"
