"""What handlers of JAX primitives get: one equation of a jaxpr, whose shapes are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from rfgraph.frozen import dataclass
from rfgraph.importers.jax.numbers import Number
from rfgraph.importers.jax.symbols import size_of
from rfgraph.importers.program import Builder, Shape, Value
from rfgraph.importers.spelling import Call, Handlers, UnspelledError

Made: TypeAlias = "Value | Sequence[Value]"
Ints = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Operand:
    """What a primitive reads: a tensor of the program, and what it holds if no input reaches it."""

    value: Value
    number: Number | None = None

    @property
    def numbers(self) -> Any:
        """The array that it holds, ``None`` where that is not known."""
        return None if self.number is None or not self.value.constant else self.number.value


@dataclass(frozen=True)
class Node(Call):
    """One equation: its parameters as JAX calls them, what it reads, and the shapes of what it makes."""

    parameters: Mapping[str, Any]
    operands: tuple[Operand, ...]
    shapes: tuple[Shape | None, ...]
    #: The named scopes and functions that it stands in.
    within: tuple[str, ...] = ()
    #: Sizes at which what depends on sizes that are open is looked at, by their names.
    trials: tuple[Mapping[str, int], ...] = ()

    def value(self, k: int) -> Value:
        """Return the tensor that operand ``k`` is."""
        return self.operands[k].value

    def shape(self, k: int = 0) -> Any:
        """Return the shape of operand ``k``."""
        return ints_of(self.operands[k].value.shape)

    @property
    def rank(self) -> int:
        """Number of dimensions of the first operand."""
        return len(self.shape())

    @property
    def made(self) -> Any:
        """Shape of the first output."""
        return ints_of(self.shapes[0])

    @property
    def tensors(self) -> list[Value]:
        """All operands."""
        return [operand.value for operand in self.operands]

    def integers(self, name: str) -> Ints:
        """Return a parameter that is a tuple of integers."""
        return tuple(int(number) for number in self.parameters[name])

    def sizes(self, name: str) -> Any:
        """Return a parameter that is a tuple of sizes."""
        return tuple(map(size_of, self.parameters[name]))


def ints_of(shape: Shape | None) -> Any:
    if shape is None:
        raise UnspelledError("it works on what is no tensor")
    return tuple(map(size_of, shape))


Handle: TypeAlias = "Callable[[Node, Builder], Made]"
HANDLERS: Handlers[Handle] = Handlers("JAX")
