"""Whole programs, as a user runs them."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from howdah import App

ROOT = Path(__file__).parents[2]


def run(program: Path, folder: Path, *arguments: str) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "HOWDAH_DSN"}
    done = subprocess.run(
        [sys.executable, str(program), *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_example_of_the_readme_runs_with_nothing_set_up(tmp_path: Path) -> None:
    shown = re.search(r"## Twenty lines\n\n```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert shown is not None
    program = tmp_path / "program.py"
    program.write_text(shown[1])
    assert run(program, tmp_path) == "sent to 42 at attempt 1\n"
    assert (tmp_path / ".howdah").is_dir()


def test_the_steps_and_messages_of_the_readme_run(tmp_path: Path) -> None:
    shown = re.search(r"## Steps and messages\n.*?```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert shown is not None
    program = tmp_path / "program.py"
    program.write_text(shown[1])
    *orders, last = run(program, tmp_path).splitlines()
    assert sorted(orders) == [f"order {n} is on its way" for n in (1, 2, 3)]
    assert last == "all shipped"


@pytest.mark.parametrize(("name", "says"), [("welcome", r"sent to 42 at attempt 1\nIt is due at .*\n")])
def test_the_examples_run(name: str, says: str, tmp_path: Path) -> None:
    assert re.fullmatch(says, run(ROOT / "examples" / f"{name}.py", tmp_path))


def test_the_greeter_is_parked_mended_and_greets(tmp_path: Path) -> None:
    said = run(ROOT / "examples" / "greeter.py", tmp_path)
    assert said.startswith("failed at ReadName after 6 attempts: FileNotFoundError\nHello, Fred\n")
    events = re.findall(r"^  (\w+) +(\w+)", said, re.MULTILINE)
    assert events == [
        *[("retry", "ReadName")] * 5, ("failure", "ReadName"), ("resume", "ReadName"), ("step", "SayHello"), ("end", "SayHello"),
    ]  # fmt: skip


def test_the_job_of_runqueue_fails_once_and_goes_on_with_new_state(tmp_path: Path) -> None:
    assert run(ROOT / "examples" / "runqueue.py", tmp_path).splitlines() == [
        "refused: key 'sample:demo' is held by task ID (sample, queued)",
        "demo: 100",
        "demo: 101",
        "demo: 101, attempt 2 after: RuntimeError: 101 is a hard number",
        "demo: 102",
        "demo: 103",
        "demo is done at 103",
        "  retry: RuntimeError: 101 is a hard number",
    ]


@pytest.mark.parametrize(("n", "result", "calls"), [(10, 55, 177), (15, 610, 1973)])
def test_fibonacci_with_failing_polls_and_a_killed_worker(n: int, result: int, calls: int, tmp_path: Path) -> None:
    said = run(ROOT / "examples" / "fibonacci.py", tmp_path, str(n))
    assert f"fibonacci({n}) = {result}\n" in said
    assert f"{calls} calls, " in said
    assert "worker 1 killed (exit code -9)" in said
    assert int(re.findall(r"(\d+) polls failed", said)[0]) > calls / 20
    assert said.endswith("left behind: 0 tasks, 0 messages\n")


async def test_a_worker_inside_another_program_leaves_its_signals_alone(app: App) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    async with app.worker():
        assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before
        assert not asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
