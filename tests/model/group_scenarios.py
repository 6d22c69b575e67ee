"""Short directed stories of groups: each holds on the shipped SQL, and fails when the guard it is about is gone."""

from __future__ import annotations

import psycopg

from howdah import calls
from howdah.db.pool import run_on_sync
from model.homes import Held, meanwhile
from model.scene import Scene, claim, claimed, done, settle, transition


def limited(scene: Scene, tasks: int, name: str = "g", *, rate: str | None = None, **limit: int) -> list[int]:
    """So many tasks of a group, and its limit."""
    scene.run(calls.set_limit(name, limit.get("running"), rate, limit.get("burst")))
    return [scene.put(groups=[name]) or 0 for _ in range(tasks)]


def ids(held: list[Held]) -> list[int]:
    return [task for task, _ in held]


def two_claim_from_one_group(scene: Scene) -> None:
    """The second passes over what the first has locked: it neither waits nor takes a place too many."""
    first, second = scene.register(), scene.register()
    tasks = limited(scene, 4, running=2)
    scene.claim(scene.register(), room=1)  # so that the group has its row
    reply = meanwhile(scene, claim(first, 1, 1), claim(second, 1, 9), may_wait=False)
    assert claimed(reply) == []
    assert (reply.crowded, reply.next_due is not None) == (True, True)
    assert scene.claim(second, 2) == []
    assert [scene.task(task)["status"] for task in tasks] == ["running", "running", "queued", "queued"]


def a_place_is_counted_as_it_is_now(scene: Scene) -> None:
    """Whatever ends gives its place back, and no more than there are is taken."""
    worker = scene.register()
    tasks = limited(scene, 4, running=2)
    held = scene.claim(worker)
    assert ids(held) == tasks[:2]
    assert scene.claim(worker, 2) == []
    scene.run(done(worker, held[0], seq=3))
    assert ids(scene.claim(worker, 4)) == [tasks[2]]
    scene.run(settle(worker, [transition(held[1], "queued", delay=3600)], seq=5))
    assert ids(scene.claim(worker, 6)) == [tasks[3]]


def lanes_share_what_they_share(scene: Scene) -> None:
    worker = scene.register()
    limited(scene, 0, "shared", running=2)
    for name in ("a", "b", "c"):
        scene.put(groups=[name, "shared"])
    assert len(scene.claim(worker)) == 2
    assert scene.claim(worker, 2) == []


def a_closed_group_starts_nothing(scene: Scene) -> None:
    worker = scene.register()
    tasks = limited(scene, 2)
    (held, *_) = scene.claim(worker, room=1)
    scene.run(settle(worker, [transition(held, "queued", "unspent", close={"seconds": 60})], seq=2))
    assert scene.task(held[0])["attempt"] == 0
    assert scene.claim(worker, 3) == []
    scene.move(61)
    assert ids(scene.claim(worker, 4)) == tasks  # it has kept its place


def a_closing_is_not_shortened(scene: Scene) -> None:
    worker = scene.register()
    limited(scene, 1)
    (held,) = scene.claim(worker)
    scene.run(calls.close_group("g", None, None))
    scene.run(settle(worker, [transition(held, "queued", "unspent", close={"seconds": 1})], seq=2))
    scene.move(5)
    assert scene.claim(worker, 3) == []


def a_rate_is_paid(scene: Scene) -> None:
    worker = scene.register()
    tasks = limited(scene, 6, rate="1/s", burst=2)
    assert ids(scene.claim(worker)) == tasks[:2]
    scene.move(0.5)
    assert scene.claim(worker, 2) == []
    scene.move(0.6)
    assert ids(scene.claim(worker, 3)) == [tasks[2]]
    scene.move(3600)
    assert ids(scene.claim(worker, 4)) == tasks[3:5]


def a_cost_is_counted(scene: Scene) -> None:
    worker = scene.register()
    scene.run(calls.set_limit("g", None, "1/s", 10))
    dear, cheap = scene.put(groups=["g"], cost=8), scene.put(groups=["g"], cost=3)
    assert ids(scene.claim(worker)) == [dear]
    assert scene.claim(worker, 2) == []
    scene.move(1.1)
    assert ids(scene.claim(worker, 3)) == [cheap]


def what_costs_more_than_the_burst_is_not_for_ever(scene: Scene) -> None:
    worker = scene.register()
    scene.run(calls.set_limit("g", None, "1/s", 2))
    huge, small = scene.put(groups=["g"], cost=50), scene.put(groups=["g"])
    assert ids(scene.claim(worker)) == [huge]
    scene.move(45)
    assert scene.claim(worker, 2) == []
    scene.move(10)
    assert ids(scene.claim(worker, 3)) == [small]


def the_next_step_stands_in_line(scene: Scene) -> None:
    """A task with groups does not go on in place: its group may be closed, or its rate used up."""
    worker = scene.register()
    (task,) = limited(scene, 1, running=1)
    (held,) = scene.claim(worker)
    scene.run(calls.close_group("g", None, None))
    reply = scene.run(settle(worker, [transition(held, "running", "reset")], seq=2))
    assert (reply.kept or [], scene.task(task)["status"]) == ([], "queued")


def a_rule_holds_for_new_groups(scene: Scene) -> None:
    worker = scene.register()
    scene.run(calls.set_limit("t:*", 1, None, None))
    scene.run(calls.set_limit("t:free", None, None, None))
    for name in ("t:1", "t:1", "t:free", "t:free", "u"):
        scene.put(groups=[name])
    assert len(scene.claim(worker)) == 4


def who_makes_a_group_keeps_nobody_waiting(scene: Scene) -> None:
    worker = scene.register()
    scene.put(groups=["new"])
    other = scene.put(groups=["other"])
    one = scene.conn("one")
    one.execute("begin")
    run_on_sync(one, calls.set_limit("new", 1, None, None))
    try:
        assert ids(scene.claim(worker)) == [other]
    except psycopg.errors.LockNotAvailable as error:
        raise AssertionError("waits for somebody's open transaction") from error
    finally:
        one.execute("commit")
    assert len(scene.claim(worker, 2)) == 1
