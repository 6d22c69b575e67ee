"""One call brings a database to this version, whatever state it is in, however many call at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.sql import SQL, Identifier

import howdah.migrate
import servers
from howdah.db.pool import Database
from howdah.errors import CannotConnect, HowdahError, InvalidOption, SchemaMismatch
from howdah.migrate import Script, check, digest, migrate, migrations, release, replaced
from migrate.catalog import snapshot
from waiting import until_sync

Connect = Callable[[], psycopg.Connection]


@contextmanager
def files(patch: pytest.MonkeyPatch, **changed: tuple[Script, ...]) -> Iterator[None]:
    """As if the package had these SQL files, and therefore another digest."""
    with patch.context() as now:
        for name, scripts in changed.items():
            now.setattr(howdah.migrate, name, lambda scripts=scripts: scripts)
        now.setattr(howdah.migrate, "digest", lambda: "another")
        yield


def test_a_fresh_database_gets_everything_and_a_second_call_finds_nothing_to_do(
    empty: Database, conn: psycopg.Connection
) -> None:
    assert migrate(empty) == [script.name for script in (*migrations(), *replaced())]
    check(empty)
    there = snapshot(conn)
    assert there["installed"] == [f"{release()} {digest()}"]
    assert there["migrations"] == [f"{script.number} {script.name}" for script in migrations()]
    stamps = "select oid, xmin::text from pg_proc where pronamespace = 'howdah'::regnamespace order by oid"
    before = conn.execute(stamps).fetchall()
    assert migrate(empty) == []
    assert conn.execute(stamps).fetchall() == before
    assert snapshot(conn) == there


@pytest.mark.parametrize("isolation", ["read committed", "serializable"])
def test_of_eight_at_once_one_does_it_and_the_others_find_it_done(
    empty: Database, connect: Connect, isolation: str
) -> None:
    watcher, holder = connect(), connect()
    name = Identifier(watcher.info.dbname)
    watcher.execute(SQL("alter database {} set default_transaction_isolation = {}").format(name, isolation))
    waiting = (
        "select count(*) from pg_locks join pg_database d on d.oid = database"
        " where locktype = 'advisory' and not granted and datname = current_database()"
    )
    with ThreadPoolExecutor(8) as threads:
        # All eight have seen the empty database, and all come to the lock, before the first gets it.
        with holder.transaction():
            holder.execute("select pg_advisory_xact_lock(hashtext('howdah.migrate'))")
            all_eight = [threads.submit(migrate, Database(empty.dsn)) for _ in range(8)]
            until_sync(lambda: watcher.execute(waiting.encode()).fetchone() == (8,), "all eight to come to the lock")
        applied = [one.result(60) for one in all_eight]
    assert sorted(map(len, applied)) == [0] * 7 + [len(migrations()) + len(replaced())]
    check(empty)


def test_killed_half_way_nothing_is_left_and_the_next_call_completes(
    empty: Database, conn: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = (*replaced()[:10], Script("functions/killed.sql", "select pg_terminate_backend(pg_backend_pid())"))
    with files(monkeypatch, replaced=half), pytest.raises(CannotConnect, match="terminating connection"):
        migrate(empty)
    assert snapshot(conn) == {}
    assert migrate(empty)
    check(empty)


def test_no_tables_yet_is_said_with_the_command_to_run(empty: Database, conn: psycopg.Connection) -> None:
    with pytest.raises(SchemaMismatch, match="no tables of howdah yet") as caught:
        check(empty)
    assert caught.value.hint == "Run: howdah migrate"
    assert snapshot(conn) == {}


def test_a_schema_newer_than_the_code_is_refused_and_left_as_it_is(empty: Database, conn: psycopg.Connection) -> None:
    migrate(empty)
    conn.execute("insert into howdah.migration (version, name) values (999, 'migrations/0999_later.sql')")
    conn.execute("update howdah.installed set version = '9.9.9', digest = 'later'")
    before = snapshot(conn)
    for attempt in (check, migrate):
        with pytest.raises(SchemaMismatch, match=r"of howdah 9.9.9 \(schema 999\), newer than this code") as caught:
            attempt(empty)
        assert caught.value.hint == 'Upgrade this process: pip install "howdah>=9.9.9"'
    assert snapshot(conn) == before


def test_functions_of_a_newer_release_on_the_same_tables_are_used_and_not_put_back(
    empty: Database, conn: psycopg.Connection
) -> None:
    migrate(empty)
    conn.execute("update howdah.installed set version = '9.9.9', digest = 'later'")
    before = snapshot(conn)
    check(empty)
    assert migrate(empty) == []
    assert snapshot(conn) == before


def test_older_functions_are_said_and_then_replaced(empty: Database, conn: psycopg.Connection) -> None:
    migrate(empty)
    fresh = snapshot(conn)
    conn.execute("update howdah.installed set version = '0.0.1', digest = 'earlier'")
    conn.execute("create or replace function howdah.now() returns timestamptz language sql as $$ select now() $$")
    with pytest.raises(
        SchemaMismatch, match=rf"the tables are of howdah 0.0.1 \(schema {len(migrations())}\), this code is "
    ) as caught:
        check(empty)
    assert caught.value.hint == "Run: howdah migrate"
    assert migrate(empty) == [script.name for script in replaced()]
    assert snapshot(conn) == fresh


def test_what_changed_its_signature_or_lost_its_file_goes(empty: Database, conn: psycopg.Connection) -> None:
    migrate(empty)
    fresh = snapshot(conn)
    conn.execute("update howdah.installed set digest = 'earlier'")
    conn.execute(
        # an overload: a new defaulted parameter does not replace a function, it makes a second one
        "create function howdah.cancel(id bigint) returns text language sql as $$ select 'old' $$;"
        "drop function howdah.pause(text, text);"
        # the same arguments, but another name and another result: CREATE OR REPLACE refuses both
        "create function howdah.pause(name text, why text) returns int language sql as $$ select 1 $$;"
        "create function howdah.gone(int) returns int language sql as $$ select 1 $$;"
        "create procedure howdah.gone_too() language sql as $$ select 1 $$;"
        "create function howdah.old_trigger() returns trigger language plpgsql as $$ begin return new; end $$;"
        "create trigger old_trigger before insert on howdah.task for each row execute function howdah.old_trigger();"
    )
    assert snapshot(conn) != fresh
    assert migrate(empty)
    assert snapshot(conn) == fresh


def test_the_functions_of_others_are_left_alone(empty: Database, conn: psycopg.Connection) -> None:
    conn.execute("create function public.enqueue(kind text) returns text language sql as $$ select 'mine' $$")
    migrate(empty)
    conn.execute("create view public.waiting as select id, howdah.now() as now from howdah.tasks")
    conn.execute("update howdah.installed set digest = 'earlier'")
    assert migrate(empty)
    assert conn.execute("select public.enqueue('x')").fetchone() == ("mine",)
    assert conn.execute("select count(*) from public.waiting").fetchone() == (0,)


def test_a_table_that_stays_locked_ends_the_attempt_and_not_the_traffic(
    empty: Database, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(empty)
    writer, conn = connect(), connect()
    conn.execute("update howdah.installed set digest = 'earlier'")
    before = snapshot(conn)
    monkeypatch.setattr(howdah.migrate, "LOCK_TIMEOUT", "50ms")
    with writer.transaction():
        writer.execute("insert into howdah.task (kind, queue, priority, run_at) values ('k', 'q', 0, now())")
        with pytest.raises(HowdahError, match="held a table for more than 50ms; nothing was changed"):
            migrate(empty)
    assert snapshot(conn) == before
    monkeypatch.undo()
    assert migrate(empty)


# ── databases that cannot be migrated ──


@pytest.fixture
def guest(server: servers.Server, empty: Database, conn: psycopg.Connection) -> Iterator[str]:
    """The DSN of a user who may connect to the database and nothing else, with a name that needs quotes."""
    name = "Guest of 'honour'"
    conn.execute(SQL("create role {} login password 's3cret'").format(Identifier(name)))
    yield make_conninfo(empty.dsn, user=name, password="s3cret")
    conn.execute(SQL("drop owned by {}").format(Identifier(name)))
    conn.execute(SQL("drop role {}").format(Identifier(name)))


def test_a_user_without_the_right_is_told_which_to_grant(
    server: servers.Server, guest: str, conn: psycopg.Connection
) -> None:
    with pytest.raises(CannotConnect, match="may not install howdah in database") as caught:
        migrate(Database(guest))
    hint = caught.value.hint or ""
    grant = hint[hint.index("GRANT") : hint.index(";")]
    assert grant == f'GRANT CREATE ON DATABASE "{conn.info.dbname}" TO "Guest of \'honour\'"'
    assert "s3cret" not in str(caught.value)
    conn.execute(grant.encode())
    assert migrate(Database(guest))
    check(Database(guest))


def test_the_owner_of_a_schema_made_for_him_needs_no_other_right(guest: str, conn: psycopg.Connection) -> None:
    user = Identifier(conninfo_to_dict(guest)["user"])
    conn.execute(SQL("create schema howdah authorization {}").format(user))
    assert migrate(Database(guest))
    check(Database(guest))


def test_a_user_who_may_not_even_look_is_told_so(empty: Database, guest: str) -> None:
    migrate(empty)
    for attempt in (check, migrate):
        with pytest.raises(CannotConnect, match="permission denied for schema howdah"):
            attempt(Database(guest))


def test_a_read_only_database_is_named(empty: Database, conn: psycopg.Connection) -> None:
    conn.execute(SQL("alter database {} set default_transaction_read_only = on").format(Identifier(conn.info.dbname)))
    with pytest.raises(CannotConnect, match="is read-only"):
        migrate(empty)


UNREACHABLE = {
    "no server": "postgresql://me:s3cret@127.0.0.1:1/app?connect_timeout=5",
    "no socket": "host=/nowhere user=me password=s3cret dbname=app",
    "no database": "postgresql://me:s3cret@/no_such_database?host={host}&port={port}",
    "no port": "postgresql://me:s3cret@localhost:port/app",
    "no host": "postgresql://me:s3cret@host.invalid/app?connect_timeout=5",
}


@pytest.mark.parametrize("what", UNREACHABLE)
def test_an_unreachable_server_is_one_sentence_without_the_password(conn: psycopg.Connection, what: str) -> None:
    dsn = UNREACHABLE[what].format(host=conn.info.host, port=conn.info.port)
    for attempt in (check, migrate):
        with pytest.raises(CannotConnect) as caught:
            attempt(Database(dsn))
        assert "s3cret" not in str(caught.value)
        assert "\n" not in str(caught.value)
        assert caught.value.hint


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://me:s3cret@[::1/app",
        "postgresql://me:s3cret@localhost/app?colour=red",
        "host=localhost pasword=s3cret",
        "host=localhost password='s3cret",
        "mysql://me:s3cret@localhost/app",
        "s3cret",
    ],
)
def test_a_dsn_that_cannot_be_read_is_one_sentence_without_the_password(dsn: str) -> None:
    with pytest.raises(InvalidOption, match=r"cannot be read|is an address of mysql") as caught:
        migrate(Database(dsn))
    assert "\n" not in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert "postgresql://user:password@host" in str(caught.value)
