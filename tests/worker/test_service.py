"""One named loop: what it survives, and what it must not hide."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from howdah.worker.service import Service


class Failing(Service):
    name = "failing"

    def __init__(self, errors: list[Exception]) -> None:
        super().__init__()
        self.errors = errors
        self.recovered = asyncio.Event()

    async def turn(self) -> float | None:
        if self.errors:
            raise self.errors.pop(0)
        self.recovered.set()
        return None


async def test_a_loop_survives_any_trouble_with_the_database() -> None:
    errors: list[Exception] = [
        psycopg.OperationalError("gone"),
        TimeoutError(),
        psycopg.errors.InsufficientPrivilege("no"),
    ]
    service = Failing(errors)
    running = asyncio.create_task(service.run())
    await asyncio.wait_for(service.recovered.wait(), 30)
    running.cancel()


async def test_a_mistake_that_repeats_ends_the_loop() -> None:
    service = Failing([ValueError("a bug")] * 10)
    with pytest.raises(ValueError, match="a bug"):
        await asyncio.wait_for(service.run(), 30)
    assert len(service.errors) == 7


async def test_wake_ends_the_rest() -> None:
    turns: list[int] = []

    class Counting(Service):
        async def turn(self) -> float | None:
            turns.append(1)
            return None

    service = Counting()
    running = asyncio.create_task(service.run())
    while len(turns) < 5:
        service.wake()
        await asyncio.sleep(0)
    running.cancel()
