"""Short directed stories of families, as in scenarios.py: each fails when the guard it is about is gone."""

from __future__ import annotations

from typing import Any

import pytest

from howdah import calls
from howdah.errors import KeyConflict, WrongStatus
from model.homes import Held, actor, asleep, end_of, home, meanwhile, status
from model.scene import Scene, done, pairs, settle, transition

# ── the fence, and cancellation ──


def effects(scene: Scene, sender: Held) -> tuple[int, int, dict[str, Any]]:
    """A reader, a child, and a transition that makes the child and sends to the reader."""
    _, reader = asleep(scene)
    born = scene.newborn()
    return reader, born["id"], {"spawn": [born], "send": [{"to": reader, "sender": sender[0], "body": 1}]}


def stale_effects(scene: Scene) -> None:
    worker, old = actor(scene)
    scene.run(calls.send(old[0], "1"))
    (message,) = scene.rows("select id from howdah.message")
    reader, born, more = effects(scene, old)
    scene.run(settle(worker, [transition(old, "queued", "unspent")]))
    for again in (False, True):
        if again:
            scene.claim(worker)
        for to in ("suspended", "running", "succeeded", "cancelled"):
            change = transition(old, to, "reset", consumed=[message["id"]], inbox_seq=1, **more)
            assert scene.run(settle(worker, [change])).settled == []
        assert status(scene, old[0]) == ("running" if again else "queued")
        assert (scene.task(born), scene.messages(reader), len(scene.messages(old[0]))) == ({}, [], 1)


def stale_effects_beside_the_right_ones(scene: Scene) -> None:
    """Two attempts of one task end in the same batch: a handler that could not be stopped, and the one after it."""
    for new in ("queued", "running", "succeeded", "cancelled"):
        for old in ("queued", "running", "succeeded", "cancelled"):
            worker, first = actor(scene)
            scene.run(calls.send(first[0], "1"))
            (message,) = scene.rows("select id from howdah.message")
            reader, born, more = effects(scene, first)
            scene.run(settle(worker, [transition(first, "queued", "unspent")]))
            (second,) = scene.claim(worker)
            stale = transition(first, old, "reset", consumed=[message["id"]], payload={"n": 1}, **more)
            right = transition(second, new, "reset", payload={"n": 2})
            reply = scene.run(settle(worker, [stale, right]))
            assert (reply.settled, reply.kept) == ([first[0]], [first[0]] if new == "running" else None)
            assert (scene.task(born), scene.messages(reader)) == ({}, [])
            row = scene.task(first[0])
            assert row["status"] == new
            if new in ("queued", "running"):
                assert (row["payload"], len(scene.messages(first[0]))) == ({"n": 2}, 1)
            scene.wipe()


def cancelled_before_it_told_its_effects(scene: Scene) -> None:
    for to, asked in (("suspended", True), ("running", True), ("cancelled", True), ("cancelled", False)):
        worker, held = actor(scene)
        scene.run(calls.send(held[0], "1"))
        (message,) = scene.rows("select id from howdah.message")
        reader, born, more = effects(scene, held)
        if asked:
            scene.run(calls.cancel(held[0], None))
        scene.run(settle(worker, [transition(held, to, consumed=[message["id"]], inbox_seq=1, **more)]))
        assert status(scene, held[0]) == "cancelled"
        assert (scene.task(born), scene.messages(reader)) == ({}, [])
        assert scene.rows("select type from howdah.event where type = 'unread'") != []
        scene.wipe()


def success_with_effects_although_it_was_to_be_cancelled(scene: Scene) -> None:
    worker, held = actor(scene)
    reader, born, more = effects(scene, held)
    scene.run(calls.cancel(held[0], None))
    scene.run(settle(worker, [transition(held, "succeeded", **more)]))
    assert [status(scene, task_id) for task_id in (held[0], born, reader)] == ["succeeded", "queued", "queued"]


def cancelled_with_all_that_it_spawned(scene: Scene) -> None:
    for how in ("cascade", "alone", "alone, running", "by itself"):
        worker, parent, children = home(scene, 2)
        grandchild = scene.newborn()
        scene.run(settle(worker, [end_of(scene, children[0], "suspended", spawn=[grandchild])]))
        if how in ("alone, running", "by itself"):
            scene.run(calls.retry(parent))
            held = [task for task in scene.claim(worker, seq=3) if task[0] == parent]
            if how != "by itself":
                assert scene.run(calls.cancel(parent, None, cascade=False)) == "running"
            scene.run(settle(worker, [transition(held[0], "cancelled")]))
        else:
            scene.run(calls.cancel(parent, None, cascade=how == "cascade"))
        assert status(scene, parent) == "cancelled"
        family = [children[0][0], children[1][0], grandchild["id"]]
        spared = scene.rows("select id from howdah.task where id = any (%s) and cancel_at is null order by id", family)
        assert [row["id"] for row in spared] == ([] if how in ("cascade", "by itself") else family)
        scene.wipe()


# ── parents and children ──


def child_that_is_parked_tells_once(scene: Scene) -> None:
    """Parked, resumed, parked again and ended: two messages, and one child less."""
    ends = {
        "transition": lambda worker, child: scene.run(settle(worker, [end_of(scene, child)])),
        "done": lambda worker, child: scene.run(done(worker, child)),
        "gone": lambda worker, child: scene.run(calls.pump(worker, 9, gone=pairs([child]))),
        "cancel": lambda worker, child: (
            scene.run(settle(worker, [transition(child, "queued")])),
            scene.run(calls.cancel(child[0], None)),
        ),
    }
    for how, end in ends.items():
        worker, parent, (child, _) = home(scene, 2)
        for _ in range(2):
            scene.run(settle(worker, [end_of(scene, child, "failed", error="no")]))
            assert scene.task(parent)["children"] == 1
            assert scene.messages(parent) == [(child[0], "eof", {"status": "failed", "result": None, "error": "no"})]
            scene.run(calls.retry(child[0]))
            (child,) = [task for task in scene.claim(worker, seq=3) if task[0] == child[0]]
        end(worker, child)
        assert scene.task(parent)["children"] == 1
        told = [body["status"] for _, _, body in scene.messages(parent)]
        assert told == ["failed", "cancelled" if how == "cancel" else "succeeded"]
        assert scene.breaches() == []
        scene.wipe()


def child_that_is_lost_again_and_again_tells_once(scene: Scene) -> None:
    _, parent, (child, _) = home(scene, 2)
    for _ in range(2):
        for _ in range(2):
            scene.claim(scene.register())
            scene.move(31)
            scene.run(calls.rescue())
        assert status(scene, child[0]) == "failed"
        assert [sender for sender, _, _ in scene.messages(parent)].count(child[0]) == 1
        assert scene.breaches() == []
        scene.run(calls.retry(child[0]))


def join_wakes_with_the_last_child(scene: Scene) -> None:
    worker, parent, (first, second, third) = home(scene, 3, joining=True)
    scene.run(calls.send(parent, "1"))
    assert status(scene, parent) == "suspended"
    scene.run(settle(worker, [end_of(scene, first, "failed", error="no")]))
    scene.run(calls.retry(first[0]))
    scene.run(settle(worker, [end_of(scene, second)]))
    assert scene.task(parent)["children"] == 1
    (first,) = scene.claim(worker)
    scene.run(settle(worker, [end_of(scene, first)]))
    assert status(scene, parent) == "suspended", "that one had told before"
    with pytest.raises(WrongStatus):
        scene.run(calls.retry(parent))
    scene.run(settle(worker, [end_of(scene, third, "failed", error="no")]))
    assert status(scene, parent) == "queued"
    assert len(scene.messages(parent)) == 5


def join_of_all_that_end_at_once(scene: Scene) -> None:
    worker, parent, children = home(scene, 3, joining=True)
    scene.run(settle(worker, [end_of(scene, child) for child in children]))
    assert status(scene, parent) == "queued"


def join_of_nobody(scene: Scene) -> None:
    worker, held = actor(scene)
    scene.run(settle(worker, [transition(held, "suspended", "reset", joining=True)]))
    assert status(scene, held[0]) == "queued"


def parent_is_not_replaced(scene: Scene) -> None:
    worker = scene.register()
    parent = scene.put("actor", key="key")
    assert parent is not None
    (held,) = scene.claim(worker)
    born = scene.newborn()
    scene.run(settle(worker, [transition(held, "suspended", "reset", spawn=[born])]))
    for _ in ("it lives", "it has ended"):
        with pytest.raises(KeyConflict):
            scene.put("actor", key="key", on_conflict="replace")
        for child in scene.claim(worker):
            scene.run(settle(worker, [end_of(scene, child, "succeeded")] if child[0] == born["id"] else []))
    assert scene.task(parent)["children"] == 0


def rescue_of_a_child_whose_parent_is_locked(scene: Scene) -> None:
    _, parent, (child,) = home(scene)
    scene.move(31)
    assert meanwhile(scene, calls.send(parent, "1"), calls.rescue(), may_wait=False).rescued == 0
    assert status(scene, child[0]) == "running"
    assert scene.run(calls.rescue()).rescued == 1
    assert status(scene, child[0]) == "queued"


def leave_while_a_parent_is_locked(scene: Scene) -> None:
    worker, parent, (child,) = home(scene)
    scene.run(calls.cancel(child[0], None))
    meanwhile(scene, calls.send(parent, "1"), calls.leave(worker), may_wait=False)
    scene.run(calls.rescue())
    assert status(scene, child[0]) == "cancelled"
