"""Poller: asks again and again for instructions, over any store. asyncio alone: no database, no worker, no app.

`asking.py` decides when to ask, for how much, and what of the answer counts; `poller.py` is the loop around it.
"""

from howdah.poller.asking import Asked, Asking, Poll
from howdah.poller.errors import DuplicateInstruction, InvalidInstruction, InvalidResult, PollerRunning
from howdah.poller.events import ErrorEvent, TaskEvent
from howdah.poller.instructions import instruction_key
from howdah.poller.poller import Poller
from howdah.poller.pollers import Pollers

__all__ = [
    "Asked",
    "Asking",
    "DuplicateInstruction",
    "ErrorEvent",
    "InvalidInstruction",
    "InvalidResult",
    "Poll",
    "Poller",
    "PollerRunning",
    "Pollers",
    "TaskEvent",
    "instruction_key",
]
