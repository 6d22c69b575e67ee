from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import psycopg
import pytest

from howdah.db.pool import Database


@pytest.fixture
def empty(empty_dsn: str) -> Database:
    """A database with nothing in it."""
    return Database(empty_dsn)


@pytest.fixture
def connect(empty_dsn: str) -> Iterator[Callable[[], psycopg.Connection]]:
    """Connections to it."""
    with ExitStack() as opened:
        yield lambda: opened.enter_context(psycopg.connect(empty_dsn, autocommit=True))


@pytest.fixture
def conn(connect: Callable[[], psycopg.Connection]) -> psycopg.Connection:
    return connect()
