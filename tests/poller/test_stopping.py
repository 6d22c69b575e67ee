"""Stopping: what is under way ends, what waits is cut short, nothing stays behind."""

from __future__ import annotations

import asyncio
import threading

import pytest

from howdah.errors import InvalidOption
from howdah.poller import Poll, Poller, TaskEvent


class Held:
    """Something under way that ends when it is let go."""

    def __init__(self) -> None:
        self.begun, self.go, self.ended, self.cancelled = (asyncio.Event() for _ in range(4))

    async def run(self, *_: object) -> list[int]:
        self.begun.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        self.ended.set()
        return [1]


async def test_a_stop_before_the_start_does_nothing():
    poller = Poller("mails", lambda poll: [])
    await poller.stop()
    await poller.stop()
    assert not poller.running


async def test_a_stop_cuts_a_delay_short():
    asked = asyncio.Event()

    async def poll(poll: Poll[int]) -> list[int]:
        asked.set()
        return []

    async with asyncio.timeout(20):
        async with Poller("mails", poll, delay="1h"):
            await asked.wait()
            for _ in range(10):  # The rest has begun.
                await asyncio.sleep(0)


async def test_a_stop_right_after_the_start_asks_nothing():
    poller = Poller("mails", pytest.fail)
    await poller.start()
    await poller.stop()
    assert not poller.running


async def test_a_stop_waits_for_the_poll_in_flight_and_its_instructions_are_told():
    held, told = Held(), []
    poller = Poller("mails", held.run)
    poller.on("task", told.append)
    await poller.start()
    await held.begun.wait()
    stop = asyncio.create_task(poller.stop())
    await asyncio.sleep(0)
    assert not stop.done()
    held.go.set()
    await stop
    assert told == [TaskEvent("mails", 1)]
    assert not poller.running


async def test_a_stop_waits_for_a_sync_poll_in_its_thread():
    begun, go, told = asyncio.Event(), threading.Event(), []
    loop = asyncio.get_running_loop()

    def poll(poll: Poll[int]) -> list[int]:
        loop.call_soon_threadsafe(begun.set)
        assert go.wait(20)
        return [1]

    poller = Poller("mails", poll)
    poller.on("task", told.append)
    async with asyncio.timeout(20):
        async with poller:
            await begun.wait()
            loop.call_soon(go.set)
    assert told == [TaskEvent("mails", 1)]


async def test_a_stop_waits_for_async_listeners_also_of_errors():
    for event, answer in (("task", [1]), ("error", None)):
        held = Held()

        async def poll(poll: Poll[int], answer: list[int] | None = answer) -> list[int] | None:
            return answer

        poller = Poller("mails", poll, delay="1h")
        poller.on(event, held.run)
        await poller.start()
        await held.begun.wait()
        stop = asyncio.create_task(poller.stop())
        for _ in range(10):
            await asyncio.sleep(0)
        assert not stop.done()
        held.go.set()
        await stop
        assert held.ended.is_set()


async def test_what_is_not_over_after_the_timeout_is_cancelled():
    held, listener = Held(), Held()
    answers = iter([[1]])

    async def poll(poll: Poll[int]) -> list[int]:
        return next(answers, None) or await held.run()

    poller = Poller("mails", poll, concurrency=2, delay=0)
    errors = []
    poller.on("task", listener.run)
    poller.on("error", errors.append)
    await poller.start()
    await listener.begun.wait()
    await held.begun.wait()
    await poller.stop(timeout="20ms")
    assert held.cancelled.is_set()
    assert listener.cancelled.is_set()
    assert errors == []  # We did that, nothing failed.


async def test_the_timeout_must_be_a_length_of_time():
    with pytest.raises(InvalidOption, match="timeout"):
        await Poller("mails", lambda poll: []).stop(timeout="soon")


async def test_a_listener_may_stop_its_poller():
    poller = Poller("mails", lambda poll: [1], delay=0)
    stopped = asyncio.Event()

    @poller.on("task")
    async def work(event: TaskEvent[int]) -> None:
        await poller.stop()
        stopped.set()

    async with asyncio.timeout(20):
        async with poller:
            await stopped.wait()
            assert not poller.running


async def test_two_listeners_and_the_owner_may_stop_it_at_once():
    """Listeners that stop do not wait for each other; the owner waits for them to their end."""
    held, ended = Held(), []
    stopping = [asyncio.Event(), asyncio.Event()]
    answers = iter([[0, 1]])

    async def poll(poll: Poll[int]) -> list[int]:
        return next(answers, None) or (await held.run() and [])

    poller = Poller("mails", poll, concurrency=3, delay=0)

    @poller.on("task")
    async def work(event: TaskEvent[int]) -> None:
        await held.begun.wait()
        stopping[event.instruction].set()
        await poller.stop()
        for _ in range(10):
            await asyncio.sleep(0)
        ended.append(event.instruction)

    async with asyncio.timeout(20):
        await poller.start()
        for event in stopping:
            await event.wait()
        asyncio.get_running_loop().call_soon(held.go.set)
        await poller.stop()
    assert sorted(ended) == [0, 1]


async def test_a_poll_may_stop_its_poller_and_its_instructions_are_told():
    told = []

    async def poll(poll: Poll[int]) -> list[int]:
        await poller.stop()
        return [1]

    poller = Poller("mails", poll)
    done = asyncio.Event()
    poller.on("task", lambda event: (told.append(event), done.set()))
    async with asyncio.timeout(20):
        async with poller:
            await done.wait()
    assert told == [TaskEvent("mails", 1)]


@pytest.mark.parametrize("where", ["poll", "listener"])
async def test_a_cancelled_owner_leaves_nothing_running(where):
    held = Held()

    async def poll(poll: Poll[int]) -> list[int]:
        return await held.run() if where == "poll" else [1]

    poller = Poller("mails", poll, delay="1h")
    if where == "listener":
        poller.on("task", held.run)

    async def own() -> None:
        async with poller:
            await asyncio.Event().wait()

    owner = asyncio.create_task(own())
    await held.begun.wait()
    owner.cancel()
    with pytest.raises(asyncio.CancelledError):
        await owner
    assert held.cancelled.is_set()
    assert not poller.running


async def test_a_cancelled_stop_leaves_nothing_running():
    held = Held()
    poller = Poller("mails", held.run)
    await poller.start()
    await held.begun.wait()
    stop = asyncio.create_task(poller.stop())
    await asyncio.sleep(0)
    stop.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stop
    assert held.cancelled.is_set()
    assert not poller.running


async def test_a_body_that_raises_stops_as_one_that_ends():
    held = Held()

    async def poll(poll: Poll[int]) -> list[int]:
        return [1]

    poller = Poller("mails", poll, delay="1h")
    poller.on("task", held.run)

    async def own() -> None:
        async with poller:
            await held.begun.wait()
            asyncio.get_running_loop().call_soon(held.go.set)
            raise KeyError

    with pytest.raises(KeyError):
        await own()
    assert held.ended.is_set()


def test_the_end_of_the_program_takes_the_poller_with_it():
    """Nobody stops it: asyncio.run cancels what is left, and the listeners go with their loop."""
    seen: list[Held] = []

    async def main() -> None:
        held = Held()
        seen.append(held)

        async def poll(poll: Poll[int]) -> list[int]:
            return [1]

        poller = Poller("mails", poll, delay="1h")
        poller.on("task", held.run)
        await poller.start()
        await held.begun.wait()

    asyncio.run(main())
    assert seen[0].cancelled.is_set()


async def test_a_loop_that_is_cancelled_from_outside_takes_its_listeners_with_it():
    held = Held()
    before = asyncio.all_tasks()

    async def poll(poll: Poll[int]) -> list[int]:
        return [1]

    poller = Poller("mails", poll, delay="1h")
    poller.on("task", held.run)
    await poller.start()
    (loop,) = asyncio.all_tasks() - before
    await held.begun.wait()
    loop.cancel()
    await held.cancelled.wait()
    await poller.stop()
    assert not poller.running
