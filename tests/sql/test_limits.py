"""howdah.set_queue(running): at most so many of a queue run at once, in the whole fleet."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import psycopg
import pytest

from howdah import App, Done
from howdah.worker import lanes as worker_lanes
from sql.protocol import Claimed, Worker, ask, declare, put, refused
from waiting import until


def limit(conn: psycopg.Connection, most: int | None, queue: str = "default") -> None:
    conn.execute("select howdah.set_queue(%s, %s)", [queue, most or 0])


def lanes(worker: Worker, *queues: str) -> str:
    lane = {"kinds": worker.kinds, "share": 10, "limit": 10, "cursors": {}}
    return json.dumps([lane | {"name": queue, "queue": queue} for queue in queues])


def gated(worker: Worker, *queues: str) -> bool:
    """Look into these queues, in this order: whether a limit kept something back."""
    worker.seq += 1
    nothing = "null, null, null, null, null, null"
    query = f"select gated from howdah.pump(%s, %s, {nothing}, %s, 10, null)"
    return ask(worker.conn, query, [worker.id, worker.seq, lanes(worker, *queues)])


def running(conn: psycopg.Connection) -> int:
    return ask(conn, "select count(*) from howdah.task where status = 'running'")


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
    # The other waits for the row of the queue, no longer than the pump waits for any row, and goes away with nothing.
    assert second.claim() == []
    one.commit()
    assert second.claim() == []
    assert running(conn) == 1


def test_who_waited_for_the_other_to_count_takes_what_is_left(
    conn: psycopg.Connection, worker: Worker, connect: Callable[[], psycopg.Connection]
) -> None:
    limit(conn, 3)
    for _ in range(9):
        put(conn)
    together, rounds = threading.Barrier(2), 20

    def claims(worker: Worker) -> list[Claimed]:
        together.wait()
        return worker.claim()

    pair = [Worker(connect(), worker.kinds) for _ in range(2)]
    with ThreadPoolExecutor(2) as threads:
        for _ in range(rounds):
            taken = list(threads.map(claims, pair))
            assert sum(map(len, taken)) == 3
            for each, tasks in zip(pair, taken, strict=True):
                each.end(*tasks, to="queued", attempts="unspent")


def test_two_with_their_queues_in_another_order_do_not_wait_for_each_other(
    conn: psycopg.Connection, worker: Worker, connect: Callable[[], psycopg.Connection]
) -> None:
    for queue in "ab":
        limit(conn, 1000, queue)

    def pumps(order: str) -> list[bool]:
        mine = Worker(connection[order], worker.kinds)
        return [gated(mine, *order) for _ in range(150)]

    connection = {order: connect() for order in ("ab", "ba")}
    with ThreadPoolExecutor(2) as threads:
        assert not any(itertools.chain(*threads.map(pumps, connection)))


def test_a_queue_that_somebody_changes_for_long_keeps_nobody_from_the_others(
    conn: psycopg.Connection, worker: Worker, connect: Callable[[], psycopg.Connection]
) -> None:
    limit(conn, 5)
    put(conn)
    free = put(conn, queue="free")
    other = connect()
    other.autocommit = False
    limit(other, 6)
    assert gated(worker, "default")
    answer = worker.pump(lanes=lanes(worker, "default", "free"), room=10)
    assert [task[0] for task in json.loads(answer["claimed"])] == [free]
    other.commit()
    assert len(worker.claim()) == 1


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


def test_the_next_step_in_a_limited_queue_stands_in_line_for_its_place(
    conn: psycopg.Connection, worker: Worker
) -> None:
    limit(conn, 1)
    first, second = put(conn), put(conn, priority=1)
    (running,) = worker.claim()
    assert running.id == second
    row = {"id": running.id, "epoch": running.epoch, "to": "running", "attempts": "reset"}
    answer = worker.pump(transitions=json.dumps([row]), lanes=lanes(worker, "default"), room=10)
    assert answer["kept"] is None
    (claimed,) = json.loads(answer["claimed"])
    assert claimed[0] == second  # its priority is higher still
    worker.done(Claimed(*claimed))
    assert [task.id for task in worker.claim()] == [first]


def test_a_message_begins_nothing_at_once_in_a_limited_queue(conn: psycopg.Connection, worker: Worker) -> None:
    declare(conn, {"name": "reader", "inbox": {}, "queue": "narrow"})
    worker = Worker(conn, ["job", "reader"])
    put(conn, kind="reader")
    (reader,) = worker.claim(queue="narrow")
    worker.end(reader, to="suspended")
    for most, begun in ((1, None), (None, reader.id)):
        limit(conn, most, "narrow")
        put(conn)
        (sender,) = worker.claim()
        row = {"id": sender.id, "epoch": sender.epoch, "to": "succeeded", "send": [{"to": reader.id, "body": 1}]}
        worker.seq += 1
        claimed = ask(
            conn,
            "select claimed from howdah.pump(%s, %s, null, null, null, null, null, %s, '[]', 5, null, false, %s)",
            [worker.id, worker.seq, json.dumps([row]), json.dumps({"narrow": ["reader"]})],
        )
        assert (claimed and json.loads(claimed)[0][0]) == begun
        if not begun:
            (again,) = worker.claim(queue="narrow")
            worker.end(again, to="suspended", inbox_seq=1)


def test_what_the_limit_keeps_back_is_said(conn: psycopg.Connection, worker: Worker) -> None:
    limit(conn, 1)
    assert not gated(worker, "default")
    put(conn), put(conn)
    assert gated(worker, "default")  # it took one
    assert gated(worker, "default")  # and now none
    assert not gated(worker, "free")
    limit(conn, None)
    assert not gated(worker, "default")
    assert running(conn) == 2


def test_a_lower_limit_lets_go_on_what_runs(conn: psycopg.Connection, worker: Worker) -> None:
    for _ in range(4):
        put(conn)
    tasks = worker.claim(3)
    limit(conn, 2)
    assert worker.claim() == []
    assert running(conn) == 3
    worker.done(tasks[0])
    assert worker.claim() == []
    worker.done(tasks[1])
    assert len(worker.claim()) == 1


def test_a_limited_queue_may_be_paused_and_keeps_its_limit(conn: psycopg.Connection, worker: Worker) -> None:
    limit(conn, 1)
    put(conn), put(conn)
    conn.execute("select howdah.pause('default')")
    assert not gated(worker, "default")  # it is no place that is missing
    assert running(conn) == 0
    limit(conn, 1)
    assert worker.claim() == []
    conn.execute("select howdah.resume('default')")
    assert len(worker.claim()) == 1
    assert worker.claim() == []


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
    with refused("HW002", "running must be at least 1, not -1", "howdah pause default"):
        limit(conn, -1)
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


async def test_a_place_that_comes_free_on_one_worker_is_taken_by_the_other(own_dsn: str) -> None:
    began: list[str] = []
    release = asyncio.Event()

    async def work(n: str) -> None:
        began.append(n)
        await release.wait()

    async with App(own_dsn) as one, App(own_dsn) as two:
        for name, app in (("one", one), ("two", two)):
            app.task(name=name, queue="narrow")(work)
        with psycopg.connect(own_dsn, autocommit=True) as conn:
            limit(conn, 1, "narrow")
        # Nobody tells the other of the place, and it looks by itself once an hour.
        async with one.worker(poll="1h"), two.worker(poll="1h"):
            first = await one.enqueue("one", n="one")
            await until(lambda: began == ["one"])
            second = await two.enqueue("two", n="two")
            release.set()
            await first.result("20s")
            await second.result("20s")
    assert began == ["one", "two"]


async def test_a_worker_until_idle_waits_for_a_place_for_what_is_due(
    own_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Every look is from the start: the one after it says that it sleeps would be its last.
    monkeypatch.setattr(worker_lanes, "_FRESH_EVERY", 0.0)
    monkeypatch.setattr(worker_lanes, "_FRESH_SHARE", 0)
    began, release = asyncio.Event(), asyncio.Event()

    async with App(own_dsn) as one, App(own_dsn) as two:

        @one.task(queue="narrow")
        async def holds() -> None:
            began.set()
            await release.wait()

        @two.task(queue="narrow")
        async def waits() -> int:
            return 1

        with psycopg.connect(own_dsn, autocommit=True) as conn:
            limit(conn, 1, "narrow")
        async with one.worker():
            await holds.enqueue()
            await began.wait()
            task = await waits.enqueue()
            running = asyncio.create_task(two.worker(until_idle=True).run())

            async def has_looked() -> bool:
                return running.done() or [row["state"] for row in await two.workers()] == ["idle", "idle"]

            await until(has_looked)
            release.set()
            await running
            assert (await task.info()).status == "succeeded"


async def test_a_machine_in_a_limited_queue_gets_to_its_end(own_dsn: str) -> None:
    async with App(own_dsn) as app:
        machine = app.machine("machine", queue="narrow")
        inside: list[int] = []

        @machine.step
        @dataclass
        class Step:
            left: int

            async def run(self) -> Step | Done:
                inside.append(1)
                assert len(inside) == 1
                await asyncio.sleep(0)
                inside.pop()
                return Step(self.left - 1) if self.left else Done("end")

        with psycopg.connect(own_dsn, autocommit=True) as conn:
            limit(conn, 1, "narrow")
        tasks = [await machine.enqueue(Step(5)) for _ in range(5)]
        async with app.worker():
            assert [await task.result("20s") for task in tasks] == ["end"] * 5


def test_a_queue_without_a_row_is_not_limited(conn: psycopg.Connection, worker: Worker) -> None:
    for _ in range(3):
        put(conn)
    assert len(worker.claim()) == 3
    assert ask(conn, "select count(*) from howdah.queue") == 0


def test_a_full_queue_with_nothing_behind_is_not_looked_at_again_and_again(
    conn: psycopg.Connection, worker: Worker
) -> None:
    limit(conn, 1)
    put(conn)
    assert not gated(worker, "default")  # it took the only one
    assert not gated(worker, "default")
    put(conn)
    assert gated(worker, "default")
