"""The process that stops the server when its last user was killed and could not."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from howdah.embedded.locks import is_locked, open_private, try_lock
from howdah.embedded.place import Place
from howdah.embedded.postgres import Postgres
from howdah.errors import EmbeddedServerError

log = logging.getLogger("howdah.embedded")

ORPHAN_GRACE = 5.0  # seconds without a living user before the watcher stops the server
REST = 0.5

# Started without site-packages and without howdah/__init__, so that the process that only waits stays small.
# The second fork gives it to init: a starter that lives on has no zombie of it.
BOOTSTRAP = """
import os, sys, types
if hasattr(os, "fork") and os.fork():
    os._exit(0)
sys.modules["howdah"] = package = types.ModuleType("howdah")
package.__path__ = [sys.argv[1]]
from howdah.embedded.watcher import watch
watch(sys.argv[2], sys.argv[3], float(sys.argv[4]), int(sys.argv[5]))
"""


def watcher_pid(place: Place) -> int | None:
    """The pid of the living watcher; 0 if it has not said its pid yet."""
    return int(place.watcher_lock.read_text() or 0) if is_locked(place.watcher_lock) else None


def ensure_watcher(postgres: Postgres) -> None:
    """Make sure that a watcher lives. The place is locked by the caller."""
    place = postgres.place
    lock = open_private(place.watcher_lock, place.owner())
    try:
        if not try_lock(lock):
            return
        os.ftruncate(lock, 0)
        python = _python()
        if python is None:
            log.warning("no Python for a watcher: after kill -9 of its last user, PostgreSQL runs until the next")
            return
        howdah = Path(__file__).parent.parent
        arguments = [howdah, place.directory, postgres.binaries, str(ORPHAN_GRACE), str(lock)]
        watcher = subprocess.Popen(
            [python, "-I", "-S", "-c", BOOTSTRAP, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=place.directory.anchor,
            start_new_session=True,
            pass_fds=() if sys.platform == "win32" else (lock,),
            creationflags=0x208 if sys.platform == "win32" else 0,  # detached, in a group of its own
        )
        if sys.platform != "win32":
            watcher.wait()  # the first of the two forks
    finally:
        os.close(lock)  # only ours: the watcher has it too


def watch(directory: str, binaries: str, grace: float, lock: int) -> None:
    """The watcher's whole life: wait until no user lives, stop the server, end. `lock` was taken by the starter."""
    place = Place(Path(directory))
    postgres = Postgres(place, Path(binaries))
    if sys.platform == "win32":  # where locks are not inherited
        lock = open_private(place.watcher_lock, None)
        while not try_lock(lock):
            time.sleep(0.05)
    os.write(lock, str(os.getpid()).encode())
    lonely_since: float | None = None
    while place.directory.exists():
        # Whatever goes wrong here (no descriptors left, a server that takes its time) may go right the next time.
        with contextlib.suppress(OSError, EmbeddedServerError), place.locked():
            if place.living_users():
                lonely_since = None
            elif not postgres.alive():
                # Before the home's lock is free: whoever takes it next must see that nobody watches.
                os.close(lock)
                return
            elif lonely_since is None:
                lonely_since = time.monotonic()
            elif time.monotonic() - lonely_since >= grace:
                postgres.stop()
        time.sleep(REST)


def _python() -> str | None:
    """An interpreter for the watcher. Inside uWSGI, mod_wsgi or a frozen program, sys.executable is none."""
    for candidate in (sys.executable, os.path.join(sys.prefix, "bin", "python3")):
        if re.match(r"(python|pypy)", os.path.basename(candidate or "")) and os.path.exists(candidate):
            return candidate
    return None
