"""Which maps the channels of a tensor come from, where tensors were laid side by side and nothing has mixed them since.

The field of a node is what all its channels read together. Where only some of them are taken, less may be read. So
each channel of a concatenation carries a *mask*: one bit for each *source*, a map that it holds. Moves move the masks
as they move the elements, and what computes joins them as it joins the elements. Channels that have all sources read
what the node reads; others read the maps of their own sources, or, once something was computed of them, at most what
the node reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce, singledispatch
from math import prod

import numpy as np
from numpy.typing import NDArray

from rfgraph.frozen import dataclass
from rfgraph.importers import program
from rfgraph.importers.lowering.numbers import moved
from rfgraph.importers.lowering.views import View, along, other
from rfgraph.importers.program import Expression, Instruction, Shape

Masks = NDArray[np.int64]

#: Sources that are told apart, and masks of one tensor, at the most.
MAX_SOURCES = 62
MAX_MASKS = 1 << 16


@dataclass(frozen=True, slots=True)
class Source:
    """A map that some of the channels hold, and the axes of which each of its elements reads everything.

    It is ``node`` as it is only if ``is_map``: else something was computed of it since. One that is ``tied`` lies
    beside maps that are as large as it only at some input sizes, so that these have to stand in the network too.
    """

    node: str
    full: frozenset[int] = frozenset()
    is_map: bool = False
    tied: bool = False


@dataclass(frozen=True, eq=False, slots=True)
class Origins:
    """The sources of a tensor's channels."""

    sources: tuple[Source, ...]
    #: A bit for each source, and a dimension for each of the tensor, of size 1 where all elements along it are alike.
    masks: Masks
    #: The node that lays the sources side by side; they are the maps that it reads while the tensor is a view of it.
    node: str

    @property
    def every(self) -> int:
        """All sources that any channel has."""
        return int(np.bitwise_or.reduce(self.masks, axis=None))

    def present(self) -> list[Source]:
        """Return the sources that any channel has."""
        return [source for bit, source in enumerate(self.sources) if self.every >> bit & 1]

    @property
    def tied(self) -> bool:
        """Whether no source can stand without the others."""
        return any(source.tied for source in self.sources)

    @property
    def differ(self) -> bool:
        """Whether some channels have other sources than others."""
        return self.masks.size > 1

    def one_by_one(self, d: int, size: object) -> list[str] | None:
        """Return the nodes that lie along dimension ``d``, one at each of its ``size`` places; ``None`` else."""
        if self.masks.shape[d] != size or self.masks.size != size:
            return None
        bits = [int(mask) for mask in self.masks.reshape(-1)]
        if any(mask == 0 or mask & (mask - 1) for mask in bits) or len(set(bits)) < len(bits):
            return None
        sources = [self.sources[mask.bit_length() - 1] for mask in bits]
        return [source.node for source in sources] if all(source.is_map for source in sources) else None

    def laid(self, masks: Masks) -> Origins:
        """Return the same sources under other masks."""
        for d, size in enumerate(masks.shape):
            first = masks.take([0], d) if size else masks
            if size > 1 and (masks == first).all():
                masks = first
        return replace(self, masks=masks)

    def computed(self, name: str) -> Origins:
        """Return the same sources once a step has computed something of each channel."""
        sources = (Source(f"{name}:{bit}", tied=source.tied) for bit, source in enumerate(self.sources))
        return replace(self, sources=tuple(sources))


class Lost(Exception):  # noqa: N818  no error: which maps channels come from is not followed any further
    """Which maps channels come from is not followed any further."""


def beside(node: str, parts: Sequence[tuple[Origins | None, Source | None, int]], rank: int, d: int) -> Origins:
    """Return the origins of tensors laid side by side along dimension ``d``.

    Parameters
    ----------
    node
        The node that reads them.
    parts
        For each tensor its own origins if it has any, the map that it is, ``None`` for a constant, and its size.
    rank, d
        How many dimensions there are, and along which one they lie.

    Raises
    ------
    Lost
        If there are too many sources.
    """
    sources: dict[Source, int] = {}
    laid: list[Masks] = []
    row: list[tuple[int, int]] = []  # of those in a row that have one mask each: it, and their size
    if sum(size for *_, size in parts) > MAX_MASKS:  # before anything is as long
        raise Lost
    for origins, source, size in parts:
        if origins is None:
            place = None if source is None else sources.setdefault(source, len(sources))
            row.append((0 if place is None or place > MAX_SOURCES else 1 << place, size))
            continue
        kept = source is not None and origins.node == source.node
        names = origins.sources if kept or source is None else origins.computed(source.node).sources
        masks = _renamed(origins.masks, names, sources)
        laid += _rows(row, rank, d)
        laid.append(np.repeat(masks, size, d) if masks.shape[d] == 1 else masks)
        row = []
    laid += _rows(row, rank, d)
    others = np.broadcast_shapes(*(masks.take([0], d).shape for masks in laid))
    wide = [np.broadcast_to(masks, (*others[:d], masks.shape[d], *others[d + 1 :])) for masks in laid]
    if len(sources) > MAX_SOURCES or sum(map(np.size, wide)) > MAX_MASKS:
        raise Lost
    return Origins(tuple(sources), np.zeros((), dtype=np.int64), node).laid(np.concatenate(wide, d))


def _rows(row: Sequence[tuple[int, int]], rank: int, d: int) -> list[Masks]:
    """Return the masks of tensors in a row along dimension ``d`` of ``rank``, of each the one that it has, repeated."""
    if not row:
        return []
    alone, sizes = zip(*row, strict=True)
    masks: Masks = np.repeat(np.array(alone, dtype=np.int64), sizes)
    return [masks.reshape((1,) * d + masks.shape + (1,) * (rank - d - 1))]


def _renamed(masks: Masks, names: Sequence[Source], sources: dict[Source, int]) -> Masks:
    """Return masks with the bits of ``names`` where ``sources`` has them; it gets those that are new."""
    result = np.zeros_like(masks)
    for bit, source in enumerate(names):
        place = sources.setdefault(source, len(sources))
        if place <= MAX_SOURCES:
            result |= (masks >> bit & 1) << place
    return result


def joined(name: str, parts: Sequence[tuple[Origins | None, str]]) -> Origins:
    """Return the origins of what reads tensors of one rank at the same element, by the node of each."""
    sources: dict[Source, int] = {}
    masks = []
    for origins, node in parts:
        if origins is not None:
            masks.append(_renamed(origins.masks, origins.computed(node).sources, sources))
        else:
            masks.append(_renamed(np.ones((), dtype=np.int64), [Source(node)], sources))
    if len(sources) > MAX_SOURCES:
        raise Lost
    if prod(np.broadcast_shapes(*(each.shape for each in masks))) > MAX_MASKS:
        raise Lost
    both: Masks = reduce(lambda a, b: a | b, masks)  # numpy lays them on each other as the elements lie
    return Origins(tuple(sources), both, name).laid(both)


def laid(origins: Origins | None, labels: Sequence[str], output: Sequence[str]) -> Origins | None:
    """Return the origins of one factor of a product by the dimensions that are left after it."""
    if origins is None:
        return None
    if len(labels) != origins.masks.ndim or len(set(labels)) != len(labels):
        raise Lost
    return origins.laid(_under(origins.masks, labels, output))


# What each primitive makes of the origins of one tensor.


@singledispatch
def after(primitive: program.Primitive, origins: Origins, step: Instruction) -> Origins:
    """Return the origins of what a step makes of a tensor.

    Raises
    ------
    Lost
        If that is not followed.
    """
    raise Lost


@after.register(program.Resize)
@after.register(program.AdaptivePool)
def _spatial(primitive: program.Resize | program.AdaptivePool, origins: Origins, step: Instruction) -> Origins:
    _check_still(origins.masks, primitive.dims)
    return origins


def _check_still(masks: Masks, dims: Sequence[int]) -> None:
    """Give up where elements are told apart along dimensions that a window slides over."""
    if any(masks.shape[d] > 1 for d in dims):
        raise Lost


@after.register(program.Pointwise)
@after.register(program.Either)
def _each(primitive: program.Primitive, origins: Origins, step: Instruction) -> Origins:
    return origins


@after.register(program.Slide)
@after.register(program.SlideTransposed)
def _slide(primitive: program.Slide | program.SlideTransposed, origins: Origins, step: Instruction) -> Origins:
    _check_still(origins.masks, primitive.dims)
    if primitive.apart:
        raise Lost
    masks, d = origins.masks, primitive.channel
    if d is None or masks.shape[d] == 1:
        return origins
    size = None if step.output.shape is None else step.output.shape[d]
    if masks.shape[d] % primitive.groups or not isinstance(size, int) or size % primitive.groups:
        raise Lost
    if masks.size // masks.shape[d] * size > MAX_MASKS:
        raise Lost
    grouped = masks.reshape(*masks.shape[:d], primitive.groups, -1, *masks.shape[d + 1 :])
    mixed = np.bitwise_or.reduce(grouped, axis=d + 1)
    return origins.laid(np.repeat(mixed, size // primitive.groups, d))


@after.register(program.Reduce)
def _reduce(primitive: program.Reduce, origins: Origins, step: Instruction) -> Origins:
    masks = origins.masks
    for d in primitive.dims:
        masks = np.bitwise_or.reduce(masks, axis=d, keepdims=True)
    return origins.laid(masks if primitive.keepdims else masks.squeeze(tuple(primitive.dims)))


@after.register(program.Mix)
def _mix(primitive: program.Mix, origins: Origins, step: Instruction) -> Origins:
    masks = origins.masks
    if primitive.direction != "both" and any(masks.shape[d] > 1 for d in primitive.dims):
        raise Lost
    for d in primitive.dims:
        masks = np.bitwise_or.reduce(masks, axis=d, keepdims=True)
    return origins.laid(masks)


@after.register(program.Whole)
def _whole(primitive: program.Whole, origins: Origins, step: Instruction) -> Origins:
    every = np.full((1,) * len(step.output.shape or ()), origins.every)
    return origins.laid(every)


@after.register(program.Contract)
def _contract(primitive: program.Contract, origins: Origins, step: Instruction) -> Origins:
    labels = next(
        (labels for labels, value in zip(primitive.operands, step.inputs, strict=True) if not value.constant), ()
    )
    product = laid(origins, labels, primitive.output)
    assert product is not None
    return product


def _under(masks: Masks, labels: Sequence[str], output: Sequence[str]) -> Masks:
    """Return masks by the dimensions that a product is left with: those that are summed over join."""
    summed = tuple(d for d, label in enumerate(labels) if label not in output)
    left = np.bitwise_or.reduce(masks, axis=summed) if summed else masks
    kept = [label for label in labels if label in output]
    ordered = left.transpose([kept.index(label) for label in output if label in kept])
    return ordered.reshape([ordered.shape[i] if label in kept else 1 for label, i in _counted(output, kept)])


def _counted(output: Sequence[str], kept: Sequence[str]) -> list[tuple[str, int]]:
    """Return each label with the number of those before it that are kept."""
    return [(label, sum(other in kept for other in output[:i])) for i, label in enumerate(output)]


@after.register(program.Transpose)
@after.register(program.Squeeze)
@after.register(program.Unsqueeze)
def _moved(primitive: program.Primitive, origins: Origins, step: Instruction) -> Origins:
    return origins.laid(_of(moved(primitive, origins.masks)))


@after.register(program.Expand)
def _expand(primitive: program.Expand, origins: Origins, step: Instruction) -> Origins:
    more = len(step.output.shape or ()) - origins.masks.ndim
    return origins.laid(origins.masks.reshape((1,) * more + origins.masks.shape))


@after.register(program.Roll)
def _roll(primitive: program.Roll, origins: Origins, step: Instruction) -> Origins:
    return origins.laid(np.roll(origins.masks, primitive.shift, primitive.dim))


@after.register(program.Slice)
def _slice(primitive: program.Slice, origins: Origins, step: Instruction) -> Origins:
    masks = origins.masks
    for d, *bounds in zip(primitive.dims, primitive.starts, primitive.stops, primitive.steps, strict=True):
        if masks.shape[d] == 1:
            continue
        if any(isinstance(bound, Expression) for bound in bounds):
            raise Lost
        masks = masks[(*(slice(None),) * d, slice(*bounds))]
    return origins.laid(masks)


@after.register(program.Take)
def _take(primitive: program.Take, origins: Origins, step: Instruction) -> Origins:
    d, at = primitive.dim, step.inputs[1]
    if at.shape is None or step.inputs[0].constant:
        raise Lost
    if origins.masks.shape[d] == 1:
        size = origins.masks.shape
        return origins.laid(origins.masks.reshape((*size[:d], *(1,) * len(at.shape), *size[d + 1 :])))
    if at.data is None or any(isinstance(row, Expression) for row in at.data.elements.flat):
        raise Lost
    return origins.laid(_of(moved(primitive, origins.masks, at.data.elements.astype(np.int64))))


@after.register(program.Pad)
def _pad(primitive: program.Pad, origins: Origins, step: Instruction) -> Origins:
    if any(origins.masks.shape[d] > 1 for d, amounts in enumerate(primitive.amounts) if amounts != (0, 0)):
        raise Lost
    return origins


@after.register(program.Reshape)
def _reshape(primitive: program.Reshape, origins: Origins, step: Instruction) -> Origins:
    shape = step.inputs[0].shape
    if shape is None or len(shape) != origins.masks.ndim:
        raise Lost
    return origins.laid(_reshaped(origins.masks, shape, primitive.shape))


def _reshaped(masks: Masks, shape: Shape, new: Shape) -> Masks:
    """Return masks under another shape: each dimension along which they differ is followed as an axis is."""
    telling = [d for d, size in enumerate(masks.shape) if size > 1]
    view = View(tuple(along(d, size) if d in telling else other(size) for d, size in enumerate(shape))).reshaped(new)
    if view is None:
        raise Lost
    sizes = [dim.size if dim.axes else 1 for dim in view.dims]
    known = [size for size in sizes if isinstance(size, int)]
    if len(known) < len(sizes) or prod(known) > MAX_MASKS:
        raise Lost
    index = [np.zeros((1,) * len(known), dtype=np.int64)] * masks.ndim
    for e, dim in enumerate(view.dims):
        inner = 1
        for part in reversed(dim.parts if dim.axes else ()):
            if not isinstance(part.size, int) or not isinstance(part.stride, int):
                raise Lost
            if part.axis is not None:
                digit = np.arange(known[e]) // inner % part.size * part.stride
                index[part.axis] = index[part.axis] + digit.reshape([-1 if i == e else 1 for i in range(len(known))])
            inner *= part.size
    result: Masks = masks[tuple(index)]
    return result


def _of(masks: Masks | None) -> Masks:
    if masks is None:
        raise Lost
    return masks
