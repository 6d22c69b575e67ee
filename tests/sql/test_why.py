"""Every reason why a task is not running, each from the condition itself."""

from __future__ import annotations

import re
from datetime import timedelta

import psycopg

from sql.protocol import Worker, ask, declare, put, refused


def why(conn: psycopg.Connection, task_id: int) -> tuple[str, str, str]:
    rows = conn.execute("select code, reason, advice from howdah.why(%s)", [task_id]).fetchall()
    assert len(rows) == 1
    assert all(rows[0])
    return rows[0]


def test_no_such_task(conn: psycopg.Connection) -> None:
    with refused("HW004", "there is no task 7", "It never existed"):
        why(conn, 7)


def test_ended(conn: psycopg.Connection, worker: Worker) -> None:
    done, cancelled = put(conn), put(conn, delay="1 h")
    worker.done(*worker.claim())
    conn.execute("select howdah.cancel(%s, 'not wanted')", [cancelled])
    assert why(conn, done)[0] == "ended"
    assert "succeeded at " in why(conn, done)[1]
    assert why(conn, cancelled)[1].endswith(", not wanted")


def test_failed(conn: psycopg.Connection, worker: Worker) -> None:
    failed = put(conn)
    worker.end(*worker.claim(), to="queued", error="x")
    worker.end(*worker.claim(), to="failed", error="no route")
    code, reason, advice = why(conn, failed)
    assert (code, reason) == ("failed", "It is parked after 2 attempts: no route")
    assert f"UPDATE howdah.task SET error = NULL WHERE id = {failed}" in advice


def test_running_and_cancelling(conn: psycopg.Connection, worker: Worker) -> None:
    running = put(conn)
    worker.claim()
    code, reason, _ = why(conn, running)
    assert code == "running"
    assert f"on worker {worker.id} (host, pid 7, lease until " in reason
    conn.execute("select howdah.cancel(%s)", [running])
    assert why(conn, running)[0] == "cancelling"


def test_suspended(conn: psycopg.Connection, worker: Worker) -> None:
    suspended = put(conn)
    conn.execute("update howdah.task set status = 'suspended', run_at = 'infinity'")
    assert why(conn, suspended)[:2] == ("suspended", "It waits for a message")
    conn.execute("update howdah.task set run_at = clock_timestamp() + interval '1 hour'")
    assert why(conn, suspended)[1].startswith("It waits for a message, until 2")


def test_queue_full(conn: psycopg.Connection, worker: Worker) -> None:
    conn.execute("select howdah.set_queue('default', 1)")
    first, second = put(conn), put(conn)
    assert [task.id for task in worker.claim()] == [first]
    code, reason, advice = why(conn, second)
    assert (code, reason) == ("queue full", "Queue default may run 1 at once, and 1 run")
    assert "SELECT howdah.set_queue('default', running => 2)" in advice


def test_in_line_of_a_schedule(conn: psycopg.Connection) -> None:
    declare(conn, {"name": "kind"})
    conn.execute("select howdah.schedule('often', 'kind', every => '1 s', overlap => 'queue')")
    seen = ask(conn, "update howdah.schedule set after = after - interval '10 s' returning after")
    ticks = [seen + timedelta(seconds=n) for n in (1, 2)]
    conn.execute("select * from howdah.fire('often', %s, %s, %s, null)", [seen, ticks, ticks[-1]])
    first, second = (row[0] for row in conn.execute("select id from howdah.task order by tick").fetchall())
    assert why(conn, second)[:2] == ("in line", f"It waits for task {first} of the same schedule to end")


def test_joining(conn: psycopg.Connection, worker: Worker) -> None:
    parent = put(conn)
    spawn = [
        {"id": parent + 1000 + n, "kind": "job", "queue": "default", "priority": 0, "delay": 3600} for n in range(2)
    ]
    worker.end(*worker.claim(), to="suspended", joining=True, spawn=spawn)
    code, reason, advice = why(conn, parent)
    assert (code, reason) == ("joining", "It waits for 2 of its children to end")
    assert str(parent) in advice


def test_back_off(conn: psycopg.Connection, worker: Worker) -> None:
    waiting = put(conn)
    worker.end(*worker.claim(), to="queued", delay=3600, error="no route")
    code, reason, advice = why(conn, waiting)
    assert code == "back-off"
    assert reason.endswith("after attempt 1 failed: no route")
    assert advice.endswith(f"howdah retry {waiting}")


def test_not_due(conn: psycopg.Connection, worker: Worker) -> None:
    later = put(conn, delay="1 h")
    assert why(conn, later)[0] == "not due"
    assert why(conn, later)[2].endswith(f"howdah retry {later}")


def test_resumed_for_later_is_not_due_and_has_no_attempt_to_blame(conn: psycopg.Connection, worker: Worker) -> None:
    parked = put(conn)
    worker.end(*worker.claim(), to="failed", error="no route")
    conn.execute("update howdah.task set error = null, run_at = '2040-01-01' where id = %s", [parked])
    assert why(conn, parked)[0] == "not due"


def test_queue_paused(conn: psycopg.Connection, worker: Worker) -> None:
    waiting = put(conn, queue="q")
    conn.execute("select howdah.pause('q', 'upgrade')")
    code, reason, advice = why(conn, waiting)
    assert code == "queue paused"
    assert reason.endswith(f"by {conn.info.user}: upgrade")
    assert advice == "howdah resume q"


def test_kind_disabled(conn: psycopg.Connection, worker: Worker) -> None:
    waiting = put(conn)
    conn.execute("select howdah.disable('job', 'wrong template')")
    code, reason, advice = why(conn, waiting)
    assert code == "kind disabled"
    assert reason.endswith(f"by {conn.info.user}: wrong template")
    assert advice == "howdah enable job"


def test_no_worker(conn: psycopg.Connection, worker: Worker) -> None:
    waiting = put(conn)
    ask(conn, "select howdah.leave(%s)", [worker.id])
    assert why(conn, waiting)[0] == "no worker"


def test_a_worker_that_is_late_or_stopping_is_no_worker(conn: psycopg.Connection, worker: Worker) -> None:
    waiting = put(conn)
    assert why(conn, waiting)[0] == "next"
    ask(conn, "select howdah.stop_workers()")
    assert why(conn, waiting)[0] == "no worker"
    conn.execute("update howdah.worker set stop_at = null, lease_until = clock_timestamp() - interval '1 s'")
    assert why(conn, waiting)[0] == "no worker"


def test_unknown_kind(conn: psycopg.Connection, worker: Worker) -> None:
    declare(conn, {"name": "other"})
    waiting = put(conn, "other")
    assert why(conn, waiting)[:2] == ("unknown kind", "None of the 1 live workers knows kind other")


def test_queue_not_served(conn: psycopg.Connection) -> None:
    declare(conn, {"name": "job"}, {"name": "other"})
    Worker(conn, ["job"], ["mail"])
    Worker(conn, ["other"])  # serves all queues, but does not know the kind
    waiting = put(conn, queue="q")
    assert why(conn, waiting) == (
        "queue not served",
        "No live worker that knows kind job serves queue q",
        "Start one with -q q",
    )
    assert why(conn, put(conn, queue="mail"))[0] == "next"


def test_in_line_and_next(conn: psycopg.Connection, worker: Worker) -> None:
    first = put(conn)
    second = put(conn)
    put(conn, delay="1 h", priority=9)  # not due, so not before it
    put(conn, queue="q", priority=9)  # in another line
    assert why(conn, first)[0] == "next"
    assert why(conn, second)[:2] == ("in line", "It is due; 1 due tasks of queue default are before it")
    urgent = put(conn, priority=1)
    assert why(conn, first)[0] == "in line"
    assert why(conn, second)[1].startswith("It is due; 2 ")
    assert why(conn, urgent)[0] == "next"


def test_deadline_and_late(conn: psycopg.Connection, worker: Worker) -> None:
    begins = put(conn, start_within="1 h", finish_within="2 h", late="park")
    found = conn.execute("select code, reason, advice from howdah.why(%s)", [begins]).fetchall()
    assert [row[0] for row in found] == ["deadline", "next"]
    assert found[0][1].startswith("If it has not begun by ")
    assert found[0][1].endswith("from now), it is parked")
    assert found[0][2] == f"To run it now, without a deadline: howdah retry {begins}"
    worker.end(*worker.claim(), to="suspended")
    found = conn.execute("select code, reason from howdah.why(%s)", [begins]).fetchall()
    assert [row[0] for row in found] == ["deadline", "suspended"]
    assert found[0][1].startswith("If it has not ended by ")

    late = put(conn, start_before="2020-01-01", late="drop")
    code, reason, advice = why(conn, late)
    assert code == "late"
    assert reason.startswith("It was to begin before 2020-01-01")
    assert reason.endswith(": the next worker that looks drops it")
    assert advice == f"To run it all the same: howdah retry {late}"
    conn.execute("select howdah.expire()")
    assert why(conn, late)[1].startswith("It ended: cancelled at ")
    assert "deadline passed: it was to begin before 2020-01-01" in why(conn, late)[1]
    assert why(conn, put(conn, start_before="2020-01-01", late="run"))[0] == "next"


def test_every_reason_of_the_function_has_a_test_here(conn: psycopg.Connection) -> None:
    source = ask(
        conn,
        "select string_agg(prosrc, ' ') from pg_proc where oid in ('howdah.why'::regproc, 'howdah.gates'::regproc)",
    )
    codes = set(re.findall(r"return query select '([^']+)'", source))
    assert codes == {
        "ended", "failed", "running", "cancelling", "suspended", "back-off", "not due", "queue paused", "no worker",
        "unknown kind", "queue not served", "in line", "next", "joining", "queue full", "kind disabled", "late", "deadline",
        "group closed", "group full", "rate",  # in test_groups.py
    }  # fmt: skip
