"""python: call a function with each event."""

from __future__ import annotations

import inspect
import typing
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from functools import cached_property
from itertools import islice
from typing import Annotated, Any, cast

from msgspec import Meta, field

from howdah.context import Context
from howdah.errors import shown
from howdah.outcomes import Fail, Outcome
from howdah.pipeline import stage
from howdah.pipeline.stage import Event, InvalidField, More
from howdah.pipeline.stages.source import Source
from howdah.worker.threads import Threads

MAX_EVENTS = 10_000


class Python(stage.Stage):
    """Calls a function as f(event), or with the Context of the attempt as well if it has a parameter for it.

    It may be async or plain (then it runs in a thread) or a generator of either sort. What it answers goes on: a mapping is
    one event, a list, tuple or generator of mappings many, None none. A plain function cannot be stopped: it should look at
    ctx.cancelled in long loops.
    """

    class Config(stage.Config, frozen=True):
        function: Annotated[
            str,
            Meta(
                description="module:function. The module is looked for in the folder of the pipeline's file, then where Python "
                "looks.",
            ),
        ]
        arguments: Annotated[dict[str, Any], Meta(description="Further arguments of the function, by name.")] = field(
            name="with", default_factory=dict[str, Any]
        )

    config: Config

    @cached_property
    def _source(self) -> Source:
        module, _, name = self.config.function.partition(":")
        return Source(self.setting.folder, module, name)

    @cached_property
    def _threads(self) -> Threads:
        return Threads()

    @cached_property
    def _function(self) -> Callable[..., Any]:
        found = self._source.load()
        if not callable(found):
            raise Fail(f"{self.config.function} is {shown(found)}, which cannot be called")
        return found

    @cached_property
    def _context_parameter(self) -> str | None:
        return context_parameter(self._function)

    def check(self) -> None:
        self._source.check()
        for name in self.config.arguments:
            if not name.isidentifier():
                raise InvalidField(("with", name), f"{name!r} is no name of a parameter")

    async def run(self, event: Event, ctx: Context) -> Iterable[Event] | More:
        arguments = dict(self.config.arguments)
        if "_function" not in self.__dict__:
            await self._threads.call(lambda: self._function, {})  # importing may take long
        if self._context_parameter is not None:
            arguments[self._context_parameter] = ctx
        self._check_call(event, arguments)
        answer = await self._call(event, arguments)
        if hasattr(answer, "__aiter__"):
            return self._events(await _taken(answer))
        return self._events(answer)

    def _check_call(self, event: Event, arguments: dict[str, Any]) -> None:
        try:
            inspect.signature(self._function).bind(event, **arguments)
        except TypeError as error:
            raise Fail(
                f"{self.config.function} cannot be called with the event and {sorted(arguments)}: {error}"
            ) from None
        except ValueError:  # written in C, without a signature
            pass

    async def _call(self, event: Event, arguments: dict[str, Any]) -> Any:
        function = self._function
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            answer = function(event, **arguments)
        else:
            answer = await self._threads.call(lambda: _finished(function(event, **arguments)), {})
        return await answer if inspect.isawaitable(answer) else answer

    def _events(self, answer: Any) -> list[Event]:
        if isinstance(answer, Outcome):
            raise answer  # as in a function: returned or raised, whichever reads better
        if answer is None:
            return []
        if isinstance(answer, dict):
            return [cast("Event", answer)]
        if not isinstance(answer, (list, tuple)):
            raise Fail(f"{self.config.function} returned {_type(answer)}: it may return a dict, many of them, or None")
        many = list(cast("Iterable[Any]", answer))
        if len(many) > MAX_EVENTS:
            raise Fail(f"{self.config.function} made more than {MAX_EVENTS:,} events of one")
        for n, item in enumerate(many):
            if not isinstance(item, dict):
                raise Fail(f"{self.config.function} returned {_type(item)} as event {n}: it may be a dict only")
        return many


def context_parameter(function: Callable[..., Any]) -> str | None:
    """The parameter that takes the Context: the one annotated so, or else the one called ctx."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return None
    try:
        hints = typing.get_type_hints(function)
    except Exception:  # names that exist only for a type checker
        hints = {}
    for name, parameter in parameters.items():
        if Context in (hint := hints.get(name, parameter.annotation), *typing.get_args(hint)):
            return name
    return "ctx" if "ctx" in parameters else None


def _finished(answer: Any) -> Any:
    """What a plain function answers, in its thread; a generator runs there too."""
    return list(islice(cast("Iterator[Any]", answer), MAX_EVENTS + 1)) if isinstance(answer, Iterator) else answer


async def _taken(answer: AsyncIterator[Any]) -> list[Any]:
    taken: list[Any] = []
    async for item in answer:
        taken.append(item)
        if len(taken) > MAX_EVENTS:
            break
    return taken


def _type(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
