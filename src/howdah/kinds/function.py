"""A function as a kind of task."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Generic, ParamSpec, TypeVar

from howdah.context import ClaimedTask, Context
from howdah.errors import InvalidOption, InvalidPayload
from howdah.kinds import ending
from howdah.kinds.registry import Beginning, Defaults, Executor, executor_of, row
from howdah.outcomes import Outcome, Transition
from howdah.payload import DEFAULT_MAX_BYTES, Signature
from howdah.templates import check_fields, fields_of

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
        signature: Signature | None = None,
    ) -> None:
        self.function = function
        self.name = name
        self.defaults = defaults
        self.transactional = transactional
        self.description = inspect.getdoc(function)
        self.executor: Executor = executor_of(name, function, executor)
        if transactional and self.executor != "loop":
            raise InvalidOption(
                f"{name}: transactional=True needs an async function, because ctx.connection is an async connection"
            )
        self.signature = signature or Signature.of(function, injected=(Context,), name=name)
        check_fields(name, defaults.key, defaults.groups, self.signature.keys)
        # What a key is made of is in the payload, also where the caller leaves it out.
        named = {field: self.signature.default_of(field) for field, *_ in fields_of(defaults.key, defaults.groups)}
        self._written = {field: value for field, value in named.items() if value is not inspect.Parameter.empty}
        self.max_payload = max_payload

    @property
    def source(self) -> tuple[str, str]:
        return self.function.__module__, self.function.__qualname__

    reads_all = True  # for ctx.children

    def at(self, step: str | None) -> FunctionKind[P, R]:
        return self

    def handlers(self) -> tuple[FunctionKind[P, R]]:
        return (self,)

    def check(self) -> None:
        pass

    def row(self) -> dict[str, Any]:
        return row(
            self.name,
            self.defaults,
            executor=self.executor,
            signature=self.signature.schema(),
            description=self.description,
        )

    def begin(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Beginning:
        """Arguments, checked. Raises InvalidPayload."""
        return Beginning(self.encode(args, kwargs), self.defaults)

    born = begin

    def named(self, step: str | None, fields: Mapping[str, Any]) -> Beginning:
        """Arguments by name, checked. Raises InvalidPayload, and InvalidOption with a step."""
        if step is not None:
            raise InvalidOption(f"{self.name} has no steps, so it has no step {step!r:.80}", hint="Leave step out")
        return self.begin((), fields)

    def encode(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
        """Arguments as payload. Raises InvalidPayload."""
        if self._written:
            given = self.signature.bind(args, dict(kwargs))
            kwargs = {**{field: value for field, value in self._written.items() if field not in given}, **kwargs}
        return self.signature.encode(args, dict(kwargs), max_bytes=self.max_payload)

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
            value = outcome
        return self.transition(task, ctx, value)

    def transition(self, task: ClaimedTask, ctx: Context, value: Any) -> Transition:
        """How an attempt ends whose function returned this."""
        transition = ending.of_value(self, task, self.defaults.retry, value)
        if transition.attempts == "reset":
            transition.consumed = ctx.consumed
        return transition
