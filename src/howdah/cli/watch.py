"""watch: follow tasks until they end."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from howdah.cli.errors import FAILED, OK, say, say_error
from howdah.cli.look import progress_words
from howdah.cli.options import ANYWHERE, Ids, OfKey, Output, Where, id_of, task_ids
from howdah.cli.output import STATUS_STYLES, escaped, for_people, plain, print_line, to_json
from howdah.client import Client
from howdah.durations import in_words
from howdah.errors import InvalidOption, TaskNotFound
from howdah.task import TaskInfo

Look = dict[int, TaskInfo | None]  # None: it has ended, and nothing of it was kept
_SHORTEST, _LONGEST, _GROWTH = 0.05, 0.5, 1.3
_PAGE = 1000
_FIELDS = ("time", "id", "kind", "status", "attempt", "done", "total", "note")


def watch(*ids: Ids, key: OfKey = None, output: Output = None, where: Where = ANYWHERE) -> int:
    """Follow tasks until they end. Exits with 0 if all succeeded, with 1 if one failed or was cancelled."""
    wanted = task_ids(ids)
    if not wanted and key is None:
        raise InvalidOption("no task was named", hint="howdah watch ID, or howdah watch --key KEY")
    with where.client() as client:
        if key is not None:
            wanted = list(dict.fromkeys([*wanted, id_of(client, None, key)]))
        looks = _looks(client, wanted)
        return _verdict(_draw(looks, wanted) if for_people(output) else _print(looks, output))


def _looks(client: Client, ids: Sequence[int]) -> Iterator[Look]:
    """The tasks again and again, sooner while something happens, until all have ended.

    Raises TaskNotFound if one never was there.
    """
    seen: Look = {}
    rest = _SHORTEST
    while True:
        living = [task_id for task_id in ids if task_id not in seen or not _is_over(seen[task_id])]
        now = _ask(client, living)
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


def _ask(client: Client, ids: Sequence[int]) -> dict[int, TaskInfo]:
    pages = [ids[start : start + _PAGE] for start in range(0, len(ids), _PAGE)]
    return {task.id: task for page in pages for task in client.tasks_sync(ids=page, limit=_PAGE)}


def _is_over(task: TaskInfo | None) -> bool:
    return task is None or task.status in ("succeeded", "cancelled", "failed")


def _progress(task: TaskInfo | None) -> dict[str, Any]:
    reported = None if task is None else task.progress
    return cast("dict[str, Any]", reported) if isinstance(reported, dict) else {}


def _print(looks: Iterator[Look], output: Output) -> Look:
    """A line for each change."""
    said: dict[int, Any] = {}
    seen: Look = {}
    if output is None:
        print_line(_FIELDS)
    for seen in looks:
        for task_id, task in seen.items():
            state = _state(task)
            if said.get(task_id) == state:
                continue
            said[task_id] = state
            line = {"time": datetime.now(UTC), "id": task_id, **state}
            match output:
                case None:
                    print_line(line[name] for name in _FIELDS)
                case "ids" if not _is_over(task):
                    pass
                case "ids":
                    print(task_id)
                case _:
                    print(to_json(plain(line)))
        sys.stdout.flush()
    return seen


def _state(task: TaskInfo | None) -> dict[str, Any]:
    """What is worth a new line when it changes."""
    if task is None:
        return dict.fromkeys(_FIELDS) | {"status": "gone"}
    progress = _progress(task)
    return {
        "kind": task.kind,
        "status": task.status,
        "attempt": task.attempt,
        "done": progress.get("done"),
        "total": progress.get("total"),
        "note": task.error or task.reason or progress.get("note") or task.last_error,
    }


def _draw(looks: Iterator[Look], ids: Sequence[int]) -> Look:
    """A bar for each task."""
    from rich.progress import BarColumn, Progress, TextColumn

    from howdah.cli.output import console

    seen: Look = {}
    bars = Progress(
        TextColumn("{task.fields[id]}", justify="right", markup=False),
        TextColumn("{task.fields[kind]}", markup=False),
        TextColumn("{task.fields[status]}"),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[note]}", markup=False),
        TextColumn("{task.fields[took]}", justify="right", style="dim"),
        console=console(),
    )
    with bars:
        rows = {
            task_id: bars.add_task("", id=task_id, kind="", status="", note="", took="", total=None) for task_id in ids
        }
        for seen in looks:
            for task_id, task in seen.items():
                bars.update(rows[task_id], **_bar(task))
    return seen


def _bar(task: TaskInfo | None) -> dict[str, Any]:
    if task is None:
        return {"status": "gone", "completed": 1, "total": 1}
    progress = _progress(task)
    done, total = (_number(progress.get(name)) for name in ("done", "total"))
    if task.status == "succeeded":
        done = total = total or 1
    return {
        "kind": escaped(task.kind),
        "status": f"[{STATUS_STYLES[task.status]}]{task.status}[/]",
        "note": "" if task.status == "succeeded" else escaped(progress_words(progress)),
        "took": _took(task),
        "completed": done or 0,
        # Without a total the bar swings, and that only while something happens.
        "total": total or (None if task.status == "running" else 1),
    }


def _took(task: TaskInfo) -> str:
    """How long the last attempt has run, or ran."""
    if task.claimed_at is None or task.status not in ("running", "succeeded"):
        return ""
    return in_words(max((task.finished_at or datetime.now(UTC)) - task.claimed_at, timedelta(0)))


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _verdict(last: Look) -> int:
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
