"""Plain INSERT and UPDATE … SET error = NULL are supported APIs, and the table refuses what cannot be."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import psycopg
import pytest
from psycopg.sql import SQL, Identifier, Placeholder

from sql.protocol import Worker, ask, count, declare, put, refused, task


def insert(conn: psycopg.Connection, **columns: object) -> int:
    names, values = map(SQL(", ").join, zip(*((Identifier(name), Placeholder(name)) for name in columns), strict=True))
    row = conn.execute(SQL("insert into howdah.task ({}) values ({}) returning id").format(names, values), columns)
    return row.fetchone()[0]  # pyright: ignore[reportOptionalSubscript]


# ── INSERT ──


def test_a_plain_insert_gets_the_defaults_of_its_kind(conn: psycopg.Connection) -> None:
    declare(conn, {"name": "mail", "queue": "post", "priority": 5, "delay": "1 hour"})
    new = insert(conn, kind="mail", payload='{"user_id": 42}')
    assert task(conn, new, "status", "queue", "priority", "payload") == ("queued", "post", 5, {"user_id": 42})
    wait = ask(conn, "select run_at - created_at from howdah.task where id = %s", [new])
    assert abs(wait - timedelta(hours=1)) < timedelta(seconds=1)


def test_what_an_insert_names_is_kept_and_only_the_rest_comes_from_the_kind(conn: psycopg.Connection) -> None:
    declare(conn, {"name": "mail", "queue": "post", "priority": 5})
    at = datetime(2040, 1, 1, tzinfo=UTC)
    assert task(conn, insert(conn, kind="mail", run_at=at), "run_at", "queue", "priority") == (at, "post", 5)
    assert task(conn, insert(conn, kind="mail", queue="q"), "queue", "priority") == ("q", 5)
    assert task(conn, insert(conn, kind="mail", priority=0), "queue", "priority") == ("post", 0)


def test_an_insert_of_an_unknown_kind_names_the_known_ones(conn: psycopg.Connection, worker: Worker) -> None:
    with refused("HW001", "no handler for kind 'welcom'; known kinds: job", "SELECT howdah.declare"):
        insert(conn, kind="welcom")
    assert count(conn) == 0


def test_of_many_kinds_the_error_names_twenty(conn: psycopg.Connection) -> None:
    conn.execute("insert into howdah.kind (name) select format('k%s', n) from generate_series(10, 30) n")
    with refused("HW001", "k28, k29, …", "Start a worker"):
        insert(conn, kind="job")


def test_with_no_kind_known_the_error_says_so(conn: psycopg.Connection) -> None:
    with refused("HW001", "known kinds: none yet", "Start a worker"):
        insert(conn, kind="job")


def test_a_complete_row_asks_no_kind_because_whoever_writes_it_knows(conn: psycopg.Connection) -> None:
    at = datetime(2040, 1, 1, tzinfo=UTC)
    new = insert(conn, kind="elsewhere", queue="q", priority=1, run_at=at, payload="{}", key="k", step="two")
    assert task(conn, new, "kind", "queue", "priority", "run_at", "key", "step") == (
        "elsewhere",
        "q",
        1,
        at,
        "k",
        "two",
    )


def test_an_id_cannot_be_chosen(conn: psycopg.Connection, worker: Worker) -> None:
    with pytest.raises(psycopg.errors.GeneratedAlways):
        insert(conn, id=7, kind="job")


OWNED = {"worker": uuid4(), "claim_seq": 1}
IMPOSSIBLE = {
    "status_is_known": [{"status": "done"}],
    "queued_has_a_time": [{"run_at": "infinity"}, {"run_at": "-infinity"}],
    "running_has_one_owner": [
        {"status": "running"},
        {"status": "running", "worker": uuid4()},
        {"status": "running", "claim_seq": 1},
        OWNED,
        {"status": "failed", "error": "x"} | OWNED,
    ],
    "failed_has_an_error": [{"status": "failed"}, {"error": "x"}, {"status": "running", "error": "x"} | OWNED],
    "only_running_waits_for_cancel": [{"cancel_at": "2040-01-01"}, {"status": "suspended", "cancel_at": "2040-01-01"}],
    "task_kind_check": [{"kind": "", "run_at": "2040-01-01"}, {"kind": "x" * 201, "run_at": "2040-01-01"}],
    "task_queue_check": [{"queue": ""}, {"queue": "x" * 201}],
    "task_key_check": [{"key": ""}, {"key": "x" * 501}],
    "deadline_has_a_policy": [
        {"late": "drop"},
        {"start_before": "2040-01-01"},
        {"finish_before": "2040-01-01", "late": "never"},
    ],
    "task_attempt_check": [{"attempt": -1}],
    "task_lost_check": [{"lost": -1}],
}


@pytest.mark.parametrize("constraint", IMPOSSIBLE)
def test_the_table_refuses_rows_that_cannot_be(conn: psycopg.Connection, worker: Worker, constraint: str) -> None:
    for wrong in IMPOSSIBLE[constraint]:
        complete = {"kind": "job", "queue": "q", "priority": 0, "run_at": "2040-01-01"} | wrong
        with pytest.raises(psycopg.errors.CheckViolation) as caught:
            insert(conn, **complete)
        assert caught.value.diag.constraint_name == constraint, wrong
    assert count(conn) == 0


def test_every_check_of_the_task_table_is_tried_above(conn: psycopg.Connection) -> None:
    query = "select conname from pg_constraint where conrelid = 'howdah.task'::regclass and contype = 'c'"
    assert [row[0] for row in conn.execute(query)] == ["task_is_sound"]
    body = ask(conn, "select prosrc from pg_proc where oid = 'howdah.examine_task'::regproc")
    assert set(re.findall("broken := '([a-z_]+)'", body)) == set(IMPOSSIBLE)


def test_what_is_wrong_with_a_row_is_said_with_what_to_do(conn: psycopg.Connection, worker: Worker) -> None:
    new = insert(conn, kind="job")
    with pytest.raises(
        psycopg.errors.CheckViolation, match="status must be queued, running, suspended or failed, not 'done'"
    ) as caught:
        conn.execute("update howdah.task set status = 'done' where id = %s", [new])
    assert (
        caught.value.diag.message_hint
        == "A task ends with howdah.cancel(id), and goes on with UPDATE … SET error = NULL"
    )


@pytest.mark.parametrize(
    "right",
    [
        {},
        {"kind": "x" * 200, "queue": "y" * 200, "key": "z" * 500},
        {"status": "running"} | OWNED,
        {"status": "running", "cancel_at": "2040-01-01"} | OWNED,
        {"status": "suspended", "run_at": "infinity"},
        {"status": "failed", "error": "x"},
        {"finish_before": "2040-01-01", "late": "park"},
    ],
    ids=["plain", "long", "running", "cancelled", "suspended", "failed", "deadline"],
)
def test_the_table_takes_rows_that_can_be(conn: psycopg.Connection, worker: Worker, right: dict[str, object]) -> None:
    insert(conn, **({"kind": "job", "queue": "q", "priority": 0, "run_at": "2040-01-01"} | right))
    assert count(conn) == 1


def test_two_live_tasks_cannot_have_one_key(conn: psycopg.Connection, worker: Worker) -> None:
    insert(conn, kind="job", key="k")
    with pytest.raises(psycopg.errors.UniqueViolation):
        insert(conn, kind="job", key="k")


# ── UPDATE … SET error = NULL ──


def park(worker: Worker, *kinds: str, error: str = "no route") -> list[int]:
    """Failed tasks of these kinds, at step `two`, after one attempt."""
    ids = [put(worker.conn, kind, payload='{"n": 1}') for kind in kinds]
    claimed = worker.claim(room=len(ids))
    worker.end(*claimed, to="failed", step="two", error=error, event="failure")
    return ids


def test_clearing_the_error_resumes_at_the_same_step_with_fresh_attempts(
    conn: psycopg.Connection, worker: Worker
) -> None:
    (parked,) = park(worker, "job")
    assert task(conn, parked, "status", "error", "attempt", "step") == ("failed", "no route", 1, "two")
    conn.execute("update howdah.task set error = null where id = %s", [parked])
    columns = ("status", "error", "last_error", "attempt", "lost", "step", "payload")
    assert task(conn, parked, *columns) == ("queued", None, "no route", 0, 0, "two", {"n": 1})
    resume = conn.execute("select type, message, actor from howdah.history(%s) where type = 'resume'", [parked])
    assert resume.fetchall() == [("resume", "no route", conn.info.user)]
    (again,) = worker.claim()
    assert (again.attempt, again.last_error) == (1, "no route")


def test_setting_the_status_with_it_resumes_just_the_same(conn: psycopg.Connection, worker: Worker) -> None:
    (parked,) = park(worker, "job")
    conn.execute("update howdah.task set status = 'queued', error = null where id = %s", [parked])
    assert task(conn, parked, "status", "attempt", "last_error") == ("queued", 0, "no route")


def test_a_changed_payload_and_a_later_time_go_with_it(conn: psycopg.Connection, worker: Worker) -> None:
    (parked,) = park(worker, "job")
    conn.execute(
        "update howdah.task set error = null, payload = payload || '{\"n\": 2}', run_at = '2040-01-01+00' where id = %s",
        [parked],
    )
    at = datetime(2040, 1, 1, tzinfo=UTC)
    assert task(conn, parked, "status", "payload", "run_at") == ("queued", {"n": 2}, at)


def test_many_are_resumed_by_their_kind_and_others_are_left_alone(conn: psycopg.Connection, worker: Worker) -> None:
    declare(conn, {"name": "other"})
    worker.kinds.append("other")
    parked = park(worker, "job", "other", "job", "job")
    changed = conn.execute("update howdah.task set error = null where kind = 'job' and status = 'failed'").rowcount
    assert changed == 3
    assert {id: task(conn, id, "status") for id in parked} == dict(
        zip(parked, ("queued", "failed", "queued", "queued"), strict=True)
    )
    assert [claimed.id for claimed in worker.claim()] == [parked[0], parked[2], parked[3]]


def test_clearing_no_error_changes_nothing(conn: psycopg.Connection, worker: Worker) -> None:
    waiting, running = put(conn, delay="1 h"), put(conn)
    worker.claim()
    before = conn.execute("select * from howdah.task order by id").fetchall()
    conn.execute("update howdah.task set error = null where id = any(%s)", [[waiting, running]])
    assert conn.execute("select * from howdah.task order by id").fetchall() == before


def test_another_error_keeps_it_parked(conn: psycopg.Connection, worker: Worker) -> None:
    (parked,) = park(worker, "job")
    conn.execute("update howdah.task set error = 'see ticket 7' where id = %s", [parked])
    assert task(conn, parked, "status", "error") == ("failed", "see ticket 7")
