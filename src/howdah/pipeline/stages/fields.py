"""What several stages ask of their fields: lengths of time, one line of text, paths that stay in the project's folder."""

from __future__ import annotations

import unicodedata
from datetime import timedelta
from pathlib import Path

from howdah.durations import Duration, duration
from howdah.errors import HowdahError, InvalidOption
from howdah.outcomes import Fail
from howdah.pipeline.stage import InvalidField


def length(value: Duration, field: str) -> timedelta:
    """A length of time that a config gives. Raises InvalidField."""
    try:
        return duration(value, field)
    except InvalidOption as error:
        raise InvalidField(field, error.message, hint=error.hint) from None


def one_line(text: str, field: str) -> str:
    """A text that goes into a header. Raises Fail if it could begin another one."""
    if any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in text):
        raise Fail(f"{field}: it has a line break or another control character in it")
    return text


class OutsideFolder(HowdahError):
    """A path that leaves the folder of the pipeline's file."""


def inside(folder: Path, path: str | Path, *, outside: bool = False) -> Path:
    """A path as it is on the disk, links followed. Raises OutsideFolder where it leaves the folder and may not."""
    root = folder.resolve()
    try:
        found = (root / path).resolve()
    except (OSError, ValueError, RuntimeError) as error:  # NUL, too long, a link to itself
        raise OutsideFolder(f"{str(path)[:200]!r} is no path: {error}") from None
    if not outside and not found.is_relative_to(root):
        raise OutsideFolder(f"{str(path)[:200]} is outside {root}", hint="If it is meant, write outside: true")
    return found
