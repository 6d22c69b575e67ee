"""Lines of a file: from where the last reading ended, and no more of them than fit into memory."""

from __future__ import annotations

import codecs
import hashlib
import os
import stat
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple

import msgspec

from howdah.errors import HowdahError

MAX_LINES = 1_000
MAX_BYTES = 4_000_000
MAX_LINE = 100_000
_TAIL = 64


class Position(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a reading ended: after `line` complete lines and `offset` bytes, in the file that `mark` tells from another."""

    offset: int = 0
    line: int = 0
    mark: str = ""


def opened(path: Path) -> BufferedReader:
    """A regular file. Raises OSError, HowdahError if it is another thing: a pipe would keep us waiting for ever."""
    # The path has been resolved: a link there now was put there since.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise HowdahError(f"{path} is no file")
    return os.fdopen(descriptor, "rb")


def decoded(piece: bytes, encoding: str) -> str:
    """Text, with U+FFFD for what is none and for NUL, which PostgreSQL cannot store."""
    return piece.decode(encoding, errors="replace").replace("\0", "\ufffd")


class Line(NamedTuple):
    """A line, or a piece of one that is too long."""

    number: int
    text: str
    after: Position


def taken(file: BufferedReader, start: Position, encoding: str, *, whole: bool) -> Iterator[Line]:
    """Lines from a position on: at most MAX_LINES, and not many more bytes than MAX_BYTES.

    `whole` is for a file that grows no more: its last line may lack an end, and one longer than MAX_LINE raises HowdahError.
    Otherwise a line without an end is not there yet, and a long one comes in pieces of the same number.
    """
    file.seek(start.offset)
    offset, line = start.offset, start.line
    for _ in range(MAX_LINES):
        piece = file.readline(MAX_LINE) if offset - start.offset <= MAX_BYTES else b""
        ended, long = piece.endswith(b"\n"), len(piece) == MAX_LINE
        if not piece or not (ended or long or whole):
            return
        if whole and long and not ended and file.peek(1):
            raise HowdahError(f"line {line + 1} is longer than {MAX_LINE:,} bytes")
        text = piece.removesuffix(b"\n").removesuffix(b"\r") if ended else piece
        text = text if offset else text.removeprefix(codecs.BOM_UTF8)
        offset += len(piece)
        yield Line(line + 1, decoded(text, encoding), Position(offset, line + ended))
        line += ended


def is_full(read: list[Line], start: Position) -> bool:
    """Whether a reading ended because it was enough for once."""
    return len(read) == MAX_LINES or (bool(read) and read[-1].after.offset - start.offset > MAX_BYTES)


def end_of_lines(file: BufferedReader) -> int:
    """Where the line begins that is being written."""
    size = file.seek(0, os.SEEK_END)
    base = file.seek(max(size - MAX_LINE, 0))
    last = file.read(size - base).rfind(b"\n")
    return size if last < 0 and base else base + last + 1


def tail_mark(file: BufferedReader, offset: int) -> str:
    """Tells a file apart from another that took its name, or even its inode, or was cut and has grown again."""
    length = min(offset, _TAIL)
    file.seek(offset - length)
    before = file.read(length)
    inode = os.fstat(file.fileno()).st_ino
    return hashlib.sha256(b"%d:%s" % (inode, before)).hexdigest()[:16] if len(before) == length else ""


def version(file: BufferedReader) -> str:
    """Another one once the file has changed."""
    status = os.fstat(file.fileno())
    return f"{status.st_ino}-{status.st_size}-{status.st_mtime_ns}"
