"""ResNet v1 and v2 in their TF-Slim form, up to the last block.

TF-Slim's habits, each of which moves a receptive field: blocks 1 to 3 stride in their *last* unit, strided 3x3 and
7x7 convs pad explicitly (``conv2d_same``), an identity shortcut that strides is a 1x1 max pool (``subsample``), and
``pool1`` is SAME. The two versions differ in where they normalise, which moves none: convs that v2 does not normalise
have biases.
"""

from __future__ import annotations

import networkx as nx

from rfgraph.graph.network import Network

#: Units in each of the four blocks, by depth.
UNITS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3), 200: (3, 24, 36, 3)}


def resnet(version: int, depth: int) -> nx.MultiDiGraph:
    """Return ResNet ``version`` (1 or 2) of ``depth`` 50, 101, 152 or 200.

    References
    ----------
    He, Zhang, Ren, Sun, Deep residual learning for image recognition, arXiv:1512.03385, for v1.
    He, Zhang, Ren, Sun, Identity mappings in deep residual networks, arXiv:1603.05027, for v2.
    """
    name = f"resnet_v{version}_{depth}"
    net = Network(name)
    bias = version == 2
    x = net.input("image", channels=3)
    x = _conv_same(net, f"{name}/conv1", x, kernel=7, stride=2, channels=64, bias=bias)
    x = net.max_pool(f"{name}/pool1", x, kernel=3, stride=2, padding="same")
    channels_in = 64
    for block, units in enumerate(UNITS[depth], start=1):
        width = 64 * 2 ** (block - 1)
        for unit in range(1, units + 1):
            stride = 2 if unit == units and block < 4 else 1
            scope = f"{name}/block{block}/unit_{unit}/bottleneck_v{version}"
            x = _bottleneck(net, scope, x, channels_in, width, stride, bias)
            channels_in = 4 * width
        x = net.identity(f"{name}/block{block}", x)
    return net.graph


def _bottleneck(net: Network, scope: str, x: str, channels_in: int, width: int, stride: int, bias: bool) -> str:
    """Add a 1x1, 3x3, 1x1 unit and its shortcut, and return their sum, which is called ``scope``.

    ``bias`` is of the two convs that are summed.
    """
    shortcut = x
    if channels_in != 4 * width:
        shortcut = net.conv(f"{scope}/shortcut", x, kernel=1, stride=stride, channels=4 * width, bias=bias)
    elif stride > 1:
        shortcut = net.max_pool(f"{scope}/shortcut", x, kernel=1, stride=stride, padding="same")
    residual = net.conv(f"{scope}/conv1", x, kernel=1, channels=width)
    residual = _conv_same(net, f"{scope}/conv2", residual, kernel=3, stride=stride, channels=width)
    residual = net.conv(f"{scope}/conv3", residual, kernel=1, channels=4 * width, bias=bias)
    return net.add(scope, shortcut, residual)


def _conv_same(net: Network, name: str, x: str, *, kernel: int, stride: int, channels: int, bias: bool = False) -> str:
    """Add TF-Slim's ``conv2d_same``: padding that does not depend on the size, explicit where it strides."""
    if stride == 1:
        return net.conv(name, x, kernel=kernel, padding="same", channels=channels, bias=bias)
    padded = net.pad(f"{name}/pad", x, padding=(kernel - 1) // 2)
    return net.conv(name, padded, kernel=kernel, stride=stride, padding="valid", channels=channels, bias=bias)
