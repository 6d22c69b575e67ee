"""What makes no machine: refused where it is written, at the start, or at the move itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from howdah import App, Cancel, Context, Done, after, join
from howdah.errors import InvalidOption, TaskFailed
from kinds.process_steps import Ask

# ── at start-up ──


async def starts(app: App) -> None:
    await app.worker(until_idle=True).run()


async def test_a_step_of_another_machine_is_refused_at_the_start(app: App) -> None:
    one = app.machine("one")

    @one.step
    @dataclass
    class Here:
        async def run(self) -> Ask | None: ...

    said = r"one\.Here\.run may return Ask, which is a step of sums. The steps of one: Here"
    with pytest.raises(InvalidOption, match=said):
        await starts(app)
    assert await app.kinds() == []
    with pytest.raises(InvalidOption, match=said):
        one.graph()


NO_MOVES = [("int", "int, which is no step of one"), ("Any", "Any, which is no step"), ("NoWhere", "NoWhere")]


@pytest.mark.parametrize(("annotation", "said"), NO_MOVES)
async def test_an_annotation_that_is_no_move(app: App, annotation: str, said: str) -> None:
    one = app.machine("one")

    @dataclass
    class Here:
        async def run(self) -> None: ...

    Here.run.__annotations__["return"] = annotation
    one.step(Here)
    with pytest.raises(InvalidOption) as error:
        await starts(app)
    assert "one.Here.run" in str(error.value)
    assert said in str(error.value)


async def test_a_missing_annotation(app: App) -> None:
    one = app.machine("one")

    @one.step
    @dataclass
    class Here:
        async def run(self): ...

    with pytest.raises(InvalidOption, match=r"one\.Here\.run has no return annotation. Write where it may go"):
        await starts(app)


async def test_a_step_that_nobody_reaches_is_said_in_the_log(app: App, caplog: pytest.LogCaptureFixture) -> None:
    one = app.machine("one")

    @one.step
    @dataclass
    class Begin:
        async def run(self) -> Begin | None: ...

    @one.step
    @dataclass
    class Lost:
        async def run(self) -> Begin: ...

    @one.step(start=True)
    @dataclass
    class Other:
        async def run(self) -> Begin: ...

    await starts(app)
    said = [record.getMessage() for record in caplog.records if "machine one" in record.getMessage()]
    assert said == ["machine one: no step leads to Lost; if tasks begin there, say so: step(start=True)"]


async def test_a_machine_without_steps(app: App) -> None:
    app.machine("one")
    with pytest.raises(InvalidOption, match=r"machine one has no steps\. Write @one\.step above"):
        await starts(app)


def test_classes_that_cannot_be_steps(app: App) -> None:
    one: Any = app.machine("one")

    class Bare:
        async def run(self) -> None: ...

    @dataclass
    class Idle:
        word: str

    @dataclass
    class Generating:
        async def run(self) -> Any:
            yield 1

    @dataclass
    class Greedy:
        async def run(self, ctx: Context, more: int) -> None: ...

    @dataclass
    class Fine:
        async def run(self) -> None: ...

    @dataclass
    class Plain:
        def run(self) -> None: ...

    for cls, options, said in (
        (Bare, {}, "Bare has no fields to store"),
        (Idle, {}, "one.Idle has no method run"),
        (Generating, {}, "one.Generating.run is a generator"),
        (Greedy, {}, "one.Greedy.run takes ctx, more"),
        (print, {}, "@one.step is for classes"),
        ("Fine", {}, "@one.step is for classes, not 'Fine'"),
        (Fine, {"executor": "process"}, "executor='process' needs a plain function"),
        (Fine, {"executor": "thread"}, "executor='thread' needs a plain function"),
        (Plain, {"executor": "loop"}, "executor='loop' needs an async function"),
        (Plain, {"transactional": True}, "transactional=True needs async def run"),
        (Fine, {"retries": 3}, "a step has no option 'retries'"),
        (Fine, {"retry": "often"}, "retry must be"),
        (Fine, {"timeout": 0}, "timeout must be longer than nothing"),
        (Fine, {"queue": ""}, "queue must be text"),
        (Fine, {"name": ""}, "name must be text"),
        (Fine, {"max_lost": -1}, "max_lost must be"),
    ):
        with pytest.raises(InvalidOption) as error:
            one.step(**options)(cls) if options else one.step(cls)
        assert said in str(error.value), cls
    assert one.kind.steps == {}


def test_one_class_is_one_step_and_one_name_too(app: App) -> None:
    one, two = app.machine("one"), app.machine("two")

    @one.step
    @dataclass
    class Fine:
        async def run(self) -> None: ...

    with pytest.raises(InvalidOption, match="Fine is a step of one already"):
        two.step(Fine)
    two_classes: Any = two.step
    with pytest.raises(InvalidOption, match=r"@two\.step takes one class, not 2"):
        two_classes(Fine, Fine)
    with pytest.raises(InvalidOption, match="Fine is a step of one already"):
        one.step(name="again")(Fine)

    @dataclass
    class Other:
        async def run(self) -> None: ...

    with pytest.raises(InvalidOption, match="one has two steps called 'Fine'"):
        one.step(name="Fine")(Other)
    two.step(name="Fine")(Other)
    with pytest.raises(InvalidOption, match="two handlers are called 'one'"):
        app.machine("one")


async def test_a_step_in_a_process_must_be_found_again_there(app: App) -> None:
    one = app.machine("one")

    @one.step(executor="process")
    @dataclass
    class Local:
        def run(self) -> None: ...

    with pytest.raises(InvalidOption, match="top level of a module"):
        await starts(app)


# ── moves that the annotation does not allow ──


async def test_an_illegal_move_parks_and_says_what_is_allowed(app: App) -> None:
    strict = app.machine("strict", retry=5)
    there: dict[str, Any] = {}

    @strict.step
    @dataclass
    class Begin:
        to: str

        async def run(self) -> Middle | Cancel:
            return there[self.to]

    @strict.step
    @dataclass
    class Middle:
        async def run(self) -> None:
            return there["End"]

    @strict.step(start=True)
    @dataclass
    class End:
        async def run(self) -> None: ...

    there |= {"nowhere": None, "done": Done(1), "End": End(), "word": "End", "class": Middle, "elsewhere": Ask(1)}
    there |= {"later": after("1h", End()), "joined": join(End()), "Middle": Middle()}
    tasks = {to: await strict.enqueue(Begin(to)) for to in there}
    said = {
        "nowhere": "strict.Begin returned None, and its return annotation allows Middle",
        "done": "strict.Begin returned Done, and",
        "End": "strict.Begin returned End, and",
        "word": "strict.Begin returned str, and",
        "class": "strict.Begin returned type, and",
        "elsewhere": "strict.Begin returned Ask, and",
        "later": "strict.Begin returned End, and",
        "joined": "strict.Begin returned End, and",
        "Middle": "strict.Middle returned End, and its return annotation allows None",
    }
    async with app.worker():
        for to, task in tasks.items():
            with pytest.raises(TaskFailed) as error:
                await task.result("20s")
            assert said[to] in str(error.value), to
            info = await task.info()
            assert (info.attempt, info.step) == (1, "Middle" if to == "Middle" else "Begin")


async def test_a_result_that_json_cannot_hold_parks_the_step(app: App) -> None:
    short = app.machine("short", retry=5)

    @short.step
    @dataclass
    class Only:
        async def run(self) -> Done:
            return Done(object())

    task = await short.enqueue(Only())
    async with app.worker():
        with pytest.raises(TaskFailed, match="short: result"):
            await task.result("20s")
    assert (await task.info()).attempt == 1


async def test_a_next_step_whose_fields_do_not_fit_parks_the_step_before(app: App) -> None:
    short = app.machine("short", retry=5)

    @short.step
    @dataclass
    class Begin:
        async def run(self) -> End:
            wrong: Any = "seven"
            return End(wrong)

    @short.step
    @dataclass
    class End:
        n: int

        async def run(self) -> None: ...

    task = await short.enqueue(Begin())
    async with app.worker():
        with pytest.raises(TaskFailed, match="n: expected int, got str"):
            await task.result("20s")
    info = await task.info()
    assert (info.step, info.payload, info.attempt) == ("Begin", {}, 1)
