"""Groups: places and rates that hold in the whole fleet, closing, turns, and that nobody else waits for them."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from sql.protocol import Claimed, Worker, ask, declare, put, refused, task, until_blocked


def limit(conn: psycopg.Connection, name: str, **options: Any) -> None:
    said = "".join(f", {option} => %s" for option in options)
    conn.execute(f"select howdah.set_limit(%s{said})".encode(), [name, *options.values()])


def fair(conn: psycopg.Connection, queue: str = "default") -> None:
    conn.execute("select howdah.set_queue(%s, fair => true)", [queue])


def join(conn: psycopg.Connection, *groups: str, **options: Any) -> int:
    return put(conn, groups=sorted(groups), **options)


def ids(tasks: list[Claimed]) -> list[int]:
    return [each.id for each in tasks]


def places(conn: psycopg.Connection) -> dict[str, set[int]]:
    """Which tasks have a place in which group."""
    rows = conn.execute("select group_name, array_agg(task_id) from howdah.slot group by 1")
    return {name: set(taken) for name, taken in rows}


def reasons(conn: psycopg.Connection, task_id: int) -> list[tuple[str, str, str]]:
    return conn.execute("select code, reason, advice from howdah.why(%s)", [task_id]).fetchall()


def rest(conn: psycopg.Connection, name: str, seconds: float) -> None:
    """As if so much time had passed for the rate of this group."""
    conn.execute('update howdah."group" set tat = tat - make_interval(secs => %s) where name = %s', [seconds, name])


# ── places ──


def test_no_more_than_so_many_run_and_the_first_come_first(conn: psycopg.Connection, worker: Worker) -> None:
    limit(conn, "SES", running=2)
    tasks = [join(conn, "SES") for _ in range(4)]
    first = worker.claim()
    assert ids(first) == tasks[:2]
    assert worker.claim() == []
    assert (worker.answer["gated"], worker.answer["crowded"]) == (True, True)
    worker.done(first[1])
    assert ids(worker.claim()) == [tasks[2]]
    assert places(conn) == {"SES": {tasks[0], tasks[2]}}


@pytest.mark.parametrize(
    "end",
    [
        *("done", "gone", "queued", "suspended", "failed", "cancelled", "cancel", "lose", "unheld"),
        *("leave", "deleted by hand", "updated by hand"),
    ],
)  # fmt: skip
def test_every_end_gives_the_place_back(conn: psycopg.Connection, worker: Worker, end: str) -> None:
    limit(conn, "SES", running=1)
    join(conn, "SES", priority=1)
    second = join(conn, "SES")
    (held,) = worker.claim()
    match end:
        case "done":
            worker.done(held)
        case "gone":
            worker.pump(gone_ids=[held.id], gone_epochs=[held.epoch])
        case "queued":
            worker.end(held, to="queued", delay=3600)
        case "suspended":
            worker.end(held, to="suspended")
        case "failed":
            worker.end(held, to="failed", error="x")
        case "cancelled":
            worker.end(held, to="cancelled")
        case "cancel":
            conn.execute("select howdah.cancel(%s)", [held.id])
            worker.end(held, to="queued")
        case "lose":
            conn.execute("select howdah.lose(%s, %s, 'crash', 'x', true)", [held.id, held.epoch])
            conn.execute("update howdah.task set run_at = howdah.now() + interval '1 hour' where id = %s", [held.id])
        case "unheld":
            assert worker.beat()["freed"] == [held.id]
            conn.execute("update howdah.task set run_at = howdah.now() + interval '1 hour' where id = %s", [held.id])
        case "leave":
            conn.execute("select howdah.leave(%s)", [worker.id])
            conn.execute("update howdah.task set run_at = howdah.now() + interval '1 hour' where id = %s", [held.id])
            worker = Worker(conn, ["job"])
        case "deleted by hand":
            conn.execute("delete from howdah.task where id = %s", [held.id])
        case _:
            conn.execute(
                "update howdah.task set status = 'failed', error = 'x', worker = null, claim_seq = null where id = %s",
                [held.id],
            )
    assert places(conn) == {}
    assert ids(worker.claim()) == [second]


def test_a_dead_worker_gives_its_places_back_with_its_tasks(conn: psycopg.Connection, worker: Worker) -> None:
    limit(conn, "SES", running=1)
    lost, other = join(conn, "SES"), join(conn, "SES")
    worker.claim()
    conn.execute("update howdah.worker set lease_until = howdah.now() - interval '1 hour', ttl = '1 ms'")
    conn.execute("select howdah.rescue()")
    mine = Worker(conn, ["job"])
    assert ids(mine.claim()) == [other]  # the lost one was queued again behind it
    mine.done(*[Claimed(*each) for each in json.loads(mine.answer["claimed"])])
    assert ids(mine.claim()) == [lost]


def test_a_full_group_hides_nobody_and_costs_one_look(conn: psycopg.Connection, worker: Worker) -> None:
    limit(conn, "SES", running=1)
    first = join(conn, "SES")
    conn.execute(
        "select howdah.enqueue_many('job', (select jsonb_agg('{}'::jsonb) from generate_series(1, 2000)), groups => '{SES}')"
    )
    other, plain = join(conn, "other"), put(conn)
    assert set(ids(worker.claim(3))) == {first, other, plain}
    assert worker.claim() == []


def test_a_task_of_several_groups_needs_a_place_in_each_and_takes_none_if_one_is_full(
    conn: psycopg.Connection, worker: Worker
) -> None:
    limit(conn, "SES", running=3)
    limit(conn, "tenant:*", running=1)
    both = [join(conn, "SES", f"tenant:{n % 2}") for n in range(6)]
    only = [join(conn, "tenant:0"), join(conn, "SES"), join(conn, "SES")]
    assert set(ids(worker.claim())) == {both[0], both[1], only[1]}
    assert places(conn) == {"SES": {both[0], both[1], only[1]}, "tenant:0": {both[0]}, "tenant:1": {both[1]}}
    assert worker.claim() == []


def test_lanes_that_share_a_group_share_its_places(conn: psycopg.Connection, worker: Worker) -> None:
    limit(conn, "SES", running=5)
    for n in range(30):
        join(conn, "SES", f"tenant:{n}")
    assert len(worker.claim(20)) == 5
    assert worker.claim(20) == []


def test_groups_without_a_limit_hold_nothing_back(conn: psycopg.Connection, worker: Worker) -> None:
    tasks = [join(conn, "free") for _ in range(5)]
    assert ids(worker.claim()) == tasks
    assert not worker.answer["crowded"]


def test_a_limit_that_is_set_late_counts_what_runs_already(conn: psycopg.Connection, worker: Worker) -> None:
    running = [join(conn, "SES") for _ in range(3)]
    claimed = worker.claim()
    assert ids(claimed) == running
    limit(conn, "SES", running=2)
    waits = join(conn, "SES")
    assert worker.claim() == []
    worker.done(claimed[0])
    assert worker.claim() == []
    worker.done(claimed[1])
    assert ids(worker.claim()) == [waits]


def test_a_limit_is_changed_and_taken_away_while_tasks_wait(conn: psycopg.Connection, worker: Worker) -> None:
    limit(conn, "SES", running=1)
    for _ in range(6):
        join(conn, "SES")
    assert len(worker.claim()) == 1
    limit(conn, "SES", running=3)
    assert len(worker.claim()) == 2
    assert ask(conn, "select howdah.unset_limit('SES')") is True
    assert len(worker.claim()) == 3
    assert ask(conn, "select howdah.unset_limit('SES')") is False


def test_many_who_claim_at_once_never_take_a_place_too_many(own_dsn: str) -> None:
    with psycopg.connect(own_dsn, autocommit=True) as conn:
        declare(conn, {"name": "job"})
        limit(conn, "SES", running=3)
        limit(conn, "tenant:*", running=1)
        for n in range(400):
            join(conn, "SES", f"tenant:{n % 7}")
        over: list[int] = []
        barrier = threading.Barrier(6)

        def work() -> int:
            with psycopg.connect(own_dsn, autocommit=True) as mine:
                worker = Worker(mine, ["job"])
                barrier.wait()
                done = 0
                while ask(mine, "select count(*) from howdah.task"):
                    claimed = worker.claim(4)
                    counts = mine.execute(
                        "select g, count(*) from howdah.task, unnest(groups) g where status = 'running' group by g"
                    )
                    over.extend(number for name, number in counts if number > (3 if name == "SES" else 1))
                    if claimed:
                        done += len(worker.done(*claimed))
                return done

        with ThreadPoolExecutor(6) as pool:
            done = [future.result() for future in [pool.submit(work) for _ in range(6)]]
        assert over == []
        assert sum(done) == 400
        assert places(conn) == {}


def test_a_group_that_somebody_else_is_claiming_from_is_passed_over_and_looked_at_soon(
    conn: psycopg.Connection, worker: Worker, dsn: str
) -> None:
    limit(conn, "SES", running=1)
    waits, other = join(conn, "SES"), join(conn, "other")
    with psycopg.connect(dsn) as mine:
        theirs = Worker(mine, ["job"])
        mine.commit()
        assert len(theirs.claim()) == 2
        mine.rollback()
        with mine.transaction():
            mine.execute("""select from howdah."group" where name = 'SES' for update""")
            assert ids(worker.claim()) == [other]
            assert worker.answer["crowded"]
            assert 0 <= worker.answer["next_due"] < 0.1
    assert ids(worker.claim()) == [waits]


def test_an_open_transaction_that_makes_a_group_keeps_nobody_else_waiting(
    conn: psycopg.Connection, worker: Worker, dsn: str
) -> None:
    waits, other = join(conn, "new"), join(conn, "other")
    with psycopg.connect(dsn) as mine:
        mine.execute("select howdah.set_limit('new', running => 1)")
        assert ids(worker.claim()) == [other]
        mine.commit()
    assert ids(worker.claim()) == [waits]


def test_two_claims_that_meet_new_groups_do_not_wait_for_each_other(
    conn: psycopg.Connection, worker: Worker, dsn: str
) -> None:
    first, second = join(conn, "a"), join(conn, "b", queue="other")
    with psycopg.connect(dsn) as mine:
        theirs = Worker(mine, ["job"])
        mine.commit()
        assert ids(theirs.claim()) == [first]
        assert worker.claim(queue="other") == []  # left for the next look
        assert worker.answer["next_due"] < 0.1
        mine.commit()
    assert ids(worker.claim(queue="other")) == [second]


def test_groups_that_were_only_met_are_forgotten_after_a_day(conn: psycopg.Connection, worker: Worker) -> None:
    limit(conn, "tenant:*", running=1)
    for name in ("tenant:1", "tenant:2", "tenant:3", "tenant:4"):
        join(conn, name)
    worker.done(*worker.claim(3))
    worker.claim()
    conn.execute("select howdah.close_group('tenant:2')")
    conn.execute("""update howdah."group" set used_at = used_at - interval '25 hours' where name <> 'tenant:3'""")
    conn.execute("select howdah.retain()")
    assert {row[0] for row in conn.execute("select name from howdah.groups")} == {
        "tenant:*",
        "tenant:2",
        "tenant:3",
        "tenant:4",
    }


# ── rules ──


def test_the_most_specific_rule_holds_and_one_of_its_own_before_all(conn: psycopg.Connection, worker: Worker) -> None:
    limit(conn, "tenant:*", running=2)
    limit(conn, "tenant:eu:*", running=1)
    limit(conn, "tenant:eu:big")  # none at all, whatever the rules say
    for name in ("tenant:us", "tenant:eu:1", "tenant:eu:big", "tenant", "xtenant:1"):
        for _ in range(3):
            join(conn, name)
    worker.claim(50)
    found = {name: len(taken) for name, taken in places(conn).items()}
    assert found == {"tenant:us": 2, "tenant:eu:1": 1, "tenant:eu:big": 3, "tenant": 3, "xtenant:1": 3}
    rows = dict(conn.execute("select name, rule from howdah.groups where not own").fetchall())
    assert rows == {"tenant:us": "tenant:*", "tenant:eu:1": "tenant:eu:*", "tenant": None, "xtenant:1": None}


def test_a_rule_is_changed_for_all_that_follow_it(conn: psycopg.Connection, worker: Worker) -> None:
    limit(conn, "tenant:*", running=1)
    limit(conn, "tenant:2", running=2)
    for name in ("tenant:1", "tenant:2"):
        for _ in range(9):
            join(conn, name)
    assert len(worker.claim(50)) == 3
    limit(conn, "tenant:*", running=4)
    assert len(worker.claim(50)) == 3
    conn.execute("select howdah.unset_limit('tenant:2')")
    assert len(worker.claim(50)) == 2
    conn.execute("select howdah.unset_limit('tenant:*')")
    assert len(worker.claim(50)) == 10
    assert ask(conn, "select count(*) from howdah.groups where max_running is not null or own") == 0


def test_signs_of_patterns_in_the_name_of_a_rule_mean_themselves(conn: psycopg.Connection, worker: Worker) -> None:
    limit(conn, r"a_%\*", running=1)
    for name in (r"a_%\1", "ab%1", "a__1"):
        for _ in range(2):
            join(conn, name)
    assert len(worker.claim(50)) == 5


def test_what_is_not_said_stays(conn: psycopg.Connection) -> None:
    limit(conn, "SES", running=10, rate="100/min", burst=20)
    limit(conn, "SES", running=5)
    assert conn.execute("select max_running, rate, burst from howdah.groups").fetchall() == [(5, "100/min", 20)]
    limit(conn, "SES", burst=3)
    assert conn.execute("select max_running, rate, burst from howdah.groups").fetchall() == [(5, "100/min", 3)]
    limit(conn, "SES", rate="10/s")
    assert conn.execute("select max_running, rate, burst from howdah.groups").fetchall() == [(5, "10/s", 10)]
    limit(conn, "SES", running=0)
    assert conn.execute("select max_running, rate, burst from howdah.groups").fetchall() == [(None, "10/s", 10)]
    limit(conn, "SES", rate="none", running=3)
    assert conn.execute("select max_running, rate, burst from howdah.groups").fetchall() == [(3, None, None)]


@pytest.mark.parametrize(
    ("call", "words", "hint"),
    [
        ("set_limit('', 1)", "the name of a limit must be 1 to 200 characters", "tenant:*"),
        ("set_limit(null, 1)", "the name of a limit must be", "tenant:*"),
        ("set_limit('x', -1)", "running must be at least 1, not -1", "SELECT howdah.close_group('x')"),
        ("set_limit('x', rate => '10')", "rate cannot be read: '10'", "100/min"),
        ("set_limit('x', rate => '0/s')", "rate cannot be read: '0/s'", "100/min"),
        ("set_limit('x', rate => '5/0s')", "rate cannot be read: '5/0s'", "100/min"),
        ("set_limit('x', rate => '-5/s')", "rate cannot be read: '-5/s'", "100/min"),
        ("set_limit('x', rate => '5/week')", "rate cannot be read: '5/week'", "100/min"),
        ("set_limit('x', rate => '5/s', burst => 0)", "burst must be a number above 0, not 0", "leave it out"),
        ("set_limit('x', burst => 5)", "burst was given, and there is no rate", "100/min"),
        ("close_group('x', '0')", "length must be longer than nothing", "until it is opened"),
        ("close_group('x*')", "name must be that of one group", "howdah.groups"),
        ("set_queue('', 1)", "queue must be a name of 1 to 200 characters", "howdah.queues"),
        ("set_queue('x', -1)", "running must be at least 1, not -1", "howdah pause x"),
        ("set_queue('x', ageing => '-1 s')", "ageing must not be negative", "0 turns it off"),
        ("enqueue('job', groups => '{a*}')", "groups must be names of 1 to 200 characters, without *", "groups of the kind"),
        ("enqueue('job', groups => array[null])", "groups must be names", "groups of the kind"),
        ("enqueue('job', groups => array(select 'g' || n from generate_series(1, 21) n))", "groups must be 1 to 20 names, not 21", ""),
        ("enqueue('job', cost => -1)", "cost must be a number from 0, not -1", "Leave it out for 1"),
        ("enqueue('job', cost => 'NaN')", "cost must be a number from 0, not NaN", "Leave it out for 1"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant(conn: psycopg.Connection, worker: Worker, call: str, words: str, hint: str) -> None:
    with refused("HW002", words, hint):
        conn.execute(f"select howdah.{call}".encode())
    assert ask(conn, """select count(*) from howdah."group" """) == 0


@pytest.mark.parametrize(
    ("said", "per_second"),
    [
        *[("100/min", 100 / 60), ("5/s", 5), ("1000/hour", 1000 / 3600), ("20/30s", 20 / 30), ("1.5 / 2.5 min", 0.01)],
        *[("7/day", 7 / 86400), ("3/500ms", 6), ("2/m", 2 / 60), ("2/h", 2 / 3600), ("9/2seconds", 4.5), ("1/3 hours", 1 / 10800)],
    ],
)  # fmt: skip
def test_rates_as_people_write_them(conn: psycopg.Connection, said: str, per_second: float) -> None:
    assert ask(conn, "select howdah.parsed_rate(%s)", [said]) == pytest.approx(per_second)


# ── rates ──


def test_a_burst_starts_at_once_and_then_one_after_the_other(conn: psycopg.Connection, worker: Worker) -> None:
    limit(conn, "API", rate="1/hour", burst=3)
    tasks = [join(conn, "API") for _ in range(6)]
    assert ids(worker.claim()) == tasks[:3]
    assert worker.claim() == []
    assert (worker.answer["gated"], worker.answer["crowded"]) == (True, False)
    assert 3500 < worker.answer["next_due"] <= 3600
    rest(conn, "API", 3600)
    assert ids(worker.claim()) == [tasks[3]]
    rest(conn, "API", 36000)
    assert ids(worker.claim()) == tasks[4:]


def test_a_long_rest_earns_no_more_than_the_burst(conn: psycopg.Connection, worker: Worker) -> None:
    limit(conn, "API", rate="1/hour", burst=2)
    for _ in range(6):
        join(conn, "API")
    assert len(worker.claim()) == 2
    rest(conn, "API", 1_000_000)
    assert len(worker.claim()) == 2


def test_a_task_counts_its_cost(conn: psycopg.Connection, worker: Worker) -> None:
    limit(conn, "tokens", rate="1000/hour", burst=1000)
    tasks = [join(conn, "tokens", cost=cost) for cost in (600, 300, 200, 50)]
    # In order: what is cheap does not overtake what is dear.
    assert ids(worker.claim()) == tasks[:2]
    assert worker.claim() == []
    rest(conn, "tokens", 3600 * 0.15)
    assert ids(worker.claim()) == tasks[2:]


def test_what_costs_nothing_is_held_up_by_nothing_spent(conn: psycopg.Connection, worker: Worker) -> None:
    limit(conn, "API", rate="1/hour", burst=1)
    tasks = [join(conn, "API", cost=0) for _ in range(3)]
    claimed = ids(worker.claim())
    while worker.answer["more"]:
        claimed += ids(worker.claim())
    assert claimed == tasks


def test_what_costs_more_than_the_burst_waits_for_all_of_it_and_leaves_a_debt(
    conn: psycopg.Connection, worker: Worker
) -> None:
    limit(conn, "API", rate="1/hour", burst=10)
    small, big, after = join(conn, "API"), join(conn, "API", cost=25), join(conn, "API")
    assert ids(worker.claim()) == [small]
    rest(conn, "API", 2 * 3600)
    assert ids(worker.claim()) == [big]
    rest(conn, "API", 15 * 3600)
    assert worker.claim() == []
    rest(conn, "API", 3600)
    assert ids(worker.claim()) == [after]


def test_two_groups_with_rates_are_both_spent_or_neither(conn: psycopg.Connection, worker: Worker) -> None:
    limit(conn, "a", rate="1/hour", burst=5)
    limit(conn, "b", rate="1/hour", burst=2)
    for _ in range(5):
        join(conn, "a", "b")
    assert len(worker.claim()) == 2
    alone = [join(conn, "a") for _ in range(5)]
    assert ids(worker.claim()) == alone[:3]


def test_what_is_given_back_is_not_counted_twice_as_running(conn: psycopg.Connection, worker: Worker) -> None:
    limit(conn, "SES", running=1)
    mine = join(conn, "SES")
    worker.claim()
    worker.beat()
    assert ids(worker.claim()) == [mine]
    assert places(conn) == {"SES": {mine}}


def test_a_lane_whose_rate_is_used_up_hides_no_younger_one(conn: psycopg.Connection, worker: Worker) -> None:
    limit(conn, "a", rate="1/hour", burst=1)
    for _ in range(5):
        join(conn, "a")
    younger = [join(conn, f"b{n}") for n in range(3)]
    taken = [ids(worker.claim(1)) for _ in range(4)]
    assert [each for [each] in taken[1:]] == younger


def test_lanes_of_kinds_that_are_not_known_here_hide_no_younger_one(conn: psycopg.Connection, worker: Worker) -> None:
    declare(conn, {"name": "strange"})
    for n in range(30):
        join(conn, f"a{n}", kind="strange")
    mine = join(conn, "b")
    assert ids(worker.claim(1)) == [mine]
    assert worker.claim(1) == []
    assert worker.cursors["groups"] is True


def test_a_debt_says_when_it_is_paid(conn: psycopg.Connection, worker: Worker) -> None:
    limit(conn, "a", rate="1/s", burst=1)
    for _ in range(2):
        join(conn, "a", cost=3)
    assert len(worker.claim()) == 1
    assert worker.claim() == []
    assert (worker.answer["gated"], worker.answer["crowded"]) == (True, False)
    assert 2 < worker.answer["next_due"] <= 3


def test_what_is_dear_is_not_overtaken_again_and_again_by_what_is_cheap(
    conn: psycopg.Connection, worker: Worker
) -> None:
    limit(conn, "a", rate="100/hour", burst=5)
    dear = join(conn, "a", cost=5)
    for _ in range(200):
        join(conn, "a")
    conn.execute("""update howdah."group" set tat = howdah.now() + interval '2 minutes'""")
    started: list[int] = []
    for _ in range(10):
        started += ids(worker.claim())
        rest(conn, "a", 36)
    assert started[0] == dear


def test_without_a_limit_nothing_is_crowded(conn: psycopg.Connection, worker: Worker) -> None:
    for _ in range(5):
        join(conn, "free")
    assert len(worker.claim(2)) == 2
    assert (worker.answer["gated"], worker.answer["crowded"]) == (False, False)


def test_a_claim_locks_no_more_groups_than_it_needs(conn: psycopg.Connection, worker: Worker, dsn: str) -> None:
    limit(conn, "t*", running=1)
    for n in range(100):
        join(conn, f"t{n:02}")
    worker.done(*worker.claim(20))  # so that the groups have their rows
    with psycopg.connect(dsn) as mine:
        theirs = Worker(mine, ["job"])
        mine.commit()
        assert len(theirs.claim(1)) == 1
        assert len(worker.claim(20)) == 20


# ── closing ──


def close(worker: Worker, held: Claimed, **said: Any) -> None:
    worker.end(held, to="queued", attempts="unspent", delay=said["seconds"], close=said)


def test_a_handler_closes_the_group_for_everybody_and_spends_no_attempt(
    conn: psycopg.Connection, worker: Worker
) -> None:
    tasks = [join(conn, "API"), join(conn, "API")]
    other = join(conn, "other")
    (held, *rest_of_them) = worker.claim(3)
    close(worker, held, seconds=3600, reason="429")
    assert task(conn, held.id, "status", "attempt") == ("queued", 0)
    worker.end(*[each for each in rest_of_them if each.id == tasks[1]], to="queued")
    assert worker.claim() == []
    assert 3500 < worker.answer["next_due"] <= 3600
    ((code, reason, advice),) = reasons(conn, tasks[1])
    assert code == "group closed"
    assert "Group API is closed until" in reason
    assert f"by task {held.id}: 429" in reason
    assert "SELECT howdah.open_group('API')" in advice
    assert task(conn, other, "status") == "running"
    assert ask(conn, "select howdah.open_group('API')") is True
    # It has kept its place in line.
    assert ids(worker.claim(1)) == [held.id]
    assert ask(conn, "select howdah.open_group('API')") is False


def test_of_several_groups_those_with_a_rate_are_closed(conn: psycopg.Connection, worker: Worker) -> None:
    limit(conn, "API", rate="100/s")
    join(conn, "API", "tenant:1")
    (held,) = worker.claim()
    close(worker, held, seconds=60)
    assert conn.execute("select name from howdah.groups where closed_until is not null").fetchall() == [("API",)]
    assert ids(worker.claim()) == []


def test_the_group_that_is_named_is_closed_and_a_task_that_is_not_of_it_waits_by_itself(
    conn: psycopg.Connection, worker: Worker
) -> None:
    mine = join(conn, "tenant:1")
    (held,) = worker.claim()
    close(worker, held, seconds=3600, group="API")
    assert worker.claim() == []
    assert ask(conn, "select run_at > howdah.now() + interval '50 minutes' from howdah.task where id = %s", [mine])
    join(conn, "API")
    assert worker.claim() == []


def test_a_group_is_closed_until_a_time(conn: psycopg.Connection, worker: Worker) -> None:
    mine = join(conn, "API")
    worker.end(*worker.claim(), to="queued", attempts="unspent", run_at="2040-01-01Z", close={"until": "2040-01-01Z"})
    assert worker.claim() == []
    assert "closed until 2040-01-01" in reasons(conn, mine)[0][1]


def test_without_groups_it_is_run_again_later(conn: psycopg.Connection, worker: Worker) -> None:
    mine = put(conn)
    (held,) = worker.claim()
    close(worker, held, seconds=3600)
    assert worker.claim() == []
    assert ask(conn, "select run_at > howdah.now() + interval '50 minutes' from howdah.task where id = %s", [mine])


def test_a_short_closing_does_not_shorten_a_long_one(conn: psycopg.Connection, worker: Worker) -> None:
    conn.execute("select howdah.close_group('API', '1 hour', 'by hand')")
    join(conn, "x", priority=1)
    (held,) = worker.claim()
    close(worker, held, seconds=1, group="API")
    assert ask(conn, "select closed_reason from howdah.groups where name = 'API'") == "by hand"


def test_an_operator_closes_and_opens(conn: psycopg.Connection, worker: Worker) -> None:
    conn.execute("select howdah.close_group('API', reason => 'maintenance')")
    waits = join(conn, "API")
    assert worker.claim() == []
    ((code, reason, _),) = reasons(conn, waits)
    assert code == "group closed"
    assert "until it is opened" in reason
    assert "maintenance" in reason
    assert ask(conn, "select howdah.open_group('API')")
    assert ids(worker.claim()) == [waits]


# ── order ──


def test_with_one_place_a_group_goes_in_order(conn: psycopg.Connection, worker: Worker) -> None:
    limit(conn, "account:7", running=1)
    tasks = [join(conn, "account:7") for _ in range(20)]
    seen: list[int] = []
    while len(seen) < 20:
        (one,) = worker.claim()
        seen.append(one.id)
        worker.done(one)
    assert seen == tasks


def test_priorities_come_before_groups_and_turns(conn: psycopg.Connection, worker: Worker) -> None:
    fair(conn)
    low, lower = [join(conn, "a") for _ in range(3)], put(conn, priority=-1)
    high = [join(conn, "b", priority=5), put(conn, priority=4), join(conn, "c", priority=3)]
    assert [ids(worker.claim(1))[0] for _ in range(3)] == high
    assert set(ids(worker.claim(3))) == set(low)
    assert ids(worker.claim()) == [lower]


def test_those_with_and_without_groups_are_first_in_turns(conn: psycopg.Connection, worker: Worker) -> None:
    for _ in range(20):
        join(conn, "a")
        put(conn)
    first = [task(conn, ids(worker.claim(1))[0], "groups") for _ in range(20)]
    assert first.count(None) == 10


def test_the_oldest_is_first_among_groups(conn: psycopg.Connection, worker: Worker) -> None:
    tasks = [join(conn, name) for name in ("b", "c", "a", "b", "a", "c")]
    assert [ids(worker.claim(1))[0] for _ in tasks] == tasks


@pytest.mark.parametrize("room", [1, 3, 10, 40])
def test_fair_groups_take_turns_whatever_their_backlogs(conn: psycopg.Connection, worker: Worker, room: int) -> None:
    fair(conn)
    for n, backlog in enumerate((300, 30, 120, 20)):
        payloads = json.dumps([{}] * backlog)
        conn.execute("select howdah.enqueue_many('job', %s, groups => %s)", [payloads, [f"tenant:{n}"]])
    done: dict[str, int] = {}
    while sum(done.values()) < 80:
        claimed = worker.claim(room)
        for each in claimed:
            (name,) = task(conn, each.id, "groups")
            done[name] = done.get(name, 0) + 1
        worker.done(*claimed)
    assert max(done.values()) - min(done.values()) <= room / 4 + 1, done


@pytest.mark.parametrize("in_turns", [False, True])
def test_a_claim_goes_round_until_it_has_enough(conn: psycopg.Connection, worker: Worker, in_turns: bool) -> None:
    conn.execute("select howdah.set_queue('default', fair => %s)", [in_turns])
    limit(conn, "g*", running=1)
    for _ in range(3):
        payloads = json.dumps([{"n": n} for n in range(40)])
        conn.execute("select howdah.enqueue_many('job', %s, groups => '{\"g{n}\"}')", [payloads])
    for _ in range(6):
        claimed = worker.claim(20, fresh=False)
        assert len(claimed) == 20
        worker.done(*claimed)


def test_of_very_many_full_groups_those_with_a_place_are_found(conn: psycopg.Connection, worker: Worker) -> None:
    limit(conn, "g*", running=1)
    conn.execute("""
        insert into howdah.task (kind, queue, priority, run_at, groups)
        select 'job', 'default', 0, howdah.now() - n * interval '1 ms', array['g' || to_char(n, 'FM0000')]
          from generate_series(1, 600) n cross join generate_series(1, 2)
    """)
    claimed: list[Claimed] = []
    while len(claimed) < 600:
        found = worker.claim(200, fresh=False)
        assert found or worker.answer["more"]
        claimed += found
    free = claimed[17]
    worker.done(free)
    last: list[Claimed] = []
    rounds = 0
    while rounds < 2:
        last += worker.claim(200, fresh=False)
        rounds += not worker.answer["more"]  # then it rests, and begins again
    assert [each.payload for each in last] == [{}]


def test_a_kind_that_this_worker_does_not_know_hides_nothing(conn: psycopg.Connection, worker: Worker) -> None:
    declare(conn, {"name": "strange"})
    limit(conn, "SES", running=1)
    strange, mine = join(conn, "SES", kind="strange"), join(conn, "SES")
    assert ids(worker.claim()) == [mine]
    worker.done(*[Claimed(*each) for each in json.loads(worker.answer["claimed"])])
    assert worker.claim() == []
    assert task(conn, strange, "status") == "queued"


# ── ageing ──


def aged(conn: psycopg.Connection, minutes: float, **options: Any) -> int:
    mine = put(conn, **options)
    conn.execute(
        "update howdah.task set run_at = howdah.now() - make_interval(secs => %s) where id = %s", [minutes * 60, mine]
    )
    return mine


def test_who_has_waited_long_comes_before_a_higher_priority(conn: psycopg.Connection, worker: Worker) -> None:
    conn.execute("select howdah.set_queue('default', ageing => '1 minute')")
    fresh = [aged(conn, 0.5, priority=5) for _ in range(3)]
    old, older, oldest = aged(conn, 2.5), aged(conn, 5.5), aged(conn, 7.5)
    assert ids(worker.claim(1)) == [oldest]
    # The same: the higher priority is first.
    assert ids(worker.claim(3)) == fresh
    assert ids(worker.claim(2)) == [older, old]


def test_without_ageing_the_priority_alone_counts(conn: psycopg.Connection, worker: Worker) -> None:
    old, fresh = aged(conn, 600), put(conn, priority=1)
    assert [ids(worker.claim(1)), ids(worker.claim(1))] == [[fresh], [old]]


def test_ageing_lifts_only_those_who_have_waited(conn: psycopg.Connection, worker: Worker) -> None:
    conn.execute("select howdah.set_queue('default', ageing => '1 minute')")
    old = aged(conn, 10)
    young = [put(conn) for _ in range(3)]
    high = [put(conn, priority=5) for _ in range(3)]
    # As many as there is room for, in this order, though the old and the young have the same priority.
    taken = [ids(worker.claim(1))[0] for _ in range(7)]
    assert taken == [old, *high, *young]


def test_ageing_among_groups(conn: psycopg.Connection, worker: Worker) -> None:
    conn.execute("select howdah.set_queue('default', ageing => '1 minute')")
    old = aged(conn, 10, groups=["a"])
    high = put(conn, priority=5, groups=["b"])
    assert [ids(worker.claim(1)), ids(worker.claim(1))] == [[old], [high]]


def test_of_groups_that_age_those_with_nothing_due_hide_none(conn: psycopg.Connection, worker: Worker) -> None:
    conn.execute("select howdah.set_queue('default', ageing => '1 minute')")
    many = "(select jsonb_agg('{}'::jsonb) from generate_series(1, 300))"
    conn.execute(f"select howdah.enqueue_many('job', {many}, groups => '{{a}}', delay => '1 day')".encode())
    due = join(conn, "b")
    assert ids(worker.claim()) == [due]


def test_with_ageing_too_the_next_due_time_is_known(conn: psycopg.Connection, worker: Worker) -> None:
    conn.execute("select howdah.set_queue('default', ageing => '1 minute')")
    put(conn, delay="10 min", priority=3)
    join(conn, "a", delay="5 min")
    assert worker.claim() == []
    assert 290 < worker.answer["next_due"] <= 300


def test_a_group_that_is_met_again_is_not_forgotten(conn: psycopg.Connection, worker: Worker) -> None:
    for age in ("25 hours", "30 hours"):
        join(conn, "a")
        worker.done(*worker.claim())
        conn.execute('update howdah."group" set used_at = used_at - %s::interval', [age])
        join(conn, "a")
        worker.done(*worker.claim())
        conn.execute("select howdah.retain()")
        assert conn.execute("select name from howdah.groups").fetchall() == [("a",)]


def test_a_rule_and_a_closing_do_not_wait_for_each_other(conn: psycopg.Connection, worker: Worker, dsn: str) -> None:
    for name in ("b", "a", "c"):
        join(conn, name)
    worker.claim()
    with psycopg.connect(dsn) as one, ThreadPoolExecutor(1) as pool:
        said = json.dumps([{"id": 1, "groups": ["a"], "seconds": 60}])
        one.execute("select howdah.close_groups(%s)", [said])
        setting = pool.submit(limit, conn, "*", running=5)
        with psycopg.connect(dsn, autocommit=True) as watcher:
            until_blocked(watcher, conn)
        said = json.dumps([{"id": 1, "groups": [name], "seconds": 60} for name in ("b", "c")])
        one.execute("select howdah.close_groups(%s)", [said])
        one.commit()
        setting.result(30)
    rows = conn.execute("select name, max_running from howdah.groups where not own order by name").fetchall()
    assert rows == [("a", 5), ("b", 5), ("c", 5)]


# ── why ──


def test_why_says_who_fills_the_group(conn: psycopg.Connection, worker: Worker) -> None:
    limit(conn, "SES", running=1)
    join(conn, "SES")
    waits = join(conn, "SES")
    (held,) = worker.claim()
    assert reasons(conn, waits) == [
        (
            "group full",
            f"Group SES may run 1 at once, and 1 run: task {held.id}",
            "Wait, or raise it: SELECT howdah.set_limit('SES', running => 2)",
        )
    ]


def test_why_says_when_the_rate_lets_it_go(conn: psycopg.Connection, worker: Worker) -> None:
    limit(conn, "API", rate="1/hour")
    join(conn, "API")
    waits = join(conn, "API")
    worker.claim()
    ((code, reason, _),) = reasons(conn, waits)
    assert code == "rate"
    assert "Group API starts 1/hour, and it costs 1; the next 1 may start in 00:59:5" in reason


def test_why_of_one_behind_others_of_its_groups(conn: psycopg.Connection, worker: Worker) -> None:
    for _ in range(3):
        join(conn, "a")
    put(conn)
    behind = join(conn, "a")
    assert reasons(conn, behind)[0][:2] == ("in line", "It is due; 3 due tasks of its groups (a) are before it")


# ── who has which groups ──


def test_groups_come_from_the_kind_for_every_way_to_enqueue(conn: psycopg.Connection) -> None:
    declare(conn, {"name": "mail", "groups": ["tenant:{tenant}", "SES"], "cost": 3})
    payload = json.dumps({"tenant": 7})
    made = [put(conn, "mail", payload=payload)]
    made.append(ask(conn, "select howdah.enqueue_many('mail', %s)", [f"[{payload}]"]))
    made.append(ask(conn, "insert into howdah.task (kind, payload) values ('mail', %s) returning id", [payload]))
    conn.execute("select howdah.schedule('s', 'mail', '@daily', payload => %s)", [payload])
    made.append(ask(conn, "select howdah.trigger('s')"))
    for each in made:
        assert task(conn, each, "groups", "cost") == (["SES", "tenant:7"], 3)
    assert task(conn, put(conn, "mail", payload=payload, groups=["x"], cost=1), "groups", "cost") == (["x"], 1)
    assert task(conn, put(conn, "mail", payload=payload, groups=[]), "groups") is None


@pytest.mark.parametrize("payload", [{}, {"tenant": None}, {"tenant": 1.5}, {"tenant": [1]}])
def test_a_payload_that_makes_no_name_is_refused(conn: psycopg.Connection, payload: dict[str, Any]) -> None:
    declare(conn, {"name": "mail", "groups": ["tenant:{tenant}"]})
    with refused("HW003", "the name tenant:{tenant} is made of it", "text, a whole number, true or false"):
        put(conn, "mail", payload=json.dumps(payload))


def test_groups_are_sorted_and_each_there_once_however_they_are_written(
    conn: psycopg.Connection, worker: Worker
) -> None:
    made = [put(conn, groups=["b", "a", "b"])]
    made.append(ask(conn, "insert into howdah.task (kind, groups) values ('job', '{b,a,a}') returning id"))
    made.append(ask(conn, "select howdah.enqueue_many('job', '[{}]', groups => '{b,b,a}')"))
    conn.execute("update howdah.task set groups = '{b,a,b}' where id = %s", [made[0]])
    assert [task(conn, each, "groups") for each in made] == [["a", "b"]] * 3
    assert len(worker.claim()) == 3
    conn.execute("insert into howdah.task (kind, groups) values ('job', '{}')")
    assert len(worker.claim()) == 1


LONG = """select howdah.enqueue_many('job', jsonb_build_array(jsonb_build_object('t', repeat('x', 200))), groups => '{"g:{t}"}')"""


@pytest.mark.parametrize(
    "statement",
    [
        "insert into howdah.task (kind, groups) values ('job', array[null])",
        "insert into howdah.task (kind, groups) values ('job', array[repeat('x', 201)])",
        LONG,
        "update howdah.task set groups = '{a*}'",
    ],
)
def test_what_no_group_can_be_called_gets_nowhere(conn: psycopg.Connection, worker: Worker, statement: str) -> None:
    there = put(conn)
    with refused("HW002", "groups must be names of 1 to 200 characters", "Leave it out"):
        conn.execute(statement.encode())
    assert ids(worker.claim()) == [there]


def test_what_a_truncate_left_behind_stops_nobody(conn: psycopg.Connection, worker: Worker) -> None:
    limit(conn, "SES", running=1)
    conn.execute("insert into howdah.slot values ('SES', 1)")
    waits = join(conn, "SES")
    assert worker.claim() == []
    conn.execute("select howdah.retain()")
    assert ids(worker.claim()) == [waits]


# ── what code declares and operators set ──


def declared(conn: psycopg.Connection, **said: Any) -> None:
    conn.execute("select howdah.declare_limits(%s, '[]')", [json.dumps([{"name": "SES", **said}])])


def test_what_an_operator_has_set_stays_until_the_code_says_something_else(conn: psycopg.Connection) -> None:
    declared(conn, running=10, rate="5/s")
    limit(conn, "SES", running=2)
    declared(conn, running=10, rate="5/s")
    assert conn.execute("select max_running, rate from howdah.groups").fetchall() == [(2, "5/s")]
    declared(conn, running=12)
    assert conn.execute("select max_running, rate from howdah.groups").fetchall() == [(12, None)]


def test_so_with_queues(conn: psycopg.Connection) -> None:
    said = """select howdah.declare_limits('[]', '[{"name": "mail", "running": 5, "fair": true, "ageing": 60}]')"""
    conn.execute(said.encode())
    conn.execute("select howdah.set_queue('mail', running => 1)")
    conn.execute(said.encode())
    row = "select max_running, fair, extract(epoch from ageing)::int from howdah.queues where name = 'mail'"
    assert conn.execute(row.encode()).fetchall() == [(1, True, 60)]
    conn.execute("""select howdah.declare_limits('[]', '[{"name": "mail", "running": 7}]')""")
    assert conn.execute(row.encode()).fetchall() == [(7, False, None)]
