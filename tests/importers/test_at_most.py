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


BEFORE = torch.ones(12, 12).tril().bool()

#: Attention under a mask that is constant, as people write it.
MASKS = {
    "filled": lambda q, mask: (q @ q.mT).masked_fill(~mask, -1e9).softmax(-1) @ q,
    "made of ones": lambda q, mask: (q @ q.mT).masked_fill(torch.ones(12, 12).triu(1).bool(), -1e9).softmax(-1) @ q,
    "chosen": lambda q, mask: torch.where(mask, q @ q.mT, torch.tensor(-1e9)).softmax(-1) @ q,
    "added": lambda q, mask: (q @ q.mT + torch.zeros(12, 12).masked_fill(~mask, -1e9)).softmax(-1) @ q,
    "times": lambda q, mask: ((q @ q.mT).exp() * mask) @ q,
    "a triangle": lambda q, mask: (q @ q.mT).tril() @ q,
    "given": lambda q, mask: functional.scaled_dot_product_attention(q, q, q, attn_mask=mask),
    "of fewer keys": lambda q, mask: functional.scaled_dot_product_attention(q, q[:, :7], q[:, :7], is_causal=True),
    "added to a product": lambda q, mask: torch.baddbmm(mask.to(q) * 9 - 9, q, q.mT).softmax(-1) @ q,
}


class Masked(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind, self.conv = kind, nn.Conv1d(3, 3, 3, padding=1)
        self.register_buffer("mask", BEFORE)

    def forward(self, x):
        return MASKS[self.kind](self.conv(x).mT, self.mask).mT


@pytest.mark.parametrize("trace", ["run", "export"])
@pytest.mark.parametrize("kind", MASKS)
def test_attention_under_a_constant_mask_reads_no_more_than_it_shows(kind, trace):
    report = rfgraph.analyze(Masked(kind), example=(1, 3, 12), trace=trace)
    (layer,) = report.outputs
    status = "bound" if kind in ("of fewer keys", "added to a product") else "exact"  # -9 is no number that hides
    assert (report[layer].status, report.regions(layer).status) == (status, status)
    for y in range(12):
        ((first, last),) = report.region(layer, (y,)).box
        assert first == 0
        assert last == min(y + 1, 11) if status == "exact" else last >= min(y + 1, 11 if kind[0] == "a" else 7)


class Along(nn.Module):
    """Positions multiplied with a matrix: learned, fixed, or made in the run."""

    def __init__(self, kind):
        super().__init__()
        self.kind, triangle = kind, torch.tril(torch.ones(12, 12))
        self.conv = nn.Conv1d(2, 4, 1)
        self.learned = nn.Parameter(torch.rand(12, 12))
        self.register_buffer("fixed", triangle)

    def forward(self, x):
        made = torch.tril(torch.ones(12, 12, dtype=x.dtype))
        return self.conv(x) @ {"learned": self.learned, "fixed": self.fixed, "made": made}[self.kind]


@pytest.mark.parametrize("trace", ["run", "export"])
@pytest.mark.parametrize(("kind", "first"), [("learned", 0), ("fixed", 3), ("made", 3)])
def test_a_product_with_fixed_numbers_may_leave_out_positions(kind, first, trace):
    model = Along(kind).double()
    x = torch.randn(1, 2, 12, dtype=torch.double, requires_grad=True)
    (gradient,) = torch.autograd.grad(model(x)[0, :, 3].sum(), x)
    assert np.argwhere((gradient[0] != 0).any(0).numpy()).min() == first
    report = rfgraph.analyze(model, example=x.detach(), trace=trace)
    region = report.region(report.outputs[0], 3)
    assert region.box == ((first, 11),)  # the numbers of what is fixed or made are looked at
    assert region.status == "exact"
