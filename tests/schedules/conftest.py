"""A database of its own for each test: its clock is the test's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import psycopg
import pytest

from schedules.clock import Clock


@pytest.fixture
def clock(conn: psycopg.Connection) -> Clock:
    """The clock of the database, which stands still from here on."""
    return Clock(conn)


@pytest.fixture
def connect(dsn: str) -> Iterator[Callable[[], psycopg.Connection]]:
    """More connections to it."""
    with ExitStack() as opened:
        yield lambda: opened.enter_context(psycopg.connect(dsn, autocommit=True))
