"""The window algebra: which inputs one output index reads along one axis.

A window with period ``T`` and step ``K`` reads, at output ``y``, the closed interval ``intervals[y % T]`` moved by
``K * (y // T)``. Plain layers have ``T == 1`` and are (size, stride, padding); upsampling makes ``T`` larger. A phase
that reads nothing is ``None``. Everything is an exact integer or ``Fraction``.

Windows that read on to an end of the axis have no size: ``FULL`` to both ends, ``PAST`` up to a last index and
``FUTURE`` from a first index on, as forward and backward recurrences. Their one end follows the same algebra.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field
from fractions import Fraction
from functools import lru_cache, reduce
from itertools import pairwise
from math import gcd, lcm
from typing import Literal, NoReturn

from rfgraph.errors import UnboundedError, UnknownFieldError
from rfgraph.frozen import dataclass

Interval = tuple[int, int]
Number = int | Fraction
Kind = Literal["local", "past", "future", "full", "empty", "unknown"]
#: To which end of the axis a window reads on.
Side = Literal["", "past", "future", "both"]

#: Windows with more phases than this are not followed: a bound on time and memory that no published network meets.
MAX_PERIOD = 1 << 16

#: Strides and sizes of maps are followed up to here, some 3000 digits: Python writes no number of more than 4300.
LARGEST = 1 << 10_000

_SIDES: dict[str, Side] = {"past": "past", "future": "future", "full": "both"}
#: Kinds of windows that step from output to output.
_STEPPED = ("local", "past", "future")

_set = object.__setattr__


def _half(value: Number) -> Number:
    return value // 2 if value % 2 == 0 else Fraction(value) / 2


def as_number(value: Number) -> Number:
    """Return ``value`` as an ``int`` where it is whole."""
    return value.numerator if value.denominator == 1 else value


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Window:
    """Which inputs an output reads along one axis; a receptive field is one too.

    ``Window(size, stride, padding)`` reads ``[y*stride - padding, y*stride - padding + size - 1]`` at output ``y``.
    ``Window.periodic`` builds one whose phases differ; ``IDENTITY``, ``PAST``, ``FUTURE``, ``FULL``, ``EMPTY`` and
    ``Window.unknown`` are the special ones.

    Parameters
    ----------
    size
        Inputs from the first to the last one read, both included; gaps count.
    stride
        Inputs stepped from one output to the next.
    padding
        How far output 0 reads before index 0; negative where it starts later.
    holes
        Whether some inputs inside the interval may be skipped, as by dilation.
    spacing
        How far apart the inputs that are read lie, evenly from the first to the last; 0 where no one spacing tells.

    Examples
    --------
    >>> conv = Window(size=3, stride=2, padding=1)
    >>> conv.interval(0), conv.interval(5)
    ((-1, 1), (9, 11))
    >>> conv.through(conv)
    Window(size=7, stride=4, padding=3)
    """

    kind: Kind
    intervals: tuple[Interval | None, ...]
    step: int
    holes: bool = field(compare=False)
    exact: bool = field(compare=False)
    why: str = field(compare=False)
    spacing: int = field(compare=False)

    def __init__(self, size: int, stride: int = 1, padding: int = 0, *, holes: bool = False, spacing: int = 0) -> None:
        if size < 1 or stride < 1:
            raise ValueError(f"a window has size >= 1 and stride >= 1, not size={size}, stride={stride}")
        _set(self, "kind", "local")
        _set(self, "intervals", ((-padding, size - 1 - padding),))
        _set(self, "step", stride)
        _set(self, "holes", holes or spacing > 1)
        _set(self, "exact", True)
        _set(self, "why", "")
        _set(self, "spacing", spacing or (0 if holes else 1))

    @classmethod
    def periodic(
        cls,
        intervals: tuple[Interval | None, ...],
        step: int,
        *,
        holes: bool = False,
        exact: bool = True,
        why: str = "",
        spacing: int = 0,
    ) -> Window:
        """Return the window that reads ``intervals[y]`` at outputs ``0 <= y < T`` and moves by ``step`` every ``T``.

        Parameters
        ----------
        intervals
            What outputs 0 to T - 1 read, by output; ``None`` for one that reads nothing. Units: indices of the input.
        step
            Inputs from one period to the next.
        holes
            Whether some positions inside the intervals may not be read.
        exact
            Whether the intervals are read, and not just bounds of what is; ``why`` says why not.
        spacing
            How far apart the positions lie that are read; 0 where they do not lie evenly, or no one says.

        Examples
        --------
        Nearest upsampling by two: outputs 0 and 1 both read input 0.

        >>> Window.periodic(((0, 0), (0, 0)), step=1).interval(5)
        (2, 2)
        """
        if step < 1 or not intervals:
            raise ValueError(f"a periodic window has step >= 1 and a phase, not step={step}, {len(intervals)} phases")
        if len(intervals) > 1:
            if all(interval is None for interval in intervals):
                return EMPTY
            intervals, step = _shortest_period(tuple(intervals), step)
        elif intervals[0] is None:
            return EMPTY
        return _make("local", intervals, step, holes or spacing > 1, exact, why, spacing)

    @classmethod
    def unknown(cls, why: str) -> Window:
        """Return the window of which nothing is known, and why.

        Parameters
        ----------
        why
            The reason: which op, and what would help.

        Examples
        --------
        >>> Window.unknown("its grid is computed").is_unknown
        True
        """
        return _make("unknown", (), 0, True, False, why)

    @classmethod
    def past(cls, lasts: tuple[int | None, ...], step: int, *, exact: bool = True, why: str = "") -> Window:
        """Return the window that reads everything up to ``lasts[y]`` at outputs ``0 <= y < T``.

        Parameters
        ----------
        lasts
            The last index read by each output of one period, ``None`` where it reads nothing.
        step
            Inputs stepped per period.
        exact, why
            Whether each of them is read, and if not, why.

        Examples
        --------
        A recurrent layer after a convolution of 3 without padding: output 4 reads up to input 6.

        >>> PAST.through(Window(3)).ends(4)
        (None, 6)
        """
        return _one_sided("past", lasts, step, exact, why)

    @classmethod
    def future(cls, firsts: tuple[int | None, ...], step: int, *, exact: bool = True, why: str = "") -> Window:
        """Return the window that reads everything from ``firsts[y]`` on: the mirror of ``past``.

        Parameters
        ----------
        firsts
            First index that outputs 0 to T - 1 read, by output; ``None`` for one that reads nothing.
        step
            Inputs from one period to the next.
        exact, why
            As for ``periodic``.

        Examples
        --------
        >>> Window.future((0,), 1).ends(5)
        (5, None)
        """
        return _one_sided("future", firsts, step, exact, why)

    def at_most(self, why: str) -> Window:
        """Return the window that reads no more than this one, and why it may read less.

        Parameters
        ----------
        why
            The reason why less may be read.

        Examples
        --------
        >>> Window(3).at_most("a mask may hide some of it").exact
        False
        """
        if self.kind == "empty" or not self.exact:
            return self
        return _make(self.kind, self.intervals, self.step, self.holes, False, why)

    @property
    def is_unbounded(self) -> bool:
        """Whether it reads on to an end of the axis, so that it has no size: ``FULL``, or one-sided."""
        return self.kind in _SIDES

    @property
    def side(self) -> Side:
        """To which end of the axis it reads on: none, ``"past"``, ``"future"`` or ``"both"``."""
        return _SIDES.get(self.kind, "")

    @property
    def is_full(self) -> bool:
        """Whether it reads the whole axis."""
        return self.kind == "full"

    @property
    def is_empty(self) -> bool:
        """Whether it reads nothing at any output."""
        return self.kind == "empty"

    @property
    def is_unknown(self) -> bool:
        """Whether nothing is known of it; ``why`` says the reason."""
        return self.kind == "unknown"

    @property
    def is_local(self) -> bool:
        """Whether it is an interval per output, with numbers to give."""
        return self.kind == "local"

    @property
    def status(self) -> Literal["exact", "bound", "unknown"]:
        """``exact`` if each interval is the exact hull of what is read, ``bound`` if it may be wider."""
        if self.kind == "unknown":
            return "unknown"
        return "exact" if self.exact else "bound"

    @property
    def period(self) -> int:
        """Outputs ``T`` after which the window repeats."""
        return len(self.intervals)

    def interval(self, y: int) -> Interval | None:
        """Return the closed interval that output ``y`` reads, or ``None`` where it reads nothing.

        Parameters
        ----------
        y
            Index of an output; negative ones count on backward.

        Raises
        ------
        UnboundedError
            If the window is ``FULL``.
        UnknownFieldError
            If the window is not known.

        Examples
        --------
        >>> Window(size=3, stride=2, padding=1).interval(5)
        (9, 11)
        """
        if self.kind == "empty":
            return None
        if self.kind != "local":
            self._no_numbers()
        turns, phase = divmod(y, len(self.intervals))
        interval = self.intervals[phase]
        if interval is None:
            return None
        shift = turns * self.step
        return interval[0] + shift, interval[1] + shift

    def over(self, outputs: int) -> Sequence[Interval | None]:
        """Return what outputs 0 to ``outputs - 1`` read, as ``interval`` does.

        Parameters
        ----------
        outputs
            How many.

        Examples
        --------
        >>> Window(size=3, stride=2, padding=1).over(2)
        [(-1, 1), (1, 3)]
        """
        if self.kind != "local":
            return [self.interval(y) for y in range(outputs)]
        period = len(self.intervals)
        if outputs == period:
            return self.intervals
        read = list(self.intervals)
        for shift in range(self.step, -(-outputs // period) * self.step, self.step):
            read += [None if ends is None else (ends[0] + shift, ends[1] + shift) for ends in self.intervals]
        return read[:outputs]

    def ends(self, y: int) -> tuple[int | None, int | None] | None:
        """Return the first and the last index that output ``y`` reads, ``None`` where it reads nothing.

        An end that is ``None`` is that of the axis.

        Parameters
        ----------
        y
            Index of an output.

        Raises
        ------
        UnknownFieldError
            If the window is not known.

        Examples
        --------
        >>> Window(size=3).ends(5), Window.past((0,), 1).ends(5)
        ((5, 7), (None, 5))
        """
        if self.kind not in ("past", "future"):
            return (None, None) if self.kind == "full" else self.interval(y)
        turns, phase = divmod(y, len(self.intervals))
        interval = self.intervals[phase]
        if interval is None:
            return None
        end = interval[0] + turns * self.step
        return (None, end) if self.kind == "past" else (end, None)

    @property
    def stride(self) -> Number:
        """Inputs stepped per output, ``S = K/T``; others say jump. One-sided windows have one too."""
        if self.kind not in _STEPPED:
            self._no_numbers()
        return self.step if len(self.intervals) == 1 else as_number(Fraction(self.step, len(self.intervals)))

    @property
    def size(self) -> int:
        """Inputs from the first to the last one read, at the phase that reads widest."""
        if self.kind != "local":
            self._no_numbers()
        return max(last - first + 1 for first, last in _read(self.intervals))

    @property
    def reach(self) -> tuple[Number, Number]:
        """How far an output ``y`` reads before ``y * stride`` and after it, each at the phase that reads furthest.

        Examples
        --------
        >>> Window.periodic(((-1, 0), (0, 1)), step=1).reach
        (1, Fraction(1, 2))
        """
        if self.kind != "local":
            self._no_numbers()
        read = [(y * Fraction(self.stride), ends) for y, ends in enumerate(self.intervals) if ends is not None]
        before, after = max(at - first for at, (first, _) in read), max(last - at for at, (_, last) in read)
        return as_number(before), as_number(after)

    @property
    def padding(self) -> Number:
        """How far output 0 reads before index 0; taken from the first output that reads anything."""
        phase, (first, _) = self._first_phase()
        return as_number(phase * Fraction(self.step, self.period) - first) if phase else -first

    @property
    def center2(self) -> Number:
        """Twice the centre of what output 0 reads, so that it stays an integer on plain networks."""
        phase, (first, last) = self._first_phase()
        return as_number(first + last - 2 * phase * Fraction(self.step, self.period)) if phase else first + last

    @property
    def center(self) -> Number:
        """Centre of what output 0 reads, as an index: the centre of pixel 0 is 0."""
        return _half(self.center2)

    @property
    def start(self) -> Number:
        """``center + 1/2``: the coordinate of feature 0 in the receptive-field guide, which puts pixel 0 at 0.5."""
        return _half(self.center2 + 1)

    @property
    def mean_center(self) -> Fraction:
        """Mean over the phases of how far the centre of what output ``y`` reads lies past ``y * stride``."""
        if self.kind != "local":
            self._no_numbers()
        if len(self.intervals) == 1 and self.intervals[0] is not None:
            return Fraction(sum(self.intervals[0]), 2)
        phases = [phase for phase, interval in enumerate(self.intervals) if interval is not None]
        centers2 = sum(first + last for first, last in _read(self.intervals))
        return Fraction(centers2 * self.period - 2 * self.step * sum(phases), 2 * self.period * len(phases))

    @property
    def regular(self) -> bool:
        """Whether no phase is empty and neither end ever goes backward."""
        if len(self.intervals) == 1:
            return self.kind == "local"
        return self.kind == "local" and _regular(self.intervals, self.step)

    @property
    def seamless(self) -> bool:
        """Whether neighbouring outputs leave no input between them out, so that a run of outputs spans an interval."""
        if self.kind != "local":
            return False
        if len(self.intervals) == 1 and (interval := self.intervals[0]) is not None:
            return interval[1] - interval[0] + 1 >= self.step
        return self.regular and not _gapped(self)

    def through(self, inner: Window) -> Window:
        """Return the window that reads ``inner`` through this one: first this op, seen from the output.

        For plain windows these are the recurrences ``r' = s*r + k - s``, ``S' = s*S``, ``P' = s*P + p``.

        Parameters
        ----------
        inner
            What the input of this op reads of the source.

        References
        ----------
        Araujo, Norris, Sim, Computing Receptive Fields of Convolutional Neural Networks, Distill 2019.

        Examples
        --------
        >>> Window(size=3).through(Window(size=2, stride=2))
        Window(size=6, stride=2, padding=0)
        """
        if self.kind == inner.kind == "local":
            if self.intervals == _POINT and self.step == 1 and self.exact:
                return inner
            if inner.intervals == _POINT and inner.step == 1 and inner.exact:
                return self
            if len(self.intervals) == len(inner.intervals) == 1:
                (a, b), (first, last) = self.intervals[0], inner.intervals[0]  # type: ignore[misc]
                step = inner.step
                if step > 1 < self.step and self.step * step > LARGEST:
                    return _TOO_LARGE
                return _make(
                    "local",
                    ((first + a * step, last + b * step),),
                    self.step * step,
                    self.holes or inner.holes or (a < b and last - first + 1 < step),
                    self.exact and inner.exact,
                    self.why or inner.why,
                )
            return _compose(self, inner)
        return _compose_others(self, inner)

    def hull(self, other: Window) -> Window:
        """Return the smallest window that covers both, phase by phase.

        Windows of unequal stride drift apart: none covers both, and the result is unknown and says so.

        Parameters
        ----------
        other
            Another window on the same source.

        Examples
        --------
        >>> Window(size=3, padding=1).hull(Window(size=1))
        Window(size=3, stride=1, padding=1)
        >>> Window(size=1, stride=2).hull(Window(size=1, stride=4)).why
        'paths of strides 2 and 4 drift apart'
        """
        if self is other or other.kind == "empty":
            return self
        if self.kind == "empty":
            return other
        if self.kind != "local" or other.kind != "local":
            return _cover_others(self, other)
        if self.step * len(other.intervals) != other.step * len(self.intervals):
            strides = sorted((self.stride, other.stride))
            return Window.unknown(f"paths of strides {strides[0]} and {strides[1]} drift apart")
        return _cover(self, other)

    def _first_phase(self) -> tuple[int, Interval]:
        if self.kind != "local":
            self._no_numbers()
        return next((phase, interval) for phase, interval in enumerate(self.intervals) if interval is not None)

    def _no_numbers(self) -> NoReturn:
        if self.kind == "full":
            raise UnboundedError("the field reads the whole axis; it has no size, stride or padding (see is_full)")
        if self.kind in _SIDES:
            raise UnboundedError(f"the field reads all of the {self.kind}; it has one end only (see ends)")
        if self.kind == "unknown":
            raise UnknownFieldError(f"the field is not known: {self.why}")
        raise UnknownFieldError("the field is empty: it reads nothing of this input (see is_empty)")

    def __repr__(self) -> str:
        if self.kind == "unknown":
            return f"Window.unknown({self.why!r})"
        if self.kind in ("past", "future"):
            if self == (PAST if self.kind == "past" else FUTURE) and self.exact:
                return self.kind.upper()
            ends = tuple(None if interval is None else interval[0] for interval in self.intervals)
            flags = "" if self.exact else f", exact=False, why={self.why!r}"
            return f"Window.{self.kind}({ends}, step={self.step}{flags})"
        if self.kind == "full" and not self.exact:
            return f"FULL.at_most({self.why!r})"
        if self.kind != "local":
            return self.kind.upper()
        holes = f", spacing={self.spacing}" if self.spacing > 1 else ", holes=True" if self.holes else ""
        if len(self.intervals) == 1 and self.exact:
            return f"Window(size={self.size}, stride={self.step}, padding={self.padding}{holes})"
        flags = holes + ("" if self.exact else f", exact=False, why={self.why!r}")
        return f"Window.periodic({self.intervals}, step={self.step}{flags})"


#: Writing a field of a frozen window, by field: every composition makes a window.
_kind, _intervals, _step, _holes, _exact, _why, _spacing = (
    getattr(Window, name).__set__ for name in ("kind", "intervals", "step", "holes", "exact", "why", "spacing")
)


def _make(
    kind: Kind, intervals: tuple[Interval | None, ...], step: int, holes: bool, exact: bool, why: str, spacing: int = 0
) -> Window:
    window = object.__new__(Window)
    _kind(window, kind)
    _intervals(window, intervals)
    _step(window, step)
    _holes(window, holes)
    _exact(window, exact)
    _why(window, why)
    _spacing(window, spacing or (0 if holes else 1))
    return window


_POINT: tuple[Interval, ...] = ((0, 0),)

#: Reads its own index.
IDENTITY = Window(size=1)
#: Reads everything up to its own index, as a forward recurrence does.
PAST = _make("past", _POINT, 1, False, True, "")
#: Reads everything from its own index on.
FUTURE = _make("future", _POINT, 1, False, True, "")
#: Reads the whole axis; absorbs every window that reads anything.
FULL = _make("full", (), 0, False, True, "")
#: Reads nothing: neutral for ``hull``, absorbing for ``through``.
EMPTY = _make("empty", (None,), 1, False, True, "")


def composed(windows: Sequence[Window]) -> Window:
    """Return what the first of some windows reads through the second, that through the third, and so on.

    They are composed from the last, as a pass over a network does.

    Examples
    --------
    >>> composed([Window(3, 2, 1), Window(5)]), composed([]) == IDENTITY
    (Window(size=7, stride=2, padding=1), True)
    """
    return reduce(lambda inner, outer: outer.through(inner), reversed(windows), IDENTITY)


_TOO_LARGE = Window.unknown("its stride has more than 3000 digits")


def _read(intervals: tuple[Interval | None, ...]) -> list[Interval]:
    return [interval for interval in intervals if interval is not None]


@lru_cache(maxsize=1024)
def _regular(intervals: tuple[Interval | None, ...], step: int) -> bool:
    if None in intervals:
        return False
    read = _read(intervals)
    read.append((read[0][0] + step, read[0][1] + step))
    return all(a[0] <= b[0] and a[1] <= b[1] for a, b in pairwise(read))


def _shortest_period(intervals: tuple[Interval | None, ...], step: int) -> tuple[tuple[Interval | None, ...], int]:
    """Return the same window with the least period, so that equal windows compare equal."""
    period, step = least_period(len(intervals), step, lambda shorter, step: _repeats(intervals, shorter, step))
    return intervals[:period], step


def least_period(period: int, step: int, repeats: Callable[[int, int], bool]) -> tuple[int, int]:
    """Return the least period and the step that goes with it of what moves by ``step`` every ``period``.

    ``repeats`` tells whether it moves by a step every so many already.
    """
    common, divisor = gcd(period, step), 2
    while common > 1:
        if common % divisor:
            divisor = divisor + 1 if divisor * divisor <= common else common
            continue
        common //= divisor
        if repeats(period // divisor, step // divisor):
            period, step = period // divisor, step // divisor
    return period, step


def _repeats(intervals: tuple[Interval | None, ...], period: int, step: int) -> bool:
    for earlier, later in zip(intervals, intervals[period:], strict=False):
        if earlier is None or later is None:
            if earlier is not later:
                return False
        elif later[0] - earlier[0] != step or later[1] - earlier[1] != step:
            return False
    return True


def _too_long(period: int) -> Window:
    return Window.unknown(f"the window repeats only after {period} outputs, more than the {MAX_PERIOD} followed")


def _compose(outer: Window, inner: Window) -> Window:
    """Return ``outer.through(inner)`` for periodic windows: phase by phase, from the ends of each interval inward."""
    inner_period = len(inner.intervals)
    turns = inner_period // gcd(inner_period, outer.step)
    period = len(outer.intervals) * turns
    if period > MAX_PERIOD:
        return _too_long(period)
    monotone, every = inner.regular, outer.spacing or 1
    firsts, lasts = zip(*inner.intervals, strict=True) if monotone else ((), ())
    cycle = inner_period // gcd(inner_period, every)  # taps after which the phases of ``inner`` come round again
    intervals: list[Interval | None] = []
    several = False
    for turn in range(turns):
        for phase in outer.intervals:
            if phase is None:
                intervals.append(None)
                continue
            a, b = phase[0] + turn * outer.step, phase[1] + turn * outer.step
            several = several or a < b
            if monotone:
                (before, first), (after, last) = divmod(a, inner_period), divmod(b, inner_period)
                intervals.append((firsts[first] + before * inner.step, lasts[last] + after * inner.step))
            else:
                intervals.append(_ends(inner, a, b, min((b - a) // every, cycle - 1), every))
    if outer.step * turns * inner.step > LARGEST:
        return _TOO_LARGE
    # Only where it is not known which outputs of ``inner`` are skipped, the interval may be wider than what is read.
    bound = not outer.spacing and not monotone
    return Window.periodic(
        tuple(intervals),
        outer.step * turns * inner.step // inner_period,
        holes=outer.holes or inner.holes or (several and _gapped(inner)),
        exact=outer.exact and inner.exact and not bound,
        why=outer.why or inner.why or (_SKIPPED if bound else ""),
    )


def _ends(inner: Window, a: int, b: int, reach: int, every: int) -> Interval | None:
    """Return the least first and greatest last of ``inner`` over the taps ``every`` apart from ``a`` to ``b``.

    ``reach`` taps are looked at from each end besides the end itself.
    """
    low, high = range(a, a + reach * every + 1, every), range(b - reach * every, b + 1, every)
    firsts = [interval[0] for y in low if (interval := inner.interval(y)) is not None]
    if not firsts:
        return None
    lasts = [interval[1] for y in high if (interval := inner.interval(y)) is not None]
    return min(firsts), max(lasts)


def _one_sided(
    kind: Literal["past", "future"], ends: tuple[int | None, ...], step: int, exact: bool, why: str
) -> Window:
    """Return the window that reads on from the ends of one period to one end of the axis."""
    points = tuple(None if end is None else (end, end) for end in ends)
    window = Window.periodic(points, step, exact=exact, why=why)
    return window if window.kind == "empty" else _make(kind, window.intervals, window.step, False, exact, why)


def _compose_others(outer: Window, inner: Window) -> Window:
    """Return ``outer.through(inner)`` where not both are local."""
    kinds = (outer.kind, inner.kind)
    if "empty" in kinds:
        return EMPTY
    sides = {kind for kind in kinds if kind in _SIDES}
    if not sides:
        return outer if outer.kind == "unknown" else inner
    why = outer.why or inner.why
    if "full" in sides or len(sides) > 1 or "unknown" in kinds:
        if not (outer.exact and inner.exact):
            return FULL.at_most(why)
        # All outputs of a map may leave an end of the axis out, by a crop or a stride: its sizes tell, and no window.
        return FULL if not outer.is_full or inner.is_full or _is_plain(inner) else FULL.at_most(MAY_NOT_REACH)
    (side,) = sides
    # One end is left, taken over one period of the inner window: that repeats, a step further on.
    outputs, period = len(outer.intervals), len(inner.intervals)
    turns = period // gcd(period, outer.step)
    if outputs * turns > MAX_PERIOD:
        return FULL.at_most(_too_long(outputs * turns).why)
    monotone = _regular(inner.intervals, inner.step)
    if outer.kind == side and not monotone and not inner.exact:
        return FULL.at_most(why)  # positions that go back and forth, as far as they are known: no end is left out
    ends: list[int | None] = []
    for y in range(outputs * turns):
        turn, phase = divmod(y, outputs)
        interval = outer.intervals[phase]
        if interval is None:
            ends.append(None)
            continue
        a, b = interval[0] + turn * outer.step, interval[1] + turn * outer.step
        reach = 0 if monotone else period - 1
        if side == "past":
            near = range(b - reach if outer.kind == "past" else max(a, b - reach), b + 1)
            ends.append(max((end[1] for i in near if (end := _read_at(inner, i)) is not None), default=None))
        else:
            near = range(a, (a + reach if outer.kind == "future" else min(b, a + reach)) + 1)
            ends.append(min((end[0] for i in near if (end := _read_at(inner, i)) is not None), default=None))
    exact = outer.exact and inner.exact and (monotone or not outer.holes)
    step = outer.step * turns * inner.step // period
    if step > LARGEST:
        return FULL.at_most(_TOO_LARGE.why)
    return _one_sided(
        "past" if side == "past" else "future", tuple(ends), step, exact, "" if exact else why or _SKIPPED
    )


def _is_plain(window: Window) -> bool:
    """Return whether output ``y`` reads position ``y``, alone or with all that lies to one end from there."""
    return window.intervals == _POINT and window.step == 1


#: Why a read of all outputs is at most one of the whole axis.
MAY_NOT_REACH = "what it reads may leave positions at an end of the axis unread"

_SKIPPED = "a skipped position meets an upsampling phase that reads elsewhere"


def _read_at(window: Window, y: int) -> Interval | None:
    """Return the interval of a window that steps; that of a one-sided one is its one end, twice."""
    turns, phase = divmod(y, len(window.intervals))
    interval = window.intervals[phase]
    return None if interval is None else (interval[0] + turns * window.step, interval[1] + turns * window.step)


def _cover_others(a: Window, b: Window) -> Window:
    """Return ``a.hull(b)`` where not both are local, and none is empty."""
    for window in (a, b):
        if window.kind == "full" and window.exact:
            return FULL
    sides = {window.kind for window in (a, b) if window.kind in _SIDES}
    if not sides:
        return a if a.kind == "unknown" else b
    why = a.why or b.why
    if "full" in sides or len(sides) > 1 or "unknown" in (a.kind, b.kind):
        return FULL if a.exact and b.exact else FULL.at_most(why)
    if a.step * len(b.intervals) != b.step * len(a.intervals):
        strides = sorted((a.stride, b.stride))
        return FULL.at_most(f"paths of strides {strides[0]} and {strides[1]} drift apart")
    period = lcm(len(a.intervals), len(b.intervals))
    if period > MAX_PERIOD:
        return FULL.at_most(_too_long(period).why)
    (side,) = sides
    exact = a.exact and b.exact
    ends: list[int | None] = []
    for y in range(period):
        read = [(window.kind == side, end) for window in (a, b) if (end := _read_at(window, y)) is not None]
        if read and not any(on for on, _ in read):  # this phase alone does not read on to the end of the axis
            exact, why = False, why or f"some outputs read all of the {side}, and others do not"
        lasts, firsts = [end[1] for _, end in read], [end[0] for _, end in read]
        ends.append((max(lasts) if side == "past" else min(firsts)) if read else None)
    step = a.step * period // len(a.intervals)
    return _one_sided("past" if side == "past" else "future", tuple(ends), step, exact, "" if exact else why)


def _gapped(window: Window) -> bool:
    """Return whether neighbouring outputs may leave inputs between them unread."""
    ends = [*window.intervals, window.interval(window.period)]
    return any(a is None or b is None or a[1] + 1 < b[0] for a, b in pairwise(ends))


def _cover(a: Window, b: Window) -> Window:
    period = lcm(len(a.intervals), len(b.intervals))
    if period > MAX_PERIOD:
        return _too_long(period)
    intervals: list[Interval | None] = []
    holes = False
    for one, two in zip(a.over(period), b.over(period), strict=True):
        if one is None or two is None:
            intervals.append(one or two)
            holes = holes or (a.holes if two is None else b.holes)
            continue
        hull = (min(one[0], two[0]), max(one[1], two[1]))
        intervals.append(hull)
        solid = (hull == one and not a.holes) or (hull == two and not b.holes)
        apart = one[1] + 1 < two[0] or two[1] + 1 < one[0]
        holes = holes or (not solid and (a.holes or b.holes or apart))
    result = Window.periodic(tuple(intervals), a.step * period // len(a.intervals), holes=holes)
    if all(part.exact or (part is not whole and result == whole and whole.exact) for part, whole in ((a, b), (b, a))):
        return result
    return _make("local", result.intervals, result.step, holes, False, a.why or b.why)
