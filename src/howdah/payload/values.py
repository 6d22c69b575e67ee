"""Any value as JSON text, and the closer look at one that does not come back as it went."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from enum import Enum
from itertools import accumulate
from typing import Any, NoReturn, cast

import msgspec

from howdah.errors import InvalidPayload, shown
from howdah.payload.codec import encode_json, plain_decoder
from howdah.payload.sentences import DEFAULT_MAX_BYTES, MAX_DEPTH, PLAIN, cut, explained, isa, step_into, type_name

MISSING: Any = object()
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_LEVEL = {"[": 1, "{": 1, "]": -1, "}": -1}


def plain_json(value: Any, field: str, *, max_bytes: int = DEFAULT_MAX_BYTES) -> str:
    """The JSON text of a value no signature describes. Raises InvalidPayload, naming `field` and the path in it."""
    return lenient(value, "", field, max_bytes, plain_decoder)


def loads(text: str | bytes, what: str = "payload") -> Any:
    """Read JSON text that a person wrote. Raises InvalidPayload with the line and column.

    As strict as the column it goes to: no NaN, no number beyond a float, no key twice in one object.
    """

    def members(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) < len(items):
            twice = next(key for i, (key, _) in enumerate(items) if any(key == later for later, _ in items[i + 1 :]))
            raise InvalidPayload(f"{what} has the key {shown(twice)} twice in one object")
        return found

    def number(digits: str) -> float:
        if not math.isfinite(value := float(digits)):
            raise InvalidPayload(f"{what} has the number {cut(digits)}, which JSON cannot hold")
        return value

    try:
        return json.loads(text, object_pairs_hook=members, parse_float=number, parse_constant=number)
    except InvalidPayload:
        raise
    except json.JSONDecodeError as error:
        fault = f"{error.msg} at line {error.lineno}, column {error.colno}"
        raise InvalidPayload(f"{what} is not JSON: {fault}", hint='Write it like {"user_id": 42}') from None
    except RecursionError:
        raise InvalidPayload(f"{what} is nested deeper than {MAX_DEPTH} levels") from None
    except Exception as error:  # Bytes that are no UTF-8, a number of 5,000 digits, no text at all.
        raise InvalidPayload(f"{what} cannot be read as JSON: {cut(error)}") from error


def lenient(value: Any, prefix: str, path: str, max_bytes: int, decoder: msgspec.json.Decoder[Any]) -> str:
    """The JSON text of a value that may lose its type, though nothing else."""
    try:
        raw = encode_json(value)
        back = plain_decoder.decode(raw)
    except Exception as error:
        inspect_value(value, MISSING, prefix, path, strict=False)
        raise InvalidPayload(explained(prefix, path, error)) from error
    if not same(value, back):
        try:
            back = decoder.decode(raw)
        except Exception:  # Not what the annotation says: it is kept as it is.
            pass
        if not same(value, back):
            inspect_value(value, back, prefix, path, strict=False)
    return sound(raw, prefix, path, max_bytes)


def sound(raw: bytes, prefix: str, path: str, max_bytes: int) -> str:
    """The text, unless PostgreSQL would refuse it or it is too big or too deep for a task."""
    text = raw.decode()
    if len(raw) > max_bytes:
        raise InvalidPayload(
            f"{prefix}{path or 'payload'} is {len(raw):,} bytes, more than the {max_bytes:,} allowed",
            hint="Keep big things elsewhere and pass a reference, or allow more with App(max_payload=…)",
        )
    if "\\u0000" in text:
        inspect_value(plain_decoder.decode(raw), MISSING, prefix, path, strict=False)
    if len(raw) > MAX_DEPTH and text.count("[") + text.count("{") > MAX_DEPTH:
        levels = accumulate(_LEVEL.get(letter, 0) for letter in _STRING.sub("", text))
        if max(levels, default=0) > MAX_DEPTH:
            raise InvalidPayload(f"{prefix}{path or 'payload'} is nested deeper than {MAX_DEPTH} levels")
    return text


def same(value: Any, back: Any) -> bool:
    try:
        return bool(value == back)
    except Exception:  # Too deep, or a user's __eq__: the closer look decides.
        return False


def inspect_value(top: Any, came_back: Any, prefix: str, path: str, *, strict: bool) -> None:
    """Look for what JSON cannot hold and, beside what came back, for what was lost or changed on the way.

    The strict look also refuses what would come back as another type, where no annotation tells which.
    """

    def refuse(fault: str, hint: str | None = None) -> NoReturn:
        raise InvalidPayload(f"{prefix}{cut(where or 'payload', 160)} {fault}", hint=hint)

    where = path
    todo: list[tuple[Any, Any, str, int]] = [(top, came_back, path, 0)]
    try:
        while todo:
            value, back, where, depth = todo.pop()
            if depth > MAX_DEPTH:
                refuse(f"is nested deeper than {MAX_DEPTH} levels, or contains itself")
            inside = list(_inside(value, back, where))
            if (fault := _fault(value)) is not None or (not inside and not encodable(value)):
                refuse(fault or f"is {type_name(value)}, which JSON cannot hold")
            if isa(value, (bytes, bytearray, memoryview)) and isa(back, str):
                refuse("is bytes, which JSON cannot hold", "Annotate it as bytes, or decode it to str")
            if strict and back is not MISSING:
                if isa(back, PLAIN) and not isa(value, (*PLAIN, tuple)):
                    refuse(
                        f"is {type_name(value)} and would come back as {type_name(back)}",
                        "Annotate it with its type, or convert it first",
                    )
                if (lost := _lost(value, back)) is not None:
                    refuse(f"has {lost}, which would be lost", "Annotate it with its type")
                comparable = not inside and (type(value) is type(back) or isa(back, (int, float)))
                if comparable and not same(value, back) and same(value, value):
                    refuse(f"is {shown(value)} and would come back as {shown(back)}")
            todo.extend((*piece, depth + 1) for piece in reversed(inside))
    except InvalidPayload:
        raise
    except Exception as error:  # A property, an __eq__ or a __getattr__ that fails.
        refuse(f"cannot be read: {cut(error)}")


def _fault(value: Any) -> str | None:
    """What is wrong with this one value, if anything, whatever is inside it."""
    if isa(value, str):
        if "\0" in value:
            return "holds the character NUL (\\u0000), which PostgreSQL cannot store"
        if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
            return "holds half of a surrogate pair, which is no character"
    elif isa(value, float):
        if not math.isfinite(value):
            return f"is {'NaN' if math.isnan(value) else 'Infinity'}, which JSON cannot hold"
    elif isa(value, int):
        if value.bit_length() > 14_000:
            return "is a number of more than 4,000 digits"
    elif isa(value, dict):
        for key in value:
            if fault := _fault(key):
                return f"has a key that {fault}"
            if not isa(key, str) and not encodable({key: None}):
                return f"has the key {shown(key)}; keys in JSON are text"
    return None


def _inside(value: Any, back: Any, where: str) -> Iterator[tuple[Any, Any, str]]:
    """The pieces of a value, each beside the piece that came back and with the path to it."""
    if isa(value, dict):
        backs = back if isa(back, dict) else None
        for key, item in value.items():
            known = isa(key, str) and backs is None and not isa(back, PLAIN)
            came_back = backs.get(key, MISSING) if backs is not None else MISSING
            yield item, getattr(back, key, MISSING) if known else came_back, step_into(where, key)
    elif isa(value, (list, tuple)):
        items = value
        backs = back if isa(back, (list, tuple)) else ()
        for i, item in enumerate(items):
            yield item, backs[i] if i < len(backs) else MISSING, f"{where}[{i}]"
    elif isa(value, (set, frozenset)):
        for item in value:
            yield item, MISSING, f"{where}[…]"
    elif isa(value, Enum) and not isa(value, PLAIN):
        yield value.value, MISSING, where
    else:
        for field in _fields(value):
            if hasattr(value, field):
                yield getattr(value, field), getattr(back, field, MISSING), step_into(where, field)


def _lost(value: Any, back: Any) -> str | None:
    """The first key or field that did not come back."""
    if isa(value, dict) and isa(back, dict):
        keys, backs = value, back
        # Text that an annotation made another kind of key is still there, under that key.
        lost = [k for k in keys if k not in backs and not (isa(k, str) and len(backs) == len(keys))]
        return f"the key {shown(lost[0])}" if lost else None
    return next((f"the field {f}" for f in _fields(value) if hasattr(value, f) and not hasattr(back, f)), None)


def _fields(value: Any) -> list[str]:
    """The fields of a struct, dataclass, pydantic model or attrs object; nothing for anything else."""
    cls = cast("Any", type(value))
    for names in ("__struct_fields__", "__pydantic_fields__", "__dataclass_fields__"):
        if hasattr(cls, names):
            return [*getattr(cls, names), *(("__pydantic_extra__",) if names == "__pydantic_fields__" else ())]
    return [attribute.name for attribute in getattr(cls, "__attrs_attrs__", ())]


def encodable(value: Any) -> bool:
    try:
        encode_json(None if value is msgspec.UNSET else value)
    except Exception:
        return False
    return True
