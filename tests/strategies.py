"""Random windows and random networks."""

from __future__ import annotations

from fractions import Fraction

import networkx as nx
from hypothesis import assume, note
from hypothesis import strategies as st
from op_cases import CASES

import rfgraph
from rfgraph import Network, Window
from rfgraph.ops import KINDS

plain_windows = st.builds(Window, size=st.integers(1, 9), stride=st.integers(1, 4), padding=st.integers(-4, 6))


@st.composite
def windows(draw, regular=False, stride=None):
    """A window of up to four phases; ``regular`` ones never go backward and have no empty phase."""
    if stride is None:
        period, step = draw(st.integers(1, 4)), draw(st.integers(1, 6))
    else:
        times = draw(st.integers(1, 2))
        period, step = stride.denominator * times, stride.numerator * times
    if regular:
        firsts = sorted(draw(st.lists(st.integers(0, step), min_size=period, max_size=period)))
        lasts = sorted(draw(st.lists(st.integers(0, step), min_size=period, max_size=period)))
        shift, more = draw(st.integers(-5, 5)), draw(st.integers(step, step + 4))
        return Window.periodic(tuple((a + shift, b + shift + more) for a, b in zip(firsts, lasts, strict=True)), step)
    phase = st.builds(lambda a, n: (a, a + n), st.integers(-6, 6), st.integers(0, 6))
    phases = draw(st.lists(st.one_of(phase, phase, st.none()), min_size=period, max_size=period))
    return Window.periodic(tuple(phases), step)


@st.composite
def one_sided(draw, regular=False, stride=None):
    """A window that reads on to one end of the axis."""
    window = draw(windows(regular=regular, stride=stride).filter(lambda window: window.is_local))
    ends = [None if interval is None else interval[0] for interval in window.intervals]
    return draw(st.sampled_from([Window.past, Window.future]))(tuple(ends), window.step)


strides = st.builds(Fraction, st.integers(1, 4), st.integers(1, 3))


def per_axis(draw, axes, values):
    """One number for all axes or one per axis."""
    return draw(values) if draw(st.booleans()) else [draw(values) for _ in range(axes)]


def padding_values(axes, low, high, same=False):
    number = st.integers(low, high)
    pair = st.lists(number, min_size=2, max_size=2)
    forms = [number, st.lists(number, min_size=axes, max_size=axes), st.lists(pair, min_size=axes, max_size=axes)]
    if same:
        forms.append(st.sampled_from(["same", "same_lower", "valid"]))
    return st.one_of(forms)


def _conv(draw, axes, same):
    attributes = {
        "op": draw(st.sampled_from(["conv", "max_pool", "avg_pool"])),
        "kernel": per_axis(draw, axes, st.integers(1, 4)),
        "stride": draw(st.sampled_from([1, 1, 1, 2, 3])),
        "dilation": draw(st.sampled_from([1, 1, 2, 3])),
        "padding": draw(padding_values(axes, -2, 3, same)),
    }
    if attributes["op"] != "conv" and draw(st.booleans()):
        attributes["ceil_mode"] = True
    return attributes, Fraction(attributes["stride"])


def _conv_transpose(draw, axes, same):
    stride = draw(st.integers(1, 3))
    attributes = {
        "op": "conv_transpose",
        "kernel": per_axis(draw, axes, st.integers(1, 4)),
        "stride": stride,
        "dilation": draw(st.sampled_from([1, 1, 1, 2, 3])),
        "padding": draw(padding_values(axes, -1, 2, same)),
    }
    return attributes, Fraction(1, stride)


def _resize(draw, axes, same):
    scale = draw(st.sampled_from([2, 3, "3/2", 0.5, 4]))
    attributes = {
        "op": "resize",
        "scale": scale,
        "mode": draw(st.sampled_from(["nearest", "linear", "cubic"])),
        "coordinates": draw(st.sampled_from(["half_pixel", "asymmetric"])),
        "nearest_mode": draw(st.sampled_from(["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"])),
    }
    return attributes, 1 / Fraction(str(scale))


def _move(draw, axes, same):
    kind = draw(st.sampled_from(["pad", "crop", "slice"]))
    if kind == "slice":
        step = draw(st.integers(1, 2))
        return {"op": "slice", "start": per_axis(draw, axes, st.integers(0, 3)), "step": step}, Fraction(step)
    low, high = (-2, 3) if kind == "pad" else (-2, 0)
    attributes = {"op": kind, "padding": draw(padding_values(axes, low, high))}
    if kind == "pad":
        attributes["mode"] = draw(st.sampled_from(["constant", "constant", "edge", "reflect", "symmetric", "wrap"]))
    return attributes, Fraction(1)


def _block(draw, axes, same):
    block = draw(st.integers(1, 3))
    if draw(st.booleans()):
        return {"op": "depth_to_space", "block": block}, Fraction(1, block)
    return {"op": "space_to_depth", "block": block}, Fraction(block)


def _pointwise(draw, axes, same):
    return {"op": draw(st.sampled_from(["relu", "batch_norm"]))}, Fraction(1)


def _fits_everywhere(row):
    """Return whether an op is the same at every input size, reads an interval of one map, and takes any map."""
    op, attributes, unsized, _, _ = row
    regular = isinstance(unsized, Window) and unsized.is_local and unsized.exact
    moves = KINDS[op].arity == "one" and not KINDS[op].own_position  # functions of one position are all alike
    stated = "stride" in attributes or op != "conv_transpose"
    sizeless = not isinstance(attributes.get("padding", 0), str) and attributes.get("coordinates") is None
    local = not KINDS[op].parse({"op": op, **attributes}, 0, 1).totals  # its second slot reads the whole axis besides
    return regular and local and moves and op != "gather" and sizeless and stated


#: Rows of ops of which random networks are made too, so that a new op is tried in them by its row alone.
ROWS = [row for row in CASES if _fits_everywhere(row)]


def _row(draw, axes, same):
    op, attributes, unsized, _, _ = draw(st.sampled_from(ROWS))
    of_axes = {n: value * axes if isinstance(value, list) else value for n, value in attributes.items()}
    return {"op": op, **of_axes}, Fraction(unsized.stride)


_LAYERS = [_row, _conv, _conv, _conv, _conv_transpose, _resize, _move, _block, _pointwise]


ONE_OR_TWO = st.integers(1, 2)


@st.composite
def networks(draw, axes=ONE_OR_TWO, most=9, layers=None, same=False, drift=False, inputs=ONE_OR_TWO):
    """A random network; merges join nodes of equal stride unless ``drift`` lets any two meet."""
    axes = draw(axes)
    graph = nx.MultiDiGraph(axes=axes)
    nodes = []  # (name, stride)
    for i in range(draw(inputs)):
        graph.add_node(f"in{i}", op="input")
        nodes.append((f"in{i}", Fraction(1)))
    for i in range(draw(st.integers(1, most))):
        tail, stride = draw(st.sampled_from(nodes[-4:]))
        partners = [n for n in nodes if drift or n[1] == stride]
        if draw(st.integers(0, 2)) == 0:
            tails = [tail, *(n[0] for n in draw(st.lists(st.sampled_from(partners), min_size=1, max_size=2)))]
            graph.add_node(f"n{i}", op=draw(st.sampled_from(["add", "mul", "concat"])))
            for slot, t in enumerate(tails):
                graph.add_edge(t, f"n{i}", slot=slot)
            nodes.append((f"n{i}", stride))
            continue
        attributes, factor = draw(st.sampled_from(layers or _LAYERS))(draw, axes, same)
        graph.add_node(f"n{i}", **attributes)
        graph.add_edge(tail, f"n{i}", slot=0)
        nodes.append((f"n{i}", stride * factor))
    return graph


def _same(draw, axes, same):
    stride = draw(st.sampled_from([2, 2, 3]))
    attributes = {
        "op": draw(st.sampled_from(["conv", "max_pool"])),
        "kernel": draw(st.integers(2, 5)),
        "stride": stride,
        "dilation": draw(st.sampled_from([1, 1, 2])),
        "padding": draw(st.sampled_from(["same", "same", "same_lower"])),
    }
    return attributes, Fraction(stride)


def _kept(draw, axes, same):
    """A layer whose map is as large as its input over the stride, rounded up: maps of equal stride may meet."""
    stride = draw(st.sampled_from([1, 1, 1, 2]))
    attributes = {
        "op": draw(st.sampled_from(["conv", "depthwise_conv", "max_pool"])),
        "kernel": per_axis(draw, axes, st.integers(1, 4)),
        "stride": stride,
        "dilation": draw(st.sampled_from([1, 1, 2, 3])),
        "padding": draw(st.sampled_from(["same", "same_lower"])),
    }
    return attributes, Fraction(stride)


def _whole(draw, axes, same):
    """An op that reads whole axes, or some of them; gates are made of such."""
    op = draw(st.sampled_from(["global_avg_pool", "dense", "instance_norm", "softmax", "adaptive_avg_pool"]))
    if op == "adaptive_avg_pool":
        return {"op": op, "size": per_axis(draw, axes, st.sampled_from([1, 1, 2, 5]))}, Fraction(1)
    return {"op": op, "mixes": per_axis(draw, axes, st.booleans())}, Fraction(1)


def _fixed(draw, axes, same):
    """An op whose map does not grow, grows from some size on only, or fits at some sizes only."""
    kind = draw(st.sampled_from(["adaptive_avg_pool", "resize", "slice", "pad", "pool"]))
    if kind == "adaptive_avg_pool":
        return {"op": kind, "size": draw(st.sampled_from([None, 1, 2, 5, 7]))}, Fraction(1)
    if kind == "resize":
        return {"op": kind, "size": draw(st.integers(1, 9))}, Fraction(1)
    if kind == "slice":
        ends = st.one_of(st.none(), st.integers(-6, 6))
        return {"op": kind, "start": draw(ends), "stop": draw(ends), "step": draw(st.integers(1, 3))}, Fraction(1)
    if kind == "pad":
        mode = draw(st.sampled_from(["reflect", "symmetric", "wrap"]))
        return {"op": kind, "padding": [draw(st.lists(st.integers(-3, 6), min_size=2, max_size=2))], "mode": mode}, 1
    stride = draw(st.integers(1, 5))
    padding = [draw(st.lists(st.integers(-1, 3), min_size=2, max_size=2))]
    pool = {"op": "max_pool", "kernel": draw(st.integers(1, 6)), "stride": stride, "padding": padding}
    return {**pool, "ceil_mode": draw(st.booleans())}, Fraction(stride)


def _directed(draw, axes, same):
    """An op that reads all that comes before an output, or all that comes after it."""
    op = draw(st.sampled_from(["recurrent", "attention", "cumsum"]))
    attributes = {"op": op, "direction": draw(st.sampled_from(["forward", "backward"]))}
    attributes["mixes"] = per_axis(draw, axes, st.booleans())
    if op == "cumsum":
        attributes["exclusive"] = draw(st.booleans())
    return attributes, Fraction(1)


def _mixing(draw, axes, same):
    """An op that reads the whole axis, and keeps its map."""
    return {"op": draw(st.sampled_from(["recurrent", "attention"])), "mixes": True}, Fraction(1)


DIRECTED = [_directed, _directed, _conv, _conv_transpose, _resize, _move, _pointwise]
DIRECTED_PLAIN = [_directed, _mixing, _conv, _move, _pointwise]
DIRECTED_REGULAR = [_directed, _directed, _conv, _resize, _move, _pointwise]


def _cut(draw, axes, same):
    """A layer of which its user says that it reads nothing, or everything."""
    return {"op": "conv", "kernel": 3, "treat": draw(st.sampled_from(["cut", "global"]))}, Fraction(1)


def _moved(draw, axes, same):
    """A layer that leaves no holes and moves its centre, whole blocks of a frame at times, or ends where it began."""
    stride = draw(st.sampled_from([1, 1, 1, 2, 3]))
    kernel = stride + draw(st.integers(0, 2))
    pairs = [(0, kernel - 1), (kernel - 1, 0), (-stride, stride), (-kernel, kernel), (1, 0), (0, 0), (1, 1)]
    padding = [list(draw(st.sampled_from(pairs))) for _ in range(axes)]
    return {"op": "conv", "kernel": kernel, "stride": stride, "padding": padding}, Fraction(stride)


CUT = [_cut]
MOVED = [_moved, _moved, _pointwise]
SAME = [_same, _same, _same, *_LAYERS]
REGULAR = [_conv, _conv, _resize, _move, _block, _pointwise]
PLAIN = [_conv, _conv, _move, _pointwise]
SIZED = [_fixed, _same, *_LAYERS]
GATED = [_kept, _kept, _kept, _pointwise, _whole]
UPSAMPLING = [_conv_transpose, _conv_transpose, _resize, _resize, _block, _conv, _moved, _pointwise]
#: Their maps are as large as the input over the stride, rounded up: what differs by residue of the input size may meet.
BY_RESIDUE = [_kept, _kept, _same, _same, _moved, _pointwise, _whole]
UPSAMPLING_GATED = [*UPSAMPLING, *UPSAMPLING, _whole]


@st.composite
def decoders(draw, axes=ONE_OR_TWO, levels=3):
    """A decoder, as U-Nets and feature pyramids have them, whose maps fit at sizes that its strides divide.

    Maps are made smaller level by level and larger again in as many ways as there are, and meet those of the same level
    on the way, shifted at times; some gates read the whole axis. Its input size, or ``None``, is that of ``fitting``.
    """
    axes = draw(axes)
    net = Network(axes=axes)
    factors = [draw(st.sampled_from([2, 2, 2, 3, Fraction(3, 2)])) for _ in range(draw(st.integers(1, levels)))]
    x, skips = net.input("in0"), []
    for level, factor in enumerate(factors):
        x = _kept_in(draw, net, f"down{level}", x, axes)
        skips.append(x)
        x = _shrunk(draw, net, f"shrunk{level}", x, factor)
    x = _kept_in(draw, net, "middle", x, axes)
    for level, factor in reversed(list(enumerate(factors))):
        up = _grown(draw, net, f"grown{level}", x, factor)
        sides = [skips[level], _kept_in(draw, net, f"up{level}", up, axes)]
        if draw(st.integers(0, 3)) == 0:
            sides.append(_kept_in(draw, net, f"lateral{level}", skips[level], axes))
        if draw(st.integers(0, 5)) == 0:
            sides.append(up)
        if draw(st.integers(0, 5)) == 0:
            sides = [net.mul(f"gated{level}", sides[0], net.global_avg_pool(f"gate{level}", sides[1])), *sides[1:]]
        sides = draw(st.permutations(sides))
        x = net.node(draw(st.sampled_from(["add", "concat", "mul"])), f"skip{level}", *sides)
        if draw(st.booleans()):
            x = _kept_in(draw, net, f"out{level}", x, axes)
    return net.graph


@st.composite
def shortcuts(draw, axes=ONE_OR_TWO):
    """Blocks with shortcuts, whose maps fit at all input sizes, while SAME padding decides whether they line up."""
    axes = draw(axes)
    net = Network(axes=axes)
    x = net.input("in0")
    for block in range(draw(st.integers(1, 4))):
        stride = draw(st.sampled_from([1, 2, 2, 3]))
        sides = []
        for side in range(draw(st.integers(2, 3))):
            y = _kept_in(draw, net, f"before{block}{side}", x, axes)
            kernel, fixed = draw(st.integers(1, 5)), draw(st.integers(0, 2)) == 0
            # As many places as SAME padding leaves, ceil(n / stride): where the map and stride - 1 more are slid over.
            before = draw(st.integers(0, kernel - 1))
            padding = [[before, kernel - 1 - before]] * axes if fixed else draw(st.sampled_from(["same", "same_lower"]))
            op = draw(st.sampled_from(["conv", "max_pool"]))
            sides.append(net.node(op, f"shrunk{block}{side}", y, kernel=kernel, stride=stride, padding=padding))
            if draw(st.booleans()):
                sides[-1] = _kept_in(draw, net, f"after{block}{side}", sides[-1], axes)
        if draw(st.integers(0, 4)) == 0:
            sides[0] = net.mul(f"gated{block}", sides[0], net.global_avg_pool(f"gate{block}", sides[1]))
        x = net.node(draw(st.sampled_from(["add", "concat", "mul"])), f"merge{block}", *sides)
    return net.graph


def _kept_in(draw, net, name, x, axes):
    """A few layers that keep the size of a map; some move it, and some read nothing of it at one end."""
    for i in range(draw(st.integers(0, 2))):
        kernel, dilation = draw(st.sampled_from([1, 2, 3, 3, 4])), draw(st.sampled_from([1, 1, 1, 2, 3]))
        total = (kernel - 1) * dilation
        before = [draw(st.sampled_from([total // 2, total // 2, 0, total])) for _ in range(axes)]
        padding = [[first, total - first] for first in before]
        x = net.conv(f"{name}/{i}", x, kernel=kernel, dilation=dilation, padding=padding)
    if draw(st.integers(0, 5)) == 0:
        by = draw(st.integers(-2, 2))
        x = net.pad(f"{name}/moved", x, padding=[[by, -by]] * axes)
    return x


def _shrunk(draw, net, name, x, factor):
    if factor == Fraction(3, 2):
        return net.resize(name, x, scale="2/3", mode=draw(st.sampled_from(["nearest", "linear"])))
    if draw(st.integers(0, 3)) == 0:
        return net.space_to_depth(name, x, block=factor)
    kernel = factor + draw(st.integers(0, 2))
    before = draw(st.integers(0, kernel - factor))
    axes = net.graph.graph["axes"]
    padding = [[before, kernel - factor - before]] * axes
    return net.node(draw(st.sampled_from(["conv", "max_pool"])), name, x, kernel=kernel, stride=factor, padding=padding)


def _grown(draw, net, name, x, factor):
    kind = draw(st.sampled_from(["transposed", "transposed", "resize", "resize", "shuffle"]))
    if factor == Fraction(3, 2) or kind == "resize":
        mode = draw(st.sampled_from(["nearest", "linear", "cubic"]))
        coordinates = draw(st.sampled_from(["half_pixel", "half_pixel", "asymmetric"]))
        return net.resize(name, x, scale=str(factor), mode=mode, coordinates=coordinates)
    if kind == "shuffle":
        return net.depth_to_space(name, x, block=factor)
    kernel, dilation = draw(st.integers(1, 5)), draw(st.sampled_from([1, 1, 1, 2, 3]))
    crop = (kernel - 1) * dilation + 1 - factor
    before = draw(st.integers(0, max(crop, 0)))
    padding = [[before, max(crop, 0) - before]] * net.graph.graph["axes"]
    more = max(-crop, 0)
    return net.conv_transpose(
        name, x, kernel=kernel, stride=factor, dilation=dilation, padding=padding, output_padding=more
    )


#: The input sizes at which the maps of any ``decoders`` fit.
fitting = st.integers(1, 3).map(lambda times: 216 * times)


def sized(draw, graph, low=4, high=11):
    """Give each input of ``graph`` a size, and return its report."""
    for _, attributes in graph.nodes(data=True):
        if attributes["op"] == "input":
            attributes["size"] = [draw(st.integers(low, high)) for _ in range(graph.graph["axes"])]
    note(nx.node_link_data(graph, edges="edges"))
    try:
        return rfgraph.analyze(graph, source="in0")
    except rfgraph.RFGraphError:
        assume(False)


def readable(report):
    """The nodes of which regions can be asked."""
    nodes = []
    for node in report:
        try:
            report.regions(node)
        except rfgraph.RFGraphError:
            continue
        nodes.append(node)
    return nodes


@st.composite
def shifted_paths(draw):
    """Merges of branches that each move the map to some side, and so read nothing at other borders than the others."""
    axes = draw(st.integers(2, 3))
    net = Network(axes=axes)
    last = net.input("in0", size=[draw(st.integers(2, 5)) for _ in range(axes)])
    for stage in range(draw(st.integers(1, 2))):
        branches = []
        for i in range(draw(st.integers(2, 4))):
            shifts = [draw(st.integers(-2, 2)) for _ in range(axes)]
            branch = net.pad(f"shift{stage}{i}", last, padding=[[shift, -shift] for shift in shifts])
            kernel = [draw(st.sampled_from([1, 1, 2, 3])) for _ in range(axes)]
            dilation = draw(st.integers(1, 2))
            branches.append(net.conv(f"conv{stage}{i}", branch, kernel=kernel, dilation=dilation, padding="same"))
        last = net.add(f"add{stage}", *branches)
    return net.graph
