"""NOTIFY is a hint: sent when somebody may be asleep, once per transaction and queue, and not otherwise."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from sql.protocol import Worker, ask, declare, heard, put


@pytest.fixture
def listener(connect: Callable[[], psycopg.Connection]) -> psycopg.Connection:
    return connect()


def insert(conn: psycopg.Connection) -> None:
    conn.execute(
        "insert into howdah.task (kind, queue) select 'job', q from unnest(array['a', 'b', 'a']) q, generate_series(1, 50)"
    )


def test_nobody_is_notified_while_all_workers_are_awake(
    conn: psycopg.Connection, listener: psycopg.Connection, worker: Worker
) -> None:
    asleep_and_gone = Worker(conn, ["job"])
    asleep_and_gone.fall_asleep()
    ask(conn, "select howdah.leave(%s)", [asleep_and_gone.id])
    waiting = put(conn, delay="1 h")

    def act() -> None:
        put(conn)
        insert(conn)
        ask(conn, "select howdah.retry(%s)", [waiting])
        conn.execute("select howdah.pause('a')")
        conn.execute("select howdah.resume('a')")

    assert heard(listener, act) == []


def test_a_sleeping_worker_is_woken_once_per_transaction_and_queue(
    conn: psycopg.Connection, listener: psycopg.Connection, worker: Worker
) -> None:
    worker.fall_asleep()
    assert heard(listener, lambda: put(conn)) == ["wake default"]
    assert sorted(heard(listener, lambda: insert(conn))) == ["wake a", "wake b"]

    def twice() -> None:
        with conn.transaction():
            put(conn, queue="q")
            put(conn, queue="q")

    assert heard(listener, twice) == ["wake q"]


def test_copy_wakes_as_well(conn: psycopg.Connection, listener: psycopg.Connection, worker: Worker) -> None:
    worker.fall_asleep()

    def load() -> None:
        with conn.cursor().copy("copy howdah.task (kind, queue, priority, run_at) from stdin") as stream:
            for _ in range(100):
                stream.write_row(("job", "q", 0, "2020-01-01"))

    assert heard(listener, load) == ["wake q"]


def test_a_rolled_back_enqueue_wakes_nobody(
    conn: psycopg.Connection, listener: psycopg.Connection, worker: Worker
) -> None:
    worker.fall_asleep()

    def act() -> None:
        with conn.transaction(force_rollback=True):
            put(conn)

    assert heard(listener, act) == []


def test_only_a_worker_of_the_queue_is_a_reason(conn: psycopg.Connection, listener: psycopg.Connection) -> None:
    declare(conn, {"name": "job"})
    Worker(conn, ["job"], ["mail"]).fall_asleep()
    assert heard(listener, lambda: put(conn, queue="q")) == []
    assert heard(listener, lambda: put(conn, queue="mail")) == ["wake mail"]


def test_what_becomes_due_in_another_way_wakes_too(
    conn: psycopg.Connection, listener: psycopg.Connection, worker: Worker
) -> None:
    failed, waiting, held = put(conn), put(conn, delay="1 h"), put(conn, key="k", delay="1 h")
    worker.end(*worker.claim(), to="failed", error="x")
    conn.execute("select howdah.pause('default')")
    worker.fall_asleep()
    for act in (
        lambda: conn.execute("update howdah.task set error = null where id = %s", [failed]),
        lambda: ask(conn, "select howdah.retry(%s)", [waiting]),
        lambda: put(conn, key="k", on_conflict="replace"),
        lambda: conn.execute("select howdah.resume('default')"),
    ):
        assert heard(listener, act) == ["wake default"]
    assert held


def test_cancel_and_stop_are_always_told(
    conn: psycopg.Connection, listener: psycopg.Connection, worker: Worker
) -> None:
    running = put(conn)
    worker.claim()
    assert heard(listener, lambda: ask(conn, "select howdah.cancel(%s)", [running])) == [f"beat {worker.id}"]
    assert heard(listener, lambda: ask(conn, "select howdah.stop_workers(%s)", [worker.id])) == [f"stop {worker.id}"]
    assert heard(listener, lambda: ask(conn, "select howdah.stop_workers()")) == ["stop"]
    ask(conn, "select howdah.leave(%s)", [worker.id])
    assert heard(listener, lambda: ask(conn, "select howdah.stop_workers()")) == []
