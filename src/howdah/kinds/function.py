"""A function as a kind of task."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, Generic, ParamSpec, TypeVar

from howdah.context import ClaimedTask, Context
from howdah.errors import InvalidOption, InvalidPayload
from howdah.kinds import ending
from howdah.kinds.registry import Defaults, Executor
from howdah.outcomes import Outcome, Transition
from howdah.payload import DEFAULT_MAX_BYTES, Signature

P = ParamSpec("P")
R = TypeVar("R")
Handler = Callable[P, R] | Callable[P, Coroutine[Any, Any, R]]


class FunctionKind(Generic[P, R]):
    """What the worker needs to run a function, and the client to enqueue it."""

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str,
        defaults: Defaults,
        executor: Executor | None = None,
        transactional: bool = False,
        max_payload: int = DEFAULT_MAX_BYTES,
    ) -> None:
        self.function = function
        self.name = name
        self.defaults = defaults
        self.transactional = transactional
        self.description = inspect.getdoc(function)
        self.executor: Executor = _executor(name, function, executor)
        if transactional and self.executor != "loop":
            raise InvalidOption(
                f"{name}: transactional=True needs an async function, because ctx.connection is an async connection"
            )
        self.signature = Signature.of(function, injected=(Context,), name=name)
        self.max_payload = max_payload

    def schema(self) -> dict[str, Any]:
        return self.signature.schema()

    def encode(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """Arguments as payload. Raises InvalidPayload."""
        return self.signature.encode(args, kwargs, max_bytes=self.max_payload)

    def encode_many(self, items: Iterable[tuple[Any, ...] | Mapping[str, Any]]) -> list[str]:
        """Many at once. Raises InvalidPayload that says which item."""
        payloads: list[str] = []
        for number, item in enumerate(items):
            try:
                if isinstance(item, Mapping):
                    payloads.append(self.encode((), dict(item)))
                elif isinstance(item, tuple):  # pyright: ignore[reportUnnecessaryIsInstance]
                    payloads.append(self.encode(item, {}))
                else:
                    raise InvalidPayload(f"{self.name}: an item is a tuple or a mapping of arguments, not {item!r:.80}")
            except InvalidPayload as error:
                raise InvalidPayload(f"item {number}: {error.message}", hint=error.hint) from error
        return payloads

    def encode_result(self, value: Any) -> str | None:
        """A result as JSON. Raises InvalidPayload."""
        return self.signature.encode_result(value, max_bytes=self.max_payload)

    def read_result(self, value: Any) -> Any:
        """A stored result as the type the function returns."""
        return self.signature.decode_result(None if value is None else json.dumps(value))

    async def attempt(self, task: ClaimedTask, ctx: Context) -> Transition:
        """Run the function once. Its exceptions pass; its outcomes become transitions."""
        try:
            arguments = self.signature.decode(task.payload)
        except InvalidPayload as error:
            return ending.parked(error)
        for name in self.signature.injected_names:
            arguments[name] = ctx
        try:
            value = await ctx.call(self.function, arguments)
        except Outcome as outcome:
            return ending.of_outcome(self, task, self.defaults.retry, outcome)
        return ending.of_value(self, task, self.defaults.retry, value)


def _executor(name: str, function: Callable[..., Any], asked: Executor | None) -> Executor:
    is_async = inspect.iscoroutinefunction(function)
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise InvalidOption(f"{name} is a generator; a task is a function or an async function")
    if asked not in (None, "loop", "thread", "process"):
        raise InvalidOption(f"{name}: executor must be loop, thread or process, not {asked!r}")
    if asked is None:
        return "loop" if is_async else "thread"
    if asked == "loop" and not is_async:
        raise InvalidOption(
            f"{name}: executor='loop' needs an async function; a plain one would stop the loop for all others"
        )
    if asked != "loop" and is_async:
        raise InvalidOption(f"{name}: executor={asked!r} needs a plain function; an async one runs on the loop")
    return asked
