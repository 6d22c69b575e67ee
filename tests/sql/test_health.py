"""Every colour and every code of howdah.health(), each from the condition itself."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

import psycopg
import pytest

from sql.protocol import Claimed, Worker, ask, declare, put, refused
from waiting import until_sync


class Finding(NamedTuple):
    colour: str
    code: str
    reason: str
    advice: str
    figures: dict[str, Any]


def found(conn: psycopg.Connection, scope: str, name: str) -> list[Finding]:
    """What health says of this one, worst first."""
    rows = conn.execute(
        "select colour, code, reason, advice, figures from howdah.health() where scope = %s and name = %s",
        [scope, name],
    ).fetchall()
    assert all(all(row[:4]) for row in rows), "everything has a reason and an advice"
    return [Finding(*row) for row in rows]


def one(conn: psycopg.Connection, scope: str, name: str) -> Finding:
    rows = found(conn, scope, name)
    assert len(rows) == 1, rows
    return rows[0]


def colours(conn: psycopg.Connection, *scopes: str) -> dict[tuple[str, str], list[tuple[str, str]]]:
    """(scope, name) → the colours and codes of it; without scopes of all."""
    answer: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for scope, name, colour, code in conn.execute("select scope, name, colour, code from howdah.health()"):
        if not scopes or scope in scopes:
            answer.setdefault((scope, name), []).append((colour, code))
    return answer


WELL = [("green", "well")]


def put_stranger(conn: psycopg.Connection, tasks: int = 1, name: str = "stranger") -> None:
    """Tasks of a kind that nobody knows any more."""
    declare(conn, {"name": name})
    conn.execute("insert into howdah.task (kind) select %s from generate_series(1, %s)", [name, tasks])
    conn.execute("delete from howdah.kind where name = %s", [name])


# ── green ──


def test_with_nothing_wrong_there_is_a_green_row_for_each_thing(conn: psycopg.Connection, worker: Worker) -> None:
    declare(conn, {"name": "letter", "queue": "mail"})
    conn.execute("select howdah.set_queue('slow', 1)")
    conn.execute("select howdah.schedule('nightly', 'job', cron => '0 3 * * *')")
    put(conn)
    database = conn.info.dbname
    assert colours(conn) == {
        ("database", database): WELL,
        ("worker", "workers"): WELL,
        ("queue", "default"): WELL,
        ("queue", "mail"): WELL,
        ("queue", "slow"): WELL,
        ("kind", "job"): WELL,
        ("kind", "letter"): WELL,
        ("schedule", "nightly"): WELL,
    }


def test_nothing_at_all_is_green(conn: psycopg.Connection) -> None:
    assert {colour for rows in colours(conn).values() for colour, _ in rows} == {"green"}


def test_worst_comes_first(conn: psycopg.Connection, worker: Worker) -> None:
    declare(conn, {"name": "nobody", "queue": "elsewhere"})
    put(conn, "nobody")
    conn.execute("select howdah.enqueue('job', run_at => now() - interval '2 min')")
    shown = [row[0] for row in conn.execute("select colour from howdah.health()")]
    assert shown == sorted(shown, key=["red", "yellow", "green"].index)
    assert {"red", "yellow", "green"} == set(shown)


# ── tasks that wait ──


@pytest.mark.parametrize(
    ("waited", "colour"), [("50 s", "green"), ("70 s", "yellow"), ("9 min", "yellow"), ("11 min", "red")]
)
def test_a_due_task_that_waits(waited: str, colour: str, conn: psycopg.Connection, worker: Worker) -> None:
    task = ask(conn, "select howdah.enqueue('job', run_at => now() - %s::interval)", [waited])
    put(conn)
    for scope, name in (("kind", "job"), ("queue", "default")):
        finding = one(conn, scope, name)
        assert finding.colour == colour
        if colour != "green":
            assert finding.code == "wait"
            assert "; yellow is from 1m, red from 10m" in finding.reason
            assert f"howdah why {task}" in finding.advice
            assert (finding.figures["task"], finding.figures["due"]) == (task, 2)
            assert finding.figures["waited"] > finding.figures["warn"] == 60


def test_the_thresholds_of_the_kind_count_for_it_and_for_its_queue(conn: psycopg.Connection) -> None:
    hour = "now() - interval '1 hour'"
    declare(conn, {"name": "patient", "warn": {"wait": 7200}}, {"name": "urgent", "queue": "fast", "warn": {"wait": 5}})
    Worker(conn, ["patient", "urgent"])
    conn.execute(f"select howdah.enqueue('patient', run_at => {hour})".encode())
    conn.execute("select howdah.enqueue('urgent', run_at => now() - interval '20 s')")
    assert colours(conn, "kind", "queue") == {
        ("kind", "patient"): WELL,
        ("queue", "default"): WELL,
        ("kind", "urgent"): [("yellow", "wait")],
        ("queue", "fast"): [("yellow", "wait")],
    }
    # Red is ten times as far, where it was not said.
    conn.execute("select howdah.enqueue('urgent', run_at => now() - interval '1 min')")
    assert one(conn, "kind", "urgent").colour == "red"


@pytest.mark.parametrize(
    ("warn", "alarm", "expected"),
    [
        (None, None, (60, 600, 3, None, 1, 100)),
        ({"wait": 5, "retries": 2, "failed": 3}, None, (5, 50, 2, None, 3, 300)),
        (None, {"wait": 30, "retries": 2, "failed": 1}, (30, 30, 2, 2, 1, 1)),
        ({"wait": 1}, {"wait": 2, "retries": 9}, (1, 2, 3, 9, 1, 100)),
    ],
)
def test_what_is_not_said_of_thresholds(
    warn: Any, alarm: Any, expected: tuple[Any, ...], conn: psycopg.Connection
) -> None:
    given = [warn and json.dumps(warn), alarm and json.dumps(alarm)]
    assert conn.execute("select * from howdah.thresholds(%s, %s)", given).fetchone() == expected


@pytest.mark.parametrize(
    ("thresholds", "said"),
    [
        ({"wait": "5m"}, '.wait must be a number from 0, not "5m"'),
        ({"waits": 3}, "has no threshold 'waits'"),
        ({"failed": -1}, ".failed must be a number from 0, not -1"),
        ({"retries": None}, ".retries must be a number from 0, not null"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("which", ["warn", "alarm"])
def test_thresholds_that_cannot_be_meant_are_refused(
    which: str, thresholds: dict[str, Any], said: str, conn: psycopg.Connection
) -> None:
    with refused("HW002", said, '{"wait": 300, "retries": 3, "failed": 1}'):
        declare(conn, {"name": "job", which: thresholds})
    assert ask(conn, "select count(*) from howdah.kind") == 0


def test_thresholds_that_got_in_all_the_same_do_not_break_health(conn: psycopg.Connection, worker: Worker) -> None:
    conn.execute("""update howdah.kind set warn = '{"wait": "5m", "retries": [], "failed": null}'""")
    conn.execute("select howdah.enqueue('job', run_at => now() - interval '2 min')")
    assert one(conn, "kind", "job").code == "wait"


def test_what_waits_by_intention_is_not_waiting(conn: psycopg.Connection, worker: Worker) -> None:
    declare(conn, {"name": "off"})
    conn.execute("update howdah.kind set disabled_at = now() where name = 'off'")
    conn.execute("select howdah.enqueue('off', run_at => now() - interval '1 hour')")
    put(conn, delay="1 hour")
    conn.execute("update howdah.task set created_at = now() - interval '1 hour'")
    assert colours(conn, "kind", "queue") == {("kind", "job"): WELL, ("kind", "off"): WELL, ("queue", "default"): WELL}


def test_a_paused_queue_is_yellow_only_with_due_tasks_and_its_kinds_are_not_blamed(
    conn: psycopg.Connection, worker: Worker
) -> None:
    conn.execute("select howdah.pause('default', 'SES is down')")
    put(conn, delay="1 hour")
    assert one(conn, "queue", "default").colour == "green"
    conn.execute("select howdah.enqueue('job', run_at => now() - interval '1 hour')")
    finding = one(conn, "queue", "default")
    assert (finding.colour, finding.code, finding.advice) == ("yellow", "paused", "howdah resume default")
    assert re.fullmatch(r"It is paused since .* UTC by \S+: SES is down; 1 task is due", finding.reason)
    assert one(conn, "kind", "job").colour == "green"


def test_of_each_priority_and_each_group_the_oldest_is_found(conn: psycopg.Connection, worker: Worker) -> None:
    old = "now() - interval '1 hour'"
    declare(conn, *({"name": name} for name in ("low", "grouped")))
    Worker(conn, ["low", "grouped"])
    for n in range(3):
        put(conn, priority=5 + n)
        put(conn, groups=[f"g{n}"])
    conn.execute(f"select howdah.enqueue('low', run_at => {old}, priority => -7)".encode())
    conn.execute(f"select howdah.enqueue('grouped', run_at => {old}, groups => '{{g1}}')".encode())
    conn.execute("insert into howdah.task (kind, queue, groups) values ('job', 'only groups', '{z}')")
    assert {name: rows[0] for (_, name), rows in colours(conn, "kind").items()} == {
        "job": ("green", "well"),
        "low": ("red", "wait"),
        "grouped": ("red", "wait"),
    }
    rows = conn.execute("select queue, kind, due, more from howdah.longest_waiting(now()) order by 1, 2").fetchall()
    assert rows == [
        ("default", "grouped", 1, False),
        ("default", "job", 6, False),
        ("default", "low", 1, False),
        ("only groups", "job", 1, False),
    ]


# ── nobody to run them ──


def test_no_worker_at_all(conn: psycopg.Connection) -> None:
    declare(conn, {"name": "job"})
    put(conn, delay="1 hour")
    assert one(conn, "kind", "job").colour == "green"
    assert one(conn, "worker", "workers")[:2] == ("yellow", "no worker")
    put(conn)
    finding = one(conn, "kind", "job")
    assert finding[:2] == ("red", "no worker")
    assert finding.reason == "1 task of it is due, and no worker is alive"
    assert "howdah worker" in finding.advice
    assert one(conn, "queue", "default")[:2] == ("red", "no worker")


@pytest.mark.parametrize("what", ["suspended", "schedule", "grouped"])
def test_whatever_needs_a_worker_some_day_makes_its_absence_yellow(what: str, conn: psycopg.Connection) -> None:
    declare(conn, {"name": "job"})
    assert one(conn, "worker", "workers").colour == "green"
    if what == "schedule":
        conn.execute("select howdah.schedule('nightly', 'job', cron => '0 3 * * *')")
    else:
        put(conn, delay="1 hour", **({"groups": ["g"]} if what == "grouped" else {}))
        if what == "suspended":
            conn.execute("update howdah.task set status = 'suspended'")
    assert one(conn, "worker", "workers")[:2] == ("yellow", "no worker")


def test_a_kind_that_no_worker_knows(conn: psycopg.Connection, worker: Worker) -> None:
    put_stranger(conn, 2)
    finding = one(conn, "kind", "stranger")
    assert finding[:2] == ("red", "no worker")
    assert finding.reason == "2 tasks of it are due, and no live worker knows this kind"
    # It is not the fault of its queue.
    assert one(conn, "queue", "default").colour == "green"


def test_a_queue_that_no_worker_serves(conn: psycopg.Connection) -> None:
    declare(conn, {"name": "job"}, {"name": "other"})
    Worker(conn, ["job"], ["mail"])
    Worker(conn, ["other"], ["default"])
    put(conn)
    assert one(conn, "kind", "job").reason == (
        "1 task of it is due in queue default, and no live worker that knows this kind serves that queue"
    )
    assert one(conn, "queue", "default").colour == "green"
    put(conn, queue="lonely")
    finding = one(conn, "queue", "lonely")
    assert (finding.colour, finding.code, "-q lonely" in finding.advice) == ("red", "no worker", True)


@pytest.mark.parametrize("how", ["stopping", "left", "expired"])
def test_a_worker_on_its_way_out_is_none(how: str, conn: psycopg.Connection, worker: Worker) -> None:
    put(conn)
    assert one(conn, "kind", "job").colour == "green"
    match how:
        case "stopping":
            conn.execute("select howdah.stop_workers()")
        case "left":
            conn.execute("select howdah.leave(%s)", [worker.id])
        case _:
            conn.execute("update howdah.worker set lease_until = now() - interval '1 s'")
    assert one(conn, "kind", "job")[:2] == ("red", "no worker")


# ── attempts ──


def park(worker: Worker, *tasks: Claimed) -> None:
    worker.end(*tasks, to="failed", error='no route to "secret"')


def test_parked_tasks(conn: psycopg.Connection, worker: Worker) -> None:
    declare(conn, {"name": "job", "alarm": {"failed": 3}})
    first = put(conn)
    park(worker, *worker.claim())
    finding = one(conn, "kind", "job")
    assert finding[:3] == ("yellow", "failed", "1 task of it is parked as failed")
    assert "howdah retry --kind job" in finding.advice
    assert (finding.figures["failed"], finding.figures["oldest"]) == (1, first)
    for _ in range(2):
        put(conn)
    park(worker, *worker.claim())
    assert one(conn, "kind", "job")[:3] == ("red", "failed", "3 tasks of it are parked as failed")
    conn.execute("update howdah.task set error = null where status = 'failed'")
    assert one(conn, "kind", "job").colour == "green"


def test_a_hundred_parked_tasks_are_red_by_default_also_of_a_kind_that_nobody_declared(
    conn: psycopg.Connection,
) -> None:
    worker = Worker(conn, ["stranger"])
    put_stranger(conn, 100)
    park(worker, *worker.claim(99))
    assert one(conn, "kind", "stranger")[:2] == ("yellow", "failed")
    park(worker, *worker.claim())
    assert one(conn, "kind", "stranger")[:2] == ("red", "failed")


def test_retries(conn: psycopg.Connection, worker: Worker) -> None:
    declare(conn, {"name": "job", "alarm": {"retries": 4}})
    task = put(conn)
    for attempt in range(1, 5):
        (claimed,) = worker.claim()
        expected = {3: "green", 4: "yellow"}.get(attempt, "green")  # the attempt that runs has not failed yet
        assert one(conn, "kind", "job").colour == expected
        worker.end(claimed, to="queued", error="busy", event="retry")
        expected = {3: "yellow", 4: "red"}.get(attempt, "green")
        assert one(conn, "kind", "job").colour == expected
    finding = one(conn, "kind", "job")
    assert finding[:3] == ("red", "retries", "1 task of it was tried 4 times in vain; yellow is from 3, red from 4")
    assert finding.advice == f"See what it says: howdah show {task}"
    worker.done(*worker.claim())
    assert one(conn, "kind", "job").colour == "green"


def test_without_an_alarm_retries_are_never_red(conn: psycopg.Connection, worker: Worker) -> None:
    put(conn)
    for _ in range(7):
        worker.end(*worker.claim(), to="queued", error="busy")
    assert one(conn, "kind", "job")[:3] == (
        "yellow",
        "retries",
        "1 task of it was tried 7 times in vain; yellow is from 3",
    )


def test_a_task_past_its_timeout(conn: psycopg.Connection) -> None:
    declare(
        conn,
        {"name": "job", "timeout": "10 ms"},
        {"name": "endless"},
        {"name": "cpu", "timeout": "10 ms", "executor": "process"},
    )
    worker = Worker(conn, ["job", "endless", "cpu"])
    tasks = {kind: put(conn, kind) for kind in ("job", "endless", "cpu")}
    worker.claim()
    assert one(conn, "kind", "job").colour == "green"
    finding = until_sync(
        lambda: next((f for f in found(conn, "kind", "job") if f.code == "timeout"), None), "it to be over"
    )
    assert finding.colour == "yellow"
    assert finding.reason.startswith("1 task of it runs past its timeout, by up to 1")
    assert finding.figures["task"] == tasks["job"]
    assert f"howdah show {tasks['job']}" in finding.advice
    # Not even rescue has ended it, two leases later.
    conn.execute("update howdah.worker set ttl = '10 ms'")
    assert one(conn, "kind", "job")[:2] == ("red", "timeout")
    assert [one(conn, "kind", kind).colour for kind in ("endless", "cpu")] == ["green", "green"]


def test_the_timeout_of_a_step_counts(conn: psycopg.Connection) -> None:
    declare(
        conn,
        {
            "name": "machine",
            "steps": {
                "slow": {"position": 1, "start": True},
                "fast": {"position": 2, "start": True, "timeout": "10 ms"},
            },
        },
    )
    worker = Worker(conn, ["machine"])
    put(conn, "machine", step="slow")
    fast = put(conn, "machine", step="fast")
    worker.claim()
    finding = until_sync(
        lambda: next((f for f in found(conn, "kind", "machine") if f.code == "timeout"), None), "it to be over"
    )
    assert (finding.figures["tasks"], finding.figures["task"]) == (1, fast)


def test_workers_that_died_of_a_task(conn: psycopg.Connection, worker: Worker) -> None:
    declare(conn, {"name": "job", "max_lost": 100, "max_attempts": 100, "warn": {"retries": 1000}})
    task = put(conn)
    for crash in range(1, 11):
        (claimed,) = worker.claim()
        assert ask(conn, "select howdah.lose(%s, %s, 'crash', 'WorkerLost', true)", [claimed.id, claimed.epoch])
        conn.execute("update howdah.task set run_at = now()")
        finding = one(conn, "kind", "job")
        assert finding[:2] == ("red" if crash == 10 else "yellow", "crashes")
    assert finding.reason == "10 attempts ended with the death of the worker in the last hour"
    assert (finding.figures["crashes"], finding.figures["tasks"], finding.figures["task"]) == (10, 1, task)
    conn.execute("update howdah.event set at = at - interval '61 min'")
    assert one(conn, "kind", "job").colour == "green"


# ── workers ──


def die(conn: psycopg.Connection, *workers: Worker) -> None:
    """They stop renewing, and another one finds out."""
    conn.execute(
        "update howdah.worker set ttl = '1 ms', lease_until = now() where id = any (%s)", [[w.id for w in workers]]
    )
    assert until_sync(lambda: ask(conn, "select dead from howdah.rescue()"), "rescue") == len(workers)


def test_leases_that_were_lost(conn: psycopg.Connection, worker: Worker) -> None:
    die(conn, Worker(conn, ["job"]))
    finding = one(conn, "worker", "workers")
    assert finding[:2] == ("yellow", "lost")
    assert finding.reason == "1 worker stopped renewing the lease in the last hour, the last one on host (pid 7)"
    die(conn, *(Worker(conn, ["job"]) for _ in range(9)))
    assert one(conn, "worker", "workers")[:2] == ("red", "lost")
    conn.execute(
        "update howdah.worker set ended_at = ended_at - interval '61 min', lease_until = lease_until - interval '61 min'"
    )
    assert one(conn, "worker", "workers")[:2] != ("red", "lost")


def test_a_worker_that_leaves_in_good_order_is_not_lost(conn: psycopg.Connection, worker: Worker) -> None:
    leaving = Worker(conn, ["job"])
    conn.execute("select howdah.leave(%s)", [leaving.id])
    assert one(conn, "worker", "workers").colour == "green"


def test_a_lease_that_is_late(conn: psycopg.Connection, worker: Worker) -> None:
    silent = Worker(conn, ["job"])
    put(conn)
    silent.claim()
    conn.execute("update howdah.worker set lease_until = now() - interval '1 s' where id = %s", [silent.id])
    finding = one(conn, "worker", "workers")
    assert finding[:2] == ("yellow", "late")
    assert finding.reason.startswith("1 lease was not renewed in time: host pid 7, 1")
    # Nobody takes over what it holds, though a whole lease has passed.
    conn.execute("update howdah.worker set lease_until = now() - interval '1 min' where id = %s", [silent.id])
    assert one(conn, "worker", "workers")[:2] == ("red", "late")


# ── schedules ──


def test_a_schedule_that_nobody_fires(conn: psycopg.Connection, worker: Worker) -> None:
    conn.execute("select howdah.schedule('often', 'job', every => '1 s')")

    def late(by: str) -> Finding:
        conn.execute("update howdah.schedule set next_at = now() - %s::interval", [by])
        return one(conn, "schedule", "often")

    assert late("50 s").colour == "green"
    assert late("70 s")[:2] == ("yellow", "behind")
    assert late("11 min")[:2] == ("red", "behind")
    assert "is late by 11m" in late("11 min").reason
    conn.execute("select howdah.pause_schedule('often', 'moving house')")
    finding = one(conn, "schedule", "often")
    assert (finding.colour, finding.code, finding.advice) == ("green", "paused", "howdah resume-schedule often")
    assert finding.reason.endswith(": moving house")


def test_a_schedule_whose_first_tick_nobody_works_out(conn: psycopg.Connection, worker: Worker) -> None:
    conn.execute("select howdah.schedule('new', 'job', cron => '0 3 * * *')")
    assert one(conn, "schedule", "new").colour == "green"
    conn.execute("update howdah.schedule set updated_at = now() - interval '2 min'")
    assert one(conn, "schedule", "new")[:2] == ("yellow", "behind")


def test_a_schedule_that_cannot_fire_and_its_error_is_not_repeated(conn: psycopg.Connection, worker: Worker) -> None:
    conn.execute("select howdah.schedule('bad', 'job', every => '1 s')")
    seen = ask(conn, "select after from howdah.schedule")
    conn.execute("select howdah.schedule_failed('bad', %s, 'a secret')", [seen])
    finding = one(conn, "schedule", "bad")
    assert finding[:2] == ("red", "failing")
    assert "howdah schedules bad" in finding.advice
    assert "secret" not in str(finding)


def test_a_retired_schedule_is_not_asked_about(conn: psycopg.Connection) -> None:
    declare(conn, {"name": "job"})
    conn.execute("select howdah.schedule('gone', 'job', every => '1 s')")
    conn.execute("update howdah.schedule set retired_at = now(), next_at = now() - interval '1 day', error = 'x'")
    assert colours(conn, "schedule") == {}


# ── the database ──


def test_a_long_transaction(own_conn: psycopg.Connection, own_dsn: str) -> None:
    database = own_conn.info.dbname
    with psycopg.connect(own_dsn, application_name="report") as other:
        other.execute("select pg_current_xact_id()")
        assert one(own_conn, "database", database).colour == "green"
        # Time cannot be waited for: the clock of howdah goes on by itself.
        move_clock(own_conn, "6 min")
        finding = one(own_conn, "database", database)
        assert finding[:2] == ("yellow", "long transaction")
        assert f"in process {other.info.backend_pid} (user " in finding.reason
        assert "application report, idle in transaction)" in finding.reason
        assert f"pg_terminate_backend({other.info.backend_pid})" in finding.advice
        move_clock(own_conn, "61 min")
        assert one(own_conn, "database", database)[:2] == ("red", "long transaction")
        other.rollback()
        # Open, but it holds nothing.
        other.execute("select 1")
        assert one(own_conn, "database", database).colour == "green"


def test_a_snapshot_that_is_held_counts_as_well(own_conn: psycopg.Connection, own_dsn: str) -> None:
    with psycopg.connect(own_dsn) as other:
        other.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        other.execute("select 1")
        move_clock(own_conn, "6 min")
        assert one(own_conn, "database", own_conn.info.dbname)[:2] == ("yellow", "long transaction")


def move_clock(conn: psycopg.Connection, ahead: str) -> None:
    conn.execute(
        "create or replace function howdah.now() returns timestamptz language sql as"
        f" $$ select clock_timestamp() + interval '{ahead}' $$".encode()
    )


def test_dead_rows_that_nobody_removes(own_conn: psycopg.Connection) -> None:
    database = own_conn.info.dbname
    own_conn.execute("alter table howdah.task set (autovacuum_enabled = false)")
    own_conn.execute(
        "insert into howdah.task (kind, queue, priority, run_at) select 'job', 'default', 0, now() from generate_series(1, 60000)"
    )
    own_conn.execute("delete from howdah.task")
    own_conn.execute("select pg_stat_force_next_flush()") if own_conn.info.server_version >= 150000 else None
    until_sync(
        lambda: ask(own_conn, "select n_dead_tup >= 60000 from pg_stat_user_tables where relname = 'task'"),
        "the statistics",
    )
    # A busy table has so many between two rounds of autovacuum.
    assert one(own_conn, "database", database).colour == "green"
    own_conn.execute("update howdah.migration set applied_at = applied_at - interval '6 min'")
    finding = one(own_conn, "database", database)
    assert finding[:2] == ("yellow", "dead rows")
    assert "howdah.task has 60000 dead rows, and was not vacuumed for 6m" in finding.reason
    assert finding.advice.endswith("VACUUM howdah.task")
    own_conn.execute("update howdah.migration set applied_at = applied_at - interval '1 hour'")
    assert one(own_conn, "database", database)[:2] == ("red", "dead rows")
    own_conn.execute("vacuum howdah.task")
    until_sync(lambda: one(own_conn, "database", database).colour == "green", "the vacuum to be noticed")


# ── what it costs ──


def test_a_long_line_costs_no_more_than_its_beginning(own_conn: psycopg.Connection) -> None:
    conn = own_conn
    declare(conn, {"name": "job"})

    def load(rows: int) -> None:
        put_in = (
            "insert into howdah.task (kind, queue, priority, run_at, groups, status, error)"
            " select 'job', 'default', 0, now() + n * {}, {}, {}, {} from generate_series(1, {}) n"
        )
        for when, groups, status, error in (
            ("interval '-1 ms'", "null", "'queued'", "null"),
            ("interval '1 hour'", "null", "'queued'", "null"),
            ("interval '-1 ms'", "array['g' || n % 1000]", "'queued'", "null"),
            ("interval '1 hour'", "null", "'failed'", "'x'"),
        ):
            conn.execute(put_in.format(when, groups, status, error, rows).encode())

    def pages() -> int:
        explain = "explain (analyze, buffers, timing off, format json) select * from howdah.health()"
        ask(conn, explain)  # the first time reads the catalogs
        plan = ask(conn, explain)[0]["Plan"]
        return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]

    load(15_000)
    few = pages()
    load(135_000)
    assert pages() < few * 1.3, "with statistics of when the table was small"
    conn.execute("analyze howdah.task")
    assert pages() < few * 1.3
    shown = {finding.code: finding.reason for finding in found(conn, "kind", "job")}
    assert shown["failed"] == "more than 10000 tasks of it are parked as failed"
    assert shown["no worker"].startswith("at least 20000 tasks of it are due")


# ── for whom ──


def test_every_name_that_sql_may_hold_is_shown_as_it_is(conn: psycopg.Connection) -> None:
    name = "a'b\"c%s {x} \N{SNOWMAN}"
    put_stranger(conn, name=name)
    conn.execute("update howdah.task set queue = %s", [name])
    assert (one(conn, "kind", name).code, one(conn, "queue", name).code) == ("no worker", "no worker")
    conn.execute("update howdah.task set status = 'failed', error = 'x'")
    assert one(conn, "kind", name).code == "failed"


@pytest.mark.parametrize("reader", ["pg_monitor", None])
def test_a_role_that_may_not_see_the_transactions_of_others_is_told_so(
    reader: str | None, own_conn: psycopg.Connection, own_dsn: str
) -> None:
    role = f"poor_{own_conn.info.backend_pid}"
    own_conn.execute(
        f"create role {role}; grant usage on schema howdah to {role}; grant select on all tables in schema howdah to {role}".encode()
    )
    try:
        if reader:
            own_conn.execute(f"grant {reader} to {role}".encode())
        with psycopg.connect(own_dsn) as other:
            other.execute("select pg_current_xact_id()")
            own_conn.execute(f"set role {role}".encode())
            rows = found(own_conn, "database", own_conn.info.dbname)
            own_conn.execute("reset role")
            if reader:
                assert [row[:2] for row in rows] == [("green", "well")]
            else:
                assert [row[:2] for row in rows] == [("green", "hidden transactions")]
                assert f"GRANT pg_read_all_stats TO {role}" in rows[0].advice
    finally:
        own_conn.execute(f"reset role; drop owned by {role}; drop role {role}".encode())


# ── alerts ──


@pytest.fixture
def alerted(conn: psycopg.Connection, worker: Worker) -> Callable[[], list[dict[str, Any]]]:
    """What the alert task was told since the last time."""
    declare(conn, {"name": "tell", "queue": "alerts"})
    conn.execute("delete from howdah.alert")
    Worker(conn, ["tell"])

    def told() -> list[dict[str, Any]]:
        rows = conn.execute("select payload from howdah.task where kind = 'tell' order by id").fetchall()
        conn.execute("delete from howdah.task where kind = 'tell'")
        return [row[0] for row in rows]

    return told


def look(conn: psycopg.Connection, *, each: bool = False, hold: str = "0", every: str = "0") -> int:
    return ask(conn, "select howdah.tell_health('tell', %s, %s, %s)", [each, hold, every])


def test_a_change_is_told_once(conn: psycopg.Connection, alerted: Callable[[], list[dict[str, Any]]]) -> None:
    assert look(conn) == 0
    conn.execute("select howdah.enqueue('job', run_at => now() - interval '2 min')")
    assert look(conn) == 1
    assert look(conn) == 0
    (told,) = alerted()
    assert {name: told[name] for name in ("scope", "name", "colour", "before")} == {
        "scope": "all", "name": "all", "colour": "yellow", "before": "green",
    }  # fmt: skip
    assert told["reason"].startswith("queue default: A due task of kind job waits for 2m")
    conn.execute("delete from howdah.task where kind = 'job'")
    assert look(conn) == 1
    assert [(told["colour"], told["before"], told["reason"]) for told in alerted()] == [
        ("green", "yellow", "Nothing is wrong")
    ]


def test_each_thing_by_itself(conn: psycopg.Connection, alerted: Callable[[], list[dict[str, Any]]]) -> None:
    put_stranger(conn)
    look(conn, each=True)
    assert {(told["scope"], told["name"], told["colour"]) for told in alerted()} == {
        ("all", "all", "red"),
        ("kind", "stranger", "red"),
    }
    conn.execute("delete from howdah.task where kind = 'stranger'")
    look(conn, each=True)
    ended = {(told["scope"], told["name"]): (told["colour"], told["reason"]) for told in alerted()}
    assert ended == {
        ("all", "all"): ("green", "Nothing is wrong"),
        ("kind", "stranger"): ("green", "It is no longer there"),
    }
    look(conn, each=True)
    assert ask(conn, "select count(*) from howdah.alert") == 1, "what is green again is forgotten"


def test_a_colour_that_does_not_last_is_not_told(
    conn: psycopg.Connection, alerted: Callable[[], list[dict[str, Any]]]
) -> None:
    def since(ago: str) -> None:
        conn.execute("update howdah.alert set since = since - %s::interval", [ago])

    for _ in range(3):
        task = ask(conn, "select howdah.enqueue('job', run_at => now() - interval '2 min')")
        assert look(conn, hold="30 s") == 0
        since("20 s")
        assert look(conn, hold="30 s") == 0
        conn.execute("delete from howdah.task where id = %s", [task])
        assert look(conn, hold="30 s") == 0
        since("1 min")
        assert look(conn, hold="30 s") == 0
    assert alerted() == []
    conn.execute("select howdah.enqueue('job', run_at => now() - interval '2 min')")
    look(conn, hold="30 s")
    since("31 s")
    assert look(conn, hold="30 s") == 1


def test_of_many_workers_one_looks_in_each_interval(
    conn: psycopg.Connection, alerted: Callable[[], list[dict[str, Any]]]
) -> None:
    assert look(conn, every="1 hour") == 0
    conn.execute("select howdah.enqueue('job', run_at => now() - interval '2 min')")
    assert look(conn, every="1 hour") == 0
    conn.execute("update howdah.alert set looked_at = looked_at - interval '1 hour'")
    assert look(conn, every="1 hour") == 1


def test_two_that_look_at_once_tell_once(
    conn: psycopg.Connection, connect: Callable[[], psycopg.Connection], alerted: Callable[[], list[dict[str, Any]]]
) -> None:
    look(conn)
    conn.execute("select howdah.enqueue('job', run_at => now() - interval '2 min')")
    first, second = connect(), connect()
    first.execute("begin")
    assert look(first) == 1
    assert look(second) == 0, "somebody looks already: it does not wait"
    first.execute("rollback")
    assert alerted() == [], "what is not committed was not told"
    assert look(second) == 1
    assert look(first) == 0
    assert len(alerted()) == 1


def test_two_alert_tasks_are_each_told(conn: psycopg.Connection, alerted: Callable[[], list[dict[str, Any]]]) -> None:
    declare(conn, {"name": "tell too"})
    put_stranger(conn)
    assert look(conn) == 1
    assert ask(conn, "select howdah.tell_health('tell too', hold => '0')") == 1


def test_an_alert_task_that_nobody_knows_is_refused(conn: psycopg.Connection) -> None:
    put_stranger(conn)
    conn.execute("delete from howdah.alert")
    with refused("HW001", "no handler for kind 'nobody'", "Start a worker"):
        conn.execute("select howdah.tell_health('nobody', hold => '0')")
    assert ask(conn, "select count(*) from howdah.alert") == 0


def test_lengths_of_time_in_words(conn: psycopg.Connection) -> None:
    from howdah.durations import in_words

    for length in (0.02, 0.5, 1, 2.54, 59.9, 59.96, 60, 61, 3599.6, 3600, 3660, 90_000, 86_400):
        assert ask(conn, "select howdah.in_words(%s)", [length]) == in_words(timedelta(seconds=length)), length


# ── groups ──


def test_a_closed_group(conn: psycopg.Connection, worker: Worker) -> None:
    conn.execute("select howdah.close_group('API', reason => 'by hand')")
    found_row = one(conn, "group", "API")
    assert (found_row.colour, found_row.code) == ("yellow", "closed")
    assert "as long as nobody opens it" in found_row.reason
    assert found_row.advice == "Open it: howdah open-group API"
    conn.execute("select howdah.open_group('API')")
    assert ("group", "API") not in colours(conn)


@pytest.mark.parametrize(("seconds", "colour"), [(60, "green"), (3600, "yellow")])
def test_a_group_that_a_handler_closed(seconds: int, colour: str, conn: psycopg.Connection, worker: Worker) -> None:
    conn.execute("select howdah.enqueue('job', groups => '{API}')")
    (held,) = worker.claim()
    worker.end(held, to="queued", attempts="unspent", close={"seconds": seconds})
    assert (one(conn, "group", "API").colour, one(conn, "group", "API").code) == (colour, "closed")
