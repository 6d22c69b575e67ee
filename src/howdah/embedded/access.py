"""Where the server listens, and who gets in."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import stat
import sys
import tempfile
from pathlib import Path

from howdah.embedded.accounts import give, is_reachable
from howdah.embedded.locks import open_private
from howdah.embedded.place import Place
from howdah.errors import EmbeddedServerError

if sys.platform != "win32":
    import pwd


def write_access_rules(place: Place, uid: int | None) -> None:
    """Only the owner of the place and root get in, as whatever role they name: no passwords, no trust."""
    rules, names = "host all all 127.0.0.1/32 scram-sha-256\n", ""
    if sys.platform != "win32":
        rules = "local all all peer map=howdah\n"
        for person in sorted({0, place.owner()}):
            with contextlib.suppress(KeyError):
                names += f'howdah "{pwd.getpwuid(person).pw_name}" all\n'
    for file, text in (("pg_hba.conf", rules), ("pg_ident.conf", names)):
        descriptor = open_private(place.data / file, uid)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"# written by howdah at each start\n{text}".encode())
        os.close(descriptor)


def listen_settings(place: Place, uid: int | None) -> dict[str, str]:
    if sys.platform == "win32":
        with socket.create_server(("127.0.0.1", 0)) as free:
            return {"listen_addresses": "127.0.0.1", "port": str(free.getsockname()[1])}
    return {
        "listen_addresses": "",
        "port": "5432",
        "unix_socket_directories": str(_socket_directory(place, uid)),
        "unix_socket_permissions": "0700",
    }


def socket_in(directory: Path | str) -> Path:
    return Path(directory) / ".s.PGSQL.5432"


def _socket_directory(place: Place, uid: int | None) -> Path:
    """A private directory with a short path, the same at every start: users reconnect to the address they know."""
    link = place.directory / "socket"
    if link.is_symlink():
        known = place.directory / link.readlink()
        if _is_private(known, os.geteuid() if uid is None else uid) and _can_bind(known):
            return known
        link.unlink()
    # Not `socket` itself: the server of a home that was deleted and made again may still be ending, and removes its
    # socket by name.
    for parent, prefix in (
        (place.directory, "s-"),
        (Path(tempfile.gettempdir()), "howdah-"),
        (Path("/tmp"), "howdah-"),
    ):
        fresh = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        give(fresh, uid)
        plain = re.fullmatch(r"[\w ./+-]+", str(fresh))  # a setting that is a list, read by a shell on its way
        if plain and _can_bind(fresh) and (uid is None or is_reachable(fresh, uid)):
            link.symlink_to(fresh.name if parent == place.directory else fresh)
            return fresh
        fresh.rmdir()
    raise EmbeddedServerError(
        f"no directory for the socket of {place.data}: neither there nor in {tempfile.gettempdir()} can one be made",
        hint="Set HOWDAH_HOME to a shorter path on a local disk",
    )


def _is_private(directory: Path, owner: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        found = directory.lstat()
        return found.st_uid == owner and stat.S_ISDIR(found.st_mode) and found.st_mode & 0o777 == 0o700
    return False


def _can_bind(directory: Path) -> bool:
    """Whether a socket can be made here: the path may be too long, the file system may have none."""
    for leftover in directory.iterdir():  # of a server that was killed
        leftover.unlink()
    path = socket_in(directory)
    with socket.socket(socket.AF_UNIX) as attempt:
        try:
            attempt.bind(str(path))
        except OSError:
            return False
    path.unlink()
    return True
