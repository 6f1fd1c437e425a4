"""Ops that change the resolution without a sliding kernel: resize, pixel shuffles, adaptive pooling."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache, partial
from math import ceil, floor
from numbers import Rational
from typing import Any, ClassVar

from rfgraph.algebra.window import EMPTY, FULL, MAX_PERIOD, Interval, Number, Window, as_number
from rfgraph.errors import AttributeValueError, SizeError
from rfgraph.frozen import dataclass
from rfgraph.ops.base import (
    Border,
    LikeAnother,
    Op,
    Size,
    Sizes,
    attribute,
    choice,
    even_weights,
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
RADIUS: dict[str, int | Fraction] = {"linear": 1, "cubic": 2, "lanczos3": 3, "lanczos5": 5, "gaussian": Fraction(3, 2)}
#: Kernels that weigh every tap, those at whole distances too.
SMOOTHING = frozenset({"gaussian"})


def _coefficient(name: str, value: Any) -> Number:
    try:
        return as_number(Fraction(value if isinstance(value, Rational) else str(value)))
    except (ValueError, ZeroDivisionError):
        raise AttributeValueError(f"{name} {value!r} is not a number; write -0.75 or -0.5") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpolation(Op):
    """What a resize reads, whatever says its ratio: the pixels round the coordinate of an output in the input.

    With ``antialias`` the kernel is stretched by as much as the map shrinks; ``coefficient`` is that of a cubic kernel.

    References
    ----------
    ONNX operator ``Resize``: the coordinate transformations and the rounding of ``nearest``.
    """

    mode: str = attribute(choice("nearest", *RADIUS), default="nearest")
    coordinates: str = attribute(
        choice("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"), default="half_pixel"
    )
    nearest_mode: str = attribute(choice(*NEAREST), default="round_prefer_floor")
    antialias: bool = attribute(flag, default=False)
    coefficient: Number = attribute(_coefficient, default=Fraction(-3, 4))

    @property
    def border(self) -> Border:
        return "edge"

    def between(self, before: int, after: int) -> Window:
        """Return the window of a resize from one size to another."""
        corners = self.coordinates == "align_corners"
        if (corners and 1 in (before, after)) or (self.coordinates == "pytorch_half_pixel" and after == 1):
            return Window(1)
        return self.scaled(Fraction(after - 1, before - 1) if corners else Fraction(after, before))

    def scaled(self, factor: Fraction) -> Window:
        """Return the window of a resize by a factor."""
        half_pixel = self.coordinates.endswith("half_pixel")
        return _resized(factor, self.mode, half_pixel, self.nearest_mode, self.antialias)

    @property
    def skips(self) -> bool:
        return self.antialias and RADIUS.get(self.mode, 1) > 1 and self.mode not in SMOOTHING

    def taps(self, read: Window, y: int) -> Sequence[int]:
        taps = Op.taps(self, read, y)  # super() without arguments does not find a class that slots have cloned
        if not self.skips:
            return taps
        x, stretch = self._place(read, y)
        return [i for i in taps if x == i or ((x - i) / stretch).denominator > 1]

    def weights(self, read: Window, y: int) -> dict[int, Fraction] | None:
        if self.mode == "nearest":
            return even_weights(self.taps(read, y))
        if self.mode not in ("linear", "cubic"):
            return None
        x, stretch = self._place(read, y)
        kernel = _hat if self.mode == "linear" else partial(_cubic, Fraction(self.coefficient))
        weights = {i: kernel(abs(x - i) / stretch) for i in self.taps(read, y)}
        total = sum(weights.values())
        return {i: weight / total for i, weight in weights.items()}

    def _place(self, read: Window, y: int) -> tuple[Fraction, Fraction]:
        """Return the coordinate of output ``y`` in the input, and by how much the kernel is stretched."""
        step = Fraction(read.stride)
        shift = Fraction(1, 2) if self.coordinates.endswith("half_pixel") else Fraction(0)
        return (y + shift) * step - shift, max(step, Fraction(1)) if self.antialias else Fraction(1)


@op_kind("resize")
@dataclass(frozen=True, slots=True, kw_only=True)
class Resize(Interpolation):
    """Interpolation: output ``y`` reads the pixels round its coordinate in the input.

    ``like=1`` takes the size of the map in slot 1, as decoders do that resize to the size of their skip.
    """

    scale: Number | None = attribute(optional(ratio), default=None)
    to: int | None = attribute(optional(positive), name="size", default=None)

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
    def aligns_corners(self) -> bool:
        return self.coordinates == "align_corners"

    @property
    def cycle(self) -> tuple[int, int]:
        return (1, 0) if self.scale is None else (self.scale.denominator, self.scale.numerator)

    @property
    def window_cycle(self) -> int:
        return 0 if self.scale is None or self.coordinates == "align_corners" else 1

    @property
    def heeds_size(self) -> bool:
        # A map of one position is a rule of its own there.
        return super(Resize, self).heeds_size or self.coordinates == "pytorch_half_pixel"

    def size(self, sizes: Sizes) -> Size:
        if self.scale is None:
            return self.to
        return None if sizes[0] is None else floor(sizes[0] * self.scale)

    def window(self, slot: int, sizes: Sizes) -> Window:
        before, after = sizes[0], self.size(sizes)
        if self.scale is not None and self.coordinates != "align_corners":
            if self.coordinates == "pytorch_half_pixel" and after == 1:
                return Window(1)
            return self.scaled(Fraction(self.scale))
        if before is None or after is None:
            what = "align_corners" if self.coordinates == "align_corners" else f"a resize to size {self.to}"
            return Window.unknown(f"{what} depends on the input size; give one")
        return self.between(before, after)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResizeLike(LikeAnother, Interpolation):
    """Interpolation to the size of another map, which stands in slot ``like`` and of which nothing else is read."""

    kind: ClassVar[str] = "resize"

    like: int = attribute(positive)
    #: What messages call that size.
    target: str = attribute(text, default="the size of another map")

    def window(self, slot: int, sizes: Sizes) -> Window:
        if slot:
            return EMPTY
        before, after = sizes[0], self.size(sizes)
        if before is None or after is None:
            return Window.unknown(f"it resizes to {self.target}, which depends on the input size; give one")
        return self.between(before, after)


def _hat(distance: Fraction) -> Fraction:
    return max(1 - distance, Fraction(0))


def _cubic(a: Fraction, distance: Fraction) -> Fraction:
    """Return the weight of a tap at a distance.

    References
    ----------
    Keys, Cubic convolution interpolation for digital image processing, IEEE ASSP 1981.
    """
    if distance <= 1:
        return (a + 2) * distance**3 - (a + 3) * distance**2 + 1
    return a * (distance**3 - 5 * distance**2 + 8 * distance - 4) if distance < 2 else Fraction(0)


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
        elif x.denominator == 1 and stretch == 1 and mode not in SMOOTHING:  # other taps have weight exactly 0
            intervals.append((x.numerator, x.numerator))
        else:
            intervals.append((floor(x - RADIUS[mode] * stretch) + 1, ceil(x + RADIUS[mode] * stretch) - 1))
    # Taps at whole distances have weight 0 among others too, where the kernel is stretched by a whole number.
    holes = stretch != 1 and RADIUS.get(mode, 1) > 1 and mode not in SMOOTHING
    return Window.periodic(tuple(intervals), step, holes=holes)


@op_kind("depth_to_space")
@dataclass(frozen=True, slots=True, kw_only=True)
class DepthToSpace(Op):
    """Channels laid out in space: output ``y`` reads ``floor(y / b)``."""

    keeps_empty: ClassVar[bool] = True

    block: int = attribute(positive)

    @property
    def cycle(self) -> tuple[int, int]:
        return 1, self.block

    def kernel_taps(self, read: Window, y: int) -> tuple[Sequence[int], Fraction]:
        return (y % self.block,), Fraction(1)  # each place in a block is another channel of the input

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

    keeps_empty: ClassVar[bool] = True

    block: int = attribute(positive)

    @property
    def cycle(self) -> tuple[int, int]:
        return self.block, 1

    @property
    def settles_at(self) -> int:
        return self.block

    def kernel_taps(self, read: Window, y: int) -> tuple[Sequence[int], Fraction]:
        return range(self.block), Fraction(1, self.block)  # each place in a block is another channel of the output

    def window(self, slot: int, sizes: Sizes) -> Window:
        return Window(self.block, self.block)

    def size(self, sizes: Sizes) -> Size:
        if sizes[0] is None:
            return None
        if sizes[0] % self.block:
            raise SizeError(f"size {sizes[0]} is not a multiple of block {self.block}")
        return sizes[0] // self.block


@op_kind("adaptive_max_pool")
@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptivePool(Op):
    """Pooling to ``n_out`` outputs: output ``y`` reads ``[floor(y*n/n_out), ceil((y+1)*n/n_out) - 1]``."""

    picks: ClassVar[bool] = True

    to: int | None = attribute(optional(positive), name="size")

    @property
    def collapses(self) -> bool:
        return self.to == 1

    def kernel_taps(self, read: Window, y: int) -> tuple[Sequence[int], Fraction] | None:
        taps = len(self.taps(read, y))
        return range(taps), Fraction(1, taps)

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


@op_kind("adaptive_avg_pool")
@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptiveAveragePool(AdaptivePool):
    """The mean over what each of ``n_out`` outputs reads."""

    picks: ClassVar[bool] = False

    def weights(self, read: Window, y: int) -> dict[int, Fraction]:
        return even_weights(self.taps(read, y))
