"""Pipelines that run: events are tasks, stages are steps."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import signal
import subprocess
import sys
import textwrap
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from howdah import App, Context, Snooze, Task
from howdah.errors import InvalidOption, InvalidPayload, TaskFailed
from howdah.pipeline import collector, stage
from howdah.pipeline.adding import add_pipeline, add_pipelines
from howdah.pipeline.collector import CollectorKind
from howdah.pipeline.document import parse
from howdah.pipeline.errors import InvalidPipeline
from howdah.pipeline.kind import PipelineKind
from howdah.pipeline.modules import Modules
from howdah.pipeline.stage import More, Polled
from kinds.standing import events, stands
from waiting import until, until_sync

# A source that does not fire by itself.
START = 'start: {module: interval, config: {every: 1d, start: "2999-01-01T00:00:00Z"}}\n'
Function = Callable[[dict[str, Any], Context], Awaitable[Any]]
_numbers = itertools.count(1)


def module(function: Function) -> type[stage.Stage]:
    """A module that calls this."""

    class Calls(stage.Stage):
        async def run(self, event: stage.Event, ctx: Context) -> Any:
            return await function(event, ctx)

    return Calls


def pipeline(
    app: App,
    stages: str,
    *,
    name: str = "p",
    top: str = "",
    source: str = START,
    **modules: Function | type[stage.Stage],
) -> PipelineKind:
    """A pipeline of these stages after `start`. A stage whose name is that of a function calls it."""
    found = {key: each if isinstance(each, type) else module(each) for key, each in modules.items()}
    text = f"name: {name}\n{top}\npipeline:\n" + textwrap.indent(source + textwrap.dedent(stages), "  ")
    return add_pipeline(app, parse(text, "p.yaml", modules=Modules(**found), environment={}))


async def same(event: dict[str, Any], ctx: Context) -> Any:
    return [event]


async def none(event: dict[str, Any], ctx: Context) -> Any:
    return []


def live(conn: psycopg.Connection, kind: str = "p") -> list[tuple[Any, ...]]:
    return conn.execute("select step, status, payload from howdah.task where kind = %s order by id", [kind]).fetchall()


def ended(conn: psycopg.Connection, kind: str = "p") -> list[tuple[Any, ...]]:
    """Where events ended, and as what."""
    found = conn.execute("select step, payload from howdah.archive where kind = %s order by id", [kind])
    return sorted(found.fetchall(), key=str)


async def all_ended(conn: psycopg.Connection, kind: str = "p") -> list[tuple[Any, ...]]:
    await until(lambda: not live(conn, kind), "all events to end")
    return ended(conn, kind)


def told(history: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [(each["type"], each["step"], (each["data"] or {}).get("from")) for each in history]


# ── from stage to stage ──


async def test_an_event_is_a_task_and_a_stage_a_step(app: App) -> None:
    seen: list[tuple[str | None, str, int, dict[str, Any]]] = []

    async def double(event: dict[str, Any], ctx: Context) -> Any:
        seen.append((ctx.step, ctx.kind, ctx.attempt, event))
        return [{"n": event["n"] * 2}]

    pipeline(app, "double: {inputs: start}\nagain: {module: double, inputs: double}", double=double)
    task = await app.enqueue("p", n=1)
    assert (await task.info()).step == "start"
    async with app.worker():
        assert await task.result("20s") is None
    info = await task.info()
    assert (info.kind, info.step, info.payload, info.status) == ("p", "again", {"n": 2}, "succeeded")
    assert seen == [("double", "p", 1, {"n": 1}), ("again", "p", 1, {"n": 2})]
    history = await app.history(task.id)
    assert told(history) == [("step", "double", "start"), ("step", "again", "double"), ("end", "again", "again")]
    assert [each["data"]["attempts"] for each in history] == [1, 1, 1]
    assert all(0 <= each["data"]["seconds"] < 20 for each in history)


async def test_the_database_knows_the_stages(app: App) -> None:
    pipeline(
        app,
        """
        work: {inputs: start, concurrency: 2, priority: 3, retry: 1}
        left: {module: work, inputs: work, queue: letters}
        right: {module: work, inputs: [start, work]}
        """,
        work=same,
        top="defaults: {retry: 4}",
    )
    await app.worker(until_idle=True).run()
    (kind,) = [row for row in await app.kinds() if row["name"] == "p"]
    steps = kind["steps"]
    assert {
        name: (step["position"], step["start"], step["next"], step["ends"], step["queue"])
        for name, step in steps.items()
    } == {
        "start": (0, True, ["work", "right"], False, "default"),
        "work": (1, False, ["left", "right"], False, "p.work"),
        "left": (2, False, [], True, "letters"),
        "right": (3, False, [], True, "default"),
    }
    assert (kind["max_attempts"], steps["work"]["max_attempts"], steps["work"]["priority"]) == (5, 2, 3)
    assert "max_attempts" not in steps["left"]


async def test_none_one_and_many(app: App, conn: psycopg.Connection) -> None:
    async def times(event: dict[str, Any], ctx: Context) -> Any:
        return ({"n": n} for n in range(event["times"]))

    pipeline(app, "times: {inputs: start}\nend: {inputs: times}", times=times, end=none)
    tasks = [await app.enqueue("p", times=n) for n in (0, 1, 3)]
    async with app.worker():
        found = await all_ended(conn)
    assert found == [("end", {"n": n}) for n in (0, 0, 1, 2)] + [("times", {"times": 0})]
    assert told(await app.history(tasks[0].id)) == [("step", "times", "start"), ("end", "times", "times")]
    split = (await app.history(tasks[2].id))[1]
    assert (split["type"], split["data"]["others"]) == ("step", 2)
    # Where the others came from can be asked for ever.
    sources = conn.execute("select source, payload->>'n' from howdah.archive where source is not null order by id")
    assert sources.fetchall() == [(f"task:{tasks[2].id}", "1"), (f"task:{tasks[2].id}", "2")]


async def test_a_stage_with_several_consumers_and_one_with_several_inputs(app: App, conn: psycopg.Connection) -> None:
    async def say(event: dict[str, Any], ctx: Context) -> Any:
        return [{"way": [*event.get("way", []), ctx.step]}]

    pipeline(
        app,
        """
        first: {module: say, inputs: start}
        left: {module: say, inputs: first}
        right: {module: say, inputs: first}
        last: {module: say, inputs: [left, right, first]}
        """,
        say=say,
    )
    await app.enqueue("p")
    async with app.worker():
        found = await all_ended(conn)
    assert found == [
        ("last", {"way": ["first", "left"]}),
        ("last", {"way": ["first", "right"]}),
        ("last", {"way": ["first"]}),
    ]


# ── what a stage says of its attempts ──


async def test_a_failure_is_retried_then_parked_at_its_stage_while_others_go_on_and_resumed_there(
    app: App, conn: psycopg.Connection
) -> None:
    attempts: list[tuple[str | None, int, int]] = []
    mended = False

    async def first(event: dict[str, Any], ctx: Context) -> Any:
        attempts.append((ctx.step, event["n"], ctx.attempt))
        return [event | {"first": True}]

    async def shaky(event: dict[str, Any], ctx: Context) -> Any:
        attempts.append((ctx.step, event["n"], ctx.attempt))
        if event["n"] == 1 and not mended:
            raise OSError("no such luck")
        return [event]

    pipeline(
        app,
        "first: {inputs: start}\nshaky: {inputs: first, retry: {retries: 2, delay: 1ms}}\nend: {inputs: shaky}",
        top="defaults: {retry: 0}",
        first=first,
        shaky=shaky,
        end=none,
    )
    bad, good = [await app.enqueue("p", n=n) for n in (1, 2)]
    async with app.worker():
        await good.result("20s")
        with pytest.raises(TaskFailed, match="OSError: no such luck"):
            await bad.result("20s")
        info = await bad.info()
        assert (info.status, info.step, info.payload) == ("failed", "shaky", {"n": 1, "first": True})
        assert (info.error, info.attempt) == ("OSError: no such luck", 3)
        assert await events(app, bad) == ["step", "step", "retry", "retry", "failure"]
        mended = True
        conn.execute("update howdah.task set error = null where id = %s", [bad.id])
        await bad.result("20s")
    assert [each for each in attempts if each[1] == 1] == [("first", 1, 1), *(("shaky", 1, n) for n in (1, 2, 3, 1))]
    assert ended(conn) == [("end", {"n": 1, "first": True}), ("end", {"n": 2, "first": True})]


PYTHON = """
from howdah import Again, Fail, Retry, Snooze, Cancel
seen = []

def judge(event, ctx):
    seen.append((event["verdict"], ctx.attempt))
    times = sum(verdict == event["verdict"] for verdict, _ in seen)
    match event["verdict"]:
        case "fail":
            raise Fail("guilty")
        case "cancel":
            raise Cancel("withdrawn")
        case "again":
            raise Again()
        case "snooze" if times < 3:
            raise Snooze("1ms")
        case "after" if times < 2:
            raise Retry.after("1ms", "the court is closed")
    return event | {"judged": True}
"""


async def test_outcomes_of_python_functions(app: App, conn: psycopg.Connection, tmp_path: Path) -> None:
    name = f"engine_court_{next(_numbers)}"
    (tmp_path / f"{name}.py").write_text(PYTHON)
    file = tmp_path / "p.yaml"
    file.write_text(
        "pipeline:\n  " + START + "  judge: {module: python, inputs: start, retry: {retries: 1, delay: 1h},"
        f" config: {{function: '{name}:judge'}}}}\n  end: {{module: log, inputs: judge}}\n"
    )
    add_pipeline(app, file)
    tasks = {
        verdict: await app.enqueue("p", verdict=verdict) for verdict in ("fail", "cancel", "again", "snooze", "after")
    }
    async with app.worker():
        await tasks["snooze"].result("20s")
        await tasks["after"].result("20s")
        failed = await stands(tasks["fail"], "failed", "judge")
        await stands(tasks["cancel"], "cancelled", "judge")
        again = await stands(tasks["again"], "failed", "judge")
    assert (failed.error, failed.attempt) == ("guilty", 1)
    assert "Again and Join are for functions" in str(again.error)
    seen = sys.modules[name].seen
    assert [n for verdict, n in seen if verdict == "snooze"] == [1, 1, 1]
    assert [n for verdict, n in seen if verdict == "after"] == [1, 2]
    assert await events(app, tasks["after"]) == ["step", "retry", "step", "end"]
    assert [payload["judged"] for step, payload in ended(conn) if step == "end"] == [True, True]


async def test_a_time_limit_belongs_to_the_stage(app: App) -> None:
    async def hang(event: dict[str, Any], ctx: Context) -> Any:
        await asyncio.Event().wait()

    pipeline(app, "hang: {inputs: start, retry: 0, timeout: 30ms}", hang=hang, top="defaults: {timeout: 1h}")
    task = await app.enqueue("p")
    async with app.worker():
        info = await stands(task, "failed", "hang")
    assert info.error == "TimedOut: the attempt ran longer than 30ms"
    assert await events(app, task) == ["step", "timeout"]


async def test_queue_priority_and_delay_belong_to_the_stage(app: App, conn: psycopg.Connection) -> None:
    async def twice(event: dict[str, Any], ctx: Context) -> Any:
        return [event, event]

    pipeline(
        app,
        "twice: {inputs: start}\nlate: {inputs: twice, queue: letters, priority: 7, delay: 1h}",
        twice=twice,
        late=none,
    )
    await app.using(queue="elsewhere", priority=1).enqueue("p")
    async with app.worker():
        question = """
            select queue, priority, attempt, run_at - now() between '50 minutes' and '1 hour' from howdah.task
             where kind = 'p' and step = 'late' and status = 'queued'"""
        found = await until(
            lambda: len(rows := conn.execute(question).fetchall()) == 2 and rows, "both to wait for the delay"
        )
    assert found == [("letters", 7, 0, True)] * 2


async def test_at_most_so_many_of_a_stage_run_at_once_in_the_fleet(dsn: str, conn: psycopg.Connection) -> None:
    running, most, both = 0, 0, asyncio.Event()
    total = 24

    async def narrow(event: dict[str, Any], ctx: Context) -> Any:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 2:
            both.set()
        await both.wait()  # until two run: the limit is reached, too
        for _ in range(20):
            await asyncio.sleep(0)
        running -= 1
        return [event]

    async with App(dsn) as one, App(dsn) as other:
        for app in (one, other):
            pipeline(app, "narrow: {inputs: start, concurrency: 2}\nend: {inputs: narrow}", narrow=narrow, end=none)
        # By each of the ways into the stage.
        begun = [await one.enqueue("p", n=n) for n in range(total // 3)]
        async with one.worker(), other.worker():
            begun += [await one.using(step="narrow").enqueue("p", n=n) for n in range(total // 3)]
            for n in range(total // 3):
                conn.execute("select howdah.enqueue('p', %s::jsonb, step => 'narrow')", [json.dumps({"n": n})])
            found = await all_ended(conn)
    assert (len(found), most, running) == (total, 2, 0)
    queues = conn.execute("select distinct queue from howdah.archive where step = 'end'").fetchall()
    assert queues == [("default",)]


# ── what cannot be ──


async def test_an_event_that_json_cannot_hold_is_parked_and_nothing_of_its_siblings_is_written(
    app: App, conn: psycopg.Connection
) -> None:
    async def split(event: dict[str, Any], ctx: Context) -> Any:
        return [{"n": 1}, {"n": 2}, {"n": event["bad"] and object()}]

    pipeline(app, "split: {inputs: start, retry: 5}\nend: {inputs: split}", split=split, end=none)
    task = await app.enqueue("p", bad=True)
    async with app.worker():
        info = await stands(task, "failed", "split")
    assert info.attempt == 1  # it would be the same again
    assert "p: event" in str(info.error)
    assert "object" in str(info.error)
    assert live(conn) == [("split", "failed", {"bad": True})]
    assert ended(conn) == []


async def test_what_is_no_event_is_parked(app: App) -> None:
    async def wrong(event: dict[str, Any], ctx: Context) -> Any:
        return {"n": 1}

    pipeline(app, "wrong: {inputs: start}\nend: {inputs: wrong}", wrong=wrong, end=none)
    task = await app.enqueue("p")
    async with app.worker():
        info = await stands(task, "failed", "wrong")
    assert "p: an event is a mapping, not 'n'" in str(info.error)


async def test_an_attempt_that_fails_midway_leaves_no_events(app: App, conn: psycopg.Connection) -> None:
    async def split(event: dict[str, Any], ctx: Context) -> Any:
        def halves() -> Iterator[dict[str, Any]]:
            yield {"half": 1, "attempt": ctx.attempt}
            yield {"half": 2, "attempt": ctx.attempt}
            if ctx.attempt == 1:
                raise OSError("torn")

        await ctx.enqueue("beside", attempt=ctx.attempt)
        return halves()

    @app.task()
    async def beside(attempt: int) -> None: ...

    pipeline(app, "split: {inputs: start, retry: {delay: 1ms}}\nend: {inputs: split}", split=split, end=none)
    await app.enqueue("p")
    async with app.worker():
        found = await all_ended(conn)
        assert found == [("end", {"half": 1, "attempt": 2}), ("end", {"half": 2, "attempt": 2})]
        await until(lambda: ended(conn, "beside") == [(None, {"attempt": 2})])


async def test_an_outcome_that_is_no_failure_leaves_no_effects_either(app: App, conn: psycopg.Connection) -> None:
    tries = 0

    async def slow(event: dict[str, Any], ctx: Context) -> Any:
        nonlocal tries
        tries += 1
        await ctx.enqueue("beside", tries=tries)
        if tries < 3:
            raise Snooze("1ms")
        return []

    @app.task()
    async def beside(tries: int) -> None: ...

    pipeline(app, "slow: {inputs: start}", slow=slow)
    await app.enqueue("p")
    async with app.worker():
        await all_ended(conn)
        assert await all_ended(conn, "beside") == [(None, {"tries": 3})]


async def test_a_task_at_a_stage_that_is_gone_is_parked_and_told_where_it_may_go(app: App, dsn: str) -> None:
    async def fine(event: dict[str, Any], ctx: Context) -> Any:
        return []

    pipeline(app, "old: {inputs: start}", old=fine)
    await app.worker(until_idle=True).run()  # the database knows the stage
    task = await app.using(step="old").enqueue("p", n=1)
    async with App(dsn) as newer:
        pipeline(newer, "new: {inputs: start}", new=fine)
        async with newer.worker():
            info = await stands(task, "failed", "old")
            assert info.payload == {"n": 1}
            for said in ("'old'", "which p does not have", '"n"', "start, new", f"howdah edit {task.id} --step"):
                assert said in str(info.error)
            await newer.edit(task.id, step="new", payload={"n": 1})
            await newer.retry(task.id)
            await newer.result(task.id, timeout="20s")


async def test_events_that_wait_while_the_file_changes_go_the_new_way(
    app: App, dsn: str, conn: psycopg.Connection
) -> None:
    pipeline(app, "work: {inputs: start, concurrency: 1, delay: 1h}\nend: {inputs: work}", work=same, end=none)
    task = await app.enqueue("p", n=1)
    async with app.worker():
        await stands(task, "queued", "work")
    async with App(dsn) as newer:
        pipeline(
            newer, "work: {inputs: start}\nmore: {inputs: work}\nend: {inputs: more}", work=same, more=same, end=none
        )
        async with newer.worker():
            assert await task.retry() == "due now"
            await task.result("20s")
    assert [each[1] for each in told(await app.history(task.id))][-3:] == ["more", "end", "end"]
    assert ended(conn) == [("end", {"n": 1})]


async def test_events_begin_by_hand_at_any_stage(app: App, conn: psycopg.Connection) -> None:
    pipeline(app, "x: {inputs: start}\ny: {inputs: x, queue: other, priority: 2}", x=same, y=none)
    await app.using(step="y").enqueue("p", n=1)
    async with app.worker():
        conn.execute("""select howdah.enqueue('p', '{"n": 2}', step => 'y')""")
        conn.execute("""insert into howdah.task (kind, step, payload) values ('p', 'x', '{"n": 3}')""")
        await app.enqueue("p", n=4)
        assert await all_ended(conn) == [("y", {"n": n}) for n in (1, 2, 3, 4)]
    assert conn.execute("select distinct queue, priority from howdah.archive").fetchall() == [("other", 2)]
    with pytest.raises(InvalidOption, match="there is no stage 'z'") as error:
        await app.using(step="z").enqueue("p", n=1)
    assert error.value.hint == "Give step, one of: start, x, y"
    with pytest.raises(psycopg.Error, match="no step 'z'"):
        conn.execute("select howdah.enqueue('p', '{}', step => 'z')")


async def test_a_step_must_be_named_where_there_are_two_sources(app: App) -> None:
    pipeline(app, "x: {inputs: [start, other]}", x=none, source=START + START.replace("start:", "other:", 1))
    with pytest.raises(InvalidOption, match="an event begins at a stage"):
        await app.enqueue("p", n=1)
    with pytest.raises(InvalidPayload):
        await app.using(step="x").enqueue("p", n=object())


# ── more than fits at once ──


async def test_more_is_asked_again_and_what_it_had_is_committed(app: App, conn: psycopg.Connection) -> None:
    seen: list[tuple[int, int]] = []

    async def page(event: dict[str, Any], ctx: Context) -> Any:
        at = event["at"]
        seen.append((at, ctx.attempt))
        if at == 2 and ctx.attempt == 1:
            raise OSError("once")
        found = [{"row": at * 10 + n} for n in range(3)]
        return More(found, {"at": at + 1}) if at < 3 else found

    pipeline(app, "page: {inputs: start, retry: {delay: 1ms}, delay: 1ms}\nend: {inputs: page}", page=page, end=none)
    task = await app.enqueue("p", at=0)
    async with app.worker():
        found = await all_ended(conn)
    assert found == sorted((("end", {"row": at * 10 + n}) for at in range(4) for n in range(3)), key=str)
    assert seen == [(0, 1), (1, 1), (2, 1), (2, 2), (3, 1)]
    assert conn.execute("select count(*) from howdah.archive where source = %s", [f"task:{task.id}"]).fetchone() == (
        11,
    )


# ── tasks of others ──


async def test_enqueue_writes_the_task_with_the_end_of_the_step(app: App, conn: psycopg.Connection) -> None:
    @app.task()
    async def welcome(user: str) -> str:
        return user

    pipeline(
        app,
        """
        hire: {module: enqueue, inputs: start, retry: 0, config: {kind: welcome, key: "user:{{ user }}", on_conflict: raise, delay: 1h}}
        end: {inputs: hire}
        """,
        end=none,
    )
    first = await app.enqueue("p", user="Ada")
    async with app.worker():
        await first.result("20s")
        second = await app.enqueue("p", user="Ada")
        info = await stands(second, "failed", "hire")
    assert "user:Ada" in str(info.error)
    (made,) = conn.execute("select id, payload from howdah.task where kind = 'welcome'").fetchall()
    assert made[1] == {"user": "Ada"}
    assert ended(conn) == [("end", {"user": "Ada", "task_id": made[0]})]  # and the second event is not at the end


async def test_enqueue_of_a_kind_nobody_knows(app: App, conn: psycopg.Connection) -> None:
    pipeline(
        app, "hire: {module: enqueue, inputs: start, retry: 0, config: {kind: nobody}}\nend: {inputs: hire}", end=none
    )
    task = await app.enqueue("p")
    async with app.worker():
        info = await stands(task, "failed", "hire")
    assert "nobody" in str(info.error)
    assert ended(conn) == []


# ── sources by the clock ──


async def test_each_tick_makes_one_event_whoever_fires_it(dsn: str, conn: psycopg.Connection) -> None:
    source = (
        "tick: {module: interval, config: {every: 100ms, payload: {word: tick}}}\n"
        'nightly: {module: cron, config: {cron: "0 3 * * *"}}\n'
    )
    async with App(dsn) as one, App(dsn) as other:
        for app in (one, other):
            pipeline(app, "end: {inputs: [tick, nightly]}", end=none, source=source)
        async with one.worker(), other.worker():
            await until(lambda: len(ended(conn)) >= 20, "twenty ticks")
        assert [row["name"] for row in await one.schedules()] == ["p.nightly", "p.tick"]
        await one.pause_schedule("p.tick")
        nightly = await one.trigger("p.nightly")
        async with one.worker():
            await all_ended(conn)
    assert {json.dumps(payload) for _, payload in ended(conn)} == {"{}", '{"word": "tick"}'}
    of_ticks = "from howdah.archive where id <> %s and step = 'end'"
    counted = conn.execute(f"select count(*) = count(distinct tick) {of_ticks}", [nightly])
    assert counted.fetchone() == (True,)
    # They stand in one row: 100 ms from one to the next, or a multiple where one was missed.
    odd = conn.execute(
        f"""select count(*) from (select tick - lag(tick) over (order by tick) as gap {of_ticks}) x
             where extract(epoch from gap)::numeric %% 0.1 <> 0""",
        [nightly],
    )
    assert odd.fetchone() == (0,)


async def test_a_source_that_the_file_has_no_more_fires_no_more(app: App, dsn: str) -> None:
    pipeline(app, "end: {inputs: start}", end=none)
    await app.worker(until_idle=True).run()
    assert [row["name"] for row in await app.schedules()] == ["p.start"]
    async with App(dsn) as newer:
        pipeline(newer, "end: {inputs: other}", end=none, source=START.replace("start:", "other:", 1))
        await newer.worker(until_idle=True).run()
        assert [row["name"] for row in await newer.schedules() if row["state"] != "retired"] == ["p.other"]


async def test_a_tick_goes_to_the_queue_and_with_the_limit_of_its_stage(app: App, conn: psycopg.Connection) -> None:
    pipeline(
        app, "end: {inputs: start}", end=none, source=START.replace("module", "concurrency: 1, priority: 4, module")
    )
    await app.worker(until_idle=True).run()
    await app.trigger("p.start")
    assert conn.execute("select queue, priority, step from howdah.task").fetchall() == [("p.start", 4, "start")]
    await app.worker(until_idle=True).run()
    assert ended(conn) == [("end", {})]


# ── sources that are polled ──

LOOK = "look: {config: {}}\n"


def looks(poll: Callable[[Any], Awaitable[Polled]]) -> type[stage.Stage]:
    class Looks(stage.Polling):
        async def poll(self, state: Any) -> Polled:
            return await poll(state)

    return Looks


async def test_what_a_source_remembers_survives_its_worker(app: App, dsn: str, conn: psycopg.Connection) -> None:
    async def poll(state: Any) -> Polled:
        n = state or 0
        return Polled([{"n": n}], n + 1) if n < 6 and n != 3 else Polled([], state, "1h")

    pipeline(app, "end: {inputs: look}\ntoo: {module: end, inputs: look}", source=LOOK, look=looks(poll), end=none)
    async with app.worker():
        await until(lambda: len(ended(conn)) == 6, "three events")
    assert live(conn, "p.look") == [(None, "queued", {"state": 3, "failures": 0})]

    async def later(state: Any) -> Polled:
        return await poll(4 if state == 3 else state)

    async with App(dsn) as newer:
        pipeline(newer, "end: {inputs: look}", source=LOOK, look=looks(later), end=none)
        async with newer.worker():
            (task,) = await newer.tasks(kind="p.look")
            assert await newer.retry(task.id) == "due now"
            await until(lambda: len(ended(conn)) == 8, "two more")
        assert len(await newer.tasks(kind="p.look")) == 1
    assert sorted(payload["n"] for _, payload in ended(conn)) == [0, 0, 1, 1, 2, 2, 4, 5]
    assert conn.execute("select distinct source from howdah.archive").fetchall() == [("source:p.look",)]


@pytest.mark.parametrize("fault", ["raises", "hangs", "nonsense", "not json"])
async def test_a_poll_that_fails_is_told_and_comes_later_and_later_and_never_stops(
    app: App, conn: psycopg.Connection, fault: str
) -> None:
    polls = 0

    async def poll(state: Any) -> Polled:
        nonlocal polls
        polls += 1
        if polls > 8:
            return Polled([{"n": polls}], "found", "1h")
        match fault:
            case "raises":
                raise OSError("the disk is away")
            case "hangs":
                await asyncio.Event().wait()
            case "nonsense":
                return [{"n": 1}]  # pyright: ignore[reportReturnType]
        return Polled([{"n": 1}, {"n": object()}], "lost", "1h")

    pipeline(app, "end: {inputs: look}", source="look: {timeout: 20ms, retry: 0}\n", look=looks(poll), end=none)
    async with app.worker():
        (task,) = await until(lambda: app.tasks(kind="p.look"))
        for n in range(1, 9):
            await until(
                lambda n=n: conn.execute("select count(*) from howdah.event where type = 'error'").fetchone() == (n,)
            )
            (info,) = await app.tasks(kind="p.look")
            assert (info.status, info.payload) == ("queued", {"state": None, "failures": n})
            assert await app.retry(task.id) == "due now"
        assert await until(lambda: ended(conn)) == [("end", {"n": 9})]
        await until(lambda: live(conn, "p.look") == [(None, "queued", {"state": "found", "failures": 0})])
    errors = [each for each in await app.history(task.id) if each["type"] == "error"]
    assert [each["data"]["delay"] for each in errors] == [1, 2, 4, 8, 16, 32, 60, 60]
    said = {
        "raises": "OSError: the disk is away",
        "hangs": "TimedOut: the attempt ran longer than 20ms",
        "nonsense": "AttributeError",
        "not json": "InvalidPayload",
    }[fault]
    assert all(said in each["message"] for each in errors)


# ── collecting ──


def collected(conn: psycopg.Connection) -> list[tuple[str, list[int]]]:
    """What came out: the group, and the numbers in it."""
    return sorted(
        (payload["group"], [each["n"] for each in payload["events"]]) for step, payload in ended(conn) if step == "out"
    )


def collecting(app: App, config: str, **more: Any) -> None:
    pipeline(
        app,
        f"gather: {{module: collect, inputs: start, retry: 0, config: {config}}}\nout: {{inputs: gather}}",
        out=none,
        **more,
    )


async def test_as_many_as_are_enough_go_on_together(app: App, conn: psycopg.Connection) -> None:
    collecting(app, "{size: 3, window: 1h}")
    tasks = [await app.enqueue("p", n=n) for n in range(7)]
    async with app.worker(concurrency=1):  # one after the other
        await until(lambda: len(collected(conn)) == 2, "two groups")
        await until(lambda: live(conn, "p.gather")[0][2].get("events") == [{"n": 6}], "the last to wait")
    assert collected(conn) == [("", [0, 1, 2]), ("", [3, 4, 5])]
    (waiting,) = live(conn, "p.gather")
    assert (waiting[1], waiting[2]["group"]) == ("suspended", "")
    (end,) = [each for each in await app.history(tasks[0].id) if each["type"] == "end"]
    (gather,) = await app.tasks(kind="p.gather")
    assert (end["step"], end["data"]["into"]) == ("gather", gather.id)
    sources = "select distinct source from howdah.archive where step = 'out'"
    assert conn.execute(sources).fetchall() == [(f"task:{gather.id}",)]


async def test_a_window_closes_and_goes_on_over_a_restart(app: App, dsn: str, conn: psycopg.Connection) -> None:
    collecting(app, "{size: 100, window: 1h}")
    for n in range(3):
        await app.enqueue("p", n=n)
    async with app.worker():
        await until(
            lambda: (found := live(conn, "p.gather")) and len(found[0][2].get("events", [])) == 3, "them to wait"
        )
    async with App(dsn) as newer:
        # Its end was said an hour ahead; a window of the new file is shorter, and counts.
        collecting(newer, "{size: 100, window: 50ms}")
        async with newer.worker():
            await newer.enqueue("p", n=3)
            await until(lambda: collected(conn), "the window to close")
            await until(lambda: live(conn, "p.gather")[0][2].get("events") == [])
    ((group, numbers),) = collected(conn)
    assert (group, sorted(numbers)) == ("", [0, 1, 2, 3])


async def test_groups_are_collected_apart_however_long_their_names(app: App, conn: psycopg.Connection) -> None:
    collecting(app, '{size: 2, window: 1h, by: "{{ who }}"}')
    names = ["a", "b", "x" * 700 + "a", "x" * 700 + "b", "ü\n"]
    for n in range(2):
        for who in names:
            await app.enqueue("p", n=n, who=who)
    async with app.worker():
        await until(lambda: len(collected(conn)) == len(names), "every group")
    assert sorted((group, sorted(numbers)) for group, numbers in collected(conn)) == sorted(
        (who, [0, 1]) for who in names
    )


async def test_a_group_that_grows_too_big_for_an_event_goes_on_before(dsn: str, conn: psycopg.Connection) -> None:
    async with App(dsn, max_payload=20_000) as app:
        collecting(app, "{size: 10, window: 1h}")
        for n in range(10):
            await app.enqueue("p", n=n, text="x" * 6_000)
        big = await app.enqueue("p", n=10, text="x" * 19_960)
        async with app.worker(concurrency=1):
            await until(lambda: len(collected(conn)) == 3, "what does not fit together")
            info = await stands(big, "failed", "gather")  # and the group goes on without it
    assert "20" in str(info.error)
    groups = [numbers for _, numbers in collected(conn)]
    assert max(map(len, groups)) == 3
    (waiting,) = live(conn, "p.gather")
    assert waiting[1] == "suspended"
    assert sorted([n for numbers in groups for n in numbers] + [each["n"] for each in waiting[2]["events"]]) == list(
        range(10)
    )


async def test_idle_groups_end_and_come_back_also_where_somebody_remembers_them(
    dsn: str, conn: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with App(dsn) as one, App(dsn) as other:
        for app in (one, other):
            collecting(app, '{size: 1, window: 1h, by: "{{ who }}"}')
        for n, app in enumerate((one, other, one, other)):
            await app.enqueue("p", n=n, who="Ada")
            async with app.worker():
                await until(lambda n=n: len(collected(conn)) == n + 1, "it to go on")
                if n == 0:
                    continue
                monkeypatch.setattr(collector, "_IDLE", timedelta(milliseconds=5))
                (group,) = await app.tasks(kind="p.gather", status="suspended")
                await app.send(group.id, {"n": 100 + n, "who": "Ada"})
                # Ended by this worker; the other one remembers its id.
                await until(lambda: not live(conn, "p.gather"), "the idle group to end")
                monkeypatch.undo()
                conn.execute("delete from howdah.archive where (payload->'events'->0->>'n')::int >= 100")
    assert [numbers for _, numbers in collected(conn)] == [[0], [1], [2], [3]]


async def test_an_event_that_comes_while_an_idle_group_ends_is_not_lost(
    app: App, conn: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    came = False
    end = CollectorKind._end  # pyright: ignore[reportPrivateUsage]

    def one_comes(self: CollectorKind, task: Any, *rest: Any, **more: Any) -> Any:
        nonlocal came
        if not came:
            came = True
            app.send_sync(task.id, {"n": 2, "who": "Ada"})
        return end(self, task, *rest, **more)

    monkeypatch.setattr(CollectorKind, "_end", one_comes)
    monkeypatch.setattr(collector, "_IDLE", timedelta(milliseconds=1))
    collecting(app, '{size: 1, window: 1h, by: "{{ who }}"}')
    await app.enqueue("p", n=1, who="Ada")
    async with app.worker(poll="100ms"):
        await until(lambda: came and not live(conn, "p.gather"), "the group to end")
        await all_ended(conn)
    assert collected(conn) == [("Ada", [1]), ("Ada", [2])]
    assert conn.execute("select count(*) from howdah.event where type = 'unread'").fetchone() == (0,)


# ── killed ──

PROGRAM = '''
"""python program.py DSN: a worker that is killed."""
import asyncio, os, sys, threading
from pathlib import Path
from howdah import App
from howdah.pipeline.adding import add_pipeline
from howdah.pipeline.document import parse
from howdah.pipeline.modules import Modules
from howdah.pipeline.stage import More, Polled, Polling, Stage


class End(Stage):
    async def run(self, event, ctx):
        return []


class Page(Stage):
    async def run(self, event, ctx):
        at = event["at"]
        if at == 2 and not Path("go-on").exists():
            Path("stopped").touch()
            await asyncio.Event().wait()
        return More([{"n": at * 100 + n} for n in range(100)], {"at": at + 1}) if at < 5 else []


class Look(Polling):
    async def poll(self, state):
        n = state or 0
        if n >= 400:
            return Polled([], n, "1h")
        if n % 100 == 50 and not Path(f"died-{n}").exists():
            Path(f"died-{n}").touch()
            # Soon: before, while or after this poll is committed.
            threading.Timer(n / 100_000, os.kill, [os.getpid(), 9]).start()
        return Polled([{"n": n}, {"n": n + 1}], n + 2)


async def main():
    app = App(sys.argv[1])
    text = Path("p.yaml").read_text()
    add_pipeline(app, parse(text, "p.yaml", modules=Modules(page=Page, look=Look, end=End), environment={}))
    async with app:
        await app.worker(lease="1s", poll="200ms").run(signals=True)


asyncio.run(main())
'''


class Programs:
    """Workers as processes."""

    def __init__(self, folder: Path, dsn: str) -> None:
        self.folder = folder
        self.dsn = dsn
        self.started: list[subprocess.Popen[bytes]] = []
        (folder / "program.py").write_text(PROGRAM)

    def start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, "program.py", self.dsn], cwd=self.folder, stdin=subprocess.DEVNULL)
        self.started.append(process)
        return process


@pytest.fixture
def programs(tmp_path: Path, dsn: str) -> Iterator[Programs]:
    made = Programs(tmp_path, dsn)
    yield made
    for process in made.started:
        process.kill()
        process.wait()


def write(folder: Path, stages: str) -> None:
    (folder / "p.yaml").write_text("name: p\npipeline:\n" + textwrap.indent(textwrap.dedent(stages), "  "))


def numbers(conn: psycopg.Connection) -> list[int]:
    return sorted(payload["n"] for step, payload in ended(conn) if step == "end" and "n" in payload)


def test_what_a_stage_had_read_is_not_read_again_after_a_crash(
    programs: Programs, conn: psycopg.Connection, tmp_path: Path
) -> None:
    write(tmp_path, START + "page: {inputs: start}\nend: {inputs: page}\n")
    victim = programs.start()
    until_sync(lambda: conn.execute("select from howdah.kind where name = 'p'").fetchone() is not None)
    conn.execute("""select howdah.enqueue('p', '{"at": 0}', step => 'page')""")
    until_sync(lambda: (tmp_path / "stopped").exists() and len(numbers(conn)) == 200, "two pages")
    victim.kill()
    victim.wait()
    (tmp_path / "go-on").touch()
    programs.start()
    until_sync(lambda: not live(conn), "the rest")
    assert numbers(conn) == list(range(500))


def test_events_and_the_state_of_a_source_are_committed_together(
    programs: Programs, conn: psycopg.Connection, tmp_path: Path
) -> None:
    write(tmp_path, "look:\nend: {inputs: look}\n")
    for at in (50, 150, 250, 350):
        victim = programs.start()
        assert victim.wait(60) == -signal.SIGKILL
        assert (tmp_path / f"died-{at}").exists()
    programs.start()
    until_sync(lambda: len(numbers(conn)) >= 400 and not live(conn), "all events")
    assert numbers(conn) == list(range(400))


def test_what_is_collected_is_neither_lost_nor_doubled_when_its_worker_is_killed(
    programs: Programs, conn: psycopg.Connection, tmp_path: Path
) -> None:
    write(
        tmp_path,
        START + 'gather: {module: collect, inputs: start, config: {size: 7, window: 300ms, by: "{{ n % 3 }}"}}\n'
        "end: {inputs: gather}\n",
    )

    def out() -> list[int]:
        found = [payload["events"] for step, payload in ended(conn) if step == "end"]
        return sorted(each["n"] for events in found for each in events)

    victim = programs.start()
    until_sync(lambda: conn.execute("select from howdah.kind where name = 'p.gather'").fetchone() is not None)
    total = 0
    for _ in range(3):
        for _ in range(300):
            conn.execute("select howdah.enqueue('p', %s::jsonb, step => 'gather')", [json.dumps({"n": total})])
            total += 1
        until_sync(lambda most=total - 250: len(out()) > most, "some of it")
        victim.kill()
        victim.wait()
        victim = programs.start()
    until_sync(lambda: len(out()) >= total and not live(conn), "all of it")
    assert out() == list(range(total))


# ── beside others ──


async def test_stages_are_closed_when_the_worker_ends_whatever_one_says(app: App) -> None:
    closed: list[str] = []

    class Held(stage.Stage):
        async def run(self, event: stage.Event, ctx: Context) -> Any:
            return [event]

        async def close(self) -> None:
            closed.append(self.setting.stage)
            if self.setting.stage == "b":
                raise OSError("it does not close")

    pipeline(
        app, "a: {module: held, inputs: start}\nb: {module: held, inputs: a}\nc: {module: held, inputs: b}", held=Held
    )
    task = await app.enqueue("p")
    with contextlib.suppress(OSError):
        async with app.worker():
            await task.result("20s")
            assert closed == []
    assert sorted(closed) == ["a", "b", "c"]


async def test_pipelines_and_code_in_one_worker(app: App, conn: psycopg.Connection) -> None:
    @app.task()
    async def double(n: int) -> int:
        return n * 2

    pipeline(app, "end: {inputs: start}", name="p", end=none)
    pipeline(app, "end: {inputs: start}", name="q", end=none)
    tasks: list[Task[Any]] = [await app.enqueue("p", n=1), await app.enqueue("q", n=2), await double.enqueue(3)]
    async with app.worker():
        assert [await task.result("20s") for task in tasks] == [None, None, 6]
    assert (ended(conn, "p"), ended(conn, "q")) == ([("end", {"n": 1})], [("end", {"n": 2})])


async def test_a_pipeline_whose_names_are_taken_is_refused_and_nothing_of_it_added(app: App) -> None:
    @app.task(name="p.gather")
    async def gather() -> None: ...

    @app.task(name="taken")
    async def taken() -> None: ...

    app.schedule
    for name, said in (("taken", "a handler called 'taken'"), ("p", "a handler called 'p.gather'")):
        with pytest.raises(InvalidOption, match=f"p.yaml: there is {said} already") as error:
            collecting(app, "{}", name=name)
        assert "name: …" in str(error.value.hint)
        assert (app.registry.names(), list(app.registry.schedules)) == (["p.gather", "taken"], [])
    collecting(app, "{}", name="r")
    with pytest.raises(InvalidOption, match="there is a handler called 'r' already"):
        collecting(app, "{}", name="r")
    await app.worker(until_idle=True).run()


async def test_names_that_are_too_long_together_are_refused(app: App) -> None:
    long = "x" * 100
    for module in ("collect", "end, concurrency: 1"):
        with pytest.raises(InvalidOption, match="200 characters"):
            pipeline(app, f"{long}: {{module: {module}, inputs: start}}", name=long, end=none)
    assert app.registry.names() == []


def test_of_several_files_all_mistakes_are_told_and_none_is_added(dsn: str, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.yaml", "b.yaml", "c.yaml")]
    for file, inputs in zip(files, ("strat", "start", "satrt"), strict=True):
        file.write_text("pipeline:\n  " + START + f"  log: {{inputs: {inputs}}}\n")
    app = App(dsn)
    with pytest.raises(InvalidPipeline) as error:
        add_pipelines(app, files)
    assert [problem.file for problem in error.value.problems] == [str(files[0]), str(files[2])]
    assert app.registry.names() == []
