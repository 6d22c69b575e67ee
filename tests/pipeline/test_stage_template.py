"""template: new fields from old."""

from __future__ import annotations

from pathlib import Path

import pytest

from howdah.outcomes import Fail
from howdah.pipeline.stage import InvalidField
from howdah.pipeline.stages.template import Template
from pipeline.standing import events, stage


async def test_fields_are_set_beside_the_others(tmp_path: Path) -> None:
    greet = stage(
        Template, tmp_path, set={"text": "Hi {{ name }}", "deep": {"n": ["{{ n + 1 }}", None]}, "n": "{{ n }}"}
    )

    made = await events(greet, {"name": "Zoë", "n": 1})

    assert made == [{"name": "Zoë", "n": 1, "text": "Hi Zoë", "deep": {"n": [2, None]}}]


async def test_or_instead_of_them(tmp_path: Path) -> None:
    assert await events(stage(Template, tmp_path, set={"m": "{{ n }}"}, keep=False), {"n": 1}) == [{"m": 1}]


async def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(Fail, match=r"set.text: 'name' is undefined"):
        await events(stage(Template, tmp_path, set={"text": "Hi {{ name }}"}), {})


def test_what_is_no_template_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidField) as refused:
        stage(Template, tmp_path, set={"deep": {"n": ["ok", "{{ n"]}})

    assert refused.value.field == ("set", "deep", "n", 1)
