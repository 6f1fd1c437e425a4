"""What sweeps cost: designs of a grid and of a sample, with numpy and with compiled code, beside one analysis a design.

A node-configuration is one node of one design: its field on both axes, its alignment, and what else is asked for. Every
convolution of the network chooses on its own; each row goes through as many designs as take a moment.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from time import process_time
from typing import Any
from unittest import mock

import networkx as nx

import rfgraph
from rfgraph.sweeps import entry, sweep
from rfgraph.sweeps import tape as compiled

COLUMNS = ("sweep", "nodes", "designs", "time", "M node-configurations/s", "x pure Python", "range")

#: What is asked: few designs fit, as in a search.
WHERE = "r >= 150 and aligned"

#: Values that kernel and padding take together.
KERNELS = [(1, 0), (3, 1), (5, 2), (7, 3)]


@dataclass(frozen=True)
class SweepRow:
    """One way to go through designs."""

    work: str
    nodes: int
    designs: int
    seconds: tuple[float, ...]
    #: Node-configurations per second of this row and of pure Python just before, run by run.
    rates: tuple[float, ...]
    ratios: tuple[float, ...]

    def cells(self) -> tuple[str, ...]:
        """Return what stands in ``COLUMNS``."""
        ratios = f"{min(self.ratios):,.0f} - {max(self.ratios):,.0f}"
        return (
            self.work,
            f"{self.nodes:,}",
            f"{self.designs:,}",
            f"{median(self.seconds) * 1e3:,.0f} ms",
            f"{median(self.rates) / 1e6:,.2f}",
            f"{median(self.ratios):,.1f}",
            "" if len(set(self.ratios)) == 1 else ratios,
        )


def network(convolutions: int) -> nx.DiGraph[Any]:
    """Return a residual network in which every node is a convolution or a merge: none comes for free."""
    net = rfgraph.Network("residual", axes=2)
    x = net.input("image", channels=3)
    for layer in range(convolutions):
        y = net.conv(f"conv{layer}", x, kernel=3, padding=1, channels=16)
        x = net.add(f"add{layer}", y, x) if layer % 3 == 2 else y
    return net.graph


def measure(runs: int, work: int = 120_000_000) -> list[SweepRow]:
    """Return the rows of the table.

    Parameters
    ----------
    runs
        How many times to measure each, after one that does not count.
    work
        Node-configurations to go through per run; pure Python does far less.
    """
    graph = network(30)
    nodes = len(graph)
    keys = {(f"conv{layer}.kernel", f"conv{layer}.padding"): KERNELS for layer in range(30)}
    designs = max(work // nodes, 4)
    some = dict(list(keys.items())[-max((designs.bit_length() - 1) // 2, 1) :])
    alone = max(designs // 30_000, 4)

    def grid() -> int:
        return sweep(graph, some, where=WHERE, progress=False).counts.seen

    def sample() -> int:
        return sweep(graph, keys, sample=designs, where=WHERE, progress=False).counts.seen

    def sized() -> int:
        asked = {"where": WHERE, "best": "macs", "input_size": 64}
        return sweep(graph, some, **asked, progress=False).counts.seen

    def python() -> int:
        found = entry.prepare(graph, keys, {}, sample=alone)
        for position in range(alone):
            report = rfgraph.analyze(found.designs.network(position))
            assert report.aligned is not None
            assert report[report.outputs[0]].size
        return alone

    def compiled_sample() -> int:
        with mock.patch.object(compiled, "ENOUGH", 0):
            return sample()

    def numpy_sample() -> int:
        with mock.patch.object(compiled, "ENOUGH", 1 << 62):
            return sample()

    ways: list[tuple[str, Callable[[], int]]] = [
        ("grid, numpy", grid),
        ("grid with sizes, parameters and MACs, numpy", sized),
        ("sample, numpy", numpy_sample),
    ]
    if compiled.available():
        ways.append(("sample, numba", compiled_sample))
    _timed(python)
    for _, way in ways:
        _timed(way)
    before: list[tuple[float, int]] = []
    after: dict[str, list[tuple[float, int]]] = {work_: [] for work_, _ in ways}
    for _ in range(runs):
        base = _timed(python)
        before.append(base)
        for name, way in ways:
            after[name].append(_timed(way))
    slow = [count * nodes / seconds for seconds, count in before]
    rows = [
        SweepRow("pure Python: analyze each", nodes, alone, tuple(s for s, _ in before), tuple(slow), (1.0,) * runs)
    ]
    for name, timed in after.items():
        rates = tuple(count * nodes / seconds for seconds, count in timed)
        ratios = tuple(rate / base_rate for rate, base_rate in zip(rates, slow, strict=True))
        rows.append(SweepRow(name, nodes, timed[0][1], tuple(s for s, _ in timed), rates, ratios))
    return rows


def _timed(way: Callable[[], int]) -> tuple[float, int]:
    start = process_time()
    count = way()
    return process_time() - start, count


def markdown(rows: list[SweepRow]) -> str:
    """Return the table in Markdown."""
    rule = [":---", *["---:"] * (len(COLUMNS) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in (COLUMNS, rule, *(row.cells() for row in rows)))
