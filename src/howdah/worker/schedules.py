"""The ticks of schedules: worked out here, fired by the database, which alone says what time it is."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from howdah import calls
from howdah.db.failures import passes
from howdah.db.line import Line
from howdah.errors import HowdahError
from howdah.timetable import Timetable
from howdah.worker.lease import awake_clock
from howdah.worker.service import Service

log = logging.getLogger("howdah.worker")

# Seconds between two looks, when nothing says that one is due; and while tasks stand in line behind another.
_LOOK_EVERY = 5.0
_LINE_EVERY = 0.5
# And after another was first: usually there is nothing left to do.
_BEATEN = 0.2
# A tick later than this is missed, even if it is the latest.
_IN_TIME = timedelta(seconds=60)
_BATCH = 1000
# Seconds until a schedule that cannot fire is tried again.
_TRY_AGAIN = 30.0


class Schedules(Service):
    """Fires what is due, of all schedules of the database. Every worker does; the first to move a schedule wins.

    `woken` is called when it made or woke a task that is due.
    """

    name = "schedules"

    def __init__(self, line: Line, woken: Callable[[], None]) -> None:
        super().__init__()
        self._line = line
        self._woken = woken
        self._failing: dict[str, tuple[tuple[str, str], float]] = {}

    async def turn(self) -> float:
        found = await self._line.run(calls.due_schedules())
        fired, rest = found.woken, _LINE_EVERY if found.waiting else _LOOK_EVERY
        for row in found.due or ():
            made, again = await self._deal_with(row, found.now)
            fired += made
            rest = min(rest, again)
        if fired:
            self._woken()  # also where no notification comes
        if found.next_in is not None and rest:
            rest = min(max(found.next_in, 0) + 0.001, rest)
        return rest

    async def _deal_with(self, row: dict[str, Any], now: datetime) -> tuple[int, float]:
        """How many tasks it made, and seconds until it wants to be looked at again."""
        name, state = row["name"], (row["after"], row["updated_at"])
        failed_at, until = self._failing.get(name, (None, 0.0))
        if failed_at == state and awake_clock() < until:
            return 0, _LOOK_EVERY
        seen = datetime.fromisoformat(row["after"])
        try:
            fired = await self._fire(row, seen, now)
        except Exception as error:
            if passes(error):
                raise
            said = error.message if isinstance(error, HowdahError) else str(error).partition("\n")[0]
            log.error("schedule %s cannot fire: %s", name, said)
            self._failing[name] = (state, awake_clock() + _TRY_AGAIN)
            await self._line.run(calls.schedule_failed(name, seen, said))
            return 0, _LOOK_EVERY
        self._failing.pop(name, None)
        # Somebody else was first, or holds it locked, for who knows how long.
        return (0, _BEATEN) if fired is None else (fired, 0)

    async def _fire(self, row: dict[str, Any], seen: datetime, now: datetime) -> int | None:
        timetable = Timetable.of(
            row
            | {
                "every": None if row["every"] is None else timedelta(seconds=float(row["every"])),
                **{name: _moment(row[name]) for name in ("starts_at", "ends_at", "anchor")},
            }
        )
        ticks, through, missed = due(timetable, row["missed"], seen, now)
        return await self._line.run(
            calls.fire(
                row["name"],
                seen=seen,
                ticks=ticks,
                through=through,
                next_at=timetable.after(through),
                missed=missed,
            )
        )


def due(timetable: Timetable, missed: str, seen: datetime, now: datetime) -> tuple[list[datetime], datetime, int]:
    """Which ticks to fire of those after `seen`, up to which all are dealt with then, and how many are passed over.

    A tick is missed if a later one has come, or if it is more than a minute late.
    """
    if missed == "all":
        ticks = timetable.between(seen, now, _BATCH)
        return ticks, ticks[-1] if ticks else seen, 0
    latest = timetable.latest(seen, now)
    if latest is None:
        return [], seen, 0
    before = len(timetable.between(seen, latest, _BATCH)) - 1  # counted up to a point: a week of seconds is long
    if missed == "skip" and now - latest > _IN_TIME:
        return [], latest, before + 1
    return [latest], latest, before


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
