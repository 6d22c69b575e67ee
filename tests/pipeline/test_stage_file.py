"""file: what comes into a folder, what is written to a log, and what is in a file, on a real disk."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from howdah.errors import HowdahError
from howdah.outcomes import Fail
from howdah.pipeline.stage import InvalidField, More, Polled
from howdah.pipeline.stages import folder as folders
from howdah.pipeline.stages.file import File
from howdah.pipeline.stages.lines import MAX_LINE
from pipeline.standing import Standing, events, stage
from waiting import until

OLD = time.time() - 60


def put(path: Path, content: str | bytes = "x", modified: float = OLD) -> Path:
    """A file that came to rest a minute ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    os.utime(path, (modified, modified))
    return path


class Poller:
    """Polls as the engine does: the state goes through the database."""

    def __init__(self, file: File) -> None:
        self.file = file
        self.state: Any = None

    async def __call__(self) -> list[dict[str, Any]]:
        return (await self.polled()).events

    async def polled(self) -> Polled:
        polled = await self.file.poll(self.state)
        self.state = msgspec.json.decode(msgspec.json.encode(polled.state))
        return polled


def poller(folder: Path, **config: Any) -> Poller:
    return Poller(stage(File, folder, **config))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The folder of a pipeline's file, with something beside it."""
    put(tmp_path / "secret.txt", "sesame")
    (tmp_path / "project" / "in").mkdir(parents=True)
    return tmp_path / "project"


class TestWatch:
    async def test_each_new_or_changed_file_is_told_once(self, project: Path) -> None:
        watch = poller(project, watch="in", pattern="*.csv")
        put(project / "in" / "b.csv", "12345")
        put(project / "in" / "note.txt")

        (found,) = await watch()
        assert (found["path"], found["name"], found["size"]) == ("in/b.csv", "b.csv", 5)
        assert found["modified"].endswith("+00:00")
        assert await watch() == []

        put(project / "in" / "a.csv", modified=OLD + 2)
        put(project / "in" / "b.csv", "123456", modified=OLD + 1)
        assert [found["name"] for found in await watch()] == ["b.csv", "a.csv"]
        assert await watch() == []

    async def test_what_is_gone_is_forgotten(self, project: Path) -> None:
        watch = poller(project, watch="in")
        put(project / "in" / "a")
        assert len(await watch()) == 1

        (project / "in" / "a").unlink()
        assert await watch() == []
        assert watch.state == ""

        put(project / "in" / "a")
        assert len(await watch()) == 1

    async def test_a_restart_tells_nothing_twice(self, project: Path) -> None:
        put(project / "in" / "a")
        watch = poller(project, watch="in")
        await watch()
        again = poller(project, watch="in")
        again.state = watch.state

        assert await again() == []

    async def test_a_poll_that_was_not_committed_is_told_again(self, project: Path) -> None:
        put(project / "in" / "a")
        watch = poller(project, watch="in")

        assert len((await watch.file.poll(None)).events) == 1
        assert len((await watch.file.poll(None)).events) == 1

    async def test_a_file_that_is_being_written_is_not_told(self, project: Path) -> None:
        watch = poller(project, watch="in", settle="1h")
        put(project / "in" / "fresh", modified=time.time())
        put(project / "in" / "rested", modified=time.time() - 3700)

        assert [found["name"] for found in await watch()] == ["rested"]

    async def test_a_file_from_the_future_comes_to_rest_too(self, project: Path) -> None:
        watch = poller(project, watch="in", settle="50ms")
        put(project / "in" / "ahead", modified=time.time() + 3600)

        assert await watch() == []
        assert await until(watch, "it to come to rest")

    async def test_folders_within_and_hidden_files(self, project: Path) -> None:
        for name in ("a", ".hidden", "deep/er/b", ".git/c"):
            put(project / "in" / name)

        assert [found["path"] for found in await poller(project, watch="in")()] == ["in/a"]
        deep = await poller(project, watch="in", recursive=True)()
        assert sorted(found["path"] for found in deep) == ["in/a", "in/deep/er/b"]
        hidden = await poller(project, watch="in", pattern=".h*")()
        assert [found["name"] for found in hidden] == [".hidden"]

    async def test_only_files(self, project: Path) -> None:
        os.mkfifo(project / "in" / "pipe")
        (project / "in" / "nowhere").symlink_to("gone")
        (project / "in" / "loop").symlink_to("loop")

        assert await poller(project, watch="in", settle=0)() == []

    async def test_links_lead_nowhere_else(self, project: Path, caplog: pytest.LogCaptureFixture) -> None:
        put(project / "data.csv")
        (project / "in" / "out").symlink_to(project.parent / "secret.txt")
        (project / "in" / "ok").symlink_to(project / "data.csv")
        (project / "in" / "up").symlink_to(project.parent)
        watch = poller(project, watch="in", recursive=True)

        with caplog.at_level(logging.WARNING, "howdah.pipeline"):
            assert [found["name"] for found in await watch()] == ["ok"]
            assert await watch() == []
        assert len(caplog.records) == 1
        assert "outside: true" in caplog.text
        assert {found["name"] for found in await poller(project, watch="in", outside=True)()} == {"ok", "out"}

    async def test_a_name_that_is_no_text_is_left_out(self, project: Path, caplog: pytest.LogCaptureFixture) -> None:
        put(project / "in" / os.fsdecode(b"\xff.csv"))
        put(project / "in" / "ā.csv")

        assert [found["name"] for found in await poller(project, watch="in", settle=0)()] == ["ā.csv"]
        assert "its name is no text" in caplog.text

    async def test_many_files_come_in_parts(self, project: Path) -> None:
        for n in range(1_001):
            put(project / "in" / f"{n:04}", modified=OLD + n / 1000)
        watch = poller(project, watch="in", every="5s")

        first, second = await watch.polled(), await watch.polled()

        assert [len(first.events), len(second.events)] == [1_000, 1]
        assert [first.delay, second.delay] == [0, 5]
        assert [found["name"] for found in (*first.events, *second.events)] == [f"{n:04}" for n in range(1_001)]
        assert len(msgspec.json.encode(watch.state)) < 20_000

    async def test_too_many_files_are_an_error(self, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(folders, "MAX_FILES", 3)
        for n in range(4):
            put(project / "in" / str(n))

        with pytest.raises(HowdahError, match="Move files away"):
            await poller(project, watch="in")()

    async def test_a_folder_that_is_not_there_is_said(self, project: Path) -> None:
        with pytest.raises(HowdahError, match="there is no folder"):
            await poller(project, watch="nowhere")()


class TestTail:
    async def test_each_complete_line_is_told_once(self, project: Path) -> None:
        tail = poller(project, tail="app.log")
        log = project / "app.log"
        assert await tail() == []

        log.write_bytes("\ufeffpirmā\r\notrā\nhal".encode())
        assert await tail() == [
            {"path": "app.log", "line": 1, "text": "pirmā"},
            {"path": "app.log", "line": 2, "text": "otrā"},
        ]
        assert await tail() == []

        with log.open("ab") as writer:
            writer.write(b"f\n\n")
        assert [(told["line"], told["text"]) for told in await tail()] == [(3, "half"), (4, "")]

    async def test_it_may_begin_at_the_end(self, project: Path) -> None:
        log = put(project / "app.log", "old\nhal")
        tail = poller(project, tail="app.log", start="end")
        assert await tail() == []

        with log.open("ab") as writer:
            writer.write(b"f\nnew\n")
        assert [told["text"] for told in await tail()] == ["half", "new"]

    async def test_what_came_later_is_read_from_its_beginning(self, project: Path) -> None:
        tail = poller(project, tail="app.log", start="end")
        assert await tail() == []
        put(project / "app.log", "new\n")

        assert [told["text"] for told in await tail()] == ["new"]

    async def test_a_new_file_of_the_name_is_read_from_its_beginning(self, project: Path) -> None:
        log = put(project / "app.log", "one\ntwo\n")
        tail = poller(project, tail="app.log")
        await tail()

        log.rename(project / "app.log.1")
        assert await tail() == []
        put(log, "three\nfour\nfive\n")
        assert [(told["line"], told["text"]) for told in await tail()] == [(1, "three"), (2, "four"), (3, "five")]

    @pytest.mark.parametrize("content", ["1\n", "three\nfour and more than before\n"])
    async def test_so_is_one_that_was_cut(self, project: Path, content: str) -> None:
        log = put(project / "app.log", "one\ntwo\n")
        tail = poller(project, tail="app.log")
        await tail()

        put(log, content)  # the same inode

        assert [told["text"] for told in await tail()] == content.splitlines()

    async def test_many_lines_come_in_parts(self, project: Path) -> None:
        put(project / "app.log", "".join(f"{n}\n" for n in range(2_500)))
        tail = poller(project, tail="app.log", every="5s")

        parts = [await tail.polled() for _ in range(4)]

        assert [len(part.events) for part in parts] == [1_000, 1_000, 500, 0]
        assert [part.delay for part in parts] == [0, 0, 5, 5]
        assert [told["text"] for part in parts for told in part.events] == [str(n) for n in range(2_500)]

    async def test_a_line_that_is_too_long_comes_in_pieces(self, project: Path) -> None:
        log = put(project / "app.log", "x" * (MAX_LINE * 2 + 1))
        tail = poller(project, tail="app.log")
        first = await tail()
        with log.open("ab") as writer:
            writer.write(b"y\nnext\n")

        rest = await tail()

        assert [(told["line"], len(told["text"])) for told in (*first, *rest)] == [
            (1, MAX_LINE),
            (1, MAX_LINE),
            (1, 2),
            (2, 4),
        ]

    async def test_a_reading_is_bounded_in_bytes(self, project: Path) -> None:
        put(project / "app.log", ("x" * 90_000 + "\n") * 100)
        tail = poller(project, tail="app.log")

        parts = [await tail.polled() for _ in range(3)]

        assert sum(len(part.events) for part in parts) == 100
        assert max(len(part.events) for part in parts) < 50
        assert [part.delay for part in parts] == [0, 0, 1]

    async def test_what_is_no_text_is_marked(self, project: Path) -> None:
        put(project / "app.log", b"a\xffb\0\n")

        assert (await poller(project, tail="app.log")())[0]["text"] == "a\ufffdb\ufffd"
        assert (await poller(project, tail="app.log", encoding="latin-1")())[0]["text"] == "aÿb\ufffd"

    async def test_a_pipe_does_not_keep_us_waiting(self, project: Path) -> None:
        os.mkfifo(project / "app.log")

        with pytest.raises(HowdahError, match="is no file"):
            await poller(project, tail="app.log")()


class TestLines:
    async def test_each_line_is_an_event(self, project: Path) -> None:
        put(project / "in" / "a.txt", "pirmā\r\n\nlast")

        found = await events(stage(File, project, lines="{{ path }}"), {"path": "in/a.txt", "n": 7})

        assert [(event["line"], event["text"]) for event in found] == [(1, "pirmā"), (2, ""), (3, "last")]
        assert set(found[0]) == {"path", "n", "line", "text"}

    @pytest.mark.parametrize("count", [0, 1, 999, 1_000, 1_001, 2_000, 2_500])
    async def test_a_big_file_is_read_in_parts(self, project: Path, count: int) -> None:
        put(project / "big", "".join(f"{n}\n" for n in range(count)))

        found = await events(stage(File, project, lines="big"), {})

        assert [(event["line"], event["text"]) for event in found] == [(n + 1, str(n)) for n in range(count)]

    async def test_a_file_that_changes_meanwhile_is_not_mixed(self, project: Path) -> None:
        put(project / "big", "x\n" * 1_500)
        read = stage(File, project, lines="big")
        first = await read.run({}, Standing())
        assert isinstance(first, More)

        put(project / "big", "y\n" * 1_500, modified=OLD + 1)

        with pytest.raises(Fail, match="changed after 1000 lines"):
            await read.run(first.then, Standing())

    async def test_a_line_without_end_is_refused(self, project: Path) -> None:
        read = stage(File, project, lines="big")
        put(project / "big", "x" * MAX_LINE)
        assert len(await events(read, {})) == 1

        put(project / "big", "x" * (MAX_LINE + 1))
        with pytest.raises(Fail, match="line 1 is longer than 100,000 bytes"):
            await events(read, {})

    @pytest.mark.parametrize("ours", [7, {"offset": "x"}])
    async def test_a_field_that_is_ours_is_refused(self, project: Path, ours: Any) -> None:
        with pytest.raises(Fail, match="_lines, which is ours"):
            await events(stage(File, project, lines="big"), {"_lines": ours})


class TestRead:
    async def test_the_content_joins_the_event(self, project: Path) -> None:
        put(project / "a.txt", "\ufeffSveiki\n")

        assert await events(stage(File, project, read="{{ name }}.txt"), {"name": "a"}) == [
            {"name": "a", "text": "Sveiki\n"}
        ]

    async def test_a_big_one_is_refused(self, project: Path) -> None:
        put(project / "a.txt", "x" * 1_000_001)

        with pytest.raises(Fail, match=r"read: it is bigger than 1,000,000 bytes. Write lines instead"):
            await events(stage(File, project, read="a.txt"), {})

    async def test_one_that_is_missing_is_tried_again(self, project: Path) -> None:
        with pytest.raises(FileNotFoundError):
            await events(stage(File, project, read="a.txt"), {})


@pytest.fixture(
    params=["../secret.txt", "in/../../secret.txt", "link", "in/up/secret.txt", "/etc/passwd", "a\0b", "x" * 5000]
)
def astray(request: pytest.FixtureRequest, project: Path) -> str:
    (project / "link").symlink_to(project.parent / "secret.txt")
    (project / "in" / "up").symlink_to(project.parent)
    return request.param


@pytest.mark.parametrize("what", ["read", "lines"])
async def test_no_value_leads_out_of_the_folder(project: Path, astray: str, what: str) -> None:
    with pytest.raises((Fail, OSError)):
        await events(stage(File, project, **{what: "{{ path }}"}), {"path": astray})


async def test_unless_the_file_says_so(project: Path) -> None:
    read = stage(File, project, read="{{ path }}", outside=True)

    assert (await events(read, {"path": "../secret.txt"}))[0]["text"] == "sesame"


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({}, "watch"),
        ({"watch": "in", "tail": "x"}, "tail"),
        ({"watch": "../"}, "watch"),
        ({"tail": "/var/log/syslog"}, "tail"),
        ({"lines": "{{ path"}, "lines"),
        ({"watch": "in", "pattern": "a/*"}, "pattern"),
        ({"watch": "in", "every": "soon"}, "every"),
        ({"watch": "in", "every": 0}, "every"),
        ({"watch": "in", "settle": -1}, "settle"),
        ({"tail": "x", "encoding": "utf-16"}, "encoding"),
        ({"tail": "x", "encoding": "hex"}, "encoding"),
        ({"tail": "x", "encoding": "klingon"}, "encoding"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_field(project: Path, config: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidField) as refused:
        stage(File, project, **config)

    assert refused.value.field == (field,)


async def test_a_source_is_no_stage_and_a_stage_no_source(project: Path) -> None:
    with pytest.raises(Fail, match="is a source"):
        await events(stage(File, project, watch="in"), {})
    with pytest.raises(HowdahError, match="needs inputs"):
        await stage(File, project, read="x").poll(None)
