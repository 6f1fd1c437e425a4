"""Ops that mix a whole axis: global pooling, dense layers, attention, recurrent layers, norms over space."""

from __future__ import annotations

from typing import ClassVar

from rfgraph.algebra.window import FULL, FUTURE, IDENTITY, PAST, Window
from rfgraph.frozen import dataclass
from rfgraph.ops.base import Arity, Op, Size, Sizes, attribute, choice, flag, op_kind, text
from rfgraph.ops.pointwise import Pointwise


@op_kind("broadcast")
@dataclass(frozen=True, slots=True, kw_only=True)
class Mixing(Op):
    """Every output reads the whole of each axis that it mixes; the map keeps its size."""

    mixes: bool = attribute(flag, default=True)

    def window(self, slot: int, sizes: Sizes) -> Window:
        return FULL if self.mixes else IDENTITY


#: How a sequence is run through -> what one output reads of it.
_DIRECTIONS = {"forward": PAST, "backward": FUTURE, "both": FULL}


@op_kind("recurrent")
@dataclass(frozen=True, slots=True, kw_only=True)
class Directed(Mixing):
    """Every output reads what comes before it, what comes after it, or both, its own position included.

    ``direction="forward"`` is that of causal attention and of a recurrence that runs from the first position on.
    """

    direction: str = attribute(choice(*_DIRECTIONS), default="both")

    def window(self, slot: int, sizes: Sizes) -> Window:
        return _DIRECTIONS[self.direction] if self.mixes else IDENTITY


@op_kind("attention")
@dataclass(frozen=True, slots=True, kw_only=True)
class Attention(Directed):
    """Every output is a sum over the positions that it reads, however many there are."""

    keeps_empty: ClassVar[bool] = True


@op_kind("cumsum")
@dataclass(frozen=True, slots=True, kw_only=True)
class Cumulative(Mixing):
    """A sum or product over all positions up to an output, from the first on or, ``backward``, from the last."""

    keeps_empty: ClassVar[bool] = True

    direction: str = attribute(choice("forward", "backward"), default="forward")
    exclusive: bool = attribute(flag, default=False)

    def window(self, slot: int, sizes: Sizes) -> Window:
        shift = int(self.exclusive)  # an exclusive sum leaves out its own position
        if not self.mixes:
            return IDENTITY
        return Window.past((-shift,), 1) if self.direction == "forward" else Window.future((shift,), 1)


@op_kind("instance_norm", "group_norm", "softmax")
@dataclass(frozen=True, slots=True, kw_only=True)
class Norm(Mixing):
    """Every output reads its own position and, in a second slot, totals over the whole of each axis that it mixes."""

    keeps_empty: ClassVar[bool] = True

    @property
    def totals(self) -> bool:
        return self.mixes

    def window(self, slot: int, sizes: Sizes) -> Window:
        return FULL if self.mixes and slot else IDENTITY


@op_kind("batch_norm")
@dataclass(frozen=True, slots=True, kw_only=True)
class BatchNorm(Pointwise):
    """A norm by trained statistics at inference, and by those of the whole map in training."""

    @property
    def in_training(self) -> Op:
        return Norm()


@op_kind("global_avg_pool", "global_max_pool", "flatten")
@dataclass(frozen=True, slots=True, kw_only=True)
class GlobalPool(Mixing):
    """A map reduced to one position on each axis that it mixes; flattened, that position holds all as channels."""

    @property
    def collapses(self) -> bool:
        return self.mixes

    @property
    def cycle(self) -> tuple[int, int]:
        return (1, 0) if self.mixes else (1, 1)

    def size(self, sizes: Sizes) -> Size:
        return 1 if self.mixes else sizes[0]


@op_kind("dense")
@dataclass(frozen=True, slots=True, kw_only=True)
class Dense(GlobalPool):
    """A layer that reads all positions of each axis that it mixes as channels, and sums however many there are."""

    keeps_empty: ClassVar[bool] = True

    projects: ClassVar[bool] = True


@op_kind("unknown")
@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown(Op):
    """An op of a model file that no one has described; its field, and all that is downstream of it, are unknown."""

    arity: ClassVar[Arity] = "several"
    is_known: ClassVar[bool] = False

    of: str = attribute(text)
    why: str = attribute(text, default="")

    def window(self, slot: int, sizes: Sizes) -> Window:
        why = f" ({self.why})" if self.why else ""
        return Window.unknown(f"rfgraph does not know what {self.of} reads{why}; pass treat={{...}}")

    def size(self, sizes: Sizes) -> Size:
        return None
