"""What each primitive makes of placed tensors: one rule per primitive, in the modules that register with ``place``."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import singledispatch

from rfgraph.importers import program
from rfgraph.importers.lowering.maps import LoweringBuilder, Placed
from rfgraph.importers.lowering.meeting import together
from rfgraph.importers.lowering.views import Dimension, Part, View
from rfgraph.importers.program import Dim, Instruction, Shape, Value, product, symbol
from rfgraph.ops import KINDS

Operands = Sequence[Placed | None]  # None: a constant


@singledispatch
def place(primitive: program.Primitive, maps: LoweringBuilder, step: Instruction, operands: Operands) -> Placed:
    """Return what ``step`` makes of its operands, of which at least one is placed."""
    raise TypeError(f"{type(primitive).__name__} has no rule")


@place.register(program.Opaque)
def _opaque(primitive: program.Opaque, maps: LoweringBuilder, step: Instruction, operands: Operands) -> Placed:
    return maps.unknown(step, operands, primitive.why)


def first(operands: Operands) -> Placed:
    """Return the operand of a primitive that reads one tensor."""
    operand = operands[0]
    assert operand is not None
    return operand


def sizes_of(step: Instruction, rank: int) -> Shape:
    """Return the output shape of a step, made up where it is not known."""
    return (symbol("unseen"),) * rank if step.output.shape is None else step.output.shape


def function_kind(name: str, operands: int) -> str:
    """Return the op kind of an elementwise function, ``elementwise`` where it has none of its own."""
    kind = KINDS.get(name)
    if kind is None or kind.arity == "none" or (kind.arity == "one" and operands > 1):
        return "elementwise"
    return name


def repeated(dim: Dimension, size: Dim) -> Dimension:
    """Return ``dim`` repeated to ``size`` if it has one element."""
    if size == 1 or dim.extra or any(part.size != 1 for part in dim.parts):
        return dim
    return Dimension((*dim.parts, Part(size)))


def merge(
    maps: LoweringBuilder,
    step: Instruction,
    function: str,
    operands: Sequence[Placed],
    labels: Sequence[Sequence[Hashable]],
    output: Sequence[Hashable],
    beside: Sequence[tuple[Value, Sequence[Hashable]]] = (),
) -> Placed:
    """Add the node of a function of tensors whose dimensions of the same label are read together.

    Parameters
    ----------
    maps, step, function
        The network, and what the node stands for.
    operands, labels
        The tensors that depend on an input, and the label of each dimension of each.
    output
        The labels that are left after it.
    beside
        The constants that it reads besides, and the label of each dimension of each.
    """
    plain = [maps.as_map(p, fold=False) for p in operands]
    later = {output[d] for d in maps.mixed_later.get(step.output.name, ())} if maps.step is step else set[Hashable]()
    met = together(maps, plain, labels, output, step.name, mixed=later)
    if met is None:
        plain = [maps.as_map(p, fold=True) for p in operands]
        met = together(maps, plain, labels, output, step.name, mixed=later)
    if met is None:
        return maps.unknown(step, plain, "its operands lie on each other in a way that cannot be followed")
    placed, carried = met
    full = frozenset[int]().union(*(p.full for p in placed))
    sizes = sizes_of(step, len(output))
    dims = [repeated(carried.get(label, Dimension()), size) for label, size in zip(output, sizes, strict=True)]
    view = None if all(p.view is None for p in placed) else View(tuple(dims))
    fixed = [] if view is None else constants(maps, step, view, output, beside)
    # A map of one position that class tokens lie beside is not repeated.
    rows = {"repeats": False} if fixed and any(dim.extra for dim in dims) else {}
    node = maps.node(function_kind(function, len(placed) + len(fixed)), step, [*placed, *fixed], **rows)
    return Placed(node, view, full, step.name)


def constants(
    maps: LoweringBuilder,
    step: Instruction,
    view: View,
    output: Sequence[Hashable],
    beside: Sequence[tuple[Value, Sequence[Hashable]]],
) -> list[Placed]:
    """Add a node for each constant that holds a number for every position of an axis: it fits maps of one size only.

    Constants that are alike at all positions, as those per channel are, and those that are alike in every window, are
    no maps. Neither are those whose size is computed from that of the input.

    Parameters
    ----------
    maps, step
        The network, and the step that reads the constants.
    view, output
        The map that they are read beside, as the step makes it, and the label of each of its dimensions.
    beside
        The constants, and the label of each dimension of each.
    """
    placed = []
    place_of = {label: d for d, label in enumerate(output)}
    for value, labels in beside:
        sizes = [1 if d in value.alike else size for d, size in enumerate(value.shape or ())]
        if 0 in sizes:  # it holds nothing
            continue
        under = zip(labels, sizes, strict=False)
        shape = {place_of[label]: size for label, size in under if label in place_of}
        wide = {d for d, size in shape.items() if isinstance(size, int) and size != 1}
        extents: dict[int, int] = {}
        for axis in view.axes:
            places = [d for d, part in view.places(axis) if part.size != 1]
            alone = view.whole(places[0]) if len(places) == 1 else None
            extent = shape[places[0]] if alone is not None and places[0] in wide else view.extent(axis)
            if places and wide.issuperset(places) and isinstance(extent, int):
                extents[axis] = extent
        if extents:
            others = product(size for d, size in shape.items() if not view.dims[d].axes)
            channels = {"channels": others} if isinstance(others, int) else {}
            name = value.name or f"{step.name}/constant"
            node = maps.emit("constant", name, [], size=maps.per_axis(extents, 1), parameters=0, **channels)
            placed.append(Placed(node, None))
    return placed
