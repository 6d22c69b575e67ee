"""collect: which events belong together, and what becomes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from howdah.errors import HowdahError
from howdah.pipeline.stage import InvalidField
from howdah.pipeline.stages.collect import Collect
from pipeline.standing import events, stage


def test_events_are_grouped_by_a_template(tmp_path: Path) -> None:
    by_country = stage(Collect, tmp_path, by="{{ country }}", size=2, window="1m")

    assert by_country.group({"country": "LV"}) == "LV"
    assert stage(Collect, tmp_path).group({"country": "LV"}) == ""


def test_a_group_becomes_one_event(tmp_path: Path) -> None:
    made = stage(Collect, tmp_path, into="orders").emit([{"id": 1}, {"id": 2}], "LV")

    assert made == {"orders": [{"id": 1}, {"id": 2}], "count": 2, "group": "LV"}


@pytest.mark.parametrize(
    ("config", "field"),
    [({"window": "0s"}, "window"), ({"window": "soon"}, "window"), ({"by": "{{ x"}, "by"), ({"into": "count"}, "into")],
)
def test_what_cannot_be_meant_is_refused_with_its_field(tmp_path: Path, config: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidField) as refused:
        stage(Collect, tmp_path, **config)

    assert refused.value.field == (field,)


@pytest.mark.parametrize("size", [0, 1001])
def test_a_size_has_bounds(tmp_path: Path, size: int) -> None:
    with pytest.raises(msgspec.ValidationError, match="size"):
        stage(Collect, tmp_path, size=size)


async def test_it_is_not_run(tmp_path: Path) -> None:
    with pytest.raises(HowdahError, match="engine"):
        await events(stage(Collect, tmp_path), {})
