"""enqueue: a task per event."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from howdah.outcomes import Fail
from howdah.pipeline.stage import InvalidField
from howdah.pipeline.stages.enqueue import Enqueue
from pipeline.standing import Standing, events, stage


async def test_the_event_is_the_payload_unless_the_file_says_another(tmp_path: Path) -> None:
    ctx = Standing()

    passed = await events(stage(Enqueue, tmp_path, kind="mail"), {"to": "zoe"}, ctx)
    await events(stage(Enqueue, tmp_path, kind="mail", payload={"user": {"id": "{{ id }}"}}), {"id": 7}, ctx)

    assert [task["payload"] for task in ctx.enqueued] == [{"to": "zoe"}, {"user": {"id": 7}}]
    assert passed == [{"to": "zoe", "task_id": 4_294_967_301}]


async def test_the_options_of_using(tmp_path: Path) -> None:
    ctx = Standing()
    config = {"queue": "slow", "priority": -5, "delay": "10m", "step": "Pack", "key": "order:{{ id }}", "into": "job"}

    (passed,) = await events(stage(Enqueue, tmp_path, kind="ship", **config), {"id": 7}, ctx)

    (task,) = ctx.enqueued
    assert (task["kind"], task["queue"], task["priority"], task["delay"]) == ("ship", "slow", -5, "10m")
    assert (task["step"], task["key"], task["on_conflict"]) == ("Pack", "order:7", "skip")
    assert passed["job"] == 4_294_967_301


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"delay": "soon"}, "delay"),
        ({"priority": 10**12}, "priority"),
        ({"queue": ""}, "queue"),
        ({"key": "{{ id"}, "key"),
        ({"payload": {"a": "{{"}}, "payload"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_field(tmp_path: Path, config: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidField) as refused:
        stage(Enqueue, tmp_path, kind="ship", **config)

    assert refused.value.field[0] == field


async def test_an_empty_key_is_no_key(tmp_path: Path) -> None:
    with pytest.raises(Fail, match="key: it is empty"):
        await events(stage(Enqueue, tmp_path, kind="ship", key="{{ id }}"), {"id": " "})
