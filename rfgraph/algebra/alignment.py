"""Do branches that meet line up? The one statement of the rule, on the windows that they read.

At each output, branches line up if what they read has one centre; as causal networks have it, if it ends at one index.
Everything that answers faster, over packed integers, arrays or residues, is a twin of ``compare`` and held against it.

References
----------
Araujo, Norris, Sim, Computing Receptive Fields of Convolutional Neural Networks, Distill 2019: the two conditions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from math import lcm
from typing import Literal

from rfgraph.algebra.window import Interval, Window
from rfgraph.frozen import dataclass

#: ``center``: branches line up at their centres. ``causal``: at the last index they read. ``auto``: at their centres,
#: but branches that end at the same index and do not look ahead of their fork are taken to be causal on purpose.
Mode = Literal["auto", "center", "causal"]

#: ``drift``: unequal strides. ``off``: another centre, or end. ``jitter``: no difference on average, but at some output
#: phase, or branches that read whole blocks. ``causal``: another centre, but one end.
Verdict = Literal["aligned", "drift", "off", "jitter", "causal"]


@dataclass(frozen=True)
class Comparison:
    """How two branches lie to each other; ``offset`` is how far the second lies past the first on average."""

    verdict: Verdict
    offset: Fraction = Fraction(0)

    @property
    def is_serious(self) -> bool:
        """Whether they do not line up, and not on purpose."""
        return self.verdict in ("drift", "off")


ALIGNED = Comparison("aligned")


def _never() -> bool:
    return False


def _off() -> Verdict:
    return "off"


def compare(
    reference: Window,
    other: Window,
    mode: Mode,
    is_causal: Callable[[], bool] = _never,
    seen_from_fork: Callable[[], Verdict] = _off,
) -> Comparison:
    """Return how two branches of a merge lie to each other.

    Outputs at which one of them reads nothing do not count.

    Parameters
    ----------
    reference, other
        What the merge reads of the source through each. Both have an interval at some output.
    mode
        What counts as lined up.
    is_causal
        Whether neither branch reads past its own position, seen from the fork where they part; asked where the two end
        at the same index.
    seen_from_fork
        What to say of branches whose centres differ on average, from what they read of their fork: see ``at_fork``.

    Examples
    --------
    >>> compare(Window(3, padding=1), Window(1), "auto")
    Comparison(verdict='aligned', offset=Fraction(0, 1))
    >>> compare(Window(3, padding=2), Window(1), "auto")
    Comparison(verdict='off', offset=Fraction(1, 1))
    """
    if reference == other:
        return ALIGNED
    if reference.stride != other.stride:
        return Comparison("drift")
    centers2, lasts = [], []
    period = lcm(reference.period, other.period)
    for a, b in zip(reference.over(period), other.over(period), strict=True):
        if a is not None and b is not None:
            centers2.append(b[0] + b[1] - a[0] - a[1])
            lasts.append(b[1] - a[1])
    if not any(lasts if mode == "causal" else centers2):
        return ALIGNED
    total = Fraction(sum(lasts)) if mode == "causal" else Fraction(sum(centers2), 2)
    if not total:
        return Comparison("jitter")
    offset = total / len(lasts)
    if mode == "auto" and not any(lasts) and is_causal():
        return Comparison("causal", offset)
    return Comparison(seen_from_fork(), offset)


def at_fork(one: Window, other: Window, *, stacked: bool) -> Verdict:
    """Return what to say of branches that are off on average at the source, from what they read of their fork.

    Attention inside windows has each token read the window that it lies in: over a window, both branches read the same
    positions. And branches that are stacked may cut their fork into frames: blocks that are meant to lie apart.

    Parameters
    ----------
    one, other
        What the merge reads of the fork through each.
    stacked
        Whether the merge keeps its inputs apart, as channels.
    """
    blocks = reads_blocks_of(one, other) or reads_blocks_of(other, one) or (stacked and shifts_whole_blocks(one, other))
    return "jitter" if blocks else "off"


def reference_of(sides: Sequence[tuple[int, Window]]) -> tuple[int, Window]:
    """Return the branch, of (slot, window) pairs, that the others are held against: the widest one.

    Branches as wide are ordered by what they read, never by how the network was written down.
    """
    widest = max(window.size for _, window in sides)
    return min((side for side in sides if side[1].size == widest), key=lambda side: _order(side[1]))


def _order(window: Window) -> tuple[Fraction, tuple[tuple[int, Interval], ...]]:
    empty = (0, (0, 0))
    return window.mean_center, tuple(empty if interval is None else (1, interval) for interval in window.intervals)


def looks_ahead(window: Window) -> bool:
    """Return whether some output reads past its own position, in a branch that pads before its first position.

    A branch that pads nothing before is not counted: its first output ends on its last tap.

    Parameters
    ----------
    window
        What the merge reads of the fork through a branch.

    Examples
    --------
    >>> looks_ahead(Window(3, padding=2)), looks_ahead(Window(3, padding=1)), looks_ahead(Window(3))
    (False, True, False)
    """
    if not window.is_local:
        return True
    phases = [(y, interval) for y, interval in enumerate(window.intervals) if interval is not None]
    stride = window.stride
    return any(last > y * stride for y, (_, last) in phases) and any(first < 0 for _, (first, _) in phases)


def seen_from(fork: Window, branch: Window) -> Window | None:
    """Return what a branch reads of its fork, from what both read of the source; ``None`` where that does not tell.

    Examples
    --------
    >>> fork, branch = Window(4, 2, 2), Window(3, padding=2)
    >>> seen_from(fork, branch.through(fork)) == branch
    True
    """
    if not fork.is_local or not branch.is_local or fork.period > 1 or fork.intervals[0] is None:
        return None
    (low, high), step = fork.intervals[0], fork.step
    intervals: list[Interval | None] = []
    for interval in branch.intervals:
        if interval is None:
            intervals.append(None)
            continue
        first, last = interval[0] - low, interval[1] - high
        if first % step or last % step or first // step > last // step:
            return None
        intervals.append((first // step, last // step))
    return None if branch.step % step else Window.periodic(tuple(intervals), branch.step // step)


def reads_blocks_of(wide: Window, narrow: Window) -> bool:
    """Return whether ``wide`` reads at each output of a block what ``narrow`` reads over the whole block.

    So attention inside windows is: every token reads the window in which it lies.

    Examples
    --------
    >>> tokens, windows = Window(1), Window.periodic(((0, 3),) * 4, step=4)
    >>> reads_blocks_of(windows, tokens), reads_blocks_of(tokens, windows)
    (True, False)
    """
    if not wide.is_local or not narrow.is_local or wide.stride != narrow.stride:
        return False
    period = lcm(wide.period, narrow.period)
    blocks = [wide.interval(y) for y in range(period + 1)]
    start = next((y for y in range(1, period + 1) if blocks[y] != blocks[y - 1]), None)
    if start is None or period < 2 or None in blocks:
        return False
    several = False
    y = start
    while y < start + period:
        block, end = wide.interval(y), y
        while wide.interval(end) == block:
            end += 1
        read = [interval for at in range(y, end) if (interval := narrow.interval(at)) is not None]
        if not read or (min(first for first, _ in read), max(last for _, last in read)) != block:
            return False
        several = several or end > y + 1
        y = end
    return several


def shifts_whole_blocks(one: Window, other: Window) -> bool:
    """Return whether two windows read blocks that do not overlap, of one size, and lie whole blocks apart.

    Frames are cut so: the signal in blocks, beside the same a block later. Blocks next to each other are meant to lie
    apart.

    Examples
    --------
    >>> shifts_whole_blocks(Window(4, 4), Window(4, 4, -4)), shifts_whole_blocks(Window(4, 4), Window(4, 4, -1))
    (True, False)
    """
    if not (one.is_local and other.is_local) or one.period > 1 or other.period > 1 or one.step != other.step:
        return False
    (first, last), (start, end) = one.intervals[0] or (0, 0), other.intervals[0] or (0, 0)
    size = last - first + 1
    return end - start + 1 == size and one.step > 1 and size <= one.step and (start - first) % size == 0
