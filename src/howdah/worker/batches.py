"""Batches: claimed tasks of a kind that takes many at once wait here for each other, and end one by one.

Each task stays an attempt of its own, with its own lease, fence and transition; it only waits for a run that it shares.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from howdah.context import ClaimedTask, Context, Progress
from howdah.errors import InvalidPayload
from howdah.kinds import ending
from howdah.kinds.batch import BatchKind
from howdah.outcomes import Transition
from howdah.worker.processes import Processes


@dataclass(slots=True, eq=False)
class _Member:
    """One task of a batch. `began` is called when the run begins, `end` is how it went for this task."""

    task: ClaimedTask
    ctx: Context
    item: dict[str, Any]
    began: Callable[[], None]
    end: asyncio.Future[Transition]


class Batches:
    """Gathers tasks, a batch per kind at a time. `most`: how many a batch can have here, by the kind's queue."""

    def __init__(self, processes: Processes, most: Callable[[BatchKind], int]) -> None:
        self._processes = processes
        self._most = most
        self._gathering: dict[str, _Batch] = {}
        self._hurry = False
        self.in_processes = 0

    async def attempt(self, kind: BatchKind, task: ClaimedTask, ctx: Context, began: Callable[[], None]) -> Transition:
        """How the next batch of this kind goes for this task. One whose payload does not fit never gets there.

        Cancelled, the task leaves its batch; the others go on.
        """
        try:
            item = kind.signature.decode(task.payload)
        except InvalidPayload as error:
            return ending.parked(error)
        member = _Member(task, ctx, item, began, asyncio.get_running_loop().create_future())
        batch = self._gathering.get(kind.name) or self._new(kind)
        batch.members.append(member)
        if len(batch.members) >= self._most(kind):
            self._run(batch)
        try:
            return await member.end
        except asyncio.CancelledError:
            await self._leave(batch, member)
            raise

    def hurry(self) -> None:
        """The worker claims no more: run what is gathered, and wait for nothing from now on."""
        self._hurry = True
        for batch in list(self._gathering.values()):
            self._run(batch)

    def _new(self, kind: BatchKind) -> _Batch:
        batch = self._gathering[kind.name] = _Batch(kind)
        # Also without a wait those come along that were claimed in the same round trip: they are started before.
        wait = 0 if self._hurry else kind.wait.total_seconds()
        batch.timer = asyncio.get_running_loop().call_later(wait, self._run, batch)
        return batch

    def _run(self, batch: _Batch) -> None:
        self._close(batch)
        if batch.members:  # else all have left it in this very moment
            batch.run = asyncio.get_running_loop().create_task(self._settle(batch, list(batch.members)))

    def _close(self, batch: _Batch) -> None:
        if batch.timer is not None:
            batch.timer.cancel()
        if self._gathering.get(batch.kind.name) is batch:
            del self._gathering[batch.kind.name]

    async def _leave(self, batch: _Batch, member: _Member) -> None:
        batch.members.remove(member)
        # Those who are cancelled together, because the lease is lost or the worker stops, leave one after the other.
        await asyncio.sleep(0)
        if batch.members:
            return
        if batch.run is None:
            self._close(batch)
            return
        # Nobody is left to run for. A task is given back when its handler has ended, not before.
        if not batch.deserted:
            batch.deserted = True
            batch.run.cancel()
        await asyncio.wait([batch.run])

    # ── the run ──

    async def _settle(self, batch: _Batch, members: list[_Member]) -> None:
        """Run the handler once, and say to each how it went."""
        kind = batch.kind
        for member in members:
            member.began()
        try:
            if kind.executor == "process":
                ends = await self._in_a_process(kind, members)
            else:
                values = await ending.within(
                    kind.defaults.timeout, kind.run([m.item for m in members], [m.ctx for m in members])
                )
                ends = [_end(kind, member, value) for member, value in zip(members, values, strict=True)]
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:
            if batch.deserted:
                return
            if isinstance(error, ending.TimedOut):
                for member in members:
                    member.ctx.cancel()  # a thread goes on, and may look
            ends = [ending.of_error(member.task, kind.defaults.retry, error) for member in members]
        for member, end in zip(members, ends, strict=True):
            if not member.end.done():
                member.end.set_result(end)

    async def _in_a_process(self, kind: BatchKind, members: list[_Member]) -> list[Transition]:
        def report(number: int, progress: Progress) -> None:
            members[number].ctx.progress(progress.done, progress.total, progress.note)

        self.in_processes += 1
        try:
            return await self._processes.attempt_many(kind, [member.ctx.as_it_is_now() for member in members], report)
        finally:
            self.in_processes -= 1


class _Batch:
    """Tasks of one kind that run together. `members` are those who still wait for it."""

    def __init__(self, kind: BatchKind) -> None:
        self.kind = kind
        self.members: list[_Member] = []
        self.timer: asyncio.TimerHandle | None = None
        self.run: asyncio.Task[None] | None = None
        self.deserted = False


def _end(kind: BatchKind, member: _Member, value: Any) -> Transition:
    try:
        return kind.transition(member.task, member.ctx, value)
    except Exception as error:  # of a value that is odd enough: no matter of the others
        return ending.of_error(member.task, kind.defaults.retry, error)
