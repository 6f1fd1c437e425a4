"""Which tensors of a TensorFlow graph are learned: variables and constants read as weights, less statistics."""

from __future__ import annotations

import re
from dataclasses import replace

from rfgraph.importers.program import NOTHING, Builder, Value
from rfgraph.importers.tensorflow.nodes import HANDLERS, INTEGERS, Made, Node

VARIABLES = frozenset({"Variable", "VariableV2", "VarHandleOp"})
_STATISTICS = re.compile(r"(moving_|running_|pop_)?(mean|variance|var|avg)(/\w+)?(_\d+)?$", re.I)


def read(node: Node) -> list[Value]:
    """Return the learned tensors that a node reads, as far as the op tells them from other constants."""
    learns = HANDLERS.learns(node.op)
    places = () if learns is None else learns.inputs
    if all(isinstance(item, Value) and item.constant for item in node.inputs):
        return []  # what is made of weights alone counts where it is read
    tensors = [item for k, item in enumerate(node.inputs) if k in places and isinstance(item, Value)]
    return [value for value in tensors if value.learned and value.shape != ()]


def learn(build: Builder, value: Value, kind: int = 1) -> Value:
    """Return a tensor that may be learned: no scalar, and no mean or variance of what was seen in training."""
    known = value.shape != () and kind not in INTEGERS and not _STATISTICS.search(value.name)
    return build.learn(value) if known else value


def less_learned(node: Node, outputs: Made) -> Made:
    """Return what is made without what is no longer learned: of norms, their means and variances.

    Norms at inference are written as ``x * scale + (shift - mean * scale)``, with ``scale = gamma / sqrt(variance)``.
    """
    if isinstance(outputs, Value) and outputs.constant and outputs.learned and node.op in ("Rsqrt", "Sub"):
        return replace(outputs, learned=node.input(0).learned if node.op == "Sub" else NOTHING)
    return outputs
