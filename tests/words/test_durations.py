"""Lengths of time, as people write them and as people read them."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from howdah.durations import LONGEST, duration, in_words, optional_duration
from howdah.errors import InvalidOption


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("250ms", timedelta(milliseconds=250)),
        ("2s", timedelta(seconds=2)),
        ("1h30m", timedelta(minutes=90)),
        ("1d 12h", timedelta(hours=36)),
        (" 1.5h ", timedelta(minutes=90)),
        ("1w", timedelta(days=7)),
        ("90", timedelta(seconds=90)),
        ("0", timedelta(0)),
        (2, timedelta(seconds=2)),
        (2.5, timedelta(milliseconds=2500)),
        (0, timedelta(0)),
        (timedelta(minutes=1), timedelta(minutes=1)),
        (LONGEST, LONGEST),
    ],
)
def test_a_length_of_time_is_read_as_it_is_meant(written, meant):
    assert duration(written) == meant


@pytest.mark.parametrize(
    "written",
    ["", " ", "soon", "2 parsecs", "1h30", "h", "-2s", "-1", "1e400", "nan", "inf", "9" * 400 + "s", "200y", "2s!",
     -1, -0.5, math.nan, math.inf, 10**400, -(10**400), 1e300, True, None, [], b"2s", timedelta(-1), LONGEST * 2],
)  # fmt: skip
def test_what_is_no_length_of_time_is_refused_and_names_the_option(written):
    with pytest.raises(InvalidOption, match="delay"):
        duration(written, "delay")


def test_none_stays_none():
    assert optional_duration(None, "timeout") is None
    assert optional_duration("2s", "timeout") == timedelta(seconds=2)


@given(st.text() | st.floats() | st.integers() | st.timedeltas() | st.from_regex(r"-?[0-9]+(ms|[smhdw.e]) ?[0-9]*"))
def test_nothing_raises_anything_but_invalid_option_and_no_length_is_out_of_range(value):
    try:
        assert timedelta(0) <= duration(value) <= LONGEST
    except InvalidOption as error:
        assert str(error)  # noqa: PT017


@pytest.mark.parametrize(
    ("length", "words"),
    [
        (0.04, "40ms"),
        (0, "0ms"),
        (2.5, "2.5s"),
        (2, "2s"),
        (10, "10s"),
        (59.99, "1m"),
        (0.9999, "1s"),
        (60, "1m"),
        (5400, "1h 30m"),
        (3600, "1h"),
        (3601, "1h"),
        (90061, "1d 1h"),
        (-5, "-5s"),
        (timedelta(days=2), "2d"),
    ],
)
def test_a_length_is_said_in_at_most_two_units(length, words):
    assert in_words(length) == words


@given(st.timedeltas(timedelta(milliseconds=1), LONGEST))
def test_what_is_said_can_be_read_again_and_is_near(length):
    assert duration(in_words(length)).total_seconds() == pytest.approx(length.total_seconds(), rel=0.06, abs=0.001)
