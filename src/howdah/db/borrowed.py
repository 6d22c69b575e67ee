"""A caller's own connection: the call becomes part of the caller's transaction.

Drivers are told apart by the module their class comes from, so none of them is imported here.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, Literal, TypeVar, cast

from howdah.calls import Call, NewTask, Rows
from howdah.db import copying
from howdah.db.failures import translated
from howdah.db.pool import run_on, run_on_sync
from howdah.db.statement import Statement, colon, dollar, percent, statement
from howdah.errors import InvalidOption

R = TypeVar("R")
Family = Literal["psycopg", "psycopg-async", "asyncpg", "sqlalchemy", "sqlalchemy-async", "django"]

_TAKES = "It takes a connection of psycopg, asyncpg or Django, or a Connection or Session of SQLAlchemy"
_NEARLY = {
    "Engine",
    "AsyncEngine",
    "Pool",
    "ConnectionPool",
    "AsyncConnectionPool",
    "sessionmaker",
    "async_sessionmaker",
}


def family(connection: Any) -> Family:
    """What kind of connection this is. Raises InvalidOption that names the type if it is none, or not of PostgreSQL."""
    cls = cast("type[Any]", type(connection))
    found = _family(cls)
    if found is None:
        nearly = f"; take a connection from this {cls.__name__} first" if cls.__name__ in _NEARLY else ""
        raise InvalidOption(
            f"connection= does not take a {cls.__module__}.{cls.__qualname__}", hint=f"{_TAKES}{nearly}"
        )
    if found == "django":
        speaks = connection.vendor
    elif found in ("sqlalchemy", "sqlalchemy-async"):
        bound = connection if hasattr(connection, "dialect") else connection.get_bind()
        speaks = bound.dialect.name
    else:
        return found
    if speaks != "postgresql":
        raise InvalidOption(f"connection= is a connection to {speaks}", hint="howdah's tables are in PostgreSQL")
    return found


@cache
def _family(given: type[Any]) -> Family | None:
    for cls in given.__mro__:
        match cls.__module__.split(".")[0], cls.__name__:
            case "psycopg", "AsyncConnection":
                return "psycopg-async"
            case "psycopg", "Connection":
                return "psycopg"
            case "asyncpg", "Connection" | "PoolConnectionProxy":
                return "asyncpg"
            case "sqlalchemy", "AsyncConnection" | "AsyncSession" | "async_scoped_session":
                return "sqlalchemy-async"
            case "sqlalchemy", "Connection" | "Session" | "scoped_session":
                return "sqlalchemy"
            case "django", "BaseDatabaseWrapper" | "ConnectionProxy":
                return "django"
            case _:
                continue
    return None


async def run(connection: Any, call: Call[R]) -> R:
    """Make this call in the caller's transaction. Sync connections are taken too: they block, as they always do."""
    match family(connection):
        case "psycopg-async":
            return await run_on(connection, call)
        case "psycopg":
            return run_on_sync(connection, call)
        case _:
            return call.read(await _execute(connection, statement(call)))


def run_sync(connection: Any, call: Call[R]) -> R:
    """Make this call in the caller's transaction, blocking."""
    if family(connection) == "psycopg":
        return run_on_sync(connection, call)
    return call.read(_execute_sync(connection, statement(call)))


async def copy(connection: Any, task: NewTask, payloads: Sequence[str]) -> list[int]:
    """Write many tasks in the caller's transaction: with COPY where the driver is psycopg, else in one INSERT."""
    match family(connection):
        case "psycopg-async":
            return await copying.copy(connection, task, payloads)
        case "psycopg":
            return copying.copy_sync(connection, task, payloads)
        case _:
            return copying.ids(await _execute(connection, copying.insert(task, payloads)))


def copy_sync(connection: Any, task: NewTask, payloads: Sequence[str]) -> list[int]:
    """As `copy`, blocking."""
    if family(connection) == "psycopg":
        return copying.copy_sync(connection, task, payloads)
    return copying.ids(_execute_sync(connection, copying.insert(task, payloads)))


async def _execute(connection: Any, what: Statement) -> Rows:
    match family(connection):
        case "asyncpg":
            with _readable():
                rows = await connection.fetch(what.sql(dollar), *what.args.values())
                return [dict(row) for row in rows]
        case "sqlalchemy-async":
            with _readable():
                result = await connection.execute(_for_sqlalchemy(what), dict(what.args))
                return [dict(row) for row in result.mappings()]
        case _:
            return _execute_sync(connection, what)


def _execute_sync(connection: Any, what: Statement) -> Rows:
    match family(connection):
        case "sqlalchemy":
            with _readable():
                result = connection.execute(_for_sqlalchemy(what), dict(what.args))
                return [dict(row) for row in result.mappings()]
        case "django":
            with _readable(), connection.cursor() as cursor:
                cursor.execute(what.sql(percent), dict(what.args))
                names = [column[0] for column in cursor.description]
                return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        case other:
            raise InvalidOption(
                f"connection= is async ({other.removesuffix('-async')}), and this verb is not",
                hint="Await the verb of the same name without _sync",
            )


# What SQLAlchemy tells its driver about an argument: from the value alone it would take any datetime for one without
# a time zone.
_SQLALCHEMY_TYPES: dict[str, Callable[[Any], Any]] = {
    "text": lambda sa: sa.Text(),
    "jsonb": lambda sa: sa.Text(),
    "int": lambda sa: sa.Integer(),
    "bigint": lambda sa: sa.BigInteger(),
    "interval": lambda sa: sa.Interval(),
    "timestamptz": lambda sa: sa.DateTime(timezone=True),
    "text[]": lambda sa: sa.ARRAY(sa.Text()),
    "double precision": lambda sa: sa.Double(),
}


def _for_sqlalchemy(what: Statement) -> Any:
    # By name: an installation without SQLAlchemy never gets here.
    sa: Any = importlib.import_module("sqlalchemy")
    types = {name: _SQLALCHEMY_TYPES.get(sql_type) for name, sql_type in what.types.items()}
    known = [sa.bindparam(name, type_=make(sa)) for name, make in types.items() if make is not None]
    return sa.text(what.sql(colon)).bindparams(*known)


@contextmanager
def _readable() -> Generator[None]:
    """howdah's errors for what the SQL functions raise, however often the driver's error was wrapped.

    SQLAlchemy keeps it in `orig`, Django and SQLAlchemy's asyncpg dialect in `__cause__`.
    """
    try:
        yield
    except Exception as error:
        chain: list[BaseException] = []
        inner: BaseException | None = error
        while inner is not None:
            chain.append(inner)
            inner = getattr(inner, "orig", None) or inner.__cause__
        better = next(filter(None, map(translated, reversed(chain))), None)
        if better is None:
            raise
        raise better from error
