"""Mutation of the SQL: with any one guard gone, some scenario must see it.

A scenario is a short directed story that holds on the shipped SQL. A mutant replaces one guard in one shipped file, in a
database of its own, and names the scenario that notices. The guards of UNNEEDED can go and nothing follows from it here:
the reasons stand beside them, and that they still apply is checked.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import psycopg
import pytest
from model.scene import Scene, claim, done, pairs, put, settle, transition
from model.test_interleavings import until_blocked_or_done

from howdah import calls
from howdah.db.pool import Database, run_on_sync
from howdah.errors import LeaseLost
from howdah.migrate import migrate, migrations, replaced

Scenario = Callable[[Scene], None]
helper = ThreadPoolExecutor(2)


# ── scenarios ──


def stale_epoch_of_the_same_worker(scene: Scene) -> None:
    """It gave the task back, has it again, and an old end arrives."""
    worker, task = scene.register(), scene.put()
    assert task is not None
    for old_end in ("done", "gone", "queued"):
        held = scene.claim(worker)
        scene.run(settle(worker, [transition(held[0], "queued", "unspent")]))
        scene.claim(worker)
        if old_end == "queued":
            reply = scene.run(settle(worker, [transition(held[0], "queued", "unspent")]))
        else:
            reply = scene.run(calls.pump(worker, 9, **{old_end: pairs(held)}))
        assert reply.settled == []
        scene.run(calls.report(worker, [(*held[0], '{"done": 1}')]))
        row = scene.task(task)
        assert (row["status"], row["epoch"], row["progress"]) == ("running", held[0][1] + 1, None)
        scene.run(settle(worker, [transition((task, row["epoch"]), "queued", "unspent")]))


def outcome_of_a_task_that_went_back(scene: Scene) -> None:
    """Back in its queue it keeps its epoch; who let it go can no longer end it."""
    worker, task = scene.register(), scene.put()
    assert task is not None
    held = scene.claim(worker)
    scene.run(settle(worker, [transition(held[0], "queued", "unspent")]))
    assert scene.run(done(worker, *held)).settled == []
    assert scene.run(calls.pump(worker, 9, gone=pairs(held))).settled == []
    assert scene.run(settle(worker, [transition(held[0], "failed", error="no")])).settled == []
    scene.run(calls.report(worker, [(*held[0], '{"done": 1}')]))
    row = scene.task(task)
    assert (row["status"], row["progress"]) == ("queued", None)


def heartbeat_that_overtakes_the_reply_to_a_claim(scene: Scene) -> None:
    worker, task = scene.register(), scene.put()
    assert task is not None
    held = scene.claim(worker, seq=1)
    assert scene.run(calls.heartbeat(worker, [], 0)).freed == []
    assert scene.run(calls.heartbeat(worker, held, 1)).freed == []
    assert scene.run(done(worker, *held)).settled == [task]


def lost_reply_to_a_claim(scene: Scene) -> None:
    worker, task = scene.register(), scene.put()
    assert task is not None
    scene.claim(worker, seq=1)
    assert scene.run(calls.heartbeat(worker, [], 1)).freed == [task]
    row = scene.task(task)
    assert (row["status"], row["attempt"], row["epoch"]) == ("queued", 0, 1)


def lost_reply_to_the_second_claim_of_a_task(scene: Scene) -> None:
    """What is held is an older epoch of the same task."""
    worker, task = scene.register(), scene.put()
    assert task is not None
    old = scene.claim(worker, seq=1)
    scene.run(settle(worker, [transition(old[0], "queued", "unspent")]))
    scene.claim(worker, seq=2)
    assert scene.run(calls.heartbeat(worker, old, 2)).freed == [task]


def lost_claim_of_a_task_that_is_to_be_cancelled(scene: Scene) -> None:
    for ends in (lambda worker: scene.run(calls.heartbeat(worker, [], 1)), lambda worker: scene.run(calls.leave(worker))):
        worker, task = scene.register(), scene.put()
        assert task is not None
        scene.claim(worker, seq=1)
        assert scene.run(calls.cancel(task, None)) == "running"
        ends(worker)
        assert scene.task(task)["status"] == "cancelled"


def cancelled_while_it_ran(scene: Scene) -> None:
    worker = scene.register()
    for change, becomes in (
        ({"to": "queued", "error": "oops"}, "cancelled"),
        ({"to": "failed", "error": "oops"}, "cancelled"),
        ({"to": "succeeded"}, "succeeded"),
    ):
        task = scene.put()
        assert task is not None
        held = scene.claim(worker)
        scene.run(calls.cancel(task, None))
        scene.run(settle(worker, [transition(held[0], **change)]))
        assert scene.task(task)["status"] == becomes


def dead_worker_claims_and_renews(scene: Scene) -> None:
    worker, other, task = scene.register(), scene.register(), scene.put()
    scene.claim(worker)
    scene.move(31)
    scene.run(calls.heartbeat(other, [], 0))
    assert tuple(scene.run(calls.rescue())) == (1, 1, 0)
    assert not scene.run(calls.heartbeat(worker, [], 0)).alive
    with pytest.raises(LeaseLost):
        scene.claim(worker)
    assert scene.claim(other) == [(task, 2)]
    assert scene.run(calls.leave(worker)) == 0
    assert scene.task(task or 0)["status"] == "running"


def live_worker_is_left_alone(scene: Scene) -> None:
    worker, task = scene.register(), scene.put()
    held = scene.claim(worker)
    scene.move(29)
    assert tuple(scene.run(calls.rescue())) == (0, 0, 0)
    assert scene.run(done(worker, *held)).settled == [task]


def rescue_while_a_worker_claims(scene: Scene) -> None:
    """Its lease is over, but it is there: nobody may declare it dead under its hands."""
    worker, task = scene.register(), scene.put()
    scene.move(31)
    one, two = scene.conn("one"), scene.conn("two")
    one.execute("begin")
    run_on_sync(one, claim(worker, 1, 9))
    waiting = helper.submit(run_on_sync, two, calls.rescue())
    until_blocked_or_done(scene.conn(), two.info.backend_pid, waiting)
    blocked = not waiting.done()
    one.execute("commit")
    assert not blocked, "rescue does not wait for a worker: it comes again"
    assert waiting.result(30).dead == 0
    assert scene.task(task or 0)["status"] == "running"


def rescue_while_a_worker_renews(scene: Scene) -> None:
    worker = scene.register()
    scene.move(31)
    one, two = scene.conn("one"), scene.conn("two")
    one.execute("begin")
    run_on_sync(one, calls.heartbeat(worker, [], 0))
    waiting = helper.submit(run_on_sync, two, calls.rescue())
    until_blocked_or_done(scene.conn(), two.info.backend_pid, waiting)
    blocked = not waiting.done()
    one.execute("commit")
    assert not blocked
    assert waiting.result(30).dead == 0
    assert scene.run(calls.heartbeat(worker, [], 0)).alive


def two_workers_claim_at_once(scene: Scene) -> None:
    first, second = scene.register(), scene.register()
    tasks = [scene.put(), scene.put()]
    one, two = scene.conn("one"), scene.conn("two")
    one.execute("begin")
    run_on_sync(one, claim(first, 1, 1))
    waiting = helper.submit(run_on_sync, two, claim(second, 1, 1))
    until_blocked_or_done(scene.conn(), two.info.backend_pid, waiting)
    blocked = not waiting.done()
    one.execute("commit")
    waiting.result(30)
    assert not blocked, "a claim never waits for another"
    owners = {scene.task(task or 0)["worker"] for task in tasks}
    assert owners == {first, second}


def beat_while_a_task_is_locked(scene: Scene) -> None:
    """A lease is renewed whoever holds a lock on one of its tasks; and what is being settled is not given back."""
    worker, task = scene.register(), scene.put()
    held = scene.claim(worker)
    for end in ("rollback", "commit"):
        one, two = scene.conn("one"), scene.conn("two")
        one.execute("begin")
        run_on_sync(one, done(worker, *held))
        waiting = helper.submit(run_on_sync, two, calls.heartbeat(worker, [] if end == "commit" else held, 1))
        until_blocked_or_done(scene.conn(), two.info.backend_pid, waiting)
        blocked = not waiting.done()
        one.execute(end)
        assert waiting.result(30).alive
        assert not blocked, "a heartbeat waits for nobody"
    assert scene.task(task or 0)["status"] == "succeeded"


def rescue_while_a_task_is_settled(scene: Scene) -> None:
    worker, task = scene.register(), scene.put()
    held = scene.claim(worker)
    one, two = scene.conn("one"), scene.conn("two")
    one.execute("begin")  # as a step with effects of its own does: it holds no lock on its worker
    run_on_sync(one, calls.settle_rest(worker, json.dumps([transition(held[0], "succeeded")])))
    scene.move(31)
    waiting = helper.submit(run_on_sync, two, calls.rescue())
    until_blocked_or_done(scene.conn(), two.info.backend_pid, waiting)
    blocked = not waiting.done()
    one.execute("commit")
    assert tuple(waiting.result(30)) == (1, 0, 0)
    assert not blocked, "one locked task does not keep the others from being rescued"
    assert scene.task(task or 0)["status"] == "succeeded"


def same_key_twice(scene: Scene) -> None:
    one, two = scene.conn("one"), scene.conn("two")
    one.execute("begin")
    task = run_on_sync(one, put("plain", "key", "return"))
    waiting = helper.submit(run_on_sync, two, put("plain", "key", "return"))
    until_blocked_or_done(scene.conn(), two.info.backend_pid, waiting)
    one.execute("commit")
    assert waiting.result(30) == task
    assert scene.put(key="key", on_conflict="skip") is None


def replace_meets_a_claim(scene: Scene) -> None:
    """The task is claimed between the look at the key's holder and the change."""
    worker, task = scene.register(), scene.put(key="key")
    assert task is not None
    one, two = scene.conn("one"), scene.conn("two")
    one.execute("begin")
    run_on_sync(one, claim(worker, 1, 9))
    waiting = helper.submit(run_on_sync, two, put("plain", "key", "replace", payload='{"new": 1}'))
    until_blocked_or_done(scene.conn(), two.info.backend_pid, waiting)
    one.execute("commit")
    with pytest.raises(Exception, match="is held by task"):
        waiting.result(30)
    row = scene.task(task)
    assert (row["status"], row["payload"]) == ("running", {})


def cancel_meets_a_claim(scene: Scene) -> None:
    worker, task = scene.register(), scene.put()
    assert task is not None
    one, two = scene.conn("one"), scene.conn("two")
    one.execute("begin")
    run_on_sync(one, claim(worker, 1, 9))
    waiting = helper.submit(run_on_sync, two, calls.cancel(task, None))
    until_blocked_or_done(scene.conn(), two.info.backend_pid, waiting)
    one.execute("commit")
    assert waiting.result(30) == "running"
    assert scene.task(task)["status"] == "running"


def retry_meets_a_claim(scene: Scene) -> None:
    worker, task = scene.register(), scene.put()
    assert task is not None
    one, two = scene.conn("one"), scene.conn("two")
    one.execute("begin")
    run_on_sync(one, claim(worker, 1, 9))
    waiting = helper.submit(run_on_sync, two, calls.retry(task))
    until_blocked_or_done(scene.conn(), two.info.backend_pid, waiting)
    one.execute("commit")
    with pytest.raises(Exception, match="is running"):
        waiting.result(30)


def poison_is_parked(scene: Scene) -> None:
    """Its worker dies at every attempt."""
    task = scene.put()
    for _ in range(2):
        scene.claim(scene.register())
        scene.move(31)
        scene.run(calls.rescue())
    row = scene.task(task or 0)
    assert (row["status"], row["lost"]) == ("failed", 2)
    assert row["error"].startswith("WorkerLost")


def attempts_are_bounded(scene: Scene) -> None:
    """Every attempt outlives its time on a worker that does not stop it."""
    worker, task = scene.register(), scene.put("timed")
    for seq in range(1, 4):
        assert len(held := scene.claim(worker, seq=seq)) == 1
        for _ in range(2):
            scene.move(21)
            assert tuple(scene.run(calls.rescue()))[1] == 0
            scene.run(calls.heartbeat(worker, held, seq))
        assert scene.task(task or 0)["status"] in ("queued", "failed")
        scene.move(60)
        scene.run(calls.heartbeat(worker, [], seq))
    assert scene.task(task or 0)["status"] == "failed"


def overdue_has_a_lease_of_grace(scene: Scene) -> None:
    worker, task = scene.register(), scene.put("timed")
    held = scene.claim(worker)
    for passed, overdue in ((20, 0), (19, 0), (2, 1)):
        scene.move(passed)
        scene.run(calls.heartbeat(worker, held, 1))
        assert scene.run(calls.rescue()).overdue == overdue
    assert scene.task(task or 0)["status"] == "queued"


def server_has_just_started(scene: Scene) -> None:
    scene.register()
    started = scene.rows("select pg_postmaster_start_time() as at")[0]["at"]
    scene.rows("update howdah.worker set lease_until = %s returning id", started)
    for passed, dead in ((29, 0), (31, 1)):
        scene.rows("update howdah.test_clock set at = %s + make_interval(secs => %s) returning at", started, passed)
        assert scene.run(calls.rescue()).dead == dead


def parked_and_resumed(scene: Scene) -> None:
    worker, task = scene.register(), scene.put(payload='{"n": 1}')
    assert task is not None
    held = scene.claim(worker)
    scene.run(settle(worker, [transition(held[0], "failed", error="no")]))
    row = scene.task(task)
    assert (row["status"], row["payload"], row["error"], row["attempt"]) == ("failed", {"n": 1}, "no", 1)
    scene.rows("update howdah.task set error = null returning id")
    row = scene.task(task)
    assert (row["status"], row["error"], row["attempt"], row["epoch"]) == ("queued", None, 0, 1)


def tables_refuse_what_cannot_be(scene: Scene) -> None:
    """A running task has an owner, a failed one an error, and no other has either."""
    task = scene.put()
    for change in ("status = 'running'", "status = 'failed'", "error = 'x'", "worker = gen_random_uuid(), claim_seq = 1", "cancel_at = now()"):
        with pytest.raises(psycopg.errors.CheckViolation):
            scene.conn().execute(f"update howdah.task set {change} where id = {task}".encode())


def dead_rows_stay_while_named(scene: Scene) -> None:
    worker, task = scene.register(), scene.put()
    scene.claim(worker)
    scene.rows("update howdah.worker set status = 'dead', ended_at = lease_until returning id")
    scene.move(2 * 86400)
    scene.run(calls.retain())
    assert scene.run(calls.rescue()).rescued == 1
    assert scene.task(task or 0)["status"] == "queued"


# ── mutants ──


class Mutant(NamedTuple):
    file: str
    guard: str
    instead: str
    noticed_by: Scenario


MUTANTS = [
    Mutant("settle_done", " and t.epoch = d.epoch", "", stale_epoch_of_the_same_worker),
    Mutant("settle_done", " and t.worker = settle_done.worker", "", outcome_of_a_task_that_went_back),
    Mutant("settle_rest", " and t.epoch = a.epoch", "", stale_epoch_of_the_same_worker),
    Mutant("settle_rest", " and t.worker = settle_rest.worker", "", outcome_of_a_task_that_went_back),
    Mutant("settle_rest", " and a.\"to\" <> 'succeeded'", "", cancelled_while_it_ran),
    Mutant("settle_rest", "t.cancel_at is not null and", "false and", cancelled_while_it_ran),
    Mutant("report", " and t.epoch = p.epoch", "", stale_epoch_of_the_same_worker),
    Mutant("report", " and t.worker = report.worker", "", outcome_of_a_task_that_went_back),
    Mutant("heartbeat", " and w.status = 'live'", "", dead_worker_claims_and_renews),
    Mutant("heartbeat", " and t.claim_seq <= heartbeat.settled", "", heartbeat_that_overtakes_the_reply_to_a_claim),
    Mutant("heartbeat", "(t.id, t.epoch) not in (select h.id, h.epoch", "(t.id) not in (select h.id", lost_reply_to_the_second_claim_of_a_task),
    Mutant("heartbeat", "attempt = greatest(t.attempt - 1, 0)", "attempt = t.attempt", lost_reply_to_a_claim),
    Mutant("heartbeat", " and t.cancel_at is null", "", lost_claim_of_a_task_that_is_to_be_cancelled),
    Mutant("heartbeat", " skip locked", "", beat_while_a_task_is_locked),
    Mutant("leave", " and w.status = 'live'", "", dead_worker_claims_and_renews),
    Mutant("leave", " and x.cancel_at is null", "", lost_claim_of_a_task_that_is_to_be_cancelled),
    Mutant("pump", " and w.status = 'live'", "", dead_worker_claims_and_renews),
    Mutant("pump", " for key share", "", rescue_while_a_worker_claims),
    Mutant("claim", "t.status = 'queued' and ", "t.status in ('queued', 'running') and ", dead_worker_claims_and_renews),
    Mutant("claim", "for update skip locked", "for update", two_workers_claim_at_once),
    Mutant("claim", "for update skip locked", "", two_workers_claim_at_once),
    Mutant("claim", "epoch = t.epoch + 1", "epoch = t.epoch", stale_epoch_of_the_same_worker),
    Mutant("rescue", "for update skip locked", "for update", rescue_while_a_worker_claims),
    Mutant("rescue", "for update skip locked", "for no key update skip locked", rescue_while_a_worker_claims),
    Mutant("rescue", "w.status = 'live' and w.lease_until < clock", "w.status = 'live'", live_worker_is_left_alone),
    Mutant("rescue", "clock - pg_postmaster_start_time() <", "false and clock - pg_postmaster_start_time() <", server_has_just_started),
    Mutant("rescue", " + w.ttl < clock", " < clock", overdue_has_a_lease_of_grace),
    Mutant("rescue", "where w.status = 'dead'", "where w.status = 'dead' and w.ended_at = clock", dead_rows_stay_while_named),
    Mutant("lose", " skip locked", "", rescue_while_a_task_is_settled),
    Mutant("lose", "or lose.counts_as_lost and", "or false and", poison_is_parked),
    Mutant("lose", "t.attempt >= coalesce(k.max_attempts, 6)", "false", attempts_are_bounded),
    Mutant("retain", "and not exists (select from howdah.task t where t.worker = w.id and t.status = 'running')", "", dead_rows_stay_while_named),
    Mutant("put", " and t.status <> 'running'", "", replace_meets_a_claim),
    Mutant("put", "on conflict (key) where key is not null do nothing", "", same_key_twice),
    Mutant("cancel", " for no key update", "", cancel_meets_a_claim),
    Mutant("retry", " for no key update", "", retry_meets_a_claim),
    Mutant("task_resume", "new.attempt := 0;", "", parked_and_resumed),
    Mutant("0001_tables", "create unique index task_key", "create index task_key", same_key_twice),
    Mutant("0001_tables", "(status = 'running') = (worker is not null and claim_seq is not null)", "true", tables_refuse_what_cannot_be),
    Mutant("0001_tables", "(status = 'failed') = (error is not null)", "true", tables_refuse_what_cannot_be),
    Mutant("0001_tables", "cancel_at is null or status = 'running'", "true", tables_refuse_what_cannot_be),
]  # fmt: skip

UNNEEDED = {
    ("claim", "pick as materialized", "pick as"): "a CTE with row locks is never inlined",
    ("heartbeat", "unheld as materialized", "unheld as"): "a CTE with row locks is never inlined",
    ("heartbeat", " and t.epoch = u.epoch and t.worker = heartbeat.worker", ""): "the row is locked since it was looked at",
    ("rescue", "gone as materialized", "gone as"): "a CTE with row locks is never inlined",
    ("lose", " and x.epoch = lose.epoch", ""): "rescue takes whatever a dead or overdue worker owns in the same moment",
}
SCENARIOS = list(dict.fromkeys(mutant.noticed_by for mutant in MUTANTS)) + [rescue_while_a_worker_renews]


class Laboratory:
    """One database on which a file can be replaced and put back."""

    def __init__(self, server: Any) -> None:
        self.server = server
        server.create_database("howdah_mutations")
        self.dsn = server.dsn("howdah_mutations")
        migrate(Database(self.dsn))
        self.scene = Scene(self.dsn, guarded=False)
        self.files = {script.name.split("/")[-1].removesuffix(".sql"): script.sql for script in (*migrations(), *replaced())}

    def mutate(self, file: str, guard: str, instead: str) -> Callable[[], None]:
        """Apply; the answer undoes it."""
        sql = self.files[file]
        assert guard in sql, f"{file}.sql has no {guard!r} any more: what guards that now?"
        conn = self.scene.conn()
        if file == "0001_tables":
            if "index" in guard:
                conn.execute("drop index howdah.task_key; create index task_key on howdah.task (key)")
                undo = "drop index howdah.task_key; create unique index task_key on howdah.task (key) where key is not null"
            else:
                name = next(line for line in sql.splitlines() if guard in line).split()[1]
                conn.execute(f"alter table howdah.task drop constraint {name}".encode())
                undo = f"alter table howdah.task add constraint {name} check ({guard})"
        else:
            conn.execute(sql.replace(guard, instead).encode())
            undo = sql
        def put_back() -> None:
            self.scene.wipe()
            conn.execute(undo.encode())

        return put_back

    def tell(self, scenario: Scenario) -> None:
        self.scene.wipe()
        try:
            scenario(self.scene)
            assert self.scene.breaches() == []
        finally:
            for name in ("one", "two"):
                self.scene.conn(name).rollback()


@pytest.fixture(scope="module")
def laboratory(server: Any) -> Iterator[Laboratory]:
    opened = Laboratory(server)
    yield opened
    opened.scene.close()
    server.drop_database("howdah_mutations")


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_the_shipped_sql_passes(laboratory: Laboratory, scenario: Scenario) -> None:
    laboratory.tell(scenario)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: f"{mutant.file}: {mutant.guard.strip()} → {mutant.instead.strip()}")
def test_a_guard_that_is_gone_is_missed(laboratory: Laboratory, mutant: Mutant) -> None:
    put_back = laboratory.mutate(mutant.file, mutant.guard, mutant.instead)
    try:
        with pytest.raises((AssertionError, psycopg.Error, pytest.fail.Exception, Exception)):
            laboratory.tell(mutant.noticed_by)
    finally:
        put_back()


@pytest.mark.parametrize("guard", UNNEEDED, ids=lambda guard: f"{guard[0]}: {guard[1].strip()}")
def test_nothing_misses_what_is_there_for_the_reader(laboratory: Laboratory, guard: tuple[str, str, str]) -> None:
    put_back = laboratory.mutate(*guard)
    try:
        for scenario in SCENARIOS:
            laboratory.tell(scenario)
    finally:
        put_back()
