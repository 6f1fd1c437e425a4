"""Unread positions of the input: those that no feature of any output reads.

With the sizes of all maps known they are followed back from the outputs, map by map and cut at every border. Without
sizes only strides tell, and what is told holds modulo a period, away from the borders. First a path is looked for on
which every position is read; most networks have one, and then there is nothing to follow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from math import gcd

from rfgraph.algebra.runs import Runs
from rfgraph.algebra.window import IDENTITY, LARGEST, Window
from rfgraph.frozen import dataclass
from rfgraph.graph.network import OrderedNetwork
from rfgraph.ops import Size
from rfgraph.passes.compiled import Compiled
from rfgraph.passes.fold import Domain, between, fold_back
from rfgraph.passes.regions import covering, inputs_read
from rfgraph.questions.findings import Finding, named_axes

#: More positions than this are not listed, nor are patterns of a longer period followed.
MAX_POSITIONS = 1 << 22
MAX_PERIOD = 1 << 12

#: Ops that differ in themselves or in the sizes that they meet, up to which a path that reads all is looked for.
MAX_KINDS = 1 << 10

#: Runs of positions that messages name.
_NAMED = 6


@dataclass(frozen=True)
class Unread(Finding):
    """An input of which no feature of any output reads some positions along ``axes``.

    With ``modulus`` 0, ``positions`` are all of them, at the input size that was given. Else no size was given, and
    they are residues: positions of which none is read, whatever the size.

    Examples
    --------
    >>> from rfgraph import Network, analyze
    >>> net = Network("block", axes=1)
    >>> out = net.conv("conv", net.input("x", size=8), kernel=3, stride=3)
    >>> (finding,) = analyze(net).findings
    >>> finding.node, finding.positions
    ('x', (6, 7))
    """

    positions: tuple[int, ...]
    modulus: int = 0

    @property
    def message(self) -> str:
        """The finding in one sentence."""
        where = f"input {self.node!r}, {named_axes(self.axes)}: no feature of any output reads "
        if self.modulus:
            named = ", ".join(map(str, self.positions[:_NAMED])) + (", ..." if len(self.positions) > _NAMED else "")
            return f"{where}positions whose index mod {self.modulus} is {named}"
        runs = _runs(self.positions)
        named = ", ".join(runs[:_NAMED]) + (f" and {len(runs) - _NAMED} more runs" if len(runs) > _NAMED else "")
        return f"{where}position{'s' if len(self.positions) > 1 else ''} {named}"

    @property
    def advice(self) -> str:
        """What to do about it."""
        return "nothing if it is meant; else pad or crop the input, or use kernels at least as large as their strides"


def _runs(positions: Sequence[int]) -> list[str]:
    """Return how messages name positions that lie evenly: "1, 3, ..., 9" or "7 to 9" where there are more than two."""
    runs: list[list[int]] = []
    for position in positions:
        run = runs[-1] if runs else []
        if len(run) == 1 or (len(run) > 1 and position - run[-1] == run[1] - run[0]):
            run.append(position)
        else:
            runs.append([position])
    named: list[str] = []
    for run in runs:
        if len(run) < 3:
            named += map(str, run)
        elif run[1] == run[0] + 1:
            named.append(f"{run[0]} to {run[-1]}")
        else:
            named.append(f"{run[0]}, {run[1]}, ..., {run[-1]}")
    return named


def reads_all(layers: OrderedNetwork, sizes: Sequence[tuple[Size, ...]], source: int, outputs: Sequence[int]) -> bool:
    """Return whether there is a path from ``source`` to an output on whose ops every position of it is read.

    Then nothing is unread. The search follows each node once, and ends at the first such path. It is a shortcut: where
    almost every op meets maps of another size, as without padding, it gives up, and all that is read is followed.
    """
    everything = tuple((0, 0) for _ in layers.axes)
    known: dict[tuple[int, int, tuple[tuple[Size, ...], ...], Trimmed], Trimmed | None] = {}
    seen, stack = set(outputs), [(v, everything) for v in outputs]
    while stack:
        v, trimmed = stack.pop()
        if v == source and trimmed == everything:
            return True
        tails, ops = layers.tails[v], layers.ops[v]
        inputs = tuple([sizes[tail] for tail in tails])
        for slot, tail in enumerate(tails):
            if tail in seen or tail < source:
                continue
            key = (id(ops), slot, inputs, trimmed)
            if key not in known:
                if len(known) == MAX_KINDS:
                    return False
                reads = [op.reads(slot, [size[axis] for size in inputs]) for axis, op in enumerate(ops)]
                known[key] = _read_on(reads, inputs[slot], sizes[v], trimmed)
            if (reached := known[key]) is not None:
                seen.add(tail)
                stack.append((tail, reached))
    return False


#: How many positions at both ends of a map are not surely read, per axis; all between them are.
Trimmed = tuple[tuple[int, int], ...]


def _read_on(
    reads: Sequence[Window], inputs: tuple[Size, ...], outputs: tuple[Size, ...], trimmed: Trimmed
) -> Trimmed | None:
    """Return what is surely read of an input, from what is of the outputs; ``None`` if there may be gaps."""
    ends = []
    for read, size, count, (before, after) in zip(reads, inputs, outputs, trimmed, strict=True):
        if read.is_full and read.exact:
            ends.append((0, 0))
            continue
        if not read.is_local or not read.exact or read.period > 1 or read.intervals[0] is None:
            return None
        first, last = read.intervals[0]
        if read.step > 1 and (read.spacing != 1 or last - first + 1 < read.step):
            return None
        if size is None or count is None:
            ends.append((0, 0))
            continue
        begin, end = before, count - 1 - after
        if begin > end or not (read.spacing == 1 or 0 < read.spacing <= end - begin + 1):
            return None
        ends.append((max(begin * read.step + first, 0), max(size - 1 - end * read.step - last, 0)))
    return tuple(ends)


def find(
    layers: OrderedNetwork,
    sizes: Sequence[tuple[Size, ...]],
    compiled_if_needed: Callable[[], Compiled],
    source: int,
    outputs: Sequence[int],
) -> list[Finding]:
    """Return the positions of ``source`` that no feature of ``outputs`` reads, where that is known."""
    if reads_all(layers, sizes, source, outputs):
        return []
    compiled = compiled_if_needed()
    on_way = between(layers, source, outputs)
    if not on_way or not layers.ops[source][0].is_input:
        return []
    ends = [v for v in outputs if v in set(on_way)]
    axes_of: dict[tuple[tuple[int, ...], int], list[str]] = {}
    along = compiled.per_axis(
        lambda axis: _at_sizes(compiled, axis, on_way, ends) or _at_all_sizes(compiled, axis, on_way, ends)
    )
    for name, unread in zip(layers.axes, along, strict=True):
        if unread and unread[0]:
            axes_of.setdefault(unread, []).append(name)
    return [
        Unread("RF015", layers.nodes[source], tuple(axes), positions, modulus)
        for (positions, modulus), axes in axes_of.items()
    ]


Positions = tuple[tuple[int, ...], int]  # and their modulus, 0 where they are all that there are


def _at_sizes(compiled: Compiled, axis: int, on_way: Sequence[int], ends: Sequence[int]) -> Positions | None:
    """Return the unread positions; ``None`` where sizes are not known, or something on the way is not.

    So it is too where more are unread than can be listed.
    """
    source = on_way[0]
    if any(compiled.sizes[v][axis] is None or (v != source and not _is_known(compiled, v, axis)) for v in on_way):
        return None
    read = fold_back(compiled.layers, ends, _Needed(compiled, axis), to=source).get(source)
    size = compiled.sizes[source][axis] or 0
    if size - (read.count if read else 0) > MAX_POSITIONS:
        return None
    unread, end = list[int](), 0
    for first, last in read or ():
        unread += range(end, first)
        end = last + 1
    return (*unread, *range(end, size)), 0


def _is_known(compiled: Compiled, v: int, axis: int) -> bool:
    op, reads = compiled.layers.ops[v][axis], compiled.reads[axis][v]
    return not op.alternatives and not any(read.is_unknown for read in reads)


class _Needed(Domain[Runs]):
    """Which positions of a map some feature of an output reads; walked from the outputs, of which all are needed.

    Where they are too many runs to be followed, more count as read than are.
    """

    start = Runs.of(0, LARGEST)

    def __init__(self, compiled: Compiled, axis: int) -> None:
        self.axis = axis
        self.layers, self.reads, self.sizes = compiled.layers, compiled.reads[axis], compiled.sizes

    def through(self, v: int, slot: int, value: Runs) -> Runs | None:
        outputs = value.clipped(0, (self.sizes[v][self.axis] or 0) - 1)
        if outputs is None:
            return None
        size, read = self.sizes[self.layers.tails[v][slot]][self.axis] or 0, self.reads[v][slot]
        if read is IDENTITY:  # as most ops read
            return outputs.clipped(0, size - 1)
        return inputs_read(self.layers.ops[v][self.axis], read, outputs, size)[0]

    def join(self, v: int, values: list[Runs]) -> Runs:
        return covering(values)[0]


def _at_all_sizes(compiled: Compiled, axis: int, on_way: Sequence[int], ends: Sequence[int]) -> Positions | None:
    """Return the unread residues of a network of unknown size, ``None`` where they cannot be told."""
    layers, source = compiled.layers, on_way[0]
    if compiled.sizes[source][axis] is not None or not all(
        _is_known(compiled, v, axis) and not layers.ops[v][axis].joins for v in on_way[1:]
    ):
        return None
    modulus, bits = fold_back(layers, ends, _Residues(compiled, axis), to=source)[source]
    unread = tuple(residue for residue in range(modulus) if not bits >> residue & 1)
    return unread, modulus


Residues = tuple[int, int]  # a modulus, and the residues as bits

_ALL: Residues = (1, 1)


class _Residues(Domain[Residues]):
    """Which positions some feature of an output reads, modulo a period; borders are left out."""

    start = _ALL

    def __init__(self, compiled: Compiled, axis: int) -> None:
        self.compiled = compiled
        self.axis = axis

    def through(self, v: int, slot: int, value: Residues) -> Residues:
        read, op = self.compiled.reads[self.axis][v][slot], self.compiled.layers.ops[v][self.axis]
        modulus, bits = value
        if not read.is_local:
            return (1, 0) if read.is_empty or not bits else _ALL
        turns = modulus // gcd(modulus, read.period)
        period, onto = turns * read.period, turns * read.step
        if max(period, onto) > MAX_PERIOD:
            return _ALL
        read_bits = 0
        for y in range(period):
            if bits >> y % modulus & 1:
                taps = op.taps(read, y)
                for tap in taps if op.skips else taps[:onto]:  # evenly, they come round after so many
                    read_bits |= 1 << tap % onto
        return _shortest(onto, read_bits)

    def join(self, v: int, values: list[Residues]) -> Residues:
        return reduce(_either, values)


def _either(one: Residues, other: Residues) -> Residues:
    """Return the residues that are in one or the other."""
    modulus = one[0] * other[0] // gcd(one[0], other[0])
    if modulus > MAX_PERIOD:
        return _ALL
    return _shortest(modulus, _repeated(one, modulus) | _repeated(other, modulus))


def _repeated(residues: Residues, modulus: int) -> int:
    return sum(residues[1] << at for at in range(0, modulus, residues[0]))


def _shortest(modulus: int, bits: int) -> Residues:
    """Return the same residues with the least modulus."""
    for divisor in range(1, modulus + 1):
        if modulus % divisor == 0:
            shorter = divisor, bits & (1 << divisor) - 1
            if _repeated(shorter, modulus) == bits:
                return shorter
    return modulus, bits
