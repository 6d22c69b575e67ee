"""howdah config, and the commands that heed what is configured."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.shells import Shell


def settings(shell: Shell, *arguments: str) -> dict[str, dict[str, Any]]:
    done = shell("config", "-o", "json", *arguments)
    assert done.code == 0, done.err
    return {row["key"]: row for row in json.loads(done.out)}


def test_each_value_with_where_it_came_from_and_what_it_hides(shell: Shell) -> None:
    (shell.folder / "howdah.toml").write_text("concurrency = 5\ngrace = '1m'\n[kinds.welcome]\npriority = 4")
    shell.variables |= {"HOWDAH_CONCURRENCY": "9", "HOWDAH_DSN": "postgresql://u:secret@h/x"}
    found = settings(shell, "--dsn", "host=flag password=secret")
    assert found["concurrency"] == {
        "key": "concurrency",
        "value": 9,
        "origin": "HOWDAH_CONCURRENCY",
        "hides": [{"value": 5, "origin": "howdah.toml:1"}, {"value": 100, "origin": "built in"}],
    }
    assert (found["dsn"]["value"], found["dsn"]["origin"]) == ("host=flag password=***", "--dsn")
    assert (found["grace"]["value"], found["grace"]["origin"]) == ("1m", "howdah.toml:2")
    assert (found["kinds.welcome.priority"]["value"], found["lease"]["origin"]) == (4, "built in")
    plain, table = shell("config"), shell.on_a_terminal("config", columns=200)
    assert ["concurrency", "9", "HOWDAH_CONCURRENCY", "5 (howdah.toml:1)"] in plain.lines
    assert "(every queue)" in table.out
    assert "read " in table.out
    assert "secret" not in plain.out + table.out


def test_it_needs_no_database_and_says_what_looks_like_a_mistake(shell: Shell) -> None:
    done = shell("config", env={"HOWDAH_CONCURENCY": "3"})
    assert done.code == 0
    assert "HOWDAH_CONCURENCY is no setting; did you mean HOWDAH_CONCURRENCY?" in done.err
    assert not (shell.folder / ".howdah").exists()


@pytest.mark.parametrize("command", [["config"], ["ls"], ["worker"], ["enqueue", "welcome", '{"user_id": 1}']])
def test_a_mistake_is_said_in_a_line_by_every_command(command: list[str], shell: Shell) -> None:
    (shell.folder / "howdah.toml").write_text("\nconcurency = 5")
    done = shell(*command)
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines()[0].endswith("howdah.toml:2: concurency: there is no such setting")
    assert done.err.splitlines()[1] == "hint: Did you mean concurrency?"


def test_a_worker_heeds_it_and_flags_go_first(howdah: Shell) -> None:
    (howdah.folder / "pyproject.toml").write_text(
        "[tool.howdah]\napp = 'tasks:app'\nconcurrency = 7\ngrace = '10s'\nqueues = {mail = 3, default = {weight = 2}}\n"
        "[tool.howdah.kinds.nobody]\npriority = 1"
    )
    done = howdah("worker", "--until-idle")
    assert done.code == 0, done.err
    lines = [line for line in done.err.splitlines() if not line.startswith("note")]
    assert lines[3].split(maxsplit=1)[1] == "mail=3, default*2"
    assert lines[4].split(maxsplit=1)[1] == "7"
    assert "at most 10s" in lines[5]
    assert "a kind 'nobody', which is not here" in done.err
    flags = howdah("worker", "--until-idle", "-c", 2, "-q", "mail")
    assert "  concurrency  2\n" in flags.err
    assert "  queues       mail\n" in flags.err


def test_several_workers_by_configuration(howdah: Shell, workers_alive: Callable[[int], list[dict[str, Any]]]) -> None:
    howdah.variables |= {"HOWDAH_PROCESSES": "2", "HOWDAH_CONCURRENCY": "3"}
    with howdah.running("worker"):
        assert [row["concurrency"] for row in workers_alive(2)] == [3, 3]


def test_the_database_can_be_in_the_file_and_the_app_beside_it(howdah: Shell, dsn: str) -> None:
    del howdah.variables["HOWDAH_DSN"]
    (howdah.folder / "howdah.toml").write_text(f"dsn = '{dsn}'\napp = 'tasks'\n[kinds.welcome]\npriority = 5")
    below = howdah.folder / "below"
    below.mkdir()
    inside = Shell(below, howdah.variables)
    task = inside("enqueue", "welcome", '{"user_id": 42}')
    assert task.code == 0, task.err
    assert inside("worker", "--until-idle").code == 0
    shown = json.loads(howdah("show", task.out.strip(), "-o", "json").out)
    assert (shown["status"], shown["priority"]) == ("succeeded", 5)


def test_a_home_is_relative_to_its_file(shell: Shell, tmp_path: Path) -> None:
    (shell.folder / "howdah.toml").write_text("home = 'data'")
    below = shell.folder / "below"
    below.mkdir()
    done = Shell(below, shell.variables)("ls")
    assert done.code == 1
    assert f"there is no database: {shell.folder / 'data'} does not exist" in done.err
