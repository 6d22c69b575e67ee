"""Commands that mend: retry, cancel, edit, pause, resume, stop."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, cast

from cyclopts import Parameter

from howdah.cli import apps
from howdah.cli.errors import FAILED, NOT_FOUND, OK, report, say, say_error
from howdah.cli.options import (
    ANYWHERE,
    Ids,
    Kind,
    OfKey,
    Output,
    Queue,
    Status,
    Where,
    id_of,
    refuse_options,
    statuses,
    target,
    task_ids,
)
from howdah.cli.options import task_id as one_id
from howdah.cli.output import Column, for_people, print_rows
from howdah.client import Client
from howdah.errors import InvalidOption, InvalidPayload, TaskNotFound, WrongStatus
from howdah.payload import loads

Every = Annotated[
    bool, Parameter(name="--all", negative="", show_default=False, help="Every one of them, without a filter")
]
PAGE = 1000
READABLE = 20  # rows that a person reads one by one


def retry(
    *ids: Ids,
    status: Status = None,
    kind: Kind = None,
    queue: Queue = None,
    key: OfKey = None,
    every: Every = False,
    output: Output = None,
    where: Where = ANYWHERE,
) -> int:
    """Go on with parked tasks from the step they stand at, and run waiting ones now. Filters mean parked ones."""
    chosen = _Chosen(ids, status, kind, queue, every, key, default=["failed"])
    with where.client(writes=True) as client:
        return _each(client, chosen, lambda task_id: client.retry_sync(task_id), output)


def cancel(
    *ids: Ids,
    reason: Annotated[str | None, Parameter(help="Why; it is kept with the task")] = None,
    status: Status = None,
    kind: Kind = None,
    queue: Queue = None,
    key: OfKey = None,
    every: Every = False,
    cascade: Annotated[bool, Parameter(negative="--no-cascade", help="Cancel what they spawned as well")] = True,
    output: Output = None,
    where: Where = ANYWHERE,
) -> int:
    """Cancel tasks, and what they spawned. One that runs is asked to stop. Filters mean all that are live."""
    chosen = _Chosen(ids, status, kind, queue, every, key, default=["queued", "running", "suspended", "failed"])
    with where.client(writes=True) as client:
        return _each(client, chosen, lambda task_id: client.cancel_sync(task_id, reason, cascade=cascade), output)


def edit(
    task: Annotated[str, Parameter(name="ID", help="The id of a task that does not run")],
    /,
    *,
    payload: Annotated[
        str | None,
        Parameter(help="The new payload, as a JSON object; - reads it from stdin", allow_leading_hyphen=True),
    ] = None,
    step: Annotated[str | None, Parameter(help="The step of a state machine to go on at")] = None,
    resume: Annotated[
        bool, Parameter(name="--retry", negative="", show_default=False, help="Go on with it at once")
    ] = False,
    app: Annotated[str | None, Parameter(help="MODULE:APP, to check the payload [default: as for worker]")] = None,
    where: Where = ANYWHERE,
) -> None:
    """Change the payload or the step of a task that does not run.

    Checked against the fields of the step; what was there before is in its history. It stays parked until `howdah retry`.
    """
    task_id = one_id(task)
    if payload is None and step is None:
        raise InvalidOption("neither --payload nor --step was given", hint="Give what is to be changed")
    text = sys.stdin.read() if payload == "-" else payload
    fields: Any = None if text is None else loads(text)
    if text is not None and not isinstance(fields, dict):
        raise InvalidPayload("the payload is not a JSON object", hint='Write it like {"user_id": 42}')
    found = apps.here(app, where.dsn, "payload")
    say(f"→ {target(found.installation.dsn)}")
    try:
        found.edit_sync(task_id, payload=cast("dict[str, Any] | None", fields), step=step)
        if resume:
            found.retry_sync(task_id)
        after = found.show_sync(task_id)
    finally:
        found.close_sync()
    say(f"task {task_id} is {after.status}" + (f" at {after.step}" if after.step else ""))
    if after.status == "failed":
        say(f"go on with it: howdah retry {task_id}")


class _Chosen:
    """The tasks a command is for: ids, or a filter, or all on purpose. Raises InvalidOption."""

    def __init__(
        self,
        given: Sequence[str],
        status: list[str] | None,
        kind: str | None,
        queue: str | None,
        every: bool,
        key: str | None = None,
        *,
        default: list[str],
    ) -> None:
        refuse_options(given)
        self.status = statuses(status)
        filtered = bool(self.status or kind or queue)
        if key is not None and (given or filtered or every):
            raise InvalidOption("--key is one task, and others were named too", hint="Give either")
        if given and (filtered or every):
            raise InvalidOption("ids and filters were both given", hint="Give either")
        if not given and not filtered and not every and key is None:
            raise InvalidOption(
                f"no task was named; --all is all that are {' or '.join(default)}",
                hint="Give ids, --key, a filter (--status, --kind, --queue) or --all; howdah ls shows what a filter finds",
            )
        self.ids = task_ids(given) if given else None
        self.kind, self.queue, self.key = kind, queue, key
        self.status = self.status or default

    @property
    def named(self) -> bool:
        """Whether these are tasks that somebody means, and not what a filter found."""
        return self.ids is not None or self.key is not None

    def find(self, client: Client) -> Iterator[int]:
        if self.key is not None:
            yield id_of(client, None, self.key)
            return
        if self.ids is not None:
            yield from self.ids
            return
        before = None
        while True:
            page = client.tasks_sync(status=self.status, kind=self.kind, queue=self.queue, before=before, limit=PAGE)
            yield from [task.id for task in page]
            if len(page) < PAGE:
                return
            before = page[-1].id


def _each(client: Client, chosen: _Chosen, act: Callable[[int], str], output: Output) -> int:
    """Do it to one after the other; what cannot be done to one does not stop the others."""
    done: list[dict[str, Any]] = []
    codes: set[int] = set()
    for task_id in chosen.find(client):
        try:
            done.append({"id": task_id, "outcome": act(task_id)})
        except (TaskNotFound, WrongStatus) as error:
            # What a filter found may have moved on since; that is nobody's mistake.
            if chosen.named:
                codes.add(report(error))
    if not for_people(output) or len(done) <= READABLE:
        print_rows(done, [Column.of("id", right=True), Column.of("outcome")], output)
    if len(done) > READABLE or (not done and not codes):
        counts = Counter(row["outcome"] for row in done)
        say(", ".join(f"{count:,} {outcome}" for outcome, count in counts.items()) or "no such tasks")
    return OK if not codes else NOT_FOUND if codes == {NOT_FOUND} else FAILED


QueueName = Annotated[str, Parameter(name="QUEUE", help="The name of a queue")]


def pause(
    queue: QueueName,
    /,
    *,
    reason: Annotated[str | None, Parameter(help="Why; `howdah why` and `howdah queues` say it")] = None,
    where: Where = ANYWHERE,
) -> None:
    """Start no more tasks of a queue, in the whole fleet. Running ones go on."""
    with where.client(writes=True, creates=True) as client:
        client.pause_sync(queue, reason)
        waiting = next((row["due"] + row["later"] for row in client.queues_sync() if row["name"] == queue), 0)
    say(f"queue {queue} is paused; {waiting:,} tasks wait in it")


def resume(queue: QueueName, /, *, where: Where = ANYWHERE) -> None:
    """Undo pause."""
    with where.client(writes=True) as client:
        resumed = client.resume_sync(queue)
    say(f"queue {queue} goes on" if resumed else f"queue {queue} was not paused")


def stop(
    worker: Annotated[
        str | None, Parameter(name="WORKER", help="The id of a worker, or how it begins; without it all of them")
    ] = None,
    /,
    *,
    where: Where = ANYWHERE,
) -> int:
    """Ask workers to finish what they run and exit."""
    with where.client(writes=True) as client:
        if worker is None:
            asked = client.stop_workers_sync()
            workers = "1 worker was" if asked == 1 else f"{asked:,} workers were"
            say(f"{workers} asked to stop" if asked else "no worker is alive")
            return OK
        alive = [row for row in client.workers_sync() if row["state"] != "dead"]
        meant = [row for row in alive if worker and str(row["id"]).startswith(worker.lower())]
        if len(meant) != 1:
            say_error(
                f"{len(meant)} living workers have an id that begins with {worker}"
                if meant
                else f"there is no living worker {worker}",
                hint="See: howdah workers",
            )
            return FAILED if meant else NOT_FOUND
        client.stop_workers_sync(meant[0]["id"])
    say(f"worker {meant[0]['id']} on {meant[0]['host']} was asked to stop")
    return OK
