"""Service: one named loop. A worker is a list of them."""

from __future__ import annotations

import asyncio
import logging
import random
import time

import psycopg

from howdah.db.failures import passes, without_password
from howdah.errors import HowdahError, LeaseLost

log = logging.getLogger("howdah.worker")


class Service:
    """`turn` does one round of work and returns how many seconds to rest, None for until woken; `wake` ends the rest.

    With no rest the next turn follows at once: a turn that asks for none has waited for the database, and so let others in.

    A loop survives the database: what fails there is said and tried again, slower and slower, with jitter. A lost lease
    goes through at once, and a mistake in howdah itself when it repeats: a worker that cannot work must not look alive.
    """

    name = "service"

    def __init__(self) -> None:
        self._bell = asyncio.Event()
        self._failures = 0
        self._due: float | None = None  # since when a turn is under way, or failing

    @property
    def overdue(self) -> float:
        """Seconds since its turn began and has not ended well; 0 while it rests. Other threads may ask."""
        due = self._due
        return 0.0 if due is None else time.monotonic() - due

    async def turn(self) -> float | None:
        raise NotImplementedError

    def wake(self) -> None:
        self._bell.set()

    async def run(self) -> None:
        while True:
            if self._due is None:
                self._due = time.monotonic()
            try:
                rest = await self.turn()
            except LeaseLost:
                raise
            except Exception as error:
                await self.failed(error)
                continue
            if self._failures:
                log.info("%s works again after %d failures", self.name, self._failures)
                self._failures = 0
            self._due = None
            await self._rest(rest)

    async def failed(self, error: Exception) -> None:
        """Say so, and wait before the next try. Raises what is no fault of the database and came three times in a row."""
        self._failures += 1
        if self._failures >= 3 and not passes(error) and not isinstance(error, (psycopg.Error, HowdahError)):
            raise error
        delay = min(0.1 * 2 ** min(self._failures, 6), 5) * (0.5 + random.random())
        if passes(error):
            level = logging.WARNING if self._failures in (1, 10) else logging.DEBUG
            said = without_password(" ".join(str(error).split()))
            log.log(level, "%s: %s: %s; trying again", self.name, type(error).__name__, said)
        else:
            log.error("%s failed; trying again", self.name, exc_info=error)
        await asyncio.sleep(delay)

    async def _rest(self, seconds: float | None) -> None:
        if not self._bell.is_set() and (seconds is None or seconds > 0):
            try:
                async with asyncio.timeout(seconds):
                    await self._bell.wait()
            except TimeoutError:
                pass
        self._bell.clear()
