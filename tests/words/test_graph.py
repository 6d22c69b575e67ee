"""A graph, drawn: as text, as Mermaid, as SVG."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from itertools import combinations, pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from howdah.errors import InvalidOption
from howdah.graph import Edge, Graph, Node

SVG = "{http://www.w3.org/2000/svg}"

ORDER = Graph(
    "order",
    (Node("Charge", start=True), Node("WaitForCard", note="3 waiting"), Node("Ship"), Node("Refund"), Node("Idle")),
    (
        Edge("Charge", "Ship"),
        Edge("Charge", "Charge"),
        Edge("Charge", "WaitForCard"),
        Edge("WaitForCard", "Charge"),
        Edge("WaitForCard", None),
        Edge("Ship", None),
        Edge("Refund", "Ship"),
        Edge("Charge", "Ship"),
    ),
)


def graph(name="g", starts="", **moves):
    """A graph in short: graph(starts="A", A="B end") is A, where tasks begin, and from there B or the end."""
    targets = {source: leads.split() for source, leads in moves.items()}
    names = dict.fromkeys([*targets, *(t for leads in targets.values() for t in leads if t != "end")])
    edges = [Edge(source, None if t == "end" else t) for source, leads in targets.items() for t in leads]
    return Graph(name, tuple(Node(n, start=n in starts.split()) for n in names), tuple(edges))


@st.composite
def graphs(draw, names=None, most=40):
    """Any graph: cycles, loops, islands, several starts and ends."""
    short = st.integers(1, most).map(lambda count: [f"N{i}" + "x" * (i * 7 % 23) for i in range(count)])
    chosen = draw(short if names is None else names)
    name = st.sampled_from(chosen)
    notes = st.sampled_from(["", "", "3 waiting", "12 running, the oldest for 2 days"])
    nodes = [Node(n, draw(st.integers(0, 5)) == 0, draw(notes)) for n in chosen]
    pairs = draw(st.lists(st.tuples(name, name | st.none()), max_size=2 * len(chosen)))
    return Graph("g", tuple(nodes), tuple(Edge(source, target) for source, target in pairs))


HOSTILE = [
    '"quoted"',
    "two\nlines --> s0",
    "<script>alert(1)</script>",
    "</text></svg>",
    "a & b",
    "]]>",
    "%%{init: {'theme': 'dark'}}%%",
    "%% comment",
    "x; s0 --> s1",
    "direction LR",
    "My Direction  TB",
    "[[fork]]",
    "<<choice>>",
    "style a:b #35;",
    "#quot;",
    "`md` \\n ```",
    "---",
    "{",
    "\x1b[31mred\x00",
    "a\u202eb\ufffe\ud800",
    "受付 😀",
    "",
]
texts = st.text(max_size=30) | st.lists(st.sampled_from([*HOSTILE, " ", "a"]), max_size=4).map("".join)
hostile_graphs = graphs(st.lists(texts, min_size=1, max_size=6, unique=True), most=6)


# -- as text


def test_as_text_each_node_is_a_line_with_its_note_and_its_moves():
    assert ORDER.text() == (
        "order\n"
        "▶ Charge                        → Ship, Charge, WaitForCard\n"
        "  WaitForCard  (3 waiting)      → Charge, end\n"
        "  Ship                          → end\n"
        "  Refund       (never reached)  → Ship\n"
        "  Idle         (never reached)"
    )


def test_as_text_there_is_no_column_that_nothing_stands_in():
    assert graph("hello", "A", A="B", B="end").text() == "hello\n▶ A  → B\n  B  → end"
    assert graph("hello", "A", A="").text() == "hello\n▶ A"


def test_as_text_the_columns_stand_below_each_other_whatever_the_letters():
    first, second = graph("g", "受付", 受付="ab", ab="end").text().splitlines()[1:]
    assert first == "▶ 受付  → ab"  # A terminal gives these two letters the room of four.
    assert second == "  ab    → end"


@given(hostile_graphs)
def test_as_text_no_name_adds_a_line_or_moves_the_cursor(drawn):
    lines = drawn.text().split("\n")
    assert len(lines) == 1 + len(drawn.nodes)
    assert all(line.isprintable() and line == line.rstrip() for line in lines)


def test_a_node_that_is_said_to_be_never_reached_is_told_so_once():
    drawn = Graph("g", (Node("A", start=True), Node("B", note="never reached"), Node("C", note="old")), ())
    assert drawn.text() == "g\n▶ A\n  B  (never reached)\n  C  (old, never reached)"


# -- what a graph is


def test_unreachable_is_what_no_path_from_a_start_leads_to():
    assert ORDER.unreachable() == ["Refund", "Idle"]
    assert graph(starts="A", A="B", B="A C", X="Y", Y="X C").unreachable() == ["X", "Y"]
    assert graph(starts="A X", A="B", X="Y").unreachable() == []
    assert graph(A="B").unreachable() == ["A", "B"]


@pytest.mark.parametrize(
    ("nodes", "edges", "said"),
    [
        ((), (), "no nodes"),
        ((Node("A"), Node("B"), Node("A", note="again")), (), "two nodes named 'A'"),
        ((Node("A"), Node("B")), (Edge("A", "C"),), "names 'C', which is none of its nodes: A, B"),
        ((Node("A"), Node("B")), (Edge("C", None),), "names 'C', which is none of its nodes: A, B"),
    ],
)
def test_what_cannot_be_a_graph_is_refused(nodes, edges, said):
    with pytest.raises(InvalidOption, match=f"graph 'g' .*{said}"):
        Graph("g", nodes, edges)


# -- as Mermaid


def test_as_mermaid_it_is_a_state_diagram_with_a_title():
    assert ORDER.mermaid() == (
        "---\n"
        'title: "order"\n'
        "---\n"
        "stateDiagram-v2\n"
        '    state "Charge" as s0\n'
        '    state "WaitForCard (3 waiting)" as s1\n'
        '    state "Ship" as s2\n'
        '    state "Refund (never reached)" as s3\n'
        '    state "Idle (never reached)" as s4\n'
        "    [*] --> s0\n"
        "    s0 --> s2\n"
        "    s0 --> s0\n"
        "    s0 --> s1\n"
        "    s1 --> s0\n"
        "    s1 --> [*]\n"
        "    s2 --> [*]\n"
        "    s3 --> s2"
    )


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ('say "hi"', "say #34;hi#34;"),
        ("a\nb", "a b"),
        ("<b>", "#60;b#62;"),
        ("%%{init}%%", "#37;#37;#123;init#125;#37;#37;"),
        ("#35;", "#35;35#59;"),
        ("direction LR", "direction#32;LR"),
        ("Ünï_1.2", "Ünï_1.2"),
    ],
)
def test_as_mermaid_what_would_mean_something_is_written_as_a_number(name, label):
    assert f'    state "{label}" as s0\n' in Graph("g", (Node(name, start=True),), ()).mermaid() + "\n"


def test_as_mermaid_a_title_stays_a_string():
    title = Graph('a: "b"\n---\n%%{init}%% <i> #1;', (Node("A"),), ()).mermaid().splitlines()[1]
    assert title == r'title: "a: \"b\" --- \u0025\u0025{init}\u0025\u0025 \u003ci\u003e \u00231;"'


@given(hostile_graphs)
def test_as_mermaid_no_name_breaks_out_of_its_label(drawn):
    first, title, last, kind, *statements = drawn.mermaid().split("\n")
    assert (first, last, kind) == ("---", "---", "stateDiagram-v2")
    assert re.fullmatch(r'title: "(?:[^"\\<>&%#`]|\\["\\]|\\u[0-9a-f]{4})*"', title)
    safe = r"(?:[\w .,()-]|#\d+;)+"
    for statement in statements:
        assert re.fullmatch(rf'    state "{safe}" as s\d+|    (\[\*]|s\d+) --> (\[\*]|s\d+)', statement)
        assert not re.search(r"(?i)direction\s", statement)
    assert sum(" as " in statement and statement.startswith("    state") for statement in statements) == len(
        drawn.nodes
    )


# -- as SVG


class Picture:
    """What can be seen in an SVG."""

    def __init__(self, svg):
        self.root = ElementTree.fromstring(svg)
        _, _, self.width, self.height = map(float, self.root.get("viewBox").split())
        self.texts = [element.text for element in self.root.iter(f"{SVG}text")]
        self.boxes = {}
        self.lines = {}
        for group in self.root.iter(f"{SVG}g"):
            title = group.find(f"{SVG}title").text
            if group.get("class") == "edge":
                self.lines[title] = points(group.find(f"{SVG}path").get("d"))
            else:
                rect = group.find(f"{SVG}rect")
                x, y, width, height = (float(rect.get(name)) for name in ("x", "y", "width", "height"))
                self.boxes[title] = (x, y, x + width, y + height)
        circles = [
            (circle.get("class"), *(float(circle.get(name)) for name in ("cx", "cy", "r")))
            for circle in self.root.iter(f"{SVG}circle")
        ]
        self.rings = [(x - r, y - r, x + r, y + r) for kind, x, y, r in circles if kind == "ring"]
        dots = [(x - r, y - r, x + r, y + r) for kind, x, y, r in circles if kind == "dot"]
        self.starts = [dot for dot in dots if not any(overlap(dot, ring) for ring in self.rings)]

    def lost(self):
        nodes = [group for group in self.root.iter(f"{SVG}g") if group.get("class") == "node lost"]
        return [group.find(f"{SVG}title").text for group in nodes]


def points(path):
    """The points a path goes through, every few pixels."""
    x = y = 0.0
    found = []
    for command, numbers in re.findall(r"([A-Z])([-\d. ]+)", path):
        n = [float(number) for number in numbers.split()]
        corners = {"M": lambda n=n: n * 4, "V": lambda n=n, x=x, y=y: [x, y, x, n[0], x, n[0]], "C": lambda n=n: n}
        ax, ay, bx, by, cx, cy = corners[command]()[:6]
        for t in (i / 24 for i in range(25)) if command != "M" else [1.0]:
            s = 1 - t
            found.append(
                (
                    s**3 * x + 3 * s * s * t * ax + 3 * s * t * t * bx + t**3 * cx,
                    s**3 * y + 3 * s * s * t * ay + 3 * s * t * t * by + t**3 * cy,
                )
            )
        x, y = cx, cy
    return found


def overlap(one, other):
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def inside(point, box, by=0.0):
    return box[0] + by <= point[0] <= box[2] - by and box[1] + by <= point[1] <= box[3] - by


def cross(one, other):
    """Whether two lines meet anywhere but where they begin or end together."""

    def side(a, b, c):
        return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])

    return any(
        side(a, b, c) * side(a, b, d) < -0.001 and side(c, d, a) * side(c, d, b) < -0.001
        for a, b in pairwise(one)
        for c, d in pairwise(other)
        if abs(a[1] - c[1]) < 20
    )


def on_the_edge_of(point, box):
    return inside(point, box, -1.5) and not inside(point, box, 1.5)


def check(drawn):
    """What must be true of any picture."""
    picture = Picture(drawn.svg())
    names = [node.name for node in drawn.nodes]
    assert list(picture.boxes) == names
    assert set(names) <= set(picture.texts)
    assert picture.lost() == drawn.unreachable()
    assert len(picture.starts) == sum(node.start for node in drawn.nodes)
    assert len(picture.rings) == any(edge.target is None for edge in drawn.edges)

    things = [*picture.boxes.values(), *picture.rings, *picture.starts]
    assert not [pair for pair in combinations(things, 2) if overlap(*pair)]
    page = (0, 0, picture.width, picture.height)
    assert all(inside(box[:2], page) and inside(box[2:], page) for box in things)

    expected = {f"{edge.source} → {edge.target or 'end'}" for edge in drawn.edges}
    expected |= {f"start → {node.name}" for node in drawn.nodes if node.start}
    assert set(picture.lines) == expected
    for title, line in picture.lines.items():
        source, target = title.split(" → ")
        begins = picture.starts if source == "start" else [picture.boxes[source]]
        ends = picture.rings if target == "end" else [picture.boxes[target]]
        assert any(on_the_edge_of(line[0], box) for box in begins), title
        assert any(on_the_edge_of(line[-1], box) for box in ends), title
        for point in line:
            assert inside(point, page), title
            assert not any(inside(point, box, 1.5) for box in picture.boxes.values()), title
    return picture


@pytest.mark.parametrize(
    "drawn",
    [
        ORDER,
        graph(A=""),
        graph(starts="A", A="A"),
        graph(starts="A", A="B", B="C", C="end"),
        graph(starts="A B", A="B end", B="A B end"),
        graph(starts="A", A="B", B="C", C="D", D="E B", E="end A C"),
        graph(
            starts="A", A="B C D", B="E", C="E F", D="F", E="G", F="G", G="H I J", H="K", I="K", J="K", K="L", L="end"
        ),
        graph(A="B", B="A C", C="end"),
        graph(starts="A B C D E", A="B end", B="C end", C="D end", D="E end", E="end"),
        graph(starts="A", A="B", B="end", X="Y A end", Y="X B"),
    ],
)
def test_boxes_do_not_overlap_and_lines_join_them_without_crossing_one(drawn):
    check(drawn)


@given(graphs())
@example(Graph("all", tuple(Node(f"N{i}", i == 0) for i in range(12)),
               tuple(Edge(f"N{i}", f"N{j}") for i in range(12) for j in range(12))))  # fmt: skip
def test_any_graph_is_drawn_so(drawn):
    check(drawn)


@pytest.mark.parametrize(
    "drawn",
    [
        graph(
            starts="A", A="B C D", B="E", C="E F", D="F", E="G", F="G", G="H I J", H="K", I="K", J="K", K="L", L="end"
        ),
        graph(starts="A B C D E", A="B end", B="C end", C="D end", D="E end", E="end"),
        graph(starts="A B", A="Y", B="X", X="P end", Y="Q end"),
        graph(starts="A", A="B C", B="A", C="D", D="end"),
        graph(starts="A", A="B", B="C D F", C="E", F="E C end"),
    ],
)
def test_lines_that_need_not_cross_do_not(drawn):
    assert not any(cross(*pair) for pair in combinations(Picture(drawn.svg()).lines.values(), 2))


def test_a_straight_machine_is_one_straight_line_from_the_top_down():
    picture = check(graph(starts="A", A="Bigger", Bigger="C", C="end"))
    middles = {(box[0] + box[2]) / 2 for box in [*picture.starts, *picture.boxes.values(), *picture.rings]}
    assert len(middles) == 1
    heights = [box[1] for box in [*picture.starts, *picture.boxes.values(), *picture.rings]]
    assert heights == sorted(heights)


def test_a_way_back_goes_up_on_the_left_and_a_loop_stays_on_the_right():
    picture = check(graph(starts="A", A="B", B="C", C="A C"))
    left, right = min(box[0] for box in picture.boxes.values()), picture.boxes["C"][2]
    back = picture.lines["C → A"]
    assert all(x <= left for x, y in back if picture.boxes["A"][3] < y < picture.boxes["C"][1])
    assert all(x >= right for x, _ in picture.lines["C → C"])


def test_what_is_never_reached_is_dashed_and_below_the_rest():
    picture = check(graph(starts="B", A="B", B="C", C="D"))
    assert picture.lost() == ["A"]
    assert all(picture.boxes["A"][1] > picture.boxes[name][3] for name in "BCD")
    assert "never reached" in picture.texts


def test_a_note_is_a_second_line_in_its_box():
    assert "3 waiting" in check(ORDER).texts


def test_a_name_that_is_too_long_is_cut_in_its_box_and_whole_in_its_title():
    name = "Long" * 100
    picture = Picture(Graph("g", (Node(name, start=True, note=name),), ()).svg())
    assert picture.width < 600
    assert list(picture.boxes) == [name]
    assert picture.texts == [name[:47] + "…"] * 2


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_only_a_name(name):
    drawn = Graph(
        name, (Node(name, start=True, note=name), Node("B" + name)), (Edge(name, "B" + name), Edge(name, name))
    )
    picture = Picture(drawn.svg())
    seen = " ".join("".join(letter for letter in name if letter.isprintable() or letter.isspace()).split())
    assert picture.texts[0] == (seen or "(no name)")
    assert picture.root.find(f"{SVG}title").text == (seen or "(no name)")
    assert {element.tag.removeprefix(SVG) for element in picture.root.iter()} <= {
        "svg", "title", "style", "defs", "marker", "path", "g", "rect", "text", "circle"
    }  # fmt: skip


@given(hostile_graphs)
def test_no_name_makes_the_document_invalid(drawn):
    svg = drawn.svg()
    assert len(ElementTree.fromstring(svg.encode()).findall(f"{SVG}g/{SVG}rect")) == len(drawn.nodes)


def test_the_document_needs_nothing_from_outside_and_can_be_read_aloud():
    svg = ORDER.svg()
    root = Picture(svg).root
    assert root.get("role") == "img"
    assert root[0].tag == f"{SVG}title"
    assert root[0].text == "order"
    assert (root.get("width"), root.get("height")) == tuple(root.get("viewBox").split()[2:])
    assert re.findall(r"https?:|href|@import|src=|url\([^#]|<script|foreignObject", svg) == ["http:"]  # the name space
    assert "prefers-color-scheme:dark" in svg


def test_the_same_graph_is_the_same_bytes_in_every_process():
    code = """
from howdah.graph import Edge, Graph, Node
names = [f"N{i}" for i in range(20)]
edges = [Edge(a, b) for i, a in enumerate(names) for j, b in enumerate([*names, None]) if (i * 7 + j * 5) % 11 == 0]
print(Graph("g", tuple(Node(n, n in names[:2]) for n in names), tuple(edges)).svg())
"""
    run = [
        subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True)
        for seed in ("1", "2")
    ]
    assert run[0].stdout == run[1].stdout
    assert b"</svg>" in run[0].stdout
