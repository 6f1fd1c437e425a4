"""Receptive fields as a domain: what every node reads of one source, and what one output reads of every ancestor.

Where an edge reads on to an end of the axis it is cut and carried apart, so that a network with a gate, a recurrence or
a global branch keeps the local field that it has besides. Both are windows and follow the same algebra: what is cut
stays cut.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import cached_property

from rfgraph.algebra.window import EMPTY, FULL, IDENTITY, MAY_NOT_REACH, Window
from rfgraph.passes.compiled import Compiled
from rfgraph.passes.covers import BOTH, FIRST, LAST, Covered, covered
from rfgraph.passes.fold import Domain, fold, fold_back
from rfgraph.passes.results import Fields

#: The field over the paths on which no op reads on to an end of the axis, and that over the others.
Both = tuple[Window, Window]


def forward(compiled: Compiled, axis: int, source: int) -> Fields:
    """Return the field of every node at ``source``; ``EMPTY`` at nodes that do not depend on it."""
    return _listed(compiled, fold(compiled.layers, source, _Field(compiled, axis, source)))


def reverse(compiled: Compiled, axis: int, output: int) -> Fields:
    """Return the field of ``output`` at every node; ``EMPTY`` at nodes that it does not depend on.

    References
    ----------
    Araujo, Norris, Sim, Computing Receptive Fields of Convolutional Neural Networks, Distill 2019.
    """
    return _listed(compiled, fold_back(compiled.layers, output, _FieldBack(compiled, axis, output)))


def _listed(compiled: Compiled, fields: dict[int, Both]) -> Fields:
    count = len(compiled.layers.nodes)
    local, beyond = [EMPTY] * count, [EMPTY] * count
    for v, (over_local, over_others) in fields.items():
        local[v], beyond[v] = over_local, over_others
    return Fields(local, beyond)


class _Field(Domain[Both]):
    """Fields over the paths that are local, and over those that are cut."""

    start = IDENTITY, EMPTY

    def __init__(self, compiled: Compiled, axis: int, source: int) -> None:
        self.compiled, self.axis, self.source = compiled, axis, source
        self.reads, self.layers = compiled.reads[axis], compiled.layers

    @cached_property
    def ends(self) -> defaultdict[int, int]:
        """To which ends of the source the features of each node get; asked for once some path is cut."""
        return covered(self.compiled, self.axis, self.source, self.feeding())

    def feeding(self) -> Iterator[int]:
        """Yield the nodes of which something is read on to an end of the axis."""
        for tails, reads in zip(self.layers.tails, self.reads, strict=True):
            for tail, read in zip(tails, reads, strict=True):
                if read.is_unbounded:
                    yield tail

    def through(self, v: int, slot: int, value: Both) -> Both | None:
        local, beyond = value
        read = self.reads[v][slot]
        if read.kind == "local" or not read.is_unbounded:
            window = local if local.kind == "empty" else read.through(local)
            if window.kind == "unknown":  # of two causes the first is the one to tell: it names its node already
                window = local if local.kind == "unknown" else self.blamed(v, window)
            if beyond.kind != "empty":
                return window, _composed(read, beyond)
            return None if window.kind == "empty" else (window, EMPTY)
        ends = self.ends[self.layers.tails[v][slot]]
        through_local = self.reading(v, read, local, ends)
        if beyond.kind == "empty" or through_local is FULL:
            return EMPTY, through_local
        return EMPTY, _hull(self.reading(v, read, beyond, ends), through_local)

    def join(self, v: int, values: list[Both]) -> Both:
        local, beyond = values[0]
        for other_local, other_beyond in values[1:]:
            local = _hull(local, other_local)
            beyond = _hull(beyond, other_beyond)
        if self.layers.ops[v][self.axis].alternatives:
            return self.either(v, values, local, beyond)
        if local.kind == "unknown":
            local = self.merged(v, values, local)
        return local, beyond

    def merged(self, v: int, values: list[Both], field: Window) -> Window:
        """Return the hull ``field`` of what is read over local paths, with the name of the node if it has none."""
        if field.kind == "unknown" and all(local.kind != "unknown" for local, _ in values):
            return self.blamed(v, field)
        return field

    def either(self, v: int, values: list[Both], local: Window, beyond: Window) -> Both:
        """Return the hulls of alternatives as bounds, with the local field of each in the reason."""
        why = f"{self.layers.nodes[v]!r} is one of its inputs, decided when the model runs"
        if beyond.kind != "empty":
            beyond = beyond.at_most(why)
        fields = [field for field, _ in values if field.kind != "empty"]
        if not fields or any(field.kind != "local" for field in fields):
            return local, beyond
        told = dict.fromkeys(f"r {field.size}, S {field.stride}, P {field.padding}" for field in fields)
        why = f"{why}: {' or '.join(told)}"
        if local.kind == "unknown":
            return Window.unknown(f"{why}; {local.why}"), beyond
        return Window.periodic(local.intervals, local.step, holes=local.holes, exact=False, why=why), beyond

    def blamed(self, v: int, field: Window) -> Window:
        """Return the unknown ``field`` with the name of the node that made it so."""
        return Window.unknown(f"{self.layers.describe(v, self.axis)}: {field.why}")

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
        if inner.kind == "empty":
            return EMPTY
        if outer.kind == "full" and outer.exact and ends & BOTH:
            return FULL
        window = outer.through(inner)
        if not window.is_full:
            reaches = ends & (FIRST if window.side == "past" else LAST)
            return window if reaches else window.at_most(self.short(v))
        both_ends = ends & BOTH and (outer.is_full or inner.exact)
        if outer.exact and (both_ends or (inner.is_full and inner.exact)):
            return FULL
        return FULL.at_most(outer.why or inner.why or self.short(v))

    def short(self, v: int) -> str:
        """Return why what node ``v`` reads on to an end may stop short of it."""
        return f"{self.layers.describe(v, self.axis)}: {MAY_NOT_REACH}"


class _FieldBack(_Field):
    """The same from an output: what it reads of a node, read through that node's op."""

    @cached_property
    def covered(self) -> Covered:
        """Which ends of each map are read over one edge."""
        return Covered(self.compiled, self.axis)

    def through(self, v: int, slot: int, value: Both) -> Both | None:
        local, beyond = value
        read = self.reads[v][slot]
        others = EMPTY if beyond.kind == "empty" else self.reading(v, beyond, read, self.covered.edge(v, slot))
        if read.kind != "local" and read.is_unbounded:
            return EMPTY, _hull(others, _composed(local, read))
        window = local if local.kind == "empty" else local.through(read)
        if window.kind == "unknown":
            window = local if local.kind == "unknown" else self.blamed(v, window)
        return None if window.kind == others.kind == "empty" else (window, others)

    def either(self, v: int, values: list[Both], local: Window, beyond: Window) -> Both:
        return self.merged(v, values, local), beyond  # they are consumers here, all of which there are


def _hull(one: Window, other: Window) -> Window:
    """Return ``one.hull(other)``; in most cases one is empty."""
    if one.kind == "empty":
        return other
    return one if other.kind == "empty" else one.hull(other)


def _composed(outer: Window, inner: Window) -> Window:
    """Return ``outer.through(inner)``; in most cases nothing is to be composed."""
    if outer.kind == "empty" or inner.kind == "empty":
        return EMPTY
    if inner.kind == "full" and outer.exact:
        return inner
    return outer.through(inner)
