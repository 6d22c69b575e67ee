"""What a file says of attempts: retry, timeout, queue, priority, delay, concurrency."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from howdah import options
from howdah.backoff import Retry
from howdah.errors import InvalidOption, shown
from howdah.kinds.registry import Defaults
from howdah.pipeline import nodes
from howdah.pipeline.environment import Environment
from howdah.pipeline.nodes import Node, in_words
from howdah.pipeline.problems import Problems

MAX_CONCURRENCY = 1_000_000

ALL_STAGES = ("retry", "timeout", "queue", "priority")
ONE_STAGE = (*ALL_STAGES, "delay")
RETRY = ("retries", "delay", "factor", "max", "jitter", "strategy")


class Attempts:
    """Reads them of one mapping: `defaults:`, or a stage."""

    def __init__(
        self,
        node: Node,
        problems: Problems,
        environment: Environment,
        stage: str | None = None,
        prefix: nodes.Path = (),
    ) -> None:
        self._node = node
        self._problems = problems
        self._environment = environment
        self._stage = stage
        self._prefix = prefix

    def defaults(self, base: Defaults, names: Iterable[str]) -> Defaults:
        """What is given, over what is not."""
        for name in names:
            given = self._node.get(name)
            if given is None:
                continue
            try:
                if name == "retry":
                    base = replace(base, retry=self._retry(given))
                    continue
                value = given.plain()
                if name == "queue" and isinstance(value, str):
                    value = self._environment.fill(value)
                base = options.defaults(base, **{name: value})
            except InvalidOption as error:
                self._problem((name,), error)
        return base

    def concurrency(self) -> int | None:
        """At most how many at once; None for no limit."""
        given = self._node.get("concurrency")
        if given is None or given.value is None:
            return None
        if type(given.value) is int and 1 <= given.value <= MAX_CONCURRENCY:
            return given.value
        said = f"it must be a whole number from 1 to {MAX_CONCURRENCY:,}, not {shown(given.plain())}"
        self._problem(("concurrency",), InvalidOption(said))
        return None

    def _retry(self, given: Node) -> Retry:
        """Raises InvalidOption where it is no mapping; what is wrong within one is a problem of its own."""
        if type(given.value) is int:
            return Retry(given.value)
        if not isinstance(given.value, dict):
            said = f"it must be how many retries, or a mapping of {', '.join(RETRY)}, not {in_words(given)}"
            raise InvalidOption(said)
        self._problems.unknown(given, RETRY, self._stage, (*self._prefix, "retry"))
        right: dict[str, Any] = {}
        for name, each in given.value.items():
            if name not in RETRY:
                continue
            try:
                Retry(**{name: each.plain()})
                right[name] = each.plain()
            except InvalidOption as error:
                self._problem(("retry", name), error)
        return Retry(**right)

    def _problem(self, path: nodes.Path, error: InvalidOption) -> None:
        self._problems.at(self._node, path, error.message, self._stage, error.hint, self._prefix)
