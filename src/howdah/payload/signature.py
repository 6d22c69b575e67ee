"""A handler's arguments and its result as JSON, and the sentence that names the bad field."""

from __future__ import annotations

import builtins
import dataclasses
import functools
import inspect
import sys
import types
import typing
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import msgspec

from howdah.errors import InvalidOption, InvalidPayload
from howdah.outcomes import Outcome
from howdah.payload.codec import (
    Adapted,
    AnyInstance,
    described,
    encode_json,
    fields_as_text,
    from_json,
    json_schemas,
    plain_decoder,
)
from howdah.payload.sentences import DEFAULT_MAX_BYTES, cut, explained, isa, misfits, type_name
from howdah.payload.values import MISSING, inspect_value, lenient, loads, same, sound

Raw = bytes | str | msgspec.Raw

_EMPTY: Any = inspect.Parameter.empty


class Signature:
    """How a handler's arguments and its result look as JSON: an object with one key per parameter.

    `injected` has the parameters that the worker fills in, with the class each asks for; `keys` has the key in JSON
    of each parameter that goes by another name there.
    """

    def __init__(
        self, name: str, shown: inspect.Signature, injected: dict[str, type], keys: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self._prefix = f"{name}: "
        self.injected = injected
        self.injected_names = tuple(injected)
        self._shown = shown
        parameters = [p for p in shown.parameters.values() if p.kind is not p.VAR_KEYWORD]
        self._names = {p.name: p.annotation for p in parameters}
        self.names = tuple(self._names)
        self._positional = tuple(p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD)
        self._required = tuple(p.name for p in parameters if p.default is _EMPTY)
        self._has_optional = len(self._required) < len(parameters)
        extra = [p.annotation for p in shown.parameters.values() if p.kind is p.VAR_KEYWORD]
        self._extra = msgspec.json.Decoder(dict[str, extra[0]], dec_hook=from_json) if extra else None
        fields: list[Any] = [(p.name, p.annotation) + (msgspec.UNSET,) * (p.default is not _EMPTY) for p in parameters]
        self._struct = msgspec.defstruct(
            "Payload", fields, kw_only=True, forbid_unknown_fields=not extra, rename=keys and dict(keys)
        )
        self._decoder = msgspec.json.Decoder(self._struct, dec_hook=from_json)
        self._result = _result_decoder(shown.return_annotation)

    @classmethod
    def of(cls, function: Callable[..., Any], *, injected: tuple[type, ...] = (), name: str | None = None) -> Signature:
        """Read the signature of a function or a class; once per handler.

        Raises InvalidOption, naming the parameter, for what JSON cannot fill: `*args`, positional-only parameters,
        annotations that cannot be found, types that JSON does not know (unless there is a default).
        """
        title = name or str(getattr(function, "__name__", type(function).__name__))
        signature, resolve = signature_of(function), resolver(function, injected)
        shown: list[inspect.Parameter] = []
        services: dict[str, type] = {}
        for parameter in signature.parameters.values():
            check_goes_by_name(title, parameter)
            with naming_option(f"{title}: {parameter.name}", "give it a default"):
                hint = resolve(parameter.annotation)
                if (service := _injected_class(hint, injected)) is not None:
                    services[parameter.name] = service
                    continue
                hint = readable(hint, optional=parameter.default is not _EMPTY)
            shown.append(parameter.replace(annotation=hint))
        try:
            result = resolve(signature.return_annotation)
        except Exception:  # Often a class that only type checkers import: the result is then plain JSON.
            result = Any
        return cls(title, inspect.Signature(shown, return_annotation=result), services)

    @property
    def keys(self) -> frozenset[str] | None:
        """Every key that a payload may have; None: any, because it takes **kwargs."""
        return None if self._extra is not None else frozenset(self._names)

    def default_of(self, name: str) -> Any:
        """What a parameter is when it is not given; `inspect.Parameter.empty` if it must be."""
        parameter = self._shown.parameters.get(name)
        return _EMPTY if parameter is None else parameter.default

    def __str__(self) -> str:
        """The signature as a caller sees it, for sentences: `welcome(user_id: int, name: str = 'x')`."""
        text = str(self._shown.replace(return_annotation=_EMPTY))
        return self.name + cut(text.replace(": Any = ", "=").replace(": Any", ""), 300)

    def encode(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        max_bytes: int = DEFAULT_MAX_BYTES,
    ) -> str:
        """The JSON text of a call's arguments. Raises InvalidPayload if they do not fit."""
        return self._write(self.bind(args, kwargs), max_bytes)

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments of a call by name. Raises InvalidPayload for too many and for one given twice."""
        if len(args) > (most := len(self._positional)):
            raise InvalidPayload(f"{self.name}: {len(args)} positional arguments given, at most {most} fit: {self}")
        values: dict[str, Any] = dict(zip(self._positional, args))  # noqa: B905 (strict= is slow, and the lengths were compared)
        if kwargs:
            if twice := values.keys() & kwargs.keys():
                raise InvalidPayload(f"{self.name}: argument {min(twice)} is given twice: {self}")
            values.update(kwargs)
        return values

    def check(self, payload: Mapping[str, Any] | str, *, max_bytes: int = DEFAULT_MAX_BYTES) -> str:
        """The JSON text of arguments given by name, as a mapping or as JSON text from a person.

        Raises InvalidPayload if they do not fit.
        """
        given: Any = loads(payload, f"{self.name}: payload") if isinstance(payload, str) else payload
        if not isinstance(given, Mapping):
            raise InvalidPayload(
                f"{self.name}: payload: expected the arguments by name, got {type_name(given)}: {self}"
            )
        return self._write(dict(cast("Mapping[str, Any]", given)), max_bytes)

    def decode(self, raw: Raw) -> dict[str, Any]:
        """The keyword arguments for a call; what is absent is left to the function's own defaults.

        Raises InvalidPayload, naming the field, if they do not fit.
        """
        try:
            return self.read(raw)
        except Exception as error:
            try:
                values = plain_decoder.decode(raw)
            except Exception:
                values = None
            raise self._refusal(values, error) from error

    def encode_result(self, value: Any, *, max_bytes: int = DEFAULT_MAX_BYTES) -> str | None:
        """The JSON text of what the handler returned; None for None.

        The work is done, so whatever JSON can hold is kept, even if the annotation says otherwise.
        Raises InvalidPayload for what JSON cannot hold.
        """
        return None if value is None else lenient(value, self._prefix, "result", max_bytes, self._result)

    def decode_result(self, raw: Raw | None) -> Any:
        """The result, as the return annotation's type if it has one. Raises InvalidPayload if it does not fit."""
        if raw is None:
            return None
        try:
            return self._result.decode(raw)
        except Exception as error:
            raise InvalidPayload(explained(self._prefix, "result", error)) from error

    def schema(self) -> dict[str, Any]:
        """The payload as JSON Schema, to publish."""
        (root,), parts = json_schemas([self._struct])
        schema = {**parts.pop(root["$ref"].removeprefix("#/$defs/")), "title": self.name}
        return {**schema, "$defs": parts} if parts else schema

    def _write(self, values: dict[str, Any], max_bytes: int) -> str:
        try:
            raw = encode_json(values)
            back = self.read(raw)
        except Exception as error:
            raise self._refusal(values, error) from error
        if not same(values, back):
            inspect_value(values, back, self._prefix, "", strict=True)
        return sound(raw, self._prefix, "", max_bytes)

    def read(self, raw: Raw) -> dict[str, Any]:
        """As decode, but raises whatever the decoder says."""
        values = msgspec.structs.asdict(self._decoder.decode(raw))
        if self._has_optional:
            values = {field: value for field, value in values.items() if value is not msgspec.UNSET}
        if self._extra is not None:
            given = fields_as_text.decode(raw)
            values |= self._extra.decode(encode_json({f: text for f, text in given.items() if f not in self._names}))
            if taken := values.keys() & self.injected.keys():
                raise msgspec.ValidationError(f"{min(taken)} is filled in by the worker")
        return values

    def _refusal(self, values: Any, error: Exception) -> InvalidPayload:
        """The clearest sentence there is for arguments that could not be written or read."""
        if isinstance(values, dict):
            given = cast("dict[Any, Any]", values)
            unknown = [] if self._extra else [field for field in given if field not in self._names]
            missing = [field for field in self._required if field not in given]
            if faults := misfits("argument", unknown, missing):
                return InvalidPayload(f"{self.name}: {faults[0]}: {self}")
        return refusal(values, error, self._prefix)


def refusal(values: Any, error: Exception, prefix: str) -> InvalidPayload:
    """The clearest sentence there is for values by name of which one does not fit."""
    if isa(values, dict):
        try:
            inspect_value(values, MISSING, prefix, "", strict=False)
        except InvalidPayload as found:
            return found
    return InvalidPayload(explained(prefix, "", error, values))


def check_goes_by_name(title: str, parameter: inspect.Parameter) -> None:
    """Raises InvalidOption for a parameter that no key of a payload can fill."""
    field = parameter.name
    if parameter.kind is parameter.VAR_POSITIONAL:
        raise InvalidOption(f"{title}: *{field} has no name in JSON", hint=f"Write {field}: list[…] instead")
    if parameter.kind is parameter.POSITIONAL_ONLY or field.startswith("__"):
        raise InvalidOption(
            f"{title}: {field} is positional-only, and payloads go by name", hint="Remove the / or the __"
        )


@contextmanager
def naming_option(where: str, otherwise: str) -> Generator[None]:
    """Raises InvalidOption, naming `where` the annotation stands, for one that has no meaning inside."""
    try:
        yield
    except NameError as error:
        raise InvalidOption(
            f"{where}: its annotation cannot be resolved: {cut(error)}",
            hint="Define or import its types at the top level of the module, outside `if TYPE_CHECKING`",
        ) from error
    except Exception as error:
        raise InvalidOption(
            f"{where}: JSON cannot be read as its annotation: {cut(error, 300)}",
            hint=f"Use plain types, dataclasses, msgspec structs or pydantic models, or {otherwise}",
        ) from error


def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    if sys.version_info >= (
        3,
        14,
    ):  # Annotations are code there; one that only type checkers can find must not stop us.
        import annotationlib

        return inspect.signature(function, annotation_format=annotationlib.Format.FORWARDREF)
    return inspect.signature(function)


def resolver(function: Callable[..., Any], injected: tuple[type, ...]) -> Callable[[Any], Any]:
    """From an annotation, perhaps in quotes, to the type it means where `function` was written."""
    written: Any = inspect.unwrap(function)
    while isa(written, functools.partial):
        written = inspect.unwrap(written.func)
    # Context is often imported for type checkers only.
    names: dict[str, Any] = {cls.__name__: cls for cls in injected}
    if isa(written, type):
        mro = written.__mro__[::-1]
        for cls in mro:  # What stands in the class itself; a field named `list` must not hide the type.
            names |= {**vars(cls)}
        names |= vars(builtins)
        for cls in mro:
            names |= vars(sys.modules.get(cls.__module__, builtins))
        for cls in mro:  # class Box[T]
            names |= {each.__name__: each for each in getattr(cls, "__type_params__", ())}
    else:
        written = written if hasattr(written, "__code__") or hasattr(written, "__func__") else type(written).__call__
        names |= getattr(getattr(written, "__func__", written), "__globals__", {})

    def resolve(annotation: Any) -> Any:
        def holder() -> None: ...

        annotation = annotation.type if isa(annotation, dataclasses.InitVar) else annotation  # pyright: ignore
        holder.__annotations__ = {"it": Any if annotation is _EMPTY else annotation}
        return typing.get_type_hints(holder, globalns=names, include_extras=True)["it"]

    return resolve


def _injected_class(hint: Any, injected: tuple[type, ...]) -> type | None:
    """The injected class a hint asks for: `Context`, `Context[T]`, `Context | None`, `Annotated[Context, …]`."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType, typing.Annotated):
        return next((cls for arg in typing.get_args(hint) if (cls := _injected_class(arg, injected))), None)
    cls = origin or hint
    return cls if isa(cls, type) and issubclass(cls, injected) else None


def readable(hint: Any, *, optional: bool) -> Any:
    """The hint, or a stand-in that pydantic reads; raises what msgspec says if JSON cannot be read as this type."""
    try:
        msgspec.json.Decoder(hint)
        if not optional:
            msgspec.json.schema_components([hint], schema_hook=described)
    except TypeError:
        if not _has_model(hint):
            raise
        import pydantic

        return AnyInstance("Adapted", (Adapted,), {"adapter": pydantic.TypeAdapter(hint)})
    return hint


def _has_model(hint: Any) -> bool:
    return hasattr(hint, "model_validate_json") or any(map(_has_model, typing.get_args(hint)))


def _result_decoder(hint: Any) -> msgspec.json.Decoder[Any]:
    """Reads a result; the outcomes that a handler may return instead say nothing about it."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        results: list[Any] = [arg for arg in typing.get_args(hint) if not (isa(arg, type) and issubclass(arg, Outcome))]
        hint = functools.reduce(lambda one, other: one | other, results) if results else Any
    try:
        if hint is not types.NoneType:
            return msgspec.json.Decoder(readable(hint, optional=False), dec_hook=from_json)
    except Exception:  # A type that JSON does not know: the result is then plain JSON.
        pass
    return plain_decoder
