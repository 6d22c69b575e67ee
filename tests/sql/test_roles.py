"""Roles with the least they need: who may do what, that it is enough, and that nobody gets further (reliability S11, S18)."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Composed, Identifier

import howdah.migrate
import servers
from howdah import App, Context
from howdah.db.pool import Database
from howdah.errors import CannotConnect, SchemaMismatch, TaskFailed
from howdah.migrate import Script, check, migrate, migrations, replaced, roles, script
from migrate.catalog import snapshot
from sql.protocol import Worker, ask, put
from waiting import until, until_sync

ROLES = ("howdah_client", "howdah_worker", "howdah_viewer", "howdah_admin")

# ── what each may do: every function and table of the schema, compared with what the database says ──

_LOOK = {
    "find",
    "count_tasks",
    "inbox",
    "outcomes",
    "why",
    "history",
    "step_counts",
    "doctor",
    "health",
    "held",
    "holder",
    "why_key",
}
_ENQUEUE = {"now", "check_task", "examine_task", "enqueue", "put", "enqueue_many", "put_many", "send"}
_PROTOCOL = {
    "declare",
    "register",
    "pump",
    "settle_rest",
    "heartbeat",
    "report",
    "leave",
    "inboxes",
    "reserve_ids",
    "backoff",
}
_CHORES = {"wake_suspended", "expire", "rescue", "make_partitions", "retain", "waiting_queues"}
_SOURCES = {
    "declare_schedules",
    "due_schedules",
    "fire",
    "schedule_failed",
    "instructions",
    "stand",
    "declare_limits",
    "tell_health",
}
_STEER = {
    "schedule",
    "unschedule",
    "pause_schedule",
    "resume_schedule",
    "trigger",
    "set_limit",
    "unset_limit",
    "close_group",
    "open_group",
    "set_queue",
}
_REPAIR = {
    "retry_all",
    "cancel_all",
    "edit_all",
    "drain",
    "disable",
    "enable",
    "purge",
    "export_tasks",
    "import_tasks",
    "import_families",
}
FUNCTIONS: dict[str, set[str]] = {
    "howdah_client": _ENQUEUE | _LOOK,
    "howdah_worker": _ENQUEUE | _LOOK | _PROTOCOL | _CHORES | _SOURCES,
    "howdah_viewer": {"health"},
    "howdah_admin": _ENQUEUE
    | _LOOK
    | {"cancel", "edit", "retry", "pause", "resume", "stop_workers"}
    | _STEER
    | _REPAIR,
    "public": set(),
}
_EVERYBODY = {f"{name} SELECT" for name in ("migration", "installed", "queues", "groups", "workers", "kind", "key")}
_PUT = {
    "task INSERT (cost, finish_before, groups, id, kind, late, payload, priority, queue, run_at, start_before, step)",
    "task SELECT (id)",
    "task_id_seq USAGE",
    "tasks SELECT",
    "message SELECT",
    "schedules SELECT",
}
TABLES: dict[str, set[str]] = {
    "howdah_client": _EVERYBODY | _PUT,
    "howdah_worker": _EVERYBODY | _PUT,
    "howdah_viewer": _EVERYBODY
    | {
        "tasks SELECT (attempt, children, claimed_at, cost, created_at, epoch, finish_before, finished_at, groups, id,"
        " inbox_seq, key, kind, late, lost, parent, priority, queue, run_at, source, start_before, status, step, tick, worker)",
        "schedules SELECT (after, anchor, created_at, cron, declared, ends_at, every, fired, jitter, kind, last_task, last_tick, missed,"
        " name, next_at, overlap, paused_at, paused_by, priority, queue, retired_at, served, skipped, starts_at, state, step, timezone,"
        " updated_at)",
        "message SELECT (id, sender, sent_at, task_id, type)",
        "event SELECT (actor, at, attempt, epoch, id, kind, step, task_id, type, worker)",
    },
    "howdah_admin": _EVERYBODY | _PUT | {"event SELECT", "key DELETE"},
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
       and case when right_ in ('SELECT', 'INSERT', 'UPDATE', 'REFERENCES')
                then has_column_privilege(%(role)s, c.oid, attnum, right_) end) p
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
        self.owner = self.user("createrole")

    def user(self, *options: str) -> str:
        name = f"user_{secrets.token_hex(4)}"
        self.execute(SQL("create role {} login password 'x' ").format(Identifier(name)) + SQL(" ".join(options)))  # pyright: ignore[reportArgumentType]
        self.users.append(name)
        return name

    def execute(self, *statements: SQL | Composed) -> None:
        with psycopg.connect(self.server.dsn(), autocommit=True) as conn:
            for statement in statements:
                conn.execute(statement)

    def database(self, owner: str | None = None) -> str:
        """The address of a new database, for its owner."""
        owner = owner or self.owner
        name = f"howdah_roles_{secrets.token_hex(4)}"
        self.server.create_database(name)
        self.databases.append(name)
        self.execute(SQL("alter database {} owner to {}").format(Identifier(name), Identifier(owner)))
        return self.dsn(name, owner)

    def dsn(self, database: str, user: str) -> str:
        return make_conninfo(self.server.dsn(database), user=user, password="x")

    def login(self, dsn: str, *roles: str) -> Login:
        """A new user who is a member of these roles."""
        name = self.user(*(["in role", ", ".join(roles)] if roles else []))
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
        for table in ("task", "archive", "event", "worker", "kind", "queue", "schedule"):
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


def matrix(conn: psycopg.Connection) -> dict[str, tuple[set[str], set[str]]]:
    """What each role may call, and what it may do with which relation."""
    return {
        role: (set(column(conn, _FUNCTION_RIGHTS, [role])), set(column(conn, _TABLE_RIGHTS, {"role": role})))
        for role in FUNCTIONS
    }


EXPECTED = {role: (FUNCTIONS[role], TABLES[role]) for role in FUNCTIONS}


# ── the matrix ──


def test_each_role_may_do_exactly_this(conn: psycopg.Connection) -> None:
    found = matrix(conn)
    for role, expected in EXPECTED.items():
        assert found[role] == expected, role
        assert ask(conn, "select has_schema_privilege(%s, 'howdah', 'usage')", [role]) == (role != "public")
        assert not ask(conn, "select has_schema_privilege(%s, 'howdah', 'create')", [role])


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
    assert definers == (set[str]().union(*FUNCTIONS.values()) | triggers) - {"now", "check_task"}
    unpinned = [n for n, _, config, _ in rows if n in definers and "search_path=pg_catalog, pg_temp" not in config]
    assert unpinned == []


def test_the_settings_that_functions_have_stay(conn: psycopg.Connection, own_conn: psycopg.Connection) -> None:
    settings = (
        "select proname, array(select s from unnest(proconfig) s where s !~ '^search_path=' order by s)"
        " from pg_proc where pronamespace = 'howdah'::regnamespace order by proname"
    )
    assert conn.execute(settings).fetchall() == own_conn.execute(settings).fetchall()


# ── enough ──


class Handlers:
    """Handlers of one program, registered in the app of the worker and in the app that enqueues."""

    def __init__(self, app: App, *, mended: bool = False) -> None:
        self.mended = mended

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
            if not self.mended:
                raise OSError("broken")
            return "mended"

        self.add, self.parent, self.effect, self.fragile = add, parent, effect, fragile


async def test_a_client_enqueues_what_a_worker_runs_and_an_admin_repairs(
    dsn: str, login: Callable[..., Login], caplog: pytest.LogCaptureFixture
) -> None:
    clients, workers, admins = (login(f"howdah_{role}") for role in ("client", "worker", "admin"))
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("drop table if exists public.effect; create table public.effect (word text)")
        conn.execute(SQL("grant insert on public.effect to {}").format(Identifier(workers.name)))
        conn.execute(SQL("grant insert on public.effect to {}").format(Identifier(clients.name)))
    async with App(workers.dsn) as running, App(clients.dsn) as client, App(admins.dsn) as admin:
        handlers, ours = Handlers(running), Handlers(client)
        with caplog.at_level(logging.WARNING, "howdah"):
            async with running.worker() as worker:
                assert await (await ours.add.enqueue(1, 2)).result("10s") == 3
                assert await (await client.enqueue("add", a=2, b=2)).result("10s") == 4
                assert [
                    await task.result("10s") for task in await ours.add.enqueue_many([(n, n) for n in range(3)])
                ] == [0, 2, 4]

                later = await ours.add.using(key="k", delay="1h").enqueue(1, 1)
                same = await ours.add.using(key="k", on_conflict="replace").enqueue(5, 5)
                assert (same.id, await same.result("10s")) == (later.id, 10)

                async with client.transaction() as mine:
                    await mine.execute("insert into public.effect values ('mine')")
                    with_mine = await ours.add.using(connection=mine).enqueue(3, 3)
                    many_with_mine = await ours.add.using(connection=mine).enqueue_many([(4, 4)])
                assert [await task.result("10s") for task in (with_mine, *many_with_mine)] == [6, 8]

                child = await (await ours.parent.enqueue()).result("10s")
                assert await client.result(child, timeout="10s") == 23
                await (await ours.effect.enqueue("written")).result("10s")

                task = await ours.fragile.enqueue()
                with pytest.raises(TaskFailed, match="broken"):
                    await task.result("10s")
                assert [reason.code for reason in await client.why(task.id)] == ["failed"]
                handlers.mended = True
                assert await admin.retry(task.id) == "resumed"
                assert await task.result("10s") == "mended"
                await admin.pause("slow", "night")
                assert [(q["name"], q["paused_by"]) for q in await client.queues() if q["paused"]] == [
                    ("slow", admins.name)
                ]
                waiting = await ours.add.using(queue="slow").enqueue(1, 1)
                assert await admin.cancel(waiting.id, "not today") == "cancelled"
                assert await admin.resume("slow")
                assert worker.lease is not None
                assert [w["id"] for w in await client.workers() if w["state"] != "dead"] == [worker.lease.id]
                assert await admin.stop_workers() == 1
        assert [r.message for r in caplog.records if r.levelno >= logging.WARNING and "permission" in r.message] == []
        actors = [(e["type"], e["actor"]) for t in (task, waiting) for e in await client.history(t.id) if e["actor"]]
        # Not the owner, with whose rights the functions run.
        assert actors == [("resume", admins.name), ("cancel", admins.name)]
        assert {info.status for info in await client.tasks()} == {"succeeded", "cancelled"}
    with psycopg.connect(dsn) as conn:
        assert column(conn, "select word from public.effect order by word") == ["mine", "written"]


async def test_an_admin_makes_the_schedules_that_workers_fire(
    dsn: str, login: Callable[..., Login], connect: Callable[..., psycopg.Connection]
) -> None:
    clients, workers, admins = (login(f"howdah_{role}") for role in ("client", "worker", "admin"))
    async with App(workers.dsn) as running, App(clients.dsn) as client, App(admins.dsn) as admin:

        @running.cron("@yearly", payload={"a": 1, "b": 2})
        @running.task()
        async def add(a: int, b: int) -> int:
            return a + b

        async with running.worker():
            with pytest.raises(CannotConnect, match="lacks a right"):
                await client.schedule("often", "add", every="100ms", payload={"a": 3, "b": 4})
            await admin.schedule("often", "add", every="100ms", payload={"a": 3, "b": 4})

            async def fired() -> int | None:
                return next(row["last_task"] for row in await client.schedules() if row["name"] == "often")

            assert await client.result(await until(fired, "a tick"), timeout="10s") == 7
            await admin.pause_schedule("often", "enough")
            assert await client.result(await admin.trigger("add"), timeout="10s") == 3
        rows = {row["name"]: (row["state"], row["paused_by"]) for row in await client.schedules()}
        assert rows == {"add": ("active", None), "often": ("paused", admins.name)}
    viewer = connect("howdah_viewer")
    assert column(viewer, "select name from howdah.schedules order by name") == ["add", "often"]
    for secret in ("payload", "reason", "error"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            viewer.execute(f"select {secret} from howdah.schedules".encode())


def test_other_drivers_than_psycopg_insert_many_too(connect: Callable[..., psycopg.Connection]) -> None:
    conn = connect("howdah_client")
    insert = (
        "insert into howdah.task (kind, queue, priority, run_at, payload)"
        " select 'job', 'default', 0, howdah.now(), x.p from unnest(%s::jsonb[]) with ordinality x (p, n) order by x.n returning id"
    )
    assert len(column(conn, insert, [["{}", "{}"]])) == 2
    assert column(conn, "insert into howdah.task (kind, payload) values ('job', '{}') returning id")


def test_every_role_may_check_which_release_is_here(login: Callable[..., Login]) -> None:
    for role in ROLES:
        check(Database(login(role).dsn))
    with pytest.raises(CannotConnect, match="permission denied for schema howdah"):
        check(Database(login().dsn))


def test_a_viewer_sees_everything_but_what_people_wrote_and_programs_said(
    conn: psycopg.Connection, connect: Callable[..., psycopg.Connection]
) -> None:
    task_id = put(conn, payload='{"secret": 1}')
    ended = put(conn)
    conn.execute("select howdah.cancel(%s, 'secret')", [ended])
    viewer = connect("howdah_viewer")
    tasks = "select id, status, kind, queue, attempt, finished_at is null from howdah.tasks order by id"
    assert viewer.execute(tasks).fetchall() == [
        (task_id, "queued", "job", "default", 0, True),
        (ended, "cancelled", "job", "default", 0, False),
    ]
    assert column(viewer, "select type from howdah.event") == ["cancel"]
    for relation in ("queues", "workers", "kind"):  # as Client.queues and Client.workers ask
        viewer.execute(f"select * from howdah.{relation}".encode())


# ── not more ──

_PAYLOAD = [
    f"select {name} from howdah.tasks" for name in ("payload", "result", "progress", "error", "last_error", "reason")
]
_WRITES = [
    "insert into howdah.task (kind, queue, priority, run_at, status, worker, claim_seq)"
    " values ('job', 'q', 0, now(), 'running', gen_random_uuid(), 1)",
    "insert into howdah.task (kind, queue, priority, run_at, key) values ('job', 'q', 0, now(), 'k')",
    "insert into howdah.archive (id) values (1)",
    "update howdah.task set payload = '{}'",
    "update howdah.task set error = null",
    "update howdah.kind set keep = '0'",
    "update howdah.event set actor = 'somebody'",
    "delete from howdah.task",
    "delete from howdah.event",
    "delete from howdah.installed",
    "truncate howdah.task",
    "do 'begin lock table howdah.task; end'",
    "select id from howdah.tasks for update",
    "drop table howdah.event_default",
    "create table howdah.mine ()",
    "create trigger mine after insert on howdah.task execute function howdah.task_wake()",
    "alter table howdah.task disable trigger all",
    "select setval(pg_get_serial_sequence('howdah.task', 'id'), 1)",
    "grant howdah_admin to current_user",
    "create or replace function howdah.now() returns timestamptz language sql as 'select now()'",
]
_READS = [
    "select payload from howdah.task",
    "copy howdah.task to stdout",
    "select payload from howdah.archive_default",
    "select * from howdah.worker",
    "select * from howdah.queue",
]
_HELPERS = [
    "select howdah.claim(gen_random_uuid(), 1, 'default', 1, '{job}', '{}')",
    "select howdah.settle_done(gen_random_uuid(), '{1}', '{1}', '{}', false)",
    "select howdah.lose(1, 1, 'crash', 'x', true)",
    "select howdah.bury(null, 'succeeded', null, null)",
    "select howdah.wake('q')",
]
_PUMP = "select howdah.pump(gen_random_uuid(), 1, null, null, null, null, null, null, '[]', 1, null)"
_OPERATE = [
    "select howdah.cancel(1)",
    "select howdah.retry(1)",
    "select howdah.pause('q')",
    "select howdah.stop_workers()",
]
DENIED = {
    "howdah_client": [*_WRITES, *_READS, *_HELPERS, *_OPERATE, _PUMP, "select howdah.rescue()", "select howdah.declare('[]')"],
    "howdah_worker": [*_WRITES, *_READS, *_HELPERS, *_OPERATE],
    "howdah_viewer": [
        *_WRITES, *_READS, *_HELPERS, *_OPERATE, *_PAYLOAD, _PUMP,
        "select * from howdah.tasks", "select t from howdah.tasks t", "select to_jsonb(t) from howdah.tasks t",
        "select message from howdah.event", "select data from howdah.event", "select * from howdah.find()",
        "select howdah.why(1)", "select howdah.outcomes('{1}')", "select howdah.history(1)", "select howdah.enqueue('job')",
        "insert into howdah.task (kind) values ('job')",
    ],
    "howdah_admin": [*_WRITES, *_READS, *_HELPERS, _PUMP, "select howdah.retain()", "select howdah.declare('[]')"],
}  # fmt: skip


def sqlstate(conn: psycopg.Connection, statement: str) -> str | None:
    try:
        conn.execute(statement.encode())
    except psycopg.Error as error:
        return error.sqlstate
    return None


@pytest.mark.parametrize("role", ROLES)
def test_what_was_not_granted_is_refused(connect: Callable[..., psycopg.Connection], role: str) -> None:
    conn = connect(role)
    answers = {statement: sqlstate(conn, statement) for statement in DENIED[role]}
    assert {statement: code for statement, code in answers.items() if code != "42501"} == {}


# ── no way around (S11): names of the caller's, wherever a careless function would find them first ──

CALLS = {
    "now": "select howdah.now()",
    "check_task": "insert into howdah.task (id, kind, queue, priority, run_at, payload)"
    " overriding system value values (99, 'job', 'default', 0, howdah.now(), '{}') returning id",
    "examine_task": "select howdah.examine_task(null)",
    "enqueue": """select howdah.enqueue('job', '{"a": 1}', key => 'attack', on_conflict => 'replace', delay => '1 hour')""",
    "put": "select howdah.put('job', '{}', 'default', 3, null, null, 'attack', 'return')",
    "enqueue_many": """select howdah.enqueue_many('job', '[{"a": 1}, {"a": 2}]')""",
    "put_many": """select howdah.put_many('job', '[{"payload": {"a": 1}, "key": "attack", "groups": ["g"]}]',"""
    """ 'default', 3, null, null, 'return', unique_for => '1 hour')""",
    "held": "select howdah.held('attack')",
    "holder": "select howdah.holder('attack')",
    "why_key": "select howdah.why_key('attack')",
    "find": "select * from howdah.find(ids => array[%(task)s::bigint])",
    "inbox": "select * from howdah.inbox(%(actor)s)",
    "outcomes": "select * from howdah.outcomes(array[%(task)s, %(ended)s]::bigint[])",
    "why": "select * from howdah.why(%(task)s)",
    "history": "select * from howdah.history(%(ended)s)",
    "health": "select * from howdah.health()",
    "doctor": "select * from howdah.doctor()",
    "declare": """select howdah.declare('[{"name": "other", "keep": "1 day"}]', true)""",
    "register": "select howdah.register(%(worker)s, '1 s', 'host', 7, '1', null, array['job'], 10)",
    "heartbeat": "select howdah.heartbeat(%(worker)s, array[%(task)s]::bigint[], array[1]::bigint[], 1)",
    "pump": "select howdah.pump(%(worker)s, 1, null, null, null, null, null, null,"
    """ '[{"name": "l", "queue": "default", "kinds": ["job"], "share": 1, "limit": 5, "cursors": {}}]', 5, true)""",
    "report": """select howdah.report(%(worker)s, array[%(task)s]::bigint[], array[1]::bigint[], array['{"done": 1}']::jsonb[])""",
    "settle_rest": "select howdah.settle_rest(%(worker)s, jsonb_build_array(jsonb_build_object("
    "'id', %(task)s::bigint, 'epoch', 1, 'to', 'failed', 'error', 'x', 'event', 'failure')))",
    "leave": "select howdah.leave(%(worker)s)",
    "send": """select howdah.send(%(actor)s, '{"n": 1}')""",
    "inboxes": "select howdah.inboxes(array[%(actor)s::bigint])",
    "reserve_ids": "select howdah.reserve_ids(3)",
    "backoff": "select howdah.backoff(null, 3)",
    "wake_suspended": "select howdah.wake_suspended()",
    "expire": "select howdah.expire()",
    "rescue": "select howdah.rescue()",
    "make_partitions": "select howdah.make_partitions(8)",
    "retain": "select howdah.retain()",
    "waiting_queues": "select howdah.waiting_queues()",
    "cancel": "select howdah.cancel(%(task)s, 'attacked')",
    "edit": """select howdah.edit(%(failed)s, '{"b": 2}')""",
    "retry": "select howdah.retry(%(failed)s)",
    "pause": "select howdah.pause('paused', 'attacked')",
    "resume": "select howdah.resume('paused')",
    "stop_workers": "select howdah.stop_workers()",
    "step_counts": "select howdah.step_counts('job')",
    "schedule": """select howdah.schedule('other', 'job', '*/5 * * * *', payload => '{"a": 1}', timezone => 'Europe/Riga')""",
    "pause_schedule": "select howdah.pause_schedule('due', 'attacked')",
    "resume_schedule": "select howdah.resume_schedule('due')",
    "trigger": "select howdah.trigger('due')",
    "unschedule": "select howdah.unschedule('due')",
    "declare_schedules": """select howdah.declare_schedules('{job}', '[{"name": "declared", "kind": "job", "cron": "@daily"}]')""",
    "due_schedules": "select howdah.due_schedules()",
    "schedule_failed": "select howdah.schedule_failed('due', howdah.now(), 'broken')",
    "fire": "select howdah.fire('due', %(seen)s, %(ticks)s, %(tick)s, null)",
    "stand": "select howdah.stand('job', 'default', 0, 'standing')",
    "instructions": "select howdah.instructions('schedule:due')",
    "declare_limits": """select howdah.declare_limits('[{"name": "SES", "running": 3}]', '[{"name": "limited", "running": 3}]')""",
    "tell_health": "select howdah.tell_health('job', true, '0', '0')",
    "set_limit": "select howdah.set_limit('tenant:*', 3, '100/min', 5)",
    "unset_limit": "select howdah.unset_limit('tenant:*')",
    "close_group": "select howdah.close_group('SES', '1 hour', 'attacked')",
    "open_group": "select howdah.open_group('SES')",
    "set_queue": "select howdah.set_queue('limited', 3, true, '1 min')",
    "count_tasks": """select howdah.count_tasks('{"kind": "job"}')""",
    "retry_all": """select howdah.retry_all('{"status": ["failed", "queued"]}')""",
    "edit_all": """select howdah.edit_all('{"all": true}', queue => 'other')""",
    "export_tasks": "select howdah.export_tasks()",
    "import_tasks": """select howdah.import_tasks('[{"kind": "job", "inbox": [{"body": 1}]}]')""",
    "import_families": "select howdah.import_families()",
    "drain": "select howdah.drain('drained', 'attacked')",
    "disable": "select howdah.disable('job', 'attacked')",
    "enable": "select howdah.enable('job')",
    "purge": "select howdah.purge('actor')",
    "cancel_all": """select howdah.cancel_all('{"kind": "job"}', 'attacked')""",
}
# In pg_temp what is searched there first: relations and types. In the schema `mine`, which the caller puts before
# pg_catalog, every function and operator that a body of howdah could mean. Whoever calls one as somebody else is noted.
_TRAPS = """
create schema mine;
grant usage on schema mine to public;
create sequence mine.loot;                 -- it counts, and no rollback takes it back
grant usage on sequence mine.loot to public;
create function mine.caught(what text) returns void language plpgsql set search_path = pg_catalog as $$
begin
  if current_user <> session_user then
    perform nextval('mine.loot');
  end if;
end $$;
do $do$
declare
  found  record;
  bodies text := (select string_agg(prosrc, ' ') from pg_proc where pronamespace = 'howdah'::regnamespace);
  n      int := 0;
begin
  for found in
    select proname as name, pg_get_function_identity_arguments(p.oid) as args, pg_get_function_result(p.oid) as result
      from pg_proc p join pg_type t on t.oid = prorettype
     where pronamespace = 'pg_catalog'::regnamespace and prokind = 'f' and not proretset and t.typtype <> 'p'
       and bodies ~ ('\\m' || proname || '\\(')
       and not exists (select from unnest(proargtypes) a join pg_type y on y.oid = a where y.typtype = 'p')
  loop
    n := n + 1;
    execute format('create function mine.%I(%s) returns %s language plpgsql as $$ begin perform mine.caught(%L); return null; end $$',
                   found.name, found.args, found.result, found.name);
  end loop;
  for found in
    select oprname as name, oprleft::regtype as l, oprright::regtype as r, oprresult::regtype as result from pg_operator
     where oprnamespace = 'pg_catalog'::regnamespace and oprkind = 'b'
       and oprname in ('=', '<>', '<', '>', '<=', '>=', '||', '+', '-', '*', '->', '->>', '?', '~')
       and oprleft::regtype = any ('{text,int,bigint,timestamptz,interval,jsonb,uuid,float8,boolean,numeric,name,oid}'::regtype[])
       and oprright::regtype = any ('{text,int,bigint,timestamptz,interval,jsonb,uuid,float8,boolean,numeric,name,oid}'::regtype[])
  loop
    n := n + 1;
    execute format('create function mine.operator_%s(%s, %s) returns %s language plpgsql as '
                   '$$ begin perform mine.caught(%L); return null; end $$',
                   n, found.l, found.r, found.result, found.name);
    execute format('create operator mine.%s (leftarg = %s, rightarg = %s, function = mine.operator_%s)', found.name, found.l, found.r, n);
  end loop;
  assert n > 100;
end $do$;
create function pg_temp.jsonb_typeof(jsonb) returns text language plpgsql as $$ begin perform mine.caught('temp'); end $$;
create type pg_temp.text as enum ('odd');
create type pg_temp.timestamptz as enum ('odd');
create temp table pg_class (odd int); create temp table pg_inherits (odd int); create temp table pg_roles (odd int);
"""
_SHADOWED = (
    "task", "archive", "event", "kind", "worker", "queue", "tasks", "queues", "workers", "new_rows", "task_id_seq",
    "pick", "held", "names", "done", "message", "letter", "reader", "child", "family", "asked",
)  # fmt: skip


def set_traps(place: Place, dsn: str, conn: psycopg.Connection) -> None:
    """Everything the user of this connection can do to be found first."""
    with psycopg.connect(dsn, autocommit=True) as owner:
        owner.execute("drop schema if exists mine cascade")
    database = Identifier(conn.info.dbname)
    place.execute(SQL("grant create, temporary on database {} to {}").format(database, Identifier(conn.info.user)))
    conn.execute(_TRAPS.encode())
    for name in _SHADOWED:
        conn.execute(f"create temp table {name} (odd int)".encode())
    conn.execute("set search_path = mine, pg_temp, pg_catalog")


def untrap(place: Place, conn: psycopg.Connection) -> None:
    with psycopg.connect(place.server.dsn(conn.info.dbname), autocommit=True) as everything:
        everything.execute("drop schema if exists mine cascade")


def attack(conn: psycopg.Connection, owner: psycopg.Connection, functions: set[str]) -> dict[str, list[Any]]:
    """Call all of these, and the triggers; what each returned."""
    owner.execute("""select howdah.declare('[{"name": "job"}, {"name": "actor", "inbox": {}}]')""")
    ids = {name: put(owner, payload='{"secret": 1}') for name in ("task", "ended", "failed")}
    ids["actor"] = put(owner, "actor", delay="1 hour")
    owner.execute("select howdah.send(%s, '1')", [ids["actor"]])
    worker = Worker(owner, ["job"])
    claimed = worker.claim(3)
    worker.end(*[task for task in claimed if task.id == ids["failed"]], to="failed", error="broken")
    worker.end(*[task for task in claimed if task.id == ids["ended"]], to="cancelled", reason="enough")
    worker.end(*[task for task in claimed if task.id == ids["task"]], to="queued")
    worker.fall_asleep()
    dead = Worker(owner, ["job"])
    # rescue judges nobody while the server has been up for less than a lease.
    owner.execute("update howdah.worker set ttl = '1 s', lease_until = '-infinity' where id = %s", [dead.id])
    owner.execute("update howdah.worker set ttl = '1 s'")
    owner.execute(
        "create table if not exists howdah.event_20200101 partition of howdah.event for values from ('2020-01-01 00:00:00+00')"
        " to ('2020-01-02 00:00:00+00')"
    )
    owner.execute("select howdah.schedule('due', 'job', every => '1 s')")
    seen = ask(owner, "select after from howdah.schedule")
    times = {"seen": seen, "tick": seen + timedelta.resolution, "ticks": [seen + timedelta.resolution]}
    mine = uuid4()
    with conn.transaction():  # one after the other, as if nothing were strange
        answers: dict[str, list[Any]] = {}
        for name, call in CALLS.items():
            if name in functions:
                answers[name] = conn.execute(call.encode(), ids | times | {"worker": mine}).fetchall()
        conn.execute("insert into howdah.task (kind, payload) values ('job', '{}')")
        with conn.cursor().copy("copy howdah.task (id, kind, queue, priority, run_at, payload) from stdin") as stream:
            stream.write(f"{2**50}\tjob\tdefault\t0\t2026-01-01\t{{}}\n")
    return answers


@pytest.mark.parametrize("role", ["howdah_client", "howdah_worker", "howdah_admin"])
def test_names_of_the_callers_change_nothing(
    place: Place, dsn: str, conn: psycopg.Connection, connect: Callable[..., psycopg.Connection], role: str
) -> None:
    assert set(CALLS) == set[str]().union(*FUNCTIONS.values()), "every function that is granted is attacked"
    attacker = connect(role)
    set_traps(place, dsn, attacker)
    try:
        answers = attack(attacker, conn, FUNCTIONS[role])
        assert not ask(attacker, "select is_called from mine.loot")
        for name in _SHADOWED:
            assert column(attacker, f"select odd from pg_temp.{name}") == []
        assert answers.keys() == FUNCTIONS[role]
        # They did what they are for.
        assert [name for name, rows in answers.items() if not rows and name not in ("waiting_queues",)] == []
        owners = "select distinct pg_get_userbyid(relowner) from pg_class where relnamespace = 'howdah'::regnamespace"
        assert column(conn, owners) == [place.owner]
        if role == "howdah_worker":
            assert ask(conn, "select count(*) from pg_class where relname = 'event_20200101'") == 0, "retain drops"
            assert ask(conn, "select count(*) from howdah.worker where status = 'dead'") == 2, "rescue rescues"
    finally:
        untrap(place, conn)


def test_the_same_attack_succeeds_where_the_search_path_is_not_pinned(place: Place) -> None:
    dsn = place.database()
    migrate(Database(dsn), roles=True)
    with (
        psycopg.connect(dsn, autocommit=True) as owner,
        psycopg.connect(place.login(dsn, "howdah_client").dsn, autocommit=True) as attacker,
    ):
        owner.execute(
            "do $$ declare f regprocedure; begin for f in select oid from pg_proc where pronamespace = 'howdah'::regnamespace loop"
            " execute format('alter function %s reset search_path', f); end loop; end $$"
        )
        set_traps(place, dsn, attacker)
        for call in (CALLS["enqueue"], "insert into howdah.task (kind, payload) values ('job', '{}')"):
            try:
                attacker.execute(call.encode())
            except psycopg.Error:  # what is shadowed returns nonsense
                pass
            attacker.execute("rollback")
            assert ask(attacker, "select is_called from mine.loot"), call
            attacker.execute("alter sequence mine.loot restart")


# ── it stays so ──


@pytest.fixture
def another_digest(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """As if the package had other SQL files than the database."""
    monkeypatch.setattr(howdah.migrate, "digest", lambda: secrets.token_hex(8))
    return monkeypatch


def without_digest(there: dict[str, list[str]]) -> dict[str, list[str]]:
    return {name: lines for name, lines in there.items() if name != "installed"}


def test_a_second_call_changes_nothing(dsn: str, conn: psycopg.Connection) -> None:
    before = snapshot(conn)
    assert migrate(Database(dsn)) == []
    assert migrate(Database(dsn), roles=True) == ["roles.sql"]
    for k in before:
        print("DIFF", k, sorted(set(snapshot(conn)[k]) ^ set(before[k])))
    assert snapshot(conn) == before
    assert matrix(conn) == EXPECTED


@pytest.mark.usefixtures("another_digest")
def test_a_later_migration_keeps_the_roles_without_being_asked(dsn: str, conn: psycopg.Connection) -> None:
    before = snapshot(conn)
    conn.execute(
        "grant all on howdah.task, howdah.archive to public; grant insert (key) on howdah.task to howdah_viewer"
    )
    conn.execute(
        "grant execute on all functions in schema howdah to howdah_client; drop function howdah.pause(text, text)"
    )
    assert migrate(Database(dsn)) == [script.name for script in replaced()]
    assert matrix(conn) == EXPECTED
    assert without_digest(snapshot(conn)) == without_digest(before)


def test_a_new_function_is_nobodys_until_it_is_granted(
    dsn: str, conn: psycopg.Connection, another_digest: pytest.MonkeyPatch
) -> None:
    new = Script(
        "functions/brand_new.sql",
        "create or replace function howdah.brand_new() returns int language sql as 'select 1'",
    )
    files = (*replaced(), new)
    with another_digest.context() as patch:
        patch.setattr(howdah.migrate, "replaced", lambda: files)
        migrate(Database(dsn))
        assert ask(conn, "select count(*) from pg_proc where proname = 'brand_new'") == 1
        assert matrix(conn) == EXPECTED
    migrate(Database(dsn))
    assert ask(conn, "select count(*) from pg_proc where proname = 'brand_new'") == 0


def test_a_database_that_never_asked_is_left_as_it_is(place: Place, roles_dsn: str) -> None:
    dsn = place.database()
    migrate(Database(dsn))
    with psycopg.connect(dsn, autocommit=True) as conn:
        rights = "select count(*) from pg_proc where pronamespace = 'howdah'::regnamespace and (prosecdef or proacl is not null)"
        assert ask(conn, rights) == 0
        assert not ask(conn, "select has_schema_privilege('howdah_client', 'howdah', 'usage')")
    assert migrate(Database(dsn), roles=True) == ["roles.sql"]
    with psycopg.connect(dsn, autocommit=True) as conn:
        assert matrix(conn) == EXPECTED


@pytest.mark.usefixtures("another_digest")
def test_the_script_does_the_same(place: Place, dsn: str, conn: psycopg.Connection) -> None:
    with psycopg.connect(place.database(), autocommit=True) as by_hand:
        by_hand.execute(script(with_roles=True).encode())
        assert matrix(by_hand) == EXPECTED
        assert without_digest(snapshot(by_hand)) == without_digest(snapshot(conn))
        by_hand.execute(script(after=len(migrations())).encode())
        assert matrix(by_hand) == EXPECTED
        assert without_digest(snapshot(by_hand)) == without_digest(snapshot(conn))


def test_older_code_does_not_take_away_what_a_newer_release_granted(place: Place) -> None:
    dsn = place.database()
    migrate(Database(dsn), roles=True)
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("update howdah.installed set version = '9.9.9', digest = 'later'")
        assert migrate(Database(dsn)) == []
        with pytest.raises(SchemaMismatch, match=r"of howdah 9\.9\.9, newer than this code"):
            migrate(Database(dsn), roles=True)


# ── making them ──


@pytest.fixture
def fresh_roles(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names that no role of this server has yet."""
    suffix, sql = f"_{secrets.token_hex(4)}", roles().sql
    for role in ROLES:
        sql = sql.replace(role, role + suffix)
    monkeypatch.setattr(howdah.migrate, "roles", lambda: Script("roles.sql", sql))
    return [role + suffix for role in ROLES]


def test_without_the_right_to_make_roles_it_says_what_to_do(place: Place, fresh_roles: list[str]) -> None:
    user = place.user()
    dsn = place.database(user)
    with pytest.raises(CannotConnect, match=f"{user} may not create role {fresh_roles[0]}") as caught:
        migrate(Database(dsn), roles=True)
    with psycopg.connect(dsn) as conn:
        assert snapshot(conn) == {}, "all or nothing"
    advice = (caught.value.hint or "").removeprefix("As a superuser: ").split("; or ")[0]
    assert advice == "; ".join(f"CREATE ROLE {role} NOLOGIN" for role in fresh_roles)
    place.execute(SQL(advice))  # pyright: ignore[reportArgumentType]
    assert migrate(Database(dsn), roles=True)[-1] == "roles.sql"


def test_two_databases_at_once_make_the_roles_once(place: Place, fresh_roles: list[str]) -> None:
    first, second = place.database(), place.database()
    with (
        psycopg.connect(first) as other,
        psycopg.connect(first, autocommit=True) as watcher,
        ThreadPoolExecutor(2) as threads,
    ):
        other.execute(SQL("create role {}").format(Identifier(fresh_roles[0])))  # and not committed yet
        both = [threads.submit(migrate, Database(dsn), roles=True) for dsn in (first, second)]
        waiting = "select count(*) from pg_locks where locktype = 'transactionid' and not granted"
        until_sync(lambda: ask(watcher, waiting) == 2, "both to come to the role that is being made")
        other.commit()
        assert [migrated.result(60)[-1] for migrated in both] == ["roles.sql"] * 2
    with psycopg.connect(first) as conn:
        assert ask(conn, "select count(*) from pg_roles where rolname = any (%s)", [fresh_roles]) == 4


def test_what_has_several_owners_is_refused(place: Place) -> None:
    dsn = place.database()
    migrate(Database(dsn))
    with (
        psycopg.connect(dsn) as conn,
        psycopg.connect(place.server.dsn(conn.info.dbname), autocommit=True) as superuser,
    ):
        superuser.execute("alter function howdah.due(interval, timestamptz) owner to current_user")
    with pytest.raises(CannotConnect, match="do not all have the same owner") as caught:
        migrate(Database(dsn), roles=True)
    assert "REASSIGN OWNED" in (caught.value.hint or "")
