# pyright: strict, reportUnnecessaryTypeIgnoreComment=true, reportUnusedFunction=false
"""What a type checker knows of pollers. Checked by pyright, never run: each `ignore` is a mistake it must find."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, assert_type

from howdah import App, Backoff, Context, Poll
from howdah.kinds.instructions import AppPoller
from howdah.poller import ErrorEvent, TaskEvent

app = App()


@app.task()
async def send(user_id: int) -> None: ...


@app.poller("send", into=send, concurrency=2, delay=Backoff("100ms"), limit=lambda concurrency, active: 1)
async def due(poll: Poll[int]) -> list[int]:
    assert_type(poll.active, list[int])
    return []


@app.poller("plain", into=send, delay=lambda attempt: "1s")
def plain(poll: Poll[str]) -> list[str]:
    return []


assert_type(due, AppPoller)


@due.on("task")
async def told(event: TaskEvent[Any]) -> None: ...


async def calls_it_itself() -> None:
    assert_type(await told(TaskEvent("send", 1)), None)


@due.on("error")
def failed(event: ErrorEvent) -> int:
    return len(str(event.error))


assert_type(failed, Callable[[ErrorEvent], int])
due.on("tasks", print)  # pyright: ignore[reportArgumentType, reportCallIssue]
due.on("error", told)  # pyright: ignore[reportArgumentType, reportCallIssue]
app.poller("wrong", into=send, concurrency="2")  # pyright: ignore[reportArgumentType]


@app.task()
async def enqueues(ctx: Context) -> None:
    assert_type(await ctx.enqueue(send.using(key="k"), 1), int)
    assert_type(await ctx.enqueue_named("send", {"user_id": 1}, queue="q"), int)


@app.task()
def enqueues_too(ctx: Context) -> int:
    return ctx.enqueue_sync(send, 1)
