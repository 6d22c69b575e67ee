"""Many transactions, one key: one task holds it in the end, whatever is rolled back, and nobody waits for ever."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import psycopg
import pytest

from sql.protocol import ask, count, put, until_blocked

Connect = Callable[[], psycopg.Connection]
pytestmark = pytest.mark.usefixtures("worker")


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(32) as pool:
        yield pool


@pytest.fixture(autouse=True)
def no_deadlock(conn: psycopg.Connection) -> Iterator[None]:
    seen = "select deadlocks from pg_stat_database where datname = current_database()"
    before = ask(conn, seen)
    yield
    assert ask(conn, seen) == before


def together(threads: ThreadPoolExecutor, acts: list[Callable[[], Any]]) -> list[Any]:
    """All of them at once; what each returns, or the error."""
    barrier = threading.Barrier(len(acts))

    def act(one: Callable[[], Any]) -> Any:
        barrier.wait()
        try:
            return one()
        except psycopg.Error as error:
            return error

    return [each.result(60) for each in [threads.submit(act, one) for one in acts]]


def batch(conn: psycopg.Connection, keys: list[str], **options: Any) -> list[int]:
    given = {"key": "{k}", **options}
    arguments = "".join(f", {name} => %s" for name in given)
    payloads = json.dumps([{"k": key} for key in keys])
    query = f"select howdah.enqueue_many('job', %s{arguments})".encode()
    return [row[0] for row in conn.execute(query, [payloads, *given.values()]).fetchall()]


@pytest.mark.parametrize("unique_for", [None, "1 hour"])
@pytest.mark.parametrize("on_conflict", ["return", "skip", "raise", "replace", "merge"])
def test_of_32_one_wins(
    conn: psycopg.Connection, connect: Connect, threads: ThreadPoolExecutor, on_conflict: str, unique_for: str | None
) -> None:
    racers = [connect() for _ in range(32)]
    act = partial(put, key="k", on_conflict=on_conflict, unique_for=unique_for)
    for _ in range(4):
        conn.execute("delete from howdah.task; delete from howdah.key")
        answers = together(threads, [partial(act, racer) for racer in racers])
        (holder,) = [row[0] for row in conn.execute("select id from howdah.tasks").fetchall()]
        lost = [answer for answer in answers if answer != holder]
        assert len(lost) == (0 if on_conflict in ("return", "replace", "merge") else 31), lost
        for answer in lost:
            if on_conflict == "skip":
                assert answer is None
            else:
                assert isinstance(answer, psycopg.Error)
                assert (answer.sqlstate, answer.diag.message_detail) == ("HW006", str(holder))
        assert ask(conn, "select count(*) from howdah.key") == (0 if unique_for is None else 1)


def behind(
    conn: psycopg.Connection, connect: Connect, act: Callable[..., Any], threads: ThreadPoolExecutor, n: int
) -> list[Future[Any]]:
    """So many that wait for the transaction of conn."""
    waiting = [connect() for _ in range(n)]
    found = [threads.submit(act, one) for one in waiting]
    for one in waiting:
        until_blocked(connect(), one)
    return found


@pytest.mark.parametrize("unique_for", [None, "1 hour"])
def test_when_the_winner_rolls_back_another_gets_it(
    conn: psycopg.Connection, connect: Connect, threads: ThreadPoolExecutor, unique_for: str | None
) -> None:
    with conn.transaction(force_rollback=True):
        winner = put(conn, key="k", unique_for="1 hour")
        waiting = behind(
            conn, connect, lambda one: put(one, key="k", on_conflict="skip", unique_for=unique_for), threads, 8
        )
    answers = [each.result(60) for each in waiting]
    (second,) = [answer for answer in answers if answer is not None]
    assert second != winner
    assert [row[0] for row in conn.execute("select id from howdah.task").fetchall()] == [second]


@pytest.mark.parametrize("unique_for", [None, "1 hour"])
@pytest.mark.parametrize("way", ["put", "many"])
def test_who_looked_before_another_came_and_ended_finds_the_key_taken(
    conn: psycopg.Connection, connect: Connect, threads: ThreadPoolExecutor, way: str, unique_for: str | None
) -> None:
    def act(one: psycopg.Connection) -> Any:
        if way == "many":
            return batch(one, ["k", "other"], unique_for=unique_for)[0]
        return put(one, key="k", unique_for=unique_for)

    with conn.transaction():
        first = put(conn, key="k", unique_for="1 hour")
        conn.execute("select howdah.cancel(%s)", [first])
        waiting = behind(conn, connect, act, threads, 3)
    assert [each.result(60) for each in waiting] == [first] * 3
    assert ask(conn, "select count(*) from howdah.task where key = 'k'") == 0
    assert ask(conn, "select task_id from howdah.key where key = 'k'") == first


def test_a_child_whose_key_was_taken_in_the_same_moment_is_tried_again(
    conn: psycopg.Connection, connect: Connect, threads: ThreadPoolExecutor
) -> None:
    child = ask(conn, "select nextval(pg_get_serial_sequence('howdah.task', 'id'))")
    families = json.dumps([{"tasks": [{"id": child, "kind": "job", "key": "k", "on_conflict": "skip"}]}])

    def spawn(one: psycopg.Connection) -> None:
        one.execute("select howdah.spawn(%s)", [families])

    with conn.transaction():
        first = put(conn, key="k", unique_for="1 hour")
        conn.execute("select howdah.cancel(%s)", [first])
        (waiting,) = behind(conn, connect, spawn, threads, 1)
    assert isinstance(waiting.exception(60), psycopg.errors.SerializationFailure)
    spawn(conn)
    assert count(conn) == 1


def test_batches_wait_for_each_other_in_the_order_of_their_keys(
    conn: psycopg.Connection, connect: Connect, threads: ThreadPoolExecutor
) -> None:
    keys = [f"k{n}" for n in range(200)]
    orders = [keys, keys[::-1], keys[100:] + keys[:100], sorted(keys, key=lambda key: key[::-1])]
    racers = [connect() for _ in range(8)]
    for turn, options in enumerate(
        [{}, {"unique_for": "1 hour"}, {"on_conflict": "skip"}, {"on_conflict": "merge"}, {"on_conflict": "replace"}]
    ):
        conn.execute("delete from howdah.task; delete from howdah.key")
        acts = [partial(batch, racer, orders[(n + turn) % 4], **options) for n, racer in enumerate(racers)]
        answers = together(threads, acts)
        assert all(isinstance(answer, list) for answer in answers), answers
        assert ask(conn, "select count(*) from howdah.task") == 200
        if "on_conflict" not in options:
            assert all(sorted(answer) == sorted(answers[0]) for answer in answers)
