"""Where settings are said: a file that is searched for, and variables of the environment."""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Never, cast

from howdah import options
from howdah.config import keys as known
from howdah.config.keys import Keys, Said, Unread, dotted
from howdah.errors import InvalidOption, nearest

FILE = "HOWDAH_CONFIG"

# ── the file ──


def find(folder: Path, environment: Mapping[str, str]) -> Path | None:
    """The file that $HOWDAH_CONFIG names, else howdah.toml or a pyproject.toml with [tool.howdah], here or above.

    The search ends at the root of a repository, at the home of the user, and below a folder that everybody may write to.
    Raises InvalidOption if the named one is not there.
    """
    if named := environment.get(FILE):
        path = Path(os.path.normpath(folder / Path(named).expanduser()))
        if not path.is_file():
            raise InvalidOption(f"{FILE} names {named}, and there is no such file", hint=f"Mend it, or unset {FILE}")
        return path
    for place in (folder, *folder.parents):
        if place != folder and _open_to_all(place):
            return None
        for path in (place / "howdah.toml", place / "pyproject.toml"):
            # A project's file that we may not read is none of our business.
            if os.path.isfile(path) and (not _is_project(path) or (os.access(path, os.R_OK) and _document(path))):
                return path
        if (place / ".git").exists() or place == _home():
            return None
    return None


def read_file(path: Path, shown_as: str) -> list[Said]:
    """What it says. Raises InvalidOption that names file, line and setting."""
    document = _document(path, shown_as)
    lines = dict(_lines(path.read_text(encoding="utf-8"), ("tool", "howdah") if _is_project(path) else ()))

    def origin(keys: Keys) -> str:
        near = next((keys[:n] for n in range(len(keys), 0, -1) if keys[:n] in lines), None)
        return f"{shown_as}:{lines[near]}" if near else shown_as

    try:
        return [said(keys, value, origin(keys), path.parent) for keys, value in known.flattened(document)]
    except Unread as error:
        raise InvalidOption(f"{origin(error.keys)}: {dotted(error.keys)}: {error.message}", hint=error.hint) from None


def said(keys: Keys, written: Any, origin: str, folder: Path | None = None) -> Said:
    """One value, checked; paths are relative to `folder`. Raises InvalidOption that says where it stands."""
    try:
        value = known.checked(keys, written)
    except InvalidOption as error:
        place = origin if origin.startswith("HOWDAH_") else f"{origin}: {dotted(keys)}"
        raise InvalidOption(f"{place}: {error.message}", hint=error.hint) from error
    if folder is not None and keys == ("home",):
        value = str(folder / Path(value).expanduser())
    if folder is not None and keys == ("app",):
        value = tuple(_beside(folder, name) for name in value)
    return Said(keys, written, value, origin)


def _beside(folder: Path, name: str) -> str:
    """MODULE:APP; a path is relative to the file that names it."""
    module, _, app = name.partition(":")
    return f"{folder / module}:{app}".rstrip(":") if "/" in module or module.endswith(".py") else name


def _document(path: Path, shown_as: str | None = None) -> Mapping[str, Any]:
    """The settings of a file as they are; empty if it has none."""
    try:
        content = path.read_bytes()
        if _is_project(path) and b"howdah" not in content:
            return {}
        document: Any = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise InvalidOption(f"{shown_as or path} cannot be read: {error}") from error
    for name in ("tool", "howdah") if _is_project(path) else ():
        document = cast("Mapping[str, Any]", document).get(name, {}) if isinstance(document, Mapping) else {}
    return cast("Mapping[str, Any]", document) if isinstance(document, Mapping) else {}


def _is_project(path: Path) -> bool:
    return path.name == "pyproject.toml"


def _open_to_all(folder: Path) -> bool:
    if os.name != "posix":  # the bits say nothing there
        return False
    try:
        return bool(folder.stat().st_mode & stat.S_IWOTH)
    except OSError:
        return True


def _home() -> Path | None:
    try:
        return Path.home()
    except RuntimeError:  # there is none
        return None


_KEY = r"""(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')"""
_PATH = rf"{_KEY}(?:\s*\.\s*{_KEY})*"
_HEADING = re.compile(rf"\s*\[\s*({_PATH})\s*\]\s*(?:#.*)?")
_SETTING = re.compile(rf"\s*({_PATH})\s*=")


def _lines(text: str, above: Keys) -> Iterator[tuple[Keys, int]]:
    """On which line each setting begins: tomllib does not say it. `above` is the table that counts."""
    table: Keys = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if heading := _HEADING.fullmatch(line):
            found = table = _parts(heading[1])
        elif setting := _SETTING.match(line):
            found = table + _parts(setting[1])
        else:
            continue
        if found[: len(above)] == above and len(found) > len(above):
            yield found[len(above) :], number


def _parts(path: str) -> Keys:
    return tuple(part.strip("\"'") for part in re.findall(_KEY, path))


# ── the environment ──


def variable(keys: Keys) -> str:
    """The name of its variable: HOWDAH_ and the place, in capitals, with _ for all that is no letter or digit."""
    return "HOWDAH_" + "_".join(capitals(key) for key in keys)


def capitals(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]", "_", name).upper()


def read_environment(environment: Mapping[str, str], file: Iterable[Said]) -> list[Said]:
    """What its variables say; an empty one says nothing. Raises InvalidOption that names the variable.

    The names of kinds and limits are those that the file has, if it has them; a kind that it has not stays in capitals.
    """
    names = {variable(each.keys[:2]): each.keys[:2] for each in file if each.keys[0] in ("kinds", "limits")}
    found: list[Said] = []
    for name, text in sorted(environment.items()):
        if not name.startswith("HOWDAH_") or not text:
            continue
        keys = _keys_of(name, names)
        if keys is None:
            continue
        value = known.from_text(keys, text)
        try:
            values = known.flattened_retry(keys, value) if keys[-1] == "retry" else [(keys, value)]
            found += [said(each, part, name) for each, part in values]
        except Unread as error:
            raise InvalidOption(f"{name}: {dotted(error.keys[-1:])}: {error.message}", hint=error.hint) from None
    return found


def _keys_of(name: str, names: Mapping[str, Keys]) -> Keys | None:
    """Which setting a variable is for; None if it is for something else."""
    for key in known.TOP:
        if name == variable((key,)):
            return (key,)
    for above, limit in sorted(names.items(), reverse=True):
        if name.startswith(f"{above}_") and (last := _option(name[len(above) + 1 :], limit[0])):
            return limit + last
    if name.startswith("HOWDAH_DEFAULTS_"):
        last = name.removeprefix("HOWDAH_DEFAULTS_")
        return ("defaults", *(_option(last, "kinds") or _no_option(name, last, "HOWDAH_DEFAULTS_")))
    if name.startswith("HOWDAH_KINDS_"):
        rest = name.removeprefix("HOWDAH_KINDS_")
        for suffix in sorted(_OPTIONS, key=len, reverse=True):
            if rest.endswith(f"_{suffix}") and len(rest) > len(suffix) + 1:
                return ("kinds", rest[: -len(suffix) - 1], *_OPTIONS[suffix])
        _no_option(name, rest.rpartition("_")[2], "HOWDAH_KINDS_NAME_")
    if name.startswith("HOWDAH_LIMITS_"):
        raise InvalidOption(
            f"{name}: no file has such a limit",
            hint="Name the limit in a file; variables only change it: HOWDAH_LIMITS_NAME_RUNNING, _RATE, _BURST",
        )
    return None


_OPTIONS: dict[str, Keys] = {
    **{capitals(name): (name,) for name in options.KIND_OPTIONS},
    **{f"RETRY_{capitals(name)}": ("retry", name) for name in known.RETRY},
}


def _option(suffix: str, table: str) -> Keys | None:
    if table == "limits":
        return (suffix.lower(),) if suffix.lower() in known.LIMIT else None
    return _OPTIONS.get(suffix)


def _no_option(name: str, last: str, above: str) -> Never:
    close = nearest(last, _OPTIONS)
    raise InvalidOption(
        f"{name}: there is no such setting",
        hint=f"Did you mean {above}{close}?" if close else f"It ends with one of {', '.join(_OPTIONS)}",
    )


def nearly(environment: Mapping[str, str]) -> dict[str, str]:
    """Variables that look like a mistake in the name of a setting, and that setting's: HOWDAH_CONCURENCY."""
    right = {variable((key,)) for key in known.TOP} | {FILE}
    others = {"HOWDAH_LOG", "HOWDAH_OUTPUT", "HOWDAH_HEALTH"}
    wrong = (name for name in environment if name.startswith("HOWDAH_") and name not in right | others)
    return {name: close for name in wrong if (close := nearest(name, right, cutoff=0.9))}
