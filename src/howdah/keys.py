"""The verbs that take a task by its id, or by the key it holds. Each is one line over `calls`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast, overload

from howdah import calls
from howdah.caller import Caller
from howdah.calls import Call, Row, Steps
from howdah.durations import Duration
from howdah.errors import HowdahError, InvalidOption, TaskNotFound, shown
from howdah.filters import check_id
from howdah.options import check_name
from howdah.results import Waiter, wait_sync
from howdah.task import Reason, Task, TaskInfo, only

if TYPE_CHECKING:
    from howdah.client import Client


class ByKey(Caller):
    """Looks at one task, mends it and waits for it; `holder` finds it."""

    async def holder(self, key: str, *, connection: Any = None) -> Task[Any] | None:
        """The task that holds this key: the live one, or one that has ended and was enqueued with `unique_for`.

        None if the key is free. Raises InvalidOption.

        >>> task = await app.holder("welcome:42")          # doctest: +SKIP
        >>> value = await task.result(timeout="30s")       # doctest: +SKIP
        """
        return self._held(await self.run(calls.held(check_name(key, "key", 500)), connection))

    def holder_sync(self, key: str, *, connection: Any = None) -> Task[Any] | None:
        """As `holder`, blocking."""
        return self._held(self.run_sync(calls.held(check_name(key, "key", 500)), connection))

    def _held(self, rows: list[Row]) -> Task[Any] | None:
        return Task(cast("Client", self), rows[0]["task_id"], rows[0]["kind"]) if rows else None

    @overload
    async def cancel(
        self, task_id: int, reason: str | None = None, *, cascade: bool = True, connection: Any = None
    ) -> str: ...
    @overload
    async def cancel(
        self, *, key: str, reason: str | None = None, cascade: bool = True, connection: Any = None
    ) -> str: ...
    async def cancel(
        self,
        task_id: int | None = None,
        reason: str | None = None,
        *,
        key: str | None = None,
        cascade: bool = True,
        connection: Any = None,
    ) -> str:
        """Cancel a task, or the one that holds `key`: "cancelled" if it waited, "running" if it runs and was asked to stop.

        With `cascade` what it spawned is cancelled too, and what that spawned. A running task ends as cancelled unless it
        succeeds first. Raises TaskNotFound, WrongStatus if it has ended.
        """
        meant = await self.follow(self._meant(task_id, key), connection)
        return await self.run(calls.cancel(meant.id, reason, cascade=cascade), connection)

    @overload
    def cancel_sync(
        self, task_id: int, reason: str | None = None, *, cascade: bool = True, connection: Any = None
    ) -> str: ...
    @overload
    def cancel_sync(
        self, *, key: str, reason: str | None = None, cascade: bool = True, connection: Any = None
    ) -> str: ...
    def cancel_sync(
        self,
        task_id: int | None = None,
        reason: str | None = None,
        *,
        key: str | None = None,
        cascade: bool = True,
        connection: Any = None,
    ) -> str:
        """As `cancel`, blocking."""
        meant = self.follow_sync(self._meant(task_id, key), connection)
        return self.run_sync(calls.cancel(meant.id, reason, cascade=cascade), connection)

    @overload
    async def retry(self, task_id: int, *, connection: Any = None) -> str: ...
    @overload
    async def retry(self, *, key: str, connection: Any = None) -> str: ...
    async def retry(self, task_id: int | None = None, *, key: str | None = None, connection: Any = None) -> str:
        """Go on with a parked task, or the one that holds `key`, from its step ("resumed"), or make a waiting one due ("due now").

        Raises TaskNotFound, WrongStatus if it runs or has ended.
        """
        meant = await self.follow(self._meant(task_id, key), connection)
        return await self.run(calls.retry(meant.id), connection)

    @overload
    def retry_sync(self, task_id: int, *, connection: Any = None) -> str: ...
    @overload
    def retry_sync(self, *, key: str, connection: Any = None) -> str: ...
    def retry_sync(self, task_id: int | None = None, *, key: str | None = None, connection: Any = None) -> str:
        """As `retry`, blocking."""
        meant = self.follow_sync(self._meant(task_id, key), connection)
        return self.run_sync(calls.retry(meant.id), connection)

    @overload
    async def why(self, task_id: int) -> list[Reason]: ...
    @overload
    async def why(self, *, key: str) -> list[Reason]: ...
    async def why(self, task_id: int | None = None, *, key: str | None = None) -> list[Reason]:
        """Why a task is not running: one Reason per cause. Raises TaskNotFound.

        With `key`: who holds it, since when and until when, so that no other is written; and why that one is not running.
        """
        return [Reason(**row) for row in await self.run(_why(task_id, key))]

    @overload
    def why_sync(self, task_id: int) -> list[Reason]: ...
    @overload
    def why_sync(self, *, key: str) -> list[Reason]: ...
    def why_sync(self, task_id: int | None = None, *, key: str | None = None) -> list[Reason]:
        """As `why`, blocking."""
        return [Reason(**row) for row in self.run_sync(_why(task_id, key))]

    @overload
    async def show(self, task_id: int) -> TaskInfo: ...
    @overload
    async def show(self, *, key: str) -> TaskInfo: ...
    async def show(self, task_id: int | None = None, *, key: str | None = None) -> TaskInfo:
        """One task as it is now, live or ended; with `key` the one that holds it. Raises TaskNotFound."""
        meant = await self.follow(self._meant(task_id, key))
        return only(meant.id, await self.run(calls.find({"ids": [meant.id]})))

    @overload
    def show_sync(self, task_id: int) -> TaskInfo: ...
    @overload
    def show_sync(self, *, key: str) -> TaskInfo: ...
    def show_sync(self, task_id: int | None = None, *, key: str | None = None) -> TaskInfo:
        """As `show`, blocking."""
        meant = self.follow_sync(self._meant(task_id, key))
        return only(meant.id, self.run_sync(calls.find({"ids": [meant.id]})))

    @overload
    async def result(self, task_id: int, *, timeout: Duration | None = None, kind: str | None = None) -> Any: ...
    @overload
    async def result(self, *, key: str, timeout: Duration | None = None, kind: str | None = None) -> Any: ...
    async def result(
        self,
        task_id: int | None = None,
        *,
        key: str | None = None,
        timeout: Duration | None = None,
        kind: str | None = None,
    ) -> Any:
        """Wait for a task to end, or for the one that holds `key`; see Task.result."""
        meant = await self.follow(self._meant(task_id, key))
        loop = asyncio.get_running_loop()
        waiter = self.waiters.get(loop)
        if waiter is None:
            for over in [known for known in list(self.waiters) if known.is_closed()]:
                self.waiters.pop(over, None)
            waiter = self.waiters[loop] = Waiter(self.run)
        return self._read_result(await waiter.wait(meant.id, timeout), kind or meant.kind)

    @overload
    def result_sync(self, task_id: int, *, timeout: Duration | None = None, kind: str | None = None) -> Any: ...
    @overload
    def result_sync(self, *, key: str, timeout: Duration | None = None, kind: str | None = None) -> Any: ...
    def result_sync(
        self,
        task_id: int | None = None,
        *,
        key: str | None = None,
        timeout: Duration | None = None,
        kind: str | None = None,
    ) -> Any:
        """As `result`, blocking. Refused on a running event loop: what it waits for may have to run on that loop."""
        if asyncio._get_running_loop() is not None:  # pyright: ignore[reportPrivateUsage]
            raise HowdahError("result_sync would block the running event loop", hint="Write: await task.result()")
        meant = self.follow_sync(self._meant(task_id, key))
        return self._read_result(wait_sync(self.run_sync, meant.id, timeout), kind or meant.kind)

    def _read_result(self, value: Any, kind: str) -> Any:
        handler = self.registry.find(kind)
        return value if handler is None else handler.read_result(value)

    def _meant(self, task_id: Any, key: str | None) -> Steps[Task[Any]]:
        """The task of a verb that takes an id or a key. Raises InvalidOption, TaskNotFound for a key that is free."""
        if key is None:
            return Task(cast("Client", self), check_id(task_id), "")
        if task_id is not None:
            raise InvalidOption(f"the id {shown(task_id)} and the key {shown(key)} were both given", hint="Give one")
        task = self._held((yield calls.held(check_name(key, "key", 500))))
        if task is None:
            raise TaskNotFound(f"no task holds key {key!r}", hint="Its task has ended, or there never was one")
        return task


def _why(task_id: int | None, key: str | None) -> Call[list[Row]]:
    if key is None:
        return calls.why(check_id(task_id))
    if task_id is not None:
        raise InvalidOption("an id and a key were both given", hint="Give one")
    return calls.why_key(check_name(key, "key", 500))
