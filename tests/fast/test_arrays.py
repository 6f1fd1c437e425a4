"""Networks as arrays: the compiled loops held against the forward pass on the same network as a graph."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from strategies import PLAIN, REGULAR, networks

import rfgraph
from rfgraph import Window, fast
from rfgraph.errors import AttributeValueError, CycleError, GraphError, MissingExtraError
from rfgraph.fast import arrays
from rfgraph.fast.arrays import solve_arrays
from rfgraph.passes import fields as engine
from rfgraph.passes.compiled import compile_graph

pytest.importorskip("numba")
nearby = pytest.importorskip("rfgraph.fast.renumbering")


def as_arrays(compiled, order=None, integers=np.int64):
    """Return a network as arrays, with node ``order[i]`` called ``i``."""
    layers = compiled.layers
    order = list(range(len(layers.nodes))) if order is None else order
    called = {v: i for i, v in enumerate(order)}
    starts, tails, ops, windows = [0], [], [], []
    for v in order:
        tails += [called[tail] for tail in layers.tails[v]]
        starts.append(len(tails))
        row = [reads[v][0] if reads[v] else Window(1) for reads in compiled.reads]
        if row not in windows:
            windows.append(row)
        ops.append(windows.index(row))
    return [np.array(column, integers) for column in (starts, tails, ops)] + [windows]


def check_fields(compiled, got, order, source):
    """Hold fields, and which merges disagree, against the forward pass; as far as it knows them itself."""
    for axis in range(len(compiled.reads)):
        want = engine.forward(compiled, axis, source)
        for i, v in enumerate(order):
            if want.local[v].is_unknown:
                assert i in got.drifting
            elif i not in got.drifting:  # on another axis branches may drift
                assert got.window(i, axis) == want.local[v]
                if got.phases == 1 and want.local[v].is_local:
                    numbers = (got.size[i, axis], got.stride[i, axis], got.padding[i, axis])
                    assert numbers == (want.local[v].size, want.local[v].stride, want.local[v].padding)
    disagreeing = []
    for i, v in enumerate(order):
        sides = set()
        for axis, reads in enumerate(compiled.reads):
            local = engine.forward(compiled, axis, source).local
            tails = compiled.layers.tails[v]
            windows = [read.through(local[t]) for t, read in zip(tails, reads[v], strict=True) if local[t].is_local]
            sides.add(len({_centers(window, got.phases) for window in windows}) > 1)
        if True in sides and i not in got.drifting:
            disagreeing.append(i)
    assert got.misaligned.tolist() == disagreeing


def _centers(window, phases):
    return tuple(sum(window.interval(y)) for y in range(phases))


@pytest.fixture(params=[False, True], ids=["near", "far"])
def far(request, monkeypatch):
    """Whether ids out of order are all taken to be far from each other."""
    if request.param:
        monkeypatch.setattr(nearby, "FAR", -1)


@pytest.mark.parametrize("how", ["compiled", "far", "python"])
@given(
    networks(axes=st.integers(1, 3), layers=REGULAR, drift=True, most=10),
    st.randoms(),
    st.sampled_from([np.int32, np.int64]),
)
def test_fields_are_those_of_the_forward_pass(how, graph, random, integers):
    compiled, exactly = compile_graph(graph), how == "python"
    assume(all(reads.regular for axis in compiled.reads for slots in axis for reads in slots))
    order = list(range(len(compiled.layers.nodes)))
    for shuffled in (False, True):
        if shuffled:
            random.shuffle(order)
        source = order.index(compiled.layers.inputs[0])
        given_arrays = as_arrays(compiled, order, integers)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(nearby, "FAR", -1 if how == "far" else nearby.FAR)
            got = arrays._exactly(*given_arrays, source, 1) if exactly else solve_arrays(*given_arrays, source=source)
        assert got.first.dtype == (object if exactly else np.int32)
        check_fields(compiled, got, order, order[source])


@given(networks(layers=PLAIN, inputs=st.just(1), most=12))
def test_a_plain_network_has_the_numbers_of_its_report(graph):
    report = rfgraph.analyze(graph)
    got = solve_arrays(*as_arrays(compile_graph(graph)))
    want = report.numbers()
    for name in ("size", "stride", "padding"):
        np.testing.assert_array_equal(getattr(got, name), getattr(want, name))


CONV, ADD = [Window(3, 1, 1)], [Window(1)]


def solve(starts, tails, ops, windows=(CONV, ADD), source=0):
    return solve_arrays(np.array(starts), np.array(tails, int), np.array(ops), windows, source)


def test_numbers_that_are_too_large_for_64_bits_are_exact():
    deep = 80
    fields = solve([0, 0, *range(1, deep + 1)], range(deep), [0] * (deep + 1), [[Window(3, 2)]])
    assert fields.first.dtype == object
    assert fields.step[-1, 0] == 2**deep
    assert fields.size[-1, 0] == 1 + sum(2 * 2**k for k in range(deep))
    fields = solve([0, 0, *range(1, 51)], range(50), [0] * 51, [[Window(3, 2)]])
    assert fields.first.dtype == np.int64
    assert fields.size[-1, 0] == 1 + sum(2 * 2**k for k in range(50))
    far = solve([0, 0, 1], [0], [0, 0], [[Window(3, 1, 2**60)]])
    assert (far.first.dtype, far.first[1, 0, 0]) == (object, -(2**60))
    assert solve([0, 0, 1], [0], [0, 0], [[Window(3, 1, 2**40)]]).padding[1, 0] == 2**40
    assert solve([0, 0, 1], [0], [0, 0], [[Window(3, 2)]]).first.dtype == np.int32


def test_upsampling_takes_as_many_phases_as_it_needs():
    up = [Window.periodic(((0, 0), (0, 0)), step=1)]
    fields = solve([0, 0, 1, 2, 3], [0, 1, 2], [0, 0, 0, 1], [up, [Window(3, 1, 1)]])
    assert fields.phases == 4
    assert fields.window(3, 0) == Window(3, 1, 1).through(up[0].through(up[0]))
    with pytest.raises(AttributeValueError, match="fractions"):
        _ = fields.stride
    with pytest.raises(AttributeValueError, match="more than the 65536 output phases"):
        solve([0, 0, *range(1, 21)], range(20), [0] * 21, [up])


def test_phases_multiply_though_strides_cancel():
    """Stride 3 and two upsamplings by 3: 9 phases, though three outputs always step a whole number of inputs."""
    up = [Window.periodic(((0, 0), (0, 0), (0, 0)), step=1)]
    fields = solve([0, 0, 1, 2, 3], [0, 1, 2], [0, 0, 1, 1], [[Window(1, 3)], up])
    assert fields.phases == 9
    assert fields.window(3, 0) == up[0].through(up[0].through(Window(1, 3)))


def test_a_deep_network_in_any_order_needs_no_recursion():
    nodes = 200_000
    starts, tails = np.append(np.arange(nodes), nodes - 1), np.arange(1, nodes)  # each reads the next one
    fields = solve_arrays(starts, tails, np.zeros(nodes, int), [CONV], source=nodes - 1)
    assert fields.size[0, 0] == 2 * (nodes - 1) + 1


@pytest.mark.parametrize(("widest", "mapped"), [(3, True), (3, False), (3000, True)])
def test_scattered_ids_change_nothing(widest, mapped, monkeypatch):
    """Many blocks, of which some merges read more nodes than a walker is given at a time, and nodes that read none."""
    draw = np.random.default_rng(0)
    rows = [[]]
    while len(rows) < 100_000:
        block = len(rows) - 1
        reads = [block] if draw.random() < 0.99 else []
        branches = range(len(rows), len(rows) + int(draw.integers(1, widest)))
        rows += [reads for _ in branches] + [list(branches)]
    nodes = len(rows)
    starts, tails = np.cumsum([0, *map(len, rows)]), np.array([tail for row in rows for tail in row])
    ops = draw.integers(0, 2, nodes)
    windows = [[Window(1), Window(1)], [Window(3, 1, 1), Window(2)]]
    want = solve_arrays(starts, tails, ops, windows)
    names = draw.permutation(nodes)
    of_name = np.argsort(names)
    moved = [names[rows[v]].tolist() if rows[v] else [] for v in of_name]
    if not mapped:  # as on Windows
        monkeypatch.delattr("mmap.MAP_PRIVATE")
    brought = []
    bring_near = nearby.bring_near
    monkeypatch.setattr(nearby, "bring_near", lambda *given: brought.append(bring_near(*given)) or brought[-1])
    scattered = (
        np.cumsum([0, *map(len, moved)]),
        np.array([tail for row in moved for tail in row], np.int32),
        ops[of_name],
    )
    got = solve_arrays(*scattered, windows, source=int(names[0]))
    for name in ("first", "last", "step", "state"):
        np.testing.assert_array_equal(getattr(got, name), getattr(want, name)[of_name])
    (((near, *_), old),) = brought  # ids were made anew, once, and each node has one
    assert len(near) == len(old) <= nodes + nearby.WALKERS * nearby.SHARE
    np.testing.assert_array_equal(np.sort(old[old >= 0]), np.arange(nodes))


def test_what_is_wrong_with_scattered_ids_is_said_of_them(far):
    with pytest.raises(CycleError, match=r"node [13] reads itself"):
        solve([0, 0, 1, 2, 3], [3, 0, 1], [0, 0, 0, 0])
    with pytest.raises(GraphError, match="node 2: its inputs, or its op 7, are out of range"):
        solve([0, 0, 1, 2], [2, 0], [0, 0, 7])
    for tails in ([2, 0, 9], [2, 0, -1], [2, 0, 2**32]):
        with pytest.raises(GraphError, match="node 3: its inputs, or its op 0, are out of range"):
            solve([0, 0, 1, 2, 3], tails, [0, 0, 0, 0])
    with pytest.raises(GraphError, match="node 2: its inputs, or its op 4294967296, are out of range"):
        solve([0, 0, 1, 2], [2, 0], [0, 0, 2**32])
    with pytest.raises(GraphError, match="node 3: its inputs, or its op 1, are out of range"):
        solve([0, 0, 1, 2, 4], [2, 0, 1, 9], [0, 0, 0, 1])
    with pytest.raises(GraphError, match="node 2: its inputs, or its op 0, are out of range"):
        solve([0, 0, 1, 0, 1], [2], [0, 0, 0, 0])
    deep = 80  # numbers beyond 64 bits, and ids from the last to the first
    fields = solve([*range(deep + 1), deep], range(1, deep + 1), [0] * (deep + 1), [[Window(3, 2)]], deep)
    assert fields.step[0, 0] == 2**deep


def test_nodes_without_a_path_from_the_source_have_no_field():
    fields = solve([0, 0, 0, 1, 3], [1, 0, 2], [1, 1, 0, 1])
    assert fields.known.tolist() == [True, False, False, True]
    assert fields.size[:, 0].tolist() == [1, 0, 0, 1]
    assert fields.window(2, 0).is_empty
    assert len(fields.misaligned) == 0


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([0, 0, 1], [2], [0, 0]), GraphError, "node 1: its inputs, or its op 0, are out of range"),
        (([0, 0, 1], [-1], [0, 0]), GraphError, "node 1: its inputs, or its op 0, are out of range"),
        (([0, 0, 1], [0], [0, 7]), GraphError, "its op 7, are out of range"),
        (([0, 0, 1], [0], [0, -1]), GraphError, "its op -1, are out of range"),
        (([0, 3, 1], [0], [0, 0]), GraphError, "node 0: its inputs"),
        (([0, 1], [0], [0, 0]), GraphError, "do not fit 2 nodes and 1 edges"),
        (([0, 0, 2], [0], [0, 0]), GraphError, "do not fit 2 nodes and 1 edges"),
        (([0, 0, 1, 2], [2, 1], [0, 0, 0]), CycleError, "reads itself by way of others"),
        (([0, 0, 1], [0], [0, 0], [[Window(3)], []]), AttributeValueError, r"windows have \[0, 1\] axes"),
        (([0, 0, 1], [0], [0, 0], [[rfgraph.FULL]]), AttributeValueError, "op 0, axis 0: FULL goes backward"),
        (([0, 0, 1], [0], [0, 0], [CONV], 2), GraphError, "source 2 is not one of 2 nodes"),
        (([0.0, 0.0, 1.0], [0], [0, 0]), GraphError, "starts is float64 of shape"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        solve(*arguments)


def test_without_numba_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.delitem(sys.modules, "rfgraph.fast.kernels", raising=False)
    monkeypatch.delattr(fast, "kernels", raising=False)
    with pytest.raises(MissingExtraError, match=r"pip install 'rfgraph\[fast\]'"):
        solve([0, 0, 1], [0], [0, 0])


def test_numba_is_not_imported_for_a_graph():
    code = "import sys, rfgraph; rfgraph.analyze('zoo:resnet_v1_50').aligned; assert 'numba' not in sys.modules"
    import subprocess

    subprocess.run([sys.executable, "-c", code], check=True)
