"""Sums of products as ``Contract`` writes them: of ``matmul`` by the ranks of its operands, and of ``einsum``."""

from __future__ import annotations

from collections.abc import Sequence

from rfgraph.importers.program import Builder, Contract, Value
from rfgraph.importers.spelling.arguments import shape_of
from rfgraph.importers.spelling.handlers import UnspelledError


def product(build: Builder, a: Value, b: Value, turned: Sequence[object] = (False, False), part: str = "") -> Value:
    """Add numpy's matrix product of two tensors; see ``matmul``."""
    return build(matmul(len(shape_of(a)), len(shape_of(b)), turned), a, b, part=part)


def summed(build: Builder, equation: object, tensors: Sequence[Value]) -> Value:
    """Add what ``einsum`` computes of some tensors."""
    if not isinstance(equation, str):
        raise ValueError(f"equation {equation!r} is not text")
    return build(einsum(equation, [len(shape_of(tensor)) for tensor in tensors]), *tensors)


def matmul(left: int, right: int, turned: Sequence[object] = (False, False)) -> Contract:
    """Return numpy's matrix product of tensors of ``left`` and ``right`` dimensions; ``turned`` are transposed before.

    Examples
    --------
    >>> matmul(3, 1)
    Contract(operands=(('b0', 'i', 'k'), ('k',)), output=('b0', 'i'))
    """
    if not left or not right:
        raise ValueError("an operand has no dimensions")
    batch = [f"b{i}" for i in range(max(left, right, 2) - 2)]
    rows = ["k"] if left == 1 else [*batch[len(batch) + 2 - left :], "i", "k"]
    columns = ["k"] if right == 1 else [*batch[len(batch) + 2 - right :], "k", "j"]
    for labels, turn in zip((rows, columns), turned, strict=True):
        labels[-2:] = reversed(labels[-2:]) if turn else labels[-2:]
    output = [*batch, *(["i"] if left > 1 else []), *(["j"] if right > 1 else [])]
    return Contract(operands=(tuple(rows), tuple(columns)), output=tuple(output))


def einsum(equation: str, ranks: Sequence[int]) -> Contract:
    """Return what ``einsum`` computes of tensors of ``ranks`` dimensions.

    Raises
    ------
    UnspelledError
        If it takes a diagonal.
    ValueError
        If the equation does not fit the operands.

    Examples
    --------
    >>> einsum("b...c,cd->b...d", [4, 2]).output
    ('b', '.2', '.1', 'd')
    >>> einsum("ij,jk", [2, 2]).output
    ('i', 'k')
    """
    terms, arrow, result = equation.replace(" ", "").partition("->")
    operands = terms.split(",")
    if len(operands) != len(ranks):
        raise ValueError(f"equation {equation!r} has {len(operands)} operands, not {len(ranks)}")
    labels = [_labels(term, rank) for term, rank in zip(operands, ranks, strict=True)]
    dots = max(([label for label in own if label.startswith(".")] for own in labels), key=len)
    if arrow:
        before, ellipsis, after = result.partition("...")
        output = (*before, *(dots if ellipsis else ()), *after)
    else:
        letters = [label for label in terms if label.isalpha()]
        output = (*dots, *sorted(label for label in set(letters) if letters.count(label) == 1))
    if any(len(set(own)) < len(own) for own in labels):
        raise UnspelledError(f"its equation {equation!r} takes a diagonal")
    known = {label for own in labels for label in own}
    if not set(output) <= known or len(set(output)) < len(output):
        raise ValueError(f"equation {equation!r} makes dimensions that no operand has, or one twice")
    return Contract(operands=tuple(labels), output=output)


def _labels(term: str, rank: int) -> tuple[str, ...]:
    """Return one label per dimension; those of an ellipsis are counted from its end."""
    before, ellipsis, after = term.partition("...")
    count = rank - len(before) - len(after)
    if count < 0 or (count and not ellipsis):
        raise ValueError(f"term {term!r} does not fit a tensor of {rank} dimensions")
    return (*before, *(f".{i}" for i in range(count, 0, -1)), *after)
