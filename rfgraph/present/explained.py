"""What each rule is about: why it matters, how to mend what it finds, and the smallest network that shows it, drawn."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import cached_property
from typing import Any

import networkx as nx

from rfgraph.analysis import analyze
from rfgraph.frozen import dataclass
from rfgraph.graph.network import Network, as_node_link
from rfgraph.present.rows import Column, Document, Records, Sheet, envelope, number, truth
from rfgraph.questions.budget import Budget
from rfgraph.questions.findings import RULES, Finding
from rfgraph.questions.records import finding_document, told
from rfgraph.report import Report

_ARTICLE = "https://distill.pub/2019/computing-receptive-fields/"
_SETTINGS = "https://packaging.python.org/en/latest/specifications/pyproject-toml/"


@dataclass(frozen=True)
class Example:
    """A network with one axis, and what of it is drawn: features, each a node and an index."""

    build: Callable[[Network], object]
    features: Sequence[tuple[str, int]] = ()
    input_size: int | None = None
    budget: Budget = Budget()
    #: Input sizes at which it is drawn, where that makes a difference.
    drawn_at: Sequence[int] = ()

    @property
    def graph(self) -> nx.DiGraph[Any]:
        """The network."""
        net = Network("example", axes=1)
        self.build(net)
        return net.graph

    def report(self, input_size: int | None = None) -> Report:
        """Return what is known of the network."""
        return analyze(self.graph, input_size=input_size or self.input_size)

    def finding(self, rule: str) -> Finding:
        """Return the first finding of a rule."""
        report = self.report()
        findings = (*report.findings, *report.asked({rule}), *report.over(self.budget))
        return next(finding for finding in findings if finding.rule == rule)


@dataclass(frozen=True)
class Explained:
    """What is to be known of a rule."""

    why: str
    mend: str
    #: Where to read more.
    source: str
    example: Example
    #: How the rule is asked for, where it is looked for only then.
    asked: str = ""


def _rf001(net: Network) -> None:
    x = net.input("x")
    net.add("add", net.conv("half", x, kernel=3, stride=2), net.conv("whole", x, kernel=3))


def _rf002(net: Network) -> None:
    x = net.input("x")
    net.add("add", x, net.conv("conv", x, kernel=3, padding=[[0, 2]]))


def _rf003(net: Network) -> None:
    x = net.input("x")
    net.add("add", x, net.conv_transpose("up", net.max_pool("pool", x, kernel=2), kernel=2, stride=2))


def _rf004(net: Network) -> None:
    x = net.input("x")
    net.add("add", x, net.conv("conv", x, kernel=3, padding=[[2, 0]]))


def _rf005(net: Network) -> None:
    x = net.input("x")
    pool = net.max_pool("pool", x, kernel=3, stride=2, padding="same")
    net.add("add", pool, net.conv("side", x, kernel=1, stride=2))


def _rf006(net: Network) -> None:
    net.conv("b", net.conv("a", net.input("x"), kernel=3, dilation=2), kernel=3, dilation=2)


def _rf007(net: Network) -> None:
    x = net.conv("a", net.input("x"), kernel=5, stride=2, padding=2)
    x = net.conv("b", x, kernel=3, padding=1)
    net.conv("c", x, kernel=3, padding=1)


def _gated(net: Network) -> None:
    x = net.conv("conv", net.input("x"), kernel=3, padding=1)
    net.mul("mul", x, net.global_avg_pool("gate", x))


def _centred(net: Network) -> None:
    net.conv("conv", net.input("x", channels=1), kernel=3, padding=1, channels=1)


def _halved(net: Network) -> None:
    net.conv("conv", net.input("x"), kernel=4, stride=4)


def _rf015(net: Network) -> None:
    net.conv("conv", net.input("x"), kernel=1, stride=2)


EXPLAINED = {
    "RF001": Explained(
        "The branches of a merge step through the input at different speeds, so that their features drift further "
        "apart with every position: what is added or concatenated comes from different places of the input.",
        "Give the branches the same total stride; no padding repairs unequal strides.",
        _ARTICLE,
        Example(_rf001, [("half", 1), ("whole", 1), ("half", 3), ("whole", 3)]),
    ),
    "RF002": Explained(
        "The features that a merge puts together look at places of the input with other centres. A network learns "
        "around it, but edges blur and boxes shift, by as many pixels as the finding says.",
        "Change the padding as advised, which was tried; where none helps, an even kernel stands beside an odd one. "
        "Weights that were trained with the old padding want to be trained again. rfgraph repair does it.",
        _ARTICLE,
        Example(_rf002, [("conv", 1), ("x", 1)]),
    ),
    "RF003": Explained(
        "After an upsampling the centres of the branches agree on average, but not at each output: every other "
        "feature is off to one side and the next to the other, which may show as a checkerboard.",
        "Nothing if it is meant, as in a U-Net. Else upsample by resizing, followed by a convolution of odd kernel.",
        "https://distill.pub/2016/deconv-checkerboard/",
        Example(_rf003, [("up", 0), ("x", 0), ("up", 1), ("x", 1)]),
    ),
    "RF004": Explained(
        "The branches of a merge have other centres, but end at the same index: so it must be in a network that does "
        "not read the future.",
        "Nothing if it is meant, and --alignment causal says so; else pad as much after the map as before it.",
        "https://arxiv.org/abs/1609.03499",
        Example(_rf004, [("conv", 3), ("x", 3)]),
    ),
    "RF005": Explained(
        "SAME padding depends on the size of the input, so the branches line up at some input sizes and are off at "
        "others: a network may be trained at a size where they line up, and used at one where they do not.",
        "Use the input sizes that the finding names, or write the padding out in numbers.",
        _ARTICLE,
        Example(_rf005, [("pool", 1), ("side", 1)], drawn_at=(6, 7)),
    ),
    "RF006": Explained(
        "Between the first and the last position that a feature reads, it skips some: dilated kernels whose rates "
        "share a factor read a grid, and neighbouring features read grids that never meet.",
        "Use dilation rates without a common factor, such as 1, 2, 5, or kernels at least as large as their strides.",
        "https://arxiv.org/abs/1702.08502",
        Example(_rf006, [("b", 0), ("b", 1)]),
    ),
    "RF007": Explained(
        "All that the convolution reads has seen the whole image already, so it can add no context: parameters and "
        "time that a smaller network, or a larger image, would use better.",
        "Use larger inputs, fewer strides early on, or leave the layer out.",
        "https://arxiv.org/abs/2106.12307",
        Example(_rf007, [("b", 2), ("c", 2)], input_size=8),
    ),
    "RF008": Explained(
        "Through a global pool, attention or a recurrence the output reads the whole axis; its other paths have a "
        "local field besides, which is what r, S and P tell.",
        "Nothing if it is meant: it only tells that such a network cannot be cut into tiles exactly.",
        "https://arxiv.org/abs/1709.01507",
        Example(_gated, [("conv", 2), ("mul", 2)]),
    ),
    "RF009": Explained(
        "The network cannot be run tile by tile with the same result, for an op that reads the whole map, or windows "
        "that depend on its size.",
        "Run it on whole inputs, or treat the op that is named as what it does on a tile, and accept the difference.",
        "https://arxiv.org/abs/1505.04597",
        Example(_gated, [("conv", 2), ("mul", 2)]),
        "--select RF,RF009",
    ),
    "RF010": Explained(
        "In a network that is to be causal, this op reads positions after that of its output: a stream has to wait "
        "for them.",
        "Pad before the map alone, as advised; weights that were trained otherwise want to be trained again.",
        "https://arxiv.org/abs/1609.03499",
        Example(_centred, [("conv", 2), ("x", 2)]),
        "--causal AXIS",
    ),
    "RF011": Explained(
        "The project demands a larger receptive field than an output has: objects that are larger than it cannot be "
        "seen as one.",
        "Add layers, strides or dilation before the output, or lower min-r.",
        _SETTINGS,
        Example(_centred, [("conv", 2)], budget=Budget(min_r=5)),
        "budget = {min-r = 5} in [tool.rfgraph]",
    ),
    "RF012": Explained(
        "The project allows an output to read less of the future than this one does; a stream waits that long.",
        "Pad before the map and not after it, or raise max-look-ahead.",
        _SETTINGS,
        Example(_centred, [("conv", 2), ("x", 2)], budget=Budget(max_look_ahead=0)),
        "budget = {max-look-ahead = 0} in [tool.rfgraph]",
    ),
    "RF013": Explained(
        "The project allows fewer parameters than the network has, or they cannot all be told.",
        "Take fewer channels or layers, or raise max-parameters.",
        _SETTINGS,
        Example(_centred, budget=Budget(max_parameters=2)),
        "budget = {max-parameters = 2} in [tool.rfgraph]",
    ),
    "RF014": Explained(
        "Tiles that are run one by one must start at multiples of the network's own stride on the way, and those of "
        "the project do not: its tiles would give other results than the whole.",
        "Make tile-multiple a multiple of what the finding names, or change the strides.",
        _SETTINGS,
        Example(_halved, [("conv", 0), ("conv", 1)], budget=Budget(tile_multiple=6)),
        "budget = {tile-multiple = 6} in [tool.rfgraph]",
    ),
    "RF015": Explained(
        "Some positions of the input are read by no feature of any output: a stride larger than its kernel skips "
        "them, or the last ones are left over at the border.",
        "Nothing if it is meant; else a kernel at least as large as its stride, or other padding.",
        _ARTICLE,
        Example(_rf015, [("conv", 0), ("conv", 1), ("conv", 2)]),
    ),
}  # fmt: skip


def drawing(example: Example) -> list[str]:
    """Return a network as lines of text: its nodes, and which positions of the input some features read."""
    graph = example.graph
    names = [str(node) for node in graph]
    ops = [_op(attributes) for _, attributes in graph.nodes(data=True)]
    wide, long = max(map(len, names)), max(map(len, ops))
    lines = []
    for node, name, op in zip(graph, names, ops, strict=True):
        tails = ", ".join(str(tail) for tail in graph.predecessors(node))
        lines.append(f"{name:<{wide}}  {op:<{long}}  {f'reads {tails}' if tails else ''}".rstrip())
    sizes: list[int | None] = [*example.drawn_at] or [example.input_size]
    for size in sizes if example.features else ():
        lines += ["", *_reading(example.report(size), example.features, size)]
    return lines


def _reading(report: Report, features: Sequence[tuple[str, int]], size: int | None) -> list[str]:
    """Return which positions of the input features read: a line for each."""
    read = [(f"{node}[{index}]", node, index, _positions(report, node, index)) for node, index in features]
    marked = [position for *_, positions in read for position in positions or ()]
    marked += [] if size is None else [0, size - 1]
    shown = range(min(marked) - 1, max(marked) + 2)
    wide = max(len(head) for head, *_ in read)
    of = "" if size is None else f"   of {size}"
    lines = [f"{'pixel':<{wide}} " + "".join(f"{position:>3}" for position in shown) + of]
    for head, node, index, positions in read:
        marks = "".join("  #" if positions is None or position in positions else "  ." for position in shown)
        (window,) = report[node].field
        centre = ""
        if positions is not None and window.period == 1 and window.is_local:
            centre = f"   centre {number(window.center + index * window.stride)}"
        lines.append(f"{head:<{wide}} {marks}{centre}".rstrip())
    return lines


def _op(attributes: dict[str, Any]) -> str:
    told = " ".join(f"{name}={value}" for name, value in attributes.items() if name != "op")
    return f"{attributes['op']} {told}".rstrip()


def _positions(report: Report, node: Hashable, index: int) -> list[int] | None:
    """Return which positions of the input a feature reads, ``None`` if it reads them all."""
    if report[node].is_global[0]:
        return None
    (axis,) = report.support(node).axes
    turns, phase = divmod(index, len(axis.phases))
    support = axis.phases[phase]
    if support is None:
        return []
    first = support.first + turns * axis.step
    return [first + place for place, marked in enumerate(support.marks) if marked]


@dataclass(frozen=True)
class RuleView:
    """A rule explained."""

    rule: str

    @property
    def explained(self) -> Explained:
        """What is to be known of it."""
        return EXPLAINED[self.rule]

    @cached_property
    def finding(self) -> Finding:
        """What is found in the example."""
        return self.explained.example.finding(self.rule)

    def sheet(self) -> Sheet:
        """Return it for people."""
        about, explained = RULES[self.rule], self.explained
        columns = tuple(map(Column, ("rule", "why", "to mend", "asked by", "more")))
        row = (
            f"{about.severity} {self.rule} {about.title}",
            explained.why,
            explained.mend,
            explained.asked,
            explained.source,
        )
        notes = (f"found: {self.finding.message}", f"advice: {self.finding.advice}")
        return Sheet("", columns, [row], notes, stacked=True, drawing=tuple(drawing(explained.example)))

    def records(self) -> Records:
        """Return it for spreadsheets."""
        return Rules((self.rule,)).records()

    def document(self) -> Document:
        """Return it for programs; the example is a node-link graph."""
        (entry,) = Rules((self.rule,)).document()["rules"]
        return {
            **envelope("rule"),
            **entry,
            "example": {
                "graph": as_node_link(self.explained.example.graph),
                "drawing": drawing(self.explained.example),
                "finding": finding_document(self.finding),
            },
        }


@dataclass(frozen=True)
class Rules:
    """All rules, one a row."""

    rules: tuple[str, ...] = tuple(RULES)

    def sheet(self) -> Sheet:
        """Return it for people."""
        rows = [(rule, RULES[rule].severity, RULES[rule].title, EXPLAINED[rule].asked) for rule in self.rules]
        notes = ("rfgraph rule RF002 explains one, with an example",)
        return Sheet("", tuple(map(Column, ("rule", "severity", "title", "asked for by"))), rows, notes)

    def records(self) -> Records:
        """Return it for spreadsheets."""
        header = ("rule", "severity", "title", "asked", "asked_by", "why", "mend", "source")
        entries = [self._entry(rule).values() for rule in self.rules]
        rows = [tuple(truth(cell) if isinstance(cell, bool) else cell for cell in entry) for entry in entries]
        return Records(header, rows)

    def document(self) -> Document:
        """Return it for programs."""
        return {**envelope("rule"), "rules": [self._entry(rule) for rule in self.rules]}

    def _entry(self, rule: str) -> dict[str, Any]:
        about, explained = RULES[rule], EXPLAINED[rule]
        said = {**told(about, "severity", "title", "asked"), "asked_by": explained.asked}
        return {"rule": rule, **said, **told(explained, "why", "mend", "source")}
