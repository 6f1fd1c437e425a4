"""Which tensors of an ONNX file are learned: the format does not say, but where they are read tells most of it.

A float that a file holds counts where an operator takes weights. The trained statistics of a batch normalisation, the
bounds of a clip, the scales of a quantisation do not; a fixed tensor that is added or multiplied cannot be told from a
learned one and counts too. A tensor that a node makes (``Constant``, ``ConstantOfShape``) is a weight for operators
that compute with nothing else, and for others if the file keeps its weights so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import prod

from rfgraph.importers.onnx.nodes import Node
from rfgraph.importers.program.builder import Builder
from rfgraph.importers.program.primitives import NOTHING, Learned, Value

EVERY = tuple(range(64))

#: Operators that compute with weights -> the inputs that are weights.
COMPUTING: Mapping[str, tuple[int, ...]] = {
    "Conv": (1, 2), "FusedConv": (1, 2), "ConvTranspose": (1, 2), "DeformConv": (1, 3), "Gemm": (0, 1, 2),
    "MatMul": (0, 1), "FusedMatMul": (0, 1), "Einsum": EVERY, "BatchNormalization": (1, 2), "LSTM": (1, 2, 3, 7),
    "GRU": (1, 2, 3), "RNN": (1, 2, 3), "PRelu": (1,), "LayerNormalization": (1, 2), "RMSNormalization": (1,),
    "SimplifiedLayerNormalization": (1,), "SkipLayerNormalization": (2, 3, 4), "GroupNormalization": (1, 2),
    "BiasGelu": (1,), "FastGelu": (1,),
}  # fmt: skip

#: Operators that take whole numbers for weights.
QUANTISED: Mapping[str, tuple[int, ...]] = {
    "QLinearConv": (3, 8), "ConvInteger": (1,), "QLinearMatMul": (0, 3), "MatMulInteger": (0, 1),
    "DequantizeLinear": (0,),
}  # fmt: skip

#: Operators that often read numbers that nobody learned.
ELEMENTWISE: Mapping[str, tuple[int, ...]] = dict.fromkeys(("Add", "Sub", "Mul", "Div", "Sum"), EVERY)
#: And those that lay tensors beside others. PyTorch spells a group norm with an instance norm by constant factors.
OTHERS: Mapping[str, tuple[int, ...]] = {
    "InstanceNormalization": (1, 2), "Concat": EVERY, "Gather": (0,), "Where": (1, 2),
}  # fmt: skip

POSITIONS = {**COMPUTING, **QUANTISED, **ELEMENTWISE, **OTHERS}

#: Operators that tell of a tensor only its shape.
SHAPES = ("Shape", "Size", "ConstantOfShape", "EyeLike", "RandomNormalLike", "RandomUniformLike")

#: Element types of TensorProto that are real numbers.
FLOATS = (1, 10, 11, 16, 17, 18, 19, 20, 23)


class Weights:
    """Marks learned tensors of one file as they are read."""

    def __init__(self, build: Builder) -> None:
        self.build = build
        build.learned = NOTHING
        #: Whether the file holds weights as such, and not only as what nodes make.
        self.held = False
        self._made: dict[str, str] = {}  # tensors that nodes make -> the operator of the node

    def hold(self, value: Value, data_type: int) -> Value:
        """Return a tensor that the file holds as one that may be learned."""
        if data_type not in FLOATS:
            return value
        self.held = True
        return self.build.learn(value)

    def read(self, node: Node, known: bool = True) -> list[Value]:
        """Return what a node reads as weights; of an operator that is not known, whatever it reads.

        Parameters
        ----------
        node
            The node.
        known
            Whether its operator is.
        """
        found = []
        for i, item in enumerate(node.inputs):
            if not isinstance(item, Value) or not item.constant or (known and i not in POSITIONS.get(node.op, ())):
                continue
            if node.op in QUANTISED and not item.learned and item.name:
                item = self.build.learn(item)
            kept = frozenset(pair for pair in item.learned if not known or self._counts(pair[0], node.op))
            found.append(replace(item, learned=kept))
        return found

    def _counts(self, name: str, op: str) -> bool:
        maker = self._made.get(name)
        if maker is None or op in COMPUTING or op in QUANTISED:
            return True
        return op in ELEMENTWISE and (maker == "ConstantOfShape" or not self.held)

    def derived(self, node: Node, value: Value, reads: Iterable[Value]) -> Value:
        """Return a constant that a node makes with what it is made of."""
        if node.op in ("Constant", "ConstantOfShape"):
            return self._fresh(node, value)
        items = [item for item in node.inputs if isinstance(item, Value)]
        if not all(item.constant for item in items) or not items:
            return value
        from_ = reads if node.op in POSITIONS else items
        learned: Learned = NOTHING.union(*(item.learned for item in from_))
        return replace(value, learned=NOTHING if node.op in SHAPES else learned)

    def _fresh(self, node: Node, value: Value) -> Value:
        """Return a tensor that a node makes of nothing: single numbers and whole numbers are settings."""
        sizes = [size for size in value.shape or () if isinstance(size, int)]
        integer = value.data is not None and value.data.integer
        if value.shape is None or integer or len(sizes) < len(value.shape) or prod(sizes) < 2:
            return value
        name = f"{node.name}:{node.outputs[0]}"
        self._made[name] = node.op
        return self.build.learn(value, name)
