"""Tiling: a big input cut into tiles that are run one by one, and whose outputs put together are those of the whole.

Along one axis, with ``S`` the effective stride of the output: tiles start at multiples of ``M``, the least common
multiple of the numerators of the effective strides of *all* maps between source and output, so that every map of a
tile lies on the grid of the whole image's map. Of a tile's outputs those are kept that are exact (see
``passes.exact_outputs``); what is dropped at each side is the *halo*. At a border of the image nothing is dropped.

The plan is exact, or there is none: every node that forbids one is named.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from fractions import Fraction
from functools import cached_property
from itertools import accumulate, product
from math import floor, isqrt, lcm, prod
from typing import TYPE_CHECKING, Any

from rfgraph.algebra.window import Window, as_number
from rfgraph.errors import AttributeValueError, SizeError, TilingError, UnknownFieldError
from rfgraph.frozen import dataclass
from rfgraph.graph.network import OrderedNetwork
from rfgraph.passes.compiled import Compiled, compile_layers
from rfgraph.passes.exact_outputs import ExactOutputs, exact_outputs
from rfgraph.passes.fields import forward
from rfgraph.passes.fold import between, fold
from rfgraph.questions.tiles import AxisTiling, Blocker, Halo, Tile, Tiling, Untileable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.generic]

#: Halos are worked out for every residue of the tile's size modulo the start multiple, up to this many.
MAX_RESIDUES = 512

#: Tile sizes that are compared along an axis when none is given, where there are more than two axes.
MAX_CHOICES = 512

#: Halos are looked for on tiles of fewer pixels than this.
_MOST = 1 << 24

#: Pixels of a tile where neither its size nor what it may take is given, unless even the smallest ones have as many.
USUAL_PIXELS = 1 << 20

#: Tiles along one axis: more are refused, as each is listed.
MAX_TILES = 1 << 20


def find(compiled: Compiled, outputs: Sequence[int], source: int) -> list[Untileable]:
    """Return which of ``outputs`` cannot be tiled exactly.

    Parameters
    ----------
    compiled
        The network, without an input size.
    """
    findings = []
    for v in outputs:
        blocking = blockers(compiled, v, source)
        if blocking:
            axes = tuple(name for name in compiled.layers.axes if any(blocker.axis == name for blocker in blocking))
            once = tuple({blocker.node: blocker for blocker in blocking}.values())
            findings.append(Untileable("RF009", compiled.layers.nodes[v], axes, blockers=once))
    return findings


# The plan.


@dataclass(frozen=True)
class Tiler:
    """A network that is to be tiled: its halos by size, each worked out once."""

    layers: OrderedNetwork
    node: int
    source: int
    _compiled: dict[tuple[int, ...], Compiled] = field(default_factory=dict, repr=False)
    _exact: dict[tuple[int, int], tuple[int, int, int]] = field(default_factory=dict, repr=False)
    _rules: dict[tuple[int, int | None], AxisTiling] = field(default_factory=dict, repr=False)
    _settled_sizes: dict[tuple[int, int], tuple[list[int], ...]] = field(default_factory=dict, repr=False)

    def compiled(self, sizes: Sequence[int] | None) -> Compiled:
        """Return the network with the windows that it has for an input of ``sizes``, one per axis."""
        key = tuple(sizes or ())
        if key not in self._compiled:
            name = self.layers.nodes[self.source]
            self._compiled[key] = compile_layers(self.layers, {name: key} if key else None)
        return self._compiled[key]

    @cached_property
    def between(self) -> list[int]:
        """Node ids from source to output, in topological order."""
        return between(self.layers, self.source, [self.node])

    def alike(self, axis: int, size: int) -> tuple[int, ...]:
        """Return ``size`` on all axes: each axis is worked out alone."""
        return (size,) * len(self.layers.axes)

    def exact(self, axis: int, tile: int) -> tuple[int, int, int]:
        """Return the halo before and after of a tile, and how many outputs it has.

        Raises
        ------
        SizeError
            If the network does not run on it.
        """
        if (axis, tile) not in self._exact:
            compiled = self.compiled(self.alike(axis, tile))
            outputs = compiled.sizes[self.node][axis] or 0
            first, last = exact_outputs(compiled, axis, self.between)
            self._exact[axis, tile] = first, outputs - 1 - last, outputs
        return self._exact[axis, tile]

    def rule(self, axis: int, image: int | None) -> AxisTiling:
        """Return start multiple and halo along one axis, the largest over all tile sizes that are allowed."""
        if (axis, image) not in self._rules:
            alike = next(
                (known for known in self._rules if known[1] == image and self._are_alike(known[0], axis)), None
            )
            if alike is None:
                self._rules[axis, image] = _rule(self, axis, image)
            else:
                self._rules[axis, image] = replace(self._rules[alike], axis=self.layers.axes[axis])
        return self._rules[axis, image]

    def _are_alike(self, one: int, other: int) -> bool:
        """Return whether every op is the same along two axes."""
        return all(ops[one] == ops[other] for ops in self.layers.distinct.values())

    def map_sizes(self, axis: int, image: int, tile: int) -> list[int]:
        """Return the size of every map on the way along one axis, for a tile of so many pixels.

        From where halos are settled on, maps grow evenly.
        """
        general = self.rule(axis, image)
        halo = general.halos.get(tile % general.multiple)
        if halo is None or tile < halo.settled:
            sizes = self.compiled(self.alike(axis, tile)).sizes
            return [sizes[v][axis] or 0 for v in self.between]
        key = axis, tile % general.multiple
        if key not in self._settled_sizes:
            self._settled_sizes[key] = tuple(
                [sizes[v][axis] or 0 for v in self.between]
                for size in (halo.settled, halo.settled + general.multiple)
                for sizes in [self.compiled(self.alike(axis, size)).sizes]
            )
        turns = (tile - halo.settled) // general.multiple
        return [size + turns * (larger - size) for size, larger in zip(*self._settled_sizes[key], strict=True)]

    def mirrors(self, axis: int, tile: int, at_start: bool, at_end: bool) -> bool:
        """Return whether all that is mirrored at a border of the image, which a tile keeps, is exact in the tile.

        A border that is mirrored reads positions inside the map; the tile's other end must not have spoilt these.
        """
        mirroring = [v for v in self.between[1:] if self.layers.ops[v][axis].border != "constant"]
        if not mirroring:
            return True
        compiled = self.compiled(self.alike(axis, tile))
        domain = ExactOutputs(compiled, axis, self.source)
        exact = fold(self.layers, self.source, domain, to=self.between)
        for v in mirroring:
            for tail, read in zip(self.layers.tails[v], compiled.reads[axis][v], strict=True):
                if tail not in exact or not read.is_local:
                    continue
                first, last = exact[tail]
                size, outputs = domain.sizes[tail], domain.sizes[v]
                before = -min(interval[0] for y in range(read.period) if (interval := read.interval(y)))
                ends = [interval[1] for y in range(outputs - read.period, outputs) if (interval := read.interval(y))]
                after = max(ends) - (size - 1) if ends else 0
                if (at_start and before > 0 and last < before) or (at_end and after > 0 and first > size - 1 - after):
                    return False
        return True

    def windows(self, axis: int, size: int) -> list[Window]:
        """Return every window on the way, at an input of ``size``."""
        reads = self.compiled(self.alike(axis, size)).reads[axis]
        inside = set(self.between)
        return [
            read
            for v in self.between[1:]
            for tail, read in zip(self.layers.tails[v], reads[v], strict=True)
            if tail in inside
        ]


def blockers(compiled: Compiled, node: int, source: int) -> list[Blocker]:
    """Return the nodes that forbid exact tiling of ``node``, per axis, in topological order.

    Parameters
    ----------
    compiled
        The network, without an input size.
    """
    layers = compiled.layers
    on_way = between(layers, source, [node])
    inside = set(on_way)
    blocking = []
    for axis, name in enumerate(layers.axes):
        for v in on_way[1:]:
            reason = _reason(compiled, v, axis, inside)
            if reason:
                blocking.append(Blocker(layers.nodes[v], layers.kinds[v], name, *reason))
    return blocking


def _reason(compiled: Compiled, v: int, axis: int, inside: set[int]) -> tuple[str, str] | None:
    """Return why node ``v`` forbids tiling along ``axis``, and what to say of it instead; ``None`` if it does not."""
    layers = compiled.layers
    op, node = layers.ops[v][axis], layers.nodes[v]
    for tail, read in zip(layers.tails[v], compiled.reads[axis][v], strict=True):
        if tail in inside:
            if read.is_empty or (op.broadcasts and compiled.sizes[tail][axis] == 1):  # that says why itself
                continue
            if op.joins:
                return (
                    "it concatenates along this axis, so what an output reads depends on where it is",
                    "tile its inputs",
                )
            if op.border == "wrap":
                return "at a border it reads the other end of the whole map", "pad the image by hand, and tile that"
            if op.window_cycle == 0:
                return "what it reads depends on the size of its whole map", "give it a scale, or run it on the whole"
            if read.is_unknown and op.window_cycle == 1:
                return f"what it reads is not known ({read.why})", f"say it: treat={{{str(node)!r}: ...}}"
            if not read.is_local and not read.is_unknown:
                side = {"past": "everything before it", "future": "everything after it"}.get(read.side)
                what = f"it reads {side}" if side else "it reads beyond every tile, up to the whole axis"
                return what, (
                    f"treat={{{str(node)!r}: 'cut'}} leaves that reading out, and the tiles then differ by it"
                )
            if op.cycle[1] == 0:
                return "its map has one size, whatever the image's", "tile what it reads"
        elif not read.is_empty or layers.ops[tail][axis].is_constant:
            size = compiled.sizes[tail][axis]
            if size != 1:
                what = "a constant" if layers.ops[tail][axis].is_constant else "a map that is not made of the source"
                extent = "of unknown extent" if size is None else f"of {size} positions"
                return f"it reads {what} {extent}, {layers.nodes[tail]!r}", "cut it alike, by hand"
    return None


def _rule(tiler: Tiler, axis: int, image: int | None) -> AxisTiling:
    strides = [Fraction(window.stride) for window in _fields(tiler, axis, image) if window.is_local]
    multiple = lcm(*(stride.numerator for stride in strides))
    same = any(tiler.layers.ops[v][axis].window_cycle > 1 for v in tiler.between[1:])
    residues = range(multiple) if image is None or not same else [image % multiple]
    if len(residues) > MAX_RESIDUES:
        if image is None:
            raise TilingError(
                f"axis {tiler.layers.axes[axis]}: tiles start at multiples of {multiple}, more than the {MAX_RESIDUES} "
                "whose halos are worked out; give an input size"
            )
        residues = sorted({0, image % multiple})
    stride = strides[-1]
    halos: dict[int, Halo] = {}
    at = 0  # halos of other residues settle at about the same size
    for residue in residues:
        if (halo := _settled(tiler, axis, multiple, stride, residue, at)) is not None:
            halos[residue] = halo
            at = halo.settled
    if not halos:
        raise TilingError(f"axis {tiler.layers.axes[axis]}: no size at which the network runs was found; give a tile")
    return AxisTiling(
        tiler.layers.axes[axis],
        multiple,
        max(halo.before for halo in halos.values()),
        max(halo.after for halo in halos.values()),
        as_number(stride),
        max(halo.overlap for halo in halos.values()),
        same,
        image,
        halos=halos,
    )


#: Input sizes that are tried for a field that is not known at any.
_TRIES = 5


def _fields(tiler: Tiler, axis: int, image: int | None) -> list[Window]:
    """Return the fields of all nodes on the way, the output's last; their strides do not depend on the size."""
    undecided = 0
    for size in (image, *_sizes(1, 0)):
        try:
            compiled = tiler.compiled(None if size is None else tiler.alike(axis, size))
        except SizeError:
            continue
        local = forward(compiled, axis, tiler.source).local
        unknown = [v for v in tiler.between if not (local[v].is_local or local[v].is_empty)]
        if not unknown:
            return [local[v] for v in tiler.between]
        # No size decides what is not known though the sizes of all that it reads are.
        undecided += all(compiled.sizes[tail][axis] is not None for tail in tiler.layers.tails[unknown[0]])
        if undecided > _TRIES:
            break
    raise TilingError(f"axis {tiler.layers.axes[axis]}: no size at which the network runs was found; give a tile")


def _sizes(multiple: int, residue: int, least: int = 0) -> Iterator[int]:
    """Yield input sizes of that residue from about ``least`` on, each about twice the one before."""
    turns = max(least // multiple, 0 if residue else 1)
    while (size := residue + multiple * turns) < _MOST:
        yield size
        turns = 2 * turns + 1


def _settled(tiler: Tiler, axis: int, multiple: int, stride: Fraction, residue: int, least: int = 0) -> Halo | None:
    """Return the halo of tiles of that residue once they are so large that it stays.

    ``None`` if the network runs on no tile of that residue.
    """
    for size in _sizes(multiple, residue, least):
        try:
            before, after, outputs = tiler.exact(axis, size)
        except SizeError:
            continue
        step = _step(before, after, outputs, stride, multiple)
        # On the smallest tiles a map of one position may be read whole, by chance.
        if step > 0 and all(read.is_local or read.is_empty for read in tiler.windows(axis, size)):
            return Halo(before, after, size - step, size, outputs)
    return None


def _step(before: int, after: int, outputs: int, stride: Fraction, multiple: int) -> int:
    """Return how many pixels further the next tile starts."""
    return floor((outputs - before - after) * stride / multiple) * multiple


def planned(tiler: Tiler, axis: int, image: int, tile: int, overlap: int | None = None) -> AxisTiling:
    """Return the plan along one axis for an image and a tile of so many pixels.

    Raises
    ------
    TilingError
        If no tile of that size computes enough, or SAME padding wants another size.
    """
    general = tiler.rule(axis, image)
    name, multiple = general.axis, general.multiple
    whole = tiler.compiled(tiler.alike(axis, image)).sizes[tiler.node][axis] or 0
    if tile >= image:
        only = Tile(0, image, 0, whole, 0, whole)
        return replace(general, overlap=0, tile=image, step=image, tiles=(only,))
    if general.same and (image - tile) % multiple:
        lower = tile - (tile - image) % multiple
        raise TilingError(
            f"axis {name}: with padding 'same' a tile has the image's size {image} modulo {multiple}, and {tile} has "
            f"not; take {lower} or {lower + multiple}"
        )
    stepping = _stepping(tiler, axis, general, tile, overlap)
    tiles = _cut(tiler, axis, general, image, tile, stepping.step or 0, whole)
    return replace(stepping, tiles=tiles)


def _stepping(tiler: Tiler, axis: int, general: AxisTiling, tile: int, overlap: int | None) -> AxisTiling:
    """Return how far tiles of that size step, and their halo.

    Raises
    ------
    TilingError
        If nothing in them is exact, ``overlap`` is too little, or the network runs on no tile of that size.
    """
    name, multiple, stride = general.axis, general.multiple, Fraction(general.stride)
    if multiple <= MAX_RESIDUES and tile % multiple not in general.halos:
        lower = max(tile - (tile - residue) % multiple for residue in general.halos)
        upper = min(tile + (residue - tile) % multiple for residue in general.halos)
        take = f"{lower} or {upper}" if lower > 0 else str(upper)
        raise TilingError(f"axis {name}: the network does not run on tiles of {tile} pixels; take {take}")
    before, after, outputs = tiler.exact(axis, tile)
    step = _step(before, after, outputs, stride, multiple)
    if overlap is not None:
        if tile - overlap > step:
            raise TilingError(f"axis {name}: an overlap of {overlap} is too little; tiles of {tile} need {tile - step}")
        exact_step, step = step, (tile - overlap) // multiple * multiple
        if step < 1 <= exact_step:
            raise TilingError(
                f"axis {name}: an overlap of {overlap} leaves tiles of {tile} no step, and tiles start at multiples of "
                f"{multiple}; take an overlap of {tile - multiple} or less"
            )
    if step < 1:
        least = general.overlap + multiple
        raise TilingError(
            f"axis {name}: a tile of {tile} has {outputs} outputs, of which {before} before and {after} after are not "
            f"exact, and tiles start at multiples of {multiple}; take tiles of {least} or more"
        )
    return replace(general, before=before, after=after, overlap=tile - step, tile=tile, step=step)


def _cut(
    tiler: Tiler, axis: int, general: AxisTiling, image: int, tile: int, step: int, whole: int
) -> tuple[Tile, ...]:
    """Return the tiles along one axis, each checked: they keep every output once, and only exact ones."""
    multiple, stride = general.multiple, Fraction(general.stride)
    count = 1 + -(-(image - tile) // step)
    if count > MAX_TILES:
        raise TilingError(
            f"axis {general.axis}: an image of {image} has {count} tiles of {tile}, more than {MAX_TILES}; take larger "
            "ones"
        )
    windows = tiler.windows(axis, image)
    tiles: list[Tile] = []
    kept = 0
    for index in range(count):
        is_last = index == count - 1
        # The last tile ends with the image; its start is a multiple too, so it may be smaller.
        start = -(-(image - tile) // multiple) * multiple if is_last else index * step
        stop = image if is_last else start + tile
        before, after, outputs = tiler.exact(axis, stop - start)
        offset = int(start / stride)
        stop_kept = whole if is_last else offset + outputs - after
        if (
            (index and offset + before > kept)
            or stop_kept <= kept
            or (is_last and offset + outputs != whole)
            or ((index == 0 or is_last) and tiler.windows(axis, stop - start) != windows)
            or (count > 1 and not tiler.mirrors(axis, stop - start, index == 0, is_last))
        ):
            raise TilingError(
                f"axis {general.axis}: the tile {start}:{stop} of an image of {image} does not agree with the whole; "
                "take another tile"
            )
        tiles.append(Tile(start, stop, kept, stop_kept, offset, outputs))
        kept = stop_kept
    return tuple(tiles)


def plan(
    tiler: Tiler,
    image: Sequence[int] | None,
    tile: Sequence[int] | None = None,
    overlap: Sequence[int] | None = None,
    fits: Callable[[tuple[int, ...]], bool] | None = None,
) -> Tiling:
    """Return how to tile ``tiler.node``.

    Parameters
    ----------
    image
        Pixels of the image along each axis; without them the rule alone is told.
    tile
        Pixels of a tile along each axis; by default those of the least overhead that ``fits``.
    overlap
        Pixels that neighbouring tiles share at least.
    fits
        Whether a tile of that size may be taken.

    Raises
    ------
    TilingError
        If the tile or overlap given does not do.
    """
    layers = tiler.layers
    node, source = layers.nodes[tiler.node], layers.nodes[tiler.source]
    blocking = blockers(tiler.compiled(None), tiler.node, tiler.source)
    if blocking:
        return Tiling(node, source, (), tuple(blocking))
    overlaps: Sequence[int | None] = overlap or [None] * len(layers.axes)
    if image is None:
        rules = [tiler.rule(axis, None) for axis in range(len(layers.axes))]
        if tile is not None:
            rules = [_stepping(tiler, axis, *each) for axis, each in enumerate(zip(rules, tile, overlaps, strict=True))]
        return Tiling(node, source, tuple(rules), ())

    def again(sizes: Sequence[int], tiles: Sequence[int]) -> Tiling:
        return plan(tiler, sizes, tiles)

    if tile is None:
        axes = _cheapest(tiler, image, overlaps, fits)
    else:
        axes = tuple(planned(tiler, axis, image[axis], tile[axis], overlaps[axis]) for axis in range(len(layers.axes)))
    return Tiling(node, source, axes, (), again)


@dataclass(frozen=True)
class _Choice:
    """A tile size along one axis, and what a plan of it comes to."""

    tile: int
    #: Pixels that all tiles have together.
    pixels: int
    tiles: int


def _cheapest(
    tiler: Tiler, image: Sequence[int], overlaps: Sequence[int | None], fits: Callable[[tuple[int, ...]], bool] | None
) -> tuple[AxisTiling, ...]:
    """Return the plan of the least overhead whose tiles fit; of equal ones that of the fewest tiles."""
    choices = [_choices(tiler, axis, size, overlaps[axis]) for axis, size in enumerate(image)]
    smallest = [of_axis[0].tile for of_axis in choices]
    most = max(USUAL_PIXELS, 4 * prod(smallest))
    while tiles := _best(choices, fits or (lambda tile: prod(tile) <= most)):
        plans = []
        for axis, tile in enumerate(tiles):
            try:
                plans.append(planned(tiler, axis, image[axis], tile, overlaps[axis]))
            except (TilingError, SizeError):  # its last tile does not run, or reads what is spoilt
                choices[axis] = [choice for choice in choices[axis] if choice.tile != tile]
                break
        else:
            return tuple(plans)
    least = "x".join(map(str, smallest))
    raise TilingError(
        f"no tile that fits into the memory given computes anything exact; the smallest that does has {least} pixels: "
        "pass tile= for its size, or memory= for more bytes that its feature maps may take"
    )


def _choices(tiler: Tiler, axis: int, image: int, overlap: int | None) -> list[_Choice]:
    """Return the smallest tile for every number of tiles, in order of size, and the image itself.

    A larger tile for as many tiles computes more pixels. Tiles advance by a multiple and overlap by what their residue
    modulo the multiple wants; all are given in closed form, whatever the size of the image.
    """
    general = tiler.rule(axis, image)
    multiple = general.multiple
    shared = {
        halo.overlap for residue, halo in general.halos.items() if not general.same or residue == image % multiple
    }
    if overlap is not None:
        shared = {least if least >= overlap else overlap + (least - overlap) % multiple for least in shared}
    choices = {image: _Choice(image, image, 1)}
    # A last tile of another residue may want more than its neighbours share: then one multiple more does.
    for common in shared | {least + multiple for least in shared}:
        multiples = max(-(-(image - common) // multiple), 0)
        # The number of tiles and the multiples in a step bound each other: one of them is at most the root.
        few = range(1, isqrt(multiples) + 2)
        for turns in {*few, *(-(-multiples // count) for count in few)}:
            step = turns * multiple
            tile = step + common
            if tile < image:
                count = 1 + -(-(image - tile) // step)
                last = -(-(image - tile) // multiple) * multiple
                if count <= MAX_TILES:
                    choices[tile] = _Choice(tile, (count - 1) * tile + image - last, count)
    in_order = [choices[tile] for tile in sorted(choices)]
    return in_order[:: -(-len(in_order) // MAX_CHOICES)] if len(tiler.layers.axes) > 2 else in_order


def _best(choices: Sequence[Sequence[_Choice]], fits: Callable[[tuple[int, ...]], bool]) -> tuple[int, ...] | None:
    """Return the tile sizes of the least overhead that fit, one per axis; what fits, fits with smaller tiles too."""
    *others, last = choices
    # The best choice of the last axis among the smallest ones, by how many of them may be taken.
    least: list[_Choice] = list(accumulate(last, _cheaper))
    best: tuple[tuple[int, int], tuple[int, ...]] | None = None
    for chosen in product(*others):
        tiles, pixels, count = (
            tuple(c.tile for c in chosen),
            prod(c.pixels for c in chosen),
            prod(c.tiles for c in chosen),
        )
        if not least or (best and pixels * least[-1].pixels > best[0][0]):
            continue
        number = bisect_left(range(len(last)), True, key=lambda i: not fits((*tiles, last[i].tile)))
        if number:
            with_last = least[number - 1]
            cost = (pixels * with_last.pixels, count * with_last.tiles)
            if best is None or cost < best[0]:
                best = cost, (*tiles, with_last.tile)
    return best[1] if best else None


def _cheaper(one: _Choice, other: _Choice) -> _Choice:
    return min(one, other, key=lambda choice: (choice.pixels, choice.tiles))


def fits_memory(
    tiler: Tiler,
    image: Sequence[int] | None,
    channels: Mapping[Hashable, int | None],
    memory: int,
    bytes_per_value: int = 4,
) -> Callable[[tuple[int, ...]], bool]:
    """Return what tells whether the feature maps of a tile fit into ``memory`` bytes, all that live at once together.

    A map lives from where it is made to its last reader.

    Raises
    ------
    UnknownFieldError
        If the channels of some map on the way are not known.
    TilingError
        If the image has no size.
    AttributeValueError
        If ``memory`` is no number of bytes.
    """
    if not isinstance(memory, int) or memory < 1:
        raise AttributeValueError(f"memory {memory!r} is not a positive number of bytes")
    if image is None:
        raise TilingError("memory decides nothing without the size of the image: analyze with input_size=")
    layers, inside = tiler.layers, set(tiler.between)
    widths = []
    last_reader = {}
    for v in tiler.between:
        width = channels.get(layers.nodes[v])
        if width is None:
            raise UnknownFieldError(
                f"{layers.describe(v)}: its channels are not known, so neither is its memory; give a tile"
            )
        widths.append(width * bytes_per_value)
        last_reader.update(dict.fromkeys((v, *inside.intersection(layers.tails[v])), v))
    last_reader[tiler.node] = len(layers.nodes)
    places = {v: place for place, v in enumerate(tiler.between)}
    freed: list[list[int]] = [[] for _ in tiler.between]
    for v, reader in last_reader.items():
        if reader in places:
            freed[places[reader]].append(places[v])

    def fits(tile: tuple[int, ...]) -> bool:
        sizes = (tiler.map_sizes(axis, image[axis], pixels) for axis, pixels in enumerate(tile))
        taken = [width * prod(of_map) for width, *of_map in zip(widths, *sizes, strict=True)]
        live = 0
        for more, over in zip(taken, freed, strict=True):
            live += more
            if live > memory:
                return False
            live -= sum(taken[place] for place in over)
        return True

    return fits


def given(name: str, value: int | Sequence[int] | None, axes: Sequence[str]) -> tuple[int, ...] | None:
    """Return a number of pixels on each axis, from one for all of them or one for each.

    Raises
    ------
    AttributeValueError
        If it is not a positive integer, or has the wrong number of entries.
    """
    if value is None:
        return None
    entries: tuple[Any, ...] = tuple(value) if isinstance(value, (list, tuple)) else (value,) * len(axes)
    if len(entries) != len(axes) or any(type(entry) is not int or entry < (name == "tile") for entry in entries):
        raise AttributeValueError(f"{name} {value!r} is not a number of pixels, or one for each of {', '.join(axes)}")
    return entries
