"""The tests of the client share one database per server, emptied before each of them: they are many and small."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import psycopg
import pytest

import servers
from howdah.db.pool import Database
from howdah.migrate import migrate

# DELETE, because TRUNCATE makes new files for every partition and index.
_EMPTY = """
do $$
declare
  relation regclass;
begin
  perform pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid();
  set local session_replication_role = replica;
  for relation in select oid from pg_class where relnamespace = 'howdah'::regnamespace and relkind in ('r', 'p')
                     and not relispartition and relname not in ('migration', 'installed') loop
    execute format('delete from %s', relation);
  end loop;
  drop schema public cascade;
  create schema public;
end $$
"""
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def shared_dsn(server: servers.Server) -> Iterator[str]:
    name = f"howdah_client_{next(_numbers)}"
    server.create_database(name)
    migrate(Database(server.dsn(name)))
    with psycopg.connect(server.dsn(name), autocommit=True) as conn:
        conn.execute("alter table howdah.task alter column id restart with 2147483700")
    yield server.dsn(name)
    server.drop_database(name)


@pytest.fixture
def dsn(shared_dsn: str) -> str:
    """As everywhere, but the database was used before."""
    with psycopg.connect(shared_dsn, autocommit=True) as conn:
        conn.execute(_EMPTY)
    return shared_dsn
