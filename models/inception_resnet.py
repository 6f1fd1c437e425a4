"""Inception-ResNet v2 in its TF-Slim form, up to the last conv."""

from __future__ import annotations

import networkx as nx

from rfgraph.graph.network import Network

from .mixed import Branch, Layer, add_branch, add_mixed

BLOCK35: tuple[Branch, ...] = (
    (Layer("Conv2d_1x1", 32),),
    (Layer("Conv2d_0a_1x1", 32), Layer("Conv2d_0b_3x3", 32)),
    (Layer("Conv2d_0a_1x1", 32), Layer("Conv2d_0b_3x3", 48), Layer("Conv2d_0c_3x3", 64)),
)
BLOCK17: tuple[Branch, ...] = (
    (Layer("Conv2d_1x1", 192),),
    (Layer("Conv2d_0a_1x1", 128), Layer("Conv2d_0b_1x7", 160), Layer("Conv2d_0c_7x1", 192)),
)
BLOCK8: tuple[Branch, ...] = (
    (Layer("Conv2d_1x1", 192),),
    (Layer("Conv2d_0a_1x1", 192), Layer("Conv2d_0b_1x3", 224), Layer("Conv2d_0c_3x1", 256)),
)


def inception_resnet_v2(name: str, padding: str = "valid") -> nx.MultiDiGraph:
    """Return Inception-ResNet v2.

    Parameters
    ----------
    name
        Name of the network.
    padding
        Of the stem and of all that strides: ``"valid"``, or ``"same"`` for TF-Slim's ``align_feature_maps``.

    References
    ----------
    Szegedy, Ioffe, Vanhoucke, Alemi, Inception-v4, Inception-ResNet and the impact of residual connections on learning,
    arXiv:1602.07261.
    """
    net = Network(name)
    x = net.input("image", channels=3)
    for layer in (
        Layer("Conv2d_1a_3x3", 32, 2, padding),
        Layer("Conv2d_2a_3x3", 32, 1, padding),
        Layer("Conv2d_2b_3x3", 64),
        Layer("MaxPool_3a_3x3", None, 2, padding),
        Layer("Conv2d_3b_1x1", 80, 1, padding),
        Layer("Conv2d_4a_3x3", 192, 1, padding),
        Layer("MaxPool_5a_3x3", None, 2, padding),
    ):
        x = layer.add(net, x)
    x = add_mixed(
        net,
        "Mixed_5b",
        x,
        (Layer("Conv2d_1x1", 96),),
        (Layer("Conv2d_0a_1x1", 48), Layer("Conv2d_0b_5x5", 64)),
        (Layer("Conv2d_0a_1x1", 64), Layer("Conv2d_0b_3x3", 96), Layer("Conv2d_0c_3x3", 96)),
        (Layer("AvgPool_0a_3x3"), Layer("Conv2d_0b_1x1", 64)),
    )
    for block in range(1, 11):
        x = _residual(net, f"Repeat/block35_{block}", x, BLOCK35, 320)
    pool = Layer("MaxPool_1a_3x3", None, 2, padding)
    x = add_mixed(
        net,
        "Mixed_6a",
        x,
        (Layer("Conv2d_1a_3x3", 384, 2, padding),),
        (Layer("Conv2d_0a_1x1", 256), Layer("Conv2d_0b_3x3", 256), Layer("Conv2d_1a_3x3", 384, 2, padding)),
        (pool,),
    )
    for block in range(1, 21):
        x = _residual(net, f"Repeat_1/block17_{block}", x, BLOCK17, 1088)
    x = net.identity("PreAuxLogits", x)
    x = add_mixed(
        net,
        "Mixed_7a",
        x,
        (Layer("Conv2d_0a_1x1", 256), Layer("Conv2d_1a_3x3", 384, 2, padding)),
        (Layer("Conv2d_0a_1x1", 256), Layer("Conv2d_1a_3x3", 288, 2, padding)),
        (Layer("Conv2d_0a_1x1", 256), Layer("Conv2d_0b_3x3", 288), Layer("Conv2d_1a_3x3", 320, 2, padding)),
        (pool,),
    )
    for scope in (*(f"Repeat_2/block8_{block}" for block in range(1, 10)), "Block8"):
        x = _residual(net, scope, x, BLOCK8, 2080)
    Layer("Conv2d_7b_1x1", 1536).add(net, x)
    return net.graph


def _residual(net: Network, scope: str, x: str, branches: tuple[Branch, ...], channels: int) -> str:
    """Add ``branches``, a 1x1 conv over their concatenation, and the sum of that with ``x``.

    It is the only kind of conv here without a batch norm, and so with a bias.
    """
    ends = [add_branch(net, f"{scope}/Branch_{index}", x, branch) for index, branch in enumerate(branches)]
    both = net.concat(f"{scope}/concat", *ends)
    up = net.conv(f"{scope}/Conv2d_1x1", both, kernel=1, channels=channels, bias=True)
    return net.add(f"{scope}/add", x, up)
