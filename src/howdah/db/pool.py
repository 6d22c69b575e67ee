"""howdah's own connections: psycopg, async and sync, one pool each, opened at first use."""

from __future__ import annotations

import asyncio
import logging
import select
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import psycopg
from psycopg import AsyncConnection, Connection
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, ConnectionPool, PoolTimeout

from howdah.calls import Call, NewTask
from howdah.db import copying
from howdah.db.failures import cannot_connect, check_dsn, readable
from howdah.db.statement import text

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


class Database:
    """One database, by its DSN. Safe to share between threads (the sync half) and within an event loop (the async half)."""

    def __init__(self, dsn: str, *, size: int = 8, patience: float = 30) -> None:
        self.dsn = check_dsn(dsn)
        self.size = size
        self.patience = patience
        self._pools: dict[asyncio.AbstractEventLoop, AsyncConnectionPool[AsyncConnection[DictRow]]] = {}
        self._sync_pool: ConnectionPool[Connection[DictRow]] | None = None
        self._lock = threading.Lock()

    # ── connections ──

    def options(self, **more: Any) -> dict[str, Any]:
        """Arguments for psycopg's connect: our keep-alive settings, unless the DSN says otherwise."""
        given = psycopg.conninfo.conninfo_to_dict(self.dsn)
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

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection[DictRow]]:
        """A connection of the pool, in autocommit."""
        pool = await self._pool()
        try:
            async with pool.connection() as conn:
                yield conn
        except PoolTimeout as error:
            raise cannot_connect(self.dsn, error) from error

    async def _pool(self) -> AsyncConnectionPool[AsyncConnection[DictRow]]:
        loop = asyncio.get_running_loop()
        pool = self._pools.get(loop)
        if pool is None:
            # A pool belongs to its loop; those of loops that are over died with them.
            for old in [known for known in self._pools if known.is_closed()]:
                del self._pools[old]
            await (await self.connect()).close()  # a wrong DSN is said at once, not after the pool's patience
            if loop in self._pools:
                return self._pools[loop]
            pool = self._pools[loop] = AsyncConnectionPool(
                self.dsn,
                kwargs=self.options(),
                min_size=1,
                max_size=self.size,
                timeout=self.patience,
                open=False,
                configure=_configure_async,
                check=_check_async,
                name="howdah",
            )
            await pool.open()
        return pool

    def _pool_sync(self) -> ConnectionPool[Connection[DictRow]]:
        with self._lock:
            if self._sync_pool is None:
                self.connect_sync().close()
                self._sync_pool = ConnectionPool(
                    self.dsn,
                    kwargs=self.options(),
                    min_size=1,
                    max_size=self.size,
                    timeout=self.patience,
                    open=True,
                    configure=_configure_sync,
                    check=_check_sync,
                    name="howdah-sync",
                )
            return self._sync_pool

    async def close(self) -> None:
        """Close the pool of this loop, and the sync one. Using the database again opens them again."""
        pool = self._pools.pop(asyncio.get_running_loop(), None)
        if pool is not None:
            await pool.close()
        await asyncio.to_thread(self.close_sync)

    def close_sync(self) -> None:
        """Close the sync pool."""
        with self._lock:
            pool, self._sync_pool = self._sync_pool, None
        if pool is not None:
            pool.close()

    # ── calls ──

    async def run(self, call: Call[R]) -> R:
        """Make this call on a connection of the pool."""
        async with self.connection() as conn:
            return await run_on(conn, call)

    def run_sync(self, call: Call[R]) -> R:
        """As `run`, blocking."""
        try:
            with self._pool_sync().connection() as conn:
                return run_on_sync(conn, call)
        except PoolTimeout as error:
            raise cannot_connect(self.dsn, error) from error

    async def copy(self, task: NewTask, payloads: Sequence[str]) -> list[int]:
        """Write many tasks of one kind with COPY, in one transaction. Returns their ids in order."""
        async with self.connection() as conn, conn.transaction():
            return await copying.copy(conn, task, payloads)

    def copy_sync(self, task: NewTask, payloads: Sequence[str]) -> list[int]:
        """As `copy`, blocking."""
        with self._pool_sync().connection() as conn, conn.transaction():
            return copying.copy_sync(conn, task, payloads)


async def run_on(conn: AsyncConnection[Any], call: Call[R]) -> R:
    """Make this call on this connection, in whatever transaction it is in."""
    with readable():
        async with conn.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(text(call).encode(), call.args)
            return call.read(await cursor.fetchall())


def run_on_sync(conn: Connection[Any], call: Call[R]) -> R:
    """As `run_on`, blocking."""
    with readable(), conn.cursor(row_factory=dict_row) as cursor:
        cursor.execute(text(call).encode(), call.args)
        return call.read(cursor.fetchall())


def _has_news(conn: AsyncConnection[DictRow] | Connection[DictRow]) -> bool:
    """Whether an idle connection has something to read: the server's farewell, mostly. Costs no round trip."""
    if not hasattr(select, "poll"):  # Windows: ask the server every time
        return True
    poll = select.poll()
    poll.register(conn.pgconn.socket, select.POLLIN)
    return bool(poll.poll(0))


async def _check_async(conn: AsyncConnection[DictRow]) -> None:
    if _has_news(conn):
        await AsyncConnectionPool.check_connection(conn)


def _check_sync(conn: Connection[DictRow]) -> None:
    if _has_news(conn):
        ConnectionPool.check_connection(conn)


_BACKEND_PID = "select pg_backend_pid() as pid"


async def _configure_async(conn: AsyncConnection[DictRow]) -> None:
    row = await (await conn.execute(_BACKEND_PID)).fetchone()
    if row is None or row["pid"] != conn.info.backend_pid:
        conn.prepare_threshold = None


def _configure_sync(conn: Connection[DictRow]) -> None:
    row = conn.execute(_BACKEND_PID).fetchone()
    if row is None or row["pid"] != conn.info.backend_pid:
        conn.prepare_threshold = None


async def is_pooled(conn: AsyncConnection[DictRow]) -> bool:
    """Whether a pooler (PgBouncer, Supavisor, …) answers instead of the server.

    A pooler greets with a process id of its own; the server behind it says another. Behind one, prepared statements
    and LISTEN may belong to somebody else's session.
    """
    row = await (await conn.execute(_BACKEND_PID)).fetchone()
    return row is None or row["pid"] != conn.info.backend_pid
