"""What families and inboxes should look like, in plain Python: the reading of design §4.3 and §6 that the SQL is compared with."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from model.oracle import Held, Oracle, Task
from model.scene import KINDS

NEVER = datetime.max.replace(tzinfo=UTC)
Change = dict[str, Any]  # a transition as settle_rest takes it, and `took`: the messages that it consumed


class Message(NamedTuple):
    """`what` is a number that no other message has, or how a child ended: (status, result, error)."""

    sender: int | None
    what: Any


@dataclass
class Actor(Task):
    parent: int | None = None
    children: int = 0
    joining: bool = False
    told: bool = False
    inbox_seq: int = 0
    reason: str | None = None


class Refused(Exception):
    """The whole batch: nothing of it is done."""


@dataclass
class Settled:
    settled: list[int] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)  # gone on with their next step
    begun: list[Held] = field(default_factory=list)  # with the message that woke them
    due: bool = False  # one that was to sleep is due at once


class ActorOracle(Oracle):
    """The tables as they should be, with inboxes and families."""

    live: dict[int, Actor]  # type: ignore[assignment]

    def __init__(self, clock: datetime) -> None:
        super().__init__(clock)
        self.inboxes: dict[int, list[Message]] = {}
        self.seen: dict[int, int] = {}  # inbox_seq at the last look of those that sleep for a message
        self.results: dict[int, Any] = {}
        self.accepted: set[int] = set()
        self.paused = False

    def enqueued(self, task: Actor) -> None:
        assert task.id not in self.accepted
        self.accepted.add(task.id)
        self.live[task.id] = task
        self.inboxes[task.id] = []

    def children(self, parents: Iterable[int]) -> list[int]:
        """The live tasks that these spawned, and those that they spawned, and so on."""
        found, new = set[int](), set(parents)
        while new:
            new = {t.id for t in self.live.values() if t.parent in new} - found
            found |= new
        return sorted(found)

    # ── clients ──

    def send(self, task_id: int, what: int) -> str | None:
        """The class of the refusal, if it is one."""
        if task_id not in self.live:
            return "TaskNotFound"
        if not self._hears(task_id):
            return "WrongStatus"
        self._deliver(task_id, Message(None, what))
        return None

    def cancel(self, task_id: int, *, cascade: bool = True) -> str:
        if task_id not in self.live:
            return super().cancel(task_id)
        answer = self._cancel_one(task_id, None)
        if cascade:
            self._cancel_all(self.children([task_id]))
        return answer

    def replaced(self, task: Task, payload: dict[str, Any], run_at: datetime, priority: int) -> None:
        super().replaced(task, payload, run_at, priority)
        self.live[task.id].joining = False

    def retry(self, task_id: int) -> str:
        task = self.live.get(task_id)
        if task is not None and task.status == "suspended":
            if task.joining:
                return "WrongStatus"
            task.status = "queued"
        return super().retry(task_id)

    def has_family(self, task_id: int) -> bool:
        ends = [message for message in self.inboxes[task_id] if isinstance(message.what, tuple)]
        return bool(self.live[task_id].children or ends)

    # ── workers ──

    def claim(self, worker: UUID, seq: int, room: int) -> list[Held]:
        return [] if self.paused else super().claim(worker, seq, room)

    def wake_suspended(self) -> tuple[int, float | None]:
        """How many woke, and the seconds until the next one."""
        asleep = [task for task in self.live.values() if task.status == "suspended"]
        due = [task for task in asleep if task.run_at <= self.clock]
        for task in due:
            task.status = "queued"
        later = [task.run_at for task in asleep if self.clock < task.run_at < NEVER]
        return len(due), (min(later) - self.clock).total_seconds() if later else None

    def settle_all(
        self, worker: UUID, changes: Sequence[Change], *, seq: int | None = None, eager: bool = False, room: int = 0
    ) -> Settled:
        """What is settled in one request: all of it, or nothing. Raises Refused with the class of the refusal."""
        before = copy.deepcopy(self.__dict__)
        try:
            return self._settle_all(worker, changes, seq, eager, room)
        except Refused:
            self.__dict__.update(before)
            raise

    def _settle_all(self, worker: UUID, changes: Sequence[Change], seq: int | None, eager: bool, room: int) -> Settled:
        answer = Settled()
        mine = sorted((c for c in changes if self.owned(worker, (c["id"], c["epoch"]))), key=lambda c: c["id"])
        answer.settled = [change["id"] for change in mine]
        goes = {change["id"]: self._where_to(self.live[change["id"]], change, seq) for change in mine}
        answer.due = any(change["to"] == "suspended" and goes[change["id"]] == "queued" for change in mine)
        ends = {task_id for task_id, to in goes.items() if to in ("succeeded", "cancelled")}
        effective = [change for change in mine if goes[change["id"]] != "cancelled"]
        # Whether anybody else wants it cancelled: then all that it spawned was cancelled when that was said.
        abandons = [task_id for task_id in ends if goes[task_id] == "cancelled" and not self.live[task_id].cancel]

        for change in mine:
            task, to = self.live[change["id"]], goes[change["id"]]
            if to not in ("succeeded", "cancelled"):
                self._move(task, change, to, seq)
                answer.kept += [task.id] if to == "running" else []
        self._spawn(effective, ends)
        letters = [(s["to"], Message(change["id"], s["body"])) for change in effective for s in change.get("send", ())]
        if any(to not in self.live or to in ends for to, _ in letters):
            raise Refused("TaskNotFound")
        if any(not self._hears(to) for to, _ in letters):
            raise Refused("WrongStatus")
        woken = {to for to, message in letters if self._deliver(to, message)}
        for change in mine:
            task, to = self.live[change["id"]], goes[change["id"]]
            if to == "failed":
                woken |= self._tell_parent(task, "failed", None, change["error"])
            elif to in ("succeeded", "cancelled"):
                task.last_error = change.get("error") or task.last_error
                error = (change.get("reason") or task.reason or change.get("error")) if to == "cancelled" else None
                woken |= self._end(task, to, change.get("result") if to == "succeeded" else None, error)
        for task_id in sorted(woken & self.live.keys())[:room] if eager and seq is not None and not self.paused else ():
            task = self.live[task_id]
            task.status, task.worker, task.claim_seq, task.claimed_at = "running", worker, seq, self.clock
            task.epoch += 1
            task.attempt += 1
            answer.begun.append((task_id, task.epoch))
        self._cancel_all(self.children(abandons))
        return answer

    def _where_to(self, task: Actor, change: Change, seq: int | None) -> str:
        to = change["to"]
        if task.cancel and to != "succeeded":
            return "cancelled"
        if to == "running" and (seq is None or self.paused):
            return "queued"
        if to == "suspended" and change.get("joining"):
            return "suspended" if task.children + len(change.get("spawn", ())) else "queued"
        if to == "suspended" and task.inbox_seq != change["inbox_seq"]:
            return "queued"  # something came since it looked
        return to

    def _move(self, task: Actor, change: Change, to: str, seq: int | None) -> None:
        """The task lives on."""
        worker, delay = task.worker, change.get("delay")
        self._leave(task, to)
        task.payload = change.get("payload", task.payload)
        task.step = change.get("step", task.step)
        if change["attempts"] == "unspent":
            task.attempt -= 1
        elif change["attempts"] == "reset":
            task.attempt = task.lost = 0
            task.step_no += 1
        if to == "running":
            task.worker, task.claim_seq, task.claimed_at = worker, seq, self.clock
            task.attempt += 1
            task.epoch += 1
        elif to == "suspended":
            task.run_at = NEVER if delay is None else self.clock + timedelta(seconds=delay)
            self.seen[task.id] = change["inbox_seq"]
        elif to == "queued":
            task.run_at = self.clock + timedelta(seconds=0 if change["to"] == "suspended" else delay or 0)
        if to == "failed":
            task.error, task.last_error = change["error"], None
        else:
            task.last_error = None if change["attempts"] == "reset" else change.get("error") or task.last_error
        task.joining = bool(change.get("joining"))
        task.children += len(change.get("spawn", ()))
        self.inboxes[task.id] = [m for m in self.inboxes[task.id] if m not in change["took"]]

    def _spawn(self, changes: Iterable[Change], ends: set[int]) -> None:
        for change in changes:
            for child in change.get("spawn", ()):
                key = child.get("key")
                holder = self.holder(key)
                if holder is not None and holder.id not in ends:
                    raise Refused("KeyConflict")
                due = self.clock + timedelta(seconds=child.get("delay", 0))
                self.enqueued(Actor(child["id"], child["kind"], due, key=key, parent=change["id"]))
                if child.get("message") is not None:
                    self._deliver(child["id"], Message(change["id"], child["message"]))

    # ── messages ──

    def _hears(self, task_id: int) -> bool:
        return "inbox" in KINDS[self.live[task_id].kind]

    def _deliver(self, to: int, message: Message, *, fresh: bool = False) -> bool:
        """Into the inbox; whether that woke the reader."""
        task = self.live[to]
        self.inboxes[to].append(message)
        task.inbox_seq += 1
        task.children -= fresh
        if task.status != "suspended" or (task.joining and task.children):
            return False
        task.status, task.run_at = "queued", self.clock
        return True

    def _tell_parent(self, task: Actor, status: str, result: Any, error: str | None) -> set[int]:
        """The parent, if that woke it. Parked again and again, a child tells it once."""
        parent, fresh = task.parent, not task.told
        task.told = task.parent is not None
        if parent not in self.live or (status == "failed" and not fresh):
            return set()
        woke = self._deliver(parent, Message(task.id, (status, result, error)), fresh=fresh)
        return {parent} if woke else set()

    # ── how a task leaves its worker ──

    def _end(self, task: Task, to: str, result: Any = None, error: str | None = None) -> set[int]:
        actor = self.live[task.id]
        super()._end(task, to)
        del self.inboxes[task.id]
        self.results[task.id] = result
        return self._tell_parent(actor, to, result, error or (actor.reason if to == "cancelled" else None))

    def _lose(self, task: Task, *, counts: bool) -> None:
        super()._lose(task, counts=counts)
        if task.status == "failed":
            self._tell_parent(self.live[task.id], "failed", None, task.error)

    def _cancel_one(self, task_id: int, reason: str | None) -> str:
        task = self.live[task_id]
        if task.status == "running":
            task.cancel, task.reason = True, reason or task.reason
            return "running"
        self._end(task, "cancelled", None, reason)
        return "cancelled"

    def _cancel_all(self, children: Iterable[int]) -> None:
        for task_id in children:
            self._cancel_one(task_id, f"its parent, task {self.live[task_id].parent}, was cancelled")
