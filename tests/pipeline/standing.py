"""A stage on its own: made from a config as a file has it, and run outside of any pipeline."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from howdah.pipeline.stage import More, Setting, Stage


@dataclass
class Standing:
    """What stages look at of a Context, and a record of what they enqueue."""

    id: int = 2_147_483_700
    kind: str = "orders"
    step: str = "ship"
    attempt: int = 1
    idempotency_key: str = "orders:2147483700:3"
    enqueued: list[dict[str, Any]] = field(default_factory=list)

    async def enqueue_named(self, kind: str, payload: dict[str, Any], **options: Any) -> int:
        self.enqueued.append({"kind": kind, "payload": payload} | options)
        return 4_294_967_300 + len(self.enqueued)


def unchecked(of: type[Stage], folder: Path, **config: Any) -> Stage:
    """A stage from what stands under `config:`."""
    return of(msgspec.convert(config, of.Config), Setting("orders", "ship", folder))


def stage(of: type[Stage], folder: Path, **config: Any) -> Any:
    """As above, checked, as it is before a pipeline starts."""
    made = unchecked(of, folder, **config)
    made.check()
    return made


async def events(of: Stage, event: dict[str, Any], ctx: Any = None) -> list[dict[str, Any]]:
    """What one event becomes, once every `More` has been asked."""
    found: list[dict[str, Any]] = []
    while True:
        answer = await of.run(event, ctx or Standing())
        if not isinstance(answer, More):
            return found + list(answer)
        found += answer.events
        event = msgspec.json.decode(msgspec.json.encode(answer.then))  # it goes through the database
