"""The PyTorch models behind the ONNX files in ``tests/data/onnx``: those of torchvision, and published ones by hand.

``tests/data/make_onnx.py`` exports them; the tests hold what rfgraph reads of the files against the models themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from vision import torch, torchvision

nn, F = torch.nn, torch.nn.functional


class Detector(nn.Module):
    """RetinaNet without what lies behind its heads: backbone, feature pyramid, and two heads on each level."""

    def __init__(self):
        super().__init__()
        whole = torchvision.models.detection.retinanet_resnet50_fpn(weights=None, weights_backbone=None)
        self.backbone, self.head = whole.backbone, whole.head

    def forward(self, x):
        found = self.head(list(self.backbone(x).values()))
        return found["cls_logits"], found["bbox_regression"]


class Segmenter(nn.Module):
    """LR-ASPP on MobileNetV3, whose head is resized to the size that the image has."""

    def __init__(self):
        super().__init__()
        self.net = torchvision.models.segmentation.lraspp_mobilenet_v3_large(weights=None, weights_backbone=None)

    def forward(self, x):
        return self.net(x)["out"]


class Recursive(nn.Module):
    """The deep recursive residual network of Tai, Yang, Liu (CVPR 2017), B1U9: one residual unit, nine times over."""

    def __init__(self, turns: int = 9):
        super().__init__()
        self.first = nn.Sequential(nn.BatchNorm2d(1), nn.ReLU(), nn.Conv2d(1, 128, 3, padding=1))
        self.unit = nn.Sequential(
            nn.BatchNorm2d(128), nn.ReLU(), nn.Conv2d(128, 128, 3, padding=1),
            nn.BatchNorm2d(128), nn.ReLU(), nn.Conv2d(128, 128, 3, padding=1),
        )  # fmt: skip
        self.last = nn.Sequential(nn.BatchNorm2d(128), nn.ReLU(), nn.Conv2d(128, 1, 3, padding=1))
        self.register_buffer("turns", torch.tensor(turns))  # a number would have the exporter write the turns out

    def forward(self, x):
        start = self.first(x)
        state = start
        for _ in range(int(self.turns)):
            state = self.unit(state) + start
        return self.last(state) + x


class EarlyExit(nn.Module):
    """ResNet-18 whose last stage runs only if a first classifier is not sure, as in BranchyNet (ICPR 2016)."""

    def __init__(self):
        super().__init__()
        self.net = torchvision.models.resnet18(weights=None)
        self.first = nn.Linear(256, 1000)

    def forward(self, x):
        net = self.net
        x = net.maxpool(net.relu(net.bn1(net.conv1(x))))
        x = net.layer3(net.layer2(net.layer1(x)))
        sure = self.first(x.mean((2, 3))).softmax(1).max() > 0.9
        if not torch.compiler.is_exporting():  # where torch.cond would compile its branches
            return self.early(x) if sure else self.late(x)
        return torch.cond(sure, self.early, self.late, (x,))

    def early(self, x):
        return F.max_pool2d(x, 2).repeat(1, 2, 1, 1)

    def late(self, x):
        return self.net.layer4(x)


class Speech(nn.Module):
    """The encoder of wav2vec 2.0 (NeurIPS 2020): seven convolutions, one over positions, and a transformer layer."""

    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList()
        channels = 1
        for kernel, stride in [(10, 5), *[(3, 2)] * 4, *[(2, 2)] * 2]:
            self.convs.append(nn.Conv1d(channels, 512, kernel, stride=stride, bias=False))
            channels = 512
        self.norm = nn.GroupNorm(512, 512)
        self.project = nn.Linear(512, 768)
        self.position = nn.Conv1d(768, 768, 128, padding=64, groups=16)
        self.attention = nn.TransformerEncoderLayer(768, 12, 3072, batch_first=True)

    def forward(self, wave):
        x = wave
        for i, conv in enumerate(self.convs):
            x = conv(x)
            x = F.gelu(self.norm(x) if i == 0 else x)
        x = self.project(x.transpose(1, 2))
        x = x + F.gelu(self.position(x.transpose(1, 2))[..., :-1]).transpose(1, 2)
        return self.attention(x)


class Quantisable(nn.Module):
    """MobileNetV2 as torchvision prepares it for quantisation."""

    def __init__(self):
        super().__init__()
        self.net = torchvision.models.quantization.mobilenet_v2(weights=None)

    def forward(self, x):
        return self.net(x)


@dataclass(frozen=True)
class Model:
    """A model and the shape it is exported for."""

    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    #: Dimensions of any size, and what they are called.
    dynamic: dict[int, str] = field(default_factory=dict)
    #: Layers at which what is read is held against gradients.
    layers: tuple[str, ...] = ()
    #: Pattern of nodes -> of modules: what reads everything is taken out on both sides, to see what is local.
    without: dict[str, str] = field(default_factory=dict)


MODELS = {
    "retinanet": Model(
        Detector, (1, 3, 224, 288),
        layers=("backbone.body.layer2.0.conv2", "backbone.body.layer3.1.conv2", "head.classification_head.conv.0.0"),
    ),
    "lraspp_dynamic": Model(
        Segmenter, (1, 3, 224, 256), {2: "height", 3: "width"},
        layers=("net.backbone.0.0", "net.backbone.2.block.2.0", "net.backbone.4.block.1.0"),
    ),
    "drrn_loop": Model(Recursive, (1, 1, 48, 56), layers=("first.2", "last.2")),
    "branchy_if": Model(
        EarlyExit, (1, 3, 160, 192), layers=("net.layer1.1.conv2", "net.layer2.0.downsample.0", "net.layer3.1.conv2")
    ),
    "wav2vec2": Model(
        Speech, (1, 1, 16000), layers=("convs.1", "convs.4", "convs.6", "position"), without={"norm*": "norm"}
    ),
    "mobilenet_v2_int8": Model(
        Quantisable,
        (1, 3, 160, 128),
        layers=("net.features.3.conv.0.0", "net.features.7.conv.1.0", "net.features.18.0"),
    ),
}  # fmt: skip
