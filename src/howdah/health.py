"""How everything is: green, yellow or red, with the reason, the figures and what to do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Colour = Literal["green", "yellow", "red"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, or one kind, queue, schedule and so on with which nothing is.

    scope    "kind", "queue", "schedule", "worker" or "database"
    name     of the kind, the queue, …; "workers" for all workers together
    code     what it is, for programs: "wait", "no worker", "failed", …; "well" when nothing is wrong
    reason   why, in words
    advice   what to do, in words
    figures  what was measured, and from where on it is yellow and red; lengths of time in seconds
    """

    scope: str
    name: str
    colour: Colour
    code: str
    reason: str
    advice: str
    figures: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Health:
    """What `app.health()` found, worst first."""

    findings: tuple[Finding, ...]

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Any]]) -> Health:
        """The rows of `howdah.health()`."""
        return cls(tuple(Finding(**row) for row in rows))

    @property
    def colour(self) -> Colour:
        """The worst of all; green when there is nothing at all."""
        there = {finding.colour for finding in self.findings}
        return "red" if "red" in there else "yellow" if "yellow" in there else "green"

    @property
    def wrong(self) -> tuple[Finding, ...]:
        """The findings that are not green."""
        return tuple(finding for finding in self.findings if finding.colour != "green")

    def only(self, *, kind: str | None = None, queue: str | None = None) -> Health:
        """What is found of this kind, this queue, or both."""
        wanted = {("kind", kind), ("queue", queue)}
        return Health(tuple(each for each in self.findings if (each.scope, each.name) in wanted))

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the colour and the findings."""
        return {"colour": self.colour, "findings": [asdict(finding) for finding in self.findings]}

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __len__(self) -> int:
        return len(self.findings)
