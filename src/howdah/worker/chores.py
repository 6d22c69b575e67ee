"""Chores: what any worker does for all. Each duty has its own clock, so that a slow one does not keep the others."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Coroutine
from typing import Any

from howdah import calls
from howdah.context import ClaimedTask, Progress
from howdah.db.line import Line
from howdah.kinds.registry import Told
from howdah.payload import plain_json
from howdah.worker.lanes import Lanes
from howdah.worker.lease import Lease, awake_clock
from howdah.worker.service import Service

log = logging.getLogger("howdah.worker")

# Seconds between two looks at the suspended tasks; who suspends one until sooner rings.
_LOOK_EVERY = 5.0


class Chore(Service):
    """One duty, every so many seconds."""

    def __init__(self, name: str, every: float, duty: Callable[[], Coroutine[Any, Any, bool]]) -> None:
        super().__init__()
        self.name = name
        self._every = every
        self._duty = duty

    async def turn(self) -> float:
        more = await self._duty()
        # Jitter: workers started together must not all knock at once.
        return 0 if more else self._every * (0.75 + 0.5 * random.random())


class Rescue(Service):
    """Take back what dead workers hold.

    Only a worker that has itself seen the database answer for a whole lease without a gap may judge others: after an
    outage everybody's lease looks over.
    """

    name = "rescue"

    def __init__(self, line: Line, lease: Lease) -> None:
        super().__init__()
        self._line = line
        self._ttl = lease.ttl
        self._every = lease.ttl / 6
        self._steady_since = awake_clock()

    async def turn(self) -> float:
        if awake_clock() - self._steady_since < self._ttl:
            await self._line.run(calls.outcomes([]))  # answers: still steady
            return self._every
        found = await self._line.run(calls.rescue())
        if found.dead or found.rescued or found.overdue:
            log.warning(
                "rescue: %d workers found dead, %d of their tasks taken back, %d overdue attempts ended",
                found.dead, found.rescued, found.overdue,
            )  # fmt: skip
        return 0 if max(found.rescued, found.overdue) >= 1000 else self._every * (0.75 + 0.5 * random.random())

    async def failed(self, error: Exception) -> None:
        await super().failed(error)
        self._steady_since = awake_clock()


class Alarm(Service):
    """Wakes suspended tasks whose time has come: the next one's is known, and others look every few seconds."""

    name = "alarm"

    def __init__(self, line: Line, woken: Callable[[], None]) -> None:
        super().__init__()
        self._line = line
        self._woken = woken

    async def turn(self) -> float:
        found = await self._line.run(calls.wake_suspended())
        if found.woken:
            self._woken()  # also where no notification comes
        if found.woken >= 1000:
            return 0
        return _LOOK_EVERY if found.next_in is None else min(max(found.next_in, 0) + 0.001, _LOOK_EVERY)


class Deadlines(Service):
    """Ends tasks that wait past their deadline: the next one is known, as with Alarm. None of them is started meanwhile."""

    name = "deadlines"

    def __init__(self, line: Line) -> None:
        super().__init__()
        self._line = line

    async def turn(self) -> float:
        found = await self._line.run(calls.expire())
        if found.dropped or found.parked:
            log.warning("deadlines: %d late tasks dropped, %d parked", found.dropped, found.parked)
        if found.dropped + found.parked >= 1000:
            return 0
        return _LOOK_EVERY if found.next_in is None else min(max(found.next_in, 0) + 0.001, _LOOK_EVERY)


class Reporter(Service):
    """Writes the last word of ctx.progress, about twice a second."""

    name = "progress"

    def __init__(self, line: Line, lease: Lease) -> None:
        super().__init__()
        self._line = line
        self._lease = lease
        self._news: dict[int, tuple[int, Progress]] = {}

    def report(self, task: ClaimedTask, progress: Progress) -> None:
        """Remember; threads may call this."""
        self._news[task.id] = (task.epoch, progress)

    async def turn(self) -> float:
        news, self._news = self._news, {}
        if news:
            rows: list[tuple[int, int, str]] = []
            for task_id, (epoch, progress) in sorted(news.items()):
                try:
                    said = {"done": progress.done, "total": progress.total, "note": progress.note}
                    rows.append(
                        (task_id, epoch, plain_json({k: v for k, v in said.items() if v is not None}, "progress"))
                    )
                except ValueError as error:
                    log.warning("task %d: %s", task_id, error)
            await self._line.run(calls.report(self._lease.id, rows))
        return 0.5


def alarm_bell(line: Line, alert: Told, wake: Callable[[], None]) -> Chore:
    """Tells an alert task of the changes of health."""

    async def look() -> bool:
        told = await line.run(calls.tell_health(alert.kind, each=alert.each, hold=alert.hold, every=alert.every))
        if told:
            wake()  # also where no notification comes
        return False

    return Chore(f"alert {alert.kind}", alert.every.total_seconds(), look)


def household(line: Line, lanes: Lanes, wake: Callable[[], None]) -> list[Chore]:
    """The duties beside rescue: partitions, retention, and learning the names of queues nobody told us of."""

    async def partitions() -> bool:
        await line.run(calls.make_partitions())
        return False

    async def retain() -> bool:
        swept = await line.run(calls.retain())
        return swept["deleted"] >= 10_000

    async def new_queues() -> bool:
        rows = await line.run(calls.waiting_queues())
        if [name for name in rows if lanes.learn(name)]:
            wake()
        return False

    chores = [Chore("partitions", 3600, partitions), Chore("retention", 300, retain)]
    if lanes.serves_all:
        chores.append(Chore("queues", 5, new_queues))
    return chores
