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


def run(program: Path, folder: Path) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "HOWDAH_DSN"}
    done = subprocess.run(
        [sys.executable, str(program)],
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


@pytest.mark.parametrize(("name", "says"), [("welcome", r"sent to 42 at attempt 1\nIt is due at .*\n")])
def test_the_examples_run(name: str, says: str, tmp_path: Path) -> None:
    assert re.fullmatch(says, run(ROOT / "examples" / f"{name}.py", tmp_path))


async def test_a_worker_inside_another_program_leaves_its_signals_alone(app: App) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    async with app.worker():
        assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before
        assert not asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
