"""A table of layers folded by module: one row for all layers of a module, with the numbers of what leaves it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace

from rfgraph.frozen import dataclass
from rfgraph.ops.costs import Cost
from rfgraph.present.modules import parts
from rfgraph.present.rows import counted
from rfgraph.questions.layers import Layer


@dataclass(frozen=True)
class Folded:
    """The rows of a folded table."""

    #: A layer as it is, or one that stands for a module and says in place of its op how many nodes that has.
    layers: list[Layer]
    #: Name of a row -> the layer whose field it shows.
    shows: dict[Hashable, Hashable]


def folded(
    layers: Sequence[Layer], tails: Mapping[Hashable, Sequence[Hashable]], ends: set[Hashable], depth: int
) -> Folded:
    """Return rows in which modules that lie inside ``depth`` others are one each, in the order of their last layers.

    A module shows the numbers of the layers by which it is left. Where these differ, each has a row, and the last one
    stands for the costs of the module.

    Parameters
    ----------
    layers
        The layers, in topological order.
    tails
        What each of them reads.
    ends
        The outputs of the network, which leave their modules too.
    depth
        How many modules may lie around one that is folded; 0 folds all.
    """
    keys = [_module(layer.name, depth) for layer in layers]
    deeper = {key for key, is_inside in keys if is_inside}
    module_of = {layer.name: key for layer, (key, _) in zip(layers, keys, strict=True) if key in deeper}
    members: dict[str, list[Layer]] = {}
    for layer in layers:
        if layer.name in module_of:
            members.setdefault(module_of[layer.name], []).append(layer)
    readers: dict[Hashable, list[Hashable]] = {}
    for name, read in tails.items():
        for tail in read:
            readers.setdefault(tail, []).append(name)
    rows, shows = [], {}
    for layer in layers:
        module = module_of.get(layer.name)
        if module is None or len(members[module]) == 1:
            rows.append(layer)
            continue
        if layer is not members[module][-1]:
            continue
        for row, shown in _rows(module, members[module], module_of, readers, ends):
            rows.append(row)
            shows[row.name] = shown
    return Folded(rows, shows)


def _module(name: Hashable, depth: int) -> tuple[str, bool]:
    """Return the module at ``depth`` that a name spells, and whether the node lies inside and is not it by name."""
    spelt = parts(name)
    mark = "/" if "/" in str(name) else "."
    return mark.join(spelt[: depth + 1]), len(spelt) > depth + 1


def _rows(
    module: str,
    members: Sequence[Layer],
    module_of: Mapping[Hashable, str],
    readers: Mapping[Hashable, Sequence[Hashable]],
    ends: set[Hashable],
) -> list[tuple[Layer, Hashable]]:
    """Return the rows of a module, each with the layer that it shows."""
    exits = []
    for layer in members:
        read_by = readers.get(layer.name, ())
        outside = not read_by or layer.name in ends or any(module_of.get(reader) != module for reader in read_by)
        if outside:
            exits.append(layer)
    alike = len({(layer.map_size, layer.field, layer.by_size, layer.is_global) for layer in exits}) == 1
    shown = exits[-1:] if alike else exits
    totals = {
        name: None if any(getattr(layer, name) is None for layer in members) else sum(getattr(m, name) for m in members)
        for name in ("parameters", "macs")
    }
    rows: list[tuple[Layer, Hashable]] = []
    for layer in shown:
        name: Hashable = module if len(shown) == 1 else layer.name
        is_last = layer is shown[-1]
        cost = Cost(channels=layer.channels, **(totals if is_last else {"parameters": 0, "macs": 0}))
        about = counted(len(members), "node") if is_last else layer.op
        rows.append((replace(layer, name=name, op=about, costs={name: cost}), layer.name))
    return rows
