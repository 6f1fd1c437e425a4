"""How the state of a node in the affine walk, one integer, is laid out.

Part of the twin ``rfgraph.fast.affine_walk``, held by ``tests/fast/test_affine_walk.py``.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, cached_property

from rfgraph.frozen import dataclass


@dataclass(frozen=True)
class Lanes:
    """How a state is laid out: the number of its frame, and above it three lanes for each axis.

    They hold how far the field of output 0 begins before the input (``before``, the padding) and where it ends
    (``last``), both with ``zero`` added, and above them all the size of the map less one, 0 where it is not known. The
    highest bit of each lane stays clear: it shows which of two numbers is larger, and where one leaves its lane.
    """

    axes: int
    number: int
    size: int
    #: Whether sizes that are not known stand there for an input of ``rfgraph.fast.residues.LARGE``.
    by_residue: bool = False

    @cached_property
    def zero(self) -> int:
        """What stands in a lane for the number 0."""
        return 1 << self.size - 2

    @cached_property
    def frames(self) -> int:
        """The bits of the number of a frame."""
        return (1 << self.number) - 1

    @cached_property
    def ends(self) -> int:
        """The bits of all lanes of ``before`` and ``last``."""
        return (1 << 2 * self.across) - 1 << self.number

    @cached_property
    def befores(self) -> int:
        """The bits of all lanes of ``before``."""
        return (1 << self.across) - 1 << self.number

    @cached_property
    def sizes(self) -> int:
        """The bits of the sizes of maps."""
        return (1 << self.across) - 1 << self.number + 2 * self.across

    @cached_property
    def keys(self) -> int:
        """The bits of the number of a frame and of the sizes of maps."""
        return self.frames | self.sizes

    @cached_property
    def guards(self) -> int:
        """The highest bit of every lane of ``before`` and ``last``."""
        return sum(1 << self.number + (lane + 1) * self.size - 1 for lane in range(2 * self.axes))

    @cached_property
    def size_guards(self) -> int:
        """The highest bit of every size of a map."""
        return sum(1 << self.map_size(axis) + self.size - 1 for axis in range(self.axes))

    @cached_property
    def across(self) -> int:
        """How many bits ``last`` stands above ``before``."""
        return self.size * self.axes

    def before(self, axis: int) -> int:
        """Return where the lane of ``before`` begins."""
        return self.number + self.size * axis

    def last(self, axis: int) -> int:
        """Return where the lane of ``last`` begins."""
        return self.before(axis) + self.across

    def map_size(self, axis: int) -> int:
        """Return where the lane of the map size begins."""
        return self.last(axis) + self.across

    @cached_property
    def map_sizes(self) -> tuple[int, ...]:
        """Where the lanes of map sizes begin."""
        return tuple([self.map_size(axis) for axis in range(self.axes)])

    def map_size_of(self, state: int, axis: int) -> int:
        """Return the size of the map, where one stands there."""
        return (state >> self.map_size(axis) & self.lane) + 1

    @cached_property
    def lane(self) -> int:
        """The bits of one lane, the lowest at 0."""
        return (1 << self.size) - 1

    def meet(self, least: int) -> bool:
        """Return whether intervals of one axis meet in one place, or touch there, on every axis.

        Parameters
        ----------
        least
            In every lane the least that stands in those of the states whose intervals they are: that of ``before`` is
            where the last of them begins, and that of ``last`` where the first of them ends.
        """
        ends = (least & self.befores) + (least >> self.across & self.befores) + self._ones
        return ends & self._highest == self._highest

    @cached_property
    def _ones(self) -> int:
        """The lowest bit of every lane of ``before``."""
        return sum(1 << self.before(axis) for axis in range(self.axes))

    @cached_property
    def _highest(self) -> int:
        """The highest bit of every lane of ``before``: there stands whether two numbers add up to 0 or more."""
        return self._ones << self.size - 1

    def padding(self, state: int, axis: int) -> int:
        """Return how far the field of output 0 begins before the input."""
        return (state >> self.before(axis) & self.lane) - self.zero

    def end(self, state: int, axis: int) -> int:
        """Return where the field of output 0 ends."""
        return (state >> self.last(axis) & self.lane) - self.zero

    def size_less_one(self, state: int, axis: int) -> int:
        """Return the size less one of the field."""
        return self.sizes_less_one((state,), axis)[0]

    def sizes_less_one(self, states: Iterable[int], axis: int) -> list[int]:
        """Return the sizes less one of fields."""
        before, last, lane, zeros = self.before(axis), self.last(axis), self.lane, 2 * self.zero
        return [(state >> before & lane) + (state >> last & lane) - zeros for state in states]


@cache
def lanes_of(axes: int, *, wide: bool, by_residue: bool = False) -> Lanes:
    """Return the layout of states of so many axes: 64 bits for each lane, or 32."""
    return Lanes(axes, 64, 64, by_residue) if wide else Lanes(axes, 32, 32, by_residue)
