"""AlexNet: the TF-Slim form, and the one of the receptive-field guide."""

from __future__ import annotations

import networkx as nx

from rfgraph.graph.network import Network


def alexnet_v2() -> nx.MultiDiGraph:
    """Return AlexNet v2 as TF-Slim has it: SAME convs but for the first, VALID pools, ``fc6`` to ``fc8`` as convs.

    References
    ----------
    Krizhevsky, One weird trick for parallelizing convolutional neural networks, arXiv:1404.5997.
    """
    net = Network("alexnet_v2")
    x = net.input("image", channels=3)
    for name, kernel, stride, padding, channels in (
        ("conv1", 11, 4, "valid", 64),
        ("pool1", 3, 2, "valid", None),
        ("conv2", 5, 1, "same", 192),
        ("pool2", 3, 2, "valid", None),
        ("conv3", 3, 1, "same", 384),
        ("conv4", 3, 1, "same", 384),
        ("conv5", 3, 1, "same", 256),
        ("pool5", 3, 2, "valid", None),
        ("fc6", 5, 1, "valid", 4096),
        ("fc7", 1, 1, "same", 4096),
        ("fc8", 1, 1, "same", 1000),
    ):
        name = f"alexnet_v2/{name}"
        if channels is None:
            x = net.max_pool(name, x, kernel=kernel, stride=stride, padding=padding)
        else:
            x = net.conv(name, x, kernel=kernel, stride=stride, padding=padding, channels=channels, bias=True)
    return net.graph


def alexnet_guide() -> nx.MultiDiGraph:
    """Return AlexNet as the receptive-field guide takes it, for an image of 227 pixels.

    The guide states kernels, strides and padding; the channels are those of the original without its two groups.

    References
    ----------
    Dang Ha The Hien, A guide to receptive field arithmetic for convolutional neural networks, 2017.
    """
    net = Network("alexnet_guide")
    x = net.input("image", channels=3)
    for name, kernel, stride, padding, channels in (
        ("conv1", 11, 4, 0, 96),
        ("pool1", 3, 2, 0, None),
        ("conv2", 5, 1, 2, 256),
        ("pool2", 3, 2, 0, None),
        ("conv3", 3, 1, 1, 384),
        ("conv4", 3, 1, 1, 384),
        ("conv5", 3, 1, 1, 256),
        ("pool5", 3, 2, 0, None),
        ("fc6-conv", 6, 1, 0, 4096),
        ("fc7-conv", 1, 1, 0, 4096),
    ):
        if channels is None:
            x = net.max_pool(name, x, kernel=kernel, stride=stride, padding=padding)
        else:
            x = net.conv(name, x, kernel=kernel, stride=stride, padding=padding, channels=channels, bias=True)
    return net.graph
