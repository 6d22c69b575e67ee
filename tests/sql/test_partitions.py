"""Days of the archive and of events: cut by the clock of the database, whatever the zone of the session."""

from __future__ import annotations

from datetime import UTC, datetime

import psycopg
import pytest

from sql.protocol import Worker, ask, declare, put


def set_clock(conn: psycopg.Connection, at: str) -> None:
    conn.execute(
        f"create or replace function howdah.now() returns timestamptz language sql as $$ select '{at}'::timestamptz $$".encode()
    )


def day(conn: psycopg.Connection, task_id: int) -> str:
    return ask(
        conn, "select relname from howdah.archive a join pg_class c on c.oid = a.tableoid where a.id = %s", [task_id]
    )


@pytest.mark.parametrize("change", ["2030-03-31", "2030-10-27"])  # 23 and 25 hours in Riga
def test_days_are_24_hours_of_utc_also_where_the_clock_is_changed(own_conn: psycopg.Connection, change: str) -> None:
    own_conn.execute("set TimeZone = 'Europe/Riga'")
    set_clock(own_conn, f"{change} 00:30+00")
    assert ask(own_conn, "select howdah.make_partitions(3)") == 8
    assert ask(own_conn, "select howdah.make_partitions(3)") == 0
    declare(own_conn, {"name": "job"})
    worker = Worker(own_conn, ["job"])
    for time in ("00:00+00", "23:59:59.999999+00"):
        set_clock(own_conn, f"{change} {time}")
        done = put(own_conn)
        worker.done(*worker.claim())
        assert day(own_conn, done) == f"archive_{change.replace('-', '')}"


def test_what_ended_before_its_day_was_made_moves_there(own_conn: psycopg.Connection) -> None:
    declare(own_conn, {"name": "job"})
    worker = Worker(own_conn, ["job"])
    set_clock(own_conn, "2050-01-02 10:00+00")
    done = put(own_conn)
    worker.done(*worker.claim())
    assert day(own_conn, done) == "archive_default"
    ask(own_conn, "select howdah.make_partitions(0)")
    assert day(own_conn, done) == "archive_20500102"
    assert ask(own_conn, "select finished_at from howdah.tasks where id = %s", [done]) == datetime(
        2050, 1, 2, 10, tzinfo=UTC
    )


def test_days_go_when_the_longest_keep_is_over_and_not_before(own_conn: psycopg.Connection) -> None:
    own_conn.execute("set TimeZone = 'Asia/Kolkata'")
    declare(own_conn, {"name": "job", "keep": "2 days"}, {"name": "short", "keep": "1 hour"})
    worker = Worker(own_conn, ["job", "short"])
    set_clock(own_conn, "2050-01-02 10:00+00")
    ask(own_conn, "select howdah.make_partitions(0)")
    kept, short = put(own_conn), put(own_conn, "short")
    worker.done(*worker.claim())
    retain = "select dropped, deleted from howdah.retain()"
    set_clock(own_conn, "2050-01-02 11:30+00")
    assert own_conn.execute(retain).fetchone()[1] == 1  # pyright: ignore[reportOptionalSubscript]
    assert own_conn.execute("select id from howdah.archive").fetchall() == [(kept,)]
    assert short
    for at, left in (("2050-01-04 23:59+00", 1), ("2050-01-05 00:01+00", 0)):
        set_clock(own_conn, at)
        own_conn.execute(retain)
        assert ask(own_conn, "select count(*) from howdah.archive") == left, at
