"""Commands that look: ls, show, why, queues, workers."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any

from cyclopts import Parameter

from howdah.cli.errors import HELD_UP, OK, say
from howdah.cli.options import (
    ANY,
    ANYWHERE,
    CHOOSING,
    Filters,
    OfKey,
    Output,
    Queue,
    Step,
    Where,
    id_of,
    read_moment,
    task_or_key,
)
from howdah.cli.output import (
    Column,
    Row,
    ago,
    cell,
    console,
    escaped,
    flat,
    for_people,
    print_json,
    print_line,
    print_rows,
)
from howdah.durations import in_words
from howdah.errors import InvalidOption

TaskId = Annotated[str | None, Parameter(name="ID", allow_leading_hyphen=True, help="The id of a task")]


def _moment(row: Row) -> Any:
    """The moment that matters: when it ended, began, or is due."""
    return row["finished_at"] or (row["claimed_at"] if row["status"] in ("running", "failed") else row["run_at"])


def progress_words(progress: Any) -> str:
    """What a handler reported, on one line: "3/10 reading"."""
    if not isinstance(progress, Mapping):
        return ""
    done, total, note = (progress.get(name) for name in ("done", "total", "note"))  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    counted = f"{done:g}" if isinstance(done, (int, float)) else ""
    if counted and isinstance(total, (int, float)):
        counted += f"/{total:g}"
    return " ".join(part for part in (counted, flat(note)) if part)


def _note(row: Row) -> str:
    """Why it is where it is, or how far it is."""
    if row["status"] == "running":
        return progress_words(row["progress"]) or row["reason"] or row["last_error"] or ""
    if row["status"] == "succeeded":
        return ""
    return row["error"] or row["reason"] or row["last_error"] or ""


TASK_COLUMNS = (
    Column.of("id", right=True),
    Column.of("status"),
    Column.of("kind"),
    Column.of("queue"),
    Column.of("attempt", right=True),
    Column("when", _moment),
    Column("note", _note, wide=True),
)


def ls(
    *,
    filters: Filters = ANY,
    queue: Queue = None,
    step: Step = None,
    finished_after: Annotated[str | None, Parameter(group=CHOOSING, help="Ended then or later")] = None,
    finished_before: Annotated[str | None, Parameter(group=CHOOSING, help="Ended before")] = None,
    limit: Annotated[int, Parameter(name=["--limit", "-n"], help="At most so many")] = 50,
    before: Annotated[int | None, Parameter(help="Only ids below this one: the next page")] = None,
    output: Output = None,
    where: Where = ANYWHERE,
) -> None:
    """List tasks. `when`: due (queued), begun (running, failed), ended."""
    chosen = filters.chosen(
        queue=queue,
        step=step,
        finished_after=read_moment(finished_after, "--finished-after"),
        finished_before=read_moment(finished_before, "--finished-before"),
    )
    if limit < 1:
        raise InvalidOption(f"limit must be a whole number from 1, not {limit}")
    with where.client() as client:
        found = client.tasks_sync(before=before, limit=limit, **chosen)
    print_rows([asdict(task) for task in found], TASK_COLUMNS, output)
    if for_people(output):
        if not found:
            say("no such tasks" if chosen or before is not None else "no tasks")
        elif len(found) == limit:
            say(f"the newest {limit}; the next page: --before {found[-1].id}")


def show(task: TaskId = None, /, *, key: OfKey = None, output: Output = None, where: Where = ANYWHERE) -> None:
    """Show all fields of a task, and what happened to it."""
    given = task_or_key(task, key, "show")
    with where.client() as client:
        task_id = id_of(client, given, key)
        info = asdict(client.show_sync(task_id))
        history = client.history_sync(task_id)
        inbox = client.inbox_sync(task_id, limit=MESSAGES + 1) if info["inbox_seq"] else []
    if output == "ids":
        print(task_id)
    elif output is not None and output != "table":
        print_json(info | {"history": history, "inbox": inbox[:MESSAGES]}, output)
    elif for_people(output):
        _show_to_people(info, inbox, history)
    else:
        print_line(("field", "value"))
        for field in info.items():
            print_line(field)
        print()
        print_line(_EVENT_FIELDS)
        for event in history:
            print_line(event[name] for name in _EVENT_FIELDS)


MESSAGES = 20  # of an inbox that are shown
_EVENT_FIELDS = ("at", "type", "step", "attempt", "message", "actor", "data")


def _show_to_people(info: Row, inbox: Sequence[Row], history: Sequence[Row]) -> None:
    from rich.text import Text

    _print_fields(info)
    _print_inbox(inbox)
    _print_history(history)
    traces = [event["data"]["traceback"] for event in history if event["data"] and "traceback" in event["data"]]
    if traces:
        console().print(Text("\nthe last traceback", style="bold"))
        console().print(Text(escaped(traces[-1].rstrip(), lines=True)), soft_wrap=True)


def _print_fields(info: Row) -> None:
    from rich.table import Table
    from rich.text import Text

    fields = Table(box=None, show_header=False, pad_edge=False)
    fields.add_column(style="bold", no_wrap=True)
    fields.add_column(overflow="fold")
    for name, value in info.items():
        # Zero and nothing say nothing here, apart from the payload.
        if value is None or name in ("epoch", "inbox_seq") or (name in ("lost", "priority", "children") and not value):
            continue
        if name in ("payload", "result", "progress") and isinstance(value, (dict, list)):
            shown = Text(escaped(json.dumps(value, indent=2, ensure_ascii=False), lines=True))
        elif name.endswith(("_at", "_before")):
            shown = Text(f"{value.astimezone():%Y-%m-%d %H:%M:%S}  ({ago(value)})")
        elif name in ("error", "last_error", "reason"):
            shown = Text(escaped(str(value), lines=True))
        else:
            shown = cell(value, name)
        fields.add_row(name, shown)
    console().print(fields)


def _print_inbox(inbox: Sequence[Row]) -> None:
    """What it has not read yet."""
    from rich.table import Table
    from rich.text import Text

    if not inbox:
        return
    more = f", the first {MESSAGES}" if len(inbox) > MESSAGES else ""
    console().print(Text(f"\ninbox{more}", style="bold"))
    messages = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for wrap in (False, False, False, True):
        messages.add_column(no_wrap=not wrap, overflow="fold")
    for message in inbox[:MESSAGES]:
        sender = "" if message["sender"] is None else f"from task {message['sender']}"
        what = "EOF" if message["type"] == "eof" else ""
        messages.add_row(str(message["id"]), sender, what, Text(escaped(flat(message["body"]))))
    console().print(messages)


def _print_history(history: Sequence[Row]) -> None:
    from rich.table import Table
    from rich.text import Text

    if not history:
        return
    console().print(Text("\nhistory", style="bold"))
    events = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for wrap in (False, False, False, False, True):
        events.add_column(no_wrap=not wrap, overflow="fold")
    for event in history:
        attempt = f"attempt {event['attempt']}" if event["attempt"] and event["type"] not in ("step", "end") else ""
        said = Text(escaped(_told(event), lines=True))
        events.add_row(
            Text(f"{event['at'].astimezone():%H:%M:%S}", style="dim"),
            Text(event["type"]),
            Text(escaped(event["step"] or "")),
            attempt,
            said,
        )
    console().print(events)


def _told(event: Row) -> str:
    """What an event says, in words."""
    data: Mapping[str, Any] = event["data"] or {}
    if event["type"] in ("step", "end") and "from" in data:
        attempts = data.get("attempts", 1)
        took = in_words(data["seconds"]) if "seconds" in data else "?"
        return f"after {took} in {data['from']}" + (f", at attempt {attempts}" if attempts != 1 else "")
    by = f" (by {event['actor']})" if event["actor"] else ""
    if event["type"] == "edit":
        return f"before: {flat(data.get('before'))}{by}"
    return (event["message"] or "") + by


def why(
    task: TaskId = None,
    /,
    *,
    key: Annotated[str | None, Parameter(help="Who holds this key, so that no other task is written")] = None,
    output: Output = None,
    where: Where = ANYWHERE,
) -> int:
    """Say why a task is not running, or who holds a key. Exits with 4 if something is held up, with 0 if not."""
    given = task_or_key(task, key, "why")
    with where.client() as client:
        found = client.why_sync(key=key) if key is not None else client.why_sync(given or 0)
        holder = client.holder_sync(key) if key is not None and output == "ids" else None
    reasons = [asdict(reason) for reason in found]
    if for_people(output):
        for reason in reasons:
            print(escaped(reason["reason"], lines=True))
            print(f"  → {escaped(reason['advice'], lines=True)}")
    elif output == "ids":
        task_id = holder.id if holder else given
        if task_id is not None:
            print(task_id)
    else:
        print_rows(reasons, [Column.of(name) for name in ("code", "reason", "advice")], output)
    fine = {"running", "cancelling", "ended", "key free"}
    return OK if all(reason["code"] in fine for reason in reasons) else HELD_UP


def _queue_note(row: Row) -> str:
    paused = f"by {row['paused_by']}: {row['reason'] or 'no reason given'}" if row["paused"] else ""
    drained = (
        f"takes no more, by {row['draining_by']}: {row['draining_reason'] or 'no reason given'}"
        if row["draining_at"]
        else ""
    )
    limit = f"at most {row['max_running']} run" if row["max_running"] else ""
    rules = "fair" if row["fair"] else "", f"ageing by {row['ageing']}" if row["ageing"] else ""
    return "; ".join(part for part in (paused, drained, limit, *rules) if part)


def _queue_state(row: Row) -> str:
    return "paused" if row["paused"] else "draining" if row["draining_at"] else "open"


_QUEUE_COLUMNS = (
    Column.of("name"),
    Column("state", _queue_state),
    *(Column.of(name, right=True) for name in ("due", "later", "running", "suspended", "failed")),
    Column("oldest", lambda row: row["oldest_due"]),
    Column("note", _queue_note, wide=True),
)  # fmt: skip


def queues(*, output: Output = None, where: Where = ANYWHERE) -> None:
    """List queues. `due` waits for a worker, `later` for its time; `oldest` is the longest overdue."""
    with where.client() as client:
        found = sorted(client.queues_sync(), key=lambda row: row["name"])
    print_rows(found, _QUEUE_COLUMNS, output, key="name")
    if not found and for_people(output):
        say("no queue has tasks or settings")


def _served(row: Row) -> str:
    """The queues of a worker, as they are given to -q."""
    if row["queues"] is None:
        return "all"

    def one(name: str, limit: Any) -> str:
        if isinstance(limit, int):
            return f"{name}={limit}"
        return name if limit["weight"] == 1 else f"{name}*{limit['weight']:g}"

    return ", ".join(one(name, limit) for name, limit in row["queues"].items())


def _worker_columns(short: bool) -> tuple[Column, ...]:
    return (
        Column("id", lambda row: str(row["id"])[:8] if short else row["id"]),
        Column.of("state"),
        Column.of("host"),
        Column.of("pid", right=True),
        Column.of("version"),
        Column.of("running", right=True),
        Column.of("concurrency", right=True),
        Column("started", lambda row: row["started_at"]),
        Column("queues", _served, wide=True),
    )


def workers(*, output: Output = None, where: Where = ANYWHERE) -> None:
    """List the workers of the last day: idle, busy, stopping, late or dead."""
    with where.client() as client:
        found = sorted(client.workers_sync(), key=lambda row: row["started_at"], reverse=True)
    print_rows(found, _worker_columns((output is None and sys.stdout.isatty()) or output == "table"), output)
    if not found and for_people(output):
        say("no worker; start one: howdah worker your_module:app")
