"""Children of actors: spawned with a poll or not at all, their ends told, and cancelled with their parent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest

from howdah import EOF, Action, Actor, App, Cancel, Context, Done, Fail, Inbox, Retry, Suspend, Task
from howdah.errors import TaskCancelled, TaskFailed
from kinds.standing import events, stands
from waiting import until

Spawn = Callable[[Context], Any]


@dataclass
class Nursery:
    """An actor that spawns what it is told to, then keeps the ends it hears of; the word "stop" ends it."""

    actor: Actor[Any]
    spawns: list[Spawn] = field(default_factory=list[Spawn])
    ids: list[int] = field(default_factory=list[int])
    ends: list[EOF] = field(default_factory=list[EOF])


@pytest.fixture
def nursery(app: App) -> Nursery:
    @app.actor("nursery", inbox=str | EOF, retry=Retry(1, delay="1ms"))
    @dataclass
    class Parent:
        spawned: bool = False
        waits_for: int = 1
        ended: int = 0

        async def poll(self, ctx: Context, inbox: Inbox[str | EOF]) -> Action:
            if not self.spawned:
                made.ids[:] = [await spawn(ctx) for spawn in made.spawns]
                self.spawned = True
            for message in inbox:
                if isinstance(message, str):
                    return Done(message)
                made.ends.append(message)
                self.ended += message.status != "failed"
            return Done("all have ended") if self.ended >= self.waits_for else Suspend()

    made = Nursery(Parent)
    return made


@pytest.fixture
def square(app: App) -> Any:
    @app.task(retry=0)
    async def square(n: int) -> int:
        return n * n

    return square


# ── spawn ──


async def test_functions_machines_and_actors_are_spawned_as_what_they_are_or_by_name(
    app: App, nursery: Nursery, square: Any
) -> None:
    machine = app.machine("machine")

    @machine.step
    @dataclass
    class Begin:
        n: int

        async def run(self) -> End:
            return End(self.n + 1)

    @machine.step(queue="ends")
    @dataclass
    class End:
        n: int

        async def run(self) -> Done:
            return Done(self.n)

    @app.actor("adder", inbox=int)
    @dataclass
    class Adder:
        total: int = 0

        async def poll(self, ctx: Context, inbox: Inbox[int]) -> Action:
            for n in inbox:
                return Done([self.total + n, inbox.sender])
            return Suspend()

    nursery.spawns += [
        lambda ctx: ctx.spawn(square, 3),
        lambda ctx: ctx.spawn(square, n=4),
        lambda ctx: ctx.spawn("square", 5),
        lambda ctx: ctx.spawn(square.using(queue="other", priority=4, key="six"), 6),
        lambda ctx: ctx.spawn(machine, Begin(10)),
        lambda ctx: ctx.spawn("machine", End(20)),
        lambda ctx: ctx.spawn(machine.using(queue="late"), Begin(30)),
        lambda ctx: ctx.spawn(Adder, 5),
        lambda ctx: ctx.spawn(Adder, 5, total=100),
        lambda ctx: ctx.spawn("adder", 6, total=1),
        lambda ctx: ctx.spawn(Adder.using(key="adder"), 7),
    ]
    parent = await nursery.actor.enqueue(waits_for=len(nursery.spawns))
    async with app.worker():
        await parent.result("20s")
    results = {end.task_id: end.result for end in nursery.ends}
    assert nursery.ids == sorted(set(nursery.ids))
    assert [results[task_id] for task_id in nursery.ids] == [
        9, 16, 25, 36, 11, 20, 31, [5, parent.id], [105, parent.id], [7, parent.id], [7, parent.id],
    ]  # fmt: skip
    assert {end.status for end in nursery.ends} == {"succeeded"}
    assert all(end.succeeded and end.error is None for end in nursery.ends)
    infos = {info.id: info for info in await app.tasks(parent=parent.id)}
    assert [infos[task_id].kind for task_id in nursery.ids[:5]] == ["square"] * 4 + ["machine"]
    fourth = infos[nursery.ids[3]]
    assert (fourth.queue, fourth.priority, fourth.key, fourth.parent) == ("other", 4, "six", parent.id)


async def test_a_child_spawned_for_later_waits(app: App, nursery: Nursery, square: Any) -> None:
    nursery.spawns.append(lambda ctx: ctx.spawn(square.using(delay="1h"), 3))
    parent = await nursery.actor.enqueue()
    async with app.worker():
        info = await stands(parent, "suspended")
        assert info.children == 1
        (child,) = await app.tasks(parent=parent.id)
        assert (child.id, child.status, child.attempt) == (nursery.ids[0], "queued", 0)
        await app.retry(child.id)
        await parent.result("20s")
    assert (await parent.info()).children == 0


async def test_an_actor_may_be_spawned_without_a_message(app: App, nursery: Nursery) -> None:
    @app.actor("mute")
    @dataclass
    class Mute:
        n: int

        async def poll(self, ctx: Context, inbox: Inbox[Any]) -> Action:
            return Done([self.n, ctx.parent])

    nursery.spawns.append(lambda ctx: ctx.spawn(Mute, n=5))
    parent = await nursery.actor.enqueue()
    async with app.worker():
        await parent.result("20s")
    assert nursery.ends[0].result == [5, parent.id]


async def test_the_id_is_known_at_once_and_can_be_sent_to_and_away_in_the_same_poll(app: App) -> None:
    @app.actor("echo", inbox=list[int])
    @dataclass
    class Echo:
        async def poll(self, ctx: Context, inbox: Inbox[list[int]]) -> Action:
            if len(inbox) < 2:
                return Suspend()
            first, second = inbox
            ctx.send(second[0], [ctx.id])
            return Done(first)

    @app.actor("parent", inbox=list[int])
    @dataclass
    class Parent:
        child: int = 0
        box: int = 0

        async def poll(self, ctx: Context, inbox: Inbox[list[int]]) -> Action:
            if not self.child:
                self.child = await ctx.spawn(Echo, [1])
                ctx.send(self.child, [ctx.id])
                return Suspend()
            for message in inbox:
                return Done([message, self.child])
            return Suspend()

    parent = await Parent.enqueue()
    async with app.worker():
        message, child = await parent.result("20s")
        assert message == [child]
        assert await app.result(child, timeout="20s") == [1]


WRONG: dict[str, tuple[Spawn, str]] = {
    "unknown kind": (lambda ctx: ctx.spawn("squares", 3), "UnknownKind: no handler for kind 'squares'; known kinds: "),
    "no kind": (lambda ctx: ctx.spawn(7), "ctx.spawn takes a task, an actor, a machine or the name of one, not 7"),
    "bad argument": (lambda ctx: ctx.spawn("square", "three"), "InvalidPayload: square: n: expected int, got str"),
    "missing argument": (lambda ctx: ctx.spawn("square"), "InvalidPayload: square: missing argument n"),
    "no step": (lambda ctx: ctx.spawn("machine", n=3), "InvalidPayload: machine: a machine begins with one step"),
    "bad message": (lambda ctx: ctx.spawn("nursery", 7), "nursery: message: expected str, got int"),
    "two messages": (
        lambda ctx: ctx.spawn("nursery", "a", "b"),
        "nursery is spawned with one first message, and 2 were",
    ),
    "bad state": (lambda ctx: ctx.spawn("nursery", "a", spawnt=True), "nursery: unexpected"),
}


@pytest.mark.parametrize(("spawn", "said"), WRONG.values(), ids=WRONG)
async def test_a_child_that_cannot_be_fails_the_poll_and_leaves_no_other(
    app: App, nursery: Nursery, square: Any, spawn: Spawn, said: str
) -> None:
    machine = app.machine("machine")

    @machine.step
    @dataclass
    class Begin:
        async def run(self) -> None: ...

    nursery.spawns += [lambda ctx: ctx.spawn(square, 3), spawn]
    parent = await nursery.actor.enqueue()
    async with app.worker():
        with pytest.raises(TaskFailed) as error:
            await parent.result("20s")
    assert said in str(error.value)
    info = await parent.info()
    assert (info.attempt, info.children, info.payload["spawned"]) == (2, 0, False)
    assert await app.tasks(parent=parent.id) == []


@pytest.mark.parametrize(
    "options",
    [{"connection": object()}, {"on_conflict": "skip"}, {"on_conflict": "replace"}],
    ids=["connection", "skip", "replace"],
)
async def test_options_that_children_do_not_have(
    app: App, nursery: Nursery, square: Any, conn: psycopg.Connection, options: dict[str, Any]
) -> None:
    chosen = options | {"connection": conn} if "connection" in options else options | {"key": "k"}
    nursery.spawns.append(lambda ctx: ctx.spawn(square.using(**chosen), 3))
    parent = await nursery.actor.enqueue()
    async with app.worker():
        with pytest.raises(TaskFailed, match="a child is written in the transaction of its parent"):
            await parent.result("20s")


async def test_a_key_that_is_held_fails_the_poll(app: App, nursery: Nursery, square: Any) -> None:
    held = await square.using(key="k", delay="1h").enqueue(1)
    nursery.spawns += [lambda ctx: ctx.spawn(square, 2), lambda ctx: ctx.spawn(square.using(key="k"), 3)]
    parent = await nursery.actor.enqueue()
    async with app.worker():
        with pytest.raises(TaskFailed, match="KeyConflict: key 'k', of a task that was to be spawned, is held"):
            await parent.result("20s")
        assert await app.tasks(parent=parent.id) == []
        await held.cancel()
        await parent.retry()
        await until(lambda: nursery.ends, "the children to end")


async def test_a_poll_that_fails_leaves_no_children_no_messages_and_no_state(
    app: App, square: Any, conn: psycopg.Connection
) -> None:
    @app.actor("rash", inbox=int, retry=Retry(1, delay="1ms"))
    @dataclass
    class Rash:
        polls: int = 0

        async def poll(self, ctx: Context, inbox: Inbox[int]) -> Action:
            self.polls += 1
            child = await ctx.spawn(square, 3)
            ctx.send(ctx.id, child)
            raise OSError("rash")

    rash = await Rash.enqueue()
    async with app.worker():
        with pytest.raises(TaskFailed, match="OSError: rash"):
            await rash.result("20s")
    assert (await rash.info()).payload == {"polls": 0}
    assert len(await app.tasks()) == 1
    assert conn.execute("select count(*) from howdah.message").fetchone() == (0,)


async def test_a_plain_poll_spawns_from_its_thread(app: App, square: Any) -> None:
    ends: list[Any] = []

    @app.actor("plain", inbox=EOF)
    @dataclass
    class Plain:
        child: int = 0

        def poll(self, ctx: Context, inbox: Inbox[EOF]) -> Action:
            if not self.child:
                self.child = ctx.spawn_sync(square, 3)
            ends.extend(inbox)
            return Done(self.child) if ends else Suspend()

    parent = await Plain.enqueue()
    async with app.worker():
        child = await parent.result("20s")
    assert ends == [EOF(child, "succeeded", 9)]


async def test_spawn_sync_on_the_loop_says_what_to_write(app: App, nursery: Nursery, square: Any) -> None:
    async def blocking(ctx: Context) -> int:
        return ctx.spawn_sync(square, 3)

    nursery.spawns.append(blocking)
    parent = await nursery.actor.enqueue()
    async with app.worker():
        with pytest.raises(TaskFailed, match=r"would block the running event loop. Write: await ctx\.spawn"):
            await parent.result("20s")


# ── ends ──


async def test_an_eof_tells_how_a_child_ended(app: App, nursery: Nursery) -> None:
    @app.task(retry=0)
    async def child(how: str) -> Any:
        if how == "fail":
            raise Fail("no such file")
        return Cancel("not wanted") if how == "cancel" else {"how": how}

    for how in ("well", "fail", "cancel"):
        nursery.spawns.append(lambda ctx, how=how: ctx.spawn(child, how))
    parent = await nursery.actor.enqueue(waits_for=2)
    async with app.worker():
        await until(lambda: len(nursery.ends) == 3, "all three ends")
        await parent.result("20s")
    well, fail, cancel = nursery.ids
    assert sorted(nursery.ends, key=lambda end: end.task_id) == [
        EOF(well, "succeeded", {"how": "well"}, None),
        EOF(fail, "failed", None, "no such file"),
        EOF(cancel, "cancelled", None, "not wanted"),
    ]
    assert [end.succeeded for end in sorted(nursery.ends, key=lambda end: end.task_id)] == [True, False, False]


async def test_a_parked_child_is_told_once_and_again_when_it_ends(app: App, nursery: Nursery) -> None:
    broken = True

    @app.task(retry=Retry(1, delay="1ms"))
    async def child() -> str:
        if broken:
            raise OSError("broken")
        return "mended"

    nursery.spawns.append(lambda ctx: ctx.spawn(child))
    parent = await nursery.actor.enqueue()
    async with app.worker():
        await until(lambda: nursery.ends, "the child to be parked")
        info = await stands(parent, "suspended")
        assert info.children == 0
        # Parked again, it says nothing new.
        (child_id,) = nursery.ids
        await app.retry(child_id)

        async def parked_again() -> bool:
            return (await events(app, Task(app, child_id, "child"))).count("failure") == 2

        await until(parked_again, "the child to be parked again")
        broken = False
        await app.retry(child_id)
        await parent.result("20s")
    assert nursery.ends == [
        EOF(child_id, "failed", None, "OSError: broken"),
        EOF(child_id, "succeeded", "mended", None),
    ]


async def test_a_parked_child_that_is_cancelled_is_told_as_cancelled(app: App, nursery: Nursery) -> None:
    @app.task(retry=0)
    async def child() -> str:
        raise OSError("broken")

    nursery.spawns.append(lambda ctx: ctx.spawn(child))
    parent = await nursery.actor.enqueue()
    async with app.worker():
        await until(lambda: nursery.ends, "the child to be parked")
        await app.cancel(nursery.ids[0], "never mind")
        await parent.result("20s")
    assert [(end.status, end.error) for end in nursery.ends] == [
        ("failed", "OSError: broken"),
        ("cancelled", "never mind"),
    ]


async def test_a_child_that_dies_with_its_worker_once_too_often_is_told_as_failed(
    app: App, nursery: Nursery, conn: psycopg.Connection
) -> None:
    release = asyncio.Event()

    @app.task(max_lost=0)
    async def child() -> None:
        await release.wait()

    nursery.spawns.append(lambda ctx: ctx.spawn(child))
    parent = await nursery.actor.enqueue()
    async with app.worker(lease="10m"):
        await stands(parent, "suspended")
        await stands(Task(app, nursery.ids[0], "child"), "running")
        conn.execute(
            "select howdah.lose(id, epoch, 'crash', 'its worker died', true) from howdah.task where kind = 'child'"
        )
        await until(lambda: nursery.ends, "the end to be told")
        release.set()
    assert nursery.ends == [EOF(nursery.ids[0], "failed", None, "its worker died")]


async def test_ends_that_are_not_asked_for_are_consumed_silently(app: App, square: Any) -> None:
    polls: list[int] = []

    @app.actor("careless", inbox=int)
    @dataclass
    class Careless:
        async def poll(self, ctx: Context, inbox: Inbox[int]) -> Action:
            polls.append(len(inbox))
            if len(polls) == 1:
                await ctx.spawn(square, 2)
            return Done(list(inbox)) if len(inbox) else Suspend()

    parent = await Careless.enqueue()
    async with app.worker():

        async def the_end_is_consumed() -> bool:
            info = await parent.info()
            return len(polls) == 2 and info.status == "suspended" and not await app.inbox(parent.id)

        await until(the_end_is_consumed, "the end of the child")
        await parent.send(5)
        assert await parent.result("20s") == [5]
    assert polls == [0, 0, 1]


async def test_children_of_which_nothing_is_kept_still_tell_their_parents(app: App, nursery: Nursery) -> None:
    @app.task(keep=None, retry=0)
    async def secret(how: str) -> str:
        if how == "cancel":
            raise Cancel("not wanted")
        return how

    @app.actor("secretive", inbox=str, keep=None)
    @dataclass
    class Secretive:
        async def poll(self, ctx: Context, inbox: Inbox[str]) -> Action:
            return Done(list(inbox))

    nursery.spawns += [
        lambda ctx: ctx.spawn(secret, "well"),
        lambda ctx: ctx.spawn(secret, "cancel"),
        lambda ctx: ctx.spawn(Secretive, "psst"),
        lambda ctx: ctx.spawn(secret.using(delay="1h"), "later"),
    ]
    parent = await nursery.actor.enqueue(waits_for=4)
    async with app.worker():
        await until(lambda: len(nursery.ends) == 3, "three ends")
        await app.cancel(nursery.ids[3], "enough")
        await parent.result("20s")
    ends = {end.task_id: (end.status, end.result, end.error) for end in nursery.ends}
    assert [ends[task_id] for task_id in nursery.ids] == [
        ("succeeded", "well", None),
        ("cancelled", None, "not wanted"),
        ("succeeded", ["psst"], None),
        ("cancelled", None, "enough"),
    ]
    assert [info.id for info in await app.tasks()] == [parent.id]


async def test_an_end_whose_parent_is_gone_is_dropped(app: App, nursery: Nursery, conn: psycopg.Connection) -> None:
    release = asyncio.Event()

    @app.task()
    async def child() -> str:
        await release.wait()
        return "late"

    nursery.spawns.append(lambda ctx: ctx.spawn(child))
    parent = await nursery.actor.enqueue()
    async with app.worker():
        await stands(parent, "suspended")
        await parent.send("stop")
        assert await parent.result("20s") == "stop"
        release.set()
        assert await app.result(nursery.ids[0], timeout="20s") == "late"
    assert conn.execute("select count(*) from howdah.message").fetchone() == (0,)


async def test_many_children_of_one_poll(app: App, nursery: Nursery, square: Any) -> None:
    nursery.spawns += [lambda ctx, n=n: ctx.spawn(square, n) for n in range(1200)]
    parent = await nursery.actor.enqueue(waits_for=1200)
    async with app.worker():
        await parent.result("30s")
    assert {end.task_id: end.result for end in nursery.ends} == {
        task_id: n * n for n, task_id in enumerate(nursery.ids)
    }


# ── cancel ──


@pytest.fixture
async def family(app: App) -> list[Task[Any]]:
    """A parent, its child, and the child of that: the first two suspended, the last queued for later."""

    @app.actor("node", inbox=int)
    @dataclass
    class Node:
        depth: int = 0

        async def poll(self, ctx: Context, inbox: Inbox[int]) -> Action:
            for depth in inbox:
                self.depth = depth
                await (ctx.spawn(Node, depth - 1) if depth > 1 else ctx.spawn(leaf.using(delay="1h")))
            return Suspend()

    @app.task()
    async def leaf() -> None: ...

    parent = await Node.enqueue()
    await parent.send(2)
    async with app.worker():
        found = [parent]
        for _ in range(2):
            (child,) = await until(lambda: app.tasks(parent=found[-1].id), "a child")
            found.append(Task(app, child.id, child.kind))
        for member in found[:2]:
            await stands(member, "suspended")
    return found


async def statuses(family: list[Task[Any]]) -> list[str]:
    return [(await member.info()).status for member in family]


async def test_a_cancel_takes_the_whole_family_along(app: App, family: list[Task[Any]]) -> None:
    assert await statuses(family) == ["suspended", "suspended", "queued"]
    assert await family[0].cancel("enough") == "cancelled"
    assert await statuses(family) == ["cancelled"] * 3
    reasons = [(await member.info()).reason for member in family]
    assert reasons == ["enough", *(f"its parent, task {each.id}, was cancelled" for each in family[:2])]
    assert [await events(app, member) for member in family] == [["cancel"]] * 3


async def test_a_cancel_without_cascade_takes_one(app: App, family: list[Task[Any]]) -> None:
    assert await family[0].cancel(cascade=False) == "cancelled"
    assert await statuses(family) == ["cancelled", "suspended", "queued"]
    assert app.cancel_sync(family[1].id, cascade=False) == "cancelled"
    assert await statuses(family) == ["cancelled", "cancelled", "queued"]


async def test_a_cancelled_child_leaves_its_parent_and_tells_it(app: App, family: list[Task[Any]]) -> None:
    await family[1].cancel("not needed")
    assert await statuses(family) == ["queued", "cancelled", "cancelled"]
    (end,) = await app.inbox(family[0].id)
    assert (end["type"], end["sender"]) == ("eof", family[1].id)
    assert end["body"] == {"status": "cancelled", "result": None, "error": "not needed"}


async def test_running_children_are_asked_to_stop_when_their_parent_is_cancelled(app: App, nursery: Nursery) -> None:
    began: list[int] = []

    @app.task()
    async def endless(ctx: Context) -> None:
        began.append(ctx.id)
        await asyncio.Event().wait()

    nursery.spawns += [lambda ctx: ctx.spawn(endless)] * 3
    parent = await nursery.actor.enqueue()
    async with app.worker():
        await until(lambda: len(began) == 3, "the children to run")
        await stands(parent, "suspended")
        assert await parent.cancel() == "cancelled"
        for child in nursery.ids:
            with pytest.raises(TaskCancelled, match=f"its parent, task {parent.id}, was cancelled"):
                await app.result(child, timeout="20s")


@pytest.mark.parametrize("cascade", [True, False])
async def test_a_parent_that_is_asked_to_stop_while_it_runs_takes_its_children_along_if_it_was_said(
    app: App, square: Any, cascade: bool
) -> None:
    began = asyncio.Event()

    @app.actor("parent", inbox=str)
    @dataclass
    class Parent:
        child: int = 0

        async def poll(self, ctx: Context, inbox: Inbox[str]) -> Action:
            if not self.child:
                self.child = await ctx.spawn(square.using(delay="1h"), 3)
                return Suspend()
            began.set()
            await asyncio.Event().wait()
            return Suspend()

    parent = await Parent.enqueue()
    async with app.worker():
        child = (await stands(parent, "suspended")).payload["child"]
        await parent.send("go on")
        await began.wait()
        assert await parent.cancel("enough", cascade=cascade) == "running"
        with pytest.raises(TaskCancelled, match="enough"):
            await parent.result("20s")
    info = await app.show(child)
    assert (info.status, info.reason) == (
        ("cancelled", f"its parent, task {parent.id}, was cancelled") if cascade else ("queued", None)
    )


async def test_a_parent_that_cancels_itself_takes_its_children_along(app: App) -> None:
    @app.task()
    async def endless() -> None:
        await asyncio.Event().wait()

    @app.actor("parent", inbox=str)
    @dataclass
    class Parent:
        child: int = 0

        async def poll(self, ctx: Context, inbox: Inbox[str]) -> Any:
            if not self.child:
                self.child = await ctx.spawn(endless)
            for word in inbox:
                return Cancel(word)
            return Suspend()

    parent = await Parent.enqueue()
    async with app.worker():
        info = await stands(parent, "suspended")
        await parent.send("I give up")
        with pytest.raises(TaskCancelled, match="I give up"):
            await parent.result("20s")
        with pytest.raises(TaskCancelled, match=f"its parent, task {parent.id}, was cancelled"):
            await app.result(info.payload["child"], timeout="20s")


async def test_a_parent_that_is_done_leaves_its_children_running(app: App, square: Any, nursery: Nursery) -> None:
    nursery.spawns.append(lambda ctx: ctx.spawn(square.using(delay="1h"), 3))
    parent = await nursery.actor.enqueue()
    async with app.worker():
        await stands(parent, "suspended")
        await parent.send("done")
        await parent.result("20s")
        await app.retry(nursery.ids[0])
        assert await app.result(nursery.ids[0], timeout="20s") == 9
