"""What a handler of an ONNX operator gets: a node in plain Python; and the table that handlers are kept in.

A handler gets the node and the builder, and returns the values of the node's outputs, as many as it follows. Nothing
here or in the handlers needs onnx.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from rfgraph.importers import program
from rfgraph.importers.program.builder import Builder
from rfgraph.importers.program.dimensions import Expression, Shape
from rfgraph.importers.program.primitives import Value
from rfgraph.importers.spelling.handlers import Handlers, UnspelledError

#: A tensor, or a sequence of tensors.
Item: TypeAlias = "Value | tuple[Value, ...]"
Made: TypeAlias = "Item | Sequence[Item]"


@dataclass(frozen=True)
class Node:
    """One node of an ONNX graph."""

    name: str
    op: str
    version: int
    attributes: Mapping[str, Any]
    inputs: tuple[Item | None, ...]
    outputs: tuple[str, ...]
    named: bool = True

    def get(self, name: str, default: Any = None) -> Any:
        """Return an attribute."""
        return self.attributes.get(name, default)

    def item(self, i: int) -> Item | None:
        """Return input ``i``, ``None`` if it is left out."""
        return self.inputs[i] if i < len(self.inputs) else None

    def optional(self, i: int) -> Value | None:
        """Return input ``i``, a tensor, ``None`` if it is left out."""
        found = self.item(i)
        if isinstance(found, tuple):
            raise ValueError(f"input {i} is a sequence of tensors, not a tensor")
        return found

    def input(self, i: int) -> Value:
        """Return input ``i``, a tensor."""
        found = self.optional(i)
        if found is None:
            raise ValueError(f"input {i} is missing")
        return found

    def sequence(self, i: int) -> tuple[Value, ...]:
        """Return input ``i``, a sequence of tensors."""
        found = self.item(i)
        if not isinstance(found, tuple):
            raise UnspelledError("the length of its sequence is not known")
        return found

    def tensors(self) -> list[Value]:
        """Return the inputs that are given."""
        return [self.input(i) for i, value in enumerate(self.inputs) if value is not None]

    def shape(self, i: int = 0) -> Shape:
        """Return the shape of input ``i``."""
        shape = self.input(i).shape
        if shape is None:
            raise UnspelledError(f"the rank of its input {i} is not known")
        return shape

    def output(self, k: int) -> str:
        """Return what output ``k`` is called: after the node if that has a name, else after itself."""
        return f"{self.name}/{k}" if self.named else self.outputs[k]

    def numbers(self, name: str, i: int) -> list[Any] | None:
        """Return a list of numbers that is an attribute in old opsets and constant input ``i`` in later ones."""
        if name in self.attributes:
            found = self.attributes[name]
            return list(found) if isinstance(found, Sequence) else [found]
        value = self.optional(i)
        if value is None:
            return None
        if value.data is None:
            raise UnspelledError(f"its {name} depend on what the network computes")
        return list(value.data.elements.flat)

    def integers(self, name: str, i: int) -> list[int] | None:
        """Return what ``numbers`` returns, all of them integers."""
        found = self.numbers(name, i)
        return None if found is None else [as_integer(name, number) for number in found]


def as_integer(name: str, number: Any) -> int:
    """Return a number that has to be known when the model is read."""
    if isinstance(number, Expression):
        raise UnspelledError(f"its {name} depend on the input size; give one")
    return int(number)


Handle: TypeAlias = "Callable[[Node, Builder], Made]"
HANDLERS: Handlers[Handle] = Handlers("ONNX")


def and_read(node: Node, build: Builder, made: Value, *inputs: int) -> Value:
    """Return what else reads all of some inputs of a node: scales, biases, states that the network computes."""
    read = [(i, value) for i in inputs if (value := node.optional(i)) is not None and not value.constant]
    if not read:
        return made
    numbers = [build(program.Whole(shape=()), value, part=f"parameter/{i}") for i, value in read]
    return build(program.Pointwise(function="elementwise"), made, *numbers, part="parameters")
