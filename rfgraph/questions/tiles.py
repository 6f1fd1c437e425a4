"""Tiles: what a plan of tiles is, and how its outputs are put together, held against the whole image, or left to dask.

Nothing here runs a model, but for ``stitch``, ``verify`` and ``map_overlap``, which call what they are given.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import field
from fractions import Fraction
from functools import cached_property
from itertools import product
from math import ceil, prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rfgraph.algebra.window import Number
from rfgraph.errors import TilingError
from rfgraph.frozen import dataclass
from rfgraph.questions import arrays
from rfgraph.questions.findings import Finding, named_axes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.generic]

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
    #: Index of its own first output in the whole image's map, and how many outputs it has.
    offset: int
    outputs: int

    @property
    def size(self) -> int:
        """Pixels that it is run on."""
        return self.stop - self.start


@dataclass(frozen=True)
class Halo:
    """What tiles of one residue modulo the start multiple drop, if they have ``settled`` pixels, or more."""

    before: int
    after: int
    #: Input pixels that neighbouring tiles share, at least.
    overlap: int
    settled: int
    #: Outputs of a tile of ``settled`` pixels.
    outputs: int


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
    #: By residue of the tile's size modulo ``multiple``; there is no tile of the others, on which nothing runs.
    halos: Mapping[int, Halo] = field(default_factory=dict, repr=False, compare=False)

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
                tuple(tile.outputs for tile in tiles),
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

        Never more than a tile of the image and its output are held, beside a result in memory.

        Parameters
        ----------
        run
            What computes the outputs of one tile: an array in, an array out, with as many dimensions.
        image
            A numpy array, or what can be cut like one: a memmap, a zarr or HDF5 array, a dask array.
        axes
            Dimensions of ``image`` that are the spatial axes, in order; by default its last ones.
        out
            Where the outputs are written: an array of the shape of the whole result, or the path of a new ``.npy`` or
            ``.zarr``. By default an array of the kind of ``image``: for a memmap and a zarr array one in a temporary
            file; for a dask array a lazy one, as ``map_overlap`` gives; else one in memory.
        progress
            Whether a progress bar is shown; by default where standard error is a terminal.

        Raises
        ------
        TilingError
            If a node forbids exact tiling, or the image, an output or ``out`` does not have the size that is planned
            for.
        """
        import numpy as np

        self._check()
        places = self._places(image, axes)
        if out is None and arrays.kind_of(image) == "dask":
            return self.map_overlap(run, image, axes=axes)
        dimensions = len(image.shape)
        for box in _shown(self.boxes(), self.count or 0, progress):
            outputs = self._ran(run, np.asarray(image[_index(dimensions, places, box.input)]), box, places)
            shape = list(outputs.shape)
            for place, size in zip(places, self.output_size, strict=True):
                shape[place] = size
            if out is None or isinstance(out, (str, Path)):
                out = arrays.empty(image, shape, outputs.dtype, out)
            if list(out.shape) != shape:
                raise TilingError(f"out has shape {list(out.shape)}, and the outputs put together have {shape}")
            out[_index(dimensions, places, box.output)] = outputs[_index(dimensions, places, box.crop)]
        return out

    def _ran(self, run: Run, tile: Array, box: TileBox, places: Sequence[int]) -> Array:
        """Return the outputs of one tile, of the size that is planned for."""
        import numpy as np

        outputs: Array = np.asarray(run(tile))
        if outputs.ndim != tile.ndim:
            raise TilingError(f"the output of a tile has {outputs.ndim} dimensions, and the image {tile.ndim}")
        sizes = [outputs.shape[place] for place in places]
        if sizes != list(box.outputs):
            raise TilingError(
                f"the output of a tile of {_sized(box.input)} has size {sizes}, and {list(box.outputs)} is planned for"
            )
        return outputs

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
        # In float64, since whole numbers wrap round and truth values have no difference.
        return float(np.abs(np.subtract(whole, put_together, dtype=np.result_type(whole, np.float64))).max())

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

        from rfgraph.errors import Needed

        with Needed("dask", "map_overlap", "'dask[array]'"):
            import dask.array as lazy
            from dask.delayed import delayed
        self._check()
        places = self._places(array, axes)
        dimensions = len(array.shape)
        first = next(self.boxes())
        sample = self._ran(run, np.asarray(array[_index(dimensions, places, first.input)]), first, places)
        kind = dtype or sample.dtype

        def piece(tile: Any, box: TileBox) -> Any:
            outputs = self._ran(run, np.asarray(tile), box, places)[_index(dimensions, places, box.crop)]
            return outputs.astype(kind, copy=False)

        from_delayed: Any = lazy.from_delayed
        later: Any = delayed(piece, pure=True)
        blocks = np.empty([len(axis.tiles) for axis in self.axes], dtype=object)
        for place, box in zip(np.ndindex(blocks.shape), self.boxes(), strict=True):
            shape = list(sample.shape)
            for dimension, output in zip(places, box.output, strict=True):
                shape[dimension] = output.stop - output.start
            tile = array[_index(dimensions, places, box.input)]
            blocks[place] = from_delayed(later(tile, box), shape=tuple(shape), dtype=kind)
        return arrays.joined(lazy, blocks, places)

    def _places(self, image: Any, axes: Sequence[int] | None) -> tuple[int, ...]:
        if not hasattr(image, "shape"):
            raise TilingError(f"the image is {type(image).__name__}, which is no array")
        dimensions = len(image.shape)
        places = tuple(range(dimensions - len(self.axes), dimensions)) if axes is None else tuple(axes)
        if len(places) != len(self.axes):
            raise TilingError(f"axes {list(places)} are {len(places)}, and the network has {len(self.axes)}")
        if len({place % dimensions for place in places if -dimensions <= place < dimensions}) < len(places):
            raise TilingError(f"axes {list(places)} are not dimensions of an image that has {dimensions}")
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
    #: How many outputs it has along each axis, before they are cropped.
    outputs: tuple[int, ...] = field(repr=False)

    def __iter__(self) -> Iterator[Box]:
        return iter((self.input, self.output, self.crop))


def _index(dimensions: int, places: Sequence[int], box: Box) -> tuple[slice, ...]:
    index = [slice(None)] * dimensions
    for place, piece in zip(places, box, strict=True):
        index[place] = piece
    return tuple(index)


def _sized(box: Box) -> str:
    return " x ".join(str(piece.stop - piece.start) for piece in box)


def _shown(boxes: Iterator[TileBox], count: int, progress: bool | None) -> Iterator[TileBox]:
    """Yield ``boxes``, with a progress bar on a terminal."""
    import sys

    if progress is False or (progress is None and not sys.stderr.isatty()):
        yield from boxes
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(boxes, "tiles", total=count, console=Console(stderr=True))


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
