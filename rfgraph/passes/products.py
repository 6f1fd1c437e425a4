"""Unions of products as a domain: what several paths read over all axes at once.

What a feature reads along one path is a product of sets, one per axis. Several paths read a union of products, which is
kept as such: a path that reads nothing on one axis reads nothing on the others either. A product inside another one
adds nothing and is dropped, so that usual networks keep one. What a set is, a subclass says.
"""

from __future__ import annotations

from abc import abstractmethod
from functools import reduce
from typing import Generic, TypeVar

from rfgraph.frozen import dataclass
from rfgraph.passes.compiled import Compiled
from rfgraph.passes.fold import Domain

Part = TypeVar("Part")

#: More products than this at one node are replaced by their hull, and the answer is a bound.
MAX_PRODUCTS = 64


@dataclass(frozen=True)
class Products(Generic[Part]):
    """A union of products, one part per axis; none of them lies inside another."""

    products: list[tuple[Part, ...]]
    exact: bool


class ProductDomain(Domain[Products[Part]]):
    """Carries unions of products; they are exact up to ``MAX_PRODUCTS`` at one node."""

    def __init__(self, compiled: Compiled) -> None:
        self.compiled = compiled

    @property
    @abstractmethod
    def first(self) -> tuple[Part, ...]:
        """What the node reads at which the walk starts."""

    @abstractmethod
    def read(self, v: int, slot: int, axis: int, part: Part) -> Part | None:
        """Return what ``part`` becomes along one axis on the edge into ``slot`` of ``v``; ``None`` if nothing is."""

    @abstractmethod
    def covers(self, one: Part, other: Part) -> bool:
        """Return whether all of ``other`` lies in ``one``."""

    @abstractmethod
    def hull(self, one: Part, other: Part) -> Part:
        """Return what covers both."""

    def joins(self, one: tuple[Part, ...], other: tuple[Part, ...]) -> bool:
        """Return whether the hull of two products, axis by axis, adds nothing that matters to either."""
        return False

    @property
    def start(self) -> Products[Part]:
        return Products([self.first], True)

    def through(self, v: int, slot: int, value: Products[Part]) -> Products[Part] | None:
        products = []
        for product in value.products:
            parts: list[Part] = []
            for axis, part in enumerate(product):
                new = self.read(v, slot, axis, part)
                if new is None:
                    break
                parts.append(new)
            else:
                products.append(tuple(parts))
        certain = not any(op.alternatives or not op.reads_all for op in self.compiled.layers.ops[v])
        return Products(products, value.exact and certain) if products else None

    def join(self, v: int, values: list[Products[Part]]) -> Products[Part]:
        if len(values) == 1 and len(values[0].products) == 1:
            return values[0]
        kept: list[tuple[Part, ...]] = []
        sure = [product for value in values if value.exact for product in value.products]
        # What may be read adds nothing to what is read for sure, where it lies inside.
        exact = all(
            value.exact or all(any(self._inside(one, other) for other in sure) for one in value.products)
            for value in values
        )
        for value in values:
            for product in value.products:
                self._add(kept, product)
            if len(kept) > MAX_PRODUCTS:
                kept, exact = [self.united(kept)], False
        return Products(kept, exact)

    def united(self, products: list[tuple[Part, ...]]) -> tuple[Part, ...]:
        """Return the one product that covers all."""
        return tuple(reduce(self.hull, parts) for parts in zip(*products, strict=True))

    def _add(self, kept: list[tuple[Part, ...]], new: tuple[Part, ...]) -> None:
        """Add a product to a union, in which none lies inside another."""
        waiting = [new]
        while waiting:
            new = waiting.pop()
            if any(self._inside(new, old) for old in kept):
                continue
            kept[:] = [old for old in kept if not self._inside(old, new)]
            for number, old in enumerate(kept):
                if self.joins(old, new):
                    waiting.append(self.united([kept.pop(number), new]))
                    break
            else:
                kept.append(new)

    def _inside(self, one: tuple[Part, ...], other: tuple[Part, ...]) -> bool:
        return all(self.covers(b, a) for a, b in zip(one, other, strict=True))
