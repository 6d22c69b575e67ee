"""Filter: which tasks are meant, said by what they are."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, TypedDict

from howdah.calls import STATUSES
from howdah.durations import moment
from howdah.errors import InvalidOption, shown
from howdah.options import check_name


class Filter(TypedDict, total=False):
    """What chooses tasks; all that is given, and not None, must hold.

    ids             these tasks
    status          one, or several: queued, running, suspended, failed; where ended tasks are found, succeeded, cancelled
    kind, queue, step   of this name
    key             this key; with a * at its end all that begin so: "welcome:*"
    group           in this group
    error           with this text in its error, last error or reason, in any case of letters
    parent          what this task spawned
    created_after, created_before     enqueued at that time or later; before that time
    finished_after, finished_before   the same for the end, where ended tasks are found
    """

    ids: Iterable[int] | None
    status: str | Iterable[str] | None
    kind: str | None
    queue: str | None
    step: str | None
    key: str | None
    group: str | None
    error: str | None
    parent: int | None
    created_after: datetime | None
    created_before: datetime | None
    finished_after: datetime | None
    finished_before: datetime | None


def checked(given: Mapping[str, Any]) -> dict[str, Any]:
    """What was given, without what is None. Raises InvalidOption."""
    for name in given:
        if name not in _CHECKS:
            raise InvalidOption(f"there is no filter {shown(name)}", hint=f"There are: {', '.join(_CHECKS)}")
    return {name: _CHECKS[name](value, name) for name, value in given.items() if value is not None}


def as_json(chosen: Mapping[str, Any]) -> str:
    """A checked filter as `howdah.condition` reads it."""
    return json.dumps(chosen, default=datetime.isoformat)


def check_id(value: Any, name: str = "task id") -> int:
    """The id of a task. Raises InvalidOption."""
    if isinstance(value, bool) or not isinstance(value, int) or not -(2**63) <= value < 2**63:
        raise InvalidOption(f"a {name} is a whole number of 64 bits, not {shown(value)}")
    return value


def _ids(value: Any, name: str) -> list[int]:
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise InvalidOption(f"{name} must be ids of tasks, not {shown(value)}", hint="Write ids=[1, 2]")
    return [check_id(each) for each in value]  # pyright: ignore[reportUnknownVariableType]


def _status(value: Any, name: str) -> list[str]:
    many = [value] if isinstance(value, str) else value
    if not isinstance(many, Iterable):
        raise InvalidOption(f"{name} must be a status, or several, not {shown(value)}", hint='Write status="failed"')
    names = list(many)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    for each in names:  # pyright: ignore[reportUnknownVariableType]
        if each not in STATUSES:
            raise InvalidOption(f"there is no status {shown(each)}", hint=f"One of: {', '.join(STATUSES)}")  # pyright: ignore[reportUnknownArgumentType]
    return names  # pyright: ignore[reportUnknownVariableType]


def _text(value: Any, name: str) -> str:
    return check_name(value, name, 500)


_CHECKS: dict[str, Callable[[Any, str], Any]] = {
    "ids": _ids,
    "status": _status,
    "kind": _text,
    "queue": _text,
    "step": _text,
    "key": _text,
    "group": _text,
    "error": _text,
    "parent": lambda value, _: check_id(value, "parent"),
    "created_after": moment,
    "created_before": moment,
    "finished_after": moment,
    "finished_before": moment,
}
