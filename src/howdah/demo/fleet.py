"""The worker processes of the demo."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time

from howdah.errors import HowdahError


class Fleet:
    """Worker processes, numbered from 1. Workers that die unasked are an error only when none is left."""

    def __init__(self, size: int) -> None:
        self._log = tempfile.TemporaryFile("a+b")  # noqa: SIM115  (closed by stop)
        self._processes = [self._start() for _ in range(size)]

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            # Python's remarks about the files that are parsed are not for us: -W ignore.
            [sys.executable, "-W", "ignore", "-m", "howdah.demo.worker"],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,  # Ctrl-C is for the driver, which then stops the workers
        )

    @property
    def pids(self) -> list[int]:
        """Of those that live. Raises HowdahError if none does."""
        living = [process.pid for process in self._processes if process.poll() is None]
        if not living:
            raise self.trouble("all workers of the demo ended")
        return living

    def trouble(self, what: str) -> HowdahError:
        """What happened, with the last words of the workers."""
        self._log.seek(0)
        said = self._log.read().decode(errors="replace").strip().splitlines()
        return HowdahError(what, hint=f"The workers said: {' / '.join(said[-3:]) or 'nothing'}")

    def number(self, pid: int) -> int:
        return 1 + [process.pid for process in self._processes].index(pid)

    def numbers(self) -> list[int]:
        """Of those that live."""
        return [self.number(pid) for pid in self.pids]

    def freeze(self, pid: int) -> None:
        if sys.platform != "win32":
            os.kill(pid, signal.SIGSTOP)

    def thaw(self, pid: int) -> None:
        if sys.platform != "win32":
            os.kill(pid, signal.SIGCONT)

    def kill(self, pid: int) -> None:
        """SIGKILL: no last word, no tidying up."""
        process = self._processes[self.number(pid) - 1]
        process.kill()
        process.wait()

    def stop(self) -> None:
        """End them all: in good order if they are quick, else at once."""
        deadline = time.monotonic() + 8
        try:
            for process in self._processes:
                process.terminate()
            for process in self._processes:
                process.wait(max(deadline - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            pass
        finally:
            for process in self._processes:
                process.kill()
                process.wait()
                if process.stdin is not None:
                    process.stdin.close()
            self._log.close()
