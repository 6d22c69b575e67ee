"""Several workers whose messages are lost, late and repeated: what random histories have in common."""

from __future__ import annotations

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
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from howdah import calls
from howdah.errors import HowdahError, LeaseLost
from model.oracle import TIMEOUT, Held, Lease, Oracle
from model.scene import TTL, Scene

MARGIN = timedelta(seconds=8)
PATIENCE = TTL / 3  # a reply that takes longer is thrown away, as db/line.py does
FATES = ["answered", "answered", "lost", "late", "given up"]  # of a request


def profile(examples: int, steps: int) -> settings:
    """HOWDAH_EXAMPLES makes it longer, and random."""
    return settings(
        max_examples=int(os.environ.get("HOWDAH_EXAMPLES", examples)),
        stateful_step_count=steps,
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
    mail: dict[int, tuple[int, list[Any]]] = field(default_factory=dict)  # what it read of their inboxes
    seq: int = 0
    settled: int = 0
    over: bool = False


Late = tuple[str, Callable[[], None]]  # a call that is still on its way


class Fleet(RuleBasedStateMachine):
    scene: Scene
    oracle: Oracle

    def __init__(self) -> None:
        super().__init__()
        self.scene.wipe()
        self.workers: list[Worker] = []
        self.late: list[Late] = []
        self.accepted: set[int] = set()
        self.effects: set[Held] = set()
        self.claims: dict[int, int] = {}
        self.rescued_at = self.scene.clock

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

        self.dispatch("heartbeat", arrive, later)

    @precondition(lambda self: len(self.up()) > 2)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        worker = self.any_worker(data)
        self.stop(worker)  # its handlers first
        assert self.scene.run(calls.leave(worker.id), worker.actor) == self.oracle.leave(worker.id)

    @precondition(lambda self: len(self.up()) > 1)
    @rule(data=st.data())
    def a_worker_crashes(self, data: st.DataObject) -> None:
        self.stop(self.any_worker(data))

    # ── requests with a number, whose answers may bring tasks ──

    def request(self, worker: Worker, fate: str, served: Callable[[int], Callable[[], None]]) -> None:
        """`served(seq)` is what happens in the database; what it returns, when the answer is received in time."""
        worker.seq += 1
        seq, asked_at = worker.seq, self.scene.clock

        def arrive() -> None:
            try:
                learn = served(seq)
            except LeaseLost:
                assert not self.oracle.alive(worker.id)
                if not worker.over and worker.settled < seq:
                    self.stop(worker)
                return
            assert self.oracle.alive(worker.id)
            if fate == "late":
                self.late.append(("reply", lambda: receive(learn)))
            elif fate == "lost":
                worker.settled = max(worker.settled, seq)
            else:
                receive(learn)

        def receive(learn: Callable[[], None]) -> None:
            if worker.over or worker.settled >= seq:
                return  # given up: thrown away
            if self.scene.clock - asked_at > PATIENCE:
                worker.settled = seq
                return
            if worker.trusted_until <= self.scene.clock:
                self.stop(worker)
                return
            learn()
            worker.settled = seq

        if fate == "given up":
            worker.settled = seq
        self.dispatch("request", arrive, later=fate == "given up")

    def hold(self, worker: Worker, got: list[Held]) -> None:
        worker.held |= dict(got)
        worker.began |= {task_id: self.scene.clock for task_id, _ in got}

    def count(self, got: list[Held]) -> None:
        for task_id, epoch in got:
            assert epoch == self.claims.get(task_id, 0) + 1, "an epoch grows by one at each claim"
            self.claims[task_id] = epoch

    def with_effect(self, worker: Worker, held: Held, settle: calls.Call[list[int]]) -> bool:
        """A transition with SQL of its own, as worker/attempt.py does it: everything or nothing."""
        conn = self.scene.conn(worker.actor)
        with suppress(psycopg.Rollback), conn.transaction() as transaction:
            conn.execute("insert into howdah.test_effect values (%s, %s)", held)
            if not self.scene.run(settle, worker.actor):
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
    def leases_are_as_foretold(self) -> None:
        leases = {
            row["id"]: (row["lease_until"], row["status"]) for row in self.scene.rows("select * from howdah.worker")
        }
        assert leases == {w: (x.until, "live" if x.live else "dead") for w, x in self.oracle.leases.items()}

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
        """The answer, or the class of the refusal."""
        try:
            return self.scene.run(call)
        except HowdahError as refusal:
            return type(refusal).__name__

    def dispatch(self, name: str, arrive: Callable[[], None], later: bool) -> None:
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


def run_histories(machine: type[Fleet], dsn: str, *, examples: int, steps: int) -> None:
    scene = Scene(dsn)
    try:
        run_state_machine_as_test(
            type(machine.__name__, (machine,), {"scene": scene}), settings=profile(examples, steps)
        )
    finally:
        scene.close()
