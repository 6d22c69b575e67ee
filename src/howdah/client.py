"""Client: every verb, async and sync. Each is one line over `calls`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Unpack
from uuid import UUID

from howdah import calls
from howdah.calls import Call
from howdah.doctor import Doctor
from howdah.durations import Duration
from howdah.errors import HowdahError, InvalidOption, TaskNotFound, shown
from howdah.groups import Groups
from howdah.health import Health
from howdah.kinds.actor import ActorKind
from howdah.kinds.schedule import Schedule, When
from howdah.payload import encode_message, plain_json
from howdah.results import Waiter, wait_sync
from howdah.task import Reason, TaskInfo


class Client(Doctor, Groups):
    """Enqueue, look and repair, with no worker machinery. An App is a Client with handlers.

    Every verb has its twin in `_sync`. On a running event loop, as in a notebook, the twins work and block the loop for
    the moment that the database needs to answer; only `result_sync`, which may wait for long, is refused there.
    """

    # ── one task ──

    async def cancel(
        self, task_id: int, reason: str | None = None, *, cascade: bool = True, connection: Any = None
    ) -> str:
        """Cancel a task: "cancelled" if it waited, "running" if it runs and was asked to stop.

        With `cascade` what it spawned is cancelled too, and what that spawned. A running task ends as cancelled unless it
        succeeds first. Raises TaskNotFound, WrongStatus if it has ended.
        """
        return await self.run(calls.cancel(_id(task_id), reason, cascade=cascade), connection)

    def cancel_sync(
        self, task_id: int, reason: str | None = None, *, cascade: bool = True, connection: Any = None
    ) -> str:
        """As `cancel`, blocking."""
        return self.run_sync(calls.cancel(_id(task_id), reason, cascade=cascade), connection)

    async def send(self, task_id: int, message: Any, *, kind: str | None = None, connection: Any = None) -> int:
        """Put a message into the inbox of an actor, in your transaction with `connection=`; returns the message's id.

        With `kind`, and its code here, the message is checked before it is sent; in any case when it is read.
        Raises InvalidPayload, TaskNotFound if the task is not there or has ended, WrongStatus if it takes no messages.
        """
        return await self.run(calls.send(_id(task_id), self._message(message, kind)), connection)

    def send_sync(self, task_id: int, message: Any, *, kind: str | None = None, connection: Any = None) -> int:
        """As `send`, blocking."""
        return self.run_sync(calls.send(_id(task_id), self._message(message, kind)), connection)

    def _message(self, message: Any, kind: str | None) -> str:
        handler = self.registry.find(kind) if kind is not None else None
        if isinstance(handler, ActorKind):
            return handler.encode_message(message)
        return encode_message(message, max_bytes=self.max_payload)

    async def edit(
        self, task_id: int, *, payload: Mapping[str, Any] | None = None, step: str | None = None, connection: Any = None
    ) -> None:
        """Change the payload, the step, or both of a task that does not run; its status stays.

        Checked against the fields of the step: by its code if that is here, else by the names the database knows. What
        was there before is in the task's history. Raises InvalidPayload, InvalidOption, TaskNotFound, WrongStatus.
        """
        found = _only(task_id, await self.run(calls.find(ids=[_id(task_id)]), connection))
        await self.run(calls.edit(task_id, self._edited(found, payload, step), step), connection)

    def edit_sync(
        self, task_id: int, *, payload: Mapping[str, Any] | None = None, step: str | None = None, connection: Any = None
    ) -> None:
        """As `edit`, blocking."""
        found = _only(task_id, self.run_sync(calls.find(ids=[_id(task_id)]), connection))
        self.run_sync(calls.edit(task_id, self._edited(found, payload, step), step), connection)

    def _edited(self, found: TaskInfo, payload: Mapping[str, Any] | None, step: str | None) -> str | None:
        """The new payload as JSON; None for the old one, which must fit the new step."""
        handler = self.registry.find(found.kind)
        if handler is not None:
            fields = found.payload if payload is None else payload
            checked = handler.named(step if step is not None else found.step, fields).payload
            return None if payload is None else checked
        return None if payload is None else plain_json(payload, "payload", max_bytes=self.max_payload)

    async def retry(self, task_id: int, *, connection: Any = None) -> str:
        """Go on with a parked task from its step ("resumed"), or make a waiting one due ("due now").

        Raises TaskNotFound, WrongStatus if it runs or has ended.
        """
        return await self.run(calls.retry(_id(task_id)), connection)

    def retry_sync(self, task_id: int, *, connection: Any = None) -> str:
        """As `retry`, blocking."""
        return self.run_sync(calls.retry(_id(task_id)), connection)

    async def why(self, task_id: int) -> list[Reason]:
        """Why a task is not running: one Reason per cause. Raises TaskNotFound."""
        return [Reason(**row) for row in await self.run(calls.why(_id(task_id)))]

    def why_sync(self, task_id: int) -> list[Reason]:
        """As `why`, blocking."""
        return [Reason(**row) for row in self.run_sync(calls.why(_id(task_id)))]

    async def show(self, task_id: int) -> TaskInfo:
        """One task as it is now, live or ended. Raises TaskNotFound."""
        return _only(task_id, await self.run(calls.find(ids=[_id(task_id)])))

    def show_sync(self, task_id: int) -> TaskInfo:
        """As `show`, blocking."""
        return _only(task_id, self.run_sync(calls.find(ids=[_id(task_id)])))

    async def history(self, task_id: int) -> list[dict[str, Any]]:
        """What happened to a task: retries, failures, crashes, timeouts, operator actions, oldest first."""
        return await self.run(calls.history(_id(task_id)))

    def history_sync(self, task_id: int) -> list[dict[str, Any]]:
        """As `history`, blocking."""
        return self.run_sync(calls.history(_id(task_id)))

    async def inbox(self, task_id: int, *, limit: int = 100) -> list[dict[str, Any]]:
        """What a task was sent and has not consumed yet, oldest first: rows of `howdah.message`."""
        return await self.run(calls.inbox(_id(task_id), limit))

    def inbox_sync(self, task_id: int, *, limit: int = 100) -> list[dict[str, Any]]:
        """As `inbox`, blocking."""
        return self.run_sync(calls.inbox(_id(task_id), limit))

    async def result(self, task_id: int, *, timeout: Duration | None = None, kind: str | None = None) -> Any:
        """Wait for a task to end; see Task.result."""
        loop = asyncio.get_running_loop()
        waiter = self.waiters.get(loop)
        if waiter is None:
            for over in [known for known in list(self.waiters) if known.is_closed()]:
                self.waiters.pop(over, None)
            waiter = self.waiters[loop] = Waiter(self.run)
        return self._read_result(await waiter.wait(_id(task_id), timeout), kind)

    def result_sync(self, task_id: int, *, timeout: Duration | None = None, kind: str | None = None) -> Any:
        """As `result`, blocking. Refused on a running event loop: what it waits for may have to run on that loop."""
        if asyncio._get_running_loop() is not None:  # pyright: ignore[reportPrivateUsage]
            raise HowdahError("result_sync would block the running event loop", hint="Write: await task.result()")
        return self._read_result(wait_sync(self.run_sync, _id(task_id), timeout), kind)

    def _read_result(self, value: Any, kind: str | None) -> Any:
        handler = self.registry.find(kind) if kind is not None else None
        return value if handler is None else handler.read_result(value)

    # ── schedules ──

    async def schedule(self, name: str, task: Any, *, connection: Any = None, **when: Unpack[When]) -> None:
        """Have a task enqueued at each tick of `cron`, or `every` so much time; replaces the schedule of this name.

        task      what @app.task, @app.actor or app.machine made, a step of a machine, or the name of a kind
        cron      five fields, or six with the seconds first, or "@daily" and the like
        every     instead of cron: "10s", seconds, timedelta; the first tick comes at a random time within the first of them
        payload   the arguments of the task by name; for a machine the fields of its `step`
        timezone  whose clock cron means: "Europe/Riga"
        missed    ticks that nobody fired in time: "skip" them, fire the "latest" of them, or "all"
        overlap   while a task of it is live: "allow" another, "skip" the tick, or "queue" it behind
        jitter    each task starts up to so much later, at random
        start     no tick before this; with `every`, the first one is this
        end       no tick at or after this
        queue, priority  other than the kind's

        Raises InvalidOption, InvalidPayload, UnknownKind. A pause of the schedule that was there goes on.
        """
        await self.run(calls.schedule(Schedule.of(name, task, when).arguments()), connection)

    def schedule_sync(self, name: str, task: Any, *, connection: Any = None, **when: Unpack[When]) -> None:
        """As `schedule`, blocking."""
        self.run_sync(calls.schedule(Schedule.of(name, task, when).arguments()), connection)

    async def unschedule(self, name: str) -> bool:
        """Forget a schedule; False if there was none. One that code declares comes back with the next worker: pause that."""
        return await self.run(calls.unschedule(name))

    def unschedule_sync(self, name: str) -> bool:
        """As `unschedule`, blocking."""
        return self.run_sync(calls.unschedule(name))

    async def pause_schedule(self, name: str, reason: str | None = None) -> None:
        """Let a schedule fire nothing more, also over restarts of the workers. Raises ScheduleNotFound."""
        await self.run(calls.pause_schedule(name, reason))

    def pause_schedule_sync(self, name: str, reason: str | None = None) -> None:
        """As `pause_schedule`, blocking."""
        self.run_sync(calls.pause_schedule(name, reason))

    async def resume_schedule(self, name: str) -> bool:
        """Undo `pause_schedule`: go on with the next tick from now. False if it was not paused. Raises ScheduleNotFound."""
        return await self.run(calls.resume_schedule(name))

    def resume_schedule_sync(self, name: str) -> bool:
        """As `resume_schedule`, blocking."""
        return self.run_sync(calls.resume_schedule(name))

    async def trigger(self, name: str) -> int:
        """Fire a schedule once now, out of turn; returns the id of the task. Raises ScheduleNotFound."""
        return await self.run(calls.trigger(name))

    def trigger_sync(self, name: str) -> int:
        """As `trigger`, blocking."""
        return self.run_sync(calls.trigger(name))

    async def schedules(self) -> list[dict[str, Any]]:
        """Every schedule: rows of `howdah.schedules`; `howdah.timetable.Timetable.of(row)` says when it fires."""
        return await self.run(calls.schedules())

    def schedules_sync(self) -> list[dict[str, Any]]:
        """As `schedules`, blocking."""
        return self.run_sync(calls.schedules())

    # ── many ──

    async def tasks(
        self,
        *,
        ids: Iterable[int] | None = None,
        status: Iterable[str] | None = None,
        kind: str | None = None,
        queue: str | None = None,
        key: str | None = None,
        parent: int | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> list[TaskInfo]:
        """Tasks, live and ended, newest first; page on with `before` = the last id seen."""
        call = _find(ids, status, kind, queue, key, parent, before, limit)
        return [TaskInfo(**row) for row in await self.run(call)]

    def tasks_sync(
        self,
        *,
        ids: Iterable[int] | None = None,
        status: Iterable[str] | None = None,
        kind: str | None = None,
        queue: str | None = None,
        key: str | None = None,
        parent: int | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> list[TaskInfo]:
        """As `tasks`, blocking."""
        call = _find(ids, status, kind, queue, key, parent, before, limit)
        return [TaskInfo(**row) for row in self.run_sync(call)]

    async def pause(self, queue: str, reason: str | None = None) -> None:
        """Start no more tasks of this queue, in the whole fleet. Running ones go on."""
        await self.run(calls.pause(queue, reason))

    def pause_sync(self, queue: str, reason: str | None = None) -> None:
        """As `pause`, blocking."""
        self.run_sync(calls.pause(queue, reason))

    async def resume(self, queue: str) -> bool:
        """Undo `pause`. False if the queue was not paused."""
        return await self.run(calls.resume(queue))

    def resume_sync(self, queue: str) -> bool:
        """As `resume`, blocking."""
        return self.run_sync(calls.resume(queue))

    async def kinds(self) -> list[dict[str, Any]]:
        """Every kind that workers have told the database of, with its defaults and steps."""
        return await self.run(calls.kinds())

    def kinds_sync(self) -> list[dict[str, Any]]:
        """As `kinds`, blocking."""
        return self.run_sync(calls.kinds())

    async def step_counts(self, kind: str) -> list[dict[str, Any]]:
        """How many live tasks of a machine or pipeline stand where: rows of step, status and tasks."""
        return await self.run(calls.step_counts(kind))

    def step_counts_sync(self, kind: str) -> list[dict[str, Any]]:
        """As `step_counts`, blocking."""
        return self.run_sync(calls.step_counts(kind))

    async def queues(self) -> list[dict[str, Any]]:
        """Every queue with its counts and whether it is paused."""
        return await self.run(calls.queues())

    def queues_sync(self) -> list[dict[str, Any]]:
        """As `queues`, blocking."""
        return self.run_sync(calls.queues())

    async def workers(self) -> list[dict[str, Any]]:
        """Every worker of the last day."""
        return await self.run(calls.workers())

    def workers_sync(self) -> list[dict[str, Any]]:
        """As `workers`, blocking."""
        return self.run_sync(calls.workers())

    async def health(self) -> Health:
        """How everything is: `health.colour`, and a Finding for each thing that is wrong and each that is well, worst first.

        >>> (await app.health()).colour                    # doctest: +SKIP
        'green'
        """
        return Health.of(await self.run(calls.health()))

    def health_sync(self) -> Health:
        """As `health`, blocking."""
        return Health.of(self.run_sync(calls.health()))

    async def stop_workers(self, worker: UUID | None = None) -> int:
        """Ask all workers, or one, to finish what they run and exit. Returns how many were asked."""
        return await self.run(calls.stop_workers(worker))

    def stop_workers_sync(self, worker: UUID | None = None) -> int:
        """As `stop_workers`, blocking."""
        return self.run_sync(calls.stop_workers(worker))


def _id(task_id: Any) -> int:
    if isinstance(task_id, bool) or not isinstance(task_id, int) or not -(2**63) <= task_id < 2**63:
        raise InvalidOption(f"a task id is a whole number of 64 bits, not {shown(task_id)}")
    return task_id


def _find(
    ids: Iterable[int] | None,
    status: Iterable[str] | None,
    kind: str | None,
    queue: str | None,
    key: str | None,
    parent: int | None,
    before: int | None,
    limit: int,
) -> Call[list[calls.Row]]:
    return calls.find(
        ids=_list(ids),
        status=_list(status),
        kind=kind,
        queue=queue,
        key=key,
        parent=parent,
        before=before,
        at_most=limit,
    )


def _list(values: Iterable[Any] | None) -> list[Any] | None:
    return None if values is None else [values] if isinstance(values, str) else list(values)


def _only(task_id: int, rows: Sequence[Mapping[str, Any]]) -> TaskInfo:
    if not rows:
        raise TaskNotFound(
            f"there is no task {task_id}", hint="It never existed, was rolled back, or its retention is over"
        )
    return TaskInfo(**rows[0])
