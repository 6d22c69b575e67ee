"""A database or a user may have any defaults: the engine works the same."""

from __future__ import annotations

import psycopg
import pytest

from howdah import App
from howdah.calls import kinds


@pytest.mark.parametrize(
    "setting",
    [
        "default_transaction_isolation = 'serializable'",
        "default_transaction_isolation = 'repeatable read'",
        "default_transaction_read_only = on",
        "DateStyle = 'SQL, DMY'",
        "IntervalStyle = 'sql_standard'",
        "TimeZone = 'Asia/Kolkata'",
        "search_path = pg_catalog",
        "bytea_output = 'escape'",
    ],
)
async def test_the_defaults_of_a_database_do_not_matter(dsn: str, conn: psycopg.Connection, setting: str) -> None:
    name = conn.info.dbname
    conn.execute(f'alter database "{name}" set {setting}'.encode())
    async with App(dsn) as app:

        @app.task(timeout="1h")
        async def work(n: int) -> int:
            return n

        async with app.worker(), app.worker():
            tasks = await work.enqueue_many([(n,) for n in range(200)])
            assert [await task.result("30s") for task in tasks] == list(range(200))
        info = await tasks[0].info()
        assert info.finished_at is not None
        assert info.finished_at > info.created_at
        assert info.epoch == 1
        assert [kind["timeout"].total_seconds() for kind in await app.run(kinds())] == [3600]
