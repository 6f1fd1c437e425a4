"""Maps of no positions: a slice may take nothing where its parts are put together again, and nothing else may.

The oracle has a list of sets for every map: which inputs each position reads.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, assume, given, note, settings
from hypothesis import strategies as st

import rfgraph
from rfgraph import Network
from rfgraph.errors import SizeError

ENDS = st.one_of(st.none(), st.integers(-5, 5))


class RefusedError(Exception):
    """A map that no op takes."""


def _slice(x, *, start=None, stop=None, step=1, turned=False):
    if turned and x:
        start, stop = (end if end is None else end % len(x) for end in (start, stop))
    return x[start:stop:step]


def _conv(x, *, kernel, stride, padding, empty=False):
    padded = [set()] * padding[0][0] + x + [set()] * padding[0][1]
    if not (x or empty) or (x and len(padded) < kernel):
        raise RefusedError
    return [set().union(*padded[i : i + kernel]) for i in range(0, len(padded) - kernel + 1, stride)]


def _rounded(x, *, kernel, stride, padding, rounded):
    padded = [set()] * padding[0][0] + x + [set()] * padding[0][1]
    outputs = int((len(padded) - kernel) / stride) + 1
    if not x or outputs < 0:
        raise RefusedError
    return [set().union(*padded[i * stride :][:kernel]) for i in range(outputs)]


def _pad(x, *, padding, mode="constant"):
    before, after = padding[0]
    if len(x) < max(-before, 0) + max(-after, 0) or (mode == "edge" and not len(x) + before + after > 0 < len(x)):
        raise RefusedError
    first, last = (x[0], x[-1]) if mode == "edge" else (set(), set())
    return [first if i < 0 else last if i >= len(x) else x[i] for i in range(-before, len(x) + after)]


def _add(*maps):
    sizes = {len(x) for x in maps} - {1}
    if len(sizes) > 1:
        raise RefusedError
    size = sizes.pop() if sizes else 1
    return [set().union(*(x[y if len(x) > 1 else 0] for x in maps)) for y in range(size)]


def _stack(*maps):
    if len({len(x) for x in maps}) > 1:
        raise RefusedError
    return [set().union(*parts) for parts in zip(*maps, strict=True)]


def _pool(x, *, empty=False):
    if not (x or empty):
        raise RefusedError
    return [set().union(*x)]


MAKES = {
    "slice": _slice, "conv": _conv, "pad": _pad, "relu": lambda x: x, "add": _add, "global_avg_pool": _pool,
    "dense": lambda x: [set().union(*x)], "attention": lambda x: [set().union(*x) for _ in x], "max_pool": _rounded,
    "join": lambda *maps: [part for x in maps for part in x], "stack": _stack,
}  # fmt: skip


@st.composite
def cut_networks(draw):
    """The steps of a network of slices, most of them put together again: name, op, tails, attributes."""
    steps = []
    for i in range(draw(st.integers(2, 7))):
        names = ["x", *(step[0] for step in steps)]
        op = draw(st.sampled_from(("slice", "roll", "slice", "conv", "max_pool", "join", *MAKES)))
        tails = [draw(st.sampled_from(names[-3:]))]
        attributes = {}
        if op == "slice":
            attributes = {"start": draw(ENDS), "stop": draw(ENDS), "step": draw(st.integers(1, 2))}
        elif op == "roll":
            shift = draw(st.integers(-4, 4).filter(bool))
            turned = draw(st.booleans())
            steps += [
                (f"end{i}", "slice", tails, {"start": -shift, "turned": turned}),
                (f"begin{i}", "slice", tails, {"stop": -shift, "turned": turned}),
            ]
            op, tails = "join", [f"end{i}", f"begin{i}"]
        elif op in ("conv", "max_pool"):
            pads = draw(st.lists(st.integers(0, 2), min_size=2, max_size=2))
            attributes = {"kernel": draw(st.integers(1, 4)), "stride": draw(st.integers(1, 3)), "padding": [pads]}
            attributes |= {"empty": draw(st.booleans())} if op == "conv" else {"rounded": True}
        elif op == "pad":
            pads = draw(st.lists(st.integers(-2, 2), min_size=2, max_size=2))
            attributes = {"padding": [pads], "mode": draw(st.sampled_from(["constant", "edge"]))}
        elif op in ("add", "join", "stack"):
            tails = [*tails, *draw(st.lists(st.sampled_from(names), min_size=1, max_size=2))]
        elif op == "global_avg_pool":
            attributes = {"empty": draw(st.booleans())}
        steps.append((f"n{i}", op, tails, attributes))
    return steps


def _network(steps):
    net = Network(axes=1)
    net.input("x")
    for name, op, tails, attributes in steps:
        along = {"join": {"axis": 0}}.get(op, {})
        net.node({"join": "concat", "stack": "concat"}.get(op, op), name, *tails, **attributes, **along)
    return net


def _read_at(steps, n):
    """Return what every position of every map reads, ``None`` where the network does not work."""
    maps = {"x": [{i} for i in range(n)]}
    try:
        for name, op, tails, attributes in steps:
            maps[name] = MAKES[op](*(maps[tail] for tail in tails), **attributes)
    except RefusedError:
        return None
    read = {tail for _, _, tails, _ in steps for tail in tails}
    return maps if all(maps[name] for name in maps if name not in read) else None


@settings(suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow], deadline=None)
@given(cut_networks())
def test_sizes_and_what_is_read_where_maps_are_empty(steps):
    note(steps)
    graph = _network(steps).graph
    tried = range(1, 24)
    told = {n: _read_at(steps, n) for n in tried}
    try:
        (sizes,) = rfgraph.analyze(graph).input_sizes
    except SizeError:  # maps of a fixed size do not fit, whatever the input
        assert not any(told.values())
        return
    assume(sizes is not None)
    assert [n for n in tried if n in sizes] == [n for n in tried if told[n] is not None]
    for n, maps in told.items():
        if maps is None:
            with pytest.raises(SizeError):
                rfgraph.analyze(graph, n)
        elif n < 9:
            report = rfgraph.analyze(graph, n)
            for name, positions in maps.items():
                assert report[name].map_size == (len(positions),)
                ends = [(min(read), max(read)) if read else None for read in positions]
                boxes = [report.region(name, y).box for y in range(len(positions))]
                assert [box and box[0] for box in boxes] == ends


def test_what_may_leave_nothing_of_a_map_does_not_take_nothing():
    net = Network(axes=1)
    x = net.input("x")
    pool = net.max_pool("pool", net.slice("cut", x, start=3), kernel=3, stride=2, padding=1, rounded=True)
    net.concat("both", pool, x, axis=0)
    assert str(rfgraph.analyze(net).input_sizes[0]) == "any size from 4"
    with pytest.raises(SizeError, match=r"node 'cut' \(slice\), axis t: the slice 3:None:1 takes nothing of 3"):
        rfgraph.analyze(net, 3)


def test_a_roll_works_at_every_size():
    net = Network(axes=1)
    one = net.input("x")
    net.slice("whole", net.slice("one", one, stop=1), start=1, turned=True)
    assert rfgraph.analyze(net, 4).region("whole", 0).box == ((0, 0),)  # as many turns as there are positions
    net = Network(axes=1)
    x = net.input("x")
    for shift in (3, -5):
        parts = [net.slice(f"{end}{shift}", x, turned=True, **{end: -shift}) for end in ("start", "stop")]
        net.concat(f"rolled{shift}", *parts, axis=0)
    report = rfgraph.analyze(net)
    assert str(report.input_sizes[0]) == "any size from 1"
    for n in range(1, 9):
        sized = rfgraph.analyze(net, n)
        for shift in (3, -5):
            assert [sized.region(f"rolled{shift}", y).box for y in range(n)] == [
                (((y - shift) % n, (y - shift) % n),) for y in range(n)
            ]


def test_a_map_that_nothing_is_left_of_is_refused_by_its_name():
    net = Network(axes=1)
    x = net.input("x")
    net.concat("both", net.relu("relu", net.slice("cut", x, start=4)), net.crop("less", x, padding=[[-2, 0]]), axis=0)
    net.conv("conv", "relu", kernel=1)
    assert str(rfgraph.analyze(net).input_sizes[0]) == "any size from 5"
    with pytest.raises(SizeError, match=r"node 'cut' \(slice\), axis t: the slice 4:None:1 takes nothing of 3"):
        rfgraph.analyze(net, 3)
    net.graph.remove_node("conv")
    assert rfgraph.analyze(net, 3)["both"].map_size == (1,)
    with pytest.raises(SizeError, match=r"node 'cut' \(slice\), axis t: the slice 4:None:1 takes nothing of 2"):
        rfgraph.analyze(net, 2)
    with pytest.raises(SizeError, match=r"node 'less' \(crop\), axis t: its map would have size -1 \('x' gives 1\)"):
        rfgraph.analyze(net, 1)
