"""What a task was sent: messages, and how its children ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

import msgspec

M_co = TypeVar("M_co", covariant=True)


@dataclass(frozen=True, slots=True)
class EOF:
    """A child has ended, or is parked: then `status` is "failed", and another EOF follows if it is resumed and ends.

    `task_id` is the child's, `result` what it returned, as plain JSON, `error` what it failed with or why it was cancelled.
    """

    task_id: int
    status: Literal["succeeded", "cancelled", "failed"]
    result: Any = None
    error: str | None = None

    @property
    def succeeded(self) -> bool:
        """Whether it ended well."""
        return self.status == "succeeded"


class Letter(msgspec.Struct, array_like=True, frozen=True):
    """A message as the claim brings it."""

    id: int
    sender: int | None
    type: Literal["message", "eof"]
    body: msgspec.Raw

    def eof(self) -> EOF:
        """The end of a child that this letter tells."""
        return EOF(self.sender or 0, **msgspec.json.decode(self.body))


class Mail(msgspec.Struct, array_like=True):
    """What is in the inbox of a claimed task: `more` if not all of it is here.

    `inbox_seq` is how many messages the task had ever been sent when it was read.
    """

    task_id: int
    inbox_seq: int
    more: bool
    letters: list[Letter]


@dataclass(frozen=True, slots=True)
class Misfit:
    """A message that is not what an actor takes: its text in JSON, and what is wrong with it."""

    id: int
    sender: int | None
    body: str
    error: str


@dataclass(slots=True)
class Inbox(Generic[M_co]):
    """The messages an actor has not consumed yet, oldest first; at most some hundred of them at a time.

    Iterating takes them: what was taken is gone when the poll commits, the rest stays and is there at the next poll.

    >>> for message in inbox:                              # doctest: +SKIP
    ...     total += message.n
    """

    _messages: Sequence[tuple[Letter, M_co]]
    _taken: int = field(default=0)

    def __iter__(self) -> Iterator[M_co]:
        while self._taken < len(self._messages):
            self._taken += 1
            yield self._messages[self._taken - 1][1]

    def __len__(self) -> int:
        """How many are left to take."""
        return len(self._messages) - self._taken

    def __repr__(self) -> str:
        return f"<inbox of {len(self)}>"

    @property
    def sender(self) -> int | None:
        """The task that sent the message taken last; None if somebody outside did."""
        return self._messages[self._taken - 1][0].sender if self._taken else None

    @property
    def taken(self) -> list[int]:
        """The ids of the messages that were taken."""
        return [letter.id for letter, _ in self._messages[: self._taken]]
