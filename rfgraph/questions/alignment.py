"""Alignment: do the branches of every merge agree on effective stride and centre, and if not, where and by how much.

Branches are held against each other by what they read of the source; where that is only a bound, by what they read of
the fork where they part. The rule itself stands in ``rfgraph.algebra.alignment``.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import partial
from math import lcm, prod
from typing import TYPE_CHECKING

from rfgraph.algebra.alignment import (
    ALIGNED,
    Comparison,
    Mode,
    Verdict,
    at_fork,
    compare,
    looks_ahead,
    reference_of,
    seen_from,
)
from rfgraph.algebra.residues import shortest_period
from rfgraph.algebra.window import Window
from rfgraph.fast.merges import Apart
from rfgraph.fast.plain import Plain
from rfgraph.frozen import dataclass
from rfgraph.passes.compiled import Compiled
from rfgraph.passes.results import Fields
from rfgraph.questions.findings import Finding, Later
from rfgraph.questions.forks import Branches, at_residue
from rfgraph.questions.misalignment import Branch, Drift, Misalignment, Parting, Repair, SizeDependent
from rfgraph.questions.repair import repair

if TYPE_CHECKING:  # numpy is imported where it is needed
    from rfgraph.passes.by_size import Field, SolutionBySize

#: Regions of more features than this are not looked through for the smallest and the largest one.
MAX_FEATURES = 1 << 22

#: What a branch reads of its fork where what both read of the source does not tell.
_UNSEEN = Window.unknown("what is read of the source does not tell it")

_RULES = {"drift": "RF001", "off": "RF002", "jitter": "RF003", "causal": "RF004"}


def find(
    compiled: Compiled,
    fields: Sequence[Fields],
    source: int,
    modes: Sequence[Mode],
    solutions: Sequence[SolutionBySize | None] = (),
    merges: Iterable[int] | None = None,
) -> list[Finding]:
    """Return what does not line up, merge by merge.

    Parameters
    ----------
    fields
        Forward fields of every axis.
    source
        Node that the fields are measured at.
    modes
        What counts as aligned, one entry per axis.
    solutions
        Fields by residue of the input size of every axis, where they are solved.
    merges
        Node ids of the merges to look at, where it is known that all others line up.
    """
    graph = Branches(compiled, fields, source, solutions)
    looked_at = range(len(compiled.layers.nodes)) if merges is None else sorted(merges)
    groups: dict[_Disagreement | _Dependence, list[int]] = {}
    for axis in range(len(fields)):
        same = next((a for a in range(axis) if fields[a] is fields[axis] and modes[a] == modes[axis]), None)
        if same is not None:
            for members in groups.values():
                if same in members:
                    members.append(axis)
            continue
        for disagreement in _disagreements(graph, looked_at, axis, modes[axis]):
            groups.setdefault(disagreement, []).append(axis)
    # By slot, which is part of the network: the order in which nodes and edges were added plays no part.
    ordered = sorted(groups, key=lambda one: (one.merge, one.reference, one.other))
    return [_finding(graph, one, tuple(groups[one]), modes) for one in ordered]


def find_plain(plain: Plain, modes: Sequence[Mode], graph: Callable[[], Branches]) -> list[Finding]:
    """Return what does not line up in a plain network, as ``find`` does, from what the walk tells.

    Parameters
    ----------
    plain
        The network, none of whose fields has holes.
    modes
        What counts as aligned, one entry per axis: by centres.
    graph
        Returns the network as the general passes see it, for what findings tell when they are asked.
    """
    groups: dict[tuple[Apart, str], list[int]] = {}
    for axis, pair, verdict in plain_verdicts(plain, modes, graph):
        groups.setdefault((pair, _RULES[verdict]), []).append(axis)
    names, axis_names = plain.nodes, plain.axes
    return [
        Misalignment(
            rule,
            names[pair.merge],
            tuple([axis_names[axis] for axis in axes]),
            Later(_parting_of_plain, plain, graph, pair, rule, tuple(axes), modes),
        )
        for (pair, rule), axes in sorted(groups.items(), key=lambda group: group[0][0][:3])
    ]


def find_by_residue(
    plain: Plain, modes: Sequence[Mode], graph: Callable[[], Branches], smallest: Later[int]
) -> list[Finding] | None:
    """Return what does not line up at some residue of the input size, as ``find`` does, from what the walk tells.

    ``None`` where the general passes have to tell: axes differ, or branches are off that do not depend on the size.

    Parameters
    ----------
    plain
        The network, walked by residue of the input size.
    smallest
        The input size from which on residues decide.
    """
    axes = tuple(range(len(plain.axes)))
    if not plain.axes_are_alike or len(set(modes)) > 1:
        return None
    findings: list[Finding] = []
    for merge in plain.off:
        sides = plain.sides_by_residue(merge, 0)
        if all(len(windows) == 1 for _, windows in sides):
            return None
        pairs = [(one, two) for one, _ in sides for two, _ in sides if one < two]
        forks = {pair: plain.fields_by_residue(plain.fork(merge, *pair, 0), 0) for pair in pairs}
        modulus = lcm(*(len(windows) for _, windows in sides), *map(len, forks.values()))
        told = (
            [(slot, partial(_at, windows)) for slot, windows in sides],
            {p: partial(_at, w) for p, w in forks.items()},
        )
        disagreements = _by_size(merge, *told, [True] * modulus, smallest, modes[0], stacked=plain.stacks(merge))
        for one in sorted(disagreements, key=lambda one: (one.reference, one.other)):
            findings.append(_of_plain(plain, graph, one, axes, modes))
    return findings


def _at(windows: Sequence[Window], residue: int) -> Window:
    return windows[residue % len(windows)]


def _of_plain(
    plain: Plain,
    graph: Callable[[], Branches],
    disagreement: _Disagreement | _Dependence,
    axes: tuple[int, ...],
    modes: Sequence[Mode],
) -> Finding:
    """Return what users are told of two branches of a plain network that do not line up at some residue."""
    place = (plain.nodes[disagreement.merge], plain.axes)
    if isinstance(disagreement, _Disagreement):
        return Misalignment(disagreement.rule, *place, Later(lambda: _parting_of(graph(), disagreement, axes, modes)))
    slots, tails = (disagreement.reference, disagreement.other), plain.tails(disagreement.merge)
    fork = plain.nodes[plain.fork(disagreement.merge, *slots, axes[0])]
    return _dependent(disagreement, place, fork, tails)


def _dependent(
    dependence: _Dependence, place: tuple[Hashable, tuple[str, ...]], fork: Hashable, tails: Sequence[Hashable]
) -> SizeDependent:
    """Return what users are told of two branches that line up at some residues of the input size only."""
    return SizeDependent(
        "RF005",
        *place,
        fork=fork,
        reference=tails[dependence.reference],
        branch=tails[dependence.other],
        offset=dependence.offset,
        modulus=dependence.modulus,
        residues=dependence.residues,
        _smallest=dependence.smallest,
    )


def plain_verdicts(
    plain: Plain, modes: Sequence[Mode], graph: Callable[[], Branches]
) -> Iterator[tuple[int, Apart, Verdict]]:
    """Yield the branches of a plain network whose centres differ, with their axis, and how they lie to each other."""
    for axis, pair in plain.apart():
        if plain.upsamples:
            verdict = plain.verdict_in_phases(pair, axis, modes[axis], partial(_from_fork, plain, graph, pair, axis))
        else:
            at = partial(plain.at_fork, pair, axis)
            verdict = pair.verdict(modes[axis], at, stacked=plain.stacks(pair.merge))
        yield axis, pair, verdict


def _from_fork(plain: Plain, graph: Callable[[], Branches], pair: Apart, axis: int) -> tuple[Window, Window]:
    """Return what two branches read of the node where they part."""
    fork, slots = plain.fork(pair.merge, pair.reference, pair.other, axis), (pair.reference, pair.other)
    one, other = (graph().from_fork(pair.merge, slot, fork, axis) for slot in slots)
    return one, other


def _parting_of_plain(
    plain: Plain, graph: Callable[[], Branches], pair: Apart, rule: str, axes: tuple[int, ...], modes: Sequence[Mode]
) -> Parting:
    slots, tails = (pair.reference, pair.other), plain.tails(pair.merge)
    fork = plain.fork(pair.merge, *slots, axes[0])
    sides = [(slot, tails[slot], field) for slot, field in zip(slots, pair.windows, strict=True)]
    return _parting(graph, plain.nodes, pair.merge, fork, sides, rule, pair.offset, axes, modes)


def unchecked(
    compiled: Compiled, fields: Sequence[Fields], source: int, solutions: Sequence[SolutionBySize | None]
) -> list[int]:
    """Return the merges, by node id, at which the field of some branch is not known exactly on some axis.

    It is known by residue of the size too, or at the fork of two branches.
    """
    graph = Branches(compiled, fields, source, solutions)
    return [
        v
        for v in range(len(compiled.layers.nodes))
        if any(_is_unchecked(graph, v, axis) for axis in range(len(fields)))
    ]


@dataclass(frozen=True)
class _Disagreement:
    """Branches ``reference`` and ``other`` of a merge, by slot, that break ``rule``."""

    merge: int
    reference: int
    other: int
    rule: str
    one: Window
    two: Window
    offset: Fraction


@dataclass(frozen=True)
class _Dependence:
    """Branches of a merge that line up at ``residues`` of the input size only; the offset is the largest there is."""

    merge: int
    reference: int
    other: int
    modulus: int
    residues: tuple[int, ...]
    offset: Fraction
    smallest: Later[int]


def _disagreements(
    graph: Branches, merges: Iterable[int], axis: int, mode: Mode
) -> Iterator[_Disagreement | _Dependence]:
    """Yield each pair of branches of each merge that does not line up, or does so at some input sizes only."""
    solution = graph.solution(axis)
    for v in merges:
        if not graph.compares(v, axis):
            continue
        live = graph.live(v, axis)
        if solution is not None and any(field.kind == "unknown" for _, _, field in live):
            sides = graph.solved(v, axis, solution)
            if len(sides) > 1 and not solution.agree([side for _, side in sides], mode == "causal"):
                told, stacked = _told(graph, v, axis, sides, solution), graph.compiled.layers.ops[v][axis].stacks
                yield from _by_size(v, *told, Later(_smallest, solution), mode, stacked=stacked)
            continue
        yield from _pairs(graph, v, axis, [(slot, field) for slot, _, field in live if field.kind == "local"], mode)


def _pairs(
    graph: Branches, merge: int, axis: int, sides: list[tuple[int, Window]], mode: Mode
) -> Iterator[_Disagreement]:
    """Yield each branch that does not line up with the widest one."""
    if len(sides) < 2 or all(field == sides[0][1] and field.exact for _, field in sides):
        return
    reference = reference_of(sides)
    for side in sides:
        judged = _compared(graph, merge, axis, reference, side, mode)
        if judged is not None and judged.verdict != "aligned":
            yield _Disagreement(
                merge, reference[0], side[0], _RULES[judged.verdict], reference[1], side[1], judged.offset
            )


def _compared(
    graph: Branches, merge: int, axis: int, reference: tuple[int, Window], other: tuple[int, Window], mode: Mode
) -> Comparison | None:
    """Return how two branches of a merge lie to each other, ``None`` where what they read is not known exactly."""
    (one, wide), (two, narrow) = reference, other
    if one == two or (wide == narrow and wide.exact and narrow.exact):
        return ALIGNED

    def from_fork() -> tuple[Window, Window]:
        fork = graph.fork(merge, one, two, axis)
        return graph.from_fork(merge, one, fork, axis), graph.from_fork(merge, two, fork, axis)

    def is_causal() -> bool:
        return not any(map(looks_ahead, from_fork()))

    def seen_from_fork() -> Verdict:
        return at_fork(*from_fork(), stacked=graph.compiled.layers.ops[merge][axis].stacks)

    if wide.stride != narrow.stride or (wide.exact and narrow.exact):
        return compare(wide, narrow, mode, is_causal, seen_from_fork)
    # Bounds do not tell where branches lie; what they read of their fork may.
    a, b = from_fork()
    if not (a.is_local and b.is_local and a.exact and b.exact):
        return None
    judged = compare(a, b, mode, is_causal, seen_from_fork)
    scaled = judged.offset * Fraction(wide.stride) / Fraction(a.stride)
    if judged.offset and wide.period > a.period:  # the fork's own steps are uneven: what is off depends on those taken
        scaled = compare(wide, narrow, mode).offset or scaled
    return Comparison(judged.verdict, scaled)


def _is_unchecked(graph: Branches, v: int, axis: int) -> bool:
    """Return whether merge ``v`` cannot be checked."""
    solution = graph.solution(axis)
    sides = graph.live(v, axis) if graph.compares(v, axis) else []
    if len({tail for _, tail, _ in sides}) < 2:
        return False
    unknown = {slot for slot, _, field in sides if field.kind == "unknown"}
    if unknown:
        known = dict(graph.solved(v, axis, solution)) if solution else {}
        told = unknown <= known.keys() and all(field.exact for field in known.values())
        return not told or (solution is not None and solution.are_lost(list(known.values())))
    if all(field.exact for _, _, field in sides):
        return False
    slots = [(slot, field) for slot, _, field in sides]
    reference = reference_of(slots)
    return any(_compared(graph, v, axis, reference, side, "center") is None for side in slots)


#: What is read at a residue of the input size.
Told = Callable[[int], Window]


def _told(
    graph: Branches, merge: int, axis: int, sides: Sequence[tuple[int, Field]], solution: SolutionBySize
) -> tuple[list[tuple[int, Told]], dict[tuple[int, int], Told], list[bool]]:
    """Return the branches of a merge and the forks of any two slots by residue, and at which residues the maps fit."""
    slots = [slot for slot, _ in sides]
    forks = {(a, b): solution.fields[graph.fork(merge, a, b, axis)] for a in slots for b in slots if a < b}
    return (
        [(slot, partial(at_residue, field)) for slot, field in sides],
        {pair: partial(at_residue, field) for pair, field in forks.items()},
        solution.valid.tolist(),
    )


def _smallest(solution: SolutionBySize) -> int:
    return solution.smallest


def _by_size(
    merge: int,
    sides: Sequence[tuple[int, Told]],
    forks: Mapping[tuple[int, int], Told],
    valid: Sequence[bool],
    smallest: Later[int],
    mode: Mode,
    *,
    stacked: bool,
) -> Iterator[_Disagreement | _Dependence]:
    """Yield what breaks a rule at every residue of the input size, and the worst of the rest with those without it.

    Parameters
    ----------
    merge, sides
        The merge, and slot and field of each branch.
    forks
        The fields of the nodes where any two slots part.
    valid
        At which residues the maps fit.
    smallest
        The input size from which on residues decide.
    mode
        What counts as aligned.
    stacked
        Whether the merge keeps its inputs apart, as channels.
    """
    known: dict[tuple[Window, ...], list[_Disagreement]] = {}
    by_residue: list[list[_Disagreement]] = []  # by valid residue
    residues = [residue for residue, fits in enumerate(valid) if fits]
    slots = [slot for slot, _ in sides]
    for residue in residues:
        windows = tuple(told(residue) for _, told in sides)
        at_forks = {pair: told(residue) for pair, told in forks.items()}
        met = (*windows, *at_forks.values())
        if met not in known:
            pairs = [(slot, window) for slot, window in zip(slots, windows, strict=True) if window.kind == "local"]
            known[met] = list(_pairs_at(merge, pairs, at_forks, mode, stacked=stacked))
            known[met] += [  # a branch whose stride changes with the input size drifts from those that keep theirs
                _Disagreement(merge, pairs[0][0], slot, "RF001", pairs[0][1], window, Fraction(0))
                for slot, window in zip(slots, windows, strict=True)
                if window.is_unknown and pairs
            ]
        by_residue.append(known[met])
    always = {(d.reference, d.other, d.rule, d.offset) for d in by_residue[0]}.intersection(
        *({(d.reference, d.other, d.rule, d.offset) for d in case} for case in by_residue[1:])
    )
    yield from (d for d in by_residue[0] if (d.reference, d.other, d.rule, d.offset) in always)
    serious = [
        [d for d in case if d.rule in ("RF001", "RF002") and (d.reference, d.other, d.rule, d.offset) not in always]
        for case in by_residue
    ]
    worst = max((d for case in serious for d in case), key=lambda d: (d.rule == "RF001", abs(d.offset)), default=None)
    if worst is None:
        return
    aligned = [False] * len(valid)
    for residue, case in zip(residues, serious, strict=True):
        aligned[residue] = not case
    modulus = shortest_period(aligned)
    at = tuple(residue for residue in range(modulus) if aligned[residue])
    yield _Dependence(merge, worst.reference, worst.other, modulus, at, worst.offset, smallest)


def _pairs_at(
    merge: int, sides: list[tuple[int, Window]], forks: Mapping[tuple[int, int], Window], mode: Mode, *, stacked: bool
) -> Iterator[_Disagreement]:
    """Yield each branch that does not line up with the widest one, at one residue of the input size.

    ``forks`` has the fields of the nodes where any two slots part.
    """
    if len(sides) < 2 or all(field == sides[0][1] for _, field in sides[1:]):
        return
    one, wide = reference_of(sides)
    for two, narrow in sides:
        if one == two:
            continue

        fork = forks[min(one, two), max(one, two)]
        a, b = (seen_from(fork, branch) or _UNSEEN for branch in (wide, narrow))
        judged = compare(wide, narrow, mode, partial(_are_causal, a, b), partial(at_fork, a, b, stacked=stacked))
        if judged.verdict != "aligned":
            yield _Disagreement(merge, one, two, _RULES[judged.verdict], wide, narrow, judged.offset)


def _are_causal(one: Window, other: Window) -> bool:
    return not looks_ahead(one) and not looks_ahead(other)


def _drift(graph: Branches, disagreement: _Disagreement, fork: int, axis: int) -> Drift:
    """Return how branches of unequal strides drift apart."""
    compiled, merge = graph.compiled, disagreement.merge
    size, source_size = compiled.sizes[merge][axis], compiled.sizes[graph.source][axis]
    one, two = disagreement.one, disagreement.two
    border = None
    if size is not None and source_size is not None:
        a, b = one.interval(size - 1), two.interval(size - 1)
        border = None if a is None or b is None else Fraction(sum(b) - sum(a), 2)
    passed = {v for slot in (disagreement.reference, disagreement.other) for v in graph.between(merge, slot, fork)}
    corners = [v for v in sorted(passed) if compiled.layers.ops[v][axis].aligns_corners]
    return Drift(
        per_100=100 * (Fraction(two.stride) / Fraction(one.stride) - 1),
        at_border=border,
        input_size=source_size,
        align_corners=tuple(compiled.layers.nodes[v] for v in corners),
        _regions=partial(_region_sizes, compiled, merge, graph.source, axis),
    )


def _region_sizes(compiled: Compiled, merge: int, source: int, axis: int) -> tuple[int, int] | None:
    """Return the sizes of the smallest and the largest region that features of ``merge`` read along an axis."""
    from rfgraph.passes import extents  # numpy is imported when it is first needed

    if extents.obstacle(compiled, merge, source) or prod(size or 0 for size in compiled.sizes[merge]) > MAX_FEATURES:
        return None
    regions = extents.reach_all(compiled, merge, source)
    sizes = (regions.last - regions.first + 1)[regions.reads][..., axis]
    return (int(sizes.min()), int(sizes.max())) if sizes.size else None


def _finding(
    graph: Branches, disagreement: _Disagreement | _Dependence, axes: tuple[int, ...], modes: Sequence[Mode]
) -> Finding:
    """Return what users are told of two branches that do not line up."""
    layers, tails = graph.compiled.layers, graph.compiled.layers.tails[disagreement.merge]
    place = (layers.nodes[disagreement.merge], tuple(layers.axes[axis] for axis in axes))
    if isinstance(disagreement, _Disagreement):
        return Misalignment(disagreement.rule, *place, Later(_parting_of, graph, disagreement, axes, modes))
    fork = graph.fork(disagreement.merge, disagreement.reference, disagreement.other, axes[0])
    return _dependent(disagreement, place, layers.nodes[fork], [layers.nodes[tail] for tail in tails])


def _parting_of(graph: Branches, disagreement: _Disagreement, axes: tuple[int, ...], modes: Sequence[Mode]) -> Parting:
    merge, slots = disagreement.merge, (disagreement.reference, disagreement.other)
    names, tails = graph.compiled.layers.nodes, graph.compiled.layers.tails[merge]
    fork = graph.fork(merge, *slots, axes[0])
    drift = _drift(graph, disagreement, fork, axes[0]) if disagreement.rule == "RF001" else None
    fields = (disagreement.one, disagreement.two)
    sides = [(slot, names[tails[slot]], field) for slot, field in zip(slots, fields, strict=True)]
    return _parting(
        lambda: graph, names, merge, fork, sides, disagreement.rule, disagreement.offset, axes, modes, drift
    )


def _parting(
    graph: Callable[[], Branches],
    names: Sequence[Hashable],
    merge: int,
    fork: int,
    sides: Sequence[tuple[int, Hashable, Window]],
    rule: str,
    offset: Fraction,
    axes: tuple[int, ...],
    modes: Sequence[Mode],
    drift: Drift | None = None,
) -> Parting:
    """Return where two branches part and how they lie to each other, from the slot, tail and field of both."""
    axis, stride = axes[0], Fraction(sides[0][2].stride)

    def path(slot: int) -> tuple[Hashable, ...]:
        return graph().path(merge, slot, fork, axis)

    def advice() -> tuple[Repair | None, str]:
        if rule == "RF001":
            return None, _same_strides(drift)
        if rule == "RF002":
            return repair(graph(), merge, (sides[0][0], sides[1][0]), offset, stride, axes, modes[axis])
        return None, "nothing to repair if it is meant"

    one, other = (Branch(slot, tail, field, partial(path, slot)) for slot, tail, field in sides)
    return Parting(names[fork], one, other, offset, offset / stride, advice, drift)


def _same_strides(drift: Drift | None) -> str:
    advice = "no padding repairs unequal strides: give the branches the same total stride"
    if drift is None or not drift.align_corners:
        return advice
    names = ", ".join(repr(name) for name in drift.align_corners)
    aligns = "aligns" if len(drift.align_corners) == 1 else "align"
    return f"{advice}; {names} {aligns} corners, which makes a stride of its own: resize by half pixels instead"
