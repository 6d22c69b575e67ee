"""Bring the schema `howdah` of a database to this version, or print the SQL that would."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version as package_version
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

import psycopg
from psycopg import Connection, IsolationLevel
from psycopg.rows import DictRow
from psycopg.sql import Identifier

from howdah.db.failures import MIGRATE, cannot_connect, readable
from howdah.db.pool import Database
from howdah.errors import CannotConnect, HowdahError, SchemaMismatch

OLDEST_SERVER = 14
# Whoever waits for a table lock blocks all who come after it: the traffic stands still no longer than this.
LOCK_TIMEOUT = "2s"
# Views first: functions return their rows. Bodies are not checked while installing, so no other order matters.
_REPLACED = ("views", "functions", "worker", "health", "doctor", "triggers")


@dataclass(frozen=True)
class Script:
    """One SQL file."""

    name: str
    sql: str

    @property
    def number(self) -> int:
        return int(self.name.split("/")[-1].split("_")[0])


@cache
def migrations() -> tuple[Script, ...]:
    """The numbered migrations, in order."""
    return _scripts("migrations")


@cache
def replaced() -> tuple[Script, ...]:
    """Everything that is replaced as a whole: functions, triggers, views."""
    return tuple(script for folder in _REPLACED for script in _scripts(folder))


@cache
def roles() -> Script:
    """Who may do what. Comes last; does nothing where roles were never asked for."""
    return Script("roles.sql", (files("howdah") / "sql" / "roles.sql").read_text(encoding="utf-8"))


def _scripts(folder: str) -> tuple[Script, ...]:
    root: Traversable = files("howdah") / "sql" / folder
    found = sorted((entry for entry in root.iterdir() if entry.name.endswith(".sql")), key=lambda entry: entry.name)
    return tuple(Script(f"{folder}/{entry.name}", entry.read_text(encoding="utf-8")) for entry in found)


@cache
def digest() -> str:
    """One hash over all SQL files: the same digest in the database means there is nothing to do."""
    content = "\0".join(script.name + "\0" + script.sql for script in (*migrations(), *replaced(), roles()))
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def release() -> str:
    """The version of this package."""
    return package_version("howdah")


@dataclass(frozen=True)
class State:
    """What a database has of howdah. `number` 0: nothing."""

    number: int = 0
    version: str | None = None
    digest: str | None = None

    @property
    def fits(self) -> bool:
        """Whether this code can work with it: the same tables, and its own functions or those of a newer release."""
        newer = _numbers(self.version) > _numbers(release())
        return self.number == len(migrations()) and (newer or self.digest == digest())


_STATE = """
select (select max(version) from howdah.migration) as number,
       (select version from howdah.installed) as version, (select digest from howdah.installed) as digest
"""


def _state(conn: Connection[DictRow]) -> State:
    there = conn.execute("select to_regclass('howdah.installed') is not null as there").fetchone()
    if not there or not there["there"]:
        return State()
    row: dict[str, Any] = conn.execute(_STATE).fetchone() or {}
    return State(row["number"] or 0, row["version"], row["digest"])


def check(database: Database) -> None:
    """Raise SchemaMismatch unless this code can work with the tables of this database.

    Older code may meet the functions of a newer release of the same schema number; never older functions or tables.
    """
    with database.connect_sync() as conn, readable():
        _check_server(conn)
        state = _state(conn)
    if state.number == 0:
        raise SchemaMismatch("this database has no tables of howdah yet", hint=MIGRATE)
    _refuse_newer(state)
    if not state.fits:
        raise SchemaMismatch(
            f"the tables are of howdah {state.version} (schema {state.number}), this code is {release()} (schema {len(migrations())})",
            hint=MIGRATE,
        )


def migrate(database: Database, *, roles: bool = False) -> list[str]:
    """Bring the database to this version. Returns what was applied: nothing when it was current.

    `roles`: make the roles howdah_client, howdah_worker, howdah_viewer and howdah_admin, and give each the least it
    needs; later migrations keep that up without being asked.
    One transaction under one lock: any number of processes may call this at the same time.
    Raises SchemaMismatch if the database is newer than this code, CannotConnect if it cannot be reached or a right is
    missing.
    """
    with database.connect_sync(autocommit=False) as conn:
        # Whatever the database's default is: who waited for the lock has to see what the winner did.
        conn.isolation_level = IsolationLevel.READ_COMMITTED
        try:
            _check_server(conn)
            if _state(conn).fits and not roles:
                return []
            conn.rollback()
            return _apply(conn, with_roles=roles)
        except psycopg.errors.InsufficientPrivilege as error:
            user, name = conn.info.user, conn.info.dbname
            grant = f"GRANT CREATE ON DATABASE {Identifier(name).as_string()} TO {Identifier(user).as_string()}"
            raise CannotConnect(
                f"user {user!r} may not install howdah in database {name!r}: {error.diag.message_primary}",
                hint=error.diag.message_hint
                or f"As the owner of the database: {grant}; or run the output of `howdah migrate --sql` as the owner",
            ) from error
        except psycopg.errors.ReadOnlySqlTransaction as error:
            raise CannotConnect(
                f"database {conn.info.dbname!r} is read-only: {error.diag.message_primary}",
                hint="Connect to the primary server; is default_transaction_read_only set?",
            ) from error
        except psycopg.errors.LockNotAvailable as error:
            raise HowdahError(
                f"a transaction in progress held a table for more than {LOCK_TIMEOUT}; nothing was changed",
                hint="Try again, or find it in pg_stat_activity",
            ) from error
        except psycopg.OperationalError as error:
            if not conn.closed:
                raise
            raise cannot_connect(database.dsn, error) from error


# Every statement of a migration, here and in `script`, comes after these.
_SETTINGS = (
    "select pg_advisory_xact_lock(hashtext('howdah.migrate'))",
    "set local check_function_bodies = off",
    "set local client_min_messages = warning",
    "set local search_path = pg_catalog",
)
_COMMENT = (
    "comment on schema howdah is 'Durable tasks: howdah. Start with the comments of the functions: \\df+ howdah.*'"
)
# What this transaction did not write has no file any more. Triggers go with their function.
_DROP_STALE = """
do $$
declare
  stale   record;
  trigger record;
begin
  for stale in select oid, oid::regprocedure as name from pg_proc where pronamespace = 'howdah'::regnamespace and age(xmin) > 0 loop
    for trigger in select tgname as name, tgrelid::regclass as relation from pg_trigger where tgfoid = stale.oid loop
      execute format('drop trigger %I on %s', trigger.name, trigger.relation);
    end loop;
    execute format('drop routine %s', stale.name);
  end loop;
end
$$"""


_ASK_FOR_ROLES = "set local howdah.roles = 'on'"


def _apply(conn: Connection[DictRow], *, with_roles: bool) -> list[str]:
    applied: list[str] = []
    for setting in _SETTINGS:
        conn.execute(setting.encode())
    conn.execute("select set_config('lock_timeout', %s, true)", [LOCK_TIMEOUT])
    state = _state(conn)
    _refuse_newer(state)
    if with_roles:
        conn.execute(_ASK_FOR_ROLES)
    if state.fits:
        if with_roles:
            _refuse_newer_functions(state)
            conn.execute(roles().sql.encode())
            conn.commit()
            applied.append(roles().name)
        return applied
    # Asked only when it is missing: CREATE SCHEMA needs a right that a later migration does not.
    if (
        state.number == 0
        and not conn.execute("select 1 as there from pg_namespace where nspname = 'howdah'").fetchone()
    ):
        conn.execute("create schema howdah")
        conn.execute(_COMMENT)
    for script in migrations()[state.number :]:
        conn.execute(script.sql.encode())
        conn.execute("insert into howdah.migration (version, name) values (%s, %s)", [script.number, script.name])
        applied.append(script.name)
    for script in replaced():
        _replace(conn, script)
        applied.append(script.name)
    conn.execute(_DROP_STALE)
    conn.execute("select howdah.make_partitions()")
    conn.execute(roles().sql.encode())
    if with_roles:
        applied.append(roles().name)
    conn.execute(
        "insert into howdah.installed (version, digest) values (%s, %s) on conflict (only_row) do update"
        " set version = excluded.version, digest = excluded.digest, at = clock_timestamp()",
        [release(), digest()],
    )
    conn.commit()
    return applied


def _replace(conn: Connection[DictRow], script: Script) -> None:
    """Replace in place; where the result type or a parameter name changed, drop and create."""
    try:
        with conn.transaction():
            conn.execute(script.sql.encode())
    except psycopg.errors.InvalidFunctionDefinition:
        name = re.search(r"create or replace function (howdah\.\w+)", script.sql)
        if name is None:
            raise
        overloads = conn.execute(
            "select oid::regprocedure::text as name from pg_proc where starts_with(oid::regprocedure::text, %s)",
            [name[1] + "("],
        ).fetchall()
        for overload in overloads:
            conn.execute(f"drop function {overload['name']}".encode())
        conn.execute(script.sql.encode())


def script(after: int = 0, *, with_roles: bool = False) -> str:
    """The SQL that brings a database with schema number `after` to this version; deterministic, in one transaction."""
    parts = [
        f"-- howdah {release()}, schema {len(migrations())}. For psql or a migration tool of your own.",
        "begin isolation level read committed;",
        *(f"{setting};" for setting in _SETTINGS),
        f"set local lock_timeout = '{LOCK_TIMEOUT}';",
    ]
    if after == 0:
        parts += ["create schema if not exists howdah;", f"{_COMMENT};"]
    for migration in migrations()[after:]:
        parts += [f"-- {migration.name}", migration.sql.strip()]
        parts.append(f"insert into howdah.migration (version, name) values ({migration.number}, '{migration.name}');")
    for each in replaced():
        parts += [f"-- {each.name}", each.sql.strip()]
    parts += [
        f"{_DROP_STALE.strip()};",
        "select howdah.make_partitions();",
        *([f"{_ASK_FOR_ROLES};"] if with_roles else []),
        f"-- {roles().name}",
        roles().sql.strip(),
        f"insert into howdah.installed (version, digest) values ('{release()}', '{digest()}') on conflict (only_row)"
        " do update set version = excluded.version, digest = excluded.digest, at = clock_timestamp();",
        "commit;",
    ]
    return "\n\n".join(parts) + "\n"


def _check_server(conn: Connection[Any]) -> None:
    number = conn.info.server_version
    if number < OLDEST_SERVER * 10000:
        raise CannotConnect(f"this server is PostgreSQL {number // 10000}; howdah needs {OLDEST_SERVER} or newer")


def _refuse_newer(state: State) -> None:
    if state.number > len(migrations()):
        raise SchemaMismatch(
            f"the tables are of howdah {state.version} (schema {state.number}), newer than this code: {release()}"
            f" (schema {len(migrations())})",
            hint=f'Upgrade this process: pip install "howdah>={state.version}"',
        )


def _refuse_newer_functions(state: State) -> None:
    if _numbers(state.version) > _numbers(release()):
        raise SchemaMismatch(
            f"the functions are of howdah {state.version}, newer than this code: {release()}, which does not know whom to grant them",
            hint=f'Use that release: pip install "howdah>={state.version}"',
        )


def _numbers(version: str | None) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version or "0")[:3])
