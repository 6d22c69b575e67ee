"""`howdah pipeline …`, and pipelines beside code."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cli.shells import Shell
from howdah import Client
from waiting import until_sync

HOURLY = 'tick: {module: cron, config: {cron: "0 * * * *"}}\n'
GOOD = f"pipeline:\n  {HOURLY}  log: {{inputs: tick}}\n"
BAD = f"pipeline:\n  {HOURLY}  log: {{inputs: tok}}\n"


@pytest.fixture
def write(shell: Shell) -> Callable[..., None]:
    """Write files into the folder of the shell, by their stems."""

    def write(**files: str) -> None:
        for stem, text in files.items():
            (shell.folder / f"{stem}.yaml").write_text(text)

    return write


def ended(conn: psycopg.Connection, kind: str) -> list[dict[str, Any]]:
    rows = conn.execute("select payload from howdah.archive where kind = %s order by id", [kind]).fetchall()
    return [payload for (payload,) in rows]


# ── before anything starts ──


def started(shell: Shell) -> bool:
    """Whether a server of howdah's own was made, which is what runs without a dsn."""
    return any(path.name.startswith(".howdah") for path in shell.folder.iterdir())


def test_a_bad_file_starts_nothing(shell: Shell, write: Callable[..., None]) -> None:
    write(bad=BAD)
    run = shell("pipeline", "run", "bad.yaml")
    assert (run.code, run.out) == (2, "")
    assert "bad.yaml:3:9: stage 'log', inputs: there is no stage 'tok'" in run.err
    assert "tick" in run.err
    assert "Traceback" not in run.err
    assert len(run.err.splitlines()) <= 2
    assert not started(shell)


def test_one_bad_file_of_several_starts_none(shell: Shell, write: Callable[..., None]) -> None:
    write(good=GOOD, bad=BAD, worse=BAD.replace("tok", "tack"))
    for command in (["pipeline", "run"], ["worker", "tasks:app", "--pipeline"]):
        files = ["good.yaml", "bad.yaml", "worse.yaml"]
        run = shell(*command, *(files if command[0] == "pipeline" else " --pipeline ".join(files).split()))
        assert run.code == 2
        assert "'tok'" in run.err
        assert "'tack'" in run.err
        assert not started(shell)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "no file was named"),
        (["none.yaml"], "none.yaml: the file cannot be read: no such file"),
        (["good.yaml", "good.yaml"], "good.yaml: there is a handler called 'good' already"),
        (["good.yaml", "--app", "tasks:app", "same.yaml"], "same.yaml: there is a handler called 'welcome' already"),
        (["good.yaml", "--app", "nowhere:app"], "nowhere"),
        (["good.yaml", "--processes", "0"], "processes must be a whole number from 1, not 0"),
        (["good.yaml", "--lease", "soon"], "lease"),
    ],
)
def test_what_cannot_be_meant_starts_nothing(
    shell: Shell, write: Callable[..., None], arguments: list[str], said: str
) -> None:
    write(good=GOOD, same="name: welcome\n" + GOOD)
    run = shell("pipeline", "run", *arguments)
    assert run.code == 2
    assert said in run.err
    assert "Traceback" not in run.err
    assert not started(shell)


# ── until idle ──


def test_a_source_that_waits_for_its_time_keeps_nobody_busy(
    howdah: Shell, write: Callable[..., None], conn: psycopg.Connection
) -> None:
    write(good=GOOD)
    run = howdah("pipeline", "run", "good.yaml", "--until-idle")
    assert run.code == 0, run.err
    assert "kinds        good" in run.err
    assert conn.execute("select name, kind, step from howdah.schedule").fetchall() == [("good.tick", "good", "tick")]
    conn.execute("select howdah.trigger('good.tick')")
    run = howdah("pipeline", "run", "good.yaml", "--until-idle")
    assert (run.code, ended(conn, "good")) == (0, [{}])
    assert run.err.splitlines()[-1].endswith("INFO    {}")  # from the stage log


def test_until_idle_what_a_polled_source_finds_now_reaches_the_end(
    howdah: Shell, write: Callable[..., None], conn: psycopg.Connection
) -> None:
    folder = howdah.folder / "in"
    folder.mkdir()
    for name in ("a.txt", "b.txt"):
        (folder / name).write_text("one\ntwo\n")
    write(
        files="""
pipeline:
  arrive: {module: file, config: {watch: in, settle: 0, every: 1h}}
  lines: {module: file, inputs: arrive, config: {lines: "{{ path }}"}}
  log: {inputs: lines}
"""
    )
    for _ in range(2):  # and the second time there is nothing new
        run = howdah("pipeline", "run", "files.yaml", "--until-idle")
        assert run.code == 0, run.err
        assert sorted((event["name"], event["line"], event["text"]) for event in ended(conn, "files")) == [
            (name, line, text) for name in ("a.txt", "b.txt") for line, text in ((1, "one"), (2, "two"))
        ]
    (source,) = conn.execute("select kind, status from howdah.task").fetchall()
    assert source == ("files.arrive", "queued")


def test_until_idle_what_is_collected_waits_for_the_next_run(
    howdah: Shell, write: Callable[..., None], conn: psycopg.Connection
) -> None:
    text = f"pipeline:\n  {HOURLY}  collect: {{inputs: tick, config: {{window: 1h}}}}\n  log: {{inputs: collect}}\n"
    write(many=text)
    assert howdah("pipeline", "run", "many.yaml", "--until-idle").code == 0
    for _ in range(2):
        conn.execute("select howdah.trigger('many.tick')")
    assert howdah("pipeline", "run", "many.yaml", "--until-idle").code == 0
    waiting = conn.execute("select status, jsonb_array_length(payload -> 'events') from howdah.task").fetchall()
    assert waiting == [("suspended", 2)]
    write(many=text.replace("1h", "10ms"))
    conn.execute("select howdah.trigger('many.tick')")
    with howdah.running("pipeline", "run", "many.yaml"):
        until_sync(lambda: any(event.get("count") == 3 for event in ended(conn, "many")), "the window to close")


# ── to work ──


def test_processes_share_the_work_and_stop_together(
    howdah: Shell,
    write: Callable[..., None],
    conn: psycopg.Connection,
    workers_alive: Callable[[int], list[dict[str, Any]]],
) -> None:
    write(good=GOOD)
    with howdah.running("pipeline", "run", "good.yaml", "--processes", "2", "--lease", "2s") as process:
        alive = workers_alive(2)
        assert process.pid not in {row["pid"] for row in alive}
        conn.execute(
            "select howdah.enqueue_many('good', jsonb_agg(jsonb_build_object('n', n)), step => 'log') from generate_series(1, 500) n"
        )
        until_sync(lambda: len(ended(conn, "good")) == 500, "all events")
        # One that dies is made again.
        os.kill(alive[0]["pid"], signal.SIGKILL)
        until_sync(lambda: alive[0]["pid"] not in {row["pid"] for row in workers_alive(2)}, "another worker")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, howdah.said
    assert sorted(event["n"] for event in ended(conn, "good")) == list(range(1, 501))


def test_pipelines_beside_code(
    howdah: Shell, write: Callable[..., None], conn: psycopg.Connection, client: Client
) -> None:
    write(
        hire=f"pipeline:\n  {HOURLY}  greet: {{module: enqueue, inputs: tick, config: {{kind: welcome, payload: {{user_id: 7}}}}}}\n"
        "  log: {inputs: greet}\n",
        good=GOOD,
    )
    for n, command in enumerate(
        (
            ["worker", "tasks:app", "--pipeline", "hire.yaml", "--pipeline", "good.yaml"],
            ["pipeline", "run", "hire.yaml", "good.yaml", "--app", "tasks:app"],
        ),
        1,
    ):
        with howdah.running(*command) as process:
            until_sync(
                lambda: conn.execute("select from howdah.schedule where name = 'hire.tick'").fetchone() is not None
            )
            client.trigger_sync("hire.tick")
            client.trigger_sync("good.tick")
            until_sync(lambda n=n: len(ended(conn, "welcome")) == len(ended(conn, "good")) == n, "both")
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0, howdah.said
        assert "hire.yaml" in howdah.said
    assert ended(conn, "welcome") == [{"user_id": 7}] * 2
    assert [event.keys() for event in ended(conn, "hire")] == [{"task_id"}] * 2


def test_check_and_schema_are_commands(shell: Shell, write: Callable[..., None]) -> None:
    write(good=GOOD, bad=BAD)
    check = shell("pipeline", "check", "good.yaml", "bad.yaml")
    assert (check.code, check.out) == (1, "good.yaml: ok, 2 stages\n")
    assert check.err.startswith("bad.yaml:3:9: stage 'log', inputs: there is no stage 'tok'")
    schema = shell("pipeline", "schema", "--help")
    assert schema.code == 0
    assert "JSON Schema" in schema.out
    assert "run" in shell("pipeline", "--help").out
    assert not started(shell)


def test_paths_begin_at_the_folder_of_the_file(howdah: Shell, conn: psycopg.Connection) -> None:
    folder = howdah.folder / "deep" / "down"
    folder.mkdir(parents=True)
    (folder / "deep_work.py").write_text("def work(event):\n    return {'done': __file__}\n")
    (folder / "work.yaml").write_text(
        f"pipeline:\n  {HOURLY}  work: {{module: python, inputs: tick, config: {{function: 'deep_work:work'}}}}\n  log: {{inputs: work}}\n"
    )
    assert howdah("pipeline", "run", "deep/down/work.yaml", "--until-idle").code == 0
    conn.execute("select howdah.trigger('work.tick')")
    assert howdah("pipeline", "run", Path("deep/down/work.yaml"), "--until-idle").code == 0
    assert ended(conn, "work") == [{"done": str(folder / "deep_work.py")}]
