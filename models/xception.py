"""Xception as keras.applications builds it, up to its last feature map."""

from __future__ import annotations

import networkx as nx

from rfgraph.graph.network import Network

from .layers import separable

#: Channels of the separable convs in the blocks that halve the map; every other block has three of 728.
HALVING = {2: (128, 128), 3: (256, 256), 4: (728, 728), 13: (728, 1024)}


def xception() -> nx.MultiDiGraph:
    """Return Xception; layers to which Keras gives a name have it, the others that of a fresh session.

    References
    ----------
    Chollet, Xception: deep learning with depthwise separable convolutions, arXiv:1610.02357.
    """
    net = Network("xception")
    x = net.conv("block1_conv1", net.input("image", channels=3), kernel=3, stride=2, padding="valid", channels=32)
    x = net.conv("block1_conv2", x, kernel=3, padding="valid", channels=64)
    channels = 64
    for index, block in enumerate(range(2, 14)):
        widths, shortcut = HALVING.get(block, (728, 728, 728)), x
        if block in HALVING:
            name = _numbered("conv2d", list(HALVING).index(block))
            shortcut = net.conv(name, x, kernel=1, stride=2, padding="same", channels=widths[-1])
        x = _separables(net, block, x, channels, widths)
        channels = widths[-1]
        if block in HALVING:
            x = net.max_pool(f"block{block}_pool", x, kernel=3, stride=2, padding="same")
        x = net.add(_numbered("add", index), x, shortcut)
    _separables(net, 14, x, channels, (1536, 2048))
    return net.graph


def _separables(net: Network, block: int, x: str, channels: int, widths: tuple[int, ...]) -> str:
    for index, width in enumerate(widths, start=1):
        x = separable(net, f"block{block}_sepconv{index}", x, kernel=3, channels_in=channels, channels=width)
        channels = width
    return x


def _numbered(name: str, index: int) -> str:
    return f"{name}_{index}" if index else name
