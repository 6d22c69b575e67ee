"""Messages: sent from anywhere, read in order, consumed exactly once, and kept when nobody can read them."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import msgspec
import psycopg
import pytest

from howdah import Action, Actor, App, Context, Done, Fail, Inbox, Misfit, Retry, Suspend, Task
from howdah.errors import InvalidPayload, TaskFailed, TaskNotFound, WrongStatus
from kinds.process_steps import send_from_a_process, serve
from kinds.standing import events, stands
from waiting import until


@pytest.fixture
def box(app: App) -> Actor[Any]:
    """Keeps what it is sent, with its sender, until it has so many."""

    @app.actor("box", inbox=Any)
    @dataclass
    class Box:
        most: int = 1
        seen: list[Any] = field(default_factory=list[Any])

        async def poll(self, ctx: Context, inbox: Inbox[Any]) -> Action:
            for message in inbox:
                self.seen.append([inbox.sender, message])
            return Done(self.seen) if len(self.seen) >= self.most else Suspend()

    return Box


async def in_the_box(app: App, task: Task[Any]) -> list[Any]:
    return [message["body"] for message in await app.inbox(task.id)]


# ── sending ──


async def test_messages_come_from_python_and_from_sql(app: App, box: Actor[Any], conn: psycopg.Connection) -> None:
    task = await box.enqueue(5)
    ids = [
        await app.send(task.id, 1),
        await task.send({"word": "two"}),
        app.send_sync(task.id, [3]),
        task.send_sync("four"),
        conn.execute("select howdah.send(%s, 'null')", [task.id]).fetchall()[0][0],
    ]
    assert ids == sorted(set(ids))
    assert await in_the_box(app, task) == [1, {"word": "two"}, [3], "four", None]
    assert (await task.info()).inbox_seq == 5
    async with app.worker():
        assert await task.result("20s") == [
            [None, 1],
            [None, {"word": "two"}],
            [None, [3]],
            [None, "four"],
            [None, None],
        ]
    assert conn.execute("select count(*) from howdah.message").fetchone() == (0,)
    assert (await task.info()).inbox_seq == 0


async def test_a_message_is_part_of_the_callers_transaction(app: App, box: Actor[Any], dsn: str) -> None:
    async with app.worker():
        task = await box.enqueue(2)
        await stands(task, "suspended")
        async with await psycopg.AsyncConnection.connect(dsn) as theirs:
            await task.send("never", connection=theirs)
            await theirs.rollback()
            await task.send("kept", connection=theirs)
            assert (await task.info()).status == "suspended"
            await theirs.commit()
        with psycopg.connect(dsn) as theirs:
            app.send_sync(task.id, "never", connection=theirs)
            theirs.rollback()
            app.send_sync(task.id, "kept too", connection=theirs)
        assert await task.result("20s") == [[None, "kept"], [None, "kept too"]]


async def test_tasks_send_by_id_by_handle_and_to_their_parent(app: App, box: Actor[Any]) -> None:
    @app.task()
    async def sender(to: int, ctx: Context) -> None:
        ctx.send(to, "by id")
        ctx.send(Task(app, to, "box"), "by handle")

    @app.task()
    def blocking(to: int, ctx: Context) -> None:
        ctx.send(to, "from a thread")

    machine = app.machine("machine")

    @machine.step
    @dataclass
    class Send:
        to: int

        async def run(self, ctx: Context) -> None:
            ctx.send(self.to, "from a step")

    task = await box.enqueue(4)
    senders = [await sender.enqueue(task.id), await blocking.enqueue(task.id), await machine.enqueue(Send(task.id))]
    async with app.worker():
        seen = await task.result("20s")
    by_sender = defaultdict[int, list[str]](list)
    for who, word in seen:
        by_sender[who].append(word)
    assert [by_sender[each.id] for each in senders] == [["by id", "by handle"], ["from a thread"], ["from a step"]]


async def test_a_reply_goes_to_the_parent_and_without_one_it_fails(app: App) -> None:
    @app.task(retry=0)
    async def child(n: int, ctx: Context) -> None:
        ctx.reply({"square": n * n})

    @app.actor("parent", inbox=dict[str, int])
    @dataclass
    class Parent:
        spawned: bool = False

        async def poll(self, ctx: Context, inbox: Inbox[dict[str, int]]) -> Action:
            if not self.spawned:
                await ctx.spawn(child, 7)
                self.spawned = True
            for message in inbox:
                return Done([message, inbox.sender is not None])
            return Suspend()

    parent, orphan = await Parent.enqueue(), await child.enqueue(7)
    async with app.worker():
        assert await parent.result("20s") == [{"square": 49}, True]
        with pytest.raises(TaskFailed, match=rf"task {orphan.id} \(child\) has no parent"):
            await orphan.result("20s")


async def test_a_handler_in_a_process_sends_too(app: App, box: Actor[Any]) -> None:
    serve(app)
    task = await box.enqueue(3)
    words = ["a", "b", "c"]
    sender = await app.enqueue("send_from_a_process", to=task.id, words=words)
    async with app.worker(processes=1):
        assert await task.result("30s") == [[sender.id, word] for word in words]
    assert send_from_a_process.kind.executor == "process"


@pytest.mark.parametrize("message", [b"x", "a\0b", float("nan"), object()], ids=["bytes", "nul", "nan", "object"])
async def test_what_json_cannot_hold_is_not_sent(app: App, box: Actor[Any], message: Any) -> None:
    @app.task(retry=0)
    async def sender(ctx: Context, to: int) -> None:
        ctx.send(to, message)

    task = await box.using(delay="1h").enqueue()
    for send in (task.send(message), app.send(task.id, message)):
        with pytest.raises(InvalidPayload):
            await send
    async with app.worker():
        with pytest.raises(TaskFailed, match="InvalidPayload"):
            await (await sender.enqueue(task.id)).result("20s")
    assert await in_the_box(app, task) == []


# ── to whom ──


async def test_who_is_not_there_has_ended_or_takes_no_messages_gets_none(
    app: App, box: Actor[Any], conn: psycopg.Connection
) -> None:
    @app.task()
    async def deaf() -> None: ...

    @app.actor("mute")
    @dataclass
    class Mute:
        async def poll(self, ctx: Context, inbox: Inbox[Any]) -> Action:
            return Suspend()

    ended, waiting, mute = await box.enqueue(0), await deaf.using(delay="1h").enqueue(), await Mute.enqueue()
    async with app.worker():
        await ended.result("20s")
        await stands(mute, "suspended")
    for task_id, said, error in (
        (7, "there is no task 7. Nobody would read the message", TaskNotFound),
        (ended.id, f"task {ended.id} has already ended: succeeded", TaskNotFound),
        (waiting.id, rf"task {waiting.id} \(deaf\) takes no messages. Only actors do", WrongStatus),
        (mute.id, rf"task {mute.id} \(mute\) takes no messages", WrongStatus),
    ):
        with pytest.raises(error, match=said):
            await app.send(task_id, 1)
        with pytest.raises(error):
            app.send_sync(task_id, 1)
    with pytest.raises(InvalidPayload, match="mute takes no messages"):
        await mute.send(1)
    assert conn.execute("select count(*) from howdah.message").fetchone() == (0,)


async def test_a_parked_actor_keeps_what_it_is_sent_until_it_is_resumed(app: App) -> None:
    broken = True

    @app.actor("fragile", inbox=int, retry=0)
    @dataclass
    class Fragile:
        async def poll(self, ctx: Context, inbox: Inbox[int]) -> Action:
            if broken:
                raise OSError("broken")
            return Done(list(inbox))

    task = await Fragile.enqueue()
    await task.send(1)
    async with app.worker():
        await stands(task, "failed")
        await task.send(2)
        assert (await task.info()).status == "failed"
        broken = False
        await task.retry()
        assert await task.result("20s") == [1, 2]


@pytest.mark.parametrize("to", ["gone", "ended", "deaf"])
async def test_a_poll_that_sends_to_nobody_fails_and_nothing_of_it_commits(app: App, box: Actor[Any], to: str) -> None:
    """Its neighbours in the batch are not touched, it is retried by its policy, then parked."""

    @app.task()
    async def neighbour(n: int) -> int:
        return n

    @app.actor("rogue", inbox=int, retry=Retry(2, delay="1ms"))
    @dataclass
    class Rogue:
        good: int
        bad: int
        polls: int = 0

        async def poll(self, ctx: Context, inbox: Inbox[int]) -> Action:
            self.polls += sum(inbox)
            ctx.send(self.good, "from a poll that fails")
            await ctx.spawn(neighbour, -1)
            ctx.send(self.bad, "to nobody")
            return Suspend()

    good, ended = await box.using(delay="1h").enqueue(), await box.enqueue(0)
    deaf = await neighbour.using(delay="1h").enqueue(0)
    async with app.worker():
        await ended.result("20s")
    bad = {"gone": 7, "ended": ended.id, "deaf": deaf.id}[to]
    rogue = await Rogue.enqueue(good.id, bad)
    await rogue.send(1)
    others = await neighbour.enqueue_many([(n,) for n in range(50)])
    async with app.worker():
        assert [await other.result("20s") for other in others] == list(range(50))
        said = f"WrongStatus: task {bad} (neighbour) takes no messages" if to == "deaf" else (
            f"TaskNotFound: there is no task {bad} to send to"
        )  # fmt: skip
        with pytest.raises(TaskFailed) as error:
            await rogue.result("20s")
        assert said in str(error.value)
    info = await rogue.info()
    assert (info.attempt, info.payload["polls"], info.children) == (3, 0, 0)
    assert await in_the_box(app, rogue) == [1]
    assert await in_the_box(app, good) == []
    assert await events(app, rogue) == ["retry", "retry", "failure"]
    assert await app.tasks(parent=rogue.id) == []
    assert {tuple(await events(app, other)) for other in others} == {()}


async def test_a_task_that_sends_to_nobody_fails_too(app: App, conn: psycopg.Connection) -> None:
    conn.execute("create table effect (n int)")

    @app.task(retry=0)
    async def plain(ctx: Context) -> None:
        ctx.send(7, "to nobody")

    @app.task(retry=0)
    async def promising(ctx: Context) -> None:
        @ctx.on_commit
        async def _(conn: Any) -> None:
            await conn.execute("insert into effect values (1)")

        ctx.send(7, "to nobody")

    @app.task(retry=0, transactional=True)
    async def transactional(ctx: Context) -> None:
        await ctx.connection.execute("insert into effect values (1)")
        ctx.send(7, "to nobody")

    async with app.worker():
        for kind in ("plain", "promising", "transactional"):
            with pytest.raises(TaskFailed, match="TaskNotFound: there is no task 7 to send to"):
                await (await app.enqueue(kind)).result("20s")
    assert conn.execute("select count(*) from effect").fetchone() == (0,)


@pytest.mark.parametrize("to", [None, "7", 7.0, True, 2**63])
async def test_an_address_that_is_no_id(app: App, to: Any) -> None:
    @app.task(retry=0)
    async def sender(ctx: Context) -> None:
        ctx.send(to, 1)

    async with app.worker():
        with pytest.raises(TaskFailed, match=r"ctx\.send takes the id of a task, a whole number of 64 bits, not"):
            await (await app.enqueue("sender")).result("20s")


# ── reading ──


async def test_what_is_not_taken_stays_and_is_there_at_once(app: App) -> None:
    polls: list[list[Any]] = []

    @app.actor("slow", inbox=int)
    @dataclass
    class Slow:
        async def poll(self, ctx: Context, inbox: Inbox[int]) -> Action:
            before = len(inbox)
            taken: list[int] = []
            for n in inbox:
                taken.append(n)
                if len(taken) == 2:
                    break
            polls.append([before, taken, len(inbox)])
            return Done() if before <= 2 else Suspend(until="1h")

    task = await Slow.enqueue()
    for n in range(5):
        await task.send(n)
    async with app.worker():
        await task.result("20s")
    assert polls == [[5, [0, 1], 3], [3, [2, 3], 1], [1, [4], 0]]


async def test_an_inbox_is_iterated_once(app: App) -> None:
    @app.actor("reader", inbox=int)
    @dataclass
    class Reader:
        async def poll(self, ctx: Context, inbox: Inbox[int]) -> Action:
            nobody = inbox.sender
            return Done([nobody, list(inbox), list(inbox), len(inbox), repr(inbox), bool(len(inbox))])

    task = await Reader.enqueue()
    await task.send(1)
    await task.send(2)
    async with app.worker():
        assert await task.result("20s") == [None, [1, 2], [], 0, "<inbox of 0>", False]


async def test_messages_of_one_sender_come_in_order_each_once(app: App, box: Actor[Any]) -> None:
    @app.task()
    async def sender(ctx: Context, to: int) -> None:
        for n in range(100):
            ctx.send(to, n)

    async def outside(name: str) -> None:
        for n in range(30):
            await task.send([name, n])

    task = await box.enqueue(560)
    async with app.worker(), app.worker():
        senders = await sender.enqueue_many([(task.id,)] * 5)
        await asyncio.gather(outside("one"), outside("two"))
        seen = await task.result("30s")
    for each in senders:
        assert [message for who, message in seen if who == each.id] == list(range(100))
    for name in ("one", "two"):
        assert [message[1] for who, message in seen if who is None and message[0] == name] == list(range(30))


async def test_more_messages_than_one_page(app: App, conn: psycopg.Connection) -> None:
    polls: list[int] = []

    @app.actor("sum", inbox=int)
    @dataclass
    class Sum:
        total: int = 0
        count: int = 0

        async def poll(self, ctx: Context, inbox: Inbox[int]) -> Action:
            polls.append(len(inbox))
            for n in inbox:
                self.total += n
                self.count += 1
            return Done([self.count, self.total]) if self.count == 1700 else Suspend()

    task = await Sum.enqueue()
    conn.execute("select howdah.send(%s, to_jsonb(n)) from generate_series(1, 1700) n", [task.id])
    async with app.worker():
        assert await task.result("30s") == [1700, 1700 * 1701 // 2]
    assert len(polls) > 1
    assert sum(polls) == 1700


async def test_a_failing_poll_reads_the_same_messages_again(app: App) -> None:
    seen: list[tuple[int, list[int]]] = []

    @app.actor("shaky", inbox=int, retry=Retry(2, delay="1ms"))
    @dataclass
    class Shaky:
        async def poll(self, ctx: Context, inbox: Inbox[int]) -> Action:
            seen.append((ctx.attempt, list(inbox)))
            if ctx.attempt < 3:
                await task.send(ctx.attempt * 10)
                raise OSError("shaken")
            return Done()

    task = await Shaky.enqueue()
    await task.send(1)
    async with app.worker():
        await task.result("20s")
    assert seen == [(1, [1]), (2, [1, 10]), (3, [1, 10, 20])]


async def test_a_stale_poll_takes_no_message(app: App, conn: psycopg.Connection) -> None:
    """Its task was taken away while it ran, as rescue would: what it read, sent and spawned is undone with it."""
    release = asyncio.Event()
    seen: list[tuple[int, list[int]]] = []
    outcomes: list[str] = []
    app.listen(lambda event: outcomes.append(getattr(event, "outcome", "")))

    @app.actor("slow", inbox=int)
    @dataclass
    class Slow:
        total: int = 0

        async def poll(self, ctx: Context, inbox: Inbox[int]) -> Action:
            seen.append((ctx.epoch, list(inbox)))
            self.total += sum(seen[-1][1])
            if self.total > 1000:
                return Done(self.total)
            ctx.send(ctx.id, 1000 * ctx.attempt)
            if ctx.attempt == 1:
                await release.wait()
            return Suspend()

    task = await Slow.enqueue()
    await task.send(7)
    async with app.worker(lease="10m"):
        await until(lambda: seen, "the first poll")
        conn.execute("select howdah.lose(id, epoch, 'crash', 'taken away', true) from howdah.task")
        assert await task.result("20s") == 2007
        release.set()
        await until(lambda: "stale" in outcomes, "the first poll to find that it is stale")
    assert [messages for _, messages in seen] == [[7], [7], [2000]]


async def test_two_actors_talk(app: App) -> None:
    @app.actor("player", inbox=int)
    @dataclass
    class Player:
        other: int = 0
        returned: int = 0

        async def poll(self, ctx: Context, inbox: Inbox[int]) -> Action:
            for left in inbox:
                if not self.other:
                    self.other = left
                    continue
                self.returned += 1
                if left:
                    ctx.send(self.other, left - 1)
                if left <= 1:
                    return Done(self.returned)
            return Suspend()

    one, two = await Player.enqueue(), await Player.enqueue()
    await one.send(two.id)
    await two.send(one.id)
    await one.send(101)
    async with app.worker():
        assert [await player.result("30s") for player in (one, two)] == [51, 51]


# ── typed ──


@dataclass
class Add:
    n: int


@dataclass
class Remove:
    n: int
    why: str = "no reason"


class Stop(msgspec.Struct, tag="stop", tag_field="type"):
    code: int


@pytest.fixture
def stock(app: App) -> Actor[Any]:
    @app.actor("stock", inbox=Add | Remove, retry=5)
    @dataclass
    class Stock:
        n: int = 0
        words: list[str] = field(default_factory=list[str])

        async def poll(self, ctx: Context, inbox: Inbox[Add | Remove]) -> Action:
            for message in inbox:
                if isinstance(message, Add):
                    self.n += message.n
                    continue
                self.n -= message.n
                self.words.append(message.why)
                return Done([self.n, *self.words])
            return Suspend()

    return Stock


async def test_messages_come_as_the_classes_they_were_sent_as(
    app: App, stock: Actor[Any], conn: psycopg.Connection
) -> None:
    @app.task()
    async def sender(ctx: Context, to: int) -> None:
        ctx.send(to, Add(3))

    task = await stock.enqueue(10)
    await task.send(Add(5))
    await app.send(task.id, {"type": "Add", "n": 1})
    await task.send({"type": "Add", "n": 1})
    conn.execute("""select howdah.send(%s, '{"type": "Add", "n": 2}')""", [task.id])
    assert await in_the_box(app, task) == [{"type": "Add", "n": n} for n in (5, 1, 1, 2)]
    async with app.worker():
        await (await sender.enqueue(task.id)).result("20s")
        await task.send(Remove(1))
        assert await task.result("20s") == [21, "no reason"]


async def test_one_class_needs_no_type_and_a_struct_has_its_own_tag(app: App) -> None:
    @app.actor("one", inbox=Add)
    @dataclass
    class One:
        async def poll(self, ctx: Context, inbox: Inbox[Add]) -> Action:
            return Done([message.n for message in inbox]) if len(inbox) == 2 else Suspend()

    @app.actor("tagged", inbox=Add | Stop | int)
    @dataclass
    class Tagged:
        async def poll(self, ctx: Context, inbox: Inbox[Add | Stop | int]) -> Action:
            return Done([type(message).__name__ for message in inbox]) if len(inbox) == 3 else Suspend()

    one, tagged = await One.enqueue(), await Tagged.enqueue()
    await one.send(Add(1))
    await app.send(one.id, {"n": 2})
    for message in (Stop(3), {"type": "Add", "n": 1}, 7):
        await tagged.send(message)
    async with app.worker():
        assert await one.result("20s") == [1, 2]
        assert await tagged.result("20s") == ["Stop", "Add", "int"]


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (Add("x"), "n: expected int, got str"),  # pyright: ignore[reportArgumentType]
        ({"type": "Add"}, "missing field n"),
        ({"n": 1}, "missing field type, which says what it is"),
        ({"type": "Ad", "n": 1}, "no message Ad; it takes Add | Remove. Did you mean Add?"),
        (Stop(1), "no message Stop; it takes Add | Remove"),
        (7, "message: expected Add | Remove, got int"),
        (None, "message: expected Add | Remove, got null"),
    ],
)
async def test_a_handle_checks_what_it_sends(app: App, stock: Actor[Any], message: Any, said: str) -> None:
    task = await stock.enqueue()
    for send in (task.send(message), app.send(task.id, message, kind="stock")):
        with pytest.raises(InvalidPayload, match="stock: ") as error:
            await send
        assert said in str(error.value)
    with pytest.raises(InvalidPayload):
        task.send_sync(message)
    assert await in_the_box(app, task) == []


# ── misfits ──


async def test_a_message_that_does_not_fit_parks_the_actor_and_is_named(
    app: App, stock: Actor[Any], conn: psycopg.Connection
) -> None:
    @app.task()
    async def sender(ctx: Context, to: int) -> None:
        ctx.send(to, {"type": "Add", "n": "three"})

    task = await stock.enqueue()
    await task.send(Add(1))
    sent_by = await sender.enqueue(task.id)
    async with app.worker():
        info = await stands(task, "failed")
    bad = (await app.inbox(task.id))[-1]["id"]
    assert info.attempt == 1
    for part in (
        f"message {bad} from task {sent_by.id} does not fit",
        "n: expected int, got str",
        '"three"',
        f"UPDATE howdah.message SET body = … WHERE id = {bad}",
    ):
        assert part in str(info.error)
    conn.execute("""update howdah.message set body = '{"type": "Remove", "n": 3}' where id = %s""", [bad])
    async with app.worker():
        await task.retry()
        assert await task.result("20s") == [-2, "no reason"]


async def test_a_misfit_from_outside_may_be_deleted(app: App, stock: Actor[Any], conn: psycopg.Connection) -> None:
    task = await stock.enqueue()
    bad = await app.send(task.id, "nonsense")
    await task.send(Remove(1, "fine"))
    async with app.worker():
        info = await stands(task, "failed")
        assert f"message {bad} from outside does not fit: " in str(info.error)
        assert "delete it, then retry" in str(info.error)
        conn.execute("delete from howdah.message where id = %s", [bad])
        await task.retry()
        assert await task.result("20s") == [-1, "fine"]


async def test_an_actor_may_take_misfits_itself(app: App) -> None:
    seen: list[Misfit] = []

    @app.actor("tolerant", inbox=int, retry=Retry(1, delay="1ms"))
    @dataclass
    class Tolerant:
        total: int = 0
        odd: int = 0

        async def poll(self, ctx: Context, inbox: Inbox[int]) -> Action:
            self.total += sum(inbox)
            if self.total and ctx.attempt == 1:
                raise OSError("once")
            return Done([self.total, self.odd]) if self.total else Suspend()

        async def misfit(self, ctx: Context, message: Misfit) -> None:
            seen.append(message)
            self.odd += 1

    task = await Tolerant.enqueue()
    bad = await app.send(task.id, {"not": "a number"})
    async with app.worker():
        await until(lambda: seen, "the misfit")
        await stands(task, "suspended")
        assert await in_the_box(app, task) == []
        await app.send(task.id, "three")
        await task.send(3)
        assert await task.result("20s") == [3, 2]
    assert (seen[0].id, seen[0].sender, seen[0].body) == (bad, None, '{"not": "a number"}')
    assert seen[0].error == "tolerant: message: expected int, got object"
    assert [misfit.body for misfit in seen[1:]] in (['"three"'], ['"three"', '"three"'])


async def test_the_method_for_misfits_may_end_the_poll(app: App) -> None:
    @app.actor("strict", inbox=int, retry=5)
    @dataclass
    class Strict:
        async def poll(self, ctx: Context, inbox: Inbox[int]) -> Action:
            return Suspend()

        async def misfit(self, ctx: Context, message: Misfit) -> None:
            raise Fail(f"who sends {message.body}?")

    @app.actor("blocking", inbox=int, retry=5)
    @dataclass
    class Blocking:
        def poll(self, ctx: Context, inbox: Inbox[int]) -> Action:
            return Suspend()

        def misfit(self, ctx: Context, message: Misfit) -> None:
            raise Done(message.body)

    strict, blocking = await Strict.enqueue(), await Blocking.enqueue()
    for task in (strict, blocking):
        await app.send(task.id, "x")
    async with app.worker():
        with pytest.raises(TaskFailed, match='who sends "x"'):
            await strict.result("20s")
        assert await blocking.result("20s") == '"x"'
    assert (await strict.info()).attempt == 1
    assert await in_the_box(app, strict) == ["x"]


# ── several effects ──


async def test_all_effects_of_a_poll_commit_together(app: App, box: Actor[Any], conn: psycopg.Connection) -> None:
    conn.execute("create table effect (n int)")

    @app.task()
    async def child(n: int, ctx: Context) -> int:
        ctx.reply(n)
        return n

    @app.actor("busy", inbox=int, retry=Retry(1, delay="1ms"))
    @dataclass
    class Busy:
        boxes: list[int]
        total: int = 0

        async def poll(self, ctx: Context, inbox: Inbox[int]) -> Action:
            for n in inbox:
                self.total += n
            if self.total:
                return Done(self.total) if self.total == 3 else Suspend()
            for box in self.boxes:
                ctx.send(box, "one")
                ctx.send(box, "two")
            await ctx.spawn(child, 1)
            await ctx.spawn(child, 2)

            @ctx.on_commit
            async def _(conn: Any) -> None:
                await conn.execute("insert into effect values (%s)", [ctx.attempt])

            if ctx.attempt == 1:
                raise OSError("after all of that")
            return Suspend()

    boxes = [await box.enqueue(2) for _ in range(3)]
    task = await Busy.enqueue([each.id for each in boxes])
    async with app.worker():
        assert await task.result("20s") == 3
        for each in boxes:
            assert await each.result("20s") == [[task.id, "one"], [task.id, "two"]]
    assert conn.execute("select n from effect").fetchall() == [(2,)]
    assert len(await app.tasks(parent=task.id)) == 2
