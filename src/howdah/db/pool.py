"""howdah's own connections: psycopg, async and sync, one pool each, opened at first use."""

from __future__ import annotations

import asyncio
import logging
import os
import select
import threading
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar, cast
from weakref import WeakSet

import psycopg
from psycopg import AsyncConnection, AsyncCursor, Connection, Cursor
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, ConnectionPool, PoolTimeout

from howdah.calls import Call, NewTask
from howdah.db import copying
from howdah.db.failures import cannot_connect, check_dsn, readable
from howdah.db.statement import query
from howdah.errors import CannotConnect

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


class _Async(AsyncConnection[DictRow]):
    """A connection of the pool. Its cursor is used again: a new one for every call would cost a tenth of the call."""

    cursor_at_hand: AsyncCursor[DictRow] | None = None


class _Sync(Connection[DictRow]):
    cursor_at_hand: Cursor[DictRow] | None = None


class _Half:
    """What belongs to one event loop: its pool, and the connections in it, to be closed when the loop is over."""

    def __init__(self) -> None:
        self.pool: AsyncConnectionPool[_Async] | None = None
        self.opening = asyncio.Lock()
        self._connections: WeakSet[_Async] = WeakSet()

    async def configure(self, conn: _Async) -> None:
        self._connections.add(conn)
        if await is_pooled(conn):
            conn.prepare_threshold = None

    def hang_up(self) -> None:
        """Without the loop, which is closed: nothing of the pool can run any more."""
        for conn in self._connections:
            conn.pgconn.finish()


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
        self._halves: dict[asyncio.AbstractEventLoop, _Half] = {}
        self._sync_pool: ConnectionPool[_Sync] | None = None
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

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[AsyncConnection[DictRow]]:
        """A connection of the pool, in autocommit. Raises CannotConnect if there is none for `patience` seconds."""
        async with self._lent() as conn:
            yield conn

    # Not the pool's own connection(): that one commits at the end, which costs a turn of the event loop. Nor its check:
    # after one that fails it sleeps for a second, when all that is needed is the next connection.
    @asynccontextmanager
    async def _lent(self) -> AsyncGenerator[_Async]:
        pool = await self._pool()
        conn = await self._living(pool)
        try:
            yield conn
        finally:
            await pool.putconn(conn)

    async def _living(self, pool: AsyncConnectionPool[_Async]) -> _Async:
        for _ in range(self.size):
            conn, alive = await self._taken(pool), False
            try:
                alive = await _is_alive(conn)
            finally:
                if not alive:
                    await pool.putconn(conn)  # closed: the pool makes another
            if alive:
                return conn
        return await self._taken(pool)

    @contextmanager
    def _lent_sync(self) -> Generator[_Sync]:
        pool = self._pool_sync()
        conn = self._living_sync(pool)
        try:
            yield conn
        finally:
            pool.putconn(conn)

    def _living_sync(self, pool: ConnectionPool[_Sync]) -> _Sync:
        for _ in range(self.size):
            conn, alive = self._taken_sync(pool), False
            try:
                alive = _is_alive_sync(conn)
            finally:
                if not alive:
                    pool.putconn(conn)
            if alive:
                return conn
        return self._taken_sync(pool)

    async def _taken(self, pool: AsyncConnectionPool[_Async]) -> _Async:
        try:
            return await pool.getconn()
        except PoolTimeout:
            raise await asyncio.to_thread(self._why_none) from None

    def _taken_sync(self, pool: ConnectionPool[_Sync]) -> _Sync:
        try:
            return pool.getconn()
        except PoolTimeout:
            raise self._why_none() from None

    def _why_none(self) -> CannotConnect:
        """Why the pool had no connection in all that time: it says only that it had none."""
        try:
            self.connect_sync().close()
        except CannotConnect as error:
            return error
        return CannotConnect(
            f"all {self.size} connections of howdah's pool were in use for {self.patience:g} s",
            hint="Leave app.transaction() sooner, and inside it pass connection= to what you call",
        )

    async def _pool(self) -> AsyncConnectionPool[_Async]:
        loop = asyncio.get_running_loop()
        half = self._halves.get(loop) or self._half(loop)
        if half.pool is None:
            async with half.opening:
                if half.pool is None:
                    await (await self.connect()).close()  # a wrong DSN is said at once, not after the pool's patience
                    pool = half.pool = AsyncConnectionPool(
                        self.dsn,
                        connection_class=_Async,
                        kwargs=self.options(),
                        min_size=1,
                        max_size=self.size,
                        timeout=self.patience,
                        open=False,
                        configure=half.configure,
                        name="howdah",
                    )
                    await pool.open()
        return half.pool

    def _half(self, loop: asyncio.AbstractEventLoop) -> _Half:
        """The place for the pool of this loop. The pools of loops that are over are hung up."""
        for old in [known for known in self._halves if known.is_closed()]:
            self._halves.pop(old).hang_up()
        return self._halves.setdefault(loop, _Half())

    def _pool_sync(self) -> ConnectionPool[_Sync]:
        with self._lock:
            if self._sync_pool is None:
                self.connect_sync().close()
                self._sync_pool = ConnectionPool(
                    self.dsn,
                    connection_class=_Sync,
                    kwargs=self.options(),
                    min_size=1,
                    max_size=self.size,
                    timeout=self.patience,
                    open=True,
                    configure=_configure_sync,
                    name="howdah-sync",
                )
            return self._sync_pool

    async def close(self) -> None:
        """Close the pool of this loop, and the sync one. Using the database again opens them again."""
        half = self._halves.pop(asyncio.get_running_loop(), None)
        if half is not None and half.pool is not None:
            await half.pool.close()
        await asyncio.to_thread(self.close_sync)

    def close_sync(self) -> None:
        """Close the sync pool, and what loops that are over have left."""
        with self._lock:
            pool, self._sync_pool = self._sync_pool, None
        if pool is not None:
            pool.close()
        for old in [known for known in self._halves if known.is_closed()]:
            self._halves.pop(old).hang_up()

    def start_over(self) -> None:
        """In a forked child: the connections are the parent's, and the threads of the pools did not come along."""
        _INHERITED.extend((self._halves, self._sync_pool))
        self._halves, self._sync_pool, self._lock = {}, None, threading.Lock()

    # ── calls ──

    async def run(self, call: Call[R]) -> R:
        """Make this call on a connection of the pool."""
        async with self._lent() as conn:
            cursor, conn.cursor_at_hand = conn.cursor_at_hand, None
            cursor = cursor or AsyncCursor(conn, row_factory=dict_row)
            with readable():
                await cursor.execute(query(call), call.args)
                answer = call.read(await cursor.fetchall())
            conn.cursor_at_hand = cursor if cursor.rowcount <= _FEW else None
            return answer

    def run_sync(self, call: Call[R]) -> R:
        """As `run`, blocking."""
        with self._lent_sync() as conn:
            cursor, conn.cursor_at_hand = conn.cursor_at_hand, None
            cursor = cursor or Cursor(conn, row_factory=dict_row)
            with readable():
                cursor.execute(query(call), call.args)
                answer = call.read(cursor.fetchall())
            conn.cursor_at_hand = cursor if cursor.rowcount <= _FEW else None
            return answer

    async def copy(self, task: NewTask, payloads: Sequence[str]) -> list[int]:
        """Write many tasks of one kind with COPY, in one transaction. Returns their ids in order."""
        async with self._lent() as conn, conn.transaction():
            return await copying.copy(conn, task, payloads)

    def copy_sync(self, task: NewTask, payloads: Sequence[str]) -> list[int]:
        """As `copy`, blocking."""
        with self._lent_sync() as conn, conn.transaction():
            return copying.copy_sync(conn, task, payloads)


# The caller's connection may make cursors of another kind, with other placeholders: these are ours.
async def run_on(conn: AsyncConnection[Any], call: Call[R]) -> R:
    """Make this call on this connection, in whatever transaction it is in."""
    with readable():
        cursor = AsyncCursor(conn, row_factory=dict_row)
        await cursor.execute(query(call), call.args)
        return call.read(await cursor.fetchall())


def run_on_sync(conn: Connection[Any], call: Call[R]) -> R:
    """As `run_on`, blocking."""
    with readable():
        cursor = Cursor(conn, row_factory=dict_row)
        cursor.execute(query(call), call.args)
        return call.read(cursor.fetchall())


def _has_news(conn: AsyncConnection[DictRow] | Connection[DictRow]) -> bool:
    """Whether an idle connection has something to read: the server's farewell, mostly. Costs no round trip."""
    if not hasattr(select, "poll"):  # Windows: ask the server every time
        return True
    poll = select.poll()
    poll.register(conn.pgconn.socket, select.POLLIN)
    return bool(poll.poll(0))


async def _is_alive(conn: _Async) -> bool:
    """Whether the connection can be used; it is closed if not."""
    if not _has_news(conn):
        return True
    try:
        await AsyncConnectionPool.check_connection(cast("AsyncConnection[Any]", conn))
        return True
    except psycopg.Error:
        await conn.close()
        return False


def _is_alive_sync(conn: _Sync) -> bool:
    """As `_is_alive`, blocking."""
    if not _has_news(conn):
        return True
    try:
        ConnectionPool.check_connection(cast("Connection[Any]", conn))
        return True
    except psycopg.Error:
        conn.close()
        return False


_BACKEND_PID = "select pg_backend_pid() as pid"


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
