"""Availability as a domain: how much of every map can be computed from the inputs that have come so far.

Of a stream the inputs up to index -1 are there; with later chunks everything moves on by as much. ``avail`` of a map is
the last index such that it and all before it can be computed. Between two chunks a map has to keep those features that
some consumer's next outputs read: its *state*. A recurrence carries what it has read in a state of its own, and then
needs the positions after that alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rfgraph.algebra.window import Window
from rfgraph.passes.compiled import Compiled
from rfgraph.passes.fold import Domain, fold


class Available(Domain[int]):
    """The last index of every map that can be computed, together with all before it, from inputs up to index -1.

    Parameters
    ----------
    compiled
        The network; every window on the way has a last index.
    axis
        Index of the axis that is streamed.
    """

    start = -1

    def __init__(self, compiled: Compiled, axis: int) -> None:
        self.reads = compiled.reads[axis]

    def through(self, v: int, slot: int, value: int) -> int | None:
        """Return the last output such that neither it nor any before it reads past index ``value``."""
        read = self.reads[v][slot]
        missing = [
            phase + read.period * ((value - interval[1]) // read.step + 1)
            for phase, interval in enumerate(read.intervals)
            if interval is not None
        ]
        return min(missing) - 1 if missing else None

    def join(self, v: int, values: list[int]) -> int:
        return min(values)


def available(compiled: Compiled, axis: int, source: int, nodes: Sequence[int]) -> dict[int, int]:
    """Return for each of ``nodes`` the last index that can be computed from inputs up to index -1."""
    return fold(compiled.layers, source, Available(compiled, axis), to=nodes)


def least_read(read: Window, y: int) -> int | None:
    """Return the first index that any output from ``y`` on reads, ``None`` if they read nothing.

    What reads all of the past is a recurrence: those before ``y`` have read what it needs no more.
    """
    if read.side == "past":
        lasts = [ends[1] for earlier in range(y - read.period, y) if (ends := read.ends(earlier)) is not None]
        return max(last for last in lasts if last is not None) + 1
    firsts = [interval[0] for later in range(y, y + read.period) if (interval := read.interval(later)) is not None]
    return min(firsts) if firsts else None


def states(compiled: Compiled, axis: int, avail: Mapping[int, int]) -> dict[int, int]:
    """Return how many features of each map are kept between chunks, by node id; maps that keep none are left out.

    Parameters
    ----------
    compiled, axis
        As for ``Available``.
    avail
        What ``available`` says of every node from the source to the output.
    """
    needed: dict[int, int] = {}
    for v in avail:
        for tail, read in zip(compiled.layers.tails[v], compiled.reads[axis][v], strict=True):
            if tail in avail and (first := least_read(read, avail[v] + 1)) is not None:
                needed[tail] = min(needed.get(tail, first), first)
    return {u: kept for u, first in needed.items() if (kept := avail[u] - first + 1) > 0}
