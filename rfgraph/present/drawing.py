"""Pictures of a network's graph: SVG and PNG of one layout, DOT and Mermaid for tools that have their own.

A picture is a ``Drawing``: boxes and lines in pixels, placed from the layout of each module from the inside out. Merges
whose branches do not line up are coloured by the worst of their findings.
"""

from __future__ import annotations

import io
from collections.abc import Hashable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any, Literal, NamedTuple, get_args
from xml.sax.saxutils import escape

from rfgraph.errors import Needed
from rfgraph.frozen import dataclass
from rfgraph.present.layering import Layering
from rfgraph.present.layers import field_texts
from rfgraph.present.modules import ENTRY, EXIT, OWN, Module, parts, tree
from rfgraph.present.rows import counted, printable
from rfgraph.questions.findings import SEVERITIES, Severity
from rfgraph.questions.layers import Layer
from rfgraph.report import Report

Form = Literal["svg", "png", "dot", "mermaid"]
FORMS: tuple[Form, ...] = get_args(Form)

Point = tuple[float, float]

#: Pixels: height of a box and of a module's head, room between ranks, columns and lanes, and round what is inside.
BOX, HEAD, RANK_GAP, COLUMN_GAP, LANE, ROUND = 34.0, 20.0, 24.0, 14.0, 9.0, 10.0

#: Pixels of a character, and the narrowest and widest box.
CHARACTER, NARROWEST, WIDEST = 6.6, 90.0, 280.0

#: Dots of the longest side of a png: longer ones are refused by the programs that show them.
_LONGEST_SIDE = 30_000

#: Colours of lanes, and of boxes by their worst finding: fill and line.
LANES = ("#2a7f9e", "#b5651d", "#5b8c3a", "#8e5aa8", "#b03a5b", "#4a6fc4", "#7a7a2e", "#3a8f7a")
FILL: dict[Severity | None, tuple[str, str]] = {
    None: ("#ffffff", "#7a8793"),
    "note": ("#e8f0fb", "#4a6fc4"),
    "warning": ("#fdf0d0", "#c08a00"),
    "error": ("#fbdcdc", "#c03030"),
}


@dataclass(frozen=True)
class Box:
    """A node or a module: its corner, size and texts."""

    x: float
    y: float
    width: float
    height: float
    name: str
    detail: str
    kind: Literal["node", "folded", "open"]
    severity: Severity | None


@dataclass(frozen=True)
class Line:
    """An edge, and the lane that it runs in."""

    points: tuple[Point, ...]
    lane: int | None


@dataclass(frozen=True)
class Drawing:
    """Boxes, outer ones first, and lines."""

    width: float
    height: float
    boxes: list[Box]
    lines: list[Line]


@dataclass(frozen=True)
class Picture:
    """The graph of a network, with r and S of every node.

    Parameters
    ----------
    depth
        Modules inside so many others are drawn as one box; ``None`` shows all nodes.
    """

    report: Report
    name: str
    depth: int | None = None

    @cached_property
    def names(self) -> list[str]:
        """Names of all nodes, in topological order; node ids are places in it."""
        return [str(name) for name in self.report]

    @cached_property
    def tails(self) -> list[list[int]]:
        """What each node reads, by slot."""
        ids = {name: v for v, name in enumerate(self.report)}
        return [[ids[read.tail] for read in self.report.reads(name)] for name in self.report]

    @cached_property
    def root(self) -> Module:
        """The network folded by module."""
        return tree(self.names, self.tails)

    @cached_property
    def severities(self) -> list[Severity | None]:
        """The worst that was found of each node."""
        worst: dict[Hashable, Severity] = {}
        for finding in reversed(self.report.findings):  # worst first
            worst[finding.node] = finding.severity
        return [worst.get(name) for name in self.report]

    @cached_property
    def details(self) -> list[str]:
        """Op, r and S of each node."""
        return [detail(self.report[name]) for name in self.report]

    def data(self, form: Form) -> bytes:
        """Return the picture as a file of a form.

        Raises
        ------
        MissingExtraError
            If ``png`` is asked for and matplotlib is not installed.
        """
        if form == "png":
            return png(self.drawing())
        return {"svg": self.svg, "dot": self.dot, "mermaid": self.mermaid}[form]().encode()

    def drawing(self) -> Drawing:
        """Return where boxes and lines stand."""
        return _Placing(self).drawing()

    def worst(self, nodes: Iterable[int]) -> Severity | None:
        """Return the worst that was found of some nodes."""
        met = [severity for severity in (self.severities[v] for v in nodes) if severity is not None]
        return max(met, key=SEVERITIES.index, default=None)

    def is_open(self, depth: int) -> bool:
        """Return whether modules inside ``depth`` others are shown with what they hold."""
        return self.depth is None or depth < self.depth

    def module_detail(self, module: Module) -> str:
        """Return how many nodes a module holds, and what its last one sees."""
        sees = self.details[module.nodes[-1]].partition(", ")[2]
        return f"{counted(len(module.nodes), 'node')}, {sees}"

    def svg(self) -> str:
        """Return it as a picture for browsers and documents."""
        drawing = self.drawing()
        title = escape(printable(self.report.name or self.name))
        width, height = _pixels(drawing.width), _pixels(drawing.height)
        out = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
            'font-family="system-ui, sans-serif" font-size="11">',
            f'<title>{title}</title><rect width="100%" height="100%" fill="#ffffff"/>',
        ]
        boxes = [_svg_box(box) for box in drawing.boxes]
        opened = sum(box.kind == "open" for box in drawing.boxes)  # they lie below lines, which lie below boxes
        out += boxes[:opened]
        for line in drawing.lines:
            path = "M" + "L".join(f"{_pixels(x)} {_pixels(y)}" for x, y in line.points)
            out.append(f'<path d="{path}" fill="none" stroke="{_lane_colour(line.lane)}" stroke-width="1.4"/>')
        return "\n".join([*out, *boxes[opened:], "</svg>", ""])

    def dot(self) -> str:
        """Return it for Graphviz; modules that are shown are clusters."""
        out = ["digraph {", "  node [shape=box, style=filled, fontname=sans, fontsize=10];"]
        for step in _walk(self):
            pad = "  " * (step.depth + 1)
            if step.kind == "close":
                out.append(f"{pad}}}")
            elif step.kind == "open":
                out += [f"{pad}subgraph cluster_{step.id} {{", f"{pad}  label={_quoted(step.name)};"]
            else:
                fill, line = FILL[step.severity]
                label = f"{_quoted(step.name)[:-1]}\\n{_quoted(step.detail)[1:]}"
                out.append(f'{pad}{step.id} [label={label}, fillcolor="{fill}", color="{line}"];')
        out += [f"  {tail} -> {head};" for tail, head in self._drawn_edges()]
        return "\n".join([*out, "}", ""])

    def mermaid(self) -> str:
        """Return it for Mermaid, as many Markdown readers draw it."""
        out = ["flowchart TB"]
        for severity, (fill, line) in FILL.items():
            if severity:
                out.append(f"  classDef {severity} fill:{fill},stroke:{line},color:#222")
        for step in _walk(self):
            pad = "  " * (step.depth + 1)
            if step.kind == "close":
                out.append(f"{pad}end")
            elif step.kind == "open":
                out.append(f"{pad}subgraph {step.id}[{_mermaid(step.name)}]")
            else:
                mark = f":::{step.severity}" if step.severity else ""
                out.append(f"{pad}{step.id}[{_mermaid(step.name)[:-1]}<br/>{_mermaid(step.detail)[1:]}]{mark}")
        out += [f"  {tail} --> {head}" for tail, head in self._drawn_edges()]
        return "\n".join([*out, ""])

    def _drawn_edges(self) -> list[tuple[str, str]]:
        """Return the edges between nodes and folded modules, each once."""
        owner = {v: step.id for step in _walk(self) for v in step.nodes}
        edges = ((owner[tail], owner[head]) for head, read in enumerate(self.tails) for tail in read)
        return [edge for edge in dict.fromkeys(edges) if edge[0] != edge[1]]


def form_of(path: str | None) -> Form | None:
    """Return the form that the name of a file asks for, ``None`` if it asks for none.

    Examples
    --------
    >>> form_of("graph.png"), form_of("README.mmd"), form_of("graph"), form_of(None)
    ('png', 'mermaid', None, None)
    """
    suffix = (path or "").rpartition(".")[2].lower()
    endings: dict[str, Form] = {"gv": "dot", "mmd": "mermaid", **{form: form for form in FORMS}}
    return endings.get(suffix)


def detail(layer: Layer) -> str:
    """Return op, r and S of a layer.

    Examples
    --------
    >>> from rfgraph import Network, analyze
    >>> net = Network("one", axes=2)
    >>> out = net.conv("conv", net.input("x"), kernel=3, stride=2)
    >>> detail(analyze(net)["conv"])
    'conv, r 3, S 2'
    """
    size, stride, *_ = field_texts(layer)
    return f"{layer.op}, r {size}, S {stride}"


# The order of boxes in texts


class _Step(NamedTuple):
    """A node, a folded module, or the beginning or end of one that is shown."""

    kind: Literal["node", "folded", "open", "close"]
    id: str
    depth: int
    name: str = ""
    detail: str = ""
    severity: Severity | None = None
    nodes: Sequence[int] = ()


def _walk(picture: Picture) -> Iterator[_Step]:
    """Walk through all that is shown, modules from the outside in."""
    waiting: list[tuple[int | Module | None, int, str]] = [(member, 0, "") for member in reversed(picture.root.members)]
    modules = 0
    while waiting:
        item, depth, close = waiting.pop()
        if item is None:
            yield _Step("close", close, depth)
        elif isinstance(item, int):
            name = parts(picture.names[item])[-1] if depth else picture.names[item]
            yield _Step("node", f"n{item}", depth, name, picture.details[item], picture.severities[item], (item,))
        else:
            modules += 1
            name, about, worst = item.name, picture.module_detail(item), picture.worst(item.nodes)
            if not picture.is_open(depth):
                yield _Step("folded", f"m{modules}", depth, name, about, worst, item.nodes)
                continue
            yield _Step("open", f"m{modules}", depth, name, about, worst)
            waiting.append((None, depth, f"m{modules}"))
            waiting += [(member, depth + 1, "") for member in reversed(item.members)]


# Places


@dataclass
class _Placed:
    """A module with the places of its members in it."""

    width: float
    height: float
    #: Corner of each member, and its own inside where it is shown.
    members: list[tuple[float, float, float, float, _Placed | None]]
    lines: list[Line]


class _Placing:
    """Places boxes from the inside out, then draws them from the outside in."""

    def __init__(self, picture: Picture) -> None:
        self.picture = picture
        self.boxes: list[Box] = []
        self.lines: list[Line] = []

    def drawing(self) -> Drawing:
        """Return all boxes and lines."""
        placed = self._place(self.picture.root, 0)
        self._draw(self.picture.root, placed, 0.0, 0.0, 0)
        shown = [box for box in self.boxes if box.kind == "open"]
        return Drawing(
            placed.width, placed.height, shown + [box for box in self.boxes if box.kind != "open"], self.lines
        )

    def _place(self, module: Module, depth: int) -> _Placed:
        """Return the places inside a module; it is as deep as names are, which ``modules.DEEPEST`` bounds."""
        picture, layering = self.picture, module.layering
        insides: list[_Placed | None] = []
        sizes: list[tuple[float, float]] = [(0.0, 0.0), (0.0, 0.0)]
        for member in module.members:
            inside = None
            if isinstance(member, Module) and picture.is_open(depth):
                inside = self._place(member, depth + 1)
                sizes.append((inside.width, inside.height))
            else:
                sizes.append((box_width(*self._texts(member, depth)), BOX))
            insides.append(inside)
        places, width, height, lines = arrange(layering, module.edges, sizes)
        members = [
            (*place, *size, inside) for place, size, inside in zip(places[OWN:], sizes[OWN:], insides, strict=True)
        ]
        return _Placed(width, height, members, lines)

    def _draw(self, module: Module, placed: _Placed, x: float, y: float, depth: int) -> None:
        for member, (left, top, width, height, inside) in zip(module.members, placed.members, strict=True):
            nodes = (member,) if isinstance(member, int) else member.nodes
            kind: Literal["node", "folded", "open"] = (
                "node" if isinstance(member, int) else "folded" if inside is None else "open"
            )
            texts = self._texts(member, depth)
            severity = self.picture.worst(nodes)
            self.boxes.append(Box(x + left, y + top, width, height, *texts, kind, severity))
            if inside is not None and isinstance(member, Module):
                self._draw(member, inside, x + left, y + top, depth + 1)
        for line in placed.lines:
            self.lines.append(Line(tuple((x + a, y + b) for a, b in line.points), line.lane))

    def _texts(self, member: int | Module, depth: int) -> tuple[str, str]:
        if isinstance(member, Module):
            return printable(member.name), self.picture.module_detail(member)
        name = self.picture.names[member]
        return printable(parts(name)[-1] if depth else name), self.picture.details[member]


def arrange(
    layering: Layering, edges: Sequence[tuple[int, int]], sizes: Sequence[tuple[float, float]]
) -> tuple[list[Point], float, float, list[Line]]:
    """Return the corners of a module's members, its width and height, and its lines; ``page.js`` does the same.

    Parameters
    ----------
    layering
        The layout of the module.
    sizes
        Width and height of every member, those of ``ENTRY`` and ``EXIT`` first.
    """
    heights, widths = [0.0] * layering.ranks, [0.0] * layering.columns
    for rank, column, (width, height) in zip(layering.rank, layering.column, sizes, strict=True):
        heights[rank], widths[column] = max(heights[rank], height), max(widths[column], width)
    tops, top = [0.0], HEAD
    for height in heights[1:]:
        tops.append(top)
        top += height + RANK_GAP
    tops[-1] = top = top - RANK_GAP + ROUND
    lefts, left = [], ROUND
    for width in widths:
        lefts.append(left)
        left += width + COLUMN_GAP
    right = left - COLUMN_GAP
    whole = right + LANE * layering.lanes + ROUND
    middles = [lefts[column] + widths[column] / 2 for column in layering.column]
    middles[ENTRY] = middles[EXIT] = whole / 2
    places = [
        (middle - width / 2, tops[rank]) for middle, rank, (width, _) in zip(middles, layering.rank, sizes, strict=True)
    ]
    lines = []
    for (tail, head), lane in zip(edges, layering.lane, strict=True):
        bottom = tops[layering.rank[tail]] + (heights[layering.rank[tail]] if tail != ENTRY else HEAD - RANK_GAP / 2)
        start, end = (middles[tail], places[tail][1] + sizes[tail][1]), (middles[head], places[head][1])
        if lane is None:
            points: tuple[Point, ...] = (start, (start[0], bottom), end)
        else:
            x, out, back = right + LANE * (lane + 1), bottom + RANK_GAP / 3, end[1] - RANK_GAP / 3
            points = (start, (start[0], out), (x, out), (x, back), (end[0] + 4, back), (end[0] + 4, end[1]))
        lines.append(Line(points, lane))
    return places, whole, top, lines


def box_width(*texts: str) -> float:
    """Return how wide a box of some lines is."""
    return min(max(CHARACTER * max(map(len, texts)) + 14, NARROWEST), WIDEST)


def fitted(text: str, width: float) -> str:
    """Return the end of a text that is too long for a box: what names differ in comes last.

    Examples
    --------
    >>> fitted("features/denseblock4/denselayer16/conv2", 150)
    '…ock4/denselayer16/conv2'
    """
    room = int((width - 10) / CHARACTER) + 3
    return text if len(text) <= room else "…" + text[1 - room :]


# SVG, PNG, DOT, Mermaid


def _pixels(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _lane_colour(lane: int | None) -> str:
    return "#8a949e" if lane is None else LANES[lane % len(LANES)]


def _svg_box(box: Box) -> str:
    fill, line = FILL[box.severity]
    x, y, middle = _pixels(box.x), _pixels(box.y), _pixels(box.x + box.width / 2)
    name, about = (escape(fitted(text, box.width)) for text in (box.name, box.detail))
    if box.kind == "open":
        fill = "#00000008"
        texts = f'<text x="{_pixels(box.x + 7)}" y="{_pixels(box.y + 13)}" fill="#51606e">{name}</text>'
    else:
        texts = (
            f'<text x="{middle}" y="{_pixels(box.y + 14)}" text-anchor="middle" font-weight="600" fill="#1d2730">{name}'
            f'</text><text x="{middle}" y="{_pixels(box.y + 27)}" text-anchor="middle" fill="#51606e">{about}</text>'
        )
    folded = ' stroke-width="2"' if box.kind == "folded" else ""
    return (
        f'<g><title>{escape(box.name)}: {escape(box.detail)}</title><rect x="{x}" y="{y}" '
        f'width="{_pixels(box.width)}" height="{_pixels(box.height)}" rx="4" fill="{fill}" stroke="{line}"{folded}/>'
        f"{texts}</g>"
    )


def _quoted(text: str) -> str:
    """Return a text as a string of DOT."""
    escaped = printable(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _mermaid(text: str) -> str:
    """Return a text as a string of Mermaid, which knows entities and no escapes."""
    plain = printable(text)
    return '"' + "".join(char if char.isalnum() or char in " _./:-" else f"#{ord(char)};" for char in plain) + '"'


def png(drawing: Drawing) -> bytes:
    """Return a drawing as pixels, by matplotlib.

    Raises
    ------
    MissingExtraError
        If matplotlib is not installed.
    """
    with Needed("matplotlib", "a picture as png", "'rfgraph[plot]'"):
        from matplotlib.figure import Figure
        from matplotlib.patches import Rectangle

    dots = min(144.0, 72 * _LONGEST_SIDE / max(drawing.width, drawing.height))
    figure = Figure(figsize=(drawing.width / 72, drawing.height / 72), dpi=dots)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, drawing.width), ylim=(drawing.height, 0))
    axes.axis("off")
    for box in drawing.boxes:
        fill, line = FILL[box.severity]
        shade = "#00000008" if box.kind == "open" else fill
        layer = 1 if box.kind == "open" else 3
        axes.add_patch(
            Rectangle((box.x, box.y), box.width, box.height, facecolor=shade, edgecolor=line, linewidth=1, zorder=layer)
        )
        name, about = (fitted(text, box.width) for text in (box.name, box.detail))
        # Text from a model is text: a dollar sign begins no formula.
        style: dict[str, Any] = {"fontsize": 8.5, "zorder": 4, "parse_math": False}
        if box.kind == "open":
            axes.text(box.x + 7, box.y + 13, name, color="#51606e", **style)
        else:
            middle = box.x + box.width / 2
            axes.text(middle, box.y + 14, name, ha="center", color="#1d2730", weight="bold", **style)
            axes.text(middle, box.y + 27, about, ha="center", color="#51606e", **style)
    for drawn in drawing.lines:
        along, down = zip(*drawn.points, strict=True)
        axes.plot(along, down, color=_lane_colour(drawn.lane), linewidth=1, zorder=2)
    data = io.BytesIO()
    figure.savefig(data, format="png", facecolor="white")
    return data.getvalue()
