"""What can go wrong, as classes. Every message says what, which, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any


class HowdahError(Exception):
    """Every error howdah raises on purpose.

    `hint` says what to do about it; the shell prints it on a line of its own.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}. {self.hint}" if self.hint else self.message


class InvalidOption(HowdahError, ValueError):
    """An option (delay, queue, cron, DSN, …) that cannot be meant. Nothing was written."""


class InvalidPayload(HowdahError, ValueError):
    """A payload that does not fit the handler's signature, or that JSON cannot hold. Nothing was written."""


class UnknownKind(HowdahError, LookupError):
    """No handler of this name is known here or to any worker."""


class TaskNotFound(HowdahError, LookupError):
    """No task has this id: it never existed, or its retention is over."""


class ScheduleNotFound(HowdahError, LookupError):
    """There is no schedule of this name."""


class WrongStatus(HowdahError):
    """The task exists, but what was asked is not possible where it stands."""


class QueueClosed(HowdahError):
    """The queue is drained, and takes no more tasks. Nothing was written."""


class KeyConflict(HowdahError):
    """A task holds this key already: a live one, or one that has ended and keeps it for a time. `task_id` is its id.

    It is None where two tasks of one enqueue_many have the same key: neither was written.
    """

    def __init__(self, message: str, *, hint: str | None = None, task_id: int | None = None) -> None:
        super().__init__(message, hint=hint)
        self.task_id = task_id


class TaskFailed(HowdahError):
    """`result()` of a task that is parked as failed. `error` is what the last attempt said."""

    def __init__(self, message: str, *, hint: str | None = None, error: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.error = error


class TaskCancelled(HowdahError):
    """`result()` of a task that was cancelled."""


class ResultTimeout(HowdahError, TimeoutError):
    """`result(timeout=…)` ran out before the task ended. The task goes on."""


class CannotConnect(HowdahError, ConnectionError):
    """The database cannot be reached, refuses this user, or lacks a right howdah needs."""


class SchemaMismatch(HowdahError):
    """The tables in the database are older or newer than this code."""


class MissingExtra(HowdahError, ImportError):
    """Something was asked that needs an optional part of howdah; the hint is the pip line."""


class EmbeddedServerError(HowdahError):
    """The embedded PostgreSQL could not be started or joined."""


class LeaseLost(HowdahError):
    """This worker may no longer own its tasks: it stops them and starts over under a new id."""


def shown(value: object, most: int = 80) -> str:
    """A value as it fits in a sentence: its repr, cut; whatever it is."""
    try:
        text = repr(value)
    except Exception:  # A user's __repr__, or a number of 5,000 digits.
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= most else text[: most - 1] + "…"


def nearest(name: object, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """The one that may have been meant by a name that is not known; None if none is close."""
    if not isinstance(name, str):
        return None
    return next(iter(difflib.get_close_matches(name[:200], list(known), n=1, cutoff=cutoff)), None)


def did_you_mean(name: object, known: Iterable[str], *, most: int = 40) -> str | None:
    """A hint: the name that was probably meant, or else which there are."""
    names = [each for each in known if len(each) <= 100]
    close = nearest(name, names)
    if close:
        return f"Did you mean {close}?"
    return f"There are {', '.join(names[:most])}{', …' if len(names) > most else ''}" if names else None


# The SQL functions raise their own class of SQLSTATEs, so that every language can tell them apart.
SQLSTATES: dict[str, type[HowdahError]] = {
    "HW001": UnknownKind,
    "HW002": InvalidOption,
    "HW003": InvalidPayload,
    "HW004": TaskNotFound,
    "HW005": WrongStatus,
    "HW006": KeyConflict,
    "HW007": SchemaMismatch,
    "HW008": LeaseLost,
    "HW009": ScheduleNotFound,
    "HW010": QueueClosed,
}


def from_sqlstate(sqlstate: str | None, message: str, hint: str | None, detail: str | None) -> HowdahError | None:
    """The howdah error behind a database error, or None if the database error is not ours."""
    kind = SQLSTATES.get(sqlstate or "")
    if kind is None:
        return None
    options: dict[str, Any] = {"hint": hint}
    if kind is KeyConflict and detail and detail.isdecimal():
        options["task_id"] = int(detail)
    return kind(message, **options)
