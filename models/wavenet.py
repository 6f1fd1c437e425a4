"""A causal network over time, in the manner of WaveNet."""

from __future__ import annotations

import networkx as nx

from rfgraph.graph.network import Network


def wavenet(stacks: int = 3, doublings: int = 10, channels: int = 64) -> nx.MultiDiGraph:
    """Return a stack of gated causal convs of dilation 1, 2, 4, ..., with residual and skip connections.

    Parameters
    ----------
    stacks
        How often the dilations are gone through.
    doublings
        Dilations in a stack: 10 end at 512.
    channels
        Of every layer but the last, which scores 256 levels.

    References
    ----------
    van den Oord et al., WaveNet: a generative model for raw audio, arXiv:1609.03499.
    """
    net = Network("wavenet", axes=1)
    x = net.conv("causal", net.input("audio", channels=1), kernel=2, padding=[[1, 0]], channels=channels)
    skips = []
    dilations = [(stack, 2**power) for stack in range(1, stacks + 1) for power in range(doublings)]
    for stack, dilation in dilations:
        scope = f"stack{stack}/dilation{dilation}"
        taps = {"kernel": 2, "dilation": dilation, "padding": [[dilation, 0]], "channels": channels}
        gates = [net.conv(f"{scope}/{name}", x, **taps) for name in ("filter", "gate")]
        gated = net.mul(f"{scope}/gated", *gates)
        skips.append(net.conv(f"{scope}/skip", gated, kernel=1, channels=channels))
        if (stack, dilation) != dilations[-1]:  # only its skip is read further on
            x = net.add(f"{scope}/add", x, net.conv(f"{scope}/residual", gated, kernel=1, channels=channels))
    x = net.add("skips", *skips)
    x = net.conv("post1", x, kernel=1, channels=channels)
    net.conv("post2", x, kernel=1, channels=256)
    return net.graph
