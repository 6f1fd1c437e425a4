"""How the dimensions of a tensor carry the spatial axes of a feature map.

A tensor in the middle of a model is a *view* of a feature map: its elements are the map's, numbered another way. Each
dimension is a sequence of *parts*, the most significant first: a part is a range of positions of one axis, or a range
of something else (batch, channels). An ``NCHW`` tensor is ``[batch] [channels] [y] [x]``; flattened to tokens
``[batch] [y, x] [channels]``; cut in windows of 7, ``[batch, y/7, x/7] [y%7, x%7] [channels]``. Transposing and
reshaping only moves parts about, so nothing has to be decided before an op mixes some of them.

The parts of one axis always make up the whole axis, each position once. An axis without a part has size 1; where it
has a part all the same, of size 1, that says which dimension it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import accumulate
from operator import mul

from rfgraph.frozen import dataclass
from rfgraph.importers.program import Dim, Shape, exact_quotient, product


@dataclass(frozen=True, slots=True)
class Part:
    """``size`` steps of ``stride`` positions along ``axis``; of no axis for batch and channels."""

    size: Dim
    axis: int | None = None
    stride: Dim = 1

    @property
    def reach(self) -> Dim:
        """How many positions of its axis it makes up with the parts inside it."""
        return self.size * self.stride


@dataclass(frozen=True)
class Dimension:
    """One dimension of a tensor: its parts, and rows before and after them that are no positions (class tokens).

    Most ops hand it on as it is, so what is asked of it is kept.
    """

    parts: tuple[Part, ...] = ()
    before: Dim = 0
    after: Dim = 0

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash((self.parts, self.before, self.after))

    @cached_property
    def size(self) -> Dim:
        """How many elements it has."""
        if len(self.parts) == 1 and not self.extra:
            return self.parts[0].size
        return product(part.size for part in self.parts) + self.before + self.after

    @cached_property
    def axes(self) -> frozenset[int]:
        """The axes that it carries some of."""
        return frozenset([part.axis for part in self.parts if part.axis is not None])

    def led_by(self, axis: int) -> Dimension:
        """Return it with an axis of one position before its parts."""
        return replace(self, parts=(Part(1, axis), *self.parts))

    @cached_property
    def spatial(self) -> tuple[Part, ...]:
        """Its parts that are positions."""
        return tuple([part for part in self.parts if part.axis is not None])

    @property
    def extra(self) -> bool:
        """Whether it has rows that are no positions."""
        return self.before != 0 or self.after != 0


def other(size: Dim) -> Dimension:
    """Return a dimension that carries no axis."""
    return Dimension(() if size == 1 else (Part(size),))


def along(axis: int, size: Dim) -> Dimension:
    """Return a dimension that is the whole of ``axis``."""
    return Dimension((Part(size, axis),))


@dataclass(frozen=True)
class View:
    """The dimensions of a tensor, and what they carry.

    Examples
    --------
    >>> view = View((other(2), other(64), along(0, 14), along(1, 14)))
    >>> tokens = view.reshaped((2, 64, 196)).transposed((0, 2, 1))
    >>> [part.axis for part in tokens.dims[1].parts]
    [0, 1]
    >>> tokens.transposed((0, 2, 1)).reshaped((2, 64, 14, 14)) == view
    True
    """

    dims: tuple[Dimension, ...]

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        return hash(self.dims)

    @cached_property
    def axes(self) -> frozenset[int]:
        """The axes that any dimension carries."""
        return frozenset(self._places)

    @cached_property
    def _places(self) -> dict[int, list[tuple[int, Part]]]:
        places: dict[int, list[tuple[int, Part]]] = {}
        for d, dim in enumerate(self.dims):
            for part in dim.parts:
                if part.axis is not None:
                    places.setdefault(part.axis, []).append((d, part))
        return places

    @cached_property
    def _extents(self) -> dict[int, Dim]:
        return {
            axis: places[0][1].size if len(places) == 1 else product(part.size for _, part in places)
            for axis, places in self._places.items()
        }

    @property
    def rank(self) -> int:
        """How many dimensions it has."""
        return len(self.dims)

    @cached_property
    def sizes(self) -> tuple[Dim, ...]:
        """The shape of the tensor."""
        return tuple([dim.size for dim in self.dims])

    @cached_property
    def torn(self) -> int | None:
        """An axis that its parts do not make up, each position once; ``None`` if there is none."""
        for axis in self.axes:
            parts = [(part.stride, part.size) for _, part in self.places(axis) if part.size != 1]
            numbers = [(stride, size) for stride, size in parts if isinstance(stride, int) and isinstance(size, int)]
            covered = 1
            for stride, size in sorted(numbers):
                if stride != covered and len(numbers) == len(parts):
                    return axis
                covered *= size
        return None

    def places(self, axis: int) -> Sequence[tuple[int, Part]]:
        """Return the parts of ``axis`` and the dimensions that they are in."""
        return self._places.get(axis, ())

    def extent(self, axis: int) -> Dim:
        """Return the size of ``axis``."""
        return self._extents.get(axis, 1)

    @cached_property
    def _wholes(self) -> tuple[int | None, ...]:
        alone = [dim.parts[0].axis if len(dim.parts) == 1 and not dim.extra else None for dim in self.dims]
        return tuple([axis if axis is not None and len(self._places[axis]) == 1 else None for axis in alone])

    def whole(self, d: int) -> int | None:
        """Return the axis that dimension ``d`` is, all of it and nothing else; ``None`` if there is none."""
        return self._wholes[d]

    @cached_property
    def symbols(self) -> tuple[tuple[int, Dim], ...]:
        """The axes that are dimensions of their own whose sizes are symbols, and these."""
        axes = [axis for axis in self._wholes if axis is not None]
        return tuple([(axis, size) for axis in axes if not isinstance(size := self._extents[axis], int)])

    def replaced(self, d: int, dim: Dimension) -> View:
        """Return it with another dimension ``d``."""
        return View((*self.dims[:d], dim, *self.dims[d + 1 :]))

    def transposed(self, permutation: Sequence[int]) -> View:
        """Return it with the dimensions in another order."""
        return View(tuple(self.dims[d] for d in permutation))

    def squeezed(self, dims: Collection[int]) -> View:
        """Return it without dimensions of size 1."""
        return View(tuple(dim for d, dim in enumerate(self.dims) if d not in dims))

    def unsqueezed(self, dims: Collection[int]) -> View:
        """Return it with dimensions of size 1 at the places ``dims`` of the result."""
        rest = iter(self.dims)
        return View(tuple(Dimension() if d in dims else next(rest) for d in range(self.rank + len(dims))))

    def without(self, axes: Collection[int]) -> View:
        """Return it with the parts of some axes turned into channels: their positions are no longer told apart."""
        dims = []
        for dim in self.dims:
            parts = joined(Part(part.size) if part.axis in axes else part for part in dim.parts)
            lost = dim.extra and bool(dim.axes) and dim.axes <= set(axes)
            dims.append(other(dim.size) if lost else replace(dim, parts=parts))
        return View(tuple(dims))

    def reshaped(self, shape: Shape) -> View | None:
        """Return it under another shape, ``None`` if that cuts through parts in a way that cannot be followed."""
        kept = self._same_rank(shape)
        if kept is not None:
            return kept
        dims: list[Dimension] = []
        pending: list[Dimension] = [dim for dim in reversed(self.dims) if dim.size != 1]
        for size in shape:
            taken = _take(pending, size)
            if taken is None:
                return self._of_channels(shape)
            dims.append(taken)
        if any(part.size != 1 for dim in pending for part in dim.parts):
            return self._of_channels(shape)
        return self._with_ones(dims)

    def _with_ones(self, dims: list[Dimension]) -> View:
        """Return dimensions that it was cut into, and in them its axes of one position, as far as it is seen where.

        Dimensions of size 1 that begin in one place are the same as before where they are as many. Where none of size 1
        is left, the one that stands in its place is the axis, with channels laid out along it. The first dimension is
        taken for the batch.
        """
        ones = [axis for axis in sorted(self.axes) if self.extent(axis) == 1 and self.places(axis)[0][0]]
        before, after = (_ones(each) if ones else {} for each in (self.dims, dims))
        same = {
            d: e for start, places in before.items() if len(places) == len(after.get(start, ()))
            for d, e in zip(places, after[start], strict=True)
        }  # fmt: skip
        if not after and len(dims) == self.rank:
            same = {d: d for d in range(self.rank)}
        for axis in ones:
            e = same.get(self.places(axis)[0][0])
            if e is not None and not dims[e].axes:
                dims[e] = dims[e].led_by(axis)
        return View(tuple(dims))

    def with_ones_of(self, like: View) -> View:
        """Return it with the axes of one position that a view of as many dimensions has where it has none itself."""
        dims = list(self.dims)
        for axis in sorted(like.axes - self.axes) if like.rank == self.rank else ():
            d, _ = like.places(axis)[0]
            if like.extent(axis) == 1 and not dims[d].axes:
                dims[d] = dims[d].led_by(axis)
        return View(tuple(dims))

    def _same_rank(self, shape: Shape) -> View | None:
        if len(shape) == self.rank and all(dim.size == size for dim, size in zip(self.dims, shape, strict=True)):
            return self
        return None

    def _of_channels(self, shape: Shape) -> View | None:
        """A tensor without axes may be reshaped anyhow, if all its elements are channels."""
        if any(dim.extra or any(part.size != 1 for part in dim.spatial) for dim in self.dims):
            return None
        return View(tuple(other(size) for size in shape))


def _ones(dims: Sequence[Dimension]) -> dict[Dim, list[int]]:
    """Return the dimensions of size 1 but the first, by how many elements there are before them."""
    starts = accumulate((dim.size for dim in dims), mul, initial=1)
    ones: dict[Dim, list[int]] = {}
    for d, (dim, start) in enumerate(zip(dims, starts, strict=False)):
        if d and dim.size == 1:
            ones.setdefault(start, []).append(d)
    return ones


def _take(pending: list[Dimension], size: Dim) -> Dimension | None:
    """Take parts that make up a dimension of ``size`` off the end of ``pending``; split the last where it must be."""
    if pending and pending[-1].extra and size != 1:
        return _take_rows(pending, size)
    parts: list[Part] = []
    need = size
    while need != 1:
        part = _next(pending)
        if part is None:
            return None
        rest = exact_quotient(need, part.size)
        if rest is not None:
            parts.append(part)
            need = rest
            continue
        inner = exact_quotient(part.size, need)
        if inner is None:
            if part.axis is not None:
                return None
            following = _next(pending)  # several channels side by side are one: 4 * 3 is 2 * 6
            if following is None or following.axis is not None:
                return None
            pending.append(Dimension((Part(part.size * following.size),)))
            continue
        parts.append(Part(need, part.axis, part.stride * inner if part.axis is not None else 1))
        pending.append(Dimension((Part(inner, part.axis, part.stride),)))
        need = 1
    return Dimension(joined(parts))


def _take_rows(pending: list[Dimension], size: Dim) -> Dimension | None:
    """Take a dimension of ``size`` that begins with rows that are no positions: with channels after it, or without."""
    dim = pending.pop()
    more = exact_quotient(size, dim.size)
    if more is not None:
        while more != 1:  # so many channels beside each row make so many more of them
            part = _next(pending)
            rest = None if part is None or part.axis is not None else exact_quotient(more, part.size)
            if part is None or rest is None:
                return None
            dim = Dimension(joined((*dim.parts, part)), dim.before * part.size, dim.after * part.size)
            more = rest
        return dim
    fewer = exact_quotient(dim.size, size)
    last = dim.parts[-1] if dim.parts else Part(1)
    left = None if fewer is None or last.axis is not None else exact_quotient(last.size, fewer)
    before, after = (None if fewer is None else exact_quotient(rows, fewer) for rows in (dim.before, dim.after))
    if fewer is None or left is None or before is None or after is None:
        return None
    pending.append(other(fewer))
    return Dimension(joined((*dim.parts[:-1], *other(left).parts)), before, after)


def _next(pending: list[Dimension]) -> Part | None:
    """Take the most significant part off ``pending``."""
    while pending:
        dim = pending.pop()
        if dim.extra:
            pending.append(dim)
            return None
        first, *rest = dim.parts
        if rest:
            pending.append(Dimension(tuple(rest)))
        if first.size != 1:
            return first
    return None


def joined(parts: Iterable[Part]) -> tuple[Part, ...]:
    """Return parts with neighbours that are one range written as one."""
    result: list[Part] = []
    for part in parts:
        if part.axis is None and part.size == 1:
            continue
        if result and result[-1].axis == part.axis:
            before = result[-1]
            if part.axis is None:
                result[-1] = Part(before.size * part.size)
                continue
            if before.stride == part.stride * part.size:
                result[-1] = Part(before.size * part.size, part.axis, part.stride)
                continue
        result.append(part)
    return tuple(result)
