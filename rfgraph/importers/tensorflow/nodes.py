"""What a handler of a TensorFlow op gets: a node in plain Python; and the table that handlers are kept in.

A handler gets the node and the builder, and returns the values of the node's outputs, as many as it follows. Nothing
here or in the handlers needs protobuf.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Any, TypeAlias

from rfgraph.frozen import dataclass
from rfgraph.importers.program import Builder, Dim, Value, unknown
from rfgraph.importers.spelling.handlers import Handlers, UnspelledError
from rfgraph.importers.spelling.node import Node as Base

#: Amounts along the dimensions of a tensor, of which there are few.
MAX_AMOUNTS = 64


class Dead:
    """What a branch makes that is not taken."""


DEAD = Dead()


@dataclass(frozen=True)
class Rows:
    """A ``TensorArray`` or list of tensors, read as one tensor of which they are the rows."""

    #: ``None`` as long as nothing was written.
    tensor: Value | None
    count: Dim | None = None


#: A tensor, a list of them, or what a branch that is not taken makes.
Item: TypeAlias = "Value | Rows | Dead"
Made: TypeAlias = "Item | Sequence[Item]"

#: What ``dtype`` attributes say: numbers of ``DataType``.
BOOL, STRING, RESOURCE, VARIANT = 10, 7, 20, 21
FLOATS = frozenset({1, 2, 14, 19})
INTEGERS = {3: "<i4", 4: "u1", 5: "<i2", 6: "i1", 9: "<i8", 10: "?", 17: "<u2", 22: "<u4", 23: "<u8"}
#: Element types -> how their numbers are stored; those of ``bfloat16`` as whole numbers that are 0 where they are.
STORED = {**INTEGERS, 1: "<f4", 2: "<f8", 14: "<u2", 19: "<f2"}


@dataclass(frozen=True)
class Atrous:
    """A convolution between ``SpaceToBatchND`` and ``BatchToSpaceND``: as it stands, a dilated one.

    References
    ----------
    TensorFlow's ``tf.nn.with_space_to_batch``, which wrote dilated convolutions so.
    """

    blocks: Value
    paddings: Value
    crops: Value
    #: Whether a dimension of size 1 was put in before the spatial ones, as for one-dimensional convolutions.
    inserted: bool


@dataclass(frozen=True)
class Node(Base):
    """One node of a TensorFlow graph."""

    inputs: tuple[Item, ...]
    attributes: Mapping[str, Any]
    atrous: Atrous | None = field(default=None, compare=False)

    # Inputs.

    def rows(self, i: int) -> Rows:
        """Return input ``i``, a list of tensors."""
        if not -len(self.inputs) <= i < len(self.inputs):
            raise ValueError(f"input {i} is missing")
        item = self.inputs[i]
        if not isinstance(item, Rows):
            raise UnspelledError(f"its input {i} is no list of tensors")
        return item

    def amounts(self, what: str, i: int) -> tuple[Dim, ...]:
        """Return a list of numbers that the constant input ``i`` holds, each a name where it cannot be worked out.

        Those are what a graph computes from open sizes of its input by more than sums, products and quotients.
        """
        value = self.input(i)
        count = 1
        for size in value.shape or (None,):
            count = count * size if isinstance(size, int) else MAX_AMOUNTS + 1
        if value.data is not None or not value.constant or count > MAX_AMOUNTS:
            return tuple(self.numbers(what, i))
        return tuple(unknown(f"{self.name}.{what}.{k}", None) for k in range(count))

    def pairs(self, what: str, i: int) -> tuple[tuple[Dim, Dim], ...]:
        """Return pairs of sizes that input ``i`` holds, one per row."""
        amounts = self.amounts(what, i)
        if len(amounts) % 2:
            raise ValueError(f"its {what} has {len(amounts)} elements, not pairs of them")
        return tuple(zip(amounts[::2], amounts[1::2], strict=True))

    # Attributes.

    def get(self, name: str, default: Any = None) -> Any:
        """Return an attribute."""
        return self.attributes.get(name, default)

    def text(self, name: str, default: str = "") -> str:
        """Return an attribute that is text."""
        value = self.get(name, default)
        if not isinstance(value, str):
            raise ValueError(f"{name} is not text")
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        """Return an attribute that is true or false."""
        value = self.get(name, default)
        if not isinstance(value, bool):
            raise ValueError(f"{name} is not true or false")
        return value

    def number(self, name: str, default: int | None = None) -> int:
        """Return an attribute that is an integer."""
        value = self.get(name, default)
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"{name} is not an integer")
        return value

    def several(self, name: str, count: int | None = None, default: int | None = None) -> list[int]:
        """Return an attribute that is a list of integers, ``count`` of them."""
        value = self.get(name)
        if not value and default is not None and count is not None:
            return [default] * count
        if not isinstance(value, list) or not all(isinstance(entry, int) for entry in value):
            raise ValueError(f"{name} is not a list of integers")
        if count is not None and len(value) != count:
            raise ValueError(f"{name} {value} does not have one entry for each of {count} dimensions")
        return value

    # Outputs.

    def output(self, k: int) -> str:
        """Return what output ``k`` is called, as TensorFlow names tensors."""
        return f"{self.name}:{k}" if k else self.name

    def outputs(self, count: int) -> list[tuple[str, str]]:
        """Return the names of ``count`` outputs, each with the op."""
        return [(self.output(k), self.op) for k in range(count)]


Handle: TypeAlias = "Callable[[Node, Builder], Made]"
HANDLERS: Handlers[Handle] = Handlers("TensorFlow")


def with_range(node: Node, build: Builder, output: Value) -> Made:
    """Return what a quantised op makes with the least and greatest number that it stands for, which are constants."""
    if not node.op.startswith(("Quantize", "Requantize")):
        return output
    return [output, build.weight((), node.output(1)), build.weight((), node.output(2))]


#: Ops of several outputs that are handled: bodies of functions refer to outputs by name.
OUTPUTS = {
    **dict.fromkeys(("Switch", "RefSwitch"), ("output_false", "output_true")),
    **dict.fromkeys(("Merge", "RefMerge"), ("output", "value_index")),
    **dict.fromkeys(
        ("QuantizedConv2D", "QuantizedDepthwiseConv2D", "QuantizedMaxPool", "QuantizedAvgPool"),
        ("output", "min_output", "max_output"),
    ),
    "QuantizedMatMul": ("out", "min_out", "max_out"),
    "RequantizationRange": ("output_min", "output_max"),
    **dict.fromkeys(
        ("FractionalMaxPool", "FractionalAvgPool"), ("output", "row_pooling_sequence", "col_pooling_sequence")
    ),
    "QuantizedBiasAdd": ("output", "min_out", "max_out"),
    **dict.fromkeys(("QuantizedAdd", "QuantizedMul"), ("z", "min_z", "max_z")),
    **dict.fromkeys(("QuantizedRelu", "QuantizedRelu6"), ("activations", "min_activations", "max_activations")),
    **dict.fromkeys(
        ("QuantizeV2", "Requantize", "QuantizeDownAndShrinkRange", "QuantizedConcat", "QuantizedReshape"),
        ("output", "output_min", "output_max"),
    ),
    "QuantizedResizeBilinear": ("resized_images", "out_min", "out_max"),
    "MaxPoolWithArgmax": ("output", "argmax"),
    "FusedBatchNorm": ("y", "batch_mean", "batch_variance", "reserve_space_1", "reserve_space_2"),
    "FusedBatchNormV2": ("y", "batch_mean", "batch_variance", "reserve_space_1", "reserve_space_2"),
    **dict.fromkeys(
        ("FusedBatchNormV3",),
        ("y", "batch_mean", "batch_variance", "reserve_space_1", "reserve_space_2", "reserve_space_3"),
    ),
    "TensorArrayV3": ("handle", "flow"),
    **dict.fromkeys(("TopK", "TopKV2"), ("values", "indices")),
    **dict.fromkeys(("Unique", "UniqueV2"), ("y", "idx")),
    "NonMaxSuppressionV4": ("selected_indices", "valid_outputs"),
    "NonMaxSuppressionV5": ("selected_indices", "selected_scores", "valid_outputs"),
    "CombinedNonMaxSuppression": ("nmsed_boxes", "nmsed_scores", "nmsed_classes", "valid_detections"),
    "SoftmaxCrossEntropyWithLogits": ("loss", "backprop"),
    "SparseSoftmaxCrossEntropyWithLogits": ("loss", "backprop"),
}  # fmt: skip
