"""Behind PgBouncer in transaction mode everything works, by polling, with one warning. The tests of a real one."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

import servers
from howdah import App, Context
from howdah.db.pool import Database
from howdah.migrate import migrate
from waiting import until, until_sync


class Pooler:
    """A PgBouncer of version 1.18 or later, in front of one database."""

    def __init__(self, target: str, mode: str) -> None:
        self.mode = mode
        self._directory = Path(tempfile.mkdtemp(prefix="howdah-pgbouncer-"))
        self._directory.chmod(0o755)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        behind = conninfo_to_dict(target)
        password = f" password={behind['password']}" if behind.get("password") else ""
        (self._directory / "pgbouncer.ini").write_text(
            f"""[databases]
howdah = host={behind["host"]} port={behind["port"]} dbname={behind["dbname"]} user={behind["user"]}{password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = {3 if mode == "transaction" else 20}
logfile = {self._directory}/log
"""
        )
        self._start()

    @property
    def dsn(self) -> str:
        return f"postgresql://anybody@127.0.0.1:{self.port}/howdah"

    def _start(self) -> None:
        binary = shutil.which("pgbouncer")
        assert binary is not None
        user = None
        if os.geteuid() == 0:
            user = "nobody"
            shutil.chown(self._directory, user)
            shutil.chown(self._directory / "pgbouncer.ini", user)
        self.process = subprocess.Popen([binary, "-q", str(self._directory / "pgbouncer.ini")], user=user)
        until_sync(self._answers, "PgBouncer to answer")

    def _answers(self) -> bool:
        assert self.process.poll() is None, (self._directory / "log").read_text()
        try:
            psycopg.connect(self.dsn, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def restart(self) -> None:
        self.stop()
        self._start()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self._directory)


@pytest.fixture(scope="module")
def system() -> Iterator[servers.Server]:
    running = servers.system()
    yield running
    running.stop()


@pytest.fixture(params=["transaction", "session"])
def pooler(system: servers.Server, request: pytest.FixtureRequest) -> Iterator[Pooler]:
    system.create_database("pooled")
    migrate(Database(system.dsn("pooled")))
    running = Pooler(system.tcp_dsn("pooled"), request.param)  # pyright: ignore
    yield running
    running.remove()
    system.drop_database("pooled")


async def test_everything_works_and_the_worker_says_once_that_it_polls(
    pooler: Pooler, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "howdah")
    async with App(pooler.dsn) as app:

        @app.task(transactional=True)
        async def effect(ctx: Context, n: int) -> int:
            row = await (await ctx.connection.execute("select %s::int as n", [n])).fetchone()
            assert row is not None
            return row["n"]

        @app.task()
        async def plain(n: int) -> int:
            return n

        async with app.worker(poll="20ms", lease="2s"):
            tasks = [await effect.enqueue(n) for n in range(20)] + await plain.enqueue_many([(n,) for n in range(200)])
            assert [await task.result("30s") for task in tasks] == [*range(20), *range(200)]
            await until(lambda: any("polls" in record.message for record in caplog.records), "the warning")
    assert len([record for record in caplog.records if "polls" in record.message]) == 1


async def test_a_restart_of_the_pooler_is_survived(pooler: Pooler) -> None:
    async with App(pooler.dsn) as app:

        @app.task()
        async def plain(n: int) -> int:
            return n

        async with app.worker(poll="20ms", lease="5s"):
            before = await plain.enqueue_many([(n,) for n in range(50)])
            await asyncio.to_thread(pooler.restart)
            after = await plain.enqueue_many([(n,) for n in range(50)])
            for task in before + after:
                await task.result("30s")
