"""A file and the environment set what code does not; every mistake in them is said with its place."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from howdah import Action, App, Client, Context, Inbox, Retry, Weight
from howdah.config import Config
from howdah.errors import InvalidOption


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with no variables of howdah."""
    for name in list(os.environ):
        if name.startswith("HOWDAH_"):
            monkeypatch.delenv(name)
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def write(folder: Path, text: str, name: str = "howdah.toml") -> None:
    (folder / name).write_text(text)


FULL = """
dsn = "host=db dbname=x"
home = "data"
app = ["shop.jobs:app", "other"]
queues = ["mail=10", "bulk*2.5", "default"]
concurrency = 7
processes = 3
process_slots = 2
lease = "1m"
poll = 0.5
listen = false
grace = "10s"

[defaults]
queue = "bulk"
priority = 2
delay = "1s"
retry = {retries = 9, delay = "2s", factor = 3, max = "1h", jitter = 0, strategy = "poly"}
timeout = "30s"
max_lost = 1
keep = "none"
on_conflict = "skip"
group = ["SES", "tenant:{tenant_id}"]
cost = 2
unique_for = "1h"
start_before = "1h"
finish_before = "2h"
late = "park"
warn = {wait = "5m", retries = 3}
alarm = {failed = 1}

[kinds.welcome]
timeout = "1m"
retry = 1

[limits."tenant:*"]
running = 3
rate = "10/s"
burst = 20
"""


def test_a_file_can_say_everything(here: Path) -> None:
    write(here, FULL)
    config = Config.read()
    assert (config.dsn, config.app, config.home) == ("host=db dbname=x", ("shop.jobs:app", "other"), str(here / "data"))
    assert config.queues == {"mail": 10, "bulk": Weight(2.5), "default": Weight(1)}
    assert (config.concurrency, config.processes, config.process_slots, config.listen) == (7, 3, 2, False)
    assert (config.lease, config.poll, config.grace) == tuple(timedelta(seconds=n) for n in (60, 0.5, 10))
    assert config.limits == {"tenant:*": {"running": 3, "rate": "10/s", "burst": 20}}
    base = config.base()
    assert (base.queue, base.priority, base.delay, base.max_lost, base.keep) == (
        "bulk",
        2,
        timedelta(seconds=1),
        1,
        None,
    )
    assert (base.retry.retries, base.retry.factor, base.retry.strategy) == (9, 3, "poly")
    assert (base.timeout, base.late, base.groups) == (timedelta(seconds=30), "park", ("SES", "tenant:{tenant_id}"))
    assert base.warn == {"wait": 300, "retries": 3}


def test_the_same_in_pyproject(here: Path) -> None:
    text = FULL.replace("[", "[tool.howdah.").replace("= [tool.howdah.", "= [")
    write(here, "[project]\nname = 'x'\n[tool.howdah]\n" + text, "pyproject.toml")
    from_project = Config.read()
    write(here, FULL)
    from_own = Config.read()
    for name in ("dsn", "home", "app", "queues", "concurrency", "defaults", "kinds", "limits"):
        assert getattr(from_project, name) == getattr(from_own, name)


ENVIRONMENT = {
    "HOWDAH_DSN": "host=db dbname=x", "HOWDAH_HOME": "/data", "HOWDAH_APP": "shop.jobs:app, other",
    "HOWDAH_QUEUES": "mail=10, bulk*2.5,default", "HOWDAH_CONCURRENCY": "7", "HOWDAH_PROCESSES": "3",
    "HOWDAH_PROCESS_SLOTS": "2", "HOWDAH_LEASE": "1m", "HOWDAH_POLL": "0.5", "HOWDAH_LISTEN": "false",
    "HOWDAH_GRACE": "10s", "HOWDAH_DEFAULTS_QUEUE": "bulk", "HOWDAH_DEFAULTS_PRIORITY": "2",
    "HOWDAH_DEFAULTS_RETRY": "{retries = 9, delay = '2s'}", "HOWDAH_DEFAULTS_RETRY_STRATEGY": "poly",
    "HOWDAH_DEFAULTS_TIMEOUT": "30", "HOWDAH_DEFAULTS_KEEP": "none", "HOWDAH_DEFAULTS_MAX_LOST": "1",
    "HOWDAH_DEFAULTS_GROUP": "SES,tenant:{tenant_id}", "HOWDAH_DEFAULTS_WARN": "{wait = '5m', retries = 3}",
    "HOWDAH_KINDS_WELCOME_TIMEOUT": "1m", "HOWDAH_KINDS_WELCOME_RETRY": "1", "HOWDAH_KINDS_A_B_RETRY_MAX": "5m",
}  # fmt: skip


def test_the_environment_says_the_same(here: Path) -> None:
    config = Config.read(environment=ENVIRONMENT)
    assert (config.dsn, config.app, config.home) == ("host=db dbname=x", ("shop.jobs:app", "other"), "/data")
    assert config.queues == {"mail": 10, "bulk": Weight(2.5), "default": Weight(1)}
    assert (config.concurrency, config.processes, config.process_slots, config.listen) == (7, 3, 2, False)
    assert (config.lease, config.poll, config.grace) == tuple(timedelta(seconds=n) for n in (60, 0.5, 10))
    base = config.base()
    assert (base.queue, base.priority, base.max_lost, base.keep) == ("bulk", 2, 1, None)
    assert (base.retry.retries, base.retry.delay, base.retry.strategy) == (9, timedelta(seconds=2), "poly")
    assert (base.timeout, base.groups) == (timedelta(seconds=30), ("SES", "tenant:{tenant_id}"))
    assert base.warn == {"wait": 300, "retries": 3}
    welcome, a_b = config.of_kind("welcome", base), config.of_kind("a-b", base)
    assert (welcome.timeout, welcome.retry.retries, a_b.retry.max) == (timedelta(minutes=1), 1, timedelta(minutes=5))


def test_an_empty_variable_and_those_of_others_say_nothing(here: Path) -> None:
    config = Config.read(environment={"HOWDAH_DSN": "", "HOWDAH_CONFIG": "", "HOWDAH_LOG": "json", "HOWDAH_PORT": "8"})
    assert config == Config()


# ── what counts more ──


def test_argument_over_variable_over_file(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(here, "dsn = 'host=file'\nconcurrency = 5\n[kinds.welcome]\npriority = 1\n[limits.SES]\nrunning = 1")
    assert App().installation.dsn == Client().installation.dsn == "host=file"
    monkeypatch.setenv("HOWDAH_DSN", "host=variable")
    monkeypatch.setenv("HOWDAH_KINDS_WELCOME_PRIORITY", "2")
    monkeypatch.setenv("HOWDAH_LIMITS_SES_RUNNING", "2")
    app = App()
    assert app.installation.dsn == "host=variable"
    assert (app.config.kinds, app.config.limits) == ({"welcome": {"priority": 2}}, {"SES": {"running": 2}})
    assert App("host=argument").installation.dsn == "host=argument"
    (changed,) = [each for each in app.config.settings({"dsn": "host=flag"}) if each.key == "dsn"]
    assert (changed.value, changed.origin) == ("host=flag", "--dsn")
    assert changed.hides == (("host=variable", "HOWDAH_DSN"), ("host=file", "howdah.toml:1"), (None, "built in"))


def test_kind_over_code_over_defaults(here: Path) -> None:
    write(
        here,
        "[defaults]\nqueue = 'bulk'\npriority = 3\nretry = {delay = '7s'}\n[kinds.welcome]\ntimeout = 'none'\nretry = 1",
    )
    app = App()

    @app.task(priority=5, timeout="1s", retry=Retry(9, delay="2s", unless=KeyError))
    async def welcome() -> None: ...

    @app.task()
    async def other() -> None: ...

    said = welcome.kind.defaults
    assert (said.queue, said.priority, said.timeout) == ("bulk", 5, None)
    assert (said.retry.retries, said.retry.delay, said.retry.unless) == (1, timedelta(seconds=2), (KeyError,))
    assert (other.kind.defaults.priority, other.kind.defaults.retry.delay) == (3, timedelta(seconds=7))


def test_machines_and_actors_heed_it_and_what_a_step_says_stays(here: Path) -> None:
    write(here, "[defaults]\nmax_lost = 7\n[kinds.greeter]\nqueue = 'slow'\n[kinds.Tally]\nqueue = 'actors'")
    app = App()
    greeter = app.machine("greeter", queue="fast")

    @greeter.step
    @dataclass
    class Ask:
        async def run(self) -> None: ...

    @greeter.step(queue="own")
    @dataclass
    class Say:
        async def run(self) -> None: ...

    @app.actor(inbox=int)
    @dataclass
    class Tally:
        async def poll(self, ctx: Context, inbox: Inbox[Any]) -> Action: ...  # pyright: ignore[reportReturnType]

    rows = {row["name"]: row for row in (kind.row() for kind in app.registry)}
    assert (rows["greeter"]["queue"], rows["greeter"]["max_lost"], rows["Tally"]["queue"]) == ("slow", 7, "actors")
    assert rows["greeter"]["steps"]["Say"]["queue"] == "own"
    assert "queue" not in rows["greeter"]["steps"]["Ask"]


def test_a_worker_is_as_configured_where_nothing_is_given(here: Path) -> None:
    write(here, "queues = {mail = 10, default = {weight = 3}}\nconcurrency = 7\npoll = '1s'\nprocess_slots = 2")
    app = App("host=x")
    settings = app.worker(poll="2s")._house.settings
    assert (settings.queues, settings.concurrency) == ({"mail": 10, "default": Weight(3)}, 7)
    assert (settings.poll, settings.processes) == (timedelta(seconds=2), 2)
    assert app.worker(queues="own")._house.settings.queues == {"own": Weight(1)}


def test_an_app_can_do_without(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(here, "concurrency = 'many'")
    monkeypatch.setenv("HOWDAH_DEFAULTS_QUEUE", "bulk")
    app = App("host=x", config=False)
    assert (app.base.queue, app.worker()._house.settings.concurrency) == ("default", 100)
    assert App("host=x", config=Config(concurrency=3)).worker()._house.settings.concurrency == 3
    with pytest.raises(InvalidOption, match="config must be True, False or a Config"):
        App("host=x", config="howdah.toml")  # pyright: ignore[reportArgumentType]


async def test_the_kinds_of_the_database_are_those_that_are_configured(
    here: Path, dsn: str, conn: psycopg.Connection
) -> None:
    write(here, f"dsn = '{dsn}'\n[defaults]\npriority = 3\n[kinds.welcome]\ntimeout = '1m'\nretry.strategy = 'fixed'")
    async with App() as app:

        @app.task(timeout="1s")
        async def welcome() -> str:
            return "done"

        task = await welcome.enqueue()
        assert (await app.show(task.id)).priority == 3
        assert (await app.show((await welcome.using(priority=9).enqueue()).id)).priority == 9
        async with app.worker(poll="20ms"):
            assert await task.result("20s") == "done"
    row = conn.execute("select priority, timeout, strategy from howdah.kind").fetchone()
    assert row == (3, timedelta(minutes=1), "fixed")


# ── which file ──


def test_the_nearest_file_from_the_folder_upwards_counts(here: Path) -> None:
    deep = here / "a" / "b"
    deep.mkdir(parents=True)
    write(here, "concurrency = 1\nhome = 'data'\napp = 'jobs.py:app'")
    write(here / "a", "[tool.ruff]\n# not for howdah\n", "pyproject.toml")
    far = Config.read(deep)
    assert (far.concurrency, far.home, far.app) == (1, str(here / "data"), (f"{here}/jobs.py:app",))
    assert far.said[0].origin == "../../howdah.toml:1"
    write(here / "a", "[tool.howdah]\nconcurrency = 2", "pyproject.toml")
    assert Config.read(deep).concurrency == 2
    write(here / "a", "concurrency = 3")
    assert Config.read(deep).concurrency == 3, "beside it howdah.toml counts"


def test_the_search_ends_at_a_repository_at_home_and_below_what_everybody_may_write(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = here / "inner"
    deep = inner / "deep"
    deep.mkdir(parents=True)
    write(here, "concurrency = 1")
    assert Config.read(deep).concurrency == 1
    (inner / ".git").mkdir()
    assert Config.read(deep).file is None
    (inner / ".git").rmdir()
    monkeypatch.setenv("HOME", str(inner))
    assert Config.read(deep).file is None
    monkeypatch.setenv("HOME", "/nowhere")
    here.chmod(0o777)
    assert Config.read(deep).file is None
    assert Config.read(here).concurrency == 1, "the folder itself was chosen"


def test_a_named_file_counts_and_must_be_there(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(here, "concurrency = 1")
    write(here, "concurrency = 2", "other.toml")
    monkeypatch.setenv("HOWDAH_CONFIG", "other.toml")
    assert Config.read().concurrency == 2
    monkeypatch.setenv("HOWDAH_CONFIG", "missing.toml")
    with pytest.raises(InvalidOption, match="HOWDAH_CONFIG names missing"):
        App()


def test_a_program_whose_folder_was_removed_has_no_file(here: Path) -> None:
    here.rmdir()
    assert Config.read() == Config()


def test_a_file_that_is_no_text_is_said(here: Path) -> None:
    (here / "howdah.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidOption, match=r"howdah\.toml cannot be read"):
        Config.read()


# ── mistakes ──


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("concurency = 1", "howdah.toml:1: concurency: there is no such setting. Did you mean concurrency?"),
        ("\n[defaults]\nqueu = 'x'", "howdah.toml:3: defaults.queu: there is no such setting. Did you mean defaults.queue?"),
        ("[kinds.welcome]\n\ntimeot = 1", "3: kinds.welcome.timeot: there is no such setting. Did you mean kinds.welcome.timeout?"),
        ("[defaults.retry]\nretrys = 1", "2: defaults.retry.retrys: there is no such setting. Did you mean defaults.retry.retries?"),
        ("[defaults]\nretry = {delai = 1}", "howdah.toml:2: defaults.retry.delai: there is no such setting"),
        ("[limits.SES]\nrunnin = 1", "limits.SES.runnin: there is no such setting. Did you mean limits.SES.running?"),
        ("[wroker]\nx = 1", "howdah.toml:1: wroker: there is no such setting"),
        ("defaults = 5", "howdah.toml:1: defaults: it must be a table, not 5. Write [defaults]"),
        ("kinds.welcome = 5", "howdah.toml:1: kinds.welcome: it must be a table"),
        ("concurrency = '5'", "howdah.toml:1: concurrency: concurrency must be a whole number from 1"),
        ("concurrency = true", "concurrency must be a whole number"),
        ("listen = 'yes'", "listen must be true or false"),
        ("lease = '1ms'", "lease must be at least 1s"),
        ("poll = []", "poll must be a length of time"),
        ("dsn = 5", "dsn must be text"),
        ("home = ''", "home must be text"),
        ("app = [1]", "app must be MODULE:APP"),
        ("queues = 5", "queues must be a list or a table"),
        ("queues = ['mail=ten']", "'ten' is not a whole number"),
        ("queues = {mail = 'x'}", "the limit of queue 'mail' must be a whole number"),
        ("queues = {mail = {wait = 3}}", "queue 'mail' must have a number or {weight = 3}"),
        ("queues = []", "queues is empty"),
        ("[defaults]\ntimeout = 'soon'", "howdah.toml:2: defaults.timeout: timeout cannot be read as a length of time"),
        ("[defaults]\nqueue = 'none'\npriority = 'high'", "howdah.toml:3: defaults.priority: priority must be a whole number"),
        ("[defaults]\nretry = 'often'", "howdah.toml:2: defaults.retry.retries: retries must be a whole number"),
        ("[defaults]\nretry.strategy = 'expo'", "howdah.toml:2: defaults.retry.strategy: strategy must be"),
        ("[defaults]\nwarn = {wiat = 1}", "howdah.toml:2: defaults.warn: warn has no threshold 'wiat'"),
        ("[defaults]\nkey = '{'", "howdah.toml:2: defaults.key: "),
        ("[limits.SES]\nrunning = 0", "howdah.toml:2: limits.SES.running: running must be a whole number from 1"),
        ("[limits.SES]\nrate = 0", "limits.SES.rate: rate cannot be read: 0"),
        ("concurrency = ", "howdah.toml cannot be read: "),
    ],
)  # fmt: skip
def test_a_mistake_in_a_file_is_said_with_its_place(text: str, said: str, here: Path) -> None:
    write(here, text)
    with pytest.raises(InvalidOption) as caught:
        App()
    assert said in str(caught.value)
    assert str(caught.value).startswith("howdah.toml")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("HOWDAH_CONCURRENCY", "many", "HOWDAH_CONCURRENCY: concurrency must be a whole number"),
        ("HOWDAH_LISTEN", "yes", "HOWDAH_LISTEN: listen must be true or false"),
        ("HOWDAH_LEASE", "soon", "HOWDAH_LEASE: lease cannot be read"),
        ("HOWDAH_QUEUES", "mail=ten", "HOWDAH_QUEUES: queues 'mail=ten'"),
        ("HOWDAH_DSN", "mysql://u:secret@h/x", "HOWDAH_DSN: dsn is an address of mysql"),
        (
            "HOWDAH_DEFAULTS_QUEU",
            "x",
            "HOWDAH_DEFAULTS_QUEU: there is no such setting. Did you mean HOWDAH_DEFAULTS_QUEUE?",
        ),
        ("HOWDAH_DEFAULTS_RETRY", "often", "HOWDAH_DEFAULTS_RETRY: retries must be a whole number"),
        ("HOWDAH_DEFAULTS_RETRY", "{delai = 1}", "HOWDAH_DEFAULTS_RETRY: delai: there is no such setting"),
        ("HOWDAH_KINDS_WELCOME_TIMEOT", "1", "Did you mean HOWDAH_KINDS_NAME_TIMEOUT?"),
        ("HOWDAH_LIMITS_SES_RUNNING", "1", "HOWDAH_LIMITS_SES_RUNNING: no file has such a limit"),
    ],
)
def test_a_mistake_in_a_variable_is_said_with_its_name(
    name: str, text: str, said: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, text)
    with pytest.raises(InvalidOption) as caught:
        App()
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)


def test_passwords_are_never_shown(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(here, "dsn = 'postgresql://u:secret@h/x'")
    monkeypatch.setenv("HOWDAH_DSN", "host=h user=u password='very secret'")
    shown = repr(Config.read().settings({"dsn": "postgresql://u:secret@h/y"}))
    assert "secret" not in shown
    assert "***" in shown


def test_every_setting_is_listed_with_what_is_built_in(here: Path) -> None:
    settings: dict[str, Any] = {each.key: each.value for each in Config.read().settings()}
    assert settings["concurrency"] == 100
    assert settings["defaults.retry.retries"] == 5
    assert settings["defaults.keep"] == "7d"
    assert {each.origin for each in Config.read().settings()} == {"built in"}
