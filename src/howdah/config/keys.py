"""Which settings there are, and what each may be."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Never, cast

from howdah import options, serving
from howdah.backoff import Retry
from howdah.db.failures import check_dsn
from howdah.errors import InvalidOption, nearest, shown
from howdah.kinds.registry import Defaults
from howdah.limits import check_burst, check_rate, check_running

Keys = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Said:
    """One value: which setting, as it was written, as it was read, and where it was said."""

    keys: Keys
    written: Any
    value: Any
    origin: str


PROGRAM = ("dsn", "home", "app")
WORKER = tuple(serving.CHECKS)
TOP = (*PROGRAM, *WORKER)
TABLES = ("defaults", "kinds", "limits")
RETRY = ("retries", "delay", "factor", "max", "jitter", "strategy")
LIMIT = ("running", "rate", "burst")

# Options that may be nothing, which TOML has no word for.
_OR_NONE = ("timeout", "keep", "unique_for", "start_before", "finish_before")
_TEXT = (*PROGRAM, "queue", "key", "on_conflict", "late", "strategy")


# ── a document ──


def flattened(document: Mapping[str, Any]) -> Iterable[tuple[Keys, Any]]:
    """Each setting of a file, by its place. Raises Unread for what is no setting."""
    for name, value in document.items():
        if name == "defaults":
            yield from flattened_options((name,), value)
        elif name in ("kinds", "limits"):
            for each, table in _table((name,), value).items():
                options.check_name(each, name.removesuffix("s"))
                yield from (flattened_options if name == "kinds" else _flattened_limit)((name, each), table)
        elif name in TOP:
            yield (name,), value
        else:
            _unknown((name,), (*TOP, *TABLES))


def flattened_options(above: Keys, value: Any) -> Iterable[tuple[Keys, Any]]:
    """What is said of kinds, or of one. Raises Unread."""
    for name, each in _table(above, value).items():
        if name not in options.KIND_OPTIONS:
            _unknown((*above, name), options.KIND_OPTIONS)
        if name == "retry":
            yield from flattened_retry((*above, name), each)
        else:
            yield (*above, name), each


def flattened_retry(keys: Keys, value: Any) -> Iterable[tuple[Keys, Any]]:
    """A number is how many retries. Raises Unread."""
    if not isinstance(value, Mapping):
        yield (*keys, "retries"), value
        return
    for name, each in _table(keys, value).items():
        if name not in RETRY:
            _unknown((*keys, name), RETRY)
        yield (*keys, name), each


def _flattened_limit(above: Keys, value: Any) -> Iterable[tuple[Keys, Any]]:
    for name, each in _table(above, value).items():
        if name not in LIMIT:
            _unknown((*above, name), LIMIT)
        yield (*above, name), each


class Unread(Exception):
    """A place in a document that is no setting."""

    def __init__(self, keys: Keys, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.keys, self.message, self.hint = keys, message, hint


def _table(keys: Keys, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise Unread(keys, f"it must be a table, not {shown(value)}", f"Write [{dotted(keys)}]")
    return cast("Mapping[str, Any]", value)


def _unknown(keys: Keys, known: Iterable[str]) -> Never:
    known = tuple(known)
    close = nearest(keys[-1], known)
    raise Unread(
        keys,
        "there is no such setting",
        f"Did you mean {dotted((*keys[:-1], close))}?" if close else f"There are {', '.join(known)}",
    )


def dotted(keys: Keys) -> str:
    """A place as TOML writes it: kinds."a b".queue."""
    return ".".join(key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else f'"{key}"' for key in keys)


# ── one value ──


def checked(keys: Keys, value: Any) -> Any:
    """The value as it is used. Raises InvalidOption."""
    name = keys[-1]
    if len(keys) == 1:
        return _TOP[name](value)
    if keys[0] == "limits":
        return _LIMIT[name](value)
    if keys[-2] == "retry":
        Retry(**{name: value})
        return value
    if value == "none" and name in _OR_NONE:
        return None
    options.defaults(Defaults(), **{name: value})
    return value


def from_text(keys: Keys, text: str) -> Any:
    """The value of a variable of the environment, as a file would write it."""
    match keys[-1]:
        case "queues" | "app":
            return [part for part in re.split(r"[,\s]+" if keys[-1] == "app" else r"\s*,\s*", text.strip()) if part]
        case "group":
            return [part.strip() for part in text.split(",") if part.strip()]
        case name if name in _TEXT:
            return text
        case _:
            try:
                return tomllib.loads(f"value = {text}")["value"]
            except tomllib.TOMLDecodeError:
                return text


def _text(name: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if not isinstance(value, str) or not value:
            raise InvalidOption(f"{name} must be text, not {shown(value)}")
        return value

    return check


def _app(value: Any) -> tuple[str, ...]:
    given: Any = value
    names = cast("list[Any]", value) if isinstance(value, list) else [value]
    for name in names:
        if not isinstance(name, str) or not name:
            raise InvalidOption(f"app must be MODULE:APP, or a list of them, not {shown(given)}")
    return tuple(names)


def _queues(value: Any) -> Mapping[str, int | serving.Weight]:
    """A name, a list of what -q takes, or a table: mail = 10, default = {weight = 3}."""
    given: Any = [value] if isinstance(value, str) else value
    if isinstance(given, Mapping):
        limits = {name: _share(name, limit) for name, limit in cast("Mapping[str, Any]", given).items()}
    elif isinstance(given, list) and all(isinstance(each, str) for each in cast("list[Any]", given)):
        limits = serving.queues_in_words(cast("list[str]", given), "queues")
    else:
        raise InvalidOption(
            f"queues must be a list or a table, not {shown(cast('Any', given))}",
            hint='Write ["mail=10", "default"] or {mail = 10, default = {weight = 3}}',
        )
    return serving.check_queues(limits) or {}


def _share(name: str, limit: Any) -> int | serving.Weight:
    if isinstance(limit, Mapping):
        weight: Any = cast("Mapping[str, Any]", limit).get("weight")
        if (
            len(cast("Mapping[str, Any]", limit)) != 1
            or isinstance(weight, bool)
            or not isinstance(weight, (int, float))
        ):
            raise InvalidOption(f"queue {name!r} must have a number or {{weight = 3}}, not {shown(cast('Any', limit))}")
        return serving.Weight(weight)
    return serving.check_count(limit, f"the limit of queue {name!r}")


_TOP: dict[str, Callable[[Any], Any]] = {
    **serving.CHECKS,
    "dsn": check_dsn,
    "home": _text("home"),
    "app": _app,
    "queues": _queues,
}
_LIMIT: dict[str, Callable[[Any], Any]] = {
    "running": check_running,
    "rate": check_rate,
    "burst": check_burst,
}
