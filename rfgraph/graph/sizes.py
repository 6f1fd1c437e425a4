"""The sizes pass: feature map sizes from the input size, forward through the network."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

from rfgraph.errors import AttributeValueError, SizeError
from rfgraph.graph.network import Layers
from rfgraph.ops import Size
from rfgraph.ops.base import positive

#: One number for all axes, one per axis, or that for each input by name.
InputSize = int | Sequence[int] | Mapping[Hashable, int | Sequence[int]] | None


def infer(layers: Layers, input_size: InputSize = None) -> list[tuple[Size, ...]]:
    """Return the size of every node's map on every axis, [V][A]; ``None`` where the input size does not tell.

    Parameters
    ----------
    layers
        The network.
    input_size
        Size of its inputs in pixels; takes the place of the ``size`` their nodes state.

    Raises
    ------
    SizeError
        If maps that meet differ in size or a map has no positions left.
    AttributeValueError
        If ``input_size`` is not a positive integer, or has the wrong number of entries.
    """
    given = given_sizes(layers, input_size)
    per_axis = [
        infer_axis(layers, axis, {v: sizes[axis] for v, sizes in given.items()}) for axis in range(len(layers.axes))
    ]
    return list(zip(*per_axis, strict=True))


def infer_axis(layers: Layers, axis: int, given: Mapping[int, int]) -> list[Size]:
    """Return the size of every node's map on one axis, [V], with the sizes of some nodes given by id."""
    sizes: list[Size] = []
    known: dict[tuple[int, tuple[Size, ...]], Size] = {}
    for v, (ops, tails) in enumerate(zip(layers.ops, layers.tails, strict=True)):
        if v in given:
            sizes.append(given[v])
            continue
        inputs = tuple([sizes[tail] for tail in tails])
        key = (id(ops), inputs)
        if key in known:
            sizes.append(known[key])
            continue
        try:
            size = ops[axis].size(inputs)
        except SizeError as error:
            raise SizeError(f"{layers.describe(v, axis)}: {error}{_inputs(layers, tails, inputs)}") from None
        if size is not None and size < 1:
            raise SizeError(
                f"{layers.describe(v, axis)}: its map would have size {size}{_inputs(layers, tails, inputs)}; "
                "the input is too small"
            )
        known[key] = size
        sizes.append(size)
    return sizes


def given_sizes(layers: Layers, input_size: InputSize) -> dict[int, tuple[int, ...]]:
    """Return the sizes that ``input_size`` gives, one per axis, by node id."""
    if input_size is None:
        return {}
    if not isinstance(input_size, Mapping):
        return {v: per_axis(layers.axes, input_size) for v in layers.inputs}
    return {layers.id_of(name): per_axis(layers.axes, size) for name, size in input_size.items()}


def per_axis(names: Sequence[str], size: int | Sequence[int]) -> tuple[int, ...]:
    """Return the size of an input on each of the axes named.

    Raises
    ------
    AttributeValueError
        If it is not a positive integer, or has the wrong number of entries.
    """
    axes = len(names)
    entries: tuple[object, ...] = tuple(size) if isinstance(size, (list, tuple)) else (size,) * axes
    if len(entries) != axes:
        raise AttributeValueError(f"input_size {size!r} has {len(entries)} entries, but the network has {axes} axes")
    try:
        return tuple(positive("input_size", entry) for entry in entries)
    except AttributeValueError as error:
        raise AttributeValueError(f"{error}; give pixels, as 224 or (224, 320)") from None


def _inputs(layers: Layers, tails: Sequence[int], sizes: Sequence[Size]) -> str:
    return " (" + ", ".join(f"{layers.nodes[t]!r} gives {size}" for t, size in zip(tails, sizes, strict=True)) + ")"
