"""Receptive fields as a domain: what every node reads of one source, and what one output reads of every ancestor.

Where an edge reads a whole axis it is cut and carried apart, so that a network with a gate or a global branch keeps the
local field that it has besides. Both are windows and follow the same algebra: what is cut stays cut.
"""

from __future__ import annotations

from rfgraph.algebra.window import EMPTY, IDENTITY, Window
from rfgraph.passes.compiled import Compiled
from rfgraph.passes.fold import Domain, fold, fold_back
from rfgraph.passes.results import Fields


def forward(compiled: Compiled, axis: int, source: int) -> Fields:
    """Return the field of every node at ``source``; ``EMPTY`` at nodes that do not depend on it."""
    local = _Local(compiled, axis)
    windows = _listed(compiled, fold(compiled.layers, source, local))
    if not local.cuts:
        return Fields(windows, [False] * len(windows))
    whole = _listed(compiled, fold(compiled.layers, source, _Whole(compiled, axis, windows)))
    return Fields(windows, [window.kind != "empty" for window in whole])


def reverse(compiled: Compiled, axis: int, output: int) -> Fields:
    """Return the field of ``output`` at every node; ``EMPTY`` at nodes that it does not depend on.

    References
    ----------
    Araujo, Norris, Sim, Computing Receptive Fields of Convolutional Neural Networks, Distill 2019.
    """
    local = _LocalBack(compiled, axis)
    windows = _listed(compiled, fold_back(compiled.layers, output, local))
    if not local.cuts:
        return Fields(windows, [False] * len(windows))
    whole = _listed(compiled, fold_back(compiled.layers, output, _WholeBack(compiled, axis, windows)))
    return Fields(windows, [window.kind != "empty" for window in whole])


def _listed(compiled: Compiled, fields: dict[int, Window]) -> list[Window]:
    windows = [EMPTY] * len(compiled.layers.nodes)
    for v, window in fields.items():
        windows[v] = window
    return windows


class _Local(Domain[Window]):
    """Fields over the paths that no op cuts by reading a whole axis."""

    start = IDENTITY

    def __init__(self, compiled: Compiled, axis: int) -> None:
        self.compiled = compiled
        self.axis = axis
        self.reads = compiled.reads[axis]
        #: Whether some path was cut.
        self.cuts = False

    def through(self, v: int, slot: int, value: Window) -> Window | None:
        read = self.reads[v][slot]
        if read.kind == "full":
            self.cuts = True
            return None
        window = read.through(value)
        if window.kind == "unknown":  # of two causes the first is the one to tell: it names its node already
            return value if value.kind == "unknown" else self.blamed(v, window)
        return None if window.kind == "empty" else window

    def join(self, v: int, values: list[Window]) -> Window:
        field = EMPTY
        for value in values:
            field = field.hull(value)
        if self.compiled.layers.ops[v][self.axis].alternatives:
            return self.either(v, values, field)
        if field.kind == "unknown" and not any(value.kind == "unknown" for value in values):
            return self.blamed(v, field)
        return field

    def either(self, v: int, values: list[Window], field: Window) -> Window:
        """Return the hull of alternatives, with the field of each in the reason why it is a bound."""
        if any(value.kind != "local" for value in values) or not values:
            return field
        told = dict.fromkeys(f"r {value.size}, S {value.stride}, P {value.padding}" for value in values)
        why = (
            f"{self.compiled.layers.nodes[v]!r} is one of its inputs, decided when the model runs: {' or '.join(told)}"
        )
        if field.kind == "unknown":
            return Window.unknown(f"{why}; {field.why}")
        return Window.periodic(field.intervals, field.step, holes=field.holes, exact=False, why=why)

    def blamed(self, v: int, field: Window) -> Window:
        """Return the unknown ``field`` with the name of the node that made it so."""
        return Window.unknown(f"{self.compiled.layers.describe(v, self.axis)}: {field.why}")


class _LocalBack(_Local):
    """The same from an output: what it reads of a node, read through that node's op."""

    def through(self, v: int, slot: int, value: Window) -> Window | None:
        read = self.reads[v][slot]
        if read.kind == "full":
            self.cuts = True
            return None
        window = value.through(read)
        if window.kind == "unknown":
            return value if value.kind == "unknown" else self.blamed(v, window)
        return None if window.kind == "empty" else window

    def either(self, v: int, values: list[Window], field: Window) -> Window:
        own = field.kind == "unknown" and not any(value.kind == "unknown" for value in values)
        return self.blamed(v, field) if own else field  # they are consumers here, all of which there are


class _Whole(Domain[Window]):
    """Fields over the paths that some op cuts by reading a whole axis: ``FULL``, or ``EMPTY`` where there are none."""

    start = EMPTY

    def __init__(self, compiled: Compiled, axis: int, local: list[Window]) -> None:
        self.tails = compiled.layers.tails
        self.reads = compiled.reads[axis]
        self.local = local

    def through(self, v: int, slot: int, value: Window) -> Window:
        read = self.reads[v][slot]
        if read.kind == "full":
            tail = self.local[self.tails[v][slot]]
            return read if tail.kind != "empty" else value
        return value if read.kind != "empty" else EMPTY

    def join(self, v: int, values: list[Window]) -> Window:
        field = EMPTY
        for value in values:
            field = field.hull(value)
        return field


class _WholeBack(_Whole):
    def through(self, v: int, slot: int, value: Window) -> Window:
        read = self.reads[v][slot]
        if read.kind == "full":
            return read if self.local[v].kind != "empty" else value
        return value if read.kind != "empty" else EMPTY
