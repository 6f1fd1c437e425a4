"""What handlers of PyTorch's operators get: one call of an operator, and how its arguments are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from rfgraph.frozen import dataclass
from rfgraph.importers.program import Builder, Dim, Expression, Value
from rfgraph.importers.spelling import Handlers, Named, UnspelledError, axis_of, per_axis, whole_number

Made: TypeAlias = "Value | Dim | Sequence[Value | Dim]"


@dataclass(frozen=True)
class Node(Named):
    """One call of an operator: its arguments by their names in the operator's schema, in order; defaults left out."""

    overload: str
    arguments: Mapping[str, Any]
    #: Whether a tensor of booleans is among its arguments.
    masks: bool = False
    #: Whether the model is read for other sizes than it was exported for: sizes that it states may be wrong then.
    resized: bool = False

    def get(self, name: str, default: Any = None) -> Any:
        """Return an argument, ``default`` if it is left out or None."""
        value = self.arguments.get(name)
        return default if value is None else value

    def optional(self, name: str) -> Value | None:
        """Return a tensor, ``None`` if it is left out."""
        value = self.arguments.get(name)
        if value is not None and not isinstance(value, Value):
            raise ValueError(f"{name} is not a tensor")
        return value

    def tensor(self, name: str) -> Value:
        """Return a tensor."""
        value = self.optional(name)
        if value is None:
            raise ValueError(f"{name} is missing")
        return value

    @property
    def x(self) -> Value:
        """Its first argument, a tensor."""
        first = next(iter(self.arguments.values()), None)
        if not isinstance(first, Value):
            raise ValueError("its first argument is not a tensor")
        return first

    def tensors(self) -> list[Value]:
        """Return all arguments that are tensors, those in lists too."""
        tensors: list[Value] = []
        for value in self.arguments.values():
            tensors += [value] if isinstance(value, Value) else []
            tensors += [item for item in value if isinstance(item, Value)] if isinstance(value, tuple) else []
        return tensors

    def list(self, name: str) -> list[Value]:
        """Return a list of tensors."""
        entries = self.arguments.get(name)
        if not isinstance(entries, tuple) or not entries or not all(isinstance(item, Value) for item in entries):
            raise ValueError(f"{name} is not a list of tensors")
        return [*entries]

    def sizes(self, name: str) -> tuple[Dim, ...]:
        """Return a list of sizes, which may be symbolic."""
        value = self.arguments.get(name)
        sizes = value if isinstance(value, tuple) else (value,)
        return tuple(_size(name, size) for size in sizes)

    def size(self, name: str, default: Dim | None = None) -> Dim:
        """Return a size, which may be symbolic."""
        return _size(name, self.get(name, default))

    def integer(self, name: str, default: int | None = None) -> int:
        """Return an integer."""
        return whole_number(name, self.get(name, default))

    def integers(self, name: str, count: int, default: int | None = None) -> tuple[int, ...]:
        """Return one integer for each of ``count`` axes, of a list or of one number for all."""
        value = self.get(name, default)
        return per_axis(name, default if value == () else value, count)

    def dim(self, name: str = "dim", default: int | None = None, rank: int | None = None) -> int:
        """Return a dimension, counted from 0."""
        return dim_of(self.integer(name, default), self.rank if rank is None else rank)

    def dims(self, name: str = "dim") -> tuple[int, ...]:
        """Return dimensions, counted from 0, in order; all of them if none is given."""
        value = self.get(name, ())
        entries = value if isinstance(value, tuple) else (value,)
        if not entries:
            return tuple(range(self.rank))
        return tuple(sorted({dim_of(whole_number(name, entry), self.rank) for entry in entries}))


def _size(name: str, size: Any) -> Dim:
    if isinstance(size, Value):
        raise UnspelledError(f"its {name} depends on what the network computes")
    if isinstance(size, bool) or not isinstance(size, (int, Expression)):
        raise ValueError(f"{name} {size!r} is not a size")
    return size


def dim_of(dim: int, rank: int) -> int:
    return axis_of(dim, rank or 1)  # torch lets a number have one


Handle: TypeAlias = "Callable[[Node, Builder], Made]"
HANDLERS: Handlers[Handle] = Handlers("PyTorch")
