"""Moments as a domain: how much of a gradient each output lets through to the source, whereabouts, and how far spread.

Mass, mean and variance of every node take one pass, output phase by output phase, O((V + E) * T * k). With random
weights it is the recursion of the diagonal: mean squares of the gradient at single positions. It is exact unless an op
with fixed weights, or two paths without any, mix gradients that are not independent; where that may be, the result says
so, and ``rfgraph.passes.effective`` follows the whole covariance.

Results are float64. Masses carry an exponent of their own: a network of a thousand residual blocks has 2**1000 of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import gcd, lcm, prod

import numpy as np

from rfgraph.passes.compiled import Compiled
from rfgraph.passes.fold import Domain, fold
from rfgraph.passes.weighing import Assumed, Floats, Step, TooManyTapsError, Weighing

#: Output phases over all axes, and pairs of phases along one, that are followed at most.
MAX_PHASES = 1 << 20


@dataclass(frozen=True, slots=True)
class Moments:
    """Mass, mean and variance of the gradient of output ``y``, by its phase on each axis; ``T`` phases, A axes.

    Outputs ``T`` apart have the same, moved by ``steps``. The mass is ``mass * 2**exponent``.
    """

    mass: Floats  # [*T]
    mean: Floats  # [A, *T], indices of the source
    variance: Floats  # [A, *T]
    steps: tuple[int, ...]
    exponent: int = 0
    #: Why it is no more than an approximation; "" if it is exact.
    doubt: str = ""
    #: Whether some op on the way reads a position by several outputs with fixed weights, so that covariances matter.
    mixes: bool = False
    #: Whether some gate is on the way, and some merge.
    gated: bool = False
    merged: bool = False


@dataclass(frozen=True, slots=True)
class Unknown:
    """No moments, and why."""

    why: str


Value = Moments | Unknown


class GradientMoments(Domain[Value]):
    """The moments of every node at one source.

    Parameters
    ----------
    compiled
        The network.
    source
        Node id of what is read.
    assumed
        What is assumed of its weights.
    """

    def __init__(self, compiled: Compiled, source: int, assumed: Assumed) -> None:
        self.compiled = compiled
        self.weighing = Weighing(compiled, assumed)
        self.axes = len(compiled.layers.axes)
        self.source = source
        #: Nodes at which paths without random weights meet that part again towards the source.
        self.meets = self.weighing.meetings(source) if self.weighing.squares else set()
        self._alone: dict[int, tuple[Floats, Floats, Floats]] = {}
        self._doubts: dict[int, str] = {}

    @cached_property
    def start(self) -> Value:
        ones = (1,) * self.axes
        zeros = np.zeros((self.axes, *ones))
        return Moments(np.ones(ones), zeros, zeros, ones)

    def through(self, v: int, slot: int, value: Value) -> Value | None:
        reads = [self.compiled.reads[axis][v][slot] for axis in range(self.axes)]
        if any(read.is_unbounded or read.is_empty for read in reads):
            return None
        if isinstance(value, Unknown):
            return value
        for axis, read in enumerate(reads):
            if read.is_unknown:
                return Unknown(f"{self.compiled.layers.describe(v, axis)} is not known: {read.why}")
        squared = self.weighing.squares and not self.weighing.fresh(v)
        doubt, mixes = value.doubt, value.mixes
        if self.weighing.joint(v) is not None:
            return Unknown(f"{self.compiled.layers.describe(v)}: its taps are given over all axes; give them per axis")
        for axis in range(self.axes):
            try:
                step = self.weighing.step(v, slot, axis)
            except TooManyTapsError:
                return Unknown(f"{self.compiled.layers.describe(v, axis)} has too many taps to be listed")
            if step is None:
                continue
            if squared and step.spreads and value.mixes:
                doubt = doubt or (
                    f"{self.compiled.layers.describe(v)} and an op before it mix gradients that are not independent"
                )
            elif not self.weighing.squares and any((phase.weights < 0).any() for phase in step.phases):
                doubt = doubt or f"{self.compiled.layers.describe(v)} has negative weights, which count as such"
            mixes = mixes or (squared and step.overlaps)
            moved = self._along(axis, step, value, squared)
            if moved is None:
                return Unknown(f"{self.compiled.layers.describe(v, axis)} has too many output phases")
            value = moved
        factor = self.weighing.scale(v, slot)
        if factor != 1:
            value = replace(value, mass=value.mass * factor)
        return replace(value, doubt=doubt, mixes=mixes) if (doubt, mixes) != (value.doubt, value.mixes) else value

    def _along(self, axis: int, step: Step, value: Moments, squared: bool) -> Moments | None:
        """Return what outputs have whose taps along one axis read ``value``."""
        phases, stride = value.mass.shape[axis], value.steps[axis]
        turns = phases // gcd(phases, step.step)
        outputs = len(step.phases) * turns
        if value.mass.size // phases * outputs > MAX_PHASES or outputs * phases > MAX_PHASES:
            return None
        steps = tuple(
            stride * (step.step * turns) // phases if other == axis else s for other, s in enumerate(value.steps)
        )
        if phases == 1:
            mass, mean, variance = self._alone_on(step, squared, axis)
            new_mass = value.mass * mass
            if len(step.phases) == 1:
                means, variances = value.mean.copy(), value.variance.copy()
            else:
                shape = (self.axes, *new_mass.shape)
                means, variances = (np.array(np.broadcast_to(m, shape)) for m in (value.mean, value.variance))
            means[axis] += stride * mean
            variances[axis] += float(stride) ** 2 * variance
            return _changed(value, new_mass, means, variances, steps)
        # Coefficients of phase p of what is read in output y, and how far it lies off, summed over the taps.
        moments = np.zeros((3, outputs, phases))
        for y in range(outputs):
            turn, phase = divmod(y, len(step.phases))
            read = step.phases[phase]
            weights = read.weights**2 if squared else read.weights
            turn_read, phase_read = np.divmod(read.positions + turn * step.step, phases)
            offset = turn_read * float(stride)
            for power in range(3):
                np.add.at(moments[power, y], phase_read, weights * offset**power)
        center = value.mean.reshape(self.axes, -1).mean(axis=1).reshape(-1, *(1,) * self.axes)
        mean = value.mean - center  # moments about the centre keep their digits

        def apply(matrix: Floats, over: Floats) -> Floats:
            along = over.ndim - self.axes + axis
            return np.moveaxis(np.tensordot(matrix, over, axes=(1, along)), 0, along)

        first, second = value.mass * mean, value.mass * (value.variance + mean**2)
        new_mass = apply(moments[0], value.mass)
        new_first, new_second = apply(moments[0], first), apply(moments[0], second)
        new_first[axis] += apply(moments[1], value.mass)
        new_second[axis] += 2 * apply(moments[1], first[axis]) + apply(moments[2], value.mass)
        safe = np.where(new_mass == 0, 1, new_mass)
        new_mean = np.where(new_mass == 0, 0, new_first / safe)
        variance = np.where(new_mass == 0, 0, new_second / safe - new_mean**2)
        return _changed(value, new_mass, new_mean + center, variance, steps)

    def _alone_on(self, step: Step, squared: bool, axis: int) -> tuple[Floats, Floats, Floats]:
        """Return mass, mean and variance of the taps of each phase, shaped as phases along ``axis``."""
        key = id(step)
        if key not in self._alone:
            numbers = np.zeros((3, len(step.phases)))
            for y, read in enumerate(step.phases):
                weights = read.weights**2 if squared else read.weights
                mass = weights.sum()
                if mass:
                    mean = (weights @ read.positions) / mass
                    numbers[:, y] = mass, mean, (weights @ (read.positions - mean) ** 2) / mass
            shape = [1] * self.axes
            shape[axis] = len(step.phases)
            mass, mean, variance = numbers.reshape(3, *shape)
            self._alone[key] = mass, mean, variance
        return self._alone[key]

    def join(self, v: int, values: list[Value]) -> Value:
        unknown = next((value for value in values if isinstance(value, Unknown)), None)
        if unknown is not None:
            return unknown
        known = [value for value in values if isinstance(value, Moments)]
        joined = known[0] if len(known) == 1 else self._joined(v, known)
        if isinstance(joined, Unknown):
            return joined
        gated, merged = joined.gated or self.weighing.is_gate(v), joined.merged or len(known) > 1
        doubt = joined.doubt or self._doubt(v)
        if not doubt and v in self.meets:
            doubt = f"{self.compiled.layers.describe(v)}: paths without random weights meet there that part again"
        if not doubt and gated and merged:
            doubt = f"{self.compiled.layers.describe(v)}: gates are taken as independent, and some path goes round one"
        if (gated, merged, doubt) == (joined.gated, joined.merged, joined.doubt):
            return joined
        return replace(joined, gated=gated, merged=merged, doubt=doubt)

    def _doubt(self, v: int) -> str:
        key = id(self.compiled.layers.ops[v])
        if key not in self._doubts or self._doubts[key]:
            self._doubts[key] = self.weighing.doubt(v)
        return self._doubts[key]

    def _joined(self, v: int, values: list[Moments]) -> Value:
        shape = tuple(lcm(*(value.mass.shape[axis] for value in values)) for axis in range(self.axes))
        if prod(shape) > MAX_PHASES:
            return Unknown(f"{self.compiled.layers.describe(v)} has too many output phases")
        for axis in range(self.axes):
            strides = {value.steps[axis] * (shape[axis] // value.mass.shape[axis]) for value in values}
            if len(strides) > 1:
                return Unknown(
                    f"{self.compiled.layers.describe(v, axis)}: its inputs differ in effective stride and drift apart"
                )
        values = [_tiled(value, shape) for value in values]
        exponent = max(value.exponent for value in values)
        masses = np.array([np.ldexp(value.mass, value.exponent - exponent) for value in values])
        mass = masses.sum(axis=0)
        safe = np.where(mass == 0, 1, mass)
        shares = masses[:, None] / safe
        means = np.array([value.mean for value in values])
        mean = (shares * means).sum(axis=0)
        variance = (shares * (np.array([value.variance for value in values]) + (means - mean) ** 2)).sum(axis=0)
        most = float(np.abs(mass).max())
        shift = int(np.frexp(most)[1]) if most else 0
        return Moments(
            np.ldexp(mass, -shift),
            mean,
            variance,
            values[0].steps,
            exponent + shift,
            next((value.doubt for value in values if value.doubt), ""),
            any(value.mixes for value in values),
            any(value.gated for value in values),
            any(value.merged for value in values),
        )


def _changed(value: Moments, mass: Floats, mean: Floats, variance: Floats, steps: tuple[int, ...]) -> Moments:
    """Return other numbers of which the same is to be said."""
    return Moments(mass, mean, variance, steps, value.exponent, value.doubt, value.mixes, value.gated, value.merged)


def _tiled(value: Moments, shape: tuple[int, ...]) -> Moments:
    """Return the same moments by more phases."""
    if value.mass.shape == shape:
        return value
    times = tuple(more // less for more, less in zip(shape, value.mass.shape, strict=True))
    mean = np.tile(value.mean, (1, *times))
    for axis, (less, more) in enumerate(zip(value.mass.shape, shape, strict=True)):
        turns = (np.arange(more) // less * value.steps[axis]).astype(np.float64)
        mean[axis] += turns.reshape([-1 if other == axis else 1 for other in range(len(shape))])
    steps = tuple(step * n for step, n in zip(value.steps, times, strict=True))
    return _changed(value, np.tile(value.mass, times), mean, np.tile(value.variance, (1, *times)), steps)


def moments(compiled: Compiled, source: int, assumed: Assumed) -> dict[int, Value]:
    """Return the moments of every node that depends on ``source``, by node id."""
    return fold(compiled.layers, source, GradientMoments(compiled, source, assumed))
