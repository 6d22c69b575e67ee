# pyright: strict, reportUnnecessaryTypeIgnoreComment=true, reportUnusedFunction=false, reportUnusedClass=false
"""What a type checker knows of machines and actors. Checked by pyright, never run: each `ignore` is a mistake it must find."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, assert_type

from howdah import (
    EOF,
    Action,
    Actor,
    App,
    Cancel,
    Context,
    Done,
    Inbox,
    Join,
    Machine,
    Misfit,
    Retry,
    Sleep,
    Snooze,
    Suspend,
    Task,
    TaskFunction,
    after,
    at,
    join,
)
from howdah.graph import Graph

app = App()
greeter = app.machine("greeter", retry=Retry(5), timeout="1m")
assert_type(greeter, Machine)


# ── steps ──


@greeter.step
@dataclass
class ReadName:
    filename: str

    async def run(self) -> SayHello | SayNothing | Snooze:
        if not self.filename:
            return SayNothing()
        return SayHello(self.filename, loud=True)


@greeter.step(retry=Retry(3), timeout="30s", queue="voice", start=True)
@dataclass
class SayHello:
    name: str
    loud: bool = False

    async def run(self, ctx: Context) -> SayNothing | Done:
        return Done(self.name)


@greeter.step(name="nothing", executor="thread")
@dataclass
class SayNothing:
    def run(self) -> None: ...


async def a_step_is_its_class_still() -> None:
    assert_type(ReadName("name.txt"), ReadName)
    assert_type(SayHello("Ada", loud=True).loud, bool)
    assert_type(await SayHello("Ada").run(await the_context()), SayNothing | Done)
    assert_type(SayNothing().run(), None)
    ReadName(7)  # pyright: ignore[reportArgumentType]
    SayHello()  # pyright: ignore[reportCallIssue]


async def the_context() -> Context: ...


@dataclass
class Idle:
    name: str


def not_every_class_is_a_step() -> None:
    greeter.step(Idle)  # pyright: ignore[reportArgumentType]
    greeter.step()(Idle)  # pyright: ignore[reportArgumentType]
    greeter.step(print)  # pyright: ignore[reportArgumentType]
    greeter.step(retries=3)  # pyright: ignore[reportCallIssue]
    greeter.step(timeout=["1s"])  # pyright: ignore[reportArgumentType]
    greeter.step(executor="cloud")  # pyright: ignore[reportArgumentType]
    app.machine(7)  # pyright: ignore[reportArgumentType]
    app.machine("x", transactional=True)  # pyright: ignore[reportCallIssue]


# ── moves: what is returned is what the annotation says, now or later ──


def a_later_step_has_the_type_of_the_step() -> None:
    assert_type(after("5s", SayHello("Ada")), SayHello)
    assert_type(at(datetime.now(UTC), SayHello("Ada")), SayHello)
    assert_type(join(SayHello("Ada")), SayHello)
    after(["5s"], SayHello("Ada"))  # pyright: ignore[reportArgumentType]
    at("tomorrow", SayHello("Ada"))  # pyright: ignore[reportArgumentType]


@greeter.step
@dataclass
class Legal:
    which: int

    async def run(self) -> SayHello | Legal | Cancel | None:
        match self.which:
            case 1:
                return after("5s", SayHello("Ada"))
            case 2:
                return at(datetime.now(UTC), Legal(1))
            case 3:
                return join(SayHello("Ada"))
            case 4:
                return Cancel("not wanted")
            case _:
                return None


@greeter.step
@dataclass
class Illegal:
    which: int

    async def run(self) -> SayHello:
        match self.which:
            case 1:
                return SayNothing()  # pyright: ignore[reportReturnType]
            case 2:
                return after("5s", SayNothing())  # pyright: ignore[reportReturnType]
            case 3:
                return at(datetime.now(UTC), Illegal(1))  # pyright: ignore[reportReturnType]
            case 4:
                return join(Illegal(1))  # pyright: ignore[reportReturnType]
            case 5:
                return None  # pyright: ignore[reportReturnType]
            case 6:
                return Done(1)  # pyright: ignore[reportReturnType]
            case 7:
                return Snooze("1s")  # pyright: ignore[reportReturnType]
            case _:
                return SayHello("Ada")


# ── enqueue ──


async def a_machine_is_enqueued_with_a_step() -> None:
    assert_type(await greeter.enqueue(ReadName("name.txt")), Task[Any])
    assert_type(greeter.enqueue_sync(SayHello("Ada")), Task[Any])
    assert_type(await greeter.enqueue_many([ReadName("a"), ReadName("b")]), list[Task[Any]])
    assert_type(greeter.enqueue_many_sync(ReadName(name) for name in "ab"), list[Task[Any]])
    await greeter.enqueue_many(["a", "b"])  # pyright: ignore[reportArgumentType]
    await greeter.enqueue("name.txt")  # pyright: ignore[reportArgumentType]
    await greeter.enqueue(Idle("x"))  # pyright: ignore[reportArgumentType]
    await greeter.enqueue()  # pyright: ignore[reportCallIssue]
    await greeter.enqueue(ReadName("a"), ReadName("b"))  # pyright: ignore[reportCallIssue]
    await greeter.enqueue(filename="name.txt")  # pyright: ignore[reportCallIssue]

    bound = greeter.using(delay="1h", key="k", priority=9, queue="q", step="ReadName")
    assert_type(await bound.enqueue(ReadName("name.txt")), Task[Any])
    assert_type(await bound.enqueue_many([ReadName("a")]), list[Task[Any]])
    assert_type(await greeter.using(key="k", on_conflict="skip").enqueue(ReadName("a")), Task[Any] | None)
    await bound.enqueue("name.txt")  # pyright: ignore[reportArgumentType]
    greeter.using(dealy="1h")  # pyright: ignore[reportCallIssue]
    greeter.using(priority="high")  # pyright: ignore[reportArgumentType]

    assert_type(await app.using(step="ReadName").enqueue("greeter", filename="name.txt"), Task[Any])
    assert_type(greeter.graph(), Graph)
    assert_type(greeter.graph().text(), str)


# ── actors ──


@dataclass
class Add:
    n: int


@app.actor("tally", inbox=Add | EOF, retry=Retry(3), timeout="30s")
@dataclass
class Tally:
    total: int = 0

    async def poll(self, ctx: Context, inbox: Inbox[Add | EOF]) -> Action:
        for message in inbox:
            assert_type(message, Add | EOF)
            if isinstance(message, EOF):
                assert_type(message.status, Literal["succeeded", "cancelled", "failed"])
                assert_type(message.task_id, int)
                assert_type(message.succeeded, bool)
                assert_type(message.error, str | None)
            else:
                self.total += message.n
        assert_type(list(inbox), list[Add | EOF])
        assert_type(len(inbox), int)
        assert_type(inbox.sender, int | None)
        return Suspend()

    async def misfit(self, ctx: Context, message: Misfit) -> None:
        assert_type((message.id, message.sender, message.body, message.error), tuple[int, int | None, str, str])


@app.actor("blocking", inbox=int)
@dataclass
class Blocking:
    def poll(self, ctx: Context, inbox: Inbox[int]) -> Action:
        return Done(sum(inbox))


@dataclass
class Plain:
    n: int

    async def poll(self, ctx: Context, inbox: Inbox[int]) -> Action: ...


plain = app.actor("plain", inbox=int)(Plain)


def an_action_is_one_of_three(which: int) -> Action:
    match which:
        case 1:
            return Suspend(until="10m")
        case 2:
            return Suspend(until=datetime.now(UTC))
        case 3:
            return Sleep("10s")
        case 4:
            return Done([1, 2])
        case 5:
            return None  # pyright: ignore[reportReturnType]
        case 6:
            return Sleep()  # pyright: ignore[reportCallIssue]
        case 7:
            return Suspend(until=["10m"])  # pyright: ignore[reportArgumentType]
        case _:
            return Snooze("1s")  # pyright: ignore[reportReturnType]


async def an_actor_is_enqueued_with_its_state_and_sent_messages() -> None:
    assert_type(plain, Actor[Plain])
    assert_type(plain(3), Plain)
    assert_type(plain(3).n, int)
    plain("three")  # pyright: ignore[reportArgumentType]
    plain()  # pyright: ignore[reportCallIssue]

    task = await Tally.enqueue(total=100)
    assert_type(task, Task[Any])
    assert_type(Tally.enqueue_sync(100), Task[Any])
    assert_type(await Tally.using(key="k", delay="1h").enqueue(total=1), Task[Any])
    assert_type(await Tally.using(key="k", on_conflict="skip").enqueue(total=1), Task[Any] | None)
    Tally.using(dealy="1h")  # pyright: ignore[reportCallIssue]
    assert_type(await task.send(Add(5)), int)
    assert_type(await app.send(task.id, {"n": 5}), int)
    assert_type(task.send_sync(Add(5)), int)


class NoPoll:
    async def pole(self) -> None: ...


def what_is_no_actor() -> None:
    app.actor("x")(NoPoll)  # pyright: ignore[reportArgumentType]
    app.actor("x")(print)  # pyright: ignore[reportArgumentType]
    app.actor("x", retries=3)  # pyright: ignore[reportCallIssue]
    app.actor("x", executor="cloud")  # pyright: ignore[reportArgumentType]


# ── families ──


@app.task()
async def square(n: int) -> int:
    return n * n


@app.task()
async def total(ctx: Context, numbers: list[int]) -> int | Join:
    if ctx.children:
        assert_type(ctx.children, list[EOF])
        return sum(child.result for child in ctx.children)
    for n in numbers:
        assert_type(await ctx.spawn(square, n), int)
    assert_type(await ctx.spawn(Tally, Add(1), total=7), int)
    assert_type(await ctx.spawn(greeter, ReadName("name.txt")), int)
    assert_type(await ctx.spawn(square.using(delay="1h"), 3), int)
    assert_type(ctx.spawn_sync("square", 3), int)
    assert_type(ctx.parent, int | None)
    ctx.send(7, Add(1))
    ctx.reply({"n": 1})
    return Join(numbers)


async def a_join_is_no_result() -> None:
    assert_type(await total.enqueue([1, 2]), Task[int])
    assert_type(await (await total.enqueue([1, 2])).result(), int)
    function: TaskFunction[[int], int, Callable[..., Any]] = square
    assert_type(await function.enqueue(3), Task[int])
