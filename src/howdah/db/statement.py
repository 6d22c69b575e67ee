"""A Call as SQL text, in the parameter style of the driver that will run it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from howdah.calls import Call

Placeholder = Callable[[int, str], str]


def percent(_: int, name: str) -> str:
    """psycopg: %(name)s."""
    return f"%({name})s"


def dollar(number: int, _: str) -> str:
    """asyncpg: $1."""
    return f"${number}"


def colon(_: int, name: str) -> str:
    """SQLAlchemy's text(): :name."""
    return f":{name}"


@cache
def _text(function: str, types: tuple[tuple[str, str], ...] | None, placeholder: Placeholder) -> str:
    if types is None:
        return f"select * from howdah.{function}"
    # CAST, not ::, because a colon means a parameter to SQLAlchemy; and always, because no driver guesses all types right.
    arguments = ", ".join(
        f"{name} => cast({placeholder(number, name)} as {sql_type})"
        for number, (name, sql_type) in enumerate(types, start=1)
    )
    return f"select * from howdah.{function}({arguments})"


def text(call: Call[Any], placeholder: Placeholder = percent) -> str:
    """The SELECT that makes this call. The same object for the same function, so that drivers can prepare it."""
    return _text(call.function, None if call.types is None else tuple(call.types.items()), placeholder)
