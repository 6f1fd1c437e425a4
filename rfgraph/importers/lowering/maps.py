"""Placed tensors, and the nodes that bring a view to where an op can be said axis by axis."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from rfgraph.frozen import dataclass
from rfgraph.graph.network import Network
from rfgraph.graph.treatments import matches, modules
from rfgraph.importers.lowering.layout import Probe
from rfgraph.importers.lowering.masks import Sided
from rfgraph.importers.lowering.origins import Lost, Origins, after
from rfgraph.importers.lowering.views import Dimension, Part, View, along, joined, other
from rfgraph.importers.program import Contract, Dim, Instruction, Value, bounds, exact_quotient, product, symbol
from rfgraph.importers.program.numbers import ALL, Zeros
from rfgraph.ops import kind_of

#: Positions of a map that is repeated, at the most.
MAX_TABLE = 1 << 16

#: Why channels laid out in space may read less than their node says.
FOLDED = "its channels hold different positions that nothing has mixed"
#: Why channels of different maps, some of them alone or laid out in space, may read less than their node says.
BESIDE = "its channels come from different maps that nothing has mixed"
#: Why an op that mixes part of an axis may read less than all of it.
APART = "only positions a fixed distance apart are mixed"
#: Why a tensor that a model returns is no map.
NO_RUN = "which of its dimensions carry the axes cannot be told"
#: Why a map that several blocks read alike may be read only in part by each position.
SHARED = "each position may read its own part of a map that blocks share"


@dataclass(frozen=True, slots=True)
class Placed:
    """A tensor that depends on an input: a view of the map that ``node`` makes."""

    node: str
    #: ``None`` after an op that nothing is known of, until a window shows which dimensions are spatial.
    view: View | None
    #: Axes of which every element reads everything.
    full: frozenset[int] = frozenset()
    #: The node of the model that last changed the view; what the view makes necessary is named after it.
    label: str = ""
    #: Whether positions lie among its channels, each channel holding some of them, or channels that read nothing.
    folded: bool = False
    #: Whether some of its channels come from other maps than others do.
    beside: bool = False
    #: Which of them come from which, as far as that is followed.
    origins: Origins | None = None
    #: Whether its elements are weights that a product of two tensors gave, and whether some may be 0 under a mask.
    weighs: Literal["", "all", "some"] = ""
    #: Axes of which one position was taken, and which.
    taken: frozenset[tuple[int, int]] = frozenset()

    def moved(self, node: str, view: View) -> Placed:
        """Return a tensor whose channels hold what those of this one do, as a view of the map of ``node``."""
        return Placed(node, view, self.full, folded=self.folded)


@dataclass(frozen=True)
class Mixed:
    """What mixing some dimensions means for each axis."""

    full: frozenset[int]
    blocks: dict[int, int]  # axis -> size of the blocks that are mixed, each in itself
    #: Those of ``full`` of which only every so many positions are mixed, as in grid attention.
    apart: frozenset[int] = frozenset()

    @property
    def bound(self) -> str:
        """Why less than the whole of ``full`` may be read."""
        return APART if self.apart else ""

    def __bool__(self) -> bool:
        return bool(self.full or self.blocks)


def mixed(view: View, dims: Collection[int]) -> Mixed:
    """Return which axes are mixed where ``dims`` of a view are."""
    full, blocks, apart = set(), {}, set()
    for axis in sorted(set().union(*(view.dims[d].axes for d in dims))):
        places = [(d, part) for d, part in view.places(axis) if part.size != 1]
        inside = sorted((part for d, part in places if d in dims), key=lambda part: str(part.stride))
        if not inside:
            continue
        block = _innermost(inside)
        if len(inside) < len(places) and block is not None:
            blocks[axis] = block
        else:
            full.add(axis)
            if len(inside) < len(places):
                apart.add(axis)
    return Mixed(frozenset(full), blocks, frozenset(apart))


def _innermost(parts: Sequence[Part]) -> int | None:
    """Return the size of the block of neighbouring positions that ``parts`` are, ``None`` if they are none."""
    block = 1
    for _ in parts:
        part = next((part for part in parts if part.stride == block), None)
        if part is None or not isinstance(part.size, int):
            return None
        block *= part.size
    return block


def unmixed(p: Placed) -> dict[str, str]:
    """Return the attribute that says why channels of a tensor may each read less than all of them do."""
    return {"bound": FOLDED} if p.folded else {"bound": BESIDE} if p.beside else {}


class LoweringBuilder:
    """A network under construction, and the moves on placed tensors that add nodes to it.

    Parameters
    ----------
    axes
        How many spatial axes it has.
    treat
        What the user says that ops read that are not known: downstream of those, dimensions stay what they are.
    probe
        Where to note what is slid over; then no nodes are made.
    """

    def __init__(self, name: str, axes: int, treat: Mapping[str, str], probe: Probe | None = None) -> None:
        self.network = Network(name, axes)
        self.axes = axes
        self.treat = treat
        #: Whether the model says which constants are learned.
        self.tells_learned = True
        #: Whether those of which nothing says that they are learned are fixed.
        self.tells_fixed = False
        self.zeros = Zeros()
        #: Steps of products whose rows read columns on one side of them alone, by name.
        self.sided: dict[str, Sided] = {}
        #: The dimensions of tensors that are mixed later on, by name.
        self.mixed_later: Mapping[str, frozenset[int]] = {}
        #: Whether the step at hand has looked at numbers of constants.
        self.looked = False
        self.probe = probe
        #: The tensors that lie side by side somewhere, by node.
        self.sources: dict[str, Placed] = {}
        #: Nodes that the step at hand has added.
        self.added: list[str] = []
        #: Whether the step at hand cannot be followed.
        self.gave_up = False
        #: The step at hand.
        self.step: Instruction | None = None
        self._names: dict[str, int] = {}  # -> the number that the next of that name gets
        self._laid_out: dict[Hashable, str] = {}  # what is laid out, and how -> the node that does
        self._layouts: dict[str, Hashable] = {}  # and the other way round
        self._measured: dict[tuple[int, Dim], Placed] = {}  # axis and size that a symbol stands for -> the first such

    def emit(self, op: str, name: str, inputs: Iterable[Placed], /, **attributes: Any) -> str:
        """Add a node and return its name, which has a number behind it if the name was taken.

        What is named after the step at hand is labelled with the framework's op where that is another word.
        """
        if self.probe is not None:
            return name
        free, number = name, self._names.get(name, 2)
        while free in self._names:
            free, number = f"{name}_{number}", number + 1
        self._names[name] = number
        self._names.setdefault(free, 2)
        step = self.step
        if step is not None and op != "unknown" and f"{name}/".startswith(f"{step.name}/"):
            attributes |= _other_word(step.op, op)  # one op of the model may be several nodes: all are called as it is
            if _may_be_empty(step) and not kind_of(op).keeps_empty:
                attributes["empty"] = True
        self.added.append(free)
        return self.network.node(op, free, *(placed.node for placed in inputs), **attributes)

    def nonzero(self, value: Value, kept: Sequence[int]) -> Any:
        """Return where a constant is not 0 along the dimensions ``kept``, whatever the others: ``None`` if everywhere.

        One of which nobody says that it is learned, and whose numbers are not at hand, may hold zeros anywhere: then
        it is an array of no elements.
        """
        numbers = value.held(self.tells_learned)
        self.looked |= numbers is not None and numbers is not ALL
        return self.zeros.missing(numbers, kept, self.tells_fixed)

    def repeat(self, name: str, op: str, tails: Iterable[str], attributes: dict[str, Any]) -> bool:
        """Add a node that one of another name has been like; return whether its own name was free."""
        if self.probe is not None:
            return True
        if name in self._names:
            return False
        self._names[name] = 2
        self.added.append(name)
        self.network.graph.add_node(name, op=op, **attributes)
        for slot, tail in enumerate(tails):
            self.network.graph.add_edge(tail, name, slot=slot)
        return True

    def begin(self) -> None:
        """Begin another step."""
        self.added.clear()
        self.gave_up = False
        self.looked = False

    def take_back(self) -> None:
        """Remove the nodes that the step at hand has added."""
        for node in self.added:
            self.network.graph.remove_node(node)
            del self._names[node]
            if node in self._layouts:
                self._laid_out.pop(self._layouts.pop(node), None)
        self.begin()

    def node(self, op: str, step: Instruction, inputs: Iterable[Placed], /, **attributes: Any) -> str:
        """Add the node that stands for ``step``."""
        return self.emit(op, step.name, inputs, **attributes)

    def unknown(
        self, step: Instruction, operands: Iterable[Placed | None], why: str = "", seen: View | None = None
    ) -> Placed:
        """Add a node of which nothing is known; what ``treat`` says of it is left to those who read the network.

        Parameters
        ----------
        step, operands
            The step, and what it reads.
        why
            What stands in the way.
        seen
            Which dimensions of its output carry axes nevertheless.
        """
        self.gave_up = True
        inputs = [p for p in operands if p is not None]
        attributes = {"of": step.op, "why": why} if why else {"of": step.op}
        node = self.emit("unknown", step.name, inputs, **attributes)
        fits = [
            how
            for pattern, how in self.treat.items()
            if matches(pattern, (step.name, *modules(step.name), step.op, "unknown"))
        ]
        view = inputs[0].view if fits else seen
        if view is not None and step.output.shape is not None and view.rank != len(step.output.shape):
            view = None
        full = {"identity": inputs[0].full, "global": frozenset(range(self.axes))}.get(fits[0] if fits else "")
        return Placed(node, view, full or frozenset(), step.name)

    def measure(self, p: Placed) -> None:
        """Note how large a map is along its axes, where only symbols say it."""
        for symbol_ in p.view.symbols if p.view is not None else ():
            self._measured.setdefault(symbol_, p)

    def measured_like(self, sizes: Mapping[int, Dim]) -> tuple[list[int], list[Placed]] | None:
        """Return the slot from 1 on of a map that is as large along each axis, and these maps; ``None`` without one."""
        measured = [self._measured.get((axis, sizes[axis])) for axis in range(self.axes)]
        distinct = {p.node: p for p in measured if p is not None}
        order = list(distinct)
        if any(p is None for p in measured):
            return None
        return [order.index(p.node) + 1 for p in measured if p is not None], list(distinct.values())

    def at_most(self, p: Placed, name: str, why: str) -> Placed:
        """Return a tensor of which less may be read, for the reason ``why``, than what stands there."""
        return replace(p, node=self.emit("slice", name, [p], bound=why))

    def each(self, op: str, step: Instruction, inputs: Sequence[Placed], **told: Any) -> str:
        """Add a node of an op of one input for every input, and one that reads them all."""
        if len(inputs) == 1:
            return self.node(op, step, inputs, **told)
        read = [replace(p, node=self.emit(op, f"{step.name}/{i}", [p], **told)) for i, p in enumerate(inputs)]
        return self.node("elementwise", step, read)

    def some_channels(self, step: Instruction, inputs: Sequence[Placed], part: str = "") -> Placed:
        """Add the node of a step that picks some of the channels of its first input, under a name of its own as a part.

        Of maps that lie side by side there it reads those of which it picks any channels.
        """
        p, named = inputs[0], replace(step, name=f"{step.name}/{part}") if part else step
        if len(inputs) > 1:
            return replace(p, node=self.node("elementwise", named, inputs))
        if p.folded:
            return replace(p, node=self.node("slice", named, inputs, bound=FOLDED))
        if not p.beside:
            return replace(p, node=self.node("identity", named, inputs))
        try:
            picked = None if p.origins is None else after(step.primitive, p.origins, step)
        except Lost:
            picked = None
        if p.origins is None or picked is None:
            return replace(p, node=self.node("slice", named, inputs, bound=BESIDE))
        there, sources = p.node == p.origins.node, picked.present()
        if picked.every == p.origins.every:
            node = self.node("identity", named, inputs)
        elif there and sources and all(source.is_map for source in sources) and not p.origins.tied:
            inputs = [replace(p, node=source.node, full=source.full) for source in sources]
            node = self.node("identity" if len(sources) == 1 else "concat", named, inputs)
        else:
            return replace(p, node=self.node("slice", named, inputs, bound=BESIDE))
        full = frozenset.intersection(*(q.full for q in inputs))
        return replace(p, node=node, full=full, origins=replace(picked, node=node if there else picked.node))

    def per_axis(self, values: dict[int, Any], default: Any) -> list[Any]:
        """Return one entry per axis."""
        return [values.get(axis, default) for axis in range(self.axes)]

    # Moves between positions and channels.

    def to_depth(
        self, p: Placed, blocks: dict[int, int], name: str, op: str = "space_to_depth", bound: str = ""
    ) -> Placed:
        """Fold blocks of positions into the channels, by ``op``: a pooling of that size reads the same."""
        assert p.view is not None
        sizes = self.per_axis(blocks, 1)
        if op == "space_to_depth":
            node = self.emit(op, name, [p], block=sizes, **_told(bound))
        else:
            node = self.emit(op, name, [p], kernel=sizes, stride=sizes, **_told(bound))

        def folded(part: Part) -> Part:
            if part.axis not in blocks:
                return part
            outer = exact_quotient(part.stride, blocks[part.axis])
            return Part(part.size) if outer is None else replace(part, stride=outer)

        dims = tuple(replace(dim, parts=joined(map(folded, dim.parts))) for dim in p.view.dims)
        return replace(p, node=node, view=View(dims), folded=p.folded or op == "space_to_depth")

    def to_space(self, p: Placed, blocks: dict[int, int], name: str) -> Placed:
        """Lay channels out as blocks of positions: those that follow the axis in its dimension.

        What several read is laid out once: it is one grid, on which their branches line up or not.
        """
        assert p.view is not None
        sizes = self.per_axis(blocks, 1)
        key = p.node, p.view, tuple(sizes), p.folded, p.beside
        view = p.view
        for axis, block in blocks.items():
            for d, part in p.view.places(axis):
                view = view.replaced(d, along(axis, part.size * block))
        node = self._laid_out.get(key)
        if node is None:
            node = self.emit("depth_to_space", name, [p], block=sizes, **unmixed(p))
            self._laid_out[key], self._layouts[node] = node, key
        return replace(p, node=node, view=view)

    def collapse(
        self,
        p: Placed,
        dims: Collection[int],
        name: str,
        op: str,
        block_op: str = "space_to_depth",
        bound: str = "",
    ) -> Placed:
        """Mix ``dims`` so that their positions are no longer told apart; axes mixed whole have one position left.

        ``bound`` says why less than that may be read.
        """
        assert p.view is not None
        reach = mixed(p.view, dims)
        label = p.label
        if reach.blocks:
            p = self.to_depth(p, reach.blocks, f"{name}/blocks" if reach.full else name, block_op, bound)
        if reach.full:
            node = self.emit(op, name, [p], **self.mixes(reach.full), **_told(bound or reach.bound))
            assert p.view is not None
            left = any(d and d not in dims and not dim.axes and dim.size != 1 for d, dim in enumerate(p.view.dims))
            folded, beside = p.folded and left, p.beside and left  # of dimensions that are not mixed
            p = Placed(node, p.view.without(reach.full), p.full | reach.full, label, folded=folded, beside=beside)
        return p

    def absorb(self, p: Placed, dims: Collection[int], name: str) -> Placed:
        """Mix ``dims`` for another tensor whose own positions they meet: the map keeps its grid, or is read whole."""
        assert p.view is not None
        reach = mixed(p.view, dims)
        view = p.view.without(reach.full)
        for d in dims:
            view = view.replaced(d, other(p.view.dims[d].size))
        inner = {d for d in dims if p.view.dims[d].axes & set(reach.blocks)}
        if inner:
            p = self.spread(p, inner, f"{name}/blocks" if reach.full else name, "attention")
        if reach.full:
            node = self.emit("flatten", name, [p], **self.mixes(reach.full), **_told(reach.bound))
            p = replace(p, node=node, full=p.full | reach.full)
        return replace(p, view=view)

    def spread(self, p: Placed, dims: Collection[int], name: str, op: str, **told: Any) -> Placed:
        """Mix ``dims`` so that each position reads all of them; the map stays as it is.

        ``told`` are attributes of the op; those of blocks can only be a ``bound``.
        """
        assert p.view is not None
        reach = mixed(p.view, dims)
        view = p.view
        if reach.blocks:
            inner = self.to_depth(p, reach.blocks, f"{name}/blocks")
            last = f"{name}/positions" if reach.full else name
            bound = _told(told.get("bound", ""))
            node = self.emit("depth_to_space", last, [inner], block=self.per_axis(reach.blocks, 1), **bound)
            p = replace(p, node=node, view=view)
        if reach.full:
            node = self.emit(op, name, [p], **self.mixes(reach.full), **{**_told(reach.bound), **told})
            p = replace(p, node=node, full=p.full | reach.full)
        return p

    def mixes(self, axes: Collection[int]) -> dict[str, Any]:
        """Return the attribute that says which axes an op mixes; all is the default."""
        return {} if len(axes) == self.axes else {"mixes": [axis in axes for axis in range(self.axes)]}

    # Finding the axes of dimensions.

    def on_axes(
        self, p: Placed, dims: Sequence[int], rank: int, sliding: Collection[int] = ()
    ) -> tuple[Placed, dict[int, int], dict[int, int]] | None:
        """Bring ``dims`` to where each is one whole axis.

        Over ``sliding`` ones a window slides: what an op has laid out along an axis that it mixed is no order for it.

        Returns
        -------
        The tensor, the axis of each dimension that is one (others carry channels), and the stride between neighbours on
        an axis of which every so many positions are in the batch. ``None`` where this cannot be done.
        """
        if p.view is None:
            if len(dims) > self.axes or self.probe is not None:
                return None
            p = replace(p, view=self._fresh(dims, rank))
        view = p.view
        assert view is not None
        leads = _leads(view, dims)
        if leads is None:
            return None
        bare = [d for d in dims if d not in leads]
        gone = [axis for axis in range(self.axes) if axis not in leads.values()]
        among = {d for axis in gone for d, part in view.places(axis) if part.size != 1}
        whole = among and len(dims) == self.axes and among.isdisjoint((0, *dims))
        if whole and all(view.dims[d].size == 1 for d in bare):  # axes that lie among the channels, all of each
            read = self.collapse(p, among, p.label or f"{p.node}/flatten", "flatten")
            return self.on_axes(replace(read, folded=True), dims, rank, sliding)
        alive = any(view.extent(axis) != 1 for axis in view.axes)
        lost = alive and any(view.dims[d].size != 1 for d in bare if d in sliding) and p.full
        if len(dims) == self.axes and all(view.extent(axis) == 1 for axis in gone) and not lost:
            # what carries nothing are the axes of one position that are left, and channels laid out along them
            leads.update(zip(bare, gone, strict=True))
            view = view.without(gone)
        axes: dict[int, int] = {}
        blocks: dict[int, int] = {}
        strides: dict[int, int] = {}
        for d, axis in leads.items():
            parts = tuple([part for part in view.dims[d].parts if part.axis is None or part.size != 1])
            if not parts or parts[0].axis is None:
                parts = (Part(1, axis), *parts)
            view = view.replaced(d, replace(view.dims[d], parts=parts))
            trailing = product(part.size for part in parts[1:])
            stride = self._interleaved(view, axis, parts[0])
            if stride is None or (stride > 1 and trailing != 1) or not isinstance(trailing, int):
                return None
            axes[d], strides[axis] = axis, stride
            if trailing != 1:
                blocks[axis] = trailing
        p = replace(p, view=view)
        if blocks:
            p = self.to_space(p, blocks, p.label or f"{p.node}/depth_to_space")
        return p, axes, {axis: stride for axis, stride in strides.items() if stride > 1}

    def _fresh(self, dims: Sequence[int], rank: int) -> View:
        """Return the view of a map of which nothing was known but that ``dims`` are its axes."""
        size = symbol("unseen")
        axis_of = {d: axis for axis, d in enumerate(dims)}
        return View(tuple(along(axis_of[d], size) if d in axis_of else Dimension((Part(size),)) for d in range(rank)))

    def _interleaved(self, view: View, axis: int, part: Part) -> int | None:
        """Return the stride of ``part`` if the positions between its own are all elsewhere, ``None`` if others are."""
        if exact_quotient(view.extent(axis), part.size) != part.stride:
            return None
        return part.stride if isinstance(part.stride, int) else None

    def as_output(self, p: Placed, usual: int) -> Placed:
        """Return what a model returns as a map as large as its tensor along each axis, unknown if that is not told.

        Axes that lie among the channels as a whole are read as a whole. ``usual`` is the first dimension of an input
        that is an axis, 0 if inputs do not tell.
        """
        view = p.view
        if view is None or view.rank != self.axes + 2 or any(dim.extra for dim in view.dims):
            return self.as_map(p, fold=True)
        run = _run(view, self.axes, usual)
        if run is None:
            places = [view.places(axis) for axis in range(self.axes) if view.extent(axis) != 1]
            lone = all(len(place) == 1 and len(view.dims[place[0][0]].axes) == 1 for place in places)
            whole = all(view.whole(place[0][0]) is not None for place in places)
            bare = [dim for dim in view.dims[1:] if not dim.axes and dim.size != 1]
            gone = any(view.extent(axis) == 1 for axis in set(range(self.axes)) - p.full)
            if lone and (not whole or (gone and len(bare) > 1)):
                return Placed(self.emit("unknown", f"{p.node}/map", [p], of="output", why=NO_RUN), None)
            return self.as_map(p, fold=True)
        within = {d for d in range(1, view.rank) if d not in run and view.dims[d].axes}
        ones = [axis for d in within for axis in view.dims[d].axes if view.extent(axis) == 1]
        p = replace(p, view=view.without(ones))
        if mixed(view, within).full:
            p = self.collapse(p, within, p.label or f"{p.node}/flatten", "flatten")
        p = self.as_map(p, fold=True)
        assert p.view is not None
        if any(p.view.extent(axis) == 1 for axis in p.full):  # each reads all of it: it is not told apart what is
            return p
        placed = self.on_axes(p, run, view.rank)
        return p if placed is None else placed[0]

    def as_map(self, p: Placed, *, fold: bool) -> Placed:
        """Lay out the channels that stand among positions, where the tensor looks like a map of all its axes.

        Parameters
        ----------
        fold
            Also fold positions that stand among the channels.
        """
        view = p.view
        if view is None or not self.axes <= view.rank <= self.axes + 2:
            return p
        if any(dim.extra for dim in view.dims):
            return p
        inner: dict[int, int] = {}
        blocks: dict[int, int] = {}
        leads: set[int] = set()
        for dim in view.dims:
            outermost = [part for part in dim.spatial if part.reach == view.extent(_axis(part))]
            if not outermost:
                continue
            axis, part = _axis(outermost[0]), outermost[0]
            trailing = product(other_part.size for other_part in dim.parts[1:])
            if len(dim.spatial) > 1 or dim.parts[0] != part or not isinstance(trailing, int):
                return p
            if not isinstance(part.stride, int):
                return p
            leads.add(axis)
            if part.stride > 1:
                inner[axis] = part.stride
            if trailing > 1:
                blocks[axis] = trailing
        if view.axes - leads or (set(inner) & set(blocks) and not fold):
            return p
        if inner and fold:
            p = self.to_depth(p, inner, p.label or f"{p.node}/space_to_depth")
        if blocks:
            p = self.to_space(p, blocks, p.label or f"{p.node}/depth_to_space")
        return p


def _run(view: View, axes: int, usual: int) -> range | None:
    """Return which dimensions of a tensor that is a map of ``axes`` axes, batch and channels are these axes.

    They follow each other. They are those that the axes lead as the tensor lies, in any order; else those that are the
    axes in order if what lies among the channels is read as a whole, and channels are laid out along axes of one
    position. ``None`` if none are, or several; of several, ``usual`` is where they begin.
    """
    first = [next((part for part in dim.parts if part.size != 1), Part(1)) for dim in view.dims]
    lies: list[list[int]] = []  # the dimensions that each axis lies in, or stands in with one position
    leads: list[list[int]] = []  # those of them that it leads
    for axis in range(axes):
        places = view.places(axis)
        lies.append(sorted({d for d, part in places if part.size != 1} or {d for d, _ in places}))
        whole = view.extent(axis)
        leads.append([d for d in lies[-1] if whole == 1 or (first[d].axis == axis and first[d].reach == whole)])

    def laid(run: range) -> bool:
        return all(len(led) == 1 and led[0] in run if places else True for led, places in zip(leads, lies, strict=True))

    def standing(run: range) -> bool:
        return laid(run) and all([d] in leads or view.dims[d].size == 1 for d in run)

    def in_order(run: range) -> bool:
        channel = view.rank - 1 if run.start == 1 else 1
        return all(
            led == [d] or (places == [channel] and view.dims[d].size == 1) or (not places and first[d].axis is None)
            for d, led, places in zip(run, leads, lies, strict=True)
        )

    near, far = (range(start, start + axes) for start in ((usual, 3 - usual) if usual else (1, 2)))
    if not usual:
        for fits in (standing, in_order, laid):
            runs = [run for run in (near, far) if fits(run)]
            if runs:
                return runs[0] if len(runs) == 1 else None
        return None
    order = [(near, standing), (near, in_order), (far, standing), (near, laid), (far, in_order)]
    return next((run for run, fits in order if fits(run)), None)


def _leads(view: View, dims: Iterable[int]) -> dict[int, int] | None:
    """Return the axis that leads each of some dimensions; ``None`` where positions lie in one that are not all of it.

    An axis of one position leads a dimension where it stands alone, with channels laid out along it.
    """
    leads: dict[int, int] = {}
    for d in dims:
        dim = view.dims[d]
        parts = [part for part in dim.parts if part.size != 1]
        spatial = [part for part in parts if part.axis is not None] or [*dim.spatial]
        if dim.extra or len(spatial) > 1 or (spatial and parts and spatial[0].size != 1 and spatial[0] != parts[0]):
            return None
        if spatial:
            axis = _axis(spatial[0])
            if axis in leads.values():
                return None
            leads[d] = axis
    return leads


def _told(bound: str) -> dict[str, str]:
    """Return the attribute that says why an op may read less than its window, if it may."""
    return {"bound": bound} if bound else {}


def _may_be_empty(step: Instruction) -> bool:
    """Return whether a step takes tensors of no positions, and may be given or make one."""
    if not (isinstance(step.primitive, Contract) or getattr(step.primitive, "empty", False)):
        return False
    sizes = (size for value in (*step.inputs, step.output) for size in value.shape or ())
    return any((bounds(size).least or 0) < 1 for size in sizes if size != 1)


def _other_word(op: str, kind: str) -> dict[str, str]:
    """Return the attribute that says what a model calls an op, if that is not the word for its kind."""
    return {"label": op} if op.lower().replace("_", "") != kind.replace("_", "") else {}


def _axis(part: Part) -> int:
    assert part.axis is not None
    return part.axis
