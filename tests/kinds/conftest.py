"""What the tests of the five ways to write a task share."""

from __future__ import annotations

import pytest

from howdah.worker import lanes


@pytest.fixture
def looks_only_when_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """With poll="1h", a worker that has gone to sleep looks for tasks when it is told of one, and not by itself."""
    monkeypatch.setattr(lanes, "_FRESH_EVERY", 3600.0)
