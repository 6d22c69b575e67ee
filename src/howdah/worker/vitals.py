"""What there is to know of a worker from outside of its event loop: does it turn, and can it take tasks?"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from howdah.db.pool import Database
from howdah.durations import in_words
from howdah.errors import SchemaMismatch
from howdah.migrate import check
from howdah.worker.house import House
from howdah.worker.lease import Lease, awake_clock
from howdah.worker.service import Service

log = logging.getLogger("howdah.worker")

# Seconds after which the event loop counts as blocked; how often it shows that it is not.
PATIENCE = 10.0
_PULSE = 0.25
# Seconds between two looks at the version of the tables.
SCHEMA_EVERY = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a probe is told: each check, with None if it passes and else with what is wrong."""

    checks: dict[str, str | None]

    @property
    def passes(self) -> bool:
        return not any(self.checks.values())


class Vitals:
    """Read by other threads; written by the worker."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._pulse = awake_clock()
        self._schema: str | None = None
        self.lease: Lease | None = None
        self.claims: Service | None = None

    # ── what is asked ──

    def alive(self) -> Answer:
        """Whether the event loop turns: if not, only a restart helps."""
        return Answer({"event loop": self._loop()})

    def ready(self) -> Answer:
        """Whether it takes tasks."""
        return Answer(
            {
                "event loop": self._loop(),
                "database": self._database(),
                "schema": self._schema,
                "lease": self._lease(),
                "claims": self._claims(),
                "draining": "it was told to stop" if self._house.stopping.is_set() else None,
            }
        )

    def _loop(self) -> str | None:
        silent = awake_clock() - self._pulse
        return f"it is blocked for {in_words(silent)}: some handler does not await" if silent > PATIENCE else None

    def _database(self) -> str | None:
        """The heartbeat asks three times in a lease: two in a row that have no answer are no accident."""
        lease = self.lease
        if lease is None:
            return "it has not answered yet"
        return f"it has not answered for {in_words(lease.silence)}" if lease.silence > lease.ttl * 0.7 else None

    def _lease(self) -> str | None:
        lease = self.lease
        if lease is None:
            return "there is none yet"
        return None if lease.trust else "it was lost; the worker starts over under a new one"

    def _claims(self) -> str | None:
        if self.claims is None or self.lease is None:
            return "they have not begun yet"
        overdue = self.claims.overdue
        return (
            f"nothing was asked for since {in_words(overdue)}" if overdue > max(PATIENCE, self.lease.ttl / 2) else None
        )

    # ── what is written ──

    async def pulse(self) -> None:
        """For as long as the loop turns."""
        while True:
            self._pulse = awake_clock()
            await asyncio.sleep(_PULSE)

    async def watch_schema(self, database: Database) -> None:
        """Somebody may migrate the tables away from below us."""
        while True:
            await asyncio.sleep(SCHEMA_EVERY)
            try:
                # Not one of the loop's threads, which are waited for at the end.
                await self._house.threads.call(check, {"database": database})
                self._schema = None
            except SchemaMismatch as error:
                self._schema = error.message
            except Exception as error:  # the database is away, or refuses: the other checks tell
                log.debug("schema: %s", error)
