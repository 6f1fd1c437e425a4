"""Shapes of fields: what is left of a field along one axis without where it lies and how long it is.

Part of the twin ``rfgraph.fast.affine_walk``, held by ``tests/fast/test_affine_walk.py``. A plain field is its stride
and two ends, and its shape is the stride. Where a network upsamples, the output phases of a field differ, and how they
do belongs to its shape: how much further each begins and ends than the first of them. What an op makes of a shape does
not depend on where the field lies or how long it is, as the least first and the greatest last move along with it; and
what two branches have in common depends on both shapes and on how far the ends of the one lie from those of the other.
"""

from __future__ import annotations

from functools import cached_property
from itertools import pairwise
from math import inf
from typing import NamedTuple

from rfgraph.algebra.window import FULL, Interval, Window
from rfgraph.frozen import dataclass


class NotPlainError(Exception):
    """The network is none that is solved here."""


@dataclass(frozen=True, eq=False)
class Shape:
    """A field along one axis, but for where it lies and how long it is; each is one object of its table.

    In ``window`` the first phase that reads anything, the *leading* one, reads position 0 alone. The others begin and
    end there as far from it as in any field of this shape; so one may end before it begins. Where every path reads the
    whole axis there is no local field, and the window is ``FULL``.
    """

    window: Window

    @cached_property
    def is_local(self) -> bool:
        """Whether there is a local field."""
        return self.window.is_local

    @cached_property
    def step(self) -> int:
        """Positions of the source stepped per period; 0 without a local field."""
        return self.window.step

    @cached_property
    def period(self) -> int:
        """Outputs after which the phases come round again."""
        return self.window.period

    @cached_property
    def leading(self) -> int:
        """The first phase that reads anything."""
        return next(phase for phase, interval in enumerate(self.window.intervals) if interval is not None)

    @cached_property
    def size(self) -> int:
        """The size of the widest phase, where the leading one reads one position."""
        return self.window.size

    @cached_property
    def skips(self) -> bool:
        """Whether some phase reads nothing."""
        return None in self.window.intervals

    def placed(self, before: int, last: int) -> Window:
        """Return the field of this shape whose leading phase reads ``[-before, last]``."""
        moved: list[Interval | None] = [
            None if interval is None else (interval[0] - before, interval[1] + last)
            for interval in self.window.intervals
        ]
        return Window.periodic(tuple(moved), self.window.step)

    def least(self, apart: float) -> float:
        """Return the least size less one of the leading phase at which outputs ``apart`` leave nothing out between.

        It is infinite where no size is surely enough, and 0 or less where any is.
        """
        least = self._least.get(apart)
        if least is None:
            self._least[apart] = least = self._least_between(apart)
        return least

    @cached_property
    def _least(self) -> dict[float, float]:
        return {}

    def _least_between(self, apart: float) -> float:
        if not self.is_local:
            return 0
        if self.period == 1:
            return apart * self.step - 1
        if apart == inf or not self.window.regular:
            return inf
        intervals = self.window.over(self.period + int(apart))
        pairs = zip(intervals, intervals[int(apart) :], strict=False)
        return max(after[0] - before[1] - 1 for before, after in pairs if before and after)

    @cached_property
    def repeats(self) -> bool:
        """Whether neighbouring outputs read the same."""
        return any(one == other for one, other in pairwise(self.window.over(self.period + 1)))


#: Of what reads the whole axis by every path.
WHOLE = Shape(FULL)


class Covered(NamedTuple):
    """What two fields of unlike shapes have in common."""

    #: The smallest window that covers both, or why there is none.
    window: Window
    #: Whose leading phase is that of the window: 0 for that of the first, 1 for the second, 2 for that of both.
    leads: int


def covering(one: Shape, other: Shape, before: int, last: int) -> Covered:
    """Return what covers two fields.

    Parameters
    ----------
    one, other
        Their shapes.
    before, last
        How much further the leading phase of ``one`` begins before that of ``other``, and ends behind it.
    """
    leads = 2 if one.leading == other.leading else int(one.leading > other.leading)
    return Covered(one.placed(before, last).hull(other.window), leads)


def shape_and_ends(field: Window) -> tuple[Window, int, int]:
    """Return the window of the shape of a local field, and where its leading phase begins and ends."""
    first, last = next(interval for interval in field.intervals if interval is not None)
    moved = [None if ends is None else (ends[0] - first, ends[1] - last) for ends in field.intervals]
    return Window.periodic(tuple(moved), field.step), first, last
