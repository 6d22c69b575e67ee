"""The proof, and the report in Markdown. Every figure is computed by the database: see proof.sql."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from psycopg import AsyncConnection, sql

from howdah.demo.screen import plain
from howdah.errors import HowdahError

SHOWN = 10


@dataclass(frozen=True)
class Proof:
    """The row of howdah_demo.proof."""

    run: str
    folder: str
    files: int
    results: int
    parked: int
    lost: int
    twice: int
    torn: int
    seconds: float | None
    rate: float | None
    retries: int
    held: int
    taken_back: int
    finished_by_others: int
    taken_back_after: float | None
    counted: int
    counted_lines: int
    steps: int
    reporter: int | None

    @property
    def holds(self) -> bool:
        """Whether every file was examined or parked, and exactly once, and the actor was told exactly as often."""
        return not (self.lost or self.twice or self.torn or self.counted != self.results)


async def prove(conn: AsyncConnection[Any], run: str) -> Proof:
    """Ask the database what became of this run."""
    rows = await _rows(conn, "proof", run)
    if not rows:
        raise HowdahError(f"the demo's run {run} is not in this database any more", hint="Run it again: howdah demo")
    return Proof(**rows[0])


async def write(conn: AsyncConnection[Any], run: str, to: Path) -> Proof:
    """Write the report, and return what it proves."""
    proof = await prove(conn, run)
    lines = [
        "# What howdah did with your files",
        "",
        f"{proof.files:,} files of {_code(proof.folder)}, one task each. Every figure is computed by SQL; "
        "look yourself with `howdah psql`.",
        "",
        *_proof(proof),
    ]
    for total in await _rows(conn, "total", run):
        lines += [
            "",
            f"In the files: {total['bytes'] / 1e6:,.1f} MB, {total['lines']:,} lines, "
            f"{total['functions']:,} functions, {total['classes']:,} classes (`howdah_demo.total`).",
        ]
    lines += _table(
        "Parked: these could not be examined",
        "parked",
        await _rows(conn, "parked", run),
        {
            "reason": lambda row: _code(row["reason"]),
            "files": lambda row: f"{row['files']:,}",
            "attempts": lambda row: str(row["attempts"]),
            "for example": lambda row: f"{_code(row['path'])}: `howdah why {row['example']}`",
        },
        "What cannot be read or decoded is tried again twice, since somebody may be writing it, and then parked. "
        "Broken syntax is parked at once: `raise Fail(…)`.",
    )
    lines += _table(
        "The biggest files",
        "biggest",
        await _rows(conn, "biggest", run),
        {
            "file": lambda row: _code(row["path"]),
            "bytes": lambda row: f"{row['bytes']:,}",
            "lines": lambda row: f"{row['lines']:,}",
        },
    )
    lines += _table(
        "Names used most",
        "identifier",
        await _rows(conn, "identifier", run),
        {
            "name": lambda row: _code(row["identifier"]),
            "times": lambda row: f"{row['times']:,}",
            "files": lambda row: f"{row['files']:,}",
        },
        "Counted from the twenty most used names of each file.",
    )
    lines += _table(
        "Files with the same content",
        "duplicate",
        await _rows(conn, "duplicate", run),
        {
            "files": lambda row: ", ".join(map(_code, row["paths"][:4])) + (", …" if row["files"] > 4 else ""),
            "copies": lambda row: f"{row['files']:,}",
            "bytes to spare": lambda row: f"{row['spare_bytes']:,}",
        },
    )
    _replace(to, "\n".join(lines) + "\n")
    return proof


def _proof(proof: Proof) -> list[str]:
    seconds = "" if proof.seconds is None else f"{proof.seconds:.1f} s, {proof.rate or 0:,.0f} files/s"
    after = "" if proof.taken_back_after is None else f"; taken back {proof.taken_back_after:.1f} s after the kill"
    rows = {
        "files in": f"{proof.files:,}",
        "results": f"{proof.results:,}",
        "parked": f"{proof.parked:,}",
        "**lost**": f"**{proof.lost:,}**",
        "**finished twice**": f"**{proof.twice:,}**",
        "result and end of the task not together": f"{proof.torn:,}",
        "counted by the actor, from a message per file": f"{proof.counted:,}",
        "time": seconds,
        "retries": f"{proof.retries:,}",
        "tasks of the killed worker": f"{proof.taken_back:,}{after}; ended by others: {proof.finished_by_others:,}",
    }
    verdict = "It holds." if proof.holds else "**It does not hold.** Please report this."
    return [
        "## The proof",
        "",
        "| | |",
        "| --- | ---: |",
        *(f"| {name} | {value} |" for name, value in rows.items()),
        "",
        f"{verdict} (`SELECT * FROM howdah_demo.proof`)",
    ]


def _table(
    title: str,
    view: str,
    rows: Sequence[dict[str, Any]],
    columns: dict[str, Callable[[dict[str, Any]], str]],
    note: str = "",
) -> list[str]:
    lines = ["", f"## {title}", ""]
    if not rows:
        return [*lines, "None."]
    lines += [
        f"| {' | '.join(columns)} |",
        f"| {' | '.join('---' for _ in columns)} |",
        *(f"| {' | '.join(show(row) for show in columns.values())} |" for row in rows),
    ]
    return [*lines, "", f"{note} (`howdah_demo.{view}`)".strip()]


async def _rows(conn: AsyncConnection[Any], view: str, run: str) -> list[dict[str, Any]]:
    query = sql.SQL("select * from howdah_demo.{} where run = %s limit {}").format(sql.Identifier(view), SHOWN)
    return await (await conn.execute(query, [run])).fetchall()


def _code(text: str) -> str:
    """Any text as code in a Markdown table."""
    return "`" + plain(text).replace("`", "'").replace("|", "\\|") + "`"


def _replace(to: Path, text: str) -> None:
    """Write all of it or nothing: readers never see half a report."""
    half = to.with_name(f".{to.name}.{os.getpid()}")
    try:
        half.write_text(text, encoding="utf-8")
        half.replace(to)
    finally:
        half.unlink(missing_ok=True)
