"""A handler's arguments and its result as JSON, and the sentence that names the bad field.

What is written has been read back first, with the decoder the worker will use: what comes back equal is
safe to store. Only what differs or fails is looked at piece by piece, so the common case costs a microsecond.
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
from collections.abc import Callable, Iterable, Mapping
from itertools import accumulate
from pathlib import PurePath
from typing import Any, NoReturn, cast

import msgspec

from howdah.errors import InvalidOption, InvalidPayload
from howdah.outcomes import Outcome

DEFAULT_MAX_BYTES = 1024 * 1024
# Deeper than anything people write, and far from where an interpreter's stack ends in a handler deep in its own calls.
MAX_DEPTH = 500

Raw = bytes | str | msgspec.Raw

_MISSING: Any = object()
_EMPTY = inspect.Parameter.empty
# Classes JSON does not know that are written as a plain value and made again from it.
_SCALARS: tuple[tuple[type, Any], ...] = ((str, str), (int, int), (float, (int, float)), (PurePath, str))
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')
_LEVEL = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


class Signature:
    """How a handler's arguments and its result look as JSON: an object with one key per parameter.

    `injected` names the parameters that the worker fills in, with the class each was annotated with.
    """

    def __init__(
        self, name: str, shown: inspect.Signature, hints: dict[str, Any], injected: dict[str, type], extra: Any
    ) -> None:
        self.name = name
        self.injected = injected
        self.injected_names = tuple(injected)
        self._shown = shown
        self._extra = extra
        parameters = [shown.parameters[field] for field in hints]
        self._positional = tuple(p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD)
        self._required = tuple(p.name for p in parameters if p.default is _EMPTY)
        self._has_optional = len(self._required) < len(hints)
        self._names = frozenset(hints)
        fields = [(f, hint) if f in self._required else (f, hint, msgspec.UNSET) for f, hint in hints.items()]
        self._struct = msgspec.defstruct(name, fields, kw_only=True, forbid_unknown_fields=extra is _EMPTY)
        self._decoder = msgspec.json.Decoder(self._struct, dec_hook=_from_json)
        self._extra_decoder = None if extra is _EMPTY else msgspec.json.Decoder(dict[str, extra], dec_hook=_from_json)
        self._result_decoder = _result_decoder(shown.return_annotation)

    @classmethod
    def of(cls, function: Callable[..., Any], *, injected: tuple[type, ...] = (), name: str | None = None) -> Signature:
        """Read a function's signature, or a class's; once per handler.

        Raises InvalidOption, naming the parameter, for what JSON cannot fill: `*args`, positional-only parameters,
        annotations that cannot be found, types that JSON does not know.
        """
        name = name or getattr(function, "__name__", type(function).__name__)
        signature = _signature(function)
        resolve = _resolver(function, injected)
        hints: dict[str, Any] = {}
        given: dict[str, type] = {}
        extra: Any = _EMPTY
        shown: list[inspect.Parameter] = []
        for parameter in signature.parameters.values():
            field = parameter.name
            if parameter.kind is parameter.VAR_POSITIONAL:
                raise InvalidOption(f"{name}: *{field} has no name in JSON", hint=f"Write {field}: list[…] instead")
            if parameter.kind is parameter.POSITIONAL_ONLY or field.startswith("__"):
                raise InvalidOption(
                    f"{name}: {field} is positional-only, and a payload is passed by name",
                    hint="Remove the / or the __",
                )
            try:
                hint = resolve(parameter.annotation)
            except Exception as error:
                raise _unresolved(name, field, parameter.annotation, error) from error
            if (service := _injected_class(hint, injected)) is not None:
                given[field] = service
                continue
            shown.append(parameter.replace(annotation=_EMPTY if parameter.annotation is _EMPTY else hint))
            hint = _readable(name, field, hint, optional=parameter.default is not _EMPTY)
            if parameter.kind is parameter.VAR_KEYWORD:
                extra = hint
            else:
                hints[field] = hint
        try:
            result = resolve(signature.return_annotation)
        except Exception:  # Often a class that only type checkers import: the result is then plain JSON.
            result = Any
        return cls(name, inspect.Signature(shown, return_annotation=result), hints, given, extra)

    def __str__(self) -> str:
        return _cut(self._shown.replace(return_annotation=_EMPTY), 300)

    def __repr__(self) -> str:
        return f"<Signature {self.name}{self}>"

    def encode(self, args: tuple[Any, ...], kwargs: dict[str, Any], *, max_bytes: int = DEFAULT_MAX_BYTES) -> str:
        """The JSON text of a call's arguments. Raises InvalidPayload if they do not fit."""
        if len(args) > len(self._positional):
            most = len(self._positional)
            raise InvalidPayload(
                f"{self.name}: {len(args)} positional arguments given, at most {most} fit: {self.name}{self}"
            )
        values = dict(zip(self._positional, args, strict=False))
        if kwargs:
            if not values.keys().isdisjoint(kwargs):
                twice = next(field for field in kwargs if field in values)
                raise InvalidPayload(f"{self.name}: argument {twice} is given twice: {self.name}{self}")
            values.update(kwargs)
        return self._write(values, max_bytes)

    def check(self, payload: Mapping[str, Any] | str, *, max_bytes: int = DEFAULT_MAX_BYTES) -> str:
        """The JSON text of arguments given by name, as a mapping or as JSON text from a person.

        Raises InvalidPayload if they do not fit.
        """
        given: Any = loads(payload, f"{self.name}: payload") if isinstance(payload, str) else payload
        if not isinstance(given, Mapping):
            raise InvalidPayload(
                f"{self.name}: the payload must be an object with the arguments by name, not {_name(given)}: "
                f"{self.name}{self}"
            )
        return self._write(dict(cast("Mapping[str, Any]", given)), max_bytes)

    def decode(self, raw: Raw) -> dict[str, Any]:
        """The keyword arguments for a call; what is absent is left to the function's own defaults.

        Raises InvalidPayload, naming the field, if they do not fit.
        """
        try:
            return self._read(raw)
        except Exception as error:
            try:
                values = msgspec.json.decode(raw)
            except Exception:
                raise InvalidPayload(f"{self.name}: the payload cannot be read: {_cut(error)}") from error
            raise self._refusal(values, error) from error

    def encode_result(self, value: Any, *, max_bytes: int = DEFAULT_MAX_BYTES) -> str | None:
        """The JSON text of what the handler returned; None for None.

        The work is done, so anything JSON can hold is kept, whatever the annotation says.
        Raises InvalidPayload for what JSON cannot hold.
        """
        if value is None:
            return None
        return _lenient(value, f"{self.name}: ", "result", max_bytes, self._result_decoder)

    def decode_result(self, raw: Raw | None) -> Any:
        """The result, as the type of the return annotation if there is one. Raises InvalidPayload if it is not one."""
        if raw is None:
            return None
        try:
            return self._result_decoder.decode(raw)
        except Exception as error:
            raise InvalidPayload(_explained(f"{self.name}: ", "result", error)) from error

    def schema(self) -> dict[str, Any]:
        """The payload as JSON Schema, to publish. Types it cannot describe are left open."""
        definitions: dict[str, Any] = {}

        def describe(tp: Any) -> dict[str, Any]:
            adapter = _adapter(tp)
            template = "#/$defs/{model}"
            if adapter is not None:
                schema = adapter.json_schema(ref_template=template)
            elif hasattr(tp, "model_json_schema"):
                schema = tp.model_json_schema(ref_template=template)
            else:
                plain = next((base for base, _ in _SCALARS if isinstance(tp, type) and issubclass(tp, base)), None)
                names = {str: "string", PurePath: "string", int: "integer", float: "number"}
                return {"type": names[plain]} if plain else {}
            definitions.update(schema.pop("$defs", {}))
            return schema

        (root,), parts = msgspec.json.schema_components(
            [self._struct], schema_hook=describe, ref_template="#/$defs/{name}"
        )
        schema = parts.pop(root["$ref"].removeprefix("#/$defs/"))
        definitions |= parts
        return {**schema, "title": self.name} | ({"$defs": definitions} if definitions else {})

    def _write(self, values: dict[str, Any], max_bytes: int) -> str:
        try:
            raw = _encode(values)
            back = self._read(raw)
        except Exception as error:
            raise self._refusal(values, error) from error
        if not _same(values, back):
            _inspect(values, back, f"{self.name}: ", "", strict=True)
        _sound(raw, f"{self.name}: ", "", max_bytes)
        return raw.decode()

    def _read(self, raw: Raw) -> dict[str, Any]:
        values = msgspec.structs.asdict(self._decoder.decode(raw))
        if self._has_optional:
            values = {field: value for field, value in values.items() if value is not msgspec.UNSET}
        if self._extra_decoder is not None:
            given = _RAWS.decode(raw)
            if injected := given.keys() & self.injected.keys():
                raise msgspec.ValidationError(f"{min(injected)} is filled in by the worker")
            values |= self._extra_decoder.decode(_encode({k: v for k, v in given.items() if k not in values}))
        return values

    def _refusal(self, values: Any, error: Exception) -> InvalidPayload:
        """The clearest sentence there is for arguments that could not be written or read."""
        if isinstance(values, dict):
            given = cast("dict[Any, Any]", values)
            if self._extra is _EMPTY and (unknown := [_cut(f) for f in given if f not in self._names]):
                return InvalidPayload(f"{self.name}: {_arguments('unexpected', unknown)}: {self.name}{self}")
            if missing := [f for f in self._required if f not in given]:
                return InvalidPayload(f"{self.name}: {_arguments('missing', missing)}: {self.name}{self}")
            try:
                _inspect(given, _MISSING, f"{self.name}: ", "", strict=False)
            except InvalidPayload as found:
                return found
        return InvalidPayload(
            _explained(f"{self.name}: ", "", error, lambda values: self._read(_encode(values)), values)
        )


def plain_json(value: Any, field: str, *, max_bytes: int = DEFAULT_MAX_BYTES) -> str:
    """The JSON text of a value that no signature describes. Raises InvalidPayload, naming `field` and the path in it."""
    return _lenient(value, "", field, max_bytes, _PLAIN_DECODER)


def loads(text: str | bytes, what: str = "payload") -> Any:
    """Read JSON text that a person wrote. Raises InvalidPayload with the line and column.

    As strict as the column it goes to: no NaN, no number beyond a float, no key twice in one object.
    """

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) < len(items):
            keys = [key for key, _ in items]
            twice = next(key for key in found if keys.count(key) > 1)
            raise InvalidPayload(f"{what} has the key {_cut_repr(twice)} twice in one object")
        return found

    def number(digits: str) -> float:
        if math.isinf(value := float(digits)):
            raise InvalidPayload(f"{what} has the number {_cut(digits)}, which is too large")
        return value

    def constant(word: str) -> NoReturn:
        raise InvalidPayload(f"{what} has {word}, which JSON cannot hold", hint="Write null or a string instead")

    try:
        return json.loads(text, object_pairs_hook=pairs, parse_float=number, parse_constant=constant)
    except InvalidPayload:
        raise
    except json.JSONDecodeError as error:
        line = text.splitlines()[error.lineno - 1 : error.lineno] if isinstance(text, str) else []
        near = f", near {_cut_repr(line[0][max(0, error.colno - 11) : error.colno + 20], 40)}" if line else ""
        raise InvalidPayload(
            f"{what} is not JSON: {error.msg} at line {error.lineno}, column {error.colno}{near}",
            hint='Write it like {"user_id": 42, "name": "Ada"}',
        ) from None
    except RecursionError:
        raise InvalidPayload(f"{what} is nested deeper than {MAX_DEPTH} levels") from None
    except Exception as error:  # Bytes that are no UTF-8, a number of 5,000 digits, no text at all.
        raise InvalidPayload(f"{what} cannot be read as JSON: {_cut(error)}") from error


# ── values ⇄ JSON ──


def _to_json(value: Any) -> Any:
    """What msgspec does not know how to write: pydantic models, subclasses of plain types, paths."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, PurePath):
        return str(value)
    if hasattr(type(value), "model_dump_json"):
        return msgspec.Raw(value.model_dump_json(by_alias=True, round_trip=True).encode())
    raise TypeError(f"{_name(value)} has no form in JSON")


def _from_json(tp: Any, value: Any) -> Any:
    """What msgspec does not know how to read. Pydantic is found by its methods, never imported first."""
    if (adapter := _adapter(tp)) is not None:
        return adapter.validate_json(_encode(value))
    if hasattr(tp, "model_validate_json"):
        return tp.model_validate_json(_encode(value))
    for base, plain in _SCALARS:
        if isinstance(tp, type) and issubclass(tp, base) and isinstance(value, plain) and not isinstance(value, bool):
            return tp(value)
    raise TypeError(f"Expected {_name_of(tp)}, got {_name(value)}")


_ENCODER = msgspec.json.Encoder(enc_hook=_to_json)
_encode = _ENCODER.encode
_PLAIN_DECODER: msgspec.json.Decoder[Any] = msgspec.json.Decoder()
_RAWS = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _lenient(value: Any, prefix: str, path: str, max_bytes: int, decoder: msgspec.json.Decoder[Any]) -> str:
    try:
        raw = _encode(value)
        plain = _PLAIN_DECODER.decode(raw)
    except Exception as error:
        _inspect(value, _MISSING, prefix, path, strict=False)
        raise InvalidPayload(f"{prefix}{path} cannot be written as JSON: {_cut(error)}") from error
    if not _same(value, plain):
        try:
            back = decoder.decode(raw)
        except Exception:
            back = plain
        if not _same(value, back):
            _inspect(value, back, prefix, path, strict=False)
    _sound(raw, prefix, path, max_bytes)
    return raw.decode()


def _sound(raw: bytes, prefix: str, path: str, max_bytes: int) -> None:
    """Refuse JSON text that PostgreSQL would refuse, or that is too big or too deep for a task."""
    if len(raw) > max_bytes:
        raise InvalidPayload(
            f"{prefix}{path or 'payload'} is {len(raw):,} bytes, more than the {max_bytes:,} allowed",
            hint="Keep big things elsewhere and pass a reference, or allow more with App(max_payload=…)",
        )
    if b"\\u0000" in raw:
        _inspect(_PLAIN_DECODER.decode(raw), _MISSING, prefix, path, strict=False)
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH:
        brackets = _STRING.sub(b"", raw)
        if max(accumulate(_LEVEL.get(byte, 0) for byte in brackets)) > MAX_DEPTH:
            raise InvalidPayload(f"{prefix}{path or 'payload'} is nested deeper than {MAX_DEPTH} levels")


def _same(value: Any, back: Any) -> bool:
    try:
        return bool(value == back)
    except Exception:  # A user's __eq__, or too deep: the closer look decides.
        return False


def _inspect(top: Any, back: Any, prefix: str, path: str, *, strict: bool) -> None:
    """Look for what JSON cannot hold, and, beside what came `back`, for what would be lost.

    A strict look also refuses values that would come back as another type, where no annotation brings them back.
    """

    def refuse(where: str, fault: str, hint: str | None = None) -> NoReturn:
        raise InvalidPayload(f"{prefix}{_cut(where or 'payload', 160)} {fault}", hint=hint)

    def text(where: str, value: str) -> None:
        if "\0" in value:
            refuse(where, "holds the character NUL (\\u0000), which PostgreSQL cannot store")
        if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
            refuse(where, "holds half a surrogate pair, which is no character; decode its bytes as UTF-8")

    def changed(where: str, value: Any, back: Any) -> NoReturn:
        refuse(
            where,
            f"is {_name(value)} and would come back as {_name(back)}",
            "Annotate the parameter with that type, or convert it first",
        )

    todo: list[tuple[Any, Any, str, int]] = [(top, back, path, 0)]
    while todo:
        value, back, where, depth = todo.pop()
        if depth > MAX_DEPTH:
            refuse(where, f"is nested deeper than {MAX_DEPTH} levels, or contains itself")
        plain = back is not _MISSING and isinstance(back, (str, int, float, list, dict, types.NoneType))
        inside: Iterable[tuple[Any, Any, str]] = ()
        if isinstance(value, str):
            text(where, value)
        elif isinstance(value, float) and not math.isfinite(value):
            refuse(where, f"is {'NaN' if math.isnan(value) else 'Infinity'}, which JSON cannot hold")
        elif isinstance(value, (int, float)):
            if isinstance(back, (int, float)) and value != back:
                refuse(where, f"is {_cut_repr(value)} and would come back as {_cut_repr(back)}")
            if isinstance(value, int) and value.bit_length() > 14_000:
                refuse(where, "is a number of more than 4,000 digits")
        elif isinstance(value, dict):
            pieces = cast("dict[Any, Any]", value)
            backs = cast("dict[Any, Any]", back) if isinstance(back, dict) else None
            for key in pieces:
                if isinstance(key, str):
                    text(f"a key of {where or 'payload'}", key)
                elif not _encodable({key: None}) or (isinstance(key, float) and not math.isfinite(key)):
                    refuse(where, f"has the key {_cut_repr(key)}; keys in JSON are text")
                # Text that an annotation turns into another kind of key is still there, under that key.
                kept = backs is None or key in backs or (isinstance(key, str) and len(backs) == len(pieces))
                if strict and not kept:
                    refuse(
                        where, f"has the key {_cut_repr(key)}, which would be lost", "Annotate the keys with their type"
                    )
            inside = [(item, _piece(back, key), _step(where, key)) for key, item in pieces.items()]
        elif isinstance(value, (list, tuple)):
            items = cast("list[Any]", value)
            others: list[Any] = list(cast("list[Any]", back)) if isinstance(back, (list, tuple)) else []
            others += [_MISSING] * (len(items) - len(others))
            inside = [(item, others[i], f"{where}[{i}]") for i, item in enumerate(items)]
        elif isinstance(value, (set, frozenset)):
            if strict and plain:
                changed(where, value, back)
            inside = [(item, _MISSING, f"{where}[…]") for item in cast("set[Any]", value)]
        elif (fields := _fields(value)) is not None:
            if strict and plain:
                changed(where, value, back)
            inside = [(item, _piece(back, field), _step(where, field)) for field, item in fields.items()]
            if strict and back is not _MISSING and (lost := [f for f in fields if not hasattr(back, f)]):
                refuse(where, f"is {_name(value)} and its {lost[0]} would be lost in {_name(back)}")
        elif isinstance(inner := getattr(value, "value", None), float) and not math.isfinite(inner):
            refuse(where, "is an enum member whose value JSON cannot hold")
        elif value is not None and value is not msgspec.UNSET:
            if isinstance(value, (bytes, bytearray, memoryview)) and isinstance(back, str):
                refuse(
                    where, "is bytes, which JSON cannot hold", "Annotate the parameter as bytes, or decode it to str"
                )
            if not _encodable(value):
                refuse(where, f"is {_name(value)}, which JSON cannot hold")
            if strict and plain:
                changed(where, value, back)
            if strict and back is not _MISSING and not _same(value, back) and _same(value, value):
                refuse(where, f"is {_cut_repr(value)} and would come back as {_cut_repr(back)}")
        todo.extend((*piece, depth + 1) for piece in reversed(list(inside)))


def _fields(value: Any) -> dict[str, Any] | None:
    """The fields of a dataclass, struct, attrs or pydantic object; None for anything else."""
    cls = type(value)
    if dataclasses.is_dataclass(cls):
        names = [field.name for field in dataclasses.fields(cls)]
    elif (names := getattr(cls, "__struct_fields__", None)) is not None:
        pass
    elif (attributes := getattr(cls, "__attrs_attrs__", None)) is not None:
        names = [attribute.name for attribute in attributes]
    elif hasattr(cls, "model_dump_json"):
        names = list(vars(value))
    else:
        return None
    return {name: getattr(value, name) for name in names if hasattr(value, name)}


def _piece(back: Any, key: Any) -> Any:
    if isinstance(back, dict):
        return cast("dict[Any, Any]", back).get(key, _MISSING)
    return getattr(back, key, _MISSING) if isinstance(key, str) and _fields(back) is not None else _MISSING


def _encodable(value: Any) -> bool:
    try:
        _encode(value)
    except Exception:
        return False
    return True


# ── signatures ──


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    if sys.version_info >= (3, 14):  # Annotations are code there; what cannot be found must not stop us yet.
        import annotationlib

        return inspect.signature(function, annotation_format=annotationlib.Format.FORWARDREF)
    return inspect.signature(function)


def _resolver(function: Callable[..., Any], injected: tuple[type, ...]) -> Callable[[Any], Any]:
    """A function from an annotation, perhaps in quotes, to the type it means where `function` was written."""
    written: Any = inspect.unwrap(function)
    while isinstance(written, functools.partial):
        written = inspect.unwrap(written.func)  # pyright: ignore[reportUnknownMemberType]
    if isinstance(written, type):
        names = vars(sys.modules.get(written.__module__, types))
    else:
        if not hasattr(written, "__globals__") and not hasattr(written, "__func__"):
            written = type(written).__call__
        written = getattr(written, "__func__", written)
        names = getattr(written, "__globals__", {})
    # Context is often imported for type checkers only.
    names = {cls.__name__: cls for cls in injected} | names

    def resolve(annotation: Any) -> Any:
        if annotation is _EMPTY:
            return Any
        if isinstance(annotation, dataclasses.InitVar):
            annotation = cast("dataclasses.InitVar[Any]", annotation).type

        def holder() -> None: ...

        holder.__annotations__ = {"it": annotation}
        return typing.get_type_hints(holder, globalns=names, include_extras=True)["it"]

    return resolve


def _injected_class(hint: Any, injected: tuple[type, ...]) -> type | None:
    """The injected class that a hint asks for: `Context`, `Context[T]`, `Context | None`, `Annotated[Context, …]`."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType, typing.Annotated):
        return next((cls for arg in typing.get_args(hint) if (cls := _injected_class(arg, injected))), None)
    cls = origin or hint
    return cls if isinstance(cls, type) and issubclass(cls, injected) else None


def _readable(name: str, field: str, hint: Any, *, optional: bool) -> Any:
    """The hint, or a stand-in that pydantic reads; InvalidOption if JSON cannot be read as this type."""
    try:
        msgspec.json.Decoder(hint)
        unknown = None if optional else _unknown(msgspec.inspect.type_info(hint))
    except Exception as error:
        if any(hasattr(arg, "model_validate_json") for arg in typing.get_args(hint)):
            import pydantic

            return type(field, (), {"_howdah_adapter": pydantic.TypeAdapter(hint)})
        if isinstance(error, NameError):
            raise _unresolved(name, field, hint, error) from error
        raise InvalidOption(f"{name}: {field}: {_cut(error, 300)}") from error
    if unknown is not None:
        raise InvalidOption(
            f"{name}: {field}: JSON cannot be read as {_name_of(unknown)}",
            hint="Use plain types, dataclasses, msgspec structs or pydantic models, or give the parameter a default",
        )
    return hint


def _unknown(info: Any) -> Any:
    """The first class in a type that nothing here can read, or None."""
    todo, seen = [info], set[int]()
    while todo:
        info = todo.pop()
        if isinstance(info, msgspec.inspect.CustomType):
            cls: Any = info.cls
            scalar = isinstance(cls, type) and issubclass(cls, tuple(base for base, _ in _SCALARS))
            if not scalar and not hasattr(cls, "model_validate_json"):
                return cls
        elif isinstance(info, tuple):
            todo.extend(cast("tuple[Any, ...]", info))
        elif isinstance(info, (msgspec.inspect.Type, msgspec.inspect.Field)) and id(info) not in seen:
            seen.add(id(info))
            todo.extend(getattr(info, field) for field in info.__struct_fields__ if field != "default")
    return None


def _adapter(tp: Any) -> Any:
    return getattr(tp, "_howdah_adapter", None)


def _result_decoder(hint: Any) -> msgspec.json.Decoder[Any]:
    """Reads a result; outcomes that a handler may return instead are no result, and leave the type alone."""
    parts = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    results = [part for part in parts if not (isinstance(part, type) and issubclass(part, Outcome))]
    if not results or hint in (_EMPTY, None):
        return _PLAIN_DECODER
    try:
        hint = _readable("result", "result", typing.Union[tuple(results)], optional=False)
        return msgspec.json.Decoder(hint, dec_hook=_from_json)
    except Exception:  # A type JSON does not know: the result is then plain JSON.
        return _PLAIN_DECODER


# ── sentences ──


def _explained(
    prefix: str, root: str, error: Exception, read: Callable[[Any], Any] | None = None, values: Any = None
) -> str:
    if isinstance(error, RecursionError):
        return f"{prefix}{root or 'payload'} is nested deeper than {MAX_DEPTH} levels, or contains itself"
    found = re.fullmatch(r"(.*?)(?: - at `(key` in `)?\$(.*)`)?", str(error), re.DOTALL)
    fault, key, path = found.groups("") if found else (str(error), "", "")
    cause = error.__cause__
    if cause is not None and hasattr(cause, "errors"):
        first = cast("Any", cause).errors(include_url=False, include_input=False)[0]
        path += "".join(f".{part}" for part in first["loc"])
        fault = first["msg"]
    where = (root + path).removeprefix(".").replace("[...]", "[…]") or root or "payload"
    fault = fault.replace("`", "") if cause is None else fault
    return f"{prefix}{'a key of ' if key else ''}{_cut(where, 160)}: {_cut(fault[:1].lower() + fault[1:], 160)}"


def _unresolved(name: str, field: str, annotation: Any, error: Exception) -> InvalidOption:
    return InvalidOption(
        f"{name}: the annotation of {field} cannot be resolved: {_cut(annotation)}: {_cut(error)}",
        hint="Define or import its types at the top level of the handler's module, outside `if TYPE_CHECKING`",
    )


def _arguments(fault: str, fields: list[str]) -> str:
    return f"{fault} argument{'s' if len(fields) > 1 else ''} {_cut(', '.join(fields), 160)}"


def _step(path: str, key: Any) -> str:
    if isinstance(key, str) and key.isidentifier():
        return f"{path}.{_cut(key, 40)}".removeprefix(".")
    return f"{path}[{_cut_repr(key, 40)}]"


def _name(value: Any) -> str:
    return "null" if value is None else _name_of(type(value))


def _name_of(tp: Any) -> str:
    return _cut(getattr(tp, "__name__", tp))


def _cut(value: object, most: int = 80) -> str:
    """Text that fits in a sentence, whatever it was made from."""
    try:
        text = str(value)
    except Exception:  # A user's __str__, or a number of 5,000 digits.
        text = f"a {type(value).__name__}"
    return text if len(text) <= most else text[: most - 1] + "…"


def _cut_repr(value: object, most: int = 80) -> str:
    try:
        return _cut(repr(value), most)
    except Exception:
        return f"a {type(value).__name__}"
