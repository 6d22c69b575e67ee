"""Mutation of the SQL: with any one guard gone, some scenario must see it.

A mutant replaces one guard in one shipped file, in a database of its own, and names the scenario that notices. The guards
of UNNEEDED can go and nothing follows from it: the reasons stand beside them, and that no scenario notices is checked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from model import family_scenarios as families
from model import inbox_scenarios as inboxes
from model import scenarios as stories
from model.laboratory import Laboratory, Mutant, named, opened
from model.scenarios import Scenario

MUTANTS = [
    Mutant("settle_done", "t.epoch = d.epoch", "true", stories.stale_epoch_of_the_same_worker),
    Mutant("settle_done", "t.worker = settle_done.worker", "true", stories.outcome_of_a_task_that_went_back),
    Mutant("settle_moved", "t.epoch = a.epoch", "true", stories.stale_epoch_of_the_same_worker),
    Mutant("settle_moved", "t.worker = settle_moved.worker", "true", stories.outcome_of_a_task_that_went_back),
    Mutant("settle_moved", "when t.cancel_at is not null then 'ended'", "", stories.cancelled_while_it_ran),
    Mutant("settle_ended", "case x.\"to\" when 'succeeded' then 'succeeded' else 'cancelled' end", "'cancelled'",
           stories.cancelled_while_it_ran),
    Mutant("report", "t.epoch = r.epoch", "true", stories.stale_epoch_of_the_same_worker),
    Mutant("report", "t.worker = report.worker", "true", stories.outcome_of_a_task_that_went_back),
    Mutant("heartbeat", "w.status = 'live'", "true", stories.dead_worker_claims_and_renews),
    Mutant("heartbeat", "t.claim_seq <= heartbeat.settled", "true", stories.heartbeat_that_overtakes_the_reply_to_a_claim),
    Mutant("heartbeat", "(t.id, t.epoch) not in (select h.id, h.epoch", "(t.id) not in (select h.id",
           stories.lost_reply_to_the_second_claim_of_a_task),
    Mutant("heartbeat", "attempt = greatest(t.attempt - 1, 0)", "attempt = t.attempt", stories.lost_reply_to_a_claim),
    Mutant("heartbeat", "t.cancel_at is null", "true", stories.cancelled_in_the_middle_of_a_heartbeat),
    Mutant("heartbeat", " skip locked", "", stories.beat_while_a_task_is_locked),
    Mutant("leave", " and x.cancel_at is null order by", " order by", families.leave_while_a_parent_is_locked),
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
    Mutant("rescue", "interval '0') + w.ttl < clock", "interval '0') < clock", stories.overdue_has_a_lease_of_grace),
    Mutant("rescue", "where w.status = 'dead'", "where w.status = 'dead' and w.ended_at = clock",
           stories.dead_rows_stay_while_named),
    Mutant("lose", " skip locked", "", stories.rescue_while_a_task_is_settled),
    Mutant("lose", "or lose.counts_as_lost and", "or false and", stories.poison_is_parked),
    Mutant("lose", "t.attempt >= coalesce(k.max_attempts, 6)", "false", stories.attempts_are_bounded),
    Mutant("retain", "not exists (select from howdah.task t where t.worker = w.id and t.status = 'running')", "true",
           stories.dead_rows_stay_while_named),
    Mutant("put", "t.status <> 'running'", "true", stories.replace_meets_a_claim),
    Mutant("put", "on conflict (key) where key is not null do nothing", "", stories.same_key_twice),
    Mutant("cancel", "perform howdah.lock_family(cancel.id, cancel.cascade);", "", inboxes.child_ends_while_its_parent_goes_to_sleep),
    Mutant("known_task", " for no key update", "", stories.retry_meets_a_claim),
    Mutant("task_resume", "new.attempt := 0;", "", stories.parked_and_resumed),
    Mutant("0001_tables", "create unique index task_key", "create index task_key", stories.same_key_twice),
    Mutant("check_task", "return howdah.examine_task(task)", "return true", stories.tables_refuse_what_cannot_be),
    Mutant("check_task", "and task.worker is null", "", stories.tables_refuse_what_cannot_be),
    Mutant("check_task", "task.error, task.cancel_at", "task.cancel_at", stories.tables_refuse_what_cannot_be),
    Mutant("check_task", "task.error, task.cancel_at", "task.error", stories.tables_refuse_what_cannot_be),
    Mutant("examine_task", "(task.status = 'running') is distinct from (task.worker is not null and task.claim_seq is not null)", "false",
           stories.tables_refuse_what_cannot_be),
    Mutant("examine_task", "(task.status = 'failed') is distinct from (task.error is not null)", "false",
           stories.tables_refuse_what_cannot_be),
    Mutant("examine_task", "task.cancel_at is not null and task.status <> 'running'", "false", stories.tables_refuse_what_cannot_be),

    # A task sleeps only if nothing came since it looked, and whoever has something for it finds it awake or wakes it.
    Mutant("settle_moved", "t.inbox_seq <> a.inbox_seq", "false", inboxes.message_that_came_since_the_inbox_was_read),
    Mutant("settle_moved", "t.inbox_seq <> a.inbox_seq", "exists (select from howdah.message m where m.task_id = t.id)",
           inboxes.message_that_came_since_the_inbox_was_read),
    Mutant("settle_moved", "       for no key update of t\n", "", inboxes.message_while_its_reader_goes_to_sleep),
    Mutant("send", " for no key update", "", inboxes.message_while_its_reader_goes_to_sleep),
    Mutant("settle_rest", "exists (@.send) || ", "", inboxes.message_of_a_task_while_its_reader_goes_to_sleep),
    Mutant("settle_rest", "exists (@.parent) || ", "", inboxes.child_ends_while_its_parent_goes_to_sleep),
    Mutant("concerned", "jsonb_array_elements(x -> 'send') s", "jsonb_array_elements('[]') s",
           inboxes.message_of_a_task_while_its_reader_goes_to_sleep),
    Mutant("concerned", "where x ? 'parent'", "where false", inboxes.child_ends_while_its_parent_goes_to_sleep),
    Mutant("lock_family", "where t.id = lock_family.id and t.parent is not null", "where false",
           inboxes.child_ends_while_its_parent_goes_to_sleep),
    Mutant("lock_tasks", " for no key update", "", inboxes.child_ends_while_its_parent_goes_to_sleep),
    Mutant("settle_done", "perform howdah.lock_tasks(", "perform (", inboxes.child_ends_while_its_parent_goes_to_sleep),
    Mutant("wake_suspended", " skip locked", "", inboxes.alarm_rings_while_somebody_sends),
    Mutant("wake_suspended", " and t.run_at <= clock", "", inboxes.alarm_rings_while_somebody_sends),

    # Messages are there once, in order, for somebody.
    Mutant("deliver", "if missing is not null then", "if false then", inboxes.message_to_a_task_that_is_gone),
    Mutant("deliver", "elsif deaf is not null then", "elsif false then", inboxes.message_to_a_task_that_takes_none),
    Mutant("deliver", "r.must_read and exists", "exists", inboxes.end_of_a_child_is_told_to_whoever_it_is),
    Mutant("deliver", "where p.must_read and not p.there", "where not p.there", inboxes.end_of_a_child_is_told_to_whoever_it_is),
    Mutant("deliver", "and p.there order by l.n", "order by l.n", inboxes.end_of_a_child_is_told_to_whoever_it_is),
    Mutant("deliver", "order by l.n", "order by l.n desc", inboxes.messages_in_order),
    Mutant("spawn", "if taken is not null then", "if false then", inboxes.child_under_a_key_that_is_held),
    Mutant("spawn", "(c.message is not null)::int", "0", inboxes.messages_in_order),
    Mutant("settle_moved", "m.task_id = h.id and ", "", inboxes.what_is_consumed_is_named),
    Mutant("settle_moved", " and m.id = any (h.consumed)", "", inboxes.what_is_consumed_is_named),
    Mutant("settle_ended", "m.task_id = a.id and ", "", inboxes.what_was_read_at_the_end),
    Mutant("settle_ended", " and m.id = any (a.consumed)", "", inboxes.what_was_read_at_the_end),
    Mutant("settle_done", "if readers is not null then", "if false then", inboxes.what_nobody_will_read_is_forgotten),
    Mutant("settle_rest", "if ended.readers is not null then", "if false then", inboxes.what_nobody_will_read_is_forgotten),
    Mutant("bury", "where gone.inbox_seq > 0", "where false", inboxes.what_nobody_will_read_is_forgotten),

    # What a transition carries is there with it, or not at all.
    Mutant("settle_moved", "h.spawns > 0 and h.becomes <> 'ended'", "h.spawns > 0", families.cancelled_before_it_told_its_effects),
    Mutant("settle_moved", "h.send is not null and h.becomes <> 'ended'", "h.send is not null",
           families.cancelled_before_it_told_its_effects),
    Mutant("settle_moved", "h.consumed is not null and h.becomes <> 'ended'", "h.consumed is not null",
           families.cancelled_before_it_told_its_effects),
    Mutant("settle_ended", "e.spawn is not null and e.becomes = 'succeeded'", "e.spawn is not null",
           families.cancelled_before_it_told_its_effects),
    Mutant("settle_ended", "e.send is not null and e.becomes = 'succeeded'", "e.send is not null",
           families.cancelled_before_it_told_its_effects),
    Mutant("settle_ended", "a.becomes = 'succeeded' and m.task_id", "m.task_id", families.cancelled_before_it_told_its_effects),
    Mutant("settle_moved", "t.epoch = a.epoch", "true", families.stale_effects),
    Mutant("settle_moved", "t.epoch = a.epoch", "true", families.stale_effects_beside_the_right_ones),
    Mutant("settle_ended", "t.epoch = a.epoch", "true", families.stale_effects_beside_the_right_ones),
    Mutant("settle_moved", "t.worker = settle_moved.worker", "true", families.stale_effects),

    # A cancelled task takes its children with it, if whoever cancels it wants that.
    Mutant("cancel", "cancel.cascade", "true", families.cancelled_with_all_that_it_spawned),
    Mutant("cancel", "cancel.cascade", "false", families.cancelled_with_all_that_it_spawned),
    Mutant("settle_ended", " and e.cancel_at is null", "", families.cancelled_with_all_that_it_spawned),
    Mutant("settle_rest", "if ended.orphans is not null then", "if false then", families.cancelled_with_all_that_it_spawned),
    Mutant("descendants", "where x.parent = f.id", "where false", families.cancelled_with_all_that_it_spawned),

    # A parent knows how many of its children have not told their end.
    Mutant("settle_moved", " and not h.told", "", families.child_that_is_parked_tells_once),
    Mutant("settle_moved", "told = t.told or h.becomes = 'failed' and t.parent is not null", "told = t.told",
           families.child_that_is_parked_tells_once),
    Mutant("settle_done", "'told', d.told", "'told', false", families.child_that_is_parked_tells_once),
    Mutant("settle_ended", "'told', e.told", "'told', false", families.child_that_is_parked_tells_once),
    Mutant("bury", "'told', gone.told", "'told', false", families.child_that_is_parked_tells_once),
    Mutant("bury", "where gone.parent is not null", "where false", families.child_that_is_parked_tells_once),
    Mutant("ends", "not (x -> 'told')::boolean", "true", families.child_that_is_parked_tells_once),
    Mutant("lose", " and not t.told", "", families.child_that_is_lost_again_and_again_tells_once),
    Mutant("lose", "told = x.told or parks and x.parent is not null", "told = x.told",
           families.child_that_is_lost_again_and_again_tells_once),
    Mutant("deliver", "not t.joining or t.children <= r.fresh", "true", families.join_wakes_with_the_last_child),
    Mutant("deliver", "t.children <= r.fresh", "t.children <= r.letters", families.join_wakes_with_the_last_child),
    Mutant("deliver", "t.children <= r.fresh", "t.children <= 1", families.join_of_all_that_end_at_once),
    Mutant("settle_moved", "t.children + a.spawns = 0", "t.children = 0", families.join_wakes_with_the_last_child),
    Mutant("settle_moved", "t.children + a.spawns = 0", "false", families.join_of_nobody),
    Mutant("retry", "live.status = 'suspended' and live.joining and exists", "false and exists", families.join_wakes_with_the_last_child),
    Mutant("put", "when live.has_family then", "when false then", families.parent_is_not_replaced),
    Mutant("put", "t.children > 0 or exists", "exists", families.parent_is_not_replaced),
    Mutant("put", "t.children > 0 or exists (select from howdah.message m where m.task_id = t.id and m.type = 'eof')", "t.children > 0",
           families.parent_is_not_replaced),
    Mutant("lose", "where x.id = t.parent for no key update skip locked", "where x.id = t.parent for no key update",
           families.rescue_of_a_child_whose_parent_is_locked),
    Mutant("lose", "if not found and exists (select from howdah.task x where x.id = t.parent) then", "if false then",
           families.rescue_of_a_child_whose_parent_is_locked),

    # Going on in place, and beginning with a message, are claims like any other.
    Mutant("settle_moved", "epoch = t.epoch + (h.becomes = 'running')::int", "epoch = t.epoch", inboxes.going_on_in_place),
    Mutant("settle_moved", "case h.becomes when 'running' then settle_moved.seq end", "case h.becomes when 'running' then t.claim_seq end",
           inboxes.going_on_in_place),
    Mutant("settle_moved", "                     + (h.becomes = 'running')::int", "", inboxes.going_on_in_place),
    Mutant("settle_moved", "settle_moved.seq is null or ", "", inboxes.going_on_where_it_may_not),
    Mutant("settle_moved", "(q.paused or q.max_running is not null))) then 'queued'", "q.max_running is not null)) then 'queued'",
           inboxes.going_on_where_it_may_not),
    Mutant("settle_moved", "q.name = coalesce(a.queue, t.queue)", "q.name = t.queue", inboxes.going_on_where_it_may_not),
    Mutant("deliver", "epoch = t.epoch + p.begins::int", "epoch = t.epoch", inboxes.beginning_with_a_message),
    Mutant("deliver", "attempt = t.attempt + p.begins::int", "attempt = t.attempt", inboxes.beginning_with_a_message),
    Mutant("deliver", "when p.begins then deliver.seq", "when p.begins then 0", inboxes.beginning_with_a_message),
    Mutant("deliver", " <= deliver.room as begins", " > 0 as begins", inboxes.beginning_with_a_message),
    Mutant("deliver", "coalesce(deliver.eager -> t.queue ? t.kind, false)", "deliver.eager is not null",
           inboxes.not_beginning_with_a_message),
    Mutant("deliver", "t.queue and (q.paused or q.max_running is not null)", "t.queue and q.max_running is not null",
           inboxes.not_beginning_with_a_message),
    Mutant("deliver", "a.wakes and a.mine and count", "a.mine and count", inboxes.not_beginning_with_a_message),
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
    ("settle_ended", " and t.worker = settle_ended.worker", ""): "settle_moved has just looked, and locked",
    ("send", "if not found then", "if false then"): "deliver says so too, but not how the task ended",
    ("cancel_one", " for no key update", ""): "whoever calls has locked what it cancels",
    (
        "deliver",
        "greatest(t.children - p.fresh, 0)",
        "t.children - p.fresh",
    ): "no child tells twice, unless the counter was changed by hand",
    ("settle_moved", "asked as materialized", "asked as"): "a function that is scanned once",
    ("wake_suspended", "due as materialized", "due as"): "a CTE with row locks is never inlined",
}
SCENARIOS = [*dict.fromkeys(mutant.noticed_by for mutant in MUTANTS), stories.rescue_while_a_worker_renews]


@pytest.fixture(scope="module")
def laboratory(server: Any) -> Iterator[Laboratory]:
    yield from opened(server)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_the_shipped_sql_passes(laboratory: Laboratory, scenario: Scenario) -> None:
    laboratory.tell(scenario)


@pytest.mark.parametrize("mutant", MUTANTS, ids=named)
def test_a_guard_that_is_gone_is_missed(laboratory: Laboratory, mutant: Mutant) -> None:
    laboratory.misses(mutant)


@pytest.mark.parametrize("guard", UNNEEDED, ids=lambda guard: f"{guard[0]}: {guard[1].strip()}")
def test_nothing_misses_what_is_there_for_the_reader(laboratory: Laboratory, guard: tuple[str, str, str]) -> None:
    put_back = laboratory.mutate(*guard)
    try:
        for scenario in SCENARIOS:
            laboratory.tell(scenario)
    finally:
        put_back()
