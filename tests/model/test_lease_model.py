"""The protocol has no counterexample; without any one of its rules it has one."""

from __future__ import annotations

import pytest

from model.lease_model import MUTANTS, VIEWS, check


@pytest.mark.parametrize("view", [view for view in VIEWS if view != "calm"])  # calm is a part of lease
def test_the_protocol_holds(view: str) -> None:
    found = check(VIEWS[view])
    assert found.broken is None, "\n".join([found.broken, *found.trace])
    assert found.states > 1000, "a model that goes nowhere breaks nothing"


@pytest.mark.parametrize("mutant", MUTANTS)
def test_no_rule_can_go(mutant: str) -> None:
    view, rule = MUTANTS[mutant]
    found = check(VIEWS[view], mutant)
    assert found.broken is not None, f"nothing breaks although {rule}"
    assert found.trace, found.broken
