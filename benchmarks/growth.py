"""How cost grows with a network: blocks of a ResNet, depth of a U-Net, width of an Inception block, hourglasses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import networkx as nx

import rfgraph
from benchmarks.lines import Line
from benchmarks.measure import time_side_by_side
from benchmarks.passes import YARDSTICK, Pass, yardstick

#: Each kind grows through these, one after the other.
BLOCKS = (10, 100, 1_000, 10_000, 100_000)
DEPTHS = (2, 3, 4, 5, 6, 7, 8)
WIDTHS = (2, 4, 8, 16, 32, 64)
STACKS = (1, 2, 4, 8, 16, 32)


def resnet(blocks: int) -> nx.MultiDiGraph:
    """Return so many residual blocks, of which five at even distances halve their map."""
    net = rfgraph.Network(f"resnet_{blocks}", axes=2)
    x = net.conv("stem", net.input("image"), kernel=7, stride=2, padding=3)
    halving = {blocks * (i + 1) // 6 for i in range(5)}
    for block in range(blocks):
        stride = 2 if block in halving else 1
        y = net.conv(f"block{block}/conv1", x, kernel=3, stride=stride, padding=1)
        y = net.conv(f"block{block}/conv2", y, kernel=3, padding=1)
        short = net.conv(f"block{block}/short", x, kernel=1, stride=2) if stride > 1 else x
        x = net.add(f"block{block}/add", y, short)
    return net.graph


def unet(depth: int) -> nx.MultiDiGraph:
    """Return a U-Net that halves its maps ``depth`` times, and doubles them again by bilinear interpolation."""
    net = rfgraph.Network(f"unet_{depth}", axes=2)
    x, skips = net.input("image"), []
    for level in range(depth):
        x = net.conv(f"down{level}", x, kernel=3, padding=1)
        skips.append(x)
        x = net.max_pool(f"pool{level}", x, kernel=2)
    x = net.conv("middle", x, kernel=3, padding=1)
    for level in reversed(range(depth)):
        up = net.resize(f"resize{level}", x, scale=2, mode="linear")
        x = net.conv(f"up{level}", net.concat(f"skip{level}", skips[level], up), kernel=3, padding=1)
    return net.graph


def inception(width: int) -> nx.MultiDiGraph:
    """Return twenty blocks of so many branches, of kernels 1, 3, 5, 7 in turn."""
    net = rfgraph.Network(f"inception_{width}", axes=2)
    x = net.input("image")
    for block in range(20):
        kernels = [2 * (branch % 4) + 1 for branch in range(width)]
        ends = [
            net.conv(f"block{block}/conv{branch}", x, kernel=kernel, padding=kernel // 2)
            for branch, kernel in enumerate(kernels)
        ]
        x = net.concat(f"block{block}/concat", *ends)
    return net.graph


def hourglass(stacks: int) -> nx.MultiDiGraph:
    """Return so many hourglasses in a row; each halves its maps four times, and doubles and adds them again.

    References
    ----------
    Newell, Yang, Deng, Stacked Hourglass Networks for Human Pose Estimation, ECCV 2016.
    """
    net = rfgraph.Network(f"hourglass_{stacks}", axes=2)
    x = net.conv("stem", net.input("image"), kernel=7, stride=2, padding=3)
    for stack in range(stacks):
        skips = []
        for level in range(4):
            skips.append(net.conv(f"{stack}/skip{level}", x, kernel=3, padding=1))
            x = net.conv(f"{stack}/down{level}", net.max_pool(f"{stack}/pool{level}", x, kernel=2), kernel=3, padding=1)
        x = net.conv(f"{stack}/middle", x, kernel=3, padding=1)
        for level in reversed(range(4)):
            up = net.resize(f"{stack}/resize{level}", x, scale=2, mode="nearest")
            x = net.add(f"{stack}/add{level}", skips[level], up)
        x = net.conv(f"{stack}/out", x, kernel=1)
    return net.graph


#: What is made, what its number counts, and the numbers.
KINDS: tuple[tuple[Callable[[int], nx.MultiDiGraph], str, Sequence[int]], ...] = (
    (resnet, "blocks", BLOCKS),
    (unet, "levels", DEPTHS),
    (inception, "branches", WIDTHS),
    (hourglass, "stacks", STACKS),
)


def measure(runs: int, most: int = BLOCKS[-1]) -> list[Line]:
    """Return the lines of the table: all findings of each network, and its cost per node and edge beside the first's.

    Parameters
    ----------
    runs
        How many times to measure each.
    most
        Leave out what is larger.
    """
    lines = []
    for make, counted, numbers in KINDS:
        first = 0.0
        for number in (number for number in numbers if number <= most):
            graph = make(number)
            units = len(graph) + graph.number_of_edges()
            findings = Pass("findings", partial(_findings, graph))
            _, timing = time_side_by_side([findings], yardstick(graph), len(graph), runs, collect=False)
            each = timing.typical * 1e9 / units
            first = first or each
            on = f"{make.__name__}, {number:,} {counted}, {len(graph):,} nodes"
            said = f"growth {each / first:.2f}"
            lines.append(
                Line("findings", on, timing.seconds, f"{each:,.0f} ns/(node+edge)", timing.ratios, YARDSTICK, said)
            )
    return lines


def _findings(graph: nx.MultiDiGraph) -> tuple[rfgraph.Finding, ...]:
    return rfgraph.analyze(graph).findings
