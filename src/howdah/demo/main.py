"""`howdah demo`: a task per file, a worker killed half-way, and a proof by SQL that nothing was lost or done twice."""

from __future__ import annotations

import asyncio
import secrets
import time
from importlib.resources import files
from pathlib import Path
from typing import Any

from psycopg import AsyncConnection

from howdah.db.failures import readable
from howdah.demo.app import Tally, Wait, app, examine, report
from howdah.demo.files import Found, find
from howdah.demo.fleet import Fleet
from howdah.demo.report import Proof
from howdah.demo.screen import Screen
from howdah.demo.worker import CONCURRENCY, LEASE
from howdah.errors import HowdahError, InvalidOption
from howdah.migrate import release
from howdah.task import Task

SMALL = 500  # files; fewer are slowed down to last about …
SMALL_LASTS = 5.0  # … so many seconds
LONGEST_PACE = 0.5
PATIENCE = 60.0  # seconds in which at least one file must end
_SAME = 4  # looks at a frozen worker that must agree on what it holds

Row = dict[str, Any]
Connection = AsyncConnection[Row]


def run(folder: Path | None = None, *, workers: int = 3, report: Path | None = None, most: int = 5_000) -> int:
    """Examine at most so many files of a folder; without one, Python's standard library. Returns the exit code.

    0: the proof holds. 1: it does not. 130: stopped by Ctrl-C. The report is written to `report`, or else to
    howdah-report.md. Raises HowdahError for what the user can mend: no such folder, no tables in the database, ….
    """
    if workers < 2:
        raise InvalidOption(f"workers must be 2 or more, not {workers}", hint="One is killed, another goes on")
    to = (report or Path("howdah-report.md")).absolute()
    if not to.parent.is_dir():
        raise InvalidOption(f"{to.parent} is not a folder", hint="Name a file in one that exists")
    screen = Screen()
    try:
        proof = asyncio.run(_demo(find(folder, most), to, workers, screen))
    except KeyboardInterrupt:
        screen.say("\nstopped; the workers are gone, what they finished is in the database. Again: howdah demo")
        return 130
    return 0 if proof.holds else 1


def source() -> str:
    """The code of the demo's tasks, for those who want to read it."""
    return (files("howdah.demo") / "app.py").read_text(encoding="utf-8")


async def _demo(found: Found, to: Path, workers: int, screen: Screen) -> Proof:
    async with app, await (await app.database()).connect() as conn:
        _introduce(found, workers, conn, screen)
        await _prepare(conn)
        fleet = Fleet(workers)
        try:
            await _ready(conn, fleet)
            run, reporting = await _enqueue(conn, found, to, workers)
            screen.begin(len(found.paths))
            await _watch(conn, run, fleet, screen)
            proof = Proof(**await reporting.result(timeout="2m"))
        finally:
            screen.end()
            fleet.stop()
        _conclude(proof, to, await _example(conn, run), screen)
        return proof


def _introduce(found: Found, workers: int, conn: Connection, screen: Screen) -> None:
    version = conn.info.server_version // 10_000
    server = app.installation.server
    where = (
        f"PostgreSQL {version} of your DSN, with a schema of the demo's own: howdah_demo"
        if server is None
        else f"embedded PostgreSQL {version} ({'started' if server.started else 'joined'} in {server.seconds:.1f} s)"
    )
    screen.say(f"howdah {release()} · {where}")
    screen.say(f"{found.folder}: {len(found.paths):,} files, a task each · {workers} workers, lease {LEASE} s")
    if found.left_out:
        reasons = ", ".join(f"{reason} ({count:,})" for reason, count in found.left_out.most_common())
        screen.say(f"left out: {reasons}")
    screen.say("")


async def _prepare(conn: Connection) -> None:
    """The demo's tables, empty, and nothing left of an earlier demo that was stopped. One demo at a time."""
    lock = await _one(conn, "select pg_try_advisory_lock(hashtext('howdah demo')) as mine")
    if not lock["mine"]:
        raise HowdahError("another demo is running in this database", hint="Wait for it, or set another HOWDAH_HOME")
    with readable():
        await conn.execute((files("howdah.demo") / "schema.sql").read_bytes())
        await conn.execute((files("howdah.demo") / "proof.sql").read_bytes())
        await conn.execute(
            "select howdah.cancel(id, 'a new demo began') from howdah.task where queue = 'demo' and kind like 'demo.%'"
        )


async def _ready(conn: Connection, fleet: Fleet) -> None:
    """Wait until every worker has its lease."""
    while True:
        pids = fleet.pids
        living = await _one(conn, "select count(*) as count from howdah_demo.worker where pid = any(%s)", pids)
        if living["count"] >= len(pids):
            return
        await asyncio.sleep(0.05)


async def _enqueue(conn: Connection, found: Found, to: Path, workers: int) -> tuple[str, Task[Any]]:
    """A task per file, the actor that counts them, the machine that reports: the name of the run, and the machine's task."""
    run, folder = secrets.token_hex(4), str(found.folder)
    slots, count = workers * CONCURRENCY, len(found.paths)
    pace = min(SMALL_LASTS * slots / count, LONGEST_PACE) if count < SMALL else 0
    await conn.execute("insert into howdah_demo.run (run, folder, files) values (%s, %s, %s)", [run, folder, count])
    tally = await Tally.enqueue(run)
    await examine.enqueue_many([(run, folder, path, tally.id, pace) for path in found.paths])
    return run, await report.enqueue(Wait(run, str(to), tally.id))


# ── while the files are examined ──


async def _watch(conn: Connection, run: str, fleet: Fleet, screen: Screen) -> None:
    """Until no task is left; on the way, kill a worker and see its tasks come back."""
    killed, back = 0, False
    ended, ended_at = 0, time.monotonic()
    while True:
        now = await _one(conn, "select * from howdah_demo.progress where run = %s", run)
        if ended != now["done"] + now["parked"]:
            ended, ended_at = now["done"] + now["parked"], time.monotonic()
        if time.monotonic() - ended_at > PATIENCE:
            raise fleet.trouble(f"no file has ended for {PATIENCE:.0f} seconds")
        screen.progress(ended, now["files"], now["waiting"])
        if killed and not back:
            back = await _taken_back(conn, run, fleet, screen)
        if not now["queued"] + now["running"]:
            break
        # Half-way, or, with few files, as soon as they are all being examined.
        if not killed and now["running"] and (ended * 2 >= now["files"] or not now["due"]):
            killed = await _kill_one(conn, run, fleet, screen)
        await asyncio.sleep(0.1)
    if not killed:
        screen.event("no worker was killed: none held a task when half of the files were done")


async def _kill_one(conn: Connection, run: str, fleet: Fleet, screen: Screen) -> int:
    """SIGKILL the worker that holds most. Returns how many tasks it held; 0: none did, and nobody was killed."""
    busiest = await _held(conn, fleet.pids)
    if not busiest["held"]:
        return 0
    # Frozen first, so that what is counted is what dies; what was on its way to the database arrives meanwhile.
    pid = busiest["pid"]
    fleet.freeze(pid)
    looks = [-1]
    while len(set(looks[-_SAME:])) > 1 or len(looks) <= _SAME:
        await asyncio.sleep(0.05)
        # Behind whatever settles for this worker just now: that holds its row.
        await conn.execute("select from howdah.worker where pid = %s for update", [pid])
        busiest = await _held(conn, [pid])
        looks.append(busiest["held"])
    if not busiest["held"]:
        fleet.thaw(pid)
        return 0
    fleet.kill(pid)
    await conn.execute(
        "update howdah_demo.run set killed_worker = %s, held = %s, killed_at = clock_timestamp() where run = %s",
        [busiest["id"], busiest["held"], run],
    )
    screen.event(f"worker {fleet.number(pid)} killed (SIGKILL) while it held {_tasks(busiest['held'])}")
    return busiest["held"]


async def _held(conn: Connection, pids: list[int]) -> Row:
    rows = await _rows(conn, "select * from howdah_demo.worker where pid = any(%s)", pids)
    return rows[0] if rows else {"held": 0}


async def _taken_back(conn: Connection, run: str, fleet: Fleet, screen: Screen) -> bool:
    query = "select count(*) as tasks, max(seconds) as seconds from howdah_demo.taken_back where run = %s"
    now = await _one(conn, query, run)
    if now["tasks"]:
        others = " or ".join(map(str, fleet.numbers()))
        screen.event(
            f"{_tasks(now['tasks'])} taken back after {now['seconds']:.1f} s, now for worker {others}; nothing to do for you"
        )
    return bool(now["tasks"])


# ── the end ──


def _conclude(proof: Proof, to: Path, example: int | None, screen: Screen) -> None:
    screen.say("")
    screen.tell(f"done in {proof.seconds or 0:.1f} s, {proof.rate or 0:,.0f} files/s")
    screen.tell(
        f"  {proof.files:,} files in · {proof.results:,} results · {proof.parked:,} parked · {proof.lost:,} lost · "
        f"{proof.twice:,} finished twice   (SELECT * FROM howdah_demo.proof)"
    )
    after = "" if proof.taken_back_after is None else f" after {proof.taken_back_after:.1f} s"
    screen.tell(f"  {proof.retries:,} retries · {_tasks(proof.taken_back)} taken back from a killed worker{after}")
    screen.tell(
        f"  actor demo.tally: {proof.counted:,} messages, {proof.counted_lines:,} lines · machine demo.report: "
        f"{proof.steps} steps{'' if proof.reporter is None else f'   (howdah show {proof.reporter})'}"
    )
    if not proof.holds:
        screen.tell(
            f"  THE PROOF DOES NOT HOLD: lost {proof.lost}, twice {proof.twice}, torn {proof.torn}, counted {proof.counted}"
        )
    screen.tell(f"  report: {to}")
    screen.tell("")
    screen.tell("look around:  howdah ls --status failed")
    if example is not None:
        screen.tell(f"              howdah why {example}")
    screen.tell("              howdah graph demo.report")
    screen.tell("              howdah psql")


async def _example(conn: Connection, run: str) -> int | None:
    """A task worth asking about: a parked one, or else one that was taken back."""
    query = """
        select coalesce((select min(id) from howdah_demo.file where run = %(run)s and status = 'failed'),
                        (select min(task_id) from howdah_demo.taken_back where run = %(run)s)) as id
    """
    return (await (await conn.execute(query, {"run": run})).fetchall())[0]["id"]


def _tasks(count: int) -> str:
    return "1 task" if count == 1 else f"{count:,} tasks"


async def _rows(conn: Connection, query: str, *args: Any) -> list[Row]:
    return await (await conn.execute(query.encode(), args)).fetchall()


async def _one(conn: Connection, query: str, *args: Any) -> Row:
    return (await _rows(conn, query, *args))[0]
