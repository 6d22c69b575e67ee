"""pipeline: check files of stages, and describe them to editors."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from howdah.cli.errors import FAILED, OK, say
from howdah.cli.output import escaped, print_json

if TYPE_CHECKING:
    from howdah.pipeline.errors import InvalidPipeline, PipelineError


def check(
    *files: Annotated[Path, Parameter(name="FILE", help="Files to check", required=True)],
    output: Annotated[
        Literal["text", "json"], Parameter(name=["--output", "-o"], help="json: a list of all problems")
    ] = "text",
) -> int:
    """Check pipeline files: nothing of them is started."""
    from howdah.pipeline.document import load
    from howdah.pipeline.errors import InvalidPipeline

    problems: list[PipelineError] = []
    for file in files:
        try:
            stages = len(load(file).stages)
        except InvalidPipeline as error:
            problems += error.problems
            if output == "text":
                say_problems(error)
            continue
        if output == "text":
            print(f"{escaped(str(file))}: ok, {stages} stage{'s' * (stages != 1)}")
            sys.stdout.flush()
    if output == "json":
        print_json([as_json(problem) for problem in problems])
    return FAILED if problems else OK


def schema() -> None:
    """Print the JSON Schema of pipeline files."""
    from howdah.pipeline.schema import SHIPPED

    print(SHIPPED.read_text("utf-8"), end="")


def say_problems(error: InvalidPipeline) -> None:
    """Each problem on a line of stderr that editors can jump from."""
    for problem in error.problems:
        say(escaped(str(problem)))


def as_json(problem: PipelineError) -> dict[str, Any]:
    return {
        "file": problem.file,
        "line": problem.line,
        "column": problem.column,
        "stage": problem.stage,
        "field": problem.field,
        "message": problem.said,
        "hint": problem.hint,
    }
