"""Modules are found by name: those of howdah, and those of packages; a missing package is said with its pip line."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from howdah.errors import HowdahError, InvalidOption
from howdah.pipeline import modules
from howdah.pipeline.modules import BUILT_IN, Modules
from howdah.pipeline.stage import Stage
from pipeline.stagelings import Clock


@pytest.fixture
def brought(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [
        EntryPoint("clock", "pipeline.stagelings:Clock", modules.GROUP),
        EntryPoint("nowhere", "no.such.module:Stage", modules.GROUP),
        EntryPoint("other", "pipeline.stagelings:ENVIRONMENT", modules.GROUP),
        EntryPoint("log", "pipeline.stagelings:Clock", modules.GROUP),
    ]

    def entry_points(**wanted: Any) -> list[EntryPoint]:
        assert wanted == {"group": modules.GROUP}
        return points

    monkeypatch.setattr(modules, "entry_points", entry_points)


@pytest.mark.parametrize("name", BUILT_IN)
def test_each_module_of_howdah_is_a_stage(name: str) -> None:
    assert issubclass(Modules().get(name), Stage)


def test_a_module_of_a_package(brought: None) -> None:
    assert Modules().get("clock").__qualname__ == "Clock"
    assert Modules().names() == [*BUILT_IN, "clock", "nowhere", "other"]


def test_a_package_does_not_replace_a_module_of_howdah(brought: None) -> None:
    assert Modules().get("log").__module__ == "howdah.pipeline.stages.log"


def test_a_module_that_cannot_be_imported(brought: None) -> None:
    with pytest.raises(
        HowdahError, match=r"nowhere \(no\.such\.module:Stage\) cannot be imported: ModuleNotFoundError"
    ):
        Modules().get("nowhere")
    with pytest.raises(HowdahError, match=r"is no subclass of howdah\.pipeline\.stage\.Stage"):
        Modules().get("other")


def test_a_name_is_taken_once() -> None:
    found = Modules(clock=Clock)

    for name in ("clock", "log"):
        with pytest.raises(InvalidOption, match="already"):
            found.add(name, Clock)
    found.add("tock", Clock)
    assert found.get("tock") is Clock


def test_an_unknown_name() -> None:
    with pytest.raises(InvalidOption, match="Did you mean email"):
        Modules().get("emial")


@pytest.mark.parametrize(
    ("package", "said"),
    [
        ("ruamel", "pipelines need the package ruamel.yaml"),
        ("jinja2", "x.yaml:3:3: stage 'log', module: the module log needs the package jinja2"),
    ],
)
def test_a_missing_package_is_said_with_its_pip_line(package: str, said: str) -> None:
    program = f"""
import sys
sys.modules[{package!r}] = None
from howdah.errors import HowdahError
from howdah.pipeline.document import parse
try:
    parse("pipeline:\\n  tick: {{module: interval, config: {{every: 1s}}}}\\n  log: {{inputs: tick}}\\n", "x.yaml")
except HowdahError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert f'{said}. pip install "howdah[pipeline]"' in done.stdout, done.stderr
