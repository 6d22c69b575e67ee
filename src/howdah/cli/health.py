"""health: how everything is, in colours, and as an exit code."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import asdict
from typing import Annotated

import psycopg
from cyclopts import Parameter

from howdah.cli.errors import report, say
from howdah.cli.options import ANYWHERE, Kind, Output, Queue, Where
from howdah.cli.output import Column, for_people, print_rows
from howdah.errors import HowdahError, InvalidOption, UnknownKind
from howdah.health import Colour, Health

GREEN, YELLOW, RED = 0, 1, 2
_CODES: dict[Colour, int] = {"green": GREEN, "yellow": YELLOW, "red": RED}

_COLUMNS = (
    Column.of("colour"),
    Column.of("scope"),
    Column.of("name"),
    Column.of("code"),
    Column.of("reason", wide=True),
    Column.of("advice", wide=True),
)


def health(
    *,
    kind: Kind = None,
    queue: Queue = None,
    all: Annotated[
        bool, Parameter(name=["--all", "-a"], negative="", show_default=False, help="The green ones too")
    ] = False,
    output: Output = None,
    where: Where = ANYWHERE,
) -> int:
    """Say what is wrong, worst first: tasks that wait, fail or are lost, queues, schedules, workers, the database.

    Exit codes of this command: 0 green · 1 yellow · 2 red, or it cannot be asked. With --kind or --queue only they count.
    """
    try:
        with where.client() as client:
            found = client.health_sync()
        if kind is not None or queue is not None:
            found = _only(found, kind, queue)
    except (HowdahError, psycopg.Error, OSError) as error:
        report(error)
        return RED
    shown = found.findings if all else found.wrong
    print_rows([asdict(finding) for finding in shown], _COLUMNS, output, key="name")
    if for_people(output) or sys.stderr.isatty():
        say(_sentence(found))
    return _CODES[found.colour]


def _only(found: Health, kind: str | None, queue: str | None) -> Health:
    """Raises UnknownKind, InvalidOption: a probe with a mistake in its name must not be green for ever."""
    chosen = found.only(kind=kind, queue=queue)
    there = {(finding.scope, finding.name) for finding in chosen}
    if kind is not None and ("kind", kind) not in there:
        raise UnknownKind(f"no kind {kind!r} is known, and no task of it is due", hint="See: howdah health --all")
    if queue is not None and ("queue", queue) not in there:
        raise InvalidOption(f"there is no queue {queue!r}", hint="See: howdah health --all")
    return chosen


def _sentence(found: Health) -> str:
    """All in one line: "yellow: 2 things need you; 5 kinds and 2 queues are well"."""
    well = Counter(finding.scope for finding in found if finding.colour == "green")
    names = [
        f"{count} {scope}{'s' * (count > 1)}" for scope, count in well.items() if scope in ("kind", "queue", "schedule")
    ]
    fine = f"; well: {', '.join(names)}" if names else ""
    wrong = len(found.wrong)
    need = "nothing needs you" if not wrong else f"{wrong} thing{'s' * (wrong > 1)} need{'s' * (wrong == 1)} you"
    return f"{found.colour}: {need}{fine}"
