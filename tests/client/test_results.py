"""`task.result()`: waits without hammering the database, and says how the task ended or where it stands."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from howdah import App, Client, Task
from howdah.calls import Call
from howdah.db.pool import Database
from howdah.errors import (
    CannotConnect,
    HowdahError,
    InvalidPayload,
    ResultTimeout,
    TaskCancelled,
    TaskFailed,
    TaskNotFound,
)
from waiting import until, until_sync


@dataclass
class Receipt:
    id: UUID
    took: timedelta


class Asked:
    """Counts the questions for outcomes, and how many tasks each was about."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[int] = []
        run, run_sync = Database.run, Database.run_sync

        async def counted(database: Database, call: Call[Any]) -> Any:
            self.note(call)
            return await run(database, call)

        def counted_sync(database: Database, call: Call[Any]) -> Any:
            self.note(call)
            return run_sync(database, call)

        monkeypatch.setattr(Database, "run", counted)
        monkeypatch.setattr(Database, "run_sync", counted_sync)

    def note(self, call: Call[Any]) -> None:
        if call.function == "outcomes":
            self.calls.append(len(call.args["ids"]))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    return Asked(monkeypatch)


def succeed(conn: psycopg.Connection, result: str = "null", *ids: int) -> None:
    """End tasks as a worker would: with no worker to be timed, the test says when."""
    conn.execute(
        "with done as (delete from howdah.task where id = any(%s) returning *)"
        " insert into howdah.archive (id, kind, queue, status, priority, run_at, payload, attempt, lost, epoch, result,"
        " created_at, finished_at) select id, kind, queue, 'succeeded', priority, run_at, payload, 1, 0, 1, %s::jsonb,"
        " created_at, howdah.now() from done",
        [list(ids), result],
    )


@pytest.fixture
def receipt(app: App) -> Any:
    @app.task()
    async def pay(amount: int) -> Receipt:
        return Receipt(UUID(int=amount), timedelta(seconds=amount))

    return pay


async def test_a_thousand_waits_are_one_question(
    app: App, receipt: Any, asked: Asked, conn: psycopg.Connection
) -> None:
    tasks = await receipt.enqueue_many([(n,) for n in range(1000)])
    waits = asyncio.gather(*(task.result("30s") for task in tasks))
    await until(lambda: len(asked.calls) >= 3)
    assert asked.calls[0] in (1, 1000)
    assert set(asked.calls[1:]) <= {999, 1000}
    before = len(asked.calls)
    succeed(conn, '{"id": "00000000-0000-0000-0000-000000000007", "took": "PT3S"}', *(task.id for task in tasks))
    assert await waits == [Receipt(UUID(int=7), timedelta(seconds=3))] * 1000
    assert len(asked.calls) - before <= 2


async def test_the_longer_it_waits_the_rarer_it_asks(app: App, receipt: Any, asked: Asked) -> None:
    task = await receipt.enqueue(1)
    with pytest.raises(ResultTimeout):
        await task.result("1s")
    # At once, and after 5, 10, 20 … 320, 640 ms; fewer where the machine is busy.
    assert 2 <= len(asked.calls) <= 10


async def test_who_is_new_does_not_make_it_ask_for_the_old(
    app: App, receipt: Any, asked: Asked, conn: psycopg.Connection
) -> None:
    old = await receipt.enqueue_many([(n,) for n in range(500)])
    waiting = [asyncio.create_task(task.result()) for task in old]
    await until(lambda: len(asked.calls) >= 7)  # they are asked for every third of a second by now
    asked.calls.clear()
    began = time.monotonic()
    new = await receipt.enqueue_many([(n,) for n in range(20)])
    for task in new:
        succeed(conn, "null", task.id)
        await task.result()
    most_for_the_old = 2 + (time.monotonic() - began) / 0.32
    assert len([size for size in asked.calls if size >= 500]) <= most_for_the_old
    assert len(asked.calls) <= 40 + most_for_the_old
    for wait in waiting:
        wait.cancel()


async def test_two_who_wait_for_the_same_task_get_the_same_result(
    app: App, receipt: Any, asked: Asked, conn: psycopg.Connection
) -> None:
    task = await receipt.enqueue(1)
    waits = asyncio.gather(task.result(), task.result(), app.result(task.id))
    await until(lambda: asked.calls)
    succeed(conn, '{"id": "00000000-0000-0000-0000-000000000001", "took": "PT1S"}', task.id)
    typed = Receipt(UUID(int=1), timedelta(seconds=1))
    assert await waits == [typed, typed, {"id": "00000000-0000-0000-0000-000000000001", "took": "PT1S"}]
    assert set(asked.calls) == {1}


async def test_a_timeout_says_where_the_task_stands(app: App, receipt: Any, conn: psycopg.Connection) -> None:
    task = await receipt.enqueue(1)
    for timeout in ("20ms", 0):
        with pytest.raises(ResultTimeout, match=f"task {task.id} has not ended after .*: it is queued") as error:
            await task.result(timeout)
        assert isinstance(error.value, TimeoutError)
        assert error.value.hint == f"See: howdah why {task.id}"
        with pytest.raises(ResultTimeout, match="it is queued"):
            await asyncio.to_thread(task.result_sync, timeout)
    assert (await task.info()).status == "queued"

    succeed(conn, "null", task.id)
    assert await task.result(0) is None
    assert await asyncio.to_thread(task.result_sync, 0) is None


async def test_a_parked_task_says_its_error_and_can_go_on(app: App, receipt: Any, conn: psycopg.Connection) -> None:
    task = await receipt.enqueue(1)
    conn.execute("update howdah.task set status = 'failed', error = 'OSError: no paper' where id = %s", [task.id])
    for call in (task.result, lambda: asyncio.to_thread(task.result_sync)):
        with pytest.raises(TaskFailed, match=f"task {task.id} failed: OSError: no paper") as error:
            await call()
        assert error.value.error == "OSError: no paper"
        assert error.value.hint == f"Mend the cause, then: howdah retry {task.id}"
    await task.retry()
    succeed(conn, "null", task.id)
    assert await task.result() is None


async def test_a_cancelled_task_says_why(app: App, receipt: Any) -> None:
    one, other = await receipt.enqueue(1), await receipt.enqueue(2)
    wait = asyncio.create_task(one.result())
    await one.cancel("not wanted")
    await other.cancel()
    with pytest.raises(TaskCancelled, match=f"task {one.id} was cancelled: not wanted"):
        await wait
    with pytest.raises(TaskCancelled, match=f"task {other.id} was cancelled$"):
        await asyncio.to_thread(other.result_sync)


async def test_a_task_of_which_nothing_is_kept(app: App, conn: psycopg.Connection) -> None:
    @app.task(keep=None)
    async def secret() -> int:
        return 1

    task = await secret.enqueue()
    wait = asyncio.create_task(task.result())
    conn.execute("delete from howdah.task where id = %s", [task.id])
    for call in (lambda: wait, lambda: asyncio.to_thread(task.result_sync)):
        with pytest.raises(TaskNotFound, match=f"nothing is kept of task {task.id}.*keep=None"):
            await call()


async def test_one_bad_end_does_not_disturb_the_others(app: App, receipt: Any, conn: psycopg.Connection) -> None:
    good, bad, gone, late = await receipt.enqueue_many([(n,) for n in range(4)])
    waits = asyncio.gather(
        *(task.result("5s") for task in (good, bad, gone)), late.result("50ms"), return_exceptions=True
    )
    succeed(conn, "null", good.id)
    await bad.cancel()
    conn.execute("delete from howdah.task where id = %s", [gone.id])
    assert [type(end) for end in await waits] == [type(None), TaskCancelled, TaskNotFound, ResultTimeout]


async def test_a_waiter_that_is_cancelled_disturbs_nobody(
    app: App, receipt: Any, asked: Asked, conn: psycopg.Connection
) -> None:
    task, other = await receipt.enqueue(1), await receipt.enqueue(2)
    waits = [asyncio.create_task(each.result()) for each in (task, task, other)]
    await until(lambda: asked.calls)
    waits[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await waits[0]
    succeed(conn, "null", task.id, other.id)
    assert await asyncio.gather(*waits[1:]) == [None, None]


async def test_nobody_asks_once_nobody_waits(app: App, receipt: Any, asked: Asked) -> None:
    task = await receipt.enqueue(1)
    wait = asyncio.create_task(task.result())
    await until(lambda: len(asked.calls) >= 2)
    wait.cancel()
    (waiter,) = app.waiters.values()
    await until(lambda: waiter._asking is not None and waiter._asking.done())
    assert waiter._waits == {}


async def test_closing_the_app_ends_the_wait_with_an_error(app: App, receipt: Any, asked: Asked) -> None:
    task = await receipt.enqueue(1)
    wait = asyncio.create_task(task.result())
    await until(lambda: asked.calls)
    await app.close()
    with pytest.raises(HowdahError, match=f"the app was closed while the result of task {task.id} was awaited"):
        await wait


async def test_a_result_that_does_not_fit_the_annotation_says_so(
    app: App, receipt: Any, conn: psycopg.Connection
) -> None:
    task = await receipt.enqueue(1)
    succeed(conn, '{"id": "x", "took": "PT1S"}', task.id)
    with pytest.raises(InvalidPayload, match=r"pay: result\.id"):
        await task.result()


async def test_without_the_handler_a_result_is_plain_json(app: App, receipt: Any, conn: psycopg.Connection) -> None:
    task = await receipt.enqueue(1)
    succeed(conn, '{"n": [1, 2.5, null, "x"]}', task.id)
    client = Client(app.dsn)
    assert await client.result(task.id) == {"n": [1, 2.5, None, "x"]}
    assert await Task[Any](client, task.id, "pay").result() == {"n": [1, 2.5, None, "x"]}
    await client.close()


async def test_the_sync_twin_waits_in_its_thread(
    app: App, receipt: Any, asked: Asked, conn: psycopg.Connection
) -> None:
    task = await receipt.enqueue(1)
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(task.result_sync("20s")))
    thread.start()
    await until(lambda: len(asked.calls) >= 3)
    succeed(conn, '{"id": "00000000-0000-0000-0000-000000000001", "took": "PT1S"}', task.id)
    await asyncio.to_thread(thread.join)
    assert results == [Receipt(UUID(int=1), timedelta(seconds=1))]
    assert len(asked.calls) <= 12


def test_two_loops_one_after_the_other(dsn: str, conn: psycopg.Connection) -> None:
    app = App(dsn)

    @app.task()
    async def greet(name: str) -> str:
        return name

    async def enqueue_and_wait(value: str) -> str:
        task = await greet.enqueue(value)
        wait = asyncio.create_task(task.result("20s"))
        await asyncio.sleep(0)
        succeed(conn, f'"{value}"', task.id)
        return await wait

    async def leave_one_waiting() -> None:
        task = await greet.enqueue("never")
        asyncio.create_task(task.result()).add_done_callback(lambda _: None)
        await asyncio.sleep(0)

    assert asyncio.run(enqueue_and_wait("one")) == "one"
    asyncio.run(leave_one_waiting())
    assert asyncio.run(enqueue_and_wait("two")) == "two"
    assert len(app.waiters) == 1
    app.close_sync()


async def test_a_lost_connection_is_replaced_while_waiting(
    app: App, receipt: Any, asked: Asked, conn: psycopg.Connection
) -> None:
    task = await receipt.enqueue(1)
    waits = [asyncio.create_task(task.result("30s")), asyncio.create_task(asyncio.to_thread(task.result_sync, "30s"))]
    for _ in range(5):
        before = len(asked.calls)
        await until(lambda before=before: len(asked.calls) > before + 1)
        conn.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and application_name = 'howdah'"
        )
    succeed(conn, "null", task.id)
    assert await asyncio.gather(*waits) == [None, None]


async def test_a_server_that_is_gone_for_good_is_said_to_be(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    app = App(dsn)

    @app.task()
    async def greet() -> None: ...

    task = await greet.enqueue()

    async def run(_: Database, call: Call[Any]) -> Any:
        raise CannotConnect("no connection")

    monkeypatch.setattr(Database, "run", run)
    with pytest.raises(CannotConnect):
        await task.result()
    await app.close()


def test_waiting_without_a_loop(dsn: str, conn: psycopg.Connection) -> None:
    with App(dsn) as app:

        @app.task()
        async def greet() -> str:
            return ""

        task = greet.enqueue_sync()
        ended: list[str] = []
        thread = threading.Thread(target=lambda: ended.append(task.result_sync()))
        thread.start()
        succeed(conn, '"hello"', task.id)
        until_sync(lambda: ended)
        thread.join()
        assert ended == ["hello"]


async def test_the_sync_twin_is_refused_where_it_would_stop_the_loop(app: App, receipt: Any) -> None:
    task = await receipt.enqueue(1)
    with pytest.raises(HowdahError, match=r"would block the running event loop\. Write: await task\.result"):
        task.result_sync("1s")
