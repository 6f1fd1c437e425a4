"""What a handler of an ONNX operator gets: a node in plain Python; and the table that handlers are kept in.

A handler gets the node and the builder, and returns the values of the node's outputs, as many as it follows. Nothing
here or in the handlers needs onnx.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from rfgraph.frozen import dataclass
from rfgraph.importers import program
from rfgraph.importers.program import Builder, Value
from rfgraph.importers.spelling import Handlers, UnspelledError, whole_number
from rfgraph.importers.spelling import Node as Base

#: A tensor, or a sequence of tensors.
Item: TypeAlias = "Value | tuple[Value, ...]"
Made: TypeAlias = "Item | Sequence[Item]"


@dataclass(frozen=True)
class Node(Base):
    """One node of an ONNX graph."""

    version: int
    attributes: Mapping[str, Any]
    outputs: tuple[str, ...]
    named: bool = True

    def get(self, name: str, default: Any = None) -> Any:
        """Return an attribute."""
        return self.attributes.get(name, default)

    def item(self, i: int) -> Item | None:
        """Return input ``i``, ``None`` if it is left out."""
        return self.inputs[i] if i < len(self.inputs) else None

    @property
    def sequence(self) -> tuple[Value, ...]:
        """Its first input, a sequence of tensors."""
        item = self.item(0)
        if not isinstance(item, tuple):
            raise UnspelledError("the length of its sequence is not known")
        return item

    def output(self, k: int) -> str:
        """Return what output ``k`` is called: after the node if that has a name, else after itself."""
        return f"{self.name}/{k}" if self.named else self.outputs[k]

    def stated(self, name: str, i: int) -> list[Any] | None:
        """Return numbers that are an attribute in old opsets and input ``i`` in later ones, ``None`` if left out."""
        if name in self.attributes:
            value = self.attributes[name]
            return list(value) if isinstance(value, Sequence) else [value]
        return None if self.optional(i) is None else self.numbers(name, i)

    def required(self, name: str, i: int) -> list[Any]:
        """Return what ``stated`` returns, which must not be left out."""
        numbers = self.stated(name, i)
        if numbers is None:
            raise ValueError(f"{name} is missing")
        return numbers

    def stated_integers(self, name: str, i: int) -> list[int] | None:
        """Return what ``stated`` returns, all of them integers."""
        entries = self.stated(name, i)
        return None if entries is None else [whole_number(name, number) for number in entries]


Handle: TypeAlias = "Callable[[Node, Builder], Made]"
HANDLERS: Handlers[Handle] = Handlers("ONNX")


def and_read(node: Node, build: Builder, output: Value, *inputs: int) -> Value:
    """Return what else reads all of some inputs of a node: scales, biases, states that the network computes."""
    read = [(i, value) for i in inputs if (value := node.optional(i)) is not None and not value.constant]
    if not read:
        return output
    numbers = [build(program.Whole(shape=()), value, part=f"parameter/{i}") for i, value in read]
    return build(program.Pointwise(function="elementwise"), output, *numbers, part="parameters")
