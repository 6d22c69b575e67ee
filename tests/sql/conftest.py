"""One database for all tests of the SQL API, emptied before each: making one for each would take most of the time."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import psycopg
import pytest

import servers
from howdah.db.pool import Database
from howdah.migrate import migrate
from sql.protocol import Worker, declare

_EMPTY = "; ".join(
    f"delete from howdah.{table}"
    for table in (
        "task",
        "archive",
        "event",
        "worker",
        "kind",
        "queue",
        "schedule",
        '"group"',
        "slot",
        "key",
        "message",
        "alert",
    )
)
_numbers = itertools.count(1)


def _database(server: servers.Server) -> Iterator[str]:
    name = f"howdah_sql_{next(_numbers)}"
    server.create_database(name)
    migrate(Database(server.dsn(name)))
    with psycopg.connect(server.dsn(name), autocommit=True) as conn:
        # Beyond 32 bits, so that no column or cast is too small unnoticed.
        conn.execute("alter table howdah.task alter column id restart with 2147483700")
    yield server.dsn(name)
    server.drop_database(name)


@pytest.fixture(scope="session")
def shared_dsn(server: servers.Server) -> Iterator[str]:
    yield from _database(server)


@pytest.fixture
def dsn(shared_dsn: str) -> str:
    with psycopg.connect(shared_dsn, autocommit=True) as conn:
        conn.execute(_EMPTY)
    return shared_dsn


@pytest.fixture
def own_dsn(server: servers.Server) -> Iterator[str]:
    """A database that a test may bend: its settings, its clock, its size."""
    yield from _database(server)


@pytest.fixture
def own_conn(own_dsn: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(own_dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def connect(dsn: str) -> Iterator[Callable[[], psycopg.Connection]]:
    """More connections to the shared database."""
    with ExitStack() as opened:
        yield lambda: opened.enter_context(psycopg.connect(dsn, autocommit=True))


@pytest.fixture
def worker(conn: psycopg.Connection) -> Worker:
    """A live worker for kind `job`, which is declared here, in all queues."""
    declare(conn, {"name": "job"})
    return Worker(conn, ["job"])
