"""What every transition should do, in plain Python: the reading of design §6 that the SQL is compared with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from model.scene import KINDS, TTL

MAX_ATTEMPTS, MAX_LOST = 3, 1
TIMEOUT = timedelta(seconds=10)
Held = tuple[int, int]  # (id, epoch)


@dataclass
class Task:
    id: int
    kind: str
    run_at: datetime
    priority: int = 0
    key: str | None = None
    payload: dict[str, Any] = field(default_factory=dict)
    status: str = "queued"
    step: str | None = None
    step_no: int = 0
    attempt: int = 0
    lost: int = 0
    epoch: int = 0
    worker: UUID | None = None
    claim_seq: int | None = None
    claimed_at: datetime | None = None
    cancel: bool = False
    error: str | None = None
    last_error: str | None = None


@dataclass
class Lease:
    until: datetime
    live: bool = True


class Oracle:
    """The tables as they should be."""

    def __init__(self, clock: datetime) -> None:
        self.clock = clock
        self.live: dict[int, Task] = {}
        self.ended: dict[int, tuple[str, Task]] = {}  # what the archive should have
        self.forgotten: set[int] = set()  # ended, of a kind that keeps nothing
        self.leases: dict[UUID, Lease] = {}

    # ── clients ──

    def holder(self, key: str | None) -> Task | None:
        return next((t for t in self.live.values() if key is not None and t.key == key), None)

    def replaced(self, task: Task, payload: dict[str, Any], run_at: datetime, priority: int) -> None:
        task.payload, task.run_at, task.priority, task.status = payload, run_at, priority, "queued"
        task.step = None
        task.step_no += 1
        task.attempt = task.lost = 0
        task.error = task.last_error = None

    def cancel(self, task_id: int) -> str:
        """The answer, or the class of the refusal."""
        task = self.live.get(task_id)
        if task is None:
            status = self.ended[task_id][0] if task_id in self.ended else None
            return {"cancelled": "cancelled", "succeeded": "WrongStatus", None: "TaskNotFound"}[status]
        if task.status == "running":
            task.cancel = True
            return "running"
        self._end(task, "cancelled")
        return "cancelled"

    def retry(self, task_id: int) -> str:
        task = self.live.get(task_id)
        if task is None:
            return "WrongStatus" if task_id in self.ended else "TaskNotFound"
        if task.status == "running":
            return "WrongStatus"
        if task.status == "failed":
            self.resume([task_id])
            return "resumed"
        task.run_at = min(task.run_at, self.clock)
        return "due now"

    def resume(self, ids: Iterable[int]) -> None:
        for task_id in ids:
            task = self.live.get(task_id)
            if task is not None and task.status == "failed":
                task.status, task.attempt, task.lost, task.run_at = "queued", 0, 0, self.clock
                task.error, task.last_error = None, task.error

    # ── workers ──

    def alive(self, worker: UUID) -> bool:
        return self.leases[worker].live

    def claim(self, worker: UUID, seq: int, room: int) -> list[Held]:
        due = sorted(
            (t for t in self.live.values() if t.status == "queued" and t.run_at <= self.clock),
            key=lambda t: (-t.priority, t.run_at, t.id),
        )[:room]
        for task in due:
            task.status, task.worker, task.claim_seq, task.claimed_at = "running", worker, seq, self.clock
            task.epoch += 1
            task.attempt += 1
        return [(task.id, task.epoch) for task in due]

    def owned(self, worker: UUID, held: Held) -> Task | None:
        task = self.live.get(held[0])
        return task if task is not None and task.worker == worker and task.epoch == held[1] else None

    def settle(self, worker: UUID, change: dict[str, Any]) -> bool:
        """Whether this end of an attempt counts."""
        task = self.owned(worker, (change["id"], change["epoch"]))
        if task is None:
            return False
        to = change["to"]
        if task.cancel and to != "succeeded":
            to = "cancelled"
        attempts = change["attempts"]
        error = change.get("error")
        if to in ("succeeded", "cancelled"):
            task.last_error = error or task.last_error
            self._end(task, to)
            return True
        self._leave(task, to)
        task.payload = change.get("payload", task.payload)
        task.step = change.get("step", task.step)
        if attempts == "unspent":
            task.attempt -= 1
        elif attempts == "reset":
            task.attempt = task.lost = 0
            task.step_no += 1
        if to == "failed":
            task.error, task.last_error = error, None
        else:
            task.run_at = self.clock + timedelta(seconds=change.get("delay", 0))
            task.last_error = None if attempts == "reset" else error or task.last_error
        return True

    def heartbeat(self, worker: UUID, held: Iterable[Held], settled: int) -> tuple[bool, set[int], set[int]]:
        """alive, the ids to cancel, the ids that went back."""
        lease, held = self.leases[worker], set(held)
        if not lease.live:
            return False, set(), set()
        lease.until = self.clock + TTL
        freed = set()
        for task in self._of(worker):
            unheld = (task.id, task.epoch) not in held and (task.claim_seq or 0) <= settled
            if unheld and self._unspent(task):
                freed.add(task.id)
        return True, {task.id for task in self._of(worker) if task.cancel}, freed

    def leave(self, worker: UUID) -> int:
        if not self.leases[worker].live:
            return 0
        self.leases[worker].live = False
        return sum(self._unspent(task) for task in self._of(worker))

    def rescue(self) -> tuple[int, int, int]:
        dead = [lease for lease in self.leases.values() if lease.live and lease.until < self.clock]
        for lease in dead:
            lease.live = False
        lost = [t for t in self.live.values() if t.worker is not None and not self.leases[t.worker].live]
        for task in lost:
            self._lose(task, counts=True)
        overdue = [
            t
            for t in self.live.values()
            if t.kind == "timed" and t.claimed_at and t.worker and t.claimed_at + TIMEOUT + TTL < self.clock
        ]
        for task in overdue:
            self._lose(task, counts=False)
        return len(dead), len(lost), len(overdue)

    # ── how a task leaves its worker ──

    def _of(self, worker: UUID) -> list[Task]:
        return [task for task in self.live.values() if task.worker == worker]

    def _leave(self, task: Task, to: str) -> None:
        task.status, task.worker, task.claim_seq = to, None, None

    def _end(self, task: Task, to: str) -> None:
        del self.live[task.id]
        if KINDS[task.kind].get("keep", "") is None:
            self.forgotten.add(task.id)
        else:
            self.ended[task.id] = (to, replace(task, last_error=task.error or task.last_error))

    def _unspent(self, task: Task) -> bool:
        """Back in its queue as if it had not been claimed; a task that was to be cancelled is."""
        if task.cancel:
            self._end(task, "cancelled")
            return False
        self._leave(task, "queued")
        task.attempt -= 1
        return True

    def _lose(self, task: Task, *, counts: bool) -> None:
        if task.cancel:
            self._end(task, "cancelled")
            return
        parks = task.attempt >= MAX_ATTEMPTS or (counts and task.lost + 1 > MAX_LOST)
        wait = 2 ** (task.attempt - 1)
        if counts:
            wait = 5 * 2 ** min(task.lost, 10) if task.lost else 0
        self._leave(task, "failed" if parks else "queued")
        task.lost += counts
        said = "WorkerLost" if counts else "TimeoutError"
        if parks:
            task.error, task.last_error = said, None
        else:
            task.run_at = self.clock + timedelta(seconds=wait)
            task.last_error = said
