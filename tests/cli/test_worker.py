"""`howdah worker`: which app, how it starts, how it ends."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.shells import Shell
from howdah import Client
from waiting import until_sync

Alive = Callable[[int], list[dict[str, Any]]]
ONE_TASK = "from howdah import App\napp = App()\n@app.task()\nasync def {name}() -> str: return {name!r}\n"

# ── which app ──


@pytest.mark.parametrize(
    ("source", "argument", "said", "code"),
    [
        ("", "nope:app", "there is no module 'nope'", 2),
        ("", "no/such.py:app", "there is no file no/such.py", 2),
        ("", "", "which app? no app.py, main.py or tasks.py here that says howdah", 2),
        ("import howdah\napp = 3", "mine:app", "mine:app is not an App but a builtins.int", 2),
        ("from howdah import App\napi = App()", "mine:app", "mine has no 'app'; it has mine:api", 2),
        ("from howdah import App\na = App(); b = App()", "mine", "mine has mine:a, mine:b", 2),
        ("from howdah import App\napp = App()", "mine:app", "mine:app has no tasks", 2),
        ("from howdah import App\napp = App(", "mine:app", "mine.py:2: SyntaxError", 1),
        ("x = 1\nimport nosuchthing", "mine:app", "mine.py:2: ModuleNotFoundError: No module named 'nosuchthing'", 1),
        ("import json\n\njson.loads('{')", "mine:app", "mine.py:3: JSONDecodeError", 1),
        ("import sys\nsys.exit(0)", "mine:app", "mine.py:2: the module ends the program", 1),
        ("from howdah import App\nApp('nonsense')", "mine:app", "cannot be read: missing", 1),
    ],
)  # fmt: skip
def test_an_app_that_cannot_be_had_is_said_in_a_line(
    source: str, argument: str, said: str, code: int, shell: Shell
) -> None:
    (shell.folder / "tasks.py").unlink()
    if source:
        (shell.folder / "mine.py").write_text(source)
    done = shell("worker", *([argument] if argument else []))
    assert done.code == code
    assert said in done.err.splitlines()[0]
    assert done.err.startswith("error: ")
    assert "Traceback" not in done.err
    if code == 1:
        assert "Traceback" in shell("worker", argument, "--debug").err


@pytest.mark.parametrize("how", ["argument", "path", "variable", "pyproject", "howdah.toml", "the only one here"])
def test_the_app_is_found(how: str, howdah: Shell) -> None:
    (howdah.folder / "tasks.py").unlink()
    package = howdah.folder / "shop"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "names.py").write_text("NAME = 'hello'")
    source = ONE_TASK.format(name="hello") + "from .names import NAME\n"
    (package / "jobs.py").write_text(source)
    arguments: list[str] = []
    match how:
        case "argument":
            arguments = ["shop.jobs:app"]
        case "path":
            arguments = ["shop/jobs.py:app"]
        case "variable":
            howdah.variables["HOWDAH_APP"] = "shop.jobs:app"
        case "pyproject":
            (howdah.folder / "pyproject.toml").write_text('[tool.howdah]\napp = "shop.jobs:app"')
        case "howdah.toml":
            (howdah.folder / "howdah.toml").write_text('app = "shop.jobs"')
        case _:
            (howdah.folder / "main.py").write_text("from shop.jobs import app  # howdah's\n")
            (howdah.folder / "app.py").write_text("raise SystemExit('of another framework')")
    done = howdah("worker", "--until-idle", *arguments)
    assert done.code == 0, done.err
    assert "  kinds        hello\n" in done.err


def test_several_apps_are_served_together(howdah: Shell, client: Client) -> None:
    (howdah.folder / "other.py").write_text(ONE_TASK.format(name="hello"))
    done = howdah("worker", "tasks:app", "other:app", "--until-idle")
    assert done.code == 0, done.err
    assert "  kinds        broken, hello, patient, welcome\n" in done.err
    (howdah.folder / "twice.py").write_text(ONE_TASK.format(name="hello"))
    refused = howdah("worker", "other:app", "twice:app")
    assert refused.code == 2
    assert "other:app and twice:app both have a task 'hello'" in refused.err
    for name in ("hello", "welcome"):
        payload = '{"user_id": 1}' if name == "welcome" else "{}"
        assert howdah("enqueue", name, payload, "--app", "other:app").code == 0
    howdah("worker", "other:app", "tasks:app", "--until-idle")
    assert {task.status for task in client.tasks_sync()} == {"succeeded"}


def test_two_apps_on_different_databases_need_one_that_is_named(howdah: Shell) -> None:
    elsewhere = ONE_TASK.format(name="hello").replace("App()", "App('host=elsewhere')")
    (howdah.folder / "other.py").write_text(elsewhere)
    refused = howdah("worker", "tasks:app", "other:app")
    assert refused.code == 2
    assert "tasks:app and other:app use different databases" in refused.err
    dsn = howdah.variables["HOWDAH_DSN"]
    assert howdah("worker", "tasks:app", "other:app", "--until-idle", "--dsn", dsn).code == 0


# ── how it starts and ends ──


def test_it_says_what_it_serves_in_six_lines_and_logs_after_them(howdah: Shell) -> None:
    howdah("enqueue", "broken")
    done = howdah("worker", "--until-idle", "-q", "default*2", "-q", "mail=3", "-c", 5)
    lines = done.err.splitlines()
    assert [line.split()[0] for line in lines[:6]] == ["howdah", "database", "kinds", "queues", "concurrency", "stop"]
    assert lines[3].endswith("default*2, mail=3")
    assert "ERROR" in done.err
    assert "\x1b" not in done.err
    assert done.out == ""


def test_logs_as_json_lines(howdah: Shell) -> None:
    task = howdah("enqueue", "broken").out.strip()
    done = howdah("worker", "--until-idle", "--log", "json", "-v")
    logged = [json.loads(line) for line in done.err.splitlines()[6:]]
    assert any(line["level"] == "error" and task in line["message"] for line in logged)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_lets_it_finish_what_runs(
    number: signal.Signals, howdah: Shell, client: Client, workers_alive: Alive
) -> None:
    task = int(howdah("enqueue", "patient").out)
    with howdah.running("worker") as process:
        until_sync(lambda: client.show_sync(task).progress, "the task to run")
        process.send_signal(number)
        if number != signal.SIGHUP:
            until_sync(lambda: "finishing what runs" in howdah.said, "the signal to be heard")
        (howdah.folder / "said").write_text("go on")
        assert process.wait(30) == 0
    assert client.show_sync(task).status == "succeeded"


def test_a_second_signal_gives_the_task_back_unspent(howdah: Shell, client: Client) -> None:
    task = int(howdah("enqueue", "patient").out)
    with howdah.running("worker") as process:
        until_sync(lambda: client.show_sync(task).progress, "the task to run")
        process.send_signal(signal.SIGINT)
        until_sync(lambda: "finishing what runs" in howdah.said, "the first signal to be heard")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    info = client.show_sync(task)
    assert (info.status, info.attempt) == ("queued", 0)


def test_stop_ends_one_worker_or_all(howdah: Shell, client: Client, workers_alive: Alive) -> None:
    with howdah.running("worker", "tasks:app") as first, howdah.running("worker", "tasks:app") as second:
        found = workers_alive(2)
        rows = howdah("workers").lines
        assert sorted(row[0] for row in rows) == sorted(str(row["id"]) for row in found)
        victim = next(row for row in found if row["pid"] == first.pid)
        unknown = howdah("stop", "zzz")
        assert unknown.code == 3
        assert "there is no living worker zzz" in unknown.err
        done = howdah("stop", str(victim["id"])[:13])
        assert done.code == 0
        assert f"worker {victim['id']} on" in done.err
        assert first.wait(30) == 0
        assert second.poll() is None
        assert "asked 1 worker to stop" in howdah("stop").err
        assert second.wait(30) == 0
    assert "no worker is alive" in howdah("stop").err
    assert {row[1] for row in howdah("workers").lines} == {"dead"}


# ── several processes ──


def test_a_worker_that_was_killed_is_started_again(howdah: Shell, workers_alive: Alive) -> None:
    with howdah.running("worker", "--processes", 2, "--lease", "2s") as process:
        before = {row["pid"] for row in workers_alive(2)}
        victim = min(before)
        os.kill(victim, signal.SIGKILL)
        until_sync(lambda: "was killed by SIGKILL; starting it again" in howdah.said, "the supervisor to say so")
        now = until_sync(
            lambda: (pids := {row["pid"] for row in workers_alive(2)}) != before and victim not in pids and pids,
            "a new worker",
        )
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        for pid in now:
            assert not Path(f"/proc/{pid}").exists()


def test_workers_of_a_supervisor_that_was_killed_finish_and_leave(
    howdah: Shell, client: Client, workers_alive: Alive
) -> None:
    task = int(howdah("enqueue", "patient").out)
    with howdah.running("worker", "--processes", 2) as process:
        pids = [row["pid"] for row in workers_alive(2)]
        until_sync(lambda: client.show_sync(task).progress, "the task to run")
        process.kill()
        process.wait()
        until_sync(lambda: len([row for row in client.workers_sync() if row["state"] == "dead"]) == 1, "one to leave")
        (howdah.folder / "said").write_text("go on")
        for pid in pids:
            until_sync(lambda pid=pid: not Path(f"/proc/{pid}").exists(), "the workers to end")
    assert client.show_sync(task).status == "succeeded"


def test_the_signal_reaches_every_worker_once(howdah: Shell, client: Client, workers_alive: Alive) -> None:
    """Ctrl-C goes to the whole foreground group; forwarded as well it would arrive twice, which means: at once."""
    task = int(howdah("enqueue", "patient").out)
    with howdah.running("worker", "--processes", 2, start_new_session=True) as process:
        workers_alive(2)
        until_sync(lambda: client.show_sync(task).progress, "the task to run")
        os.killpg(process.pid, signal.SIGINT)
        until_sync(lambda: howdah.said.count("finishing what runs") == 2, "both workers to hear it")
        (howdah.folder / "said").write_text("go on")
        assert process.wait(30) == 0
    assert client.show_sync(task).status == "succeeded"


def test_until_idle_ends_all_of_them(howdah: Shell, client: Client) -> None:
    howdah("enqueue", "welcome", "--many", stdin='{"user_id": 1}\n' * 300)
    done = howdah("worker", "--processes", 2, "--until-idle", "-c", 10)
    assert done.code == 0, done.err
    assert "10 in each of 2 workers" in done.err
    assert {task.status for task in client.tasks_sync(limit=500)} == {"succeeded"}
