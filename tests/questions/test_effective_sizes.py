"""Mean and spread of every node's gradient: closed forms, and laws."""

from __future__ import annotations

from math import isclose, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rfgraph
from rfgraph import Network
from rfgraph.errors import AttributeValueError, UnknownNodeError


def chain(kernels: list[int], strides: list[int] | None = None, dilations: list[int] | None = None) -> Network:
    net = Network("chain", axes=1)
    x = net.input("x")
    for i, kernel in enumerate(kernels):
        stride = 1 if strides is None else strides[i]
        dilation = 1 if dilations is None else dilations[i]
        x = net.conv(f"conv{i}", x, kernel=kernel, stride=stride, dilation=dilation)
    return net


def last_std(net: Network, **assumed: object) -> float:
    *_, size = rfgraph.analyze(net).effective_sizes(**assumed).values()
    assert size.std is not None
    return size.std[0]


@pytest.mark.parametrize(
    ("layers", "kernel", "std"), [(20, 3, 3.6515), (10, 5, 4.4721), (1, 3, sqrt(2 / 3)), (7, 1, 0)]
)
def test_the_variance_of_a_chain_is_n_times_that_of_a_layer(layers: int, kernel: int, std: float) -> None:
    found = last_std(chain([kernel] * layers))
    assert found == pytest.approx(sqrt(layers * (kernel**2 - 1) / 12), abs=1e-12)
    assert found == pytest.approx(std, abs=5e-5)


@given(st.lists(st.tuples(st.integers(1, 7), st.integers(1, 3), st.integers(1, 4)), min_size=1, max_size=8))
def test_stride_and_dilation_scale_the_spread_of_a_layer(layers: list[tuple[int, int, int]]) -> None:
    kernels, strides, dilations = map(list, zip(*layers, strict=True))
    variance, jump = 0.0, 1
    for kernel, stride, dilation in layers:
        variance += (jump * dilation) ** 2 * (kernel**2 - 1) / 12
        jump *= stride
    net = chain(kernels, strides, dilations)
    assert isclose(last_std(net) ** 2, variance, rel_tol=1e-12, abs_tol=1e-12)
    assert isclose(last_std(net, weights="uniform"), last_std(net), rel_tol=1e-12, abs_tol=1e-12)
    (report_size,) = rfgraph.analyze(net)[f"conv{len(layers) - 1}"].size
    assert isclose(2 * last_std(net, weights="corners"), sqrt(sum(jumps(layers))), rel_tol=1e-12, abs_tol=1e-12)
    assert report_size == 1 + sum(sqrt(square) for square in jumps(layers))


def jumps(layers: list[tuple[int, int, int]]) -> list[int]:
    """Return how far apart the first and last tap of each layer lie, squared."""
    squares, jump = [], 1
    for kernel, stride, dilation in layers:
        squares.append((jump * dilation * (kernel - 1)) ** 2)
        jump *= stride
    return squares


def test_dilations_that_double() -> None:
    assert last_std(chain([3] * 6, dilations=[1, 2, 4, 8, 16, 32])) == pytest.approx(30.1662, abs=5e-5)


def blocks(count: int) -> Network:
    """Return a conv and ``count`` residual blocks of two convs."""
    net = Network("residual", axes=1)
    x = net.conv("stem", net.input("x"), kernel=3, padding=1)
    for i in range(count):
        inner = net.conv(f"b{i}", net.conv(f"a{i}", x, kernel=3, padding=1), kernel=3, padding=1)
        x = net.add(f"add{i}", x, inner)
    return net


def test_a_residual_block_is_felt_half() -> None:
    size = rfgraph.analyze(blocks(8)).effective_sizes()["add7"]
    assert size.status == "exact"
    assert size.mass == 2**8
    assert size.std[0] == pytest.approx(sqrt(2 / 3 + 8 * 2 * (2 / 3) / 2), abs=1e-12)
    assert size.std[0] == pytest.approx(2.4495, abs=5e-5)


def test_a_skip_that_is_left_out_leaves_the_chain() -> None:
    assert last_std(blocks(8), skip=0) == pytest.approx(last_std(chain([3] * 17)), abs=1e-12)
    # A skip of weight s is taken with probability s / (1 + s).
    assert last_std(blocks(8), skip=3) ** 2 == pytest.approx(2 / 3 + 8 * 2 * (2 / 3) / 4, abs=1e-12)


def test_the_field_grows_like_the_root_of_depth_and_its_share_shrinks_so() -> None:
    depths = np.array([10, 20, 40, 80, 160])
    stds = np.array([last_std(chain([3] * depth)) for depth in depths])
    slope = np.polyfit(np.log(depths), np.log(stds), 1)[0]
    assert slope == pytest.approx(0.5, abs=1e-9)
    shares = stds / (2 * depths + 1)
    assert np.polyfit(np.log(depths), np.log(shares), 1)[0] == pytest.approx(-0.5, abs=0.02)


def test_a_mass_larger_than_any_float_does_not_spoil_the_spread() -> None:
    size = rfgraph.analyze(blocks(2000)).effective_sizes()["add1999"]
    assert size.mass == float("inf")
    assert size.std[0] ** 2 == pytest.approx(2 / 3 + 2000 * (2 / 3), rel=1e-9)


def test_a_mass_smaller_than_any_float_does_not_spoil_the_spread() -> None:
    net = Network("gated", axes=1)
    x = net.input("x")
    for i in range(1200):
        x = net.relu(f"relu{i}", x)
    net.add("add", x, net.conv("conv", x, kernel=3, padding=1))
    size = rfgraph.analyze(net).effective_sizes()["add"]
    assert 0 < size.mass < 1e-300
    assert (size.mean, size.std[0] ** 2) == ((0.0,), pytest.approx((2 / 3) / 2))


def test_a_stride_larger_than_any_float_is_told() -> None:
    net = Network("strided", axes=1)
    x = net.input("x")
    for i in range(21):
        x = net.conv(f"conv{i}", x, kernel=3, stride=10**15)
    net.conv("last", x, kernel=3)
    net.conv("beside", "x", kernel=3, stride=10**20)
    sizes = rfgraph.analyze(net).effective_sizes()
    assert sizes["conv20"].status == "exact"
    assert sizes["last"].why == "node 'last' (conv): the stride of what it reads is larger than any float"
    assert sizes["beside"].why == "node 'beside' (conv), axis t: its stride is larger than what is followed"


def test_a_relu_halves_the_mean_square_and_leaves_the_shape_of_a_chain() -> None:
    net = Network("gated", axes=1)
    x = net.relu("relu", net.conv("first", net.input("x"), kernel=3))
    net.conv("last", x, kernel=3)
    report = rfgraph.analyze(net)
    size = report.effective_sizes()["last"]
    assert (size.mass, size.status) == (0.5, "exact")
    assert report.effective_sizes(gate=0.25)["last"].mass == 0.25
    assert report.effective_sizes(gate={"re*": 0.1})["last"].mass == pytest.approx(0.1)
    assert report.effective_sizes("uniform")["last"].mass == 1
    assert report.effective_sizes(gate={"first": 3})["last"].mass == pytest.approx(3 * 0.5)


def test_a_gate_beside_a_merge_is_a_model() -> None:
    net = Network("gated", axes=1)
    x = net.conv("first", net.input("x"), kernel=3, padding=1)
    net.add("add", x, net.conv("last", net.relu("relu", x), kernel=3, padding=1))
    size = rfgraph.analyze(net).effective_sizes()["add"]
    assert size.status == "approximate"
    assert "gates are taken as independent" in size.why


@pytest.mark.parametrize(
    ("build", "why"),
    [
        (lambda net, x: net.max_pool("p", x, kernel=3), "pick each of its taps"),
        (lambda net, x: net.gelu("g", x), "same derivative everywhere"),
        (lambda net, x: net.mul("m", x, net.sigmoid("s", net.global_avg_pool("pool", x))), "same derivative"),
        (
            lambda net, x: net.add(
                "a",
                x,
                net.global_avg_pool("pool", x),
            ),
            "that path is left out",
        ),
        (lambda net, x: net.resize("r", x, scale=2, mode="gaussian"), "taken to be all the same"),
        (lambda net, x: net.avg_pool("p2", net.avg_pool("p1", x, kernel=3, stride=1), kernel=3, stride=1), "mix"),
        (lambda net, x: net.add("a", x, net.avg_pool("p", x, kernel=3, stride=1, padding=1)), "part again"),
    ],
)
def test_what_is_no_more_than_a_model_says_so(build, why: str) -> None:
    net = Network("model", axes=1)
    last = build(net, net.conv("c", net.input("x", size=32), kernel=3, padding=1))
    size = rfgraph.analyze(net).effective_sizes()[last]
    assert size.status == "approximate"
    assert why in size.why


def test_two_fixed_ops_without_overlap_are_exact() -> None:
    net = Network("pools", axes=1)
    x = net.avg_pool("p2", net.avg_pool("p1", net.input("x"), kernel=3), kernel=2)
    size = rfgraph.analyze(net).effective_sizes()[x]
    assert size.status == "exact"
    assert size.mass == pytest.approx(1 / 6)
    assert size.std[0] ** 2 == pytest.approx((6**2 - 1) / 12)


def test_paths_that_drift_apart_are_not_known() -> None:
    net = Network("drift", axes=1)
    x = net.input("x")
    net.add("a", net.conv("c", x, kernel=3, stride=2), net.conv("d", x, kernel=3))
    size = rfgraph.analyze(net).effective_sizes()["a"]
    assert (size.status, size.mass, size.mean, size.std, size.phases) == ("unknown", None, None, None, (0,))
    assert "drift apart" in size.why


def test_a_long_kernel_is_not_listed() -> None:
    size = rfgraph.analyze(chain([1 << 40])).effective_sizes()["conv0"]
    assert size.status == "unknown"
    assert "too many taps" in size.why


def test_each_phase_of_a_transposed_conv() -> None:
    net = Network("up", axes=1)
    up = net.conv_transpose("up", net.input("x"), kernel=3, stride=2)
    size = rfgraph.analyze(net).effective_sizes()[up]
    # Output 0 reads inputs -1 and 0 through taps 2 and 0, output 1 input 0 through tap 1.
    assert size.masses.tolist() == pytest.approx([4 / 3, 2 / 3])
    assert size.means.tolist() == [pytest.approx([-0.5, 0])]
    assert size.stds.tolist() == [pytest.approx([0.5, 0])]


def test_the_phases_of_all_axes_meet_at_once() -> None:
    """Where a branch is felt less at one phase of y, it counts less along x too."""
    net = Network("phases", axes=2)
    x = net.input("x")
    wide = net.conv("wide", x, kernel=(1, 5), padding=(0, 2))
    up = net.conv_transpose("up", wide, kernel=(3, 1), stride=(2, 1), padding=(1, 0), output_padding=(1, 0))
    plain = net.depth_to_space("plain", x, block=(2, 1))
    net.add("add", up, plain)
    size = rfgraph.analyze(net).effective_sizes()["add"]
    # Rows of even y: mass 2/3 over 5 columns and 1 over one; of odd y: 4/3 and 1.
    assert size.masses[:, 0].tolist() == pytest.approx([5 / 3, 7 / 3])
    assert (size.stds[1, :, 0] ** 2).tolist() == pytest.approx([2 * 2 / 5, 2 * 4 / 7])


@pytest.mark.parametrize(
    ("assumed", "error", "match"),
    [
        ({"weights": "gauss"}, AttributeValueError, "weights 'gauss' is not one of random, uniform, corners"),
        ({"weights": {"conv0": "gauss"}}, AttributeValueError, "'gauss'"),
        ({"weights": {"conv0": [1, 2]}}, AttributeValueError, r"shape \[2\] do not fit its kernel \[3\]"),
        ({"weights": {"conv0": [1, 2, float("nan")]}}, AttributeValueError, "not finite"),
        ({"weights": {"cnov0": "random"}}, UnknownNodeError, "near: conv0"),
        ({"gate": -1}, AttributeValueError, "gate -1 is not a number from 0 up"),
        ({"gate": {"relu9": 1}}, UnknownNodeError, "gate pattern 'relu9' fits no node"),
        ({"skip": -2}, AttributeValueError, "skip -2"),
    ],
)
def test_assumptions_that_make_no_sense(assumed, error, match) -> None:
    with pytest.raises(error, match=match):
        rfgraph.analyze(chain([3, 3])).effective_sizes(**assumed)


def test_taps_that_are_given() -> None:
    sizes = rfgraph.analyze(chain([3, 3])).effective_sizes({"conv0": [1, 0, 3]})
    assert sizes["conv0"].mean == (1.5,)
    assert sizes["conv0"].mass == 4
    assert sizes["conv1"].mean == (2.5,)
    outside = rfgraph.analyze(chain([5])).effective_sizes("outside-large")["conv0"]
    # Taps weigh 5, 3, 1, 3, 5 parts of 17.
    assert outside.std[0] ** 2 == pytest.approx((2 * 5 * 4 + 2 * 3) / 17)
    assert outside.mass == pytest.approx(1)


@settings(max_examples=25)
@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 3))
def test_the_diagonal_by_hand(kernel: int, stride: int, shift: int) -> None:
    """A conv above a transposed one, summed tap by tap."""
    net = Network("both", axes=1)
    up = net.conv_transpose("up", net.input("x"), kernel=kernel, stride=stride)
    net.conv("down", up, kernel=3, padding=shift)
    size = rfgraph.analyze(net).effective_sizes()["down"]
    for y in range(size.phases[0]):
        terms = [
            ((z - t) // stride, (stride / kernel) / 3)
            for z in range(y - shift, y - shift + 3)
            for t in range(kernel)
            if (z - t) % stride == 0
        ]
        mass = sum(weight for _, weight in terms)
        assert size.masses[y] == pytest.approx(mass, abs=1e-12)
        if terms:
            mean = sum(position * weight for position, weight in terms) / mass
            variance = sum((position - mean) ** 2 * weight for position, weight in terms) / mass
            assert size.means[0, y] == pytest.approx(mean, abs=1e-9)
            assert size.stds[0, y] ** 2 == pytest.approx(variance, abs=1e-9)
