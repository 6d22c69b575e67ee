"""Repair: the verbs that mend, one task or all that a filter finds. Each is a few lines over `calls`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Unpack

from howdah import calls
from howdah.caller import Caller
from howdah.calls import Changes, Purged, Row, Steps
from howdah.durations import Duration
from howdah.filters import Filter, as_json, check_id, checked
from howdah.options import check_name
from howdah.payload import plain_json
from howdah.sweeps import Bulk, Sweep, cancelling, changed, editing, retrying
from howdah.task import TaskInfo, only


class Repair(Caller):
    """Edit, retry, cancel and move; drain, disable and purge; export and import."""

    # ── one task ──

    async def edit(
        self,
        task_id: int,
        *,
        payload: Mapping[str, Any] | None = None,
        step: str | None = None,
        queue: str | None = None,
        priority: int | None = None,
        delay: Duration | None = None,
        at: datetime | None = None,
        connection: Any = None,
    ) -> None:
        """Change what is given of a task that does not run; its status stays.

        payload   checked against the fields of the step: by its code if that is here, else by the names the database knows
        step      of a machine; the task gets the queue, priority, groups and cost of the new step where it had those of the old
        queue     another queue
        priority  higher first
        delay     due so long from now
        at        due at this time; not for a parked task, which is due when it is resumed

        A new payload makes the groups of the task anew, unless it was enqueued with others; its key stays. What was there
        before is in the task's history. Raises InvalidPayload, InvalidOption, TaskNotFound, WrongStatus, QueueClosed.

        >>> await app.edit(42, payload={"user_id": 7}, priority=9)  # doctest: +SKIP
        """
        steps = self._edit(task_id, payload, step, changed(queue, priority, delay, at))
        await self.follow(steps, connection)

    def edit_sync(
        self,
        task_id: int,
        *,
        payload: Mapping[str, Any] | None = None,
        step: str | None = None,
        queue: str | None = None,
        priority: int | None = None,
        delay: Duration | None = None,
        at: datetime | None = None,
        connection: Any = None,
    ) -> None:
        """As `edit`, blocking."""
        steps = self._edit(task_id, payload, step, changed(queue, priority, delay, at))
        self.follow_sync(steps, connection)

    def _edit(self, task_id: int, payload: Mapping[str, Any] | None, step: str | None, changes: Changes) -> Steps[None]:
        found = only(task_id, (yield calls.find({"ids": [check_id(task_id)]})))
        yield calls.edit(task_id, self._edited(found, payload, step), step, **changes)

    def _edited(self, found: TaskInfo, payload: Mapping[str, Any] | None, step: str | None) -> str | None:
        """The new payload as JSON; None for the old one, which must fit the new step."""
        if payload is None and step is None:
            return None
        handler = self.registry.find(found.kind)
        if handler is not None:
            fields = found.payload if payload is None else payload
            given = handler.named(step if step is not None else found.step, fields).payload
            return None if payload is None else given
        return None if payload is None else plain_json(payload, "payload", max_bytes=self.max_payload)

    # ── all that a filter finds ──

    async def count_tasks(self, **chosen: Unpack[Filter]) -> list[Row]:
        """How many live tasks a filter finds: rows of kind, queue, status, tasks. Raises InvalidOption."""
        return await self.run(calls.count_tasks(as_json(checked(chosen))))

    def count_tasks_sync(self, **chosen: Unpack[Filter]) -> list[Row]:
        """As `count_tasks`, blocking."""
        return self.run_sync(calls.count_tasks(as_json(checked(chosen))))

    async def retry_all(
        self, *, every: bool = False, dry_run: bool = False, connection: Any = None, **chosen: Unpack[Filter]
    ) -> Bulk:
        """Go on with all parked tasks that the filter finds; with `status=` make waiting ones due now as well.

        In pages of 1000, each a transaction of its own, unless `connection=` is given. What cannot be done to one does not
        stop the others, and is counted. `dry_run` writes nothing, and counts what would be gone through; `every=True`
        is for no filter at all. Raises InvalidOption.

        >>> (await app.retry_all(kind="welcome", error="timeout")).outcomes  # doctest: +SKIP
        Counter({'resumed': 212})
        """
        return await self.follow(_swept(retrying(chosen, every=every), dry_run), connection)

    def retry_all_sync(
        self, *, every: bool = False, dry_run: bool = False, connection: Any = None, **chosen: Unpack[Filter]
    ) -> Bulk:
        """As `retry_all`, blocking."""
        return self.follow_sync(_swept(retrying(chosen, every=every), dry_run), connection)

    async def cancel_all(
        self,
        reason: str | None = None,
        *,
        cascade: bool = True,
        every: bool = False,
        dry_run: bool = False,
        connection: Any = None,
        **chosen: Unpack[Filter],
    ) -> Bulk:
        """Cancel all live tasks that the filter finds, as `cancel` does; for the rest see `retry_all`."""
        sweep = cancelling(chosen, reason, cascade=cascade, every=every)
        return await self.follow(_swept(sweep, dry_run), connection)

    def cancel_all_sync(
        self,
        reason: str | None = None,
        *,
        cascade: bool = True,
        every: bool = False,
        dry_run: bool = False,
        connection: Any = None,
        **chosen: Unpack[Filter],
    ) -> Bulk:
        """As `cancel_all`, blocking."""
        sweep = cancelling(chosen, reason, cascade=cascade, every=every)
        return self.follow_sync(_swept(sweep, dry_run), connection)

    async def edit_all(
        self,
        *,
        to_queue: str | None = None,
        priority: int | None = None,
        delay: Duration | None = None,
        at: datetime | None = None,
        every: bool = False,
        dry_run: bool = False,
        connection: Any = None,
        **chosen: Unpack[Filter],
    ) -> Bulk:
        """Move all live tasks that the filter finds to another queue, or change their priority or due time.

        Those that run are left as they are. Payloads and steps are changed task by task: `edit`. For the rest see `retry_all`.

        >>> await app.edit_all(queue="mail", kind="digest", to_queue="bulk", priority=-5)  # doctest: +SKIP
        """
        sweep = editing(chosen, changed(to_queue, priority, delay, at), every=every)
        return await self.follow(_swept(sweep, dry_run), connection)

    def edit_all_sync(
        self,
        *,
        to_queue: str | None = None,
        priority: int | None = None,
        delay: Duration | None = None,
        at: datetime | None = None,
        every: bool = False,
        dry_run: bool = False,
        connection: Any = None,
        **chosen: Unpack[Filter],
    ) -> Bulk:
        """As `edit_all`, blocking."""
        sweep = editing(chosen, changed(to_queue, priority, delay, at), every=every)
        return self.follow_sync(_swept(sweep, dry_run), connection)

    # ── queues and kinds ──

    async def drain(self, queue: str, reason: str | None = None) -> int:
        """Let a queue finish what is in it, and take no more; returns how many tasks are left in it, without parked ones.

        What is due later is finished too, when its time has come. Enqueues are refused with QueueClosed, ticks of schedules
        are skipped; steps, retries and children of what is in it go on. `resume` opens the queue again.

        >>> await app.drain("mail", "moving to another provider")  # doctest: +SKIP
        """
        return await self.run(calls.drain(check_name(queue, "queue"), reason))

    def drain_sync(self, queue: str, reason: str | None = None) -> int:
        """As `drain`, blocking."""
        return self.run_sync(calls.drain(check_name(queue, "queue"), reason))

    async def disable(self, kind: str, reason: str | None = None) -> None:
        """Start no task of this kind, in the whole fleet, until `enable`. Running attempts go on; enqueueing goes on.

        Raises UnknownKind.
        """
        await self.run(calls.disable(check_name(kind, "kind"), reason))

    def disable_sync(self, kind: str, reason: str | None = None) -> None:
        """As `disable`, blocking."""
        self.run_sync(calls.disable(check_name(kind, "kind"), reason))

    async def enable(self, kind: str) -> bool:
        """Undo `disable`. False if the kind was not disabled. Raises UnknownKind."""
        return await self.run(calls.enable(check_name(kind, "kind")))

    def enable_sync(self, kind: str) -> bool:
        """As `enable`, blocking."""
        return self.run_sync(calls.enable(check_name(kind, "kind")))

    async def purge(self, kind: str, *, dry_run: bool = False) -> Purged:
        """Forget a kind: cancel its live tasks, then delete its ended ones, the events of all of them, and its name.

        Parents are told and children cancelled, as with `cancel`. Tasks that run are left, and counted in `running`; they
        keep the name of the kind, as do schedules and live workers that know it. In pages, each a transaction of its own.
        `dry_run` only counts. Raises UnknownKind.
        """
        return await self.follow(_purge(check_name(kind, "kind"), dry_run))

    def purge_sync(self, kind: str, *, dry_run: bool = False) -> Purged:
        """As `purge`, blocking."""
        return self.follow_sync(_purge(check_name(kind, "kind"), dry_run))


def _swept(sweep: Sweep, dry_run: bool) -> Steps[Bulk]:
    if dry_run:
        return Bulk(counts=(yield calls.count_tasks(as_json(sweep.chosen))))
    bulk = Bulk()
    yield from sweep.pages(bulk.add)
    return bulk


def _purge(kind: str, dry_run: bool) -> Steps[Purged]:
    page: Purged = yield calls.purge(kind, dry_run=dry_run)
    total = page
    while page.more and not dry_run:
        page = yield calls.purge(kind, dry_run=False)
        total = total.plus(page)
    return total
