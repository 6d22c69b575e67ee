"""A graph as SVG: boxes in rows, and lines between them that cross as little as they need to."""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from xml.sax.saxutils import escape

from howdah.graph import Graph, Node, cells_of, links_of, notes_of, printable, targets_of, walk

# The drawing goes by Sugiyama's steps: a row for each node, the order in each row, a place in it, the lines.

_BETWEEN, _BELOW, _MARGIN = 24, 44, 16  # room between neighbours in a row, between rows, around it all
_LANE, _LOOP = 22, 26  # room left of a box for lines that go up again, right of it for a loop
_DOT, _RING = 6, 9  # radius of a start, of the end
_SORTS, _MOVES = 16, 200  # a dozen boxes come to rest in half of that


@dataclass(slots=True, eq=False)
class _Spot:
    """What takes room in a row: a box, the dot of a start, the ring of the end, a long line that passes."""

    row: int
    half: int = 0
    height: int = 0
    box: bool = False
    up: bool = False  # a line passes here that goes against the rows
    left: int = 0
    right: int = 0
    place: int = 0
    x: float = 0
    y: int = 0
    weight: float = 1
    # A box does not know the lines that go up beside it: they are not to move it.
    above: list[_Spot] = field(default_factory=list["_Spot"])
    below: list[_Spot] = field(default_factory=list["_Spot"])

    @property
    def lane(self) -> float:
        return self.x - self.half - _LANE if self.box else self.x


class Drawing:
    def __init__(self, graph: Graph) -> None:
        self.graph, self.notes, self.lost = graph, notes_of(graph), set(graph.unreachable())
        rows, last = _rows(graph)
        self.boxes = {node.name: self._box(node, rows[node.name]) for node in graph.nodes}
        self.spots = list(self.boxes.values())
        self.dots = [_Spot(rows[node.name] - 1, _DOT, 2 * _DOT) for node in graph.nodes if node.start]
        self.ends = [_Spot(last, _RING, 2 * _RING)] if any(edge.target is None for edge in graph.edges) else []
        self.spots += self.dots + self.ends
        self.lines: list[tuple[str, list[_Spot]]] = []
        for dot, node in zip(self.dots, (node for node in graph.nodes if node.start), strict=True):
            self._join(f"start → {printable(node.name)}", dot, self.boxes[node.name])
        for node in graph.nodes:
            for target in targets_of(graph, node):
                end = self.ends[0] if target is None else self.boxes[target]
                to = "end" if target is None else printable(target)
                self._join(f"{printable(node.name)} → {to}", self.boxes[node.name], end)
        self._order()
        self._place()
        self._stack()

    def _box(self, node: Node, row: int) -> _Spot:
        note = self.notes[node.name]
        width = max(width_of(_short(printable(node.name)), 14), width_of(_short(note), 11.5), 44)
        return _Spot(row, round(width / 2) + 14, 52 if note else 38, box=True)

    def _join(self, title: str, source: _Spot, target: _Spot) -> None:
        step = -1 if target.row < source.row else 1
        passing = [_Spot(row, up=step < 0) for row in range(source.row + step, target.row, step)]
        spots = [source, *passing, target]
        self.lines.append((title, spots))
        if source is target:
            source.right = _LOOP
            return
        self.spots += passing
        for above, below in pairwise(spots[::step]):
            if step > 0 or not above.box:
                above.below.append(below)
            if step > 0 or not below.box:
                below.above.append(above)
        if step < 0:
            source.left = target.left = _LANE

    def _order(self) -> None:
        """Sort each row by the places of its neighbours, down and up, and keep the order that crosses least."""
        self.spots.sort(key=lambda spot: not spot.up)
        rows = [[spot for spot in self.spots if spot.row == row] for row in range(1 + max(s.row for s in self.spots))]
        fewest = math.inf
        for turn in range(_SORTS):
            for row in reversed(rows) if turn % 2 else rows:
                if turn % 4 > 1:  # What has no better side tries the other one.
                    row.reverse()
                _sort(row, down=turn % 2 == 0)
            if (crossings := _crossings(rows)) < fewest:
                self.rows, fewest = [list(row) for row in rows], crossings

    def _place(self) -> None:
        """Move every thread towards what it is joined to, then only straighten it, as far as its rows leave room."""
        gaps = [[a.half + a.right + _BETWEEN + b.left + b.half for a, b in pairwise(row)] for row in self.rows]
        for row, gap in zip(self.rows, gaps, strict=True):
            for spot, x in zip(row, accumulate(gap, initial=-sum(gap) / 2), strict=True):
                spot.x = x
        threads = _threads(self.spots)
        for turn in range(_MOVES):
            for thread, others in threads:
                x = sum(spot.x for spot in thread) / len(thread)
                if others and (len(thread) == 1 or turn < _MOVES / 2):
                    x = (x + sum(other.lane if thread[0].up else other.x for other in others) / len(others)) / 2
                for spot in thread:
                    spot.x = x
            for row, gap in zip(self.rows, gaps, strict=True):
                _spread(row, gap)
        left = min(spot.x - spot.half - spot.left for spot in self.spots) - _MARGIN
        for thread, _ in threads:
            middle = (min(spot.x for spot in thread) + max(spot.x for spot in thread)) / 2
            for spot in thread:
                spot.x = round((middle if abs(spot.x - middle) < 3 else spot.x) - left)

    def _stack(self) -> None:
        """Set the rows below each other, farther apart where lines have a long way to go sideways."""
        self.tops: list[int] = []
        self.bottoms: list[int] = []
        y = _MARGIN
        for row in self.rows:
            height = max((spot.height for spot in row), default=0)
            self.tops.append(y)
            self.bottoms.append(y + height)
            for spot in row:
                spot.y = y + height // 2
            far = max((abs(spot.x - below.x) for spot in row for below in spot.below), default=0)
            y += height + _BELOW + min(56, round(far / 8))
        for dot in self.dots:
            dot.y = self.bottoms[dot.row] - _DOT
        for end in self.ends:
            end.y = self.tops[end.row] + _RING

    def svg(self) -> str:
        width = max(spot.x + spot.half + spot.right for spot in self.spots) + _MARGIN
        height = self.bottoms[-1] + _MARGIN
        out = [
            '<svg xmlns="http://www.w3.org/2000/svg" version="1.1" class="howdah-graph" role="img" '
            f'width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
            f"<title>{escape(printable(self.graph.name))}</title>",
            _STYLE,
        ]
        for title, spots in self.lines:
            path = f'<path d="{self._path(spots)}" marker-end="url(#howdah-arrow)"/>'
            out.append(f'<g class="edge"><title>{escape(title)}</title>{path}</g>')
        out += [f'<circle class="dot" cx="{dot.x}" cy="{dot.y}" r="{_DOT}"/>' for dot in self.dots]
        for end in self.ends:
            out.append(f'<circle class="ring" cx="{end.x}" cy="{end.y}" r="{_RING}"/>')
            out.append(f'<circle class="dot" cx="{end.x}" cy="{end.y}" r="{_DOT - 1}"/>')
        return "\n".join([*out, *map(self._node, self.graph.nodes), "</svg>"])

    def _node(self, node: Node) -> str:
        box, note = self.boxes[node.name], self.notes[node.name]
        small = f'<text class="note" x="{box.x}" y="{box.y + 15}">{escape(_short(note))}</text>' if note else ""
        return (
            f'<g class="{"node lost" if node.name in self.lost else "node"}"><title>{escape(printable(node.name))}</title>'
            f'<rect x="{box.x - box.half}" y="{box.y - box.height // 2}" width="{2 * box.half}" height="{box.height}" rx="9"/>'
            f'<text x="{box.x}" y="{box.y + (-2 if note else 5)}">{escape(_short(printable(node.name)))}</text>{small}</g>'
        )

    def _path(self, spots: list[_Spot]) -> str:
        """Straight through the rows, bent between them: so no line crosses a box."""
        first, last = spots[0], spots[-1]
        if first is last:
            x, y = first.x + first.half, first.y
            return f"M{x} {y - 8}C{x + 30} {y - 18} {x + 30} {y + 18} {x} {y + 8}"
        up = last.row < first.row
        leave, enter = (self.tops, self.bottoms) if up else (self.bottoms, self.tops)
        inner = [spot.x for spot in spots[1:-1]]
        xs = [first.lane, *inner, last.lane] if up else [_port(first, spots[1]), *inner, _port(last, spots[-2])]
        path = ""
        for (x, spot), (to_x, to) in pairwise(zip(xs, spots, strict=True)):
            y, to_y = leave[spot.row], enter[to.row]
            half = (y + to_y) // 2
            path += f"V{y}V{to_y}" if x == to_x else f"V{y}C{x} {half} {to_x} {half} {to_x} {to_y}"
        if not up:
            return f"M{xs[0]} {first.y + first.height // 2}{path}V{last.y - last.height // 2}"
        y, to_y = first.y - 6, last.y + 6
        path = f"C{xs[0]} {y} {xs[0]} {y} {xs[0]} {leave[first.row]}{path}C{xs[-1]} {to_y} {xs[-1]} {to_y}"
        return f"M{first.x - first.half} {y}{path} {last.x - last.half} {to_y}"


def _rows(graph: Graph) -> tuple[dict[str, int], int]:
    """A row for each node, below all that lead to it except around a cycle, and one for the end."""
    links, starts = links_of(graph), [node.name for node in graph.nodes if node.start]
    reached = walk(links, starts)
    lost = walk(links, [*starts, *links])[len(reached) :]
    order = {name: number for number, name in enumerate([*reversed(reached), *reversed(lost)])}
    deepest = 0 if starts else -1
    rows = dict.fromkeys(order, deepest + 1)
    for name in order:
        if order[name] == len(reached):  # What is never reached comes below the rest.
            rows.update(dict.fromkeys(lost, deepest + 1))
        deepest = max(deepest, rows[name])
        for target in links[name]:
            if order[target] > order[name]:
                rows[target] = max(rows[target], rows[name] + 1)
    return rows, 1 + max((rows[edge.source] for edge in graph.edges if edge.target is None), default=0)


def _sort(row: list[_Spot], down: bool) -> None:
    def middle(spot: _Spot) -> float:
        others = spot.above if down else spot.below
        return sum(_seen(other, spot) for other in others) / len(others) if others else spot.place

    row.sort(key=middle)
    for place, spot in enumerate(row):
        spot.place = place


def _seen(spot: _Spot, other: _Spot) -> float:
    """The place of a spot for its neighbour: a line that goes up again meets a box on its left."""
    return spot.place - 0.4 if other.up and spot.box else spot.place


def _crossings(rows: list[list[_Spot]]) -> int:
    total = 0
    for row, following in pairwise(rows):
        links = {(_seen(spot, below), _seen(below, spot)) for spot in row for below in spot.below}
        links |= {(_seen(above, spot), _seen(spot, above)) for spot in following for above in spot.above}
        passed: list[float] = []
        for _, place in sorted(links):
            total += len(passed) - bisect_right(passed, place)
            insort(passed, place)
    return total


def _threads(spots: list[_Spot]) -> list[tuple[list[_Spot], list[_Spot]]]:
    """The spots in chains that look best as one straight line, each with the spots it is joined to."""
    threads: list[tuple[list[_Spot], list[_Spot]]] = []
    for spot in spots:
        above = _only(spot.above)
        if above and _only(above.below) is spot:
            continue
        thread = [spot]
        while (below := _only(thread[-1].below)) and _only(below.above) is thread[-1]:
            thread.append(below)
        for member in thread:
            member.weight = 50 if len(thread) > 1 else 1
        own = set(thread)
        threads.append((thread, [other for s in thread for other in s.above + s.below if other not in own]))
    return threads


def _only(spots: list[_Spot]) -> _Spot | None:
    """Where a path goes straight on: the only spot, else the only box among the spots."""
    boxes = [spot for spot in spots if spot.box] if len(spots) > 1 else spots
    return boxes[0] if len(boxes) == 1 else None


def _spread(row: list[_Spot], gaps: list[int]) -> None:
    """Move the spots of a row as little as makes room for all (an isotonic regression)."""
    offsets = list(accumulate(gaps, initial=0))
    blocks: list[tuple[float, float, int]] = []  # place, weight, how many share it
    for spot, offset in zip(row, offsets, strict=True):
        place, weight, count = spot.x - offset, spot.weight, 1
        while blocks and blocks[-1][0] > place:
            other, heavy, many = blocks.pop()
            place = (place * weight + other * heavy) / (weight + heavy)
            weight, count = weight + heavy, count + many
        blocks.append((place, weight, count))
    places = (place for place, _, count in blocks for _ in range(count))
    for spot, place, offset in zip(row, places, offsets, strict=True):
        spot.x = place + offset


def _port(spot: _Spot, towards: _Spot) -> float:
    """Where a line leaves or enters a box: in the middle, but a little to the side it comes from."""
    lean = spot.half / 2 if spot.box else 0
    return spot.x + round(max(-lean, min(lean, (towards.x - spot.x) / 5)))


def _short(text: str) -> str:
    return text if len(text) <= 48 else text[:47] + "…"


def width_of(text: str, size: float) -> float:
    """How wide a text is in most sans-serif fonts, rather too wide than too narrow."""
    narrow, wide = " .,:;'`!|()[]{}ijltfrI", "mwMW@%—…→"
    ems = (0.38 if c in narrow else 0.92 if c in wide else 0.7 if c.isupper() else 0.6 * cells_of(c) for c in text)
    return size * sum(ems)


_STYLE = """\
<style>
.howdah-graph{font-family:system-ui,sans-serif}
.howdah-graph text{font-size:14px;text-anchor:middle;fill:#1f2328}
.howdah-graph text.note{font-size:11.5px;fill:#59636e}
.howdah-graph rect{fill:#f6f8fa;stroke:#818b98;stroke-width:1.25}
.howdah-graph .lost rect{stroke-dasharray:5 4}
.howdah-graph path,.howdah-graph .ring{fill:none;stroke:#818b98;stroke-width:1.5}
.howdah-graph .dot,.howdah-graph marker path{fill:#818b98;stroke:none}
@media (prefers-color-scheme:dark){.howdah-graph text{fill:#f0f6fc}.howdah-graph text.note{fill:#9198a1}\
.howdah-graph rect{fill:#212830}}
</style>
<defs><marker id="howdah-arrow" viewBox="0 0 10 10" refX="9.5" refY="5" markerWidth="9" markerHeight="9" \
markerUnits="userSpaceOnUse" orient="auto"><path d="M0 1L10 5L0 9z"/></marker></defs>"""
