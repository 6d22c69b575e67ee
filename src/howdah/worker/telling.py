"""How attempts ended, for the log and for those who listen."""

from __future__ import annotations

import logging
from typing import Literal

from howdah.durations import in_words
from howdah.outcomes import Target, Transition
from howdah.telemetry import AttemptEnded, tell
from howdah.worker.attempt import Attempt
from howdah.worker.house import House

log = logging.getLogger("howdah.worker")


def tell_end(house: House, attempt: Attempt, transition: Transition) -> None:
    """What the database has of it by now."""
    if transition.error is not None:
        _log_error(attempt, transition)
    if house.listeners:
        _tell(house, attempt, transition.to, transition.error)


def tell_stale(house: House, attempt: Attempt) -> None:
    """It came too late, and nothing of it was written."""
    task = attempt.task
    log.warning(
        "task %d (%s): the outcome of attempt %d came too late and was discarded; the task went on without it",
        task.id, task.kind, task.attempt,
    )  # fmt: skip
    _tell(house, attempt, "stale", None)


def _tell(house: House, attempt: Attempt, outcome: Target | Literal["stale"], error: str | None) -> None:
    task = attempt.task
    tell(
        house.listeners,
        AttemptEnded(task.id, task.kind, task.queue, task.attempt, outcome, attempt.seconds, error),
    )


def _log_error(attempt: Attempt, transition: Transition) -> None:
    task = attempt.task
    said, again = (transition.error or "").partition("\n")[0], in_words(transition.delay or 0)
    if transition.event == "error":  # of a task that never ends: no attempt has failed
        log.warning("task %d (%s) goes on in %s after an error: %s", task.id, task.kind, again, said)
    elif transition.to == "failed":
        log.error("task %d (%s) failed at attempt %d, parked: %s", task.id, task.kind, task.attempt, said)
    else:
        log.warning("task %d (%s) failed at attempt %d, again in %s: %s", task.id, task.kind, task.attempt, again, said)
