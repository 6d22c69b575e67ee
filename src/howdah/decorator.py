"""What `@app.task(...)` returns: a decorator that gives a handler its type."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Protocol, TypeVar, TypeVarTuple, Unpack, overload

from howdah.context import Context
from howdah.enqueue import TaskFunction
from howdah.outcomes import Again, Cancel, Fail, Join, RetryAfter, Snooze

if sys.version_info >= (3, 13):
    from typing import TypeVar as TypeVarWithDefault
else:
    from typing_extensions import TypeVar as TypeVarWithDefault  # psycopg brings it

if TYPE_CHECKING:
    from howdah.enqueue import ContextLast

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
Ts = TypeVarTuple("Ts")
A = TypeVar("A")
B = TypeVar("B")
R_each = TypeVarWithDefault("R_each", default=None)

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


# What a handler of a batch returns: for each task a result, an outcome or an exception, or None for all.
Each = Sequence[R_each | Ends | Exception] | None
Contexts = list[Context]


class BatchDecorator:
    """What `@app.task(batch=…)` returns; its overloads make a task of one item of a handler of lists.

    They know one list or two, with the contexts first or last. Callers pass by position.
    """

    def __init__(self, register: Callable[[Callable[..., Any]], Any]) -> None:
        self._register = register

    @overload
    def __call__(
        self, function: Callable[[Contexts, list[A]], Later[Each[R_each]]]
    ) -> TaskFunction[[A], R_each, Callable[[Contexts, list[A]], Later[Each[R_each]]]]: ...
    @overload
    def __call__(
        self, function: Callable[[list[A], Contexts], Later[Each[R_each]]]
    ) -> TaskFunction[[A], R_each, Callable[[list[A], Contexts], Later[Each[R_each]]]]: ...
    @overload
    def __call__(
        self, function: Callable[[Contexts, list[A], list[B]], Later[Each[R_each]]]
    ) -> TaskFunction[[A, B], R_each, Callable[[Contexts, list[A], list[B]], Later[Each[R_each]]]]: ...
    @overload
    def __call__(
        self, function: Callable[[list[A], list[B], Contexts], Later[Each[R_each]]]
    ) -> TaskFunction[[A, B], R_each, Callable[[list[A], list[B], Contexts], Later[Each[R_each]]]]: ...
    @overload
    def __call__(
        self, function: Callable[[list[A]], Later[Each[R_each]]]
    ) -> TaskFunction[[A], R_each, Callable[[list[A]], Later[Each[R_each]]]]: ...
    @overload
    def __call__(
        self, function: Callable[[list[A], list[B]], Later[Each[R_each]]]
    ) -> TaskFunction[[A, B], R_each, Callable[[list[A], list[B]], Later[Each[R_each]]]]: ...
    @overload
    def __call__(
        self, function: Callable[[Contexts, list[A]], Each[R_each]]
    ) -> TaskFunction[[A], R_each, Callable[[Contexts, list[A]], Each[R_each]]]: ...
    @overload
    def __call__(
        self, function: Callable[[list[A], Contexts], Each[R_each]]
    ) -> TaskFunction[[A], R_each, Callable[[list[A], Contexts], Each[R_each]]]: ...
    @overload
    def __call__(
        self, function: Callable[[Contexts, list[A], list[B]], Each[R_each]]
    ) -> TaskFunction[[A, B], R_each, Callable[[Contexts, list[A], list[B]], Each[R_each]]]: ...
    @overload
    def __call__(
        self, function: Callable[[list[A], list[B], Contexts], Each[R_each]]
    ) -> TaskFunction[[A, B], R_each, Callable[[list[A], list[B], Contexts], Each[R_each]]]: ...
    @overload
    def __call__(
        self, function: Callable[[list[A]], Each[R_each]]
    ) -> TaskFunction[[A], R_each, Callable[[list[A]], Each[R_each]]]: ...
    @overload
    def __call__(
        self, function: Callable[[list[A], list[B]], Each[R_each]]
    ) -> TaskFunction[[A, B], R_each, Callable[[list[A], list[B]], Each[R_each]]]: ...
    @overload
    def __call__(self, function: Callable[..., Any]) -> TaskFunction[..., Any]: ...
    def __call__(self, function: Callable[..., Any]) -> Any:
        return self._register(function)
