"""Coverage as a domain: whether all features of a node together read the source from its first to its last position.

An op that reads a whole map reads the whole source just if that map does. A crop, a stride without padding or a kernel
that never gets to the last pixels leave an end out, and then the whole axis is a bound. A path is looked for on which
each op reads every position of its input, but for the end that does not matter. With sizes known, the ends of what the
features read are listed where there is no such path; without, the question is put at every size of one cycle.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from math import lcm

from rfgraph.algebra.window import Window
from rfgraph.errors import SizeError
from rfgraph.ops import Op, Size
from rfgraph.passes.compiled import Compiled
from rfgraph.passes.fold import Domain, fold

#: What is read: the first position, the last one, both along one path.
FIRST, LAST, BOTH = 1, 2, 4
EVERYTHING = FIRST | LAST | BOTH

#: Ops whose windows repeat only after more sizes than this are not tried at all of them.
MAX_SIZES = 1 << 10


class Covered(Domain[int]):
    """Which ends of the source all features of a node together surely read: ``FIRST | LAST | BOTH``."""

    start = EVERYTHING

    def __init__(self, compiled: Compiled, axis: int) -> None:
        self.layers, self.sizes, self.axis = compiled.layers, compiled.sizes, axis
        self.reads = compiled.reads[axis]
        self.known: dict[int, list[int]] = {}  # id of what nodes of one op and input sizes read -> ends by slot

    def through(self, v: int, slot: int, value: int) -> int | None:
        return value & self.edge(v, slot) or None

    def join(self, v: int, values: list[int]) -> int:
        ends = values[0]
        for value in values[1:]:
            ends |= value
        return ends

    def edge(self, v: int, slot: int) -> int:
        """Return which ends of the map in ``slot`` the features of ``v`` surely read, and all positions up to there."""
        ends = self.known.get(id(self.reads[v]))
        if ends is None:
            op = self.layers.ops[v][self.axis]
            sizes = tuple(self.sizes[tail][self.axis] for tail in self.layers.tails[v])
            ends = [read_ends(op, one, sizes) for one in range(len(sizes))]
            self.known[id(self.reads[v])] = ends
        return ends[slot]

    def is_whole(self, v: int, slot: int) -> bool:
        """Return whether the features of ``v`` surely read all of the map in ``slot``."""
        return self.edge(v, slot) == EVERYTHING

    @property
    def is_everything(self) -> bool:
        """Whether every op reads its inputs from their first to their last position, so that no walk is needed."""
        nodes = {id(reads): v for v, reads in enumerate(self.reads) if reads}  # one of each kind
        return all(self.is_whole(v, slot) for v in nodes.values() for slot in range(len(self.reads[v])))


def covered(compiled: Compiled, axis: int, source: int, nodes: Iterable[int]) -> defaultdict[int, int]:
    """Return which ends of ``source`` are read by all features of each of ``nodes`` together.

    Of a node that does not depend on ``source`` it says anything.
    """
    domain = Covered(compiled, axis)
    if domain.is_everything:
        return defaultdict(lambda: EVERYTHING)
    ends = defaultdict(int, fold(compiled.layers, source, domain))
    open_ended = [v for v in nodes if ends[v] != EVERYTHING]
    if open_ended and compiled.sizes[source][axis] is not None:
        from rfgraph.passes.extents import reads_ends  # numpy is imported when it is first needed

        for v, (first, last) in reads_ends(compiled, domain, source, open_ended).items():
            ends[v] = FIRST * first | LAST * last | BOTH * (first and last)
    return ends


def read_ends(op: Op, slot: int, sizes: tuple[Size, ...]) -> int:
    """Return which ends of an input are surely read by some output of ``op``, with every position up to the middle.

    Of sizes that are not known, that holds at all sizes from some size on.
    """
    if not op.reads_all:
        return 0
    if op.keeps_all:
        return EVERYTHING
    if None not in sizes:  # on a small map what reads one end may be what is left out at the other
        return EVERYTHING if _ends_at(op, slot, sizes) == EVERYTHING else 0
    if any(size not in (None, 1) for size in sizes):
        return 0
    cycle = lcm(op.cycle[0], op.window_cycle)
    if not 0 < cycle <= MAX_SIZES:
        return 0
    ends, begin = EVERYTHING, op.settles_at + 2 * cycle
    for size in range(begin, begin + cycle):
        ends &= _ends_at(op, slot, tuple(size if known is None else known for known in sizes))
        if not ends:
            break
    return ends


def _ends_at(op: Op, slot: int, sizes: tuple[Size, ...]) -> int:
    """Return the ends that are read of an input in ``slot``, of known sizes."""
    try:
        read, outputs = op.window(slot, sizes), op.size(sizes)
    except SizeError:
        return 0
    size = sizes[slot]
    if outputs is None or size is None or not read.exact:
        return 0
    if read.is_full:
        return EVERYTHING
    if not _leaves_no_gap(op, read, outputs):
        return 0
    begin, end = read.ends(0), read.ends(outputs - 1)
    if begin is None or end is None:
        return 0
    first = begin[0] is None or begin[0] <= 0
    last = end[1] is None or end[1] >= size - 1
    return FIRST * first | LAST * last | BOTH * (first and last)


def _leaves_no_gap(op: Op, read: Window, outputs: int) -> bool:
    """Return whether no position between the first and the last that any of ``outputs`` reads is read by none."""
    if read.side:
        return read.period == 1
    if op.skips or not read.seamless:
        return False
    return read.spacing == 1 or (read.period == 1 and read.step == 1 and 0 < read.spacing <= outputs)
