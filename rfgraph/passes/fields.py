"""Receptive fields as a domain: what every node reads of one source, and what one output reads of every ancestor.

Where an edge reads on to an end of the axis it is cut and carried apart, so that a network with a gate, a recurrence or
a global branch keeps the local field that it has besides. Both are windows and follow the same algebra: what is cut
stays cut.
"""

from __future__ import annotations

from collections.abc import Iterator

from rfgraph.algebra.window import EMPTY, FULL, IDENTITY, MAY_NOT_REACH, Window
from rfgraph.passes.compiled import Compiled
from rfgraph.passes.covers import BOTH, FIRST, LAST, Covered, covered
from rfgraph.passes.fold import Domain, fold, fold_back
from rfgraph.passes.results import Fields


def forward(compiled: Compiled, axis: int, source: int) -> Fields:
    """Return the field of every node at ``source``; ``EMPTY`` at nodes that do not depend on it."""
    local = _Local(compiled, axis)
    windows = _listed(compiled, fold(compiled.layers, source, local))
    beyond = fold(compiled.layers, source, _Beyond(compiled, axis, windows, source)) if local.cuts else {}
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
        self.reads, self.ops = compiled.reads[axis], compiled.layers.ops
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
        field = values[0]
        for value in values[1:]:
            field = field.hull(value)
        if self.ops[v][self.axis].alternatives:
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
    """Fields over the paths that are cut: what is read of an end of the axis; ``EMPTY`` where there is no such path.

    Parameters
    ----------
    compiled, axis, source
        As for the forward pass.
    local
        The fields over the other paths.
    """

    start = EMPTY

    def __init__(self, compiled: Compiled, axis: int, local: list[Window], source: int) -> None:
        self.layers, self.axis, self.local = compiled.layers, axis, local
        self.reads = compiled.reads[axis]
        self.ends = covered(compiled, axis, source, self.feeding())

    def feeding(self) -> Iterator[int]:
        """Yield the nodes of which something is read on to an end of the axis."""
        for tails, reads in zip(self.layers.tails, self.reads, strict=True):
            for tail, read in zip(tails, reads, strict=True):
                if read.is_unbounded:
                    yield tail

    def through(self, v: int, slot: int, value: Window) -> Window:
        read = self.reads[v][slot]
        if read.kind == "local" or not read.is_unbounded:
            return value if value is EMPTY else _composed(read, value)
        tail = self.layers.tails[v][slot]
        ends = self.ends[tail]
        return self.reading(v, read, value, ends).hull(self.reading(v, read, self.local[tail], ends))

    def join(self, v: int, values: list[Window]) -> Window:
        field = values[0]
        for value in values[1:]:
            field = field.hull(value)
        if field.kind != "empty" and self.layers.ops[v][self.axis].alternatives:
            return field.at_most(f"{self.layers.nodes[v]!r} is one of its inputs, decided when the model runs")
        return field

    def reading(self, v: int, outer: Window, inner: Window, ends: int) -> Window:
        """Return ``outer.through(inner)`` at node ``v``, where ``outer`` reads on to an end of the map between them.

        It is exact just if all features of that map get to the ends of what they read.

        Parameters
        ----------
        v, outer, inner
            The node whose op is one of them, and both.
        ends
            To which ends they get, see ``covers``.
        """
        if outer.kind == "empty" or inner.kind == "empty":
            return EMPTY
        if outer.kind == "full" and outer.exact and ends & BOTH:
            return FULL
        window = outer.through(inner)
        if not window.is_full:
            reaches = ends & (FIRST if window.side == "past" else LAST)
            return window if reaches else window.at_most(self.short(v))
        both_ends = ends & BOTH and (outer.is_full or (inner.side and inner.exact))
        if outer.exact and (both_ends or (inner.is_full and inner.exact)):
            return FULL
        return FULL.at_most(outer.why or inner.why or self.short(v))

    def short(self, v: int) -> str:
        """Return why what node ``v`` reads on to an end may stop short of it."""
        return f"{self.layers.describe(v, self.axis)}: {MAY_NOT_REACH}"


class _BeyondBack(_Beyond):
    def __init__(self, compiled: Compiled, axis: int, local: list[Window]) -> None:
        self.layers, self.axis, self.local = compiled.layers, axis, local
        self.reads = compiled.reads[axis]
        self.covered = Covered(compiled, axis)

    def through(self, v: int, slot: int, value: Window) -> Window:
        read = self.reads[v][slot]
        window = EMPTY if value.is_empty else self.reading(v, value, read, self.covered.edge(v, slot))
        if read.kind == "local" or not read.is_unbounded:
            return window
        return window.hull(_composed(self.local[v], read))

    def join(self, v: int, values: list[Window]) -> Window:
        field = values[0]
        for value in values[1:]:
            field = field.hull(value)
        return field


def _composed(outer: Window, inner: Window) -> Window:
    """Return ``outer.through(inner)``; in most cases nothing is to be composed."""
    if outer.kind == "empty" or inner.kind == "empty":
        return EMPTY
    if inner.kind == "full" and outer.kind == "local" and outer.exact:
        return inner
    return outer.through(inner)
