"""Commands that mend tasks: retry, cancel, edit."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, cast

from cyclopts import Parameter

from howdah.calls import LIVE, PAGE, Changes
from howdah.cli import apps
from howdah.cli.errors import FAILED, NOT_FOUND, OK, report, say, say_error
from howdah.cli.options import (
    ANY,
    ANYWHERE,
    CHOOSING,
    Filters,
    Ids,
    Output,
    Queue,
    Step,
    Where,
    id_of,
    read_moment,
    refuse_options,
    task_ids,
)
from howdah.cli.output import Column, Row, counted, for_people, print_line, print_rows
from howdah.client import Client
from howdah.errors import InvalidOption, InvalidPayload, TaskNotFound, WrongStatus
from howdah.filters import Filter
from howdah.payload import loads
from howdah.sweeps import Bulk, Sweep, cancelling, changed, editing, retrying

Every = Annotated[
    bool,
    Parameter(
        name="--all", negative="", show_default=False, group=CHOOSING, help="Every one of them, without a filter"
    ),
]
DryRun = Annotated[bool, Parameter(negative="", show_default=False, help="Say how many there are, and change nothing")]
READABLE = 20  # rows that a person reads one by one
FEW = 100  # ids that are done one by one, each with an error of its own

_OUTCOMES = (Column.of("id", right=True), Column.of("outcome"))
_COUNTS = (Column.of("kind"), Column.of("queue"), Column.of("status"), Column.of("tasks", right=True))


def retry(
    *ids: Ids,
    filters: Filters = ANY,
    queue: Queue = None,
    step: Step = None,
    every: Every = False,
    dry_run: DryRun = False,
    output: Output = None,
    where: Where = ANYWHERE,
) -> int:
    """Go on with parked tasks from the step they stand at, and run waiting ones now. Filters mean parked ones."""
    chosen = _chosen(ids, filters.chosen(queue=queue, step=step), every, dry_run, "all that are failed")
    with where.client(writes=not dry_run) as client:
        chosen = _held(client, chosen)
        return _do(client, chosen, lambda found: retrying(found, every=every), client.retry_sync, dry_run, output)


def cancel(
    *ids: Ids,
    reason: Annotated[str | None, Parameter(help="Why; it is kept with the task")] = None,
    cascade: Annotated[bool, Parameter(negative="--no-cascade", help="Cancel what they spawned as well")] = True,
    filters: Filters = ANY,
    queue: Queue = None,
    step: Step = None,
    every: Every = False,
    dry_run: DryRun = False,
    output: Output = None,
    where: Where = ANYWHERE,
) -> int:
    """Cancel tasks, and what they spawned. One that runs is asked to stop. Filters mean all that are live."""
    chosen = _chosen(ids, filters.chosen(queue=queue, step=step), every, dry_run, "all that are live")
    with where.client(writes=not dry_run) as client:
        chosen = _held(client, chosen)
        return _do(
            client,
            chosen,
            lambda found: cancelling(found, reason, cascade=cascade, every=every),
            lambda task_id: client.cancel_sync(task_id, reason, cascade=cascade),
            dry_run,
            output,
        )


def edit(
    *ids: Ids,
    payload: Annotated[
        str | None,
        Parameter(help="The new payload of one task, as JSON; - reads it from stdin", allow_leading_hyphen=True),
    ] = None,
    step: Annotated[str | None, Parameter(help="The step of a state machine to go on at; for one task")] = None,
    queue: Annotated[str | None, Parameter(name=["--queue", "-q"], help="The queue to move to")] = None,
    priority: Annotated[int | None, Parameter(name=["--priority", "-p"], help="Higher first")] = None,
    delay: Annotated[str | None, Parameter(help='Due so long from now: "90s", "1h30m"')] = None,
    at: Annotated[str | None, Parameter(help='Due then: "2026-12-01T09:00" (local time) or with a zone')] = None,
    resume: Annotated[
        bool, Parameter(name="--retry", negative="", show_default=False, help="Go on with the one task at once")
    ] = False,
    app: Annotated[str | None, Parameter(help="MODULE:APP, to check the payload [default: as for worker]")] = None,
    filters: Filters = ANY,
    from_queue: Annotated[str | None, Parameter(name="--from", group=CHOOSING, help="Only those in this queue")] = None,
    at_step: Annotated[str | None, Parameter(group=CHOOSING, help="Only those at this step")] = None,
    every: Every = False,
    dry_run: DryRun = False,
    output: Output = None,
    where: Where = ANYWHERE,
) -> int:
    """Change tasks that do not run, or move them to another queue. What was there before is in their history.

    A payload is checked against the fields of the step; the key of the task stays. A parked task stays parked until
    `howdah retry`. Filters mean all that are live.
    """
    chosen = _chosen(ids, filters.chosen(queue=from_queue, step=at_step), every, dry_run, "all that are live")
    changes = changed(queue, priority, delay, read_moment(at))  # pyright: ignore[reportArgumentType]
    one = chosen.get("ids")
    if one is not None and len(cast("list[int]", one)) == 1 and not dry_run:
        _edit_one(cast("list[int]", one)[0], payload, step, resume, app, where, changes)
        return OK
    if payload is not None or step is not None or resume:
        raise InvalidOption("--payload, --step and --retry are for one task", hint="Give its id, and no filter")
    editing(chosen, changes, every=every)  # what cannot be meant is said before anything is asked
    with where.client(writes=not dry_run) as client:
        return _do(client, chosen, lambda found: editing(found, changes, every=every), None, dry_run, output)


def _edit_one(
    task_id: int,
    payload: str | None,
    step: str | None,
    resume: bool,
    app: str | None,
    where: Where,
    changes: Changes,
) -> None:
    if payload is None and step is None and all(value is None for value in changes.values()):
        raise InvalidOption(
            "nothing to change was given", hint="Give --payload, --step, --queue, --priority, --delay or --at"
        )
    text = sys.stdin.read() if payload == "-" else payload
    fields: Any = None if text is None else loads(text)
    if text is not None and not isinstance(fields, dict):
        raise InvalidPayload("the payload is not a JSON object", hint='Write it like {"user_id": 42}')
    with apps.opened(app, where.dsn, "payload") as found:
        given: dict[str, Any] = {"at" if name == "run_at" else name: value for name, value in changes.items()}
        found.edit_sync(task_id, payload=cast("dict[str, Any] | None", fields), step=step, **given)
        if resume:
            found.retry_sync(task_id)
        after = found.show_sync(task_id)
    say(f"task {task_id} is {after.status}" + (f" at {after.step}" if after.step else "") + f" in queue {after.queue}")
    if after.key is not None and fields is not None:
        say(f"its key stays: {after.key}")
    if after.status == "failed":
        say(f"go on with it: howdah retry {task_id}")


def _chosen(given: Sequence[str], chosen: Filter, every: bool, dry_run: bool, all_is: str) -> Filter:
    """The tasks a command is for: ids, or a filter, or all on purpose. Raises InvalidOption."""
    refuse_options(given)
    if given and (chosen or every):
        raise InvalidOption("ids and filters were both given", hint="Give either")
    if not given and not chosen and not every:
        raise InvalidOption(
            f"no task was named; --all is {all_is}",
            hint="Give ids, a filter (--status, --kind, --queue, …) or --all; --dry-run says how many a filter finds",
        )
    if every and chosen:
        raise InvalidOption("--all and a filter were both given", hint="Give either")
    return {"ids": task_ids(given)} if given else chosen


def _held(client: Client, chosen: Filter) -> Filter:
    """A key and nothing else is the task that holds it, wherever that stands. Raises TaskNotFound."""
    key = chosen.get("key")
    return {"ids": [id_of(client, None, key)]} if set(chosen) == {"key"} and key and not key.endswith("*") else chosen


def _do(
    client: Client,
    chosen: Filter,
    sweep: Callable[[Filter], Sweep],
    one: Callable[[int], str] | None,
    dry_run: bool,
    output: Output,
) -> int:
    """Do it to one after the other, or page by page; what cannot be done to one does not stop the others."""
    ids = cast("list[int] | None", chosen.get("ids"))
    if dry_run:
        named: Filter = chosen if ids is None else {"ids": ids, "status": LIVE}
        return _count(client, sweep(named), output)
    if ids is not None and len(ids) <= FEW and one is not None:
        return _one_by_one(ids, one, output)
    told = _Told(output)
    missing = dict.fromkeys(ids or ())

    def hear(rows: Sequence[Row]) -> None:
        told.page(rows)
        for row in rows:
            missing.pop(row["id"], None)

    for part in _parts(chosen, ids):
        client.follow_sync(sweep(part).pages(hear))
    told.end()
    if missing:
        say_error(f"{len(missing):,} of the ids are no live tasks: {', '.join(map(str, list(missing)[:5]))}…")
    return NOT_FOUND if missing else OK


def _parts(chosen: Filter, ids: list[int] | None) -> Iterator[Filter]:
    if ids is None:
        yield chosen
        return
    for first in range(0, len(ids), PAGE):
        yield {"ids": ids[first : first + PAGE], "status": LIVE}


def _count(client: Client, sweep: Sweep, output: Output) -> int:
    found = client.count_tasks_sync(**cast("Filter", sweep.chosen))
    print_rows(found, _COUNTS, output, key="tasks")
    say(f"{counted(sum(row['tasks'] for row in found))}; nothing was changed")
    return OK


def _one_by_one(ids: list[int], act: Callable[[int], str], output: Output) -> int:
    told = _Told(output)
    codes: set[int] = set()
    for task_id in ids:
        try:
            told.page([{"id": task_id, "outcome": act(task_id), "why": None}])
        except (TaskNotFound, WrongStatus) as error:
            codes.add(report(error))
    told.end(quiet=bool(codes))
    return OK if not codes else NOT_FOUND if codes == {NOT_FOUND} else FAILED


class _Told:
    """What became of the tasks: a row for each, for people only if they are few; and how many."""

    def __init__(self, output: Output) -> None:
        self.output: Output = output
        self.people = for_people(output)
        self.rows: list[Row] = []
        self.bulk = Bulk()
        if self.output is None and not self.people:
            print_line(column.name for column in _OUTCOMES)

    def page(self, rows: Sequence[Row]) -> None:
        self.bulk.add(rows)
        done = [
            {"id": row["id"], "outcome": row["outcome"]}
            for row in rows
            if row["outcome"] not in ("skipped", "unchanged")
        ]
        match self.output:
            case "jsonl" | "ids":
                print_rows(done, _OUTCOMES, self.output)
            case None if not self.people:
                for row in done:
                    print_line(row.values())
            case _ if self.output == "json" or len(self.rows) <= READABLE:
                self.rows += done
            case _:
                pass

    def end(self, *, quiet: bool = False) -> None:
        if self.output == "json" or (self.people and len(self.rows) <= READABLE):
            print_rows(self.rows, _OUTCOMES, self.output)
        outcomes = self.bulk.outcomes
        done = outcomes.total() - outcomes["skipped"]
        if done > READABLE or (not done and not quiet):
            counts = [f"{count:,} {outcome}" for outcome, count in outcomes.items() if outcome != "skipped"]
            say(", ".join(counts) or ("nothing was changed" if outcomes else "no such tasks"))
        for why, count in self.bulk.skipped.items():
            say(f"{count:,} skipped: {why}")
