"""howdah doctor: a line for each check, the fix below it, and an exit code that says how bad it is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

import servers
from cli.shells import Shell
from waiting import until_sync


@pytest.fixture
def sound(howdah: Shell, server: servers.Server) -> Iterator[Shell]:
    """A server that keeps what was committed, as those of tests do not."""
    with psycopg.connect(server.dsn(), autocommit=True) as conn:

        def fsync() -> Any:
            conn.execute("select pg_reload_conf()")
            row = conn.execute("show fsync").fetchone()
            return row and row[0]

        conn.execute("alter system set fsync = on")
        until_sync(lambda: fsync() == "on", "the setting to count")
        yield howdah
        conn.execute("alter system set fsync = off")
        until_sync(lambda: fsync() == "off", "the setting to count")


def found(shell: Shell, *arguments: str) -> tuple[int, dict[str, dict[str, Any]]]:
    done = shell("doctor", "-o", "json", *arguments)
    assert done.err == ""
    return done.code, {row["check"]: row for row in json.loads(done.out)}


def test_all_is_well(sound: Shell) -> None:
    code, rows = found(sound)
    assert {row["status"] for row in rows.values()} == {"ok"}
    assert code == 0
    assert {"connection", "notify", "clock", "schema", "installed", "rights", "bloat", "orphans"} < set(rows)


def test_a_warning_is_1_and_a_failure_is_2(sound: Shell, conn: psycopg.Connection) -> None:
    conn.execute("insert into howdah.message (task_id, body) values (1, '{}')")
    code, rows = found(sound)
    assert (code, rows["orphans"]["status"]) == (1, "warn")
    conn.execute(rows["orphans"]["fix"].encode())
    assert found(sound)[0] == 0
    conn.execute("alter table howdah.task disable trigger task_resume")
    code, rows = found(sound)
    assert (code, rows["triggers"]["status"]) == (2, "fail")
    conn.execute(rows["triggers"]["fix"].encode())
    assert found(sound)[0] == 0


def test_a_transaction_that_is_held(sound: Shell, dsn: str) -> None:
    with psycopg.connect(dsn, application_name="report") as holder:
        holder.execute("select txid_current()")
        assert found(sound)[0] == 0
        code, rows = found(sound, "--patience", "0s")
        assert code == 1
        assert f"pid {holder.info.backend_pid}, report" in rows["transactions"]["found"]


def test_a_dropped_index_and_a_dropped_function_with_their_fixes(sound: Shell, conn: psycopg.Connection) -> None:
    conn.execute("drop index howdah.task_alarm")
    code, rows = found(sound)
    assert (code, rows["installed"]["found"]) == (2, "Somebody dropped task_alarm")
    conn.execute(rows["installed"]["fix"].encode())
    conn.execute("drop function howdah.lose")
    assert found(sound)[1]["installed"]["fix"] == "DELETE FROM howdah.installed; then: howdah migrate"
    conn.execute("DELETE FROM howdah.installed")
    assert sound("migrate").code == 0
    assert found(sound)[0] == 0


def test_a_person_sees_a_line_for_each_check_and_the_fix_below(howdah: Shell) -> None:
    done = howdah.on_a_terminal("doctor", columns=200)
    assert done.code == 2
    shown = re.sub(r"\x1b\[[0-9;]*m", "", done.out)
    assert "fail durability   fsync is off" in shown
    assert "       → ALTER SYSTEM SET fsync = on; SELECT pg_reload_conf();" in shown
    plain = howdah("doctor")
    assert plain.lines[0][:2] == ["connection", "ok"]
    assert all(len(line) == 4 for line in plain.lines)


def test_no_database_no_tables_and_none_that_answers(shell: Shell, empty_dsn: str) -> None:
    code, rows = found(shell)
    assert (code, "there is no database" in rows["connection"]["found"]) == (2, True)
    assert not (shell.folder / ".howdah").exists()
    code, rows = found(shell, "--dsn", "postgresql://u:secret@127.0.0.1:1/x")
    assert (code, list(rows), "secret" in str(rows)) == (2, ["connection"], False)
    code, rows = found(shell, "--dsn", empty_dsn)
    assert (code, rows["schema"]["fix"]) == (2, "Run: howdah migrate")


def test_a_patience_that_cannot_be_meant(howdah: Shell) -> None:
    done = howdah("doctor", "--patience", "soon")
    assert (done.code, done.out) == (2, "")
    assert "patience cannot be read" in done.err
