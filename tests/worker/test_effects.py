"""Effects in the transition's own transaction: all there or none."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest

from howdah import Again, App, Context, Retry, Snooze
from howdah.errors import TaskFailed
from waiting import until


@pytest.fixture
def effects(conn: psycopg.Connection) -> psycopg.Connection:
    conn.execute("create table effect (task_id bigint, word text)")
    return conn


def words(conn: psycopg.Connection) -> list[str]:
    return [row[0] for row in conn.execute("select word from effect order by word")]


async def write(conn: Any, ctx: Context, word: str) -> None:
    await conn.execute("insert into effect values (%s, %s)", [ctx.id, word])


async def test_on_commit_writes_with_the_result(app: App, effects: psycopg.Connection) -> None:
    @app.task()
    async def pay(ctx: Context, word: str) -> str:
        @ctx.on_commit
        async def _(conn: Any) -> None:
            await write(conn, ctx, word)

        return word

    task = await pay.enqueue("paid")
    async with app.worker():
        assert await task.result("10s") == "paid"
    assert words(effects) == ["paid"]


async def test_a_plain_function_in_a_thread_has_on_commit_too(app: App, effects: psycopg.Connection) -> None:
    @app.task()
    def pay(ctx: Context) -> None:
        async def note(conn: Any) -> None:
            await write(conn, ctx, "paid")

        ctx.on_commit(note)

    task = await pay.enqueue()
    async with app.worker():
        await task.result("10s")
    assert words(effects) == ["paid"]


async def test_a_failing_on_commit_undoes_the_transition_and_counts_as_a_failed_attempt(
    app: App, effects: psycopg.Connection
) -> None:
    @app.task(retry=Retry(1, delay="1ms"))
    async def pay(ctx: Context) -> str:
        async def note(conn: Any) -> None:
            await write(conn, ctx, f"attempt {ctx.attempt}")
            if ctx.attempt == 1:
                await conn.execute("select 1/0")

        ctx.on_commit(note)
        return "ok"

    @app.task()
    async def neighbour(n: int) -> int:
        return n

    task = await pay.enqueue()
    others = await neighbour.enqueue_many([(n,) for n in range(50)])
    async with app.worker():
        assert await task.result("10s") == "ok"
        assert [await other.result("10s") for other in others] == list(range(50))
    assert words(effects) == ["attempt 2"]
    assert [(e["type"], e["attempt"]) for e in await app.history(task.id)] == [("retry", 1)]
    assert "DivisionByZero" in (await app.history(task.id))[0]["message"]


@pytest.mark.parametrize("outcome", [Again(), Snooze(0)], ids=["again", "snooze"])
async def test_on_commit_goes_with_every_outcome_that_is_no_failure(
    app: App, effects: psycopg.Connection, outcome: Exception
) -> None:
    runs: list[int] = []

    @app.task()
    async def twice(ctx: Context) -> Any:
        runs.append(1)

        async def note(conn: Any) -> None:
            await write(conn, ctx, f"run {len(runs)}")

        ctx.on_commit(note)
        return outcome if len(runs) == 1 else None

    task = await twice.enqueue()
    async with app.worker():
        await task.result("10s")
    assert words(effects) == ["run 1", "run 2"]


async def test_a_failed_attempt_leaves_no_effect(app: App, effects: psycopg.Connection) -> None:
    @app.task(retry=0)
    async def pay(ctx: Context) -> None:
        async def note(conn: Any) -> None:
            await write(conn, ctx, "never")

        ctx.on_commit(note)
        raise OSError("after the promise")

    task = await pay.enqueue()
    async with app.worker():
        with pytest.raises(TaskFailed):
            await task.result("10s")
    assert words(effects) == []


async def test_a_transactional_handler_commits_with_its_end_or_not_at_all(
    app: App, effects: psycopg.Connection
) -> None:
    @app.task(transactional=True, retry=Retry(1, delay="1ms"))
    async def move(ctx: Context) -> int:
        await write(ctx.connection, ctx, f"attempt {ctx.attempt}")
        if ctx.attempt == 1:
            raise OSError("half-way")
        return ctx.attempt

    task = await move.enqueue()
    async with app.worker():
        assert await task.result("10s") == 2
    assert words(effects) == ["attempt 2"]


async def test_a_stale_worker_commits_no_effects(app: App, effects: psycopg.Connection) -> None:
    """Its task was taken away while it ran: the effects of the old attempt are undone with its outcome."""
    runs: list[int] = []
    release = asyncio.Event()
    stale: list[str] = []
    app.listen(lambda event: stale.append(getattr(event, "outcome", "")))

    @app.task(transactional=True)
    async def move(ctx: Context) -> int:
        runs.append(ctx.attempt)
        await write(ctx.connection, ctx, f"run {len(runs)}")
        if len(runs) == 1:
            await release.wait()
        return len(runs)

    task = await move.enqueue()
    async with app.worker(lease="10m"):
        await until(lambda: len(runs) == 1, "the first run")
        # As rescue would: the epoch moves on under a new claim, and the old attempt knows nothing of it.
        effects.execute("select howdah.lose(%s, 1, 'crash', 'taken away', true)", [task.id])
        await until(lambda: len(runs) == 2, "the second run")
        assert await task.result("10s") == 2
        release.set()
        await until(lambda: "stale" in stale, "the first run to find that it is stale")
    assert words(effects) == ["run 2"]


async def test_a_connection_lost_in_the_transaction_is_a_failed_attempt_without_effects(
    app: App, effects: psycopg.Connection
) -> None:
    @app.task(transactional=True, retry=Retry(1, delay="1ms"))
    async def cut(ctx: Context) -> int:
        await write(ctx.connection, ctx, f"attempt {ctx.attempt}")
        if ctx.attempt == 1:
            effects.execute("select pg_terminate_backend(%s)", [ctx.connection.info.backend_pid])
        return ctx.attempt

    task = await cut.enqueue()
    async with app.worker():
        assert await task.result("10s") == 2
    assert words(effects) == ["attempt 2"]


async def test_ctx_connection_without_transactional_says_what_to_do(app: App) -> None:
    @app.task(retry=0)
    async def lost(ctx: Context) -> None:
        ctx.connection

    task = await lost.enqueue()
    async with app.worker():
        with pytest.raises(TaskFailed, match="transactional=True"):
            await task.result("10s")


async def test_many_transactional_handlers_may_use_the_client_at_once(app: App) -> None:
    """More of them than connections, each waiting for another connection: none waits for ever."""

    @app.task()
    async def child(n: int) -> int:
        return n

    @app.task(transactional=True)
    async def parent(ctx: Context, n: int) -> int:
        await ctx.connection.execute("select pg_sleep(0.01)")
        return (await child.enqueue(n)).id

    tasks = await parent.enqueue_many([(n,) for n in range(60)])
    async with app.worker():
        assert len({await task.result("30s") for task in tasks}) == 60
