"""The task runner of the examples, as its README says: one command, two runners, a real mail server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "examples" / "task-runner"


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=FOLDER,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.fixture(scope="module")
def said() -> str:
    done = run("demo.py")
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_task_ends_as_it_must(said: str) -> None:
    assert re.search(r"^ +1 failed\n +59 finished\n", said, re.MULTILINE), said


def test_no_attempt_is_made_by_two_runners(said: str) -> None:
    # 59 that end well, six of which failed once, and three of the one that always fails.
    assert re.search(r"^  68 attempts on \d+ connections, 0 made twice$", said, re.MULTILINE), said


def test_what_a_dead_worker_left_is_finished_by_another(said: str) -> None:
    assert "foo-42, which had stalled, was finished at attempt 2" in said


def test_the_report_comes_by_mail_in_text_and_html(said: str) -> None:
    assert "Subject: Tasks: 59 finished, 1 failed" in said
    assert "  0 queued, 0 running, 59 finished, 1 failed" in said
    assert "  foo-7: attempt 3 failed on purpose" in said
    assert re.search(r"\(and \d+ characters of HTML\)", said)


def test_the_files_are_good() -> None:
    files = ("tasks.yaml", "stalled.yaml", "report.yaml")
    given = {"DATABASE_URL": "postgresql://nowhere/x", "SMTP_SERVER": "localhost:25", "REPORT_TO": "you@example.org"}
    done = run("-m", "howdah", "pipeline", "check", *files, **given)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "tasks.yaml: ok, 6 stages",
        "stalled.yaml: ok, 3 stages",
        "report.yaml: ok, 4 stages",
    ]


def test_a_file_with_a_missing_variable_starts_nothing(tmp_path: Path) -> None:
    lacking = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    done = subprocess.run(
        [sys.executable, "-m", "howdah", "pipeline", "run", "tasks.yaml"],
        cwd=FOLDER,
        env=lacking | {"HOWDAH_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert "tasks.yaml:" in done.stderr
    assert "DATABASE_URL" in done.stderr
    assert not (tmp_path / "home").exists()
