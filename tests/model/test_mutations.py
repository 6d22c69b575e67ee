"""Mutation of the SQL: with any one guard gone, some scenario must see it.

A mutant replaces one guard in one shipped file, in a database of its own, and names the scenario that notices. The guards
of UNNEEDED can go and nothing follows from it: the reasons stand beside them, and that no scenario notices is checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import psycopg
import pytest

from howdah.db.pool import Database
from howdah.errors import HowdahError
from howdah.migrate import migrate, migrations, replaced
from model import scenarios as stories
from model.scenarios import Scenario
from model.scene import Scene


class Mutant(NamedTuple):
    file: str
    guard: str
    instead: str
    noticed_by: Scenario


MUTANTS = [
    Mutant("settle_done", "t.epoch = d.epoch", "true", stories.stale_epoch_of_the_same_worker),
    Mutant("settle_done", "t.worker = settle_done.worker", "true", stories.outcome_of_a_task_that_went_back),
    Mutant("settle_rest", "t.epoch = a.epoch", "true", stories.stale_epoch_of_the_same_worker),
    Mutant("settle_rest", "t.worker = settle_rest.worker", "true", stories.outcome_of_a_task_that_went_back),
    Mutant("settle_rest", "a.\"to\" <> 'succeeded'", "true", stories.cancelled_while_it_ran),
    Mutant("settle_rest", "t.cancel_at is not null and", "false and", stories.cancelled_while_it_ran),
    Mutant("report", "t.epoch = r.epoch", "true", stories.stale_epoch_of_the_same_worker),
    Mutant("report", "t.worker = report.worker", "true", stories.outcome_of_a_task_that_went_back),
    Mutant("heartbeat", "w.status = 'live'", "true", stories.dead_worker_claims_and_renews),
    Mutant("heartbeat", "t.claim_seq <= heartbeat.settled", "true", stories.heartbeat_that_overtakes_the_reply_to_a_claim),
    Mutant("heartbeat", "(t.id, t.epoch) not in (select h.id, h.epoch", "(t.id) not in (select h.id",
           stories.lost_reply_to_the_second_claim_of_a_task),
    Mutant("heartbeat", "attempt = greatest(t.attempt - 1, 0)", "attempt = t.attempt", stories.lost_reply_to_a_claim),
    Mutant("heartbeat", "t.cancel_at is null", "true", stories.cancelled_in_the_middle_of_a_heartbeat),
    Mutant("heartbeat", " skip locked", "", stories.beat_while_a_task_is_locked),
    Mutant("leave", "x.cancel_at is null", "true", stories.leave_while_a_task_to_be_cancelled_is_locked),
    Mutant("pump", "w.status = 'live'", "true", stories.dead_worker_claims_and_renews),
    Mutant("pump", " for key share", "", stories.rescue_while_a_worker_claims),
    Mutant("claim", "t.status = 'queued' and ", "t.status in ('queued', 'running') and ", stories.live_worker_is_left_alone),
    Mutant("claim", "for update skip locked", "for update", stories.two_workers_claim_at_once),
    Mutant("claim", "for update skip locked", "", stories.two_workers_claim_at_once),
    Mutant("claim", "epoch = t.epoch + 1", "epoch = t.epoch", stories.stale_epoch_of_the_same_worker),
    Mutant("rescue", "for update skip locked", "for update", stories.rescue_while_a_worker_claims),
    Mutant("rescue", "for update skip locked", "for no key update skip locked", stories.rescue_while_a_worker_claims),
    Mutant("rescue", "w.status = 'live' and w.lease_until < clock", "w.status = 'live'", stories.live_worker_is_left_alone),
    Mutant("rescue", "and pg_postmaster_start_time() + w.ttl < clock", "",
           stories.server_has_just_started),
    Mutant("rescue", "k.timeout + w.ttl < clock", "k.timeout < clock", stories.overdue_has_a_lease_of_grace),
    Mutant("rescue", "where w.status = 'dead'", "where w.status = 'dead' and w.ended_at = clock",
           stories.dead_rows_stay_while_named),
    Mutant("lose", " skip locked", "", stories.rescue_while_a_task_is_settled),
    Mutant("lose", "or lose.counts_as_lost and", "or false and", stories.poison_is_parked),
    Mutant("lose", "t.attempt >= coalesce(k.max_attempts, 6)", "false", stories.attempts_are_bounded),
    Mutant("retain", "not exists (select from howdah.task t where t.worker = w.id and t.status = 'running')", "true",
           stories.dead_rows_stay_while_named),
    Mutant("put", "t.status <> 'running'", "true", stories.replace_meets_a_claim),
    Mutant("put", "on conflict (key) where key is not null do nothing", "", stories.same_key_twice),
    Mutant("cancel", " for no key update", "", stories.cancel_meets_a_claim),
    Mutant("retry", " for no key update", "", stories.retry_meets_a_claim),
    Mutant("task_resume", "new.attempt := 0;", "", stories.parked_and_resumed),
    Mutant("0001_tables", "create unique index task_key", "create index task_key", stories.same_key_twice),
    Mutant("0001_tables", "(status = 'running') = (worker is not null and claim_seq is not null)", "true",
           stories.tables_refuse_what_cannot_be),
    Mutant("0001_tables", "(status = 'failed') = (error is not null)", "true", stories.tables_refuse_what_cannot_be),
    Mutant("0001_tables", "cancel_at is null or status = 'running'", "true", stories.tables_refuse_what_cannot_be),
]  # fmt: skip

UNNEEDED = {
    ("claim", "pick as materialized", "pick as"): "a CTE with row locks is never inlined",
    ("heartbeat", "unheld as materialized", "unheld as"): "a CTE with row locks is never inlined",
    (
        "heartbeat",
        " and t.epoch = u.epoch and t.worker = heartbeat.worker",
        "",
    ): "the row is locked since it was looked at",
    ("rescue", "gone as materialized", "gone as"): "a CTE with row locks is never inlined",
    ("leave", " and w.status = 'live'", ""): "what a dead worker still owns may as well go back by its own leave",
    ("lose", " and x.epoch = lose.epoch", ""): "rescue takes whatever a dead or overdue worker owns in the same moment",
}
SCENARIOS = [*dict.fromkeys(mutant.noticed_by for mutant in MUTANTS), stories.rescue_while_a_worker_renews]


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


@pytest.fixture(scope="module")
def laboratory(server: Any) -> Iterator[Laboratory]:
    opened = Laboratory(server)
    yield opened
    opened.scene.close()
    server.drop_database("howdah_mutations")


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_the_shipped_sql_passes(laboratory: Laboratory, scenario: Scenario) -> None:
    laboratory.tell(scenario)


@pytest.mark.parametrize(
    "mutant", MUTANTS, ids=lambda mutant: f"{mutant.file}: {mutant.guard.strip()} → {mutant.instead.strip()}"
)
def test_a_guard_that_is_gone_is_missed(laboratory: Laboratory, mutant: Mutant) -> None:
    put_back = laboratory.mutate(mutant.file, mutant.guard, mutant.instead)
    try:
        with pytest.raises((AssertionError, psycopg.Error, HowdahError, pytest.fail.Exception)):
            laboratory.tell(mutant.noticed_by)
    finally:
        put_back()


@pytest.mark.parametrize("guard", UNNEEDED, ids=lambda guard: f"{guard[0]}: {guard[1].strip()}")
def test_nothing_misses_what_is_there_for_the_reader(laboratory: Laboratory, guard: tuple[str, str, str]) -> None:
    put_back = laboratory.mutate(*guard)
    try:
        for scenario in SCENARIOS:
            laboratory.tell(scenario)
    finally:
        put_back()
