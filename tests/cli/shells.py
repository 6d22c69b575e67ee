"""The real program, as a person starts it."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Ended:
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[list[str]]:
        """The rows of tab-separated text, without the heading."""
        return [line.split("\t") for line in self.out.splitlines()[1:]]


@dataclass
class Shell:
    """Runs `howdah …` in a folder."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    def environment(self, more: dict[str, str] | None = None) -> dict[str, str]:
        unwanted = ("HOWDAH_", "NO_COLOR", "FORCE_COLOR", "PG", "COLUMNS", "LINES")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
        return (
            kept
            | {"TERM": "xterm-256color", "PYTHONWARNINGS": "error::ResourceWarning"}
            | self.variables
            | (more or {})
        )

    def __call__(self, *arguments: object, stdin: str = "", env: dict[str, str] | None = None) -> Ended:
        done = subprocess.run(
            [sys.executable, "-m", "howdah", *map(str, arguments)],
            cwd=self.folder, env=self.environment(env), input=stdin, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        return Ended(done.returncode, done.stdout, done.stderr)

    def on_a_terminal(self, *arguments: object, columns: int = 100, env: dict[str, str] | None = None) -> Ended:
        """With stdout and stderr on a terminal; what it shows comes back as `out`."""
        ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (50, columns))
        process = subprocess.Popen(
            [sys.executable, "-m", "howdah", *map(str, arguments)],
            cwd=self.folder, env=self.environment(env), stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs,
        )  # fmt: skip
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # EIO: the other end is closed
            while part := os.read(ours, 65536):
                shown += part
        os.close(ours)
        return Ended(process.wait(60), shown.decode().replace("\r\n", "\n"), "")

    @contextlib.contextmanager
    def running(self, *arguments: object, **options: Any) -> Iterator[subprocess.Popen[str]]:
        """A process that goes on beside the test; what it says on stderr is in the file `said-by-worker`."""
        with (self.folder / "said-by-worker").open("w") as said:
            process = subprocess.Popen(
                [sys.executable, "-m", "howdah", *map(str, arguments)],
                cwd=self.folder, env=self.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said,
                text=True, **options,
            )  # fmt: skip
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(20)
                finally:
                    process.kill()
                    process.wait()
            if process.stdout is not None:
                process.stdout.close()

    @property
    def said(self) -> str:
        return (self.folder / "said-by-worker").read_text()
