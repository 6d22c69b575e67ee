"""What an attempt enqueues beside its end: there with the end of the attempt or not at all, and nobody's child."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from howdah import Action, Again, App, Cancel, Context, Done, Fail, Inbox, Retry, Snooze, Suspend, Task, TaskInfo
from howdah.errors import HowdahError, TaskFailed
from howdah.telemetry import AttemptEnded
from kinds import process_enqueues
from kinds.standing import stands
from waiting import until

Enqueue = Callable[[Context], Any]
FUTURE = datetime(2100, 1, 1, tzinfo=UTC)


@pytest.fixture
def note(app: App) -> Any:
    """What is enqueued. Nobody works in its queue."""

    @app.task(queue="notes", priority=4)
    async def note(word: str) -> str:
        return word

    return note


@pytest.fixture
def enqueues(app: App, note: Any) -> list[Enqueue]:
    """What the task `writer` enqueues before it ends."""
    todo: list[Enqueue] = []

    @app.task(retry=0)
    async def writer(ctx: Context) -> list[int]:
        return [await enqueue(ctx) for enqueue in todo]

    return todo


async def written(app: App) -> list[TaskInfo]:
    return sorted(await app.tasks(kind="note"), key=lambda info: info.id)


async def ends(app: App, task: Task[Any]) -> Any:
    async with app.worker(queues=["default"]):
        return await task.result("20s")


# ── with the end or not at all ──


async def test_it_is_there_when_the_attempt_ends_well_and_is_nobodys_child(
    app: App, enqueues: list[Enqueue], note: Any, conn: psycopg.Connection
) -> None:
    enqueues += [lambda ctx: ctx.enqueue(note, "a"), lambda ctx: ctx.enqueue("note", word="b")]
    task = await app.enqueue("writer")
    ids = await ends(app, task)
    assert [(info.id, info.payload["word"]) for info in await written(app)] == list(zip(ids, "ab", strict=True))
    assert {(info.parent, info.queue, info.priority, info.status) for info in await written(app)} == {
        (None, "notes", 4, "queued")
    }
    assert (await task.info()).children == 0
    async with app.worker():
        assert await app.result(ids[0], timeout="20s") == "a"
    assert conn.execute("select count(*) from howdah.message").fetchone() == (0,)


@pytest.mark.parametrize("end", [ValueError("no"), Fail("no"), Cancel("no")], ids=repr)
async def test_nothing_is_left_of_an_attempt_that_failed_or_was_not_wanted(app: App, note: Any, end: Exception) -> None:
    @app.task(retry=0)
    async def bad(ctx: Context) -> None:
        await ctx.enqueue(note, "a")
        await ctx.enqueue_named("note", {"word": "b"})
        raise end

    task = await bad.enqueue()
    async with app.worker():
        await stands(task, "cancelled" if isinstance(end, Cancel) else "failed")
    assert await written(app) == []


@pytest.mark.parametrize("end", [Again, lambda: Snooze(0)], ids=["again", "snooze"])
async def test_it_goes_with_every_end_that_is_no_failure(app: App, note: Any, end: Callable[[], Exception]) -> None:
    @app.task()
    async def twice(ctx: Context) -> Any:
        await ctx.enqueue(note, str(len(await written(app))))
        return None if await written(app) else end()

    await ends(app, await twice.enqueue())
    assert [info.payload["word"] for info in await written(app)] == ["0", "1"]


async def test_each_attempt_has_its_own(app: App, note: Any) -> None:
    @app.task(retry=Retry(1, delay="1ms"))
    async def second_time_lucky(ctx: Context) -> None:
        await ctx.enqueue(note, str(ctx.attempt))
        if ctx.attempt == 1:
            raise OSError("once")

    await ends(app, await second_time_lucky.enqueue())
    assert [info.payload["word"] for info in await written(app)] == ["2"]


async def test_nothing_is_left_of_an_attempt_that_came_too_late(app: App, note: Any, conn: psycopg.Connection) -> None:
    ended: list[str] = []
    app.listen(lambda event: ended.append(event.outcome) if isinstance(event, AttemptEnded) else None)

    @app.task()
    async def slow(ctx: Context) -> None:
        await ctx.enqueue(note, "a")
        # Somebody else has it by now.
        conn.execute(
            "update howdah.task set epoch = epoch + 1, status = 'queued', run_at = '2100-01-01', worker = null where id = %s",
            [ctx.id],
        )

    await slow.enqueue()
    async with app.worker():
        await until(lambda: ended)
    assert ended == ["stale"]
    assert await written(app) == []


async def test_it_commits_with_what_a_transactional_task_writes(app: App, note: Any, conn: psycopg.Connection) -> None:
    conn.execute("create table effect (word text)")

    @app.task(transactional=True, retry=0)
    async def both(ctx: Context, fails: bool) -> None:
        await ctx.enqueue(note, str(fails))
        await ctx.connection.execute("insert into effect values (%s)", [str(fails)])
        if fails:
            raise ValueError("no")

    good, bad = await both.enqueue(False), await both.enqueue(True)
    async with app.worker(queues=["default"]):
        await good.result("20s")
        await stands(bad, "failed")
    assert conn.execute("select word from effect").fetchall() == [("False",)]
    assert [info.payload["word"] for info in await written(app)] == ["False"]


# ── options ──


async def test_options_of_using(app: App, enqueues: list[Enqueue], note: Any) -> None:
    enqueues += [
        lambda ctx: ctx.enqueue(note.using(queue="other", priority=-3, key="one", delay="1h"), "a"),
        lambda ctx: ctx.enqueue(note.using(at=FUTURE), "b"),
        lambda ctx: ctx.enqueue_named("note", {"word": "c"}, queue="other", priority=-3, key="two", at=FUTURE),
    ]
    await ends(app, await app.enqueue("writer"))
    first, second, third = await written(app)
    assert (first.queue, first.priority, first.key) == ("other", -3, "one")
    assert first.run_at is not None
    assert first.run_at - first.created_at > timedelta(minutes=59)
    assert (second.run_at, second.queue) == (FUTURE, "notes")
    assert (third.queue, third.priority, third.key, third.run_at) == ("other", -3, "two", FUTURE)


@pytest.mark.parametrize("on_conflict", ["return", "skip"])
async def test_a_held_key_is_skipped(app: App, enqueues: list[Enqueue], note: Any, on_conflict: Any) -> None:
    holder = await note.using(key="one").enqueue("x")
    enqueues += [
        lambda ctx: ctx.enqueue(note.using(key="one", on_conflict=on_conflict), "y"),
        lambda ctx: ctx.enqueue_named("note", {"word": "z"}, key="one", on_conflict=on_conflict),
        lambda ctx: ctx.enqueue(note, "other"),
    ]
    ids = await ends(app, await app.enqueue("writer"))
    assert [info.id for info in await written(app)] == [holder.id, ids[2]]


async def test_one_of_two_with_the_same_key_is_written(app: App, enqueues: list[Enqueue], note: Any) -> None:
    enqueues += [
        lambda ctx: ctx.enqueue(note.using(key="one"), "a"),
        lambda ctx: ctx.enqueue(note.using(key="one"), "b"),
    ]
    ids = await ends(app, await app.enqueue("writer"))
    assert [info.id for info in await written(app)] == ids[:1]


WRONG: dict[str, tuple[Callable[[Context, Any], Any], str]] = {
    "a held key": (
        lambda ctx, note: ctx.enqueue(note.using(key="held", on_conflict="raise"), "y"),
        "key 'held', of a task that was to be spawned, is held by task",
    ),
    "a held key, by name": (
        lambda ctx, note: ctx.enqueue_named("note", {"word": "y"}, key="held", on_conflict="raise"),
        "is held by task",
    ),
    "an unknown kind": (
        lambda ctx, note: ctx.enqueue("notes"),
        "UnknownKind: no handler for kind 'notes'; known kinds:",
    ),
    "an unknown kind, by name": (
        lambda ctx, note: ctx.enqueue_named("notes", {}, queue="q", key="k"),
        "UnknownKind: no handler for kind 'notes'; known kinds:",
    ),
    "no kind": (
        lambda ctx, note: ctx.enqueue(7),
        "ctx.enqueue takes a task, an actor, a machine or the name of one, not 7",
    ),
    "a bad argument": (lambda ctx, note: ctx.enqueue(note, 7), "InvalidPayload: note: word: expected str, got int"),
    "a bad payload": (
        lambda ctx, note: ctx.enqueue_named("note", {"word": 7}),
        "InvalidPayload: note: word: expected str, got int",
    ),
    "a bad option": (lambda ctx, note: ctx.enqueue_named("note", {"word": "y"}, queu="q"), "Did you mean queue?"),
    "no step": (lambda ctx, note: ctx.enqueue(note.using(step="Begin"), "y"), "step='Begin' was given"),
    "replace": (
        lambda ctx, note: ctx.enqueue(note.using(key="k", on_conflict="replace"), "y"),
        "ctx.enqueue does not replace a task",
    ),
    "replace, by name": (
        lambda ctx, note: ctx.enqueue_named("elsewhere", {}, key="k", on_conflict="replace"),
        "ctx.enqueue does not replace a task",
    ),
}


@pytest.mark.parametrize(("enqueue", "said"), WRONG.values(), ids=WRONG)
async def test_what_cannot_be_enqueued_fails_the_attempt_and_leaves_no_other(
    app: App, enqueues: list[Enqueue], note: Any, conn: psycopg.Connection, enqueue: Any, said: str
) -> None:
    conn.execute("""select howdah.declare('[{"name": "elsewhere"}]', true)""")
    held = await note.using(key="held").enqueue("x")
    enqueues += [lambda ctx: ctx.enqueue(note, "a"), lambda ctx: enqueue(ctx, note)]
    task = await app.enqueue("writer")
    with pytest.raises(TaskFailed) as caught:
        await ends(app, task)
    assert said in str(caught.value)
    assert [info.id for info in await written(app)] == [held.id]


async def test_a_connection_is_refused(app: App, enqueues: list[Enqueue], note: Any, conn: psycopg.Connection) -> None:
    conn.execute("""select howdah.declare('[{"name": "elsewhere"}]', true)""")
    enqueues.append(lambda ctx: ctx.enqueue_named("elsewhere", {}, connection=conn))
    with pytest.raises(TaskFailed, match="in the transaction of the attempt"):
        await ends(app, await app.enqueue("writer"))
    assert await app.tasks(kind="elsewhere") == []


async def test_a_kind_whose_code_is_elsewhere(app: App, enqueues: list[Enqueue], conn: psycopg.Connection) -> None:
    conn.execute("""select howdah.declare('[{"name": "elsewhere", "queue": "far", "priority": 7}]', true)""")
    enqueues += [
        lambda ctx: ctx.enqueue("elsewhere", n=1),
        lambda ctx: ctx.enqueue_named("elsewhere", {"n": 2}),
        lambda ctx: ctx.enqueue_named("elsewhere", {"n": 3}, queue="near", key="k"),
        lambda ctx: ctx.enqueue_named("elsewhere", {"n": 4}, key="k"),
        lambda ctx: ctx.enqueue_named("elsewhere", {"n": 5}, priority=1, delay="1h"),
    ]
    await ends(app, await app.enqueue("writer"))
    infos = sorted(await app.tasks(kind="elsewhere"), key=lambda info: info.id)
    assert [(info.payload["n"], info.queue, info.priority, info.key) for info in infos] == [
        (1, "far", 7, None), (2, "far", 7, None), (3, "near", 7, "k"), (5, "far", 1, None),
    ]  # fmt: skip


# ── from wherever ──


async def test_a_plain_function_has_a_twin_that_blocks(app: App, note: Any) -> None:
    @app.task(retry=0)
    def plain(ctx: Context, fails: bool) -> int:
        task_id = ctx.enqueue_sync(note.using(key=str(fails)), "a")
        if fails:
            raise ValueError("no")
        return task_id

    good, bad = await plain.enqueue(False), await plain.enqueue(True)
    async with app.worker(queues=["default"]):
        task_id = await good.result("20s")
        await stands(bad, "failed")
    assert [(info.id, info.parent, info.key) for info in await written(app)] == [(task_id, None, "False")]


async def test_the_twin_that_blocks_is_refused_on_the_loop(app: App, enqueues: list[Enqueue], note: Any) -> None:
    said: list[HowdahError] = []

    @app.task()
    async def on_the_loop(ctx: Context) -> None:
        with pytest.raises(HowdahError) as caught:
            ctx.enqueue_sync(note, "a")
        said.append(caught.value)

    await ends(app, await on_the_loop.enqueue())
    assert "ctx.enqueue_sync would block the running event loop" in str(said[0])
    assert said[0].hint == "Write: await ctx.enqueue(…)"
    assert await written(app) == []


async def test_a_process_cannot(app: App) -> None:
    for kind in process_enqueues.app.registry:
        app.registry.add(kind)
    task = await app.enqueue("enqueues")
    async with app.worker(processes=1):
        with pytest.raises(TaskFailed, match=r"ctx\.enqueue does not work with executor='process'"):
            await task.result("20s")
    assert await app.tasks(kind="nothing") == []


async def test_a_machine_and_its_steps(app: App) -> None:
    machine = app.machine("machine")

    @machine.step
    @dataclass
    class Begin:
        n: int

        async def run(self, ctx: Context) -> Done:
            if not self.n:
                return Done(0)
            return Done([
                await ctx.enqueue(machine, Begin(0)),
                await ctx.enqueue(machine, End(self.n + 1)),
                await ctx.enqueue_named("machine", {"n": self.n + 2}, step="End"),
            ])  # fmt: skip

    @machine.step
    @dataclass
    class End:
        n: int

        async def run(self) -> Done:
            return Done(self.n)

    task = await machine.enqueue(Begin(1))
    async with app.worker():
        ids = await task.result("20s")
        assert [await app.result(task_id, timeout="20s") for task_id in ids] == [0, 2, 3]
    assert {info.parent for info in await app.tasks(kind="machine")} == {None}


async def test_together_with_children_and_messages(app: App, note: Any) -> None:
    @app.actor("hub", inbox=str)
    @dataclass
    class Hub:
        beside: int = 0
        heard: str = ""

        async def poll(self, ctx: Context, inbox: Inbox[Any]) -> Action:
            if not self.beside:
                self.beside = await ctx.enqueue(Hub, "from nobody", beside=-1)
                child = await ctx.spawn(note.using(queue="default"), "child")
                ctx.send(self.beside, "again")
                ctx.send(ctx.id, str(child))
                return Suspend()
            self.heard += "".join(f"{message};" for message in inbox)
            if self.beside < 0:
                return Done([self.heard, ctx.parent]) if "again" in self.heard else Suspend()
            return Done([self.beside, self.heard]) if ctx.children or "succeeded" in self.heard else Suspend()

    hub = await Hub.enqueue()
    async with app.worker():
        beside, _ = await hub.result("20s")
        assert await app.result(beside, timeout="20s") == ["from nobody;again;", None]
    (child,) = await written(app)
    assert child.parent == hub.id


async def test_what_is_not_said_of_a_kind_whose_code_is_elsewhere_is_what_the_kind_says(
    app: App, enqueues: list[Enqueue], conn: psycopg.Connection
) -> None:
    conn.execute(
        """select howdah.declare('[{"name": "elsewhere", "queue": "far", "priority": 7, "delay": "1 hour"}]', true)"""
    )
    enqueues.append(lambda ctx: ctx.enqueue_named("elsewhere", {}, queue="near"))
    await ends(app, await app.enqueue("writer"))
    (task,) = await app.tasks(kind="elsewhere")
    assert (task.queue, task.priority) == ("near", 7)
    assert task.run_at - task.created_at > timedelta(minutes=59)
