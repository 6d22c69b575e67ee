"""A task for child processes: at the top level of a module, as it has to be."""

from __future__ import annotations

from howdah import App, Context

app = App("dbname=never_opened")


@app.task()
async def nothing() -> None: ...


@app.task(executor="process", retry=0)
def enqueues(ctx: Context) -> None:
    ctx.enqueue_sync(nothing)
