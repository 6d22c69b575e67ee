"""Which kinds of task this program knows, and what each says of itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal, Protocol

import msgspec

from howdah.backoff import Retry
from howdah.context import ClaimedTask, Context
from howdah.errors import InvalidOption, UnknownKind
from howdah.outcomes import Transition

Executor = Literal["loop", "thread", "process"]


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a kind says of its tasks; a task may be enqueued with another queue, priority or time."""

    queue: str = "default"
    priority: int = 0
    delay: timedelta = timedelta(0)
    retry: Retry = Retry()  # noqa: RUF009  (it is never changed)
    max_lost: int = 3
    timeout: timedelta | None = None
    keep: timedelta | None = timedelta(days=7)


class Kind(Protocol):
    """A handler as the worker sees it. Everything typed is inside."""

    @property
    def name(self) -> str: ...
    @property
    def defaults(self) -> Defaults: ...
    @property
    def executor(self) -> Executor: ...
    @property
    def transactional(self) -> bool: ...
    @property
    def description(self) -> str | None: ...
    def schema(self) -> dict[str, Any]: ...
    def encode(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str: ...
    def read_result(self, value: Any) -> Any: ...
    async def attempt(self, task: ClaimedTask, ctx: Context) -> Transition: ...


class Registry:
    """The kinds of one App, by name."""

    def __init__(self) -> None:
        self._kinds: dict[str, Kind] = {}

    def add(self, kind: Kind) -> None:
        """Raises InvalidOption if the name is taken."""
        if kind.name in self._kinds:
            raise InvalidOption(
                f"two handlers are called {kind.name!r}", hint="Give one of them another name: @app.task(name=…)"
            )
        self._kinds[kind.name] = kind

    def get(self, name: str) -> Kind:
        """Raises UnknownKind."""
        kind = self._kinds.get(name)
        if kind is None:
            known = ", ".join(sorted(self._kinds)) or "none"
            raise UnknownKind(
                f"no handler for kind {name!r}; known here: {known}",
                hint="Import its module before starting the worker",
            )
        return kind

    def find(self, name: str) -> Kind | None:
        return self._kinds.get(name)

    def __iter__(self) -> Iterator[Kind]:
        return iter(self._kinds.values())

    def __len__(self) -> int:
        return len(self._kinds)

    def names(self) -> list[str]:
        return sorted(self._kinds)

    def declaration(self) -> str:
        """All kinds as JSON, for `howdah.declare`."""
        return msgspec.json.encode([_row(kind) for kind in self]).decode()


def _row(kind: Kind) -> dict[str, Any]:
    defaults = kind.defaults
    seconds = {
        "delay": defaults.delay,
        "retry_delay": defaults.retry.delay,
        "retry_max": defaults.retry.max,
        "timeout": defaults.timeout,
        "keep": defaults.keep,
    }
    return {
        "name": kind.name,
        "queue": defaults.queue,
        "priority": defaults.priority,
        "max_attempts": defaults.retry.max_attempts,
        "max_lost": defaults.max_lost,
        "retry_factor": defaults.retry.factor,
        "executor": kind.executor,
        "signature": kind.schema(),
        "description": kind.description,
    } | {name: None if value is None else f"{value.total_seconds()} seconds" for name, value in seconds.items()}
