"""The classes whose objects have fields: how each kind of them is read, made, and described."""

from __future__ import annotations

import dataclasses
import inspect
import sys
import typing
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, TypeVar, cast

import msgspec

from howdah.errors import InvalidOption, InvalidPayload, shown
from howdah.payload.codec import encode_json, fields_as_text
from howdah.payload.sentences import (
    PLAIN,
    cut,
    explained,
    from_pydantic,
    isa,
    misfits,
)
from howdah.payload.signature import (
    Raw,
    Signature,
    check_goes_by_name,
    naming_option,
    readable,
    resolver,
    signature_of,
)
from howdah.payload.values import MISSING, encodable, inspect_value, same

_EMPTY: Any = inspect.Parameter.empty


def has_fields(cls: Any) -> bool:
    """Whether this is a dataclass, msgspec struct, pydantic model or attrs class."""
    if not isa(cls, type):
        return False
    if hasattr(cls, "model_validate_json"):
        return not getattr(cls, "__pydantic_root_model__", False)
    return dataclasses.is_dataclass(cls) or hasattr(cls, "__struct_fields__") or hasattr(cls, "__attrs_attrs__")


class Constructed:
    """A dataclass, struct or attrs class: made by its constructor from the values of its fields."""

    open = False

    def __init__(self, made: Any, cls: Any, title: str) -> None:
        self.made_of = made
        self._cls = cls
        self._title = title
        self._prefix = f"{title}: "
        self._parameters = _parameters(cls)
        attributes = _attributes(cls)
        for field, parameter in self._parameters.items():
            check_goes_by_name(title, parameter)
            if field not in attributes or parameter.kind is parameter.VAR_KEYWORD:
                raise InvalidOption(
                    f"{title}: its constructor takes {field}, which is no field",
                    hint="An InitVar, or a parameter of your own __init__, is gone once the object is made: make it a field",
                )
        fields: tuple[str, ...] = getattr(cls, "__struct_fields__", ())
        encoded: tuple[str, ...] = getattr(cls, "__struct_encode_fields__", ())
        self._renamed = {field: key for field, key in zip(fields, encoded, strict=True) if field != key}
        self._attributes = tuple((self._key(field), attributes[field]) for field in self._parameters)
        self.keys = frozenset(key for key, _ in self._attributes)
        needed = [self._key(field) for field, parameter in self._parameters.items() if parameter.default is _EMPTY]
        self.required = {key: frozenset([key]) for key in needed}

    def resolve(self) -> None:
        """Look at the annotations. Raises InvalidOption, naming the field, for one that JSON cannot fill."""
        hint_of = _hints(self.made_of)
        hints: dict[str, Any] = {}
        parameters: list[inspect.Parameter] = []
        for (field, parameter), (_, attribute) in zip(self._parameters.items(), self._attributes, strict=True):
            with naming_option(f"{self._title}: {field}", "give it field(init=False)"):
                hints[field] = hint_of(attribute, parameter.annotation)
                parameters.append(parameter.replace(annotation=readable(hints[field], optional=False)))
        self._hints = hints
        self._signature = Signature(self._title, inspect.Signature(parameters), {}, self._renamed)
        self.bind = self._signature.bind
        self.parse = self._signature.read

    def values(self, value: Any) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, attribute in self._attributes:
            if (found := getattr(value, attribute)) is not msgspec.UNSET:
                values[key] = found
        return values

    def dump(self, value: Any, values: dict[str, Any]) -> bytes:
        return encode_json(values)

    def parse_given(self, values: dict[str, Any]) -> dict[str, Any]:
        arguments = self.parse(encode_json(values))
        if not same(values, came_back := self.by_key(arguments)):
            inspect_value(values, came_back, self._prefix, "", strict=True)
        return arguments

    def make(self, arguments: Any) -> Any:
        return made_of(self._cls, arguments, self._prefix)

    def by_key(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return {self._key(field): value for field, value in arguments.items()} if self._renamed else arguments

    def plain(self, values: dict[str, Any]) -> dict[str, Any]:
        return values

    def described(self) -> list[tuple[str, Any, Any]]:
        return [(self._key(field), self._hints[field], p.default) for field, p in self._parameters.items()]

    def schema(self) -> dict[str, Any]:
        return self._signature.schema()

    def _key(self, field: str) -> str:
        return self._renamed.get(field, field)


class Model:
    """A pydantic model: it reads and writes JSON itself, under its aliases and without what has `exclude=True`."""

    def __init__(self, cls: Any, title: str) -> None:
        self._cls = cls
        self._title = title
        self._prefix = f"{title}: "
        self.open: bool = cls.model_config.get("extra") == "allow"
        if cls.__pydantic_complete__:
            self.required  # noqa: B018 (what it refuses, it refuses now)

    def resolve(self) -> None:
        """Look at the annotations, if pydantic could not yet. Raises InvalidOption, naming the field."""
        if self._cls.__pydantic_complete__ or self._cls.model_rebuild(raise_errors=False):
            return
        hint_of = _hints(self._cls)
        for attribute, field in self._cls.model_fields.items():
            with naming_option(f"{self._title}: {attribute}", "leave it out"):
                hint_of(attribute, field.annotation)
        with naming_option(self._title, "leave it out"):
            self._cls.model_rebuild()

    @cached_property
    def _fields(self) -> dict[str, tuple[str, Any, frozenset[str]]]:
        """For each key that is written: the attribute, what pydantic knows of it, the keys that are read as it."""
        self.resolve()
        found: dict[str, tuple[str, Any, frozenset[str]]] = {}
        for attribute, field in self._cls.model_fields.items():
            if field.exclude:  # It is not written, so it must do without.
                if field.is_required():
                    raise InvalidOption(
                        f"{self._title}: {attribute} has exclude=True and no default", hint="Give it one"
                    )
                continue
            key = field.serialization_alias or attribute
            accepted = _accepted(attribute, field.validation_alias, self._cls.model_config)
            if key not in accepted:
                raise InvalidOption(
                    f"{self._title}: {attribute} is written as {key} and read as {' or '.join(sorted(accepted))}",
                    hint="Give it one `alias` for both",
                )
            found[key] = (attribute, field, accepted)
        return found

    @cached_property
    def keys(self) -> frozenset[str]:
        return frozenset(key for _, _, accepted in self._fields.values() for key in accepted)

    @cached_property
    def required(self) -> dict[str, frozenset[str]]:
        """The keys that are needed, each with all that do."""
        return {key: accepted for key, (_, field, accepted) in self._fields.items() if field.is_required()}

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        if args:
            raise InvalidPayload(f"{self._prefix}a pydantic model takes its fields by name, not by position")
        return kwargs

    def values(self, value: Any) -> dict[str, Any]:
        values = {key: getattr(value, attribute) for key, (attribute, _, _) in self._fields.items()}
        return values | value.__pydantic_extra__ if self.open else values

    def dump(self, value: Any, values: dict[str, Any]) -> bytes:
        return encode_json(value)

    def parse(self, raw: Raw) -> bytes | str:
        if faults := misfits_of(self, fields_as_text.decode(raw)):
            raise msgspec.ValidationError("; ".join(faults))
        return raw if isinstance(raw, str) else bytes(raw)

    def parse_given(self, values: dict[str, Any]) -> bytes | str:
        inspect_value(self.plain(values), MISSING, self._prefix, "", strict=False)
        return self.parse(encode_json(values))

    def make(self, raw: Any) -> Any:
        try:
            return self._cls.model_validate_json(raw)
        except (ValueError, TypeError) as error:
            raise _said(error, self._prefix) from error

    def by_key(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return arguments

    def plain(self, values: dict[str, Any]) -> dict[str, Any]:
        """The values that others can look at: a model may know types that only pydantic can write."""
        return {key: value for key, value in values.items() if isa(value, PLAIN) or encodable(value)}

    def described(self) -> list[tuple[str, Any, Any]]:
        return [
            (key, field.annotation, _EMPTY if field.is_required() else ... if field.default_factory else field.default)
            for key, (_, field, _) in self._fields.items()
        ]

    def schema(self) -> dict[str, Any]:
        schema = self._cls.model_json_schema(ref_template="#/$defs/{model}")
        if "$ref" in schema:  # A model that contains itself.
            schema = {**schema["$defs"][schema["$ref"].removeprefix("#/$defs/")], "$defs": schema["$defs"]}
        return {**schema, "additionalProperties": self.open}


def made_of(cls: Any, arguments: dict[str, Any], prefix: str) -> Any:
    try:
        return cls(**arguments)
    except (ValueError, TypeError) as error:
        raise _said(error, prefix) from error


def _said(error: Exception, prefix: str) -> InvalidPayload:
    """What a constructor or a validator says. Other errors of theirs are no verdict on the payload and pass."""
    if from_pydantic(error):
        return InvalidPayload(explained(prefix, "", error))
    return InvalidPayload(prefix + (cut(error, 300) or type(error).__name__))


def misfits_of(shape: Constructed | Model, values: Mapping[str, Any]) -> list[str]:
    unexpected = [] if shape.open else [key for key in values if key not in shape.keys]
    missing = [key for key, accepted in shape.required.items() if accepted.isdisjoint(values)]
    return misfits("field", unexpected, missing) if unexpected or missing else []


def _accepted(attribute: str, alias: Any, config: Mapping[str, Any]) -> frozenset[str]:
    """The keys that pydantic reads as this attribute."""
    choices = [] if alias is None else getattr(alias, "choices", [alias])
    keys = {str(choice.path[0] if hasattr(choice, "path") else choice) for choice in choices}
    if not keys or not config.get("validate_by_alias", True):
        return frozenset([attribute])
    by_name = config.get("populate_by_name") or config.get("validate_by_name")
    return frozenset(keys | {attribute} if by_name else keys)


def _parameters(cls: Any) -> Mapping[str, inspect.Parameter]:
    """What the constructor takes."""
    if not hasattr(cls, "__struct_fields__"):
        return signature_of(cls).parameters
    # The signature of a struct would resolve its annotations.
    fields: tuple[str, ...] = cls.__struct_fields__
    defaults = (msgspec.NODEFAULT,) * len(fields) + cls.__struct_defaults__
    return {
        field: inspect.Parameter(
            field,
            inspect.Parameter.POSITIONAL_OR_KEYWORD if field in cls.__match_args__ else inspect.Parameter.KEYWORD_ONLY,
            default=_EMPTY if default is msgspec.NODEFAULT else default,
        )
        for field, default in zip(fields, defaults[-len(fields) :], strict=False)
    }


def _attributes(cls: Any) -> dict[str, str]:
    """The attribute of each field, by the name the constructor has for it."""
    if hasattr(cls, "__struct_fields__"):
        return {field: field for field in cls.__struct_fields__}
    if hasattr(cls, "__attrs_attrs__"):
        return {each.alias or each.name: each.name for each in cls.__attrs_attrs__}
    return {field.name: field.name for field in dataclasses.fields(cls)}


def default_text(default: object) -> str:
    """A default; what a factory makes is different each time."""
    text = shown(default, 40)
    return "…" if default is ... or text in ("<factory>", "NOTHING") else text


def _hints(made: Any) -> Callable[[str, Any], Any]:
    """From a field, and the annotation its constructor has for it, to the type it means where it was written."""
    arguments = _type_arguments(made)
    resolvers = {cls: resolver(cls, ()) for cls in (typing.get_origin(made) or made).__mro__}

    def hint_of(attribute: str, annotation: Any) -> Any:
        for cls, resolve in resolvers.items():
            if attribute in (own := _own_annotations(cls)):
                return _filled(resolve(own[attribute]), arguments.get(cls, {}))
        return next(iter(resolvers.values()))(annotation)

    return hint_of


def _own_annotations(cls: type) -> dict[str, Any]:
    if sys.version_info >= (3, 14):
        import annotationlib

        return annotationlib.get_annotations(cls, format=annotationlib.Format.FORWARDREF)
    return inspect.get_annotations(cls)


def _type_arguments(made: Any) -> dict[Any, dict[Any, Any]]:
    """What the type variables of a class and of its bases stand for: `class Numbers(Box[int])`."""
    found: dict[Any, dict[Any, Any]] = {}

    def walk(made: Any, outside: dict[Any, Any]) -> None:
        cls = cast("type", typing.get_origin(made) or made)
        given = [_filled(argument, outside) for argument in typing.get_args(made)]
        found[cls] = found.get(cls) or dict(zip(getattr(cls, "__parameters__", ()), given, strict=False))
        bases: tuple[Any, ...] = vars(cls).get("__orig_bases__", cls.__bases__)
        for base in bases:
            walk(base, found[cls])

    walk(made, {})
    return found


def _filled(hint: Any, arguments: dict[Any, Any]) -> Any:
    """A type with its type variables replaced; by Any, where nothing is known of one."""
    if isa(hint, TypeVar):
        return arguments.get(hint, Any)
    open_places: tuple[Any, ...] = () if isa(hint, type) else getattr(hint, "__parameters__", ())
    return hint[tuple(arguments.get(each, Any) for each in open_places)] if open_places else hint
