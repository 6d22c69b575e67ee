"""A graph of named nodes, drawn: as text for a terminal, as Mermaid for a README, as SVG for a page."""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass

from howdah.errors import InvalidOption, shown


@dataclass(frozen=True, slots=True)
class Node:
    """One box. Tasks may begin here if `start`; `note` is a small second line ("3 waiting")."""

    name: str
    start: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class Edge:
    """A move from one node to another, or to the end of the task if `target` is None."""

    source: str
    target: str | None


@dataclass(frozen=True, slots=True)
class Graph:
    """What may follow what. One graph is always drawn the same way, in the order of its nodes.

    A node that no start leads to is drawn as never reached; without any start, that is all of them.
    Names and notes may hold anything: what cannot be printed is left out, and nothing breaks out of its label.
    Raises InvalidOption if there is no node, two have one name, or an edge names a node that is not there.
    """

    name: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]

    def __post_init__(self) -> None:
        if not self.nodes:
            raise InvalidOption(f"graph {shown(self.name)} has no nodes; give it at least one")
        names: set[str] = set()
        for node in self.nodes:
            if node.name in names:
                raise InvalidOption(f"graph {shown(self.name)} has two nodes named {shown(node.name)}; rename one")
            names.add(node.name)
        for edge in self.edges:
            for name in (edge.source, edge.target):
                if name is not None and name not in names:
                    known = ", ".join(node.name for node in self.nodes)
                    raise InvalidOption(
                        f"an edge of graph {shown(self.name)} names {shown(name)}, which is none of its nodes: {known}"
                    )

    def unreachable(self) -> list[str]:
        """The names of the nodes that no path from a start reaches, in node order."""
        reached = set(walk(links_of(self), [node.name for node in self.nodes if node.start]))
        return [node.name for node in self.nodes if node.name not in reached]

    def text(self) -> str:
        """A line for each node: ▶ if tasks may begin there, its name, its note, where it leads. No last newline."""
        notes, rows = notes_of(self), [("", "", "")]
        for node in self.nodes:
            name, note = f"{'▶' if node.start else ' '} {printable(node.name)}", notes[node.name]
            targets = ", ".join("end" if target is None else printable(target) for target in targets_of(self, node))
            rows.append((name, note and f"({note})", targets and f"→ {targets}"))
        widths = [max(map(cells_of, column)) for column in zip(*rows, strict=True)]
        lines = [printable(self.name)]
        for row in rows[1:]:
            cells = [cell + " " * (width - cells_of(cell)) for cell, width in zip(row, widths, strict=True) if width]
            lines.append("  ".join(cells).rstrip())
        return "\n".join(lines)

    def mermaid(self) -> str:
        """A Mermaid state diagram, which GitHub and most documentation tools draw. No last newline."""
        notes, ids = notes_of(self), {node.name: f"s{number}" for number, node in enumerate(self.nodes)}
        lines = ["---", f"title: {_yaml(printable(self.name))}", "---", "stateDiagram-v2"]
        for node in self.nodes:
            label = printable(node.name) + (notes[node.name] and f" ({notes[node.name]})")
            lines.append(f'    state "{_mermaid(label)}" as {ids[node.name]}')
        lines += [f"    [*] --> {ids[node.name]}" for node in self.nodes if node.start]
        for node in self.nodes:
            ends = ["[*]" if target is None else ids[target] for target in targets_of(self, node)]
            lines += [f"    {ids[node.name]} --> {end}" for end in ends]
        return "\n".join(lines)

    def svg(self) -> str:
        """An SVG document that needs nothing but itself, readable on light and on dark pages."""
        from howdah.svg import Drawing  # pure as this, but long, and seldom asked for

        return Drawing(self).svg()


def targets_of(graph: Graph, node: Node) -> list[str | None]:
    return list(dict.fromkeys(edge.target for edge in graph.edges if edge.source == node.name))


def links_of(graph: Graph) -> dict[str, list[str]]:
    return {node.name: [name for name in targets_of(graph, node) if name is not None] for node in graph.nodes}


def walk(links: dict[str, list[str]], roots: list[str]) -> list[str]:
    """What the roots lead to, depth first: each name after all that it leads to, except around a cycle."""
    met: set[str] = set()
    after: list[str] = []
    ahead = [(root, False) for root in reversed(roots)]
    while ahead:
        name, left = ahead.pop()
        if left:
            after.append(name)
        elif name not in met:
            met.add(name)
            ahead += [(name, True), *((target, False) for target in reversed(links[name]))]
    return after


def notes_of(graph: Graph) -> dict[str, str]:
    """What is said of each node: its own note, and that it is never reached."""
    notes = {node.name: printable(node.note, "") for node in graph.nodes}
    for name in graph.unreachable():
        if "never reached" not in notes[name]:
            notes[name] += ", never reached" if notes[name] else "never reached"
    return notes


def printable(text: str, empty: str = "(no name)") -> str:
    """One line of what can be seen, so that no name moves a terminal's cursor or makes XML invalid."""
    return " ".join("".join(letter for letter in text if letter.isprintable() or letter.isspace()).split()) or empty


def cells_of(text: str) -> int:
    """How many columns of a terminal a text takes."""
    wide, combining = unicodedata.east_asian_width, unicodedata.combining
    return sum(0 if combining(letter) else 2 if wide(letter) in "WF" else 1 for letter in text)


def _yaml(text: str) -> str:
    """A YAML string without anything that Mermaid replaces in a source before it reads it."""
    return re.sub(r"[<>&%#`]", lambda found: f"\\u{ord(found[0]):04x}", json.dumps(text, ensure_ascii=False))


def _mermaid(text: str) -> str:
    """What may stand between the quotes of a label; the rest as Mermaid writes it, `#35;`."""
    safe = "".join(letter if letter.isalnum() or letter in " _-.,()" else f"#{ord(letter)};" for letter in text)
    # `direction LR` is a statement to Mermaid wherever it stands, even in quotes.
    return re.sub(r"(?i)(?<=direction) ", "#32;", safe)
