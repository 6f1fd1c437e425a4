"""DenseNet, named as torchvision names it, up to the last dense block."""

from __future__ import annotations

import networkx as nx

from rfgraph.graph.network import Network


def densenet_121(growth: int = 32) -> nx.MultiDiGraph:
    """Return DenseNet-121, each layer of which reads the concatenation of all before it in its block.

    References
    ----------
    Huang, Liu, van der Maaten, Weinberger, Densely connected convolutional networks, arXiv:1608.06993.
    """
    net = Network("densenet_121")
    channels = 2 * growth
    x = net.conv("conv0", net.input("image", channels=3), kernel=7, stride=2, padding=3, channels=channels)
    x = net.max_pool("pool0", x, kernel=3, stride=2, padding=1)
    for block, layers in enumerate((6, 12, 24, 16), start=1):
        if block > 1:
            channels //= 2
            x = net.conv(f"transition{block - 1}.conv", x, kernel=1, channels=channels)
            x = net.avg_pool(f"transition{block - 1}.pool", x, kernel=2)
        for layer in range(1, layers + 1):
            scope = f"denseblock{block}.denselayer{layer}"
            new = net.conv(f"{scope}.conv1", x, kernel=1, channels=4 * growth)
            new = net.conv(f"{scope}.conv2", new, kernel=3, padding=1, channels=growth)
            x = net.concat(f"{scope}.concat", x, new)
            channels += growth
    return net.graph
