"""Outcomes are returned or raised, whichever reads better."""

from __future__ import annotations

import contextlib
import copy
import doctest
import importlib
import pickle
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from howdah.backoff import Retry
from howdah.errors import SQLSTATES, HowdahError, InvalidOption, KeyConflict, from_sqlstate
from howdah.outcomes import Again, Cancel, Fail, Outcome, RateLimited, RetryAfter, Snooze, Transition

OUTCOMES = [
    lambda: Again(1, page=2, delay="5s"),
    lambda: Snooze("1m"),
    lambda: RetryAfter("10s", "busy"),
    lambda: Fail("no such user"),
    lambda: Cancel("not needed"),
]


@contextlib.contextmanager
def resource():
    try:
        yield
    finally:
        pass


@contextlib.asynccontextmanager
async def async_resource():
    yield


@pytest.mark.parametrize("make", OUTCOMES)
def test_an_outcome_can_be_raised_through_a_context_manager(make):
    outcome = make()
    with pytest.raises(Outcome) as caught, resource(), resource():
        raise outcome
    assert caught.value is outcome


@pytest.mark.parametrize("make", OUTCOMES)
async def test_an_outcome_can_be_raised_through_an_async_context_manager(make):
    outcome = make()
    with pytest.raises(Outcome) as caught:
        async with async_resource():
            raise outcome from ValueError("the reason")
    assert caught.value is outcome


@pytest.mark.parametrize("make", OUTCOMES)
def test_an_outcome_is_the_same_returned_or_raised(make):
    def returning():
        return make()

    def raising():
        raise make()

    with pytest.raises(Outcome) as caught:
        raising()
    returned = returning()
    assert type(returned) is type(caught.value)
    assert vars(returned) == vars(caught.value)
    assert repr(returned) == repr(caught.value)


@pytest.mark.parametrize("make", OUTCOMES)
def test_an_outcome_crosses_to_another_process_and_back(make):
    for twin in (pickle.loads(pickle.dumps(make())), copy.copy(make())):  # noqa: S301
        assert vars(twin) == vars(make())


def test_outcomes_say_what_they_hold():
    assert Again(1, page=2, delay="5s").arguments == ((1,), {"page": 2})
    assert repr(Again(1, page=2, delay="5s")) == "Again(1, page=2, delay=5s)"
    assert Again().delay == timedelta(0)
    assert Snooze("1m").delay == timedelta(minutes=1)
    assert Retry.after("10s", "busy").delay == timedelta(seconds=10)
    assert Retry.after("10s", "busy").reason == "busy"
    assert "10s" in str(Retry.after("10s"))
    assert Fail("no such user").reason == str(Fail("no such user")) == "no such user"
    assert Cancel().reason is None
    assert str(Cancel()) == ""


def test_outcomes_are_not_caught_as_failures_of_the_library():
    assert not issubclass(Outcome, HowdahError)


@pytest.mark.parametrize("make", [lambda: Snooze("soon"), lambda: Again(delay=-1), lambda: Retry.after("x")])
def test_a_delay_that_cannot_be_read_is_refused_where_it_is_written(make):
    with pytest.raises(InvalidOption, match="delay"):
        make()


def test_transitions_do_not_share_what_they_consume():
    assert Transition("succeeded").consumed is not Transition("succeeded").consumed


def test_an_error_says_what_and_what_to_do():
    assert str(HowdahError("no such thing", hint="Look again")) == "no such thing. Look again"
    assert str(HowdahError("no such thing")) == "no such thing"


def test_the_errors_of_the_database_become_ours():
    for sqlstate, kind in SQLSTATES.items():
        error = from_sqlstate(sqlstate, "message", "hint", None)
        assert type(error) is kind
        assert error.hint == "hint"
    conflict = from_sqlstate("HW006", "message", None, "42")
    assert isinstance(conflict, KeyConflict)
    assert conflict.task_id == 42
    assert from_sqlstate("23505", "message", None, None) is None
    assert from_sqlstate(None, "message", None, None) is None


@pytest.mark.parametrize("word", ["durations", "outcomes", "backoff", "payload", "errors"])
def test_the_examples_in_the_docstrings_hold(word):
    module = importlib.import_module(f"howdah.{word}")
    results = doctest.testmod(module, extraglobs=None)
    assert results.failed == 0
    assert results.attempted or word in ("payload", "errors")


# ── what another side says when it wants no more ──


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("120", 120),
        (30, 30),
        ("2m", 120),
        (None, 60),
    ],
)
def test_retry_after_is_read_as_the_header_is_written(said: Any, seconds: float) -> None:
    assert RateLimited(said).retry_after == timedelta(seconds=seconds)


def test_retry_after_may_be_a_time() -> None:
    time = datetime(2040, 10, 21, 7, 28, tzinfo=UTC)
    assert RateLimited(time).retry_after == time
    assert RateLimited("Sun, 21 Oct 2040 07:28:00 GMT").retry_after == time


@pytest.mark.parametrize("said", ["soon", "Wed, 99 Oct 2015 07:28:00 GMT", -1, datetime(2015, 10, 21)])
def test_retry_after_that_cannot_be_meant(said: Any) -> None:
    with pytest.raises(InvalidOption, match="retry_after"):
        RateLimited(said)
