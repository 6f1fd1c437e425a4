"""The sizes pass: feature map sizes from the input size, forward through the network."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

from rfgraph.algebra.window import LARGEST
from rfgraph.errors import AttributeValueError, SizeError
from rfgraph.graph.network import OrderedNetwork
from rfgraph.ops import Size
from rfgraph.ops.base import check_digits, positive

Name = TypeVar("Name", bound=Hashable)

#: One number for all axes, one per axis, or that for each input by name.
InputSize = int | Sequence[int] | Mapping[Hashable, int | Sequence[int]] | None


def infer(layers: OrderedNetwork, input_size: InputSize = None) -> list[tuple[Size, ...]]:
    """Return the size of every node's map on every axis, [V][A]; ``None`` where the input size does not tell.

    Parameters
    ----------
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


def infer_axis(layers: OrderedNetwork, axis: int, given: Mapping[int, int]) -> list[Size]:
    """Return the size of every node's map on one axis, [V], with the sizes of some nodes given by id."""
    sizes: list[Size] = []
    known: dict[tuple[int, tuple[Size, ...]], Size] = {}
    for v, (ops, tails) in enumerate(zip(layers.ops, layers.tails, strict=True)):
        if v in given:
            _check_own(layers, v, axis, given[v])
            sizes.append(given[v])
            continue
        inputs = tuple([sizes[tail] for tail in tails])
        key = (id(ops), inputs)
        if key in known:
            if known[key] == 0 and v in layers.ends:
                raise _too_small(layers, v, axis, [*sizes, 0])
            sizes.append(known[key])
            continue
        try:
            fits = ops[axis].takes_empty or 0 not in inputs
            size = ops[axis].size(inputs) if fits else 0
        except SizeError as error:
            raise SizeError(f"{layers.describe(v, axis)}: {error}{_inputs(layers, tails, inputs)}") from None
        if size is not None and size < (0 if fits and ops[axis].makes_empty and v not in layers.ends else 1):
            raise _too_small(layers, v, axis, [*sizes, size])
        if size is not None and size > LARGEST:
            raise SizeError(f"{layers.describe(v, axis)}: its map would have a size of more than 3000 digits")
        if not tails:
            _check_own(layers, v, axis, size)
        known[key] = size
        sizes.append(size)
    return sizes


def _too_small(layers: OrderedNetwork, v: int, axis: int, sizes: Sequence[Size]) -> SizeError:
    """Return the refusal of a map too small, at the node after which nothing of it was left."""
    while empty := [tail for tail in layers.tails[v] if sizes[tail] == 0]:
        v = empty[0]
    tails, size = layers.tails[v], sizes[v]
    assert size is not None
    read = [sizes[tail] for tail in tails]
    why = layers.ops[v][axis].too_small(read, size)
    return SizeError(f"{layers.describe(v, axis)}: {why}{_inputs(layers, tails, read)}; the input is too small")


def _check_own(layers: OrderedNetwork, v: int, axis: int, size: Size) -> None:
    """Refuse a map that reads no other, as an input, if it is none that the model takes."""
    misfit = "" if size is None else layers.ops[v][axis].misfit(size)
    if misfit:
        raise SizeError(f"{layers.describe(v, axis)}: {misfit}")


def given_sizes(layers: OrderedNetwork, input_size: InputSize) -> dict[int, tuple[int, ...]]:
    """Return the sizes that ``input_size`` gives, one per axis, by node id."""
    if input_size is None:
        return {}
    if not isinstance(input_size, Mapping):
        size = per_axis(layers.axes, input_size)
        stated = {v: tuple(getattr(op, "extent", None) for op in layers.ops[v]) for v in layers.inputs}
        chosen = meant(stated, size)
        if chosen is None:
            told = ", ".join(f"{layers.nodes[v]!r} {'x'.join(map(str, own))}" for v, own in stated.items())
            name = layers.nodes[next(iter(stated))]
            raise AttributeValueError(
                f"input_size {'x'.join(map(str, size))} is that of no input, and the inputs differ in size ({told}); "
                f"give it by name, as {{{name!r}: {size[0]}}} (--input-size {name}={size[0]})"
            )
        return dict.fromkeys(chosen, size)
    return {layers.id_of(name): per_axis(layers.axes, size) for name, size in input_size.items()}


def meant(stated: Mapping[Name, Sequence[object]], size: Sequence[int]) -> list[Name] | None:
    """Return the inputs that one size for a model of several inputs is meant for.

    Those whose size is open; if there is none, all if they are of one size. Where they differ, none needs it if some
    input has that very size; else it contradicts them all, and that is ``None``.

    Parameters
    ----------
    stated
        The sizes that the model states of each input, one entry per axis, integers where they are known.
    size
        What is given.
    """
    open_ones = [name for name, own in stated.items() if not all(isinstance(entry, int) for entry in own)]
    if open_ones or len({tuple(own) for own in stated.values()}) < 2:
        return open_ones or list(stated)
    return [] if tuple(size) in {tuple(own) for own in stated.values()} else None


def per_axis(names: Sequence[str], size: int | Sequence[int]) -> tuple[int, ...]:
    """Return the size of an input on each of the axes named.

    Raises
    ------
    AttributeValueError
        If it is not a positive integer, or has the wrong number of entries.
    """
    axes = len(names)
    check_digits("input_size", size)
    entries: tuple[object, ...] = tuple(size) if isinstance(size, (list, tuple)) else (size,) * axes
    if len(entries) != axes:
        raise AttributeValueError(f"input_size {size!r} has {len(entries)} entries, but the network has {axes} axes")
    try:
        return tuple(positive("input_size", entry) for entry in entries)
    except AttributeValueError as error:
        raise AttributeValueError(f"{error}; give pixels, as 224 or (224, 320)") from None


def _inputs(layers: OrderedNetwork, tails: Sequence[int], sizes: Sequence[Size]) -> str:
    return " (" + ", ".join(f"{layers.nodes[t]!r} gives {size}" for t, size in zip(tails, sizes, strict=True)) + ")"
