"""Pollers whose instructions are tasks: asked while there is room, once in the fleet, from restart to restart."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from howdah import Action, App, Backoff, Context, Done, Fail, Inbox, Poll, Suspend
from howdah.errors import InvalidOption, InvalidPayload
from howdah.poller import DuplicateInstruction, ErrorEvent, InvalidInstruction, InvalidResult, TaskEvent
from waiting import until


class Source:
    """A poll function over a list; what it was told and when it was asked is kept."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.polls: list[Poll[Any]] = []

    async def __call__(self, poll: Poll[Any]) -> Any:
        self.polls.append(poll)
        answer = self.answers.pop(0) if self.answers else []
        if isinstance(answer, Exception):
            raise answer
        return answer(poll) if callable(answer) else answer


def poller(app: App, source: Source, into: Any, **options: Any) -> Any:
    async def poll(asked: Poll[Any]) -> Any:
        return await source(asked)

    return app.poller("mail", into=into, **({"delay": "5ms"} | options))(poll)


async def own_task(app: App) -> Any:
    (found,) = await app.tasks(kind="poller:mail")
    return found


@pytest.fixture
def held(app: App) -> Any:
    """A task that ends when `held.release` is set, and says what it was given."""
    began: list[int] = []
    release = asyncio.Event()

    @app.task(retry=0)
    async def held(n: int) -> int:
        began.append(n)
        await release.wait()
        return n

    held.began, held.release = began, release  # pyright: ignore
    return held


async def test_each_instruction_becomes_one_task_under_its_key(app: App) -> None:
    done: list[int] = []

    @app.task()
    async def send(user_id: int) -> None:
        done.append(user_id)

    poller(app, Source([3, 1, 2]), send, concurrency=5)
    async with app.worker():
        await until(lambda: len(done) == 3)
    tasks = await app.tasks(kind="send")
    assert {(task.key, task.source) for task in tasks} == {(f"mail:{n}", "poller:mail") for n in (1, 2, 3)}
    assert all(task.payload == {"user_id": int((task.key or "").partition(":")[2])} for task in tasks)


async def test_it_is_asked_only_while_there_is_room(app: App, held: Any) -> None:
    source = Source([1, 2], lambda poll: [3])
    poller(app, source, held, concurrency=2)
    async with app.worker():
        await until(lambda: sorted(held.began) == [1, 2])
        # It looks on, and asks nobody: its own row is claimed again and again.
        before = (await own_task(app)).epoch
        await until(lambda: _epoch_beyond(app, before + 5))
        assert len(source.polls) == 1
        held.release.set()
        await until(lambda: 3 in held.began)
    first, second = source.polls[:2]
    assert (first.active, first.limit, first.concurrency, first.attempt) == ([], 2, 2, 0)
    assert second.limit == 2 - len(second.active)
    assert second.attempt == 0


async def _epoch_beyond(app: App, epoch: int) -> bool:
    return (await own_task(app)).epoch > epoch


async def test_active_are_the_instructions_themselves_also_after_a_restart(app: App, held: Any, dsn: str) -> None:
    given = [7, 8]
    poller(app, Source(given), held, concurrency=4)
    async with app.worker(grace=0):
        await until(lambda: len(held.began) == 2)
    again = Source()
    async with App(dsn) as other:

        @other.task(name="held")
        async def waits(n: int) -> None:
            await asyncio.Event().wait()

        poller(other, again, waits, concurrency=4)
        async with other.worker(grace=0):
            await until(lambda: again.polls)
    assert again.polls[0].active == given
    assert again.polls[0].limit == 2


async def test_an_object_gives_the_arguments_by_name_and_is_active_as_it_was(app: App) -> None:
    source = Source([{"user_id": 4, "why": "birthday"}])

    @app.task()
    async def write(user_id: int, why: str) -> None:
        await asyncio.Event().wait()

    poller(app, source, write, concurrency=2)
    async with app.worker(grace=0):
        await until(lambda: len(source.polls) > 1)
        (task,) = await app.tasks(kind="write")
        assert task.payload == {"user_id": 4, "why": "birthday"}
        assert source.polls[1].active == [{"user_id": 4, "why": "birthday"}]


async def test_attempt_counts_the_polls_since_one_that_produced_and_survives_a_restart(app: App, dsn: str) -> None:
    source = Source([], [], [1], [])

    @app.task()
    async def send(n: int) -> None: ...

    poller(app, source, send, concurrency=9)
    async with app.worker():
        await until(lambda: len(source.polls) >= 6)
    assert [poll.attempt for poll in source.polls[:6]] == [0, 1, 2, 0, 1, 2]
    kept = (await own_task(app)).payload["attempt"]
    again = Source()
    async with App(dsn) as other:
        poller(other, again, other.task(name="send")(send.function), concurrency=9)
        async with other.worker():
            await until(lambda: again.polls)
    assert again.polls[0].attempt == kept
    assert kept >= 2


@pytest.mark.parametrize(
    "delay",
    ["1ms", 0.001, Backoff("1ms", max="2ms"), lambda attempt: "1ms"],
    ids=["length", "seconds", "backoff", "function"],
)
async def test_delays(app: App, held: Any, delay: Any) -> None:
    source = Source()
    poller(app, source, held, delay=delay)
    async with app.worker():
        await until(lambda: len(source.polls) >= 20)
    assert [poll.attempt for poll in source.polls[:20]] == list(range(20))


async def test_a_limit_below_the_room(app: App, held: Any) -> None:
    source = Source([1], [2])
    poller(app, source, held, concurrency=5, limit=lambda concurrency, active: 1)
    async with app.worker(grace=0):
        await until(lambda: len(held.began) == 2)
    assert [poll.limit for poll in source.polls[:2]] == [1, 1]


async def test_what_is_wrong_is_told_and_does_not_stop_it(app: App, conn: psycopg.Connection) -> None:
    done: list[int] = []
    told: list[Exception] = []

    @app.task()
    async def send(n: int) -> None:
        done.append(n)

    source = Source(
        ValueError("no store"), "text", [1, 2, 3, 4], [5, object()], [6, "six"], [7, 7], {"n": 8}, ["a\0b"], [9]
    )  # fmt: skip
    mail = poller(app, source, send, concurrency=3)
    mail.on("error", lambda event: told.append(event.error))
    async with app.worker():
        await until(lambda: 9 in done)
        await until(lambda: len(told) >= 8)
    kinds = [type(error) for error in told]
    assert kinds[:4] == [ValueError, InvalidResult, InvalidResult, InvalidInstruction]
    assert kinds[4:8] == [InvalidPayload, DuplicateInstruction, InvalidResult, InvalidOption]
    assert "send: n" in str(told[4])
    assert sorted(done) == [5, 6, 7, 9]
    events = conn.execute("select message from howdah.event where type = 'error' order by id").fetchall()
    assert events[0] == ("ValueError: no store",)


async def test_a_live_and_a_parked_instruction_are_not_taken_again(app: App) -> None:
    told: list[Exception] = []
    began: list[int] = []

    @app.task(retry=0)
    async def send(n: int) -> None:
        began.append(n)
        if n == 1:
            raise Fail("no such user")
        await asyncio.Event().wait()

    source = Source([1, 2], *[lambda poll: [1, 2]] * 5)
    mail = poller(app, source, send, concurrency=3)
    mail.on("error", lambda event: told.append(event.error))
    async with app.worker(grace=0):
        await until(lambda: len(told) >= 2)
    assert sorted(began) == [1, 2]
    said = " ".join(str(error) for error in told)
    assert "instruction 2 of poller 'mail' is active already" in said
    assert "instruction 1 of poller 'mail' has a task that is parked" in said
    # Parked ones take no room.
    assert source.polls[-1].active == [2]


async def test_events_come_when_the_tasks_are_committed(app: App, dsn: str) -> None:
    seen: list[tuple[Any, bool]] = []

    @app.task()
    async def send(n: int) -> None: ...

    mail = poller(app, Source([1, 2]), send, concurrency=2)

    @mail.on("task")
    def told(event: TaskEvent[Any]) -> None:
        with psycopg.connect(dsn) as other:
            key = f"mail:{event.instruction}"
            row = other.execute("select count(*) from howdah.tasks where key = %s", [key]).fetchone()
            seen.append((event.instruction, row == (1,)))

    @mail.on("task")
    async def fails(event: TaskEvent[Any]) -> None:
        raise RuntimeError("a listener harms nothing")

    async with app.worker():
        await until(lambda: len(seen) == 2)
    assert seen == [(1, True), (2, True)]


async def test_one_in_the_fleet_is_asked_at_a_time(app: App, dsn: str) -> None:
    inside, overlaps, polls = 0, 0, 0

    async def ask(poll: Poll[Any]) -> list[int]:
        nonlocal inside, overlaps, polls
        inside, polls = inside + 1, polls + 1
        overlaps += inside > 1
        await asyncio.sleep(0.001)
        inside -= 1
        return []

    async with App(dsn) as other:
        for each in (app, other):
            send = each.task(name="send")(_nothing)
            each.poller("mail", into=send, delay=0)(ask)
        async with app.worker(), other.worker():
            await until(lambda: polls > 50)
    assert overlaps == 0


async def test_each_worker_asks_for_itself_when_told_so(app: App, dsn: str) -> None:
    asked: set[str] = set()
    async with App(dsn) as other:
        for name, each in (("one", app), ("two", other)):
            send = each.task(name="send")(_nothing)

            async def ask(poll: Poll[Any], name: str = name) -> list[str]:
                asked.add(name)
                return ["same for both"]

            each.poller("mail", into=send, delay="5ms", concurrency=3, each_worker=True)(ask)
        async with app.worker(), other.worker():
            await until(lambda: len(asked) == 2)
            await until(lambda: _ended(app, "send"))
    assert await app.tasks(kind="poller:mail") == []


async def _ended(app: App, kind: str) -> bool:
    return bool(await app.tasks(kind=kind, status="succeeded"))


async def _nothing(n: str) -> None: ...


async def test_what_one_in_the_fleet_left_ends_when_each_worker_asks(app: App, dsn: str) -> None:
    source = Source()
    poller(app, source, app.task(name="send")(_nothing), delay="1ms")
    async with app.worker():
        await until(lambda: source.polls)
    asked = Source()
    async with App(dsn) as other:
        poller(other, asked, other.task(name="send")(_nothing), each_worker=True)
        async with other.worker():
            await until(lambda: _stands(app, "cancelled"))
            await until(lambda: asked.polls)
    assert (await own_task(app)).reason == "each worker polls for itself now"


async def test_a_stop_waits_for_the_poll_in_flight_and_commits_its_instructions(app: App) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()
    send = app.task(name="send")(_nothing)

    @app.poller("mail", into=send)
    async def ask(poll: Poll[Any]) -> list[str]:
        asked.set()
        await go_on.wait()
        return ["last"]

    worker = app.worker()
    async with worker:
        await asked.wait()
        worker.stop()
        go_on.set()
    assert [task.key for task in await app.tasks(kind="send")] == ["mail:last"]


async def test_its_task_moves_to_the_queue_that_the_code_names_now(app: App, dsn: str) -> None:
    poller(app, source := Source(), app.task(name="send")(_nothing), queue="before")
    async with app.worker():
        await until(lambda: source.polls)
    async with App(dsn) as other:
        poller(other, again := Source(), other.task(name="send")(_nothing), queue="after")
        async with other.worker(queues=["after"]):
            await until(lambda: again.polls)
    found = await own_task(app)
    assert found.queue == "after"
    assert again.polls[0].attempt == len(source.polls)  # and remembers


async def test_a_long_delay_holds_up_no_stop(app: App) -> None:
    source = Source()
    poller(app, source, app.task(name="send")(_nothing), delay="1h")
    async with app.worker():
        await until(lambda: source.polls)
    assert (await own_task(app)).status == "queued"


async def test_operators_pause_cancel_and_edit_it(app: App) -> None:
    source = Source()
    poller(app, source, app.task(name="send")(_nothing), queue="asking")
    async with app.worker():
        await until(lambda: source.polls)
        await app.pause("asking")
        await until(lambda: _stands(app, "queued"))
        task = await own_task(app)
        await app.edit(task.id, payload={"attempt": 77})
        with pytest.raises(InvalidPayload, match="poller:mail"):
            await app.edit(task.id, payload={"attempt": "many"})
        await app.resume("asking")
        await until(lambda: source.polls[-1].attempt >= 77)
        await app.pause("asking")
        await until(lambda: _stands(app, "queued"))
        await app.cancel(task.id)
    assert (await own_task(app)).status == "cancelled"


async def _stands(app: App, status: str) -> bool:
    return (await own_task(app)).status == status


# ── its commit ──


@pytest.fixture
def refuses(conn: psycopg.Connection) -> Any:
    """A database that takes no task of kind `send`, until it is told to."""
    conn.execute("""
        create function refuse() returns trigger language plpgsql as $$
        begin raise exception using errcode = 'HW002', message = 'not now'; end $$;
        create trigger refuse before insert on howdah.task for each row when (new.kind = 'send') execute function refuse();
    """)
    return lambda: conn.execute("drop trigger refuse on howdah.task")


async def test_a_poll_whose_commit_fails_makes_no_task_and_tells_nothing(
    app: App, refuses: Any, conn: psycopg.Connection
) -> None:
    told: list[Any] = []
    source = Source(["a", "b"], ["a"])
    mail = poller(app, source, app.task(name="send")(_nothing), concurrency=5)
    mail.on("task", told.append)
    mail.on("error", told.append)
    async with app.worker():
        refused = "select count(*) from howdah.event where kind = 'poller:mail' and type = 'retry'"
        await until(lambda: conn.execute(refused).fetchone() == (1,))
        assert (await own_task(app)).status == "queued"
        assert (told, await app.tasks(kind="send")) == ([], [])
        refuses()
        await until(lambda: told)
    assert [event.instruction for event in told] == ["a"]


# ── listeners ──


async def test_listeners_may_be_async_and_one_that_raises_harms_no_other(app: App) -> None:
    told: list[str] = []

    def said(word: str, *, fails: bool = False) -> Any:
        def listener(event: Any) -> None:
            told.append(f"{word} {event.error if isinstance(event, ErrorEvent) else event.instruction}")
            if fails:
                raise RuntimeError("a listener harms nothing")

        return listener

    def soon(word: str, *, fails: bool = False) -> Any:
        async def listener(event: Any) -> None:
            await asyncio.sleep(0)
            said(word, fails=fails)(event)

        return listener

    source = Source(ValueError("no store"), ["a"], ["b"])
    mail = poller(app, source, app.task(name="send")(_nothing), concurrency=2)
    for event in ("error", "task"):
        mail.on(event, said("sync", fails=True))
        mail.on(event, soon("async", fails=True))
        mail.on(event, said("last"))
    async with app.worker():
        await until(lambda: len(told) == 21)
    # Two listeners of each task raise, and that is an error event; those of errors that raise are logged.
    what = ["no store", "a", "b", *["a listener harms nothing"] * 4]
    assert sorted(told) == sorted(f"{who} {each}" for who in ("sync", "async", "last") for each in what)
    assert (await own_task(app)).status == "queued"


async def test_a_listener_of_no_event_or_of_too_much_is_refused(app: App) -> None:
    mail = poller(app, Source(), app.task(name="send")(_nothing))
    with pytest.raises(InvalidOption, match="'tasks'"):
        mail.on("tasks", print)
    with pytest.raises(InvalidOption, match="listener must be a function of"):
        mail.on("task", lambda: None)


# ── functions of all kinds ──


async def test_a_plain_poll_runs_in_a_thread_and_a_stop_waits_for_it(app: App) -> None:
    threads: list[str] = []
    asked, go_on = threading.Event(), threading.Event()

    @app.poller("mail", into=app.task(name="send")(_nothing))
    def ask(poll: Poll[Any]) -> list[str]:
        threads.append(threading.current_thread().name)
        asked.set()
        go_on.wait(30)
        return ["last"]

    worker = app.worker()
    async with worker:
        await until(asked.is_set)
        worker.stop()
        go_on.set()
    assert threads[0] != threading.current_thread().name
    assert [task.key for task in await app.tasks(kind="send")] == ["mail:last"]


async def test_a_delay_function_may_be_async_and_one_that_fails_is_told(app: App) -> None:
    asked: list[int] = []
    told: list[Exception] = []

    async def delay(attempt: int) -> Any:
        asked.append(attempt)
        if attempt == 3:
            raise OSError("no clock")
        return "soon" if attempt == 4 else 0

    mail = poller(app, Source(), app.task(name="send")(_nothing), delay=delay)
    mail.on("error", lambda event: told.append(event.error))
    async with app.worker():
        await until(lambda: len(asked) >= 6)
    assert asked[:6] == [1, 2, 3, 4, 5, 6]
    assert str(told[0]) == "no clock"
    assert "the delay function of poller 'mail' returned no length of time" in str(told[1])


async def test_a_delay_that_fails_is_told_also_when_nobody_is_asked(app: App, held: Any) -> None:
    told: list[Exception] = []
    source = Source([1])

    def delay(attempt: int) -> Any:
        if held.began:
            raise OSError("no clock")
        return 0

    mail = poller(app, source, held, delay=delay)
    mail.on("error", lambda event: told.append(event.error))
    async with app.worker(grace=0):
        await until(lambda: told)
    assert len(source.polls) == 1
    assert str(told[0]) == "no clock"


async def test_a_limit_as_a_number_and_one_that_fails(app: App, held: Any) -> None:
    told: list[Exception] = []
    limits: list[Any] = [OSError("no"), "many", 0, 99]

    async def limit(concurrency: int, active: int) -> Any:
        answer = limits.pop(0) if limits else 1
        if isinstance(answer, Exception):
            raise answer
        return answer

    source = Source()
    mail = poller(app, source, held, concurrency=5, limit=limit)
    mail.on("error", lambda event: told.append(event.error))
    async with app.worker():
        await until(lambda: len(source.polls) >= 2)
    assert [poll.limit for poll in source.polls[:2]] == [1, 5]
    assert [str(error).partition(" of ")[0] for error in told] == ["no", "the limit function"]


async def test_a_limit_of_two(app: App, held: Any) -> None:
    source = Source([1, 2, 3], [1, 2], [3, 4], [5])
    poller(app, source, held, concurrency=5, limit=2)
    async with app.worker(grace=0):
        await until(lambda: sorted(held.began) == [1, 2, 3, 4, 5])
    assert [poll.limit for poll in source.polls[:4]] == [2, 2, 2, 1]


async def test_a_poll_beyond_its_time_limit_makes_nothing_and_the_next_is_asked(app: App) -> None:
    asked: list[int] = []

    @app.poller("mail", into=app.task(name="send")(_nothing), timeout="20ms", delay="1ms")
    async def ask(poll: Poll[Any]) -> list[str]:
        asked.append(poll.attempt)
        if len(asked) == 1:
            await asyncio.Event().wait()
        return ["x"]

    told: list[Exception] = []
    ask.on("error", lambda event: told.append(event.error))
    async with app.worker():
        await until(lambda: _ended(app, "send"))
    assert asked[:2] == [0, 1]  # it produced nothing
    assert "20ms" in str(told[0])
    assert (await app.history((await own_task(app)).id))[0]["type"] == "timeout"


# ── whose tasks are live ──


async def test_what_nobody_works_on_takes_room_and_what_is_parked_does_not(app: App, conn: psycopg.Connection) -> None:
    source = Source(["a", "b"], ["c"])
    poller(app, source, app.task(name="send", queue="nobody's")(_nothing), concurrency=2, queue="default")
    async with app.worker(queues=["default"]):
        await until(lambda: source.polls)
        before = (await own_task(app)).epoch
        await until(lambda: _epoch_beyond(app, before + 5))
        assert len(source.polls) == 1
        conn.execute("update howdah.task set status = 'failed', error = 'x' where key = 'mail:a'")
        await until(lambda: len(source.polls) == 2)
    assert (source.polls[1].active, source.polls[1].limit) == (["b"], 1)


async def test_of_a_machine_and_an_actor_that_went_on_the_instruction_is_known(app: App) -> None:
    order = app.machine("order")

    @order.step
    @dataclass
    class Ship:
        order_id: int
        fast: bool = False

        async def run(self) -> Wait:
            return Wait(self.order_id * 100)

    @order.step
    @dataclass
    class Wait:
        money: int

        async def run(self) -> Done:
            await asyncio.Event().wait()
            return Done()

    @app.actor("clerk", inbox=int)
    @dataclass
    class Clerk:
        name: str
        seen: int = 0

        async def poll(self, ctx: Context, inbox: Inbox[int]) -> Action:
            self.seen += 1
            self.name = "busy"
            return Suspend()

    told: list[Exception] = []
    orders = Source([{"order_id": 5}, 6], *[lambda poll: [{"order_id": 5}]] * 3)
    clerks = Source(["ann", {"name": "bob"}, "7"], *[lambda poll: ["ann"]] * 3)
    for name, source, into in (("orders", orders, Ship), ("clerks", clerks, Clerk)):

        async def ask(poll: Poll[Any], source: Source = source) -> Any:
            return await source(poll)

        app.poller(name, into=into, concurrency=9, delay="1ms")(ask).on("error", lambda event: told.append(event.error))
    async with app.worker(grace=0):
        await until(lambda: _at(app, "Wait", 2))
        await until(lambda: _count(app, 3, kind="clerk", status="suspended"))
        seen = len(orders.polls), len(clerks.polls)
        await until(lambda: len(orders.polls) > seen[0] + 1 and len(clerks.polls) > seen[1] + 1)
    assert orders.polls[-1].active == [{"order_id": 5}, 6]
    # Text of digits and the number are one instruction.
    assert clerks.polls[-1].active == ["ann", {"name": "bob"}, 7]
    assert len(await app.tasks(kind="order")) == 2
    assert len(await app.tasks(kind="clerk")) == 3
    assert {type(error) for error in told} == {DuplicateInstruction}
    assert all(poll.attempt == number for number, poll in enumerate(orders.polls[1:]))


async def _at(app: App, step: str, count: int) -> bool:
    return sum(task.step == step for task in await app.tasks(kind="order", status="running")) == count


async def _count(app: App, count: int, **which: Any) -> bool:
    return len(await app.tasks(**which)) == count


@pytest.mark.parametrize("instruction", [7, "7", "new york", "", "NaN", 1.5, 1e300, True, None, [1, "a"], "x" * 400])
async def test_an_instruction_is_active_as_it_was_given(app: App, instruction: Any) -> None:
    source = Source([instruction])

    @app.task(name="send")
    async def send(it: Any) -> None:
        await asyncio.Event().wait()

    poller(app, source, send, concurrency=2)
    async with app.worker(grace=0):
        await until(lambda: len(source.polls) > 1)
    assert source.polls[1].active == [instruction]
    assert type(source.polls[1].active[0]) is type(instruction)


# ── each worker for itself ──


async def test_each_worker_counts_what_it_is_still_writing(app: App, held: Any, conn: psycopg.Connection) -> None:
    source = Source(*([n] for n in range(100)))
    poller(app, source, held, concurrency=3, delay=0, each_worker=True)
    async with app.worker(grace=0):
        await until(lambda: len(held.began) == 3)
        assert conn.execute("select count(*) from howdah.task where kind = 'held'").fetchone() == (3,)
        assert [poll.active for poll in source.polls] == [[], [0], [0, 1]]


async def test_in_each_worker_a_duplicate_is_told_and_is_no_task(app: App) -> None:
    told: list[Exception] = []
    taken: list[Any] = []

    @app.task(name="send", retry=0)
    async def send(n: int) -> None:
        raise Fail("no such user")

    source = Source([1], lambda poll: [1], ["x"], [2])
    mail = poller(app, source, send, concurrency=2, each_worker=True)
    mail.on("error", lambda event: told.append(event.error))
    mail.on("task", lambda event: taken.append(event.instruction))
    async with app.worker():
        await until(lambda: 2 in taken)
    assert [type(error) for error in told] == [DuplicateInstruction, InvalidPayload]
    assert taken == [1, 2]


# ── when its worker dies ──


async def test_after_a_kill_in_the_middle_of_a_poll_another_goes_on_with_the_same_attempt(app: App, dsn: str) -> None:
    program = Path(__file__).with_name("poller_program.py")
    said: list[str] = []
    process = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, str(program), dsn],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        while "3" not in said:
            line = await asyncio.to_thread(process.stdout.readline)
            assert line, "it ended"
            said.append(line.strip())
    finally:
        process.kill()
        process.wait()
    source = Source()
    poller(app, source, app.task(name="send")(_nothing))
    async with app.worker(lease="2s", poll="200ms"):
        await until(lambda: len(source.polls) >= 2)
    assert said == ["0", "1", "2", "3"]
    assert [poll.attempt for poll in source.polls[:2]] == [3, 4]


async def test_cancelled_it_is_asked_no_more_until_a_worker_starts(app: App) -> None:
    source = Source()
    poller(app, source, app.task(name="send")(_nothing))
    async with app.worker():
        await until(lambda: len(source.polls) >= 3)
        await app.cancel((await own_task(app)).id)
        await until(lambda: _stands(app, "cancelled"))
    seen = len(source.polls)
    async with app.worker():
        await until(lambda: len(source.polls) > seen)
    assert source.polls[seen].attempt == 0


async def test_cancelled_in_the_middle_of_a_poll_it_makes_nothing(app: App) -> None:
    told: list[Any] = []
    asked = asyncio.Event()

    async def ask(poll: Poll[Any]) -> list[str]:
        asked.set()
        await asyncio.Event().wait()
        return ["x"]

    mail = app.poller("mail", into=app.task(name="send")(_nothing))(ask)
    mail.on("task", told.append)
    async with app.worker():
        await asked.wait()
        await app.cancel((await own_task(app)).id)
        await until(lambda: _stands(app, "cancelled"))
    assert (told, await app.tasks(kind="send")) == ([], [])


# ── into what ──


async def test_into_a_machine(app: App) -> None:
    ran: list[int] = []
    order = app.machine("order")

    @order.step
    @dataclass
    class Ship:
        order_id: int

        async def run(self) -> None:
            ran.append(self.order_id)

    source = Source([{"order_id": 5}])
    poller(app, source, Ship)
    async with app.worker():
        await until(lambda: ran)
    (task,) = await app.tasks(kind="order")
    assert (task.step, task.source) == ("Ship", "poller:mail")


async def test_into_an_actor(app: App) -> None:
    seen: list[tuple[str, int]] = []

    @app.actor("clerk")
    @dataclass
    class Clerk:
        name: str
        age: int = 30

        async def poll(self, ctx: Context, inbox: Inbox[Any]) -> Action:
            seen.append((self.name, self.age))
            return Done()

    poller(app, Source([{"name": "ann", "age": 3}], ["bob"]), Clerk, concurrency=5)
    async with app.worker():
        await until(lambda: len(seen) == 2)
    assert sorted(seen) == [("ann", 3), ("bob", 30)]
    assert {task.source for task in await app.tasks(kind="clerk")} == {"poller:mail"}


async def test_a_name_so_long_that_its_kind_has_no_room_is_refused(app: App, held: Any) -> None:
    ask = Source()
    with pytest.raises(InvalidOption, match="poller:NAME, must be text of 1 to 200 characters"):
        app.poller("x" * 194, into=held)(ask)
    source = Source(["y" * 300])
    app.poller("x" * 193, into=app.task(name="send")(_nothing))(source)
    async with app.worker():
        await until(lambda: _ended(app, "send"))


def test_into_nothing_that_is_a_task(dsn: str) -> None:
    app = App(dsn)
    with pytest.raises(InvalidOption, match="into must be a task, actor or machine, not its name 'order'"):
        app.poller("x", into="order")
    with pytest.raises(InvalidOption, match="no task, actor, machine or step"):
        app.poller("x", into=42)
    with pytest.raises(InvalidOption, match="into must be the step that the tasks of poller 'x' begin at"):
        app.poller("x", into=app.machine("order"))(Source())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"concurrency": 0}, "concurrency must be a whole number from 1, not 0"),
        ({"concurrency": "2"}, "concurrency must be a whole number from 1, not '2'"),
        ({"delay": "soon"}, "delay cannot be read as a length of time"),
        ({"limit": 0}, "limit must be a whole number from 1, or a function, not 0"),
        ({"queue": ""}, "queue must be text of 1 to 200 characters"),
        ({"timeout": 0}, "timeout must be longer than nothing"),
    ],
)
def test_options_are_checked_when_it_is_declared(dsn: str, options: dict[str, Any], said: str) -> None:
    app = App(dsn)
    with pytest.raises(InvalidOption) as caught:
        app.poller("mail", into=app.task(name="send")(_nothing), **options)
    assert said in str(caught.value)
    assert "poller:mail" not in app.registry.names()


def test_two_of_one_name_are_refused(dsn: str) -> None:
    app = App(dsn)
    send = app.task(name="send")(_nothing)
    poller(app, Source(), send)
    with pytest.raises(InvalidOption, match="two handlers are called 'poller:mail'"):
        poller(app, Source(), send)


async def test_a_second_task_of_it_polls_nothing(app: App) -> None:
    source = Source()
    poller(app, source, app.task(name="send")(_nothing), delay="1h")
    second = await app.enqueue("poller:mail")
    async with app.worker():
        await until(lambda: _failed(app, second.id))
        await until(lambda: source.polls)
    assert "poller:mail has one task, which its workers make" in ((await second.info()).error or "")
    assert len(source.polls) == 1


async def _failed(app: App, task_id: int) -> bool:
    return (await app.show(task_id)).status == "failed"
