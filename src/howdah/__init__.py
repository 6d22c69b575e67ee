"""howdah: durable tasks on PostgreSQL, for Python. One table, one worker loop."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from howdah.actor import Action, Actor
    from howdah.app import App
    from howdah.backoff import Backoff, Retry
    from howdah.client import Client
    from howdah.context import Context
    from howdah.enqueue import TaskFunction
    from howdah.errors import HowdahError
    from howdah.health import Finding, Health
    from howdah.inbox import EOF, Inbox, Misfit
    from howdah.machine import Machine
    from howdah.outcomes import Again, Cancel, Done, Fail, Join, RateLimited, Sleep, Snooze, Suspend, after, at, join
    from howdah.poller import Poll
    from howdah.serving import Weight
    from howdah.task import Reason, Task, TaskInfo
    from howdah.worker.worker import Worker

__all__ = [
    "EOF",
    "Action",
    "Actor",
    "Again",
    "App",
    "Backoff",
    "Cancel",
    "Client",
    "Context",
    "Done",
    "Fail",
    "Finding",
    "Health",
    "HowdahError",
    "Inbox",
    "Join",
    "Machine",
    "Misfit",
    "Poll",
    "RateLimited",
    "Reason",
    "Retry",
    "Sleep",
    "Snooze",
    "Suspend",
    "Task",
    "TaskFunction",
    "TaskInfo",
    "Weight",
    "Worker",
    "after",
    "at",
    "join",
]

# Imported when first asked for: `howdah --help` needs no database driver.
_HOME = {
    "Action": "actor",
    "Actor": "actor",
    "Again": "outcomes",
    "App": "app",
    "Backoff": "backoff",
    "Cancel": "outcomes",
    "Client": "client",
    "Context": "context",
    "Done": "outcomes",
    "EOF": "inbox",
    "Fail": "outcomes",
    "Finding": "health",
    "Health": "health",
    "HowdahError": "errors",
    "Inbox": "inbox",
    "Join": "outcomes",
    "Machine": "machine",
    "Misfit": "inbox",
    "Poll": "poller",
    "RateLimited": "outcomes",
    "Reason": "task",
    "Retry": "backoff",
    "Sleep": "outcomes",
    "Snooze": "outcomes",
    "Suspend": "outcomes",
    "Task": "task",
    "TaskFunction": "enqueue",
    "TaskInfo": "task",
    "Weight": "serving",
    "Worker": "worker.worker",
    "after": "outcomes",
    "at": "outcomes",
    "join": "outcomes",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'howdah' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"howdah.{_HOME[name]}"), name)
    return value
