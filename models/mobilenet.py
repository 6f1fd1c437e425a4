"""MobileNet v1 in its TF-Slim form, up to its last feature map."""

from __future__ import annotations

from fractions import Fraction

import networkx as nx

from rfgraph.graph.network import Network

from .layers import separable

#: Stride and channels of each depthwise separable layer.
SEPARABLE = ((1, 64), (2, 128), (1, 128), (2, 256), (1, 256), (2, 512), *((1, 512),) * 5, (2, 1024), (1, 1024))


def mobilenet_v1(name: str, width: Fraction = Fraction(1)) -> nx.MultiDiGraph:
    """Return MobileNet v1 with its channels multiplied by ``width``; all its convs are SAME.

    References
    ----------
    Howard et al., MobileNets, arXiv:1704.04861.
    """
    net = Network(name)
    channels = int(32 * width)
    x = net.conv("Conv2d_0", net.input("image", channels=3), kernel=3, stride=2, padding="same", channels=channels)
    for index, (stride, full) in enumerate(SEPARABLE, start=1):
        channels_in, channels = channels, int(full * width)
        x = separable(
            net,
            f"Conv2d_{index}_pointwise",
            x,
            kernel=3,
            stride=stride,
            channels_in=channels_in,
            channels=channels,
            depthwise=f"Conv2d_{index}_depthwise",
        )
    return net.graph
