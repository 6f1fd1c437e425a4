"""What networks given as arrays cost: ``rfgraph.solve_arrays`` beside copying memory, with numba.

The network is inception-like: blocks of nine nodes and twelve edges, with 1x7 and 7x1 kernels, so that the two axes
read differently. Its ids are in topological order, reversed, or shuffled.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

import numpy as np

from benchmarks.lines import Line
from rfgraph import Window, solve_arrays

ORDERS = ("topological", "reversed", "shuffled")
YARDSTICK = "copying 8 bytes"

#: ``starts, tails, ops, windows, source`` of ``solve_arrays``.
Arguments = tuple[Any, Any, Any, Sequence[Sequence[Window]], int]

POINT, DOUBLED = Window(1), Window.periodic(((0, 0), (0, 0)), 1)
#: Rows: what keeps its place, a square kernel, a row, a column, and nearest-neighbour upsampling.
WINDOWS = (
    (POINT, POINT),
    (Window(3, 1, 1), Window(3, 1, 1)),
    (POINT, Window(7, 1, 3)),
    (Window(7, 1, 3), POINT),
    (DOUBLED, DOUBLED),
)
#: What each node of a block reads, the block's input being 0, and its row of ``WINDOWS``.
READ = ((0,), (0,), (2,), (0,), (4,), (5,), (0,), (7,), (1, 3, 6, 8))
ROWS = (0, 0, 1, 0, 2, 3, 1, 0, 0)


def network(nodes: int, doublings: int = 0) -> Arguments:
    """Return an image, ``doublings`` upsamplings by two, and blocks to about ``nodes`` nodes."""
    blocks = max((nodes - 1 - doublings) // len(READ), 1)
    degrees = np.concatenate([[0], np.ones(doublings, int), np.tile([len(read) for read in READ], blocks)])
    first = doublings + len(READ) * np.arange(blocks)
    inside = (first[:, None] + np.array([tail for read in READ for tail in read])).ravel()
    starts = np.concatenate([[0], np.cumsum(degrees)])
    tails = np.concatenate([np.arange(doublings), inside]).astype(np.int32)
    ops = np.concatenate([[0], np.full(doublings, 4), np.tile(ROWS, blocks)]).astype(np.int32)
    return starts, tails, ops, WINDOWS if doublings else WINDOWS[:4], 0


def renumbered(arguments: Arguments, order: str) -> Arguments:
    """Return the same network with its ids in another order, one of ``ORDERS``."""
    starts, tails, ops, windows, source = arguments
    nodes = len(ops)
    if order == "topological":
        return arguments
    names = np.arange(nodes)[::-1] if order == "reversed" else np.random.default_rng(0).permutation(nodes)
    of_name = np.argsort(names)
    degrees = np.diff(starts)[of_name]
    moved = np.concatenate([[0], np.cumsum(degrees)])
    edges = np.repeat(starts[:-1][of_name] - moved[:-1], degrees) + np.arange(len(tails))
    return moved, names[tails[edges]].astype(np.int32), ops[of_name].copy(), windows, int(names[source])


def measure(sizes: Sequence[int], phases: Sequence[int], runs: int) -> list[Line]:
    """Return the lines of the table.

    Parameters
    ----------
    sizes
        Numbers of nodes of networks that do not upsample.
    phases
        Powers of two: networks that upsample so often hold about as many numbers as the largest without.
    runs
        How often to measure each, after one that does not count.
    """
    lines = []
    floor = [_copying() for _ in range(runs)]
    lines.append(Line("copy of an array", "64 MiB", each=f"{median(floor):.1f} ns/8 B", said="the floor"))
    for nodes in sizes:
        starts, tails, ops, windows, source = network(nodes)
        square = (windows[0], *[windows[1]] * 3)
        lines.append(_line("solve_arrays, axes alike", (starts, tails, ops, square, source), 1, runs, with_memory=True))
        for order in ORDERS:
            arguments = renumbered(network(nodes), order)
            lines.append(_line(f"solve_arrays, {order} ids", arguments, 1, runs, with_memory=True))
    for count in phases:
        arguments = network(max(sizes) // count, count.bit_length() - 1)
        lines.append(_line(f"solve_arrays, {count} phases", arguments, count, runs))
    return lines


def _line(what: str, arguments: Arguments, phases: int, runs: int, *, with_memory: bool = False) -> Line:
    solve_arrays(*arguments)  # compiles, and touches memory
    seconds, ratios = [], []
    units = (len(arguments[1]) + len(arguments[2])) * phases
    for _ in range(runs):
        floor = _copying()
        seconds.append(_seconds(lambda: solve_arrays(*arguments)))
        ratios.append(seconds[-1] * 1e9 / units / floor)
    unit = "(node+edge)" if phases == 1 else "((node+edge) phase)"
    peak = _peak_bytes(lambda: solve_arrays(*arguments)) if with_memory else None
    return Line(
        what,
        f"{len(arguments[2]):,} nodes, {len(arguments[1]):,} edges",
        tuple(seconds),
        f"{median(seconds) * 1e9 / units:.1f} ns/{unit}",
        tuple(ratios),
        YARDSTICK,
        "" if peak is None else f"{peak / len(arguments[2]):.0f} bytes a node",
    )


def _copying() -> float:
    """Return how many nanoseconds of CPU it takes to copy 8 bytes."""
    one = np.ones(1 << 23)
    other = np.zeros_like(one)
    return _seconds(lambda: np.copyto(other, one)) * 1e9 / len(one)


def _seconds(run: Callable[[], object]) -> float:
    gc.collect()
    start = process_time()
    result = run()
    taken = process_time() - start
    del result
    return taken


def _peak_bytes(run: Callable[[], object]) -> int | None:
    """Return how far ``run`` raises the memory of the process, as Linux tells it; ``None`` elsewhere."""
    status, clear = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not status.exists() or not clear.exists():
        return None
    gc.collect()
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)  # what an earlier run gave back may be held still
    try:
        clear.write_text("5")  # the peak is what is held now
    except OSError:
        return None
    before = _held(status.read_text(), "VmHWM")
    result = run()
    after = _held(status.read_text(), "VmHWM")
    del result
    return after - before


def _held(status: str, entry: str) -> int:
    line = next(line for line in status.splitlines() if line.startswith(f"{entry}:"))
    return int(line.split()[1]) * 1024
