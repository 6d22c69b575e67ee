"""How rows are printed: a table for people, tab-separated text for pipes, JSON for programs."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

Format = Literal["table", "json", "jsonl", "ids"]
Row = Mapping[str, Any]

# What a terminal would obey, or what turns the direction of text: never sent to one as it is.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\x1b": "\\e"}

STATUS_STYLES = {
    "green": "green",
    "yellow": "yellow",
    "red": "bold red",
    "queued": "cyan",
    "running": "blue",
    "suspended": "magenta",
    "failed": "red",
    "succeeded": "green",
    "cancelled": "dim",
}


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a listing: its heading, and how to read it from a row."""

    name: str
    read: Callable[[Row], Any]
    right: bool = False
    wide: bool = False  # takes what room is left, and is cut

    @classmethod
    def of(cls, name: str, *, right: bool = False, wide: bool = False) -> Column:
        return cls(name, lambda row: row[name], right, wide)


def counted(number: int, noun: str = "task") -> str:
    """A number and what there is so many of: 1 task, 2 tasks."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def print_rows(rows: Sequence[Row], columns: Sequence[Column], output: Format | None, *, key: str = "id") -> None:
    """Print rows: without `output` a table on a terminal and tab-separated text elsewhere."""
    match output:
        case "json":
            print(to_json([plain(row) for row in rows], pretty=True))
        case "jsonl":
            for row in rows:
                print(to_json(plain(row)))
        case "ids":
            for row in rows:
                print(escaped(str(row[key])))
        case "table":
            _print_table(rows, columns)
        case None if sys.stdout.isatty():
            _print_table(rows, columns)
        case None:
            print_line(column.name for column in columns)
            for row in rows:
                print_line(column.read(row) for column in columns)


def for_people(output: Format | None) -> bool:
    """Whether a person looks at it."""
    return output == "table" or (output is None and sys.stdout.isatty())


def print_line(cells: Any) -> None:
    """A line of tab-separated text."""
    print("\t".join(escaped(flat(cell)) for cell in cells))


def print_json(value: Any, output: Format | None = "json") -> None:
    """A value as JSON: on one line for jsonl, else to be read."""
    print(to_json(plain(value), pretty=output != "jsonl"))


def _print_table(rows: Sequence[Row], columns: Sequence[Column]) -> None:
    from rich.table import Table

    if not rows:
        return
    wide = any(column.wide for column in columns)
    table = Table(box=None, pad_edge=False, header_style="bold", expand=wide, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(
            column.name,
            no_wrap=True,
            overflow="ellipsis",
            justify="right" if column.right else "left",
            ratio=1 if column.wide else None,
        )
    for row in rows:
        table.add_row(*(cell(column.read(row), column.name) for column in columns))
    console().print(table)


@cache
def console() -> Console:
    """stdout, for tables."""
    from rich.console import Console

    return Console(highlight=False)


def cell(value: Any, name: str = "") -> Text:
    """A value as a person reads it in a table."""
    from rich.text import Text

    if isinstance(value, datetime):
        return Text(ago(value))
    text = escaped(flat(value))
    return Text(text, style=STATUS_STYLES.get(text, "") if name in ("status", "colour") else "")


def ago(moment: datetime, now: datetime | None = None) -> str:
    """A moment beside now: "3s ago", "in 1h 30m"."""
    from howdah.durations import in_words

    away = (now or datetime.now(UTC)) - moment
    if abs(away) < timedelta(seconds=1):
        return "now"
    words = in_words(round(abs(away.total_seconds())))
    return f"{words} ago" if away > timedelta(0) else f"in {words}"


def flat(value: Any) -> str:
    """A value as text on one line, to be escaped."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case datetime():
            return value.astimezone(UTC).isoformat()
        case dict() | list() | tuple():
            return to_json(plain(value))
        case _:
            return str(value)


def escaped(text: str, *, lines: bool = False) -> str:
    """Text without control characters, which could rewrite a terminal; `lines` keeps line breaks and tabs.

    >>> escaped("red: \\x1b[31m, next\\nline")
    'red: \\\\e[31m, next\\\\nline'
    """

    def name(match: re.Match[str]) -> str:
        character = match[0]
        if lines and character in "\n\t":
            return character
        code = ord(character)
        return _SHORT.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")

    return _UNSAFE.sub(name, text)


def plain(value: Any) -> Any:
    """A value as JSON has it."""
    match value:
        case datetime():
            return value.astimezone(UTC).isoformat()
        case timedelta():
            return value.total_seconds()
        case UUID():
            return str(value)
        case float() if not math.isfinite(value):
            return str(value)  # jsonb holds numbers that a float does not
        case dict() | Mapping():
            return {str(name): plain(each) for name, each in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        case list() | tuple():
            return [plain(each) for each in value]  # pyright: ignore[reportUnknownVariableType]
        case _:
            return value


def to_json(value: Any, *, pretty: bool = False) -> str:
    """JSON that is safe on a terminal: what could control one is written as \\u…."""
    unicode = (sys.stdout.encoding or "").lower().replace("-", "") in ("utf8", "")
    text = json.dumps(value, ensure_ascii=not unicode, indent=2 if pretty else None, allow_nan=False)
    return re.sub(_UNSAFE, lambda match: match[0] if match[0] == "\n" else f"\\u{ord(match[0]):04x}", text)
