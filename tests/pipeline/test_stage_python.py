"""python: a function of one's own per event, found without running it and called as it is written."""

from __future__ import annotations

import asyncio
import itertools
import sys
import threading
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from howdah.errors import HowdahError
from howdah.outcomes import Fail, Snooze
from howdah.pipeline.stage import InvalidField
from howdah.pipeline.stages.python import Python
from pipeline.standing import Standing, events, stage
from waiting import until

_numbers = itertools.count(1)


@pytest.fixture
def module(tmp_path: Path) -> Any:
    """Writes a module into the folder of the pipeline; its name is one that was never imported."""

    def write(source: str, name: str = "") -> str:
        name = name or f"users_tasks_{next(_numbers)}"
        file = tmp_path.joinpath(*name.split(".")).with_suffix(".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(source))
        return name

    before = list(sys.path)
    yield write
    sys.path[:] = before


def python(folder: Path, function: str, **config: Any) -> Any:
    return stage(Python, folder, function=function, **config)


FUNCTIONS = """
    import threading
    from howdah import Context

    class Shop:
        @staticmethod
        def sell(event): return {"sold": event["n"]}

    def plain(event): return {"n": event["n"] + 1, "main": threading.current_thread() is threading.main_thread()}
    async def coroutine(event): return {"n": event["n"] + 1, "main": threading.current_thread() is threading.main_thread()}
    def generator(event): yield from ({"n": n} for n in range(event["n"]))
    async def async_generator(event):
        for n in range(event["n"]):
            yield {"n": n}
    def many(event): return ({"n": 1}, {"n": 2})
    def nothing(event): return None
    def annotated(event, task: "Context | None"): return {"id": task.id}
    def named(event, ctx): return {"id": ctx.id}
    async def only_by_name(event, *, ctx): return {"id": ctx.id}
    def more(event, greeting, name="you"): return {"text": f"{greeting} {name}"}
    def endless(event):
        while True:
            yield {}
    async def async_endless(event):
        while True:
            yield {}
    def number(event): return 7
    def numbers(event): return [{}, 7]
    def no_parameters(): return {}
    not_callable = 7
"""


class TestCalls:
    @pytest.mark.parametrize(
        ("function", "made"),
        [
            ("plain", [{"n": 3, "main": False}]),
            ("coroutine", [{"n": 3, "main": True}]),
            ("generator", [{"n": 0}, {"n": 1}]),
            ("async_generator", [{"n": 0}, {"n": 1}]),
            ("many", [{"n": 1}, {"n": 2}]),
            ("nothing", []),
            ("annotated", [{"id": 2_147_483_700}]),
            ("named", [{"id": 2_147_483_700}]),
            ("only_by_name", [{"id": 2_147_483_700}]),
            ("Shop.sell", [{"sold": 2}]),
        ],
    )
    async def test_every_sort_of_function(self, tmp_path: Path, module: Any, function: str, made: Any) -> None:
        assert await events(python(tmp_path, f"{module(FUNCTIONS)}:{function}"), {"n": 2}) == made

    async def test_further_arguments(self, tmp_path: Path, module: Any) -> None:
        greet = python(tmp_path, f"{module(FUNCTIONS)}:more", **{"with": {"greeting": "Hi", "name": "Zoë"}})

        assert await events(greet, {}) == [{"text": "Hi Zoë"}]

    @pytest.mark.parametrize(
        ("function", "fault"),
        [
            ("number", "returned int"),
            ("numbers", "returned int as event 1"),
            ("endless", "more than 10,000 events"),
            ("async_endless", "more than 10,000 events"),
            ("more", "missing a required argument: 'greeting'"),
            ("no_parameters", "too many positional arguments"),
            ("not_callable", "cannot be called"),
        ],
    )
    async def test_what_cannot_become_events_parks_the_event(
        self, tmp_path: Path, module: Any, function: str, fault: str
    ) -> None:
        with pytest.raises(Fail, match=fault):
            await events(python(tmp_path, f"{module(FUNCTIONS)}:{function}"), {"n": 2})

    async def test_an_outcome_that_is_returned_is_as_one_that_is_raised(self, tmp_path: Path, module: Any) -> None:
        name = module("from howdah import Snooze\ndef f(event): return Snooze('1m')")
        with pytest.raises(Snooze):
            await events(python(tmp_path, f"{name}:f"), {})

    async def test_what_it_raises_goes_through(self, tmp_path: Path, module: Any) -> None:
        name = module("def f(event): raise KeyError('x')")

        with pytest.raises(KeyError):
            await events(python(tmp_path, f"{name}:f"), {})

    async def test_two_at_once(self, tmp_path: Path, module: Any) -> None:
        name = module(
            "import threading\nboth = threading.Barrier(2, timeout=30)\ndef f(event): both.wait(); return event"
        )
        meet = python(tmp_path, f"{name}:f")

        assert await asyncio.gather(events(meet, {"n": 1}), events(meet, {"n": 2})) == [[{"n": 1}], [{"n": 2}]]

    async def test_a_stuck_function_does_not_keep_the_process(self, tmp_path: Path, module: Any) -> None:
        name = module("""
            import threading
            begun, free = threading.Event(), threading.Event()
            def f(event): begun.set(); free.wait()
        """)
        running = asyncio.ensure_future(events(python(tmp_path, f"{name}:f"), {}))
        await until(lambda: name in sys.modules and sys.modules[name].begun.is_set(), "the function to begin")

        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

        assert all(thread.daemon for thread in threading.enumerate() if thread.name == "howdah-handler")
        sys.modules[name].free.set()


class TestChecks:
    def test_nothing_is_run_to_find_a_function(self, tmp_path: Path, module: Any) -> None:
        module("raise SystemExit('imported')", "pack.__init__")
        module("raise SystemExit('imported')\nif True:\n    def f(event): ...", "pack.jobs")

        python(tmp_path, "pack.jobs:f")

        assert "pack" not in sys.modules

    @pytest.mark.parametrize(
        "source",
        [
            "from os import path as f",
            "import os.path as f",
            "f = print",
            "f: int = 1",
            "(f, g) = 1, 2",
            "try:\n    import f\nexcept ImportError:\n    f = None",
            "for f in []: pass",
            "from somewhere import *",
            "def __getattr__(name): ...",
            "class f: ...",
        ],
    )
    def test_every_way_to_have_a_name(self, tmp_path: Path, module: Any, source: str) -> None:
        python(tmp_path, f"{module(source)}:f")

    def test_a_name_within_a_function_is_not_there(self, tmp_path: Path, module: Any) -> None:
        name = module("def g(event):\n    f = 1")

        with pytest.raises(InvalidField, match="has no f"):
            python(tmp_path, f"{name}:f")

    def test_the_nearest_name_is_suggested(self, tmp_path: Path, module: Any) -> None:
        module("def charge(event): ...", "payments")

        with pytest.raises(InvalidField, match=r"payments.py has no chrage. Did you mean charge\?"):
            python(tmp_path, "payments:chrage")
        with pytest.raises(InvalidField, match=r"there is no module paymnets. Did you mean payments\?"):
            python(tmp_path, "paymnets:charge")
        with pytest.raises(InvalidField, match=r"there is no module json.nope"):
            python(tmp_path, "json.nope:f")

    def test_a_file_that_is_no_python_is_named_with_its_line(self, tmp_path: Path, module: Any) -> None:
        module("x = 1\ndef f(event:\n", "broken")

        with pytest.raises(InvalidField, match=r"^broken.py:2: ") as refused:
            python(tmp_path, "broken:f")

        assert refused.value.field == ("function",)

    @pytest.mark.parametrize("function", ["payments.charge", "payments:", ":charge", "../x:f", "a:b:c", "a b:c"])
    def test_what_is_no_name_of_a_function(self, tmp_path: Path, function: str) -> None:
        with pytest.raises(InvalidField, match="module:function"):
            python(tmp_path, function)

    @pytest.mark.parametrize("function", ["math:sqrt", "json:dumps", "sys:exit", "_json:make_encoder"])
    def test_what_python_has_is_left_to_the_import(self, tmp_path: Path, function: str) -> None:
        python(tmp_path, function)


async def test_the_folder_comes_first(tmp_path: Path, module: Any) -> None:
    module("def f(event): return {'mine': True}", "antigravity")

    assert await events(python(tmp_path, "antigravity:f"), {}) == [{"mine": True}]


async def test_a_module_whose_name_is_taken_is_said(tmp_path: Path, module: Any) -> None:
    module("def dumps(event): return {}", "json")

    with pytest.raises(HowdahError, match="under the same name json"):
        await events(python(tmp_path, "json:dumps"), {}, Standing())
