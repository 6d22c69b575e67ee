"""Messages to an actor as JSON and back, and the tag that says which class one is of."""

from __future__ import annotations

import functools
import re
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, cast

import msgspec

from howdah.errors import InvalidOption, InvalidPayload, nearest, shown
from howdah.payload.codec import encode_json, fields_as_text, from_json, json_schemas, plain_decoder
from howdah.payload.fields import Fields, excerpt
from howdah.payload.sentences import DEFAULT_MAX_BYTES, cut, explained, isa, type_name, type_text
from howdah.payload.shapes import has_fields
from howdah.payload.signature import Raw, naming_option, readable
from howdah.payload.values import MISSING, inspect_value, plain_json, same, sound


class Messages:
    """The messages an actor takes: the type hint of its inbox as JSON and back.

    An object with fields has `"type": "<name of its class>"` beside them. If it is the only such class and no other
    object may come, the tag may be absent; else it decides. A class with a field `type` of its own goes without, a
    struct with a tag of its own keeps that, and everything that is not an object with fields goes as it is.
    """

    def __init__(self, name: str, hints: list[Any], objects: list[_Object]) -> None:
        self.name = name
        self._prefix = f"{name}: "
        self._hints = hints
        self._by_class = {each.fields.cls: each for each in objects}
        self._by_tag = {each.tag.value: each for each in objects if each.tag}
        self._tag_field = objects[0].tag.field if objects and objects[0].tag else None
        others = [hint for hint in hints if _class(hint) not in self._by_class]
        self._open = any(map(_holds_objects, others))
        self._sole = objects[0] if len(objects) == 1 and not self._open else None
        self._others: msgspec.json.Decoder[Any] | None = None
        if others:
            with naming_option(f"{name}: inbox", "leave it out"):
                self._others = msgspec.json.Decoder(readable(_union(others), optional=False), dec_hook=from_json)

    @classmethod
    def of(cls, hint: Any, *, name: str, leave_out: tuple[type, ...] = ()) -> Messages:
        """Read the type hint of an inbox, without the classes to `leave_out`, which never come as JSON.

        Raises InvalidOption for types that JSON does not know, and for classes that no tag could tell apart.
        """
        hints = [each for each in _members(hint, name) if not (isa(each, type) and issubclass(each, leave_out))]
        objects = [_Object.of(each, f"{name}: {_class(each).__name__}") for each in hints if has_fields(_class(each))]
        if len(objects) > 1 or (objects and any(map(_holds_objects, hints))):
            _check_tags(name, objects)
        return cls(name, hints, objects)

    def __str__(self) -> str:
        return " | ".join(map(type_text, self._hints)) or "nothing"

    def encode(self, value: Any, *, max_bytes: int = DEFAULT_MAX_BYTES) -> str:
        """The JSON text of a message. An object with fields may also be given as a mapping, as people write it.

        Raises InvalidPayload if the actor would not read it as it is.
        """
        cls = cast("type[Any]", type(value))
        if (known := self._by_class.get(cls)) is not None:
            return known.encode(value, self._prefix, max_bytes)
        if has_fields(cls) and not self._open:
            raise self._no_message(cls.__name__)
        if isa(value, Mapping) and (known := self._chosen(value)) is not None:
            values = {key: item for key, item in value.items() if known.tag is None or key != known.tag.field}
            return known.encode(known.fields.given(values), self._prefix, max_bytes)
        if self._others is None:
            raise self._unexpected(type_name(value))
        try:
            raw = encode_json(value)
            back = self._others.decode(raw)
        except Exception as error:
            inspect_value(value, MISSING, self._prefix, "message", strict=False)
            raise self._unfit(error, value) from error
        if not same(value, back):
            inspect_value(value, back, self._prefix, "message", strict=True)
        return sound(raw, self._prefix, "message", max_bytes)

    def decode(self, raw: Raw) -> Any:
        """The message again. Raises InvalidPayload, naming the field and what is stored, if it does not fit."""
        try:
            given = fields_as_text.decode(raw) if self._by_class else None
        except msgspec.ValidationError:  # It is no object.
            given = None
        except Exception as error:
            raise self._unfit(error) from error
        if given is not None and (known := self._chosen(given, raw)) is not None:
            return known.decode(given, raw)
        try:
            if self._others is not None:
                return self._others.decode(raw)
            value = plain_decoder.decode(raw)
        except Exception as error:
            raise self._unfit(error) from error
        raise self._unexpected(type_name(value))

    def schema(self) -> dict[str, Any]:
        """What a message may be as JSON Schema, to publish."""
        definitions: dict[str, Any] = {}
        choices: list[dict[str, Any]] = []
        for hint in self._hints:
            if (known := self._by_class.get(_class(hint))) is not None:
                choice = known.schema(tag_needed=self._sole is None)
                definitions.update(choice.pop("$defs", {}))
            else:
                (choice,), parts = json_schemas([readable(hint, optional=False)])
                definitions.update(parts)
            choices.append(choice)
        schema: dict[str, Any] = {"anyOf": choices} if len(choices) > 1 else choices[0] if choices else {"not": {}}
        return {**schema, "$defs": definitions} if definitions else schema

    def _chosen(self, given: Mapping[str, Any], stored: Raw | None = None) -> _Object | None:
        """The class of an object that is read or given; None if it is none of them and may be something else."""
        if self._tag_field is None:
            return self._sole
        tag = given.get(self._tag_field, MISSING)
        if tag is MISSING and (self._sole or self._open):
            return self._sole
        if tag is MISSING:
            kept = "" if stored is None else f"stored {excerpt(stored)}, "
            raise InvalidPayload(
                f"{self._prefix}missing field {self._tag_field}, which says what it is: {kept}expected {self}"
            )
        tag = plain_decoder.decode(tag) if isa(tag, msgspec.Raw) else tag
        known = self._by_tag.get(tag) if isa(tag, (str, int)) and not isa(tag, bool) else None
        if known is None and not self._open:
            raise self._no_message(tag if isa(tag, str) else shown(tag))
        return known

    def _no_message(self, name: str) -> InvalidPayload:
        if not self._hints:
            return self._unexpected(name)
        takes = [
            str(known.tag.value) if (known := self._by_class.get(_class(hint))) and known.tag else type_text(hint)
            for hint in self._hints
        ]
        close = nearest(name, takes)
        return InvalidPayload(
            f"{self._prefix}no message {cut(name)}; it takes {cut(' | '.join(takes), 300)}",
            hint=f"Did you mean {close}?" if close else None,
        )

    def _unexpected(self, got: str) -> InvalidPayload:
        if not self._hints:
            return InvalidPayload(f"{self.name} takes no messages, and this is {got}")
        return InvalidPayload(f"{self._prefix}message: expected {cut(self, 300)}, got {got}")

    def _unfit(self, error: Exception, value: Any = None) -> InvalidPayload:
        """What the decoder says; it knows only the types that are not objects with fields."""
        if self._by_class and (got := re.fullmatch(r"Expected `.*`, got `(\w+)`", cut(error, 300))):
            return self._unexpected(got[1] if value is None else type_name(value))
        return InvalidPayload(explained(self._prefix, "message", error, {"": value}))


def encode_message(value: Any, *, max_bytes: int = DEFAULT_MAX_BYTES) -> str:
    """The JSON text of a message to somebody of whom only the address is known.

    An object with fields is tagged as `Messages` reads it. Raises InvalidPayload for what JSON cannot hold.
    """
    cls = cast("type[Any]", type(value))
    if has_fields(cls):
        return _known(cls).encode(value, "", max_bytes)
    return plain_json(value, "message", max_bytes=max_bytes)


class _Tag(NamedTuple):
    field: str
    value: str | int


class _Object(NamedTuple):
    """A class of messages with fields, and the tag it goes by."""

    fields: Fields[Any]
    tag: _Tag | None

    @classmethod
    def of(cls, hint: Any, name: str) -> _Object:
        fields = Fields[Any].of(hint, name=name)
        config: Any = getattr(fields.cls, "__struct_config__", None)
        if config is not None and config.tag is not None:
            return cls(fields, _Tag(config.tag_field, config.tag))
        return cls(fields, None if "type" in fields.keys else _Tag("type", fields.cls.__name__))

    def encode(self, value: Any, prefix: str, max_bytes: int) -> str:
        raw = self.fields.write(value)
        if self.tag is not None:
            if self.tag.field in (getattr(value, "__pydantic_extra__", None) or ()):
                raise InvalidPayload(
                    f"{self.fields.name}: {self.tag.field} is the name of its class, and no extra field"
                )
            tag = encode_json({self.tag.field: self.tag.value})
            raw = tag if raw == b"{}" else tag[:-1] + b"," + raw[1:]
        return sound(raw, prefix, self.fields.cls.__name__, max_bytes)

    def decode(self, given: dict[str, msgspec.Raw], raw: Raw) -> Any:
        if self.tag is None or self.tag.field not in given:
            return self.fields.decode(raw)
        del given[self.tag.field]
        return self.fields.read(encode_json(given), stored=raw)

    def schema(self, *, tag_needed: bool) -> dict[str, Any]:
        schema: dict[str, Any] = {**self.fields.schema(), "title": self.fields.cls.__name__}
        if self.tag is not None:
            schema["properties"] = {self.tag.field: {"const": self.tag.value}} | schema["properties"]
            schema["required"] = [self.tag.field, *schema["required"]] if tag_needed else schema["required"]
        return schema


@functools.lru_cache(maxsize=512)
def _known(cls: type[Any]) -> _Object:
    return _Object.of(cls, cls.__name__)


def _check_tags(name: str, objects: list[_Object]) -> None:
    """Raises InvalidOption for classes that cannot be told apart by one tag."""
    by_tag: dict[_Tag, str] = {}
    for each in objects:
        cls = each.fields.cls.__name__
        if each.tag is None:
            raise InvalidOption(
                f"{name}: {cls} has a field type, which is where the name of a message's class stands",
                hint="Rename the field",
            )
        if each.tag.field != (field := next(iter(by_tag), each.tag).field):
            raise InvalidOption(
                f"{name}: {cls} is told by its field {each.tag.field}, and {by_tag[next(iter(by_tag))]} by {field}",
                hint="Give structs with a tag of their own tag_field='type'",
            )
        if each.tag in by_tag:
            raise InvalidOption(
                f"{name}: two kinds of message have the {field} {shown(each.tag.value)}", hint="Rename one of them"
            )
        by_tag[each.tag] = cls


def _members(hint: Any, name: str) -> Iterator[Any]:
    """The types in a hint, one by one. Raises InvalidOption for text, which only the module it stands in could read."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if isa(hint, (str, typing.ForwardRef)):
        raise InvalidOption(
            f"{name}: inbox is {shown(hint)}, which is no type", hint="Pass the type itself, without quotes"
        )
    if origin in (typing.Union, types.UnionType):
        for arg in args:
            yield from _members(arg, name)
    elif not isa(hint, type) and hasattr(hint, "__value__"):  # type Command = Add | Remove
        yield from _members(hint.__value__, name)
    elif origin is typing.Annotated or hasattr(hint, "__supertype__"):
        inside = list(_members(args[0] if args else hint.__supertype__, name))
        yield from inside if len(inside) > 1 or has_fields(_class(inside[0])) else [hint]
    else:
        yield types.NoneType if hint is None else hint


def _class(hint: Any) -> Any:
    """The class behind a type: `Box` of `Box[int]`, `dict` of `Annotated[dict[str, int], …]`."""
    while typing.get_origin(hint) is typing.Annotated:
        hint = typing.get_args(hint)[0]
    return typing.get_origin(hint) or hint


def _holds_objects(hint: Any) -> bool:
    """Whether a value of this type may be any JSON object, which a tag has to be told from."""
    cls = getattr(hint, "__supertype__", None) or _class(hint)
    if cls is Any or cls is object:
        return True
    root = hasattr(cls, "model_validate_json") and not has_fields(cls)
    return root or (isa(cls, type) and issubclass(cls, Mapping))


def _union(hints: list[Any]) -> Any:
    union: Any = typing.Union
    return union[tuple(hints)]
