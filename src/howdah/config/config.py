"""Config: the settings of a program, as a file and the environment give them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from howdah import options
from howdah.config import sources
from howdah.config.keys import RETRY, TOP, Keys, Said, dotted
from howdah.db.failures import without_password
from howdah.durations import in_words
from howdah.kinds.registry import Defaults
from howdah.serving import Weight

BUILT_IN = "built in"


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting, its value, where that came from, and what it hides: values of less weight and where they are."""

    key: str
    value: Any
    origin: str
    hides: tuple[tuple[Any, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Config:
    """What a file and the environment say; each value is checked. An App reads it by itself.

    dsn, home, app         where the database is, where the embedded one lives, what `howdah worker` runs
    queues … grace         how a worker works, as in App.worker; `processes` are those of `howdah worker`, `process_slots`
                           those for handlers with executor="process"
    defaults               options of all kinds, for what code leaves out
    kinds                  options of one kind, over what its code says: the operator's
    limits                 {"tenant:*": {"running": 3, "rate": "10/s", "burst": 20}}
    file                   where it was read from, if anywhere
    said                   every value and its origin; of two for one setting the later counts
    """

    dsn: str | None = None
    home: str | None = None
    app: tuple[str, ...] = ()
    queues: Mapping[str, int | Weight] | None = None
    concurrency: int = 100
    processes: int = 1
    process_slots: int | None = None
    lease: timedelta = timedelta(seconds=30)
    poll: timedelta = timedelta(seconds=5)
    listen: bool = True
    synchronous_commit: bool = True
    grace: timedelta = timedelta(seconds=30)
    defaults: Mapping[str, Any] = field(default_factory=dict[str, Any])
    kinds: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    limits: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    file: Path | None = None
    said: tuple[Said, ...] = ()

    @classmethod
    def read(cls, folder: Path | None = None, environment: Mapping[str, str] | None = None) -> Config:
        """The configuration for a program in `folder`, the working one if none is given.

        The file is the one that $HOWDAH_CONFIG names, else the nearest howdah.toml, or pyproject.toml with
        [tool.howdah], from the folder upwards to the root of its repository or your home. Variables of the environment
        count more. Raises InvalidOption that names the file, line and setting, or the variable.
        """
        folder = _working_folder() if folder is None else folder.absolute()
        environment = os.environ if environment is None else environment
        file = sources.find(folder, environment)
        in_file = [] if file is None else sources.read_file(file, _shown(file, folder))
        said = (*in_file, *sources.read_environment(environment, in_file))
        top: dict[str, Any] = {}
        tables: dict[str, Any] = {"defaults": {}, "kinds": {}, "limits": {}}
        for each in said:
            if len(each.keys) == 1:
                top[each.keys[0]] = each.value
            else:
                _put(tables, each.keys, each.value)
        return cls(**top, **tables, file=file, said=said)

    def base(self) -> Defaults:
        """What kinds have that say nothing else."""
        return _over(Defaults(), self.defaults)

    def of_kind(self, name: str, chosen: Defaults) -> Defaults:
        """What this kind has: what its code says, and over it what is configured for it."""
        for configured in (self.kinds.get(sources.capitals(name)), self.kinds.get(name)):
            if configured:
                chosen = _over(chosen, configured)
        return chosen

    def unused(self, kinds: Iterable[str]) -> list[str]:
        """The kinds that it configures and that are not among these."""
        known = {name for kind in kinds for name in (kind, sources.capitals(kind))}
        return [name for name in self.kinds if name not in known]

    def settings(self, flags: Mapping[str, Any] | None = None) -> list[Setting]:
        """Every setting with its value and origin, those of kinds and limits that were said. Passwords are hidden.

        `flags` are those of the command line, which count most.
        """
        found: dict[Keys, list[tuple[Any, str]]] = {keys: [(value, BUILT_IN)] for keys, value in _built_in()}
        for each in self.said:
            found.setdefault(each.keys, []).append((_hidden(each.keys, each.written), each.origin))
        for name, value in (flags or {}).items():
            found[name,].append((_hidden((name,), value), f"--{name}"))
        usual = {keys: number for number, keys in enumerate(found) if found[keys][0][1] == BUILT_IN}
        ordered = sorted(found, key=lambda keys: (usual.get(keys, len(found)), keys))
        return [Setting(dotted(keys), *found[keys][-1], hides=tuple(reversed(found[keys][:-1]))) for keys in ordered]


def _working_folder() -> Path:
    try:
        return Path.cwd()
    except OSError:  # it was removed: whoever runs there has no file there
        return Path("/")


def _over(base: Defaults, given: Mapping[str, Any]) -> Defaults:
    rest = {name: value for name, value in given.items() if name != "retry"}
    changed = options.defaults(base, **rest)
    # Of a policy in code, what is not said here stays: which exceptions it is for, its rules.
    return replace(changed, retry=base.retry.but(**given["retry"])) if "retry" in given else changed


def _put(tables: dict[str, Any], keys: Keys, value: Any) -> None:
    *above, last = keys
    for key in above:
        tables = tables.setdefault(key, {})
    tables[last] = value


def _built_in() -> Iterable[tuple[Keys, Any]]:
    config, defaults = Config(), Defaults()
    for name in TOP:
        yield (name,), ".howdah" if name == "home" else _written(getattr(config, name)) or None
    for name in options.KIND_OPTIONS:
        if name == "retry":
            retry = defaults.retry
            for each in RETRY:
                yield ("defaults", name, each), _written(getattr(retry, each, retry.backoff.jitter))
        else:
            yield ("defaults", name), _written(getattr(defaults, "groups" if name == "group" else name, None))


def _written(value: Any) -> Any:
    """As a file would write it."""
    return in_words(value) if isinstance(value, timedelta) else list(value) if isinstance(value, tuple) else value  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]


def _hidden(keys: Keys, value: Any) -> Any:
    return without_password(value) if keys == ("dsn",) and isinstance(value, str) else value


def _shown(file: Path, folder: Path) -> str:
    return min(os.path.relpath(file, folder), str(file), key=len)
