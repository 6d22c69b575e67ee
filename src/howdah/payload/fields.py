"""The fields of an object as JSON and back: what a step of a state machine needs, what an actor remembers."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Generic, TypeVar, cast

from howdah.errors import InvalidOption, InvalidPayload, shown
from howdah.payload.codec import plain_decoder
from howdah.payload.sentences import (
    DEFAULT_MAX_BYTES,
    cut,
    from_pydantic,
    isa,
    type_name,
    type_text,
)
from howdah.payload.shapes import Constructed, Model, default_text, has_fields, made_of, misfits_of
from howdah.payload.signature import (
    Raw,
    refusal,
)
from howdah.payload.values import MISSING, inspect_value, loads, same, sound

T = TypeVar("T")

_EMPTY: Any = inspect.Parameter.empty


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
        self._shape = Model(cls, name) if hasattr(cls, "model_validate_json") else Constructed(made, cls, name)

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
            f"{key}: {type_text(hint)}" + ("" if default is _EMPTY else f" = {default_text(default)}")
            for key, hint, default in self._ready.described()
        ]
        return f"{self.cls.__name__}({cut(', '.join(fields), 300)})"

    @property
    def keys(self) -> frozenset[str]:
        """Every key that a payload may have."""
        return self._shape.keys

    @property
    def takes_any(self) -> bool:
        """Whether a payload may have other keys as well."""
        return self._shape.open

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
            value = made_of(self.cls, arguments, self._prefix)
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
    def _ready(self) -> Constructed | Model:
        self._shape.resolve()
        return self._shape

    def _check_names(self, values: dict[str, Any], stored: Raw | None = None) -> None:
        if faults := misfits_of(self._shape, values):
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
