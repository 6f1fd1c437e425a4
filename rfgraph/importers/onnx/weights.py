"""Which tensors of an ONNX file are learned: the format does not say, but where they are read tells most of it.

A float that a file holds counts where an operator takes weights, as its handler says when it registers. The trained
statistics of a batch normalisation, the bounds of a clip, the scales of a quantisation do not; a fixed tensor that is
added or multiplied cannot be told from a learned one and counts too. A tensor that a node makes (``Constant``,
``ConstantOfShape``) is a weight for operators that compute with nothing else, and for others if the file keeps its
weights so.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import prod

from rfgraph.importers.onnx.nodes import HANDLERS, Node
from rfgraph.importers.program import NOTHING, Builder, Learned, Value
from rfgraph.importers.spelling.handlers import Sort

#: Operators that tell of a tensor only its shape.
SHAPES = ("Shape", "Size", "ConstantOfShape", "EyeLike", "RandomNormalLike", "RandomUniformLike")

#: Element types of TensorProto that are real numbers.
FLOATS = (1, 10, 11, 16, 17, 18, 19, 20, 23)


class Weights:
    """Marks learned tensors of one file as they are read."""

    def __init__(self, build: Builder) -> None:
        self.build = build
        build.learned = set()
        build.tells_learned = False
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
        known
            Whether its operator is.
        """
        learns = HANDLERS.learns(node.op)
        constants = {i: item for i, item in enumerate(node.inputs) if isinstance(item, Value) and item.constant}
        if not known:
            return list(constants.values())
        if learns is None:
            # What nodes make of constants alone is counted where it is read; else nobody says whether this is learned.
            whole = len(constants) == sum(item is not None for item in node.inputs)
            return [] if whole else [self._uncounted(item) for item in constants.values()]
        items = []
        for item in (item for i, item in constants.items() if i in learns.inputs):
            if learns.sort == "quantised" and not item.learned and item.name:
                item = self.build.learn(item)
            kept = frozenset(pair for pair in item.learned if self._counts(pair[0], learns.sort))
            items.append(item if kept == item.learned else replace(item, learned=kept))
        return items

    def _uncounted(self, item: Value) -> Value:
        """Return a tensor that may be learned or not, so that the count is not known; single numbers are settings."""
        kept = {name for name, count in item.learned if count != 1 and name not in self._made}
        return replace(item, learned=frozenset((name, None) for name in kept))

    def _counts(self, name: str, sort: Sort) -> bool:
        maker = self._made.get(name)
        if maker is None or sort in ("computes", "quantised"):
            return True
        return sort == "operands" and (maker == "ConstantOfShape" or not self.held)

    def derived(self, node: Node, value: Value, reads: Iterable[Value]) -> Value:
        """Return a constant that a node makes with what it is made of."""
        if node.op in ("Constant", "ConstantOfShape"):
            return self._fresh(node, value)
        items = [item for item in node.inputs if isinstance(item, Value)]
        if not all(item.constant for item in items) or not items:
            return value
        learns = HANDLERS.learns(node.op)
        from_ = reads if learns is not None and learns.inputs else items
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
