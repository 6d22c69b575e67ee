"""Two transactions, one key. Whatever happens first, one task holds it in the end and nobody waits for ever."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from sql.protocol import Worker, ask, put, task, until_blocked

Connect = Callable[[], psycopg.Connection]


@pytest.fixture
def second(connect: Connect) -> psycopg.Connection:
    connection = connect()
    connection.execute("set statement_timeout = '30s'")
    return connection


@pytest.fixture
def aside() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as threads:
        yield threads


@pytest.fixture
def race(
    conn: psycopg.Connection, connect: Connect, second: psycopg.Connection, aside: ThreadPoolExecutor, worker: Worker
) -> Callable[..., Future[Any]]:
    """Start an enqueue with key k on the second connection, and return when it waits for the first."""

    def start(**options: Any) -> Future[Any]:
        outcome = aside.submit(put, second, key="k", **options)
        until_blocked(connect(), second)
        return outcome

    return start


def only_task(conn: psycopg.Connection) -> int:
    rows = conn.execute("select id from howdah.task where key = 'k'").fetchall()
    assert len(rows) == 1
    assert ask(conn, "select deadlocks from pg_stat_database where datname = current_database()") == 0
    return rows[0][0]


@pytest.mark.parametrize("older", ["first", "second"])
def test_the_second_gets_what_it_asked_for_when_the_first_commits(
    conn: psycopg.Connection, second: psycopg.Connection, race: Callable[..., Future[Any]], older: str
) -> None:
    for on_conflict in ("return", "skip", "raise", "replace"):
        conn.execute("delete from howdah.task")
        if older == "second":  # its transaction began before that of the first
            second.execute("begin")
            second.execute("select pg_current_xact_id()")
        with conn.transaction():
            first = put(conn, key="k", payload='{"by": "first"}')
            outcome = race(payload='{"by": "second"}', on_conflict=on_conflict)
        if on_conflict == "raise":
            error = outcome.exception(30)
            assert isinstance(error, psycopg.Error)
            assert (error.sqlstate, error.diag.message_detail) == ("HW006", str(first))
            second.rollback()
        else:
            assert outcome.result(30) == (None if on_conflict == "skip" else first)
            second.commit()
        assert only_task(conn) == first
        assert task(conn, first, "payload") == {"by": "second" if on_conflict == "replace" else "first"}


@pytest.mark.parametrize("older", ["first", "second"])
def test_the_second_inserts_when_the_first_rolls_back(
    conn: psycopg.Connection, second: psycopg.Connection, race: Callable[..., Future[Any]], older: str
) -> None:
    for on_conflict in ("return", "skip", "raise", "replace"):
        conn.execute("delete from howdah.task")
        if older == "second":
            second.execute("begin")
            second.execute("select pg_current_xact_id()")
        with conn.transaction(force_rollback=True):
            put(conn, key="k", payload='{"by": "first"}')
            outcome = race(payload='{"by": "second"}', on_conflict=on_conflict)
        new = outcome.result(30)
        second.commit()
        assert only_task(conn) == new
        assert task(conn, new, "payload") == {"by": "second"}


def test_a_replace_that_waits_for_a_claim_is_told_that_the_task_runs(
    conn: psycopg.Connection, worker: Worker, race: Callable[..., Future[Any]]
) -> None:
    holder = put(conn, key="k")
    with conn.transaction():
        worker.claim()
        outcome = race(on_conflict="replace")
    error = outcome.exception(30)
    assert isinstance(error, psycopg.Error)
    assert (error.sqlstate, error.diag.message_detail) == ("HW006", str(holder))


def test_a_replace_that_waits_for_the_end_of_the_holder_inserts(
    conn: psycopg.Connection, race: Callable[..., Future[Any]]
) -> None:
    holder = put(conn, key="k")
    with conn.transaction():
        conn.execute("select howdah.cancel(%s)", [holder])
        outcome = race(on_conflict="replace")
    new = outcome.result(30)
    assert new != holder
    assert only_task(conn) == new
    assert task(conn, holder, "status") == "cancelled"


def test_a_caller_with_an_older_snapshot_is_refused_and_does_not_spin(
    conn: psycopg.Connection, second: psycopg.Connection, worker: Worker
) -> None:
    second.execute("begin isolation level repeatable read")
    second.execute("select from howdah.task")
    holder = put(conn, key="k")
    with pytest.raises(psycopg.errors.SerializationFailure):
        put(second, key="k")
    second.rollback()
    assert put(second, key="k") == holder
