"""Budgets: what a project demands of a network, and the outputs that do not keep to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from fractions import Fraction

from rfgraph.algebra.window import Number, Window
from rfgraph.errors import AttributeValueError, RFGraphError
from rfgraph.frozen import dataclass
from rfgraph.graph.costs import Total
from rfgraph.passes.compiled import Compiled
from rfgraph.questions.findings import Finding, named_axes
from rfgraph.questions.layers import Layer

#: The rule of each demand.
DEMANDS = {"min_r": "RF011", "max_look_ahead": "RF012", "max_parameters": "RF013", "tile_multiple": "RF014"}


@dataclass(frozen=True)
class Budget:
    """What is demanded of every output of a network; ``None`` is no demand.

    Parameters
    ----------
    min_r
        Least receptive field size in input pixels, on every axis.
    max_look_ahead
        Most input samples that an output may read beyond its own position, along the axis that is streamed.
    max_parameters
        Most parameters of the whole network.
    tile_multiple
        Pixels of which tile starts are multiples: the network's own start multiple must divide it.

    Raises
    ------
    AttributeValueError
        If a demand is no integer from 0 up, or ``tile_multiple`` is 0.

    Examples
    --------
    >>> from rfgraph import Network, analyze
    >>> net = Network("block", axes=1)
    >>> out = net.conv("conv", net.input("x"), kernel=3)
    >>> len(analyze(net).over(Budget(min_r=3))), len(analyze(net).over(Budget(min_r=5)))
    (0, 1)
    """

    min_r: int | None = None
    max_look_ahead: int | None = None
    max_parameters: int | None = None
    tile_multiple: int | None = None

    def __post_init__(self) -> None:
        for demand in fields(self):
            value, least = getattr(self, demand.name), int(demand.name == "tile_multiple")
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < least):
                name = demand.name.replace("_", "-")
                raise AttributeValueError(f"{name} {value!r} is not an integer from {least} up")

    @property
    def rules(self) -> tuple[str, ...]:
        """The rules of what is demanded."""
        return tuple(rule for name, rule in DEMANDS.items() if getattr(self, name) is not None)


@dataclass(frozen=True)
class OverBudget(Finding):
    """What does not keep to a budget, or of which that cannot be told: ``value`` is ``None`` then.

    Examples
    --------
    >>> from rfgraph import Network, analyze
    >>> net = Network("block", axes=1)
    >>> out = net.conv("conv", net.input("x"), kernel=3)
    >>> (finding,) = analyze(net).over(Budget(min_r=5))
    >>> finding.node, finding.limit, finding.value
    ('conv', 5, 3)
    """

    #: What was demanded.
    limit: int
    value: Number | None
    said: str
    todo: str

    @property
    def message(self) -> str:
        """The finding in one sentence."""
        return self.said

    @property
    def advice(self) -> str:
        """What to do about it."""
        return self.todo


def find(
    budget: Budget,
    compiled: Compiled,
    without_size: Callable[[], Compiled],
    layer: Callable[[int], Layer],
    parameters: Callable[[], Total],
    outputs: Sequence[int],
    source: int,
    axis: int,
) -> list[Finding]:
    """Return what does not keep to a budget.

    Parameters
    ----------
    budget
        What is demanded.
    without_size
        Returns the network without an input size.
    layer, parameters
        What is known of a node, and the sum over all.
    outputs, source
        Node ids; of outputs that do not depend on the source nothing is demanded.
    axis
        Index of the axis that is streamed.
    """
    reached = [v for v in outputs if compiled.between([v], source)]
    findings: list[Finding] = []
    if budget.min_r is not None:
        findings += [finding for v in reached for finding in _small_fields(layer(v), budget.min_r)]
    if budget.max_look_ahead is not None:
        findings += [f for v in reached for f in _looks_ahead(compiled, v, source, axis, budget.max_look_ahead)]
    if budget.max_parameters is not None:
        findings += _parameters(compiled, parameters(), outputs, budget.max_parameters)
    if budget.tile_multiple is not None:
        findings += [f for v in reached for f in _tiles(without_size(), v, source, budget.tile_multiple)]
    return findings


def _small_fields(layer: Layer, limit: int) -> Iterator[OverBudget]:
    by_axis: dict[tuple[Number | None, str], list[str]] = {}
    tables = layer.by_size or (None,) * len(layer.axes)
    for axis, field, whole, table in zip(layer.axes, layer.field, layer.is_global, tables, strict=True):
        windows: tuple[Window, ...] = table.fields if table else (field,)
        if not whole and (told := _small(windows, limit)) is not None:
            by_axis.setdefault(told, []).append(axis)
    for (value, said), axes in by_axis.items():
        yield OverBudget(
            "RF011", layer.name, tuple(axes), limit=limit, value=value,
            said=f"output {layer.name!r}, {named_axes(tuple(axes))}: {said}",
            todo=f"widen it by kernels, strides or dilation before it, or lower min-r = {limit}",
        )  # fmt: skip


def _small(windows: Sequence[Window], limit: int) -> tuple[Number | None, str] | None:
    """Return the size of a field that is too small, or may be, and what is to be said of it."""
    unknown = next((window for window in windows if window.is_unknown), None)
    sizes = [window.size for window in windows if window.is_local]
    if sizes and min(sizes) < limit:
        some = " at some input sizes" if max(sizes) >= limit else ""
        return min(sizes), f"r is {min(sizes)} pixels{some}, less than min-r = {limit}"
    if unknown is not None:
        return None, f"whether r is at least min-r = {limit} is not known: {unknown.why}"
    bound = next((window for window in windows if window.is_local and not window.exact), None)
    if bound is not None:
        return None, f"whether r is at least min-r = {limit} is not known: it is {bound.size} at most ({bound.why})"
    return None


def _looks_ahead(compiled: Compiled, v: int, source: int, axis: int, limit: int) -> Iterator[OverBudget]:
    from rfgraph.questions import latency  # most budgets do not ask for it

    node, name = compiled.layers.nodes[v], compiled.layers.axes[axis]
    where = f"output {node!r}, axis {name}: "
    todo = f"pad convolutions before their maps alone, or raise max-look-ahead = {limit}"
    try:
        timing = latency.latency(compiled, axis, v, source)
        if timing.blockers:
            said = f"how far it looks ahead has no limit or is not known: {timing.blockers[0]}"
            todo = f"change {timing.blockers[0].node!r}, or give up max-look-ahead = {limit}"
            yield OverBudget("RF012", node, (name,), limit=limit, value=None, said=where + said, todo=todo)
        elif Fraction(timing.look_ahead) > limit:
            at_most = "" if timing.exact else "up to "
            samples = f"{timing.look_ahead} input sample{'' if timing.look_ahead == 1 else 's'}"
            said = f"it looks {at_most}{samples} ahead, more than max-look-ahead = {limit}"
            yield OverBudget("RF012", node, (name,), limit=limit, value=timing.look_ahead, said=where + said, todo=todo)
    except RFGraphError as error:
        said = f"how far it looks ahead is not known: {error}"
        yield OverBudget("RF012", node, (name,), limit=limit, value=None, said=where + said, todo=todo)


def _parameters(compiled: Compiled, total: Total, outputs: Sequence[int], limit: int) -> Iterator[OverBudget]:
    nodes = compiled.layers.nodes
    node = nodes[outputs[0]] if outputs else nodes[0]
    if total.count > limit:
        said = f"the network has {total} parameters, more than max-parameters = {limit:,}"
        value = total.count
    elif not total.complete:
        said = (
            f"whether the network has at most max-parameters = {limit:,} is not known: it has {total}, "
            f"and {total.unknown[0]!r} does not tell"
        )
        value = None
    else:
        return
    yield OverBudget(
        "RF013", node, compiled.layers.axes, limit=limit, value=value, said=said,
        todo=f"take fewer channels, or raise max-parameters = {limit}",
    )  # fmt: skip


def _tiles(compiled: Compiled, v: int, source: int, limit: int) -> Iterator[OverBudget]:
    from rfgraph.questions import tiling  # most budgets do not ask for it

    node, axes = compiled.layers.nodes[v], compiled.layers.axes
    todo = f"change strides, or tile-multiple = {limit}"
    try:
        plan = tiling.plan(tiling.Tiler(compiled.layers, v, source), None)
    except RFGraphError as error:
        yield OverBudget(
            "RF014", node, axes, limit=limit, value=None, todo=todo,
            said=f"output {node!r}, {named_axes(axes)}: how it is tiled is not known: {error}",
        )  # fmt: skip
        return
    if plan.blockers:
        blocked = tuple(name for name in axes if any(blocker.axis == name for blocker in plan.blockers))
        yield OverBudget(
            "RF014", node, blocked, limit=limit, value=None, todo=plan.blockers[0].advice,
            said=f"output {node!r}, {named_axes(blocked)}: it cannot be tiled exactly, for "
            f"{plan.blockers[0].node!r} ({plan.blockers[0].op}): {plan.blockers[0].why}",
        )  # fmt: skip
    by_multiple: dict[int, list[str]] = {}
    for axis in plan.axes:
        if limit % axis.multiple:
            by_multiple.setdefault(axis.multiple, []).append(axis.axis)
    for multiple, names in by_multiple.items():
        yield OverBudget(
            "RF014", node, tuple(names), limit=limit, value=multiple, todo=todo,
            said=f"output {node!r}, {named_axes(tuple(names))}: tiles start at multiples of {multiple}, "
            f"which does not divide tile-multiple = {limit}",
        )  # fmt: skip
