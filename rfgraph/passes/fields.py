"""Receptive fields as a domain: what every node reads of one source, and what one output reads of every ancestor.

Where an edge reads on to an end of the axis it is cut and carried apart, so that a network with a gate, a recurrence or
a global branch keeps the local field that it has besides. Both are windows and follow the same algebra: what is cut
stays cut.
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
    beyond = fold(compiled.layers, source, _Beyond(compiled, axis, windows)) if local.cuts else {}
    return Fields(windows, _listed(compiled, beyond))


def reverse(compiled: Compiled, axis: int, output: int) -> Fields:
    """Return the field of ``output`` at every node; ``EMPTY`` at nodes that it does not depend on.

    References
    ----------
    Araujo, Norris, Sim, Computing Receptive Fields of Convolutional Neural Networks, Distill 2019.
    """
    local = _LocalBack(compiled, axis)
    windows = _listed(compiled, fold_back(compiled.layers, output, local))
    beyond = fold_back(compiled.layers, output, _BeyondBack(compiled, axis, windows)) if local.cuts else {}
    return Fields(windows, _listed(compiled, beyond))


def _listed(compiled: Compiled, fields: dict[int, Window]) -> list[Window]:
    windows = [EMPTY] * len(compiled.layers.nodes)
    for v, window in fields.items():
        windows[v] = window
    return windows


class _Local(Domain[Window]):
    """Fields over the paths on which no op reads on to an end of the axis."""

    start = IDENTITY

    def __init__(self, compiled: Compiled, axis: int) -> None:
        self.compiled = compiled
        self.axis = axis
        self.reads = compiled.reads[axis]
        #: Whether some path was cut.
        self.cuts = False

    def through(self, v: int, slot: int, value: Window) -> Window | None:
        read = self.reads[v][slot]
        if read.kind != "local" and read.is_unbounded:
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
        if read.kind != "local" and read.is_unbounded:
            self.cuts = True
            return None
        window = value.through(read)
        if window.kind == "unknown":
            return value if value.kind == "unknown" else self.blamed(v, window)
        return None if window.kind == "empty" else window

    def either(self, v: int, values: list[Window], field: Window) -> Window:
        own = field.kind == "unknown" and not any(value.kind == "unknown" for value in values)
        return self.blamed(v, field) if own else field  # they are consumers here, all of which there are


class _Beyond(Domain[Window]):
    """Fields over the paths that are cut: what is read of an end of the axis; ``EMPTY`` where there is no such path."""

    start = EMPTY

    def __init__(self, compiled: Compiled, axis: int, local: list[Window]) -> None:
        self.tails = compiled.layers.tails
        self.reads = compiled.reads[axis]
        self.local = local

    def through(self, v: int, slot: int, value: Window) -> Window:
        read = self.reads[v][slot]
        window = _composed(read, value)
        return window.hull(_composed(read, self.local[self.tails[v][slot]])) if read.is_unbounded else window

    def join(self, v: int, values: list[Window]) -> Window:
        field = EMPTY
        for value in values:
            field = field.hull(value)
        return field


class _BeyondBack(_Beyond):
    def through(self, v: int, slot: int, value: Window) -> Window:
        read = self.reads[v][slot]
        window = _composed(value, read)
        return window.hull(_composed(self.local[v], read)) if read.is_unbounded else window


def _composed(outer: Window, inner: Window) -> Window:
    """Return ``outer.through(inner)``; in most cases nothing is to be composed."""
    if outer.is_empty or inner.is_empty:
        return EMPTY
    if outer.is_full and inner.is_local and inner.exact:
        return outer
    if inner.is_full and outer.is_local and outer.exact:
        return inner
    return outer.through(inner)
