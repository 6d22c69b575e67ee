"""Every ordered pair of operations on one task, the second while the first has not committed yet.

What comes out must be what one of the two orders gives one after the other. Operations that pass over locked rows come
again by themselves: they are given their next turn before the comparison.
"""

from __future__ import annotations

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
    """The task, its (first) worker with what that holds, and another worker."""

    task: int
    worker: UUID
    other: UUID
    held: list[tuple[int, int]]


# ── where the task may stand ──


def queued(scene: Scene) -> Cast:
    """Given back once: an outcome of epoch 1 is stale."""
    cast = running(scene)
    scene.run(settle(cast.worker, [transition((cast.task, 1), "queued", "unspent")]))
    return cast._replace(held=[])


def running(scene: Scene, kind: str = "plain") -> Cast:
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


STATES = [queued, running, unheld, expired, overdue, cancelling, failed]

# ── what may happen to it ──

Operation = Callable[[psycopg.Connection[Any], Cast], Any]


def _call(make: Callable[[Cast], Call[Any]]) -> Operation:
    return lambda conn, cast: run_on_sync(conn, make(cast))


def _resume(conn: psycopg.Connection[Any], cast: Cast) -> int:
    return conn.execute("update howdah.task set error = null where id = %s and status = 'failed'", [cast.task]).rowcount


def _effect(conn: psycopg.Connection[Any], cast: Cast) -> bool:
    """A step with an effect of its own, as `attempt.py` commits it."""
    with suppress(psycopg.Rollback), conn.transaction() as transaction:
        conn.execute("insert into howdah.test_effect values (%s, 1)", [cast.task])
        if run_on_sync(conn, calls.settle_rest(cast.worker, f'[{{"id":{cast.task},"epoch":1,"to":"succeeded"}}]')):
            return True
        raise psycopg.Rollback(transaction)
    return False


OPERATIONS: dict[str, Operation] = {
    "claim": _call(lambda c: claim(c.other, 1, 9)),
    "claim again": _call(lambda c: claim(c.worker, 2, 9, asleep=True)),
    "heartbeat": _call(lambda c: calls.heartbeat(c.worker, c.held, 1)),
    "done": _call(lambda c: done(c.worker, (c.task, 1))),
    "retry later": _call(lambda c: settle(c.worker, [transition((c.task, 1), "queued", delay=1.0, error="later")])),
    "park": _call(lambda c: settle(c.worker, [transition((c.task, 1), "failed", error="no")])),
    "release": _call(lambda c: settle(c.worker, [transition((c.task, 1), "queued", "unspent")])),
    "effect": _effect,
    "report": _call(lambda c: calls.report(c.worker, [(c.task, 1, '{"done": 1}')])),
    "leave": _call(lambda c: calls.leave(c.worker)),
    "rescue": _call(lambda _: calls.rescue()),
    "cancel": _call(lambda c: calls.cancel(c.task, None)),
    "retry": _call(lambda c: calls.retry(c.task)),
    "resume": _resume,
    "enqueue": _call(lambda _: put("plain", "key", "return")),
    "replace": _call(lambda _: put("plain", "key", "replace", payload='{"new": 1}')),
}
# What it does not get at the first look, it or rescue gets at the next.
TURNS = {name: [name] for name in OPERATIONS}
TURNS |= {name: [name, name] for name in ("claim", "claim again", "heartbeat", "report", "rescue")}
TURNS["leave"] = ["leave", "rescue"]


def perform(name: str, conn: psycopg.Connection[Any], cast: Cast) -> Any:
    """The answer, or the class of the refusal."""
    try:
        return OPERATIONS[name](conn, cast)
    except HowdahError as refusal:
        return type(refusal).__name__


# ── the stage: each state is built once and restored by copying rows ──

_TABLES = ("task", "archive", "event", "worker", "test_effect", "test_clock")
_LOOK = """
select (select jsonb_agg(to_jsonb(t) - 'created_at' - 'id' || jsonb_build_object('new', t.id <> %(task)s) order by t.id)
          from howdah.task t) as task,
       (select jsonb_agg(to_jsonb(a) - 'created_at' - 'id' || jsonb_build_object('new', a.id <> %(task)s) order by a.id)
          from howdah.archive a) as archive,
       (select jsonb_agg(jsonb_build_array(w.id, w.status, w.lease_until, w.asleep) order by w.id)
          from howdah.worker w) as worker,
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


@pytest.mark.parametrize("first", OPERATIONS)
@pytest.mark.parametrize("state", [state.__name__ for state in STATES])
def test_one_while_the_other_has_not_committed(stage: Stage, state: str, first: str) -> None:
    if stage.serially(state, first) == stage.serially(state):
        return  # whoever changes nothing keeps nobody waiting
    wrong: list[str] = []
    for second, turns in TURNS.items():
        late = ["rescue"] if first == "leave" else []
        for commit in (True, False):
            found, answers = stage.together(state, first, *turns, *late, commit=commit)
            orders = [[first, *turns, *late], [second, first, *turns[1:], *late]] if commit else [[*turns, *late]]
            if found not in [stage.serially(state, *order) for order in orders]:
                wrong.append(f"{second} during {first}, then {'commit' if commit else 'rollback'}: {answers} {found}")
    assert wrong == []
