"""Does the resolution fit the network: layers that an image is too small for, and the images that are worth giving.

References
----------
Richter, Schoening, Wiedenroth, Krumnack, Should You Go Deeper? Optimizing Convolutional Neural Network Architectures
without Training by Receptive Field Analysis, ICMLA 2021.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Literal, Protocol

from rfgraph.errors import AttributeValueError, UnknownFieldError
from rfgraph.questions.layers import Layer
from rfgraph.questions.productivity import Convolution, Productivity, Resolutions


class Judged(Protocol):
    """What these questions need of an analysis: ``rfgraph.Report`` has it."""

    @property
    def source(self) -> Hashable:
        """The node in whose indices fields are given."""

    @property
    def productivity(self) -> Productivity:
        """How the convolutions and the image fit each other."""

    def __getitem__(self, node: Hashable, /) -> Layer: ...


def unproductive(report: Judged, on: Literal["all", "any"] = "all") -> tuple[Hashable, ...]:
    """Return the convolutions that add no context, as all of their inputs have seen the whole image, in order.

    They are judged on the smallest field of the paths to their inputs, which must exceed the image. Convolutions of
    kernel 1 widen no field at any resolution, and transposed ones are there to raise it: neither is judged. Nor are
    layers of whose inputs the fields are not known.

    Parameters
    ----------
    report
        An analysis with an input size.
    on
        ``"all"``: those that add no context on any axis that they widen; ``"any"``: those that add none on some axis.

    Raises
    ------
    UnknownFieldError
        If the size of the image is not known.
    AttributeValueError
        If ``on`` is neither.

    Examples
    --------
    MobileNet was made for 224 pixels. On 32, its features have seen them all before the sixth block.

    >>> from rfgraph import analyze
    >>> unproductive(analyze("zoo:mobilenet_v1", input_size=32))[:2]
    ('Conv2d_6_depthwise', 'Conv2d_7_depthwise')
    """
    if on not in ("all", "any"):
        raise AttributeValueError(f"on {on!r} is not one of all, any")
    return tuple(layer.layer for layer in _judged(report) if layer.unproductive or (on == "any" and layer.partly))


def border_layers(report: Judged) -> tuple[Hashable, ...]:
    """Return the unproductive convolutions with none before them: the border layer, or one for each branch.

    Raises
    ------
    UnknownFieldError
        If the size of the image is not known.

    Examples
    --------
    >>> from rfgraph import analyze
    >>> border_layers(analyze("zoo:mobilenet_v1", input_size=32))
    ('Conv2d_6_depthwise',)
    """
    return tuple(layer.layer for layer in _judged(report) if layer.border)


def feasible(report: Judged) -> tuple[Resolutions, ...]:
    """Return the range of feasible input resolutions, per axis; the report needs no input size for it.

    From ``smallest`` pixels on no convolution is unproductive; beyond ``largest`` no layer sees the whole image, but
    through ops that read the whole axis.

    Examples
    --------
    >>> from rfgraph import analyze
    >>> [(r.axis, r.smallest, r.largest) for r in feasible(analyze("zoo:vgg_16"))]
    [('y', 212, 404), ('x', 212, 404)]
    """
    return report.productivity.axes


def _judged(report: Judged) -> tuple[Convolution, ...]:
    source = report[report.source]
    for axis, size in zip(source.axes, source.map_size, strict=True):
        if size is None:
            raise UnknownFieldError(
                f"input {report.source!r}, axis {axis}: its size is not known, and whether a layer has seen all of it "
                "depends on that; pass input_size="
            )
    return report.productivity.layers
