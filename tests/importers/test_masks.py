"""Masks of attention and of weights, in the ways that people write them, held against perturbation of the model."""

from __future__ import annotations

import numpy as np
import pytest
from test_directions import read_of

import rfgraph

torch = pytest.importorskip("torch")
nn = torch.nn

STEPS = 7
LOW = float("-inf")


class Attention(nn.Module):
    """Attention over time whose scores are changed by ``mask`` before the softmax."""

    def __init__(self, mask):
        super().__init__()
        self.mask, self.stem = mask, nn.Conv1d(4, 4, 1)
        self.query, self.key, self.value = (nn.Linear(4, 4) for _ in range(3))
        self.register_buffer("triangle", torch.tril(torch.ones(16, 16)))
        self.register_buffer("later", torch.full((16, 16), LOW).triu(1))

    def forward(self, x):
        x = self.stem(x).transpose(1, 2)
        scores = self.query(x) @ self.key(x).transpose(1, 2)
        return (self.mask(self, scores).softmax(-1) @ self.value(x)).transpose(1, 2)


class Mixed(nn.Module):
    """Positions that are mixed by a matrix."""

    def __init__(self, matrix):
        super().__init__()
        self.matrix, self.stem = matrix, nn.Conv1d(4, 4, 1)
        self.weight = nn.Parameter(torch.rand(STEPS, STEPS) + 1)

    def forward(self, x):
        return self.stem(x) @ self.matrix(self).to(x)


def steps():
    return torch.arange(STEPS)


CAUSAL = {
    "a buffer of numbers": lambda m, a: a.masked_fill(m.triangle[:STEPS, :STEPS] == 0, LOW),
    "ones that are chosen": lambda m, a: torch.where(torch.tril(torch.ones(STEPS, STEPS)) > 0, a, -1e30),
    "a number beside": lambda m, a: torch.where(torch.triu(torch.ones(STEPS, STEPS), 1) == 1, LOW, a),
    "added": lambda m, a: a + m.later[:STEPS, :STEPS],
    "made and added": lambda m, a: a + torch.triu(torch.full((STEPS, STEPS), LOW), 1),
    "one less": lambda m, a: a + (1 - m.triangle[:STEPS, :STEPS]) * -1e9,
    "one more": lambda m, a: a.masked_fill(m.triangle[:STEPS, :STEPS] + 1 < 1.5, LOW),
    "half": lambda m, a: a.masked_fill(torch.sub(m.triangle[:STEPS, :STEPS], 1, alpha=0.5) < 0, LOW),
    "steps": lambda m, a: a.masked_fill(steps() / 2 > steps()[:, None] / 2, LOW),
    "clamped": lambda m, a: a.masked_fill((steps() - steps()[:, None]).clamp(0, 1) * 0.5 > 0, LOW),
    "least": lambda m, a: a.masked_fill(not_causal(), torch.finfo(torch.float32).min),
}


def not_causal():
    return torch.logical_not(torch.ones(STEPS, STEPS, dtype=torch.bool).tril())


def judged(report, reads):
    """Return the status of the regions of the output, which are held against what is read."""
    (output,) = report.outputs
    regions = report.regions(output)
    boxes = [regions.box((y,)) for y in range(STEPS)]
    truth = [((min(read), max(read)),) if read else None for read in reads]
    if regions.status == "exact":
        assert boxes == truth
    for box, true in zip(boxes, truth, strict=True):
        assert true is None or (box is not None and box[0][0] <= true[0][0] and true[0][1] <= box[0][1])
    return regions.status


def run_of(model):
    def run(x):
        with torch.no_grad():
            return model(torch.from_numpy(x)).numpy()

    return run


@pytest.mark.parametrize("name", sorted(CAUSAL))
def test_a_mask_of_all_that_is_later_leaves_the_past(name, tmp_path):
    model = Attention(CAUSAL[name]).eval()
    shape = (1, 4, STEPS)
    reads = read_of(run_of(model), shape, 2)
    torch.export.save(torch.export.export(model, (torch.zeros(shape),), strict=False), tmp_path / "model.pt2")
    for report in (rfgraph.analyze(model, example=shape), rfgraph.analyze(tmp_path / "model.pt2")):
        assert judged(report, reads) == "exact"
        assert report[report.outputs[0]].side == ("past",)


def test_products_of_keys_with_queries_are_turned():
    class KeysFirst(Attention):
        def forward(self, x):
            x = self.stem(x).transpose(1, 2)
            scores = self.key(x) @ self.query(x).transpose(1, 2)
            weights = scores.masked_fill(self.triangle[:STEPS, :STEPS].T == 0, LOW).softmax(-2)
            return (weights.transpose(1, 2) @ self.value(x)).transpose(1, 2)

    model, shape = KeysFirst(None).eval(), (1, 4, STEPS)
    report = rfgraph.analyze(model, example=shape)
    assert judged(report, read_of(run_of(model), shape, 2)) == "exact"
    assert report[report.outputs[0]].side == ("past",)


@pytest.mark.parametrize("sides", ["keys", "queries"])
@pytest.mark.parametrize("squares", [False, True])
def test_rows_of_a_product_are_those_that_its_sum_leaves(sides, squares):
    class Self(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(4, 4, 3, padding=1) if squares else nn.Conv1d(4, 4, 3, padding=1)
            self.query, self.key, self.value = (nn.Linear(4, 4) for _ in range(3))

        def forward(self, x):
            x = self.stem(x)
            t = x.flatten(2).transpose(1, 2)
            q, k = self.query(t), self.key(t)
            if sides == "keys":
                weights = torch.einsum("bkd,bqd->bkq", k, q).softmax(1)
                made = torch.einsum("bkq,bkd->bqd", weights, self.value(t))
            else:
                made = (q @ k.transpose(1, 2)).softmax(-1) @ self.value(t)
            return made.transpose(1, 2).reshape(x.shape)

    shape = (1, 4, 3, 5) if squares else (1, 4, 5)
    report = rfgraph.analyze(Self().eval(), example=shape)
    (output,) = report.outputs
    assert report[output].map_size == shape[2:]
    regions = report.regions(output)
    assert regions.status == "exact"
    assert all(regions.box(y) == tuple((0, n - 1) for n in shape[2:]) for y in np.ndindex(shape[2:]))


@pytest.mark.parametrize("merged", [False, True])
def test_rows_of_a_product_may_be_squares_of_pixels(merged):
    class Pixels(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(3, 4, 3, padding=1)

        def forward(self, x):
            y = self.stem(x)
            scores = torch.einsum("bcij,bchw->bijhw", y, y).exp()
            if merged:  # the pixels of keys, and later those of queries, made one dimension
                weights = scores.flatten(1, 2).softmax(1).flatten(2)
                return (y.flatten(2) @ weights).unflatten(2, y.shape[2:])
            return torch.einsum("bijhw,bcij->bchw", scores / scores.sum((1, 2), keepdim=True), y)

    report = rfgraph.analyze(Pixels().eval(), example=(1, 3, 3, 5))
    (output,) = report.outputs
    assert report[output].map_size == (3, 5)
    assert report[output].is_global == (True, True)
    assert report.region(output, (0, 0)).box == ((0, 2), (0, 4))


def test_what_a_recurrence_makes_of_columns_is_exact():
    """Text in images: the columns of a map are the steps of a recurrence, and its rows are channels."""

    class Columns(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.cell = nn.Conv2d(3, 2, 3, padding=1), nn.LSTM(10, 4, batch_first=True)

        def forward(self, x):
            return self.cell(self.stem(x).flatten(1, 2).transpose(1, 2))[0].transpose(1, 2)

    report = rfgraph.analyze(Columns().eval(), example=(1, 3, 5, 7))
    (output,) = report.outputs
    assert report[output].status == "exact"
    assert [report.region(output, (0, t)).box[1] for t in range(7)] == [(0, min(t + 1, 6)) for t in range(7)]


@pytest.mark.parametrize("low", [-1e30, -1e9])
def test_a_row_that_a_mask_hides_wholly_reads_all(low):
    """A softmax over numbers that are all as low weighs all alike."""
    model = Attention(lambda m, a: a.masked_fill(torch.ones(STEPS, STEPS).tril(-1) == 0, low)).eval()
    shape = (1, 4, STEPS)
    assert judged(rfgraph.analyze(model, example=shape), read_of(run_of(model), shape, 2)) == "bound"


@pytest.mark.parametrize(
    ("matrix", "side"),
    [
        (lambda m: torch.triu(torch.ones(STEPS, STEPS)), "past"),
        (lambda m: torch.triu(torch.ones(STEPS, STEPS)) + 1, "both"),
        (lambda m: torch.triu(torch.ones(STEPS, STEPS)).sub(2), "both"),
        (lambda m: 1 - torch.triu(torch.ones(STEPS, STEPS), 1), "future"),
        (lambda m: torch.maximum(torch.triu(torch.ones(STEPS, STEPS)), torch.tensor(0.5)), "both"),
        (lambda m: torch.triu(torch.ones(STEPS, STEPS)).clamp(min=0.5), "both"),
        (lambda m: m.weight * torch.triu(torch.ones(STEPS, STEPS)), "past"),
        (lambda m: m.weight * (1 - torch.tril(torch.ones(STEPS, STEPS), -1)), "past"),
        (lambda m: torch.triu(m.weight), "past"),
        (lambda m: torch.sin((steps() - steps()[:, None]).clamp(min=0) * 0.3), "both"),
        (lambda m: torch.pow((steps() - steps()[:, None]).clamp(min=-1) + 1.0, 2), "past"),
    ],
)
def test_numbers_beside_constants_count(matrix, side):
    model = Mixed(matrix).eval()
    shape = (1, 4, STEPS)
    report = rfgraph.analyze(model, example=shape)
    status = judged(report, read_of(run_of(model), shape, 2))
    assert report[report.outputs[0]].side == (side,)
    assert status == "exact" or side == "both"


def test_a_mask_of_a_kernel_that_is_learned_leaves_some_taps():
    """Masked convolutions of PixelCNN: a plain mask over the taps, times learned weights of all channels."""

    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.rand(2, 2, 3) + 1)

        def forward(self, x):
            return nn.functional.conv1d(x, self.weight * torch.tensor([1.0, 1.0, 0.0]), padding=1)

    model, shape = Masked().eval(), (1, 2, STEPS)
    assert judged(rfgraph.analyze(model, example=shape), read_of(run_of(model), shape, 2)) == "bound"


def test_places_that_are_written_among_constants_are_not_known():
    def mask(m, a):
        rows, columns = torch.tril_indices(STEPS, STEPS)
        return a.masked_fill(torch.zeros(STEPS, STEPS).index_put((rows, columns), torch.tensor(1.0)) == 0, LOW)

    model, shape = Attention(mask).eval(), (1, 4, STEPS)
    judged(rfgraph.analyze(model, example=shape), read_of(run_of(model), shape, 2))


def test_steps_that_a_recurrence_reads_last_first_are_not_the_past():
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.cell = nn.Conv1d(4, 4, 1), nn.LSTM(4, 4, batch_first=True)

        def forward(self, x):
            y = self.stem(x).transpose(1, 2)
            return self.cell(y.flip(1))[0].flip(1).transpose(1, 2)

    model, shape = Backwards().eval(), (1, 4, STEPS)
    report = rfgraph.analyze(model, example=shape)
    judged(report, read_of(run_of(model), shape, 2))
    layer = report[report.outputs[0]]
    assert (layer.side, layer.status) == (("both",), "bound")
