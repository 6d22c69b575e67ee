"""Worker: leases tasks and runs their handlers until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import signal
from collections.abc import Iterator
from typing import Any

from howdah import calls
from howdah.calls import Beat
from howdah.db.failures import passes
from howdah.db.line import Line
from howdah.db.pool import Database
from howdah.errors import LeaseLost
from howdah.installation import Installation
from howdah.kinds.function import FunctionKind
from howdah.kinds.registry import Registry
from howdah.telemetry import Listener as TelemetryListener
from howdah.telemetry import WorkerChanged, tell
from howdah.worker.chores import Reporter, Rescue, household
from howdah.worker.lanes import Lanes
from howdah.worker.lease import Heartbeat, Lease
from howdah.worker.listener import Listener
from howdah.worker.processes import Processes, check_importable
from howdah.worker.pump import Pump
from howdah.worker.service import Service
from howdah.worker.settings import Settings
from howdah.worker.threads import Threads

log = logging.getLogger("howdah.worker")

# How long handlers may take to notice that they were cancelled.
_LAST_WORDS = 5.0


class Worker:
    """Made by `App.worker`. `await worker.run()`, or `async with worker:` to run it beside other code.

    Its stop has three ways: `stop()` from here, SIGTERM or SIGINT with `run(signals=True)`, and from the database
    (`SELECT howdah.stop_workers()`, `NOTIFY howdah, 'stop'`). Running tasks may finish within the grace time; then they
    are cancelled and handed back without spending an attempt.
    """

    def __init__(
        self,
        installation: Installation,
        registry: Registry,
        settings: Settings,
        listeners: list[TelemetryListener],
    ) -> None:
        self._installation = installation
        self._registry = registry
        self._settings = settings
        self._listeners = listeners
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._ready = asyncio.Event()
        self._runner: asyncio.Task[None] | None = None
        self._threads = Threads()
        self._processes = Processes(settings.processes, self._threads)
        self.lease: Lease | None = None

    # ── lifetime ──

    async def __aenter__(self) -> Worker:
        self._runner = asyncio.create_task(self.run())
        ready = asyncio.create_task(self._ready.wait())
        try:
            await asyncio.wait([ready, self._runner], return_when=asyncio.FIRST_COMPLETED)
        except BaseException:
            self.stop(now=True)
            raise
        finally:
            ready.cancel()
        if self._runner.done():
            await self._runner  # why it could not start
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop()
        if self._runner is not None:
            await self._runner

    def stop(self, *, now: bool = False) -> None:
        """Finish what runs and end; with `now`, hand it back at once."""
        self._stopping.set()
        if now:
            self._hurry.set()

    async def run(self, *, signals: bool = False) -> None:
        """Work until stopped, or with until_idle until nothing is due.

        With `signals`, SIGTERM and SIGINT stop it, a second one at once. Raises CannotConnect or SchemaMismatch if the
        database is not there or does not fit at the start; later outages it survives.
        """
        for kind in self._registry:
            if kind.executor == "process" and isinstance(kind, FunctionKind):
                check_importable(kind)  # pyright: ignore[reportUnknownArgumentType]
        with self._signals() if signals else contextlib.nullcontext():
            database = await self._installation.open()
            await database.run(calls.declare(self._registry.declaration(), overwrite=True))
            try:
                failures = 0
                while not self._stopping.is_set():
                    try:
                        await Session(self, database).run()
                        failures = 0
                    except LeaseLost as error:
                        log.warning("%s; starting over under a new id", error.message)
                    except Exception as error:
                        if not passes(error):
                            raise
                        failures += 1
                        log.log(
                            logging.WARNING if failures == 1 else logging.DEBUG,
                            "cannot begin a lease: %s; trying again",
                            error,
                        )
                        await self._pause(min(0.1 * 2 ** min(failures, 6), 5) * (0.5 + random.random()))
            finally:
                await asyncio.to_thread(self._processes.close)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            pass

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        wanted = (signal.SIGTERM, signal.SIGINT)

        def received(number: int) -> None:
            again = self._stopping.is_set()
            log.info("%s: %s", signal.Signals(number).name, "stopping now" if again else "finishing what runs")
            self.stop(now=again)

        try:
            for number in wanted:
                loop.add_signal_handler(number, received, number)
        except NotImplementedError:  # Windows
            for number in wanted:
                signal.signal(number, lambda number, _: loop.call_soon_threadsafe(received, number))
            yield
            return
        try:
            yield
        finally:
            for number in wanted:
                loop.remove_signal_handler(number)

    # ── for the session ──

    @property
    def parts(self) -> dict[str, Any]:
        """What every session of this worker shares."""
        return {
            "registry": self._registry,
            "settings": self._settings,
            "threads": self._threads,
            "processes": self._processes,
        }

    @property
    def settings(self) -> Settings:
        return self._settings

    @property
    def registry(self) -> Registry:
        return self._registry

    def began(self, lease: Lease) -> None:
        self.lease = lease
        self._ready.set()
        tell(self._listeners, WorkerChanged(str(lease.id), "started"))

    def ended(self, lease: Lease, change: str) -> None:
        tell(self._listeners, WorkerChanged(str(lease.id), "lost" if change == "lost" else "stopped"))

    @property
    def listeners(self) -> list[TelemetryListener]:
        return self._listeners

    async def stop_wanted(self) -> None:
        await self._stopping.wait()

    async def hurry_wanted(self) -> None:
        await self._hurry.wait()


class Session:
    """The life of one lease: register, work, hand back."""

    def __init__(self, worker: Worker, database: Database) -> None:
        settings = worker.settings
        self._worker = worker
        self._settings = settings
        self._database = database
        self._loop = asyncio.get_running_loop()
        self._lease = Lease(settings.lease.total_seconds(), settings.margin)
        self._heartbeat = Heartbeat(database, self._lease, self._heard_on_thread)
        # A call that takes longer than a third of the lease is a connection that hangs.
        self._pump_line = Line(database, timeout=max(settings.lease.total_seconds() / 3, 5))
        self._chore_line = Line(database, timeout=60)
        lanes = Lanes(settings, worker.registry)
        self._lanes = lanes
        self._reporter = Reporter(self._chore_line, self._lease)
        self._pump = Pump(
            database=database,
            line=self._pump_line,
            lease=self._lease,
            lanes=lanes,
            report=self._reporter.report,
            beat_now=self._heartbeat.beat_now,
            listeners=worker.listeners,
            **worker.parts,
        )
        worker.parts["threads"].freed = self._pump.wake
        self._listener = Listener(
            database, self._lease.id, wake=self._wake, stop=worker.stop, beat_now=self._heartbeat.beat_now
        )

    async def run(self) -> None:
        """Until the worker is told to stop. Raises LeaseLost if the lease is lost."""
        await self._lease.begin(self._database, self._settings, self._worker.registry.names())
        self._heartbeat.start()
        self._worker.began(self._lease)
        services: list[Service] = [self._pump, self._reporter, Rescue(self._chore_line, self._lease)]
        services += household(self._chore_line, self._lanes, self._pump.wake)
        if self._settings.listen:
            services.append(self._listener)
        running = [asyncio.create_task(service.run(), name=service.name) for service in services]
        running.append(asyncio.create_task(self._watch_trust(), name="trust"))
        stop = asyncio.create_task(self._stop_asked())
        change = "lost"
        try:
            done, _ = await asyncio.wait([*running, stop], return_when=asyncio.FIRST_COMPLETED)
            if stop not in done:
                for task in done:
                    task.result()  # a service only ends by an error
            await self._finish(running)
            change = "stopped"
        finally:
            await self._give_up()
            for task in (*running, stop):
                task.cancel()
            await asyncio.gather(*running, stop, return_exceptions=True)
            self._heartbeat.end()
            await self._listener.close()
            await self._pump_line.close()
            await self._chore_line.close()
            self._worker.ended(self._lease, change)

    async def _stop_asked(self) -> None:
        idle = asyncio.create_task(self._pump.idle.wait())
        stop = asyncio.create_task(self._worker.stop_wanted())
        try:
            await asyncio.wait([idle, stop], return_when=asyncio.FIRST_COMPLETED)
            self._worker.stop()
        finally:
            idle.cancel()
            stop.cancel()

    async def _watch_trust(self) -> None:
        """Ends, with LeaseLost, as soon as the lease may no longer be believed in."""
        while trust := self._lease.trust:
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
        hurried = asyncio.create_task(self._worker.hurry_wanted())
        try:
            async with asyncio.timeout(seconds):
                while self._pump.running or self._pump.unsettled:
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

    # ── what the others say ──

    def _heard_on_thread(self, beat: Beat) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._heard, beat)

    def _heard(self, beat: Beat) -> None:
        if not beat.alive:
            if not self._lease.lost:
                self._lease.lost = True
                self._pump.wake()
            return
        if beat.stop:
            self._worker.stop()
        for task_id in beat.cancelled:
            self._pump.cancel(task_id)
        if beat.freed:
            log.warning("%d tasks of a claim whose reply was lost went back unspent", len(beat.freed))

    def _wake(self, queue: str) -> None:
        """A hint that there is work in this queue; an empty name is any."""
        if not queue or self._lanes.learn(queue) or self._lanes.serves(queue):
            self._pump.wake()
