"""filter: passes or drops, and says before it starts what it cannot read."""

from __future__ import annotations

from pathlib import Path

import pytest

from howdah.outcomes import Fail
from howdah.pipeline.stage import InvalidField
from howdah.pipeline.stages.filter import Filter
from pipeline.standing import events, stage


@pytest.mark.parametrize(
    ("when", "passes"),
    [
        ("amount > 100", True),
        ("event.amount > 100 and currency == 'EUR'", True),
        ("currency in ['USD', 'GBP']", False),
        ("tags | length", False),
        ("coupon is defined and coupon", False),
        ("true", True),
    ],
)
async def test_an_event_passes_if_the_expression_is_true(tmp_path: Path, when: str, passes: bool) -> None:
    event = {"amount": 101, "currency": "EUR", "tags": []}

    assert await events(stage(Filter, tmp_path, when=when), event) == ([event] if passes else [])


@pytest.mark.parametrize("when", ["amount >", "{{ amount > 1 }}", "amount | nosuch", "(" * 3000])
def test_what_is_no_expression_is_refused_with_the_field(tmp_path: Path, when: str) -> None:
    with pytest.raises(InvalidField) as refused:
        stage(Filter, tmp_path, when=when)

    assert refused.value.field == ("when",)


def test_braces_are_refused_with_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(InvalidField, match=r"Write amount > 1$"):
        stage(Filter, tmp_path, when="{{ amount > 1 }}")


async def test_a_missing_field_parks_the_event(tmp_path: Path) -> None:
    with pytest.raises(Fail, match=r"when: 'amount' is undefined"):
        await events(stage(Filter, tmp_path, when="amount > 1"), {})


async def test_an_expression_cannot_leave_the_sandbox(tmp_path: Path) -> None:
    with pytest.raises(Fail, match="unsafe"):
        await events(stage(Filter, tmp_path, when="().__class__.__mro__[1].__subclasses__()"), {})
