"""The listener: hints from the database, so that nobody waits for the next poll. Polling is right without it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import DictRow

from howdah.db.greeting import greet
from howdah.db.pool import Database
from howdah.worker.service import Service

log = logging.getLogger("howdah.worker")

_CHECK_EVERY = 10.0
_ANSWER_WITHIN = 5.0
_TRY_AGAIN = 60.0


class Listener(Service):
    """LISTEN on a connection of its own, which must prove every ten seconds that it still hears.

    The proof is a NOTIFY sent on another connection: behind a pooler, or on a connection whose other end is gone
    without a word, LISTEN succeeds and delivers nothing.
    """

    name = "listener"

    def __init__(
        self,
        database: Database,
        worker: UUID,
        *,
        wake: Callable[[str], None],
        schedules: Callable[[], None],
        stop: Callable[[], None],
        beat_now: Callable[[], None],
    ) -> None:
        super().__init__()
        self._database = database
        self._worker = str(worker)
        self._own = f"howdah_{worker.hex}"
        self._wake = wake
        self._schedules = schedules
        self._stop = stop
        self._beat_now = beat_now
        self._conn: AsyncConnection[DictRow] | None = None
        self._warned = False
        self._silences = 0

    async def turn(self) -> float | None:
        if self._conn is None:
            conn = await self._database.connect()
            if not await greet(conn):
                await conn.close()
                return self._deaf("a connection pooler is between us and the server")
            self._conn = conn
            await conn.execute("listen howdah")
            await conn.execute(f"listen {self._own}".encode())
            # Whatever happened before we listened.
            self._beat_now()
            self._schedules()
            self._wake("")
        try:
            hears = await self._hear(self._conn)
        except BaseException:
            await self.close()
            raise
        if hears:
            self._silences = 0
            return 0
        await self.close()
        self._silences += 1
        # Once: the other end of this connection is gone. Again, on a fresh one: something between us swallows them.
        return 0 if self._silences == 1 else self._deaf("notifications do not arrive")

    async def _hear(self, conn: AsyncConnection[DictRow]) -> bool:
        """Listen until it is time for the proof, ask for it, and say whether it came."""
        until = time.monotonic() + _CHECK_EVERY
        while (left := until - time.monotonic()) > 0:
            async for notice in conn.notifies(timeout=left, stop_after=1):
                self._heard(notice.channel, notice.payload)
        async with self._database.connection() as other:
            await other.execute(f"notify {self._own}".encode())
        until = time.monotonic() + _ANSWER_WITHIN
        while (left := until - time.monotonic()) > 0:
            async for notice in conn.notifies(timeout=left, stop_after=1):
                if notice.channel == self._own:
                    return True
                self._heard(notice.channel, notice.payload)
        return False

    def _heard(self, channel: str, payload: str) -> None:
        if channel != "howdah":
            return
        word, _, rest = payload.partition(" ")
        match word:
            case "wake":
                self._wake(rest)
            case "stop":
                if rest in ("", self._worker):
                    self._stop()
            case "beat":
                if rest == self._worker:
                    self._beat_now()
            case "schedules":
                self._schedules()
            case _:
                log.debug("unknown notification %.80r", payload)

    def _deaf(self, reason: str) -> float:
        if not self._warned:
            self._warned = True
            log.warning("LISTEN does not work here (%s): this worker polls", reason)
        return _TRY_AGAIN

    async def close(self) -> None:
        conn, self._conn = self._conn, None
        if conn is not None:
            await conn.close()
