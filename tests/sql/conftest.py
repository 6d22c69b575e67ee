from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import psycopg
import pytest
from sql.protocol import Worker, declare


@pytest.fixture
def connect(dsn: str) -> Iterator[Callable[[], psycopg.Connection]]:
    """More connections to the same database."""
    with ExitStack() as opened:
        yield lambda: opened.enter_context(psycopg.connect(dsn, autocommit=True))


@pytest.fixture
def worker(conn: psycopg.Connection) -> Worker:
    """A live worker for kind `job`, which is declared here, in all queues."""
    declare(conn, {"name": "job"})
    return Worker(conn, ["job"])
