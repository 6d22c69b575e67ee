"""Repair: the verbs that mend, one task or all that a filter finds. Each is a few lines over `calls`."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Unpack

from howdah import calls
from howdah.caller import Caller
from howdah.calls import Call, Purged, Row
from howdah.durations import Duration
from howdah.errors import InvalidOption
from howdah.filters import Filter, as_json, check_id, checked
from howdah.options import options
from howdah.payload import plain_json
from howdah.task import TaskInfo, only

LIVE = ["queued", "running", "suspended", "failed"]
_HELD = "another transaction holds it"
_EVERY = "Give a filter, or every=True for all of them"


@dataclass(slots=True)
class Bulk:
    """What became of all that a filter found.

    `outcomes` counts them: {"resumed": 9, "skipped": 1}; `skipped` counts why: {"it is running": 1}. After a dry run
    nothing was done, and `counts` has rows of kind, queue, status, tasks.
    """

    outcomes: Counter[str] = field(default_factory=Counter[str])
    skipped: Counter[str] = field(default_factory=Counter[str])
    counts: list[Row] = field(default_factory=list[Row])

    @property
    def found(self) -> int:
        """How many tasks the filter found."""
        return sum(row["tasks"] for row in self.counts) + self.outcomes.total()

    @property
    def done(self) -> int:
        """How many tasks were changed."""
        return self.outcomes.total() - self.outcomes["skipped"] - self.outcomes["unchanged"]

    def add(self, rows: Iterable[Row]) -> None:
        """Count a page of rows of id, outcome, why."""
        for row in rows:
            self.outcomes[row["outcome"]] += 1
            if row["why"] is not None:
                self.skipped[row["why"]] += 1


@dataclass(frozen=True, slots=True)
class Sweep:
    """Something to be done to all that a filter finds, page by page."""

    chosen: Mapping[str, Any]
    page: Callable[[str, int], Call[list[Row]]]

    def calls(self) -> Generator[Call[list[Row]], list[Row], None]:
        """The calls to make, one after the other; each wants the answer to the one before.

        What another transaction held is asked for once more at the end: it was most likely a worker.
        """
        held: list[int] = []
        after = 0
        while rows := (yield self.page(as_json(self.chosen), after)):
            held += [row["id"] for row in rows if row["why"] == _HELD]
            after = max(row["id"] for row in rows)
        for first in range(0, len(held), calls.PAGE):
            yield self.page(as_json({**self.chosen, "ids": held[first : first + calls.PAGE]}), 0)

    def settled(self, rows: list[Row], asked: Call[list[Row]]) -> list[Row]:
        """The rows of a page whose outcome is final."""
        return rows


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
        changes = _changes(queue, priority, delay, at)
        found = only(task_id, await self.run(calls.find({"ids": [check_id(task_id)]}), connection))
        await self.run(calls.edit(task_id, self._edited(found, payload, step), step, **changes), connection)

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
        changes = _changes(queue, priority, delay, at)
        found = only(task_id, self.run_sync(calls.find({"ids": [check_id(task_id)]}), connection))
        self.run_sync(calls.edit(task_id, self._edited(found, payload, step), step, **changes), connection)

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
        sweep = Sweep({"status": ["failed"]} | _given(chosen, every=every), calls.retry_all)
        return await self._all(sweep, dry_run, connection)

    def retry_all_sync(
        self, *, every: bool = False, dry_run: bool = False, connection: Any = None, **chosen: Unpack[Filter]
    ) -> Bulk:
        """As `retry_all`, blocking."""
        sweep = Sweep({"status": ["failed"]} | _given(chosen, every=every), calls.retry_all)
        return self._all_sync(sweep, dry_run, connection)

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
        return await self._all(cancelling(_given(chosen, every=every), reason, cascade=cascade), dry_run, connection)

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
        return self._all_sync(cancelling(_given(chosen, every=every), reason, cascade=cascade), dry_run, connection)

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
        sweep = editing(_given(chosen, every=every), _changes(to_queue, priority, delay, at))
        return await self._all(sweep, dry_run, connection)

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
        sweep = editing(_given(chosen, every=every), _changes(to_queue, priority, delay, at))
        return self._all_sync(sweep, dry_run, connection)

    async def _all(self, sweep: Sweep, dry_run: bool, connection: Any) -> Bulk:
        if dry_run:
            return Bulk(counts=await self.run(calls.count_tasks(as_json(sweep.chosen)), connection))
        bulk = Bulk()
        async for rows in self._pages(sweep, connection):
            bulk.add(rows)
        return bulk

    def _all_sync(self, sweep: Sweep, dry_run: bool, connection: Any) -> Bulk:
        if dry_run:
            return Bulk(counts=self.run_sync(calls.count_tasks(as_json(sweep.chosen)), connection))
        bulk = Bulk()
        for rows in self.sweep_sync(sweep, connection):
            bulk.add(rows)
        return bulk
