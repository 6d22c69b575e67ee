"""Probes of a worker, from the conditions themselves; health from Python; alerts."""

from __future__ import annotations

import asyncio
import json
import socket
import urllib.error
import urllib.request
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

import servers
from howdah import App, Finding, Health
from howdah.db.pool import Database
from howdah.errors import HowdahError, InvalidOption
from howdah.worker import probes, vitals
from howdah.worker.address import Address
from howdah.worker.worker import Worker
from waiting import until, until_sync


def ask(address: str, path: str, method: str = "GET") -> tuple[int, dict[str, Any]]:
    """What is answered; the body as JSON."""
    request = urllib.request.Request(f"http://{address}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, json.loads(response.read() or "{}")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read() or "{}")


async def get(worker: Worker, path: str, method: str = "GET") -> tuple[int, dict[str, Any]]:
    assert worker.health is not None
    return await asyncio.to_thread(ask, worker.health, path, method)


def failing(answer: tuple[int, dict[str, Any]]) -> set[str]:
    """The checks that fail; the status agrees with them."""
    status, body = answer
    found = {name for name, said in body["checks"].items() if said != "ok"}
    assert status == (503 if found else 200)
    assert body["ok"] == (not found)
    return found


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each answer of the database is used once, and its tables are looked at often."""
    monkeypatch.setattr(vitals, "SCHEMA_EVERY", 0.05)
    monkeypatch.setattr(probes, "_FRESH", 0)


# ── what is answered ──


async def test_a_worker_that_works_is_alive_ready_and_healthy(app: App) -> None:
    @app.task()
    async def job() -> None: ...

    async with app.worker(health="127.0.0.1:0") as worker:
        assert failing(await get(worker, "/livez")) == set()
        assert failing(await get(worker, "/readyz")) == set()
        assert await get(worker, "/healthz") == await get(worker, "/readyz?verbose")
        assert set((await get(worker, "/readyz"))[1]["checks"]) == {
            "event loop", "database", "schema", "lease", "claims", "draining",
        }  # fmt: skip
        status, body = await get(worker, "/health")
        assert (status, body["colour"]) == (200, "green")
        assert {"kind", "queue", "worker", "database"} == {finding["scope"] for finding in body["findings"]}
        address = worker.health
    assert worker.health is None
    with pytest.raises(OSError):  # nobody listens any more
        await asyncio.to_thread(ask, address or "", "/livez")


async def test_other_paths_and_methods_are_refused(app: App) -> None:
    @app.task()
    async def job() -> None: ...

    async with app.worker(health=":0") as worker:
        assert worker.health is not None
        assert worker.health.startswith("127.0.0.1:")
        for path in ("/", "/health/", "/livez/../health", "/metrics"):
            status, body = await get(worker, path)
            assert (status, list(body)) == (404, ["error"]), path
        for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
            assert (await get(worker, "/livez", method))[0] == 405
        assert await get(worker, "/livez", "HEAD") == (200, {})
        # Whoever says nothing keeps nobody else waiting, nor the worker from ending.
        host, port = worker.health.split(":")
        with socket.create_connection((host, int(port))):
            assert failing(await get(worker, "/livez")) == set()


async def test_nothing_of_a_task_is_in_the_answers(app: App, quick: None) -> None:
    @app.task(retry=0)
    async def job(word: str) -> None:
        raise ValueError(f"this is {word}")

    task = await job.enqueue("secret")
    async with app.worker(health=":0") as worker:
        await until(lambda: status(app, task.id, "failed"), "it to fail")
        code, body = await get(worker, "/health")
        assert (code, body["colour"]) == (200, "yellow")
        assert "secret" not in json.dumps(body)


async def status(app: App, task_id: int, wanted: str) -> bool:
    return (await app.show(task_id)).status == wanted


async def test_red_is_503(app: App, conn: psycopg.Connection, quick: None) -> None:
    @app.task()
    async def job() -> None: ...

    async with app.worker(health=":0") as worker:
        assert (await get(worker, "/health"))[0] == 200
        conn.execute("""select howdah.declare('[{"name": "stranger"}]')""")
        conn.execute("select howdah.enqueue('stranger')")
        code, body = await get(worker, "/health")
        assert (code, body["colour"], body["findings"][0]["code"]) == (503, "red", "no worker")
        assert failing(await get(worker, "/readyz")) == set(), "it is not this worker's fault"


async def test_however_many_ask_the_database_is_asked_once_a_second(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    @app.task()
    async def job() -> None: ...

    asked: list[str] = []
    real = Database.run_sync

    def counted(self: Database, call: Any) -> Any:
        asked.append(call.function)
        return real(self, call)

    monkeypatch.setattr(Database, "run_sync", counted)
    monkeypatch.setattr(probes, "_FRESH", 3600)
    async with app.worker(health=":0") as worker:
        answers = await asyncio.gather(*(get(worker, "/health") for _ in range(20)))
        assert {code for code, _ in answers} == {200}
    assert asked == ["health"]


# ── what is wrong ──


async def test_a_blocked_event_loop(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """The handler that blocks the loop must itself be the one to see it: nothing else runs there."""
    monkeypatch.setattr(vitals, "PATIENCE", 1.0)
    seen: list[Any] = []
    addresses: list[str] = []

    @app.task()
    async def rude() -> None:
        blocked = lambda: failing(ask(addresses[0], "/livez")) == {"event loop"}  # noqa: E731
        until_sync(blocked, "the loop to count as blocked")
        seen.append(ask(addresses[0], "/livez"))
        seen.append(ask(addresses[0], "/readyz"))
        seen.append(ask(addresses[0], "/health"))

    async with app.worker(health=":0") as worker:
        addresses.append(worker.health or "")
        await (await rude.enqueue()).result("60s")
        alive, ready, health = seen
        assert alive[0] == 503
        assert "some handler does not await" in alive[1]["checks"]["event loop"]
        assert "event loop" in failing(ready)
        assert health[0] == 200, "the database answers all the same"
        await until(lambda: no_failure(worker, "/livez"), "the loop to turn again")


async def no_failure(worker: Worker, path: str) -> bool:
    return not failing(await get(worker, path))


async def test_draining_is_alive_and_not_ready(app: App) -> None:
    started, finish = asyncio.Event(), asyncio.Event()

    @app.task()
    async def slow() -> str:
        started.set()
        await finish.wait()
        return "done"

    task = await slow.enqueue()
    async with app.worker(health=":0") as worker:
        await started.wait()
        worker.stop()
        assert failing(await get(worker, "/readyz")) == {"draining"}
        assert failing(await get(worker, "/livez")) == set()
        finish.set()
        assert await task.result("30s") == "done"


async def test_a_lost_database(server: servers.Server, app: App, dsn: str, quick: None) -> None:
    @app.task()
    async def job() -> None: ...

    name = sql.Identifier(str(conninfo_to_dict(dsn)["dbname"]))
    open_to_all = sql.SQL("alter database {} with allow_connections {}")
    with psycopg.connect(server.dsn(), autocommit=True) as admin:
        async with app.worker(health=":0", lease="1s") as worker:
            admin.execute(open_to_all.format(name, sql.Literal(False)))
            try:
                admin.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s",
                    [name.as_string()[1:-1]],
                )
                await until(lambda: fails(worker, {"database", "lease"}), "it to be noticed")
                assert failing(await get(worker, "/livez")) == set(), "a restart would not help"
                reason = "the database does not answer"
                assert await get(worker, "/health") == (503, {"colour": "red", "reason": reason, "findings": []})
            finally:
                admin.execute(open_to_all.format(name, sql.Literal(True)))
            await until(lambda: no_failure(worker, "/readyz"), "it to be ready again")
            assert (await get(worker, "/health"))[0] == 200


async def fails(worker: Worker, wanted: set[str]) -> bool:
    return failing(await get(worker, "/readyz")) >= wanted


async def test_a_claim_loop_that_hangs(app: App, dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    @app.task()
    async def job() -> None: ...

    monkeypatch.setattr(vitals, "PATIENCE", 1.0)
    async with app.worker(health=":0", lease="2s", poll="50ms") as worker:
        with psycopg.connect(dsn) as other:
            other.execute(
                "lock table howdah.queue in access exclusive mode"
            )  # which a claim reads, and a heartbeat does not
            await until(lambda: fails(worker, {"claims"}), "it to be noticed")
        await until(lambda: no_failure(worker, "/readyz"), "it to claim again")


async def test_a_lease_that_was_lost(app: App, dsn: str) -> None:
    @app.task()
    async def job() -> None: ...

    async with app.worker(health=":0", lease="1s") as worker:
        with psycopg.connect(dsn) as other:
            other.execute("lock table howdah.worker in exclusive mode")  # nobody can renew, nor register
            await until(lambda: fails(worker, {"lease"}), "it to be noticed")
            assert failing(await get(worker, "/livez")) == set()
        await until(lambda: no_failure(worker, "/readyz"), "it to start over")


async def test_tables_that_were_migrated_away_from_below_it(app: App, conn: psycopg.Connection, quick: None) -> None:
    @app.task()
    async def job() -> None: ...

    async with app.worker(health=":0") as worker:
        conn.execute("insert into howdah.migration (version, name) values (9999, 'from the future')")
        await until(lambda: only_schema(worker), "it to be noticed")
        assert "newer than this code" in (await get(worker, "/readyz"))[1]["checks"]["schema"]
        conn.execute("delete from howdah.migration where version = 9999")
        await until(lambda: no_failure(worker, "/readyz"), "it to fit again")


async def only_schema(worker: Worker) -> bool:
    return failing(await get(worker, "/readyz")) == {"schema"}


def test_before_it_has_a_lease_it_is_not_ready(app: App) -> None:
    worker = app.worker()
    assert {name for name, wrong in worker._vitals.ready().checks.items() if wrong} == {"database", "lease", "claims"}  # pyright: ignore[reportPrivateUsage]


# ── where it listens ──


async def test_a_port_that_is_taken_is_said_before_anything_starts(app: App, conn: psycopg.Connection) -> None:
    @app.task()
    async def job() -> None: ...

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(HowdahError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use") as caught:
            async with app.worker(health=f":{port}"):
                pass
        assert "--health HOST:PORT" in (caught.value.hint or "")
    assert conn.execute("select count(*) from howdah.worker").fetchone() == (0,)


@pytest.mark.parametrize(
    "given", ["8321", "", "here", ":", ":x", ":99999", "::1:8321", "[::1:8321", 8321, ("h", 1), ":1²"]
)
def test_an_address_that_cannot_be_meant_is_refused(given: Any, app: App) -> None:
    with pytest.raises(InvalidOption, match=r"^health ") as caught:
        app.worker(health=given)
    assert caught.value.message.endswith(repr(given))


def test_addresses() -> None:
    assert Address.read(":8321") == ("127.0.0.1", 8321)
    assert Address.read("0.0.0.0:1") == ("0.0.0.0", 1)
    assert str(Address.read("[::1]:8321")) == "[::1]:8321"
    first = Address.read(":65534")
    assert [first.for_worker(n).port for n in (1, 2)] == [65534, 65535]
    with pytest.raises(InvalidOption, match="no port for worker 3"):
        first.for_worker(3)
    assert Address.read(":0").for_worker(7).port == 0


async def test_ipv6(app: App) -> None:
    @app.task()
    async def job() -> None: ...

    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    async with app.worker(health="[::1]:0") as worker:
        assert failing(await get(worker, "/livez")) == set()


# ── health from Python ──


async def test_health_is_the_same_async_and_sync(app: App, conn: psycopg.Connection) -> None:
    conn.execute("""select howdah.declare('[{"name": "stranger", "queue": "mail"}]')""")
    conn.execute("select howdah.enqueue('stranger')")
    found = await app.health()
    again = await asyncio.to_thread(app.health_sync)
    assert (found.colour, again.colour) == ("red", "red")
    assert [finding.code for finding in found] == [finding.code for finding in again]
    assert len(found) > len(found.wrong) == 3
    (kind,) = found.only(kind="stranger")
    assert isinstance(kind, Finding)
    assert (kind.scope, kind.name, kind.code, kind.figures["due"]) == ("kind", "stranger", "no worker", 1)
    assert found.only(queue="mail").colour == "red"
    assert Health(()).colour == "green"
    assert json.dumps(found.as_dict())


async def test_thresholds_in_the_code_are_those_that_count(app: App, conn: psycopg.Connection) -> None:
    @app.task(warn={"wait": "5m", "retries": 2}, alarm={"wait": "1h", "failed": 7})
    async def report() -> None: ...

    @app.task(queue="other")
    async def letter() -> None: ...

    async with app.worker(queues=["elsewhere"]):
        assert conn.execute("select warn, alarm from howdah.kind where name = 'report'").fetchone() == (
            {"wait": 300, "retries": 2},
            {"wait": 3600, "failed": 7},
        )
    conn.execute("select howdah.register(gen_random_uuid(), '1 hour', 'host', 7, '1', null, '{report,letter}', 10)")
    for kind in ("report", "letter"):
        conn.execute("select howdah.enqueue(%s, run_at => now() - interval '4 min')", [kind])
    found = await app.health()
    assert (found.only(kind="report").colour, found.only(queue="default").colour) == ("green", "green")
    assert (found.only(kind="letter").colour, found.only(queue="other").colour) == ("yellow", "yellow")


# ── alerts ──


async def test_an_alert_task_is_told_once_by_many_workers(dsn: str, conn: psycopg.Connection) -> None:
    told: list[tuple[str, str, str, str]] = []
    async with App(dsn) as first, App(dsn) as second:
        for app in (first, second):

            @app.on_health(hold="0s", every="1s")
            @app.task()
            async def tell(scope: str, name: str, colour: str, before: str, reason: str) -> None:
                told.append((scope, name, colour, before))

        async with first.worker(), second.worker():
            conn.execute("""select howdah.declare('[{"name": "stranger"}]')""")
            conn.execute("select howdah.enqueue('stranger')")
            await until(lambda: told, "the alert")
            conn.execute("delete from howdah.task where kind = 'stranger'")
            await until(lambda: len(told) > 1, "the end of it")
    assert told == [("all", "all", "red", "green"), ("all", "all", "green", "red")]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"every": "10ms"}, "every must be at least 1s"),
        ({"hold": "soon"}, "hold cannot be read"),
        ({"each": "yes"}, "each must be True or False"),
    ],
)
def test_options_of_an_alert_that_cannot_be_meant(options: dict[str, Any], said: str) -> None:
    app = App("postgresql://nowhere/x")

    @app.task()
    async def tell(scope: str, name: str, colour: str, before: str, reason: str) -> None: ...

    with pytest.raises(InvalidOption, match=said):
        app.on_health(**options)(tell)
    assert app.registry.alerts == []


def test_a_task_that_does_not_take_what_an_alert_is_told_is_refused() -> None:
    app = App("postgresql://nowhere/x")

    @app.task()
    async def tell(colour: str) -> None: ...

    with pytest.raises(InvalidOption, match="task 'tell' cannot be told of health") as caught:
        app.on_health()(tell)
    assert "async def tell(scope: str, name: str, colour: str, before: str, reason: str)" in (caught.value.hint or "")
    with pytest.raises(InvalidOption):
        app.on_health()("tell")
