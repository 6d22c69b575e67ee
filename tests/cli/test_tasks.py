"""A task through the shell: put, seen, run, mended."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import UTC, datetime

from cli.shells import Shell
from howdah import Client
from waiting import until_sync


def put(howdah: Shell, *arguments: object) -> int:
    done = howdah("enqueue", *arguments)
    assert done.code == 0, done.err
    return int(done.out)


def run_all(howdah: Shell) -> None:
    done = howdah("worker", "--until-idle", "--poll", "50ms")
    assert done.code == 0, done.err


# ── enqueue ──


def test_enqueue_prints_the_id_and_names_its_target_on_stderr(howdah: Shell, client: Client) -> None:
    done = howdah("enqueue", "welcome", '{"user_id": 42}', "--delay", "1h", "-p", 7, "--key", "w42", "-q", "bulk")
    task = client.show_sync(int(done.out))
    assert (task.kind, task.payload, task.queue, task.priority, task.key) == (
        "welcome",
        {"user_id": 42},
        "bulk",
        7,
        "w42",
    )
    assert (task.run_at - task.created_at).total_seconds() > 3500
    assert done.err.startswith("→ ")
    assert done.err.count("\n") == 1


def test_the_payload_is_checked_against_the_handler_that_is_found_here(howdah: Shell, client: Client) -> None:
    done = howdah("enqueue", "welcome", '{"user_id": "x"}')
    assert done.code == 2
    assert "user_id: expected int, got str" in done.err
    assert not client.tasks_sync()


def test_without_the_handlers_code_the_database_knows_the_kinds(howdah: Shell) -> None:
    run_all(howdah)
    (howdah.folder / "tasks.py").unlink()
    assert howdah("enqueue", "welcome", '{"user_id": 1}').code == 0
    unknown = howdah("enqueue", "welcom", "{}")
    assert unknown.code == 3
    assert "no handler for kind 'welcom'; known kinds: broken, patient, welcome" in unknown.err


def test_an_unknown_kind_gets_the_names_that_are_known_here(howdah: Shell) -> None:
    done = howdah("enqueue", "welcom")
    assert done.code == 3
    assert "Did you mean welcome?" in done.err


def test_enqueue_with_a_deadline(howdah: Shell, client: Client) -> None:
    late = ["--start-before", "10m", "--finish-before", "2090-01-02T03:04Z", "--late", "park"]
    info = client.show_sync(put(howdah, "welcome", '{"user_id": 1}', *late))
    assert info.start_before is not None
    assert round((info.start_before - info.created_at).total_seconds()) == 600
    assert (info.finish_before, info.late) == (datetime(2090, 1, 2, 3, 4, tzinfo=UTC), "park")
    assert "start_before cannot be read" in howdah("enqueue", "welcome", "--start-before", "soon").err


def test_a_module_that_is_only_guessed_does_not_stop_an_enqueue(howdah: Shell) -> None:
    run_all(howdah)
    (howdah.folder / "tasks.py").write_text("import howdah\nboom")
    done = howdah("enqueue", "welcome", '{"user_id": 1}')
    assert done.code == 0
    assert "note: the payload is not checked here: tasks.py:2: NameError" in done.err
    assert howdah("enqueue", "welcome", "--app", "tasks:app").code == 1


def test_many_lines_are_one_transaction(howdah: Shell, client: Client) -> None:
    lines = "".join(f'{{"user_id": {n}}}\n' for n in range(2500))
    done = howdah("enqueue", "welcome", "--many", stdin=lines)
    ids = [int(line) for line in done.out.splitlines()]
    assert len(ids) == 2500
    assert {task.queue for task in client.tasks_sync(ids=ids, limit=3000)} == {"mail"}
    assert client.show_sync(ids[-1]).payload == {"user_id": 2499}

    wrong = howdah("enqueue", "welcome", "--many", stdin=lines + "\n" + '{"user_id": null}\n')
    assert wrong.code == 2
    assert "line 2502: welcome: user_id" in wrong.err
    assert wrong.out == ""
    assert len(client.tasks_sync(limit=5000)) == 2500


def test_a_key_that_is_held(howdah: Shell) -> None:
    first = put(howdah, "welcome", '{"user_id": 1}', "--key", "k")
    again = ["enqueue", "welcome", '{"user_id": 2}', "--key", "k", "--on-conflict"]
    assert howdah(*again, "return").out == f"{first}\n"
    skipped = howdah(*again, "skip")
    assert (skipped.code, skipped.out) == (0, "")
    assert "nothing was enqueued" in skipped.err
    refused = howdah(*again, "raise")
    assert refused.code == 1
    assert f"key 'k' is held by task {first}" in refused.err


def test_wait_prints_the_result_as_json(howdah: Shell) -> None:
    with howdah.running("worker"):
        done = howdah("enqueue", "welcome", "-", "--wait", "--timeout", "30s", stdin='{"user_id": 42}')
        assert (done.code, done.out) == (0, '"sent to 42"\n')
        failed = howdah("enqueue", "broken", "--wait")
        assert failed.code == 1
        assert failed.out == ""
        assert "failed: ValueError: no such \\e[31mfile" in failed.err
        assert "howdah retry" in failed.err


def test_wait_gives_up_after_its_timeout(howdah: Shell) -> None:
    done = howdah("enqueue", "welcome", '{"user_id": 1}', "--wait", "--timeout", "50ms")
    assert done.code == 1
    assert "has not ended after 50ms: it is queued" in done.err


# ── ls, show ──


def test_ls_in_a_pipe_is_tab_separated_with_a_heading(howdah: Shell) -> None:
    bad = put(howdah, "broken", json.dumps({"word": "tab\t"}))
    later = put(howdah, "welcome", '{"user_id": 1}', "--delay", "1h")
    run_all(howdah)
    done = howdah("ls")
    assert done.err == ""
    assert done.out.splitlines()[0] == "id\tstatus\tkind\tqueue\tattempt\twhen\tnote"
    first, second = done.lines
    assert first[:5] == [str(later), "queued", "welcome", "mail", "0"]
    assert datetime.fromisoformat(first[5]).tzinfo is not None
    assert second[:5] == [str(bad), "failed", "broken", "default", "1"]
    assert second[6] == "ValueError: tab\\t such \\e[31mfile\\e[0m [bold]"
    assert "\x1b" not in howdah("ls", env={"FORCE_COLOR": "1"}).out


def test_filters_and_pages(howdah: Shell) -> None:
    ids = [put(howdah, "welcome", f'{{"user_id": {n}}}', "--key", f"k{n}") for n in range(3)]
    put(howdah, "broken")

    def found(*arguments: object) -> list[int]:
        return [int(word) for word in howdah("ls", "-o", "ids", *arguments).out.split()]

    assert found("-k", "welcome") == ids[::-1]
    assert found("-q", "mail", "-n", 2) == [ids[2], ids[1]]
    assert found("-q", "mail", "-n", 2, "--before", ids[1]) == [ids[0]]
    assert found("--key", "k1") == [ids[1]]
    assert found("-s", "failed,succeeded") == []
    assert len(found("-s", "failed", "-s", "queued")) == 4


def test_json_in_its_shapes(howdah: Shell) -> None:
    ids = [put(howdah, "broken"), put(howdah, "broken")]
    assert [task["id"] for task in json.loads(howdah("ls", "-o", "json").out)] == ids[::-1]
    assert [json.loads(line)["id"] for line in howdah("ls", env={"HOWDAH_OUTPUT": "jsonl"}).out.splitlines()] == ids[
        ::-1
    ]
    assert json.loads(howdah("ls", "-k", "none", "-o", "json").out) == []
    run_all(howdah)
    shown = json.loads(howdah("show", ids[0], "-o", "json").out)
    assert shown["payload"] == {}
    assert shown["error"] == "ValueError: no such \x1b[31mfile\x1b[0m [bold]"
    assert datetime.fromisoformat(shown["created_at"]).utcoffset() is not None
    assert [event["type"] for event in shown["history"]] == ["failure"]


def test_on_a_terminal_it_is_a_table_that_data_cannot_draw_in(howdah: Shell) -> None:
    bad = put(howdah, "broken")
    run_all(howdah)
    done = howdah.on_a_terminal("ls")
    assert "\x1b[31mfailed" in done.out
    assert "ValueError: no such \\e[31mfile\\e[0m [bold]" in done.out
    assert re.search(r" (now|\ds ago) ", done.out)
    plain = howdah.on_a_terminal("ls", env={"NO_COLOR": "1"})
    assert "\x1b[31m" not in plain.out
    narrow = howdah.on_a_terminal("ls", columns=60, env={"NO_COLOR": "1"})
    assert all(len(re.sub(r"\x1b\[\d*m", "", line)) <= 60 for line in narrow.out.splitlines())
    assert "…" in narrow.out

    shown = howdah.on_a_terminal("show", bad).out
    for part in ("payload", "history", "failure", "attempt 1", "the last traceback", 'tasks.py", line 1'):
        assert part in shown
    coloured = howdah("ls", "-o", "table", env={"FORCE_COLOR": "1"})
    assert "\x1b[31mfailed" in coloured.out


def test_a_reader_that_leaves_early_is_no_error(howdah: Shell) -> None:
    howdah("enqueue", "welcome", "--many", stdin='{"user_id": 1}\n' * 5000)
    with subprocess.Popen(
        [sys.executable, "-m", "howdah", "ls", "-n", "5000"],
        cwd=howdah.folder, env=howdah.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith("id\t")
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


def test_a_task_that_is_not_there_is_exit_code_3(howdah: Shell) -> None:
    for command in ("show", "why", "watch", "retry", "cancel"):
        done = howdah(command, 7)
        assert done.code == 3, command
        assert "error: there is no task 7\n" in done.err


# ── why, watch ──


def test_why_says_what_holds_a_task_up_and_exits_with_4(howdah: Shell) -> None:
    task = put(howdah, "broken")
    done = howdah("why", task)
    assert done.code == 4
    assert done.lines == [["no worker", "No worker is alive", "Start one: howdah worker your_module:app"]]
    run_all(howdah)
    said = howdah.on_a_terminal("why", task)
    assert said.code == 4
    assert f"  → Mend the cause, then: howdah retry {task}" in said.out
    howdah("cancel", task)
    assert howdah("why", task).code == 0


def test_watch_follows_until_the_end(howdah: Shell, client: Client) -> None:
    task = put(howdah, "patient")
    with howdah.running("worker"):
        until_sync(lambda: client.show_sync(task).progress, "progress")
        assert howdah("why", task).code == 0
        with subprocess.Popen(
            [sys.executable, "-m", "howdah", "watch", str(task)],
            cwd=howdah.folder, env=howdah.environment(), stdout=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            assert process.stdout is not None
            assert process.stdout.readline() == "time\tid\tkind\tstatus\tattempt\tdone\ttotal\tnote\n"
            line = process.stdout.readline().rstrip("\n").split("\t")
            assert line[1:] == [str(task), "patient", "running", "1", "1", "4", "listening"]
            (howdah.folder / "said").write_text("go on")
            assert process.stdout.readline().split("\t")[3] == "succeeded"
            assert process.stdout.read() == ""
        assert process.returncode == 0
    drawn = howdah.on_a_terminal("watch", task)
    assert drawn.code == 0
    assert "succeeded" in drawn.out
    assert "━" in drawn.out


def test_watch_of_what_failed_is_exit_code_1(howdah: Shell) -> None:
    good, bad = put(howdah, "welcome", '{"user_id": 1}'), put(howdah, "broken")
    run_all(howdah)
    done = howdah("watch", good, bad, "-o", "jsonl")
    assert done.code == 1
    assert {line["status"] for line in map(json.loads, done.out.splitlines())} == {"succeeded", "failed"}
    assert f"task {bad} failed: ValueError" in done.err


# ── retry, cancel ──


def test_ids_go_from_one_command_to_the_next(howdah: Shell, client: Client) -> None:
    failed = sorted([put(howdah, "broken"), put(howdah, "broken")])
    waiting = put(howdah, "welcome", '{"user_id": 1}', "--delay", "1h")
    howdah("worker", "--until-idle", "-q", "default")
    listed = howdah("ls", "-s", "failed", "-o", "ids").out
    done = howdah("retry", "-", stdin=listed)
    assert done.code == 0
    assert sorted(done.lines) == [[str(task), "resumed"] for task in failed]
    assert {task.status for task in client.tasks_sync()} == {"queued"}
    assert howdah("retry", waiting).lines == [[str(waiting), "due now"]]
    nothing = howdah("retry", "-", stdin="")
    assert (nothing.code, nothing.lines) == (0, [])


def test_what_cannot_be_done_to_one_does_not_stop_the_others(howdah: Shell, client: Client) -> None:
    task = put(howdah, "broken")
    done = howdah("cancel", 7, task, "--reason", "not needed")
    assert done.code == 3
    assert done.lines == [[str(task), "cancelled"]]
    assert client.show_sync(task).reason == "not needed"
    ended = howdah("retry", task)
    assert ended.code == 1
    assert f"task {task} has already ended" in ended.err


def test_filters_choose_tasks_and_all_is_said_on_purpose(howdah: Shell, client: Client) -> None:
    for _ in range(2):
        put(howdah, "broken")
    welcome = put(howdah, "welcome", '{"user_id": 1}')
    refused = howdah("cancel")
    assert refused.code == 2
    assert "--all" in refused.err
    assert len(howdah("cancel", "--kind", "broken").lines) == 2
    assert [task.id for task in client.tasks_sync(status=["queued"])] == [welcome]
    assert howdah("retry", "--all").lines == []
    assert howdah("cancel", "--all", "-o", "ids").out == f"{welcome}\n"


# ── queues ──


def test_a_queue_is_paused_seen_and_resumed(howdah: Shell) -> None:
    task = put(howdah, "welcome", '{"user_id": 1}')
    paused = howdah("pause", "mail", "--reason", "SES is down")
    assert (paused.code, paused.out) == (0, "")
    assert "note:" not in paused.err
    assert "queue mail is paused, with 1 task waiting in it" in paused.err
    (line,) = howdah("queues").lines
    assert line[:3] == ["mail", "paused", "1"]
    assert line[-1].endswith("SES is down")
    assert any("SES is down" in reason for _, reason, _ in howdah("why", task).lines)
    assert json.loads(howdah("queues", "-o", "json").out)[0]["paused"] is True
    mistyped = howdah("pause", "mial")
    assert mistyped.code == 0
    assert "nothing is in queue mial, and no kind goes there; did you mean mail?" in mistyped.err
    assert "queue mail goes on" in howdah("resume", "mail").err
    assert "was not paused" in howdah("resume", "mail").err
