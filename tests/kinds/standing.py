"""Where tasks and workers stand, waited for."""

from __future__ import annotations

from typing import Any

from howdah import App, Task, TaskInfo
from waiting import until


async def stands(task: Task[Any], status: str, step: str | None = None) -> TaskInfo:
    """Wait until it has this status, and stands at this step if one is given."""

    async def found() -> TaskInfo | None:
        info = await task.info()
        return info if info.status == status and step in (None, info.step) else None

    return await until(found, f"task {task.id} to be {status}" + (f" at {step}" if step else ""))


async def asleep(app: App) -> None:
    """Wait until all workers have found nothing to claim, and said so."""

    async def found() -> bool:
        return {row["state"] for row in await app.workers()} == {"idle"}

    await until(found, "all workers to sleep")


async def events(app: App, task: Task[Any]) -> list[str]:
    """What happened to it, oldest first."""
    return [event["type"] for event in await app.history(task.id)]
