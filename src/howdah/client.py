"""Client: every verb, async and sync. Each is one line over `calls`."""

from __future__ import annotations

from typing import Any, Unpack
from uuid import UUID

from howdah import calls
from howdah.carry import Carry
from howdah.doctor import Doctor
from howdah.filters import Filter, check_id, checked
from howdah.groups import Groups
from howdah.health import Health
from howdah.keys import ByKey
from howdah.kinds.actor import ActorKind
from howdah.kinds.schedule import Schedule, When
from howdah.payload import encode_message
from howdah.repair import Repair
from howdah.task import TaskInfo


class Client(Repair, Carry, Doctor, Groups, ByKey):
    """Enqueue, look and repair, with no worker machinery. An App is a Client with handlers.

    Every verb has its twin in `_sync`. On a running event loop, as in a notebook, the twins work and block the loop for
    the moment that the database needs to answer; only `result_sync`, which may wait for long, is refused there.
    """

    # ── one task ──

    async def send(self, task_id: int, message: Any, *, kind: str | None = None, connection: Any = None) -> int:
        """Put a message into the inbox of an actor, in your transaction with `connection=`; returns the message's id.

        With `kind`, and its code here, the message is checked before it is sent; in any case when it is read.
        Raises InvalidPayload, TaskNotFound if the task is not there or has ended, WrongStatus if it takes no messages.
        """
        return await self.run(calls.send(check_id(task_id), self._message(message, kind)), connection)

    def send_sync(self, task_id: int, message: Any, *, kind: str | None = None, connection: Any = None) -> int:
        """As `send`, blocking."""
        return self.run_sync(calls.send(check_id(task_id), self._message(message, kind)), connection)

    def _message(self, message: Any, kind: str | None) -> str:
        handler = self.registry.find(kind) if kind is not None else None
        if isinstance(handler, ActorKind):
            return handler.encode_message(message)
        return encode_message(message, max_bytes=self.max_payload)

    async def history(self, task_id: int) -> list[dict[str, Any]]:
        """What happened to a task: retries, failures, crashes, timeouts, operator actions, oldest first."""
        return await self.run(calls.history(check_id(task_id)))

    def history_sync(self, task_id: int) -> list[dict[str, Any]]:
        """As `history`, blocking."""
        return self.run_sync(calls.history(check_id(task_id)))

    async def inbox(self, task_id: int, *, limit: int = 100) -> list[dict[str, Any]]:
        """What a task was sent and has not consumed yet, oldest first: rows of `howdah.message`."""
        return await self.run(calls.inbox(check_id(task_id), limit))

    def inbox_sync(self, task_id: int, *, limit: int = 100) -> list[dict[str, Any]]:
        """As `inbox`, blocking."""
        return self.run_sync(calls.inbox(check_id(task_id), limit))

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

    async def tasks(self, *, before: int | None = None, limit: int = 50, **chosen: Unpack[Filter]) -> list[TaskInfo]:
        """Tasks that a filter finds, live and ended, newest first; page on with `before` = the last id seen."""
        call = calls.find(checked(chosen), before=before, at_most=limit)
        return [TaskInfo(**row) for row in await self.run(call)]

    def tasks_sync(self, *, before: int | None = None, limit: int = 50, **chosen: Unpack[Filter]) -> list[TaskInfo]:
        """As `tasks`, blocking."""
        call = calls.find(checked(chosen), before=before, at_most=limit)
        return [TaskInfo(**row) for row in self.run_sync(call)]

    async def pause(self, queue: str, reason: str | None = None) -> None:
        """Start no more tasks of this queue, in the whole fleet. Running ones go on."""
        await self.run(calls.pause(queue, reason))

    def pause_sync(self, queue: str, reason: str | None = None) -> None:
        """As `pause`, blocking."""
        self.run_sync(calls.pause(queue, reason))

    async def resume(self, queue: str) -> bool:
        """Undo `pause` and `drain`. False if the queue was neither."""
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
