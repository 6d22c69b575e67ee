"""The bars: what the figures must reach for howdah to be called fast. Docs: "How fast, and why"."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bar:
    """A bound of one figure: at least, or at most."""

    bound: float
    at_least: bool = True

    def holds(self, value: float) -> bool:
        return value >= self.bound if self.at_least else value <= self.bound

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.bound:g}"


# Workload → figure → bar.
BARS: dict[str, dict[str, Bar]] = {
    "drain": {
        "drain ÷ bare loop": Bar(0.6),
        "round trips a task": Bar(0.05, at_least=False),
        "memory of the worker": Bar(120, at_least=False),
    },
    "enqueue": {"enqueue ÷ INSERT": Bar(0.8), "enqueue many ÷ COPY": Bar(0.5)},
    "latency": {"idle pick-up p50": Bar(1.8, at_least=False), "idle pick-up p99": Bar(3, at_least=False)},
    "waiting": {"50 ms of I/O, 100 at once ÷ ideal": Bar(0.95)},
    "machine": {"steps ÷ drain": Bar(0.5)},
    "actors": {"messages ÷ drain": Bar(0.5)},
    "groups": {"groups ÷ drain": Bar(0.3)},
    "pinned": {"pinned ÷ not pinned": Bar(0.8)},
    "backlog": {"a hundred times the backlog: rate ÷ before": Bar(1 / 1.3)},
    "million": {
        "million: last tenth ÷ first": Bar(0.8),
        "million, pinned: last tenth ÷ first": Bar(0.8),
        "million: memory grown after the first tenth": Bar(20, at_least=False),
        "million, pinned: memory grown after the first tenth": Bar(20, at_least=False),
    },
}
