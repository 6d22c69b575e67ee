"""Commands that carry tasks from one database to another: export, import."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from howdah.cli.errors import say
from howdah.cli.options import ANY, ANYWHERE, Filters, Ids, Queue, Step, Where, task_ids
from howdah.cli.output import counted
from howdah.errors import InvalidOption, InvalidPayload


def export_tasks(
    *ids: Ids,
    filters: Filters = ANY,
    queue: Queue = None,
    step: Step = None,
    where: Where = ANYWHERE,
) -> None:
    """Print live tasks, all without a filter: each a line of JSON for `howdah import`, with its inbox.

    They stay where they are. To move them, pause their queue, export, import elsewhere, and cancel them here.
    """
    chosen = filters.chosen(queue=queue, step=step)
    if ids:
        if chosen:
            raise InvalidOption("ids and filters were both given", hint="Give either")
        chosen["ids"] = task_ids(ids)
    count = 0
    with where.client() as client:
        for line in client.export_tasks_sync(**chosen):
            sys.stdout.write(line + "\n")
            count += 1
    say(counted(count))


def import_tasks(
    file: Annotated[
        str, Parameter(name="FILE", allow_leading_hyphen=True, help="The lines; - reads them from stdin")
    ] = "-",
    /,
    *,
    on_conflict: Annotated[
        Literal["raise", "skip"], Parameter(help="What to do with a task whose key, tick or id is taken")
    ] = "raise",
    keep_ids: Annotated[
        bool, Parameter(negative="", show_default=False, help="Under their old ids, and not under new ones")
    ] = False,
    dry_run: Annotated[
        bool, Parameter(negative="", show_default=False, help="Find what is wrong, and write nothing")
    ] = False,
    where: Where = ANYWHERE,
) -> None:
    """Write tasks that `howdah export` printed: all lines, or nothing.

    Parked tasks come back parked, running ones queued, families joined again.
    """
    try:
        opened = nullcontext(sys.stdin) if file == "-" else Path(file).open(encoding="utf-8")  # noqa: SIM115
    except OSError as error:
        raise InvalidOption(f"{file} cannot be read: {error.strerror}") from error
    with opened as lines, where.client(writes=not dry_run, creates=not dry_run) as client:
        try:
            done = client.import_tasks_sync(lines, on_conflict=on_conflict, keep_ids=keep_ids, dry_run=dry_run)
        except UnicodeDecodeError as error:
            raise InvalidPayload(f"{file} is not UTF-8: {error.reason}", hint="Nothing was imported") from error
    say(f"{counted(done.imported)} {'fine; nothing was written' if dry_run else 'imported'}")
    if done.skipped:
        say(f"{done.skipped:,} skipped: their key, tick or id is taken")
