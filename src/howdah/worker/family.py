"""The children of tasks: their ids, which are known before they are written, and their rows."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Any

import msgspec

from howdah import calls
from howdah.db.line import Line
from howdah.enqueue import Bound, newborn, spawned, unknown_task
from howdah.errors import InvalidOption, InvalidPayload, shown
from howdah.kinds.registry import Registry
from howdah.options import Options, check_name, options
from howdah.payload import encode_message, plain_json

_FEWEST, _MOST = 10, 1000


class Family:
    """Makes children for the handlers of one worker.

    Ids are taken from the database in blocks that double while they are asked for: what is not used stays a gap.
    Over a line, not the pool of the client, of which a handler may hold the last connection.
    """

    def __init__(self, line: Line, registry: Registry) -> None:
        self._line = line
        self._registry = registry
        self._ids: deque[int] = deque()
        self._next = _FEWEST
        self._turn = asyncio.Lock()

    async def next_id(self) -> int:
        """An id nobody else has. Ids grow with every call."""
        while not self._ids:
            async with self._turn:
                if not self._ids:
                    self._ids.extend(await self._line.run(calls.reserve_ids(self._next)))
                    self._next = min(self._next * 2, _MOST)
        return self._ids.popleft()

    def born(self, kind: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """A child as `howdah.spawn` takes it, all but its id. Raises InvalidPayload, UnknownKind, InvalidOption."""
        return self._row(kind, args, kwargs, child=True)

    def beside(self, kind: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """As `born`, of a task that is nobody's child."""
        return self._row(kind, args, kwargs, child=False)

    def named(self, kind: str, payload: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """As `beside`, with the payload as it is stored and the options of `using`."""
        chosen, known = options(**given), self._registry.find(kind)
        if known is not None:
            return newborn(known, known.named(chosen.step, payload), chosen, child=False)
        stored = plain_json(dict(payload), check_name(kind, "kind"))
        return spawned(unknown_task(kind, stored, chosen), chosen, child=False)

    def _row(self, kind: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, child: bool) -> dict[str, Any]:
        if isinstance(kind, Bound):
            return kind.newborn(args, kwargs, child=child)  # pyright: ignore[reportUnknownMemberType]
        if isinstance(kind, str):
            known = self._registry.find(kind)
            return (
                _unknown(kind, args, kwargs)
                if known is None
                else newborn(known, known.born(args, kwargs), Options(), child=child)
            )
        raise InvalidOption(
            f"ctx.{'spawn' if child else 'enqueue'} takes a task, an actor, a machine or the name of one, not {shown(kind)}",
            hint=f"Write ctx.{'spawn' if child else 'enqueue'}(welcome, 42)",
        )


def _unknown(kind: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """A child whose code is elsewhere: its arguments or state by name, and for an actor its first message.

    Its worker checks them; the database knows the kind, or refuses it when the parent's attempt commits.
    """
    if len(args) > 1:
        raise InvalidPayload(f"{kind}: spawned by name, a task takes its arguments by name, not {shown(args[1])}")
    row: dict[str, Any] = {
        "kind": check_name(kind, "kind"),
        "payload": msgspec.Raw(plain_json(dict(kwargs), kind).encode()),
    }
    if args:
        row["message"] = msgspec.Raw(encode_message(args[0]).encode())
    return row
