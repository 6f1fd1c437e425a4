"""One command on several models: each is done on its own, and the exit code is the worst of theirs."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from typing import Generic, TypeVar

from rfgraph.cli.refusals import refusal, refuse
from rfgraph.frozen import dataclass

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Outcome(Generic[Answer]):
    """What a command has to say of one model."""

    model: str
    code: int
    #: ``None`` where the model cannot be read.
    answer: Answer | None
    #: Why there is no answer.
    error: str = ""


def each_model(
    models: Sequence[str], options: argparse.Namespace, run: Callable[[argparse.Namespace], tuple[Answer, int]]
) -> Iterator[Outcome[Answer]]:
    """Yield what ``run`` says of each model.

    ``run`` gets the options with one model in ``options.model``. Where there is just one model, what it raises is
    raised here too. Of several, one that cannot be read is named on the standard error, and the others go on.
    """
    for model in models:
        one = copy(options)
        one.model = model
        if len(models) == 1:
            answer, code = run(one)
            yield Outcome(model, code, answer)
            return
        try:
            answer, code = run(one)
        except Exception as error:  # whatever it is, the other models go on
            said, _ = refusal(error)
            yield Outcome(model, refuse(error, options.verbose, model), None, said)
        else:
            yield Outcome(model, code, answer)
