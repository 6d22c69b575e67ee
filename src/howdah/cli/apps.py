"""Which App a command is for: named, configured, or the one that is there."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from howdah.app import App
from howdah.cli.errors import BrokenApp, NotAnApp, say
from howdah.cli.options import target
from howdah.config import Config
from howdah.errors import HowdahError, InvalidOption
from howdah.installation import Installation

USUAL_FILES = ("app.py", "main.py", "tasks.py")
HOW = "Write MODULE:APP, such as tasks:app; or set HOWDAH_APP, or [tool.howdah] app in pyproject.toml"
_HERE = Path(__file__).parent.parent


class Found(NamedTuple):
    """An App, and the name it was found under."""

    name: str
    app: App


def find(names: Sequence[str]) -> list[Found]:
    """The Apps of these names; without names those of HOWDAH_APP, of the configuration, of the usual files.

    The working folder is put on sys.path. Raises NotAnApp, BrokenApp.
    """
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    chosen = list(names) or configured()
    if chosen:
        return [_load(name) for name in dict.fromkeys(chosen)]
    usual = usual_files()
    found = {id(each.app): each for path in reversed(usual) for each in _apps_in(_import_file(path))}
    if not found:
        looked = (
            f"no App in {', '.join(str(path) for path in usual)}"
            if usual
            else "no app.py, main.py or tasks.py here that says howdah"
        )
        raise NotAnApp(f"which app? {looked}", hint=HOW)
    if len(found) > 1:
        raise NotAnApp(f"which app? Here are {', '.join(each.name for each in found.values())}", hint=HOW)
    return list(found.values())


def configured() -> list[str]:
    """What HOWDAH_APP, howdah.toml or pyproject.toml say."""
    config = Config.read()
    # A file above this folder names modules beside it.
    if config.app and config.file is not None and str(config.file.parent) not in sys.path:
        sys.path.append(str(config.file.parent))
    return list(config.app)


def usual_files() -> list[Path]:
    """The files here that may hold an App. One that never says howdah is another framework's, and is left alone."""
    return [path for name in USUAL_FILES if (path := Path(name)).is_file() and b"howdah" in path.read_bytes()]


def together(found: Sequence[Found], dsn: str | None = None) -> App:
    """One App with the tasks of all of them, on one database.

    Raises InvalidOption if two have a task of the same name, or each a database of its own.
    """
    first = found[0]
    if dsn is None:
        for each in found[1:]:
            if each.app.installation.dsn != first.app.installation.dsn:
                raise InvalidOption(
                    f"{first.name} and {each.name} use different databases",
                    hint="Run a worker for each of them, or give --dsn",
                )
    installation = first.app.installation if dsn is None else Installation(dsn)
    for each in found:
        each.app.installation = installation  # handlers enqueue through their own App
    if len(found) == 1:
        return first.app
    served, owner = App(dsn, config=first.app.config), dict[str, str]()
    served.installation = installation
    for each in found:
        for kind in each.app.registry:
            if kind.name in owner:
                raise InvalidOption(
                    f"{owner[kind.name]} and {each.name} both have a task {kind.name!r}",
                    hint="Give one of them another name: @app.task(name=…); or run a worker for each",
                )
            owner[kind.name] = each.name
        served.registry.take_all(each.app.registry)
        served.listeners += each.app.listeners
    return served


@contextmanager
def opened(named: str | None, dsn: str | None, what: str) -> Generator[App]:
    """The App of `here`, to write with: names the target on stderr first, and is closed at the end."""
    found = here(named, dsn, what)
    say(f"→ {target(found.installation.dsn)}")
    try:
        yield found
    finally:
        found.close_sync()


def here(named: str | None, dsn: str | None, what: str) -> App:
    """The App that checks a payload or message; one without handlers if there is none here."""
    if named or configured():
        return together(find([named] if named else []), dsn)
    if usual_files():
        try:
            return together(find([]), dsn)
        except (InvalidOption, BrokenApp) as error:
            say(f"note: the {what} is not checked here: {error.message}")
    return App(dsn)


def _load(name: str) -> Found:
    module_name, colon, attribute = name.rpartition(":")
    if not colon:
        module_name, attribute = name, ""
    module = _import(module_name)
    apps = _apps_in(module)
    if not attribute:
        if len(apps) == 1:
            return apps[0]
        there = ", ".join(each.name for each in apps) or "no App at all"
        raise NotAnApp(f"{module_name} has {there}", hint=HOW)
    value: Any = module
    for part in attribute.split("."):
        value = getattr(value, part, None)
        if value is None:
            there = f"; it has {', '.join(each.name for each in apps)}" if apps else ", and no App under another name"
            raise NotAnApp(f"{module_name} has no {attribute!r}{there}", hint=HOW)
    if not isinstance(value, App):
        there = f"; {', '.join(each.name for each in apps)} is one" if apps else ""
        raise NotAnApp(
            f"{name} is not an App but a {type(value).__module__}.{type(value).__qualname__}{there}", hint=HOW
        )
    return Found(name, value)


def _apps_in(module: ModuleType) -> list[Found]:
    apps = {
        id(value): Found(f"{module.__name__}:{name}", value)
        for name, value in vars(module).items()
        if isinstance(value, App)
    }
    return list(apps.values())


def _import(name: str) -> ModuleType:
    """A module by its name, or by its path."""
    if name.endswith(".py") or "/" in name or os.sep in name:
        path = Path(name)
        if not path.is_file():
            path = path.with_suffix(".py")
        if not path.is_file():
            raise NotAnApp(f"there is no file {name}", hint=HOW)
        return _import_file(path)
    if not name or not all(part.isidentifier() for part in name.split(".")):
        raise NotAnApp(f"{name!r} is not the name of a module", hint=HOW)
    return _run_import(name)


def _import_file(path: Path) -> ModuleType:
    """By the name it has from the folder above its outermost package, so that its own imports work."""
    path = path.resolve()
    folder, parts = path.parent, [path.stem]
    while (folder / "__init__.py").exists():
        parts.insert(0, folder.name)
        folder = folder.parent
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    name = ".".join(parts)
    module = _run_import(name)
    if Path(getattr(module, "__file__", None) or "").resolve() != path:
        raise NotAnApp(
            f"{_near(path)} cannot be imported: another module is called {name!r} ({module.__file__})",
            hint="Give the file another name",
        )
    return module


def _run_import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        where = _blame(error)
        if (
            where is None
            and isinstance(error, ModuleNotFoundError)
            and error.name
            and f"{name}.".startswith(error.name + ".")
        ):
            there = ", ".join(sorted(path.name for path in Path.cwd().glob("*.py"))[:10]) or "no Python file"
            raise NotAnApp(f"there is no module {error.name!r}; {Path.cwd()} has {there}", hint=HOW) from error
        place = f"{where}: " if where else f"importing {name}: "
        if isinstance(error, HowdahError):
            raise BrokenApp(f"{place}{error.message}", hint=error.hint) from error
        if isinstance(error, SyntaxError):
            said = f"{type(error).__name__}: {error.msg}"
        elif isinstance(error, SystemExit):
            said = "the module ends the program (SystemExit) while it is imported"
        else:
            said = " ".join(f"{type(error).__name__}: {error}".split())
        hint = "The whole traceback: --debug"
        if isinstance(error, ModuleNotFoundError):
            hint = f"Is it installed in this environment ({sys.prefix})?"
        raise BrokenApp(f"{place}{said}", hint=hint) from error


def _blame(error: BaseException) -> str | None:
    """FILE:LINE of the user's code that failed: the innermost line that is neither ours nor an installed package's."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{_near(Path(error.filename))}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if not frame.filename.startswith("<") and _is_users(Path(frame.filename))]
    return f"{_near(Path(theirs[-1].filename))}:{theirs[-1].lineno}" if theirs else None


def _is_users(path: Path) -> bool:
    standard = Path(os.__file__).parent
    if path.is_relative_to(_HERE):
        return False
    return not path.is_relative_to(standard) and "site-packages" not in path.parts


def _near(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def names(found: Iterable[Found]) -> str:
    return ", ".join(each.name for each in found)
