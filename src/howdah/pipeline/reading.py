"""YAML text → nodes with places, within limits that are kept while it is read.

YAML 1.2: NO, on and 010 are what they look like. Nothing is constructed: tags are refused, and an alias is the node of its
anchor. What an alias would expand to is counted, never made.
"""

# ruamel.yaml says little of its types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.scanner import Scanner, ScannerError

from howdah.errors import shown
from howdah.pipeline.errors import Place, Unreadable
from howdah.pipeline.nodes import Node, Scalar

MAX_BYTES = 1_000_000
MAX_DEPTH = 50
MAX_NODES = 50_000

# What YAML allows, less what turns the direction of text.
_UNPRINTABLE = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\u2029\u202f-\u2065\u206a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
)
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: dict[str, Scalar] = dict.fromkeys(("", "~", "null", "Null", "NULL")) | {
    word: value for words, value in (("true True TRUE", True), ("false False FALSE", False)) for word in words.split()
}


def decode(data: bytes) -> str:
    """The text of a file. Raises Unreadable."""
    if len(data) > MAX_BYTES:
        raise Unreadable(
            f"the file is larger than {MAX_BYTES:,} bytes", hint="Payloads and scripts have their own files"
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig", "replace")
        raise Unreadable(
            f"the file is not UTF-8: byte 0x{data[error.start]:02x}", _end_of(before), hint="Save it as UTF-8"
        ) from None


def read(text: str) -> Node:
    """The document in a text. Raises Unreadable, with the place."""
    if len(text) > MAX_BYTES:
        raise Unreadable(
            f"the file is larger than {MAX_BYTES:,} bytes", hint="Payloads and scripts have their own files"
        )
    text = text.removeprefix("\ufeff")
    bad = _UNPRINTABLE.search(text)
    if bad:
        raise Unreadable(
            f"the character U+{ord(bad[0]):04X} cannot stand here as it is",
            _end_of(text[: bad.start()]),
            hint=f'Delete it, or write "\\u{ord(bad[0]):04x}" in double quotes',
        )
    reader = _Reader(text)
    try:
        return reader.document()
    except Unreadable:
        raise
    except MarkedYAMLError as error:
        raise _translated(error, text, reader.place) from None
    except Exception as error:  # ruamel's own mistakes, such as an escape beyond Unicode
        raise Unreadable(f"this is not YAML: {error}", reader.place) from None


@dataclass(slots=True)
class _Open:
    """A collection whose end was not read yet."""

    node: Node
    anchor: str | None
    key: str | None = None
    key_place: Place | None = None


class _Reader:
    """Builds the nodes of one document, event by event: no recursion, and no more work than the limits allow."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.place = Place(1, 1)
        self.open: list[_Open] = []
        self.anchors: dict[str, Node] = {}
        self.nodes = 0
        self.root: Node | None = None

    def document(self) -> Node:
        for event in _events(self.text):
            self.place = _place(event.start_mark)
            match event:
                case DocumentStartEvent() if self.root is not None:
                    raise Unreadable(
                        "a second document begins here; a file is one", self.place, hint="Delete the --- line"
                    )
                case MappingStartEvent() | SequenceStartEvent():
                    if len(self.open) >= MAX_DEPTH:
                        raise self._too_deep()
                    value = dict[str, Node]() if isinstance(event, MappingStartEvent) else list[Node]()
                    self.open.append(_Open(Node(self.place, value), event.anchor))
                case MappingEndEvent() | SequenceEndEvent():
                    closed = self.open.pop()
                    self.nodes -= closed.node.weight - 1
                    self._add(closed.node, closed.anchor)
                case ScalarEvent():
                    self._scalar(event)
                case AliasEvent():
                    self._alias(str(event.anchor))
                case _:
                    pass
        if self.root is None:
            raise Unreadable("the file is empty", Place(1, 1), hint="Write pipeline: and the stages under it")
        return self.root

    def _scalar(self, event: ScalarEvent) -> None:
        text = str(event.value)
        if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
            raise Unreadable("the text holds a character that PostgreSQL cannot store", self.place)
        if self._awaits_key():
            self._key(text, plain=event.style is None)
        else:
            value = self._value_of(text) if event.style is None else text
            # A long text that aliases repeat is as much work as many short ones.
            self._add(Node(self.place, value, weight=1 + len(text) // 1000), event.anchor)

    def _alias(self, anchor: str) -> None:
        if any(each.anchor == anchor for each in self.open):
            raise Unreadable(f"*{anchor} stands within &{anchor} itself", self.place)
        node = self.anchors.get(anchor)
        if node is None:
            raise _cron_without_quotes(self.text, self.place) or Unreadable(
                f"*{anchor} is the alias of nothing: there is no &{anchor} above it",
                self.place,
                hint="Text that begins with * needs quotes",
            )
        if self._awaits_key():
            raise Unreadable("a key must be text, not an alias", self.place)
        if len(self.open) + node.height > MAX_DEPTH:
            raise self._too_deep()
        self._add(node, None, alias=anchor)

    def _key(self, text: str, *, plain: bool) -> None:
        top = self.open[-1]
        if plain and text == "<<":
            raise Unreadable(
                "merge keys (<<) are not read",
                self.place,
                hint="Write the fields out; options of all stages go in defaults:",
            )
        if text in top.node.keys:
            first = top.node.keys[text]
            raise Unreadable(f"the key {shown(text)} stands here twice, first in line {first.line}", self.place)
        top.key, top.key_place = text, self.place

    def _add(self, node: Node, anchor: str | None, alias: str | None = None) -> None:
        self.nodes += node.weight
        if self.nodes > MAX_NODES:
            where = f"; *{alias} is the alias of &{alias} in line {node.place.line}" if alias else ""
            raise Unreadable(
                f"the file holds more than {MAX_NODES:,} values, counted as its aliases expand{where}", self.place
            )
        if anchor:
            self.anchors[anchor] = node
        if not self.open:
            self.root = node
            return
        top = self.open[-1]
        if isinstance(top.node.value, list):
            top.node.value.append(node)
        elif isinstance(top.node.value, dict):
            if top.key is None or top.key_place is None:
                raise Unreadable(
                    "a key must be text, not a list or mapping",
                    node.place,
                    hint="Quote text that begins with {, [ or ?",
                )
            top.node.value[top.key] = node
            top.node.keys[top.key] = top.key_place
            top.key = None
        top.node.weight += node.weight
        top.node.height = max(top.node.height, node.height + 1)

    def _awaits_key(self) -> bool:
        return bool(self.open) and isinstance(self.open[-1].node.value, dict) and self.open[-1].key is None

    def _value_of(self, text: str) -> Scalar:
        """What text without quotes is in YAML 1.2; dates, NO, 1_000 and .inf are text."""
        if text in _WORDS:
            return _WORDS[text]
        if _INT.fullmatch(text):
            if len(text) > 1000:
                raise Unreadable("the number has more than 1,000 digits", self.place, hint="Quote it if it is text")
            return int(text, 0) if text.startswith(("0o", "0x")) else int(text)
        if _FLOAT.fullmatch(text):
            number = float(text)
            if not math.isfinite(number):
                raise Unreadable(f"the number {shown(text)} is too large", self.place, hint="Quote it if it is text")
            return number
        return text

    def _too_deep(self) -> Unreadable:
        return Unreadable(f"the file is nested deeper than {MAX_DEPTH} levels", self.place)


class _Scanner(Scanner):
    """Reads no tags: nobody needs them here, and ruamel takes a minute for one of a megabyte."""

    def fetch_tag(self) -> None:
        raise ScannerError(None, None, "tag", self.reader.get_mark())


def _events(text: str) -> Iterator[Any]:
    yaml = YAML(typ="safe", pure=True)
    yaml.Scanner = _Scanner
    yield from yaml.parse(text)


def _place(mark: Any) -> Place:
    return Place(mark.line + 1, mark.column + 1)


def _end_of(text: str) -> Place:
    lines = f"{text}|".splitlines()
    return Place(len(lines), len(lines[-1]))


# ── what ruamel says, as what to do ──


def _translated(error: MarkedYAMLError, text: str, otherwise: Place) -> Unreadable:
    problem: str = error.problem or "this is not YAML"
    context: str = error.context or ""
    place = otherwise if error.problem_mark is None else _place(error.problem_mark)
    begun = place if error.context_mark is None else _place(error.context_mark)
    line = _line(text, place.line)
    if problem == "tag":
        return Unreadable(
            f"tags are not read: {shown(line[place.column - 1 :].split(' ')[0])}",
            place,
            hint="Quote text that begins with !",
        )
    if "scanning an alias" in context:
        return _cron_without_quotes(text, begun) or Unreadable(
            "text that begins with * needs quotes", begun, hint='Write "*…"'
        )
    if "scanning an anchor" in context:
        return Unreadable("text that begins with & needs quotes", begun)
    if r"'\t'" in problem:
        return Unreadable("a tab cannot stand here", place, hint="Indent with spaces")
    if "quoted scalar" in context and "unexpected end" in problem:
        return Unreadable("the quote that begins here is never closed", begun)
    if "escape character" in problem:
        return Unreadable(problem, place, hint="Double the backslash, or use single quotes")
    if problem.startswith(("mapping values", "sequence entries")):
        what = "a key" if problem.startswith("mapping") else "an item of a list"
        return Unreadable(
            f"{what} cannot stand here", place, hint='Mend the indentation, or quote text that holds ": "'
        )
    if "flow" in context:
        if line[place.column - 2 : place.column] == "${":
            return Unreadable(
                "${…} within [ ] or { } needs quotes", Place(place.line, place.column - 1), hint='Write "${VARIABLE}"'
            )
        what = "list" if "sequence" in context else "mapping"
        return Unreadable(f"{problem}: the {what} that begins in line {begun.line} goes on to here", place)
    if "cannot start any token" in problem:
        return Unreadable(f"text that begins with {shown(line[place.column - 1 : place.column])} needs quotes", place)
    if problem.startswith("expected <block end>"):
        return Unreadable("this fits nothing above it", place, hint="Mend the indentation or the quotes")
    return Unreadable(f"{context} {problem}" if context else problem, place)


def _cron_without_quotes(text: str, place: Place) -> Unreadable | None:
    """`cron: * * * * *`, which YAML takes for an alias."""
    found = _UNTIL_NEXT.match(_line(text, place.line), place.column - 1)
    if found is None or not _CRON.match(found[0]):
        return None
    hint = f'Quote the cron expression: "{found[0].strip()}"'
    return Unreadable("text that begins with * needs quotes", place, hint=hint)


_UNTIL_NEXT = re.compile(r"""([^#"'{}\[\],]|,(?=\S))+""")
_CRON = re.compile(r"\*(/\d|\s|$)|\S+(\s+[-*/,\d]+)+\s*$")


def _line(text: str, number: int) -> str:
    lines = text.splitlines()
    return lines[number - 1] if number <= len(lines) else ""
