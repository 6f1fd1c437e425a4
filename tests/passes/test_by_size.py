"""Unknown input sizes: the answer by residue is the answer at every size."""

from __future__ import annotations

from fractions import Fraction
from itertools import islice

import pytest
from hypothesis import HealthCheck, assume, given, note, reject, settings
from hypothesis import strategies as st
from strategies import GATED, SAME, SIZED, networks

import rfgraph
from rfgraph import Network
from rfgraph.algebra.residues import InputSizes, shortest_period
from rfgraph.errors import AttributeValueError, SizeError, UnknownFieldError
from rfgraph.graph.network import read
from rfgraph.graph.sizes import infer_axis
from rfgraph.passes.size_rule import size_rule
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
            assert concrete[node].field[0].status == "exact"


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


def works(layers, size):
    """Return whether the sizes pass goes through at an input size: the oracle of all that is said of sizes."""
    try:
        infer_axis(layers, 0, dict.fromkeys(layers.inputs, size))
    except SizeError:
        return False
    return True


@settings(suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow], deadline=None)
@given(networks(axes=st.just(1), layers=SIZED, inputs=st.just(1), most=8, drift=True), st.data())
def test_input_sizes_are_those_that_work(graph, data):
    for node, attributes in list(graph.nodes(data=True)):
        if attributes["op"] in ("add", "mul", "concat") and data.draw(st.integers(0, 5)) == 0:
            graph.add_node(f"{node}_code", op="constant", size=data.draw(st.integers(1, 9)))
            graph.add_edge(f"{node}_code", node, slot=graph.in_degree(node))
        elif attributes["op"] == "concat" and data.draw(st.booleans()):
            attributes["axis"] = 0
    note((graph.nodes(data=True), graph.edges()))
    layers = read(graph)
    sizes = size_rule(layers, 0).input_sizes
    assume(sizes is not None)
    tried = range(1, max(sizes.also, default=sizes.smallest) + sizes.smallest + 3 * sizes.modulus + 40)
    assert [n for n in tried if n in sizes] == [n for n in tried if works(layers, n)]
    assert sizes.modulus == 1 or shortest_period([n in sizes.residues for n in range(sizes.modulus)]) == sizes.modulus
    assert list(islice(sizes, 5)) == [n for n in range(1, tried.stop + 6 * sizes.modulus) if n in sizes][:5]


@pytest.mark.parametrize(
    ("ops", "sizes"),
    [
        # Strides 3 and 2 agree by coincidence: at 7 and 8 the map of `b` is one position, which is repeated.
        (
            [("max_pool", 3, 3, 1, 1), ("conv", 5, 2, 1, 2)],
            (7, 8, 15, 17, 18, 19, 20, 22),
        ),
        # Twice as many positions, whatever is added: they fit once at most.
        ([("conv", 1, 1, 0, 1), ("conv", 1, 2, 0, 1)], (1, 2)),
    ],
)
def test_maps_of_unequal_stride_fit_at_a_few_sizes(ops, sizes):
    net = Network(axes=1)
    x = net.input("x")
    sides = [
        net.node(op, f"{i}", x, kernel=kernel, stride=stride, padding=padding, dilation=dilation)
        for i, (op, kernel, stride, padding, dilation) in enumerate(ops)
    ]
    net.max_pool("after", net.add("add", *sides), kernel=5, stride=2, padding=2)
    (found,) = rfgraph.analyze(net).input_sizes
    assert (found.residues, found.also) == ((), sizes)
    assert [n for n in range(1, 400) if works(read(net.graph), n)] == list(sizes)


def test_concatenation_repeats_no_map():
    net = Network(axes=1)
    x = net.input("x")
    net.concat("both", net.conv("less", x, kernel=3), net.conv("half", x, kernel=1, stride=2))
    (found,) = rfgraph.analyze(net).input_sizes
    assert str(found) == "4 and 5 only"  # n - 2 positions beside ceil(n / 2)


def test_an_adaptive_pool_beside_a_map_that_grows_fits_at_a_few_sizes():
    net = Network(axes=1)
    half = net.conv("half", net.input("x"), kernel=3, stride=2, padding=1)
    net.add("add", half, net.adaptive_avg_pool("seven", half, size=7))
    (found,) = rfgraph.analyze(net).input_sizes
    assert found.also == (1, 2, 13, 14)
    assert list(found) == [1, 2, 13, 14]
    assert str(found) == "1, 2, 13 and 14 only"


@pytest.mark.parametrize(("mode", "smallest"), [("constant", 1), ("edge", 1), ("reflect", 5), ("symmetric", 4)])
def test_a_map_is_mirrored_once(mode, smallest):
    net = Network(axes=1)
    net.pad("pad", net.input("x"), padding=[[4, 2]], mode=mode)
    (found,) = rfgraph.analyze(net).input_sizes
    assert str(found) == f"any size from {smallest}"
    if smallest > 1:
        with pytest.raises(SizeError, match=rf"mode '{mode}' repeats positions of the map once, and \[4, 2\] takes"):
            rfgraph.analyze(net, smallest - 1)


@pytest.mark.parametrize("mode", ["constant", "edge"])
@pytest.mark.parametrize(
    ("padding", "smallest"), [([-2, 3], 2), ([3, -2], 2), ([-1, -1], 3), ([-3, 1], 3), ([0, 3], 1)], ids=str
)
def test_what_is_cropped_has_to_be_there(padding, smallest, mode):
    net = Network(axes=1)
    net.pad("pad", net.input("x"), padding=[padding], mode=mode)
    (found,) = rfgraph.analyze(net).input_sizes
    assert str(found) == f"any size from {smallest}"
    if padding == [-2, 3]:
        with pytest.raises(SizeError, match=r"\[-2, 3\] crops more than the 1 positions there are"):
            rfgraph.analyze(net, 1)


@pytest.mark.parametrize("after", ["conv", "relu", "adaptive_avg_pool", "add"])
def test_past_an_unknown_op_no_size_is_claimed(after):
    net = Network(axes=1)
    x = net.input("x")
    warp = net.unknown("warp", x, of="Mystery")
    attributes = {"conv": {"kernel": 3}, "adaptive_avg_pool": {"size": 7}}.get(after, {})
    net.node(after, "after", *([warp, x] if after == "add" else [warp]), **attributes)
    report = rfgraph.analyze(net)
    assert report.input_sizes == (None,)
    assert report.aligned is None


def test_a_network_that_ends_in_an_unknown_op_is_not_called_aligned():
    net = Network(axes=1)
    x = net.input("x")
    net.unknown("end", net.add("add", x, net.conv("conv", x, kernel=3, padding=1)), of="Mystery")
    assert rfgraph.analyze(net).aligned is None
    assert rfgraph.analyze(net, treat={"end": "identity"}).aligned is True


def test_sizes_beyond_those_that_can_be_tried_are_not_guessed():
    net = Network(axes=1)
    net.conv("conv", net.input("x"), kernel=1 << 21)
    assert rfgraph.analyze(net).input_sizes == (None,)
    net = Network(axes=1)
    net.conv("conv", net.input("x"), kernel=1 << 70)
    assert rfgraph.analyze(net).input_sizes == (None,)


@given(st.data())
def test_every_op_keeps_its_cycle_from_where_it_settles(data):
    graph = data.draw(networks(axes=st.just(1), layers=SIZED, inputs=st.just(1), most=1))
    for op in (ops[0] for ops in read(graph).ops):
        if op.arity == "one":
            step, more = op.cycle
            sizes = [_size(op, op.settles_at + i) for i in range(3 * step)]
            for now, later in zip(sizes, sizes[step:], strict=False):
                assert (now is None) == (later is None)
                assert now is None or later - now == more
            told = [size for size in sizes if size is not None]
            assert told == sorted(told)
            assert sizes[0] is not None or not told


def _size(op, size):
    try:
        return op.size((size,))
    except SizeError:
        return None


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


def test_a_size_at_which_a_shrunk_map_is_repeated_is_below_those_that_residues_decide():
    """At 5 the maps have 2 and 1 positions, and the one is repeated; at 9, of the same residue, they are 3 and 2."""
    net = Network("repeated", axes=1)
    x = net.input("x")
    one = net.conv("one", x, kernel=2, stride=4, padding="same")
    cropped = net.pad("cropped", x, padding=[[0, -1]])
    net.add("add", one, net.conv("other", cropped, kernel=2, stride=4, padding="same_lower"))
    report = rfgraph.analyze(net, alignment="center")
    (finding,) = report.findings
    assert (finding.rule, finding.modulus, finding.residues, finding.smallest) == ("RF005", 4, (0, 3), 6)
    assert 5 in report.input_sizes[0]
    assert report.aligned_when(5)
    assert 9 not in report.input_sizes[0]


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
    assert str(InputSizes("y", 16, (), 1, (192,))) == "192 only"
    assert str(InputSizes("y", 1, (0,), 9, (1, 4, 5, 6))) == "any size from 9; also 1 and 4 to 6"
    assert not InputSizes("y", 16, (), 1)
    assert 4 in InputSizes("y", 16, (0,), 16, (4,))
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
    far = net.conv("far", x, kernel=2**71 + 1, stride=2, padding=[[2**71, 0]])
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


def decoder(mode="nearest", coordinates="asymmetric"):
    """A U-Net of two levels that resizes to the size of its skips."""
    net = Network("decoder", axes=1)
    fine = net.conv("fine", net.input("x"), kernel=3, padding=1)
    middle = net.conv("middle", net.max_pool("pool", fine, kernel=2), kernel=3, padding=1)
    coarse = net.conv("coarse", net.max_pool("pool2", middle, kernel=2), kernel=3, padding=1)
    up = net.resize("up", coarse, middle, like=1, mode=mode, coordinates=coordinates)
    joined = net.conv("joined", net.concat("both", up, middle), kernel=3, padding=1)
    up2 = net.resize("up2", joined, fine, like=1, mode=mode, coordinates=coordinates)
    net.concat("end", up2, fine)
    return net


def test_a_resize_to_the_size_of_a_skip_works_at_every_size_and_lines_up_where_it_doubles():
    report = rfgraph.analyze(decoder())
    assert str(report.input_sizes[0]) == "any size from 4"
    assert str(report.aligned_sizes[0]) == "multiples of 4, from 4"
    assert [report.aligned_when(n) for n in range(4, 24)] == [n % 4 == 0 for n in range(4, 24)]
    assert report.aligned is None
    assert report.unchecked == ()


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("coordinates", ["asymmetric", "half_pixel", "align_corners"])
def test_fields_after_a_resize_to_a_skip_are_those_at_every_size(mode, coordinates):
    net = decoder(mode, coordinates)
    report = rfgraph.analyze(net)
    for n in range(4, 40):
        concrete = rfgraph.analyze(net, n)
        for node in report:
            (table,) = report[node].by_size or (None,)
            if table is not None and not table.window(n).is_unknown:
                assert table.window(n) == concrete[node].field[0]
    if coordinates != "align_corners":  # whose ratio (2m - 1) / (m - 1) is another at each size
        table = report["end"].by_size[0]
        assert [window.is_local for window in table.windows] == [True, False, False, False]
    assert report["end"].status == "unknown"
    assert "it resizes to the size of another map, which depends on the input size; give one" in report["end"].why


def padded(before, stride=2):
    """A map that is padded, or cropped, to the size of the one that it was made of."""
    net = Network("padded", axes=1)
    fine = net.conv("fine", net.input("x"), kernel=3, padding=1)
    up = net.conv_transpose("up", net.max_pool("pool", fine, kernel=stride), kernel=3, stride=2)
    net.concat("end", net.node("pad", "fit", up, fine, like=1, before=before), fine)
    return net


@pytest.mark.parametrize("stride", [2, 3])
@pytest.mark.parametrize(
    ("before", "first"),
    [
        ("floor", lambda more: more // 2),
        ("ceil", lambda more: -(-more // 2)),
        ("all", lambda more: more),
        ("none", int),
    ],
)
def test_a_map_is_padded_or_cropped_to_the_size_of_another(before, first, stride):
    net = padded(before, stride)
    report = rfgraph.analyze(net)
    assert str(report.input_sizes[0]) == f"any size from {stride}"
    for n in range(stride, 24):
        concrete = rfgraph.analyze(net, n)
        more = n - concrete["up"].map_size[0]
        start = 0 if before == "none" else first(more)
        plain = Network("plain", axes=1)
        for node, attributes in net.graph.nodes(data=True):
            plain.graph.add_node(node, **attributes)
        plain.graph.add_edges_from((tail, head, data) for tail, head, data in net.graph.edges(data=True))
        plain.graph.remove_edge("fine", "fit")
        plain.graph.nodes["fit"].clear()
        plain.graph.nodes["fit"].update(op="pad", padding=[[start, more - start]])
        assert rfgraph.analyze(plain, n)["end"].field == concrete["end"].field
        assert concrete["fit"].map_size == (n,)
        (table,) = report["fit"].by_size or (None,)
        window = report["fit"].field[0] if table is None else table.window(n)
        assert window == concrete["fit"].field[0] or (window.is_unknown and stride == 3)


def test_a_pad_to_the_size_of_another_map_takes_no_amounts():
    for wrong in ({"padding": 1}, {"mode": "reflect"}):
        net = Network(axes=1)
        x = net.input("x")
        net.node("pad", "fit", x, x, like=1, **wrong)
        with pytest.raises(AttributeValueError, match="takes no padding, and adds zeros"):
            rfgraph.analyze(net)


@pytest.mark.parametrize(("least", "works"), [(1, "any size from 3"), (2, "any size from 3"), (7, "any size from 7")])
def test_an_input_says_how_large_it_has_to_be(least, works):
    net = Network("from", axes=1)
    net.conv("c", net.node("input", "x", least=least), kernel=3)
    report = rfgraph.analyze(net)
    assert str(report.input_sizes[0]) == works
    net.graph.nodes["x"]["least"] = 7
    with pytest.raises(SizeError, match=r"'x' \(input\), axis t: the model takes no map of 6"):
        rfgraph.analyze(net, input_size=6)
    net.graph.nodes["x"]["size"] = 6
    with pytest.raises(SizeError, match="but of 7 or more"):
        rfgraph.analyze(net)
    net.graph.nodes["x"].update(size=None, least=None)
    assert rfgraph.analyze(net).input_sizes == (None,)


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_an_input_says_how_large_it_may_be(stride):
    net = Network("to", axes=1)
    net.conv("c", net.node("input", "x", least=5, greatest=9), kernel=3, stride=stride, padding="same")
    assert str(rfgraph.analyze(net).input_sizes[0]) == "5 to 9 only"
    assert [n for n in range(1, 40) if works(read(net.graph), n)] == [5, 6, 7, 8, 9]
    assert rfgraph.analyze(net, 9)["c"].map_size == (-(-9 // stride),)
    with pytest.raises(SizeError, match=r"takes no map of 10 positions, but of 9 or less"):
        rfgraph.analyze(net, 10)


def test_an_input_says_modulo_what_its_size_has_to_be():
    net = Network("blocks", axes=1)
    net.conv("c", net.node("input", "x", modulus=4, residues=[[0, 3]], least=5), kernel=3, stride=2, padding="same")
    report = rfgraph.analyze(net)
    (sizes,) = report.input_sizes
    assert [n for n in range(1, 40) if n in sizes] == [n for n in range(5, 40) if n % 4 in (0, 3)]
    assert [n for n in range(1, 40) if works(read(net.graph), n)] == [n for n in range(1, 40) if n in sizes]
    with pytest.raises(SizeError, match=r"takes no map of 9 positions, but those with n mod 4 is 0 or 3"):
        rfgraph.analyze(net, 9)


def test_sizes_at_which_maps_do_not_fit_say_nothing_of_windows():
    """At odd ones the cut map has no position that a resize could read."""
    net = Network(axes=1)
    x = net.input("x")
    net.resize("up", net.slice("cut", net.space_to_depth("halves", x, block=2), stop=3), x, like=1)
    report = rfgraph.analyze(net)
    assert str(report.input_sizes[0]) == "multiples of 2, from 2"
    assert report["up"].status == "unknown"
    assert rfgraph.analyze(net, 12)["up"].map_size == (12,)


def test_a_resize_takes_one_size():
    net = Network(axes=1)
    x = net.input("x")
    net.resize("up", x, x, like=1, scale=2)
    with pytest.raises(AttributeValueError, match="takes the size of another map \\(like\\), or scale, or size"):
        rfgraph.analyze(net)


def test_of_two_branches_that_both_change_with_the_size_nothing_is_claimed():
    net = Network(axes=1)
    x = net.input("x")
    one = net.resize("one", net.conv("half", x, kernel=2, stride=2), x, like=1)
    two = net.resize("two", net.conv("third", x, kernel=3, stride=3), x, like=1)
    net.add("add", one, two)
    report = rfgraph.analyze(net)
    assert report.unchecked == ("add",)
    assert report.aligned is None


@settings(suppress_health_check=[HealthCheck.filter_too_much])
@given(networks(axes=st.just(1), layers=SAME, inputs=st.just(1), most=5))
def test_map_sizes_are_those_at_every_size(graph):
    layers = read(graph)
    rule = size_rule(layers, 0)
    for v in range(len(layers.nodes)):
        told = rule.map_size(v)
        if told is None:
            continue
        for n in range(1, told.smallest + 2 * told.modulus + 20):
            size = infer_axis(layers, 0, dict.fromkeys(layers.inputs, n))[v] if works(layers, n) else None
            if n >= told.smallest:
                assert told.size(n) == size
            assert (n in told.unchanged) == (size == n)


def test_map_sizes_in_words():
    net = Network(axes=1)
    x = net.input("x")
    net.conv("less", x, kernel=3)
    net.resize("up", net.conv("half", x, kernel=2, stride=2), scale=2)
    report = rfgraph.analyze(net)
    assert [str(report.map_size_of(node)[0]) for node in ("x", "less", "half", "up")] == [
        "n, from 3",
        "n - 2, from 3",
        "n/2 where n mod 2 is 0; (n - 1)/2 where n mod 2 is 1, from 3",
        "n where n mod 2 is 0; n - 1 where n mod 2 is 1, from 3",
    ]
    assert str(report.map_size_of("up")[0].unchanged) == "multiples of 2, from 3"


def beside_two(net, x):
    net.add("sum", x, net.constant("two", size=2))


def beside_unknown(net, x):
    net.add("sum", net.conv("c", x, kernel=3), net.constant("one"))


def beside_a_sum_of_unknown(net, x):
    constants = net.add("constants", net.constant("one"), net.constant("other"))
    net.add("sum", net.conv("c", x, kernel=3), constants)


def beside_a_constant_that_no_one_follows(net, x):
    constant = net.node("unknown", "function", net.constant("two", size=2), of="f")
    net.add("sum", net.conv("c", x, kernel=3), constant)


def of_alike_branches(net, x):
    either = net.either("either", net.conv("a", x, kernel=3), net.conv("b", x, kernel=3))
    net.conv("out", either, kernel=5)


@pytest.mark.parametrize(
    ("build", "sizes"),
    [
        (beside_two, "1 and 2 only"),
        (beside_unknown, "any size from 3"),
        (beside_a_sum_of_unknown, "any size from 3"),
        (beside_a_constant_that_no_one_follows, "any size from 3"),
        (of_alike_branches, f"any size from {3 + 5 - 1}"),
    ],
)
def test_maps_of_constants_and_of_branches_are_sized_too(build, sizes):
    net = Network(axes=1)
    build(net, net.input("x"))
    assert str(size_rule(read(net.graph), 0).input_sizes) == sizes
