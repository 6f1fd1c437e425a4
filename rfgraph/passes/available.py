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
from rfgraph.passes.fold import Domain, fold_along


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
        self._known: dict[tuple[int, int], int | None] = {}

    def through(self, v: int, slot: int, value: int) -> int | None:
        """Return the last output such that neither it nor any before it reads past index ``value``."""
        read = self.reads[v][slot]
        if read.kind == "local" and len(read.intervals) == 1:
            (ends,) = read.intervals
            return None if ends is None else (value - ends[1]) // read.step
        key = id(read), value
        if key not in self._known:
            missing = [
                phase + read.period * ((value - interval[1]) // read.step + 1)
                for phase, interval in enumerate(read.intervals)
                if interval is not None
            ]
            self._known[key] = min(missing) - 1 if missing else None
        return self._known[key]

    def join(self, v: int, values: list[int]) -> int:
        return min(values)


def available(compiled: Compiled, axis: int, on_way: Sequence[int]) -> dict[int, int]:
    """Return for each node ``on_way`` from a source the last index that can be computed from inputs up to index -1."""
    return fold_along(compiled.layers, on_way, Available(compiled, axis))


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
    avail
        What ``available`` says of every node from the source to the output.
    """
    needed: dict[int, int] = {}
    known: dict[tuple[int, int], int | None] = {}
    tails, reads = compiled.layers.tails, compiled.reads[axis]
    for v, last in avail.items():
        for tail, read in zip(tails[v], reads[v], strict=True):
            if tail not in avail:
                continue
            ends = read.intervals[0] if read.kind == "local" and len(read.intervals) == 1 else None
            if ends is not None:
                first: int | None = ends[0] + (last + 1) * read.step
            else:
                key = id(read), last
                if key not in known:
                    known[key] = least_read(read, last + 1)
                first = known[key]
            if first is not None and (tail not in needed or first < needed[tail]):
                needed[tail] = first
    return {u: kept for u, first in needed.items() if (kept := avail[u] - first + 1) > 0}
