"""Short stories of schedules: each holds on the shipped SQL, and fails when the guard it is about is gone."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

from howdah import calls
from howdah.calls import Call
from model.scene import BEGIN, Scene, settle, transition, until_blocked_or_done

helper = ThreadPoolExecutor(1)
FIRST, SECOND, THIRD = (BEGIN + n * timedelta(seconds=10) for n in (1, 2, 3))


def begin(scene: Scene, now: datetime = FIRST, **options: str) -> None:
    """One schedule with a tick every ten seconds, all dealt with up to the begin; the clock stands at `now`."""
    scene.rows("delete from howdah.schedule returning name")
    put(scene, **options)
    scene.move((now - BEGIN).total_seconds())


def put(scene: Scene, every: str = "10 s", **options: str) -> None:
    given = "".join(f", {name} => %s" for name in options)
    scene.rows(
        f"select howdah.schedule('s', 'plain', every => %s, starts_at => %s{given})", every, BEGIN, *options.values()
    )


def fire(seen: datetime, *ticks: datetime, through: datetime | None = None) -> Call[int | None]:
    through = through or ticks[-1]
    return calls.fire("s", seen=seen, ticks=list(ticks), through=through, next_at=through + timedelta(seconds=10))


def live(scene: Scene) -> Sequence[tuple[datetime, str]]:
    rows = scene.rows("select tick, status from howdah.task where tick is not null order by tick, id")
    return [(row["tick"], row["status"]) for row in rows]


def place(scene: Scene) -> dict[str, Any]:
    return scene.rows("select * from howdah.schedule")[0]


def who_comes_second_fires_nothing(scene: Scene) -> None:
    begin(scene)
    assert scene.run(fire(BEGIN, FIRST)) == 1
    scene.rows("delete from howdah.task returning id")  # it has ended: the table of live tasks forgets its tick
    assert scene.run(fire(BEGIN, FIRST)) is None
    assert live(scene) == []


def nobody_waits_for_who_is_first(scene: Scene) -> None:
    begin(scene)
    one, two = scene.conn("one"), scene.conn("two")
    one.execute("begin")
    assert scene.run(fire(BEGIN, FIRST), "one") == 1
    under_way = helper.submit(scene.run, fire(BEGIN, FIRST), "two")
    until_blocked_or_done(scene.conn(), two.info.backend_pid, under_way)
    waited = not under_way.done()
    one.execute("commit")
    assert under_way.result(30) is None
    assert not waited
    assert live(scene) == [(FIRST, "queued")]


def no_tick_before_its_time(scene: Scene) -> None:
    begin(scene)
    assert scene.run(fire(BEGIN, FIRST, SECOND)) is None
    assert live(scene) == []


def no_tick_outside_of_what_is_dealt_with(scene: Scene) -> None:
    begin(scene, SECOND)
    assert scene.run(fire(BEGIN, THIRD, through=SECOND)) is None
    assert scene.run(fire(BEGIN, BEGIN, through=SECOND)) is None
    assert live(scene) == []


def time_goes_on(scene: Scene) -> None:
    begin(scene)
    assert scene.run(fire(BEGIN, FIRST)) == 1
    assert scene.run(fire(FIRST, through=BEGIN)) is None
    assert place(scene)["after"] == FIRST


def paused_fires_nothing(scene: Scene) -> None:
    begin(scene)
    scene.rows("select howdah.pause_schedule('s')")
    assert scene.run(fire(BEGIN, FIRST)) is None
    assert live(scene) == []


def retired_fires_nothing(scene: Scene) -> None:
    begin(scene)
    scene.rows("update howdah.schedule set retired_at = created_at returning name")
    assert scene.run(fire(BEGIN, FIRST)) is None
    assert live(scene) == []


def a_live_tick_gets_no_second_task(scene: Scene) -> None:
    begin(scene)
    assert scene.run(fire(BEGIN, FIRST)) == 1
    scene.rows("update howdah.schedule set after = %s returning name", BEGIN)  # as by a backup
    assert scene.run(fire(BEGIN, FIRST)) == 0
    assert live(scene) == [(FIRST, "queued")]


def one_at_a_time(scene: Scene) -> None:
    begin(scene, SECOND, overlap="skip")
    assert scene.run(fire(BEGIN, FIRST, SECOND)) == 1
    row = place(scene)
    assert (row["fired"], row["skipped"], row["last_tick"]) == (1, 1, FIRST)


def a_parked_task_stops_nothing(scene: Scene) -> None:
    begin(scene, THIRD, overlap="queue")
    assert scene.run(fire(BEGIN, FIRST, SECOND)) == 2
    worker = scene.register()
    (held,) = scene.claim(worker)
    scene.run(settle(worker, [transition(held, "failed", error="broken")]))
    assert scene.rows("select woken from howdah.next_in_line()") == [{"woken": 1}]
    (held,) = scene.claim(worker)
    scene.run(settle(worker, [transition(held, "failed", error="broken")]))
    assert scene.run(fire(SECOND, THIRD)) == 1
    assert live(scene) == [(FIRST, "failed"), (SECOND, "failed"), (THIRD, "queued")]


def those_in_line_wait(scene: Scene) -> None:
    begin(scene, THIRD, overlap="queue")
    assert scene.run(fire(BEGIN, FIRST, SECOND, THIRD)) == 3
    assert scene.rows("select woken, waiting from howdah.next_in_line()") == [{"woken": 0, "waiting": True}]
    assert [status for _, status in live(scene)] == ["queued", "suspended", "suspended"]


def two_wake_the_next(scene: Scene) -> None:
    begin(scene, THIRD, overlap="queue")
    scene.run(fire(BEGIN, FIRST, SECOND, THIRD))
    scene.rows("delete from howdah.task where tick = %s returning id", FIRST)
    one, two = scene.conn("one"), scene.conn("two")
    wake = "select woken from howdah.next_in_line()"
    one.execute("begin")
    assert one.execute(wake).fetchall() == [{"woken": 1}]
    under_way = helper.submit(lambda: two.execute(wake).fetchall())
    until_blocked_or_done(scene.conn(), two.info.backend_pid, under_way)
    one.execute("commit")
    assert under_way.result(30) == [{"woken": 0}]
    assert live(scene) == [(SECOND, "queued"), (THIRD, "suspended")]


def a_clock_set_back_leads_nobody_back(scene: Scene) -> None:
    begin(scene)
    assert scene.run(fire(BEGIN, FIRST)) == 1
    scene.move(-5)
    scene.rows("select howdah.pause_schedule('s'), howdah.resume_schedule('s')")
    assert place(scene)["after"] == FIRST
    put(scene, every="5 s")
    assert place(scene)["after"] == FIRST
    # And the next tick can be worked out all the same.
    assert scene.run(fire(FIRST, through=FIRST)) == 0


def an_old_failure_is_not_told(scene: Scene) -> None:
    begin(scene)
    assert scene.run(fire(BEGIN, FIRST)) == 1
    scene.run(calls.schedule_failed("s", BEGIN, "broken"))
    assert place(scene)["error"] is None
