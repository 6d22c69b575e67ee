"""The lease: who may believe in it, what happens when it is lost, and what is given back."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

import servers
from howdah import App, Context, calls
from howdah.db.line import Line
from howdah.telemetry import AttemptEnded, WorkerChanged
from waiting import until


def ended(app: App) -> Callable[[str], list[int]]:
    """What the app's workers said, by outcome."""
    seen: list[AttemptEnded] = []
    app.listen(lambda event: seen.append(event) if isinstance(event, AttemptEnded) else None)
    return lambda outcome: [event.task_id for event in seen if event.outcome == outcome]


async def test_a_worker_declared_dead_stops_its_handlers_and_starts_over_under_a_new_id(
    app: App, conn: psycopg.Connection
) -> None:
    runs: list[int] = []
    changes: list[str] = []
    app.listen(lambda event: changes.append(event.change) if isinstance(event, WorkerChanged) else None)

    @app.task()
    async def first_hangs(ctx: Context) -> int:
        runs.append(ctx.attempt)
        if len(runs) == 1:
            await asyncio.Event().wait()
        return len(runs)

    task = await first_hangs.enqueue()
    async with app.worker(lease="1s") as worker:
        await until(lambda: runs, "the first run")
        assert worker.lease is not None
        first = worker.lease.id
        conn.execute("update howdah.worker set status = 'dead', ended_at = now()")
        # Its own next lease rescues what the lost one held, once it has seen the database steady for a lease.
        assert await task.result("30s") == 2
        assert worker.lease.id != first
    assert changes == ["started", "lost", "started", "stopped"]
    info = await task.info()
    assert (info.attempt, info.lost) == (2, 1)


async def test_an_outcome_that_comes_too_late_is_discarded(app: App, conn: psycopg.Connection) -> None:
    outcomes = ended(app)
    release = asyncio.Event()
    runs: list[int] = []

    @app.task()
    async def slow(ctx: Context) -> int:
        runs.append(1)
        mine = len(runs)
        if mine == 1:
            await release.wait()
        return mine

    task = await slow.enqueue()
    async with app.worker(lease="10m"):
        await until(lambda: runs, "the first run")
        conn.execute("select howdah.lose(%s, 1, 'crash', 'taken away', true)", [task.id])
        assert await task.result("10s") == 2
        release.set()
        await until(lambda: outcomes("stale") == [task.id], "the late outcome")
    assert (await task.info()).result == 2


async def test_a_claim_whose_reply_is_lost_gives_its_tasks_back_unspent(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker lives and renews: without the comparison of held and owned the tasks would be stranded for ever."""
    attempts: list[int] = []

    @app.task()
    async def work(ctx: Context, n: int) -> int:
        attempts.append(ctx.attempt)
        return n

    tasks = await work.enqueue_many([(n,) for n in range(20)])
    real, lost = Line.run, []

    async def loses_the_first_claim(self: Line, call: Any) -> Any:
        answer = await real(self, call)
        if call.function == "pump" and answer.claimed is not None and not lost:
            lost.append(answer)
            raise psycopg.OperationalError("the connection broke after the commit")
        return answer

    monkeypatch.setattr(Line, "run", loses_the_first_claim)
    async with app.worker(lease="10m"):
        assert sorted([await task.result("20s") for task in tasks]) == list(range(20))
    assert lost
    assert attempts == [1] * 20
    assert {(await task.info()).epoch for task in tasks} == {2}


async def test_a_settlement_whose_reply_is_lost_is_not_done_twice(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = ended(app)
    runs: list[int] = []

    @app.task()
    async def work(n: int) -> int:
        runs.append(n)
        return n

    tasks = await work.enqueue_many([(n,) for n in range(20)])
    real, lost = Line.run, []

    async def loses_the_first_settlement(self: Line, call: Any) -> Any:
        answer = await real(self, call)
        if call.function == "pump" and answer.settled and not lost:
            lost.append(answer)
            raise psycopg.OperationalError("the connection broke after the commit")
        return answer

    monkeypatch.setattr(Line, "run", loses_the_first_settlement)
    async with app.worker(lease="10m"):
        assert sorted([await task.result("20s") for task in tasks]) == list(range(20))
        await until(lambda: len(outcomes("succeeded")) == 20, "all to be told")
    assert sorted(runs) == list(range(20))
    assert outcomes("stale") == []


async def test_one_row_the_database_refuses_does_not_fail_its_neighbours(app: App, conn: psycopg.Connection) -> None:
    conn.execute("alter table howdah.archive add constraint no_thirteen check (result is distinct from '13')")

    @app.task()
    async def work(n: int) -> int:
        return n

    tasks = await work.enqueue_many([(n,) for n in range(20)])
    async with app.worker():
        for n, task in enumerate(tasks):
            if n != 13:
                assert await task.result("20s") == n
        await until(lambda: _status(app, tasks[13].id, "failed"), "the bad one to be parked")
    assert "could not be stored" in ((await tasks[13].info()).error or "")


async def _status(app: App, task_id: int, status: str) -> bool:
    return (await app.show(task_id)).status == status


async def test_a_handler_that_blocks_the_loop_does_not_cost_the_lease(app: App, dsn: str) -> None:
    """The heartbeat has a thread of its own: nobody takes the task over, however long the loop stands still."""
    runs: list[int] = []

    @app.task()
    async def rude(ctx: Context) -> int:
        runs.append(ctx.attempt)
        time.sleep(2.5)  # noqa: ASYNC251  (the fault is the point)
        return len(runs)

    watcher = App(dsn)
    stop = threading.Event()

    def watch() -> None:
        async def main() -> None:
            async with watcher.worker(queues=["other"], lease="1s"):
                await asyncio.to_thread(stop.wait)
            await watcher.close()

        asyncio.run(main())

    other = threading.Thread(target=watch)
    other.start()
    task = await rude.enqueue()
    async with app.worker(lease="1s"):
        assert await task.result("30s") == 1
    await asyncio.to_thread(stop.set)
    await asyncio.to_thread(other.join)
    assert runs == [1]
    assert (await task.info()).lost == 0


async def test_dead_workers_are_rescued_by_the_living_and_a_poisonous_task_ends_parked(
    app: App, conn: psycopg.Connection
) -> None:
    @app.task(max_lost=1)
    async def poison() -> None: ...

    task = await poison.using(queue="deadly").enqueue()
    async with app.worker(queues=["other"], lease="1s"):
        for losses in (1, 2):
            await until(
                lambda: conn.execute("select 1 from howdah.task where status = 'queued'").fetchone(), "it to be queued"
            )
            conn.execute("update howdah.task set run_at = now()")
            victim = f"00000000-0000-0000-0000-00000000000{losses}"
            conn.execute("select howdah.register(%s, '100 ms', 'host', 1, '0', null, '{poison}', 1)", [victim])
            lane = '[{"name": "a", "queue": "deadly", "kinds": ["poison"], "share": 1, "limit": 1, "cursors": {}}]'
            conn.execute("select howdah.pump(%s, 1, null, null, null, null, null, null, %s, 1, null)", [victim, lane])
            await until(lambda: conn.execute("select 1 from howdah.task where worker is null").fetchone(), "the rescue")
        info = await task.info()
    assert (info.status, info.lost) == ("failed", 2)
    assert "WorkerLost" in (info.error or "")
    assert [event["type"] for event in await app.history(task.id)] == ["crash", "crash"]


async def test_a_worker_survives_restarts_of_the_server(app: App, server: servers.Server) -> None:
    @app.task()
    async def work(n: int) -> int:
        await asyncio.sleep(0)
        return n

    async with app.worker(lease="5s", poll="100ms"):
        for mode in ("fast", "immediate"):
            before = await work.enqueue_many([(n,) for n in range(50)])
            await asyncio.to_thread(server.restart, mode)
            after = await work.enqueue_many([(n,) for n in range(50)])
            for task in before + after:
                await task.result("60s")


async def test_the_heartbeat_of_a_hanging_server_does_not_hang_the_worker(app: App, conn: psycopg.Connection) -> None:
    """The row of the worker is locked by somebody: the beat waits in vain, trust runs out, a new lease begins."""
    leases: list[str] = []
    app.listen(lambda event: leases.append(event.worker) if isinstance(event, WorkerChanged) else None)
    async with app.worker(lease="1s"):
        with conn.transaction():
            conn.execute("select from howdah.worker for update")
            await until(lambda: len(set(leases)) == 2, "the second lease")


def test_calls_are_complete() -> None:
    """Every function of the worker protocol can be called from Python by the name it has in SQL."""
    for name in (
        "register",
        "heartbeat",
        "pump",
        "settle_rest",
        "report",
        "leave",
        "rescue",
        "make_partitions",
        "retain",
    ):
        assert hasattr(calls, name)


async def test_a_row_somebody_holds_locked_does_not_stall_the_others(app: App, conn: psycopg.Connection) -> None:
    started, release = asyncio.Event(), asyncio.Event()

    @app.task()
    async def held() -> str:
        started.set()
        await release.wait()
        return "in the end"

    @app.task()
    async def work(n: int) -> int:
        return n

    task = await held.enqueue()
    async with app.worker(lease="10m"):
        await started.wait()
        with conn.transaction():
            conn.execute("select from howdah.task where id = %s for update", [task.id])
            release.set()
            for n in range(3):
                tasks = await work.enqueue_many([(n,) for n in range(20)])
                assert [await other.result("20s") for other in tasks] == list(range(20))
        assert await task.result("20s") == "in the end"
