"""A folder that is watched: which of its files are new or have changed, and have come to rest."""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path

from howdah.errors import HowdahError
from howdah.pipeline.stage import Event

log = logging.getLogger("howdah.pipeline")
MAX_FILES = 20_000
_MARK = 12  # characters; 72 bits tell 20,000 files apart


@dataclass(frozen=True, slots=True)
class Found:
    """A file as it is now."""

    path: Path
    modified_ns: int
    size: int

    @property
    def mark(self) -> str:
        """Short, and another one once the file changes. What is remembered of 20,000 files must fit into a task."""
        digest = hashlib.sha256(f"{self.path}\0{self.modified_ns}\0{self.size}".encode()).digest()
        return base64.b64encode(digest)[:_MARK].decode()

    def event(self, root: Path) -> Event:
        """What is told of it. Its path begins at the folder of the pipeline's file, if it is in there."""
        path = self.path.relative_to(root) if self.path.is_relative_to(root) else self.path
        modified = datetime.fromtimestamp(self.modified_ns / 1e9, UTC).isoformat()
        return {"path": path.as_posix(), "name": self.path.name, "size": self.size, "modified": modified}


class Folder:
    """One folder. What it remembers in memory only makes it quicker or quieter."""

    def __init__(self, pattern: str, *, recursive: bool, settle: float, root: Path | None) -> None:
        self._pattern = pattern
        self._recursive = recursive
        self._settle = settle
        self._root = root
        self._first_seen: dict[str, float] = {}
        self._told: set[str] = set()

    def look(self, folder: Path, seen: str, most: int) -> tuple[list[Found], str, bool]:
        """Files not told yet, what is to be remembered now, and whether there are more. `seen` is what was remembered."""
        before = {seen[start : start + _MARK] for start in range(0, len(seen), _MARK)}
        try:
            files = list(self._files(folder))
        except (FileNotFoundError, NotADirectoryError):
            raise HowdahError(f"there is no folder {folder}") from None
        marks = {found.mark: found for found in files}
        resting = self._resting({mark: found for mark, found in marks.items() if mark not in before})
        resting.sort(key=lambda found: (found.modified_ns, found.path))
        told = resting[:most]
        # What is gone is forgotten: the same file again is a new one.
        return told, "".join([*(before & marks.keys()), *(found.mark for found in told)]), len(resting) > most

    def _resting(self, new: dict[str, Found]) -> list[Found]:
        """Those that have not changed for a while, by their own time or, where that lies in the future, by our watch."""
        now = time.monotonic()
        self._first_seen = {mark: self._first_seen.get(mark, now) for mark in new}
        return [
            found
            for mark, found in new.items()
            if time.time() - found.modified_ns / 1e9 >= self._settle or now - self._first_seen[mark] >= self._settle
        ]

    def _files(self, folder: Path) -> Iterator[Found]:
        todo, count = [folder], 0
        while todo:
            with os.scandir(todo.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        if self._recursive and not entry.name.startswith("."):
                            todo.append(Path(entry.path))
                    elif self._matches(entry.name) and (found := self._file(entry)) is not None:
                        count += 1
                        if count > MAX_FILES:
                            raise HowdahError(
                                f"{folder} has more than {MAX_FILES:,} files that match {self._pattern}",
                                hint="Move files away, or delete them, once they are processed",
                            )
                        yield found

    def _matches(self, name: str) -> bool:
        # As in a shell: many programs write to a hidden file first and then rename it.
        return fnmatchcase(name, self._pattern) and (not name.startswith(".") or self._pattern.startswith("."))

    def _file(self, entry: os.DirEntry[str]) -> Found | None:
        try:
            entry.path.encode()
            status = entry.stat()
            path = Path(entry.path).resolve() if entry.is_symlink() else Path(entry.path)
        except UnicodeEncodeError:
            return self._leave_out(entry.path, "its name is no text")
        except OSError:  # gone meanwhile, or a link to nowhere
            return None
        if not stat.S_ISREG(status.st_mode):
            return None
        if self._root is not None and not path.is_relative_to(self._root):
            return self._leave_out(entry.path, f"it leads out of {self._root}; if that is meant, write outside: true")
        return Found(Path(entry.path), status.st_mtime_ns, status.st_size)

    def _leave_out(self, path: str, why: str) -> None:
        if path not in self._told and len(self._told) < 1_000:
            self._told.add(path)
            log.warning("%r is left out: %s", path, why)
