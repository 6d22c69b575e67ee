"""Call: one SQL function as a value, and how to read its answer."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

R = TypeVar("R")
Row = dict[str, Any]
Rows = Sequence[Row]


@dataclass(frozen=True, slots=True)
class Call(Generic[R]):
    """One call of one SQL function, or one look at one view (`types` is None).

    `types` gives the SQL type of each argument, by its name.
    """

    function: str
    types: Mapping[str, str] | None
    args: Mapping[str, Any]
    read: Callable[[Rows], R]

    @property
    def one_value(self) -> bool:
        """Whether the answer is one value, or none that matters: it needs no FROM, which would cost the server a table."""
        return self.types is not None and self.read in (first, nothing)


# What takes more than one call: a generator of calls, each sent the answer to the one before. `Caller.follow` runs it.
Steps: TypeAlias = Generator[Call[Any], Any, R]


def first(rows: Rows) -> Any:
    """The one value that the function returned."""
    return next(iter(rows[0].values())) if rows else None


def all_rows(rows: Rows) -> list[Row]:
    return list(rows)


def nothing(_: Rows) -> None:
    return None
