"""What stands in a YAML file, and where: scalars, lists and mappings that know their places."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

from howdah.errors import shown
from howdah.pipeline.errors import Place

Path: TypeAlias = tuple[str | int, ...]
Scalar: TypeAlias = str | int | float | bool | None


@dataclass(slots=True, eq=False)
class Node:
    """A value in a file. `keys` are the places of the keys of a mapping.

    An alias is the node of its anchor: `weight` and `height` count it as often as it is used.
    """

    place: Place
    value: Scalar | list[Node] | dict[str, Node] = None
    keys: dict[str, Place] = field(default_factory=dict[str, Place])
    weight: int = 1
    height: int = 1

    @property
    def mapping(self) -> dict[str, Node] | None:
        """The fields of a mapping; none where nothing is written; None if it is something else."""
        if isinstance(self.value, dict):
            return self.value
        return {} if self.value is None else None

    def get(self, name: str) -> Node | None:
        """A field of a mapping, if it is there."""
        return self.value.get(name) if isinstance(self.value, dict) else None

    def plain(self) -> Any:
        """The value, without places."""
        match self.value:
            case dict():
                return {key: node.plain() for key, node in self.value.items()}
            case list():
                return [node.plain() for node in self.value]
            case _:
                return self.value

    def place_of(self, path: Path) -> Place:
        """Where a field within stands: its key, or else the nearest that is there."""
        node, place = self, self.place
        for part in path:
            if isinstance(node.value, dict) and str(part) in node.value:
                node, place = node.value[str(part)], node.keys[str(part)]
            elif isinstance(node.value, list) and isinstance(part, int) and 0 <= part < len(node.value):
                node = node.value[part]
                place = node.place
            else:
                break
        return place


def in_words(node: Node) -> str:
    """What a value is, where something else was wanted."""
    match node.value:
        case None:
            return "nothing"
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case bool():
            return str(node.value).lower()
        case _:
            return shown(node.value)


def dotted(path: Path) -> str:
    """The path of a field as people write it: config.items[0].url."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
