"""Moments as a domain: how much of a gradient each output lets through to the source, whereabouts, and how far spread.

Mass, mean and variance of every node take one pass, output phase by output phase, O((V + E) * T * k). With random
weights it is the recursion of the diagonal: mean squares of the gradient at single positions. It is exact unless an op
with fixed weights, or two paths without any, mix gradients that are not independent; where that may be, the result says
so, and ``rfgraph.passes.effective`` follows the whole covariance.

Results are float64. Masses carry an exponent of their own: a network of a thousand residual blocks has 2**1000 of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, reduce
from math import frexp, gcd, lcm, ldexp, prod
from operator import add
from typing import NamedTuple

import numpy as np

from rfgraph.algebra.window import Window
from rfgraph.passes.compiled import Compiled
from rfgraph.passes.fold import Domain, fold
from rfgraph.passes.weighing import Assumed, Floats, Step, TooManyTapsError, Weighing

#: Output phases over all axes, and pairs of phases along one, that are followed at most.
MAX_PHASES = 1 << 20

#: Coefficients between the phases of two maps that are kept for the next op alike, at most.
MAX_KEPT = 1 << 14


class Moments(NamedTuple):
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


@dataclass(frozen=True, slots=True)
class _Passage:
    """What an op does to all that is read through one of its slots, whatever that is."""

    #: Why nothing is known behind it.
    unknown: Unknown | None
    steps: tuple[Step | None, ...]
    spreads: bool
    overlaps: bool
    negative: bool
    #: Whether mean squares of gradients are followed through fixed weights.
    squared: bool
    #: Mass, mean and variance of its taps, where one output reads as any other, [A, 1, ...]; else ``None``.
    alone: tuple[float, Floats, Floats] | None


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
        self._sure: set[int] = set()  # ops, by ``id``, of which there is no doubt; a doubt names its node
        self._passages: dict[tuple[int, ...], _Passage | None] = {}
        self._matrices: dict[tuple[int, int, int], Floats] = {}
        self._strides: dict[tuple[int, ...], tuple[Floats, Floats]] = {}

    @cached_property
    def start(self) -> Value:
        ones = (1,) * self.axes
        zeros = np.zeros((self.axes, *ones))
        return Moments(np.ones(ones), zeros, zeros, ones)

    def through(self, v: int, slot: int, value: Value) -> Value | None:
        passage = self._passage(v, slot)
        if passage is None:
            return None
        if isinstance(value, Unknown):
            return value
        if passage.unknown is not None:
            return passage.unknown
        weighing = self.weighing
        doubt, mixes, squared = value.doubt, value.mixes, passage.squared
        if squared:
            if mixes and passage.spreads and not doubt:
                name = self.compiled.layers.describe(v)
                doubt = f"{name} and an op before it mix gradients that are not independent"
            mixes = mixes or passage.overlaps
        elif passage.negative and not weighing.squares and not doubt:
            doubt = f"{self.compiled.layers.describe(v)} has negative weights, which count as such"
        if passage.alone is not None and value.mass.size == 1:
            value = self._moved(passage, value)
        else:
            for axis, step in enumerate(passage.steps):
                if step is not None:
                    moved = self._along(axis, step, value, squared)
                    if moved is None:
                        return Unknown(f"{self.compiled.layers.describe(v, axis)} has too many output phases")
                    value = moved
        factor = weighing.scale(v, slot)
        if factor != 1:
            value = value._replace(mass=value.mass * factor)
        return value if (doubt, mixes) == (value.doubt, value.mixes) else value._replace(doubt=doubt, mixes=mixes)

    def _passage(self, v: int, slot: int) -> _Passage | None:
        """Return what an op does to what it reads, worked out once for all ops alike; ``None`` if that is left out."""
        reads = [of_axis[v][slot] for of_axis in self.compiled.reads]
        key = (id(self.compiled.layers.ops[v]), self.weighing.said(v), *map(id, reads))
        try:
            return self._passages[key]
        except KeyError:
            passage = self._passages[key] = self._made(v, slot, reads)
            return passage

    def _made(self, v: int, slot: int, reads: list[Window]) -> _Passage | None:
        if any(read.is_unbounded or read.is_empty for read in reads):
            return None
        layers, unknown = self.compiled.layers, None
        for axis, read in enumerate(reads):
            if read.is_unknown:
                unknown = unknown or Unknown(f"{layers.describe(v, axis)} is not known: {read.why}")
        if unknown is None and self.weighing.joint(v) is not None:
            unknown = Unknown(f"{layers.describe(v)}: its taps are given over all axes; give them per axis")
        steps: list[Step | None] = []
        for axis in range(self.axes if unknown is None else 0):
            try:
                steps.append(self.weighing.step(v, slot, axis))
            except TooManyTapsError:
                unknown = Unknown(f"{layers.describe(v, axis)} has too many taps to be listed")
                break
        there = [step for step in steps if step is not None]
        negative = any((phase.weights < 0).any() for step in there for phase in step.phases)
        spreads, overlaps = any(step.spreads for step in there), any(step.overlaps for step in there)
        squared = self.weighing.squares and not self.weighing.fresh(v)
        alone = None
        if unknown is None and there and all(len(step.phases) == 1 for step in there):
            numbers = [
                (1.0, 0.0, 0.0) if step is None else [n.item() for n in self._alone_on(step, squared, axis)]
                for axis, step in enumerate(steps)
            ]
            masses, means, variances = np.array(numbers).T
            shape = (-1, *(1,) * self.axes)
            alone = float(masses.prod()), means.reshape(shape), variances.reshape(shape)
        return _Passage(unknown, tuple(steps), spreads, overlaps, negative, squared, alone)

    def _moved(self, passage: _Passage, value: Moments) -> Moments:
        """Return what outputs have whose taps all lie alike, of what has one phase."""
        assert passage.alone is not None
        steps = value.steps
        if steps not in self._strides:
            strides = np.array(steps, dtype=np.float64).reshape(-1, *(1,) * self.axes)
            self._strides[steps] = strides, strides**2
        strides, squares = self._strides[steps]
        mass, mean, variance = passage.alone
        steps = tuple([s if step is None else s * step.step for s, step in zip(steps, passage.steps, strict=True)])
        means, variances = value.mean + strides * mean, value.variance + squares * variance
        return _changed(value, value.mass * mass, means, variances, steps)

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
        coefficients = self._coefficients(step, phases, stride, squared)
        center = value.mean.reshape(self.axes, -1).mean(axis=1).reshape(-1, *(1,) * self.axes)
        mean = value.mean - center  # moments about the centre keep their digits
        # All of them at once, [mass, first moments [A], second moments [A]], the phases along the axis last.
        held = np.concatenate([value.mass[None], value.mass * mean, value.mass * (value.variance + mean**2)]).swapaxes(
            axis + 1, -1
        )
        new = held @ coefficients[0]
        first, second = 1 + axis, 1 + self.axes + axis
        once = held[[0, first]] @ coefficients[1]
        new[first] += once[0]
        new[second] += 2 * once[1] + held[0] @ coefficients[2]
        new = new.swapaxes(axis + 1, -1)
        new_mass = new[0]
        nothing = new_mass == 0
        moments = np.where(nothing, 0, new[1:] / np.where(nothing, 1, new_mass))
        new_mean = moments[: self.axes]
        return _changed(value, new_mass, new_mean + center, moments[self.axes :] - new_mean**2, steps)

    def _coefficients(self, step: Step, phases: int, stride: int, squared: bool) -> Floats:
        """Return how phase p of what is read counts in output y, times how far it lies off to the power, [3, P, Y]."""
        key = (id(step), phases, stride)
        if key in self._matrices:
            return self._matrices[key]
        outputs = len(step.phases) * (phases // gcd(phases, step.step))
        moments = np.zeros((3, phases, outputs))
        for y in range(outputs):
            turn, phase = divmod(y, len(step.phases))
            read = step.phases[phase]
            weights = read.weights**2 if squared else read.weights
            turn_read, phase_read = np.divmod(read.positions + turn * step.step, phases)
            offset = turn_read * float(stride)
            for power in range(3):
                np.add.at(moments[power, :, y], phase_read, weights * offset**power)
        if moments.size <= MAX_KEPT:
            self._matrices[key] = moments
        return moments

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
        return joined._replace(gated=gated, merged=merged, doubt=doubt)

    def _doubt(self, v: int) -> str:
        key = id(self.compiled.layers.ops[v])
        doubt = "" if key in self._sure else self.weighing.doubt(v)
        if not doubt:
            self._sure.add(key)
        return doubt

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
        if prod(shape) == 1 and (joined := self._joined_alone(values)) is not None:
            return joined
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
            *_together(values),
        )

    def _joined_alone(self, values: list[Moments]) -> Moments | None:
        """Return the same of values of one phase each, number by number; ``None`` if their masses cancel out."""
        exponent = max(value.exponent for value in values)
        masses = [ldexp(value.mass.item(), value.exponent - exponent) for value in values]
        whole = sum(masses)
        if not whole:
            return None
        shares = [mass / whole for mass in masses]
        mean = reduce(add, [share * value.mean for share, value in zip(shares, values, strict=True)])
        variance = reduce(
            add,
            [share * (value.variance + (value.mean - mean) ** 2) for share, value in zip(shares, values, strict=True)],
        )
        share, shift = frexp(whole)
        mass = np.full((1,) * self.axes, share)
        return Moments(mass, mean, variance, values[0].steps, exponent + shift, *_together(values))


def _together(values: list[Moments]) -> tuple[str, bool, bool, bool]:
    """Return what is to be said of several: a doubt, and whether any mixes, is gated or merged."""
    return (
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
