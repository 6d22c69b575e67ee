"""The pump: settle what ended and claim what is due, in one round trip, again and again.

While one request is under way, ended attempts collect for the next: the busier the worker, the bigger the batch.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable

import msgspec
import psycopg

from howdah import calls
from howdah.calls import Pumped
from howdah.context import ClaimedTask, Progress
from howdah.db.failures import passes
from howdah.db.line import Line
from howdah.db.pool import Database
from howdah.errors import LeaseLost
from howdah.inbox import Mail
from howdah.kinds.batch import is_claimed_for_a_process
from howdah.outcomes import Transition
from howdah.worker.attempt import Attempt, Why
from howdah.worker.family import Family
from howdah.worker.house import House
from howdah.worker.lanes import Lanes
from howdah.worker.lease import Lease, awake_clock
from howdah.worker.service import Service
from howdah.worker.settlement import Ended, next_step, read_inboxes, settlement
from howdah.worker.stragglers import Stragglers
from howdah.worker.telling import tell_end, tell_stale

log = logging.getLogger("howdah.worker")
_claimed = msgspec.json.Decoder(list[ClaimedTask])
# Seconds between two looks at a queue that has tasks and no place for them.
_GATED_REST = 0.1
# Seconds between two looks at some of very many groups that all have no place.
_ROUND_REST = 0.01


class Pump(Service):
    """Owns the running attempts of one lease."""

    name = "pump"

    def __init__(
        self,
        *,
        database: Database,
        effects: Database,
        line: Line,
        lease: Lease,
        lanes: Lanes,
        house: House,
        family: Family,
        report: Callable[[ClaimedTask, Progress], None],
        beat_now: Callable[[], None],
    ) -> None:
        super().__init__()
        self._database = database
        self._effects = effects
        self._line = line
        self._lease = lease
        self._lanes = lanes
        self._house = house
        self._family = family
        self._report = report
        self._beat_now = beat_now
        self.running: dict[int, Attempt] = {}
        self._starting = 0
        self._closed = False
        self._by_queue: Counter[str] = Counter()
        self._in_processes = 0
        self._ended: list[Ended] = []
        self._under_way = 0  # ended, and sent in a request that has no answer yet
        self._stragglers = Stragglers(self._settle_alone, self._let_go)
        self.stopping = False
        self.idle = asyncio.Event()
        self.suspended: Callable[[], None] = lambda: None  # called when a task was suspended until a time
        self.scheduled: Callable[[], None] = lambda: None  # called when a task of a schedule has ended
        self._asleep = False  # what the worker's row says
        self._announce: bool | None = None  # what it should say, with the next request
        self._hungry = False  # the last look found less than there was room for
        self._gated = False  # limits kept something back: what ends may make room for it
        self._look_at = 0.0  # when to look again, although what ends keeps us busy

    # ── what others may do ──

    def cancel(self, task_id: int) -> None:
        """The database says that this task is to be cancelled."""
        attempt = self.running.get(task_id)
        if attempt is not None:
            attempt.cancel("cancel")

    def cancel_all(self, why: Why) -> list[Attempt]:
        """Stop every handler, and start no more."""
        self._closed = True
        attempts = list(self.running.values())
        for attempt in attempts:
            attempt.cancel(why)
        return attempts

    def look(self) -> None:
        """There may be something to claim."""
        self._lanes.ask_again()
        self._look_at = 0.0
        self.wake()

    def stop(self) -> None:
        """Claim no more."""
        self.stopping = True
        self._house.batches.hurry()
        self.wake()

    @property
    def busy(self) -> bool:
        """Whether something runs, or has ended and is not in the database yet."""
        return bool(self.running or self._starting or self._ended or self._under_way or self._stragglers)

    # ── the loop ──

    async def turn(self) -> float | None:
        if not self._lease.trust:
            raise LeaseLost("the lease was lost" if self._lease.lost else "the lease may be over")
        if locked := self._stragglers.take_due():
            await self._one_by_one(locked)
        rest = await self._round()
        until = self._stragglers.rest()
        return rest if until is None else until if rest is None else min(rest, until)

    async def _round(self) -> float | None:
        batch, self._ended = self._ended, []
        self._under_way = len(batch)
        try:
            return await self._settle_and_claim(batch)
        finally:
            self._under_way = 0

    async def _settle_and_claim(self, batch: list[Ended]) -> float | None:
        # Where nothing else waits, a task goes on with its next step at once, and one that gets a message begins at once;
        # else they stand in line like all others.
        eager = self._hungry and not self.stopping
        on = sum(ended.transition.at_once for ended in batch) if eager else 0
        room = self._room() - on
        if on and room <= 0:
            eager, room = False, room + on
        if not batch and room == 0:
            return None
        # Who has said that it sleeps is told of new tasks: no need to look with everything that ends. But nobody tells us when
        # what we put back ourselves is due.
        back = any(ended.transition.to == "queued" and not ended.transition.at_once for ended in batch)
        untold = back or self._gated or self._lanes.narrow
        told = eager and self._asleep and batch and not untold and time.monotonic() < self._look_at
        look = room > 0 and not told
        fresh = look and self._lanes.may_look_fresh()
        asked_at = time.monotonic()
        try:
            reply, claimed = await self._ask(batch, room, fresh, look=look, eager=eager)
        except LeaseLost:
            raise
        except Exception as error:
            # Whatever this request claimed is ours in the database and nowhere here: the next heartbeat gives it back.
            self._beat_now()
            if batch and (not passes(error) or isinstance(error, psycopg.errors.LockNotAvailable)):
                log.warning("a batch was refused (%s); settling one by one", type(error).__name__)
                await self._one_by_one(batch)
                return 0
            self._ended = batch + self._ended
            raise
        look = look or reply.cursors is not None  # what was to sleep was due at once
        self._lanes.looked(reply.cursors, fresh=fresh, seconds=time.monotonic() - asked_at)
        if claimed:
            if not self._lease.trust:
                raise LeaseLost("the claim came back after the lease may have ended")
            self._count(claimed)
            # Started while the next request is under way, as everything that needs no answer: the server never waits.
            asyncio.get_running_loop().call_soon(self._start_all, claimed, read_inboxes(reply.inboxes))
        await self._close_books(batch, reply)
        self._under_way = 0
        if not look:
            return max(self._look_at - time.monotonic(), 0) if room else None
        return await self._next_rest(reply, room, claimed=len(claimed) - len(reply.kept or ()), fresh=fresh)

    def _room(self) -> int:
        """How many tasks to ask for now: half of the concurrency at most, so that one half runs while the other is fetched."""
        if self.stopping:
            return 0
        most = self._house.settings.concurrency
        free = most - len(self.running) - self._starting - self._house.threads.stuck
        return max(min(free, (most + 1) // 2), 0)

    async def _ask(
        self, batch: list[Ended], room: int, fresh: bool, *, look: bool = False, eager: bool = False
    ) -> tuple[Pumped, list[ClaimedTask]]:
        announce, self._announce = self._announce, None
        lanes = "[]"
        if room:
            # What goes on at once keeps its place in its queue, and its process.
            on = [ended.attempt for ended in batch if eager and ended.transition.at_once]
            running = self._by_queue + Counter(attempt.task.queue for attempt in on) if on else self._by_queue
            in_processes = self._in_processes + sum(is_claimed_for_a_process(attempt.kind) for attempt in on)
            in_processes += self._house.batches.in_processes
            process_room = max(self._house.settings.processes - in_processes, 0)
            lanes = self._lanes.request(room, running, process_room, fresh=fresh)
        seq = self._lease.next_seq()
        asked_at = awake_clock()
        try:
            reply = await self._line.run(
                calls.pump(
                    self._lease.id,
                    seq,
                    **settlement(batch, on=eager),
                    lanes=lanes,
                    room=room,
                    asleep=announce,
                    look=look,
                    eager=self._lanes.eager() if eager else None,
                )
            )
        except BaseException:
            self._announce = announce
            self._lease.settle(seq)
            raise
        if announce is not None:
            self._asleep = announce
        if awake_clock() - asked_at > self._lease.ttl:
            # Others may have ended these as overdue by now, although our heartbeat was on time: not ours any more.
            self._lease.settle(seq)
            self._beat_now()
            return reply, []
        # Held first, settled second: a heartbeat in between must not find a claimed task that is not held.
        claimed = [] if reply.claimed is None else _claimed.decode(reply.claimed)
        if reply.kept:
            kept = set(reply.kept)
            claimed += [
                next_step(e.attempt.ctx.as_it_is_now(), e.transition) for e in batch if e.attempt.task.id in kept
            ]
        for task in claimed:
            self._lease.held[task.id] = task.epoch
        self._lease.settle(seq)
        return reply, claimed

    async def _close_books(self, batch: list[Ended], reply: Pumped) -> None:
        """Let go of what was sent, and tell how it ended."""
        if len(reply.settled) == len(batch):
            if batch:
                asyncio.get_running_loop().call_soon(self._close, batch)
            return
        settled = set(reply.settled)
        self._close([ended for ended in batch if ended.attempt.task.id in settled])
        for ended in batch:
            task = ended.attempt.task
            if task.id in settled:
                continue
            if ended.sent > 1 and await self._was_settled(task):
                self._close([ended])
            else:
                self._let_go(task)
                tell_stale(self._house, ended.attempt)

    def _close(self, settled: list[Ended]) -> None:
        for ended in settled:
            self._let_go(ended.attempt.task)
            self._tell(ended.attempt, ended.transition)

    def _count(self, claimed: list[ClaimedTask]) -> None:
        """Counted as soon as they are ours, so that the next request does not ask for their room."""
        self._starting += len(claimed)
        self._by_queue.update([task.queue for task in claimed])
        if self._lanes.use_processes:
            self._in_processes += sum(self._runs_in_a_process(task) for task in claimed)

    def _runs_in_a_process(self, task: ClaimedTask) -> bool:
        return is_claimed_for_a_process(self._house.registry.get(task.kind).at(task.step))

    def _start_all(self, claimed: list[ClaimedTask], inboxes: list[Mail]) -> None:
        self._starting -= len(claimed)
        if not self._closed:  # else they go back with the lease
            mails = {mail.task_id: mail for mail in inboxes}
            for task in claimed:
                self._start(task, mails.get(task.id) if mails else None)

    async def _next_rest(self, reply: Pumped, room: int, *, claimed: int, fresh: bool) -> float | None:
        """How long to rest after this answer. None: until an attempt ends or somebody wakes us."""
        if not room:
            return None
        self._hungry = claimed < room
        self._gated = reply.gated
        if claimed >= room:
            if self._asleep:
                self._announce = False  # busy: whoever enqueues need not notify
            return None if self._room() == 0 else 0
        if not self._asleep:
            # Say that we are about to sleep, then look once more: what came in between did not notify.
            self._announce = True
            return 0
        if reply.more:
            return 0 if claimed else _ROUND_REST
        if self._house.settings.until_idle and not claimed and fresh and not self.busy and not reply.gated:
            if await self._new_queues():
                return 0
            self.idle.set()
        rest = self._house.settings.poll.total_seconds()
        if reply.next_due is not None:
            rest = min(rest, max(reply.next_due, 0) + 0.001)
        if reply.crowded:
            rest = min(rest, _GATED_REST)  # a place may come free on another worker
        until_fresh = self._lanes.until_fresh() + 0.001
        self._look_at = time.monotonic() + min(rest, until_fresh)
        return rest if fresh else min(rest, until_fresh)

    async def _new_queues(self) -> bool:
        """Whether tasks wait in queues nobody told us of. A chore asks as well, but less often than idleness may come."""
        if not self._lanes.serves_all:
            return False
        names = await self._line.run(calls.waiting_queues())
        return bool([name for name in names if self._lanes.learn(name)])

    # ── attempts ──

    def _start(self, task: ClaimedTask, mail: Mail | None) -> None:
        self.running[task.id] = Attempt(
            task,
            self._house.registry.get(task.kind).at(task.step),
            mail=mail,
            lease=self._lease,
            effects=self._effects,
            house=self._house,
            family=self._family,
            report=self._report,
            ended=self._attempt_ended,
        )

    def _attempt_ended(self, attempt: Attempt, transition: Transition | None) -> None:
        task = attempt.task
        self.running.pop(task.id, None)
        self._by_queue[task.queue] -= 1
        if self._lanes.use_processes and is_claimed_for_a_process(attempt.kind):
            self._in_processes -= 1
        if transition is not None:
            self._ended.append(Ended(attempt, transition))
        else:
            self._let_go(task)
            if attempt.committed is not None:
                self._tell(attempt, attempt.committed)
            else:
                tell_stale(self._house, attempt)
        self.wake()

    def _let_go(self, task: ClaimedTask) -> None:
        # Not the newer claim of the same task, which may be ours as well.
        if self._lease.held.get(task.id) == task.epoch:
            del self._lease.held[task.id]

    def _tell(self, attempt: Attempt, transition: Transition) -> None:
        if attempt.ctx.afterwards is not None:
            attempt.ctx.afterwards()
        if transition.to == "suspended" and (transition.delay is not None or transition.run_at):
            self.suspended()
        if attempt.task.tick is not None and transition.to != "queued":
            self.scheduled()
        tell_end(self._house, attempt, transition)

    # ── when an answer did not come, or was no ──

    async def _was_settled(self, task: ClaimedTask) -> bool:
        """Whether an earlier request, whose reply was lost, settled this epoch: then nobody has it running or ended since."""
        try:
            rows = await self._database.run(calls.find({"ids": [task.id]}))
        except Exception:
            return False
        # Or it went on under the next epoch, here: the heartbeat gives that back.
        return not rows or any(
            row["epoch"] == task.epoch or (row["epoch"] == task.epoch + 1 and row["worker"] == self._lease.id)
            for row in rows
        )

    async def _one_by_one(self, batch: list[Ended]) -> None:
        self._under_way = len(batch)
        try:
            await self._stragglers.settle(batch)
        except Exception:
            self._ended += batch  # what is left of it
            raise
        finally:
            self._under_way = 0

    async def _settle_alone(self, ended: Ended) -> None:
        reply, _ = await self._ask([ended], 0, False)
        await self._close_books([ended], reply)
