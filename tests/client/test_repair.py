"""Repair through the client: many at once beside a working fleet, drained queues, export and import."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from howdah import App, Client, calls
from howdah.errors import InvalidOption, InvalidPayload, KeyConflict, QueueClosed, UnknownKind
from waiting import until

LATER = datetime(2040, 1, 1, tzinfo=UTC)


def with_tasks(app: App) -> dict[str, Any]:
    mended: list[bool] = []

    @app.task(retry=0)
    async def fragile(n: int) -> int:
        if not mended:
            raise OSError("no route")
        return n

    @app.task(queue="mail")
    async def welcome(user_id: int) -> str:
        return f"sent to {user_id}"

    return {"fragile": fragile, "welcome": welcome, "mend": lambda: mended.append(True)}


async def idle(app: App) -> None:
    """Until nothing is queued or runs."""

    async def empty() -> bool:
        return not await app.count_tasks(status=["queued", "running"])

    await until(empty, "all to end")


async def test_all_parked_tasks_are_retried_and_counted_first(app: App) -> None:
    ours = with_tasks(app)
    async with app.worker():
        tasks = await ours["fragile"].enqueue_many([(n,) for n in range(1500)])
        await idle(app)
        dry = await app.retry_all(kind="fragile", error="no ROUTE", dry_run=True)
        assert dry.counts == [{"kind": "fragile", "queue": "default", "status": "failed", "tasks": 1500}]
        assert (dry.found, dry.done) == (1500, 0)
        assert (await app.retry_all(error="something else")).found == 0
        ours["mend"]()
        bulk = await app.retry_all(kind="fragile")
        assert (bulk.outcomes, bulk.done) == ({"resumed": 1500}, 1500)
        assert [await task.result("30s") for task in tasks[-3:]] == [1497, 1498, 1499]


async def test_nothing_is_lost_or_done_twice_when_all_is_moved_and_cancelled_under_a_working_fleet(
    app: App, conn: psycopg.Connection
) -> None:
    ran: list[int] = []

    @app.task()
    async def count(n: int) -> None:
        ran.append(n)

    tasks = await count.enqueue_many([(n,) for n in range(3000)])
    async with app.worker(queues={"default": 50, "other": 50}):
        moved = await app.edit_all(kind="count", to_queue="other")
        cancelled = await app.cancel_all("enough", kind="count")
        await idle(app)
    assert moved.found <= 3000
    rows = dict(conn.execute("select status, count(*) from howdah.archive group by status").fetchall())
    assert rows.get("succeeded", 0) + rows.get("cancelled", 0) == len(tasks)
    assert rows.get("cancelled", 0) <= cancelled.outcomes["cancelled"] + cancelled.outcomes["running"]
    assert len(ran) == len(set(ran))
    assert rows.get("succeeded", 0) <= len(ran)


async def test_a_filter_is_needed_or_every(app: App) -> None:
    for verb in (app.retry_all, app.cancel_all):
        with pytest.raises(InvalidOption, match="no task was named"):
            await verb()
        with pytest.raises(InvalidOption, match="no task was named"):
            await verb(kind=None)
        with pytest.raises(InvalidOption, match="both given"):
            await verb(every=True, kind="x")
    assert (await app.cancel_all(every=True)).found == 0
    with pytest.raises(InvalidOption, match="nothing to change was given"):
        await app.edit_all(kind="x")
    many: list[tuple[dict[str, Any], str]] = [
        ({"status": "done"}, "there is no status 'done'"),
        ({"status": "succeeded"}, "'succeeded' of live tasks"),
        ({"kinds": "x"}, "there is no filter 'kinds'"),
        ({"ids": "1"}, "ids must be ids of tasks"),
        ({"ids": [True]}, "whole number"),
        ({"parent": "x"}, "parent"),
        ({"kind": 7}, "kind must be text"),
        ({"created_after": "noon"}, "created_after must be a datetime"),
    ]
    for wrong, said in many:
        with pytest.raises(InvalidOption, match=said):
            await app.cancel_all(**wrong)


async def test_in_a_transaction_of_yours_it_is_all_or_nothing(app: App) -> None:
    ours = with_tasks(app)
    task = await ours["welcome"].enqueue(1)
    async with app.transaction() as conn, conn.transaction(force_rollback=True):
        assert (await app.cancel_all(kind="welcome", connection=conn)).outcomes == {"cancelled": 1}
    assert (await task.info()).status == "queued"


def test_the_twins_do_the_same(dsn: str) -> None:
    app = App(dsn)
    ours = with_tasks(app)
    app.run_sync(calls.declare('[{"name": "welcome"}]', overwrite=False))
    ids = [task.id for task in ours["welcome"].enqueue_many_sync([(n,) for n in range(3)])]
    app.edit_sync(ids[0], payload={"user_id": 7}, queue="vip", priority=4, at=LATER)
    info = app.show_sync(ids[0])
    assert (info.payload, info.queue, info.priority, info.run_at) == ({"user_id": 7}, "vip", 4, LATER)
    assert app.edit_all_sync(queue="mail", to_queue="bulk", delay="1h").outcomes == {"edited": 2}
    assert app.retry_all_sync(queue="bulk", status="queued").outcomes == {"due now": 2}
    lines = list(app.export_tasks_sync(queue="bulk"))
    assert app.cancel_all_sync("x", queue="bulk", dry_run=True).found == 2
    assert app.cancel_all_sync("x", queue="bulk").outcomes == {"cancelled": 2}
    assert app.import_tasks_sync(lines) == (2, 0)
    assert app.drain_sync("vip") == 1
    with pytest.raises(QueueClosed, match="vip takes no more tasks"):
        ours["welcome"].using(queue="vip").enqueue_sync(1)
    assert app.resume_sync("vip")
    app.close_sync()


async def test_edit_checks_before_it_asks(app: App) -> None:
    ours = with_tasks(app)
    task = await ours["welcome"].enqueue(1)
    with pytest.raises(InvalidPayload, match="user_id: expected int"):
        await app.edit(task.id, payload={"user_id": "x"}, queue="q")
    many: list[dict[str, Any]] = [
        {"queue": ""},
        {"priority": "high"},
        {"delay": "soon"},
        {"at": datetime(2040, 1, 1)},
        {},
    ]
    for wrong in many:
        with pytest.raises(InvalidOption):
            await app.edit(task.id, **wrong)
    with pytest.raises(InvalidOption, match="delay and at"):
        await app.edit(task.id, delay="1s", at=LATER)
    assert (await task.info()).queue == "mail"


# ── drain, disable, purge ──


async def test_a_drained_queue_refuses_every_way_to_enqueue_and_runs_empty(app: App) -> None:
    ours = with_tasks(app)
    task = await ours["welcome"].enqueue(1)
    assert await app.drain("mail", "moving") == 1
    with pytest.raises(QueueClosed, match="moving") as refused:
        await ours["welcome"].enqueue(2)
    assert refused.value.hint is not None
    assert "howdah resume mail" in refused.value.hint
    with pytest.raises(QueueClosed):
        await ours["welcome"].enqueue_many([(2,), (3,)])
    with pytest.raises(QueueClosed):
        await app.edit(task.id, queue="mail")
    async with app.worker():
        assert await task.result("30s") == "sent to 1"
    assert [row["draining_reason"] for row in await app.queues()] == ["moving"]
    assert await app.resume("mail")
    await ours["welcome"].enqueue(2)


async def test_a_disabled_kind_waits_and_goes_on_when_enabled(app: App) -> None:
    ours = with_tasks(app)
    async with app.worker(poll="10m"):
        await app.disable("welcome", "wrong template")
        waiting, other = await ours["welcome"].enqueue(1), await ours["fragile"].using(queue="mail").enqueue(1)
        await until(lambda: app.count_tasks(ids=[other.id], status="failed"), "the other kind to run")
        (reason,) = await waiting.why()
        assert reason.code == "kind disabled"
        assert await app.enable("welcome")
        assert await waiting.result("30s") == "sent to 1"
    with pytest.raises(UnknownKind):
        await app.disable("nobody")


async def test_a_worker_that_starts_leaves_the_kind_disabled(app: App) -> None:
    ours = with_tasks(app)
    async with app.worker():
        pass
    await app.disable("welcome")
    await ours["welcome"].enqueue(1)
    await app.worker(until_idle=True, poll="10ms").run()
    assert (await app.count_tasks(kind="welcome"))[0]["status"] == "queued"


# ── export and import ──

_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False, width=32)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abcäß\"\\ ", max_size=5), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
_tasks = st.lists(
    st.fixed_dictionaries(
        {
            "payload": st.fixed_dictionaries({"value": _json}),
            "priority": st.integers(-(2**31), 2**31 - 1),
            "parked": st.booleans(),
            "later": st.booleans(),
            "groups": st.lists(st.sampled_from("abc"), max_size=2, unique=True),
        }
    ),
    min_size=1,
    max_size=5,
)


@pytest.fixture
def empty(dsn: str) -> psycopg.Connection:
    return psycopg.connect(dsn, autocommit=True)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tasks=_tasks)
def test_exported_purged_and_imported_the_same_tasks_run(
    shared_dsn: str, empty: psycopg.Connection, tasks: list[dict[str, Any]]
) -> None:
    client = Client(shared_dsn)
    empty.execute("delete from howdah.task")
    empty.execute("""select howdah.declare('[{"name": "echo"}]')""")
    for n, task in enumerate(tasks):
        run_at = LATER if task["later"] else "2020-01-01Z"
        groups = sorted(task["groups"]) or None
        empty.execute(
            "insert into howdah.task (kind, queue, priority, run_at, payload, key, groups)"
            " values ('echo', 'q', %s, %s, %s, %s, %s)",
            [task["priority"], run_at, json.dumps(task["payload"]), f"k{n}", groups],
        )
        if task["parked"]:
            empty.execute("update howdah.task set status = 'failed', error = 'x' where key = %s", [f"k{n}"])
    look = "select key, status, priority, run_at, payload, groups, error, attempt from howdah.task order by key"
    before = empty.execute(look).fetchall()
    lines = list(client.export_tasks_sync(kind="echo"))
    purged = client.purge_sync("echo")
    assert (purged.live, purged.running) == (len(tasks), 0)
    assert empty.execute("select count(*) from howdah.tasks").fetchone() == (0,)
    empty.execute("""select howdah.declare('[{"name": "echo"}]')""")
    assert client.import_tasks_sync(lines, dry_run=True) == (len(tasks), 0)
    assert empty.execute(look).fetchall() == []
    assert client.import_tasks_sync(iter(lines)) == (len(tasks), 0)
    assert empty.execute(look).fetchall() == before
    client.close_sync()


async def test_what_was_imported_runs(app: App) -> None:
    ours = with_tasks(app)
    first = await ours["welcome"].using(key="k").enqueue(41)
    lines = [line async for line in app.export_tasks(queue="mail")]
    await first.cancel()
    assert await app.import_tasks(lines) == (1, 0)
    (found,) = await app.tasks(key="k", status="queued")
    async with app.worker():
        assert await app.result(found.id, timeout="30s") == "sent to 41"


async def test_many_pages_and_empty_lines(app: App) -> None:
    ours = with_tasks(app)
    await ours["welcome"].enqueue_many([(n,) for n in range(2500)])
    lines = [line async for line in app.export_tasks()]
    assert len(lines) == 2500
    await app.cancel_all(every=True)
    assert await app.import_tasks(line + "\n\n" for line in lines[:1200]) == (1200, 0)
    with pytest.raises(InvalidPayload, match=r"^line 2402: "):
        await app.import_tasks([part for line in lines[1200:2400] for part in (line, "")] + ["", "{}"])
    assert sum(row["tasks"] for row in await app.count_tasks()) == 1200


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("x", "line 2 is not JSON"),
        ("[]", "line 2: Expected `object`"),
        ('{"kind": 7}', "line 2: Expected `str`, got `int`: `kind`"),
        ("{}", "missing required field `kind`"),
        ('{"kind": "welcome", "stauts": "failed"}', "unknown field `stauts`"),
        ('{"kind": "welcome", "status": "done"}', "`status`"),
        ('{"kind": "welcome", "priority": 99999999999}', "`priority`"),
        ('{"kind": "welcome", "payload": [1]}', "`payload`"),
        ('{"kind": "welcome", "status": "failed"}', "error is missing"),
        ('{"kind": "welcome", "error": "x"}', "there is an error, and status is queued"),
        ('{"kind": "welcome", "run_at": "noon"}', "line 2: invalid input syntax for type timestamp"),
        ('{"kind": "welcome", "inbox": [{"bdy": 1}]}', "line 2: "),
    ],
)
async def test_a_line_that_is_none_is_named_with_its_field_and_nothing_is_written(
    app: App, line: str, said: str
) -> None:
    with_tasks(app)
    async with app.worker():
        pass
    with pytest.raises(InvalidPayload) as wrong:
        await app.import_tasks(['{"kind": "welcome"}', line])
    assert said in wrong.value.message
    assert await app.count_tasks() == []


async def test_taken_keys(app: App) -> None:
    ours = with_tasks(app)
    await ours["welcome"].using(key="k").enqueue(1)
    lines = [line async for line in app.export_tasks()]
    with pytest.raises(KeyConflict, match="line 1: key 'k' is taken"):
        await app.import_tasks(lines)
    assert await app.import_tasks(lines, on_conflict="skip") == (0, 1)
    with pytest.raises(InvalidOption, match="on_conflict must be"):
        await app.import_tasks(lines, on_conflict="merge")  # pyright: ignore[reportArgumentType]
