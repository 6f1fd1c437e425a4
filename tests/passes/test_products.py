"""Unions of products: what is kept of them at a merge, and whether it is exact."""

from __future__ import annotations

import pytest

import rfgraph
from rfgraph import Network
from rfgraph.algebra import runs
from rfgraph.algebra.runs import Runs, united
from rfgraph.ops import kind_of
from rfgraph.passes.compiled import compile_graph
from rfgraph.passes.products import MAX_PRODUCTS, Products
from rfgraph.passes.regions import Region, covering, inputs_read, reach


def domain(axes=1):
    """A walk over regions, of which only the joins are looked at."""
    net = Network(axes=axes)
    net.input("x", size=100)
    return Region(compile_graph(net.graph), (0,) * axes)


def along(*intervals, exact=True):
    """A union of intervals along one axis, each a product of its own."""
    return Products([(Runs.of(*interval),) for interval in intervals], exact)


@pytest.mark.parametrize(
    ("values", "exact"),
    [
        ([along((0, 9)), along((3, 4), exact=False)], True),
        ([along((0, 9)), along((3, 4), (20, 21), exact=False)], False),
        ([along((0, 2), (5, 9)), along((6, 7), exact=False)], True),
        ([along((0, 2), (5, 9)), along((2, 5), exact=False)], False),
        ([along((0, 9)), along((3, 4), exact=False), along((20, 21), exact=False)], False),
        ([along((3, 4), exact=False), along((0, 9), exact=False)], False),
        ([along((3, 4)), along((20, 21))], True),
    ],
)
def test_what_may_be_read_leaves_a_union_exact_where_all_of_it_is_read_for_sure(values, exact):
    for order in (values, values[::-1]):
        assert domain().join(0, order).exact == exact


def test_no_product_lies_inside_another():
    for values in ([along((0, 9), (3, 4))], [along((3, 4), (0, 9))], [along((3, 4)), along((0, 9))]):
        (product,) = domain().join(0, values).products
        assert list(product[0]) == [(0, 9)]
    apart = Products([(Runs.of(0, 9), Runs.of(0, 0)), (Runs.of(3, 4), Runs.of(1, 1))], True)
    assert domain(2).join(0, [apart]).products == apart.products


def test_as_many_products_are_kept_as_the_cap_and_more_become_their_hull():
    def corners(count):
        return Products([(Runs.of(i, i), Runs.of(-i, -i)) for i in range(count)], True)

    kept = domain(2).join(0, [corners(MAX_PRODUCTS)])
    assert (len(kept.products), kept.exact) == (MAX_PRODUCTS, True)
    (hull,) = (bound := domain(2).join(0, [corners(MAX_PRODUCTS + 1)])).products
    assert ([list(part) for part in hull], bound.exact) == ([[(0, MAX_PRODUCTS)], [(-MAX_PRODUCTS, 0)]], False)


def test_what_is_read_through_one_of_several_branches_is_a_bound_further_back_too():
    net = Network(axes=1)
    x = net.conv("stem", net.input("x", size=9), kernel=1)
    net.either("either", x, net.conv("wide", x, kernel=3, padding=1))
    report = rfgraph.analyze(net)
    for source, graph in (("x", report), ("stem", rfgraph.analyze(net, source="stem"))):
        region = graph.region("either", 4)
        assert (source, region.box, region.status) == (source, ((3, 5),), "bound")


@pytest.mark.parametrize("axis", [0, 1])
def test_what_may_be_read_along_one_of_two_axes_is_a_bound(axis):
    net = Network(axes=2)
    net.conv("out", net.input("x", size=9), kernel=3, padding=1, bound=["a mask" if a == axis else "" for a in (0, 1)])
    region = rfgraph.analyze(net).region("out", (4, 4))
    assert (region.box, region.status) == (((3, 5), (3, 5)), "bound")


@pytest.mark.parametrize("axis", [0, 1])
def test_maps_end_to_end_along_one_of_two_axes_are_read_where_they_lie(axis):
    net = Network(axes=2)
    x = net.input("x", size=9)
    net.concat("both", x, net.conv("wide", x, kernel=3, padding=1), axis=axis)
    report = rfgraph.analyze(net)
    for at, box in ((4, ((4, 4), (4, 4))), (13, ((3, 5), (3, 5)))):
        region = report.region("both", (at, 4) if axis == 0 else (4, at))
        assert (region.box, region.status) == (box, "exact")


def test_what_a_mask_may_hide_is_a_bound_further_back_too():
    net = Network(axes=1)
    masked = net.conv("masked", net.input("x", size=9), kernel=3, padding=1, bound="under its mask")
    net.conv("out", masked, kernel=3, padding=1)
    region = rfgraph.analyze(net).region("out", 4)
    assert (region.box, region.status) == (((2, 6),), "bound")


def test_more_holes_than_are_followed_become_an_interval(monkeypatch):
    comb = Runs.of(0, 0).swept(3, 5)
    shifted = comb.scaled(1, 1)
    both, exact = covering([comb, shifted])
    assert (list(both), exact) == (list(united([comb, shifted])), True)
    monkeypatch.setattr(runs, "MAX_RUNS", 1)
    both, exact = covering([comb, Runs.of(40, 41), Runs.of(44, 44)])
    assert (list(both), exact) == ([(0, 44)], False)


def test_a_hull_with_fewer_holes_than_there_are_makes_the_walk_a_bound_for_good(monkeypatch):
    walk, comb = domain(), Runs.of(0, 0).swept(3, 5)
    walk.hull(Runs.of(0, 1), Runs.of(3, 4))
    assert not walk.widened
    monkeypatch.setattr(runs, "MAX_RUNS", 1)
    assert list(walk.hull(comb, Runs.of(44, 45))) == [(0, 45)]
    assert walk.widened
    monkeypatch.undo()
    walk.hull(Runs.of(0, 1), Runs.of(3, 4))
    assert walk.widened


def test_a_bound_on_the_way_stays_one_however_exact_the_rest_is(monkeypatch):
    net = Network(axes=1)
    stem = net.conv("stem", net.input("x", size=60), kernel=1)
    holes = net.conv("holes", net.conv("far", stem, kernel=3, dilation=16), kernel=3, dilation=5)
    net.conv("near", holes, kernel=1)
    compiled = compile_graph(net.graph)
    node = compiled.layers.id_of("near")
    assert reach(compiled, node, (0,), 0).exact
    monkeypatch.setattr(runs, "MAX_RUNS", 1)
    bound = reach(compiled, node, (0,), 0)
    assert not bound.exact
    assert (bound.products[0][0].first, bound.products[0][0].last) == (0, 2 * 5 + 2 * 16)


def test_behind_a_border_that_repeats_a_bound_is_the_whole_map(monkeypatch):
    pad = kind_of("pad").parse({"op": "pad", "padding": [[2, 2]], "mode": "reflect"}, 0, 1)
    comb = Runs.of(0, 0).swept(3, 5)
    read = pad.window(0, (20,))
    inputs, exact = inputs_read(pad, read, comb, 20)
    assert (sorted(i for a, b in inputs for i in range(a, b + 1)), exact) == ([1, 2, 4, 7, 10], True)
    monkeypatch.setattr(runs, "MAX_RUNS", 1)
    inputs, exact = inputs_read(pad, read, comb, 20)
    assert (list(inputs), exact) == ([(0, 19)], False)
