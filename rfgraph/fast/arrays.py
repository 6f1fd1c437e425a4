"""Networks given as arrays: fields of millions of nodes without a graph object, compiled by numba.

Twin of the domain ``rfgraph.passes.fields``, held against it by
``tests/fast/test_arrays.py::test_fields_are_those_of_the_forward_pass``. Numbers that do not fit into 64 bits are
left to that domain itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from math import lcm
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from rfgraph.algebra.window import EMPTY, IDENTITY, MAX_PERIOD, Window
from rfgraph.errors import AttributeValueError, CycleError, GraphError, Needed
from rfgraph.frozen import dataclass
from rfgraph.passes.fold import Domain, folded

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Integers: TypeAlias = NDArray[Any]


#: Numbers of this size and more are left to Python integers.
_LARGEST = 1 << 61


@dataclass(frozen=True, eq=False)
class ArrayFields:
    """Receptive fields of the nodes of a network that was given as arrays, at its source.

    ``phases`` is 1 where nothing upsamples. Output ``y + q * phases`` of a node reads
    ``[first[..., y] + q * step, last[..., y] + q * step]``.

    Examples
    --------
    >>> import numpy as np
    >>> from rfgraph import Window, solve_arrays
    >>> edges = {"starts": np.array([0, 0, 1]), "tails": np.array([0]), "ops": np.array([0, 0])}
    >>> fields = solve_arrays(**edges, windows=[[Window(3, 2, 1)]])
    >>> fields.size[:, 0].tolist(), fields.stride[:, 0].tolist()
    ([1, 3], [1, 2])
    """

    phases: int
    first: Integers  # [V, A, phases]; int32 where all numbers are below 2**30, else int64, or Python integers
    last: Integers  # [V, A, phases]
    step: Integers  # [V, A], inputs stepped per ``phases`` outputs
    state: Integers  # [V], bits of ``rfgraph.fast.kernels``

    @property
    def size(self) -> Integers:
        """Receptive field size, [V, A]; 0 where there is none."""
        return np.where(self.known[:, None], (self.last - self.first).max(axis=2) + 1, 0)

    @property
    def stride(self) -> Integers:
        """Effective stride, [V, A].

        Raises
        ------
        AttributeValueError
            If some stride is no integer, as where a network upsamples; ``step / phases`` is it exactly.
        """
        if (self.step % self.phases).any():
            raise AttributeValueError("some strides are fractions; take step / phases")
        return self.step // self.phases

    @property
    def padding(self) -> Integers:
        """Effective padding of output 0, [V, A]."""
        return -self.first[..., 0]

    @property
    def known(self) -> NDArray[np.bool_]:
        """Whether a node has a field: it depends on the source, and no branches drift apart before it, [V]."""
        known: NDArray[np.bool_] = (self.state & _KNOWN).astype(bool)
        return known

    @cached_property
    def misaligned(self) -> Integers:
        """Ids of the merges whose branches differ in centre at some output phase."""
        return np.flatnonzero(self.state & _DIFFERING)

    @cached_property
    def drifting(self) -> Integers:
        """Ids of the merges whose branches differ in stride, and of all nodes after one: nothing covers them."""
        return np.flatnonzero(self.state & _DRIFTING)

    def window(self, node: int, axis: int) -> Window:
        """Return the field of one node along one axis.

        Parameters
        ----------
        node
            Id of a node.
        axis
            Index of an axis.

        Examples
        --------
        >>> import numpy as np
        >>> from rfgraph import Window, solve_arrays
        >>> edges = {"starts": np.array([0, 0, 1]), "tails": np.array([0]), "ops": np.array([0, 0])}
        >>> fields = solve_arrays(**edges, windows=[[Window(3, 2, 1)]])
        >>> fields.window(1, 0)
        Window(size=3, stride=2, padding=1)
        """
        if not self.known[node]:
            return Window.unknown("branches drift apart") if self.state[node] & _DRIFTING else EMPTY
        pairs = zip(self.first[node, axis].tolist(), self.last[node, axis].tolist(), strict=True)
        return Window.periodic(tuple(pairs), int(self.step[node, axis]))


_KNOWN, _DIFFERING, _DRIFTING = 1, 2, 4  # as in rfgraph.fast.kernels, which needs numba


def solve_arrays(
    starts: Integers, tails: Integers, ops: Integers, windows: Sequence[Sequence[Window]], source: int = 0
) -> ArrayFields:
    """Return the receptive field of every node of a network that is given as arrays.

    The arrays are those of ``scipy.sparse`` and PyTorch: row ``v`` lists the nodes that node ``v`` reads. Ids in
    topological order are run through as they stand; others are sorted on the way. Where a number is too large for
    64 bits, Python integers take over.

    Parameters
    ----------
    starts
        Where the inputs of each node begin in ``tails``; int [V + 1].
    tails
        The nodes that are read; int [E].
    ops
        Which row of ``windows`` each node is; int [V]. That of the source does not matter.
    windows
        What ops read: for each, one window per axis. Windows must be ``regular``, as those of all layers are but
        transposed convolutions whose kernel is below the stride or dilated, and ops that read a whole axis.
    source
        Node to measure from.

    Raises
    ------
    GraphError
        If the arrays do not fit each other.
    CycleError
        If the network has a cycle.
    AttributeValueError
        If a window is not regular, or upsampling makes more than 2**16 phases.
    MissingExtraError
        If numba is not installed.

    Examples
    --------
    >>> import numpy as np
    >>> conv, add = Window(3, 2, 1), Window(1)
    >>> fields = solve_arrays(
    ...     starts=np.array([0, 0, 1, 2, 4]),  # an image, a conv, a pool and their sum
    ...     tails=np.array([0, 0, 1, 2]),
    ...     ops=np.array([2, 0, 1, 2]),
    ...     windows=[[conv], [Window(2, 2)], [add]],
    ... )
    >>> fields.size[:, 0].tolist(), fields.padding[:, 0].tolist(), fields.misaligned.tolist()
    ([1, 3, 2, 3], [0, 1, 0, 1], [3])
    """
    starts, tails, ops = (_indices(name, array) for name, array in (("starts", starts), ("tails", tails), ("ops", ops)))
    if len(starts) != len(ops) + 1 or starts[0] != 0 or starts[-1] != len(tails):
        raise GraphError(
            f"starts has {len(starts)} entries from {starts[:1]} to {starts[-1:]}, which do not fit "
            f"{len(ops)} nodes and {len(tails)} edges; give V + 1 from 0 to E"
        )
    if not 0 <= source < len(ops):
        raise GraphError(f"source {source} is not one of {len(ops)} nodes")
    axes = {len(row) for row in windows}
    if len(axes) != 1 or 0 in axes:
        raise AttributeValueError(f"windows have {sorted(axes)} axes; give one window per axis of each op")
    for op, row in enumerate(windows):
        for axis, window in enumerate(row):
            if not window.regular or _far(window):
                raise AttributeValueError(
                    f"op {op}, axis {axis}: {window!r} goes backward, has empty phases, no ends or ends far off"
                )
    return _solved(starts, tails, ops, windows, source)


def _solved(
    starts: Integers, tails: Integers, ops: Integers, windows: Sequence[Sequence[Window]], source: int
) -> ArrayFields:
    with Needed("numba", "a network as arrays", "'rfgraph[fast]'"):
        from rfgraph.fast import kernels as jit
        from rfgraph.fast import renumbering as nearby
    phases = lcm(*(window.period for row in windows for window in row))
    run, given, old = jit.in_order, (starts[:-1], starts[1:], tails, ops, source), None
    integers: Any = np.int32  # half the memory, and so half the time, of what most networks would need
    while phases <= MAX_PERIOD:
        # Axes that read alike share one.
        columns = list(zip(*windows, strict=True))
        alike = [columns.index(column) for column in columns]
        distinct = sorted(set(alike))
        reads, table = _tables([columns[axis] for axis in distinct], phases)
        # Numbers of so many bits, times the largest that ops hold, fit into 64.
        bits = min(np.iinfo(integers).bits - 2, 61 - int(np.abs(reads).max()).bit_length())
        if bits < 1:
            return _exactly(starts, tails, ops, windows, source, phases)
        limit = (1 << bits) - 1
        nodes = len(given[0])
        fields = np.empty((nodes, len(distinct), 2 * phases + 1 + (phases > 1)), integers)
        state = np.empty(nodes, np.int8)
        ended, v = run(*given, reads, table, limit, fields, state)
        if not ended:
            if old is not None:
                del given  # memory that is not needed any more
                fields, state = nearby.put_back(old, fields, state, len(ops))
            return _by_axis(fields, state, phases, distinct, alike)
        del fields, state  # before others take their place
        v = v if old is None else old[v]
        if ended == jit.OVERFLOW:
            if integers is np.int64:
                return _exactly(starts, tails, ops, windows, source, phases)
            integers = np.int64
        elif ended == jit.UNORDERED:
            run = jit.any_order
            given, old = nearby.bring_near(*given)
        elif ended == jit.PHASES:
            phases *= lcm(*(int(number) for number in reads[ops[v], :, 3]))
        elif ended == jit.CYCLE:
            raise CycleError(f"node {v} reads itself by way of others; a network is acyclic")
        else:
            raise GraphError(f"node {v}: its inputs, or its op {ops[v]}, are out of range")
    raise AttributeValueError(f"upsampling makes more than the {MAX_PERIOD} output phases that are followed")


def _by_axis(fields: Any, state: Any, phases: int, distinct: list[int], alike: list[int]) -> ArrayFields:
    """Return the fields along all axes, of which those ``alike`` one of ``distinct`` were worked out with it."""
    if len(distinct) == 1:
        of_axis = np.broadcast_to(fields, (len(fields), len(alike), fields.shape[2]))  # no memory of its own
    else:
        of_axis = fields if distinct == alike else fields[:, [distinct.index(axis) for axis in alike]]
    first, last = of_axis[..., :phases], of_axis[..., phases : 2 * phases]
    return ArrayFields(phases, first, last, of_axis[..., 2 * phases], state)


def _far(window: Window) -> bool:
    return max(window.step, *(abs(end) for pair in window.intervals for end in pair or ())) >= _LARGEST


def _indices(name: str, array: Integers) -> Integers:
    array = np.asarray(array)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise GraphError(f"{name} is {array.dtype} of shape {array.shape}; give a one-dimensional array of integers")
    return np.ascontiguousarray(array, dtype=array.dtype if array.dtype in (np.int32, np.int64) else np.int64)


def _tables(columns: Sequence[Sequence[Window]], phases: int) -> tuple[Integers, Integers]:
    """Return what each op reads in each phase, and how it changes the step.

    Parameters
    ----------
    columns
        Windows of the ops, one entry per axis.
    phases
        A multiple of all their periods.

    Returns
    -------
    reads
        The first and the last output read, inputs stepped per period, and the period; int64 [K, A, 4].
    table
        Phase and turn of the first and of the last output read; int64 [K, A, phases, 4].
    """
    kinds, axes = len(columns[0]), len(columns)
    reads = np.zeros((kinds, axes, 4), np.int64)
    table = np.zeros((kinds, axes, phases, 4), np.int64)
    for axis, column in enumerate(columns):
        for op, window in enumerate(column):
            ends = [window.interval(y) or (0, 0) for y in range(phases)]
            lowest, highest = min(first for first, _ in ends), max(last for _, last in ends)
            reads[op, axis] = lowest, highest, window.step, window.period
            for y, (first, last) in enumerate(ends):
                table[op, axis, y] = first % phases, first // phases, last % phases, last // phases
    return reads, table


def _exactly(
    starts: Integers, tails: Integers, ops: Integers, windows: Sequence[Sequence[Window]], source: int, phases: int
) -> ArrayFields:
    """Return the fields by the window algebra, in Python integers: slow, but without a largest number."""
    nodes, axes = len(ops), len(windows[0])
    order = _order(starts, tails, nodes)
    numbers = {v: number for number, v in enumerate(order)}
    rows = [[numbers[int(tail)] for tail in tails[starts[v] : starts[v + 1]]] for v in order]
    domain = _ArrayDomain([windows[op] for op in ops[order].tolist()], axes)
    fields: list[_Row] = [[EMPTY] * axes] * nodes
    state = np.zeros(nodes, np.int8)
    for number, (row, bits) in folded(_Wires(rows), numbers[source], domain):
        fields[order[number]], state[order[number]] = row, bits
    phases = lcm(phases, *(window.period for row in fields for window in row if window.is_local))
    first = np.zeros((nodes, axes, phases), object)
    last, step = first.copy(), first[..., 0].copy()
    for v, row in enumerate(fields):
        for axis, window in enumerate(row if state[v] & _KNOWN else []):
            pairs = [window.interval(y) or (0, 0) for y in range(phases)]
            first[v, axis], last[v, axis] = zip(*pairs, strict=True)
            step[v, axis] = window.step * (phases // window.period)
    return ArrayFields(phases, first, last, step, state)


_Row = list[Window]  # [A]


@dataclass(frozen=True)
class _Wires:
    """A network as far as a fold needs it."""

    tails: list[list[int]]


class _ArrayDomain(Domain[tuple[_Row, int]]):
    """Fields of all axes, and the bits of ``rfgraph.fast.kernels``: the domain of which the kernels are twins."""

    def __init__(self, windows: Sequence[Sequence[Window]], axes: int) -> None:
        self.windows = windows  # [V][A]
        self.axes = axes

    @property
    def start(self) -> tuple[_Row, int]:
        return [IDENTITY] * self.axes, _KNOWN

    def through(self, v: int, slot: int, value: tuple[_Row, int]) -> tuple[_Row, int]:
        row, state = value
        if state & _DRIFTING:
            return value
        return [window.through(inner) for window, inner in zip(self.windows[v], row, strict=True)], state

    def join(self, v: int, values: list[tuple[_Row, int]]) -> tuple[_Row, int]:
        if any(state & _DRIFTING for _, state in values):
            return [EMPTY] * len(values[0][0]), _DRIFTING
        (hull, _), *others = values
        first, state = hull, _KNOWN
        for other, _ in others:
            if any(a.stride != b.stride for a, b in zip(first, other, strict=True)):
                return [EMPTY] * len(hull), _DRIFTING
            if not all(map(_concentric, first, other)):
                state |= _DIFFERING
            hull = [a.hull(b) for a, b in zip(hull, other, strict=True)]
        return hull, state


def _concentric(a: Window, b: Window) -> bool:
    pairs = [(a.interval(y) or (0, 0), b.interval(y) or (0, 0)) for y in range(lcm(a.period, b.period))]
    return all(sum(one) == sum(two) for one, two in pairs)


def _order(starts: Integers, tails: Integers, nodes: int) -> list[int]:
    """Return the ids, each after those it reads."""
    waiting = np.diff(starts).astype(int).tolist()
    heads: list[list[int]] = [[] for _ in range(nodes)]
    for v in range(nodes):
        for tail in tails[starts[v] : starts[v + 1]]:
            heads[int(tail)].append(v)
    order = [v for v in range(nodes) if not waiting[v]]
    for v in order:  # grows while it is walked
        for head in heads[v]:
            waiting[head] -= 1
            if not waiting[head]:
                order.append(head)
    return order
