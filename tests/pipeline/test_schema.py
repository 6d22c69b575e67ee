"""Editors and howdah agree about what may stand in a pipeline file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from howdah.pipeline import reading, schema
from howdah.pipeline.document import parse
from howdah.pipeline.errors import InvalidPipeline
from howdah.pipeline.modules import BUILT_IN
from pipeline.stagelings import ENVIRONMENT


@pytest.fixture(scope="module")
def validator() -> Any:
    made = schema.json_schema()
    jsonschema.Draft202012Validator.check_schema(made)
    return jsonschema.Draft202012Validator(made)


def test_the_shipped_file_is_what_the_code_gives() -> None:
    assert schema.SHIPPED.read_text("utf-8") == schema.text(), (
        "run: python -m howdah.pipeline.schema > src/howdah/pipeline/pipeline.schema.json"
    )


GOOD = [
    "log: {inputs: tick}",
    "a: {module: log, inputs: [tick], config: {message: 'hi {{ n }}', level: info}}",
    "a: {module: log, inputs: [tick], config: {level: '${YES:-info}'}, retry: 3, timeout: 10s, delay: 1.5, priority: -1}",
    "a: {module: log, inputs: tick, retry: {retries: 3, delay: 1s, factor: 2, max: 1h, jitter: 0.5, strategy: poly}, concurrency: 2}",
    "collect: {inputs: tick, config: {size: '${SIZE}', window: 5}}",
    "enqueue: {inputs: tick, config: {kind: welcome, payload: {a: [1, '{{ b }}']}, delay: null}}",
]
BAD = [
    "log: {inputs: tick, confg: {}}",
    "log: {}",
    "log: {inputs: []}",
    "log: {inputs: tick, config: {levl: info}}",
    "log: {inputs: tick, config: {level: loud}}",
    "a: {module: log, inputs: tick, config: {message: 5}}",
    "a: {inputs: tick}",
    "collect: {inputs: tick, config: {size: 0}}",
    "collect: {inputs: tick, config: {size: many}}",
    "enqueue: {inputs: tick}",
    "enqueue: {inputs: tick, config: {}}",
    "a b: {module: log, inputs: tick}",
    "log: {inputs: tick, retry: often}",
    "log: {inputs: tick, retry: {retrys: 1}}",
    "log: {inputs: tick, retry: {strategy: expo}}",
    "log: {inputs: tick, concurrency: 0}",
    "log: {inputs: tick, priority: high}",
    "log: {inputs: tick, timeout: []}",
]
TICK = "pipeline:\n  tick: {module: interval, config: {every: 10s}}\n  "


@pytest.mark.parametrize("stage", GOOD)
def test_what_howdah_takes_an_editor_takes(stage: str, validator: Any) -> None:
    parse(TICK + stage, "x.yaml", environment=ENVIRONMENT | {"SIZE": "5", "YES": "info"})

    assert [error.message for error in validator.iter_errors(reading.read(TICK + stage).plain())] == []


@pytest.mark.parametrize("stage", BAD)
def test_what_howdah_refuses_an_editor_refuses(stage: str, validator: Any) -> None:
    with pytest.raises(InvalidPipeline):
        parse(TICK + stage, "x.yaml", environment=ENVIRONMENT)

    assert not validator.is_valid(reading.read(TICK + stage).plain())


@pytest.mark.parametrize("top", ["{}", "[]", "pipeline: {}", "pipeline: []", TICK + "\nname: a b", TICK + "\nnam: a"])
def test_what_the_top_must_be(top: str, validator: Any) -> None:
    assert not validator.is_valid(reading.read(top).plain())


def test_a_module_of_a_package_is_taken(validator: Any) -> None:
    assert validator.is_valid(reading.read(TICK + "a: {module: kafka, config: {topic: x}}").plain())


def test_every_field_of_a_config_is_described() -> None:
    definitions = schema.json_schema()["$defs"]
    missing = [
        f"{name}.{field}"
        for name in BUILT_IN
        for field, said in definitions[name]["properties"].items()
        if not said.get("description")
    ]

    assert missing == []


def test_the_examples_of_the_documentation_are_taken(validator: Any) -> None:
    for file in (Path(__file__).parents[2] / "examples").rglob("*.yaml"):
        document = reading.read(file.read_text("utf-8")).plain()
        if "pipeline" in document:
            assert [error.message for error in validator.iter_errors(document)] == []
