"""The task runner at work: sixty tasks, two runners, a worker that is said to have crashed, and a report by mail.

Starts everything it needs (PostgreSQL, an SMTP server), and stops it again.
"""

from __future__ import annotations

import email.message
import email.policy
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg
from aiosmtpd.controller import Controller

from howdah import App

HERE = Path(__file__).parent
FILES = ("tasks.yaml", "stalled.yaml", "report.yaml")
RUNNERS = 2
LONGEST = 90.0

TASKS = """
INSERT INTO runner.task (key, payload, priority)
SELECT 'foo-' || n,
       jsonb_build_object('n', n) || CASE WHEN n % 10 = 0 THEN '{"fails": 1}' WHEN n = 7 THEN '{"fails": 99}' ELSE '{}' END::jsonb,
       (n % 3)
  FROM generate_series(1, 60) n
"""
# What a worker leaves that died in the middle of a task.
CRASHED = """
UPDATE runner.task SET status = 'running', attempt = 1, locked = now() - interval '1 hour', worker = 'gone:1' WHERE key = 'foo-42'
"""
LEFT = (
    "SELECT count(*) FROM runner.task WHERE NOT (status = 'finished' OR status = 'failed' AND attempt >= max_attempts)"
)
STATUSES = "SELECT status::text, count(*) FROM runner.task GROUP BY status ORDER BY status"
TAKEN_TWICE = """
SELECT count(*) FROM (SELECT FROM runner.log GROUP BY task_id, attempt HAVING count(*) > 1) twice
"""
BY_WORKER = "SELECT count(DISTINCT worker), count(*) FROM runner.log"


class Mailbox:
    """An SMTP server's handler that keeps what it gets."""

    def __init__(self) -> None:
        self.mails: list[email.message.EmailMessage] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(mail, email.message.EmailMessage)
        self.mails.append(mail)
        return "250 OK"


def main() -> int:
    home = Path(tempfile.mkdtemp(prefix="task-runner-"))
    mailbox = Mailbox()
    smtp = Controller(mailbox, hostname="127.0.0.1", port=free_port())
    smtp.start()
    runners: list[subprocess.Popen[bytes]] = []
    try:
        with App(home=home / "howdah") as app, psycopg.connect(app.dsn, autocommit=True) as conn:
            for statement in ((HERE / "schema.sql").read_text(), TASKS, CRASHED):
                conn.execute(statement.encode())
            environment = os.environ | {
                "HOWDAH_DSN": app.dsn,
                "DATABASE_URL": app.dsn,
                "SMTP_SERVER": f"127.0.0.1:{smtp.port}",
                "REPORT_TO": "boss@example.org",
                "REPORT_CRON": "*/3 * * * * *",
                "STALLED_AFTER": "2 seconds",
            }
            command = [sys.executable, "-m", "howdah", "pipeline", "run", *FILES]
            said = None if "-v" in sys.argv else subprocess.DEVNULL
            runners += [
                subprocess.Popen(command, cwd=HERE, env=environment, stderr=said, start_new_session=True)
                for _ in range(RUNNERS)
            ]
            print(f"{RUNNERS} runners started; 60 tasks wait, and one is held by a worker that is gone")
            wait_for(lambda: one(conn, LEFT) == 0, runners)
            ended = len(mailbox.mails)
            wait_for(lambda: len(mailbox.mails) > ended + 1, runners)  # a report that began after the end
            for status, count in conn.execute(STATUSES.encode()).fetchall():
                print(f"  {count:>3} {status}")
            workers, attempts = conn.execute(BY_WORKER.encode()).fetchone() or (0, 0)
            print(f"  {attempts} attempts on {workers} connections, {one(conn, TAKEN_TWICE)} made twice")
            stalled = "SELECT attempt FROM runner.task WHERE key = 'foo-42' AND status = 'finished'"
            print(f"  foo-42, which had stalled, was finished at attempt {one(conn, stalled)}")
            mail = mailbox.mails[-1]
            text, html = mail.get_body(("plain",)), mail.get_body(("html",))
            assert text is not None
            assert html is not None
            print(f"\n{len(mailbox.mails)} reports came; the last one, to {mail['To']}:\n")
            print(f"  Subject: {mail['Subject']}")
            for line in text.get_content().splitlines():
                print(f"  {line}".rstrip())
            print(f"  (and {len(html.get_content())} characters of HTML)")
            stop(runners)
    finally:
        stop(runners)
        smtp.stop()
        shutil.rmtree(home, ignore_errors=True)
    return 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def one(conn: psycopg.Connection, query: str) -> Any:
    row = conn.execute(query.encode()).fetchone()
    return None if row is None else row[0]


def wait_for(true: Any, runners: list[subprocess.Popen[bytes]]) -> None:
    until = time.monotonic() + LONGEST
    while not true():
        if any(runner.poll() is not None for runner in runners):
            raise SystemExit("a runner has ended; see with: python demo.py -v")
        if time.monotonic() > until:
            raise SystemExit("it took too long; see with: python demo.py -v")
        time.sleep(0.1)


def stop(runners: list[subprocess.Popen[bytes]]) -> None:
    for runner in runners:
        if runner.poll() is None:
            runner.send_signal(signal.SIGTERM)
    for runner in runners:
        runner.wait(30)


if __name__ == "__main__":
    sys.exit(main())
