"""`howdah bench` is a product too: each workload runs, on each server, and says what the bars ask for."""

from __future__ import annotations

import json
from math import isfinite

import psycopg
import pytest

from howdah.bench.bars import BARS
from howdah.bench.main import WORKLOADS, run
from howdah.errors import InvalidOption


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_workload_measures_something_and_leaves_nothing(
    name: str, dsn: str, conn: psycopg.Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([name], tasks=100, rounds=1, concurrency=20, dsn=dsn, output="json", say=lambda text: None) == 0
    figures = json.loads(capsys.readouterr().out)["figures"]
    assert figures
    for figure in figures:
        assert isfinite(figure["median"]), figure
    for relation in ("task", "archive", "message", "schedule", "kind", '"group"', "queue"):
        assert conn.execute(f"select count(*) from howdah.{relation}").fetchone() == (0,), relation  # pyright: ignore
    assert {figure["name"] for figure in figures if "bar" in figure} == set(BARS.get(name, {}))


def test_a_soak_says_how_it_went(dsn: str, conn: psycopg.Connection, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["soak"], minutes=0.05, rate=200, concurrency=20, dsn=dsn, output="json", say=lambda text: None) == 0
    said = json.loads(capsys.readouterr().out)
    assert len(said["samples"]) > 9
    assert sum(sample["ended"] for sample in said["samples"]) > 100
    assert all(isfinite(figure["median"]) for figure in said["figures"])
    assert conn.execute("select count(*) from howdah.task").fetchone() == (0,)


def test_each_bar_is_of_a_workload() -> None:
    assert set(BARS) <= set(WORKLOADS)


def test_what_cannot_be_measured_is_said(dsn: str) -> None:
    with pytest.raises(InvalidOption, match="there is no workload 'drian'"):
        run(["drian"], dsn=dsn)
    with pytest.raises(InvalidOption, match="at least 100 tasks"):
        run(["drain"], tasks=5, dsn=dsn)
    with pytest.raises(InvalidOption, match="at least 10 tasks a second"):
        run(["soak"], rate=1, dsn=dsn)
