"""Commands for schedules: schedules, schedule, unschedule, pause-schedule, resume-schedule, trigger."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, cast
from zoneinfo import ZoneInfo

from cyclopts import Parameter

from howdah.cli import apps
from howdah.cli.errors import OK, say
from howdah.cli.options import ANYWHERE, Output, Where, read_moment
from howdah.cli.output import Column, Row, cell, console, escaped, for_people, plain, print_json, print_line, print_rows
from howdah.cli.put import read_arguments
from howdah.durations import in_words
from howdah.errors import HowdahError, ScheduleNotFound
from howdah.kinds.schedule import Missed, Overlap, When
from howdah.timetable import Timetable

Name = Annotated[str, Parameter(name="NAME", help="The name of a schedule")]
TICKS = 10


def _when(row: Row) -> str:
    """When it fires, as it is written."""
    if row["every"] is not None:
        return f"every {in_words(row['every'])}"
    return row["cron"] if row["timezone"] == "UTC" else f"{row['cron']} {row['timezone']}"


def _note(row: Row) -> str:
    if row["state"] == "failing":
        return row["error"]
    if row["state"] == "paused":
        return f"by {row['paused_by']}: {row['reason'] or 'no reason given'}"
    skipped = f"{row['skipped']:,} skipped" if row["skipped"] else ""
    nobody = f"no live worker knows {row['kind']}" if row["state"] == "active" and not row["served"] else ""
    closed = "its queue is drained, its ticks are skipped" if row["state"] == "active" and row["closed"] else ""
    return "; ".join(part for part in (nobody, closed, skipped) if part)


_COLUMNS = (
    Column.of("name"),
    Column.of("state"),
    Column.of("kind"),
    Column("when", _when),
    Column("next", lambda row: row["next_at"] if row["state"] == "active" else None),
    Column("last", lambda row: row["last_tick"]),
    Column.of("fired", right=True),
    Column("note", _note, wide=True),
)


def schedules(
    name: Annotated[str | None, Parameter(name="NAME", help="Show all of this one, with its next ten ticks")] = None,
    /,
    *,
    output: Output = None,
    where: Where = ANYWHERE,
) -> int:
    """List schedules, or show one: active, paused, failing, over (no more ticks) or retired (no longer declared)."""
    with where.client() as client:
        found = sorted(client.schedules_sync(), key=lambda row: row["name"])
    if name is not None:
        for row in found:
            if row["name"] == name:
                _show(row, output)
                return OK
        raise ScheduleNotFound(
            f"there is no schedule {name!r}", hint=f"There are: {', '.join(row['name'] for row in found) or 'none yet'}"
        )
    print_rows(found, _COLUMNS, output, key="name")
    if not found and for_people(output):
        say("no schedules; declare one with @app.cron, or: howdah schedule nightly KIND --cron '0 3 * * *'")
    return OK


def _show(row: Row, output: Output) -> None:
    ticks = next_ticks(row)
    if output == "ids":
        print(row["name"])
    elif output is not None and output != "table":
        print_json(
            dict(cast("Mapping[str, Any]", plain(row))) | {"ticks": [tick.isoformat() for tick in ticks]}, output
        )
    elif for_people(output):
        from rich.table import Table
        from rich.text import Text

        fields = Table(box=None, show_header=False, pad_edge=False)
        fields.add_column(style="bold", no_wrap=True)
        fields.add_column(overflow="fold")
        for field, value in row.items():
            if value is not None and value is not False and field not in ("after", "cron", "every", "timezone"):
                fields.add_row(field, cell(value, field))
            elif field == "cron":
                fields.add_row("when", Text(escaped(_when(row))))
        console().print(fields)
        console().print(Text(f"\nthe next {len(ticks)}" if ticks else "\nno tick comes", style="bold"))
        zone = ZoneInfo(row["timezone"])
        for tick in ticks:
            there = tick.astimezone(zone)
            console().print(Text(f"{there:%a %Y-%m-%d %H:%M:%S %Z}  in {in_words(tick - datetime.now(UTC))}"))
    else:
        print_line(("field", "value"))
        for field in row.items():
            print_line(field)
        print()
        print_line(("tick",))
        for tick in ticks:
            print_line((tick,))


def next_ticks(row: Row, count: int = TICKS) -> list[datetime]:
    """When a schedule fires next, if nobody pauses it."""
    if row["retired_at"] is not None:
        return []
    try:
        return Timetable.of(row).upcoming(max(row["after"], datetime.now(UTC)), count)
    except HowdahError:
        return []


def schedule(
    name: Name,
    kind: Annotated[str, Parameter(name="KIND", help="The kind of its tasks")],
    /,
    *,
    cron: Annotated[
        str | None, Parameter(help="Five fields, or six with the seconds first, or @daily and the like")
    ] = None,
    every: Annotated[str | None, Parameter(help="So much time between two ticks: 10s, 1h30m")] = None,
    payload: Annotated[
        str, Parameter(help="The arguments of each task, as a JSON object", allow_leading_hyphen=True)
    ] = "{}",
    step: Annotated[str | None, Parameter(help="The step a state machine begins at")] = None,
    timezone: Annotated[str, Parameter(help="Whose clock --cron means, such as Europe/Riga")] = "UTC",
    missed: Annotated[
        Missed, Parameter(help="Ticks that nobody fired in time: skip, latest or all of them")
    ] = "latest",
    overlap: Annotated[
        Overlap, Parameter(help="While a task of it is live: allow another, skip, or queue it")
    ] = "allow",
    jitter: Annotated[str | None, Parameter(help="Each task starts up to so much later, at random")] = None,
    start: Annotated[str | None, Parameter(help="No tick before this time: 2027-01-01T00:00+02:00")] = None,
    end: Annotated[str | None, Parameter(help="No tick at or after this time")] = None,
    queue: Annotated[str | None, Parameter(name=["--queue", "-q"], help="Another queue than the kind's")] = None,
    priority: Annotated[int | None, Parameter(help="Another priority than the kind's")] = None,
    app: Annotated[str | None, Parameter(help="MODULE:APP, to check the payload [default: as for worker]")] = None,
    where: Where = ANYWHERE,
) -> None:
    """Have a task enqueued at each tick; replaces the schedule of this name."""
    when = When(
        cron=cron,
        every=every,
        payload=read_arguments(payload),
        step=step,
        timezone=timezone,
        missed=missed,
        overlap=overlap,
        jitter=jitter,
        start=read_moment(start, "--start"),
        end=read_moment(end, "--end"),
        queue=queue,
        priority=priority,
    )
    with apps.opened(app, where.dsn, "payload") as found:
        found.schedule_sync(name, (found.registry.find(kind) and _Named(found.registry.get(kind))) or kind, **when)
        row = next(row for row in found.schedules_sync() if row["name"] == name)
    ticks = next_ticks(row, 1)
    state = f"; it is paused: howdah resume-schedule {name}" if row["paused_at"] else ""
    say(f"{name}: {_when(row)}, next {ticks[0].isoformat(' ') if ticks else 'never'}{state}")


class _Named:
    """A kind as `schedule` takes tasks."""

    def __init__(self, kind: Any) -> None:
        self.kind = kind


def unschedule(name: Name, /, *, where: Where = ANYWHERE) -> None:
    """Forget a schedule. The tasks it has fired stay; one that code declares comes back with the next worker."""
    with where.client(writes=True) as client:
        if not client.unschedule_sync(name):
            raise ScheduleNotFound(f"there is no schedule {name!r}", hint="See: howdah schedules")
    say(f"schedule {name} is forgotten")


def pause_schedule(
    name: Name,
    /,
    *,
    reason: Annotated[str | None, Parameter(help="Why; `howdah schedules` says it")] = None,
    where: Where = ANYWHERE,
) -> None:
    """Let a schedule fire nothing more, also over restarts of the workers."""
    with where.client(writes=True) as client:
        client.pause_schedule_sync(name, reason)
    say(f"schedule {name} is paused")


def resume_schedule(name: Name, /, *, where: Where = ANYWHERE) -> None:
    """Undo pause-schedule: it goes on with its next tick from now."""
    with where.client(writes=True) as client:
        resumed = client.resume_schedule_sync(name)
    say(f"schedule {name} goes on" if resumed else f"schedule {name} was not paused")


def trigger(name: Name, /, *, output: Output = None, where: Where = ANYWHERE) -> None:
    """Fire a schedule once now, out of turn. Prints the id of the task."""
    with where.client(writes=True) as client:
        task_id = client.trigger_sync(name)
    if output in ("json", "jsonl"):
        print_json({"id": task_id, "schedule": name}, output)
    else:
        print(task_id)
