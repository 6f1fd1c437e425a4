"""The command: ``python -m benchmarks [--sizes 1000,10000] [--networks chain] [--runs 5] [--markdown]``."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Sequence

import networkx as nx
from rich.console import Console

import rfgraph
from benchmarks import sweeps
from benchmarks.graphs import NETWORKS, SMALLEST
from benchmarks.measure import peak_bytes, time_side_by_side
from benchmarks.passes import passes, yardstick
from benchmarks.table import Row, markdown_table, rich_table

SIZES = "1000,10000,100000,1000000"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what the command line asks for and print one table."""
    options = _parser().parse_args(arguments)
    if options.sweeps:
        print(header(options.runs, True).partition(" CPU time")[0], "CPU time, medians.")
        print(f"\n{sweeps.markdown(sweeps.measure(options.runs))}")
        return
    rows: list[Row] = []
    for network in options.networks:
        smallest: dict[str, float] = {}
        for nodes in sorted(options.sizes):
            print(f"{network}, {nodes:,} nodes ...", end=" ", file=sys.stderr, flush=True)
            measured = measure(network, nodes, options.runs, options.gc, options.memory, smallest)
            for row in measured:
                smallest.setdefault(row.work, row.nanoseconds)
            rows += measured
            ratios = (f"{row.work} {row.timing.ratio:.2f}" for row in measured[1:])
            print(f"x {measured[0].work}: {', '.join(ratios)}", file=sys.stderr)  # large ones take long
    if options.markdown:
        print(header(options.runs, options.gc), markdown_table(rows), sep="\n\n")
        return
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)  # a file has no width to fit
    console.print(header(options.runs, options.gc), highlight=False)
    console.print(rich_table(rows))


def measure(network: str, nodes: int, runs: int, collect: bool, memory: bool, smallest: dict[str, float]) -> list[Row]:
    """Return the rows of one graph: the yardstick, then each pass.

    Parameters
    ----------
    network, nodes
        Which graph.
    runs, collect
        As for ``time_side_by_side``.
    memory
        Whether to measure peak memory too.
    smallest
        Nanoseconds per node and edge of each pass on the smallest graph of the kind; empty if this is the one.
    """
    graph = NETWORKS[network](nodes)
    base, measured = yardstick(graph), passes(graph)
    edges = graph.number_of_edges()
    rows = []
    timings = time_side_by_side(measured, base, nodes, runs, collect)
    for one, timing in zip((base, *measured), timings, strict=True):
        cost = timing.typical * 1e9 / (nodes + edges)
        growth = cost / smallest.get(one.name, cost)
        peak = peak_bytes(one.run) if memory else None
        rows.append(Row(network, nodes, edges, one.name, timing, growth, peak))
    return rows


def header(runs: int, collect: bool) -> str:
    """Return what the figures were measured on, and how."""
    return (
        f"rfgraph {rfgraph.__version__}, {platform.python_implementation()} {platform.python_version()}, "
        f"networkx {nx.__version__}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores, one used. "
        f"CPU time, median of {runs} runs, cycle collector {'on' if collect else 'off'}; each ratio is to "
        "list(nx.topological_sort(graph)) run just before. Growth: ns/(node+edge) against the smallest graph of its "
        "kind. Memory: peak beyond the graph, by tracemalloc in a run of its own."
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--sizes", type=_sizes, default=_sizes(SIZES), help=f"numbers of nodes, {SMALLEST} or more [{SIZES}]"
    )
    parser.add_argument(
        "--networks", type=_networks, default=list(NETWORKS), help=f"which kinds of graph [{','.join(NETWORKS)}]"
    )
    parser.add_argument("--runs", type=_positive, default=5, help="runs to take the median of [5]")
    parser.add_argument("--gc", action="store_true", help="leave the cycle collector on while the clock runs")
    parser.add_argument("--no-memory", dest="memory", action="store_false", help="measure time only")
    parser.add_argument("--sweeps", action="store_true", help="measure sweeps over many designs instead")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    return parser


def _sizes(text: str) -> list[int]:
    sizes = [int(size) for size in text.replace("_", "").split(",")]
    if min(sizes) < SMALLEST:
        raise argparse.ArgumentTypeError(f"{min(sizes)} nodes are too few; the smallest network has {SMALLEST}")
    return sizes


def _networks(text: str) -> list[str]:
    unknown = [name for name in text.split(",") if name not in NETWORKS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is not one of {', '.join(NETWORKS)}")
    return text.split(",")


def _positive(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number of runs")
    return int(text)


if __name__ == "__main__":
    main()
