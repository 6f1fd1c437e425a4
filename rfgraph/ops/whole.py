"""Ops that mix a whole axis: global pooling, dense layers, attention, recurrent layers, norms over space."""

from __future__ import annotations

from dataclasses import dataclass

from rfgraph.ops.base import Op, Size, Sizes, attribute, flag, op_kind
from rfgraph.window import FULL, IDENTITY, Window


@op_kind("attention", "recurrent", "instance_norm", "group_norm", "softmax")
@dataclass(frozen=True, slots=True, kw_only=True)
class Mixing(Op):
    """Every output reads the whole of each axis that it mixes; the map keeps its size."""

    mixes: bool = attribute(flag, default=True)

    def window(self, slot: int, sizes: Sizes) -> Window:
        return FULL if self.mixes else IDENTITY


@op_kind("global_avg_pool", "global_max_pool")
@dataclass(frozen=True, slots=True, kw_only=True)
class GlobalPool(Mixing):
    """A map reduced to one value on each axis that it mixes."""

    @property
    def collapses(self) -> bool:
        return self.mixes

    def size(self, sizes: Sizes) -> Size:
        return 1 if self.mixes else sizes[0]


@op_kind("dense", "flatten")
@dataclass(frozen=True, slots=True, kw_only=True)
class Dense(Op):
    """A layer over all positions at once; what comes out has no spatial axes."""

    @property
    def collapses(self) -> bool:
        return True

    def window(self, slot: int, sizes: Sizes) -> Window:
        return FULL

    def size(self, sizes: Sizes) -> Size:
        return 1
