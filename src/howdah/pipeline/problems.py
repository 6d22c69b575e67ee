"""The problems of one file, as they are found."""

from __future__ import annotations

from pathlib import Path

from howdah.errors import did_you_mean, shown
from howdah.pipeline import nodes
from howdah.pipeline.environment import Environment
from howdah.pipeline.errors import PipelineError, Place
from howdah.pipeline.nodes import Node, dotted

MAX_PROBLEMS = 100


class TooMany(Exception):
    """There are so many problems that no more are looked for."""


class Problems:
    """Grows, up to a bound. What is said shows no password and no value of the environment."""

    def __init__(self, path: Path, environment: Environment) -> None:
        self.found: list[PipelineError] = []
        self._path = path
        self._environment = environment
        self._said: set[tuple[object, ...]] = set()

    def add(
        self, said: str, place: Place, stage: str | None = None, field: str | None = None, *, hint: str | None = None
    ) -> None:
        """Raises TooMany when it is one too many."""
        said = self._environment.redacted(said)
        hint = hint and self._environment.redacted(hint)
        # What an alias repeats in one stage is one mistake.
        if (place, stage, said) not in self._said:
            if len(self.found) == MAX_PROBLEMS:
                self.found.append(PipelineError("there is more wrong; mend this first", file=self._path))
            if len(self.found) > MAX_PROBLEMS:
                raise TooMany
            self._said.add((place, stage, said))
            self.found.append(PipelineError(said, file=self._path, place=place, stage=stage, field=field, hint=hint))

    def at(
        self,
        node: Node,
        path: nodes.Path,
        said: str,
        stage: str | None = None,
        hint: str | None = None,
        prefix: nodes.Path = (),
    ) -> None:
        """A problem with a field within a node; `prefix` is the path of the node itself."""
        self.add(said, node.place_of(path), stage, dotted((*prefix, *path)), hint=hint)

    def unknown(self, node: Node, known: tuple[str, ...], stage: str | None = None, prefix: nodes.Path = ()) -> None:
        """One problem for each field of a mapping that is not among those known."""
        for name in node.mapping or {}:
            if name not in known:
                self.at(node, (name,), f"there is no field {shown(name)}", stage, did_you_mean(name, known), prefix)

    def blame(self, stage: str, field: str) -> bool:
        """Whether this field of a stage is wrong already."""
        return any(each.stage == stage and (each.field or "").startswith(field) for each in self.found)
