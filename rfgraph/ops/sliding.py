"""Ops that slide a kernel: convolution, pooling, and transposed convolution."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from math import comb, gcd
from typing import Any, ClassVar

from rfgraph.algebra.window import MAX_PERIOD, Interval, Number, Window
from rfgraph.errors import SizeError
from rfgraph.frozen import dataclass
from rfgraph.ops.base import (
    Affine,
    Op,
    Padding,
    Size,
    Sizes,
    Slid,
    attribute,
    even_weights,
    flag,
    natural,
    op_kind,
    padding,
    positive,
)

#: Binomial coefficients of wider kernels are not written out: each has as many digits as the kernel is wide.
MAX_BINOMIALS = 1 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Sliding(Op):
    """A kernel that slides over a padded input; output ``y`` reads ``[s*y - p, s*y - p + d*(k - 1)]``."""

    kernel: int = attribute(positive)
    stride: int = attribute(positive, default=1)
    padding: Padding = attribute(padding, default=(0, 0))
    dilation: int = attribute(positive, default=1)

    @property
    def cycle(self) -> tuple[int, int]:
        return self.stride, 1

    @property
    def settles_at(self) -> int:
        return 1 if isinstance(self.padding, str) else max(self.span - sum(self.padding), 1)

    @property
    def window_cycle(self) -> int:
        return self.stride if self.pads(None) is None else 1

    @property
    def span(self) -> int:
        """Inputs from the first to the last tap, both included."""
        return (self.kernel - 1) * self.dilation + 1

    @property
    def unplaced(self) -> Window | None:
        return Window(self.span, self.stride)  # padding moves what is read and widens nothing

    @property
    def keeps_all(self) -> bool:
        return self.kernel == self.stride == 1 and self.pads(None) == (0, 0)

    @property
    def spacing(self) -> int:
        return self.dilation

    def kernel_taps(self, read: Window, y: int) -> tuple[Sequence[int], Fraction] | None:
        return range(self.kernel), Fraction(1, self.kernel)

    def pads(self, size: Size) -> tuple[int, int] | None:
        """Return the padding before and after an input of ``size``, ``None`` if it depends on a size not known.

        References
        ----------
        SAME: TensorFlow's and ONNX's rule, output size ceil(n / stride), the odd pixel after (upper) or before (lower).
        """
        if not isinstance(self.padding, str):
            return self.padding
        if self.stride == 1 or self.span == 1:
            total = self.span - 1
        elif size is None:
            return None
        else:
            total = max((-(-size // self.stride) - 1) * self.stride + self.span - size, 0)
        less, more = total // 2, total - total // 2
        return (less, more) if self.padding == "same_upper" else (more, less)

    def padding_at(self, size: Size) -> tuple[int, int] | None:
        return self.pads(size)

    def center_step(self, inner: Window, field: Window) -> Number:
        return -inner.stride if inner.period == 1 else 0

    def window(self, slot: int, sizes: Sizes) -> Window:
        pads = self.pads(sizes[0])
        if pads is None:
            return Window.unknown(f"padding 'same' with stride {self.stride} depends on the input size; give one")
        return Window(self.span, self.stride, pads[0], spacing=self.dilation if self.kernel > 1 else 1)

    def size(self, sizes: Sizes) -> Size:
        pads = self.pads(sizes[0])
        if sizes[0] is None or pads is None:
            return None
        outputs = self.outputs(sizes[0], pads, sizes[0] + sum(pads) - self.span)
        if not sizes[0] and self.takes_empty:
            return max(outputs, 0)
        if outputs < (not self.leaves_none):
            raise SizeError(f"the kernel spans {self.span}, more than the input's {sizes[0]} padded by {list(pads)}")
        return outputs

    @property
    def size_law(self) -> Slid | None:
        return None if self.makes_empty else Slid(self.span, self.stride, self.padding, self.rounds_up)

    @property
    def rounds_up(self) -> bool:
        """Whether a window that overlaps the map is enough for an output."""
        return False

    @property
    def leaves_none(self) -> bool:
        """Whether it may make no output at all of a map."""
        return False

    @property
    def makes_empty(self) -> bool:
        return self.leaves_none or self.takes_empty

    def outputs(self, size: int, pads: tuple[int, int], room: int) -> int:
        """Return how many outputs there are, with ``room`` places left to slide to; none if it is negative."""
        return room // self.stride + 1


@op_kind("conv", "depthwise_conv", "separable_conv")
@dataclass(frozen=True, slots=True, kw_only=True)
class Conv(Sliding):
    """Convolution, also depthwise, grouped and separable: they read alike in space."""

    projects: ClassVar[bool] = True

    @property
    def widens(self) -> bool:
        return self.kernel > 1

    @property
    def learned_taps(self) -> int:
        return self.kernel


@op_kind("max_pool", "lp_pool")
@dataclass(frozen=True, slots=True, kw_only=True)
class Pool(Sliding):
    """Pooling; the stride is the kernel where none is given."""

    picks: ClassVar[bool] = True

    ceil_mode: bool = attribute(flag, default=False)
    #: Whether its size is rounded towards 0, as ONNX Runtime does: a map that is smaller than the kernel by less than a
    #: stride makes one output, and one that is smaller by a stride none.
    rounded: bool = attribute(flag, default=False)

    @classmethod
    def complete(cls, attributes: dict[str, Any]) -> dict[str, Any]:
        if attributes.get("stride") is None and "kernel" in attributes:
            attributes["stride"] = attributes["kernel"]
        return attributes

    @property
    def rounds_up(self) -> bool:
        return self.ceil_mode

    @property
    def leaves_none(self) -> bool:
        return self.rounded

    @property
    def settles_at(self) -> int:
        least = super(Pool, self).settles_at
        return least + self.stride if self.ceil_mode else least

    def outputs(self, size: int, pads: tuple[int, int], room: int) -> int:
        """Return how many outputs there are; with ``ceil_mode`` a window that overlaps the map is enough.

        References
        ----------
        PyTorch ``pooling_output_shape``: rounded up, the last window is clipped, be it the only one.
        """
        if not self.ceil_mode:
            return (-(-room // self.stride) if self.rounded and room < 0 else room // self.stride) + 1
        outputs = -(-room // self.stride) + 1
        # A last window may not start in the padding after the input.
        return outputs - 1 if (outputs - 1) * self.stride >= size + pads[0] else outputs


@op_kind("avg_pool")
@dataclass(frozen=True, slots=True, kw_only=True)
class AveragePool(Pool):
    """The mean over a kernel; at the border that of what is there or of zeros too, which changes no field."""

    spreads_border: ClassVar[bool] = True
    picks: ClassVar[bool] = False

    def weights(self, read: Window, y: int) -> dict[int, Fraction]:
        return even_weights(self.taps(read, y))


@op_kind("blur_pool")
@dataclass(frozen=True, slots=True, kw_only=True)
class BlurPool(Sliding):
    """A low-pass filter that slides over each channel: its weights are binomial coefficients, over their sum.

    References
    ----------
    Zhang, Making Convolutional Networks Shift-Invariant Again, ICML 2019.
    """

    def weights(self, read: Window, y: int) -> dict[int, Fraction] | None:
        if self.kernel > MAX_BINOMIALS:
            return None
        taps = self.taps(read, y)
        return {tap: Fraction(comb(self.kernel - 1, i), 2 ** (self.kernel - 1)) for i, tap in enumerate(taps)}

    def kernel_taps(self, read: Window, y: int) -> None:
        return None


@op_kind("conv_transpose")
@dataclass(frozen=True, slots=True, kw_only=True)
class ConvTranspose(Op):
    """Transposed convolution: output ``y`` reads each ``i`` with ``y + p - s*i = d*t`` for a tap ``t``."""

    projects: ClassVar[bool] = True

    kernel: int = attribute(positive)
    stride: int = attribute(positive, default=1)
    padding: Padding = attribute(padding, default=(0, 0))
    output_padding: int = attribute(natural, default=0)
    dilation: int = attribute(positive, default=1)

    @property
    def cycle(self) -> tuple[int, int]:
        return 1, self.stride

    @property
    def span(self) -> int:
        """Outputs from the first to the last one that an input writes, both included."""
        return (self.kernel - 1) * self.dilation + 1

    @property
    def spacing(self) -> int:
        return self.dilation // gcd(self.stride, self.dilation)

    @property
    def learned_taps(self) -> int:
        return self.kernel

    def kernel_taps(self, read: Window, y: int) -> tuple[Sequence[int], Fraction]:
        taps = [(y + self.pads[0] - self.stride * i) // self.dilation for i in self.taps(read, y)]
        return taps, Fraction(self.stride, self.kernel)

    @property
    def pads(self) -> tuple[int, int]:
        """How much of the output is cropped before and after; SAME makes its size ``n * stride``."""
        if not isinstance(self.padding, str):
            return self.padding
        total = max(self.span - self.stride, 0)
        less, more = total // 2, total - total // 2
        return (less, more) if self.padding == "same_upper" else (more, less)

    def padding_at(self, size: Size) -> tuple[int, int] | None:
        # Where its size is not what its cropping makes it, no other numbers make the same map.
        return None if isinstance(self.padding, str) and self.span < self.stride else self.pads

    def center_step(self, inner: Window, field: Window) -> Number:
        return field.stride

    def window(self, slot: int, sizes: Sizes) -> Window:
        return _transposed(self.kernel, self.stride, self.dilation, self.pads[0])

    @property
    def size_law(self) -> Affine:
        if isinstance(self.padding, str):
            return Affine(self.stride, self.output_padding)
        return Affine(self.stride, self.span - self.stride - sum(self.padding) + self.output_padding)

    def size(self, sizes: Sizes) -> Size:
        law = self.size_law
        if sizes[0] == 0 and self.empty and not isinstance(self.padding, str):
            return max(law.plus + self.stride - 1, 0)  # no positions have nothing between them
        return None if sizes[0] is None else law.times * sizes[0] + law.plus


@lru_cache(maxsize=256)
def _transposed(kernel: int, stride: int, dilation: int, before: int) -> Window:
    if stride > MAX_PERIOD:
        return Window.unknown(f"stride {stride} makes more than the {MAX_PERIOD} output phases that are followed")
    common = gcd(stride, dilation)
    every = stride // common  # taps of one output phase are this far apart ...
    back = dilation // common  # ... and read inputs this far apart
    first_tap = {(dilation * tap) % stride: tap for tap in reversed(range(min(every, kernel)))}
    intervals: list[Interval | None] = []
    for y in range(stride):
        tap = first_tap.get((y + before) % stride)
        if tap is None:
            intervals.append(None)
            continue
        last = (y + before - dilation * tap) // stride
        intervals.append((last - back * ((kernel - 1 - tap) // every), last))
    return Window.periodic(tuple(intervals), step=1, spacing=back if kernel > every else 1)
