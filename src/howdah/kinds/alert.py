"""An alert: the user's own task that is told when a colour of health changes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from howdah.durations import Duration, duration
from howdah.errors import InvalidOption, InvalidPayload, shown
from howdah.kinds.schedule import kind_of

# What it is given, as an example to check its signature by.
TOLD = {"scope": "queue", "name": "mail", "colour": "red", "before": "green", "reason": "A due task waits for 11m"}


@dataclass(frozen=True, slots=True)
class Alert:
    """Which kind is told, of what, and how often somebody looks."""

    kind: str
    each: bool
    hold: timedelta
    every: timedelta

    @classmethod
    def of(cls, task: Any, *, each: bool, hold: Duration, every: Duration) -> Alert:
        """Raises InvalidOption that names the option, or says what the task does not take."""
        if not isinstance(each, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidOption(f"each must be True or False, not {shown(each)}")
        found = cls("", each, duration(hold, "hold"), duration(every, "every"))
        if found.every < timedelta(seconds=1):
            raise InvalidOption(f"every must be at least 1s, not {every!r}", hint="Every look is a query")
        kind, step = kind_of(task)
        if isinstance(kind, str):
            raise InvalidOption(f"@app.on_health goes above a task, not above the text {kind!r}")
        try:
            kind.named(step, TOLD)
        except InvalidPayload as error:
            raise InvalidOption(
                f"task {kind.name!r} cannot be told of health: {error.message}",
                hint=f"Write: async def {kind.name}(scope: str, name: str, colour: str, before: str, reason: str)",
            ) from error
        if step is not None:
            raise InvalidOption(f"@app.on_health goes above a task, not above a step of {kind.name!r}")
        return cls(kind.name, found.each, found.hold, found.every)
