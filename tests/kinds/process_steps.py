"""Steps and tasks for child processes: at the top level of a module, as they have to be."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass

from howdah import App, Context, Done, Retry

app = App("dbname=never_opened")
sums = app.machine("sums", retry=Retry(1, delay="1ms"))


@sums.step
@dataclass
class Ask:
    n: int

    async def run(self) -> Square:
        return Square(self.n)


@sums.step(executor="process")
@dataclass
class Square:
    n: int

    def run(self, ctx: Context) -> Tell:
        if self.n < 0 and ctx.attempt == 1:
            os._exit(7)
        return Tell(self.n**2, os.getpid())


@sums.step
@dataclass
class Tell:
    square: int
    pid: int

    def run(self) -> Done:
        return Done([self.square, self.pid, threading.current_thread().name])


@app.task()
async def nothing() -> None: ...


@app.task(executor="process", retry=0)
def spawn_in_a_process(ctx: Context) -> None:
    ctx.spawn_sync(nothing)


@app.task(executor="process")
def send_from_a_process(ctx: Context, to: int, words: list[str]) -> int:
    for word in words:
        ctx.send(to, word)
    return os.getpid()


def serve(other: App) -> App:
    """The same handlers in another app."""
    for kind in app.registry:
        other.registry.add(kind)
    return other
