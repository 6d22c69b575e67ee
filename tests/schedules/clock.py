"""The clock of a database in the hands of a test."""

from __future__ import annotations

from datetime import datetime, timedelta

import psycopg

# A Monday at noon, far from any change of the clocks.
START = "2027-06-07T12:00:00+00:00"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


class Clock:
    """What `howdah.now()` says; it moves when the test says so."""

    def __init__(self, conn: psycopg.Connection) -> None:
        self._conn = conn
        conn.execute("create table howdah.test_clock (at timestamptz)")
        conn.execute("insert into howdah.test_clock values ('epoch')")
        conn.execute(
            "create or replace function howdah.now() returns timestamptz language sql volatile"
            " as $$ select at from howdah.test_clock $$"
        )
        self.set(START)

    def set(self, moment: str | datetime) -> datetime:
        self.now = at(moment) if isinstance(moment, str) else moment
        self._conn.execute("update howdah.test_clock set at = %s", [self.now])
        return self.now

    def move(self, **by: float) -> datetime:
        return self.set(self.now + timedelta(**by))
