"""What a handler returns or raises, as the row shows it afterwards."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta

import psycopg
import pytest

from howdah import Again, App, Cancel, Context, Fail, Retry, Snooze
from howdah.errors import TaskCancelled, TaskFailed
from waiting import until


@pytest.fixture
def soon() -> Retry:
    return Retry(2, delay="10ms", factor=1)


async def events(app: App, task_id: int) -> list[tuple[str, int | None]]:
    return [(event["type"], event["attempt"]) for event in await app.history(task_id)]


async def test_a_result_comes_back_as_the_type_the_handler_returns(app: App) -> None:
    @app.task()
    async def pause_length(seconds: int) -> timedelta:
        return timedelta(seconds=seconds)

    task = await pause_length.enqueue(90)
    async with app.worker():
        assert await task.result("10s") == timedelta(seconds=90)
    info = await task.info()
    assert (info.status, info.attempt, info.lost, info.error) == ("succeeded", 1, 0, None)
    assert info.finished_at is not None
    assert info.worker is not None


async def test_a_failing_handler_is_retried_and_then_parked_with_everything_intact(app: App, soon: Retry) -> None:
    seen: list[tuple[int, str | None]] = []

    @app.task(retry=soon)
    async def explode(size: int, ctx: Context) -> None:
        seen.append((ctx.attempt, ctx.last_error))
        raise ValueError(f"size {size}\0")

    task = await explode.enqueue(7)
    async with app.worker():
        with pytest.raises(TaskFailed, match="size 7"):
            await task.result("10s")
    assert seen == [(1, None), (2, "ValueError: size 7\\0"), (3, "ValueError: size 7\\0")]
    info = await task.info()
    assert (info.status, info.payload, info.attempt) == ("failed", {"size": 7}, 3)
    assert info.error == "ValueError: size 7\\0"
    assert await events(app, task.id) == [("retry", 1), ("retry", 2), ("failure", 3)]
    traceback = (await app.history(task.id))[-1]["data"]["traceback"]
    assert traceback.count("File ") == 1
    assert "in explode" in traceback


async def test_clearing_the_error_in_sql_goes_on_from_the_same_payload(app: App, conn: psycopg.Connection) -> None:
    mended = False

    @app.task(retry=0)
    async def fragile(word: str) -> str:
        if not mended:
            raise OSError("broken")
        return word

    task = await fragile.enqueue("hello")
    async with app.worker():
        with pytest.raises(TaskFailed):
            await task.result("10s")
        mended = True
        conn.execute("update howdah.task set error = null where id = %s", [task.id])
        assert await task.result("10s") == "hello"
    assert (await task.info()).attempt == 1
    assert await events(app, task.id) == [("failure", 1), ("resume", 1)]


async def test_fail_parks_at_once_and_cancel_ends(app: App) -> None:
    @app.task(retry=5)
    async def judge(verdict: str) -> Cancel | None:
        if verdict == "fail":
            raise Fail("no such user")
        return Cancel("not wanted")

    failing, cancelled = await judge.enqueue("fail"), await judge.enqueue("cancel")
    async with app.worker():
        with pytest.raises(TaskFailed, match="no such user"):
            await failing.result("10s")
        with pytest.raises(TaskCancelled, match="not wanted"):
            await cancelled.result("10s")
    assert (await failing.info()).attempt == 1
    assert (await failing.info()).error == "no such user"
    assert (await cancelled.info()).status == "cancelled"


async def test_again_is_a_new_step_with_a_new_payload_and_idempotency_key(app: App) -> None:
    seen: list[tuple[int, int, str]] = []

    @app.task()
    async def count(n: int, ctx: Context) -> int | Again:
        seen.append((n, ctx.attempt, ctx.idempotency_key))
        return n if n == 3 else Again(n + 1, delay="5ms")

    task = await count.enqueue(1)
    async with app.worker():
        assert await task.result("10s") == 3
    assert [(n, attempt) for n, attempt, _ in seen] == [(1, 1), (2, 1), (3, 1)]
    assert len({key for _, _, key in seen}) == 3


async def test_a_snooze_spends_no_attempt_and_keeps_the_idempotency_key(app: App) -> None:
    seen: list[tuple[int, str]] = []

    @app.task(retry=0)
    async def patient(ctx: Context) -> None:
        seen.append((ctx.attempt, ctx.idempotency_key))
        if len(seen) < 4:
            raise Snooze("5ms")

    task = await patient.enqueue()  # pyright: ignore[reportCallIssue]
    async with app.worker():
        await task.result("10s")
    assert len(seen) == 4
    assert len(set(seen)) == 1


async def test_retry_after_waits_as_asked_and_spends_an_attempt(app: App) -> None:
    @app.task(retry=Retry(3, delay="1h"))
    async def busy(ctx: Context) -> int:
        if ctx.attempt == 1:
            raise Retry.after("20ms", "the API said 429")
        return ctx.attempt

    task = await busy.enqueue()  # pyright: ignore[reportCallIssue]
    async with app.worker():
        assert await task.result("10s") == 2
    assert (await app.history(task.id))[0]["message"] == "the API said 429"


async def test_a_rule_for_one_exception(app: App) -> None:
    @app.task(retry=Retry(5, delay="1ms", unless=KeyError))
    async def picky(kind: str) -> None:
        raise KeyError(kind) if kind == "key" else OSError(kind)

    key, other = await picky.enqueue("key"), await picky.enqueue("os")
    async with app.worker():
        for task in (key, other):
            with pytest.raises(TaskFailed):
                await task.result("20s")
    assert (await key.info()).attempt == 1
    assert (await other.info()).attempt == 6


async def test_a_payload_that_does_not_fit_is_parked_and_never_retried(app: App, conn: psycopg.Connection) -> None:
    calls: list[int] = []

    @app.task(retry=5)
    async def strict(user_id: int) -> None:
        calls.append(user_id)

    async with app.worker():
        row = conn.execute(
            """insert into howdah.task (kind, payload) values ('strict', '{"user_id": "x"}') returning id"""
        )
        task_id = row.fetchone()[0]  # pyright: ignore
        await until(
            lambda: conn.execute("select 1 from howdah.task where id = %s and status = 'failed'", [task_id]).fetchone()
        )
    info = await app.show(task_id)
    assert info.attempt == 1
    assert info.error is not None
    assert "user_id" in info.error
    assert info.payload == {"user_id": "x"}
    assert calls == []


@pytest.mark.parametrize(
    "value", [float("nan"), b"x", "a\0b", "\ud800", object()], ids=["nan", "bytes", "nul", "surrogate", "object"]
)
async def test_a_result_that_json_cannot_hold_parks_the_task(app: App, value: object) -> None:
    @app.task(retry=5)
    async def odd() -> object:
        return value

    task = await odd.enqueue()
    async with app.worker():
        with pytest.raises(TaskFailed, match="result"):
            await task.result("10s")
    assert (await task.info()).attempt == 1


async def test_a_plain_function_runs_in_a_thread_with_the_context_variables_of_its_attempt(app: App) -> None:
    names: list[str] = []

    @app.task()
    def blocking(x: int) -> int:
        names.append(threading.current_thread().name)
        return x * 2

    task = await blocking.enqueue(21)
    async with app.worker():
        assert await task.result("10s") == 42
    assert names == ["howdah-handler"]


async def test_system_exit_in_a_handler_fails_the_task_and_not_the_worker(app: App) -> None:
    @app.task(retry=0)
    async def quits() -> None:
        raise SystemExit(3)

    @app.task()
    async def fine() -> int:
        return 1

    bad = await quits.enqueue()
    async with app.worker():
        with pytest.raises(TaskFailed, match="SystemExit: 3"):
            await bad.result("10s")
        assert await (await fine.enqueue()).result("10s") == 1


async def test_keep_none_leaves_nothing(app: App, conn: psycopg.Connection) -> None:
    @app.task(keep=None)
    async def secret(n: int) -> int:
        return n

    await secret.enqueue_many([(n,) for n in range(20)])
    await app.worker(until_idle=True).run()
    assert conn.execute("select count(*) from howdah.tasks").fetchone() == (0,)


async def test_progress_is_seen_while_it_runs(app: App) -> None:
    release = asyncio.Event()

    @app.task()
    async def slow(ctx: Context) -> None:
        ctx.progress(3, 10, "three of ten")
        await release.wait()

    task = await slow.enqueue()  # pyright: ignore[reportCallIssue]
    async with app.worker():

        async def progress() -> object:
            return (await task.info()).progress

        assert await until(progress) == {"done": 3.0, "total": 10.0, "note": "three of ten"}
        release.set()
        await task.result("10s")
