"""A pipeline whose worker is killed: every event reaches the end, once. And claims of rows by SQL, which nobody shares."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg

from waiting import until_sync

EVENTS = 10_000

FIVE_STAGES = """
name: orders
defaults: {{retry: 8, queue: orders}}
pipeline:
  come: {{module: interval, config: {{every: 1d, start: "2999-01-01T00:00:00Z"}}}}
  price: {{module: python, inputs: come, config: {{function: "{module}:price"}}}}
  big-enough: {{module: filter, inputs: price, config: {{when: "cents >= 0"}}}}
  label: {{module: template, inputs: big-enough, config: {{set: {{label: "order {{{{ n }}}}"}}}}}}
  book:
    module: sql
    inputs: label
    config:
      connection: "{dsn}"
      query: |
        INSERT INTO booked (n, label, cents) VALUES (CAST(:n AS int), :label, CAST(:cents AS int))
        ON CONFLICT (n) DO UPDATE SET times = booked.times + 1 RETURNING n, label, cents
"""

CLAIM = """
name: claims
pipeline:
  look: {{module: interval, config: {{every: 100ms}}}}
  claim:
    module: sql
    inputs: look
    config:
      connection: "{dsn}"
      query: |
        WITH picked AS (SELECT id FROM jobs WHERE status = 'queued' ORDER BY id FOR UPDATE SKIP LOCKED LIMIT 7)
        UPDATE jobs j SET status = 'running', claims = j.claims + 1
          FROM picked WHERE j.id = picked.id RETURNING j.id
  work: {{module: log, inputs: claim, config: {{level: debug}}}}
  finish:
    module: sql
    inputs: work
    config:
      connection: "{dsn}"
      query: UPDATE jobs SET status = 'done', finished = finished + 1 WHERE id = :id AND status = 'running' RETURNING id
"""


@contextlib.contextmanager
def runners(file: Path, dsn: str, count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """`howdah pipeline run FILE`, so many times."""
    command = [sys.executable, "-m", "howdah", "pipeline", "run", str(file), "--dsn", dsn]
    command += ["--lease", "3s", "--poll", "200ms", "-c", "50"]
    with file.with_suffix(".log").open("wb") as said:
        running = [
            subprocess.Popen(command, cwd=file.parent, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
            for _ in range(count)
        ]
        try:
            yield running
        finally:
            for process in running:
                process.kill()
                process.wait()


def one(conn: psycopg.Connection, question: str) -> tuple[object, ...]:
    row = conn.execute(question.encode()).fetchone()
    assert row is not None
    return row


def number(conn: psycopg.Connection, question: str) -> int:
    (found,) = one(conn, question)
    assert isinstance(found, int)
    return found


def test_every_event_reaches_the_end_once_although_a_worker_is_killed(
    dsn: str, conn: psycopg.Connection, tmp_path: Path
) -> None:
    conn.execute("create table booked (n int primary key, label text, cents int, times int not null default 1)")
    (tmp_path / "faults_prices.py").write_text(
        "async def price(event):\n    return event | {'cents': event['n'] * 3}\n"
    )
    file = tmp_path / "orders.yaml"
    file.write_text(FIVE_STAGES.format(module="faults_prices", dsn=dsn))
    # Told to the database by a worker that has nothing to do yet.
    tell = ["pipeline", "run", str(file), "--dsn", dsn, "--until-idle"]
    subprocess.run([sys.executable, "-m", "howdah", *tell], cwd=tmp_path, check=True, capture_output=True)
    conn.execute(
        """
        select howdah.enqueue_many('orders', jsonb_agg(jsonb_build_object('n', n)), step => 'come')
          from generate_series(1, %s) n""",
        [EVENTS],
    )
    ended = "select count(*) from howdah.archive"
    with runners(file, dsn, 2) as running:
        until_sync(lambda: number(conn, ended) > EVENTS // 10, "the first events", timeout=60)
        victim = running[0]
        holds = f"""
            select count(*) from howdah.task t join howdah.worker w on w.id = t.worker where w.pid = {victim.pid}"""

        # Stopped first, so that it still holds what we saw when it dies.
        def caught() -> bool:
            victim.send_signal(signal.SIGSTOP)
            if number(conn, holds):
                return True
            victim.send_signal(signal.SIGCONT)
            return False

        until_sync(caught, "the victim to hold events")
        victim.kill()
        victim.wait()
        until_sync(lambda: number(conn, ended) >= EVENTS, "all events", timeout=120)
        running[1].send_signal(signal.SIGTERM)
        assert running[1].wait(30) == 0, file.with_suffix(".log").read_text()[-3000:]

    assert one(conn, "select count(*) from howdah.task where status <> 'suspended'") == (0,)
    assert one(
        conn,
        """
        select count(*), count(distinct payload ->> 'n'), min(status), max(status), min(step), max(step)
          from howdah.archive""",
    ) == (EVENTS, EVENTS, "succeeded", "succeeded", "book", "book")
    wrong = """
        select count(*) from howdah.archive
         where payload <> jsonb_build_object('n', payload -> 'n', 'cents', 3 * (payload -> 'n')::int,
                                             'label', 'order ' || (payload ->> 'n'))"""
    assert one(conn, wrong) == (0,)
    assert one(conn, "select count(*), sum(cents) from booked where label = 'order ' || n") == (
        EVENTS,
        3 * EVENTS * (EVENTS + 1) // 2,
    )
    # Only what the killed worker held may have been booked twice, and the history says so.
    crashes = number(conn, "select count(*) from howdah.event where type = 'crash'")
    assert 0 < crashes <= 50
    again = """
        select count(*) from booked b
         where b.times > 1
           and not exists (select from howdah.event e join howdah.archive a on a.id = e.task_id
                            where e.type = 'crash' and (a.payload ->> 'n')::int = b.n)"""
    assert one(conn, again) == (0,)


def test_two_runners_never_claim_the_same_row(dsn: str, conn: psycopg.Connection, tmp_path: Path) -> None:
    conn.execute(
        "create table jobs (id int generated always as identity primary key, status text not null default 'queued', "
        "claims int not null default 0, finished int not null default 0)"
    )
    file = tmp_path / "claims.yaml"
    file.write_text(CLAIM.format(dsn=dsn))
    rounds = 0

    def both_claimed() -> bool:
        """After one more round."""
        nonlocal rounds
        rounds += 1
        conn.execute("insert into jobs select from generate_series(1, 200)")
        # Many looks at once, so that both of them are at it at the same time.
        conn.execute(
            "select howdah.enqueue_many('claims', jsonb_agg('{}'::jsonb), step => 'claim') from generate_series(1, 50)"
        )
        until_sync(lambda: not number(conn, "select count(*) from jobs where status <> 'done'"), "all rows", timeout=60)
        claimed = "select count(distinct worker) from howdah.event where type = 'step' and data ->> 'from' = 'claim'"
        return rounds >= 3 and number(conn, claimed) == 2

    with runners(file, dsn, 2):
        until_sync(lambda: number(conn, "select count(*) from howdah.worker where status = 'live'") == 2)
        until_sync(both_claimed, "both to claim some", timeout=60)
        ended = "select count(*) from howdah.archive where step = 'finish'"
        until_sync(lambda: number(conn, ended) >= 200 * rounds, "all events to end")
    assert one(conn, "select min(claims), max(claims), min(finished), max(finished) from jobs") == (1, 1, 1, 1)
    ids = "select count(*), count(distinct payload ->> 'id') from howdah.archive where step = 'finish'"
    assert one(conn, ids) == (200 * rounds, 200 * rounds)
