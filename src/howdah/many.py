"""Many tasks of one kind: by COPY if nothing differs but their payloads, else each with its key and its groups."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

import msgspec

from howdah import calls
from howdah.calls import Call, NewTask
from howdah.errors import InvalidPayload, KeyConflict, shown
from howdah.kinds.registry import Beginning, Kind
from howdah.templates import Filling


def begun_many(kind: Kind, items: Iterable[Any]) -> tuple[Beginning | None, list[str]]:
    """What enqueue_many was given, checked: how all of them begin, and their payloads.

    Raises InvalidPayload that says which item.
    """
    if not isinstance(items, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidPayload(
            f"{kind.name}: enqueue_many takes many tuples or mappings of arguments, not {shown(items)}"
        )
    first: Beginning | None = None
    payloads: list[str] = []
    for number, item in enumerate(items):
        try:
            if isinstance(item, Mapping):
                beginning = kind.begin((), cast("Mapping[str, Any]", item))
            elif isinstance(item, tuple):
                beginning = kind.begin(cast("tuple[Any, ...]", item), {})
            else:
                raise InvalidPayload(f"{kind.name}: an item is a tuple or a mapping of arguments, not {item!r:.80}")
            first = first or beginning
            if beginning.step != first.step:
                fault = f"{beginning.step} after {first.step}: many are enqueued at one step"
                raise InvalidPayload(f"{kind.name}: {fault}", hint="Enqueue those of each step by themselves")
        except InvalidPayload as error:
            raise InvalidPayload(f"item {number}: {error.message}", hint=error.hint) from error
        payloads.append(beginning.payload)
    return first, payloads


class Batch:
    """Many tasks that have all but payload, key and groups in common. `place` names one of them in sentences.

    Raises InvalidPayload that says which one has no name, KeyConflict if two have the same key and that is an error.
    """

    def __init__(
        self,
        new: NewTask,
        payloads: Sequence[str],
        key: str | None,
        groups: Iterable[str],
        place: Callable[[int], str] = "item {}".format,
    ) -> None:
        self.new = new
        self.payloads = payloads
        self._place = place
        filling = Filling(key, groups)
        self._names = list(self._filled(filling)) if key is not None or filling.differs else None

    def call(self) -> Call[list[tuple[int, bool]]] | None:
        """What writes them; None: COPY does."""
        if self._names is None:
            return None
        rows = ",".join(
            f'{{"payload":{payload},"key":{_json(key)},"groups":{_json(groups)}}}'
            for payload, (key, groups) in zip(self.payloads, self._names, strict=True)
        )
        return calls.put_many(self.new, f"[{rows}]")

    def ids(self, answer: Iterable[tuple[int, bool]]) -> list[int]:
        """The tasks there are now, in order; with "skip" only those that were written."""
        return [task_id for task_id, written in answer if written or self.new.on_conflict != "skip"]

    def _filled(self, filling: Filling) -> Iterable[tuple[str | None, list[str] | None]]:
        seen: dict[str, int] = {}
        for number, payload in enumerate(self.payloads):
            try:
                key, groups = filling.names(payload)
            except InvalidPayload as error:
                raise InvalidPayload(f"{self._place(number)}: {error.message}", hint=error.hint) from error
            if key is not None and self.new.on_conflict == "raise" and seen.setdefault(key, number) != number:
                raise KeyConflict(
                    f"{self._place(seen[key])} and {self._place(number)} have the same key {key!r}",
                    hint='Ask for on_conflict="return" or "skip", or leave one of them out',
                )
            yield key, groups


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
