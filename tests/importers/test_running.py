"""Live modules traced by running them: the same table as by export, and what export refuses."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

import rfgraph
from rfgraph.errors import ModelFileError

torch = pytest.importorskip("torch")
nn, functional = torch.nn, torch.nn.functional


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Dropout(0.1)
        )
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 4, 1), nn.Sigmoid())

    def forward(self, x):
        y = self.body(x)
        y = y * self.gate(y)
        y += x
        return y


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 7, stride=2, padding=3)
        self.block = Block()
        self.up = nn.ConvTranspose2d(4, 2, 2, stride=2)

    def forward(self, x):
        y = self.block(self.block(self.stem(x)))  # the same module twice
        return {"low": y, "high": self.up(y)}


class Windowed(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.register_buffer("order", torch.arange(15, -1, -1))

    def forward(self, x):
        n, c, h, w = x.shape
        t = x.reshape(n, c, h // 4, 4, w // 4, 4).permute(0, 2, 4, 3, 5, 1).reshape(-1, 16, c)
        t = t[:, self.order] + self.attention(t, t, t)[0]
        t = t.reshape(n, h // 4, w // 4, 4, 4, c).permute(0, 5, 1, 3, 2, 4).reshape(n, c, h, w)
        filled = torch.zeros(n, c, h + 2, w + 2)
        filled[:, :, 1:-1, 1:-1] = t
        return functional.avg_pool2d(filled, 3, stride=1)


class Choosing(nn.Module):
    """Code that what the input holds decides."""

    def __init__(self):
        super().__init__()
        self.small, self.large = nn.Conv1d(1, 1, 3), nn.Conv1d(1, 1, 7)

    def forward(self, x):
        return self.large(x) if x.sum() > 0 else self.small(x)


class Sharing(nn.Module):
    """A module that several hold: it is called as the one that calls it holds it."""

    def __init__(self):
        super().__init__()
        self.shared = nn.Sequential(nn.Conv2d(3, 3, 3), nn.ReLU())
        self.blocks = nn.ModuleList(nn.ModuleDict({"own": nn.Conv2d(3, 3, 1), "body": self.shared}) for _ in range(2))
        self.holders = nn.ModuleList(Holder(self.shared) for _ in range(2))

    def forward(self, x):
        for holder in self.holders:
            x = holder(x)
        return self.shared(x)


class Holder(nn.Module):
    def __init__(self, part):
        super().__init__()
        self.part, self.own = part, nn.Conv2d(3, 3, 5)

    def forward(self, x):
        return self.own(self.part(x))


class Renaming(nn.Module):
    """A module that has several names in one: it is called by the one under which it is taken."""

    def __init__(self):
        super().__init__()
        self.first = self.second = Holder(nn.Sequential(nn.Conv2d(3, 3, 3), nn.ReLU()))
        self.inner = nn.ModuleDict({"third": self.first, "own": nn.Conv2d(3, 3, 1)})

    def forward(self, x):
        x = self.second(self.first(x))
        x = self.second.part(self.inner["own"](x))
        again = self.second
        return again(again(x))


class Keeping(nn.Module):
    """A cache that a trace must not leave its own tensors in."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)
        self.kept, self.seen = None, {}

    def forward(self, x):
        self.kept = self.seen["x"] = self.conv(x)
        return self.norm(self.kept)


def layers(report):
    return [
        (name, layer.op, layer.map_size, layer.field, layer.status, layer.is_global) for name, layer in report.items()
    ]


@pytest.mark.parametrize(
    ("made", "shape"),
    [
        (Net, (1, 3, 32, 32)),
        (Windowed, (1, 4, 16, 16)),
        (Keeping, (1, 3, 9, 9)),
        (Sharing, (1, 3, 32, 32)),
        (Renaming, (1, 3, 40, 40)),
    ],
)
@pytest.mark.parametrize("training", [False, True])
def test_running_and_exporting_make_the_same_table(made, shape, training):
    model = made().train(training)
    ran, exported = (rfgraph.analyze(model, example=shape, trace=trace) for trace in ("run", "export"))
    assert layers(ran) == layers(exported)
    assert ran.outputs == exported.outputs
    assert ran.as_run == exported.as_run == ()


def test_what_the_example_holds_may_decide_and_the_report_says_so():
    model = Choosing()
    line = inspect.getsourcelines(Choosing.forward)[1] + 1
    for sign, size in ((1, 7), (-1, 3)):
        report = rfgraph.analyze(model, example=torch.full((1, 1, 20), float(sign)))
        assert report[list(report)[-1]].size == (size,)
        assert [Path(look.rpartition(":")[0]).name + f":{line}" for look in report.as_run] == [
            f"{Path(__file__).name}:{line}"
        ]
    with pytest.raises(ModelFileError, match=r"torch\.export cannot trace it"):
        rfgraph.analyze(model, example=(1, 1, 20), trace="export")


def test_how_a_module_is_traced_is_one_of_two():
    with pytest.raises(ModelFileError, match="trace 'jit' is neither 'run' nor 'export'"):
        rfgraph.analyze(Keeping(), example=(1, 3, 9, 9), trace="jit")


def test_what_is_shared_is_called_as_it_is_held():
    names = list(rfgraph.analyze(Sharing(), example=(1, 3, 32, 32)))
    assert names[1:5] == ["holders.0.part.0", "holders.0.part.1", "holders.0.own", "holders.1.part.0"]
    assert names[-1] == "shared.1"


def test_what_has_several_names_is_called_as_it_is_taken():
    plain = nn.Module.__getattr__
    names = list(rfgraph.analyze(Renaming(), example=(1, 3, 40, 40)))
    assert names[1:7] == ["first.part.0", "first.part.1", "first.own", "second.part.0", "second.part.1", "second.own"]
    assert nn.Module.__getattr__ is plain


@pytest.mark.parametrize("ask", [rfgraph.load, rfgraph.trace])
def test_loading_and_the_reverse_pass_are_told_how_to_trace(ask, monkeypatch):
    from rfgraph import importers

    traced = []
    live = importers.live
    monkeypatch.setattr(importers, "live", lambda *given: traced.append(given[-1]) or live(*given))
    made = [ask(Keeping(), example=(1, 3, 9, 9), **how) for how in ({}, {"trace": "run"}, {"trace": "export"})]
    assert traced == ["run", "run", "export"]
    assert len({len(one) for one in made}) == 1
    with pytest.raises(ModelFileError, match="trace 'jit' is neither"):
        ask(Keeping(), example=(1, 3, 9, 9), trace="jit")


def test_a_module_is_left_as_it_was():
    model = Keeping().train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.random.get_rng_state()
    for example in [(1, 3, 9, 9), torch.ones(1, 3, 9, 9)]:
        rfgraph.analyze(model, example=example)
    assert model.kept is None
    assert model.seen == {}
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    model(torch.ones(2, 3, 9, 9)).sum().backward()
    assert model.conv.weight.grad is not None


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_script_module_inside_a_model_runs():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(3, 3, 3, stride=2)
            self.script = torch.jit.script(nn.Sequential(nn.Conv2d(3, 3, 5), nn.ReLU()))

        def forward(self, x):
            return self.script(self.first(x))

    report = rfgraph.analyze(Mixed(), example=(1, 3, 33, 33))
    assert report[list(report)[-1]].size == ((5 - 1) * 2 + 3,) * 2


def test_locations_are_the_lines_that_call():
    report = rfgraph.analyze(Net(), example=(1, 3, 32, 32))
    start = inspect.getsourcelines(Net.forward)[1]
    assert report["stem"].location == f"{__file__}:{start + 1}"
    assert report["up"].location == f"{__file__}:{start + 2}"


@pytest.mark.parametrize("detector", ["ssdlite320_mobilenet_v3_large", "fasterrcnn_mobilenet_v3_large_320_fpn"])
def test_detectors_run(detector):
    from vision import torchvision, without_values

    with without_values():
        model = getattr(torchvision.models.detection, detector)(weights=None, weights_backbone=None).eval()
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data.fill_(
            float("nan") if tensor.is_floating_point() else 0
        )  # no box is found: its operators may be missing
    report = rfgraph.analyze(model, example=[[torch.zeros(3, 320, 320)]])
    first = next(name for name in report if name.startswith("backbone") and report[name].field[0].step == 2)
    assert report[first].size == (3, 3)
    assert report.as_run
    assert any("detection" in look for look in report.as_run)
