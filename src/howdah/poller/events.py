"""What a poller tells its listeners."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from howdah.errors import InvalidOption, nearest, shown

T = TypeVar("T")


@dataclass(frozen=True)
class TaskEvent(Generic[T]):
    """A poll returned this instruction: do it."""

    poller: str
    instruction: T


@dataclass(frozen=True)
class ErrorEvent:
    """Something about this poller failed; it goes on. `error` is what a function of yours raised, or a HowdahError."""

    poller: str
    error: Exception


def check_event(name: Any) -> str:
    """The name of an event there is. Raises InvalidOption."""
    if name not in ("task", "error"):
        close = nearest(name, ("task", "error"))
        raise InvalidOption(
            f"a poller has no event {shown(name)}",
            hint=f'Did you mean "{close}"?' if close else 'There are "task" and "error"',
        )
    return name
