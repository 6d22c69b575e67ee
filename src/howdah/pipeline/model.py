"""A pipeline, checked: what may be run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from howdah.graph import Edge, Graph, Node
from howdah.kinds.registry import Defaults
from howdah.pipeline.errors import Place
from howdah.pipeline.stage import Stage


@dataclass(frozen=True, slots=True)
class StageSpec:
    """One stage: its module, made and checked, and what the file says of its attempts.

    `inputs` and `consumers` are names of stages, in the order of the file. `concurrency` is how many of it may run at
    once in the fleet; None for no limit.
    """

    name: str
    module: str
    inputs: tuple[str, ...]
    consumers: tuple[str, ...]
    stage: Stage
    defaults: Defaults
    concurrency: int | None
    place: Place


@dataclass(frozen=True, slots=True)
class Document:
    """A pipeline that may be run. `name` is the kind of its tasks; `stages` are in the order of the file.

    `defaults` are those of the file; each stage has them already, where it says nothing else.
    """

    name: str
    path: Path
    description: str | None = None
    defaults: Defaults = field(default_factory=Defaults)
    stages: dict[str, StageSpec] = field(default_factory=dict[str, StageSpec])

    def graph(self, notes: Mapping[str, str] | None = None) -> Graph:
        """The stages and where their events go; `notes` are small second lines, by stage."""
        notes = notes or {}
        stages = self.stages.values()
        return Graph(
            self.name,
            tuple(Node(each.name, start=not each.inputs, note=notes.get(each.name, "")) for each in stages),
            tuple(Edge(each.name, target) for each in stages for target in each.consumers or (None,)),
        )
