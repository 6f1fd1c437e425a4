"""The smallest and the largest field of the paths to every node, where output phases differ.

Part of the twin ``rfgraph.fast.affine_walk``. Twin of ``rfgraph.passes.lengths`` in which paths stay together, those of
one shape, and held against it by ``tests/fast/test_affine_walk.py::check_solved``.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd

from rfgraph.algebra.window import IDENTITY
from rfgraph.fast.interning import Table
from rfgraph.fast.shapes import WHOLE, NotPlainError, Shape
from rfgraph.ops import Size
from rfgraph.passes.lengths import MAX_PHASES

#: Size less one of the leading phase of the shortest and of the longest path.
Lengths = tuple[int, int]


def path_fields(
    table: Table, specs: Sequence[int], tails: Sequence[Sequence[int]], sizes: Sequence[tuple[Size, ...]], axis: int
) -> list[Lengths | None]:
    """Return the sizes of the narrowest and of the widest field of a path, [V]; ``None`` where no path has one.

    Parameters
    ----------
    table, axis
        What specs mean, and the axis.
    specs, tails, sizes
        Of each node, [V]: what it is, what it reads, and the size of its map on every axis.

    Raises
    ------
    NotPlainError
        If paths have more phases than are followed, or what one reads is no more than a bound.
    """
    paths: list[dict[Shape, Lengths]] = []
    for v, (spec, read) in enumerate(zip(specs, tails, strict=True)):
        if not read:
            paths.append({table.shape(IDENTITY): (0, 0)})
        elif len(read) == 1:
            (tail,) = read
            groups = paths[tail]
            paths.append(groups if table.steps[spec] is None else _stepped(table, spec, sizes[tail], axis, groups))
        else:  # all of a map of another size is read
            paths.append(_joined([paths[tail] for tail in read if sizes[tail][axis] == sizes[v][axis]]))
    return [_ends(groups) for groups in paths]


def _stepped(
    table: Table, spec: int, map_size: tuple[Size, ...], axis: int, groups: dict[Shape, Lengths]
) -> dict[Shape, Lengths]:
    """Return the paths through an op, by shape."""
    steps, stepped = table.path_steps, dict[Shape, Lengths]()
    for shape, (shortest, longest) in groups.items():
        key = spec, map_size, axis, shape
        step = steps.get(key)
        if step is None:
            steps[key] = step = _step(table, spec, map_size, axis, shape)
        after, more = step
        if after.is_local:
            _add(stepped, after, (shortest + more, longest + more))
    return stepped


def _step(table: Table, spec: int, map_size: tuple[Size, ...], axis: int, shape: Shape) -> tuple[Shape, int]:
    """Return the shape of a path through an op, and how much longer it is."""
    read = table.reads_at(spec, map_size)[axis].window
    if read.is_full:
        return WHOLE, 0
    if read.period * (shape.period // gcd(shape.period, read.step)) > MAX_PHASES:
        raise NotPlainError(f"paths have more than {MAX_PHASES} phases")
    after, first, last = table.through(read, shape)
    return after, last - first


def _joined(sides: Sequence[dict[Shape, Lengths]]) -> dict[Shape, Lengths]:
    """Return the paths of all inputs of a node, by shape."""
    joined: dict[Shape, Lengths] = {}
    for groups in sides:
        for shape, lengths in groups.items():
            _add(joined, shape, lengths)
    if sum(shape.period for shape in joined) > MAX_PHASES:
        raise NotPlainError(f"paths with more than {MAX_PHASES} phases in all meet")
    return joined


def _add(groups: dict[Shape, Lengths], shape: Shape, lengths: Lengths) -> None:
    met = groups.get(shape)
    groups[shape] = lengths if met is None else (min(met[0], lengths[0]), max(met[1], lengths[1]))


def _ends(groups: dict[Shape, Lengths]) -> Lengths | None:
    if not groups:
        return None
    if len(groups) == 1:
        ((shape, (shortest, longest)),) = groups.items()
        return shortest + shape.size, longest + shape.size
    return (
        min([shortest + shape.size for shape, (shortest, _) in groups.items()]),
        max([longest + shape.size for shape, (_, longest) in groups.items()]),
    )
