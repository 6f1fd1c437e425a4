"""Supports against the oracle, along each axis and over all of them."""

from __future__ import annotations

import json
import math
from fractions import Fraction

import networkx as nx
import numpy as np
import oracle
import pytest
from hypothesis import assume, given, note, settings
from hypothesis import strategies as st
from strategies import DIRECTED, GATED, networks, sized

import rfgraph
from rfgraph import Network, cli
from rfgraph.errors import UnknownFieldError
from rfgraph.passes import positions as position_sets
from rfgraph.passes import products
from rfgraph.questions import holes


def check_reads(read, first, marks):
    """``marks`` from ``first`` on are exactly the positions in ``read``."""
    assert first == min(read)
    assert marks.dtype == bool
    assert marks.shape == (max(read) - min(read) + 1,)
    assert {first + int(i) for i in np.flatnonzero(marks)} == read


@given(networks(), st.integers(-7, 12), st.data())
def test_supports_are_the_oracles(graph, y, data):
    note(nx.node_link_data(graph, edges="edges"))
    report = rfgraph.analyze(graph, source="in0")
    node = data.draw(st.sampled_from([n for n in report if all(f.kind == "local" for f in report[n].field)]))
    found = report.support(node)
    assert found.status == "exact"
    for axis, along in enumerate(found.axes):
        read = oracle.unclipped(graph, node, "in0", axis, y)
        turns, phase = divmod(y, len(along.phases))
        one = along.phases[phase]
        assert (one is None) == (not read)
        if one is not None:
            check_reads(set(read), one.first + turns * along.step, one.marks)
            assert one.coverage == Fraction(len(read), max(read) - min(read) + 1)
        assert along.stride == report[node].stride[axis]


def unclipped_box(graph, node, source, place):
    """All places of ``source`` that ``place`` of ``node`` reads, path by path, on a plane without borders."""
    found = set()
    paths = [(node, tuple({i} for i in place))]
    while paths:
        v, sets = paths.pop()
        if v == source:
            rows = [()]
            for one in sets:
                rows = [(*row, i) for row in rows for i in one]
            found |= set(rows)
            continue
        for slot, tail in enumerate(oracle.inputs_of(graph, v)):
            read = tuple(
                set().union(*(oracle.taps(graph.nodes[v], axis, i, slot=slot) for i in one))
                for axis, one in enumerate(sets)
            )
            if all(read):
                paths.append((tail, read))
    return found


@given(networks(axes=st.integers(2, 3), most=6), st.data())
def test_supports_over_all_axes_are_unions_of_products(graph, data):
    note(nx.node_link_data(graph, edges="edges"))
    report = rfgraph.analyze(graph, source="in0")
    node = data.draw(st.sampled_from([n for n in report if all(f.kind == "local" for f in report[n].field)]))
    assume(math.prod(report[node].size) < 20_000)
    place = tuple(data.draw(st.integers(-3, 5)) for _ in report.axes)
    box = report.support(node).box(place)
    read = unclipped_box(graph, node, "in0", place)
    assert (box is None) == (not read)
    if box is not None:
        assert box.status == "exact"
        assert {tuple(int(i) + a for i, a in zip(at, box.first, strict=True)) for at in np.argwhere(box.marks)} == read
        assert box.first == tuple(map(min, zip(*read, strict=True)))
        assert box.coverage == Fraction(len(read), box.marks.size)


def dilated(*rates, kernel=3, axes=1):
    net = Network(axes=axes)
    last = net.input("x")
    for i, rate in enumerate(rates):
        last = net.conv(f"c{i}", last, kernel=kernel, dilation=rate)
    return net


def test_holes_of_dilated_stacks():
    assert rfgraph.analyze(dilated(1, 2, 5)).support("c2").coverage == (1,)
    grid = rfgraph.analyze(dilated(2, 2, 2)).support("c2")
    assert grid[0].marks.tolist() == [i % 2 == 0 for i in range(2 * (2 + 2 + 2) + 1)]
    assert grid.coverage == (Fraction(7, 13),)


def test_a_cross_reads_less_than_its_shadows():
    net = Network(axes=2)
    x = net.input("x")
    net.add(
        "cross", net.conv("row", x, kernel=[1, 5], padding="same"), net.conv("column", x, kernel=[5, 1], padding="same")
    )
    cross = rfgraph.analyze(net).support("cross")
    assert cross.coverage == (1, 1)
    box = cross.box()
    assert box.first == (-2, -2)
    assert box.coverage == Fraction(5 + 5 - 1, 25)
    assert box.marks[2].all()
    assert box.marks[:, 2].all()
    assert box.marks.sum() == 9


def test_phases_of_an_upsampled_map_have_supports_of_their_own():
    net = Network(axes=1)
    up = net.conv_transpose("up", net.conv("skip", net.input("x"), kernel=2, dilation=3), kernel=3, stride=2)
    phases = rfgraph.analyze(net).support(up)[0].phases
    assert [phase.marks.tolist() for phase in phases] == [[True, True, False, True, True], [True, False, False, True]]
    assert [phase.first for phase in phases] == [-1, 0]


def test_a_kernel_of_a_million_taps_is_doubled_and_not_listed():
    net = Network(axes=1)
    net.conv("wide", net.conv("sparse", net.input("x"), kernel=2, dilation=3), kernel=1_000_000)
    along = rfgraph.analyze(net).support("wide")[0]
    assert along.coverage == 1
    assert along.phases[0].size == 1_000_000 + 3
    every_second = rfgraph.analyze(dilated(2, kernel=1_000_000)).support("c0")[0]
    assert every_second.phases[0].read == 1_000_000


def test_a_wide_field_without_holes_needs_no_list():
    net = Network(axes=1)
    last = net.input("x")
    for i in range(80):
        last = net.conv(f"c{i}", last, kernel=3, stride=2)
    along = rfgraph.analyze(net).support(last)[0]
    assert (along.status, along.coverage, along.phases[0].size) == ("exact", 1, 2**81 - 1)
    with pytest.raises(rfgraph.RFGraphError, match="more than the 268435456"):
        _ = along.marks


def test_too_many_positions_give_a_bound_that_says_so(monkeypatch):
    monkeypatch.setattr(position_sets, "MAX_POSITIONS", 8)
    report = rfgraph.analyze(dilated(2, 2, axes=2))
    found = report.support("c1")
    assert found.status == "bound"
    assert found.coverage == (1, 1)
    assert found[0].marks.all()
    assert "node 'c1' (conv), axis y: its positions are too many" in found[0].why
    with pytest.raises(rfgraph.RFGraphError, match=r"'c1'.* too many to be listed over all axes"):
        found.box()
    notes = [finding for finding in report.findings if finding.rule == "RF006"]
    assert [note.message for note in notes] == [
        "node 'c1', axes y, x: its field of 9 may have holes; it is too wide for them to be counted"
    ]


def test_too_many_products_give_their_union_along_each_axis(monkeypatch):
    net = Network(axes=2)
    x = net.input("x")
    net.add(
        "cross", net.conv("row", x, kernel=[1, 5], padding="same"), net.conv("column", x, kernel=[5, 1], padding="same")
    )
    monkeypatch.setattr(products, "MAX_PRODUCTS", 1)
    box = rfgraph.analyze(net).support("cross").box()
    assert box.status == "bound"
    assert box.coverage == 1


def test_a_gate_is_cut_and_a_whole_axis_refused():
    net = Network(axes=2)
    x = net.conv("c", net.input("x"), kernel=3, dilation=2)
    pool = net.global_avg_pool("pool", x)
    net.mul("gated", x, pool)
    report = rfgraph.analyze(net)
    assert report.support("gated").coverage == (Fraction(3, 5),) * 2
    assert report.support("gated").box().coverage == Fraction(9, 25)
    with pytest.raises(rfgraph.RFGraphError, match=r"'pool'.*axis y reads the whole axis"):
        report.support("pool")
    mixed = Network(axes=2)
    x = mixed.input("x")
    columns = mixed.attention("columns", x, mixes=[True, False])
    mixed.add("both", columns, mixed.attention("rows", x, mixes=[False, True]))
    found = rfgraph.analyze(mixed).support("both")
    assert found.coverage == (1, 1)
    with pytest.raises(rfgraph.RFGraphError, match=r"'both'.*every path reads all of some axis, or nothing"):
        found.box()


def test_a_wrong_number_of_phases_is_refused():
    with pytest.raises(IndexError, match=r"phase \(0,\) has 1 entries, but the network has 2 axes"):
        rfgraph.analyze(dilated(2, axes=2)).support("c0").box((0,))


def notes_of(net, **options):
    return [finding for finding in rfgraph.analyze(net, **options).findings if finding.rule == "RF006"]


def test_check_notes_gridding_at_the_output_and_where_it_begins():
    first, last = notes_of(dilated(2, 4, 8))
    assert (first.node, last.node, last.since, first.severity) == ("c0", "c2", "c0", "note")
    assert first.message == (
        "node 'c0', axis t: it reads 60% of the 5 positions that its field spans: "
        "dilation puts its taps 2 apart, and each reads 1 position"
    )
    assert last.message == (
        f"node 'c2', axis t: it reads {100 * 15 / 29:.3g}% of the 29 positions that its field spans, since 'c0'"
    )
    assert last.advice == "dilation rates 2, 4, 8 share the factor 2: use rates without one, such as 1, 2, 5"
    assert first.advice == "with dilation rate 2, convolve without dilation too, with a kernel as wide as the gaps"


def test_json_of_a_check_has_the_numbers(capsys, tmp_path):
    path = tmp_path / "net.json"
    path.write_text(json.dumps(nx.node_link_data(dilated(2, 4).graph, edges="edges")), encoding="utf-8")
    assert cli.main(["check", str(path), "--format", "json"]) == 0
    first, last = json.loads(capsys.readouterr().out)["findings"]
    assert (first["rule"], first["severity"], first["axes"]) == ("RF006", "note", ["t"])
    assert (first["coverage"], first["size"], first["since"], first["rates"]) == ("3/5", 5, "c0", [2])
    assert (last["coverage"], last["size"], last["since"], last["rates"]) == ("7/13", 13, "c0", [2, 4])


def test_holes_that_are_filled_again_are_not_noted():
    net = dilated(2, 1)
    assert rfgraph.analyze(net).support("c0").coverage == (Fraction(3, 5),)
    assert notes_of(net) == []
    assert notes_of(dilated(1, 2, 4, 8, kernel=2)) == []


def test_holes_begin_again_after_they_were_filled():
    net = dilated(2, 1)
    net.conv("far", "c1", kernel=2, dilation=20)
    (only,) = notes_of(net)
    assert (only.node, only.since) == ("far", "far")
    assert "dilation puts its taps 20 apart, and each reads 7 positions" in only.message


def test_a_stride_larger_than_its_kernel_leaves_holes():
    net = Network(axes=2)
    net.conv("c", net.conv("skip", net.input("x"), kernel=1, stride=2), kernel=3)
    (only,) = notes_of(net)
    assert (only.node, only.axes, only.coverage) == ("c", ("y", "x"), Fraction(3, 5))
    assert "its taps lie 2 apart, and each reads 1 position: a stride before is larger" in only.message
    assert "kernels at least as large as their strides" in only.advice


def test_branches_that_read_apart_leave_holes():
    net = Network(axes=1)
    x = net.input("x")
    net.add("add", net.pad("left", x, padding=[[4, -4]]), x)
    (only,) = notes_of(net)
    assert only.cause == "its branches read apart from each other"


def test_axes_that_differ_are_noted_apart():
    net = Network(axes=2)
    net.conv("c", net.input("x"), kernel=3, dilation=[2, 3])
    assert [(note.axes, note.coverage) for note in notes_of(net)] == [
        (("y",), Fraction(3, 5)),
        (("x",), Fraction(3, 7)),
    ]


def test_holes_of_very_deep_networks_are_a_bound(monkeypatch):
    net = Network(axes=1)
    last = net.input("x")
    for i in range(20):
        last = net.conv(f"c{i}", last, kernel=3, dilation=2, padding=2)
    (_, finding) = (f for f in rfgraph.analyze(net).findings if f.rule == "RF006")
    assert finding.coverage == Fraction(41, 81)
    monkeypatch.setattr(holes, "MAX_LISTED", 500)
    (finding,) = (f for f in rfgraph.analyze(net).findings if f.rule == "RF006")
    assert (finding.node, finding.coverage) == (last, None)
    assert "may have holes; it is too wide for them to be counted" in finding.message


@st.composite
def honest_networks(draw):
    """Networks with recurrences, gates, empty phases, alternatives and ops that read at most their window."""
    graph = draw(networks(layers=[*DIRECTED, *GATED], most=8))
    for _, attributes in graph.nodes(data=True):
        kind = draw(st.integers(0, 9)) if attributes["op"] != "input" else 9
        if kind == 0 and "treat" not in attributes:
            attributes["bound"] = "it may read less"
        elif kind < 4 and attributes["op"] in ("add", "mul"):
            attributes["op"] = "either"
        elif kind == 1 and attributes["op"] in ("conv", "conv_transpose"):
            attributes.update(treat="cut")
    return graph


def local_ends(field):
    return [field.interval(y) for y in range(field.period)]


@settings(max_examples=40)
@given(honest_networks())
def test_support_and_field_agree_in_status_and_ends(graph):
    """Where both are exact they have the same ends; a support that is only a bound is so of a field that says so."""
    note(nx.node_link_data(graph, edges="edges"))
    try:
        report = rfgraph.analyze(graph, source="in0")
    except rfgraph.RFGraphError:
        return
    for node in report:
        layer = report[node]
        if not all(field.kind == "local" for field in layer.field):
            continue
        try:
            support = report.support(node)
        except UnknownFieldError:  # the padding depends on the input size, and all sizes agree on the ends alone
            continue
        for along, field in zip(support.axes, layer.field, strict=True):
            # What is read on to an end of the axis is no part of the field; a doubt about that is the layer's.
            # Between ends that are surely read, what may be read is a doubt of the support alone.
            assert along.status == "exact" or layer.status == "bound" or field.holes
            for y, ends in enumerate(local_ends(field)):
                turns, phase = divmod(y, len(along.phases))
                one = along.phases[phase]
                read = None
                if one is not None:
                    first = one.first + turns * along.step
                    read = first, first + len(one.marks) - 1
                if field.status == along.status == "exact":
                    assert read == ends
                elif read is not None:
                    assert ends is not None
                    assert ends[0] <= read[0]
                    assert read[1] <= ends[1]


@settings(max_examples=40)
@given(honest_networks(), st.data())
def test_regions_and_fields_agree_in_status(graph, data):
    """A region that is only a bound is so of a field that says so."""
    report = sized(data.draw, graph)
    assume(report is not None)
    for node in report:
        layer = report[node]
        if layer.status == "unknown":
            continue
        try:
            regions = report.regions(node)
        except rfgraph.RFGraphError:
            continue
        assert regions.status == "exact" or layer.status == "bound"


def test_the_layer_since_which_there_are_holes_is_named_in_whatever_order_a_network_was_written():
    """Two layers have them first; the one is named that the output reads first, by slot."""
    for first, second in (("a", "b"), ("b", "a")):
        net = Network(axes=1)
        x = net.input("x")
        far = net.conv("far", x, kernel=1, padding=2)
        for name in (first, second):
            net.add(name, x, far)
        net.add("out", "b", "a")
        assert [hole.node for hole in rfgraph.analyze(net).findings if hole.rule == "RF006"] == ["b", "out"]
