"""Every kind of connection that `connection=` takes, behind one face: a transaction of the caller's that is open."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg
import django
import django.conf
import psycopg
import sqlalchemy as sa
from django.db import connection as django_connection
from django.db import connections as django_connections
from django.db import transaction as django_transaction
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import orm
from sqlalchemy.ext import asyncio as sa_async


class Caller(ABC):
    """A caller with an open transaction. `connection` is what is given to howdah; `verb` makes the call it takes."""

    is_async = True
    connection: Any

    async def verb(self, target: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        if self.is_async:
            return await getattr(target, name)(*args, **kwargs)
        return getattr(target, name + "_sync")(*args, **kwargs)

    @abstractmethod
    async def open(self, dsn: str, stack: AsyncExitStack) -> None: ...

    @abstractmethod
    async def commit(self) -> None: ...

    @abstractmethod
    async def rollback(self) -> None: ...

    @abstractmethod
    def savepoint(self) -> Any:
        """A savepoint that is rolled back at its end."""

    async def rows(self) -> int:
        """How many tasks this caller sees."""
        return await self.scalar("select count(*) from howdah.task")

    @abstractmethod
    async def scalar(self, query: str) -> Any: ...


class Psycopg(Caller):
    is_async = False

    async def open(self, dsn: str, stack: AsyncExitStack) -> None:
        self.connection = stack.enter_context(psycopg.connect(dsn))

    async def commit(self) -> None:
        self.connection.commit()

    async def rollback(self) -> None:
        self.connection.rollback()

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        with self.connection.transaction(force_rollback=True):
            yield

    async def scalar(self, query: str) -> Any:
        return self.connection.execute(query).fetchone()[0]


class PsycopgAsync(Caller):
    async def open(self, dsn: str, stack: AsyncExitStack) -> None:
        self.connection = await stack.enter_async_context(await psycopg.AsyncConnection.connect(dsn))

    async def commit(self) -> None:
        await self.connection.commit()

    async def rollback(self) -> None:
        await self.connection.rollback()

    def savepoint(self) -> Any:
        return self.connection.transaction(force_rollback=True)

    async def scalar(self, query: str) -> Any:
        return (await (await self.connection.execute(query)).fetchone())[0]


class Asyncpg(Caller):
    async def open(self, dsn: str, stack: AsyncExitStack) -> None:
        self.connection = await asyncpg.connect(dsn)
        stack.push_async_callback(self.connection.close)
        await self._begin()

    async def _begin(self) -> None:
        self._transaction = self.connection.transaction()
        await self._transaction.start()

    async def commit(self) -> None:
        await self._transaction.commit()
        await self._begin()

    async def rollback(self) -> None:
        await self._transaction.rollback()
        await self._begin()

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        inner = self.connection.transaction()
        await inner.start()
        try:
            yield
        finally:
            await inner.rollback()

    async def scalar(self, query: str) -> Any:
        return await self.connection.fetchval(query)


class AsyncpgPool(Asyncpg):
    async def open(self, dsn: str, stack: AsyncExitStack) -> None:
        pool = await stack.enter_async_context(asyncpg.create_pool(dsn, min_size=1, max_size=1))
        self.connection = await stack.enter_async_context(pool.acquire())
        await self._begin()
        stack.push_async_callback(self._end)

    async def _end(self) -> None:
        await self._transaction.rollback()


class SqlalchemyConnection(Caller):
    is_async = False

    async def open(self, dsn: str, stack: AsyncExitStack) -> None:
        engine = sa.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(dsn))
        stack.callback(engine.dispose)
        self.connection = stack.enter_context(self.connect(engine))

    def connect(self, engine: sa.Engine) -> Any:
        return engine.connect()

    async def commit(self) -> None:
        self.connection.commit()

    async def rollback(self) -> None:
        self.connection.rollback()

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        inner = self.connection.begin_nested()
        try:
            yield
        finally:
            inner.rollback()

    async def scalar(self, query: str) -> Any:
        return self.connection.execute(sa.text(query)).scalar()


class SqlalchemySession(SqlalchemyConnection):
    def connect(self, engine: sa.Engine) -> Any:
        return orm.Session(engine)


class SqlalchemyAsyncConnection(Caller):
    driver = "psycopg"

    def connecting(self, dsn: str) -> Callable[[], Awaitable[Any]]:
        return lambda: psycopg.AsyncConnection.connect(dsn)

    async def open(self, dsn: str, stack: AsyncExitStack) -> None:
        engine = sa_async.create_async_engine(f"postgresql+{self.driver}://", async_creator=self.connecting(dsn))
        stack.push_async_callback(engine.dispose)
        self.connection = await stack.enter_async_context(self.connect(engine))

    def connect(self, engine: sa_async.AsyncEngine) -> Any:
        return engine.connect()

    async def commit(self) -> None:
        await self.connection.commit()

    async def rollback(self) -> None:
        await self.connection.rollback()

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        inner = await self.connection.begin_nested()
        try:
            yield
        finally:
            await inner.rollback()

    async def scalar(self, query: str) -> Any:
        return (await self.connection.execute(sa.text(query))).scalar()


class SqlalchemyAsyncSession(SqlalchemyAsyncConnection):
    def connect(self, engine: sa_async.AsyncEngine) -> Any:
        return sa_async.AsyncSession(engine)


class SqlalchemyAsyncpgConnection(SqlalchemyAsyncConnection):
    driver = "asyncpg"

    def connecting(self, dsn: str) -> Callable[[], Awaitable[Any]]:
        return lambda: asyncpg.connect(dsn)


class SqlalchemyAsyncpgSession(SqlalchemyAsyncpgConnection, SqlalchemyAsyncSession):
    pass


class Django(Caller):
    is_async = False

    async def open(self, dsn: str, stack: AsyncExitStack) -> None:
        if not django.conf.settings.configured:
            django.conf.settings.configure()
            django.setup()
        parts = conninfo_to_dict(dsn)
        database = {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": parts["dbname"],
            "USER": parts["user"],
            "HOST": parts["host"],
            "PORT": str(parts.get("port", "")),
        }
        django_connections.settings = django_connections.configure_settings({"default": database})
        # Django asks not to be used on an event loop. Here nobody minds, and the code is the same.
        os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
        stack.callback(os.environ.pop, "DJANGO_ALLOW_ASYNC_UNSAFE")
        self.connection = django_connection
        stack.callback(self._close)
        self._begin()

    def _close(self) -> None:
        self._end(rollback=True)
        django_connections["default"].close()
        del django_connections["default"]

    def _begin(self) -> None:
        self._atomic = django_transaction.atomic()
        self._atomic.__enter__()

    def _end(self, *, rollback: bool) -> None:
        if rollback:
            django_transaction.set_rollback(True)
        self._atomic.__exit__(None, None, None)

    async def commit(self) -> None:
        self._end(rollback=False)
        self._begin()

    async def rollback(self) -> None:
        self._end(rollback=True)
        self._begin()

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        with django_transaction.atomic():
            yield
            django_transaction.set_rollback(True)

    async def scalar(self, query: str) -> Any:
        with self.connection.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchone()[0]


class DjangoWrapper(Django):
    """The same connection, without the proxy that `django.db.connection` is."""

    async def open(self, dsn: str, stack: AsyncExitStack) -> None:
        await super().open(dsn, stack)
        self.connection = django_connections["default"]


KINDS: dict[str, type[Caller]] = {
    "psycopg": Psycopg,
    "psycopg async": PsycopgAsync,
    "asyncpg": Asyncpg,
    "asyncpg pool": AsyncpgPool,
    "sqlalchemy Connection": SqlalchemyConnection,
    "sqlalchemy Session": SqlalchemySession,
    "sqlalchemy AsyncConnection psycopg": SqlalchemyAsyncConnection,
    "sqlalchemy AsyncSession psycopg": SqlalchemyAsyncSession,
    "sqlalchemy AsyncConnection asyncpg": SqlalchemyAsyncpgConnection,
    "sqlalchemy AsyncSession asyncpg": SqlalchemyAsyncpgSession,
    "django proxy": Django,
    "django wrapper": DjangoWrapper,
}


@asynccontextmanager
async def open_caller(kind: str, dsn: str) -> AsyncIterator[Caller]:
    """A caller of this kind, with an open transaction that is rolled back in the end."""
    async with AsyncExitStack() as stack:
        caller = KINDS[kind]()
        await caller.open(dsn, stack)
        yield caller
