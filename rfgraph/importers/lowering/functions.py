"""Rules of what computes: functions of one position or of several tensors, reductions, normalisations, products."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace

from rfgraph.importers import program
from rfgraph.importers.lowering.maps import LoweringBuilder, Placed, mixed
from rfgraph.importers.lowering.rules import Operands, first, function_kind, merge, place, repeated, sizes_of
from rfgraph.importers.lowering.views import Dimension, View, along, other
from rfgraph.importers.program.dimensions import Dim, Shape
from rfgraph.importers.program.primitives import Instruction, Value

#: Functions by which a constant may hide what it is put beside: by a number so low that a softmax makes it 0, or by 0.
HIDING = frozenset({"add", "sub", "mul", "min", "where"})

#: What a function that mixes elements is called where it mixes space, and where it mixes channels only.
MIXING = {
    "softmax": ("softmax", "channel_softmax"),
    "layer_norm": ("group_norm", "layer_norm"),
    "instance_norm": ("instance_norm", "identity"),
    "group_norm": ("group_norm", "identity"),
    "recurrent": ("recurrent", "identity"),
    "cumsum": ("cumsum", "elementwise"),
}


@place.register
def _pointwise(primitive: program.Pointwise, maps: LoweringBuilder, step: Instruction, operands: Operands) -> Placed:
    known = [p for p in operands if p is not None]
    why = primitive.bound
    masked = primitive.function == "where" and len(operands) == 3 and operands[0] is None
    # One number for all elements hides none of them: libraries guard a division so.
    if primitive.function == "trilu" or (masked and step.inputs[0].shape not in ((), None)):
        why = why or program.MASKED
    beside = [value for p, value in zip(operands, step.inputs, strict=True) if p is None]
    if primitive.function in HIDING and any(p.weighs for p in known) and any(_is_mask(maps, value) for value in beside):
        why = why or program.MASKED
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
    made = merge(maps, step, primitive.function, known, labels, range(rank or 0), fixed)
    return replace(made, weighs="some") if why else made


def _is_mask(maps: LoweringBuilder, value: Value) -> bool:
    """Return whether a constant may be a mask: no one says that it is learned, and it is no one number."""
    sizes = [1 if d in value.alike else size for d, size in enumerate(value.shape or ())]
    return not (value.learned and maps.tells_learned) and any(size != 1 for size in sizes)


def _may_hold_zeros(maps: LoweringBuilder, value: Value) -> bool:
    """Return whether a constant that positions are multiplied with may leave some out, as a triangle of ones does.

    Weights that are learned leave out none. Where the reader tells which are, others may hold zeros; where it does not,
    they are taken for weights, unless they are small enough to be looked at.
    """
    if value.learned and maps.tells_learned:
        return False
    return maps.tells_fixed if value.data is None else any(element == 0 for element in value.data.elements.flat)


@place.register
def _either(primitive: program.Either, maps: LoweringBuilder, step: Instruction, operands: Operands) -> Placed:
    known = [p for p in operands if p is not None]
    rank = len(step.output.shape or ())
    return merge(maps, step, "either", known, [_from_the_right(p, None, rank) for p in known], range(rank))


def _from_the_right(p: Placed | None, shape: Shape | None, rank: int | None) -> list[Hashable]:
    """Return the labels of the dimensions of an operand that broadcasts to ``rank``: its last is the last."""
    own = len(shape or ()) if p is None or p.view is None else p.view.rank
    end = own if rank is None else rank
    return list(range(end - own, end))


@place.register
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
    return Placed(p.node, view, p.full, step.name)


@place.register
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


@place.register
def _whole(primitive: program.Whole, maps: LoweringBuilder, step: Instruction, operands: Operands) -> Placed:
    bound = {"bound": primitive.bound} if primitive.bound else {}
    node = maps.each("flatten", step, [p for p in operands if p is not None], **bound)
    shape = step.output.shape
    view = None if shape is None else View(tuple(map(other, shape)))
    return Placed(node, view, frozenset(range(maps.axes)), step.name)


@place.register
def _contract(primitive: program.Contract, maps: LoweringBuilder, step: Instruction, operands: Operands) -> Placed:
    output = primitive.output
    known = [(p, labels) for p, labels in zip(operands, primitive.operands, strict=True) if p is not None]
    if any(p.view is None for p, _ in known):
        return maps.unknown(step, operands, "the dimensions that it sums over cannot be followed")
    if len(known) == 1:
        return _times_weights(primitive, maps, step, *known[0])
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
    made = merge(maps, step, "mul", [p for p, _ in summed], [labels for _, labels in summed], output)
    return replace(made, weighs="all")


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
    constants = [value for value in step.inputs if value.constant]
    if reach and any(_may_hold_zeros(maps, value) for value in constants):
        p = maps.at_most(p, f"{step.name}/read", program.SPARSE)
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
    elif len(tokens) == len(summed) == len(new) == 1 and _only_positions(view.dims[tokens[0]], sizes[new[0]]):
        carried[new[0]] = view.dims[tokens[0]]  # as many positions come out as go in: tokens are mixed
        p = maps.spread(p, summed, step.name, "attention")
    else:
        p = maps.collapse(p, summed, step.name, "dense", "conv")  # over a patch, a window as large as its stride
    assert p.view is not None
    carried.update((label, dim) for label, dim in zip(labels, p.view.dims, strict=True) if label in sizes)
    dims = [repeated(carried.get(label, Dimension()), size) for label, size in sizes.items()]
    return Placed(p.node, View(tuple(dims)), p.full, step.name)


def _only_positions(dim: Dimension, size: Dim) -> bool:
    return dim.size == size and all(part.axis is not None for part in dim.parts)
