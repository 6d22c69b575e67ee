"""Mutation of the SQL of schedules: with any one guard gone, some scenario must see it. The machinery is the model's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from model.laboratory import Laboratory, Mutant, named, opened
from model.scenarios import Scenario
from schedules import scenarios as stories

MUTANTS = [
    Mutant("fire", "and x.after = fire.seen ", "", stories.who_comes_second_fires_nothing),
    Mutant("fire", "for no key update skip locked", "", stories.nobody_waits_for_who_is_first),
    Mutant("fire", "for no key update skip locked", "for no key update", stories.nobody_waits_for_who_is_first),
    Mutant("fire", "fire.through > greatest(fire.seen, howdah.now())", "false", stories.no_tick_before_its_time),
    Mutant("fire", "greatest(fire.seen, howdah.now())", "howdah.now()", stories.a_clock_set_back_leads_nobody_back),
    Mutant("fire", "fire.through < fire.seen", "false", stories.time_goes_on),
    Mutant("fire", "t <= fire.seen or ", "", stories.no_tick_outside_of_what_is_dealt_with),
    Mutant("fire", " or t > fire.through", "", stories.no_tick_outside_of_what_is_dealt_with),
    Mutant("fire", "and x.paused_at is null ", "", stories.paused_fires_nothing),
    Mutant("fire", "and x.retired_at is null", "", stories.retired_fires_nothing),
    Mutant("fire", "s.overlap <> 'allow' and exists", "false and exists", stories.one_at_a_time),
    Mutant("fire", " and t.status <> 'failed'", "", stories.a_parked_task_stops_nothing),
    Mutant("fire_tick", "on conflict (source, tick) where source is not null do nothing", "",
           stories.a_live_tick_gets_no_second_task),
    Mutant("next_in_line", "where not exists (", "where true or not exists (", stories.those_in_line_wait),
    Mutant("next_in_line", "and b.status <> 'failed' ", "", stories.a_parked_task_stops_nothing),
    Mutant("next_in_line", " and t.status = 'suspended' and t.epoch = 0\n    returning", "\n    returning",
           stories.two_wake_the_next),
    Mutant("resume_schedule", "greatest(x.after, howdah.now())", "howdah.now()",
           stories.a_clock_set_back_leads_nobody_back),
    Mutant("put_schedules", "greatest(clock, s.after)", "clock", stories.a_clock_set_back_leads_nobody_back),
    Mutant("schedule_failed", "and s.after = schedule_failed.seen ", "", stories.an_old_failure_is_not_told),
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
