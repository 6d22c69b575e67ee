"""A caller's own connection: the call becomes part of the caller's transaction.

Drivers are told apart by the module their class comes from, so none of them is imported here.
"""

from __future__ import annotations

import importlib
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from howdah.calls import Call, NewTask, Rows, enqueue_many
from howdah.db import copying
from howdah.db.pool import run_on, run_on_sync
from howdah.db.statement import colon, dollar, percent, text
from howdah.errors import HowdahError, InvalidOption, from_sqlstate

R = TypeVar("R")


def _family(connection: Any) -> str:
    """What kind of connection this is: psycopg, psycopg-async, asyncpg, sqlalchemy, sqlalchemy-async, django."""
    for cls in type(connection).__mro__:
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
            case "django", "BaseDatabaseWrapper":
                return "django"
            case _:
                continue
    given = type(connection)
    raise InvalidOption(
        f"connection= does not take a {given.__module__}.{given.__qualname__}",
        hint="It takes a connection of psycopg, asyncpg or Django, or a Connection or Session of SQLAlchemy",
    )


async def run(connection: Any, call: Call[R]) -> R:
    """Make this call in the caller's transaction. Sync connections are taken too: they block, as they always do."""
    match _family(connection):
        case "psycopg-async":
            return await run_on(connection, call)
        case "asyncpg":
            return call.read(await _on_asyncpg(connection, call))
        case "sqlalchemy-async":
            with _readable_sqlalchemy():
                result = await connection.execute(_sqlalchemy(call), dict(call.args))
                return call.read([dict(row) for row in result.mappings()])
        case _:
            return run_sync(connection, call)


def run_sync(connection: Any, call: Call[R]) -> R:
    """Make this call in the caller's transaction, blocking."""
    match _family(connection):
        case "psycopg":
            return run_on_sync(connection, call)
        case "sqlalchemy":
            with _readable_sqlalchemy():
                result = connection.execute(_sqlalchemy(call), dict(call.args))
                return call.read([dict(row) for row in result.mappings()])
        case "django":
            return call.read(_on_django(connection, call))
        case other:
            raise InvalidOption(f"an async connection ({other}) needs the async verb", hint="Leave out the _sync")


async def copy(connection: Any, task: NewTask, payloads: Sequence[str]) -> list[int]:
    """Write many tasks in the caller's transaction: with COPY where the driver is psycopg, else in one statement."""
    if _family(connection) == "psycopg-async":
        return await copying.copy(connection, task, payloads)
    return await run(connection, _many(task, payloads)) if payloads else []


def copy_sync(connection: Any, task: NewTask, payloads: Sequence[str]) -> list[int]:
    """As `copy`, blocking."""
    if _family(connection) == "psycopg":
        return copying.copy_sync(connection, task, payloads)
    return run_sync(connection, _many(task, payloads)) if payloads else []


def _many(task: NewTask, payloads: Sequence[str]) -> Call[list[int]]:
    return enqueue_many(task, f"[{','.join(payloads)}]")


def _sqlalchemy(call: Call[Any]) -> Any:
    # By name: an installation without SQLAlchemy never gets here.
    return importlib.import_module("sqlalchemy").text(text(call, colon))


async def _on_asyncpg(connection: Any, call: Call[Any]) -> Rows:
    try:
        return [dict(row) for row in await connection.fetch(text(call, dollar), *call.args.values())]
    except Exception as error:
        raise _ours(error) or error from error


def _on_django(wrapper: Any, call: Call[Any]) -> Rows:
    with wrapper.cursor() as cursor:
        try:
            cursor.execute(text(call, percent), dict(call.args))
        except Exception as error:
            raise _ours(error.__cause__) or error from error
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


@contextmanager
def _readable_sqlalchemy() -> Generator[None]:
    """SQLAlchemy wraps the driver's error in `orig`, and asyncpg's once more."""
    try:
        yield
    except Exception as error:
        cause = getattr(error, "orig", error)
        better = _ours(cause) or _ours(getattr(cause, "__cause__", None))
        if better is None:
            raise
        raise better from error


def _ours(error: Any) -> HowdahError | None:
    """The howdah error inside an error of asyncpg or of a DB-API driver."""
    if error is None:
        return None
    sqlstate: str | None = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    diag: Any = getattr(error, "diag", error)
    details: Mapping[str, Any] = {
        "message": getattr(diag, "message_primary", None) or str(error).splitlines()[0],
        "hint": getattr(diag, "message_hint", None) or getattr(diag, "hint", None),
        "detail": getattr(diag, "message_detail", None) or getattr(diag, "detail", None),
    }
    return from_sqlstate(sqlstate, **details)
