"""Parameters and multiply-accumulates of every design: the formulas of ``rfgraph.graph.costs``, given arrays."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import networkx as nx
import numpy as np

from rfgraph.analysis import analyze
from rfgraph.errors import AttributeValueError, SizeError
from rfgraph.frozen import dataclass
from rfgraph.graph.costs import Costs
from rfgraph.graph.network import OrderedNetwork
from rfgraph.ops import Size
from rfgraph.ops.costs import NORMS, TELLING, Cost, Count, Map, Settings, cost, cost_at_most, settings_of
from rfgraph.sweeps.designs import Choice, Digit, Keep
from rfgraph.sweeps.variants import NoPlan, Selector, table, tabulate

#: Attributes that costs follow from, besides the sizes of maps.
_HEEDED = frozenset(TELLING)

#: Numbers up to this are added and multiplied in 64 bits, beyond it as Python's integers.
_LARGEST = 1 << 62


@dataclass(frozen=True)
class CostPlan:
    """What costs of a design follow from, at every node: numbers, or tables by variant."""

    selectors: tuple[Selector, ...]
    selector_of: tuple[int | None, ...]  # [V]
    settings: tuple[Settings, ...]  # [V]
    tails: tuple[tuple[int, ...], ...]  # [V]
    #: What the model holds besides its layers.
    unread: int
    #: Names of the layers of which it is not known in any design.
    no_parameters: tuple[Hashable, ...]
    no_macs: tuple[Hashable, ...]
    #: Whether no sum can leave 64 bits.
    safe: bool


def released(graph: nx.DiGraph[Any], layers: OrderedNetwork, choices: Sequence[Choice]) -> tuple[nx.DiGraph[Any], int]:
    """Return a graph whose nodes state no costs that follow from their attributes, so that these may change.

    Costs that do not follow from them stay as stated before all choices, and are not known after one of them. With the
    graph comes how many parameters the model holds that no layer reads.
    """
    stating = [v for v, node in enumerate(layers.nodes) if {"parameters", "macs"} & set(graph.nodes[node])]
    if not stating and "parameters" not in graph.graph:
        return graph, 0
    told = _costs(graph, layers)
    free = graph.copy()
    free.graph.pop("parameters", None)
    for node in layers.nodes:
        for name in ("parameters", "macs"):
            free.nodes[node].pop(name, None)
    computed = _costs(free, layers)
    chosen = {node for choice in choices for nodes, _ in choice.targets for node in nodes}
    after: list[bool] = []
    for node, tails in zip(layers.nodes, layers.tails, strict=True):
        after.append(node in chosen or any(after[tail] for tail in tails))
        for name in ("parameters", "macs"):
            said, expected = getattr(told[node], name), getattr(computed[node], name)
            if said == expected or (said and after[-1] and expected is None):
                continue
            free.nodes[node][name] = None if said and after[-1] else said
    return free, told.unread


def _costs(graph: nx.DiGraph[Any], layers: OrderedNetwork) -> Costs:
    """Return the costs of the network as it stands, at the sizes that its inputs state."""
    source = layers.nodes[layers.inputs[0]]
    try:
        costs = analyze(graph, source=source).costs
        costs.known  # noqa: B018  sizes are worked out when they are first asked for
        return costs
    except SizeError:
        bare = graph.copy()
        for v in layers.inputs:
            bare.nodes[layers.nodes[v]].pop("size", None)
        return analyze(bare, source=source).costs


def cost_plan(
    graph: nx.DiGraph[Any],
    layers: OrderedNetwork,
    choices: Sequence[Choice],
    unread: int,
    largest: Sequence[Sequence[Size]],
) -> CostPlan:
    """Return what costs follow from.

    Parameters
    ----------
    graph
        A ``released`` graph.
    choices
        What designs differ in.
    unread
        Parameters that no layer reads.
    largest
        Bounds on the sizes of maps in any design, [V][A]; ``None`` where they are not known.

    Raises
    ------
    NoPlan
        If what a node costs is known in some designs only.
    """
    axes = len(layers.axes)

    def reader(node: Hashable, attributes: Mapping[str, Any]) -> _Hashed:
        try:
            read = settings_of(attributes, axes)
        except AttributeValueError as error:
            raise AttributeValueError(f"{layers.describe(layers.id_of(node))}: {error}") from None
        return _Hashed(read)

    if not _told(graph, choices):  # as ``Costs``, which then knows of no layer
        nothing = tuple(layers.nodes)
        return CostPlan((), (), (), (), 0, nothing, nothing, safe=True)
    variants = tabulate(graph, layers, choices, reader, lambda name: name in _HEEDED)
    merged = [_merged(layers, v, [one.settings for one in values]) for v, values in enumerate(variants.values)]
    # Once more with the greatest numbers that there are: what is known, and how large it may be.
    bounds: list[Cost] = []
    total = 0
    for v, (settings, tails) in enumerate(zip(merged, layers.tails, strict=True)):
        inputs = [Map(bounds[tail].channels, tuple(largest[tail])) for tail in tails]
        bound = _bound(settings, inputs, largest[v])
        bounds.append(bound)
        total += (bound.parameters or 0) + (bound.macs or 0)
    return CostPlan(
        variants.selectors,
        variants.selector_of,
        tuple(merged),
        tuple(layers.tails),
        unread,
        tuple(layers.nodes[v] for v, bound in enumerate(bounds) if bound.parameters is None),
        tuple(layers.nodes[v] for v, bound in enumerate(bounds) if bound.macs is None),
        safe=total + unread < _LARGEST and all((bound.channels or 0) < _LARGEST for bound in bounds),
    )


def _told(graph: nx.DiGraph[Any], choices: Sequence[Choice]) -> bool:
    """Return whether designs tell anything that costs follow from."""
    telling = {"channels", "parameters"}
    if any(telling & set(attributes) for _, attributes in graph.nodes(data=True)):
        return True
    by_choice = [
        {isinstance(option[k], Keep) for option in choice.options}
        for choice in choices
        for k, (_, attribute) in enumerate(choice.targets)
        if attribute in telling
    ]
    if by_choice and all(True in kept for kept in by_choice):
        raise NoPlan("some designs of the list have channels and others none")
    return bool(by_choice)


@dataclass(frozen=True)
class _Hashed:
    """Settings told apart by what they say: what they state is a mapping."""

    settings: Settings

    def __hash__(self) -> int:
        return hash(repr(self.settings))


def _merged(layers: OrderedNetwork, v: int, variants: Sequence[Settings]) -> Settings:
    """Return one settings that stands for all variants, with tables where they differ."""
    first = variants[0]
    if len(variants) == 1:
        return first
    if any(one.bias is None for one in variants) and any(one.bias is not None for one in variants):
        variants = [replace(one, bias=one.op in NORMS) if one.bias is None else one for one in variants]
        first = variants[0]
    changed: dict[str, Any] = {}
    for f in fields(Settings):
        values = [getattr(one, f.name) for one in variants]
        if all(value == values[0] for value in values):
            continue
        if f.name in ("kernel", "block") and len({len(value) for value in values}) == 1:
            changed[f.name] = tuple(table(entries) for entries in zip(*values, strict=True))
        elif f.name in ("channels", "groups", "bias") and None not in values:
            changed[f.name] = table([int(value) for value in values])
        else:
            raise NoPlan(f"{layers.describe(v)} has {f.name} in its costs that differ in kind from design to design")
    return replace(first, **changed)


def _bound(settings: Settings, inputs: Sequence[Map], sizes: Sequence[Size]) -> Cost:
    """Return a cost with the greatest numbers in place of tables."""

    def most(entry: Any) -> Any:
        return int(entry.max()) if isinstance(entry, np.ndarray) else entry

    plain = replace(
        settings,
        channels=most(settings.channels),
        bias=None if settings.bias is None else bool(most(settings.bias)),
        kernel=tuple(map(most, settings.kernel)),
        block=tuple(map(most, settings.block)),
    )
    return cost_at_most(plain, inputs, sizes)


def run(
    plan: CostPlan, digits: Sequence[Digit], sizes: Sequence[Sequence[Count | None]]
) -> tuple[Count | None, Count | None, Any]:
    """Return parameters and multiply-accumulates of the designs of a block, and in which of them channels fit.

    Parameters
    ----------
    plan
        What they follow from.
    digits
        Options of the block.
    sizes
        Sizes of all maps, [V][A].
    """
    index = [selector.index(digits) for selector in plan.selectors]
    counts: list[Count | None] = []
    if not plan.safe:
        sizes = [[np.asarray(n, dtype=object) if isinstance(n, np.ndarray) else n for n in own] for own in sizes]
    parameters: Count = plan.unread
    macs: Count = 0
    fits: Any = True
    for settings, selector, tails, own in zip(plan.settings, plan.selector_of, plan.tails, sizes, strict=True):
        if selector is not None:
            settings = _chosen(settings, index[selector], plan.safe)
        inputs = [Map(counts[tail], tuple(sizes[tail])) for tail in tails]
        of_node = cost(settings, inputs, own)
        counts.append(of_node.channels)
        parameters = parameters + (0 if of_node.parameters is None else of_node.parameters)
        macs = macs + (0 if of_node.macs is None else of_node.macs)
        fits = of_node.fits & fits
    return (None if plan.no_parameters else parameters), (None if plan.no_macs else macs), fits


def _chosen(settings: Settings, index: Digit, safe: bool) -> Settings:
    """Return the settings of the designs of a block."""

    def pick(entry: Any) -> Any:
        if not isinstance(entry, np.ndarray):
            return entry
        if isinstance(index, int):
            return int(entry[index])
        return entry[index] if safe else entry[index].astype(object)

    bias = pick(settings.bias)
    return replace(
        settings,
        channels=pick(settings.channels),
        groups=pick(settings.groups),
        bias=bool(bias) if isinstance(bias, int) else bias,
        kernel=tuple(map(pick, settings.kernel)),
        block=tuple(map(pick, settings.block)),
    )
