"""The fields of an object as JSON and back: what a step of a state machine needs, what an actor remembers."""

from __future__ import annotations

import dataclasses
import inspect
import sys
import typing
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Generic, TypeVar, cast

import msgspec

from howdah.errors import InvalidOption, InvalidPayload, shown
from howdah.payload.codec import encode_json, fields_as_text, plain_decoder
from howdah.payload.sentences import (
    DEFAULT_MAX_BYTES,
    PLAIN,
    cut,
    explained,
    from_pydantic,
    isa,
    misfits,
    type_name,
    type_text,
)
from howdah.payload.signature import (
    Raw,
    Signature,
    check_goes_by_name,
    naming_option,
    readable,
    refusal,
    resolver,
    signature_of,
)
from howdah.payload.values import MISSING, encodable, inspect_value, loads, same, sound

T = TypeVar("T")

_EMPTY: Any = inspect.Parameter.empty


def has_fields(cls: Any) -> bool:
    """Whether this is a dataclass, msgspec struct, pydantic model or attrs class."""
    if not isa(cls, type):
        return False
    if hasattr(cls, "model_validate_json"):
        return not getattr(cls, "__pydantic_root_model__", False)
    return dataclasses.is_dataclass(cls) or hasattr(cls, "__struct_fields__") or hasattr(cls, "__attrs_attrs__")


def excerpt(raw: Raw) -> str:
    """Stored JSON as it fits in a sentence."""
    return cut(raw if isinstance(raw, str) else bytes(raw).decode(errors="replace"), 200)


class Fields(Generic[T]):
    """An object with fields as JSON and back: a JSON object with one key per field.

    The fields are what the constructor takes; `field(init=False)` is left to it, and so is what is absent.
    Keys are the names of the fields, or what `rename=` of a struct or the alias in a pydantic model makes of them.
    Annotations are looked at on first use, so that they may name what is defined further down.
    """

    def __init__(self, made: Any, cls: type[T], name: str) -> None:
        self.cls = cls
        self.name = name
        self._prefix = f"{name}: "
        self._shape = _Model(cls, name) if hasattr(cls, "model_validate_json") else _Constructed(made, cls, name)

    @classmethod
    def of(cls, made: type[T], *, name: str | None = None) -> Fields[T]:
        """Read a class. `name` begins every sentence; it is the name of the class if not given.

        Raises InvalidOption for a class without fields, and for a constructor that takes what is no field.
        """
        origin: Any = typing.get_origin(made) or made
        if not has_fields(origin):
            what = str(getattr(origin, "__name__", shown(made)))
            raise InvalidOption(
                f"{f'{name}: ' if name else ''}{what} has no fields to store",
                hint="Make it a dataclass (@dataclass stands right above `class`), "
                "a msgspec.Struct, a pydantic model or an attrs class",
            )
        return cls(made, origin, name or origin.__name__)

    def __str__(self) -> str:
        """The fields as a caller sees them, for sentences: `ReadName(filename: str, retries: int = 3)`."""
        fields = [
            f"{key}: {type_text(hint)}" + ("" if default is _EMPTY else f" = {_default_text(default)}")
            for key, hint, default in self._ready.described()
        ]
        return f"{self.cls.__name__}({cut(', '.join(fields), 300)})"

    @property
    def keys(self) -> frozenset[str]:
        """Every key that a payload may have."""
        return self._shape.keys

    def encode(self, value: T, *, max_bytes: int = DEFAULT_MAX_BYTES) -> str:
        """The JSON text of an object. Raises InvalidPayload if it would not come back as it is."""
        return sound(self.write(value), self._prefix, "", max_bytes)

    def encode_arguments(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], *, max_bytes: int = DEFAULT_MAX_BYTES
    ) -> str:
        """The JSON text of the object that the constructor makes of these arguments.

        Defaults are written too: what was enqueued does not change when the code does.
        Raises InvalidPayload if they do not fit, and with what the constructor says if it refuses them.
        """
        shape = self._ready
        arguments = shape.bind(args, kwargs)
        values = shape.by_key(arguments)
        self._check_names(values)
        try:
            value = _made(self.cls, arguments, self._prefix)
        except InvalidPayload as said:
            if not from_pydantic(said.__cause__):  # A value of the wrong type has a clearer sentence than that.
                self.given(values)
            raise
        return self.encode(value, max_bytes=max_bytes)

    def check(self, payload: Mapping[str, Any] | str, *, max_bytes: int = DEFAULT_MAX_BYTES) -> str:
        """The JSON text of an object whose fields are given by name, as a mapping or as JSON text from a person.

        Defaults are written too. Raises InvalidPayload if the fields do not fit.
        """
        given: Any = loads(payload, f"{self._prefix}payload") if isinstance(payload, str) else payload
        if not isinstance(given, Mapping):
            raise InvalidPayload(
                f"{self._prefix}payload: expected the fields by name, got {type_name(given)}: expected {self}"
            )
        return self.encode(self.given(dict(cast("Mapping[str, Any]", given))), max_bytes=max_bytes)

    def decode(self, raw: Raw) -> T:
        """The object again. Raises InvalidPayload, naming the field and what is stored, if it does not fit."""
        return self.read(raw, raw)

    def schema(self) -> dict[str, Any]:
        """The payload as JSON Schema, to publish."""
        return {"type": "object", "properties": {}, "required": [], **self._ready.schema(), "title": self.name}

    def write(self, value: T) -> bytes:
        """As encode, without the limits of size and depth."""
        shape = self._ready
        if type(value) is not self.cls:
            raise InvalidPayload(f"{self._prefix}expected {self.cls.__name__}, got {type_name(value)}")
        values: Any = None
        try:
            values = shape.values(value)
            raw = shape.dump(value, values)
            back = shape.parse(raw)
        except Exception as error:
            raise self._refusal(values, error) from error
        try:
            came_back = shape.values(shape.make(back))
        except InvalidPayload:  # Perhaps only because NaN is null in JSON.
            inspect_value(shape.plain(values), MISSING, self._prefix, "", strict=False)
            raise
        if not same(values, came_back):
            different = {key: one for key, one in values.items() if not same(one, came_back.get(key, MISSING))}
            inspect_value(different, came_back, self._prefix, "", strict=True)
        return raw

    def read(self, raw: Raw, stored: Raw | None = None) -> T:
        """As decode. `stored` is the text to show in sentences, if it was stored at all."""
        shape = self._ready
        try:
            back = shape.parse(raw)
        except Exception as error:
            try:
                values = plain_decoder.decode(raw)
            except Exception:
                values = None
            raise self._refusal(values, error, stored) from error
        return shape.make(back)

    def given(self, values: dict[str, Any]) -> T:
        """The object whose fields are given by name, as `check` takes them. Raises InvalidPayload if they do not fit."""
        shape = self._ready
        try:
            back = shape.parse_given(values)
        except InvalidPayload:
            raise
        except Exception as error:
            raise self._refusal(values, error) from error
        return shape.make(back)

    @cached_property
    def _ready(self) -> _Constructed | _Model:
        self._shape.resolve()
        return self._shape

    def _check_names(self, values: dict[str, Any], stored: Raw | None = None) -> None:
        if faults := _misfits(self._shape, values):
            kept = "" if stored is None else f"stored {excerpt(stored)}, "
            raise InvalidPayload(f"{self._prefix}{'; '.join(faults)}: {kept}expected {self}")

    def _refusal(self, values: Any, error: Exception, stored: Raw | None = None) -> InvalidPayload:
        if isa(values, dict):
            try:
                self._check_names(values, stored)
            except InvalidPayload as found:
                return found
            values = self._shape.plain(values)
        return refusal(values, error, self._prefix)


class _Constructed:
    """A dataclass, struct or attrs class: made by its constructor from the values of its fields."""

    open = False

    def __init__(self, made: Any, cls: Any, title: str) -> None:
        self._made = made
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
        hint_of = _hints(self._made)
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
        return _made(self._cls, arguments, self._prefix)

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


class _Model:
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
        if faults := _misfits(self, fields_as_text.decode(raw)):
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


def _made(cls: Any, arguments: dict[str, Any], prefix: str) -> Any:
    try:
        return cls(**arguments)
    except (ValueError, TypeError) as error:
        raise _said(error, prefix) from error


def _said(error: Exception, prefix: str) -> InvalidPayload:
    """What a constructor or a validator says. Other errors of theirs are no verdict on the payload and pass."""
    if from_pydantic(error):
        return InvalidPayload(explained(prefix, "", error))
    return InvalidPayload(prefix + (cut(error, 300) or type(error).__name__))


def _misfits(shape: _Constructed | _Model, values: Mapping[str, Any]) -> list[str]:
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


def _default_text(default: object) -> str:
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
