"""What a handler of any format gets: one node of a model in plain Python, and what every format asks of it.

What cannot be spelt raises ``UnspelledError``, what cannot be at all ``ValueError``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rfgraph.frozen import dataclass
from rfgraph.importers.program import Dim, Shape, Value
from rfgraph.importers.spelling.arguments import shape_of, whole_number
from rfgraph.importers.spelling.handlers import UnspelledError


@dataclass(frozen=True)
class Call:
    """One call of an op, as far as readers of all formats know it; what it is called with, each format says its way."""

    name: str
    op: str


class Named(Call):
    """A call whose arguments are known by their names; which tensor is the first of them, each format says its way."""

    @property
    def x(self) -> Value:
        """Its first tensor."""
        raise NotImplementedError

    @property
    def shape(self) -> Shape:
        """Shape of its first tensor."""
        return shape_of(self.x)

    @property
    def rank(self) -> int:
        """Number of dimensions of its first tensor."""
        return len(self.shape)


@dataclass(frozen=True)
class Node(Call):
    """A call whose inputs are known by their places; what a format knows besides stands in a class below this one."""

    #: Tensors, ``None`` for one that is left out, and what else the nodes of a format read.
    inputs: tuple[Any, ...]

    def optional(self, i: int) -> Value | None:
        """Return input ``i``, a tensor, ``None`` if it is left out; negative numbers count from the end."""
        item = self.inputs[i] if -len(self.inputs) <= i < len(self.inputs) else None
        if item is not None and not isinstance(item, Value):
            raise UnspelledError(f"its input {i} is no tensor")
        return item

    def input(self, i: int) -> Value:
        """Return input ``i``, a tensor."""
        tensor = self.optional(i)
        if tensor is None:
            raise ValueError(f"input {i} is missing")
        return tensor

    @property
    def x(self) -> Value:
        """Its first input."""
        return self.input(0)

    def shape(self, i: int = 0) -> Shape:
        """Return the shape of input ``i``, whose rank must be known."""
        return shape_of(self.input(i))

    def rank(self, i: int = 0) -> int:
        """Return the number of dimensions of input ``i``."""
        return len(self.shape(i))

    def tensors(self, first: int = 0, last: int | None = None) -> list[Value]:
        """Return the inputs that are given, all of them tensors."""
        tensors = [self.optional(i) for i in range(len(self.inputs))[first:last]]
        return [value for value in tensors if value is not None]

    def numbers(self, what: str, i: int) -> list[Any]:
        """Return what the constant input ``i`` holds, symbolic sizes among it, in row-major order."""
        value = self.input(i)
        if value.data is None:
            raise UnspelledError(f"its {what} depends on what the network computes, or is not in the file")
        return list(value.data.elements.flat)

    def sizes(self, what: str, i: int) -> tuple[Dim, ...]:
        """Return a list of sizes that the constant input ``i`` holds."""
        data = self.input(i).data
        if data is not None and not data.integer:
            raise ValueError(f"its {what} holds numbers that are no integers")
        return tuple(self.numbers(what, i))

    def integers(self, what: str, i: int) -> list[int]:
        """Return what ``numbers`` returns, all of them integers."""
        return [whole_number(what, number) for number in self.numbers(what, i)]

    def integer(self, what: str, i: int) -> int:
        """Return the one integer that input ``i`` holds."""
        numbers = self.integers(what, i)
        if len(numbers) != 1:
            raise ValueError(f"its {what} has {len(numbers)} elements, not one")
        return numbers[0]

    def pairs(self, what: str, i: int) -> tuple[tuple[Dim, Dim], ...]:
        """Return pairs of sizes that the constant input ``i`` holds, one per row."""
        amounts = self.sizes(what, i)
        if len(amounts) % 2:
            raise ValueError(f"its {what} has {len(amounts)} elements, not pairs of them")
        return tuple(zip(amounts[::2], amounts[1::2], strict=True))


def fits(shape: Shape, stated: Sequence[object]) -> bool:
    """Whether two shapes may be the same: sizes that are not numbers are not compared."""
    pairs = zip(shape, stated, strict=False)
    return len(shape) == len(stated) and all(a == b for a, b in pairs if isinstance(a, int) and isinstance(b, int))
