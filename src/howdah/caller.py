"""Caller: runs calls on howdah's own database or on a connection of the user's, async and sync."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from psycopg import AsyncConnection
from psycopg.rows import DictRow

from howdah.calls import Call, NewTask, Steps
from howdah.config import Config
from howdah.db import borrowed
from howdah.db.pool import Database
from howdah.errors import InvalidOption, shown
from howdah.installation import Installation
from howdah.kinds.registry import Registry
from howdah.payload import DEFAULT_MAX_BYTES
from howdah.results import Waiter

R = TypeVar("R")


class Caller:
    """The database of one program: how it is reached, and the kinds that are known here."""

    def __init__(
        self,
        dsn: str | None = None,
        *,
        home: Path | str | None = None,
        max_payload: int = DEFAULT_MAX_BYTES,
        config: bool | Config = True,
    ) -> None:
        if isinstance(max_payload, bool) or not isinstance(max_payload, int) or max_payload < 2:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidOption(
                f"max_payload must be a whole number of bytes, not {shown(max_payload)}", hint="Write 1024 * 1024"
            )
        if not isinstance(config, (bool, Config)):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidOption(f"config must be True, False or a Config, not {shown(config)}")
        self.config = (Config.read() if config else Config()) if isinstance(config, bool) else config
        self.installation = Installation(
            self.config.dsn if dsn is None else dsn, home=self.config.home if home is None else home
        )
        self.registry = Registry()
        self.max_payload = max_payload
        self.waiters: dict[asyncio.AbstractEventLoop, Waiter] = {}

    # ── the database ──

    @property
    def dsn(self) -> str:
        """The address of the database in use. Opens it (starts the embedded server) if need be."""
        return self.installation.open_sync().dsn

    async def database(self) -> Database:
        """The database, opened and checked."""
        return await self.installation.open()

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[AsyncConnection[DictRow]]:
        """A transaction on howdah's own pool: a psycopg AsyncConnection, to enqueue and to write your own rows in."""
        database = await self.database()
        async with database.connection() as conn, conn.transaction():
            yield conn

    async def close(self) -> None:
        """Close all connections; the embedded server stops when nobody else uses it."""
        waiter = self.waiters.pop(asyncio.get_running_loop(), None)
        if waiter is not None:
            waiter.close()
        await self.installation.close()

    def close_sync(self) -> None:
        """As `close`, for programs without an event loop."""
        self.installation.close_sync()

    async def run(self, call: Call[R], connection: Any = None) -> R:
        """Make one call, on `connection` if there is one, else on howdah's own pool."""
        if connection is not None:
            return await borrowed.run(connection, call)
        return await (await self.database()).run(call)

    def run_sync(self, call: Call[R], connection: Any = None) -> R:
        """As `run`, blocking."""
        if connection is not None:
            return borrowed.run_sync(connection, call)
        return self.installation.open_sync().run_sync(call)

    async def follow(self, steps: Steps[R], connection: Any = None) -> R:
        """Make one call after the other, each a transaction of its own without `connection`."""
        answer: Any = None
        try:
            while True:
                answer = await self.run(steps.send(answer), connection)
        except StopIteration as end:
            return end.value

    def follow_sync(self, steps: Steps[R], connection: Any = None) -> R:
        """As `follow`, blocking."""
        answer: Any = None
        try:
            while True:
                answer = self.run_sync(steps.send(answer), connection)
        except StopIteration as end:
            return end.value

    async def copy(self, task: NewTask, payloads: Sequence[str], connection: Any = None) -> list[int]:
        """Write many tasks of one kind."""
        if connection is not None:
            return await borrowed.copy(connection, task, payloads)
        return await (await self.database()).copy(task, payloads)

    def copy_sync(self, task: NewTask, payloads: Sequence[str], connection: Any = None) -> list[int]:
        """As `copy`, blocking."""
        if connection is not None:
            return borrowed.copy_sync(connection, task, payloads)
        return self.installation.open_sync().copy_sync(task, payloads)
