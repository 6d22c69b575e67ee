"""One App: opened early, late, twice, on several loops or on none; and its database restarted meanwhile."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import warnings
from collections.abc import Iterator
from typing import Any, Literal

import psycopg
import pytest

import servers
from howdah import App, Client
from howdah.db.pool import Database
from howdah.errors import CannotConnect, InvalidOption, TaskNotFound
from waiting import until_sync


@pytest.fixture(autouse=True)
def nothing_is_left_open() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        yield
        gc.collect()


def with_handler(dsn: str | None) -> tuple[App, Any]:
    app = App(dsn)

    @app.task()
    async def welcome(user_id: int) -> str:
        return str(user_id)

    return app, welcome


def count(conn: psycopg.Connection) -> int:
    row = conn.execute("select count(*) from howdah.task").fetchone()
    assert row is not None
    return row[0]


def connections(conn: psycopg.Connection) -> int:
    row = conn.execute(
        "select count(*) from pg_stat_activity where datname = current_database() and application_name = 'howdah'"
    ).fetchone()
    assert row is not None
    return row[0]


def no_connections(conn: psycopg.Connection) -> None:
    """A client that has hung up is gone before the server notices."""
    until_sync(lambda: connections(conn) == 0, "the server to see that all have hung up")


async def test_async_with(dsn: str, conn: psycopg.Connection) -> None:
    app, welcome = with_handler(dsn)
    async with app as opened:
        assert opened is app
        task = await welcome.enqueue(1)
        assert (await app.show(task.id)).payload == {"user_id": 1}
    no_connections(conn)


def test_with(dsn: str, conn: psycopg.Connection) -> None:
    app, welcome = with_handler(dsn)
    with app as opened:
        assert opened is app
        task = welcome.enqueue_sync(1)
        assert app.show_sync(task.id).payload == {"user_id": 1}
    no_connections(conn)


async def test_it_connects_when_it_is_used(dsn: str, conn: psycopg.Connection) -> None:
    app, welcome = with_handler(dsn)
    assert connections(conn) == 0
    tasks = await asyncio.gather(*(welcome.enqueue(n) for n in range(50)))
    assert len({task.id for task in tasks}) == 50
    assert 1 <= connections(conn) <= 8
    await app.close()
    no_connections(conn)


async def test_close_and_use_again(dsn: str, conn: psycopg.Connection) -> None:
    app, welcome = with_handler(dsn)
    for _ in range(3):
        await welcome.enqueue(1)
        await asyncio.to_thread(welcome.enqueue_sync, 2)
        await app.close()
        await app.close()
    assert count(conn) == 6
    no_connections(conn)


def test_asyncio_run_twice_with_the_same_app(dsn: str, conn: psycopg.Connection) -> None:
    app, welcome = with_handler(dsn)

    async def main() -> None:
        await asyncio.gather(*(welcome.enqueue(n) for n in range(10)))

    for _ in range(3):
        asyncio.run(main())  # and nobody closes anything
        gc.collect()
    assert count(conn) == 30
    app.close_sync()
    no_connections(conn)


def test_no_loop_at_all(dsn: str, conn: psycopg.Connection) -> None:
    app, welcome = with_handler(dsn)
    task = welcome.enqueue_sync(1)
    many = welcome.enqueue_many_sync([(n,) for n in range(3)])
    assert app.enqueue_sync("welcome", user_id=9).id > many[-1].id
    assert task.info_sync().status == "queued"
    assert [reason.code for reason in task.why_sync()]
    assert task.retry_sync() == "due now"
    assert task.cancel_sync("enough") == "cancelled"
    assert app.history_sync(task.id)[-1]["message"] == "enough"
    app.pause_sync("default", "lunch")
    assert app.resume_sync("default") is True
    assert [each.id for each in app.tasks_sync(kind="welcome", limit=2)] == [many[-1].id + 1, many[-1].id]
    assert [queue["name"] for queue in app.queues_sync()] == ["default"]
    assert app.workers_sync() == []
    assert app.stop_workers_sync() == 0
    app.close_sync()
    no_connections(conn)


async def test_a_sync_verb_on_a_running_loop_only_blocks_it(dsn: str, conn: psycopg.Connection) -> None:
    app, welcome = with_handler(dsn)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        task = welcome.enqueue_sync(1)
        assert task.info_sync().status == "queued"
    assert (await welcome.enqueue(2)).id == task.id + 1
    await app.close()


async def test_several_apps_in_one_process(dsn: str, empty_dsn: str, conn: psycopg.Connection) -> None:
    from howdah.migrate import migrate

    migrate(Database(empty_dsn))
    (one, welcome), (other, namesake) = with_handler(dsn), with_handler(empty_dsn)
    await welcome.enqueue(1)
    assert count(conn) == 1
    await namesake.enqueue(2)
    await namesake.enqueue(3)
    assert count(conn) == 1
    await one.close()
    assert len(await other.tasks()) == 2
    await other.close()


async def test_threads_share_an_app(dsn: str, conn: psycopg.Connection) -> None:
    app, welcome = with_handler(dsn)

    def in_a_loop_of_its_own(number: int) -> int:
        async def main() -> int:
            return (await welcome.enqueue(number)).id

        return asyncio.run(main())

    threads = [asyncio.to_thread(in_a_loop_of_its_own, n) for n in range(4)]
    threads += [asyncio.to_thread(welcome.enqueue_sync, n) for n in range(20)]
    await asyncio.gather(*threads, welcome.enqueue(99))
    assert count(conn) == 25
    await app.close()


def _in_a_child(app: App, welcome: Any) -> None:
    welcome.enqueue_sync(2)

    async def main() -> None:
        await welcome.enqueue(3)

    asyncio.run(main())
    os._exit(0)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_makes_connections_of_its_own(dsn: str, conn: psycopg.Connection) -> None:
    app, welcome = with_handler(dsn)

    async def main() -> None:
        await welcome.enqueue(0)

    asyncio.run(main())
    welcome.enqueue_sync(1)
    child = multiprocessing.get_context("fork").Process(target=_in_a_child, args=(app, welcome))
    child.start()
    child.join(20)
    assert child.exitcode == 0
    welcome.enqueue_sync(4)  # the child has not hung up for its parent
    assert count(conn) == 5
    app.close_sync()


# ── which database ──


def test_the_variable_names_the_database(dsn: str, conn: psycopg.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOWDAH_DSN", dsn)
    app, welcome = with_handler(None)
    assert app.dsn == dsn
    welcome.enqueue_sync(1)
    app.close_sync()
    assert count(conn) == 1

    monkeypatch.setenv("HOWDAH_DSN", "postgresql://elsewhere")
    app, welcome = with_handler(dsn)
    assert app.dsn == dsn
    app.close_sync()


def test_the_spelling_of_sqlalchemy_is_understood(dsn: str, conn: psycopg.Connection) -> None:
    for scheme in ("postgresql+psycopg", "postgresql+asyncpg", "postgres"):
        app, welcome = with_handler(dsn.replace("postgresql", scheme, 1))
        welcome.enqueue_sync(1)
        app.close_sync()
    assert count(conn) == 3


async def test_a_client_needs_no_handlers(dsn: str) -> None:
    client = Client(dsn)
    assert await client.tasks() == []
    with pytest.raises(TaskNotFound):
        await client.show(5)
    await client.close()


# ── transactions ──


async def test_a_transaction_with_rows_of_ones_own(app: App, conn: psycopg.Connection) -> None:
    conn.execute("create table public.own (n int)")

    @app.task()
    async def welcome(user_id: int) -> None: ...

    async with app.transaction() as theirs:
        await theirs.execute("insert into public.own values (1)")
        await welcome.using(connection=theirs).enqueue(1)
        await welcome.using(connection=theirs).enqueue_many([(2,), (3,)])
        assert count(conn) == 0
    assert count(conn) == 3

    class Mine(Exception):
        pass

    async def half_done() -> None:
        async with app.transaction() as theirs:
            await theirs.execute("insert into public.own values (2)")
            await welcome.using(connection=theirs).enqueue(4)
            raise Mine

    with pytest.raises(Mine):
        await half_done()
    assert count(conn) == 3
    assert conn.execute("select n from public.own").fetchall() == [(1,)]
    assert isinstance(theirs, psycopg.AsyncConnection)


async def test_errors_of_ones_own_sql_stay_as_they_are(app: App) -> None:
    async def divide() -> None:
        async with app.transaction() as theirs:
            await theirs.execute("select 1 / 0")

    for _ in range(20):  # and the pool is not used up by them
        with pytest.raises(psycopg.errors.DivisionByZero):
            await divide()


async def test_a_cancelled_transaction_is_rolled_back_and_its_connection_returned(
    app: App, conn: psycopg.Connection
) -> None:
    @app.task()
    async def welcome(user_id: int) -> None: ...

    async def hang(begun: asyncio.Event) -> None:
        async with app.transaction() as theirs:
            await welcome.using(connection=theirs).enqueue(1)
            begun.set()
            await theirs.execute("select pg_sleep(60)")

    for _ in range(12):
        begun = asyncio.Event()
        hanging = asyncio.create_task(hang(begun))
        await begun.wait()
        hanging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hanging
    assert count(conn) == 0
    assert connections(conn) <= 8


async def test_a_used_up_pool_says_so(dsn: str, conn: psycopg.Connection) -> None:
    database = Database(dsn, size=2, patience=0.05)
    async with database.connection(), database.connection():
        with pytest.raises(CannotConnect, match=r"all 2 connections of howdah's pool were in use.*connection="):
            async with database.connection():
                pass
    async with database.connection() as again:
        await again.execute("select 1")
    await database.close()


# ── the server, restarted under an idle client ──


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_after_a_restart_the_next_enqueue_works(
    server: servers.Server, dsn: str, mode: Literal["fast", "immediate"]
) -> None:
    app, welcome = with_handler(dsn)
    waiting = [asyncio.create_task(welcome.enqueue(n)) for n in range(20)]  # several connections in the pool
    await asyncio.gather(*waiting)
    await asyncio.gather(*(asyncio.to_thread(welcome.enqueue_sync, n) for n in range(20)))
    await asyncio.to_thread(server.restart, mode)

    assert (await welcome.enqueue(1)).id
    assert (await asyncio.to_thread(welcome.enqueue_sync, 2)).id
    await asyncio.gather(*(welcome.enqueue(n) for n in range(20)))
    await asyncio.gather(*(asyncio.to_thread(welcome.enqueue_sync, n) for n in range(20)))
    await welcome.enqueue_many([(1,)])
    assert len(await app.tasks(limit=1000)) == 20 + 20 + 2 + 20 + 20 + 1
    await app.close()


async def test_a_home_is_only_for_the_embedded_server(dsn: str) -> None:
    app = App(dsn, home="/nowhere")
    assert await app.tasks() == []
    await app.close()
    with pytest.raises(InvalidOption):
        App(dsn, home="")
