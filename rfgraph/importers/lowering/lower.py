"""From tensor program to network graph: follow which dimension carries which spatial axis, and name what ops read.

Every tensor that depends on an input is *placed*: it is a ``View`` of the feature map that some node of the graph
makes. Ops that only renumber elements change the view and make no node. An op that mixes elements makes one, after the
view has been brought to where the op can be said axis by axis: positions that lie in the channels are a
space-to-depth, channels that lie among the positions a depth-to-space. What cannot be said so is an ``unknown`` node,
never a guess.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from math import prod
from types import MappingProxyType
from typing import Any, Literal

import networkx as nx

from rfgraph.errors import ModelFileError
from rfgraph.graph.treatments import Treat
from rfgraph.importers.garbage import uncollected
from rfgraph.importers.lowering import functions as rules_functions  # noqa: F401  they register with ``place``
from rfgraph.importers.lowering import moves as rules_moves
from rfgraph.importers.lowering import windows as rules_windows  # noqa: F401  they register with ``place``
from rfgraph.importers.lowering.counts import Counts, held
from rfgraph.importers.lowering.invariants import checked, settle
from rfgraph.importers.lowering.later import mixed_later
from rfgraph.importers.lowering.layout import Axes, Layout, Probe
from rfgraph.importers.lowering.least import Least, along_axes, least_sizes, too_short
from rfgraph.importers.lowering.maps import LoweringBuilder, Placed
from rfgraph.importers.lowering.masks import one_sided
from rfgraph.importers.lowering.numbers import MOVES, Moves, Reading, read_back
from rfgraph.importers.lowering.origins import Lost, Origins, after, joined, laid
from rfgraph.importers.lowering.recipes import Recipes
from rfgraph.importers.lowering.rules import Operands, place
from rfgraph.importers.lowering.taken import nothing, overlaps, take
from rfgraph.importers.lowering.views import View
from rfgraph.importers.program.folding import given
from rfgraph.importers.program.primitives import (
    Concat,
    Contract,
    Either,
    Instruction,
    Pointwise,
    Program,
    Reduce,
    Slice,
    Slide,
    SlideTransposed,
    Take,
    Value,
    Whole,
)

ADRIFT = "which dimensions of the input carry the axes that its windows slide over cannot be told; say it with axes"
PIECES = "it puts pieces of one map together in a way that cannot be followed"
NO_BATCH = "the samples of a batch lie in it in a way that cannot be followed"


def lower(
    program: Program,
    treat: Treat | None = None,
    spatial: Mapping[str, Sequence[int]] | None = None,
    axes: Axes | None = None,
    least: Least | None = None,
) -> nx.MultiDiGraph[Any]:
    """Return the network graph of a tensor program.

    Parameters
    ----------
    program
        What a reader made of a model.
    treat
        What ops that are not known read, as for ``rfgraph.analyze``. Their nodes are ``unknown`` all the same; here it
        only tells that what comes after them lies as before.
    spatial
        The spatial dimensions of each input, in order; found from the model's windows if left out.
    axes
        The same as a user writes it, as for ``rfgraph.analyze``.
    least
        The least size of each input along each of its dimensions; what the program says if left out.

    Raises
    ------
    ModelFileError
        If no output depends on an input, or nothing tells which dimensions are spatial.
    """
    layout = layout_of(program, treat, axes) if spatial is None else Layout.given(program, spatial)
    maps = LoweringBuilder(program.name, layout.axes, treat or {})
    placed = place_all(program, layout, maps, least_sizes(program) if least is None else least)
    settle(maps, placed, [value.name for value in program.outputs])
    maps.network.graph.graph["parameters"] = held(program)
    maps.network.graph.graph["outputs"] = returned(program, placed, set(maps.network.graph))
    return maps.network.graph


def lower_for(
    read: Callable[[Mapping[str, Any]], Program],
    treat: Treat | None = None,
    input_size: Any = None,
    locations: Mapping[str, str] = MappingProxyType({}),
    inputs: Mapping[str, Any] | None = None,
    axes: Axes | None = None,
) -> nx.MultiDiGraph[Any]:
    """Return the network graph of a model that is read anew for another input size, if it was made for one.

    Parameters
    ----------
    read
        Reads the model; what it is given of inputs, a shape or what they hold, replaces the model's own.
    treat
        As for ``lower``.
    input_size
        One number for all axes or one per axis, or a mapping from input name to that.
    locations
        Where the user's code calls instructions, by name, as far as ``read`` has noted it when it is done; their nodes
        carry it as ``location``.
    inputs
        What inputs hold, as for ``rfgraph.analyze``; they are constants then.
    axes
        As for ``lower``.

    Raises
    ------
    ModelFileError
        If the model has no such input.
    """
    with uncollected():
        return _lowered_for(read, treat, input_size, locations, inputs, axes)


def _lowered_for(
    read: Callable[[Mapping[str, Any]], Program],
    treat: Treat | None,
    input_size: Any,
    locations: Mapping[str, str],
    inputs: Mapping[str, Any] | None,
    axes: Axes | None,
) -> nx.MultiDiGraph[Any]:
    numbers = {name: given(name, held) for name, held in (inputs or {}).items()}
    program = read(numbers)
    for name in numbers:
        if name not in program.given:
            known = ", ".join(repr(value.name) for value in program.inputs)
            raise ModelFileError(
                f"{program.name}: it has no input {name!r} to be set; its inputs are {known or 'none'}"
            )
    spatial, least = None, None
    if input_size is not None:
        layout = layout_of(program, treat, axes)
        shapes = layout.resized(program, input_size)
        if shapes:  # the axes are where they were, also if the model states sizes of maps that do not follow
            least = least_sizes(program)
            program, spatial = read({**numbers, **shapes}), layout.spatial
    graph = lower(program, treat, spatial, axes, least)
    for node, attributes in graph.nodes(data=True):
        if location := locations.get(node):
            attributes["location"] = location
    return graph


def layout_of(program: Program, treat: Treat | None = None, axes: Axes | None = None) -> Layout:
    """Return which dimensions of the inputs carry which spatial axis; windows after an unknown op that is treated tell.

    Raises
    ------
    ModelFileError
        If nothing tells, neither the model nor the user, or what the user says does not fit the inputs.
    """
    if axes is not None:
        return Layout.stated(program, axes)
    probe = Probe(program)
    place_all(program, Layout(probe.axes, probe.views), LoweringBuilder(program.name, probe.axes, treat or {}, probe))
    return probe.layout()


def returned(program: Program, placed: Mapping[str, Placed], nodes: Collection[str]) -> dict[str, str]:
    """Return the outputs of a model in its order, by what it calls them: the node that makes each.

    One that has no name of its own, or that of another node, is called as its node is. Outputs that depend on no input
    are none of the network.
    """
    outputs: dict[str, str] = {}
    for value, title in zip(program.outputs, program.titles or ("",) * len(program.outputs), strict=True):
        if value.name in placed:
            node = placed[value.name].node
            own = title and title not in outputs and title not in nodes
            outputs[title if own else node] = node
    return outputs


def place_all(
    program: Program, layout: Layout, maps: LoweringBuilder, least: Least = MappingProxyType({})
) -> dict[str, Placed]:
    """Place every tensor of a program that depends on an input, in order, and return them by name."""
    counts = Counts(program, layout.views, layout.axes) if maps.probe is None else None
    maps.tells_learned = program.tells_learned
    maps.tells_fixed = program.tells_learned and program.learned is not None
    maps.sided = one_sided(program) if maps.probe is None else {}
    maps.mixed_later = mixed_later(program)
    placed = _inputs(program, layout, maps, counts, least)
    values = {value.name: value for value in program.inputs}
    moves, recipes = Moves(program, layout.views), Recipes(maps, counts)
    adrift = {value.name for value in program.inputs if layout.views[value.name] is None and value.shape is not None}
    for step in program.instructions:
        operands = [None if value.constant else placed.get(value.name) for value in step.inputs]
        values[step.output.name] = step.output
        if any(operand is not None for operand in operands):
            maps.begin()
            maps.step = step
            if maps.probe is not None:
                maps.probe.follow(step)
            key = None if adrift or step.name in maps.sided else recipes.key(step, operands)
            known = recipes.made(key, step, operands)
            if known is not None:
                placed[step.output.name] = known
                continue
            short = too_short(step)
            output = maps.unknown(step, operands, short) if short else place(step.primitive, maps, step, operands)
            output = _apart(step, operands, output)
            lost = not adrift.isdisjoint([value.name for value in step.inputs]) if adrift else False
            if lost and not maps.gave_up and output.view is None:
                if isinstance(step.primitive, Pointwise) and sum(operand is not None for operand in operands) == 1:
                    adrift.add(step.output.name)
                else:
                    maps.take_back()
                    output = maps.unknown(step, operands, ADRIFT)
            base = moves.base(step.output.name)
            joins = isinstance(step.primitive, Concat) and len(step.inputs) > 1
            if base in placed and (maps.gave_up or joins or moves.writes(step)):
                output = _by_number(moves, maps, step, operands, output, placed[base], values[base])
            if maps.gave_up and isinstance(step.primitive, Take) and operands[0] is not None:
                output = rules_moves.among_blocks(maps, step, operands[0], step.primitive.dim) or output
            taken, weighs = _taken(step, operands, output), _weighs(step, operands, output)
            if taken != output.taken or weighs != output.weighs:
                output = replace(output, taken=taken, weighs=weighs)
            output = checked(maps, step, operands, output)
            if maps.gave_up and maps.probe is not None:
                maps.probe.lost(step)
            if counts is not None:
                counts.state(maps, step, operands, output)
            # A view is of a known shape; of a tensor of unknown rank only the node is known.
            placed[step.output.name] = output if step.output.shape is not None else replace(output, view=None)
            maps.measure(placed[step.output.name])
            recipes.keep(key, step, operands, placed[step.output.name])
    ends = [value.name for value in program.outputs if value.name in placed]
    if not ends:
        raise ModelFileError(f"{program.name}: none of its outputs depends on an input")
    usual = layout.begins
    for end in ends:
        placed[end] = maps.as_output(placed[end], usual)
    return placed


def _by_number(
    moves: Moves,
    maps: LoweringBuilder,
    step: Instruction,
    operands: Operands,
    output: Placed,
    base: Placed,
    value: Value,
) -> Placed:
    """Return what a step takes of the tensor whose elements it moves, found by their numbers where that says more.

    It does where no rule follows the step; where frames that overlap are put side by side, blocks, or rows that were
    taken one by one; where positions are stacked; and where constants are written over some rows of a map.
    """
    rows = {axis for p in operands if p is not None for axis, _ in p.taken}
    view = None if base.view is None else moves.one_sample(base.view)
    numbers = None if view is None else moves.numbers(step, value)
    reading = None if view is None or numbers is None else read_back(view, moves.shape(value) or (), numbers)
    if reading is None:
        if numbers is not None and (numbers < 0).all():
            return nothing(maps, step, output)
        if not maps.gave_up and base.view is not None and output.view is not None:
            known = output.view.axes | base.full | {axis for axis, _ in output.taken} | rows
            if any(base.view.extent(axis) != 1 for axis in base.view.axes - known):
                maps.take_back()
                return maps.unknown(step, operands, PIECES)
        return output
    if not maps.gave_up and output.view is not None and not moves.writes(step):
        kept = {axis for axis in output.view.axes if output.view.extent(axis) != 1} - rows
        same = kept >= {axis for axis in reading.first if reading.along(axis)}
        fewer = _joins_blocks(step, operands) and _has_fewer(output.view, reading)
        if same and not fewer and not overlaps(reading) and not _stacks(step, reading):
            return output
    maps.take_back()
    taken = take(maps, step, replace(base, view=view), reading)
    with_batch = None if taken.view is None else moves.with_batch(taken.view, step.output.shape)
    if with_batch is None:
        return maps.unknown(step, operands, NO_BATCH)
    return replace(taken, view=with_batch if output.view is None else with_batch.with_ones_of(output.view))


def _stacks(step: Instruction, reading: Reading) -> bool:
    """Return whether a step lays tensors along a new dimension that read other positions of the same map."""
    if not isinstance(step.primitive, Concat):
        return False
    d = step.primitive.dim
    new = all(value.shape is not None and value.shape[d] == 1 for value in step.inputs)
    return new and any(digit.steps for digit in reading.digits[d])


def _joins_blocks(step: Instruction, operands: Operands) -> bool:
    """Return whether a step lays tensors end to end along a dimension that carries a part of an axis."""
    if not isinstance(step.primitive, Concat):
        return False
    d = step.primitive.dim
    views = [p.view for p in operands if p is not None and p.view is not None]
    return any(view.dims[d].axes and view.whole(d) is None for view in views)


def _has_fewer(view: View, reading: Reading) -> bool:
    """Return whether a view tells fewer positions apart than there are."""
    return any(view.extent(axis) != prod(digit.size for digit in reading.along(axis)) for axis in reading.first)


def _taken(step: Instruction, operands: Operands, output: Placed) -> frozenset[tuple[int, int]]:
    """Return the axes of which a tensor holds one position, as a row does that was cut out, and which that is."""
    if output.view is None:
        return frozenset()
    view = output.view
    rows = {row for p in operands if p is not None for row in p.taken}
    p, cut = operands[0], list[tuple[int, Any]]()
    match step.primitive:
        case Slice(starts=starts, dims=dims):
            cut = [(d, start or 0) for d, start in zip(dims, starts, strict=True) if p is not None and _is_cut(p, d)]
        case Take(dim=d) if (data := step.inputs[1].data) is not None and data.elements.size == 1:
            cut = [(d, data.elements.flat[0])]
    for d, first in cut:
        if isinstance(first, int) and p is not None and (axis := _axis_of(p, d)) is not None:
            rows.add((axis, first))
    return frozenset((axis, row) for axis, row in rows if view.extent(axis) == 1)


def _is_cut(p: Placed, d: int) -> bool:
    """Return whether a dimension is an axis of several positions: of one that a slice leaves, it says which."""
    return p.view is not None and _axis_of(p, d) is not None and p.view.dims[d].size != 1


def _axis_of(p: Placed, d: int) -> int | None:
    """Return the axis all positions of which lie along a dimension, be it several times; ``None`` if there is none."""
    if p.view is None or len(p.view.dims[d].axes) != 1:
        return None
    (axis,) = p.view.dims[d].axes
    return axis if {e for e, _ in p.view.places(axis)} == {d} else None


def _weighs(step: Instruction, operands: Operands, output: Placed) -> Literal["", "all", "some"]:
    """Return whether a tensor holds weights of a product, and whether some may be 0: moves and functions keep that."""
    if isinstance(step.primitive, Contract | Reduce) or _mixes(step, operands):
        return output.weighs
    kinds = {output.weighs, *(p.weighs for p in operands if p is not None)}
    return "some" if "some" in kinds else "all" if "all" in kinds else ""


def _apart(step: Instruction, operands: Operands, output: Placed) -> Placed:
    """Return a tensor with the axes of which positions lie among its channels, and the maps that these come from."""
    known = [p for p in operands if p is not None]
    mixes = _mixes(step, operands)
    folded = not mixes and (output.folded or any(p.folded for p in known))
    told = output.origins is not None and all(output.origins is not p.origins for p in known)
    if told or not any(p.beside for p in known):
        apart = output.beside or told
        kept = folded == output.folded and apart == output.beside
        return output if kept else replace(output, folded=folded, beside=apart)
    try:
        origins = _origins(step, operands, output)
    except Lost:
        return replace(output, folded=folded, beside=not mixes)
    picks = isinstance(step.primitive, Contract) and output.beside  # each channel one, so that they differ as before
    return replace(output, folded=folded, beside=origins.differ or picks, origins=origins if origins.differ else None)


def _mixes(step: Instruction, operands: Operands) -> bool:
    """Return whether a step mixes all that is no position: channels, and no dimension beside them is left that is none.

    The first dimension is taken for the batch.
    """
    summed: list[set[int]]
    match step.primitive:
        case Whole():
            return True
        case Slide(channel=int(channel), groups=1, apart=False) | SlideTransposed(channel=int(channel), groups=1):
            summed = [{channel}]
        case Contract(operands=labels, output=output):
            summed = [{d for d, label in enumerate(each) if label not in output} for each in labels]
        case _:
            return False
    return any(summed) and not any(
        d and d not in dims and not dim.axes and dim.size != 1
        for p, dims in zip(operands, summed, strict=True) if p is not None and p.view is not None
        for d, dim in enumerate(p.view.dims)
    )  # fmt: skip


def _origins(step: Instruction, operands: Operands, output: Placed) -> Origins:
    """Return which maps the channels of what a step makes come from."""
    known = [p for p in operands if p is not None]
    if any(p.beside and p.origins is None for p in known):
        raise Lost
    primitive = step.primitive
    if len(known) == 1 or isinstance(primitive, Whole):
        p = next(p for p in known if p.origins is not None)
        assert p.origins is not None
        origins = after(primitive, p.origins, step)
        if isinstance(primitive, Pointwise) and primitive.function == "identity":
            return replace(origins, node=output.node) if origins.node == p.node else origins
        return origins if isinstance(primitive, MOVES) else origins.computed(step.name)
    if isinstance(primitive, Contract):
        labels = [names for p, names in zip(operands, primitive.operands, strict=True) if p is not None]
        factors = zip(known, labels, strict=True)
        return joined(step.name, [(laid(p.origins, names, primitive.output), p.node) for p, names in factors])
    if not isinstance(primitive, Pointwise | Either):
        raise Lost
    return joined(step.name, [(p.origins, p.node) for p in known])


def _inputs(
    program: Program, layout: Layout, maps: LoweringBuilder, counts: Counts | None, least: Least
) -> dict[str, Placed]:
    """Place the inputs; where some have spatial axes, those that have none are constants of the network."""
    views = layout.views
    spatial = [value for value in program.inputs if (view := views[value.name]) is None or view.axes]
    placed = {}
    for value in spatial or program.inputs:
        view = views[value.name]
        sizes = [] if view is None else [view.extent(axis) for axis in range(maps.axes)]
        known = [size if isinstance(size, int) else None for size in sizes]
        attributes: dict[str, Any] = {"size": known} if any(size is not None for size in known) else {}
        taken = along_axes(least.get(value.name, ()), view, maps.axes)
        if any(sizes.least != 1 for sizes in taken):
            attributes["least"] = [sizes.least for sizes in taken]
        if any(sizes.greatest is not None for sizes in taken):
            attributes["greatest"] = [sizes.greatest for sizes in taken]
        if any(sizes.modulus != 1 for sizes in taken):
            attributes["modulus"] = [sizes.modulus for sizes in taken]
            attributes["residues"] = [list(sizes.residues) for sizes in taken]
        if counts is not None and (channels := counts.channels(view)) is not None:
            attributes["channels"] = channels
        placed[value.name] = Placed(maps.emit("input", value.name, [], **attributes), view)
        maps.measure(placed[value.name])
    return placed
