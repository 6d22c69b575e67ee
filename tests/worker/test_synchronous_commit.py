"""Commits that are not waited for: what the worker says to the server, and what it does when the server is gone."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from howdah import App
from howdah.telemetry import WorkerChanged
from waiting import until

_PUMP = "select pid from pg_stat_activity where query like '%howdah.pump%' and pid <> pg_backend_pid() and datname = current_database()"


@pytest.mark.parametrize("waits", [True, False])
async def test_what_a_worker_records_is_waited_for_or_not(app: App, conn: psycopg.Connection, waits: bool) -> None:
    conn.execute("create table seen (setting text)")
    conn.execute(
        "create function note() returns trigger language plpgsql as"
        " $$ begin insert into seen values (current_setting('synchronous_commit')); return null; end $$"
    )
    conn.execute("create trigger note after insert on howdah.archive for each statement execute function note()")
    conn.execute("create trigger note after insert on howdah.task for each statement execute function note()")

    @app.task()
    async def work() -> None: ...

    await work.enqueue()
    assert conn.execute("select * from seen").fetchall() == [("on",)], "an enqueue is always waited for"
    await app.worker(until_idle=True, synchronous_commit=waits).run()
    assert conn.execute("select * from seen offset 1").fetchall() == [("on" if waits else "off",)]


@pytest.mark.parametrize("waits", [True, False])
async def test_after_a_lost_connection_it_starts_over_if_commits_may_be_undone(
    app: App, conn: psycopg.Connection, waits: bool
) -> None:
    leases: list[str] = []
    app.listen(lambda event: leases.append(event.worker) if isinstance(event, WorkerChanged) else None)
    begun: list[int] = []
    goes_on = asyncio.Event()

    @app.task()
    async def work(n: int) -> int:
        begun.append(n)
        await goes_on.wait()
        return n

    async with app.worker(lease="1s", poll="50ms", synchronous_commit=waits):
        task = await work.enqueue(1)
        await until(lambda: begun == [1], "the handler to begin")
        assert conn.execute(f"select pg_terminate_backend(pid) from ({_PUMP}) x").fetchall() == [(True,)]  # pyright: ignore
        other = await work.enqueue(2)
        await until(lambda: 2 in begun, "the worker to claim again")
        if not waits:
            await until(lambda: begun.count(1) == 2, "the task to be taken back and begun again")
        goes_on.set()
        assert [await task.result("30s"), await other.result("30s")] == [1, 2]
    assert len(set(leases)) == (1 if waits else 2)
    assert begun.count(1) == (1 if waits else 2)
