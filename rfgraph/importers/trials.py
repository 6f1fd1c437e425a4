"""Models read for any input size, tried at some: what a network says of sizes has to be what running the model says.

A trace knows the code that ran. Where code asks how large something is, other code may run at other sizes: these are
*doubtful*. A model that takes none of them works from the next size on. If it takes one, nothing is known of how.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import networkx as nx

from rfgraph.algebra.residues import InputSizes
from rfgraph.graph.network import read

#: Returns whether a model runs on inputs whose axes have some sizes, ``None`` for the size that it was traced at.
Runs = Callable[[Sequence[int | None]], bool]

#: Sizes of an axis that may be doubtful: each is run.
MAX_DOUBTFUL = 64


def answered_otherwise(
    answers: Callable[[Mapping[str, int]], bool], answer: bool, names: Collection[str], hints: Mapping[str, int]
) -> Iterator[int]:
    """Return at which sizes, of those that are run, a question about sizes has another answer.

    Parameters
    ----------
    answers
        Tells the answer at some sizes, by their names.
    answer
        The one that was met.
    names
        The sizes that are as large as an axis: they alone, or all, are as large as each that is tried.
    hints
        How large all sizes were as it was asked.
    """
    for n in range(1, MAX_DOUBTFUL + 1):
        beside = {name: n if name in names else hint for name, hint in hints.items()}
        if any(answers(at) != answer for at in (beside, dict.fromkeys(hints, n))):
            yield n


def holds(graph: nx.DiGraph[Any], runs: Runs, doubtful: Sequence[Collection[int]]) -> bool:
    """Return whether a model runs at the sizes that its network takes, of those tried, and at no other of them.

    That it refuses its least sizes is noted at the inputs of the network.

    Parameters
    ----------
    graph
        The network of a model read for any input size.
    runs
        Runs the model.
    doubtful
        For each axis the sizes at which other code may run.
    """
    claims = _claims(graph)
    said = [(str(claim), frozenset(sizes)) for claim, sizes in zip(claims, doubtful, strict=True)]
    alike = len(set(said)) == 1  # then they are run at one size
    least: list[int] = []
    for axis in range(1 if alike else len(claims)):
        known: dict[int, bool] = {}

        def works(n: int, axis: int = axis, known: dict[int, bool] = known) -> bool:
            if n not in known:
                known[n] = runs([n if alike or other == axis else None for other in range(len(claims))])
            return known[n]

        first = _least(claims[axis], doubtful[axis], works)
        if first is None:
            return False
        least.append(first)
    _note(graph, least * len(claims) if alike else least)
    return True


def _least(claim: InputSizes | None, doubtful: Collection[int], works: Callable[[int], bool]) -> int | None:
    """Return from which size on a model works where its network says so; ``None`` if it does not."""
    if any(works(n) for n in sorted(doubtful)):
        return None
    last = max(doubtful, default=0)
    if claim is not None and any(n in claim and n not in doubtful for n in range(1, last)):
        return None  # the model refuses sizes among those that it takes
    first = last + 1
    if claim is None:
        return first
    if first == 1 and 1 in claim and not works(1):
        first = 2  # exporters take sizes for larger than 1
    return first if all(works(n) == (n in claim) for n in _samples(claim) if n >= first) else None


def _samples(claim: InputSizes) -> Iterator[int]:
    """Return the least sizes of a kind: at which a network works, and at which it does not."""
    yield 1
    yield from islice(claim, 2)
    if claim.residues:
        yield from (n for n in (claim.smallest - claim.modulus, claim.smallest - 1, claim.smallest) if n >= 1)
        period = range(claim.smallest, claim.smallest + claim.modulus)
        yield from islice((n for n in period if n not in claim), 1)


def _claims(graph: nx.DiGraph[Any]) -> list[InputSizes | None]:
    from rfgraph.passes.size_rule import size_rule  # numpy is imported when it is first needed

    layers = read(graph)
    return [size_rule(layers, axis).input_sizes for axis in range(len(layers.axes))]


def _note(graph: nx.DiGraph[Any], least: Sequence[int]) -> None:
    """Note the least size that a model takes at the inputs of its network."""
    for _, attributes in graph.nodes(data=True):
        if attributes["op"] == "input" and any(size > 1 for size in least):
            known = attributes.get("least") or [1] * len(least)
            attributes["least"] = [
                None if size is None else max(size, more) for size, more in zip(known, least, strict=True)
            ]
