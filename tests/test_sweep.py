"""Sweeps: every design is what ``rfgraph.analyze`` says of it, however it was found, kept and stored."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import PLAIN, REGULAR, SAME, networks

import rfgraph
from rfgraph.errors import FieldError, SizeError
from rfgraph.sweeps import STATUS, sweep

#: Attribute -> values that a choice may give it.
VALUES = {
    "kernel": st.integers(1, 5),
    "stride": st.integers(1, 3),
    "dilation": st.integers(1, 3),
    "padding": st.one_of(st.integers(-1, 3), st.sampled_from(["same", "same_lower", "valid"])),
    "scale": st.sampled_from([2, 3, 0.5, "3/2"]),
    "block": st.integers(1, 3),
    "start": st.integers(0, 3),
    "step": st.integers(1, 3),
    "ceil_mode": st.booleans(),
    "op": st.sampled_from(["relu", "batch_norm"]),
    "channels": st.integers(1, 6),
    "size": st.integers(8, 40),
}
_TAKES = {
    "conv": ("kernel", "stride", "dilation", "padding", "channels"),
    "max_pool": ("kernel", "stride", "dilation", "padding", "ceil_mode"),
    "avg_pool": ("kernel", "stride", "dilation", "padding", "ceil_mode"),
    "conv_transpose": ("kernel", "stride", "dilation", "channels"),
    "resize": ("scale",),
    "slice": ("start", "step"),
    "pad": (),
    "crop": (),
    "relu": ("op",),
    "batch_norm": ("op",),
    "depth_to_space": ("block",),
    "space_to_depth": ("block",),
    "input": ("size", "channels"),
}


@st.composite
def spaces(draw, graph, most=24):
    """Choices of a graph: a few attributes of a few nodes, with at most ``most`` designs."""
    places = [
        f"{node}.{attribute}" for node, data in graph.nodes(data=True) for attribute in _TAKES.get(data["op"], ())
    ]
    if not places:
        return {}
    keys = draw(st.lists(st.sampled_from(places), min_size=1, max_size=4, unique=True))
    choices, total = {}, 1
    for key in keys:
        room = max(most // total, 1)
        attribute = key.rpartition(".")[2]
        values = st.lists(VALUES[attribute], min_size=1, max_size=min(room, 4))
        choices[key] = draw(values)
        total *= len(choices[key])
    return choices


def number(layer, name, axis):
    """What a sweep has for one number of a layer along one axis."""
    only = replace(layer, axes=layer.axes[axis : axis + 1], field=layer.field[axis : axis + 1],
                   by_size=layer.by_size[axis : axis + 1])  # fmt: skip
    try:
        return getattr(only, name)[0]
    except FieldError:
        return 0


def check_row(found, row, **options):
    """Hold one design of a sweep against an analysis of its network."""
    graph = found.graph(row)
    try:
        report = rfgraph.analyze(graph, **options)
    except SizeError:
        assert {STATUS[s] for s in found["status"][row]} == {"fails"}
        assert found["aligned"][row] == -1
        assert not found["r"][row].any()
        assert (found["parameters"][row], found["macs"][row]) == (-1, -1)
        return
    assert "fails" not in {STATUS[s] for s in found["status"][row]}
    assert found["aligned"][row] == (-1 if report.aligned is None else report.aligned)
    for k, node in enumerate(found.nodes):
        layer = report[node]
        for axis in range(len(found.axes)):
            for name, attribute in (("r", "size"), ("S", "stride"), ("P", "padding")):
                assert found[name][row, k, axis] == number(layer, attribute, axis), (name, node, axis)
            assert found["map_size"][row, k, axis] == (layer.map_size[axis] or 0)
            assert found["is_global"][row, k, axis] == layer.is_global[axis]
        if not any(field.is_empty for field in layer.field):
            assert STATUS[found["status"][row, k]] in (layer.status, "by size")
    costs = report.costs
    fits = all(costs[node].fits for node in costs)
    for name, total in (("parameters", costs.parameters), ("macs", costs.macs)):
        assert found[name][row] == (total.count if fits and total.complete else -1)


def check_sweep(graph, choices, **options):
    """Hold every design of a sweep against its analysis."""
    found = sweep(graph, choices, nodes=list(graph), **options)
    assert found["position"].tolist() == list(range(found.total))
    for row in range(found.total):
        check_row(found, row, **options)
    return found


def analysable(graph, **options):
    try:
        rfgraph.analyze(graph, **options)
    except rfgraph.RFGraphError:
        return False
    return True


def with_channels(draw, graph):
    """Give channels to inputs and kernels, so that costs are known."""
    for _, data in graph.nodes(data=True):
        if data["op"] in ("input", "conv", "conv_transpose"):
            data["channels"] = draw(st.sampled_from([2, 4]))


@pytest.mark.parametrize("layers", [PLAIN, REGULAR, None, SAME], ids=["plain", "regular", "any", "same"])
@given(data=st.data())
@settings(max_examples=60)
def test_every_design_is_what_its_analysis_says(layers, data):
    graph = data.draw(networks(layers=layers, same=True, drift=data.draw(st.booleans()), inputs=st.just(1)))
    if data.draw(st.booleans()):
        with_channels(data.draw, graph)
    choices = data.draw(spaces(graph))
    options = {
        "input_size": data.draw(st.one_of(st.none(), st.integers(20, 60))),
        "alignment": data.draw(st.sampled_from(["auto", "auto", "center", "causal"])),
    }
    try:
        check_sweep(graph, choices, **options)
    except SizeError:
        for values in product(*choices.values()):
            for key, value in zip(choices, values, strict=True):
                node, _, attribute = key.rpartition(".")
                graph.nodes[node][attribute] = value
            with pytest.raises(SizeError):
                rfgraph.analyze(graph, **options)
