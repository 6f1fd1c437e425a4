"""Networks of unknown input size in the affine walk: how maps and fields differ from residue to residue of that size.

Part of the twin ``rfgraph.fast.affine_walk``. Twin of ``rfgraph.passes.by_size``, and held against it by
``tests/fast/test_affine_walk.py::test_reports_by_residue_are_the_same_with_and_without_the_walk``.

SAME padding depends on the size of its map modulo its stride, and so on the input size modulo some number of pixels,
from some size up. The network is walked at one input size, ``LARGE``, which such numbers divide: its lanes hold the
sizes and the fields there. How maps and fields at the sizes after it differ from these belongs to the frame. It hardly
changes from layer to layer, as what an op adds to both is mostly the same at every input size.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import gcd, lcm
from typing import NamedTuple

from rfgraph.algebra.residues import shortest_period
from rfgraph.algebra.window import MAX_PERIOD
from rfgraph.fast.shapes import NotPlainError, Shape
from rfgraph.ops import Op

#: The input size of the walk; what does not come round again after a divisor of it is left to the general passes.
LARGE = 2**12 * 3**4 * 5**2 * 7

#: So is what comes round again after more input sizes than this: arrays are quicker there.
MAX_RESIDUES = 1 << 8


class MapSizes(NamedTuple):
    """How large a map is at the input sizes after ``LARGE``, for each a number of positions more than there.

    After as many input sizes as there are ``offsets`` it has grown by ``growth`` positions, and so on from there.
    """

    offsets: tuple[int, ...]
    growth: int

    def over(self, pixels: int) -> list[int]:
        """Return the offsets of so many input sizes, a multiple of those there are."""
        turns = range(pixels // len(self.offsets))
        return [offset + turn * self.growth for turn in turns for offset in self.offsets]

    def cycle(self, positions: int) -> int:
        """Return after how many input sizes the size comes round again, modulo a number of positions."""
        return len(self.offsets) * (positions // gcd(self.growth, positions))


#: The sizes of the input.
OF_INPUT = MapSizes((0,), 1)


class End(NamedTuple):
    """A field at one input size: its shape, and how far its leading phase begins before a place, and ends behind it."""

    shape: Shape
    before: int
    last: int


def together(*residues: int) -> int:
    """Return after how many input sizes several things come round again, each of which does so after its own number.

    Raises
    ------
    NotPlainError
        If that is more than are followed.
    """
    pixels = lcm(*residues)
    if pixels > MAX_RESIDUES or LARGE % pixels:
        raise NotPlainError(f"what the input size decides comes round again only after {pixels} pixels")
    return pixels


def sizes_made(op: Op, size: int, sizes: MapSizes) -> tuple[int, MapSizes]:
    """Return how large the maps are that an op makes of maps of ``sizes``, ``size`` at the first.

    Raises
    ------
    NotPlainError
        If they do not come round again soon enough, or do not grow.
    SizeError
        If there are none at some input size.
    """
    step, more = op.cycle
    pixels = together(sizes.cycle(step))
    if not more:
        raise NotPlainError("its map does not grow with the input")
    before = [size + offset for offset in sizes.over(pixels)]
    after = [op.size((one,)) or 0 for one in before]
    first = after[0]
    if min(after) < 1 or min(before) < op.settles_at + step:
        raise NotPlainError("its map follows no rule at large sizes")
    growth = sizes.growth * (pixels // len(sizes.offsets)) // step * more
    return first, MapSizes(tuple([one - first for one in after]), growth)


def sizes_met(one: MapSizes, other: MapSizes) -> MapSizes:
    """Return the sizes of maps that meet, as large as each other at the first input size.

    Raises
    ------
    NotPlainError
        If they differ at another.
    """
    pixels = together(len(one.offsets), len(other.offsets))
    if one.over(pixels) != other.over(pixels) or one.growth * len(other.offsets) != other.growth * len(one.offsets):
        raise NotPlainError("maps that meet differ in size at some input sizes")
    return MapSizes(tuple(one.over(pixels)), one.growth * (pixels // len(one.offsets)))


def against_the_first(fields: Sequence[End]) -> tuple[End, tuple[End, ...]]:
    """Return the field at the first residue, and how those at the others differ from it."""
    first = fields[0]
    others = [End(one.shape, one.before - first.before, one.last - first.last) for one in fields]
    return first, tuple(others[1 : shortest_period(others)])


def check_together(of_maps: Iterable[MapSizes], phases: int) -> None:
    """Refuse what the general passes leave unknown, as it comes round again after too many input sizes.

    Parameters
    ----------
    of_maps
        The sizes of all maps of a network.
    phases
        How many output phases a field has at most.
    """
    if together(*{len(sizes.offsets) for sizes in of_maps}) * phases > MAX_PERIOD * 64:
        raise NotPlainError("its fields have too many phases to be followed at each residue of the input size")
