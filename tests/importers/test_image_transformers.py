"""Image transformers: patches that a product sums, axes that the user states, and small models against gradients.

With positive weights a pixel has a gradient just if the feature reads it; the models are run by torch in float64.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import rfgraph
from rfgraph import cli
from rfgraph.errors import ModelFileError
from rfgraph.importers import program as p
from rfgraph.importers.lowering.lower import lower
from rfgraph.importers.program.builder import Builder

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional
torch.set_num_threads(1)


class Patches(nn.Module):
    """Patches of 4x4 pixels as ``einops`` cuts them, and a product with each."""

    def __init__(self, order=(0, 2, 4, 3, 5, 1)):
        super().__init__()
        self.order, self.embed, self.mix = order, nn.Linear(48, 6), nn.Linear(6, 6)

    def forward(self, x):
        b, c, h, w = x.shape
        cut = x.view(b, c, h // 4, 4, w // 4, 4).permute(self.order).reshape(b, h * w // 16, 48)
        return self.mix(F.gelu(self.embed(cut)))


class Frames(nn.Module):
    """Frames of a waveform by reshape, and a product with each."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(10, 6)

    def forward(self, x):
        return self.embed(x.view(x.shape[0], -1, 10))


class Words(nn.Module):
    """Tokens that attend to each other: nothing is cut, nothing slides."""

    def __init__(self):
        super().__init__()
        self.value = nn.Linear(8, 8)

    def forward(self, x):
        return F.scaled_dot_product_attention(x, x, self.value(x))


@pytest.mark.parametrize("order", [(0, 2, 4, 3, 5, 1), (0, 2, 4, 1, 3, 5)])
def test_a_product_with_a_patch_is_a_window_as_large_as_its_stride(order):
    report = rfgraph.analyze(Patches(order).eval(), example=(1, 3, 16, 24))
    layer = report["embed"]
    assert (layer.op, layer.size, layer.stride, layer.padding) == ("conv", (4, 4), (4, 4), (0, 0))
    assert (layer.map_size, layer.status) == ((4, 6), "exact")
    assert layer.parameters == 48 * 6 + 6
    assert layer.macs == 4 * 6 * 48 * 6
    assert report["mix"].size == (4, 4)


def test_frames_cut_by_a_reshape_are_windows_of_the_waveform():
    layer = rfgraph.analyze(Frames(), example=(2, 80))["embed"]
    assert (layer.size, layer.stride, layer.map_size) == ((10,), (10,), (8,))


def test_groups_of_channels_beside_windows_are_no_axis():
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.embed = nn.Conv2d(4, 4, 3), nn.Linear(3, 2)

        def forward(self, x):
            each = self.embed(x.view(1, 2, 3, 8, 8).permute(0, 3, 4, 1, 2))
            return self.conv(each.flatten(3).permute(0, 3, 1, 2))

    report = rfgraph.analyze(Pair(), example=(1, 6, 8, 8))
    assert (report["conv"].size, report["conv"].map_size) == ((3, 3), (6, 6))


def test_the_user_states_axes_where_nothing_tells():
    with pytest.raises(ModelFileError, match=r"Words: .* nothing tells which dimensions .* axes=\{'x': '\.\.T'\}"):
        rfgraph.analyze(Words(), example=(1, 5, 8))
    for axes in ({"x": ".T."}, ".T."):
        report = rfgraph.analyze(Words(), example=(1, 5, 8), axes=axes)
        assert report["value"].size == (1,)
        assert report["value"].map_size == (5,)
        assert report[list(report)[-1]].is_global == (True,)
        assert dict(rfgraph.load(Words(), example=(1, 5, 8), axes=axes).nodes["x"])["size"] == [5]
        assert rfgraph.trace(Words(), example=(1, 5, 8), axes=axes)["x"].is_global == (True,)


def test_stated_axes_go_before_those_that_are_found():
    class Columns(nn.Module):
        def forward(self, x):
            return F.avg_pool1d(x.flatten(0, 2), 3).unflatten(0, (1, 3, 4))

    report = rfgraph.analyze(Columns(), example=(1, 3, 4, 9), axes={"x": "..YX"})
    layer = report[list(report)[-1]]
    assert (layer.size, layer.stride, layer.map_size) == ((1, 3), (1, 3), (4, 3))


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"image": "..HW"}, "axes: Patches has no input 'image'; it has 'x'"),
        ("..H", r"axes '\.\.H' of input 'x' has 3 dimensions, but its shape is \[1, 3, 16, 16\]"),
        ("..HH", r"axes '\.\.HH' of input 'x' has 'H' twice; each axis is one dimension"),
        ("..h2", r"axes '\.\.h2' of input 'x' is not a letter or a dot for each dimension"),
        ("....", r"axes '\.\.\.\.' names no axis"),
    ],
)
def test_axes_that_do_not_fit(axes, message):
    with pytest.raises(ModelFileError, match=message):
        rfgraph.analyze(Patches(), example=(1, 3, 16, 16), axes=axes)


def test_the_axes_of_a_network_are_its_own():
    with pytest.raises(ModelFileError, match="a network states its own"):
        rfgraph.analyze("zoo:vgg_16", axes="..HW")


def test_the_same_letter_is_the_same_axis_of_every_input():
    build = Builder("two")
    image, line = build.input("image", (1, 3, 4, 6)), build.input("line", (3, 6))
    build.at("sum", "Add")
    wide = build(p.Unsqueeze(dims=(0, 2)), line)
    made = build(p.Pointwise(function="add"), image, wide)
    graph = lower(build.program([made]), axes={"image": "..HW", "line": ".W"})
    assert graph.nodes["image"]["size"] == [4, 6]
    assert graph.nodes["line"]["size"] == [1, 6]
    assert rfgraph.analyze(graph, source="line")[made.name].is_global == (True, False)


def test_the_command_line_states_axes(tmp_path, capsys):
    path = tmp_path / "words.pt2"
    torch.export.save(torch.export.export(Words().eval(), (torch.zeros(1, 5, 8),)), path)
    assert cli.main(["summary", str(path)]) == 2
    assert "nothing tells" in capsys.readouterr().err
    assert cli.main(["summary", str(path), "--axes", "x: .T.", "--format", "csv"]) == 0
    assert "value" in capsys.readouterr().out
    assert cli.main(["summary", str(path), "--axes", ".T."]) == 0
    assert cli.main(["summary", str(path), "--axes", ".T.", "--axes", "x: .T."]) == 2
    assert "--axes is given several times" in capsys.readouterr().err


# Small models of families, against gradients.


def windows(x, size):
    b, h, w, c = x.shape
    return x.view(b, h // size, size, w // size, size, c).transpose(2, 3).reshape(-1, size * size, c)


def joined(tokens, size, h, w):
    return tokens.view(1, h // size, w // size, size, size, -1).transpose(2, 3).reshape(1, h, w, -1)


def attention(q, k, v):
    return torch.softmax(q @ k.transpose(-2, -1) * 0.1, -1) @ v


class Shifted(nn.Module):
    """Swin: attention in windows, and in windows that are shifted by half of one, with a mask at the borders."""

    def __init__(self):
        super().__init__()
        self.stem, self.qkv, self.out = nn.Conv2d(1, 3, 2, 2), nn.Linear(3, 9), nn.Linear(3, 3)

    def block(self, x, shift):
        h, w = x.shape[1:3]
        moved = x.roll((-shift, -shift), (1, 2)) if shift else x
        q, k, v = self.qkv(windows(moved, 4)).chunk(3, -1)
        made = joined(self.out(attention(q, k, v)), 4, h, w)
        return x + (made.roll((shift, shift), (1, 2)) if shift else made)

    def forward(self, x):
        x = self.stem(x).permute(0, 2, 3, 1)
        return self.block(self.block(x, 0), 2)


class Cascaded(nn.Module):
    """EfficientViT: 1x1 and depthwise convolutions of windows, as if each were an image."""

    def __init__(self):
        super().__init__()
        self.stem, self.wide, self.deep = nn.Conv2d(1, 3, 2, 2), nn.Conv2d(3, 9, 1), nn.Conv2d(3, 3, 3, 1, 1, groups=3)

    def forward(self, x):
        x = self.stem(x).permute(0, 2, 3, 1)
        h, w = x.shape[1:3]
        each = windows(x, 4).transpose(1, 2).unflatten(2, (4, 4))
        q, k, v = self.wide(each).chunk(3, 1)
        q, k, v = (y.flatten(2).transpose(1, 2) for y in (self.deep(q), k, v))
        return x + joined(attention(q, k, v), 4, h, w)


class Pooling(nn.Module):
    """Hiera: queries are pooled inside their window, so that a window comes out smaller."""

    def __init__(self):
        super().__init__()
        self.stem, self.qkv = nn.Conv2d(1, 3, 3, 2, 1), nn.Linear(3, 9)

    def forward(self, x):
        x = self.stem(x).permute(0, 2, 3, 1)
        h, w = x.shape[1:3]
        q, k, v = self.qkv(windows(x, 4)).chunk(3, -1)
        q = F.avg_pool2d(q.transpose(1, 2).unflatten(2, (4, 4)), 2).flatten(2).transpose(1, 2)
        return joined(attention(q, k, v), 2, h // 2, w // 2)


class Shared(nn.Module):
    """GCViT: every window asks with the queries of the whole map."""

    def __init__(self):
        super().__init__()
        self.stem, self.kv = nn.Conv2d(1, 3, 2, 2), nn.Linear(3, 6)

    def forward(self, x):
        x = self.stem(x).permute(0, 2, 3, 1)
        h, w = x.shape[1:3]
        q = F.adaptive_avg_pool2d(x.permute(0, 3, 1, 2), 4).flatten(2).transpose(1, 2)
        k, v = self.kv(windows(x, 4)).chunk(2, -1)
        return x + joined(attention(q.repeat_interleave(k.shape[0], 0), k, v), 4, h, w)


class Haloed(nn.Module):
    """HaloNet: every window reads what lies around it as well."""

    def __init__(self):
        super().__init__()
        self.stem, self.q, self.kv = nn.Conv2d(1, 3, 3, 2, 1), nn.Conv2d(3, 3, 1), nn.Conv2d(3, 6, 1)

    def forward(self, x):
        x = self.stem(x)
        h, w = x.shape[2:]
        q = windows(self.q(x).permute(0, 2, 3, 1), 4)
        around = F.pad(self.kv(x), (1, 1, 1, 1)).unfold(2, 6, 4).unfold(3, 6, 4)
        k, v = around.permute(0, 2, 3, 4, 5, 1).reshape(-1, 36, 6).chunk(2, -1)
        return joined(attention(q, k, v), 4, h, w)


class Patched(nn.Module):
    """A stem of patches, then attention in windows of them."""

    def __init__(self):
        super().__init__()
        self.embed, self.qkv = nn.Linear(4, 3), nn.Linear(3, 9)

    def forward(self, x):
        b, _, h, w = x.shape
        x = self.embed(x.view(b, h // 2, 2, w // 2, 2).transpose(2, 3).reshape(b, h // 2, w // 2, 4))
        q, k, v = self.qkv(windows(x, 4)).chunk(3, -1)
        return x + joined(attention(q, k, v), 4, h // 2, w // 2)


#: Each family, whether its regions are the boxes of what is read, or only hold them, and where its axes come out.
FAMILIES = [(Shifted, False), (Cascaded, True), (Pooling, True), (Shared, False), (Haloed, True), (Patched, True)]


@pytest.mark.parametrize(("family", "exact"), FAMILIES, ids=lambda value: getattr(value, "__name__", ""))
def test_gradients_of_a_small_model_reach_its_regions(family, exact):
    torch.manual_seed(0)
    model, shape = family().double().eval(), (1, 1, 16, 32)
    for parameter in model.parameters():
        nn.init.uniform_(parameter, 0.1, 0.9)
    report = rfgraph.analyze(model, example=shape)
    x = torch.rand(shape, dtype=torch.float64, requires_grad=True)
    made = model(x)
    last = list(report)[-1]
    assert report[last].map_size == tuple(made.shape[1:3])
    assert report[last].status != "unknown"
    for place in itertools.product(*map(range, made.shape[1:3])):
        (gradient,) = torch.autograd.grad(made[(0, *place)].sum(), x, retain_graph=True)
        read = np.argwhere(gradient[0, 0].numpy() != 0)
        box = report.region(last, place).box
        for axis in range(2):
            found = (int(read[:, axis].min()), int(read[:, axis].max()))
            assert box[axis][0] <= found[0] <= found[1] <= box[axis][1], (place, axis)
            assert box[axis] == found or not exact, (place, axis, box[axis], found)
