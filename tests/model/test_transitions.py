"""Random histories of the SQL functions, called by several workers whose messages are lost, late and repeated.

After every step the tables are what `oracle.py` says, and the invariants of design §6 hold. HOWDAH_EXAMPLES makes it
longer: HOWDAH_EXAMPLES=5000 pytest tests/model/test_transitions.py
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from howdah import calls
from howdah.errors import HowdahError, LeaseLost
from model.oracle import MAX_ATTEMPTS, TIMEOUT, Held, Lease, Oracle, Task
from model.scene import KINDS, TTL, Scene, claim, claimed, pairs, put

MARGIN = timedelta(seconds=8)
PATIENCE = TTL / 3  # a reply that takes longer is thrown away, as db/line.py does
EXAMPLES = int(os.environ.get("HOWDAH_EXAMPLES", "150"))
PROFILE = settings(
    max_examples=EXAMPLES,
    stateful_step_count=50,
    derandomize="HOWDAH_EXAMPLES" not in os.environ,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate, Phase.shrink],
)


@dataclass
class Worker:
    """What a process believes."""

    id: UUID
    actor: str  # whose connection it uses
    trusted_until: datetime
    held: dict[int, int] = field(default_factory=dict)
    began: dict[int, datetime] = field(default_factory=dict)  # when its handler of a task started
    seq: int = 0
    settled: int = 0
    over: bool = False


Late = tuple[str, Callable[[], None]]  # a call that is still on its way


class Transitions(RuleBasedStateMachine):
    scene: Scene

    def __init__(self) -> None:
        super().__init__()
        self.scene.wipe()
        self.oracle = Oracle(self.scene.clock)
        self.workers: list[Worker] = []
        self.late: list[Late] = []
        self.accepted: set[int] = set()
        self.effects: set[Held] = set()
        self.claims: dict[int, int] = {}
        self.rescued_at = self.scene.clock

    @initialize(kinds=st.lists(st.sampled_from(list(KINDS)), min_size=2, max_size=4))
    def begin(self, kinds: list[str]) -> None:
        for kind in kinds:
            self.enqueue(kind, None, "return", 0, 0, 0)
        self.register()
        self.register()

    # ── clients ──

    @precondition(lambda self: len(self.oracle.live) < 6)
    @rule(
        kind=st.sampled_from(list(KINDS)),
        key=st.sampled_from([None, None, "a", "b"]),
        on_conflict=st.sampled_from(["return", "raise", "skip", "replace"]),
        priority=st.integers(-1, 1),
        delay=st.sampled_from([0, 0, 0, 7]),
        n=st.integers(0, 99),
    )
    def enqueue(self, kind: str, key: str | None, on_conflict: str, priority: int, delay: int, n: int) -> None:
        holder = self.oracle.holder(key)
        due = self.scene.clock + timedelta(seconds=delay)
        payload = {"n": n}
        call = put(kind, key, on_conflict, payload=json.dumps(payload), priority=priority, delay=delay)
        answer = self.answer(call)
        if holder is None:
            assert type(answer) is int
            assert answer not in self.accepted
            self.accepted.add(answer)
            self.oracle.live[answer] = Task(answer, kind, due, priority, key, payload)
        elif on_conflict == "return":
            assert answer == holder.id
        elif on_conflict == "skip":
            assert answer is None
        elif on_conflict == "raise" or holder.kind != kind or holder.status == "running":
            assert answer == "KeyConflict"
        else:
            assert answer == holder.id
            self.oracle.replaced(holder, payload, due, priority)

    @rule(data=st.data(), action=st.sampled_from(["cancel", "retry", "resume"]))
    def an_operator(self, data: st.DataObject, action: str) -> None:
        task_id = data.draw(st.sampled_from(sorted(self.oracle.live) or sorted(self.accepted)), "task")
        if action == "cancel":
            assert self.answer(calls.cancel(task_id, None)) == self.oracle.cancel(task_id)
        elif action == "retry":
            assert self.answer(calls.retry(task_id)) == self.oracle.retry(task_id)
        else:
            self.scene.rows("update howdah.task set error = null where status = 'failed' returning id")
            self.oracle.resume(list(self.oracle.live))

    @rule()
    def an_operator_comes_too_late(self) -> None:
        for task_id in sorted(self.accepted - self.oracle.live.keys())[-1:]:
            assert self.answer(calls.cancel(task_id, None)) == self.oracle.cancel(task_id)
            assert self.answer(calls.retry(task_id)) == self.oracle.retry(task_id)

    # ── leases and time ──

    @precondition(lambda self: sum(not w.over for w in self.workers) < 3)
    @rule()
    def register(self) -> None:
        worker = self.scene.register()
        self.oracle.leases[worker] = Lease(self.scene.clock + TTL)
        self.workers.append(Worker(worker, f"worker {len(self.workers) % 4}", self.scene.clock + TTL - MARGIN))

    @rule(seconds=st.sampled_from([1, 5, 9, 13, 31]))
    def time_passes(self, seconds: int) -> None:
        self.scene.move(seconds)
        self.oracle.clock = self.scene.clock

    @rule()
    def time_passes_and_everybody_renews(self) -> None:
        """Long enough for a handler to be overdue."""
        for _ in range(4):
            for worker in self.up():
                self.beat(worker, later=False, lost=False)
            self.time_passes(13)

    @precondition(lambda self: self.scene.clock > self.rescued_at)
    @rule()
    def rescue(self) -> None:
        self.rescued_at = self.scene.clock
        found = self.scene.run(calls.rescue())
        assert (found.dead, found.rescued, found.overdue) == self.oracle.rescue()

    @precondition(lambda self: self.up())
    @rule(data=st.data(), later=st.booleans(), lost=st.booleans())
    def heartbeat(self, data: st.DataObject, later: bool, lost: bool) -> None:
        self.beat(self.any_worker(data), later=later, lost=lost)

    def beat(self, worker: Worker, *, later: bool, lost: bool) -> None:
        # As worker/lease.py builds it: settled first.
        settled, held, asked_at = worker.settled, list(worker.held.items()), self.scene.clock

        def arrive() -> None:
            beat = self.scene.run(calls.heartbeat(worker.id, held, settled), worker.actor)
            assert (beat.alive, set(beat.cancelled), set(beat.freed)) == self.oracle.heartbeat(worker.id, held, settled)
            if lost or worker.over:
                return
            if not beat.alive:
                self.stop(worker)
            else:
                worker.trusted_until = max(worker.trusted_until, asked_at + TTL - MARGIN)

        self.send("heartbeat", arrive, later)

    @precondition(lambda self: len(self.up()) > 2)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        worker = self.any_worker(data)
        self.stop(worker)  # its handlers first
        assert self.scene.run(calls.leave(worker.id), worker.actor) == self.oracle.leave(worker.id)

    # ── claims and ends of attempts ──

    @precondition(lambda self: self.up(idle=True) and any(t.status == "queued" for t in self.oracle.live.values()))
    @rule(
        data=st.data(),
        room=st.integers(1, 3),
        fate=st.sampled_from(["answered", "answered", "lost", "late", "given up"]),
    )
    def claim(self, data: st.DataObject, room: int, fate: str) -> None:
        worker = self.any_worker(data, idle=True)
        worker.seq += 1
        seq, asked_at = worker.seq, self.scene.clock

        def arrive() -> None:
            try:
                got = claimed(self.scene.run(claim(worker.id, seq, room), worker.actor))
            except LeaseLost:
                assert not self.oracle.alive(worker.id)
                if not worker.over and worker.settled < seq:
                    self.stop(worker)
                return
            assert self.oracle.alive(worker.id)
            assert got == self.oracle.claim(worker.id, seq, room)
            for task_id, epoch in got:
                assert epoch == self.claims.get(task_id, 0) + 1, "an epoch grows by one at each claim"
                self.claims[task_id] = epoch
            if fate == "late" and got:
                self.late.append(("reply", lambda: receive(got)))
            elif fate == "lost":
                worker.settled = max(worker.settled, seq)
            else:
                receive(got)

        def receive(got: list[Held]) -> None:
            if worker.over or worker.settled >= seq:
                return  # given up: thrown away
            if self.scene.clock - asked_at > PATIENCE:
                worker.settled = seq
                return
            if worker.trusted_until <= self.scene.clock:
                self.stop(worker)
                return
            worker.held |= dict(got)
            worker.began |= {task_id: self.scene.clock for task_id, _ in got}
            worker.settled = seq

        if fate == "given up":
            worker.settled = seq
        self.send("claim", arrive, later=fate == "given up")

    @precondition(lambda self: any(w.held for w in self.workers))
    @rule(
        data=st.data(),
        how=st.sampled_from(["done", "done", "effect", "retry", "snooze", "again", "park", "cancelled", "release"]),
        fate=st.sampled_from(["answered", "answered", "late", "lost"]),
    )
    def finish(self, data: st.DataObject, how: str, fate: str) -> None:
        worker = data.draw(st.sampled_from([w for w in self.workers if w.held]), "worker")
        held = data.draw(st.sampled_from(sorted(worker.held.items())), "task")
        task = self.oracle.live.get(held[0])
        change = self.outcome(held, how, spent=task is not None and task.attempt >= MAX_ATTEMPTS)

        def arrive() -> None:
            try:
                settled = self.effect(worker, change) if how == "effect" else self.settle(worker, change)
            except LeaseLost:
                assert not self.oracle.alive(worker.id)
                return
            assert settled == self.oracle.settle(worker.id, change), "a stale outcome counts, or one in time does not"
            if fate != "lost" and worker.held.get(held[0]) == held[1]:
                del worker.held[held[0]]

        worker.began.pop(held[0], None)  # its handler has ended; the task is held until that is answered
        self.send("outcome", arrive, later=fate == "late")

    # A rule is drawn as often as it has names.
    claim_more = claim
    finish_another, finish_one_more = finish, finish

    def outcome(self, held: Held, how: str, *, spent: bool) -> dict[str, Any]:
        to, attempts, more = {
            "done": ("succeeded", "keep", {}),
            "effect": ("succeeded", "keep", {}),
            "retry": ("queued", "keep", {"delay": 2, "error": "oops"}),
            "snooze": ("queued", "unspent", {"delay": 3}),
            "again": ("queued", "reset", {"payload": {"n": -held[1]}, "step": f"step {held[1]}"}),
            "park": ("failed", "keep", {"error": "parked"}),
            "cancelled": ("cancelled", "keep", {}),
            "release": ("queued", "unspent", {}),
        }[how]
        if how == "retry" and spent:
            to, more = "failed", {"error": "oops"}
        return {"id": held[0], "epoch": held[1], "to": to, "attempts": attempts, **more}

    def settle(self, worker: Worker, change: dict[str, Any]) -> bool:
        held = (change["id"], change["epoch"])
        task = self.oracle.live.get(held[0])
        gone = task is not None and KINDS[task.kind].get("keep", "") is None
        if change["to"] == "succeeded":
            ended = {"gone" if gone else "done": pairs([held])}
        else:
            ended = {"transitions": json.dumps([change | {"gone": gone}])}
        return self.scene.run(calls.pump(worker.id, worker.seq, **ended), worker.actor).settled == [held[0]]

    def effect(self, worker: Worker, change: dict[str, Any]) -> bool:
        """As worker/attempt.py does it: everything or nothing."""
        held = (change["id"], change["epoch"])
        task = self.oracle.live.get(held[0])
        gone = task is not None and KINDS[task.kind].get("keep", "") is None
        conn = self.scene.conn(worker.actor)
        with suppress(psycopg.Rollback), conn.transaction() as transaction:
            conn.execute("insert into howdah.test_effect values (%s, %s)", held)
            text = json.dumps([change | {"gone": gone}])
            if not self.scene.run(calls.settle_rest(worker.id, text), worker.actor):
                raise psycopg.Rollback(transaction)
            self.effects.add(held)
            return True
        return False

    @precondition(lambda self: self.late)
    @rule(data=st.data())
    def something_late_arrives(self, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(self.late) - 1), "which")
        self.late.pop(at)[1]()

    @precondition(lambda self: self.late)
    @rule(data=st.data())
    def something_late_never_arrives(self, data: st.DataObject) -> None:
        self.late.pop(data.draw(st.integers(0, len(self.late) - 1), "which"))

    @precondition(lambda self: any(w.settled < w.seq for w in self.workers))
    @rule(data=st.data())
    def give_a_claim_up(self, data: st.DataObject) -> None:
        worker = data.draw(st.sampled_from([w for w in self.workers if w.settled < w.seq]), "worker")
        worker.settled = worker.seq

    # ── what must hold after every step ──

    @invariant()
    def the_tables_are_as_foretold(self) -> None:
        columns = list(Task.__dataclass_fields__)
        rows = self.scene.rows("select t.*, t.cancel_at is not null as cancel from howdah.task t order by id")
        found = {row["id"]: Task(**{name: row[name] for name in columns}) for row in rows}
        for task in found.values():
            for name in ("error", "last_error"):
                said = getattr(task, name)
                setattr(task, name, said and said.split(":")[0])
        foretold = {task_id: self.oracle.live[task_id] for task_id in sorted(self.oracle.live)}
        for task_id, task in foretold.items():
            if task_id in found and task.status != "running":
                found[task_id].claimed_at = task.claimed_at  # the last claim's, and nobody's business
        assert found == foretold

        columns = ["kind", "payload", "key", "step", "attempt", "lost", "epoch", "last_error"]
        archive = {row["id"]: row for row in self.scene.rows("select * from howdah.archive")}
        assert archive.keys() == self.oracle.ended.keys()
        for task_id, (status, task) in self.oracle.ended.items():
            row = archive[task_id] | {"last_error": (archive[task_id]["last_error"] or "").split(":")[0] or None}
            assert row["status"] == status
            assert [row[name] for name in columns] == [getattr(task, name) for name in columns]
        leases = {
            row["id"]: (row["lease_until"], row["status"]) for row in self.scene.rows("select * from howdah.worker")
        }
        assert leases == {w: (x.until, "live" if x.live else "dead") for w, x in self.oracle.leases.items()}

        assert found.keys() | archive.keys() | self.oracle.forgotten == self.accepted, "lost, or invented"
        effects = self.scene.rows("select task_id, epoch from howdah.test_effect order by 1, 2")
        assert [(row["task_id"], row["epoch"]) for row in effects] == sorted(self.effects)
        assert self.scene.breaches() == []

    @invariant()
    def one_worker_at_most_runs_a_task_in_its_trusted_window(self) -> None:
        running = [task_id for w in self.workers if w.trusted_until > self.scene.clock for task_id in self.runs(w)]
        assert len(running) == len(set(running))

    # ── helpers ──

    def runs(self, worker: Worker) -> list[int]:
        """What its handlers run: one of kind timed ends by itself in time."""
        return [
            task_id
            for task_id in worker.began.keys() & worker.held.keys()
            if (task := self.oracle.live.get(task_id)) is not None
            and (task.kind != "timed" or worker.began[task_id] + TIMEOUT > self.scene.clock)
        ]

    def answer(self, call: calls.Call[Any]) -> Any:
        try:
            return self.scene.run(call)
        except HowdahError as refusal:
            return type(refusal).__name__

    def send(self, name: str, arrive: Callable[[], None], later: bool) -> None:
        if later:
            self.late.append((name, arrive))
        else:
            arrive()

    def stop(self, worker: Worker) -> None:
        worker.held.clear()
        worker.over = True

    def up(self, *, idle: bool = False) -> list[Worker]:
        return [
            w
            for w in self.workers
            if not w.over and (not idle or (w.settled == w.seq and w.trusted_until > self.scene.clock))
        ]

    def any_worker(self, data: st.DataObject, *, idle: bool = False) -> Worker:
        return data.draw(st.sampled_from(self.up(idle=idle)), "worker")


def test_every_history_is_as_foretold(dsn: str) -> None:
    scene = Scene(dsn)
    machine = type("Transitions", (Transitions,), {"scene": scene})
    try:
        run_state_machine_as_test(machine, settings=PROFILE)
    finally:
        scene.close()
