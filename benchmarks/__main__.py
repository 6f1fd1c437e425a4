"""The command: ``python -m benchmarks [--parts engine,arrays] [--sizes 1000,10000] [--runs 5] [--markdown]``."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from statistics import median

import networkx as nx
from rich.console import Console

import rfgraph
from benchmarks import arrays, beside, cluster, cold, growth, peers, published, startup, sweeps
from benchmarks.graphs import NETWORKS, SMALLEST
from benchmarks.lines import Line, markdown_lines, rich_lines
from benchmarks.measure import peak_bytes, time_side_by_side
from benchmarks.passes import Pass, answers, passes, yardstick
from benchmarks.table import Row, markdown_table, rich_table

SIZES = "1000,10000,100000,1000000"


#: Networks as arrays: sizes, and output phases of those that upsample.
ARRAY_SIZES = "1000000,10000000"
PHASES = (16, 64)

#: What stands in the one table; ``passes`` is a table of its own, with every step of an analysis.
PARTS = ("engine", "published", "cold", "growth", "arrays", "startup", "sweeps", "cluster", "beside", "peers")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what the command line asks for and print one table."""
    options = _parser().parse_args(arguments)
    detailed = "passes" in options.parts
    if detailed:
        rows = [row for rows in _graphs(options, passes) for row in rows]
        said, table = header(options.runs, options.gc), markdown_table(rows) if options.markdown else rich_table(rows)
    else:
        lines = _lines(options)
        said, table = _brief(options), markdown_lines(lines) if options.markdown else rich_lines(lines)
    if options.markdown:
        print(said, table, sep="\n\n")
        return
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)  # a file has no width to fit
    console.print(said, highlight=False)
    console.print(table)


def _lines(options: argparse.Namespace) -> list[Line]:
    """Return the lines of the parts that are asked for."""
    lines: list[Line] = []
    for part in options.parts:
        print(f"{part} ...", file=sys.stderr, flush=True)
        if part == "engine":
            options.memory = False
            lines += [_engine_line(row) for rows in _graphs(options, answers) for row in rows[1:]]
        elif part == "published":
            lines += published.measure(published.NETWORKS, options.runs)
        elif part == "cold":
            lines += cold.measure(options.runs)
        elif part == "arrays":
            lines += arrays.measure(options.array_sizes, PHASES, options.runs)
        elif part == "startup":
            lines += startup.measure(options.runs)
        elif part == "sweeps":
            lines += [_sweep_line(row) for row in sweeps.measure(options.runs)]
        elif part == "growth":
            lines += growth.measure(options.runs)
        elif part == "cluster":
            lines += cluster.measure(options.convolutions)
        elif part == "beside":
            lines += beside.measure(options.runs)
        else:
            lines += peers.measure(options.runs)
    return lines


def _engine_line(row: Row) -> Line:
    on = f"{row.network}, {row.nodes:,} nodes"
    return Line(
        row.work,
        on,
        row.timing.seconds,
        f"{row.nanoseconds:,.0f} ns/(node+edge)",
        row.timing.ratios,
        "topological_sort",
        f"growth {row.growth:.2f}",
    )


def _sweep_line(row: sweeps.SweepRow) -> Line:
    each = f"{median(row.rates) / 1e6:,.2f} M node-configurations/s"
    on = f"{row.designs:,} designs of {row.nodes} nodes"
    return Line(f"sweep, {row.work}", on, row.seconds, each, row.ratios, "pure Python's rate")


def _graphs(options: argparse.Namespace, work: Callable[[nx.DiGraph], list[Pass]]) -> Iterator[list[Row]]:
    """Yield the rows of each graph, smallest first."""
    for network in options.networks:
        smallest: dict[str, float] = {}
        for nodes in sorted(options.sizes):
            print(f"{network}, {nodes:,} nodes ...", end=" ", file=sys.stderr, flush=True)
            measured = measure(network, nodes, options.runs, options.gc, options.memory, smallest, work)
            for row in measured:
                smallest.setdefault(row.work, row.nanoseconds)
            ratios = (f"{row.work} {row.timing.ratio:.2f}" for row in measured[1:])
            print(f"x {measured[0].work}: {', '.join(ratios)}", file=sys.stderr)  # large ones take long
            yield measured


def measure(
    network: str,
    nodes: int,
    runs: int,
    collect: bool,
    memory: bool,
    smallest: dict[str, float],
    work: Callable[[nx.DiGraph], list[Pass]] = passes,
) -> list[Row]:
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
    work
        The passes over a graph.
    """
    graph = NETWORKS[network](nodes)
    base, measured = yardstick(graph), work(graph)
    edges = graph.number_of_edges()
    rows = []
    timings = time_side_by_side(measured, base, nodes, runs, collect)
    for one, timing in zip((base, *measured), timings, strict=True):
        cost = timing.typical * 1e9 / (nodes + edges)
        growth = cost / smallest.get(one.name, cost)
        peak = peak_bytes(one.run) if memory else None
        rows.append(Row(network, nodes, edges, one.name, timing, growth, peak))
    return rows


def _machine() -> str:
    return (
        f"rfgraph {rfgraph.__version__}, {platform.python_implementation()} {platform.python_version()}, "
        f"networkx {nx.__version__}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores, one used."
    )


def _brief(options: argparse.Namespace) -> str:
    """Return what the figures of the one table were measured on, and how."""
    return (
        f"{_machine()} CPU time, medians of {options.runs} runs; each ratio is to its yardstick run just before. "
        "Growth: time per node and edge against the smallest graph of its kind."
    )


def header(runs: int, collect: bool) -> str:
    """Return what the figures were measured on, and how."""
    return (
        f"{_machine()} CPU time, median of {runs} runs, cycle collector {'on' if collect else 'off'}; each ratio is to "
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
    parser.add_argument(
        "--parts",
        type=_parts,
        default=list(PARTS),
        help=f"what to measure [{','.join(PARTS)}], or passes: every step of an analysis",
    )
    parser.add_argument(
        "--array-sizes", type=_sizes, default=_sizes(ARRAY_SIZES), help=f"nodes of networks as arrays [{ARRAY_SIZES}]"
    )
    parser.add_argument(
        "--convolutions",
        type=_positive,
        default=cluster.CONVOLUTIONS,
        help=f"of the network swept on a cluster; designs are 4 to this power [{cluster.CONVOLUTIONS}]",
    )
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


def _parts(text: str) -> list[str]:
    parts = text.split(",")
    unknown = [part for part in parts if part not in (*PARTS, "passes")]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is not one of {', '.join(PARTS)}, passes")
    if "passes" in parts and len(parts) > 1:
        raise argparse.ArgumentTypeError("passes have a table of their own; ask for them alone")
    return parts


def _positive(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number of runs")
    return int(text)


if __name__ == "__main__":
    main()
