"""What stands under `config:`, as the Config of its module, with every fault at its place."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AnySet
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from howdah.errors import InvalidOption, did_you_mean, shown
from howdah.pipeline.environment import Environment, is_variable
from howdah.pipeline.nodes import Node, Path, in_words
from howdah.pipeline.stage import Config

# Called with the path of a field under config, what is wrong with it, and what to do.
Report = Callable[[Path, str, str | None], None]


def configured(node: Node, kind: type[Config], environment: Environment, report: Report) -> Config | None:
    """The config, or None if it was reported what is wrong with it. `node` is a mapping."""
    reading = _Reading(environment, report)
    value = reading.filled(node, kind, ())
    reading.check(value, node, kind, ())
    return None if reading.faults else msgspec.convert(value, kind)


class _Reading:
    def __init__(self, environment: Environment, report: Report) -> None:
        self._environment = environment
        self._report = report
        self.faults = 0

    def fault(self, path: Path, said: str, hint: str | None = None) -> None:
        self.faults += 1
        self._report(path, said, hint)

    def filled(self, node: Node, kind: Any, path: Path) -> Any:
        """The plain value of a node, with the variables in its texts."""
        value = node.value
        if isinstance(value, dict):
            return {key: self.filled(each, child(kind, key), (*path, key)) for key, each in value.items()}
        if isinstance(value, list):
            return [self.filled(each, child(kind, n), (*path, n)) for n, each in enumerate(value)]
        if not isinstance(value, str):
            return value
        try:
            filled = self._environment.fill(value)
        except InvalidOption as error:
            self.fault(path, error.message, error.hint)
            return value
        return _loosened(filled, kind) if is_variable(value) else filled

    def check(self, value: Any, node: Node, kind: Any, path: Path) -> None:
        """Report what does not fit its type, as deep inside as it can be said."""
        before = self.faults
        try:
            msgspec.convert(value, kind)
            return
        except msgspec.ValidationError as error:
            said = str(error)
        struct = _struct(kind)
        if isinstance(node.value, dict):
            for key, each in node.value.items():
                self.check(value[key], each, child(kind, key), (*path, key))
            if struct is not None:
                self._check_names(struct, node.value, path)
        elif isinstance(node.value, list):
            for n, each in enumerate(node.value):
                self.check(value[n], each, child(kind, n), (*path, n))
        if self.faults == before:
            self.fault(path, *_in_words(said, value, node, kind))

    def _check_names(self, struct: type[msgspec.Struct], given: Mapping[str, Node], path: Path) -> None:
        fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
        tag = struct.__struct_config__.tag_field
        for name in given:
            if struct.__struct_config__.forbid_unknown_fields and name not in fields and name != tag:
                self.fault((*path, name), f"there is no field {shown(name)}", did_you_mean(name, fields))
        for name, field in fields.items():
            if field.required and name not in given:
                self.fault((*path, name), "it is missing", f"Write {name}: …")


# ── types ──


def members(kind: Any) -> list[Any]:
    """The types that a type allows, without annotations."""
    kind = getattr(kind, "__value__", kind)  # type X = …
    origin = get_origin(kind)
    if origin is Annotated:
        return members(get_args(kind)[0])
    if origin in (Union, UnionType):
        return [member for each in get_args(kind) for member in members(each)]
    return [kind]


def child(kind: Any, key: str | int) -> Any:
    """The type of what stands under a key or number within a type; Any if it does not say."""
    for member in members(kind):
        origin = get_origin(member) or member
        if isinstance(key, str) and _is_struct(member):
            for field in msgspec.structs.fields(member):
                if field.encode_name == key:
                    # `field.type` is what the class says, with its annotations.
                    return field.type
        elif inspect.isclass(origin):
            arguments = get_args(member)
            if isinstance(key, str) and issubclass(origin, Mapping) and len(arguments) == 2:
                return arguments[1]
            if isinstance(key, int) and issubclass(origin, (Sequence, AnySet)) and arguments:
                return arguments[min(key, len(arguments) - 1)] if arguments[-1] is not ... else arguments[0]
    return Any


def _is_struct(kind: Any) -> bool:
    return inspect.isclass(kind) and issubclass(kind, msgspec.Struct)


def _struct(kind: Any) -> type[msgspec.Struct] | None:
    return next(filter(_is_struct, members(kind)), None)


def _loosened(text: str, kind: Any) -> Any:
    """The text of a variable as the number or truth that its field wants."""
    allowed = members(kind)
    if not {bool, int, float} & {each for each in allowed if inspect.isclass(each)} or str in allowed or Any in allowed:
        return text
    for wanted in (bool, int, float):
        if wanted in allowed:
            try:
                return msgspec.convert(text.strip(), wanted, strict=False)
            except msgspec.ValidationError:
                pass
    return text


# ── sentences ──

_WORDS = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "object": "a mapping",
    "array": "a list",
    "null": "nothing",
}


def _in_words(said: str, value: Any, node: Node, kind: Any) -> tuple[str, str | None]:
    """What msgspec says of a value, as a sentence and a hint."""
    said = re.sub(r" - at `[^`]*`$| - at `key` in `[^`]*`$", "", said)
    shape = value if isinstance(node.value, str) and isinstance(value, str) else node.value
    given = shown(shape) if isinstance(shape, str) else in_words(node)
    choices = [each for member in members(kind) if get_origin(member) is Literal for each in get_args(member)]
    if choices and not isinstance(shape, (list, dict)):
        hint = (
            did_you_mean(shape, [each for each in choices if isinstance(each, str)]) if isinstance(shape, str) else None
        )
        return f"it must be one of {', '.join(map(str, choices))}, not {given}", hint
    expected = re.fullmatch(r"Expected `([^`]*)`(?:, got `[^`]*`)?( .*)?", said)
    if expected is None:
        return said, None
    kinds = [_WORDS.get(each, each) for each in expected[1].removesuffix(" | null").split(" | ")]
    hint = f'Quote it: "{shape}"' if kinds == ["text"] and isinstance(shape, (bool, int, float)) else None
    return f"it must be {' or '.join(kinds)}{expected[2] or ''}, not {given}", hint
