"""Handlers for child processes: at the top level of a module, as they have to be."""

import os
import time

from howdah import Again, App, Context, Fail, Retry

app = App("dbname=never_opened")


@app.task(executor="process")
def square(n: int, ctx: Context) -> int:
    ctx.progress(n, 10)
    return n * n


@app.task(executor="process", retry=Retry(1, delay="1ms"))
def die(ctx: Context) -> None:
    os._exit(7)


@app.task(executor="process", retry=Retry(1, delay="1ms"), timeout="300ms")
def spin(marker: str) -> None:
    with open(marker, "a") as file:
        file.write(f"{os.getpid()}\n")
    while True:
        pass


@app.task(executor="process")
def wait_for_ever(marker: str) -> None:
    with open(marker, "a") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(600)


@app.task(executor="process", retry=Retry(3, delay="1ms", unless=KeyError))
def moody(mood: str) -> str | Again:
    if mood == "again":
        return Again("done")
    if mood == "fail":
        raise Fail("no")
    if mood == "key":
        raise KeyError(mood)
    return mood


def serve(other: App) -> App:
    """The same handlers in another app."""
    for kind in app.registry:
        other.registry.add(kind)
    return other


def undecorated(n: int) -> int:
    """No task here: a child process that looks for one finds this."""
    return n
