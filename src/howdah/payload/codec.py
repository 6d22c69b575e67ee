"""Values as JSON and back: msgspec, and what it leaves to us."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

import msgspec

from howdah.payload.sentences import cut, isa, type_name

# Classes msgspec leaves to us: written as a plain value, made again from it. With their names in JSON Schema.
_SCALARS: tuple[tuple[type, Any, str], ...] = (
    (str, str, "string"), (int, int, "integer"), (float, (int, float), "number"), (PurePath, str, "string"),
)  # fmt: skip


def _to_json(value: Any) -> Any:
    if isa(value, str):  # A subclass, here and below: its plain value.
        return str.__str__(value)
    if isa(value, int):
        return int.__int__(value)
    if isa(value, float):
        return float.__float__(value)
    if isa(value, PurePath):
        return str(value)
    if hasattr(value, "model_dump_json"):
        return msgspec.Raw(value.model_dump_json(by_alias=True, round_trip=True).encode())
    raise TypeError(f"{type_name(value)} has no form in JSON")


class AnyInstance(type):
    def __instancecheck__(cls, instance: Any) -> bool:
        return True


class Adapted(metaclass=AnyInstance):
    """Stands in for an annotation that msgspec cannot read and pydantic can."""

    adapter: Any


def from_json(tp: Any, value: Any) -> Any:
    if tp is object:
        return value
    if isa(tp, type) and issubclass(tp, Adapted):
        return tp.adapter.validate_json(encode_json(value))
    if hasattr(tp, "model_validate_json"):
        return tp.model_validate_json(encode_json(value))
    for base, plain, _ in _SCALARS:
        if isa(tp, type) and issubclass(tp, base) and isa(value, plain) and not isa(value, bool):
            return tp(value)
    raise TypeError(f"Expected {cut(getattr(tp, '__name__', tp))}, got {type_name(value)}")


def described(tp: Any) -> dict[str, Any]:
    """The JSON Schema of a class msgspec leaves to us; _UnknownType if there is none."""
    if tp is object:
        return {"description": "any JSON value"}
    template = "#/$defs/{model}"
    if isa(tp, type) and issubclass(tp, Adapted):
        return tp.adapter.json_schema(ref_template=template)
    if hasattr(tp, "model_json_schema"):
        return tp.model_json_schema(ref_template=template)
    for base, _, name in _SCALARS:
        if isa(tp, type) and issubclass(tp, base):
            return {"type": name}
    raise _UnknownType(f"{cut(getattr(tp, '__name__', tp))} is no type that JSON knows")


def json_schemas(types: list[Any]) -> tuple[tuple[dict[str, Any], ...], dict[str, Any]]:
    """The JSON Schema of each type, and the definitions they refer to."""
    definitions: dict[str, Any] = {}

    def describe(tp: Any) -> dict[str, Any]:
        try:
            schema = described(tp)
        except TypeError:  # A parameter with a default may be of any class: it can be left out.
            return {"description": "no JSON value: leave it out"}
        definitions.update(schema.pop("$defs", {}))
        return schema

    roots, parts = msgspec.json.schema_components(types, schema_hook=describe, ref_template="#/$defs/{name}")
    return roots, definitions | parts


class _UnknownType(TypeError):
    pass


encode_json = msgspec.json.Encoder(enc_hook=_to_json).encode
plain_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder()
fields_as_text = msgspec.json.Decoder(dict[str, msgspec.Raw])
