"""Time as a ratio to a yardstick, and peak memory.

Time is that of the CPU: everything here runs on one core, and waiting while others have it is no cost of ours. Each run
of a pass is preceded by one of the yardstick, and their ratio is taken before any median, so that a machine that slows
down slows both; and that by another, not timed, so that both find the graph near the processor. What a run returns is
thrown away after the clock has stopped. The cycle collector runs before each and is off meanwhile, as in ``timeit``:
when it strikes depends on all that the process did before.

Memory: in a run of its own under ``tracemalloc``, which counts every byte exactly but slows Python down several times.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from time import process_time

from benchmarks.passes import Pass

#: Small graphs are gone through several times per run, until about this many nodes have been.
NODES_PER_RUN = 20_000


@dataclass(frozen=True)
class Timing:
    """Seconds of CPU and ratios to the yardstick, one per run."""

    seconds: tuple[float, ...]
    ratios: tuple[float, ...]

    @property
    def typical(self) -> float:
        """Median time, in seconds."""
        return median(self.seconds)

    @property
    def ratio(self) -> float:
        """Median ratio to the yardstick."""
        return median(self.ratios)


def time_side_by_side(passes: list[Pass], yardstick: Pass, nodes: int, runs: int, collect: bool) -> list[Timing]:
    """Return the timings of the yardstick and of each pass, interleaved run by run.

    Parameters
    ----------
    passes, yardstick
        What to time, and what to time it against.
    nodes
        Size of the graph, which says how often it is gone through per run.
    runs
        How many ratios to take of each pass.
    collect
        Whether the cycle collector stays on while the clock runs.
    """
    loops = max(1, NODES_PER_RUN // nodes)
    alone: list[float] = []
    pairs: list[list[tuple[float, float]]] = [[] for _ in passes]
    with _settled(collect):
        for one in (yardstick, *passes):  # the first run of anything is slower
            _seconds(one.run, 1)
        for _ in range(runs):
            for one, measured in zip(passes, pairs, strict=True):
                yardstick.run()
                before = _seconds(yardstick.run, loops)
                alone.append(before)
                measured.append((before, _seconds(one.run, loops)))
    timings = [Timing(tuple(alone), (1.0,) * len(alone))]
    for measured in pairs:
        timings.append(Timing(tuple(time for _, time in measured), tuple(time / before for before, time in measured)))
    return timings


@contextmanager
def _settled(collect: bool) -> Iterator[None]:
    was_on = gc.isenabled()
    gc.collect()
    if not collect:
        gc.disable()
        gc.freeze()  # the graph itself need not be looked through again
    try:
        yield
    finally:
        gc.unfreeze()
        if was_on:
            gc.enable()


def _seconds(run: Callable[[], object], loops: int) -> float:
    results = []
    gc.collect()
    start = process_time()
    for _ in range(loops):
        results.append(run())
    return (process_time() - start) / loops


def peak_bytes(run: Callable[[], object]) -> int:
    """Return the most bytes allocated at any one time during ``run`` and not yet there before, its result included."""
    gc.collect()
    tracemalloc.start()
    try:
        result = run()
        peak = tracemalloc.get_traced_memory()[1]
        del result
    finally:
        tracemalloc.stop()
    return peak
