"""Limits through the shell."""

from __future__ import annotations

from cli.shells import Shell
from howdah import Client


def test_a_limit_is_set_seen_changed_and_taken_away(howdah: Shell, client: Client) -> None:
    done = howdah("set-limit", "SES", "--running", 10, "--rate", "100/min", "--burst", 20)
    assert (done.code, done.err.splitlines()[-1]) == (0, "SES: at most 10 run at once, 100/min, 20 at once")
    assert (
        howdah("set-limit", "SES", "--running", 5).err.splitlines()[-1]
        == "SES: at most 5 run at once, 100/min, 20 at once"
    )
    assert howdah("limits").lines == [["SES", "5", "100/min, 20 at once", "0", "0", "", ""]]
    assert howdah("unset-limit", "SES").code == 0
    gone = howdah("unset-limit", "SES")
    assert (gone.code, gone.err.splitlines()[-2:]) == (
        3,
        ["error: SES has no limit of its own", "hint: See: howdah limits"],
    )


def test_a_group_is_closed_and_why_says_so(howdah: Shell, client: Client) -> None:
    closed = howdah("close-group", "API", "--for", "1h", "--reason", "429")
    assert (closed.code, closed.err.splitlines()[-1]) == (0, "group API is closed for 1h")
    howdah("worker", "--until-idle", "--poll", "50ms")
    put = howdah("enqueue", "welcome", '{"user_id": 1}', "--group", "API", "--group", "other", "--cost", 2.5)
    info = client.show_sync(int(put.out))
    assert (info.groups, info.cost) == (["API", "other"], 2.5)
    why = howdah("why", info.id)
    assert why.code == 4
    assert "group closed" in why.out
    assert "429" in why.out
    assert howdah("open-group", "API").err.splitlines()[-1] == "group API goes on"
    assert howdah("open-group", "API").err.splitlines()[-1] == "group API was not closed"


def test_how_a_queue_is_worked(howdah: Shell, client: Client) -> None:
    done = howdah("set-queue", "mail", "--running", 5, "--fair", "--ageing", "10m")
    assert done.err.splitlines()[-1] == "queue mail: at most 5 run at once, its groups take turns, ageing by 0:10:00"
    assert "at most 5 run; fair; ageing by 0:10:00" in howdah("queues").out
    off = howdah("set-queue", "mail", "--running", 0, "--no-fair", "--ageing", 0)
    assert off.err.splitlines()[-1] == "queue mail: any number may run at once, the oldest task is first"


def test_what_cannot_be_meant_is_one_line_and_a_hint(howdah: Shell) -> None:
    for arguments, says in {
        ("set-limit", "SES", "--rate", "many"): "rate cannot be read: 'many'",
        ("set-limit", "SES", "--running", "-1"): "running must be a whole number from 1, not -1",
        ("set-limit", "tenant:*"): "neither --running nor --rate was given",
        ("close-group", "SES", "--for", "10x"): "--for cannot be read as a length of time: '10x'",
        ("close-group", "SES", "--for", "0"): "length must be longer than nothing",
        ("set-queue", "mail"): "none of --running, --fair and --ageing was given",
    }.items():
        done = howdah(*arguments)
        assert done.code == 2, arguments
        assert says in done.err
        assert "hint: " in done.err
