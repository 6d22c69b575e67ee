"""Connections to lend: a few, kept open between calls.

Not psycopg_pool. Its async pool works with tasks in the background that swallow their cancellation, so a program that
ends without closing it may hang in asyncio.run; after a connection was lost it sleeps for a second; and lending costs
it more than the rest of a small call. Nothing here runs in the background: whoever borrows does what has to be done.
"""

from __future__ import annotations

import asyncio
import logging
import select
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Generic, TypeVar
from weakref import WeakSet

import psycopg
from psycopg import AsyncConnection, AsyncRawCursor, Connection, RawCursor
from psycopg.pq import TransactionStatus
from psycopg.rows import DictRow

from howdah.errors import CannotConnect

log = logging.getLogger("howdah.db")

# Seconds: how long a spare connection stays unused, and how long any stays open, so that the load spreads after a
# fail-over and memory does not grow on the server.
_SPARE = 600
_AGE = 3600


class LentAsync(AsyncConnection[DictRow]):
    """A connection to lend. Its cursor is used again: a new one for every call would cost a tenth of the call."""

    cursor_at_hand: AsyncRawCursor[DictRow] | None = None
    made: float = 0
    used: float = 0


class LentSync(Connection[DictRow]):
    """As LentAsync, blocking."""

    cursor_at_hand: RawCursor[DictRow] | None = None
    made: float = 0
    used: float = 0


C = TypeVar("C", LentAsync, LentSync)


class _Shelf(Generic[C]):
    """What both pools know: the idle connections, the last used on top."""

    def __init__(self, size: int, patience: float) -> None:
        self.size = size
        self.patience = patience
        self.closed = False
        self.idle: list[C] = []
        self.known: WeakSet[C] = WeakSet()
        self._reached = False

    def made(self, conn: C) -> C:
        conn.made = time.monotonic()
        self.known.add(conn)
        self._reached = True
        return conn

    def pop(self) -> C | None:
        try:
            return self.idle.pop()
        except IndexError:
            return None

    def put(self, conn: C) -> C | None:
        """Keep it, if it can be lent again; returns the one to close, if there is one."""
        conn.used = time.monotonic()
        usable = not conn.closed and conn.pgconn.transaction_status == TransactionStatus.IDLE
        if self.closed or not usable or conn.used - conn.made > _AGE:
            return conn
        self.idle.append(conn)
        if len(self.idle) > 1 and conn.used - self.idle[0].used > _SPARE:
            return self.idle.pop(0)
        return None

    def rests(self) -> Generator[float]:
        """How long to wait before each further try. None for a database never reached: that is a wrong address."""
        rest, until = 0.05, time.monotonic() + self.patience
        while self._reached and time.monotonic() + rest < until:
            yield rest
            rest = min(rest * 2, 1)

    def all_in_use(self) -> CannotConnect:
        return CannotConnect(
            f"all {self.size} connections of howdah's pool were in use for {self.patience:g} s",
            hint="Leave app.transaction() sooner, and inside it pass connection= to what you call",
        )


class AsyncPool(_Shelf[LentAsync]):
    """The connections of one event loop. `connect` makes one; a database that was there is waited for when it is gone."""

    def __init__(self, connect: Callable[[], Awaitable[LentAsync]], *, size: int, patience: float) -> None:
        super().__init__(size, patience)
        self._connect = connect
        self._turns = asyncio.Semaphore(size)

    @asynccontextmanager
    async def lend(self) -> AsyncGenerator[LentAsync]:
        """Raises CannotConnect."""
        conn = await self.take()
        try:
            yield conn
        finally:
            await self.give_back(conn)

    async def take(self) -> LentAsync:
        """For those for whom a context manager is too slow: give it back whatever happens."""
        try:
            if self._turns.locked():
                async with asyncio.timeout(self.patience):
                    await self._turns.acquire()
            else:
                await self._turns.acquire()
        except TimeoutError:
            raise self.all_in_use() from None
        try:
            while (conn := self.pop()) is not None:
                if await _is_alive(conn):
                    return conn
            return self.made(await self._connected())
        except BaseException:
            self._turns.release()
            raise

    async def give_back(self, conn: LentAsync) -> None:
        try:
            if conn.pgconn.transaction_status in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
                await conn.rollback()
        except psycopg.Error:
            pass  # it is closed below
        finally:
            if (old := self.put(conn)) is not None:
                await old.close()
            self._turns.release()

    async def _connected(self) -> LentAsync:
        try:
            return await self._connect()
        except CannotConnect as error:
            last = error
        for rest in self.rests():
            await asyncio.sleep(rest)
            try:
                return await self._connect()
            except CannotConnect as error:
                last = error
        raise last

    async def close(self) -> None:
        """What is lent is closed when it comes back."""
        self.closed = True
        while (conn := self.pop()) is not None:
            await conn.close()

    def hang_up(self) -> None:
        """Without the loop, which is closed: nobody will give anything back."""
        self.closed = True
        for conn in self.known:
            conn.pgconn.finish()


class SyncPool(_Shelf[LentSync]):
    """As AsyncPool, for threads."""

    def __init__(self, connect: Callable[[], LentSync], *, size: int, patience: float) -> None:
        super().__init__(size, patience)
        self._connect = connect
        self._turns = threading.Semaphore(size)

    @contextmanager
    def lend(self) -> Generator[LentSync]:
        """Raises CannotConnect."""
        conn = self.take()
        try:
            yield conn
        finally:
            self.give_back(conn)

    def take(self) -> LentSync:
        if not self._turns.acquire(timeout=self.patience):
            raise self.all_in_use()
        try:
            while (conn := self.pop()) is not None:
                if _is_alive_sync(conn):
                    return conn
            return self.made(self._connected())
        except BaseException:
            self._turns.release()
            raise

    def give_back(self, conn: LentSync) -> None:
        try:
            if conn.pgconn.transaction_status in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
                conn.rollback()
        except psycopg.Error:
            pass
        finally:
            if (old := self.put(conn)) is not None:
                old.close()
            self._turns.release()

    def _connected(self) -> LentSync:
        try:
            return self._connect()
        except CannotConnect as error:
            last = error
        for rest in self.rests():
            time.sleep(rest)
            try:
                return self._connect()
            except CannotConnect as error:
                last = error
        raise last

    def close(self) -> None:
        self.closed = True
        while (conn := self.pop()) is not None:
            conn.close()


def _has_news(conn: LentAsync | LentSync) -> bool:
    """Whether an idle connection has something to read: the server's farewell, mostly. Costs no round trip."""
    if not hasattr(select, "poll"):  # Windows: ask the server every time
        return True
    poll = select.poll()
    poll.register(conn.pgconn.socket, select.POLLIN)
    return bool(poll.poll(0))


async def _is_alive(conn: LentAsync) -> bool:
    """Whether the connection can be used; it is closed if not."""
    alive = not _has_news(conn)
    if not alive:
        try:
            await conn.execute(b"")
            alive = True
        except psycopg.Error:
            pass
        finally:
            if not alive:
                await conn.close()
    return alive


def _is_alive_sync(conn: LentSync) -> bool:
    """As `_is_alive`, blocking."""
    alive = not _has_news(conn)
    if not alive:
        try:
            conn.execute(b"")
            alive = True
        except psycopg.Error:
            pass
        finally:
            if not alive:
                conn.close()
    return alive
