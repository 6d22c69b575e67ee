"""Waiting for tasks to end: one question for all that are waited for, at growing intervals."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

from howdah import calls
from howdah.calls import Call, Row
from howdah.durations import Duration, in_words, optional_duration
from howdah.errors import ResultTimeout, TaskCancelled, TaskFailed, TaskNotFound

_SHORTEST = 0.005
_LONGEST = 0.5
_GROWTH = 1.4


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


class Waiter:
    """All waits of one event loop."""

    def __init__(self, run: Callable[[Call[list[Row]]], Coroutine[Any, Any, list[Row]]]) -> None:
        self._run = run
        self._waits: dict[int, list[asyncio.Future[Any]]] = {}
        self._rows: dict[int, Row] = {}
        self._asking: asyncio.Task[None] | None = None
        self._new = asyncio.Event()

    async def wait(self, task_id: int, timeout: Duration | None) -> Any:
        limit = optional_duration(timeout, "timeout")
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waits.setdefault(task_id, []).append(future)
        self._new.set()
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
        try:
            return await asyncio.wait_for(future, None if limit is None else limit.total_seconds())
        except TimeoutError:
            raise _too_late(task_id, limit, self._rows.get(task_id)) from None
        finally:
            self._forget(task_id, future)

    def _forget(self, task_id: int, future: asyncio.Future[Any]) -> None:
        waits = self._waits.get(task_id, [])
        if future in waits:
            waits.remove(future)
        if not waits:
            self._waits.pop(task_id, None)
            self._rows.pop(task_id, None)

    async def _ask(self) -> None:
        rest = _SHORTEST
        while self._waits:
            self._new.clear()
            asked = list(self._waits)
            try:
                rows = {row["id"]: row for row in await self._run(calls.outcomes(asked))}
            except Exception as error:
                for task_id in asked:
                    self._settle(task_id, error=error)
                continue
            for task_id in asked:
                row = rows.get(task_id)
                try:
                    ended, value = read(task_id, row)
                except Exception as error:
                    self._settle(task_id, error=error)
                else:
                    if ended:
                        self._settle(task_id, value=value)
                    elif row is not None and task_id in self._waits:
                        self._rows[task_id] = row
            if not self._waits:
                return
            try:
                # Somebody new is asked about at once: most tasks are short.
                await asyncio.wait_for(self._new.wait(), rest)
                rest = _SHORTEST
                await asyncio.sleep(rest)
            except TimeoutError:
                rest = min(rest * _GROWTH, _LONGEST)

    def _settle(self, task_id: int, *, value: Any = None, error: Exception | None = None) -> None:
        for future in self._waits.pop(task_id, []):
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
    while True:
        row = next(iter(run(calls.outcomes([task_id]))), None)
        ended, value = read(task_id, row)
        if ended:
            return value
        left = _LONGEST if until is None else until - time.monotonic()
        if left <= 0:
            raise _too_late(task_id, limit, row)
        time.sleep(min(rest, left))
        rest = min(rest * _GROWTH, _LONGEST)
