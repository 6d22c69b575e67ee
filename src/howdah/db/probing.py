"""What can be learned of a connection by trying: who is at the other end, how far away, whether it hears notifications."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from psycopg import Connection
from psycopg.rows import DictRow

_TIMES = 5
_LOCAL = ("", "localhost", "127.0.0.1", "::1")


class Sample(NamedTuple):
    """The clock of the database, and ours before it was asked and after it answered, in seconds since 1970."""

    before: float
    theirs: float
    after: float


def clocks(conn: Connection[DictRow]) -> list[Sample]:
    """Ask the database what time it is, several times."""
    samples: list[Sample] = []
    for _ in range(_TIMES):
        before = time.time()
        moment: datetime = _value(conn, "select clock_timestamp() as value")
        samples.append(Sample(before, moment.timestamp(), time.time()))
    return samples


def share_a_session(one: Connection[DictRow], other: Connection[DictRow]) -> bool:
    """Whether two connections come to the same server process: what only a pooler in transaction mode does.

    A busy pooler may hide it; if this is True, it is so.
    """
    pid = "select pg_backend_pid() as value"
    return any(_value(one, pid) == _value(other, pid) for _ in range(10))


def hears_after(listener: Connection[DictRow], notifier: Connection[DictRow], within: float) -> float | None:
    """After how many seconds a notification arrives; None if it does not."""
    channel = f"howdah_probe_{secrets.token_hex(8)}"
    listener.execute(f"listen {channel}".encode())
    try:
        began = time.monotonic()
        notifier.execute(f"notify {channel}".encode())
        until = began + within
        while (left := until - time.monotonic()) > 0:
            for notice in listener.notifies(timeout=left, stop_after=1):
                if notice.channel == channel:
                    return time.monotonic() - began
        return None
    finally:
        listener.execute(f"unlisten {channel}".encode())


def is_in_the_clear(conn: Connection[Any]) -> bool:
    """Whether it goes over a network without encryption."""
    host = conn.info.host
    return not (host in _LOCAL or host.startswith(("/", "@")) or conn.pgconn.ssl_in_use)


def absent(
    conn: Connection[DictRow], *, indexes: Iterable[str], triggers: Iterable[str], functions: Iterable[str]
) -> list[str]:
    """Which of these the schema howdah does not have."""
    rows = conn.execute(_ABSENT, [list(indexes), list(triggers), list(functions)]).fetchall()
    return [row["name"] for row in rows]


_ABSENT = b"""
select name from unnest(%s::text[]) name
 where not exists (select from pg_class where relnamespace = 'howdah'::regnamespace and relname = name and relkind in ('i', 'I'))
union all
select name from unnest(%s::text[]) name
 where not exists (select from pg_trigger t join pg_class c on c.oid = t.tgrelid
                    where c.relnamespace = 'howdah'::regnamespace and tgname = name)
union all
select name from unnest(%s::text[]) name
 where not exists (select from pg_proc where pronamespace = 'howdah'::regnamespace and proname = name)
"""


def _value(conn: Connection[DictRow], query: str) -> Any:
    row = conn.execute(query.encode()).fetchone()
    return None if row is None else row["value"]
