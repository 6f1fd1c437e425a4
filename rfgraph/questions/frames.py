"""Frames: the times that the features of a layer stand for."""

from __future__ import annotations

from collections.abc import Hashable
from fractions import Fraction
from math import floor, isfinite

from rfgraph.algebra.window import Number, Window
from rfgraph.errors import LatencyError
from rfgraph.frozen import dataclass
from rfgraph.questions.latency import check_rate


@dataclass(frozen=True)
class Frames:
    """The times that the features of a layer stand for. ``report.frames`` makes it.

    Examples
    --------
    >>> import rfgraph
    >>> net = rfgraph.Network("stft", axes=1)
    >>> _ = net.conv("frames", net.input("x"), kernel=400, stride=160)
    >>> frames = rfgraph.analyze(net, input_size=16000).frames("frames", sample_rate=16000)
    >>> frames.count, frames.start(0), frames.end(0), frames.step, frames.at(0.5)
    (98, 0.0, 0.025, 0.01, 49)
    """

    layer: Hashable
    field: Window
    sample_rate: Number
    #: How many frames there are, ``None`` without an input size.
    count: int | None

    def __post_init__(self) -> None:
        check_rate(self.sample_rate)

    @property
    def step(self) -> float:
        """Seconds from one frame to the next."""
        return float(Fraction(self.field.stride) / Fraction(self.sample_rate))

    @property
    def duration(self) -> float:
        """Seconds that a frame lasts, at the phase that reads widest."""
        return float(Fraction(self.field.size) / Fraction(self.sample_rate))

    def start(self, y: int) -> float:
        """Return when frame ``y`` starts: the time of the first sample that it reads."""
        return float(Fraction(self._interval(y)[0]) / Fraction(self.sample_rate))

    def end(self, y: int) -> float:
        """Return when frame ``y`` ends: the time at which the last sample that it reads is over."""
        return float(Fraction(self._interval(y)[1] + 1) / Fraction(self.sample_rate))

    def center(self, y: int) -> float:
        """Return the middle between start and end of frame ``y``."""
        first, last = self._interval(y)
        return float(Fraction(first + last + 1, 2) / Fraction(self.sample_rate))

    def at(self, seconds: float) -> int:
        """Return the frame whose centre is nearest to a time, the later one of two; among those there are.

        Raises
        ------
        LatencyError
            If the time is no number.
        """
        if not isfinite(seconds):
            raise LatencyError(f"{seconds!r} seconds are no time")
        samples = Fraction(str(seconds)) * Fraction(self.sample_rate)
        stride = Fraction(self.field.stride)
        guess = floor((samples - self.field.center) / stride)
        near = range(guess - self.field.period - 1, guess + self.field.period + 2)
        inside = [y for y in near if self.field.interval(y) and y >= 0 and (self.count is None or y < self.count)]
        if not inside:
            return 0 if guess < 0 or self.count is None else self.count - 1
        return min(inside, key=lambda y: (abs(Fraction(sum(self._interval(y)) + 1, 2) - samples), -y))

    def _interval(self, y: int) -> tuple[int, int]:
        if y < 0 or (self.count is not None and y >= self.count):
            there = "0 and more" if self.count is None else f"0 to {self.count - 1}"
            raise IndexError(f"frame {y} of {self.layer!r} is none of those there are, {there}")
        interval = self.field.interval(y)
        if interval is None:
            raise LatencyError(f"frame {y} of {self.layer!r} reads nothing")
        return interval
