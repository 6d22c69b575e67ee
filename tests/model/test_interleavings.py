"""Every ordered pair of operations on one task, the second while the first has not committed yet.

What comes out must be what one of the two orders gives one after the other. Operations that pass over locked rows come
again by themselves: they are given their next turn before the comparison.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
import pytest

from howdah import calls
from howdah.calls import Call
from howdah.db.pool import Database, run_on_sync
from howdah.errors import HowdahError
from howdah.migrate import migrate
from model.scene import Scene, claim, done, put, settle, transition, until_blocked_or_done


class Cast(NamedTuple):
    """The task, its (first) worker with what that holds, and another worker; its parent and a child, if there are any."""

    task: int
    worker: UUID
    other: UUID
    held: list[tuple[int, int]]
    parent: int | None = None
    child: int | None = None


# ── where the task may stand ──


def queued(scene: Scene) -> Cast:
    """Given back once: an outcome of epoch 1 is stale."""
    cast = running(scene)
    scene.run(settle(cast.worker, [transition((cast.task, 1), "queued", "unspent")]))
    return cast._replace(held=[])


def running(scene: Scene, kind: str = "actor") -> Cast:
    worker, other = scene.register(), scene.register()
    task = scene.put(kind, key="key")
    assert task is not None
    return Cast(task, worker, other, scene.claim(worker))


def unheld(scene: Scene) -> Cast:
    """The reply to its claim was lost."""
    return running(scene)._replace(held=[])


def expired(scene: Scene) -> Cast:
    cast = running(scene)
    scene.move(31)
    scene.run(calls.heartbeat(cast.other, [], 0))
    return cast


def overdue(scene: Scene) -> Cast:
    cast = running(scene, "timed")
    scene.move(29)
    scene.run(calls.heartbeat(cast.worker, cast.held, 1))
    scene.move(12)
    return cast


def cancelling(scene: Scene) -> Cast:
    cast = running(scene)
    scene.run(calls.cancel(cast.task, "enough"))
    return cast


def failed(scene: Scene) -> Cast:
    cast = running(scene)
    scene.run(settle(cast.worker, [transition((cast.task, 1), "failed", error="no")]))
    return cast._replace(held=[])


def suspended(scene: Scene) -> Cast:
    """Its alarm is about to ring."""
    cast = running(scene)
    scene.run(settle(cast.worker, [transition((cast.task, 1), "suspended", "reset", delay=5)]))
    scene.move(6)
    return cast._replace(held=[])


def joining(scene: Scene) -> Cast:
    """It waits for its only child, which runs."""
    cast = running(scene)
    born = scene.newborn()
    scene.run(settle(cast.worker, [transition((cast.task, 1), "suspended", "reset", joining=True, spawn=[born])]))
    return cast._replace(held=scene.claim(cast.worker), child=born["id"])


def child(scene: Scene) -> Cast:
    """It runs, and its parent waits for it."""
    cast = joining(scene)
    return cast._replace(task=cast.child, parent=cast.task, child=None)


STATES = [queued, running, unheld, expired, overdue, cancelling, failed, suspended, joining, child]

# ── what may happen to it ──

Operation = Callable[[psycopg.Connection[Any], Cast], Any]


def _call(make: Callable[[Cast], Call[Any]]) -> Operation:
    return lambda conn, cast: run_on_sync(conn, make(cast))


def _change(cast: Cast, to: str, attempts: str = "keep", **more: Any) -> dict[str, Any]:
    """How its attempt ends, in the words of its worker."""
    family = {} if cast.parent is None else {"parent": cast.parent}
    return transition((cast.task, 1), to, attempts, **family, **more)


def _end(to: str, attempts: str = "keep", **more: Any) -> Operation:
    return _call(lambda cast: settle(cast.worker, [_change(cast, to, attempts, **more)]))


def _done(conn: psycopg.Connection[Any], cast: Cast) -> Any:
    """Arrays are for those without a parent."""
    return (_call(lambda c: done(c.worker, (c.task, 1))) if cast.parent is None else _end("succeeded"))(conn, cast)


def _resume(conn: psycopg.Connection[Any], cast: Cast) -> int:
    return conn.execute("update howdah.task set error = null where id = %s and status = 'failed'", [cast.task]).rowcount


def _effect(conn: psycopg.Connection[Any], cast: Cast) -> bool:
    """A step with an effect of its own, as `attempt.py` commits it."""
    with suppress(psycopg.Rollback), conn.transaction() as transaction:
        conn.execute("insert into howdah.test_effect values (%s, 1)", [cast.task])
        if run_on_sync(conn, calls.settle_rest(cast.worker, json.dumps([_change(cast, "succeeded")]))):
            return True
        raise psycopg.Rollback(transaction)
    return False


def _tell(conn: psycopg.Connection[Any], cast: Cast) -> Any:
    """It goes on, with a child of its own and a message to its parent, or to itself."""
    letter = {"to": cast.parent or cast.task, "sender": cast.task, "body": 1}
    born = {"id": 999, "kind": "actor", "message": 2}
    return _end("queued", "reset", send=[letter], spawn=[born])(conn, cast)


def _child_ends(to: str) -> Operation:
    """Of the child of the task: to its parent, that is."""
    return _call(lambda c: settle(c.worker, [transition((c.child or 0, 1), to, error="no", parent=c.task)]))


OPERATIONS: dict[str, Operation] = {
    "claim": _call(lambda c: claim(c.other, 1, 9)),
    "claim again": _call(lambda c: claim(c.worker, 2, 9, asleep=True)),
    "heartbeat": _call(lambda c: calls.heartbeat(c.worker, c.held, 1)),
    "done": _done,
    "retry later": _end("queued", delay=1.0, error="later"),
    "park": _end("failed", error="no"),
    "release": _end("queued", "unspent"),
    "go on": _end("running", "reset"),
    "suspend": _end("suspended", "reset"),
    "tell": _tell,
    "effect": _effect,
    "report": _call(lambda c: calls.report(c.worker, [(c.task, 1, '{"done": 1}')])),
    "leave": _call(lambda c: calls.leave(c.worker)),
    "rescue": _call(lambda _: calls.rescue()),
    "alarm": _call(lambda _: calls.wake_suspended()),
    "send": _call(lambda c: calls.send(c.task, "3")),
    "cancel": _call(lambda c: calls.cancel(c.parent or c.task, None)),
    "retry": _call(lambda c: calls.retry(c.task)),
    "resume": _resume,
    "enqueue": _call(lambda _: put("actor", "key", "return")),
    "replace": _call(lambda _: put("actor", "key", "replace", payload='{"new": 1}')),
    "child done": _child_ends("succeeded"),
    "child parks": _child_ends("failed"),
    "cancel alone": _call(lambda c: calls.cancel(c.task, None, cascade=False)),
    "send to parent": _call(lambda c: calls.send(c.parent or 0, "4")),
}
# What has to do with messages and families is tried where it may matter; the rest, everywhere but in families.
ONLY = {
    "queued": {"send"},
    "running": {"go on", "suspend", "tell", "send"},
    "expired": {"suspend", "tell"},
    "cancelling": {"go on", "tell"},
    "failed": {"send"},
    "suspended": {"send", "alarm"},
    "joining": {"send", "child done", "child parks", "cancel alone"},
    "child": {"suspend", "tell", "send to parent", "cancel alone"},
}
STALE = {"park", "release", "retry later", "effect", "report"}  # where nobody has it; "done" stands for all
FAMILIES = {"enqueue", "replace", "resume", "claim again"}
NOT = {"suspended": STALE, "joining": STALE | FAMILIES, "child": FAMILIES | {"retry later", "report"}}
# What it does not get at the first look, it or rescue gets at the next.
TURNS = {name: [name] for name in OPERATIONS}
TURNS |= {name: [name, name] for name in ("claim", "claim again", "heartbeat", "report", "rescue", "alarm")}
TURNS["leave"] = ["leave", "rescue"]


def perform(name: str, conn: psycopg.Connection[Any], cast: Cast) -> Any:
    """The answer, or the class of the refusal."""
    try:
        return OPERATIONS[name](conn, cast)
    except HowdahError as refusal:
        return type(refusal).__name__


# ── the stage: each state is built once and restored by copying rows ──

_TABLES = ("task", "message", "archive", "event", "worker", "test_effect", "test_clock")
_LOOK = """
select (select jsonb_agg(to_jsonb(t) - 'created_at' - 'id' || jsonb_build_object('new', t.id <> %(task)s) order by t.id)
          from howdah.task t) as task,
       (select jsonb_agg(to_jsonb(a) - 'created_at' - 'id' || jsonb_build_object('new', a.id <> %(task)s) order by a.id)
          from howdah.archive a) as archive,
       (select jsonb_agg(jsonb_build_array(w.id, w.status, w.lease_until, w.asleep) order by w.id)
          from howdah.worker w) as worker,
       (select jsonb_agg(jsonb_build_array(m.task_id = %(task)s, m.sender, m.type, m.body) order by m.id)
          from howdah.message m) as messages,
       (select count(*) from howdah.test_effect) as effects,
       (select jsonb_agg(e.type order by e.id) from howdah.event e) as events
"""


@dataclass
class Stage:
    scene: Scene
    casts: dict[str, Cast]
    known: dict[tuple[str, ...], Any] = field(default_factory=dict)

    def restore(self, state: str) -> Cast:
        self.scene.wipe()
        copies = [f"insert into howdah.{t} overriding system value select * from {state}.{t}" for t in _TABLES]
        self.scene.conn().execute("; ".join(["delete from howdah.test_clock", *copies]).encode())
        return self.casts[state]

    def serially(self, state: str, *names: str) -> Any:
        """What the database holds after these, one after the other."""
        if (state, *names) not in self.known:
            cast = self.restore(state)
            for name in names:
                perform(name, self.scene.conn("first"), cast)
            self.known[state, *names] = self.look(cast)
        return self.known[state, *names]

    def look(self, cast: Cast) -> Any:
        assert self.scene.breaches() == []
        return self.scene.conn().execute(_LOOK, {"task": cast.task}).fetchone()

    def together(self, state: str, first: str, second: str, *then: str, commit: bool) -> tuple[Any, list[Any]]:
        """The second starts while the first has not ended its transaction; `then` is what follows."""
        cast = self.restore(state)
        one, two = self.scene.conn("first"), self.scene.conn("second")
        one.execute("begin")
        answers = [perform(first, one, cast)]
        waiting = helper.submit(perform, second, two, cast)
        until_blocked_or_done(self.scene.conn(), two.info.backend_pid, waiting)
        one.execute("commit" if commit else "rollback")
        answers.append(waiting.result(timeout=30))
        answers += [perform(name, two, cast) for name in then]
        return self.look(cast), answers


helper = ThreadPoolExecutor(2)


@pytest.fixture(scope="module")
def stage(server: Any) -> Iterator[Stage]:
    """One database for all pairs."""
    server.create_database("howdah_interleavings")
    dsn = server.dsn("howdah_interleavings")
    migrate(Database(dsn))
    scene = Scene(dsn)
    casts: dict[str, Cast] = {}
    for build in STATES:
        scene.wipe()
        casts[build.__name__] = build(scene)
        scene.conn().execute(f"create schema {build.__name__}".encode())
        for table in _TABLES:
            scene.conn().execute(f"create table {build.__name__}.{table} as select * from howdah.{table}".encode())
    yield Stage(scene, casts)
    scene.close()
    server.drop_database("howdah_interleavings")


def operations(state: str) -> list[str]:
    others = set[str]().union(*ONLY.values()) - ONLY.get(state, set())
    return [name for name in OPERATIONS if name not in others | NOT.get(state, set())]


PAIRS = [(state.__name__, first) for state in STATES for first in operations(state.__name__)]


@pytest.mark.parametrize(("state", "first"), PAIRS)
def test_one_while_the_other_has_not_committed(stage: Stage, state: str, first: str) -> None:
    if stage.serially(state, first) == stage.serially(state):
        return  # whoever changes nothing keeps nobody waiting
    wrong: list[str] = []
    for second in operations(state):
        turns = TURNS[second]
        late = ["rescue"] if first == "leave" else []
        for commit in (True, False):
            found, answers = stage.together(state, first, *turns, *late, commit=commit)
            orders = [[first, *turns, *late], [second, first, *turns[1:], *late]] if commit else [[*turns, *late]]
            if found not in [stage.serially(state, *order) for order in orders]:
                wrong.append(f"{second} during {first}, then {'commit' if commit else 'rollback'}: {answers} {found}")
    assert wrong == []
