"""Worker: leases tasks and runs their handlers until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import signal
from collections.abc import AsyncGenerator, Generator

from howdah import calls
from howdah.db.failures import passes
from howdah.db.pool import Database
from howdah.errors import LeaseLost
from howdah.installation import Installation
from howdah.kinds.batch import BatchKind
from howdah.kinds.registry import Registry
from howdah.telemetry import Listener as TelemetryListener
from howdah.worker.house import House
from howdah.worker.lease import Lease
from howdah.worker.probes import Probes, Reading
from howdah.worker.processes import check_importable
from howdah.worker.session import Session
from howdah.worker.settings import Settings
from howdah.worker.vitals import Vitals

log = logging.getLogger("howdah.worker")


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
        self._house = House(registry, settings, listeners)
        self._ready = asyncio.Event()
        self._runner: asyncio.Task[None] | None = None
        self._vitals = Vitals(self._house)
        self.lease: Lease | None = None
        self.health: str | None = None  # HOST:PORT it answers on, while it runs

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
        self._house.stopping.set()
        if now:
            self._house.hurry.set()

    async def run(self, *, signals: bool = False) -> None:
        """Work until stopped, or with until_idle until nothing is due.

        With `signals`, SIGTERM and SIGINT stop it, a second one at once. Raises CannotConnect or SchemaMismatch if the
        database is not there or does not fit at the start; later outages it survives.
        """
        for kind in self._house.registry:
            kind.check()
            for handler in kind.handlers():
                if handler.executor == "process":
                    check_importable(handler)
            if isinstance(kind, BatchKind) and (most := self._house.largest_batch(kind)) < kind.size:
                log.warning(
                    "%s takes %d tasks at once, and this worker never has more than %d: its batches are of %d at most; "
                    "a higher concurrency, or limit of queue %s, lets them fill",
                    kind.name, kind.size, most, most, kind.defaults.queue,
                )  # fmt: skip
        async with contextlib.AsyncExitStack() as stack:
            if signals:
                stack.enter_context(self._signals())
            probes = await stack.enter_async_context(self._probed())
            database = await self._installation.open()
            await self._declare(database)
            if probes is not None:
                probes.reading = Reading(database.dsn)
                stack.callback(asyncio.create_task(self._vitals.watch_schema(database)).cancel)
            registry = self._house.registry
            for close in registry.closing:
                stack.push_async_callback(close)
            stack.push_async_callback(self._house.threads.call, self._house.processes.close, {})
            for beside in registry.beside:
                await stack.enter_async_context(beside())
            await self._sessions(database)

    @contextlib.asynccontextmanager
    async def _probed(self) -> AsyncGenerator[Probes | None]:
        """Answer probes from before the database is there until after the last task has ended."""
        address = self._house.settings.health
        if address is None:
            yield None
            return
        # In a thread: to look a name up may take long.
        probes = await self._house.threads.call(Probes, {"address": address, "vitals": self._vitals})
        pulse = asyncio.create_task(self._vitals.pulse())
        self.health = str(probes.address)
        probes.start()
        log.info("probes: http://%s/livez, /readyz and /health", probes.address)
        try:
            yield probes
        finally:
            self.health = None
            pulse.cancel()
            await self._house.threads.call(probes.stop, {})

    async def _declare(self, database: Database) -> None:
        """Tell the database what this program has: kinds, schedules, limits, and the tasks that never end."""
        registry = self._house.registry
        await database.run(calls.declare(registry.declaration(), overwrite=True))
        await database.run(calls.declare_schedules(registry.names(), registry.timetables()))
        await database.run(calls.declare_limits(*registry.rules()))
        for task in registry.standing:
            await database.run(calls.stand(task))

    async def _sessions(self, database: Database) -> None:
        """One lease after the other, until it is told to stop."""
        failures = 0
        while not self._house.stopping.is_set():
            try:
                session = Session(self._house, database, began=self._began)
                self._vitals.claims = session.claims
                await session.run()
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

    def _began(self, lease: Lease) -> None:
        self.lease = self._vitals.lease = lease
        self._ready.set()

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._house.stopping.wait()
        except TimeoutError:
            pass

    @contextlib.contextmanager
    def _signals(self) -> Generator[None]:
        loop = asyncio.get_running_loop()
        wanted = (signal.SIGTERM, signal.SIGINT)

        def received(number: int) -> None:
            again = self._house.stopping.is_set()
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
