"""`howdah health` and `howdah worker --health`, as the shell sees them."""

from __future__ import annotations

import json
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from cli.shells import Shell
from howdah import Client
from waiting import until_sync


@pytest.fixture
def live(howdah: Shell, client: Client) -> None:
    """All kinds are known, and a worker that knows them seems to live."""
    assert howdah("worker", "--until-idle").code == 0
    with client.installation.open_sync().connect_sync() as conn:
        conn.execute(
            "select howdah.register(gen_random_uuid(), '1 hour', 'host', 7, '1', null, '{welcome,broken,patient}', 10)"
        )


def wait(client: Client, kind: str, ago: str, queue: str = "default") -> None:
    """A task that is due for so long."""
    with client.installation.open_sync().connect_sync() as conn:
        conn.execute("select howdah.enqueue(%s, queue => %s, run_at => now() - %s::interval)", [kind, queue, ago])


def test_green_is_0(howdah: Shell, live: None) -> None:
    done = howdah("health")
    assert (done.code, done.lines, done.err) == (0, [], "")
    assert howdah.on_a_terminal("health").out == "green: nothing needs you; well: 2 queues, 3 kinds\n"
    shown = howdah("health", "--all")
    assert shown.code == 0
    assert ["green", "kind", "welcome", "well"] in [line[:4] for line in shown.lines]


def test_yellow_is_1(howdah: Shell, live: None, client: Client) -> None:
    wait(client, "patient", "2 min")
    done = howdah("health")
    assert done.code == 1
    assert [line[:4] for line in done.lines] == [
        ["yellow", "queue", "default", "wait"],
        ["yellow", "kind", "patient", "wait"],
    ]
    assert "howdah why" in done.lines[0][5]


def test_red_is_2_and_comes_first(howdah: Shell, live: None, client: Client) -> None:
    wait(client, "patient", "2 min")
    wait(client, "welcome", "20 min", "mail")
    done = howdah("health", "-o", "json")
    assert done.code == 2
    found = json.loads(done.out)
    assert [row["colour"] for row in found] == ["red", "red", "yellow", "yellow"]
    assert found[0]["figures"]["warn"] == 60
    assert howdah("health", "-o", "ids").out.splitlines() == ["mail", "welcome", "default", "patient"]
    shown = howdah.on_a_terminal("health", columns=200).out
    assert "red: 4 things need you; well: 1 kind" in shown


def test_only_one_kind_or_queue(howdah: Shell, live: None, client: Client) -> None:
    wait(client, "welcome", "20 min", "mail")
    wait(client, "patient", "2 min")
    assert howdah("health", "--kind", "broken").code == 0
    assert howdah("health", "--kind", "patient").code == 1
    assert howdah("health", "--kind", "welcome").code == 2
    assert howdah("health", "--queue", "default").code == 1
    both = howdah("health", "--queue", "default", "--kind", "welcome")
    assert (both.code, len(both.lines)) == (2, 2)


@pytest.mark.parametrize(
    ("option", "said"), [("--kind", "no kind 'wellcome' is known"), ("--queue", "no queue 'wellcome'")]
)
def test_a_probe_with_a_wrong_name_is_not_green(option: str, said: str, howdah: Shell, live: None) -> None:
    done = howdah("health", option, "wellcome")
    assert (done.code, done.out) == (2, "")
    assert said in done.err


@pytest.mark.parametrize(
    "dsn", ["postgresql://u:secret@127.0.0.1:1/x", "nonsense", "postgresql://u:secret@no.such.host.invalid/x"]
)
def test_a_database_that_cannot_be_asked_is_2_and_one_line(dsn: str, shell: Shell) -> None:
    done = shell("health", "--dsn", dsn)
    assert (done.code, done.out) == (2, "")
    error, hint = done.err.splitlines()
    assert error.startswith("error: ")
    assert hint.startswith("hint: ")
    assert "secret" not in done.err


def test_no_database_at_all_and_one_without_tables_are_2(shell: Shell, empty_dsn: str) -> None:
    assert shell("health").code == 2
    done = shell("health", "--dsn", empty_dsn)
    assert done.code == 2
    assert "howdah migrate" in done.err


def test_its_exit_codes_are_in_its_help(shell: Shell) -> None:
    assert "0 green, 1 yellow, 2 red" in shell("health", "--help").out
    assert "0 green · 1 yellow · 2 red" in shell("--help").out


# ── worker --health ──


def free_ports(count: int) -> int:
    """The first of so many free ports in a row."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as found:
            first = found.getsockname()[1]
        try:
            for port in range(first, first + count):
                socket.create_server(("127.0.0.1", port)).close()
        except (OSError, OverflowError):
            continue
        return first


def answer(port: int, path: str) -> int | None:
    """The status, None if nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as response:
            return response.status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except OSError:
        return None


def test_a_worker_answers_probes_until_it_ends(
    howdah: Shell, workers_alive: Callable[[int], list[dict[str, Any]]]
) -> None:
    port = free_ports(1)
    with howdah.running("worker", "--health", f":{port}") as process:
        workers_alive(1)
        until_sync(lambda: answer(port, "/readyz") == 200, "it to be ready")
        assert (answer(port, "/livez"), answer(port, "/health"), answer(port, "/")) == (200, 200, 404)
        assert f"  health       http://127.0.0.1:{port}/readyz\n" in howdah.said
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert answer(port, "/livez") is None
    assert "GET /" not in howdah.said, "no line for each probe"


def test_each_of_several_processes_has_a_port_of_its_own(
    howdah: Shell, workers_alive: Callable[[int], list[dict[str, Any]]]
) -> None:
    first = free_ports(2)
    with howdah.running("worker", "--processes", 2, "--health", f"127.0.0.1:{first}"):
        workers_alive(2)
        until_sync(lambda: [answer(first + n, "/readyz") for n in range(2)] == [200, 200], "both to be ready")


@pytest.mark.parametrize("processes", [1, 2])
def test_a_port_that_is_taken_is_one_clear_error(processes: int, howdah: Shell) -> None:
    first = free_ports(2)
    with socket.create_server(("127.0.0.1", first + processes - 1)):
        done = howdah("worker", "--processes", processes, "--health", f":{first}")
    assert done.code == 1
    taken = first + processes - 1
    assert f"error: health: cannot listen on 127.0.0.1:{taken}: Address already in use" in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("address", ["8321", ":x", "host:", "::1:80"])
def test_an_address_that_cannot_be_meant_is_a_usage_error(address: str, howdah: Shell) -> None:
    done = howdah("worker", "--health", address)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: health ")


def test_there_must_be_a_port_for_every_process(howdah: Shell) -> None:
    done = howdah("worker", "--processes", 2, "--health", ":65535")
    assert done.code == 2
    assert "health has no port for worker 2" in done.err
