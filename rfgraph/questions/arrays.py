"""Arrays of tiles: where outputs are written, in the kind of array that the image is, and how they are put together.

Arrays on disk get outputs on disk, so that neither has to fit into memory. Where no file is named it is a temporary
one, which goes with the array.
"""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rfgraph.errors import Needed, TilingError


def kind_of(array: Any) -> str:
    """Return the package that an array is of: ``numpy``, ``zarr``, ``dask`` or another."""
    return type(array).__module__.partition(".")[0]


def empty(like: Any, shape: Sequence[int], dtype: Any, path: str | Path | None = None) -> Any:
    """Return an array to be written, of the kind of another, or of what a file is named after.

    Parameters
    ----------
    like
        The image: a memmap gives a memmap and a zarr array a zarr array, both in a temporary file; all others numpy.
    shape, dtype
        Of the new array.
    path
        A new ``.npy`` or ``.zarr`` file.

    Raises
    ------
    TilingError
        If the file is named otherwise.
    """
    import numpy as np

    if path is not None:
        suffix = Path(path).suffix
        if suffix == ".npy":
            return np.lib.format.open_memmap(str(path), mode="w+", dtype=dtype, shape=tuple(shape))
        if suffix == ".zarr":
            return _zarr(like, shape, dtype, path)
        raise TilingError(f"{str(path)!r} does not end in .npy or .zarr")
    if isinstance(like, np.memmap):
        with tempfile.TemporaryFile() as file:  # the map keeps it open
            return np.memmap(file, mode="w+", dtype=dtype, shape=tuple(shape))
    if kind_of(like) == "zarr":
        folder = tempfile.TemporaryDirectory()
        array = _zarr(like, shape, dtype, folder.name)
        weakref.finalize(array, folder.cleanup)
        return array
    return np.empty(shape, dtype=dtype)


def _zarr(like: Any, shape: Sequence[int], dtype: Any, path: str | Path) -> Any:
    with Needed("zarr", "an output in zarr"):
        import zarr
    if kind_of(like) == "zarr":  # cut into the same chunks
        return zarr.empty_like(like, shape=tuple(shape), dtype=dtype, store=str(path))
    return zarr.empty(shape=tuple(shape), dtype=dtype, store=str(path))


def joined(lazy: Any, blocks: Any, places: Sequence[int]) -> Any:
    """Return one dask array made of a grid of them, along the dimensions ``places``."""
    if not places:
        return blocks
    first, *others = places
    return lazy.concatenate([joined(lazy, rows, others) for rows in blocks], axis=first)
