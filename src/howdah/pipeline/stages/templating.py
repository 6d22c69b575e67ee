"""Templates and expressions of stages: Jinja2 in a sandbox, over one event.

`event` is the event; its fields are names as well, where they are identifiers. What is missing is an error, never an empty
text. Nothing that a template computes may grow beyond MAX_TEXT. A template that fails once fails always: it raises Fail.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from types import GeneratorType
from typing import Any, TypeAlias, cast

from jinja2 import StrictUndefined, TemplateSyntaxError, Undefined, nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context as Names
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from howdah.outcomes import Fail
from howdah.payload import MAX_DEPTH
from howdah.pipeline.stage import Event, InvalidField

MAX_TEXT = 1_000_000
MAX_ITEMS = 100_000
MAX_BITS = 10_000

Path: TypeAlias = tuple[str | int, ...]


class Expression:
    """An expression, which keeps the type of what it computes."""

    def __init__(self, source: str, path: Path) -> None:
        self.path = path
        with _located(path):
            self._compute = _TEXT.compile_expression(source, undefined_to_none=False)

    def value(self, event: Event) -> Any:
        """What it computes, as JSON would have it. Raises Fail."""
        return _guarded(self.path, lambda: _plain(self._compute(names(event))))

    def is_true(self, event: Event) -> bool:
        """Whether that counts as true. Raises Fail."""
        return bool(self.value(event))


class Text:
    """A template that makes text; `html` escapes what it puts in."""

    def __init__(self, source: str, path: Path, *, html: bool = False) -> None:
        self.path = path
        with _located(path):
            self._template = (_HTML if html else _TEXT).from_string(source)

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


def text(source: str, path: str | Path, *, html: bool = False) -> Text:
    """A template of text. Raises InvalidField if it cannot be read."""
    return Text(source, (path,) if isinstance(path, str) else path, html=html)


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
        alone = _alone(source, path)
        return Text(source, path).render if alone is None else alone.value
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


def _alone(source: str, path: Path) -> Expression | None:
    """The expression of a text that is nothing but one."""
    braces = _BRACES.fullmatch(source)
    if braces is None:
        return None
    with _located(path):
        body = _TEXT.parse(source.strip()).body
    printed = body[0].nodes if len(body) == 1 and isinstance(body[0], nodes.Output) else []
    return Expression(braces[1], path) if len(printed) == 1 and not isinstance(printed[0], nodes.TemplateData) else None


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
        return str(_bounded(value))
    if depth > MAX_DEPTH:
        raise SecurityError(f"it is nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, Mapping):
        return {str(key): _plain(item, depth + 1) for key, item in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, (list, tuple, set, frozenset, range, GeneratorType)) or type(value).__name__ in _VIEWS:
        return [_plain(item, depth + 1) for item in _first(cast("Iterable[Any]", value))]
    raise SecurityError(f"it is a {type(value).__name__}, which is no JSON value")


_VIEWS = {"dict_keys", "dict_values", "dict_items", "map", "filter", "zip", "reversed", "list_reverseiterator"}


def _first(values: Iterable[Any]) -> Iterable[Any]:
    for n, value in enumerate(values):
        if n >= MAX_ITEMS:
            raise SecurityError(f"it has more than {MAX_ITEMS:,} items")
        yield value


# ── the sandbox ──


def _bounded(made: Any) -> Any:
    """The value, unless it is bigger than a template may make anything."""
    value: Any = made
    if isinstance(value, str) and len(value) > MAX_TEXT:
        raise SecurityError(f"it would be longer than the {MAX_TEXT:,} characters allowed")
    if isinstance(value, (list, tuple)) and len(cast("list[Any]", value)) > MAX_ITEMS:
        raise SecurityError(f"it would have more than the {MAX_ITEMS:,} items allowed")
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise SecurityError("it would be a number too big to be meant")
    return made


def _joined(parts: Iterable[str]) -> str:
    """The parts as one text: what a template prints, and what it keeps by {% set %} and macros."""
    kept: list[str] = []
    size = 0
    for part in parts:
        kept.append(part)
        size += len(part)
        if size > MAX_TEXT:
            raise SecurityError(f"it would be longer than the {MAX_TEXT:,} characters allowed")
    return "".join(kept)


def _grows(left: Any, operator: str, right: Any) -> bool:
    """Whether an operation makes something huge of two things that are not."""
    if isinstance(left, int) and isinstance(right, int):
        match operator:
            case "*":
                return left.bit_length() + right.bit_length() > MAX_BITS
            case "**":
                return abs(left) > 1 and right > 0 and left.bit_length() * right > MAX_BITS
            case _:
                return False
    if operator == "*":
        for sequence, times in ((left, right), (right, left)):
            if isinstance(sequence, (str, list, tuple)) and isinstance(times, int):
                return _weight(cast("Any", sequence)) * times > MAX_TEXT
    return operator == "%" and isinstance(left, str) and _WIDE.search(left) is not None


def _weight(value: Any) -> int:
    """About how many characters a value is, and no more than enough to know that it is too many."""
    total = 0
    todo: list[Any] = [value]
    while todo and total <= MAX_TEXT:
        part = todo.pop()
        if isinstance(part, str):
            total += len(part)
            continue
        inside: list[Any] = []
        if isinstance(part, (list, tuple)):
            inside = list(cast("list[Any]", part))
        elif isinstance(part, dict):
            inside = [*cast("dict[Any, Any]", part), *cast("dict[Any, Any]", part).values()]
        total += 1 + len(inside)
        todo += inside
    return total


# A width of four digits, or one that is an argument, in "%…d" and "{:…}".
_WIDE = re.compile(r"%[^a-zA-Z%]*(\d{4}|\*)|\{[^{}]*[:!][^{}]*(\d{4}|\{)")
_FILTERS = ("center", "format", "indent", "join", "replace", "wordwrap")


def _careful(name: str, function: Callable[..., Any], *owner: str) -> Callable[..., Any]:
    """A filter, or a method of a text, that cannot make something huge of what it is given."""

    def careful(*args: Any, **kwargs: Any) -> Any:
        args = tuple(list(_first(cast("Any", arg))) if isinstance(arg, GeneratorType) else arg for arg in args)
        given: list[Any] = [*owner, *args, *kwargs.values()]
        if any(isinstance(arg, int) and arg > MAX_ITEMS for arg in given):
            raise SecurityError(f"{name} is given a number above {MAX_ITEMS:,}")
        if name == "format" and any(isinstance(arg, str) and _WIDE.search(arg) for arg in given):
            raise SecurityError("format is given a width above 999")
        # What join and replace make is no longer than the product of the two longest.
        longest = sorted((_weight(arg) for arg in given if isinstance(arg, (str, list, tuple))), reverse=True)[:2]
        if len(longest) == 2 and longest[0] * longest[1] > MAX_TEXT * 10:
            raise SecurityError(f"{name} could make more than the {MAX_TEXT:,} characters allowed")
        return _bounded(function(*args, **kwargs))

    # Jinja2 looks there for what a filter wants passed beside its arguments.
    careful.__dict__.update(getattr(function, "__dict__", {}))
    return careful


class _Tilde(NodeTransformer):
    """Makes a ~ b a filter of ours: it is the one way to make a longer text that the sandbox cannot see."""

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        pieces = nodes.List([self.visit(piece) for piece in node.nodes], lineno=node.lineno)
        return nodes.Filter(pieces, "join", [], [], None, None, lineno=node.lineno)


class _Sandbox(ImmutableSandboxedEnvironment):
    """Jinja2 where data is only data: `order.items` is the field of that name, and nothing grows without bounds."""

    intercepted_binops = frozenset({"*", "**", "+", "%"})
    concat = staticmethod(_joined)

    def __init__(self, *, html: bool) -> None:
        super().__init__(autoescape=html, undefined=StrictUndefined, finalize=_weighed)
        ours: Any = self  # Jinja2 does not say what its globals and filters are
        del ours.globals["lipsum"]
        ours.filters |= {name: _careful(name, ours.filters[name]) for name in _FILTERS}

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        return _Tilde().visit(super()._parse(source, name, filename))

    def getattr(self, obj: Any, attribute: str) -> Any:
        if isinstance(obj, dict) and attribute in obj:
            return cast("dict[str, Any]", obj)[attribute]
        return super().getattr(obj, attribute)

    def call_binop(self, context: Names, operator: str, left: Any, right: Any) -> Any:
        if _grows(left, operator, right):
            raise SecurityError(f"{operator} would make something too big to be meant")
        return _bounded(super().call_binop(context, operator, left, right))

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        wrapped = super().wrap_str_format(value)
        return None if wrapped is None else _careful("format", wrapped, value.__self__)

    def call(__self, __context: Names, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        owner = getattr(__obj, "__self__", None)
        if isinstance(owner, str):
            __obj = _careful(__obj.__name__, __obj, owner)
        return super().call(__context, __obj, *args, **kwargs)


def _weighed(value: Any) -> Any:
    """What is to be printed, unless its text would be too long."""
    if isinstance(value, (list, tuple, dict)) and _weight(cast("Any", value)) > MAX_TEXT:
        raise SecurityError(f"it would be longer than the {MAX_TEXT:,} characters allowed")
    return _bounded(value)


_TEXT = _Sandbox(html=False)
_HTML = _Sandbox(html=True)
