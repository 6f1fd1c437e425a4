"""Moments as a domain: how much of a gradient each output lets through to the source, whereabouts, and how far spread.

Mass, mean and variance of every node take one pass, output phase by output phase, O((V + E) * T * k). With random
weights it is the recursion of the diagonal: mean squares of the gradient at single positions. It is exact unless an op
with fixed weights, or two paths without any, mix gradients that are not independent; where that may be, the result says
so, and ``rfgraph.passes.effective`` follows the whole covariance.

Results are float64. Masses carry an exponent of their own: a network of a thousand residual blocks has 2**1000 of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from functools import cached_property
from math import frexp, gcd, lcm, ldexp, prod
from operator import add, mul
from typing import NamedTuple

import numpy as np

from rfgraph.frozen import dataclass
from rfgraph.passes.compiled import Compiled
from rfgraph.passes.fold import Domain, fold
from rfgraph.passes.weighing import Assumed, Floats, Step, TooManyTapsError, Weighing

#: Output phases over all axes, and pairs of phases along one, that are followed at most.
MAX_PHASES = 1 << 20

#: Coefficients between the phases of two maps that are kept for the next op alike, at most.
MAX_KEPT = 1 << 14


class Notes(NamedTuple):
    """What is to be said of moments besides."""

    #: Why they are no more than an approximation; "" if they are exact.
    doubt: str = ""
    #: Whether some op on the way reads a position by several outputs with fixed weights, so that covariances matter.
    mixes: bool = False
    #: Whether some gate is on the way, and some merge.
    gated: bool = False
    merged: bool = False


class Moments(NamedTuple):
    """Mass, mean and variance of the gradient of output ``y``, by its phase on each axis; ``T`` phases, A axes.

    Outputs ``T`` apart have the same, moved by ``steps``. The mass is ``mass * 2**exponent``.
    """

    mass: Floats  # [*T]
    mean: Floats  # [A, *T], indices of the source
    variance: Floats  # [A, *T]
    steps: tuple[int, ...]
    exponent: int
    notes: Notes


class Alone(NamedTuple):
    """The same where every output has what any other has, as in all networks that do not upsample: plain numbers."""

    mass: float
    spread: tuple[float, ...]  # [2 * A], the mean on each axis and then the variance on each
    steps: tuple[int, ...]
    exponent: int
    notes: Notes

    @property
    def by_phase(self) -> Moments:
        """The same as arrays."""
        ones = (1,) * len(self.steps)
        mean, variance = np.array(self.spread).reshape(2, -1, *ones)
        return Moments(np.full(ones, self.mass), mean, variance, self.steps, self.exponent, self.notes)


@dataclass(frozen=True, slots=True)
class Unknown:
    """No moments, and why."""

    why: str


Value = Alone | Moments | Unknown

#: Masses are kept between this and its inverse; what is beyond goes into their exponents.
_LARGE = 2.0**256


@dataclass(frozen=True, slots=True)
class _Passage:
    """What an op does to all that is read through one of its slots, whatever that is."""

    #: Why nothing is known behind it.
    unknown: Unknown | None
    steps: tuple[Step | None, ...]
    factor: float
    #: Whether each output has what its own position has.
    stays: bool
    spreads: bool
    overlaps: bool
    negative: bool
    #: Whether mean squares of gradients are followed through fixed weights.
    squared: bool
    #: Whether what is said of what it hands on may differ from what is said of what it reads.
    noted: bool
    #: Mass, and mean and variance on each axis, of its taps, where one output reads as any other; else ``None``.
    alone: tuple[float, list[float], list[float]] | None
    #: By the steps of what is read: how far its spread moves, and the steps of what is handed on.
    moves: dict[tuple[int, ...], tuple[tuple[float, ...], tuple[int, ...]]] = field(default_factory=dict)


class GradientMoments(Domain[Value]):
    """The moments of every node at one source."""

    def __init__(self, compiled: Compiled, source: int, assumed: Assumed) -> None:
        self.compiled = compiled
        self.weighing = Weighing(compiled, assumed)
        self.axes = len(compiled.layers.axes)
        self.source = source
        #: Nodes at which paths without random weights meet that part again towards the source.
        self.meets = self.weighing.meetings(source) if self.weighing.squares else set()
        self._kinds = self.weighing.kinds
        self._alone: dict[int, tuple[Floats, Floats, Floats]] = {}
        self._known: dict[int, tuple[bool, bool]] = {}
        self._passages: dict[tuple[int, int], _Passage | None] = {}
        self._matrices: dict[tuple[int, int, int], Floats] = {}

    @cached_property
    def start(self) -> Value:
        return Alone(1.0, (0.0,) * 2 * self.axes, (1,) * self.axes, 0, Notes())

    def through(self, v: int, slot: int, value: Value) -> Value | None:
        key = self._kinds[v], slot
        try:
            passage = self._passages[key]
        except KeyError:
            passage = self._passages[key] = self._made(v, slot)
        if passage is None:
            return None
        if isinstance(value, Unknown):
            return value
        if passage.unknown is not None:
            return passage.unknown
        if passage.stays:
            moved: Value = value
        elif isinstance(value, Alone) and passage.alone is not None:
            moved = self._moved(v, passage, value)
        else:
            moved = self._by_phase(v, passage, value.by_phase if isinstance(value, Alone) else value)
        if not passage.noted or isinstance(moved, Unknown):
            return moved
        notes = self._noted(v, passage, value.notes)
        return moved if notes is value.notes else moved._replace(notes=notes)

    def _noted(self, v: int, passage: _Passage, notes: Notes) -> Notes:
        """Return what is to be said behind node ``v`` of what ``notes`` are said of."""
        doubt, mixes = notes.doubt, notes.mixes
        if passage.squared:
            if mixes and passage.spreads and not doubt:
                name = self.compiled.layers.describe(v)
                doubt = f"{name} and an op before it mix gradients that are not independent"
            mixes = mixes or passage.overlaps
        elif passage.negative and not self.weighing.squares and not doubt:
            doubt = f"{self.compiled.layers.describe(v)} has negative weights, which count as such"
        return notes if (doubt, mixes) == notes[:2] else notes._replace(doubt=doubt, mixes=mixes)

    def _made(self, v: int, slot: int) -> _Passage | None:
        """Return what an op does to what it reads, worked out once for all ops alike; ``None`` if that is left out."""
        reads = [of_axis[v][slot] for of_axis in self.compiled.reads]
        if any(read.is_unbounded or read.is_empty for read in reads):
            return None
        layers, unknown = self.compiled.layers, None
        for axis, read in enumerate(reads):
            if read.is_unknown:
                unknown = unknown or Unknown(f"{layers.describe(v, axis)} is not known: {read.why}")
            elif read.step >> 62:
                unknown = unknown or Unknown(f"{layers.describe(v, axis)}: its stride is larger than what is followed")
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
        alone, factor = None, self.weighing.scale(v, slot)
        if unknown is None and all(len(step.phases) == 1 for step in there):
            numbers = [
                (1.0, 0.0, 0.0) if step is None else [n.item() for n in self._alone_on(step, squared, axis)]
                for axis, step in enumerate(steps)
            ]
            masses, means, variances = np.array(numbers).T.tolist()
            alone = prod(masses) * factor, means, variances
        stays, noted = not there and factor == 1, (squared and (spreads or overlaps)) or negative
        return _Passage(unknown, tuple(steps), factor, stays, spreads, overlaps, negative, squared, noted, alone)

    def _moved(self, v: int, passage: _Passage, value: Alone) -> Value:
        """Return what outputs have whose taps all lie alike, of what has one phase."""
        assert passage.alone is not None
        own, means, variances = passage.alone
        if value.steps not in passage.moves:
            try:
                strides = [float(step) for step in value.steps]
            except OverflowError:
                return Unknown(
                    f"{self.compiled.layers.describe(v)}: the stride of what it reads is larger than any float"
                )
            shifts = [stride * mean for stride, mean in zip(strides, means, strict=True)]
            spreads = [stride * stride * variance for stride, variance in zip(strides, variances, strict=True)]
            steps = [s if step is None else s * step.step for s, step in zip(value.steps, passage.steps, strict=True)]
            passage.moves[value.steps] = (*shifts, *spreads), tuple(steps)
        moves, steps_on = passage.moves[value.steps]
        mass, exponent = value.mass * own, value.exponent
        if mass and not 1 / _LARGE < abs(mass) < _LARGE:
            mass, shift = frexp(mass)
            exponent += shift
        return Alone(mass, tuple(map(add, value.spread, moves)), steps_on, exponent, value.notes)

    def _by_phase(self, v: int, passage: _Passage, value: Moments) -> Moments | Unknown:
        """Return what outputs have of ``value``, phase by phase."""
        for axis, step in enumerate(passage.steps):
            if step is not None:
                moved = self._along(axis, step, value, passage.squared)
                if moved is None:
                    return Unknown(f"{self.compiled.layers.describe(v, axis)} has too many output phases")
                value = moved
        return value if passage.factor == 1 else value._replace(mass=value.mass * passage.factor)

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
        if len(values) == 1:
            joined = values[0]
        else:
            unknown = next((value for value in values if isinstance(value, Unknown)), None)
            joined = unknown or self._joined(v, [value for value in values if not isinstance(value, Unknown)])
        if isinstance(joined, Unknown):
            return joined
        notes = self._joined_notes(v, joined.notes, len(values) > 1)
        return joined if notes is joined.notes else joined._replace(notes=notes)

    def _joined_notes(self, v: int, notes: Notes, merges: bool) -> Notes:
        """Return what is to be said of node ``v``, of whose inputs together ``notes`` are said."""
        doubt, mixes, gated, merged = notes
        gates, sure = self._said(v)
        if (doubt or (sure and v not in self.meets)) and (gated or not gates) and (merged or not merges):
            return notes
        gated, merged = gated or gates, merged or merges
        doubt = doubt or self.weighing.doubt(v)
        if not doubt and v in self.meets:
            doubt = f"{self.compiled.layers.describe(v)}: paths without random weights meet there that part again"
        if not doubt and gated and merged:
            doubt = f"{self.compiled.layers.describe(v)}: gates are taken as independent, and some path goes round one"
        return Notes(doubt, mixes, gated, merged)

    def _said(self, v: int) -> tuple[bool, bool]:
        """Return whether nodes of the kind of ``v`` are gates, and whether there is no doubt of them."""
        kind = self._kinds[v]
        if kind not in self._known:
            self._known[kind] = self.weighing.is_gate(v), not self.weighing.doubt(v)
        return self._known[kind]

    def _joined(self, v: int, values: list[Alone | Moments]) -> Value:
        alone = [value for value in values if isinstance(value, Alone)]
        if len(alone) == len(values) and all(value.steps == values[0].steps for value in values):
            joined = _joined_alone(alone)
            if joined is not None:
                return joined
        arrays = [value.by_phase if isinstance(value, Alone) else value for value in values]
        shape = tuple(lcm(*(value.mass.shape[axis] for value in arrays)) for axis in range(self.axes))
        if prod(shape) > MAX_PHASES:
            return Unknown(f"{self.compiled.layers.describe(v)} has too many output phases")
        for axis in range(self.axes):
            strides = {value.steps[axis] * (shape[axis] // value.mass.shape[axis]) for value in arrays}
            if len(strides) > 1:
                return Unknown(
                    f"{self.compiled.layers.describe(v, axis)}: its inputs differ in effective stride and drift apart"
                )
        arrays = [_tiled(value, shape) for value in arrays]
        exponent = max(value.exponent for value in arrays)
        masses = np.array([np.ldexp(value.mass, value.exponent - exponent) for value in arrays])
        mass = masses.sum(axis=0)
        safe = np.where(mass == 0, 1, mass)
        shares = masses[:, None] / safe
        means = np.array([value.mean for value in arrays])
        mean = (shares * means).sum(axis=0)
        variance = (shares * (np.array([value.variance for value in arrays]) + (means - mean) ** 2)).sum(axis=0)
        most = float(np.abs(mass).max())
        shift = int(np.frexp(most)[1]) if most else 0
        return Moments(np.ldexp(mass, -shift), mean, variance, arrays[0].steps, exponent + shift, _together(values))


def _joined_alone(values: list[Alone]) -> Alone | None:
    """Return the same of values of one phase each, number by number; ``None`` if their masses cancel out."""
    exponent = max([value.exponent for value in values])
    masses = [ldexp(value.mass, value.exponent - exponent) for value in values]
    whole = sum(masses)
    if not whole:
        return None
    shares = [mass / whole for mass in masses]
    axes = len(values[0].steps)
    means, variances = [], []
    for axis in range(axes):
        of_axis = [value.spread[axis] for value in values]
        mean = sum(map(mul, shares, of_axis))
        variances.append(
            sum(
                [
                    share * (value.spread[axes + axis] + (own - mean) ** 2)
                    for share, own, value in zip(shares, of_axis, values, strict=True)
                ]
            )
        )
        means.append(mean)
    share, shift = frexp(whole)
    return Alone(share, (*means, *variances), values[0].steps, exponent + shift, _together(values))


def _together(values: Sequence[Alone | Moments]) -> Notes:
    """Return what is to be said of several together."""
    notes = values[0].notes
    if all(value.notes is notes for value in values):
        return notes
    return Notes(
        next((value.notes.doubt for value in values if value.notes.doubt), ""),
        any(value.notes.mixes for value in values),
        any(value.notes.gated for value in values),
        any(value.notes.merged for value in values),
    )


def _changed(value: Moments, mass: Floats, mean: Floats, variance: Floats, steps: tuple[int, ...]) -> Moments:
    """Return other numbers of which the same is to be said."""
    return Moments(mass, mean, variance, steps, value.exponent, value.notes)


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
