"""The one pass against paths listed one by one by networkx, and what it keeps in memory."""

from __future__ import annotations

import networkx as nx
from hypothesis import given
from hypothesis import strategies as st

from rfgraph.frozen import dataclass
from rfgraph.passes.fold import Domain, between, fold, fold_along, fold_back, folded


@dataclass(frozen=True)
class Wires:
    """A network that is nothing but its edges."""

    tails: list[list[int]]

    def graph(self):
        """The same for networkx."""
        graph = nx.MultiDiGraph()
        graph.add_nodes_from(range(len(self.tails)))
        graph.add_edges_from((tail, v) for v, tails in enumerate(self.tails) for tail in tails)
        return graph


class Routes(Domain[tuple]):
    """Every path, as the edges that it takes; nothing comes over edges that are cut."""

    start = ((),)

    def __init__(self, cut=()):
        self.cut = cut
        self.seen = []

    def through(self, v, slot, value):
        self.seen.append((v, slot))
        return None if (v, slot) in self.cut else tuple((*route, (v, slot)) for route in value)

    def join(self, v, values):
        assert values
        return tuple(route for value in values for route in value)


@st.composite
def wires(draw):
    count = draw(st.integers(1, 8))
    return Wires([draw(st.lists(st.integers(0, v - 1), max_size=3)) if v else [] for v in range(count)])


def routes(wires, source, end, cut=()):
    """All paths from ``source`` to ``end`` by edges (node, slot), listed one by one."""
    if source == end:
        return {()}
    found = set()
    for slot, tail in enumerate(wires.tails[end]):
        if (end, slot) not in cut:
            found |= {(*route, (end, slot)) for route in routes(wires, source, tail, cut)}
    return found


@given(wires(), st.data())
def test_a_fold_carries_every_path_once(wires, data):
    ids = st.integers(0, len(wires.tails) - 1)
    source, cut = data.draw(ids), data.draw(st.sets(st.tuples(ids, st.integers(0, 2)), max_size=2))
    forward = fold(wires, source, Routes(cut))
    for v in range(len(wires.tails)):
        want = routes(wires, source, v, cut)
        got = forward.get(v, ())
        assert set(got) == want
        assert len(got) == len(want)
        back = fold_back(wires, v, Routes(cut)).get(source, ())
        assert {tuple(reversed(route)) for route in back} == want
        assert fold_back(wires, v, Routes(cut), source).get(source, ()) == back
        assert fold(wires, source, Routes(cut), [v]).get(v, ()) == got
        if way := between(wires, source, [v]):
            assert fold_along(wires, way, Routes(cut)).get(v, ()) == got


@given(wires(), st.data())
def test_only_nodes_on_the_way_are_visited_and_each_edge_once(wires, data):
    ids = st.integers(0, len(wires.tails) - 1)
    source, ends = data.draw(ids), data.draw(st.lists(ids, max_size=2))
    graph = wires.graph()
    way = [
        v for v in sorted(graph) if nx.has_path(graph, source, v) and any(nx.has_path(graph, v, end) for end in ends)
    ]
    assert between(wires, source, ends) == way
    domain = Routes()
    assert [v for v, _ in folded(wires, source, domain, ends)] == way
    edges = [(v, slot) for v in way for slot, tail in enumerate(wires.tails[v]) if v != source and tail in way]
    assert domain.seen == edges
    for end in ends:
        domain = Routes()
        fold_back(wires, end, domain, source)
        there = between(wires, source, [end])
        inside = [(v, slot) for v in there for slot, tail in enumerate(wires.tails[v]) if v != source and tail in there]
        assert sorted(domain.seen) == inside
    if ends:
        domain = Routes()
        back = fold_back(wires, ends, domain, source).get(source, ())
        assert fold_back(wires, ends, Routes()).get(source, ()) == back
        assert sorted(domain.seen) == edges
        assert sorted(tuple(reversed(route)) for route in back) == sorted(
            route for end in set(ends) for route in routes(wires, source, end)
        )


class Counted:
    """A value that knows how many of its kind are alive."""

    alive = 0
    most = 0

    def __init__(self):
        Counted.alive += 1
        Counted.most = max(Counted.most, Counted.alive)

    def __del__(self):
        Counted.alive -= 1


class Counting(Domain[Counted]):
    @property
    def start(self):
        return Counted()

    def through(self, v, slot, value):
        return Counted()

    def join(self, v, values):
        return values[-1]


def test_a_value_is_dropped_after_its_last_reader():
    Counted.most = Counted.alive = 0
    chain = Wires([[]] + [[v, max(0, v - 1)] for v in range(500)])
    assert list(fold(chain, 0, Counting(), [500])) == [500]
    assert Counted.most < 10
    Counted.most = 0
    assert list(fold_back(chain, 500, Counting(), 0)) == [0]
    assert Counted.most < 10
