"""`howdah pipeline check`: a line per good file on stdout, a line per problem on stderr."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from howdah.cli import pipeline

GOOD = "pipeline:\n  tick: {module: interval, config: {every: 10s}}\n  log: {inputs: tick}\n"
BAD = "pipeline:\n  tick: {module: interval, config: {every: 10s}}\n  log: {inputs: tik}\n  a\x20b:\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("good.yaml").write_text(GOOD)
    Path("bad.yaml").write_text(BAD)
    return tmp_path


def test_good_files(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pipeline.check(Path("good.yaml"), Path("good.yaml")) == 0

    assert capsys.readouterr() == ("good.yaml: ok, 2 stages\n" * 2, "")


def test_bad_files(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pipeline.check(Path("good.yaml"), Path("bad.yaml"), Path("none.yaml")) == 1

    out, err = capsys.readouterr()
    assert out == "good.yaml: ok, 2 stages\n"
    lines = err.splitlines()
    assert lines[0] == "bad.yaml:3:9: stage 'log', inputs: there is no stage 'tik'. Did you mean tick?"
    assert [line.split(": ")[0] for line in lines] == ["bad.yaml:3:9", "bad.yaml:4:3", "bad.yaml:4:3", "none.yaml"]


def test_problems_as_json(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert pipeline.check(Path("good.yaml"), Path("bad.yaml"), output="json") == 1

    out, err = capsys.readouterr()
    assert json.loads(out)[0] == {
        "file": "bad.yaml",
        "line": 3,
        "column": 9,
        "stage": "log",
        "field": "inputs",
        "message": "there is no stage 'tik'",
        "hint": "Did you mean tick?",
    }
    assert err == ""
    assert pipeline.check(Path("good.yaml"), output="json") == 0
    assert json.loads(capsys.readouterr().out) == []


def test_a_file_cannot_move_the_cursor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "red\x1b[31m\n.yaml"
    file.write_text("name: a\npipeline:\n  tick: {module: interval, config: {every: 10s}}\n  log: {inputs: tik}\n")

    assert pipeline.check(file) == 1
    err = capsys.readouterr().err
    assert "\x1b" not in err
    assert len(err.splitlines()) == 1


def test_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    pipeline.schema()

    assert json.loads(capsys.readouterr().out)["title"] == "A pipeline of howdah"
