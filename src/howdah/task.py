"""Task: the handle that enqueue returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from uuid import UUID

from howdah.durations import Duration
from howdah.errors import TaskNotFound

if TYPE_CHECKING:
    from howdah.client import Client

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class TaskInfo:
    """A task as a row of `howdah.tasks`."""

    id: int
    kind: str
    queue: str
    status: str
    step: str | None
    payload: Any
    key: str | None
    priority: int
    attempt: int
    lost: int
    run_at: datetime
    created_at: datetime
    claimed_at: datetime | None
    finished_at: datetime | None
    worker: UUID | None
    progress: Any
    result: Any
    error: str | None
    last_error: str | None
    reason: str | None
    epoch: int
    parent: int | None
    children: int
    inbox_seq: int
    source: str | None
    tick: datetime | None
    groups: list[str] | None = None
    cost: float | None = None
    start_before: datetime | None = None
    finish_before: datetime | None = None
    late: str | None = None


def only(task_id: int, rows: Sequence[Mapping[str, Any]]) -> TaskInfo:
    """The task of this id, from what was found of it. Raises TaskNotFound."""
    if not rows:
        raise TaskNotFound(
            f"there is no task {task_id}", hint="It never existed, was rolled back, or its retention is over"
        )
    return TaskInfo(**rows[0])


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a task is not running: a short code, the sentence, and what to do about it."""

    code: str
    reason: str
    advice: str


class Task(Generic[R]):
    """A task that was enqueued: its id, and what can be asked of it. Every verb has its `_sync` twin."""

    __slots__ = ("_client", "id", "kind")

    def __init__(self, client: Client, id: int, kind: str) -> None:
        self._client = client
        self.id = id
        self.kind = kind

    def __repr__(self) -> str:
        return f"Task({self.id}, {self.kind!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Task) and (self.id, self._client) == (other.id, other._client)  # pyright: ignore[reportUnknownMemberType]

    def __hash__(self) -> int:
        return hash(self.id)

    async def result(self, timeout: Duration | None = None) -> R:
        """Wait until the task has ended; return what its handler returned.

        All waits of one program ask together, at growing intervals. Raises TaskFailed if it is parked, TaskCancelled,
        TaskNotFound if nothing of it was kept, ResultTimeout after `timeout` (the task goes on).
        """
        return await self._client.result(self.id, timeout=timeout, kind=self.kind)

    def result_sync(self, timeout: Duration | None = None) -> R:
        """As `result`, blocking; not on a running event loop, where it would stop the worker it may be waiting for."""
        return self._client.result_sync(self.id, timeout=timeout, kind=self.kind)

    async def info(self) -> TaskInfo:
        """The row as it is now. Raises TaskNotFound."""
        return await self._client.show(self.id)

    def info_sync(self) -> TaskInfo:
        """As `info`, blocking."""
        return self._client.show_sync(self.id)

    async def cancel(self, reason: str | None = None, *, cascade: bool = True) -> str:
        """Cancel it, and with `cascade` what it spawned: "cancelled" if it had not begun, "running" if it was asked to stop.

        Raises WrongStatus if it has ended.
        """
        return await self._client.cancel(self.id, reason, cascade=cascade)

    def cancel_sync(self, reason: str | None = None, *, cascade: bool = True) -> str:
        """As `cancel`, blocking."""
        return self._client.cancel_sync(self.id, reason, cascade=cascade)

    async def send(self, message: Any, *, connection: Any = None) -> int:
        """Put a message into its inbox; see Client.send."""
        return await self._client.send(self.id, message, kind=self.kind, connection=connection)

    def send_sync(self, message: Any, *, connection: Any = None) -> int:
        """As `send`, blocking."""
        return self._client.send_sync(self.id, message, kind=self.kind, connection=connection)

    async def retry(self) -> str:
        """Go on with it if it is parked ("resumed"), or run it now if it waits ("due now")."""
        return await self._client.retry(self.id)

    def retry_sync(self) -> str:
        """As `retry`, blocking."""
        return self._client.retry_sync(self.id)

    async def why(self) -> list[Reason]:
        """Why it is not running, with the thing to do."""
        return await self._client.why(self.id)

    def why_sync(self) -> list[Reason]:
        """As `why`, blocking."""
        return self._client.why_sync(self.id)
