"""start_before, finish_before, late, with real workers."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest

import cpu_tasks
from howdah import Action, App, Context, Inbox, Retry, Snooze, Suspend
from howdah.errors import InvalidOption, TaskCancelled, TaskFailed
from howdah.worker.pump import Pump
from waiting import until


async def events(app: App, task_id: int) -> list[str]:
    return [event["type"] for event in await app.history(task_id)]


# ── running past the end ──


async def test_a_handler_is_stopped_at_the_deadline_and_dropped_without_retries(app: App) -> None:
    stopped = asyncio.Event()

    @app.task(retry=Retry(5, delay=0), finish_before="300ms")
    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    task = await endless.enqueue()
    async with app.worker():
        with pytest.raises(TaskCancelled, match="deadline passed: it was still running at its deadline"):
            await task.result("30s")
    assert stopped.is_set()
    assert (await task.info()).attempt == 1
    assert await events(app, task.id) == ["late"]


async def test_or_parked_and_resumed_it_has_all_the_time(app: App) -> None:
    gate = asyncio.Event()

    @app.task(retry=Retry(5, delay=0), finish_before="300ms", late="park")
    async def waits() -> str:
        await gate.wait()
        return "done"

    task = await waits.enqueue()
    async with app.worker():
        with pytest.raises(TaskFailed, match="DeadlinePassed: it was still running at its deadline"):
            await task.result("30s")
        assert (await task.info()).attempt == 1
        gate.set()
        await task.retry()
        assert await task.result("30s") == "done"


async def test_or_it_goes_on_all_the_same(app: App) -> None:
    @app.task(finish_before="50ms", late="run")
    async def slow(ctx: Context) -> bool:
        assert ctx.deadline is not None
        await until(lambda: ctx.deadline and datetime.now(UTC) > ctx.deadline + timedelta(milliseconds=100))
        return ctx.cancelled

    task = await slow.enqueue()
    async with app.worker():
        assert await task.result("30s") is False


async def test_the_task_says_otherwise_than_its_kind(app: App) -> None:
    @app.task(finish_before="300ms", late="run")
    async def endless() -> None:
        await asyncio.Event().wait()

    task = await endless.using(late="park").enqueue()
    async with app.worker():
        with pytest.raises(TaskFailed, match="DeadlinePassed"):
            await task.result("30s")


async def test_a_thread_is_left_behind_and_may_look(app: App) -> None:
    saw = threading.Event()

    @app.task(finish_before="300ms")
    def endless(ctx: Context) -> None:
        while not ctx.cancelled:
            pass
        saw.set()

    task = await endless.enqueue()
    async with app.worker():
        with pytest.raises(TaskCancelled, match="deadline passed"):
            await task.result("30s")
        await until(saw.is_set, "the thread to see it")


async def test_a_process_is_killed(app: App, tmp_path: Path) -> None:
    cpu_tasks.serve(app)
    marker = tmp_path / "pids"
    task = await app.using(finish_before="3s", late="park").enqueue("wait_for_ever", marker=str(marker))
    async with app.worker(processes=1):
        with pytest.raises(TaskFailed, match="DeadlinePassed"):
            await task.result("30s")
        pids = [int(line) for line in marker.read_text().split()] if marker.exists() else []
        await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "the process to be gone")
        assert await (await app.enqueue("square", n=7)).result("30s") == 49


async def test_one_of_a_batch_leaves_it_and_the_others_go_on(app: App) -> None:
    started, gate = asyncio.Event(), asyncio.Event()

    @app.task(batch=2, wait="10s")
    async def work(n: list[int]) -> list[int]:
        started.set()
        await gate.wait()
        return n

    late = await work.using(finish_before="2s").enqueue(1)
    other = await work.enqueue(2)
    async with app.worker():
        await asyncio.wait_for(started.wait(), 30)
        with pytest.raises(TaskCancelled, match="deadline passed"):
            await late.result("30s")
        gate.set()
        assert await other.result("30s") == 2


async def test_what_a_late_attempt_did_in_its_transaction_is_undone(app: App, conn: psycopg.Connection) -> None:
    conn.execute("create table effect (word text)")

    @app.task(finish_before="500ms", transactional=True)
    async def in_it(ctx: Context) -> None:
        await ctx.connection.execute("insert into effect values ('in it')")
        await asyncio.Event().wait()

    @app.task(finish_before="500ms")
    async def at_its_end(ctx: Context) -> None:
        @ctx.on_commit
        async def _(connection: Any) -> None:
            await connection.execute("insert into effect values ('at its end')")

        await ctx.spawn(in_it)
        await asyncio.Event().wait()

    tasks = [await in_it.enqueue(), await at_its_end.enqueue()]
    async with app.worker():
        for task in tasks:
            with pytest.raises(TaskCancelled, match="deadline passed"):
                await task.result("30s")
    assert conn.execute("select word from effect").fetchall() == []
    assert len(await app.tasks(kind="in_it")) == 1


async def test_the_next_step_has_what_is_left_of_the_time(app: App) -> None:
    machine = app.machine("two", finish_before="700ms", late="park")

    @machine.step
    @dataclass
    class One:
        async def run(self) -> Two:
            await asyncio.sleep(0.1)
            return Two()

    @machine.step
    @dataclass
    class Two:
        async def run(self, ctx: Context) -> None:
            assert ctx.deadline is not None
            await asyncio.Event().wait()

    task = await machine.enqueue(One())
    async with app.worker():
        with pytest.raises(TaskFailed, match="DeadlinePassed: it was still running"):
            await task.result("30s")
    assert (await task.info()).step == "Two"


async def test_one_whose_time_is_over_by_now_is_not_begun(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    began: list[int] = []

    @app.task()
    async def work() -> None:
        began.append(1)

    real = Pump._start  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(
        Pump,
        "_start",
        lambda self, task, mail: real(self, msgspec.structs.replace(task, time_left=-1.0, late="drop"), mail),  # pyright: ignore
    )
    task = await work.enqueue()
    async with app.worker():
        with pytest.raises(TaskCancelled, match="its time was over"):
            await task.result("30s")
    assert began == []


# ── retries that come too late ──


@pytest.mark.parametrize("late", ["drop", "park"])
async def test_a_retry_that_would_come_too_late_is_not_waited_for(app: App, late: Any) -> None:
    @app.task(retry=Retry(5, delay="1h"), finish_before="10m", late=late)
    async def fails() -> None:
        raise KeyError("k")

    task = await fails.enqueue()
    said = "no time is left for another attempt; attempt 1 failed: KeyError: 'k'"
    async with app.worker():
        with pytest.raises((TaskFailed, TaskCancelled), match=said):
            await task.result("30s")
    assert (await task.info()).status == ("failed" if late == "park" else "cancelled")
    (event,) = await app.history(task.id)
    assert event["type"] == "late"
    assert "KeyError" in event["data"]["traceback"]


async def test_a_retry_in_time_is_one(app: App) -> None:
    @app.task(retry=Retry(1, delay="1ms"), finish_before="10m", late="park")
    async def fails(ctx: Context) -> int:
        if ctx.attempt == 1:
            raise KeyError("k")
        return ctx.attempt

    task = await fails.enqueue()
    async with app.worker():
        assert await task.result("30s") == 2


async def test_what_puts_itself_off_waits_until_the_deadline_ends_it(app: App) -> None:
    @app.task(finish_before="1s")
    async def later() -> Snooze:
        return Snooze("1h")

    task = await later.enqueue()
    async with app.worker():
        with pytest.raises(TaskCancelled, match="deadline passed: it was to end before"):
            await task.result("30s")


# ── waiting past it ──


async def test_what_waits_is_ended_while_all_workers_are_busy(app: App) -> None:
    gate = asyncio.Event()

    @app.task()
    async def busy() -> None:
        await gate.wait()

    @app.task(start_before="300ms")
    async def dropped() -> None: ...

    @app.task(start_before="300ms", late="park")
    async def parked() -> None: ...

    await busy.enqueue()
    async with app.worker(concurrency=1):
        await until(lambda: _runs(app, "busy"), "the worker to be busy")
        first, second = await dropped.enqueue(), await parked.enqueue()
        with pytest.raises(TaskCancelled, match="deadline passed: it was to begin before"):
            await first.result("30s")
        with pytest.raises(TaskFailed, match="DeadlinePassed: it was to begin before"):
            await second.result("30s")
        gate.set()
    assert (await first.info()).claimed_at is None


async def _runs(app: App, kind: str) -> bool:
    return bool(await app.tasks(kind=kind, status=["running"]))


async def test_an_actor_that_sleeps_past_it_is_ended(app: App) -> None:
    @app.actor("sleeper", inbox=int, finish_before="1s", late="park")
    @dataclass
    class Sleeper:
        async def poll(self, ctx: Context, inbox: Inbox[int]) -> Action:
            return Suspend()

    task = await Sleeper.enqueue()
    async with app.worker():
        with pytest.raises(TaskFailed, match="DeadlinePassed: it was to end before"):
            await task.result("30s")


async def test_each_task_either_runs_or_is_dropped(app: App, conn: psycopg.Connection) -> None:
    began: list[int] = []

    @app.task(late="drop", retry=0)
    async def work(n: int) -> int:
        began.append(n)
        await asyncio.sleep(0.01)
        return n

    tasks = [await work.using(start_before=f"{100 + 15 * n}ms").enqueue(n) for n in range(100)]
    async with app.worker(concurrency=2), app.worker(concurrency=2):
        await until(lambda: conn.execute("select 1 from howdah.task").fetchone() is None, "all to end")
    ends = [(await task.info()).status for task in tasks]
    assert sorted(began) == [n for n, status in enumerate(ends) if status == "succeeded"]
    assert set(ends) <= {"succeeded", "cancelled"}
    dropped = conn.execute("select count(*) from howdah.event where type = 'late'").fetchone()
    assert dropped == (ends.count("cancelled"),)


async def test_the_time_of_a_deadline_is_a_length_or_a_datetime(app: App) -> None:
    @app.task(start_before="1h", finish_before="2h", late="park")
    async def work() -> None: ...

    async def deadlines(**given: Any) -> tuple[datetime | None, datetime | None, str | None]:
        info = await (await work.using(**given).enqueue()).info()
        return info.start_before, info.finish_before, info.late

    start, end, late = await deadlines()
    assert start is not None
    assert end is not None
    assert (round((end - start).total_seconds()), late) == (3600, "park")
    moment = datetime(2090, 1, 2, tzinfo=UTC)
    assert (await deadlines(start_before=moment, finish_before=moment, late="run")) == (moment, moment, "run")

    @app.task()
    async def no_hurry() -> None: ...

    info = await (await no_hurry.using(finish_before=moment).enqueue()).info()
    assert (info.start_before, info.finish_before, info.late) == (None, moment, "drop")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"start_before": 0}, "start_before must be longer than nothing"),
        ({"finish_before": "soon"}, "finish_before cannot be read as a length of time"),
        ({"finish_before": datetime(2090, 1, 1)}, "finish_before must be a datetime with a time zone"),
        ({"late": "never"}, 'late must be "drop", "park" or "run"'),
    ],
)
def test_what_cannot_be_meant(given: dict[str, Any], said: str) -> None:
    app = App("dbname=never_opened")

    @app.task()
    async def work() -> None: ...

    with pytest.raises(InvalidOption, match=said):
        work.using(**given)


async def test_a_policy_needs_a_deadline(app: App) -> None:
    @app.task()
    async def work() -> None: ...

    @app.task(start_before="1h")
    async def hurries() -> None: ...

    with pytest.raises(InvalidOption, match=r"work: late was given, and no deadline\. Give start_before"):
        await work.using(late="park").enqueue()
    info = await (await hurries.using(late="park").enqueue()).info()
    assert info.late == "park"


async def test_by_name_the_deadline_may_be_the_databases(app: App, dsn: str) -> None:
    @app.task(start_before="1h")
    async def hurries() -> None: ...

    await app.worker(until_idle=True).run()
    async with App(dsn) as other:
        task = await other.using(late="park").enqueue("hurries")
        info = await task.info()
        assert info.start_before is not None
        assert info.late == "park"


# ── what the handler sees ──


async def test_the_context_has_the_deadline(app: App) -> None:
    seen: list[datetime | None] = []

    @app.task()
    async def look(ctx: Context) -> None:
        assert ctx.deadline == ctx.deadline
        seen.append(ctx.deadline)

    moment = datetime.now(UTC) + timedelta(minutes=10)
    tasks = [await look.enqueue(), await look.using(finish_before=moment).enqueue()]
    tasks.append(await look.using(finish_before=datetime(9999, 12, 31, tzinfo=UTC)).enqueue())
    async with app.worker(concurrency=1):
        for task in tasks:
            await task.result("30s")
    assert seen[0] is None
    assert seen[1] is not None
    assert abs(seen[1] - moment) < timedelta(seconds=5)
    assert seen[2] is not None


async def test_all_of_it_through_the_claim(app: App) -> None:
    @app.task(finish_before="500ms")
    async def endless() -> None:
        await asyncio.Event().wait()

    task = await endless.enqueue()
    async with app.worker(grace=0):
        with pytest.raises(TaskCancelled, match="it was still running at its deadline"):
            await task.result("5s")
