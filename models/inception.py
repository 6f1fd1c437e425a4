"""Inception v2, v3 and v4 in their TF-Slim form, up to the last mixed block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import networkx as nx

from rfgraph.graph.network import Network

from .layers import separable
from .mixed import Branch, Layer, add_mixed


def inception_v2(name: str, separable_stem: bool = True) -> nx.MultiDiGraph:
    """Return Inception v2; its first conv is a separable one unless told otherwise, and all is SAME.

    References
    ----------
    Ioffe, Szegedy, Batch normalization, arXiv:1502.03167.
    """
    net = Network(name)
    x = net.input("image", channels=3)
    if separable_stem:
        x = separable(net, "Conv2d_1a_7x7", x, kernel=7, stride=2, channels_in=3, multiplier=8, channels=64)
    else:
        x = Layer("Conv2d_1a_7x7", 64, 2).add(net, x)
    for layer in (
        Layer("MaxPool_2a_3x3", stride=2),
        Layer("Conv2d_2b_1x1", 64),
        Layer("Conv2d_2c_3x3", 192),
        Layer("MaxPool_3a_3x3", stride=2),
    ):
        x = layer.add(net, x)
    x = add_mixed(net, "Mixed_3b", x, *_threes(64, (64, 64), (64, 96, 96), 32))
    x = add_mixed(net, "Mixed_3c", x, *_threes(64, (64, 96), (64, 96, 96), 64))
    x = add_mixed(net, "Mixed_4a", x, *_halve((128, 160), (64, 96, 96), "same"))
    x = add_mixed(net, "Mixed_4b", x, *_threes(224, (64, 96), (96, 128, 128), 128))
    x = add_mixed(net, "Mixed_4c", x, *_threes(192, (96, 128), (96, 128, 128), 128))
    x = add_mixed(net, "Mixed_4d", x, *_threes(160, (128, 160), (128, 160, 160), 96))
    x = add_mixed(net, "Mixed_4e", x, *_threes(96, (128, 192), (160, 192, 192), 96))
    x = add_mixed(net, "Mixed_5a", x, *_halve((128, 192), (192, 256, 256), "same"))
    x = add_mixed(net, "Mixed_5b", x, *_threes(352, (192, 320), (160, 224, 224), 128))
    add_mixed(net, "Mixed_5c", x, *_threes(352, (192, 320), (192, 224, 224), 128, pool="MaxPool_0a_3x3"))
    return net.graph


def inception_v3() -> nx.MultiDiGraph:
    """Return Inception v3; it is VALID where it strides and in its stem.

    References
    ----------
    Szegedy, Vanhoucke, Ioffe, Shlens, Wojna, Rethinking the Inception architecture for computer vision,
    arXiv:1512.00567.
    """
    net = Network("inception_v3")
    x = net.input("image", channels=3)
    for layer in (
        Layer("Conv2d_1a_3x3", 32, 2, "valid"),
        Layer("Conv2d_2a_3x3", 32, 1, "valid"),
        Layer("Conv2d_2b_3x3", 64),
        Layer("MaxPool_3a_3x3", None, 2, "valid"),
        Layer("Conv2d_3b_1x1", 80, 1, "valid"),
        Layer("Conv2d_4a_3x3", 192, 1, "valid"),
        Layer("MaxPool_5a_3x3", None, 2, "valid"),
    ):
        x = layer.add(net, x)
    for name, pooled in (("Mixed_5b", 32), ("Mixed_5c", 64), ("Mixed_5d", 64)):
        five = ("Conv2d_0b_1x1", "Conv_1_0c_5x5") if name == "Mixed_5c" else ("Conv2d_0a_1x1", "Conv2d_0b_5x5")
        one, _, double, pool = _threes(64, (), (64, 96, 96), pooled)
        x = add_mixed(net, name, x, one, (Layer(five[0], 48), Layer(five[1], 64)), double, pool)
    *branches, pool = _halve((384,), (64, 96, 96), "valid")
    # TF-Slim calls the two 3x3 convs that stride here 1x1.
    misnamed = (
        (*branch[:-1], Layer("Conv2d_1a_1x1", channels, 2, "valid", true_kernel=3))
        for branch, channels in zip(branches, (384, 96), strict=True)
    )
    x = add_mixed(net, "Mixed_6a", x, *misnamed, pool)
    for name, width in (("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)):
        x = add_mixed(net, name, x, *_sevens(192, (width, width, 192), (width, width, width, width, 192), 192))
    x = add_mixed(net, "Mixed_7a", x, *_halve_sevens((192, 320), (192, 192, 192, 192)))
    for name, tall in (("Mixed_7b", "Conv2d_0b_3x1"), ("Mixed_7c", "Conv2d_0c_3x1")):
        x = add_mixed(
            net,
            name,
            x,
            _convs((320, "1x1")),
            (*_convs((384, "1x1")), (Layer("Conv2d_0b_1x3", 384), Layer(tall, 384))),
            (*_convs((448, "1x1"), (384, "3x3")), (Layer("Conv2d_0c_1x3", 384), Layer("Conv2d_0d_3x1", 384))),
            _pooled(192),
        )
    return net.graph


def inception_v4() -> nx.MultiDiGraph:
    """Return Inception v4; it is VALID where it strides and in its stem.

    References
    ----------
    Szegedy, Ioffe, Vanhoucke, Alemi, Inception-v4, Inception-ResNet and the impact of residual connections on learning,
    arXiv:1602.07261.
    """
    net = Network("inception_v4")
    x = net.input("image", channels=3)
    for layer in (
        Layer("Conv2d_1a_3x3", 32, 2, "valid"),
        Layer("Conv2d_2a_3x3", 32, 1, "valid"),
        Layer("Conv2d_2b_3x3", 64),
    ):
        x = layer.add(net, x)
    pool, conv = Layer("MaxPool_0a_3x3", None, 2, "valid"), Layer("Conv2d_0a_3x3", 96, 2, "valid")
    x = add_mixed(net, "Mixed_3a", x, (pool,), (conv,))
    last = Layer("Conv2d_1a_3x3", 96, 1, "valid")
    sevens = _convs((64, "1x1"), (64, "1x7"), (64, "7x1"))
    x = add_mixed(net, "Mixed_4a", x, (*_convs((64, "1x1")), last), (*sevens, last))
    pool, conv = Layer("MaxPool_1a_3x3", None, 2, "valid"), Layer("Conv2d_1a_3x3", 192, 2, "valid")
    x = add_mixed(net, "Mixed_5a", x, (conv,), (pool,))
    for letter in "bcde":
        x = add_mixed(net, f"Mixed_5{letter}", x, *_threes(96, (64, 96), (64, 96, 96), 96))
    x = add_mixed(net, "Mixed_6a", x, *_halve((384,), (192, 224, 256), "valid"))
    for letter in "bcdefgh":
        x = add_mixed(net, f"Mixed_6{letter}", x, *_sevens(384, (192, 224, 256), (192, 192, 224, 224, 256), 128))
    x = add_mixed(net, "Mixed_7a", x, *_halve_sevens((192, 192), (256, 256, 320, 320)))
    for letter in "bcd":
        x = add_mixed(
            net,
            f"Mixed_7{letter}",
            x,
            _convs((256, "1x1")),
            (*_convs((384, "1x1")), (Layer("Conv2d_0b_1x3", 256), Layer("Conv2d_0c_3x1", 256))),
            (
                *_convs((384, "1x1"), (448, "3x1"), (512, "1x3")),
                (Layer("Conv2d_0d_1x3", 256), Layer("Conv2d_0e_3x1", 256)),
            ),
            _pooled(256),
        )
    return net.graph


def _convs(*layers: tuple[int, str]) -> tuple[Layer, ...]:
    """Return SAME convs of these channels and kernels, named as TF-Slim letters them."""
    lettered = zip("abcde", layers, strict=False)
    return tuple(Layer(f"Conv2d_0{letter}_{kernel}", channels) for letter, (channels, kernel) in lettered)


def _pooled(channels: int, pool: str = "AvgPool_0a_3x3") -> Branch:
    """Return a pool and a 1x1 conv."""
    return Layer(pool), Layer("Conv2d_0b_1x1", channels)


def _chain(channels: Sequence[int], kernels: Sequence[str]) -> tuple[Layer, ...]:
    """Return a 1x1 conv and those of ``kernels``, as far as there are ``channels``."""
    return _convs(*zip(channels, ("1x1", *kernels), strict=False))


def _threes(
    one: int, three: Sequence[int], double: Sequence[int], pooled: int, pool: str = "AvgPool_0a_3x3"
) -> Iterator[Branch]:
    """Yield the branches 1x1, 1x1 and 3x3, 1x1 and twice 3x3, pool and 1x1."""
    yield _chain((one,), ())
    yield _chain(three, ("3x3",))
    yield _chain(double, ("3x3", "3x3"))
    yield _pooled(pooled, pool)


def _sevens(one: int, seven: Sequence[int], double: Sequence[int], pooled: int) -> Iterator[Branch]:
    """Yield the branches 1x1, 1x1 and 7x7, 1x1 and twice 7x7, each 7x7 in two parts, pool and 1x1."""
    yield _chain((one,), ())
    yield _chain(seven, ("1x7", "7x1"))
    yield _chain(double, ("7x1", "1x7", "7x1", "1x7"))
    yield _pooled(pooled)


def _halve(three: Sequence[int], double: Sequence[int], padding: str) -> Iterator[Branch]:
    """Yield the branches of stride 2: 3x3, twice 3x3, pool; each conv branch of several layers begins with a 1x1."""
    yield *_chain(three[:-1], ()), Layer("Conv2d_1a_3x3", three[-1], 2, padding)
    yield *_chain(double[:-1], ("3x3",)), Layer("Conv2d_1a_3x3", double[-1], 2, padding)
    yield (Layer("MaxPool_1a_3x3", None, 2, padding),)


def _halve_sevens(three: Sequence[int], seven: Sequence[int]) -> Iterator[Branch]:
    """Yield the branches of stride 2: 1x1 and 3x3, 1x1 and 7x7 and 3x3, pool."""
    yield *_chain(three[:-1], ()), Layer("Conv2d_1a_3x3", three[-1], 2, "valid")
    yield *_chain(seven[:-1], ("1x7", "7x1")), Layer("Conv2d_1a_3x3", seven[-1], 2, "valid")
    yield (Layer("MaxPool_1a_3x3", None, 2, "valid"),)
