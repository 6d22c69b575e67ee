"""howdah.limit_queue: at most so many of a queue run at once, in the whole fleet."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import psycopg
import pytest

from howdah import App
from sql.protocol import Worker, ask, put, refused
from waiting import until


def limit(conn: psycopg.Connection, most: int | None, queue: str = "default") -> None:
    conn.execute("select howdah.limit_queue(%s, %s)", [queue, most])


def test_no_more_than_so_many_are_claimed(conn: psycopg.Connection, worker: Worker) -> None:
    limit(conn, 2)
    ids = [put(conn) for _ in range(4)]
    first = worker.claim()
    assert [task.id for task in first] == ids[:2]
    assert worker.claim() == []
    worker.done(first[0])
    assert [task.id for task in worker.claim()] == [ids[2]]


@pytest.mark.parametrize("end", ["done", "retry", "park", "cancel"])
def test_every_end_makes_room(conn: psycopg.Connection, worker: Worker, end: str) -> None:
    limit(conn, 1)
    put(conn)
    second = put(conn)
    (task,) = worker.claim()
    match end:
        case "done":
            worker.done(task)
        case "retry":
            worker.end(task, to="queued", error="x", delay=60)
        case "park":
            worker.end(task, to="failed", error="x")
        case _:
            worker.end(task, to="cancelled")
    assert [claimed.id for claimed in worker.claim()] == [second]


def test_a_dead_worker_gives_its_place_back(conn: psycopg.Connection, worker: Worker) -> None:
    limit(conn, 1)
    first = put(conn)
    dead = Worker(conn, worker.kinds)
    assert [task.id for task in dead.claim()] == [first]
    assert worker.claim() == []
    conn.execute("update howdah.worker set status = 'dead', ended_at = now() where id = %s", [dead.id])
    conn.execute("select * from howdah.rescue()")
    conn.execute("update howdah.task set run_at = now()")
    assert [task.id for task in worker.claim()] == [first]


def test_two_that_claim_at_once_do_not_both_take_the_last_place(
    conn: psycopg.Connection, worker: Worker, connect: Callable[[], psycopg.Connection]
) -> None:
    limit(conn, 1)
    put(conn), put(conn)
    one, two = connect(), connect()
    first, second = Worker(one, worker.kinds), Worker(two, worker.kinds)
    one.autocommit = False
    assert len(first.claim()) == 1  # and its transaction is open
    # The other waits for the row of the queue, and no longer than the pump waits for any row.
    with pytest.raises(psycopg.errors.LockNotAvailable):
        second.claim()
    one.commit()
    assert second.claim() == []
    assert ask(conn, "select count(*) from howdah.task where status = 'running'") == 1


def test_a_step_that_goes_on_at_once_does_not_jump_the_limit(conn: psycopg.Connection, worker: Worker) -> None:
    put(conn, queue="other")
    put(conn)
    limit(conn, 1)
    (running,) = worker.claim()
    (moving,) = worker.claim(queue="other")
    row = {"id": moving.id, "epoch": moving.epoch, "to": "running", "attempts": "reset", "queue": "default"}
    answer = worker.pump(transitions=json.dumps([row]))
    assert answer["settled"] == [moving.id]
    assert answer["kept"] is None
    assert ask(conn, "select status from howdah.task where id = %s", [moving.id]) == "queued"
    worker.done(running)
    assert [task.id for task in worker.claim()] == [moving.id]


def test_other_queues_and_a_queue_whose_limit_is_gone(conn: psycopg.Connection, worker: Worker) -> None:
    limit(conn, 1)
    for _ in range(3):
        put(conn)
        put(conn, queue="free")
    assert len(worker.claim()) == 1
    assert len(worker.claim(queue="free")) == 3
    limit(conn, None)
    assert len(worker.claim()) == 2


def test_what_cannot_be_meant(conn: psycopg.Connection) -> None:
    with refused("HW002", "max_running must be at least 1, not 0", "howdah pause default"):
        limit(conn, 0)
    with refused("HW002", "queue must be a name of 1 to 200 characters", "SELECT name FROM howdah.queues"):
        limit(conn, 1, "")


async def test_through_two_workers_they_never_overlap_and_all_are_done(own_dsn: str) -> None:
    inside, most, done = 0, 0, 0

    async def work(n: int) -> None:
        nonlocal inside, most, done
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0)
        inside -= 1
        done += 1

    async with App(own_dsn) as one, App(own_dsn) as two:
        for app in (one, two):
            app.task(name="work", queue="narrow")(work)
        async with one.worker(), two.worker():
            with psycopg.connect(own_dsn, autocommit=True) as conn:
                limit(conn, 1, "narrow")
                for n in range(40):
                    await one.enqueue("work", n=n)
                await until(lambda: done == 40)
    assert most == 1


def test_a_queue_without_a_row_is_not_limited(conn: psycopg.Connection, worker: Worker) -> None:
    for _ in range(3):
        put(conn)
    assert len(worker.claim()) == 3
    assert ask(conn, "select count(*) from howdah.queue") == 0
