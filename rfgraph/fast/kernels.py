"""Compiled loops over networks as arrays. Importing this module needs numba.

Twin of the domain ``rfgraph.passes.fields``, held against it by
``tests/fast/test_arrays.py::test_fields_are_those_of_the_forward_pass``.

The field of a node along one axis is ``first[T]``, ``last[T]`` and ``step``: output ``y < T`` reads ``[first[y],
last[y]]``, and output ``y + T`` reads ``step`` inputs further. With several phases, a last entry holds the field's
own period, which divides T. A table says what an op reads of its input: for the first and for the last input of each
output, the phase of that input, and how many times T it lies further on.

Three choices are for speed. A node gathers from its inputs, so that no memory is read, changed and written back.
Indices are unsigned, so that numba does not check for negative ones. The error model is that of numpy, so that numba
does not check for divisors of zero and counts no references to arrays.
"""

from __future__ import annotations

from math import gcd
from typing import Any

import numba
import numpy as np

#: What became of a node, in bits: reached, branches that disagree, branches of unequal stride; on the stack; done.
KNOWN, DIFFERING, DRIFTING, OPEN, DONE = 1, 2, 4, 8, 16
#: How a run ends, if not with 0: a stride too large, a bad index, an id out of order, a cycle, too few phases.
OVERFLOW, BAD_INDEX, UNORDERED, CYCLE, PHASES = 1, 2, 3, 4, 5

_id, _int = numba.uint64, numba.int64
_TOO_FEW, _OUTSIDE = -1, -2


@numba.njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _plain(
    axes: Any,
    v: Any,
    bits: Any,
    low: Any,
    high: Any,
    end: Any,
    tails: Any,
    op: Any,
    reads: Any,
    fields: Any,
    state: Any,
) -> Any:
    """Work out a node from its inputs, where there is one phase, until one comes that is not done.

    Parameters
    ----------
    axes, v
        How many axes there are, and the node.
    bits
        What became of it by inputs before.
    low, high
        Where the other inputs begin and end in ``tails``.
    end
        All are below it.
    tails, op, reads, fields, state
        As for ``in_order``; and the op of the node.

    Returns
    -------
    What became of it; the bits that its numbers need, or ``_OUTSIDE`` or ``_TOO_FEW`` where it is at fault; and where
    the input stands that is not done, ``high`` if there is none.
    """
    largest = 0
    for edge in range(_id(low), _id(high)):
        tail = _id(tails[edge])
        if tail >= end:
            return bits, _OUTSIDE, edge
        if not state[tail] & KNOWN:
            if not state[tail] & DONE:
                return bits, largest, edge
            bits |= state[tail] & DRIFTING
        elif not bits & KNOWN:
            bits |= KNOWN
            for axis in range(axes):
                step = _int(fields[tail, axis, 2])
                first = fields[tail, axis, 0] + reads[op, axis, 0] * step
                last = fields[tail, axis, 1] + reads[op, axis, 1] * step
                step *= reads[op, axis, 2]
                fields[v, axis, 0] = first
                fields[v, axis, 1] = last
                fields[v, axis, 2] = step
                largest |= step | _bits(first) | _bits(last)
        else:
            for axis in range(axes):
                step = _int(fields[tail, axis, 2])
                first = fields[tail, axis, 0] + reads[op, axis, 0] * step
                last = fields[tail, axis, 1] + reads[op, axis, 1] * step
                largest |= _bits(first) | _bits(last)
                before, after = _int(fields[v, axis, 0]), _int(fields[v, axis, 1])
                if before + after != first + last:
                    bits |= DIFFERING
                if step * reads[op, axis, 2] != fields[v, axis, 2]:
                    bits |= DRIFTING
                fields[v, axis, 0] = min(first, before)
                fields[v, axis, 1] = max(last, after)
    return bits, largest, _id(high)


@numba.njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _bits(number: Any) -> Any:
    """Return a number that is not negative and needs as many bits."""
    return number ^ number >> 63


@numba.njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _gather(tail: Any, axis: Any, op: Any, keeps: Any, reads: Any, table: Any, fields: Any, room: Any) -> Any:
    """Write into ``room`` what is read through an op in each phase; return step and period, 0 if phases are too few.

    Where output y + 1 reads one input further than output y, ``room`` holds two rounds of the input's own phases.
    """
    phases = _id(table.shape[2])
    step = _int(fields[tail, axis, 2 * phases])
    period = _int(fields[tail, axis, 2 * phases + _id(1)])
    if keeps:
        for y in range(phases):
            room[0, y] = fields[tail, axis, y]
            room[1, y] = fields[tail, axis, phases + y]
            room[0, phases + y] = fields[tail, axis, y] + step
            room[1, phases + y] = fields[tail, axis, phases + y] + step
        return step, period
    period = reads[op, axis, 3] * (period // gcd(period, reads[op, axis, 2]))
    if _int(phases) % period != 0:
        return step, 0
    for y in range(phases):
        room[0, y] = fields[tail, axis, _id(table[op, axis, y, 0])] + table[op, axis, y, 1] * step
        room[1, y] = fields[tail, axis, phases + _id(table[op, axis, y, 2])] + table[op, axis, y, 3] * step
    return step * reads[op, axis, 2] // reads[op, axis, 3], period


@numba.njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _end_bits(tail: Any, axis: Any, op: Any, table: Any, fields: Any) -> Any:
    """Return a number with as many bits as any that is read: none goes backward, so the ends need the most."""
    phases = _id(table.shape[2])
    step = _int(fields[tail, axis, 2 * phases])
    largest = 0
    for border in (_id(0), phases - _id(1)):
        first = fields[tail, axis, _id(table[op, axis, border, 0])] + table[op, axis, border, 1] * step
        last = fields[tail, axis, phases + _id(table[op, axis, border, 2])] + table[op, axis, border, 3] * step
        largest |= _bits(first) | _bits(last)
    return largest


@numba.njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _put(
    v: Any, axis: Any, fields: Any, room: Any, low_shift: Any, low_added: Any, high_shift: Any, high_added: Any
) -> None:
    """Write a field from ``room``."""
    phases = _id(room.shape[1] // 2)
    for y in range(phases):
        fields[v, axis, y] = room[0, y + low_shift] + low_added
        fields[v, axis, phases + y] = room[1, y + high_shift] + high_added


@numba.njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _cover(
    v: Any, axis: Any, fields: Any, room: Any, low_shift: Any, low_added: Any, high_shift: Any, high_added: Any
) -> Any:
    """Widen a field to the hull of it and ``room``; return 0 if their centres agree at all outputs."""
    phases = _id(room.shape[1] // 2)
    differing = 0
    for y in range(phases):
        first, last = room[0, y + low_shift] + low_added, room[1, y + high_shift] + high_added
        differing |= fields[v, axis, y] + _int(fields[v, axis, phases + y]) - (first + last)
        fields[v, axis, y] = min(first, fields[v, axis, y])
        fields[v, axis, phases + y] = max(last, fields[v, axis, phases + y])
    return differing


@numba.njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _phased(
    axes: Any,
    v: Any,
    bits: Any,
    low: Any,
    high: Any,
    end: Any,
    tails: Any,
    op: Any,
    reads: Any,
    table: Any,
    fields: Any,
    state: Any,
    room: Any,
) -> Any:
    """Work out a node as ``_plain`` does where there are several phases; ``room`` is [2, 2 T] to work in."""
    largest = 0
    phases = _id(table.shape[2])
    for edge in range(_id(low), _id(high)):
        tail = _id(tails[edge])
        if tail >= end:
            return bits, _OUTSIDE, edge
        if not state[tail] & KNOWN:
            if not state[tail] & DONE:
                return bits, largest, edge
            bits |= state[tail] & DRIFTING
            continue
        for axis in range(axes):
            step = _int(fields[tail, axis, 2 * phases])
            period = _int(fields[tail, axis, 2 * phases + _id(1)])
            moved = step
            keeps = reads[op, axis, 2] == 1 and reads[op, axis, 3] == 1  # of the next output, the next input
            # ``room`` holds what output y reads at y + shift, but for a number to be added.
            low_shift, high_shift = _id(0), _id(0)
            low_added, high_added = 0, 0
            if keeps:
                low_shift, high_shift = _id(table[op, axis, 0, 0]), _id(table[op, axis, 0, 2])
                low_added, high_added = table[op, axis, 0, 1] * step, table[op, axis, 0, 3] * step
            is_copied = keeps and not low_shift and not high_shift and not bits & KNOWN
            if is_copied:
                for y in range(phases):
                    fields[v, axis, y] = fields[tail, axis, y] + low_added
                    fields[v, axis, phases + y] = fields[tail, axis, phases + y] + high_added
            else:
                moved, period = _gather(tail, axis, op, keeps, reads, table, fields, room)
                if period == 0:
                    return bits, _TOO_FEW, edge
            largest |= moved | _end_bits(tail, axis, op, table, fields)
            if not bits & KNOWN:
                if not is_copied:
                    _put(v, axis, fields, room, low_shift, low_added, high_shift, high_added)
                fields[v, axis, 2 * phases] = moved
                fields[v, axis, 2 * phases + _id(1)] = period
                continue
            before = _int(fields[v, axis, 2 * phases + _id(1)])
            if before != period:
                fields[v, axis, 2 * phases + _id(1)] = period * (before // gcd(before, period))
            if moved != fields[v, axis, 2 * phases]:
                bits |= DRIFTING
            differing = _cover(v, axis, fields, room, low_shift, low_added, high_shift, high_added)
            if differing:
                bits |= DIFFERING
        bits |= KNOWN
    return bits, largest, _id(high)


@numba.njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _settle(v: Any, bits: Any, fields: Any, state: Any) -> None:
    """Note what became of a node; one without a field has zeros."""
    if bits & DRIFTING:
        bits = DRIFTING
    if not bits & KNOWN:
        for axis in range(_id(fields.shape[1])):
            for entry in range(_id(fields.shape[2])):
                fields[v, axis, entry] = 0
    state[v] = bits | DONE


@numba.njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _begin(source: int, axes: int, phases: int, fields: Any, state: Any) -> None:
    state[source] = KNOWN | DONE
    for axis in range(axes):
        for y in range(phases):
            fields[source, axis, y] = y
            fields[source, axis, phases + y] = y
        fields[source, axis, 2 * phases] = phases
        if phases > 1:
            fields[source, axis, 2 * phases + 1] = 1


@numba.njit(cache=True, nogil=True, error_model="numpy")
def in_order(
    starts: Any,
    ends: Any,
    tails: Any,
    ops: Any,
    source: int,
    reads: Any,
    table: Any,
    limit: int,
    fields: Any,
    state: Any,
) -> Any:
    """Run through nodes whose ids are in topological order; return how it ended, and where."""
    _begin(source, table.shape[1], table.shape[2], fields, state)
    axes = _id(table.shape[1])
    # The number of axes as a constant: their loop is then unrolled.
    if axes == 1:
        return _run(_id(1), starts, ends, tails, ops, source, reads, table, limit, fields, state)
    if axes == 2:
        return _run(_id(2), starts, ends, tails, ops, source, reads, table, limit, fields, state)
    return _run(axes, starts, ends, tails, ops, source, reads, table, limit, fields, state)


@numba.njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def _run(
    axes: Any,
    starts: Any,
    ends: Any,
    tails: Any,
    ops: Any,
    source: Any,
    reads: Any,
    table: Any,
    limit: Any,
    fields: Any,
    state: Any,
) -> Any:
    nodes, edges, kinds = _id(len(ops)), len(tails), _id(len(table))
    plain = table.shape[2] == 1
    room = np.empty((2, 2 * table.shape[2]), fields.dtype)
    for v in range(nodes):
        low, high, op = starts[v], ends[v], _id(ops[v])
        if not 0 <= low <= high <= edges or op >= kinds:
            return BAD_INDEX, v
        if v == _id(source):
            continue
        if plain:
            bits, largest, _ = _plain(axes, v, 0, low, high, v, tails, op, reads, fields, state)
        else:
            bits, largest, _ = _phased(axes, v, 0, low, high, v, tails, op, reads, table, fields, state, room)
        if not 0 <= largest <= limit:
            return (OVERFLOW if largest > 0 else PHASES if largest == _TOO_FEW else UNORDERED), v
        _settle(v, bits, fields, state)
    return 0, _id(0)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def any_order(
    starts: Any,
    ends: Any,
    tails: Any,
    ops: Any,
    source: int,
    reads: Any,
    table: Any,
    limit: int,
    fields: Any,
    state: Any,
) -> Any:
    """Run through nodes in any order, with a stack of those that wait for an input; each edge is followed once."""
    nodes, edges, kinds = _id(len(ops)), len(tails), _id(len(table))
    state[:] = 0
    _begin(source, table.shape[1], table.shape[2], fields, state)
    axes, plain = _id(table.shape[1]), table.shape[2] == 1
    room = np.empty((2, 2 * table.shape[2]), fields.dtype)
    # By depth of the stack: the node, how many of its inputs were done, and what became of it by these.
    stack, place, held = np.empty(nodes, np.int32), np.empty(nodes, np.int32), np.empty(nodes, np.int8)
    for root in range(nodes):
        if state[root]:
            continue
        depth = 0
        stack[0], place[0], held[0], state[root] = root, 0, 0, OPEN
        while depth >= 0:
            v, bits = _id(stack[_id(depth)]), held[_id(depth)]
            low, high, op = starts[v], ends[v], _id(ops[v])
            if not 0 <= low <= high <= edges or op >= kinds:
                return BAD_INDEX, v
            begin = low + place[_id(depth)]
            if plain:
                bits, largest, edge = _plain(axes, v, bits, begin, high, nodes, tails, op, reads, fields, state)
            else:
                bits, largest, edge = _phased(
                    axes, v, bits, begin, high, nodes, tails, op, reads, table, fields, state, room
                )
            if not 0 <= largest <= limit:
                return (OVERFLOW if largest > 0 else PHASES if largest == _TOO_FEW else BAD_INDEX), v
            if edge == _id(high):
                _settle(v, bits, fields, state)
                depth -= 1
                continue
            tail = _id(tails[edge])
            if state[tail] & OPEN:
                return CYCLE, v
            place[_id(depth)], held[_id(depth)] = edge - _id(low), bits
            depth += 1
            stack[_id(depth)], place[_id(depth)], held[_id(depth)], state[tail] = tail, 0, 0, OPEN
    return 0, _id(0)
