"""What is said of a value that does not fit, and the limits that are named there."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterable
from typing import Any

from howdah.errors import shown

DEFAULT_MAX_BYTES = 1024 * 1024
MAX_DEPTH = 500  # Deeper than people write, and far from the end of the stack of a handler deep in its own calls.

# What JSON itself knows.
PLAIN = (str, int, float, list, dict, types.NoneType)


def explained(prefix: str, root: str, error: Exception, values: Any = None) -> str:
    """What msgspec or pydantic says about a value, as the end of our sentence."""
    if isa(error, RecursionError):
        return f"{prefix}{root or 'payload'} is nested deeper than {MAX_DEPTH} levels, or contains itself"
    fault, mark, place = cut(error, DEFAULT_MAX_BYTES).rpartition(" - at `")
    fault, place = (fault, place) if mark else (place, "")
    path = place.removeprefix("key` in `").removesuffix("`").removeprefix("$")
    fault = fault.replace("`", "")
    said: Any = error if from_pydantic(error) else error.__cause__
    if from_pydantic(said):
        first = said.errors(include_url=False, include_input=False)[0]
        fault = first["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
        path += "".join(f".{part}" for part in first["loc"])
    given = values.get(path[1:]) if isa(values, dict) else None  # pyright: ignore
    if not isa(given, PLAIN):  # A Decimal is text in JSON, but that is not what was given.
        fault = re.sub(r"got \w+$", f"got {type_name(given)}", fault)
    where = (root + path).removeprefix(".").replace("[...]", "[…]") or "payload"
    subject = "a key of " if place.startswith("key` in ") else ""
    return f"{prefix}{subject}{cut(where, 160)}: {cut(fault if fault.startswith('JSON') else fault[:1].lower() + fault[1:], 160)}"


def from_pydantic(error: object) -> bool:
    return hasattr(error, "error_count")


def misfits(noun: str, unexpected: Iterable[object], missing: Iterable[str]) -> list[str]:
    """What is said of names that no parameter or field has, and of those that are not there."""
    found = [("unexpected", list(map(cut, unexpected))), ("missing", list(missing))]
    return [f"{fault} {noun}{'s' if len(names) > 1 else ''} {cut(', '.join(names))}" for fault, names in found if names]


def type_text(hint: Any) -> str:
    """A type as people write it, without its modules: `list[Point] | None`."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return type_text(args[0])
    if origin is typing.Literal:
        return f"Literal[{', '.join(map(repr, args))}]"
    if origin in (typing.Union, types.UnionType):
        return " | ".join(map(type_text, args))
    if hint in (None, types.NoneType, ...):
        return "..." if hint is ... else "None"
    name = str(getattr(origin or hint, "__name__", hint))
    return f"{name}[{', '.join(map(type_text, args))}]" if args else name


def step_into(path: str, key: Any) -> str:
    if isa(key, str) and key.isidentifier():
        return f"{path}.{cut(key, 40)}".removeprefix(".")
    return f"{path}[{shown(key, 40)}]"


def type_name(value: Any) -> str:
    return "null" if value is None else cut(type(value).__name__)


def cut(value: object, most: int = 80) -> str:
    """Text that fits in a sentence, whatever it is made from."""
    try:
        text = str(value)
    except Exception:  # A user's __str__, or a number of 5,000 digits.
        text = f"a {type_name(value)}"
    return text if len(text) <= most else text[: most - 1] + "…"


def isa(value: Any, classes: Any) -> bool:
    """`isinstance`, for values of which nothing more is known afterwards."""
    return isinstance(value, classes)
