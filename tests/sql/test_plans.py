"""The plans of the hot statements, which decide whether howdah is fast: held, not hoped for (design §10, reliability F31).

The statements are inside PL/pgSQL, so auto_explain tells how they ran. A plan that was made when the table was small is
kept by the session: the worst case is a worker that started on an empty database, just before a million tasks arrived.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import psycopg
import pytest

from sql.protocol import Claimed, Worker, ask, declare

BATCH = 100
MANY = 1_000_000


class Scan(NamedTuple):
    """One way the rows of howdah.task were reached: those that fitted and those that did not."""

    how: str
    index: str | None
    touched: float
    buffers: int


@dataclass
class Ran:
    """How the statements of one call ran."""

    scans: list[Scan]
    sorted_rows: float
    other_seq_scans: list[str]
    joined_in_vain: float = 0

    @property
    def indexes(self) -> set[str | None]:
        return {scan.index for scan in self.scans if scan.touched and scan.how != "Bitmap Heap Scan"}

    @property
    def touched(self) -> float:
        return sum(scan.touched for scan in self.scans)

    def buffers(self, index: str | None = None) -> int:
        return sum(scan.buffers for scan in self.scans if index in (None, scan.index))


class Explained:
    """A worker whose calls are explained."""

    def __init__(self, conn: psycopg.Connection, kinds: tuple[str, ...] = ("job",)) -> None:
        self.worker = Worker(conn, kinds)
        self.plans: list[dict[str, Any]] = []
        self.compiled: list[str] = []
        conn.execute("load 'auto_explain'")
        for setting, value in {
            "log_min_duration": "0",
            "log_nested_statements": "on",
            "log_analyze": "on",
            "log_buffers": "on",
            "log_timing": "off",
            "log_format": "json",
        }.items():
            conn.execute(f"set auto_explain.{setting} = {value}".encode())
        conn.add_notice_handler(self._keep)

    def _keep(self, notice: psycopg.errors.Diagnostic) -> None:
        text = notice.message_primary or ""
        if "{" in text:
            said = json.loads(text[text.index("{") :])
            self.plans.append(said["Plan"])
            if "JIT" in said:
                self.compiled.append(said["Query Text"])

    def __call__(self, act: Any, *arguments: Any, **options: Any) -> tuple[Any, Ran]:
        """What a call answers, and how it ran."""
        self.plans.clear()
        self.worker.conn.execute("set client_min_messages = log")
        answer = act(*arguments, **options)
        self.worker.conn.execute("set client_min_messages = warning")
        assert self.compiled == []  # that takes 30 ms, each time
        nodes = [node for plan in self.plans for node in _nodes(plan)]
        assert nodes, "auto_explain said nothing"
        scans = [_scan(node) for node in nodes if "Scan" in node["Node Type"] and _of_task(node)]
        return answer, Ran(
            scans,
            sorted_rows=max((node["Actual Rows"] for node in nodes if node["Node Type"] == "Sort"), default=0),
            other_seq_scans=[node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan"],
            joined_in_vain=max(node.get("Rows Removed by Join Filter", 0) for node in nodes),
        )

    def claim(self, room: int = BATCH, *, fresh: bool = True) -> tuple[list[Claimed], Ran]:
        return self(self.worker.claim, room, fresh=fresh)


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


def _of_task(node: dict[str, Any]) -> bool:
    # A Bitmap Index Scan names the index only.
    return node.get("Relation Name") == "task" or node.get("Index Name", "").startswith("task_")


def _scan(node: dict[str, Any]) -> Scan:
    removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    return Scan(
        node["Node Type"],
        node.get("Index Name"),
        (node["Actual Rows"] + removed) * node["Actual Loops"],
        0 if node["Node Type"] == "Bitmap Index Scan" else node["Shared Hit Blocks"] + node["Shared Read Blocks"],
    )


def load(conn: psycopg.Connection, rows: int, **columns: str) -> None:
    """Tasks by the thousand; each column as an SQL expression over n = 1, 2, 3 …"""
    given = {"kind": "'job'", "queue": "'default'", "priority": "0", "run_at": "now() - interval '1 s'"} | columns
    conn.execute(
        f"insert into howdah.task ({', '.join(given)}) select {', '.join(given.values())} from generate_series(1, {rows}) n".encode()
    )


def turn(explained: Explained, expected: int = BATCH) -> None:
    """One turn of a busy worker, claim to settle, with all that is promised of its plans."""
    worker = explained.worker
    claimed, ran = explained.claim()
    assert len(claimed) == expected
    # A seek for each priority and for the next due time, beside the rows themselves.
    frugal(ran, returned=expected, indexes={"task_claim", "task_pkey"})
    assert ran.sorted_rows <= max(expected, 2)  # 2: the rounds of the one lane

    (_, ran), batch = explained(worker.beat, *claimed), max(expected, 1)
    frugal(ran, returned=batch, indexes={"task_worker"})

    ids, epochs = [task.id for task in claimed], [task.epoch for task in claimed]
    report = "select howdah.report(%s, %s, %s, %s::jsonb[])"
    _, ran = explained(worker.conn.execute, report, [worker.id, ids, epochs, ["{}"] * len(ids)])
    frugal(ran, returned=batch, indexes={"task_pkey"})

    third = len(claimed) // 3
    settled, ran = explained(worker.done, *claimed[:third])
    assert len(settled) == third
    frugal(ran, returned=max(third, 1), indexes={"task_pkey"})
    gone = claimed[third : 2 * third]
    gone_ids, gone_epochs = [task.id for task in gone], [task.epoch for task in gone]
    answer, ran = explained(worker.pump, gone_ids=gone_ids, gone_epochs=gone_epochs)
    assert len(answer["settled"]) == third
    frugal(ran, returned=max(third, 1), indexes={"task_pkey"})

    rest = claimed[2 * third :]
    settled, ran = explained(worker.end, *rest, to="queued", attempts="reset", delay=3600, event="step")
    assert len(settled) == len(rest)
    frugal(ran, returned=max(len(rest), 1), indexes={"task_pkey"})

    # All three kinds of ends in one round trip, as it mostly is.
    claimed, _ = explained.claim()
    third = len(claimed) // 3
    done, gone, rest = claimed[:third], claimed[third : 2 * third], claimed[2 * third :]
    answer, ran = explained(
        worker.pump,
        done_ids=[task.id for task in done],
        done_epochs=[task.epoch for task in done],
        gone_ids=[task.id for task in gone],
        gone_epochs=[task.epoch for task in gone],
        transitions=json.dumps([{"id": task.id, "epoch": task.epoch, "to": "queued", "delay": 3600} for task in rest]),
    )
    assert len(answer["settled"]) == len(claimed)
    frugal(ran, returned=max(len(claimed), 1), indexes={"task_pkey"})

    # Nobody is dead and nothing is overdue: the chore that every worker repeats costs nothing.
    _, ran = explained(worker.conn.execute, "select * from howdah.rescue()")
    assert ran.touched <= batch * 20
    queues, ran = explained(ask, worker.conn, "select array_agg(q) from howdah.waiting_queues() q")
    assert queues in (None, ["default"])
    frugal(ran, returned=1, indexes={"task_claim"})


def correspond(explained: Explained) -> None:
    """A turn of actors: they spawn, send to each other, sleep, are woken, read, and end."""
    worker = explained.worker
    claimed, _ = explained.claim()
    ids, n = [task.id for task in claimed], max(len(claimed), 1)
    children = ask(worker.conn, "select howdah.reserve_ids(%s)", [n])
    asleep = [
        {
            "id": task.id,
            "epoch": task.epoch,
            "to": "suspended",
            "attempts": "reset",
            "send": [{"to": reader, "sender": task.id, "body": 1}],
            "spawn": [
                {
                    "id": child,
                    "kind": "job",
                    "queue": "elsewhere",
                    "priority": 0,
                    "delay": 3600,
                    "payload": {},
                    "message": 1,
                }
            ],
        }
        for task, reader, child in zip(claimed, ids[1:] + ids[:1], children, strict=False)
    ]
    answer, ran = explained(worker.pump, transitions=json.dumps(asleep))
    assert len(answer["settled"]) == len(ids)
    frugal(ran, returned=2 * n, indexes={"task_pkey", "task_key"})  # each is settled, and sent to

    # Each got a message, and so is queued again; here before all others.
    worker.conn.execute("update howdah.task set priority = 99 where id = any(%s)", [ids])
    lane = {"name": "lane", "queue": "default", "kinds": ["job"], "share": BATCH, "limit": BATCH, "cursors": {}}
    answer, ran = explained(worker.pump, lanes=json.dumps([lane]), room=BATCH)
    frugal(ran, returned=BATCH, indexes={"task_claim", "task_pkey"})
    mails = {mail[0]: mail for mail in json.loads(answer["inboxes"] or "[]")}
    assert mails.keys() == set(ids)
    claimed = [Claimed(*task) for task in json.loads(answer["claimed"] or "[]")]
    read = [
        {
            "id": task.id,
            "epoch": task.epoch,
            "to": "succeeded",
            "event": "end",
            "consumed": [letter[0] for letter in mails[task.id][3]],
        }
        for task in claimed
        if task.id in mails
    ]
    answer, ran = explained(worker.pump, transitions=json.dumps(read))
    assert len(answer["settled"]) == len(ids)
    frugal(ran, returned=n, indexes={"task_pkey"})
    back = [
        {"id": task.id, "epoch": task.epoch, "to": "queued", "attempts": "unspent"}
        for task in claimed
        if task.id not in mails
    ]
    worker.pump(transitions=json.dumps(back))

    # The children tell parents that are gone; and what has an alarm is found by it.
    _, ran = explained(worker.conn.execute, "select howdah.descendants(%s)", [ids])
    frugal(ran, returned=n, indexes={"task_parent"})
    worker.conn.execute(
        "update howdah.task set status = 'suspended', run_at = now() - interval '1 s' where id = any(%s)", [children]
    )
    woken, ran = explained(ask, worker.conn, "select woken from howdah.wake_suspended()")
    assert woken == len(ids)
    frugal(ran, returned=n, indexes={"task_alarm", "task_pkey"})
    worker.conn.execute("delete from howdah.task where id = any(%s)", [children])
    worker.conn.execute("delete from howdah.message")


def frugal(ran: Ran, *, returned: int, indexes: set[str], seeks: int = 0) -> None:
    assert [scan for scan in ran.scans if scan.how == "Seq Scan"] == []
    assert not {"archive", "message"} & {name.split("_")[0] for name in ran.other_seq_scans}
    assert ran.indexes <= indexes, ran.scans
    assert ran.touched <= 20 * returned, ran.scans
    # A seek goes down an index that is three or four pages high, whatever it finds there.
    assert ran.buffers() <= 20 * returned + 5 * seeks + 200, ran.scans
    assert ran.joined_in_vain <= 20 * returned  # else it is quadratic in the batch


@pytest.fixture
def explained(own_conn: psycopg.Connection) -> Explained:
    declare(own_conn, {"name": "job", "inbox": {}})
    # The statistics are what each test makes them, not what autovacuum finds time for.
    own_conn.execute("alter table howdah.task set (autovacuum_enabled = off)")
    return Explained(own_conn)


def test_the_plans_hold_from_an_empty_table_to_a_million_tasks(explained: Explained) -> None:
    conn = explained.worker.conn
    conn.execute("analyze howdah.task")
    turn(explained, expected=0)
    correspond(explained)
    load(conn, 3)
    conn.execute("analyze howdah.task")
    turn(explained, expected=3)
    load(conn, 1000)
    turn(explained)
    correspond(explained)
    load(conn, MANY)
    turn(explained)  # by the plans of an empty table
    correspond(explained)
    conn.execute("discard plans")
    turn(explained)  # by new plans, from the statistics of an empty table
    correspond(explained)
    conn.execute("analyze howdah.task")
    turn(explained)
    correspond(explained)


LATER = "case when n % 100 < 95 then now() + interval '1 day' else now() - interval '1 s' end"
RUNNING = {
    "status": "case when n % 100 < 95 then 'running' else 'queued' end",
    "worker": "case when n % 100 < 95 then '{}'::uuid end",
    "claim_seq": "case when n % 100 < 95 then 1 end",
    "claimed_at": "now()",
}


@pytest.mark.parametrize("mostly", ["later", "running"])
def test_the_plans_hold_when_most_tasks_cannot_be_claimed(explained: Explained, mostly: str) -> None:
    conn = explained.worker.conn
    conn.execute("analyze howdah.task")
    turn(explained, expected=0)
    if mostly == "later":  # and before all others when they are due
        load(conn, 200_000, run_at=LATER, priority="case when n % 100 < 95 then 9 else 0 end")
    else:
        other = Worker(conn, ["job"])
        load(conn, 200_000, **RUNNING | {"worker": RUNNING["worker"].format(other.id)})
    turn(explained)
    conn.execute("discard plans")
    turn(explained)
    conn.execute("analyze howdah.task")
    turn(explained)


def test_the_claim_passes_tasks_of_kinds_it_does_not_know_once(explained: Explained) -> None:
    conn = explained.worker.conn
    load(conn, 20_000, kind="'unknown'")
    load(conn, 1000)
    # From the start it has to walk past them; from its cursor it does not.
    claimed, _ = explained.claim()
    assert len(claimed) == BATCH
    claimed, ran = explained.claim(fresh=False)
    assert len(claimed) == BATCH
    frugal(ran, returned=BATCH, indexes={"task_claim", "task_pkey"})


def test_rescue_reaches_the_tasks_of_the_dead_and_no_others(explained: Explained) -> None:
    conn = explained.worker.conn
    conn.execute("analyze howdah.task")
    rescue = "select rescued from howdah.rescue()"
    explained(ask, conn, rescue)  # its plans are made on the empty table
    dying = Worker(conn, ["job"])
    load(conn, 100_000)
    dying.claim(50)
    explained.worker.claim(1000)
    past = "update howdah.worker set ttl = '1 ms', lease_until = clock_timestamp() - interval '1 s' where id = %s"
    conn.execute(past, [dying.id])
    rescued, ran = explained(ask, conn, rescue)
    assert rescued == 50
    frugal(ran, returned=50, indexes={"task_worker", "task_pkey"})


def test_a_claim_never_takes_more_than_its_room(explained: Explained) -> None:
    conn = explained.worker.conn
    load(conn, 500, priority="n % 7")
    # With the joins it likes taken away, the planner may run a LIMIT again and again, unless it is materialized.
    conn.execute(
        "set enable_material = off; set enable_hashjoin = off; set enable_mergejoin = off; set enable_indexscan = off"
    )
    assert [len(explained.worker.claim(room)) for room in (1, 2, 50, 100)] == [1, 2, 50, 100]
    assert ask(conn, "select count(*) from howdah.task where status = 'running'") == 153


def test_a_cursor_keeps_the_claim_out_of_the_dead_entries_of_a_pinned_snapshot(
    explained: Explained, own_dsn: str
) -> None:
    worker = explained.worker
    load(worker.conn, 20_000)
    with psycopg.connect(own_dsn) as pinned:
        pinned.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        pinned.execute("select from howdah.task limit 1")
        _, first = explained.claim()
        for _ in range(15):
            worker.done(*worker.claim(1000, fresh=False))
        cursors = worker.cursors
        _, with_cursor = explained.claim(fresh=False)
        _, without = explained.claim(fresh=True)
    assert cursors
    frugal(with_cursor, returned=BATCH, indexes={"task_claim", "task_pkey"})
    assert with_cursor.buffers("task_claim") <= first.buffers("task_claim") * 2
    assert without.buffers("task_claim") > with_cursor.buffers("task_claim") * 20  # or this test would prove nothing


def test_the_dead_entries_of_tasks_with_groups_cost_those_without_nothing(explained: Explained, own_dsn: str) -> None:
    worker = explained.worker
    load(worker.conn, 20_000, groups="array['g' || n % 100]")
    with psycopg.connect(own_dsn) as pinned:
        pinned.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        pinned.execute("select from howdah.task limit 1")
        while claimed := worker.claim(1000, fresh=False):
            worker.done(*claimed)
        load(worker.conn, 1000)
        _, from_the_start = explained.claim(fresh=True)
        _, after_it = explained.claim(fresh=False)
        frugal(after_it, returned=BATCH, indexes={"task_claim", "task_pkey"})
        assert from_the_start.buffers("task_claim_grouped") > 20  # or this test would prove nothing
        # What has groups and appears then is found from the start, or when somebody was woken for it.
        load(worker.conn, 1, groups="array['g1']", priority="9")
        found = worker.claim(10, fresh=True)
        assert len(found) == 10
        assert worker.cursors["groups"] is True


def test_what_appears_behind_the_cursor_is_found_from_the_start(explained: Explained) -> None:
    worker = explained.worker
    load(worker.conn, 20)
    worker.claim(10)
    load(worker.conn, 1, run_at="now() - interval '1 h'")
    load(worker.conn, 1, priority="5")
    by_cursor = worker.claim(1, fresh=False)
    assert ask(worker.conn, "select priority from howdah.task where id = %s", [by_cursor[0].id]) == 5
    assert len(worker.claim(100, fresh=False)) == 10
    assert len(worker.claim(100, fresh=True)) == 1


@pytest.mark.parametrize("fair", [False, True])
def test_the_plans_of_tasks_with_groups_hold_from_an_empty_table_to_many(explained: Explained, fair: bool) -> None:
    conn = explained.worker.conn
    conn.execute("select howdah.set_limit('g*', running => 1), howdah.set_queue('default', fair => %s)", [fair])

    def claim_and_settle(expected: int) -> None:
        claimed, ran = explained.claim()
        assert len(claimed) == expected
        # Beside the rows themselves a seek for each of up to 256 lanes.
        frugal(ran, returned=max(expected, 15), indexes={"task_claim_grouped", "task_pkey"}, seeks=256)
        settled, ran = explained(explained.worker.done, *claimed)
        assert len(settled) == expected
        frugal(ran, returned=max(expected, 1), indexes={"task_pkey"})

    conn.execute("analyze howdah.task")
    claim_and_settle(0)
    load(conn, 3, groups="array['g' || n]")
    claim_and_settle(3)
    load(conn, 300_000, groups="array['g' || n % 3000]")
    claim_and_settle(BATCH)  # by the plans of an empty table
    conn.execute("discard plans")
    claim_and_settle(BATCH)  # by new plans, from the statistics of an empty table
    conn.execute("analyze howdah.task")
    claim_and_settle(BATCH)
    # All in one group, which is full: one look, however many wait.
    conn.execute("update howdah.task set groups = '{full}'")
    conn.execute("select howdah.set_limit('full', running => 1)")
    claimed, _ = explained.claim()
    assert len(claimed) == 1
    claimed, ran = explained.claim()
    assert claimed == []
    assert ran.touched <= 20


def test_a_function_that_switches_steps_off_compiles_nothing(conn: psycopg.Connection) -> None:
    """Before PostgreSQL 18 a plan that needs such a step is taken for so dear that it is compiled, at 30 ms each time."""
    query = (
        "select proname, proconfig from pg_proc where pronamespace = 'howdah'::regnamespace and proconfig is not null"
    )
    settings = dict(conn.execute(query).fetchall())
    assert "settle_done" in settings
    for name, configured in settings.items():
        if any(setting.startswith("enable_") for setting in configured):
            assert "jit=off" in configured, name
