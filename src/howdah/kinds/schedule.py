"""A schedule as it is declared: when it fires, and what task each tick makes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, TypedDict, cast

from howdah.durations import Duration, duration
from howdah.errors import HowdahError, InvalidOption, shown
from howdah.kinds.registry import Kind
from howdah.options import check_name, check_priority
from howdah.payload import plain_json
from howdah.timetable import Timetable

Missed = Literal["skip", "latest", "all"]
Overlap = Literal["allow", "skip", "queue"]


class When(TypedDict, total=False):
    """What a schedule takes beside its name and task; see Client.schedule."""

    cron: str | None
    every: Duration | None
    payload: Mapping[str, Any] | None
    step: str | None
    timezone: str
    missed: Missed
    overlap: Overlap
    jitter: Duration | None
    start: datetime | None
    end: datetime | None
    queue: str | None
    priority: int | None


@dataclass(frozen=True, slots=True)
class Schedule:
    """One row of `howdah.schedule` as its maker writes it."""

    name: str
    kind: str
    step: str | None
    payload: str
    timetable: Timetable
    missed: Missed
    overlap: Overlap
    jitter: timedelta
    queue: str | None
    priority: int | None

    @classmethod
    def of(cls, name: str | None, task: Any, when: When) -> Schedule:
        """`task` is what `kind_of` takes; without a name it has that of the kind. Raises InvalidOption, InvalidPayload."""
        kind, step = kind_of(task)
        chosen: When = {"step": step}
        chosen.update(when)
        if name is None:
            name = kind if isinstance(kind, str) else kind.name
        return cls.checked(name, kind, **chosen)

    @classmethod
    def checked(
        cls,
        name: str,
        kind: Kind | str,
        *,
        cron: str | None = None,
        every: Duration | None = None,
        payload: Mapping[str, Any] | None = None,
        step: str | None = None,
        timezone: str = "UTC",
        missed: Missed = "latest",
        overlap: Overlap = "allow",
        jitter: Duration | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        queue: str | None = None,
        priority: int | None = None,
    ) -> Schedule:
        """Raises InvalidOption, or InvalidPayload if the payload does not fit the kind, where its code is here."""
        _one_of("missed", missed, ("skip", "latest", "all"))
        _one_of("overlap", overlap, ("allow", "skip", "queue"))
        if payload is not None and not isinstance(payload, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidOption(
                f"payload must be a mapping of the arguments by name, not {shown(payload)}",
                hint='Write {"user_id": 42}',
            )
        name = check_name(name, "name")
        timetable = Timetable(cron, every=every, timezone=timezone, start=start, end=end)
        if isinstance(kind, str):
            said = plain_json(dict(payload or {}), f"schedule {name}: payload")
            kind_name = check_name(kind, "kind")
        else:
            try:
                beginning = kind.named(step, payload or {})
            except HowdahError as error:
                raise type(error)(
                    f"schedule {name}: {error.message}", hint=error.hint or "Give payload={…}, the arguments by name"
                ) from error
            said, step, kind_name = beginning.payload, beginning.step, kind.name
        return cls(
            name=name,
            kind=kind_name,
            step=step,
            payload=said,
            timetable=timetable,
            missed=missed,
            overlap=overlap,
            jitter=timedelta(0) if jitter is None else duration(jitter, "jitter"),
            queue=None if queue is None else check_name(queue, "queue"),
            priority=None if priority is None else check_priority(priority),
        )

    def arguments(self) -> dict[str, Any]:
        """The arguments of `howdah.schedule`."""
        when = self.timetable
        return {
            "name": self.name,
            "kind": self.kind,
            "step": self.step,
            "payload": self.payload,
            "cron": when.cron,
            "every": when.every,
            "timezone": when.timezone,
            "starts_at": when.start,
            "ends_at": when.end,
            "missed": self.missed,
            "overlap": self.overlap,
            "jitter": self.jitter,
            "queue": self.queue,
            "priority": self.priority,
        }

    def row(self) -> dict[str, Any]:
        """The same as JSON, for `howdah.declare_schedules`."""
        return {name: _plain(value) for name, value in self.arguments().items()} | {"payload": json.loads(self.payload)}


def kind_of(task: Any) -> tuple[Kind | str, str | None]:
    """What a schedule or a poller is given as its task: what @app.task, @app.actor or app.machine made, a step of a
    machine, or a name. Returns the kind, and the step if one was named by it.

    Raises InvalidOption.
    """
    if isinstance(task, str):
        return task, None
    step = getattr(task, "__howdah_step__", None)
    if step is not None:
        return step.machine, step.step
    kind = getattr(task, "kind", None)
    if hasattr(kind, "named") and hasattr(kind, "defaults"):
        return cast("Kind", kind), None
    raise InvalidOption(
        f"{shown(task)} is no task, actor, machine or step", hint="Write it above @app.task(), not below"
    )


def _one_of(name: str, value: Any, words: tuple[str, ...]) -> None:
    if value not in words:
        raise InvalidOption(f"{name} must be {', '.join(words[:-1])} or {words[-1]}, not {shown(value)}")


def _plain(value: Any) -> Any:
    match value:
        case timedelta():
            return f"{value.total_seconds()} seconds"
        case datetime():
            return value.isoformat()
        case _:
            return value
