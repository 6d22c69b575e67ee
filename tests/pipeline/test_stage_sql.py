"""sql: statements on real databases. What is in an event stays data, and what a statement returns becomes events."""

from __future__ import annotations

import asyncio
import socket
import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from howdah.outcomes import Fail
from howdah.pipeline.stage import InvalidField
from howdah.pipeline.stages.engines import Engines
from howdah.pipeline.stages.sql import QueryFailed, Sql
from pipeline.standing import Standing, events, stage
from waiting import until

HOSTILE = "'); DROP TABLE orders; --"


@pytest.fixture
def orders(tmp_path: Path) -> Path:
    """An SQLite file with two orders."""
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, name TEXT, paid REAL, raw BLOB)")
        connection.execute("INSERT INTO orders VALUES (1, 'Zoë', 2.5, x'00ff'), (2, 'Āris', NULL, NULL)")
    connection.close()
    return tmp_path


def sqlite(folder: Path, query: str, **config: Any) -> Any:
    return stage(Sql, folder, connection="sqlite:///shop.db", query=query, **config)


class TestRows:
    async def test_each_row_is_an_event(self, orders: Path) -> None:
        found = await events(sqlite(orders, "SELECT * FROM orders ORDER BY id"), {})

        assert found == [
            {"id": 1, "name": "Zoë", "paid": 2.5, "raw": "AP8="},
            {"id": 2, "name": "Āris", "paid": None, "raw": None},
        ]

    async def test_no_row_is_no_event(self, orders: Path) -> None:
        assert await events(sqlite(orders, "SELECT * FROM orders WHERE id = :id"), {"id": 3}) == []

    async def test_a_statement_without_rows_passes_the_event_on(self, orders: Path) -> None:
        insert = sqlite(orders, "INSERT INTO orders (id, name) VALUES (:id, :name)")

        assert await events(insert, {"id": 3, "name": "Ēriks"}) == [{"id": 3, "name": "Ēriks"}]
        assert await events(sqlite(orders, "SELECT name FROM orders WHERE id = 3"), {}) == [{"name": "Ēriks"}]

    async def test_rows_may_be_merged_into_the_event_or_left(self, orders: Path) -> None:
        query = "SELECT name FROM orders WHERE id = :id"

        assert await events(sqlite(orders, query, emit="merge"), {"id": 1, "name": "?"}) == [{"id": 1, "name": "Zoë"}]
        assert await events(sqlite(orders, query, emit="event"), {"id": 9}) == [{"id": 9}]

    async def test_too_many_rows_park_the_event_and_undo_the_statement(self, dsn: str, tmp_path: Path) -> None:
        with psycopg.connect(dsn, autocommit=True) as conn:
            conn.execute("CREATE TABLE numbers (n int)")
        insert = "INSERT INTO numbers SELECT generate_series(1, :n) RETURNING n"
        generate = stage(Sql, tmp_path, connection=dsn, query=insert)

        with pytest.raises(Fail, match="more than 10,000 rows; add LIMIT"):
            await events(generate, {"n": 10_001})
        assert len(await events(generate, {"n": 10_000})) == 10_000
        with psycopg.connect(dsn) as conn:
            assert conn.execute("SELECT count(*) FROM numbers").fetchone() == (10_000,)

    async def test_a_big_table_is_not_fetched_to_say_that_it_is_big(self, dsn: str, tmp_path: Path) -> None:
        # Reading on would divide by zero.
        query = "SELECT 1 / (20000 - n) AS x FROM (SELECT generate_series(1, 100000000) AS n) AS s"

        with pytest.raises(Fail, match="add LIMIT"):
            await events(stage(Sql, tmp_path, connection=dsn, query=query), {})

    async def test_two_columns_of_one_name_are_refused(self, orders: Path) -> None:
        with pytest.raises(Fail, match="returns id twice; name one of them with AS"):
            await events(sqlite(orders, "SELECT a.id, b.id FROM orders a, orders b"), {})

    async def test_values_become_json(self, dsn: str, tmp_path: Path) -> None:
        query = """
            SELECT timestamptz '2027-03-28 12:00+00' AS "when", date '2027-03-28' AS day, interval '1h' AS span,
                   12.50::numeric AS price, sum(2) AS whole, 'NaN'::float8 AS nan, 0.1::float8 AS f, true AS b,
                   '0e37df36-f698-11e6-8dd4-cb9ced3df976'::uuid AS u, '\\x00ff'::bytea AS raw,
                   '{"a": [1, null]}'::jsonb AS j, array[1, 2] AS list, '10.0.0.1'::inet AS ip, int4range(1, 5) AS r
        """
        (row,) = await events(stage(Sql, tmp_path, connection=dsn, query=query), {})

        assert row.pop("when").startswith("2027-03-28T")
        assert row == {
            "day": "2027-03-28", "span": 3600.0, "price": "12.50", "whole": 2, "nan": "NaN", "f": 0.1, "b": True,
            "u": "0e37df36-f698-11e6-8dd4-cb9ced3df976", "raw": "AP8=", "j": {"a": [1, None]}, "list": [1, 2],
            "ip": "10.0.0.1", "r": "[1, 5)",
        }  # fmt: skip


class TestParameters:
    async def test_an_event_stays_data(self, orders: Path) -> None:
        insert = sqlite(orders, "INSERT INTO orders (id, name) VALUES (:id, :name)")

        await events(insert, {"id": 3, "name": HOSTILE})

        assert await events(sqlite(orders, "SELECT name FROM orders WHERE id = 3"), {}) == [{"name": HOSTILE}]

    async def test_an_event_stays_data_on_postgresql(self, dsn: str, tmp_path: Path) -> None:
        query = "SELECT :text::text AS text, :id::bigint AS id, '100%' AS percent WHERE 'foo-1' LIKE 'foo-%'"

        found = await events(stage(Sql, tmp_path, connection=dsn, query=query), {"text": HOSTILE, "id": "7"})

        assert found == [{"text": HOSTILE, "id": 7, "percent": "100%"}]

    async def test_what_is_built_in_gives_way_to_the_event(self, orders: Path) -> None:
        ask = sqlite(orders, "SELECT :hostname AS h, :pipeline AS p, :stage AS s, :task_id AS t, :attempt AS a")
        built_in = {"h": socket.gethostname(), "p": "orders", "s": "ship", "t": 2_147_483_700, "a": 2}

        assert await events(ask, {}, Standing(attempt=2)) == [built_in]
        assert await events(ask, {"stage": "mine"}, Standing(attempt=2)) == [built_in | {"s": "mine"}]

    async def test_a_missing_one_parks_the_event(self, orders: Path) -> None:
        with pytest.raises(Fail, match=r"no value for :nmae; the event has id, name"):
            await events(sqlite(orders, "SELECT :nmae"), {"name": "Zoë", "id": 1})

    async def test_lists_and_mappings_are_bound_as_json(self, dsn: str, tmp_path: Path) -> None:
        query = "SELECT :order::jsonb -> 'lines' AS lines, jsonb_array_length(CAST(:tags AS jsonb)) AS n"

        found = await events(
            stage(Sql, tmp_path, connection=dsn, query=query), {"order": {"lines": ["ā"]}, "tags": [1]}
        )

        assert found == [{"lines": ["ā"], "n": 1}]

    @pytest.mark.parametrize(
        ("select", "value"),
        [
            ("':name and :x'", ":name and :x"),
            ("'it''s :name'", "it's :name"),
            (r"E'it\'s :name'", "it's :name"),
            ("$$ :name $$", " :name "),
            ("$q$ $$ :name $q$", " $$ :name "),
            ("1 -- :name ; select 2", 1),
            ("/* :name; */ 1", 1),
            ("(array[1, 2, 3])[2:3]", [2, 3]),
            ("'a\\:b'", "a:b"),
            (":n::int + 1", 4),
            ("CAST(:n AS int)", 3),
            ("'12:30'::time", "12:30:00"),
        ],
    )
    async def test_only_what_is_not_quoted_is_a_parameter(
        self, dsn: str, tmp_path: Path, select: str, value: Any
    ) -> None:
        ask = stage(Sql, tmp_path, connection=dsn, query=f"SELECT {select}\n AS answer")

        assert await events(ask, {"n": 3}) == [{"answer": value}]


class TestConnections:
    @pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg", "conninfo"])
    async def test_every_way_to_write_an_address_of_postgresql(self, dsn: str, tmp_path: Path, scheme: str) -> None:
        written = make_conninfo(dsn) if scheme == "conninfo" else dsn.replace("postgresql", scheme, 1)
        ask = stage(Sql, tmp_path, connection=written, query="SELECT current_database() AS name")

        assert await events(ask, {}) == [{"name": conninfo_to_dict(dsn)["dbname"]}]

    async def test_stages_of_one_address_share_a_small_pool(self, dsn: str, tmp_path: Path) -> None:
        one = stage(Sql, tmp_path, connection=dsn, query="SELECT pg_backend_pid() AS pid, pg_sleep(0.01)::text")
        other = stage(Sql, tmp_path, connection=dsn, query="SELECT pg_backend_pid() AS pid")

        found = await asyncio.gather(*(events(each, {}) for each in [one, other] * 10))

        assert len({row["pid"] for rows in found for row in rows}) <= 5
        with psycopg.connect(dsn, autocommit=True) as conn:
            await one.close()
            assert _connections(conn) > 0
            await other.close()
            await until(lambda: _connections(conn) == 0, "the pool to close")

    async def test_a_connection_the_server_dropped_is_replaced(self, dsn: str, tmp_path: Path) -> None:
        ask = stage(Sql, tmp_path, connection=dsn, query="SELECT pg_backend_pid() AS pid")
        (before,) = await events(ask, {})

        with psycopg.connect(dsn, autocommit=True) as conn:
            conn.execute("SELECT pg_terminate_backend(%s)", [before["pid"]])
            await until(lambda: _connections(conn) == 0, "the connection to end")

        (after,) = await events(ask, {})
        assert after != before
        await ask.close()

    @pytest.mark.parametrize(
        ("connection", "fault"),
        [
            ("nonsense", "cannot be read"),
            ("oracle9://h/d", "does not know"),
            ("postgresql+asyncpg://h/d", "async driver"),
            ("postgresql+psycopg2://h/d", "pip install psycopg2-binary"),
            ("mysql+pymysql://u:sesame@h/d", "pip install pymysql"),
            ("mysql://u:sesame@h/d", "pip install mysqlclient"),
            ("postgresql://u:sesame@h/d?nope=1", "query parameter"),
            ("host=h passwort=sesame", "connection cannot be read"),
        ],
    )
    def test_an_address_that_cannot_be_meant_is_refused(self, tmp_path: Path, connection: str, fault: str) -> None:
        with pytest.raises(InvalidField, match=fault) as refused:
            stage(Sql, tmp_path, connection=connection, query="SELECT 1")

        assert refused.value.field == ("connection",)
        assert "sesame" not in str(refused.value)

    @pytest.mark.parametrize(
        "query", ["SELECT 1; SELECT 2", "SELECT ';'; DELETE FROM orders", "BEGIN; SELECT 1; COMMIT;"]
    )
    def test_several_statements_are_refused(self, tmp_path: Path, query: str) -> None:
        with pytest.raises(InvalidField, match="more than one statement"):
            sqlite(tmp_path, query)

    @pytest.mark.parametrize("query", ["SELECT 1;\n", "SELECT ';' -- ; and so on", "SELECT $$;$$ || 'a'';b'"])
    def test_a_semicolon_alone_makes_no_second_one(self, tmp_path: Path, query: str) -> None:
        sqlite(tmp_path, query)

    def test_the_check_connects_to_nothing(self, tmp_path: Path) -> None:
        stage(Sql, tmp_path, connection="postgresql://u:p@192.0.2.1/d", query="SELECT 1")
        sqlite(tmp_path, "SELECT 1")

        assert list(tmp_path.iterdir()) == []
        assert not [key for key in Engines._all if "192.0.2.1" in key]


class TestFailures:
    async def test_an_error_is_one_line_with_its_code(self, dsn: str, tmp_path: Path) -> None:
        with psycopg.connect(dsn, autocommit=True) as conn:
            conn.execute("CREATE TABLE orders (id int PRIMARY KEY)")
        insert = stage(Sql, tmp_path, connection=dsn, query="INSERT INTO orders VALUES (:id)")
        await events(insert, {"id": 1})

        with pytest.raises(QueryFailed) as failed:
            await events(insert, {"id": 1})

        assert failed.value.sqlstate == "23505"
        assert "23505 UniqueViolation: duplicate key value" in str(failed.value)
        assert "DETAIL: Key (id)=(1) already exists." in " ".join(str(failed.value).split())
        assert "\n" not in str(failed.value)

    @pytest.mark.parametrize(
        ("query", "code"),
        [("SELEC 1", "42601"), ("SELECT nope", "42703"), ("SELECT 'x'::int", "22P02"), ("SELECT 1/0", "22012")],
    )
    async def test_every_kind_of_error_has_its_code(self, dsn: str, tmp_path: Path, query: str, code: str) -> None:
        with pytest.raises(QueryFailed) as failed:
            await events(stage(Sql, tmp_path, connection=dsn, query=query), {})

        assert failed.value.sqlstate == code

    async def test_sqlite_says_which_error_too(self, orders: Path) -> None:
        with pytest.raises(QueryFailed, match="SQLITE_CONSTRAINT"):
            await events(sqlite(orders, "INSERT INTO orders (id) VALUES (1)"), {})

    async def test_no_password_is_ever_told(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        address = f"postgresql://zoe:{quote('open sesame')}@127.0.0.1:{port}/shop"

        with pytest.raises(QueryFailed) as failed:
            await events(stage(Sql, tmp_path, connection=address, query="SELECT 1"), {})

        assert "sesame" not in str(failed.value)
        assert failed.value.__cause__ is None
        assert "127.0.0.1/shop" in str(failed.value)


class TestCancelling:
    async def test_a_statement_is_called_off_on_the_server(self, dsn: str, tmp_path: Path) -> None:
        sleep = stage(Sql, tmp_path, connection=dsn, query="SELECT pg_sleep(600)::text AS slept")
        with psycopg.connect(dsn, autocommit=True) as conn:
            running = asyncio.ensure_future(events(sleep, {}))
            await until(lambda: _connections(conn, "active"), "the statement to run")

            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running

            await until(lambda: not _connections(conn, "active"), "the statement to end")
        await until(lambda: sleep._engines.threads.stuck == 0, "its thread to end")
        await sleep.close()

    async def test_a_timed_out_statement_leaves_the_pool_usable(self, dsn: str, tmp_path: Path) -> None:
        sleep = stage(Sql, tmp_path, connection=dsn, query="SELECT pg_sleep(:n)::text AS slept")

        for _ in range(7):  # more than the pool has
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await events(sleep, {"n": 600})

        assert await events(sleep, {"n": 0}) == [{"slept": ""}]
        await sleep.close()

    async def test_sqlite_is_interrupted(self, orders: Path) -> None:
        forever = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) AS n FROM n"
        count = sqlite(orders, forever)

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await events(count, {})

        await until(lambda: count._engines.threads.stuck == 0, "its thread to end")
        await count.close()


def _connections(conn: psycopg.Connection, state: str = "%") -> int:
    row = conn.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'howdah' AND state LIKE %s"
        " AND datname = current_database()",
        [state],
    ).fetchone()
    assert row is not None
    return row[0]
