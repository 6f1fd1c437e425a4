"""Ops that change the resolution without a sliding kernel: resize, pixel shuffles, adaptive pooling."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import ceil, floor
from typing import Any, ClassVar

from rfgraph.algebra.window import EMPTY, FULL, MAX_PERIOD, Interval, Number, Window
from rfgraph.errors import AttributeValueError, SizeError
from rfgraph.ops.base import (
    Arity,
    Border,
    Op,
    Size,
    Sizes,
    attribute,
    choice,
    flag,
    op_kind,
    optional,
    positive,
    ratio,
    text,
)

NEAREST: dict[str, Callable[[Fraction], int]] = {
    "round_prefer_floor": lambda x: ceil(x - Fraction(1, 2)),
    "round_prefer_ceil": lambda x: floor(x + Fraction(1, 2)),
    "floor": floor,
    "ceil": ceil,
}
#: How far the taps lie from the coordinate, this not included; at whole distances but 0 their weight is 0.
RADIUS = {"linear": 1, "cubic": 2, "lanczos3": 3, "lanczos5": 5}


@op_kind("resize")
@dataclass(frozen=True, slots=True, kw_only=True)
class Resize(Op):
    """Interpolation: output ``y`` reads the pixels round its coordinate in the input.

    ``like=1`` takes the size of the map in slot 1, as decoders do that resize to the size of their skip.
    With ``antialias`` the kernel is stretched by as much as the map shrinks.

    References
    ----------
    ONNX operator ``Resize``: the coordinate transformations and the rounding of ``nearest``.
    """

    scale: Number | None = attribute(optional(ratio), default=None)
    to: int | None = attribute(optional(positive), name="size", default=None)
    mode: str = attribute(choice("nearest", *RADIUS), default="nearest")
    coordinates: str = attribute(
        choice("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"), default="half_pixel"
    )
    nearest_mode: str = attribute(choice(*NEAREST), default="round_prefer_floor")
    antialias: bool = attribute(flag, default=False)

    extra: ClassVar[frozenset[str]] = frozenset({"like", "target"})

    @classmethod
    def parse(cls, attributes: Mapping[str, Any], axis: int, axes: int) -> Op:
        if attributes.get("like") is None:
            return super(Resize, cls).parse(attributes, axis, axes)
        if attributes.get("scale") is not None or attributes.get("size") is not None:
            raise AttributeValueError("a resize takes the size of another map (like), or scale, or size")
        return ResizeLike.parse(attributes, axis, axes)

    @classmethod
    def complete(cls, attributes: dict[str, Any]) -> dict[str, Any]:
        attributes.pop("like", None)
        if attributes.get("scale") is None and attributes.get("size") is None:
            raise AttributeValueError("a resize needs scale or size; give scale=2, or size=56")
        if attributes.get("scale") is not None and attributes.get("size") is not None:
            raise AttributeValueError("a resize takes scale or size, not both")
        return attributes

    @property
    def border(self) -> Border:
        return "edge"

    @property
    def cycle(self) -> tuple[int, int]:
        return (1, 0) if self.scale is None else (self.scale.denominator, self.scale.numerator)

    @property
    def window_cycle(self) -> int:
        return 0 if self.scale is None or self.coordinates == "align_corners" else 1

    def size(self, sizes: Sizes) -> Size:
        if self.scale is None:
            return self.to
        return None if sizes[0] is None else floor(sizes[0] * self.scale)

    def window(self, slot: int, sizes: Sizes) -> Window:
        before, after = sizes[0], self.size(sizes)
        if self.scale is not None and self.coordinates != "align_corners":
            if self.coordinates == "pytorch_half_pixel" and after == 1:
                return Window(1)
            return _scaled(self, Fraction(self.scale))
        if before is None or after is None:
            what = "align_corners" if self.coordinates == "align_corners" else f"a resize to size {self.to}"
            return Window.unknown(f"{what} depends on the input size; give one")
        return _between(self, before, after)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResizeLike(Op):
    """Interpolation to the size of another map, which stands in slot ``like`` and of which nothing else is read."""

    kind: ClassVar[str] = "resize"
    arity: ClassVar[Arity] = "several"

    like: int = attribute(positive)
    #: What messages call that size.
    target: str = attribute(text, default="the size of another map")
    mode: str = attribute(choice("nearest", *RADIUS), default="nearest")
    coordinates: str = attribute(
        choice("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"), default="half_pixel"
    )
    nearest_mode: str = attribute(choice(*NEAREST), default="round_prefer_floor")
    antialias: bool = attribute(flag, default=False)

    @property
    def border(self) -> Border:
        return "edge"

    @property
    def sizing(self) -> tuple[Op, int | None]:
        return Op(), self.like

    @property
    def window_cycle(self) -> int:
        return 0

    def size(self, sizes: Sizes) -> Size:
        return sizes[self.like] if self.like < len(sizes) else None

    def window(self, slot: int, sizes: Sizes) -> Window:
        if slot:
            return EMPTY
        before, after = sizes[0], self.size(sizes)
        if before is None or after is None:
            return Window.unknown(f"it resizes to {self.target}, which depends on the input size; give one")
        return _between(self, before, after)


def _between(op: Resize | ResizeLike, before: int, after: int) -> Window:
    """Return the window of a resize from one size to another."""
    corners = op.coordinates == "align_corners"
    if (corners and 1 in (before, after)) or (op.coordinates == "pytorch_half_pixel" and after == 1):
        return Window(1)
    return _scaled(op, Fraction(after - 1, before - 1) if corners else Fraction(after, before))


def _scaled(op: Resize | ResizeLike, factor: Fraction) -> Window:
    half_pixel = op.coordinates.endswith("half_pixel")
    return _resized(factor, op.mode, half_pixel, op.nearest_mode, op.antialias)


@lru_cache(maxsize=256)
def _resized(factor: Fraction, mode: str, half_pixel: bool, nearest_mode: str, antialias: bool) -> Window:
    period, step = factor.numerator, factor.denominator
    if period > MAX_PERIOD:
        return Window.unknown(f"a resize by {factor} has more than the {MAX_PERIOD} output phases that are followed")
    shift = Fraction(1, 2) if half_pixel else Fraction(0)
    stretch = max(1 / factor, Fraction(1)) if antialias else Fraction(1)
    intervals: list[Interval | None] = []
    for y in range(period):
        x = (y + shift) / factor - shift
        if mode == "nearest":
            index = NEAREST[nearest_mode](x)
            intervals.append((index, index))
        elif x.denominator == 1 and stretch == 1:  # on a pixel: every other tap has weight exactly 0
            intervals.append((x.numerator, x.numerator))
        else:
            intervals.append((floor(x - RADIUS[mode] * stretch) + 1, ceil(x + RADIUS[mode] * stretch) - 1))
    # Taps at whole distances have weight 0 among others too, where the kernel is stretched by a whole number.
    return Window.periodic(tuple(intervals), step, holes=stretch != 1 and RADIUS.get(mode, 1) > 1)


@op_kind("depth_to_space")
@dataclass(frozen=True, slots=True, kw_only=True)
class DepthToSpace(Op):
    """Channels laid out in space: output ``y`` reads ``floor(y / b)``."""

    block: int = attribute(positive)

    @property
    def cycle(self) -> tuple[int, int]:
        return 1, self.block

    def window(self, slot: int, sizes: Sizes) -> Window:
        if self.block > MAX_PERIOD:
            return Window.unknown(
                f"block {self.block} makes more than the {MAX_PERIOD} output phases that are followed"
            )
        return Window.periodic(((0, 0),) * self.block, step=1)

    def size(self, sizes: Sizes) -> Size:
        return None if sizes[0] is None else sizes[0] * self.block


@op_kind("space_to_depth")
@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceToDepth(Op):
    """Space folded into channels: output ``y`` reads ``[b*y, b*y + b - 1]``."""

    block: int = attribute(positive)

    @property
    def cycle(self) -> tuple[int, int]:
        return self.block, 1

    @property
    def settles_at(self) -> int:
        return self.block

    def window(self, slot: int, sizes: Sizes) -> Window:
        return Window(self.block, self.block)

    def size(self, sizes: Sizes) -> Size:
        if sizes[0] is None:
            return None
        if sizes[0] % self.block:
            raise SizeError(f"size {sizes[0]} is not a multiple of block {self.block}")
        return sizes[0] // self.block


@op_kind("adaptive_avg_pool", "adaptive_max_pool")
@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptivePool(Op):
    """Pooling to ``n_out`` outputs: output ``y`` reads ``[floor(y*n/n_out), ceil((y+1)*n/n_out) - 1]``."""

    to: int | None = attribute(optional(positive), name="size")

    @property
    def collapses(self) -> bool:
        return self.to == 1

    @property
    def cycle(self) -> tuple[int, int]:
        return (1, 1) if self.to is None else (1, 0)

    @property
    def window_cycle(self) -> int:
        return 1 if self.to in (None, 1) else 0

    def window(self, slot: int, sizes: Sizes) -> Window:
        if self.to is None:
            return Window(1)
        if self.to == 1:
            return FULL
        if sizes[0] is None:
            return Window.unknown(f"adaptive pooling to {self.to} depends on the input size; give one")
        step = Fraction(sizes[0], self.to)
        if step.denominator > MAX_PERIOD:
            return Window.unknown(
                f"adaptive pooling to {self.to} has more than the {MAX_PERIOD} phases that are followed"
            )
        phases = range(step.denominator)
        return Window.periodic(tuple((floor(y * step), ceil((y + 1) * step) - 1) for y in phases), step.numerator)

    def size(self, sizes: Sizes) -> Size:
        return sizes[0] if self.to is None else self.to
