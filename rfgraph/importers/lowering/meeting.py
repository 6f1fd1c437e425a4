"""Several tensors read at the same place: dimensions of the same label are brought to carry the same."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from dataclasses import replace
from typing import Any

from rfgraph.importers.lowering.layout import Probe
from rfgraph.importers.lowering.maps import MAX_TABLE, SHARED, LoweringBuilder, Placed, unmixed
from rfgraph.importers.lowering.views import Dimension, Part, View
from rfgraph.importers.program.dimensions import Dim, exact_quotient, product

Labels = Sequence[Hashable]


def together(
    maps: LoweringBuilder,
    operands: Sequence[Placed],
    labels: Sequence[Labels],
    output: Labels,
    name: str,
    joined_axes: Collection[int] = (),
    mixed: Collection[Hashable] = (),
) -> tuple[list[Placed], dict[Hashable, Dimension]] | None:
    """Bring tensors to where their dimensions of the same label carry the same, and say what each label carries.

    Where an axis lies under two labels, as among queries and keys, its first owner keeps it, and others are read
    whole. ``None`` if the tensors do not fit.

    Parameters
    ----------
    labels
        The label of each dimension of each tensor.
    output
        The labels that are left after it.
    name
        What nodes that this needs are named after.
    joined_axes
        Axes that none of them has under a label, because they lie end to end there.
    mixed
        Labels that are mixed later on, as those of keys are.
    """
    placed = list(operands)
    if maps.probe is not None:
        _unify(maps.probe, placed, labels)
        placed = [_lying(p, None if p.view is None else maps.probe.canonical(p.view)) for p in placed]
    meeting = Meeting(maps, output)
    before: int | None = None  # the last tensor that fitted as it is: one that lies like it fits as well
    for i in _owners_first(placed, labels, mixed):
        if before is not None and _alike(placed[before].view, labels[before], placed[i].view, labels[i], output):
            continue
        brought = meeting.brought(placed[i], labels[i], f"{name}/{i}" if len(placed) > 1 else name)
        if brought is None or not meeting.laid(brought, labels[i]):
            return None
        before = i if brought is placed[i] else None
        placed[i] = brought
    placed = [meeting.bounded(p, labels[i], f"{name}/{i}/channels") for i, p in enumerate(placed)]
    axes = set(meeting.owner) - set(joined_axes)
    return [_broadcast(maps, p, axes, f"{name}/{i}") for i, p in enumerate(placed)], meeting.carried


class Meeting:
    """What tensors put under each label, one after the other, and where each axis lies."""

    def __init__(self, maps: LoweringBuilder, output: Labels) -> None:
        self.maps = maps
        self.output = output
        self.carried: dict[Hashable, Dimension] = {}
        #: Axis -> the labels that it lies under in the first tensor that has it, each with its step along the axis.
        self.owner: dict[int, list[tuple[Hashable, Dim]]] = {}
        self.extents: dict[int, Dim] = {}

    def brought(self, p: Placed, labels: Labels, name: str) -> Placed | None:
        """Return a tensor brought to where its axes lie in the tensors before it; ``None`` if that cannot be done."""
        clash = self._clash(p, labels)
        if any(labels[d] in self.carried and self.carried[labels[d]].axes for d in clash):
            return None  # two axes under one label, as where a map meets its own transpose
        if clash and self._on_grid(p, labels, clash):
            p = self.maps.absorb(p, clash, name)
        elif clash:
            p = self.maps.collapse(p, clash, f"{name}/read", "flatten", bound=SHARED)
        return self._tiled(self._lifted(p, labels, f"{name}/each"), labels, f"{name}/each")

    def laid(self, p: Placed, labels: Labels) -> bool:
        """Note what a tensor puts under its labels, and axes that it is the first to have; return whether that fits."""
        assert p.view is not None
        pairs = zip(labels, p.view.dims, strict=True)
        if not all(self._lay(label, dim) for label, dim in pairs if label in self.output):
            return False
        for axis in p.view.axes:
            if p.view.extent(axis) != 1 and axis not in self.owner:
                self.owner[axis] = _home(p.view, labels, axis)
                self.extents[axis] = p.view.extent(axis)
        return True

    def bounded(self, p: Placed, labels: Labels, name: str) -> Placed:
        """Return a tensor as a bound if channels of it that hold different positions lie on positions of another."""
        if not p.folded and not p.beside:  # else channels that lie on positions are not read alike by each of them
            return p
        pairs = zip(labels, p.view.dims if p.view is not None else (), strict=False)
        laid = any(
            not dim.axes and dim.size != 1 and label in self.carried and self.carried[label].axes
            for label, dim in pairs
        )
        return self.maps.at_most(p, name, unmixed(p)["bound"]) if laid else p

    def _clash(self, p: Placed, labels: Labels) -> set[int]:
        """Return the dimensions of a tensor that carry an axis which an earlier one carries under another label."""
        assert p.view is not None
        clash = set()
        for axis in p.view.axes & set(self.owner):
            others = {label for label, _ in self.owner[axis]}
            for d, part in p.view.places(axis):
                if part.size != 1 and labels[d] in self.output and labels[d] not in others:
                    clash.add(d)
        return clash

    def _on_grid(self, p: Placed, labels: Labels, clash: Collection[int]) -> bool:
        """Whether what of a tensor is left without ``clash`` lies as the owner of its axes does."""
        assert p.view is not None
        axes = set().union(*(p.view.dims[d].axes for d in clash)) & set(self.owner)
        return all(
            (labels[d], part.stride) in self.owner[axis]
            for axis in axes for d, part in p.view.places(axis) if d not in clash and part.size != 1
        )  # fmt: skip

    def _lifted(self, p: Placed, labels: Labels, name: str) -> Placed:
        """Lay a map of blocks out to the positions of a finer map that it is read beside, block by block."""
        assert p.view is not None
        blocks: dict[int, int] = {}
        for axis in p.view.axes & set(self.owner):
            home, there = _home(p.view, labels, axis), self.owner[axis]
            ratios = {exact_quotient(stride, home[0][1]) for label, stride in there if home and label == home[0][0]}
            for ratio in ratios:
                if isinstance(ratio, int) and ratio > 1 and all((label, s * ratio) in there for label, s in home):
                    blocks[axis] = ratio
        if not blocks:
            return p

        def spaced(part: Part) -> Part:
            return part if part.axis not in blocks else replace(part, stride=part.stride * blocks[part.axis])

        node = self.maps.emit("depth_to_space", name, [p], block=self.maps.per_axis(blocks, 1))
        dims = tuple(replace(dim, parts=tuple(map(spaced, dim.parts))) for dim in p.view.dims)
        return replace(p, node=node, view=View(dims))

    def _tiled(self, p: Placed, labels: Labels, name: str) -> Placed | None:
        """Repeat a map that is read beside every window of a larger one, window by window.

        ``None`` if how often is not known.
        """
        assert p.view is not None
        positions: dict[int, list[int]] = {}
        sizes: dict[int, int] = {}
        for axis in p.view.axes & set(self.owner):
            home, size, whole = set(_home(p.view, labels, axis)), p.view.extent(axis), self.extents[axis]
            if not home < set(self.owner[axis]) or all(stride != 1 for _, stride in home):
                continue  # without its innermost part, each position has read the others of its block
            if not isinstance(size, int) or not isinstance(whole, int) or whole > MAX_TABLE:
                return None
            positions[axis], sizes[axis] = [y % size for y in range(whole)], size
        if not positions:
            return p
        of_axes = self.maps.per_axis
        tables = {"positions": of_axes(positions, None), "source_size": of_axes(sizes, None)}
        return replace(p, node=self.maps.emit("gather", name, [p], **tables))

    def _lay(self, label: Hashable, dim: Dimension) -> bool:
        """Note what ``dim`` puts under a label; return whether that fits what is there."""
        there = self.carried.get(label)
        if there is None or not _counts(there):
            if there is None or _counts(dim) or len(dim.parts) > len(there.parts):
                self.carried[label] = dim
            return True
        if not _counts(dim) or not dim.axes:  # what has no axis there is read alike by each of the positions
            return True
        if not there.axes:
            self.carried[label] = dim
            return True
        return bool(_pattern(there) == _pattern(dim))


def _unify(probe: Probe, placed: Sequence[Placed], labels: Sequence[Labels]) -> None:
    """Note that axes under one label are the same."""
    whole: dict[Hashable, int] = {}
    for p, own in zip(placed, labels, strict=True):
        for d, label in enumerate(own if p.view is not None else ()):
            assert p.view is not None
            axis = p.view.whole(d)
            if axis is None or p.view.extent(axis) == 1:
                continue
            if label in whole:
                probe.same(whole[label], axis)
            else:
                whole[label] = axis


def _home(view: View, labels: Labels, axis: int) -> list[tuple[Hashable, Dim]]:
    """Return the labels that an axis lies under in a tensor, each with its step along the axis."""
    return [(labels[d], part.stride) for d, part in view.places(axis) if part.size != 1]


def _owners_first(
    placed: Sequence[Placed], labels: Sequence[Sequence[Hashable]], mixed: Collection[Hashable]
) -> list[int]:
    """Return the order in which tensors say where an axis lies.

    It is as given, but what has its axes under labels that are mixed later on, as keys have, comes after what has them
    under others. So does else a small map that has its axes under other labels than a larger one, as queries that
    every window shares, or under some of them only.
    """
    order = [i for i, p in enumerate(placed) if p.view is not None]
    if len(order) != 2:
        return order
    (a, first), (b, second) = ((i, view) for i in order if (view := placed[i].view) is not None)
    shared = [axis for axis in first.axes & second.axes if first.extent(axis) != 1 != second.extent(axis)]
    apart = all(
        {label for label, _ in _home(first, labels[a], axis)}.isdisjoint(
            label for label, _ in _home(second, labels[b], axis)
        )
        for axis in shared
    )
    passing = [
        bool(shared) and all(label in mixed for axis in shared for label, _ in _home(view, labels[i], axis))
        for i, view in ((a, first), (b, second))
    ]
    if apart and passing[0] != passing[1]:
        return [b, a] if passing[0] else [a, b]
    within = any(set(_home(first, labels[a], axis)) < set(_home(second, labels[b], axis)) for axis in shared)
    small, large = (product(view.extent(axis) for axis in shared) for view in (first, second))
    swapped = within or (bool(shared) and apart and isinstance(small, int) and isinstance(large, int) and small < large)
    return [b, a] if swapped else order


def _broadcast(maps: LoweringBuilder, p: Placed, axes: set[int], name: str) -> Placed:
    """Read a map of one position from everywhere, if it is not read so already."""
    if p.view is None:
        return p
    missing = {axis for axis in axes if axis not in p.full and p.view.extent(axis) == 1}
    if not missing:
        return p
    return replace(p, node=maps.emit("broadcast", name, [p], **maps.mixes(missing)), full=p.full | missing)


def _alike(
    a: View | None, of_a: Sequence[Hashable], b: View | None, of_b: Sequence[Hashable], output: Sequence[Hashable]
) -> bool:
    """Return whether two tensors lie alike: under the same labels, but for channels whose label is not left."""
    if a is None or b is None or a.rank != b.rank:
        return False
    pairs = zip(a.dims, of_a, b.dims, of_b, strict=True)
    return all(
        (dim is dim_b or dim == dim_b) and label == label_b
        if label in output or label_b in output or dim.axes or dim_b.axes
        else True
        for dim, label, dim_b, label_b in pairs
    )


def _lying(p: Placed, view: View | None) -> Placed:
    """Return a tensor that lies as ``view`` says: itself, if it does."""
    return p if p.view is view else replace(p, view=view)


def _counts(dim: Dimension) -> bool:
    return dim.extra or any(part.size != 1 for part in dim.parts)


def _pattern(dim: Dimension) -> Any:
    """Return what must agree of two dimensions that are read together; sizes are checked elsewhere."""
    parts = tuple((part.axis, part.stride if part.axis is not None else None) for part in dim.parts if part.size != 1)
    return parts, dim.before, dim.after
