"""Rules of what computes: functions of one position or of several tensors, reductions, normalisations, products."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rfgraph.importers import program
from rfgraph.importers.lowering.maps import LoweringBuilder, Placed, mixed, unmixed
from rfgraph.importers.lowering.rules import Operands, first, function_kind, merge, place, repeated, sizes_of
from rfgraph.importers.lowering.views import Dimension, View, along, other
from rfgraph.importers.program import Dim, Expression, Instruction, Shape, Value

#: Functions by which a constant may hide what it is put beside: by a number so low that a softmax makes it 0, or by 0.
HIDING = frozenset({"add", "sub", "mul", "min", "where"})

#: Functions by which a constant that is not alike at all positions may hide a map at some of them: by 0, or by an end.
ZEROING = frozenset({"mul", "and", "pow", "or", "min", "max"})

#: What a function that mixes elements is called where it mixes space, and where it mixes channels only.
MIXING = {
    "softmax": ("softmax", "channel_softmax"),
    "layer_norm": ("group_norm", "layer_norm"),
    "instance_norm": ("instance_norm", "identity"),
    "group_norm": ("group_norm", "identity"),
    "recurrent": ("recurrent", "identity"),
    "cumsum": ("cumsum", "elementwise"),
}


@place.register(program.Pointwise)
def _pointwise(primitive: program.Pointwise, maps: LoweringBuilder, step: Instruction, operands: Operands) -> Placed:
    known = [p for p in operands if p is not None]
    why = primitive.bound
    masked = primitive.function == "where" and len(operands) == 3 and operands[0] is None
    chosen = _decided(step.inputs[0]) if masked and len(known) == 2 else None
    if chosen is not None and step.inputs[chosen].shape == step.output.shape and (p := operands[chosen]) is not None:
        p = maps.as_map(p, fold=False)
        return p.moved(maps.node("identity", step, [p]), p.view) if p.view is not None else p
    if masked and len(known) == 2 and step.inputs[0].shape == () and not step.inputs[0].constant:
        return _either(program.Either(), maps, step, operands)  # one number that is given when the model runs decides
    # One constant for all elements hides none of them: libraries guard a division so.
    if primitive.function == "trilu" or (masked and step.inputs[0].shape not in ((), None)):
        why = why or program.MASKED
    beside = [value for p, value in zip(operands, step.inputs, strict=True) if p is None]
    if primitive.function in HIDING and any(p.weighs for p in known) and any(_is_mask(maps, value) for value in beside):
        why = why or program.MASKED
    if primitive.function in ZEROING and any(_hides(maps, primitive.function, known, value) for value in beside):
        why = why or program.ZEROED
    silenced = primitive.function in ("mul", "and") and any(_silences(maps, value) for value in beside)
    if silenced and any(p.folded or p.beside for p in known):
        why = why or program.ZEROED
    if step.name in maps.sided:  # what its mask hides is told of the product and the sum
        why, silenced = "", False
    if why:
        known = [maps.at_most(p, f"{step.name}/read", why) for p in known]
        hidden = iter(known)
        operands = [None if p is None else next(hidden) for p in operands]
    rank = None if step.output.shape is None else len(step.output.shape)
    if len(operands) == 1 or (len(known) == 1 and (rank is None or known[0].view is None)):
        p = maps.as_map(known[0], fold=False)
        alone = Placed(maps.node(function_kind(primitive.function, 1), step, [p]), p.view, p.full, p.label)
        return replace(alone, weighs="some") if why else alone
    read = list(zip(operands, step.inputs, strict=True))
    labels = [_from_the_right(p, value.shape, rank) for p, value in read if p is not None]
    fixed = [(value, _from_the_right(None, value.shape, rank)) for value in beside]
    output = merge(maps, step, primitive.function, known, labels, range(rank or 0), fixed)
    if silenced:
        output = replace(output, beside=True)  # some channels read nothing
    return replace(output, weighs="some") if why else output


def _decided(condition: Value) -> int | None:
    """Return which operand a constant condition chooses for all elements; ``None`` if that is not known."""
    if condition.data is None or not condition.data.elements.size:
        return None
    if any(isinstance(element, Expression) for element in condition.data.elements.flat):
        return None
    truths = {bool(element) for element in condition.data.elements.flat}
    return None if len(truths) > 1 else (1 if truths.pop() else 2)


def _is_mask(maps: LoweringBuilder, value: Value) -> bool:
    """Return whether a constant may be a mask: no one says that it is learned, and it is no one number."""
    sizes = [1 if d in value.alike else size for d, size in enumerate(value.shape or ())]
    return not (value.learned and maps.tells_learned) and any(size != 1 for size in sizes)


def _silences(maps: LoweringBuilder, value: Value) -> bool:
    """Return whether a constant is known to hold zeros."""
    wide = [d for d, size in enumerate(value.shape or ()) if size != 1 and d not in value.alike]
    nonzero = maps.nonzero(value, wide) if wide and maps.probe is None else None
    return nonzero is not None and nonzero.size > 0


def _hides(maps: LoweringBuilder, function: str, known: Sequence[Placed], value: Value) -> bool:
    """Return whether a constant may hide maps at some of their positions, as zeros do that they are multiplied with."""
    rank = len(value.shape or ())
    spatial = {
        d - view.rank for p in known if (view := p.view) is not None
        for d, dim in enumerate(view.dims) if dim.axes and dim.size != 1
    }  # fmt: skip
    wide = [d for d in range(rank) if d - rank in spatial and (value.shape or ())[d] != 1 and d not in value.alike]
    if maps.probe is not None or not wide:
        return False
    if function in ("mul", "and", "pow"):
        return maps.nonzero(value, wide) is not None
    return not (value.learned and maps.tells_learned)


@place.register(program.Either)
def _either(primitive: program.Either, maps: LoweringBuilder, step: Instruction, operands: Operands) -> Placed:
    known = [p for p in operands if p is not None]
    rank = len(step.output.shape or ())
    return merge(maps, step, "either", known, [_from_the_right(p, None, rank) for p in known], range(rank))


def _from_the_right(p: Placed | None, shape: Shape | None, rank: int | None) -> list[Hashable]:
    """Return the labels of the dimensions of an operand that broadcasts to ``rank``: its last is the last."""
    own = len(shape or ()) if p is None or p.view is None else p.view.rank
    end = own if rank is None else rank
    return list(range(end - own, end))


@place.register(program.Reduce)
def _reduce(primitive: program.Reduce, maps: LoweringBuilder, step: Instruction, operands: Operands) -> Placed:
    p = first(operands)
    if p.view is None:
        return maps.unknown(step, operands, "the dimensions that it reduces cannot be followed")
    if primitive.bound:
        p = maps.at_most(p, f"{step.name}/read", primitive.bound)
    assert p.view is not None
    whole = {d: p.view.whole(d) for d in primitive.dims}
    reach = mixed(p.view, primitive.dims)
    if maps.probe is not None:
        maps.probe.patched(reach.blocks)
    if reach:
        largest = primitive.function == "max"
        kinds = ("global_max_pool", "max_pool") if largest else ("global_avg_pool", "avg_pool")
        p = maps.collapse(p, primitive.dims, step.name, *kinds)
    else:
        p = replace(p, node=maps.node("elementwise", step, [p]))
    view = p.view
    assert view is not None
    if primitive.keepdims:
        for d, axis in whole.items():
            view = view.replaced(d, Dimension() if axis is None else along(axis, 1))
    else:
        view = view.squeezed(primitive.dims)
    return Placed(p.node, view, p.full, step.name, p.folded)


@place.register(program.Mix)
def _mix(primitive: program.Mix, maps: LoweringBuilder, step: Instruction, operands: Operands) -> Placed:
    p = first(operands)
    if p.view is None:
        return maps.unknown(step, operands, "the dimensions that it mixes cannot be followed")
    over_space, over_channels = MIXING.get(primitive.function, ("attention", "elementwise"))
    if mixed(p.view, primitive.dims):
        if primitive.direction == "both" and not primitive.bound:
            return maps.spread(p, primitive.dims, step.name, over_space)
        if len(primitive.dims) == 1 and not primitive.bound and p.view.whole(primitive.dims[0]) is not None:
            directed = {"direction": primitive.direction, **({"exclusive": True} if primitive.exclusive else {})}
            return maps.spread(p, primitive.dims, step.name, over_space, **directed)
        bound = primitive.bound or f"it runs {primitive.direction} through blocks, or more than one axis"
        return maps.spread(p, primitive.dims, step.name, "recurrent", bound=bound)
    p = maps.as_map(p, fold=False)
    return replace(p, node=maps.node(over_channels, step, [p]))


@place.register(program.Whole)
def _whole(primitive: program.Whole, maps: LoweringBuilder, step: Instruction, operands: Operands) -> Placed:
    bound = {"bound": primitive.bound} if primitive.bound else {}
    node = maps.each("flatten", step, [p for p in operands if p is not None], **bound)
    shape = step.output.shape
    view = None if shape is None else View(tuple(map(other, shape)))
    return Placed(node, view, frozenset(range(maps.axes)), step.name)


@place.register(program.Contract)
def _contract(primitive: program.Contract, maps: LoweringBuilder, step: Instruction, operands: Operands) -> Placed:
    known = [(p, labels) for p, labels in zip(operands, primitive.operands, strict=True) if p is not None]
    if any(p.view is None for p, _ in known):
        return maps.unknown(step, operands, "the dimensions that it sums over cannot be followed")
    if len(known) == 1:
        return _times_weights(primitive, maps, step, *known[0])
    if step.name in maps.sided:
        return _one_sided(primitive, maps, step, operands)
    return _product(primitive, maps, step, known)


def _one_sided(primitive: program.Contract, maps: LoweringBuilder, step: Instruction, operands: Operands) -> Placed:
    """A product of rows with columns of which each row reads all, or those on one side of it, or the sum over these.

    Columns that hold all on that side of their own place take the place of the row.
    """
    sided = maps.sided[step.name]
    rows, columns = sided.labels[step.name]
    is_product = columns[0] in primitive.output
    place = next(i for i, labels in enumerate(primitive.operands) if columns[0] in labels and rows[0] not in labels)
    known = [(p, labels) for p, labels in zip(operands, primitive.operands, strict=True) if p is not None]
    (p, labels), (beside, other_labels) = known[place], known[1 - place]
    assert p.view is not None
    assert beside.view is not None
    dims, both = [labels.index(column) for column in columns], sided.direction == "both"
    pairs = [(d, other_labels.index(row)) for d, row in zip(dims, rows, strict=True)]
    same = all(p.view.dims[d].axes and p.view.dims[d] == beside.view.dims[at] for d, at in pairs)
    if not same or not (both or p.view.whole(dims[0]) is not None):
        for name in sided.steps:
            maps.sided.pop(name, None)
        if not (is_product or both):
            known[place] = maps.at_most(p, f"{step.name}/read", program.MASKED), labels
        return _product(primitive, maps, step, known)
    if both and beside.weighs == "some":
        p = maps.at_most(p, f"{step.name}/read", program.MASKED)
    side = maps.spread(p, dims, f"{step.name}/{place}", "attention", **sided.told)
    row_of = dict(zip(columns, rows, strict=True))
    known[place] = side, tuple(row_of.get(label, label) for label in labels)
    if not is_product:
        return _product(primitive, maps, step, known)
    shape = step.output.shape
    assert shape is not None
    kept = [(label, size) for label, size in zip(primitive.output, shape, strict=True) if label not in columns]
    bare = replace(step, output=replace(step.output, shape=tuple(size for _, size in kept)))
    whole = _product(replace(primitive, output=tuple(label for label, _ in kept)), maps, bare, known)
    if whole.view is None:
        return whole
    left = iter(whole.view.dims)
    every = zip(primitive.output, shape, strict=True)
    return replace(whole, view=View(tuple(other(size) if label in columns else next(left) for label, size in every)))


def _product(
    primitive: program.Contract, maps: LoweringBuilder, step: Instruction, known: list[tuple[Placed, tuple[str, ...]]]
) -> Placed:
    """A product of two tensors, or more."""
    output = primitive.output
    kept, absorbed = [], []  # a tensor that keeps its own positions says where those of the others lie
    for i, (p, labels) in enumerate(known):
        view = p.view
        assert view is not None
        dims = {d for d, label in enumerate(labels) if label not in output}
        rest = [(q.view, names) for j, (q, names) in enumerate(known) if j != i and q.view is not None]
        name = f"{step.name}/{i}"
        some = any(q.weighs == "some" for j, (q, _) in enumerate(known) if j != i)
        if some and dims:
            p = maps.at_most(p, f"{name}/read", program.MASKED)
        inner = [(axis, other_view) for axis in mixed(view, dims).blocks for other_view, names in rest
                 if _keeps_inner(other_view, names, output, axis)]  # fmt: skip
        if inner:  # the other tensor's positions stay told apart
            same = all(view.extent(axis) == other_view.extent(axis) for axis, other_view in inner)
            read = maps.absorb(p, dims, name) if same else maps.collapse(p, dims, name, "flatten")
            absorbed.append((read, labels))
        else:
            kept.append((maps.collapse(p, dims, name, "flatten"), labels))
    summed = [*kept, *absorbed]
    product = merge(maps, step, "mul", [p for p, _ in summed], [labels for _, labels in summed], output)
    return replace(product, weighs="all")


def _keeps_inner(view: View, labels: Sequence[Hashable], output: Sequence[Hashable], axis: int) -> bool:
    """Whether a tensor keeps positions of ``axis`` within blocks."""
    return any(labels[d] in output and part.stride == 1 and part.size != 1 for d, part in view.places(axis))


def _times_weights(
    primitive: program.Contract, maps: LoweringBuilder, step: Instruction, p: Placed, labels: Sequence[str]
) -> Placed:
    """A product with weights: a 1x1 convolution over channels, a dense layer over positions."""
    view = p.view
    assert view is not None
    sizes = dict(zip(primitive.output, sizes_of(step, len(primitive.output)), strict=True))
    summed = {d for d, label in enumerate(labels) if label not in sizes}
    new = [label for label in primitive.output if label not in labels]
    tokens = [d for d in summed if view.dims[d].axes]
    carried: dict[Hashable, Dimension] = {}
    reach = mixed(view, summed)
    mixes_tokens = len(tokens) == len(summed) == len(new) == 1 and _only_positions(view.dims[tokens[0]], sizes[new[0]])
    read = (
        _read_of(primitive, maps, step, {labels[d] for d in tokens}, mixes_tokens, mixes_tokens or bool(reach.full))
        if reach
        else "both"
    )
    side = read if mixes_tokens and read != "some" and view.whole(tokens[0]) is not None else "both"
    if read != side:
        p = maps.at_most(p, f"{step.name}/read", program.SPARSE)
    differs = _differ(maps, p, step)
    if differs:
        p = maps.at_most(p, f"{step.name}/channels", unmixed(p)["bound"])
    if maps.probe is not None:
        maps.probe.patched(reach.blocks)
    if not reach:
        p = maps.as_map(p, fold=False)
        if summed:
            size = sizes[new[-1]] if new else None
            known = {"channels": size} if isinstance(size, int) else {}
            p = replace(p, node=maps.node("conv", step, [p], kernel=maps.per_axis({}, 1), **known))
        else:
            p = replace(p, node=maps.node("mul", step, [p]))
    elif mixes_tokens:
        carried[new[0]] = view.dims[tokens[0]]  # as many positions come out as go in: tokens are mixed
        p = maps.spread(p, summed, step.name, "attention", **({} if side == "both" else {"direction": side}))
    else:
        p = maps.collapse(p, summed, step.name, "dense", "conv")  # over a patch, a window as large as its stride
    assert p.view is not None
    carried.update((label, dim) for label, dim in zip(labels, p.view.dims, strict=True) if label in sizes)
    dims = [repeated(carried.get(label, Dimension()), size) for label, size in sizes.items()]
    return Placed(p.node, View(tuple(dims)), p.full, step.name, beside=differs or _silent(primitive, maps, step))


def _silent(primitive: program.Contract, maps: LoweringBuilder, step: Instruction) -> bool:
    """Return whether a fixed matrix makes some of its rows of nothing: zeros alone."""
    return maps.probe is None and any(
        (nonzero := maps.nonzero(value, [d for d, label in enumerate(labels) if label in primitive.output])) is not None
        and nonzero.size > 0
        for value, labels in zip(step.inputs, primitive.operands, strict=True)
        if value.constant and not value.learned and value.numbers is not None
    )


def _differ(maps: LoweringBuilder, p: Placed, step: Instruction) -> bool:
    """Return whether channels that differ in what they read are multiplied with a matrix that leaves out some."""
    if maps.probe is not None or not (p.folded or p.beside):
        return False
    constants = [value for value in step.inputs if value.constant and value.shape is not None]
    return any(maps.nonzero(value, range(len(value.shape or ()))) is not None for value in constants)


def _read_of(
    primitive: program.Contract, maps: LoweringBuilder, step: Instruction, summed: set[str], tokens: bool, whole: bool
) -> Literal["both", "forward", "backward", "some"]:
    """Return which of the positions that a product sums over it reads: those that no constant has a 0 for.

    A triangle without other zeros reads those up to its own, or those from there on.

    Parameters
    ----------
    primitive, maps, step
        The product, and where it stands.
    summed
        The labels of the positions that it sums over.
    tokens
        Whether it makes positions of them; else a row that reads nothing is a unit that learned nothing.
    whole
        Whether it sums over all of an axis, and each row that it makes is looked at; else it is a window that cuts
        patches, and what it makes are channels that are looked at together.
    """
    if maps.probe is not None:
        return "both"
    sides: set[Literal["both", "forward", "backward", "some"]] = set()
    for value, labels in zip(step.inputs, primitive.operands, strict=True):
        if not value.constant or not summed.intersection(labels):
            continue
        kept = [i for i, label in enumerate(labels) if label in summed or (whole and label in primitive.output)]
        nonzero = maps.nonzero(value, kept)
        if nonzero is None:
            continue
        over = tuple(i for i, d in enumerate(kept) if labels[d] in summed)
        if not nonzero.size:
            return "some"
        rows = np.moveaxis(nonzero, over, range(-len(over), 0))
        rows = rows.reshape(*rows.shape[: -len(over)], -1)
        sides.add(_side(rows if tokens else rows[rows.any(-1)]))
    return sides.pop() if len(sides) == 1 else "some" if sides else "both"


def _side(rows: NDArray[np.bool_]) -> Literal["both", "forward", "backward", "some"]:
    """Return which positions, the last dimension, rows read before it."""
    if rows.all():
        return "both"
    if rows.ndim == 2 and rows.shape[0] == rows.shape[1]:
        if np.array_equal(rows, np.tril(np.ones_like(rows))):
            return "forward"
        if np.array_equal(rows, np.triu(np.ones_like(rows))):
            return "backward"
    return "some"


def _only_positions(dim: Dimension, size: Dim) -> bool:
    return dim.size == size and all(part.axis is not None for part in dim.parts)
