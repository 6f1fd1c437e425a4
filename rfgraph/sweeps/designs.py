"""The designs of a sweep: which choices there are, and how designs are numbered, never how they are listed.

A choice has options; an option sets attributes of nodes. Designs are numbered in mixed radix, one digit per choice:
those that act first in the network turn slowest, so that neighbours in number share all that lies before their
difference, and a block of numbers is a box of options.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import field
from enum import Enum
from functools import cached_property
from itertools import chain
from math import prod
from typing import Any

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from rfgraph.errors import AttributeValueError, UnknownNodeError
from rfgraph.frozen import dataclass
from rfgraph.graph.treatments import matches
from rfgraph.ops import KINDS, METADATA, near

Ints = NDArray[np.int64]

#: One option of every choice of a design; along a block, an array that broadcasts against those of the others.
Digit = int | NDArray[Any]

#: ``"node-or-pattern.attribute"``, or several of these that are set together.
Key = str | tuple[str, ...]
Choices = Mapping[Key, Sequence[Any]] | Sequence[Mapping[str, Any]]

#: Designs are numbered by 64-bit integers; a sweep may draw a sample from more, but not go through them.
MOST_NUMBERED = 1 << 62


class Keep(Enum):
    """What a design of a list says of an attribute that only others of the list set: it stays as the graph has it."""

    KEEP = "keep"


KEEP = Keep.KEEP


@dataclass(frozen=True)
class Choice:
    """Something that designs differ in.

    Parameters
    ----------
    keys
        What is set, as the user spells it.
    targets
        For each key, the nodes that it sets and the attribute.
    options
        For each option, the value of each key.
    """

    keys: tuple[str, ...]
    targets: tuple[tuple[tuple[Hashable, ...], str], ...]
    options: Sequence[tuple[Any, ...]]

    def __len__(self) -> int:
        return len(self.options)

    def described(self, option: int) -> dict[str, Any]:
        """Return what an option says, by key."""
        return {key: value for key, value in zip(self.keys, self.options[option], strict=True) if value is not KEEP}

    def settings(self, option: int) -> Iterator[tuple[Hashable, str, Any]]:
        """Yield node, attribute and value of all that an option sets."""
        for (nodes, attribute), value in zip(self.targets, self.options[option], strict=True):
            if value is not KEEP:
                yield from ((node, attribute, value) for node in nodes)


@dataclass(frozen=True)
class Block:
    """Designs that are looked at together: a box of options, or a stretch of a sample."""

    #: Position of the first design in the sweep.
    start: int
    #: One entry per choice that varies here; their product is how many designs there are.
    shape: tuple[int, ...]
    digits: list[Digit]

    def __len__(self) -> int:
        return prod(self.shape)

    def pieces(self, size: int) -> Iterator[Block]:
        """Yield blocks of at most ``size`` that make up this one, in order."""
        if len(self) <= size or not self.shape:
            yield self
            return
        length, *rest = self.shape
        below = prod(rest)
        each = max(size // below, 1)
        for low in range(0, length, each):
            high = min(low + each, length)
            fixed = high - low == 1
            digits: list[Digit] = []
            for digit in self.digits:
                if isinstance(digit, int):
                    digits.append(digit)
                elif digit.shape[0] > 1:
                    digits.append(int(digit[low].reshape(())) if fixed else digit[low:high])
                else:
                    digits.append(digit[0] if fixed else digit)
            shape = tuple(rest) if fixed else (high - low, *rest)
            yield from Block(self.start + low * below, shape, digits).pieces(size)


@dataclass(frozen=True)
class Designs:
    """All designs of a sweep.

    Parameters
    ----------
    graph
        The network that they vary.
    choices
        What they differ in, slowest first.
    sample
        How many designs to draw at random; all of them if ``None``.
    seed
        Which sample.
    """

    graph: nx.DiGraph[Any]
    choices: tuple[Choice, ...]
    sample: int | None = None
    seed: int = 0
    #: Whether compiled code draws the sample.
    compiled: bool = False

    @cached_property
    def radices(self) -> tuple[int, ...]:
        """How many options each choice has."""
        return tuple(len(choice) for choice in self.choices)

    @cached_property
    def total(self) -> int:
        """How many designs there are to choose from."""
        return prod(self.radices)

    @cached_property
    def drawn(self) -> bool:
        """Whether a sample is drawn that is smaller than what it is drawn from."""
        return self.sample is not None and self.sample < self.total

    @cached_property
    def count(self) -> int:
        """How many designs the sweep has."""
        return self.sample if self.drawn and self.sample is not None else self.total

    def __len__(self) -> int:
        return self.count

    def digits(self, position: int) -> list[int]:
        """Return the option of each choice of the design at a position in the sweep."""
        if not 0 <= position < len(self):
            raise IndexError(f"design {position} is not one of {len(self)}, numbered from 0")
        if self.drawn:
            return [int(digit[0]) for digit in self.sampled(position, position + 1)]
        return _mixed_radix(position, self.radices)

    def options(self, position: int) -> dict[str, Any]:
        """Return what the design at a position chooses: key -> value."""
        options: dict[str, Any] = {}
        for choice, digit in zip(self.choices, self.digits(position), strict=True):
            options.update(choice.described(digit))
        return options

    def network(self, position: int) -> nx.DiGraph[Any]:
        """Return the network of the design at a position in the sweep."""
        graph = self.graph.copy()
        for choice, digit in zip(self.choices, self.digits(position), strict=True):
            for node, attribute, value in choice.settings(digit):
                graph.nodes[node][attribute] = value
        return graph

    def blocks(self, size: int) -> Blocks:
        """Return the designs in blocks of at most ``size``."""
        return Blocks(self, size)

    def sampled(self, start: int, stop: int) -> list[NDArray[Any]]:
        """Return the digits of a stretch of the sample, drawn without repetition where numbers fit into 62 bits."""
        positions = np.arange(start, stop, dtype=np.uint64)
        key = _key(self.seed)
        if self.total > MOST_NUMBERED:  # so many that none is drawn twice, but by a chance of one in billions
            return [
                (_mixed(positions ^ _mixed(np.uint64(key ^ (c + 1)))) % np.uint64(radix)).astype(np.intp)
                for c, radix in enumerate(self.radices)
            ]
        rest = _permuted(positions, self.total, key, self.compiled).astype(np.int64)
        digits = _decoded(rest, self.radices)
        return digits if self.compiled else [digit.astype(np.intp) for digit in digits]  # numpy looks up by those alone


@dataclass(frozen=True)
class Blocks:
    """The designs of a sweep cut into blocks; each is made when it is asked for."""

    designs: Designs
    size: int
    #: The choice whose options are split over blocks: those before it are fixed in a block, those after vary freely.
    split: int = field(init=False)
    #: How many designs share the options up to and including those of the split choice.
    below: int = field(init=False)

    def __post_init__(self) -> None:
        split, below = len(self.designs.radices), 1
        for split in reversed(range(len(self.designs.radices))):
            if below * self.designs.radices[split] > self.size:
                break
            below *= self.designs.radices[split]
        else:
            split = -1
        object.__setattr__(self, "split", split)
        object.__setattr__(self, "below", below)

    @property
    def _parts(self) -> tuple[int, int]:
        """Return how many options of the split choice a block has, and into how many parts they are split."""
        radix = self.designs.radices[self.split]
        each = min(max(self.size // self.below, 1), radix)
        return each, -(-radix // each)

    def __len__(self) -> int:
        if self.designs.drawn:
            return -(-len(self.designs) // self.size)
        return 1 if self.split < 0 else prod(self.designs.radices[: self.split]) * self._parts[1]

    def pieces(self, index: int, size: int) -> Iterator[Block]:
        """Yield one block in pieces of at most ``size``; those of a sample are drawn one by one."""
        designs = self.designs
        if not designs.drawn:
            yield from self[index].pieces(size)
            return
        stop = min((index + 1) * self.size, len(designs))
        for low in range(index * self.size, stop, size):
            high = min(low + size, stop)
            yield Block(low, (high - low,), list(designs.sampled(low, high)))

    def __getitem__(self, index: int) -> Block:
        if not 0 <= index < len(self):
            raise IndexError(index)
        designs = self.designs
        if designs.drawn:
            start = index * self.size
            stop = min(start + self.size, len(designs))
            return Block(start, (stop - start,), list(designs.sampled(start, stop)))
        radices = designs.radices
        fixed: list[int] = []
        start, low, high = 0, 0, 0
        ranges: list[tuple[int, int]] = [(0, radix) for radix in radices]
        if self.split >= 0:
            each, parts = self._parts
            row, part = divmod(index, parts)
            low, high = part * each, min((part + 1) * each, radices[self.split])
            start = (row * radices[self.split] + low) * self.below
            fixed = _mixed_radix(row, radices[: self.split])
            ranges = [*((digit, digit + 1) for digit in fixed), (low, high), *ranges[self.split + 1 :]]
        varying = [place for place, (a, b) in enumerate(ranges) if b - a > 1]
        digits: list[Digit] = []
        for place, (a, b) in enumerate(ranges):
            if b - a == 1:
                digits.append(a)
                continue
            shape = [1] * len(varying)
            shape[varying.index(place)] = -1
            digits.append(np.arange(a, b, dtype=np.intp).reshape(shape))
        return Block(start, tuple(ranges[place][1] - ranges[place][0] for place in varying), digits)


def _mixed_radix(number: int, radices: Sequence[int]) -> list[int]:
    digits = []
    for radix in reversed(radices):
        number, digit = divmod(number, radix)
        digits.append(digit)
    return digits[::-1]


def _decoded(numbers: Ints, radices: Sequence[int]) -> list[NDArray[np.uint32]]:
    """Return the digits of numbers in mixed radix, by groups that fit into 32 bits, where division is much faster."""
    digits: list[NDArray[np.uint32]] = []
    place = len(radices)
    while place:
        low, size = place, 1
        while low and size * radices[low - 1] < 1 << 32:
            low -= 1
            size *= radices[low]
        above = numbers // size
        rest = (numbers - above * size).astype(np.uint32)
        for radix in reversed(radices[low + 1 : place]):
            quotient = rest // np.uint32(radix)
            digits.append(rest - quotient * np.uint32(radix))
            rest = quotient
        digits.append(rest)
        numbers, place = above, low
    return digits[::-1]


# Choices, as users write them


def read(
    graph: nx.DiGraph[Any], order: Sequence[Hashable], choices: Choices, each: Mapping[Key, Sequence[Any]]
) -> tuple[Choice, ...]:
    """Return the choices that a user asks for, slowest first.

    Parameters
    ----------
    order
        Its nodes in topological order.
    choices
        Mapping from key to the values it takes, or a list of designs.
    each
        Mapping from key to values, where every node that the key fits chooses on its own.

    Raises
    ------
    UnknownNodeError
        If a key fits no node.
    AttributeValueError
        If a key has no attribute or no values, or two choices set the same attribute of the same node.
    """
    chosen: list[Choice] = []
    if isinstance(choices, Mapping):
        chosen += [_choice(graph, key, values) for key, values in choices.items()]
    elif choices:
        chosen.append(_listed(graph, choices))
    for key, values in each.items():
        chosen += _split(_choice(graph, key, values))
    _check_apart(chosen)
    place = {node: v for v, node in enumerate(order)}
    return tuple(sorted(chosen, key=lambda choice: min(place[node] for nodes, _ in choice.targets for node in nodes)))


def _choice(graph: nx.DiGraph[Any], key: Key, values: Any) -> Choice:
    if not isinstance(values, (list, tuple, range, np.ndarray)) or not len(values):
        raise AttributeValueError(f"the values of {key!r} are {values!r}; give a list of at least one, as [3, 5, 7]")
    plain = values.tolist() if isinstance(values, np.ndarray) else list(values)
    if isinstance(key, str):
        return Choice((key,), (_targets(graph, key),), [(value,) for value in plain])
    keys = tuple(key)
    for value in plain:
        if not isinstance(value, (list, tuple)) or len(value) != len(keys):
            raise AttributeValueError(
                f"{value!r} does not give a value to each of {', '.join(map(repr, keys))}, which are set together; "
                f"give {len(keys)} of them, as {tuple(range(1, len(keys) + 1))}"
            )
    return Choice(keys, tuple(_targets(graph, one) for one in keys), [tuple(value) for value in plain])


def _listed(graph: nx.DiGraph[Any], designs: Sequence[Mapping[str, Any]]) -> Choice:
    for position, design in enumerate(designs):
        if not isinstance(design, Mapping):
            raise AttributeValueError(
                f"entry {position} of the list of designs is {design!r}; give a mapping, as {{'conv1.kernel': 3}}"
            )
    keys = tuple(dict.fromkeys(chain.from_iterable(designs)))
    if not keys:
        raise AttributeValueError("the list of designs sets nothing; give mappings, as {'conv1.kernel': 3}")
    return Choice(
        keys,
        tuple(_targets(graph, key) for key in keys),
        [tuple(design.get(key, KEEP) for key in keys) for design in designs],
    )


def _split(choice: Choice) -> list[Choice]:
    """Return the choice anew for each of its nodes."""
    sets = [frozenset(nodes) for nodes, _ in choice.targets]
    for key, nodes in zip(choice.keys, sets, strict=True):
        if nodes != sets[0]:
            odd = min(map(str, nodes ^ sets[0]))
            raise AttributeValueError(
                f"{choice.keys[0]!r} and {key!r} are set together for each node, but {odd!r} fits one of them only"
            )
    attributes = [attribute for _, attribute in choice.targets]
    return [
        Choice(
            tuple(f"{node}.{attribute}" for attribute in attributes),
            tuple(((node,), attribute) for attribute in attributes),
            choice.options,
        )
        for node in choice.targets[0][0]
    ]


def _targets(graph: nx.DiGraph[Any], key: str) -> tuple[tuple[Hashable, ...], str]:
    """Return the nodes that a key sets, and which attribute."""
    pattern, dot, attribute = key.rpartition(".") if isinstance(key, str) else ("", "", "")
    if not (pattern and dot and attribute):
        raise AttributeValueError(f"{key!r} is no key; write node.attribute or pattern.attribute, as 'conv*.kernel'")
    nodes = [node for node in graph if str(node) == pattern]
    if nodes:
        return tuple(nodes), attribute
    fitting = [node for node in graph if matches(pattern, (str(node),))]
    if not fitting:
        raise UnknownNodeError(f"{key!r} fits no node{near(pattern, map(str, graph))}")
    nodes = [node for node in fitting if _takes(graph.nodes[node], attribute)]
    if not nodes:
        ops = ", ".join(sorted({str(graph.nodes[node].get("op")) for node in fitting}))
        raise AttributeValueError(f"{key!r}: none of the nodes that fit {pattern!r} takes {attribute} (ops: {ops})")
    return tuple(nodes), attribute


def _takes(attributes: Mapping[str, Any], attribute: str) -> bool:
    """Return whether a node that a pattern fits is meant by the attribute too."""
    if attribute in attributes:
        return True
    kind = KINDS.get(attributes.get("op", ""))
    if kind is None:
        return attribute == "treat"
    if attribute in METADATA:
        return kind.projects
    return attribute in {f.metadata["name"] or f.name for f in _attributes(kind)} | kind.extra | {"treat"}


def _attributes(kind: Any) -> Iterator[Any]:
    return (f for f in kind.__dataclass_fields__.values() if "read" in f.metadata)


def _check_apart(choices: Sequence[Choice]) -> None:
    owners: dict[tuple[Hashable, str], str] = {}
    for choice in choices:
        for key, (nodes, attribute) in zip(choice.keys, choice.targets, strict=True):
            for node in nodes:
                other = owners.setdefault((node, attribute), key)
                if other is not key:
                    raise AttributeValueError(
                        f"{other!r} and {key!r} both set {attribute} of {node!r}; "
                        "let one of them fit other nodes, or set them together"
                    )


# Samples: a keyed permutation of the numbers, so that a stretch is drawn without the rest


def _key(seed: int) -> int:
    return int.from_bytes(hashlib.sha256(f"sweep {seed}".encode()).digest()[:8], "little")


def _mixed(value: Any) -> Any:
    """Return 64 bits that depend on all bits of each value.

    References
    ----------
    Steele, Lea, Flood, Fast splittable pseudorandom number generators, OOPSLA 2014: the finaliser of SplitMix64.
    """
    with np.errstate(over="ignore"):
        value = value + np.uint64(0x9E3779B97F4A7C15)
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return value ^ (value >> np.uint64(31))


def _permuted(numbers: NDArray[np.uint64], total: int, key: int, compiled: bool = False) -> NDArray[np.uint64]:
    """Return where a random permutation of ``range(total)`` takes each number.

    References
    ----------
    Black, Rogaway, Ciphers with arbitrary finite domains, CT-RSA 2002: a Feistel network, gone round until inside.
    """
    half = np.uint64(max(((total - 1).bit_length() + 1) // 2, 1))
    mask = (np.uint64(1) << half) - np.uint64(1)
    keys = [_mixed(np.uint64(key ^ round_)) for round_ in range(1, 5)]
    if compiled:
        from rfgraph.sweeps import kernels

        drawn: NDArray[np.uint64] = kernels.permuted(numbers, np.uint64(total), half, np.array(keys, dtype=np.uint64))
        return drawn
    result = numbers.copy()
    left = np.arange(len(numbers))
    inside = numbers
    while len(left):
        high, low = inside >> half, inside & mask
        for round_key in keys:
            high, low = low, high ^ (_mixed(low ^ round_key) & mask)
        inside = (high << half) | low
        done = inside < np.uint64(total)
        result[left[done]] = inside[done]
        left, inside = left[~done], inside[~done]
    return result
