"""Repair through the shell: filters, dry runs, drained queues, disabled and purged kinds, export and import."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime

import psycopg
import pytest

from cli.shells import Shell
from howdah import Client
from waiting import until_sync


def put(howdah: Shell, *arguments: object) -> int:
    done = howdah("enqueue", *arguments)
    assert done.code == 0, done.err
    return int(done.out)


def many(howdah: Shell, count: int, *arguments: object) -> None:
    lines = "".join(f'{{"user_id": {n}}}\n' for n in range(count))
    assert howdah("enqueue", "welcome", "--many", *arguments, stdin=lines).code == 0


def run_all(howdah: Shell, *arguments: object) -> None:
    done = howdah("worker", "--until-idle", "--poll", "50ms", *arguments)
    assert done.code == 0, done.err


# ── many at once ──


def test_a_dry_run_counts_and_changes_nothing(howdah: Shell, client: Client) -> None:
    many(howdah, 2)
    parked = put(howdah, "broken")
    run_all(howdah, "-q", "default")
    done = howdah("cancel", "--all", "--dry-run")
    assert (done.code, done.lines) == (0, [["broken", "default", "failed", "1"], ["welcome", "mail", "queued", "2"]])
    assert "→" not in done.err
    assert "3 tasks; nothing was changed" in done.err
    assert howdah("retry", "--all", "--dry-run").lines == [["broken", "default", "failed", "1"]]
    assert howdah("retry", parked, "--dry-run").lines == [["broken", "default", "failed", "1"]]
    assert json.loads(howdah("edit", "--from", "mail", "-q", "x", "--dry-run", "-o", "json").out)[0]["tasks"] == 2
    assert {task.queue for task in client.tasks_sync()} == {"mail", "default"}


def test_many_are_done_page_by_page_and_people_get_the_count(howdah: Shell, client: Client) -> None:
    many(howdah, 2500)
    done = howdah("edit", "--kind", "welcome", "--from", "mail", "--queue", "bulk", "-p", 3)
    assert (done.code, len(done.lines), done.lines[0][1]) == (0, 2500, "edited")
    assert "2,500 edited" in done.err
    (one,) = client.tasks_sync(limit=1)
    assert (one.queue, one.priority) == ("bulk", 3)
    shown = howdah.on_a_terminal("cancel", "-q", "bulk", "--reason", "enough")
    assert "2,500 cancelled" in shown.out
    assert len(shown.out.splitlines()) < 5
    assert howdah("ls", "-s", "cancelled", "-n", 1).lines[0][6] == "enough"


def test_many_ids_are_done_in_pages_too_and_the_missing_are_said(howdah: Shell) -> None:
    many(howdah, 150)
    ids = howdah("ls", "-n", 200, "-o", "ids").out
    done = howdah("retry", "-", stdin=ids + "7\n8\n")
    assert done.code == 3
    assert [line[1] for line in done.lines] == ["due now"] * 150
    assert "2 of the ids are no live tasks: 7, 8" in done.err
    assert json.loads(howdah("cancel", "-", "-o", "json", stdin=ids).out)[0]["outcome"] == "cancelled"


def test_what_is_skipped_is_said(howdah: Shell, client: Client) -> None:
    task = put(howdah, "patient")
    with howdah.running("worker"):
        until_sync(lambda: client.show_sync(task).progress, "it to run")
        done = howdah("edit", "--kind", "patient", "--queue", "x")
        assert (done.code, done.lines) == (0, [])
        assert "1 skipped: it is running" in done.err
        refused = howdah("edit", task, "--queue", "x")
        assert refused.code == 1
        assert f"task {task} is running" in refused.err
        (howdah.folder / "said").write_text("go on")


def test_ls_and_the_verbs_have_the_same_filters(howdah: Shell) -> None:
    first = put(howdah, "welcome", '{"user_id": 1}', "--key", "a:1")
    put(howdah, "welcome", '{"user_id": 2}', "--key", "b:1")
    parked = put(howdah, "broken")
    run_all(howdah, "-q", "default")
    chosen_ones: list[tuple[list[str], int]] = [
        (["--key", "a:*"], first),
        (["--error", "NO SUCH"], parked),
        (["--created-after", "2020-01-01", "-s", "failed"], parked),
    ]
    for priority, (chosen, found) in enumerate(chosen_ones, 1):
        assert howdah("ls", "-o", "ids", *chosen).out == f"{found}\n"
        assert howdah("edit", "-p", priority, "-o", "ids", *chosen).out == f"{found}\n"
    assert howdah("ls", "--finished-after", "2020-01-01").lines == []
    assert howdah("ls", "--step", "x", "--group", "y").lines == []


# ── edit ──


def test_edit_changes_one_task(howdah: Shell, client: Client) -> None:
    task = put(howdah, "welcome", '{"user_id": 1}', "--key", "k")
    run_all(howdah, "-q", "nothing")  # it tells the database of the kinds
    done = howdah("edit", task, "--payload", '{"user_id": 2}', "-q", "vip", "-p", 9, "--at", "2040-01-01T00:00Z")
    assert done.code == 0
    assert f"task {task} is queued in queue vip" in done.err
    assert "its key stays: k" in done.err
    info = client.show_sync(task)
    assert (info.payload, info.queue, info.priority, info.run_at) == (
        {"user_id": 2},
        "vip",
        9,
        datetime.fromisoformat("2040-01-01T00:00Z"),
    )
    assert any("before" in line[6] for line in howdah("show", task).lines if line[1:2] == ["edit"])
    assert howdah("edit", task, "--delay", "0s").code == 0
    assert client.show_sync(task).run_at < datetime.fromisoformat("2040-01-01T00:00Z")
    wrong = howdah("edit", task, "--payload", '{"user_id": "x"}')
    assert wrong.code == 2
    assert "user_id: expected int" in wrong.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["edit", "1"], "nothing to change was given"),
        (["edit", "--kind", "x"], "nothing to change was given"),
        (["edit", "-q", "x"], "no task was named; --all is all that are live"),
        (["edit", "1", "--kind", "x", "-q", "y"], "ids and filters were both given"),
        (["edit", "--kind", "x", "--payload", "{}"], "--payload, --step and --retry are for one task"),
        (["edit", "1", "-q", "x", "--delay", "1s", "--at", "2040-01-01"], "delay and at were both given"),
        (["edit", "1", "--at", "noon"], "--at cannot be read as a time"),
        (["retry", "--all", "--kind", "x"], "--all and a filter were both given"),
        (["cancel", "--created-before", "noon"], "--created-before cannot be read as a time"),
        (["drain", "mail", "--timeout", "1s"], "--timeout is for --wait"),
        (["export", "1", "--kind", "x"], "ids and filters were both given"),
        (["import", "nothing.jsonl"], "nothing.jsonl cannot be read: No such file"),
    ],
)
def test_a_mistake_is_said_in_a_line_before_anything_is_asked(arguments: list[str], said: str, shell: Shell) -> None:
    done = shell(*arguments)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert "Traceback" not in done.err
    assert not (shell.folder / ".howdah").exists()


# ── drain ──


def test_drain_refuses_what_is_new_and_waits_until_the_rest_is_done(howdah: Shell) -> None:
    many(howdah, 3)
    done = howdah("drain", "mail", "--reason", "moving")
    assert "queue mail takes no more; 3 tasks left in it" in done.err
    (line,) = howdah("queues").lines
    assert line[:3] == ["mail", "draining", "3"]
    assert line[-1].endswith("moving")
    refused = howdah("enqueue", "welcome", '{"user_id": 9}')
    assert refused.code == 1
    assert "queue mail takes no more tasks" in refused.err
    assert "howdah resume mail" in refused.err
    late = howdah("drain", "mail", "--wait", "--timeout", "1ms")
    assert late.code == 1
    assert "queue mail is not empty after" in late.err
    with howdah.running("worker"):
        waited = howdah("drain", "mail", "--wait", "--timeout", "30s")
    assert (waited.code, waited.lines[-1]) == (0, ["0"] * 5)
    assert "queue mail is empty" in waited.err
    assert "queue mail goes on" in howdah("resume", "mail").err
    assert put(howdah, "welcome", '{"user_id": 9}')


def test_parked_tasks_are_left_in_a_drained_queue_and_said(howdah: Shell) -> None:
    put(howdah, "broken")
    run_all(howdah)
    done = howdah("drain", "default", "--wait", "-o", "jsonl")
    assert done.code == 4
    assert json.loads(done.out)["failed"] == 1
    assert "1 parked task left: howdah ls -q default -s failed" in done.err


def test_a_queue_that_is_opened_again_is_not_waited_for(howdah: Shell, client: Client) -> None:
    put(howdah, "welcome", '{"user_id": 9}')
    with subprocess.Popen(
        [sys.executable, "-m", "howdah", "drain", "mail", "--wait"],
        cwd=howdah.folder, env=howdah.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        until_sync(lambda: client.queues_sync()[0]["draining_at"], "it to drain")
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        client.resume_sync("mail")
        assert "queue mail was opened again" in process.stderr.read()
    assert process.returncode == 1


# ── disable, purge ──


def test_a_kind_is_disabled_and_enabled(howdah: Shell) -> None:
    task = put(howdah, "welcome", '{"user_id": 1}')
    run_all(howdah, "-q", "nothing")
    done = howdah("disable", "welcome", "--reason", "wrong template")
    assert "kind welcome is disabled, with 1 task of it waiting" in done.err
    assert any("wrong template" in line[1] for line in howdah("why", task).lines)
    run_all(howdah)
    assert howdah("ls").lines[0][1] == "queued"
    assert "kind welcome is enabled" in howdah("enable", "welcome").err
    assert "kind welcome was not disabled" in howdah("enable", "welcome").err
    run_all(howdah)
    assert howdah("ls").lines[0][1] == "succeeded"
    assert howdah("disable", "welcom").code == 3


def test_purge_wants_to_be_confirmed(howdah: Shell, conn: psycopg.Connection) -> None:
    put(howdah, "broken")
    run_all(howdah)
    many(howdah, 3)
    said = "kind broken: 1 live task, 0 running, 0 ended, 1 event"
    for arguments, code, end in [(["--dry-run"], 0, "nothing was changed"), ([], 5, "it was not confirmed")]:
        done = howdah("purge", "broken", *arguments)
        assert (done.code, done.out) == (code, "")
        assert said in done.err
        assert end in done.err
    assert len(howdah("ls").lines) == 4
    done = howdah("purge", "broken", "--yes")
    assert done.code == 0
    assert "1 task cancelled, 1 ended and 2 events deleted" in done.err
    assert {line[2] for line in howdah("ls").lines} == {"welcome"}
    assert conn.execute("select count(*) from howdah.kind where name = 'broken'").fetchone() == (0,)
    assert howdah("purge", "broken", "--yes").code == 3


# ── export, import ──


def test_tasks_go_through_a_file(howdah: Shell, client: Client) -> None:
    put(howdah, "broken")
    run_all(howdah)
    many(howdah, 1200)
    exported = howdah("export", "--created-after", "2020-01-01")
    assert (exported.code, len(exported.out.splitlines())) == (0, 1201)
    assert "1,201 tasks" in exported.err
    (howdah.folder / "tasks.jsonl").write_text(exported.out)
    howdah("cancel", "--all")
    dry = howdah("import", "tasks.jsonl", "--dry-run")
    assert "1,201 tasks fine; nothing was written" in dry.err
    assert client.count_tasks_sync() == []
    done = howdah("import", "-", stdin=exported.out)
    assert "1,201 tasks imported" in done.err
    assert sum(row["tasks"] for row in client.count_tasks_sync()) == 1201
    (parked,) = client.tasks_sync(status="failed")
    assert parked.error == "ValueError: no such \x1b[31mfile\x1b[0m [bold]"
    run_all(howdah)
    assert len(client.tasks_sync(status="succeeded", limit=5000)) == 1200


def test_a_bad_line_is_named_and_nothing_is_imported(howdah: Shell, client: Client) -> None:
    put(howdah, "welcome", '{"user_id": 1}', "--key", "k")
    exported = howdah("export").out
    wrong = howdah("import", stdin='{"kind": "welcome"}\n{"kind": "welcome", "priority": "high"}\n')
    assert wrong.code == 2
    assert "line 2: Expected `int | null`, got `str`: `priority`" in wrong.err
    (howdah.folder / "latin.jsonl").write_bytes('{"kind": "welcome", "key": "Jörg"}'.encode("latin-1"))
    unread = howdah("import", "latin.jsonl")
    assert unread.code == 2
    assert "latin.jsonl is not UTF-8" in unread.err
    taken = howdah("import", stdin=exported)
    assert taken.code == 1
    assert "line 1: key 'k' is taken" in taken.err
    skipped = howdah("import", "--on-conflict", "skip", stdin=exported)
    assert skipped.code == 0
    assert "1 skipped: their key, tick or id is taken" in skipped.err
    assert len(client.tasks_sync()) == 1
