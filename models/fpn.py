"""Feature pyramid network over a ResNet-50."""

from __future__ import annotations

import networkx as nx

from rfgraph.graph.network import Network

from .torch_resnet import add_resnet50_stages


def fpn() -> nx.MultiDiGraph:
    """Return a feature pyramid with outputs P2 to P6; its image has sides of a multiple of 32 pixels.

    Maps are doubled by nearest-neighbour upsampling that repeats each pixel, as PyTorch's ``nearest`` does.

    References
    ----------
    Lin, Dollár, Girshick, He, Hariharan, Belongie, Feature pyramid networks for object detection, arXiv:1612.03144.
    """
    net = Network("fpn")
    x = net.conv("conv1", net.input("image", channels=3), kernel=7, stride=2, padding=3, channels=64)
    x = net.max_pool("maxpool", x, kernel=3, stride=2, padding=1)
    above = ""
    for level, stage in reversed(list(enumerate(add_resnet50_stages(net, x), start=2))):
        lateral = net.conv(f"lateral{level}", stage, kernel=1, channels=256, bias=True)
        if above:
            above = net.resize(
                f"up{level}", above, scale=2, mode="nearest", coordinates="asymmetric", nearest_mode="floor"
            )
            above = net.add(f"merge{level}", lateral, above)
        else:
            above = lateral
        net.conv(f"P{level}", above, kernel=3, padding=1, channels=256, bias=True)
    net.max_pool("P6", "P5", kernel=1, stride=2)
    return net.graph
