"""What mends: edits, many tasks at once, queues that are drained, kinds that are disabled, export and import."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypedDict, Unpack

from howdah.calls.call import Call, Row, Rows, all_rows, first, nothing

# howdah works through many tasks in pages of so many, each a transaction.
PAGE = 1000
_PAGE = {"after": "bigint", "at_most": "int"}
_CHANGES = {"queue": "text", "priority": "int", "delay": "interval", "run_at": "timestamptz"}


class Changes(TypedDict, total=False):
    """What an edit changes; what is not in it, or None, stays."""

    queue: str | None
    priority: int | None
    delay: timedelta | None
    run_at: datetime | None


def edit(task_id: int, payload: str | None = None, step: str | None = None, **changes: Unpack[Changes]) -> Call[None]:
    types = {"id": "bigint", "payload": "jsonb", "step": "text"} | _CHANGES
    args = {"id": task_id, "payload": payload, "step": step} | dict.fromkeys(_CHANGES) | changes
    return Call("edit", types, args, nothing)


# ── by filter: JSON, as `howdah.condition` reads it; `after` is the highest id of the page before ──


def count_tasks(chosen: str) -> Call[list[Row]]:
    """How many live tasks a filter finds: rows of kind, queue, status, tasks."""
    return Call("count_tasks", {"filter": "jsonb"}, {"filter": chosen}, all_rows)


def _all(function: str, chosen: str, after: int, types: dict[str, str], args: dict[str, Any]) -> Call[list[Row]]:
    """Rows of id, outcome, why."""
    pages = {"filter": chosen, "after": after, "at_most": PAGE}
    return Call(function, {"filter": "jsonb"} | _PAGE | types, pages | args, all_rows)


def retry_all(chosen: str, after: int) -> Call[list[Row]]:
    return _all("retry_all", chosen, after, {}, {})


def cancel_all(chosen: str, after: int, *, reason: str | None, cascade: bool) -> Call[list[Row]]:
    return _all(
        "cancel_all", chosen, after, {"reason": "text", "cascade": "boolean"}, {"reason": reason, "cascade": cascade}
    )


def edit_all(chosen: str, after: int, **changes: Unpack[Changes]) -> Call[list[Row]]:
    return _all("edit_all", chosen, after, _CHANGES, dict.fromkeys(_CHANGES) | changes)


def export_tasks(chosen: str, after: int) -> Call[list[Row]]:
    """Rows of id and line."""
    return _all("export_tasks", chosen, after, {}, {})


# ── import: many calls in one transaction, import_families the last of them ──


class Imported(NamedTuple):
    """How many tasks were written, and how many were left out because something of theirs is taken."""

    imported: int
    skipped: int


def import_tasks(lines: str, first_line: int, *, on_conflict: str, keep_ids: bool) -> Call[Imported]:
    types = {"lines": "jsonb", "first": "int", "on_conflict": "text", "keep_ids": "boolean"}
    args = {"lines": lines, "first": first_line, "on_conflict": on_conflict, "keep_ids": keep_ids}
    return Call("import_tasks", types, args, lambda rows: Imported(**rows[0]))


def import_families() -> Call[int]:
    """How many tasks lost their parent, which was not among them."""
    return Call("import_families", {}, {}, first)


# ── queues and kinds ──


def drain(queue: str, reason: str | None) -> Call[int]:
    return Call("drain", {"queue": "text", "reason": "text"}, {"queue": queue, "reason": reason}, first)


def disable(kind: str, reason: str | None) -> Call[None]:
    return Call("disable", {"kind": "text", "reason": "text"}, {"kind": kind, "reason": reason}, nothing)


def enable(kind: str) -> Call[bool]:
    return Call("enable", {"kind": "text"}, {"kind": kind}, first)


class Purged(NamedTuple):
    """What was deleted of a kind, or would be. `running`: tasks that run, or that somebody holds, and are left."""

    live: int
    running: int
    ended: int
    events: int
    more: bool

    def plus(self, page: Purged) -> Purged:
        """This and what the next page did; what is left is what that one saw."""
        return Purged(
            self.live + page.live, page.running, self.ended + page.ended, self.events + page.events, page.more
        )


def purge(kind: str, *, dry_run: bool) -> Call[Purged]:
    types = {"kind": "text", "dry_run": "boolean", "at_most": "int"}
    return Call("purge", types, {"kind": kind, "dry_run": dry_run, "at_most": PAGE}, _purged)


def _purged(rows: Rows) -> Purged:
    return Purged(**rows[0])
