"""A task parked at a step: it keeps its place and payload, is mended, and goes on from there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest

from howdah import App, Done, HowdahError, Machine, Retry, Task
from howdah.errors import InvalidOption, InvalidPayload, TaskFailed, TaskNotFound, WrongStatus
from kinds.standing import events, stands


@dataclass
class World:
    """What the steps find outside, and which of them ran."""

    files: dict[str, str] = field(default_factory=dict)
    ran: list[str] = field(default_factory=list)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def greeter(app: App, world: World) -> Machine:
    greeter = app.machine("greeter", retry=Retry(1, delay="1ms"))

    @greeter.step
    @dataclass
    class Begin:
        filename: str

        async def run(self) -> ReadName:
            world.ran.append("Begin")
            return ReadName(self.filename)

    @greeter.step(queue="disk")
    @dataclass
    class ReadName:
        filename: str
        lines: int = 1

        async def run(self) -> SayHello:
            world.ran.append("ReadName")
            return SayHello(world.files[self.filename])

    @greeter.step
    @dataclass
    class SayHello:
        name: str

        async def run(self) -> Done:
            world.ran.append("SayHello")
            return Done(f"Hello, {self.name}")

    return greeter


@pytest.fixture
async def parked(app: App, greeter: Machine) -> Task[Any]:
    """At ReadName, after two attempts that found no file."""
    task = await greeter.enqueue(greeter.kind.steps["Begin"].cls("name.txt"))
    async with app.worker():
        await stands(task, "failed", "ReadName")
    return task


async def ends(app: App, task: Task[Any]) -> Any:
    async with app.worker():
        return await task.result("20s")


# ── parked and resumed ──


async def test_when_the_retries_are_used_up_the_task_stays_at_its_step(parked: Task[Any], world: World) -> None:
    info = await parked.info()
    assert (info.status, info.step, info.attempt, info.queue) == ("failed", "ReadName", 2, "disk")
    assert info.payload == {"filename": "name.txt", "lines": 1}
    assert info.error == "KeyError: 'name.txt'"
    assert world.ran == ["Begin", "ReadName", "ReadName"]
    with pytest.raises(TaskFailed, match=f"Mend the cause, then: howdah retry {parked.id}"):
        await parked.result("20s")


Resume = Callable[[App, psycopg.Connection, Task[Any]], Any]
RESUMES: dict[str, Resume] = {
    "app.retry": lambda app, conn, task: app.retry_sync(task.id),
    "task.retry": lambda app, conn, task: task.retry_sync(),
    "howdah.retry": lambda app, conn, task: conn.execute("select howdah.retry(%s)", [task.id]),
    "update": lambda app, conn, task: conn.execute(
        "update howdah.task set error = null where kind = 'greeter' and status = 'failed'"
    ),
}


@pytest.mark.parametrize("resume", RESUMES.values(), ids=RESUMES)
async def test_once_the_world_is_mended_it_goes_on_with_that_step(
    app: App, conn: psycopg.Connection, parked: Task[Any], world: World, resume: Resume
) -> None:
    world.files["name.txt"] = "Ada"
    world.ran.clear()
    resume(app, conn, parked)
    assert (await parked.info()).attempt == 0
    assert await ends(app, parked) == "Hello, Ada"
    assert world.ran == ["ReadName", "SayHello"]
    assert await events(app, parked) == ["step", "retry", "failure", "resume", "step", "end"]


async def test_resumed_in_the_same_world_it_is_parked_again_after_as_many_attempts(
    app: App, parked: Task[Any], world: World
) -> None:
    assert await parked.retry() == "resumed"
    async with app.worker():
        await stands(parked, "failed", "ReadName")
    assert world.ran.count("ReadName") == 4


# ── edited ──


async def test_another_payload_is_what_the_next_run_of_the_same_step_gets(
    app: App, parked: Task[Any], world: World
) -> None:
    world.files["other.txt"] = "Bob"
    world.ran.clear()
    await app.edit(parked.id, payload={"filename": "other.txt"})
    info = await parked.info()
    # Defaults are written, as at an enqueue; it stays parked, and says why.
    assert (info.status, info.step, info.payload) == ("failed", "ReadName", {"filename": "other.txt", "lines": 1})
    assert info.error == "KeyError: 'name.txt'"
    await parked.retry()
    assert await ends(app, parked) == "Hello, Bob"
    assert world.ran == ["ReadName", "SayHello"]


async def test_another_step_is_where_it_goes_on(app: App, parked: Task[Any], world: World) -> None:
    world.ran.clear()
    app.edit_sync(parked.id, step="SayHello", payload={"name": "Eve"})
    info = await parked.info()
    assert (info.step, info.payload, info.queue) == ("SayHello", {"name": "Eve"}, "default")
    await parked.retry()
    assert await ends(app, parked) == "Hello, Eve"
    assert world.ran == ["SayHello"]


async def test_a_step_alone_may_be_changed_when_the_payload_fits_it(app: App, greeter: Machine, world: World) -> None:
    await app.worker(until_idle=True).run()
    task = await greeter.using(delay="1h").enqueue(greeter.kind.steps["ReadName"].cls("name.txt"))
    with pytest.raises(InvalidPayload, match="unexpected field lines"):
        await app.edit(task.id, step="Begin")
    await app.edit(task.id, payload={"filename": "name.txt"}, step="Begin")
    await app.edit(task.id, step="ReadName")
    info = await task.info()
    assert (info.status, info.step, info.payload) == ("queued", "ReadName", {"filename": "name.txt"})
    world.files["name.txt"] = "Ada"
    assert await task.retry() == "due now"
    assert await ends(app, task) == "Hello, Ada"


async def test_an_edit_is_in_the_history_with_what_was_there_before(
    app: App, parked: Task[Any], conn: psycopg.Connection
) -> None:
    await app.edit(parked.id, step="SayHello", payload={"name": "Eve"})
    event = (await app.history(parked.id))[-1]
    (user,) = conn.execute("select session_user").fetchall()[0]
    assert (event["type"], event["step"], event["actor"]) == ("edit", "SayHello", user)
    assert event["data"] == {
        "before": {"step": "ReadName", "queue": "disk", "payload": {"filename": "name.txt", "lines": 1}},
        "after": {"step": "SayHello", "queue": "default", "payload": {"name": "Eve"}},
    }


MISFITS: list[tuple[dict[str, Any], str]] = [
    ({"payload": {}}, "ReadName: missing field filename"),
    ({"payload": {"filename": "x", "lins": 2}}, "ReadName: unexpected field lins"),
    ({"payload": {"filename": 7}}, "ReadName: filename: expected str, got int"),
    ({"payload": {"filename": "x", "lines": "2"}}, "ReadName: lines: expected int, got str"),
    ({"payload": {"filename": "a\0b"}}, "NUL"),
    ({"payload": ["x"]}, "expected the fields by name"),
    ({"payload": "x"}, "ReadName"),
    ({"step": "SayHello"}, "SayHello: "),
    ({"step": "SayHello", "payload": {"filename": "x"}}, "SayHello: "),
]


@pytest.mark.parametrize(("edit", "said"), MISFITS)
async def test_an_edit_that_does_not_fit_the_step_changes_nothing(
    app: App, parked: Task[Any], edit: dict[str, Any], said: str
) -> None:
    before = await parked.info()
    with pytest.raises(InvalidPayload) as error:
        await app.edit(parked.id, **edit)
    assert said in str(error.value)
    assert await parked.info() == before


@pytest.mark.parametrize("step", ["SayGoodbye", "", 7])
async def test_an_edit_to_a_step_that_is_not_there(app: App, parked: Task[Any], step: Any) -> None:
    with pytest.raises(InvalidOption, match=r"ReadName\(filename: str, lines: int = 1\)|step must be"):
        await app.edit(parked.id, step=step)
    assert (await parked.info()).step == "ReadName"


async def test_an_edit_of_nothing_or_of_what_cannot_be_edited(app: App, parked: Task[Any], world: World) -> None:
    with pytest.raises(InvalidOption, match="nothing to change was given"):
        await app.edit(parked.id)
    with pytest.raises(TaskNotFound):
        await app.edit(7, payload={})
    world.files["name.txt"] = "Ada"
    await parked.retry()
    await ends(app, parked)
    with pytest.raises(WrongStatus, match="already ended"):
        await app.edit(parked.id, payload={"name": "Bob"})


async def test_a_client_without_the_code_checks_the_names_of_the_fields(
    app: App, parked: Task[Any], world: World
) -> None:
    async with App(app.dsn) as stranger:
        misfits: list[tuple[dict[str, Any], str]] = [
            ({"payload": {}}, "the payload does not fit greeter.ReadName: missing: filename"),
            ({"payload": {"filename": "x", "lins": 2}}, "unexpected: lins. Its fields are: "),
            ({"step": "SayHello"}, "missing: name; unexpected: "),
        ]
        for edit, said in misfits:
            with pytest.raises(InvalidPayload) as error:
                await stranger.edit(parked.id, **edit)
            assert said in str(error.value)
        with pytest.raises(InvalidOption, match=r"no step 'Sing'\. Give one of its steps: Begin, ReadName, SayHello"):
            await stranger.edit(parked.id, step="Sing")
        await stranger.edit(parked.id, payload={"name": "Zoe"}, step="SayHello")
        await stranger.retry(parked.id)
    assert await ends(app, parked) == "Hello, Zoe"


async def test_an_edit_from_sql(app: App, parked: Task[Any], conn: psycopg.Connection) -> None:
    conn.execute("""select howdah.edit(%s, '{"name": "Sql"}', step => 'SayHello')""", [parked.id])
    conn.execute("select howdah.retry(%s)", [parked.id])
    assert await ends(app, parked) == "Hello, Sql"


# ── what the code no longer knows ──


async def test_a_step_that_the_code_no_longer_has_parks_with_what_was_stored(
    app: App, greeter: Machine, conn: psycopg.Connection
) -> None:
    task = await greeter.enqueue(greeter.kind.steps["SayHello"].cls("Ada"))
    conn.execute("update howdah.task set step = 'Shout'")
    async with app.worker():
        info = await stands(task, "failed")
    assert (info.step, info.payload, info.attempt) == ("Shout", {"name": "Ada"}, 1)
    assert info.error is not None
    assert "step 'Shout', which greeter does not have" in info.error
    assert '{"name": "Ada"}' in info.error.replace('":"', '": "')
    assert (
        "expected one of Begin(filename: str); ReadName(filename: str, lines: int = 1); SayHello(name: str)"
        in info.error
    )
    await app.edit(task.id, step="SayHello")
    await task.retry()
    assert await ends(app, task) == "Hello, Ada"


async def test_fields_that_the_step_no_longer_has_park_with_what_was_stored(
    app: App, greeter: Machine, world: World, conn: psycopg.Connection
) -> None:
    task = await greeter.enqueue(greeter.kind.steps["SayHello"].cls("Ada"))
    conn.execute("""update howdah.task set payload = '{"first": "Ada", "last": "L"}'""")
    async with app.worker():
        info = await stands(task, "failed", "SayHello")
    assert info.attempt == 1
    assert info.error is not None
    for part in ("missing field name", "unexpected field", "first", "last", "stored {", "expected SayHello(name: str)"):
        assert part in info.error
    conn.execute("""update howdah.task set payload = '{"name": "Ada"}', error = null""")
    assert await ends(app, task) == "Hello, Ada"
    assert world.ran == ["SayHello"]


async def test_a_row_without_a_step_parks(app: App, greeter: Machine, conn: psycopg.Connection) -> None:
    task = await greeter.enqueue(greeter.kind.steps["SayHello"].cls("Ada"))
    conn.execute("update howdah.task set step = null")
    async with app.worker():
        info = await stands(task, "failed")
    assert "the task is at no step" in str(info.error)


async def test_what_has_no_steps_has_no_step_to_be_edited_to(app: App) -> None:
    @app.task()
    async def plain(n: int) -> int:
        return n

    await app.worker(until_idle=True).run()
    task = await plain.using(delay="1h").enqueue(1)
    with pytest.raises(HowdahError, match="plain has no steps, so it has no step 'Begin'"):
        await app.edit(task.id, step="Begin")
    with pytest.raises(InvalidPayload, match="n: expected int, got str"):
        await app.edit(task.id, payload={"n": "one"})
    await app.edit(task.id, payload={"n": 2})
    await task.retry()
    assert await ends(app, task) == 2
