"""The lease of a worker: a random id that owns tasks while it is renewed, by a thread and a connection of its own.

Two clocks, never mixed: the database's decides when the lease is over; the worker's own, which also counts while the
machine sleeps, decides how long the worker still believes in it, from before the request left.
"""

from __future__ import annotations

import logging
import os
import random
import socket
import threading
import time
from collections.abc import Callable
from uuid import UUID, uuid4

from psycopg import Connection
from psycopg.rows import DictRow

from howdah import calls
from howdah.calls import Beat
from howdah.db.failures import without_password
from howdah.db.greeting import greet_sync
from howdah.db.pool import Database, run_on_sync
from howdah.migrate import release
from howdah.worker.settings import Settings

log = logging.getLogger("howdah.worker")


def awake_clock() -> float:
    """Seconds on a clock that nobody sets and that does not stop while the machine is suspended."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


class Lease:
    """What this worker owns under one id, and until when it may believe so.

    `held` is what it has, `settled` the highest claim number of which all replies are in or given up: `held` is always
    brought up to date before `settled`, and read after it, so that nothing claimed is missing from it.
    """

    def __init__(self, ttl: float, margin: float) -> None:
        self.id: UUID = uuid4()
        self.ttl = ttl
        self.margin = margin
        self.held: dict[int, int] = {}
        self.settled = 0
        self.lost = False
        self._trusted_until = 0.0
        self._seq = 0

    @property
    def trust(self) -> float:
        """Seconds for which this worker may still believe in its lease; 0 when it may not."""
        return 0.0 if self.lost else max(self._trusted_until - awake_clock(), 0.0)

    @property
    def silence(self) -> float:
        """Seconds since the last request that the database answered."""
        return awake_clock() - (self._trusted_until + self.margin - self.ttl)

    def renewed(self, asked_at: float) -> None:
        """The database renewed the lease, at some time after `asked_at`."""
        self._trusted_until = max(self._trusted_until, asked_at + self.ttl - self.margin)

    def next_seq(self) -> int:
        """The number of a new claim request."""
        self._seq += 1
        return self._seq

    def settle(self, seq: int) -> None:
        """The reply to this request is in, or will be thrown away. One request is under way at a time."""
        self.settled = seq

    async def begin(self, database: Database, settings: Settings, kinds: list[str]) -> None:
        """Register under this id."""
        asked_at = awake_clock()
        await database.run(
            calls.register(
                self.id,
                ttl=settings.lease,
                host=socket.gethostname(),
                pid=os.getpid(),
                version=release(),
                queues=settings.describe_queues(),
                kinds=kinds,
                concurrency=settings.concurrency,
            )
        )
        self.renewed(asked_at)


class Heartbeat(threading.Thread):
    """Renews a lease every third of it, until told to end. `heard` is called with each answer, on this thread.

    A thread, so that a handler that blocks the loop does not cost the lease; a connection, so that none that blocks the
    pool does.
    """

    def __init__(self, database: Database, lease: Lease, heard: Callable[[Beat], None]) -> None:
        super().__init__(name="howdah-heartbeat", daemon=True)
        self._database = database
        self._lease = lease
        self._heard = heard
        self._interval = lease.ttl / 3
        self._wanted = threading.Event()
        self._ended = False
        self._conn: Connection[DictRow] | None = None

    def beat_now(self) -> None:
        """Do not wait for the next third."""
        self._wanted.set()

    def end(self) -> None:
        """Stop, also if the connection hangs. Does not wait."""
        self._ended = True
        self._wanted.set()
        conn = self._conn
        if conn is not None:
            _shut(conn)

    def run(self) -> None:
        failures = 0
        while True:
            wait = (
                self._interval
                if not failures
                else min(0.05 * 2**failures, self._interval / 3) * (0.5 + random.random())
            )
            self._wanted.wait(wait)
            self._wanted.clear()
            if self._ended:
                break
            try:
                answer = self._beat()
                failures = 0
            except Exception as error:
                failures += 1
                if self._ended:
                    break
                if failures == 1:
                    log.warning("heartbeat: %s; trying again", without_password(" ".join(str(error).split())))
                self._hang_up()
                continue
            self._heard(answer)
            if not answer.alive:
                break
        self._hang_up()

    def _beat(self) -> Beat:
        if self._conn is None:
            timeout = max(2, int(self._lease.ttl / 3))
            self._conn = self._database.connect_sync(connect_timeout=timeout, prepare_threshold=None)
            greet_sync(self._conn)
        # A server that hangs without closing the connection would hold this thread for ever.
        alarm = threading.Timer(self._lease.ttl / 3, _shut, [self._conn])
        alarm.daemon = True
        alarm.start()
        try:
            settled = self._lease.settled
            held = list(self._lease.held.items())
            asked_at = awake_clock()
            answer = run_on_sync(self._conn, calls.heartbeat(self._lease.id, held, settled))
        finally:
            alarm.cancel()
        if answer.alive:
            self._lease.renewed(asked_at)
        return answer

    def _hang_up(self) -> None:
        conn, self._conn = self._conn, None
        if conn is not None:
            conn.close()


def _shut(conn: Connection[DictRow]) -> None:
    """End whatever this connection waits for, from another thread."""
    try:
        descriptor = os.dup(conn.pgconn.socket)
        with socket.socket(fileno=descriptor) as borrowed:
            borrowed.shutdown(socket.SHUT_RDWR)
    except Exception:  # it is closed already: all the better
        pass
