"""A step and the next: one commit between them, no way through the queue where nothing else waits, and fair where it does."""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from howdah import App, Client, Context, Done, Machine, Retry, calls
from howdah.calls import NewTask
from howdah.db.line import Line
from howdah.errors import TaskCancelled, TaskFailed
from howdah.worker.lanes import Lanes
from howdah.worker.settings import Settings
from kinds.standing import events, stands
from waiting import until, until_sync

PROGRAM = Path(__file__).with_name("step_program.py")


@dataclass
class Circle:
    """A machine that goes round and round, and what it did."""

    machine: Machine
    rounds: list[str]

    def begin(self, name: str, rounds: int) -> Any:
        return self.machine.kind.steps["Round"].cls(name, rounds)


@pytest.fixture
def circle(app: App) -> Circle:
    rounds: list[str] = []
    machine = app.machine("circle")

    @machine.step
    @dataclass
    class Round:
        name: str
        left: int

        async def run(self) -> Round | None:
            rounds.append(self.name)
            return Round(self.name, self.left - 1) if self.left > 1 else None

    return Circle(machine, rounds)


FOR_EVER = 1_000_000_000


# ── in place ──


async def test_a_thousand_steps_cost_one_round_trip_each_and_fifty_machines_share_theirs(
    app: App, circle: Circle
) -> None:
    async def calls_for(machines: int, steps: int) -> int:
        tasks = await circle.machine.enqueue_many([circle.begin("one", steps)] * machines)
        async with app.worker():
            before = Line.calls
            for task in tasks:
                await task.result("60s")
            return Line.calls - before

    assert 1000 <= await calls_for(1, 1000) < 1200
    assert 20 <= await calls_for(50, 20) < 200
    assert len(circle.rounds) == 2000


async def test_every_step_in_place_is_a_claim_of_its_own(app: App, conn: psycopg.Connection) -> None:
    """A fencing number that grows, one attempt, another idempotency key: as if it had gone through the queue."""
    seen: list[tuple[int, int, str]] = []
    machine = app.machine("circle")

    @machine.step
    @dataclass
    class Round:
        left: int

        async def run(self, ctx: Context) -> Round | None:
            seen.append((ctx.epoch, ctx.attempt, ctx.idempotency_key))
            row = conn.execute("select epoch, attempt, status, payload from howdah.task where id = %s", [ctx.id])
            assert row.fetchone() == (ctx.epoch, ctx.attempt, "running", {"left": self.left})
            return Round(self.left - 1) if self.left else None

    task = await machine.enqueue(Round(20))
    async with app.worker():
        await task.result("20s")
    assert [epoch for epoch, _, _ in seen] == list(range(1, 22))
    assert {attempt for _, attempt, _ in seen} == {1}
    assert len({key for _, _, key in seen}) == 21
    history = await app.history(task.id)
    assert [event["epoch"] for event in history] == list(range(1, 22))


async def test_a_paused_queue_stops_a_machine_at_its_next_step(app: App, circle: Circle) -> None:
    task = await circle.machine.enqueue(circle.begin("one", FOR_EVER))
    async with app.worker():
        await until(lambda: len(circle.rounds) > 20, "the machine to run")
        await app.pause("default", "enough")
        info = await stands(task, "queued")
        done = len(circle.rounds)
        assert info.payload["left"] == FOR_EVER - done
        assert "queue paused" in [reason.code for reason in await task.why()]
        await app.edit(task.id, payload={"name": "two", "left": 3})
        await app.resume("default")
        await task.result("20s")
    assert circle.rounds[done:] == ["two"] * 3


async def test_a_cancel_ends_a_machine_that_never_stops(app: App, circle: Circle) -> None:
    task = await circle.machine.enqueue(circle.begin("one", FOR_EVER))
    async with app.worker():
        await until(lambda: len(circle.rounds) > 20, "the machine to run")
        await task.cancel("enough")
        with pytest.raises(TaskCancelled, match="enough"):
            await task.result("20s")
        done = len(circle.rounds)
        other = await circle.machine.enqueue(circle.begin("two", 2))
        await other.result("20s")
    assert circle.rounds[done:] == ["two"] * 2


async def test_a_stopping_worker_hands_a_machine_on_at_its_next_step(app: App, circle: Circle) -> None:
    task = await circle.machine.enqueue(circle.begin("one", FOR_EVER))
    async with app.worker() as worker:
        await until(lambda: len(circle.rounds) > 20, "the machine to run")
        worker.stop()
        info = await stands(task, "queued")
    assert info.payload["left"] == FOR_EVER - len(circle.rounds)
    assert info.attempt == 0
    await app.edit(task.id, payload={"name": "two", "left": 1})
    async with app.worker():
        await task.result("20s")


# ── fair ──


async def test_on_a_full_worker_two_machines_take_turns(app: App, circle: Circle) -> None:
    tasks = [await circle.machine.enqueue(circle.begin(name, 40)) for name in ("one", "two")]
    async with app.worker(concurrency=1):
        for task in tasks:
            await task.result("20s")
    in_a_row = max(len(list(run)) for _, run in itertools.groupby(circle.rounds[:70]))
    assert in_a_row <= 2
    assert Counter(circle.rounds) == {"one": 40, "two": 40}


@pytest.mark.parametrize("concurrency", [1, 2, 3])
async def test_what_is_enqueued_beside_machines_that_fill_the_worker_gets_its_turn(
    app: App, circle: Circle, concurrency: int
) -> None:
    @app.task()
    async def urgent() -> str:
        return "now"

    @app.task(queue="other", priority=-5)
    async def patient() -> str:
        return "at last"

    for n in range(concurrency):
        await circle.machine.enqueue(circle.begin(str(n), FOR_EVER))
    async with app.worker(concurrency=concurrency):
        await until(lambda: len(set(circle.rounds)) == concurrency, "all machines to run")
        assert await (await urgent.using(priority=9).enqueue()).result("20s") == "now"
        assert await (await urgent.enqueue()).result("20s") == "now"
        assert await (await patient.enqueue()).result("20s") == "at last"
        for task in await app.tasks(kind="circle"):
            await app.cancel(task.id)


async def test_a_lower_priority_gets_its_turn_when_the_worker_is_not_full(app: App, circle: Circle) -> None:
    @app.task(priority=-5)
    async def patient() -> str:
        return "at last"

    endless = await circle.machine.enqueue(circle.begin("one", FOR_EVER))
    async with app.worker(concurrency=10):
        await until(lambda: circle.rounds, "the machine to run")
        assert await (await patient.enqueue()).result("20s") == "at last"
        await endless.cancel()


async def test_a_worker_knows_the_queues_of_all_steps_from_the_start(app: App) -> None:
    machine = app.machine("build", queue="plain")

    @machine.step(queue="heavy")
    @dataclass
    class Compile:
        async def run(self) -> None: ...

    lanes = json.loads(Lanes(Settings.checked(), app.registry).request(10, Counter(), 1, fresh=True))
    assert {lane["queue"] for lane in lanes} == {"plain", "heavy", "default"}


# ── one commit between two steps ──


async def test_only_the_step_that_had_not_committed_runs_again(app: App, conn: psycopg.Connection) -> None:
    """Its task was taken away while the second step ran, as rescue would."""
    ran: list[str] = []
    release = asyncio.Event()
    machine = app.machine("relay")

    @machine.step
    @dataclass
    class Start:
        async def run(self) -> Middle:
            ran.append("Start")
            return Middle(len(ran))

    @machine.step
    @dataclass
    class Middle:
        n: int

        async def run(self, ctx: Context) -> Finish:
            ran.append(f"Middle {self.n}, attempt {ctx.attempt}, {ctx.idempotency_key}")
            if ctx.attempt == 1:
                await release.wait()
                return Finish("stale")
            return Finish("fresh")

    @machine.step
    @dataclass
    class Finish:
        word: str

        async def run(self) -> Done:
            ran.append(f"Finish {self.word}")
            return Done(self.word)

    outcomes: list[str] = []
    app.listen(lambda event: outcomes.append(getattr(event, "outcome", "")))
    task = await machine.enqueue(Start())
    async with app.worker(lease="10m"):
        await until(lambda: len(ran) == 2, "the second step")
        conn.execute("select howdah.lose(id, epoch, 'crash', 'taken away', true) from howdah.task")
        assert await task.result("20s") == "fresh"
        release.set()
        await until(lambda: "stale" in outcomes, "the first run to find that it is stale")
    key = f"relay:{task.id}:1"
    assert ran == ["Start", f"Middle 1, attempt 1, {key}", f"Middle 1, attempt 2, {key}", "Finish fresh"]
    assert await events(app, task) == ["step", "crash", "step", "end"]


def test_a_killed_worker_costs_the_step_it_was_in_and_no_other(dsn: str, tmp_path: Path) -> None:
    def ran() -> list[str]:
        file = tmp_path / "ran"
        return file.read_text().split() if file.exists() else []

    def start() -> subprocess.Popen[bytes]:
        with (tmp_path / "said").open("ab") as said:
            return subprocess.Popen([sys.executable, str(PROGRAM), dsn], stdout=subprocess.DEVNULL, stderr=said)

    def works() -> Any:
        assert workers[0].poll() is None, (tmp_path / "said").read_text()
        return client.kinds_sync()

    client = Client(dsn)
    workers = [start()]
    try:
        until_sync(works, "the first worker")
        relay = NewTask("relay", "", step="Start")
        (task_id,) = client.run_sync(calls.enqueue_many(relay, json.dumps([{"folder": str(tmp_path)}])))
        until_sync(lambda: ran() == ["Start", "Middle"], "the second step")
        workers[0].kill()
        workers[0].wait()
        workers.append(start())
        until_sync(lambda: ran() == ["Start", "Middle", "Middle"], "the second step to run again")
        (tmp_path / "gate").touch()
        assert client.result_sync(task_id, timeout="30s") == "there"
        history = client.history_sync(task_id)
    finally:
        client.close_sync()
        for worker in workers:
            worker.kill()
            worker.wait()
    assert ran() == ["Start", "Middle", "Middle", "Finish"]
    assert [(event["type"], event["step"]) for event in history] == [
        ("step", "Middle"),
        ("crash", "Middle"),
        ("step", "Finish"),
        ("end", "Finish"),
    ]


# ── effects ──


@pytest.fixture
def effects(conn: psycopg.Connection) -> psycopg.Connection:
    conn.execute("create table effect (step text, attempt int)")
    return conn


def written(conn: psycopg.Connection) -> list[tuple[Any, ...]]:
    return conn.execute("select step, attempt from effect order by 1, 2").fetchall()


async def write(conn: Any, ctx: Context) -> None:
    await conn.execute("insert into effect values (%s, %s)", [ctx.step, ctx.attempt])


async def test_on_commit_writes_with_the_move_to_the_next_step(app: App, effects: psycopg.Connection) -> None:
    machine = app.machine("pay", retry=Retry(2, delay="1ms"))

    @machine.step
    @dataclass
    class Reserve:
        async def run(self, ctx: Context) -> Charge:
            ctx.on_commit(lambda_of(ctx))
            if ctx.attempt == 1:
                raise OSError("after the promise")
            return Charge()

    @machine.step
    @dataclass
    class Charge:
        async def run(self, ctx: Context) -> None:
            @ctx.on_commit
            async def _(conn: Any) -> None:
                await write(conn, ctx)
                if ctx.attempt == 1:
                    await conn.execute("select 1/0")

    def lambda_of(ctx: Context) -> Any:
        async def hook(conn: Any) -> None:
            await write(conn, ctx)

        return hook

    task = await machine.enqueue(Reserve())
    async with app.worker():
        await task.result("20s")
    assert written(effects) == [("Charge", 2), ("Reserve", 2)]
    history = await app.history(task.id)
    assert [(event["type"], event["step"]) for event in history] == [
        ("retry", "Reserve"),
        ("step", "Charge"),
        ("retry", "Charge"),
        ("end", "Charge"),
    ]
    assert all(event["data"]["seconds"] >= 0 for event in history if event["type"] in ("step", "end"))


async def test_a_transactional_step_commits_with_its_move_or_not_at_all(app: App, effects: psycopg.Connection) -> None:
    machine = app.machine("pay", retry=Retry(1, delay="1ms"))

    @machine.step(transactional=True)
    @dataclass
    class Reserve:
        async def run(self, ctx: Context) -> Charge:
            await write(ctx.connection, ctx)
            if ctx.attempt == 1:
                raise OSError("half-way")
            return Charge()

    @machine.step
    @dataclass
    class Charge:
        async def run(self, ctx: Context) -> None:
            assert written(effects) == [("Reserve", 2)]
            ctx.connection

    task = await machine.enqueue(Reserve())
    async with app.worker():
        with pytest.raises(TaskFailed, match="transactional=True"):
            await task.result("20s")
    assert written(effects) == [("Reserve", 2)]
    assert await events(app, task) == ["retry", "step", "retry", "failure"]


async def test_an_illegal_move_leaves_no_effect(app: App, effects: psycopg.Connection) -> None:
    machine = app.machine("pay", retry=5)

    @machine.step(transactional=True)
    @dataclass
    class Direct:
        async def run(self, ctx: Context) -> None:
            await write(ctx.connection, ctx)
            odd: Any = "nowhere"
            return odd

    @machine.step
    @dataclass
    class Promised:
        async def run(self, ctx: Context) -> None:
            @ctx.on_commit
            async def _(conn: Any) -> None:
                await write(conn, ctx)

            odd: Any = "nowhere"
            return odd

    for task in [await machine.enqueue(step) for step in (Direct(), Promised())]:
        async with app.worker():
            with pytest.raises(TaskFailed, match="returned str"):
                await task.result("20s")
    assert written(effects) == []
