"""What each primitive makes of placed tensors: one rule per primitive, in the modules that register with ``place``."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import singledispatch

from rfgraph.importers import program
from rfgraph.importers.lowering.maps import Maps, Placed
from rfgraph.importers.lowering.views import Dimension, Part, View
from rfgraph.importers.program.dimensions import Dim, Shape, symbol
from rfgraph.importers.program.primitives import Instruction
from rfgraph.ops import KINDS

Operands = Sequence[Placed | None]  # None: a constant


@singledispatch
def place(primitive: program.Primitive, maps: Maps, step: Instruction, operands: Operands) -> Placed:
    """Return what ``step`` makes of its operands, of which at least one is placed."""
    raise TypeError(f"{type(primitive).__name__} has no rule")


@place.register
def _opaque(primitive: program.Opaque, maps: Maps, step: Instruction, operands: Operands) -> Placed:
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
    maps: Maps,
    step: Instruction,
    function: str,
    operands: Sequence[Placed],
    labels: Sequence[Sequence[Hashable]],
    output: Sequence[Hashable],
) -> Placed:
    """Add the node of a function of tensors whose dimensions of the same label are read together."""
    plain = [maps.as_map(p, fold=False) for p in operands]
    together = maps.together(plain, labels, output, step.name)
    if together is None:
        plain = [maps.as_map(p, fold=True) for p in operands]
        together = maps.together(plain, labels, output, step.name)
    if together is None:
        return maps.unknown(step, plain, "its operands lie on each other in a way that cannot be followed")
    placed, carried = together
    node = maps.node(function_kind(function, len(placed)), step, placed)
    full = frozenset[int]().union(*(p.full for p in placed))
    if all(p.view is None for p in placed):
        return Placed(node, None, full, step.name)
    sizes = sizes_of(step, len(output))
    dims = [repeated(carried.get(label, Dimension()), size) for label, size in zip(output, sizes, strict=True)]
    return Placed(node, View(tuple(dims)), full, step.name)
