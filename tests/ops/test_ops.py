"""Every op of the graph format: the windows it reads, the sizes it makes, what it refuses."""

from __future__ import annotations

import itertools
import re
from fractions import Fraction
from itertools import pairwise

import oracle
import pytest
from op_cases import CASES, WEIGHTED

import rfgraph
from rfgraph import EMPTY, FULL, IDENTITY, Network, RFGraphError, Window
from rfgraph.errors import AttributeValueError, SizeError
from rfgraph.ops import KINDS, Op, kind_of
from rfgraph.ops.base import Affine, at_border
from rfgraph.passes.compiled import compile_graph

#: Rows of ops whose sizes or windows depend on where the map ends.
MORE_CASES = [
    *CASES,
    ("slice", {"start": 2, "stop": 5}),
    ("slice", {"start": 2, "stop": 5, "whole": True}),
    ("slice", {"start": -4, "stop": -1, "whole": True}),
    ("slice", {"start": -4, "stop": -1}),
    ("slice", {"start": 1, "stop": -2, "step": 2}),
    ("slice", {"start": -6, "stop": 9}),
    ("pad", {"padding": [[2, 3]], "mode": "reflect"}),
    ("pad", {"padding": [[3, 2]], "mode": "symmetric"}),
    ("max_pool", {"kernel": 1, "stride": 1, "padding": [[-2, 1]], "ceil_mode": True}),
    ("max_pool", {"kernel": 3, "stride": 2, "padding": [[-1, 2]], "dilation": 2, "ceil_mode": True}),
]


def test_norms_read_totals_in_a_second_slot():
    norms = [kind_of("group_norm").parse({"mixes": mixes}, 0, 2) for mixes in ([True, False], False)]
    assert [op.totals for op in norms] == [True, False]
    assert [op.window(1, (10, 10)) for op in norms] == [FULL, IDENTITY]


@pytest.mark.parametrize(("op", "attributes", "unsized", "sized", "size"), CASES, ids=lambda v: str(v)[:60])
def test_windows_and_sizes(op, attributes, unsized, sized, size):
    parsed = kind_of(op).parse(attributes, 0, 1)
    without = parsed.window(0, (None,))
    if unsized is None:
        assert without.is_unknown
        assert "depends on the input size" in without.why
    else:
        assert without == unsized
    assert parsed.window(0, (10,)) == sized
    assert parsed.window(0, (10,)).holes == sized.holes
    assert parsed.size((10,)) == size


def test_numbers_that_are_too_long_to_be_written_are_refused_where_they_are_read():
    tried = set()
    for op, attributes, *_ in CASES:
        for name, value in [*attributes.items(), ("channels", 1)]:
            huge = [[10**6000, 0]] if isinstance(value, list) else 10**6000
            if (op, name) in tried or isinstance(value, (bool, str, type(None))):
                continue
            tried.add((op, name))
            net = Network(axes=1)
            feeds = [] if kind_of(op).arity == "none" else [net.input("x")]
            net.node(op, "node", *feeds, **{**attributes, name: huge})
            with pytest.raises(AttributeValueError, match=rf"'node' .*axis t: {name} has a number of some 6001 digits"):
                rfgraph.analyze(net)
    assert len(tried) > 50
    net = Network(axes=1)
    net.conv("conv", net.input("x"), kernel=3)
    with pytest.raises(AttributeValueError, match="input_size has a number of some 6001 digits; those of up to 100"):
        rfgraph.analyze(net, 10**6000)


@pytest.mark.parametrize(
    ("op", "attributes", "why"),
    [
        ("conv", {"kernel": 3, "stride": 10**99}, "conv.* its stride has more than 3000 digits"),
        ("resize", {"scale": 10**99}, "resize.* its map would have a size of more than 3000 digits"),
    ],
)
def test_numbers_that_grow_too_long_name_the_node(op, attributes, why):
    net = Network(axes=1)
    last = net.input("x", size=8) if op == "resize" else net.input("x")
    for i in range(50):
        last = net.node(op, f"n{i}", last, **attributes)
    if op == "resize":
        with pytest.raises(SizeError, match=why):
            rfgraph.analyze(net)
        return
    report = rfgraph.analyze(net)
    assert (report["n20"].status, report[last].status) == ("exact", "unknown")
    assert re.search("'n3[0-9]' .*" + why, report[last].why)
    assert str(report.to_dict())


@pytest.mark.parametrize(("op", "attributes", "sized"), [(c[0], c[1], c[3]) for c in CASES], ids=lambda v: str(v)[:60])
def test_taps_are_the_oracles_and_weights_sum_to_one(op, attributes, sized):
    if (
        not sized.is_local
        or attributes.get("mixes") is False
        or {"pytorch_half_pixel"} & set(map(str, attributes.values()))
    ):
        return
    if attributes.get("size", 0) is None or attributes.get("size") == 1:
        return
    parsed = kind_of(op).parse(attributes, 0, 1)
    for y in range(-3, 9):
        interval = sized.interval(y)
        listed = set() if interval is None else set(range(interval[0], interval[1] + 1, parsed.spacing))
        read = oracle.taps({"op": op, **attributes}, 0, y, [10])
        assert listed == read or (parsed.skips and listed > read)
        taps = parsed.taps(sized, y)
        assert set(taps) == read
        assert list(taps) == sorted(read)
        weights = parsed.weights(sized, y)
        if weights is not None and not _has_weights(op, attributes):
            pytest.fail(f'op {op!r} states weights that are fixed; write "{op}" into WEIGHTED of tests/op_cases.py')
        assert (weights is not None) == _has_weights(op, attributes)
        if weights is not None:
            assert set(weights) == read
            assert sum(weights.values()) == 1
            assert 0 not in weights.values()


@pytest.mark.parametrize(("op", "attributes"), [c[:2] for c in CASES], ids=lambda v: str(v)[:60])
def test_the_law_of_a_size_is_what_the_op_says_at_every_size(op, attributes):
    parsed = kind_of(op).parse(attributes, 0, 1)
    law = parsed.size_law
    if law is None:
        assert parsed.arity != "one" or type(parsed).size is not Op.size
        return
    for n in range(1, 25):
        if isinstance(law, Affine):
            assert parsed.size((n,)) == law.times * n + law.plus
            continue
        slid = {"op": "max_pool", "kernel": law.span, "stride": law.stride, "padding": law.padding}
        if isinstance(law.padding, tuple):
            slid["padding"] = [list(law.padding)]
        size = oracle.output_size({**slid, "ceil_mode": law.ceil_mode}, 0, [n])
        if size < 1:
            with pytest.raises(SizeError):
                parsed.size((n,))
        else:
            assert parsed.size((n,)) == size


def _size(op, n):
    try:
        return op.size((n,))
    except SizeError:
        return None


@pytest.mark.parametrize(("op", "attributes"), [c[:2] for c in MORE_CASES], ids=lambda v: str(v)[:60])
def test_sizes_and_windows_repeat_as_an_op_says(op, attributes):
    parsed = kind_of(op).parse(attributes, 0, 1)
    if parsed.arity != "one" or op == "gather":
        return
    inputs, outputs = parsed.cycle
    for n in range(parsed.settles_at, parsed.settles_at + 2 * inputs + 3):
        size = _size(parsed, n)
        assert _size(parsed, n + inputs) == (None if size is None else size + outputs)
        later = n + parsed.window_cycle * inputs
        if parsed.window_cycle and size and not parsed.heeds_size:
            assert parsed.window(0, (n,)) == parsed.window(0, (later,))


@pytest.mark.parametrize(("op", "attributes"), [c[:2] for c in MORE_CASES], ids=lambda v: str(v)[:60])
def test_what_an_op_reads_but_for_its_place_is_what_it_reads_at_a_size(op, attributes):
    parsed = kind_of(op).parse(attributes, 0, 1)
    if parsed.unplaced is None:
        return
    for n in range(parsed.settles_at, parsed.settles_at + 9):
        read = parsed.window(0, (n,))
        assert (parsed.unplaced.size, parsed.unplaced.stride) == (read.size, read.stride)


@pytest.mark.parametrize(
    ("attributes", "least"),
    [  # numpy.pad and torch.nn.functional.pad: a reflection is of what lies beyond the border pixel
        ({"padding": [[2, 3]], "mode": "reflect"}, 4),
        ({"padding": [[3, 0]], "mode": "reflect"}, 4),
        ({"padding": [[3, 2]], "mode": "symmetric"}, 3),
        ({"padding": [[0, 2]], "mode": "wrap"}, 2),
        ({"padding": [[-2, -1]], "mode": "constant"}, 4),
        ({"padding": [[-2, 3]], "mode": "constant"}, 2),
        ({"padding": [[-4, 1]], "mode": "reflect"}, 5),
        ({"padding": [[0, 0]], "mode": "reflect"}, 1),
    ],
)
def test_a_border_repeats_a_map_once_and_a_crop_takes_what_is_there(attributes, least):
    pad = kind_of("pad").parse({"op": "pad", **attributes}, 0, 1)
    assert pad.size((least,)) == least + sum(pad.padding)
    net = Network(axes=1)
    net.pad("pad", net.input("x"), **attributes)
    if least > 1:
        with pytest.raises(SizeError):
            rfgraph.analyze(net, input_size=least - 1)


@pytest.mark.parametrize(("op", "attributes"), [c[:2] for c in MORE_CASES], ids=lambda v: str(v)[:60])
def test_what_takes_one_position_takes_it_of_every_map(op, attributes):
    parsed = kind_of(op).parse({"op": op, **attributes}, 0, 1)
    if not parsed.takes_one:
        return
    for size in range(1, 12):
        try:
            assert parsed.size((size,)) == 1
        except SizeError:
            continue


@pytest.mark.parametrize(
    ("attributes", "one"),
    [({"start": 3, "stop": 4}, True), ({"stop": 1}, True), ({"start": -1}, True), ({"start": -2, "stop": -1}, True),
     ({"start": -1, "stop": 1}, False), ({"start": 3}, False), ({"stop": -1}, False), ({"start": 1, "stop": 3}, False)],
)  # fmt: skip
def test_a_slice_of_one_position(attributes, one):
    assert kind_of("slice").parse({"op": "slice", **attributes}, 0, 1).takes_one is one


def test_a_slice_takes_what_python_takes():
    for start in (None, *range(-4, 5)):
        for stop in (None, *range(-4, 5)):
            for step in (1, 2, 3):
                attributes = {"op": "slice", "step": step}
                attributes |= {name: end for name, end in (("start", start), ("stop", stop)) if end is not None}
                op = kind_of("slice").parse(attributes, 0, 1)
                for n in range(1, 8):
                    taken = list(range(n))[start:stop:step]
                    assert _size(op, n) == len(taken)
                    if taken:
                        assert [op.window(0, (n,)).interval(y) for y in range(len(taken))] == [(i, i) for i in taken]


def _has_weights(op, attributes):
    if op == "resize":
        return not attributes.get("mode", "nearest").startswith(("lanczos", "gaussian"))
    return op in WEIGHTED


def test_every_op_has_a_row():
    for op in set(KINDS) - {case[0] for case in CASES} - {"unknown"}:  # which has a test of its own
        pytest.fail(
            f"op {op!r} has no row; write into CASES of tests/op_cases.py, with what it reads and makes of size 10:\n"
            f'    ("{op}", {{"kernel": 3}}, Window(3), Window(3), 8),'
        )


def test_an_unknown_op_makes_all_downstream_unknown_and_nothing_else():
    net = Network()
    image = net.input("image")
    conv = net.conv("conv", image, kernel=3)
    net.add("after", conv, net.unknown("warp", conv, of="GridSample", why="its grid is computed"))
    report = rfgraph.analyze(net)
    assert report["conv"].status == "exact"
    assert report["after"].status == "unknown"
    assert "node 'warp' (unknown), axis y: rfgraph does not know what GridSample reads" in report["after"].why
    assert report.aligned is None


def test_registering_a_name_twice_is_an_error():
    with pytest.raises(ValueError, match="'conv' is registered twice, by Conv and Other"):
        rfgraph.ops.op_kind("conv")(type("Other", (), {}))


@pytest.mark.parametrize(
    ("op", "attributes", "message"),
    [
        ("conv", {}, "kernel is missing; give one number"),
        ("conv", {"kernel": 0}, "kernel 0 is not a positive integer"),
        ("conv", {"kernel": 2.5}, "kernel 2.5 is not a positive integer"),
        ("conv", {"kernel": "3"}, "kernel '3' is not a positive integer"),
        ("conv", {"kernel": float("inf")}, "kernel inf is not a positive integer"),
        ("conv", {"kernel": 3, "stride": 0}, "stride 0 is not a positive integer; give a stride, or leave it out"),
        ("conv", {"kernel": 3, "dilation": -1}, "dilation -1 is not a positive integer"),
        ("conv", {"kernel": 3, "strides": 2}, "attribute 'strides' is not one of conv (near: stride)"),
        ("conv", {"kernel": [3, 3, 3]}, "kernel [3, 3, 3] has 3 entries, but the network has 2 axes"),
        ("conv", {"kernel": 3, "padding": [[1, 2, 3], 1]}, "padding [1, 2, 3] is not [before, after]"),
        ("conv", {"kernel": 3, "padding": "sane"}, "padding 'sane' is not a number, valid, same"),
        ("conv", {"kernel": 3, "padding": 0.5}, "padding 0.5 is not an integer"),
        ("conv_transpose", {"kernel": 3, "output_padding": -1}, "output_padding -1 is negative"),
        ("max_pool", {"kernel": 3, "ceil_mode": "no"}, "ceil_mode 'no' is not true or false"),
        ("resize", {}, "a resize needs scale or size; give scale=2"),
        ("resize", {"scale": 2, "size": 4}, "a resize takes scale or size, not both"),
        ("resize", {"scale": 0}, "scale 0 is not a positive number"),
        ("resize", {"scale": "a"}, "scale 'a' is not a positive number"),
        ("resize", {"scale": 2, "mode": "area"}, "mode 'area' is not one of nearest, linear, cubic"),
        ("adaptive_avg_pool", {}, "size is missing"),
        ("pad", {"padding": "same"}, "padding 'same' is for ops with a kernel"),
        ("crop", {"padding": 1}, "padding 1 would pad; a crop of one pixel is padding=-1"),
        ("slice", {"step": -1}, "step -1 is not a positive integer"),
        ("concat", {"axis": 2}, "axis 2 is neither 'channels' nor one of the axes 0 to 1"),
        ("relu", {"kernel": 3}, "attribute 'kernel' is not one of relu; it takes none"),
    ],
    ids=lambda v: str(v)[:60],
)  # fmt: skip
def test_bad_attributes_name_node_op_axis_and_way_out(op, attributes, message):
    net = Network()
    net.node(op, "the node", net.input("image"), **attributes)
    with pytest.raises(AttributeValueError, match=re.escape(f"node 'the node' ({op}), axis y: {message}")):
        rfgraph.analyze(net)


@pytest.mark.parametrize(
    ("op", "attributes", "message"),
    [
        ("conv", {"kernel": 7, "padding": 0}, "the kernel spans 7, more than the input's 5 padded by [0, 0]"),
        ("conv_transpose", {"kernel": 1, "padding": 3}, "its map would have size -1 ('i' gives 5)"),
        ("space_to_depth", {"block": 2}, "size 5 is not a multiple of block 2"),
        ("slice", {"start": 9}, "the slice 9:None:1 takes nothing of 5"),
        ("slice", {"start": 2, "stop": 6, "whole": True}, "the slice 2:6 takes more than the 5 positions there are"),
        ("pad", {"padding": -3}, "its map would have size -1"),
        ("resize", {"scale": 0.1}, "its map would have size 0"),
    ],
    ids=lambda v: str(v)[:60],
)  # fmt: skip
def test_sizes_that_cannot_be_name_node_axis_and_sizes(op, attributes, message):
    net = Network()
    net.node(op, "n", net.input("i"), **attributes)
    with pytest.raises(SizeError, match=re.escape(f"node 'n' ({op}), axis y: {message}")):
        rfgraph.analyze(net, input_size=5)


@pytest.mark.parametrize(
    ("kernel", "dilation", "spacing", "holes"), [(1, 3, 1, False), (2, 3, 3, True), (2, 1, 1, False)]
)
def test_dilation_leaves_holes_from_two_taps_on(kernel, dilation, spacing, holes):
    window = kind_of("conv").parse({"kernel": kernel, "dilation": dilation}, 0, 1).window(0, (None,))
    assert (window.size, window.spacing, window.holes) == ((kernel - 1) * dilation + 1, spacing, holes)


@pytest.mark.parametrize("op", ["conv_transpose", "resize", "depth_to_space"])
def test_absurd_upsampling_is_not_followed(op):
    net = Network()
    attributes = {"conv_transpose": {"kernel": 3, "stride": 10**12}, "resize": {"scale": 10**12}}
    net.node(op, "up", net.input("i"), **attributes.get(op, {"block": 10**12}))
    assert "output phases that are followed" in rfgraph.analyze(net)["up"].why


def test_an_absurd_adaptive_pool_is_not_followed():
    net = Network()
    net.adaptive_avg_pool("pool", net.input("i"), size=10**6 + 3)
    assert "phases that are followed" in rfgraph.analyze(net, input_size=10**6)["pool"].why


def test_a_map_of_one_position_is_read_by_all_outputs_of_an_addition():
    net = Network(axes=1)
    x = net.input("x")
    net.mul("gated", x, net.conv("summary", x, kernel=8))
    assert rfgraph.analyze(net, input_size=8)["gated"].is_global == (True,)
    assert rfgraph.analyze(net, input_size=8)["gated"].field == (Window(1),)


@pytest.mark.parametrize("sizes", [*itertools.product((None, 1, 2, 3), repeat=2)], ids=str)
@pytest.mark.parametrize("name", ["add", "concat"])
def test_maps_that_meet_are_of_one_size_but_for_those_of_one_position_that_are_repeated(name, sizes):
    op = kind_of(name).parse({"op": name}, 0, 1)
    told = {size for size in sizes if size is not None and (size > 1 or name == "concat")}
    if len(told) > 1:
        with pytest.raises(SizeError, match="its inputs differ in size"):
            op.size(sizes)
        return
    assert op.size(sizes) == (min(told) if told else None if None in sizes else 1)
    is_one = [name == "add" and sizes[slot] == 1 and sizes[1 - slot] != 1 for slot in (0, 1)]
    assert [op.window(slot, sizes) for slot in (0, 1)] == [FULL if one else IDENTITY for one in is_one]


@pytest.mark.parametrize("size", [None, 6])
@pytest.mark.parametrize(("start", "stop"), [(2, 3), (None, 1)])
def test_one_position_beside_a_map_is_read_by_every_output(start, stop, size):
    """With or without an input size: each sum reads what the slice reads, wherever it lies itself."""
    net = Network(axes=1)
    x = net.conv("c", net.input("x"), kernel=3, padding=1)
    net.add("sum", x, net.slice("one", x, start=start, stop=stop))
    report = rfgraph.analyze(net, input_size=size)
    assert report["one"].map_size == (1,)
    assert report["sum"].field == (Window(3, 1, 1),)
    assert report["sum"].is_global == (True,)
    assert report["sum"].status == "bound"


def test_an_op_that_is_not_known_says_what_it_is_and_why():
    said = [kind_of("unknown").parse({"op": "unknown", "of": "Odd", **why}, 0, 1) for why in ({}, {"why": "it is odd"})]
    assert [op.window(0, (4,)).why for op in said] == [
        "rfgraph does not know what Odd reads; pass treat={...}",
        "rfgraph does not know what Odd reads (it is odd); pass treat={...}",
    ]


def test_concatenation_in_space_is_a_bound_with_sizes_and_unknown_without():
    net = Network(axes=1)
    x = net.input("x")
    net.concat("both", net.conv("a", x, kernel=3), x, axis=0)
    report = rfgraph.analyze(net, input_size=8)
    assert report["both"].map_size == (6 + 8,)
    assert report["both"].status == "bound"
    assert report["both"].field[0].interval(10) == (10 - 6, 10 + 2)
    assert report.region("both", 10).box == ((4, 4),)
    assert report.region("both", 2).box == ((2, 4),)
    assert "depends on the sizes of its inputs" in rfgraph.analyze(net)["both"].why


def test_scales_are_taken_as_the_decimals_they_print_as():
    net = Network(axes=1)
    net.resize("up", net.input("x"), scale=1.1)
    assert rfgraph.analyze(net)["up"].stride == (Fraction(10, 11),)


def test_numpy_integers_are_integers():
    np = pytest.importorskip("numpy")
    net = Network(axes=1)
    net.conv("c", net.input("x"), kernel=np.int64(3), padding=np.int32(1))
    assert rfgraph.analyze(net)["c"].size == (3,)


def test_the_base_of_all_errors():
    assert issubclass(SizeError, RFGraphError)
    assert issubclass(AttributeValueError, RFGraphError)


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize(("size", "to"), [(8, 16), (8, 12), (12, 8), (15, 5)])
def test_weights_of_a_resize_are_those_of_torch(mode, antialias, size, to):
    torch = pytest.importorskip("torch")
    attributes = {"scale": Fraction(to, size), "mode": mode, "antialias": antialias}
    op = kind_of("resize").parse({**attributes, "coefficient": -0.5 if antialias else -0.75}, 0, 1)
    read = op.window(0, (size,))
    pixels = torch.eye(size, dtype=torch.float64).reshape(size, 1, 1, size)
    torch_mode = {"linear": "bilinear", "cubic": "bicubic"}[mode]
    out = torch.nn.functional.interpolate(pixels, (1, to), mode=torch_mode, antialias=antialias)[:, 0, 0]
    for y in range(to):
        weights = op.weights(read, y)
        if min(weights) >= 0 and max(weights) < size:  # at the border each has a rule of its own
            got = {i: float(weight) for i, weight in weights.items()}
            assert got == pytest.approx({i: float(out[i, y]) for i in range(size) if abs(out[i, y]) > 1e-12})


def test_a_coefficient_is_a_number():
    with pytest.raises(AttributeValueError, match=r"coefficient .a. is not a number; write -0\.75"):
        kind_of("resize").parse({"scale": 2, "coefficient": "a"}, 0, 1)


@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(4, 2, 2), (5, 4, 2), (4, 2, 3), (7, 3, 6)])
def test_taps_of_dilated_transposed_convolutions_are_the_oracles(kernel, stride, dilation):
    attributes = {"kernel": kernel, "stride": stride, "dilation": dilation, "padding": 1}
    op = kind_of("conv_transpose").parse(attributes, 0, 1)
    window, apart = op.window(0, (None,)), set()
    for y in range(-3, 15):
        taps = op.taps(window, y)
        assert list(taps) == sorted(oracle.taps({"op": "conv_transpose", **attributes}, 0, y))
        apart |= {b - a for a, b in pairwise(taps)}
    assert {window.spacing} == (apart or {1})
    assert window.holes == (window.spacing > 1)


@pytest.mark.parametrize(
    ("border", "read"),
    [
        ("constant", [-4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7]),
        ("edge", [0, 0, 0, 0, 0, 1, 2, 2, 2, 2, 2, 2]),
        ("reflect", [0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2, 1]),
        ("symmetric", [2, 2, 1, 0, 0, 1, 2, 2, 1, 0, 0, 1]),
        ("wrap", [2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1]),
    ],
)
def test_what_is_read_in_the_place_of_a_position_beyond_a_border(border, read):
    assert [at_border(border, position, 3) for position in range(-4, 8)] == read


@pytest.mark.parametrize("op", ["conv", "max_pool", "conv_transpose"])
@pytest.mark.parametrize(("padding", "odd"), [("same", 0), ("same_upper", 0), ("same_lower", 1)])
def test_same_padding_puts_the_odd_pixel_behind_or_before(op, padding, odd):
    for kernel, stride, size in itertools.product((1, 2, 3, 4), (1, 2, 3), range(1, 9)):
        parsed = kind_of(op).parse({"kernel": kernel, "stride": stride, "padding": padding}, 0, 1)
        if op == "conv_transpose":
            outputs, total = size * stride, max(kernel - stride, 0)
            is_told = kernel >= stride
        else:
            outputs = -(-size // stride)
            total, is_told = max((outputs - 1) * stride + kernel - size, 0), True
        assert parsed.size((size,)) == outputs
        before = (total + odd) // 2
        assert parsed.padding_at(size) == ((before, total - before) if is_told else None)
    cropped = kind_of("conv_transpose").parse({"kernel": 1, "stride": 3, "padding": 0}, 0, 1)
    assert cropped.padding_at(5) == (0, 0)


def test_a_pool_that_rounds_up_has_one_window_more_if_that_begins_on_the_map():
    for kernel, stride, before, after, size in itertools.product(
        (1, 2, 3), (1, 2, 3), (0, 1, 2), (0, 1, 3), range(3, 9)
    ):
        attributes = {"kernel": kernel, "stride": stride, "padding": [[before, after]]}
        floor, ceil = (kind_of("max_pool").parse({**attributes, "ceil_mode": up}, 0, 1) for up in (False, True))
        outputs = floor.size((size,))
        begins = (
            outputs * stride - before
        )  # where one window more begins; the last ends where the padding does, or before
        ends_there = (outputs - 1) * stride + kernel == before + size + after
        behind = outputs > 1 and (outputs - 1) * stride - before >= size  # all of the last window is padding
        assert ceil.size((size,)) == outputs + (not ends_there and begins < size) - (ends_there and behind)


def test_pytorchs_pixels_are_halves_but_for_a_map_of_one_position():
    for scale, size, to in ((2, 5, 10), ("1/2", 4, 2), ("1/2", 5, 2)):
        half, torchs = (
            kind_of("resize").parse({"scale": scale, "mode": "linear", "coordinates": name}, 0, 1)
            for name in ("half_pixel", "pytorch_half_pixel")
        )
        assert (half.size((size,)), torchs.window(0, (size,))) == (to, half.window(0, (size,)))
        assert torchs.window(0, (None,)) == half.window(0, (None,))
    assert torchs.window(0, (2,)) == torchs.window(0, (3,)) == Window(1)
    assert half.window(0, (2,)) == half.window(0, (4,)) != Window(1)


def test_a_resize_to_the_size_of_another_map_knows_its_window_with_both_sizes():
    net = Network(axes=1)
    x = net.input("x")
    net.node("resize", "up", net.conv("few", x, kernel=1, stride=2), x, like=1, mode="linear")
    compiled = compile_graph(net.graph)
    op = compiled.layers.ops[compiled.layers.id_of("up")][0]
    fixed = kind_of("resize").parse({"size": 9, "mode": "linear"}, 0, 1)
    assert (op.size((4, 9)), op.window(0, (4, 9)), op.window(1, (4, 9))) == (9, fixed.window(0, (4,)), EMPTY)
    for sizes in ((None, 9), (4, None), (None, None)):
        why = "it resizes to the size of another map, which depends on the input size; give one"
        assert (op.window(0, sizes).why, op.size(sizes)) == (why, sizes[1])


@pytest.mark.parametrize(
    ("mode", "scale", "antialias", "holes"),
    [
        ("cubic", 2, False, False), ("cubic", "1/2", False, False), ("cubic", "1/2", True, True),
        ("linear", "1/2", True, False), ("linear", 2, True, False), ("cubic", 2, True, False),
        ("nearest", "1/2", False, False),
    ],
)  # fmt: skip
def test_a_stretched_kernel_leaves_holes_where_its_weights_are_zero(mode, scale, antialias, holes):
    more = {"antialias": True} if antialias else {}
    parsed = kind_of("resize").parse({"scale": scale, "mode": mode, **more}, 0, 1)
    assert parsed.window(0, (16,)).holes == parsed.window(0, (None,)).holes == holes


@pytest.mark.parametrize(("start", "stop"), [(2, 5), (None, 3), (1, None), (-3, None), (-4, -1), (0, -2), (-5, 2)])
def test_a_slice_of_what_has_to_be_there_refuses_maps_that_end_before(start, stop):
    attributes = {"start": start, "stop": stop}
    some, whole = (kind_of("slice").parse({**attributes, "whole": flag}, 0, 1) for flag in (False, True))
    for size in range(1, 9):
        if size < max(stop or 0, -(start or 0)):
            with pytest.raises(SizeError, match=f"takes more than the {size} positions there are"):
                whole.size((size,))
        else:
            assert whole.size((size,)) == some.size((size,)) == len(range(size)[start:stop])


@pytest.mark.parametrize(
    ("share", "before"), [("floor", (2, -3)), ("ceil", (3, -2)), ("all", (5, -5)), ("none", (0, 0))]
)
def test_a_pad_to_the_size_of_another_map_puts_its_share_before(share, before):
    net = Network(axes=1)
    x = net.input("x")
    net.node("pad", "fit", net.conv("few", x, kernel=1, stride=2), x, like=1, before=share)
    compiled = compile_graph(net.graph)
    op = compiled.layers.ops[compiled.layers.id_of("fit")][0]
    for sizes, amount in zip(((4, 9), (9, 4)), before, strict=True):
        assert (op.size(sizes), op.window(0, sizes), op.window(1, sizes)) == (sizes[1], Window(1, 1, amount), EMPTY)
    for sizes in ((None, 9), (4, None)):
        assert op.window(0, sizes).why.startswith("it pads to the size of another map, which depends on the input size")
    for more in ({"padding": 1}, {"mode": "edge"}):
        with pytest.raises(AttributeValueError, match="takes no padding, and adds zeros"):
            kind_of("pad").parse({"like": 1, **more}, 0, 1)
