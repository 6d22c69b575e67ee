"""`connection=`: what is done is part of the caller's transaction, whatever the caller's connection is."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncpg
import psycopg
import pytest
import sqlalchemy as sa
from psycopg import rows
from psycopg_pool import AsyncConnectionPool
from sqlalchemy import orm

from howdah import App
from howdah.db.pool import Database
from howdah.errors import (
    CannotConnect,
    InvalidOption,
    KeyConflict,
    SchemaMismatch,
    TaskNotFound,
    UnknownKind,
    WrongStatus,
)

# Beside its user, and not in a package: the tests are imported one by one.
sys.path.insert(0, str(Path(__file__).parent))
from borrowed_connections import KINDS, Caller, open_caller

AWKWARD = "é ☃ :colon %(percent)s %s {brace} ? $1 'single' \"double\" back\\slash \t tab \n line"


@pytest.fixture
def handlers(dsn: str) -> SimpleNamespace:
    """An App that never opens a connection of its own: only the caller's is used."""
    app = App(dsn)

    @app.task(queue="mail", priority=5)
    async def welcome(name: str) -> str:
        return name

    return SimpleNamespace(app=app, welcome=welcome)


@pytest.fixture
def nobody(conn: psycopg.Connection) -> Iterator[str]:
    """A role with no rights."""
    conn.execute("create role howdah_tests_nobody")
    yield "howdah_tests_nobody"
    conn.execute("drop role howdah_tests_nobody")


@pytest.fixture(params=KINDS)
async def caller(request: pytest.FixtureRequest, dsn: str) -> AsyncIterator[Caller]:
    async with open_caller(request.param, dsn) as opened:
        yield opened


def tasks(conn: psycopg.Connection, columns: str = "id") -> list[Any]:
    found = conn.execute(f"select {columns} from howdah.task order by id".encode()).fetchall()
    return [row[0] if len(row) == 1 else row for row in found]


async def test_tasks_commit_with_the_callers_transaction(
    caller: Caller, handlers: SimpleNamespace, conn: psycopg.Connection
) -> None:
    ours = handlers.welcome.using(connection=caller.connection)
    one = await caller.verb(ours, "enqueue", AWKWARD)
    many = await caller.verb(ours, "enqueue_many", [(AWKWARD,), {"name": "b"}, ("c",)])
    assert await caller.rows() == 4
    assert tasks(conn) == []

    await caller.commit()
    assert tasks(conn, "id, queue, priority, status, payload") == [
        (task.id, "mail", 5, "queued", {"name": name})
        for task, name in zip([one, *many], [AWKWARD, AWKWARD, "b", "c"], strict=True)
    ]
    assert handlers.app.installation._database is None


async def test_tasks_are_gone_with_a_rollback(
    caller: Caller, handlers: SimpleNamespace, conn: psycopg.Connection
) -> None:
    ours = handlers.welcome.using(connection=caller.connection)
    await caller.verb(ours, "enqueue", "a")
    await caller.verb(ours, "enqueue_many", [("b",), ("c",)])
    await caller.rollback()
    assert await caller.rows() == 0
    await caller.commit()
    assert tasks(conn) == []


async def test_a_savepoint_takes_only_what_came_after_it(
    caller: Caller, handlers: SimpleNamespace, conn: psycopg.Connection
) -> None:
    ours = handlers.welcome.using(connection=caller.connection)
    kept = await caller.verb(ours, "enqueue", "kept")
    async with caller.savepoint():
        await caller.verb(ours, "enqueue", "gone")
        await caller.verb(ours, "enqueue_many", [("gone",), ("gone",)])
        assert await caller.rows() == 4
    also = await caller.verb(ours, "enqueue_many", [("kept",)])
    await caller.commit()
    assert tasks(conn) == [kept.id, also[0].id]


async def test_cancel_and_retry_are_part_of_it_too(
    caller: Caller, handlers: SimpleNamespace, conn: psycopg.Connection
) -> None:
    with Database(conn.info.dsn).connect_sync() as other:
        waiting, parked = (handlers.welcome.using(connection=other).enqueue_sync(name).id for name in "ab")
    conn.execute("update howdah.task set status = 'failed', error = 'broken' where id = %s", [parked])

    def statuses() -> list[str]:
        found = conn.execute("select status from howdah.tasks where id = any(%s) order by id", [[waiting, parked]])
        return [row[0] for row in found]

    for end, expected in ((caller.rollback, ["queued", "failed"]), (caller.commit, ["cancelled", "queued"])):
        cancelled = await caller.verb(handlers.app, "cancel", waiting, "not wanted", connection=caller.connection)
        retried = await caller.verb(handlers.app, "retry", parked, connection=caller.connection)
        assert (cancelled, retried) == ("cancelled", "resumed")
        assert statuses() == ["queued", "failed"]
        await end()
        assert statuses() == expected


async def test_errors_arrive_as_howdahs_own_and_name_what_they_are_about(
    caller: Caller, handlers: SimpleNamespace, conn: psycopg.Connection
) -> None:
    keyed = handlers.welcome.using(connection=caller.connection, key="k")
    holder = await caller.verb(keyed, "enqueue", "a")

    again = handlers.welcome.using(connection=caller.connection, key="k", on_conflict="raise")
    with pytest.raises(KeyConflict, match=f"key 'k' is held by task {holder.id}") as conflict:
        async with caller.savepoint():
            await caller.verb(again, "enqueue", "b")
    assert conflict.value.task_id == holder.id
    assert conflict.value.hint is not None

    with pytest.raises(UnknownKind, match="no handler for kind 'nobody'") as unknown:
        async with caller.savepoint():
            await caller.verb(handlers.app.using(connection=caller.connection), "enqueue", "nobody", n=1)
    assert unknown.value.hint is not None
    with pytest.raises(TaskNotFound, match="there is no task 1"):
        async with caller.savepoint():
            await caller.verb(handlers.app, "cancel", 1, connection=caller.connection)
    await caller.verb(handlers.app, "cancel", holder.id, connection=caller.connection)
    with pytest.raises(WrongStatus, match="has already ended"):
        async with caller.savepoint():
            await caller.verb(handlers.app, "retry", holder.id, connection=caller.connection)

    await caller.commit()  # the caller's transaction outlived all of them
    assert conn.execute("select status from howdah.archive").fetchall() == [("cancelled",)]


async def test_options_reach_the_row_whatever_the_driver_makes_of_them(
    caller: Caller, handlers: SimpleNamespace, conn: psycopg.Connection
) -> None:
    def ours(**options: Any) -> Any:
        return handlers.welcome.using(connection=caller.connection, **options)

    at = datetime(2040, 2, 29, 12, 30, 15, 123456, tzinfo=UTC)
    await caller.verb(ours(at=at, queue="slow", priority=-3), "enqueue", "a")
    await caller.verb(ours(at=at, queue="slow", priority=-3), "enqueue_many", [("b",)])
    await caller.verb(ours(delay=timedelta(hours=1)), "enqueue", "c")
    await caller.verb(ours(delay=timedelta(hours=1)), "enqueue_many", [("d",)])
    first = await caller.verb(ours(key="k"), "enqueue", "e")
    assert (await caller.verb(ours(key="k"), "enqueue", "f")).id == first.id
    assert await caller.verb(ours(key="k", on_conflict="skip"), "enqueue", "g") is None
    assert (await caller.verb(ours(key="k", on_conflict="replace"), "enqueue", "h")).id == first.id
    await caller.commit()

    assert tasks(conn, "payload ->> 'name', queue, priority, key") == [
        ("a", "slow", -3, None),
        ("b", "slow", -3, None),
        ("c", "mail", 5, None),
        ("d", "mail", 5, None),
        ("h", "mail", 5, "k"),
    ]
    assert tasks(conn, "run_at")[:2] == [at, at]
    in_an_hour = tasks(conn, "abs(extract(epoch from run_at - created_at) - 3600) < 60")
    assert in_an_hour == [False, False, True, True, False]


async def test_many_under_keys_are_part_of_it_too(
    caller: Caller, handlers: SimpleNamespace, conn: psycopg.Connection
) -> None:
    ours = handlers.welcome.using(connection=caller.connection, key="w:{name}", group="g:{name}", unique_for="1h")
    first = await caller.verb(ours, "enqueue", "a")
    many = await caller.verb(ours, "enqueue_many", [(AWKWARD,), ("a",), (AWKWARD,), ("b",)])
    assert many == [many[0], first, many[0], many[3]]
    assert await caller.rows() == 3
    assert tasks(conn) == []

    strict = handlers.welcome.using(connection=caller.connection, key="w:{name}", on_conflict="raise")
    with pytest.raises(KeyConflict, match="key 'w:b' is held by task") as conflict:
        async with caller.savepoint():
            await caller.verb(strict, "enqueue_many", [("c",), ("b",)])
    assert conflict.value.task_id == many[3].id
    held = await caller.verb(handlers.app, "holder", "w:b", connection=caller.connection)
    assert held == many[3]
    await caller.commit()

    assert tasks(conn, "id, key, groups") == [
        (first.id, "w:a", ["g:a"]),
        (many[0].id, f"w:{AWKWARD}", [f"g:{AWKWARD}"]),
        (many[3].id, "w:b", ["g:b"]),
    ]
    assert conn.execute("select count(*) from howdah.key where until > now() + '59 min'").fetchone() == (3,)


async def test_by_name_the_kinds_defaults_apply(
    caller: Caller, handlers: SimpleNamespace, conn: psycopg.Connection
) -> None:
    conn.execute("""select howdah.declare('[{"name": "elsewhere", "queue": "far", "priority": 7}]')""")
    task = await caller.verb(handlers.app.using(connection=caller.connection), "enqueue", "elsewhere", text=AWKWARD)
    await caller.commit()
    assert tasks(conn, "id, queue, priority, payload") == [(task.id, "far", 7, {"text": AWKWARD})]


@pytest.mark.parametrize(
    "kind", ["psycopg", "psycopg async", "asyncpg", "sqlalchemy AsyncSession asyncpg", "django proxy"]
)
async def test_a_database_without_howdah_says_migrate(kind: str, empty_dsn: str) -> None:
    app = App(empty_dsn)

    @app.task()
    async def welcome(name: str) -> None: ...

    async with open_caller(kind, empty_dsn) as caller:
        for verb, argument in (("enqueue", "a"), ("enqueue_many", [("a",)])):
            with pytest.raises(SchemaMismatch, match="Run: howdah migrate") as error:
                async with caller.savepoint():
                    await caller.verb(welcome.using(connection=caller.connection), verb, argument)
            assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "kind", ["psycopg", "psycopg async", "asyncpg", "sqlalchemy AsyncSession asyncpg", "django proxy"]
)
async def test_a_user_without_rights_is_told_which(kind: str, dsn: str, handlers: SimpleNamespace, nobody: str) -> None:
    async with open_caller(kind, dsn) as caller:
        await caller.scalar(f"select set_config('role', '{nobody}', true)")
        with pytest.raises(CannotConnect, match="permission denied for schema howdah"):
            async with caller.savepoint():
                await caller.verb(handlers.welcome.using(connection=caller.connection), "enqueue", "a")


# ── psycopg, as people set it up ──


class Anything:
    def __init__(self, **fields: Any) -> None:
        self.fields = fields


ROW_FACTORIES = [
    rows.tuple_row,
    rows.dict_row,
    rows.namedtuple_row,
    rows.scalar_row,
    rows.class_row(Anything),
    rows.kwargs_row(Anything),
]


@pytest.mark.parametrize("row_factory", ROW_FACTORIES, ids=lambda factory: getattr(factory, "__qualname__", "?"))
def test_rows_may_look_as_they_like(row_factory: Any, dsn: str, handlers: SimpleNamespace) -> None:
    with psycopg.connect(dsn, row_factory=row_factory) as theirs:
        one = handlers.welcome.using(connection=theirs).enqueue_sync("a")
        two = handlers.welcome.using(connection=theirs).enqueue_many_sync([("b",)])
        assert handlers.app.cancel_sync(one.id, connection=theirs) == "cancelled"
        assert one.id < two[0].id
        assert theirs.row_factory is row_factory


@pytest.mark.parametrize("cursor_factory", [psycopg.ClientCursor, psycopg.RawCursor])
def test_cursors_may_be_of_any_kind(cursor_factory: Any, dsn: str, handlers: SimpleNamespace) -> None:
    with psycopg.connect(dsn, cursor_factory=cursor_factory) as theirs:
        one = handlers.welcome.using(connection=theirs).enqueue_sync("a")
        two = handlers.welcome.using(connection=theirs).enqueue_many_sync([("b",)])
        assert one.id < two[0].id


@pytest.mark.parametrize("cursor_factory", [psycopg.AsyncClientCursor, psycopg.AsyncRawCursor])
async def test_async_cursors_may_be_of_any_kind(cursor_factory: Any, dsn: str, handlers: SimpleNamespace) -> None:
    async with await psycopg.AsyncConnection.connect(dsn, cursor_factory=cursor_factory) as theirs:
        one = await handlers.welcome.using(connection=theirs).enqueue("a")
        two = await handlers.welcome.using(connection=theirs).enqueue_many([("b",)])
        assert one.id < two[0].id


def test_with_autocommit_it_is_there_at_once(dsn: str, handlers: SimpleNamespace, conn: psycopg.Connection) -> None:
    with psycopg.connect(dsn, autocommit=True) as theirs:
        one = handlers.welcome.using(connection=theirs).enqueue_sync("a")
        assert tasks(conn) == [one.id]
        two = handlers.welcome.using(connection=theirs).enqueue_many_sync([("b",)])
        assert tasks(conn) == [one.id, two[0].id]


def test_settings_of_the_session_change_nothing(dsn: str, handlers: SimpleNamespace, conn: psycopg.Connection) -> None:
    at = datetime(2040, 3, 4, 5, 6, 7, tzinfo=UTC)
    with psycopg.connect(dsn) as theirs:
        theirs.execute("set datestyle = 'SQL, DMY'; set timezone = 'Asia/Kolkata'; set search_path = 'nowhere'")
        theirs.execute("set intervalstyle = 'sql_standard'; set standard_conforming_strings = off")
        handlers.welcome.using(connection=theirs, at=at).enqueue_sync(AWKWARD)
        handlers.welcome.using(connection=theirs, at=at).enqueue_many_sync([(AWKWARD,)])
        handlers.welcome.using(connection=theirs, delay="1d 2h").enqueue_many_sync([(AWKWARD,)])
    assert tasks(conn, "payload ->> 'name'") == [AWKWARD] * 3
    assert tasks(conn, "run_at")[:2] == [at, at]
    assert tasks(conn, "run_at - created_at between '25:59' and '26:01'")[2]


def test_inside_a_pipeline(dsn: str, handlers: SimpleNamespace, conn: psycopg.Connection) -> None:
    with psycopg.connect(dsn) as theirs, theirs.pipeline():
        theirs.execute("create table public.own (n int)")
        handlers.welcome.using(connection=theirs).enqueue_sync("a")
    assert len(tasks(conn)) == 1


async def test_two_coroutines_on_one_connection_get_their_own_answers(
    dsn: str, handlers: SimpleNamespace, conn: psycopg.Connection
) -> None:
    async with await psycopg.AsyncConnection.connect(dsn) as theirs:
        ours = handlers.welcome.using(connection=theirs)
        made = await asyncio.gather(*(ours.enqueue(str(n)) for n in range(20)))
    assert tasks(conn, "id, payload ->> 'name'") == sorted((task.id, str(n)) for n, task in enumerate(made))


# ── asyncpg and SQLAlchemy, as people set them up ──


async def test_a_json_codec_of_asyncpg_does_not_encode_twice(
    dsn: str, handlers: SimpleNamespace, conn: psycopg.Connection
) -> None:
    theirs = await asyncpg.connect(dsn)
    for name in ("json", "jsonb"):
        await theirs.set_type_codec(name, encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
    await handlers.welcome.using(connection=theirs).enqueue("a")
    await handlers.welcome.using(connection=theirs).enqueue_many([("b",)])
    await theirs.close()
    assert tasks(conn, "payload") == [{"name": "a"}, {"name": "b"}]


def test_a_scoped_session_and_rows_of_their_own_flushed_together(
    dsn: str, handlers: SimpleNamespace, conn: psycopg.Connection
) -> None:
    engine = sa.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(dsn))
    session = orm.scoped_session(orm.sessionmaker(engine))
    session.execute(sa.text("create table public.own (n int)"))
    session.execute(sa.text("insert into public.own values (1)"))
    handlers.welcome.using(connection=session).enqueue_sync("a")
    session.commit()
    session.remove()
    engine.dispose()
    assert len(tasks(conn)) == 1
    assert conn.execute("select n from public.own").fetchall() == [(1,)]


# ── what is no connection ──


async def test_an_async_connection_needs_the_async_verb(handlers: SimpleNamespace, dsn: str) -> None:
    for kind in ("psycopg async", "asyncpg", "sqlalchemy AsyncSession psycopg"):
        async with open_caller(kind, dsn) as caller:
            ours = handlers.welcome.using(connection=caller.connection)
            for verb, argument in ((ours.enqueue_sync, "a"), (ours.enqueue_many_sync, [("a",)])):
                with pytest.raises(InvalidOption, match=r"connection= is async .* Await the verb .* without _sync"):
                    verb(argument)
            assert await caller.rows() == 0


async def test_a_sync_connection_works_with_the_async_verb(
    handlers: SimpleNamespace, dsn: str, conn: psycopg.Connection
) -> None:
    for kind in ("psycopg", "sqlalchemy Session", "django proxy"):
        async with open_caller(kind, dsn) as caller:
            await handlers.welcome.using(connection=caller.connection).enqueue(kind)
            await handlers.welcome.using(connection=caller.connection).enqueue_many([(kind,)])
            await caller.commit()
    assert len(tasks(conn)) == 6


async def test_what_is_no_connection_is_refused_by_its_type(handlers: SimpleNamespace, dsn: str) -> None:
    pool = AsyncConnectionPool(dsn, open=False)
    engine = sa.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(dsn))
    cursor = psycopg.connect(dsn).cursor()
    for wrong, said in (
        (dsn, "does not take a builtins.str"),
        (object(), "does not take a builtins.object"),
        (handlers.app, "does not take a howdah.app.App"),
        (cursor, "does not take a psycopg.Cursor"),
        (engine, "does not take a sqlalchemy.engine.base.Engine.*take a connection from this Engine first"),
        (pool, "does not take a psycopg_pool.*take a connection from this AsyncConnectionPool first"),
    ):
        with pytest.raises(InvalidOption, match=said):
            handlers.welcome.using(connection=wrong)
        with pytest.raises(InvalidOption, match=said):
            await handlers.app.cancel(1, connection=wrong)
    cursor.connection.close()


def test_a_connection_to_another_database_system_is_refused(handlers: SimpleNamespace) -> None:
    engine = sa.create_engine("sqlite://")
    with engine.connect() as theirs, pytest.raises(InvalidOption, match=r"connection to sqlite.*PostgreSQL"):
        handlers.welcome.using(connection=theirs)
    with orm.Session(engine) as session, pytest.raises(InvalidOption, match=r"connection to sqlite.*PostgreSQL"):
        handlers.welcome.using(connection=session)
    engine.dispose()
