"""`howdah migrate --sql`: the same database by hand, from text that is the same every time."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import psycopg
import pytest

from howdah.db.pool import Database
from howdah.migrate import check, migrate, migrations, script
from migrate.catalog import snapshot


@pytest.fixture
def by_hand(conn: psycopg.Connection) -> Callable[[str], None]:
    """Run SQL text as `psql -c` would: its own transaction in it, stopping at the first error."""
    return lambda text: conn.execute(text.encode()) and None


def test_the_script_makes_what_migrate_makes(
    conn: psycopg.Connection, by_hand: Callable[[str], None], database: Database
) -> None:
    by_hand(script())
    with psycopg.connect(database.dsn, autocommit=True) as migrated:
        expected = snapshot(migrated)
    made = snapshot(conn)
    assert made.keys() == expected.keys()
    for what, of_migrate in expected.items():
        assert made[what] == of_migrate, what


def test_what_the_script_made_is_current(empty: Database, by_hand: Callable[[str], None]) -> None:
    by_hand(script())
    check(empty)
    assert migrate(empty) == []


def test_the_script_replaces_what_is_there_and_drops_what_has_no_file(
    empty: Database, conn: psycopg.Connection, by_hand: Callable[[str], None]
) -> None:
    migrate(empty)
    fresh = snapshot(conn)
    conn.execute("create or replace function howdah.now() returns timestamptz language sql as $$ select now() $$")
    conn.execute("create function howdah.cancel(id bigint) returns text language sql as $$ select 'old' $$")
    conn.execute("update howdah.installed set version = '0.0.1', digest = 'earlier'")
    by_hand(script(after=len(migrations())))
    assert snapshot(conn) == fresh


def test_an_error_on_the_way_leaves_nothing(conn: psycopg.Connection, by_hand: Callable[[str], None]) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero):
        by_hand(script().replace("select howdah.make_partitions();", "select 1 / 0;"))
    conn.rollback()
    assert snapshot(conn) == {}


def test_the_text_is_the_same_in_every_process() -> None:
    program = "import sys; from howdah.migrate import script; sys.stdout.buffer.write(script().encode())"
    for seed in ("1", "2"):
        told = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, check=True, env={"PYTHONHASHSEED": seed, "PATH": ""}
        )
        assert told.stdout.decode() == script()
