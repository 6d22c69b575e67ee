"""start_before, finish_before, late: what is late is not begun, and ends as its policy says."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from sql.protocol import Worker, ask, declare, put, task

PAST, FUTURE = "2020-01-01", "2090-01-01"


def expire(conn: psycopg.Connection) -> tuple[int, int, float | None]:
    """How many were dropped and parked, and the seconds until the next."""
    row = conn.execute("select dropped, parked, next_in from howdah.expire()").fetchone()
    assert row is not None
    return row


def pass_by(conn: psycopg.Connection, task_id: int, *columns: str) -> None:
    """Let the deadlines of a task be over."""
    for column in columns or ("start_before", "finish_before"):
        conn.execute(f"update howdah.task set {column} = %s where id = %s and {column} is not null", [PAST, task_id])


def history(conn: psycopg.Connection, task_id: int) -> list[tuple[str, str | None]]:
    return conn.execute("select type, message from howdah.history(%s)", [task_id]).fetchall()


# ── the chore ──


@pytest.mark.parametrize(("column", "verb"), [("start_before", "begin"), ("finish_before", "end")])
def test_a_late_task_is_dropped(conn: psycopg.Connection, worker: Worker, column: str, verb: str) -> None:
    late = put(conn, **{column: PAST, "late": "drop"})
    in_time = put(conn, **{column: FUTURE, "late": "drop"})
    assert expire(conn)[:2] == (1, 0)
    status, reason = task(conn, late, "status", "reason")
    assert status == "cancelled"
    assert reason.startswith(f"deadline passed: it was to {verb} before 2020-01-01")
    assert history(conn, late) == [("late", reason.removeprefix("deadline passed: "))]
    assert task(conn, in_time, "status") == "queued"
    assert expire(conn)[:2] == (0, 0)


@pytest.mark.parametrize(("column", "verb"), [("start_before", "begin"), ("finish_before", "end")])
def test_a_late_task_is_parked(conn: psycopg.Connection, worker: Worker, column: str, verb: str) -> None:
    late = put(conn, **{column: PAST, "late": "park"})
    assert expire(conn)[:2] == (0, 1)
    status, error, attempt = task(conn, late, "status", "error", "attempt")
    assert (status, attempt) == ("failed", 0)
    assert error.startswith(f"DeadlinePassed: it was to {verb} before 2020-01-01")
    assert history(conn, late)[0][0] == "late"


def test_a_late_task_that_is_to_run_all_the_same_is_left_alone(conn: psycopg.Connection, worker: Worker) -> None:
    late = put(conn, start_before=PAST, finish_before=PAST, late="run")
    assert expire(conn) == (0, 0, None)
    assert [claimed.id for claimed in worker.claim()] == [late]


def test_the_beginning_counts_until_the_first_attempt_and_the_end_always(
    conn: psycopg.Connection, worker: Worker
) -> None:
    begun, ends = put(conn, start_before=FUTURE, late="drop"), put(conn, finish_before=FUTURE, late="drop")
    worker.end(*worker.claim(), to="queued", delay=3600, error="no")
    pass_by(conn, begun)
    pass_by(conn, ends)
    assert expire(conn)[:2] == (1, 0)
    assert (task(conn, begun, "status"), task(conn, ends, "status")) == ("queued", "cancelled")
    assert task(conn, ends, "reason").endswith("; its last attempt failed: no")


def test_what_is_late_is_not_claimed(conn: psycopg.Connection, worker: Worker) -> None:
    for late in ("drop", "park"):
        put(conn, start_before=PAST, late=late)
        put(conn, finish_before=PAST, late=late)
        put(conn, start_before=FUTURE, finish_before=PAST, late=late)
    begun = put(conn, start_before=FUTURE, late="drop", priority=9)
    worker.end(*worker.claim(1), to="queued")
    pass_by(conn, begun)
    wanted = [
        begun,
        put(conn, start_before=PAST, finish_before=PAST, late="run"),
        put(conn, start_before=FUTURE, finish_before=FUTURE, late="park"),
        put(conn),
    ]
    assert [claimed.id for claimed in worker.claim()] == wanted


def test_the_claim_says_how_much_time_is_left(conn: psycopg.Connection, worker: Worker) -> None:
    put(conn, finish_within="1 h", late="park")
    (claimed,) = worker.claim()
    assert claimed.late == "park"
    assert claimed.time_left is not None
    assert 3500 < claimed.time_left <= 3600


def test_the_next_deadline_is_known(conn: psycopg.Connection, worker: Worker) -> None:
    assert expire(conn)[2] is None
    put(conn, finish_within="2 h", late="drop")
    put(conn, start_within="1 h", finish_within="3 h", late="park")
    put(conn, start_within="1 min", late="run")
    next_in = expire(conn)[2]
    assert next_in is not None
    assert 3500 < next_in <= 3600


def test_at_most_so_many_the_longest_overdue_first(conn: psycopg.Connection, worker: Worker) -> None:
    newer, older = put(conn, start_before=PAST, late="drop"), put(conn, start_before="2019-01-01", late="drop")
    assert ask(conn, "select dropped from howdah.expire(1)") == 1
    assert (task(conn, newer, "status"), task(conn, older, "status")) == ("queued", "cancelled")


def test_a_kind_says_within_what_time(conn: psycopg.Connection, worker: Worker) -> None:
    declare(conn, {"name": "job", "start_within": "1 h", "finish_within": "2 h", "late": "park"})
    for task_id in (put(conn), ask(conn, "insert into howdah.task (kind) values ('job') returning id")):
        row = conn.execute(
            "select start_before - created_at > '59 min', finish_before - start_before, late from howdah.task where id = %s",
            [task_id],
        ).fetchone()
        assert row is not None
        assert (row[0], round(row[1].total_seconds()), row[2]) == (True, 3600, "park")


def test_what_somebody_holds_is_passed_over_until_the_next_look(
    conn: psycopg.Connection, worker: Worker, connect: Callable[[], psycopg.Connection]
) -> None:
    late, other = put(conn, start_before=PAST, late="drop"), put(conn, start_before=PAST, late="drop")
    holder = connect()
    with holder.transaction():
        holder.execute("select from howdah.task where id = %s for update", [late])
        assert expire(conn)[:2] == (1, 0)
        assert (task(conn, late, "status"), task(conn, other, "status")) == ("queued", "cancelled")
    assert expire(conn)[:2] == (1, 0)


def test_one_that_begins_meanwhile_is_not_ended(
    conn: psycopg.Connection, worker: Worker, connect: Callable[[], psycopg.Connection]
) -> None:
    begins = put(conn, start_within="1 h", late="drop")
    epoch = task(conn, begins, "epoch")
    (claimed,) = worker.claim()
    assert ask(conn, "select howdah.end_late(%s, %s)", [begins, epoch]) is None
    assert worker.done(claimed) == [begins]


def test_two_that_expire_at_once_end_each_task_once(
    conn: psycopg.Connection, worker: Worker, connect: Callable[[], psycopg.Connection]
) -> None:
    for _ in range(10):
        put(conn, start_before=PAST, late="drop")
    first = connect()
    with first.transaction():
        assert expire(first)[0] == 10
        assert expire(conn)[:2] == (0, 0)
    assert expire(conn)[:2] == (0, 0)
    assert ask(conn, "select count(*) from howdah.archive") == 10


# ── families ──


def family(conn: psycopg.Connection, worker: Worker, child: dict[str, Any], **parent: Any) -> tuple[int, int]:
    """A parent that waits for a child with these options."""
    parent_id = put(conn, **parent)
    (claimed,) = worker.claim()
    child_id = ask(conn, "select howdah.reserve_ids(1)")[0]
    row = {"id": child_id, "kind": "job"} | child
    worker.end(claimed, to="suspended", joining=True, spawn=[row])
    return parent_id, child_id


@pytest.mark.parametrize(("late", "status"), [("drop", "cancelled"), ("park", "failed")])
def test_the_parent_is_told(conn: psycopg.Connection, worker: Worker, late: str, status: str) -> None:
    parent, child = family(conn, worker, {"start_before": PAST, "late": late})
    expire(conn)
    assert task(conn, child, "status") == status
    assert task(conn, parent, "status", "children") == ("queued", 0)
    told = ask(conn, "select body from howdah.message where task_id = %s", [parent])
    assert told["status"] == status
    assert "it was to begin before" in told["error"]


def test_a_parent_that_somebody_holds_is_waited_for(
    conn: psycopg.Connection, worker: Worker, connect: Callable[[], psycopg.Connection]
) -> None:
    parent, child = family(conn, worker, {"start_before": PAST, "late": "drop"})
    holder = connect()
    with holder.transaction():
        holder.execute("select from howdah.task where id = %s for update", [parent])
        assert expire(conn)[:2] == (0, 0)
    assert expire(conn)[:2] == (1, 0)
    assert task(conn, child, "status") == "cancelled"


def test_what_a_dropped_task_spawned_goes_with_it_and_of_a_parked_one_it_stays(
    conn: psycopg.Connection, worker: Worker
) -> None:
    parent, child = family(conn, worker, {"delay": 3600}, finish_before=FUTURE, late="drop")
    pass_by(conn, parent)
    assert expire(conn)[:2] == (1, 0)
    assert task(conn, child, "status", "reason") == ("cancelled", f"its parent, task {parent}, was cancelled")

    parent, child = family(conn, worker, {"delay": 3600}, finish_before=FUTURE, late="park")
    pass_by(conn, parent)
    assert expire(conn)[:2] == (0, 1)
    assert (task(conn, parent, "status"), task(conn, child, "status")) == ("failed", "queued")


def test_a_child_that_somebody_holds_is_waited_for(
    conn: psycopg.Connection, worker: Worker, connect: Callable[[], psycopg.Connection]
) -> None:
    parent, child = family(conn, worker, {"delay": 3600}, finish_before=FUTURE, late="drop")
    pass_by(conn, parent)
    holder = connect()
    with holder.transaction():
        holder.execute("select from howdah.task where id = %s for update", [child])
        assert expire(conn)[:2] == (0, 0)
    assert expire(conn)[:2] == (1, 0)


def test_the_inbox_of_a_dropped_task_is_emptied(conn: psycopg.Connection, worker: Worker) -> None:
    declare(conn, {"name": "job", "inbox": {}})
    late = put(conn, finish_before=FUTURE, late="drop")
    (claimed,) = worker.claim()
    worker.end(claimed, to="suspended")
    conn.execute("select howdah.send(%s, '1')", [late])
    pass_by(conn, late)
    assert expire(conn)[:2] == (1, 0)
    assert ask(conn, "select count(*) from howdah.message where task_id = %s", [late]) == 0
    assert [kind for kind, _ in history(conn, late)] == ["late", "unread"]


# ── the worker's own ends, and rescue ──


def test_a_worker_drops_what_is_late_with_what_it_spawned(conn: psycopg.Connection, worker: Worker) -> None:
    parent, child = family(conn, worker, {"delay": 3600}, finish_before=FUTURE, late="drop")
    conn.execute("select howdah.retry(%s)", [child])
    conn.execute("update howdah.task set status = 'queued', run_at = now(), priority = 9 where id = %s", [parent])
    (claimed,) = worker.claim(1)
    assert claimed.id == parent
    assert worker.end(claimed, to="cancelled", event="late", reason="deadline passed: it still ran") == [parent]
    assert task(conn, parent, "status", "reason") == ("cancelled", "deadline passed: it still ran")
    assert history(conn, parent)[-1] == ("late", "deadline passed: it still ran")
    assert task(conn, child, "status") == "cancelled"


@pytest.mark.parametrize(("late", "status"), [("drop", "cancelled"), ("park", "failed"), ("run", "running")])
def test_rescue_ends_what_runs_a_lease_past_its_deadline(
    conn: psycopg.Connection, worker: Worker, late: str, status: str
) -> None:
    runs = put(conn, finish_before=FUTURE, late=late)
    (claimed,) = worker.claim()
    conn.execute("update howdah.task set finish_before = howdah.now() - interval '20 s'")  # the lease is 30 s
    assert ask(conn, "select overdue from howdah.rescue()") == 0
    conn.execute("update howdah.task set finish_before = howdah.now() - interval '40 s'")
    assert ask(conn, "select overdue from howdah.rescue()") == (late != "run")
    assert task(conn, runs, "status") == status
    assert worker.done(claimed) == ([runs] if late == "run" else [])


def test_rescue_ends_one_that_was_asked_to_cancel_as_cancelled(conn: psycopg.Connection, worker: Worker) -> None:
    runs = put(conn, finish_before=FUTURE, late="park")
    worker.claim()
    conn.execute("select howdah.cancel(%s, 'not wanted')", [runs])
    pass_by(conn, runs)
    assert ask(conn, "select overdue from howdah.rescue()") == 1
    assert task(conn, runs, "status", "reason") == ("cancelled", "not wanted")


# ── operators ──


@pytest.mark.parametrize("how", ["retry", "update"])
def test_resumed_it_has_no_deadline(conn: psycopg.Connection, worker: Worker, how: str) -> None:
    late = put(conn, start_before=PAST, finish_before=PAST, late="park")
    expire(conn)
    if how == "retry":
        assert ask(conn, "select howdah.retry(%s)", [late]) == "resumed"
    else:
        conn.execute("update howdah.task set error = null where id = %s", [late])
    assert task(conn, late, "status", "start_before", "finish_before", "late") == ("queued", None, None, None)
    assert [claimed.id for claimed in worker.claim()] == [late]


def test_resumed_with_another_deadline_it_has_that_one(conn: psycopg.Connection, worker: Worker) -> None:
    late = put(conn, start_before=PAST, finish_before=PAST, late="park")
    expire(conn)
    conn.execute("update howdah.task set error = null, finish_before = %s where id = %s", [FUTURE, late])
    start, end, policy = task(conn, late, "start_before", "finish_before", "late")
    assert (start, end.year, policy) == (None, 2090, "park")


def test_made_due_it_has_no_deadline(conn: psycopg.Connection, worker: Worker) -> None:
    late = put(conn, start_before=PAST, late="drop")
    assert ask(conn, "select howdah.retry(%s)", [late]) == "due now"
    assert expire(conn)[:2] == (0, 0)
    assert [claimed.id for claimed in worker.claim()] == [late]


def test_a_replaced_task_has_the_deadline_of_the_new_one(conn: psycopg.Connection, worker: Worker) -> None:
    first = put(conn, key="k", start_before=PAST, late="drop")
    assert put(conn, key="k", on_conflict="replace") == first
    assert task(conn, first, "start_before", "late") == (None, None)


# ── plans ──


def test_without_deadlines_the_look_reads_next_to_nothing(own_conn: psycopg.Connection) -> None:
    conn = own_conn
    declare(conn, {"name": "job"})
    conn.execute(
        "insert into howdah.task (kind, queue, priority, run_at, payload)"
        " select 'job', 'default', 0, now(), '{}' from generate_series(1, 20000)"
    )
    assert expire(conn) == (0, 0, None)
    plan = ask(conn, "explain (analyze, buffers, format json) select * from howdah.expire()")[0]["Plan"]
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 100


def test_both_looks_use_the_index(conn: psycopg.Connection, worker: Worker) -> None:
    end = "(case when epoch = 0 then least(start_before, finish_before) else finish_before end)"
    with conn.transaction():
        conn.execute("set local enable_seqscan = off")
        (plan,) = (
            conn.execute(
                f"explain (format json) select id from howdah.task where late in ('drop', 'park')"
                f" and status in ('queued', 'suspended') and {end} <= now() order by {end} limit 5".encode()
            ).fetchone()
            or ()
        )
    assert "task_deadline" in json.dumps(plan)
