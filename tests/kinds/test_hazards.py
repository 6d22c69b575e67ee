"""Where steps, inboxes and families once went wrong, or easily might: one story each."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from howdah import EOF, Action, Again, App, Context, Done, Inbox, Join, Snooze, Suspend, after, join
from howdah.errors import InvalidOption, InvalidPayload, KeyConflict
from sql.protocol import Worker as Protocol
from sql.protocol import ask, declare
from waiting import until


async def test_a_sender_that_does_not_commit_holds_up_nobody_else(app: App, conn: psycopg.Connection) -> None:
    """Forty children want to tell a parent whose row is locked by somebody's open transaction."""
    gate = asyncio.Event()

    @app.task()
    async def child() -> None:
        await gate.wait()

    @app.task()
    async def other(n: int) -> int:
        return n

    @app.actor("boss", inbox=int | EOF)
    @dataclass
    class Boss:
        ended: int = 0

        async def poll(self, ctx: Context, inbox: Inbox[int | EOF]) -> Action:
            for message in inbox:
                if isinstance(message, EOF):
                    self.ended += 1
                else:
                    for _ in range(message):
                        await ctx.spawn(child)
            return Done(self.ended) if self.ended == 40 else Suspend()

    async with app.worker(lease="10m"):
        boss = await Boss.enqueue()
        await boss.send(40)
        running = "select count(*) from howdah.task where kind = 'child' and status = 'running'"
        await until(lambda: ask(conn, running) == 40, "the children to run")
        with conn.transaction():
            conn.execute("select howdah.send(%s, '0')", [boss.id])
            gate.set()
            for n in range(5):
                assert await (await other.enqueue(n)).result("30s") == n
        assert await boss.result("60s") == 40


async def test_told_not_to_cascade_a_cancel_of_a_running_parent_spares_its_children(app: App) -> None:
    @app.task()
    async def child() -> str:
        return "went on"

    @app.task()
    async def parent(ctx: Context, born: int = 0) -> Any:
        if not born:
            return Again(await ctx.spawn(child.using(delay="1h")))
        return await asyncio.Event().wait()

    task = await parent.enqueue()
    async with app.worker():
        born = await until(lambda: _running_again(app, task.id), "the parent to run again")
        assert await task.cancel(cascade=False) == "running"
        await until(lambda: _status(app, task.id, "cancelled"), "the parent to end")
        assert (await app.show(born)).status == "queued"
        await app.retry(born)
        assert await app.result(born, timeout="30s") == "went on"


async def _running_again(app: App, task_id: int) -> int | None:
    info = await app.show(task_id)
    return info.payload.get("born") if info.status == "running" else None


async def _status(app: App, task_id: int, status: str) -> bool:
    return (await app.show(task_id)).status == status


async def test_children_that_ended_before_the_join_are_there_as_well(app: App) -> None:
    machine = app.machine("split")

    @app.task()
    async def child(n: int) -> int:
        return n

    @machine.step
    @dataclass
    class Split:
        async def run(self, ctx: Context) -> Meanwhile:
            for n in range(6):
                await ctx.spawn(child, n)
            return after("1ms", Meanwhile())

    @machine.step
    @dataclass
    class Meanwhile:
        async def run(self, ctx: Context) -> Meanwhile | Collect:
            live = await app.tasks(parent=ctx.id, status=["queued", "running"])
            return after("10ms", Meanwhile()) if live else join(Collect())

    @machine.step
    @dataclass
    class Collect:
        async def run(self, ctx: Context) -> Done:
            return Done([end.result for end in ctx.children])

    @app.task()
    async def function(ctx: Context, phase: int = 0) -> Any:
        if phase == 0:
            for n in range(5):
                await ctx.spawn(child, n)
            return Again(1)
        if phase == 1:
            live = await app.tasks(parent=ctx.id, status=["queued", "running"])
            return Again(1, delay="10ms") if live else Join(2)
        return [end.result for end in ctx.children]

    async with app.worker():
        split, called = await machine.enqueue(Split()), await function.enqueue()
        assert await split.result("30s") == list(range(6))
        assert await called.result("30s") == list(range(5))


async def test_a_join_of_nobody_goes_on(app: App) -> None:
    @app.task()
    async def total(ctx: Context, pages: int, asked: bool = False) -> Any:
        return len(ctx.children) if asked else Join(pages, asked=True)

    task = await total.enqueue(0)
    async with app.worker():
        assert await task.result("30s") == 0


async def test_steps_that_go_on_in_place_keep_the_limit_of_their_queue(app: App) -> None:
    machine = app.machine("mail", queue="mail")
    running: list[int] = [0, 0]  # now, most

    @machine.step
    @dataclass
    class Send:
        left: int

        async def run(self) -> Send | None:
            running[0] += 1
            running[1] = max(running)
            await asyncio.sleep(0)
            running[0] -= 1
            return Send(self.left - 1) if self.left else None

    tasks = [await machine.enqueue(Send(20)) for _ in range(12)]
    async with app.worker(queues={"mail": 2, "noise": 50}):
        for task in tasks:
            await task.result("60s")
    assert running[1] <= 2


@pytest.mark.parametrize("delay", [None, "300ms"])
@pytest.mark.usefixtures("looks_only_when_told")
async def test_a_step_in_another_queue_wakes_the_worker_of_that_queue(app: App, dsn: str, delay: str | None) -> None:
    machine = app.machine("order")

    @machine.step(queue="one")
    @dataclass
    class Charge:
        async def run(self) -> Ship:
            return after(delay, Ship()) if delay else Ship()

    @machine.step(queue="two")
    @dataclass
    class Ship:
        async def run(self) -> None:
            pass

    asleep = "select count(*) from howdah.worker where asleep"
    async with app.worker(queues=["one"], poll="1h"), app.worker(queues=["two"], poll="1h"):
        with psycopg.connect(dsn, autocommit=True) as conn:
            await until(lambda: ask(conn, asleep) == 2, "both to sleep")
        task = await machine.enqueue(Charge())
        await task.result("30s")


def test_what_was_to_sleep_and_is_due_is_claimed_in_the_same_round_trip(conn: psycopg.Connection) -> None:
    """A message came while it was polled: its worker, which does not look otherwise, has it again at once."""
    declare(conn, {"name": "actor", "inbox": {}})
    worker = Protocol(conn, ["actor"])
    actor = ask(conn, "select howdah.enqueue('actor')")
    (task,) = worker.claim()
    conn.execute("select howdah.send(%s, '1')", [actor])
    lane = {"name": "lane", "queue": "default", "kinds": ["actor"], "share": 9, "limit": 9, "cursors": {}}
    asleep = [{"id": task.id, "epoch": task.epoch, "to": "suspended", "attempts": "reset"}]
    arguments = [worker.id, json.dumps(asleep), json.dumps([lane])]
    claimed = ask(
        conn,
        "select claimed from howdah.pump(%s, 9, null, null, null, null, null, %s, %s, 9, null, look => false)",
        arguments,
    )
    assert [found[:2] for found in json.loads(claimed)] == [[actor, task.epoch + 1]]


async def test_a_snoozing_poll_sends_and_spawns_nothing(app: App, conn: psycopg.Connection) -> None:
    conn.execute("create table effect (n int)")

    @app.task()
    async def child() -> None: ...

    @app.actor("target", inbox=int)
    @dataclass
    class Target:
        got: int = 0

        async def poll(self, ctx: Context, inbox: Inbox[int]) -> Action:
            self.got += sum(inbox)
            return Done(self.got) if self.got else Suspend()

    @app.actor("sender", inbox=int)
    @dataclass
    class Sender:
        async def poll(self, ctx: Context, inbox: Inbox[int]) -> Action:
            for target in inbox:
                ctx.send(target, 1)
                await ctx.spawn(child)

                async def note(conn: Any) -> None:
                    await conn.execute("insert into effect values (1)")

                ctx.on_commit(note)
                polls.append(target)
                if len(polls) < 3:
                    raise Snooze("1ms")
                return Done()
            return Suspend()

    polls: list[int] = []
    target, sender = await Target.enqueue(), await Sender.enqueue()
    await sender.send(target.id)
    async with app.worker():
        await sender.result("30s")
        assert await target.result("30s") == 1
    assert ask(conn, "select count(*) from effect") == 1
    assert len(await app.tasks(kind="child")) == 1


async def test_many_handlers_that_hold_a_connection_may_spawn(app: App) -> None:
    @app.task()
    async def child() -> None: ...

    @app.task(retry=0)
    async def parent(ctx: Context) -> int:
        async with app.transaction() as held:
            await held.execute("select 1")
            return await ctx.spawn(child)

    tasks = await parent.enqueue_many([()] * 40)
    async with app.worker():
        assert len({await task.result("30s") for task in tasks}) == 40


async def test_what_an_actor_took_with_its_last_poll_was_read(app: App) -> None:
    @app.actor("last", inbox=str)
    @dataclass
    class Last:
        async def poll(self, ctx: Context, inbox: Inbox[str]) -> Action:
            return Done() if "stop" in list(inbox) else Suspend()

    task = await Last.enqueue()
    await task.send("stop")
    async with app.worker():
        await task.result("30s")
    assert [event["type"] for event in await app.history(task.id)] == []


@pytest.mark.parametrize("until_", [0, "50ms"])
@pytest.mark.parametrize("listen", [True, False])
async def test_an_alarm_rings_whether_or_not_anybody_listens(app: App, until_: Any, listen: bool) -> None:
    @app.actor("sleeper")
    @dataclass
    class Sleeper:
        polls: int = 0

        async def poll(self, ctx: Context, inbox: Inbox[Any]) -> Action:
            self.polls += 1
            return Done() if self.polls == 2 else Suspend(until=until_)

    task = await Sleeper.enqueue()
    async with app.worker(listen=listen, poll="1h"):
        await task.result("30s")


async def test_null_is_a_message_too(app: App) -> None:
    @app.actor("opt", inbox=int | None)
    @dataclass
    class Opt:
        async def poll(self, ctx: Context, inbox: Inbox[int | None]) -> Action:
            return Done(len(list(inbox))) if inbox else Suspend()

    @app.task()
    async def parent(ctx: Context, born: int = 0) -> Any:
        if born:
            return [child.result for child in ctx.children]
        return Join(await ctx.spawn(Opt, None))

    task = await parent.enqueue()
    async with app.worker():
        assert await task.result("30s") == [1]


async def test_a_task_with_children_is_not_replaced_under_them(app: App) -> None:
    @app.task()
    async def child() -> None: ...

    @app.task()
    async def parent(ctx: Context, n: int = 0) -> Any:
        if n:
            return None
        await ctx.spawn(child.using(delay="1h"))
        return Join(1)

    task = await parent.using(key="one").enqueue()
    async with app.worker():
        await until(lambda: _status(app, task.id, "suspended"), "the join")
        with pytest.raises(KeyConflict, match="is held by task"):
            await parent.using(key="one", on_conflict="replace").enqueue()


async def test_a_join_whose_last_child_was_deleted_by_hand_can_be_retried(app: App, conn: psycopg.Connection) -> None:
    @app.task(retry=0)
    async def child(bad: bool) -> None:
        if bad:
            raise ValueError

    @app.task()
    async def parent(ctx: Context, asked: bool = False) -> Any:
        if asked:
            return [end.status for end in ctx.children]
        await ctx.spawn(child, True)
        await ctx.spawn(child.using(delay="1h"), False)
        return Join(True)

    task = await parent.enqueue()
    async with app.worker():
        await until(lambda: _children(app, task.id, 1), "the first child to be parked")
        conn.execute("delete from howdah.task where parent = %s and status = 'queued'", [task.id])
        await task.retry()
        assert await task.result("30s") == ["failed"]


async def _children(app: App, task_id: int, left: int) -> bool:
    info = await app.show(task_id)
    return info.status == "suspended" and info.children == left


async def test_an_edited_task_stays_in_the_queue_it_was_enqueued_in(app: App) -> None:
    machine = app.machine("steps")

    @machine.step
    @dataclass
    class First:
        async def run(self) -> Second | Third | None: ...

    @machine.step
    @dataclass
    class Second:
        async def run(self) -> None: ...

    @machine.step(queue="third")
    @dataclass
    class Third:
        async def run(self) -> None: ...

    async with app.worker(queues=["nothing"]):  # it tells the database of the steps
        task = await machine.using(queue="vip").enqueue(First())
        await app.edit(task.id, step="Second")
        assert (await task.info()).queue == "vip"
        await app.edit(task.id, step="Third")
        assert (await task.info()).queue == "third"


async def test_what_cannot_be_meant_is_refused_in_a_sentence(app: App) -> None:
    machine = app.machine("odd", timeout="5s")
    twice = machine.step(transactional=True)

    @twice
    @dataclass
    class One:
        async def run(self) -> Two: ...

    @twice
    @dataclass
    class Two:
        async def run(self) -> None: ...

    assert [step.transactional for step in machine.kind.steps.values()] == [True, True]
    with pytest.raises(InvalidOption, match="a step has no option 'priority'"):
        machine.step(priority=3)  # pyright: ignore
    with pytest.raises(InvalidOption, match="takes one class, not 2"):
        machine.step(One, Two)  # pyright: ignore
    with pytest.raises(InvalidPayload, match="enqueue_many takes many steps, not 5"):
        await machine.enqueue_many(5)  # pyright: ignore

    @app.task(retry=0)
    async def sender(ctx: Context) -> None:
        ctx.send(2**70, 1)

    task = await sender.enqueue()
    async with app.worker():
        await until(lambda: _status(app, task.id, "failed"), "it to be refused")
    assert "InvalidOption: ctx.send takes the id of a task" in ((await task.info()).error or "")


async def test_a_child_may_be_spawned_by_the_name_of_a_kind_that_is_elsewhere(app: App, dsn: str) -> None:
    @app.task()
    async def parent(ctx: Context, asked: bool = False) -> Any:
        if asked:
            return [end.result for end in ctx.children]
        await ctx.spawn("elsewhere", n=3)
        return Join(True)

    @app.task(retry=0)
    async def mistaken(ctx: Context) -> None:
        await ctx.spawn("nowhere")

    async with App(dsn) as other:

        @other.task()
        async def elsewhere(n: int) -> int:
            return n * 2

        task, wrong = await parent.enqueue(), await mistaken.enqueue()
        async with other.worker(), app.worker():
            assert await task.result("30s") == [6]
            await until(lambda: _status(app, wrong.id, "failed"), "the unknown kind to be refused")
    assert "no handler for kind 'nowhere'" in ((await wrong.info()).error or "")


def test_the_parameters_of_poll_the_other_way_round_are_refused(app: App) -> None:
    with pytest.raises(InvalidOption, match="poll takes inbox, ctx"):

        @app.actor("odd", inbox=int)
        @dataclass
        class Odd:
            async def poll(self, inbox: Any, ctx: Any) -> Action:
                return Suspend()
