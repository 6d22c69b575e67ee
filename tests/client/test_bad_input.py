"""What cannot be meant is refused with one sentence that names it, before anything is written."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import psycopg
import pytest

import servers
from howdah import App, Client, Context, Retry, Weight
from howdah.errors import (
    CannotConnect,
    HowdahError,
    InvalidOption,
    InvalidPayload,
    SchemaMismatch,
    TaskNotFound,
    UnknownKind,
)
from howdah.migrate import migrations


@pytest.fixture
def nothing_is_written(conn: psycopg.Connection) -> Iterator[None]:
    yield
    for table in ("task", "archive", "event", "kind", "queue"):
        assert conn.execute(f"select count(*) from howdah.{table}".encode()).fetchone() == (0,), table


def sentence(error: HowdahError) -> str:
    """The message, which is one line and has nothing of Python's insides."""
    text = str(error)
    assert "\n" not in text
    assert len(text) < 700
    assert " object at 0x" not in text
    return text


@dataclass
class Point:
    x: int
    y: int


cycle: list[Any] = []
cycle.append(cycle)
deep: Any = []
for _ in range(2000):
    deep = [deep]


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


# ── payloads ──

WRONG_ARGUMENTS = [
    ((), {}, "missing argument user_id"),
    ((1, "x", 3), {}, "3 positional arguments given, at most 2 fit"),
    ((1,), {"nmae": "x"}, "unexpected argument nmae"),
    ((1,), {"user_id": 2}, "argument user_id is given twice"),
    (("one",), {}, "user_id: expected int, got str"),
    ((None,), {}, "user_id: expected int, got null"),
    ((1.5,), {}, "user_id"),
    ((True,), {}, "user_id"),
    ((1, 2), {}, "name: expected str, got int"),
    ((1, b"x"), {}, "name"),
    ((1, "a\0b"), {}, "name holds the character NUL"),
    ((1, "\ud800"), {}, "name holds half of a surrogate pair"),
    ((1, Unprintable()), {}, "name"),
]


@pytest.mark.parametrize(("args", "kwargs", "said"), WRONG_ARGUMENTS)
@pytest.mark.usefixtures("nothing_is_written")
async def test_arguments_that_do_not_fit(app: App, args: Any, kwargs: Any, said: str) -> None:
    @app.task()
    async def welcome(user_id: int, name: str = "x") -> None: ...

    anything: Any = welcome
    for call in (anything.enqueue, anything.using(delay=1, key="k").enqueue):
        with pytest.raises(InvalidPayload, match=r"^welcome: ") as error:
            await call(*args, **kwargs)
        assert said in sentence(error.value)
    with pytest.raises(InvalidPayload, match=r"^welcome: "):
        anything.enqueue_sync(*args, **kwargs)
    item = args if args or not kwargs else kwargs
    if not (args and kwargs):
        with pytest.raises(InvalidPayload, match=r"^item 1: welcome: ") as error:
            await welcome.enqueue_many([(1,), item, (2,)])
        assert said in sentence(error.value)


NOT_JSON = [
    (math.nan, "NaN"),
    (math.inf, "Infinity"),
    (b"bytes", "bytes"),
    ("a\0b", "NUL"),
    ("\udfff", "surrogate"),
    ({"k": {"\ud800": 1}}, "surrogate"),
    ({(1, 2): "x"}, "keys in JSON are text"),
    (cycle, "contains itself"),
    (deep, "nested deeper"),
    (10**5000, "digits"),
    (object(), "object"),
    (Unprintable(), "Unprintable"),
    (1j, "complex"),
    (print, "function"),
]


@pytest.mark.parametrize(("value", "said"), NOT_JSON, ids=[said for _, said in NOT_JSON])
@pytest.mark.usefixtures("nothing_is_written")
async def test_values_json_cannot_hold(app: App, value: Any, said: str) -> None:
    @app.task()
    async def store(value: Any) -> None: ...

    for call in (
        partial(store.enqueue, value),
        partial(store.enqueue, {"deep": [1, value]}),
        partial(store.enqueue_many, [(value,)]),
        partial(app.enqueue, "store", value=value),
        partial(app.enqueue, "elsewhere", value=value),
        partial(app.enqueue, "elsewhere", value=[value]),
    ):
        with pytest.raises(InvalidPayload, match="value") as error:
            await call()
        assert said in sentence(error.value)


@pytest.mark.usefixtures("nothing_is_written")
async def test_a_field_deep_inside_is_named_by_its_path(app: App) -> None:
    @app.task()
    async def draw(points: list[Point]) -> None: ...

    wrong: Any = [Point(1, 2), {"x": 1, "y": "two"}]
    with pytest.raises(InvalidPayload, match=r"^draw: points\[.*\]\.y: expected int, got str"):
        await draw.enqueue(wrong)


@pytest.mark.usefixtures("nothing_is_written")
async def test_a_payload_above_the_limit(dsn: str) -> None:
    app = App(dsn, max_payload=100)

    @app.task()
    async def store(text: str) -> None: ...

    for call in (
        partial(store.enqueue, "x" * 100),
        partial(store.enqueue_many, [("x" * 100,)]),
        partial(app.enqueue, "elsewhere", text="x" * 100),
    ):
        with pytest.raises(InvalidPayload, match=r"is 1\d\d bytes, more than the 100 allowed.*App\(max_payload=…\)"):
            await call()


@pytest.mark.usefixtures("nothing_is_written")
async def test_many_is_all_or_nothing(app: App) -> None:
    @app.task()
    async def welcome(user_id: int) -> None: ...

    anything: Any = welcome
    with pytest.raises(InvalidPayload, match=r"^item 4999: welcome: user_id: expected int, got str"):
        await welcome.enqueue_many([(n,) for n in range(4999)] + [("x",)])
    for wrong, said in (
        (5, "enqueue_many takes many tuples or mappings of arguments, not 5"),
        ([5], "^item 0: welcome: an item is a tuple or a mapping of arguments, not 5"),
        ("ab", "^item 0: welcome: an item is a tuple or a mapping of arguments, not 'a'"),
        ([{1: 2}], "^item 0: welcome: "),
    ):
        with pytest.raises(InvalidPayload, match=said):
            await anything.enqueue_many(wrong)
    with pytest.raises(InvalidOption, match="key cannot be given to enqueue_many"):
        await welcome.using(key="k").enqueue_many([(1,)])
    assert await welcome.enqueue_many([]) == []

    def breaks() -> Iterator[tuple[int]]:
        yield (1,)
        raise LookupError("the caller's own")

    with pytest.raises(LookupError, match="the caller's own"):
        await welcome.enqueue_many(breaks())


# ── names ──


@pytest.mark.usefixtures("nothing_is_written")
async def test_an_unknown_kind(app: App) -> None:
    @app.task()
    async def welcome(user_id: int) -> None: ...

    for kind, do in (
        ("welcom", "Did you mean 'welcome'?"),
        ("bye", "Start a worker that has this handler once, or declare it: SELECT howdah.declare"),
    ):
        for call in (app.enqueue(kind, user_id=1), app.using(delay=5).enqueue(kind, user_id=1)):
            with pytest.raises(UnknownKind, match=f"no handler for kind '{kind}'") as error:
                await call
            assert do in sentence(error.value)
        with pytest.raises(UnknownKind):
            await asyncio.to_thread(app.enqueue_sync, kind, user_id=1)


@pytest.mark.usefixtures("nothing_is_written")
async def test_by_name_arguments_have_names(app: App) -> None:
    anything: Any = app
    for call in (anything.enqueue, app.using(delay=1).enqueue):
        with pytest.raises(InvalidPayload, match=r'welcome: .*by name, not 42. Write enqueue\("welcome", user_id=42\)'):
            await call("welcome", 42)
    with pytest.raises(InvalidPayload, match="by name"):
        anything.enqueue_sync("welcome", 42)


@pytest.mark.parametrize("name", ["", "x" * 201, "a\0b", "\ud800", None, 5, b"mail", ["mail"]], ids=repr)
@pytest.mark.usefixtures("nothing_is_written")
async def test_names_that_are_none(app: App, name: Any) -> None:
    @app.task()
    async def welcome(user_id: int) -> None: ...

    for option in ("queue", "key"):
        if name is not None and (option, name) != ("key", "x" * 201):
            with pytest.raises(InvalidOption, match=f"^{option} ") as error:
                welcome.using(**{option: name})
            sentence(error.value)
    with pytest.raises(InvalidOption, match=r"^kind ") as error:
        await app.enqueue(name, user_id=1)
    sentence(error.value)


# ── options ──

WRONG_OPTIONS = [
    ({"delay": -1}, "delay must not be negative: -1"),
    ({"delay": "-5s"}, "delay must not be negative: '-5s'"),
    ({"delay": timedelta(seconds=-1)}, "delay must not be negative"),
    ({"delay": math.nan}, "delay must be a finite number"),
    ({"delay": "soon"}, "delay cannot be read as a length of time: 'soon'. Write"),
    ({"delay": ""}, "delay is empty"),
    ({"delay": True}, "delay must be a length of time, not True"),
    ({"delay": datetime.now(UTC)}, "delay must be a length of time, not datetime"),
    ({"delay": "200 years"}, "delay cannot be read"),
    ({"delay": "99999d"}, "delay is longer than a century"),
    (
        {"at": datetime(2030, 1, 2, 3)},
        "at must be a datetime with a time zone, not the naive 2030-01-02 03:00:00. Write",
    ),
    ({"at": "2030-01-01"}, "at must be a datetime with a time zone, not '2030-01-01'"),
    ({"at": 5}, "at must be a datetime with a time zone, not 5"),
    ({"at": datetime.now(UTC), "delay": 5}, "delay and at were both given"),
    ({"priority": "high"}, "priority must be a whole number of 32 bits, not 'high'"),
    ({"priority": 2**31}, "priority must be a whole number of 32 bits, not 2147483648"),
    ({"priority": 10**5000}, "priority must be a whole number of 32 bits"),
    ({"priority": True}, "priority must be a whole number of 32 bits, not True"),
    ({"priority": 1.0}, "priority must be a whole number of 32 bits, not 1.0"),
    ({"on_conflict": "ignore"}, 'on_conflict must be "return", "raise", "skip", "replace" or "merge", not \'ignore\''),
    ({"on_conflict": []}, "on_conflict must be"),
    ({"dealy": 5}, "using() has no option 'dealy'. Did you mean delay?"),
    ({"prio": 5}, "using() has no option 'prio'. Did you mean priority?"),
    ({"on_conflicts": "skip"}, "using() has no option 'on_conflicts'. Did you mean on_conflict?"),
    (
        {"xyzzy": 5},
        "using() has no option 'xyzzy'. There are delay, at, queue, priority, key, on_conflict, step, connection",
    ),
    ({"connection": "postgresql://"}, "connection= does not take a builtins.str"),
]


@pytest.mark.parametrize(("given", "said"), WRONG_OPTIONS, ids=[said[:40] for _, said in WRONG_OPTIONS])
@pytest.mark.usefixtures("nothing_is_written")
async def test_options_of_an_enqueue(app: App, given: dict[str, Any], said: str) -> None:
    @app.task()
    async def welcome(user_id: int) -> None: ...

    for using in (welcome.using, app.using):
        with pytest.raises(InvalidOption) as error:
            using(**given)
        assert sentence(error.value).startswith(said)


def handler() -> Callable[..., Any]:
    async def welcome(user_id: int) -> None: ...

    return welcome


def sync_handler(user_id: int) -> None: ...


async def generator() -> Any:
    yield 1


async def stars(*args: int) -> None: ...


async def positional_only(x: int, /) -> None: ...


async def unreadable(x: threading.Lock) -> None: ...  # noqa: F821  # pyright: ignore


async def no_json(x: Client) -> None: ...


WRONG_DECORATIONS = [
    ({"name": ""}, handler(), "name must be text of 1 to 200 characters"),
    ({"name": 5}, handler(), "name must be text"),
    ({"queue": ""}, handler(), "queue must be text"),
    ({"priority": "9"}, handler(), "priority must be a whole number"),
    ({"delay": -1}, handler(), "delay must not be negative"),
    ({"retry": -1}, handler(), "retries must be a whole number from 0"),
    ({"retry": "5"}, handler(), "retry must be a Retry or how many retries, not '5'"),
    ({"timeout": 0}, handler(), "timeout must be longer than nothing"),
    ({"timeout": "1 minute"}, handler(), "timeout cannot be read as a length of time"),
    ({"max_lost": -1}, handler(), "max_lost must be a whole number from 0"),
    ({"max_lost": 2**40}, handler(), "max_lost must be a whole number from 0 to 1,000,000"),
    ({"keep": "-1s"}, handler(), "keep must not be negative"),
    ({"executor": "gpu"}, handler(), "welcome: executor must be loop, thread or process, not 'gpu'"),
    ({"executor": "thread"}, handler(), "welcome: executor='thread' needs a plain function"),
    ({"executor": "loop"}, sync_handler, "sync_handler: executor='loop' needs an async function"),
    ({"transactional": "yes"}, handler(), "transactional must be True or False, not 'yes'"),
    ({"transactional": True}, sync_handler, "sync_handler: transactional=True needs an async function"),
    ({}, generator, "generator is a generator"),
    ({}, stars, "stars: *args has no name in JSON"),
    ({}, positional_only, "positional_only: x is positional-only"),
    ({}, unreadable, "unreadable: x: its annotation cannot be resolved"),
    ({}, no_json, "no_json: x: JSON cannot be read as its annotation"),
    ({}, 5, "@app.task() is for functions, not 5"),
    ({}, lambda: None, "<function <lambda>"),
    ({}, partial(sync_handler, 1), "functools.partial"),
]


@pytest.mark.parametrize(("given", "function", "said"), WRONG_DECORATIONS, ids=[said for *_, said in WRONG_DECORATIONS])
def test_options_of_a_decorator(given: dict[str, Any], function: Any, said: str) -> None:
    app = App("postgresql://nowhere")
    with pytest.raises(InvalidOption) as error:
        app.task(**given)(function)
    assert str(error.value).startswith(said)
    assert len(app.registry) == 0


def test_a_decorator_without_its_parentheses_and_with_unknown_options() -> None:
    app: Any = App("postgresql://nowhere")
    with pytest.raises(InvalidOption, match=r"Write @app.task\(\) above the function"):
        app.task(sync_handler)
    with pytest.raises(InvalidOption, match=r"no option 'qeue'.*Did you mean queue"):
        app.task(qeue="mail")
    app.task()(sync_handler)
    with pytest.raises(InvalidOption, match=r"two handlers are called 'sync_handler'.*@app.task\(name=…\)"):
        app.task()(sync_handler)


WRONG_APPS = [
    ({"max_payload": 0}, "max_payload must be a whole number of bytes, not 0"),
    ({"max_payload": "1MB"}, "max_payload must be a whole number of bytes, not '1MB'"),
    ({"max_payload": True}, "max_payload must be a whole number of bytes, not True"),
    ({"home": 5}, "home must be the path of a folder, not 5"),
    ({"home": ""}, "home must be the path of a folder, not ''"),
    ({"dsn": ""}, "dsn is empty. Write"),
    ({"dsn": 5}, "dsn must be text, not int. Write"),
    ({"dsn": "localhost"}, "dsn cannot be read"),
    ({"dsn": "mysql://localhost/x"}, "dsn is an address of mysql, and howdah needs PostgreSQL"),
    ({"dsn": "sqlite:///x.db"}, "dsn is an address of sqlite, and howdah needs PostgreSQL"),
    ({"dsn": "postgresql://localhost/x?sslmdoe=off"}, "dsn cannot be read"),
    ({"dsn": "host=localhost colour=red password=secret"}, "dsn cannot be read"),
    ({"dsn": "postgresql://u:secret@[::1/x"}, "dsn cannot be read"),
    ({"dsn": "postgresql://a\0b"}, "dsn has a NUL character in it"),
]


@pytest.mark.parametrize(("given", "said"), WRONG_APPS, ids=[said for _, said in WRONG_APPS])
def test_options_of_an_app(given: dict[str, Any], said: str) -> None:
    for kind in (App, Client):
        with pytest.raises(InvalidOption) as error:
            kind(**given)
        assert sentence(error.value).startswith(said)
        assert "secret" not in str(error.value)


def test_the_variable_is_checked_as_the_argument_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOWDAH_DSN", "mysql://localhost/x")
    with pytest.raises(InvalidOption, match="dsn is an address of mysql"):
        App()


WRONG_WORKERS = [
    ({"queues": []}, "queues is empty"),
    ({"queues": {"mail": 0}}, "the limit of queue 'mail' must be a whole number from 1"),
    ({"queues": {"mail": "10"}}, "the limit of queue 'mail' must be a whole number from 1"),
    ({"queues": ["", "x"]}, "queue must be text"),
    ({"queues": [5]}, "queue must be text"),
    ({"concurrency": 0}, "concurrency must be a whole number from 1"),
    ({"concurrency": 1.5}, "concurrency must be a whole number from 1"),
    ({"processes": -1}, "processes must be a whole number from 1"),
    ({"lease": "100ms"}, "lease must be at least 1s"),
    ({"lease": "soon"}, "lease cannot be read"),
    ({"poll": 0}, "poll must be at least 10ms"),
    ({"grace": -1}, "grace must not be negative"),
]


@pytest.mark.parametrize(("given", "said"), WRONG_WORKERS, ids=[said for _, said in WRONG_WORKERS])
def test_options_of_a_worker(given: dict[str, Any], said: str) -> None:
    app = App("postgresql://nowhere")
    with pytest.raises(InvalidOption) as error:
        app.worker(**given)
    assert sentence(error.value).startswith(said)
    with pytest.raises(TypeError, match="concurency"):
        app.worker(concurency=5)  # pyright: ignore[reportCallIssue]


def test_values_that_check_themselves() -> None:
    wrong: Any = "ten"
    for make, said in (
        (partial(Retry, -1), "retries"),
        (partial(Retry, 1, factor=0), "factor"),
        (partial(Retry, 1, jitter=wrong), "jitter"),
        (partial(Retry, 1, delay=-1), "delay"),
        (partial(Retry, 1, on=wrong), "on must name exception classes"),
        (partial(Weight, 0), "weight"),
        (partial(Retry.after, -1), "delay"),
    ):
        with pytest.raises(InvalidOption, match=said):
            make()


@pytest.mark.parametrize(
    "task_id",
    [None, "5", 5.0, True, 2**63, -(2**63) - 1, 10**5000],
    ids=["none", "text", "float", "bool", "big", "small", "huge"],
)
@pytest.mark.usefixtures("nothing_is_written")
async def test_ids_that_are_none(app: App, task_id: Any) -> None:
    for verb in (app.cancel, app.retry, app.why, app.show, app.history, app.result):
        with pytest.raises(InvalidOption, match="a task id is a whole number of 64 bits, not") as error:
            await verb(task_id)
        sentence(error.value)


async def test_ids_that_name_nothing(app: App) -> None:
    for verb in (app.cancel, app.retry, app.why, app.show, app.result):
        for task_id in (0, -5, 2**63 - 1):
            with pytest.raises(TaskNotFound, match=str(task_id)):
                await verb(task_id)


async def test_a_timeout_that_cannot_be_meant(app: App) -> None:
    @app.task()
    async def welcome(user_id: int) -> None: ...

    task = await welcome.enqueue(1)
    for timeout in (-1, "soon", True):
        with pytest.raises(InvalidOption, match=r"^timeout "):
            await task.result(timeout)
        with pytest.raises(InvalidOption, match=r"^timeout "):
            await asyncio.to_thread(task.result_sync, timeout)


# ── databases ──


async def refused(dsn: str | None) -> list[HowdahError]:
    """What an enqueue says, async and sync."""
    app = App(dsn)

    @app.task()
    async def welcome(user_id: int) -> None: ...

    with pytest.raises(HowdahError) as first:
        await welcome.enqueue(1)
    with pytest.raises(HowdahError) as second:
        await asyncio.to_thread(welcome.enqueue_sync, 1)
    await app.close()
    return [first.value, second.value]


@pytest.mark.parametrize(
    ("dsn", "do"),
    [
        (
            "postgresql://u:secret@127.0.0.1:1/x",
            "Connection refused. Is the server running, and are host and port right?",
        ),
        ("postgresql://u:secret@/x?host=/nowhere", "No such file or directory. Is the server running, and are host"),
        ("host=nowhere.invalid user=u password=secret", "Mend the host or the port"),
        ("postgresql://u:secret@127.0.0.1:99999/x", "Mend the host or the port"),
        ("postgresql://u:secret@127.0.0.1:port/x", "Mend the host or the port"),
    ],
)
async def test_a_server_that_is_not_there(dsn: str, do: str) -> None:
    for error in await refused(dsn):
        assert isinstance(error, CannotConnect)
        assert sentence(error).startswith("no connection to ")
        assert do in str(error)
        assert "secret" not in str(error)


async def test_an_address_from_the_variable_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    dsn = "postgresql://u:secret@127.0.0.1:1/x"
    monkeypatch.setenv("HOWDAH_DSN", dsn)
    for error in [*await refused(None), *await refused(dsn)]:
        assert sentence(error).endswith("(the address is that of HOWDAH_DSN)")


async def test_a_database_that_is_not_there(server: servers.Server) -> None:
    for error in await refused(server.dsn("howdah_nowhere")):
        assert isinstance(error, CannotConnect)
        said = 'database "howdah_nowhere" does not exist. Create the database, or mend its name'
        assert sentence(error).endswith(said)


async def test_a_user_that_is_not_there(dsn: str) -> None:
    for error in await refused(dsn.replace("howdah@", "howdah_tests_stranger@")):
        assert isinstance(error, CannotConnect)
        said = 'role "howdah_tests_stranger" does not exist. Mend the user or the password'
        assert sentence(error).endswith(said)


@pytest.fixture
def limited(dsn: str, conn: psycopg.Connection) -> Iterator[str]:
    """A user who may connect, and no more."""
    conn.execute("create role howdah_tests_limited login")
    yield psycopg.conninfo.make_conninfo(dsn, options="-c role=howdah_tests_limited")
    conn.execute("drop owned by howdah_tests_limited")
    conn.execute("drop role howdah_tests_limited")


@pytest.mark.usefixtures("nothing_is_written")
async def test_a_user_without_rights(limited: str, conn: psycopg.Connection) -> None:
    for grant, lacks in (
        ("select 1", "permission denied for schema howdah"),
        ("grant usage on schema howdah to howdah_tests_limited", "permission denied for table migration"),
        ("grant select on all tables in schema howdah to howdah_tests_limited", "permission denied for table task"),
    ):
        conn.execute(grant.encode())
        for error in await refused(limited):
            assert isinstance(error, CannotConnect)
            assert sentence(error).startswith(f"this database user lacks a right: {lacks}")
            assert error.hint


async def test_a_database_without_tables(empty_dsn: str) -> None:
    for error in await refused(empty_dsn):
        assert isinstance(error, SchemaMismatch)
        assert sentence(error) == "this database has no tables of howdah yet. Run: howdah migrate"


@pytest.mark.usefixtures("nothing_is_written")
async def test_tables_newer_than_the_code(dsn: str, conn: psycopg.Connection) -> None:
    conn.execute("insert into howdah.migration (version, name) values (9999, 'from the future')")
    conn.execute("update howdah.installed set version = '99.1.0', digest = 'another'")
    try:
        for error in await refused(dsn):
            assert isinstance(error, SchemaMismatch)
            assert "howdah 99.1.0 (schema 9999), newer than this code" in sentence(error)
            assert 'pip install "howdah>=99.1.0"' in str(error)
    finally:
        _restore(conn)


@pytest.mark.usefixtures("nothing_is_written")
async def test_tables_older_than_the_code(dsn: str, conn: psycopg.Connection) -> None:
    conn.execute("update howdah.installed set version = '0.0.1', digest = 'another'")
    try:
        for error in await refused(dsn):
            assert isinstance(error, SchemaMismatch)
            assert "the tables are of howdah 0.0.1" in sentence(error)
            assert error.hint == "Run: howdah migrate"
    finally:
        _restore(conn)


def _restore(conn: psycopg.Connection) -> None:
    from howdah.migrate import digest, release

    conn.execute("delete from howdah.migration where version > %s", [len(migrations())])
    conn.execute("update howdah.installed set version = %s, digest = %s", [release(), digest()])


async def test_a_context_is_not_to_be_passed(app: App) -> None:
    @app.task()
    async def welcome(user_id: int, ctx: Context) -> None: ...

    anything: Any = welcome
    with pytest.raises(InvalidPayload, match="unexpected argument ctx"):
        await anything.enqueue(1, ctx=None)
    with pytest.raises(InvalidPayload, match="2 positional arguments given, at most 1 fit"):
        await anything.enqueue(1, None)
