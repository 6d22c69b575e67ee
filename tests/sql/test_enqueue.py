"""Putting tasks in their queue, and what is refused before anything is written."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from sql.protocol import Worker, ask, count, declare, put, refused, task

MAIL = {"name": "mail", "queue": "post", "priority": 5, "delay": "1 hour"}


@pytest.fixture(autouse=True)
def kinds(conn: psycopg.Connection) -> None:
    declare(conn, {"name": "job"}, MAIL)


def wait(conn: psycopg.Connection, task_id: int) -> timedelta:
    """From the enqueue to the time it is due."""
    return ask(conn, "select run_at - created_at from howdah.task where id = %s", [task_id])


def test_a_kind_alone_is_enough(conn: psycopg.Connection) -> None:
    new = put(conn)
    assert task(conn, new, "kind", "queue", "status", "priority", "step", "payload", "key", "attempt", "lost") == (
        "job", "default", "queued", 0, None, {}, None, 0, 0,
    )  # fmt: skip
    assert abs(wait(conn, new)) < timedelta(seconds=1)


def test_what_is_not_given_comes_from_the_kind(conn: psycopg.Connection) -> None:
    new = put(conn, "mail")
    assert task(conn, new, "queue", "priority") == ("post", 5)
    assert abs(wait(conn, new) - timedelta(hours=1)) < timedelta(seconds=1)


def test_what_is_given_wins_over_the_kind(conn: psycopg.Connection) -> None:
    new = put(conn, "mail", payload='{"n": 1}', queue="fast", priority=-3, delay="2 min", key="k")
    assert task(conn, new, "queue", "priority", "payload", "key") == ("fast", -3, {"n": 1}, "k")
    assert abs(wait(conn, new) - timedelta(minutes=2)) < timedelta(seconds=1)


def test_a_time_wins_over_the_delay_of_the_kind(conn: psycopg.Connection) -> None:
    at = datetime(2040, 2, 29, 12, 30, tzinfo=UTC)
    assert task(conn, put(conn, "mail", run_at=at), "run_at") == at


def test_a_task_is_written_by_the_transaction_that_enqueues_it(conn: psycopg.Connection) -> None:
    with conn.transaction(force_rollback=True):
        put(conn)
    with conn.transaction():
        kept = put(conn)
        with conn.transaction(force_rollback=True):
            put(conn)
    assert conn.execute("select id from howdah.task").fetchall() == [(kept,)]


LONG = "x" * 201
OBJECT = "payload must be a JSON object of the arguments by name, not "


@pytest.mark.parametrize(
    ("kind", "options", "sqlstate", "words", "hint"),
    [
        ("nobody", {}, "HW001", "no handler for kind 'nobody'; known kinds: job, mail", "SELECT howdah.declare"),
        (None, {}, "HW001", "no handler for kind NULL", "Start a worker"),
        ("job", {"delay": "-1 s"}, "HW002", "delay must not be negative: -00:00:01", "Leave it out"),
        ("job", {"delay": "1 s", "run_at": "2040-01-01"}, "HW002", "delay and run_at were both given", "Give one"),
        ("job", {"run_at": "infinity"}, "HW002", "run_at must be a point in time, not infinity", "Leave it out"),
        ("job", {"run_at": "-infinity"}, "HW002", "run_at must be a point in time, not -infinity", "Leave it out"),
        ("job", {"on_conflict": "ignore"}, "HW002", "return, raise, skip, replace or merge, not 'ignore'", "Leave it out"),
        ("job", {"queue": ""}, "HW002", "queue must be a name of 1 to 200 characters", "queue of the kind"),
        ("job", {"queue": LONG}, "HW002", "queue must be a name of 1 to 200 characters", "queue of the kind"),
        ("job", {"key": ""}, "HW002", "key must be 1 to 500 characters", "without a key"),
        ("job", {"key": "x" * 501}, "HW002", "key must be 1 to 500 characters", "without a key"),
        ("job", {"payload": "[1]"}, "HW003", OBJECT + "array", '{"user_id": 42}'),
        ("job", {"payload": "null"}, "HW003", OBJECT + "null", '{"user_id": 42}'),
        ("job", {"payload": None}, "HW003", OBJECT + "NULL", '{"user_id": 42}'),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused_with_a_hint_and_writes_nothing(
    conn: psycopg.Connection, kind: str | None, options: dict[str, Any], sqlstate: str, words: str, hint: str
) -> None:
    with refused(sqlstate, words, hint):
        put(conn, kind, **options)  # pyright: ignore[reportArgumentType]
    assert count(conn) == 0


def test_put_checks_as_much_as_enqueue_because_any_program_may_call_it(conn: psycopg.Connection) -> None:
    for kind, queue, words in (("", "q", "kind"), (LONG, "q", "kind"), (None, "q", "kind"), ("new", None, "queue")):
        with refused("HW002", f"{words} must be a name", " "):
            ask(conn, "select howdah.put(%s, '{}', %s, 0, null, null, null, 'return')", [kind, queue])
    assert count(conn) == 0
    new = ask(conn, "select howdah.put('undeclared', '{}', 'q', 1, '5 s', null, null, 'return')")
    assert task(conn, new, "kind", "queue", "priority") == ("undeclared", "q", 1)
    assert abs(wait(conn, new) - timedelta(seconds=5)) < timedelta(seconds=1)


# ── a key that is held ──


def test_a_held_key_returns_skips_or_raises_and_writes_nothing(conn: psycopg.Connection) -> None:
    holder = put(conn, key="k", payload='{"n": 1}')
    assert put(conn, key="k", payload='{"n": 2}') == holder
    assert put(conn, "mail", key="k") == holder
    assert put(conn, key="k", on_conflict="skip") is None
    with pytest.raises(psycopg.Error) as caught, conn.transaction():
        put(conn, key="k", on_conflict="raise")
    assert (caught.value.sqlstate, caught.value.diag.message_detail) == ("HW006", str(holder))
    assert caught.value.diag.message_primary == f"key 'k' is held by task {holder} (job, queued)"
    assert count(conn) == 1
    assert task(conn, holder, "payload") == {"n": 1}


def test_replace_takes_the_new_payload_time_queue_and_priority(conn: psycopg.Connection) -> None:
    holder = put(conn, key="k", payload='{"n": 1}', delay="1 h")
    assert put(conn, key="k", payload='{"n": 2}', queue="q", priority=4, on_conflict="replace") == holder
    assert task(conn, holder, "payload", "queue", "priority", "status") == ({"n": 2}, "q", 4, "queued")
    assert ask(conn, "select run_at <= clock_timestamp() from howdah.task where id = %s", [holder])
    assert count(conn) == 1


def test_replace_of_a_failed_task_resumes_it_with_the_new_payload_as_new_work(
    conn: psycopg.Connection, worker: Worker
) -> None:
    holder = put(conn, key="k", payload='{"n": 1}')
    (claimed,) = worker.claim()
    worker.end(claimed, to="failed", error="n is wrong")
    assert put(conn, key="k", payload='{"n": 2}', on_conflict="replace") == holder
    (again,) = worker.claim()
    assert (again.id, again.payload, again.attempt, again.last_error) == (holder, {"n": 2}, 1, None)
    # (id, step_no) is the idempotency key: what the old payload did must not pass for the new one's work.
    assert again.step_no == claimed.step_no + 1
    assert again.epoch > claimed.epoch


def test_replace_refuses_a_running_task_and_one_of_another_kind(conn: psycopg.Connection, worker: Worker) -> None:
    holder = put(conn, key="k")
    with refused("HW006", f"key 'k' is held by task {holder} (job, queued)", "same kind only"):
        put(conn, "mail", key="k", on_conflict="replace")
    worker.claim()
    with refused("HW006", f"key 'k' is held by task {holder} (job, running)", "try again when it has ended"):
        put(conn, key="k", on_conflict="replace")


def test_a_key_is_free_again_when_its_task_has_ended(conn: psycopg.Connection, worker: Worker) -> None:
    first = put(conn, key="k")
    worker.done(*worker.claim())
    second = put(conn, key="k", on_conflict="raise")
    assert second != first
    conn.execute("select howdah.cancel(%s)", [second])
    assert put(conn, key="k", on_conflict="raise") not in (first, second)


# ── many ──


def many(conn: psycopg.Connection, kind: str, payloads: Any, **options: Any) -> list[int]:
    arguments = "".join(f", {name} => %s" for name in options)
    query = f"select howdah.enqueue_many(%s, %s{arguments})"
    text = payloads if isinstance(payloads, str | None) else json.dumps(payloads)
    return [row[0] for row in conn.execute(query.encode(), [kind, text, *options.values()])]


def test_many_are_written_in_order_with_the_defaults_of_the_kind(conn: psycopg.Connection) -> None:
    ids = many(conn, "mail", [{"n": n} for n in range(500)])
    rows = conn.execute("select id, payload -> 'n', queue, priority from howdah.task order by id").fetchall()
    assert rows == [(new, n, "post", 5) for n, new in enumerate(ids)]
    assert abs(wait(conn, ids[0]) - timedelta(hours=1)) < timedelta(seconds=1)
    assert many(conn, "job", []) == []


def test_many_take_the_same_options_as_one(conn: psycopg.Connection) -> None:
    (new,) = many(conn, "mail", [{}], queue="q", priority=1, delay="1 min")
    assert task(conn, new, "queue", "priority") == ("q", 1)
    assert abs(wait(conn, new) - timedelta(minutes=1)) < timedelta(seconds=1)
    at = datetime(2040, 1, 1, tzinfo=UTC)
    assert task(conn, many(conn, "mail", [{}], run_at=at)[0], "run_at") == at


@pytest.mark.parametrize(
    ("kind", "payloads", "options", "sqlstate", "words"),
    [
        ("nobody", "[]", {}, "HW001", "no handler for kind 'nobody'"),
        ("job", "{}", {}, "HW003", "payloads must be a JSON array of objects"),
        ("job", "7", {}, "HW003", "payloads must be a JSON array of objects"),
        ("job", None, {}, "HW003", "payloads must be a JSON array of objects"),
        ("job", "[{}, 1]", {}, "HW003", "payloads must be a JSON array of objects"),
        ("job", "[{}, null]", {}, "HW003", "payloads must be a JSON array of objects"),
        ("job", "[{}]", {"queue": ""}, "HW002", "queue must be a name of 1 to 200 characters"),
        ("job", "[{}]", {"delay": "-1 s"}, "HW002", "delay must not be negative"),
        ("job", "[{}]", {"delay": "1 s", "run_at": "2040-01-01"}, "HW002", "delay and run_at were both given"),
        ("job", "[{}]", {"run_at": "infinity"}, "HW002", "run_at must be a point in time"),
    ],
)
def test_many_are_refused_together(
    conn: psycopg.Connection, kind: str, payloads: str | None, options: dict[str, Any], sqlstate: str, words: str
) -> None:
    with refused(sqlstate, words, " "):
        many(conn, kind, payloads, **options)
    assert count(conn) == 0
