"""Modules that read less than anything says of them in windows: a bound, which holds what gradients read."""

from __future__ import annotations

import numpy as np
import pytest

import rfgraph

torch = pytest.importorskip("torch")
nn, functional = torch.nn, torch.nn.functional


class Refolded(nn.Module):
    """Patches cut out and put back where they were: each pixel reads itself."""

    def forward(self, x):
        return functional.fold(functional.unfold(x, 3, padding=1), x.shape[2:], 3, padding=1)


class Unpooled(nn.Module):
    """Maxima put back: most positions read nothing, the others the window that they are the maximum of."""

    def __init__(self):
        super().__init__()
        self.pool, self.back = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)

    def forward(self, x):
        return self.back(*self.pool(x))


class Grid(nn.Module):
    """Attention among positions a fixed distance apart, as MaxViT has it."""

    def forward(self, x):
        n, c, h, w = x.shape
        t = x.reshape(n, c, 4, h // 4, 4, w // 4).permute(0, 3, 5, 2, 4, 1).reshape(n, -1, 16, c)
        t = (t @ t.transpose(-1, -2)).softmax(-1) @ t
        return t.reshape(n, h // 4, w // 4, 4, 4, c).permute(0, 5, 3, 1, 4, 2).reshape(n, c, h, w)


class Sampled(nn.Module):
    """What the input itself says is read."""

    def forward(self, x):
        return functional.grid_sample(x, x[:, :2].permute(0, 2, 3, 1), align_corners=False)


class InBlocks(nn.Module):
    """A convolution inside blocks, each padded for itself."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x):
        n, c, h, w = x.shape
        t = x.reshape(n, c, h // 4, 4, w // 4, 4).permute(0, 2, 4, 1, 3, 5).reshape(-1, c, 4, 4)
        t = self.conv(t)
        return t.reshape(n, h // 4, w // 4, c, 4, 4).permute(0, 3, 1, 4, 2, 5).reshape(n, c, h, w)


@pytest.mark.parametrize("middle", [Refolded, Unpooled, Grid, Sampled, InBlocks])
def test_what_reads_at_most_its_window_is_a_bound_that_holds_the_gradient(middle):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), middle(), nn.Conv2d(4, 2, 1)).double()
    x = torch.randn(1, 3, 16, 16, dtype=torch.double, requires_grad=True)
    report = rfgraph.analyze(model, example=x.detach())
    assert report["2"].status == "bound"
    assert report.regions("2").status == "bound"
    made = model(x)
    for index in [(0, 0), (5, 6), (15, 8)]:
        (gradient,) = torch.autograd.grad(made[0, :, *index].sum(), x, retain_graph=True)
        read = np.argwhere((gradient[0] != 0).any(0).numpy())
        region = report.region("2", index)
        assert region.status == "bound"
        for axis, (first, last) in enumerate(region.box or ()):
            assert not len(read) or (first <= read[:, axis].min() and read[:, axis].max() <= last)
