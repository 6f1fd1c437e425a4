"""Ops that move or drop positions: pad, crop, slice, gather."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, ClassVar, get_args

from rfgraph.algebra.window import EMPTY, IDENTITY, MAX_PERIOD, Number, Window
from rfgraph.errors import AttributeValueError, SizeError
from rfgraph.frozen import dataclass
from rfgraph.ops.base import (
    Affine,
    Border,
    LikeAnother,
    Op,
    Size,
    Sizes,
    attribute,
    choice,
    even_weights,
    flag,
    integer,
    natural,
    op_kind,
    optional,
    padding,
    positive,
    text,
)

#: Of the difference between two maps, how much a padding to the size of one puts before the other.
SHARES: Mapping[str, Callable[[Any], Any]] = {
    "floor": lambda more: more // 2,
    "ceil": lambda more: -(-more // 2),
    "all": lambda more: more,
    "none": lambda more: 0,
}


def _amounts(name: str, value: object) -> tuple[int, int]:
    amounts = padding(name, value)
    if isinstance(amounts, str):
        raise AttributeValueError(f"{name} {value!r} is for ops with a kernel; give a number or [before, after]")
    return amounts


def _cropped(name: str, value: object) -> tuple[int, int]:
    amounts = _amounts(name, value)
    if max(amounts) > 0:
        raise AttributeValueError(f"{name} {value!r} would pad; a crop of one pixel is padding=-1")
    return amounts


@op_kind("pad")
@dataclass(frozen=True, slots=True, kw_only=True)
class Pad(Op):
    """Padding; negative amounts crop. ``mode`` says what the padding repeats: zeros, or positions of the map.

    ``like=1`` pads or crops to the size of the map in slot 1, as decoders do to that of their skip.
    """

    extra: ClassVar[frozenset[str]] = frozenset({"like", "before", "target"})

    padding: tuple[int, int] = attribute(_amounts)
    mode: Border = attribute(choice(*get_args(Border)), default="constant")

    @classmethod
    def parse(cls, attributes: Mapping[str, Any], axis: int, axes: int) -> Op:
        if attributes.get("like") is None:
            return super(Pad, cls).parse(attributes, axis, axes)
        if attributes.get("padding") is not None or attributes.get("mode", "constant") != "constant":
            raise AttributeValueError("a pad to the size of another map (like) takes no padding, and adds zeros")
        return PadLike.parse(attributes, axis, axes)

    @classmethod
    def complete(cls, attributes: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in attributes.items() if name not in ("like", "before", "target")}

    @property
    def border(self) -> Border:
        return self.mode

    def window(self, slot: int, sizes: Sizes) -> Window:
        return Window(1, 1, self.padding[0])

    @property
    def takes_empty(self) -> bool:
        return self.mode == "constant"

    @property
    def settles_at(self) -> int:
        # What is cropped has to be there, whatever is added at the other side. A map is mirrored or wound round once:
        # its border pixel is no part of its mirror image where it reflects.
        if self.mode in ("constant", "edge"):
            return max(self.cropped, 1)
        return max(*self.padding, self.cropped, 1 - (self.mode == "reflect")) + (self.mode == "reflect")

    @property
    def cropped(self) -> int:
        """How many positions it leaves out, at both sides."""
        return sum(max(-amount, 0) for amount in self.padding)

    @property
    def size_law(self) -> Affine | None:
        only_crops = max(self.padding) <= 0 and self.mode in ("constant", "edge")
        return Affine(1, sum(self.padding)) if self.settles_at == 1 or only_crops else None

    def size(self, sizes: Sizes) -> Size:
        if sizes[0] is None:
            return None
        size = sizes[0] + sum(self.padding)
        if size >= 0 and sizes[0] < (self.cropped if self.takes_empty else self.settles_at):
            if self.mode in ("constant", "edge"):
                raise SizeError(f"{list(self.padding)} crops more than the {sizes[0]} positions there are")
            raise SizeError(
                f"mode {self.mode!r} repeats positions of the map once, and {list(self.padding)} takes more than the "
                f"{sizes[0]} there are; give an input of at least {self.settles_at} there"
            )
        return size

    def weights(self, read: Window, y: int) -> dict[int, Fraction]:
        return even_weights(self.taps(read, y))

    def padding_at(self, size: Size) -> tuple[int, int]:
        return self.padding

    def center_step(self, inner: Window, field: Window) -> Number:
        return -inner.stride if inner.period == 1 else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PadLike(LikeAnother, Op):
    """Padding to the size of another map, which stands in slot ``like`` and of which nothing else is read.

    Where that map is smaller it crops. Of the difference ``before`` comes first: all of it, nothing, or its half,
    rounded down or up.
    """

    kind: ClassVar[str] = "pad"
    keeps_empty: ClassVar[bool] = True

    like: int = attribute(positive)
    before: str = attribute(choice(*SHARES), default="floor")
    #: What messages call that size.
    target: str = attribute(text, default="the size of another map")

    def window(self, slot: int, sizes: Sizes) -> Window:
        if slot:
            return EMPTY
        size, target = sizes[0], self.size(sizes)
        if size is None or target is None:
            return Window.unknown(f"it pads to {self.target}, which depends on the input size; give one")
        return Window(1, 1, SHARES[self.before](target - size))

    def weights(self, read: Window, y: int) -> dict[int, Fraction]:
        return even_weights(self.taps(read, y))


@op_kind("crop")
@dataclass(frozen=True, slots=True, kw_only=True)
class Crop(Pad):
    """Padding that only crops: all its amounts are negative or zero."""

    extra: ClassVar[frozenset[str]] = frozenset()

    padding: tuple[int, int] = attribute(_cropped)
    mode: Border = attribute(choice("constant"), default="constant")

    def may_pad(self, padding: tuple[int, int]) -> bool:
        return max(padding) <= 0


@op_kind("slice")
@dataclass(frozen=True, slots=True, kw_only=True)
class Slice(Op):
    """``x[start:stop:step]`` along the axis; negative ends count from the end of the map.

    A map that ends before ``stop`` gives what it has, unless the slice is ``whole``: then it takes none such. Ends that
    are ``turned`` are counted modulo the size of the map: so a map that is rolled is two slices put together again.
    """

    keeps_empty: ClassVar[bool] = True

    start: int | None = attribute(optional(integer), default=None)
    stop: int | None = attribute(optional(integer), default=None)
    step: int = attribute(positive, default=1)
    whole: bool = attribute(flag, default=False)
    turned: bool = attribute(flag, default=False)

    @property
    def cycle(self) -> tuple[int, int]:
        # Only ends that count from their own sides of the map make its size grow with the input.
        grows = (self.start or 0) >= 0 and (self.stop is None or self.stop < 0)
        return (self.step, 1) if grows else (1, 0)

    @property
    def settles_at(self) -> int:
        return abs(self.start or 0) + abs(self.stop or 0) + 1

    @property
    def window_cycle(self) -> int:
        return 1 if (self.start or 0) >= 0 else 0

    @property
    def heeds_size(self) -> bool:
        return self.turned or super(Slice, self).heeds_size

    @property
    def takes_one(self) -> bool:
        start = self.start or 0
        if self.stop is None:
            return start == -1
        return self.stop - start == 1 and (start < 0) == (self.stop < 0)

    @property
    def unplaced(self) -> Window | None:
        return Window(1, self.step)

    def window(self, slot: int, sizes: Sizes) -> Window:
        start = self.start or 0
        if sizes[0] is not None:
            start = self.ends(sizes[0])[0]
        elif start < 0:
            return Window.unknown(f"a slice that starts at {start} depends on the input size; give one")
        return Window(1, self.step, -start)

    def ends(self, size: int) -> tuple[int, int]:
        """Return the first position that it takes of a map, and that before which it ends."""
        first, last = self.start, self.stop
        if self.turned and size:
            first, last = (None if end is None else end % size for end in (first, last))
        start, stop, _ = slice(first, last, self.step).indices(size)
        return start, stop

    def size(self, sizes: Sizes) -> Size:
        if sizes[0] is None:
            first, end = self.start or 0, self.stop or 0
            return 1 if 0 <= first < end <= first + self.step else None  # of a map that has it
        start, stop = self.ends(sizes[0])
        if self.whole and (stop < (self.stop or 0) or sizes[0] < -(self.start or 0)):
            raise SizeError(f"the slice {self.start}:{self.stop} takes more than the {sizes[0]} positions there are")
        return max(-((start - stop) // self.step), 0)

    def too_small(self, sizes: Sizes, size: int) -> str:
        return f"the slice {self.start}:{self.stop}:{self.step} takes nothing of {sizes[0]}"

    def weights(self, read: Window, y: int) -> dict[int, Fraction]:
        return even_weights(self.taps(read, y))


def _table(name: str, value: object) -> tuple[int | None, ...] | None:
    if value is None:
        return None
    if not isinstance(value, (list, tuple)) or not value:
        raise AttributeValueError(f"{name} {value!r} is not a list of positions, with null for what reads nothing")
    return tuple(None if position is None else natural(name, position) for position in value)


@op_kind("gather")
@dataclass(frozen=True, slots=True, kw_only=True)
class Gather(Op):
    """Positions of a map of known size taken in a stated order: output ``y`` reads ``positions[y]``.

    ``positions`` has one list per axis, ``None`` for an axis that stays. Its window repeats the table before and behind
    the map, where nothing is read: a bound there, unless the table goes on like that.
    """

    positions: tuple[int | None, ...] | None = attribute(_table, default=None)
    source_size: int | None = attribute(optional(positive), default=None)

    @classmethod
    def parse(cls, attributes: Mapping[str, Any], axis: int, axes: int) -> Op:
        op = super(Gather, cls).parse(attributes, axis, axes)
        assert isinstance(op, Gather)
        if op.positions is not None:
            if op.source_size is None:
                raise AttributeValueError("source_size is missing; give the size of the map that positions are of")
            beyond = [position for position in op.positions if position is not None and position >= op.source_size]
            if beyond:
                raise AttributeValueError(f"position {beyond[0]} is not one of the {op.source_size} of its map")
        return op

    @property
    def takes_one(self) -> bool:
        return self.positions is not None and len(self.positions) == 1

    @property
    def rearranges(self) -> bool:
        return self.positions is not None

    @property
    def cycle(self) -> tuple[int, int]:
        return (1, 1) if self.positions is None else (1, 0)

    @property
    def settles_at(self) -> int:
        return 1 if self.source_size is None or self.positions is None else self.source_size + 1

    @property
    def window_cycle(self) -> int:
        return 1 if self.positions is None else 0

    def window(self, slot: int, sizes: Sizes) -> Window:
        if self.positions is None or self.source_size is None:
            return IDENTITY
        if len(self.positions) > MAX_PERIOD:
            return Window.unknown(f"it takes {len(self.positions)} positions, more than the {MAX_PERIOD} followed")
        intervals = tuple(None if position is None else (position, position) for position in self.positions)
        window = Window.periodic(intervals, self.source_size)
        if window.period < len(self.positions) or not window.is_local:
            return window
        why = "which positions are read is stated for the map alone, not beyond its border"
        return Window.periodic(intervals, self.source_size, exact=False, why=why)

    def size(self, sizes: Sizes) -> Size:
        if self.positions is None:
            return sizes[0]
        if sizes[0] is not None and sizes[0] != self.source_size:
            raise SizeError(f"it takes positions of a map of size {self.source_size}, not {sizes[0]}")
        return len(self.positions)
