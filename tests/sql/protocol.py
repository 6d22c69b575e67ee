"""The SQL API as a program in any other language meets it: psycopg, and nothing of howdah."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import psycopg
import pytest

from waiting import until_sync


class Claimed(NamedTuple):
    """A task as `howdah.pump` hands it to a worker."""

    id: int
    epoch: int
    kind: str
    queue: str
    step: str | None
    step_no: int
    attempt: int
    key: str | None
    last_error: str | None
    payload: dict[str, Any]
    parent: int | None
    tick: str | None = None
    time_left: float | None = None
    late: str | None = None


class Worker:
    """The worker protocol, call by call."""

    def __init__(self, conn: psycopg.Connection, kinds: Sequence[str], queues: Sequence[str] | None = None) -> None:
        self.conn = conn
        self.kinds = list(kinds)
        self.id: UUID = uuid4()
        self.seq = 0
        self.cursors: dict[str, Any] = {}
        self.answer: dict[str, Any] = {}  # to the last claim
        served = None if queues is None else json.dumps(dict.fromkeys(queues, 10))
        conn.execute("select howdah.register(%s, '30 s', 'host', 7, '1', %s, %s, 10)", [self.id, served, self.kinds])

    def pump(self, **arguments: Any) -> dict[str, Any]:
        """`howdah.pump` with what is given by name; the rest is nothing."""
        self.seq += 1
        names = (
            "done_ids",
            "done_epochs",
            "results",
            "gone_ids",
            "gone_epochs",
            "transitions",
            "lanes",
            "room",
            "asleep",
        )
        given = {"lanes": "[]", "room": 0} | arguments
        cursor = self.conn.execute(
            "select settled, kept, claimed, inboxes, cursors, next_due, gated, crowded, more from howdah.pump(%s, %s, "
            + ", ".join(["%s"] * len(names))
            + ")",
            [self.id, self.seq, *(given.get(name) for name in names)],
        )
        row = cursor.fetchone()
        assert row is not None
        names = ("settled", "kept", "claimed", "inboxes", "cursors", "next_due", "gated", "crowded", "more")
        return dict(zip(names, row, strict=True))

    def claim(self, room: int = 10, queue: str = "default", *, fresh: bool = True) -> list[Claimed]:
        turns = {
            priority: ["-infinity", 0, place[2]]
            for priority, place in self.cursors.items()
            if priority != "groups" and place[2]
        }
        cursors = turns if fresh else self.cursors
        lane = {"name": "lane", "queue": queue, "kinds": self.kinds, "share": room, "limit": room, "cursors": cursors}
        answer = self.answer = self.pump(lanes=json.dumps([lane]), room=room)
        self.cursors = (answer["cursors"] or {}).get("lane", {})
        return [Claimed(*task) for task in json.loads(answer["claimed"] or "[]")]

    def done(self, *tasks: Claimed, results: dict[str, Any] | None = None) -> list[int]:
        """End them as succeeded; the ids that were settled."""
        return self.pump(
            done_ids=[task.id for task in tasks],
            done_epochs=[task.epoch for task in tasks],
            results=results and json.dumps(results),
        )["settled"]

    def end(self, *tasks: Claimed, to: str, **transition: Any) -> list[int]:
        """Any other transition, the same for all; the ids that were settled."""
        rows = [{"id": task.id, "epoch": task.epoch, "to": to} | transition for task in tasks]
        return self.pump(transitions=json.dumps(rows))["settled"]

    def beat(self, *held: Claimed) -> dict[str, Any]:
        cursor = self.conn.execute(
            "select alive, stop, cancelled, freed from howdah.heartbeat(%s, %s, %s, %s)",
            [self.id, [task.id for task in held], [task.epoch for task in held], self.seq],
        )
        row = cursor.fetchone()
        assert row is not None
        return dict(zip(("alive", "stop", "cancelled", "freed"), row, strict=True))

    def fall_asleep(self) -> None:
        self.pump(asleep=True)


def declare(conn: psycopg.Connection, *kinds: dict[str, Any]) -> None:
    conn.execute("select howdah.declare(%s, true)", [json.dumps(kinds)])


def ask(conn: psycopg.Connection, query: str, arguments: Sequence[Any] = ()) -> Any:
    """The one value a query returns."""
    row = conn.execute(query.encode(), arguments).fetchone()
    assert row is not None, query
    return row[0]


def put(conn: psycopg.Connection, kind: str = "job", **options: Any) -> int:
    """`howdah.enqueue` with the options given, by name."""
    arguments = "".join(f", {name} => %s" for name in options)
    return ask(conn, f"select howdah.enqueue(%s{arguments})", [kind, *options.values()])


def task(conn: psycopg.Connection, task_id: int, *columns: str) -> Any:
    """These columns of a task, live or ended; the value itself if there is one."""
    row = conn.execute(f"select {', '.join(columns)} from howdah.tasks where id = %s".encode(), [task_id]).fetchone()
    assert row is not None, task_id
    return row if len(columns) > 1 else row[0]


def count(conn: psycopg.Connection) -> int:
    """All tasks there are."""
    return ask(conn, "select count(*) from howdah.tasks")


@contextmanager
def refused(sqlstate: str, words: str, hint: str) -> Iterator[None]:
    """The error that is raised inside: its SQLSTATE, and what its message and its hint say."""
    with pytest.raises(psycopg.Error) as caught:
        yield
    diag = caught.value.diag
    assert diag.sqlstate == sqlstate, f"{diag.sqlstate}: {diag.message_primary}"
    assert words in (diag.message_primary or "")
    assert hint in (diag.message_hint or "no hint")


def until_blocked(watcher: psycopg.Connection, blocked: psycopg.Connection) -> None:
    """Until this connection waits for a lock of another."""
    pid = blocked.info.backend_pid
    until_sync(lambda: ask(watcher, "select cardinality(pg_blocking_pids(%s)) > 0", [pid]), "it to wait for a lock")


def heard(listener: psycopg.Connection, act: Callable[[], Any]) -> list[str]:
    """What is notified on channel howdah while `act` runs."""
    listener.execute("listen howdah")
    act()
    listener.execute("notify howdah, 'the end'")
    messages: list[str] = []
    for notify in listener.notifies(timeout=30):
        if notify.payload == "the end":
            break
        messages.append(notify.payload)
    listener.execute("unlisten howdah")
    return messages
