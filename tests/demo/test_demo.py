"""`howdah demo` on a folder of our own: its report says what os.walk and hashlib say, and a kill changes nothing."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from howdah import embedded
from howdah.demo import main
from howdah.demo.files import find, standard_library
from howdah.errors import InvalidOption
from waiting import until_sync

GOOD = 40
RUN = "import sys; from pathlib import Path; from howdah.demo import main; sys.exit(main.run(Path(sys.argv[1])))"
# The proof is asked after somebody has tampered with the results.
TAMPER = """
import sys
from pathlib import Path
from howdah.demo import main

watch = main._watch

async def watch_and_tamper(conn, *rest):
    await watch(conn, *rest)
    await conn.execute("delete from howdah_demo.result where path = 'good0.py'")
    await conn.execute("insert into howdah_demo.result select * from howdah_demo.result where path = 'good1.py'")

main._watch = watch_and_tamper
sys.exit(main.run(Path(sys.argv[1])))
"""


@dataclass
class Ran:
    """A demo that has ended, and its database."""

    code: int
    out: str
    err: str
    report: str
    dsn: str

    def rows(self, query: str, *args: Any) -> list[dict[str, Any]]:
        with psycopg.connect(self.dsn) as conn, conn.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(query.encode(), args).fetchall()

    def figure(self, name: str) -> str:
        found = re.search(rf"^\| \**{re.escape(name)}\** \| \**(.*?)\** \|$", self.report, re.MULTILINE)
        assert found, f"no {name!r} in {self.report}"
        return found[1]


def started_in(home: Path) -> embedded.EmbeddedServer:
    return embedded.start(home)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[embedded.EmbeddedServer]:
    """Of the one demo that most tests look at."""
    server = started_in(tmp_path_factory.mktemp("home"))
    yield server
    server.release()


@pytest.fixture(scope="module")
def used_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[embedded.EmbeddedServer]:
    """Of demos one after the other: each must cope with what those before it left."""
    server = started_in(tmp_path_factory.mktemp("used"))
    yield server
    server.release()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good files, two of them alike, and one of each kind that fails."""
    folder = tmp_path_factory.mktemp("files")
    for number in range(GOOD - 2):
        (folder / f"good{number}.py").write_text(f"def function{number}():\n    return {number}\n")
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "copy.py").write_text((folder / "good0.py").read_text())
    (folder / "we[ird]|`name`\n.txt").write_text("some words of prose\n")
    (folder / "broken.py").write_text("def (:\n")
    (folder / "binary.dat").write_bytes(bytes(range(256)))
    (folder / "nowhere.txt").symlink_to(folder / "missing")
    os.mkfifo(folder / "pipe")
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "secret.py").write_text("secret = 1\n")
    return folder


def environment(home: embedded.EmbeddedServer) -> dict[str, str]:
    without = {name: value for name, value in os.environ.items() if name not in ("HOWDAH_DSN", "FORCE_COLOR")}
    return without | {"HOWDAH_HOME": str(home.home)}


def ran(code: str, folder: Path, home: embedded.EmbeddedServer, cwd: Path) -> Ran:
    done = subprocess.run(
        [sys.executable, "-c", code, folder],
        cwd=cwd, env=environment(home), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    report = cwd / "howdah-report.md"
    assert report.exists(), done.stderr
    return Ran(done.returncode, done.stdout, done.stderr, report.read_text(), home.dsn)


@pytest.fixture(scope="module")
def demo(home: embedded.EmbeddedServer, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return ran(RUN, folder, home, tmp_path_factory.mktemp("cwd"))


def test_the_proof_holds(demo: Ran) -> None:
    assert demo.code == 0, demo.out + demo.err
    assert f"{GOOD + 3} files in · {GOOD} results · 3 parked · 0 lost · 0 finished twice" in demo.out
    assert "It holds." in demo.report
    assert demo.figure("files in") == str(GOOD + 3)
    assert demo.figure("results") == str(GOOD)
    assert demo.figure("parked") == "3"
    assert demo.figure("lost") == "0"
    assert demo.figure("finished twice") == "0"


def test_the_actor_was_told_of_every_result_once_and_the_machine_reported(demo: Ran) -> None:
    assert demo.figure("counted by the actor, from a message per file") == str(GOOD)
    (tally,) = demo.rows("select * from howdah.archive where kind = 'demo.tally'")
    facts = demo.rows("select (result ->> 'lines')::int as lines from howdah_demo.file where status = 'succeeded'")
    assert tally["result"]["files"] == GOOD
    assert tally["result"]["lines"] == sum(row["lines"] for row in facts)
    (reporter,) = demo.rows("select * from howdah.archive where kind = 'demo.report'")
    steps = demo.rows("select step from howdah.event where task_id = %s and type = 'step' order by id", reporter["id"])
    assert reporter["status"] == "succeeded"
    assert [row["step"] for row in steps][-1] == "Write"
    assert {row["step"] for row in steps} <= {"Wait", "Write"}
    assert demo.rows("select * from howdah.message") == []
    assert f"howdah show {reporter['id']}" in demo.out


def test_its_results_are_what_hashlib_says(demo: Ran, folder: Path) -> None:
    expected = {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for directory, _, names in os.walk(folder)
        for path in (Path(directory, name) for name in names)
        if path.is_file() and ".hidden" not in path.parts and path.name not in ("broken.py", "binary.dat")
    }
    results = demo.rows("select result from howdah_demo.file where status = 'succeeded'")
    assert {row["result"]["path"]: row["result"]["sha256"] for row in results} == expected


def test_a_killed_worker_loses_nothing(demo: Ran) -> None:
    killed = re.search(r"worker \d killed \(SIGKILL\) while it held (\d+) tasks?", demo.err)
    assert killed, demo.err
    assert re.search(r"tasks? taken back after \d+\.\d s", demo.err)
    back = demo.rows("select status from howdah_demo.taken_back")
    assert len(back) == int(killed[1]) > 0
    assert {row["status"] for row in back} <= {"succeeded", "failed"}
    assert demo.figure("tasks of the killed worker").startswith(f"{len(back)}; taken back ")


def test_what_may_mend_itself_is_tried_again_and_what_cannot_is_parked_at_once(demo: Ran) -> None:
    parked = {
        row["path"]: row
        for row in demo.rows("select path, error, attempt from howdah_demo.file where status = 'failed'")
    }
    assert set(parked) == {"broken.py", "binary.dat", "nowhere.txt"}
    assert parked["broken.py"]["error"].startswith("broken syntax:")
    assert parked["binary.dat"]["error"].startswith("UnicodeDecodeError:")
    assert parked["nowhere.txt"]["error"].startswith("FileNotFoundError:")
    retries = demo.rows("select path, count(*) from howdah_demo.happened where type = 'retry' group by path")
    assert {row["path"] for row in retries} <= {"binary.dat", "nowhere.txt"}
    assert demo.figure("retries") == str(sum(row["count"] for row in retries))
    for path in ("binary.dat", "nowhere.txt"):
        assert parked[path]["attempt"] == 3


def test_the_report_names_the_copies(demo: Ran) -> None:
    assert "| `deep/er/copy.py`, `good0.py` | 2 |" in demo.report


def test_without_a_terminal_there_are_only_lines_of_text(demo: Ran) -> None:
    for text in (demo.out, demo.err):
        assert all(character.isprintable() or character == "\n" for character in text)


def test_it_names_a_parked_task_to_ask_about(demo: Ran) -> None:
    asked = re.search(r"howdah why (\d+)", demo.out)
    assert asked
    assert demo.rows("select status from howdah.tasks where id = %s", int(asked[1])) == [{"status": "failed"}]
    assert demo.rows("select code from howdah.why(%s)", int(asked[1])) == [{"code": "failed"}]


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_its_workers_end_with_it(
    how: signal.Signals, code: int, used_home: embedded.EmbeddedServer, folder: Path, tmp_path: Path
) -> None:
    driver = subprocess.Popen(
        [sys.executable, "-c", RUN, folder],
        cwd=tmp_path, env=environment(used_home), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    until_sync(lambda: workers_of(driver.pid) and examines(used_home), "the work")
    pids = workers_of(driver.pid)
    driver.send_signal(how)
    assert driver.wait(60) == code
    until_sync(lambda: not any(_lives(pid) for pid in pids), "the workers to end")


def test_a_proof_that_does_not_hold_is_exit_code_1(
    used_home: embedded.EmbeddedServer, folder: Path, tmp_path: Path
) -> None:
    tampered = ran(TAMPER, folder, used_home, tmp_path)
    assert tampered.code == 1, tampered.out + tampered.err
    assert f"{GOOD + 3} files in · {GOOD} results · 3 parked · 1 lost · 1 finished twice" in tampered.out
    assert "**It does not hold.**" in tampered.report


def examines(home: embedded.EmbeddedServer) -> bool:
    """Whether the demo that is running examines files."""
    with psycopg.connect(home.dsn) as conn:
        query = "select from howdah.task where kind = 'demo.file' and status = 'running' limit 1"
        return conn.execute(query).fetchone() is not None


def workers_of(driver: int) -> list[int]:
    children = Path(f"/proc/{driver}/task/{driver}/children")
    pids = [int(pid) for pid in children.read_text().split()] if children.exists() else []
    return [pid for pid in pids if b"howdah.demo.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_at_most_so_many_files_are_taken(folder: Path) -> None:
    found = find(folder, 5)
    assert len(found.paths) == 5
    assert "all after the first 5" in found.left_out
    assert find(folder, 1000).left_out == {"not a regular file": 1}


def test_a_standard_library_without_test_data_still_has_files_that_fail(tmp_path: Path) -> None:
    (tmp_path / "lib-dynload").mkdir()
    (tmp_path / "lib-dynload" / "_fast.so").write_bytes(b"\x7fELF\xff")
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "site-packages" / "other.py").write_text("")
    (tmp_path / "os.py").write_text("")
    assert standard_library(tmp_path, 100).paths == ["os.py", "lib-dynload/_fast.so"]


def test_a_folder_must_be_there_and_have_files(tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match="not a folder"):
        main.run(tmp_path / "missing")
    with pytest.raises(InvalidOption, match="no files"):
        main.run(tmp_path)


def test_its_source_is_the_code_that_runs() -> None:
    assert '@app.task(name="demo.file"' in main.source()
    assert len(main.source().splitlines()) <= 130  # three ways to write a task
