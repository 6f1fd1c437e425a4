"""VGG in its TF-Slim form: SAME 3x3 convs, 2x2 pools, ``fc6`` to ``fc8`` as convs."""

from __future__ import annotations

import networkx as nx

from rfgraph.graph.network import Network

#: 3x3 convs before each of the five pools.
CONVS = {"vgg_a": (1, 1, 2, 2, 2), "vgg_16": (2, 2, 3, 3, 3)}


def vgg(name: str) -> nx.MultiDiGraph:
    """Return the VGG called ``name`` in ``CONVS``.

    References
    ----------
    Simonyan, Zisserman, Very deep convolutional networks for large-scale image recognition, arXiv:1409.1556.
    """
    net = Network(name)
    x = net.input("image", channels=3)
    for block, convs in enumerate(CONVS[name], start=1):
        channels = min(64 * 2 ** (block - 1), 512)
        for conv in range(1, convs + 1):
            scope = f"{name}/conv{block}/conv{block}_{conv}"
            x = net.conv(scope, x, kernel=3, padding="same", channels=channels, bias=True)
        x = net.max_pool(f"{name}/pool{block}", x, kernel=2, padding="valid")
    x = net.conv(f"{name}/fc6", x, kernel=7, padding="valid", channels=4096, bias=True)
    x = net.conv(f"{name}/fc7", x, kernel=1, channels=4096, bias=True)
    net.conv(f"{name}/fc8", x, kernel=1, channels=1000, bias=True)
    return net.graph
