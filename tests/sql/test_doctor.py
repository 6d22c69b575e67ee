"""howdah.doctor: each condition is made, found, and mended by the command that comes with it."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

import servers
from howdah.db.pool import Database
from howdah.migrate import migrate
from sql.protocol import Worker, ask, declare, put
from waiting import until_sync

_MAY_LOOK = "grant usage on schema howdah to {0}; grant select on all tables in schema howdah to {0}"


class Row(NamedTuple):
    check: str
    status: str
    found: str
    fix: str | None


def examined(conn: psycopg.Connection, patience: str = "5 minutes") -> list[Row]:
    return [Row(*row) for row in conn.execute("select * from howdah.doctor(%s)", [patience])]


def told(conn: psycopg.Connection, check: str, patience: str = "5 minutes") -> list[Row]:
    """What is not well."""
    return [row for row in examined(conn, patience) if row.check == check and row.status != "ok"]


def mended(conn: psycopg.Connection, check: str, patience: str = "5 minutes") -> Row:
    """The one thing that is not well; its fix is carried out, and all is well."""
    (row,) = told(conn, check, patience)
    assert row.fix is not None
    statement = re.search(
        r"(SELECT|DELETE|ALTER|REINDEX|VACUUM|ROLLBACK) [^;]*;", row.fix.replace("COMMIT PREPARED", "")
    )
    assert statement is not None, row.fix
    conn.execute(statement[0].encode())
    # Not at once: a session that is terminated is there for a moment.
    until_sync(lambda: told(conn, check, patience) == [], f"{check} to be mended")
    return row


@pytest.fixture
def dsn(own_dsn: str) -> str:
    """A database that a test may break."""
    return own_dsn


@pytest.fixture
def again(conn: psycopg.Connection, dsn: str) -> Iterator[Any]:
    """A fresh connection, which has what was set for the database."""
    opened: list[psycopg.Connection] = []

    def connect(**options: Any) -> psycopg.Connection:
        opened.append(psycopg.connect(dsn, autocommit=True, **options))
        return opened[-1]

    yield connect
    for each in opened:
        each.close()


@pytest.fixture
def user(conn: psycopg.Connection) -> Iterator[str]:
    name = f"somebody_{secrets.token_hex(4)}"
    conn.execute(SQL("create role {} login").format(Identifier(name)))
    yield name
    conn.execute(SQL("reset role; drop owned by {0}; drop role {0}").format(Identifier(name)))


def test_a_healthy_database(conn: psycopg.Connection) -> None:
    rows = examined(conn)
    assert [row for row in rows if row.status != "ok" and row.check != "durability"] == [], "tests run without fsync"
    assert {row.fix for row in rows if row.status == "ok"} == {None}
    assert len({row.check for row in rows}) > 10


def test_it_changes_nothing_and_can_be_asked_in_a_transaction_that_only_reads(conn: psycopg.Connection) -> None:
    with conn.transaction():
        conn.execute("set transaction read only")
        assert examined(conn)


@pytest.mark.parametrize("patience", ["-1 s", None])
def test_a_patience_that_cannot_be_meant(conn: psycopg.Connection, patience: str | None) -> None:
    with pytest.raises(psycopg.Error, match="patience must be a length of time") as caught:
        conn.execute("select howdah.doctor(%s)", [patience])
    assert caught.value.sqlstate == "HW002"


# ── settings ──


@pytest.mark.parametrize(
    ("setting", "value", "check", "status", "said"),
    [
        ("statement_timeout", "1s", "timeouts", "warn", "statement_timeout is 00:00:01"),
        (
            "idle_in_transaction_session_timeout",
            "2s",
            "timeouts",
            "warn",
            "idle_in_transaction_session_timeout is 00:00:02",
        ),
        ("idle_session_timeout", "1min", "timeouts", "warn", "idle_session_timeout is 00:01:00"),
        ("lock_timeout", "100ms", "timeouts", "warn", "lock_timeout is 00:00:00.1"),
        (
            "default_transaction_isolation",
            "serializable",
            "sessions",
            "warn",
            "default_transaction_isolation is serializable",
        ),
        ("default_transaction_read_only", "on", "sessions", "warn", "default_transaction_read_only is on"),
        ("session_replication_role", "replica", "sessions", "fail", "triggers do not fire"),
        ("synchronous_commit", "off", "durability", "warn", "synchronous_commit is off"),
    ],
)
def test_a_setting_of_the_database_that_hurts(
    conn: psycopg.Connection, again: Any, setting: str, value: str, check: str, status: str, said: str
) -> None:
    database = Identifier(conn.info.dbname)
    conn.execute(SQL("alter database {} set {} = {}").format(database, Identifier(setting), value))
    fresh = again()
    (row,) = [row for row in told(fresh, check) if setting in row.found]
    assert (row.status, said in row.found) == (status, True)
    assert row.fix is not None
    assert f"ALTER DATABASE {conn.info.dbname}" in row.fix
    # What a session has set for itself neither hides nor makes it.
    fresh.execute(SQL("set {} = default").format(Identifier(setting)))
    conn.execute(SQL("set {} = {}").format(Identifier(setting), value))
    assert [row for row in told(conn, check) if setting in row.found] == []


def test_long_timeouts_hurt_nobody(conn: psycopg.Connection, again: Any) -> None:
    conn.execute(SQL("alter database {} set statement_timeout = '1h'").format(Identifier(conn.info.dbname)))
    assert told(again(), "timeouts") == []


def test_fsync_off_is_a_failure(conn: psycopg.Connection) -> None:
    (row,) = told(conn, "durability")
    assert (row.status, row.fix) == ("fail", "ALTER SYSTEM SET fsync = on; SELECT pg_reload_conf();")


def test_a_table_that_is_never_vacuumed(conn: psycopg.Connection) -> None:
    conn.execute("alter table howdah.task set (autovacuum_enabled = off)")
    assert "howdah.task" in mended(conn, "autovacuum").found


# ── the schema ──


def test_a_disabled_trigger(conn: psycopg.Connection) -> None:
    conn.execute("alter table howdah.task disable trigger task_wake")
    row = mended(conn, "triggers")
    assert (row.status, "task_wake of howdah.task is disabled" in row.found) == ("fail", True)


def test_an_index_that_was_never_finished(conn: psycopg.Connection) -> None:
    conn.execute("update pg_index set indisvalid = false where indexrelid = 'howdah.task_claim'::regclass")
    assert mended(conn, "indexes").fix == "REINDEX INDEX CONCURRENTLY howdah.task_claim;"


@pytest.mark.parametrize("path", ["howdah", "public", "pg_catalog"])
def test_a_fix_works_whatever_the_search_path_is(conn: psycopg.Connection, path: str) -> None:
    conn.execute(SQL("set search_path = {}").format(Identifier(path)))
    conn.execute("alter table howdah.task disable trigger task_wake")
    conn.execute("update pg_index set indisvalid = false where indexrelid = 'howdah.task_claim'::regclass")
    found = {row.check: row.fix for row in examined(conn) if row.check in ("triggers", "indexes")}
    assert found == {
        "triggers": "ALTER TABLE howdah.task ENABLE TRIGGER task_wake;",
        "indexes": "REINDEX INDEX CONCURRENTLY howdah.task_claim;",
    }


def test_a_day_that_is_missing(conn: psycopg.Connection) -> None:
    tomorrow = f"archive_{datetime.now(UTC) + timedelta(days=1):%Y%m%d}"
    conn.execute(f"drop table howdah.{tomorrow}".encode())
    assert tomorrow in mended(conn, "partitions").found


@pytest.mark.parametrize(
    "insert",
    [
        "insert into howdah.event (at, task_id, type, kind) values ('2020-01-01', 1, 'retry', 'job')",
        "insert into howdah.archive (id, kind, queue, status, priority, run_at, payload, attempt, lost, epoch, created_at, finished_at)"
        " values (1, 'job', 'default', 'succeeded', 0, now(), '{}', 1, 0, 1, now(), '2020-01-01')",
    ],
)
def test_rows_that_no_day_takes(conn: psycopg.Connection, insert: str) -> None:
    conn.execute(insert.encode())
    assert "1 rows of" in mended(conn, "partitions").found


def test_a_day_that_retention_did_not_drop(conn: psycopg.Connection) -> None:
    conn.execute(
        "create table howdah.event_20200101 partition of howdah.event"
        " for values from ('2020-01-01 00:00:00+00') to ('2020-01-02 00:00:00+00')"
    )
    assert "event_20200101" in mended(conn, "partitions").found


# ── rights ──


def test_a_user_who_owns_nothing(conn: psycopg.Connection, user: str) -> None:
    conn.execute(SQL(_MAY_LOOK).format(Identifier(user)))
    conn.execute(SQL("set role {}").format(Identifier(user)))
    (row,) = told(conn, "rights")
    assert (row.status, f"{user} does not own the tables" in row.found) == ("fail", True)
    assert "may not write to" in row.found
    conn.execute("reset role")
    conn.execute(SQL("grant insert, update, delete on all tables in schema howdah to {}").format(Identifier(user)))
    conn.execute(SQL("set role {}").format(Identifier(user)))
    (row,) = told(conn, "rights")
    assert (row.status, row.fix is not None and f"GRANT howdah_client TO {user}" in row.fix) == ("warn", True)


@pytest.fixture
def with_roles(dsn: str) -> None:
    migrate(Database(dsn), roles=True)


@pytest.mark.usefixtures("with_roles")
def test_a_user_with_a_role_may_what_the_role_may(conn: psycopg.Connection, user: str) -> None:
    conn.execute(SQL("grant howdah_client to {0}; set role {0}").format(Identifier(user)))
    rights = [row for row in examined(conn) if row.check in ("rights", "roles")]
    assert [(row.status, row.found) for row in rights] == [
        ("ok", f"{user} may enqueue and look"),
        ("ok", f"{user} may not run tasks"),
        ("ok", f"{user} may not repair"),
        ("ok", "Every user has what its roles give, and no more"),
    ]
    assert rights[1].fix == f"If it should: GRANT howdah_worker TO {user};"


@pytest.mark.usefixtures("with_roles")
def test_a_right_that_was_taken_from_a_role_and_one_that_everybody_got(
    conn: psycopg.Connection, user: str, dsn: str
) -> None:
    conn.execute(SQL("grant howdah_worker to {}").format(Identifier(user)))
    conn.execute("revoke execute on function howdah.rescue from howdah_worker")
    conn.execute("grant execute on function howdah.lose to public")
    conn.execute("alter function howdah.enqueue reset search_path")
    conn.execute(SQL("set role {}").format(Identifier(user)))
    (rights,) = told(conn, "rights")
    assert (rights.status, "may not run tasks: it lacks howdah.rescue" in rights.found) == ("fail", True)
    everybody, searched = told(conn, "roles")
    assert "howdah.lose" in everybody.found
    assert (searched.status, "howdah.enqueue" in searched.found) == ("fail", True)
    conn.execute("reset role")
    assert {rights.fix and rights.fix.split(": ")[-1], everybody.fix, searched.fix} == {"howdah migrate --roles"}
    migrate(Database(dsn), roles=True)
    conn.execute(SQL("set role {}").format(Identifier(user)))
    assert told(conn, "rights") + told(conn, "roles") == []


# ── what keeps dead rows ──


def test_a_transaction_that_stays_open(conn: psycopg.Connection, again: Any) -> None:
    other = again(application_name="report")
    other.execute("begin isolation level repeatable read; select count(*) from howdah.task")
    assert told(conn, "transactions") == [], "not for longer than the patience"
    row = mended(conn, "transactions", "0")
    assert f"pid {other.info.backend_pid}, report" in row.found


def test_those_of_others_are_hidden_from_most_and_it_says_so(conn: psycopg.Connection, again: Any, user: str) -> None:
    other = again()
    other.execute("begin isolation level repeatable read; select 1")
    conn.execute(
        SQL(
            "grant usage on schema howdah to {0}; grant select on all tables in schema howdah to {0}; set role {0}"
        ).format(Identifier(user))
    )
    (row,) = [row for row in examined(conn, "0") if row.check == "transactions"]
    assert (row.status, f"GRANT pg_read_all_stats TO {user}" in row.found) == ("ok", True)


def test_a_replication_slot_that_nobody_reads(conn: psycopg.Connection) -> None:
    name = f"gone_{secrets.token_hex(4)}"
    conn.execute("select pg_create_physical_replication_slot(%s, true)", [name])
    try:
        assert name in mended(conn, "replication").found
    except BaseException:
        conn.execute(
            "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = %s", [name]
        )
        raise


def test_a_prepared_transaction(server: servers.Server, dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        before = ask(conn, "show max_prepared_transactions")
        conn.execute("alter system set max_prepared_transactions = 5")
    server.restart()
    with psycopg.connect(dsn, autocommit=True) as conn:
        try:
            conn.execute("begin")
            conn.execute("insert into howdah.queue (name) values ('prepared')")
            conn.execute("prepare transaction 'left behind'")
            assert "'left behind'" in mended(conn, "prepared", "0").found
        finally:
            conn.execute(SQL("alter system set max_prepared_transactions = {}").format(int(before)))
    server.restart()


def test_dead_rows_that_stay(conn: psycopg.Connection, again: Any) -> None:
    holder, writer = again(), again()
    holder.execute("begin isolation level repeatable read; select 1")
    writer.execute(
        "insert into howdah.task (kind, queue, priority, run_at)"
        " select 'job', 'q', 0, now() from generate_series(1, 12000)"
    )
    writer.execute("delete from howdah.task")
    writer.close()  # its statistics are told at the latest now
    until_sync(lambda: told(conn, "bloat") != [], "the statistics to know")
    (row,) = told(conn, "bloat")
    assert (row.status, "howdah.task has 12000 dead rows" in row.found) == ("warn", True)
    holder.execute("rollback")
    conn.execute("vacuum analyze howdah.task")
    until_sync(lambda: told(conn, "bloat") == [], "the statistics to know")


# ── workers and orphans ──


def test_nobody_is_there_to_run_what_is_due(conn: psycopg.Connection) -> None:
    declare(conn, {"name": "job"})
    put(conn, delay="1 hour")
    assert told(conn, "workers") == []
    put(conn)
    (row,) = told(conn, "workers")
    assert "1 tasks are due" in row.found


def test_workers_of_two_versions(conn: psycopg.Connection) -> None:
    version = ask(conn, "select version from howdah.installed")
    for each in (version, "0.0.1"):
        conn.execute("select howdah.register(gen_random_uuid(), '30 s', 'host', 7, %s, null, '{job}', 10)", [each])
    (row,) = told(conn, "workers")
    assert f"0.0.1 and {version}" in row.found
    conn.execute("delete from howdah.worker where version <> '0.0.1'")
    (row,) = told(conn, "workers")
    assert row.fix == f"Upgrade the workers to {version}"


def test_a_kind_and_a_queue_that_no_live_worker_has(conn: psycopg.Connection) -> None:
    declare(conn, {"name": "job"}, {"name": "other"})
    Worker(conn, ["job"], queues=["default"])
    put(conn)
    assert told(conn, "kinds") + told(conn, "queues") == []
    put(conn, "other")
    put(conn, queue="far")
    assert [row.found for row in told(conn, "kinds")] == ["1 tasks of kind other wait, and no live worker knows it"]
    (far,) = told(conn, "queues")
    assert far.found == "1 tasks of queue far are due, and no live worker serves it"
    conn.execute((far.fix or "").split("move them: ")[1].encode())
    assert told(conn, "queues") == []


def test_a_kind_that_nobody_ever_declared(conn: psycopg.Connection) -> None:
    conn.execute("insert into howdah.task (kind, queue, priority, run_at) values ('wlecome', 'q', 0, now())")
    (row,) = told(conn, "orphans")
    assert "1 tasks are of kind wlecome" in row.found


def test_tasks_on_a_worker_that_is_not_there(conn: psycopg.Connection) -> None:
    declare(conn, {"name": "job"})
    task = put(conn)
    worker = Worker(conn, ["job"])
    worker.claim(1)
    assert told(conn, "orphans", "0") == []
    conn.execute("delete from howdah.worker")
    row = mended(conn, "orphans")
    assert (row.status, f"task {task} among them" in row.found) == ("fail", True)
    assert ask(conn, "select status from howdah.task") == "queued"


def test_tasks_that_nobody_took_back(conn: psycopg.Connection) -> None:
    declare(conn, {"name": "job"})
    put(conn)
    Worker(conn, ["job"]).claim(1)
    conn.execute("update howdah.worker set ttl = '1 ms', lease_until = now() - interval '1 minute'")
    assert told(conn, "orphans") == [], "not for longer than the patience"
    assert "nobody has taken them back" in mended(conn, "orphans", "10 s").found


def test_a_place_in_a_group_without_a_running_task(conn: psycopg.Connection) -> None:
    conn.execute("insert into howdah.slot (group_name, task_id) values ('SES', 1)")
    row = mended(conn, "orphans")
    assert (row.status, "in group SES" in row.found) == ("fail", True)


def test_messages_and_keys_of_nobody(conn: psycopg.Connection) -> None:
    conn.execute("insert into howdah.message (task_id, body) values (1, '{}')")
    assert "messages are for tasks that are not there" in mended(conn, "orphans").found
    conn.execute("insert into howdah.key (key, kind, task_id, until) values ('a', 'job', 1, now() - interval '2 days')")
    assert "keys are kept" in mended(conn, "orphans").found
