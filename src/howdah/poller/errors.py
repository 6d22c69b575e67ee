"""What a poller refuses. What a function of the user raises is passed on as it is."""

from __future__ import annotations

from typing import Any

from howdah.errors import HowdahError


class InvalidResult(HowdahError, ValueError):
    """A function of a poller (`poll`, `active`, `limit`, `delay`) returned what cannot be meant. Nothing of it was taken."""


class InvalidInstruction(HowdahError, ValueError):
    """An instruction that JSON cannot hold. The others of the same poll were taken."""

    def __init__(self, message: str, *, hint: str | None = None, instruction: Any = None) -> None:
        super().__init__(message, hint=hint)
        self.instruction = instruction


class DuplicateInstruction(HowdahError):
    """An instruction that is active already, or twice in one result. It was not taken a second time."""

    def __init__(self, message: str, *, hint: str | None = None, instruction: Any = None) -> None:
        super().__init__(message, hint=hint)
        self.instruction = instruction


class PollerRunning(HowdahError, RuntimeError):
    """The poller runs already."""
