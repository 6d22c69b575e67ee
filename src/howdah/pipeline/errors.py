"""What is wrong in a pipeline file, and where."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from howdah.errors import InvalidOption


class Place(NamedTuple):
    """Where something stands in a file, both counted from 1."""

    line: int
    column: int


class Unreadable(InvalidOption):
    """A text that is not the YAML that howdah reads. `place` is None if it is wrong as a whole."""

    def __init__(self, message: str, place: Place | None = None, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.place = place


class PipelineError(InvalidOption):
    """One thing that is wrong in a file.

    `message` begins with the place, as compilers write it; `said` is what follows, without place, stage and field.
    `field` is dotted: "config.headers.Accept", "inputs[1]". What is not known is None.
    """

    def __init__(
        self,
        said: str,
        *,
        file: str | Path,
        place: Place | None = None,
        stage: str | None = None,
        field: str | None = None,
        hint: str | None = None,
    ) -> None:
        self.file, self.stage, self.field = str(file), stage and _one_line(stage, 100), field and _one_line(field)
        self.line, self.column = place or (None, None)
        self.said = _one_line(said)
        where = self.file if place is None else f"{self.file}:{place.line}:{place.column}"
        what = ", ".join(filter(None, (self.stage and f"stage {self.stage!r}", self.field)))
        super().__init__(": ".join(filter(None, (where, what, self.said))), hint=hint and _one_line(hint))


class InvalidPipeline(InvalidOption):
    """A file that is not a pipeline. `problems` are all that were found, in the order of their lines."""

    def __init__(self, problems: Iterable[PipelineError]) -> None:
        last = math.inf  # what is said of the whole file
        self.problems = sorted(problems, key=lambda problem: (problem.line or last, problem.column or last))
        super().__init__("\n".join(map(str, self.problems)))


def _one_line(text: str, most: int = 2000) -> str:
    line = " ".join(text.split()).rstrip(".")
    return line if len(line) <= most else line[: most - 1] + "…"
