"""What a sweep finds, block by block: the vectorised pass where it can answer, and the engine of record where not.

A ``Search`` holds all that a worker needs, and travels to it as it is.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from rfgraph.algebra.alignment import Mode
from rfgraph.algebra.window import FULL, as_number
from rfgraph.analysis import analyze
from rfgraph.errors import FieldError, SizeError
from rfgraph.frozen import dataclass
from rfgraph.graph.network import BatchNorm
from rfgraph.graph.sizes import InputSize
from rfgraph.sweeps import cost_plan as totals
from rfgraph.sweeps import vectorised
from rfgraph.sweeps.columns import (
    ALIGNMENT_UNKNOWN,
    BOUND,
    BY_SIZE,
    EXACT,
    FAILS,
    NONE,
    NOT_COUNTED,
    PER_AXIS,
    UNKNOWN,
    Columns,
    blank,
    joined,
    put,
    taken,
)
from rfgraph.sweeps.designs import Block, Blocks, Designs, Digit, Ints
from rfgraph.sweeps.expressions import Expression
from rfgraph.sweeps.plan import Plan
from rfgraph.sweeps.tape import Tape

#: Designs that are looked at together: those of a grid share most of their arrays, those of a sample have their own,
#: which should stay in the cache.
TOGETHER = 1 << 16
SAMPLED_TOGETHER = 1 << 14

#: Of so many designs that are kept all is worked out at once, whether they are among the best or not.
FEW = 1 << 10
#: If at least one in so many designs of a grid is kept, it costs less to work on the whole grid again.
SHARED = 8

#: The quantities that are asked for; ``None`` for all.
Names = frozenset[str] | None


@dataclass(frozen=True)
class Question:
    """What is asked of every design; the names are those of ``rfgraph.analyze``."""

    nodes: tuple[Hashable, ...]
    axes: tuple[str, ...]
    source: Hashable
    input_size: InputSize
    modes: tuple[Mode, ...]
    batch_norm: BatchNorm


@dataclass(frozen=True)
class Best:
    """The designs that are kept: the ``count`` of which ``cost`` is least."""

    cost: Expression
    count: int

    def of(self, columns: Columns) -> Columns:
        """Return the best of some designs, best first; the first of equals comes first."""
        value, known = self.cost.number(columns)
        places = np.flatnonzero(known)
        order = (
            np.lexsort((columns["position"][places], value[places]))
            if value.dtype != object
            else np.array(
                sorted(range(len(places)), key=lambda i: (value[places[i]], columns["position"][places[i]])),
                dtype=np.intp,
            )
        )
        return taken(columns, places[order[: self.count]])


@dataclass(frozen=True)
class Search:
    """A sweep made ready."""

    designs: Designs
    question: Question
    #: What the vectorised pass follows; without one, each design is analysed on its own, for the reason given.
    plan: Plan | None
    why_not: str
    #: Ids of the nodes that are asked for.
    ids: tuple[int, ...]
    costs: totals.CostPlan | None
    #: Parameters that the model holds and no layer reads.
    unread: int = 0
    #: For each axis, what compiled code follows, if there is enough to do for it.
    tapes: tuple[Tape | None, ...] = ()
    where: Expression | None = None
    best: Best | None = None

    def run(self, blocks: Blocks, number: int) -> tuple[Columns, Counts]:
        """Return what is found of the designs of a block that are kept, and how many there are of which sort."""
        parts: list[Columns] = []
        counts = Counts()
        for piece in blocks.pieces(number, SAMPLED_TOGETHER if self.designs.drawn else TOGETHER):
            columns, counted = self.kept_of(piece)
            parts.append(columns)
            counts += counted
        columns = joined(parts)
        return (columns if self.best is None or len(parts) == 1 else self.best.of(columns)), counts

    def kept_of(self, piece: Block) -> tuple[Columns, Counts]:
        """Return what is found of the designs of a piece that are kept, and how many there are of which sort.

        First only what decides about a design is worked out, and all of it of those that are kept.
        """
        where, best = self.where, self.best
        judge = where or (best.cost if best is not None else None)
        names = None if self.plan is None or judge is None else _named(judge)
        positions = np.arange(piece.start, piece.start + len(piece), dtype=np.int64)
        columns, alone = self.answer(positions, piece.shape, piece.digits, names)
        fails, kept = int((columns["status"][:, 0] == FAILS).sum()), len(piece)
        if where is not None:
            places = np.flatnonzero(where.condition(columns))
            columns, kept = taken(columns, places), len(places)
            if names is not None:
                names = None if best is None or kept <= FEW else _named(best.cost)
                columns = self.again(columns, piece, names, alone)
        if best is not None:
            columns = best.of(columns)
            if names is not None:
                columns = self.again(columns, piece, None, alone)
        return columns, Counts(len(piece), kept, alone, fails)

    def again(self, columns: Columns, piece: Block, names: Names, alone: int) -> Columns:
        """Return ``columns`` of some designs of a piece with other quantities; ``alone`` of it are done alone."""
        places = columns["position"] - piece.start
        if not len(places):
            return columns
        if alone or len(places) * SHARED < len(piece):
            return self.answer(columns["position"], places.shape, _picked(piece, places), names)[0]
        positions = np.arange(piece.start, piece.start + len(piece), dtype=np.int64)
        return taken(self.answer(positions, piece.shape, piece.digits, names)[0], places)

    def answer(
        self, positions: Ints, shape: tuple[int, ...], digits: Sequence[Digit], names: Names = None
    ) -> tuple[Columns, int]:
        """Return what is found of designs that vary along the dimensions of ``shape``, and how many were done alone.

        With ``names``, some of the columns that are not among them hold nothing.
        """
        count = len(positions)
        if self.plan is None:
            return self.alone(blank(count, len(self.ids), len(self.question.axes)), positions, np.arange(count))
        try:
            columns, left = self.together(shape, digits, names)
        except OverflowError:
            columns, left = blank(count, len(self.ids), len(self.question.axes)), np.arange(count)
        return self.alone(columns, positions, left)

    def together(self, shape: tuple[int, ...], digits: Sequence[Digit], names: Names) -> tuple[Columns, Any]:
        """Return what the vectorised pass finds, and which designs it leaves over."""
        assert self.plan is not None
        tapes = self.tapes if len(shape) == 1 else ()
        axes = vectorised.run(self.plan, digits, self.ids, self.question.modes, tapes)
        spread = vectorised.spread
        count = int(np.prod(shape, dtype=np.int64))
        columns = blank(count, len(self.ids), len(axes))
        flags = {
            name: vectorised.any_of([getattr(axis, name) for axis in axes])
            for name in ("fails", "misaligned", "left_over")
        }
        fails = spread(flags["fails"], shape, np.bool_)
        left = spread(flags["left_over"], shape, np.bool_) & ~fails
        columns["aligned"][:] = ~spread(flags["misaligned"], shape, np.bool_)
        for k in range(len(self.ids)):
            columns["status"][:, k] = EXACT
            for a, axis in enumerate(axes):
                same = next((b for b in range(a) if axes[b] is axis), None)
                if same is None:
                    self.fill(columns, k, a, axis, shape, names)
                    continue
                for name in PER_AXIS if names is None else names & set(PER_AXIS):
                    columns[name][:, k, a] = columns[name][:, k, same]
        costs = names is None or not names.isdisjoint(("parameters", "macs"))
        if costs and self.costs is not None and not (self.costs.no_parameters and self.costs.no_macs):
            sizes = [tuple(axis.sizes[v] for axis in axes) for v in range(len(self.costs.tails))]
            parameters, macs, fits = totals.run(self.costs, digits, sizes)
            known = spread(fits, shape, np.bool_)
            for name, total in (("parameters", parameters), ("macs", macs)):
                if total is not None:
                    counted = spread(total, shape, np.int64 if self.costs.safe else object)
                    columns[name] = counted if known.all() else np.where(known, counted, NOT_COUNTED)
        if fails.any():
            _fail(columns, fails)
        return columns, np.flatnonzero(left)

    def fill(
        self, columns: Columns, k: int, a: int, axis: vectorised.AxisFound, shape: tuple[int, ...], names: Names
    ) -> None:
        """Fill in what the pass found along one axis of one node."""
        assert self.plan is not None
        v, spread = self.ids[k], vectorised.spread
        is_global = self.plan.axes[self.plan.axis_of[a]].is_global[v]
        columns["is_global"][:, k, a] = is_global
        size, field, drift = axis.sizes[v], axis.fields[v], axis.drifts[v]
        if names is None or "map_size" in names:
            columns["map_size"][:, k, a] = NONE if size is None else spread(size, shape)
        if field is None:
            if not is_global:
                columns["status"][:, k] = UNKNOWN
            return
        if names is None or "r" in names:
            columns["r"][:, k, a] = spread(vectorised.width(field), shape)
        if names is None or "P" in names:
            columns["P"][:, k, a] = spread(-field.first[0], shape)
        if names is None or "S" in names:
            self.fill_strides(columns, k, a, field.period, spread(field.step, shape))
        if drift is not False:
            drifts = spread(drift, shape, np.bool_)
            columns["status"][drifts, k] = UNKNOWN
            for name in ("r", "S", "P"):
                columns[name][drifts, k, a] = NONE

    def fill_strides(self, columns: Columns, k: int, a: int, period: int, step: Ints) -> None:
        """Fill in the strides along one axis of one node, which steps so far in a period."""
        if period == 1:
            columns["S"][:, k, a] = step
        elif not (step % period).any():
            columns["S"][:, k, a] = step // period
        else:
            columns["S"] = columns["S"].astype(object)
            values, which = np.unique(step, return_inverse=True)
            exact = np.empty(len(values), dtype=object)
            exact[:] = [as_number(Fraction(int(value), period)) for value in values]
            columns["S"][:, k, a] = exact[which.reshape(-1)]

    def alone(self, columns: Columns, positions: Any, which: Any) -> tuple[Columns, int]:
        """Fill in what the engine of record says of some of the designs at ``positions``, one by one."""
        columns["position"][:] = positions
        for place in which.tolist():
            self.record(columns, place, int(positions[place]))
        return columns, len(which)

    def record(self, columns: Columns, place: int, position: int) -> None:
        """Fill in what the engine of record says of the design at ``position``."""
        question = self.question
        _fail(columns, place)
        try:
            report = analyze(
                self.designs.network(position),
                input_size=question.input_size,
                source=question.source,
                alignment=question.modes,
                batch_norm=question.batch_norm,
            )
            layers = [report[node] for node in question.nodes]
            aligned = report.aligned
        except SizeError:
            return
        columns["aligned"][place] = ALIGNMENT_UNKNOWN if aligned is None else int(aligned)
        for k, layer in enumerate(layers):
            # Numbers are judged: whether what reads on gets to the ends of the axis is for the report to tell.
            numbers = tuple(FULL if window.is_full else window for window in layer.field)
            status = {"exact": EXACT, "bound": BOUND, "unknown": UNKNOWN}[
                replace(layer, field=numbers, beyond=()).status
            ]
            fields = zip(layer.field, layer.by_size or (None,) * len(layer.field), strict=True)
            if status != UNKNOWN and any(table is not None for _, table in fields):
                status = BY_SIZE
            for a in range(len(question.axes)):
                columns["is_global"][place, k, a] = layer.is_global[a]
                put(columns, "map_size", (place, k, a), layer.map_size[a] or NONE)
                only = replace(
                    layer, axes=layer.axes[a : a + 1], field=layer.field[a : a + 1], by_size=layer.by_size[a : a + 1]
                )
                if layer.field[a].is_empty:
                    status = UNKNOWN
                for name, number in (("r", "size"), ("S", "stride"), ("P", "padding")):
                    try:
                        put(columns, name, (place, k, a), getattr(only, number)[0])
                    except FieldError:
                        continue
            columns["status"][place, k] = status
        costs = report.costs
        if all(costs[node].fits for node in costs):
            for name, total in (("parameters", costs.parameters), ("macs", costs.macs)):
                if total.complete:
                    put(columns, name, place, total.count + (self.unread if name == "parameters" else 0))


@dataclass(frozen=True)
class Counts:
    """How many designs there are of which sort."""

    seen: int = 0
    kept: int = 0
    #: Done one by one by the engine of record.
    alone: int = 0
    fail: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.seen + other.seen, self.kept + other.kept, self.alone + other.alone, self.fail + other.fail)


def _named(expression: Expression) -> frozenset[str]:
    """Return the quantities that an expression follows from."""
    names = frozenset(expression.names())
    return names | {"r"} if "P" in names else names  # without a field there is no padding


def _picked(block: Block, places: Ints) -> list[Digit]:
    """Return the digits of some designs of a block, by their places in it."""
    coordinates = np.unravel_index(places, block.shape)
    digits: list[Digit] = []
    for digit in block.digits:
        if isinstance(digit, int):
            digits.append(digit)
        else:
            at = tuple(place if length > 1 else 0 for place, length in zip(coordinates, digit.shape, strict=True))
            digits.append(np.broadcast_to(digit[at], places.shape))
    return digits


def _fail(columns: Columns, where: Any) -> None:
    """Note of some designs that they do not work."""
    for name in PER_AXIS:
        columns[name][where] = NONE
    columns["status"][where] = FAILS
    columns["aligned"][where] = ALIGNMENT_UNKNOWN
    for name in ("parameters", "macs"):
        columns[name] = columns[name] if columns[name].flags.writeable else columns[name].copy()
        columns[name][where] = NOT_COUNTED
