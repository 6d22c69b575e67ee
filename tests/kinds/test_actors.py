"""Actors: state between polls, when the next poll comes, and how an actor ends."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import msgspec
import psycopg
import pytest
from pydantic import BaseModel

from howdah import (
    EOF,
    Action,
    Actor,
    Again,
    App,
    Cancel,
    Context,
    Done,
    Fail,
    Inbox,
    Join,
    Misfit,
    Retry,
    Sleep,
    Snooze,
    Suspend,
    Task,
    TaskInfo,
    after,
)
from howdah.errors import InvalidOption, InvalidPayload, TaskCancelled, TaskFailed
from kinds.standing import asleep, events, stands
from waiting import until


@pytest.fixture
def tally(app: App) -> Actor[Any]:
    """Adds up what it is sent; 0 ends it."""

    @app.actor("tally", inbox=int, queue="sums", priority=2)
    @dataclass
    class Tally:
        total: int = 0
        polls: int = 0

        async def poll(self, ctx: Context, inbox: Inbox[int]) -> Action:
            self.polls += 1
            for n in inbox:
                if n == 0:
                    return Done(self.total)
                self.total += n
            return Suspend()

    return Tally


# ── state ──


async def test_state_is_kept_between_polls_and_done_is_the_result(app: App, tally: Actor[Any]) -> None:
    task = await tally.enqueue(total=10)
    info = await task.info()
    assert (info.kind, info.status, info.step, info.queue, info.priority) == ("tally", "queued", None, "sums", 2)
    assert info.payload == {"total": 10, "polls": 0}
    async with app.worker():
        info = await stands(task, "suspended")
        assert (info.payload, info.attempt, info.worker, info.run_at) == ({"total": 10, "polls": 1}, 0, None, None)
        (reason,) = await task.why()
        assert (reason.code, reason.reason) == ("suspended", "It waits for a message")
        for n in (1, 2, 3, 0):
            await task.send(n)
        assert await task.result("20s") == 16
    assert (await task.info()).status == "succeeded"


async def test_a_poll_that_fails_leaves_the_state_of_the_one_before(app: App) -> None:
    seen: list[tuple[int, int]] = []

    @app.actor("shaky", inbox=int, retry=Retry(1, delay="1ms"))
    @dataclass
    class Shaky:
        total: int = 0

        async def poll(self, ctx: Context, inbox: Inbox[int]) -> Action:
            self.total += sum(inbox)
            seen.append((ctx.attempt, self.total))
            if self.total and ctx.attempt == 1:
                raise OSError("after it was changed")
            return Done(self.total) if self.total else Suspend()

    task = await Shaky.enqueue()
    async with app.worker():
        await stands(task, "suspended")
        await task.send(5)
        assert await task.result("20s") == 5
    assert seen == [(1, 0), (1, 5), (2, 5)]
    assert await events(app, task) == ["retry"]


async def test_state_may_be_a_struct_or_a_model(app: App) -> None:
    @app.actor("struct", inbox=str)
    class Words(msgspec.Struct):
        words: list[str] = []
        at: datetime | None = None

        async def poll(self, ctx: Context, inbox: Inbox[str]) -> Action:
            self.words += inbox
            if len(self.words) < 2:
                self.at = datetime(2030, 1, 1, tzinfo=UTC)
                return Suspend()
            return Done([*self.words, self.at and self.at.year])

    @app.actor("model", inbox=str)
    class Model(BaseModel):
        words: list[str] = []

        async def poll(self, ctx: Context, inbox: Inbox[str]) -> Action:
            self.words += inbox
            return Suspend() if len(self.words) < 2 else Done(self.words)

    struct, model = await Words.enqueue(), await Model.enqueue(words=[])
    async with app.worker():
        for task in (struct, model):
            await stands(task, "suspended")
            await task.send("a")
            await task.send("b")
        assert await struct.result("20s") == ["a", "b", 2030]
        assert await model.result("20s") == ["a", "b"]


async def test_the_name_of_the_class_is_the_kind_and_a_call_makes_an_object(app: App) -> None:
    @app.actor(inbox=int)
    @dataclass
    class Counter:
        """Counts."""

        n: int = 0

        async def poll(self, ctx: Context, inbox: Inbox[int]) -> Action:
            return Done(self.n)

    assert (await Counter.enqueue(n=3)).kind == "Counter"
    assert Counter(3).n == 3
    assert isinstance(Counter(3), Counter.cls)
    assert (Counter.name, Counter.__doc__, repr(Counter)) == ("Counter", "Counts.", "<actor Counter>")
    async with app.worker():
        by_name = await app.using(priority=3).enqueue("Counter", n=4)
        assert await by_name.result("20s") == 4


async def test_an_actor_is_enqueued_as_any_task(app: App, tally: Actor[Any], conn: psycopg.Connection) -> None:
    later = await tally.using(delay="1h", key="one", queue="other", priority=7).enqueue(5)
    info = await later.info()
    assert (info.queue, info.priority, info.key, info.payload) == ("other", 7, "one", {"total": 5, "polls": 0})
    assert await tally.using(key="one").enqueue() == later
    assert await tally.using(key="one", on_conflict="skip").enqueue() is None
    many = await tally.enqueue_many([(1,), {"total": 2}])
    assert [(await task.info()).payload["total"] for task in many] == [1, 2]
    with pytest.raises(InvalidPayload, match="tally: total: expected int, got str"):
        await tally.enqueue(total="x")
    with pytest.raises(InvalidPayload, match="tally: unexpected field totl"):
        await tally.enqueue(totl=1)
    await app.worker(until_idle=True).run()
    row = conn.execute("""select howdah.enqueue('tally', '{"total": 3}')""").fetchone()
    async with app.worker():
        assert row is not None
        await until(
            lambda: conn.execute("select 1 from howdah.task where status = 'suspended' and id = %s", row).fetchone()
        )
        await app.send(row[0], 0)
        assert await app.result(row[0], timeout="20s") == 3


async def test_a_state_that_the_code_no_longer_has_parks(app: App, tally: Actor[Any], conn: psycopg.Connection) -> None:
    task = await tally.enqueue()
    conn.execute("""update howdah.task set payload = '{"sum": 3}'""")
    async with app.worker():
        info = await stands(task, "failed")
    assert info.attempt == 1
    for part in ("unexpected field sum", 'stored {"sum": 3}', "expected Tally(total: int = 0, polls: int = 0)"):
        assert part in str(info.error).replace('":3', '": 3')


async def test_a_state_that_json_cannot_hold_parks(app: App) -> None:
    @app.actor("odd", retry=5)
    @dataclass
    class Odd:
        word: str = ""

        async def poll(self, ctx: Context, inbox: Inbox[Any]) -> Action:
            self.word = cast("str", ctx.id)
            return Suspend()

    task = await Odd.enqueue()
    async with app.worker():
        with pytest.raises(TaskFailed, match="odd: word: expected str, got int"):
            await task.result("20s")
    info = await task.info()
    assert (info.attempt, info.payload) == (1, {"word": ""})


async def test_the_state_of_a_parked_actor_can_be_edited(app: App) -> None:
    @app.actor("picky", inbox=int, retry=0)
    @dataclass
    class Picky:
        least: int

        async def poll(self, ctx: Context, inbox: Inbox[int]) -> Action:
            for n in inbox:
                if n < self.least:
                    raise ValueError(f"{n} is too little")
                return Done(n)
            return Suspend()

    task = await Picky.enqueue(5)
    async with app.worker():
        await stands(task, "suspended")
        await task.send(3)
        await stands(task, "failed")
        with pytest.raises(InvalidPayload, match="least: expected int, got str"):
            await app.edit(task.id, payload={"least": "1"})
        with pytest.raises(InvalidOption, match="picky has no steps"):
            await app.edit(task.id, step="Begin")
        await app.edit(task.id, payload={"least": 1})
        await task.retry()
        assert await task.result("20s") == 3


# ── the next poll ──


@pytest.mark.parametrize("length", ["20ms", 0.02, timedelta(milliseconds=20)], ids=str)
async def test_suspend_until_is_an_alarm(app: App, length: Any) -> None:
    @app.actor("sleeper", inbox=int)
    @dataclass
    class Sleeper:
        polls: int = 0

        async def poll(self, ctx: Context, inbox: Inbox[int]) -> Action:
            self.polls += 1
            return Suspend(until=length) if self.polls < 3 else Done(len(inbox))

    task = await Sleeper.enqueue()
    async with app.worker(poll="1h"):
        assert await task.result("20s") == 0


async def test_suspend_until_a_time(app: App) -> None:
    @app.actor("sleeper", inbox=int)
    @dataclass
    class Sleeper:
        polls: int = 0

        async def poll(self, ctx: Context, inbox: Inbox[int]) -> Action:
            self.polls += 1
            return Suspend(until=datetime.now(UTC) + timedelta(milliseconds=20)) if self.polls == 1 else Done()

    task = await Sleeper.enqueue()
    async with app.worker(poll="1h"):
        await task.result("20s")


TOMORROW = datetime.now(UTC).replace(microsecond=123456) + timedelta(days=1)


@pytest.mark.parametrize("alarm", ["1h", TOMORROW], ids=["length", "time"])
async def test_a_message_comes_before_the_alarm(app: App, alarm: Any) -> None:
    @app.actor("sleeper", inbox=int)
    @dataclass
    class Sleeper:
        polls: int = 0

        async def poll(self, ctx: Context, inbox: Inbox[int]) -> Action:
            self.polls += 1
            return Done([self.polls, *inbox]) if len(inbox) else Suspend(until=alarm)

    task = await Sleeper.enqueue()
    async with app.worker():
        info = await stands(task, "suspended")
        assert info.run_at is not None
        assert info.claimed_at is not None
        if alarm is TOMORROW:
            assert info.run_at == TOMORROW
        else:
            assert timedelta(hours=1) <= info.run_at - info.claimed_at < timedelta(hours=1, minutes=2)
        await task.send(7)
        assert await task.result("20s") == [2, 7]


async def test_an_operator_wakes_a_suspended_actor(app: App, tally: Actor[Any]) -> None:
    task = await tally.enqueue()
    async with app.worker():
        await stands(task, "suspended")
        assert await task.retry() == "due now"

        async def polled() -> bool:
            info = await task.info()
            return info.status == "suspended" and info.payload["polls"] == 2

        await until(polled, "the second poll")
    assert await events(app, task) == ["edit"], "who made it due is in its history"


async def test_sleep_is_not_disturbed_by_messages(app: App) -> None:
    @app.actor("sleeper", inbox=int)
    @dataclass
    class Sleeper:
        polls: int = 0

        async def poll(self, ctx: Context, inbox: Inbox[int]) -> Action:
            self.polls += 1
            return Done([self.polls, *inbox]) if len(inbox) else Sleep("1h")

    @app.task()
    async def other() -> str:
        return "done"

    task = await Sleeper.enqueue()
    async with app.worker(concurrency=1):
        before = await polled_once(task)
        for n in (1, 2):
            await task.send(n)
        # Whatever the messages would have woken runs before what is enqueued after them.
        assert await (await other.enqueue()).result("20s") == "done"
        info = await task.info()
        assert (info.status, info.run_at, info.payload) == ("queued", before.run_at, {"polls": 1})
        assert info.run_at is not None
        assert info.claimed_at is not None
        assert info.run_at - info.claimed_at >= timedelta(hours=1)
        assert await task.retry() == "due now"
        assert await task.result("20s") == [2, 1, 2]


async def polled_once(task: Task[Any]) -> TaskInfo:
    async def found() -> TaskInfo | None:
        info = await task.info()
        return info if info.status == "queued" and info.payload["polls"] == 1 else None

    return await until(found, "the first poll")


@pytest.mark.usefixtures("looks_only_when_told")
async def test_sleep_ends_by_itself(app: App) -> None:
    @app.actor("sleeper")
    @dataclass
    class Sleeper:
        polls: int = 0

        async def poll(self, ctx: Context, inbox: Inbox[Any]) -> Action:
            self.polls += 1
            return Sleep("5ms") if self.polls < 4 else Done(self.polls)

    async with app.worker(poll="1h"):
        await asleep(app)
        task = await Sleeper.enqueue()
        assert await task.result("20s") == 4


@pytest.mark.usefixtures("looks_only_when_told")
async def test_messages_that_come_while_a_poll_runs_wake_it_right_after(app: App) -> None:
    began, release = asyncio.Event(), asyncio.Event()
    seen: list[list[int]] = []

    @app.actor("slow", inbox=int)
    @dataclass
    class Slow:
        async def poll(self, ctx: Context, inbox: Inbox[int]) -> Action:
            began.set()
            await release.wait()
            seen.append(list(inbox))
            return Done(seen) if seen[-1] else Suspend()

    task = await Slow.enqueue()
    async with app.worker(poll="1h"):
        await began.wait()
        await asleep(app)
        for n in (1, 2, 3):
            await task.send(n)
        assert (await task.info()).status == "running"
        release.set()
        assert await task.result("20s") == [[], [1, 2, 3]]


async def test_no_two_polls_of_an_actor_run_at_once(app: App) -> None:
    running: list[int] = []
    most = 0

    @app.actor("busy", inbox=int)
    @dataclass
    class Busy:
        taken: int = 0

        async def poll(self, ctx: Context, inbox: Inbox[int]) -> Action:
            nonlocal most
            running.append(ctx.id)
            most = max(most, len(running))
            await asyncio.sleep(0)
            for _ in inbox:
                self.taken += 1
                break
            running.remove(ctx.id)
            return Done() if self.taken == 200 else Suspend()

    task = await Busy.enqueue()
    async with app.worker(), app.worker():
        await asyncio.gather(*(task.send(n) for n in range(200)))
        await task.result("30s")
    assert most == 1


# ── the end ──


async def test_an_actor_ends_by_any_outcome(app: App) -> None:
    @app.actor("moody", inbox=str, retry=Retry(2, delay="1ms"))
    @dataclass
    class Moody:
        polls: int = 0

        async def poll(self, ctx: Context, inbox: Inbox[str]) -> Any:
            self.polls += 1
            outcomes: dict[str, Any] = {
                "fail": Fail("no"),
                "cancel": Cancel("not wanted"),
                "done": Done([1]),
                "nothing": None,
                "word": "Suspend",
                "again": Again(),
                "join": Join(),
                "after": after("1s", self),
                "retry": Retry.after("1ms", "busy"),
            }
            for word in inbox:
                outcome = outcomes[word.removeprefix("raise ")]
                if word.startswith("raise "):
                    raise outcome
                return outcome
            return Suspend()

    async def of(word: str) -> tuple[str, Any, str | None]:
        async with app.transaction() as ours:
            task = await Moody.using(connection=ours).enqueue()
            await task.send(word, connection=ours)
        try:
            result = await task.result("20s")
        except (TaskFailed, TaskCancelled):
            result = None
        info = await task.info()
        assert info.payload["polls"] == 0
        return info.status, result, info.error or info.reason

    async with app.worker():
        for prefix in ("", "raise "):
            assert await of(prefix + "fail") == ("failed", None, "no")
            assert await of(prefix + "cancel") == ("cancelled", None, "not wanted")
            assert await of(prefix + "done") == ("succeeded", [1], None)
            assert await of(prefix + "retry") == ("failed", None, "busy")
            for function in ("again", "join"):
                _, _, error = await of(prefix + function)
                assert "moody: Again and Join are for functions" in str(error)
            _, _, error = await of(prefix + "after")
            assert "after, at and join is for the steps of a machine" in str(error)
        for word, shown in (("nothing", "None"), ("word", "'Suspend'")):
            _, _, error = await of(word)
            assert error == f"TypeError: moody.poll returned {shown}; it ends with Suspend, Sleep or Done"


async def test_a_snoozed_poll_spends_no_attempt_and_takes_no_message(app: App) -> None:
    seen: list[tuple[int, int]] = []

    @app.actor("patient", inbox=int)
    @dataclass
    class Patient:
        async def poll(self, ctx: Context, inbox: Inbox[int]) -> Action:
            seen.append((ctx.attempt, sum(inbox)))
            if len(seen) < 3:
                raise Snooze("1ms")
            return Done()

    task = await Patient.enqueue()
    await task.send(5)
    async with app.worker():
        await task.result("20s")
    assert seen == [(1, 5)] * 3


@pytest.mark.parametrize("outcome", [Snooze("1h"), Cancel("not wanted"), Fail("no"), Retry.after("1h")], ids=str)
async def test_a_poll_that_says_so_leaves_neither_state_nor_children_nor_messages(
    app: App, tally: Actor[Any], conn: psycopg.Connection, outcome: Exception
) -> None:
    conn.execute("create table effect (n int)")

    @app.actor("moody")
    @dataclass
    class Moody:
        polls: int = 0

        async def poll(self, ctx: Context, inbox: Inbox[Any]) -> Any:
            self.polls += 1
            ctx.send(other.id, 1)
            await ctx.spawn(tally)

            @ctx.on_commit
            async def _(conn: Any) -> None:
                await conn.execute("insert into effect values (1)")

            return outcome

    other = await tally.using(delay="1h").enqueue()
    task = await Moody.enqueue()
    async with app.worker():

        async def polled() -> bool:
            info = await task.info()
            return info.epoch == 1 and info.status != "running"

        await until(polled, "the poll")
    assert (await task.info()).payload == {"polls": 0}
    assert await app.tasks(parent=task.id) == []
    assert await app.inbox(other.id) == []
    assert conn.execute("select count(*) from effect").fetchone() == (0,)


async def test_messages_left_unread_at_the_end_are_said_in_the_history(app: App, conn: psycopg.Connection) -> None:
    @app.actor("brief", inbox=int)
    @dataclass
    class Brief:
        take: int

        async def poll(self, ctx: Context, inbox: Inbox[int]) -> Action:
            for _ in range(self.take):
                next(iter(inbox))
            return Done()

    tasks = [await Brief.enqueue(take) for take in (0, 2, 3)]
    for task in tasks:
        for n in range(3):
            await task.send(n)
    async with app.worker():
        for task in tasks:
            await task.result("20s")
    said = [[(event["type"], event["message"]) for event in await app.history(task.id)] for task in tasks]
    assert said == [[("unread", "3 messages were never read")], [("unread", "1 message was never read")], []]
    assert conn.execute("select count(*) from howdah.message").fetchone() == (0,)


async def test_a_cancelled_actor_says_what_it_never_read(app: App, tally: Actor[Any]) -> None:
    task = await tally.using(delay="1h").enqueue()
    await task.send(1)
    assert await task.cancel("enough") == "cancelled"
    assert sorted(await events(app, task)) == ["cancel", "unread"]


# ── where it runs ──


async def test_a_plain_poll_runs_in_a_thread(app: App) -> None:
    names: list[str] = []

    @app.actor("plain", inbox=int)
    @dataclass
    class Plain:
        total: int = 0

        def poll(self, ctx: Context, inbox: Inbox[int]) -> Action:
            names.append(threading.current_thread().name)
            self.total += sum(inbox)
            return Done(self.total) if self.total >= 3 else Suspend()

    task = await Plain.enqueue()
    async with app.worker():
        await stands(task, "suspended")
        await task.send(1)
        await task.send(2)
        assert await task.result("20s") == 3
    assert set(names) == {"howdah-handler"}


async def test_a_poll_has_a_time_limit_and_an_idempotency_key_of_its_own(app: App) -> None:
    keys: list[str] = []

    @app.actor("timed", inbox=int, timeout="30ms", retry=Retry(1, delay="1ms"))
    @dataclass
    class Timed:
        n: int = 0

        async def poll(self, ctx: Context, inbox: Inbox[int]) -> Action:
            keys.append(ctx.idempotency_key)
            self.n += sum(inbox)
            if self.n and ctx.attempt == 1:
                await asyncio.Event().wait()
            return Done(self.n) if self.n else Suspend()

    task = await Timed.enqueue()
    async with app.worker():
        await stands(task, "suspended")
        await task.send(4)
        assert await task.result("20s") == 4
    assert await events(app, task) == ["timeout"]
    assert (len(keys), len(set(keys)), keys[1] == keys[2]) == (3, 2, True)


async def test_on_commit_writes_with_the_poll(app: App, conn: psycopg.Connection) -> None:
    conn.execute("create table effect (total int)")

    @app.actor("books", inbox=int, retry=Retry(2, delay="1ms"))
    @dataclass
    class Books:
        total: int = 0

        async def poll(self, ctx: Context, inbox: Inbox[int]) -> Action:
            self.total += sum(inbox)
            total = self.total

            @ctx.on_commit
            async def _(conn: Any) -> None:
                await conn.execute("insert into effect values (%s)", [total])
                if total == 5 and ctx.attempt == 1:
                    await conn.execute("select 1/0")

            return Done() if self.total >= 7 else Suspend()

    task = await Books.enqueue()
    async with app.worker():
        for n in (5, 2):
            await stands(task, "suspended")
            await task.send(n)
        await task.result("20s")
    assert conn.execute("select total from effect").fetchall() == [(0,), (5,), (7,)]
    assert await events(app, task) == ["retry"]


# ── at the decorator ──


def bare(**names: Any) -> Any:
    return dataclass(type("Odd", (), names))


async def fine(self: Any, ctx: Context, inbox: Inbox[int]) -> Action: ...


async def one_too_few(self: Any, ctx: Context) -> Action: ...


async def one_too_many(self: Any, ctx: Context, inbox: Inbox[int], more: int) -> Action: ...


async def generating(self: Any, ctx: Context, inbox: Inbox[int]) -> Any:
    yield 1


def plain(self: Any, ctx: Context, inbox: Inbox[int]) -> Action: ...


@dataclass
class Named:
    type: str


BAD: list[tuple[Any, dict[str, Any], str]] = [
    (bare(), {}, "odd has no method poll. Write: async def poll(self, ctx, inbox) -> Action"),
    (type("Odd", (), {"poll": fine}), {}, "odd: Odd has no fields to store"),
    (bare(poll=one_too_few), {}, "odd.poll takes ctx. Write"),
    (bare(poll=one_too_many), {}, "odd.poll takes ctx, inbox, more. Write"),
    (bare(poll=generating), {}, "odd.poll is a generator"),
    (print, {}, "@app.actor() is for classes"),
    (bare(poll=plain), {"executor": "process"}, "odd: an actor runs on the loop or in a thread"),
    (bare(poll=plain), {"executor": "loop"}, "executor='loop' needs an async function"),
    (bare(poll=fine), {"executor": "thread"}, "executor='thread' needs a plain function"),
    (bare(poll=fine), {"inbox": "Add"}, "odd: inbox is 'Add', which is no type"),
    (bare(poll=fine), {"inbox": complex}, "complex"),
    (bare(poll=fine), {"inbox": Named | dict[str, int]}, "Named has a field type"),
    (bare(poll=fine, misfit=one_too_many), {}, "odd.misfit takes ctx, inbox, more"),
    (bare(poll=fine, misfit=plain), {}, "odd.misfit: executor='loop' needs an async function"),
    (bare(poll=fine), {"queue": 7}, "queue must be text"),
    (bare(poll=fine), {"timeout": "0s"}, "timeout must be longer than nothing"),
]


@pytest.mark.parametrize(("cls", "options", "said"), BAD)
async def test_classes_that_cannot_be_actors(app: App, cls: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidOption) as error:
        app.actor("odd", **options)(cls)
    assert said in str(error.value)
    assert app.registry.find("odd") is None


async def test_an_actor_whose_name_is_taken_or_whose_options_are_missing(app: App, tally: Actor[Any]) -> None:
    with pytest.raises(InvalidOption, match="two handlers are called 'tally'"):
        app.actor("tally")(bare(poll=fine))
    with pytest.raises(InvalidOption, match="takes options"):
        app.actor(bare(poll=fine))
    assert await app.tasks() == []


async def test_an_actor_takes_the_types_it_names(app: App) -> None:
    @app.actor("typed", inbox=int | EOF)
    @dataclass
    class Typed:
        seen: list[str] = field(default_factory=list[str])

        async def poll(self, ctx: Context, inbox: Inbox[int | EOF]) -> Action:
            return Suspend()

        async def misfit(self, ctx: Context, message: Misfit) -> None: ...

    await app.worker(until_idle=True).run()
    (kind,) = await app.kinds()
    assert (kind["inbox"], kind["steps"]) == ({"type": "integer"}, None)
    assert list(kind["signature"]["properties"]) == ["seen"]
