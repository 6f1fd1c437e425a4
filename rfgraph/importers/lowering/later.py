"""Which dimensions of tensors are mixed later on: those of keys among the products of queries and keys."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from rfgraph.importers import program
from rfgraph.importers.program import Instruction, Program, Value

Dims = frozenset[int]
NONE: Dims = frozenset()


def mixed_later(read: Program) -> Mapping[str, Dims]:
    """Return the dimensions of each tensor that what reads it mixes, or sums over, or what reads the result of that.

    It is followed through functions of single elements, transposes, and reshapes as far as dimensions stay the last.
    """
    later: dict[str, Dims] = {}
    for step in reversed(read.instructions):
        own = later.get(step.output.name, NONE)
        for k, value in enumerate(step.inputs):
            if not value.constant and (dims := frozenset(_of_operand(step, k, value, own))):
                later[value.name] = later.get(value.name, NONE) | dims
    return later


def _of_operand(step: Instruction, k: int, value: Value, own: Dims) -> Iterable[int]:
    match step.primitive:
        case program.Contract(operands=operands, output=output):
            return [d for d, label in enumerate(operands[k]) if label not in output]
        case program.Mix(dims=dims) | program.Reduce(dims=dims):
            return own.union(dims) if isinstance(step.primitive, program.Mix) else dims
        case program.Transpose(permutation=permutation):
            return [permutation[d] for d in own]
        case program.Pointwise() | program.Reshape() | program.Slice():
            return _from_the_end(value, step.output, own)
    return ()


def _from_the_end(value: Value, output: Value, own: Collection[int]) -> Iterable[int]:
    """Return the dimensions of an operand that are some of an output, counted from the last as long as they fit."""
    before, after = value.shape or (), output.shape or ()
    for back in range(1, min(len(before), len(after)) + 1):
        if before[-back] != after[-back]:
            break
        if len(after) - back in own:
            yield len(before) - back
