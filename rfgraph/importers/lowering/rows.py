"""Rows taken of an axis at indices that are known: which resize, or which padding, takes them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, get_args

from rfgraph.errors import SizeError
from rfgraph.importers.lowering.maps import LoweringBuilder, Placed
from rfgraph.importers.lowering.views import along
from rfgraph.importers.program.primitives import Instruction
from rfgraph.ops.base import Border, at_border
from rfgraph.ops.moving import Pad
from rfgraph.ops.resampling import Resize

#: How nearest neighbours are found: the rules of coordinates and of rounding that frameworks use, the usual first.
NEAREST = (
    ("half_pixel", "round_prefer_ceil"), ("asymmetric", "floor"), ("half_pixel", "round_prefer_floor"),
    ("align_corners", "round_prefer_floor"), ("align_corners", "round_prefer_ceil"), ("asymmetric", "ceil"),
    ("half_pixel", "floor"), ("half_pixel", "ceil"), ("asymmetric", "round_prefer_floor"),
)  # fmt: skip


def repeating(maps: LoweringBuilder, step: Instruction, p: Placed, d: int, rows: Sequence[int]) -> Placed | None:
    """Return what takes ``rows`` along dimension ``d``, some of them repeatedly; ``None`` if nothing is known to."""
    view = p.view
    assert view is not None
    axis, size = view.whole(d), view.dims[d].size
    if axis is None or not isinstance(size, int):
        return None
    repeated = view.replaced(d, along(axis, len(rows)))
    taken = tuple(row + size if row < 0 else row for row in rows)
    padding = padding_of(taken, size)
    if padding is not None:
        mode, before = padding
        amounts = maps.per_axis({axis: [before, len(rows) - size - before]}, [0, 0])
        return p.moved(maps.node("pad", step, [p], padding=amounts, mode=mode), repeated)
    sizes = [repeated.extent(other) for other in range(maps.axes)]
    nearest = nearest_of(taken, size)
    if nearest is None or _are_frames(taken) or any(not isinstance(extent, int) for extent in sizes):
        return None
    attributes: dict[str, Any] = {"coordinates": nearest[0], "nearest_mode": nearest[1]}
    return p.moved(maps.node("resize", step, [p], size=sizes, mode="nearest", **attributes), repeated)


def _are_frames(rows: tuple[int, ...]) -> bool:
    """Return whether rows are frames that overlap, one after the other, which no resize lays out so but by chance."""
    kernel = next((i for i, (a, b) in enumerate(pairwise(rows), 1) if b != a + 1), 0)
    if kernel < 2 or len(rows) % kernel:
        return False
    stride = rows[kernel] - rows[0]
    return 0 < stride < kernel and all(row == rows[0] + i // kernel * stride + i % kernel for i, row in enumerate(rows))


@lru_cache(maxsize=256)
def padding_of(rows: tuple[int, ...], size: int) -> tuple[Border, int] | None:
    """Return the padding of ``size`` positions that makes ``rows``, and how much is before; ``None`` if there is none.

    Examples
    --------
    >>> padding_of((2, 1, 0, 1, 2, 3, 2), 4)
    ('reflect', 2)
    """
    every = tuple(range(size))
    for before in range(len(rows) - size + 1):
        if rows[before] == 0 and rows[before : before + size] == every:
            for mode in get_args(Border)[1:]:
                if _pads(mode, before, len(rows) - size - before, size) and all(
                    at_border(mode, y - before, size) == row for y, row in enumerate(rows)
                ):
                    return mode, before
            if before >= size:
                break  # no padding has so much before that another copy of the map is in it
    return None


def _pads(mode: Border, before: int, after: int, size: int) -> bool:
    """Return whether a padding repeats no position of the map more often than the op does."""
    try:
        Pad.parse({"padding": [[before, after]], "mode": mode}, 0, 1).size((size,))
    except SizeError:
        return False
    return True


@lru_cache(maxsize=256)
def nearest_of(rows: tuple[int, ...], size: int) -> tuple[str, str] | None:
    """Return the nearest-neighbour resize of ``size`` positions that makes ``rows``; ``None`` if there is none.

    Examples
    --------
    >>> nearest_of((0, 0, 1, 1, 2, 2), 3)
    ('half_pixel', 'round_prefer_ceil')
    """
    for coordinates, rounding in NEAREST:
        attributes = {"size": len(rows), "coordinates": coordinates, "nearest_mode": rounding}
        window = Resize.parse(attributes, 0, 1).window(0, (size,))
        if window.is_unknown:
            continue
        spans = [window.interval(y) for y in range(len(rows))]
        if all(span is not None and min(max(span[0], 0), size - 1) == row
               for span, row in zip(spans, rows, strict=True)):  # fmt: skip
            return coordinates, rounding
    return None
