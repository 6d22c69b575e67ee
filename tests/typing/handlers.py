# pyright: strict, reportUnnecessaryTypeIgnoreComment=true, reportUnusedFunction=false
"""What a type checker knows of a handler. Checked by pyright, never run: each `ignore` is a mistake it must find."""

from __future__ import annotations

from typing import Any, assert_type

from howdah import Again, App, Cancel, Context, Snooze, Task

app = App()


@app.task()
async def plain(user_id: int, name: str = "x") -> str: ...


@app.task(name="other")
def blocking(user_id: int) -> list[int]: ...


@app.task()
async def nothing() -> None: ...


@app.task()
async def context_first(ctx: Context, user_id: int, *, name: str = "x") -> str: ...


@app.task()
async def context_only(ctx: Context) -> int: ...


@app.task()
async def context_last(user_id: int, ctx: Context) -> str: ...


@app.task()
async def context_last_of_three(user_id: int, name: str, ctx: Context) -> str: ...


@app.task()
def blocking_context_last(user_id: int, ctx: Context | None = None) -> str: ...


@app.task()
async def context_by_keyword(user_id: int, *, ctx: Context) -> str: ...


@app.task()
async def anything(value: Any, size: int) -> str: ...


@app.task()
async def outcomes(page: int) -> int | Again | Snooze | Cancel: ...


@app.task()
async def outcomes_and_none(ctx: Context, page: int) -> int | Again | None: ...


async def arguments_and_results() -> None:
    assert_type(await plain.using(key="w:{user_id}", unique_for="forever").enqueue_many([(1,)]), list[Task[str]])
    assert_type(await app.holder("w:1"), Task[Any] | None)
    assert_type(await app.cancel(key="w:1", reason="enough"), str)
    assert_type(await app.cancel(1, "enough"), str)
    await app.retry()  # pyright: ignore[reportCallIssue]
    await app.show(1, key="w:1")  # pyright: ignore[reportCallIssue]
    assert_type(await plain.enqueue(42), Task[str])
    assert_type(await plain.enqueue(user_id=42, name="y"), Task[str])
    assert_type(plain.enqueue_sync(42, "y"), Task[str])
    assert_type(await (await plain.enqueue(42)).result("1s"), str)
    assert_type(plain.enqueue_sync(42).result_sync(), str)
    await plain.enqueue()  # pyright: ignore[reportCallIssue]
    await plain.enqueue("42")  # pyright: ignore[reportArgumentType]
    await plain.enqueue(42, nam="y")  # pyright: ignore[reportCallIssue]
    plain.enqueue_sync(42, "y", 3)  # pyright: ignore[reportCallIssue]

    assert_type(await blocking.enqueue(1), Task[list[int]])
    await blocking.enqueue("1")  # pyright: ignore[reportArgumentType]
    assert_type(await nothing.enqueue(), Task[None])
    await nothing.enqueue(1)  # pyright: ignore[reportCallIssue]


async def a_context_is_not_passed() -> None:
    assert_type(await context_first.enqueue(42), Task[str])
    assert_type(await context_first.enqueue(user_id=42, name="y"), Task[str])
    await context_first.enqueue("42")  # pyright: ignore[reportArgumentType]
    await context_first.enqueue(42, nam="y")  # pyright: ignore[reportCallIssue]
    assert_type(await context_only.enqueue(), Task[int])
    await context_only.enqueue(1)  # pyright: ignore[reportCallIssue]

    assert_type(await context_last.enqueue(42), Task[str])
    assert_type(context_last.enqueue_sync(42), Task[str])
    assert_type(await (await context_last.enqueue(42)).result(), str)
    await context_last.enqueue("42")  # pyright: ignore[reportArgumentType]
    await context_last.enqueue(42, 43)  # pyright: ignore[reportCallIssue]
    context_last.enqueue_sync("42")  # pyright: ignore[reportArgumentType]
    assert_type(await blocking_context_last.enqueue(42), Task[str])

    # Behind the position of the Context the names are lost to a type checker: keywords are taken as they come.
    assert_type(await context_last.enqueue(user_id=42), Task[str])
    assert_type(await context_last_of_three.enqueue(42, "y"), Task[str])
    assert_type(await context_last_of_three.enqueue(42, name="y"), Task[str])
    assert_type(await context_last_of_three.enqueue(user_id=42, name="y"), Task[str])
    await context_last_of_three.enqueue("42", name="y")  # pyright: ignore[reportArgumentType]
    await context_last_of_three.enqueue(42, "y", 3)  # pyright: ignore[reportCallIssue]
    assert_type(await context_by_keyword.enqueue(user_id=42), Task[str])

    # A parameter that takes anything may be the Context for all a type checker knows.
    assert_type(await anything.enqueue([1], size=2), Task[str])


async def options() -> None:
    assert_type(await plain.using(delay="1h", key="k", priority=9).enqueue(42), Task[str])
    assert_type(await plain.using(on_conflict="replace").enqueue(42), Task[str])
    assert_type(await plain.using(on_conflict="skip").enqueue(42), Task[str] | None)
    assert_type(plain.using(on_conflict="skip").enqueue_sync(42), Task[str] | None)
    await plain.using(delay="1h").enqueue("42")  # pyright: ignore[reportArgumentType]
    plain.using(dealy="1h")  # pyright: ignore[reportCallIssue]
    plain.using(priority="high")  # pyright: ignore[reportArgumentType]
    plain.using(on_conflict="ignore")  # pyright: ignore[reportArgumentType, reportCallIssue]

    assert_type(await context_last.using(delay="1h").enqueue(42), Task[str])
    assert_type(await context_last.using(on_conflict="skip").enqueue(42), Task[str] | None)
    await context_last.using(delay="1h").enqueue("42")  # pyright: ignore[reportArgumentType]
    context_last.using(dealy="1h")  # pyright: ignore[reportCallIssue]


async def many() -> None:
    assert_type(await plain.enqueue_many([(1,), (2, "y")]), list[Task[str]])
    assert_type(await plain.enqueue_many({"user_id": n} for n in range(3)), list[Task[str]])
    assert_type(plain.using(delay=5).enqueue_many_sync([(1,), {"user_id": 2}]), list[Task[str]])
    assert_type(await context_last.enqueue_many([(1,)]), list[Task[str]])
    await plain.enqueue_many([1, 2])  # pyright: ignore[reportArgumentType]


async def by_name() -> None:
    assert_type(await app.enqueue("plain", user_id=42), Task[Any])
    assert_type(app.using(delay=1).enqueue_sync("plain", user_id=42), Task[Any])
    assert_type(await app.using(on_conflict="skip", key="k").enqueue("plain", user_id=42), Task[Any] | None)
    await app.enqueue("plain", 42)  # pyright: ignore[reportArgumentType]
    app.using(dealy=1)  # pyright: ignore[reportCallIssue]


async def outcomes_are_no_results() -> None:
    assert_type(await outcomes.enqueue(1), Task[int])
    assert_type(await outcomes_and_none.enqueue(1), Task[int | None])
    assert_type(await (await outcomes.enqueue(1)).result(), int)


async def called_directly_it_is_the_function(ctx: Context) -> None:
    assert_type(await plain(42), str)
    assert_type(await plain(user_id=42, name="y"), str)
    assert_type(blocking(42), list[int])
    assert_type(await context_first(ctx, 42), str)
    assert_type(await context_last(42, ctx), str)
    assert_type(await context_last(42, ctx=ctx), str)
    assert_type(await context_by_keyword(42, ctx=ctx), str)
    assert_type(blocking_context_last(42), str)
    await plain("42")  # pyright: ignore[reportArgumentType]
    await context_first(42)  # pyright: ignore[reportCallIssue]


@app.task  # pyright: ignore[reportArgumentType]
async def without_parentheses() -> None: ...
