"""The first words on a connection of our own: who answers, and on what terms we talk."""

from __future__ import annotations

from typing import Any

from psycopg import AsyncConnection, Connection

from howdah.errors import CannotConnect

# What a database or a user may have set otherwise, and the engine relies on: locks that see the newest row, and times
# and intervals that psycopg can read. A session of our own is ours to set; one behind a pooler is everybody's.
_GREETING = b"""
select pg_backend_pid() = %(pid)s as direct, current_setting('transaction_isolation') as isolation,
       case when pg_backend_pid() = %(pid)s then
         row(set_config('default_transaction_isolation', 'read committed', false),
             set_config('default_transaction_read_only', 'off', false),
             set_config('DateStyle', 'ISO', false), set_config('IntervalStyle', 'postgres', false))::text
       end
"""


async def greet(conn: AsyncConnection[Any]) -> bool:
    """Whether the server answers itself. If not, a pooler (PgBouncer, Supavisor, …) does.

    A pooler greets with a process id of its own; the server behind it says another. Behind one, prepared statements
    and LISTEN may belong to somebody else's session, so nothing is prepared. Raises CannotConnect if the terms are
    wrong and cannot be set.
    """
    row = await (await conn.execute(_GREETING, {"pid": conn.info.backend_pid})).fetchone()
    return _heard(conn, row)


def greet_sync(conn: Connection[Any]) -> bool:
    """As `greet`, blocking."""
    return _heard(conn, conn.execute(_GREETING, {"pid": conn.info.backend_pid}).fetchone())


def _heard(conn: AsyncConnection[Any] | Connection[Any], row: Any) -> bool:
    if row["direct"]:
        return True
    conn.prepare_threshold = None
    if row["isolation"] != "read committed":
        raise CannotConnect(
            f"transactions of this database are {row['isolation']} by default, and a pooler is between us and the server",
            hint=f"ALTER ROLE {conn.info.user} SET default_transaction_isolation = 'read committed'",
        )
    return False
