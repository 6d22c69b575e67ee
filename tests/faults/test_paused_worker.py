"""A worker that stands still for longer than its lease, and comes back believing in it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psycopg

from howdah import Client
from waiting import until_sync

PROGRAM = Path(__file__).with_name("program.py")


def test_a_worker_paused_past_its_lease_finishes_nothing(dsn: str, conn: psycopg.Connection, tmp_path: Path) -> None:
    gate = tmp_path / "gate"

    def start(name: str) -> subprocess.Popen[bytes]:
        with (tmp_path / name).open("wb") as said:
            return subprocess.Popen([sys.executable, str(PROGRAM), dsn], stdout=subprocess.DEVNULL, stderr=said)

    def owner() -> int | None:
        row = conn.execute("select w.pid from howdah.task t join howdah.worker w on w.id = t.worker").fetchone()
        return row[0] if row else None

    first = start("first")
    second: subprocess.Popen[bytes] | None = None
    try:
        until_sync(lambda: conn.execute("select 1 from howdah.kind where name = 'hold'").fetchone(), "the first worker")
        client = Client(dsn)
        row = conn.execute(
            "select howdah.enqueue('hold', jsonb_build_object('gate', %s::text))", [str(gate)]
        ).fetchone()
        assert row is not None
        until_sync(lambda: owner() == first.pid, "the first worker to hold the task")
        first.send_signal(signal.SIGSTOP)
        second = start("second")
        until_sync(lambda: second and owner() == second.pid, "the second worker to take it over")
        gate.touch()
        assert client.result_sync(row[0], timeout="30s") == second.pid
        first.send_signal(signal.SIGCONT)
        # The gate is open for the first one too: it ends its attempt, or is stopped in it, and starts over.
        lives = "select count(*) from howdah.worker where pid = %s"
        until_sync(lambda: conn.execute(lives, [first.pid]).fetchone() == (2,), "the first worker's new lease")
        info = client.show_sync(row[0])
        client.close_sync()
    finally:
        for process in filter(None, (first, second)):
            process.send_signal(signal.SIGCONT)
            process.terminate()
        codes = [process.wait(30) for process in filter(None, (first, second))]
    assert codes == [0, 0]
    assert (info.status, info.attempt, info.lost, info.epoch) == ("succeeded", 2, 1, 2)
    assert conn.execute("select count(*) from howdah.archive").fetchone() == (1,)
    assert "starting over under a new id" in (tmp_path / "first").read_text()
