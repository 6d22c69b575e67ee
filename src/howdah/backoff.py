"""Backoff: attempt → delay. Retry: how often a failed attempt is tried again, and after which of them."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping
from datetime import timedelta

from howdah.durations import LONGEST, Duration, duration, in_words
from howdah.errors import InvalidOption, shown
from howdah.outcomes import RetryAfter

Exceptions = type[BaseException] | Iterable[type[BaseException]]


class Backoff:
    """A delay that grows: attempt 0 waits `delay`, each one more `factor` times as long, at most `max`.

    `jitter` adds up to that fraction of the delay at random, also beyond `max`, so that many do not come back at once.
    Raises InvalidOption, naming the option.

    >>> slower = Backoff("100ms", factor=2, max="1m")
    >>> slower
    Backoff(100ms, factor=2, max=1m)
    >>> [slower(attempt).total_seconds() for attempt in (0, 1, 2, 1_000_000)]
    [0.1, 0.2, 0.4, 60.0]
    """

    __slots__ = ("delay", "factor", "jitter", "max")

    def __init__(self, delay: Duration = "1s", *, factor: float = 2, max: Duration = "1m", jitter: float = 0) -> None:
        for name, number, low, high in (("factor", factor, 1, 1000), ("jitter", jitter, 0, 1)):
            if isinstance(number, bool) or not isinstance(number, (int, float)) or not low <= number <= high:  # pyright: ignore[reportUnnecessaryIsInstance]
                raise InvalidOption(f"{name} must be a number from {low} to {high}, not {shown(number)}")
        self.delay = duration(delay, "delay")
        self.factor = factor
        self.max = duration(max, "max")
        self.jitter = jitter

    def __call__(self, attempt: int) -> timedelta:
        """The delay after `attempt` (from 0), with its jitter."""
        return self.nominal(attempt) * (1 + self.jitter * random.random())

    def nominal(self, attempt: int) -> timedelta:
        """The delay after `attempt` (from 0), without jitter."""
        seconds, cap = self.delay.total_seconds(), min(self.max, LONGEST).total_seconds()
        if 0 < seconds < cap and self.factor > 1:
            # The cap is asked before the power is: 2.0 ** 1100 is an OverflowError.
            steps = math.log(cap / seconds) / math.log(self.factor)
            seconds = seconds * self.factor**attempt if attempt < steps else cap
        return timedelta(seconds=min(seconds, cap))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Backoff) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def _values(self) -> tuple[timedelta, float, timedelta, float]:
        return self.delay, self.factor, self.max, self.jitter

    def __repr__(self) -> str:
        jitter = f", jitter={self.jitter:g}" if self.jitter else ""
        return f"Backoff({in_words(self.delay)}, factor={self.factor:g}, max={in_words(self.max)}{jitter})"


class Retry:
    """A retry policy: `retries` more attempts after the first one, each after a longer delay.

    The nth retry waits `delay × factor^(n-1)`, at most `max`, plus up to `jitter` of that at random,
    never less than asked. With `on`, only these exceptions are retried; those in `unless` never are.
    `rules` gives an exception a policy of its own: the most specific class wins.

    >>> Retry(5, delay="2s", factor=2, max="10m")
    Retry(5, delay=2s, factor=2, max=10m)
    >>> Retry(3, unless=(KeyError,), rules={ConnectionError: Retry(50, delay="1s", factor=1)}).retries
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
        on: Exceptions | None = None,
        unless: Exceptions = (),
        rules: Mapping[type[BaseException], Retry] | None = None,
    ) -> None:
        if isinstance(retries, bool) or not isinstance(retries, int) or not 0 <= retries <= 1_000_000:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidOption(f"retries must be a whole number from 0 to 1,000,000, not {shown(retries)}")
        self.retries = retries
        self.backoff = Backoff(delay, factor=factor, max=max, jitter=jitter)
        self.delay, self.factor, self.max = self.backoff.delay, self.backoff.factor, self.backoff.max
        self.on = None if on is None else _classes(on, "on")
        self.unless = _classes(unless, "unless")
        self.rules = dict(rules or {})
        for exception, policy in self.rules.items():
            _classes(exception, "rules")
            if not isinstance(policy, Retry):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise InvalidOption(f"rules[{exception.__name__}] must be a Retry, not {shown(policy)}")

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
        return policy.backoff(attempt - 1)

    def nominal(self, attempt: int) -> timedelta:
        """The delay after attempt `attempt` (from 1), without jitter."""
        return self.backoff.nominal(attempt - 1)

    def __repr__(self) -> str:
        return f"Retry({self.retries}, delay={in_words(self.delay)}, factor={self.factor:g}, max={in_words(self.max)})"


def _classes(value: Exceptions, name: str) -> tuple[type[BaseException], ...]:
    classes = tuple(value) if isinstance(value, Iterable) else (value,)
    for cls in classes:
        if not (isinstance(cls, type) and issubclass(cls, BaseException)):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidOption(f"{name} must name exception classes, not {shown(cls)}")
    return classes
