"""doctor: what is wrong between this program and its database, each with the command that mends it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from statistics import median
from typing import Literal

import psycopg
from psycopg import Connection
from psycopg.rows import DictRow

from howdah import calls
from howdah.caller import Caller
from howdah.db import probing
from howdah.db.greeting import greet_sync
from howdah.db.pool import Database, run_on_sync
from howdah.durations import Duration, duration, in_words
from howdah.errors import HowdahError, SchemaMismatch
from howdah.installation import Installation
from howdah.migrate import OLDEST_SERVER, check, migrations, release, replaced

Status = Literal["ok", "warn", "fail"]
NEWEST_SERVER = 18  # that howdah is tested with
NOTIFIED_WITHIN = 5.0
_FAR = 0.1  # seconds of a round trip
_SKEW = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found; `fix` is what to type or to do, if something is to be done."""

    check: str
    status: Status
    found: str
    fix: str | None = None


class Doctor(Caller):
    """Asking how the database is."""

    async def doctor(self, *, patience: Duration = "5m") -> list[Finding]:
        """Look for what hurts: connection, schema, settings, rights, old transactions, bloat, orphans. Changes nothing.

        patience  how long a transaction may be open, or a task left by a dead worker, before it is told

        What it finds, an unreachable database too, is in the list and no exception. Raises InvalidOption.

        >>> [each for each in await app.doctor() if each.status != "ok"]      # doctest: +SKIP
        """
        return await asyncio.to_thread(self.doctor_sync, patience=patience)

    def doctor_sync(self, *, patience: Duration = "5m") -> list[Finding]:
        """As `doctor`, blocking."""
        return list(_examine(self.installation, duration(patience, "patience")))


def _examine(installation: Installation, patience: timedelta) -> Iterator[Finding]:
    with ExitStack() as opened:
        try:
            database = installation.open_unchecked()
            # Nothing is prepared: a pooler may be between us, and that is to be found out.
            conn, other = (opened.enter_context(database.connect_sync(prepare_threshold=None)) for _ in range(2))
        except HowdahError as error:
            yield Finding("connection", "fail", error.message, error.hint)
            return
        yield from _tried("connection", lambda: _connection(conn))
        yield from _tried("pooler", lambda: _pooler(conn, other))
        yield from _tried("clock", lambda: [_clock(probing.clocks(conn))])
        schema = list(_tried("schema", lambda: [_schema(database)]))
        yield from schema
        if any(each.status == "fail" for each in schema):
            return
        yield from _tried("installed", lambda: [_installed(conn)])
        yield from _tried("rights", lambda: [Finding(**row) for row in run_on_sync(conn, calls.doctor(patience))])


def _tried(name: str, look: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """What a look found; that it cannot be had is a finding too."""
    try:
        yield from look()
    except HowdahError as error:
        yield Finding(name, "fail", error.message, error.hint)
    except psycopg.Error as error:
        yield Finding(name, "fail", " ".join(str(error).split()))


# ── the connection ──


def _connection(conn: Connection[DictRow]) -> Iterator[Finding]:
    number = conn.info.server_version // 10000
    away = median(sample.after - sample.before for sample in probing.clocks(conn))
    far = away > _FAR
    yield Finding(
        "connection",
        "warn" if far else "ok",
        f"PostgreSQL {number} as {conn.info.user}, {in_words(away)} away{': every claim takes that long' if far else ''}",
        "Run workers near the database" if far else None,
    )
    if number < OLDEST_SERVER:
        yield Finding(
            "version", "fail", f"This is PostgreSQL {number}", f"Upgrade it: howdah needs {OLDEST_SERVER} or newer"
        )
    elif number > NEWEST_SERVER:
        yield Finding(
            "version",
            "warn",
            f"This is PostgreSQL {number}; this release was tested up to {NEWEST_SERVER}",
            "Upgrade howdah",
        )
    if probing.is_in_the_clear(conn):
        yield Finding(
            "encryption",
            "warn",
            "Payloads and the password cross the network unencrypted",
            "Add sslmode=verify-full to the DSN",
        )


def _pooler(conn: Connection[DictRow], other: Connection[DictRow]) -> Iterator[Finding]:
    direct = greet_sync(conn)
    if not direct:
        greet_sync(other)
        # In session mode it could listen, but workers do not try: nobody tells them which mode it is.
        mode = "transaction" if probing.share_a_session(conn, other) else "session"
        yield Finding(
            "pooler",
            "warn",
            f"A pooler in {mode} mode is between us and the server: workers cannot be woken, they poll",
            "Give workers a DSN that leads to the server itself; programs that enqueue may keep this one",
        )
        if mode == "transaction":
            return
    took = probing.hears_after(conn, other, NOTIFIED_WITHIN)
    if took is None:
        yield Finding(
            "notify",
            "warn",
            f"A notification did not arrive within {in_words(NOTIFIED_WITHIN)}: workers poll",
            "Look for what is between this machine and the server, and connect past it",
        )
    else:
        yield Finding("notify", "ok", f"A notification arrived after {in_words(took)}")


def _clock(samples: Sequence[probing.Sample]) -> Finding:
    """Ours beside theirs, as exactly as the fastest answer allows: it was asked at some moment of that time."""
    best = min(samples, key=lambda sample: sample.after - sample.before)
    bound = timedelta(seconds=(best.after - best.before) / 2)
    ahead = timedelta(seconds=(best.before + best.after) / 2 - best.theirs)
    if abs(ahead) - bound <= _SKEW:
        return Finding("clock", "ok", "This machine and the server tell the same time")
    where = "ahead of" if ahead > timedelta(0) else "behind"
    return Finding(
        "clock",
        "warn",
        f"This machine is {in_words(abs(ahead))} {where} the server: tasks are due by the server's clock, so at= and logs mislead",
        "Set both by NTP: timedatectl set-ntp true",
    )


# ── the schema ──


def _schema(database: Database) -> Finding:
    try:
        check(database)
    except SchemaMismatch as error:
        return Finding("schema", "fail", error.message[0].upper() + error.message[1:], error.hint)
    return Finding("schema", "ok", f"howdah {release()}, schema {len(migrations())}")


def _installed(conn: Connection[DictRow]) -> Finding:
    """Whether all that the files make is there: somebody may have dropped it since."""
    indexes = made_indexes(script.sql for script in migrations())
    files = {script.name: script for script in replaced()}
    functions = {_stem(name) for name in files if not name.startswith("views/")}
    triggers = {_stem(name) for name in files if name.startswith("triggers/")}
    gone = sorted(set(probing.absent(conn, indexes=indexes, triggers=triggers, functions=functions)))
    if not gone:
        return Finding("installed", "ok", "Every index, trigger and function is there")
    fixes = [_at_work(indexes[name]) for name in gone if name in indexes]
    if any(name not in indexes for name in gone):
        fixes.append("DELETE FROM howdah.installed; then: howdah migrate")
    return Finding("installed", "fail", f"Somebody dropped {', '.join(gone)}", " ".join(fixes))


_INDEX = re.compile(
    r"\bdrop index (?:if exists )?(?:howdah\.)?(\w+)|\bcreate (?:unique )?index (\w+) on [^;]*;", re.IGNORECASE
)


def made_indexes(scripts: Iterable[str]) -> dict[str, str]:
    """The indexes that migrations leave behind, each with its statement."""
    made: dict[str, str] = {}
    for sql in scripts:
        plain = re.sub(r"--[^\n]*", "", sql)
        for match in _INDEX.finditer(plain):
            if match[1]:
                made.pop(match[1], None)
            else:
                made[match[2]] = " ".join(match[0].split())
    return made


def _at_work(statement: str) -> str:
    """The statement as it may be run while workers work; a partitioned table does not allow that."""
    partitioned = re.search(r" on howdah\.(archive|event)\b", statement)
    return statement if partitioned else re.sub(r"\bindex\b", "index concurrently", statement, count=1)


def _stem(name: str) -> str:
    return name.split("/")[1].removesuffix(".sql")


def worst(findings: Iterable[Finding]) -> Status:
    """What all of it comes to."""
    found = {finding.status for finding in findings}
    return "fail" if "fail" in found else "warn" if "warn" in found else "ok"
