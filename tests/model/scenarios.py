"""Short directed stories: each holds on the shipped SQL, and fails when the guard it is about is gone."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from howdah import calls
from howdah.db.pool import run_on_sync
from howdah.errors import LeaseLost
from model.scene import Scene, claim, done, pairs, put, settle, transition, until_blocked_or_done

Scenario = Callable[[Scene], None]
helper = ThreadPoolExecutor(2)


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
    for ends in (
        lambda worker: scene.run(calls.heartbeat(worker, [], 1)),
        lambda worker: scene.run(calls.leave(worker)),
    ):
        worker, task = scene.register(), scene.put()
        assert task is not None
        scene.claim(worker, seq=1)
        assert scene.run(calls.cancel(task, None)) == "running"
        ends(worker)
        assert scene.task(task)["status"] == "cancelled"


def leave_while_a_task_to_be_cancelled_is_locked(scene: Scene) -> None:
    worker, task = scene.register(), scene.put()
    held = scene.claim(worker)
    scene.run(calls.cancel(task or 0, None))
    one, two = scene.conn("one"), scene.conn("two")
    one.execute("begin")
    run_on_sync(one, calls.report(worker, [(*held[0], '{"done": 1}')]))
    waiting = helper.submit(run_on_sync, two, calls.leave(worker))
    until_blocked_or_done(scene.conn(), two.info.backend_pid, waiting)
    one.execute("commit")
    waiting.result(30)
    scene.run(calls.rescue())
    assert scene.task(task or 0)["status"] == "cancelled"


def cancelled_in_the_middle_of_a_heartbeat(scene: Scene) -> None:
    """The first of two lost tasks is being cancelled there, when somebody cancels the second."""
    worker, first, second = scene.register(), scene.put(), scene.put()
    scene.claim(worker)
    scene.run(calls.cancel(first or 0, None))
    one, two = scene.conn("one"), scene.conn("two")
    one.execute("begin; lock table howdah.archive in share mode")
    waiting = helper.submit(run_on_sync, two, calls.heartbeat(worker, [], 1))
    until_blocked_or_done(scene.conn(), two.info.backend_pid, waiting)
    assert scene.run(calls.cancel(second or 0, None), "three") == "running"
    one.execute("commit")
    assert waiting.result(30).alive
    scene.run(calls.heartbeat(worker, [], 1))
    assert {scene.task(task or 0)["status"] for task in (first, second)} == {"cancelled"}


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
    assert scene.claim(scene.register()) == []
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
        held = scene.claim(worker, seq=seq)
        assert len(held) == 1
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
    for change in (
        "status = 'running'",
        "status = 'failed'",
        "error = 'x'",
        "worker = gen_random_uuid(), claim_seq = 1",
        "cancel_at = now()",
    ):
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
