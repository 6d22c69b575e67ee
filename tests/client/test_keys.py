"""Keys from Python: who gets what, one by one and in many, and every verb that takes a key for an id."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from howdah import Action, App, Context, Done, Inbox, Poll, Task
from howdah.errors import InvalidOption, InvalidPayload, KeyConflict, TaskCancelled, TaskFailed, TaskNotFound
from waiting import until


async def run(app: App) -> None:
    """All that is due."""
    await app.worker(until_idle=True).run()


@pytest.fixture
def welcome(app: App) -> Any:
    @app.task(key="welcome:{user_id}", group="tenant:{tenant}", retry=0)
    async def welcome(user_id: int, tenant: str = "t", ids: list[int] | None = None) -> str:
        if user_id < 0:
            raise ValueError("no such user")
        return f"sent to {user_id}"

    return welcome


async def keys(app: App) -> list[Any]:
    return [info.key for info in await app.tasks()][::-1]


# ── one by one ──


async def test_the_key_is_made_of_the_arguments(app: App, welcome: Any) -> None:
    first = await welcome.enqueue(42)
    assert (await first.info()).key == "welcome:42"
    assert await welcome.enqueue(42) == first
    assert await welcome.using(key="other:{user_id}:{tenant}").enqueue(42) != first
    assert await keys(app) == ["welcome:42", "other:42:t"]


async def test_for_good_an_ended_task_answers_for_its_key(app: App, welcome: Any) -> None:
    first = await welcome.using(unique_for="forever").enqueue(42)
    await run(app)
    again = await welcome.enqueue(42)
    assert again == first
    assert await again.result("20s") == "sent to 42"
    assert await welcome.using(on_conflict="skip").enqueue(42) is None
    for on_conflict in ("raise", "replace", "merge"):
        with pytest.raises(KeyConflict, match="is taken for good by task") as caught:
            await welcome.using(on_conflict=on_conflict).enqueue(42)
        assert caught.value.task_id == first.id
        assert caught.value.hint


async def test_merge_adds_to_what_waits_and_replace_does_not(app: App, welcome: Any) -> None:
    merging = welcome.using(on_conflict="merge", delay="1h")
    first = await merging.enqueue(1, ids=[1])
    due = (await first.info()).run_at
    assert await welcome.using(on_conflict="merge").enqueue(1, ids=[2, 3]) == first
    info = await first.info()
    assert (info.payload, info.run_at) == ({"user_id": 1, "tenant": "t", "ids": [1, 2, 3]}, due)
    assert await merging.enqueue(1, tenant="u", ids=[]) == first
    info = await first.info()
    assert (info.payload["ids"], info.groups, info.run_at > due) == ([1, 2, 3], ["tenant:u"], True)
    assert await welcome.using(on_conflict="replace").enqueue(1, ids=[9]) == first
    assert (await first.info()).payload["ids"] == [9]


async def test_the_delay_of_the_kind_moves_nothing_that_waits(app: App) -> None:
    @app.task(key="collect", delay="1h", on_conflict="merge")
    async def collect(ids: list[int]) -> None: ...

    first = await collect.enqueue([1])
    due = (await first.info()).run_at
    assert await collect.enqueue([2]) == first
    info = await first.info()
    assert (info.payload, info.run_at) == ({"ids": [1, 2]}, due)


async def test_a_window_needs_a_key(app: App, conn: psycopg.Connection) -> None:
    @app.task()
    async def keyless(n: int) -> None: ...

    with pytest.raises(InvalidOption, match="keyless: unique_for was given, and there is no key"):
        await keyless.using(unique_for="1h").enqueue(1)
    conn.execute("""select howdah.declare('[{"name": "elsewhere"}]')""")
    with pytest.raises(InvalidOption, match="unique_for was given, and there is no key"):
        await app.using(unique_for="1h").enqueue("elsewhere", n=1)
    task = await app.using(key="n:{n}", unique_for="1h").enqueue("elsewhere", n=1)
    assert await keys(app) == ["n:1"]
    await task.cancel()
    assert await app.using(key="n:{n}", on_conflict="return").enqueue("elsewhere", n=1) == task


@pytest.mark.parametrize(
    ("key", "group", "said"),
    [
        (
            "k:{usr_id}",
            None,
            "its key 'k:{usr_id}' is made of usr_id, and it has no such field. Did you mean {user_id}?",
        ),
        ("k", "g:{zzz}", "its group 'g:{zzz}' is made of zzz, and it has no such field. Its fields: name, user_id"),
        ("k:{ctx}", None, "its key 'k:{ctx}' is made of ctx"),
    ],
)
def test_what_a_key_is_made_of_must_be_there(key: str, group: str | None, said: str) -> None:
    app = App("postgresql://nowhere")

    async def function(ctx: Context, user_id: int, name: str = "x") -> None: ...

    @dataclass
    class Actor:
        user_id: int
        name: str = "x"

        async def poll(self, ctx: Context, inbox: Inbox[Any]) -> Action:
            return Done()

    @dataclass
    class First:
        user_id: int
        name: str = "x"

        async def run(self) -> Second | None: ...

    @dataclass
    class Second:
        async def run(self) -> None: ...

    with pytest.raises(InvalidOption) as caught:
        app.task(key=key, group=group)(function)
    assert said in str(caught.value)
    with pytest.raises(InvalidOption) as caught:
        app.actor("actor", key=key, group=group)(Actor)
    assert said in str(caught.value)
    machine = app.machine("machine", key=key, group=group)
    machine.step(First)
    machine.step(Second)
    with pytest.raises(InvalidOption) as caught:
        machine.kind.check()
    assert said in str(caught.value)


async def test_any_field_may_be_there_of_a_function_that_takes_any(app: App) -> None:
    @app.task(key="k:{whatever}")
    async def anything(**fields: int) -> None: ...

    await anything.enqueue(whatever=7)
    assert await keys(app) == ["k:7"]
    with pytest.raises(InvalidPayload, match="whatever of the payload is missing"):
        await anything.enqueue(n=7)


async def test_the_steps_of_a_machine_that_are_no_beginning_need_not_have_it(app: App) -> None:
    machine = app.machine("order", key="order:{order_id}")

    @machine.step
    @dataclass
    class Pay:
        order_id: int

        async def run(self) -> Ship:
            return Ship("here")

    @machine.step
    @dataclass
    class Ship:
        address: str

        async def run(self) -> None: ...

    machine.kind.check()
    first = await machine.enqueue(Pay(7))
    await run(app)
    assert (await first.info()).key == "order:7"
    with pytest.raises(InvalidPayload, match="order_id of the payload is missing"):
        await machine.enqueue(Ship("there"))


# ── many ──


async def test_many_have_a_key_and_groups_each(app: App, welcome: Any) -> None:
    tasks = await welcome.enqueue_many([(3, "a"), {"user_id": 1}, (2, "b")])
    found = [await task.info() for task in tasks]
    assert [(info.key, info.groups) for info in found] == [
        ("welcome:3", ["tenant:a"]),
        ("welcome:1", ["tenant:t"]),
        ("welcome:2", ["tenant:b"]),
    ]


async def test_many_without_a_key_may_have_groups_of_their_own(app: App) -> None:
    @app.task(group=["SES", "tenant:{tenant}"])
    async def mail(tenant: str) -> None: ...

    tasks = await mail.enqueue_many([("a",), ("b",), ("a",)])
    assert [(await task.info()).groups for task in tasks] == [
        ["SES", "tenant:a"],
        ["SES", "tenant:b"],
        ["SES", "tenant:a"],
    ]
    tasks = await mail.using(group="one").enqueue_many([("a",), ("b",)])
    assert [(await task.info()).groups for task in tasks] == [["one"], ["one"]]
    with pytest.raises(InvalidPayload, match=r"^item 0: nobody of the payload is missing"):
        await mail.using(group="{tenant}{nobody}").enqueue_many([("a",), ("b",)])


async def test_of_many_duplicates_are_what_on_conflict_says(app: App, welcome: Any) -> None:
    ended = await welcome.using(unique_for="1h").enqueue(1)
    await run(app)
    live = await welcome.enqueue(2)
    items = [(5,), (1,), (2,), (5,), (4,)]

    with pytest.raises(KeyConflict, match=r"^item 0 and item 3 have the same key 'welcome:5'") as caught:
        await welcome.using(on_conflict="raise").enqueue_many(items)
    assert caught.value.task_id is None
    for item, holder in (((1,), ended), ((2,), live)):
        with pytest.raises(KeyConflict, match=f"by task {holder.id}") as caught:
            await welcome.using(on_conflict="raise").enqueue_many([(6,), item])
        assert caught.value.task_id == holder.id
    assert len(await app.tasks()) == 2

    tasks = await welcome.enqueue_many(items)
    assert tasks == [tasks[0], ended, live, tasks[0], tasks[4]]
    assert len(set(tasks)) == 4
    assert await welcome.using(on_conflict="skip").enqueue_many(items) == []
    (new,) = await welcome.using(on_conflict="skip").enqueue_many([*items, (6,), (6,)])
    assert (await new.info()).key == "welcome:6"
    merged = await welcome.using(on_conflict="merge").enqueue_many([(6, "t", [1]), (6, "t", [2]), (7,)])
    assert merged[:2] == [new, new]
    assert (await new.info()).payload["ids"] == [1, 2]


async def test_what_cannot_be_meant_of_many(app: App, welcome: Any) -> None:
    with pytest.raises(
        InvalidOption, match="key cannot be given to enqueue_many without a field in it: 'k' is for one"
    ):
        await welcome.using(key="k").enqueue_many([(1,)])
    with pytest.raises(
        InvalidPayload, match=r"^item 0: ids of the payload is \[1\], and the key \{ids\} is made of it"
    ):
        await welcome.using(key="{ids}").enqueue_many([(1, "t", [1])])
    assert await welcome.enqueue_many([]) == []
    assert await app.tasks() == []


def test_many_from_programs_that_block(dsn: str) -> None:
    with App(dsn) as app:

        @app.task(key="n:{n}")
        async def numbered(n: int) -> None: ...

        tasks = numbered.enqueue_many_sync([(n,) for n in (1, 2, 1)])
        assert tasks[0] == tasks[2] != tasks[1]
        with app.installation.open_sync().connect_sync(autocommit=False) as connection:
            again = numbered.using(connection=connection).enqueue_many_sync([(2,), (3,)])
            assert again[0] == tasks[1]
            connection.rollback()
        assert [info.key for info in app.tasks_sync()] == ["n:2", "n:1"]


# ── by key ──


async def test_every_verb_takes_a_key_for_an_id(app: App, welcome: Any) -> None:
    assert await app.holder("welcome:1") is None
    task = await welcome.using(delay="1h").enqueue(1)
    found = await app.holder("welcome:1")
    assert (found, found and found.kind) == (task, "welcome")
    assert (await app.show(key="welcome:1")).id == task.id
    codes = [reason.code for reason in await app.why(key="welcome:1")]
    assert codes[:2] == ["key", "not due"]
    assert await app.retry(key="welcome:1") == "due now"
    assert await app.cancel(key="welcome:1", reason="enough") == "cancelled"
    assert (await task.info()).reason == "enough"
    for verb in (app.show, app.retry, app.cancel, app.result):
        with pytest.raises(TaskNotFound, match="no task holds key 'welcome:1'"):
            await verb(key="welcome:1")
    assert [reason.code for reason in await app.why(key="welcome:1")] == ["key free"]

    await welcome.using(unique_for="1h").enqueue(2)
    await run(app)
    assert await app.result(key="welcome:2", timeout="20s") == "sent to 2"
    with pytest.raises(InvalidOption, match="both given"):
        await app.show(1, key="welcome:2")  # pyright: ignore[reportCallIssue]
    with pytest.raises(InvalidOption, match="a task id is a whole number of 64 bits, not None"):
        await app.cancel()  # pyright: ignore[reportCallIssue]


async def test_the_end_of_whoever_holds_a_key_is_told_by_its_result(app: App, welcome: Any) -> None:
    await welcome.enqueue(-1)
    await run(app)
    with pytest.raises(TaskFailed, match="no such user"):
        await app.result(key="welcome:-1", timeout="20s")
    await welcome.using(unique_for="1h").enqueue(3)
    await app.cancel(key="welcome:3")
    with pytest.raises(TaskCancelled):
        await app.result(key="welcome:3", timeout="20s")


def test_by_key_from_programs_that_block(dsn: str) -> None:
    with App(dsn) as app:

        @app.task(key="n:{n}", unique_for="1h")
        async def numbered(n: int) -> None: ...

        task = numbered.enqueue_sync(1)
        assert app.holder_sync("n:1") == task
        assert app.show_sync(key="n:1").id == task.id
        assert app.why_sync(key="n:1")[0].code == "key"
        assert app.retry_sync(key="n:1") == "due now"
        assert app.cancel_sync(key="n:1") == "cancelled"
        assert app.holder_sync("n:1") == task
        with pytest.raises(TaskCancelled):
            app.result_sync(key="n:1", timeout="20s")


async def test_by_key_in_the_callers_transaction(app: App, welcome: Any, dsn: str) -> None:
    async with await psycopg.AsyncConnection.connect(dsn) as theirs:
        task = await welcome.using(connection=theirs).enqueue(1)
        assert await app.holder("welcome:1") is None
        assert await app.holder("welcome:1", connection=theirs) == task
        assert await app.cancel(key="welcome:1", connection=theirs) == "cancelled"
        await theirs.rollback()
    assert await app.tasks() == []


# ── beside other tasks ──


async def test_a_running_task_respects_and_reserves_keys(app: App, welcome: Any) -> None:
    todo: list[Callable[[Context], Awaitable[Any]]] = []

    @app.task(retry=0)
    async def writer(ctx: Context) -> None:
        for act in todo:
            await act(ctx)

    todo.append(lambda ctx: ctx.enqueue(welcome.using(unique_for="1h"), 1))
    await writer.enqueue()
    await run(app)
    first = await app.holder("welcome:1")
    assert first is not None
    assert (await first.info()).status == "succeeded"

    todo[:] = [lambda ctx: ctx.enqueue(welcome.using(on_conflict="skip"), 1), lambda ctx: ctx.enqueue(welcome, 1)]
    await (await writer.enqueue()).info()
    await run(app)
    assert len(await app.tasks(kind="welcome")) == 1

    for act, said in (
        (
            lambda ctx: ctx.enqueue(welcome.using(on_conflict="raise"), 1),
            f"is held by task {first.id} (welcome, succeeded)",
        ),
        (lambda ctx: ctx.spawn(welcome, 1), f"is held by task {first.id} (welcome, succeeded)"),
        (lambda ctx: ctx.enqueue(welcome.using(on_conflict="merge"), 2), "ctx.enqueue does not merge a task"),
    ):
        todo[:] = [act]
        task = await writer.enqueue()
        await run(app)
        with pytest.raises(TaskFailed) as caught:
            await task.result("20s")
        assert said in str(caught.value)


async def test_what_the_kind_says_holds_for_a_running_task_too(app: App) -> None:
    @app.task(key="c", on_conflict="merge")
    async def collect(ids: list[int]) -> None: ...

    @app.task(key="r", on_conflict="raise")
    async def strict() -> None: ...

    @app.task(retry=0)
    async def writer(ctx: Context, what: str) -> None:
        await (ctx.enqueue(collect, [1]) if what == "collect" else ctx.enqueue(strict))

    await strict.using(delay="1h").enqueue()
    for what, said in (("collect", "ctx.enqueue does not merge a task"), ("strict", "key 'r'")):
        task = await writer.enqueue(what)
        await run(app)
        with pytest.raises(TaskFailed, match=said):
            await task.result("20s")


async def test_an_instruction_has_a_key_of_its_own_while_it_is_live(app: App, conn: psycopg.Connection) -> None:
    @app.task(key="q:{query}", unique_for="forever")
    async def search(query: str) -> str:
        return query

    asked = [["{query}", "a}b{", "{"], []]

    @app.poller("searches", into=search, concurrency=5, delay="5ms")
    async def searches(poll: Poll[str]) -> list[str]:
        return asked.pop(0) if asked else []

    async with app.worker(poll="50ms"):

        async def done() -> bool:
            return len(await app.tasks(kind="search", status=["succeeded"])) == 3

        await until(done, "all of them to be done")
    assert {info.key for info in await app.tasks(kind="search")} == {"searches:{query}", "searches:a}b{", "searches:{"}
    assert conn.execute("select count(*) from howdah.key").fetchone() == (0,)  # it may come again


async def test_how_long_is_for_good(app: App, welcome: Any, conn: psycopg.Connection) -> None:
    task: Task[str] = await welcome.using(unique_for="forever").enqueue(1)
    (first, *_) = await app.why(key="welcome:1")
    assert first.reason.endswith("; it stays taken for good, also when that has ended")
    row = conn.execute("select to_jsonb(k) from howdah.key k").fetchone()
    assert row is not None
    assert json.loads(json.dumps(row[0]))["task_id"] == task.id
