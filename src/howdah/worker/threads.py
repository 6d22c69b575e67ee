"""Threads for plain functions.

Daemon threads, because a handler in a thread cannot be stopped: one that is stuck must not keep the process from ending.
Context variables of the attempt are kept.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True, eq=False)
class _Job:
    function: Callable[..., Any]
    arguments: dict[str, Any]
    context: contextvars.Context
    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop


class Threads:
    """Runs plain functions. As many threads as calls at once; the worker's room bounds them.

    `stuck` counts calls nobody waits for any more: they were timed out or given up, and still run.
    """

    def __init__(self) -> None:
        self.stuck = 0
        self.freed: Callable[[], None] = lambda: None  # called on the loop when a stuck call has returned
        self._jobs: deque[_Job] = deque()
        self._ready = threading.Condition()
        self._idle = 0

    async def call(self, function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        """Run `function(**arguments)` in a thread. Cancelled, it stops waiting; the thread goes on."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._start(_Job(function, arguments, contextvars.copy_context(), future, loop))
        try:
            return await future
        except asyncio.CancelledError:
            if future.cancelled():  # else the call has ended, perhaps with this very error
                self.stuck += 1
            raise

    def _start(self, job: _Job) -> None:
        with self._ready:
            self._jobs.append(job)
            if self._idle >= len(self._jobs):
                self._ready.notify()
                return
        try:
            threading.Thread(target=self._work, name="howdah-handler", daemon=True).start()
        except RuntimeError:  # no more threads to be had
            with self._ready:
                if job in self._jobs:  # else one that had ended its own has taken it
                    self._jobs.remove(job)  # nobody waits for it: it must not run later
                    raise

    def _work(self) -> None:
        while True:
            with self._ready:
                self._idle += 1
                # A minute without work ends the thread.
                found = self._ready.wait_for(lambda: self._jobs, timeout=60)
                self._idle -= 1
                if not found:
                    return
                job = self._jobs.popleft()
            result, error = None, None
            try:
                result = job.context.run(job.function, **job.arguments)
            except BaseException as raised:
                error = raised
            try:
                job.loop.call_soon_threadsafe(self._done, job.future, result, error)
            except RuntimeError:  # the loop is closed: nobody waits
                return
            del job, result, error

    def _done(self, future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
        if future.cancelled():
            self.stuck -= 1
            self.freed()
        elif error is None:
            future.set_result(result)
        elif isinstance(error, StopIteration):  # a future refuses it
            future.set_exception(RuntimeError("the handler raised StopIteration"))
        else:
            future.set_exception(error)
