"""Make the files in ``tests/data/ncnn`` with pnnx and ncnn: ``python tests/data/make_ncnn.py``.

They are the architectures of ``tests/architectures.py``, brought from PyTorch by pnnx, and networks of a few layers
with what their outputs read, as ncnn tells. Run it with ``tests`` and ``tests/importers`` on ``PYTHONPATH``.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import struct
import tempfile
from pathlib import Path

import ncnn
import numpy as np
import pnnx
import torch
from architectures import ARCHITECTURES
from test_torch import MODULES

HERE = Path(__file__).parent / "ncnn"

#: Sizes of inputs as ncnn writes them, and as numpy does.
IMAGE, SERIES, VOLUME = (4, 9, 8), (4, 9), (2, 5, 6, 7)

#: Layers that read ``in0`` and make ``out``: lines of a file, the shape of its input, and how many weights follow.
#: Of those without a flag before them, as of a bias, the number is negative.
CASES = {
    "conv": (["Convolution c 1 1 in0 out 0=2 1=2 2=1 3=1 4=0 5=1 6=48 11=3 12=2 13=2 14=1 15=1 16=0"], IMAGE, [48, -2]),
    "conv_same_upper": (["Convolution c 1 1 in0 out 0=2 1=3 3=3 4=-233 5=0 6=96 11=4 13=2"], IMAGE, [96]),
    "conv_same_lower": (["Convolution c 1 1 in0 out 0=2 1=3 3=3 4=-234 5=0 6=96 11=4 13=2"], IMAGE, [96]),
    "conv_square": (["Convolution c 1 1 in0 out 0=2 1=3 2=2 3=2 4=1 5=0 6=72"], IMAGE, [72]),
    "conv_before": (["Convolution c 1 1 in0 out 0=2 1=3 3=1 4=2 14=1 5=0 6=72"], IMAGE, [72]),
    "depthwise": (["ConvolutionDepthWise c 1 1 in0 out 0=4 1=3 3=2 4=1 5=0 6=36 7=4"], IMAGE, [36]),
    "deconv": (["Deconvolution c 1 1 in0 out 0=2 1=2 3=3 4=0 5=0 6=48 11=3 13=2 14=1 15=1 16=0"], IMAGE, [48]),
    "deconv_more": (["Deconvolution c 1 1 in0 out 0=2 1=2 3=3 4=0 5=0 6=48 11=3 13=2 14=1 18=2 19=1"], IMAGE, [48]),
    "deconv_dilated": (["Deconvolution c 1 1 in0 out 0=2 1=3 2=2 3=1 5=0 6=72 13=2"], IMAGE, [72]),
    "deconv_upper": (
        ["Deconvolution c 1 1 in0 out 0=2 1=4 3=2 4=-233 5=0 6=96 11=3 20=17 21=18"], IMAGE, [96]),
    "deconv_lower": (
        ["Deconvolution c 1 1 in0 out 0=2 1=4 3=2 4=-234 5=0 6=96 11=3 20=17 21=18"], IMAGE, [96]),
    "deconv_depthwise": (["DeconvolutionDepthWise c 1 1 in0 out 0=4 1=2 3=2 5=0 6=16 7=4"], IMAGE, [16]),
    "conv_series": (["Convolution1D c 1 1 in0 out 0=2 1=3 2=2 3=2 4=1 5=0 6=24 15=3"], SERIES, [24]),
    "deconv_series": (["Deconvolution1D c 1 1 in0 out 0=2 1=3 3=2 4=1 5=0 6=24 15=0 18=1"], SERIES, [24]),
    "max_pool": (["Pooling p 1 1 in0 out 0=0 1=3 2=2 3=1 5=1 11=2 12=1 13=0 14=0 15=1"], IMAGE, []),
    "max_pool_full": (["Pooling p 1 1 in0 out 0=0 1=3 2=2 5=0"], IMAGE, []),
    "max_pool_full_beyond": (["Pooling p 1 1 in0 out 0=0 1=2 2=3 3=1 5=0"], IMAGE, []),
    "avg_pool_same": (["Pooling p 1 1 in0 out 0=1 1=3 2=2 5=2"], IMAGE, []),
    "avg_pool_same_lower": (["Pooling p 1 1 in0 out 0=1 1=2 2=3 5=3"], IMAGE, []),
    "adaptive": (["Pooling p 1 1 in0 out 0=1 7=1 8=3 18=4"], IMAGE, []),
    "adaptive_one": (["Pooling p 1 1 in0 out 0=1 7=1 8=-233 18=2"], IMAGE, []),
    "pool_series": (["Pooling1D p 1 1 in0 out 0=0 1=3 2=2 3=1 5=1"], SERIES, []),
    "gate": (
        ["Split s 1 2 in0 a b", "Pooling p 1 1 a g 0=1 4=1", "InnerProduct f 1 1 g h 0=4 1=0 2=16",
         "BinaryOp m 2 1 b h out 0=2"], IMAGE, [16]),
    "nearest": (["Interp i 1 1 in0 out 0=1 1=2.0 2=1.5"], IMAGE, []),
    "nearest_size": (["Interp i 1 1 in0 out 0=1 3=5 4=13"], IMAGE, []),
    "linear": (["Interp i 1 1 in0 out 0=2 1=2.0 2=1.5"], IMAGE, []),
    "linear_size": (["Interp i 1 1 in0 out 0=2 3=5 4=13"], IMAGE, []),
    "linear_corners": (["Interp i 1 1 in0 out 0=2 3=17 4=15 6=1"], IMAGE, []),
    "cubic": (["Interp i 1 1 in0 out 0=3 1=2.0 2=2.0"], IMAGE, []),
    "linear_series": (["Interp i 1 1 in0 out 0=2 2=2.0"], SERIES, []),
    "pixel_shuffle": (["PixelShuffle p 1 1 in0 out 0=2"], IMAGE, []),
    "reorg": (["Crop c 1 1 in0 a 1=1 4=8 3=8 5=4", "Reorg r 1 1 a out 0=2"], IMAGE, []),
    "shuffled": (["ShuffleChannel s 1 1 in0 out 0=2"], IMAGE, []),
    "crop": (["Crop c 1 1 in0 out 0=1 1=2 2=0 3=5 4=4 5=4"], IMAGE, []),
    "crop_series": (["Crop c 1 1 in0 out 0=2 1=1 3=5 4=2"], SERIES, []),
    "gate_of_columns": (
        ["Crop c 1 1 in0 x 1=1 3=8 4=8 5=4", "Split s 1 2 x a b", "Pooling p 1 1 a g 0=1 4=1",
         "InnerProduct f 1 1 g h 0=8 1=0 2=32", "Convolution d 1 1 b e 0=8 1=1 5=0 6=32",
         "BinaryOp m 2 1 e h out 0=2"], IMAGE, [32, 32]),
    "reshape_keeps": (
        ["Permute p 1 1 in0 a 0=1", "Reshape r 1 1 a b 0=0 1=0 2=0", "Permute q 1 1 b out 0=1"], IMAGE, []),
    "crop_ends": (["Crop c 1 1 in0 out -23309=2,2,1 -23310=2,7,-1 -23311=2,1,2"], IMAGE, []),
    "crop_behind": (["Crop c 1 1 in0 out 0=1 1=2 2=0 3=-233 4=-233 5=-233 6=2 7=1"], IMAGE, []),
    "pad": (["Padding p 1 1 in0 out 0=2 1=1 2=0 3=3 4=0 5=0.0"], IMAGE, []),
    "pad_edge": (["Padding p 1 1 in0 out 0=2 1=1 2=0 3=3 4=1"], IMAGE, []),
    "pad_reflect": (["Padding p 1 1 in0 out 0=2 1=1 2=0 3=3 4=2"], IMAGE, []),
    "slices": (["Slice s 1 3 in0 a b c -23300=3,2,3,-233 1=1", "Concat k 2 1 c a out 0=1", "Noop n 1 0 b"], IMAGE, []),
    "slices_at": (["Slice s 1 3 in0 a b c -23302=2,2,-3 1=2", "Concat k 3 1 c a b out 0=2"], IMAGE, []),
    "flip": (["Flip f 1 1 in0 a -23300=1,-1", "Crop c 1 1 a out 0=1 1=1 3=6 4=5 5=4"], IMAGE, []),
    "flip_both": (["Flip f 1 1 in0 out -23300=3,0,1,2"], IMAGE, []),
    "flip_series": (["Flip f 1 1 in0 a -23300=1,1", "Convolution1D c 1 1 a out 0=2 1=3 5=0 6=24"], SERIES, [24]),
    "permute": (["Permute p 1 1 in0 a 0=3", "Permute q 1 1 a out 0=4"], IMAGE, []),
    "reshape": (["Reshape r 1 1 in0 a 0=-1 1=4", "Reshape s 1 1 a out 0=8 1=9 2=4"], IMAGE, []),
    "reduce": (["Split s 1 2 in0 a b", "Reduction r 1 1 a m 0=4 1=0 -23303=1,1 4=1 5=1", "BinaryOp o 2 1 b m out"],
               IMAGE, []),
    "layer_norm": (["LayerNorm n 1 1 in0 out 0=8 2=0"], IMAGE, []),
    "softmax": (["Softmax s 1 1 in0 out 0=2 1=1"], IMAGE, []),
    "cumsum": (["CumulativeSum s 1 1 in0 out 0=1"], IMAGE, []),
    "scale": (["UnaryOp u 1 1 in0 a 0=4", "Scale s 1 1 a out 0=4 1=0"], IMAGE, [-4]),
    "tile": (["Tile t 1 1 in0 out 0=1 1=2"], IMAGE, []),
    "conv_volume": (
        ["Convolution3D c 1 1 in0 out 0=3 1=3 2=1 3=2 4=1 5=0 6=108 11=2 12=2 13=1 14=0 15=0 16=2 21=3 22=1 23=2 24=1"],
        VOLUME, [108]),
    "depthwise_volume": (
        ["ConvolutionDepthWise3D c 1 1 in0 out 0=2 1=2 3=2 5=0 6=24 7=2 11=3 14=1 21=2"], VOLUME, [24]),
    "deconv_volume": (
        ["Deconvolution3D c 1 1 in0 out 0=1 1=2 3=2 5=0 6=24 11=3 13=1 14=1 21=2 23=3 24=0 20=1"], VOLUME, [24]),
    "deconv_depthwise_volume": (["DeconvolutionDepthWise3D c 1 1 in0 out 0=2 1=2 3=2 5=0 6=16 7=2"], VOLUME, [16]),
    "pool_volume": (["Pooling3D p 1 1 in0 out 0=0 1=3 2=2 3=1 5=1 11=2 13=0 21=2 22=1 23=0"], VOLUME, []),
    "pool_volume_full": (["Pooling3D p 1 1 in0 out 0=1 1=3 2=2 5=0 11=2 21=2 22=3"], VOLUME, []),
    "adaptive_volume": (["Pooling3D p 1 1 in0 out 0=1 7=1 8=3 18=2 28=4"], VOLUME, []),
    "depthwise_series": (["ConvolutionDepthWise1D c 1 1 in0 out 0=4 1=3 2=2 3=2 4=1 5=0 6=12 7=4"], SERIES, [12]),
    "deconv_depthwise_series": (["DeconvolutionDepthWise1D c 1 1 in0 out 0=4 1=3 3=2 4=1 5=0 6=12 7=4"], SERIES, [12]),
    "eltwise": (
        ["Split s 1 2 in0 a b", "Convolution c 1 1 a d 0=4 1=3 4=1 5=0 6=144", "Eltwise e 2 1 d b out 0=1"], IMAGE,
        [144]),
    "eltwise_max": (
        ["Split s 1 2 in0 a b", "Pooling p 1 1 a d 0=1 1=3 2=1 3=1 5=1", "Eltwise e 2 1 d b out 0=2"], IMAGE, []),
    "ones": (
        ["Split s 1 2 in0 a b", "Pooling p 1 1 a g 0=1 4=1", "ExpandDims x 1 1 g h -23303=2,1,2",
         "BinaryOp m 2 1 b h out 0=2"], IMAGE, []),
    "squeezed": (
        ["Reduction r 1 1 in0 m 0=4 1=0 -23303=1,0 4=1 5=1", "Squeeze q 1 1 m n -23303=1,0",
         "ExpandDims x 1 1 n out -23303=1,0"], IMAGE, []),
    "flat": (["Flatten f 1 1 in0 a", "Reshape r 1 1 a out 0=8 1=9 2=4"], IMAGE, []),
    "glu": (["GLU g 1 1 in0 out 0=0"], IMAGE, []),
    "glu_columns": (["GLU g 1 1 in0 out 0=2"], IMAGE, []),
    "group_norm": (["GroupNorm n 1 1 in0 out 0=2 1=4 2=0.001 3=0"], IMAGE, []),
    "instance_norm": (["InstanceNorm n 1 1 in0 out 0=4 1=0.001 2=0"], IMAGE, []),
    "mvn": (["MVN n 1 1 in0 out 0=1 1=0 2=0.0001"], IMAGE, []),
    "mvn_channels": (["MVN n 1 1 in0 out 0=1 1=1 2=0.0001"], IMAGE, []),
    "rms_norm": (["RMSNorm n 1 1 in0 out 0=8 1=0.001 2=0"], IMAGE, []),
    "normalize": (["Normalize n 1 1 in0 out 0=0 1=1 2=0.0001 3=1 4=1 9=0"], IMAGE, [-1]),
    "normalize_space": (["Normalize n 1 1 in0 out 0=1 1=1 2=0.0001 3=1 4=0 9=0"], IMAGE, [-1]),
    "normalize_all": (["Normalize n 1 1 in0 out 0=1 1=1 2=0.0001 3=1 4=1 9=0"], IMAGE, [-1]),
    "lrn": (["LRN n 1 1 in0 out 0=0 1=3 2=1.0 3=0.5 4=1.0"], IMAGE, []),
    "memory": (["MemoryData m 0 1 k 0=8 1=9 2=4", "BinaryOp o 2 1 in0 k out 0=2"], IMAGE, [-288]),
    "mat_mul": (
        ["Permute p 1 1 in0 a 0=3", "MemoryData m 0 1 k 0=3 1=4", "MatMul o 2 1 a k b", "Permute q 1 1 b out 0=4"],
        IMAGE, [-12]),
    "mat_mul_turned": (
        ["Permute p 1 1 in0 a 0=3", "MemoryData m 0 1 k 0=4 1=3", "MatMul o 2 1 a k b 0=1", "Permute q 1 1 b out 0=4"],
        IMAGE, [-12]),
    "multi_head": (
        ["Permute p 1 1 in0 a 0=1", "MultiHeadAttention m 1 1 a b 0=4 1=2 2=16 3=4 4=4", "Permute q 1 1 b out 0=1"],
        SERIES, [16, -4, 16, -4, 16, -4, 16, -4]),
    "multi_head_of_three": (
        ["Permute p 1 1 in0 a 0=1", "Split s 1 3 a b c d", "Crop e 1 1 b f -23309=1,2 -23310=1,6 -23311=1,0",
         "MultiHeadAttention m 3 1 f c d g 0=4 1=1 2=16 3=4 4=4", "Permute q 1 1 g out 0=1"],
        SERIES, [16, -4, 16, -4, 16, -4, 16, -4]),
    "unfold": (
        ["Unfold u 1 1 in0 a 1=2 11=3 3=2 13=1 4=1 14=1 15=0 16=1", "Reshape r 1 1 a out 0=4 1=9 2=24"], IMAGE, []),
    "fold": (
        ["Unfold u 1 1 in0 a 1=2 11=3 3=1 13=2", "Fold f 1 1 a out 1=2 11=3 3=1 13=2 20=8 21=9"], IMAGE, []),
    "fold_padded": (
        ["Unfold u 1 1 in0 a 1=2 11=3 3=2 13=3 4=1", "Fold f 1 1 a out 1=2 11=3 3=2 13=3 4=1 20=8 21=9"], IMAGE, []),
    "attention": (["Split s 1 3 in0 a b c", "SDPA t 3 1 a b c out 5=0 6=0.1"], IMAGE, []),
}  # fmt: skip


def weights(counts):
    """Return a file of weights; those with a flag before them; of negative counts, as of biases, there is none."""
    rng, data = np.random.default_rng(0), b""
    for count in counts:
        numbers = (rng.random(abs(count), dtype=np.float32) + 0.5).astype("<f4").tobytes()
        data += (struct.pack("<I", 0) if count > 0 else b"") + numbers
    return data


def boxes(text, shape, counts, folder):
    """Return the first and last position that each output reads, by running the network on changed inputs."""
    (folder / "net.param").write_text(text)
    (folder / "net.bin").write_bytes(weights(counts))
    net = ncnn.Net()
    for name in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage",
                 "use_winograd_convolution", "use_sgemm_convolution"):  # fmt: skip
        setattr(net.opt, name, False)
    net.opt.num_threads = 1
    assert net.load_param(str(folder / "net.param")) == 0
    assert net.load_model(str(folder / "net.bin")) == 0

    def run(x):
        extractor = net.create_extractor()
        extractor.input("in0", ncnn.Mat(x).clone())
        code, out = extractor.extract("out")
        assert code == 0, text
        return np.array(out)

    axes = len(shape) - 1
    x = np.random.default_rng(1).random(shape, dtype=np.float32)
    before = run(x)
    assert before.ndim == axes + 1, (text, before.shape)
    found = np.zeros((*before.shape[1:], *shape[1:]), bool)
    for at in np.ndindex(*shape[1:]):
        for amount in (9.0, -7.0, 0.3):
            changed = x.copy()
            changed[(slice(None), *at)] += amount * np.random.default_rng(2).random(shape[0], dtype=np.float32)
            found[(Ellipsis, *at)] |= (run(changed) != before).any(0)
    told = []
    for at in np.ndindex(*before.shape[1:]):
        read = np.argwhere(found[at])
        told.append([*read.min(0).tolist(), *read.max(0).tolist()] if len(read) else None)
    return {"text": text, "size": list(before.shape[1:]), "boxes": told}


def main():
    torch.set_num_threads(1)
    HERE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for name, module in MODULES.items():
            pnnx.export(module().eval(), f"{name}.pt", (torch.zeros(ARCHITECTURES[name].shape),))
            shutil.copy(f"{name}.ncnn.param", HERE / f"{name}.param")
        shutil.copy("unet.pnnx.param", HERE / "unet.pnnx.param")
        made = {}
        for name, (lines, shape, counts) in CASES.items():
            numbers = (0, 1, 11, 2) if len(shape) == 4 else (0, 1, 2)
            sizes = " ".join(f"{n}={size}" for n, size in zip(numbers, reversed(shape), strict=False))
            text = "\n".join(["7767517", f"{len(lines) + 1} 20", f"Input in0 0 1 in0 {sizes}", *lines]) + "\n"
            made[name] = boxes(text, shape, counts, Path(folder))
    (HERE / "cases.json.gz").write_bytes(gzip.compress(json.dumps(made).encode(), mtime=0))


if __name__ == "__main__":
    main()
