"""Commands that show what howdah does: demo, bench."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from howdah.cli.options import ANYWHERE, Where


def demo(
    folder: Annotated[
        Path | None, Parameter(name="FOLDER", help="Whose files to read [default: Python's standard library]")
    ] = None,
    /,
    *,
    workers: Annotated[int, Parameter(help="How many workers; one of them is killed")] = 3,
    report: Annotated[Path | None, Parameter(help="Where to write the report [default: howdah-report.md]")] = None,
    most: Annotated[int, Parameter(help="Read at most so many files")] = 5_000,
    where: Where = ANYWHERE,
) -> int:
    """Watch the main job at work, on real files."""
    if where.dsn is not None:
        os.environ["HOWDAH_DSN"] = where.dsn  # for its workers too, which are processes of their own
    from howdah.demo.main import run

    return run(folder, workers=workers, report=report, most=most)


def bench(
    *workload: Annotated[str, Parameter(name="WORKLOAD", help="Which workloads [default: all but the soak]")],
    tasks: Annotated[int, Parameter(help="How many tasks in each")] = 20_000,
    rounds: Annotated[int, Parameter(help="How many rounds; the median counts")] = 3,
    concurrency: Annotated[int, Parameter(name=["--concurrency", "-c"], help="The most tasks at once")] = 500,
    minutes: Annotated[float, Parameter(help="How long the soak takes")] = 10,
    rate: Annotated[int, Parameter(help="New tasks a second in the soak")] = 1_000,
    output: Annotated[Literal["table", "json"], Parameter(name=["--output", "-o"], help="How to print it")] = "table",
    where: Where = ANYWHERE,
) -> int:
    """Measure howdah beside a bare loop, on your own database."""
    from howdah.bench.main import run

    return run(
        workload,
        tasks=tasks,
        rounds=rounds,
        concurrency=concurrency,
        minutes=minutes,
        rate=rate,
        output=output,
        dsn=where.dsn,
    )
