"""What handlers of ncnn's layers get: one layer, and how its parameters are read.

A blob has one to four dimensions and no batch: ``[w]``, ``[h, w]``, ``[c, h, w]``, ``[c, d, h, w]``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, TypeAlias

from rfgraph.frozen import dataclass
from rfgraph.importers.program import Builder, Value, simplest
from rfgraph.importers.spelling.handlers import Handlers, UnspelledError
from rfgraph.importers.spelling.node import Node as Base

Made: TypeAlias = "Value | Sequence[Value]"

#: What a parameter is that is left out, or that weights or another blob say.
ABSENT, SAME_UPPER, SAME_LOWER = -233, -233, -234


@dataclass(frozen=True)
class Node(Base):
    """One layer; its parameters go by their numbers."""

    parameters: Mapping[int, Any]
    #: What its outputs are called.
    outputs: tuple[str, ...]

    def integer_of(self, number: int, default: int = 0) -> int:
        """Return a parameter that is an integer."""
        value = self.parameters.get(number, default)
        if not isinstance(value, int):
            raise ValueError(f"parameter {number} is {str(value)[:40]!r}, no integer")
        return value

    def fraction_of(self, number: int, default: int = 0) -> Fraction:
        """Return a parameter that is a number."""
        value = self.parameters.get(number, default)
        if not isinstance(value, (int, float)) or value != value or abs(value) > 2**53:
            raise ValueError(f"parameter {number} is {str(value)[:40]!r}, no number")
        return Fraction(simplest(float(value)))

    def list_of(self, number: int) -> tuple[int, ...] | None:
        """Return a parameter that is a list of integers, ``None`` if it is left out."""
        entries = self.parameters.get(number)
        if entries is None:
            return None
        if not isinstance(entries, tuple) or not all(isinstance(entry, int) for entry in entries):
            raise ValueError(f"parameter {number} is no list of integers")
        return entries

    def plain(self, *numbers: int) -> None:
        """Check that parameters that hold an expression, or say that a blob holds more of them, are left out."""
        for number in numbers:
            if self.parameters.get(number):
                raise UnspelledError(f"its parameter {number} says that what it does is computed as the model runs")

    @property
    def names(self) -> list[tuple[str, str]]:
        """What its outputs are called, each with the op."""
        return [(name, self.op) for name in self.outputs]


Handle: TypeAlias = "Callable[[Node, Builder], Made]"
HANDLERS: Handlers[Handle] = Handlers("ncnn")
