"""The edges of a worker: cancellation at an awkward moment, ends nobody thought of, and what must not be left behind."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import msgspec
import psycopg
import pytest

from howdah import App, Context
from howdah.context import ClaimedTask
from howdah.db.line import Line
from howdah.errors import TaskCancelled, TaskFailed
from howdah.worker import processes, session
from howdah.worker.processes import Processes
from howdah.worker.pump import Pump
from howdah.worker.threads import Threads
from waiting import until


async def running(app: App, task_id: int) -> bool:
    return (await app.show(task_id)).status == "running"


# ── every attempt ends ──


async def test_an_error_of_the_database_in_howdahs_own_words_loses_no_outcome(
    app: App, conn: psycopg.Connection
) -> None:
    """A trigger of the user's that misses a table looks like a wrong schema: that task is parked, the others succeed."""
    conn.execute(
        "create function picky() returns trigger language plpgsql as $$ begin"
        " if new.result = '13' then perform from no_such_table; end if; return new; end $$"
    )
    conn.execute("create trigger picky before insert on howdah.archive for each row execute function picky()")

    @app.task()
    async def work(n: int) -> int:
        return n

    tasks = await work.enqueue_many([(n,) for n in range(20)])
    async with app.worker():
        for n, task in enumerate(tasks):
            if n != 13:
                assert await task.result("20s") == n
        with pytest.raises(TaskFailed, match="no_such_table"):
            await tasks[13].result("20s")


async def test_a_task_cancelled_before_its_handler_begins_ends(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    began: list[int] = []

    @app.task()
    async def work(n: int) -> None:
        began.append(n)

    real = Pump._start  # pyright: ignore[reportPrivateUsage]

    def cancels(self: Pump, task: ClaimedTask, mail: Any) -> None:
        real(self, task, mail)
        self.cancel(task.id)

    monkeypatch.setattr(Pump, "_start", cancels)
    task = await work.enqueue(1)
    async with app.worker():
        with pytest.raises(TaskCancelled):
            await task.result("20s")
    assert began == []


class Rude(BaseException):
    """No Exception, as the outcomes of pytest and the cancellations of other loops are."""


async def test_an_attempt_ends_whatever_is_raised(app: App) -> None:
    @app.task(retry=0)
    async def on_the_loop() -> None:
        raise Rude

    @app.task(retry=0)
    def in_a_thread() -> None:
        raise Rude

    @app.task(retry=0)
    async def in_a_hook(ctx: Context) -> None:
        @ctx.on_commit
        async def _(conn: Any) -> None:
            raise SystemExit(3)

    tasks = [await on_the_loop.enqueue(), await in_a_thread.enqueue(), await in_a_hook.enqueue()]
    async with app.worker():
        for task, said in zip(tasks, ("Rude", "Rude", "SystemExit"), strict=True):
            with pytest.raises(TaskFailed, match=said):
                await task.result("20s")


async def test_waiting_for_a_connection_is_no_overrun(
    app: App, conn: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others hold all the connections for longer than the time limit and the lease: it goes back, and spends nothing."""
    monkeypatch.setattr(session, "_TRANSACTIONS", 1)
    started, release = asyncio.Event(), asyncio.Event()

    @app.task(transactional=True)
    async def holds(ctx: Context) -> None:
        started.set()
        await release.wait()

    @app.task(transactional=True, timeout="10ms", retry=0)
    async def waits(ctx: Context) -> int:
        return ctx.attempt

    holder = await holds.enqueue()
    async with app.worker(lease="1s"):
        await started.wait()
        waiter = await waits.enqueue()
        await until(lambda: _epoch(conn, waiter.id) > 5 or _seen(conn, waiter.id), "some turns")
        release.set()
        await holder.result("20s")
        assert await waiter.result("20s") == 1
    assert await app.history(waiter.id) == []


def _epoch(conn: psycopg.Connection, task_id: int) -> int:
    row = conn.execute("select epoch from howdah.task where id = %s", [task_id]).fetchone()
    return row[0] if row else 0


def _seen(conn: psycopg.Connection, task_id: int) -> bool:
    return conn.execute("select from howdah.event where task_id = %s", [task_id]).fetchone() is not None


# ── threads and processes ──


async def test_a_call_that_has_ended_is_not_stuck_however_it_ended() -> None:
    threads = Threads()

    def cancelled() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await threads.call(cancelled, {})
    assert threads.stuck == 0


async def test_a_call_cancelled_in_the_moment_it_ends_is_not_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = Threads()
    real = threads._done  # pyright: ignore[reportPrivateUsage]

    def cancels(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
        real(future, result, error)
        calling.cancel()

    monkeypatch.setattr(threads, "_done", cancels)
    calling = asyncio.create_task(threads.call(lambda: 1, {}))
    await asyncio.wait([calling])
    assert calling.cancelled()
    assert threads.stuck == 0


async def test_a_call_for_which_there_is_no_thread_never_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = Threads()
    ran: list[str] = []

    def none_left(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", none_left)
        with pytest.raises(RuntimeError, match="new thread"):
            await threads.call(lambda: ran.append("given up"), {})
    await threads.call(lambda: ran.append("later"), {})
    await threads.call(lambda: ran.append("last"), {})
    assert ran == ["later", "last"]


async def test_a_process_killed_twice_keeps_its_place(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second cancellation while the first one kills the child."""
    working, killing, killed = threading.Event(), threading.Event(), threading.Event()

    def work(*_: Any, **__: Any) -> None:
        working.set()
        killed.wait(30)

    def kill(*_: Any) -> None:
        killing.set()
        killed.wait(30)

    monkeypatch.setattr(processes._Slot, "work", work)  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(processes._Slot, "kill", kill)  # pyright: ignore[reportPrivateUsage]

    @app.task()
    async def stands_in() -> None: ...

    slots = Processes(1, Threads())
    kind, task, report = app.registry.get("stands_in"), _claimed(), lambda *_: None  # pyright: ignore[reportUnknownLambdaType]
    first = asyncio.create_task(slots.attempt(kind, task, report, None))  # pyright: ignore[reportUnknownArgumentType]
    await until(working.is_set, "the work")
    first.cancel()
    await until(killing.is_set, "the kill")
    first.cancel()
    await asyncio.wait([first])
    working.clear()
    second = asyncio.create_task(slots.attempt(kind, task, report, None))  # pyright: ignore[reportUnknownArgumentType]
    await until(working.is_set, "the place to be free")
    killed.set()
    second.cancel()
    await asyncio.wait([second])


def _claimed() -> ClaimedTask:
    return ClaimedTask(1, 1, "stands_in", "default", None, 0, 1, None, None, msgspec.Raw(b"{}"))


# ── the end of a worker ──


async def test_a_cancelled_worker_hands_its_tasks_back(app: App) -> None:
    started = asyncio.Event()

    @app.task()
    async def endless() -> None:
        started.set()
        await asyncio.Event().wait()

    task = await endless.enqueue()
    working = asyncio.create_task(app.worker(lease="10m").run())
    await started.wait()
    working.cancel()
    await asyncio.wait([working])
    assert working.cancelled()
    info = await task.info()
    assert (info.status, info.attempt, info.lost) == ("queued", 0, 0)


async def test_a_worker_cancelled_again_and_again_renews_nothing_any_more(app: App) -> None:
    started, release = asyncio.Event(), asyncio.Event()

    @app.task()
    async def stubborn() -> None:
        started.set()
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                pass

    await stubborn.enqueue()
    working = asyncio.create_task(app.worker(lease="1s").run())
    await started.wait()
    while not working.done():
        working.cancel()
        await asyncio.sleep(0)
    await until(lambda: not _heartbeats(), "its end")
    release.set()


async def test_a_heartbeat_does_not_outlive_its_loop(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that closes its loop without a word to the worker."""
    closed = asyncio.new_event_loop()
    closed.close()
    sessions: list[session.Session] = []
    real = session.Session.run

    async def remembered(self: session.Session) -> None:
        sessions.append(self)
        await real(self)

    monkeypatch.setattr(session.Session, "run", remembered)
    async with app.worker(lease="1s"):
        sessions[0]._loop = closed  # pyright: ignore[reportPrivateUsage]
        await until(lambda: not _heartbeats(), "its end")


def _heartbeats() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "howdah-heartbeat"]


async def test_a_worker_that_stops_waits_for_a_settlement_that_has_to_be_repeated(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[int] = []

    @app.task()
    async def work(ctx: Context) -> str:
        runs.append(ctx.attempt)
        return "once"

    task = await work.enqueue()
    worker = app.worker(lease="10m")
    real, failed, under_way = Line.run, asyncio.Event(), asyncio.Event()

    async def fails_once(self: Line, call: Any) -> Any:
        if call.function == "pump" and call.args["done_ids"] is not None and not failed.is_set():
            under_way.set()
            await worker._house.stopping.wait()  # pyright: ignore[reportPrivateUsage]
            for _ in range(100):  # the answer is slow: whoever stops the worker has every turn of the loop they need
                await asyncio.sleep(0)
            failed.set()
            raise psycopg.OperationalError("the connection broke before the commit")
        return await real(self, call)

    monkeypatch.setattr(Line, "run", fails_once)
    async with worker:
        await under_way.wait()
    assert failed.is_set()
    assert await task.result("1s") == "once"
    assert runs == [1]


async def test_until_idle_knows_of_queues_nobody_told_it_of(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the chore takes that learns their names."""

    @app.task()
    async def work() -> str:
        return "done"

    task = await work.using(queue="unheard-of").enqueue()
    monkeypatch.setattr(session, "household", lambda *_: [])  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    await asyncio.wait_for(app.worker(until_idle=True, listen=False).run(), 30)
    assert await task.result("1s") == "done"
