"""Which files the demo examines."""

from __future__ import annotations

import os
import stat
import sysconfig
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from howdah.errors import InvalidOption

MOST_BYTES = 1_000_000
NOT_ENTERED = {"__pycache__", "node_modules", "site-packages", "dist-packages"}


@dataclass
class Found:
    """Files, relative to their folder, and what was left out for which reason."""

    folder: Path
    paths: list[str]
    left_out: Counter[str] = field(default_factory=Counter[str])


def find(folder: Path | None, most: int) -> Found:
    """At most so many files of this folder; without one, the sources of Python's standard library.

    Hidden folders are not entered. Raises InvalidOption if there is no such folder or nothing in it.
    """
    if folder is None:
        return standard_library(Path(sysconfig.get_path("stdlib")), most)
    if not folder.is_dir():
        raise InvalidOption(f"{folder} is not a folder", hint="Name one with files in it: howdah demo FOLDER")
    return _collected(Found(folder.resolve(), []), most, suffix="")


def standard_library(folder: Path, most: int) -> Found:
    """The sources below `folder`. Some are broken on purpose: they are test data of Python itself.

    Where a distribution has left those out, three compiled modules take their place: they cannot be read as text.
    """
    found = _collected(Found(folder.resolve(), []), most, suffix=".py")
    if not (folder / "test" / "tokenizedata").is_dir():
        compiled = sorted((folder / "lib-dynload").glob("*.so")) or sorted((folder / "__pycache__").glob("*.pyc"))
        found.paths += [str(path.relative_to(folder)) for path in compiled[:3]]
    return found


def _collected(found: Found, most: int, *, suffix: str) -> Found:
    found.paths = list(islice(_examinable(found, suffix), most + 1))
    if len(found.paths) > most:
        found.paths.pop()
        found.left_out[f"all after the first {most:,}"] = 1
    if not found.paths:
        raise InvalidOption(f"there are no files in {found.folder}", hint="Name another folder: howdah demo FOLDER")
    return found


def _examinable(found: Found, suffix: str) -> Iterator[str]:
    for directory, folders, names in os.walk(found.folder):
        folders[:] = sorted(name for name in folders if name not in NOT_ENTERED and not name.startswith("."))
        for name in sorted(name for name in names if name.endswith(suffix)):
            file = Path(directory, name)
            reason = _left_out(file)
            if reason:
                found.left_out[reason] += 1
            else:
                yield str(file.relative_to(found.folder))


def _left_out(file: Path) -> str | None:
    try:
        str(file).encode()
    except UnicodeEncodeError:
        return "a name that is no text"
    try:
        facts = file.stat()
    except OSError:
        return None  # a link to nowhere, say: its task will tell
    if not stat.S_ISREG(facts.st_mode):
        return "not a regular file"
    return f"more than {MOST_BYTES // 1_000_000} MB" if facts.st_size > MOST_BYTES else None
