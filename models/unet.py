"""U-Nets that differ in how they come back up."""

from __future__ import annotations

from collections.abc import Callable

import networkx as nx

from rfgraph.graph.network import Network

#: Adds the layer that doubles a map: network, its name, what it reads, channels.
Up = Callable[[Network, str, str, int], str]


def transposed_2x2(net: Network, name: str, x: str, channels: int) -> str:
    """Add a 2x2 transposed conv of stride 2, as the paper has it."""
    return net.conv_transpose(name, x, kernel=2, stride=2, channels=channels, bias=True)


def transposed_3x3(net: Network, name: str, x: str, channels: int) -> str:
    """Add a 3x3 transposed conv of stride 2 that doubles the size."""
    return net.conv_transpose(name, x, kernel=3, stride=2, padding=1, output_padding=1, channels=channels, bias=True)


def bilinear(net: Network, name: str, x: str, channels: int) -> str:
    """Add bilinear upsampling, with pixel centres at halves, and the 1x1 conv that halves the channels."""
    return net.conv(
        name, net.resize(f"{name}/resize", x, scale=2, mode="linear"), kernel=1, channels=channels, bias=True
    )


def unet(name: str, up: Up, padded: bool = True, levels: int = 4) -> nx.MultiDiGraph:
    """Return a U-Net that goes down ``levels`` times by 2x2 max pools and back up by ``up``.

    Parameters
    ----------
    name
        Name of the network.
    up
        What doubles a map on the way back: one of the functions above.
    padded
        Whether its 3x3 convs keep the size; the paper's do not, and crop what the skips carry.
    levels
        How many pools there are.

    References
    ----------
    Ronneberger, Fischer, Brox, U-Net: convolutional networks for biomedical image segmentation, arXiv:1505.04597.
    """
    net = Network(name)
    x, skips = net.input("image", channels=1), []
    for level in range(1, levels + 1):
        x = _double_conv(net, f"down{level}", x, 64 * 2 ** (level - 1), padded)
        skips.append(x)
        x = net.max_pool(f"pool{level}", x, kernel=2)
    x = _double_conv(net, "bottom", x, 64 * 2**levels, padded)
    lost = 4  # pixels by which valid convs have narrowed the map since it was pooled
    for level in range(levels, 0, -1):
        channels, skip = 64 * 2 ** (level - 1), skips[level - 1]
        x = up(net, f"up{level}/up", x, channels)
        if not padded:
            skip = net.crop(f"up{level}/crop", skip, padding=-lost)
            lost = 4 + 2 * lost + 4
        x = _double_conv(net, f"up{level}", net.concat(f"up{level}/concat", skip, x), channels, padded)
    net.conv("segments", x, kernel=1, channels=2, bias=True)
    return net.graph


def _double_conv(net: Network, scope: str, x: str, channels: int, padded: bool) -> str:
    for index in (1, 2):
        x = net.conv(f"{scope}/conv{index}", x, kernel=3, padding=int(padded), channels=channels, bias=True)
    return x
