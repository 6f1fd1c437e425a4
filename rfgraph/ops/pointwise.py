"""Ops that read their own position: inputs, elementwise functions, merges."""

from __future__ import annotations

from typing import Any, ClassVar

from rfgraph.algebra.window import EMPTY, FULL, IDENTITY, Window
from rfgraph.errors import AttributeValueError, SizeError
from rfgraph.frozen import dataclass
from rfgraph.ops.base import Arity, Op, Size, Sizes, attribute, flag, integer, natural, op_kind, optional, positive

#: Ops whose derivative is the same number at every position, whatever they are given, besides those that state weights.
LINEAR = frozenset(
    {
        "input", "constant", "identity", "dropout", "cast", "quantize", "dequantize", "scale", "bias", "neg",
        "channel_shuffle", "batch_norm", "add", "sub", "mean", "concat", "conv", "depthwise_conv", "separable_conv",
        "conv_transpose", "global_avg_pool", "gather", "depth_to_space", "space_to_depth", "broadcast",
    }
)  # fmt: skip

#: Ops that let a value through or hold it back.
GATES = frozenset({"relu", "relu6"})


def _residues(name: str, value: object) -> tuple[int, ...]:
    numbers = value if isinstance(value, (list, tuple)) else [value]
    return tuple(natural(name, number) for number in numbers)


@op_kind("input")
@dataclass(frozen=True, slots=True, kw_only=True)
class Input(Op):
    """Where a network begins.

    It takes maps of ``least`` to ``greatest`` positions whose size is one of ``residues`` modulo ``modulus``, as far as
    the model says so besides what its ops take; where ``least`` is ``None`` no one knows which.
    """

    arity: ClassVar[Arity] = "none"
    is_input: ClassVar[bool] = True

    extent: int | None = attribute(optional(positive), name="size", default=None)
    least: int | None = attribute(optional(positive), default=1)
    greatest: int | None = attribute(optional(positive), default=None)
    modulus: int = attribute(positive, default=1)
    residues: tuple[int, ...] = attribute(_residues, default=(0,))

    @property
    def smallest(self) -> int | None:
        return self.least

    @property
    def largest(self) -> int | None:
        return self.greatest

    @property
    def own_residues(self) -> tuple[int, tuple[int, ...]]:
        return self.modulus, self.residues

    def size(self, sizes: Sizes) -> Size:
        return self.extent


@op_kind("constant")
@dataclass(frozen=True, slots=True, kw_only=True)
class Constant(Op):
    """A value that depends on no input, such as a learned position code."""

    arity: ClassVar[Arity] = "none"
    is_constant: ClassVar[bool] = True

    extent: int | None = attribute(optional(positive), name="size", default=None)

    def window(self, slot: int, sizes: Sizes) -> Window:
        return EMPTY

    def size(self, sizes: Sizes) -> Size:
        return self.extent


@op_kind(
    "identity", "dropout", "local_response_norm", "cast", "quantize", "dequantize", "clip", "scale",
    "bias", "relu", "relu6", "leaky_relu", "prelu", "elu", "selu", "celu", "gelu", "silu", "swish", "mish", "sigmoid",
    "hard_sigmoid", "hard_swish", "tanh", "softplus", "softsign", "exp", "log", "sqrt", "abs", "neg", "square", "pow",
    "reciprocal", "erf", "sin", "cos", "floor", "ceil", "round", "sign", "channel_softmax", "channel_shuffle",
    "layer_norm",
)  # fmt: skip
@dataclass(frozen=True, slots=True, kw_only=True)
class Pointwise(Op):
    """Any function of one position, over its channels if it likes (``layer_norm`` as ConvNeXt has it)."""

    own_position: ClassVar[bool] = True
    keeps_empty: ClassVar[bool] = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge(Op):
    """Several maps read at the same position."""

    arity: ClassVar[Arity] = "several"
    merges: ClassVar[bool] = True
    own_position: ClassVar[bool] = True
    keeps_empty: ClassVar[bool] = True

    def size(self, sizes: Sizes) -> Size:
        known = {size for size in sizes if size is not None and not (self.broadcasts and size == 1)}
        if len(known) > 1:
            raise SizeError("its inputs differ in size")
        return known.pop() if known else (None if None in sizes else 1)


@op_kind("add", "sub", "mul", "div", "max", "min", "where", "elementwise")
@dataclass(frozen=True, slots=True, kw_only=True)
class Arithmetic(Merge):
    """An elementwise function of several maps; one of size 1 is read by every output, unless rows lie beside it."""

    repeats: bool = attribute(flag, default=True)

    @property
    def broadcasts(self) -> bool:
        return self.repeats

    def window(self, slot: int, sizes: Sizes) -> Window:
        if sizes[slot] == 1 and any(size != 1 for size in sizes):
            return FULL
        return IDENTITY


@op_kind("mean")
@dataclass(frozen=True, slots=True, kw_only=True)
class Mean(Arithmetic):
    """The mean of several maps."""

    averages: ClassVar[bool] = True


@op_kind("either")
@dataclass(frozen=True, slots=True, kw_only=True)
class Either(Op):
    """One of several maps, as branches of an ``if``; which one is decided when the model runs."""

    arity: ClassVar[Arity] = "several"
    alternatives: ClassVar[bool] = True
    keeps_empty: ClassVar[bool] = True

    def window(self, slot: int, sizes: Sizes) -> Window:
        why = "it is one of its inputs, and which one is decided when the model runs"
        return Window.periodic(((0, 0),), step=1, exact=False, why=why)

    def size(self, sizes: Sizes) -> Size:
        return sizes[0] if len(set(sizes)) == 1 else None


@op_kind("concat")
@dataclass(frozen=True, slots=True, kw_only=True)
class Concat(Merge):
    """Concatenation of channels (``axis="channels"``)."""

    stacks: ClassVar[bool] = True
    extra: ClassVar[frozenset[str]] = frozenset({"axis"})

    @classmethod
    def parse(cls, attributes: Any, axis: int, axes: int) -> Op:
        along = attributes.get("axis", "channels")
        if along == "channels":
            return super(Concat, cls).parse(attributes, axis, axes)
        if integer("axis", along) not in range(axes):
            raise AttributeValueError(f"axis {along!r} is neither 'channels' nor one of the axes 0 to {axes - 1}")
        return Join() if along == axis else super(Concat, cls).parse(attributes, axis, axes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Join(Op):
    """Concatenation along this very axis: each output reads one of the inputs, which one depends on where it is."""

    kind: ClassVar[str] = "concat"
    arity: ClassVar[Arity] = "several"
    joins: ClassVar[bool] = True
    keeps_empty: ClassVar[bool] = True

    @property
    def unplaced(self) -> Window | None:
        return Window(1)

    def window(self, slot: int, sizes: Sizes) -> Window:
        before = sizes[:slot]
        if None in before:
            return Window.unknown(
                "concatenation along this axis depends on the sizes of its inputs; give an input size"
            )
        offset = sum(size for size in before if size is not None)
        why = "which input is read depends on the position along the concatenated axis"
        return Window.periodic(((-offset, -offset),), step=1, exact=False, why=why)

    def size(self, sizes: Sizes) -> Size:
        return None if None in sizes else sum(size for size in sizes if size is not None)
