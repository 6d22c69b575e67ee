"""A poller over SQLite: python examples/pollers/sqlite_poller.py

A table of emails, most of them due. The poller asks it for two at a time, its listener sends them and marks them as sent.
The store is a file, the queue a SELECT: no server, no other library.
"""

import asyncio
import random
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from howdah.poller import ErrorEvent, Poll, Poller, TaskEvent

DUE = 12
SCHEMA = """
create table email (
  id        integer primary key,
  recipient text not null,
  send_at   text not null default (datetime('now')),
  sent_at   text
)
"""


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection of this thread: a sync poll runs in a thread of its own, so that it does not block the loop."""
    with closing(sqlite3.connect(path, timeout=10)) as conn, conn:
        yield conn


async def main(path: Path) -> None:
    with opened(path) as conn:
        conn.execute(SCHEMA)
        recipients = [(f"user{n}@example.com",) for n in range(1, DUE + 1)]
        conn.executemany("insert into email (recipient) values (?)", recipients)
        conn.execute("insert into email (recipient, send_at) values ('later@example.com', datetime('now', '+1 day'))")

    all_sent = asyncio.Event()
    sending: set[int] = set()
    most = 0

    def due_emails(poll: Poll[int]) -> list[int]:
        with opened(path) as conn:
            rows = conn.execute(
                f"""select id from email
                     where sent_at is null and send_at <= datetime('now')
                       and id not in ({",".join("?" * len(poll.active))})
                     order by id limit ?""",
                (*poll.active, poll.limit),
            ).fetchall()
        return [id for (id,) in rows]

    # No `active`: an email is live while `send` runs for it.
    poller = Poller("send_email", due_emails, concurrency=2, delay=lambda attempt: "5ms" if attempt == 0 else "50ms")

    @poller.on("task")
    async def send(event: TaskEvent[int]) -> None:
        nonlocal most
        sending.add(event.instruction)
        most = max(most, len(sending))
        await asyncio.sleep(random.uniform(0.02, 0.06))  # here a mail server would be
        with opened(path) as conn:
            (recipient,) = conn.execute("select recipient from email where id = ?", (event.instruction,)).fetchone()
            conn.execute("update email set sent_at = datetime('now') where id = ?", (event.instruction,))
            (left,) = conn.execute(
                "select count(*) from email where sent_at is null and send_at <= datetime('now')"
            ).fetchone()
        sending.remove(event.instruction)
        print(f"sent {event.instruction} to {recipient}")
        if left == 0:
            all_sent.set()

    @poller.on("error")
    def report(event: ErrorEvent) -> None:
        print(f"error: {event.error!r}")

    async with poller:
        await all_sent.wait()

    with opened(path) as conn:
        (sent, later) = conn.execute("select count(sent_at), count(*) - count(sent_at) from email").fetchone()
    print(f"{sent} sent, {most} at a time, {later} not due before tomorrow")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(Path(folder) / "mail.db"))
