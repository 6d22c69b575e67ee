from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest


@pytest.fixture(autouse=True)
async def _nothing_stays_behind() -> AsyncIterator[None]:
    """No poller may leave a task on the loop, however its test ended."""
    yield
    assert asyncio.all_tasks() == {asyncio.current_task()}
