"""Alignment against oracles: positions followed one by one, repairs applied and solved anew, forks cut out."""

from __future__ import annotations

import itertools
import json
import random
from fractions import Fraction
from math import lcm

import networkx as nx
import oracle
import pytest
from hypothesis import HealthCheck, assume, given, note, settings
from hypothesis import strategies as st
from strategies import networks, shortcuts

import rfgraph
import rfgraph.solved
from rfgraph import Network, Window
from rfgraph.algebra.alignment import (
    compare,
    looks_ahead,
    reads_blocks_of,
    reference_of,
    seen_from,
    shifts_whole_blocks,
)
from rfgraph.passes import fields as engine
from rfgraph.passes.compiled import compile_graph
from rfgraph.questions.findings import Later
from rfgraph.questions.forks import Branches
from rfgraph.questions.misalignment import Drift, Misalignment, Repair, SizeDependent, common_residues, common_sizes


def misaligned(report):
    return [finding for finding in report.findings if isinstance(finding, Misalignment)]


def upsampled(transposed, one, other):
    """A transposed convolution, then two convolutions side by side."""
    net = Network(axes=1)
    up = net.conv_transpose("up", net.input("x"), **transposed)
    net.add("m", net.conv("a", up, **one), net.conv("b", up, **other))
    return net


def verdict_by_positions(graph, period):
    """The rule that two branches of ``m`` break, and by how much, from the sets of positions that they read."""
    offsets = []
    for y in range(period):
        a, b = (oracle.unclipped(graph, branch, "x", 0, y) for branch in "ab")
        if a and b:
            offsets.append(Fraction(min(b) + max(b) - min(a) - max(a), 2))
    if not any(offsets):
        return None, 0
    mean = sum(offsets) / len(offsets)
    return ("RF002" if mean else "RF003"), abs(mean)


CASES = [
    ({"kernel": k, "stride": s, "dilation": d}, {"kernel": ka, "dilation": da}, {"kernel": kb, "dilation": db})
    for k, s, d in itertools.product((1, 2, 3, 4), (1, 2, 3), (1, 2, 3))
    for ka, da, kb, db in itertools.product((1, 2, 3), (1, 2), (1, 2, 3), (1, 2, 3))
]


@pytest.mark.parametrize("case", random.Random(12).sample(CASES, 240), ids=str)
def test_branches_after_empty_phases_are_judged_by_what_they_read(case):
    net = upsampled(*case)
    report = rfgraph.analyze(net, alignment="center")
    assert report.unchecked == ()
    for node in ("a", "b", "m"):
        assert report[node].status == "exact"
        reads = [oracle.unclipped(net.graph, node, "x", 0, y) for y in range(case[0]["stride"])]
        assert report[node].field[0].is_empty == (not any(reads))
    told = [(finding.rule, abs(finding.offset)) for finding in misaligned(report)]
    rule, offset = verdict_by_positions(net.graph, case[0]["stride"])
    assert told == ([] if rule is None else [(rule, offset)])


def test_a_node_that_reads_nothing_at_any_phase_is_empty():
    net = Network(axes=1)
    up = net.conv_transpose("up", net.input("x"), kernel=1, stride=2)
    moved = net.pad("moved", up, padding=[[1, -1]])
    net.mul("never", net.slice("even", moved, step=2), net.slice("odd", up, step=2))
    report = rfgraph.analyze(net)
    assert report["even"].field == (rfgraph.EMPTY,)
    assert report["never"].field == report["odd"].field
    assert report.findings == ()
    assert report.aligned is True


@given(networks(axes=st.just(1)), st.integers(-4, 8))
def test_fields_of_ops_with_even_taps_are_exact_hulls(graph, y):
    note(nx.node_link_data(graph, edges="edges"))
    compiled = compile_graph(graph)
    layers = compiled.layers
    fields = engine.forward(compiled, 0, layers.inputs[0])
    for v in range(layers.inputs[0], len(layers.nodes)):
        field = fields.local[v]
        if not field.is_unknown:
            read = oracle.unclipped(graph, layers.nodes[v], layers.nodes[layers.inputs[0]], 0, y)
            assert field.status == "exact"
            assert field.interval(y) == ((min(read), max(read)) if read else None)


# The fork


def block(stem, *branches, merge="add"):
    """Stem layers, then branches of layers side by side; a layer is (op, attributes)."""
    net = Network("block", axes=1)
    fork = net.input("x")
    for i, (op, attributes) in enumerate(stem):
        fork = net.node(op, f"stem{i}", fork, **attributes)
    ends = []
    for name, layers in zip("abcdef", branches, strict=False):
        last = fork
        for i, (op, attributes) in enumerate(layers):
            last = net.node(op, f"{name}{i}", last, **attributes)
        ends.append(last)
    net.node(merge, "merge", *ends)
    return net


def conv(kernel, before=0, after=0, **more):
    return "conv", {"kernel": kernel, "padding": [[before, after]], **more}


STEMS = {
    "none": [],
    "strided": [conv(4, 2, stride=2)],
    "unpadded": [conv(3, stride=3)],
    "same": [("conv", {"kernel": 5, "padding": "same"})],
    "upsampling": [("conv_transpose", {"kernel": 4, "stride": 2, "padding": [[0, 2]]})],
    "uneven": [("conv_transpose", {"kernel": 2, "stride": 3})],
    "nearest": [conv(3, 1, 1, stride=2), ("resize", {"scale": 3})],
    "delayed": [conv(3, 7)],
}


@pytest.mark.parametrize("stem", STEMS.values(), ids=STEMS)
def test_whether_branches_look_ahead_is_judged_from_their_fork(stem):
    causal = rfgraph.analyze(block(stem, [], [conv(3, 2), conv(3, 4, dilation=2)]))
    assert {finding.rule for finding in misaligned(causal)} == {"RF004"}
    assert causal.aligned is True
    ahead = rfgraph.analyze(block(stem, [conv(2, 1, 0)], [conv(4, 1, 2)]))
    assert {finding.rule for finding in misaligned(ahead)} == {"RF002"}
    assert ahead.aligned is False


def test_a_stem_that_never_looks_ahead_hides_no_look_ahead():
    # Seen from the input, no branch reads past its own position; seen from the fork, both do.
    net = block([conv(1, 9)], [conv(2, 1, 0), conv(1, -1, 1)], [conv(4, 2, 1)])
    (finding,) = misaligned(rfgraph.analyze(net))
    assert (finding.rule, finding.fork) == ("RF002", "stem0")


def test_same_padding_of_unknown_size_is_judged_from_the_fork_too():
    same = [("conv", {"kernel": 3, "stride": 2, "padding": "same"})]
    report = rfgraph.analyze(block(same, [], [conv(3, 2)]))
    assert [finding.rule for finding in misaligned(report)] == ["RF004"]
    ahead = rfgraph.analyze(block(same, [conv(2, 1, 0), conv(1, -1, 1)], [conv(4, 2, 1)]))
    assert [finding.rule for finding in misaligned(ahead)] == ["RF002"]


@given(networks(axes=st.just(1), inputs=st.just(1), most=12), st.data())
def test_what_branches_read_of_their_fork_is_what_a_pass_from_it_finds(graph, data):
    note(nx.node_link_data(graph, edges="edges"))
    compiled = compile_graph(graph)
    layers = compiled.layers
    local = engine.forward(compiled, 0, 0)
    tree = Branches(compiled, [local], 0).tree(0)
    reached = [v for v in range(len(layers.nodes)) if local.local[v].kind != "empty"]
    v = data.draw(st.sampled_from(reached))
    for above in tree.chain(v):
        window, whole = tree.window(v, above), engine.forward(compiled, 0, above).local[v]
        if window.is_local and window.exact and whole.is_local:
            assert window == whole
        assert window.is_local == whole.is_local


@given(st.data())
def test_a_branch_seen_from_a_plain_fork(data):
    whole = st.integers(-6, 9)
    fork = Window(data.draw(st.integers(1, 6)), data.draw(st.integers(1, 4)), data.draw(whole))
    branch = Window(data.draw(st.integers(1, 6)), data.draw(st.integers(1, 4)), data.draw(whole))
    assert seen_from(fork, branch.through(fork)) == branch


@pytest.mark.parametrize("interval", [(0, 1), (-1, 2), (0, 2), (3, 1)])
def test_what_no_window_reads_of_a_fork_is_not_seen_from_it(interval):
    """The fork reads [2y - 1, 2y + 1]: what begins or ends elsewhere, or before it begins, is none of its outputs."""
    fork = Window(3, 2, 1)
    assert seen_from(fork, Window.periodic(((-1, 1), interval), 4)) is None
    assert seen_from(fork, Window.periodic(((-1, 1), (-1, 1)), 3)) is None
    assert seen_from(fork, Window.periodic(((-1, 1), (1, 5)), 4)) == Window.periodic(((0, 0), (1, 2)), 2)
    assert seen_from(fork, Window.periodic(((-1, 1), None), 4)) == Window.periodic(((0, 0), None), 2)


@pytest.mark.parametrize(
    ("one", "other", "shifts"),
    [
        (Window(4, 4), Window(4, 4, -4), True),
        (Window(4, 4, -4), Window(4, 4, -8), True),
        (Window(4, 4, 3), Window(4, 4, -1), True),
        (Window(4, 4, -4), Window(4, 4, -9), False),
        (Window(4, 4), Window(3, 4, -4), False),
        (Window(5, 4), Window(5, 4, -5), False),  # they overlap
        (Window(3, 4), Window(3, 4, -3), True),
        (Window(1, 1), Window(1, 1, -1), False),  # each output reads its own: no blocks
        (Window(1, 2), Window(1, 2, -1), True),
        (Window(4, 4), Window(4, 5, -4), False),
        (Window(4, 4), rfgraph.FULL, False),
    ],
)
def test_blocks_are_told_from_other_windows_that_lie_apart(one, other, shifts):
    assert shifts_whole_blocks(one, other) == shifts_whole_blocks(other, one) == shifts


# Blocks


def windowed(block_size, shift):
    """Tokens, beside attention inside windows that are shifted: each token reads the window that it lies in."""
    moved = [("pad", {"padding": [[-shift, shift]]})]
    back = [("pad", {"padding": [[shift, -shift]]})]
    inside = [("space_to_depth", {"block": block_size}), ("depth_to_space", {"block": block_size})]
    return [*moved, *inside, *back]


@pytest.mark.parametrize("shift", [0, 1, 3])
@pytest.mark.parametrize("block_size", [4, 7])
def test_attention_inside_shifted_windows_is_a_note_at_most(block_size, shift):
    net = Network(axes=1)
    x = net.conv("patches", net.input("image"), kernel=4, stride=4)
    for layer, moved in enumerate((0, shift, 0)):
        last = x
        for i, (op, attributes) in enumerate(windowed(block_size, moved)):
            last = net.node(op, f"{layer}/{i}", last, **attributes)
        x = net.add(f"{layer}/add", x, last)
    merging = net.space_to_depth("merging", x, block=2)
    scores = net.depth_to_space("k", net.space_to_depth("k/blocks", merging, block=block_size), block=block_size)
    net.mul("scores", merging, scores)
    report = rfgraph.analyze(net)
    assert {finding.rule for finding in misaligned(report)} == {"RF003"}
    assert report.aligned is True


def test_a_shift_that_is_not_undone_is_no_block():
    net = block([], [], windowed(4, 1)[:-1])
    (finding,) = misaligned(rfgraph.analyze(net))
    assert (finding.rule, finding.offset) == ("RF002", -1)


def test_blocks_are_told_as_what_they_are():
    tokens, windows = Window(1), Window.periodic(((0, 3),) * 4, step=4)
    assert reads_blocks_of(windows, tokens)
    assert not reads_blocks_of(tokens, windows)
    assert not reads_blocks_of(windows, Window(1, padding=-1))
    assert not reads_blocks_of(Window(3), tokens)
    assert not reads_blocks_of(Window.periodic(((0, 3), None, (0, 3), (0, 3)), step=4), tokens)


def frames(*shifts, merge="concat", kernel=160):
    net = Network(axes=1)
    x = net.input("x")
    net.node(
        merge,
        "frames",
        *(net.space_to_depth(f"{s}", net.slice(f"from{s}", x, start=s), block=kernel) for s in shifts),
    )
    return net


def test_frames_of_blocks_side_by_side_are_a_note():
    (finding,) = misaligned(rfgraph.analyze(frames(0, 160)))
    assert (finding.rule, finding.offset) == ("RF003", 160)
    assert "branches read blocks: what one reads at one output, the other reads at others" in finding.message
    assert [f.rule for f in misaligned(rfgraph.analyze(frames(0, 320, 160)))] == ["RF003"] * 2
    assert rfgraph.analyze(frames(0, 160)).aligned is True
    assert [f.rule for f in misaligned(rfgraph.analyze(frames(0, 80)))] == ["RF002"]
    assert [f.rule for f in misaligned(rfgraph.analyze(frames(0, 160, merge="add")))] == ["RF002"]
    assert rfgraph.analyze(frames(0, 80)).aligned is False


# Repairs


@given(
    networks(axes=st.integers(1, 2), inputs=st.just(1), most=10) | shortcuts(axes=st.just(1)),
    st.sampled_from(["auto", "center"]),
)
def test_every_repair_that_is_advised_repairs(graph, mode):
    note(nx.node_link_data(graph, edges="edges"))
    report = rfgraph.analyze(graph, alignment=mode)
    for finding in misaligned(report):
        if finding.repair is None:
            continue
        assert str(finding.repair) == finding.advice
        again = rfgraph.analyze(finding.repair.apply(graph), alignment=mode)
        pair = {finding.reference.slot, finding.branch.slot}
        for other in misaligned(again):
            if other.merge == finding.merge and not set(other.axes).isdisjoint(finding.axes):
                assert {other.reference.slot, other.branch.slot} != pair


def look_ahead(graph, merge, fork):
    """By slot, how far the branches of a merge read past their own position of the fork, found from the fork alone."""
    report = rfgraph.analyze(graph, source=fork)
    ahead = {}
    for tail, _, edge in graph.in_edges(merge, data=True):
        window = report[tail].field[0]
        ends = [window.interval(y) for y in range(window.period)]
        ahead[edge.get("slot", 0)] = max(end[1] - y * window.stride for y, end in enumerate(ends) if end is not None)
    return ahead


paddings = st.integers(0, 4)
layer = st.builds(
    lambda k, a, b, d: conv(k, a, b, dilation=d), st.integers(1, 4), paddings, paddings, st.integers(1, 2)
)


@given(st.sampled_from(list(STEMS.values())), st.lists(layer, max_size=2), st.lists(layer, max_size=2))
def test_no_repair_has_a_causal_branch_read_the_future(stem, one, other):
    net = block(stem, one, other)
    note(json.dumps(nx.node_link_data(net.graph, edges="edges")))
    fork = f"stem{len(stem) - 1}" if stem else "x"
    for finding in misaligned(rfgraph.analyze(net, alignment="center")):
        if finding.repair is None:
            continue
        before = look_ahead(net.graph, "merge", fork)
        after = look_ahead(finding.repair.apply(net.graph), "merge", fork)
        for slot in before:
            assert after[slot] <= max(before[slot], 0) or before[slot] > 0


def test_where_a_repair_would_break_causality_that_is_said():
    net = block([], [conv(3, 2)], [("dropout", {})])
    (finding,) = misaligned(rfgraph.analyze(net, alignment="center"))
    assert str(finding.repair) == "insert a pad of [[1, -1]] between 'b0' and 'merge'"  # a delay, and no look ahead
    strided = block([], [conv(4, 3, 0, stride=2)], [conv(2, 1, 0, stride=2)])
    (finding,) = misaligned(rfgraph.analyze(strided, alignment="center"))
    assert finding.repair is not None
    narrow = block([], [conv(3, 2, stride=2)], [conv(1, 0, stride=2)])
    (finding,) = misaligned(rfgraph.analyze(narrow, alignment="center"))
    assert str(finding.repair) == "change padding of 'b0' from [[0, 0]] to [[1, -1]]"


def test_what_no_padding_repairs_says_that_it_was_tried():
    net = Network("repair", axes=1)
    x = net.input("x")
    up = net.conv_transpose("t", x, kernel=4, stride=2, padding=1)
    net.add("a", x, net.conv("c", up, kernel=5, stride=2, padding=2))
    (finding,) = misaligned(rfgraph.analyze(net))
    assert (finding.rule, finding.offset, finding.repair) == ("RF002", Fraction(1, 2), None)
    assert finding.advice.startswith("no change of padding repairs it: each on the way was tried")


# Drift


def test_drift_is_told_in_pixels():
    net = Network(axes=1)
    x = net.input("x")
    net.add("add", net.conv("a", x, kernel=3, padding=[[0, 0]]), net.conv("b", x, kernel=3, stride=2, padding=[[5, 5]]))
    (finding,) = misaligned(rfgraph.analyze(net, input_size=13))
    assert (finding.drift.per_100, finding.drift.at_border, finding.drift.input_size) == (-50, 11 - 16, 13)
    assert finding.drift.align_corners == ()
    read = [oracle.clipped(sized(net, 13), "add", "x", (y,)) for y in range(11)]
    sizes = [max(box)[0] - min(box)[0] + 1 for box in read if box]
    assert finding.drift.region_sizes == (min(sizes), max(sizes))
    assert (
        "drift apart, by -50 pixels per 100 input pixels; -5 at the far border of 13; features read" in finding.message
    )
    (unsized,) = misaligned(rfgraph.analyze(net))
    assert (unsized.drift.at_border, unsized.drift.region_sizes) == (None, None)
    assert "drift apart, by -50 pixels per 100 input pixels (" in unsized.message


def sized(net, size):
    graph = net.graph.copy()
    graph.nodes["x"]["size"] = size
    return graph


def test_align_corners_is_named_as_the_cause():
    net = Network(axes=2)
    x = net.input("x")
    small = net.max_pool("pool", x, kernel=2)
    net.concat("cat", x, net.resize("up", small, scale=2, mode="linear", coordinates="align_corners"))
    (finding,) = misaligned(rfgraph.analyze(net, input_size=16))
    assert finding.rule == "RF001"
    assert finding.drift.align_corners == ("up",)
    assert finding.drift.per_100 == 100 * (Fraction(15, 14) - 1)
    assert "'up' aligns corners" in finding.advice


# The rule itself


def test_branches_as_wide_are_ordered_by_what_they_read():
    assert reference_of([(0, Window(3)), (1, Window(3, padding=1))]) == (1, Window(3, padding=1))
    assert reference_of([(1, Window(3, padding=1)), (0, Window(3))]) == (1, Window(3, padding=1))
    assert reference_of([(0, Window(1)), (1, Window(3)), (2, Window(2))]) == (1, Window(3))


def test_look_ahead_counts_where_a_branch_pads():
    assert not looks_ahead(Window(3, padding=2))
    assert looks_ahead(Window(3, padding=1))
    assert not looks_ahead(Window(3))
    assert looks_ahead(Window.unknown("a test"))
    assert not looks_ahead(Window.periodic(((-1, 0), (0, 0)), step=1))
    assert looks_ahead(Window.periodic(((-1, 0), (0, 1)), step=1))


@given(st.integers(1, 6), st.integers(-4, 4), st.integers(1, 6), st.integers(-4, 4), st.integers(1, 3))
def test_center_and_causal_mode_say_what_the_intervals_say(k, p, l, q, s):  # noqa: E741
    one, other = Window(k, s, p), Window(l, s, q)
    center = Fraction(l - 1 - 2 * q - (k - 1 - 2 * p), 2)
    end = (l - 1 - q) - (k - 1 - p)
    assert compare(one, other, "center").offset == center
    assert compare(one, other, "causal").offset == end
    auto = compare(one, other, "auto", lambda: True)
    assert auto.verdict == ("aligned" if not center else "off" if end else "causal")


# What findings may not depend on


@given(networks(axes=st.integers(1, 2), inputs=st.just(1)), st.randoms(use_true_random=False))
def test_findings_do_not_depend_on_the_order_in_which_a_network_was_written(graph, rng):
    note(nx.node_link_data(graph, edges="edges"))
    nodes, edges = list(graph.nodes(data=True)), list(graph.edges(data=True))
    rng.shuffle(nodes)
    rng.shuffle(edges)
    other = nx.MultiDiGraph(**graph.graph)
    other.add_nodes_from(nodes)
    other.add_edges_from(edges)
    one, two = (
        sorted((f.rule, str(f.node), f.axes, f.message, f.advice) for f in rfgraph.analyze(g).findings)
        for g in (graph, other)
    )
    assert one == two


def test_the_path_that_is_told_is_the_widest():
    net = Network(axes=1)
    x = net.input("x")
    wide, narrow = net.conv("wide", x, kernel=7, padding=3), net.conv("narrow", x, kernel=3, padding=1)
    inner = net.add("inner", narrow, wide)
    net.add("outer", net.pad("moved", inner, padding=[[1, -1]]), net.conv("small", x, kernel=3, padding=1))
    (finding,) = misaligned(rfgraph.analyze(net))
    assert finding.reference.path == ("x", "wide", "inner", "moved", "outer")
    assert finding.branch.path == ("x", "small", "outer")


def test_where_a_pass_from_an_output_fails_the_node_to_blame_is_named():
    net = Network(axes=1)
    x = net.input("x")
    fork = net.conv("fork", x, kernel=3)
    net.add("add", net.max_pool("half", fork, kernel=2), net.conv("whole", fork, kernel=3))
    trace = rfgraph.trace(net)
    assert trace["fork"].why == "node 'fork' (conv), axis t: paths of strides 1 and 2 drift apart"
    assert trace["x"].why == trace["fork"].why
    assert trace["half"].status == trace["whole"].status == "exact"


@st.composite
def blocks_of(draw):
    """Draw what reads a map in blocks of any sizes, or nearly so, and what reads it position by position."""
    groups = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    total, intervals = sum(groups), []
    for i, size in enumerate(groups):
        first = sum(groups[:i])
        last = first + size - 1 + (1 if draw(st.integers(0, 5)) == 0 else 0)
        intervals += [(first, last)] * size
    if draw(st.integers(0, 5)) == 0:
        intervals[draw(st.integers(0, total - 1))] = None
    single = st.sampled_from([Window(1), Window(1), Window(2), Window(1, 1, 1)])
    holes = [None if draw(st.integers(0, 4)) == 0 else (i, i) for i in range(total)]
    narrow = draw(st.one_of(single, st.just(Window.periodic(tuple(holes), total))))
    return Window.periodic(tuple(intervals), total), narrow


@given(blocks_of())
def test_blocks_are_read_where_their_outputs_together_read_just_them(drawn):
    wide, narrow = drawn
    if not (wide.is_local and narrow.is_local) or wide.stride != narrow.stride:
        assert not reads_blocks_of(wide, narrow)
        return
    outputs = range(-12, 24)
    runs = [[*run] for _, run in itertools.groupby(outputs, wide.interval)][1:-1]  # those at the ends are cut
    several = False
    for run in runs:
        read = [narrow.interval(y) for y in run if narrow.interval(y) is not None]
        hull = (min(first for first, _ in read), max(last for _, last in read)) if read else None
        if hull is None or hull != wide.interval(run[0]):
            assert not reads_blocks_of(wide, narrow)
            return
        several = several or len(run) > 1
    assert reads_blocks_of(wide, narrow) == several


@given(st.permutations([((0, 2), (0, 0)), ((0, 0), (0, 2)), ((0, 2), None), (None, (1, 3)), ((1, 1), (0, 2))]))
def test_the_branch_that_others_are_held_against_is_the_same_in_any_order(phases):
    """Of windows as wide; some as centred too."""
    sides = [(slot, Window.periodic(pair, 2)) for slot, pair in enumerate(phases)]
    assert reference_of(sides)[1] == Window.periodic(((0, 0), (0, 2)), 2)
    assert reference_of(sides[::-1]) == reference_of(sides)
    same = [(slot, Window.periodic(pair, 2)) for slot, pair in enumerate([((0, 0), (2, 4)), ((1, 1), (1, 3))])]
    assert reference_of(same) == reference_of(same[::-1])


def test_blocks_are_of_windows_that_have_numbers():
    blocks, tokens = Window.periodic(((0, 3),) * 4, step=4), Window(1)
    for other in (rfgraph.FULL, rfgraph.EMPTY, Window(1, 2)):
        assert not reads_blocks_of(blocks, other)
        assert not reads_blocks_of(other, tokens)
        assert not shifts_whole_blocks(Window(4, 4), other)
        assert not shifts_whole_blocks(other, Window(4, 4))
    assert shifts_whole_blocks(Window(4, 4), Window(4, 4, -8))
    for one, other in [
        ((4, 4), (4, 4, -2)),
        ((4, 4), (3, 4)),
        ((5, 4), (5, 4, -5)),
        ((4, 4), (4, 5)),
        ((1, 1), (1, 1, -1)),
    ]:
        assert not shifts_whole_blocks(Window(*one), Window(*other))


# Sizes


def by_passes(graph, *args, **more):
    """Return the report that the general passes make."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rfgraph.solved, "walked", lambda *_: (None, "it is not asked"))
        return rfgraph.analyze(graph, *args, **more)


def told_at(findings, merge):
    """What is told of the branches of a merge, by slot."""
    return {
        (f.reference.slot, f.branch.slot, f.rule, f.offset)
        for f in findings
        if isinstance(f, Misalignment) and f.merge == merge
    }


@settings(max_examples=25, suppress_health_check=[HealthCheck.filter_too_much])
@given(
    shortcuts(axes=st.just(1)),
    st.sampled_from(["auto", "center", "causal"]),
    st.sampled_from([by_passes, rfgraph.analyze]),
)
def test_what_is_told_of_all_sizes_is_what_is_told_of_each(graph, mode, analyze):
    """What is so at every size stands by itself; of the rest that is serious, the worst, and the sizes without any."""
    note(nx.node_link_data(graph, edges="edges"))
    report = analyze(graph, alignment=mode)
    tables = [table for node in report for table in report[node].by_size if table]
    modulus, smallest = lcm(*(table.modulus for table in tables)), max((table.smallest for table in tables), default=1)
    assume(tables and modulus <= 16)
    at_size = {n: rfgraph.analyze(graph, n, alignment=mode).findings for n in range(smallest, smallest + modulus)}
    for merge in (node for node in graph if graph.in_degree(node) > 1):
        told = {n: told_at(findings, merge) for n, findings in at_size.items()}
        always = set.intersection(*told.values())
        serious = {n: {one for one in of_size - always if one[2] in ("RF001", "RF002")} for n, of_size in told.items()}
        assert told_at(report.findings, merge) == always
        depends = [f for f in report.findings if isinstance(f, SizeDependent) and f.node == merge]
        assert len(depends) == any(serious.values())
        for finding in depends:
            assert abs(finding.offset) == max(abs(one[3]) for of_size in serious.values() for one in of_size)
            assert all((n % finding.modulus in finding.residues) == (not serious[n]) for n in serious)


@pytest.mark.parametrize("analyze", [by_passes, rfgraph.analyze])
@pytest.mark.parametrize("by", [4, 8, 3])
def test_frames_behind_same_padding_are_judged_without_a_size_as_with_one(by, analyze):
    """Blocks of the fork are meant to lie apart, stacked; what is added, or lies part of a block apart, is not."""
    stem = [("conv", {"kernel": 3, "stride": 2, "padding": "same"})]
    for merge in ("concat", "add"):
        net = block(stem, [conv(4, stride=4)], [conv(4, -by, by, stride=4)], merge=merge)
        told = [told_at(analyze(net, n).findings, "merge") for n in (None, 64, 65)]
        rule = "RF003" if merge == "concat" and by % 4 == 0 else "RF002"
        assert told == [{(0, 1, rule, 2 * by)}] * 3


# What the general passes tell of fields that are no single window


@pytest.mark.parametrize("analyze", [by_passes, rfgraph.analyze])
def test_behind_branches_that_drift_nothing_more_is_told(analyze):
    net = block([], [conv(3, 1, stride=2)], [])
    net.add("second", "merge", net.conv("wide", "merge", kernel=3, padding=1))
    report = analyze(net)
    assert [(finding.rule, finding.node) for finding in report.findings] == [("RF001", "merge")]
    assert report.unchecked == ("second",)


@pytest.mark.parametrize(
    ("loose", "one", "other", "rule", "offset"),
    [
        # Their strides differ, whatever the bound leaves open.
        ([], [conv(3, 1, 1, stride=2, bound="a mask")], [], "RF001", 0),
        # What is read of the fork is known: off by one position of it, which is 2 pixels, or half a one.
        ([conv(3, 1, 1, stride=2, bound="a mask")], [conv(3, 1, 1)], [conv(3)], "RF002", 2),
        ([("conv_transpose", {"kernel": 2, "stride": 2, "bound": "a mask"})], [conv(3, 1)], [conv(3)], "RF002", 0.5),
        ([conv(3, 1, 1, bound="a mask")], [conv(3, 1, 1)], [conv(5, 2, 2)], None, 0),
    ],
)
def test_bounds_are_judged_from_their_fork(loose, one, other, rule, offset):
    report = rfgraph.analyze(block(loose, one, other))
    assert [(f.rule, abs(f.offset)) for f in misaligned(report)] == ([] if rule is None else [(rule, offset)])
    assert report.unchecked == ()


@pytest.mark.parametrize("padding", [[[1, 1]], "same"])
@pytest.mark.parametrize("side", [0, 1])
def test_a_merge_of_which_one_branch_is_a_bound_is_unchecked(padding, side):
    stem = [("conv", {"kernel": 3, "stride": 2, "padding": padding})]
    branches = [[conv(3, 1, 1, bound="a mask")], []]
    report = rfgraph.analyze(block(stem, branches[side], branches[1 - side]))
    assert (report.findings, report.aligned, report.unchecked) == ((), None, ("merge",))


@pytest.mark.parametrize("analyze", [by_passes, rfgraph.analyze])
def test_a_norm_by_totals_is_on_the_way_of_a_branch_as_what_it_passes_on(analyze):
    report = analyze(block([conv(3, 1, 1)], [conv(3, 2), ("group_norm", {})], []))
    assert [(f.rule, f.fork, f.offset) for f in misaligned(report)] == [("RF004", "stem0", 1)]


@pytest.mark.parametrize("analyze", [by_passes, rfgraph.analyze])
def test_of_axes_that_are_off_in_different_branches_the_branches_are_told_in_order(analyze):
    net = Network("axes", axes=2)
    x = net.input("x")
    sides = [net.pad(f"moved{i}", x, padding=[[i, -i], [1 - i, i - 1]]) for i in (0, 1)]
    net.add("add", net.conv("wide", x, kernel=3, padding=1), *sides)
    assert [(f.branch.slot, f.axes) for f in misaligned(analyze(net))] == [(1, ("x",)), (2, ("y",))]


# What is said


def depends(modulus, residues, offset=Fraction(1), smallest=1):
    return SizeDependent(
        "RF005", "m", ("x",), "fork", "one", "other", offset, modulus, residues, Later(lambda: smallest)
    )


@pytest.mark.parametrize(
    ("findings", "sizes"),
    [
        ([depends(2, (1,))], (2, (1,))),
        ([depends(2, (0,)), depends(3, (1,))], (6, (4,))),
        ([depends(2, (0,)), depends(4, (0, 1))], (4, (0,))),
        ([depends(4, (0, 2)), depends(2, (0,))], (2, (0,))),
        ([depends(2, (0,)), depends(2, (1,))], (1, ())),
    ],
)
def test_sizes_at_which_all_merges_line_up(findings, sizes):
    assert common_residues(findings) == sizes
    told = common_sizes("x", [*findings, depends(1, (0,), smallest=7)])
    assert (told.modulus, told.residues, told.smallest) == (*sizes, 7)


def test_without_findings_there_are_no_sizes_to_choose():
    assert common_sizes("x", []) is None


def test_a_finding_says_whether_centres_or_strides_depend_on_the_size():
    assert "; else centres are up to 1 input pixels off (" in depends(2, (1,)).message
    assert "; else strides differ (" in depends(2, (1,), Fraction(0)).message
    assert ": never lines up, for input sizes n from 1: strides differ (" in depends(1, (), Fraction(0)).message
    assert depends(1, ()).advice.startswith("write out the padding")
    assert depends(2, (1,)).advice.startswith("choose input sizes with n mod 2 is 1, or write out")


@pytest.mark.parametrize(("sizes", "said"), [((3, 5), "features read 3 to 5 pixels"), ((5, 5), "each feature reads 5")])
def test_drift_tells_the_sizes_of_regions(sizes, said):
    assert said in str(Drift(Fraction(-50), None, None, (), lambda: sizes))


def test_a_repair_of_padding_that_was_not_written_down_says_so():
    assert str(Repair("conv", ((1, 0),), None)) == "change padding of 'conv' from [] to [[1, 0]]"
