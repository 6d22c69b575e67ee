"""A Call as SQL text, in the parameter style of the driver that will run it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from howdah.calls import Call

Placeholder = Callable[[int, str], str]


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL with named arguments, before its parameter style is known. `types` gives the SQL type of each argument."""

    sql: Callable[[Placeholder], str]
    types: Mapping[str, str]
    args: Mapping[str, Any]


def percent(_: int, name: str) -> str:
    """psycopg: %(name)s."""
    return f"%({name})s"


def numbered(number: int, _: str) -> str:
    """psycopg's raw cursors, which look for no other placeholders and so are faster: $1."""
    return f"${number}"


def dollar(number: int, _: str) -> str:
    """asyncpg: $1."""
    return f"${number}"


def colon(_: int, name: str) -> str:
    """SQLAlchemy's text(): :name."""
    return f":{name}"


def parameter(placeholder: Placeholder, number: int, name: str, sql_type: str) -> str:
    """One parameter, cast to its type. JSON goes as text: asyncpg users often have a codec that would encode it twice."""
    if sql_type == "jsonb" and placeholder in (dollar, colon):
        return f"cast(cast({placeholder(number, name)} as text) as jsonb)"
    return f"cast({placeholder(number, name)} as {sql_type})"


@cache
def _text(function: str, types: tuple[tuple[str, str], ...] | None, one_value: bool, placeholder: Placeholder) -> str:
    if types is None:
        return f"select * from howdah.{function}"
    # CAST, not ::, because a colon means a parameter to SQLAlchemy; and always, because no driver guesses all types right.
    arguments = ", ".join(
        f"{name} => {parameter(placeholder, number, name, sql_type)}"
        for number, (name, sql_type) in enumerate(types, start=1)
    )
    return f"select {'' if one_value else '* from '}howdah.{function}({arguments})"


def text(call: Call[Any], placeholder: Placeholder = percent) -> str:
    """The SELECT that makes this call. The same object for the same function, so that drivers can prepare it."""
    return _text(call.function, _items(call.types), call.one_value, placeholder)


def statement(call: Call[Any]) -> Statement:
    """The SELECT that makes this call, for any driver."""
    return Statement(lambda placeholder: text(call, placeholder), call.types or {}, call.args)


def _items(types: Mapping[str, str] | None) -> tuple[tuple[str, str], ...] | None:
    return None if types is None else tuple(types.items())


@cache
def _query(function: str, types: tuple[tuple[str, str], ...] | None, one_value: bool) -> bytes:
    return _text(function, types, one_value, numbered).encode()


def query(call: Call[Any]) -> tuple[bytes, list[Any]]:
    """The same for psycopg's raw cursors, with the arguments in order.

    As bytes, and the same object every time, because it looks its statements up by them.
    """
    args = [call.args[name] for name in call.types] if call.types is not None else []
    return _query(call.function, _items(call.types), call.one_value), args
