"""log: one line per event, whatever is in it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from howdah.pipeline.stages.log import Log
from pipeline.standing import events, stage


async def logged(caplog: pytest.LogCaptureFixture, log: Log, event: dict[str, object]) -> logging.LogRecord:
    with caplog.at_level(logging.DEBUG, "howdah.pipeline"):
        assert await events(log, event) == [event]
    (record,) = caplog.records
    return record


async def test_the_event_is_logged_as_json(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    record = await logged(caplog, stage(Log, tmp_path), {"id": 1, "name": "Zoë"})

    assert record.getMessage() == '{"id":1,"name":"Zoë"}'
    assert (record.name, record.levelname) == ("howdah.pipeline.orders.ship", "INFO")


async def test_or_what_the_file_says(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    record = await logged(caplog, stage(Log, tmp_path, message="100%s of {{ id }}", level="warning"), {"id": 1})

    assert (record.getMessage(), record.levelname) == ("100%s of 1", "WARNING")


async def test_no_event_can_forge_a_second_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    hostile = "ok\r\nERROR root: forged\x1b[2J\u2028\u202edrowssap\x00"

    record = await logged(caplog, stage(Log, tmp_path, message="{{ text }}"), {"text": hostile})

    assert record.getMessage() == r"ok\r\nERROR root: forged\x1b[2J\u2028\u202edrowssap\x00"


async def test_a_long_event_is_cut(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    record = await logged(caplog, stage(Log, tmp_path), {"text": "é" * 5000})

    assert len(record.getMessage()) == 2000
    assert record.getMessage().endswith("é…")
