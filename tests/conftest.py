"""Every test that asks for `server`, or for what is built on it, runs on each PostgreSQL of this machine."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
from collections.abc import AsyncIterator, Iterator

import hypothesis
import psycopg
import pytest

import servers
from howdah import App
from howdah.db.pool import Database
from howdah.migrate import migrate

# No test may fail because the machine is slow.
hypothesis.settings.register_profile("howdah", deadline=None)
hypothesis.settings.load_profile("howdah")

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup our workers would inherit that it is ignored

_TEMPLATE = "howdah_template"
_numbers = itertools.count(1)
_running: dict[str, servers.Server] = {}
_ready: set[servers.Server] = set()


def _wanted() -> list[str]:
    """The servers of this machine; HOWDAH_TEST_SERVERS="embedded" leaves out the others."""
    chosen = os.environ.get("HOWDAH_TEST_SERVERS", "").split()
    return [name for name in servers.available() if not chosen or name.split()[0] in chosen]


@pytest.fixture(scope="session", params=_wanted())
def server(request: pytest.FixtureRequest) -> servers.Server:
    """A running PostgreSQL, for the whole run: the tests may come back to it."""
    if request.param not in _running:
        _running[request.param] = servers.available()[request.param]()
    return _running[request.param]


def pytest_sessionfinish() -> None:
    while _running:
        _running.popitem()[1].stop()


@pytest.fixture
def empty_dsn(server: servers.Server) -> Iterator[str]:
    """A database with nothing in it."""
    name = f"howdah_test_{next(_numbers)}"
    server.create_database(name)
    yield server.dsn(name)
    server.drop_database(name)


@pytest.fixture
def dsn(server: servers.Server) -> Iterator[str]:
    """A database of its own with howdah's tables. Ids start beyond 32 bits, so that no column is too small unnoticed."""
    if server not in _ready:
        server.create_database(_TEMPLATE)
        migrate(Database(server.dsn(_TEMPLATE)))
        with psycopg.connect(server.dsn(_TEMPLATE), autocommit=True) as conn:
            conn.execute("alter table howdah.task alter column id restart with 2147483700")
            conn.execute("alter table howdah.event alter column id restart with 4294967300")
        _ready.add(server)
    name = f"howdah_test_{next(_numbers)}"
    server.create_database(name, _TEMPLATE)
    yield server.dsn(name)
    server.drop_database(name)


@pytest.fixture
def database(dsn: str) -> Iterator[Database]:
    opened = Database(dsn)
    yield opened
    opened.close_sync()


@pytest.fixture
def conn(dsn: str) -> Iterator[psycopg.Connection]:
    """psycopg alone, as any other program would come."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
async def app(dsn: str) -> AsyncIterator[App]:
    async with App(dsn) as opened:
        yield opened


# What a machine does not have is left out and said, so that `make test` needs only Python and make; .ci/run installs it.
collect_ignore = [] if shutil.which("pgbouncer") and "system" in servers.available() else ["pooler"]


def pytest_report_header() -> list[str]:
    lines = [f"PostgreSQL: {', '.join(_wanted())}"]
    if collect_ignore:
        lines.append("left out: tests/pooler, which needs PgBouncer and a PostgreSQL of the system")
    return lines
