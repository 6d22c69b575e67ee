"""Several worker processes under one: restarted when they die, stopped together."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence

from howdah.cli.errors import OK
from howdah.durations import in_words
from howdah.errors import HowdahError

log = logging.getLogger("howdah.supervisor")

# Set for the workers of a supervisor: which of them it is.
NUMBER = "HOWDAH_WORKER_NUMBER"
_SHORTEST, _LONGEST = 0.5, 30.0
# Who ran so long did not die of how it was started.
_SETTLED = 60.0


class Supervisor:
    """Runs `howdah ARGUMENTS` in `count` processes, until all of them have ended well."""

    def __init__(self, arguments: Sequence[str], count: int) -> None:
        self._command = [sys.executable, "-m", "howdah", *arguments]
        self._count = count
        self._alive: dict[int, Process] = {}
        self._stopping = asyncio.Event()

    async def run(self) -> int:
        if sys.platform == "win32":
            raise HowdahError("--processes does not work on Windows", hint="Start several howdah worker")
        loop = asyncio.get_running_loop()
        signals = [signal.SIGTERM, signal.SIGINT]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # which is how nohup starts us
            signals.append(signal.SIGHUP)
        for number in signals:
            loop.add_signal_handler(number, self._forward, number)
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(1, self._count + 1):
                    group.create_task(self._keep(number))
        finally:
            for number in signals:
                loop.remove_signal_handler(number)
        return OK

    async def _keep(self, number: int) -> None:
        """One worker, again and again until it ends well: told to stop, or idle with --until-idle."""
        failures = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            code = await self._once(number)
            if code == 0:
                return
            failures = 1 if time.monotonic() - began > _SETTLED else failures + 1
            words = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            if self._stopping.is_set():
                log.warning("worker %d %s", number, words)
                return
            rest = min(_SHORTEST * 2 ** (failures - 1), _LONGEST)
            log.warning("worker %d %s; starting it again in %s", number, words, in_words(rest))
            try:
                async with asyncio.timeout(rest):
                    await self._stopping.wait()
            except TimeoutError:
                pass

    async def _once(self, number: int) -> int:
        # A session of its own: Ctrl-C in the terminal is ours to forward, or it would arrive twice. Its stdin is a pipe
        # that only we hold: when we are gone, however that came, it reads the end and stops.
        process = await asyncio.create_subprocess_exec(
            *self._command, stdin=PIPE, env=os.environ | {NUMBER: str(number)}, start_new_session=True
        )
        self._alive[number] = process
        log.debug("worker %d is process %d", number, process.pid)
        try:
            if self._stopping.is_set():
                process.send_signal(signal.SIGTERM)
            return await process.wait()
        finally:
            del self._alive[number]

    def _forward(self, number: int) -> None:
        again = self._stopping.is_set()
        self._stopping.set()
        log.info("%s: %s", signal.Signals(number).name, "stopping now" if again else "stopping all workers")
        for process in self._alive.values():
            process.send_signal(number)
