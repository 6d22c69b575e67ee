"""Pollers over three stores, as a user runs them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

POLLERS = Path(__file__).parents[2] / "examples" / "pollers"


def run(program: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key not in ("HOWDAH_DSN", "REDIS_URL")}
    return subprocess.run(
        [sys.executable, str(POLLERS / program)],
        cwd=folder,
        env={**environment, **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def said(program: str, folder: Path, **variables: str) -> list[str]:
    done = run(program, folder, **variables)
    assert (done.returncode, done.stderr) == (0, "")
    assert "error" not in done.stdout
    return done.stdout.splitlines()


def test_every_due_email_in_sqlite_is_sent_once_two_at_a_time(tmp_path: Path) -> None:
    *sent, last = said("sqlite_poller.py", tmp_path)
    assert Counter(sent) == Counter(f"sent {n} to user{n}@example.com" for n in range(1, 13))
    assert last == "12 sent, 2 at a time, 1 not due before tomorrow"


def test_every_user_in_redis_is_greeted_once_and_nothing_is_left_in_hand(tmp_path: Path) -> None:
    """Needs redis-server (apt install redis-server)."""
    *greeted, last = said("redis_poller.py", tmp_path)
    assert Counter(greeted) == Counter(f"greeted user {n}" for n in range(1, 21))
    most = re.fullmatch(r"20 greeted, at most (\d) at a time; 0 waiting, 0 in hand", last)
    assert most is not None
    assert 1 <= int(most[1]) <= 4


def test_without_redis_it_says_how_to_get_it(tmp_path: Path) -> None:
    done = run("redis_poller.py", tmp_path, PATH=str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "no redis-server here: apt install redis-server, or set REDIS_URL=redis://host:6379\n"


def test_maintenance_tasks_survive_a_crashed_host_and_keep_their_limits(tmp_path: Path) -> None:
    done = run("maintenance/maintenance.py", tmp_path, HOWDAH_DSN="host=/nowhere")  # It has a database of its own.
    assert (done.returncode, done.stderr) == (0, "")
    story, table, ended = done.stdout.split("\n\n")

    header, *rows = (line.split() for line in table.splitlines())
    assert header == ["task", "running", "succeeded", "failed", "terminated", "most_at_once", "allowed"]
    counts = {name: dict(zip(header[1:], map(int, numbers), strict=True)) for name, *numbers in rows}
    assert sum(count["running"] for count in counts.values()) == 0
    assert all(count["most_at_once"] <= count["allowed"] for count in counts.values())

    # Two at a time, by three hosts that all wanted to.
    assert counts["refresh_totals"]["most_at_once"] == 2
    assert counts["refresh_totals"]["succeeded"] >= 8
    # One ran too long, one failed, one is switched off.
    assert counts["rebuild_index"]["terminated"] == 1
    assert "rebuild_index on host a: ran longer than 0.3 s" in ended
    assert (counts["check_links"]["failed"], counts["old_cleanup"]["most_at_once"]) == (1, 0)
    assert "check_links on host a: ConnectionError: no route to host" in ended
    # What the killed host had in hand was taken from it, and is done by another.
    assert re.search(r"^send_report on host a: a was not seen for \d+\.\d s$", ended, re.MULTILINE)
    assert re.search(r"^  [bc]: send_report #\d+ succeeded$", story, re.MULTILINE)
    assert counts["send_report"]["succeeded"] >= 2
