"""Which ends of a map its readers reach, against the positions that they read, one by one."""

from __future__ import annotations

import oracle
import pytest
from op_cases import CASES

import rfgraph
from rfgraph import Network
from rfgraph.errors import SizeError
from rfgraph.ops import kind_of
from rfgraph.passes.compiled import compile_graph
from rfgraph.passes.covers import BOTH, EVERYTHING, FIRST, LAST, covered, read_ends

#: Sizes beyond which every row of the table does at any size what it does for good.
LARGE = range(40, 64)

ROWS = [
    *((op, attributes) for op, attributes, *_ in CASES),
    ("conv", {"kernel": 1, "stride": 2}),
    ("conv", {"kernel": 2, "stride": 3}),
    ("conv", {"kernel": 3, "stride": 3, "padding": [[1, 0]]}),
    ("conv", {"kernel": 3, "padding": [[-1, 0]]}),
    ("conv", {"kernel": 3, "padding": [[0, -1]]}),
    ("conv", {"kernel": 2, "dilation": 3}),
    ("conv", {"kernel": 2, "dilation": 3, "stride": 2}),
    ("conv", {"kernel": 2, "dilation": 30, "padding": 20}),
    ("conv_transpose", {"kernel": 2, "stride": 3}),
    ("conv_transpose", {"kernel": 3, "stride": 2, "padding": 3}),
    ("pad", {"padding": [[-1, 2]]}),
    ("pad", {"padding": [[2, -1]]}),
    ("slice", {"start": 1}),
    ("slice", {"stop": -1}),
    ("slice", {"step": 2}),
]


def read_of(op, attributes, size):
    """Return the positions that some output reads of a map of ``size``, ``None`` where there are no outputs."""
    parsed = kind_of(op).parse(attributes, 0, 1)
    try:
        outputs = parsed.size((size,))
    except SizeError:
        return None
    node = {"op": op, **attributes}
    return {i for y in range(outputs) for i in oracle.taps(node, 0, y, [size]) if 0 <= i < size}


def is_taken(op, attributes):
    parsed = kind_of(op).parse(attributes, 0, 1)
    return (
        parsed.arity == "one" and parsed.window(0, (41,)).is_local and not parsed.skips and parsed.border == "constant"
    )


def is_told(op, attributes):
    """Return whether what it reads is told wholly: not where some phase is empty, or positions stand in any order."""
    window = kind_of(op).parse(attributes, 0, 1).window(0, (41,))
    return window.regular and op != "gather" and attributes.get("dilation", 1) < 30


@pytest.mark.parametrize(("op", "attributes"), [row for row in ROWS if is_taken(*row)], ids=lambda v: str(v)[:60])
def test_an_op_reads_a_map_of_known_size_wholly_if_each_position_is_read(op, attributes):
    parsed = kind_of(op).parse(attributes, 0, 1)
    for size in range(1, 30):
        every = read_of(op, attributes, size) == set(range(size))
        told = read_ends(parsed, 0, (size,))
        assert told in (0, EVERYTHING)
        assert told == EVERYTHING * every or (every and not (is_told(op, attributes) and size > 2))


@pytest.mark.parametrize(("op", "attributes"), [row for row in ROWS if is_taken(*row)], ids=lambda v: str(v)[:60])
def test_an_op_reads_to_an_end_of_a_large_map_if_each_position_near_it_is_read(op, attributes):
    parsed = kind_of(op).parse(attributes, 0, 1)
    first = last = True
    for size in LARGE:
        read = read_of(op, attributes, size)
        if read is not None:  # else it takes no such map
            first = first and read >= set(range(size // 2))
            last = last and read >= set(range(size // 2, size))
    told, ends = read_ends(parsed, 0, (None,)), FIRST * first | LAST * last | BOTH * (first and last)
    assert told & ends == told
    if is_told(op, attributes) and op not in ("space_to_depth", "adaptive_max_pool", "adaptive_avg_pool"):
        assert told == ends


@pytest.mark.parametrize(
    ("op", "attributes", "ends"),
    [
        ("cumsum", {}, EVERYTHING),
        ("cumsum", {"exclusive": True}, FIRST),
        ("cumsum", {"direction": "backward", "exclusive": True}, LAST),
        ("global_avg_pool", {}, EVERYTHING),
        ("dense", {}, EVERYTHING),
        ("unknown", {"of": "F"}, 0),
        ("either", {}, 0),
        ("concat", {"axis": 0}, 0),
        ("resize", {"size": 7}, 0),
        ("relu", {"bound": "a mask"}, 0),
        ("max_pool", {"kernel": 2, "bound": "a mask"}, 0),
    ],
)
def test_ends_that_ops_of_other_kinds_read(op, attributes, ends):
    assert read_ends(kind_of(op).parse(attributes, 0, 1), 0, (None,)) == ends


def test_ops_that_repeat_after_too_many_sizes_are_not_tried():
    for stride, ends in ((1 << 10, FIRST), ((1 << 10) + 1, 0)):
        conv = kind_of("conv").parse({"op": "conv", "kernel": stride, "stride": stride}, 0, 1)
        assert read_ends(conv, 0, (None,)) == ends


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("size", [None, 9])
def test_ends_of_branches_add_up_but_for_what_is_read_along_one_path(order, size):
    net = Network(axes=1)
    x = net.input("x", **({"size": size} if size else {}))
    sides = [net.pad("no_first", x, padding=[[-1, 0]]), net.pad("no_last", x, padding=[[0, -1]])]
    net.add("out", *(sides[i] for i in order))
    compiled = compile_graph(net.graph)
    nodes = [compiled.layers.id_of(node) for node in ("no_first", "no_last", "out")]
    told = [covered(compiled, 0, 0, nodes)[v] for v in nodes]
    if size is None:
        assert told == [LAST, FIRST, FIRST | LAST]
    else:  # listed
        assert told == [LAST, FIRST, EVERYTHING]
    whole = rfgraph.analyze(_with(net, "global_avg_pool"))["end"]
    past = rfgraph.analyze(_with(net, "cumsum"))["end"]
    assert (whole.status, past.status) == ("bound" if size is None else "exact", "exact")


def _with(net, op):
    graph = net.graph.copy()
    graph.add_node("end", op=op)
    graph.add_edge("out", "end")
    return graph


@pytest.mark.parametrize(
    ("padding", "ends"), [([[-1, 0]], LAST), ([[0, -1]], FIRST), ([[-1, -1]], 0), ([[1, 1]], EVERYTHING)]
)
def test_of_a_network_all_of_whose_ops_leave_something_out_that_is_told(padding, ends):
    net = Network(axes=1)
    net.pad("pad", net.input("x"), padding=padding)
    told = covered(compile_graph(net.graph), 0, 0, [1])[1]
    assert told == ends
    net.pad("again", "pad", padding=padding)
    assert covered(compile_graph(net.graph), 0, 0, [2])[2] == told


def test_a_kernel_with_a_stride_leaves_the_end_out_at_some_sizes():
    conv = kind_of("conv").parse({"op": "conv", "kernel": 3, "stride": 2}, 0, 1)
    assert [read_ends(conv, 0, (size,)) for size in (None, 7, 8, 1)] == [FIRST, EVERYTHING, 0, 0]
