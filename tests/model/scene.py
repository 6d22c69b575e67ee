"""A database whose clock the test moves, a connection for each actor, and a guard that watches every epoch."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID, uuid4

import psycopg

from howdah import calls
from howdah.calls import Call, NewTask, Pumped
from howdah.db.pool import Database, run_on_sync

R = TypeVar("R")
TTL = timedelta(seconds=30)
# Far from the start of the server: rescue waits for a lease after that.
BEGIN = datetime(2100, 1, 1, tzinfo=UTC)

KINDS = {
    "plain": {"max_attempts": 3, "max_lost": 1, "retry_delay": "1 s", "retry_factor": 2, "retry_max": "10 min"},
    "timed": {"max_attempts": 3, "max_lost": 1, "timeout": "10 s"},
    "forgotten": {"max_attempts": 3, "max_lost": 1, "keep": None},
    "actor": {"max_attempts": 3, "max_lost": 1, "inbox": {}},
    "ghost": {"max_attempts": 3, "max_lost": 1, "inbox": {}, "keep": None},
}
JOBS = ("plain", "timed", "forgotten")  # those without an inbox

_SETUP = """
create table howdah.test_clock (at timestamptz not null);
create or replace function howdah.now() returns timestamptz language sql volatile
  as $$ select at from howdah.test_clock $$;
create table howdah.test_effect (task_id bigint not null, epoch bigint not null);
create function howdah.test_guard() returns trigger language plpgsql as $$
begin
  -- Claimed, begun with its message, or gone on with its next step: each a new request of its worker.
  if new.epoch <> old.epoch + (new.status = 'running' and (old.status <> 'running' or new.claim_seq <> old.claim_seq))::int then
    raise exception 'guard: epoch % (%) became % (%)', old.epoch, old.status, new.epoch, new.status;
  elsif new.inbox_seq < old.inbox_seq or old.told and not new.told then
    raise exception 'guard: inbox_seq % (told %) became % (told %)', old.inbox_seq, old.told, new.inbox_seq, new.told;
  end if;
  return new;
end $$;
create trigger test_guard before update on howdah.task for each row execute function howdah.test_guard();
-- Nothing here ends today: the default partitions are enough, and quicker.
do $$ declare part regclass; begin
  for part in select inhrelid from pg_inherits where inhparent in ('howdah.archive'::regclass, 'howdah.event'::regclass) loop
    if part::text not like '%default' then
      execute 'drop table ' || part;
    end if;
  end loop;
end $$;
"""
_WIPE = "; ".join(
    f"delete from howdah.{table}"
    for table in (
        "task",
        "message",
        "archive",
        "event",
        "worker",
        "queue",
        "slot",
        '"group"',
        "key",
        "test_effect",
        "test_clock",
    )
)

# What must be true of every row whenever nothing is under way; each row of the answer is a breach.
INVARIANTS = """
select 'accepted once, here twice: ' || id from (select id from howdah.task union all select id from howdah.archive) x
 group by id having count(*) > 1
union all
select 'running without exactly one owner: ' || t.id from howdah.task t left join howdah.worker w on w.id = t.worker
 where (t.status = 'running') <> (w.id is not null) or (t.status = 'running') <> (t.claim_seq is not null)
union all
select 'failed without an error, or an error without failed: ' || id from howdah.task where (status = 'failed') <> (error is not null)
union all
select 'more attempts than allowed: ' || t.id from howdah.task t join howdah.kind k on k.name = t.kind where t.attempt > k.max_attempts
union all
select 'more losses than allowed: ' || t.id from howdah.task t join howdah.kind k on k.name = t.kind
 where t.lost > k.max_lost + (t.status = 'failed')::int
union all
select 'effects of one attempt twice: ' || task_id from howdah.test_effect group by task_id, epoch having count(*) > 1
union all
select 'effects without their transition: ' || f.task_id from howdah.test_effect f join howdah.task t on t.id = f.task_id
 where t.status = 'running' and t.epoch = f.epoch
union all
select 'a message for nobody: ' || m.task_id from howdah.message m where not exists (select from howdah.task t where t.id = m.task_id)
union all
select 'more messages than were sent: ' || t.id from howdah.task t
 where t.inbox_seq < (select count(*) from howdah.message m where m.task_id = t.id)
union all
select 'children miscounted: ' || t.id from howdah.task t
 where t.children <> (select count(*) from howdah.task c where c.parent = t.id and not c.told)
union all
select 'waits for children that all have ended: ' || t.id from howdah.task t
 where t.status = 'suspended' and t.joining and t.children = 0
union all
select 'parked, and its parent not told: ' || t.id from howdah.task t where t.status = 'failed' and t.parent is not null and not t.told
union all
select 'a place for a task that does not run: ' || s.task_id from howdah.slot s
 where not exists (select from howdah.task t where t.id = s.task_id and t.status = 'running')
union all
select 'runs without a place: ' || t.id from howdah.task t cross join unnest(t.groups) g
 where t.status = 'running' and not exists (select from howdah.slot s where s.task_id = t.id and s.group_name = g)
"""


class Scene:
    """One migrated database. The clock stands still until `move` is called."""

    def __init__(self, dsn: str, *, guarded: bool = True) -> None:
        self.database = Database(dsn)
        self._conns: dict[str, psycopg.Connection[dict[str, Any]]] = {}
        self.conn().execute(_SETUP)
        if not guarded:
            self.conn().execute("drop trigger test_guard on howdah.task")
        self.wipe()
        kinds = [{"name": name, **options} for name, options in KINDS.items()]
        self.run(calls.declare(json.dumps(kinds), overwrite=True))

    def conn(self, actor: str = "somebody") -> psycopg.Connection[dict[str, Any]]:
        if actor not in self._conns:
            self._conns[actor] = self.database.connect_sync()
        return self._conns[actor]

    def close(self) -> None:
        for conn in self._conns.values():
            conn.close()

    def run(self, call: Call[R], actor: str = "somebody") -> R:
        return run_on_sync(self.conn(actor), call)

    def rows(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        return self.conn().execute(sql.encode(), values or None).fetchall()

    def wipe(self) -> None:
        self.clock = BEGIN
        self.conn().execute(f"{_WIPE}; insert into howdah.test_clock values ('{BEGIN}')".encode())

    def move(self, seconds: float) -> None:
        self.clock += timedelta(seconds=seconds)
        self.rows("update howdah.test_clock set at = %s returning at", self.clock)

    def breaches(self) -> list[str]:
        return [next(iter(row.values())) for row in self.rows(INVARIANTS)]

    # ── the calls, with what does not matter filled in ──

    def put(
        self, kind: str = "plain", key: str | None = None, on_conflict: str = "return", **options: Any
    ) -> int | None:
        return self.run(put(kind, key, on_conflict, **options))

    def register(self) -> UUID:
        worker = uuid4()
        self.run(
            calls.register(
                worker, ttl=TTL, host="here", pid=1, version="0", queues=None, kinds=list(KINDS), concurrency=9
            )
        )
        return worker

    def claim(self, worker: UUID, seq: int = 1, room: int = 9) -> list[tuple[int, int]]:
        return claimed(self.run(claim(worker, seq, room)))

    def newborn(self, kind: str = "actor", **more: Any) -> dict[str, Any]:
        """A child as a transition spawns it, under an id of its own."""
        return {"id": self.run(calls.reserve_ids(1))[0], "kind": kind, "payload": {}, **more}

    def messages(self, task_id: int) -> list[tuple[int | None, str, Any]]:
        """What is in an inbox, in order: (sender, type, body)."""
        rows = self.rows("select sender, type, body from howdah.message where task_id = %s order by id", task_id)
        return [(row["sender"], row["type"], row["body"]) for row in rows]

    def task(self, task_id: int) -> dict[str, Any]:
        """The live row, or that of the archive, or {}."""
        return next(iter(self.rows("select * from howdah.tasks where id = %s", task_id)), {})


def put(
    kind: str,
    key: str | None,
    on_conflict: str,
    *,
    payload: str = "{}",
    priority: int = 0,
    delay: float = 0,
    groups: list[str] | None = None,
    cost: float | None = None,
) -> Call[Any]:
    task = NewTask(
        kind,
        payload,
        queue="default",
        priority=priority,
        delay=timedelta(seconds=delay),
        key=key,
        on_conflict=on_conflict,
        groups=groups,
        cost=cost,
    )
    return calls.enqueue(task, defaults_known=True)


def lanes(room: int) -> str:
    lane = {"name": "all", "queue": "default", "kinds": list(KINDS), "share": room, "limit": room, "cursors": {}}
    return json.dumps([lane])


EAGER = json.dumps({"default": list(KINDS)})


def claim(worker: UUID, seq: int, room: int, *, asleep: bool | None = None) -> Call[Pumped]:
    return calls.pump(worker, seq, lanes=lanes(room), room=room, asleep=asleep)


def claimed(reply: Pumped) -> list[tuple[int, int]]:
    """The (id, epoch) of what a pump claimed, in its order."""
    return [(task[0], task[1]) for task in json.loads(reply.claimed or "[]")]


def mail(reply: Pumped) -> dict[int, tuple[int, list[list[Any]]]]:
    """The inboxes that a pump brought: inbox_seq and [message id, sender, type, body] of each."""
    return {task_id: (seq, letters) for task_id, seq, _, letters in json.loads(reply.inboxes or "[]")}


def pairs(held: Iterable[tuple[int, int]]) -> tuple[str, str]:
    """(ids, epochs) as `calls.pump` takes them."""
    held = sorted(held)
    ids, epochs = ([str(pair[n]) for pair in held] for n in (0, 1))
    return "{" + ",".join(ids) + "}", "{" + ",".join(epochs) + "}"


def transition(task: tuple[int, int], to: str, attempts: str = "keep", **more: Any) -> dict[str, Any]:
    return {"id": task[0], "epoch": task[1], "to": to, "attempts": attempts, **more}


def settle(worker: UUID, transitions: Sequence[dict[str, Any]], seq: int = 99, **more: Any) -> Call[Pumped]:
    return calls.pump(worker, seq, transitions=json.dumps(list(transitions)), **more)


def done(worker: UUID, *held: tuple[int, int], seq: int = 99) -> Call[Pumped]:
    return calls.pump(worker, seq, done=pairs(held))


def until_blocked_or_done(watcher: psycopg.Connection[Any], pid: int, under_way: Future[Any]) -> None:
    """Return once this has ended, or its backend waits for a lock."""
    deadline = time.monotonic() + 30
    while not under_way.done():
        if watcher.execute("select pg_blocking_pids(%s) <> '{}' as blocked", [pid]).fetchall()[0]["blocked"]:
            return
        assert time.monotonic() < deadline, "neither blocked nor done"
