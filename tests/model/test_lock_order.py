"""Worker, then tasks with ids ascending, then the rest: stories in which another order ends in a deadlock or a jam."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import psycopg
import pytest

from howdah import calls
from howdah.calls import Call
from howdah.db.pool import run_on_sync
from howdah.errors import TaskNotFound, WrongStatus
from model.scene import Scene, done, pairs, put, settle, transition, until_blocked_or_done

Start = Callable[[str, Callable[[psycopg.Connection[Any]], Any]], Future[Any]]


# Whoever writes an event of this type stops there, with all its locks, while somebody holds lock 1.
_STOP = """
create function howdah.test_stop() returns trigger language plpgsql as $$
begin
  perform pg_advisory_xact_lock_shared(1);
  return new;
end $$;
create trigger test_stop before insert on howdah.event for each row when (new.type = 'stop') execute function howdah.test_stop();
"""

_OTHERS = """
select count(*) from pg_stat_activity
 where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid()
"""


@pytest.fixture
def scene(dsn: str) -> Iterator[Scene]:
    """One in which a deadlock is found at once, and not forgiven."""
    opened = Scene(dsn)
    opened.conn().execute(_STOP)
    (name,) = opened.rows("select current_database() as name")
    opened.conn().execute(f"alter database {name['name']} set deadlock_timeout = '20ms'".encode())
    yield opened
    opened.close()
    with psycopg.connect(dsn, autocommit=True) as conn:
        while conn.execute(_OTHERS).fetchone() != (0,):  # each tells its numbers when it goes
            pass
        deadlocks = conn.execute("select deadlocks from pg_stat_database where datname = current_database()").fetchone()
    assert deadlocks == (0,)


@pytest.fixture
def start(scene: Scene) -> Iterator[Start]:
    """Do this on a connection of its own; go on once it is done or blocked."""
    with ThreadPoolExecutor() as threads:

        def started(actor: str, act: Callable[[psycopg.Connection[Any]], Any]) -> Future[Any]:
            conn = scene.conn(actor)
            under_way = threads.submit(act, conn)
            until_blocked_or_done(scene.conn(), conn.info.backend_pid, under_way)
            return under_way

        yield started


def ends(under_way: Future[Any]) -> bool:
    """Whether it ends without further help: a chore may hold others up for a moment."""
    try:
        under_way.result(10)
    except TimeoutError:
        return False
    return True


def test_a_worker_leaves_while_a_pump_it_gave_up_is_still_under_way(scene: Scene, start: Start) -> None:
    """The pump's client hung up; the server goes on with it, behind somebody who holds a lock on its second task."""
    worker = scene.register()
    first, second = scene.put(), scene.put()
    assert first is not None
    assert second is not None
    held = scene.claim(worker)
    scene.conn("somebody else").execute("begin")
    scene.run(calls.cancel(second, None), "somebody else")
    pump = calls.pump(
        worker,
        2,
        done=pairs(held[:1]),
        transitions=json.dumps([transition(held[1], "queued", error="oops")]),
        asleep=True,
    )
    pumping = start("pump", lambda conn: run_on_sync(conn, pump))
    leaving = start("leave", lambda conn: run_on_sync(conn, calls.leave(worker)))
    scene.conn("somebody else").execute("commit")
    assert pumping.result(30).settled == [first, second]
    assert leaving.result(30) == 0


def test_a_pump_meets_somebody_who_cancels_in_ascending_order(scene: Scene, start: Start) -> None:
    """The pump settles a success of a higher id before a retry of a lower one."""
    worker = scene.register()
    low, high = scene.put(), scene.put()
    assert low is not None
    assert high is not None
    held = scene.claim(worker)
    blocker = scene.put()
    assert blocker is not None
    held += scene.claim(worker, seq=2)
    # low is retried, high and the blocker succeeded; the blocker is locked, so that the pump waits between its two halves.
    scene.conn("somebody else").execute("begin")
    scene.run(calls.cancel(blocker, None), "somebody else")
    pump = calls.pump(
        worker, 3, done=pairs(held[1:]), transitions=json.dumps([transition(held[0], "queued", error="oops")])
    )
    pumping = start("pump", lambda conn: run_on_sync(conn, pump))

    def cancel_both(conn: psycopg.Connection[Any]) -> str:
        with conn.transaction():
            run_on_sync(conn, calls.cancel(low, None))
            try:
                return run_on_sync(conn, calls.cancel(high, None))
            except WrongStatus:
                return "ended"

    cancelling = start("operator", cancel_both)
    scene.conn("somebody else").execute("commit")
    assert sorted(pumping.result(30).settled) == [low, high, blocker]
    assert cancelling.result(30) in ("running", "ended")


def test_a_long_reader_of_the_archive_keeps_retention_waiting_and_nobody_else(scene: Scene, start: Start) -> None:
    """pg_dump, a report: a SELECT in a transaction that stays open while a day's retention is over."""
    old = "partition of howdah.archive for values from ('2020-01-01+00') to ('2020-01-02+00')"
    scene.conn().execute(f"create table howdah.archive_20200101 {old}".encode())
    worker, task = scene.register(), scene.put()
    held = scene.claim(worker)
    scene.conn("reader").execute("begin; select * from howdah.archive")
    retaining = start("chores", lambda conn: run_on_sync(conn, calls.retain()))
    settling = start("pump", lambda conn: run_on_sync(conn, done(worker, *held)))
    jammed = not ends(settling)
    scene.conn("reader").execute("commit")
    retaining.exception(30)
    assert settling.result(30).settled == [task]
    assert not jammed, "no worker can settle anything until the reader ends"


def test_a_long_reader_of_the_archive_keeps_new_partitions_waiting_and_nobody_else(scene: Scene, start: Start) -> None:
    scene.put()
    scene.conn("reader").execute("begin; select * from howdah.archive")
    making = start("chores", lambda conn: run_on_sync(conn, calls.make_partitions()))
    looking = start("client", lambda conn: run_on_sync(conn, calls.outcomes([1])))
    jammed = not ends(looking)
    scene.conn("reader").execute("commit")
    making.exception(30)
    looking.result(30)
    assert not jammed, "nobody can ask for an outcome until the reader ends"


# ── families ──


def asks(call: Call[Any]) -> Callable[[psycopg.Connection[Any]], Any]:
    return lambda conn: run_on_sync(conn, call)


@contextmanager
def stopped(scene: Scene) -> Iterator[None]:
    """Transitions with event="stop" stop there."""
    conn = scene.conn("blocker")
    conn.execute("begin; select pg_advisory_xact_lock(1)")
    try:
        yield
    finally:
        conn.execute("commit")


@contextmanager
def holding(scene: Scene, task_id: int) -> Iterator[None]:
    """This task's row is locked."""
    conn = scene.conn("holder")
    conn.execute("begin")
    conn.execute("select from howdah.task where id = %s for no key update", [task_id])
    try:
        yield
    finally:
        conn.execute("commit")


def letter(sender: int, to: int) -> dict[str, Any]:
    return {"to": to, "sender": sender, "body": 1}


def actors(scene: Scene, count: int) -> list[tuple[UUID, tuple[int, int]]]:
    """So many that run, each on a worker of its own."""
    for _ in range(count):
        scene.put("actor")
    workers = [scene.register() for _ in range(count)]
    return [(worker, scene.claim(worker, room=1)[0]) for worker in workers]


def generations(scene: Scene, *ids: int) -> list[tuple[UUID, tuple[int, int]]]:
    """A task, its child, the child's child …, each on a worker of its own; as many as there are ids, and one more."""
    scene.put("actor")
    line: list[tuple[UUID, tuple[int, int]]] = []
    for task_id in (*ids, None):
        worker = scene.register()
        (held,) = scene.claim(worker)
        line.append((worker, held))
        if task_id is not None:
            change = transition(held, "running", "reset", spawn=[{"id": task_id, "kind": "actor", "payload": {}}])
            scene.run(settle(worker, [change], seq=2))
            line[-1] = (worker, (held[0], 2))
    return line


# Children may have lower ids than their parents: ids are reserved in blocks.
@pytest.fixture(params=[(21, 22), (22, 21), (1 << 40, (1 << 40) + 1), ((1 << 40) + 1, 1 << 40), (21, 1 << 40)])
def three(request: pytest.FixtureRequest, scene: Scene) -> list[tuple[UUID, tuple[int, int]]]:
    """Parent, child and grandchild."""
    return generations(scene, *request.param)


def test_actors_send_to_each_other_at_the_same_time(scene: Scene, start: Start) -> None:
    """First to second and fourth to third in one pump; second to fourth and third to first in another."""
    one, two = scene.register(), scene.register()
    for _ in range(4):
        scene.put("actor")
    (first,), (second, third), (fourth,) = (
        scene.claim(one, room=1),
        scene.claim(two, room=2),
        scene.claim(one, 2, room=1),
    )

    def pump(worker: UUID, *letters: tuple[tuple[int, int], tuple[int, int]]) -> Future[Any]:
        sends = [
            transition(sender, "suspended", "reset", event="stop", send=[letter(sender[0], to[0])])
            for sender, to in letters
        ]
        return start(str(worker), asks(settle(worker, sends)))

    with stopped(scene):
        pumps = [pump(one, (first, second), (fourth, third)), pump(two, (second, fourth), (third, first))]
    assert [sorted(pump.result(30).settled) for pump in pumps] == [[first[0], fourth[0]], [second[0], third[0]]]
    assert {row["inbox_seq"] for row in scene.rows("select inbox_seq from howdah.task")} == {1}
    assert {row["status"] for row in scene.rows("select status from howdah.task")} == {"queued"}


def test_a_child_ends_while_its_parent_sends_to_it(scene: Scene, start: Start, three: Any) -> None:
    (one, parent), (two, child), _ = three
    with stopped(scene):
        sends = transition(parent, "suspended", "reset", event="stop", send=[letter(parent[0], child[0])])
        sending = start("parent", asks(settle(one, [sends])))
        ending = start("child", asks(settle(two, [transition(child, "succeeded", event="stop", parent=parent[0])])))
    assert sending.result(30).settled == [parent[0]]
    assert ending.result(30).settled == [child[0]]
    row = scene.task(parent[0])
    assert (row["status"], row["children"], row["inbox_seq"]) == ("queued", 0, 1)


def test_a_parent_sends_to_a_child_that_is_ending(scene: Scene, start: Start, three: Any) -> None:
    (one, parent), (two, child), _ = three
    with stopped(scene):
        ending = start(
            "child", asks(settle(two, [transition(child, "failed", event="stop", error="no", parent=parent[0])]))
        )
        sends = transition(parent, "suspended", "reset", event="stop", send=[letter(parent[0], child[0])])
        sending = start("parent", asks(settle(one, [sends])))
    assert ending.result(30).settled == [child[0]]
    assert sending.result(30).settled == [parent[0]]
    assert scene.task(parent[0])["status"] == "queued", "it has not seen the end"


@pytest.mark.parametrize("first", ["cancel", "end"])
@pytest.mark.parametrize("generation", [1, 2])
def test_a_family_is_cancelled_while_one_of_it_ends(
    scene: Scene, start: Start, three: Any, generation: int, first: str
) -> None:
    """Both wait for the same row."""
    (_, parent), (worker, ending) = three[generation - 1 : generation + 1]
    both = {
        "cancel": calls.cancel(three[0][1][0], None),
        "end": settle(worker, [transition(ending, "succeeded", parent=parent[0])]),
    }
    with holding(scene, ending[0]):
        under_way = {name: start(name, asks(both[name])) for name in sorted(both, reverse=first == "end")}
    assert under_way["cancel"].result(30) == "running"
    assert under_way["end"].result(30).settled == [ending[0]]
    assert scene.messages(parent[0])[-1][2]["status"] == "succeeded"


@pytest.mark.parametrize("how", ["transitions", "done"])
def test_somebody_sends_to_two_that_their_worker_settles(scene: Scene, start: Start, how: str) -> None:
    """In whatever order they are given; somebody else has a third, between the two."""
    (one, low), (_, middle), (_, high), (two, sender) = actors(scene, 4)
    scene.rows("update howdah.task set worker = %s where id = any (%s) returning id", one, [middle[0], high[0]])
    trio = [high, middle, low]
    ends = [transition(task, "queued", "reset") for task in trio]
    call = settle(one, ends) if how == "transitions" else calls.pump(one, 9, done=pairs(trio))
    with holding(scene, middle[0]):
        settling = start("settle", asks(call))
        sends = transition(sender, "queued", "reset", send=[letter(sender[0], task[0]) for task in (high, low)])
        sending = start("send", asks(settle(two, [sends])))
    assert sorted(settling.result(30).settled) == [low[0], middle[0], high[0]]
    if how == "transitions":
        assert sending.result(30).settled == [sender[0]]
    else:
        assert type(sending.exception(30)) is TaskNotFound


def test_a_family_grows_while_somebody_waits_to_cancel_it(scene: Scene, start: Start) -> None:
    """The newborn has a lower id than those that the canceller holds by then, and ends at once."""
    (one, parent), (two, child) = generations(scene, 1 << 40)
    newborn = {"id": 21, "kind": "actor", "payload": {}}
    with holding(scene, child[0]):
        with stopped(scene):
            spawns = transition(parent, "suspended", "reset", event="stop", spawn=[newborn])
            spawning = start("parent", asks(settle(one, [spawns])))
            cancelling = start("operator", asks(calls.cancel(parent[0], None)))
        assert spawning.result(30).settled == [parent[0]]
        (held,) = scene.claim(two, seq=2)
        until_blocked_or_done(scene.conn(), scene.conn("operator").info.backend_pid, cancelling)
        ending = start("newborn", asks(settle(two, [transition(held, "succeeded", parent=parent[0])])))
    assert cancelling.result(30) == "cancelled"
    assert ending.result(30).settled == [21]


def test_one_cancels_itself_while_its_child_sends_to_its_neighbour(scene: Scene, start: Start, three: Any) -> None:
    """The neighbour is settled in the same pump as the parent."""
    (one, parent), (two, child), _ = three
    scene.put("actor", priority=9)
    (neighbour,) = scene.claim(one, seq=3)
    with stopped(scene):
        changes = [transition(parent, "cancelled"), transition(neighbour, "queued", "reset", event="stop")]
        pumping = start("pump", asks(settle(one, changes)))
        sends = transition(
            child, "queued", "reset", event="stop", parent=parent[0], send=[letter(child[0], neighbour[0])]
        )
        sending = start("child", asks(settle(two, [sends])))
    assert sorted(pumping.result(30).settled) == sorted([parent[0], neighbour[0]])
    assert sending.result(30).settled == [child[0]]
    assert scene.task(child[0])["status"] == "cancelled"


def test_a_child_is_rescued_while_somebody_cancels_its_family(scene: Scene, start: Start, three: Any) -> None:
    """The canceller has the parent and waits for the child; rescue has the child."""
    (one, parent), (_, child), (other, grandchild) = three
    scene.move(31)
    for worker, held in ((one, parent), (other, grandchild)):
        scene.run(calls.heartbeat(worker, [held], 2))
    with stopped(scene), holding(scene, grandchild[0]):
        cancelling = start("operator", asks(calls.cancel(parent[0], None)))
        rescuing = start("rescue", asks(calls.rescue()))
    assert cancelling.result(30) == "running"
    assert rescuing.result(30).dead == 1
    scene.run(calls.rescue())
    assert scene.task(child[0])["status"] in ("queued", "cancelled")


def test_a_worker_leaves_while_the_parent_of_its_task_is_cancelled_after_another(scene: Scene, start: Start) -> None:
    """It gives back a cancelled child, whose parent is told, and a task between the two."""
    (_, parent), (worker, child) = generations(scene, 21)
    scene.put("actor", priority=9)
    (other,) = scene.claim(worker, seq=3)
    scene.run(calls.cancel(child[0], None))
    with holding(scene, other[0]):
        leaving = start("leave", asks(calls.leave(worker)))
        cancelling = start("operator", asks(calls.cancel(parent[0], None, cascade=False)))
        assert ends(cancelling), "who leaves has the parent before it has all of its own"
    leaving.result(30)
    scene.run(calls.rescue())
    assert [scene.task(task_id)["status"] for task_id in (child[0], other[0])] == ["cancelled", "queued"]


def test_children_under_the_same_keys(scene: Scene, start: Start) -> None:
    """Two parents spawn them the other way round; each waits in the middle for a key that somebody gives back."""
    (one, first), (two, second) = actors(scene, 2)
    for name in ("m", "n"):
        scene.conn(name).execute("begin")
        run_on_sync(scene.conn(name), put("plain", name, "raise"))

    def spawn(worker: UUID, held: tuple[int, int], *keys: str) -> Future[Any]:
        change = transition(held, "queued", "reset", spawn=[scene.newborn(key=key) for key in keys])
        return start(str(worker), asks(settle(worker, [change])))

    spawning = [spawn(one, first, "a", "m", "b"), spawn(two, second, "b", "n", "a")]
    for name in ("m", "n"):
        scene.conn(name).execute("rollback")
    answers = [spawn.exception(30) for spawn in spawning]
    assert sorted(type(answer).__name__ for answer in answers) == ["KeyConflict", "NoneType"]
