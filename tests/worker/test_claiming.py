"""Which task comes next, from which queue, and when."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

import cpu_tasks
from howdah import App, Weight
from howdah.worker.lanes import Lanes
from howdah.worker.settings import Settings
from waiting import until


async def test_higher_priority_first_then_due_time_then_id(app: App) -> None:
    order: list[str] = []

    @app.task()
    async def note(word: str) -> None:
        order.append(word)

    now = datetime.now(UTC)
    for word, priority, ago in [("c", 0, 5), ("d", 0, 3), ("b", 9, 1), ("a", 9, 2), ("e", -7, 9)]:
        await note.using(priority=priority, at=now - timedelta(minutes=ago)).enqueue(word)
    await note.using(priority=0, at=now - timedelta(minutes=3)).enqueue("d2")
    await app.worker(concurrency=1, until_idle=True).run()
    assert order == ["a", "b", "c", "d", "d2", "e"]


async def test_a_delayed_task_runs_when_it_is_due_and_not_before(app: App) -> None:
    @app.task()
    async def when() -> None: ...

    task = await when.using(delay="300ms").enqueue()
    async with app.worker(poll="10m", listen=False):
        await task.result("20s")
    info = await task.info()
    assert info.claimed_at is not None
    assert info.claimed_at >= info.run_at
    assert info.run_at - info.created_at >= timedelta(milliseconds=290)


async def test_a_sleeping_worker_is_woken_by_an_enqueue(app: App) -> None:
    @app.task()
    async def quick() -> int:
        return 1

    async with app.worker(poll="10m"):
        for _ in range(20):
            assert await (await quick.enqueue()).result("20s") == 1


async def test_a_worker_that_cannot_listen_polls(app: App) -> None:
    @app.task()
    async def quick() -> int:
        return 1

    async with app.worker(poll="50ms", listen=False):
        assert await (await quick.enqueue()).result("20s") == 1


async def test_a_plain_insert_wakes_a_worker(app: App, conn: psycopg.Connection) -> None:
    @app.task()
    async def greet(name: str) -> str:
        return f"hello {name}"

    async with app.worker(poll="10m"):
        row = conn.execute(
            """insert into howdah.task (kind, payload) values ('greet', '{"name": "sql"}') returning id"""
        ).fetchone()
        assert row is not None
        assert await app.result(row[0], timeout="20s") == "hello sql"


async def test_a_task_of_a_queue_nobody_told_us_of_is_found(app: App) -> None:
    @app.task()
    async def quick() -> int:
        return 1

    early = await quick.using(queue="unheard of").enqueue()
    async with app.worker(poll="10m"):
        assert await early.result("20s") == 1
        assert await (await quick.using(queue="also new").enqueue()).result("20s") == 1


async def test_a_paused_queue_starts_nothing_until_it_is_resumed(app: App) -> None:
    ran: list[str] = []

    @app.task()
    async def note(word: str) -> None:
        ran.append(word)

    await app.pause("slow", "maintenance")
    held = await note.using(queue="slow").enqueue("held")
    free = await note.enqueue("free")
    async with app.worker(poll="10m"):
        await free.result("20s")
        assert [reason.code for reason in await held.why()] == ["queue paused"]
        assert ran == ["free"]
        assert await app.resume("slow")
        await held.result("20s")
    assert not await app.resume("slow")


async def test_a_queue_never_has_more_than_its_limit_at_once(app: App) -> None:
    running: Counter[str] = Counter()
    most: Counter[str] = Counter()

    @app.task()
    async def count(queue: str) -> None:
        running[queue] += 1
        most[queue] = max(most[queue], running[queue])
        await asyncio.sleep(0.001)
        running[queue] -= 1

    for queue in ("narrow", "wide"):
        await count.using(queue=queue).enqueue_many([(queue,)] * 60)
    await app.worker(queues={"narrow": 2, "wide": 8}, until_idle=True).run()
    assert most == {"narrow": 2, "wide": 8}


async def test_weights_share_the_room_and_lend_what_is_not_used(app: App) -> None:
    order: list[str] = []

    @app.task()
    async def note(queue: str) -> None:
        order.append(queue)

    for queue, many in (("heavy", 300), ("light", 100)):
        await note.using(queue=queue).enqueue_many([(queue,)] * many)
    await app.worker(queues={"heavy": Weight(3), "light": Weight(1)}, concurrency=8, until_idle=True).run()
    first = Counter(order[:200])
    assert first["heavy"] == pytest.approx(150, abs=10)
    order.clear()
    await note.using(queue="light").enqueue_many([("light",)] * 64)
    worker = app.worker(queues={"heavy": Weight(3), "light": Weight(1)}, concurrency=8, until_idle=True)
    await worker.run()
    assert len(order) == 64


async def test_a_kind_this_worker_does_not_know_is_left_to_others(app: App, dsn: str, conn: psycopg.Connection) -> None:
    @app.task()
    async def mine() -> int:
        return 1

    conn.execute("""select howdah.declare('[{"name": "theirs"}]')""")
    foreign = await app.enqueue("theirs")
    own = await mine.enqueue()
    async with app.worker():
        assert await own.result("20s") == 1
        assert [reason.code for reason in await foreign.why()] == ["unknown kind"]
    other = App(dsn)

    @other.task()
    async def theirs() -> int:
        return 2

    async with other, other.worker():
        assert await foreign.result("20s") == 2


async def test_until_idle_ends_with_tasks_that_are_not_due(app: App) -> None:
    ran: list[int] = []

    @app.task()
    async def note(n: int) -> None:
        ran.append(n)

    await note.enqueue_many([(n,) for n in range(250)])
    await note.using(delay="1h").enqueue(-1)
    await app.worker(until_idle=True, concurrency=20).run()
    assert sorted(ran) == list(range(250))


async def test_what_appears_behind_the_cursor_is_found(app: App, conn: psycopg.Connection) -> None:
    """A transaction that began early and commits late puts its tasks before the ones already claimed."""
    ran: list[int] = []

    @app.task()
    async def note(n: int) -> None:
        ran.append(n)

    await note.enqueue_many([(n,) for n in range(100)])
    async with app.worker(poll="10m", listen=False):
        await until(lambda: len(ran) == 100, "the first hundred")
        for priority in (0, 5):
            conn.execute(
                "insert into howdah.task (kind, payload, priority, run_at) values ('note', '{\"n\": 100}', %s, now() - interval '1 day')",
                [priority],
            )
        await note.enqueue_many([(n,) for n in range(101, 105)])
        await app.worker(until_idle=True).run()
        await until(lambda: len(ran) == 106, "the late ones")


def test_a_request_never_asks_for_more_than_the_room() -> None:
    app = App("dbname=never_opened")
    app.task(name="plain")(lambda: None)
    settings = Settings.checked(queues={"a": 5, "b": Weight(1), "c": Weight(2)}, concurrency=10)
    lanes = Lanes(settings, app.registry)
    asked = {lane["queue"]: lane for lane in json.loads(lanes.request(6, Counter({"a": 4}), 2, fresh=True))}
    assert {queue: (lane["share"], lane["limit"]) for queue, lane in asked.items()} == {
        "a": (1, 1),
        "b": (2, 6),
        "c": (4, 6),
    }


async def test_a_worker_takes_no_more_process_tasks_than_it_has_processes(app: App, tmp_path: Path) -> None:
    """The rest is for other workers: it would only wait here."""
    cpu_tasks.serve(app)
    for n in range(4):
        await app.enqueue("wait_for_ever", marker=str(tmp_path / str(n)))

    @app.task()
    async def quick() -> int:
        return 1

    async with app.worker(processes=2, grace=0):
        await until(lambda: len(list(tmp_path.iterdir())) == 2, "both processes")
        assert await (await quick.enqueue()).result("20s") == 1
        assert len(await app.tasks(status=["running"])) == 2


async def test_a_lane_of_processes_goes_on_with_what_waited_for_a_place(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody tells us of it, and no timer: what ends makes the room."""
    monkeypatch.setattr("howdah.worker.lanes._FRESH_EVERY", 3600)
    monkeypatch.setattr("howdah.worker.lanes._FRESH_AT_LEAST", 3600)
    cpu_tasks.serve(app)
    tasks = [await app.enqueue("square", n=n) for n in range(4)]
    async with app.worker(processes=1, poll="1h", listen=False):
        assert [await task.result("60s") for task in tasks] == [0, 1, 4, 9]


async def test_a_queue_with_a_limit_goes_on_with_what_waited_for_a_place(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("howdah.worker.lanes._FRESH_EVERY", 3600)
    monkeypatch.setattr("howdah.worker.lanes._FRESH_AT_LEAST", 3600)

    @app.task(queue="narrow")
    async def work(n: int) -> int:
        await asyncio.sleep(0.02)
        return n

    tasks = await work.enqueue_many([(n,) for n in range(5)])
    async with app.worker(queues={"narrow": 1}, poll="1h", listen=False):
        assert [await task.result("60s") for task in tasks] == [0, 1, 2, 3, 4]


def test_one_slow_look_does_not_keep_us_from_the_next_for_minutes(app: App) -> None:
    lanes = Lanes(Settings.checked(), app.registry)
    lanes.looked({}, fresh=True, seconds=60)
    assert 0 < lanes.until_fresh() <= 5
