"""Short directed stories of inboxes and of going on in place, as in scenarios.py: each fails when its guard is gone."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest

from howdah import calls
from howdah.calls import Call
from howdah.errors import KeyConflict, TaskNotFound, WrongStatus
from model.homes import Held, actor, asleep, end_of, home, meanwhile, status
from model.scene import EAGER, Scene, claimed, done, lanes, mail, pairs, settle, transition

# ── going to sleep ──


def message_that_came_since_the_inbox_was_read(scene: Scene) -> None:
    worker, held = actor(scene)
    scene.run(calls.send(held[0], "1"))
    scene.run(settle(worker, [transition(held, "suspended", "reset", inbox_seq=0)]))
    assert status(scene, held[0]) == "queued"
    reply = scene.run(calls.pump(worker, 2, lanes=lanes(9), room=1))
    assert mail(reply)[held[0]][0] == 1
    scene.run(settle(worker, [transition((held[0], 2), "suspended", "reset", inbox_seq=1)]))
    assert status(scene, held[0]) == "suspended", "what it has seen and left there does not keep it awake"


def message_while_its_reader_goes_to_sleep(scene: Scene) -> None:
    worker, held = actor(scene)
    sleep = settle(worker, [transition(held, "suspended", "reset")])
    meanwhile(scene, sleep, calls.send(held[0], "1"))
    assert status(scene, held[0]) == "queued"
    (again,) = scene.claim(worker)
    sleep = settle(worker, [transition(again, "suspended", "reset", inbox_seq=1)])
    meanwhile(scene, calls.send(held[0], "2"), sleep)
    assert status(scene, held[0]) == "queued"


def message_of_a_task_while_its_reader_goes_to_sleep(scene: Scene) -> None:
    (worker, reader), (other, sender) = actor(scene), actor(scene)
    sleep = settle(worker, [transition(reader, "suspended", "reset")])
    letter = {"to": reader[0], "sender": sender[0], "body": 1}
    meanwhile(scene, sleep, settle(other, [transition(sender, "queued", "reset", send=[letter])]))
    assert status(scene, reader[0]) == "queued"


def child_ends_while_its_parent_goes_to_sleep(scene: Scene) -> None:
    for how in ("succeeded", "failed", "done", "gone", "cancel"):
        worker, parent = actor(scene)
        born = scene.newborn()
        scene.run(settle(worker, [transition(parent, "running", "reset", spawn=[born])], seq=2))
        other = scene.register()
        (child,) = scene.claim(other)
        if how == "cancel":
            scene.run(settle(other, [transition(child, "queued", "unspent")]))
            ends: Call[Any] = calls.cancel(child[0], None)
        elif how in ("done", "gone"):
            ends = calls.pump(other, 9, **{how: pairs([child])})
        else:
            ends = settle(other, [end_of(scene, child, how, error="no")])
        meanwhile(scene, settle(worker, [transition((parent[0], 2), "suspended", "reset", joining=True)]), ends)
        assert status(scene, parent[0]) == "queued", "nobody will ever wake it"
        scene.wipe()


def alarm_rings_while_somebody_sends(scene: Scene) -> None:
    _, early = asleep(scene, delay=5)
    _, late = asleep(scene, delay=50)
    scene.move(10)
    assert meanwhile(scene, calls.send(early, "1"), calls.wake_suspended(), may_wait=False) == (0, 40)
    assert status(scene, early) == "queued"
    assert status(scene, late) == "suspended"


# ── messages ──


def nothing_of_it(scene: Scene, refusal: type[Exception], to: int, **more: Any) -> None:
    """A transition that sends to this one is refused, and leaves nothing."""
    worker, sender = actor(scene)
    _, friend = asleep(scene)
    scene.run(calls.send(sender[0], "1"))
    (message,) = scene.rows("select id from howdah.message where task_id = %s", sender[0])
    letters = [{"to": task_id, "sender": sender[0], "body": 1} for task_id in (friend, to)]
    change = transition(sender, "queued", "reset", payload={"n": 2}, consumed=[message["id"]], spawn=[scene.newborn()])
    tasks = scene.rows("select count(*) from howdah.task")
    with pytest.raises(refusal):
        scene.run(settle(worker, [change | {"send": letters} | more]))
    row = scene.task(sender[0])
    assert (row["status"], row["payload"], row["children"], row["inbox_seq"]) == ("running", {}, 0, 1)
    assert scene.messages(sender[0]) == [(None, "message", 1)]
    assert (status(scene, friend), scene.messages(friend)) == ("suspended", [])
    assert scene.rows("select count(*) from howdah.task") == tasks


def message_to_a_task_that_is_gone(scene: Scene) -> None:
    worker, held = actor(scene)
    scene.run(done(worker, held))
    with pytest.raises(TaskNotFound):
        scene.run(calls.send(held[0], "1"))
    nothing_of_it(scene, TaskNotFound, held[0])


def message_to_a_task_that_takes_none(scene: Scene) -> None:
    plain = scene.put("plain", delay=99)
    assert plain is not None
    with pytest.raises(WrongStatus):
        scene.run(calls.send(plain, "1"))
    nothing_of_it(scene, WrongStatus, plain)


def child_under_a_key_that_is_held(scene: Scene) -> None:
    scene.put("plain", key="taken", delay=99)
    _, friend = asleep(scene)
    nothing_of_it(scene, KeyConflict, friend, spawn=[scene.newborn(), scene.newborn(key="taken")])


def end_of_a_child_is_told_to_whoever_it_is(scene: Scene) -> None:
    """A parent that takes no messages is told, one that is gone is not."""
    for parent_ends in (False, True):
        worker, parent = actor(scene, "plain")
        born = scene.newborn("plain")
        to = "succeeded" if parent_ends else "suspended"
        scene.run(settle(worker, [transition(parent, to, spawn=[born], joining=not parent_ends)]))
        (child,) = scene.claim(worker, seq=2)
        assert scene.run(settle(worker, [transition(child, "succeeded", parent=parent[0], result=7)])).settled == [
            child[0]
        ]
        told = [(child[0], "eof", {"status": "succeeded", "result": 7, "error": None})]
        assert scene.messages(parent[0]) == ([] if parent_ends else told)
        scene.wipe()


def what_is_consumed_is_named(scene: Scene) -> None:
    worker, held = actor(scene)
    _, other = asleep(scene)
    for task_id, text in ((held[0], "1"), (held[0], "2"), (held[0], "3"), (other, "4")):
        scene.run(calls.send(task_id, text))
    ids = [row["id"] for row in scene.rows("select id from howdah.message order by id")]
    scene.run(settle(worker, [transition(held, "queued", "reset", consumed=[ids[0], ids[1], ids[3]])]))
    assert scene.messages(held[0]) == [(None, "message", 3)]
    assert scene.messages(other) == [(None, "message", 4)], "another's"


def messages_in_order(scene: Scene) -> None:
    """What a child sent, then how it ended; the first message before others."""
    worker, parent, (child,) = home(scene)
    born = scene.newborn(message=0)
    letters = [{"to": to, "sender": child[0], "body": n} for n, to in ((1, parent), (2, born["id"]), (3, parent))]
    end = end_of(scene, child, send=letters, spawn=[born])
    reply = scene.run(settle(worker, [end], lanes=lanes(9), room=9))
    sent = [[child[0], "message", 1], [child[0], "message", 3]]
    eof = [child[0], "eof", {"status": "succeeded", "result": None, "error": None}]
    found = {task_id: [letter[1:] for letter in letters] for task_id, (_, letters) in mail(reply).items()}
    first = [[child[0], "message", 0], [child[0], "message", 2]]
    assert found == {parent: [*sent, eof], born["id"]: first}


def what_nobody_will_read_is_forgotten(scene: Scene) -> None:
    for kind in ("actor", "ghost"):
        for ends in ("done", "gone", "transition", "cancel", "rescue"):
            worker, held = actor(scene, kind)
            scene.run(calls.send(held[0], "1"))
            if ends == "transition":
                scene.run(settle(worker, [transition(held, "succeeded", "keep", gone=kind == "ghost")]))
            elif ends == "cancel":
                scene.run(settle(worker, [transition(held, "queued", "unspent")]))
                scene.run(calls.cancel(held[0], None))
            elif ends == "rescue":
                scene.run(calls.cancel(held[0], None))
                scene.run(calls.heartbeat(worker, [], 1))
            else:
                scene.run(calls.pump(worker, 9, **{ends: pairs([held])}))
            assert scene.messages(held[0]) == []
            said = scene.rows("select message from howdah.event where type = 'unread' and task_id = %s", held[0])
            assert said == [{"message": "1 message was never read"}]


def what_was_read_at_the_end(scene: Scene) -> None:
    worker, held = actor(scene)
    _, other = asleep(scene)
    for task_id, text in ((held[0], "1"), (held[0], "2"), (other, "3")):
        scene.run(calls.send(task_id, text))
    ids = [row["id"] for row in scene.rows("select id from howdah.message order by id")]
    scene.run(settle(worker, [transition(held, "succeeded", consumed=[ids[0], ids[2]])]))
    said = scene.rows("select message from howdah.event where type = 'unread' and task_id = %s", held[0])
    assert said == [{"message": "1 message was never read"}]
    assert scene.messages(other) == [(None, "message", 3)]


# ── going on in place, and beginning with the message ──


def going_on_in_place(scene: Scene) -> None:
    worker, first = actor(scene)
    reply = scene.run(settle(worker, [transition(first, "running", "reset", step="two")], seq=2))
    assert (reply.settled, reply.kept) == ([first[0]], [first[0]])
    row = scene.task(first[0])
    assert (row["status"], row["worker"], row["epoch"], row["attempt"]) == ("running", worker, 2, 1)
    assert scene.run(done(worker, first)).settled == [], "a step ends once"
    # The reply to request 2 is on its way; a heartbeat overtakes it.
    assert scene.run(calls.heartbeat(worker, [first], 1)).freed == []
    assert scene.run(calls.heartbeat(worker, [first], 2)).freed == [first[0]]
    row = scene.task(first[0])
    assert (row["status"], row["epoch"], row["attempt"], row["step"]) == ("queued", 2, 0, "two")


def going_on_where_it_may_not(scene: Scene) -> None:
    worker, held = actor(scene)
    scene.run(
        calls.settle_rest(worker, json.dumps([transition(held, "running", "reset")]))
    )  # in a transaction of its own
    assert status(scene, held[0]) == "queued"
    for paused, change in (("default", {}), ("mail", {"queue": "mail"})):
        (held,) = scene.claim(worker)
        scene.run(calls.pause(paused, None))
        assert scene.run(settle(worker, [transition(held, "running", "reset", **change)], seq=2)).kept is None
        assert status(scene, held[0]) == "queued"
        scene.run(calls.resume(paused))


def hand_over(scene: Scene, *to: int, room: int = 9, eager: str = EAGER) -> tuple[UUID, list[Held]]:
    """Who sends to these, and what began with that."""
    worker, held = actor(scene)
    letters = [{"to": task_id, "sender": held[0], "body": 1} for task_id in to]
    change = transition(held, "queued", "reset", delay=99, send=letters)
    reply = scene.run(settle(worker, [change], seq=7, eager=eager, room=room, look=False))
    assert mail(reply).keys() == {task_id for task_id, _ in claimed(reply)}
    return worker, claimed(reply)


def beginning_with_a_message(scene: Scene) -> None:
    (_, first), (_, second), (_, third) = asleep(scene), asleep(scene), asleep(scene)
    worker, began = hand_over(scene, third, second, first, room=2)
    assert began == [(first, 2), (second, 2)], "as many as there is room for"
    assert status(scene, third) == "queued"
    row = scene.task(first)
    assert (row["status"], row["worker"], row["epoch"], row["attempt"]) == ("running", worker, 2, 1)
    assert scene.run(calls.heartbeat(worker, [], 6)).freed == [], "the reply is on its way"
    assert sorted(scene.run(calls.heartbeat(worker, [], 7)).freed) == [first, second]


def not_beginning_with_a_message(scene: Scene) -> None:
    """Of another kind, in a paused queue, or waiting for something else."""
    (_, stranger), (_, paused) = asleep(scene), asleep(scene)
    sleeping = scene.put("actor", delay=999)
    joining = home(scene, joining=True).parent
    assert sleeping is not None
    assert hand_over(scene, stranger, eager='{"default": ["plain"]}')[1] == []
    assert hand_over(scene, sleeping, joining)[1] == []
    worker, held = actor(scene)
    scene.run(calls.pause("default", None))
    letter = {"to": paused, "sender": held[0], "body": 1}
    change = transition(held, "queued", "reset", delay=99, send=[letter])
    assert scene.run(settle(worker, [change], eager=EAGER, room=9, look=False)).claimed is None
    assert [status(scene, task_id) for task_id in (stranger, sleeping, joining, paused)] == [
        "queued", "queued", "suspended", "queued",
    ]  # fmt: skip
