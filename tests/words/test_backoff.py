"""How often and after how long a failed attempt is tried again."""

from __future__ import annotations

import doctest
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from howdah import backoff
from howdah.backoff import Backoff, Retry
from howdah.errors import InvalidOption
from howdah.outcomes import RetryAfter

ERROR = ValueError("x")


def test_each_retry_waits_longer_until_the_cap():
    retry = Retry(10, delay="2s", factor=3, max="1m")
    assert [retry.nominal(n).total_seconds() for n in range(1, 6)] == [2, 6, 18, 54, 60]


def test_attempt_1100_does_not_overflow():
    assert Retry(2000, delay="1s", factor=2, max="10m").nominal(1100) == timedelta(minutes=10)
    assert Retry(2000, delay=0, factor=1000).nominal(1100) == timedelta(0)
    assert Retry(2000, delay="1s", factor=1).nominal(1100) == timedelta(seconds=1)


def test_a_small_factor_reaches_its_cap_too():
    """1.01 needs more than 64 steps to grow from a second to ten minutes."""
    assert Retry(2000, delay="1s", factor=1.01, max="10m").nominal(1100) == timedelta(minutes=10)
    assert Retry(2000, delay="1s", factor=1.01, max="10m").nominal(101).total_seconds() == pytest.approx(
        2.7048, abs=1e-3
    )


@given(
    st.integers(1, 100_000),
    st.floats(0, 1e6),
    st.floats(1, 1000),
    st.floats(0, 1e6),
    st.floats(0, 1),
)
def test_a_retry_is_never_earlier_than_asked_nor_later_than_the_cap_and_its_jitter(attempt, delay, factor, cap, jitter):
    retry = Retry(100_000, delay=delay, factor=factor, max=cap, jitter=jitter)
    nominal, actual = retry.nominal(attempt), retry.delay_after(attempt, ERROR)
    assert actual is not None
    assert min(retry.delay, retry.max) <= nominal <= retry.max
    assert nominal <= actual <= nominal * (1 + jitter) + timedelta(microseconds=1)
    assert nominal <= retry.nominal(attempt + 1)


# ── strategies ──


def waits(count: int = 5, **options) -> list[float]:
    retry = Retry(count, **({"delay": "2s", "factor": 3, "max": "1m"} | options))
    return [retry.nominal(n).total_seconds() for n in range(1, count + 1)]


def test_each_strategy_grows_in_its_way():
    assert waits(strategy="standard") == waits() == [2, 6, 18, 54, 60]
    assert waits(strategy="fixed") == [2, 2, 2, 2, 2]
    assert waits(strategy="immediate") == [0, 2, 6, 18, 54]
    assert waits(strategy="poly", factor=2) == [2, 8, 18, 32, 50]
    assert waits(strategy="poly", factor=1) == [2, 4, 6, 8, 10]


@pytest.mark.parametrize("strategy", ["standard", "fixed", "immediate", "poly"])
def test_the_cap_holds_for_every_strategy_and_nothing_overflows(strategy):
    assert waits(strategy=strategy, delay="1h", max="1m")[1:] == [60] * 4
    for attempt in (10**6, 10**9):
        for factor in (1, 1.0001, 1000):
            retry = Retry(strategy=strategy, delay="1s", factor=factor, max="1m")
            assert timedelta(seconds=1) <= retry.nominal(attempt) <= timedelta(minutes=1)
        assert Retry(strategy=strategy, delay=0).nominal(attempt) == timedelta(0)


@given(
    st.sampled_from(["standard", "fixed", "immediate", "poly"]),
    st.integers(1, 100_000),
    st.floats(0, 1e6),
    st.floats(1, 1000),
    st.floats(0, 1e6),
    st.floats(0, 1),
)
def test_no_strategy_shrinks_passes_its_cap_or_is_jittered_below_what_was_asked(
    strategy, attempt, delay, factor, cap, jitter
):
    retry = Retry(100_000, delay=delay, factor=factor, max=cap, jitter=jitter, strategy=strategy)
    nominal, actual = retry.nominal(attempt), retry.delay_after(attempt, ERROR)
    assert actual is not None
    if not (strategy == "immediate" and attempt == 1):
        assert min(retry.delay, retry.max) <= nominal <= retry.max
    assert nominal <= actual <= nominal * (1 + jitter) + timedelta(microseconds=1)
    assert nominal <= retry.nominal(attempt + 1)


def test_a_backoff_has_the_same_strategies():
    assert [Backoff("2s", strategy="immediate")(n).total_seconds() for n in range(3)] == [0, 2, 4]
    assert Backoff("2s", strategy="fixed") != Backoff("2s")
    assert repr(Backoff("2s", strategy="poly")) == "Backoff(2s, factor=2, max=1m, strategy='poly')"


def test_a_strategy_can_be_a_function_of_the_attempt_and_its_error():
    asked = []

    def wait(attempt: int, error: BaseException) -> str:
        asked.append((attempt, error))
        return f"{attempt * 10}s"

    retry = Retry(5, strategy=wait, jitter=0, max="25s")
    assert [retry.delay_after(n, ERROR) for n in (1, 2, 3)] == [timedelta(seconds=n) for n in (10, 20, 25)]
    assert asked == [(1, ERROR), (2, ERROR), (3, ERROR)]
    assert retry.strategy == "own"
    assert "strategy=" in repr(retry)
    assert retry.delay_after(6, ERROR) is None
    assert retry.delay_after(1, Retry.after("7s")) == timedelta(seconds=7), "what the handler asked for goes first"
    jittered = Retry(5, strategy=wait, jitter=0.5).delay_after(1, ERROR)
    assert jittered is not None
    assert timedelta(seconds=10) <= jittered <= timedelta(seconds=15)


@pytest.mark.parametrize("returned", [None, "soon", -1, float("nan"), True, 10**100, [], ZeroDivisionError()])
def test_a_strategy_that_fails_costs_nothing_but_a_line_in_the_log(returned, caplog):
    def wait(attempt: int, error: BaseException):
        if isinstance(returned, Exception):
            raise returned
        return returned

    retry = Retry(5, delay="2s", strategy=wait, jitter=0)
    assert [retry.delay_after(n, ERROR) for n in (1, 2)] == [timedelta(seconds=2), timedelta(seconds=4)]
    assert "the strategy" in caplog.messages[0]
    assert "wait" in caplog.messages[0]


def test_a_rule_has_a_strategy_of_its_own():
    retry = Retry(5, delay="2s", jitter=0, rules={OSError: Retry(5, delay="9s", strategy="immediate", jitter=0)})
    assert retry.delay_after(1, OSError()) == timedelta(0)
    assert retry.delay_after(1, ERROR) == timedelta(seconds=2)


async def _asynchronous(attempt: int, error: BaseException) -> int:
    return 1


@pytest.mark.parametrize(
    ("strategy", "said"),
    [
        ("expo", 'must be "standard", "fixed", "immediate", "poly", or a function'),
        ("Fixed", "Did you mean 'fixed'?"),
        (None, "not None"),
        (5, "not 5"),
        (["fixed"], "not ['fixed']"),
        (lambda attempt: 1, "a function of (attempt, error)"),
        (_asynchronous, "plain function"),
    ],
)
def test_a_strategy_that_cannot_be_meant_is_refused(strategy, said):
    with pytest.raises(InvalidOption, match=r"^strategy must be") as caught:
        Retry(strategy=strategy)
    assert said in str(caught.value)


def test_a_backoff_takes_no_function_as_its_strategy():
    with pytest.raises(InvalidOption, match=r"^strategy must be"):
        Backoff(strategy=lambda attempt, error: 1)


# ── how often ──


def test_retries_run_out():
    assert Retry(2).delay_after(2, ERROR) is not None
    assert Retry(2).delay_after(3, ERROR) is None
    assert Retry(0).delay_after(1, ERROR) is None
    assert Retry(2).max_attempts == 3


def test_only_the_exceptions_asked_for_are_retried():
    assert Retry(on=OSError).delay_after(1, ConnectionError()) is not None
    assert Retry(on=[OSError]).delay_after(1, ERROR) is None
    assert Retry(unless=(OSError, KeyError)).delay_after(1, ConnectionError()) is None
    assert Retry(unless=OSError).delay_after(1, ERROR) is not None
    assert Retry(on=LookupError, unless=KeyError).delay_after(1, KeyError()) is None


def test_the_rule_of_the_nearest_class_counts():
    wide, near = Retry(3, delay="3s", jitter=0), Retry(50, delay="9s", jitter=0)
    retry = Retry(1, unless=OSError, rules={OSError: wide, ConnectionError: near})
    assert retry.policy_for(ConnectionResetError()) is near
    assert retry.policy_for(ConnectionError()) is near
    assert retry.policy_for(FileNotFoundError()) is wide
    assert retry.policy_for(ERROR) is retry
    assert retry.delay_after(40, ConnectionResetError()) == timedelta(minutes=10)
    assert retry.delay_after(2, FileNotFoundError()) == timedelta(seconds=6)
    assert retry.delay_after(4, FileNotFoundError()) is None
    assert retry.max_attempts == 51


def test_a_rule_has_conditions_of_its_own():
    retry = Retry(rules={OSError: Retry(unless=FileNotFoundError)})
    assert retry.delay_after(1, FileNotFoundError()) is None
    assert retry.delay_after(1, ConnectionError()) is not None


def test_retry_after_waits_exactly_as_long_as_asked():
    later = Retry.after("10s", "busy")
    assert isinstance(later, RetryAfter)
    assert Retry(1, delay="1h").delay_after(1, later) == timedelta(seconds=10)
    assert Retry(1).delay_after(2, later) is None


def test_retry_after_is_asked_for_by_the_handler_so_on_does_not_refuse_it():
    assert Retry(on=OSError).delay_after(1, Retry.after("10s")) == timedelta(seconds=10)


@pytest.mark.parametrize(
    "options",
    [
        {"retries": -1}, {"retries": True}, {"retries": 1.5}, {"retries": 10**9}, {"delay": "soon"}, {"delay": -1},
        {"factor": 0.5}, {"factor": float("nan")}, {"factor": 1e9}, {"factor": "x"}, {"factor": None}, {"jitter": 2},
        {"jitter": -0.1}, {"jitter": "x"}, {"max": "x"}, {"on": [1]}, {"on": 5}, {"unless": "x"}, {"unless": int},
        {"rules": {int: Retry()}}, {"rules": {OSError: 5}},
    ],
)  # fmt: skip
def test_options_that_cannot_be_meant_are_refused_by_name(options):
    with pytest.raises(InvalidOption) as caught:
        Retry(**options)
    assert next(iter(options)) in str(caught.value)


def test_a_policy_is_shown_as_it_is_written():
    assert repr(Retry(5, delay="2s", factor=2, max="10m")) == "Retry(5, delay=2s, factor=2, max=10m)"


# ── Backoff ──


def test_a_backoff_grows_from_its_delay_to_its_cap():
    backoff = Backoff("2s", factor=3, max="1m")
    assert [backoff(attempt).total_seconds() for attempt in range(5)] == [2, 6, 18, 54, 60]


def test_a_backoff_shorter_than_a_second_works():
    assert [Backoff("100ms")(attempt) for attempt in (0, 1)] == [
        timedelta(milliseconds=100),
        timedelta(milliseconds=200),
    ]


def test_attempt_a_million_is_the_cap_and_no_overflow():
    assert Backoff("1s", factor=2, max="10m")(10**6) == timedelta(minutes=10)
    assert Backoff("1s", factor=1)(10**6) == timedelta(seconds=1)
    assert Backoff(0, factor=1000)(10**6) == timedelta(0)


def test_a_delay_longer_than_the_cap_is_the_cap():
    assert Backoff("1h", max="1m")(0) == timedelta(minutes=1)


@given(st.integers(0, 100_000), st.floats(0, 1e6), st.floats(1, 1000), st.floats(0, 1e6), st.floats(0, 1))
def test_a_backoff_grows_never_passes_its_cap_and_jitter_only_adds_its_fraction(attempt, delay, factor, cap, jitter):
    backoff = Backoff(delay, factor=factor, max=cap, jitter=jitter)
    nominal = backoff.nominal(attempt)
    assert min(backoff.delay, backoff.max) <= nominal <= backoff.nominal(attempt + 1) <= backoff.max
    assert nominal <= backoff(attempt) <= nominal * (1 + jitter) + timedelta(microseconds=1)


def test_jitter_is_at_random():
    assert len({Backoff("1s", jitter=0.5)(0) for _ in range(50)}) > 1
    assert {Backoff("1s")(0) for _ in range(50)} == {timedelta(seconds=1)}


def test_a_retry_waits_as_its_backoff_one_attempt_earlier():
    """A retry counts attempts that failed, from 1; a backoff counts from 0."""
    retry = Retry(10, delay="2s", factor=3, max="1m", jitter=0)
    assert retry.backoff == Backoff("2s", factor=3, max="1m")
    assert [retry.delay_after(n, ERROR) for n in range(1, 6)] == [retry.backoff(n) for n in range(5)]


@pytest.mark.parametrize(
    "options",
    [
        {"delay": "soon"}, {"delay": -1}, {"delay": None}, {"delay": True}, {"factor": 0.5}, {"factor": float("nan")},
        {"factor": 1e9}, {"factor": "x"}, {"factor": None}, {"factor": True}, {"max": "x"}, {"max": -1}, {"max": None},
        {"jitter": 2}, {"jitter": -0.1}, {"jitter": "x"}, {"jitter": False},
    ],
)  # fmt: skip
def test_options_of_a_backoff_that_cannot_be_meant_are_refused_by_name(options):
    with pytest.raises(InvalidOption) as caught:
        Backoff(**options)
    assert str(caught.value).startswith(next(iter(options)))


def test_a_backoff_is_a_value():
    assert Backoff("60s", factor=2) == Backoff("1m", factor=2.0)
    assert hash(Backoff("60s")) == hash(Backoff("1m"))
    for other in (Backoff("61s"), Backoff("60s", factor=3), Backoff("60s", max="2m"), Backoff("60s", jitter=0.1), 60):
        assert Backoff("60s") != other
    assert repr(Backoff("2s", max="10m")) == "Backoff(2s, factor=2, max=10m)"
    assert repr(Backoff("2s", max="10m", jitter=0.25)) == "Backoff(2s, factor=2, max=10m, jitter=0.25)"


def test_the_examples_in_the_docstrings_are_true():
    tried = doctest.testmod(backoff)
    assert (tried.attempted > 3, tried.failed) == (True, 0)
