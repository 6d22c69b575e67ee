"""Waiting for tasks to end: one question for all that are waited for, at growing intervals."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import psycopg

from howdah import calls
from howdah.calls import Call, Row
from howdah.db.failures import passes
from howdah.durations import Duration, in_words, optional_duration
from howdah.errors import HowdahError, ResultTimeout, TaskCancelled, TaskFailed, TaskNotFound

# Seconds. Doubling, so that every interval is a multiple of those below it: waits of all ages come due together.
_SHORTEST = 0.005
_LONGEST = 0.64


def read(task_id: int, row: Row | None) -> tuple[bool, Any]:
    """Whether the task has ended, and its result. Raises what `result` raises for the other ends."""
    if row is None:
        raise TaskNotFound(
            f"nothing is kept of task {task_id}",
            hint="Its kind has keep=None, its retention is over, or it was rolled back",
        )
    match row["status"]:
        case "succeeded":
            return True, row["result"]
        case "cancelled":
            raise TaskCancelled(f"task {task_id} was cancelled{': ' + row['error'] if row['error'] else ''}")
        case "failed":
            raise TaskFailed(
                f"task {task_id} failed: {row['error']}",
                hint=f"Mend the cause, then: howdah retry {task_id}",
                error=row["error"],
            )
        case _:
            return False, None


def _too_late(task_id: int, limit: timedelta | None, row: Row | None) -> ResultTimeout:
    status = row["status"] if row else "unknown"
    return ResultTimeout(
        f"task {task_id} has not ended after {in_words(limit or 0)}: it is {status}", hint=f"See: howdah why {task_id}"
    )


def _connection_lost(error: Exception) -> bool:
    """Whether to ask again: the next question gets a new connection, or CannotConnect if there is none to be had."""
    return isinstance(error, psycopg.Error) and passes(error)


@dataclass(slots=True)
class _Wait:
    """Those who wait for one task, when to ask for it next, and what was last heard of it."""

    due: float
    rest: float = _SHORTEST
    row: Row | None = None
    futures: list[asyncio.Future[Any]] = field(default_factory=list["asyncio.Future[Any]"])

    def not_yet(self, now: float) -> None:
        # On the grid of its interval, so that one question is asked for many.
        self.due = (now // self.rest + 1) * self.rest
        self.rest = min(self.rest * 2, _LONGEST)


class Waiter:
    """All waits of one event loop."""

    def __init__(self, run: Callable[[Call[list[Row]]], Coroutine[Any, Any, list[Row]]]) -> None:
        self._run = run
        self._waits: dict[int, _Wait] = {}
        self._asking: asyncio.Task[None] | None = None
        self._new = asyncio.Event()

    async def wait(self, task_id: int, timeout: Duration | None) -> Any:
        limit = optional_duration(timeout, "timeout")
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        wait = self._waits.setdefault(task_id, _Wait(due=0))
        wait.futures.append(future)
        wait.due = 0  # Who is new hears at once: most tasks are short.
        self._new.set()
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
        try:
            return await asyncio.wait_for(future, None if limit is None else limit.total_seconds())
        except TimeoutError:
            if wait.row is None:  # It was not even asked for: with a timeout of 0, say.
                wait.row = next(iter(await self._run(calls.outcomes([task_id]))), None)
                ended, value = read(task_id, wait.row)
                if ended:
                    return value
            raise _too_late(task_id, limit, wait.row) from None
        finally:
            if future.done() and not future.cancelled():
                future.exception()  # Seen, even if the one who waited was cancelled in the same moment.
            wait.futures.remove(future)
            if not wait.futures and self._waits.get(task_id) is wait:
                del self._waits[task_id]

    def close(self) -> None:
        """Nobody asks any more: the app is closed."""
        if self._asking is not None:
            self._asking.cancel()
        for task_id, wait in list(self._waits.items()):
            gone = HowdahError(f"the app was closed while the result of task {task_id} was awaited")
            self._settle(task_id, wait, error=gone)

    async def _ask(self) -> None:
        clock = asyncio.get_running_loop().time
        while self._waits:
            self._new.clear()
            now = clock()
            asked = {task_id: wait for task_id, wait in self._waits.items() if wait.due <= now}
            if asked:
                await self._ask_for(asked)
                now = clock()
                for wait in asked.values():
                    wait.not_yet(now)
            rest = min((wait.due for wait in self._waits.values()), default=now) - now
            try:
                await asyncio.wait_for(self._new.wait(), max(rest, 0))
            except TimeoutError:
                continue
            # Whoever else starts to wait in this moment is asked for with the first.
            await asyncio.sleep(_SHORTEST)

    async def _ask_for(self, asked: dict[int, _Wait]) -> None:
        try:
            rows = {row["id"]: row for row in await self._run(calls.outcomes(list(asked)))}
        except Exception as error:
            if not _connection_lost(error):
                for task_id, wait in asked.items():
                    self._settle(task_id, wait, error=error)
            return
        for task_id, wait in asked.items():
            wait.row = rows.get(task_id)
            try:
                ended, value = read(task_id, wait.row)
            except HowdahError as error:
                self._settle(task_id, wait, error=error)
            else:
                if ended:
                    self._settle(task_id, wait, value=value)

    def _settle(self, task_id: int, wait: _Wait, *, value: Any = None, error: Exception | None = None) -> None:
        if self._waits.get(task_id) is wait:
            del self._waits[task_id]
        for future in wait.futures:
            if future.done():
                continue
            if error is None:
                future.set_result(value)
            else:
                future.set_exception(error)


def wait_sync(run: Callable[[Call[list[Row]]], list[Row]], task_id: int, timeout: Duration | None) -> Any:
    """As Waiter.wait, for one task, blocking."""
    limit = optional_duration(timeout, "timeout")
    until = None if limit is None else time.monotonic() + limit.total_seconds()
    rest = _SHORTEST
    row: Row | None = None
    while True:
        try:
            row = next(iter(run(calls.outcomes([task_id]))), None)
            ended, value = read(task_id, row)
        except psycopg.Error as error:
            if not _connection_lost(error):
                raise
        else:
            if ended:
                return value
        left = _LONGEST if until is None else until - time.monotonic()
        if left <= 0:
            raise _too_late(task_id, limit, row)
        time.sleep(min(rest, left))
        rest = min(rest * 2, _LONGEST)
