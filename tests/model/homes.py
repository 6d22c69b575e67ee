"""Where the stories of families and inboxes begin: one that runs, one that sleeps, one with children."""

from __future__ import annotations

from typing import Any, NamedTuple
from uuid import UUID

from howdah.calls import Call
from howdah.db.pool import run_on_sync
from model.scenarios import helper
from model.scene import Scene, settle, transition, until_blocked_or_done

Held = tuple[int, int]


class Home(NamedTuple):
    """An actor that sleeps, and its children, which a worker has begun."""

    worker: UUID
    parent: int
    children: list[Held]


def actor(scene: Scene, kind: str = "actor") -> tuple[UUID, Held]:
    """A task that runs, and its worker."""
    worker = scene.register()
    scene.put(kind, priority=9)
    (held,) = scene.claim(worker, room=1)
    return worker, held


def asleep(scene: Scene, **end: Any) -> tuple[UUID, int]:
    """One that waits for a message."""
    worker, held = actor(scene)
    scene.run(settle(worker, [transition(held, "suspended", "reset", **end)]))
    assert scene.task(held[0])["status"] == "suspended"
    return worker, held[0]


def home(scene: Scene, children: int = 1, **end: Any) -> Home:
    born = [scene.newborn() for _ in range(children)]
    worker, parent = asleep(scene, spawn=born, **end)
    return Home(worker, parent, scene.claim(worker, seq=2))


def status(scene: Scene, task_id: int) -> str | None:
    return scene.task(task_id).get("status")


def meanwhile(scene: Scene, first: Call[Any], second: Call[Any], *, may_wait: bool = True) -> Any:
    """The second begins while the first has not committed; its answer."""
    one, two = scene.conn("one"), scene.conn("two")
    one.execute("begin")
    run_on_sync(one, first)
    waiting = helper.submit(run_on_sync, two, second)
    until_blocked_or_done(scene.conn(), two.info.backend_pid, waiting)
    blocked = not waiting.done()
    one.execute("commit")
    answer = waiting.result(30)
    assert may_wait or not blocked, "waits for a row that somebody else holds"
    return answer


def end_of(scene: Scene, child: Held, to: str = "succeeded", **more: Any) -> dict[str, Any]:
    """As the worker says it: the parent goes with it."""
    return transition(child, to, parent=scene.task(child[0])["parent"], **more)
