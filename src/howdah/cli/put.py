"""enqueue and send: put tasks in their queue, and messages in their inbox."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import Annotated, Any, Literal, NoReturn

from cyclopts import Parameter

from howdah import calls
from howdah.app import App
from howdah.cli import apps
from howdah.cli.errors import say
from howdah.cli.options import ANYWHERE, Output, Where, read_moment
from howdah.cli.options import task_id as one_id
from howdah.cli.output import plain, print_json, to_json
from howdah.db import borrowed
from howdah.enqueue import ByName, new_task, templates_of, unknown_task
from howdah.errors import InvalidOption, InvalidPayload, UnknownKind, nearest
from howdah.kinds.actor import ActorKind
from howdah.kinds.registry import Beginning, Defaults, Kind
from howdah.many import Batch
from howdah.options import Options, options
from howdah.payload import plain_json
from howdah.task import Task
from howdah.templates import Filling

BATCH = 2000
_EXAMPLE = """Quote it for the shell: howdah enqueue welcome '{"user_id": 42}'"""


def enqueue(
    kind: Annotated[str, Parameter(name="KIND", help="The name of its handler")],
    payload: Annotated[
        str | None,
        Parameter(
            name="PAYLOAD",
            allow_leading_hyphen=True,
            help="The handler's arguments, as a JSON object; - reads it from stdin",
        ),
    ] = None,
    /,
    *,
    delay: Annotated[str | None, Parameter(help='How long to wait first: "90s", "1h30m"')] = None,
    at: Annotated[str | None, Parameter(help='When to run: "2026-12-01T09:00" (local time) or with a zone')] = None,
    key: Annotated[
        str | None, Parameter(help='Its key, of one task at a time; {name} is a field: "welcome:{user_id}"')
    ] = None,
    on_conflict: Annotated[
        Literal["return", "raise", "skip", "replace", "merge"] | None,
        Parameter(help="What to do if the key is taken [default: what the kind says]"),
    ] = None,
    unique_for: Annotated[
        str | None, Parameter(help='How long the key stays taken, also when the task has ended: "1h", or forever')
    ] = None,
    queue: Annotated[str | None, Parameter(name=["--queue", "-q"], help="Another queue than the kind's")] = None,
    priority: Annotated[int | None, Parameter(name=["--priority", "-p"], help="Higher first")] = None,
    step: Annotated[str | None, Parameter(help="Where a state machine begins")] = None,
    group: Annotated[
        list[str] | None,
        Parameter(
            negative="", help="A group whose limits hold for it; repeat it for several [default: those of the kind]"
        ),
    ] = None,
    cost: Annotated[
        float | None,
        Parameter(help="How much its start counts against the rates of its groups [default: the kind's, or 1]"),
    ] = None,
    start_before: Annotated[str | None, Parameter(help='Late if not begun by then: "10m" from now, or a time')] = None,
    finish_before: Annotated[str | None, Parameter(help="Late if not ended by then")] = None,
    late: Annotated[
        Literal["drop", "park", "run"] | None,
        Parameter(help="What becomes of it when it is late [default: the kind's]"),
    ] = None,
    wait: Annotated[
        bool, Parameter(negative="", show_default=False, help="Wait until it ends, and print its result")
    ] = False,
    timeout: Annotated[str | None, Parameter(help="How long to wait at most; the task goes on")] = None,
    many: Annotated[
        bool,
        Parameter(
            negative="", show_default=False, help="One task for each line of JSON on stdin: all of them, or none"
        ),
    ] = False,
    app: Annotated[str | None, Parameter(help="MODULE:APP, to check the payload [default: as for worker]")] = None,
    output: Output = None,
    where: Where = ANYWHERE,
) -> None:
    """Put a task in its queue, and print its id.

    If the handler's App is found here, the payload is checked against its signature before anything is written.
    """
    chosen = options(
        delay=delay,
        at=read_moment(at),
        queue=queue,
        priority=priority,
        key=key,
        on_conflict=on_conflict,
        unique_for=unique_for,
        step=step,
        group=group,
        cost=cost,
        start_before=read_deadline(start_before, "--start-before"),
        finish_before=read_deadline(finish_before, "--finish-before"),
        late=late,
    )
    _check_combination(many=many, wait=wait, timeout=timeout, payload=payload)
    arguments = {} if many else read_arguments(sys.stdin.read() if payload == "-" else payload or "{}")
    with apps.opened(app, where.dsn, "payload") as found:
        if many:
            ids = _enqueue_lines(found, kind, chosen, sys.stdin)
            _print_ids(ids, kind, output, many=True)
            return
        task = _by_name(found, chosen, kind, arguments)
        if task is None:
            say(f"the key is taken; nothing was enqueued. See: howdah why --key {key or 'KEY'}")
            return
        if not wait:
            _print_ids([task.id], kind, output)
            return
        if output != "ids":
            say(f"task {task.id}; waiting for its end")
        result = found.result_sync(task.id, timeout=timeout)
        if output == "ids":
            print(task.id)
        elif output in (None, "table"):
            print_json(result)
        else:
            print_json({"id": task.id, "kind": kind, "result": result}, output)


def send(
    task: Annotated[str, Parameter(name="ID", help="The id of an actor's task")],
    message: Annotated[
        str, Parameter(name="MESSAGE", allow_leading_hyphen=True, help="The message, as JSON; - reads it from stdin")
    ],
    /,
    *,
    app: Annotated[str | None, Parameter(help="MODULE:APP, to check the message [default: as for worker]")] = None,
    output: Output = None,
    where: Where = ANYWHERE,
) -> None:
    """Put a message into the inbox of a task, and print the message's id.

    If the actor's App is found here, the message is checked before it is sent; in any case when it is read.
    """
    task_id = one_id(task)
    text = sys.stdin.read() if message == "-" else message
    try:
        body = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise InvalidPayload(
            f"the message is not JSON: {error}", hint="""Quote it for the shell: howdah send 42 '{"n": 1}'"""
        ) from error
    with apps.opened(app, where.dsn, "message") as found:
        kind = found.registry.find(found.show_sync(task_id).kind)
        if isinstance(kind, ActorKind):
            kind.check_message(text)
        sent = found.send_sync(task_id, body)
    if output in ("json", "jsonl"):
        print_json({"id": sent, "task_id": task_id}, output)
    else:
        print(sent)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _by_name(app: App, chosen: Options, kind: str, arguments: dict[str, Any]) -> Task[Any] | None:
    """None with --on-conflict skip."""
    named: ByName[Task[Any] | None] = ByName(app, chosen)
    try:
        return named.enqueue_sync(kind, **arguments)
    except UnknownKind as error:
        here = app.registry.names()
        if not here:
            raise
        near = nearest(kind, here)
        meant = f"Did you mean {near}? " if near else ""
        raise UnknownKind(error.message, hint=f"{meant}The App that was found here has: {', '.join(here)}") from error


def _check_combination(*, many: bool, wait: bool, timeout: str | None, payload: str | None) -> None:
    if timeout is not None and not wait:
        raise InvalidOption(
            "--timeout is for --wait", hint="Add --wait; a time limit of the task is set in its handler"
        )
    if many and wait:
        raise InvalidOption("--many and --wait do not go together")
    if many and payload not in (None, "-"):
        raise InvalidOption(
            "with --many the payloads come from stdin", hint="howdah enqueue KIND --many < payloads.jsonl"
        )


def read_deadline(text: str | None, option: str) -> str | datetime | None:
    """A time as people write it; a length of time stays as it is. Raises InvalidOption."""
    return read_moment(text, option) if text is not None and re.match(r"\d{4}-", text) else text


def read_arguments(text: str, place: str = "the payload") -> dict[str, Any]:
    """A payload as the handler's arguments. Raises InvalidPayload."""
    try:
        value = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise InvalidPayload(f"{place} is not JSON: {error}", hint=_EXAMPLE) from error
    if not isinstance(value, dict):
        raise InvalidPayload(
            f"{place} is not a JSON object with the handler's arguments by name, but {to_json(plain(value))[:80]}",
            hint=_EXAMPLE,
        )
    return value  # pyright: ignore[reportUnknownVariableType]


def _lines(stream: Iterable[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(stream, 1):
        if line.strip():
            yield number, read_arguments(line, f"line {number}")


def _enqueue_lines(app: App, kind: str, chosen: Options, stream: Iterable[str]) -> list[int]:
    """All lines or none, in one transaction: in batches, or those with keys in one, which writes them in order of the keys."""
    handler = app.registry.find(kind)
    key, groups = templates_of(chosen, Defaults() if handler is None else handler.defaults)
    at_once = None if key is not None or Filling(key, groups).differs else BATCH
    ids: list[int] = []
    rows = _lines(stream)
    with app.installation.open_sync().connect_sync(autocommit=False) as connection:
        while batch := list(islice(rows, at_once)):
            if handler is None:
                payloads = [_plain(app, kind, number, arguments) for number, arguments in batch]
                new = unknown_task(kind, "", replace(chosen, key=None, group=None))
                new = replace(new, key=chosen.key, groups=None if chosen.group is None else list(chosen.group))
                ids += borrowed.run_sync(connection, calls.enqueue_many(new, f"[{','.join(payloads)}]"))
                continue
            begun = [_begun(handler, chosen, number, arguments) for number, arguments in batch]
            places = [f"line {number}" for number, _ in batch]
            new = new_task(kind, begun[0], chosen, many=True)
            many = Batch(
                new, [each.payload for each in begun], *templates_of(chosen, begun[0].defaults), places.__getitem__
            )
            if (call := many.call()) is not None:
                ids += many.ids(borrowed.run_sync(connection, call))
            else:
                ids += borrowed.copy_sync(connection, new, many.payloads)
    return ids


def _plain(app: App, kind: str, number: int, arguments: dict[str, Any]) -> str:
    with _naming_line(number):
        return plain_json(arguments, kind, max_bytes=app.max_payload)


def _begun(handler: Kind, chosen: Options, number: int, arguments: dict[str, Any]) -> Beginning:
    with _naming_line(number):
        return handler.named(chosen.step, arguments)


@contextmanager
def _naming_line(number: int) -> Generator[None]:
    try:
        yield
    except InvalidPayload as error:
        raise InvalidPayload(f"line {number}: {error.message}", hint=error.hint) from error


def _print_ids(ids: list[int], kind: str, output: Output, *, many: bool = False) -> None:
    if output == "json":
        made = [{"id": task_id, "kind": kind} for task_id in ids]
        print_json(made if many else made[0])
    elif output == "jsonl":
        for task_id in ids:
            print(to_json({"id": task_id, "kind": kind}))
    else:
        for task_id in ids:
            print(task_id)
