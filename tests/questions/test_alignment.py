"""Findings: where branches do not line up, by how much, from which fork, and how to repair it."""

from __future__ import annotations

import itertools
from fractions import Fraction

import networkx as nx
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import PLAIN, networks

import rfgraph
from rfgraph import Network
from rfgraph.algebra.window import IDENTITY
from rfgraph.errors import AttributeValueError
from rfgraph.questions.forks import Dominators
from rfgraph.questions.misalignment import Misalignment


def shortcut(main, side, axes=2, **stem):
    """A block: two chains of (op, attributes) from one stem, added."""
    net = Network("block", axes=axes)
    fork = net.conv("stem", net.input("image"), kernel=1, **stem)
    ends = []
    for name, chain in (("main", main), ("side", side)):
        last = fork
        for i, (op, attributes) in enumerate(chain):
            last = net.node(op, f"{name}{i}", last, **attributes)
        ends.append(last)
    net.add("add", *ends)
    return net


def misaligned(report):
    return [finding for finding in report.findings if isinstance(finding, Misalignment)]


def only(report):
    (finding,) = misaligned(report)
    return finding


CONV3 = ("conv", {"kernel": 3, "padding": 1})
CONV3S2 = ("conv", {"kernel": 3, "stride": 2, "padding": 1})


def test_an_aligned_block_has_no_findings():
    report = rfgraph.analyze(shortcut([CONV3, CONV3], []))
    assert report.findings == ()
    assert report.aligned is True
    assert report.center_spread("add") == (0, 0)


def test_offset_fork_and_paths_of_a_misaligned_block():
    net = shortcut([CONV3, CONV3], [("conv", {"kernel": 3, "padding": 0}), ("conv", {"kernel": 1})], stride=2)
    finding = only(rfgraph.analyze(net))
    assert (finding.rule, finding.severity, finding.merge, finding.axes) == ("RF002", "warning", "add", ("y", "x"))
    assert finding.fork == "stem"
    assert finding.reference.path == ("stem", "main0", "main1", "add")
    assert finding.branch.path == ("stem", "side0", "side1", "add")
    assert finding.offset == 1 * 2
    assert finding.offset_in_merge == 1
    assert finding.message == (
        "merge 'add', axes y, x: centres are off by +2 input pixels, +1 of the merge's own "
        "('side1' against 'main1', parting at 'stem')"
    )
    assert str(finding.repair) == "change padding of 'main1' from [[1, 1], [1, 1]] to [[0, 2], [0, 2]]"
    assert rfgraph.analyze(net).center_spread("add") == (2, 2)


def test_the_axis_that_is_off_is_the_one_named():
    net = shortcut([CONV3], [("pad", {"padding": [[0, 0], [1, -1]]})])
    finding = only(rfgraph.analyze(net))
    assert finding.axes == ("x",)
    assert finding.repair.padding == ((0, 0), (0, 0))
    assert rfgraph.analyze(finding.repair.apply(net.graph)).findings == ()


def test_unequal_strides_are_an_error_and_nothing_after_is_known():
    net = shortcut([CONV3S2], [])
    report = rfgraph.analyze(net)
    finding = only(report)
    assert (finding.rule, finding.severity, finding.offset) == ("RF001", "error", 0)
    assert "branches of effective strides 1 and 2 drift apart" in finding.message
    assert finding.repair is None
    assert "give the branches the same total stride" in finding.advice
    assert report["add"].why == "node 'add' (add), axis y: paths of strides 1 and 2 drift apart"
    assert report.aligned is False


def test_a_half_pixel_has_no_repair_and_says_why():
    finding = only(rfgraph.analyze(shortcut([CONV3S2], [("avg_pool", {"kernel": 2})])))
    assert (finding.offset, finding.offset_in_merge) == (Fraction(1, 2), Fraction(1, 4))
    assert finding.repair is None
    assert "no change of padding repairs it: 1/2 input pixels" in finding.advice


def test_a_same_max_pool_on_an_even_map_is_repaired_by_padding_before_it():
    side = [("conv", {"kernel": 1, "stride": 2, "padding": "same"})]
    net = shortcut(
        [("conv", {"kernel": 3, "padding": "same"}), ("max_pool", {"kernel": 3, "stride": 2, "padding": "same"})], side
    )
    assert rfgraph.analyze(net, input_size=11).findings == ()
    finding = only(rfgraph.analyze(net, input_size=10))
    assert finding.offset == -1
    assert finding.advice == "change padding of 'main1' from [[0, 1], [0, 1]] to [[1, 0], [1, 0]]"
    assert rfgraph.analyze(finding.repair.apply(net.graph), input_size=10).findings == ()
    unsized = rfgraph.analyze(net)
    assert unsized.aligned is None
    assert unsized["add"].field[0].why == (
        "node 'main1' (max_pool), axis y: padding 'same' with stride 2 depends on the input size; give one"
    )


def test_jitter_is_a_note():
    net = Network(axes=1)
    x = net.input("x")
    net.concat("cat", x, net.conv_transpose("up", net.max_pool("pool", x, kernel=2), kernel=2, stride=2))
    report = rfgraph.analyze(net)
    finding = only(report)
    assert (finding.rule, finding.severity) == ("RF003", "note")
    assert "agree on average but not at each output phase" in finding.message
    assert finding.advice == "nothing to repair if it is meant"
    assert report.aligned is True


def causal(axes=1):
    net = Network(axes=axes)
    x = net.input("x")
    net.add("add", x, net.conv("conv", x, kernel=3, padding=[[2, 0]] * axes))
    return net


def test_causal_networks_get_a_note_unless_told():
    finding = only(rfgraph.analyze(causal()))
    assert (finding.rule, finding.severity, finding.offset) == ("RF004", "note", 1)
    assert "branches end at the same index" in finding.message
    assert rfgraph.analyze(causal(), alignment="causal").findings == ()
    assert only(rfgraph.analyze(causal(), alignment="center")).rule == "RF002"
    assert rfgraph.analyze(causal(2), alignment=["causal", "center"]).findings[0].axes == ("x",)


def test_a_causal_network_without_padding_is_causal_too():
    net = Network(axes=1)
    x = net.input("x")
    net.add("add", net.crop("crop", x, padding=[[-2, 0]]), net.conv("conv", x, kernel=3))
    assert only(rfgraph.analyze(net)).rule == "RF004"


def test_in_causal_mode_the_last_index_counts():
    net = Network(axes=1)
    x = net.input("x")
    net.add("add", x, net.conv("conv", x, kernel=3, padding=1))
    finding = only(rfgraph.analyze(net, alignment="causal"))
    assert (finding.rule, finding.offset) == ("RF002", -1)
    assert rfgraph.analyze(net).findings == ()


def test_an_even_pool_that_looks_ahead_is_not_taken_for_causal():
    finding = only(rfgraph.analyze(shortcut([CONV3S2], [("avg_pool", {"kernel": 2})])))
    assert finding.reference.field.interval(0)[1] == finding.branch.field.interval(0)[1]
    assert finding.rule == "RF002"


def test_alignment_modes_are_checked():
    with pytest.raises(AttributeValueError, match="alignment 'middle' is not one of auto, center, causal"):
        rfgraph.analyze(causal(), alignment="middle")
    with pytest.raises(AttributeValueError, match="for all axes or one per axis"):
        rfgraph.analyze(causal(), alignment=["center", "center"])


def test_findings_are_sorted_worst_first():
    net = Network(axes=1)
    x = net.input("x")
    jitter = net.add("jitter", x, net.resize("up", net.max_pool("pool", x, kernel=2), scale=2))
    off = net.add("off", jitter, net.pad("pad", jitter, padding=[[1, -1]]))
    net.add("drift", off, net.max_pool("other", off, kernel=2))
    assert [f.rule for f in rfgraph.analyze(net).findings] == ["RF001", "RF002", "RF003"]


def test_gates_are_no_branches():
    net = Network()
    x = net.conv("conv", net.input("x"), kernel=3, padding=1)
    gate = net.sigmoid("gate", net.conv("fc", net.global_avg_pool("pool", x), kernel=1))
    report = rfgraph.analyze(net_with(net, "mul", x, gate))
    assert [finding.rule for finding in report.findings] == ["RF008"]
    assert report["mul"].is_global == (True, True)
    assert report["mul"].size == (3, 3)
    assert report["gate"].field[0].is_full


def net_with(net, op, *inputs):
    net.node(op, op, *inputs)
    return net


def test_a_tensor_added_to_itself_is_aligned():
    net = Network()
    x = net.input("x")
    assert rfgraph.analyze(net_with(net, "add", x, x)).findings == ()


@given(networks(axes=st.just(1), layers=PLAIN, inputs=st.just(1), most=12))
def test_the_repair_makes_its_finding_go_away(graph):
    report = rfgraph.analyze(graph, alignment="center")
    repairable = [f for f in misaligned(report) if f.repair is not None]
    assume(repairable)
    for finding in repairable:
        again = rfgraph.analyze(finding.repair.apply(graph), alignment="center")
        pair = {finding.reference.slot, finding.branch.slot}
        assert all({f.reference.slot, f.branch.slot} != pair for f in misaligned(again) if f.merge == finding.merge)


@given(networks(axes=st.just(1), layers=PLAIN, inputs=st.just(1), most=12))
def test_center_spread_is_that_of_all_paths(graph):
    report = rfgraph.analyze(graph)
    edges = {}
    for tail, head, data in graph.edges(data=True):
        edges.setdefault(head, []).append((data["slot"], tail))
    ops = {node: rfgraph.ops.kind_of(a["op"]).parse(a, 0, 1) for node, a in graph.nodes(data=True)}

    def paths(node):
        if node == "in0":
            yield rfgraph.IDENTITY
        for slot, tail in edges.get(node, []):
            for window in paths(tail):
                yield ops[node].window(slot, (None,) * 3).through(window)

    for node in itertools.islice(graph, 30):
        windows = list(itertools.islice(paths(node), 500))
        if (
            len(windows) == 500
            or not report[node].field[0].is_local
            or any(w.period > 1 or not w.is_local for w in windows)
        ):
            continue
        centers = [window.mean_center for window in windows]
        assert report.center_spread(node) == (max(centers) - min(centers),)


@given(networks(axes=st.just(1), layers=PLAIN, inputs=st.just(1), most=14))
def test_forks_are_the_nearest_common_dominators(graph):
    report = rfgraph.analyze(graph)
    above = {}
    for node in nx.topological_sort(graph):
        tails = [above[tail] for tail in graph.pred[node]]
        above[node] = {node} | (set.intersection(*tails) if tails else set())
    for finding in misaligned(report):
        common = above[finding.reference.tail] & above[finding.branch.tail]
        assert finding.fork == max(common, key=lambda node: len(above[node]))
        for branch in (finding.reference, finding.branch):
            assert branch.path[0] == finding.fork
            assert branch.path[-2:] == (
                (branch.tail, finding.merge) if branch.tail != finding.fork else branch.path[-2:]
            )
            assert all(graph.has_edge(a, b) for a, b in itertools.pairwise(branch.path))


@pytest.mark.parametrize(
    ("kernels", "through"), [((1, 5), 1), ((5, 1), 0), ((5, 5), 0), ((3, 5, 5), 1), ((1, 1), 0)], ids=str
)
def test_a_branch_is_told_by_its_widest_path(kernels, through):
    """Of several as wide it is the first."""
    net = Network(axes=1)
    stem = net.conv("stem", net.input("x"), kernel=3, padding=1)
    sides = [net.conv(f"side{i}", stem, kernel=kernel, padding=kernel // 2) for i, kernel in enumerate(kernels)]
    net.add("out", net.add("block", *sides), net.conv("even", stem, kernel=6, padding=[[3, 2]]))
    (finding,) = misaligned(rfgraph.analyze(net.graph))
    paths = {branch.tail: branch.path for branch in (finding.reference, finding.branch)}
    assert paths == {"block": ("stem", f"side{through}", "block", "out"), "even": ("stem", "even", "out")}


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=60), st.data())
def test_jump_pointers_find_what_walking_up_finds(parents, data):
    tree = Dominators(len(parents) + 1, 0)
    for v, parent in enumerate(parents, start=1):
        tree.add(v, [(parent % v, IDENTITY)])

    def up(v):
        return [v] if v == 0 else [v, *up(parents[v - 1] % v)]

    u, v = (data.draw(st.integers(0, len(parents))) for _ in range(2))
    assert tree.meet(u, v) == next(w for w in up(u) if w in up(v))


def in_rows(take, size):
    """A network that runs along y row by row: what was made of the row before is added to the next one."""
    net = Network("rows", axes=2)
    x = net.conv("stem", net.input("image", size=[size, size]), kernel=3, padding=1)
    state, rows = None, []
    for i in range(size):
        row = take(net, f"row{i}", x, i)
        if state is not None:
            state = net.conv(f"hidden{i}", state, kernel=[1, 3], padding=[0, 1])
        state = row if state is None else net.add(f"state{i}", row, state)
        rows.append(state)
    net.concat("out", *rows, axis=0)
    return net


def by_slice(net, name, x, i):
    return net.node("slice", name, x, start=[i, None], stop=[i + 1, None])


def from_the_end(net, name, x, i):
    return net.node("slice", name, x, start=[i - 5, None], stop=[i - 4 or None, None])


def by_table(net, name, x, i):
    return net.node("gather", name, x, positions=[[i], None], source_size=[5, None])


@pytest.mark.parametrize("take", [by_slice, from_the_end, by_table])
def test_rows_taken_by_their_index_have_no_grid_to_line_up_on(take):
    report = rfgraph.analyze(in_rows(take, 5))
    assert report["out"].map_size == (5, 5)
    assert not misaligned(report)
    assert report.aligned is True
    assert report.unchecked == ()


@pytest.mark.parametrize(("start", "stop"), [(1, 3), (1, None), (-2, None)])
def test_parts_of_several_rows_have_a_grid(start, stop):
    net = Network("parts", axes=1)
    x = net.input("x", size=3)
    part = net.node("slice", "part", x, start=start, stop=stop)
    net.add("add", part, net.node("slice", "first", x, stop=2))
    assert [finding.rule for finding in misaligned(rfgraph.analyze(net))] == ["RF002"]


def test_a_row_beside_what_is_none_is_held_against_it():
    net = Network("beside", axes=1)
    x = net.input("x", size=5)
    net.add("add", net.node("slice", "row", x, start=1, stop=2), net.conv("all", x, kernel=5))
    assert [finding.rule for finding in misaligned(rfgraph.analyze(net))] == ["RF002"]


def test_rows_laid_out_to_several_positions_have_a_grid_again():
    net = Network("laid out", axes=1)
    x = net.input("x", size=4)
    one, two = (net.node("slice", f"row{i}", x, start=i, stop=i + 1) for i in (0, 2))
    wide = [net.conv_transpose(f"wide{i}", row, kernel=2, stride=2) for i, row in enumerate((one, two))]
    net.add("add", *wide)
    assert [finding.rule for finding in misaligned(rfgraph.analyze(net))] == ["RF002"]


@pytest.mark.parametrize("late_first", [False, True])
def test_where_every_change_that_lines_up_reads_the_future_that_is_told_of_the_first(late_first):
    net = Network("strided", axes=["t"])
    x = net.input("x")
    late = net.slice("rows", net.conv("late", x, kernel=3, padding=[[4, -2]]), step=2)
    plain = net.slice("plain", x, step=2)
    net.add("sum", *((late, plain) if late_first else (plain, late)))
    # late reads 2y-4 to 2y-2: 3 pixels before 2y, no whole step of the merge. Only its own padding moves it, to 2y+1.
    (finding,) = [finding for finding in rfgraph.analyze(net).findings if finding.rule == "RF002"]
    assert finding.repair is None
    assert finding.advice.startswith(
        "no repair keeps its branches causal: to change padding of 'late' from [[4, -2]] to [[1, 1]] "
        "would make 'rows' read the future"
    )


def test_a_branch_is_not_moved_to_where_the_other_reads_nothing():
    """Behind a transposed convolution that leaves every other position empty, a shift by one meets holes."""
    net = Network("spread", axes=1)
    spread = net.node("conv_transpose", "spread", net.input("x", size=48), kernel=1, stride=2)
    wide = net.conv("wide", spread, kernel=2, dilation=2, padding=[[1, 1]])
    cut = net.node("slice", "cut", net.conv("same", spread, kernel=1, padding=[[0, 1]]), start=1)
    net.add("add", wide, cut)
    (finding,) = (each for each in rfgraph.analyze(net, input_size=48).findings if each.rule == "RF002")
    assert finding.repair is None
