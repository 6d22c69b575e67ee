"""Several pollers that run together."""

from __future__ import annotations

import asyncio

import pytest

from howdah.errors import InvalidOption
from howdah.poller import ErrorEvent, Poll, Poller, PollerRunning, Pollers, TaskEvent
from waiting import until


def once(name: str) -> Poller[str]:
    """A poller that finds one instruction, its name, and then nothing."""
    found = [name]
    return Poller(name, lambda poll: [found.pop()] if found else [], delay="1h")


async def test_they_start_and_stop_together_and_one_listener_hears_all():
    pollers = Pollers(once("a"), once("b"))
    told: list[TaskEvent[str]] = []

    @pollers.on("task")
    def note(event: TaskEvent[str]) -> None:
        told.append(event)

    async with pollers:
        await until(lambda: len(told) == 2)
    assert sorted(told, key=str) == [TaskEvent("a", "a"), TaskEvent("b", "b")]


async def test_one_listener_hears_the_errors_of_all():
    error = ValueError("x")

    async def poll(poll: Poll[int]) -> list[int]:
        raise error

    pollers = Pollers(Poller("a", poll, delay="1h"), Poller("b", poll, delay="1h"))
    told: list[ErrorEvent] = []
    assert pollers.on("error", told.append) == told.append
    async with pollers:
        await until(lambda: len(told) == 2)
    assert sorted(told, key=str) == [ErrorEvent("a", error), ErrorEvent("b", error)]


async def test_a_poller_added_later_has_the_listeners_of_all():
    pollers = Pollers()
    told: list[TaskEvent[str]] = []
    pollers.on("task", told.append)
    pollers.add(once("late"))
    async with pollers:
        await until(lambda: told == [TaskEvent("late", "late")])


def test_two_of_one_name_are_refused():
    with pytest.raises(InvalidOption, match="two pollers have the name 'a'"):
        Pollers(once("a"), once("b"), once("a"))
    pollers = Pollers(once("a"))
    with pytest.raises(InvalidOption, match="two pollers have the name 'a'"):
        pollers.add(once("a"))


def test_what_is_no_poller_and_no_event_is_refused():
    with pytest.raises(InvalidOption, match="poller must be a Poller"):
        Pollers(5)
    with pytest.raises(InvalidOption, match=r'no event .* Did you mean "task"'):
        Pollers().on("taks", print)
    with pytest.raises(InvalidOption, match="listener must be a function"):
        Pollers().on("task", 5)


async def test_none_is_added_while_they_run():
    async with Pollers(once("a")) as pollers:
        with pytest.raises(PollerRunning, match="'b' comes too late"):
            pollers.add(once("b"))
    pollers.add(once("b"))


async def test_if_one_runs_already_none_is_started():
    first, second = once("a"), once("b")
    async with second:
        with pytest.raises(PollerRunning, match="'b' is running already"):
            await Pollers(first, second).start()
        assert (first.running, second.running) == (False, True)


def held(name: str, begun: asyncio.Event, ended: list[str], go: asyncio.Event) -> Poller[int]:
    async def poll(poll: Poll[int]) -> list[int]:
        begun.set()
        try:
            await go.wait()
        except asyncio.CancelledError:
            ended.append(f"{name} cancelled")
            raise
        ended.append(f"{name} ended")
        return []

    return Poller(name, poll)


async def test_a_stop_tells_all_before_it_waits_for_one():
    """The poll of the first is still in flight: the second, which comes after it, polls no more."""
    begun, go = asyncio.Event(), asyncio.Event()
    ended: list[str] = []
    second = Poller("b", lambda poll: [], delay=0)
    pollers = Pollers(held("a", begun, ended, go), second)
    await pollers.start()
    await begun.wait()
    stop = asyncio.create_task(pollers.stop())
    await until(lambda: not second.running)
    assert ended == []
    go.set()
    await stop
    assert ended == ["a ended"]


@pytest.mark.parametrize("way", ["timeout", "cancelled stop", "cancelled owner"])
async def test_a_stop_that_is_cut_leaves_nothing_of_any_of_them(way):
    begun, ended = [asyncio.Event(), asyncio.Event()], []
    pollers = Pollers(*(held(name, event, ended, asyncio.Event()) for name, event in zip("ab", begun, strict=True)))

    async def own() -> None:
        async with pollers:
            await asyncio.Event().wait()

    owner = asyncio.create_task(own())
    for event in begun:
        await event.wait()
    if way == "timeout":
        await pollers.stop(timeout="20ms")
    elif way == "cancelled stop":
        stop = asyncio.create_task(pollers.stop())
        await asyncio.sleep(0)
        stop.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stop
    owner.cancel()
    with pytest.raises(asyncio.CancelledError):
        await owner
    assert sorted(ended) == ["a cancelled", "b cancelled"]


async def test_listeners_may_stop_all_at_once():
    pollers = Pollers(once("a"), once("b"))
    told: list[str] = []
    both = asyncio.Event()

    @pollers.on("task")
    async def work(event: TaskEvent[str]) -> None:
        told.append(event.poller)
        if len(told) == 2:
            both.set()
        await both.wait()
        await pollers.stop()

    async with asyncio.timeout(20):
        await pollers.start()
        await both.wait()
        await pollers.stop()


async def test_a_listener_that_stops_another_poller_is_waited_for():
    begun, stopping, go = asyncio.Event(), asyncio.Event(), asyncio.Event()
    ended: list[str] = []
    first, second = once("a"), held("b", begun, ended, go)

    @first.on("task")
    async def work(event: TaskEvent[str]) -> None:
        await begun.wait()
        stopping.set()
        await second.stop()
        ended.append("listener ended")

    async with asyncio.timeout(20), second:
        async with first:
            await stopping.wait()
            asyncio.get_running_loop().call_later(0.05, go.set)
        assert ended == ["b ended", "listener ended"]


async def test_they_start_again():
    pollers = Pollers(once("a"))
    for _ in range(2):
        async with pollers:
            pass


def test_they_are_shown_by_name():
    assert repr(Pollers(once("a"), once("b"))) == "Pollers('a', 'b')"
    assert repr(Poller("a", lambda poll: [], concurrency=3)) == "Poller('a', concurrency=3)"
