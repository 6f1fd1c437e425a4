"""Linear time, counted and not timed: each edge is visited once, and no lookup walks the depth of the network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log2
from typing import Any

import networkx as nx
import pytest

import rfgraph
from benchmarks.graphs import NETWORKS
from rfgraph.algebra.window import Window
from rfgraph.fast import affine_walk as plain
from rfgraph.passes import fields as engine
from rfgraph.passes.compiled import compile_graph
from rfgraph.passes.dominators import DominatorTree
from rfgraph.questions import alignment

SIZES = (1000, 2000, 4000)


@dataclass
class Calls:
    """How often windows were composed and joined."""

    through: int = 0
    hull: int = 0

    def during(self, run: Callable[[], object]) -> tuple[int, int]:
        """Return the calls of ``through`` and ``hull`` that ``run`` makes."""
        self.through = self.hull = 0
        run()
        return self.through, self.hull


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Count the two operations of the window algebra, which the passes do nothing without."""
    counted = Calls()
    through, hull = Window.through, Window.hull

    def counted_through(self: Window, inner: Window) -> Window:
        counted.through += 1
        return through(self, inner)

    def counted_hull(self: Window, other: Window) -> Window:
        counted.hull += 1
        return hull(self, other)

    monkeypatch.setattr(Window, "through", counted_through)
    monkeypatch.setattr(Window, "hull", counted_hull)
    return counted


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("nodes", SIZES)
def test_a_pass_composes_once_per_edge(calls: Calls, network: str, nodes: int) -> None:
    graph = NETWORKS[network](nodes)
    edges = graph.number_of_edges()
    compiled = compile_graph(graph)
    # The first field that comes to a node is not joined to anything.
    joined = edges - (len(graph) - 1)
    assert calls.during(lambda: engine.forward(compiled, 0, 0)) == (edges, joined)
    assert calls.during(lambda: engine.reverse(compiled, 0, nodes - 1)) == (edges, joined)


@pytest.mark.parametrize("network", ["inception", "random"])
def test_a_pass_from_the_middle_composes_once_per_edge_that_it_reaches(calls: Calls, network: str) -> None:
    graph = NETWORKS[network](2000)
    compiled = compile_graph(graph)
    middle = 1000
    node = compiled.layers.nodes[middle]
    later = {node} | nx.descendants(graph, node)
    earlier = {node} | nx.ancestors(graph, node)
    below = sum(tail in later for tail, _ in graph.edges)
    above = sum(head in earlier for _, head in graph.edges)
    assert 0 < below < graph.number_of_edges()
    assert 0 < above < graph.number_of_edges()
    assert calls.during(lambda: engine.forward(compiled, 0, middle)) == (below, below - (len(later) - 1))
    assert calls.during(lambda: engine.reverse(compiled, 0, middle)) == (above, above - (len(earlier) - 1))


@pytest.mark.parametrize("nodes", SIZES)
def test_alignment_composes_once_per_edge_into_a_merge(calls: Calls, nodes: int) -> None:
    graph = NETWORKS["random"](nodes)
    into_merges = sum(degree for _, degree in graph.in_degree if degree > 1)
    compiled = compile_graph(graph)
    fields = [engine.forward(compiled, axis, 0) for axis in (0, 1)]
    composed, _ = calls.during(lambda: alignment.find(compiled, fields, 0, ("auto", "auto")))
    assert composed == 2 * into_merges  # two axes that read differently


@pytest.mark.parametrize("nodes", SIZES)
def test_alignment_with_findings_composes_each_edge_into_a_merge_a_logarithm_of_times_more(
    calls: Calls, nodes: int
) -> None:
    graph = NETWORKS["misaligned"](nodes)
    into_merges = sum(degree for _, degree in graph.in_degree if degree > 1)
    compiled = compile_graph(graph)
    fields = [engine.forward(compiled, axis, 0) for axis in (0, 1)]
    composed, _ = calls.during(lambda: alignment.find(compiled, fields, 0, ("auto", "auto")))
    # The dominators of each axis, and along their jump pointers what each merge reads of its fork.
    jumps = int(log2(len(graph))) + 1
    assert 2 * into_merges < composed <= 2 * (graph.number_of_edges() + 2 * into_merges * jumps)


def test_axes_that_read_alike_share_one_pass(calls: Calls) -> None:
    square, oblong = NETWORKS["chain"](1000), NETWORKS["chain"](1000)
    first = next(node for node, op in square.nodes(data="op") if op == "conv")
    oblong.nodes[first].update(kernel=(3, 5), padding=(1, 2))
    assert calls.during(lambda: rfgraph.analyze(square, {"input_0": 1024}).outputs)[0] == 0
    assert calls.during(lambda: rfgraph.analyze(square, {"input_0": 1024})["input_0"])[0] == 999
    assert calls.during(lambda: rfgraph.analyze(oblong, {"input_0": 1024})["input_0"])[0] == 2 * 999


class Name(str):
    """A name of a node that counts how often it is looked up."""

    times = 0

    def __hash__(self) -> int:
        Name.times += 1
        return super().__hash__()


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("nodes", SIZES)
def test_a_plain_network_is_walked_once(calls: Calls, network: str, nodes: int) -> None:
    of_strings = NETWORKS[network](nodes)
    graph: nx.DiGraph[Any] = nx.DiGraph(**of_strings.graph)
    names = {node: Name(node) for node in of_strings}
    for node, tails in of_strings.pred.items():
        graph.add_node(names[node], **of_strings.nodes[node])
        graph.add_edges_from((names[tail], names[node], edge) for tail, edge in tails.items())
    alone = sum(degree == 1 for _, degree in graph.in_degree)
    Name.times = 0
    solved = []
    assert calls.during(lambda: solved.append(plain.solve(graph))) == (0, 0)
    # Each node is noted once and each edge followed once; the attributes of one that comes alone are looked up too.
    assert Name.times == nodes + graph.number_of_edges() + alone
    assert solved != [None]


def test_what_does_not_depend_on_the_source_is_not_composed(calls: Calls) -> None:
    net = rfgraph.Network("gate", axes=1)
    x = net.conv("conv", net.input("signal"), kernel=3)
    gate = net.relu("relu", net.conv("squeeze", net.global_avg_pool("pool", x), kernel=1))
    net.add("out", net.mul("mul", x, gate), net.constant("position"))
    compiled = compile_graph(net.graph)
    # signal -> conv, conv -> mul, mul -> out; what the pool reads is cut, and the constant reads nothing
    assert calls.during(lambda: engine.forward(compiled, 0, compiled.layers.id_of("signal")))[0] == 3


DEEP = 100_000


def test_a_chain_of_a_hundred_thousand_layers() -> None:
    graph = NETWORKS["chain"](DEEP)
    sliding = [data for _, data in graph.nodes(data=True) if "kernel" in data]
    expected = rfgraph.single_path(
        [data["kernel"] for data in sliding],
        [data.get("stride", 1) for data in sliding],
        [data["padding"] for data in sliding],
    )
    report = rfgraph.analyze(graph)
    last = list(graph)[-1]
    assert report[last].field == (expected, expected)
    assert report.findings == ()
    assert report.outputs == (last,)
    back = rfgraph.trace(graph)
    assert len(back) == DEEP
    assert back[next(iter(graph))].field == (expected, expected)


def two_branches(before: int, left: int, right: int) -> nx.DiGraph[Any]:
    """Return a chain of ``before`` convs that parts into two of ``left`` and ``right``, which meet half a pixel off."""
    graph: nx.DiGraph[Any] = nx.DiGraph(axes=1)
    graph.add_node("signal", op="input")

    def grow(name: str, x: str, layers: int, first: dict[str, int]) -> str:
        for i in range(layers):
            graph.add_node(f"{name}{i}", op="conv", **(first if i == 0 else {"kernel": 3, "padding": 1}))
            graph.add_edge(x, f"{name}{i}")
            x = f"{name}{i}"
        return x

    fork = grow("stem", "signal", before, {"kernel": 3, "padding": 1})
    ends = [grow("left", fork, left, {"kernel": 2, "padding": 0}), grow("right", fork, right, {"kernel": 1})]
    graph.add_node("meet", op="add")
    graph.add_edges_from((end, "meet", {"slot": slot}) for slot, end in enumerate(ends))
    return graph


class CountedList(list[int]):
    """A list that counts how often it is read."""

    reads = 0

    def __getitem__(self, place: Any) -> Any:
        self.reads += 1
        return super().__getitem__(place)


@pytest.fixture
def lookups(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Steps up the dominator tree, one entry per lookup of a nearest common dominator, in order."""
    taken: list[int] = []

    begin, meet = DominatorTree.__init__, DominatorTree.meet

    def begin_counted(tree: DominatorTree, nodes: int, root: int) -> None:
        begin(tree, nodes, root)
        tree.parent = CountedList(tree.parent)
        tree.jump = CountedList(tree.jump)

    def meet_counted(tree: DominatorTree, u: int, v: int) -> int:
        assert isinstance(tree.parent, CountedList)
        assert isinstance(tree.jump, CountedList)
        before = tree.parent.reads + tree.jump.reads
        above = meet(tree, u, v)
        taken.append(tree.parent.reads + tree.jump.reads - before)
        return above

    monkeypatch.setattr(DominatorTree, "__init__", begin_counted)
    monkeypatch.setattr(DominatorTree, "meet", meet_counted)
    return taken


#: Reads of a pointer per doubling of the network. To the level of the other node it takes some 2 log2 V pointers, read
#: twice each, and from there to the common node as many again, read four times; the worst of 7,200 random lookups in
#: chains of up to 65,536 nodes took 11.2 log2 V.
READS_PER_DOUBLING = 12


@pytest.mark.parametrize("nodes", [1 << 10, 1 << 13, 1 << 16])
@pytest.mark.parametrize(
    "shares", [(0, 1, 1), (1, 1, 1), (2, 1, 5), (0, 1, 1000)], ids=["fork-first", "thirds", "uneven", "one-short"]
)
def test_the_fork_of_a_deep_merge_is_found_in_logarithmic_steps(
    lookups: list[int], nodes: int, shares: Sequence[int]
) -> None:
    before, left, right = (nodes * share // sum(shares) + 1 for share in shares)
    finding = rfgraph.analyze(two_branches(before, left, right)).findings[0]
    assert finding.fork == f"stem{before - 1}"
    assert len(lookups) == 2  # the merge is hung into the tree, and the finding asks for its fork
    assert max(lookups) <= READS_PER_DOUBLING * log2(nodes)
    assert min(lookups) > 0
    assert len(finding.branch.path) + len(finding.reference.path) == left + right + 4  # what walking up would cost


@pytest.mark.parametrize("nodes", SIZES)
def test_every_lookup_of_a_network_full_of_findings_is_logarithmic(lookups: list[int], nodes: int) -> None:
    graph = NETWORKS["misaligned"](nodes)
    findings = rfgraph.analyze(graph).findings
    merges = sum(degree - 1 for _, degree in graph.in_degree if degree > 1)
    assert len(findings) > nodes // 4
    assert all(finding.fork in graph for finding in findings)
    assert len(lookups) <= 2 * 2 * merges + len(findings)  # per axis a tree and a judgement, and one lookup per finding
    assert max(lookups) <= READS_PER_DOUBLING * log2(nodes)


def test_findings_of_a_plain_network_are_read_off_the_walk(calls: Calls) -> None:
    graph = NETWORKS["misaligned"](1000)
    findings: list[Any] = []
    assert calls.during(lambda: findings.extend(rfgraph.analyze(graph).findings)) == (0, 0)
    assert calls.during(lambda: [(one.fork, one.offset, one.reference, one.message) for one in findings]) == (0, 0)
    assert len(findings) > 250
    assert calls.during(lambda: findings[0].advice)[0] > 0  # what repairs it is solved again
