"""Repair, as any program can do it: edits, many tasks at once, drained queues, disabled and purged kinds, export and import."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from sql.protocol import Worker, ask, count, declare, put, refused, task

Connect = Callable[[], psycopg.Connection]


def rows(conn: psycopg.Connection, query: str, arguments: Any = ()) -> list[tuple[Any, ...]]:
    return conn.execute(query.encode(), arguments).fetchall()


def every(
    conn: psycopg.Connection, verb: str, chosen: dict[str, Any], **options: Any
) -> dict[int, tuple[str, str | None]]:
    """`howdah.<verb>(filter, …)`: what became of which task."""
    more = "".join(f", {name} => %s" for name in options)
    found = rows(
        conn,
        f"select id, outcome, why from howdah.{verb}(%s{more})",
        [json.dumps(chosen or {"all": True}), *options.values()],
    )
    return {task_id: (outcome, why) for task_id, outcome, why in found}


def park(conn: psycopg.Connection, worker: Worker, error: str = "no route", **options: Any) -> int:
    parked = put(conn, **options)
    claimed = [each for each in worker.claim(queue=options.get("queue", "default")) if each.id == parked]
    worker.end(*claimed, to="failed", error=error)
    return parked


def last_edit(conn: psycopg.Connection, task_id: int) -> tuple[Any, Any, str]:
    found = rows(
        conn,
        "select data -> 'before', data -> 'after', actor from howdah.history(%s) where type = 'edit' order by id",
        [task_id],
    )
    return found[-1]  # pyright: ignore[reportReturnType]


# ── edit ──


def edit(conn: psycopg.Connection, task_id: int, **changes: Any) -> None:
    arguments = "".join(f", {name} => %s" for name in changes)
    conn.execute(f"select howdah.edit(%s{arguments})".encode(), [task_id, *changes.values()])


def test_queue_priority_and_time_are_edited_and_only_what_changed_is_in_the_history(
    conn: psycopg.Connection, worker: Worker
) -> None:
    waiting = put(conn, payload='{"n": 1}')
    edit(conn, waiting, queue="bulk", priority=7, run_at="2040-01-01T00:00Z")
    assert task(conn, waiting, "queue", "priority", "extract(year from run_at)::int", "payload", "attempt", "status") == (
        "bulk", 7, 2040, {"n": 1}, 0, "queued",
    )  # fmt: skip
    assert ask(conn, "select step_no from howdah.task") == 0, "the same piece of work, with its idempotency key"
    before, after, actor = last_edit(conn, waiting)
    assert (before["queue"], before["priority"], actor) == ("default", 0, conn.info.user)
    assert after["queue"] == "bulk"
    assert before.keys() == after.keys() == {"queue", "priority", "run_at"}
    edit(conn, waiting, delay="0")
    assert [each.id for each in worker.claim(queue="bulk")] == [waiting]


def test_an_edit_that_changes_nothing_is_no_event(conn: psycopg.Connection) -> None:
    declare(conn, {"name": "job"})
    waiting = put(conn)
    edit(conn, waiting, priority=0, queue="default")
    assert rows(conn, "select * from howdah.history(%s)", [waiting]) == []


def test_what_cannot_be_edited_is_refused_and_stays(conn: psycopg.Connection, worker: Worker) -> None:
    waiting = put(conn)
    with refused("HW002", "nothing to change was given", "Give payload, step"):
        edit(conn, waiting)
    with refused("HW002", "queue must be a name", "Leave it out"):
        edit(conn, waiting, queue="")
    with refused("HW002", "delay and run_at were both given", "one of them"):
        edit(conn, waiting, delay="1 s", run_at="2040-01-01Z")
    with refused("HW003", "payload must be a JSON object", "Write it like"):
        edit(conn, waiting, payload="[1]")
    (claimed,) = worker.claim()
    for change in ({"priority": 3}, {"queue": "q"}, {"payload": "{}"}):
        with refused("HW005", f"task {waiting} is running", "Cancel it first"):
            edit(conn, waiting, **change)
    worker.end(claimed, to="failed", error="x")
    with refused("HW005", "is parked: it is due when it is resumed", f"howdah retry {waiting}"):
        edit(conn, waiting, delay="1 h")
    conn.execute(
        "update howdah.task set status = 'suspended', error = null, joining = true, run_at = 'infinity', step_no = 9"
    )
    with refused("HW005", "waits for its children", "--parent"):
        edit(conn, waiting, delay="1 h")
    ask(conn, "select howdah.cancel(%s)", [waiting])
    with refused("HW005", "has already ended", "Enqueue it again"):
        edit(conn, waiting, priority=3)
    with refused("HW004", "there is no task 7", "never existed"):
        edit(conn, 7, priority=3)


MACHINE = {
    "name": "order", "queue": "orders", "priority": 1, "groups": ["shop:{shop}"],
    "steps": {"Pay": {"position": 1}, "Ship": {"position": 2, "queue": "dock", "priority": 5, "groups": ["dock"], "cost": 3},
              "Tell": {"position": 3, "priority": 2}},
}  # fmt: skip


def test_another_step_brings_its_queue_priority_groups_and_cost(conn: psycopg.Connection) -> None:
    declare(conn, MACHINE)
    usual = put(conn, "order", payload='{"shop": 1}', step="Pay")
    edit(conn, usual, step="Ship")
    assert task(conn, usual, "queue", "priority", "groups", "cost") == ("dock", 5, ["dock"], 3)
    edit(conn, usual, step="Tell")
    assert task(conn, usual, "queue", "priority", "groups", "cost") == ("orders", 2, ["shop:1"], None)


def test_what_was_said_of_one_task_stays_at_another_step(conn: psycopg.Connection) -> None:
    declare(conn, MACHINE)
    own = put(conn, "order", payload='{"shop": 1}', step="Pay", queue="vip", priority=9, groups=["big"], cost=2)
    edit(conn, own, step="Tell", queue="vip2")
    assert task(conn, own, "queue", "groups", "cost") == ("vip2", ["big"], 2)
    edit(conn, own, step="Ship")
    assert task(conn, own, "queue", "priority") == ("dock", 5), "the step has its own"


def test_another_payload_makes_the_groups_anew_and_keeps_the_key(conn: psycopg.Connection) -> None:
    declare(conn, {"name": "job", "groups": ["tenant:{t}"], "key": "job:{t}"})
    usual = put(conn, payload='{"t": 1}')
    edit(conn, usual, payload='{"t": 2}')
    assert task(conn, usual, "groups", "key") == (["tenant:2"], "job:1")
    with refused("HW003", "t of the payload is missing", "whole number"):
        edit(conn, usual, payload="{}")
    own = put(conn, payload='{"t": 3}', groups=["mine"])
    edit(conn, own, payload='{"t": 4}')
    assert task(conn, own, "groups", "payload") == (["mine"], {"t": 4})


def test_an_edit_and_a_claim_of_the_same_task_are_one_after_the_other(
    conn: psycopg.Connection, connect: Connect, worker: Worker
) -> None:
    waiting, other = put(conn), connect()
    with conn.transaction():
        (claimed,) = worker.claim()
        other.execute("set lock_timeout = '50ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):  # it waits for the claim, and reads what came of it
            edit(other, waiting, queue="q")
    other.execute("set lock_timeout = 0")
    with refused("HW005", "is running", "wait"):
        edit(other, waiting, queue="q")
    with other.transaction():
        worker.end(claimed, to="queued")
        edit(other, waiting, queue="q")
        assert worker.claim() == [], "what is being edited is passed over"
    assert [each.id for each in worker.claim(queue="q")] == [waiting]


# ── filters ──


def test_a_filter_means_the_same_everywhere(conn: psycopg.Connection, worker: Worker) -> None:
    declare(conn, {"name": "job"}, MACHINE)
    parked = park(conn, worker, "Timeout of 7 s", key="a:1", queue="q")
    step = put(conn, "order", payload='{"shop": 1}', step="Pay", key="a:2")
    child = put(conn, key="b:1", groups=["x", "y"])
    conn.execute("update howdah.task set parent = %s, created_at = '2020-01-01Z' where id = %s", [step, child])
    for chosen, found in [
        ({}, {parked, step, child}),
        ({"ids": [parked, 7]}, {parked}),
        ({"status": "failed"}, {parked}),
        ({"status": ["failed", "queued"], "kind": "job"}, {parked, child}),
        ({"queue": "q"}, {parked}),
        ({"step": "Pay"}, {step}),
        ({"key": "a:1"}, {parked}),
        ({"key": "a:*"}, {parked, step}),
        ({"group": "y"}, {child}),
        ({"group": "shop:1"}, {step}),
        ({"error": "timeout OF"}, {parked}),
        ({"error": "100%"}, set[int]()),
        ({"parent": step}, {child}),
        ({"created_before": "2021-01-01Z"}, {child}),
        ({"created_after": "2021-01-01Z", "kind": "job"}, {parked}),
        ({"kind": "'; drop table howdah.task; --"}, set[int]()),
        ({"kind": None, "queue": "q"}, {parked}),
    ]:
        text = json.dumps(chosen)
        assert {row[0] for row in rows(conn, "select id from howdah.export_tasks(%s)", [text])} == found, chosen
        assert ask(conn, "select coalesce(sum(tasks), 0) from howdah.count_tasks(%s)", [text]) == len(found)
        assert set(every(conn, "edit_all", chosen, priority=3)) == found
        named = {"in_group" if name == "group" else name: value for name, value in chosen.items()}
        if isinstance(named.get("status"), str):
            named["status"] = [named["status"]]
        arguments = ", ".join(f"{name} => %({name})s" for name in named)
        assert {row[0] for row in rows(conn, f"select id from howdah.find({arguments})", named)} == found, chosen


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ('{"stauts": "failed"}', "there is no filter 'stauts'"),
        ('{"status": "done"}', "there is no status 'done'"),
        ('{"status": "succeeded"}', "there is no status 'succeeded' of live tasks"),
        ('{"ids": "x"}', 'ids cannot be "x"'),
        ('{"ids": [1, "x"]}', "ids cannot be"),
        ('{"parent": "x"}', 'parent cannot be "x"'),
        ('{"created_after": "noon"}', 'created_after cannot be "noon"'),
        ('{"finished_after": "2020-01-01"}', "finished_after is for ended tasks"),
        ("[]", "the filter must be a JSON object"),
    ],
)
def test_a_filter_that_cannot_be_meant_is_refused_by_all(conn: psycopg.Connection, chosen: str, said: str) -> None:
    for verb in ("count_tasks", "retry_all", "cancel_all", "export_tasks"):
        with refused("HW002", said, ""):
            conn.execute(f"select howdah.{verb}(%s)".encode(), [chosen])


# ── many at once ──


def test_retry_all_resumes_parked_ones_and_leaves_the_others(conn: psycopg.Connection, worker: Worker) -> None:
    parked = [park(conn, worker) for _ in range(3)]
    later = put(conn, delay="1 h")
    assert every(conn, "retry_all", {"kind": "job"}) == dict.fromkeys(parked, ("resumed", None))
    assert {row[0] for row in rows(conn, "select type from howdah.event where actor = %s", [conn.info.user])} == {
        "resume"
    }
    assert task(conn, later, "run_at > now()")
    assert every(conn, "retry_all", {"kind": "job"}) == {}
    assert every(conn, "retry_all", {"status": "queued", "ids": [later]}) == {later: ("due now", None)}
    assert last_edit(conn, later)[0]["status"] == "queued"
    assert len(worker.claim()) == 4


def test_retry_all_says_why_it_leaves_what_it_cannot_retry(conn: psycopg.Connection, worker: Worker) -> None:
    running, joining = put(conn), put(conn)
    worker.claim(1)
    child = put(conn)
    conn.execute("update howdah.task set status = 'suspended', joining = true, children = 1 where id = %s", [joining])
    conn.execute("update howdah.task set parent = %s where id = %s", [joining, child])
    statuses = ["queued", "running", "suspended", "failed"]
    assert every(conn, "retry_all", {"status": statuses}) == {
        running: ("skipped", "it is running"),
        joining: ("skipped", "it waits for its children"),
        child: ("due now", None),
    }
    conn.execute("delete from howdah.task where id = %s", [child])
    assert every(conn, "retry_all", {"status": statuses})[joining] == ("due now", None)
    assert ask(conn, "select children from howdah.task where id = %s", [joining]) == 0


def test_pages_go_on_behind_the_last_id(conn: psycopg.Connection, worker: Worker) -> None:
    ids = [put(conn) for _ in range(5)]
    first = every(conn, "edit_all", {}, queue="q", at_most=2)
    assert list(first) == ids[:2]
    assert list(every(conn, "edit_all", {}, queue="q", at_most=2, after=ids[1])) == ids[2:4]
    assert [task(conn, each, "queue") for each in ids] == ["q"] * 4 + ["default"]
    with refused("HW002", "at_most must be at least 1", "1000"):
        every(conn, "edit_all", {}, queue="q", at_most=0)


def test_cancel_all_ends_what_waits_and_asks_what_runs(conn: psycopg.Connection, worker: Worker) -> None:
    running = put(conn)
    (claimed,) = worker.claim()
    parked, waiting = put(conn), put(conn, key="k")
    conn.execute("update howdah.task set status = 'failed', error = 'oh' where id = %s", [parked])
    conn.execute("insert into howdah.message (task_id, body) values (%s, '1')", [waiting])
    conn.execute("update howdah.task set inbox_seq = 1 where id = %s", [waiting])
    assert every(conn, "cancel_all", {}, reason="enough") == {
        running: ("running", None), parked: ("cancelled", None), waiting: ("cancelled", None),
    }  # fmt: skip
    assert task(conn, parked, "status", "reason", "last_error") == ("cancelled", "enough", "oh")
    assert worker.beat(claimed)["cancelled"] == [running]
    worker.end(claimed, to="queued")
    assert task(conn, running, "status", "reason") == ("cancelled", "enough")
    assert rows(conn, "select * from howdah.message") == []
    events = rows(conn, "select type, actor from howdah.history(%s) order by id", [waiting])
    assert sorted(events) == [("cancel", conn.info.user), ("unread", None)]
    assert put(conn, key="k") > waiting, "the key is free"


def test_cancel_all_archives_the_same_as_cancel(conn: psycopg.Connection) -> None:
    declare(conn, {"name": "job", "groups": ["g"], "cost": 2, "finish_within": "1 h"})
    one, two = put(conn, payload='{"n": 1}', priority=4), put(conn, payload='{"n": 1}', priority=4)
    ask(conn, "select howdah.cancel(%s, 'x')", [one])
    every(conn, "cancel_all", {"ids": [two]}, reason="x")
    same = rows(
        conn,
        "select distinct to_jsonb(a) - '{id,run_at,created_at,finished_at,finish_before}'::text[] from howdah.archive a",
    )
    assert len(same) == 1
    assert ask(conn, "select count(*) from howdah.archive where finish_before is not null") == 2


def test_cancel_all_takes_families_along_and_tells_parents(conn: psycopg.Connection, worker: Worker) -> None:
    declare(conn, {"name": "job", "inbox": {}}, {"name": "other"})
    parent, child, grandchild, loner = put(conn), put(conn, "other"), put(conn), put(conn)
    conn.execute("update howdah.task set parent = %s where id = %s", [parent, child])
    conn.execute("update howdah.task set parent = %s where id = %s", [child, grandchild])
    conn.execute(
        "update howdah.task set children = 1, status = 'suspended', run_at = 'infinity' where id = %s", [parent]
    )
    assert every(conn, "cancel_all", {"kind": "other"}) == {child: ("cancelled", None)}
    assert task(conn, grandchild, "status") == "cancelled"
    assert task(conn, parent, "status") == "queued"
    assert ask(conn, "select type from howdah.message where task_id = %s", [parent]) == "eof"
    again = put(conn)
    conn.execute("update howdah.task set parent = %s where id = %s", [parent, again])
    assert every(conn, "cancel_all", {"kind": "job"}) == dict.fromkeys([parent, again, loner], ("cancelled", None))
    left = put(conn)
    mine = put(conn)
    conn.execute("update howdah.task set parent = %s where id = %s", [left, mine])
    every(conn, "cancel_all", {"ids": [left]}, cascade=False)
    assert task(conn, mine, "status") == "queued"


def test_what_another_transaction_holds_is_skipped_and_said(
    conn: psycopg.Connection, connect: Connect, worker: Worker
) -> None:
    held, free = put(conn), put(conn)
    other = connect()
    with other.transaction():
        other.execute("select from howdah.task where id = %s for update", [held])
        for verb, options in (("edit_all", {"queue": "q"}), ("cancel_all", {})):
            outcome = every(conn, verb, {}, **options)
            assert outcome[held] == ("skipped", "another transaction holds it")
            assert outcome[free][0] != "skipped"
    assert every(conn, "cancel_all", {}) == {held: ("cancelled", None)}


def test_a_family_that_somebody_holds_is_skipped_without_waiting_for_long(
    conn: psycopg.Connection, connect: Connect
) -> None:
    declare(conn, {"name": "job"})
    parent, child, loner = put(conn), put(conn), put(conn)
    conn.execute("update howdah.task set parent = %s where id = %s", [parent, child])
    other = connect()
    with other.transaction():
        other.execute("select from howdah.task where id = %s for update", [parent])
        assert every(conn, "cancel_all", {"ids": [child, loner]}) == {
            child: ("skipped", "another transaction holds it or one of its family"), loner: ("cancelled", None),
        }  # fmt: skip
    assert task(conn, child, "status") == "queued"


def test_edit_all_moves_and_says_what_it_left(conn: psycopg.Connection, worker: Worker) -> None:
    running = put(conn)
    worker.claim()
    parked, waiting, there = park(conn, worker), put(conn), put(conn, queue="bulk", priority=2)
    assert every(conn, "edit_all", {"kind": "job"}, queue="bulk", priority=2) == {
        running: ("skipped", "it is running"), parked: ("edited", None), waiting: ("edited", None), there: ("unchanged", None),
    }  # fmt: skip
    assert last_edit(conn, waiting) == (
        {"queue": "default", "priority": 0},
        {"queue": "bulk", "priority": 2},
        conn.info.user,
    )
    assert every(conn, "edit_all", {"ids": [parked, waiting]}, delay="1 h") == {
        parked: ("skipped", "it is parked: it is due when it is resumed"), waiting: ("edited", None),
    }  # fmt: skip
    with refused("HW002", "nothing to change was given", "howdah.edit"):
        every(conn, "edit_all", {})


# ── drain ──


def test_a_queue_that_is_drained_takes_no_more_and_finishes_what_it_has(
    conn: psycopg.Connection, worker: Worker
) -> None:
    first, later = put(conn, queue="mail", key="k"), put(conn, queue="mail", delay="1 h")
    assert ask(conn, "select howdah.drain('mail', 'moving')") == 2
    words = "queue mail takes no more tasks: it is drained since"
    for attempt in (
        "select howdah.enqueue('job', queue => 'mail')",
        "select howdah.put('job', '{}', 'mail', 0, null, null, null, 'return')",
        """select howdah.enqueue_many('job', '[{}, {}]', queue => 'mail')""",
        "insert into howdah.task (kind, payload, queue) values ('job', '{}', 'mail')",
        "insert into howdah.task (kind, queue, priority, run_at) values ('job', 'mail', 0, now()), ('job', 'open', 0, now())",
        f"select howdah.edit({put(conn)}, queue => 'mail')",
        """select howdah.edit_all('{"all": true}', queue => 'mail')""",
        """select howdah.import_tasks('[{"kind": "job", "queue": "mail"}]')""",
    ):
        with refused("HW010", words, "howdah resume mail"):
            conn.execute(attempt.encode())
    with (
        refused("HW010", "moving", "howdah resume mail"),
        conn.cursor().copy("copy howdah.task (kind, queue, priority, run_at, payload) from stdin") as stream,
    ):
        stream.write("job\tmail\t0\t2026-01-01\t{}\n")
    assert put(conn, queue="mail", key="k") == first, "nothing new"
    assert count(conn) == 3
    (claimed,) = worker.claim(queue="mail")
    worker.end(claimed, to="failed", error="x")
    assert ask(conn, "select howdah.retry(%s)", [first]) == "resumed", "it is in there already"
    worker.done(*worker.claim(queue="mail"))
    assert rows(
        conn, "select name, later, draining_by, draining_reason from howdah.queues where draining_at is not null"
    ) == [("mail", 1, conn.info.user, "moving")]
    assert ask(conn, "select howdah.resume('mail')")
    assert not ask(conn, "select howdah.resume('mail')")
    put(conn, queue="mail")
    assert task(conn, later, "status") == "queued"


def test_steps_children_and_what_a_task_leaves_behind_belong_to_what_is_finished(
    conn: psycopg.Connection, worker: Worker
) -> None:
    declare(conn, {"name": "other", "queue": "elsewhere"})
    parent, foreign = put(conn, queue="mail"), put(conn)
    (mine,) = worker.claim(queue="mail")
    (theirs,) = worker.claim()
    ask(conn, "select howdah.drain('mail')")
    ids = ask(conn, "select howdah.reserve_ids(4)")
    worker.end(
        mine,
        to="queued",
        attempts="reset",
        spawn=[{"id": ids[0], "kind": "job", "queue": "mail"}],
        enqueue=[{"id": ids[1], "kind": "job", "queue": "mail"}, {"id": ids[2], "kind": "other"}],
    )
    assert {each.id for each in worker.claim(queue="mail")} == {parent, ids[0], ids[1]}
    with refused("HW010", "queue mail takes no more tasks", "howdah resume"):
        worker.end(theirs, to="succeeded", enqueue=[{"id": ids[3], "kind": "job", "queue": "mail"}])
    assert task(conn, foreign, "status") == "running"
    worker.end(theirs, to="queued", queue="mail", attempts="reset")  # the step of a task is no new task
    conn.execute("select howdah.stand('job', 'mail', 0, 'standing')")  # nor is a poller that stands there


def test_ticks_into_a_drained_queue_are_skipped_and_said(conn: psycopg.Connection, worker: Worker) -> None:
    conn.execute("select howdah.schedule('often', 'job', every => '1 s', queue => 'mail')")
    conn.execute("select howdah.drain('mail')")
    fire = "select fired, skipped from howdah.fire('often', %(seen)s, array[%(tick)s::timestamptz], %(tick)s, %(tick)s)"
    seen = ask(conn, "select after from howdah.schedule")
    conn.execute("update howdah.schedule set after = after - interval '1 min'")
    assert rows(conn, fire, {"seen": ask(conn, "select after from howdah.schedule"), "tick": seen}) == [(0, 1)]
    assert rows(conn, "select skipped, closed from howdah.schedules") == [(1, True)]
    with refused("HW010", "queue mail takes no more", "howdah resume"):
        conn.execute("select howdah.trigger('often')")


def test_drain_and_an_enqueue_that_was_there_first(conn: psycopg.Connection, connect: Connect, worker: Worker) -> None:
    other = connect()
    with other.transaction():
        put(other, queue="mail")
        assert ask(conn, "select howdah.drain('mail')") == 0, "not yet to be seen; it was accepted before"
    assert len(worker.claim(queue="mail")) == 1


# ── disable ──


def test_a_disabled_kind_is_enqueued_but_not_started_until_enabled(conn: psycopg.Connection, worker: Worker) -> None:
    declare(conn, {"name": "other"})
    both = Worker(conn, ["job", "other"])
    conn.execute("select howdah.disable('job', 'wrong template')")
    waiting, other = put(conn), put(conn, "other")
    assert worker.claim() == []
    assert [each.id for each in both.claim()] == [other]
    declare(conn, {"name": "job", "queue": "default", "priority": 3})  # a worker that starts
    assert worker.claim() == []
    assert ask(
        conn,
        "select disabled_by = session_user and disabled_reason = 'wrong template' from howdah.kind where name = 'job'",
    )
    assert ask(conn, "select howdah.enable('job')")
    assert not ask(conn, "select howdah.enable('job')")
    assert [each.id for each in worker.claim()] == [waiting]
    with refused("HW001", "no handler for kind 'jbo'", "declare it"):
        conn.execute("select howdah.disable('jbo')")


def pump_eagerly(worker: Worker, *transitions: dict[str, Any]) -> list[int]:
    """With nothing else to do: it may go on with what it settles, and begin what it wakes; the ids it got or kept."""
    worker.seq += 1
    row = worker.conn.execute(
        "select kept, claimed from howdah.pump(%s, %s, null, null, null, null, null, %s, '[]', 5, null, true, %s)",
        [worker.id, worker.seq, json.dumps(transitions), json.dumps({"default": worker.kinds})],
    ).fetchone()
    assert row is not None
    return (row[0] or []) + [each[0] for each in json.loads(row[1] or "[]")]


@pytest.mark.parametrize("disabled", [False, True])
def test_no_short_cut_starts_a_disabled_kind(conn: psycopg.Connection, worker: Worker, disabled: bool) -> None:
    declare(conn, {"name": "job", "inbox": {}}, {"name": "writer"})
    writing = Worker(conn, ["job", "writer"])
    sleeper, writer = put(conn), put(conn, "writer")
    tasks = {each.id: each for each in writing.claim()}
    writing.end(tasks[sleeper], to="suspended")
    stepping = put(conn)
    (step,) = worker.claim()
    if disabled:
        conn.execute("select howdah.disable('job')")
    moved = pump_eagerly(worker, {"id": step.id, "epoch": step.epoch, "to": "running", "attempts": "reset"})
    sent = {
        "id": writer,
        "epoch": tasks[writer].epoch,
        "to": "succeeded",
        "send": [{"to": sleeper, "sender": writer, "body": 1}],
    }
    woken = pump_eagerly(writing, sent)
    assert (moved, woken) == (([], []) if disabled else ([stepping], [sleeper]))
    status = "queued" if disabled else "running"
    assert [task(conn, each, "status") for each in (stepping, sleeper)] == [status] * 2


# ── purge ──


def purge(conn: psycopg.Connection, kind: str = "job", **options: Any) -> dict[str, Any]:
    arguments = "".join(f", {name} => %s" for name in options)
    (row,) = rows(conn, f"select to_jsonb(p) from howdah.purge(%s{arguments}) p", [kind, *options.values()])
    return row[0]


def test_purge_forgets_a_kind_page_by_page(conn: psycopg.Connection, worker: Worker) -> None:
    declare(conn, {"name": "other"})
    done = [put(conn) for _ in range(3)]
    worker.done(*worker.claim())
    parked, waiting, other = park(conn, worker), put(conn), put(conn, "other")
    conn.execute("insert into howdah.event (task_id, type, kind) values (%s, 'x', 'job')", [done[0]])
    assert purge(conn, dry_run=True) == {"live": 2, "running": 0, "ended": 3, "events": 1, "more": True}
    assert count(conn) == 6
    ask(conn, "select howdah.leave(%s)", [worker.id])
    pages = 0
    while purge(conn, at_most=1)["more"]:
        pages += 1
    assert pages >= 2
    assert [row[0] for row in rows(conn, "select id from howdah.tasks")] == [other]
    assert rows(conn, "select * from howdah.event where kind = 'job'") == []
    assert rows(conn, "select name from howdah.kind") == [("other",)]
    assert {parked, waiting}.isdisjoint([other])
    with refused("HW001", "no handler for kind 'job'", ""):
        purge(conn)


def test_purge_leaves_what_runs_and_then_the_name(conn: psycopg.Connection, worker: Worker) -> None:
    running = put(conn)
    (claimed,) = worker.claim()
    assert purge(conn) == {"live": 0, "running": 1, "ended": 0, "events": 0, "more": False}
    assert rows(conn, "select name from howdah.kind") == [("job",)]
    worker.done(claimed)
    assert purge(conn)["ended"] == 1
    assert purge(conn) == {"live": 0, "running": 0, "ended": 0, "events": 0, "more": False}
    assert rows(conn, "select name from howdah.kind") == [("job",)], "a live worker knows it"
    ask(conn, "select howdah.leave(%s)", [worker.id])
    purge(conn)
    assert rows(conn, "select name from howdah.kind") == []
    assert running


def test_purge_tells_parents(conn: psycopg.Connection) -> None:
    declare(conn, {"name": "job"}, {"name": "boss", "inbox": {}})
    boss, child = put(conn, "boss"), put(conn)
    conn.execute("update howdah.task set parent = %s where id = %s", [boss, child])
    purge(conn)
    assert ask(conn, "select body ->> 'error' from howdah.message where task_id = %s", [boss]) == "kind job was purged"


# ── export and import ──


def exported(conn: psycopg.Connection, chosen: str = "{}") -> list[Any]:
    return [json.loads(row[0]) for row in rows(conn, "select line from howdah.export_tasks(%s)", [chosen])]


def imported(conn: psycopg.Connection, lines: list[Any], **options: Any) -> tuple[Any, ...]:
    arguments = "".join(f", {name} => %s" for name in options)
    with conn.transaction():
        (row,) = rows(conn, f"select * from howdah.import_tasks(%s{arguments})", [json.dumps(lines), *options.values()])
        conn.execute("select howdah.import_families()")
    return row


def test_what_is_exported_comes_back_as_it_was(conn: psycopg.Connection, worker: Worker) -> None:
    declare(conn, {"name": "job", "inbox": {}, "groups": ["g:{n}"], "finish_within": "1 h"})
    plain = put(conn, payload='{"n": 1, "f": 1.50, "none": null, "ü": [true, false]}', key="k", priority=-3, cost=0.5)
    running = put(conn, payload='{"n": 2}')
    conn.execute("update howdah.task set priority = 9 where id = %s", [running])
    worker.claim(1)
    parked = park(conn, worker, "it's\nbroken", payload='{"n": 3}', queue="q")
    asleep = put(conn, payload='{"n": 4}', queue="s")
    conn.execute("update howdah.task set status = 'suspended', run_at = 'infinity' where id = %s", [asleep])
    conn.execute("insert into howdah.message (task_id, sender, body) values (%s, %s, '{\"a\": null}')", [asleep, plain])
    conn.execute("update howdah.task set inbox_seq = 1 where id = %s", [asleep])
    before = exported(conn)
    conn.execute("delete from howdah.task")
    conn.execute("delete from howdah.message")
    assert imported(conn, before) == (4, 0)
    after = exported(conn)
    new = dict(zip([line["id"] for line in before], [line["id"] for line in after], strict=True))
    assert min(new.values()) > max(new)
    for old, line in zip(before, after, strict=True):
        old["id"] = new[old["id"]]
        if old["status"] == "running":
            old |= {"status": "queued", "attempt": 0}
        for message in old.get("inbox", ()):
            message["sender"] = new[message["sender"]]
        assert line == old
    assert task(conn, new[parked], "status", "error") == ("failed", "it's\nbroken")
    assert rows(conn, "select type, actor, data from howdah.history(%s)", [new[plain]]) == [
        ("import", conn.info.user, {"id": plain})
    ]
    assert {each.id for each in worker.claim()} == {new[plain], new[running]}
    assert rows(conn, "select * from howdah.imported") == []


def test_families_are_joined_again_under_their_new_ids(conn: psycopg.Connection) -> None:
    declare(conn, {"name": "job", "inbox": {}})
    child, parent, orphan, told = put(conn), put(conn), put(conn), put(conn)  # a child may have the lower id
    conn.execute("update howdah.task set parent = %s where id = any (%s)", [parent, [child, told]])
    conn.execute("update howdah.task set told = true, status = 'failed', error = 'x' where id = %s", [told])
    conn.execute("update howdah.task set parent = 7 where id = %s", [orphan])
    conn.execute(
        "update howdah.task set status = 'suspended', joining = true, children = 5, run_at = 'infinity' where id = %s",
        [parent],
    )
    lines = exported(conn)
    conn.execute("delete from howdah.task")
    imported(conn, lines)
    new = [row[0] for row in rows(conn, "select id from howdah.task order by id")]
    assert rows(conn, "select parent, children, status from howdah.task order by id") == [
        (new[1], 0, "queued"), (None, 1, "suspended"), (None, 0, "queued"), (new[1], 0, "failed"),
    ]  # fmt: skip
    conn.execute("delete from howdah.task")
    imported(conn, [lines[1]])
    assert rows(conn, "select status, children from howdah.task") == [("queued", 0)], "none of its children came along"


def test_ids_can_be_kept_and_are_not_given_out_again(conn: psycopg.Connection) -> None:
    declare(conn, {"name": "job"})
    first = put(conn)
    lines = exported(conn)
    with refused("HW006", f"line 1: id {first} is taken", "on_conflict = skip"):
        imported(conn, lines, keep_ids=True)
    assert imported(conn, lines, keep_ids=True, on_conflict="skip") == (0, 1)
    ask(conn, "select howdah.cancel(%s)", [first])
    assert imported(conn, lines, keep_ids=True, on_conflict="skip") == (0, 1), "an ended task has it"
    ahead = first + 10
    assert imported(conn, [lines[0] | {"id": ahead}], keep_ids=True) == (1, 0)
    assert put(conn) > ahead


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ({"payload": {}}, 'no handler for kind NULL'),
        ({"kind": "job", "priority": "x"}, 'invalid input syntax for type integer: "x"'),
        ({"kind": "job", "run_at": "noon"}, "invalid input syntax for type timestamp"),
        ({"kind": "job", "status": "failed"}, "failed_has_an_error"),
        ({"kind": "job", "status": "done"}, "status_is_known"),
        ({"kind": "nobody"}, "no handler for kind 'nobody'"),
        ("x", ""),
    ],
)  # fmt: skip
def test_a_line_that_is_none_is_named_and_nothing_is_written(conn: psycopg.Connection, line: Any, said: str) -> None:
    declare(conn, {"name": "job"})
    with pytest.raises(psycopg.Error) as caught:
        imported(conn, [{"kind": "job"}, None, line, {"kind": "job"}], first=11)
    assert caught.value.diag.sqlstate in ("HW003", "HW001")
    assert (caught.value.diag.message_primary or "").startswith("line 13: ")
    assert said in str(caught.value)
    assert count(conn) == 0


def test_a_key_that_is_taken_is_named_or_skipped(conn: psycopg.Connection) -> None:
    declare(conn, {"name": "job"})
    put(conn, key="k")
    lines = [{"kind": "job", "key": "free"}, {"kind": "job", "key": "k"}]
    with refused("HW006", "line 2: key 'k' is taken", "on_conflict = skip"):
        imported(conn, lines)
    assert imported(conn, lines, on_conflict="skip") == (1, 1)
    with refused("HW006", "key 'twice' is taken", ""):
        imported(conn, [{"kind": "job", "key": "twice"}, {"kind": "job", "key": "twice"}])
    with refused("HW002", "on_conflict must be raise or skip", ""):
        imported(conn, lines, on_conflict="merge")


def test_import_wakes_workers(conn: psycopg.Connection, connect: Connect, worker: Worker) -> None:
    from sql.protocol import heard

    worker.fall_asleep()
    assert "wake default" in heard(connect(), lambda: imported(conn, [{"kind": "job"}]))


def test_a_filter_that_says_nothing_changes_nothing(conn: psycopg.Connection, worker: Worker) -> None:
    waits = put(conn)
    for call in (
        "cancel_all('{}')",
        "edit_all('{}', queue => 'x')",
        "retry_all('{}')",
        """cancel_all('{"kind": null}')""",
    ):
        with refused("HW002", "no task was named", '{"all": true}'):
            conn.execute(f"select howdah.{call}".encode())
    assert task(conn, waits, "status", "queue") == ("queued", "default")
    assert conn.execute("""select outcome from howdah.cancel_all('{"all": true}')""").fetchall() == [("cancelled",)]


def test_an_id_that_an_ended_task_has_is_what_is_taken(conn: psycopg.Connection, worker: Worker) -> None:
    mine = put(conn, key="k")
    line = ask(conn, "select line from howdah.export_tasks('{}')")
    conn.execute("select howdah.cancel(%s)", [mine])
    with refused("HW006", f"line 1: id {mine} is taken", "on_conflict = skip"):
        conn.execute("select howdah.import_tasks(jsonb_build_array(%s::jsonb), keep_ids => true)", [line])
