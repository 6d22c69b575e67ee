"""A function that takes many tasks at once: a list for each argument, an end for each task."""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from howdah.context import ClaimedTask, Context
from howdah.durations import duration
from howdah.errors import InvalidOption, shown
from howdah.kinds import ending
from howdah.kinds.function import FunctionKind
from howdah.kinds.registry import Defaults, Executor, Handler, Kind
from howdah.outcomes import Fail, Outcome, Transition
from howdah.payload import DEFAULT_MAX_BYTES, Signature
from howdah.payload.sentences import isa
from howdah.payload.signature import check_goes_by_name, naming_option, readable, resolver, signature_of

WAIT = timedelta(milliseconds=50)
_EMPTY: Any = inspect.Parameter.empty


class BatchKind(FunctionKind[..., Any]):
    """A function that is called once for up to `size` tasks. To everybody but the worker it is a function of one item.

    `wait`: how long the first of a batch waits for others.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str,
        defaults: Defaults,
        together: tuple[int, timedelta],
        executor: Executor | None = None,
        max_payload: int = DEFAULT_MAX_BYTES,
    ) -> None:
        signature, self._contexts = of_one(function, name)
        super().__init__(
            function, name=name, defaults=defaults, executor=executor, max_payload=max_payload, signature=signature
        )
        self.size, self.wait = together

    def row(self) -> dict[str, Any]:
        return super().row() | {"batch": self.size, "batch_wait": f"{self.wait.total_seconds()} seconds"}

    async def attempt(self, task: ClaimedTask, ctx: Context) -> Transition:
        """A batch of this task alone."""
        (value,) = await self.run([self.signature.decode(task.payload)], [ctx])
        return self.transition(task, ctx, value)

    async def run(self, items: Sequence[dict[str, Any]], contexts: list[Context]) -> list[Any]:
        """Call the function once. For each item what it returned for it: a value, an outcome, or an exception.

        What the function raises passes, but for an outcome: that is the one of all.
        """
        arguments: dict[str, Any] = {name: [item[name] for item in items] for name in self.signature.names}
        for name in self._contexts:
            arguments[name] = contexts
        try:
            value = await contexts[0].call(self.function, arguments)
        except Outcome as outcome:
            value = outcome
        if value is None or isinstance(value, Outcome):
            return [value] * len(items)
        if not isinstance(value, (list, tuple)):
            wrong = f"{shown(value)} instead of a list"
        elif len(answers := typing.cast("Sequence[Any]", value)) != len(items):
            wrong = f"a list of {len(answers)} for a batch of {len(items)}"
        else:
            return list(answers)
        # Nobody knows which of them is whose: none may count as done.
        return [Fail(f"{self.name} returned {wrong}: it takes one value or outcome for each task, or None")] * len(
            items
        )

    def transition(self, task: ClaimedTask, ctx: Context, value: Any) -> Transition:
        """As of a function; an exception in the list is as if the task alone had raised it."""
        if isinstance(value, BaseException) and not isinstance(value, Outcome):
            return ending.of_error(task, self.defaults.retry, value)
        return super().transition(task, ctx, value)


def batches(size: Any, wait: Any, *, transactional: bool) -> tuple[int, timedelta] | None:
    """The options batch and wait, checked; None without them. Raises InvalidOption that names the option."""
    if size is None:
        if wait is not None:
            raise InvalidOption("wait is for a handler that takes many tasks at once", hint="Give batch= as well")
        return None
    if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= 100_000:
        raise InvalidOption(f"batch must be a whole number from 1 to 100,000, not {shown(size)}")
    if transactional:
        raise InvalidOption(
            "batch and transactional=True do not go together: each task of a batch ends in a transaction of its own",
            hint="Use ctx.on_commit of the task's own context: contexts: list[Context]",
        )
    return size, WAIT if wait is None else duration(wait, "wait")


def is_claimed_for_a_process(handler: Handler | Kind) -> bool:
    """Whether each of its tasks needs a free process to be claimed. Those of a batch share one."""
    return handler.executor == "process" and not isinstance(handler, BatchKind)


# ── the signature of one item ──


def of_one(function: Callable[..., Any], title: str) -> tuple[Signature, list[str]]:
    """The signature as one task sees it, with T where the function takes list[T], and which parameters take list[Context].

    Raises InvalidOption, naming the parameter, for what is no list, has a default, or cannot be filled from JSON.
    """
    resolve = resolver(function, (Context,))
    shown_: list[inspect.Parameter] = []
    contexts: list[str] = []
    signature = signature_of(function)
    for parameter in signature.parameters.values():
        check_goes_by_name(title, parameter)
        where = f"{title}: {parameter.name}"
        with naming_option(where, "leave it out"):
            each = _each(resolve(parameter.annotation))
        if parameter.kind is parameter.VAR_KEYWORD or each is None or parameter.default is not _EMPTY:
            raise InvalidOption(
                f"{where}: with batch= a handler takes lists, one value in each for every task, without defaults",
                hint=f"Write {parameter.name}: list[…], and list[Context] for the contexts",
            )
        if isinstance(each, type) and issubclass(each, Context):
            contexts.append(parameter.name)
            continue
        with naming_option(where, "leave it out"):
            shown_.append(parameter.replace(annotation=readable(each, optional=False)))
    if not shown_:
        raise InvalidOption(
            f"{title}: with batch= a handler takes a list", hint="Write documents: list[Document] as its parameter"
        )
    try:
        result = _result_of_one(resolve(signature.return_annotation))
    except Exception:  # As for a function: the result is then plain JSON.
        result = Any
    return Signature(title, inspect.Signature(shown_, return_annotation=result), {}), contexts


def _each(hint: Any) -> Any:
    """T of list[T], Any of a list of whatever; None for what is no list."""
    if hint in (Any, list):
        return Any
    if typing.get_origin(hint) in (list, Sequence):
        return typing.get_args(hint)[0]
    return None


def _result_of_one(hint: Any) -> Any:
    """R of `list[R | Snooze | Exception] | None`."""
    lists = [each for part in _parts(hint) if (each := _each(part)) is not None]
    if len(lists) != 1:
        return Any
    results = [part for part in _parts(lists[0]) if not (isa(part, type) and issubclass(part, BaseException))]
    return functools.reduce(lambda one, other: one | other, results) if results else Any


def _parts(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
