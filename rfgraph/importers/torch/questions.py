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
from rfgraph.importers.trials import MAX_DOUBTFUL, answered_otherwise

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

    @property
    def sizes(self) -> dict[Any, str]:
        """The symbols of the sizes that it is about, and their names."""
        return {symbol: str(symbol) for symbol in getattr(self.condition, "free_symbols", ())}

    def answered(self, numbers: Mapping[str, int]) -> bool:
        """Return the answer at some sizes."""
        return bool(self.condition.subs({symbol: numbers[name] for symbol, name in self.sizes.items()}))


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

    # On a CPU this one looks at the size itself, which the exporter takes for a constant then; the other one does not.
    pool, indexed = torch.max_pool1d, torch.max_pool1d_with_indices

    def pooled(*args: Any, **kwargs: Any) -> Any:
        return indexed(*args, **{name: value for name, value in kwargs.items() if value is not None})[0]

    torch.SymBool.__bool__ = ask  # type: ignore[method-assign]
    torch.max_pool1d = pooled
    try:
        yield questions
    finally:
        torch.SymBool.__bool__ = plain  # type: ignore[method-assign]
        torch.max_pool1d = pool


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
    names
        The sizes that are as large as an axis.
    hints
        How large all sizes were as it was asked.
    """
    sizes: set[int] = set()
    for question in dict.fromkeys(questions):
        symbols = question.sizes
        if names.isdisjoint(symbols.values()):
            continue
        if not hints.keys() >= set(symbols.values()):
            return None
        settled = bound_sympy(question.condition, {symbol: ValueRanges(MAX_DOUBTFUL + 1, int_oo) for symbol in symbols})
        if not settled.is_singleton() or bool(settled.lower) != question.answer:
            twice = {name: 2 * hint for name, hint in hints.items()}
            if question.of_operator and question.answered(twice) == question.answer:
                continue  # any other size is another one for inputs twice as large
            return None
        sizes.update(answered_otherwise(question.answered, question.answer, names, hints))
    return frozenset(sizes)
