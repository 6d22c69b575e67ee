"""watch: follow tasks until they end."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from howdah.cli.errors import FAILED, OK, say, say_error
from howdah.cli.look import progress_words
from howdah.cli.options import ANYWHERE, Ids, Output, Where, task_ids
from howdah.cli.output import STATUS_STYLES, escaped, plain, print_line, to_json
from howdah.client import Client
from howdah.errors import InvalidOption, TaskNotFound
from howdah.task import TaskInfo

_SHORTEST, _LONGEST, _GROWTH = 0.05, 0.5, 1.3
_ENDED = ("succeeded", "cancelled", "failed")
_FIELDS = ("time", "id", "kind", "status", "attempt", "done", "total", "note")


def watch(*ids: Ids, output: Output = None, where: Where = ANYWHERE) -> int:
    """Follow tasks until they end. Exits with 0 if all succeeded, with 1 if one failed or was cancelled."""
    wanted = task_ids(ids)
    if not wanted:
        raise InvalidOption("no task was named", hint="howdah watch ID")
    with where.client() as client:
        looks = _looks(client, wanted)
        drawn = output == "table" or (output is None and sys.stdout.isatty())
        last = _draw(looks, wanted) if drawn else _print(looks, output)
    return _verdict(last)


def _looks(client: Client, ids: Sequence[int]) -> Iterator[dict[int, TaskInfo | None]]:
    """The tasks again and again, sooner while something happens, until all have ended; None for one that is gone.

    Raises TaskNotFound if one never was there.
    """
    rest = _SHORTEST
    seen: dict[int, TaskInfo | None] = {}
    while True:
        living = [task_id for task_id in ids if task_id not in seen or not _is_over(seen[task_id])]
        now: dict[int, TaskInfo] = {}
        for start in range(0, len(living), 1000):
            part = living[start : start + 1000]
            now |= {task.id: task for task in client.tasks_sync(ids=part, limit=len(part))}
        for task_id in living:
            if task_id not in now and task_id not in seen:
                raise TaskNotFound(
                    f"there is no task {task_id}", hint="It never existed, was rolled back, or its retention is over"
                )
        after = seen | {task_id: now.get(task_id) for task_id in living}
        rest = _SHORTEST if after != seen else min(rest * _GROWTH, _LONGEST)
        seen = after
        yield seen
        if all(_is_over(task) for task in seen.values()):
            return
        time.sleep(rest)


def _is_over(task: TaskInfo | None) -> bool:
    return task is None or task.status in _ENDED


def _print(looks: Iterator[dict[int, TaskInfo | None]], output: Output) -> dict[int, TaskInfo | None]:
    """A line for each change."""
    said: dict[int, tuple[Any, ...]] = {}
    seen: dict[int, TaskInfo | None] = {}
    if output is None:
        print_line(_FIELDS)
    for seen in looks:
        for task_id, task in seen.items():
            progress = task.progress if task is not None and isinstance(task.progress, dict) else {}
            state = (
                task_id,
                task.kind if task else None,
                task.status if task else "gone",
                task.attempt if task else None,
                *(progress.get(name) for name in ("done", "total")),  # pyright: ignore[reportUnknownMemberType]
                (task and (task.error or task.reason)) or progress.get("note") or (task and task.last_error),  # pyright: ignore[reportUnknownMemberType]
            )
            if said.get(task_id) == state:
                continue
            said[task_id] = state
            line = dict(zip(_FIELDS, (datetime.now(UTC), *state), strict=True))
            if output is None:
                print_line(line.values())
            elif output == "ids":
                if _is_over(task):
                    print(task_id)
            else:
                print(to_json(plain(line)))
            sys.stdout.flush()
    return seen


def _draw(looks: Iterator[dict[int, TaskInfo | None]], ids: Sequence[int]) -> dict[int, TaskInfo | None]:
    """A bar for each task."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.text import Text

    from howdah.cli.output import console

    seen: dict[int, TaskInfo | None] = {}
    bars = Progress(
        TextColumn("{task.fields[id]}", justify="right"),
        TextColumn("{task.fields[kind]}", markup=False),
        TextColumn("{task.fields[status]}"),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[note]}", markup=False),
        TimeElapsedColumn(),
        console=console(),
    )
    with bars:
        rows = {task_id: bars.add_task("", id=task_id, kind="", status="", note="", total=None) for task_id in ids}
        for seen in looks:
            for task_id, task in seen.items():
                bar = rows[task_id]
                status = task.status if task else "gone"
                style = STATUS_STYLES.get(status, "")
                progress: Any = task.progress if task and isinstance(task.progress, dict) else {}
                done, total = (_number(progress.get(name)) for name in ("done", "total"))
                if status == "succeeded":
                    done = total = total or 1
                note = Text(progress_words(progress)).plain
                bars.update(
                    bar,
                    kind=escaped(task.kind if task else ""),
                    status=f"[{style}]{status}[/]" if style else status,
                    note=escaped(note),
                    completed=done or 0,
                    total=total if total else 1 if _is_over(task) else None,
                )
                if _is_over(task):
                    bars.stop_task(bar)
    return seen


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _verdict(last: dict[int, TaskInfo | None]) -> int:
    code = OK
    for task_id, task in last.items():
        if task is None:
            say(f"task {task_id} has ended, and nothing of it was kept")
        elif task.status == "failed":
            say_error(f"task {task_id} failed: {task.error}", hint=f"Mend the cause, then: howdah retry {task_id}")
            code = FAILED
        elif task.status == "cancelled":
            say_error(f"task {task_id} was cancelled{': ' + task.reason if task.reason else ''}")
            code = FAILED
    return code
