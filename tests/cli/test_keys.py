"""Tasks by their key in the shell."""

from __future__ import annotations

import json

import pytest

from cli.shells import Shell
from howdah import Client


def enqueue(howdah: Shell, user_id: int = 42, *arguments: str) -> int:
    done = howdah("enqueue", "welcome", json.dumps({"user_id": user_id}), *arguments)
    assert done.code == 0, done.err
    return int(done.out)


def test_every_command_takes_a_key_for_an_id(howdah: Shell, client: Client) -> None:
    task_id = enqueue(howdah, 42, "--key", "welcome:{user_id}", "--delay", "1h")
    assert client.show_sync(task_id).key == "welcome:42"
    assert howdah("show", "--key", "welcome:42", "-o", "ids").out == f"{task_id}\n"
    assert howdah("retry", "--key", "welcome:42", "-o", "jsonl").out == f'{{"id": {task_id}, "outcome": "due now"}}\n'
    done = howdah("cancel", "--key", "welcome:42", "--reason", "enough")
    assert (done.code, done.out.splitlines()[1:]) == (0, [f"{task_id}\tcancelled"])
    for command in ("show", "retry", "cancel", "watch"):
        done = howdah(command, "--key", "welcome:42")
        assert (done.code, done.out) == (3, "")
        assert "no task holds key 'welcome:42'" in done.err


def test_watch_by_key(howdah: Shell, client: Client) -> None:
    task_id = enqueue(howdah, 42, "--key", "k", "--unique-for", "forever")
    howdah("worker", "--until-idle", "--poll", "50ms")
    done = howdah("watch", "--key", "k", "-o", "ids")
    assert (done.code, done.out) == (0, f"{task_id}\n")


def test_why_by_key(howdah: Shell) -> None:
    done = howdah("why", "--key", "k", "-o", "json")
    assert (done.code, [row["code"] for row in json.loads(done.out)]) == (0, ["key free"])
    task_id = enqueue(howdah, 42, "--key", "k", "--unique-for", "1h", "--delay", "1h")
    done = howdah("why", "--key", "k", "-o", "json")
    first, second, *_ = json.loads(done.out)
    assert (done.code, first["code"], second["code"]) == (4, "key", "not due")
    assert first["reason"].startswith(f"Key 'k' is held by task {task_id} (welcome, queued)")
    howdah("cancel", str(task_id))
    done = howdah("why", "--key", "k", "-o", "jsonl")
    assert done.code == 4
    assert "which has ended: cancelled" in done.out
    assert howdah("why", "--key", "k", "-o", "ids").out == f"{task_id}\n"


def test_a_taken_key(howdah: Shell, client: Client) -> None:
    first = enqueue(howdah, 42, "--key", "k")
    assert enqueue(howdah, 42, "--key", "k") == first
    done = howdah("enqueue", "welcome", '{"user_id": 7}', "--key", "k", "--on-conflict", "raise")
    assert done.code == 1
    assert f"key 'k' is held by task {first} (welcome, queued)" in done.err
    done = howdah("enqueue", "welcome", '{"user_id": 7}', "--key", "k", "--on-conflict", "skip")
    assert (done.code, done.out) == (0, "")
    assert "the key is taken; nothing was enqueued. See: howdah why --key k" in done.err
    assert enqueue(howdah, 7, "--key", "k", "--on-conflict", "merge") == first
    assert client.show_sync(first).payload == {"user_id": 7}


@pytest.mark.parametrize("code_is_here", [True, False])
def test_many_lines_under_keys(howdah: Shell, client: Client, code_is_here: bool) -> None:
    if not code_is_here:
        howdah("worker", "--until-idle", "--poll", "50ms")  # which tells the database of the kind
        (howdah.folder / "tasks.py").unlink()
    lines = "".join(f'{{"user_id": {n}}}\n' for n in (3, 1, 3, 2))

    def many(*options: str) -> list[int]:
        done = howdah("enqueue", "welcome", "--many", "--key", "welcome:{user_id}", *options, stdin=lines)
        assert done.code == 0, done.err
        return [int(line) for line in done.out.splitlines()]

    three, one, again, two = many("--unique-for", "1h")
    assert three == again
    assert {task.key: task.id for task in client.tasks_sync()} == {
        "welcome:3": three,
        "welcome:1": one,
        "welcome:2": two,
    }
    assert many() == [three, one, three, two]
    assert many("--on-conflict", "skip") == []
    done = howdah("enqueue", "welcome", "--many", "--key", "w:{user_id}", "--on-conflict", "raise", stdin=lines)
    assert (done.code, done.out) == (1, "")
    assert ("line 1 and line 3" if code_is_here else "rows 1 and 3") + " have the same key 'w:3'" in done.err
    assert len(client.tasks_sync()) == 3


def test_one_key_is_not_for_many(howdah: Shell) -> None:
    done = howdah("enqueue", "welcome", "--many", "--key", "k", stdin='{"user_id": 1}\n')
    assert (done.code, done.out) == (2, "")
    assert "'k' is for one task" in done.err
