"""What is said of a value that does not fit, and the limits that are named there."""

from __future__ import annotations

import re
import types
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
    cause: Any = error.__cause__
    if hasattr(cause, "errors"):
        first = cause.errors(include_url=False, include_input=False)[0]
        fault, path = first["msg"], path + "".join(f".{part}" for part in first["loc"])
    given = values.get(path[1:]) if isa(values, dict) else None  # pyright: ignore
    if not isa(given, PLAIN):  # A Decimal is text in JSON, but that is not what was given.
        fault = re.sub(r"got \w+$", f"got {type_name(given)}", fault)
    where = (root + path).removeprefix(".").replace("[...]", "[…]") or "payload"
    subject = "a key of " if place.startswith("key` in ") else ""
    return f"{prefix}{subject}{cut(where, 160)}: {cut(fault[:1].lower() + fault[1:], 160)}"


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
