"""Random histories of the SQL functions, called by several workers whose messages are lost, late and repeated.

After every step the tables are what `oracle.py` says, and the invariants of design §6 hold. HOWDAH_EXAMPLES makes it
longer: HOWDAH_EXAMPLES=5000 pytest tests/model/test_transitions.py
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from howdah import calls
from howdah.errors import LeaseLost
from model.fleet import FATES, Fleet, Worker, run_histories
from model.oracle import MAX_ATTEMPTS, Held, Oracle, Task
from model.scene import JOBS, KINDS, claim, claimed, pairs, put


class Transitions(Fleet):
    def __init__(self) -> None:
        super().__init__()
        self.oracle = Oracle(self.scene.clock)

    @initialize(kinds=st.lists(st.sampled_from(JOBS), min_size=2, max_size=4))
    def begin(self, kinds: list[str]) -> None:
        for kind in kinds:
            self.enqueue(kind, None, "return", 0, 0, 0)
        self.register()
        self.register()

    # ── clients ──

    @precondition(lambda self: len(self.oracle.live) < 6)
    @rule(
        kind=st.sampled_from(JOBS),
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

    # ── claims and ends of attempts ──

    @precondition(lambda self: self.up(idle=True) and any(t.status == "queued" for t in self.oracle.live.values()))
    @rule(data=st.data(), room=st.integers(1, 3), fate=st.sampled_from(FATES))
    def claim(self, data: st.DataObject, room: int, fate: str) -> None:
        worker = self.any_worker(data, idle=True)

        def served(seq: int) -> Any:
            got = claimed(self.scene.run(claim(worker.id, seq, room), worker.actor))
            assert got == self.oracle.claim(worker.id, seq, room)
            self.count(got)
            return lambda: self.hold(worker, got)

        self.request(worker, fate, served)

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
        self.dispatch("outcome", arrive, later=fate == "late")

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
        held = (change["id"], change["epoch"])
        task = self.oracle.live.get(held[0])
        gone = task is not None and KINDS[task.kind].get("keep", "") is None
        return self.with_effect(worker, held, calls.settle_rest(worker.id, json.dumps([change | {"gone": gone}])))

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
        assert found.keys() | archive.keys() | self.oracle.forgotten == self.accepted, "lost, or invented"
        effects = self.scene.rows("select task_id, epoch from howdah.test_effect order by 1, 2")
        assert [(row["task_id"], row["epoch"]) for row in effects] == sorted(self.effects)
        assert self.scene.breaches() == []


def test_every_history_is_as_foretold(dsn: str) -> None:
    run_histories(Transitions, dsn, examples=150, steps=50)
