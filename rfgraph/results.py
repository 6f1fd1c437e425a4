"""What an analysis returns: plain data, with nothing left to decide for those who show it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as declare
from fractions import Fraction
from functools import cached_property
from math import lcm
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import networkx as nx

from rfgraph.algebra.window import FULL, Interval, Number, Window
from rfgraph.errors import UnknownFieldError
from rfgraph.graph.costs import Cost

if TYPE_CHECKING:  # numpy is imported where it is needed
    import numpy as np
    from numpy.typing import NDArray

    #: ``int64``, or ``object`` where numbers are too large for it.
    IntegerArray: TypeAlias = NDArray[Any]
    BooleanArray: TypeAlias = NDArray[np.bool_]

Severity = Literal["note", "warning", "error"]
SEVERITIES: tuple[Severity, ...] = ("note", "warning", "error")


@dataclass(frozen=True)
class Rule:
    """What a finding is of: how bad, and what it is called."""

    severity: Severity
    title: str


#: Rule id -> what it finds. Ids are never reused.
RULES = {
    "RF001": Rule("error", "stride mismatch"),
    "RF002": Rule("warning", "misaligned"),
    "RF003": Rule("note", "phase jitter"),
    "RF004": Rule("note", "causally aligned"),
    "RF005": Rule("warning", "aligned for some input sizes only"),
    "RF006": Rule("note", "holes"),
    "RF007": Rule("note", "unproductive layer"),
    "RF008": Rule("note", "global context"),
}


@dataclass(frozen=True)
class BySize:
    """A receptive field that depends on the input size ``n``: on ``n mod modulus``, for every ``n >= smallest``.

    At residues of sizes that do not work, because maps that meet would differ, the window is unknown.
    """

    modulus: int
    windows: tuple[Window, ...]  # [modulus]
    smallest: int

    @property
    def fields(self) -> tuple[Window, ...]:
        """The windows of sizes that work."""
        return tuple(window for window in self.windows if not window.is_unknown)

    def window(self, input_size: int) -> Window:
        """Return the field at an input size.

        Raises
        ------
        UnknownFieldError
            If the input is smaller than ``smallest``.
        """
        if input_size < self.smallest:
            raise UnknownFieldError(f"input size {input_size} is below {self.smallest}, from which on residues decide")
        return self.windows[input_size % self.modulus]


@dataclass(frozen=True, slots=True)
class Fields:
    """Receptive fields along one axis, by node id."""

    local: list[Window]  # [V], over the paths that no op cuts by reading the whole axis
    is_global: list[bool]  # [V], whether some path reads the whole axis

    def field(self, v: int) -> Window:
        """Return the local field of node ``v``; ``FULL`` if it has none but a global one."""
        return FULL if self.is_global[v] and self.local[v].kind == "empty" else self.local[v]


@dataclass(frozen=True)
class Extremes:
    """The smallest and the largest field of the paths to every node, along one axis."""

    smallest: list[int | None]  # [V], None where no path has a size, or not all are known
    largest: list[int | None]  # [V]
    unknown: dict[int, str]  # node id -> why the field of some path is not known


@dataclass(frozen=True)
class Layer:
    """What one node sees: its receptive field on every axis.

    All numbers are tuples with one entry per axis, in indices of the source.

    Raises
    ------
    UnboundedError
        By the numbers of a field that reads a whole axis and has no local part.
    UnknownFieldError
        By the numbers of a field that is not known, or that reads nothing of the source.
    """

    name: Hashable
    op: str
    axes: tuple[str, ...]
    #: Size of the node's feature map, ``None`` where no input size tells it.
    map_size: tuple[int | None, ...]
    #: The field itself, with paths through ops that read the whole axis cut where another path is left.
    field: tuple[Window, ...]
    #: Whether some path reads the whole axis.
    is_global: tuple[bool, ...]
    #: The field by residue of the input size, where no size is given and it decides; ``field`` is unknown there.
    by_size: tuple[BySize | None, ...] = ()
    #: ``file:line`` of the code that calls it, where the model tells.
    location: str = ""
    #: What every layer of the network holds and takes, worked out when first asked.
    costs: Mapping[Hashable, Cost] = declare(default_factory=dict, repr=False, compare=False)

    @property
    def cost(self) -> Cost:
        """What it holds and takes."""
        return self.costs.get(self.name, Cost())

    @property
    def channels(self) -> int | None:
        """Channels of its feature map, ``None`` where the network does not tell."""
        return self.cost.channels

    @property
    def parameters(self) -> int | None:
        """Learned numbers that are read here first, ``None`` where they cannot be told."""
        return self.cost.parameters

    @property
    def macs(self) -> int | None:
        """Multiply-accumulates for one input, ``None`` where channels or sizes are not known."""
        return self.cost.macs

    @property
    def size(self) -> tuple[int, ...]:
        """Receptive field size ``r``."""
        return tuple(window.size for window in self._agreeing("size"))

    @property
    def stride(self) -> tuple[Number, ...]:
        """Effective stride ``S``, also called jump."""
        return tuple(window.stride for window in self._agreeing("stride"))

    @property
    def padding(self) -> tuple[Number, ...]:
        """Effective padding ``P``: output 0 reads from index ``-P`` on."""
        return tuple(window.padding for window in self._agreeing("padding"))

    @property
    def center(self) -> tuple[Number, ...]:
        """Centre of what output 0 reads; the centre of pixel 0 is 0."""
        return tuple(window.center for window in self._agreeing("center"))

    @property
    def start(self) -> tuple[Number, ...]:
        """Centre of what output 0 reads in the receptive-field guide's coordinate, where pixel 0 lies at 0.5."""
        return tuple(window.start for window in self._agreeing("start"))

    def _agreeing(self, number: str) -> list[Window]:
        """Return the window of each axis, or one that stands for those of all input sizes if they agree."""
        windows = list(self.field)
        for axis, by_size in enumerate(self.by_size):
            if by_size is None:
                continue
            if len({getattr(window, number) for window in by_size.fields}) > 1:
                raise UnknownFieldError(
                    f"node {self.name!r} ({self.op}), axis {self.axes[axis]}: {number} depends on the input size n, by "
                    f"n mod {by_size.modulus}; give an input size, or see by_size"
                )
            windows[axis] = by_size.fields[0]
        return windows

    @property
    def status(self) -> Literal["exact", "bound", "unknown"]:
        """``exact``, ``bound`` if some field may be wider than what is read, or ``unknown``."""
        states = {window.status for window in self._windows}
        return "unknown" if "unknown" in states else "bound" if "bound" in states else "exact"

    @property
    def why(self) -> str:
        """Why the status is not ``exact``."""
        return next((window.why for window in self._windows if window.why), "")

    @property
    def _windows(self) -> list[Window]:
        """The fields of all axes, at all input sizes where those decide."""
        tables = self.by_size or (None,) * len(self.field)
        return [
            window
            for field, table in zip(self.field, tables, strict=True)
            for window in (table.fields if table else (field,))
        ]


@dataclass(frozen=True, eq=False)
class Numbers:
    """Receptive fields of many nodes as arrays, in indices of the source: integers, exact.

    Where ``known`` is false the field is more than three whole numbers, and they are 0: it reads a whole axis or
    nothing, differs from output to output, or is not known. ``report[node]`` says more.
    """

    nodes: tuple[Hashable, ...]  # [V], in topological order
    axes: tuple[str, ...]  # [A]
    size: IntegerArray  # [V, A]
    stride: IntegerArray  # [V, A]
    padding: IntegerArray  # [V, A]
    known: BooleanArray  # [V, A]


@dataclass(frozen=True)
class Trace:
    """What one output reads of each of its ancestors."""

    output: Hashable
    layers: dict[Hashable, Layer]

    def __getitem__(self, node: Hashable) -> Layer:
        return self.layers[node]

    def __iter__(self) -> Any:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)


@dataclass(frozen=True)
class Branch:
    """One of the inputs of a merge, with all that feeds it."""

    slot: int
    tail: Hashable
    #: What the merge reads of the source through this branch; on the first of the finding's axes.
    field: Window
    _walk: Callable[[], tuple[Hashable, ...]] = declare(repr=False, compare=False)

    @cached_property
    def path(self) -> tuple[Hashable, ...]:
        """The nodes from the fork to the merge, both included, along the widest path of the branch."""
        return self._walk()


@dataclass(frozen=True)
class Repair:
    """A change of padding that lines a merge up and keeps every size.

    ``node`` gets ``padding``; where ``before`` names a merge, a new pad node of that name goes between ``node`` and it.
    """

    node: Hashable
    padding: tuple[tuple[int, int], ...]
    was: tuple[tuple[int, int], ...] | None
    before: tuple[Hashable, int] | None = None

    def __str__(self) -> str:
        new = _pairs(self.padding)
        if self.before is None:
            return f"change padding of {self.node!r} from {_pairs(self.was or ())} to {new}"
        return f"insert a pad of {new} between {self.node!r} and {self.before[0]!r}"

    def apply(self, graph: nx.DiGraph[Any]) -> nx.DiGraph[Any]:
        """Return a copy of ``graph`` with the change made."""
        changed = graph.copy()
        padding = [list(pair) for pair in self.padding]
        if self.before is None:
            changed.nodes[self.node]["padding"] = padding
            return changed
        merge, slot = self.before
        keys = list(changed[self.node][merge]) if changed.is_multigraph() else [None]
        edges = [(key, changed.edges[(self.node, merge) if key is None else (self.node, merge, key)]) for key in keys]
        key, edge = next(((k, e) for k, e in edges if e.get("slot", slot) == slot), edges[0])
        attributes = dict(edge)
        if key is None:
            changed.remove_edge(self.node, merge)
        else:
            changed.remove_edge(self.node, merge, key)
        pad = f"{merge}/pad_{slot}"
        while pad in changed:
            pad += "_"
        changed.add_node(pad, op="pad", padding=padding)
        changed.add_edge(self.node, pad)
        changed.add_edge(pad, merge, **attributes)
        return changed


def _pairs(padding: tuple[tuple[int, int], ...]) -> str:
    return str([list(pair) for pair in padding])


@dataclass(frozen=True)
class Finding:
    """One thing that users of a network should know, where it is, and what to do about it.

    ``rule`` is a key of ``RULES``; ``node`` is where it was found, on ``axes``. ``location`` is the ``file:line`` of
    the code that calls that node, empty where the model does not tell.
    """

    rule: str
    node: Hashable
    axes: tuple[str, ...]
    location: str = declare(default="", kw_only=True, compare=False)

    @property
    def severity(self) -> Severity:
        """How bad it is: what the rule says."""
        return RULES[self.rule].severity

    @property
    def title(self) -> str:
        """The rule in two words."""
        return RULES[self.rule].title

    @property
    def message(self) -> str:
        """The finding in one sentence."""
        raise NotImplementedError

    @property
    def advice(self) -> str:
        """What to do about it."""
        raise NotImplementedError


@dataclass(frozen=True)
class Misalignment(Finding):
    """Two branches of the merge ``node`` that do not line up.

    ``offset`` is how far the centre of ``branch`` lies past that of ``reference`` in pixels of the source,
    ``offset_in_merge`` the same in positions of the merge's own map. Both are 0 for unequal strides: they have no one
    offset.
    """

    fork: Hashable
    reference: Branch
    branch: Branch
    offset: Fraction
    offset_in_merge: Fraction
    _repair: Callable[[], tuple[Repair | None, str]] = declare(repr=False, compare=False)

    @property
    def merge(self) -> Hashable:
        """The merge: the finding's node."""
        return self.node

    @property
    def repair(self) -> Repair | None:
        """The smallest change of padding that makes the finding go away, ``None`` if there is none."""
        return self._repaired[0]

    @property
    def advice(self) -> str:
        """The repair in words, or why padding does not help."""
        return self._repaired[1]

    @cached_property
    def _repaired(self) -> tuple[Repair | None, str]:
        return self._repair()

    @property
    def message(self) -> str:
        """The finding in one sentence."""
        branches = f"{self.branch.tail!r} against {self.reference.tail!r}, parting at {self.fork!r}"
        where = f"merge {self.merge!r}, {named_axes(self.axes)}: "
        if self.rule == "RF001":
            strides = f"{self.branch.field.stride} and {self.reference.field.stride}"
            return f"{where}branches of effective strides {strides} drift apart ({branches})"
        if self.rule == "RF003":
            return f"{where}centres agree on average but not at each output phase ({branches})"
        by = f"{_signed(self.offset)} input pixels, {_signed(self.offset_in_merge)} of the merge's own"
        if self.rule == "RF004":
            return f"{where}branches end at the same index, with centres {by} apart: causal ({branches})"
        return f"{where}centres are off by {by} ({branches})"


@dataclass(frozen=True)
class SizeDependent(Finding):
    """Branches of the merge ``node`` that line up at some input sizes only.

    They do where ``n mod modulus`` is one of ``residues``, for every input size ``n >= smallest`` at which the network
    works; ``offset`` is the largest that is met elsewhere, in pixels of the source.
    """

    fork: Hashable
    reference: Hashable
    branch: Hashable
    offset: Fraction
    modulus: int
    residues: tuple[int, ...]
    smallest: int

    @property
    def message(self) -> str:
        """The finding in one sentence."""
        when = f"lines up iff {named_residues(self.modulus, self.residues)}" if self.residues else "never lines up"
        by = f"centres are up to {abs(self.offset)} input pixels off" if self.offset else "strides differ"
        there = "; else " if self.residues else ": "
        return (
            f"merge {self.node!r}, {named_axes(self.axes)}: {when}, for input sizes n from {self.smallest}{there}{by} "
            f"({self.branch!r} against {self.reference!r}, parting at {self.fork!r})"
        )

    @property
    def advice(self) -> str:
        """What to do about it."""
        choose = f"choose input sizes with {named_residues(self.modulus, self.residues)}, or " if self.residues else ""
        return f"{choose}write out the padding of the layers with 'same' before it"


def shortest_period(values: Sequence[Any]) -> int:
    """Return the least divisor ``d`` of the length with ``values[i] == values[i % d]`` throughout."""
    length = len(values)
    return next(
        d for d in range(1, length + 1) if length % d == 0 and all(values[i] == values[i % d] for i in range(d, length))
    )


def named_residues(modulus: int, residues: Sequence[int]) -> str:
    """Return how messages say that the input size has one of ``residues``: "n mod 16 is 0, 4 or 7 to 9"."""
    runs: list[list[int]] = []
    for residue in residues:
        if runs and residue == runs[-1][-1] + 1:
            runs[-1].append(residue)
        else:
            runs.append([residue])
    parts = [f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs]
    said = ", ".join(parts)
    head, _, tail = said.rpartition(", ")
    return f"n mod {modulus} is {head} or {tail}" if head else f"n mod {modulus} is {said}"


@dataclass(frozen=True)
class InputSizes:
    """Sizes of an input along one axis: ``n >= smallest`` with ``n mod modulus`` one of ``residues``."""

    axis: str
    modulus: int
    residues: tuple[int, ...]
    smallest: int

    def __contains__(self, input_size: int) -> bool:
        return input_size >= self.smallest and input_size % self.modulus in self.residues

    def __str__(self) -> str:
        if not self.residues:
            return "no size"
        if self.modulus == 1:
            return f"any size from {self.smallest}"
        if self.residues == (0,):
            return f"multiples of {self.modulus}, from {self.smallest}"
        return f"{named_residues(self.modulus, self.residues)}, from {self.smallest}"


def common_sizes(axis: str, findings: Sequence[SizeDependent]) -> InputSizes | None:
    """Return the input sizes at which none of ``findings`` holds, ``None`` if there are no findings."""
    if not findings:
        return None
    modulus = lcm(*(finding.modulus for finding in findings))
    fits = [all(n % f.modulus in f.residues for f in findings) for n in range(modulus)]
    period = shortest_period(fits)
    residues = tuple(residue for residue in range(period) if fits[residue])
    return InputSizes(axis, period, residues, max(finding.smallest for finding in findings))


def named_axes(axes: tuple[str, ...]) -> str:
    """Return how messages name axes: "axis y", "axes y, x"."""
    return f"{'axis' if len(axes) == 1 else 'axes'} {', '.join(axes)}"


def worst_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return findings sorted by severity, and in the order they came where that is equal."""
    return tuple(sorted(findings, key=lambda finding: -SEVERITIES.index(finding.severity)))


def _signed(number: Fraction) -> str:
    return f"{'+' if number > 0 else ''}{number}"


@dataclass(frozen=True)
class Region:
    """The box of source pixels that one feature reads.

    ``box`` is one closed interval per axis, or ``None`` where it reads nothing but padding. With ``clipped``, positions
    outside any map on the way read nothing further back; without, the network is taken to go on beyond every border.
    """

    layer: Hashable
    index: tuple[int, ...]
    axes: tuple[str, ...]
    box: tuple[Interval, ...] | None
    clipped: bool
    status: Literal["exact", "bound"]
