"""Commands that steer queues, kinds and workers: pause, resume, drain, disable, enable, purge, stop."""

from __future__ import annotations

import sys
import time
from typing import Annotated

from cyclopts import Parameter

from howdah.cli.errors import FAILED, HELD_UP, NOT_FOUND, OK, REFUSED, say, say_error
from howdah.cli.options import ANYWHERE, Output, Where
from howdah.cli.output import counted, for_people, print_json, print_line
from howdah.client import Client
from howdah.durations import duration, in_words
from howdah.errors import InvalidOption, nearest

QueueName = Annotated[str, Parameter(name="QUEUE", help="The name of a queue")]


def pause(
    queue: QueueName,
    /,
    *,
    reason: Annotated[str | None, Parameter(help="Why; `howdah why` and `howdah queues` say it")] = None,
    where: Where = ANYWHERE,
) -> None:
    """Start no more tasks of a queue, in the whole fleet. Running ones go on."""
    with where.client(writes=True, creates=True) as client:
        _tell_unknown(client, queue)
        client.pause_sync(queue, reason)
        waiting = next((row["due"] + row["later"] for row in client.queues_sync() if row["name"] == queue), 0)
    say(f"queue {queue} is paused, with {counted(waiting)} waiting in it")


def _tell_unknown(client: Client, queue: str) -> None:
    """A queue needs no declaration, so a name nobody has used is no error; but most likely it is another that was meant."""
    known = {row["name"] for row in client.queues_sync()} | {row["queue"] for row in client.kinds_sync()}
    if queue not in known:
        close = nearest(queue, known)
        say(
            f"note: nothing is in queue {queue}, and no kind goes there"
            + (f"; did you mean {close}? Undo it with: howdah resume {queue}" if close else "")
        )


def resume(queue: QueueName, /, *, where: Where = ANYWHERE) -> None:
    """Undo pause and drain."""
    with where.client(writes=True) as client:
        resumed = client.resume_sync(queue)
    say(f"queue {queue} goes on" if resumed else f"queue {queue} was not paused, nor drained")


_LEFT = ("due", "later", "running", "suspended", "failed")
_LOOK = 0.5  # seconds between two looks at a queue


def drain(
    queue: QueueName,
    /,
    *,
    reason: Annotated[str | None, Parameter(help="Why; whoever enqueues is told")] = None,
    wait: Annotated[bool, Parameter(negative="", show_default=False, help="Wait until it is empty")] = False,
    timeout: Annotated[str | None, Parameter(help='How long to wait at most: "10m"')] = None,
    output: Output = None,
    where: Where = ANYWHERE,
) -> int:
    """Let a queue finish what is in it, also what is due later, and take no more until `howdah resume`.

    Enqueues are refused, ticks of schedules are skipped; steps, retries and children of what is in it go on. With --wait
    it exits with 0 when nothing is left, with 4 when only parked tasks are, and with 1 after --timeout.
    """
    if timeout is not None and not wait:
        raise InvalidOption("--timeout is for --wait", hint="Add --wait")
    patience = None if timeout is None else duration(timeout, "timeout").total_seconds()
    with where.client(writes=True, creates=True) as client:
        _tell_unknown(client, queue)
        left = client.drain_sync(queue, reason)
        say(f"queue {queue} takes no more; {counted(left)} left in it")
        if not wait:
            return OK
        return _wait_until_empty(client, queue, patience, output)


def _wait_until_empty(client: Client, queue: str, patience: float | None, output: Output) -> int:
    said: dict[str, int] = {}
    until = None if patience is None else time.monotonic() + patience
    if output is None and not for_people(output):
        print_line(_LEFT)
    while True:
        row = next(
            (row for row in client.queues_sync() if row["name"] == queue), dict.fromkeys((*_LEFT, "draining_at"))
        )
        left = {name: row[name] or 0 for name in _LEFT}
        if left != said:
            said = left
            _tell_left(left, output)
        if not any(left[name] for name in _LEFT if name != "failed"):
            break
        if row["draining_at"] is None:
            say_error(f"queue {queue} was opened again", hint=f"To go on: howdah drain {queue} --wait")
            return FAILED
        if until is not None and time.monotonic() >= until:
            say_error(
                f"queue {queue} is not empty after {in_words(patience or 0)}",
                hint=f"What is left: howdah ls -q {queue}",
            )
            return FAILED
        time.sleep(_LOOK)
    if said["failed"]:
        say(f"{counted(said['failed'], 'parked task')} left: howdah ls -q {queue} -s failed")
        return HELD_UP
    say(f"queue {queue} is empty")
    return OK


def _tell_left(left: dict[str, int], output: Output) -> None:
    match output:
        case "json" | "jsonl":
            print_json(left, "jsonl")
        case "ids":
            pass
        case _ if for_people(output):
            say(", ".join(f"{count:,} {name}" for name, count in left.items() if count) or "nothing is left")
        case _:
            print_line(left.values())
    sys.stdout.flush()


KindName = Annotated[str, Parameter(name="KIND", help="The name of a kind")]


def disable(
    kind: KindName,
    /,
    *,
    reason: Annotated[str | None, Parameter(help="Why; `howdah why` says it")] = None,
    where: Where = ANYWHERE,
) -> None:
    """Start no task of a kind, in the whole fleet, until `howdah enable`. Running attempts go on, enqueueing too."""
    with where.client(writes=True) as client:
        client.disable_sync(kind, reason)
        waiting = sum(row["tasks"] for row in client.count_tasks_sync(kind=kind, status="queued"))
    say(f"kind {kind} is disabled, with {counted(waiting)} of it waiting")


def enable(kind: KindName, /, *, where: Where = ANYWHERE) -> None:
    """Undo disable."""
    with where.client(writes=True) as client:
        enabled = client.enable_sync(kind)
    say(f"kind {kind} is enabled" if enabled else f"kind {kind} was not disabled")


def purge(
    kind: KindName,
    /,
    *,
    yes: Annotated[bool, Parameter(negative="", show_default=False, help="Do not ask")] = False,
    dry_run: Annotated[
        bool, Parameter(negative="", show_default=False, help="Say how much there is, and change nothing")
    ] = False,
    where: Where = ANYWHERE,
) -> int:
    """Forget a kind: cancel its live tasks, delete its ended ones and the events of all of them, and its name.

    It cannot be undone; `howdah export --kind KIND` first. Tasks that run are left. Asks for the name of the kind, unless
    --yes; exits with 5 if it is not given.
    """
    with where.client(writes=not dry_run) as client:
        there = client.purge_sync(kind, dry_run=True)
        say(
            f"kind {kind}: {counted(there.live, 'live task')}, {there.running:,} running, {there.ended:,} ended, "
            f"{counted(there.events, 'event')}"
        )
        if dry_run:
            say("nothing was changed")
            return OK
        if not yes and not _confirmed(kind):
            say_error("nothing was purged: it was not confirmed", hint=f"howdah purge {kind} --yes")
            return REFUSED
        done = client.purge_sync(kind)
        known = any(row["name"] == kind for row in client.kinds_sync())
    say(f"{counted(done.live)} cancelled, {done.ended:,} ended and {counted(done.events, 'event')} deleted")
    if done.running:
        say(f"{counted(done.running)} left, which run or are held; when they have ended: howdah purge {kind}")
    elif known:
        say(
            "its name is kept: a live worker knows it, or a schedule makes tasks of it: howdah workers, howdah schedules"
        )
    return OK


def _confirmed(kind: str) -> bool:
    if not sys.stdin.isatty():
        return False
    say(f"Type the name of the kind to purge it: {kind}")
    return sys.stdin.readline().strip() == kind


def stop(
    worker: Annotated[
        str | None, Parameter(name="WORKER", help="The id of a worker, or how it begins; without it all of them")
    ] = None,
    /,
    *,
    where: Where = ANYWHERE,
) -> int:
    """Ask workers to finish what they run and exit."""
    with where.client(writes=True) as client:
        if worker is None:
            asked = client.stop_workers_sync()
            say(f"asked {counted(asked, 'worker')} to stop" if asked else "no worker is alive")
            return OK
        alive = [row for row in client.workers_sync() if row["state"] != "dead"]
        meant = [row for row in alive if worker and str(row["id"]).startswith(worker.lower())]
        if len(meant) != 1:
            say_error(
                f"{len(meant)} living workers have an id that begins with {worker}"
                if meant
                else f"there is no living worker {worker}",
                hint="See: howdah workers",
            )
            return FAILED if meant else NOT_FOUND
        client.stop_workers_sync(meant[0]["id"])
    say(f"worker {meant[0]['id']} on {meant[0]['host']} was asked to stop")
    return OK
