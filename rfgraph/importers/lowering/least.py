"""Which inputs a model takes, as far as it says so beside its maps.

An element that is taken at a stated place has to be there, also along a dimension that is no axis of a map: a list of
window positions that is as long as the input is wide divided by 7 has a sixth element for wide inputs only. Every such
place bounds an expression over the sizes of the inputs from below.

Two expressions have to be equal where a tensor is given another shape, which has as many elements, and where rows are
multiplied with a matrix. A width cut into ``width // 4`` blocks of 4 has to be a multiple of 4.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from math import lcm, prod
from random import Random

from rfgraph.algebra.residues import shortest_period
from rfgraph.frozen import dataclass
from rfgraph.importers.lowering.views import View
from rfgraph.importers.program import Contract, Instruction, Pointwise, Program, Reduce, Reshape, Slide, Take
from rfgraph.importers.program.dimensions import (
    Dim,
    Expression,
    bounds,
    denominators,
    least_number,
    names_of,
    product,
    valued,
)

#: Inputs that have to be larger than this are not told.
MOST = 1 << 14

#: Nor are sizes that are known only modulo more than this.
MAX_MODULUS = 1 << 9

#: Nor are guards that would have to be asked more often than this.
MAX_ANSWERS = 1 << 18

#: How many sizes of several dimensions are tried together.
TRIED_TOGETHER = 1 << 10


@dataclass(frozen=True, slots=True)
class Taken:
    """Sizes that an input may have along a dimension: ``least`` to ``greatest``, of ``residues`` modulo ``modulus``.

    ``least`` is ``None`` where they cannot be told, ``greatest`` where there is no such size.
    """

    least: int | None = 1
    modulus: int = 1
    residues: tuple[int, ...] = (0,)
    greatest: int | None = None

    def __contains__(self, size: int) -> bool:
        enough = self.least is not None and size >= self.least and (self.greatest is None or size <= self.greatest)
        return enough and size % self.modulus in self.residues

    def __and__(self, other: Taken) -> Taken:
        """Return the sizes that are among both."""
        modulus = lcm(self.modulus, other.modulus)
        residues = tuple(
            n for n in range(modulus) if n % self.modulus in self.residues and n % other.modulus in other.residues
        )
        if self.least is None or other.least is None or not residues:
            return UNTOLD
        ends = [end for end in (self.greatest, other.greatest) if end is not None]
        return Taken(max(self.least, other.least), modulus, residues, min(ends, default=None))


#: Any size, and no one knows which.
ANY, UNTOLD = Taken(), Taken(None)

#: By input, the sizes that it may have along each of its dimensions.
Least = Mapping[str, tuple[Taken, ...]]


def least_sizes(program: Program) -> Least:
    """Return which sizes each input may have along each of its dimensions, as far as the program tells."""
    taken: dict[str, Taken] = {}
    for size, number in dict.fromkeys(_needed(program)):
        names = names_of(size)
        if names is None:  # it may depend on any of them
            return {value.name: (UNTOLD,) * len(value.shape or ()) for value in program.inputs}
        (name,) = names if len(names) == 1 else ("",)
        from_size = least_number(size, name, number, MOST) if name else None
        for each in names:
            taken[each] = taken.get(each, ANY) & Taken(from_size)
    for one, other in dict.fromkeys(_equal(program)):
        for each, sizes in _solved(one, other).items():
            taken[each] = taken.get(each, ANY) & sizes
    for each, sizes in _guarded(program).items():
        taken[each] = taken.get(each, ANY) & sizes
    return {value.name: tuple(_of_dimension(size, taken) for size in value.shape or ()) for value in program.inputs}


def too_short(step: Instruction) -> str:
    """Return why an element that a step takes is not there, "" if it may be."""
    for size, number in _places(step):
        greatest = bounds(size).greatest
        if greatest is not None and greatest < number:
            return f"it takes element {number - 1} along a dimension of size {size}"
    return ""


def along_axes(least: tuple[Taken, ...], view: View | None, axes: int) -> list[Taken]:
    """Return which sizes an input may have along each axis, of those along its dimensions."""
    by_axis = [ANY] * axes
    for sizes, dim in zip(least, () if view is None else view.dims, strict=False):
        for axis in dim.axes if sizes != ANY else ():
            by_axis[axis] = sizes if len(dim.parts) == 1 else UNTOLD
    return by_axis


def _needed(program: Program) -> Iterator[tuple[Expression, int]]:
    """Return the sizes that may be too small for an element that is taken, and what each must be at least."""
    for step in program.instructions:
        for size, number in _places(step):
            least = bounds(size).least
            if isinstance(size, Expression) and (least is None or least < number):
                yield size, number


def _places(step: Instruction) -> Iterator[tuple[Dim, int]]:
    """Return the size of the dimension along which a step takes elements, and how long it has to be."""
    match step.primitive:
        case Take(dim=d) if (data := step.inputs[1].data) is not None and step.inputs[0].shape is not None:
            places = [place for place in data.elements.flat if isinstance(place, int)]
            if places:
                yield step.inputs[0].shape[d], max(max(places) + 1, -min(places))


def _of_dimension(size: Dim, taken: Mapping[str, Taken]) -> Taken:
    names = names_of(size) or frozenset()
    if names.isdisjoint(taken):
        return ANY
    (name,) = names if len(names) == 1 else ("",)
    sizes = taken.get(name, UNTOLD)
    if str(size) == name:
        return sizes
    if sizes.least is None or sizes.modulus != 1 or sizes.greatest is not None:
        return UNTOLD
    smallest = valued(size, {name: sizes.least})
    return Taken(smallest) if isinstance(smallest, int) else UNTOLD


def _equal(program: Program) -> Iterator[tuple[Dim, Dim]]:
    """Return the sizes that have to be equal, and are not whatever the inputs."""
    for step in program.instructions:
        pairs: list[tuple[Dim, Dim]] = []
        match step.primitive:
            case Reshape() if step.inputs[0].shape is not None and step.output.shape is not None:
                pairs.append((product(step.inputs[0].shape), product(step.output.shape)))
            case Contract(operands=operands, output=output):
                summed: dict[str, list[Dim]] = {}
                for labels, value in zip(operands, step.inputs, strict=True):
                    for label, size in zip(labels, value.shape or (), strict=False):
                        if label not in output:
                            summed.setdefault(label, []).append(size)
                pairs += [(sizes[0], other) for sizes in summed.values() for other in sizes[1:]]
            case Pointwise() if not any(value.shape is None for value in step.inputs):
                # Rows of several axes that lie in one dimension beside as many numbers: nothing else compares these.
                for sizes in zip_longest(*(reversed(value.shape or ()) for value in step.inputs), fillvalue=1):
                    fixed = [size for size in sizes if isinstance(size, int) and size > 1]
                    pairs += [(size, fixed[0]) for size in sizes if fixed and len(names_of(size) or ()) > 1]
            case Reduce(function="gather", dims=dims, bound=bound) if bound and step.inputs[0].shape is not None:
                # The places follow from sizes alone, and no one knows whether they are there.
                pairs += [(size, 0) for d in dims if isinstance(size := step.inputs[0].shape[d], Expression)]
        yield from (
            (one, other) for one, other in pairs if one != other and None not in (names_of(one), names_of(other))
        )


def _guarded(program: Program) -> dict[str, Taken]:
    """Return for each name at which sizes all guards hold, where that is a matter of each name for itself."""
    guards = program.guards
    names = sorted(frozenset[str]().union(*(guard.names for guard in guards)))
    untold = dict.fromkeys(names, UNTOLD)
    period = lcm(*(prod(guard.divisors) for guard in guards))
    # Beyond the numbers that sizes are compared with only what is left of a division tells.
    small = 2 * period * (max((number for guard in guards for number in guard.numbers), default=0) + 2)
    if period > MAX_MODULUS or small * len(guards) > MAX_ANSWERS:
        return untold

    def hold(sizes: Mapping[str, int]) -> bool:
        return all(guard.holds is not None and guard.holds(sizes) for guard in guards)

    random, first = Random(0), small * MAX_MODULUS
    told: dict[str, Taken] = {}
    open_to: dict[str, list[int]] = {}  # small sizes at which no kernel leaves nothing of a map
    tried = [{name: first + random.randrange(2 * period) for name in names} for _ in range(TRIED_TOGETHER // 4)]
    common = next((sizes for sizes in tried if hold(sizes)), dict.fromkeys(names, first))
    for name in names:
        large = [hold({**common, name: first + n}) for n in range(2 * period)]
        if large[:period] != large[period:] or not any(large):
            return untold
        allowed = [hold({**common, name: n}) for n in range(1, small + 1)]
        least = max((n for n, holds in enumerate(allowed, 1) if holds != large[n % period]), default=0) + 1
        below = {n for n, holds in enumerate(allowed[: least - 1], 1) if holds}
        if least > small // 2 or not all(_leaves_nothing(program, name, n) for n in below):
            return untold
        modulus = shortest_period(large[:period])
        told[name] = Taken(least, modulus, tuple(n for n in range(modulus) if large[n]))
        open_to[name] = [n for n in range(1, 2 * least + period + 1) if n not in below]
    for _ in range(TRIED_TOGETHER // 4 if len(names) > 1 else 0):
        sizes = {name: random.choice(open_to[name]) for name in names}
        if hold(sizes) != all(n in told[name] for name, n in sizes.items()):
            return untold
    return told


def _leaves_nothing(program: Program, name: str, number: int) -> bool:
    """Return whether a kernel that slides leaves nothing of a map, for a number in the place of a name."""
    slid = (step.output.shape or () for step in program.instructions if isinstance(step.primitive, Slide))
    sizes = {size for shape in slid for size in shape if names_of(size) == frozenset({name})}
    return any((left := valued(size, {name: number})) is not None and left < 1 for size in sizes)


def _solved(one: Dim, other: Dim) -> dict[str, Taken]:
    """Return for each name at which sizes two expressions are equal, where that is a matter of each name for itself."""
    names = sorted((names_of(one) or frozenset()) | (names_of(other) or frozenset()))
    period = lcm(*denominators(one), *denominators(other))
    untold = dict.fromkeys(names, UNTOLD)
    if period > MAX_MODULUS:
        return untold

    def equal(sizes: Mapping[str, int]) -> bool:
        return valued(one, sizes) == valued(other, sizes)

    # At small sizes maps may be empty, which are equal all the same: other ops refuse those.
    random, first = Random(0), period * MAX_MODULUS
    tried = [{name: first + random.randrange(2 * period) for name in names} for _ in range(TRIED_TOGETHER)]
    common = next((sizes for sizes in tried if equal(sizes)), dict.fromkeys(names, first))
    if not any(map(equal, tried)):
        return _at_most(one - other, names)
    allowed: dict[str, list[bool]] = {}
    for name in names:
        allowed[name] = [equal({**common, name: first + n}) for n in range(2 * period)]
        if allowed[name][:period] != allowed[name][period:] or not any(allowed[name]):
            return untold
    if any(equal(sizes) != all(allowed[name][n - first] for name, n in sizes.items()) for sizes in tried):
        return untold
    told = {}
    for name in names:
        modulus = shortest_period(allowed[name][:period])
        told[name] = Taken(1, modulus, tuple(n for n in range(modulus) if allowed[name][n]))
    return told


def _at_most(difference: Dim, names: Sequence[str]) -> dict[str, Taken]:
    """Return for one name at which sizes a difference that grows with it is 0; of several, they are not told."""
    if len(names) == 1:
        for growing in (difference, -difference):
            first, beyond = (least_number(growing, names[0], number, MOST) for number in (0, 1))
            if first is not None and beyond is not None and first < beyond:
                return {names[0]: Taken(first, greatest=beyond - 1)}
    return dict.fromkeys(names, UNTOLD)
