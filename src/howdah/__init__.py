"""howdah: durable tasks on PostgreSQL, for Python. One table, one worker loop."""

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
