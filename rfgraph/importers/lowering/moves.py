"""Rules of what moves, drops, adds or renumbers elements."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from rfgraph.frozen import dataclass
from rfgraph.importers import program
from rfgraph.importers.lowering.maps import LoweringBuilder, Placed, mixed
from rfgraph.importers.lowering.meeting import together
from rfgraph.importers.lowering.origins import Lost, Source, beside
from rfgraph.importers.lowering.rows import repeating
from rfgraph.importers.lowering.rules import Operands, constants, first, place, repeated, sizes_of
from rfgraph.importers.lowering.taken import take_along
from rfgraph.importers.lowering.views import Dimension, View, along, other
from rfgraph.importers.program import Dim, Expression, Instruction, Value, bounds, exact_quotient, symbol
from rfgraph.ops.moving import SHARES

#: Start, stop and step along one dimension; ``None`` is the end.
Bounds = tuple[Dim | None, Dim | None, int]
EVERYTHING: Bounds = (None, None, 1)

NO_DIMS = "the dimensions that it works on cannot be followed"
TOKENS = "rows beside positions hold of these what was mixed into them, and no more"
NO_FIT = "its operands lie on each other in a way that cannot be followed"


def _whole_or_none(view: View, dims: Collection[int]) -> bool:
    """Whether each of ``dims`` is one whole axis, or carries none."""
    return all(view.whole(d) is not None or not view.dims[d].axes for d in dims)


# Padding.


@place.register(program.Pad)
def _pad(primitive: program.Pad, maps: LoweringBuilder, step: Instruction, operands: Operands) -> Placed:
    p = first(operands)
    if p.view is None:
        return maps.unknown(step, operands, NO_DIMS)
    changed = [d for d, amounts in enumerate(primitive.amounts) if amounts != (0, 0)]
    if not _whole_or_none(p.view, changed):
        p = maps.as_map(p, fold=True)
    view = p.view
    assert view is not None
    padding: dict[int, list[int]] = {}
    why = ""
    for d in changed:
        before, after = primitive.amounts[d]
        axis, dim = view.whole(d), view.dims[d]
        if axis is not None:
            if not isinstance(before, int) or not isinstance(after, int):
                why = why or f"it pads by {before} and {after}, which depend on the input size; give one"
            else:
                padding[axis] = [before, after]
            view = view.replaced(d, along(axis, dim.size + before + after))
        elif not dim.axes:
            view = view.replaced(d, other(dim.size + before + after))
        elif primitive.mode != "constant":
            return maps.unknown(
                step, operands, "it repeats elements of a dimension that carries several axes, or part of one"
            )
        elif _is_there(dim.before + before) and _is_there(dim.after + after):
            view = view.replaced(d, Dimension(dim.parts, dim.before + before, dim.after + after))
        else:
            return maps.unknown(step, operands, "it crops a dimension that carries several axes, or part of one")
    if why:  # where its positions lie is not known, but which dimensions carry the axes is
        whole = {axis: d for d in changed if p.view is not None and (axis := p.view.whole(d)) is not None}
        before_it = {axis: primitive.amounts[d][0] for axis, d in whole.items()}
        told = primitive.mode == "constant" and len(before_it) == len(changed)
        fits = _padded_like(maps, p, view, before_it) if told else None
        if fits is None:
            return maps.unknown(step, operands, why, view)
        return p.moved(maps.node("pad", step, [p, *fits[1]], **fits[0]), view)
    folded = p.folded or len(padding) < len(changed)  # some channels read nothing
    if not padding:
        return Placed(maps.node("identity", step, [p]), view, p.full, folded=folded)
    mode = {} if primitive.mode == "constant" else {"mode": primitive.mode}
    node = maps.node("pad", step, [p], padding=maps.per_axis(padding, [0, 0]), **mode)
    return Placed(node, view, p.full, folded=folded)


def _padded_like(
    maps: LoweringBuilder, p: Placed, after: View, amounts: Mapping[int, Dim]
) -> tuple[dict[str, Any], list[Placed]] | None:
    """Return what says that a tensor is padded or cropped to the size of other maps, and these; ``None`` if it is not.

    ``amounts`` say how much of the difference lies before the map; where axes differ in their share it is not told.
    """
    view = p.view
    assert view is not None
    target = {axis: after.extent(axis) for axis in range(maps.axes)}
    like = maps.measured_like(target)
    if like is None:
        return None
    shares = [
        {name for name, share in SHARES.items() if share(target[axis] - view.extent(axis)) == before}
        for axis, before in amounts.items()
    ]
    known = [name for name in SHARES if all(name in each for each in shares)]
    if not known:
        return None
    slots, others = like
    named = ", ".join(str(target[axis]) for axis in sorted(amounts))
    return {"like": slots, "before": known[0], "target": named}, others


def _is_there(size: Dim) -> bool:
    """Return whether so many rows can be, none at the least."""
    return isinstance(size, Expression) or size >= 0


# Slices.


@place.register(program.Slice)
def _slice(primitive: program.Slice, maps: LoweringBuilder, step: Instruction, operands: Operands) -> Placed:
    p = first(operands)
    if p.view is None:
        return maps.unknown(step, operands, NO_DIMS)
    sizes = sizes_of(step, p.view.rank)
    bounds = {}
    for d, start, stop, stride in zip(primitive.dims, primitive.starts, primitive.stops, primitive.steps, strict=True):
        bound = _tidy(p.view.dims[d].size, start, stop, stride)
        if bound != EVERYTHING:
            bounds[d] = bound
    return _cut(maps, step, operands, p, bounds, sizes, primitive.whole)


def _cut(
    maps: LoweringBuilder,
    step: Instruction,
    operands: Operands,
    p: Placed,
    bounds: Mapping[int, Bounds],
    sizes: Sequence[Dim],
    whole: bool = False,
) -> Placed:
    """Slice some dimensions of a tensor, which must reach to where it is cut if it is ``whole``."""
    view = p.view
    assert view is not None
    if not _whole_or_none(view, bounds) and not any(view.dims[d].extra for d in bounds):
        laid = maps.as_map(p, fold=False)
        p, view = (laid, laid.view) if laid.view is not None else (p, view)
    turned = _turned(maps, step, operands, p, bounds, sizes)
    if turned is not None:
        return turned
    cut = _cut_axes(view, bounds, sizes)
    if cut is None:
        why = "it slices a dimension that carries several axes, or part of one"
        return _by_rows(maps, step, p, bounds) or maps.unknown(step, operands, why)
    for start, stop, _ in cut.slices.values():
        if _open(start) or _open(stop):
            ends = ":".join("" if end is None else str(end) for end in (start, stop))
            why = f"it slices {ends}, which depends on the input size; give one"
            fits = _cropped_like(maps, p, cut) if len(cut.slices) == len(bounds) else None
            if fits is None:
                return maps.unknown(step, operands, why, cut.view)
            return p.moved(maps.node("pad", step, [p, *fits[1]], **fits[0]), cut.view)
    return _sliced(maps, step, p, cut, channels=any(not view.dims[d].axes for d in bounds), whole=whole)


def _cropped_like(maps: LoweringBuilder, p: Placed, cut: _CutAxes) -> tuple[dict[str, Any], list[Placed]] | None:
    """Return what says that a tensor is cropped to the size of other maps, and these; ``None`` if it is not."""
    view = p.view
    if view is None or cut.backward or any(stride != 1 for _, _, stride in cut.slices.values()):
        return None
    amounts: dict[int, Dim] = {}
    for axis, (start, _, _) in cut.slices.items():
        first: Dim = 0 if start is None else start
        more = view.extent(axis) - cut.view.extent(axis)
        if any((least := bounds(each).least) is None or least < 0 for each in (first, more - first)):
            return None  # a slice that begins before its tensor is another one
        amounts[axis] = -first
    return _padded_like(maps, p, cut.view, amounts)


@dataclass(frozen=True)
class _CutAxes:
    """What slices of dimensions are of the axes that these carry."""

    view: View
    slices: Mapping[int, Bounds]
    backward: set[int]  # axes that are read from their end
    lost: set[int]  # axes of which class tokens alone are left


def _cut_axes(view: View, bounds: Mapping[int, Bounds], sizes: Sequence[Dim]) -> _CutAxes | None:
    """Return what slices of dimensions are of their axes, ``None`` if one is of several, or of part of one."""
    slices: dict[int, Bounds] = {}
    backward: set[int] = set()
    lost: set[int] = set()
    for d, (start, stop, stride) in bounds.items():
        axis, dim = view.whole(d), view.dims[d]
        if not dim.axes:
            view = view.replaced(d, other(sizes[d]))
        elif axis is not None:
            if stride < 1:  # no window runs backward: every position reads the whole axis, of which as many are kept
                backward.add(axis)
                start, stop, stride = None, None if sizes[d] == dim.size else sizes[d], 1
            if (start, stop, stride) != EVERYTHING:
                slices[axis] = (start, stop, stride)
            view = view.replaced(d, along(axis, sizes[d]))
        elif dim.extra and (rest := _rows(dim, start, stop, stride, sizes[d])) is not None:
            lost |= set() if rest.axes else dim.axes
            view = view.replaced(d, rest)
        elif (part := _slice_of_part(view, d, start, stop, stride)) is not None and part[0] not in slices:
            slices[part[0]], view = part[1:]
        else:
            return None
    return _CutAxes(view, slices, backward, lost)


def _turned(
    maps: LoweringBuilder,
    step: Instruction,
    operands: Operands,
    p: Placed,
    bounds: Mapping[int, Bounds],
    sizes: Sequence[Dim],
) -> Placed | None:
    """Return the tensor with one dimension read from its end as a table of rows, ``None`` if there is none to be."""
    view = p.view
    assert view is not None
    for d, (start, stop, stride) in bounds.items():
        if stride < 0 and isinstance(size := view.dims[d].size, int) and not any(map(_open, (start, stop))):
            rows = np.arange(size)[slice(start, stop, stride)]
            others = {e: bound for e, bound in bounds.items() if e != d}
            before = [view.dims[d].size if e == d else length for e, length in enumerate(sizes)]
            forward = _cut(maps, replace(step, name=f"{step.name}/rest"), operands, p, others, before) if others else p
            turned = None if maps.gave_up or forward.view is None else take_along(maps, step, forward, d, rows)
            if turned is not None:
                return turned
    return None


def _sliced(
    maps: LoweringBuilder, step: Instruction, p: Placed, cut: _CutAxes, *, channels: bool, whole: bool
) -> Placed:
    """Add the nodes that slice axes, and some ``channels`` of them if those are sliced too."""
    view, slices, lost = cut.view, cut.slices, cut.lost
    if cut.backward:
        name = f"{step.name}/backward" if slices or lost else step.name
        node = maps.emit("broadcast", name, [p], **maps.mixes(cut.backward))
        p = replace(p, node=node, full=p.full | cut.backward)
        if not slices and not lost:
            return p.moved(p.node, view)
    if lost:  # class tokens: what they hold comes from everywhere, once it was mixed into them
        doubt = {} if lost <= p.full else {"bound": TOKENS}
        node = maps.node("flatten", step, [p], **maps.mixes(lost), **doubt)
        return Placed(node, view.without(lost), p.full | lost, step.name)
    if not slices:
        q = maps.some_channels(step, [p]) if channels else replace(p, node=maps.node("identity", step, [p]))
        return Placed(q.node, view, q.full, p.label, q.folded, origins=q.origins)
    if channels and (p.folded or p.beside):
        p = maps.some_channels(step, [p], "channels")
    starts, stops, strides = (
        maps.per_axis({axis: bound[i] for axis, bound in slices.items()}, EVERYTHING[i]) for i in range(3)
    )
    more: dict[str, Any] = {} if set(strides) == {1} else {"step": strides}
    if whole and any(start is not None or stop is not None for start, stop in zip(starts, stops, strict=True)):
        more["whole"] = True
    return p.moved(maps.node("slice", step, [p], start=starts, stop=stops, **more), view)


def _by_rows(maps: LoweringBuilder, step: Instruction, p: Placed, bounds: Mapping[int, Bounds]) -> Placed | None:
    """Return what a slice of one dimension takes, row by row; ``None`` if it slices several, or sizes are not known."""
    if len(bounds) != 1 or p.view is None:
        return None
    [(d, (start, stop, stride))] = bounds.items()
    size = p.view.dims[d].size
    if not isinstance(size, int) or _open(start) or _open(stop):
        return None
    return take_along(maps, step, p, d, np.arange(size)[slice(start, stop, stride)])


def _open(bound: Dim | None) -> bool:
    return isinstance(bound, Expression)


def _tidy(size: Dim, start: Dim | None, stop: Dim | None, step: int) -> Bounds:
    """Return slice bounds with ends that take everything as ``None``, and relative to the end where that is exact."""
    if step < 0:
        return start, stop, step
    if isinstance(start, Expression) and isinstance(left := start - size, int) and left < 0:
        start = left
    if isinstance(stop, Expression) and isinstance(left := stop - size, int):
        stop = left if left < 0 else None
    if isinstance(stop, int) and stop >= 2**31 - 1:
        stop = None
    if isinstance(size, int) and isinstance(start, int | None) and isinstance(stop, int | None):
        first_row, last_row, _ = slice(start, stop, step).indices(max(size, 0))
        start = start if first_row else None
        by_index = stop == last_row == first_row + 1 and start is not None  # the last row, however many there are
        stop = stop if last_row < size or by_index else None
    return (None if start == 0 else start), stop, step


def _rows(dim: Dimension, start: Dim | None, stop: Dim | None, step: int, size: Dim) -> Dimension | None:
    """Return what a slice leaves of a dimension with class tokens; no axis where only tokens are left."""
    if step != 1:
        return None
    begin: Dim = 0 if start is None else start
    end: Dim = dim.size if stop is None else stop
    begin = dim.size + begin if isinstance(begin, int) and begin < 0 else begin
    end = dim.size + end if isinstance(end, int) and end < 0 else end
    positions_end = dim.size - dim.after
    before, after = dim.before - begin, end - positions_end
    if isinstance(before, int) and isinstance(after, int) and before >= 0 and after >= 0:
        return Dimension(dim.parts, before, after)
    among_first = isinstance(end, int) and isinstance(dim.before, int) and end <= dim.before
    among_last = isinstance(left := begin - positions_end, int) and left >= 0
    return other(size) if among_first or among_last else None


def _slice_of_part(
    view: View, d: int, start: Dim | None, stop: Dim | None, step: int
) -> tuple[int, Bounds, View] | None:
    """Return the slice of an axis that a slice of one of its parts is: one phase of it, or a run of blocks."""
    parts = view.dims[d].parts
    if (
        view.dims[d].extra
        or len(parts) != 1
        or step != 1
        or not isinstance(start, int | None)
        or not isinstance(stop, int | None)
    ):
        return None
    part = parts[0]
    if part.axis is None or not isinstance(part.size, int):
        return None
    first_row, last_row, _ = slice(start, stop).indices(part.size)
    if part.stride == 1 and last_row - first_row == 1:
        dims = list(view.dims)
        dims[d] = Dimension()
        for place_, outer in view.places(part.axis):
            if place_ != d:
                stride = exact_quotient(outer.stride, part.size)
                if stride is None:
                    return None
                moved = tuple(replace(q, stride=stride) if q == outer else q for q in dims[place_].parts)
                dims[place_] = replace(dims[place_], parts=moved)
        return part.axis, (first_row or None, None, part.size), View(tuple(dims))
    if isinstance(part.stride, int) and part.reach == view.extent(part.axis):
        end = None if last_row == part.size else last_row * part.stride
        rows = Dimension((replace(part, size=last_row - first_row),))
        return part.axis, (first_row * part.stride or None, end, 1), view.replaced(d, rows)
    return None


@place.register(program.Take)
def _take(primitive: program.Take, maps: LoweringBuilder, step: Instruction, operands: Operands) -> Placed:
    rows, indices = operands
    at = step.inputs[1]
    d = primitive.dim
    if rows is None:
        return _looked_up(primitive, maps, step, operands)
    if rows.view is None or at.shape is None:
        return maps.unknown(step, operands, NO_DIMS)
    if not rows.view.dims[d].axes:
        read = [rows]
        if indices is not None:
            read.append(replace(indices, node=maps.emit("flatten", f"{step.name}/indices", [indices])))
        picked = maps.some_channels(step, read)
        view = View((*rows.view.dims[:d], *map(other, at.shape), *rows.view.dims[d + 1 :]))
        return Placed(picked.node, view, picked.full, step.name, picked.folded, origins=picked.origins)
    numbers = None if at.data is None or indices is not None else at.data.elements
    if numbers is None or any(isinstance(number, Expression) for number in numbers.flat):
        return _taken_anywhere(maps, step, operands, rows, d, "which positions it takes is not known")
    listed = [int(number) for number in numbers.flat]
    cut = _progression(listed) if len(at.shape) < 2 else None
    if cut is not None:
        sizes = [dim.size for dim in rows.view.dims]
        bounds = _tidy(sizes[d], *cut)
        sizes[d] = len(listed)
        taken = _cut(maps, step, operands, rows, {} if bounds == EVERYTHING else {d: bounds}, sizes)
        return taken if taken.view is None or at.shape else replace(taken, view=taken.view.squeezed([d]))
    moved = repeating(maps, step, rows, d, listed) if len(at.shape) == 1 else None
    moved = moved or take_along(maps, step, rows, d, numbers.astype(np.int64))
    return moved or _taken_anywhere(maps, step, operands, rows, d, "it takes positions in an order that is no window's")


def _taken_anywhere(
    maps: LoweringBuilder, step: Instruction, operands: Operands, p: Placed, d: int, why: str
) -> Placed:
    """Add an unknown node: which rows it takes is not known, but the other dimensions stay, and ``d`` its axis."""
    view, at = p.view, step.inputs[1].shape
    assert view is not None
    assert at is not None
    axis = view.whole(d)
    rows = [along(axis, at[0])] if axis is not None and len(at) == 1 else list(map(other, at))
    return maps.unknown(step, operands, why, View((*view.dims[:d], *rows, *view.dims[d + 1 :])))


def among_blocks(maps: LoweringBuilder, step: Instruction, p: Placed, d: int) -> Placed | None:
    """Return what takes rows among the positions of a block, as of a patch, that are told apart no more.

    ``None`` if the dimension is no such block, or which rows are taken depends on the input.
    """
    at = step.inputs[1]
    if p.view is None or at.shape is None or at.data is None:
        return None
    reach = mixed(p.view, {d})
    if reach.full or not reach.blocks:
        return None
    maps.take_back()
    p = maps.to_depth(p, reach.blocks, f"{step.name}/blocks")
    assert p.view is not None
    view = View((*p.view.dims[:d], *map(other, at.shape), *p.view.dims[d + 1 :]))
    size = p.view.dims[d].size
    every = isinstance(size, int) and {row % size for row in at.data.elements.flat if isinstance(row, int)} == {
        *range(size)
    }
    node = maps.node("identity", step, [p]) if every else maps.some_channels(step, [p]).node
    return Placed(node, view, p.full, step.name, p.folded)


def _looked_up(primitive: program.Take, maps: LoweringBuilder, step: Instruction, operands: Operands) -> Placed:
    """A table of weights, looked up at each position."""
    indices = operands[1]
    assert indices is not None
    row = step.inputs[0].shape
    if indices.view is None or row is None:
        return maps.unknown(step, operands, NO_DIMS)
    view = View((*map(other, row[: primitive.dim]), *indices.view.dims, *map(other, row[primitive.dim + 1 :])))
    return Placed(maps.node("elementwise", step, [indices]), view, indices.full)


def _progression(rows: Sequence[int]) -> Bounds | None:
    """Return the slice that takes ``rows``, ``None`` if none does."""
    if not rows or (rows[0] < 0) != (rows[-1] < 0):
        return None
    step = rows[1] - rows[0] if len(rows) > 1 else 1
    if step < 1 or any(b - a != step for a, b in pairwise(rows)):
        return None
    return rows[0], rows[-1] + 1 or None, step


# Concatenation.


@place.register(program.Concat)
def _concat(primitive: program.Concat, maps: LoweringBuilder, step: Instruction, operands: Operands) -> Placed:
    d = primitive.dim
    known = [maps.as_map(p, fold=False) for p in operands if p is not None]
    if any(p.view is None for p in known):
        view = next((p.view for p in known if p.view is not None), None)
        if view is not None and view.dims[d].axes:  # its map is not as large as theirs together
            return maps.unknown(step, operands, NO_DIMS)
        if view is not None:
            view = view.replaced(d, other(sizes_of(step, view.rank)[d]))
        return Placed(maps.node("concat", step, known), view, label=step.name)
    views = [p.view for p in known if p.view is not None]
    if not any(view.dims[d].axes for view in views):
        stacked = _stacked(known, d) if len(known) == len(operands) else None
        if stacked is None:
            return _beside(maps, step, operands, known, d)
        return _end_to_end(maps, step, operands, stacked[0], d, stacked[1])
    if len(known) == 1:
        return _with_rows(maps, step, operands, known[0], d)
    laid = _along_one(known, d) if len(known) == len(operands) else None
    if laid is not None:
        return _end_to_end(maps, step, operands, laid[0], d, laid[1])
    positions = [p for p in known if p.view is not None and any(p.view.extent(axis) != 1 for axis in p.view.axes)]
    if len(positions) == 1 and positions[0].view is not None and positions[0].view.dims[d].axes:
        return _with_tokens(maps, step, operands, known, known.index(positions[0]), d)
    # Positions of several maps in one row: nothing after it is a map of theirs.
    flat = [maps.collapse(p, {d}, f"{step.name}/{i}", "flatten") for i, p in enumerate(known)]
    return _beside(maps, step, operands, flat, d)


def _beside(maps: LoweringBuilder, step: Instruction, operands: Operands, known: Sequence[Placed], d: int) -> Placed:
    """Concatenation of channels."""
    sizes = sizes_of(step, max(p.view.rank for p in known if p.view is not None))
    labels: list[list[Hashable]] = [[f"{d}/{i}" if e == d else e for e in range(len(sizes))] for i in range(len(known))]
    met = together(maps, known, labels, [e for e in range(len(sizes)) if e != d], step.name)
    if met is None:
        return maps.unknown(step, operands, NO_FIT)
    placed, carried = met
    dims = [other(size) if e == d else repeated(carried.get(e, Dimension()), size) for e, size in enumerate(sizes)]
    view = View(tuple(dims))
    grown = [_as_large(maps, p, view, f"{step.name}/{i}") for i, p in enumerate(placed)]
    full = frozenset.intersection(*(p.full for p in placed))
    fixed = [(value, range(len(sizes))) for p, value in zip(operands, step.inputs, strict=True) if p is None]
    node = maps.node("concat", step, [*grown, *constants(maps, step, view, range(len(sizes)), fixed)])
    out = Placed(node, view, full, step.name)
    read = iter(zip(known, grown, strict=True))
    parts = [
        (None, value) if p is None else (next(read), value) for p, value in zip(operands, step.inputs, strict=True)
    ]
    maps.sources.update((p.node, q) for p, q in zip(grown, known, strict=True) if p.node == q.node)
    out = _from_sources(out, parts, d)
    rows = None if out.origins is None or out.view is None else out.origins.one_by_one(d, out.view.dims[d].size)
    stacked = None if rows is None else _stacked([maps.sources[row] for row in rows if row in maps.sources], d)
    if stacked is None or rows is None or len(stacked[0]) != len(rows):
        return out
    maps.take_back()  # rows written one by one, as a loop does that fills an array: once all are there they are an axis
    return _end_to_end(maps, step, operands, stacked[0], d, stacked[1])


def _from_sources(p: Placed, parts: Sequence[tuple[tuple[Placed, Placed] | None, Value]], d: int) -> Placed:
    """Return a tensor of several that lie side by side, and which of its channels come from which of them.

    ``parts`` are its operands, as they were and as its node reads them, and ``None`` for constants.
    """
    laid = []
    sizes = [0 if value.shape is None else value.shape[d] for _, value in parts]
    for (read, _), size in zip(parts, sizes, strict=True):
        if size == 0:
            continue
        if not isinstance(size, int) or size < 1 or (read is not None and read[0].beside and read[0].origins is None):
            nodes = {None if read is None else read[1].node for read, _ in parts}  # constants read nothing
            return replace(p, beside=len(nodes) > 1 or any(read[0].beside for read, _ in parts if read is not None))
        origins = None if read is None or not read[0].beside else read[0].origins
        laid.append((origins, None if read is None else Source(read[1].node, read[1].full, is_map=True), size))
    if not laid:  # all of them are empty
        return p
    rank = 0 if p.view is None else p.view.rank
    try:
        origins = beside(p.node, laid, rank, d)
    except Lost:
        return replace(p, beside=True)
    views = [read[0].view for read, _ in parts if read is not None]
    extents = {None if view is None or p.view is None else tuple(map(view.extent, p.view.axes)) for view in views}
    if len(extents) > 1:
        origins = replace(origins, sources=tuple(replace(source, tied=True) for source in origins.sources))
    return replace(p, beside=origins.differ, origins=origins if origins.differ else None)


def _as_large(maps: LoweringBuilder, p: Placed, view: View, name: str) -> Placed:
    """Lay a map of one position out to the size of those beside it."""
    assert p.view is not None
    ones = [axis for axis in view.axes if p.view.extent(axis) == 1]
    blocks = {axis: size for axis in ones if isinstance(size := view.extent(axis), int) and size > 1}
    return replace(p, node=maps.emit("depth_to_space", name, [p], block=maps.per_axis(blocks, 1))) if blocks else p


def _along_one(known: Sequence[Placed], d: int) -> tuple[list[Placed], int] | None:
    """Return tensors whose dimension ``d`` is all of one axis, and the axis; ``None`` if they are not such.

    Where that dimension has size 1 and carries nothing, as a row that was selected, its map has one position there.
    """
    axes = {p.view.whole(d) for p in known if p.view is not None and p.view.dims[d] != Dimension()}
    axis = axes.pop()
    if axis is None or axes:
        return None
    laid = []
    for p in known:
        view = p.view
        assert view is not None
        if view.dims[d] == Dimension():
            if view.extent(axis) != 1:
                return None
            bare = View(tuple(replace(dim, parts=tuple(q for q in dim.parts if q.axis != axis)) for dim in view.dims))
            p = replace(p, view=bare.replaced(d, along(axis, 1)))
        laid.append(p)
    return laid, axis


def _stacked(known: Sequence[Placed], d: int) -> tuple[list[Placed], int] | None:
    """Return rows that were made of others of one axis, no two of the same, as maps of one position along it, and it.

    ``None`` if they are not such.
    """
    made_of = [{axis: frozenset(row for a, row in p.taken if a == axis) for axis, _ in p.taken} for p in known]
    axes = [axis for axis in made_of[0] if len({rows.get(axis) for rows in made_of} - {None}) == len(known) > 1]
    if len(axes) != 1 or any(p.view is None or p.view.dims[d] != Dimension() for p in known):
        return None
    laid = []
    for p in known:
        assert p.view is not None
        dims = (replace(dim, parts=tuple(q for q in dim.parts if q.axis != axes[0])) for dim in p.view.dims)
        laid.append(replace(p, view=View(tuple(dims)).replaced(d, along(axes[0], 1))))
    return laid, axes[0]


def _with_rows(maps: LoweringBuilder, step: Instruction, operands: Operands, p: Placed, d: int) -> Placed:
    """Concatenation with constants along positions: padding, or class tokens."""
    place_ = next(i for i, operand in enumerate(operands) if operand is not None)
    sizes = [symbol("unseen") if value.shape is None else value.shape[d] for value in step.inputs]
    before: Dim = 0
    after: Dim = 0
    for size in sizes[:place_]:
        before = before + size
    for size in sizes[place_ + 1 :]:
        after = after + size
    view = p.view
    assert view is not None
    dim, axis = view.dims[d], view.whole(d)
    if axis is not None and isinstance(before, int) and isinstance(after, int):
        node = maps.node("pad", step, [p], padding=maps.per_axis({axis: [before, after]}, [0, 0]))
        return p.moved(node, view.replaced(d, along(axis, dim.size + before + after)))
    if axis is not None:  # rows of which no one knows how many they are, as the states of a stream
        parts = []
        for i, size in enumerate(sizes):
            if i != place_ and size != 0:
                known = maps.per_axis({axis: size if isinstance(size, int) else None}, None)
                parts.append(replace(p, node=maps.emit("constant", f"{step.name}/{i}", [], size=known)))
            elif i == place_:
                parts.append(p)
        return p.moved(maps.node("concat", step, parts, axis=axis), view.replaced(d, along(axis, sum(sizes))))
    node = maps.node("identity", step, [p])
    return p.moved(node, view.replaced(d, Dimension(dim.parts, dim.before + before, dim.after + after)))


def _with_tokens(
    maps: LoweringBuilder, step: Instruction, operands: Operands, known: Sequence[Placed], place_: int, d: int
) -> Placed:
    """Concatenation with rows that are computed but are no positions: each row reads all that made them."""
    p = known[place_]
    slots = [i for i, operand in enumerate(operands) if operand is not None]
    alone = [p if i == slots[place_] else None for i in range(len(operands))]
    own = _with_rows(maps, replace(step, name=f"{step.name}/rows"), alone, p, d)
    tokens = [q for q in known if q is not p]
    read = [replace(q, node=maps.emit("flatten", f"{step.name}/{i}", [q])) for i, q in enumerate(tokens)]
    return Placed(maps.node("elementwise", step, [own, *read]), own.view, frozenset(range(maps.axes)), step.name)


def _end_to_end(
    maps: LoweringBuilder, step: Instruction, operands: Operands, known: Sequence[Placed], d: int, axis: int
) -> Placed:
    """Concatenation along one axis."""
    without = [replace(p, view=p.view.squeezed([d])) for p in known if p.view is not None]
    sizes = sizes_of(step, max(p.view.rank for p in known if p.view is not None))
    rest = [e for e in range(len(sizes)) if e != d]
    met = together(maps, without, [rest] * len(known), rest, step.name, {axis})
    if met is None:
        return maps.unknown(step, operands, NO_FIT)
    placed, carried = met
    node = maps.node("concat", step, placed, axis=axis)
    dims = [along(axis, size) if e == d else carried.get(e, Dimension()) for e, size in enumerate(sizes)]
    full = frozenset.intersection(*(p.full for p in placed))
    return Placed(node, View(tuple(dims)), full, folded=any(p.folded for p in placed))


@place.register(program.Roll)
def _roll(primitive: program.Roll, maps: LoweringBuilder, step: Instruction, operands: Operands) -> Placed:
    p = first(operands)
    if p.view is None:
        return maps.unknown(step, operands, NO_DIMS)
    axis, size = p.view.whole(primitive.dim), p.view.dims[primitive.dim].size
    shift = primitive.shift % size if isinstance(size, int) else primitive.shift
    if not shift or not p.view.dims[primitive.dim].axes:
        return Placed(maps.node("identity", step, [p]), p.view, p.full, p.label, p.folded)
    if axis is None:
        return maps.unknown(step, operands, "it rolls a dimension that carries several axes, or part of one")
    cut = maps.per_axis({axis: -shift}, None)
    end = maps.emit("slice", f"{step.name}/end", [p], start=cut, turned=True)
    begin = maps.emit("slice", f"{step.name}/begin", [p], stop=cut, turned=True)
    node = maps.node("concat", step, [replace(p, node=end), replace(p, node=begin)], axis=axis)
    return p.moved(node, p.view)


# The same elements, numbered another way or repeated: the map stays, and there is no node.


@place.register(program.Expand)
def _expand(primitive: program.Expand, maps: LoweringBuilder, step: Instruction, operands: Operands) -> Placed:
    p = first(operands)
    shape = step.output.shape
    if p.view is None or shape is None:
        return p
    view = p.view.unsqueezed(range(len(shape) - p.view.rank))
    dims = [repeated(dim, size) for dim, size in zip(view.dims, shape, strict=True)]
    return replace(p, view=View(tuple(dims)), label=step.name)


@place.register(program.Reshape)
def _reshape(primitive: program.Reshape, maps: LoweringBuilder, step: Instruction, operands: Operands) -> Placed:
    p = first(operands)
    if p.view is None:
        return replace(p, label=step.name)
    view = p.view.reshaped(primitive.shape)
    if view is None:
        p = maps.as_map(p, fold=True)
        view = None if p.view is None else p.view.reshaped(primitive.shape)
    if view is None:
        return maps.unknown(step, operands, "its shape cuts through positions in a way that cannot be followed")
    return replace(p, view=view, label=step.name)


@place.register(program.Squeeze)
def _squeeze(primitive: program.Squeeze, maps: LoweringBuilder, step: Instruction, operands: Operands) -> Placed:
    p = first(operands)
    return replace(p, view=None if p.view is None else p.view.squeezed(primitive.dims), label=step.name)


@place.register(program.Unsqueeze)
def _unsqueeze(primitive: program.Unsqueeze, maps: LoweringBuilder, step: Instruction, operands: Operands) -> Placed:
    p = first(operands)
    return replace(p, view=None if p.view is None else p.view.unsqueezed(primitive.dims), label=step.name)


@place.register(program.Transpose)
def _transpose(primitive: program.Transpose, maps: LoweringBuilder, step: Instruction, operands: Operands) -> Placed:
    p = first(operands)
    return replace(p, view=None if p.view is None else p.view.transposed(primitive.permutation), label=step.name)
