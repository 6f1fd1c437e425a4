"""PyTorch: every handler against the operator itself, whose inputs are perturbed; saved files; live modules.

The oracle is torch. A pixel is changed, in all its channels; the outputs that change are the ones that read it. For
every output feature the box of the pixels that it reads must be the region that rfgraph gives.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import textwrap
import warnings
import zipfile
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import op_by_op  # noqa: E402
from architectures import ARCHITECTURES, check_table  # noqa: E402
from perturbation import check_regions  # noqa: E402

import rfgraph  # noqa: E402
from rfgraph import cli, importers  # noqa: E402
from rfgraph.errors import MissingExtraError, ModelFileError  # noqa: E402
from rfgraph.importers.lowering.lower import lower  # noqa: E402
from rfgraph.importers.program.builder import Builder  # noqa: E402
from rfgraph.importers.torch import live  # noqa: E402
from rfgraph.importers.torch import saved as exported  # noqa: E402
from rfgraph.importers.torch.moves import SIZES  # noqa: E402
from rfgraph.importers.torch.nodes import HANDLERS, Node  # noqa: E402
from rfgraph.importers.torch.operators import NOT_FOLLOWED, SEVERAL, UNARY  # noqa: E402
from rfgraph.importers.torch.reader import Exported, Graph, Reader, Ref, Step, operator  # noqa: E402

nn, F = torch.nn, torch.nn.functional
torch.set_num_threads(1)  # several wait for each other longer than tensors this small take
A = torch.ops.aten

IMAGE = (1, 4, 6, 7)
#: What rounding may make of a weight that is 0.
ROUNDING = 1e-13


class Run(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@dataclass(frozen=True)
class Case(op_by_op.Case):
    """A function of one tensor, and the operator that it must be exported as."""

    x: tuple = IMAGE
    at: tuple = (2, 3)
    out: tuple = (2, 3)


def export(run, *shapes):
    module = run if isinstance(run, nn.Module) else Run(run)
    return live.read(module.double(), [torch.zeros(shape, dtype=torch.float64) for shape in shapes])[0]


@cache
def exported_of(case: Case):
    return export(case.run, case.x)


def graph_of(case: Case):
    found = exported_of(case)
    return lower(Reader(found).program(), spatial={found.data[0]: case.at})


def reads(case: Case) -> np.ndarray:
    """Return which pixels each output feature reads: booleans [*output positions, *input positions]."""
    torch.manual_seed(0)
    bases = [torch.rand(case.x, dtype=torch.float64) * 4 - 2 for _ in range(2)]
    spatial = [case.x[d] for d in case.at]
    kept = [d for d in case.out if d is not None]
    with torch.no_grad():
        made = [op_by_op.first(case.run(x.clone())) for x in bases]
        columns = []
        for pixel in itertools.product(*map(range, spatial)):
            index = [slice(None)] * len(case.x)
            for d, i in zip(case.at, pixel, strict=True):
                index[d] = i
            changed = np.zeros([made[0].shape[d] for d in kept], bool)
            for (x, base), value in itertools.product(zip(bases, made, strict=True), (None, 9.0, -9.0)):
                near = x.clone()
                near[tuple(index)] = torch.rand(near[tuple(index)].shape, dtype=x.dtype) if value is None else value
                others = tuple(d for d in range(base.dim()) if d not in kept)
                moved = (
                    ((op_by_op.first(case.run(near)).double() - base.double()).abs() > ROUNDING)
                    .numpy()
                    .any(axis=others)
                )
                changed |= moved.transpose(np.argsort(np.argsort(kept)))
            columns.append(changed)
    sizes = [1 if d is None else made[0].shape[d] for d in case.out]
    return np.stack(columns, axis=-1).reshape(*sizes, *spatial)


def check_reads(case: Case) -> None:
    found = reads(case)
    graph = graph_of(case)
    check_regions(graph, found, case.exact)


def w(*shape):
    return torch.linspace(0.5, 1.5, int(np.prod(shape)), dtype=torch.float64).reshape(shape)


T, V = (1, 4, 9), (1, 2, 4, 5, 3)
CUT = {"x": (1, 4, 8, 12)}
LINE = {"x": T, "at": (2,), "out": (2,)}
CUBE = {"x": V, "at": (2, 3, 4), "out": (2, 3, 4)}
WHOLE = {"out": (None, None)}
OPAQUE = {"unknown": "."}


def written(x):
    y = x * 1
    y[:, :2].mul_(2)
    return y


def put(x):
    y = x * 1
    y[:, :, torch.tensor([0, 3])] = x[:, :, 1:3]
    return y


def written_in_the_middle(x):
    y = x * 1
    y[:, :, 1:3, 2:].add_(F.max_pool2d(x, 3, 1, 1)[:, :, 2:4, :5])
    y[:, :, -1].mul_(2)
    return y


def written_transposed(x):
    y = x * 1
    y.permute(0, 2, 3, 1).unsqueeze(0)[:, :, 2:4].squeeze(0).copy_(F.max_pool2d(x, 3, 1, 1).permute(0, 2, 3, 1)[:, 2:4])
    return y


def written_and_read_by_another_name(x):
    y = x * 1
    flat = y.view(1, 4, 42)
    y[:, :, 0].add_(x[:, :, 1])
    return flat.view(1, 4, 6, 7)


def written_with_a_step(x):
    y = x * 1
    y[:, :, ::2].mul_(x[:, :, :3])
    return y


def in_windows(x, h, w_, run):
    """Cut a map into windows, run a function on each as if it were an image, and lay the windows out again."""
    b, c, height, width = x.shape
    cut = x.view(b, c, height // h, h, width // w_, w_).permute(0, 2, 4, 1, 3, 5).reshape(-1, c, h, w_)
    made = run(cut)
    _, c, h, w_ = made.shape
    grid = made.view(b, height // cut.shape[2], width // cut.shape[3], c, h, w_)
    return grid.permute(0, 3, 1, 4, 2, 5).reshape(b, c, grid.shape[1] * h, grid.shape[2] * w_)


def windows(x, size):
    """Return the tokens of each window: [window, token, channel]."""
    b, c, height, width = x.shape
    cut = x.view(b, c, height // size, size, width // size, size).permute(0, 2, 4, 3, 5, 1)
    return cut.reshape(-1, size * size, c)


def laid_out(tokens, size, grid):
    """Put windows of tokens together again."""
    rows, columns = grid
    cut = tokens.view(1, rows, columns, size, size, -1).permute(0, 5, 1, 3, 2, 4)
    return cut.reshape(1, -1, rows * size, columns * size)


def pooled_queries(x):
    """Attention inside windows whose queries are pooled: four tokens of each window ask, all sixteen answer."""
    tokens = windows(x, 4)
    asking = tokens.view(-1, 2, 2, 2, 2, 4).amax((2, 4)).view(-1, 4, 4)
    return laid_out(F.scaled_dot_product_attention(asking, tokens, tokens), 2, (2, 3))


def shared_queries(x):
    """Attention inside windows whose queries are the same for all: those of the whole map, pooled."""
    tokens = windows(x, 4)
    asking = F.avg_pool2d(x, (2, 3)).flatten(2).transpose(1, 2).repeat(6, 1, 1)
    return laid_out(F.scaled_dot_product_attention(asking, tokens, tokens), 4, (2, 3))


def with_a_halo(x):
    """Attention of the tokens of each window to its own and to one row and column around it."""
    asking = windows(x, 4)
    around = F.pad(x, (1, 1, 1, 1)).unfold(2, 6, 4).unfold(3, 6, 4).permute(0, 2, 3, 4, 5, 1).reshape(6, 36, 4)
    return laid_out(F.scaled_dot_product_attention(asking, around, around), 4, (2, 3))


def between_heads(x):
    """A convolution of an attention map: a product of its heads at each pair of tokens."""
    tokens = x.flatten(2).transpose(1, 2).view(1, 42, 2, 2).transpose(1, 2)
    scores = F.conv2d(tokens @ tokens.transpose(2, 3), w(2, 2, 1, 1)).softmax(-1)
    return (scores @ tokens).transpose(2, 3).reshape(1, 4, 6, 7)


def real(x):
    return x.real + 3 * x.imag if x.is_complex() else x


def between(columns):
    """A product with each patch."""
    size = columns.shape[1]
    return F.linear(columns.transpose(1, 2), w(size, size)).transpose(1, 2)


def spd(x):
    """Return a positive definite matrix of each position's channels."""
    square = x.movedim(1, -1).unflatten(-1, (2, 2))
    return square @ square.transpose(-1, -2) + torch.eye(2, dtype=x.dtype)


def turned_off(x):
    with torch.no_grad():
        y = F.avg_pool2d(x, 3, 1, 1)
    return y + x


# fmt: off
CASES = [
    # Windows.
    Case("conv2d", lambda x: F.conv2d(x, w(3, 4, 3, 2), None, (2, 1), (1, 0), (1, 2))),
    Case("conv2d", lambda x: F.conv2d(x, w(3, 4, 3, 2), None, 1, "same")),
    Case("conv2d", lambda x: F.conv2d(x, w(3, 4, 3, 2), padding="valid")),
    Case("conv2d", lambda x: F.conv2d(x, w(4, 2, 3, 3), groups=2)),
    Case("conv2d", lambda x: F.conv2d(x, w(3, 4, 3, 2), None, 2, 1), x=(4, 6, 7), at=(1, 2), out=(1, 2)),
    Case("conv1d", lambda x: F.conv1d(x, w(3, 4, 3), None, 2, 2, 2), **LINE),
    Case("conv3d", lambda x: F.conv3d(x, w(3, 2, 3, 1, 2), None, (2, 1, 1), (1, 0, 1)), **CUBE),
    Case("convolution", lambda x: A.convolution(x, w(3, 4, 3, 3), None, [2], [1], [1], False, [0], 1)),
    Case("convolution", lambda x: A.convolution(x, w(4, 3, 3, 3), None, [2, 2], [1, 1], [1, 1], True, [1, 1], 1)),
    Case("_convolution", lambda x: A._convolution(
        x, w(3, 4, 3, 3), None, [2, 2], [1, 1], [1, 1], False, [0, 0], 1, False, False, False, False)),
    Case("conv_transpose2d", lambda x: F.conv_transpose2d(x, w(4, 3, 3, 2), None, (2, 3), (1, 0), (1, 0))),
    Case("conv_transpose2d", lambda x: F.conv_transpose2d(x, w(4, 2, 3, 3), None, 1, 1, 0, 2, 2)),
    Case("conv_transpose1d", lambda x: F.conv_transpose1d(x, w(4, 3, 4), None, 3, 1), **LINE),
    Case("conv_transpose3d", lambda x: F.conv_transpose3d(x, w(2, 3, 2, 3, 2), None, 2), **CUBE),
    Case("max_pool2d", lambda x: F.max_pool2d(x, 3, 2, 1, 1, True)),
    Case("max_pool2d", lambda x: F.max_pool2d(x, (2, 3), None, (0, 1), (2, 1))),
    Case("max_pool1d", lambda x: F.max_pool1d(x, 3, 2), **LINE),
    Case("max_pool3d", lambda x: F.max_pool3d(x, 2, 1), **CUBE),
    Case("max_pool1d_with_indices", lambda x: A.max_pool1d_with_indices(x, [3]), **LINE),
    Case("max_pool2d_with_indices", lambda x: A.max_pool2d_with_indices(x, [3, 2], [2, 1])[0]),
    Case("max_pool3d_with_indices", lambda x: A.max_pool3d_with_indices(x, [2, 2, 2])[0], **CUBE),
    Case("avg_pool2d", lambda x: F.avg_pool2d(x, 3, 2, 1, True, False)),
    Case("avg_pool1d", lambda x: F.avg_pool1d(x, 2), **LINE),
    Case("avg_pool3d", lambda x: F.avg_pool3d(x, 2, 1), **CUBE),
    Case("adaptive_avg_pool2d", lambda x: F.adaptive_avg_pool2d(x, (4, 3))),
    Case("adaptive_avg_pool2d", lambda x: F.adaptive_avg_pool2d(x, 1)),
    Case("adaptive_avg_pool1d", lambda x: F.adaptive_avg_pool1d(x, 4), **LINE),
    Case("adaptive_avg_pool3d", lambda x: F.adaptive_avg_pool3d(x, 2), **CUBE),
    Case("_adaptive_avg_pool2d", lambda x: A._adaptive_avg_pool2d(x, [3, 2])),
    Case("_adaptive_avg_pool3d", lambda x: A._adaptive_avg_pool3d(x, [3, 2, 2]), **CUBE),
    Case("adaptive_max_pool1d", lambda x: A.adaptive_max_pool1d(x, [4])[0], **LINE),
    Case("adaptive_max_pool2d", lambda x: A.adaptive_max_pool2d(x, [4, 2])[0]),
    Case("adaptive_max_pool3d", lambda x: A.adaptive_max_pool3d(x, [2, 2, 1])[0], **CUBE),
    Case("unfold", lambda x: x.unfold(2, 3, 2)),
    Case("im2col", lambda x: F.unfold(x, (3, 2), padding=1, stride=2).view(1, 24, 3, 4)),
    Case("col2im", lambda x: F.fold(x.flatten(2), (7, 8), (2, 2)), exact=True),
    Case("col2im", lambda x: F.fold(between(F.unfold(x, 3, 1, 1, 2)), (6, 7), 3, 1, 1, 2)),
    Case("col2im", lambda x: F.fold(F.unfold(x, 3, padding=1), (6, 7), 3, padding=1), exact=False),
    Case("col2im", lambda x: F.fold(
        between(F.unfold(x, (3, 2), 2, (2, 0), (1, 2))), (6, 7), (3, 2), 2, (2, 0), (1, 2))),
    Case("max_unpool2d", lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2, output_size=(6, 7)),
         exact=False),
    Case("max_unpool2d", lambda x: F.max_unpool2d(*F.max_pool2d(x, 3, 2, 1, return_indices=True), 3, 2, 1,
                                                  output_size=(6, 7)), exact=False),
    Case("max_unpool2d", lambda x: F.max_unpool2d(x, torch.arange(42).view(1, 1, 6, 7).expand_as(x) * 2, 2),
         exact=False, out=(None, None)),
    Case("max_unpool3d", lambda x: F.max_unpool3d(*F.max_pool3d(x, 2, return_indices=True), 2, output_size=(4, 5, 3)),
         exact=False, **CUBE),
    Case("affine_grid_generator", lambda x: F.affine_grid(x[:, 0, :2, :3], (1, 4, 3, 3), align_corners=True),
         out=(None, None), exact=False),
    # Spectra.
    *(Case(f"fft_{kind}", lambda x, kind=kind: real(getattr(torch.fft, kind)(x)), exact=False)
      for kind in ("fft", "ifft", "fft2", "ifft2", "fftn", "ifftn", "fftshift", "ifftshift")),
    *(Case(f"fft_{kind}", lambda x, kind=kind: real(getattr(torch.fft, kind)(x)), out=(2, 3), exact=False)
      for kind in ("rfft", "irfft", "hfft", "ihfft", "rfft2", "irfft2", "hfft2", "ihfft2",
                   "rfftn", "irfftn", "hfftn", "ihfftn")),
    Case("fft_rfft", lambda x: torch.fft.rfft(x, dim=1).abs()),
    Case("fft_fft", lambda x: real(torch.fft.fft(x, 4, 2)), exact=False),
    Case("fft_irfft2", lambda x: torch.fft.irfft2(torch.fft.rfft2(x), s=(6, 7)), exact=False),
    Case("stft", lambda x: torch.stft(x.flatten(1), 8, 4, window=w(8), return_complex=True).abs(), x=(2, 1, 40),
         at=(2,), out=(2,), exact=False),
    Case("stft", lambda x: torch.stft(x[:, 0], 8, 4, window=w(8), center=False, return_complex=True).abs(),
         x=(2, 1, 40), at=(2,), out=(2,)),
    Case("stft", lambda x: torch.stft(x[0, 0], 8, 3, 4, w(4), center=False, onesided=False, return_complex=True).abs(),
         x=(1, 1, 40), at=(2,), out=(1,)),
    Case("istft", lambda x: torch.istft(torch.complex(x, x * 0), 8, 4, window=w(8), center=True), x=(2, 5, 7),
         at=(2,), out=(1,)),
    Case("istft", lambda x: torch.istft(torch.complex(x[0], x[0]), 8, 4, window=w(8), length=20), x=(1, 5, 7),
         at=(2,), out=(0,)),
    Case("view_as_real", lambda x: torch.view_as_real(torch.complex(x, x)), out=(2, 3)),
    Case("view_as_complex", lambda x: torch.view_as_complex(torch.stack([x, x], -1)).abs()),
    Case("bartlett_window", lambda x: x + torch.bartlett_window(7)),
    Case("blackman_window", lambda x: x + torch.blackman_window(7)),
    Case("kaiser_window", lambda x: x + torch.kaiser_window(7)),
    # Matrices and pairs of vectors.
    Case("cdist", lambda x: torch.cdist(x.flatten(2).transpose(1, 2), w(1, 5, 4)).transpose(1, 2).view(1, 5, 6, 7)),
    Case("_cdist_forward", lambda x: A._cdist_forward(x.view(4, 42).t(), w(5, 4), 2.0, None).t().view(1, 5, 6, 7)),
    Case("_euclidean_dist", lambda x: A._euclidean_dist(x.view(4, 42).t(), w(5, 4)).t().view(1, 5, 6, 7)),
    Case("cdist", lambda x: F.embedding(torch.cdist(x.flatten(2).transpose(1, 2), w(1, 9, 4) * 3 - 3).argmin(-1),
                                        w(9, 3) ** 2).transpose(1, 2).view(1, 3, 6, 7), exact=False),
    Case("pairwise_distance", lambda x: F.pairwise_distance(x.movedim(1, -1), x.movedim(1, -1) * 2), out=(1, 2)),
    Case("cosine_similarity", lambda x: F.cosine_similarity(x, x ** 2)[:, None]),
    Case("linalg_cross", lambda x: torch.linalg.cross(x[:, :3], x[:, :3] ** 2, dim=1)),
    Case("linalg_inv", lambda x: torch.linalg.inv(spd(x)), out=(1, 2)),
    Case("linalg_pinv", lambda x: torch.linalg.pinv(x.movedim(1, -1).unflatten(-1, (2, 2))), out=(1, 2)),
    Case("linalg_cholesky", lambda x: torch.linalg.cholesky(spd(x)), out=(1, 2)),
    Case("matrix_exp", lambda x: torch.matrix_exp(x.movedim(1, -1).unflatten(-1, (2, 2))), out=(1, 2)),
    Case("linalg_det", lambda x: torch.linalg.det(x.movedim(1, -1).unflatten(-1, (2, 2))), out=(1, 2)),
    Case("linalg_slogdet", lambda x: torch.linalg.slogdet(x.movedim(1, -1).unflatten(-1, (2, 2)))[1], out=(1, 2)),
    Case("logdet", lambda x: torch.logdet(spd(x)), out=(1, 2)),
    Case("linalg_norm", lambda x: torch.linalg.norm(x, dim=1, keepdim=True)),
    Case("linalg_matrix_norm", lambda x: torch.linalg.matrix_norm(x.movedim(1, -1).unflatten(-1, (2, 2))), out=(1, 2)),
    Case("tensordot", lambda x: torch.tensordot(x, w(4, 5), dims=([1], [0])), out=(1, 2)),
    Case("inner", lambda x: torch.inner(x.movedim(1, -1), w(3, 4)), out=(1, 2)),
    Case("linalg_multi_dot", lambda x: torch.linalg.multi_dot([x.view(4, 42).t(), w(4, 3), w(3, 2)]).t()
         .reshape(1, 2, 6, 7)),
    Case("chain_matmul", lambda x: torch.chain_matmul(x.view(4, 42).t(), w(4, 3)).t().reshape(1, 3, 6, 7)),
    Case("bilinear", lambda x: F.bilinear(x.movedim(1, -1), x.movedim(1, -1) * 2, w(3, 4, 4)), out=(1, 2)),
    Case("addr", lambda x: torch.addr(w(5, 42), w(5), x[0, 0].flatten()).view(1, 5, 6, 7)),
    Case("broadcast_tensors", lambda x: torch.cat(torch.broadcast_tensors(x, x[:, :1]), 1)),
    Case("meshgrid", lambda x: torch.meshgrid(x[0, 0, :, 0], w(3), indexing="ij")[0], out=(0, None), exact=True),
    Case("meshgrid", lambda x: torch.meshgrid(w(3), x[0, 0, :, 0], indexing="xy")[1], out=(0, None)),
    Case("hstack", lambda x: torch.hstack([x, 2 * x])),
    Case("vstack", lambda x: torch.vstack([x, 2 * x])),
    Case("dstack", lambda x: torch.dstack([x, x])),
    Case("column_stack", lambda x: torch.column_stack([x, x])),
    Case("hstack", lambda x: torch.hstack([x[0, 0, :, 0], w(3)]), out=(0, None)),
    Case("vstack", lambda x: torch.vstack([x[0, 0, 0], x[0, 0, 0]]), out=(None, 1)),
    Case("dstack", lambda x: torch.dstack([x[0, 0], x[0, 0]]), out=(0, 1)),
    Case("column_stack", lambda x: torch.column_stack([x[0, 0, :, 0], x[0, 0, :, 0]]), out=(0, None)),
    Case("atleast_1d", lambda x: torch.atleast_1d(x)),
    Case("atleast_2d", lambda x: torch.atleast_2d(x[0, 0, 0]), out=(None, 1)),
    Case("atleast_3d", lambda x: torch.atleast_3d(x[0, 0]), out=(0, 1)),
    Case("fliplr", lambda x: x.fliplr()),
    Case("flipud", lambda x: x.flipud()),
    *(Case("rot90", lambda x, k=k: x.rot90(k, (2, 3)), exact=False, out=(2, 3) if k % 2 == 0 else (3, 2))
      for k in range(4)),
    Case("diff", lambda x: x.diff(n=2, dim=2)),
    Case("one_hot", lambda x: F.one_hot((x > 0).long(), 3), out=(2, 3)),
    Case("index_fill", lambda x: x.index_fill(1, torch.tensor([0]), 2.0)),
    Case("searchsorted", lambda x: torch.searchsorted(torch.linspace(-4, 4, 99, dtype=x.dtype), x)),
    Case("bucketize", lambda x: torch.bucketize(x, torch.linspace(-4, 4, 99, dtype=x.dtype))),
    Case("ravel", lambda x: x.ravel().view_as(x)),
    Case("kthvalue", lambda x: x.kthvalue(2, 1, keepdim=True)[0]),
    Case("mode", lambda x: x.round().mode(1, keepdim=True)[0]),
    Case("nanmedian", lambda x: x.nanmedian(1, keepdim=True)[0]),
    Case("msort", lambda x: x.msort()),
    # Losses of each element, and of all.
    *(Case(name, lambda x, name=name: getattr(F, name)(x.sigmoid(), x.cos().sigmoid(), reduction="none"))
      for name in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "kl_div", "binary_cross_entropy",
                   "binary_cross_entropy_with_logits", "soft_margin_loss")),
    Case("mse_loss", lambda x: F.mse_loss(x, x.cos()), **WHOLE),
    # What a quantised network rounds.
    Case("fake_quantize_per_tensor_affine", lambda x: torch.fake_quantize_per_tensor_affine(x, 0.01, 128, 0, 999)),
    Case("fake_quantize_per_channel_affine", lambda x: torch.fake_quantize_per_channel_affine(
        x, w(4).float() / 50, torch.zeros(4, dtype=torch.int32), 1, -999, 999)),
    Case("fake_quantize_per_tensor_affine_cachemask",
         lambda x: A.fake_quantize_per_tensor_affine_cachemask(x, 0.01, 0, -999, 999)[0]),
    Case("fake_quantize_per_channel_affine_cachemask", lambda x: A.fake_quantize_per_channel_affine_cachemask(
        x, w(4).float() / 50, torch.zeros(4, dtype=torch.int32), 1, -999, 999)[0]),
    Case("_fake_quantize_learnable_per_tensor_affine", lambda x: A._fake_quantize_learnable_per_tensor_affine(
        x, w(1) / 50, torch.zeros(1, dtype=x.dtype), -999, 999, 1.0)),
    # Resolutions.
    Case("upsample_nearest2d", lambda x: F.interpolate(x, scale_factor=(2, 1.5))),
    Case("upsample_nearest2d", lambda x: F.interpolate(x, size=(4, 9))),
    Case("upsample_nearest2d", lambda x: A.upsample_nearest2d.default(x, [12, 14], 2.0, 2.0)),
    Case("upsample_nearest1d", lambda x: F.interpolate(x, scale_factor=2.0), **LINE),
    Case("upsample_nearest3d", lambda x: F.interpolate(x, scale_factor=2), **CUBE),
    Case("_upsample_nearest_exact1d", lambda x: F.interpolate(x, 5, mode="nearest-exact"), **LINE),
    Case("_upsample_nearest_exact2d", lambda x: F.interpolate(x, (9, 4), mode="nearest-exact")),
    Case("_upsample_nearest_exact3d", lambda x: F.interpolate(x, (2, 7, 3), mode="nearest-exact"), **CUBE),
    Case("upsample_linear1d", lambda x: F.interpolate(x, scale_factor=2, mode="linear"), **LINE),
    Case("upsample_bilinear2d", lambda x: F.interpolate(x, scale_factor=2, mode="bilinear")),
    Case("upsample_bilinear2d", lambda x: F.interpolate(x, (9, 4), mode="bilinear", align_corners=True)),
    Case("upsample_bilinear2d", lambda x: F.interpolate(x, (3, 5), mode="bilinear")),
    Case("upsample_bilinear2d", lambda x: F.interpolate(x, size=(2 * x.shape[2], x.shape[3]), mode="bilinear")),
    Case("upsample_trilinear3d", lambda x: F.interpolate(x, scale_factor=2, mode="trilinear"), **CUBE),
    Case("upsample_bicubic2d", lambda x: F.interpolate(x, scale_factor=2, mode="bicubic")),
    Case("_upsample_bilinear2d_aa", lambda x: F.interpolate(x, scale_factor=2, mode="bilinear", antialias=True)),
    Case("_upsample_bilinear2d_aa", lambda x: F.interpolate(x, (4, 5), mode="bilinear", antialias=True)),
    Case("_upsample_bilinear2d_aa", lambda x: F.interpolate(x, (4, 9), mode="bilinear", antialias=True)),
    Case("_upsample_bicubic2d_aa", lambda x: F.interpolate(x, (3, 3), mode="bicubic", antialias=True)),
    Case("_upsample_bicubic2d_aa", lambda x: F.interpolate(x, (11, 5), mode="bicubic", antialias=True)),
    Case("pixel_shuffle", lambda x: F.pixel_shuffle(x, 2)),
    Case("pixel_unshuffle", lambda x: F.pixel_unshuffle(x, 2), x=(1, 2, 6, 8)),
    Case("channel_shuffle", lambda x: F.channel_shuffle(x, 2)),
    # Reductions and mixtures.
    Case("mean", lambda x: x.mean((2, 3), keepdim=True)),
    Case("mean", lambda x: x.mean(3), out=(2, None)),
    Case("sum", lambda x: x.sum(), **WHOLE),
    Case("sum", lambda x: x.sum(1)[:, None]),
    Case("prod", lambda x: x.prod(1, keepdim=True)),
    Case("amax", lambda x: x.amax((1, 2), keepdim=True), out=(2, 3)),
    Case("amin", lambda x: x.amin(1, keepdim=True)),
    Case("max", lambda x: x.max(1, keepdim=True)[0]),
    Case("max", lambda x: torch.max(x, x * 0.5)),
    Case("min", lambda x: x.min(), **WHOLE),
    Case("argmax", lambda x: x.argmax(1, keepdim=True)),
    Case("argmin", lambda x: x.argmin(1, keepdim=True)),
    Case("any", lambda x: (x > 1.9).any(1, keepdim=True)),
    Case("all", lambda x: (x > -1.9).all(1, keepdim=True)),
    Case("logsumexp", lambda x: x.logsumexp(1, keepdim=True)),
    Case("var", lambda x: x.var(1, keepdim=True)),
    Case("std", lambda x: x.std((2, 3), keepdim=True)),
    Case("var_mean", lambda x: torch.var_mean(x, 1, keepdim=True)[0]),
    Case("std_mean", lambda x: torch.std_mean(x, 1, keepdim=True)[0]),
    Case("norm", lambda x: A.norm.ScalarOpt_dim(x, 2, [1], True)),
    Case("linalg_vector_norm", lambda x: F.normalize(x)),
    Case("nansum", lambda x: x.nansum(1, keepdim=True)),
    Case("nanmean", lambda x: A.nanmean(x, [1], True)),
    Case("median", lambda x: x.median(1, keepdim=True)[0]),
    Case("aminmax", lambda x: torch.aminmax(x, dim=1, keepdim=True)[0]),
    Case("count_nonzero", lambda x: torch.count_nonzero(x > 0, 1)[:, None]),
    Case("softmax", lambda x: x.softmax(1)),
    Case("softmax", lambda x: x.softmax(3)),
    Case("_softmax", lambda x: A._softmax(x, 1, False)),
    Case("log_softmax", lambda x: x.log_softmax(-1)),
    Case("_log_softmax", lambda x: A._log_softmax(x, 1, False)),
    Case("_safe_softmax", lambda x: A._safe_softmax(x, 1)),
    Case("cumsum", lambda x: x.cumsum(2), exact=False),
    Case("cumprod", lambda x: x.cumprod(1)),
    Case("logcumsumexp", lambda x: x.logcumsumexp(1)),
    Case("cummax", lambda x: x.cummax(1)[0]),
    Case("cummin", lambda x: x.cummin(3)[0], exact=False),
    Case("sort", lambda x: x.sort(2)[0]),
    Case("argsort", lambda x: A.argsort.default(x, 1)),
    Case("topk", lambda x: x.topk(2, 1)[0]),
    Case("batch_norm", lambda x: F.batch_norm(x, w(4), w(4))),
    Case("batch_norm", lambda x: F.batch_norm(x, None, None, training=True)),
    Case("native_batch_norm", lambda x: A.native_batch_norm(x, None, None, w(4), w(4), False, 0.1, 1e-5)[0]),
    Case("_native_batch_norm_legit_no_training",
         lambda x: A._native_batch_norm_legit_no_training(x, None, None, w(4), w(4), 0.1, 1e-5)[0]),
    Case("_native_batch_norm_legit", lambda x: A._native_batch_norm_legit.no_stats(x, None, None, True, 0.1, 1e-5)[0]),
    Case("layer_norm", lambda x: F.layer_norm(x.permute(0, 2, 3, 1), (4,)), out=(1, 2)),
    Case("layer_norm", lambda x: F.layer_norm(x, (4, 6, 7))),
    Case("native_layer_norm", lambda x: A.native_layer_norm(x, [7], None, None, 1e-5)[0]),
    Case("rms_norm", lambda x: F.rms_norm(x.permute(0, 2, 3, 1), (4,)), out=(1, 2)),
    Case("group_norm", lambda x: F.group_norm(x, 2)),
    Case("native_group_norm", lambda x: A.native_group_norm(x, None, None, 1, 4, 42, 2, 1e-5)[0]),
    Case("instance_norm", lambda x: F.instance_norm(x)),
    Case("instance_norm", lambda x: F.instance_norm(x, w(4), w(4), use_input_stats=False)),
    # Products.
    Case("linear", lambda x: F.linear(x.permute(0, 2, 3, 1), w(5, 4), w(5)), out=(1, 2)),
    Case("linear", lambda x: F.linear(x, w(5, 7)), out=(2, None), exact=False),
    Case("matmul", lambda x: torch.matmul(w(5, 4), x.flatten(2)).view(1, 5, 6, 7)),
    Case("mm", lambda x: torch.mm(w(5, 4), x.view(4, 42)).view(1, 5, 6, 7)),
    Case("bmm", lambda x: torch.bmm(w(1, 5, 4), x.flatten(2)).view(1, 5, 6, 7)),
    Case("mv", lambda x: torch.mv(x.view(4, 42).t(), w(4)).view(1, 1, 6, 7)),
    Case("dot", lambda x: torch.dot(x.flatten(), w(168)), **WHOLE),
    Case("addmm", lambda x: torch.addmm(w(42, 5), x.view(4, 42).t(), w(4, 5)).view(1, 6, 7, 5), out=(1, 2)),
    Case("baddbmm", lambda x: torch.baddbmm(w(1, 5, 42), w(1, 5, 4), x.flatten(2)).view(1, 5, 6, 7)),
    Case("addmv", lambda x: torch.addmv(w(42), x.view(4, 42).t(), w(4)).view(1, 1, 6, 7)),
    Case("outer", lambda x: torch.outer(w(3), x.view(-1)).view(1, 12, 6, 7)),
    Case("einsum", lambda x: torch.einsum("bchw,cd->bdhw", x, w(4, 5))),
    Case("einsum", lambda x: torch.einsum("bc...,cd", x, w(4, 5)), out=(0, 1), exact=False),
    Case("scaled_dot_product_attention", lambda x: F.scaled_dot_product_attention(
        *[x.flatten(2).transpose(1, 2)[:, None]] * 3).transpose(2, 3).reshape(1, 4, 6, 7)),
    Case("_scaled_dot_product_flash_attention_for_cpu", lambda x: A._scaled_dot_product_flash_attention_for_cpu(
        *[x.flatten(2).transpose(1, 2)[:, None]] * 3)[0].transpose(2, 3).reshape(1, 4, 6, 7)),
    # Tokens, windows, attention maps: what a window does to dimensions that it does not slide over.
    Case("conv1d", lambda x: F.conv1d(x.flatten(2), w(3, 4, 1)).view(1, 3, 6, 7)),
    Case("conv1d", lambda x: F.conv1d(x.flatten(2), w(4, 1, 3), padding=1, groups=4).view_as(x), exact=False),
    Case("conv1d", lambda x: F.conv1d(x.flatten(1, 2), w(3, 24, 3), padding=1), out=(None, 2)),
    Case("conv2d", lambda x: F.conv2d(x.flatten(2)[..., None], w(3, 4, 1, 1)).view(1, 3, 6, 7)),
    Case("conv2d", lambda x: in_windows(x, 4, 3, lambda y: F.conv2d(y, w(3, 4, 1, 1))), **CUT),
    Case("conv2d", lambda x: in_windows(x, 4, 3, lambda y: F.conv2d(y, w(3, 4, 3, 3), padding=1)), exact=False, **CUT),
    Case("conv2d", lambda x: in_windows(x, 4, 3, lambda y: F.conv2d(y, w(3, 4, 4, 3), padding=(0, 1))), exact=False,
         **CUT),
    Case("conv2d", lambda x: in_windows(x, 4, 3, lambda y: F.conv2d(y, w(3, 4, 2, 3), stride=(2, 3))), **CUT),
    Case("conv2d", between_heads),
    Case("conv_transpose2d", lambda x: F.conv_transpose2d(x.flatten(2)[..., None], w(4, 3, 1, 1)).view(1, 3, 6, 7)),
    Case("max_pool2d", lambda x: in_windows(x, 4, 4, lambda y: F.max_pool2d(y, 2)), **CUT),
    Case("avg_pool2d", lambda x: in_windows(x, 4, 4, lambda y: F.avg_pool2d(y, 1, 2)), **CUT),
    Case("max_pool2d", lambda x: in_windows(x, 4, 4, lambda y: F.max_pool2d(y, 2, dilation=2)), exact=False, **CUT),
    Case("avg_pool2d", lambda x: in_windows(x, 4, 4, lambda y: F.avg_pool2d(y, 3, 1)), exact=False, **CUT),
    Case("avg_pool1d", lambda x: F.avg_pool1d(x.flatten(2), 4), out=(None, None), exact=False),
    Case("scaled_dot_product_attention", pooled_queries, **CUT),
    Case("scaled_dot_product_attention", shared_queries, exact=False, **CUT),
    Case("scaled_dot_product_attention", with_a_halo, **CUT),
    Case("scaled_dot_product_attention", lambda x: laid_out(
        F.scaled_dot_product_attention(*[windows(x.roll((-2, -2), (2, 3)), 4)] * 3), 4, (2, 3)).roll((2, 2), (2, 3)),
         exact=False, **CUT),
    # Elements moved, dropped, added.
    Case("pad", lambda x: F.pad(x, (1, 2, -1, 0), value=3.0)),
    Case("pad", lambda x: F.pad(x, (1, 1, 1, 1), mode="circular"), exact=False),
    Case("constant_pad_nd", lambda x: A.constant_pad_nd(x, [0, 2, 1, 1])),
    Case("reflection_pad1d", lambda x: A.reflection_pad1d(x, [1, 2])[..., 1:-2], **LINE),
    Case("reflection_pad2d", lambda x: A.reflection_pad2d(x, [1, 2, 1, 1])[..., 1:-1, 1:-2]),
    Case("reflection_pad3d", lambda x: A.reflection_pad3d(x, [1, 1, 1, 1, 1, 1])[..., 1:-1, 1:-1, 1:-1], **CUBE),
    Case("replication_pad1d", lambda x: A.replication_pad1d(x, [1, 2])[..., 1:-2], **LINE),
    Case("replication_pad2d", lambda x: A.replication_pad2d(x, [1, 2, 1, 1])[..., 1:-1, 1:-2]),
    Case("replication_pad3d", lambda x: A.replication_pad3d(x, [1, 1, 1, 1, 1, 1])[..., 1:-1, 1:-1, 1:-1], **CUBE),
    Case("slice", lambda x: x[:, :, 1:5:2, -3:]),
    Case("slice_copy", lambda x: A.slice_copy(x, 2, 1, 4)),
    Case("narrow", lambda x: x.narrow(3, -3, 2)),
    Case("narrow_copy", lambda x: A.narrow_copy(x, 3, 1, 2)),
    Case("select", lambda x: x[:, :, 2], out=(None, 2)),
    Case("select_copy", lambda x: A.select_copy(x, 3, -1), out=(2, None)),
    Case("chunk", lambda x: torch.cat(x.chunk(3, 1)[::-1], 1)),
    Case("split", lambda x: torch.cat(x.split(3, 1)[::-1], 1)),
    Case("split_with_sizes", lambda x: x.split([2, 4], 2)[1]),
    Case("split_copy", lambda x: A.split_copy(x, 2, 1)[1]),
    Case("split_with_sizes_copy", lambda x: A.split_with_sizes_copy(x, [3, 4], 3)[1]),
    Case("tensor_split", lambda x: x.tensor_split(4, 3)[1]),
    Case("tensor_split", lambda x: x.tensor_split((1, 3), 2)[1]),
    Case("unbind", lambda x: torch.stack(x.unbind(1), 1)),
    Case("unbind_copy", lambda x: A.unbind_copy(x, 1)[1][:, None]),
    Case("stack", lambda x: torch.stack([x, 2 * x], 1), out=(3, 4)),
    Case("cat", lambda x: torch.cat([x, x[:, :, 1:]], 2)),
    Case("cat", lambda x: torch.cat([x[:, :, :0], 2 * x], 2)),
    Case("concat", lambda x: A.concat([x, 2 * x], 1)),
    Case("concatenate", lambda x: A.concatenate([x, 2 * x], 1)),
    Case("index_select", lambda x: x.index_select(1, torch.tensor([2, 0]))),
    Case("index", lambda x: x[:, torch.tensor([2, 0])]),
    Case("index_select", lambda x: x.index_select(2, torch.tensor([1, 3, 5]))),
    Case("index_select", lambda x: x.index_select(3, torch.tensor([6, 2, 3, 4, 0]))),
    Case("index_select", lambda x: x.index_select(2, (x[0, 0, 0, :3] > 0).long()), out=(None, 3), exact=False),
    Case("index", lambda x: x[:, :, torch.tensor([0, 0, 1, 1, 2, 2])]),
    Case("index", lambda x: x[:, torch.tensor([2, 0]), torch.tensor([1, 1])], out=(None, 2), exact=False),
    Case("index", lambda x: x[:, :, torch.arange(0, 6, 2)[:, None], torch.tensor([1, 2, 3])]),
    Case("index", lambda x: x[:, :, torch.tensor([3]), torch.tensor([5, 1, 0])], out=(None, 2)),
    Case("index", lambda x: x[:, :, torch.tensor([[0, 1], [5, 3]])].flatten(2, 3)),
    Case("index", lambda x: x[:, :, (x[0, 0, :, 0] > 0).long(), torch.arange(6)], out=(2, None), exact=False),
    Case("index", lambda x: (x * 1)[torch.tensor([0, 0]), :, torch.tensor([[1], [4]])], out=(None, 3), exact=False),
    Case("index", lambda x: x[:, :, torch.arange(3) * 2 - 2 + 2]),
    Case("index", lambda x: x[:, :, 5 - torch.arange(4)]),
    Case("index", lambda x: x[:, :, torch.arange(1, 5) // 2 + torch.ones(4, dtype=torch.long)]),
    Case("index", lambda x: x[:, :, torch.where(torch.arange(4) > 1, torch.arange(4), torch.full((4,), 1))]),
    Case("index", lambda x: x[:, :, torch.arange(4).flip(0)]),
    Case("index", lambda x: x[:, :, torch.tensor([1, 4, 2]).argsort()], out=(None, 3), exact=False),
    Case("index", lambda x: x[:, :, torch.tensor([1.0, 4.0, 2.0]).mul(0.9).long()], out=(None, 3), exact=False),
    Case("embedding", lambda x: F.embedding((x > 0).long(), w(2, 3)), out=(2, 3)),
    Case("roll", lambda x: x.roll((1, -2), (2, 3)), exact=False),
    Case("flip", lambda x: x.flip(1)),
    Case("expand", lambda x: x[:, :1].expand(-1, 5, -1, -1)),
    Case("expand_as", lambda x: x[:, :1].expand_as(x)),
    Case("expand_copy", lambda x: A.expand_copy(x, [2, 4, 6, 7])),
    Case("broadcast_to", lambda x: x.broadcast_to((3, 4, 6, 7))),
    Case("repeat", lambda x: x.repeat(1, 2, 1, 2)),
    Case("tile", lambda x: x.tile((2, 1))),
    Case("repeat_interleave", lambda x: x.repeat_interleave(3, 2)),
    # Numbering.
    Case("view", lambda x: x.view(1, 2, 2, 6, 7), out=(3, 4)),
    Case("reshape", lambda x: x.permute(0, 2, 3, 1).reshape(1, 42, 4).transpose(1, 2).view(1, 4, 6, 7)),
    Case("reshape_as", lambda x: A.reshape_as(x.flatten(), x)),
    Case("view_as", lambda x: x.flatten().view_as(x)),
    Case("view_copy", lambda x: A.view_copy(x, [4, 6, 7]), out=(1, 2)),
    Case("_unsafe_view", lambda x: A._unsafe_view(x, [4, 6, 7]), out=(1, 2)),
    Case("flatten", lambda x: x.flatten(0, 1), out=(1, 2)),
    Case("unflatten", lambda x: x.unflatten(1, (2, -1)), out=(3, 4)),
    Case("squeeze", lambda x: x.squeeze(0).squeeze(), out=(1, 2)),
    Case("squeeze_copy", lambda x: A.squeeze_copy.dims(x, [0, 1]), out=(1, 2)),
    Case("unsqueeze", lambda x: x.unsqueeze(-1)),
    Case("unsqueeze_copy", lambda x: A.unsqueeze_copy(x, 0), out=(3, 4)),
    Case("permute", lambda x: x.permute(3, 0, -2, 1), out=(2, 0)),
    Case("permute_copy", lambda x: A.permute_copy(x, [3, 0, 2, 1]), out=(2, 0)),
    Case("transpose", lambda x: x.transpose(1, -1), out=(2, 1)),
    Case("transpose_copy", lambda x: A.transpose_copy(x, 1, 2), out=(1, 3)),
    Case("swapaxes", lambda x: x.swapaxes(2, 3), out=(3, 2)),
    Case("swapdims", lambda x: x.swapdims(2, 3), out=(3, 2)),
    Case("t", lambda x: x[0, 0].t(), out=(1, 0)),
    Case("numpy_T", lambda x: x[0, 0].T, out=(1, 0)),
    Case("mT", lambda x: x.mT, out=(3, 2)),
    Case("adjoint", lambda x: x.adjoint(), out=(3, 2)),
    Case("movedim", lambda x: x.movedim(1, -1), out=(1, 2)),
    Case("moveaxis", lambda x: x.moveaxis((2, 3), (0, 1)), out=(0, 1)),
    # Functions that are no more than a name, in place, of several tensors, of constants.
    Case("relu", lambda x: F.relu(x * 1, inplace=True)),
    Case("add", lambda x: (x * 1).add_(x).add(1)),
    Case("native_dropout", lambda x: A.native_dropout(x, 0.5, False)[0]),
    Case("prelu", lambda x: F.prelu(x, w(4))),
    Case("where", lambda x: torch.where(x > 0, x, -2 * x)),
    Case("glu", lambda x: F.glu(x, 1)),
    Case("tril", lambda x: x.tril(10)),
    Case("triu", lambda x: x.triu(-10)),
    Case("copy", lambda x: torch.zeros_like(x).copy_(x)),
    Case("copy", lambda x: A.copy(torch.zeros(2, 4, 6, 7, dtype=x.dtype), x)),
    Case("zeros", lambda x: x + torch.zeros(7)),
    Case("ones", lambda x: x + torch.ones(6, 1)),
    Case("full", lambda x: x + torch.full((4, 1, 1), 2.0)),
    Case("empty", lambda x: x + torch.empty((7,)).fill_(0)),
    Case("fill", lambda x: x + torch.empty((7,)).fill_(0)),
    Case("zero", lambda x: x + torch.empty((7,)).zero_()),
    Case("rand", lambda x: x + 0 * torch.rand(7)),
    Case("randn", lambda x: x + 0 * torch.randn(7)),
    Case("randint", lambda x: x + 0 * torch.randint(2, (7,))),
    Case("zeros_like", lambda x: x + torch.zeros_like(x)),
    Case("ones_like", lambda x: x + torch.ones_like(x)),
    Case("full_like", lambda x: x + torch.full_like(x, 2)),
    Case("empty_like", lambda x: x + 0 * torch.empty_like(x).fill_(0)),
    Case("rand_like", lambda x: x + 0 * torch.rand_like(x)),
    Case("randn_like", lambda x: x + 0 * torch.randn_like(x)),
    Case("randint_like", lambda x: x + 0 * torch.randint_like(x, 2)),
    Case("new_zeros", lambda x: x + x.new_zeros(7)),
    Case("new_ones", lambda x: x + x.new_ones(7)),
    Case("new_full", lambda x: x + x.new_full((7,), 2)),
    Case("new_empty", lambda x: x + x.new_empty((7,)).fill_(0)),
    Case("eye", lambda x: x + torch.eye(6, 7)),
    Case("linspace", lambda x: x + torch.linspace(0, 1, 7)),
    Case("hann_window", lambda x: x + torch.hann_window(7)),
    Case("hamming_window", lambda x: x + torch.hamming_window(7)),
    Case("scalar_tensor", lambda x: x + A.scalar_tensor(2.0)),
    Case("arange", lambda x: x.index_select(2, torch.arange(1, 6, 2))),
    # Not followed, and why.
    # Elements read or written where other tensors say.
    Case("grid_sampler", lambda x: F.grid_sample(x, w(1, 5, 3, 2) - 1, align_corners=False), exact=False, **WHOLE),
    Case("grid_sampler", lambda x: F.grid_sample(x, x[:, :2].permute(0, 2, 3, 1) / 2, align_corners=True), exact=False),
    Case("grid_sampler", lambda x: F.grid_sample(x, w(1, 2, 3, 4, 3) - 1, align_corners=False), exact=False,
         x=V, at=(2, 3, 4), out=(None, None, None)),
    Case("grid_sampler_2d", lambda x: A.grid_sampler_2d(x, w(1, 5, 3, 2) - 1, 0, 0, False), exact=False, **WHOLE),
    Case("grid_sampler_3d", lambda x: A.grid_sampler_3d(x, w(1, 2, 3, 4, 3) - 1, 0, 0, False), exact=False,
         x=V, at=(2, 3, 4), out=(None, None, None)),
    Case("gather", lambda x: x.gather(2, torch.ones(1, 4, 2, 5, dtype=torch.long)), exact=False),
    Case("gather", lambda x: x.gather(2, torch.tensor([4, 0, 3]).view(1, 1, 3, 1).expand(1, 4, 3, 7))),
    Case("take_along_dim", lambda x: torch.take_along_dim(x, torch.tensor([6, 0, 2]).view(1, 1, 1, 3), 3)),
    Case("scatter", lambda x: x.scatter(3, torch.tensor([3, 0]).view(1, 1, 1, 2).expand(1, 4, 6, 2), 0.0)),
    Case("index_put", lambda x: x.index_put((torch.tensor([[0]]), torch.tensor([[1], [3]]), torch.tensor([[0, 2]])),
                                            torch.tensor(0.0).to(x))),
    Case("gather", lambda x: x.gather(1, (x > 0).long())),
    Case("gather", lambda x: x.gather(3, (x > 0).long()), exact=False),
    Case("take_along_dim", lambda x: torch.take_along_dim(x, x.argmax(1, keepdim=True), 1)),
    Case("take_along_dim", lambda x: torch.take_along_dim(x, torch.tensor([[[[1]]]]), 3), out=(2, None), exact=False),
    Case("take", lambda x: x.take(torch.arange(12).view(3, 4))[None, None], out=(None, None), exact=False),
    Case("scatter", lambda x: x.scatter(1, (x > 0).long(), 2.0)),
    Case("scatter", lambda x: x.scatter(2, torch.ones(1, 2, 3, 7, dtype=torch.long), x * 2), exact=False),
    Case("scatter_add", lambda x: x.scatter_add(2, (x > 0).long(), x), exact=False),
    Case("scatter_reduce", lambda x: x.scatter_reduce(1, (x > 0).long(), x, "amax")),
    Case("index_add", lambda x: x.index_add(1, torch.tensor([0, 2]), x[:, :2])),
    Case("index_copy", lambda x: x.index_copy(2, torch.tensor([0, 3]), x[:, :, 1:3]), exact=False),
    Case("index_put", lambda x: x.index_put((torch.tensor([0]), torch.tensor([1])), torch.tensor(2.0).to(x))),
    Case("index_put", lambda x: x.index_put((x > 0,), torch.tensor(2.0).to(x))),
    Case("index_put", put, exact=False),
    Case("index_put", lambda x: x.index_put((x > 0,), x[x > 0] * 2), exact=False),
    Case("_index_put_impl", lambda x: A._index_put_impl(x, [torch.tensor([0])], x[:, :1] * 2), exact=False),
    Case("masked_scatter", lambda x: x.masked_scatter(x > 0, w(1, 4, 6, 7)), exact=False),
    Case("slice_scatter", lambda x: x.slice_scatter(x[:, :2] * 2, 1, 0, 2)),
    Case("slice_scatter", lambda x: x.slice_scatter(F.max_pool2d(x, 3, 1, 1)[:, :, 1:3], 2, -3, -1)),
    Case("slice_scatter", lambda x: x.slice_scatter(x[:, :, :3], 2, 0, 6, 2), exact=False),
    Case("select_scatter", lambda x: x.select_scatter(x[:, :, 2], 2, -1)),
    # Writes into views: what they are views of, and other views of that.
    Case("mul", written),
    Case("add", written_in_the_middle),
    Case("copy", written_transposed),
    Case("add", written_and_read_by_another_name, exact=False),
    Case("mul", written_with_a_step, exact=False),
    Case("avg_pool2d", turned_off),
    Case("cond", lambda x: torch.cond(
        x.sum() > 0, lambda x: F.avg_pool2d(x, 3, 1, 1), lambda x: x * 2.0, (x,)), exact=False),
]
# fmt: on


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_what_an_operator_reads(case):
    called = {op.rpartition("::")[2] for op in called_ops(exported_of(case).graph)}
    assert case.op in called | {op.rstrip("_") for op in called}
    if case.unknown:
        graph = graph_of(case)
        assert any(d["op"] == "unknown" and case.unknown in d.get("why", "") for _, d in graph.nodes(data=True))
        return
    check_reads(case)


def called_ops(graph):
    for step in graph.steps:
        yield operator(step.target)[0]
        for value in step.arguments.values():
            if isinstance(value, Graph):
                yield from called_ops(value)


def written_by_hand(op, arguments, shape=IMAGE):
    """An exported graph of one operator on two tensors, without torch."""
    steps = (Step(f"torch.ops.aten.{op}.default", arguments, ("y",)),)
    return Exported("hand", Graph(("x", "z"), steps, (Ref("y"),), {"x": shape, "z": shape}), ("x", "z"))


@pytest.mark.parametrize("op", sorted(UNARY))
def test_a_function_of_one_element_reads_its_own_position(op):
    assert hasattr(A, op)
    program = Reader(written_by_hand(op, {"self": Ref("x")})).program()
    graph = lower(program, spatial={"x": (2, 3)})
    assert rfgraph.analyze(graph, source="x")[list(graph)[-1]].size == (1, 1)


@pytest.mark.parametrize("op", sorted(SEVERAL))
def test_a_function_of_several_elements_reads_its_own_position_of_each(op):
    assert hasattr(A, op)
    arguments = {"a": Ref("x"), "b": Ref("z"), **({"c": Ref("x")} if op == "where" else {})}
    program = Reader(written_by_hand(op, arguments)).program()
    graph = lower(program, spatial={"x": (2, 3), "z": (2, 3)})
    node = list(graph)[-1]
    assert {rfgraph.analyze(graph, source=name)[node].size for name in ("x", "z")} == {(1, 1)}


def target_of(op):
    namespace, colons, name = op.partition("::")
    return f"torch.ops.{namespace}.{name}.default" if colons else f"torch.ops.aten.{op}.default"


@pytest.mark.parametrize("op", sorted(NOT_FOLLOWED))
def test_what_is_not_followed_says_why(op):
    steps = (Step(target_of(op), {"input": Ref("x")}, ("y",)),)
    found = Exported("hand", Graph(("x",), steps, (Ref("y"),), {"x": IMAGE}), ("x",))
    graph = lower(Reader(found).program(), spatial={"x": (2, 3)})
    (unknown,) = [d for _, d in graph.nodes(data=True) if d["op"] == "unknown"]
    assert (unknown["of"], unknown["why"]) == (op, NOT_FOLLOWED[op])


SELECTING = [
    "item", "_local_scalar_dense", "nonzero", "masked_select", "unique_consecutive", "torchvision::nms",
    "torchvision::roi_align", "torchvision::roi_pool", "torchvision::ps_roi_align",
]  # fmt: skip


@pytest.mark.parametrize("op", SELECTING)
def test_what_selects_by_contents_reads_everything(op):
    arguments = {"input": Ref("x"), "boxes": Ref("boxes"), "pooled_height": 2, "pooled_width": 2}
    shapes = {"x": IMAGE, "boxes": (3, 5)}
    found = Exported(
        "hand", Graph(("x", "boxes"), (Step(target_of(op), arguments, ("y",)),), (Ref("y"),), shapes), ("x",)
    )
    graph = lower(Reader(found).program(), spatial={"x": (2, 3)})
    assert rfgraph.analyze(graph)[list(graph)[-1]].is_global == (True, True)


COMPUTED = {
    "_operator::add": ((7, 2), 9), "_operator::sub": ((7, 2), 5), "_operator::mul": ((7, 2), 14),
    "_operator::floordiv": ((7, 2), 3), "_operator::truediv": ((7, 2), Fraction(7, 2)), "_operator::neg": ((7,), -7),
    "_operator::mod": ((7, 4), 3), "_operator::pow": ((7, 2), 49), "math::ceil": ((Fraction(7, 2),), 4),
    "math::floor": ((Fraction(7, 2),), 3), "math::trunc": ((Fraction(7, 2),), 3), "builtins::round": ((7,), 7),
    "torch::sym_max": ((7, 2), 7), "torch::sym_min": ((7, 2), 2), "torch::sym_int": ((Fraction(7, 2),), 3),
    "torch::sym_float": ((7,), 7),
}  # fmt: skip


@pytest.mark.parametrize("op", COMPUTED)
def test_sizes_are_computed_exactly(op):
    arguments, want = COMPUTED[op]
    node = Node("size", op, "", {str(k): value for k, value in enumerate(arguments)})
    assert HANDLERS.get(op)(node, Builder("sizes")) == want


def test_sizes_of_tensors():
    x = Builder("sizes").input("x", (2, 3, 5))
    assert HANDLERS.get("sym_size")(Node("n", "sym_size", "int", {"self": x, "dim": -1}), None) == 5
    assert HANDLERS.get("numel")(Node("n", "numel", "", {"self": x}), None) == 30


#: Names that only other builds of torch, or other versions, export for operators that have a row.
TWINS = {
    "cudnn_batch_norm": "batch_norm",
    "_native_batch_norm_legit_functional": "batch_norm",
    "_fused_rms_norm": "rms_norm",
    "_scaled_dot_product_flash_attention": "scaled_dot_product_attention",
    "_scaled_dot_product_efficient_attention": "scaled_dot_product_attention",
    "_scaled_dot_product_attention_math": "scaled_dot_product_attention",
    "sym_numel": "numel",
}
#: Rows of these are in test_torchvision.
VISION = ("torchvision::deform_conv2d",)
RECURRENT = ("lstm", "gru", "rnn_tanh", "rnn_relu")
CELLS = ("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell")
QUANTIZED = [f"quantized_decomposed::{op}_per_{what}" for op in ("quantize", "dequantize")
             for what in ("tensor", "channel")]  # fmt: skip


class InRows(nn.Module):
    """A convolution, and a recurrence along one of its axes, written with a cell of torch."""

    def __init__(self, cell, axis, **options):
        super().__init__()
        self.conv, self.cell, self.axis = nn.Conv2d(1, 2, 3, padding=1), cell(2, 3, **options), axis

    def forward(self, x):
        x = self.conv(x)
        state = x.new_zeros(x.shape[5 - self.axis], 3)
        states, outputs = (state, state), []
        for row in x.unbind(self.axis):
            if isinstance(self.cell, nn.LSTMCell):
                states = self.cell(row[0].mT, states)
            else:
                states = (self.cell(row[0].mT, states[0]),)
            outputs.append(states[0].mT[None])
        return torch.stack(outputs, self.axis)


@pytest.mark.parametrize("axis", [2, 3])
@pytest.mark.parametrize(
    ("cell", "options"),
    [(nn.LSTMCell, {}), (nn.GRUCell, {}), (nn.RNNCell, {}), (nn.RNNCell, {"nonlinearity": "relu", "bias": False})],
)
def test_cells_along_an_axis_read_the_rows_before(cell, options, axis):
    model = InRows(cell, axis, **options).double()
    for parameter in model.parameters():
        parameter.data.abs_()  # so that no relu holds anything back
    x = torch.rand(1, 1, 4, 5, dtype=torch.float64, requires_grad=True)
    report = rfgraph.analyze(model, example=(1, 1, 4, 5))
    (end,) = report.outputs
    assert report[end].map_size == (4, 5)
    assert report[end].status == "bound"
    assert not report.findings
    y = model(x)
    for index in np.ndindex(4, 5):
        (read,) = torch.autograd.grad(y[0, :, *index].sum(), x, retain_graph=True)
        pixels = read[0, 0].nonzero()
        box = report.region(end, index).box
        assert all(first <= low and high <= last for (first, last), low, high in
                   zip(box, pixels.amin(0).tolist(), pixels.amax(0).tolist(), strict=True))  # fmt: skip


class BehindACode(nn.Module):
    """Two branches on the grid that a code is laid out to."""

    def __init__(self, before):
        super().__init__()
        self.encoder, self.code, self.before = nn.Conv2d(2, 4, 3, 2, 1), nn.Linear(64, 64), before
        self.padded, self.bare = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3)

    def forward(self, x):
        grid = self.code(self.encoder(x).flatten(1)).view(-1, 4, 4, 4)
        padding = (self.before, 2 - self.before) * 2
        return self.padded(grid) + nn.functional.pad(self.bare(grid), padding)


@pytest.mark.parametrize(("before", "offset"), [(1, None), (2, 1), (0, -1)])
def test_branches_of_one_grid_behind_a_code_are_held_against_each_other(before, offset):
    report = rfgraph.analyze(BehindACode(before), example=(1, 2, 8, 8))
    off = [finding for finding in report.findings if finding.rule in ("RF002", "RF004")]
    assert [abs(finding.offset) for finding in off] == ([] if offset is None else [1])
    assert all(finding.fork == "view" for finding in off)
    assert report.aligned is (offset is None)


@pytest.mark.parametrize("op", QUANTIZED)
def test_a_quantised_value_reads_its_own_position(op):
    steps = (Step(f"torch.ops.{op.replace('::', '.')}.default", {"input": Ref("x"), "scales": Ref("s")}, ("y",)),)
    graph = Graph(("x", "s"), steps, (Ref("y"),), {"x": IMAGE, "s": (4,)})
    found = lower(Reader(Exported("hand", graph, ("x",))).program(), spatial={"x": (2, 3)})
    layer = rfgraph.analyze(found)[list(found)[-1]]
    assert (layer.size, layer.is_global) == ((1, 1), (False, False))
    both = lower(Reader(Exported("hand", graph, ("x", "s"))).program(), spatial={"x": (2, 3), "s": ()})
    assert rfgraph.analyze(both, source="x")[list(both)[-1]].size == (1, 1)


def test_every_operator_has_a_row():
    rows = {case.op for case in CASES}
    rows |= {
        *UNARY,
        *SEVERAL,
        *NOT_FOLLOWED,
        *SELECTING,
        *COMPUTED,
        *RECURRENT,
        *CELLS,
        *VISION,
        *QUANTIZED,
        "sym_size",
        "numel",
    }
    assert sorted(set(HANDLERS) - rows - set(TWINS)) == []
    assert sorted(set(SIZES) - set(COMPUTED)) == []
    for twin, op in TWINS.items():
        assert HANDLERS.get(twin) is HANDLERS.get(op)


# The same architecture, whichever way it comes.


class Basic(nn.Module):
    def __init__(self, before, width, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(before, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        self.down = None
        if stride != 1 or before != width:
            self.down = nn.Sequential(nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (x if self.down is None else self.down(x)))


class ResNet18(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 7, 2, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.pool = nn.MaxPool2d(3, 2, 1)
        widths = [(8, 8, 1), (8, 8, 1), (8, 16, 2), (16, 16, 1), (16, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1)]
        self.layers = nn.Sequential(*(Basic(*width) for width in widths))
        self.head = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        return self.fc(torch.flatten(self.head(self.layers(self.pool(self.stem(x)))), 1))


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 8, 3, 1, 1), nn.Conv2d(8, 8, 3, 1, 1), nn.Conv2d(16, 8, 3, 1, 1)
        self.up = nn.ConvTranspose2d(8, 8, 2, 2)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x):
        skip = F.relu(self.a(x))
        y = F.relu(self.b(self.pool(skip)))
        return self.c(torch.cat([skip, self.up(y)], 1))


class Inverted(nn.Module):
    """The block of MobileNetV2."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, 2, 1)
        self.expand = nn.Sequential(nn.Conv2d(8, 48, 1, bias=False), nn.BatchNorm2d(48), nn.ReLU6())
        self.depthwise = nn.Sequential(nn.Conv2d(48, 48, 3, 1, 1, groups=48), nn.BatchNorm2d(48), nn.ReLU6())
        self.project = nn.Conv2d(48, 8, 1)

    def forward(self, x):
        x = self.first(x)
        return x + self.project(self.depthwise(self.expand(x)))


class ConvNeXt(nn.Module):
    """The block of ConvNeXt, with its channels last and its layer scale."""

    def __init__(self):
        super().__init__()
        self.stem, self.down = nn.Conv2d(3, 8, 4, 4), nn.Conv2d(8, 8, 2, 2)
        self.depthwise = nn.Conv2d(8, 8, 7, padding=3, groups=8)
        self.norm, self.wide, self.narrow = nn.LayerNorm(8), nn.Linear(8, 32), nn.Linear(32, 8)
        self.scale = nn.Parameter(torch.ones(8))

    def forward(self, x):
        x = self.down(self.stem(x))
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        y = self.scale * self.narrow(F.gelu(self.wide(y)))
        return x + y.permute(0, 3, 1, 2)


class TCN(nn.Module):
    """Causal and dilated, in one dimension."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv1d(2, 4, 1)
        self.convs = nn.ModuleList(nn.Conv1d(4, 4, 3, dilation=2**i) for i in range(4))

    def forward(self, x):
        x = self.first(x)
        for i, conv in enumerate(self.convs):
            x = x + torch.relu(conv(F.pad(x, (2 * 2**i, 0))))
        return x


MODULES = {"resnet18": ResNet18, "unet": UNet, "inverted": Inverted, "convnext": ConvNeXt, "tcn": TCN}


def saved(module, shape, path):
    program = torch.export.export(module.eval(), (torch.zeros(shape),), strict=False)
    torch.export.save(program, path)
    return str(path)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_has_one_table_whichever_way_it_comes(name, tmp_path):
    module, shape = MODULES[name], ARCHITECTURES[name].shape
    from_module = rfgraph.analyze(module().eval(), example=shape)
    from_file = rfgraph.analyze(saved(module(), shape, tmp_path / "model.pt2"))
    check_table(name, from_module)
    check_table(name, from_file)
    assert list(from_module) == list(from_file)
    assert from_module.name == module.__name__


#: What the TorchScript exporter calls nodes that no module makes alone.
EXPORTED = {
    "resnet18": {f"layers.{i}/add": f"/layers/layers.{i}/Add" for i in range(8)},
    "unet": {"cat": "/Concat"},
    "inverted": {"add": "/Add"},
    "convnext": {"wide": "/wide/MatMul", "narrow": "/narrow/MatMul", "add": "/Add_1"},
    "tcn": {"add": "/Add"}
    | {f"add_{k + 1}": f"/Add_{k}" for k in range(1, 4)}
    | {f"convs.{k}": f"/convs.{k}/Conv" for k in range(4)},
}
ONNX_OPS = {"max_pool": "MaxPool", "conv_transpose": "ConvTranspose", "global_avg_pool": "GlobalAveragePool"}


def exported_name(path: str, op: str) -> str:
    """Return what the TorchScript exporter calls the node of a module: ``/down/down.0/Conv`` for ``down.0``."""
    scopes: list[str] = []
    for word in path.split("."):
        scopes.append(f"{scopes[-1]}.{word}" if word.isdigit() else word)
    return "/" + "/".join(scopes) + "/" + ONNX_OPS.get(op, "Conv")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_has_one_table_as_onnx_too(name, tmp_path):
    pytest.importorskip("onnx")
    architecture, path = ARCHITECTURES[name], tmp_path / f"{name}.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # this exporter is the old one: the new one needs a package more
        image = torch.zeros(architecture.shape)
        torch.onnx.export(MODULES[name]().eval(), (image,), str(path), dynamo=False, opset_version=17)
    graph = architecture.build().graph
    names = {node: exported_name(node, op) for node, op in graph.nodes(data="op")} | EXPORTED[name] | {"x": "input.1"}
    check_table(name, rfgraph.analyze(path), names)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_gradients_reach_the_region_and_nothing_else(name):
    module, shape = MODULES[name], ARCHITECTURES[name].shape
    network = module().double().eval()
    for layer in network.modules():  # a maximum has a gradient at one pixel only
        for child_name, child in list(layer.named_children()):
            if isinstance(child, nn.MaxPool2d):
                setattr(layer, child_name, nn.AvgPool2d(child.kernel_size, child.stride, child.padding))
            elif isinstance(child, (nn.LayerNorm, nn.ReLU6)):
                setattr(layer, child_name, nn.Identity())
    for parameter in network.parameters():
        nn.init.uniform_(parameter, 0.01, 0.02)
    report = rfgraph.analyze(network, example=shape)
    modules = [
        (path, child)
        for path, child in network.named_modules()
        if isinstance(child, (nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.AvgPool2d, nn.BatchNorm2d))
    ]
    chosen = modules[:: max(len(modules) // 4, 1)]
    assert len(chosen) >= 3
    for path, child in chosen:
        made = []
        hook = child.register_forward_hook(lambda _, __, output, made=made: made.append(output))
        x = torch.rand(shape, dtype=torch.float64, requires_grad=True)
        network(x)
        hook.remove()
        sizes = made[0].shape[2:]
        assert report[path].map_size == tuple(sizes)
        for place in {tuple(n // 2 for n in sizes), tuple(0 for _ in sizes), tuple(n - 1 for n in sizes)}:
            (gradient,) = torch.autograd.grad(made[0][(0, slice(None), *place)].sum(), x, retain_graph=True)
            read = gradient.abs().sum((0, 1)).nonzero()
            box = tuple(zip(read.min(0).values.tolist(), read.max(0).values.tolist(), strict=True))
            assert report.region(path, place).box == box, (path, place)


# Names, places, sizes, and what is asked of the user.


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        return self.conv(self.conv(x)) + F.avg_pool2d(x, 1)


def test_nodes_are_called_by_their_module_and_know_the_users_line(tmp_path):
    report = rfgraph.analyze(Shared(), example=(1, 3, 8, 8))
    assert set(report) == {"x", "conv", "conv_2", "avg_pool2d", "add"}
    for graph in (
        rfgraph.load(Shared(), example=(1, 3, 8, 8)),
        rfgraph.load(saved(Shared(), (1, 3, 8, 8), tmp_path / "a.pt2")),
    ):
        file, _, line = graph.nodes["conv"]["location"].rpartition(":")
        assert file == __file__
        assert "self.conv(self.conv(x))" in Path(file).read_text().splitlines()[int(line) - 1]


def test_a_treatment_fits_names_and_operators():
    run = Run(lambda x: F.conv2d(x.as_strided((1, 4, 4, 4), (64, 16, 4, 1)), w(2, 4, 3, 3)))
    assert rfgraph.analyze(run.double(), example=(1, 4, 8, 8))["conv2d"].status == "unknown"
    for example in ((1, 4, 8, 8), torch.zeros(1, 4, 8, 8, dtype=torch.float64)):
        report = rfgraph.analyze(run, example=example, treat={"as_strided": "cut"})
        assert report["conv2d"].status != "unknown"


def test_an_operator_of_ones_own_is_unknown_and_named():
    library = torch.library.Library("rfgraph_test", "DEF")
    library.define("shift(Tensor x) -> Tensor")
    library.impl("shift", lambda x: x.clone(), "CompositeExplicitAutograd")
    torch.library.register_fake("rfgraph_test::shift", lambda x: torch.empty_like(x), lib=library)
    run = Run(lambda x: torch.ops.rfgraph_test.shift(F.avg_pool2d(x, 3)))
    graph = rfgraph.load(run, example=(1, 4, 9, 9))
    assert graph.nodes["shift"]["of"] == "rfgraph_test::shift"
    assert rfgraph.analyze(graph)["avg_pool2d"].size == (3, 3)


@pytest.mark.parametrize(
    "recurrent",
    [
        nn.LSTM(4, 5, batch_first=True, bidirectional=True),
        nn.GRU(4, 5, 2, batch_first=True),
        nn.RNN(4, 5, batch_first=True),
        nn.RNN(4, 5, batch_first=True, nonlinearity="relu"),
    ],
    ids=RECURRENT,
)
def test_recurrences_read_the_whole_axis(recurrent):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.recurrent, self.last = nn.Conv1d(2, 4, 3), recurrent, nn.Conv1d(recurrent.hidden_size, 2, 1)

        def forward(self, x):
            y, _ = self.recurrent(self.conv(x).transpose(1, 2))
            return self.last(y[..., : self.recurrent.hidden_size].transpose(1, 2))

    report = rfgraph.analyze(Net(), example=(1, 2, 16))
    assert report["conv"].is_global == (False,)
    assert report["last"].is_global == (True,)
    assert report["last"].status != "unknown"


def test_a_live_module_is_traced_for_the_input_size():
    class Doubled(nn.Module):
        def forward(self, x):
            y = F.avg_pool2d(x, 2)
            return F.interpolate(y, size=x.shape[2:]).view(x.shape[0], -1, *x.shape[2:])

    small = rfgraph.analyze(Doubled(), example=(1, 4, 8, 8))
    large = rfgraph.analyze(Doubled(), example=(1, 4, 8, 8), input_size=(16, 32))
    assert small["upsample_nearest2d"].map_size == (8, 8)
    assert large["upsample_nearest2d"].map_size == (16, 32)
    assert large["upsample_nearest2d"].status == "exact"


def test_a_file_made_for_one_size_is_not_bent_to_another(tmp_path):
    run = Run(lambda x: F.interpolate(F.avg_pool2d(x, 2), size=x.shape[2:]))
    path = saved(run, (1, 4, 8, 8), tmp_path / "fixed.pt2")
    assert rfgraph.analyze(path)["upsample_nearest2d"].status == "exact"
    graph = importers.load(path, None, 16)
    assert "for which the model was exported" in graph.nodes["upsample_nearest2d"]["why"]


def test_sizes_that_are_computed_are_followed(tmp_path):
    run = Run(lambda x: F.interpolate(F.avg_pool2d(x, 3, 2, 1), size=(x.shape[2] * 2 - 2 + 2, x.shape[3])) * 2)
    dims = {"x": {2: torch.export.Dim("height", min=8, max=512), 3: torch.export.Dim("width", min=8, max=512)}}
    program = torch.export.export(run, (torch.zeros(1, 4, 16, 16),), dynamic_shapes=dims, strict=False)
    torch.export.save(program, tmp_path / "any.pt2")
    for model in (str(tmp_path / "any.pt2"), program):
        report = rfgraph.analyze(model, input_size=(20, 30))
        assert report["upsample_nearest2d"].map_size == (40, 30)
        assert report["avg_pool2d"].size == (3, 3)


def test_several_inputs_and_trace():
    class Two(nn.Module):
        def forward(self, left, right):
            return F.avg_pool2d(left, 3, 1, 1) + right

    for example in ([(1, 2, 8, 8), (1, 2, 8, 8)], {"right": (1, 2, 8, 8), "left": torch.zeros(1, 2, 8, 8)}):
        assert rfgraph.trace(Two(), example=example)["left"].size == (3, 3)
        assert rfgraph.trace(Two(), example=example, input_size=12)["right"].map_size == (12, 12)


def test_what_is_missing_is_named():
    with pytest.raises(ModelFileError, match=r"live module \(Shared\).*pass example=.*\(1, 3, 224, 224\)"):
        rfgraph.analyze(Shared())
    with pytest.raises(ModelFileError, match=r"cannot trace it on \(1, 5, 8, 8\)"):
        rfgraph.analyze(Shared(), example=(1, 5, 8, 8))
    with pytest.raises(ModelFileError, match="size that is not positive"):
        rfgraph.analyze(Shared(), example=(0, 5, 8, 8))
    with pytest.raises(ModelFileError, match=r"a dict is no model"):
        rfgraph.analyze({})


def test_without_torch_a_module_asks_for_the_extra(monkeypatch):
    monkeypatch.delitem(sys.modules, "rfgraph.importers.torch.live")
    monkeypatch.delattr(importers, "torch")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'rfgraph\[torch\]'"):
        importers.live(Shared(), (1, 3, 8, 8))


# Saved files.

BLOCKED = """
    import sys
    sys.modules["torch"] = None
    import rfgraph
    report = rfgraph.analyze(sys.argv[1])
    print(report["layers.7/add"].size, report["layers.7/add"].stride)
    assert not any(name.startswith("torch.") for name in sys.modules)
"""


def test_a_file_is_read_without_torch(tmp_path):
    path = saved(ResNet18(), (1, 3, 64, 64), tmp_path / "resnet.pt2")
    command = [sys.executable, "-c", textwrap.dedent(BLOCKED), path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "(435, 435) (32, 32)"


def packed(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return str(path)


def test_archives_that_are_no_model_are_refused(tmp_path):
    for members, message in [
        ({"a/data.pkl": b""}, "holds no exported graph"),
        ({"a/models/model.json": "{}"}, "not a model saved by torch.export.save"),
        ({"a/models/model.json": "[" * 100_000}, "RecursionError"),
        ({"a/models/model.json": "{}", "a/models/other.json": "{}"}, "holds 2 models"),
    ]:
        with pytest.raises(ModelFileError, match=message):
            rfgraph.load(packed(tmp_path / "a.pt2", members))
    (tmp_path / "text.pt2").write_text("no zip")
    with pytest.raises(ModelFileError, match="not a model saved"):
        rfgraph.load(str(tmp_path / "text.pt2"))


# Constants in a file, and older layouts.


class Indexed(nn.Module):
    """What is read depends on integers that the file holds: constants, and buffers that are saved or are not."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3)
        self.register_buffer("rows", torch.tensor([1, 3, 5], dtype=torch.int32))
        self.register_buffer("columns", torch.tensor([[0, 2], [4, 6]]), persistent=False)
        self.register_buffer("many", torch.arange(100_000))
        self.register_buffer("mask", torch.tensor([True, False]))

    def forward(self, x):
        y = self.conv(x).index_select(2, self.rows)
        y = y[:, :, :, self.columns.flatten()] + self.many[:1] * self.mask[:1]
        return y[:, :, torch.tensor([2, 0])]


INDEXED = (1, 2, 10, 12)


def check_indexed(report):
    assert [report.region(list(report)[-1], place).box for place in ((0, 0), (0, 1), (1, 2), (1, 3))] == [
        ((5, 7), (0, 2)), ((5, 7), (2, 4)), ((1, 3), (4, 6)), ((1, 3), (6, 8)),
    ]  # fmt: skip


def test_small_integers_of_a_file_are_read(tmp_path):
    path = saved(Indexed(), INDEXED, tmp_path / "indexed.pt2")
    check_indexed(rfgraph.analyze(Indexed(), example=INDEXED))
    check_indexed(rfgraph.analyze(path))
    contents = exported.read(path).contents
    assert contents["b_rows"] == [1, 3, 5]
    assert contents["b_columns"] == [[0, 2], [4, 6]]
    assert contents["b_mask"] == [True, False]
    assert set(contents) == {"b_rows", "b_columns", "b_mask", "c_lifted_tensor_0"}


def test_constants_are_read_as_they_lie_in_memory():
    meta = {"dtype": 3, "sizes": [{"as_int": 2}, {"as_int": 3}], "strides": [{"as_int": 1}, {"as_int": 4}]}
    memory = np.arange(100, 120, dtype="<i2").tobytes()
    found = exported._elements(memory, {**meta, "storage_offset": {"as_int": 5}}, "<")
    assert found == torch.arange(100, 120).as_strided((2, 3), (1, 4), 5).tolist()
    one = {"dtype": 12, "sizes": [], "strides": [], "storage_offset": {"as_int": 0}}
    assert exported._elements(b"\1", one, "<") is True


def test_what_a_model_writes_over_is_no_constant(tmp_path):
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("row", torch.tensor([2]))

        def forward(self, x):
            self.row.add_(1)
            return F.max_pool2d(x, 3).index_select(2, self.row)

    graph = rfgraph.load(saved(Counting(), (1, 2, 12, 12), tmp_path / "counting.pt2"))
    assert graph.nodes["max_pool2d"]["op"] == "max_pool"
    assert rfgraph.analyze(graph).culprits("index_select")[0]  # which row is not known


def edited(path, to, change):
    """Copy an archive, with its members as ``change`` returns them."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    return packed(to, change(members))


def member_named(members, end):
    (name,) = [name for name in members if name.endswith(end)]
    return name


def test_constants_that_say_more_than_they_have_are_refused(tmp_path):
    path = saved(Indexed(), INDEXED, tmp_path / "indexed.pt2")

    def change(members, **meta):
        name = member_named(members, "model_weights_config.json")
        config = json.loads(members[name])
        config["config"]["rows"]["tensor_meta"].update(meta)
        return {**members, name: json.dumps(config)}

    for meta in (
        {"storage_offset": {"as_int": 1}},
        {"storage_offset": {"as_int": -1}},
        {"strides": [{"as_int": 2**70}]},
        {"strides": []},
        {"sizes": [{"as_int": 4}]},
    ):
        with pytest.raises(ModelFileError, match="or a damaged one"):
            rfgraph.load(edited(path, tmp_path / "edited.pt2", lambda members, meta=meta: change(members, **meta)))
    for meta in ({"dtype": 7}, {"layout": 1}, {"sizes": [{"as_int": 2**40}]}, {"sizes": [{"as_int": 0}]}):
        rfgraph.load(edited(path, tmp_path / "edited.pt2", lambda members, meta=meta: change(members, **meta)))


def test_bytes_the_other_way_round_are_read(tmp_path):
    path = saved(Indexed(), INDEXED, tmp_path / "indexed.pt2")
    widths = {"rows": 4, "columns": 8, "lifted_tensor_0": 8}

    def change(members):
        root = member_named(members, "byteorder").removesuffix("byteorder")
        members[f"{root}byteorder"] = b"big"
        for what in ("weights", "constants"):
            config = json.loads(members[f"{root}data/{what}/model_{what}_config.json"])["config"]
            for name, entry in config.items():
                path = f"{root}data/{what}/{entry['path_name']}"
                members[path] = np.frombuffer(members[path], f"<i{widths.get(name, 1)}").byteswap().tobytes()
        return members

    check_indexed(rfgraph.analyze(edited(path, tmp_path / "big.pt2", change)))


def older(module, shape, path):
    """Save a module as PyTorch 2.2 to 2.6 did."""
    from torch._export.serde.schema import SCHEMA_VERSION
    from torch._export.serde.serialize import serialize

    made = serialize(torch.export.export(module.eval(), (torch.zeros(shape),), strict=False))
    return packed(
        path,
        {
            "version": ".".join(map(str, SCHEMA_VERSION)),
            "serialized_exported_program.json": made.exported_program,
            "serialized_state_dict.pt": made.state_dict,
            "serialized_constants.pt": made.constants,
            "serialized_example_inputs.pt": made.example_inputs,
        },
    )


def oldest(members):
    """Turn the graph of such a file into that of PyTorch 2.1, as its schema has it."""
    name = "serialized_exported_program.json"
    tree = json.loads(members[name])
    module = tree["graph_module"]
    module["graph"]["tensor_values"] = {k: {"meta": meta} for k, meta in module["graph"]["tensor_values"].items()}
    specs = {"user_input": [], "parameter": [], "buffer": [], "tensor_constant": []}
    for spec in module["signature"]["input_specs"]:
        ((kind, item),) = spec.items()
        specs[kind].append(item)
    module["signature"] = {
        "inputs_to_parameters": {item["arg"]["name"]: item["parameter_name"] for item in specs["parameter"]},
        "inputs_to_buffers": {item["arg"]["name"]: item["buffer_name"] for item in specs["buffer"]},
        "user_inputs": [item["arg"]["as_tensor"]["name"] for item in specs["user_input"]],
        "user_outputs": [
            spec["user_output"]["arg"]["as_tensor"]["name"] for spec in module["signature"]["output_specs"]
        ],
        "buffers_to_mutate": {},
        "backward_signature": None,
    }
    for node in module["graph"]["nodes"]:
        for late in ("is_hop_single_tensor_return", "name"):
            node.pop(late, None)
        for item in node["inputs"]:
            item.pop("kind", None)
    tree["schema_version"] = 1
    tree["equality_constraints"] = []
    return {**members, name: json.dumps(tree)}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_older_layouts_are_read(name, tmp_path):
    path = older(MODULES[name](), ARCHITECTURES[name].shape, tmp_path / "older.pt2")
    assert torch.export.load(path).graph_signature  # it is the layout that PyTorch still takes
    for file in (path, edited(path, tmp_path / "oldest.pt2", oldest)):
        report = rfgraph.analyze(file)
        check_table(name, report)
        assert report[report.outputs[-1]].location.startswith(__file__)


def test_constants_in_a_pickle_stay_there(tmp_path):
    path = older(Indexed(), INDEXED, tmp_path / "older.pt2")
    report = rfgraph.analyze(path)
    assert report["conv"].size == (3, 3)
    assert report.region(list(report)[-1], (0, 0)).box == ((0, 9), (0, 11))


class Decoder(torch.nn.Module):
    """A U-Net of two levels: it resizes to the size of its skips, or pads to it."""

    def __init__(self, pads: bool) -> None:
        super().__init__()
        self.pads = pads
        self.down, self.middle = torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.Conv2d(4, 4, 3, padding=1)
        self.pool, self.up = torch.nn.MaxPool2d(2), torch.nn.Conv2d(8, 4, 3, padding=1)

    def forward(self, x):
        skip = self.down(x)
        y = self.middle(self.pool(skip))
        if self.pads:
            y = torch.nn.functional.interpolate(y, scale_factor=2)
            more, wider = skip.shape[2] - y.shape[2], skip.shape[3] - y.shape[3]
            y = torch.nn.functional.pad(y, [wider // 2, wider - wider // 2, more // 2, more - more // 2])
        else:
            y = torch.nn.functional.interpolate(y, skip.shape[2:])
        return self.up(torch.cat([y, skip], 1))


def test_a_live_module_is_traced_for_inputs_of_any_size():
    module = Decoder(pads=False).eval()
    report = rfgraph.analyze(module, example=(1, 3, 64, 64))
    assert [str(sizes) for sizes in report.input_sizes] == ["any size from 2"] * 2
    assert [str(sizes) for sizes in report.aligned_sizes] == ["multiples of 2, from 2"] * 2
    assert [report.aligned_when(n) for n in (64, 65, 66)] == [True, False, True]
    for n in (2, 3, 9):
        assert module(torch.zeros(1, 3, n, n)).shape == (1, 4, n, n)
    with pytest.raises(RuntimeError):
        module(torch.zeros(1, 3, 1, 1))


def check_least(path, first, least):
    """Check from which size on a saved program runs on square images, once it is loaded."""
    loaded = torch.export.load(path).module()
    for n in range(least, least + 3):
        loaded(torch.zeros(*first, n, n))
    for n in range(1, least):
        with pytest.raises((AssertionError, RuntimeError)):
            loaded(torch.zeros(*first, n, n))


def test_a_file_read_for_a_size_tells_of_any_other_too(tmp_path):
    """A skip that is resized to is as large as the input says: what one size makes of it is not told of all."""
    free = dict.fromkeys((2, 3), torch.export.Dim.AUTO)
    program = torch.export.export(Decoder(pads=False).eval(), (torch.zeros(1, 3, 64, 64),), dynamic_shapes=(free,))
    torch.export.save(program, path := tmp_path / "decoder.pt2")
    check_least(path, (1, 3), 4)  # the exporter takes the map that is half as large for one of several positions
    for size in (None, 64, (20, 33)):
        report = rfgraph.analyze(path, input_size=size)
        assert [str(sizes) for sizes in report.input_sizes] == ["any size from 4"] * 2
        assert [str(sizes) for sizes in report.aligned_sizes] == ["multiples of 2, from 4"] * 2
        assert [report.aligned_when(n) for n in (64, 65, 66)] == [True, False, True]


def test_a_module_that_a_function_of_a_file_returns_is_read_for_any_size(tmp_path, capsys):
    (path := tmp_path / "made.py").write_text(
        "import torch\nfrom torch import nn\n\n\nclass Half(nn.Module):\n    def __init__(self):\n"
        "        super().__init__()\n        self.conv = nn.Conv2d(3, 3, 3, 2, 1)\n\n    def forward(self, x):\n"
        "        return x + nn.functional.interpolate(self.conv(x), x.shape[2:])\n\n\n"
        "def made():\n    return Half().eval(), (1, 3, 32, 32)\n"
    )
    assert cli.main(["sizes", f"{path}:made"]) == 0
    assert "any size from 1" in capsys.readouterr().out
    assert [str(sizes) for sizes in rfgraph.analyze(f"{path}:made").input_sizes] == ["any size from 1"] * 2


def test_a_decoder_that_pads_to_its_skip_is_told_of_at_any_size():
    module = Decoder(pads=True).eval()
    report = rfgraph.analyze(module, example=(1, 3, 64, 64))
    assert report.aligned_when(64) is True
    assert report.aligned_when(65) is True  # one row of zeros comes after
    assert [str(sizes) for sizes in report.input_sizes] == ["any size from 2"] * 2
    assert module(torch.zeros(1, 3, 2, 2)).shape == (1, 4, 2, 2)
    with pytest.raises(RuntimeError):
        module(torch.zeros(1, 3, 1, 1))


class Fitted(nn.Module):
    """Decoders that make maps as large as others with numbers that their code computes."""

    def __init__(self, fit):
        super().__init__()
        self.conv, self.wide = nn.Conv2d(1, 1, 3, padding=1), nn.Conv2d(1, 1, 3)
        self.up, self.fit = nn.ConvTranspose2d(1, 1, 2, 2), fit

    def forward(self, x):
        return self.fit(self, x)


def _padded_evenly(self, x):
    y = self.up(F.max_pool2d(x, 2))
    rows, columns = x.shape[2] - y.shape[2], x.shape[3] - y.shape[3]
    return torch.cat([F.pad(y, [columns // 2, columns - columns // 2, rows // 2, rows - rows // 2]), x], 1)


def _padded_behind(self, x):
    y = self.up(F.max_pool2d(x, 2))
    return x + F.pad(y, [0, x.shape[3] - y.shape[3], 0, x.shape[2] - y.shape[2]])


def _cropped_evenly(self, x):
    skip = self.wide(x)
    y = self.up(self.wide(F.max_pool2d(skip, 2)))
    top, left = (skip.shape[2] - y.shape[2]) // 2, (skip.shape[3] - y.shape[3]) // 2
    return torch.cat([skip[:, :, top : top + y.shape[2], left : left + y.shape[3]], y], 1)


@pytest.mark.parametrize(
    ("fit", "smallest", "guarded", "rule"),
    [
        (_padded_evenly, 2, 4, {"RF003"}),
        (_padded_behind, 2, 4, {"RF003"}),
        (_cropped_evenly, 8, 10, {"RF003"}),
    ],
)
def test_a_map_padded_or_cropped_to_the_size_of_another_is_as_large_at_any_size(fit, smallest, guarded, rule, tmp_path):
    module = Fitted(fit).eval()
    free = dict.fromkeys((2, 3), torch.export.Dim.AUTO)
    program = torch.export.export(module, (torch.zeros(1, 1, 32, 32),), dynamic_shapes=(free,))
    torch.export.save(program, path := tmp_path / "fitted.pt2")
    live = rfgraph.analyze(module, example=(1, 1, 32, 32))
    check_least(path, (1, 1), guarded)  # what is saved has guards, which refuse maps of one position
    for report, least in ((live, smallest), (rfgraph.analyze(path), guarded)):
        assert [str(sizes) for sizes in report.input_sizes] == [f"any size from {least}"] * 2
        assert {finding.rule for finding in report.at_any_size.findings} == rule
    with torch.device("meta"), pytest.raises(RuntimeError):
        Fitted(fit)(torch.zeros(1, 1, smallest - 1, smallest - 1))
    for n in range(smallest, smallest + 5):
        module(torch.zeros(1, 1, n, n))
        anew = rfgraph.analyze(module, example=(1, 1, n, n))
        assert live.aligned_when(n) == anew.aligned


class AsWide(torch.nn.Module):
    """It pools with a window as large as its map: the exporter writes down the number that this is at one size."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(2, 2, 3, 2, 1)

    def forward(self, x):
        y = self.conv(x)
        return y * nn.functional.avg_pool1d(y, y.shape[2])


def test_a_size_that_the_exporter_fixed_is_not_told_of_all():
    assert rfgraph.analyze(AsWide().eval(), example=(1, 2, 48)).input_sizes == (None,)


class Closed(torch.nn.Module):
    """It resizes to a size of its own, beside a map of three positions: the exporter closes the size of its input."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(2, 2, 1)

    def forward(self, x):
        y = self.conv(x)
        y = F.interpolate(y, size=y.shape[2:], mode="linear")
        return F.adaptive_avg_pool1d(y, 3) + y


def test_a_size_that_the_exporter_closed_is_not_taken_for_any_other():
    with torch.device("meta"):
        assert [n for n in range(1, 9) if runs(Closed(), n)] == [1, 3]
    assert rfgraph.analyze(Closed().eval(), example=(1, 2, 3)).input_sizes == (None,)


def runs(module, n):
    try:
        module(torch.zeros(1, 2, n))
    except (RuntimeError, AssertionError):
        return False
    return True


class Asking(nn.Module):
    """Its code asks how large its input is."""

    def __init__(self, ask):
        super().__init__()
        self.conv, self.pool, self.ask = nn.Conv1d(2, 2, 3, 2, 1), nn.AvgPool1d(2), ask

    def forward(self, x):
        return self.ask(self, x, x.shape[2])


def _halved_while_large(self, x, n):
    while x.shape[2] > 8:
        x = self.conv(x)
    return self.conv(x)


def _asserts(self, x, n):
    assert n >= 6, "too small"
    return self.conv(x)


def _checks(self, x, n):
    torch._check(n > 5, lambda: "too small")
    return self.conv(x)


ASKING = {
    "pools what is large": lambda self, x, n: self.conv(self.pool(x) if n > 9 else x),
    "pads what is odd": lambda self, x, n: (lambda y: self.conv(y) + self.pool(y))(F.pad(x, (0, 1)) if n % 2 else x),
    "a window no larger than its map": lambda self, x, n: F.avg_pool1d(x, min(n, 7)),
    "a window of the larger of two": lambda self, x, n: F.avg_pool1d(x, max(n // 4, 3)),
    "one position is left as it is": lambda self, x, n: x if n == 1 else self.conv(self.pool(x)),
    "halved while it is large": _halved_while_large,
    "asserts": _asserts,
    "checks": _checks,
}


@pytest.mark.parametrize("ask", ASKING)
@pytest.mark.parametrize("size", [8, 16])
def test_what_code_asks_of_sizes_is_never_told_of_other_sizes(ask, size):
    """The trace is of one answer: where others are possible no size is claimed, but that the model refuses them."""
    module = Asking(ASKING[ask]).eval()
    (sizes,) = rfgraph.analyze(module, example=(1, 2, size)).input_sizes
    assert sizes is None or [n for n in range(1, 40) if n in sizes] == [n for n in range(1, 40) if runs(module, n)]
    assert (sizes is None) == (ask != "asserts")


def test_a_norm_that_refuses_a_single_position_is_not_given_one():
    module = nn.Sequential(nn.Conv2d(1, 1, 3, 4), nn.InstanceNorm2d(1)).eval()
    for sizes in rfgraph.analyze(module, example=(1, 1, 32, 32)).input_sizes:
        assert str(sizes) == "any size from 7"
    module(torch.zeros(1, 1, 7, 7))
    with pytest.raises(ValueError, match="spatial element"):
        module(torch.zeros(1, 1, 6, 6))


class SomeOf(nn.Module):
    def __init__(self, first, last):
        super().__init__()
        self.conv, self.pool, self.first, self.last = nn.Conv1d(2, 2, 3, 2, 1), nn.AvgPool1d(2), first, last

    def forward(self, x):
        return torch.cat([self.conv(x), self.pool(x)], 1)[:, self.first : self.last]


@pytest.mark.parametrize("channels", [(0, 2), (0, 1), (2, 4), (1, 3)])
def test_maps_of_which_no_channel_is_taken_have_to_fit_all_the_same(channels):
    (sizes,) = rfgraph.analyze(SomeOf(*channels).eval(), example=(1, 2, 16)).input_sizes
    assert str(sizes) == "multiples of 2, from 2"
    assert [n for n in range(1, 9) if runs(SomeOf(*channels), n)] == [2, 4, 6, 8]


class Attending(nn.Module):
    """Attention over all positions, with the path beside it inside the module, as users write it."""

    def __init__(self):
        super().__init__()
        self.qkv, self.proj = nn.Linear(8, 24), nn.Linear(8, 8)

    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, -1)
        return x + self.proj(F.scaled_dot_product_attention(q, k, v))


class Mixer(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.attention, self.head = nn.Conv2d(3, 8, 3, 2, 1), Attending(), nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x):
        y = self.stem(x)
        tokens = self.attention(y.flatten(2).transpose(1, 2))
        return self.head(tokens.transpose(1, 2).reshape(y.shape))


@pytest.mark.parametrize("how", ["identity", "cut"])
@pytest.mark.parametrize("pattern", ["attention", "scaled_dot_product_attention", "atten*"])
def test_treatments_fit_modules_and_the_operators_of_the_model(pattern, how):
    plain = rfgraph.analyze(Mixer(), example=(1, 3, 32, 32))
    report = rfgraph.analyze(Mixer(), example=(1, 3, 32, 32), treat={pattern: how})
    assert plain["head"].is_global == (True, True)
    assert report["head"].is_global == (False, False)
    assert report["head"].field == plain["head"].field


@pytest.mark.parametrize(("antialias", "coefficient"), [(False, None), (True, -0.5)])
def test_the_coefficient_of_a_cubic_resize_is_kept(antialias, coefficient):
    import rfgraph

    class Small(torch.nn.Module):
        def forward(self, x):
            size = (8, 8)
            return torch.nn.functional.interpolate(x, size, mode="bicubic", antialias=antialias)

    graph = rfgraph.load(Small(), example=(1, 3, 16, 16))
    assert [data.get("coefficient") for _, data in graph.nodes(data=True) if data["op"] == "resize"] == [coefficient]


CUTS = {
    "narrowed": lambda y: y.narrow(2, 3, 4),
    "narrowed from the end": lambda y: y.narrow(2, -6, 3),
    "sliced": lambda y: y[:, :, 3:9],
    "sliced from the end": lambda y: y[:, :, -9:-2],
    "every third": lambda y: y[:, :, 1::3],
    "differences": lambda y: y[:, :, 1:] - y[:, :, :-1],
    "narrowed beside": lambda y: y.narrow(2, 0, 5) + y[:, :, :5],
}


@pytest.mark.parametrize("kind", CUTS)
def test_a_cut_works_at_the_sizes_at_which_it_runs(kind):
    class Cut(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Conv1d(1, 1, 3, padding=1), nn.Conv1d(1, 1, 1)

        def forward(self, x):
            return self.last(CUTS[kind](self.first(x)))

    def runs(n):
        try:
            return Cut()(torch.ones(1, 1, n)).shape[2] > 0
        except (RuntimeError, IndexError):
            return False

    (sizes,) = rfgraph.analyze(Cut(), example=(1, 1, 16)).input_sizes
    assert [n for n in range(1, 40) if n in sizes] == [n for n in range(1, 40) if runs(n)]


class OfNothing(nn.Module):
    """Detectors that find nothing compute with tensors of no elements."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 3)

    def forward(self, x):
        nothing = torch.cat([torch.zeros(0), torch.zeros(0)])
        rows = [row.sum() for row in torch.zeros(0, 2).unbind(0)]
        return self.conv(x) + nothing.sum() + sum(rows)


def test_tensors_of_no_elements_do_not_stop_the_reading():
    report = rfgraph.analyze(OfNothing(), 8)
    assert report["conv"].size == (3, 3)
    assert not [layer for layer in report.values() if layer.op == "unknown"]
