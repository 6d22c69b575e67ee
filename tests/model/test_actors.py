"""Random histories of families and inboxes: tasks that spawn, send, sleep and join, on workers whose messages are lost, late
and repeated.

After every step the tables are what `actor_oracle.py` says, message by message, and the invariants hold. HOWDAH_EXAMPLES
makes it longer: HOWDAH_EXAMPLES=5000 pytest tests/model/test_actors.py
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from howdah import calls
from howdah.errors import HowdahError, LeaseLost
from model.actor_oracle import NEVER, Actor, ActorOracle, Change, Message, Refused
from model.endings import ANYBODY, OFTEN, Endings, short
from model.fleet import FATES, Worker, run_histories
from model.oracle import Held
from model.scene import EAGER, claimed, lanes, mail, put

MOSTLY = ["answered"] * 5 + FATES
LOOK = """
select (select jsonb_agg(to_jsonb(t)) from howdah.task t) as tasks,
       (select jsonb_agg(to_jsonb(a)) from howdah.archive a) as archive,
       (select jsonb_agg(jsonb_build_array(m.task_id, m.sender, m.type, m.body) order by m.id) from howdah.message m) as messages,
       (select jsonb_agg(jsonb_build_array(f.task_id, f.epoch)) from howdah.test_effect f) as effects
"""


class Actors(Endings):
    def __init__(self) -> None:
        super().__init__()
        self.oracle = ActorOracle(self.scene.clock)

    @initialize(kinds=st.lists(st.sampled_from(ANYBODY), min_size=2, max_size=3))
    def begin(self, kinds: list[str]) -> None:
        self.ids = self.scene.run(calls.reserve_ids(6))
        for kind in kinds:
            self.enqueue(kind, None, "return", 0)
        self.register()
        self.register()
        self.request(self.workers[0], "answered", lambda seq: self.served(self.workers[0], seq, [], room=2))

    # ── clients ──

    @precondition(lambda self: len(self.oracle.live) < 5)
    @rule(
        kind=st.sampled_from(ANYBODY),
        key=st.sampled_from([None, None, "a"]),
        on_conflict=st.sampled_from(["return", "replace"]),
        delay=st.sampled_from([0, 0, 7]),
    )
    def enqueue(self, kind: str, key: str | None, on_conflict: str, delay: int) -> None:
        holder = self.oracle.holder(key)
        due = self.scene.clock + timedelta(seconds=delay)
        answer = self.answer(put(kind, key, on_conflict, delay=delay))
        if holder is None:
            self.oracle.enqueued(Actor(answer, kind, due, key=key))
        elif on_conflict == "return":
            assert answer == holder.id
        elif holder.kind != kind or holder.status == "running" or self.oracle.has_family(holder.id):
            assert answer == "KeyConflict"
        else:
            assert answer == holder.id
            self.oracle.replaced(holder, {}, due, 0)

    @rule(data=st.data(), to=st.sampled_from(["suspended", "running", "anybody"]))
    def somebody_sends(self, data: st.DataObject, to: str) -> None:
        those = self.those(to)
        task_id = data.draw(st.sampled_from(those), "to") if those else self.any_task(data)
        what = self.number()
        answer = self.answer(calls.send(task_id, str(what)))
        refusal = self.oracle.send(task_id, what)
        if refusal is None:
            assert self.scene.rows("select body from howdah.message where id = %s", answer) == [{"body": what}]
        else:
            assert answer == refusal

    @rule(
        data=st.data(), action=st.sampled_from(["cancel", "cancel alone", "retry", "alarm", *["resume", "pause"] * 3])
    )
    def somebody(self, data: st.DataObject, action: str) -> None:
        if self.oracle.paused or action == "pause":
            self.scene.run(calls.resume("default") if self.oracle.paused else calls.pause("default", None))
            self.oracle.paused = not self.oracle.paused
        elif action == "alarm":
            assert tuple(self.scene.run(calls.wake_suspended())) == self.oracle.wake_suspended()
        elif action == "resume":
            self.scene.rows("update howdah.task set error = null where status = 'failed' returning id")
            self.oracle.resume(list(self.oracle.live))
        else:
            task_id = self.any_task(data)
            if action == "retry":
                assert self.answer(calls.retry(task_id)) == self.oracle.retry(task_id)
            else:
                cascade = action == "cancel"
                answer = self.answer(calls.cancel(task_id, None, cascade=cascade))
                assert answer == self.oracle.cancel(task_id, cascade=cascade)

    # ── workers ──

    @precondition(lambda self: self.up(idle=True) and any(t.status == "queued" for t in self.oracle.live.values()))
    @rule(data=st.data(), room=st.integers(0, 2))
    def claim(self, data: st.DataObject, room: int) -> None:
        self.round_trip(data, self.any_worker(data, idle=True), [], room=3 - room)

    # Several rules, of which Hypothesis leaves out some, so that histories differ in what happens most.

    @precondition(lambda self: self.holding())
    @rule(data=st.data())
    def poll(self, data: st.DataObject) -> None:
        self.some_end(data, ["suspend", "suspend", "doze", "sleep"])

    @precondition(lambda self: self.holding())
    @rule(data=st.data())
    def go_on(self, data: st.DataObject) -> None:
        self.some_end(data, ["go on"])

    @precondition(lambda self: self.holding())
    @rule(data=st.data())
    def join(self, data: st.DataObject) -> None:
        self.some_end(data, ["join"])

    @precondition(lambda self: self.holding())
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        self.some_end(data, ["done", "done", "cancelled"])

    @precondition(lambda self: self.holding())
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        self.some_end(data, ["retry", "park", "release"])

    # A rule is drawn as often as it has names.
    claim_more = claim_again = claim
    poll_more = poll_again = poll
    go_on_more = go_on
    join_more = join

    def some_end(self, data: st.DataObject, how: list[str]) -> None:
        """One of them so, the others anyhow."""
        worker = data.draw(st.sampled_from(self.holding()), "worker")
        ended = data.draw(st.permutations(sorted(worker.held.items())), "ended")[: data.draw(st.integers(1, 3), "most")]
        changes = [self.outcome(data, worker, held, OFTEN if n else how) for n, held in enumerate(ended)]
        room = 3 - data.draw(st.integers(0, 3), "room")
        eager, look, plainly = (data.draw(st.booleans(), name) for name in ("eager", "look", "plainly"))
        self.round_trip(data, worker, changes, room=room, eager=eager, look=look, plainly=plainly)

    def round_trip(self, data: st.DataObject, worker: Worker, changes: list[Change], **how: Any) -> None:
        """What ended is settled, and what is due is claimed."""
        for change in changes:
            worker.began.pop(change["id"], None)  # its handler has ended; the task is held until that is answered
        fate = data.draw(st.sampled_from(MOSTLY), "fate")
        self.request(worker, fate, lambda seq: self.served(worker, seq, changes, **how))

    def served(self, worker: Worker, seq: int, changes: list[Change], **how: Any) -> Callable[[], None]:
        try:
            got, letters = self.pump(worker, seq, changes, **how)
        except Refused:
            got, letters = self.one_by_one(worker, seq, changes)

        def learn() -> None:
            self.hold(worker, got)
            worker.mail |= dict.fromkeys((task_id for task_id, _ in got), (0, [])) | letters
            for change in changes:  # those that were stale are over as well
                if worker.held.get(change["id"]) == change["epoch"]:
                    del worker.held[change["id"]]

        return learn

    def pump(
        self,
        worker: Worker,
        seq: int,
        changes: list[Change],
        *,
        room: int = 0,
        eager: bool = False,
        look: bool = True,
        plainly: bool = False,
    ) -> tuple[list[Held], dict[int, Any]]:
        """What is now the worker's, and what is in their inboxes; all of it compared. Raises Refused."""
        call = calls.pump(
            worker.id,
            seq,
            **self.settlement(changes, plainly=plainly, eager=eager),
            lanes=lanes(room),
            room=room,
            look=look,
            eager=EAGER if eager else None,
        )
        try:
            reply = self.scene.run(call, worker.actor)
        except LeaseLost:
            raise
        except HowdahError as refusal:
            self.is_refused(refusal, worker, changes, seq=seq)
        foretold = self.oracle.settle_all(worker.id, changes, seq=seq, eager=eager, room=room)
        assert sorted(reply.settled) == foretold.settled, "a stale outcome counts, or one in time does not"
        assert sorted(reply.kept or []) == foretold.kept
        got = claimed(reply)
        assert got[: len(foretold.begun)] == foretold.begun
        left = room - len(foretold.begun) if look or foretold.due else 0
        assert got[len(foretold.begun) :] == (self.oracle.claim(worker.id, seq, left) if left else [])
        got += [(task_id, self.oracle.live[task_id].epoch) for task_id in foretold.kept]
        self.count(got)
        return got, self.letters(got, mail(reply))

    def is_refused(self, refusal: HowdahError, worker: Worker, changes: list[Change], **more: Any) -> None:
        """Raises Refused, if the oracle agrees."""
        with pytest.raises(Refused, match=type(refusal).__name__):
            self.oracle.settle_all(worker.id, changes, **more)
        raise Refused

    def one_by_one(self, worker: Worker, seq: int, changes: list[Change]) -> tuple[list[Held], dict[int, Any]]:
        """As worker/pump.py does it: whose effects cannot be has failed."""
        got, letters = list[Held](), dict[int, Any]()
        for change in changes:
            try:
                more = self.pump(worker, seq, [change])
            except Refused:
                end = {"to": "failed", "attempts": "keep", "error": "refused", "took": []}
                more = self.pump(worker, seq, [{"id": change["id"], "epoch": change["epoch"]} | end])
            got += more[0]
            letters |= more[1]
        return got, letters

    @precondition(lambda self: any(w.held for w in self.workers))
    @rule(data=st.data(), late=st.booleans())
    def finish_with_sql_of_its_own(self, data: st.DataObject, late: bool) -> None:
        worker = data.draw(st.sampled_from([w for w in self.workers if w.held]), "worker")
        held = data.draw(st.sampled_from(sorted(worker.held.items())), "task")
        change = self.outcome(data, worker, held, OFTEN)

        def arrive() -> None:
            row = json.dumps(self.settlement_row(change))
            try:
                settled = self.with_effect(worker, held, calls.settle_rest(worker.id, "[" + row + "]"))
            except HowdahError as refusal:
                try:
                    self.is_refused(refusal, worker, [change])
                except Refused:
                    return
            assert settled == bool(self.oracle.settle_all(worker.id, [change]).settled)
            if worker.held.get(held[0]) == held[1]:
                del worker.held[held[0]]

        worker.began.pop(held[0], None)
        self.dispatch("transaction", arrive, later=late)

    # ── what must hold after every step ──

    @invariant()
    def the_tables_are_as_foretold(self) -> None:
        (row,) = self.scene.rows(LOOK)
        found = {task["id"]: self.read_task(task) for task in row["tasks"] or []}
        for task_id, task in self.oracle.live.items():
            if task_id in found and task.status != "running":
                found[task_id].claimed_at = task.claimed_at  # the last claim's, and nobody's business
        assert found == self.oracle.live
        inboxes: dict[int, list[Message]] = {task_id: [] for task_id in found}
        for task_id, *letter in row["messages"] or []:
            inboxes[task_id].append(self.message([0, *letter]))
        assert {i: by_sender(inbox) for i, inbox in inboxes.items()} == {
            i: by_sender(inbox) for i, inbox in self.oracle.inboxes.items()
        }
        archive = {task["id"]: task for task in row["archive"] or []}
        assert archive.keys() == self.oracle.ended.keys()
        for task_id, (status, task) in self.oracle.ended.items():
            ended = archive[task_id] | {"last_error": short(archive[task_id]["last_error"])}
            assert (ended["status"], ended["result"]) == (status, self.oracle.results[task_id])
            for name in ("kind", "payload", "key", "step", "attempt", "lost", "epoch", "last_error", "parent"):
                assert ended[name] == getattr(task, name), name
        assert found.keys() | archive.keys() | self.oracle.forgotten == self.oracle.accepted, "lost, or invented"
        assert {tuple(effect) for effect in row["effects"] or []} == self.effects
        assert self.scene.breaches() == []

    @invariant()
    def nobody_sleeps_with_an_unseen_message(self) -> None:
        for task in self.oracle.live.values():  # which are what the tables say
            if task.status == "suspended" and not task.joining:
                assert task.inbox_seq == self.oracle.seen[task.id]

    # ── helpers ──

    def holding(self) -> list[Worker]:
        return [worker for worker in self.up(idle=True) if worker.held]

    def any_task(self, data: st.DataObject) -> int:
        gone = sorted(self.oracle.accepted - self.oracle.live.keys())[-2:]
        return data.draw(st.sampled_from(sorted(self.oracle.live) * 3 + gone or sorted(self.oracle.accepted)), "task")

    def letters(self, got: list[Held], found: dict[int, tuple[int, list[Any]]]) -> dict[int, tuple[int, list[Any]]]:
        """What a reply brought of the inboxes: all that is in them."""
        for task_id, _ in got:
            task = self.oracle.live[task_id]
            if task.inbox_seq == 0:
                assert task_id not in found
                continue
            inbox_seq, letters = found[task_id]
            assert inbox_seq == task.inbox_seq
            assert by_sender(map(self.message, letters)) == by_sender(self.oracle.inboxes[task_id])
        return found

    def read_task(self, row: dict[str, Any]) -> Actor:
        row |= {
            "cancel": row["cancel_at"] is not None,
            "error": short(row["error"]),
            "last_error": short(row["last_error"]),
        }
        row["run_at"] = NEVER if row["run_at"] == "infinity" else datetime.fromisoformat(row["run_at"])
        row["worker"] = row["worker"] and UUID(row["worker"])
        row["claimed_at"] = row["claimed_at"] and datetime.fromisoformat(row["claimed_at"])
        return Actor(**{name: row[name] for name in Actor.__dataclass_fields__})


def by_sender(messages: Iterable[Message]) -> dict[int | None, list[Any]]:
    """Their order is kept for each sender; between senders, there is none."""
    found: dict[int | None, list[Any]] = defaultdict(list)
    for message in messages:
        found[message.sender].append(message.what)
    return found


def test_every_family_is_as_foretold(dsn: str) -> None:
    run_histories(Actors, dsn, examples=150, steps=100)
