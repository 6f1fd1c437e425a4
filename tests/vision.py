"""torchvision, whose compiled operators may be missing: then they are declared, so that models can be traced.

A CPU build of PyTorch cannot load operators that were compiled for another one, and torchvision does not import without
them. Their schemas are enough for tracing; torchvision brings what shapes they make itself.
"""

from __future__ import annotations

import importlib.util
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import pytest

torch = pytest.importorskip("torch")
if importlib.util.find_spec("torchvision") is None:
    pytest.skip("torchvision is not installed", allow_module_level=True)

BOXES = "Tensor dets, Tensor scores, float iou_threshold"
POOLED = "Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height, SymInt pooled_width"
BACK = "Tensor grad, Tensor rois{more}, float spatial_scale, SymInt pooled_height, SymInt pooled_width"
SIZES = ", SymInt batch_size, SymInt channels, SymInt height, SymInt width"
TAPS = (
    "Tensor weight, Tensor offset, Tensor mask, Tensor bias, SymInt stride_h, SymInt stride_w, SymInt pad_h, "
    "SymInt pad_w, SymInt dilation_h, SymInt dilation_w, SymInt groups, SymInt offset_groups, bool use_mask"
)
SCHEMAS = {
    "nms": f"({BOXES}) -> Tensor",
    "qnms": f"({BOXES}) -> Tensor",
    "roi_align": f"({POOLED}, int sampling_ratio, bool aligned) -> Tensor",
    "qroi_align": f"({POOLED}, int sampling_ratio, bool aligned) -> Tensor",
    "roi_pool": f"({POOLED}) -> (Tensor, Tensor)",
    "ps_roi_align": f"({POOLED}, int sampling_ratio) -> (Tensor, Tensor)",
    "ps_roi_pool": f"({POOLED}) -> (Tensor, Tensor)",
    "_roi_align_backward": f"({BACK.format(more='')}{SIZES}, int sampling_ratio, bool aligned) -> Tensor",
    "_roi_pool_backward": f"({BACK.format(more=', Tensor argmax')}{SIZES}) -> Tensor",
    "_ps_roi_align_backward": f"({BACK.format(more=', Tensor channel_mapping')}, int sampling_ratio{SIZES}) -> Tensor",
    "_ps_roi_pool_backward": f"({BACK.format(more=', Tensor channel_mapping')}{SIZES}) -> Tensor",
    "deform_conv2d": f"(Tensor input, {TAPS}) -> Tensor",
    "_deform_conv2d_backward": f"(Tensor grad, Tensor input, {TAPS}) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
}

#: Kept: operators go when the library that declares them does.
LIBRARY = torch.library.Library("torchvision", "FRAGMENT")


def deformed(x, weight, offset, *_):
    """Return a tensor of the shape that ``deform_conv2d`` makes."""
    return x.new_empty((x.shape[0], weight.shape[0], *offset.shape[2:]))


def declare_missing() -> None:
    """Declare the operators that torchvision needs and did not find."""
    for name, schema in SCHEMAS.items():
        if not hasattr(torch.ops.torchvision, name):
            LIBRARY.define(name + schema)
            if name == "deform_conv2d":
                torch.library.register_fake(f"torchvision::{name}", deformed, lib=LIBRARY)


declare_missing()
import torchvision  # noqa: E402

__all__ = ["torch", "torchvision", "without_values"]


@contextmanager
def without_values():
    """Build models whose weights hold what memory held: filling them takes longer than reading the model."""
    functions = {
        name: function for name, function in vars(torch.nn.init).items() if name.endswith("_") and name[0] != "_"
    }
    with ExitStack() as stack:
        for name in functions:
            stack.enter_context(patch.object(torch.nn.init, name, lambda tensor, *_, **__: tensor))
        yield
