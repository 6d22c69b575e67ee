"""What the demo shows: a bar for people, plain lines for pipes and logs."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

EVERY = 2.0  # seconds between two lines where there is no bar


def plain(text: str) -> str:
    """Text without control characters; a file may have any name."""
    return "".join(character if character.isprintable() else "�" for character in text)


class Screen:
    """Events and the bar go to stderr, the outcome to stdout."""

    def __init__(self) -> None:
        self._err = Console(stderr=True)
        self._out = Console()
        self._began = self._line_at = time.monotonic()
        self._bar: Progress | None = None
        self._task: Any = None

    def begin(self, files: int) -> None:
        """The work begins now."""
        self._began = self._line_at = time.monotonic()
        if self._err.is_terminal:
            self._bar = Progress(
                TextColumn(" {task.fields[clock]}  running "),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rest]}"),
                console=self._err,
            )
            self._task = self._bar.add_task("", total=files, clock="00:00", rest="")
            self._bar.start()

    def progress(self, ended: int, files: int, waiting: float) -> None:
        """`ended` of the files have a result or are parked; the oldest due one waits for so many seconds."""
        now = time.monotonic()
        rate = ended / max(now - self._began, 0.001)
        rest = f"{rate:,.0f} files/s · oldest waiting {waiting:.1f} s"
        if self._bar is not None:
            self._bar.update(self._task, completed=ended, clock=self._clock(), rest=rest)
        elif now - self._line_at >= EVERY or ended == files:
            self._line_at = now
            self.event(f"{ended:,}/{files:,} files · {rest}")

    def end(self) -> None:
        """No bar from here on. Doing it twice is fine."""
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.stop()

    def event(self, text: str) -> None:
        """Something happened while the files are examined."""
        self.say(f" {self._clock()}  {text}")

    def say(self, text: str) -> None:
        """A line about the run."""
        self._print(self._err, text)

    def tell(self, text: str) -> None:
        """A line of the outcome."""
        self._print(self._out, text)

    def _print(self, console: Console, text: str) -> None:
        console.print(plain(text), markup=False, highlight=False, soft_wrap=True)

    def _clock(self) -> str:
        seconds = int(time.monotonic() - self._began)
        return f"{seconds // 60:02}:{seconds % 60:02}"
