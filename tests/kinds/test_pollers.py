"""Pollers whose instructions are tasks: asked while there is room, once in the fleet, from restart to restart."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from howdah import App, Backoff, Fail, Poll
from howdah.errors import InvalidOption, InvalidPayload
from howdah.poller import DuplicateInstruction, InvalidInstruction, InvalidResult, TaskEvent
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


@pytest.mark.parametrize("delay", ["1ms", 0.001, Backoff("1ms", max="2ms"), lambda attempt: "1ms"], ids=str)
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


def test_into_nothing_that_is_a_task(dsn: str) -> None:
    app = App(dsn)
    with pytest.raises(InvalidOption, match="into must be a task, actor or machine, not its name 'order'"):
        app.poller("x", into="order")
    with pytest.raises(InvalidOption, match="no task, actor, machine or step"):
        app.poller("x", into=42)


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
