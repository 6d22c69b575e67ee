"""Line: one connection of a worker's own, that comes back after every failure."""

from __future__ import annotations

import asyncio
import logging
from typing import TypeVar

from psycopg import AsyncConnection
from psycopg.rows import DictRow

from howdah.calls import Call
from howdah.db.failures import passes
from howdah.db.greeting import greet
from howdah.db.pool import Database, run_on
from howdah.errors import LeaseLost

log = logging.getLogger("howdah.db")
R = TypeVar("R")


class Line:
    """Calls on one dedicated connection, one at a time. Neither user code nor a pool can starve it."""

    calls = 0  # of all lines of this process, for those who count round trips

    def __init__(self, database: Database, *, timeout: float, lasting: bool = True) -> None:
        """`lasting` False: commits are not waited for, so a crash of the server may undo the last of them.

        A claim that is undone gives out its epoch again. Therefore such a line does not come back after a failure: it
        raises LeaseLost, and who goes on does so under another id.
        """
        self.database = database
        self.timeout = timeout
        self.lasting = lasting
        self._was_there = False
        self._conn: AsyncConnection[DictRow] | None = None
        self._turn = asyncio.Lock()

    async def run(self, call: Call[R]) -> R:
        """Make the call; it may take `timeout` seconds. After any failure of the connection the next call makes a new one."""
        Line.calls += 1
        async with self._turn:
            try:
                async with asyncio.timeout(self.timeout):
                    return await run_on(self._conn or await self._connect(), call)
            except BaseException as error:
                if not isinstance(error, Exception) or passes(error):
                    await self._hang_up()
                raise

    async def _connect(self) -> AsyncConnection[DictRow]:
        if self._was_there and not self.lasting:
            raise LeaseLost("the connection was lost, and what was committed on it last may be undone")
        conn = await self.database.connect()
        try:
            if await greet(conn):
                conn.prepare_threshold = 1
                if not self.lasting:
                    await conn.execute(b"set synchronous_commit = off")
        except BaseException:
            await conn.close()
            raise
        self._conn, self._was_there = conn, True
        return conn

    async def _hang_up(self) -> None:
        conn, self._conn = self._conn, None
        if conn is not None:
            await conn.close()

    async def close(self) -> None:
        async with self._turn:
            await self._hang_up()
