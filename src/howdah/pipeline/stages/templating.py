"""Templates and expressions of stages: Jinja2 in a sandbox, over one event.

`event` is the event; its fields are names as well, where they are identifiers. What is missing is an error, never an empty
text. Nothing that a template computes may grow beyond sandbox.MAX_TEXT. A template that fails once fails always: it raises Fail.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from types import GeneratorType
from typing import Any, Literal, TypeAlias, cast

from jinja2 import TemplateSyntaxError, Undefined, nodes
from jinja2.exceptions import SecurityError

from howdah.outcomes import Fail
from howdah.payload import MAX_DEPTH
from howdah.pipeline.stage import Event, InvalidField
from howdah.pipeline.stages import sandbox

Path: TypeAlias = tuple[str | int, ...]
Place = Literal["text", "html", "url"]
_PLACES = {"text": sandbox.TEXT, "html": sandbox.HTML, "url": sandbox.URL}


class Expression:
    """An expression, which keeps the type of what it computes."""

    def __init__(self, source: str, path: Path) -> None:
        self.path = path
        with _located(path):
            self._compute = sandbox.TEXT.compile_expression(source, undefined_to_none=False)

    def value(self, event: Event) -> Any:
        """What it computes, as JSON would have it. Raises Fail."""
        return _guarded(self.path, lambda: _plain(self._compute(names(event))))

    def is_true(self, event: Event) -> bool:
        """Whether that counts as true. Raises Fail."""
        return bool(self.value(event))


class Text:
    """A template that makes text. What it puts in is escaped for the place where it goes."""

    def __init__(self, source: str, path: Path, place: Place = "text") -> None:
        self.path = path
        with _located(path):
            self._template = _PLACES[place].from_string(source)

    def render(self, event: Event) -> str:
        """The text. Raises Fail, naming the field and what is wrong."""
        return _guarded(self.path, lambda: self._template.render(names(event)))

    value = render


class Structure:
    """Templates in mappings and lists. A text that is nothing but one {{ expression }} keeps the type of its value."""

    def __init__(self, source: Any, path: Path) -> None:
        self._build = _builder(source, path)

    def render(self, event: Event) -> Any:
        """The same mappings and lists with values in them. Raises Fail."""
        return self._build(event)


def expression(source: str, path: str | Path) -> Expression:
    """A bare expression, without braces. Raises InvalidField."""
    path = (path,) if isinstance(path, str) else path
    if source.lstrip().startswith(("{{", "{%")):
        raise InvalidField(path, "an expression has no braces", hint=f"Write {source.strip(' {}%')}")
    return Expression(source, path)


def text(source: str, path: str | Path, place: Place = "text") -> Text:
    """A template of text. Raises InvalidField if it cannot be read."""
    return Text(source, (path,) if isinstance(path, str) else path, place)


def alone(source: str, path: str | Path) -> Expression | None:
    """The expression of a text that is nothing but one {{ expression }}. Raises InvalidField if it cannot be read."""
    path = (path,) if isinstance(path, str) else path
    braces = _BRACES.fullmatch(source)
    if braces is None:
        return None
    with _located(path):
        body = sandbox.TEXT.parse(source.strip()).body
    printed = body[0].nodes if len(body) == 1 and isinstance(body[0], nodes.Output) else []
    return Expression(braces[1], path) if len(printed) == 1 and not isinstance(printed[0], nodes.TemplateData) else None


def structure(source: Any, path: str | Path) -> Structure:
    """Templates in a structure. Raises InvalidField, with the path of the one that cannot be read."""
    return Structure(source, (path,) if isinstance(path, str) else path)


def names(event: Event) -> dict[str, Any]:
    """What a template may call by name."""
    return {key: value for key, value in event.items() if key.isidentifier()} | {"event": event}


def dotted(path: Path) -> str:
    """The path of a field as people write it: set.items[0]."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


def _builder(source: Any, path: Path) -> Callable[[Event], Any]:
    if isinstance(source, str):
        only = alone(source, path)
        return Text(source, path).render if only is None else only.value
    if isinstance(source, Mapping):
        fields = {
            str(key): _builder(value, (*path, str(key))) for key, value in cast("Mapping[Any, Any]", source).items()
        }
        return lambda event: {key: build(event) for key, build in fields.items()}
    if isinstance(source, list):
        items = [_builder(value, (*path, n)) for n, value in enumerate(cast("list[Any]", source))]
        return lambda event: [build(event) for build in items]
    return lambda event: source


_BRACES = re.compile(r"\s*\{\{[-+]?(.*?)[-+]?\}\}\s*", re.DOTALL)


class _located:
    """Says of a template that cannot be read which one it is."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, TemplateSyntaxError):
            line = f" (line {error.lineno})" if error.lineno > 1 else ""
            raise InvalidField(self._path, f"{error.message or 'it is no template'}{line}") from None
        if isinstance(error, (RecursionError, MemoryError, SyntaxError, OverflowError)):
            raise InvalidField(self._path, "it is nested too deeply") from None


def _guarded(path: Path, compute: Callable[[], Any]) -> Any:
    try:
        return compute()
    except RecursionError:
        raise Fail(f"{dotted(path)}: it is nested too deeply") from None
    except Exception as error:
        said = " ".join(str(error).split())[:300]
        raise Fail(f"{dotted(path)}: {said or type(error).__name__}") from None


def _plain(value: Any, depth: int = 0) -> Any:
    """What an expression computed, as plain JSON values."""
    if isinstance(value, Undefined):
        str(value)  # raises what is missing
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, str):
        return str(sandbox.bounded(value))
    if depth > MAX_DEPTH:
        raise SecurityError(f"it is nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, Mapping):
        return {str(key): _plain(item, depth + 1) for key, item in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, (list, tuple, set, frozenset, range, GeneratorType)) or type(value).__name__ in _VIEWS:
        return [_plain(item, depth + 1) for item in sandbox.first(cast("Iterable[Any]", value))]
    raise SecurityError(f"it is a {type(value).__name__}, which is no JSON value")


_VIEWS = {"dict_keys", "dict_values", "dict_items", "map", "filter", "zip", "reversed", "list_reverseiterator"}
