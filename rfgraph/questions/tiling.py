"""Tiling: a big input cut into tiles that are run one by one, and whose outputs put together are those of the whole.

Along one axis, with ``S`` the effective stride of the output: tiles start at multiples of ``M``, the least common
multiple of the numerators of the effective strides of *all* maps between source and output, so that every map of a
tile lies on the grid of the whole image's map. Of a tile's outputs those are kept that are exact (see
``passes.exact_outputs``); what is dropped at each side is the *halo*. At a border of the image nothing is dropped.

The plan is exact, or there is none: every node that forbids one is named. Nothing here runs a model, but ``stitch``,
which calls what it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from itertools import product
from math import ceil, floor, lcm, prod
from typing import TYPE_CHECKING, Any, Literal

from rfgraph.algebra.window import Number, Window, as_number
from rfgraph.errors import AttributeValueError, SizeError, TilingError, UnknownFieldError
from rfgraph.graph.network import OrderedNetwork
from rfgraph.passes.compiled import Compiled, compile_layers
from rfgraph.passes.exact_outputs import ExactOutputs, exact_outputs
from rfgraph.passes.fields import forward
from rfgraph.passes.fold import between, fold
from rfgraph.questions.findings import Finding, named_axes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.generic]

#: Halos are worked out for every residue of the tile's size modulo the start multiple, up to this many.
MAX_RESIDUES = 512

#: Tile sizes that are compared along an axis when none is given.
_CANDIDATES = 48

#: Halos are looked for on tiles of fewer pixels than this.
_MOST = 1 << 24

#: Pixels of a tile where neither its size nor what it may take is given.
USUAL_PIXELS = 1 << 20

#: Blockers that a message names; the finding has all of them.
_NAMED = 4

Run = Callable[[Any], Any]
Box = tuple[slice, ...]  # [A]


@dataclass(frozen=True)
class Blocker:
    """A node that forbids exact tiling along ``axis``, why, and what may be said of it instead."""

    node: Hashable
    op: str
    axis: str
    why: str
    advice: str

    def __str__(self) -> str:
        return f"node {self.node!r} ({self.op}), axis {self.axis}: {self.why}; {self.advice}"


@dataclass(frozen=True)
class Tile:
    """One tile along one axis, in whole pixels and whole outputs; ends are exclusive, as in slices."""

    #: The input pixels that it is run on.
    start: int
    stop: int
    #: The outputs of the whole image that are taken from it.
    kept_start: int
    kept_stop: int
    #: Index of its own first output in the whole image's map.
    offset: int

    @property
    def size(self) -> int:
        """Pixels that it is run on."""
        return self.stop - self.start


@dataclass(frozen=True)
class AxisTiling:
    """The plan along one axis.

    ``before`` and ``after`` are the halo: outputs at each side of a tile that differ from the whole image's, over all
    tile sizes where none is given.
    """

    axis: str
    #: Tiles start at multiples of this many input pixels.
    multiple: int
    before: int
    after: int
    #: Effective stride of the output.
    stride: Number
    #: Input pixels that neighbouring tiles share, at least.
    overlap: int
    #: Whether the tile's size must have the residue of the image's modulo ``multiple``, as SAME padding wants it.
    same: bool
    #: Pixels of the image, of a tile, and from one tile to the next; ``None`` where they are not given.
    image: int | None = None
    tile: int | None = None
    step: int | None = None
    tiles: tuple[Tile, ...] = ()

    @property
    def halo(self) -> tuple[int, int]:
        """Outputs before and after."""
        return self.before, self.after

    @property
    def halo_pixels(self) -> tuple[int, int]:
        """The halo in input pixels, rounded up."""
        return ceil(self.before * self.stride), ceil(self.after * self.stride)

    @property
    def pixels(self) -> int:
        """Pixels that all tiles have together."""
        return sum(tile.size for tile in self.tiles)


@dataclass(frozen=True)
class Tiling:
    """How to cut the source into tiles whose outputs put together are those of the whole.

    ``status`` is ``exact``, or ``forbidden`` where ``blockers`` name the nodes that forbid it. ``report.tiling`` makes
    it.

    Examples
    --------
    >>> import rfgraph
    >>> net = rfgraph.Network("blur", axes=1)
    >>> _ = net.conv("conv", net.input("x"), kernel=3, padding=1)
    >>> plan = rfgraph.analyze(net, input_size=10).tiling(tile=6)
    >>> plan.axes[0].halo, [(box.input, box.output, box.crop) for box in plan.boxes()]  # doctest: +NORMALIZE_WHITESPACE
    ((1, 1), [((slice(0, 6, None),), (slice(0, 5, None),), (slice(0, 5, None),)),
              ((slice(4, 10, None),), (slice(5, 10, None),), (slice(1, 6, None),))])
    """

    layer: Hashable
    source: Hashable
    axes: tuple[AxisTiling, ...]
    blockers: tuple[Blocker, ...]
    _planned: Callable[[Sequence[int], Sequence[int]], Tiling] | None = field(default=None, repr=False, compare=False)

    @property
    def status(self) -> Literal["exact", "forbidden"]:
        """Whether the outputs put together equal those of the whole image."""
        return "forbidden" if self.blockers else "exact"

    @property
    def count(self) -> int | None:
        """How many tiles there are; ``None`` without the size of the image."""
        return prod(len(axis.tiles) for axis in self.axes) if self._is_planned else None

    @property
    def overhead(self) -> Fraction | None:
        """Pixels that are computed over pixels of the image; ``None`` without the size of the image."""
        if not self._is_planned:
            return None
        return prod((Fraction(axis.pixels, axis.image or 1) for axis in self.axes), start=Fraction(1))

    @property
    def _is_planned(self) -> bool:
        return not self.blockers and all(axis.tiles for axis in self.axes)

    def boxes(self) -> Iterator[TileBox]:
        """Yield each tile as slices: what it is run on, where its outputs go, and which of them are kept.

        Raises
        ------
        TilingError
            If a node forbids exact tiling, or no input size or tile is given.
        """
        self._check()
        for tiles in product(*(axis.tiles for axis in self.axes)):
            yield TileBox(
                tuple(slice(tile.start, tile.stop) for tile in tiles),
                tuple(slice(tile.kept_start, tile.kept_stop) for tile in tiles),
                tuple(slice(tile.kept_start - tile.offset, tile.kept_stop - tile.offset) for tile in tiles),
            )

    @cached_property
    def output_size(self) -> tuple[int, ...]:
        """Size of the output of the whole image, [A]."""
        self._check()
        return tuple(axis.tiles[-1].kept_stop for axis in self.axes)

    def _check(self) -> None:
        if self.blockers:
            more = f", and {len(self.blockers) - 1} more" if len(self.blockers) > 1 else ""
            raise TilingError(f"output {self.layer!r} cannot be tiled exactly: {self.blockers[0]}{more}")
        if not self._is_planned:
            raise TilingError("there are no tiles without the size of the image: analyze with input_size=")

    def stitch(
        self, run: Run, image: Any, *, axes: Sequence[int] | None = None, out: Any = None, progress: bool | None = None
    ) -> Any:
        """Run ``run`` over all tiles of ``image`` and return their outputs put together.

        Never more than a tile of the image and its output are held, beside the result.

        Parameters
        ----------
        run
            What computes the outputs of one tile: an array in, an array out, with as many dimensions.
        image
            A numpy array, or what can be cut like one: a memmap, a zarr or HDF5 array, a dask array.
        axes
            Dimensions of ``image`` that are the spatial axes, in order; by default its last ones.
        out
            Where the outputs are written, of the shape of the whole result; a new numpy array by default. Give one on
            disk where the result does not fit into memory.
        progress
            Whether a progress bar is shown; by default where standard error is a terminal.

        Raises
        ------
        TilingError
            If a node forbids exact tiling, or the image or an output does not have the size that is planned for.
        """
        import numpy as np

        self._check()
        places = self._places(image, axes)
        boxes = list(self.boxes())
        for box in _shown(boxes, progress):
            tile = np.asarray(image[_index(image.ndim, places, box.input)])
            outputs_of_tile = np.asarray(run(tile))
            if outputs_of_tile.ndim != image.ndim:
                raise TilingError(
                    f"the output of a tile has {outputs_of_tile.ndim} dimensions, and the image {image.ndim}"
                )
            sizes = [outputs_of_tile.shape[place] for place in places]
            if any(crop.stop > size for crop, size in zip(box.crop, sizes, strict=True)):
                raise TilingError(
                    f"the output of a tile of {_sized(box.input)} has size {sizes}, less than is planned for"
                )
            if out is None:
                shape = list(outputs_of_tile.shape)
                for place, size in zip(places, self.output_size, strict=True):
                    shape[place] = size
                out = np.empty(shape, dtype=outputs_of_tile.dtype)
            out[_index(image.ndim, places, box.output)] = outputs_of_tile[_index(image.ndim, places, box.crop)]
        return out

    def verify(self, run: Run, image: Any, *, axes: Sequence[int] | None = None) -> float:
        """Return the largest difference between the outputs of tiles and those of the whole, on a crop of ``image``.

        The crop is as large as two tiles along each axis, or the image where that is less. 0.0 is the same to the last
        bit; sums in another order differ by rounding.

        Parameters
        ----------
        run, image, axes
            As for ``stitch``.
        """
        import numpy as np

        self._check()
        places = self._places(image, axes)
        if self._planned is None:
            raise TilingError("this plan was made by hand; make it by report.tiling to verify it")
        sizes = []
        for axis in self.axes:
            image_size, tile, step = axis.image or 0, axis.tile or 0, axis.step or 0
            sizes.append(min(image_size, tile + -(-step // axis.multiple) * axis.multiple))
        crop = tuple(slice(0, size) for size in sizes)
        piece = np.asarray(image[_index(image.ndim, places, crop)])
        plan = self._planned(sizes, [axis.tile or 0 for axis in self.axes])
        whole = np.asarray(run(piece))
        put_together = plan.stitch(run, piece, axes=places, progress=False)
        if whole.shape != put_together.shape:
            raise TilingError(f"the whole has shape {whole.shape}, its tiles put together {put_together.shape}")
        return float(np.abs(whole - put_together).max())

    def map_overlap(self, run: Run, array: Any, *, axes: Sequence[int] | None = None, dtype: Any = None) -> Any:
        """Return the outputs as a lazy dask array, a chunk a tile, so that a cluster can work them out.

        Parameters
        ----------
        run, axes
            As for ``stitch``.
        array
            A dask array, or what can be cut like one.
        dtype
            Type of the outputs; that of ``array`` by default.

        Raises
        ------
        MissingExtraError
            If dask is not installed.
        """
        import numpy as np

        from rfgraph.errors import MissingExtraError

        try:
            import dask.array as lazy
            from dask.delayed import delayed
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] != "dask":
                raise
            raise MissingExtraError("map_overlap needs dask: pip install 'dask[array]'") from error
        self._check()
        places = self._places(array, axes)
        sample = np.asarray(run(np.asarray(array[_index(array.ndim, places, next(self.boxes()).input)])))
        kind = dtype or sample.dtype

        def piece(tile: Any, crop: Box) -> Any:
            return np.asarray(run(np.asarray(tile)))[_index(array.ndim, places, crop)]

        from_delayed: Any = lazy.from_delayed
        later: Any = delayed(piece, pure=True)
        blocks = np.empty([len(axis.tiles) for axis in self.axes], dtype=object)
        for place, box in zip(np.ndindex(blocks.shape), self.boxes(), strict=True):
            shape = list(sample.shape)
            for dimension, output in zip(places, box.output, strict=True):
                shape[dimension] = output.stop - output.start
            tile = array[_index(array.ndim, places, box.input)]
            blocks[place] = from_delayed(later(tile, box.crop), shape=tuple(shape), dtype=kind)
        return _assembled(lazy, blocks, places)

    def _places(self, image: Any, axes: Sequence[int] | None) -> tuple[int, ...]:
        dimensions = len(image.shape)
        places = tuple(range(dimensions - len(self.axes), dimensions)) if axes is None else tuple(axes)
        if len(places) != len(self.axes):
            raise TilingError(f"axes {list(places)} are {len(places)}, and the network has {len(self.axes)}")
        places = tuple(place % dimensions for place in places)
        for place, axis in zip(places, self.axes, strict=True):
            if image.shape[place] != axis.image:
                raise TilingError(
                    f"axis {axis.axis}: the image has {image.shape[place]} pixels, and the plan is for {axis.image}"
                )
        return places


@dataclass(frozen=True)
class TileBox:
    """One tile: the pixels that it is run on, where its outputs go, and which of its outputs are kept."""

    input: Box
    output: Box
    crop: Box

    def __iter__(self) -> Iterator[Box]:
        return iter((self.input, self.output, self.crop))


def _index(dimensions: int, places: Sequence[int], box: Box) -> tuple[slice, ...]:
    index = [slice(None)] * dimensions
    for place, piece in zip(places, box, strict=True):
        index[place] = piece
    return tuple(index)


def _sized(box: Box) -> str:
    return " x ".join(str(piece.stop - piece.start) for piece in box)


def _shown(boxes: list[TileBox], progress: bool | None) -> Iterator[TileBox]:
    """Yield ``boxes``, with a progress bar on a terminal."""
    import sys

    if progress is False or (progress is None and not sys.stderr.isatty()):
        yield from boxes
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(boxes, "tiles", console=Console(stderr=True))


def _assembled(lazy: Any, blocks: Any, places: Sequence[int]) -> Any:
    """Return one dask array made of a grid of them, along the dimensions ``places``."""
    for place in reversed(places):
        rows = [lazy.concatenate(list(row), axis=place) for row in blocks.reshape(-1, blocks.shape[-1])]
        joined = type(blocks)(blocks.shape[:-1], dtype=object)
        for where, row in zip(_places_of(joined.shape), rows, strict=True):
            joined[where] = row
        blocks = joined
    return blocks[()]


def _places_of(shape: Sequence[int]) -> Iterator[tuple[int, ...]]:
    return product(*(range(size) for size in shape))


@dataclass(frozen=True)
class Untileable(Finding):
    """The output ``node`` cannot be tiled exactly, for what ``blockers`` say.

    Examples
    --------
    >>> from rfgraph import Network, analyze
    >>> net = Network("block", axes=1)
    >>> x = net.input("x")
    >>> out = net.mul("gated", x, net.global_avg_pool("pool", x))
    >>> (finding,) = analyze(net).asked({"RF009"})
    >>> finding.node, [blocker.node for blocker in finding.blockers]
    ('gated', ['pool'])
    """

    blockers: tuple[Blocker, ...]

    @property
    def message(self) -> str:
        """The finding in one sentence."""
        named = [f"{blocker.node!r} ({blocker.op}): {blocker.why}" for blocker in self.blockers[:_NAMED]]
        more = len(self.blockers) - _NAMED
        return (
            f"output {self.node!r}, {named_axes(self.axes)}: it cannot be tiled exactly, for "
            f"{'; '.join(named)}{f' and {more} more' if more > 0 else ''}"
        )

    @property
    def advice(self) -> str:
        """What to do about it."""
        return self.blockers[0].advice


def find(compiled: Compiled, outputs: Sequence[int], source: int) -> list[Untileable]:
    """Return which of ``outputs`` cannot be tiled exactly.

    Parameters
    ----------
    compiled
        The network, without an input size.
    outputs, source
        Node ids.
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
            first, last = exact_outputs(compiled, axis, self.node, self.source)
            self._exact[axis, tile] = first, outputs - 1 - last, outputs
        return self._exact[axis, tile]

    def rule(self, axis: int, image: int | None) -> AxisTiling:
        """Return start multiple and halo along one axis, the largest over all tile sizes that are allowed."""
        if (axis, image) not in self._rules:
            self._rules[axis, image] = _rule(self, axis, image)
        return self._rules[axis, image]

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
    node, source
        Node ids.
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
            if read.is_empty:
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
        elif not read.is_empty or layers.kinds[tail] == "constant":
            size = compiled.sizes[tail][axis]
            if size != 1:
                what = "a constant" if layers.kinds[tail] == "constant" else "a map that is not made of the source"
                extent = "of unknown extent" if size is None else f"of {size} positions"
                return f"it reads {what} {extent}, {layers.nodes[tail]!r}", "cut it alike, by hand"
    return None


def _rule(tiler: Tiler, axis: int, image: int | None) -> AxisTiling:
    strides = [Fraction(window.stride) for window in _fields(tiler, axis, image) if window.is_local]
    multiple = lcm(*(stride.numerator for stride in strides))
    same = any(tiler.layers.ops[v][axis].window_cycle > 1 for v in tiler.between[1:])
    residues = range(multiple) if image is None or not same else [image % multiple]
    if len(residues) > MAX_RESIDUES:
        raise TilingError(
            f"axis {tiler.layers.axes[axis]}: tiles start at multiples of {multiple}, more than the {MAX_RESIDUES} "
            "whose halos are worked out; give a tile"
        )
    stride = strides[-1]
    halos = [halo for residue in residues if (halo := _settled(tiler, axis, multiple, stride, residue)) is not None]
    if not halos:
        raise TilingError(f"axis {tiler.layers.axes[axis]}: no size at which the network runs was found; give a tile")
    before, after, overlap = (max(numbers) for numbers in zip(*halos, strict=True))
    return AxisTiling(tiler.layers.axes[axis], multiple, before, after, as_number(stride), overlap, same, image)


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


def _sizes(multiple: int, residue: int) -> Iterator[int]:
    """Yield input sizes of that residue, each about twice the one before."""
    turns = 0 if residue else 1
    while (size := residue + multiple * turns) < _MOST:
        yield size
        turns = 2 * turns + 1


def _settled(tiler: Tiler, axis: int, multiple: int, stride: Fraction, residue: int) -> tuple[int, int, int] | None:
    """Return halo before and after, and overlap, of tiles of that residue once they are so large that both stay.

    ``None`` if the network runs on no tile of that residue.
    """
    for size in _sizes(multiple, residue):
        try:
            before, after, outputs = tiler.exact(axis, size)
        except SizeError:
            continue
        step = _step(before, after, outputs, stride, multiple)
        # On the smallest tiles a map of one position may be read whole, by chance.
        if step > 0 and all(read.is_local or read.is_empty for read in tiler.windows(axis, size)):
            return before, after, size - step
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
    name, multiple, stride = general.axis, general.multiple, Fraction(general.stride)
    whole = tiler.compiled(tiler.alike(axis, image)).sizes[tiler.node][axis] or 0
    if tile >= image:
        only = Tile(0, image, 0, whole, 0)
        return replace(general, overlap=0, tile=image, step=image, tiles=(only,))
    if general.same and (image - tile) % multiple:
        lower = tile - (tile - image) % multiple
        raise TilingError(
            f"axis {name}: with padding 'same' a tile has the image's size {image} modulo {multiple}, and {tile} has "
            f"not; take {lower} or {lower + multiple}"
        )
    before, after, outputs = tiler.exact(axis, tile)
    step = _step(before, after, outputs, stride, multiple)
    if overlap is not None:
        if tile - overlap > step:
            raise TilingError(f"axis {name}: an overlap of {overlap} is too little; tiles of {tile} need {tile - step}")
        step = (tile - overlap) // multiple * multiple
    if step < 1:
        least = general.overlap + multiple
        raise TilingError(
            f"axis {name}: a tile of {tile} has {outputs} outputs, of which {before} before and {after} after are not "
            f"exact, and tiles start at multiples of {multiple}; take tiles of {least} or more"
        )
    tiles = _cut(tiler, axis, general, image, tile, step, whole)
    return replace(general, before=before, after=after, overlap=tile - step, tile=tile, step=step, tiles=tiles)


def _cut(
    tiler: Tiler, axis: int, general: AxisTiling, image: int, tile: int, step: int, whole: int
) -> tuple[Tile, ...]:
    """Return the tiles along one axis, each checked: they keep every output once, and only exact ones."""
    multiple, stride = general.multiple, Fraction(general.stride)
    count = 1 + -(-(image - tile) // step)
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
        tiles.append(Tile(start, stop, kept, stop_kept, offset))
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
    tiler
        The network.
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
    if image is None:
        return Tiling(node, source, tuple(tiler.rule(axis, None) for axis in range(len(layers.axes))), ())

    def again(sizes: Sequence[int], tiles: Sequence[int]) -> Tiling:
        return plan(tiler, sizes, tiles)

    overlaps: Sequence[int | None] = overlap or [None] * len(layers.axes)
    if tile is None:
        axes = _cheapest(tiler, image, overlaps, fits or (lambda sizes: prod(sizes) <= USUAL_PIXELS))
    else:
        axes = tuple(planned(tiler, axis, image[axis], tile[axis], overlaps[axis]) for axis in range(len(layers.axes)))
    return Tiling(node, source, axes, (), again)


def _cheapest(
    tiler: Tiler, image: Sequence[int], overlaps: Sequence[int | None], fits: Callable[[tuple[int, ...]], bool]
) -> tuple[AxisTiling, ...]:
    """Return the plan of the least overhead whose tiles fit; of equal ones that of the fewest tiles."""
    per_axis = [_choices(tiler, axis, size, overlaps[axis]) for axis, size in enumerate(image)]
    plans = sorted(
        product(*per_axis),
        key=lambda axes: (prod(axis.pixels for axis in axes), prod(len(axis.tiles) for axis in axes)),
    )
    for axes in plans:
        if fits(tuple(axis.tile or 0 for axis in axes)):
            return axes
    raise TilingError("no tile that computes anything exact fits; allow more")


def _choices(tiler: Tiler, axis: int, image: int, overlap: int | None) -> list[AxisTiling]:
    """Return plans of many tile sizes, from the least that computes anything to the image itself."""
    general = tiler.rule(axis, image)
    multiple = general.multiple
    residue = image % multiple if general.same else 0
    least = general.overlap // multiple + 1
    most = -(-image // multiple)
    choices = [planned(tiler, axis, image, image)]
    tried = set()
    for i in range(_CANDIDATES):
        turns = least + round((most - least) * (i / (_CANDIDATES - 1)) ** 2) if most > least else most
        size = residue + multiple * turns
        if size in tried or size >= image:
            continue
        tried.add(size)
        try:
            choices.append(planned(tiler, axis, image, size, overlap))
        except (TilingError, SizeError):
            continue
    return choices


def fits_memory(
    tiler: Tiler, channels: Mapping[Hashable, int | None], memory: int, bytes_per_value: int = 4
) -> Callable[[tuple[int, ...]], bool]:
    """Return what tells whether the feature maps of a tile fit into ``memory`` bytes, all that live at once together.

    A map lives from where it is made to its last reader.

    Raises
    ------
    UnknownFieldError
        If the channels of some map on the way are not known.
    """
    layers, inside = tiler.layers, set(tiler.between)
    last_reader = dict.fromkeys(tiler.between, tiler.node)
    for v in tiler.between:
        if channels.get(layers.nodes[v]) is None:
            raise UnknownFieldError(
                f"{layers.describe(v)}: its channels are not known, so neither is its memory; give a tile"
            )
    for v in tiler.between:
        for tail in layers.tails[v]:
            if tail in inside:
                last_reader[tail] = v
    last_reader[tiler.node] = tiler.node

    def fits(tile: tuple[int, ...]) -> bool:
        compiled = tiler.compiled(tile)
        live: dict[int, int] = {}
        for v in tiler.between:
            live[v] = prod(size or 1 for size in compiled.sizes[v]) * (channels[layers.nodes[v]] or 0)
            if sum(live.values()) * bytes_per_value > memory:
                return False
            for tail in {tail for tail in layers.tails[v] if tail in live and last_reader[tail] == v}:
                del live[tail]
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
    if len(entries) != len(axes) or any(not isinstance(entry, int) or entry < (name == "tile") for entry in entries):
        raise AttributeValueError(f"{name} {value!r} is not a number of pixels, or one for each of {', '.join(axes)}")
    return entries
