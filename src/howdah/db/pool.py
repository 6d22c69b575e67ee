"""howdah's own connections: psycopg, async and sync, one pool each, opened at first use."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar
from weakref import WeakSet

import psycopg
from psycopg import AsyncConnection, AsyncRawCursor, Connection, RawCursor
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import DictRow, dict_row

from howdah.calls import Call, NewTask
from howdah.db import copying
from howdah.db.failures import cannot_connect, check_dsn, readable
from howdah.db.greeting import greet, greet_sync
from howdah.db.lending import AsyncPool, LentAsync, LentSync, SyncPool
from howdah.db.statement import query

log = logging.getLogger("howdah.db")
R = TypeVar("R")

# Noticed within half a minute: a peer that vanished without a word. GSS is off: it breaks after fork and asks the network.
_KEEPALIVE: dict[str, Any] = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
    "gssencmode": "disable",
    "application_name": "howdah",
}


# An answer of more rows is not kept in memory until the next call.
_FEW = 100

_databases: WeakSet[Database] = WeakSet()
# Kept, so that nothing in a child ever tidies up what is its parent's.
_INHERITED: list[object] = []


def _start_over_after_fork() -> None:
    for database in list(_databases):
        database.start_over()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_over_after_fork)


class Database:
    """One database, by its DSN. Safe to share between threads (the sync half) and within an event loop (the async half)."""

    def __init__(self, dsn: str, *, size: int = 8, patience: float = 30) -> None:
        self.dsn = check_dsn(dsn)
        self.size = size
        self.patience = patience
        self._pools: dict[asyncio.AbstractEventLoop, AsyncPool] = {}
        self._sync_pool: SyncPool | None = None
        self._lock = threading.Lock()
        _databases.add(self)

    # ── connections ──

    def options(self, **more: Any) -> dict[str, Any]:
        """Arguments for psycopg's connect: our keep-alive settings, unless the DSN says otherwise."""
        given = conninfo_to_dict(self.dsn)
        ours = {name: value for name, value in _KEEPALIVE.items() if name not in given}
        return ours | {"autocommit": True, "row_factory": dict_row} | more

    async def connect(self, **options: Any) -> AsyncConnection[DictRow]:
        """A connection of its own, outside the pool. Raises CannotConnect."""
        try:
            return await AsyncConnection[DictRow].connect(self.dsn, **self.options(**options))
        except psycopg.OperationalError as error:
            raise cannot_connect(self.dsn, error) from error

    def connect_sync(self, **options: Any) -> Connection[DictRow]:
        """As `connect`, blocking."""
        try:
            return Connection[DictRow].connect(self.dsn, **self.options(**options))
        except psycopg.OperationalError as error:
            raise cannot_connect(self.dsn, error) from error

    def connection(self) -> AbstractAsyncContextManager[AsyncConnection[DictRow]]:
        """A connection of the pool, in autocommit. Raises CannotConnect if there is none for `patience` seconds."""
        return self._pool().lend()

    def _pool(self) -> AsyncPool:
        loop = asyncio.get_running_loop()
        pool = self._pools.get(loop)
        if pool is None:
            self._hang_up()
            pool = self._pools[loop] = AsyncPool(self._lendable, size=self.size, patience=self.patience)
        return pool

    def _pool_sync(self) -> SyncPool:
        pool = self._sync_pool
        if pool is None:
            with self._lock:
                pool = self._sync_pool = self._sync_pool or SyncPool(
                    self._lendable_sync, size=self.size, patience=self.patience
                )
        return pool

    async def _lendable(self) -> LentAsync:
        conn: LentAsync | None = None
        try:
            conn = await LentAsync.connect(self.dsn, **self.options())
            await greet(conn)
            return conn
        except BaseException as error:
            if conn is not None:
                await conn.close()
            if isinstance(error, psycopg.OperationalError):
                raise cannot_connect(self.dsn, error) from error
            raise

    def _lendable_sync(self) -> LentSync:
        conn: LentSync | None = None
        try:
            conn = LentSync.connect(self.dsn, **self.options())
            greet_sync(conn)
            return conn
        except BaseException as error:
            if conn is not None:
                conn.close()
            if isinstance(error, psycopg.OperationalError):
                raise cannot_connect(self.dsn, error) from error
            raise

    def _hang_up(self) -> None:
        """The pools of loops that are over."""
        for loop in list(self._pools):
            if loop.is_closed() and (pool := self._pools.pop(loop, None)) is not None:
                pool.hang_up()

    async def close(self) -> None:
        """Close the pool of this loop, and the sync one. Using the database again opens them again."""
        pool = self._pools.pop(asyncio.get_running_loop(), None)
        if pool is not None:
            await pool.close()
        await asyncio.to_thread(self.close_sync)

    def close_sync(self) -> None:
        """Close the sync pool, and what loops that are over have left."""
        with self._lock:
            pool, self._sync_pool = self._sync_pool, None
            self._hang_up()
        if pool is not None:
            pool.close()

    def start_over(self) -> None:
        """In a forked child: the connections are the parent's."""
        _INHERITED.extend((self._pools, self._sync_pool))
        self._pools, self._sync_pool, self._lock = {}, None, threading.Lock()

    # ── calls ──

    async def run(self, call: Call[R]) -> R:
        """Make this call on a connection of the pool."""
        pool = self._pool()
        conn = await pool.take()
        try:
            cursor, conn.cursor_at_hand = conn.cursor_at_hand, None
            cursor = cursor or AsyncRawCursor(conn, row_factory=dict_row)
            with readable():
                await cursor.execute(*query(call))
                answer = call.read(await cursor.fetchall())
            if cursor.rowcount <= _FEW:
                conn.cursor_at_hand = cursor
            return answer
        finally:
            await pool.give_back(conn)

    def run_sync(self, call: Call[R]) -> R:
        """As `run`, blocking."""
        pool = self._pool_sync()
        conn = pool.take()
        try:
            cursor, conn.cursor_at_hand = conn.cursor_at_hand, None
            cursor = cursor or RawCursor(conn, row_factory=dict_row)
            with readable():
                cursor.execute(*query(call))
                answer = call.read(cursor.fetchall())
            if cursor.rowcount <= _FEW:
                conn.cursor_at_hand = cursor
            return answer
        finally:
            pool.give_back(conn)

    async def copy(self, task: NewTask, payloads: Sequence[str]) -> list[int]:
        """Write many tasks of one kind with COPY, in one transaction. Returns their ids in order."""
        async with self.connection() as conn, conn.transaction():
            return await copying.copy(conn, task, payloads)

    def copy_sync(self, task: NewTask, payloads: Sequence[str]) -> list[int]:
        """As `copy`, blocking."""
        with self._pool_sync().lend() as conn, conn.transaction():
            return copying.copy_sync(conn, task, payloads)


# The caller's connection may make cursors of another kind, with other placeholders: these are ours.
async def run_on(conn: AsyncConnection[Any], call: Call[R]) -> R:
    """Make this call on this connection, in whatever transaction it is in."""
    with readable():
        cursor = AsyncRawCursor(conn, row_factory=dict_row)
        await cursor.execute(*query(call))
        return call.read(await cursor.fetchall())


def run_on_sync(conn: Connection[Any], call: Call[R]) -> R:
    """As `run_on`, blocking."""
    with readable():
        cursor = RawCursor(conn, row_factory=dict_row)
        cursor.execute(*query(call))
        return call.read(cursor.fetchall())
