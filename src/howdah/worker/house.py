"""What one worker keeps over all its leases."""

from __future__ import annotations

import asyncio

from howdah.kinds.batch import BatchKind
from howdah.kinds.registry import Registry
from howdah.telemetry import Listener
from howdah.worker.batches import Batches
from howdah.worker.processes import Processes
from howdah.worker.settings import Settings
from howdah.worker.threads import Threads


class House:
    """Handlers and settings, the threads and processes they run in, who listens, and whether to stop.

    `stopping`: finish what runs and end. `hurry`: do not wait for it.
    """

    def __init__(self, registry: Registry, settings: Settings, listeners: list[Listener]) -> None:
        self.registry = registry
        self.settings = settings
        self.listeners = listeners
        self.threads = Threads()
        self.processes = Processes(settings.processes, self.threads)
        self.batches = Batches(self.processes, self.largest_batch)
        self.stopping = asyncio.Event()
        self.hurry = asyncio.Event()

    def largest_batch(self, kind: BatchKind) -> int:
        """How many tasks of this kind can come together here: more than the worker may run at once it never has."""
        return min(kind.size, self.settings.most_of(kind.defaults.queue))
