"""A plain network, walked: what its states tell of fields, merges, holes and paths, worked out when it is asked for.

Part of the twin ``rfgraph.fast.affine_walk``, which says what a state is, held by ``tests/fast/test_affine_walk.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import field
from functools import cached_property
from itertools import accumulate, islice
from typing import TYPE_CHECKING, Any

from rfgraph.algebra.alignment import Mode, Verdict, seen_from
from rfgraph.algebra.window import Window
from rfgraph.fast import merges
from rfgraph.fast.interning import Ends, Frames, Table
from rfgraph.fast.merges import Apart
from rfgraph.fast.path_fields import path_fields
from rfgraph.fast.shapes import NotPlainError, Shape
from rfgraph.frozen import dataclass
from rfgraph.graph.network import OrderedNetwork
from rfgraph.graph.outputs import spreads
from rfgraph.ops import Size
from rfgraph.passes.covers import EVERYTHING, read_ends
from rfgraph.passes.dominators import DominatorTree
from rfgraph.passes.results import Extremes

if TYPE_CHECKING:
    from rfgraph.fast.numbers import Numbers


@dataclass(frozen=True)
class Plain:
    """A plain network, and the fields of all its nodes."""

    name: str
    axes: tuple[str, ...]
    input_size: tuple[int, ...] | None
    #: Merges whose branches differ in centre, in topological order.
    misaligned: tuple[Hashable, ...]
    nodes: tuple[Hashable, ...]  # [V], in topological order
    states: dict[Hashable, int]
    specs: Sequence[int]  # [V]
    degrees: Sequence[int]  # [V], how many inputs each node has
    feeds: Sequence[Hashable]  # [E], the tails, node by node in the order of their slots
    _table: Table = field(repr=False, compare=False)
    #: What the model returns, by its own names.
    returned: Mapping[Hashable, Hashable] = field(default_factory=dict)

    @property
    def source(self) -> Hashable:
        """The input."""
        return self.nodes[0]

    @property
    def by_residue(self) -> bool:
        """Whether what is read depends on the input size, which is not known: sizes and fields are those at one size.

        Then these are asked of the general passes.
        """
        return self._table.lanes.by_residue

    @cached_property
    def has_no_holes(self) -> bool:
        """Whether every position inside every field is read; if not, some may not be.

        One position of a map reads a whole interval, if none before it skips any; so a node that reads several does
        too, if that interval is no shorter than they lie apart. And so does a merge, if its branches leave no gap.
        """
        table = self._table
        needs, lanes = table.needs, table.lanes
        states, feeds, numbers, lane = self.states, self.feeds, lanes.frames, lanes.lane
        least, at = table.least, 0
        for spec, degree in zip(self.specs, self.degrees, strict=True):
            if degree == 1 and needs[spec]:
                state = states[feeds[at]]
                held = least.get((spec, state & numbers))
                if held is None:
                    held = table.least_ends(spec, state & numbers)
                for at_before, at_last, more in held:
                    if (state >> at_before & lane) + (state >> at_last & lane) < more:
                        return False
            at += degree
        return not any(merges.leave_a_gap(table, state, states) for _, state, states in self._merges_that_are_off())

    @cached_property
    def _read_maps(self) -> list[tuple[int, tuple[Size, ...]]]:
        """What reads maps, and their sizes on every axis: every op that is no identity with each that it meets."""
        table, states, feeds = self._table, self.states, self.feeds
        keys, met, at = table.lanes.keys, dict[tuple[int, int], int](), 0
        for spec, degree in zip(self.specs, self.degrees, strict=True):
            if degree == 1 and table.steps[spec] is not None:
                state = states[feeds[at]]
                met[spec, state & keys] = state
            at += degree
        return [(spec, table.map_sizes(state)) for (spec, _), state in met.items()]

    @cached_property
    def reads_all(self) -> bool:
        """Whether surely no position of the image is unread: on some path to an output no op leaves any out.

        Where it is not sure of that, ``rfgraph.questions.unread`` tells.
        """
        table, states, feeds = self._table, self.states, self.feeds
        steps, even, met, at = table.steps, table.even, dict[tuple[int, int], int](), 0
        frames, keys = table.lanes.frames, table.lanes.keys
        for spec, degree in zip(self.specs, self.degrees, strict=True):
            if degree == 1 and steps[spec] is not None:
                state = states[feeds[at]]
                met[spec, state & (frames if spec in even else keys)] = state
            at += degree
        covers = {table.spare(spec, state, table.no_spare) is not None for (spec, _), state in met.items()}
        return False not in covers or (True in covers and self._end_reads_all())

    def _end_reads_all(self) -> bool:
        """Return whether on some path to an output every op reads all of its map that has to be read.

        What pads a map adds to its ends what need not be. It is not asked where outputs are hard to tell.
        """
        table, states, feeds, steps = self._table, self.states, self.feeds, self._table.steps
        specs, sizes, none = table.specs, table.lanes.sizes, table.no_spare
        collapse = {spec: all(op.collapses for op in specs[spec].ops) for spec in set(self.specs)}
        #: Of nodes to which such a path leads, how much of their ends need not be read.
        spare: dict[Hashable, tuple[Ends, ...] | None] = {self.source: none}
        flat, last, at = set[Hashable](), self.source, 0  # the nodes without spatial axes, and the last one with such
        for node, spec, degree in zip(self.nodes[1:], self.specs[1:], self.degrees[1:], strict=True):
            tails = feeds[at : at + degree]
            at += degree
            if not flat.issuperset(tails):
                if collapse[spec]:
                    flat.add(node)
                else:
                    last = node
            elif any(spreads(op, degree) for op in specs[spec].ops):
                return False
            else:
                flat.add(node)
            if degree > 1:
                one = next((tail for tail in tails if spare[tail] is not None), node)
                alike = one is node or not (states[one] ^ states[node]) & sizes  # else all of its map is read
                spare[node] = spare.get(one) if alike else none
            else:
                ends = spare[tails[0]]
                if ends is not None and steps[spec] is not None:
                    ends = table.spare(spec, states[tails[0]], ends)
                spare[node] = ends
        read, outputs = set(feeds), set(self.returned.values())
        if any(spare[node] is not None for node in (outputs or self.states.keys() - read) if node not in flat):
            return True
        # All nodes behind the last map are on the way to the only node that no one reads.
        only = not outputs or (self.nodes[-1] in outputs and len(read) == len(self.nodes) - 1)
        return only and spare[last] is not None

    @cached_property
    def gets_to_ends(self) -> bool:
        """Whether every op surely reads its input to both ends, so that what reads a whole map reads the whole axis.

        It is asked of the ops and sizes that occur; of one that is not known, it holds at every size from some on.
        """
        return all(
            read_ends(op, 0, (size,)) == EVERYTHING
            for spec, sizes in self._read_maps
            for op, size in zip(self._table.specs[spec].ops, sizes, strict=True)
        )

    def map_size(self, node: Hashable) -> tuple[Size, ...]:
        """Return the size of a node's map, one entry per axis."""
        return self._table.map_sizes(self.states[node])

    def is_global(self, node: Hashable) -> tuple[bool, ...]:
        """Return whether some path to a node reads the whole axis, one entry per axis."""
        return tuple([frame.is_global for frame in self._frames(node)])

    def _frames(self, node: Hashable) -> Frames:
        return self._table.frames[self.states[node] & self._table.lanes.frames]

    def field(self, node: Hashable) -> tuple[Window, ...]:
        """Return the receptive field of a node, one entry per axis; right only where there are no holes."""
        state, table = self.states[node], self._table
        return tuple([table.field(state, axis) for axis in range(len(self.axes))])

    def apart(self) -> Iterator[tuple[int, Apart]]:
        """Yield the branches that do not line up with the widest one of their merge, with their axis."""
        return merges.apart(self._table, self._merges_that_are_off())

    def is_surely_off(self, modes: Sequence[Mode]) -> bool:
        """Return whether some branches do not line up wherever they part: the cheap question before ``apart``."""
        return not self.upsamples and any(
            not self.stacks(pair.merge) and (modes[axis] == "center" or pair.last != pair.other_last)
            for axis, pair in self.apart()
        )

    def _merges_that_are_off(self) -> Iterator[tuple[int, int, list[int]]]:
        """Yield the id of each merge whose branches differ in centre, its state, and the states of what it reads."""
        ids, states = self._ids, self.states
        for merge in self.misaligned:
            yield ids[merge], states[merge], [states[tail] for tail in self.tails(ids[merge])]

    def tails(self, v: int) -> Sequence[Hashable]:
        """Return what a node reads, by slot; the node is named by its id."""
        end = self._ends[v]
        return self.feeds[end - self.degrees[v] : end]

    @cached_property
    def takes_rows(self) -> bool:
        """Whether some op takes one position of its map, so that what lies apart may be rows of it."""
        specs = self._table.specs
        return any(op.takes_one for spec in set(self.specs) for op in specs[spec].ops)

    @cached_property
    def axes_are_alike(self) -> bool:
        """Whether every op is the same on all axes, and no size is given, so that all there is to say is too."""
        specs = self._table.specs
        sizes = set(self.map_size(self.source))
        return len(sizes) == 1 and all(len(set(specs[spec].ops)) == 1 for spec in set(self.specs))

    @property
    def off(self) -> list[int]:
        """The ids of ``misaligned``."""
        return [self._ids[merge] for merge in self.misaligned]

    def fields_by_residue(self, v: int, axis: int) -> tuple[Window, ...]:
        """Return the field of a node, by id, at each residue of the input size; right but for its holes."""
        return self._table.by_residue(self.states[self.nodes[v]], axis)

    def sides_by_residue(self, merge: int, axis: int) -> list[tuple[int, tuple[Window, ...]]]:
        """Return slot and field by residue of each input of a merge that carries a local field; the merge by its id."""
        states = [self.states[tail] for tail in self.tails(merge)]
        live = merges.live_slots(self._table, self.states[self.nodes[merge]], states)
        slots = range(len(states)) if live is None else live[axis]
        return [(slot, self._table.by_residue(states[slot], axis)) for slot in slots]

    def stacks(self, v: int) -> bool:
        """Return whether a node, by id, keeps its inputs apart, as channels."""
        return self._table.specs[self.specs[v]].ops[0].stacks

    def at_fork(self, pair: Apart, axis: int) -> tuple[int, int, int]:
        """Return the stride of the node where branches part, and where what its output 0 reads begins and ends.

        Only of a network that does not upsample.
        """
        shape, before, last = self._fork_of(pair, axis)
        return shape.step, before, last

    def _fork_of(self, pair: Apart, axis: int) -> tuple[Shape, int, int]:
        """Return the shape of the field of the node where branches part, and the ends of its leading phase."""
        fork = self.nodes[self.fork(pair.merge, pair.reference, pair.other, axis)]
        state, lanes = self.states[fork], self._table.lanes
        return self._frames(fork)[axis].shape, lanes.padding(state, axis), lanes.end(state, axis)

    def verdict_in_phases(
        self, pair: Apart, axis: int, mode: Mode, from_fork: Callable[[], tuple[Window, Window]]
    ) -> Verdict:
        """Return how two branches lie to each other, as ``rfgraph.algebra.alignment.compare`` judges it.

        The fields of both and of the node where they part tell what they read of it, where every feature of it reads
        another interval, if no op on the way leaves any output empty or goes backward: then it does not matter in which
        order ops are composed. That is judged once for all branches that lie so.

        Parameters
        ----------
        pair, axis
            The branches, and the axis.
        mode
            What counts as lined up: not the last index alone.
        from_fork
            Returns what both read of their fork; asked where their fields do not tell.
        """
        if pair.phased is not None and pair.phased[1].verdict == "jitter":
            return "jitter"
        stacked = self.stacks(pair.merge)
        shape, before, last = self._fork_of(pair, axis)
        if shape.period > 1 or not self._is_regular:
            return pair.verdict_by(mode, from_fork, stacked=stacked)
        verdicts, key = self._table.verdicts, (*pair.seen_from(before, last), shape, mode, stacked)
        verdict = verdicts.get(key)
        if verdict is None:
            fork = shape.placed(before, last)
            one, other = (seen_from(fork, branch) for branch in pair.windows)
            if one is None or other is None:
                return pair.verdict_by(mode, from_fork, stacked=stacked)
            seen = one, other
            verdicts[key] = verdict = pair.verdict_by(mode, lambda: seen, stacked=stacked)
        return verdict

    @cached_property
    def _is_regular(self) -> bool:
        """Whether what each op reads goes on from output to output, none of which reads nothing."""
        reads = {read for spec, sizes in self._read_maps for read in self._table.reads_at(spec, sizes)}
        return all(read.window.is_full or read.window.regular for read in reads)

    @cached_property
    def upsamples(self) -> bool:
        """Whether the output phases of some field differ."""
        return bool(self._table.phased) and not self._table.phased.isdisjoint(self._numbers)

    def fork(self, merge: int, one: int, other: int, axis: int) -> int:
        """Return the node where the branches that enter ``merge`` at slots ``one`` and ``other`` part, all by id."""
        begin = self._ends[merge] - self.degrees[merge]
        return self._trees[axis if self.has_global else 0].meet(self._tails[begin + one], self._tails[begin + other])

    @cached_property
    def _trees(self) -> list[DominatorTree]:
        """The dominator trees of the paths that carry local fields: one for each axis, or one where all paths do."""
        feeds, ends = self._tails, self._ends
        trees = []
        for axis in range(len(self.axes) if self.has_global else 1):
            tree = DominatorTree(len(self.nodes), 0)
            live = self._live_edges(axis) if self.has_global else None
            begin = ends[0]
            for v, end in enumerate(ends[1:], 1):
                tails = feeds[begin:end] if live is None else [feeds[at] for at in range(begin, end) if live[at]]
                if tails:
                    tree.hang(v, tails)
                begin = end
            trees.append(tree)
        return trees

    def _live_edges(self, axis: int) -> list[bool]:
        """Return whether a local field along an axis passes each edge, [E]."""
        frames, feeds = self._table.frames, self._tails
        is_local = [frames[number][axis].shape.is_local for number in self._numbers]
        sizes = [of_map[axis] for of_map in self._sizes]
        live, at = list[bool](), 0
        for v, degree in enumerate(self.degrees):
            for tail in feeds[at : at + degree]:
                # All of a map of another size is read where maps meet; so does an op behind which nothing is local.
                live.append(is_local[v] and is_local[tail] and (degree == 1 or sizes[tail] == sizes[v]))
            at += degree
        return live

    @cached_property
    def _ends(self) -> list[int]:
        """Where the inputs of each node end in ``feeds``, [V]."""
        return list(accumulate(self.degrees))

    def kind(self, node: Hashable) -> str:
        """Return what the graph calls the op of a node."""
        return self._table.specs[self.specs[self._ids[node]]].kind

    @cached_property
    def _ids(self) -> dict[Hashable, int]:
        return {node: v for v, node in enumerate(self.nodes)}

    @cached_property
    def _tails(self) -> list[int]:
        """The ids of ``feeds``, [E]."""
        ids = self._ids
        return [ids[tail] for tail in self.feeds]

    @cached_property
    def _numbers(self) -> list[int]:
        """The number of each node's frames, [V]."""
        frames = self._table.lanes.frames
        return [state & frames for state in self.states.values()]

    def layers(self) -> OrderedNetwork:
        """Return the network as the general passes read it."""
        known = self._table.specs
        twice = {number for number in set(self.specs) if any(op.totals for op in known[number].ops)}
        tails, feeds = [], iter(self._tails)
        for number, degree in zip(self.specs, self.degrees, strict=True):
            read = tuple([next(feeds) for _ in range(degree)])
            tails.append(read * 2 if number in twice else read)
        specs = [known[number] for number in self.specs]
        kinds, ops = [spec.kind for spec in specs], [spec.ops for spec in specs]
        return OrderedNetwork(self.name, self.axes, self.nodes, kinds, ops, tails, returned=self.returned)

    def sizes(self) -> list[tuple[Size, ...]]:
        """Return the size of every node's map on every axis, [V][A]."""
        return self._sizes

    @cached_property
    def _sizes(self) -> list[tuple[Size, ...]]:
        table, keys, known = self._table, self._table.lanes.keys, dict[int, Any]()
        sizes = []
        for state in self.states.values():
            of_map = known.get(state & keys)
            if of_map is None:
                known[state & keys] = of_map = table.map_sizes(state)
            sizes.append(of_map)
        return sizes

    @cached_property
    def collapses(self) -> bool:
        """Whether some op leaves one position of a map."""
        return any(all(op.collapses for op in self._table.specs[number].ops) for number in set(self.specs))

    @cached_property
    def has_global(self) -> bool:
        """Whether some node reads the whole of an axis."""
        return any(frame.is_global for number in set(self._numbers) for frame in self._table.frames[number])

    def may_add_nothing(self) -> bool:
        """Return whether some convolution may add no context, as the fields of all paths to it exceed the image.

        Of all paths to its input one is followed, which takes the narrower side at every merge: none has to be wider.
        """
        if not any(self.map_size(self.source)):
            return False
        wide = {spec for spec in set(self.specs) if any(op.widens for op in self._table.specs[spec].ops)}
        exceeds = self._exceeds()
        states, ends = self.states, zip(self.specs, self.degrees, self._ends, strict=True)
        if not any(exceeds(states[self.feeds[end - 1]]) for spec, degree, end in ends if degree == 1 and spec in wide):
            return False
        try:
            return any(exceeds(state) for spec, state in self._narrow() if spec in wide)
        except NotPlainError:
            return True

    def _exceeds(self) -> Callable[[int], bool]:
        """Return what tells whether the field of a state is larger than the image on some axis."""
        lanes, frames, lane = self._table.lanes, self._table.frames, self._table.lanes.lane
        image = [
            (axis, lanes.before(axis), lanes.last(axis), size + 2 * lanes.zero)
            for axis, size in enumerate(self.map_size(self.source))
            if size is not None
        ]
        known: dict[int, list[tuple[int, int, int]]] = {}  # by frame: where two lanes begin, and what both may hold

        def exceeds(state: int) -> bool:
            number = state & lanes.frames
            most = known.get(number)
            if most is None:
                shapes = [frame.shape for frame in frames[number]]
                known[number] = most = [
                    (before, last, size - shapes[axis].size)
                    for axis, before, last, size in image
                    if shapes[axis].is_local
                ]
            return any((state >> before & lane) + (state >> last & lane) > size for before, last, size in most)

        return exceeds

    def _narrow(self) -> Iterator[tuple[int, int]]:
        """Yield what each node of one input is, and the state of that on one path, the narrower side of every merge.

        Raises
        ------
        NotPlainError
            If that path is not plain by itself, or no side of a merge has a local field and all of the map.
        """
        table, states, feeds = self._table, self.states, iter(self.feeds)
        steps, lanes = table.steps, table.lanes
        narrow = {self.source: states[self.source]}
        for node, spec, degree in zip(self.nodes[1:], self.specs[1:], self.degrees[1:], strict=True):
            if degree == 1:
                state = narrow[next(feeds)]
                yield spec, state
                step = steps[spec]
                if step is not None:
                    added = step.get(state & lanes.frames)
                    state += table.step(spec, state) if added is None else added
            else:
                sides = [narrow[tail] for tail in islice(feeds, degree)]
                whole = [side for side in sides if not (side ^ states[node]) & lanes.sizes]
                local = [side for side in whole if table.local[side & lanes.frames] == lanes.befores]
                if not local:
                    raise NotPlainError("no side has a local field and all of the map")
                state = min(local, key=lambda side: lanes.size_less_one(side, 0))
            narrow[node] = state

    def extremes(self) -> list[Extremes] | None:
        """Return the smallest and largest fields of the paths to every node, one entry per axis.

        ``None`` where the general passes have to tell, of paths with many phases or no more than bounds.
        """
        if self.upsamples:
            try:
                return self._extremes_in_phases()
            except NotPlainError:
                return None
        lanes, known, of_maps = self._table.lanes, self._table.frames, self._sizes
        extremes: list[Extremes] = []
        walked: list[tuple[list[Size], list[int]]] = []  # sizes of maps and fields, of each axis
        for axis in range(len(self.axes)):
            is_local = [frames[axis].shape.is_local for frames in known]
            less_one = lanes.sizes_less_one(self.states.values(), axis)
            fields = [less + 1 if is_local[number] else 0 for less, number in zip(less_one, self._numbers, strict=True)]
            sizes = [size[axis] for size in of_maps]
            same = next((other for other, seen in enumerate(walked) if seen == (sizes, fields)), None)
            walked.append((sizes, fields))
            if same is not None:
                extremes.append(extremes[same])
                continue
            smallest = self._extremes(sizes, fields, min)
            # Where all merges line up, the largest is the field itself.
            largest = self._extremes(sizes, fields, max) if self.misaligned else fields
            extremes.append(Extremes([size or None for size in smallest], [size or None for size in largest], {}))
        return extremes

    def _extremes_in_phases(self) -> list[Extremes]:
        """Return the same of a network that upsamples: there the shapes of paths differ where they meet."""
        known, sizes, feeds, extremes = self._table.specs, self._sizes, iter(self._tails), list[Extremes]()
        tails = [list(islice(feeds, degree)) for degree in self.degrees]
        distinct = [known[spec].ops for spec in set(self.specs)]
        for axis in range(len(self.axes)):
            for other in range(axis):
                if all(ops[axis] == ops[other] for ops in distinct) and all(n[axis] == n[other] for n in sizes):
                    extremes.append(extremes[other])
                    break
            else:
                ends = path_fields(self._table, self.specs, tails, sizes, axis)
                extremes.append(Extremes([end and end[0] for end in ends], [end and end[1] for end in ends], {}))
        return extremes

    def _extremes(self, sizes: Sequence[Size], fields: Sequence[int], choose: Callable[[list[int]], int]) -> list[int]:
        """Return what is chosen of the fields of all paths to each node, [V].

        Parameters
        ----------
        sizes, fields
            Of the map of each node, and of each node, along one axis; fields are 0 where there is no local one.
        choose
            Says which.
        """
        feeds, chosen, at = self._tails, list[int](), 0
        for v, (degree, size) in enumerate(zip(self.degrees, fields, strict=True)):
            if not size or not degree:
                chosen.append(size)
            elif degree == 1:
                tail = feeds[at]
                chosen.append(chosen[tail] + size - fields[tail])
            else:  # all of a map of another size is read
                tails = [tail for tail in feeds[at : at + degree] if sizes[tail] == sizes[v]]
                chosen.append(choose([chosen[tail] for tail in tails if chosen[tail]]))
            at += degree
        return chosen

    def numbers(self) -> Numbers:
        """Return size, stride and padding of all fields as arrays."""
        from rfgraph.fast.field_arrays import integers, of_states  # numpy is imported when it is first needed

        table, lanes, strides = self._table, self._table.lanes, self._table.strides
        if strides is None or strides.shape[1] < len(table.frames):
            of_axes = [
                [frame.shape.step * (frame.shape.period == 1) for frame in of_axis]
                for of_axis in zip(*table.frames, strict=True)
            ]
            strides = table.strides = integers(of_axes)
        return of_states(self.axes, self.nodes, self.states.values(), strides, lanes)
