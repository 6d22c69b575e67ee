"""The life of one lease: register, work, hand back."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Literal

from howdah import calls
from howdah.calls import Beat
from howdah.db.line import Line
from howdah.db.pool import Database
from howdah.errors import LeaseLost
from howdah.telemetry import WorkerChanged, tell
from howdah.worker.chores import Alarm, Deadlines, Reporter, Rescue, alarm_bell, household
from howdah.worker.family import Family
from howdah.worker.house import House
from howdah.worker.lanes import Lanes
from howdah.worker.lease import Heartbeat, Lease
from howdah.worker.listener import Listener
from howdah.worker.pump import Pump
from howdah.worker.schedules import Schedules
from howdah.worker.service import Service

log = logging.getLogger("howdah.worker")
Change = Literal["started", "lost", "stopped"]

# How long handlers may take to notice that they were cancelled.
_LAST_WORDS = 5.0
# How many attempts with effects of their own (on_commit, transactional) a worker commits at once.
_TRANSACTIONS = 8
_FOR_EVER = 10 * 365 * 86400.0


class Session:
    """The life of one lease: register, work, hand back."""

    def __init__(self, house: House, database: Database, *, began: Callable[[Lease], None]) -> None:
        settings = house.settings
        self._house = house
        self._began = began
        self._settings = settings
        self._database = database
        self._loop = asyncio.get_running_loop()
        self._lease = Lease(settings.lease.total_seconds(), settings.margin)
        self._heartbeat = Heartbeat(database, self._lease, self._heard_on_thread)
        # A call that takes longer than a third of the lease is a connection that hangs.
        self._pump_line = Line(
            database, timeout=max(settings.lease.total_seconds() / 3, 5), lasting=settings.synchronous_commit
        )
        self._chore_line = Line(database, timeout=60)
        self._lanes = Lanes(settings, house.registry)
        self._reporter = Reporter(self._chore_line, self._lease)
        # Not the client's pool: a handler that holds a connection of one and waits for another of it would wait for ever.
        # No patience limit: an attempt waits for its turn, and its own time limit, if it has one, goes on.
        self._effects = Database(database.dsn, size=_TRANSACTIONS, patience=_FOR_EVER)
        self._pump = Pump(
            database=database,
            effects=self._effects,
            line=self._pump_line,
            lease=self._lease,
            lanes=self._lanes,
            house=house,
            family=Family(self._chore_line, house.registry),
            report=self._reporter.report,
            beat_now=self._heartbeat.beat_now,
        )
        self._alarm = Alarm(self._chore_line, self._pump.look)
        self._pump.suspended = self._alarm.wake
        self._schedules = Schedules(self._chore_line, self._pump.look)
        self._pump.scheduled = self._schedules.wake
        house.threads.freed = self._pump.look
        self._listener = Listener(
            database,
            self._lease.id,
            wake=self._wake,
            schedules=self._schedules.wake,
            stop=house.stopping.set,
            beat_now=self._heartbeat.beat_now,
        )

    @property
    def claims(self) -> Service:
        """The loop that claims."""
        return self._pump

    async def run(self) -> None:
        """Until the worker is told to stop. Raises LeaseLost if the lease is lost."""
        await self._lease.begin(self._database, self._settings, self._house.registry.names())
        self._heartbeat.start()
        self._began(self._lease)
        self._tell("started")
        services: list[Service] = [self._pump, self._reporter, self._alarm, self._schedules]
        services += [Rescue(self._chore_line, self._lease), Deadlines(self._chore_line)]
        services += household(self._chore_line, self._lanes, self._pump.look)
        services += [alarm_bell(self._chore_line, alert, self._pump.look) for alert in self._house.registry.alerts]
        if self._settings.listen:
            services.append(self._listener)
        running = [asyncio.create_task(service.run(), name=service.name) for service in services]
        running.append(asyncio.create_task(self._watch_trust(), name="trust"))
        stop = asyncio.create_task(self._stop_asked())
        change: Change = "lost"
        try:
            done, _ = await asyncio.wait([*running, stop], return_when=asyncio.FIRST_COMPLETED)
            if stop not in done:
                for task in done:
                    task.result()  # a service only ends by an error
            await self._finish(running)
            change = "stopped"
        except asyncio.CancelledError:
            # Whoever cancels the worker wants it to end now, and not that its tasks wait for the end of the lease.
            self._house.stopping.set()
            self._house.hurry.set()
            with contextlib.suppress(Exception):
                await self._finish(running)
                change = "stopped"
            raise
        finally:
            try:
                await self._give_up()
            finally:
                # Whatever interrupts the rest: a lease that nobody works under must not be renewed for ever.
                self._heartbeat.end()
                for task in (*running, stop):
                    task.cancel()
            await asyncio.gather(*running, stop, return_exceptions=True)
            await self._listener.close()
            await self._pump_line.close()
            await self._chore_line.close()
            await self._effects.close()
            self._tell(change)

    async def _stop_asked(self) -> None:
        idle = asyncio.create_task(self._pump.idle.wait())
        stop = asyncio.create_task(self._house.stopping.wait())
        try:
            await asyncio.wait([idle, stop], return_when=asyncio.FIRST_COMPLETED)
            self._house.stopping.set()
        finally:
            idle.cancel()
            stop.cancel()

    async def _watch_trust(self) -> None:
        """Ends, with LeaseLost, as soon as the lease may no longer be believed in."""
        while trust := self._lease.trust:  # noqa: ASYNC110  (the heartbeat's thread prolongs it)
            await asyncio.sleep(trust)
        raise LeaseLost("the lease was lost" if self._lease.lost else "the lease could not be renewed in time")

    # ── the end ──

    async def _finish(self, services: list[asyncio.Task[None]]) -> None:
        """Let running tasks finish within the grace time, hand the rest back, settle everything, leave."""
        self._pump.stop()
        lost = [task for task in services if task.get_name() in ("pump", "trust")]
        await self._drained(self._settings.grace.total_seconds(), lost)
        if self._pump.running:
            log.info("handing back %d tasks", len(self._pump.running))
            self._pump.cancel_all("release")
            await self._drained(_LAST_WORDS, lost, hurry=False)
        await self._pump_line.run(calls.leave(self._lease.id))
        self._lease.lost = True  # nothing may be believed from here on

    async def _drained(self, seconds: float, lost: list[asyncio.Task[None]], *, hurry: bool = True) -> None:
        """Until nothing runs and everything is settled; at most so long, and not when somebody is in a hurry."""
        hurried = asyncio.create_task(self._house.hurry.wait())
        try:
            async with asyncio.timeout(seconds):
                while self._pump.busy:
                    if hurry and hurried.done():
                        return
                    for task in lost:
                        if task.done():
                            task.result()
                    await asyncio.sleep(0.01)
        except TimeoutError:
            pass
        finally:
            hurried.cancel()

    async def _give_up(self) -> None:
        """Whatever still runs has lost its lease or its loop: stop it, and wait a moment."""
        attempts = self._pump.cancel_all("lost")
        if attempts:
            waiting = [asyncio.ensure_future(attempt.wait()) for attempt in attempts]
            await asyncio.wait(waiting, timeout=_LAST_WORDS)

    # ── what is said ──

    def _tell(self, change: Change) -> None:
        tell(self._house.listeners, WorkerChanged(str(self._lease.id), change))

    def _heard_on_thread(self, beat: Beat) -> None:
        try:
            self._loop.call_soon_threadsafe(self._heard, beat)
        except RuntimeError:  # the loop is closed, and nobody told us to end
            self._heartbeat.end()

    def _heard(self, beat: Beat) -> None:
        if not beat.alive:
            if not self._lease.lost:
                self._lease.lost = True
                self._pump.wake()
            return
        if beat.stop:
            self._house.stopping.set()
        for task_id in beat.cancelled:
            self._pump.cancel(task_id)
        if beat.freed:
            log.warning("%d tasks of a claim whose reply was lost went back unspent", len(beat.freed))

    def _wake(self, queue: str) -> None:
        """A hint that there is work in this queue; an empty name is any."""
        if not queue or self._lanes.learn(queue) or self._lanes.serves(queue):
            self._pump.look()
