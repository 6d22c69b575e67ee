"""The task runner at work: sixty tasks, two runners, a worker that is said to have crashed, and a report by mail.

Starts everything it needs (PostgreSQL, an SMTP server), and stops it again. With -v the runners say what they do.
TASK_RUNNER_KEEP=folder keeps the last report and the rows of both tables.
"""

from __future__ import annotations

import email.policy
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from aiosmtpd.controller import Controller
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

from howdah import App

HERE = Path(__file__).parent
FILES = ("tasks.yaml", "stalled.yaml", "report.yaml")
RUNNERS = ("runner-1", "runner-2")
LONGEST = 90.0  # seconds, on a machine with much else to do

TASKS = """
INSERT INTO app.tasks (key, payload, priority)
SELECT 'foo-' || n,
       jsonb_build_object('n', n) || CASE WHEN n % 10 = 0 THEN '{"fails": 1}'
                                          WHEN n = 7 THEN '{"fails": 99}'
                                          WHEN n = 13 THEN '{"raises": 1}'
                                          ELSE '{}' END::jsonb,
       n % 3
  FROM generate_series(1, 60) n
"""
# What a worker leaves that died in the middle of a task.
CRASHED = """
WITH held AS (
  UPDATE app.tasks SET status = 'running', attempt = 1, locked = now() - interval '1 hour', worker = 'gone:runner-0'
   WHERE key = 'foo-42' RETURNING *
)
INSERT INTO app.task_log (task_id, attempt, worker, message, at) SELECT id, attempt, worker, 'claimed', locked FROM held
"""
LEFT = "SELECT count(*) FROM app.tasks WHERE NOT (status = 'finished' OR status = 'failed' AND attempt = max_attempts)"
STATUSES = "SELECT status::text, count(*) FROM app.tasks GROUP BY status ORDER BY status"
CLAIMS = """
SELECT worker, count(*) FROM app.task_log WHERE message = 'claimed' AND worker <> 'gone:runner-0' GROUP BY worker ORDER BY worker
"""
STORIES = {"foo-42": "left by a worker that died", "foo-13": "its function raises", "foo-7": "fails always"}
# A row that two held at once was claimed while its last claim had neither ended nor been given back, or has an attempt twice.
HELD_TWICE = """
SELECT count(*) FILTER (WHERE before = 'claimed') + count(*) - count(DISTINCT (task_id, attempt))
  FROM (SELECT task_id, attempt, message, lag(message) OVER (PARTITION BY task_id ORDER BY id) AS before
          FROM app.task_log) entry
 WHERE message = 'claimed'
"""
STORY = """
SELECT l.at::timestamp(0)::time::text, l.attempt, l.worker, l.message
  FROM app.task_log l JOIN app.tasks t ON t.id = l.task_id WHERE t.key = %s ORDER BY l.id
"""
PARKED = "SELECT kind, step, error FROM howdah.task WHERE status = 'failed'"


class Mailbox:
    """An SMTP server's handler that keeps what it gets."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
        return "250 OK"


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that what was started is stopped
    os.environ.pop("HOWDAH_DSN", None)  # a database of its own, whatever this shell works on
    mailbox = Mailbox()
    smtp = Controller(mailbox, hostname="127.0.0.1", port=free_port())
    smtp.start()
    home = Path(tempfile.mkdtemp(prefix="task-runner-"))
    runners: list[subprocess.Popen[bytes]] = []
    try:
        with App(home=home / "howdah") as app, psycopg.connect(app.dsn, autocommit=True) as conn:
            try:
                prepare(conn)
                runners += [start(name, app.dsn, smtp.port) for name in RUNNERS]
                print("2 runners started; 60 tasks, one of which is held by a worker that is gone")
                wait_for(lambda: one(conn, LEFT) == 0, runners)
                counts = dict(rows(conn, STATUSES))
                subject = f"Tasks: 0 queued, 0 running, {counts['finished']} finished, {counts['failed']} failed"
                wait_for(lambda: any(mail["Subject"] == subject for mail in mailbox.mails), runners)
                tell(conn)
                show(mailbox.mails)
                if folder := os.environ.get("TASK_RUNNER_KEEP"):
                    keep(conn, mailbox.mails[-1], Path(folder))
            finally:
                codes = stop(runners)  # before their database is
        print(f"\nstopped by SIGTERM; exit codes {', '.join(map(str, codes))}")
        if any(codes):
            raise SystemExit("a runner did not end well; see with: demo.py -v")
    finally:
        smtp.stop()
        shutil.rmtree(home, ignore_errors=True)


def prepare(conn: psycopg.Connection) -> None:
    for statement in ((HERE / "schema.sql").read_text(), TASKS, CRASHED):
        conn.execute(statement.encode())


def start(name: str, dsn: str, smtp_port: int) -> subprocess.Popen[bytes]:
    environment = os.environ | {
        "HOWDAH_DSN": dsn,
        "DATABASE_URL": make_conninfo(dsn, application_name=name),
        "SMTP_SERVER": f"127.0.0.1:{smtp_port}",
        "REPORT_TO": "boss@example.org",
        "REPORT_CRON": "*/3 * * * * *",
        "STALLED_AFTER": "8 seconds",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "howdah", "pipeline", "run", *FILES],
        cwd=HERE,
        env=environment,
        stderr=None if "-v" in sys.argv else subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for the demo, which stops them
    )


def tell(conn: psycopg.Connection) -> None:
    for status, count in rows(conn, STATUSES):
        print(f"  {count:>3} {status}")
    for worker, count in rows(conn, CLAIMS):
        print(f"  {count:>3} claims by {worker.partition(':')[2]}")
    print(f"  {one(conn, HELD_TWICE):>3} rows held by two at once")
    for key, what in STORIES.items():
        print(f"\n{key} ({what}):")
        for at, attempt, worker, message in rows(conn, STORY, key):
            print(f"  {at}  attempt {attempt}  {worker.partition(':')[2]}  {message}")
    for kind, step, error in rows(conn, PARKED):
        print(f"\nparked in howdah: {kind} at {step}: {error.splitlines()[0]}")


def show(mails: list[EmailMessage]) -> None:
    text, html = mails[-1].get_body(("plain",)), mails[-1].get_body(("html",))
    assert text is not None
    assert html is not None
    print(f"\n{len(mails)} reports came; the last one, to {mails[-1]['To']}:\n")
    print(f"  Subject: {mails[-1]['Subject']}\n")
    for line in text.get_content().splitlines():
        print(f"  {line}".rstrip())
    print(f"  (and {len(html.get_content())} characters of HTML)")


def keep(conn: psycopg.Connection, mail: EmailMessage, folder: Path) -> None:
    (folder / "report.eml").write_bytes(mail.as_bytes())
    with conn.cursor(row_factory=dict_row) as cursor:
        for name in ("tasks", "task_log"):
            kept = cursor.execute(f"SELECT * FROM app.{name} ORDER BY id".encode()).fetchall()
            (folder / f"{name}.json").write_text(json.dumps(kept, default=str))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def rows(conn: psycopg.Connection, query: LiteralString, *values: str) -> list[tuple[Any, ...]]:
    return conn.execute(query, values).fetchall()


def one(conn: psycopg.Connection, query: LiteralString) -> Any:
    return rows(conn, query)[0][0]


def wait_for(true: Callable[[], bool], runners: list[subprocess.Popen[bytes]]) -> None:
    until = time.monotonic() + LONGEST
    while not true():
        if any(runner.poll() is not None for runner in runners):
            raise SystemExit("a runner has ended; see with: demo.py -v")
        if time.monotonic() > until:
            raise SystemExit("it took too long; see with: demo.py -v")
        time.sleep(0.1)


def stop(runners: list[subprocess.Popen[bytes]]) -> list[int]:
    """Their exit codes."""
    for runner in runners:
        if runner.poll() is None:
            runner.send_signal(signal.SIGTERM)
    return [runner.wait(40) for runner in runners]


if __name__ == "__main__":
    main()
