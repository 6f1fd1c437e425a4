"""What attributes say of every node of a sweep, by variant: the distinct values, and which of them a design has.

A node that no choice touches has one value; any other has one for each combination of the options that touch it, its
variants. They are read by the code that reads every other graph.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from math import prod
from typing import Any, Generic, TypeVar

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from rfgraph.errors import AttributeValueError
from rfgraph.frozen import dataclass
from rfgraph.graph.network import OrderedNetwork, read_node
from rfgraph.ops import METADATA, Op
from rfgraph.sweeps.designs import Choice, Digit, Keep

Ints = NDArray[np.int64]

#: One number for all variants, or one for each.
Table = int | Ints

#: A node with more variants than this is not tabulated.
MOST_VARIANTS = 1 << 16

#: Map sizes and ends of intervals beyond this are left to exact integers.
LARGEST = 1 << 52


class NoPlan(Exception):  # noqa: N818  it says so to the caller, and nothing has gone wrong
    """Why a sweep cannot be vectorised."""


@dataclass(frozen=True)
class Selector:
    """Which variant of a node a design has: the codes of its options, weighted, and a table where some are alike."""

    choices: tuple[int, ...]
    codes: tuple[NDArray[np.intp] | None, ...]
    weights: tuple[int, ...]
    variants: NDArray[np.intp] | None

    def index(self, digits: Sequence[Digit]) -> Digit:
        """Return the variant of each design of a block."""
        total: Digit | None = None
        for choice, codes, weight in zip(self.choices, self.codes, self.weights, strict=True):
            digit = digits[choice]
            code: Digit = digit
            if codes is not None:
                code = int(codes[digit]) if isinstance(digit, int) else codes[digit]
            code = code * weight if weight > 1 else code
            total = code if total is None else total + code
        assert total is not None
        if self.variants is None:
            return total
        return int(self.variants[total]) if isinstance(total, int) else self.variants[total]


def table(values: Sequence[int]) -> Table:
    """Return values by variant as a table."""
    if all(value == values[0] for value in values):
        return int(values[0])
    if max(map(abs, values)) > LARGEST:
        raise NoPlan(f"a number as large as {max(values, key=abs)} is computed with exact integers")
    return np.array(values, dtype=np.int64)


Value = TypeVar("Value", bound=Hashable)

#: Reads what is tabulated of a node, from its name and attributes.
Reader = Callable[[Hashable, Mapping[str, Any]], Value]


@dataclass(frozen=True)
class Variants(Generic[Value]):
    """Something that attributes say of every node, by variant: the distinct values, and which of them a design has."""

    layers: OrderedNetwork
    selectors: tuple[Selector, ...]
    selector_of: tuple[int | None, ...]  # [V]
    values: tuple[tuple[Value, ...], ...]  # [V][U]


def ops_by_variant(
    graph: nx.DiGraph[Any], layers: OrderedNetwork, choices: Sequence[Choice]
) -> Variants[tuple[Op, ...]]:
    """Return the op of every node on each axis, by variant.

    Raises
    ------
    AttributeValueError
        If an option is no value for its attribute; the message names node and op.
    NoPlan
        If a node has too many variants, or takes part in the network in another way in some design.
    """

    def reader(node: Hashable, attributes: Mapping[str, Any]) -> tuple[Op, ...]:
        return read_node(node, attributes, layers.axes, layers.batch_norm)

    variants_of = tabulate(graph, layers, choices, reader, lambda name: name == "op" or name not in METADATA)
    for v, variants in enumerate(variants_of.values):
        if variants_of.selector_of[v] is not None or variants[0] != layers.ops[v]:
            _check_inputs(layers, v, variants)
    return variants_of


def tabulate(
    graph: nx.DiGraph[Any],
    layers: OrderedNetwork,
    choices: Sequence[Choice],
    reader: Reader[Value],
    heeds: Callable[[str], bool],
) -> Variants[Value]:
    """Return what ``reader`` reads of every node, by variant; it heeds the attributes that ``heeds`` says it does."""
    touching: dict[Hashable, dict[int, list[int]]] = {}  # node -> choice -> keys
    for c, choice in enumerate(choices):
        for k, (nodes, attribute) in enumerate(choice.targets):
            for node in nodes if heeds(attribute) else ():
                touching.setdefault(node, {}).setdefault(c, []).append(k)
    coded: dict[tuple[int, tuple[int, ...]], tuple[NDArray[np.intp], list[tuple[Any, ...]]]] = {}
    selectors_made: list[Selector] = []
    selectors: dict[Any, int] = {}
    known: dict[Any, tuple[int | None, tuple[Value, ...]]] = {}
    selector_of: list[int | None] = []
    values: list[tuple[Value, ...]] = []
    for v, node in enumerate(layers.nodes):
        parts = [(c, tuple(keys)) for c, keys in touching.get(node, {}).items()]
        for c, keys in parts:
            if (c, keys) not in coded:
                coded[c, keys] = _codes(choices[c], keys)
        spread = [coded[part][1] for part in parts]
        if prod(map(len, spread)) > MOST_VARIANTS:
            raise NoPlan(f"{layers.describe(v)} has more than {MOST_VARIANTS} variants")
        attributes = {n: value for n, value in graph.nodes[node].items() if heeds(n)}
        settings = [[choices[c].targets[k][1] for k in keys] for c, keys in parts]
        key = (repr(list(attributes.items())), repr(settings), tuple(parts))
        if key not in known:
            read_values, code = _read_variants(node, attributes, settings, spread, reader)
            selector = None
            if len(read_values) > 1:
                alike = (tuple(parts), code.tobytes())
                if alike not in selectors:
                    selectors[alike] = len(selectors_made)
                    weights = [prod(map(len, spread[place + 1 :])) for place in range(len(spread))]
                    codes = tuple(_unless_plain(coded[part][0]) for part in parts)
                    selectors_made.append(
                        Selector(tuple(c for c, _ in parts), codes, tuple(weights), _unless_plain(code))
                    )
                selector = selectors[alike]
            known[key] = selector, tuple(read_values)
        selector_of.append(known[key][0])
        values.append(known[key][1])
    return Variants(layers, tuple(selectors_made), tuple(selector_of), tuple(values))


def _unless_plain(codes: NDArray[np.intp]) -> NDArray[np.intp] | None:
    """Return codes, ``None`` where each stands for itself."""
    return None if np.array_equal(codes, np.arange(len(codes))) else codes


def _codes(choice: Choice, keys: Sequence[int]) -> tuple[NDArray[np.intp], list[tuple[Any, ...]]]:
    """Return which of the distinct values of some keys each option has, and those values."""
    distinct: dict[str, int] = {}
    values: list[tuple[Any, ...]] = []
    codes = np.empty(len(choice), dtype=np.intp)
    for option, entries in enumerate(choice.options):
        value = tuple(entries[k] for k in keys)
        code = distinct.setdefault(repr(value), len(values))
        if code == len(values):
            values.append(value)
        codes[option] = code
    return codes, values


def _read_variants(
    node: Hashable,
    attributes: Mapping[str, Any],
    settings: Sequence[Sequence[str]],
    spread: Sequence[Sequence[tuple[Any, ...]]],
    reader: Reader[Value],
) -> tuple[list[Value], NDArray[np.intp]]:
    """Return the distinct values that a node has, and which of them each combination of options makes."""
    numbers: dict[Value, int] = {}
    count = prod(map(len, spread))
    code = np.empty(count, dtype=np.intp)
    for combination in range(count):
        changed, rest = dict(attributes), combination
        for names, entries in zip(reversed(settings), reversed(spread), strict=True):
            rest, place = divmod(rest, len(entries))
            changed.update((n, e) for n, e in zip(names, entries[place], strict=True) if not isinstance(e, Keep))
        code[combination] = numbers.setdefault(reader(node, changed), len(numbers))
    return list(numbers), code


def _check_inputs(layers: OrderedNetwork, v: int, variants: Sequence[tuple[Op, ...]]) -> None:
    """Refuse ops that cannot take the inputs that the node has, as reading the design's graph would."""
    totals = any(op.totals for op in layers.ops[v])
    inputs = len(layers.tails[v]) // (2 if totals else 1)
    for ops in variants:
        if any(op.totals for op in ops) != totals:
            raise NoPlan(f"{layers.describe(v)} reads totals over its map in some designs only")
        arity = ops[0].arity
        if (arity == "none") != (inputs == 0) or (arity == "one" and inputs > 1):
            raise AttributeValueError(
                f"{layers.describe(v)}: a choice makes it {ops[0].kind!r}, which does not take {inputs} inputs; "
                "let it choose among ops that take as many"
            )
