"""The pass over a sample or a list of designs in compiled code: nodes times designs, a few hundred designs at a time.

Designs of a grid share most of their work, and arrays that broadcast make use of that; those of a sample share
nothing, and numpy goes through memory once for every addition. Here a few hundred designs stay in the cache from the
first node to the last. The plan of an axis becomes a *tape*: one row of integers per read, and slots for fields that
are used again once their last reader is done.

Twin of ``rfgraph.sweeps.vectorised``, held against it by
``tests/sweeps/test_sweep.py::test_compiled_code_finds_the_same_to_the_bit``. numba is imported by this module alone,
when there is enough to do; without it, or where a plan needs more than this knows (fields with phases, padding that
depends on the size), numpy does the same with the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from threading import local
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rfgraph.algebra.alignment import Mode
from rfgraph.frozen import dataclass
from rfgraph.sweeps.plan import AxisPlan
from rfgraph.sweeps.variants import Table

Ints = NDArray[np.int64]

#: Designs times nodes from which on compiling pays.
ENOUGH = 20_000_000

MODES: tuple[Mode, ...] = ("auto", "center", "causal")


@dataclass(frozen=True)
class Tape:
    """The plan of an axis as integers."""

    #: [n, 5]: first read, reads, slot of the result, selector or -1, whether branches are compared: 2 if stacked.
    steps: Ints
    reads: Ints  # [m, 4]: slot that is read, and where first, last and step begin in ``numbers``
    varies: NDArray[np.bool_]  # [m, 3], whether there is one of each per variant
    numbers: Ints
    slots: int
    source: int
    #: Slot of each node that was asked for, -1 if it has no local field.
    wanted: Ints
    mode: int


def _last_reads(axis: AxisPlan, nodes: Sequence[int]) -> tuple[list[int], dict[int, list[int]]]:
    """Return the node whose field each node has, and by their last reader those that are kept no longer.

    A node that reads its own position of another has that one's field. The fields of ``nodes`` are kept to the end.
    """
    alias, last_use = list(range(len(axis.steps))), {}
    for step in axis.steps:
        if len(step.reads) == 1 and step.reads[0].is_identity:
            alias[step.v] = alias[step.reads[0].tail]
        for read in step.reads:
            last_use[alias[read.tail]] = step.v
    keep = {*nodes, *(alias[v] for v in nodes)}
    ends: dict[int, list[int]] = {}
    for v, reader in last_use.items():
        if v not in keep:
            ends.setdefault(reader, []).append(v)
    return alias, ends


def tape(axis: AxisPlan, nodes: Sequence[int], mode: Mode) -> Tape | None:
    """Return the tape of an axis, ``None`` where it needs more than compiled code knows."""
    if not axis.safe or any(
        step.period > 1 or step.broadcast is not None or any(read.same is not None for read in step.reads)
        for step in axis.steps
    ):
        return None
    steps: list[tuple[int, ...]] = []
    reads: list[tuple[int, ...]] = []
    varies: list[tuple[bool, ...]] = []
    numbers: list[int] = []
    places: dict[Any, int] = {}

    def placed(entry: Table) -> int:
        values = [entry] if isinstance(entry, int) else entry.tolist()
        key = tuple(values)
        if key not in places:
            places[key] = len(numbers)
            numbers.extend(values)
        return places[key]

    slot_of = {axis.source: 0}
    free: list[int] = []
    slots = 1
    alias, ends = _last_reads(axis, nodes)
    for step in axis.steps:
        if step.reads and alias[step.v] == step.v:
            if free:
                slot = free.pop()
            else:
                slot, slots = slots, slots + 1
            selector = -1 if step.selector is None else step.selector
            steps.append(
                (len(reads), len(step.reads), slot, selector, int(step.meets) + int(step.meets and step.stacks))
            )
            for read in step.reads:
                tables = (read.first[0], read.last[0], read.step)
                reads.append((slot_of[alias[read.tail]], *map(placed, tables)))
                varies.append(tuple(not isinstance(entry, int) for entry in tables))
            slot_of[step.v] = slot
        free += [slot_of[v] for v in ends.get(step.v, ()) if v in slot_of]
    return Tape(
        np.array(steps, dtype=np.int64).reshape(-1, 5),
        np.array(reads, dtype=np.int64).reshape(-1, 4),
        np.array(varies, dtype=np.bool_).reshape(-1, 3),
        np.array(numbers, dtype=np.int64),
        slots,
        slot_of[axis.source],
        np.array([slot_of[alias[v]] if axis.live[v] else -1 for v in nodes], dtype=np.int64),
        MODES.index(mode),
    )


def available() -> bool:
    """Return whether numba is installed."""
    return find_spec("numba") is not None


@lru_cache(maxsize=1)
def kernel() -> Any:
    """Return the compiled pass; the first call compiles it, and later processes find it in numba's cache."""
    from rfgraph.sweeps import kernels

    return kernels.run


_buffers = local()


def _buffer(rows: int, count: int) -> NDArray[np.uint32]:
    """Return an array for variants, one for each thread: new memory costs more than writing to it."""
    held: NDArray[np.uint32] | None = getattr(_buffers, "held", None)
    if held is None or held.shape[0] < rows or held.shape[1] < count:
        held = _buffers.held = np.zeros((rows, count), dtype=np.uint32)
    return held[:rows, :count]


def run(tape: Tape, index: Sequence[Any], count: int) -> tuple[Ints, NDArray[np.bool_], NDArray[np.uint8]]:
    """Return fields of the nodes that were asked for, which of them drift, and which designs do not line up.

    Parameters
    ----------
    index
        The variant of each design, by selector.
    count
        How many designs there are.

    Returns
    -------
        First, last and step of each node and design, [K, 3, N]; drifts [K, N]; misaligned [N], 1 where some branches do
        not line up, 2 where that is judged from their forks.
    """
    variants = _buffer(max(len(index), 1), count)
    for row, one in enumerate(index):
        variants[row] = one
    fields = np.zeros((len(tape.wanted), 3, count), dtype=np.int64)
    drifts = np.zeros((len(tape.wanted), count), dtype=np.bool_)
    misaligned = np.zeros(count, dtype=np.uint8)
    kernel()(
        *(tape.steps, tape.reads, tape.varies, tape.numbers, tape.slots, tape.source, tape.wanted, tape.mode),
        *(variants, fields, drifts, misaligned),
    )
    return fields, drifts, misaligned
