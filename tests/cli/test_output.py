"""How values are printed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest

from howdah.cli.look import progress_words
from howdah.cli.options import target
from howdah.cli.output import ago, escaped, flat, plain, to_json
from howdah.errors import InvalidOption
from howdah.serving import Weight, queues_in_words

NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)


def test_what_a_terminal_would_obey_is_escaped() -> None:
    assert (
        escaped("\x1b[2J\r\n\t\x00\x7f\x9b\u202e\u2028 Ä 漢 👍")
        == "\\e[2J\\r\\n\\t\\x00\\x7f\\x9b\\u202e\\u2028 Ä 漢 👍"
    )
    assert escaped("one\ntwo\r\x1b", lines=True) == "one\ntwo\\r\\e"


@pytest.mark.parametrize(
    "value", ["\x1b[31m\x9b\u2028\u202e\x7f\n", {"a\x1b": ["\x1b", None, True, 1.5]}, "Ä", 2**80, []], ids=repr
)
def test_json_is_safe_and_the_same_value(value: object) -> None:
    for pretty in (False, True):
        text = to_json(plain(value), pretty=pretty)
        assert json.loads(text) == value
        assert not set(text) & {"\x1b", "\x9b", "\u2028", "\u202e", "\x7f"}


def test_a_number_that_only_jsonb_can_hold_is_still_valid_json() -> None:
    assert json.loads(to_json(plain({"n": json.loads("1e400")}))) == {"n": "inf"}


def test_moments_are_told_apart_from_now_and_as_utc() -> None:
    assert ago(NOON - timedelta(seconds=90), NOON) == "1m 30s ago"
    assert ago(NOON + timedelta(hours=2), NOON) == "in 2h"
    assert ago(NOON + timedelta(milliseconds=300), NOON) == "now"
    assert flat(NOON.astimezone(timezone(timedelta(hours=2)))) == "2026-12-01T12:00:00+00:00"


def test_progress_in_words() -> None:
    assert progress_words({"done": 3, "total": 10, "note": "reading"}) == "3/10 reading"
    assert progress_words({"done": 0.5}) == "0.5"
    assert progress_words(None) == progress_words([1]) == ""


def test_what_q_is_given() -> None:
    assert queues_in_words(["mail"]) == {"mail": Weight(1)}
    assert queues_in_words(["mail=10"]) == {"mail": 10}
    assert queues_in_words(["bulk*2.5"]) == {"bulk": Weight(2.5)}
    assert queues_in_words(["a=b=3"]) == {"a=b": 3}
    for wrong in ("mail=", "mail=1.5", "bulk*x", "bulk*0"):
        with pytest.raises(InvalidOption):
            queues_in_words([wrong])


@pytest.mark.parametrize(
    ("dsn", "shown"),
    [
        ("postgresql://me:secret@db.example/shop", "db.example:5432/shop"),
        ("postgresql://me:secret@one,two:5433/shop", "one:5432,two:5433/shop"),
        ("host=/run/postgresql user=me password=secret", "/run/postgresql:5432/me"),
        ("postgresql://me:secret@db/shop?sslmode=require", "db:5432/shop"),
    ],
)
def test_the_target_is_named_without_its_password(dsn: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGHOST", "PGPORT", "PGDATABASE", "PGUSER"):
        monkeypatch.delenv(name, raising=False)
    assert target(dsn) == shown
