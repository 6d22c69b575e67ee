"""The same results in a database whose settings are not the usual ones (reliability F29)."""

from __future__ import annotations

import json
from typing import Any

import psycopg
import pytest
from psycopg.sql import SQL, Identifier, Literal

import servers
from howdah.db.pool import Database
from howdah.migrate import migrate
from sql.protocol import Worker, ask, declare, put, task

# Several at a time, because each needs a database of its own.
SETTINGS: dict[str, dict[str, str]] = {
    # India's IST was read as Israel's before PostgreSQL 18, unless the date is in ISO.
    "serializable": {
        "default_transaction_isolation": "serializable",
        "TimeZone": "Asia/Kolkata",
        "DateStyle": "SQL, DMY",
        "IntervalStyle": "sql_standard",
        "search_path": "odd",
    },
    # Riga has days of 23 and 25 hours.
    "repeatable read": {
        "default_transaction_isolation": "repeatable read",
        "TimeZone": "Europe/Riga",
        "DateStyle": "German",
        "IntervalStyle": "iso_8601",
        "search_path": "howdah, odd",
    },
    "text": {
        "standard_conforming_strings": "off",
        "bytea_output": "escape",
        "extra_float_digits": "-15",
        "array_nulls": "off",
        "transform_null_equals": "on",
        "backslash_quote": "off",
        "plpgsql.variable_conflict": "use_variable",
        "plpgsql.extra_errors": "strict_multi_assignment,too_many_rows",
        "enable_indexscan": "off",
        "enable_nestloop": "off",
        "plan_cache_mode": "force_custom_plan",
        "jit": "off",
    },
}
# Names that a careless query would find first.
ODD = """
create schema odd;
create table odd.task (id int); create table odd.kind (name int); create table odd.worker (id int);
create function odd.enqueue(text) returns text language sql as $$ select 'odd' $$;
"""


@pytest.fixture
def hostile(server: servers.Server, request: pytest.FixtureRequest) -> Any:
    name = "howdah_hostile"
    server.create_database(name)
    with psycopg.connect(server.dsn(name), autocommit=True) as conn:
        conn.execute("load 'plpgsql'")
        conn.execute(ODD)
        for setting, value in SETTINGS[request.param].items():
            path = SQL(value) if setting == "search_path" else Literal(value)
            parts = SQL(".").join(map(Identifier, setting.split(".")))
            conn.execute(SQL("alter database {} set {} = {}").format(Identifier(name), parts, path))
    # Migrated under the same settings: the functions are made and the partitions cut there too.
    migrate(Database(server.dsn(name)))
    with psycopg.connect(server.dsn(name), autocommit=True) as conn:
        yield conn
    server.drop_database(name)


def tour(conn: psycopg.Connection) -> list[Any]:
    """A bit of everything; what is told does not depend on the time or the ids."""
    told: list[Any] = []

    def tell(*what: Any) -> None:
        told.append(what)

    def why(task_id: int) -> str:
        return ask(conn, "select code from howdah.why(%s)", [task_id])

    declare(conn, {"name": "job", "retry_delay": "1 min", "timeout": "1 h"}, {"name": "short", "keep": None})
    first = put(conn, payload=r'{"text": "it\u0027s \\ a \"test\"", "n": 1.5, "list": [null]}', key=r"k\'1")
    later = put(conn, delay="36 hours", queue="q")
    short = put(conn, "short", priority=3)
    dated = put(conn, run_at="2040-07-01 12:00:00.123456+00")
    ids = [
        row[0]
        for row in conn.execute("select howdah.enqueue_many('job', %s)", [json.dumps([{"i": i} for i in range(3)])])
    ]
    with conn.transaction():
        tell("key", put(conn, key=r"k\'1") == first, put(conn, key=r"k\'1", on_conflict="skip"))
    tell("why", why(first), why(later), why(ids[2]))
    worker = Worker(conn, ["job", "short"])
    worker.fall_asleep()
    tell("why", why(first), why(later), why(ids[2]))
    one = worker.claim(2)
    tell("claimed", [(c.kind, c.payload, c.key, c.attempt) for c in one], [c.id for c in one] == [short, first])
    two = worker.claim(2, fresh=False)
    tell("by cursor", [c.id for c in two] == ids[:2])
    tell("beat", worker.beat(*one, *two)["alive"], worker.beat(*one, two[0])["freed"] == [two[1].id])
    conn.execute("select howdah.report(%s, %s, %s, %s)", [worker.id, [first], [one[1].epoch], ['{"done": 1}']])
    tell("settled", worker.done(one[1], results={str(first): {"a": "b"}}) == [first], worker.done(one[1]) == [])
    tell("settled", worker.pump(gone_ids=[short], gone_epochs=[one[0].epoch])["settled"] == [short])
    tell("failed", worker.end(two[0], to="failed", error=r"it\'s broken", event="failure") == [two[0].id])
    tell("row", task(conn, first, "status", "result", "progress"), task(conn, two[0].id, "status", "error", "attempt"))
    tell("why", why(first), why(two[0].id), why(ids[2]))
    conn.execute("update howdah.task set error = null where status = 'failed'")
    tell("retry", ask(conn, "select howdah.retry(%s)", [later]), ask(conn, "select howdah.cancel(%s, 'no')", [ids[2]]))
    tell("due", sorted(ask(conn, "select array_agg(q) from howdah.waiting_queues() q")))
    conn.execute("select howdah.pause('q', 'x')")
    tell("why", why(later), why(two[0].id))
    tell("resumed", ask(conn, "select howdah.resume('q')"))
    tell("next due", worker.pump(lanes=lane(worker, "default"), room=10)["next_due"] > 1e6)
    tell("history", [row[0] for row in conn.execute("select type from howdah.history(%s)", [two[0].id])])
    at = "select (extract(epoch from run_at) * 1000000)::bigint from howdah.task where id = %s"
    tell("dated", ask(conn, at, [dated]), ask(conn, "select status from howdah.tasks where id = %s", [dated]))
    tell("stop", ask(conn, "select howdah.stop_workers()"), worker.beat()["stop"])
    tell("left", ask(conn, "select howdah.leave(%s)", [worker.id]))
    put(conn, start_before="2020-01-01", late="drop")
    tell("chores", *conn.execute("select dropped, parked, next_in from howdah.expire()"))
    tell("chores", *conn.execute("select dead, rescued, overdue from howdah.rescue()"))
    tell(
        "chores",
        ask(conn, "select howdah.make_partitions()"),
        *conn.execute("select dropped, deleted from howdah.retain()"),
    )
    # Whatever zone the bounds were cut in: they are days of UTC, one after the other, with no hole.
    conn.execute("set TimeZone = 'UTC'; set DateStyle = 'ISO'")
    bounds = conn.execute(
        "select relname, pg_get_expr(relpartbound, oid) from pg_class where relispartition and relname ~ '^archive_[0-9]+$' order by 1"
    ).fetchall()
    tell("bounds", [bound.count(" 00:00:00+00'") for _, bound in bounds])
    tell("bounds", all(name[-2:] == bound.split("'")[1][8:10] for name, bound in bounds))
    return told


def lane(worker: Worker, queue: str) -> str:
    return json.dumps([{"name": "x", "queue": queue, "kinds": worker.kinds, "share": 10, "limit": 10, "cursors": {}}])


@pytest.mark.parametrize("hostile", SETTINGS, indirect=True)
def test_odd_settings_change_nothing(conn: psycopg.Connection, hostile: psycopg.Connection) -> None:
    usual = tour(conn)
    assert usual[-1] == ("bounds", True)
    assert tour(hostile) == usual
