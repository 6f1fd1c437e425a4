"""Residual networks that stride in the first unit of a stage, named as torchvision names them, up to the last stage."""

from __future__ import annotations

import networkx as nx

from rfgraph.graph.network import Network


def resnet50_d() -> nx.MultiDiGraph:
    """Return ResNet-50-D: three 3x3 convs for a stem, and shortcuts that pool 2x2 before their 1x1 conv.

    The pool rounds its size up, as GluonCV's does, so that the sizes also fit where a map is odd.

    References
    ----------
    He, Zhang, Zhang, Zhang, Xie, Li, Bag of tricks for image classification with convolutional neural networks,
    arXiv:1812.01187.
    """
    net = Network("resnet50_d")
    x = net.input("image", channels=3)
    for index, (stride, channels) in enumerate(((2, 32), (1, 32), (1, 64))):
        x = net.conv(f"conv1.{index}", x, kernel=3, stride=stride, padding=1, channels=channels)
    x = net.max_pool("maxpool", x, kernel=3, stride=2, padding=1)
    add_resnet50_stages(net, x, pooled_shortcuts=True)
    return net.graph


def add_resnet50_stages(net: Network, x: str, pooled_shortcuts: bool = False) -> list[str]:
    """Add the four stages of a ResNet-50 after ``x`` and return their last nodes, C2 to C5."""
    ends, channels_in = [], 64
    for stage, units in enumerate((3, 4, 6, 3), start=1):
        width = 64 * 2 ** (stage - 1)
        for unit in range(units):
            scope, stride = f"layer{stage}.{unit}", 2 if stage > 1 and not unit else 1
            shortcut = x
            if channels_in != 4 * width:
                shortcut = _project(net, f"{scope}.downsample", x, stride, 4 * width, pooled_shortcuts)
            channels_in = 4 * width
            residual = net.conv(f"{scope}.conv1", x, kernel=1, channels=width)
            residual = net.conv(f"{scope}.conv2", residual, kernel=3, stride=stride, padding=1, channels=width)
            residual = net.conv(f"{scope}.conv3", residual, kernel=1, channels=4 * width)
            x = net.add(f"{scope}.add", residual, shortcut)
        ends.append(x)
    return ends


def _project(net: Network, name: str, x: str, stride: int, channels: int, pooled: bool = False) -> str:
    """Add the shortcut of a unit that changes its map: a 1x1 conv, if ``pooled`` after a pool that strides."""
    if pooled and stride > 1:
        x = net.avg_pool(f"{name}.pool", x, kernel=stride, ceil_mode=True)
        stride = 1
    return net.conv(name, x, kernel=1, stride=stride, channels=channels)


def resnet3d_18() -> nx.MultiDiGraph:
    """Return the 3-D ResNet of 18 layers that torchvision calls ``r3d_18``; its first axis, ``z``, is time.

    References
    ----------
    Tran, Wang, Torresani, Ray, LeCun, Paluri, A closer look at spatiotemporal convolutions for action recognition,
    arXiv:1711.11248.
    """
    net = Network("resnet3d_18", axes=3)
    clip = net.input("clip", channels=3)
    x = net.conv("stem", clip, kernel=(3, 7, 7), stride=(1, 2, 2), padding=(1, 3, 3), channels=64)
    for stage in range(1, 5):
        channels = 64 * 2 ** (stage - 1)
        for unit in range(2):
            scope, stride = f"layer{stage}.{unit}", 2 if stage > 1 and not unit else 1
            shortcut = x
            if stride > 1:
                shortcut = _project(net, f"{scope}.downsample", x, stride, channels)
            x = net.conv(f"{scope}.conv1", x, kernel=3, stride=stride, padding=1, channels=channels)
            x = net.conv(f"{scope}.conv2", x, kernel=3, padding=1, channels=channels)
            x = net.add(f"{scope}.add", x, shortcut)
    return net.graph
