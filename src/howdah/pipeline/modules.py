"""Which modules a stage may have: those of howdah, and those that packages bring by the entry point `howdah.stages`."""

from __future__ import annotations

import inspect
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from howdah.errors import HowdahError, InvalidOption, MissingExtra, did_you_mean, shown
from howdah.pipeline.stage import Stage

GROUP = "howdah.stages"
PIP = 'pip install "howdah[pipeline]"'

BUILT_IN = {
    "cron": "cron:Cron",
    "interval": "interval:Interval",
    "sql": "sql:Sql",
    "python": "python:Python",
    "filter": "filter:Filter",
    "template": "template:Template",
    "http": "http:Http",
    "email": "email:Email",
    "log": "log:Log",
    "enqueue": "enqueue:Enqueue",
    "file": "file:File",
    "collect": "collect:Collect",
}


class Modules:
    """The modules by name. One is imported when a file names it, not before."""

    def __init__(self, **modules: type[Stage]) -> None:
        self._added = dict(modules)
        self._found: dict[str, EntryPoint] | None = None

    def add(self, name: str, module: type[Stage]) -> None:
        """A module beside the others. Raises InvalidOption if the name is taken."""
        if name in self._added or name in BUILT_IN:
            raise InvalidOption(f"there is a module {name!r} already", hint="Give this one another name")
        self._added[name] = module

    def names(self) -> list[str]:
        """All names: those of howdah first."""
        return list(dict.fromkeys([*BUILT_IN, *self._added, *sorted(self._brought())]))

    def get(self, name: str) -> type[Stage]:
        """Raises InvalidOption if there is none of this name, MissingExtra, or HowdahError if it cannot be imported."""
        if name in self._added:
            return self._added[name]
        if name in BUILT_IN:
            return _built_in(name)
        brought = self._brought().get(name)
        if brought is None:
            raise InvalidOption(f"there is no module {shown(name)}", hint=did_you_mean(name, self.names()))
        return _loaded(brought)

    def _brought(self) -> dict[str, EntryPoint]:
        if self._found is None:
            self._found = {each.name: each for each in entry_points(group=GROUP)}
        return self._found


def _built_in(name: str) -> type[Stage]:
    file, _, title = BUILT_IN[name].partition(":")
    try:
        return getattr(import_module(f"howdah.pipeline.stages.{file}"), title)
    except ImportError as error:
        if error.name is None or error.name.partition(".")[0] == "howdah":
            raise
        raise MissingExtra(f"the module {name} needs the package {error.name}", hint=PIP) from None


def _loaded(brought: EntryPoint) -> type[Stage]:
    try:
        module: Any = brought.load()
    except (Exception, SystemExit) as error:
        raise HowdahError(
            f"the module {brought.name} ({brought.value}) cannot be imported: {type(error).__name__}: {error}"
        ) from error
    if not (inspect.isclass(module) and issubclass(module, Stage)):
        raise HowdahError(f"the module {brought.name} ({brought.value}) is no subclass of howdah.pipeline.stage.Stage")
    return module
