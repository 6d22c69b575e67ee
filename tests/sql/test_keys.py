"""A key is one task's: while it is live, for a time, or for good; whoever asks for it meanwhile gets what on_conflict says."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from sql.protocol import Worker, ask, count, declare, heard, put, refused, task

# ── who may have it ──


def expire(conn: psycopg.Connection, key: str = "k") -> None:
    """Its time is over."""
    conn.execute("update howdah.key set until = howdah.now() - interval '1 s' where key = %s", [key])


def run(worker: Worker) -> None:
    """All that is due succeeds."""
    worker.done(*worker.claim())


def many(conn: psycopg.Connection, payloads: list[dict[str, Any]], kind: str = "job", **options: Any) -> list[int]:
    arguments = "".join(f", {name} => %s" for name in options)
    rows = conn.execute(
        f"select howdah.enqueue_many(%s, %s{arguments})".encode(), [kind, json.dumps(payloads), *options.values()]
    ).fetchall()
    return [row[0] for row in rows]


@pytest.mark.usefixtures("worker")
def test_a_task_without_a_window_reserves_nothing(conn: psycopg.Connection) -> None:
    put(conn, key="k")
    assert ask(conn, "select count(*) from howdah.key") == 0


@pytest.mark.parametrize("end", ["succeeded", "cancelled"])
def test_within_its_time_a_key_stays_taken_when_its_task_has_ended(
    conn: psycopg.Connection, worker: Worker, end: str
) -> None:
    first = put(conn, key="k", unique_for="1 hour")
    if end == "succeeded":
        run(worker)
    else:
        conn.execute("select howdah.cancel(%s)", [first])
    assert task(conn, first, "status") == end
    assert put(conn, key="k") == first  # with or without a window of its own
    assert put(conn, key="k", unique_for="1 s") == first
    assert put(conn, key="k", on_conflict="skip") is None
    with refused("HW006", f"by task {first} (job), which has ended: {end}", "on_conflict = return"):
        put(conn, key="k", on_conflict="raise")
    for on_conflict in ("replace", "merge"):
        with refused("HW006", "is taken until", f"What has ended cannot be {on_conflict}d"):
            put(conn, key="k", on_conflict=on_conflict)
    assert count(conn) == 1

    expire(conn)
    second = put(conn, key="k", unique_for="1 hour", on_conflict="raise")
    assert second != first
    assert ask(conn, "select task_id from howdah.key where key = 'k' and until > howdah.now()") == second


@pytest.mark.usefixtures("worker")
def test_while_its_task_is_live_a_key_is_taken_though_its_time_is_over(conn: psycopg.Connection) -> None:
    first = put(conn, key="k", unique_for="1 s")
    expire(conn)
    assert put(conn, key="k", unique_for="1 s") == first
    with refused("HW006", f"key 'k' is held by task {first} (job, queued)", "choose another key"):
        put(conn, key="k", on_conflict="raise")


def test_a_key_is_taken_for_good(conn: psycopg.Connection, worker: Worker) -> None:
    first = put(conn, key="k", unique_for="1000 years")
    run(worker)
    with refused("HW006", f"key 'k' is taken for good by task {first}", "on_conflict = return"):
        put(conn, key="k", on_conflict="raise")
    # However long: no time of PostgreSQL is exceeded.
    other = put(conn, key="other", unique_for="170000000 years")
    assert ask(conn, "select reason from howdah.why_key('other') limit 1").endswith(
        "it stays taken for good, also when that has ended"
    )
    assert other != first


@pytest.mark.usefixtures("worker")
def test_nothing_is_left_of_a_key_whose_enqueue_was_rolled_back(conn: psycopg.Connection) -> None:
    with conn.transaction(force_rollback=True):
        first = put(conn, key="k", unique_for="1 hour")
    assert ask(conn, "select count(*) from howdah.key") == 0
    assert put(conn, key="k", on_conflict="raise") > first


@pytest.mark.usefixtures("worker")
def test_a_window_must_be_one_and_needs_a_key(conn: psycopg.Connection) -> None:
    for wrong in ("0", "-1 hour"):
        with refused("HW002", "unique_for must be longer than nothing", "1000 years is for good"):
            put(conn, key="k", unique_for=wrong)
        with refused("HW002", "unique_for must be longer than nothing", "1000 years is for good"):
            many(conn, [{}], key="k", unique_for=wrong)
    with refused("HW002", "unique_for was given, and there is no key", "Give a key"):
        put(conn, unique_for="1 hour")
    with refused("HW002", "unique_for was given, and there is no key", "Give a key"):
        many(conn, [{}], unique_for="1 hour")
    assert count(conn) == 0


def test_a_kind_says_which_key_its_tasks_have_and_for_how_long(conn: psycopg.Connection, worker: Worker) -> None:
    declare(conn, {"name": "job", "key": "job:{n}", "unique_for": "1 hour", "on_conflict": "skip"})
    first = put(conn, payload='{"n": 1}')
    assert task(conn, first, "key") == "job:1"
    run(worker)
    assert put(conn, payload='{"n": 1}') is None
    assert put(conn, payload='{"n": 1}', on_conflict="return") == first
    assert put(conn, payload='{"n": 2}') is not None


def test_retention_forgets_keys_whose_time_is_over(conn: psycopg.Connection, worker: Worker) -> None:
    for key in ("over", "live", "still"):
        put(conn, key=key, unique_for="1 hour")
    conn.execute("select howdah.cancel(howdah.holder('over'))")
    expire(conn, "over")
    expire(conn, "live")  # its task holds it anyway
    conn.execute("select * from howdah.retain()")
    assert conn.execute("select key from howdah.key").fetchall() == [("still",)]
    with refused("HW006", "key 'live' is held by task", ""):
        put(conn, key="live", on_conflict="raise")


def test_retention_passes_over_a_key_that_is_being_taken_over(
    conn: psycopg.Connection, worker: Worker, connect: Callable[[], psycopg.Connection]
) -> None:
    put(conn, key="k", unique_for="1 hour")
    run(worker)
    expire(conn)
    other = connect()
    with conn.transaction():
        new = put(conn, key="k", unique_for="1 hour")
        other.execute("select * from howdah.retain()")  # and does not wait
    assert ask(conn, "select task_id from howdah.key") == new


def test_a_plain_insert_respects_what_is_reserved(conn: psycopg.Connection, worker: Worker) -> None:
    first = put(conn, key="k", unique_for="1 hour")
    run(worker)
    with refused("HW006", f"by task {first} (job), which has ended: succeeded", "return"):
        conn.execute("insert into howdah.task (kind, key) values ('job', 'k')")
    expire(conn)
    conn.execute("insert into howdah.task (kind, key) values ('job', 'k')")
    with pytest.raises(psycopg.errors.UniqueViolation):
        conn.execute("insert into howdah.task (kind, key) values ('job', 'k')")


@pytest.mark.usefixtures("worker")
def test_a_plain_insert_cannot_reserve_and_says_so(conn: psycopg.Connection) -> None:
    declare(conn, {"name": "job", "key": "job:{n}", "unique_for": "1 hour"})
    with refused("HW002", "keep their keys taken when they have ended", "SELECT howdah.enqueue('job'"):
        conn.execute("""insert into howdah.task (kind, payload) values ('job', '{"n": 1}')""")
    assert count(conn) == 0


# ── replace and merge ──


def stands(conn: psycopg.Connection, worker: Worker, where: str) -> int:
    """A task under key k that is there."""
    holder = put(conn, "job", key="k", payload='{"ids": [1], "n": 1, "old": true}', delay="1 hour", priority=5)
    if where == "running":
        conn.execute("select howdah.retry(%s)", [holder])
        assert worker.claim()
    elif where == "failed":
        conn.execute("update howdah.task set status = 'failed', error = 'broken', attempt = 3 where id = %s", [holder])
    elif where == "suspended":
        conn.execute("update howdah.task set status = 'suspended', run_at = 'infinity' where id = %s", [holder])
    elif where == "other kind":
        declare(conn, {"name": "other"})
        conn.execute("update howdah.task set kind = 'other' where id = %s", [holder])
    elif where == "family":
        conn.execute("update howdah.task set children = 1 where id = %s", [holder])
    return holder


@pytest.mark.parametrize("where", ["queued", "suspended", "failed"])
def test_a_task_that_does_not_run_is_replaced(conn: psycopg.Connection, worker: Worker, where: str) -> None:
    holder = stands(conn, worker, where)
    assert put(conn, key="k", payload='{"n": 2}', queue="q", groups=["g"], on_conflict="replace") == holder
    columns = ("payload", "status", "queue", "priority", "attempt", "error", "groups")
    assert task(conn, holder, *columns) == ({"n": 2}, "queued", "q", 0, 0, None, ["g"])
    assert ask(conn, "select run_at <= now() from howdah.task")


@pytest.mark.parametrize("where", ["queued", "suspended", "failed"])
def test_a_task_that_does_not_run_takes_in_what_is_merged(conn: psycopg.Connection, worker: Worker, where: str) -> None:
    holder = stands(conn, worker, where)
    new = '{"ids": [2, 3], "n": 2, "new": [null]}'
    assert put(conn, key="k", payload=new, queue="q", priority=1, on_conflict="merge") == holder
    payload, status, queue, priority, error = task(conn, holder, "payload", "status", "queue", "priority", "error")
    assert payload == {"ids": [1, 2, 3], "n": 2, "old": True, "new": [None]}
    assert (status, queue, priority, error) == ("queued", "default", 5, None)
    # What waited goes on waiting; what waited for nobody is due.
    assert ask(conn, "select run_at > now() from howdah.task") is (where == "queued")


@pytest.mark.usefixtures("worker")
def test_only_a_time_that_was_asked_for_moves_what_is_merged(conn: psycopg.Connection) -> None:
    declare(conn, {"name": "job", "delay": "1 hour"})
    holder = put(conn, key="k", on_conflict="merge")
    due = task(conn, holder, "run_at")
    put(conn, key="k", on_conflict="merge")
    assert task(conn, holder, "run_at") == due
    put(conn, key="k", on_conflict="merge", delay="2 hours")
    assert task(conn, holder, "run_at") > due
    put(conn, key="k", on_conflict="merge", run_at="2040-01-01T00:00Z")
    assert task(conn, holder, "run_at").year == 2040
    put(conn, key="k", on_conflict="merge", priority=9)
    put(conn, key="k", on_conflict="merge", priority=-9)
    assert task(conn, holder, "run_at", "priority")[1] == 9
    assert task(conn, holder, "run_at").year == 2040


@pytest.mark.usefixtures("worker")
def test_replace_moves_the_time_which_is_a_debounce(conn: psycopg.Connection) -> None:
    holder = put(conn, key="k", delay="1 hour", on_conflict="replace")
    due = task(conn, holder, "run_at")
    assert put(conn, key="k", delay="1 hour", on_conflict="replace") == holder
    assert task(conn, holder, "run_at") > due


@pytest.mark.parametrize("on_conflict", ["replace", "merge"])
@pytest.mark.parametrize(
    ("where", "hint"),
    [
        ("running", "A running task cannot be"),
        ("family", "It has children, and so cannot be"),
        ("other kind", "takes a task of the same kind only"),
    ],
)
def test_what_cannot_be_replaced_or_merged_is_refused(
    conn: psycopg.Connection, worker: Worker, on_conflict: str, where: str, hint: str
) -> None:
    holder = stands(conn, worker, where)
    before = task(conn, holder, "payload", "run_at", "epoch")
    with pytest.raises(psycopg.Error) as caught:
        put(conn, key="k", payload='{"n": 2}', on_conflict=on_conflict)
    diag = caught.value.diag
    assert (diag.sqlstate, diag.message_detail) == ("HW006", str(holder))
    assert hint in (diag.message_hint or "")
    assert task(conn, holder, "payload", "run_at", "epoch") == before
    assert put(conn, key="k", on_conflict="return") == holder
    assert put(conn, key="k", on_conflict="skip") is None


@pytest.mark.usefixtures("worker")
def test_a_machine_at_another_step_takes_in_nothing(conn: psycopg.Connection) -> None:
    declare(conn, {"name": "m", "steps": {"A": {"position": 0}, "B": {"position": 1}}})
    holder = put(conn, "m", key="k", step="A")
    conn.execute("update howdah.task set step = 'B' where id = %s", [holder])
    with refused("HW006", f"key 'k' is held by task {holder}", "It stands at another step"):
        put(conn, "m", key="k", step="A", on_conflict="merge")
    assert put(conn, "m", key="k", step="A", on_conflict="replace") == holder
    assert task(conn, holder, "step") == "A"


@pytest.mark.usefixtures("worker")
def test_what_is_replaced_keeps_the_longer_of_both_times(conn: psycopg.Connection) -> None:
    put(conn, key="k", unique_for="1 hour")
    until = ask(conn, "select until from howdah.key")
    put(conn, key="k", unique_for="1 s", on_conflict="replace")
    assert ask(conn, "select until from howdah.key") == until
    put(conn, key="k", unique_for="2 hours", on_conflict="merge")
    assert ask(conn, "select until from howdah.key") > until


# ── many ──


@pytest.mark.usefixtures("worker")
def test_of_many_each_has_the_key_that_its_payload_makes(conn: psycopg.Connection) -> None:
    ids = many(conn, [{"n": n, "t": n % 2} for n in (3, 1, 2)], key="job:{n}", groups=["t:{t}", "all"])
    assert ids == sorted(ids)
    rows = [task(conn, each, "payload ->> 'n'", "key", "groups") for each in ids]
    assert rows == [
        ("3", "job:3", ["all", "t:1"]),
        ("1", "job:1", ["all", "t:1"]),
        ("2", "job:2", ["all", "t:0"]),
    ]


def test_duplicates_do_not_fail_the_batch(conn: psycopg.Connection, worker: Worker) -> None:
    ended = put(conn, key="job:1", unique_for="1 hour")
    run(worker)
    live = put(conn, key="job:2")
    payloads = [{"n": n} for n in (5, 1, 2, 5, 4, 5)]
    ids = many(conn, payloads, key="job:{n}")
    five, one, two, again, four, third = ids
    assert (one, two, again, third) == (ended, live, five, five)
    assert task(conn, four, "key") == "job:4"
    assert ask(conn, "select count(*) from howdah.task") == 3

    assert many(conn, payloads, key="job:{n}", on_conflict="skip") == []
    new = many(conn, [*payloads, {"n": 6}, {"n": 6}], key="job:{n}", on_conflict="skip")
    assert [task(conn, each, "key") for each in new] == ["job:6"]


@pytest.mark.parametrize("holder", ["live", "ended", "in the batch"])
def test_with_raise_none_of_many_is_written(conn: psycopg.Connection, worker: Worker, holder: str) -> None:
    first = put(conn, key="job:1", unique_for="1 hour") if holder != "in the batch" else None
    if holder == "ended":
        run(worker)
    payloads = [{"n": n} for n in ((2, 1, 1) if holder == "in the batch" else (2, 1))]
    before = count(conn)
    with pytest.raises(psycopg.Error) as caught:
        many(conn, payloads, key="job:{n}", on_conflict="raise")
    diag = caught.value.diag
    assert diag.sqlstate == "HW006"
    assert diag.message_detail == (None if first is None else str(first))
    assert {
        "live": f"key 'job:1' is held by task {first} (job, queued), and is taken until",
        "ended": "key 'job:1' is taken until",
        "in the batch": "rows 2 and 3 have the same key 'job:1'",
    }[holder] in (diag.message_primary or "")
    assert count(conn) == before


def test_many_reserve_their_keys(conn: psycopg.Connection, worker: Worker) -> None:
    declare(conn, {"name": "job", "key": "job:{n}", "unique_for": "1 hour"})
    first = many(conn, [{"n": 1}, {"n": 2}])
    run(worker)
    assert many(conn, [{"n": 2}, {"n": 1}]) == first[::-1]
    expire(conn, "job:1")
    third, second = many(conn, [{"n": 1}, {"n": 2}])
    assert (second, third > second) == (first[1], True)
    assert ask(conn, "select task_id from howdah.key where key = 'job:1'") == third


@pytest.mark.usefixtures("worker")
def test_many_are_replaced_and_merged_one_by_one(conn: psycopg.Connection) -> None:
    one, two, again = many(
        conn, [{"n": 1, "ids": [1]}, {"n": 2}, {"n": 1, "ids": [2]}], key="job:{n}", on_conflict="merge"
    )
    assert one == again
    assert one != two
    assert task(conn, one, "payload") == {"n": 1, "ids": [1, 2]}
    assert many(conn, [{"n": 2, "new": True}], key="job:{n}", on_conflict="replace") == [two]
    assert task(conn, two, "payload") == {"n": 2, "new": True}


@pytest.mark.usefixtures("worker")
def test_what_cannot_be_meant_of_many_is_refused_and_none_is_written(conn: psycopg.Connection) -> None:
    with refused("HW003", "n of the payload is missing", "text, a whole number"):
        many(conn, [{"n": 1}, {}], key="job:{n}")
    with refused("HW002", "key must be 1 to 500 characters", ""):
        many(conn, [{"n": 1}, {"n": "x" * 501}], key="{n}")
    with refused("HW002", "on_conflict must be return, raise, skip, replace or merge", ""):
        many(conn, [{"n": 1}], key="{n}", on_conflict="ignore")
    assert many(conn, [], key="{n}") == []
    for rows in ("{}", "[1]", '[{"payload": []}]', "[{}]"):
        with refused("HW003", "rows must be a JSON array of objects, each with a payload", "Write it like"):
            conn.execute("select howdah.put_many('job', %s, 'default', 0, null, null, 'return')", [rows])
    assert count(conn) == 0


# ── by key ──


def test_the_holder_of_a_key(conn: psycopg.Connection, worker: Worker) -> None:
    with refused("HW004", "no task holds key 'k'", "It is free"):
        conn.execute("select howdah.holder('k')")
    assert ask(conn, "select howdah.holder('k', missing_ok => true)") is None
    first = put(conn, key="k", unique_for="1 hour")
    assert ask(conn, "select howdah.holder('k')") == first
    assert ask(conn, "select howdah.cancel(howdah.holder('k'))") == "cancelled"
    assert ask(conn, "select howdah.holder('k')") == first
    expire(conn)
    second = put(conn, key="k")
    assert ask(conn, "select howdah.holder('k')") == second


def test_why_by_key(conn: psycopg.Connection, worker: Worker) -> None:
    def why() -> list[tuple[str, str, str]]:
        return conn.execute("select * from howdah.why_key('k')").fetchall()

    assert [(code, reason) for code, reason, _ in why()] == [("key free", "Key 'k' is free: no task holds it")]
    first = put(conn, key="k")
    held, then = why()
    assert held[0] == "key"
    assert held[1].startswith(f"Key 'k' is held by task {first} (job, queued) since ")
    assert held[1].endswith(", as long as that is live")
    assert f"howdah cancel {first}" in held[2]
    assert then[0] == "next"
    conn.execute("select howdah.cancel(%s)", [first])

    second = put(conn, key="k", unique_for="1 hour")
    assert "; it stays taken until 2" in why()[0][1]
    run(worker)
    ((code, reason, advice),) = why()
    assert code == "key"
    assert reason.startswith("Key 'k' is taken until 2")
    assert reason.endswith(f" by task {second} (job), which has ended: succeeded")
    conn.execute(advice.partition(": ")[2].encode())
    assert why()[0][0] == "key free"


def test_nothing_has_to_be_kept_of_the_task_that_holds_a_key(conn: psycopg.Connection) -> None:
    declare(conn, {"name": "job", "keep": None})
    first = put(conn, key="k", unique_for="1000 years")
    conn.execute("select howdah.cancel(%s)", [first])
    assert count(conn) == 0
    assert put(conn, key="k") == first
    assert conn.execute("select reason from howdah.why_key('k')").fetchall() == [
        (f"Key 'k' is taken for good by task {first} (job), which has ended",)
    ]


# ── children ──


def spawn(conn: psycopg.Connection, **child: Any) -> int:
    child_id = ask(conn, "select nextval(pg_get_serial_sequence('howdah.task', 'id'))")
    rows = [{"tasks": [{"id": child_id, "kind": "job", **child}]}]
    conn.execute("select howdah.spawn(%s)", [json.dumps(rows)])
    return child_id


def test_what_an_attempt_writes_respects_and_reserves_keys(conn: psycopg.Connection, worker: Worker) -> None:
    first = spawn(conn, key="k", unique_for=3600)
    assert ask(conn, "select task_id from howdah.key where key = 'k'") == first
    run(worker)
    with refused("HW006", f"key 'k', of a task that was to be spawned, is held by task {first} (job, succeeded)", ""):
        spawn(conn, key="k")
    spawn(conn, key="k", on_conflict="skip")
    assert count(conn) == 1
    expire(conn)
    assert task(conn, spawn(conn, key="k"), "key") == "k"


def test_what_an_attempt_writes_has_the_key_and_time_of_its_kind(conn: psycopg.Connection, worker: Worker) -> None:
    declare(conn, {"name": "job", "key": "job:{n}", "unique_for": "1 hour"})
    first = spawn(conn, payload={"n": 7})
    assert conn.execute("select key, task_id from howdah.key").fetchall() == [("job:7", first)]
    run(worker)
    with refused("HW006", "key 'job:7'", ""):
        spawn(conn, payload={"n": 7})


# ── replace and merge heed where the task is, and what it is for ──


def test_a_drained_queue_takes_no_replaced_task(conn: psycopg.Connection, worker: Worker) -> None:
    put(conn, key="k")
    conn.execute("select howdah.drain('other')")
    with refused("HW010", "queue other takes no more tasks", "howdah resume other"):
        put(conn, key="k", queue="other", on_conflict="replace")


def test_what_is_merged_keeps_its_groups_and_wakes_its_own_queue(conn: psycopg.Connection, worker: Worker) -> None:
    first = put(conn, key="k", queue="mine", groups=["g"], delay="1 h")
    sleeper = Worker(conn, ["job"], ["mine"])
    sleeper.fall_asleep()
    told = heard(conn, lambda: put(conn, key="k", queue="other", on_conflict="merge", delay="0"))
    assert told == ["wake mine"]
    assert task(conn, first, "queue", "groups") == ("mine", ["g"])


def test_what_is_merged_into_one_that_is_late_is_not_late(conn: psycopg.Connection, worker: Worker) -> None:
    late = put(conn, key="k", start_before="2020-01-01", late="park")
    conn.execute("select howdah.expire()")
    assert task(conn, late, "status") == "failed"
    assert put(conn, key="k", on_conflict="merge") == late
    assert [each.id for each in worker.claim()] == [late]
