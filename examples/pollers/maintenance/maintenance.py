"""Maintenance tasks on any number of hosts, over PostgreSQL: python examples/pollers/maintenance/maintenance.py

Each host is a process with one poller. `poll` claims due executions in SQL, the listener runs them and ends their rows. Here
one host is killed in the middle, two others take over, and the tables tell what happened. See README.md and schema.sql.
"""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, LiteralString

from psycopg import AsyncConnection

from howdah import App
from howdah.backoff import Backoff
from howdah.poller import ErrorEvent, Poll, Poller, TaskEvent

BEAT = 0.2  # seconds between two signs of life
GRACE = "2 seconds"  # without one a host has crashed

# ── what there is to do ──


async def refresh_totals() -> None:
    await asyncio.sleep(0.5)


async def rebuild_index() -> None:
    await asyncio.Event().wait()  # hangs


async def send_report() -> None:
    await asyncio.sleep(1)


async def check_links() -> None:
    raise ConnectionError("no route to host")


TASKS = {task.__name__: task for task in (refresh_totals, rebuild_index, send_report, check_links)}

DEFINITIONS = """
insert into maintenance_task (name, every, maximum_duration, maximum_concurrency, enabled) values
  ('refresh_totals', '100 ms', '10 s',   2, true),
  ('rebuild_index',  '1 hour', '300 ms', 1, true),
  ('send_report',    '500 ms', '10 s',   1, true),
  ('check_links',    '1 hour', '10 s',   1, true),
  ('old_cleanup',    '100 ms', '10 s',   1, false)
"""


# ── a host ──


class Host:
    def __init__(self, name: str, conn: AsyncConnection[Any]) -> None:
        self.name = name
        self.conn = conn  # autocommit: every call below is one statement, and so one transaction
        self.working: dict[int, asyncio.Task[None]] = {}

    async def rows(self, query: LiteralString, *values: Any) -> list[Any]:
        return await (await self.conn.execute(query, values)).fetchall()

    async def active(self) -> list[int]:
        rows = await self.rows(
            "select id from maintenance_task_execution where host = %s and state = 'running'", self.name
        )
        return [id for (id,) in rows]

    async def poll(self, poll: Poll[int]) -> list[int]:
        return [id for (id,) in await self.rows("select claim_due(%s, %s)", self.name, poll.limit)]

    async def run(self, event: TaskEvent[int]) -> None:
        """Do one execution and end its row, unless somebody else has."""
        id = event.instruction
        ((name, seconds),) = await self.rows(
            """select task.name, extract(epoch from task.maximum_duration)::float
                 from maintenance_task_execution as execution join maintenance_task as task on task.name = execution.task
                where execution.id = %s""",
            id,
        )
        self.say(f"{name} #{id} starts")
        work = self.working[id] = asyncio.create_task(TASKS[name]())
        state, error, reason = "succeeded", None, None
        try:
            _, unfinished = await asyncio.wait({work}, timeout=seconds)
            if unfinished:
                state, reason = "terminated", f"ran longer than {seconds:g} s"
            elif not work.cancelled() and (failure := work.exception()):
                state, error = "failed", f"{type(failure).__name__}: {failure}"
        except asyncio.CancelledError:
            state, reason = "terminated", f"{self.name} stopped"
            raise
        finally:
            work.cancel()
            await asyncio.wait({work})  # Its place is free only when it is really over.
            del self.working[id]
            ((counts,),) = await self.rows("select end_execution(%s, %s, %s, %s)", id, state, error, reason)
            self.say(f"{name} #{id} {state}{f': {error or reason}' if error or reason else ''}" if counts else "")

    async def keep_watch(self) -> None:
        """Say that this host lives, give up what others took from it, and end what crashed hosts left."""
        while True:
            known = dict(self.working)
            mine = {id for (id,) in await self.rows("select see(%s)", self.name)}
            for id in known.keys() - mine:
                known[id].cancel()
            for id, task, reason in await self.rows("select * from terminate_unseen(%s)", GRACE):
                self.say(f"{task} #{id} terminated: {reason}")
            await asyncio.sleep(BEAT)

    def say(self, what: str) -> None:
        if what:
            print(f"  {self.name}: {what}", flush=True)


async def be_host(name: str, dsn: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with await connect(dsn) as conn:
        host = Host(name, conn)
        poller = Poller(
            "maintenance", host.poll, active=host.active, concurrency=8, delay=Backoff("20ms", factor=2, max="100ms")
        )
        poller.on("task", host.run)

        @poller.on("error")
        def report(event: ErrorEvent) -> None:
            host.say(f"error: {event.error!r}")

        watch = asyncio.create_task(host.keep_watch())
        async with poller:
            await stop.wait()
        watch.cancel()


async def connect(dsn: str) -> AsyncConnection[Any]:
    return await AsyncConnection.connect(dsn, autocommit=True, options="-c search_path=maintenance")


# ── the show ──


def start_host(name: str, dsn: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, __file__, "host", name, dsn])


async def main(dsn: str) -> None:
    async with await connect(dsn) as conn:
        await conn.execute(Path(__file__).with_name("schema.sql").read_text().encode())
        await conn.execute(DEFINITIONS)

        async def until(condition: LiteralString) -> None:
            async with asyncio.timeout(60):
                while not (await (await conn.execute(condition)).fetchone() or [False])[0]:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)

        execution = "from maintenance_task_execution"
        hosts = {"a": start_host("a", dsn)}
        try:
            await until(
                f"""select exists (select {execution} where task = 'rebuild_index' and state = 'terminated')
                       and exists (select {execution} where task = 'send_report' and state = 'running'
                                      and started_at > clock_timestamp() - interval '600 ms')"""
            )
            hosts["a"].kill()
            hosts["a"].wait()
            print("host a was killed (SIGKILL) with send_report in its hands; hosts b and c start", flush=True)
            for name in ("b", "c"):
                hosts[name] = start_host(name, dsn)
            await until(
                f"""select count(*) filter (where task = 'send_report' and state = 'succeeded') >= 2
                       and count(*) filter (where task = 'send_report' and state = 'terminated') >= 1
                       and count(*) filter (where task = 'refresh_totals' and state = 'succeeded') >= 8
                      {execution}"""
            )
        finally:
            for host in hosts.values():
                host.terminate()
            for host in hosts.values():
                host.wait()

        columns = ("task", "running", "succeeded", "failed", "terminated", "most_at_once", "allowed")
        print("\n" + "".join(f"{column:>15}" for column in columns))
        for row in await (await conn.execute("select * from summary")).fetchall():
            print("".join(f"{value!s:>15}" for value in row))
        ended = await conn.execute(
            f"select task, host, coalesce(terminated_reason, error) {execution} where state in ('terminated', 'failed') order by id"
        )
        print()
        for task, host, why in await ended.fetchall():
            print(f"{task} on host {host}: {why}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["host"]:
        asyncio.run(be_host(*sys.argv[2:]))
    else:
        os.environ.pop("HOWDAH_DSN", None)  # a database of its own, which goes with its folder
        with tempfile.TemporaryDirectory() as home, App(home=home) as app:
            asyncio.run(main(app.dsn))
