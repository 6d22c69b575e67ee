"""The task runner of the examples, as its README says: one command, two runners, a real mail server."""

from __future__ import annotations

import email.policy
import itertools
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy
from ruamel.yaml import YAML

from howdah.pipeline.environment import Environment
from howdah.pipeline.stages.statement import prepared

FOLDER = Path(__file__).parents[2] / "examples" / "task-runner"
FILES = ("tasks.yaml", "stalled.yaml", "report.yaml")


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=FOLDER,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


# ── the demo ──


class Demo:
    """What one run of it said and kept."""

    def __init__(self, folder: Path) -> None:
        done = run("demo.py", TASK_RUNNER_KEEP=str(folder), HOWDAH_DSN="host=/nowhere")  # It has a database of its own.
        assert (done.returncode, done.stderr) == (0, "")
        self.said = done.stdout
        self.tasks: dict[str, dict[str, Any]] = {t["key"]: t for t in json.loads((folder / "tasks.json").read_text())}
        self.log: list[dict[str, Any]] = json.loads((folder / "task_log.json").read_text())
        mail = email.message_from_bytes((folder / "report.eml").read_bytes(), policy=email.policy.default)
        assert isinstance(mail, EmailMessage)
        self.mail = mail

    def story(self, key: str) -> list[tuple[int, str]]:
        """What the log says of a task: attempts and messages."""
        return [(e["attempt"], e["message"]) for e in self.log if e["task_id"] == self.tasks[key]["id"]]

    def part(self, subtype: str) -> str:
        found = self.mail.get_body((subtype,))
        assert found is not None
        return found.get_content()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    return Demo(tmp_path_factory.mktemp("kept"))


def test_every_task_ends_as_it_must(demo: Demo) -> None:
    expected = {f"foo-{n}": ("finished", 2 if n % 10 == 0 or n in (13, 42) else 1) for n in range(1, 61)}
    expected["foo-7"] = ("failed", 3)
    assert {key: (task["status"], task["attempt"]) for key, task in demo.tasks.items()} == expected
    assert all(t["result"] == {"square": t["payload"]["n"] ** 2} for t in demo.tasks.values() if t["result"])
    assert demo.said.startswith("2 runners started; 60 tasks, one of which is held by a worker that is gone\n")
    assert "\n    1 failed\n   59 finished\n" in demo.said


def test_no_attempt_is_made_by_two_runners(demo: Demo) -> None:
    claims = [(e["task_id"], e["attempt"]) for e in demo.log if e["message"] == "claimed"]
    # Each task once; six that fail once, one that raises, the stalled one; and two more of the one that always fails.
    assert len(claims) == len(set(claims)) == 60 + 6 + 1 + 1 + 2
    ends = Counter((e["task_id"], e["attempt"]) for e in demo.log if e["message"].startswith(("finished", "failed")))
    assert max(ends.values()) == 1
    for key in demo.tasks:  # whoever claims a task finds it ended or given back
        messages = [message for _, message in demo.story(key)]
        assert all(
            first.startswith("queued again") for first, then in itertools.pairwise(messages) if then == "claimed"
        )
    assert {e["worker"].partition(":")[2] for e in demo.log} == {"runner-0", "runner-1", "runner-2"}
    assert "\n    0 rows held by two at once\n" in demo.said


def test_what_a_dead_worker_left_is_finished_by_another(demo: Demo) -> None:
    assert demo.story("foo-42") == [
        (1, "claimed"), (1, "queued again: stalled on gone:runner-0"), (2, "claimed"), (2, "finished"),
    ]  # fmt: skip


def test_what_fails_is_tried_again_until_it_has_no_attempt_left(demo: Demo) -> None:
    said = "<foo-7> fails at attempt {}, as its payload says"
    assert demo.story("foo-7") == [
        (1, "claimed"), (1, "failed: " + said.format(1)), (1, "queued again: " + said.format(1)),
        (2, "claimed"), (2, "failed: " + said.format(2)), (2, "queued again: " + said.format(2)),
        (3, "claimed"), (3, "failed: " + said.format(3)),
    ]  # fmt: skip


def test_what_raises_is_parked_in_howdah_and_its_row_is_given_to_another_attempt(demo: Demo) -> None:
    assert [(attempt, message.partition(":")[0]) for attempt, message in demo.story("foo-13")] == [
        (1, "claimed"), (1, "queued again"), (2, "claimed"), (2, "finished"),
    ]  # fmt: skip
    parked = re.findall(r"^parked in howdah: (.*)$", demo.said, re.MULTILINE)
    assert parked == ["foo-tasks at foo-task: RuntimeError: foo-13 raises at attempt 1, as its payload says"]


def test_the_report_comes_by_mail_in_text_and_html(demo: Demo) -> None:
    counts = "0 queued, 0 running, 59 finished, 1 failed"
    assert demo.mail["Subject"] == f"Tasks: {counts}"
    assert demo.mail["To"] == "boss@example.org"
    assert demo.part("plain").splitlines() == [
        f"60 tasks: {counts}", "", "foo-7, attempt 3: <foo-7> fails at attempt 3, as its payload says",
    ]  # fmt: skip
    page = demo.part("html")
    assert f"<h1>60 tasks</h1>\n<p>{counts}</p>" in page
    assert "<td>foo-7</td><td>3</td><td>&lt;foo-7&gt; fails at attempt 3" in page


def test_the_runners_end_well_when_told_to(demo: Demo) -> None:
    assert demo.said.endswith("\nstopped by SIGTERM; exit codes 0, 0\n")


# ── the files ──


def test_the_files_are_good() -> None:
    given = {"DATABASE_URL": "postgresql://nowhere/x", "SMTP_SERVER": "localhost:25", "REPORT_TO": "you@example.org"}
    done = run("-m", "howdah", "pipeline", "check", *FILES, **given)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "tasks.yaml: ok, 5 stages",
        "stalled.yaml: ok, 3 stages",
        "report.yaml: ok, 5 stages",
    ]


def test_a_file_with_a_missing_variable_starts_nothing(tmp_path: Path) -> None:
    lacking = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    done = subprocess.run(
        [sys.executable, "-m", "howdah", "pipeline", "run", "tasks.yaml"],
        cwd=FOLDER,
        env=lacking | {"HOWDAH_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert "tasks.yaml:" in done.stderr
    assert "DATABASE_URL" in done.stderr
    assert not (tmp_path / "home").exists()


# ── the statements, when they meet ──


class Table:
    """The tables of the example, and the statements of its stages on connections of one's own."""

    def __init__(self, dsn: str) -> None:
        self.engine = sqlalchemy.create_engine(
            "postgresql+psycopg://", creator=lambda: psycopg.connect(dsn, options="-c lock_timeout=5s")
        )
        with psycopg.connect(dsn) as conn:
            conn.execute((FOLDER / "schema.sql").read_text().encode())

    def stage(self, conn: sqlalchemy.Connection, file: str, stage: str, **values: Any) -> list[dict[str, Any]]:
        query = YAML(typ="safe").load(FOLDER / file)["pipeline"][stage]["config"]["query"]
        found = conn.execute(
            sqlalchemy.text(prepared(Environment({}).fill(query))), {"hostname": "here", "result": None} | values
        )
        return [dict(row) for row in found.mappings()]

    def do(self, statement: str) -> list[tuple[Any, ...]]:
        with self.engine.begin() as conn:
            result = conn.exec_driver_sql(statement)
            return [tuple(row) for row in result] if result.returns_rows else []


@pytest.fixture
def table(empty_dsn: str) -> Iterator[Table]:
    made = Table(empty_dsn)
    yield made
    made.engine.dispose()


def test_two_claims_at_the_same_moment_take_different_rows(table: Table) -> None:
    table.do("INSERT INTO app.tasks (key, priority) SELECT 'foo-' || n, n / 4 FROM generate_series(1, 10) n")
    with table.engine.begin() as first, table.engine.begin() as second:
        taken = [[row["id"] for row in table.stage(c, "tasks.yaml", "claim-foo-task")] for c in (first, second)]
    assert [len(ids) for ids in taken] == [8, 2]
    assert len({*taken[0], *taken[1]}) == 10


def test_who_lost_a_row_cannot_end_it(table: Table) -> None:
    table.do("INSERT INTO app.tasks (key) VALUES ('foo-1')")
    with table.engine.begin() as conn:
        [slow] = table.stage(conn, "tasks.yaml", "claim-foo-task")
    table.do("UPDATE app.tasks SET locked = now() - interval '1 hour'")
    with table.engine.begin() as conn:
        assert [row["verdict"] for row in table.stage(conn, "stalled.yaml", "give-back")] == ["queued again"]
    table.do("UPDATE app.tasks SET start = now()")
    with table.engine.begin() as conn:
        [fast] = table.stage(conn, "tasks.yaml", "claim-foo-task")
        assert (slow["attempt"], fast["attempt"]) == (1, 2)
        for task, ended in ((slow, 0), (fast, 1), (fast, 0)):
            how = {"id": task["id"], "attempt": task["attempt"], "error": None}
            assert len(table.stage(conn, "tasks.yaml", "finish-task", **how)) == ended
    assert table.do("SELECT status::text, attempt, finished IS NOT NULL FROM app.tasks") == [("finished", 2, True)]
    assert [message for (message,) in table.do("SELECT message FROM app.task_log ORDER BY id")] == [
        "claimed", "queued again: stalled on here:", "claimed", "finished",
    ]  # fmt: skip


def test_what_stalls_at_its_last_attempt_has_failed_and_stays_so(table: Table) -> None:
    table.do(
        "INSERT INTO app.tasks (key, status, attempt, locked, worker)"
        " VALUES ('foo-1', 'running', 3, now() - interval '1 hour', 'gone:x'), ('foo-2', 'running', 3, now(), 'busy:x')"
    )
    for verdicts in (["given up"], []):
        with table.engine.begin() as conn:
            assert [row["verdict"] for row in table.stage(conn, "stalled.yaml", "give-back")] == verdicts
    assert table.do("SELECT key, status::text, error FROM app.tasks ORDER BY key") == [
        ("foo-1", "failed", "stalled on gone:x"),
        ("foo-2", "running", None),
    ]


@pytest.mark.parametrize(
    "row",
    [
        {"status": "running"},
        {"status": "running", "attempt": 1, "locked": "now()"},
        {"status": "running", "attempt": 1, "worker": "x"},
        {"status": "queued", "locked": "now()"},
        {"status": "queued", "worker": "x"},
        {"status": "queued", "attempt": 3},
        {"status": "finished", "attempt": 1},
        {"status": "queued", "finished": "now()"},
        {"status": "finished", "attempt": 1, "finished": "now()", "error": "but"},
        {"status": "failed", "attempt": 1},
        {"status": "failed", "attempt": 1, "error": "it", "result": "{}"},
        {"status": "failed", "attempt": 4, "error": "it"},
        {"status": "queued", "attempt": -1},
        {"status": "queued", "payload": "[]"},
        {"status": "lost"},
    ],
    ids=str,
)
def test_the_table_refuses_what_cannot_be(table: Table, row: dict[str, Any]) -> None:
    columns, values = ", ".join(row), ", ".join(f"'{value}'" for value in row.values())
    with pytest.raises(sqlalchemy.exc.DBAPIError) as refused:
        table.do(f"INSERT INTO app.tasks (key, {columns}) VALUES ('foo-1', {values})")
    assert refused.value.orig.sqlstate in ("23514", "22P02")  # a constraint, or no such status
