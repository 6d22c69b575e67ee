"""What `@app.task(...)` returns: a decorator that gives a handler its type."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar, TypeVarTuple, Unpack, overload

from howdah.context import Context
from howdah.enqueue import TaskFunction
from howdah.outcomes import Again, Cancel, Fail, Join, RetryAfter, Snooze

if TYPE_CHECKING:
    from howdah.enqueue import ContextLast

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
Ts = TypeVarTuple("Ts")

# What a handler may return instead of a result. It is no part of the type of `await task.result()`.
Ends = Again | Join | Snooze | RetryAfter | Fail | Cancel
Later = Coroutine[Any, Any, R]


class _Anything:
    """Only a parameter that takes anything takes this: one with no annotation, `Any` or `object`."""


class _ContextByKeyword(Protocol[R_co]):
    def __call__(self, *args: Any, ctx: Context, **kwargs: Any) -> R_co: ...


class Decorator:
    """What `@app.task(...)` returns; its overloads give a handler its type, the async ones first.

    A Context is taken out of what callers pass. Put first, it leaves the names and types of the others to be checked;
    put last, their positions and types; as a keyword-only `ctx`, nothing.
    """

    def __init__(self, register: Callable[[Callable[..., Any]], Any]) -> None:
        self._register = register

    @overload
    def __call__(
        self, function: Callable[Concatenate[_Anything, ...], Later[R | Ends]]
    ) -> TaskFunction[..., R, Callable[..., Later[R]]]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[Context, P], Later[R | Ends]]
    ) -> TaskFunction[P, R, Callable[Concatenate[Context, P], Later[R]]]: ...
    @overload
    def __call__(
        self, function: Callable[[Unpack[Ts], Context], Later[R | Ends]]
    ) -> ContextLast[R, Callable[..., Later[R]], *Ts]: ...
    @overload
    def __call__(
        self, function: _ContextByKeyword[Later[R | Ends]]
    ) -> TaskFunction[..., R, Callable[..., Later[R]]]: ...
    @overload
    def __call__(self, function: Callable[P, Later[R | Ends]]) -> TaskFunction[P, R, Callable[P, Later[R]]]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[_Anything, ...], R | Ends]
    ) -> TaskFunction[..., R, Callable[..., R]]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[Context, P], R | Ends]
    ) -> TaskFunction[P, R, Callable[Concatenate[Context, P], R]]: ...
    @overload
    def __call__(
        self, function: Callable[[Unpack[Ts], Context], R | Ends]
    ) -> ContextLast[R, Callable[..., R], *Ts]: ...
    @overload
    def __call__(self, function: _ContextByKeyword[R | Ends]) -> TaskFunction[..., R, Callable[..., R]]: ...
    @overload
    def __call__(self, function: Callable[P, R | Ends]) -> TaskFunction[P, R, Callable[P, R]]: ...
    def __call__(self, function: Callable[..., Any]) -> Any:
        return self._register(function)
