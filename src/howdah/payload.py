"""A handler's arguments and its result as JSON, and the sentence that names the bad field.

What is written has been read back first, by the decoder the worker will use: what comes back equal is safe.
Only what differs or fails is looked at piece by piece, so the common case costs a microsecond.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import math
import re
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from itertools import accumulate
from pathlib import PurePath
from typing import Any, NoReturn, cast

import msgspec

from howdah.errors import InvalidOption, InvalidPayload, shown
from howdah.outcomes import Outcome

DEFAULT_MAX_BYTES = 1024 * 1024
MAX_DEPTH = 500  # Deeper than people write, and far from the end of the stack of a handler deep in its own calls.

Raw = bytes | str | msgspec.Raw

_MISSING: Any = object()
_EMPTY: Any = inspect.Parameter.empty
# Classes msgspec leaves to us: written as a plain value, made again from it. With their names in JSON Schema.
_SCALARS: tuple[tuple[type, Any, str], ...] = (
    (str, str, "string"), (int, int, "integer"), (float, (int, float), "number"), (PurePath, str, "string"),
)  # fmt: skip
_PLAIN = (str, int, float, list, dict, types.NoneType)
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_LEVEL = {"[": 1, "{": 1, "]": -1, "}": -1}


class Signature:
    """How a handler's arguments and its result look as JSON: an object with one key per parameter.

    `injected` has the parameters that the worker fills in, with the class each asks for.
    """

    def __init__(self, name: str, shown: inspect.Signature, injected: dict[str, type]) -> None:
        self.name = name
        self._prefix = f"{name}: "
        self.injected = injected
        self.injected_names = tuple(injected)
        self._shown = shown
        parameters = [p for p in shown.parameters.values() if p.kind is not p.VAR_KEYWORD]
        self._names = {p.name: p.annotation for p in parameters}
        self._positional = tuple(p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD)
        self._required = tuple(p.name for p in parameters if p.default is _EMPTY)
        self._has_optional = len(self._required) < len(parameters)
        extra = [p.annotation for p in shown.parameters.values() if p.kind is p.VAR_KEYWORD]
        self._extra = msgspec.json.Decoder(dict[str, extra[0]], dec_hook=_from_json) if extra else None
        fields: list[Any] = [(p.name, p.annotation) + (msgspec.UNSET,) * (p.default is not _EMPTY) for p in parameters]
        self._struct = msgspec.defstruct("Payload", fields, kw_only=True, forbid_unknown_fields=not extra)
        self._decoder = msgspec.json.Decoder(self._struct, dec_hook=_from_json)
        self._result = _result_decoder(shown.return_annotation)

    @classmethod
    def of(cls, function: Callable[..., Any], *, injected: tuple[type, ...] = (), name: str | None = None) -> Signature:
        """Read the signature of a function or a class; once per handler.

        Raises InvalidOption, naming the parameter, for what JSON cannot fill: `*args`, positional-only parameters,
        annotations that cannot be found, types that JSON does not know (unless there is a default).
        """
        title = name or str(getattr(function, "__name__", type(function).__name__))
        signature, resolve = _signature(function), _resolver(function, injected)
        shown: list[inspect.Parameter] = []
        services: dict[str, type] = {}
        for parameter in signature.parameters.values():
            field, where = parameter.name, f"{title}: {parameter.name}"
            if parameter.kind is parameter.VAR_POSITIONAL:
                raise InvalidOption(f"{title}: *{field} has no name in JSON", hint=f"Write {field}: list[…] instead")
            if parameter.kind is parameter.POSITIONAL_ONLY or field.startswith("__"):
                raise InvalidOption(
                    f"{where} is positional-only, and payloads go by name", hint="Remove the / or the __"
                )
            try:
                hint = resolve(parameter.annotation)
                if (service := _injected_class(hint, injected)) is not None:
                    services[field] = service
                    continue
                hint = _readable(hint, optional=parameter.default is not _EMPTY)
            except NameError as error:
                raise InvalidOption(
                    f"{where}: its annotation cannot be resolved: {_cut(error)}",
                    hint="Define or import its types at the top level of the module, outside `if TYPE_CHECKING`",
                ) from error
            except Exception as error:
                raise InvalidOption(
                    f"{where}: JSON cannot be read as its annotation: {_cut(error, 300)}",
                    hint="Use plain types, dataclasses, msgspec structs or pydantic models, or give it a default",
                ) from error
            shown.append(parameter.replace(annotation=hint))
        try:
            result = resolve(signature.return_annotation)
        except Exception:  # Often a class that only type checkers import: the result is then plain JSON.
            result = Any
        return cls(title, inspect.Signature(shown, return_annotation=result), services)

    def __str__(self) -> str:
        """The signature as a caller sees it, for sentences: `welcome(user_id: int, name: str = 'x')`."""
        text = str(self._shown.replace(return_annotation=_EMPTY))
        return self.name + _cut(text.replace(": Any = ", "=").replace(": Any", ""), 300)

    def encode(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        max_bytes: int = DEFAULT_MAX_BYTES,
    ) -> str:
        """The JSON text of a call's arguments. Raises InvalidPayload if they do not fit."""
        if len(args) > (most := len(self._positional)):
            raise InvalidPayload(f"{self.name}: {len(args)} positional arguments given, at most {most} fit: {self}")
        values: dict[str, Any] = {}
        for field, value in zip(self._positional, args):  # noqa: B905 (strict= is slow, and the lengths were compared)
            values[field] = value
        if kwargs:
            if twice := values.keys() & kwargs.keys():
                raise InvalidPayload(f"{self.name}: argument {min(twice)} is given twice: {self}")
            values.update(kwargs)
        return self._write(values, max_bytes)

    def check(self, payload: Mapping[str, Any] | str, *, max_bytes: int = DEFAULT_MAX_BYTES) -> str:
        """The JSON text of arguments given by name, as a mapping or as JSON text from a person.

        Raises InvalidPayload if they do not fit.
        """
        given: Any = loads(payload, f"{self.name}: payload") if isinstance(payload, str) else payload
        if not isinstance(given, Mapping):
            raise InvalidPayload(f"{self.name}: payload: expected the arguments by name, got {_name(given)}: {self}")
        return self._write(dict(cast("Mapping[str, Any]", given)), max_bytes)

    def decode(self, raw: Raw) -> dict[str, Any]:
        """The keyword arguments for a call; what is absent is left to the function's own defaults.

        Raises InvalidPayload, naming the field, if they do not fit.
        """
        try:
            return self._read(raw)
        except Exception as error:
            try:
                values = _plain.decode(raw)
            except Exception:
                values = None
            raise self._refusal(values, error) from error

    def encode_result(self, value: Any, *, max_bytes: int = DEFAULT_MAX_BYTES) -> str | None:
        """The JSON text of what the handler returned; None for None.

        The work is done, so whatever JSON can hold is kept, even if the annotation says otherwise.
        Raises InvalidPayload for what JSON cannot hold.
        """
        return None if value is None else _lenient(value, self._prefix, "result", max_bytes, self._result)

    def decode_result(self, raw: Raw | None) -> Any:
        """The result, as the return annotation's type if it has one. Raises InvalidPayload if it does not fit."""
        if raw is None:
            return None
        try:
            return self._result.decode(raw)
        except Exception as error:
            raise InvalidPayload(_explained(self._prefix, "result", error)) from error

    def schema(self) -> dict[str, Any]:
        """The payload as JSON Schema, to publish."""
        definitions: dict[str, Any] = {}

        def describe(tp: Any) -> dict[str, Any]:
            try:
                schema = _described(tp)
            except TypeError:  # A parameter with a default may be of any class: it can be left out.
                return {"description": "no JSON value: leave it out"}
            definitions.update(schema.pop("$defs", {}))
            return schema

        (root,), parts = msgspec.json.schema_components(
            [self._struct], schema_hook=describe, ref_template="#/$defs/{name}"
        )
        schema = {**parts.pop(root["$ref"].removeprefix("#/$defs/")), "title": self.name}
        return {**schema, "$defs": definitions | parts} if definitions or parts else schema

    def _write(self, values: dict[str, Any], max_bytes: int) -> str:
        try:
            raw = _encode(values)
            back = self._read(raw)
        except Exception as error:
            raise self._refusal(values, error) from error
        if not _same(values, back):
            _inspect(values, back, self._prefix, "", strict=True)
        return _sound(raw, self._prefix, "", max_bytes)

    def _read(self, raw: Raw) -> dict[str, Any]:
        values = msgspec.structs.asdict(self._decoder.decode(raw))
        if self._has_optional:
            values = {field: value for field, value in values.items() if value is not msgspec.UNSET}
        if self._extra is not None:
            given = _fields_as_text.decode(raw)
            values |= self._extra.decode(_encode({f: text for f, text in given.items() if f not in self._names}))
            if taken := values.keys() & self.injected.keys():
                raise msgspec.ValidationError(f"{min(taken)} is filled in by the worker")
        return values

    def _refusal(self, values: Any, error: Exception) -> InvalidPayload:
        """The clearest sentence there is for arguments that could not be written or read."""
        if isinstance(values, dict):
            given = cast("dict[Any, Any]", values)
            unknown = [] if self._extra else [_cut(field) for field in given if field not in self._names]
            missing = [field for field in self._required if field not in given]
            for fault, fields in (("unexpected", unknown), ("missing", missing)):
                if fields:
                    plural = "s" if len(fields) > 1 else ""
                    return InvalidPayload(f"{self.name}: {fault} argument{plural} {_cut(', '.join(fields))}: {self}")
            try:
                _inspect(given, _MISSING, self._prefix, "", strict=False)
            except InvalidPayload as found:
                return found
        return InvalidPayload(_explained(self._prefix, "", error, values))


def plain_json(value: Any, field: str, *, max_bytes: int = DEFAULT_MAX_BYTES) -> str:
    """The JSON text of a value no signature describes. Raises InvalidPayload, naming `field` and the path in it."""
    return _lenient(value, "", field, max_bytes, _plain)


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
            raise InvalidPayload(f"{what} has the number {_cut(digits)}, which JSON cannot hold")
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
        raise InvalidPayload(f"{what} cannot be read as JSON: {_cut(error)}") from error


# ── values ⇄ JSON: what msgspec leaves to us ──


def _to_json(value: Any) -> Any:
    if _isa(value, str):  # A subclass, here and below: its plain value.
        return str.__str__(value)
    if _isa(value, int):
        return int.__int__(value)
    if _isa(value, float):
        return float.__float__(value)
    if _isa(value, PurePath):
        return str(value)
    if hasattr(value, "model_dump_json"):
        return msgspec.Raw(value.model_dump_json(by_alias=True, round_trip=True).encode())
    raise TypeError(f"{_name(value)} has no form in JSON")


class _AnyInstance(type):
    def __instancecheck__(cls, instance: Any) -> bool:
        return True


class _Adapted(metaclass=_AnyInstance):
    """Stands in for an annotation that msgspec cannot read and pydantic can."""

    adapter: Any


def _from_json(tp: Any, value: Any) -> Any:
    if tp is object:
        return value
    if _isa(tp, type) and issubclass(tp, _Adapted):
        return tp.adapter.validate_json(_encode(value))
    if hasattr(tp, "model_validate_json"):
        return tp.model_validate_json(_encode(value))
    for base, plain, _ in _SCALARS:
        if _isa(tp, type) and issubclass(tp, base) and _isa(value, plain) and not _isa(value, bool):
            return tp(value)
    raise TypeError(f"Expected {_cut(getattr(tp, '__name__', tp))}, got {_name(value)}")


def _described(tp: Any) -> dict[str, Any]:
    """The JSON Schema of a class msgspec leaves to us; _UnknownType if there is none."""
    if tp is object:
        return {"description": "any JSON value"}
    template = "#/$defs/{model}"
    if _isa(tp, type) and issubclass(tp, _Adapted):
        return tp.adapter.json_schema(ref_template=template)
    if hasattr(tp, "model_json_schema"):
        return tp.model_json_schema(ref_template=template)
    for base, _, name in _SCALARS:
        if _isa(tp, type) and issubclass(tp, base):
            return {"type": name}
    raise _UnknownType(f"{_cut(getattr(tp, '__name__', tp))} is no type that JSON knows")


class _UnknownType(TypeError):
    pass


_encode = msgspec.json.Encoder(enc_hook=_to_json).encode
_plain: msgspec.json.Decoder[Any] = msgspec.json.Decoder()
_fields_as_text = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _lenient(value: Any, prefix: str, path: str, max_bytes: int, decoder: msgspec.json.Decoder[Any]) -> str:
    """The JSON text of a value that may lose its type, though nothing else."""
    try:
        raw = _encode(value)
        back = _plain.decode(raw)
    except Exception as error:
        _inspect(value, _MISSING, prefix, path, strict=False)
        raise InvalidPayload(_explained(prefix, path, error)) from error
    if not _same(value, back):
        try:
            back = decoder.decode(raw)
        except Exception:  # Not what the annotation says: it is kept as it is.
            pass
        if not _same(value, back):
            _inspect(value, back, prefix, path, strict=False)
    return _sound(raw, prefix, path, max_bytes)


def _sound(raw: bytes, prefix: str, path: str, max_bytes: int) -> str:
    """The text, unless PostgreSQL would refuse it or it is too big or too deep for a task."""
    text = raw.decode()
    if len(raw) > max_bytes:
        raise InvalidPayload(
            f"{prefix}{path or 'payload'} is {len(raw):,} bytes, more than the {max_bytes:,} allowed",
            hint="Keep big things elsewhere and pass a reference, or allow more with App(max_payload=…)",
        )
    if "\\u0000" in text:
        _inspect(_plain.decode(raw), _MISSING, prefix, path, strict=False)
    if len(raw) > MAX_DEPTH and text.count("[") + text.count("{") > MAX_DEPTH:
        levels = accumulate(_LEVEL.get(letter, 0) for letter in _STRING.sub("", text))
        if max(levels, default=0) > MAX_DEPTH:
            raise InvalidPayload(f"{prefix}{path or 'payload'} is nested deeper than {MAX_DEPTH} levels")
    return text


def _same(value: Any, back: Any) -> bool:
    try:
        return bool(value == back)
    except Exception:  # Too deep, or a user's __eq__: the closer look decides.
        return False


def _inspect(top: Any, came_back: Any, prefix: str, path: str, *, strict: bool) -> None:
    """Look for what JSON cannot hold and, beside what came back, for what was lost or changed on the way.

    The strict look also refuses what would come back as another type, where no annotation tells which.
    """

    def refuse(fault: str, hint: str | None = None) -> NoReturn:
        raise InvalidPayload(f"{prefix}{_cut(where or 'payload', 160)} {fault}", hint=hint)

    where = path
    todo: list[tuple[Any, Any, str, int]] = [(top, came_back, path, 0)]
    try:
        while todo:
            value, back, where, depth = todo.pop()
            if depth > MAX_DEPTH:
                refuse(f"is nested deeper than {MAX_DEPTH} levels, or contains itself")
            inside = list(_inside(value, back, where))
            if (fault := _fault(value)) is not None or (not inside and not _encodable(value)):
                refuse(fault or f"is {_name(value)}, which JSON cannot hold")
            if _isa(value, (bytes, bytearray, memoryview)) and _isa(back, str):
                refuse("is bytes, which JSON cannot hold", "Annotate the parameter as bytes, or decode it to str")
            if strict and back is not _MISSING:
                if _isa(back, _PLAIN) and not _isa(value, (*_PLAIN, tuple)):
                    refuse(
                        f"is {_name(value)} and would come back as {_name(back)}",
                        "Annotate the parameter with its type, or convert it first",
                    )
                if (lost := _lost(value, back)) is not None:
                    refuse(f"has {lost}, which would be lost", "Annotate it with its type")
                comparable = not inside and (type(value) is type(back) or _isa(back, (int, float)))
                if comparable and not _same(value, back) and _same(value, value):
                    refuse(f"is {shown(value)} and would come back as {shown(back)}")
            todo.extend((*piece, depth + 1) for piece in reversed(inside))
    except InvalidPayload:
        raise
    except Exception as error:  # A property, an __eq__ or a __getattr__ that fails.
        refuse(f"cannot be read: {_cut(error)}")


def _fault(value: Any) -> str | None:
    """What is wrong with this one value, if anything, whatever is inside it."""
    if _isa(value, str):
        if "\0" in value:
            return "holds the character NUL (\\u0000), which PostgreSQL cannot store"
        if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
            return "holds half of a surrogate pair, which is no character"
    elif _isa(value, float):
        if not math.isfinite(value):
            return f"is {'NaN' if math.isnan(value) else 'Infinity'}, which JSON cannot hold"
    elif _isa(value, int):
        if value.bit_length() > 14_000:
            return "is a number of more than 4,000 digits"
    elif _isa(value, dict):
        for key in value:
            if fault := _fault(key):
                return f"has a key that {fault}"
            if not _isa(key, str) and not _encodable({key: None}):
                return f"has the key {shown(key)}; keys in JSON are text"
    return None


def _inside(value: Any, back: Any, where: str) -> Iterator[tuple[Any, Any, str]]:
    """The pieces of a value, each beside the piece that came back and with the path to it."""
    if _isa(value, dict):
        backs = back if _isa(back, dict) else None
        for key, item in value.items():
            known = _isa(key, str) and backs is None and not _isa(back, _PLAIN)
            came_back = backs.get(key, _MISSING) if backs is not None else _MISSING
            yield item, getattr(back, key, _MISSING) if known else came_back, _step(where, key)
    elif _isa(value, (list, tuple)):
        items = value
        backs = back if _isa(back, (list, tuple)) else ()
        for i, item in enumerate(items):
            yield item, backs[i] if i < len(backs) else _MISSING, f"{where}[{i}]"
    elif _isa(value, (set, frozenset)):
        for item in value:
            yield item, _MISSING, f"{where}[…]"
    elif _isa(value, Enum) and not _isa(value, _PLAIN):
        yield value.value, _MISSING, where
    else:
        for field in _fields(value):
            if hasattr(value, field):
                yield getattr(value, field), getattr(back, field, _MISSING), _step(where, field)


def _lost(value: Any, back: Any) -> str | None:
    """The first key or field that did not come back."""
    if _isa(value, dict) and _isa(back, dict):
        keys, backs = value, back
        # Text that an annotation made another kind of key is still there, under that key.
        lost = [k for k in keys if k not in backs and not (_isa(k, str) and len(backs) == len(keys))]
        return f"the key {shown(lost[0])}" if lost else None
    return next((f"the field {f}" for f in _fields(value) if hasattr(value, f) and not hasattr(back, f)), None)


def _fields(value: Any) -> list[str]:
    """The fields of a struct, dataclass, pydantic model or attrs object; nothing for anything else."""
    cls = cast("Any", type(value))
    for names in ("__struct_fields__", "__pydantic_fields__", "__dataclass_fields__"):
        if hasattr(cls, names):
            return [*getattr(cls, names), *(("__pydantic_extra__",) if names == "__pydantic_fields__" else ())]
    return [attribute.name for attribute in getattr(cls, "__attrs_attrs__", ())]


def _encodable(value: Any) -> bool:
    try:
        _encode(None if value is msgspec.UNSET else value)
    except Exception:
        return False
    return True


# ── signatures ──


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    if sys.version_info >= (
        3,
        14,
    ):  # Annotations are code there; one that only type checkers can find must not stop us.
        import annotationlib

        return inspect.signature(function, annotation_format=annotationlib.Format.FORWARDREF)
    return inspect.signature(function)


def _resolver(function: Callable[..., Any], injected: tuple[type, ...]) -> Callable[[Any], Any]:
    """From an annotation, perhaps in quotes, to the type it means where `function` was written."""
    written: Any = inspect.unwrap(function)
    while _isa(written, functools.partial):
        written = inspect.unwrap(written.func)
    # Context is often imported for type checkers only.
    names: dict[str, Any] = {cls.__name__: cls for cls in injected}
    if _isa(written, type):
        for cls in reversed(written.__mro__):
            names |= vars(sys.modules[cls.__module__])
    else:
        written = written if hasattr(written, "__code__") or hasattr(written, "__func__") else type(written).__call__
        names |= getattr(getattr(written, "__func__", written), "__globals__", {})

    def resolve(annotation: Any) -> Any:
        def holder() -> None: ...

        annotation = annotation.type if _isa(annotation, dataclasses.InitVar) else annotation  # pyright: ignore
        holder.__annotations__ = {"it": Any if annotation is _EMPTY else annotation}
        return typing.get_type_hints(holder, globalns=names, include_extras=True)["it"]

    return resolve


def _injected_class(hint: Any, injected: tuple[type, ...]) -> type | None:
    """The injected class a hint asks for: `Context`, `Context[T]`, `Context | None`, `Annotated[Context, …]`."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType, typing.Annotated):
        return next((cls for arg in typing.get_args(hint) if (cls := _injected_class(arg, injected))), None)
    cls = origin or hint
    return cls if _isa(cls, type) and issubclass(cls, injected) else None


def _readable(hint: Any, *, optional: bool) -> Any:
    """The hint, or a stand-in that pydantic reads; raises what msgspec says if JSON cannot be read as this type."""
    try:
        msgspec.json.Decoder(hint)
        if not optional:
            msgspec.json.schema_components([hint], schema_hook=_described)
    except TypeError:
        if not _has_model(hint):
            raise
        import pydantic

        return _AnyInstance("Adapted", (_Adapted,), {"adapter": pydantic.TypeAdapter(hint)})
    return hint


def _has_model(hint: Any) -> bool:
    return hasattr(hint, "model_validate_json") or any(map(_has_model, typing.get_args(hint)))


def _result_decoder(hint: Any) -> msgspec.json.Decoder[Any]:
    """Reads a result; the outcomes that a handler may return instead say nothing about it."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        results: list[Any] = [
            arg for arg in typing.get_args(hint) if not (_isa(arg, type) and issubclass(arg, Outcome))
        ]
        hint = functools.reduce(lambda one, other: one | other, results) if results else Any
    try:
        if hint is not types.NoneType:
            return msgspec.json.Decoder(_readable(hint, optional=False), dec_hook=_from_json)
    except Exception:  # A type that JSON does not know: the result is then plain JSON.
        pass
    return _plain


# ── sentences ──


def _explained(prefix: str, root: str, error: Exception, values: Any = None) -> str:
    """What msgspec or pydantic says about a value, as the end of our sentence."""
    if _isa(error, RecursionError):
        return f"{prefix}{root or 'payload'} is nested deeper than {MAX_DEPTH} levels, or contains itself"
    fault, mark, place = _cut(error, DEFAULT_MAX_BYTES).rpartition(" - at `")
    fault, place = (fault, place) if mark else (place, "")
    path = place.removeprefix("key` in `").removesuffix("`").removeprefix("$")
    fault = fault.replace("`", "")
    cause: Any = error.__cause__
    if hasattr(cause, "errors"):
        first = cause.errors(include_url=False, include_input=False)[0]
        fault, path = first["msg"], path + "".join(f".{part}" for part in first["loc"])
    given = values.get(path[1:]) if _isa(values, dict) else None  # pyright: ignore
    if not _isa(given, _PLAIN):  # A Decimal is text in JSON, but that is not what was given.
        fault = re.sub(r"got \w+$", f"got {_name(given)}", fault)
    where = (root + path).removeprefix(".").replace("[...]", "[…]") or "payload"
    subject = "a key of " if place.startswith("key` in ") else ""
    return f"{prefix}{subject}{_cut(where, 160)}: {_cut(fault[:1].lower() + fault[1:], 160)}"


def _step(path: str, key: Any) -> str:
    if _isa(key, str) and key.isidentifier():
        return f"{path}.{_cut(key, 40)}".removeprefix(".")
    return f"{path}[{shown(key, 40)}]"


def _name(value: Any) -> str:
    return "null" if value is None else _cut(type(value).__name__)


def _cut(value: object, most: int = 80) -> str:
    """Text that fits in a sentence, whatever it is made from."""
    try:
        text = str(value)
    except Exception:  # A user's __str__, or a number of 5,000 digits.
        text = f"a {_name(value)}"
    return text if len(text) <= most else text[: most - 1] + "…"


def _isa(value: Any, classes: Any) -> bool:
    """`isinstance`, for values of which nothing more is known afterwards."""
    return isinstance(value, classes)
