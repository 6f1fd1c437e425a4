"""Architectures built by hand, which every format must read to the same table.

A test of a format writes the same network in its framework and holds what rfgraph reads of it against ``check_table``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import rfgraph


@dataclass(frozen=True)
class Architecture:
    """A network by hand, and the shape of its input with the batch first and the channels second."""

    build: Callable[[], rfgraph.Network]
    shape: tuple[int, ...]

    @property
    def size(self) -> tuple[int, ...]:
        return self.shape[2:]


def resnet18():
    net = rfgraph.Network("resnet18", axes=2)
    x = net.conv("stem.0", net.input("x"), kernel=7, stride=2, padding=3)
    x = net.max_pool("pool", x, kernel=3, stride=2, padding=1)
    for i, (stride, projected) in enumerate([(1, 0), (1, 0), (2, 1), (1, 0), (2, 1), (1, 0), (2, 1), (1, 0)]):
        y = net.conv(f"layers.{i}.conv1", x, kernel=3, stride=stride, padding=1)
        y = net.conv(f"layers.{i}.conv2", y, kernel=3, padding=1)
        if projected:
            x = net.conv(f"layers.{i}.down.0", x, kernel=1, stride=stride)
        x = net.add(f"layers.{i}/add", y, x)
    net.global_avg_pool("head", x)
    return net


def unet():
    net = rfgraph.Network("unet", axes=2)
    skip = net.conv("a", net.input("x"), kernel=3, padding=1)
    y = net.conv("b", net.max_pool("pool", skip, kernel=2), kernel=3, padding=1)
    y = net.conv_transpose("up", y, kernel=2, stride=2)
    net.conv("c", net.concat("cat", skip, y), kernel=3, padding=1)
    return net


def inverted():
    """The block of MobileNetV2."""
    net = rfgraph.Network("inverted", axes=2)
    x = net.conv("first", net.input("x"), kernel=3, stride=2, padding=1)
    y = net.conv("depthwise.0", net.conv("expand.0", x, kernel=1), kernel=3, padding=1)
    net.add("add", x, net.conv("project", y, kernel=1))
    return net


def convnext():
    """The block of ConvNeXt, with its channels last."""
    net = rfgraph.Network("convnext", axes=2)
    x = net.conv("down", net.conv("stem", net.input("x"), kernel=4, stride=4), kernel=2, stride=2)
    y = net.conv("wide", net.conv("depthwise", x, kernel=7, padding=3), kernel=1)
    net.add("add", x, net.conv("narrow", y, kernel=1))
    return net


def tcn():
    """Causal and dilated, in one dimension."""
    net = rfgraph.Network("tcn", axes=1)
    x = net.conv("first", net.input("x"), kernel=1)
    for i in range(4):
        y = net.conv(f"convs.{i}", x, kernel=3, dilation=2**i, padding=[[2 * 2**i, 0]])
        x = net.add("add" if i == 0 else f"add_{i + 1}", x, y)
    return net


ARCHITECTURES = {
    "resnet18": Architecture(resnet18, (1, 3, 64, 96)),
    "unet": Architecture(unet, (1, 3, 32, 48)),
    "inverted": Architecture(inverted, (1, 3, 32, 48)),
    "convnext": Architecture(convnext, (1, 3, 32, 48)),
    "tcn": Architecture(tcn, (1, 2, 64)),
}


def row(layer):
    return layer.field, layer.map_size, layer.is_global, layer.status


def check_table(name: str, report: rfgraph.Report, names: Mapping[str, str] | None = None) -> None:
    """Hold a report against the network built by hand: every node of it, what it reads, its size, the findings.

    Parameters
    ----------
    name
        Which of the architectures.
    report
        What rfgraph makes of the same network in another format, for the same size of input.
    names
        What that format calls a node, where it cannot be called the same.
    """
    known = names or {}
    want = rfgraph.analyze(ARCHITECTURES[name].build(), input_size=ARCHITECTURES[name].size)
    for node in want:
        assert row(report[known.get(node, node)]) == row(want[node]), node
        assert report[known.get(node, node)].op == want[node].op, node
    rows = {row(want[node]) for node in want}
    # Nothing else is in it but what reads as they do, and padding that is a step of its own there.
    assert {row(report[node]) for node in report if report[node].op != "pad"} <= rows
    assert row(report[report.outputs[-1]])[0] == row(want[want.outputs[-1]])[0]
    found = [(finding.rule, finding.node) for finding in report.findings]
    assert found == [(finding.rule, known.get(finding.node, finding.node)) for finding in want.findings]


def check_rows(
    report: rfgraph.Report, want: rfgraph.Report, kept: Collection[str], left_out: Callable[[str], bool]
) -> None:
    """Hold a format that keeps no names of layers: the rows of ops that are ``kept``, the output, and the findings.

    Parameters
    ----------
    report, want
        The network as it was read, and as it was built by hand.
    kept
        Ops that no converter takes apart or adds.
    left_out
        Whether a node is one that a converter wrote otherwise.
    """
    rows = [
        Counter(
            (table[node].op, *row(table[node])) for node in table if table[node].op in kept and not left_out(str(node))
        )
        for table in (report, want)
    ]
    assert rows[0] == rows[1]
    assert {row(report[node]) for node in report if report[node].op != "pad"} <= {row(want[node]) for node in want}
    assert report[report.outputs[-1]].field == want[want.outputs[-1]].field
    found, known = ([finding.rule for finding in table.findings] for table in (report, want))
    assert found == known
