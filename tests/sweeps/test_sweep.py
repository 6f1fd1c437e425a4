"""Sweeps: every design is what ``rfgraph.analyze`` says of it, however it was found, kept and stored."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from itertools import product
from unittest import mock

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import PLAIN, REGULAR, SAME, networks

import rfgraph
from benchmarks import sweeps
from rfgraph.cli import main
from rfgraph.errors import ExpressionError, FieldError, SizeError, SweepError
from rfgraph.sweeps import STATUS, search, sweep
from rfgraph.sweeps import tape as compiled
from rfgraph.sweeps.columns import COLUMNS
from rfgraph.sweeps.designs import Choice, Designs, _key, _permuted

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
            # That of r, S and P: what is read on to an end of the axis is not among the columns.
            states = {field.status for field in layer.field}
            worst = next(status for status in ("unknown", "bound", "exact") if status in states)
            assert STATUS[found["status"][row, k]] in (worst, "by size")
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
@settings(max_examples=100)
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


# Choices


def residual(kernels=3, name="residual"):
    """Three residual blocks over one axis, with channels."""
    net = rfgraph.Network(name, axes=1)
    x = net.conv("stem", net.input("x", channels=3), kernel=3, padding="same", channels=8)
    for block in range(3):
        y = net.conv(f"block{block}.conv", x, kernel=kernels, padding="same", channels=8)
        x = net.add(f"block{block}.add", y, x)
    return net.graph


def test_a_pattern_sets_its_nodes_together_and_each_sets_them_apart():
    together = sweep(residual(), {"block*.conv.kernel": [3, 5, 7]})
    assert together["r"].ravel().tolist() == [3 + 3 * (k - 1) for k in (3, 5, 7)]
    apart = sweep(residual(), each={"block*.conv.kernel": [3, 5, 7]})
    assert apart["r"].ravel().tolist() == [sum(k) for k in product((3, 5, 7), repeat=3)]
    assert apart.choices == tuple(f"block{block}.conv.kernel" for block in range(3))
    assert apart.options(5) == {"block0.conv.kernel": 3, "block1.conv.kernel": 5, "block2.conv.kernel": 7}


def test_a_tuple_of_keys_is_set_together():
    choices = {("block*.conv.kernel", "block*.conv.padding"): [(3, 1), (2, 1)], "stem.kernel": [1, 3]}
    found = sweep(residual(), choices, alignment="center")
    assert found["r"].ravel().tolist() == [7, 4, 9, 6]
    assert found["aligned"].tolist() == [1, 0, 1, 0]
    assert found.options(1) == {"stem.kernel": 1, "block*.conv.kernel": 2, "block*.conv.padding": 1}
    assert sweep(residual(), choices)["aligned"].tolist() == [1, 1, 1, 1]  # causal from their forks
    each = sweep(residual(), each={("block*.kernel", "block*.padding"): [(3, 1), (5, 2)]})
    assert each["r"].ravel().tolist() == [3 + sum(k - 1 for k in kernels) for kernels in product((3, 5), repeat=3)]
    assert set(each["aligned"].tolist()) == {1}


def test_a_list_of_designs_may_say_what_others_leave_alone():
    designs = [{"stem.kernel": 5}, {"block0.conv.kernel": 7, "stem.kernel": 1}, {}]
    found = sweep(residual(), designs)
    assert found["r"].ravel().tolist() == [11, 11, 9]
    assert [found.options(row) for row in range(3)] == designs
    assert found.graph(2).nodes["stem"]["kernel"] == 3


def test_a_pattern_leaves_alone_what_does_not_take_the_attribute():
    found = sweep(residual(), {"block0*.kernel": [3, 5]})  # the add takes no kernel
    assert found["r"].ravel().tolist() == [9, 11]


def test_nothing_to_choose_is_one_design():
    assert sweep(residual())["r"].tolist() == [[[9]]]


@pytest.mark.parametrize(
    ("choices", "options", "error", "message"),
    [
        ({"conv9.kernel": [3]}, {}, rfgraph.RFGraphError, "'conv9.kernel' fits no node"),
        ({"block*.add.kernel": [3]}, {}, rfgraph.RFGraphError, "none of the nodes that fit .* takes kernel"),
        ({"kernel": [3]}, {}, rfgraph.RFGraphError, "'kernel' is no key; write node.attribute"),
        ({"stem.kernel": 3}, {}, rfgraph.RFGraphError, r"values of 'stem.kernel' are 3; give a list"),
        ({"stem.kernel": []}, {}, rfgraph.RFGraphError, "give a list of at least one"),
        ({"stem.kernel": [0]}, {}, rfgraph.RFGraphError, r"node 'stem' \(conv\), axis t: kernel 0 is not a positive"),
        ({"stem.kernl": [3]}, {}, rfgraph.RFGraphError, r"attribute 'kernl' is not one of conv \(near: kernel\)"),
        ({"stem.kernel": [3], "st*.kernel": [5]}, {}, rfgraph.RFGraphError, "both set kernel of 'stem'"),
        ({("stem.kernel", "stem.padding"): [3]}, {}, rfgraph.RFGraphError, "3 does not give a value to each of"),
        ([{"stem.kernel": 3}, 5], {}, rfgraph.RFGraphError, "entry 1 of the list of designs is 5"),
        ([{}], {}, rfgraph.RFGraphError, "the list of designs sets nothing"),
        ({"stem.channels": ["many"]}, {}, rfgraph.RFGraphError, r"node 'stem' \(conv\): channels 'many'"),
        ({"stem.op": ["add"]}, {}, rfgraph.RFGraphError, "attribute 'kernel' is not one of add"),
        ({}, {"sample": -1}, rfgraph.RFGraphError, "sample -1 is not a number"),
        ({}, {"chunk": 0}, rfgraph.RFGraphError, "chunk 0 is not a number of designs from 1"),
        ({}, {"best": 0}, rfgraph.RFGraphError, "best=0 does not say how many"),
        ({}, {"alignment": "middle"}, rfgraph.RFGraphError, "alignment 'middle' is not one of auto"),
        ({}, {"nodes": ["nowhere"]}, rfgraph.RFGraphError, "no node 'nowhere'"),
        (
            {},
            {"best": "macs"},
            SweepError,
            "macs of the designs are not known, .*'stem'.* input size",
        ),
    ],
)
def test_what_cannot_be_swept_is_refused(choices, options, error, message):
    with pytest.raises(error, match=message):
        sweep(residual(), choices, **options)


def test_keys_set_together_for_each_must_fit_the_same_nodes():
    with pytest.raises(rfgraph.RFGraphError, match="but 'stem' fits one of them only"):
        sweep(residual(), each={("*conv.kernel", "*[cs]*.padding"): [(3, 1)]})


def test_more_designs_than_can_be_numbered_need_a_sample():
    net = rfgraph.Network(axes=1)
    x = net.input("x")
    for layer in range(60):
        x = net.conv(f"conv{layer}", x, kernel=3)
    with pytest.raises(SweepError, match="too many to go through; draw some of them with sample="):
        sweep(net, each={"conv*.kernel": [1, 3, 5]})
    found = sweep(net, each={"conv*.kernel": [1, 3, 5]}, sample=500)
    assert found.total == 3**60
    assert len({tuple(found.options(row).values()) for row in range(500)}) == 500
    for row in (0, 499):
        check_row(found, row)
    assert abs(found["r"].mean() - (60 * 2 + 1)) < 3  # kernels are 3 on average


def test_samples_are_distinct_repeatable_and_do_not_depend_on_chunks():
    choices = {"block*.conv.kernel": [1, 3, 5, 7]}
    one, two, other = (
        sweep(residual(), each=choices, sample=40, seed=seed, chunk=chunk) for seed, chunk in ((1, 7), (1, 64), (2, 64))
    )
    picked = [[tuple(found.options(row).values()) for row in range(40)] for found in (one, two, other)]
    assert picked[0] == picked[1] != picked[2]
    assert len(set(picked[0])) == 40
    assert one["r"].tolist() == two["r"].tolist()
    for row in range(40):
        check_row(one, row)
    assert sweep(residual(), each=choices, sample=64)["position"].tolist() == list(range(64))


@given(st.lists(st.integers(1, 5), max_size=6), st.integers(1, 50))
def test_blocks_hold_every_design_once_and_no_more_than_asked(radices, size):
    choices = tuple(Choice((str(c),), ((("x",), str(c)),), [(o,) for o in range(n)]) for c, n in enumerate(radices))
    designs = Designs(nx.DiGraph(), choices)
    seen = []
    blocks = designs.blocks(size)
    for index in range(len(blocks)):
        block = blocks[index]
        assert len(block) <= size
        assert block.start == len(seen)
        digits = [np.broadcast_to(digit, block.shape).ravel() for digit in block.digits]
        seen += list(zip(*digits, strict=True)) if digits else [()]
    assert seen == list(product(*map(range, radices)))
    assert [tuple(designs.digits(position)) for position in range(len(designs))] == seen


@given(st.integers(1, 3000), st.integers(0, 5))
@settings(max_examples=30)
def test_a_sample_of_all_numbers_is_a_permutation_of_them(total, seed):
    drawn = _permuted(np.arange(total, dtype=np.uint64), total, _key(seed))
    assert sorted(drawn.tolist()) == list(range(total))


# What is kept


def test_the_cheapest_aligned_network_that_sees_enough_is_one_call():
    every = sweep(residual(), each={"*conv.kernel": [2, 3, 5, 7]}, input_size=64)
    fits = [
        (every["macs"][row], row)
        for row in range(len(every["r"]))
        if every["r"][row, 0, 0] >= 13 and every["aligned"][row] == 1
    ]
    best = sweep(residual(), each={"*conv.kernel": [2, 3, 5, 7]}, input_size=64, where="r >= 13 and aligned", best=5)
    assert best["position"].tolist() == [row for _, row in sorted(fits)[:5]]
    assert best["macs"].tolist() == [int(macs) for macs, _ in sorted(fits)[:5]]
    assert (best.counts.seen, best.counts.kept) == (64, len(fits))
    by_size = sweep(residual(), each={"*conv.kernel": [2, 3, 5]}, best=("parameters - 100 * r", 3), chunk=4)
    order = sorted(range(27), key=lambda row: (3 * 8 * 3 + sum(64 * k for k in _kernels(row)) - 100 * _r(row), row))
    assert by_size["position"].tolist() == order[:3]


def _kernels(row):
    return [(2, 3, 5)[row // 9], (2, 3, 5)[row // 3 % 3], (2, 3, 5)[row % 3]]


def _r(row):
    return 3 + sum(k - 1 for k in _kernels(row))


@pytest.mark.parametrize(
    ("where", "test"),
    [
        ("r >= 13", lambda d: min(d["r"]) >= 13),
        ("r[0] < 9 or r['x'] > 12", lambda d: d["r"][0] < 9 or d["r"][1] > 12),
        ("not r < 11", lambda d: not all(r < 11 for r in d["r"])),
        ("9 <= r['y'] < 13 and aligned", lambda d: 9 <= d["r"][0] < 13 and d["aligned"]),
        ("not aligned", lambda d: not d["aligned"]),
        ("aligned == (r[0] == 9)", lambda d: d["aligned"] == (d["r"][0] == 9)),
        ("r[0] % 4 == 1 and r[1] // 2 != 5", lambda d: d["r"][0] % 4 == 1 and d["r"][1] // 2 != 5),
        ("-P[0] + 2 * r['add', 0] / S > 4.5", lambda d: -d["P"][0] + 2 * d["r"][0] / d["S"][0] > 4.5),
        ("parameters < 2000", lambda d: d["parameters"] < 2000),
        ("macs / parameters >= 1024 and works", lambda d: d["macs"] / d["parameters"] >= 1024),
        ("map_size == 32 and not is_global", lambda d: True),
        ("True", lambda d: True),
    ],
)
def test_conditions_hold_where_they_say(where, test):
    net = rfgraph.Network("plane", axes=2)
    x = net.input("image", channels=2)
    y = net.conv("a", x, kernel=3, padding="same", channels=8)
    net.add("add", net.conv("b", y, kernel=3, padding="same", channels=8), y)
    choices = {"a.kernel": [3, [5, 7], 4], "b.kernel": [3, 5, [6, 7], 9]}
    every = sweep(net, choices, input_size=32)
    wanted = []
    for row in range(12):
        design = {name: every[name][row].ravel().tolist() for name in ("r", "S", "P")}
        design |= {name: int(every[name][row]) for name in ("parameters", "macs")}
        if test(design | {"aligned": every["aligned"][row] == 1}):
            wanted.append(row)
    assert sweep(net, choices, input_size=32, where=where)["position"].tolist() == wanted


@pytest.mark.parametrize("few", [0, 1 << 10])
@pytest.mark.parametrize("shared", [1, 1 << 20])
@pytest.mark.parametrize(
    ("asked", "keeps", "cost"),
    [
        ({"where": "r >= 13 and aligned"}, lambda d, i: d["r"][i].min() >= 13 and d["aligned"][i] == 1, None),
        ({"where": "P > 2"}, lambda d, i: d["P"][i].min() > 2, None),
        ({"where": "works"}, lambda d, i: True, None),
        ({"where": "macs < 0"}, lambda d, i: False, None),
        ({"best": ("macs", 3)}, lambda d, i: True, lambda d, i: d["macs"][i]),
        ({"where": "map_size >= 31", "best": ("macs - r[0]", 4)}, lambda d, i: d["map_size"][i].min() >= 31,
         lambda d, i: d["macs"][i] - d["r"][i, 0, 0]),
        ({"where": "S == 1 and not is_global", "best": ("P[0]", 2)}, lambda d, i: True, lambda d, i: d["P"][i, 0, 0]),
    ],
)  # fmt: skip
def test_what_decides_is_worked_out_first_and_all_the_rest_of_what_is_kept(
    monkeypatch, few, shared, asked, keeps, cost
):
    monkeypatch.setattr(search, "FEW", few)
    monkeypatch.setattr(search, "SHARED", shared)
    every = sweep(residual(), each={"*conv.kernel": [2, 3, 5]}, input_size=32)
    kept = [i for i in range(len(every["position"])) if keeps(every, i)]
    if cost is not None:
        kept = sorted(kept, key=lambda i: (cost(every, i), i))[: asked["best"][1]]
    found = sweep(residual(), each={"*conv.kernel": [2, 3, 5]}, input_size=32, **asked)
    for name in COLUMNS:
        assert found[name].tolist() == every[name][kept].tolist(), name


def test_what_is_not_known_does_not_fit_nor_does_its_contrary():
    net = rfgraph.Network("drift", axes=1)
    x = net.input("x")
    net.add("add", net.conv("a", x, kernel=3, stride=2), net.conv("b", x, kernel=3))
    choices = {"b.stride": [1, 2]}
    every = sweep(net, choices)
    assert [STATUS[s] for s in every["status"][:, 0]] == ["unknown", "exact"]
    assert every["aligned"].tolist() == [0, 1]
    for where, kept in (("r > 2", [1]), ("not r > 2", []), ("r < 2 or aligned", [1]), ("r < 2 or not aligned", [0])):
        assert sweep(net, choices, where=where)["position"].tolist() == kept


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("r >", "cannot be read: "),
        ("r", "is a number, not a condition; compare it"),
        ("r and aligned", "takes 'r' for a condition"),
        ("size > 3", "names 'size', which is none of r, S, P"),
        ("r[2] > 3", r"has r\[2\], which is no axis"),
        ("r['nowhere'] > 3", r"has r\['nowhere'\], which is no axis"),
        ("macs[0] > 3", "gives macs an index"),
        ("aligned > 3", "compares a condition"),
        ("aligned + 3 > 3", "takes 'aligned' for a number"),
        ("r > 'a'", "has \"'a'\" in it, which is none of"),
        ("r ** 9 > 3", r"has 'r \*\* 9' in it"),
        ("__import__('os').system('x')", "in it, which is none of"),
        ("r.__class__ == 1", "in it, which is none of"),
        ("(lambda: r)() > 1", "in it, which is none of"),
        ("r in [1]", "has .* in it, which is none of"),
        ("r > " + "-" * 300 + "1", "it has more than 200 parts"),
        ("r > " + "(" * 5000 + "1" + ")" * 5000, "cannot be read|too long"),
        ("r > 9" + "9" * 50, "in it, which is none of"),
    ],
)
def test_conditions_that_are_none_are_refused(where, message):
    with pytest.raises(ExpressionError, match=message):
        sweep(residual(), {"stem.kernel": [3]}, where=where)


def test_costs_to_sort_by_must_be_one_number_a_design():
    net = rfgraph.Network(axes=2)
    net.conv("c", net.input("x"), kernel=3)
    with pytest.raises(ExpressionError, match="has 2 numbers per design, one per axis and node; pick one"):
        sweep(net, best="r")
    with pytest.raises(ExpressionError, match="is a condition, not a number to sort by"):
        sweep(net, best="aligned")
    assert sweep(net, {"c.kernel": [5, 3]}, best="-r[0]")["position"].tolist() == [0, 1]


# Exactness


def test_numbers_beyond_64_bits_are_exact():
    net = rfgraph.Network("deep", axes=1)
    x = net.input("x")
    for layer in range(70):
        x = net.conv(f"conv{layer}", x, kernel=3, stride=2)
    found = sweep(net, {"conv*.stride": [1, 2], "conv9.kernel": [1, 3]})
    assert found["S"].ravel().tolist() == [1, 1, 2**70, 2**70]
    for row in range(4):
        check_row(found, row)
    assert found.counts.alone == 2  # only those that need it
    kept = sweep(net, {"conv*.stride": [1, 2]}, where="r > 10000 and r / S < 3")
    assert kept["position"].tolist() == [1]


def test_costs_beyond_64_bits_are_exact():
    net = rfgraph.Network("wide", axes=2)
    x = net.input("image", channels=1 << 20)
    net.conv("c", x, kernel=1 << 10, padding="same", channels=1 << 20)
    found = sweep(net, {"c.channels": [1, 1 << 20]}, input_size=1 << 12)
    assert found["macs"].tolist() == [1 << 64, 1 << 84]
    assert found["parameters"].tolist() == [1 << 40, 1 << 60]
    assert sweep(net, {"c.channels": [1, 1 << 20]}, input_size=1 << 12, best="-macs")["position"].tolist() == [1, 0]


def test_networks_that_upsample_have_fractions_and_phases():
    def unet():
        net = rfgraph.Network("unet", axes=2)
        x = net.conv("enc", net.input("image", channels=1), kernel=3, padding=1, channels=4)
        y = net.conv("mid", net.max_pool("down", x, kernel=2), kernel=3, padding=1, channels=4)
        z = net.concat("cat", net.resize("up", y, scale=2), x)
        net.conv("dec", z, kernel=3, padding=1, channels=4)
        return net.graph

    choices = {("mid.kernel", "mid.padding"): [(3, 1), (5, 2)], "up.mode": ["nearest", "linear"], "dec.kernel": [3, 5]}
    found = check_sweep(unet(), choices, input_size=32)
    assert found.vectorised
    assert found.counts.alone == 0
    up = sweep(unet(), {"down.stride": [2, 4]}, nodes=["up"])
    assert up["S"][:, 0, 0].tolist() == [1, 2]
    half = sweep(unet(), {"up.scale": [2, 4]}, nodes=["up"])
    assert half["S"][:, 0, 0].tolist() == [1, Fraction(1, 2)]


def test_fields_that_go_backward_are_left_to_the_engine():
    net = rfgraph.Network("backward", axes=1)
    x = net.conv_transpose("up", net.input("x"), kernel=3, stride=2, dilation=3)
    net.conv("c", net.conv("d", x, kernel=2), kernel=3, stride=2)
    found = check_sweep(net.graph, {"up.dilation": [1, 3, 5], "d.kernel": [1, 2, 4], "c.kernel": [2, 3]})
    assert found.vectorised
    assert 0 < found.counts.alone < found.counts.seen


def test_what_has_no_tables_is_analysed_design_by_design_and_says_so():
    net = rfgraph.Network("same", axes=1)
    net.conv("c2", net.conv("c1", net.input("x"), kernel=3, stride=2, padding="same"), kernel=3)
    choices = {"c1.kernel": [3, 4], "c2.kernel": [1, 3]}
    found = check_sweep(net.graph, choices)
    assert not found.vectorised
    assert found.counts.alone == 4
    assert "node 'c1' (conv), axis t: padding 'same' with stride 2 depends on the input size" in found.why_not
    assert {STATUS[s] for s in found["status"].ravel()} == {"exact", "by size"}
    sized = check_sweep(net.graph, choices, input_size=31)
    assert sized.vectorised
    assert sized.counts.alone == 0


@pytest.mark.parametrize("name", ["resnet_v1_50", "inception_v2", "mobilenet_v1", "densenet_121"])
def test_published_networks_are_swept_as_they_are(name):
    graph = rfgraph.load(f"zoo:{name}")
    first = next(node for node, data in graph.nodes(data=True) if data["op"].endswith("conv"))
    found = sweep(graph, {f"{first}.kernel": [5, 7], f"{first}.channels": [32, 64]}, input_size=224)
    assert found.vectorised
    for row in range(4):
        check_row(found, row, input_size=224)


@pytest.mark.parametrize("mode", ["constant", "reflect", "symmetric", "wrap"])
def test_designs_whose_maps_are_too_small_to_be_mirrored_do_not_work(mode):
    net = rfgraph.Network(axes=1)
    x = net.conv("shrinks", net.input("image", size=12), kernel=3, padding=1)
    net.conv("end", net.pad("mirrored", x, padding=4, mode=mode), kernel=3)
    check_sweep(net.graph, {"shrinks.stride": [1, 2, 3, 4], "mirrored.padding": [1, 4]})


def test_ops_can_be_chosen_and_so_can_treatments():
    net = rfgraph.Network("ops", axes=1)
    x = net.conv("c", net.input("x", channels=4), kernel=3, channels=4)
    net.max_pool("p", net.depthwise_conv("d", x, kernel=3, channels=4), kernel=2, stride=2)
    choices = {"p.op": ["max_pool", "avg_pool"], "d.op": ["conv", "depthwise_conv"], "c.treat": ["identity", "global"]}
    found = check_sweep(net.graph, choices, input_size=32)
    assert len(set(found["parameters"].tolist())) > 1


def test_costs_that_a_node_states_follow_its_attributes_where_they_can():
    net = rfgraph.Network("stated", axes=1)
    x = net.conv("c", net.input("x", channels=4, size=10), kernel=3, channels=4, parameters=48, macs=384)
    x = net.prelu("p", x, parameters=4, macs=0)
    graph = net.graph
    graph.graph["parameters"] = 60  # eight are read by no layer
    assert rfgraph.analyze(graph).parameters.count == 60
    found = sweep(graph, {"c.kernel": [3, 5]})
    assert found["macs"].tolist() == [384, 480]
    assert found["parameters"].tolist() == [-1, -1]  # those of prelu may have changed with what comes before it
    assert found.costs_unknown == {"parameters": ("p",)}
    assert sweep(graph, {"p.label": ["a"]})["macs"].tolist() == [384]


# Compiled code


@pytest.mark.parametrize("layers", [PLAIN, REGULAR], ids=["plain", "regular"])
@given(data=st.data())
@settings(max_examples=40)
def test_compiled_code_finds_the_same_to_the_bit(layers, data):
    pytest.importorskip("numba")
    graph = data.draw(networks(layers=layers, drift=data.draw(st.booleans()), inputs=st.just(1)))
    options = {
        "sample": data.draw(st.integers(2, 40)),
        "nodes": list(graph),
        "alignment": data.draw(st.sampled_from(["auto", "center", "causal"])),
        "input_size": data.draw(st.sampled_from([None, 60])),
    }
    choices = data.draw(spaces(graph, most=200))
    found = []
    for enough in (0, 1 << 62):
        with mock.patch.object(compiled, "ENOUGH", enough):
            try:
                found.append(sweep(graph, choices, **options))
            except SizeError:
                return
    assert not found[1]._search.tapes
    for name in COLUMNS:
        assert np.array_equal(found[0][name], found[1][name]), name


def test_compiled_code_is_used_where_it_knows_enough_and_only_for_large_samples(monkeypatch):
    pytest.importorskip("numba")
    monkeypatch.setattr(compiled, "ENOUGH", 50)
    every = sweep(residual(), each={"*conv.kernel": [1, 2, 3, 4, 5, 7]})
    drawn = sweep(residual(), each={"*conv.kernel": [1, 2, 3, 4, 5, 7]}, sample=150)
    assert all(drawn._search.tapes)
    assert not every._search.tapes  # arrays that broadcast do better
    rows = {tuple(every.options(row).values()): row for row in range(216)}
    for row in range(150):
        other = rows[tuple(drawn.options(row).values())]
        for name in ("r", "S", "P", "aligned", "parameters"):
            assert drawn[name][row] == every[name][other]
    assert {0, 1} == set(drawn["aligned"].tolist())
    same = residual()
    same.nodes["stem"]["stride"] = 2
    sized = sweep(same, each={"*.kernel": [3, 4]}, sample=12, input_size=64)
    assert sized.vectorised
    assert sized._search.tapes == (None,)  # its padding depends on the design


@pytest.mark.parametrize("alignment", ["auto", "center", "causal"])
def test_compiled_code_tells_causal_from_misaligned(monkeypatch, alignment):
    pytest.importorskip("numba")
    net = rfgraph.Network("causal", axes=1)
    x = net.conv("stem", net.input("x"), kernel=3)
    for block in range(3):
        y = net.conv(f"conv{block}", x, kernel=3)
        x = net.add(f"add{block}", net.conv(f"side{block}", x, kernel=1), y, x)
    each = {("*.kernel", "*.padding"): [(1, 0), (2, [[1, 0]]), (3, 1), (3, [[2, 0]]), (3, 0)]}
    found = []
    for enough in (0, 1 << 62):
        monkeypatch.setattr(compiled, "ENOUGH", enough)
        found.append(sweep(net, each=each, sample=5000, alignment=alignment))
    assert all(found[0]._search.tapes)
    assert found[0]["aligned"].tolist() == found[1]["aligned"].tolist()
    assert set(found[0]["aligned"].tolist()) == {0, 1}


def test_small_sweeps_import_neither_numba_nor_joblib():
    code = (
        "import sys, rfgraph; assert 'numpy' not in sys.modules; net = rfgraph.Network(axes=1); "
        "net.conv('c', net.input('x'), kernel=3); "
        "rfgraph.sweep(net, {'c.kernel': [1, 3]}); assert not {'numba', 'joblib', 'rich'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# The command


def run_cli(capsys, *arguments):
    code = main(["sweep", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "residual.json"
    path.write_text(json.dumps(nx.node_link_data(residual(), edges="edges")))
    return path


def test_the_command_finds_the_cheapest_aligned_network_that_sees_enough(capsys, model):
    arguments = (model, "--each", "*conv.kernel=2,3,5,7", "--where", "r >= 13 and aligned", "--best", "macs")
    code, out, err = run_cli(capsys, *arguments, "--keep", 2, "--input-size", 64)
    assert (code, err) == (0, "")
    every = sweep(residual(), each={"*conv.kernel": [2, 3, 5, 7]}, input_size=64, where="r >= 13 and aligned", best=2)
    assert f"residual: {every.counts.kept} of 64 designs looked at fit" in out
    rows = [line.split() for line in out.splitlines() if line.strip() and line.split()[0].isdigit()]
    assert [int(row[0]) for row in rows] == every["position"].tolist()
    assert [int(row[-1].replace(",", "")) for row in rows] == every["macs"].tolist()
    code, out, _ = run_cli(capsys, *arguments, "--keep", 2, "--input-size", 64, "--format", "json")
    said = json.loads(out)
    assert [design["macs"] for design in said["designs"]] == every["macs"].tolist()
    assert [design["options"] for design in said["designs"]] == [every.options(0), every.options(1)]
    assert said["designs"][0]["nodes"]["block2.add"]["size"] == every["r"][0, 0].tolist()
    assert said["counts"] == {"seen": 64, "kept": every.counts.kept, "alone": 0, "fail": 0}


def test_the_command_shows_a_few_designs_and_writes_all(capsys, model, tmp_path):
    arguments = (model, "--each", "*conv.kernel=1,3,5")
    _, out, _ = run_cli(capsys, *arguments)
    assert "the first 20 of 27 are shown" in out
    assert "macs are not known" in out
    _, out, _ = run_cli(capsys, *arguments, "--format", "csv")
    lines = [line.split(",") for line in out.splitlines()]
    assert lines[0][:6] == ["design", *(f"block{b}.conv.kernel" for b in range(3)), "node", "r_t"]
    assert len(lines) == 28
    assert [int(line[5]) for line in lines[1:]] == sweep(residual(), each={"*conv.kernel": [1, 3, 5]})[
        "r"
    ].ravel().tolist()
    folder = tmp_path / "run"
    _, first, _ = run_cli(capsys, *arguments, "--to", folder)
    assert f"all are in {folder}" in first
    assert (folder / "manifest.json").exists()
    assert run_cli(capsys, *arguments, "--to", folder)[1] == first
    code, _, err = run_cli(capsys, *arguments, "--to", folder, "--where", "r > 3")
    assert code == 2
    assert "holds another sweep" in err


def test_the_command_reads_choices_from_text_and_files(capsys, model, tmp_path):
    code, out, _ = run_cli(
        capsys, model, "--set", "block*.kernel & block*.padding = 3&1, 4&same", "--set", "stem.kernel=[3, 5]",
        "--node", "stem", "--node", "block2.add", "--alignment", "center", "--format", "json",
    )  # fmt: skip
    assert code == 0
    designs = json.loads(out)["designs"]
    assert [design["nodes"]["block2.add"]["size"] for design in designs] == [[9], [12], [11], [14]]
    assert [design["aligned"] for design in designs] == [True, False] * 2
    path = tmp_path / "designs.json"
    path.write_text('[{"stem.kernel": 5}, {"block0.conv.kernel": 7}]')
    _, out, _ = run_cli(capsys, model, "--designs", path, "--format", "json")
    assert [design["options"] for design in json.loads(out)["designs"]] == json.loads(path.read_text())
    path.write_text('{"block*.kernel & block*.padding": [[3, 1], [5, 2]]}')
    _, out, _ = run_cli(capsys, model, "--designs", path, "--format", "json")
    assert [design["nodes"]["block2.add"]["size"] for design in json.loads(out)["designs"]] == [[9], [15]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--set", "kernel"), "'kernel' is no choice; write PATTERN.ATTRIBUTE=VALUE,VALUE"),
        (("--set", "stem.kernel=[3"), "its values are no JSON list"),
        (("--set", "stem.kernel=3&5"), "has values set together for one key"),
        (("--set", "stem.kernel=3", "--set", "stem.kernel=5"), "this key has values already"),
        (("--designs", "LIST", "--set", "stem.kernel=5"), "is a list of designs, which leaves nothing to combine"),
        (("--designs", "TEXT"), "is no JSON file of designs"),
        (("--designs", "NUMBER"), "holds neither a list of designs nor a mapping"),
        (("--keep", "3"), "give --best too"),
        (("--where", "r"), "is a number, not a condition"),
        (("--set", "stem.kernel=x"), "kernel 'x' is not a positive integer"),
    ],
)
def test_the_command_refuses_what_it_cannot_read(capsys, model, tmp_path, arguments, message):
    for name, text in (("LIST", "[{}]"), ("TEXT", "stem.kernel"), ("NUMBER", "7")):
        (tmp_path / name).write_text(text)
    arguments = [str(tmp_path / a) if a in ("LIST", "TEXT", "NUMBER") else a for a in arguments]
    code, out, err = run_cli(capsys, model, *arguments)
    assert (code, out) == (2, "")
    assert message in err


def test_progress_is_shown_on_a_terminal_only(capsys, monkeypatch):
    sweep(residual(), each={"*conv.kernel": [1, 3]})
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    sweep(residual(), each={"*conv.kernel": [1, 3]}, progress=False)
    assert capsys.readouterr().err == ""
    sweep(residual(), each={"*conv.kernel": [1, 3]})
    out, err = capsys.readouterr()
    assert out == ""
    assert "designs" in err
    assert "8/8" in err


def test_the_benchmark_of_sweeps_has_a_row_for_each_way(capsys):
    rows = sweeps.measure(1, work=10_000)
    assert [row.work for row in rows][:2] == ["pure Python: analyze each", "grid, numpy"]
    assert all(row.rates[0] > 0 for row in rows)
    table = sweeps.markdown(rows)
    assert table.count("\n") == len(rows) + 1
