"""Errors of the database as errors of howdah, and which of them pass by themselves."""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager

import psycopg
from psycopg.conninfo import conninfo_to_dict

from howdah.errors import CannotConnect, HowdahError, InvalidOption, SchemaMismatch, from_sqlstate

MIGRATE = "Run: howdah migrate"

# Connection lost or refused (08), shutting down (57P0x), out of resources (53), rolled back by a conflict (40), and a
# server that became read-only behind our back: fail-over.
_PASSING = re.compile(r"08...|57P0.|53...|40...|25006|55P03|57014")


def passes(error: BaseException) -> bool:
    """Whether trying again, on a fresh connection, is likely to help."""
    if isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError)) and not getattr(error, "sqlstate", None):
        return True
    sqlstate = getattr(error, "sqlstate", None)
    return bool(sqlstate and _PASSING.fullmatch(sqlstate)) or isinstance(error, (TimeoutError, OSError))


def translated(error: psycopg.Error) -> HowdahError | None:
    """The error a user should see instead of this one, or None to show it as it is."""
    diag = error.diag
    ours = from_sqlstate(error.sqlstate, diag.message_primary or str(error), diag.message_hint, diag.message_detail)
    if ours is not None:
        return ours
    if error.sqlstate in ("3F000", "42P01", "42883", "42703"):
        return SchemaMismatch(
            f"howdah's tables in this database do not fit this code: {_one_line(error)}", hint=MIGRATE
        )
    if error.sqlstate == "42501":
        return CannotConnect(
            f"this database user lacks a right: {_one_line(error)}",
            hint="Connect as the owner of schema howdah, or let it grant the right",
        )
    return None


@contextmanager
def readable() -> Generator[None]:
    """Raise howdah's errors for what the SQL functions raise."""
    try:
        yield
    except psycopg.Error as error:
        better = translated(error)
        if better is None:
            raise
        raise better from error


def check_dsn(dsn: str) -> str:
    """The DSN, if libpq can read it; else InvalidOption. SQLAlchemy's spelling of the scheme is understood."""
    plain = re.sub(r"^(postgres|postgresql)\+\w+://", "postgresql://", dsn.strip())
    try:
        conninfo_to_dict(plain)
    except psycopg.ProgrammingError as error:
        raise InvalidOption(
            f"the DSN cannot be read: {without_password(_one_line(error))}",
            hint='Write "postgresql://user:password@host:5432/database" or "host=… dbname=…"',
        ) from None
    return plain


def without_password(text: str) -> str:
    """The same text with every password in it replaced, for messages and logs."""
    text = re.sub(r"(://[^:/@\s]*):[^@\s]*@", r"\1:***@", text)
    text = re.sub(r"([?&](?:password|sslpassword)=)[^&\s]*", r"\1***", text, flags=re.IGNORECASE)
    return re.sub(r"\b((?:ssl)?password\s*=\s*)('(?:[^'\\]|\\.)*'|\S+)", r"\1***", text, flags=re.IGNORECASE)


def cannot_connect(dsn: str, error: BaseException) -> CannotConnect:
    """One sentence for a connection that was not to be had."""
    return CannotConnect(
        f"no connection to {without_password(dsn)}: {without_password(_one_line(error))}",
        hint="Is the server running, and are host, port, user, password and database right? Unset HOWDAH_DSN to use the embedded server",
    )


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:500]
