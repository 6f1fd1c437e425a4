"""What a real model does: its effective field, measured, and where its strongest features looked.

Theory assumes random weights; a trained model has others, and its fields grow as it learns (Luo et al. 2016).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from rfgraph.algebra.window import Interval
from rfgraph.analysis import analyze
from rfgraph.errors import AttributeValueError, ModelFileError, RFGraphError, UnknownNodeError
from rfgraph.frozen import dataclass
from rfgraph.probes import Floats, Probe, probe
from rfgraph.questions.effective import EffectiveField, Measure
from rfgraph.report import Report

Reduce = Literal["square", "abs", "positive"]

#: How gradients of several channels and samples are made one number -> what the result is called, and how.
_REDUCED: dict[str, tuple[Measure, Callable[[Floats], Floats]]] = {
    "square": ("E[g^2]", np.square),
    "abs": ("E|g|", np.abs),
    "positive": ("E[max(g, 0)]", lambda gradient: np.maximum(gradient, 0)),
}

#: Features as strong as the last one asked for, beside it, that are told of at most.
MAX_TIES = 1000

#: What a folder may hold.
_IMAGES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"})


@dataclass(frozen=True, kw_only=True)
class MeasuredField(EffectiveField):
    """The effective field of a feature as measured: the mean over samples, summed over the channels of the image.

    Examples
    --------
    >>> def double(image):  # a JAX function of one image, channels last
    ...     return 2 * image
    >>> field = measure_field(double, None, shape=(1, 9), samples=3)
    >>> field.samples, field.map.tolist(), field.error.tolist()
    (3, [4.0], [0.0])
    """

    #: Standard error of each entry of ``map``; NaN if there is one sample.
    error: Floats
    samples: int
    #: Whether more may be felt than is told, as where derivatives are differences.
    lower_bound: bool = False
    #: The same by theory, at random weights; ``None`` where the network cannot be read, for the reason given.
    theory: EffectiveField | None = None
    no_theory: str = ""


def measure_field(
    model: Any,
    layer: Hashable,
    images: Any = None,
    samples: int = 20,
    seed: int = 0,
    reduce: Reduce = "square",
    index: Sequence[int] | int | None = None,
    shape: Sequence[int] | None = None,
    channels: str | None = None,
    progress: bool = False,
) -> MeasuredField:
    """Return the effective field of a layer of a model that is run, over images or random ones.

    Each sample is the gradient of one feature of one channel, drawn at random, with respect to one image. The model
    runs in the mode that it is in: call ``eval()`` first where that matters. An interrupt keeps what was measured.

    Parameters
    ----------
    model, layer, channels
        As for ``rfgraph.probes.probe``. Derivatives of ONNX models are differences, a lower bound.
    images
        A folder of images, or an array of them with channels first, [N, C, *axes]; random normal ones by default.
    samples
        How many gradients are taken.
    seed
        Of channels and random images.
    reduce
        ``"square"`` for ``E[g^2]``, ``"abs"`` for ``E|g|``, ``"positive"`` for ``E[max(g, 0)]``. For a Gaussian field
        the standard deviation of the second is ``sqrt(2)`` times that of the first.
    index
        Index of the feature, one entry per axis; the middle of the map by default.
    shape
        Shape of random images, [C, *axes], where the model does not tell.
    progress
        Whether to show how far it is.

    Raises
    ------
    AttributeValueError
        If there are no samples, or images have the wrong shape.
    ModelFileError
        If the model cannot be run.

    Examples
    --------
    >>> def blur(image):  # a JAX function of one image, channels last
    ...     from jax.numpy import pad
    ...     wide = pad(image, ((0, 0), (1, 1), (0, 0)))
    ...     return (wide[:, :-2] + 2 * wide[:, 1:-1] + wide[:, 2:]) / 4
    >>> field = measure_field(blur, None, shape=(1, 9), samples=3)
    >>> field.map.tolist(), field.first, field.std
    ([0.0625, 0.25, 0.0625], (3,), (0.5773502691896257,))
    """
    if reduce not in _REDUCED:
        raise AttributeValueError(f"reduce {reduce!r} is not one of {', '.join(_REDUCED)}")
    if samples < 1:
        raise AttributeValueError(f"samples {samples!r} is not a positive number")
    running = probe(model, layer, channels)
    random = np.random.default_rng(seed)
    given = _images(images, running, shape, random, samples)
    name, reduced = _REDUCED[reduce]
    total, squares, taken = np.zeros(()), np.zeros(()), 0
    place: tuple[int, ...] = ()
    try:
        for image in _shown(given, samples, progress):
            features = running.features(image[None])
            if features.ndim < 3:
                raise ModelFileError(f"layer {layer!r} makes {list(features.shape)}, which is no feature map")
            place = _place(index, features.shape[2:])
            channel = int(random.integers(features.shape[1]))
            felt = np.asarray(reduced(running.gradient(image, channel, place))).sum(axis=0)
            total, squares, taken = total + felt, squares + felt**2, taken + 1
    except KeyboardInterrupt:
        if not taken:
            raise
    mean = total / taken
    if not np.abs(mean).max():
        raise AttributeValueError(f"layer {layer!r}: the feature at {list(place)} feels nothing of any image")
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = np.maximum(squares / taken - mean**2, 0) * np.float64(taken) / np.float64(taken - 1)
        error = np.sqrt(spread / taken)
    theory, why = _theory(model, layer, place, image.shape, running.last)
    where = np.argwhere(mean)
    low, high = where.min(axis=0), where.max(axis=0) + 1
    box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    axes = theory.axes if theory is not None else tuple("zyx"[-mean.ndim :] if mean.ndim > 1 else "t")
    reasons = (f"measured over {taken} samples",)
    size = theory.size if theory is not None else mean[box].shape
    return MeasuredField(
        layer, place, axes, name, tuple(map(int, low)), mean[box], size, True, reasons,
        error=error[box], samples=taken, lower_bound=running.bound, theory=theory, no_theory=why,
    )  # fmt: skip


@dataclass(frozen=True)
class Strongest:
    """One of the strongest features of a layer, and where it looked.

    Examples
    --------
    >>> one = Strongest(channel=7, index=(3, 4), value=1.5, box=((90, 130), (120, 160)), effective_box=None)
    >>> [last - first + 1 for first, last in one.box]
    [41, 41]
    """

    channel: int
    index: tuple[int, ...]
    value: float
    #: What it can see: a closed interval per axis, cut at the borders of all maps; ``None`` if it sees nothing.
    box: tuple[tuple[int | None, int | None], ...] | None
    #: The smallest square that holds half of what it feels, by its own gradient at this image; ``None`` if it is 0.
    effective_box: tuple[Interval, ...] | None


def strongest(
    model: Any, image: Any, layer: Hashable, channel: int | None = None, top: int = 5, channels: str | None = None
) -> list[Strongest]:
    """Return the features of a layer that answer most strongly to an image, and the boxes of pixels they looked at.

    Parameters
    ----------
    model, layer, channels
        As for ``rfgraph.probes.probe``.
    image
        The path of an image, scaled to 0 to 1, or an array with channels first, [C, *axes].
    channel
        The channel to look at; all by default.
    top
        How many features are returned; more where others are as strong as the last of them.

    Raises
    ------
    AttributeValueError
        If the image does not fit, or there is no such channel.
    ModelFileError, UnknownNodeError
        If the model cannot be run or read, or has no such layer.

    References
    ----------
    The strongest activation of the last map and its receptive field find the region of the input that made it.

    Examples
    --------
    >>> [one.box for one in strongest(model, "cat.jpg", "layer4", channel=7)]  # of a live model # doctest: +SKIP
    >>> strongest("model.onnx", "cat.jpg", "layer4", top=0)
    Traceback (most recent call last):
    rfgraph.errors.AttributeValueError: top 0 is not a positive number
    """
    if top < 1:
        raise AttributeValueError(f"top {top!r} is not a positive number")
    running = probe(model, layer, channels)
    pixels = picture(Path(image)) if isinstance(image, (str, Path)) else np.asarray(image, dtype=np.float64)
    features = running.features(pixels[None])[0]
    if channel is not None and not 0 <= channel < features.shape[0]:
        raise AttributeValueError(f"channel {channel} is not one of the {features.shape[0]} of layer {layer!r}")
    values = features if channel is None else features[channel : channel + 1]
    flat = np.sort(values, axis=None)[::-1]
    least = flat[min(top, flat.size) - 1]
    report = _report(model, pixels.shape, running.last)
    node = _node(report, layer)
    if report[node].map_size != features.shape[1:]:
        raise ModelFileError(
            f"layer {layer!r} makes a map of {features.shape[1:]}, but {node!r} is {report[node].map_size}"
        )
    strong = np.argwhere(values >= least)
    if len(strong) > MAX_TIES + top:
        raise AttributeValueError(
            f"{len(strong)} features of layer {layer!r} are at least {least:g}: too many are as strong; ask for fewer"
        )
    places = []
    for place in strong:
        of = int(place[0]) if channel is None else channel
        index = tuple(int(at) for at in place[1:])
        felt = np.square(running.gradient(pixels, of, index)).sum(axis=0)
        field = EffectiveField(layer, index, report.axes, "E[g^2]", (0,) * felt.ndim, felt, felt.shape, True)
        half = field.box(0.5) if felt.any() else None
        places.append(Strongest(of, index, float(values[tuple(place)]), report.region(node, index).box, half))
    return sorted(places, key=lambda one: -one.value)


def _theory(
    model: Any, layer: Hashable, index: tuple[int, ...], shape: tuple[int, ...], last: bool
) -> tuple[EffectiveField | None, str]:
    """Return what is to be expected, or why that is not known."""
    try:
        report = _report(model, shape, last)
        return report.effective_field(_node(report, layer), index), ""
    except (RFGraphError, IndexError) as error:
        return None, str(error)


def _report(model: Any, shape: tuple[int, ...], last: bool) -> Report:
    """Return the results for images of ``shape``, [C, *axes], which a model takes with channels ``last`` or first."""
    channels, *sizes = shape
    if isinstance(model, (str, Path)) or type(model).__module__.partition(".")[0] in ("keras", "onnx"):
        return analyze(model, input_size=tuple(sizes))
    return analyze(model, example=(1, *sizes, channels) if last else (1, *shape))


def _node(report: Report, layer: Hashable) -> Hashable:
    """Return the node that makes the output of a layer: the one of its name, or the last one inside it.

    ``None`` is the output of a function.
    """
    if layer is None and len(report.outputs) == 1:
        return report.outputs[0]
    if layer in report:
        return layer
    inside = [node for node in report if str(node).startswith((f"{layer}.", f"{layer}/"))]
    if not inside:
        raise UnknownNodeError(f"the network has no node of layer {layer!r}")
    return inside[-1]


def _place(index: Sequence[int] | int | None, sizes: Sequence[int]) -> tuple[int, ...]:
    place = (
        tuple(size // 2 for size in sizes) if index is None else (index,) if isinstance(index, int) else tuple(index)
    )
    if len(place) != len(sizes) or not all(0 <= at < size for at, size in zip(place, sizes, strict=True)):
        raise AttributeValueError(f"index {list(place)} lies outside a map of {list(sizes)}")
    return place


def _images(
    images: Any, running: Probe, shape: Sequence[int] | None, random: np.random.Generator, samples: int
) -> Iterator[Floats]:
    """Yield images, each one [C, *axes]: those that are given, over and over."""
    if images is None:
        told = tuple(shape) if shape is not None else running.shape
        if told is None or None in told:
            raise AttributeValueError("the model tells no shape of its images; pass images=, or shape=(3, 224, 224)")
        for _ in range(samples):
            yield random.standard_normal(told)  # type: ignore[arg-type]
        return
    if isinstance(images, (str, Path)):
        if not Path(images).is_dir():
            raise AttributeValueError(f"{images}: there is no such folder of images")
        paths = sorted(path for path in Path(images).iterdir() if path.suffix.lower() in _IMAGES)
        if not paths:
            raise AttributeValueError(f"{images}: there is no image in that folder")
        for number in range(samples):
            yield picture(paths[number % len(paths)])
        return
    array = np.asarray(images, dtype=np.float64)
    if array.ndim < 3 or not len(array):
        raise AttributeValueError(f"images of shape {list(array.shape)} are not [N, C, *axes]")
    for number in range(samples):
        yield array[number % len(array)]


def picture(path: Path) -> Floats:
    """Return an image with channels first, from 0 to 1."""
    from rfgraph.probes import _imported

    _imported("PIL")
    from PIL import Image

    with Image.open(path) as opened:
        pixels = np.asarray(opened.convert("RGB"), dtype=np.float64) / 255
    return np.moveaxis(pixels, -1, 0)


def _shown(images: Iterator[Floats], samples: int, progress: bool) -> Iterator[Floats]:
    if not progress:
        yield from images
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(images, "measuring", total=samples, console=Console(stderr=True))
