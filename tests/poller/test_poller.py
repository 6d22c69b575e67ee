"""One loop that asks, tells and rests. Turn by turn where that is enough."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from howdah.errors import InvalidOption
from howdah.poller import (
    DuplicateInstruction,
    ErrorEvent,
    InvalidResult,
    Poll,
    Poller,
    PollerRunning,
    TaskEvent,
)
from waiting import until


class Store:
    """Polls that are answered from a list, and what they were told."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.polls: list[Poll[Any]] = []
        self.asked = asyncio.Event()

    async def poll(self, poll: Poll[Any]) -> Any:
        self.polls.append(poll)
        self.asked.set()
        answer = self.answers.pop(0) if self.answers else []
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def attempts(self) -> list[int]:
        return [poll.attempt for poll in self.polls]


def recorded(poller: Poller[Any]) -> tuple[list[Any], list[Exception]]:
    """Its instructions and its errors, as they come."""
    instructions: list[Any] = []
    errors: list[Exception] = []
    poller.on("task", lambda event: instructions.append(event.instruction))
    poller.on("error", lambda event: errors.append(event.error))
    return instructions, errors


# ── events ──


async def test_each_instruction_is_told_to_each_listener_in_order():
    poller = Poller("mails", Store([1, 2]).poll, concurrency=2)
    told: list[tuple[str, TaskEvent[int]]] = []
    for name in ("first", "second"):
        poller.on("task", lambda event, name=name: told.append((name, event)))
    await poller.turn()
    assert told == [(name, TaskEvent("mails", n)) for n in (1, 2) for name in ("first", "second")]


async def test_errors_are_told_as_they_are():
    error = KeyError("x")
    poller = Poller("mails", Store(error).poll)
    told: list[ErrorEvent] = []
    poller.on("error", told.append)
    await poller.turn()
    assert told == [ErrorEvent("mails", error)]


def test_on_returns_the_listener_and_is_a_decorator():
    poller = Poller("mails", lambda poll: [])

    @poller.on("task")
    def decorated(event: TaskEvent[int]) -> str:
        return "mine"

    assert decorated(TaskEvent("mails", 1)) == "mine"
    assert poller.on("error", print) is print


async def test_the_decorated_listener_is_called():
    poller = Poller("mails", Store([1]).poll)
    told = []

    @poller.on("task")
    def decorated(event: TaskEvent[int]) -> None:
        told.append(event)

    await poller.turn()
    assert told == [TaskEvent("mails", 1)]


@pytest.mark.parametrize(
    ("name", "hint"), [("tasks", 'Did you mean "task"?'), ("zzz", 'There are "task" and "error"'), (5, "There are")]
)
@pytest.mark.parametrize("listener", [(), (print,)])
def test_an_event_that_does_not_exist_is_refused_at_once(name, hint, listener):
    with pytest.raises(InvalidOption, match=f"no event {name!r}") as caught:
        Poller("mails", lambda poll: []).on(name, *listener)
    assert hint in str(caught.value)


@pytest.mark.parametrize("listener", [5, lambda: None, lambda one, two: None])
def test_a_listener_that_cannot_be_called_with_an_event_is_refused(listener):
    with pytest.raises(InvalidOption, match="listener must be a function of"):
        Poller("mails", lambda poll: []).on("task", listener)


async def test_a_listener_that_raises_is_an_error_event_and_the_others_are_called():
    poller = Poller("mails", Store([1]).poll)
    error = ValueError("x")

    def fails(event: TaskEvent[int]) -> None:
        raise error

    async def fails_later(event: TaskEvent[int]) -> None:
        raise error

    poller.on("task", fails)
    poller.on("task", fails_later)
    instructions, errors = recorded(poller)
    await poller.turn()
    await poller.stop()
    assert (instructions, errors) == ([1], [error, error])


async def test_an_error_listener_that_raises_is_logged_and_not_called_again(caplog: pytest.LogCaptureFixture):
    poller = Poller("mails", Store(ValueError("first")).poll)
    told = []

    async def fails_later(event: ErrorEvent) -> None:
        told.append(event)
        raise KeyError("second")

    def fails(event: ErrorEvent) -> None:
        told.append(event)
        raise KeyError("third")

    poller.on("error", fails_later)
    poller.on("error", fails)
    await poller.turn()
    await poller.stop()
    assert len(told) == 2
    assert sorted(str(r.exc_info[1]) for r in caplog.records if r.exc_info) == ["'second'", "'third'"]


async def test_without_a_listener_for_errors_they_are_logged(caplog: pytest.LogCaptureFixture):
    await Poller("mails", Store(ValueError("boom")).poll).turn()
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("howdah.poller", logging.ERROR)
    assert record.getMessage() == "poller mails: boom"
    caplog.clear()
    poller = Poller("mails", Store(ValueError("boom")).poll)
    poller.on("error", lambda event: None)
    await poller.turn()
    assert not caplog.records


# ── attempts and delays ──


async def test_an_attempt_counts_the_polls_since_one_produced():
    store = Store([], [], [1], [], [2], [3])
    poller = Poller("mails", store.poll)
    for _ in range(6):
        await poller.turn()
    assert store.attempts == [0, 1, 2, 0, 1, 0]


@pytest.mark.parametrize("wrong", [ValueError("x"), None, [1, 2], [object()]])
async def test_a_poll_that_fails_produced_nothing(wrong):
    store = Store(wrong, [])
    poller = Poller("mails", store.poll)
    _, errors = recorded(poller)
    await poller.turn()
    await poller.turn()
    assert store.attempts == [0, 1]
    assert len(errors) == 1


async def test_a_poll_with_errors_and_an_instruction_produced():
    store = Store([], [object(), 1], [])
    poller = Poller("mails", store.poll, concurrency=2)
    recorded(poller)
    for _ in range(3):
        await poller.turn()
    assert store.attempts == [0, 1, 0]


async def test_the_rest_is_the_delay_after_so_many_polls_without_work():
    poller = Poller("mails", Store([], [], [1]).poll, delay=lambda attempt: f"{attempt + 1}ms")
    assert [await poller.turn() for _ in range(3)] == [0.002, 0.003, 0.001]


async def test_a_delay_function_that_fails_is_an_error_event_and_a_second_of_rest():
    def delay(attempt: int) -> float:
        raise KeyError(attempt)

    for function, kind in ((delay, KeyError), (lambda attempt: "soon", InvalidResult)):
        poller = Poller("mails", Store([1], [2]).poll, delay=function)
        instructions, errors = recorded(poller)
        assert [await poller.turn(), await poller.turn()] == [1, 1]
        assert instructions == [1, 2]
        assert [type(error) for error in errors] == [kind, kind]


# ── what is active ──


@pytest.mark.parametrize("is_async", [True, False])
async def test_active_is_what_the_store_says(is_async):
    store = Store()

    async def later() -> list[int]:
        return [7, 8]

    poller = Poller("mails", store.poll, active=later if is_async else lambda: [7, 8], concurrency=3)
    await poller.turn()
    assert [(poll.active, poll.limit) for poll in store.polls] == [([7, 8], 1)]


@pytest.mark.parametrize("active", [lambda: 1 / 0, lambda: None, lambda: "ab", lambda: [object()]])
async def test_a_wrong_active_is_an_error_and_counts_as_a_poll_that_produced_nothing(active):
    store = Store()
    poller = Poller("mails", store.poll, active=active, concurrency=9, delay=lambda attempt: attempt)
    _, errors = recorded(poller)
    assert [await poller.turn(), await poller.turn()] == [1, 2]
    assert (len(errors), store.polls) == (2, [])


async def test_when_the_store_is_full_nothing_is_asked_and_the_attempt_stays():
    store, live = Store([], []), [1, 2]
    poller = Poller("mails", store.poll, active=lambda: live, concurrency=2, delay=lambda attempt: attempt + 1)
    assert [await poller.turn(), await poller.turn()] == [1, 1]
    assert store.polls == []
    live.pop()
    assert await poller.turn() == 2
    live.append(2)
    assert await poller.turn() == 2
    assert store.attempts == [0]


async def test_without_active_an_instruction_is_live_while_its_async_listeners_run():
    store, go = Store(["a"], ["b"]), asyncio.Event()
    poller = Poller("mails", store.poll, concurrency=3)

    async def looks(active: list[str]) -> bool:
        async def look() -> bool:
            await poller.turn()
            return store.polls[-1].active == active

        return await until(look, f"{active} to be what is active")

    @poller.on("task")
    async def work(event: TaskEvent[str]) -> None:
        if event.instruction != "b":
            await go.wait()

    @poller.on("task")
    async def works_too(event: TaskEvent[str]) -> None:  # Twice at work on it, and it is one instruction.
        await work(event)

    @poller.on("task")
    def notes(event: TaskEvent[str]) -> None:
        pass

    await poller.turn()
    await poller.turn()
    assert [(poll.active, poll.limit) for poll in store.polls] == [([], 3), (["a"], 2)]
    assert await looks(["a"])
    go.set()
    await poller.stop()
    assert await looks([])


async def test_an_instruction_whose_listener_runs_is_not_taken_again():
    store, go = Store([1], [1, 2]), asyncio.Event()
    poller = Poller("mails", store.poll, concurrency=3)
    instructions, errors = recorded(poller)
    poller.on("task", lambda event: go.wait())
    await poller.turn()
    await poller.turn()
    assert instructions == [1, 2]
    assert [type(error) for error in errors] == [DuplicateInstruction]
    go.set()
    await poller.stop()


async def test_with_only_sync_listeners_an_instruction_is_done_when_it_was_told():
    store = Store([1], [1])
    poller = Poller("mails", store.poll)
    instructions, errors = recorded(poller)
    await poller.turn()
    await poller.turn()
    assert (instructions, errors) == ([1, 1], [])


async def test_an_async_error_listener_takes_no_room():
    store, go = Store(ValueError("x"), []), asyncio.Event()
    poller = Poller("mails", store.poll)
    poller.on("error", lambda event: go.wait())
    await poller.turn()
    await poller.turn()
    assert [poll.active for poll in store.polls] == [[], []]
    go.set()
    await poller.stop()


# ── the loop ──


async def until_told(poller: Poller[Any], wanted: Callable[[list[Any]], bool]) -> None:
    """Run the poller until the instructions told are as wanted."""
    told: list[Any] = []
    enough = asyncio.Event()

    def note(event: TaskEvent[Any]) -> None:
        told.append(event.instruction)
        if wanted(told):
            enough.set()

    poller.on("task", note)
    async with asyncio.timeout(20), poller:
        await enough.wait()


async def test_the_loop_goes_on_whatever_fails():
    """Whatever a function or a listener does, the poller asks again."""
    answers = [ValueError("poll"), None, [1, 2, 3], [object()], [1]]
    hurdles = iter([KeyError("active"), KeyError("limit"), KeyError("delay")])

    def hurdle(kind: str) -> None:
        nonlocal waiting
        if waiting and waiting.args[0] == kind:
            error, waiting = waiting, next(hurdles, None)
            raise error

    waiting = next(hurdles, None)

    def active() -> list[int]:
        hurdle("active")
        return []

    def limit(concurrency: int, active: int) -> int:
        hurdle("limit")
        return 1

    def delay(attempt: int) -> float:
        hurdle("delay")
        return 0

    store = Store(*answers)
    poller = Poller("mails", store.poll, active=active, limit=limit, delay=delay)
    errors = []
    poller.on("error", lambda event: errors.append(event.error))
    await until_told(poller, lambda told: told == [1])
    assert sorted(type(error).__name__ for error in errors) == sorted(
        ["KeyError"] * 3 + ["ValueError", "InvalidResult", "InvalidResult", "InvalidInstruction"]
    )


async def test_a_full_poller_asks_again_when_one_of_its_listeners_ends():
    """The delay is an hour: only the end of the listener can be what wakes it."""
    store = Store([1], [2])
    go, full, both = asyncio.Event(), asyncio.Event(), asyncio.Event()
    told: list[int] = []
    rests = iter([0])

    def delay(attempt: int) -> int:
        rest = next(rests, 3600)
        if rest:  # The second look is over.
            full.set()
        return rest

    poller = Poller("mails", store.poll, delay=delay)

    @poller.on("task")
    async def work(event: TaskEvent[int]) -> None:
        told.append(event.instruction)
        if len(told) == 2:
            both.set()
        await go.wait()

    async with asyncio.timeout(20), poller:
        await full.wait()
        assert told == [1]
        go.set()
        await both.wait()


async def test_a_poller_with_room_rests_its_delay_though_a_listener_ends():
    """Two may be live and one was: its end is no reason to ask sooner than the delay says."""
    store, ended = Store([1]), asyncio.Event()
    poller = Poller("mails", store.poll, concurrency=2, delay="1h")

    @poller.on("task")
    async def work(event: TaskEvent[int]) -> None:
        ended.set()

    async with asyncio.timeout(20), poller:
        await ended.wait()
        for _ in range(100):  # All it would need to ask again.
            await asyncio.sleep(0)
        assert len(store.polls) == 1


async def test_a_delay_of_nothing_lets_others_run():
    store = Store()
    poller = Poller("mails", store.poll, delay=0)
    async with asyncio.timeout(20), poller:
        await until(lambda: len(store.polls) >= 5)


async def test_a_blocking_poll_does_not_block_the_loop():
    polled, release = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def poll(poll: Poll[int]) -> list[int]:
        loop.call_soon_threadsafe(polled.set)
        assert release.wait(20)
        return []

    poller = Poller("mails", poll, delay="1h")
    async with asyncio.timeout(20), poller:
        await polled.wait()  # The loop runs, and the poll has not returned.
        release.set()


async def test_a_poller_that_runs_cannot_be_started_again():
    poller = Poller("mails", Store().poll)
    async with poller:
        assert poller.running
        with pytest.raises(PollerRunning, match=r"poller 'mails' is running already\. Stop it first"):
            await poller.start()
    assert not poller.running


async def test_after_stop_it_starts_again_with_attempt_0():
    store = Store()
    poller = Poller("mails", store.poll, delay=lambda attempt: 0 if attempt < 3 else 3600)
    for _ in range(2):
        store.asked.clear()
        async with asyncio.timeout(20), poller:
            await until(lambda: poller.attempt == 3)
    assert store.attempts == [0, 1, 2, 0, 1, 2]


def test_it_starts_again_in_another_event_loop():
    store = Store()
    poller = Poller("mails", store.poll, delay="1h")

    async def once() -> None:
        store.asked = asyncio.Event()
        async with asyncio.timeout(20), poller:
            await store.asked.wait()

    asyncio.run(once())
    asyncio.run(once())
    assert store.attempts == [0, 0]
