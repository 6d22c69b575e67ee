"""Mutation of the SQL of groups: with any one guard gone, some scenario must see it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from model import group_scenarios as stories
from model.laboratory import Laboratory, Mutant, named, opened
from model.scenarios import Scenario

MUTANTS = [
    Mutant("places_in", "for no key update skip locked", "for no key update", stories.two_claim_from_one_group),
    Mutant("places_in", "for no key update skip locked", "", stories.two_claim_from_one_group),
    Mutant("places_in", "n.most - (select count(*) from howdah.slot s where s.group_name = n.name)::int", "n.most",
           stories.a_place_is_counted_as_it_is_now),
    Mutant("places_in", "array_agg(g.name) filter (where g.closed_until > places_in.clock), min", "null::text[], min",
           stories.a_closed_group_starts_nothing),
    Mutant("claim_grouped", "free[at] := free[at] - 1;", "", stories.lanes_share_what_they_share),
    Mutant("claim_grouped", "tokens[at] := tokens[at] - pick.costs[i];", "", stories.a_rate_is_paid),
    Mutant("claim_grouped", "insert into howdah.slot (group_name, task_id) select g, k.id from take k cross join unnest(k.groups) g on conflict do nothing",  # noqa: E501
           "select", stories.a_place_is_counted_as_it_is_now),
    Mutant("claim_grouped", "set tat = greatest(g.tat, clock) + make_interval(secs => s.cost / g.per_second)", "set tat = g.tat",
           stories.a_rate_is_paid),
    Mutant("claim_grouped", "greatest(g.tat, clock) + ", "g.tat + ", stories.a_rate_is_paid),
    Mutant("claim_grouped", "coalesce(t.cost, 1) as cost", "1 as cost", stories.a_cost_is_counted),
    Mutant("claim_grouped", "needs := least(pick.costs[i], places.burst[at]);", "needs := pick.costs[i];",
           stories.what_costs_more_than_the_burst_is_not_for_ever),
    Mutant("task_slot", "delete from howdah.slot s where s.task_id = old.id;", "", stories.a_place_is_counted_as_it_is_now),
    Mutant("task_slot", "old.status = 'running' and new.status <> 'running' and ", "new.status = 'failed' and ",
           stories.a_place_is_counted_as_it_is_now),
    Mutant("close_groups", " and coalesce(g.closed_until, '-infinity') < each.until", "",
           stories.a_closing_is_not_shortened),
    Mutant("settle_moved", "t.groups is not null or exists (select from howdah.kind", "exists (select from howdah.kind",
           stories.the_next_step_stands_in_line),
    Mutant("rule_for", "g.own and position('*' in g.name) > 0", "false", stories.a_rule_holds_for_new_groups),
    Mutant("found_groups", "exception when lock_not_available then", "exception when division_by_zero then",
           stories.who_makes_a_group_keeps_nobody_waiting),
]  # fmt: skip
SCENARIOS = [*dict.fromkeys(mutant.noticed_by for mutant in MUTANTS)]


@pytest.fixture(scope="module")
def laboratory(server: Any) -> Iterator[Laboratory]:
    yield from opened(server)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_the_shipped_sql_passes(laboratory: Laboratory, scenario: Scenario) -> None:
    laboratory.tell(scenario)


@pytest.mark.parametrize("mutant", MUTANTS, ids=named)
def test_a_guard_that_is_gone_is_missed(laboratory: Laboratory, mutant: Mutant) -> None:
    laboratory.misses(mutant)
