"""New ids for networks as arrays whose ids are scattered, so that a node lies near its inputs. Compiled by numba.

Part of the twin ``rfgraph.fast.arrays``, held by ``tests/fast/test_arrays.py::test_scattered_ids_change_nothing``.

If ids are scattered, each step of a pass waits for memory, because the next node is in no cache. The order of the
nodes does not depend on any field, so it is found first. Several walkers go through the network side by side, each
from a node to all its inputs, so that their waits overlap. The nodes that a walker meets get consecutive ids, the
last one the lowest. A record of 16 bytes per node holds all that a walker reads of a node with one input.
"""

from __future__ import annotations

import mmap
from math import prod
from typing import Any

import numba
import numpy as np

#: How many walkers there are, and how many ids or edges each is given at a time.
WALKERS, SHARE = 24, 1 << 8

#: Inputs that lie further away than so many ids are in memory that is far from the processor.
FAR = 1 << 14

_id, _int = numba.uint64, numba.int64
#: Of a node: its input if it has one, else where its inputs begin; how many it has; its op; its new id, or -1.
_FIRST, _DEGREE, _OP, _NEW = range(4)

#: Where the inputs of each node begin and end in the tails; the tails; the ops; and the source.
Network = tuple[Any, Any, Any, Any, int]


def bring_near(starts: Any, ends: Any, tails: Any, ops: Any, source: int) -> tuple[Network, Any]:
    """Return a network with other ids, and for each the one before, or -1 where it stands for no node.

    The network is returned as it is, with ``None``, where most ids are near each other, or some index is out of range,
    or 32 bits are too few.
    """
    same = (starts, ends, tails, ops, source), None
    nodes, edges = len(ops), len(tails)
    # All shares of ids are used up but for one a walker. Shares of edges end before a node whose inputs do not fit, and
    # the next begins with these, which are more than what was left.
    width, room = (nodes // SHARE + WALKERS) * SHARE, 2 * edges + WALKERS * SHARE
    if max(width, room) >= 1 << 31 or not _are_far(starts, ends, tails):
        return same
    rows, near, records = _room(width, 3), _room(room), _room(nodes, 4)
    old = np.full(width, -1, np.int32)
    if not _describe(starts, ends, tails, ops, records) or not _explore(tails, records, rows, old, near):
        return same
    return (rows[:, 0], rows[:, 1], near, rows[:, 2], int(records[source, _NEW])), old


def _room(*shape: int) -> Any:
    """Return zeros, if possible in memory that goes back to the system with them, which ``malloc`` may keep."""
    if not hasattr(mmap, "MAP_PRIVATE"):
        return np.zeros(shape, np.int32)
    memory = mmap.mmap(-1, 4 * prod(shape), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        memory.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(memory, np.int32).reshape(shape)


def _are_far(starts: Any, ends: Any, tails: Any) -> bool:
    """Return whether most nodes, of a sample, have an id far from that of their first input."""
    sample = np.arange(0, len(starts), len(starts) // 1024 + 1)
    sample = sample[ends[sample] > starts[sample]]
    read = tails.take(starts[sample], mode="clip")
    return len(sample) > 0 and bool(np.median(np.abs(read - sample)) > FAR)


def put_back(old: Any, fields: Any, state: Any, nodes: int) -> tuple[Any, Any]:
    """Return fields and states, both by new id, by the ids before."""
    placed = np.empty((nodes, *fields.shape[1:]), fields.dtype), np.empty(nodes, state.dtype)
    _place(old, fields.reshape(len(old), -1), state, placed[0].reshape(nodes, -1), placed[1])
    return placed


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _describe(starts: Any, ends: Any, tails: Any, ops: Any, records: Any) -> Any:
    """Fill the records of nodes that have no new id yet; return whether all indices are in range, as far as is seen."""
    nodes = _id(len(ops))
    for v in range(nodes):
        low, high = starts[v], ends[v]
        if not 0 <= low <= high <= len(tails) or _id(ops[v]) >> _id(31):
            return False
        first = _id(tails[_id(low)]) if high - low == 1 else _id(low)
        if high - low == 1 and first >= nodes:
            return False
        records[v, _FIRST] = first
        records[v, _DEGREE] = high - low
        records[v, _OP] = ops[v]
        records[v, _NEW] = -1
    return True


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _explore(tails: Any, records: Any, rows: Any, old: Any, near: Any) -> Any:
    """Give all nodes their new ids; return whether all that they read are nodes.

    The ids of a walker, in ``old``, are its queue too: what it has met, and of this what it has still to look at.

    Parameters
    ----------
    rows
        Where the inputs of each new id begin and end, and its op, to be filled; zeros.
    old
        Node of each new id, to be filled; -1.
    near
        Tails by new ids, to be filled.
    """
    nodes, last = _id(len(records)), len(old) - 1
    given, spent, seed, count = WALKERS * SHARE, 0, 0, WALKERS
    walkers = np.arange(WALKERS)  # those that still walk come first
    # From the last id down: which a walker looks at next, which it gives next, and where the share after each begins.
    head = np.arange(WALKERS) * SHARE
    free, after = head.copy(), np.zeros(len(old) // SHARE + 1, np.int64)
    edge, end = np.zeros(WALKERS, np.int64), np.zeros(WALKERS, np.int64)  # of a walker's share of edges
    first, ahead = np.zeros(WALKERS, np.int64), np.zeros(WALKERS, np.int64)
    while count:
        i = 0
        while i < count:
            w = _id(walkers[_id(i)])
            if head[w] == free[w]:  # nothing is left there: it goes on elsewhere
                while seed < nodes and records[_id(seed), _NEW] >= 0:
                    seed += 1
                if seed == nodes:
                    count -= 1
                    walkers[_id(i)] = walkers[_id(count)]
                    continue
                given = _meet(seed, w, free, given, after, last, records, old)
            i += 1
        # Within each of these loops nothing waits for what is read for another walker; the last finds all near. The sum
        # in ``ahead`` is not needed, but what is read for nothing the compiler would leave out.
        for i in range(_id(count)):
            v = _id(old[_id(last - head[_id(walkers[i])])])
            degree = records[v, _DEGREE]
            first[i] = 0 if degree == 0 else records[v, _FIRST] if degree == 1 else tails[_id(records[v, _FIRST])]
            if _id(first[i]) >= nodes:
                return False
        for i in range(_id(count)):
            v = _id(old[_id(last - head[_id(walkers[i])])])
            ahead[i] += records[_id(first[i]), _NEW]
            for slot in range(1, _id(records[v, _DEGREE])):
                tail = _id(tails[_id(records[v, _FIRST]) + _id(slot)])
                if tail >= nodes:
                    return False
                ahead[i] += records[tail, _NEW]
        for i in range(_id(count)):
            w = _id(walkers[i])
            row = _id(last - head[w])
            v = _id(old[row])
            degree = _int(records[v, _DEGREE])
            if edge[w] + degree > end[w]:
                edge[w], end[w] = spent, spent + max(degree, SHARE)
                spent = end[w]
            at = edge[w]
            edge[w] = at + degree
            rows[row, 0], rows[row, 1], rows[row, 2] = at, at + degree, records[v, _OP]
            for slot in range(_id(degree)):
                tail = _id(first[i]) if slot == _id(0) else _id(tails[_id(records[v, _FIRST]) + slot])
                new = _int(records[tail, _NEW])
                if new < 0:
                    new = last - free[w]
                    given = _meet(tail, w, free, given, after, last, records, old)
                near[_id(at)] = new
                at += 1
            head[w] = _next(head[w], after)
    return True


@numba.njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _meet(v: Any, w: Any, free: Any, given: Any, after: Any, last: Any, records: Any, old: Any) -> Any:
    """Give a node the next id of a walker; return how many ids the walkers have been given."""
    at = free[w]
    records[_id(v), _NEW] = last - at
    old[_id(last - at)] = v
    if (at + 1) % SHARE == 0:
        after[_id(at) // _id(SHARE)] = given
        given += SHARE
    free[w] = _next(at, after)
    return given


@numba.njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _next(at: Any, after: Any) -> Any:
    """Return what comes after an id of a walker, both counted from the last id down."""
    return after[_id(at) // _id(SHARE)] if (at + 1) % SHARE == 0 else at + 1


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _place(old: Any, fields: Any, state: Any, placed: Any, states: Any) -> None:
    for row in range(_id(len(old))):
        if old[row] >= 0:
            v = _id(old[row])
            states[v] = state[row]
            for entry in range(_id(placed.shape[1])):
                placed[v, entry] = fields[row, entry]
