"""doctor: what is wrong with the database, and how to mend it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

from cyclopts import Parameter

from howdah.cli.options import ANYWHERE, Output, Where
from howdah.cli.output import Column, console, escaped, for_people, print_rows
from howdah.doctor import Finding, worst
from howdah.errors import CannotConnect

_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}
_CODES = {"ok": 0, "warn": 1, "fail": 2}


def doctor(
    *,
    patience: Annotated[
        str, Parameter(help="How long a transaction may be open, or a dead worker's task be left, before it is told")
    ] = "5m",
    output: Output = None,
    where: Where = ANYWHERE,
) -> int:
    """Look for what hurts howdah in its database; each finding comes with what mends it. Changes nothing.

    Exits with 0 if all is well, 1 if something may hurt (warn), 2 if something does (fail).
    """
    try:
        with where.client() as client:
            findings = client.doctor_sync(patience=patience)
    except CannotConnect as error:  # there is no database to look at
        findings = [Finding("connection", "fail", error.message, error.hint)]
    if for_people(output):
        _print_to_people(findings)
    else:
        columns = [Column.of(name) for name in ("check", "status", "found", "fix")]
        print_rows([asdict(finding) for finding in findings], columns, output, key="check")
    return _CODES[worst(findings)]


def _print_to_people(findings: Sequence[Finding]) -> None:
    from rich.text import Text

    for finding in findings:
        line = Text()
        line.append(f"{finding.status:<5}", style=_STYLES[finding.status])
        line.append(f"{finding.check:<13}", style="bold")
        line.append(escaped(finding.found))
        console().print(line, soft_wrap=True)
        if finding.fix:
            console().print(Text(f"       → {escaped(finding.fix)}"), soft_wrap=True)
