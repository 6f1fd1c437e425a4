"""The mathematics of each op, once; importing this registers them all in ``KINDS``."""

from rfgraph.ops import moving, pointwise, resampling, sliding, whole
from rfgraph.ops.base import KINDS, METADATA, OF_ANY, Op, Size, Sizes, kind_of, near, op_kind

__all__ = [
    "KINDS",
    "METADATA",
    "OF_ANY",
    "Op",
    "Size",
    "Sizes",
    "kind_of",
    "moving",
    "near",
    "op_kind",
    "pointwise",
    "resampling",
    "sliding",
    "whole",
]
