"""Jinja2 where data is only data, nothing reaches Python, and nothing grows without bounds."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from types import GeneratorType
from typing import Any, cast
from urllib.parse import quote

from jinja2 import StrictUndefined, nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context as Names
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer
from markupsafe import Markup

MAX_TEXT = 1_000_000
MAX_ITEMS = 100_000
MAX_BITS = 10_000


def first(values: Iterable[Any]) -> Iterable[Any]:
    for n, value in enumerate(values):
        if n >= MAX_ITEMS:
            raise SecurityError(f"it has more than {MAX_ITEMS:,} items")
        yield value


def bounded(made: Any) -> Any:
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
        args = tuple(list(first(cast("Any", arg))) if isinstance(arg, GeneratorType) else arg for arg in args)
        given: list[Any] = [*owner, *args, *kwargs.values()]
        if any(isinstance(arg, int) and arg > MAX_ITEMS for arg in given):
            raise SecurityError(f"{name} is given a number above {MAX_ITEMS:,}")
        if name == "format" and any(isinstance(arg, str) and _WIDE.search(arg) for arg in given):
            raise SecurityError("format is given a width above 999")
        # What join and replace make is no longer than the product of the two longest.
        longest = sorted((_weight(arg) for arg in given if isinstance(arg, (str, list, tuple))), reverse=True)[:2]
        if len(longest) == 2 and longest[0] * longest[1] > MAX_TEXT * 10:
            raise SecurityError(f"{name} could make more than the {MAX_TEXT:,} characters allowed")
        return bounded(function(*args, **kwargs))

    # Jinja2 looks there for what a filter wants passed beside its arguments.
    careful.__dict__.update(getattr(function, "__dict__", {}))
    return careful


class _Tilde(NodeTransformer):
    """Makes a ~ b a filter of ours: it is the one way to make a longer text that the sandbox cannot see."""

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        pieces = nodes.List([self.visit(piece) for piece in node.nodes], lineno=node.lineno)
        return nodes.Filter(pieces, "join", [], [], None, None, lineno=node.lineno)


class Sandbox(ImmutableSandboxedEnvironment):
    """Jinja2 where data is only data: `order.items` is the field of that name, and nothing grows without bounds."""

    intercepted_binops = frozenset({"*", "**", "+", "%"})
    concat = staticmethod(_joined)

    def __init__(self, *, autoescape: bool = False, finalize: Callable[[Any], Any] | None = None) -> None:
        super().__init__(autoescape=autoescape, undefined=StrictUndefined, finalize=finalize or _weighed)
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
        return bounded(super().call_binop(context, operator, left, right))

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
    return bounded(value)


def _quoted(value: Any) -> Any:
    """What is to be printed in a URL, so that it stays one piece of it: it begins no other segment, query or host."""
    if isinstance(value, Markup):
        return str(value)
    text = str(_weighed(value))
    if text in (".", ".."):
        raise SecurityError(f"{text!r} would lead to another path")
    return Markup(quote(text, safe=""))


TEXT = Sandbox()
HTML = Sandbox(autoescape=True)
URL = Sandbox(finalize=_quoted)
URL.filters["urlencode"] = _quoted  # pyright: ignore[reportUnknownMemberType]: Jinja2 does not say what its filters are
