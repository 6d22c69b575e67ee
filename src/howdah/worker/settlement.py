"""Ended attempts as one settlement: the arguments of `howdah.pump`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from howdah.context import ClaimedTask
from howdah.outcomes import Transition

if TYPE_CHECKING:
    from howdah.worker.attempt import Attempt


@dataclass(slots=True)
class Ended:
    """An attempt that waits to be settled. `sent` counts how often it was put into a request."""

    attempt: Attempt
    transition: Transition
    sent: int = 0


def settlement(batch: list[Ended]) -> dict[str, Any]:
    """A batch as arguments of `calls.pump`: the common successes as plain arrays, the rest as JSON."""
    if not batch:
        return {}
    batch.sort(key=lambda ended: ended.attempt.task.id)  # the lock order
    done: list[ClaimedTask] = []
    gone: list[ClaimedTask] = []
    results: list[str] = []
    rest: list[dict[str, Any]] = []
    for ended in batch:
        ended.sent += 1
        task, transition = ended.attempt.task, ended.transition
        keep = ended.attempt.kind.defaults.keep is not None
        if transition.to != "succeeded":
            rest.append(transition_row(task, transition, keep=keep))
        elif not keep:
            gone.append(task)
        else:
            done.append(task)
            if transition.result is not None:
                results.append(f'"{task.id}":{transition.result}')
    arguments: dict[str, Any] = {}
    if done:
        arguments["done"] = _arrays(done)
    if gone:
        arguments["gone"] = _arrays(gone)
    if results:
        arguments["results"] = "{" + ",".join(results) + "}"
    if rest:
        arguments["transitions"] = msgspec.json.encode(rest).decode()
    return arguments


def _arrays(tasks: list[ClaimedTask]) -> tuple[str, str]:
    return (
        "{" + ",".join([str(task.id) for task in tasks]) + "}",
        "{" + ",".join([str(task.epoch) for task in tasks]) + "}",
    )


def transition_row(task: ClaimedTask, transition: Transition, *, keep: bool) -> dict[str, Any]:
    """A transition as `howdah.settle_rest` takes it."""
    row: dict[str, Any] = {"id": task.id, "epoch": task.epoch, "to": transition.to, "attempts": transition.attempts}
    if transition.payload is not None:
        row["payload"] = msgspec.Raw(transition.payload.encode())
    if transition.result is not None:
        row["result"] = msgspec.Raw(transition.result.encode())
    if transition.delay:
        row["delay"] = transition.delay.total_seconds()
    if not keep:
        row["gone"] = True
    for name, value in (
        ("error", transition.error),
        ("reason", transition.reason),
        ("event", transition.event),
        ("data", transition.details),
    ):
        if value is not None:
            row[name] = value
    return row
