"""Builders of published networks, with what was published of their receptive fields.

Names of nodes are those of the source: TF-Slim's end points, Keras' or torchvision's layers. Batch norm and
activations are left out throughout, since they read only their own position, and so is what follows the last feature
map; a conv has a bias where the source gives it one. A published number is a case to test against; nothing computes
with it.

This package is ``rfgraph.models`` but lies outside ``rfgraph/``: its modules import one another relatively, so that
tools which look at files find them too.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from fractions import Fraction
from functools import partial

import networkx as nx

from rfgraph.errors import ModelFileError
from rfgraph.frozen import dataclass

from . import (
    alexnet,
    densenet,
    fpn,
    inception,
    inception_resnet,
    mobilenet,
    resnet,
    torch_resnet,
    unet,
    vgg,
    wavenet,
    xception,
)

__all__ = ["ACCURACIES", "ARTICLE", "MODELS", "Accuracy", "Model", "Published", "build"]

#: Table by Araujo, Norris and Sim, whose numbers their article plots.
TABLE = (
    "Araujo, Norris, Sim, Computing Receptive Fields of Convolutional Neural Networks, Distill 2019; "
    "RECEPTIVE_FIELD_TABLE.md of github.com/google-research/receptive_field"
)
GUIDE = "Dang Ha The Hien, A guide to receptive field arithmetic for convolutional neural networks, 2017 (start 113.5)"


@dataclass(frozen=True)
class Published:
    """A receptive field as published: the same on every axis, in input pixels."""

    size: int
    stride: int
    padding: int
    source: str = TABLE


SLIM = "TensorFlow-Slim image classification model library, README.md of github.com/tensorflow/models/research/slim"
MOBILENETS = "Howard et al., MobileNets: efficient convolutional neural networks for mobile vision, arXiv:1704.04861"


@dataclass(frozen=True)
class Accuracy:
    """Share of ImageNet's validation images that are named rightly at the first guess, as published."""

    top1: Fraction
    #: The size of the images.
    input_size: int
    source: str = SLIM


@dataclass(frozen=True)
class Model:
    """A network of the zoo."""

    name: str
    build: Callable[[], nx.MultiDiGraph]
    about: str
    #: The end point that ``published`` is of, ``None`` for the default output.
    node: str | None = None
    #: The size of the input that ``published`` is stated at, ``None`` where it depends on none.
    input_size: int | None = None
    published: Published | None = None

    @property
    def accuracy(self) -> Accuracy | None:
        """Its accuracy as published, ``None`` where none was."""
        return ACCURACIES.get(self.name)


def _percent(text: str, input_size: int = 224, source: str = SLIM) -> Accuracy:
    return Accuracy(Fraction(text) / 100, input_size, source)


#: Name of a network -> its accuracy, of those that TF-Slim trained, from 2016 to 2019; of AlexNet as others cite it.
ACCURACIES = {
    "alexnet_v2": _percent("57.2", source=f"{MOBILENETS}, table 9"),
    "vgg_16": _percent("71.5"),
    "mobilenet_v1": _percent("70.9"),
    "mobilenet_v1_075": _percent("68.4", source=f"{MOBILENETS}, table 6"),
    "resnet_v1_50": _percent("75.2"),
    "resnet_v1_101": _percent("76.4"),
    "resnet_v1_152": _percent("76.8"),
    "resnet_v2_50": _percent("75.6", 299),
    "resnet_v2_101": _percent("77.0", 299),
    "resnet_v2_152": _percent("77.8", 299),
    "inception_v2": _percent("73.9"),
    "inception_v3": _percent("78.0", 299),
    "inception_v4": _percent("80.2", 299),
    "inception_resnet_v2": _percent("80.4", 299),
}

#: The networks whose accuracy the article plots over the size of their receptive field.
ARTICLE = (
    "alexnet_v2", "vgg_16", "mobilenet_v1", "resnet_v1_50", "resnet_v1_101", "resnet_v1_152", "inception_v2",
    "inception_v3", "inception_v4", "inception_resnet_v2",
)  # fmt: skip


def _resnets() -> list[Model]:
    published = {50: (483, 239), 101: (1027, 511), 152: (1507, 751), 200: (1763, 879)}
    return [
        Model(
            f"resnet_v{version}_{depth}",
            partial(resnet.resnet, version, depth),
            f"ResNet v{version} of {depth} layers, as in TF-Slim",
            node=f"resnet_v{version}_{depth}/block4",
            input_size=224,
            published=Published(size, 32, padding),
        )
        for version in (1, 2)
        for depth, (size, padding) in published.items()
    ]


#: Every network of the zoo by name.
MODELS: dict[str, Model] = {
    model.name: model
    for model in (
        Model(
            "alexnet_guide",
            alexnet.alexnet_guide,
            "AlexNet as in the receptive-field guide",
            node="fc7-conv",
            input_size=227,
            published=Published(355, 32, 64, GUIDE),
        ),
        Model(
            "alexnet_v2",
            alexnet.alexnet_v2,
            "AlexNet v2, as in TF-Slim",
            node="alexnet_v2/pool5",
            published=Published(195, 32, 64),
        ),
        Model(
            "vgg_a",
            partial(vgg.vgg, "vgg_a"),
            "VGG of 11 layers, as in TF-Slim",
            node="vgg_a/pool5",
            published=Published(150, 32, 59),
        ),
        Model(
            "vgg_16",
            partial(vgg.vgg, "vgg_16"),
            "VGG of 16 layers, as in TF-Slim",
            node="vgg_16/pool5",
            published=Published(212, 32, 90),
        ),
        Model(
            "mobilenet_v1",
            partial(mobilenet.mobilenet_v1, "mobilenet_v1"),
            "MobileNet v1, as in TF-Slim",
            node="Conv2d_13_pointwise",
            input_size=224,
            published=Published(315, 32, 126),
        ),
        Model(
            "mobilenet_v1_075",
            partial(mobilenet.mobilenet_v1, "mobilenet_v1_075", Fraction(3, 4)),
            "MobileNet v1 with 3/4 of the channels, as in TF-Slim",
            node="Conv2d_13_pointwise",
            input_size=224,
            published=Published(315, 32, 126),
        ),
        *_resnets(),
        Model(
            "inception_v2",
            partial(inception.inception_v2, "inception_v2"),
            "Inception v2, as in TF-Slim",
            node="Mixed_5c",
            input_size=224,
            published=Published(699, 32, 318),
        ),
        Model(
            "inception_v2_no_separable_conv",
            partial(inception.inception_v2, "inception_v2_no_separable_conv", separable_stem=False),
            "Inception v2 with a plain first conv, as in TF-Slim",
            node="Mixed_5c",
            input_size=224,
            published=Published(699, 32, 318),
        ),
        Model(
            "inception_v3",
            inception.inception_v3,
            "Inception v3, as in TF-Slim",
            node="Mixed_7c",
            published=Published(1311, 32, 618),
        ),
        Model(
            "inception_v4",
            inception.inception_v4,
            "Inception v4, as in TF-Slim",
            node="Mixed_7d",
            published=Published(2071, 32, 998),
        ),
        Model(
            "inception_resnet_v2",
            partial(inception_resnet.inception_resnet_v2, "inception_resnet_v2"),
            "Inception-ResNet v2, as in TF-Slim",
            node="Conv2d_7b_1x1",
            published=Published(3039, 32, 1482),
        ),
        Model(
            "inception_resnet_v2_same",
            partial(inception_resnet.inception_resnet_v2, "inception_resnet_v2_same", padding="same"),
            "Inception-ResNet v2, SAME throughout, as in TF-Slim",
            node="Conv2d_7b_1x1",
            input_size=224,
            published=Published(3039, 32, 1488),
        ),
        Model("xception", xception.xception, "Xception, as in keras.applications", input_size=299),
        Model("resnet50_d", torch_resnet.resnet50_d, "ResNet-50-D: shortcuts that pool before their conv"),
        Model("resnet3d_18", torch_resnet.resnet3d_18, "3-D ResNet of 18 layers, as in torchvision"),
        Model("densenet_121", densenet.densenet_121, "DenseNet-121, as in torchvision"),
        Model("fpn", fpn.fpn, "feature pyramid over a ResNet-50, P2 to P6"),
        Model(
            "unet",
            partial(unet.unet, "unet", unet.transposed_2x2, padded=False),
            "U-Net of the paper: no padding, crops",
        ),
        Model(
            "unet_2x2", partial(unet.unet, "unet_2x2", unet.transposed_2x2), "U-Net, padded, up by 2x2 transposed convs"
        ),
        Model(
            "unet_3x3", partial(unet.unet, "unet_3x3", unet.transposed_3x3), "padded U-Net, up by 3x3 transposed convs"
        ),
        Model(
            "unet_bilinear", partial(unet.unet, "unet_bilinear", unet.bilinear), "padded U-Net, up by bilinear resizing"
        ),
        Model("wavenet", wavenet.wavenet, "causal network over time in the manner of WaveNet"),
    )
}


def build(name: str) -> nx.MultiDiGraph:
    """Return the graph of the network called ``name``.

    Raises
    ------
    ModelFileError
        If there is none; the message lists names spelt like it.

    Examples
    --------
    >>> build("vgg_16").nodes["vgg_16/pool5"]["op"]
    'max_pool'
    """
    if name not in MODELS:
        near = difflib.get_close_matches(name, MODELS, n=3)
        hint = f"near: {', '.join(near)}" if near else f"it has {', '.join(MODELS)}"
        raise ModelFileError(f"the zoo has no network {name!r}; {hint}")
    return MODELS[name].build()
