"""Roles with the least they need: who may do what, that it is enough, and that nobody gets further (reliability S11, S18)."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

import howdah.migrate
import servers
from howdah import App, Context
from howdah.client import Client
from howdah.db.pool import Database
from howdah.errors import CannotConnect, KeyConflict, SchemaMismatch, TaskFailed
from howdah.migrate import Script, check, digest, migrate, replaced, script
from migrate.catalog import snapshot
from sql.protocol import ask
from waiting import until, until_sync

ROLES = ("howdah_client", "howdah_worker", "howdah_viewer", "howdah_admin")

# ── what each may do: every function and table of the schema, compared with what the database says ──

_LOOK = {"find", "outcomes", "why", "history"}
_ENQUEUE = {"now", "enqueue", "put", "enqueue_many"}
_PROTOCOL = {"declare", "register", "pump", "settle_rest", "heartbeat", "report", "leave"}
_CHORES = {"rescue", "make_partitions", "retain", "waiting_queues"}
FUNCTIONS: dict[str, set[str]] = {
    "howdah_client": _ENQUEUE | _LOOK,
    "howdah_worker": _ENQUEUE | _LOOK | _PROTOCOL | _CHORES,
    "howdah_viewer": set(),
    "howdah_admin": _ENQUEUE | _LOOK | {"cancel", "retry", "pause", "resume", "stop_workers"},
    "public": set(),
}
_EVERYBODY = {f"{name} SELECT" for name in ("migration", "installed", "queues", "workers", "kind")}
_PUT = {
    "task INSERT (id, kind, payload, priority, queue, run_at)",
    "task SELECT (id)",
    "task_id_seq USAGE",
    "tasks SELECT",
}
TABLES: dict[str, set[str]] = {
    "howdah_client": _EVERYBODY | _PUT,
    "howdah_worker": _EVERYBODY | _PUT,
    "howdah_viewer": _EVERYBODY
    | {
        "tasks SELECT (attempt, claimed_at, created_at, epoch, finished_at, id, key, kind, lost, priority, queue, run_at,"
        " status, step, worker)",
        "event SELECT (actor, at, attempt, epoch, id, kind, step, task_id, type, worker)",
    },
    "howdah_admin": _EVERYBODY | _PUT | {"event SELECT"},
    "public": set(),
}
_FUNCTION_RIGHTS = """
select proname from pg_proc where pronamespace = 'howdah'::regnamespace and has_function_privilege(%s, oid, 'execute')
"""
_TABLE_RIGHTS = """
select relname || ' ' || right_ || coalesce(' (' || columns || ')', '')
  from pg_class c
  cross join unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) right_
  cross join lateral (select has_table_privilege(%(role)s, c.oid, right_) as whole) w
  cross join lateral (
    select string_agg(attname, ', ' order by attname) as columns from pg_attribute a
     where not whole and attrelid = c.oid and attnum > 0 and not attisdropped
       and case when right_ in ('SELECT', 'INSERT', 'UPDATE', 'REFERENCES') then has_column_privilege(%(role)s, c.oid, attnum, right_) end) p
 where relnamespace = 'howdah'::regnamespace and relkind in ('r', 'p', 'v') and (whole or columns is not null)
union all
select relname || ' ' || right_ from pg_class c cross join unnest('{SELECT,USAGE,UPDATE}'::text[]) right_
 where relnamespace = 'howdah'::regnamespace and relkind = 'S' and has_sequence_privilege(%(role)s, c.oid, right_)
"""

# ── databases with roles ──


class Login(NamedTuple):
    """A user, and the address under which this user connects."""

    name: str
    dsn: str


class Place:
    """Databases of one server, whose owner is an ordinary user who may make roles: a superuser's rights would hide faults."""

    def __init__(self, server: servers.Server) -> None:
        self.server = server
        self.databases: list[str] = []
        self.users: list[str] = []
        self.owner = self._user("createrole")

    def _user(self, *options: str) -> str:
        name = f"user_{secrets.token_hex(4)}"
        self.execute(SQL("create role {} login password 'x' ").format(Identifier(name)) + SQL(" ".join(options)))
        self.users.append(name)
        return name

    def execute(self, *statements: SQL | psycopg.sql.Composed) -> None:
        with psycopg.connect(self.server.dsn(), autocommit=True) as conn:
            for statement in statements:
                conn.execute(statement)

    def database(self) -> str:
        """The address of a new database, for its owner."""
        name = f"howdah_roles_{secrets.token_hex(4)}"
        self.server.create_database(name)
        self.databases.append(name)
        self.execute(SQL("alter database {} owner to {}").format(Identifier(name), Identifier(self.owner)))
        return self.dsn(name, self.owner)

    def dsn(self, database: str, user: str) -> str:
        return make_conninfo(self.server.dsn(database), user=user, password="x")

    def login(self, dsn: str, *roles: str) -> Login:
        """A new user who is a member of these roles."""
        name = self._user(*(["in role", ", ".join(roles)] if roles else []))
        return Login(name, make_conninfo(dsn, user=name, password="x"))

    def leave(self) -> None:
        for name in self.databases:
            self.server.drop_database(name)
        with psycopg.connect(self.server.dsn(), autocommit=True) as conn:
            made = [row[0] for row in conn.execute("select rolname from pg_roles where rolname ~ '^howdah_'")]
        for name in (*made, *reversed(self.users)):
            self.execute(SQL("drop role {}").format(Identifier(name)))


@pytest.fixture(scope="module")
def place(server: servers.Server) -> Iterator[Place]:
    place = Place(server)
    yield place
    place.leave()


@pytest.fixture(scope="module")
def roles_dsn(place: Place) -> str:
    dsn = place.database()
    migrate(Database(dsn), roles=True)
    return dsn


@pytest.fixture
def dsn(roles_dsn: str) -> str:
    """The one database of this module, emptied; for its owner."""
    with psycopg.connect(roles_dsn, autocommit=True) as conn:
        for table in ("task", "archive", "event", "worker", "kind", "queue"):
            conn.execute(SQL("delete from howdah.{}").format(Identifier(table)))
        conn.execute("""select howdah.declare('[{"name": "job"}]')""")
    return roles_dsn


@pytest.fixture
def login(place: Place, dsn: str) -> Callable[..., Login]:
    return lambda *roles: place.login(dsn, *roles)


@pytest.fixture
def connect(login: Callable[..., Login]) -> Iterator[Callable[..., psycopg.Connection]]:
    """Connections of new users of these roles."""
    with ExitStack() as opened:
        yield lambda *roles: opened.enter_context(psycopg.connect(login(*roles).dsn, autocommit=True))


def column(conn: psycopg.Connection, query: str, arguments: Any = None) -> list[Any]:
    return [row[0] for row in conn.execute(query.encode(), arguments)]


def run(conn: psycopg.Connection, query: str, arguments: Sequence[Any] = ()) -> None:
    conn.execute(query.encode(), arguments)


# ── the matrix ──


@pytest.mark.parametrize("role", [*ROLES, "public"])
def test_each_role_may_do_exactly_this(conn: psycopg.Connection, role: str) -> None:
    assert set(column(conn, _FUNCTION_RIGHTS, [role])) == FUNCTIONS[role]
    assert set(column(conn, _TABLE_RIGHTS, {"role": role})) == TABLES[role]
    usage, create = "has_schema_privilege(%s, 'howdah', 'usage')", "has_schema_privilege(%s, 'howdah', 'create')"
    assert ask(conn, f"select {usage}", [role]) == (role != "public")
    assert not ask(conn, f"select {create}", [role])


def test_the_roles_are_for_granting_and_explain_themselves(conn: psycopg.Connection) -> None:
    rows = conn.execute(
        "select rolname, rolcanlogin or rolsuper or rolcreaterole or rolcreatedb or rolbypassrls or rolreplication,"
        " shobj_description(oid, 'pg_authid') from pg_roles where rolname = any (%s)",
        [list(ROLES)],
    ).fetchall()
    assert {name for name, _, _ in rows} == set(ROLES)
    assert not any(powerful for _, powerful, _ in rows)
    assert all(comment.startswith("howdah: ") for _, _, comment in rows)


def test_every_function_that_runs_with_the_owners_rights_has_a_pinned_search_path(conn: psycopg.Connection) -> None:
    rows = conn.execute(
        "select proname, prosecdef, coalesce(proconfig, '{}'), prorettype = 'trigger'::regtype from pg_proc"
        " where pronamespace = 'howdah'::regnamespace"
    ).fetchall()
    definers = {name for name, definer, _, _ in rows if definer}
    triggers = {name for name, _, _, is_trigger in rows if is_trigger}
    assert definers == (set[str]().union(*FUNCTIONS.values()) | triggers) - {"now", "find"}
    unpinned = [n for n, _, config, _ in rows if n in definers and "search_path=pg_catalog, pg_temp" not in config]
    assert unpinned == []


def test_the_settings_that_functions_have_stay(conn: psycopg.Connection, own_conn: psycopg.Connection) -> None:
    settings = (
        "select proname, array(select s from unnest(proconfig) s where s !~ '^search_path=' order by s)"
        " from pg_proc where pronamespace = 'howdah'::regnamespace order by proname"
    )
    assert conn.execute(settings).fetchall() == own_conn.execute(settings).fetchall()


# ── enough ──


async def test_a_client_enqueues_what_a_worker_runs_and_an_admin_repairs(
    place: Place, dsn: str, login: Callable[..., Login]
) -> None:
    client_login, worker_login, admin_login = (login(f"howdah_{role}") for role in ("client", "worker", "admin"))
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("create table if not exists public.effect (word text)")
        conn.execute("truncate public.effect")
        conn.execute(SQL("grant insert on public.effect to {}").format(Identifier(worker_login.name)))

    app = App(worker_login.dsn)
    broken = True

    @app.task()
    async def add(a: int, b: int) -> int:
        return a + b

    @app.task()
    async def parent(ctx: Context) -> int:
        ctx.progress(1, 2, "half")
        return (await add.enqueue(20, 3)).id

    @app.task(transactional=True)
    async def effect(word: str, ctx: Context) -> None:
        await ctx.connection.execute("insert into public.effect values (%s)", [word])

    @app.task(retry=0)
    async def fragile() -> str:
        if broken:
            raise OSError("broken")
        return "mended"

    async with app, Client(client_login.dsn) as client, Client(admin_login.dsn) as admin:
        # COPY and the verbs of an App, without its worker.
        putting = App(client_login.dsn)
        putting.task(name=add.name)(add.function)
        async with app.worker(), putting:
            assert await (await putting.enqueue(add.name, a=1, b=2)).result("10s") == 3
            many = await putting.using().enqueue(add.name, a=2, b=2)
            assert await many.result("10s") == 4
            named = putting.registry.find(add.name)
            assert named is not None
            tasks = [await client.run(call_of_enqueue(add.name, {"a": 5, "b": n}, key=f"sum:{n}")) for n in range(3)]
            assert [await client.result(task) for task in tasks] == [5, 6, 7]
            child = await putting.enqueue("parent")
            assert await client.result(await child.result("10s")) == 23
            await (await putting.enqueue("effect", word="written")).result("10s")
            task = await putting.enqueue("fragile")
            with pytest.raises(TaskFailed):
                await task.result("10s")
            broken = False
            assert await admin.retry(task.id) == "resumed"
            assert await task.result("10s") == "mended"
            assert await admin.stop_workers() == 1
        assert [event["actor"] for event in await admin.history(task.id) if event["type"] == "resume"] == [
            admin_login.name
        ]
