"""Ended attempts as one settlement: the arguments of `howdah.pump`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from howdah.context import ClaimedTask
from howdah.inbox import Mail
from howdah.outcomes import Transition

if TYPE_CHECKING:
    from howdah.worker.attempt import Attempt


@dataclass(slots=True)
class Ended:
    """An attempt that waits to be settled. `sent` counts how often it was put into a request."""

    attempt: Attempt
    transition: Transition
    sent: int = 0


def settlement(batch: list[Ended], *, on: bool = False) -> dict[str, Any]:
    """A batch as arguments of `calls.pump`: the common successes as plain arrays, the rest as JSON.

    `on`: what has a next step here and now is to go on with it, without a way through the queue.
    """
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
        if (
            transition.to != "succeeded"
            or transition.event
            or transition.effects
            or transition.consumed
            or task.parent is not None
        ):
            row = transition_row(task, transition, keep=keep, seconds=ended.attempt.seconds)
            if on and transition.at_once:
                row["to"] = "running"
            rest.append(row)
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


def transition_row(task: ClaimedTask, transition: Transition, *, keep: bool, seconds: float) -> dict[str, Any]:
    """A transition as `howdah.settle_rest` takes it. `seconds`: how long the attempt ran, for its event."""
    row: dict[str, Any] = {"id": task.id, "epoch": task.epoch, "to": transition.to, "attempts": transition.attempts}
    if transition.payload is not None:
        row["payload"] = msgspec.Raw(transition.payload.encode())
    if transition.result is not None:
        row["result"] = msgspec.Raw(transition.result.encode())
    if transition.delay is not None:
        row["delay"] = transition.delay.total_seconds()
    if not keep:
        row["gone"] = True
    if transition.joining:
        row["joining"] = True
    details = transition.details
    if details is not None:
        details = details | {"seconds": round(seconds, 6)}
    for name, value in (
        ("step", transition.step),
        ("queue", transition.queue),
        ("priority", transition.priority),
        ("run_at", transition.run_at),
        ("error", transition.error),
        ("reason", transition.reason),
        ("event", transition.event),
        ("data", details),
        ("parent", task.parent),
        ("consumed", transition.consumed or None),
        ("inbox_seq", transition.inbox_seq or None),
        ("close", transition.close),
    ):
        if value is not None:
            row[name] = value
    if transition.effects is not None:
        if transition.effects.spawned:
            row["spawn"] = transition.effects.spawned
        if transition.effects.enqueued:
            row["enqueue"] = transition.effects.enqueued
        if transition.effects.sent:
            row["send"] = transition.effects.sent
    return row


def next_step(task: ClaimedTask, transition: Transition) -> ClaimedTask:
    """The task at the step it goes on with at once, as a claim would bring it."""
    return ClaimedTask(
        task.id,
        task.epoch + 1,
        task.kind,
        task.queue,
        transition.step if transition.step is not None else task.step,
        task.step_no + 1,
        1,
        task.key,
        None,
        task.payload if transition.payload is None else msgspec.Raw(transition.payload.encode()),
        task.parent,
        task.tick,
        task.time_left,
        task.late,
    )


_inboxes = msgspec.json.Decoder(list[Mail])


def read_inboxes(text: str | None) -> list[Mail]:
    """What `howdah.inboxes` answered."""
    return [] if text is None else _inboxes.decode(text)
