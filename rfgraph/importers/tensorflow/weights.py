"""Which tensors of a TensorFlow graph are learned: variables and constants where ops read weights, less statistics."""

from __future__ import annotations

import re
from dataclasses import replace

from rfgraph.importers.program.builder import Builder
from rfgraph.importers.program.primitives import NOTHING, Value
from rfgraph.importers.tensorflow.nodes import INTEGERS, Made, Node

VARIABLES = frozenset({"Variable", "VariableV2", "VarHandleOp"})
#: Op -> the inputs of it that are learned where they are constants.
LEARNED = {
    **dict.fromkeys(
        ("Conv2D", "Conv3D", "DepthwiseConv2dNative", "Conv2DBackpropInput", "Conv3DBackpropInputV2", "BiasAdd",
         "BiasAddV1", "DepthwiseConv2dNativeBackpropInput", "QuantizedConv2D", "QuantizedDepthwiseConv2D"),
        (1,),
    ),
    **dict.fromkeys(
        ("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Add", "AddV2", "Mul", "QuantizedMatMul"), (0, 1)
    ),
    **dict.fromkeys(("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"), (1, 2)),
    **dict.fromkeys(("Gather", "GatherV2", "ResourceGather"), (0,)),
    "BatchNormWithGlobalNormalization": (3, 4),
    "Einsum": (0, 1),
    "_FusedConv2D": (1, 2),
    "FusedDepthwiseConv2dNative": (1, 2),
    "Prelu": (1,),
    "_FusedMatMul": (1, 2),
}  # fmt: skip
_STATISTICS = re.compile(r"(moving_|running_|pop_)?(mean|variance|var|avg)(/\w+)?(_\d+)?$", re.I)


def read(node: Node) -> list[Value]:
    """Return the learned tensors that a node reads, as far as the op tells them from other constants."""
    places = LEARNED.get(node.op, ())
    if all(isinstance(item, Value) and item.constant for item in node.inputs):
        return []  # what is made of weights alone counts where it is read
    found = [item for k, item in enumerate(node.inputs) if k in places and isinstance(item, Value)]
    return [value for value in found if value.learned and value.shape != ()]


def learn(build: Builder, value: Value, kind: int = 1) -> Value:
    """Return a tensor that may be learned: no scalar, and no mean or variance of what was seen in training."""
    known = value.shape != () and kind not in INTEGERS and not _STATISTICS.search(value.name)
    return build.learn(value) if known else value


def less_learned(node: Node, made: Made) -> Made:
    """Return what is made without what is no longer learned: of norms, their means and variances.

    Norms at inference are written as ``x * scale + (shift - mean * scale)``, with ``scale = gamma / sqrt(variance)``.
    """
    if isinstance(made, Value) and made.constant and made.learned and node.op in ("Rsqrt", "Sub"):
        return replace(made, learned=node.input(0).learned if node.op == "Sub" else NOTHING)
    return made
