"""Cancellation, timeouts, and the ways a worker stops."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import psycopg
import pytest

import cpu_tasks
from howdah import App, Context, Retry
from howdah.errors import TaskCancelled, TaskFailed
from waiting import until


async def status(app: App, task_id: int) -> str:
    return (await app.show(task_id)).status


# ── cancellation ──


async def test_a_waiting_task_is_cancelled_at_once(app: App) -> None:
    @app.task()
    async def later() -> None: ...

    task = await later.using(delay="1h").enqueue()
    assert await task.cancel("changed my mind") == "cancelled"
    assert await task.cancel() == "cancelled"
    with pytest.raises(TaskCancelled, match="changed my mind"):
        await task.result("5s")


async def test_a_running_coroutine_is_cancelled_long_before_the_next_heartbeat(app: App) -> None:
    started, stopped = asyncio.Event(), asyncio.Event()

    @app.task()
    async def endless() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    task = await endless.enqueue()
    async with app.worker(lease="10m"):
        await started.wait()
        assert await task.cancel("enough") == "running"
        with pytest.raises(TaskCancelled, match="enough"):
            await task.result("20s")
        assert stopped.is_set()
    assert [event["type"] for event in await app.history(task.id)] == ["cancel"]


async def test_a_cancelled_task_that_succeeds_first_has_succeeded(app: App) -> None:
    started = asyncio.Event()

    @app.task()
    async def stubborn() -> str:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "done all the same"
        return ""

    task = await stubborn.enqueue()
    async with app.worker():
        await started.wait()
        await task.cancel()
        assert await task.result("20s") == "done all the same"


async def test_a_failure_after_a_cancel_is_a_cancel_and_no_retry(app: App) -> None:
    started = asyncio.Event()

    @app.task(retry=5)
    async def messy() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            raise OSError("while cleaning up")

    task = await messy.enqueue()
    async with app.worker():
        await started.wait()
        await task.cancel()
        with pytest.raises(TaskCancelled):
            await task.result("20s")


async def test_a_handler_in_a_thread_sees_that_it_is_cancelled(app: App) -> None:
    started = threading.Event()

    @app.task()
    def looping(ctx: Context) -> None:
        started.set()
        while not ctx.cancelled:
            threading.Event().wait(0.001)

    task = await looping.enqueue()  # pyright: ignore[reportCallIssue]
    async with app.worker():
        await until(started.is_set)
        await task.cancel()
        with pytest.raises(TaskCancelled):
            await task.result("20s")


async def test_cancelling_kills_the_process_of_a_handler(app: App, tmp_path: Path) -> None:
    cpu_tasks.serve(app)
    marker = tmp_path / "pid"
    task = await app.enqueue("wait_for_ever", marker=str(marker))
    async with app.worker(processes=1):
        pid = int(await until(lambda: marker.exists() and marker.read_text().strip(), "the child"))
        await task.cancel()
        with pytest.raises(TaskCancelled):
            await task.result("20s")
        await until(lambda: not _alive(pid), "the child to be gone")


# ── timeouts ──


async def test_a_coroutine_past_its_timeout_is_stopped_and_retried(app: App) -> None:
    stopped: list[int] = []

    @app.task(timeout="30ms", retry=Retry(1, delay="1ms"))
    async def slow(ctx: Context) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append(ctx.attempt)

    task = await slow.enqueue()  # pyright: ignore[reportCallIssue]
    async with app.worker():
        with pytest.raises(TaskFailed, match="ran longer than 30ms"):
            await task.result("20s")
    assert stopped == [1, 2]
    assert [event["type"] for event in await app.history(task.id)] == ["timeout", "timeout"]


async def test_a_timeout_of_the_handlers_own_is_an_ordinary_failure(app: App) -> None:
    @app.task(timeout="1h", retry=0)
    async def impatient() -> None:
        raise TimeoutError("my own")

    task = await impatient.enqueue()
    async with app.worker():
        with pytest.raises(TaskFailed, match="my own"):
            await task.result("20s")
    assert [event["type"] for event in await app.history(task.id)] == ["failure"]


async def test_a_thread_past_its_timeout_keeps_its_slot_until_it_returns(app: App) -> None:
    release, ran = threading.Event(), threading.Event()

    @app.task(timeout="30ms", retry=0)
    def stuck() -> None:
        release.wait(60)

    @app.task()
    def quick() -> None:
        ran.set()

    task = await stuck.enqueue()
    async with app.worker(concurrency=1):
        with pytest.raises(TaskFailed, match="ran longer than 30ms"):
            await task.result("20s")
        second = await quick.enqueue()
        await until(lambda: _asked_again(app), "the worker to look again")
        assert not ran.is_set()
        release.set()
        await second.result("20s")


async def _asked_again(app: App) -> bool:
    return bool(await app.workers())


async def test_a_process_past_its_timeout_is_killed_and_replaced(app: App, tmp_path: Path) -> None:
    cpu_tasks.serve(app)
    marker = tmp_path / "pids"
    task = await app.enqueue("spin", marker=str(marker))
    async with app.worker(processes=1):
        with pytest.raises(TaskFailed, match="ran longer than 300ms"):
            await task.result("60s")
        pids = [int(line) for line in marker.read_text().split()]
        assert len(set(pids)) == 2
        await until(lambda: not any(map(_alive, pids)), "both to be gone")
        assert await (await app.enqueue("square", n=7)).result("60s") == 49


async def test_what_a_process_says_is_the_same_as_elsewhere(app: App) -> None:
    cpu_tasks.serve(app)
    tasks = {mood: await app.enqueue("moody", mood=mood) for mood in ("fine", "again", "fail", "key")}
    dead = await app.enqueue("die")
    async with app.worker(processes=2):
        assert await tasks["fine"].result("60s") == "fine"
        assert await tasks["again"].result("60s") == "done"
        with pytest.raises(TaskFailed, match=": no"):
            await tasks["fail"].result("60s")
        with pytest.raises(TaskFailed, match="KeyError"):
            await tasks["key"].result("60s")
        with pytest.raises(TaskFailed, match="exit code 7"):
            await dead.result("60s")
    assert (await tasks["key"].info()).attempt == 1
    assert (await dead.info()).attempt == 2


# ── stopping ──


async def test_stop_lets_running_tasks_finish(app: App) -> None:
    started, release = asyncio.Event(), asyncio.Event()

    @app.task()
    async def running() -> str:
        started.set()
        await release.wait()
        return "finished"

    task, waiting = await running.enqueue(), await running.using(queue="other").enqueue()
    worker = app.worker(queues={"default": 1})
    async with worker:
        await started.wait()
        worker.stop()
        release.set()
    assert await task.result("1s") == "finished"
    assert await status(app, waiting.id) == "queued"
    assert [w["state"] for w in await app.workers()] == ["dead"]


async def test_after_the_grace_time_tasks_are_handed_back_unspent(app: App) -> None:
    started = threading.Barrier(3)

    @app.task()
    async def endless(ctx: Context) -> None:
        await asyncio.to_thread(started.wait)
        await asyncio.Event().wait()

    @app.task()
    def stuck(ctx: Context) -> None:
        started.wait()
        threading.Event().wait(60)

    one, two = await endless.enqueue(), await stuck.enqueue()  # pyright: ignore[reportCallIssue]
    async with app.worker(grace="20ms"):
        await asyncio.to_thread(started.wait)
    for task in (one, two):
        info = await task.info()
        assert (info.status, info.attempt, info.lost) == ("queued", 0, 0)
        assert await app.history(task.id) == []


async def test_in_a_hurry_there_is_no_grace(app: App) -> None:
    started = asyncio.Event()

    @app.task()
    async def endless() -> None:
        started.set()
        await asyncio.Event().wait()

    task = await endless.enqueue()
    worker = app.worker(grace="10m")
    async with worker:
        await started.wait()
        worker.stop()
        worker.stop(now=True)
    assert await status(app, task.id) == "queued"


@pytest.mark.parametrize("command", ["select howdah.stop_workers()", "notify howdah, 'stop'"])
async def test_workers_stop_from_the_database(app: App, conn: psycopg.Connection, command: str) -> None:
    async with app.worker(lease="10m"), app.worker(lease="10m"):
        await until(lambda: _listening(conn) == 2, "both to listen")
        conn.execute(command.encode())
        await until(lambda: _states(app, "dead", 2), "both to be gone")


async def test_one_worker_stops_and_the_other_goes_on(app: App, conn: psycopg.Connection) -> None:
    async with app.worker() as one, app.worker() as two:
        assert one.lease is not None
        assert two.lease is not None
        await until(lambda: _listening(conn) == 2, "both to listen")
        assert await app.stop_workers(one.lease.id) == 1
        await until(lambda: _states(app, "dead", 1), "one to be gone")
        assert await _states(app, "idle", 1)


async def test_without_listen_a_worker_hears_of_the_stop_at_its_heartbeat(app: App) -> None:
    async with app.worker(listen=False, lease="1s"):
        await app.stop_workers()
        await until(lambda: _states(app, "dead", 1), "it to be gone")


async def _states(app: App, state: str, count: int) -> bool:
    return [worker["state"] for worker in await app.workers()].count(state) == count


def _listening(conn: psycopg.Connection) -> int:
    row = conn.execute(
        "select count(*) from pg_stat_activity where datname = current_database() and query ilike 'listen howdah\\_%'"
    ).fetchone()
    assert row is not None
    return row[0]


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_process_that_does_not_find_the_handler_says_so(app: App) -> None:
    lost = app.task(name="lost", executor="process", retry=Retry(0))(cpu_tasks.undecorated)
    async with app.worker(processes=1):
        task = await lost.enqueue(1)
        with pytest.raises(TaskFailed, match=r"cpu_tasks\.undecorated is not the task 'lost' in a child process"):
            await task.result("30s")
