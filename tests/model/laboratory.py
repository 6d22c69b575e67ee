"""Where SQL is mutated: one guard of one shipped file replaced, in a database of its own, and put back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import psycopg
import pytest

from howdah.db.pool import Database
from howdah.errors import HowdahError
from howdah.migrate import migrate, migrations, replaced
from model.scenarios import Scenario
from model.scene import Scene


class Mutant(NamedTuple):
    file: str
    guard: str
    instead: str
    noticed_by: Scenario


class Laboratory:
    """One database on which a file can be replaced and put back."""

    def __init__(self, server: Any) -> None:
        self.server = server
        server.create_database("howdah_mutations")
        self.dsn = server.dsn("howdah_mutations")
        migrate(Database(self.dsn))
        self.scene = Scene(self.dsn, guarded=False)
        self.files = {
            script.name.split("/")[-1].removesuffix(".sql"): script.sql for script in (*migrations(), *replaced())
        }

    def mutate(self, file: str, guard: str, instead: str) -> Callable[[], None]:
        """Apply; the answer undoes it."""
        sql = self.files[file]
        assert guard in sql, f"{file}.sql has no {guard!r} any more: what guards that now?"
        conn = self.scene.conn()
        if file == "0001_tables":
            if "index" in guard:
                conn.execute("drop index howdah.task_key; create index task_key on howdah.task (key)")
                undo = "drop index howdah.task_key; create unique index task_key on howdah.task (key) where key is not null"
            else:
                name = next(line for line in sql.splitlines() if guard in line).split()[1]
                conn.execute(f"alter table howdah.task drop constraint {name}".encode())
                undo = f"alter table howdah.task add constraint {name} check ({guard})"
        else:
            conn.execute(sql.replace(guard, instead).encode())
            undo = sql

        def put_back() -> None:
            self.scene.wipe()
            conn.execute(undo.encode())

        return put_back

    def tell(self, scenario: Scenario) -> None:
        self.scene.wipe()
        try:
            scenario(self.scene)
            assert self.scene.breaches() == []
        finally:
            for name in ("one", "two"):
                self.scene.conn(name).rollback()

    def misses(self, mutant: Mutant) -> None:
        """With this guard gone, its scenario must see it."""
        put_back = self.mutate(mutant.file, mutant.guard, mutant.instead)
        try:
            with pytest.raises((AssertionError, psycopg.Error, HowdahError, pytest.fail.Exception)):
                self.tell(mutant.noticed_by)
        finally:
            put_back()


def opened(server: Any) -> Iterator[Laboratory]:
    """For a fixture of each module: every one has a database of its own."""
    laboratory = Laboratory(server)
    yield laboratory
    laboratory.scene.close()
    server.drop_database("howdah_mutations")


def named(mutant: Mutant) -> str:
    return f"{mutant.file}: {mutant.guard.strip()} → {mutant.instead.strip()}"
