"""Carry: tasks out of one database and into another, or out of the way and back, as lines of JSON."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Annotated, Literal, Unpack

import msgspec
from msgspec import Meta

from howdah import calls
from howdah.caller import Caller
from howdah.calls import Imported, Steps
from howdah.errors import InvalidOption, InvalidPayload, shown
from howdah.filters import Filter, as_json, checked

_Name = Annotated[str, Meta(min_length=1, max_length=200)]
_Key = Annotated[str, Meta(min_length=1, max_length=500)]
_Count = Annotated[int, Meta(ge=0, lt=2**31)]
_Number = Annotated[int, Meta(ge=-(2**31), lt=2**31)]
_MOST_BYTES = 8 * 1024 * 1024  # of lines in one call


class _Mail(msgspec.Struct, forbid_unknown_fields=True):
    body: msgspec.Raw
    sender: int | None = None
    type: Literal["message", "eof"] = "message"
    sent_at: str | None = None


class Line(msgspec.Struct, forbid_unknown_fields=True):
    """A task as `export_tasks` writes it. Only `kind` is needed: a line may be written by hand."""

    kind: _Name
    id: int | None = None
    status: Literal["queued", "running", "suspended", "failed"] = "queued"
    step: str | None = None
    step_no: _Count | None = None
    payload: dict[str, msgspec.Raw] | None = None
    queue: _Name | None = None
    priority: _Number | None = None
    run_at: str | None = None
    key: _Key | None = None
    groups: list[_Name] | None = None
    cost: float | None = None
    start_before: str | None = None
    finish_before: str | None = None
    late: Literal["drop", "park", "run"] | None = None
    attempt: _Count | None = None
    lost: _Count | None = None
    epoch: int | None = None
    error: str | None = None
    last_error: str | None = None
    reason: str | None = None
    created_at: str | None = None
    parent: int | None = None
    joining: bool | None = None
    told: bool | None = None
    source: str | None = None
    tick: str | None = None
    inbox: list[_Mail] | None = None


class Carry(Caller):
    """Export and import."""

    async def export_tasks(self, **chosen: Unpack[Filter]) -> AsyncIterator[str]:
        """The live tasks that a filter finds, all of them without one: each a line of JSON for `import_tasks`.

        With all that makes the task, its inbox too; not who runs it. Read in pages of 1000, so that a million of them need
        no memory; what is enqueued, moved on or ended meanwhile may or may not be among them: pause what you mean to move.
        Raises InvalidOption.

        >>> async for line in app.export_tasks(kind="welcome"):  # doctest: +SKIP
        ...     file.write(line + "\\n")
        """
        found, after = as_json(checked(chosen)), 0
        while rows := await self.run(calls.export_tasks(found, after)):
            for row in rows:
                yield row["line"]
            after = rows[-1]["id"]

    def export_tasks_sync(self, **chosen: Unpack[Filter]) -> Iterator[str]:
        """As `export_tasks`, blocking."""
        found, after = as_json(checked(chosen)), 0
        while rows := self.run_sync(calls.export_tasks(found, after)):
            for row in rows:
                yield row["line"]
            after = rows[-1]["id"]

    async def import_tasks(
        self,
        lines: Iterable[str],
        *,
        on_conflict: Literal["raise", "skip"] = "raise",
        keep_ids: bool = False,
        dry_run: bool = False,
    ) -> Imported:
        """Write what `export_tasks` read, in one transaction: all lines, or nothing.

        Parked tasks come back parked with their error, running ones queued with the attempt unspent, families joined
        again. They get new ids, unless `keep_ids`. Where a key, a tick of a schedule or, with `keep_ids`, an id is taken:
        `on_conflict="raise"`, or "skip" that task. `dry_run` finds what is wrong, and writes nothing.
        Raises InvalidPayload that names line and field, KeyConflict, UnknownKind, QueueClosed, InvalidOption.

        >>> await app.import_tasks(open("tasks.jsonl"), dry_run=True)  # doctest: +SKIP
        Imported(imported=212, skipped=0)
        """
        steps = _import(lines, on_conflict, keep_ids)
        async with self.transaction() as conn, conn.transaction(force_rollback=dry_run):
            return await self.follow(steps, conn)

    def import_tasks_sync(
        self,
        lines: Iterable[str],
        *,
        on_conflict: Literal["raise", "skip"] = "raise",
        keep_ids: bool = False,
        dry_run: bool = False,
    ) -> Imported:
        """As `import_tasks`, blocking."""
        steps = _import(lines, on_conflict, keep_ids)
        with self.installation.open_sync().connect_sync() as conn, conn.transaction(force_rollback=dry_run):
            return self.follow_sync(steps, conn)


def _import(lines: Iterable[str], on_conflict: str, keep_ids: bool) -> Steps[Imported]:
    if on_conflict not in ("raise", "skip"):
        raise InvalidOption(f'on_conflict must be "raise" or "skip", not {shown(on_conflict)}')
    imported = skipped = 0
    for first_line, text in _pages(lines):
        page: Imported = yield calls.import_tasks(text, first_line, on_conflict=on_conflict, keep_ids=keep_ids)
        imported += page.imported
        skipped += page.skipped
    yield calls.import_families()
    return Imported(imported, skipped)


def _pages(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Checked lines as JSON arrays, with the number of the first. An empty line is a null, so that the numbers are right."""
    page: list[str] = []
    size = 0
    number = 0
    for number, line in enumerate(lines, 1):
        page.append(_checked(number, line) if line.strip() else "null")
        size += len(line)
        if len(page) >= calls.PAGE or size >= _MOST_BYTES:
            yield number - len(page) + 1, f"[{','.join(page)}]"
            page, size = [], 0
    if page:
        yield number - len(page) + 1, f"[{','.join(page)}]"


_decoder = msgspec.json.Decoder(Line)


def _checked(number: int, line: str) -> str:
    """A line as it is. Raises InvalidPayload that names the line and the field."""
    try:
        task = _decoder.decode(line)
    except msgspec.ValidationError as error:
        said = str(error).replace(" - at `$.", ": `").replace(" - at `$`", "")
        raise InvalidPayload(f"line {number}: {said}", hint="howdah export writes such lines") from None
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise InvalidPayload(f"line {number} is not JSON: {error}", hint="One task a line") from None
    if (task.status == "failed") is not (task.error is not None):
        said = (
            "status is failed, and error is missing"
            if task.error is None
            else f"there is an error, and status is {task.status}"
        )
        raise InvalidPayload(f"line {number}: {said}", hint="A parked task has an error, and no other has")
    return line.strip()
