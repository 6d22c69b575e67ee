"""Calling the functions people give a poller: sync or async, on the loop or in a thread."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable
from typing import Any

from howdah.errors import InvalidOption, shown
from howdah.poller.errors import InvalidResult


def check_function(value: Any, option: str, takes: tuple[str, ...] = ()) -> Any:
    """A function of these arguments, by place. Raises InvalidOption that names the option."""
    words = f"a function of ({', '.join(takes)})"
    if not callable(value):
        raise InvalidOption(f"{option} must be {words}, not {shown(value)}")
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):  # Some builtins have none.
        return value
    try:
        signature.bind(*takes)
    except TypeError as error:
        raise InvalidOption(f"{option} must be {words}, and {shown(value)} is not: {error}") from None
    return value


async def called(what: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """What the function returns. It must be quick, or async: it is called on the loop."""
    return await finished(what, function(*arguments))


async def called_aside(what: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """What the function returns, in a thread if it is not async: it may block."""
    if _is_async(function):
        return await called(what, function, *arguments)
    aside = asyncio.to_thread(_without_stop_iteration, what, function, arguments)
    return await finished(what, await finished(what, aside))


async def finished(what: str, result: Any) -> Any:
    """The result itself, once it is there. Whatever goes wrong in it is an Exception, unless it is us who are cancelled."""
    if not inspect.isawaitable(result):
        return result
    try:
        return await result
    except asyncio.CancelledError as error:
        me = asyncio.current_task()
        if me is not None and me.cancelling():
            raise
        raise InvalidResult(f"{what} was cancelled by something it waited for") from error


def _is_async(function: Any) -> bool:
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def _without_stop_iteration(what: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    # No future can hold a StopIteration: who waits for it would wait for ever (Python 3.11).
    try:
        return function(*arguments)
    except StopIteration as error:
        raise InvalidResult(f"{what} raised StopIteration", hint="Give next() a default") from error
