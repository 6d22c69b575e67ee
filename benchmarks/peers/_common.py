"""What the program of each contender is made of.

It runs in the contender's own environment, so it needs the standard library only. A program is told one job on its command
line, as JSON, does it, and prints one line of JSON:

    python peers/example.py '{"verb": "drain", "url": "postgresql://…", "server": 4711, "tasks": 20000, "concurrency": 100}'

All is counted in the contender's favour: a run begins when its first handler begins, and ends when its last handler has ended,
whether or not that end has been recorded by then.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import statistics
import sys
import threading
import time
from pathlib import Path
from typing import Any

IO_SECONDS = 0.05
CHAINS = 50
PATIENCE = 110.0  # seconds; what is slower than this is said not to have finished


class Recorder:
    """Counts handlers. They may run on the loop or in threads of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over: asyncio.Event | None = None
        self.expect(0)

    def expect(self, ends: int) -> None:
        """From now on, count so many ends."""
        self.expected = ends
        self.ended = 0
        self.first: float | None = None
        self.last = 0.0
        self.starts: list[float] = []
        try:
            self._loop = asyncio.get_running_loop()
            self._over = asyncio.Event()
        except RuntimeError:
            self._loop = self._over = None

    def begin(self) -> None:
        """A handler begins."""
        if self.first is None:
            self.first = time.perf_counter()

    def mark(self) -> None:
        """A handler begins whose moment is wanted."""
        self.starts.append(time.perf_counter())

    def end(self) -> None:
        """A handler ends."""
        with self._lock:
            self.ended += 1
            over = self.ended == self.expected
        if over:
            self.last = time.perf_counter()
            if self._loop is not None and self._over is not None:
                self._loop.call_soon_threadsafe(self._over.set)

    async def wait(self) -> None:
        """Until all that was expected has ended."""
        assert self._over is not None
        await asyncio.wait_for(self._over.wait(), PATIENCE)

    @property
    def seconds(self) -> float:
        """From the first beginning to the last end."""
        assert self.first is not None
        return self.last - self.first


recorder = Recorder()


# ── the handlers: what a contender's own handlers call ──


async def noop(n: int) -> None:
    """Does nothing."""
    recorder.begin()
    recorder.end()


async def io(n: int) -> None:
    """Waits for somebody else for 50 ms."""
    recorder.begin()
    await asyncio.sleep(IO_SECONDS)
    recorder.end()


async def mark(n: int) -> None:
    """Says when it began."""
    recorder.mark()
    recorder.end()


# ── the same for libraries whose handlers are not async ──


def noop_sync(n: int) -> None:
    recorder.begin()
    recorder.end()


def io_sync(n: int) -> None:
    recorder.begin()
    time.sleep(IO_SECONDS)
    recorder.end()


def mark_sync(n: int) -> None:
    recorder.mark()
    recorder.end()


class Contender:
    """One library at work. A subclass says how it does each of these, as its own documentation advises for speed.

    Kinds of tasks: "noop", "io", "mark", each with one number as argument, which call the handlers above; and "link", which is
    given a number and enqueues itself with one less until it is 0, and then calls `recorder.end()` (`recorder.begin()` first).
    """

    name = ""
    package = ""  # what pip installs
    needs = "postgresql"  # the server that `url` is of: "postgresql" or "redis"
    settings = ""  # what was chosen for speed, in a few words, for the report

    def __init__(self, url: str) -> None:
        self.url = url

    async def prepare(self) -> None:
        """Make the tables, in an empty database."""

    async def open(self) -> None:
        """Connect, to enqueue."""

    async def close(self) -> None:
        """Disconnect."""

    async def enqueue(self, kind: str, n: int) -> None:
        """Enqueue one task, durably: when this returns it is committed."""
        raise NotImplementedError

    async def enqueue_many(self, kind: str, numbers: list[int]) -> None:
        """Enqueue a task for each number, in the fastest way there is. Without one: one after another."""
        for n in numbers:
            await self.enqueue(kind, n)

    async def settle(self) -> None:
        """Once there is a backlog: ANALYZE, as autovacuum would within a minute, for plans that fit it. Not measured."""

    async def link(self, n: int) -> None:
        """The handler of a chain, where it needs no more than to enqueue the next one."""
        recorder.begin()
        if n:
            await self.enqueue("link", n - 1)
        else:
            recorder.end()

    async def start(self, concurrency: int) -> None:
        """Start one worker in this process that runs so many tasks at once. Return as soon as it is started."""
        raise NotImplementedError

    async def stop(self) -> None:
        """Stop that worker."""
        raise NotImplementedError

    # ── the jobs ──

    async def one(self, tasks: int, **_: Any) -> dict[str, float]:
        await self.enqueue("noop", 0)  # connected, prepared
        begin = time.perf_counter()
        for n in range(tasks):
            await self.enqueue("noop", n)
        return {"rate": tasks / (time.perf_counter() - begin)}

    async def many(self, tasks: int, **_: Any) -> dict[str, float]:
        await self.enqueue_many("noop", [0])
        begin = time.perf_counter()
        await self.enqueue_many("noop", list(range(tasks)))
        return {"rate": tasks / (time.perf_counter() - begin)}

    async def drain(self, tasks: int, concurrency: int, server: int, kind: str = "noop", **_: Any) -> dict[str, float]:
        await self.enqueue_many(kind, list(range(tasks)))
        await self.settle()
        recorder.expect(tasks)
        client, served = cpu(), server_cpu(server)
        await self.start(concurrency)
        try:
            await recorder.wait()
            client, served = cpu() - client, server_cpu(server) - served
        finally:
            await self.stop()
        return {
            "rate": tasks / recorder.seconds,
            "client_us": client / tasks * 1e6,
            "server_us": served / tasks * 1e6,
            "memory_mb": memory(),
        }

    async def io(self, tasks: int, concurrency: int, server: int, **_: Any) -> dict[str, float]:
        return await self.drain(tasks, concurrency, server, kind="io")

    async def chain(self, tasks: int, concurrency: int, **_: Any) -> dict[str, float]:
        recorder.expect(CHAINS)
        steps = tasks // CHAINS
        await self.start(concurrency)
        try:
            await self.enqueue_many("link", [steps - 1] * CHAINS)
            await recorder.wait()
        finally:
            await self.stop()
        return {"rate": steps * CHAINS / recorder.seconds}

    async def latency(self, tasks: int, concurrency: int, **_: Any) -> dict[str, float]:
        recorder.expect(1)
        await self.start(concurrency)
        try:
            await self.enqueue("mark", 0)
            await recorder.wait()
            picked_up: list[float] = []
            for n in range(tasks):
                await asyncio.sleep(0.02)  # idle again
                recorder.expect(1)
                await self.enqueue("mark", n)
                committed = time.perf_counter()
                await recorder.wait()
                picked_up.append((recorder.starts[0] - committed) * 1000)
        finally:
            await self.stop()
        picked_up.sort()
        return {"p50_ms": statistics.median(picked_up), "p99_ms": picked_up[int(len(picked_up) * 0.99) - 1]}


def main(contender: type[Contender]) -> None:
    """Do the job of the command line."""
    job = json.loads(sys.argv[1])
    verb, url = job.pop("verb"), job.pop("url")

    async def run() -> dict[str, float]:
        one = contender(url)
        if verb == "prepare":
            await one.prepare()
            return {}
        await one.open()
        try:
            return await getattr(one, verb)(**job)
        finally:
            await one.close()

    print(json.dumps(asyncio.run(run())), flush=True)
    os._exit(0)  # threads that a library leaves behind are not waited for


# ── what the system says ──


def cpu() -> float:
    """CPU seconds of this process and of its children that have ended."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def server_cpu(postmaster: int) -> float:
    """CPU seconds of a server: its own, and its children's, the ended ones as well."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        mine = int(stat.parent.name) == postmaster
        if mine or int(fields[1]) == postmaster:
            ticks += int(fields[11]) + int(fields[12]) + (int(fields[13]) + int(fields[14]) if mine else 0)
    return ticks / os.sysconf("SC_CLK_TCK")


def memory() -> float:
    """Megabytes of this process, at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
