"""Which bodies of scans are recurrent layers: they mix channels of a state and of a row, and move nothing in space.

Of such a scan every output reads all rows, and at the other positions what one turn reads: so its body can be read
once, for all rows together. A body that also slides, shifts or reorders reads farther with each turn; that is told by
its primitives.
"""

from __future__ import annotations

from rfgraph.importers.jax.flattening import Graph, Step
from rfgraph.importers.jax.primitives import POINTWISE, REDUCTIONS, SAME

#: Primitives that leave every element at its position, or take all positions together.
STAYING = frozenset({*POINTWISE, *SAME, *REDUCTIONS, "broadcast_in_dim", "squeeze", "expand_dims"}) - {
    "optimization_barrier"
}


def is_recurrent(body: Graph, fixed: int) -> bool:
    """Whether a body, of which the first ``fixed`` inputs are constants, mixes channels only."""
    data = set(body.inputs[fixed:])
    fresh: set[int] = set()  # tensors whose last dimension a product with weights has made: it carries no positions
    for step in body.steps:
        read = data.intersection(step.inputs)
        if not read:
            continue
        data.update(step.outputs)
        is_fresh = step.op in STAYING and all(i in fresh for i in read)
        if step.op == "dot_general":
            if len(read) != 1 or step.inputs[0] == step.inputs[1] or not _in_place(step, body, read):
                return False
            is_fresh = step.inputs[0] in read
        elif step.op in ("split", "slice"):
            is_fresh = read <= fresh and _of_the_last(step, body)
            if not is_fresh:
                return False
        elif step.op == "concatenate":
            (row,), d = step.outputs, step.parameters["dimension"]
            if row in body.outputs or not all(_sums(other, row, d) for other in body.steps if row in other.inputs):
                return False
        elif step.op not in STAYING:
            return False
        if is_fresh:
            fresh.update(step.outputs)
    return True


def _in_place(step: Step, body: Graph, read: set[int]) -> bool:
    """Whether a product with weights puts what it makes where what it sums was: in the last dimension, or the first."""
    (left, right), (_, batch) = step.parameters["dimension_numbers"]
    ranks = [len(body.shapes[i] or ()) for i in step.inputs]
    if batch or len(left) != 1:
        return False
    if step.inputs[0] in read:
        return tuple(left) == (ranks[0] - 1,) and ranks[1] == 2
    return tuple(right) == (0,) and ranks[0] == 2


def _of_the_last(step: Step, body: Graph) -> bool:
    """Whether a step takes part of the last dimension of its operand, and all of the others."""
    before, after = body.shapes[step.inputs[0]] or (), body.shapes[step.outputs[0]] or ()
    return before[:-1] == after[:-1]


def _sums(step: Step, tensor: int, d: int) -> bool:
    """Whether a step is a product with weights that sums dimension ``d`` of a tensor."""
    if step.op != "dot_general":
        return False
    (left, right), _ = step.parameters["dimension_numbers"]
    return all(d in dims for i, dims in zip(step.inputs, (left, right), strict=True) if i == tensor)
