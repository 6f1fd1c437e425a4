"""What a step makes, kept for the steps that are like it: most of a network is a few steps, over and over.

A *recipe* is kept of a step that added one node, its own, to tensors that say all of themselves. A later step like it,
on tensors that lie alike, adds the same node under its own name and reads its own tensors. Nothing that depends on
names is kept: which operand stands where is told by its place.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Literal

from rfgraph.frozen import dataclass
from rfgraph.importers import program
from rfgraph.importers.lowering.counts import Counts
from rfgraph.importers.lowering.maps import LoweringBuilder, Placed
from rfgraph.importers.lowering.views import View
from rfgraph.importers.program.primitives import Instruction

#: Primitives whose rules look at nothing but the step and how its operands lie.
KEPT = (
    program.Pointwise, program.Slide, program.SlideTransposed, program.Reduce, program.Mix, program.Contract,
)  # fmt: skip
#: In place of the number of an operand: the step itself.
STEP = -1
#: Recipes of one network, at the most.
MAX_RECIPES = 1 << 16


@dataclass(frozen=True, slots=True)
class Recipe:
    """The node that a step adds, and what it makes."""

    op: str
    tails: tuple[int, ...]  # by slot, the operand whose node is read
    #: The attributes of the node, in their order; ``parameters`` is each step's own.
    attributes: Mapping[str, Any]
    view: View
    full: frozenset[int]
    #: After what the result is called: the operand of that number, or the step itself, ``None`` for nothing.
    label: int | None
    folded: bool
    weighs: Literal["", "all", "some"]
    taken: frozenset[tuple[int, int]]
    #: Whether only symbols say how large its map is along some axis.
    is_symbolic: bool


class Recipes:
    """The recipes of one network under construction.

    Parameters
    ----------
    maps, counts
        What nodes are added to, and what states their channels; ``None`` where nothing does.
    """

    def __init__(self, maps: LoweringBuilder, counts: Counts | None) -> None:
        self.maps, self.counts = maps, counts
        self._kept: dict[Hashable, Recipe] = {}
        self._views: dict[View, View] = {}
        #: By ``id``: a view, held, and the one that stands for its equals.
        self._known: dict[int, tuple[View, View]] = {}

    def key(self, step: Instruction, operands: Sequence[Placed | None]) -> Hashable | None:
        """Return what decides what a step makes, but for names; ``None`` if it is more than that."""
        primitive, shape = step.primitive, step.output.shape
        if not isinstance(primitive, KEPT) or shape is None:
            return None
        nodes = self.maps.network.graph._node
        lies: list[Hashable] = []
        read: list[str] = []
        for value, p in zip(step.inputs, operands, strict=True):
            if p is None:
                lies.append(
                    (value.shape, value.alike, bool(value.learned), value.numbers is None and value.data is None)
                )
                continue
            if p.view is None or p.beside or p.origins is not None:
                return None
            if p.node not in read:
                read.append(p.node)
            view = id(self._same(p.view))
            channels = nodes[p.node].get("channels") if self.counts is not None else None
            told = p.full, p.folded, p.weighs, p.taken, bool(p.label)
            lies.append((value.shape, read.index(p.node), view, channels, told))
        holds = self.counts is not None and self.counts.waits(step)
        probed = 0 if self.maps.probe is None else self.maps.probe.united
        later = self.maps.mixed_later.get(step.output.name)
        return primitive, step.op, step.macs, shape, holds, probed, later, tuple(lies)

    def made(self, key: Hashable | None, step: Instruction, operands: Sequence[Placed | None]) -> Placed | None:
        """Return what a step makes by the recipe of one that is like it, ``None`` if there is none."""
        recipe = self._kept.get(key) if key is not None else None
        if recipe is None:
            return None
        attributes = {name: _copied(value) for name, value in recipe.attributes.items()}
        if "parameters" in attributes and self.counts is not None:
            attributes["parameters"] = self.counts.taken()
        tails = [p.node for i in recipe.tails if (p := operands[i]) is not None]
        if not self.maps.repeat(step.name, recipe.op, tails, attributes):
            return None
        label = ""
        if recipe.label == STEP:
            label = step.name
        elif recipe.label is not None and (p := operands[recipe.label]) is not None:
            label = p.label
        output = Placed(
            step.name, recipe.view, recipe.full, label, recipe.folded, False, None, recipe.weighs, recipe.taken
        )
        if recipe.is_symbolic:
            self.maps.measure(output)
        return output

    def keep(self, key: Hashable | None, step: Instruction, operands: Sequence[Placed | None], out: Placed) -> None:
        """Keep what a step has made, where it can be told without names."""
        maps = self.maps
        if maps.looked:  # at numbers that are the step's own
            return
        if key is None or maps.gave_up or out.node != step.name or len(self._kept) >= MAX_RECIPES:
            return
        if out.view is None or out.beside or out.origins is not None:
            return
        named = {p.label: i for i, p in enumerate(operands) if p is not None and p.label}
        label = STEP if out.label == step.name else named.get(out.label)
        if out.label and (label is None or (label != STEP and len(named) != 1)):
            return  # it is called after something else, or it cannot be told after which operand
        attributes: dict[str, Any] = {}
        tails: list[int] = []
        op = ""
        if maps.probe is None:
            if maps.added != [step.name]:
                return
            slots = {p.node: i for i, p in reversed(list(enumerate(operands))) if p is not None}
            edges = [
                (edge["slot"], tail)
                for tail, several in maps.network.graph._pred[step.name].items()
                for edge in several.values()
            ]
            if not all(tail in slots for _, tail in edges):
                return
            tails = [slots[tail] for _, tail in sorted(edges)]
            attributes = dict(maps.network.graph._node[step.name])
            op = attributes.pop("op")
        view = self._same(out.view)
        is_symbolic = any(not isinstance(view.extent(axis), int) for axis in view.axes)
        self._kept[key] = Recipe(
            op, tuple(tails), attributes, view, out.full, label, out.folded, out.weighs, out.taken, is_symbolic
        )

    def _same(self, view: View) -> View:
        """Return the view that stands for all that are equal to it."""
        known = self._known.get(id(view))
        if known is None:
            self._known[id(view)] = known = view, self._views.setdefault(view, view)
        return known[1]


def _copied(value: Any) -> Any:
    return [_copied(entry) for entry in value] if isinstance(value, list) else value
