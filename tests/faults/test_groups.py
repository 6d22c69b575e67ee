"""The limits of groups at every instant: 20,000 tasks in 200 groups, three workers, one killed, one frozen past its lease."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import psycopg

from waiting import until_sync

PROGRAM = Path(__file__).with_name("grouped.py")
GROUPS, TASKS, CALLS = 200, 20_000, 300
RATE, BURST = 40, 15
# Much longer than it takes, and much shorter than it would if nobody saw that a place has come free.
A_MOMENT = 8.0

# Written by the database with the places themselves: after whoever takes one has counted, before whoever gives one back commits.
_RECORD = """
create table public.record (at timestamptz, name text, task bigint, change int, claimed_at timestamptz);
create function public.recorded() returns trigger language plpgsql as $$
begin
  if tg_op = 'INSERT' then
    insert into public.record
    select clock_timestamp(), new.group_name, new.task_id, 1, t.claimed_at from howdah.task t where t.id = new.task_id;
  else
    insert into public.record values (clock_timestamp(), old.group_name, old.task_id, -1);
  end if;
  return null;
end $$;
create trigger recorded after insert or delete on howdah.slot for each row execute function public.recorded();
"""
_ENQUEUE = """
insert into howdah.task (kind, queue, priority, run_at, payload, groups)
select 'work', 'default', 0, howdah.now(), jsonb_build_object('tenant', n % %(groups)s, 'n', n), array['tenant:' || n % %(groups)s]
  from generate_series(1, %(tasks)s) n;
"""
_CALL = """
insert into howdah.task (kind, queue, priority, run_at, payload, groups)
select 'call', 'default', 0, howdah.now(), jsonb_build_object('tenant', n % %(groups)s, 'n', n), array['api', 'tenant:' || n % %(groups)s]
  from generate_series(1, %(calls)s) n
"""


def most(tenant: int) -> int:
    """Its limit: one for all but a few."""
    return 3 if tenant % 50 == 0 else 1


def limit_of(name: str) -> int:
    return most(int(name.partition(":")[2])) if name.startswith("tenant:") else 10**9


def above(changes: Iterable[tuple[float, int, str]]) -> list[tuple[float, str]]:
    """When a group had more than its limit."""
    running: dict[str, int] = defaultdict(int)
    found: list[tuple[float, str]] = []
    for at, change, name in changes:
        running[name] += change
        if running[name] > limit_of(name):
            found.append((at, name))
    return found


def test_limits_hold_at_every_instant(dsn: str, conn: psycopg.Connection, tmp_path: Path) -> None:
    conn.execute(_RECORD)
    conn.execute("select howdah.set_limit('tenant:*', 1)")
    for tenant in range(0, GROUPS, 50):
        conn.execute("select howdah.set_limit(%s, %s)", [f"tenant:{tenant}", most(tenant)])
    conn.execute("select howdah.set_limit('api', rate => %s, burst => %s)", [f"{RATE}/s", BURST])
    numbers = {"groups": GROUPS, "tasks": TASKS, "calls": CALLS}
    for statement in (_ENQUEUE, _CALL):
        for name, number in numbers.items():
            statement = statement.replace(f"%({name})s", str(number))
        conn.execute(statement.encode())

    def ended() -> int:
        row = conn.execute("select count(*) from howdah.archive").fetchone()
        assert row is not None
        return row[0]

    def holds(process: subprocess.Popen[bytes]) -> bool:
        query = "select from howdah.slot s join howdah.task t on t.id = s.task_id join howdah.worker w on w.id = t.worker where w.pid = %s"
        return conn.execute(query.encode(), [process.pid]).fetchone() is not None

    def start(number: int) -> subprocess.Popen[bytes]:
        with (tmp_path / f"said{number}").open("wb") as said:
            command = [sys.executable, str(PROGRAM), dsn, str(tmp_path / f"did{number}")]
            return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said)

    def freeze(process: subprocess.Popen[bytes]) -> float:
        """Stop it while it holds places, and say when."""

        def caught() -> bool:
            process.send_signal(signal.SIGSTOP)
            if holds(process):
                return True
            process.send_signal(signal.SIGCONT)
            return False

        until_sync(caught, "it to hold places")
        return time.monotonic()

    running = [start(number) for number in range(3)]
    try:
        until_sync(lambda: ended() > TASKS // 8, "the first tasks", timeout=60)
        killed_at = freeze(running[0])
        running[0].kill()
        running.append(start(3))
        until_sync(lambda: ended() > TASKS // 3, "a third of the tasks", timeout=60)
        frozen_at = freeze(running[1])
        until_sync(lambda: not holds(running[1]), "others to take its tasks over", timeout=60)
        running[1].send_signal(signal.SIGCONT)
        until_sync(lambda: ended() == TASKS + CALLS, "all tasks", timeout=120)
    finally:
        for process in running:
            process.send_signal(signal.SIGCONT)
            process.terminate()
        codes = [process.wait(30) for process in running]
    assert codes == [-signal.SIGKILL, 0, 0, 0]

    counts = conn.execute("select status, count(*), count(distinct id) from howdah.archive group by 1").fetchall()
    assert counts == [("succeeded", TASKS + CALLS, TASKS + CALLS)]
    assert conn.execute("select count(*) from howdah.slot").fetchone() == (0,)
    lost = conn.execute("select count(*) from howdah.archive where lost > 0").fetchone()
    assert lost is not None
    assert lost[0] > 0, "nobody held anything"

    # As the database saw it.
    rows = conn.execute(
        "select extract(epoch from at)::float8, change, name from public.record order by at, change"
    ).fetchall()
    assert above(rows) == []

    # As the handlers saw it. Those of a worker that was killed end there; of the frozen one, those that it had then.
    seen: list[tuple[float, int, str]] = []
    for number, stopped_at in enumerate((killed_at, frozen_at, None, None)):
        inside: dict[str, int] = defaultdict(int)
        for line in (tmp_path / f"did{number}").read_text().splitlines():
            at, change, name = line.split()
            if stopped_at is not None and float(at) > stopped_at:
                break
            seen.append((float(at), int(change), name))
            inside[name] += int(change)
        if stopped_at is not None:
            seen += [(stopped_at, -1, name) for name, count in inside.items() for _ in range(count)]
    assert above(sorted(seen)) == []

    # Nobody was left waiting: between two starts of a group with a place there was no more than a moment.
    idle_since: dict[str, float] = {}
    places: dict[str, int] = defaultdict(int)
    gaps: list[tuple[float, str]] = []
    for at, change, name in rows:
        if change > 0 and name in idle_since:
            gaps.append((at - idle_since.pop(name), name))
        places[name] += change
        if places[name] < limit_of(name):
            idle_since.setdefault(name, at)
        else:
            idle_since.pop(name, None)
    waits = [gap for gap in gaps if gap[1] != "api" and gap[0] > A_MOMENT]
    assert waits == []

    # The rate, in every window: no more than the burst and what it gives meanwhile.
    starts = [
        at
        for (at,) in conn.execute(
            "select extract(epoch from claimed_at)::float8 from public.record where name = 'api' and change = 1 order by claimed_at"
        )
    ]
    assert len(starts) >= CALLS
    over = [
        (first, last)
        for i, first in enumerate(starts)
        for j, last in enumerate(starts[i:], 1)
        if j > BURST + (last - first) * RATE + 1e-3
    ]
    assert over == []
