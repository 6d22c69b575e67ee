"""Processes for CPU work: one call each at a time, killed on timeout or cancellation, replaced when next needed.

What goes over the pipe is JSON, never pickle. The child finds the handler by importing the module it was defined in,
which comes from the code of the program, never from the database.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection, wait
from typing import Any

import msgspec

from howdah.context import ClaimedTask, Context, Progress, ReportProgress
from howdah.enqueue import TaskFunction
from howdah.errors import HowdahError, InvalidOption
from howdah.inbox import Mail
from howdah.kinds import ending
from howdah.kinds.batch import BatchKind
from howdah.kinds.machine import Step
from howdah.kinds.registry import Handler
from howdah.outcomes import Transition
from howdah.worker.threads import Threads

# Spawned, not forked: a fork would share this process's connections and threads' locks.
_spawn = multiprocessing.get_context("spawn")


# What is told of the progress of which task of a request.
ReportEach = Callable[[int, Progress], None]


class _Request(msgspec.Struct):
    """`tasks`: one, or those of a batch."""

    module: str
    qualname: str
    tasks: list[ClaimedTask]
    mail: Mail | None = None


class _Reply(msgspec.Struct):
    """How the attempts ended; or that they began, the progress of one of them, or why they cannot begin."""

    transitions: list[Transition] | None = None
    broken: str | None = None
    began: bool = False
    progress: Progress | None = None
    number: int = 0


class _Slot:
    """One child process, started when first needed."""

    def __init__(self) -> None:
        self._process: Any = None
        self._pipe: Connection | None = None

    def work(self, request: bytes, began: Callable[[], None], progress: ReportEach) -> list[Transition]:
        """Send one request and wait for its end; `began` is called when the handler is about to run.

        Blocking. Raises EOFError or OSError when the child is gone.
        """
        if self._process is None or not self._process.is_alive():
            self.kill()
            self._start()
        pipe = self._pipe
        if pipe is None:
            raise EOFError
        pipe.send_bytes(request)
        while True:
            reply = msgspec.json.decode(pipe.recv_bytes(), type=_Reply)
            if reply.began:
                began()
            elif reply.progress is not None:
                progress(reply.number, reply.progress)
            elif reply.broken is not None:
                raise ending.ProcessDied(f"the process of the handler could not begin: {reply.broken}")
            elif reply.transitions is not None:
                return reply.transitions

    def _start(self) -> None:
        self._pipe, theirs = _spawn.Pipe()
        self._process = _spawn.Process(target=_child, args=(theirs,), name="howdah-handler", daemon=True)
        self._process.start()
        theirs.close()

    def kill(self) -> None:
        process, self._process = self._process, None
        pipe, self._pipe = self._pipe, None
        if process is not None:
            process.kill()
            process.join(5)
        if pipe is not None:
            pipe.close()

    @property
    def exit_code(self) -> int | None:
        if self._process is None:
            return None
        self._process.join(1)
        return self._process.exitcode


class Processes:
    """A fixed number of slots for process handlers."""

    def __init__(self, size: int, threads: Threads) -> None:
        self._threads = threads
        self._free = [_Slot() for _ in range(size)]
        self._turns = asyncio.Semaphore(size)

    async def attempt(self, kind: Handler, task: ClaimedTask, report: ReportProgress, mail: Mail | None) -> Transition:
        """Run one attempt in a child process. Its time begins when the handler does, not while the child starts."""

        def report_it(_: int, progress: Progress) -> None:
            report(task, progress)

        async with self._turns:
            (transition,) = await self._attempt(kind, _Request(*kind.source, [task], mail), report_it)
        return transition

    async def attempt_many(self, kind: Handler, tasks: list[ClaimedTask], report: ReportEach) -> list[Transition]:
        """As `attempt`, for a batch: how each of them ended."""
        async with self._turns:
            return await self._attempt(kind, _Request(*kind.source, tasks), report)

    async def _attempt(self, kind: Handler, request: _Request, report: ReportEach) -> list[Transition]:
        slot = self._free.pop()
        limit = kind.defaults.timeout
        loop = asyncio.get_running_loop()
        clock = asyncio.timeout(None)

        def start_clock() -> None:
            if limit is not None:
                with contextlib.suppress(RuntimeError):  # it is over already
                    clock.reschedule(loop.time() + limit.total_seconds())

        arguments = {
            "request": msgspec.json.encode(request),
            "began": lambda: loop.call_soon_threadsafe(start_clock),
            "progress": report,
        }
        try:
            async with clock:
                return await self._threads.call(slot.work, arguments)
        except TimeoutError:
            if limit is None or not clock.expired():
                raise
            raise ending.TimedOut(limit) from None
        except (EOFError, OSError):
            code = await self._threads.call(lambda: slot.exit_code, {})
            raise ending.ProcessDied(f"the process of the handler ended, {_exit_words(code)}") from None
        finally:
            if sys.exc_info()[0] is None:
                self._free.append(slot)
            else:
                # A new one at once: whoever is cancelled again while the old one is killed must not take its place along.
                self._free.append(_Slot())
                # Killed, so that nothing of this attempt goes on; not in the loop's threads, which handlers may fill.
                await asyncio.shield(self._threads.call(slot.kill, {}))

    def close(self) -> None:
        """Kill all children. Blocking."""
        for slot in self._free:
            slot.kill()


def check_importable(handler: Handler) -> None:
    """Raises InvalidOption if a child process could not find this handler again."""
    name = handler.source[1]
    if "<locals>" in name or "<lambda>" in name:
        raise InvalidOption(
            f"{handler.name}: executor='process' needs a function or class at the top level of a module, not {name}"
        )


def _exit_words(code: int | None) -> str:
    if code is None:
        return "without saying why"
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


# ── in the child ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _child(pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the worker's: it decides what becomes of us
    threading.Thread(target=_follow_parent, daemon=True).start()
    while True:
        try:
            request = msgspec.json.decode(pipe.recv_bytes(), type=_Request)
        except (EOFError, OSError):
            return
        try:
            handler = _find(request)
        except Exception as error:  # The code is not what the worker's is: it says so better than an exit code.
            pipe.send_bytes(msgspec.json.encode(_Reply(broken=f"{type(error).__name__}: {error}")))
            continue
        transitions = asyncio.run(_attempt(handler, request, pipe))
        pipe.send_bytes(msgspec.json.encode(_Reply(transitions)))


def _follow_parent() -> None:
    """A child whose worker was killed must not go on with a task that somebody else has by now."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


async def _attempt(kind: Handler, request: _Request, pipe: Connection) -> list[Transition]:
    async def call(function: Any, arguments: dict[str, Any]) -> Any:
        return function(**arguments)

    def reporter(number: int) -> ReportProgress:
        return lambda _, progress: pipe.send_bytes(msgspec.json.encode(_Reply(progress=progress, number=number)))

    contexts = [
        Context(task, call, reporter(number), mail=request.mail, offspring=_NoChildren())
        for number, task in enumerate(request.tasks)
    ]
    pipe.send_bytes(msgspec.json.encode(_Reply(began=True)))
    try:
        if isinstance(kind, BatchKind):
            values = await kind.run([kind.signature.decode(task.payload) for task in request.tasks], contexts)
            transitions = [kind.transition(*each) for each in zip(request.tasks, contexts, values, strict=True)]
        else:
            transitions = [await kind.attempt(request.tasks[0], contexts[0])]
        if any(ctx.hooks for ctx in contexts):
            raise InvalidOption("ctx.on_commit does not work with executor='process': the transaction is elsewhere")
    except Exception as error:
        return [ending.of_error(task, kind.defaults.retry, error) for task in request.tasks]
    for transition, ctx in zip(transitions, contexts, strict=True):
        if transition.error is None:
            transition.effects = ctx.effects
    return transitions


class _NoChildren:
    """Ids of children are the worker's to give."""

    async def next_id(self) -> int:
        raise InvalidOption(
            "ctx.spawn does not work with executor='process'",
            hint="Spawn from a step or task on the loop or in a thread",
        )

    def born(self, kind: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        raise InvalidOption(
            "ctx.spawn does not work with executor='process'",
            hint="Spawn from a step or task on the loop or in a thread",
        )

    def beside(self, kind: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        raise InvalidOption(
            "ctx.enqueue does not work with executor='process'",
            hint="Enqueue from a step or task on the loop or in a thread, or with app.enqueue_sync",
        )

    def named(self, kind: str, payload: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        return self.beside(kind, (), payload)


def _find(request: _Request) -> Handler:
    found: Any = importlib.import_module(request.module)
    for name in request.qualname.split("."):
        found = getattr(found, name)
    if isinstance(found, TaskFunction):
        return found.kind  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    if isinstance(step := getattr(found, "__howdah_step__", None), Step):
        return step
    raise HowdahError(
        f"{request.module}.{request.qualname} is not the task {request.tasks[0].kind!r} in a child process",
        hint="Decorate the function where it is defined: @app.task(executor='process')",
    )
