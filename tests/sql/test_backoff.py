"""howdah.backoff: the waits that rescue gives are those that a worker in Python gives."""

from __future__ import annotations

import itertools
import json
from datetime import timedelta

import psycopg
import pytest

from howdah import App, Retry
from howdah.kinds.registry import Defaults, rules
from sql.protocol import Worker, ask, declare, put

ATTEMPTS = (1, 2, 3, 4, 10, 31, 32, 64, 1100, 1_000_000)


def nominal(conn: psycopg.Connection, retry: Retry, attempt: int) -> timedelta:
    row = json.dumps(rules(Defaults(retry=retry)))
    return ask(conn, "select howdah.backoff(jsonb_populate_record(null::howdah.kind, %s), %s)", [row, attempt])


@pytest.mark.parametrize("strategy", ["standard", "fixed", "immediate", "poly"])
def test_sql_and_python_wait_alike(conn: psycopg.Connection, strategy: str) -> None:
    for delay, factor, most in itertools.product((0, "1ms", "2s", "1h"), (1, 1.01, 2, 3.5, 1000), (0, "1m", "90d")):
        retry = Retry(delay=delay, factor=factor, max=most, strategy=strategy)  # pyright: ignore[reportArgumentType]
        for attempt in ATTEMPTS:
            apart = abs(nominal(conn, retry, attempt) - retry.nominal(attempt))
            assert apart <= timedelta(microseconds=1) + retry.nominal(attempt) / 10**9, (retry, attempt)


def test_what_only_the_code_knows_counts_as_standard(conn: psycopg.Connection) -> None:
    own = Retry(delay="2s", strategy=lambda attempt, error: 1)
    assert [nominal(conn, own, n) for n in (1, 2, 3)] == [timedelta(seconds=n) for n in (2, 4, 8)]


def test_an_unknown_kind_has_the_usual_waits(conn: psycopg.Connection) -> None:
    waits = [ask(conn, "select howdah.backoff(howdah.rules('nobody', null), %s)", [n]) for n in (1, 2, 100)]
    assert waits == [timedelta(seconds=1), timedelta(seconds=2), timedelta(minutes=10)]


@pytest.mark.parametrize(("strategy", "seconds"), [("fixed", 60), ("immediate", 0), ("poly", 60), ("own", 60)])
def test_an_attempt_that_is_ended_from_outside_waits_by_the_strategy_of_its_kind(
    conn: psycopg.Connection, strategy: str, seconds: int
) -> None:
    declare(conn, {"name": "job", "strategy": strategy, "retry_delay": "1 min"})
    put(conn)
    worker = Worker(conn, ["job"])
    (task,) = worker.claim(1)
    assert ask(conn, "select howdah.lose(%s, %s, 'timeout', 'too slow', false)", [task.id, task.epoch])
    assert ask(conn, "select (data ->> 'delay')::float from howdah.event where task_id = %s", [task.id]) == seconds


async def test_workers_tell_the_database_the_strategies_of_kinds_and_steps(app: App, conn: psycopg.Connection) -> None:
    @app.task(retry=Retry(strategy="poly"))
    async def named() -> None: ...

    @app.task(retry=Retry(strategy=lambda attempt, error: "1s"))
    async def own() -> None: ...

    async with app.worker():
        rows = conn.execute("select name, strategy from howdah.kind order by name").fetchall()
    assert rows == [("named", "poly"), ("own", "own")]


async def test_a_worker_waits_as_the_function_says_and_loses_no_task_if_it_fails(
    app: App, conn: psycopg.Connection
) -> None:
    asked: list[tuple[int, str]] = []

    def wait(attempt: int, error: BaseException) -> str:
        asked.append((attempt, str(error)))
        if attempt == 2:
            raise KeyError("the strategy has a mistake of its own")
        return "1ms"

    @app.task(retry=Retry(3, delay="2ms", strategy=wait, jitter=0))
    async def shaky() -> str:
        if len(asked) < 3:
            raise ValueError(f"no {len(asked)}")
        return "done"

    async with app.worker(poll="10ms"):
        task = await shaky.enqueue()
        assert await task.result("30s") == "done"
    assert asked == [(1, "no 0"), (2, "no 1"), (3, "no 2")]
    delays = conn.execute(
        "select (data ->> 'delay')::float from howdah.event where task_id = %s and type = 'retry' order by id",
        [task.id],
    )
    assert [delay for (delay,) in delays] == [0.001, 0.004, 0.001]
