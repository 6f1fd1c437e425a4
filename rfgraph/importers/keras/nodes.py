"""What handlers of Keras layers and operations get: one call of one of them, and how its config is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias

from rfgraph.frozen import dataclass
from rfgraph.importers import program
from rfgraph.importers.program import Builder, Dim, Shape, Value
from rfgraph.importers.spelling import Handlers, Named, UnspelledError, products
from rfgraph.importers.spelling.arguments import axes_of, axis_of, per_axis, shape_of, whole_number

Made: TypeAlias = "Value | Sequence[Value]"

#: Reads a layer, as a config holds it, on arguments: ``(layer, args, kwargs, name)`` -> its outputs.
Apply: TypeAlias = "Callable[[Any, Sequence[Any], Mapping[str, Any], str], list[Value]]"


@dataclass(frozen=True)
class Node(Named):
    """One call of a layer or of an operation of ``keras.ops``; ``op`` names its class, or follows ``ops.``."""

    config: Mapping[str, Any]
    #: What it is called with: values, numbers, text, slices, and tuples and mappings of these.
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    #: Whether the model is read for other sizes than it was made for: sizes that it states may be wrong then.
    resized: bool
    apply: Apply

    # Its config.

    def get(self, name: str, default: Any = None) -> Any:
        """Return an entry of its config, ``default`` if it is left out or None."""
        value = self.config.get(name)
        return default if value is None else value

    def integer(self, name: str, default: int | None = None) -> int:
        """Return an integer of its config."""
        return whole_number(name, self.get(name, default))

    def integers(self, name: str, count: int, default: int | None = None) -> tuple[int, ...]:
        """Return one integer for each of ``count`` axes, of a list or of one number for all."""
        return per_axis(name, self.get(name, default), count)

    def size(self, name: str, default: Dim | None = None) -> Dim:
        """Return a size of its config, which is no less than 1."""
        return size(name, self.get(name, default))

    def flag(self, name: str, default: bool = False) -> bool:
        """Return a switch of its config."""
        value = self.get(name, default)
        if not isinstance(value, bool):
            raise ValueError(f"{name} {value!r} is neither true nor false")
        return value

    def text(self, name: str, default: str = "") -> str:
        """Return a word of its config, in lower case."""
        value = self.get(name, default)
        if not isinstance(value, str):
            raise ValueError(f"{name} {value!r} is not text")
        return value.lower()

    def axes(self, name: str = "axis", rank: int | None = None) -> tuple[int, ...]:
        """Return dimensions, counted from 0, in order; all of them if none is given."""
        rank = self.rank if rank is None else rank
        value = self.config.get(name)
        if value is None:
            return tuple(range(rank))
        entries = value if isinstance(value, (list, tuple)) else (value,)
        return axes_of([whole_number(name, entry) for entry in entries], rank)

    @property
    def normed(self) -> tuple[int, ...]:
        """The dimensions of its entry ``axis``, by default the last one."""
        return (self.rank - 1,) if self.get("axis") is None else self.axes()

    def axis(self, name: str = "axis", default: int = -1, rank: int | None = None) -> int:
        """Return a dimension, counted from 0."""
        return axis_of(self.integer(name, default), self.rank if rank is None else rank)

    # Its arguments.

    def argument(self, place: int, name: str, default: Any = None) -> Any:
        """Return an argument, by its place or its name; ``default`` if it is left out or None."""
        value = self.args[place] if place < len(self.args) else self.kwargs.get(name)
        return default if value is None else value

    def value(self, place: int, name: str) -> Value:
        """Return an argument that is a tensor."""
        argument = self.argument(place, name)
        if not isinstance(argument, Value):
            raise ValueError(f"its argument {name} is not a tensor")
        return argument

    def tensors(self) -> list[Value]:
        """Return all arguments that are tensors, those in lists too, but for masks."""
        kept = {name: value for name, value in self.kwargs.items() if not name.endswith("mask")}
        return [item for item in flat((self.args, tuple(kept.values()))) if isinstance(item, Value)]

    @property
    def x(self) -> Value:
        """Its first tensor."""
        if self.args and isinstance(self.args[0], Value):
            return self.args[0]
        tensors = self.tensors()
        if not tensors:
            raise ValueError("it is called on no tensor")
        return tensors[0]

    # Its layout.

    def layout(self, axes: int | None = None, *, single: bool = False) -> tuple[tuple[int, ...], int]:
        """Return the dimensions of its spatial axes, and that of its channels.

        Parameters
        ----------
        axes
            Number of axes, as many as it has dimensions besides batch and channels if left out.
        single
            Whether one image without a batch will do.
        """
        axes = self.rank - 2 if axes is None else axes
        batch = self.rank - 1 - axes
        if axes < 1 or (batch != 1 and not (single and batch == 0)):
            raise ValueError(f"its input has {self.rank} dimensions, not a batch, {max(axes, 1)} axes and channels")
        if self.text("data_format", "channels_last") == "channels_first":
            return tuple(range(batch + 1, self.rank)), batch
        return tuple(range(batch, self.rank - 1)), self.rank - 1


def flat(structure: Any) -> Iterator[Any]:
    """Return the leaves of nested lists and mappings, those of a mapping in the order of its keys."""
    for _, leaf in leaves(structure):
        yield leaf


def leaves(structure: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Return the leaves as ``flat`` does, each with the way to it from the first mapping on, empty if there is none."""
    if isinstance(structure, (list, tuple)):
        for k, item in enumerate(structure):
            yield from leaves(item, f"{path}.{k}" if path else "")
    elif isinstance(structure, Mapping):
        for key in sorted(structure, key=str):
            yield from leaves(structure[key], f"{path}.{key}" if path else str(key))
    else:
        yield path, structure


def size(name: str, number: Any) -> Dim:
    """Return a size, which is no less than 1."""
    whole = whole_number(name, number)
    if whole < 1:
        raise ValueError(f"{name} {whole} is not positive")
    return whole


def pairs(name: str, value: Any, count: int) -> tuple[tuple[int, int], ...]:
    """Return an amount before and one after for each of ``count`` axes: of one number, one per axis, or pairs."""
    entries = list(value) if isinstance(value, (list, tuple)) else [value]
    if count == 1 and len(entries) == 2 and not any(isinstance(entry, (list, tuple)) for entry in entries):
        entries = [entries]
    entries = entries * count if len(entries) == 1 else entries
    if len(entries) != count:
        raise ValueError(f"{name} {list(entries)} does not have one entry for each of {count} axes")
    return tuple((before, after) for before, after in (per_axis(name, entry, 2) for entry in entries))


def product_of_last(
    build: Builder, x: Value, units: Dim, part: str = "", macs: Dim | Literal["primitive"] = "primitive"
) -> Value:
    """Add a product with weights that turns the last dimension into one of ``units``."""
    shape = shape_of(x)
    rows = tuple(f"b{i}" for i in range(len(shape) - 1))
    dense = program.Contract(operands=((*rows, "k"), ("k", "j")), output=(*rows, "j"))
    return build(dense, x, build.weights_of_layer((shape[-1], units)), part=part, macs=macs)


def einsum_dense(node: Node) -> tuple[program.Contract, Shape, Shape]:
    """Return the product that an ``EinsumDense`` computes, and the shapes of its kernel and its bias."""
    equation = node.get("equation")
    if not isinstance(equation, str):
        raise ValueError(f"equation {equation!r} is not text")
    kernel = equation.partition("->")[0].rpartition(",")[2].strip()
    contract = products.einsum(equation, (node.rank, len(kernel)))
    sizes: dict[str, Dim] = dict(zip(contract.operands[0], node.shape, strict=True))
    stated = node.get("output_shape")
    entries = list(stated) if isinstance(stated, (list, tuple)) else [stated]
    for label, entry in zip(reversed(contract.output), reversed(entries), strict=False):
        if entry is not None and label not in sizes:
            sizes[label] = size("output_shape", entry)
    both = [*contract.operands[1], *node.get("bias_axes", "")]
    if missing := [label for label in both if label not in sizes]:
        raise UnspelledError(f"its output_shape does not say the size of {missing[0]!r}")
    shape = tuple(sizes[label] for label in both)
    return contract, shape[: len(kernel)], shape[len(kernel) :]


Handle: TypeAlias = "Callable[[Node, Builder], Made]"

#: Layers by the name of their class, and operations of ``keras.ops`` by theirs after ``ops.``.
HANDLERS: Handlers[Handle] = Handlers("Keras")
