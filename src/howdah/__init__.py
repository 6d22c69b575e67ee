"""howdah: durable tasks on PostgreSQL, for Python. One table, one worker loop."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from howdah.app import App
    from howdah.backoff import Retry
    from howdah.client import Client
    from howdah.context import Context
    from howdah.enqueue import TaskFunction
    from howdah.errors import HowdahError
    from howdah.outcomes import Again, Cancel, Fail, Snooze
    from howdah.task import Reason, Task, TaskInfo
    from howdah.worker.settings import Weight
    from howdah.worker.worker import Worker

__all__ = [
    "Again",
    "App",
    "Cancel",
    "Client",
    "Context",
    "Fail",
    "HowdahError",
    "Reason",
    "Retry",
    "Snooze",
    "Task",
    "TaskFunction",
    "TaskInfo",
    "Weight",
    "Worker",
]

# Imported when first asked for: `howdah --help` needs no database driver.
_HOME = {
    "Again": "outcomes",
    "App": "app",
    "Cancel": "outcomes",
    "Client": "client",
    "Context": "context",
    "Fail": "outcomes",
    "HowdahError": "errors",
    "Reason": "task",
    "Retry": "backoff",
    "Snooze": "outcomes",
    "Task": "task",
    "TaskFunction": "enqueue",
    "TaskInfo": "task",
    "Weight": "worker.settings",
    "Worker": "worker.worker",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'howdah' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"howdah.{_HOME[name]}"), name)
    return value
