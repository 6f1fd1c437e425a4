"""At which input sizes a network works, told for every size from 1 on, and proven.

The size of every map is a function of the input size ``n``. From some size on it grows in steps: ``t`` positions for
every ``k`` pixels. It lies between two lines of slope ``t/k``, and one pass over the network carries these lines. They
say from which ``n`` on, the *base*, every op is given a map large enough for its own rule, every map that grows is
larger than 1, and maps of unequal slope differ for good. So from the base on everything depends on ``n mod M`` alone,
and one modulus of sizes proves the rule for all of them; below the base every size is tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import cached_property, lru_cache
from math import ceil, gcd, lcm

import numpy as np
from numpy.typing import NDArray

from rfgraph.algebra.residues import InputSizes, MapSize, shortest_period
from rfgraph.errors import SizeError
from rfgraph.frozen import dataclass
from rfgraph.graph.network import OrderedNetwork
from rfgraph.ops import Op

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

#: Networks whose modulus is larger are not solved: a bound on time and memory.
MAX_MODULUS = 1 << 12

#: Input sizes that are tried one by one, at the most.
MAX_TRIED = 1 << 20

#: Sizes of maps beyond this are not followed in 64 bits.
LARGEST = 1 << 61

#: Lines that ops made are kept for later networks, up to so many.
MAX_MADE = 1 << 12

#: Input sizes that are tried at a time.
_BLOCK = 1 << 13


@dataclass(frozen=True, slots=True)
class Line:
    """Bounds of the size of a map: ``slope*n + low <= size <= slope*n + high``, and the pixels ``k`` of its steps."""

    slope: Fraction
    low: Fraction
    high: Fraction
    pixels: int

    @property
    def grows(self) -> bool:
        """Whether a larger input makes the map larger."""
        return self.slope.numerator > 0

    def from_size(self, size: int) -> int:
        """Return from which input size on the map has at least ``size`` positions, for a map that grows."""
        return ceil((size - self.low) / self.slope)


_FIXED = Fraction(0)


@dataclass(frozen=True)
class SizeRule:
    """How the sizes of all maps along one axis follow from the input size."""

    layers: OrderedNetwork
    axis: int
    #: Modulo what the input size decides whether maps fit, and paddings.
    modulus: int
    #: The input size from which on that, and nothing else, decides.
    base: int
    lines: list[Line | None]  # [V], None where the size of the map is not known
    #: Whether some node reads a map whose size no one knows: then no one knows which sizes it takes either.
    is_lost: bool

    @cached_property
    def start(self) -> int:
        """The least multiple of the modulus that is no less than the base."""
        return -(-self.base // self.modulus) * self.modulus

    @property
    def can_be_tried(self) -> bool:
        """Whether there are few enough sizes below the base to try them all."""
        return self.modulus <= MAX_MODULUS and self.start + self.modulus <= MAX_TRIED

    @property
    def is_followed(self) -> bool:
        """Whether sizes beyond the base are small enough for 64 bits, and residues few enough."""
        if self.modulus > MAX_MODULUS:
            return False
        end = self.start + 3 * self.modulus
        distinct = {id(line): line for line in self.lines if line is not None}.values()
        return all(line.slope * end + line.high < LARGEST for line in distinct) and end < LARGEST

    @cached_property
    def settled(self) -> tuple[list[Ints | None], Flags]:
        """Sizes of all maps at one input size of each residue, beyond the base, and at which residues maps fit."""
        sizes, works, _ = sizes_at(self.layers, self.axis, self.start + np.arange(self.modulus), self.lines)
        return sizes, works

    @cached_property
    def settled_later(self) -> list[Ints | None]:
        """Sizes of all maps two moduli later, [V][M]: half of what has grown since is no less than a position."""
        return sizes_at(self.layers, self.axis, self.start + 2 * self.modulus + np.arange(self.modulus), self.lines)[0]

    @cached_property
    def tried(self) -> tuple[Flags, Flags]:
        """Whether the network works at every input size from 0 to the start, and whether it repeats a map there.

        A map that has shrunk to one position is repeated at a merge, where larger ones are not.
        """
        works, repeats = np.zeros((2, self.start), dtype=bool)
        for first in range(1, self.start, _BLOCK):
            inputs = np.arange(first, min(first + _BLOCK, self.start))
            _, works[inputs], repeats[inputs] = sizes_at(self.layers, self.axis, inputs, self.lines)
        return works, repeats

    @cached_property
    def smallest(self) -> int:
        """The least input size from which on residues decide which sizes work, and windows; exact if few are tried."""
        if not self.can_be_tried:
            return max(self.start, 1)
        works, repeats = self.tried
        return _last((works != self._by_residue) | (works & repeats)) + 1

    @property
    def _by_residue(self) -> Flags:
        """What the residue says of every input size from 0 to the start."""
        return np.tile(self.settled[1], self.start // self.modulus)

    @cached_property
    def input_sizes(self) -> InputSizes | None:
        """The input sizes at which the network works, ``None`` where that cannot be told."""
        if self.is_lost or not self.can_be_tried or not self.is_followed:
            return None
        fits = self.settled[1]
        modulus = shortest_period(fits.tolist())
        residues = tuple(np.flatnonzero(fits[:modulus]).tolist())
        works, _ = self.tried
        least = _last(works != self._by_residue) + 1
        name = self.layers.axes[self.axis]
        while residues and (not least or least % modulus not in residues):
            least += 1
        also = tuple(n for n in np.flatnonzero(works).tolist() if n < least or not residues)
        return InputSizes(name, modulus, residues, least if residues else 1, also)

    def map_size(self, v: int) -> MapSize | None:
        """Return the size of the map of node ``v`` as a formula of the input size, ``None`` where it cannot be told."""
        line, sizes = self.lines[v], self.input_sizes
        if line is None or sizes is None or not sizes.residues:
            return None
        period = lcm(self.modulus, line.pixels)
        if period > MAX_MODULUS:
            return None
        first = -(-self.start // period) * period
        inputs = np.arange(1, first + period)
        maps, works, _ = sizes_at(self.layers, self.axis, inputs, self.lines)
        size_of = maps[v]
        if size_of is None:
            return None
        told = dict(zip(inputs.tolist(), zip(size_of.tolist(), works.tolist(), strict=True), strict=True))
        offsets = tuple(size - line.slope * n if fits else None for n, (size, fits) in list(told.items())[-period:])
        offsets = offsets[: shortest_period(offsets)]
        modulus = len(offsets)
        smallest = first
        while smallest > 1 and _follows(
            told[smallest - 1], smallest - 1, line.slope, offsets[(smallest - 1) % modulus]
        ):
            smallest -= 1
        while offsets[smallest % modulus] is None:
            smallest += 1
        same = [n for n, (size, fits) in told.items() if fits and size == n and n < smallest]
        residues: tuple[int, ...] = ()
        if line.slope == 1:
            residues = tuple(residue for residue, offset in enumerate(offsets) if offset == 0)
        else:  # a line of another slope meets that of slope 1 once
            met = {offset / (1 - line.slope) for offset in offsets if offset is not None}
            same += sorted(
                int(n) for n in met
                if n >= smallest and n.denominator == 1 and offsets[int(n) % modulus] == n * (1 - line.slope)
            )  # fmt: skip
        unchanged = InputSizes(self.layers.axes[self.axis], modulus if residues else 1, residues, smallest, tuple(same))
        return MapSize(line.slope, offsets, smallest, unchanged)


def _follows(told: tuple[int, bool], n: int, slope: Fraction, offset: Fraction | None) -> bool:
    size, fits = told
    return fits == (offset is not None) and (offset is None or size == slope * n + offset)


def _last(marks: Flags) -> int:
    """Return the last index that is marked, 0 if none is: there is no input of size 0."""
    marked = np.flatnonzero(marks)
    return int(marked[-1]) if len(marked) else 0


def size_rule(layers: OrderedNetwork, axis: int) -> SizeRule:
    """Return how the sizes of all maps along an axis follow from the size of the inputs."""
    modulus, base = 1, 1
    lines: list[Line | None] = []
    reached: list[bool] = []  # whether its map has to do with an input
    # What ops make of lines, by the ids of both: equal lines are one object, and most layers keep theirs.
    known: dict[tuple[int, ...], tuple[Line | None, int, int]] = {}
    interned: dict[Line | None, Line | None] = {}
    is_lost = False
    for ops, tails in zip(layers.ops, layers.tails, strict=True):
        op, slot = ops[axis].sizing
        read = [lines[tail] for tail in tails]
        sized = read[slot] if tails and slot is not None else None
        is_lost = is_lost or any(lines[tail] is None and reached[tail] for tail in tails)
        if op.arity == "none":
            line: Line | None = Line(Fraction(1), _FIXED, _FIXED, 1)
            if op.window(0, ()).kind == "empty":
                line = _constant(op.size(()))
            is_lost = is_lost or op.smallest is None
            base, modulus = max(base, op.smallest or 1, (op.largest or 0) + 1), lcm(modulus, op.own_residues[0])
        elif slot is not None and sized is None:
            line = _constant(_output(op, None))
        else:
            key = (id(ops), *map(id, read)) if sized is None else (id(ops), id(sized))
            if key not in known:
                line, period, needs = _merged(op, read) if sized is None else _made(op, sized)
                known[key] = interned.setdefault(line, line), period, needs
            line, period, needs = known[key]
            modulus, base = lcm(modulus, period), max(base, needs)
        if line is not None and line.grows and not ops[axis].window_cycle:  # its ratio may repeat with the residue
            modulus = lcm(modulus, line.pixels, *(tail.pixels for tail in read if tail is not None))
        lines.append(interned.setdefault(line, line) if not tails else line)
        reached.append(any(reached[tail] for tail in tails) if tails else line is not None and line.grows)
    return SizeRule(layers, axis, modulus, base, lines, is_lost)


def _constant(size: int | None) -> Line | None:
    return None if size is None else Line(_FIXED, Fraction(size), Fraction(size), 1)


@lru_cache(MAX_MADE)
def _made(op: Op, line: Line) -> tuple[Line | None, int, int]:
    """Return the line of what an op makes, modulo what it decides, and the input size from which on that holds."""
    step, more = op.cycle
    if not line.grows:
        return _constant(max(_output(op, int(line.low)) or 0, int(not op.makes_empty))), 1, 1
    needs = line.from_size(op.settles_at)
    least = _output(op, op.settles_at)
    if least is None:  # it takes no map so large or larger
        return line, 1, max(needs, 1)
    if not more:
        return _constant(max(least, int(not op.makes_empty))), 1, max(needs, 1)
    positions = int(line.slope * line.pixels)
    pixels = line.pixels * (step // gcd(positions, step))
    decides = step > 1 and _output(op, op.settles_at + 1) is None
    ratio = Fraction(more, step)
    # It never shrinks: over one step it lies between what it makes of the least size, and that of a step later.
    low = ratio * (line.low - op.settles_at - step + 1) + least
    high = ratio * (line.high - op.settles_at) + least + more
    made_line = Line(line.slope * ratio, low, high, pixels)
    return made_line, pixels if decides or op.window_cycle > 1 else 1, max(needs, made_line.from_size(1), 1)


def _merged(op: Op, read: Sequence[Line | None]) -> tuple[Line | None, int, int]:
    """Return the line of what a merge makes, modulo what maps fit, and the input size from which on that holds."""
    lines = [line for line in read if line is not None]
    growing = [line for line in lines if line.grows]
    pixels = lcm(*(line.pixels for line in growing))
    if op.joins:
        if len(lines) < len(read):
            return None, 1, 1
        ends = (sum((line.low for line in lines), _FIXED), sum((line.high for line in lines), _FIXED))
        return Line(sum((line.slope for line in lines), _FIXED), *ends, pixels), 1, 1
    if op.alternatives and len(set(read)) == 1:  # those that differ in size have no size in common
        return read[0], pixels, 1
    if not op.merges or not lines:
        return None, 1, 1  # of an unknown op no one knows which inputs fit
    needs = 1
    if op.broadcasts:
        needs = max((line.from_size(2) for line in growing), default=1)
        fixed = [line for line in lines if not line.grows and line.low != 1]
    else:
        fixed = [line for line in lines if not line.grows]
    distinct = list(dict.fromkeys(growing))
    main = distinct[0] if distinct else fixed[0] if fixed else lines[0]
    for line in dict.fromkeys([*distinct[1:], *(fixed if growing else ())]):
        if line.slope != main.slope:  # from where the steeper one leaves the other behind, they never fit
            steep, flat = (line, main) if line.slope > main.slope else (main, line)
            needs = max(needs, (flat.high - steep.low) // (steep.slope - flat.slope) + 1)
    same = [line for line in distinct if line.slope == main.slope]
    if growing:
        main = Line(main.slope, max(line.low for line in same), min(line.high for line in same), pixels)
    return main, pixels if len(growing) > 1 else 1, max(needs, 1)


def _output(op: Op, size: int | None) -> int | None:
    """Return the output size, ``None`` if there is none or no one knows it."""
    try:
        return op.size((size,))
    except SizeError:
        return None


def sizes_at(
    layers: OrderedNetwork, axis: int, inputs: Ints, lines: Sequence[Line | None]
) -> tuple[list[Ints | None], Flags, Flags]:
    """Return the sizes of all maps at every one of the input sizes, [V][N].

    Besides, at which input sizes the network works, [N], and at which of them a merge repeats a map that grows, [N].
    Where it does not work, sizes mean nothing. They are ``None`` where the input size does not tell.
    """
    sizes: list[Ints | None] = []
    works, repeats = np.ones(inputs.shape, dtype=bool), np.zeros(inputs.shape, dtype=bool)
    # What ops made of sizes, by the ids of both: most layers keep theirs.
    known: dict[tuple[int, int], Ints] = {}
    empty: dict[int, bool] = {}  # whether maps have no positions at some of the inputs, by the id of their sizes
    for v, (ops, tails) in enumerate(zip(layers.ops, layers.tails, strict=True)):
        op, slot = ops[axis].sizing
        if op.arity == "none":
            constant = op.window(0, ()).kind == "empty"
            size = _filled(op.size(()), inputs) if constant else inputs
            works &= _taken(op, inputs)
        elif slot is None:
            growing = [bool(line and line.grows) for line in (lines[tail] for tail in tails)]
            size = _met(op, [sizes[tail] for tail in tails], growing, works, repeats)
        else:
            read = sizes[tails[slot]]
            if read is None:
                size = _filled(_output(op, None), inputs)
            else:
                key = id(ops), id(read)
                if key not in known:
                    known[key] = _applied(op, read, works, ops[axis])
                size = known[key]
        if size is not None and id(size) not in empty:
            empty[id(size)] = bool((size < 1).any())
        full = [] if ops[axis].takes_empty else [sizes[tail] for tail in tails]
        full += [size] if v in layers.ends else []
        for of_map in full:
            if of_map is not None and empty[id(of_map)]:
                works &= of_map > 0
        sizes.append(size)
    return sizes, works, repeats


def _taken(op: Op, inputs: Ints) -> Flags:
    """Return which sizes of a map that an op brings itself the model takes."""
    modulus, residues = op.own_residues
    largest = LARGEST if op.largest is None else op.largest
    return np.asarray((inputs >= (op.smallest or 1)) & (inputs <= largest) & np.isin(inputs % modulus, residues))


def _filled(size: int | None, inputs: Ints) -> Ints | None:
    return None if size is None else np.full_like(inputs, size)


def _met(op: Op, read: Sequence[Ints | None], growing: Sequence[bool], works: Flags, repeats: Flags) -> Ints | None:
    """Return the sizes that a merge makes; clear where maps do not fit, and mark where one that grows is repeated."""
    known = [size for size in read if size is not None]
    if op.joins:
        return np.add.reduce(known) if len(known) == len(read) else None
    if op.alternatives and len(known) == len(read) and all(np.array_equal(known[0], size) for size in known):
        return known[0]
    if not op.merges or not known:
        return None
    first, *others = {id(size): size for size in known}.values()
    if not others:
        return first
    largest = np.maximum.reduce([first, *others])
    if op.broadcasts:  # one position is repeated as often as there are others: never, beside none
        largest = np.where((largest == 1) & (np.minimum.reduce([first, *others]) == 0), 0, largest)
    largest = first if np.array_equal(largest, first) else largest
    for size, grows in zip(read, growing, strict=True):
        if size is None or size is largest:
            continue
        fits = size == largest
        if op.broadcasts:
            one = (size == 1) & ~fits
            fits |= one
            if grows:
                repeats |= one
        works &= fits
    return largest


def _applied(op: Op, size: Ints, works: Flags, own: Op) -> Ints:
    """Return the sizes that an op makes, ``own`` by the rule of ``op``; clear where it makes none."""
    step, more = op.cycle
    step, settled = min(step, LARGEST), min(op.settles_at, LARGEST)  # no map is so large
    turns = np.maximum(size - settled, 0) // step
    cases, which = np.unique(np.where(works, size - turns * step, 0), return_inverse=True)
    outputs, exist = np.zeros_like(cases), np.zeros(cases.shape, dtype=bool)
    for case, of in enumerate(cases.tolist()):
        output = _output(op, of) if of > 0 or own.takes_empty else None
        if output is not None:
            outputs[case], exist[case] = output, True
    result = outputs[which] + turns * more
    works &= exist[which] & (result >= int(not own.makes_empty))
    return size if np.array_equal(result, size) else result
