"""One attempt of one task: run the handler within its limits, and say how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Literal

import msgspec
import psycopg

from howdah import calls
from howdah.context import ClaimedTask, Context, ReportProgress
from howdah.db.failures import passes
from howdah.db.pool import Database, run_on
from howdah.inbox import Mail
from howdah.kinds import ending
from howdah.kinds.batch import BatchKind
from howdah.kinds.registry import Handler
from howdah.outcomes import Transition
from howdah.worker.family import Family
from howdah.worker.house import House
from howdah.worker.lease import Lease
from howdah.worker.settlement import read_inboxes, transition_row

log = logging.getLogger("howdah.worker")
Why = Literal["cancel", "release", "lost"]

RELEASED = Transition("queued", attempts="unspent")


class Attempt:
    """One claimed task while its handler runs.

    `ended(attempt, transition)` is called once: with the transition to settle, or with None when there is nothing left
    to settle, because it was committed with the handler's own effects, is stale, or the lease is lost.
    """

    __slots__ = (
        "_batches", "_began", "_done", "_effects", "_ended", "_lease", "_processes", "_report", "_why", "committed", "ctx", "kind",
        "seconds", "started", "task",
    )  # fmt: skip

    def __init__(
        self,
        task: ClaimedTask,
        kind: Handler,
        *,
        mail: Mail | None,
        lease: Lease,
        effects: Database,
        house: House,
        family: Family,
        report: ReportProgress,
        ended: Callable[[Attempt, Transition | None], None],
    ) -> None:
        self.task = task
        self.kind = kind
        self.seconds = 0.0
        self.committed: Transition | None = None
        self._lease = lease
        self._effects = effects
        self._processes = house.processes
        self._batches = house.batches
        self._report = report
        self._ended = ended
        self._why: Why | None = None
        self._began = False
        self.ctx = Context(
            task, house.threads.call if kind.executor == "thread" else None, report, mail=mail, offspring=family
        )
        self.started = time.monotonic()
        self._done = asyncio.get_running_loop().create_task(self._run())

    def cancel(self, why: Why) -> None:
        """Stop the handler. A thread is only asked, unless nobody will wait for it."""
        self._why = self._why if self._why == "lost" else why
        self.ctx.cancel()
        # One that has not begun looks by itself: cancelled now, it would never come to say how it ended.
        # One of a batch only leaves it.
        if self._began and (self.kind.executor != "thread" or why != "cancel" or isinstance(self.kind, BatchKind)):
            self._done.cancel()

    async def wait(self) -> None:
        """Until it has ended."""
        await asyncio.wait([self._done])

    async def _run(self) -> None:
        transition: Transition | None
        self._began = True
        try:
            if self._why is not None:
                raise asyncio.CancelledError
            if (mail := self.ctx.mail) is not None and mail.more and self.kind.reads_all:
                await self._read_all(mail)
            if self.task.time_left is not None and (left := self._time_left) is not None and left <= 0:
                transition = self._late("its time was over when this attempt was to begin")
            elif self.kind.transactional:
                transition = await self._in_transaction()
            else:
                transition = await self._limited()
                if self.ctx.hooks and transition.error is None:
                    transition = await self._with_hooks(transition)
        except asyncio.CancelledError as error:
            transition = self._stopped(error)
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # of a hook, of ours, or one that a handler took great care to get through
            transition = ending.of_error(self.task, self.kind.defaults.retry, error)
        if transition is not None and self.task.time_left is not None:
            transition = self._in_time(transition)
        if self._why == "lost":
            transition = None
        elif self._why == "cancel" and transition is not None and transition.to == "succeeded" and self.ctx.saw_cancel:
            transition = Transition("cancelled", event="cancel")
        self.seconds = time.monotonic() - self.started
        self._ended(self, transition)

    def _stopped(self, error: asyncio.CancelledError) -> Transition:
        match self._why:
            case "cancel":
                return Transition("cancelled", event="cancel")
            case "release" | "lost":
                return RELEASED
            case None:  # the handler cancelled itself, or awaited something that was cancelled
                return ending.of_error(self.task, self.kind.defaults.retry, error)

    async def _limited(self) -> Transition:
        """The handler's transition; its exceptions become one. Only a cancellation goes through."""
        try:
            left = None if self.task.time_left is None else self._time_left
            transition = await (self._handled() if left is None else self._before_the_deadline(left))
            if transition.error is None:
                transition.effects = transition.effects or self.ctx.effects
            return transition
        except (Exception, SystemExit) as error:
            return ending.of_error(self.task, self.kind.defaults.retry, error)

    async def _handled(self) -> Transition:
        kind, limit = self.kind, self.kind.defaults.timeout
        if isinstance(kind, BatchKind):
            return await self._batches.attempt(kind, self.task, self.ctx, self._begin)
        if kind.executor == "process":
            return await self._processes.attempt(kind, self.ctx.as_it_is_now(), self._report, self.ctx.mail)
        if limit is None:
            return await kind.attempt(self.task, self.ctx)
        return await self._timed(limit)

    async def _timed(self, limit: timedelta) -> Transition:
        try:
            return await ending.within(limit, self.kind.attempt(self.task, self.ctx))
        except ending.TimedOut:
            self.ctx.cancel()  # a thread goes on, and may look
            raise

    async def _before_the_deadline(self, left: float) -> Transition:
        """As `_handled`, and no longer than the task may take as a whole."""
        clock = asyncio.timeout(left)
        try:
            async with clock:
                return await self._handled()
        except TimeoutError:
            if not clock.expired():
                raise
            self.ctx.cancel()
            return self._late("it was still running at its deadline")

    @property
    def _time_left(self) -> float | None:
        """Seconds until its deadline; None for a task that has none, or runs all the same."""
        return None if self.task.time_left is None or self._policy == "run" else self.ctx.time_left

    @property
    def _policy(self) -> str:
        return self.task.late or self.kind.defaults.late

    def _in_time(self, transition: Transition) -> Transition:
        """The transition, or that the task is late, if it is to be tried again when its time is over."""
        left = self._time_left
        if left is None or transition.to != "queued" or transition.error is None or transition.delay is None:
            return transition
        if transition.delay.total_seconds() < left:
            return transition
        said = f"no time is left for another attempt; attempt {self.task.attempt} failed: {transition.error}"
        return self._late(said, transition.details)

    def _late(self, said: str, details: dict[str, Any] | None = None) -> Transition:
        self.ctx.forget_effects()
        return ending.late(self._policy, said, details)

    def _begin(self) -> None:
        """The batch that it waited for begins."""
        self.started = time.monotonic()

    async def _read_all(self, mail: Mail) -> None:
        """The rest of an inbox, for those who need all of it: after a Join of many children."""
        while mail.more:
            text = await self._effects.run(calls.inboxes([self.task.id], mail.letters[-1].id))
            (page,) = read_inboxes(text) or (None,)
            if page is None:  # the task is gone, and this attempt will hear of it
                return
            mail.letters += page.letters
            mail.more, mail.inbox_seq = page.more, page.inbox_seq

    # ── effects in the transition's own transaction ──

    async def _in_transaction(self) -> Transition | None:
        """The handler inside the transaction that ends it. A failed attempt leaves nothing behind."""
        async with contextlib.AsyncExitStack() as stack:
            try:
                # Rescue ends what runs a lease longer than its time limit: nobody may wait here for so long.
                async with asyncio.timeout(None if self.kind.defaults.timeout is None else self._lease.ttl / 2):
                    conn = await stack.enter_async_context(self._effects.connection())
            except TimeoutError:
                return RELEASED
            transition: Transition | None = None
            try:
                async with conn.transaction():
                    self.ctx.join(conn)
                    transition = await self._limited()
                    if transition.error is not None or transition.event == "late":
                        raise _Undo
                    await self._finish(conn, transition)
            except _Undo:
                return transition
            except psycopg.Error as error:
                return await self._after(error, transition)
        return None

    async def _with_hooks(self, transition: Transition) -> Transition | None:
        """The hooks and the transition, in one transaction of their own."""
        async with self._effects.connection() as conn:
            try:
                async with conn.transaction():
                    await self._finish(conn, transition)
            except _Undo:
                return None
            except psycopg.Error as error:
                return await self._after(error, transition)
        return None

    async def _finish(self, conn: Any, transition: Transition) -> None:
        for hook in self.ctx.hooks:
            await hook(conn)
        seconds = time.monotonic() - self.started
        row = transition_row(self.task, transition, keep=self.kind.defaults.keep is not None, seconds=seconds)
        # Last, and fenced: if another worker owns the task by now, everything above is undone.
        if not await run_on(conn, calls.settle_rest(self._lease.id, msgspec.json.encode([row]).decode())):
            raise _Undo
        self.committed = transition

    async def _after(self, error: psycopg.Error, transition: Transition | None) -> Transition | None:
        """A database error on the way. If the connection broke in COMMIT, the outcome is read, not guessed."""
        if self.committed is not None and passes(error) and await self._went_through():
            return None
        self.committed = None
        return ending.of_error(self.task, self.kind.defaults.retry, error)

    async def _went_through(self) -> bool:
        """Whether the transition of this epoch is in the database. Asks until it gets an answer or the lease is over."""
        delay = 0.05
        while True:
            try:
                rows = await self._effects.run(calls.find({"ids": [self.task.id]}))
                mine = any(
                    row["epoch"] == self.task.epoch and row["status"] == "running" and row["worker"] == self._lease.id
                    for row in rows
                )
                return not mine
            except Exception:
                if not self._lease.trust:
                    raise
            await asyncio.sleep(delay)
            delay = min(delay * 2, 1)


class _Undo(Exception):
    """Roll the transaction back; nothing is wrong with the database."""
