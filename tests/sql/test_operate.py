"""What operators do to tasks, queues and workers, and what they can ask."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest

from sql.protocol import Worker, ask, declare, put, refused, task

NOT_THERE = "It never existed"


# ── cancel ──


def cancel(conn: psycopg.Connection, task_id: int, reason: str | None = None) -> str:
    return ask(conn, "select howdah.cancel(%s, %s)", [task_id, reason])


def test_a_waiting_task_is_cancelled_at_once(conn: psycopg.Connection, worker: Worker) -> None:
    waiting = put(conn, payload='{"n": 1}', key="k")
    assert cancel(conn, waiting, "not wanted") == "cancelled"
    assert task(conn, waiting, "status", "reason", "payload", "key") == ("cancelled", "not wanted", {"n": 1}, "k")
    assert worker.claim() == []
    assert conn.execute("select type, message, actor from howdah.history(%s)", [waiting]).fetchall() == [
        ("cancel", "not wanted", conn.info.user)
    ]
    assert cancel(conn, waiting) == "cancelled"


def test_a_failed_task_is_cancelled_with_its_error_kept(conn: psycopg.Connection, worker: Worker) -> None:
    failed = put(conn)
    worker.end(*worker.claim(), to="failed", error="no route")
    assert cancel(conn, failed) == "cancelled"
    assert task(conn, failed, "status", "last_error") == ("cancelled", "no route")


def test_a_suspended_task_is_cancelled_at_once(conn: psycopg.Connection, worker: Worker) -> None:
    suspended = put(conn)
    conn.execute("update howdah.task set status = 'suspended', run_at = 'infinity'")
    assert cancel(conn, suspended) == "cancelled"


def test_a_running_task_is_asked_and_ends_cancelled_unless_it_succeeds(
    conn: psycopg.Connection, worker: Worker
) -> None:
    for end, status in (("succeeded", "succeeded"), ("queued", "cancelled"), ("failed", "cancelled")):
        running = put(conn)
        (claimed,) = worker.claim()
        assert cancel(conn, running, "first") == "running"
        assert cancel(conn, running) == "running"
        assert worker.beat(claimed)["cancelled"] == [running]
        worker.end(claimed, to=end, error=None if end == "succeeded" else "oh")
        assert task(conn, running, "status", "reason") == (status, "first"), end


def test_the_end_in_bulk_wins_over_a_cancel_as_well(conn: psycopg.Connection, worker: Worker) -> None:
    running = put(conn)
    (claimed,) = worker.claim()
    cancel(conn, running)
    assert worker.done(claimed, results={str(running): 7}) == [running]
    assert task(conn, running, "status", "result") == ("succeeded", 7)


def test_a_cancel_is_not_forgotten_with_the_claim_whose_reply_was_lost(
    conn: psycopg.Connection, worker: Worker
) -> None:
    for give_back in (worker.beat, lambda: ask(conn, "select howdah.leave(%s)", [worker.id])):
        lost, other = put(conn), put(conn)
        assert len(worker.claim()) == 2
        assert cancel(conn, lost, "not wanted") == "running"
        give_back()
        assert task(conn, lost, "status", "reason") == ("cancelled", "not wanted")
        assert task(conn, other, "status", "attempt") == ("queued", 0)
        conn.execute("delete from howdah.task")


def test_a_kind_that_keeps_nothing_keeps_no_cancelled_task(conn: psycopg.Connection) -> None:
    declare(conn, {"name": "job", "keep": None})
    gone = put(conn)
    assert cancel(conn, gone) == "cancelled"
    with refused("HW004", f"there is no task {gone}", NOT_THERE):
        cancel(conn, gone)


def test_what_has_ended_or_never_was_cannot_be_cancelled(conn: psycopg.Connection, worker: Worker) -> None:
    ended = put(conn)
    worker.done(*worker.claim())
    with refused("HW005", f"task {ended} has already ended: succeeded", "nothing left"):
        cancel(conn, ended)
    with refused("HW004", "there is no task 7", NOT_THERE):
        cancel(conn, 7)


# ── retry ──


def retry(conn: psycopg.Connection, task_id: int) -> str:
    return ask(conn, "select howdah.retry(%s)", [task_id])


def test_retry_resumes_a_failed_task(conn: psycopg.Connection, worker: Worker) -> None:
    failed = put(conn)
    worker.end(*worker.claim(), to="failed", error="no route")
    assert retry(conn, failed) == "resumed"
    assert task(conn, failed, "status", "attempt", "last_error") == ("queued", 0, "no route")


def test_retry_makes_a_waiting_task_due_and_keeps_its_attempts(conn: psycopg.Connection, worker: Worker) -> None:
    waiting = put(conn)
    worker.end(*worker.claim(), to="queued", delay=3600, error="no route")
    assert worker.claim() == []
    assert retry(conn, waiting) == "due now"
    (claimed,) = worker.claim()
    assert (claimed.id, claimed.attempt) == (waiting, 2)


def test_retry_of_a_due_task_does_not_cost_it_its_place(conn: psycopg.Connection, worker: Worker) -> None:
    due = put(conn)
    before = task(conn, due, "run_at")
    assert retry(conn, due) == "due now"
    assert task(conn, due, "run_at") == before


def test_retry_wakes_a_suspended_task(conn: psycopg.Connection, worker: Worker) -> None:
    suspended = put(conn)
    conn.execute("update howdah.task set status = 'suspended', run_at = 'infinity'")
    assert retry(conn, suspended) == "due now"
    assert [claimed.id for claimed in worker.claim()] == [suspended]


def test_what_runs_has_ended_or_never_was_cannot_be_retried(conn: psycopg.Connection, worker: Worker) -> None:
    running = put(conn)
    (claimed,) = worker.claim()
    with refused("HW005", f"task {running} is running", "Cancel it first, or wait"):
        retry(conn, running)
    worker.done(claimed)
    with refused("HW005", f"task {running} has already ended", "Enqueue it again"):
        retry(conn, running)
    with refused("HW004", "there is no task 7", NOT_THERE):
        retry(conn, 7)


# ── queues ──


def queue(conn: psycopg.Connection, name: str, *columns: str) -> tuple:
    row = conn.execute(f"select {', '.join(columns)} from howdah.queues where name = %s".encode(), [name]).fetchone()
    assert row is not None, name
    return row


def test_a_paused_queue_starts_nothing_and_takes_everything(conn: psycopg.Connection, worker: Worker) -> None:
    conn.execute("select howdah.pause('default', 'upgrade')")
    waiting = put(conn)
    other = put(conn, queue="q")
    assert worker.claim() == []
    assert [claimed.id for claimed in worker.claim(queue="q")] == [other]
    assert queue(conn, "default", "paused", "paused_by", "reason", "due") == (True, conn.info.user, "upgrade", 1)
    assert ask(conn, "select howdah.resume('default')") is True
    assert [claimed.id for claimed in worker.claim()] == [waiting]
    assert queue(conn, "default", "paused", "paused_at", "paused_by", "reason") == (False, None, None, None)


def test_pausing_twice_keeps_the_time_and_takes_the_new_reason(conn: psycopg.Connection) -> None:
    conn.execute("select howdah.pause('q', 'one')")
    (since,) = queue(conn, "q", "paused_at")
    conn.execute("select howdah.pause('q', 'two')")
    assert queue(conn, "q", "paused_at", "reason") == (since, "two")


def test_resume_says_whether_the_queue_was_paused(conn: psycopg.Connection) -> None:
    assert ask(conn, "select howdah.resume('never heard of')") is False
    conn.execute("select howdah.pause('q')")
    assert ask(conn, "select howdah.resume('q')") is True
    assert ask(conn, "select howdah.resume('q')") is False


def test_a_queue_needs_a_name_to_be_paused(conn: psycopg.Connection) -> None:
    for name in (None, "", "x" * 201):
        with refused("HW002", "queue must be a name of 1 to 200 characters", "howdah.queues"):
            conn.execute("select howdah.pause(%s)", [name])
    assert ask(conn, "select count(*) from howdah.queue") == 0


def test_queues_counts_what_each_queue_has(conn: psycopg.Connection, worker: Worker) -> None:
    put(conn, queue="q", delay="1 h")
    for _ in range(4):
        put(conn, queue="q")
    one, two = worker.claim(2, "q")
    worker.end(one, to="failed", error="x")
    assert queue(conn, "q", "paused", "due", "later", "running", "suspended", "failed") == (False, 2, 1, 1, 0, 1)
    assert ask(conn, "select oldest_due <= clock_timestamp() from howdah.queues where name = 'q'")
    worker.done(two)


# ── workers ──


def test_stop_asks_all_workers_or_one(conn: psycopg.Connection, worker: Worker) -> None:
    other, left = Worker(conn, ["job"]), Worker(conn, ["job"])
    ask(conn, "select howdah.leave(%s)", [left.id])
    assert ask(conn, "select howdah.stop_workers(%s)", [other.id]) == 1
    assert (worker.beat()["stop"], other.beat()["stop"]) == (False, True)
    assert ask(conn, "select howdah.stop_workers()") == 2
    assert worker.beat()["stop"] is True
    assert ask(conn, "select howdah.stop_workers(gen_random_uuid())") == 0
    assert left.beat() == {"alive": False, "stop": False, "cancelled": [], "freed": []}


def test_workers_says_what_each_is_doing(conn: psycopg.Connection, worker: Worker) -> None:
    idle, stopping, late, dead = (Worker(conn, ["job"]) for _ in range(4))
    put(conn)
    worker.claim()
    idle.fall_asleep()
    ask(conn, "select howdah.stop_workers(%s)", [stopping.id])
    conn.execute("update howdah.worker set lease_until = clock_timestamp() - interval '1 s' where id = %s", [late.id])
    ask(conn, "select howdah.leave(%s)", [dead.id])
    states = dict(conn.execute("select id, (state, running)::text from howdah.workers").fetchall())
    assert states == {
        worker.id: "(busy,1)", idle.id: "(idle,0)", stopping.id: "(stopping,0)", late.id: "(late,0)", dead.id: "(dead,0)",
    }  # fmt: skip


# ── looking ──


def find(conn: psycopg.Connection, **by: object) -> list[int]:
    arguments = ", ".join(f"{name} => %s" for name in by)
    return [row[0] for row in conn.execute(f"select id from howdah.find({arguments})".encode(), list(by.values()))]


def test_find_looks_at_live_and_ended_tasks_newest_first(conn: psycopg.Connection, worker: Worker) -> None:
    declare(conn, {"name": "other"})
    done, failed = put(conn, key="k"), put(conn)
    one, two = worker.claim()
    worker.done(one)
    worker.end(two, to="failed", error="x")
    waiting, elsewhere = put(conn, "other", key="k"), put(conn, queue="q")
    assert find(conn) == [elsewhere, waiting, failed, done]
    assert find(conn, ids=[done, waiting, 7]) == [waiting, done]
    assert find(conn, status=["succeeded", "failed"]) == [failed, done]
    assert find(conn, kind="other") == [waiting]
    assert find(conn, queue="q") == [elsewhere]
    assert find(conn, key="k") == [waiting, done]
    assert find(conn, key="k", status=["queued"]) == [waiting]
    assert find(conn, at_most=2) == [elsewhere, waiting]
    assert find(conn, before=waiting, at_most=1) == [failed]
    assert find(conn, kind="nobody") == []


def test_history_tells_what_happened_in_order(conn: psycopg.Connection, worker: Worker) -> None:
    told = put(conn)
    worker.end(*worker.claim(), to="queued", event="retry", error="one", data={"delay": 0})
    worker.end(*worker.claim(), to="failed", event="failure", error="two")
    retry(conn, told)
    cancel(conn, told, "enough")
    query = "select type, attempt, message, worker is not null, actor from howdah.history(%s)"
    me = conn.info.user
    assert conn.execute(query, [told]).fetchall() == [
        ("retry", 1, "one", True, None),
        ("failure", 2, "two", True, None),
        ("resume", 2, "two", False, me),
        ("cancel", 0, "enough", False, me),
    ]
    assert conn.execute(query, [7]).fetchall() == []


def test_outcomes_tells_where_tasks_stand_and_skips_what_is_gone(conn: psycopg.Connection, worker: Worker) -> None:
    done, failed = put(conn), put(conn)
    one, two = worker.claim()
    worker.done(one, results={str(done): {"n": 1}})
    worker.end(two, to="failed", error="no route")
    cancelled, waiting = put(conn), put(conn)
    cancel(conn, cancelled, "not wanted")
    rows = conn.execute("select * from howdah.outcomes(%s)", [[done, failed, cancelled, waiting, 7]]).fetchall()
    assert sorted(rows) == [
        (done, "succeeded", {"n": 1}, None),
        (failed, "failed", None, "no route"),
        (cancelled, "cancelled", None, "not wanted"),
        (waiting, "queued", None, None),
    ]


# ── declare ──


def kind(conn: psycopg.Connection, *columns: str) -> tuple:
    row = conn.execute(f"select {', '.join(columns)} from howdah.kind where name = 'job'".encode()).fetchone()
    assert row is not None
    return row


def test_a_declared_kind_has_the_defaults_of_the_table(conn: psycopg.Connection) -> None:
    conn.execute('select howdah.declare(\'[{"name": "job"}]\')')
    conn.execute("insert into howdah.kind (name) values ('by hand')")
    columns = [
        row[0]
        for row in conn.execute(
            "select column_name from information_schema.columns where table_schema = 'howdah' and table_name = 'kind'"
            " and column_name not in ('name', 'updated_at')"
        )
    ]
    declared, by_hand = conn.execute(f"select {', '.join(columns)} from howdah.kind order by name desc".encode())
    assert declared == by_hand


def test_workers_overwrite_and_others_only_add(conn: psycopg.Connection) -> None:
    declare(conn, {"name": "job", "queue": "a", "priority": 3, "timeout": "1 min"})
    conn.execute('select howdah.declare(\'[{"name": "job", "queue": "b"}, {"name": "new"}]\')')
    assert kind(conn, "queue", "priority", "timeout::text") == ("a", 3, "00:01:00")
    assert ask(conn, "select count(*) from howdah.kind") == 2
    declare(conn, {"name": "job", "queue": "b", "keep": None})
    assert kind(conn, "queue", "priority", "timeout", "keep") == ("b", 0, None, None)


def test_declaring_the_same_again_writes_nothing(conn: psycopg.Connection) -> None:
    same = {"name": "job", "queue": "a", "keep": None, "signature": {"type": "object"}, "retry_delay": "1 min"}
    declare(conn, same)
    before = kind(conn, "xmin::text", "updated_at")
    declare(conn, same)
    conn.execute("select howdah.declare(%s)", [json.dumps([same])])
    assert kind(conn, "xmin::text", "updated_at") == before


@pytest.mark.parametrize(
    "kinds", [None, "{}", "7", "[7]", "[{}]", '[{"name": null}]', '[{"name": ""}]', f'[{{"name": "{"x" * 201}"}}]']
)
def test_what_is_no_kind_is_refused(conn: psycopg.Connection, kinds: str | None) -> None:
    with refused("HW002", "kinds must be a JSON array of objects, each with a name", '[{"name": "welcome"'):
        conn.execute("select howdah.declare(%s)", [kinds])
    assert ask(conn, "select count(*) from howdah.kind") == 0


def test_a_default_that_cannot_be_meant_is_refused_with_all_its_neighbours(conn: psycopg.Connection) -> None:
    wrong = (
        {"queue": ""}, {"delay": "-1 s"}, {"max_attempts": 0}, {"max_lost": -1}, {"retry_delay": "-1 s"}, {"retry_factor": 0.5},
        {"retry_max": "-1 s"}, {"timeout": "0"}, {"executor": "moon"}, {"keep": "-1 s"},
    )  # fmt: skip
    for each in wrong:
        with refused("HW002", "a kind cannot be so: ", "howdah.kind"):
            declare(conn, {"name": "good"}, {"name": "job"} | each)
    assert ask(conn, "select count(*) from howdah.kind") == 0


@pytest.mark.parametrize(
    ("kind", "words", "hint"),
    [
        ({"retry": 3}, "kind report: there is no field 'retry'", "There are: name, queue, priority"),
        ({"priority": "abc"}, "kind report: invalid input syntax for type integer", "Lengths of time"),
        ({"timeout": "soon"}, "kind report: invalid input syntax for type interval", "Lengths of time"),
        ({"strategy": "zork"}, "kind_strategy_check", "howdah.kind"),
        ({"warn": {"weight": 1}}, "kind report: warn has no threshold 'weight'", "Write it like"),
    ],
)
def test_a_kind_that_cannot_be_is_refused_by_name(
    conn: psycopg.Connection, kind: dict[str, Any], words: str, hint: str
) -> None:
    with refused("HW002", words, hint):
        conn.execute("select howdah.declare(%s)", [json.dumps([{"name": "report"} | kind])])
    assert ask(conn, "select count(*) from howdah.kind where name = 'report'") == 0
