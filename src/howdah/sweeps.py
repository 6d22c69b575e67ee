"""Many tasks at once: what is to be done to all that a filter finds, page by page, and what became of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from howdah import calls
from howdah.calls import Call, Changes, Row, Steps
from howdah.durations import Duration
from howdah.errors import InvalidOption
from howdah.filters import Filter, as_json, checked
from howdah.options import options

_HELD = "another transaction holds it"  # how the reason begins: it, or one of its family


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

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Count rows of id, outcome, why."""
        for row in rows:
            self.outcomes[row["outcome"]] += 1
            if row["why"] is not None:
                self.skipped[row["why"]] += 1


@dataclass(frozen=True, slots=True)
class Sweep:
    """Something to be done to all that a filter finds: the filter, and the call for one page of it."""

    chosen: Mapping[str, Any]
    page: Callable[[str, int], Call[list[Row]]]

    def pages(self, told: Callable[[list[Row]], None]) -> Steps[None]:
        """Do it, ids ascending; `told` hears what became of which task, as rows of id, outcome, why.

        What another transaction held is tried once more at the end: that was most likely a worker, and for a moment.
        """
        held: list[int] = []
        wanted, after = as_json({"all": True, **self.chosen}), 0
        while rows := (yield self.page(wanted, after)):
            after = max(row["id"] for row in rows)
            now = {row["id"] for row in rows if (row["why"] or "").startswith(_HELD)}
            held += sorted(now)
            told([row for row in rows if row["id"] not in now])
        for first in range(0, len(held), calls.PAGE):
            told((yield self.page(as_json({**self.chosen, "ids": held[first : first + calls.PAGE]}), 0)))


def retrying(chosen: Filter, *, every: bool) -> Sweep:
    """Raises InvalidOption."""
    return Sweep({"status": ["failed"]} | _given(chosen, every=every), calls.retry_all)


def cancelling(chosen: Filter, reason: str | None, *, cascade: bool, every: bool) -> Sweep:
    """Raises InvalidOption."""
    return Sweep(
        _given(chosen, every=every),
        lambda found, after: calls.cancel_all(found, after, reason=reason, cascade=cascade),
    )


def editing(chosen: Filter, changes: Changes, *, every: bool) -> Sweep:
    """`changes` as `changed` returns them. Raises InvalidOption."""
    if all(value is None for value in changes.values()):
        raise InvalidOption("nothing to change was given", hint="Give a queue, priority, delay or time")
    return Sweep(_given(chosen, every=every), lambda found, after: calls.edit_all(found, after, **changes))


def changed(queue: str | None, priority: int | None, delay: Duration | None, at: datetime | None) -> Changes:
    """What is to be changed, as the calls take it. Raises InvalidOption."""
    wanted = options(queue=queue, priority=priority, delay=delay, at=at)
    return {"queue": wanted.queue, "priority": wanted.priority, "delay": wanted.delay, "run_at": wanted.at}


def _given(chosen: Filter, *, every: bool) -> dict[str, Any]:
    found = checked(chosen)
    if not found and not every:
        raise InvalidOption("no task was named", hint="Give a filter, or every=True for all of them")
    if found and every:
        raise InvalidOption("every=True and a filter were both given", hint="Give either")
    return found
