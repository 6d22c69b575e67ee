"""Machines, actors and families through the shell: begun at a step, sent to, mended, drawn."""

from __future__ import annotations

import json
import xml.etree.ElementTree

import pytest

from cli.shells import Ended, Shell
from howdah import Client, TaskInfo

TASKS = '''
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from howdah import Action, App, Context, Done, Inbox, Suspend

app = App()
greeter = app.machine("greeter", queue="mail", retry=0)


@greeter.step
@dataclass
class ReadName:
    """Reads a file, if it is there."""

    filename: str

    async def run(self) -> SayHello | None:
        name = Path(self.filename).read_text()
        return SayHello(name) if name else None


@greeter.step(queue="voice")
@dataclass
class SayHello:
    name: str
    loud: bool = False

    async def run(self) -> SayHello | Done:
        if self.loud:
            return SayHello(self.name.upper())
        return Done(f"Hello, {self.name}")


@dataclass
class Add:
    n: int


@app.actor("tally", inbox=Add, retry=0)
@dataclass
class Tally:
    total: int = 0

    async def poll(self, ctx: Context, inbox: Inbox[Add]) -> Action:
        for message in inbox:
            self.total += message.n
            if message.n == 0:
                await ctx.spawn(later.using(delay="1h"))
        return Suspend() if self.total < 10 else Done(self.total)


@app.task()
async def later() -> None: ...
'''


@pytest.fixture
def howdah(howdah: Shell) -> Shell:
    (howdah.folder / "tasks.py").write_text(TASKS)
    return howdah


def put(howdah: Shell, *arguments: object) -> int:
    return number(howdah("enqueue", *arguments))


def number(done: Ended) -> int:
    assert done.code == 0, done.err
    return int(done.out)


def run_all(howdah: Shell) -> None:
    done = howdah("worker", "--until-idle", "--poll", "50ms")
    assert done.code == 0, done.err


def forget_the_code(howdah: Shell) -> None:
    run_all(howdah)
    (howdah.folder / "tasks.py").unlink()


@pytest.fixture
def parked(howdah: Shell, client: Client) -> TaskInfo:
    """A task at ReadName whose file is not there."""
    task = put(howdah, "greeter", '{"filename": "name.txt"}', "--step", "ReadName")
    run_all(howdah)
    return client.show_sync(task)


# ── enqueue --step ──


def test_enqueue_begins_a_machine_at_a_step(howdah: Shell, client: Client) -> None:
    first = client.show_sync(put(howdah, "greeter", '{"filename": "name.txt"}', "--step", "ReadName"))
    assert (first.step, first.payload, first.queue) == ("ReadName", {"filename": "name.txt"}, "mail")
    second = client.show_sync(put(howdah, "greeter", '{"name": "Ada"}', "--step", "SayHello", "-q", "fast"))
    assert (second.step, second.payload, second.queue) == ("SayHello", {"name": "Ada", "loud": False}, "fast")
    run_all(howdah)
    assert client.show_sync(second.id).result == "Hello, Ada"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["greeter", '{"name": "Ada"}'], "greeter: a machine begins with a step"),
        (["greeter", '{"name": "Ada"}', "--step", "SayHallo"], "greeter: there is no step 'SayHallo'"),
        (["greeter", '{"name": 7}', "--step", "SayHello"], "SayHello: name: expected str, got int"),
        (["greeter", "{}", "--step", "SayHello"], "SayHello: missing field name"),
        (["later", "{}", "--step", "SayHello"], "later has no steps, so it has no step 'SayHello'"),
        (["tally", "{}", "--step", "SayHello"], "tally has no steps, so it has no step 'SayHello'"),
    ],
)
def test_a_step_that_cannot_be_is_a_mistake_of_usage(
    howdah: Shell, client: Client, arguments: list[str], said: str
) -> None:
    done = howdah("enqueue", *arguments)
    assert done.code == 2
    assert said in done.err
    assert done.out == ""
    assert client.tasks_sync() == []


def test_a_missing_step_is_answered_with_the_steps_there_are(howdah: Shell) -> None:
    for step in ([], ["--step", "SayHallo"]):
        assert (
            "ReadName(filename: str), SayHello(name: str, loud: bool = False)"
            in howdah("enqueue", "greeter", "{}", *step).err
        )


def test_without_the_code_the_database_knows_the_steps(howdah: Shell, client: Client) -> None:
    forget_the_code(howdah)
    task = client.show_sync(put(howdah, "greeter", '{"name": "Ada"}', "--step", "SayHello"))
    assert (task.step, task.queue) == ("SayHello", "voice")
    for arguments, said in (
        ([], "kind greeter is a state machine, and step is missing"),
        (["--step", "SayHallo"], "kind greeter has no step 'SayHallo'"),
    ):
        done = howdah("enqueue", "greeter", "{}", *arguments)
        assert done.code == 2
        assert said in done.err
        assert "Give one of its steps: ReadName, SayHello" in done.err


@pytest.mark.parametrize("code", [True, False], ids=["with the code", "without it"])
def test_many_tasks_begin_at_one_step(howdah: Shell, client: Client, code: bool) -> None:
    if not code:
        forget_the_code(howdah)
    lines = "".join(f'{{"name": "{n}"}}\n' for n in range(30))
    done = howdah("enqueue", "greeter", "--many", "--step", "SayHello", stdin=lines)
    assert done.code == 0, done.err
    tasks = client.tasks_sync(ids=[int(line) for line in done.out.splitlines()])
    assert len(tasks) == 30
    assert {(task.step, task.queue) for task in tasks} == {("SayHello", "voice")}


# ── send ──


def test_send_prints_the_id_of_the_message(howdah: Shell, client: Client) -> None:
    task = put(howdah, "tally", '{"total": 1}')
    first = number(howdah("send", task, '{"n": 2}'))
    second = number(howdah("send", task, "-", stdin='{"type": "Add", "n": 3}'))
    third = json.loads(howdah("send", task, '{"n": 4}', "-o", "json").out)
    assert third == {"id": third["id"], "task_id": task}
    assert [(row["id"], row["body"]["n"]) for row in client.inbox_sync(task)] == [
        (first, 2),
        (second, 3),
        (third["id"], 4),
    ]
    run_all(howdah)
    assert client.show_sync(task).result == 10


def test_a_message_is_checked_against_the_code_that_is_found_here(howdah: Shell, client: Client) -> None:
    task = put(howdah, "tally")
    for message, said in (
        ('{"n": "two"}', "n: expected int, got str"),
        ('{"m": 2}', "unexpected field m"),
        ("2", "expected Add, got int"),
        ("{n: 2}", "the message is not JSON"),
        ("NaN", "NaN is not JSON"),
        ("", "the message is not JSON"),
    ):
        done = howdah("send", task, message)
        assert done.code == 2, message
        assert said in done.err
        assert done.out == ""
    assert client.inbox_sync(task) == []


def test_without_the_code_a_message_is_sent_as_it_is(howdah: Shell, client: Client) -> None:
    task = put(howdah, "tally")
    forget_the_code(howdah)
    number(howdah("send", task, '{"anything": true}'))
    (message,) = client.inbox_sync(task)
    assert message["body"] == {"anything": True}


def test_send_to_nobody(howdah: Shell) -> None:
    ended, deaf = put(howdah, "tally", '{"total": 10}'), put(howdah, "later", "--delay", "1h")
    run_all(howdah)
    for task, code, said in (
        (7, 3, "there is no task 7"),
        (ended, 3, f"task {ended} has already ended: succeeded"),
        (deaf, 1, f"task {deaf} (later) takes no messages"),
        ("seven", 2, "seven"),
    ):
        done = howdah("send", task, '{"n": 1}')
        assert (done.code, done.out) == (code, ""), done.err
        assert said in done.err


# ── edit ──


def test_edit_changes_the_payload_and_leaves_it_parked(howdah: Shell, client: Client, parked: TaskInfo) -> None:
    assert (parked.status, parked.step) == ("failed", "ReadName")
    done = howdah("edit", parked.id, "--payload", '{"filename": "other.txt"}')
    assert (done.code, done.out) == (0, "")
    assert f"task {parked.id} is failed at ReadName" in done.err
    assert f"go on with it: howdah retry {parked.id}" in done.err
    info = client.show_sync(parked.id)
    assert (info.status, info.payload) == ("failed", {"filename": "other.txt"})
    (howdah.folder / "other.txt").write_text("Bob")
    howdah("retry", parked.id)
    run_all(howdah)
    assert client.show_sync(parked.id).result == "Hello, Bob"
    assert [event["type"] for event in client.history_sync(parked.id)][-4:] == ["edit", "resume", "step", "end"]


def test_edit_goes_on_at_another_step_at_once(howdah: Shell, client: Client, parked: TaskInfo) -> None:
    done = howdah("edit", parked.id, "--step", "SayHello", "--payload", "-", "--retry", stdin='{"name": "Eve"}')
    assert done.code == 0
    assert f"task {parked.id} is queued at SayHello" in done.err
    assert "howdah retry" not in done.err
    info = client.show_sync(parked.id)
    assert (info.status, info.payload, info.queue) == ("queued", {"name": "Eve", "loud": False}, "voice")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--payload", '{"filename": 7}'], "ReadName: filename: expected str, got int"),
        (["--payload", '{"name": "x"}'], "ReadName: unexpected field name"),
        (["--step", "SayHello"], "SayHello: "),
        (["--step", "SayHallo"], "greeter: there is no step 'SayHallo'"),
        (["--payload", "{filename: x}"], "payload"),
        (["--payload", '["x"]'], "the payload is not a JSON object"),
        (["--payload", "-"], "payload"),
        ([], "nothing to change was given"),
    ],
)
def test_an_edit_that_does_not_fit_changes_nothing(
    howdah: Shell, client: Client, parked: TaskInfo, arguments: list[str], said: str
) -> None:
    done = howdah("edit", parked.id, *arguments, "--retry")
    assert done.code == 2
    assert said in done.err
    assert "Traceback" not in done.err
    assert client.show_sync(parked.id) == parked


def test_without_the_code_an_edit_is_checked_by_the_names_of_the_fields(
    howdah: Shell, client: Client, parked: TaskInfo
) -> None:
    (howdah.folder / "tasks.py").unlink()
    wrong = howdah("edit", parked.id, "--payload", '{"file": "x"}')
    assert wrong.code == 2
    assert "the payload does not fit greeter.ReadName: missing: filename; unexpected: file" in wrong.err
    assert howdah("edit", parked.id, "--payload", '{"filename": "x"}').code == 0
    assert client.show_sync(parked.id).payload == {"filename": "x"}


def test_an_edit_of_what_is_not_there_or_has_ended(howdah: Shell) -> None:
    missing = howdah("edit", 7, "--payload", "{}")
    assert (missing.code, "there is no task 7" in missing.err) == (3, True)
    task = put(howdah, "greeter", '{"name": "Ada"}', "--step", "SayHello")
    run_all(howdah)
    ended = howdah("edit", task, "--payload", '{"name": "Bob"}')
    assert ended.code == 1
    assert f"task {task} has already ended" in ended.err


# ── graph ──

TEXT = "greeter\n▶ ReadName  → SayHello, end\n  SayHello  → SayHello, end\n"


def test_a_machine_is_drawn_from_its_code_without_a_database(shell: Shell) -> None:
    (shell.folder / "tasks.py").write_text(TASKS)
    assert shell("graph", "greeter").out == TEXT
    assert not (shell.folder / ".howdah").exists()
    mermaid = shell("graph", "greeter", "-o", "mermaid").out
    assert "stateDiagram-v2" in mermaid
    assert "[*] --> s0" in mermaid
    svg = xml.etree.ElementTree.fromstring(shell("graph", "greeter", "--output", "svg", "--app", "tasks:app").out)
    assert svg.tag == "{http://www.w3.org/2000/svg}svg"
    words = "".join(svg.itertext())
    assert "ReadName" in words
    assert "SayHello" in words


def test_a_machine_is_drawn_from_the_database_alone(howdah: Shell) -> None:
    drawn = {form: howdah("graph", "greeter", "-o", form).out for form in ("text", "mermaid", "svg")}
    forget_the_code(howdah)
    for form, text in drawn.items():
        done = howdah("graph", "greeter", "-o", form)
        assert (done.code, done.out) == (0, text), form
    assert drawn["text"] == TEXT


@pytest.mark.parametrize("code", [True, False], ids=["with the code", "without it"])
def test_the_drawing_says_how_many_tasks_stand_where(howdah: Shell, code: bool) -> None:
    put(howdah, "greeter", '{"filename": "not there"}', "--step", "ReadName")
    run_all(howdah)
    put(howdah, "greeter", '{"name": "you"}', "--step", "SayHello", "--delay", "1h")
    put(howdah, "greeter", '{"name": "you"}', "--step", "SayHello", "--delay", "1h")
    if not code:
        forget_the_code(howdah)
    lines = howdah("graph", "greeter").out.splitlines()
    assert lines[1].split() == ["▶", "ReadName", "(1", "failed)", "→", "SayHello,", "end"]
    assert lines[2].split() == ["SayHello", "(2", "waiting)", "→", "SayHello,", "end"]


@pytest.mark.parametrize("code", [True, False], ids=["with the code", "without it"])
def test_what_cannot_be_drawn(howdah: Shell, code: bool) -> None:
    run_all(howdah)
    if not code:
        (howdah.folder / "tasks.py").unlink()
    for kind in ("later", "tally"):
        done = howdah("graph", kind)
        assert done.code == 2
        assert f"{kind} has no steps to draw" in done.err
        assert "It is no state machine" in done.err
    unknown = howdah("graph", "greet")
    assert unknown.code == 3
    assert "there is no kind 'greet'" in unknown.err
    assert "greeter, later, tally" in unknown.err


def test_a_machine_with_a_move_out_of_it_is_not_drawn(shell: Shell) -> None:
    (shell.folder / "tasks.py").write_text(TASKS.replace("-> SayHello | None", "-> int"))
    done = shell("graph", "greeter")
    assert done.code == 2
    assert "greeter.ReadName.run may return int, which is no step of greeter" in done.err


# ── families ──


@pytest.fixture
def family(howdah: Shell, client: Client) -> tuple[int, int]:
    """An actor and the child that it spawned for later."""
    parent = put(howdah, "tally")
    howdah("send", parent, '{"n": 0}')
    run_all(howdah)
    (child,) = client.tasks_sync(parent=parent)
    return parent, child.id


def test_cancel_takes_children_along(howdah: Shell, client: Client, family: tuple[int, int]) -> None:
    assert howdah("cancel", family[0]).lines == [[str(family[0]), "cancelled"]]
    assert {client.show_sync(task).status for task in family} == {"cancelled"}
    assert client.show_sync(family[1]).reason == f"its parent, task {family[0]}, was cancelled"


def test_cancel_without_cascade_leaves_them(howdah: Shell, client: Client, family: tuple[int, int]) -> None:
    assert howdah("cancel", family[0], "--no-cascade").code == 0
    assert [client.show_sync(task).status for task in family] == ["cancelled", "queued"]


def test_show_tells_the_parent_and_the_children(howdah: Shell, family: tuple[int, int]) -> None:
    parent, child = (json.loads(howdah("show", task, "-o", "json").out) for task in family)
    assert (parent["parent"], parent["children"], parent["status"]) == (None, 1, "suspended")
    assert (child["parent"], child["children"]) == (family[0], 0)
    assert json.loads(howdah("ls", "-o", "json").out)[0]["parent"] == family[0]


def test_why_says_that_an_actor_waits_for_a_message(howdah: Shell, family: tuple[int, int]) -> None:
    done = howdah("why", family[0])
    assert done.code == 4
    ((code, reason, advice),) = done.lines
    assert (code, reason) == ("suspended", "It waits for a message")
    assert f"howdah send {family[0]} " in advice
