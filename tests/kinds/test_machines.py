"""State machines: what a step may be, where it may go, and with which rules."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import psycopg
import pytest
from pydantic import BaseModel

from howdah import Again, App, Cancel, Context, Done, Fail, Join, Machine, Retry, Snooze, Task, after, at, join
from howdah.errors import InvalidOption, InvalidPayload, TaskCancelled, TaskFailed, UnknownKind
from kinds.process_steps import Ask, serve, sums
from kinds.standing import asleep, events, stands
from waiting import until

TOMORROW = datetime.now(UTC).replace(microsecond=123456) + timedelta(days=1)


# ── steps and moves ──


async def test_steps_are_dataclasses_structs_and_models(app: App) -> None:
    trip = app.machine("trip")

    @trip.step
    @dataclass
    class Pack:
        bags: int

        async def run(self) -> Fly:
            return Fly(datetime(2030, 1, 1, tzinfo=UTC), [self.bags])

    @trip.step
    class Fly(msgspec.Struct):
        at: datetime
        weights: list[int]

        async def run(self) -> Land:
            return Land(where={"Riga": self.at}, bags=len(self.weights))

    @trip.step
    class Land(BaseModel):
        where: dict[str, datetime]
        bags: int

        async def run(self) -> Done:
            return Done({city: at.year for city, at in self.where.items()} | {"bags": self.bags})

    task = await trip.enqueue(Pack(7))
    async with app.worker():
        assert await task.result("20s") == {"Riga": 2030, "bags": 1}
    info = await task.info()
    assert (info.status, info.step, info.kind) == ("succeeded", "Land", "trip")
    assert info.payload == {"where": {"Riga": "2030-01-01T00:00:00Z"}, "bags": 1}


@dataclass
class Linked:
    """A base of steps: what they share is inherited, being a step is not."""

    word: str


async def test_a_step_may_be_derived_from_a_class_with_fields(app: App) -> None:
    chain = app.machine("chain")

    @chain.step(name="first")
    @dataclass
    class Hello(Linked):
        async def run(self) -> Goodbye:
            return Goodbye(self.word + "!", loud=True)

    @chain.step(name="last")
    @dataclass
    class Goodbye(Linked):
        loud: bool = False

        async def run(self) -> Done:
            return Done(self.word.upper() if self.loud else self.word)

    task = await chain.enqueue(Hello("ciao"))
    assert (await task.info()).step == "first"
    async with app.worker():
        assert await task.result("20s") == "CIAO!"
    assert (await task.info()).step == "last"


async def test_none_ends_without_a_result(app: App) -> None:
    short = app.machine("short")

    @short.step
    @dataclass
    class Only:
        async def run(self) -> None: ...

    task = await short.enqueue(Only())
    async with app.worker():
        assert await task.result("20s") is None
    assert (await task.info()).result is None


@pytest.mark.parametrize("due", [after("1h", 0), at(TOMORROW, 0)], ids=["after", "at"])
async def test_a_step_that_comes_later_leaves_the_worker_free(app: App, due: Any) -> None:
    slow = app.machine("slow")

    @slow.step
    @dataclass
    class Begin:
        async def run(self) -> End:
            return after("1h", End(3)) if due.at is None else at(due.at, End(3))

    @slow.step
    @dataclass
    class End:
        n: int

        async def run(self) -> Done:
            return Done(self.n)

    @app.task()
    async def other() -> str:
        return "free"

    task = await slow.enqueue(Begin())
    async with app.worker(concurrency=1):
        info = await stands(task, "queued", "End")
        assert await (await other.enqueue()).result("20s") == "free"
        assert (info.payload, info.attempt, info.worker) == ({"n": 3}, 0, None)
        assert info.claimed_at is not None
        if due.at is None:
            assert timedelta(hours=1) <= info.run_at - info.claimed_at < timedelta(hours=1, minutes=2)
        else:
            assert info.run_at == TOMORROW
        (reason,) = await task.why()
        assert reason.code == "not due"
        assert await task.retry() == "due now"
        assert await task.result("20s") == 3


@pytest.mark.usefixtures("looks_only_when_told")
async def test_a_step_that_comes_soon_comes_by_itself(app: App) -> None:
    steps: list[int] = []
    slow = app.machine("slow")

    @slow.step
    @dataclass
    class Tick:
        n: int

        async def run(self) -> Tick | None:
            steps.append(self.n)
            return after("5ms", Tick(self.n + 1)) if self.n < 3 else None

    async with app.worker(poll="1h"):
        await asleep(app)
        task = await slow.enqueue(Tick(1))
        await task.result("20s")
    assert steps == [1, 2, 3]


async def test_a_move_may_be_raised_as_any_outcome(app: App) -> None:
    short = app.machine("short")

    @short.step
    @dataclass
    class Begin:
        async def run(self) -> Begin | End:
            move: Any = after(0, End())
            raise move

    @short.step
    @dataclass
    class End:
        async def run(self) -> Done:
            raise Done("raised")

    task = await short.enqueue(Begin())
    async with app.worker():
        assert await task.result("20s") == "raised"


async def test_fail_parks_at_the_step_and_cancel_ends_there(app: App) -> None:
    court = app.machine("court", retry=5)

    @court.step
    @dataclass
    class Hear:
        verdict: str

        async def run(self) -> Judge:
            return Judge(self.verdict)

    @court.step
    @dataclass
    class Judge:
        verdict: str

        async def run(self) -> Cancel | None:
            if self.verdict == "fail":
                raise Fail("no such law")
            return Cancel("withdrawn")

    failing, cancelled = await court.enqueue(Hear("fail")), await court.enqueue(Hear("cancel"))
    async with app.worker():
        with pytest.raises(TaskFailed, match="no such law"):
            await failing.result("20s")
        with pytest.raises(TaskCancelled, match="withdrawn"):
            await cancelled.result("20s")
    info = await failing.info()
    assert (info.step, info.payload, info.attempt, info.error) == ("Judge", {"verdict": "fail"}, 1, "no such law")
    assert (await cancelled.info()).step == "Judge"
    assert await events(app, failing) == ["step", "failure"]
    assert await events(app, cancelled) == ["step", "cancel"]


async def test_snooze_spends_no_attempt_of_a_step_and_retry_after_spends_one(app: App) -> None:
    seen: list[int] = []
    patient = app.machine("patient")

    @patient.step(retry=Retry(1, delay="1h"))
    @dataclass
    class Wait:
        async def run(self, ctx: Context) -> Snooze | None:
            seen.append(ctx.attempt)
            if len(seen) < 3:
                return Snooze("2ms")
            if ctx.attempt == 1:
                raise Retry.after("2ms", "the API said 429")
            return None

    task = await patient.enqueue(Wait())
    async with app.worker():
        await task.result("20s")
    assert seen == [1, 1, 1, 2]
    assert [event["message"] for event in await app.history(task.id)] == ["the API said 429", None]


async def test_again_and_join_are_said_to_be_for_functions(app: App) -> None:
    odd = app.machine("odd", retry=3)

    @odd.step
    @dataclass
    class Begin:
        word: str

        async def run(self) -> Again | Join:
            return Again() if self.word == "again" else Join()

    tasks = [await odd.enqueue(Begin(word)) for word in ("again", "join")]
    async with app.worker():
        for task in tasks:
            with pytest.raises(TaskFailed, match=r"odd\.Begin: Again and Join are for functions"):
                await task.result("20s")
            assert (await task.info()).attempt == 1


# ── the rules of a step ──


async def test_retries_belong_to_the_step_and_the_counter_begins_anew_at_each(app: App) -> None:
    seen: list[tuple[str, int, str | None, str]] = []
    shaky = app.machine("shaky", retry=Retry(1, delay="1ms"))

    def see(ctx: Context) -> None:
        seen.append((str(ctx.step), ctx.attempt, ctx.last_error, ctx.idempotency_key))

    @shaky.step
    @dataclass
    class First:
        async def run(self, ctx: Context) -> Second:
            see(ctx)
            if ctx.attempt == 1:
                raise OSError("once")
            return Second(1)

    @shaky.step(retry=Retry(2, delay="1ms"))
    @dataclass
    class Second:
        n: int

        async def run(self, ctx: Context) -> None:
            see(ctx)
            raise OSError("always")

    task = await shaky.enqueue(First())
    async with app.worker():
        with pytest.raises(TaskFailed, match="OSError: always"):
            await task.result("20s")
    assert [entry[:3] for entry in seen] == [
        ("First", 1, None),
        ("First", 2, "OSError: once"),
        ("Second", 1, None),
        ("Second", 2, "OSError: always"),
        ("Second", 3, "OSError: always"),
    ]
    keys = [key for *_, key in seen]
    assert [len(set(keys[:2])), len(set(keys[2:])), len(set(keys))] == [1, 1, 2]
    info = await task.info()
    assert (info.status, info.step, info.payload, info.attempt) == ("failed", "Second", {"n": 1}, 3)


async def test_one_step_run_twice_has_two_idempotency_keys(app: App) -> None:
    keys: list[str] = []
    circle = app.machine("circle")

    @circle.step
    @dataclass
    class Round:
        n: int

        async def run(self, ctx: Context) -> Round | None:
            keys.append(ctx.idempotency_key)
            return Round(self.n - 1) if self.n else None

    task = await circle.enqueue(Round(3))
    async with app.worker():
        await task.result("20s")
    assert len(set(keys)) == 4


async def test_the_back_off_belongs_to_the_step(app: App) -> None:
    shaky = app.machine("shaky", retry=Retry(5, delay="1ms"))

    @shaky.step(retry=Retry(5, delay="5m", jitter=0))
    @dataclass
    class Slow:
        async def run(self) -> None:
            raise OSError("later")

    task = await shaky.enqueue(Slow())
    async with app.worker():
        await until(lambda: events(app, task), "the first attempt to fail")
    (event,) = await app.history(task.id)
    assert (event["type"], event["step"], event["data"]["delay"]) == ("retry", "Slow", 300)


async def test_a_time_limit_belongs_to_the_step(app: App) -> None:
    began: list[str] = []
    timed = app.machine("timed", retry=0)

    @timed.step
    @dataclass
    class Free:
        async def run(self) -> Held:
            began.append("Free")
            return Held()

    @timed.step(timeout="30ms", retry=Retry(1, delay="1ms"))
    @dataclass
    class Held:
        async def run(self) -> None:
            began.append("Held")
            await asyncio.Event().wait()

    task = await timed.enqueue(Free())
    async with app.worker():
        with pytest.raises(TaskFailed, match="ran longer than 30ms"):
            await task.result("20s")
    assert began == ["Free", "Held", "Held"]
    assert await events(app, task) == ["step", "timeout", "timeout"]


async def test_a_step_moves_to_its_own_queue_and_the_others_stay_where_the_task_was_enqueued(app: App) -> None:
    lanes: defaultdict[int, list[str]] = defaultdict(list)
    build = app.machine("build", queue="plain")

    @build.step
    @dataclass
    class Fetch:
        async def run(self, ctx: Context) -> Unpack:
            lanes[ctx.id].append(ctx.queue)
            return Unpack()

    @build.step
    @dataclass
    class Unpack:
        async def run(self, ctx: Context) -> Compile:
            lanes[ctx.id].append(ctx.queue)
            return Compile()

    @build.step(queue="heavy")
    @dataclass
    class Compile:
        async def run(self, ctx: Context) -> Ship:
            lanes[ctx.id].append(ctx.queue)
            return Ship()

    @build.step
    @dataclass
    class Ship:
        async def run(self, ctx: Context) -> None:
            lanes[ctx.id].append(ctx.queue)

    usual = await build.enqueue(Fetch())
    hurried = await build.using(queue="vip").enqueue(Fetch())
    begun_late = await build.enqueue(Compile())
    async with app.worker():
        for task in (usual, hurried, begun_late):
            await task.result("20s")
    assert lanes[usual.id] == ["plain", "plain", "heavy", "plain"]
    assert lanes[hurried.id][:3] == ["vip", "vip", "heavy"]
    assert lanes[begun_late.id] == ["heavy", "plain"]


async def test_a_task_waits_in_the_queue_of_its_step_for_a_worker_that_serves_it(app: App) -> None:
    build = app.machine("build")

    @build.step
    @dataclass
    class Fetch:
        async def run(self) -> Compile:
            return Compile()

    @build.step(queue="heavy")
    @dataclass
    class Compile:
        async def run(self) -> Done:
            return Done("compiled")

    task = await build.enqueue(Fetch())
    async with app.worker(queues="default"):
        assert (await stands(task, "queued", "Compile")).queue == "heavy"
    async with app.worker(queues=["heavy"]):
        assert await task.result("20s") == "compiled"


async def test_steps_run_on_the_loop_in_threads_and_in_processes(app: App) -> None:
    serve(app)
    app_tasks = [await app.using(step="Ask").enqueue("sums", n=n) for n in (7, -3)]
    async with app.worker(processes=1):
        square, pid, thread = await app_tasks[0].result("30s")
        assert (square, thread) == (49, "howdah-handler")
        assert pid != os.getpid()
        # The process of the other one died once, which is a failed attempt of that step.
        assert (await app_tasks[1].result("30s"))[0] == 9
    assert await events(app, app_tasks[1]) == ["step", "retry", "step", "end"]
    assert sums.kind.executor == "loop"


async def test_a_step_in_a_thread_gets_the_context_too(app: App) -> None:
    names: list[str] = []
    plain = app.machine("plain")

    @plain.step
    @dataclass
    class Only:
        def run(self, ctx: Context) -> Done:
            names.append(threading.current_thread().name)
            ctx.progress(1, 2, "half")
            return Done(ctx.step)

    task = await plain.enqueue(Only())
    async with app.worker():
        assert await task.result("20s") == "Only"
    assert names == ["howdah-handler"]


# ── enqueue ──


@pytest.fixture
def greeter(app: App) -> Machine:
    greeter = app.machine("greeter", queue="mail", priority=3)

    @greeter.step
    @dataclass
    class ReadName:
        filename: str

        async def run(self) -> SayHello:
            return SayHello(self.filename.removesuffix(".txt"))

    @greeter.step(queue="voice")
    @dataclass
    class SayHello:
        name: str
        loud: bool = False

        async def run(self) -> Done:
            return Done(f"Hello, {self.name}")

    return greeter


def step(machine: Machine, name: str, *args: Any, **kwargs: Any) -> Any:
    return machine.kind.steps[name].cls(*args, **kwargs)


async def test_a_task_begins_with_a_step_and_has_what_the_step_says(app: App, greeter: Machine) -> None:
    first = await greeter.enqueue(step(greeter, "ReadName", "Ada.txt"))
    second = greeter.enqueue_sync(step(greeter, "SayHello", "Bob"))
    assert isinstance(first, Task)
    info = await first.info()
    assert (info.kind, info.step, info.payload, info.queue, info.priority) == (
        "greeter",
        "ReadName",
        {"filename": "Ada.txt"},
        "mail",
        3,
    )
    info = await second.info()
    assert (info.step, info.payload, info.queue) == ("SayHello", {"name": "Bob", "loud": False}, "voice")
    async with app.worker():
        assert [await task.result("20s") for task in (first, second)] == ["Hello, Ada", "Hello, Bob"]


async def test_options_for_one_task(greeter: Machine) -> None:
    begin = step(greeter, "ReadName", "Ada.txt")
    later = await (await greeter.using(delay="1h", key="ada", queue="slow", priority=9).enqueue(begin)).info()
    assert (later.queue, later.priority, later.key) == ("slow", 9, "ada")
    assert timedelta(minutes=59) < later.run_at - later.created_at < timedelta(minutes=61)
    assert (await greeter.using(key="ada").enqueue(begin)).id == later.id
    fixed = greeter.using(at=TOMORROW, step="ReadName").enqueue_sync(begin)
    assert (await fixed.info()).run_at == TOMORROW
    with pytest.raises(InvalidOption, match="begins at ReadName"):
        await greeter.using(step="SayHello").enqueue(begin)


async def test_a_task_that_is_replaced_begins_at_the_new_step(app: App, greeter: Machine) -> None:
    first = await greeter.using(key="ada", delay="1h").enqueue(step(greeter, "ReadName", "Ada.txt"))
    replaced = greeter.using(key="ada", on_conflict="replace")
    assert (await replaced.enqueue(step(greeter, "SayHello", "Ada L."))).id == first.id
    info = await first.info()
    assert (info.step, info.payload, info.queue) == ("SayHello", {"name": "Ada L.", "loud": False}, "voice")
    async with app.worker():
        assert await first.result("20s") == "Hello, Ada L."


async def test_many_tasks_begin_at_one_step(app: App, greeter: Machine, conn: psycopg.Connection) -> None:
    tasks = await greeter.enqueue_many(step(greeter, "ReadName", f"{n}.txt") for n in range(700))
    tasks += greeter.using(queue="bulk").enqueue_many_sync([step(greeter, "SayHello", "Eve")] * 2)
    found = conn.execute("select step, queue, count(*) from howdah.task group by 1, 2 order by 1").fetchall()
    assert found == [("ReadName", "mail", 700), ("SayHello", "bulk", 2)]
    async with app.worker():
        assert [await task.result("20s") for task in tasks[:3]] == ["Hello, 0", "Hello, 1", "Hello, 2"]


async def test_many_tasks_of_two_steps_are_refused_and_nothing_is_written(app: App, greeter: Machine) -> None:
    mixed = [step(greeter, "ReadName", "x"), step(greeter, "SayHello", "x")]
    with pytest.raises(InvalidPayload, match="item 1: greeter: SayHello after ReadName"):
        await greeter.enqueue_many(mixed)
    no_steps: list[Any] = [7, mixed[0]]
    for not_many in no_steps:
        with pytest.raises(InvalidPayload, match="enqueue_many takes many steps, not"):
            await greeter.enqueue_many(not_many)
    with pytest.raises(InvalidPayload, match="item 1: greeter: 'x' is no step of this machine"):
        await greeter.enqueue_many([mixed[0], "x"])  # pyright: ignore[reportArgumentType]
    assert await app.tasks() == []


async def test_a_task_is_part_of_the_callers_transaction(app: App, greeter: Machine, dsn: str) -> None:
    begin = step(greeter, "ReadName", "Ada.txt")
    async with app.transaction() as ours:
        kept = await greeter.using(connection=ours).enqueue(begin)
    async with await psycopg.AsyncConnection.connect(dsn) as theirs:
        await greeter.using(connection=theirs).enqueue(begin)
        await greeter.using(connection=theirs).enqueue_many([begin, begin])
        await theirs.rollback()
    assert [task.id for task in await app.tasks()] == [kept.id]


async def test_a_machine_is_enqueued_by_name_with_its_step(app: App, greeter: Machine) -> None:
    task = await app.using(step="SayHello").enqueue("greeter", name="Ada")
    info = await task.info()
    assert (info.step, info.payload, info.queue) == ("SayHello", {"name": "Ada", "loud": False}, "voice")
    with pytest.raises(InvalidPayload, match="name"):
        await app.using(step="SayHello").enqueue("greeter", nmae="Ada")
    for given in (app, app.using(step="SayHallo")):
        with pytest.raises(InvalidOption, match=r"greeter: .*ReadName\(filename: str\), SayHello\("):
            await given.enqueue("greeter", name="Ada")


NO_STEP: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
    ((), {}, "a machine begins with one step, not with nothing"),
    (("ReadName",), {}, "'ReadName' is no step of this machine"),
    ((), {"filename": "x"}, "a machine begins with one step, not with filename"),
    (({"filename": "x"},), {}, "is no step of this machine"),
    ((None,), {}, "None is no step of this machine"),
    ((Ask(1),), {}, "is no step of this machine"),
]


@pytest.mark.parametrize(("args", "kwargs", "said"), NO_STEP)
async def test_what_is_no_step_of_this_machine(app: App, greeter: Machine, args: Any, kwargs: Any, said: str) -> None:
    anything: Any = greeter
    with pytest.raises(InvalidPayload, match=r"^greeter: ") as error:
        await anything.enqueue(*args, **kwargs)
    assert said in str(error.value)
    assert await app.tasks() == []


@pytest.mark.parametrize(
    ("values", "said"),
    [((7,), "filename: expected str, got int"), (("a\0b",), "NUL"), ((b"x",), "filename")],
)
async def test_a_step_whose_fields_do_not_fit(app: App, greeter: Machine, values: Any, said: str) -> None:
    with pytest.raises(InvalidPayload, match="ReadName") as error:
        await greeter.enqueue(step(greeter, "ReadName", *values))
    assert said in str(error.value)
    assert await app.tasks() == []


# ── from SQL ──


async def test_sql_enqueues_a_step_with_what_the_step_says(
    app: App, greeter: Machine, conn: psycopg.Connection
) -> None:
    async with app.worker():
        ids = [
            conn.execute(query).fetchall()[0][0]
            for query in (
                """select howdah.enqueue('greeter', '{"filename": "Ada.txt"}', step => 'ReadName')""",
                """select howdah.enqueue('greeter', '{"name": "Bob"}', step => 'SayHello')""",
                """insert into howdah.task (kind, step, payload)
                   values ('greeter', 'SayHello', '{"name": "Eve"}') returning id""",
            )
        ]
        assert [await app.result(task_id, timeout="20s") for task_id in ids] == [
            "Hello, Ada",
            "Hello, Bob",
            "Hello, Eve",
        ]
    begun = "select step, queue, priority from howdah.archive where id = any (%s) order by id"
    assert conn.execute(begun, [ids]).fetchall() == [("SayHello", "voice", 3)] * 3


async def test_sql_that_names_no_step_is_told_the_steps(app: App, greeter: Machine, conn: psycopg.Connection) -> None:
    await app.worker(until_idle=True).run()
    for query, said in (
        ("select howdah.enqueue('greeter', '{}')", "kind greeter is a state machine, and step is missing"),
        ("select howdah.enqueue('greeter', '{}', step => 'Sing')", "kind greeter has no step 'Sing'"),
        ("insert into howdah.task (kind, payload) values ('greeter', '{}')", "step is missing"),
        ("insert into howdah.task (kind, step) values ('greeter', 'Sing')", "no step 'Sing'"),
    ):
        with pytest.raises(psycopg.Error) as error:
            conn.execute(query.encode())
        assert error.value.sqlstate == "HW002"
        assert said in str(error.value.diag.message_primary)
        assert error.value.diag.message_hint == "Give one of its steps: ReadName, SayHello"
    with pytest.raises(UnknownKind):
        await app.using(step="ReadName").enqueue("greeted", filename="x")


async def test_the_database_knows_the_steps_and_their_rules(app: App, greeter: Machine) -> None:
    await app.worker(until_idle=True).run()
    (kind,) = [row for row in await app.kinds() if row["name"] == "greeter"]
    read, say = kind["steps"]["ReadName"], kind["steps"]["SayHello"]
    assert (read["position"], read["start"], read["next"], read["ends"]) == (0, True, ["SayHello"], False)
    assert (say["position"], say["start"], say["next"], say["ends"], say["queue"]) == (1, False, [], True, "voice")
    assert "queue" not in read
    assert say["signature"]["required"] == ["name"]


# ── what is told of it ──


def test_the_graph_is_read_from_the_annotations(greeter: Machine) -> None:
    assert greeter.graph().text().splitlines() == ["greeter", "▶ ReadName  → SayHello", "  SayHello  → end"]


async def test_the_history_tells_every_step_and_the_retries_between_them(app: App) -> None:
    shaky = app.machine("shaky", retry=Retry(3, delay="1ms"))

    @shaky.step
    @dataclass
    class First:
        async def run(self) -> Second:
            return Second()

    @shaky.step
    @dataclass
    class Second:
        async def run(self, ctx: Context) -> Third:
            if ctx.attempt < 3:
                raise OSError("shaken")
            return Third()

    @shaky.step
    @dataclass
    class Third:
        async def run(self) -> None: ...

    task = await shaky.enqueue(First())
    async with app.worker():
        await task.result("20s")
    history = await app.history(task.id)
    told = [(event["type"], event["step"], (event["data"] or {}).get("from")) for event in history]
    assert told == [
        ("step", "Second", "First"),
        ("retry", "Second", None),
        ("retry", "Second", None),
        ("step", "Third", "Second"),
        ("end", "Third", "Third"),
    ]
    steps = [event["data"] for event in history if event["type"] in ("step", "end")]
    assert [data["attempts"] for data in steps] == [1, 3, 1]
    assert all(0 <= data["seconds"] < 20 for data in steps)


# ── join ──


async def test_join_goes_on_when_all_children_have_ended(app: App) -> None:
    gather = app.machine("gather")

    @app.task()
    async def measure(n: int) -> int:
        return n * n

    @gather.step
    @dataclass
    class Scatter:
        numbers: list[int]

        async def run(self, ctx: Context) -> Sum:
            for n in self.numbers:
                await ctx.spawn(measure, n)
            return join(Sum(len(self.numbers)))

    @gather.step
    @dataclass
    class Sum:
        expected: int

        async def run(self, ctx: Context) -> Done:
            assert len(ctx.children) == self.expected
            return Done([child.result for child in ctx.children])

    many, none = await gather.enqueue(Scatter(list(range(20)))), await gather.enqueue(Scatter([]))
    async with app.worker():
        assert await many.result("20s") == [n * n for n in range(20)]
        assert await none.result("20s") == []
