"""What is wrong with a pipeline file is said at its place, before anything starts."""

from __future__ import annotations

import os
import re
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from howdah.errors import InvalidOption
from howdah.pipeline import problems, reading
from howdah.pipeline.document import Document, load, parse
from howdah.pipeline.errors import InvalidPipeline, PipelineError
from pipeline.stagelings import ENVIRONMENT, MODULES, SECRET

EXAMPLES = int(os.environ.get("HOWDAH_EXAMPLES", "300"))
HERE = Path(__file__).parent
BAD = sorted((HERE / "bad").glob("*.yaml"))
GOOD = (HERE / "good" / "everything.yaml").read_text("utf-8")


def check(text: str, **environment: str) -> Document:
    return parse(text, "some/file.yaml", modules=MODULES, environment=ENVIRONMENT | environment)


def problems_of(text: str, **environment: str) -> list[PipelineError]:
    with pytest.raises(InvalidPipeline) as caught:
        check(text, **environment)
    return caught.value.problems


def fetch(**config: str) -> str:
    lines = "".join(f"\n      {name}: {value}" for name, value in ({"url": "http://x"} | config).items())
    return f"pipeline:\n  tick: {{module: clock}}\n  fetch:\n    inputs: tick\n    config:{lines}\n"


def config_of(text: str, **environment: str) -> Any:
    return check(text, **environment).stages["fetch"].stage.config


# ── bad files ──


class Watch:
    """What the interpreter did meanwhile that reaches beyond it."""

    def __init__(self) -> None:
        self.on = False
        self.seen: list[str] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event.startswith(
            ("socket.", "subprocess.", "os.system", "os.exec", "os.spawn", "os.posix_spawn", "shutil.")
        ):
            self.seen.append(f"{event} {args!r}")
        if event == "open" and isinstance(args[0], (str, bytes)):
            # Modules may be imported late, and packages asked for theirs; nothing else is opened.
            path = str(args[0])
            if not path.endswith("entry_points.txt") and not path.startswith(
                (sys.prefix, sys.base_prefix, str(Path(problems.__file__).parents[1]))
            ):
                self.seen.append(f"open {path}")


@pytest.fixture(scope="module")
def watch() -> Watch:
    return Watch()


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.stem)
def test_a_bad_file_has_one_problem_at_its_place(file: Path, watch: Watch) -> None:
    text = file.read_text("utf-8")
    expected = re.match(r"# expect: (\d+): (.*)", text)
    assert expected is not None
    watch.seen.clear()
    watch.on = True
    try:
        with pytest.raises(InvalidPipeline) as caught:
            parse(text, file, modules=MODULES, environment=ENVIRONMENT)
    finally:
        watch.on = False

    assert [str(each) for each in caught.value.problems] == [str(caught.value)]
    problem = caught.value.problems[0]
    assert problem.line == int(expected[1]), str(problem)
    assert expected[2] in str(problem)
    assert str(problem).startswith(f"{file}:{problem.line}:{problem.column}: ")
    assert "\n" not in str(problem)
    assert watch.seen == []


def test_there_are_bad_files_enough() -> None:
    assert len(BAD) >= 35


def test_all_problems_of_a_file_are_told_by_line() -> None:
    found = problems_of(
        "name: a b\npipeline:\n  a: {module: nil}\n  b: {module: clock, inputs: [a, c], retry: x}\n  fetch: {inputs: b}\n"
    )

    assert [each.line for each in found] == [1, 3, 4, 4, 4, 5]
    assert [(each.stage, each.field) for each in found] == [
        (None, "name"),
        ("a", "module"),
        ("b", "inputs"),
        ("b", "inputs"),
        ("b", "retry"),
        ("fetch", "config.url"),
    ]


def test_two_rings_are_two_problems() -> None:
    found = problems_of(
        "pipeline:\n  a: {module: either, inputs: b}\n  b: {module: either, inputs: a}\n"
        "  c: {module: either, inputs: d}\n  d: {module: either, inputs: c}\n"
    )

    assert [each.said.rpartition(": ")[2] for each in found] == ["a → b → a", "c → d → c"]


def test_a_problem_says_its_parts() -> None:
    (problem,) = problems_of(fetch(port="many"))

    assert isinstance(problem, InvalidOption)
    assert (problem.file, problem.line, problem.column) == ("some/file.yaml", 7, 7)
    assert (problem.stage, problem.field, problem.hint) == ("fetch", "config.port", None)
    assert problem.message == "some/file.yaml:7:7: stage 'fetch', config.port: " + problem.said


def test_a_module_is_none_because_python_has_one_of_its_name() -> None:
    before = set(sys.modules)
    (problem,) = problems_of("pipeline:\n  a: {module: antigravity}\n")

    assert "there is no module 'antigravity'" in problem.said
    assert "antigravity" not in set(sys.modules) - before


# ── files as such ──


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path, tmp_path / "a\0b"):
        with pytest.raises(InvalidPipeline, match="cannot be read"):
            load(path)


@pytest.mark.parametrize(
    ("data", "line", "fragment"),
    [
        (b"", 1, "the file is empty"),
        (b"\n\n", 1, "the file is empty"),
        (b"# nothing\n", 1, "the file is empty"),
        (b"name: a\ndescription: caf\xe9\n", 2, "not UTF-8: byte 0xe9"),
        ("name: a\n".encode("utf-16"), 1, "not UTF-8"),
        (b"\x89PNG\r\n\x1a\n", 1, "not UTF-8"),
        (b"x" * 10_000_000, None, "larger than 1,000,000 bytes"),
    ],
)
def test_bytes_that_are_no_pipeline(tmp_path: Path, data: bytes, line: int | None, fragment: str) -> None:
    file = tmp_path / "x.yaml"
    file.write_bytes(data)
    with pytest.raises(InvalidPipeline) as caught:
        load(file)

    (problem,) = caught.value.problems
    assert problem.line == line
    assert fragment in problem.message


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + b"pipeline:\r\n  clock:\r\n")

    assert list(load(file, modules=MODULES).stages) == ["clock"]


# ── bounded work ──

_LAUGHS = "a0: &a0 [lol]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        (_LAUGHS, "*a4 is the alias of &a4 in line 5"),
        ("a: &a " + "x" * 900_000 + "\nb: [" + "*a, " * 20_000 + "]", "50,000 values"),
        ("a: " + "[" * 10_000, "nested deeper than 50 levels"),
        ("- " * 10_000, "nested deeper than 50 levels"),
        ("{a: " * 10_000, "nested deeper than 50 levels"),
        ("".join(f"{' ' * n}a:\n" for n in range(1000)), "nested deeper than 50 levels"),
        ("a: &a " + "[" * 30 + "]" * 30 + "\nb: " + "[" * 30 + "*a" + "]" * 30, "nested deeper than 50 levels"),
        ("[" + "a, " * 60_000 + "]", "50,000 values"),
        ("a: !" + "x" * 990_000, "tags are not read"),
        ("x" * 1_000_001, "larger than 1,000,000 bytes"),
    ],
    ids=["laughs", "long text", "lists", "dashes", "mappings", "keys", "deep by alias", "many", "tag", "large"],
)
def test_what_is_too_much_is_refused_soon(text: str, fragment: str) -> None:
    began = time.process_time()
    (problem,) = problems_of(text)

    assert fragment in problem.message
    assert problem.line is not None or "larger" in problem.message
    assert time.process_time() - began < 10  # a bound on the order of things; measured: below one second


def test_there_are_at_most_500_stages() -> None:
    stages = "".join(f"  s{n}: {{module: clock}}\n" for n in range(501))

    assert len(check("pipeline:\n" + stages.replace("  s500: {module: clock}\n", "")).stages) == 500
    (problem,) = problems_of("pipeline:\n" + stages)
    assert (problem.line, problem.said) == (502, "there are more than 500 stages")


def test_many_problems_are_no_more_work_than_some() -> None:
    ring = ", ".join(f"s{n}" for n in range(100))
    stages = "".join(f"  s{n}: {{module: either, inputs: [{ring}]}}\n" for n in range(100))
    names = ", ".join(f"name-{n}" for n in range(10_000))
    began = time.process_time()
    for text in ("pipeline:\n" + stages, f"pipeline:\n{stages}  x: {{module: either, inputs: [{names}]}}\n"):
        found = problems_of(text)
        assert len(found) == problems.MAX_PROBLEMS + 1
        assert found[-1].message == "some/file.yaml: there is more wrong; mend this first"
    assert time.process_time() - began < 20


def test_aliases_within_bounds_are_meant() -> None:
    document = check(
        "defaults: &usual {retry: 2}\npipeline:\n  clock:\n  a: &fetch {module: fetch, inputs: clock, config: {url: http://x}}\n"
        "  b: *fetch\n"
    )

    assert document.stages["b"].stage.config == document.stages["a"].stage.config


def test_a_mistake_that_an_alias_repeats_is_told_where_it_stands() -> None:
    found = problems_of(
        "pipeline:\n  clock:\n  a: {module: fetch, inputs: clock, config: &c {url: http://x, port: x}}\n"
        "  b: {module: fetch, inputs: clock, config: *c}\n"
    )

    assert [(each.line, each.stage) for each in found] == [(3, "a"), (3, "b")]


# ── good files ──


def test_everything_that_may_stand_in_a_file() -> None:
    document = parse(GOOD, "files/everything.yaml", modules=MODULES, environment=ENVIRONMENT)
    stages = document.stages

    assert (document.name, document.path) == ("foo-tasks", Path("files/everything.yaml"))
    assert document.description == "All that may stand in a file."
    assert (document.defaults.queue, document.defaults.timeout) == ("mail", timedelta(seconds=30))
    assert list(stages) == ["tick", "fetch", "again", "either", "end"]
    assert [(each.inputs, each.consumers) for each in stages.values()] == [
        ((), ("fetch", "end")),
        (("tick",), ("again",)),
        (("fetch",), ("end",)),
        ((), ("end",)),
        (("tick", "again", "either"), ()),
    ]
    tick, fetch, again, end = (stages[name] for name in ("tick", "fetch", "again", "end"))
    assert (tick.module, tick.stage.setting.stage, tick.stage.setting.folder) == ("clock", "tick", Path("files"))
    assert tick.stage.config.payload == {"n": [1, 2.5, True, None, "NO", "2026-01-01", "010", 10, "1_000", ".inf", 255]}
    assert (tick.defaults.queue, tick.defaults.priority, tick.defaults.retry.retries) == ("mail", 1, 5)
    assert tick.defaults.timeout == timedelta(seconds=30)
    retry = fetch.defaults.retry
    assert (retry.retries, retry.delay, retry.factor, retry.backoff.jitter) == (3, timedelta(seconds=2), 1.5, 0)
    assert (fetch.defaults.queue, fetch.defaults.priority, fetch.defaults.timeout) == (
        "mail-eu",
        -5,
        timedelta(seconds=2.5),
    )
    assert (fetch.defaults.delay, fetch.concurrency) == (timedelta(minutes=1), 2)
    assert fetch.stage.config.port == 8080
    assert fetch.stage.config.headers == {"Accept": "text/plain", "Authorization": "Bearer $$5 http://example"}
    assert [(each.name, each.times) for each in fetch.stage.config.steps] == [("a", 2), ("b", 1)]
    assert (again.defaults.timeout, again.concurrency) == (None, None)
    assert end.place == (34, 3)


def test_the_name_is_that_of_the_file() -> None:
    text = "pipeline:\n  clock:\n"

    assert parse(text, "x/orders.v2.yaml", modules=MODULES).name == "orders.v2"
    with pytest.raises(InvalidPipeline, match=r"my file.*Write name: …"):
        parse(text, "x/my file.yaml", modules=MODULES)


def test_a_graph_in_the_order_of_the_file() -> None:
    graph = parse(GOOD, "x.yaml", modules=MODULES, environment=ENVIRONMENT).graph({"end": "3 waiting"})

    assert graph.text().splitlines() == [
        "foo-tasks",
        "▶ tick                 → fetch, end",
        "  fetch                → again",
        "  again                → end",
        "▶ either               → end",
        "  end     (3 waiting)  → end",
    ]
    assert graph.unreachable() == []
    assert "[*] --> s0" in graph.mermaid()
    assert graph.svg().startswith("<svg")


# ── variables ──


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${HOST}", "http://example"),
        ("${HOST}/${PORT}?a=$1", "http://example/8080?a=$1"),
        ("http://$$x", "http://$$x"),
        ('"http://$${HOST}"', "http://${HOST}"),
        ("http://$$$$", "http://$$$$"),
        ("${NONE:-http://default}", "http://default"),
        ("${EMPTY:-http://default}", "http://default"),
        ("http://x${EMPTY}", "http://x"),
        ("http:${YAML}", "http:" + ENVIRONMENT["YAML"]),
        ("${HOST:-x}", "http://example"),
    ],
)
def test_variables_in_texts(text: str, value: str) -> None:
    assert config_of(fetch(url=text)).url == value


def test_what_a_variable_holds_adds_no_structure() -> None:
    assert config_of(fetch(body='["${YAML}", "${JSON}"]')).body == [ENVIRONMENT["YAML"], ENVIRONMENT["JSON"]]
    assert list(check(fetch(url="http:${YAML}")).stages) == ["tick", "fetch"]


def test_what_a_variable_holds_is_not_looked_through_again() -> None:
    assert config_of(fetch(url="http:${TWICE}"), TWICE="${SECRET}$$").url == "http:${SECRET}$$"


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("port", "${PORT}", 8080),
        ("port", "${NONE:-90}", 90),
        ("ratio", "${RATIO}", 0.5),
        ("ratio", "${PORT}", 8080.0),
        ("verify", "${YES}", True),
        ("verify", "${NONE:-false}", False),
        ("wait", "${PORT}", "8080"),
        ("body", "${PORT}", "8080"),
        ("steps", "[{name: '${PORT}', times: '${PORT}'}]", None),
    ],
)
def test_a_variable_alone_may_be_a_number(field: str, text: str, value: object) -> None:
    found = getattr(config_of(fetch(**{field: text})), field)

    assert found == value if value is not None else (found[0].name, found[0].times) == ("8080", 8080)


def test_a_variable_among_text_is_no_number() -> None:
    (problem,) = problems_of(fetch(port="1${PORT}"))

    assert problem.said == "it must be a whole number, not '1${PORT}'"


def test_a_variable_that_is_not_utf8() -> None:
    (problem,) = problems_of(fetch(url="${RAW}"), RAW="http://\udce9")

    assert "the variable RAW holds bytes that are not UTF-8" in problem.said


def test_variables_are_bounded() -> None:
    body = "[" + ", ".join(["'${LONG}'"] * 200) + "]"

    for each in problems_of(fetch(body=body), LONG="x" * 100_000):
        assert "longer than" in each.said


@pytest.mark.parametrize(
    "secret",
    [
        SECRET,
        "postgresqlx://u:it's\\a\nsecret-thing@h/x",
        "ftp://" + "long-secret-" * 30,
        "sesame-open-up",
        "pw:%40sesame-open-up@host",
    ],
)
@pytest.mark.parametrize("around", ["${S}", "ftp://x:${S}@h", "a ${S} b", "ftp://y/${S}?"])
def test_no_message_shows_what_a_variable_holds(secret: str, around: str) -> None:
    found = problems_of(fetch(url=f'"{around}"', port="'${S}'", method="'${S}'", headers="'${S}'"), S=secret)

    assert len(found) >= 3
    for each in found:
        said = f"{each.message} {each.hint}"
        assert "sesame" not in said
        assert "secret-" not in said


def test_no_message_shows_a_password_that_stands_in_the_file() -> None:
    (problem,) = problems_of(fetch(url="ftp://me:sesame@host/x"))

    assert problem.said == "no driver for 'ftp://me:***@host/x'"


# ── anything at all ──

_PIECES = [
    "{",
    "}",
    "[",
    "]",
    ":",
    "- ",
    "\n",
    "  ",
    "\t",
    "'",
    '"',
    "*",
    "&a ",
    "*a",
    "!",
    "|",
    ">",
    "#",
    "${",
    "}",
    "$$",
    "---\n",
]
_PIECES += [
    "%",
    "@",
    "? ",
    "<<: ",
    "\x00",
    "\ud7ff",
    "é",
    "null",
    "1e9",
    "0x",
    "99999999999999999999",
    "[[",
    "retry",
    "\r",
    "\u2028",
]


@st.composite
def mutations(draw: st.DrawFn) -> str:
    """A good file in which some things were done by a cat on the keyboard."""
    text = GOOD
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(text)))
        to = min(len(text), at + draw(st.integers(0, 20)))
        new = draw(st.sampled_from(_PIECES) | st.text(max_size=5))
        if draw(st.booleans()):
            other = draw(st.integers(0, len(text)))
            new += text[other : other + draw(st.integers(0, 40))]
        text = text[:at] + new + text[to:]
    return text


@given(mutations())
@settings(max_examples=EXAMPLES, deadline=None)
def test_a_broken_file_is_a_document_or_invalid(text: str) -> None:
    found: Document | InvalidPipeline
    try:
        found = check(text)
    except InvalidPipeline as error:
        found = error

    for problem in found.problems if isinstance(found, InvalidPipeline) else []:
        assert problem.line is None or 1 <= problem.line <= len(f"{text}|".splitlines())
        assert "\n" not in str(problem)
        assert SECRET not in str(problem)


@given(st.text(max_size=200) | st.lists(st.sampled_from(_PIECES), max_size=30).map("".join))
@settings(max_examples=EXAMPLES, deadline=None)
def test_any_text_is_read_or_unreadable(text: str) -> None:
    try:
        reading.read(text).plain()
    except reading.Unreadable as error:
        assert str(error)  # noqa: PT017  (it may also be read)
