"""Errors of the database as errors of howdah, and which of them pass by themselves."""

from __future__ import annotations

import os
import re
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from howdah.errors import CannotConnect, HowdahError, InvalidOption, InvalidPayload, SchemaMismatch, from_sqlstate

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


# What the SQL functions of another release, or of no release, say: no such schema, table, function, column.
_NOT_OURS = ("3F000", "42P01", "42883", "42703")


def translated(error: BaseException) -> HowdahError | None:
    """The error a user should see instead of this one of any driver, or None to show it as it is."""
    sqlstate: str | None = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    if not isinstance(sqlstate, str):
        return None
    diag: Any = getattr(error, "diag", error)  # asyncpg has it all on the error itself
    said: str = getattr(diag, "message_primary", None) or getattr(diag, "message", None) or str(error)
    hint: str | None = getattr(diag, "message_hint", None) or getattr(diag, "hint", None)
    detail: str | None = getattr(diag, "message_detail", None) or getattr(diag, "detail", None)
    if sqlstate in _NOT_OURS:
        return SchemaMismatch(f"howdah's tables in this database do not fit this code: {_one_line(said)}", hint=MIGRATE)
    if sqlstate == "42501":
        return CannotConnect(
            f"this database user lacks a right: {_one_line(said)}",
            hint="Connect as the owner of schema howdah, or let it grant the right",
        )
    if sqlstate in ("22P05", "22021"):
        return InvalidPayload(
            f"the database cannot store a character: {_one_line(said)}", hint="Use a database with ENCODING 'UTF8'"
        )
    return from_sqlstate(sqlstate, said, hint, detail)


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
    hint = 'Write "postgresql://user:password@host:5432/database" or "host=… dbname=…"'
    if not isinstance(dsn, str):  # pyright: ignore[reportUnnecessaryIsInstance]: callers without a type checker
        raise InvalidOption(f"dsn must be text, not {type(dsn).__name__}", hint=hint)
    plain = re.sub(r"^(postgres|postgresql)\+\w+://", "postgresql://", dsn.strip())
    if not plain or "\0" in plain:
        raise InvalidOption("dsn is empty" if not plain else "dsn has a NUL character in it", hint=hint)
    scheme = re.match(r"(\w[\w+.-]*)://", plain)
    if scheme and scheme[1] not in ("postgresql", "postgres"):
        raise InvalidOption(f"dsn is an address of {scheme[1]}, and howdah needs PostgreSQL", hint=hint)
    try:
        conninfo_to_dict(plain)
    except (psycopg.ProgrammingError, UnicodeError) as error:
        # libpq quotes what it could not read, which may be the password or a part of it.
        said = re.sub(r'"([^"]*)"', lambda quoted: quoted[0] if len(quoted[1]) == 1 else '"…"', _one_line(error))
        raise InvalidOption(f"dsn cannot be read: {said}", hint=hint) from None
    return plain


def without_password(text: str) -> str:
    """The same text with every password in it replaced, for messages and logs."""
    text = re.sub(r"(://[^:/@\s]*):[^@\s]*@", r"\1:***@", text)
    text = re.sub(r"([?&](?:password|sslpassword)=)[^&\s]*", r"\1***", text, flags=re.IGNORECASE)
    return re.sub(r"\b((?:ssl)?password\s*=\s*)('(?:[^'\\]|\\.)*'|\S+)", r"\1***", text, flags=re.IGNORECASE)


def cannot_connect(dsn: str, error: BaseException) -> CannotConnect:
    """One sentence for a connection that was not to be had, and the likeliest thing to do."""
    said = without_password(_one_line(error))
    # libpq asks its own questions, and psycopg says twice that it failed.
    said = re.sub(r"\s*Is the server running[^?]*\?", "", re.sub(r"connection (failed|is bad): (?=\w)", "", said))
    hint = next((advice for fault, advice in _ADVICE.items() if re.search(fault, said)), _ADVICE[""])
    if dsn == os.environ.get("HOWDAH_DSN"):
        hint += " (the address is that of HOWDAH_DSN)"
    return CannotConnect(f"no connection to {without_password(dsn)}: {said.rstrip('.')}", hint=hint)


_ADVICE = {
    r'database ".*" does not exist': "Create the database, or mend its name",
    r'role ".*" does not exist|authentication failed|no password|pg_hba\.conf': "Mend the user or the password",
    r"connection slots|too many (clients|connections)": "Close other connections, or raise max_connections",
    r"starting up|shutting down|recovery": "Try again in a moment",
    r"resolve host|invalid (port|integer)": "Mend the host or the port",
    r"": "Is the server running, and are host and port right?",
}


def _one_line(error: object) -> str:
    return " ".join(str(error).split())[:500]
