"""The promise, at once: three workers, one killed, the server crashed and restarted, and nothing lost or done twice."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

import servers
from howdah import App
from waiting import until_sync

PROGRAM = Path(__file__).with_name("program.py")
TASKS = 20_000


@contextlib.contextmanager
def workers(dsn: str, count: int, log: Path, commit: str = "on") -> Iterator[list[subprocess.Popen[bytes]]]:
    with log.open("wb") as said:
        running = [
            subprocess.Popen([sys.executable, str(PROGRAM), dsn, commit], stdout=subprocess.DEVNULL, stderr=said)
            for _ in range(count)
        ]
        try:
            yield running
        finally:
            for process in running:
                process.kill()
                process.wait()


def ask(dsn: str, question: str) -> tuple[object, ...]:
    """One row, also while the server is coming back."""
    while True:
        try:
            with psycopg.connect(dsn, connect_timeout=5) as conn:
                row = conn.execute(question.encode()).fetchone()
                assert row is not None
                return row
        except psycopg.OperationalError:
            continue


@pytest.mark.parametrize("commit", ["on", "off"])
def test_nothing_is_lost_and_nothing_is_done_twice(
    server: servers.Server, dsn: str, tmp_path: Path, commit: str
) -> None:
    app = App(dsn)
    kind = app.task(name="double", retry=5)(lambda n: n)
    tasks = kind.enqueue_many_sync([(n,) for n in range(TASKS)])
    ended = "select count(*) from howdah.archive"
    with workers(dsn, 3, tmp_path / "log", commit) as running:
        until_sync(lambda: ask(dsn, ended)[0] > TASKS // 8, "the first tasks")  # pyright: ignore

        def holds_tasks() -> bool:
            victim = running[0].pid
            question = (
                f"select count(*) from howdah.task t join howdah.worker w on w.id = t.worker where w.pid = {victim}"
            )
            return bool(ask(dsn, question)[0])

        # Stopped first, so that it still holds what we saw when it dies.
        def caught() -> bool:
            running[0].send_signal(signal.SIGSTOP)
            if holds_tasks():
                return True
            running[0].send_signal(signal.SIGCONT)
            return False

        until_sync(caught, "the victim to hold tasks")
        running[0].kill()
        running[0].wait()
        until_sync(lambda: ask(dsn, ended)[0] > TASKS // 3, "a third of the tasks")  # pyright: ignore
        server.restart("immediate")
        until_sync(lambda: ask(dsn, ended)[0] == TASKS, "all tasks", timeout=90)
        for process in running[1:]:
            process.send_signal(signal.SIGTERM)
        codes = [process.wait(30) for process in running[1:]]
    app.close_sync()

    assert codes == [0, 0], (tmp_path / "log").read_text()[-3000:]
    assert ask(dsn, "select count(*), count(distinct id) from howdah.archive where status = 'succeeded'") == (
        TASKS,
        TASKS,
    )
    assert ask(dsn, "select count(*) from howdah.task") == (0,)
    assert ask(dsn, "select count(*) from howdah.archive where (result)::int <> (payload->>'n')::int * 2") == (0,)
    assert ask(dsn, f"select count(*) from howdah.archive where id between {tasks[0].id} and {tasks[-1].id}") == (
        TASKS,
    )
    # The table says which ones were run again, and why: only those the killed worker held.
    rerun = "select count(*) from howdah.archive where lost > 0"
    crashes = "select count(distinct task_id) from howdah.event where type = 'crash'"
    assert ask(dsn, rerun) == ask(dsn, crashes)
    assert ask(dsn, rerun)[0] > 0  # pyright: ignore
    assert ask(
        dsn, "select count(*) from howdah.event e join howdah.worker w on w.id = e.worker where w.status <> 'dead'"
    ) == (0,)
