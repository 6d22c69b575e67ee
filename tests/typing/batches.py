# pyright: strict, reportUnnecessaryTypeIgnoreComment=true, reportUnusedFunction=false
"""What a type checker knows of a handler of many tasks. Checked by pyright, never run: each `ignore` is a mistake it must find."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_type

from howdah import App, Context, Retry, Snooze, Task

app = App()


@dataclass
class Document:
    id: int


@app.task(batch=100, wait="50ms")
async def index(document: list[Document]) -> list[int]: ...


@app.task(batch=100)
async def outcomes(document: list[Document], contexts: list[Context]) -> list[int | Snooze | Exception] | None: ...


@app.task(batch=100, queue="night", retry=Retry(3))
async def nothing(contexts: list[Context], document: list[Document]) -> None: ...


@app.task(batch=100)
def two(user_id: list[int], text: list[str]) -> list[str]: ...


@app.task(batch=100)
def two_with_contexts(user_id: list[int], text: list[str], contexts: list[Context]) -> list[str]: ...


@app.task(batch=100)
async def three(a: list[int], b: list[int], c: list[int]) -> list[int]: ...


async def one_by_one() -> None:
    assert_type(await index.enqueue(Document(1)), Task[int])
    assert_type(await (await index.enqueue(Document(1))).result(), int)
    assert_type(index.enqueue_sync(Document(1)), Task[int])
    assert_type(await index.using(on_conflict="skip", key="k").enqueue(Document(1)), Task[int] | None)
    assert_type(await index.enqueue_many([(Document(n),) for n in range(3)]), list[Task[int]])
    await index.enqueue([Document(1)])  # pyright: ignore[reportArgumentType]
    await index.enqueue(1)  # pyright: ignore[reportArgumentType]
    await index.enqueue()  # pyright: ignore[reportCallIssue]

    assert_type(await outcomes.enqueue(Document(1)), Task[int])
    assert_type(await nothing.enqueue(Document(1)), Task[None])
    await outcomes.enqueue(2)  # pyright: ignore[reportArgumentType]

    assert_type(await two.enqueue(1, "x"), Task[str])
    assert_type(await two_with_contexts.enqueue(1, "x"), Task[str])
    await two.enqueue("x", 1)  # pyright: ignore[reportArgumentType]
    await three.enqueue(1, 2, 3)


async def called_directly_it_is_the_function() -> None:
    await index([Document(1)])
    await index(Document(1))  # pyright: ignore[reportArgumentType]
    two([1], ["x"])


app.task(batch="100")  # pyright: ignore[reportArgumentType]
app.task(wait="50ms")  # pyright: ignore[reportCallIssue]
app.task(batch=100, transactional=True)  # pyright: ignore[reportCallIssue]
