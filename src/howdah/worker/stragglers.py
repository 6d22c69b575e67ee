"""Ended attempts that cannot be settled with the others: one row that the database refuses must not fail its neighbours."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any

import psycopg

from howdah.context import ClaimedTask
from howdah.db.failures import passes
from howdah.errors import HowdahError, LeaseLost
from howdah.kinds import ending
from howdah.outcomes import Transition
from howdah.worker.settlement import Ended

log = logging.getLogger("howdah.worker")

# How long a task whose row is locked waits before it is tried again.
_LOCKED_FOR = 2.0


class Stragglers:
    """Settles a refused batch one by one, and keeps those whose rows are held by somebody's open transaction."""

    def __init__(
        self, settle_alone: Callable[[Ended], Coroutine[Any, Any, None]], let_go: Callable[[ClaimedTask], None]
    ) -> None:
        self._settle_alone = settle_alone
        self._let_go = let_go
        self._locked: list[Ended] = []
        self._locked_until = 0.0

    def __bool__(self) -> bool:
        """Whether some wait for a locked row."""
        return bool(self._locked)

    def rest(self) -> float | None:
        """Seconds until those are to be tried again; None if there are none."""
        return max(self._locked_until - time.monotonic(), 0) if self._locked else None

    def take_due(self) -> list[Ended]:
        """Those that are to be tried again now."""
        if not self._locked or time.monotonic() < self._locked_until:
            return []
        due, self._locked = self._locked, []
        return due

    async def settle(self, batch: list[Ended]) -> None:
        """Settle each alone, and take it out of the batch; park a bad one. Raises what the next try may not meet.

        One whose row is locked is tried again later, and does not hold up the others; nor are those tried that need a row
        which may be the locked one, as the ends of many children need that of their parent.
        """
        held_up: set[int] = set()
        while batch:
            ended = batch[-1]
            if held_up and held_up & _rows(ended):
                self._locked.append(batch.pop())
                continue
            try:
                try:
                    await self._settle_alone(ended)
                except LeaseLost:
                    raise
                except (psycopg.Error, HowdahError) as error:
                    if passes(error):
                        raise
                    ended.transition = _instead(ended, error)
                    ended.attempt.ctx.forget_effects()  # nor is anybody told of them
                    await self._settle_alone(ended)
            except psycopg.errors.LockNotAvailable:
                held_up |= _rows(ended)
                self._locked.append(ended)
                self._locked_until = time.monotonic() + _LOCKED_FOR
            except LeaseLost:
                raise
            except Exception as error:
                if passes(error):
                    raise
                log.exception("task %d cannot be settled at all; it goes back", ended.attempt.task.id)
                self._let_go(ended.attempt.task)
            batch.pop()


def _instead(ended: Ended, error: psycopg.Error | HowdahError) -> Transition:
    """What the attempt ends with instead. An effect that cannot be, as a message to a task that is gone, failed it."""
    if ended.transition.effects and isinstance(error, HowdahError):
        return ending.of_error(ended.attempt.task, ended.attempt.kind.defaults.retry, error)
    return ending.parked(HowdahError(f"its outcome could not be stored: {error}"))


def _rows(ended: Ended) -> set[int]:
    """The tasks whose rows it takes to settle this one: its own, its parent's, its readers'."""
    task, effects = ended.attempt.task, ended.transition.effects
    sent = [] if effects is None else [letter["to"] for letter in effects.sent]
    return {task.id, *sent, *([] if task.parent is None else [task.parent])}
