"""Holes: outputs whose receptive field skips positions, since which layer, and why."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from fractions import Fraction
from math import gcd

from rfgraph.algebra.window import as_number
from rfgraph.frozen import dataclass
from rfgraph.passes.compiled import Compiled
from rfgraph.passes.fold import folded
from rfgraph.passes.positions import Positions, PositionSet, TooManyPositionsError
from rfgraph.passes.results import Fields
from rfgraph.questions.findings import Finding, named_axes

#: Positions of all nodes together that are listed to look for holes; beyond, there may be holes and may be none.
MAX_LISTED = 1 << 31


@dataclass(frozen=True)
class Holes(Finding):
    """A layer whose receptive field skips positions between the first and the last one it reads.

    ``coverage`` is the share that is read along each of ``axes``, alike on all of them; ``None`` if there are too many
    positions to list, so that there may be holes and may be none. ``since`` is the first layer on the way that has any.

    Examples
    --------
    >>> from rfgraph import Network, analyze
    >>> net = Network("block", axes=1)
    >>> out = net.conv("conv", net.input("x"), kernel=2, dilation=3)
    >>> (finding,) = analyze(net).findings
    >>> finding.coverage, finding.size, finding.rates
    (Fraction(1, 2), 4, (3,))
    """

    coverage: Fraction | None
    size: int
    since: Hashable
    cause: str
    #: The dilation rates on the way, without 1.
    rates: tuple[int, ...]

    @property
    def message(self) -> str:
        """The finding in one sentence."""
        where = f"node {self.node!r}, {named_axes(self.axes)}: "
        if self.coverage is None:
            return f"{where}its field of {self.size} may have holes; it is too wide for them to be counted"
        share = f"{float(100 * self.coverage):.3g}%"
        cause = f": {self.cause}" if self.since == self.node else f", since {self.since!r}"
        return f"{where}it reads {share} of the {self.size} positions that its field spans{cause}"

    @property
    def advice(self) -> str:
        """What to do about it.

        References
        ----------
        Wang et al., Understanding Convolution for Semantic Segmentation, WACV 2018: rates without a common factor.
        """
        if not self.rates:
            return "nothing if it is meant; else use kernels at least as large as their strides"
        common = gcd(*self.rates)
        rates = ", ".join(map(str, self.rates))
        if common > 1 and len(self.rates) > 1:
            return f"dilation rates {rates} share the factor {common}: use rates without one, such as 1, 2, 5"
        verb = "rates" if len(self.rates) > 1 else "rate"
        return f"with dilation {verb} {rates}, convolve without dilation too, with a kernel as wide as the gaps"


@dataclass(frozen=True)
class _Hole:
    """Holes of one node along one axis; axes on which it is the same share a finding."""

    node: int
    coverage: Fraction | None
    size: int
    since: int
    cause: str
    rates: tuple[int, ...]


def find(compiled: Compiled, fields: Sequence[Fields], source: int, outputs: Sequence[int]) -> list[Finding]:
    """Return the holes of ``outputs``, and of the layers since which they have them."""
    axes_of: dict[_Hole, list[int]] = {}
    per_axis: list[list[_Hole]] = []
    for axis in range(len(compiled.layers.axes)):
        same = next((a for a in range(axis) if fields[a] is fields[axis]), None)
        per_axis.append(_holes(compiled, fields[axis], axis, source, outputs) if same is None else per_axis[same])
        for hole in per_axis[axis]:
            axes_of.setdefault(hole, []).append(axis)
    names = compiled.layers.nodes
    return [
        Holes(
            "RF006",
            names[hole.node],
            tuple(compiled.layers.axes[axis] for axis in axes),
            hole.coverage,
            hole.size,
            names[hole.since],
            hole.cause,
            hole.rates,
        )
        for hole, axes in sorted(axes_of.items(), key=lambda item: (item[0].node, item[1]))
    ]


def _holes(compiled: Compiled, fields: Fields, axis: int, source: int, outputs: Sequence[int]) -> list[_Hole]:
    local = fields.local
    flagged = [v for v in outputs if local[v].is_local and (local[v].holes or not local[v].exact)]
    if not flagged:
        return []
    since: dict[int, int] = {}  # node with holes -> the first of them on a way to it on which all have holes
    rates: dict[int, frozenset[int]] = {}
    holes: dict[int, PositionSet] = {}
    listed = 0
    rearranged: set[int] = set()
    try:
        for v, position_set in folded(compiled.layers, source, Positions(compiled, axis), flagged):
            listed += sum(marked[1].bit_length() for marked in position_set.phases if marked is not None)
            if listed > MAX_LISTED:
                raise TooManyPositionsError
            tails = [] if v == source else [tail for tail in compiled.layers.tails[v] if tail in rates]
            own = frozenset({compiled.layers.ops[v][axis].spacing} - {1})
            rates[v] = own.union(*(rates[tail] for tail in tails))
            if compiled.layers.ops[v][axis].rearranges or not rearranged.isdisjoint(tails):
                rearranged.add(v)
            elif position_set.has_holes:
                since[v] = next((since[tail] for tail in tails if tail in since), v)  # by slot, not by id
                if since[v] == v or v in flagged:
                    holes[v] = position_set
    except TooManyPositionsError:
        return [_Hole(v, None, local[v].size, v, "", ()) for v in flagged]
    told = {v for output in flagged if output in since for v in (since[output], output)}
    return [
        _Hole(
            v,
            _coverage(holes[v]),
            _size(holes[v]),
            since[v],
            _cause(compiled, fields, axis, since[v]),
            tuple(sorted(rates[v])),
        )
        for v in sorted(told)
    ]


def _coverage(position_set: PositionSet) -> Fraction:
    read = [bits for _, bits in (marked for marked in position_set.phases if marked is not None)]
    return Fraction(sum(bits.bit_count() for bits in read), sum(bits.bit_length() for bits in read))


def _size(position_set: PositionSet) -> int:
    return max(marked[1].bit_length() for marked in position_set.phases if marked is not None)


def _cause(compiled: Compiled, fields: Fields, axis: int, v: int) -> str:
    """Return why ``v`` has holes while all that it reads has none."""
    op, tails = compiled.layers.ops[v][axis], compiled.layers.tails[v]
    if len(tails) > 1:
        return "its branches read apart from each other"
    inner = fields.local[tails[0]]
    apart = as_number(op.spacing * Fraction(inner.stride))
    reads = f"{inner.size} position{'s' if inner.size > 1 else ''}"
    if op.spacing > 1:
        return f"dilation puts its taps {apart} apart, and each reads {reads}"
    return f"its taps lie {apart} apart, and each reads {reads}: a stride before is larger than what was read so far"
