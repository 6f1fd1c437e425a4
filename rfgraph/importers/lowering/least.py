"""The least input that a model takes, as far as it says so beside its maps.

An element that is taken at a stated place has to be there, also along a dimension that is no axis of a map: a list of
window positions that is as long as the input is wide divided by 7 has a sixth element for wide inputs only. Every such
place bounds an expression over the sizes of the inputs from below.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rfgraph.importers.lowering.views import View
from rfgraph.importers.program.dimensions import Dim, Expression, bounds, least_number, names_of, valued
from rfgraph.importers.program.primitives import Instruction, Program, Take

#: Inputs that have to be larger than this are not told.
MOST = 1 << 14

#: By input, the least size along each of its dimensions; ``None`` where it cannot be told.
Least = Mapping[str, tuple[int | None, ...]]


def least_sizes(program: Program) -> Least:
    """Return the least size of each input along each of its dimensions, at which every element is there."""
    least: dict[str, int | None] = {}
    for size, number in dict.fromkeys(_needed(program)):
        names = names_of(size)
        if names is None:  # it may depend on any of them
            return {value.name: (None,) * len(value.shape or ()) for value in program.inputs}
        (name,) = names if len(names) == 1 else ("",)
        from_size = least_number(size, name, number, MOST) if name else None
        for each in names:
            known = least.get(each, 1)
            least[each] = None if known is None or from_size is None else max(known, from_size)
    return {value.name: tuple(_at_least(size, least) for size in value.shape or ()) for value in program.inputs}


def too_short(step: Instruction) -> str:
    """Return why an element that a step takes is not there, "" if it may be."""
    for size, number in _places(step):
        greatest = bounds(size).greatest
        if greatest is not None and greatest < number:
            return f"it takes element {number - 1} along a dimension of size {size}"
    return ""


def along_axes(least: tuple[int | None, ...], view: View | None, axes: int) -> list[int | None]:
    """Return the least size along each axis of an input, of those along its dimensions."""
    sizes: list[int | None] = [1] * axes
    for size, dim in zip(least, () if view is None else view.dims, strict=False):
        for axis in dim.axes if size != 1 else ():
            sizes[axis] = size if len(dim.parts) == 1 else None
    return sizes


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


def _at_least(size: Dim, least: Mapping[str, int | None]) -> int | None:
    names = names_of(size) or frozenset()
    if names.isdisjoint(least):
        return 1
    numbers = {name: number for name in names if (number := least.get(name)) is not None}
    smallest = valued(size, numbers) if len(names) == 1 else None
    return smallest if isinstance(smallest, int) else None
