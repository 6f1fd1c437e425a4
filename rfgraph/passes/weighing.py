"""What effective fields assume of weights: the numbers that a gradient is multiplied by on its way through each op.

Two kinds of networks are told apart. Where all weights are *fixed* numbers, the gradient ``g`` itself is followed.
Where some are *random*, independent and of mean zero, its mean square is, and a random op makes what it hands on
independent of all else. Numbers are floats here: the field itself is exact, how strongly it is felt need not be.

References
----------
Luo, Li, Urtasun, Zemel, Understanding the effective receptive field in deep convolutional neural networks, NIPS 2016.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import field
from functools import cached_property
from typing import Any, Literal, TypeGuard, cast, get_args

import numpy as np
from numpy.typing import NDArray

from rfgraph.algebra.window import Window
from rfgraph.errors import AttributeValueError, UnknownNodeError
from rfgraph.frozen import dataclass
from rfgraph.graph.treatments import matches, modules
from rfgraph.ops import Op, near
from rfgraph.ops.base import even_weights
from rfgraph.ops.pointwise import GATES, LINEAR
from rfgraph.passes.compiled import Compiled

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: How taps weigh: independent and random, all the same, the first and last alone, or more the farther out they lie.
Word = Literal["random", "uniform", "corners", "outside-large"]
#: A word for all, or per pattern of node and op names a word or taps: one list for every axis, or one array over axes.
Weights = Word | Mapping[str, Any]
#: The factor of ReLUs, or factors by pattern of node and op names.
Gate = float | Mapping[str, float]

#: Taps of one op over all its phases that are listed at most.
MAX_TAPS = 1 << 20


@dataclass(frozen=True)
class Assumed:
    """What is assumed of a network, as ``Report.effective_field`` takes it; ``skips``: factors by (node id, slot)."""

    weights: Weights = "random"
    gate: Gate = 0.5
    skips: Mapping[tuple[int, int], float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Phase:
    """What one output reads: positions, their weights, and which taps of the kernel read them, [taps] each."""

    positions: Ints
    weights: Floats
    taps: Ints


@dataclass(frozen=True, slots=True)
class Step:
    """How an op weighs what it reads on one axis: output ``y`` as ``phases[y % T]``, moved by ``step * (y // T)``."""

    phases: tuple[Phase, ...]
    step: int

    @property
    def spreads(self) -> bool:
        """Whether some output reads several positions."""
        return any(len(phase.positions) > 1 for phase in self.phases)

    @property
    def overlaps(self) -> bool:
        """Whether some position is read by several outputs."""
        positions = np.concatenate([phase.positions for phase in self.phases]) % self.step
        return len(np.unique(positions)) < len(positions)


class TooManyTapsError(Exception):
    """An op has more than ``MAX_TAPS``; whoever asked says so."""


class Weighing:
    """What a gradient is multiplied by, op by op.

    Raises
    ------
    AttributeValueError
        If a word is not known, taps are not those of the kernel, or a factor is negative.
    UnknownNodeError
        If a pattern fits nothing.
    """

    def __init__(self, compiled: Compiled, assumed: Assumed) -> None:
        self.compiled = compiled
        self.skips = assumed.skips
        layers = compiled.layers
        self._steps: dict[tuple[int, int, int, int], Step | None] = {}
        self._words: dict[int, Any] = {}  # node id -> what is said of its taps, where that is not the default
        self._default = "uniform"
        if isinstance(assumed.weights, str):
            self._default = _checked(assumed.weights)
        else:
            learned = [v for v, ops in enumerate(layers.ops) if ops[0].learned_taps]
            self._words = _by_pattern(layers.nodes, layers.kinds, learned, assumed.weights, "weights")
        numbers = {v: said for v, said in self._words.items() if not isinstance(said, str)}
        self._taps: dict[int, list[Floats] | Floats] = {v: self._read_taps(v, said) for v, said in numbers.items()}
        for said in self._words.values():
            if isinstance(said, str):
                _checked(said)
        #: Whether some weights are random, so that mean squares are followed.
        self.squares = self._default == "random" or "random" in [w for w in self._words.values() if isinstance(w, str)]
        self._stated: dict[int, Any] = {}  # node id -> the factor that is said of it
        if isinstance(assumed.gate, Mapping):
            self._gate = 0.5 if self.squares else 1.0
            everything = list(range(len(layers.nodes)))
            self._stated = _by_pattern(layers.nodes, layers.kinds, everything, assumed.gate, "gate")
        else:
            self._gate = float(assumed.gate) if self.squares else 1.0
        for factor in [*self._stated.values(), *([] if isinstance(assumed.gate, Mapping) else [assumed.gate])]:
            if not isinstance(factor, (int, float)) or not 0 <= factor < float("inf"):
                raise AttributeValueError(f"gate {factor!r} is not a number from 0 up; 0.5 is half of all values")

    def _read_taps(self, v: int, said: Any) -> list[Floats] | Floats:
        """Return the taps given for a node: one array per axis, or one over all axes."""
        ops, name = self.compiled.layers.ops[v], self.compiled.layers.describe(v)
        kernel = tuple(op.learned_taps for op in ops)
        try:
            taps = np.asarray(said, dtype=np.float64)
        except (TypeError, ValueError):
            raise AttributeValueError(f"{name}: weights {said!r} are neither numbers nor {_listed()}") from None
        if not np.isfinite(taps).all():
            raise AttributeValueError(f"{name}: weights {said!r} are not finite numbers")
        if taps.ndim == 1 and all(len(taps) == size for size in kernel):
            return [taps] * len(kernel)
        if taps.shape == kernel:
            return taps
        raise AttributeValueError(
            f"{name}: weights of shape {list(taps.shape)} do not fit its kernel {list(kernel)}; give one list for "
            "every axis, or an array of that shape"
        )

    @cached_property
    def kinds(self) -> list[int]:
        """Return a number for each node, [V]: the same of nodes that weigh alike what they read, on every axis."""
        layers, numbers = self.compiled.layers, dict[Hashable, int]()
        reads = list({id(of_axis): of_axis for of_axis in self.compiled.reads}.values())
        own = {*self._words, *self._stated, *(v for v, _ in self.skips)}  # of which something is said by itself
        said = [v if v in own else -1 for v in range(len(layers.nodes))]
        keys = zip(layers.kinds, map(id, layers.ops), said, *(map(id, of_axis) for of_axis in reads), strict=True)
        return [numbers.setdefault(key, len(numbers)) for key in keys]

    def said(self, v: int) -> int:
        """Return what tells a node apart whose taps are weighed in a way of its own: its id, -1 for all others."""
        return v if v in self._words else -1

    def joint(self, v: int) -> Floats | None:
        """Return the taps of a node over all axes at once, [kernel], where they were given so."""
        if v not in self._taps or isinstance(self._taps[v], list):
            return None
        return cast("Floats", self._taps[v])

    def fresh(self, v: int) -> bool:
        """Return whether what a node hands on knows nothing of anything else: its taps have random weights."""
        if not self.squares:
            return False
        ops = self.compiled.layers.ops[v]
        if ops[0].learned_taps:
            said = self._words.get(v, self._default)
            return isinstance(said, str) and said == "random"
        return any(op.weighs_anew for op in ops)

    def meetings(self, source: int) -> set[int]:
        """Return the nodes at which an edge without random weights closes a circle of such edges.

        Only there can two paths without random weights meet. Channels that are stacked have weights of their own.
        """
        layers = self.compiled.layers
        parent = list(range(len(layers.tails)))
        known: dict[int, tuple[bool, bool]] = {}

        def root(v: int) -> int:
            while parent[v] != v:
                parent[v] = parent[parent[v]]
                v = parent[v]
            return v

        meetings: set[int] = set()
        for v, (kind, tails) in enumerate(zip(self.kinds, layers.tails, strict=True)):
            if kind not in known:
                known[kind] = self.fresh(v), any(op.stacks for op in layers.ops[v])
            fresh, stacks = known[kind]
            if fresh or v <= source:
                continue
            one = v
            for tail in tails:
                if tail < source:
                    continue
                other = root(tail)
                if one == other and not stacks:
                    meetings.add(v)
                parent[one] = one = other
        return meetings

    def step(self, v: int, slot: int, axis: int) -> Step | None:
        """Return how node ``v`` weighs what it reads through ``slot`` along an axis, ``None`` for its own position.

        Where ``fresh``, weights are the mean squares of its taps, and the weights themselves elsewhere.

        Raises
        ------
        TooManyTapsError
            If it has too many taps.
        """
        op, read = self.compiled.layers.ops[v][axis], self.compiled.reads[axis][v][slot]
        key = (id(op), id(read), axis, self.said(v))
        if key not in self._steps:
            self._steps[key] = self._step(v, op, read, axis)
        return self._steps[key]

    def _step(self, v: int, op: Op, read: Window, axis: int) -> Step | None:
        if read.period == read.step == 1 and read.intervals == ((0, 0),) and not op.learned_taps:
            return None
        ends = [end for interval in read.intervals if interval is not None for end in interval]
        if read.size // op.spacing * read.period > MAX_TAPS or max(map(abs, ends), default=0) >> 62:
            raise TooManyTapsError
        profile = self._profile(v, op, axis)
        return Step(tuple(_phase(op, read, y, profile) for y in range(read.period)), read.step)

    def _profile(self, v: int, op: Op, axis: int) -> Floats | None:
        """Return how much each tap of a learned kernel weighs against their mean; ``None`` if all weigh the same."""
        if not op.learned_taps:
            return None
        taps = self._taps.get(v)
        if isinstance(taps, list):
            read = op.kernel_taps(self.compiled.reads[axis][v][0], 0)
            assert read is not None
            return taps[axis] / float(read[1])
        out = np.abs(2 * np.arange(op.learned_taps) - (op.learned_taps - 1)).astype(np.float64)
        word = "joint" if taps is not None else self._words.get(v, self._default)
        if word == "corners":
            out = (out == out.max()).astype(np.float64)
        elif word == "outside-large":
            out += 1
        else:
            return None
        mean: float = out.mean()
        return out / mean

    def scale(self, v: int, slot: int) -> float:
        """Return the factor that a node multiplies by besides: that of gates, means and skips."""
        layers = self.compiled.layers
        factor = float(self._stated.get(v, self._gate if layers.kinds[v] in GATES else 1.0))
        if layers.ops[v][0].averages:
            factor /= len(layers.tails[v]) ** (2 if self.squares else 1)
        return factor * self.skips.get((v, slot), 1.0) if self.skips else factor

    def is_gate(self, v: int) -> bool:
        """Return whether a node lets some values through and others not, and mean squares are followed."""
        return self.squares and self.compiled.layers.kinds[v] in GATES

    def doubt(self, v: int) -> str:
        """Return why what is assumed of a node is no more than a model of it; "" if it is exact."""
        layers = self.compiled.layers
        if any(op.picks for op in layers.ops[v]):
            return f"{layers.describe(v)} is taken to pick each of its taps as often as any other"
        linear = layers.kinds[v] in LINEAR or all(op.has_fixed_weights() for op in layers.ops[v])
        if not linear and layers.kinds[v] not in GATES:
            return f"{layers.describe(v)} is taken to have the same derivative everywhere, which its values decide"
        if any(not op.reads_all or op.alternatives for op in layers.ops[v]):
            return f"{layers.describe(v)} may read less than all that it could"
        for axis, op in enumerate(layers.ops[v]):
            for read in self.compiled.reads[axis][v]:
                if read.is_unbounded:
                    return (
                        f"{layers.describe(v, axis)} reads the whole axis, or on to an end of it: that path is left out"
                    )
                if read.is_local and (read.size > 1 or read.period > 1) and not _is_told(op, read):
                    return f"{layers.describe(v, axis)}: its weights are taken to be all the same"
        return ""


def _is_told(op: Op, read: Window) -> bool:
    y = next(y for y, interval in enumerate(read.intervals) if interval is not None)
    return op.weights(read, y) is not None or op.kernel_taps(read, y) is not None or len(op.taps(read, y)) == 1


def _phase(op: Op, read: Window, y: int, profile: Floats | None) -> Phase:
    positions = op.taps(read, y)
    if not positions:
        return Phase(*(np.zeros(0, dtype=kind) for kind in (np.int64, np.float64, np.int64)))  # type: ignore[arg-type]
    told = op.weights(read, y)
    kernel = op.kernel_taps(read, y) if told is None else None
    if kernel is not None:
        taps = np.asarray(kernel[0], dtype=np.int64)
        weights = np.full(len(taps), float(kernel[1]))
        return Phase(
            np.asarray(positions, dtype=np.int64), weights if profile is None else weights * profile[taps], taps
        )
    told = told or even_weights(positions)
    weights = np.array([float(weight) for weight in told.values()])
    return Phase(np.array(list(told), dtype=np.int64), weights, np.zeros(len(told), dtype=np.int64))


def _by_pattern(
    nodes: Sequence[Hashable], kinds: Sequence[str], of: Sequence[int], said: Mapping[str, Any], what: str
) -> dict[int, Any]:
    """Return what is said of each node ``of`` these that some pattern fits: by the first."""
    weighings: dict[int, Any] = {}
    idle = dict.fromkeys(said)
    for v in of:
        names = (str(nodes[v]), kinds[v], *modules(str(nodes[v])))
        for pattern, value in said.items():
            if matches(pattern, names):
                idle.pop(pattern, None)
                weighings.setdefault(v, value)
    for pattern in idle:
        hint = near(pattern, [*(str(nodes[v]) for v in of), *{kinds[v] for v in of}])
        raise UnknownNodeError(f"{what} pattern {pattern!r} fits no node of these and no op{hint}")
    return weighings


def _is_word(word: str) -> TypeGuard[Word]:
    return word in get_args(Word)


def _checked(word: str) -> Word:
    if not _is_word(word):
        raise AttributeValueError(f"weights {word!r} is not one of {_listed()}")
    return word


def _listed() -> str:
    return ", ".join(get_args(Word))
