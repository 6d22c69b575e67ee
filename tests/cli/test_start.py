"""How the program begins: help, suggestions, completion, and the words it shares with SQL and Python."""

from __future__ import annotations

import subprocess
import sys
from importlib.resources import files

import pytest

from cli.shells import Shell
from howdah import App, Client
from howdah.cli.commands import COMMANDS

NAMES = [command.name for commands in COMMANDS.values() for command in commands]

# What each SQL function for people is called in the shell. None: it is part of another command, or for programs.
WORDS = {
    "cancel": "cancel",
    "doctor": "doctor",
    "edit": "edit",
    "enqueue": "enqueue",
    "pause": "pause",
    "resume": "resume",
    "retry": "retry",
    "send": "send",
    "stop_workers": "stop",
    "schedule": "schedule",
    "unschedule": "unschedule",
    "pause_schedule": "pause-schedule",
    "resume_schedule": "resume-schedule",
    "trigger": "trigger",
    "why": "why",
    "retry_all": "retry",
    "cancel_all": "cancel",
    "edit_all": "edit",
    "drain": "drain",
    "disable": "disable",
    "enable": "enable",
    "purge": "purge",
    "export_tasks": "export",
    "import_tasks": "import",
    "check_due": None,
    "check_edit": None,
    "check_fields": None,
    "check_open": None,
    "condition": None,
    "count_tasks": None,  # --dry-run
    "import_families": None,
    "import_lines": None,
    "known_statuses": None,
    "known_task": None,
    "lock_page": None,
    "make_due": None,
    "moved": None,
    "remember_edit": None,
    "check_limits": None,
    "check_task": None,
    "examine_task": None,
    "filled": None,
    "filled_groups": None,
    "bury": None,
    "check_schedule": None,
    "cron_fault": None,
    "fire_tick": None,
    "instructions": None,
    "known_schedule": None,
    "set_limit": "set-limit",
    "unset_limit": "unset-limit",
    "close_group": "close-group",
    "open_group": "open-group",
    "set_queue": "set-queue",
    "apply_rules": None,
    "gates": None,  # why
    "parsed_rate": None,
    "rule_for": None,
    "pattern_of": None,
    "check_kinds": None,
    "meant": None,
    "wake_all": None,
    "put_schedules": None,
    "declare": None,
    "descendants": None,
    "due": None,
    "enqueue_many": None,  # enqueue --many
    "find": None,  # ls
    "health": "health",
    "history": None,  # show
    "inbox": None,  # show
    "held": None,
    "holder": None,  # --key of show, why, watch, cancel, retry
    "known_kind": None,
    "known_step": None,
    "now": None,
    "outcomes": None,
    "put": None,
    "put_many": None,
    "merged": None,
    "refuse_key": None,
    "reserve_keys": None,
    "until_words": None,
    "why_key": None,  # why --key
    "rules": None,
    "step_counts": None,  # graph
    "wake": None,
}


def test_help_needs_neither_the_database_driver_nor_the_worker() -> None:
    program = (
        "import sys\nfrom howdah.cli import main\ntry: main(['--help'])\nexcept SystemExit as end: assert not end.code\n"
        "heavy = {'psycopg', 'asyncio', 'uvloop', 'msgspec', 'howdah.app'} & set(sys.modules)\nassert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in NAMES:
        assert f" {name.partition(' ')[0]} " in done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_every_command_has_help_with_an_example(name: str, shell: Shell) -> None:
    done = shell(*name.split(), "--help")
    assert (done.code, done.err) == (0, "")
    assert f"Example: howdah {name}" in done.out
    help_line = next(command.help for commands in COMMANDS.values() for command in commands if command.name == name)
    assert len(help_line) <= 60


def test_the_version(shell: Shell) -> None:
    done = shell("--version")
    assert done.out.startswith("howdah 0.")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["wroker"], 'Did you mean "worker"?'),
        (["ls", "--stauts", "failed"], "Did you mean --status?"),
        (["ls", "-o", "yaml"], '"table", "json", "jsonl", "ids"'),
        (["show"], "no task was named"),
        (["why"], "no task was named"),
        (["show", "1", "--key", "k"], "an id and --key were both given"),
        (["cancel", "-k", "x", "-y"], "there is no option -y"),
        (["watch", "-y"], "there is no option -y"),
        (["cancel", "1", "--key", "k"], "ids and filters were both given"),
        (["show", "1", "2"], "too many arguments: 2"),
        (["show", "x1"], "a task id is a whole number, not 'x1'"),
        (["ls", "-s", "done"], "there is no status 'done'"),
        (["ls", "-n", "0"], "limit must be a whole number from 1"),
        (["retry"], "no task was named"),
        (["cancel", "1", "--all"], "ids and filters were both given"),
        (["enqueue", "welcome", "{"], "the payload is not JSON"),
        (["enqueue", "welcome", "[42]"], "not a JSON object"),
        (["enqueue", "welcome", '{"user_id": NaN}'], "NaN is not JSON"),
        (["enqueue", "welcome", "--at", "noon"], "--at cannot be read as a time"),
        (["enqueue", "welcome", "--delay", "soon"], "delay cannot be read"),
        (["enqueue", "welcome", "--timeout", "3s"], "--timeout is for --wait"),
        (["worker", "-q", "mail=ten"], "'ten' is not a whole number"),
        (["worker", "-q", "mail", "-q", "mail*2"], "queue 'mail' was given twice"),
        (["worker", "--processes", "0"], "processes must be a whole number from 1"),
        (["worker", "--lease", "1ms"], "lease must be at least 1s"),
    ],
)  # fmt: skip
def test_a_mistake_on_the_command_line_is_said_in_a_line_and_is_exit_code_2(
    arguments: list[str], said: str, shell: Shell
) -> None:
    done = shell(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: ")
    assert said in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_completion_knows_all_commands(name: str, shell: Shell) -> None:
    done = shell("completion", name)
    assert done.code == 0
    for command in NAMES:
        assert command.partition(" ")[0] in done.out


def test_where_there_never_was_a_database_nothing_is_created(shell: Shell) -> None:
    done = shell("ls")
    assert done.code == 1
    assert "there is no database" in done.err
    assert not (shell.folder / ".howdah").exists()


def test_one_word_in_sql_python_and_shell() -> None:
    functions = {entry.name.removesuffix(".sql") for entry in (files("howdah") / "sql" / "functions").iterdir()}
    views = {entry.name.removesuffix(".sql") for entry in (files("howdah") / "sql" / "views").iterdir()}
    assert functions == set(WORDS), "decide what the shell calls a new function"
    for sql, shell_word in WORDS.items():
        if shell_word is not None:
            assert shell_word in NAMES
            assert callable(getattr(App, sql))
            assert callable(getattr(App, f"{sql}_sync"))
    assert views == {"tasks", "queues", "groups", "workers", "schedules"}
    for view in views:
        assert callable(getattr(Client, f"{view}_sync"))
    assert {"queues", "workers", "schedules"} < set(NAMES)
