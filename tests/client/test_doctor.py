"""app.doctor: what the program sees of its database from outside. What the server sees is in tests/sql/test_doctor.py."""

from __future__ import annotations

import psycopg
import pytest

from howdah import App, Client
from howdah.db import probing
from howdah.db.pool import Database
from howdah.db.probing import Sample
from howdah.doctor import Finding, made_indexes, worst
from howdah.errors import InvalidOption
from howdah.migrate import migrate, migrations


@pytest.fixture
def dsn(empty_dsn: str) -> str:
    """A database that a test may break."""
    migrate(Database(empty_dsn))
    return empty_dsn


def told(findings: list[Finding]) -> dict[str, Finding]:
    """What is not well; the servers of tests run without fsync."""
    return {each.check: each for each in findings if each.status != "ok" and each.check != "durability"}


async def test_a_healthy_database(app: App) -> None:
    findings = await app.doctor()
    assert told(findings) == {}
    checks = [each.check for each in findings]
    assert checks[:5] == ["connection", "notify", "clock", "schema", "installed"]
    assert {"rights", "orphans", "bloat"} < set(checks)


def test_blocking_and_without_handlers(dsn: str) -> None:
    client = Client(dsn)
    assert told(client.doctor_sync()) == {}
    client.close_sync()


def test_a_database_that_is_not_there_is_a_finding_without_its_password() -> None:
    (finding,) = Client("postgresql://u:secret@127.0.0.1:1/x", config=False).doctor_sync()
    assert (finding.check, finding.status) == ("connection", "fail")
    assert "secret" not in f"{finding}"
    assert finding.fix == "Is the server running, and are host and port right?"


def test_a_database_without_tables(empty_dsn: str) -> None:
    client = Client(empty_dsn)
    found = told(client.doctor_sync())
    assert list(found) == ["schema"]
    assert (found["schema"].status, found["schema"].fix) == ("fail", "Run: howdah migrate")
    client.close_sync()


def test_a_user_who_was_granted_nothing(dsn: str, conn: psycopg.Connection) -> None:
    name = f"nobody_{conn.info.backend_pid}"
    conn.execute(f"create role {name}".encode())
    client = Client(f"{dsn}&options=-crole%3D{name}")
    found = told(client.doctor_sync())
    assert "lacks a right" in found["schema"].found
    client.close_sync()
    conn.execute(f"drop role {name}".encode())


@pytest.mark.parametrize("patience", ["soon", -1, None])
def test_a_patience_that_cannot_be_meant(dsn: str, patience: str) -> None:
    with pytest.raises(InvalidOption, match="patience"):
        Client(dsn).doctor_sync(patience=patience)


# ── what somebody dropped ──


def test_an_index_is_made_again_by_its_fix(app: App, conn: psycopg.Connection) -> None:
    conn.execute("drop index howdah.task_failed; drop index howdah.event_task")
    found = told(app.doctor_sync())["installed"]
    assert (found.status, found.found) == ("fail", "Somebody dropped event_task, task_failed")
    assert found.fix is not None
    assert "create index concurrently task_failed on howdah.task (kind, id) where status = 'failed';" in found.fix
    for statement in found.fix.split(";")[:-1]:
        conn.execute(statement.encode())
    assert told(app.doctor_sync()) == {}


def test_a_function_or_trigger_is_put_back_by_migrate(app: App, conn: psycopg.Connection) -> None:
    conn.execute("drop trigger task_wake on howdah.task; drop function howdah.why")
    found = told(app.doctor_sync())["installed"]
    assert (found.found, found.fix) == (
        "Somebody dropped task_wake, why",
        "DELETE FROM howdah.installed; then: howdah migrate",
    )
    conn.execute("DELETE FROM howdah.installed")
    migrate(app.installation.open_sync())
    assert told(app.doctor_sync()) == {}


def test_without_its_own_function_the_rest_is_told(app: App, conn: psycopg.Connection) -> None:
    conn.execute("drop function howdah.doctor")
    found = told(app.doctor_sync())
    assert set(found) == {"installed", "rights"}
    assert "do not fit this code" in found["rights"].found


def test_every_index_of_the_database_is_known(conn: psycopg.Connection) -> None:
    rows = conn.execute(
        "select relname from pg_class c join pg_index i on i.indexrelid = c.oid where relnamespace = 'howdah'::regnamespace"
        " and not relispartition and not exists (select from pg_constraint o where o.conindid = c.oid)"
    ).fetchall()
    assert made_indexes(script.sql for script in migrations()).keys() == {name for (name,) in rows}


# ── clocks and distances ──


def clock(monkeypatch: pytest.MonkeyPatch, app: App, *samples: Sample) -> Finding | None:
    monkeypatch.setattr(probing, "clocks", lambda conn: list(samples))
    return told(app.doctor_sync()).get("clock")


def test_a_clock_that_is_wrong_is_told_as_far_as_it_can_be_known(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    ahead = clock(monkeypatch, app, Sample(100, 40, 100.02))
    assert ahead is not None
    assert (ahead.status, "1m ahead of the server" in ahead.found) == ("warn", True)
    behind = clock(monkeypatch, app, Sample(100, 160.01, 100.02))
    assert behind is not None
    assert "1m behind the server" in behind.found
    assert clock(monkeypatch, app, Sample(100, 100.9, 100.02)) is None
    assert clock(monkeypatch, app, Sample(100, 106, 110)) is None, "asked at some moment of ten seconds"
    assert clock(monkeypatch, app, Sample(100, 130, 160), Sample(100, 130, 100.1)) is not None, "the fastest counts"


def test_a_server_far_away(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "clocks", lambda conn: [Sample(100, 100.1, 100.2)])
    far = told(app.doctor_sync())["connection"]
    assert "200ms away: every claim takes that long" in far.found


def test_notifications_that_get_lost(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "hears_after", lambda *_: None)
    assert "did not arrive within 5s" in told(app.doctor_sync())["notify"].found


def test_the_worst_counts() -> None:
    ok, warn, fail = Finding("a", "ok", ""), Finding("b", "warn", ""), Finding("c", "fail", "")
    assert (worst([]), worst([ok]), worst([ok, warn, ok]), worst([warn, fail, ok])) == ("ok", "ok", "warn", "fail")
