"""Backoff: attempt → delay. Retry: how often a failed attempt is tried again, and after which of them."""

from __future__ import annotations

import inspect
import logging
import math
import random
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, Literal, cast, get_args

from howdah.durations import LONGEST, Duration, duration, in_words
from howdah.errors import InvalidOption, nearest, shown
from howdah.outcomes import RetryAfter

log = logging.getLogger("howdah.backoff")

Exceptions = type[BaseException] | Iterable[type[BaseException]]
Strategy = Literal["standard", "fixed", "immediate", "poly"]
Wait = Callable[[int, BaseException], Duration]
_NAMES = ", ".join(f'"{name}"' for name in get_args(Strategy))


class Backoff:
    """A delay that grows, at most to `max`. `strategy` says how, with n the number of the wait, from 1:

    "standard"   delay × factor^(n-1)
    "fixed"      always delay
    "immediate"  the first time nothing, then as standard from the start
    "poly"       delay × n^factor

    `jitter` adds up to that fraction of the delay at random, also beyond `max`, so that many do not come back at once.
    Raises InvalidOption, naming the option.

    >>> slower = Backoff("100ms", factor=2, max="1m")
    >>> slower
    Backoff(100ms, factor=2, max=1m)
    >>> [slower(attempt).total_seconds() for attempt in (0, 1, 2, 1_000_000)]
    [0.1, 0.2, 0.4, 60.0]
    """

    __slots__ = ("delay", "factor", "jitter", "max", "strategy")

    def __init__(
        self,
        delay: Duration = "1s",
        *,
        factor: float = 2,
        max: Duration = "1m",
        jitter: float = 0,
        strategy: Strategy = "standard",
    ) -> None:
        for name, number, low, high in (("factor", factor, 1, 1000), ("jitter", jitter, 0, 1)):
            if isinstance(number, bool) or not isinstance(number, (int, float)) or not low <= number <= high:  # pyright: ignore[reportUnnecessaryIsInstance]
                raise InvalidOption(f"{name} must be a number from {low} to {high}, not {shown(number)}")
        self.strategy: Strategy = _named(strategy, _NAMES)
        self.delay = duration(delay, "delay")
        self.factor = factor
        self.max = duration(max, "max")
        self.jitter = jitter

    def __call__(self, attempt: int) -> timedelta:
        """The delay after `attempt` (from 0), with its jitter."""
        return self.jittered(self.nominal(attempt))

    def nominal(self, attempt: int) -> timedelta:
        """The delay after `attempt` (from 0), without jitter. `howdah.backoff` in SQL computes the same."""
        if self.strategy == "immediate" and attempt == 0:
            return timedelta(0)
        seconds, cap = self.delay.total_seconds(), self.cap.total_seconds()
        if 0 < seconds < cap:
            # The cap is asked before the power is: 2.0 ** 1100 is an OverflowError.
            base, power = self._growth(attempt)
            seconds = seconds * base**power if power * math.log(base) < math.log(cap / seconds) else cap
        return timedelta(seconds=min(seconds, cap))

    def _growth(self, attempt: int) -> tuple[float, float]:
        """How many times the first delay, as a base and its power."""
        match self.strategy:
            case "standard":
                return self.factor, attempt
            case "immediate":
                return self.factor, attempt - 1
            case "poly":
                return attempt + 1, self.factor
            case "fixed":
                return 1, 1

    @property
    def cap(self) -> timedelta:
        """The longest delay, without jitter."""
        return min(self.max, LONGEST)

    def jittered(self, delay: timedelta) -> timedelta:
        """A delay, not beyond the cap, and its jitter."""
        return min(delay, self.cap) * (1 + self.jitter * random.random())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Backoff) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def _values(self) -> tuple[timedelta, float, timedelta, float, Strategy]:
        return self.delay, self.factor, self.max, self.jitter, self.strategy

    def __repr__(self) -> str:
        jitter = f", jitter={self.jitter:g}" if self.jitter else ""
        return f"Backoff({self.described()}{jitter})"

    def described(self) -> str:
        """Its options as they are written, without jitter."""
        strategy = f", strategy={self.strategy!r}" if self.strategy != "standard" else ""
        return f"{in_words(self.delay)}, factor={self.factor:g}, max={in_words(self.max)}{strategy}"


class Retry:
    """A retry policy: `retries` more attempts after the first one, each after a delay.

    How long the nth retry waits is said by `strategy`: at most `max`, plus up to `jitter` of that at random, never less
    than asked.

    "standard"   delay × factor^(n-1)
    "fixed"      always delay
    "immediate"  the first retry at once, then as standard from the start: nothing, delay, delay × factor, …
    "poly"       delay × n^factor
    a function   `def wait(attempt: int, error: BaseException) -> Duration`: what it returns, for the attempt (from 1) that
                 failed with this error. It is called on the event loop, so it must be quick. If it raises, or returns
                 no length of time, the wait is the standard one and the log says so: the task is not lost

    With `on`, only these exceptions are retried; those in `unless` never are. `rules` gives an exception a policy of its
    own: the most specific class wins. Raises InvalidOption, naming the option.

    >>> Retry(5, delay="2s", factor=2, max="10m")
    Retry(5, delay=2s, factor=2, max=10m)
    >>> [Retry(5, delay="2s", strategy="poly").nominal(n).total_seconds() for n in (1, 2, 3)]
    [2.0, 8.0, 18.0]
    >>> Retry(3, unless=(KeyError,), rules={ConnectionError: Retry(50, delay="1s", strategy="fixed")}).retries
    3
    """

    def __init__(
        self,
        retries: int = 5,
        *,
        delay: Duration = "1s",
        factor: float = 2,
        max: Duration = "10m",
        jitter: float = 0.25,
        strategy: Strategy | Wait = "standard",
        on: Exceptions | None = None,
        unless: Exceptions = (),
        rules: Mapping[type[BaseException], Retry] | None = None,
    ) -> None:
        if isinstance(retries, bool) or not isinstance(retries, int) or not 0 <= retries <= 1_000_000:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidOption(f"retries must be a whole number from 0 to 1,000,000, not {shown(retries)}")
        self.retries = retries
        self.wait = _check_wait(strategy) if callable(strategy) else None
        named = "standard" if callable(strategy) else _named(strategy, f"{_NAMES}, or a function")
        self.backoff = Backoff(delay, factor=factor, max=max, jitter=jitter, strategy=named)
        self.delay, self.factor, self.max = self.backoff.delay, self.backoff.factor, self.backoff.max
        self.on = None if on is None else _classes(on, "on")
        self.unless = _classes(unless, "unless")
        self.rules = dict(rules or {})
        for exception, policy in self.rules.items():
            _classes(exception, "rules")
            if not isinstance(policy, Retry):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise InvalidOption(f"rules[{exception.__name__}] must be a Retry, not {shown(policy)}")

    @property
    def strategy(self) -> str:
        """Its name; "own" is a function."""
        return self.backoff.strategy if self.wait is None else "own"

    def but(self, **changes: Any) -> Retry:
        """The same policy with other options: `retry.but(retries=3)`. Raises InvalidOption."""
        same: dict[str, Any] = {
            "retries": self.retries,
            "delay": self.delay,
            "factor": self.factor,
            "max": self.max,
            "jitter": self.backoff.jitter,
            "strategy": self.wait or self.backoff.strategy,
            "on": self.on,
            "unless": self.unless,
            "rules": self.rules,
        }
        return Retry(**same | changes)

    @staticmethod
    def after(delay: Duration, reason: str | None = None) -> RetryAfter:
        """An outcome to raise or return: this attempt failed, try again after exactly `delay`.

        It spends an attempt. Raises InvalidOption if `delay` is not a length of time.
        """
        return RetryAfter(delay, reason)

    @property
    def max_attempts(self) -> int:
        """The most attempts any rule of this policy allows."""
        return 1 + max(self.retries, *(rule.retries for rule in self.rules.values()), 0)

    def policy_for(self, error: BaseException) -> Retry:
        """The policy that counts for `error`: the rule of its nearest class, else this one."""
        for cls in type(error).__mro__:
            if cls in self.rules:
                return self.rules[cls]
        return self

    def delay_after(self, attempt: int, error: BaseException) -> timedelta | None:
        """How long to wait after failed attempt number `attempt` (from 1); None when there is no retry left."""
        policy = self.policy_for(error)
        if attempt > policy.retries:
            return None
        if isinstance(error, RetryAfter):  # The handler asked for it, so `on` and `unless` do not.
            return error.delay
        if isinstance(error, policy.unless) or not (policy.on is None or isinstance(error, policy.on)):
            return None
        return policy.backoff(attempt - 1) if policy.wait is None else policy._own(policy.wait, attempt, error)

    def _own(self, wait: Wait, attempt: int, error: BaseException) -> timedelta:
        try:
            return self.backoff.jittered(duration(wait(attempt, error), "what it returned"))
        except Exception as wrong:
            log.warning(
                "the strategy %s of a retry failed, so the wait is the standard one: %s: %s",
                getattr(wait, "__qualname__", wait),
                type(wrong).__name__,
                wrong,
            )
            return self.backoff(attempt - 1)

    def nominal(self, attempt: int) -> timedelta:
        """The delay after attempt `attempt` (from 1), without jitter; with a strategy of its own, the standard one."""
        return self.backoff.nominal(attempt - 1)

    def __repr__(self) -> str:
        own = "" if self.wait is None else f", strategy={getattr(self.wait, '__qualname__', self.wait)}"
        return f"Retry({self.retries}, delay={self.backoff.described()}{own})"


def _named(value: object, known: str) -> Strategy:
    if value not in get_args(Strategy):
        close = nearest(value, get_args(Strategy))
        raise InvalidOption(
            f"strategy must be {known}, not {shown(value)}", hint=f"Did you mean {close!r}?" if close else None
        )
    return cast("Strategy", value)


def _check_wait(wait: Wait) -> Wait:
    if inspect.iscoroutinefunction(wait):
        raise InvalidOption(f"strategy must be a plain function, not the async {shown(wait)}")
    try:
        signature = inspect.signature(wait)
    except (TypeError, ValueError):  # Some builtins have none.
        return wait
    try:
        signature.bind(1, Exception())
    except TypeError as error:
        raise InvalidOption(
            f"strategy must be a function of (attempt, error), and {shown(wait)} is not: {error}"
        ) from None
    return wait


def _classes(value: Exceptions, name: str) -> tuple[type[BaseException], ...]:
    classes = tuple(value) if isinstance(value, Iterable) else (value,)
    for cls in classes:
        if not (isinstance(cls, type) and issubclass(cls, BaseException)):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidOption(f"{name} must name exception classes, not {shown(cls)}")
    return classes
