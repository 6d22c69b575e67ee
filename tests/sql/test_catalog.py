"""What a stranger finds in the schema: everything explains itself, nothing is open to everybody."""

from __future__ import annotations

import re

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from howdah.migrate import replaced
from sql.protocol import ask


def names(conn: psycopg.Connection, query: str) -> list[str]:
    return [row[0] for row in conn.execute(query.encode())]


def test_every_table_view_function_and_the_schema_have_a_comment(conn: psycopg.Connection) -> None:
    assert ask(conn, "select obj_description('howdah'::regnamespace, 'pg_namespace')")
    assert names(
        conn,
        "select oid::regclass::text from pg_class where relnamespace = 'howdah'::regnamespace and relkind in ('r', 'p', 'v')"
        " and obj_description(oid, 'pg_class') is null",
    ) == []  # fmt: skip
    assert names(
        conn,
        "select oid::regprocedure::text from pg_proc where pronamespace = 'howdah'::regnamespace"
        " and obj_description(oid, 'pg_proc') is null",
    ) == []  # fmt: skip


def test_every_trigger_is_explained_by_the_comment_of_its_function(conn: psycopg.Connection) -> None:
    comments = names(
        conn,
        "select coalesce(obj_description(tgfoid, 'pg_proc'), tgname) from pg_trigger t join pg_class c on c.oid = t.tgrelid"
        " where c.relnamespace = 'howdah'::regnamespace and not tgisinternal",
    )
    assert comments
    assert all(comment.startswith("Trigger: ") for comment in comments)


def test_every_error_has_a_hint(conn: psycopg.Connection) -> None:
    sources = conn.execute("select proname, prosrc from pg_proc where pronamespace = 'howdah'::regnamespace").fetchall()
    raised = [
        (name, text) for name, source in sources for text in re.findall(r"errcode = 'HW\d+'.*?;\n", source, re.DOTALL)
    ]
    assert len(raised) > 10
    # Only a worker sees HW008, and it knows what to do: register again.
    assert [(name, text) for name, text in raised if "hint = " not in text and "HW008" not in text] == []


def test_one_file_one_function_of_its_name(conn: psycopg.Connection) -> None:
    found = names(conn, "select proname from pg_proc where pronamespace = 'howdah'::regnamespace order by proname")
    files = [
        script.name.split("/")[1].removesuffix(".sql") for script in replaced() if not script.name.startswith("views")
    ]
    assert found == sorted(files)


def test_every_body_is_valid(conn: psycopg.Connection) -> None:
    # They are installed unchecked, and PL/pgSQL reads a statement only when it gets there.
    rows = conn.execute(
        "select p.oid::regprocedure::text, lanvalidator::regproc::text, p.oid from pg_proc p join pg_language l on l.oid = prolang"
        " where pronamespace = 'howdah'::regnamespace"
    ).fetchall()
    wrong: dict[str, str] = {}
    for name, validator, oid in rows:
        try:
            conn.execute(f"select {validator}(%s::oid)".encode(), [oid])
        except psycopg.Error as error:
            wrong[name] = str(error)
    assert rows
    assert wrong == {}


def test_no_function_runs_with_the_rights_of_its_owner(conn: psycopg.Connection) -> None:
    definers = "select proname from pg_proc where pronamespace = 'howdah'::regnamespace and prosecdef"
    assert names(conn, definers) == []


@pytest.fixture
def stranger(conn: psycopg.Connection) -> psycopg.Connection:
    """The same connection, as a user who was granted nothing. Undone when the connection closes."""
    name = f"stranger_{conn.info.backend_pid}"
    conn.execute("begin")
    conn.execute(SQL("create role {}").format(Identifier(name)))
    conn.execute(SQL("set local role {}").format(Identifier(name)))
    return conn


@pytest.mark.parametrize(
    "query",
    [
        "select howdah.enqueue('job')",
        "select howdah.cancel(1)",
        "select howdah.now()",
        "select * from howdah.tasks",
        "insert into howdah.task (kind) values ('job')",
        "create table howdah.mine ()",
    ],
)
def test_a_user_who_was_granted_nothing_can_do_nothing(stranger: psycopg.Connection, query: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        stranger.execute(query.encode())


def test_public_has_no_right_to_the_schema_or_anything_stored_in_it(conn: psycopg.Connection) -> None:
    # EXECUTE on the functions is PostgreSQL's default; it opens nothing without USAGE of the schema.
    granted = names(
        conn,
        "select 'schema: ' || g.privilege_type from pg_namespace, aclexplode(nspacl) g"
        " where nspname = 'howdah' and g.grantee = 0"
        " union all"
        " select relname || ': ' || g.privilege_type from pg_class, aclexplode(relacl) g"
        " where relnamespace = 'howdah'::regnamespace and g.grantee = 0",
    )
    assert granted == []


def test_ids_never_run_out(conn: psycopg.Connection) -> None:
    sequences = (
        "select seqtypid::regtype::text from pg_sequence join pg_class on oid = seqrelid"
        " where relnamespace = 'howdah'::regnamespace"
    )
    assert names(conn, sequences) == ["bigint"] * 3
    narrow = (
        "select table_name || '.' || column_name from information_schema.columns where table_schema = 'howdah'"
        " and data_type = 'integer' and (column_name ~ '(^|_)(id|epoch|seq)$')"
    )
    assert names(conn, narrow) == []
