"""Handlers that take many tasks at once: `@app.task(batch=100, wait="50ms")`."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from howdah import Again, App, Cancel, Context, Fail, Join, Retry, Snooze
from howdah.errors import InvalidOption, InvalidPayload, TaskCancelled, TaskFailed
from howdah.telemetry import AttemptEnded, Event
from kinds import batch_tasks
from waiting import until, until_sync

PROGRAM = Path(batch_tasks.__file__)


@dataclass
class Document:
    id: int
    text: str = ""


async def status(app: App, task_id: int) -> str:
    return (await app.show(task_id)).status


# ── gathering ──


async def test_tasks_enqueued_one_by_one_come_together_in_the_order_of_the_claim(app: App) -> None:
    seen: list[list[Document]] = []

    @app.task(batch=4, wait="10m")
    async def index(document: list[Document]) -> list[int]:
        seen.append(document)
        return [each.id * 10 for each in document]

    tasks = [await index.enqueue(Document(n, f"text {n}")) for n in range(4)]
    async with app.worker():
        assert [await task.result("30s") for task in tasks] == [0, 10, 20, 30]
    assert seen == [[Document(n, f"text {n}") for n in range(4)]]
    assert (await tasks[0].info()).payload == {"document": {"id": 0, "text": "text 0"}}


async def test_what_is_there_runs_when_the_first_has_waited(app: App) -> None:
    seen: list[list[int]] = []

    @app.task(batch=100, wait="100ms")
    async def add(n: list[int]) -> None:
        seen.append(n)

    await add.enqueue_many([(1,), (2,), (3,)])
    await app.worker(until_idle=True, poll="10m").run()
    assert seen == [[1, 2, 3]]


async def test_many_batches_drain_with_no_need_to_wait(app: App) -> None:
    sizes: list[int] = []

    @app.task(batch=25, wait="10m")
    async def add(n: list[int]) -> list[int]:
        sizes.append(len(n))
        return n

    tasks = await add.enqueue_many([(n,) for n in range(500)])
    await app.worker(until_idle=True).run()
    assert sizes == [25] * 20
    assert [await task.result() for task in tasks] == list(range(500))


async def test_without_a_wait_those_of_one_claim_run_together(app: App) -> None:
    sizes: list[int] = []

    @app.task(batch=100, wait=0)
    async def add(n: list[int]) -> None:
        sizes.append(len(n))

    await add.enqueue_many([(n,) for n in range(10)])
    await app.worker(until_idle=True).run()
    assert sizes == [10]


async def test_a_worker_too_small_for_a_batch_says_so_once_and_runs_what_it_can_hold(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    sizes: list[int] = []

    @app.task(batch=100, wait="10m", queue="documents")
    async def add(n: list[int]) -> None:
        sizes.append(len(n))

    await add.enqueue_many([(n,) for n in range(12)])
    with caplog.at_level(logging.WARNING, "howdah.worker"):
        await app.worker(queues={"documents": 4}, until_idle=True).run()
    assert sizes == [4, 4, 4]
    (said,) = [record.message for record in caplog.records if "add takes 100 tasks at once" in record.message]
    assert "never has more than 4" in said


async def test_a_batch_that_fills_the_worker_keeps_others_waiting_no_longer_than_its_wait(app: App) -> None:
    @app.task(batch=4, wait="50ms")
    async def add(n: list[int]) -> None: ...

    @app.task()
    async def other() -> int:
        return 1

    await add.enqueue_many([(1,), (2,), (3,)])
    task = await other.enqueue()
    await app.worker(concurrency=3, until_idle=True).run()
    assert await task.result() == 1


async def test_kinds_do_not_mix_and_queues_do(app: App) -> None:
    seen: list[tuple[str, list[int]]] = []

    @app.task(batch=2, wait="10m")
    async def one(n: list[int]) -> None:
        seen.append(("one", n))

    @app.task(batch=2, wait="10m")
    async def two(n: list[int]) -> None:
        seen.append(("two", n))

    for n in range(2):
        await one.using(queue=f"q{n}").enqueue(n)
        await two.enqueue(n)
    await app.worker(queues=["default", "q0", "q1"], until_idle=True).run()
    assert sorted((name, sorted(items)) for name, items in seen) == [("one", [0, 1]), ("two", [0, 1])]


async def test_several_lists_are_several_arguments_and_sql_enqueues_them(app: App, conn: psycopg.Connection) -> None:
    seen: list[Any] = []

    @app.task(batch=3, wait="10m", key="{user_id}")
    async def mail(contexts: list[Context], user_id: list[int], text: list[str]) -> list[str]:
        seen.append([ctx.id for ctx in contexts])
        return [f"{each}: {said}" for each, said in zip(user_id, text, strict=True)]

    async with app.worker():
        tasks = [await mail.enqueue(7, "seven"), await app.enqueue("mail", user_id=8, text="eight")]
        row = conn.execute("""select howdah.enqueue('mail', '{"user_id": 9, "text": "nine"}')""").fetchone()
        assert row is not None
        assert await app.result(row[0], timeout="30s") == "9: nine"
        assert [await task.result("30s") for task in tasks] == ["7: seven", "8: eight"]
    assert seen == [[*(task.id for task in tasks), row[0]]]
    assert (await app.show(row[0])).key == "9"
    assert conn.execute("select batch, batch_wait::text from howdah.kind where name = 'mail'").fetchone() == (
        3,
        "00:10:00",
    )


# ── an end for each ──


async def test_each_task_ends_in_its_own_way(app: App) -> None:
    runs: dict[str, int] = {}

    @app.task(batch=8, wait="200ms", retry=Retry(1, delay="1ms"))
    async def act(what: list[str], contexts: list[Context]) -> list[Any]:
        ends: list[Any] = []
        for each, ctx in zip(what, contexts, strict=True):
            runs[each] = runs.get(each, 0) + 1
            ends.append(
                {
                    "value": 42,
                    "none": None,
                    "fail": Fail("no such user"),
                    "cancel": Cancel("not wanted"),
                    "error": KeyError("k"),
                    "again": Again("value"),
                    "snooze": Snooze("1ms") if runs[each] < 3 else ctx.attempt,
                    "retry": Retry.after("1ms") if runs[each] < 2 else ctx.attempt,
                }[each]
            )
        return ends

    words = ["value", "none", "fail", "cancel", "error", "again", "snooze", "retry"]
    tasks = dict(zip(words, await act.enqueue_many([(word,) for word in words]), strict=True))
    async with app.worker():
        assert [await tasks[word].result("30s") for word in ("value", "none", "again")] == [42, None, 42]
        assert await tasks["snooze"].result("30s") == 1  # no attempt was spent
        assert await tasks["retry"].result("30s") == 2
        with pytest.raises(TaskFailed, match="no such user"):
            await tasks["fail"].result("30s")
        with pytest.raises(TaskCancelled, match="not wanted"):
            await tasks["cancel"].result("30s")
        with pytest.raises(TaskFailed, match="KeyError"):
            await tasks["error"].result("30s")
    assert (await tasks["fail"].info()).attempt == 1
    assert (await tasks["error"].info()).attempt == 2
    assert runs["error"] == 2


async def test_what_the_handler_raises_is_everybodys(app: App) -> None:
    runs: list[int] = []

    @app.task(batch=3, wait="10m", retry=Retry(1, delay="1ms"))
    async def fails(n: list[int]) -> None:
        runs.append(len(n))
        raise ValueError("all of them")

    tasks = await fails.enqueue_many([(1,), (2,), (3,)])
    async with app.worker():
        for task in tasks:
            with pytest.raises(TaskFailed, match="ValueError: all of them"):
                await task.result("30s")
    assert runs == [3, 3]
    assert [(await task.info()).attempt for task in tasks] == [2, 2, 2]


async def test_one_outcome_raised_or_returned_is_everybodys(app: App) -> None:
    @app.task(batch=2, wait="10m")
    async def raises(n: list[int]) -> None:
        raise Cancel("raised")

    @app.task(batch=2, wait="10m")
    async def returns(n: list[int]) -> Any:
        return Cancel("returned")

    tasks = [await kind.enqueue(n) for kind in (raises, returns) for n in range(2)]
    await app.worker(until_idle=True).run()
    assert [(await task.info()).reason for task in tasks] == ["raised", "raised", "returned", "returned"]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ([1], r"act returned a list of 1 for a batch of 2"),
        ([1, 2, 3], r"act returned a list of 3 for a batch of 2"),
        ({"a": 1, "b": 2}, r"act returned {.*} instead of a list"),
        ("ab", r"act returned 'ab' instead of a list"),
    ],
)
async def test_an_answer_that_says_not_whose_is_whose_parks_all(app: App, answer: Any, said: str) -> None:
    @app.task(batch=2, wait="10m")
    async def act(n: list[int]) -> Any:
        return answer

    tasks = await act.enqueue_many([(1,), (2,)])
    await app.worker(until_idle=True).run()
    for task in tasks:
        with pytest.raises(TaskFailed, match=said):
            await task.result()
        assert (await task.info()).attempt == 1


async def test_a_result_that_json_cannot_hold_parks_its_own_task(app: App) -> None:
    @app.task(batch=2, wait="10m")
    async def act(n: list[int]) -> list[Any]:
        return [object(), 2]

    bad, good = await act.enqueue_many([(1,), (2,)])
    await app.worker(until_idle=True).run()
    assert await good.result() == 2
    with pytest.raises(TaskFailed, match="result"):
        await bad.result()


async def test_a_payload_that_does_not_fit_never_reaches_the_handler(app: App, conn: psycopg.Connection) -> None:
    seen: list[list[int]] = []

    @app.task(batch=3, wait="10m")
    async def add(n: list[int]) -> None:
        seen.append(n)

    with pytest.raises(InvalidPayload, match="n: expected int"):
        await app.enqueue("add", n="one")
    await add.enqueue(1)
    async with app.worker():
        await until(lambda: conn.execute("select 1 from howdah.kind where name = 'add'").fetchone(), "the kind")
        row = conn.execute("""select howdah.enqueue('add', '{"n": "two"}')""").fetchone()
        assert row is not None
        await add.enqueue(3)
        last = await add.enqueue(4)
        await last.result("30s")
        with pytest.raises(TaskFailed, match="n: expected int"):
            await app.result(row[0], timeout="30s")
    assert [sorted(batch) for batch in seen] == [[1, 3, 4]]


async def test_every_task_is_told_of(app: App) -> None:
    events: list[AttemptEnded] = []

    @app.listen
    def hear(event: Event) -> None:  # pyright: ignore[reportUnusedFunction]
        if isinstance(event, AttemptEnded):
            events.append(event)

    @app.task(batch=3, wait="10m", retry=0)
    async def act(n: list[int]) -> list[Any]:
        return [1, Fail("no"), 3]

    tasks = await act.enqueue_many([(1,), (2,), (3,)])
    await app.worker(until_idle=True).run()
    assert sorted((event.task_id, event.outcome) for event in events) == [
        (task.id, outcome) for task, outcome in zip(tasks, ("succeeded", "failed", "succeeded"), strict=True)
    ]


# ── contexts ──


async def test_each_context_is_that_of_its_task(app: App, conn: psycopg.Connection) -> None:
    conn.execute("create table written (task bigint unique check (task % 2 >= 0))")

    @app.task()
    async def child(n: int) -> int:
        return n

    @app.task(batch=3, wait="200ms", retry=0)
    async def parent(n: list[int], contexts: list[Context]) -> list[Any]:
        if contexts[0].children:
            return [ctx.children[0].result for ctx in contexts]
        for each, ctx in zip(n, contexts, strict=True):
            await ctx.spawn(child, each * 2)

            async def write(connection: Any, task_id: int = ctx.id, each: int = each) -> None:
                if each == 2:
                    raise RuntimeError("its own hook")
                await connection.execute("insert into written values (%s)", [task_id])

            ctx.on_commit(write)
        return [Join() for _ in n]

    tasks = await parent.enqueue_many([(1,), (2,), (3,)])
    async with app.worker():
        assert await tasks[0].result("30s") == 2
        assert await tasks[2].result("30s") == 6
        with pytest.raises(TaskFailed, match="its own hook"):
            await tasks[1].result("30s")
    written = conn.execute("select task from written order by task").fetchall()
    assert written == [(tasks[0].id,), (tasks[2].id,)]


# ── threads and processes ──


async def test_a_plain_function_runs_in_a_thread(app: App) -> None:
    threads: list[str] = []

    @app.task(batch=3, wait="10m")
    def work(n: list[int], contexts: list[Context]) -> list[int]:
        threads.append(threading.current_thread().name)
        return [each + ctx.attempt for each, ctx in zip(n, contexts, strict=True)]

    tasks = await work.enqueue_many([(1,), (2,), (3,)])
    await app.worker(until_idle=True).run()
    assert [await task.result() for task in tasks] == [2, 3, 4]
    assert threads == ["howdah-handler"]


async def test_a_batch_in_a_process_takes_more_tasks_than_there_are_processes(app: App, tmp_path: Path) -> None:
    batch_tasks.serve(app)
    gate = tmp_path / "gate"
    tasks = [await app.enqueue("squares", n=n, gate=str(gate)) for n in range(5)]

    async def says_how_far_it_is() -> bool:
        return (await tasks[4].info()).progress == {"done": 4.0, "total": 10.0}

    async with app.worker(processes=1):
        await until(says_how_far_it_is)
        gate.touch()
        assert await tasks[0].result("30s") == 0
        assert await tasks[2].result("30s") == 4
        value, pid = await tasks[4].result("30s")
        with pytest.raises(TaskFailed, match="unlucky"):
            await tasks[3].result("30s")
    assert value == 16
    assert pid > 0
    assert (await tasks[4].info()).progress == {"done": 4.0, "total": 10.0}


async def test_a_batch_in_a_process_that_runs_too_long_is_killed(app: App, tmp_path: Path) -> None:
    batch_tasks.serve(app)
    marker = tmp_path / "marker"
    tasks = [await app.enqueue("spin", marker=str(marker)) for _ in range(3)]
    async with app.worker(processes=1):
        for task in tasks:
            with pytest.raises(TaskFailed, match="ran longer than 300ms"):
                await task.result("30s")
    pids = [int(line) for line in marker.read_text().split()]
    assert len(pids) == 2
    for pid in pids:
        until_sync(lambda pid=pid: not Path(f"/proc/{pid}").exists(), "the process to be gone")


# ── limits, cancellation, the end of a worker ──


async def test_the_timeout_is_of_the_whole_run_and_not_of_the_gathering(app: App) -> None:
    runs: list[int] = []

    @app.task(batch=3, wait="300ms", timeout="100ms", retry=Retry(1, delay="1ms"))
    async def slow(n: list[int]) -> list[int]:
        runs.append(len(n))
        if len(runs) == 1:
            await asyncio.Event().wait()
        return n

    tasks = await slow.enqueue_many([(1,), (2,)])
    async with app.worker():
        assert [await task.result("30s") for task in tasks] == [1, 2]
    assert runs == [2, 2]
    (event,) = await app.history(tasks[1].id)
    assert (event["type"], event["message"]) == ("timeout", "TimedOut: the attempt ran longer than 100ms")


async def test_rescue_gives_a_gathering_batch_its_time(app: App, conn: psycopg.Connection) -> None:
    """The limit counts from when the run begins, which may be the whole wait after the claim."""

    @app.task(batch=3, wait="10m", timeout="100ms")
    async def patient(n: list[int]) -> None: ...

    await patient.enqueue(1)
    async with app.worker(lease="10m"):
        await until(lambda: conn.execute("select 1 from howdah.task where status = 'running'").fetchone(), "the claim")
        conn.execute("update howdah.task set claimed_at = claimed_at - interval '15 min'")
        assert conn.execute("select overdue from howdah.rescue()").fetchone() == (0,)
        conn.execute("update howdah.task set claimed_at = claimed_at - interval '15 min'")
        assert conn.execute("select overdue from howdah.rescue()").fetchone() == (1,)


async def test_a_task_cancelled_while_it_waits_leaves_the_batch(app: App, conn: psycopg.Connection) -> None:
    seen: list[list[int]] = []

    @app.task(batch=3, wait="10m")
    async def add(n: list[int]) -> None:
        seen.append(n)

    first, second = await add.enqueue_many([(1,), (2,)])
    async with app.worker():
        await until(lambda: running(conn) == 2, "both to be claimed")
        assert await first.cancel() == "running"
        with pytest.raises(TaskCancelled):
            await first.result("30s")
        assert seen == []
        await add.enqueue_many([(3,), (4,)])
        await second.result("30s")
    assert seen == [[2, 3, 4]]


async def test_when_all_have_left_before_the_run_there_is_none(app: App, conn: psycopg.Connection) -> None:
    seen: list[list[int]] = []

    @app.task(batch=3, wait="10m")
    async def add(n: list[int]) -> None:
        seen.append(n)

    tasks = await add.enqueue_many([(1,), (2,)])
    async with app.worker():
        await until(lambda: running(conn) == 2, "both to be claimed")
        for task in tasks:
            await task.cancel()
        for task in tasks:
            with pytest.raises(TaskCancelled):
                await task.result("30s")
    assert seen == []


@pytest.mark.parametrize("executor", ["loop", "thread"])
async def test_a_task_cancelled_in_the_run_ends_and_the_others_go_on(app: App, executor: str) -> None:
    started, gate = threading.Event(), threading.Event()
    noticed: list[int] = []

    def notice(contexts: list[Context]) -> None:
        noticed.extend(number for number, ctx in enumerate(contexts) if ctx.cancelled)

    async def on_the_loop(n: list[int], contexts: list[Context]) -> list[int]:
        started.set()
        await until(gate.is_set, "the gate")
        notice(contexts)
        return n

    def in_a_thread(n: list[int], contexts: list[Context]) -> list[int]:
        started.set()
        assert gate.wait(30)
        notice(contexts)
        return n

    handlers: dict[str, Callable[..., Any]] = {"loop": on_the_loop, "thread": in_a_thread}
    work = app.task(batch=3, wait="10m", name="work")(handlers[executor])
    tasks = await work.enqueue_many([(1,), (2,), (3,)])
    async with app.worker():
        await until(started.is_set, "the run")
        assert await tasks[1].cancel() == "running"
        with pytest.raises(TaskCancelled):
            await tasks[1].result("30s")
        gate.set()
        assert [await tasks[n].result("30s") for n in (0, 2)] == [1, 3]
    assert noticed == [1]


async def test_when_all_are_cancelled_the_run_is(app: App) -> None:
    started, stopped = asyncio.Event(), asyncio.Event()

    @app.task(batch=2, wait="10m")
    async def endless(n: list[int]) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    tasks = await endless.enqueue_many([(1,), (2,)])
    async with app.worker():
        await started.wait()
        for task in tasks:
            await task.cancel()
        await asyncio.wait_for(stopped.wait(), 30)
        for task in tasks:
            with pytest.raises(TaskCancelled):
                await task.result("30s")


async def test_a_thread_whose_batch_has_left_keeps_its_place_until_it_ends(app: App) -> None:
    started, gate = threading.Event(), threading.Event()
    noticed: list[bool] = []

    @app.task(batch=2, wait="10m")
    def stubborn(n: list[int], contexts: list[Context]) -> None:
        started.set()
        assert gate.wait(30)
        noticed.extend(ctx.cancelled for ctx in contexts)

    @app.task()
    async def other() -> int:
        return 1

    tasks = await stubborn.enqueue_many([(1,), (2,)])
    async with app.worker(concurrency=2):
        await until(started.is_set, "the run")
        for task in tasks:
            await task.cancel()
        for task in tasks:
            with pytest.raises(TaskCancelled):
                await task.result("30s")
        assert await (await other.enqueue()).result("30s") == 1
        gate.set()
        await until(lambda: len(noticed) == 2, "the thread to look")
    assert noticed == [True, True]


async def test_a_worker_that_stops_runs_what_it_has_gathered(app: App, conn: psycopg.Connection) -> None:
    seen: list[list[int]] = []

    @app.task(batch=3, wait="10m")
    async def add(n: list[int]) -> None:
        seen.append(n)

    tasks = await add.enqueue_many([(1,), (2,)])
    async with app.worker():
        await until(lambda: running(conn) == 2, "both to be claimed")
    assert seen == [[1, 2]]
    assert [await status(app, task.id) for task in tasks] == ["succeeded", "succeeded"]


async def test_what_runs_longer_than_the_grace_goes_back_when_the_handler_has_ended(app: App) -> None:
    started = asyncio.Event()
    said: list[str] = []

    @app.task(batch=2, wait="10m")
    async def endless(n: list[int]) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(20):  # time enough to be given back too early
                said.extend([(await task.info()).status for task in tasks])

    tasks = await endless.enqueue_many([(1,), (2,)])
    async with app.worker(grace=0):
        await started.wait()
    assert said == ["running"] * 40
    for task in tasks:
        info = await task.info()
        assert (info.status, info.attempt, info.lost) == ("queued", 0, 0)


async def test_a_lost_lease_stops_the_run(app: App, conn: psycopg.Connection) -> None:
    runs: list[int] = []
    stopped = asyncio.Event()

    @app.task(batch=2, wait="1s")
    async def work(n: list[int]) -> list[int]:
        runs.append(len(n))
        if len(runs) == 1:
            try:
                await asyncio.Event().wait()
            finally:
                stopped.set()
        return n

    tasks = await work.enqueue_many([(1,), (2,)])
    async with app.worker(lease="2s"):
        await until(lambda: runs, "the run")
        conn.execute("update howdah.worker set status = 'dead', ended_at = now()")
        await asyncio.wait_for(stopped.wait(), 30)
        assert [await task.result("60s") for task in tasks] == [1, 2]
    assert runs == [2, 2]


def test_a_worker_killed_in_a_batch_gives_all_of_it_back(dsn: str, conn: psycopg.Connection, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    workers: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        workers.append(subprocess.Popen([sys.executable, str(PROGRAM), dsn]))
        return workers[-1]

    try:
        first = start()
        until_sync(lambda: conn.execute("select 1 from howdah.kind where name = 'hold'").fetchone(), "the worker")
        app = App(dsn)
        batch_tasks.serve(app)
        with app:
            ids = [app.enqueue_sync("hold", n=n, gate=str(gate)).id for n in range(20)]
            until_sync(lambda: gate.exists() and gate.read_text(), "the batch to run")
            first.kill()
            first.wait(30)
            start()
            assert [app.result_sync(task_id, timeout="60s") for task_id in ids] == [n * 2 for n in range(20)]
    finally:
        for worker in workers:
            worker.terminate()
            worker.wait(30)
    lost = conn.execute("select sum(lost), count(*) filter (where attempt = 1 + lost) from howdah.archive").fetchone()
    assert lost is not None
    assert int(gate.read_text()) <= lost[0] <= 20
    assert lost[1] == 20


def running(conn: psycopg.Connection) -> int:
    row = conn.execute("select count(*) from howdah.task where status = 'running'").fetchone()
    assert row is not None
    return row[0]


# ── what cannot be meant ──


async def nothing(n: list[int]) -> None: ...


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batch": 0}, "batch must be a whole number from 1 to 100,000, not 0"),
        ({"batch": True}, "batch must be a whole number"),
        ({"batch": "10"}, "batch must be a whole number"),
        ({"batch": 10, "wait": "soon"}, "wait cannot be read as a length of time"),
        ({"batch": 10, "wait": -1}, "wait must not be negative"),
        ({"wait": "50ms"}, "wait is for a handler that takes many tasks at once"),
        ({"batch": 10, "transactional": True}, "batch and transactional=True do not go together"),
    ],
)
def test_options(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidOption, match=said):
        App("dbname=never_opened").task(**options)(nothing)


async def no_list(n: int) -> None: ...
async def no_parameter() -> None: ...
async def only_contexts(contexts: list[Context]) -> None: ...
async def one_context(n: list[int], ctx: Context) -> None: ...
async def a_default(n: list[int] = []) -> None: ...  # noqa: B006
async def more(n: list[int], **more: list[int]) -> None: ...
async def star(*n: list[int]) -> None: ...
async def unknown_to_json(n: list[threading.Thread]) -> None: ...


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (no_list, "no_list: n: with batch= a handler takes lists"),
        (no_parameter, "no_parameter: with batch= a handler takes a list"),
        (only_contexts, "only_contexts: with batch= a handler takes a list"),
        (one_context, "one_context: ctx: with batch= a handler takes lists"),
        (a_default, "a_default: n: with batch= a handler takes lists"),
        (more, "more: more: with batch= a handler takes lists"),
        (star, "has no name in JSON"),
        (unknown_to_json, "unknown_to_json: n: JSON cannot be read as its annotation"),
    ],
)
def test_handlers(function: Callable[..., Any], said: str) -> None:
    with pytest.raises(InvalidOption, match=said):
        App("dbname=never_opened").task(batch=10)(function)


def test_one_of_it_is_what_the_signature_says() -> None:
    app = App("dbname=never_opened")

    @app.task(batch=10)
    async def index(document: list[Document], contexts: list[Context]) -> list[int | Snooze | Exception] | None: ...

    assert str(index.kind.signature) == f"index(document: {Document.__module__}.Document)"
    assert index.kind.read_result(3) == 3
    with pytest.raises(InvalidPayload):
        index.kind.read_result("three")
