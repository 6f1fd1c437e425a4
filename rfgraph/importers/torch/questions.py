"""What the code of a PyTorch module asks of sizes while ``torch.export`` traces it: other answers may run other code.

Operators ask as well, whether shapes fit and how tensors lie in memory. That is left to the ops of the network.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._sympy.numbers import int_oo
from torch.utils._sympy.value_ranges import ValueRanges, bound_sympy

from rfgraph.frozen import dataclass
from rfgraph.importers.trials import MAX_DOUBTFUL

_TORCH = os.path.dirname(torch.__file__) + os.sep
#: What of torch is code that modules are made of, and no operator.
_MODULES = tuple(_TORCH + path for path in (f"nn{os.sep}", "functional.py"))
#: What checks a condition for others.
_CHECKS = (f"{_TORCH}__init__.py", f"{_TORCH}_tensor.py", os.path.join(_TORCH, "_export", "non_strict_utils.py"))


@dataclass(frozen=True)
class Question:
    """A condition on sizes, as sympy writes it, and whether it held."""

    condition: Any
    answer: bool
    #: Whether it is that of an operator which takes no size that is open: of a ratio of sizes it holds for all.
    of_operator: bool = False


@contextmanager
def asked() -> Iterator[list[Question]]:
    """Note what Python code other than that of operators asks of sizes."""
    questions: list[Question] = []
    plain: Any = torch.SymBool.__bool__

    def ask(self: torch.SymBool) -> bool:
        answer: bool = plain(self)
        if _asks(sys._getframe(1)):
            questions.append(Question(self.node.expr, answer))
        return answer

    torch.SymBool.__bool__ = ask  # type: ignore[method-assign]
    try:
        yield questions
    finally:
        torch.SymBool.__bool__ = plain  # type: ignore[method-assign]


def _asks(frame: Any) -> bool:
    while frame is not None and frame.f_code.co_filename in _CHECKS:
        frame = frame.f_back
    file = frame.f_code.co_filename if frame is not None else ""
    return not file.startswith(_TORCH) or file.startswith(_MODULES)


def doubtful_sizes(
    questions: Sequence[Question], names: frozenset[str], hints: Mapping[str, int]
) -> frozenset[int] | None:
    """Return the sizes at which the answer to some question may be another, ``None`` if they are too many.

    Parameters
    ----------
    questions
        What was asked.
    names
        The sizes that are as large as an axis.
    hints
        How large all sizes were as it was asked.
    """
    sizes: set[int] = set()
    for condition, answer, of_operator in dict.fromkeys((q.condition, q.answer, q.of_operator) for q in questions):
        free = list(getattr(condition, "free_symbols", ()))
        own = [symbol for symbol in free if str(symbol) in names]
        if not own:
            continue
        if any(str(symbol) not in hints for symbol in free):
            return None
        ranges = {symbol: ValueRanges(MAX_DOUBTFUL + 1, int_oo) for symbol in free}
        settled = bound_sympy(condition, ranges)
        if not settled.is_singleton() or bool(settled.lower) != answer:
            if of_operator and bool(condition.subs({symbol: 2 * hints[str(symbol)] for symbol in free})) == answer:
                continue  # any other size is another one for inputs twice as large
            return None
        others = {symbol: hints[str(symbol)] for symbol in free if symbol not in own}
        for n in range(1, MAX_DOUBTFUL + 1):
            beside = condition.subs({**others, **dict.fromkeys(own, n)})
            square = condition.subs(dict.fromkeys(free, n))
            if bool(beside) != answer or bool(square) != answer:
                sizes.add(n)
    return frozenset(sizes)
