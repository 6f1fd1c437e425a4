"""Unknown input sizes: the answer by residue is the answer at every size."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import HealthCheck, assume, given, note, reject, settings
from hypothesis import strategies as st
from strategies import GATED, SAME, networks

import rfgraph
from rfgraph import Network
from rfgraph.algebra.residues import InputSizes
from rfgraph.errors import SizeError, UnknownFieldError
from rfgraph.questions.misalignment import SizeDependent


@settings(suppress_health_check=[HealthCheck.filter_too_much])
@given(networks(axes=st.just(1), layers=[*SAME, *GATED], inputs=st.just(1), most=10), st.integers(0, 500))
def test_fields_by_residue_are_those_at_every_size(graph, more):
    note((graph.nodes(data=True), graph.edges()))
    try:
        report = rfgraph.analyze(graph)
    except SizeError:  # a map that is small whatever the input
        reject()
    undecided = [node for node in report if report[node].by_size and report[node].by_size[0]]
    assume(undecided)
    table = report[undecided[0]].by_size[0]
    size = table.smallest + more
    try:
        concrete = rfgraph.analyze(graph, input_size=size)
    except SizeError:
        assume(False)
    for node in undecided:
        table = report[node].by_size[0]
        if table.window(size).is_unknown:  # maps differ at large sizes; at this one they may be broadcast
            continue
        assert table.window(size) == concrete[node].field[0]
        if table.window(size).status == "exact":
            assert concrete[node].status == "exact"


@settings(suppress_health_check=[HealthCheck.filter_too_much])
@given(networks(axes=st.just(1), layers=SAME, inputs=st.just(1), most=12), st.integers(0, 300))
def test_alignment_by_residue_is_that_at_every_size(graph, more):
    note(graph.nodes(data=True))
    report = rfgraph.analyze(graph, alignment="center")
    depends = [f for f in report.findings if isinstance(f, SizeDependent)]
    assume(depends)
    size = max(f.smallest for f in depends) + more
    try:
        concrete = rfgraph.analyze(graph, input_size=size, alignment="center")
    except SizeError:
        assert size not in report.input_sizes[0]
        return
    assume(size in report.input_sizes[0])
    off = {f.node for f in concrete.findings if f.severity != "note"}
    always = {f.node for f in report.findings if f.severity != "note" and f not in depends}
    for finding in depends:
        if finding.node not in always:
            assert (finding.node in off) == (size % finding.modulus not in finding.residues)
    assert report.aligned_when(size) == concrete.aligned
    if report.aligned is None and not report.unchecked:
        assert (size in report.aligned_sizes[0]) == concrete.aligned


@settings(suppress_health_check=[HealthCheck.filter_too_much])
@given(networks(axes=st.just(1), layers=SAME, inputs=st.just(1), most=8), st.integers(0, 60))
def test_input_sizes_are_those_that_work(graph, more):
    note(graph.nodes(data=True))
    sizes = rfgraph.analyze(graph).input_sizes[0]
    assume(sizes is not None)
    size = sizes.smallest + more
    try:
        report = rfgraph.analyze(graph, input_size=size)
    except SizeError:
        assert size not in sizes
        return
    repeated = any(
        report[tail].map_size == (1,) and report[head].map_size != (1,)
        for tail, head, _ in graph.edges
        if graph.nodes[head]["op"] in ("add", "mul")
    )
    assert size in sizes or repeated
    for smaller in range(max(1, sizes.smallest - sizes.modulus), sizes.smallest):
        if smaller % sizes.modulus in sizes.residues:
            with pytest.raises(SizeError):
                rfgraph.analyze(graph, input_size=smaller)
            break


def shortcut():
    net = Network("block")
    fork = net.conv("stem", net.input("image"), kernel=3, stride=2)
    main = net.max_pool("pool", net.conv("conv", fork, kernel=3, padding="same"), kernel=3, stride=2, padding="same")
    net.add("add", main, net.conv("side", fork, kernel=1, stride=2, padding="same"))
    return net


def test_alignment_that_depends_on_the_size_says_when_and_what_to_do():
    report = rfgraph.analyze(shortcut())
    (finding,) = report.findings
    assert (finding.rule, finding.severity, finding.node, finding.axes) == ("RF005", "warning", "add", ("y", "x"))
    # The map that is halved has (n - 3) // 2 + 1 positions: odd where n mod 4 is 3 or 0.
    assert (finding.modulus, finding.residues, finding.offset, finding.smallest) == (4, (0, 3), -2, 3)
    assert finding.message == (
        "merge 'add', axes y, x: lines up iff n mod 4 is 0 or 3, for input sizes n from 3; else centres are up to 2 "
        "input pixels off ('side' against 'pool', parting at 'stem')"
    )
    assert finding.advice == (
        "choose input sizes with n mod 4 is 0 or 3, or write out the padding of the layers with 'same' before it"
    )
    assert report.aligned is None
    assert [report.aligned_when(n) for n in (11, 12, 13, 14)] == [True, True, False, False]
    assert report.aligned_when((11, 13)) is False
    assert str(report.aligned_sizes[0]) == "n mod 4 is 0 or 3, from 3"


def test_what_no_size_repairs_is_found_without_one():
    net = Network("block")
    fork = net.input("image")
    main = net.conv("conv", fork, kernel=3, stride=2, padding="same")
    net.add("add", main, net.avg_pool("side", fork, kernel=4, stride=2, padding="same"))
    (finding,) = rfgraph.analyze(net).findings
    assert (finding.rule, abs(finding.offset), finding.residues) == ("RF005", Fraction(1, 2), ())
    assert "never lines up, for input sizes n from 1; else" not in finding.message
    assert "never lines up, for input sizes n from 1: centres are up to 1/2 input pixels off" in finding.message
    assert finding.advice == "write out the padding of the layers with 'same' before it"
    assert rfgraph.analyze(net).aligned is False
    assert str(rfgraph.analyze(net).aligned_sizes[0]) == "no size"


def test_what_is_off_alike_at_all_sizes_is_a_plain_misalignment():
    net = shortcut()
    net.add("end", "add", net.pad("shift", "add", padding=[[1, -1], [1, -1]]))
    rules = {(f.rule, f.node) for f in rfgraph.analyze(net).findings}
    assert rules == {("RF005", "add"), ("RF002", "end")}
    (finding,) = (f for f in rfgraph.analyze(net).findings if f.rule == "RF002")
    assert (abs(finding.offset), finding.fork) == (4, "add")
    assert all(f.node != "end" for f in rfgraph.analyze(finding.repair.apply(net.graph)).findings)


def test_numbers_that_all_sizes_agree_on_are_given():
    layer = rfgraph.analyze(shortcut())["pool"]
    assert layer.size == (2 * 2 + 2 * 2 + 3,) * 2
    assert layer.stride == (4, 4)
    assert layer.status == "exact"
    assert layer.field[0].is_unknown
    with pytest.raises(UnknownFieldError, match="axis y: padding depends on the input size n, by n mod 4"):
        _ = layer.padding
    assert [layer.by_size[0].window(n).padding for n in (11, 12, 13, 14)] == [4, 4, 2, 2]
    with pytest.raises(UnknownFieldError, match="input size 2 is below 3"):
        layer.by_size[0].window(2)


def test_sizes_in_words():
    assert str(InputSizes("y", 1, (0,), 7)) == "any size from 7"
    assert str(InputSizes("y", 32, (0,), 64)) == "multiples of 32, from 64"
    assert str(InputSizes("y", 16, (0, 8), 75)) == "n mod 16 is 0 or 8, from 75"
    assert str(InputSizes("y", 16, (0, 4, 5, 6, 9), 75)) == "n mod 16 is 0, 4 to 6 or 9, from 75"
    assert str(InputSizes("y", 16, (), 1)) == "no size"
    assert 24 not in InputSizes("y", 16, (0, 8), 75)
    assert 88 in InputSizes("y", 16, (0, 8), 75)


def test_networks_of_absurd_modulus_are_left_unknown():
    net = Network(axes=1)
    last = net.input("x")
    for i, stride in enumerate((97, 101, 103)):
        last = net.conv(f"c{i}", last, kernel=3, stride=stride, padding="same")
    report = rfgraph.analyze(net)
    assert report[last].status == "unknown"
    assert "depends on the input size" in report[last].why


def test_what_no_size_changes_is_known_without_one():
    net = Network(axes=1)
    net.conv("halved", net.input("x"), kernel=2, stride=2, padding="same")
    layer = rfgraph.analyze(net)["halved"]
    assert layer.field == (rfgraph.Window(2, 2),)
    assert layer.by_size == (None,)


def test_what_residues_do_not_solve_names_its_own_cause():
    net = Network(axes=1)
    halved = net.conv("halved", net.input("x"), kernel=3, stride=2, padding="same")
    net.relu("after", net.unknown("warp", halved, of="GridSample"))
    report = rfgraph.analyze(net)
    assert report["halved"].status == "exact"
    assert report["after"].why.startswith("node 'warp' (unknown), axis t: rfgraph does not know what GridSample reads")


def test_a_pooled_map_beside_a_whole_one_fits_at_no_size():
    net = rfgraph.Network("pooled", axes=1)
    x = net.input("x")
    net.conv("half", x, kernel=2, stride=2, padding="same")
    net.concat("both", x, net.global_avg_pool("pool", x))
    report = rfgraph.analyze(net)
    assert report.input_sizes[0].residues == ()
    assert report["half"].field[0].is_unknown
    with pytest.raises(rfgraph.RFGraphError, match="its inputs differ in size"):
        rfgraph.analyze(net, 8)


def test_numbers_beyond_64_bits_are_not_followed_by_residue():
    net = rfgraph.Network("far", axes=1)
    x = net.input("x")
    same = net.conv("same", x, kernel=3, stride=2, padding="same")
    far = net.conv("far", net.pad("pad", x, padding=[[2**70, -(2**70)]]), kernel=1, stride=2)
    net.add("add", same, far)
    report = rfgraph.analyze(net)
    assert report["add"].why.endswith("its numbers are too large to follow by residue; give an input size")
    (finding,) = (found for found in report.findings if found.rule == "RF005")
    assert finding.residues == ()
    assert abs(finding.offset) >= 2**70
    assert report.aligned is False


@pytest.mark.parametrize("other", ["pooled", "halved"])
def test_inputs_of_an_unknown_op_may_differ_in_size(other):
    net = rfgraph.Network("warp", axes=1)
    x = net.input("x")
    net.conv("same", x, kernel=3, stride=2, padding="same")
    side = net.global_avg_pool("pooled", x) if other == "pooled" else net.conv("halved", x, kernel=1, stride=2)
    net.unknown("warp", x, side, of="GridSample")
    report = rfgraph.analyze(net)
    assert report.input_sizes[0].residues == (0,)
    assert report["same"].by_size[0].window(8) == rfgraph.analyze(net, 8)["same"].field[0]
    assert report["same"].by_size[0].window(9) == rfgraph.analyze(net, 9)["same"].field[0]
