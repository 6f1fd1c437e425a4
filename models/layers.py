"""Layers that several networks are made of."""

from __future__ import annotations

from rfgraph.graph.network import Network


def separable(
    net: Network,
    name: str,
    x: str,
    *,
    kernel: int,
    channels_in: int,
    channels: int,
    stride: int = 1,
    multiplier: int = 1,
    depthwise: str | None = None,
) -> str:
    """Add a SAME-padded depthwise conv and the 1x1 conv ``name`` after it, and return ``name``.

    Parameters
    ----------
    net, name, x
        Network, name of the layer, and the node that it reads.
    kernel, stride
        Of the depthwise conv.
    channels_in, channels
        Channels of ``x`` and of the output.
    multiplier
        Channels of the depthwise conv per channel of ``x``.
    depthwise
        Name of the depthwise conv, by default ``name/depthwise``.
    """
    spread = net.conv(
        depthwise or f"{name}/depthwise",
        x,
        kernel=kernel,
        stride=stride,
        padding="same",
        channels=channels_in * multiplier,
        groups=channels_in,
    )
    return net.conv(name, spread, kernel=1, channels=channels)
