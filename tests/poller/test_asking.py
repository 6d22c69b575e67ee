"""When a poller may ask, for how much, and what of the answer counts: without any loop."""

from __future__ import annotations

import asyncio
import doctest
import functools
import hashlib
import importlib
import threading
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from howdah.backoff import Backoff
from howdah.errors import HowdahError, InvalidOption
from howdah.poller import (
    Asked,
    Asking,
    DuplicateInstruction,
    InvalidInstruction,
    InvalidResult,
    Poll,
    Poller,
    instruction_key,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


def nothing(poll):
    return []


# ── options ──


@pytest.mark.parametrize("make", [lambda **options: Poller(poll=nothing, **options), Asking])
@pytest.mark.parametrize(
    "options",
    [
        {"name": ""}, {"name": "x" * 201}, {"name": 5}, {"name": None}, {"concurrency": 0}, {"concurrency": -1},
        {"concurrency": True}, {"concurrency": 1.5}, {"concurrency": "2"}, {"delay": "soon"}, {"delay": -1}, {"delay": None},
        {"delay": lambda: 1}, {"limit": 0}, {"limit": -5}, {"limit": True}, {"limit": "2"}, {"limit": lambda one: 1},
    ],
)  # fmt: skip
def test_options_that_cannot_be_meant_are_refused_by_name(make, options):
    with pytest.raises(InvalidOption) as caught:
        make(**{"name": "mails", **options})
    assert str(caught.value).startswith(next(iter(options)))


@pytest.mark.parametrize(
    "options", [{"poll": None}, {"poll": [1]}, {"poll": lambda: [1]}, {"active": [1]}, {"active": lambda name: []}]
)
def test_what_a_poller_cannot_call_is_refused_by_name(options):
    with pytest.raises(InvalidOption) as caught:
        Poller("mails", **{"poll": nothing, **options})
    assert str(caught.value).startswith(next(iter(options)))


def test_a_name_has_up_to_200_characters():
    assert Asking("x" * 200).name == "x" * 200


# ── room, limit, delay ──


def test_room_is_what_is_left_of_the_concurrency():
    asking = Asking("mails", concurrency=3)
    assert [asking.room(active) for active in (0, 1, 3, 7)] == [3, 2, 0, 0]


async def limit_told(asking: Asking[int], active: list[int]) -> int:
    told: list[Poll[int]] = []
    asked = await asking.ask(lambda poll: told.append(poll) or [], active, 0)
    assert asked == Asked()
    return told[0].limit


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (None, 3), (2, 2), (99, 3), (lambda concurrency, active: concurrency - active - 1, 2),
        (lambda concurrency, active: 1000, 3), (lambda concurrency, active: 0, 1), (lambda concurrency, active: -7, 1),
    ],
)  # fmt: skip
async def test_the_limit_is_never_more_than_the_room_and_at_least_1(limit, expected):
    assert await limit_told(Asking("mails", concurrency=5, limit=limit), [1, 2]) == expected


async def test_a_limit_function_is_told_concurrency_and_how_many_are_active_and_may_be_async():
    told = []

    async def limit(concurrency: int, active: int) -> int:
        told.append((concurrency, active))
        return 1

    assert await limit_told(Asking("mails", concurrency=5, limit=limit), [8, 9]) == 1
    assert told == [(5, 2)]


@pytest.mark.parametrize("limit", [None, "2", 1.5, True])
async def test_a_limit_that_is_no_whole_number_is_an_error_and_nothing_is_asked(limit):
    asked = await Asking("mails", limit=lambda concurrency, active: limit).ask(pytest.fail, [], 0)
    (error,) = asked.errors
    assert isinstance(error, InvalidResult)
    assert f"limit function of poller 'mails' returned {limit!r}" in str(error)


async def test_a_limit_function_that_raises_is_passed_on_as_it_is():
    error = KeyError("x")

    def limit(concurrency: int, active: int) -> int:
        raise error

    assert await Asking("mails", limit=limit).ask(pytest.fail, [], 0) == Asked([], [error])


@pytest.mark.parametrize(
    ("delay", "expected"),
    [
        ("100ms", 0.1), (0.25, 0.25), (2, 2), (timedelta(minutes=1), 60), (Backoff("1s", factor=3), 9),
        (lambda attempt: attempt * 10, 20), (lambda attempt: "5ms", 0.005), (lambda attempt: timedelta(hours=attempt), 7200),
    ],
)  # fmt: skip
async def test_a_delay_is_a_duration_a_backoff_or_a_function_of_the_attempt(delay, expected):
    assert (await Asking("mails", delay=delay).delay_after(2)).total_seconds() == pytest.approx(expected)


async def test_a_delay_function_may_be_async():
    async def delay(attempt: int) -> str:
        return f"{attempt}m"

    assert await Asking("mails", delay=delay).delay_after(4) == timedelta(minutes=4)


async def test_without_a_delay_it_grows_and_ends_below_a_minute():
    asking = Asking("mails")
    delays = [await asking.delay_after(attempt) for attempt in (0, 5, 10**6)]
    assert timedelta(milliseconds=50) < delays[0] < delays[1] < delays[2] < timedelta(minutes=1)


@pytest.mark.parametrize("delay", ["soon", -1, None, [1], float("nan")])
async def test_a_delay_that_is_no_length_of_time_is_an_invalid_result(delay):
    with pytest.raises(InvalidResult, match="delay function of poller 'mails'"):
        await Asking("mails", delay=lambda attempt: delay).delay_after(0)


# ── asking ──


async def test_a_poll_is_told_all_it_needs():
    told = []
    active = [7, 8]
    asked = await Asking("mails", concurrency=5, limit=2).ask(lambda poll: told.append(poll) or [1], active, 3)
    assert told == [Poll(name="mails", active=[7, 8], concurrency=5, limit=2, attempt=3)]
    assert told[0].active is not active  # A poll may change its list.
    assert asked == Asked([1], [])
    with pytest.raises(AttributeError):
        told[0].limit = 5


async def test_without_room_nothing_is_asked():
    assert await Asking("mails", concurrency=2).ask(pytest.fail, [1, 2], 0) == Asked()


async def test_a_sync_poll_runs_in_a_thread_and_an_async_one_on_the_loop():
    here = threading.get_ident()
    ran: dict[str, int] = {}

    def sync(poll):
        ran["sync"] = threading.get_ident()
        return []

    async def on_loop(poll):
        ran["async"] = threading.get_ident()
        return []

    class Callable:
        async def __call__(self, poll):
            ran["object"] = threading.get_ident()
            return []

    async def bound(name, poll):
        ran[name] = threading.get_ident()
        return []

    for poll in (sync, on_loop, Callable(), functools.partial(bound, "partial"), lambda poll: bound("lambda", poll)):
        assert await Asking("mails").ask(poll, [], 0) == Asked()
    assert ran.pop("sync") != here
    assert ran == {"async": here, "object": here, "partial": here, "lambda": here}


@pytest.mark.parametrize("result", [None, "ab", {"a": 1}, {1, 2}, 5, iter([1])])
async def test_a_result_that_is_no_list_is_an_error(result):
    asked = await Asking("mails", concurrency=9).ask(lambda poll: result, [], 0)
    assert asked.instructions == []
    (error,) = asked.errors
    assert isinstance(error, InvalidResult)
    assert isinstance(error, HowdahError)
    assert "poll function of poller 'mails' returned" in str(error)
    assert "Return a list" in str(error)


async def test_a_tuple_is_a_list_of_instructions():
    assert await Asking("mails", concurrency=2).ask(lambda poll: (1, 2), [], 0) == Asked([1, 2])


async def test_of_a_result_longer_than_the_limit_nothing_is_taken():
    asked = await Asking("mails", concurrency=5).ask(lambda poll: [1, 2, 3, 4], [7, 8], 0)
    assert asked.instructions == []
    (error,) = asked.errors
    assert isinstance(error, InvalidResult)
    assert "returned 4 instructions with a limit of 3: none was taken" in str(error)


async def test_an_instruction_that_json_cannot_hold_is_an_error_and_the_others_are_taken():
    odd = object()
    asked = await Asking("mails", concurrency=9).ask(lambda poll: [1, odd, {"to": 2}], [], 0)
    assert asked.instructions == [1, {"to": 2}]
    (error,) = asked.errors
    assert isinstance(error, InvalidInstruction)
    assert error.instruction is odd
    assert "instruction <object object" in str(error)


async def test_an_instruction_that_is_active_is_refused_by_name():
    asked = await Asking("mails", concurrency=9).ask(lambda poll: [{"b": 1, "a": 2}, 3], [{"a": 2, "b": 1}], 0)
    assert asked.instructions == [3]
    (error,) = asked.errors
    assert isinstance(error, DuplicateInstruction)
    assert error.instruction == {"a": 2, "b": 1}
    assert "instruction {'b': 1, 'a': 2} of poller 'mails' is active already" in str(error)


async def test_an_instruction_twice_in_one_result_is_taken_once():
    asked = await Asking("mails", concurrency=9).ask(lambda poll: [5, 6, 5], [], 0)
    assert asked.instructions == [5, 6]
    (error,) = asked.errors
    assert isinstance(error, DuplicateInstruction)
    assert "instruction 5 of poller 'mails' is twice in one result" in str(error)


async def test_what_is_active_must_be_comparable_too():
    asked = await Asking("mails", concurrency=9).ask(pytest.fail, [object()], 0)
    assert isinstance(asked.errors[0], InvalidResult)
    assert "among what is active for poller 'mails'" in str(asked.errors[0])


@pytest.mark.parametrize("is_async", [True, False])
async def test_what_a_poll_raises_is_passed_on_as_it_is(is_async):
    failure = ZeroDivisionError("x")

    def sync(poll):
        raise failure

    async def later(poll):
        raise failure

    asked = await Asking("mails").ask(later if is_async else sync, [], 0)
    assert asked.instructions == []
    assert asked.errors[0] is failure


async def test_a_sync_poll_that_raises_stop_iteration_is_an_error_and_no_wait_for_ever():
    async with asyncio.timeout(20):
        asked = await Asking("mails").ask(lambda poll: next(iter([])), [], 0)
    assert isinstance(asked.errors[0], InvalidResult)
    assert "StopIteration" in str(asked.errors[0])


async def test_a_poll_whose_own_work_is_cancelled_is_an_error():
    async def poll(poll):
        inner = asyncio.ensure_future(asyncio.Event().wait())
        inner.cancel()
        await inner

    asked = await Asking("mails").ask(poll, [], 0)
    assert "was cancelled by something it waited for" in str(asked.errors[0])


async def test_the_cancellation_of_who_asks_passes_through():
    asked = asyncio.Event()

    async def poll(poll):
        asked.set()
        await asyncio.Event().wait()

    asker = asyncio.create_task(Asking("mails").ask(poll, [], 0))
    await asked.wait()
    asker.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asker


# ── keys ──


@pytest.mark.parametrize(
    ("instruction", "key"),
    [
        ("new york", "new york"), ("", ""), ("Rīga", "Rīga"), (7, "7"), (-1.5, "-1.5"), (True, "true"), (None, "null"),
        ([1, "a"], '[1,"a"]'), ((1, "a"), '[1,"a"]'), ({"b": [1], "a": {"d": 1, "c": "ķ"}}, '{"a":{"c":"ķ","d":1},"b":[1]}'),
        ("x" * 300, "x" * 300),
    ],
)  # fmt: skip
def test_a_key_is_the_instruction_as_it_is_written(instruction, key):
    assert instruction_key(instruction) == key


def test_a_long_instruction_has_its_digest_as_key():
    long, other = "x" * 301, "x" * 300 + "y"
    assert instruction_key(long) == f"sha256:{hashlib.sha256(long.encode()).hexdigest()}"
    assert instruction_key(long) == instruction_key("x" * 301) != instruction_key(other)


@given(JSON)
def test_every_json_value_has_a_key_that_fits_and_does_not_depend_on_the_order_of_fields(instruction):
    key = instruction_key(instruction)
    assert len(key) <= 300
    if isinstance(instruction, dict):
        assert instruction_key(dict(reversed(instruction.items()))) == key


@pytest.mark.parametrize(
    "instruction",
    [
        object(), b"x", {1, 2}, float("nan"), float("inf"), {1: "a", "1": "b"}, [{None: 1}], "\ud800", {"a": ["\udfff"]},
        timedelta(1), 1j,
    ],
)  # fmt: skip
def test_what_json_cannot_hold_has_no_key(instruction):
    with pytest.raises(InvalidInstruction) as caught:
        instruction_key(instruction)
    assert caught.value.instruction is instruction


def test_what_contains_itself_has_no_key():
    instruction: list[object] = []
    instruction.append(instruction)
    with pytest.raises(InvalidInstruction):
        instruction_key(instruction)


@pytest.mark.parametrize("module", ["instructions", "asking", "poller", "pollers"])
def test_the_examples_in_the_docstrings_are_true(module):
    tried = doctest.testmod(importlib.import_module(f"howdah.poller.{module}"))
    assert (tried.attempted > 0, tried.failed) == (True, 0)
